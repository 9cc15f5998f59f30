//! A wider look: the namespace, or all of them, with what is around it. Only overviews ask for it.

use super::connect::Cluster;
use super::discover::ApiVersions;
use super::error::ClusterError;
use super::list::{Found, Meta, Resource, list, list_if_allowed};
use super::snapshot::{self, MeshOptions, domain_policies, mesh_settings, objects};
use crate::domain::mesh::{DestinationRule, Pod, Snapshot};
use crate::domain::namespace_context::{CronJob, ExternalCaller, NamespaceContext};
use crate::istio::kinds::PolicyApi;
use crate::istio::{read, surroundings};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Surveys the cluster's namespace.
pub async fn survey(
    cluster: &Cluster,
    generation: ApiVersions,
    options: &MeshOptions,
) -> Result<NamespaceContext, ClusterError> {
    let (look, around) = futures::try_join!(
        snapshot::look(cluster, generation, options),
        Box::pin(Surroundings::read(cluster, generation, options))
    )?;
    Ok(around.complete(cluster, generation, vec![look.snapshot]).await?.remove(0))
}

/// Surveys what is around a namespace that was looked at already.
pub async fn survey_around(
    cluster: &Cluster,
    generation: ApiVersions,
    options: &MeshOptions,
    snapshot: Snapshot,
) -> Result<NamespaceContext, ClusterError> {
    let around = Box::pin(Surroundings::read(cluster, generation, options)).await?;
    Ok(around.complete(cluster, generation, vec![snapshot]).await?.remove(0))
}

/// Surveys every namespace that has to do with the mesh, by lists over the whole cluster.
pub async fn survey_all(
    cluster: &Cluster,
    generation: ApiVersions,
    options: &MeshOptions,
) -> Result<Vec<NamespaceContext>, ClusterError> {
    let all = Cluster { namespace: String::new(), ..cluster.clone() };
    let (policy, rule) = (generation.policy.kind(), generation.rule.kind());
    let (mut services, pods, policies, rules, (mesh, root), around) = futures::try_join!(
        snapshot::services(&all, ""),
        snapshot::pods(&all, ""),
        objects(&all, &policy, ""),
        objects(&all, &rule, ""),
        mesh_settings(&all, generation, options),
        Box::pin(Surroundings::read(&all, generation, options)),
    )?;
    let mut by_namespace: BTreeMap<String, Held> = BTreeMap::new();
    for pod in pods {
        by_namespace.entry(pod.namespace.clone()).or_default().pods.push(pod);
    }
    for policy in policies.into_iter().flatten() {
        by_namespace.entry(read::metadata(&policy, "namespace").to_owned()).or_default().policies.push(policy);
    }
    for rule in rules.into_iter().flatten() {
        by_namespace.entry(read::metadata(&rule, "namespace").to_owned()).or_default().rules.push(rule);
    }
    let mut snapshots = Vec::new();
    for (namespace, Held { pods, policies, rules }) in by_namespace {
        if pods.iter().all(|pod| !pod.data_plane.is_meshed()) && policies.is_empty() && rules.is_empty() {
            continue;
        }
        // The root namespace's own policies are the mesh's already.
        let is_root = namespace == mesh.root_namespace;
        let own: Vec<&Value> = policies.iter().filter(|_| !is_root).collect();
        snapshots.push(Snapshot {
            policies: domain_policies(generation, &mesh, &own, &root),
            rules: rules.iter().map(read::destination_rule).collect(),
            services: services.remove(&namespace).unwrap_or_default(),
            pods: pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect(),
            mesh_root_pem: None,
            mesh: mesh.clone(),
            namespace,
        });
    }
    around.complete(&all, generation, snapshots).await
}

/// What one namespace holds.
#[derive(Default)]
struct Held {
    pods: Vec<Pod>,
    policies: Vec<Value>,
    rules: Vec<Value>,
}

/// What is around the namespaces, each with its namespace.
#[derive(Debug, Default)]
struct Surroundings {
    /// Of all namespaces; `None` where they may not be read.
    rules: Option<Vec<DestinationRule>>,
    routed: BTreeSet<(String, String)>,
    external_callers: Vec<ExternalCaller>,
    cron_jobs: Vec<(String, CronJob)>,
    identity_policies: Vec<(String, String)>,
    inert: Vec<String>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    unread: Vec<String>,
}

#[derive(Deserialize)]
struct OnlyMeta {
    metadata: Meta,
}

const fn resource(group: &'static str, version: &'static str, plural: &'static str) -> Resource {
    Resource { group, version, plural }
}

/// Objects are turned into values at once; one object can make several.
fn each<U>(convert: impl Fn(&Value) -> Vec<U>) -> impl Fn(Value) -> Option<Vec<U>> {
    move |object| Some(convert(&object))
}

fn with_namespace<U>(object: &Value, value: U) -> (String, U) {
    (read::metadata(object, "namespace").to_owned(), value)
}

impl Surroundings {
    async fn read(cluster: &Cluster, generation: ApiVersions, options: &MeshOptions) -> Result<Self, ClusterError> {
        let scope = cluster.namespace.as_str();
        let domain = options.cluster_domain.as_deref().unwrap_or("cluster.local");
        let kind = generation.rule.kind();
        let cron_jobs = resource("batch", "v1", "cronjobs");
        let (rules, routes, cron_jobs, (identity, inert), external_callers, namespaces) = futures::try_join!(
            list_if_allowed(cluster, (&kind).into(), "", |object: Value| Some(read::destination_rule(&object))),
            list_if_allowed(
                cluster,
                resource(kind.group, kind.version, "virtualservices"),
                "",
                each(|object| surroundings::routed_subsets(object, domain)),
            ),
            list_if_allowed(cluster, cron_jobs, scope, |object: Value| {
                Some(with_namespace(&object, surroundings::cron_job(&object)))
            }),
            other_policies(cluster, generation),
            external_callers(cluster),
            labels_of_namespaces(cluster),
        )?;
        let mut around = Self { namespaces, ..Self::default() };
        around.rules = match rules {
            Found::Listed(rules) => Some(rules),
            Found::NotServed | Found::Forbidden => None,
        };
        around.routed = around.read_or_note("VirtualServices", routes).into_iter().flatten().collect();
        for (what, found) in external_callers {
            let found = around.read_or_note(what, found);
            around.external_callers.extend(found.into_iter().flatten());
        }
        around.cron_jobs = around.read_or_note("CronJobs", cron_jobs);
        around.identity_policies = around.read_or_note("AuthorizationPolicies", identity);
        if generation.policy != PolicyApi::Legacy {
            around.inert = around.read_or_note("legacy Policies", inert);
        }
        Ok(around)
    }

    fn read_or_note<U>(&mut self, what: &str, found: Found<U>) -> Vec<U> {
        match found {
            Found::Listed(list) => return list,
            Found::NotServed => {}
            Found::Forbidden => self.unread.push(what.to_owned()),
        }
        Vec::new()
    }

    /// Puts the surroundings of each namespace beside it.
    async fn complete(
        mut self,
        cluster: &Cluster,
        generation: ApiVersions,
        snapshots: Vec<Snapshot>,
    ) -> Result<Vec<NamespaceContext>, ClusterError> {
        let rules = match self.rules.take() {
            Some(rules) => rules,
            None => self.fewer_rules(cluster, generation, &snapshots).await?,
        };
        let (rules, routed) = (Arc::new(rules), Arc::new(std::mem::take(&mut self.routed)));
        self.unread.dedup();
        let surveys = snapshots.into_iter().map(|snapshot| {
            let namespace = snapshot.namespace.clone();
            let own = |other: &String| *other == namespace;
            let inert = |name: &&String| name.split_once('/').is_some_and(|(of, _)| of == namespace);
            NamespaceContext {
                namespace_labels: self.namespaces.get(&namespace).cloned().unwrap_or_default(),
                rules: Arc::clone(&rules),
                routed: Arc::clone(&routed),
                external_callers: self
                    .external_callers
                    .iter()
                    .filter(|external_caller| own(&external_caller.namespace))
                    .cloned()
                    .collect(),
                cron_jobs: self.cron_jobs.iter().filter(|(of, _)| own(of)).map(|(_, job)| job.clone()).collect(),
                identity_policies: self
                    .identity_policies
                    .iter()
                    .filter(|(of, _)| own(of))
                    .map(|(_, name)| name.clone())
                    .collect(),
                inert: self.inert.iter().filter(inert).cloned().collect(),
                observed: None,
                unread: self.unread.clone(),
                snapshot,
            }
        });
        Ok(surveys.collect())
    }

    /// Where rules of all namespaces may not be read: the namespaces' own, and the root namespace's if it lets us.
    async fn fewer_rules(
        &mut self,
        cluster: &Cluster,
        generation: ApiVersions,
        snapshots: &[Snapshot],
    ) -> Result<Vec<DestinationRule>, ClusterError> {
        self.unread.push("DestinationRules of other namespaces".to_owned());
        let mut rules: Vec<DestinationRule> = snapshots.iter().flat_map(|snapshot| snapshot.rules.clone()).collect();
        if let Some(snapshot) = snapshots.first() {
            let root = &snapshot.mesh.root_namespace;
            let kind = generation.rule.kind();
            let found =
                list_if_allowed(cluster, (&kind).into(), root, |object: Value| Some(read::destination_rule(&object)));
            if let Found::Listed(found) = found.await? {
                rules.retain(|rule| rule.namespace != *root);
                rules.extend(found);
            }
        }
        Ok(rules)
    }
}

/// What may call from outside the mesh, by the kind of object that says so.
async fn external_callers(cluster: &Cluster) -> Result<[(&'static str, Found<Vec<ExternalCaller>>); 5], ClusterError> {
    const GROUP: &str = "admissionregistration.k8s.io";
    let scope = cluster.namespace.as_str();
    let hook = |kind: &'static str| each(move |object| surroundings::webhooks(&format!("{kind}.{GROUP}"), object));
    let (mutating, validating) = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations");
    let aggregated = resource("apiregistration.k8s.io", "v1", "apiservices");
    let (ingresses, routes, mutating, validating, aggregated) = futures::try_join!(
        list_if_allowed(cluster, resource("networking.k8s.io", "v1", "ingresses"), scope, each(surroundings::ingress)),
        list_if_allowed(cluster, resource("route.openshift.io", "v1", "routes"), scope, each(surroundings::route)),
        list_if_allowed(cluster, resource(GROUP, "v1", mutating), "", hook("mutatingwebhookconfiguration")),
        list_if_allowed(cluster, resource(GROUP, "v1", validating), "", hook("validatingwebhookconfiguration")),
        list_if_allowed(cluster, aggregated, "", each(surroundings::api_service)),
    )?;
    Ok([
        ("Ingresses", ingresses),
        ("Routes", routes),
        ("webhook configurations", mutating),
        ("webhook configurations", validating),
        ("APIServices", aggregated),
    ])
}

/// `AuthorizationPolicies` that ask for names, each with its namespace; and policies of the legacy API.
async fn other_policies(
    cluster: &Cluster,
    generation: ApiVersions,
) -> Result<(Found<(String, String)>, Found<String>), ClusterError> {
    let scope = cluster.namespace.as_str();
    let authorization = resource("security.istio.io", generation.policy.kind().version, "authorizationpolicies");
    let legacy = resource("authentication.istio.io", "v1alpha1", "policies");
    futures::try_join!(
        list_if_allowed(cluster, authorization, scope, |object: Value| {
            let name = read::metadata(&object, "name").to_owned();
            surroundings::asks_for_identity(&object).then(|| with_namespace(&object, name))
        }),
        list_if_allowed(cluster, legacy, scope, |object: OnlyMeta| {
            let Meta { name, namespace, .. } = object.metadata;
            Some(format!("{}/{}", namespace?, name?))
        }),
    )
}

/// Labels of the namespace, or of all; none where they may not be read.
async fn labels_of_namespaces(cluster: &Cluster) -> Result<BTreeMap<String, BTreeMap<String, String>>, ClusterError> {
    let keep = |object: OnlyMeta| Some((object.metadata.name?, object.metadata.labels.unwrap_or_default()));
    if cluster.namespace.is_empty() {
        return Ok(list(cluster, Resource::core("namespaces"), "", keep).await?.into_iter().collect());
    }
    let labels = snapshot::namespace_labels(cluster).await?;
    Ok([(cluster.namespace.clone(), labels)].into())
}
