//! Reads one namespace or all of them together with their surroundings, for `status` and the checks before `enable-mtls`:
//! rules and labels of other namespaces, callers from outside the mesh, jobs, and policies that need identities.

use super::connect::Cluster;
use super::discover::ApiVersions;
use super::error::ClusterError;
use super::list::{Listing, Meta, Resource, list, list_if_allowed};
use super::snapshot::{self, MeshOptions, domain_policies, mesh_settings, objects};
use crate::domain::endpoints;
use crate::domain::injection::PodTemplate;
use crate::domain::mesh::{DestinationRule, Pod, Snapshot, WorkloadEntry};
use crate::domain::namespace_context::{CronJob, ExternalCaller, NamespaceContext};
use crate::istio::kinds::PolicyApi;
use crate::istio::{read, surroundings};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Reads the cluster's namespace with its surroundings.
pub async fn read(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<NamespaceContext, ClusterError> {
    let (state, surroundings) = futures::try_join!(
        snapshot::read_with_templates(cluster, api_versions, options),
        Box::pin(SurroundingObjects::read(cluster, api_versions, options))
    )?;
    Ok(surroundings.complete(cluster, api_versions, vec![state.snapshot]).await?.remove(0))
}

/// Reads the surroundings of a namespace whose snapshot is available.
pub async fn read_around(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
    snapshot: Snapshot,
) -> Result<NamespaceContext, ClusterError> {
    let surroundings = Box::pin(SurroundingObjects::read(cluster, api_versions, options)).await?;
    Ok(surroundings.complete(cluster, api_versions, vec![snapshot]).await?.remove(0))
}

/// Reads every namespace with a pod in the mesh, a policy or a rule, by lists of the whole cluster.
pub async fn read_all(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<Vec<NamespaceContext>, ClusterError> {
    let all = Cluster { namespace: String::new(), ..cluster.clone() };
    let (policy, rule) = (api_versions.policy.kind(), api_versions.rule.kind());
    let (
        mut services,
        pods,
        (entries, mut unread),
        (templates, unread_templates),
        policies,
        rules,
        (mesh, root),
        surroundings,
    ) = futures::try_join!(
        snapshot::services(&all, ""),
        snapshot::pods(&all, ""),
        snapshot::workload_entries(&all, api_versions, ""),
        snapshot::templates(&all, ""),
        objects(&all, &policy, ""),
        objects(&all, &rule, ""),
        mesh_settings(&all, api_versions, options),
        Box::pin(SurroundingObjects::read(&all, api_versions, options)),
    )?;
    unread.extend(unread_templates);
    let mut by_namespace: BTreeMap<String, NamespaceObjects> = BTreeMap::new();
    for (namespace, name, entry) in entries {
        by_namespace.entry(namespace).or_default().entries.insert(name, entry);
    }
    for (namespace, template) in templates {
        by_namespace.entry(namespace).or_default().templates.push(template);
    }
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
    for (namespace, NamespaceObjects { pods, entries, templates, policies, rules }) in by_namespace {
        if pods.iter().all(|pod| !pod.data_plane.is_meshed()) && policies.is_empty() && rules.is_empty() {
            continue;
        }
        // The root namespace's policies are the mesh's, which `root` contains.
        let is_root = namespace == mesh.root_namespace;
        let policies: Vec<&Value> = policies.iter().filter(|_| !is_root).collect();
        let mut snapshot = Snapshot {
            policies: domain_policies(api_versions, &mesh, &policies, &root),
            rules: rules.iter().map(read::destination_rule).collect(),
            services: services.remove(&namespace).unwrap_or_default(),
            pods: pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect(),
            mesh_root_pem: None,
            mesh: mesh.clone(),
            namespace_labels: surroundings.namespaces.get(&namespace).cloned(),
            workload_entries: entries,
            templates,
            unread: unread.clone(),
            namespace,
        };
        endpoints::complete(&mut snapshot);
        snapshots.push(snapshot);
    }
    surroundings.complete(&all, api_versions, snapshots).await
}

/// Objects of one namespace.
#[derive(Default)]
struct NamespaceObjects {
    pods: Vec<Pod>,
    entries: BTreeMap<String, WorkloadEntry>,
    templates: Vec<PodTemplate>,
    policies: Vec<Value>,
    rules: Vec<Value>,
}

/// The surroundings of all read namespaces; entries are pairs of namespace and value.
#[derive(Debug, Default)]
struct SurroundingObjects {
    /// Rules of all namespaces; `None` if they may not be listed.
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

/// A conversion for lists of objects that can contain several values.
fn several<U>(convert: impl Fn(&Value) -> Vec<U>) -> impl Fn(Value) -> Option<Vec<U>> {
    move |object| Some(convert(&object))
}

fn with_namespace<U>(object: &Value, value: U) -> (String, U) {
    (read::metadata(object, "namespace").to_owned(), value)
}

impl SurroundingObjects {
    async fn read(cluster: &Cluster, api_versions: ApiVersions, options: &MeshOptions) -> Result<Self, ClusterError> {
        let scope = cluster.namespace.as_str();
        let domain = options.cluster_domain.as_deref().unwrap_or("cluster.local");
        let kind = api_versions.rule.kind();
        let cron_jobs = resource("batch", "v1", "cronjobs");
        let (rules, routes, cron_jobs, (identity, inert), external_callers, namespaces) = futures::try_join!(
            list_if_allowed(cluster, (&kind).into(), "", |object: Value| Some(read::destination_rule(&object))),
            list_if_allowed(
                cluster,
                resource(kind.group, kind.version, "virtualservices"),
                "",
                several(|object| surroundings::routed_subsets(object, domain)),
            ),
            list_if_allowed(cluster, cron_jobs, scope, |object: Value| {
                Some(with_namespace(&object, surroundings::cron_job(&object)))
            }),
            other_policies(cluster, api_versions),
            external_callers(cluster),
            namespace_labels(cluster),
        )?;
        let mut surroundings = Self { namespaces, ..Self::default() };
        surroundings.rules = match rules {
            Listing::Listed(rules) => Some(rules),
            Listing::NotServed | Listing::Forbidden => None,
        };
        surroundings.routed = surroundings.listed_or_noted("VirtualServices", routes).into_iter().flatten().collect();
        for (kind, listing) in external_callers {
            let found = surroundings.listed_or_noted(kind, listing);
            surroundings.external_callers.extend(found.into_iter().flatten());
        }
        surroundings.cron_jobs = surroundings.listed_or_noted("CronJobs", cron_jobs);
        surroundings.identity_policies = surroundings.listed_or_noted("AuthorizationPolicies", identity);
        if api_versions.policy != PolicyApi::Legacy {
            surroundings.inert = surroundings.listed_or_noted("legacy Policies", inert);
        }
        Ok(surroundings)
    }

    /// The values of a list; notes the kind of objects if it may not be listed.
    fn listed_or_noted<U>(&mut self, kind: &str, listing: Listing<U>) -> Vec<U> {
        match listing {
            Listing::Listed(list) => return list,
            Listing::NotServed => {}
            Listing::Forbidden => self.unread.push(kind.to_owned()),
        }
        Vec::new()
    }

    /// Combines each snapshot with its surroundings.
    async fn complete(
        mut self,
        cluster: &Cluster,
        api_versions: ApiVersions,
        snapshots: Vec<Snapshot>,
    ) -> Result<Vec<NamespaceContext>, ClusterError> {
        let rules = match self.rules.take() {
            Some(rules) => rules,
            None => self.readable_rules(cluster, api_versions, &snapshots).await?,
        };
        let (rules, routed) = (Arc::new(rules), Arc::new(std::mem::take(&mut self.routed)));
        self.unread.dedup();
        let contexts = snapshots.into_iter().map(|snapshot| {
            let namespace = snapshot.namespace.clone();
            let is_here = |other: &String| *other == namespace;
            let inert = |name: &&String| {
                name.split_once('/').is_some_and(|(policy_namespace, _)| policy_namespace == namespace)
            };
            NamespaceContext {
                namespace_labels: self.namespaces.get(&namespace).cloned().unwrap_or_default(),
                rules: Arc::clone(&rules),
                routed: Arc::clone(&routed),
                external_callers: self
                    .external_callers
                    .iter()
                    .filter(|caller| is_here(&caller.namespace))
                    .cloned()
                    .collect(),
                cron_jobs: self.cron_jobs.iter().filter(|(of, _)| is_here(of)).map(|(_, job)| job.clone()).collect(),
                identity_policies: self
                    .identity_policies
                    .iter()
                    .filter(|(of, _)| is_here(of))
                    .map(|(_, name)| name.clone())
                    .collect(),
                inert: self.inert.iter().filter(inert).cloned().collect(),
                observed: None,
                unread: self.unread.iter().chain(&snapshot.unread).cloned().collect(),
                snapshot,
            }
        });
        Ok(contexts.collect())
    }

    /// Rules if those of all namespaces may not be listed: those of the snapshots, and of the root namespace if allowed.
    async fn readable_rules(
        &mut self,
        cluster: &Cluster,
        api_versions: ApiVersions,
        snapshots: &[Snapshot],
    ) -> Result<Vec<DestinationRule>, ClusterError> {
        self.unread.push("DestinationRules of other namespaces".to_owned());
        let mut rules: Vec<DestinationRule> = snapshots.iter().flat_map(|snapshot| snapshot.rules.clone()).collect();
        if let Some(snapshot) = snapshots.first() {
            let root = &snapshot.mesh.root_namespace;
            let kind = api_versions.rule.kind();
            let found =
                list_if_allowed(cluster, (&kind).into(), root, |object: Value| Some(read::destination_rule(&object)));
            if let Listing::Listed(found) = found.await? {
                rules.retain(|rule| rule.namespace != *root);
                rules.extend(found);
            }
        }
        Ok(rules)
    }
}

/// Callers from outside the mesh, by the kind of object that declares them.
async fn external_callers(
    cluster: &Cluster,
) -> Result<[(&'static str, Listing<Vec<ExternalCaller>>); 5], ClusterError> {
    const GROUP: &str = "admissionregistration.k8s.io";
    let scope = cluster.namespace.as_str();
    let hook = |kind: &'static str| several(move |object| surroundings::webhooks(&format!("{kind}.{GROUP}"), object));
    let (mutating, validating) = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations");
    let aggregated = resource("apiregistration.k8s.io", "v1", "apiservices");
    let (ingresses, routes, mutating, validating, aggregated) = futures::try_join!(
        list_if_allowed(
            cluster,
            resource("networking.k8s.io", "v1", "ingresses"),
            scope,
            several(surroundings::ingress)
        ),
        list_if_allowed(cluster, resource("route.openshift.io", "v1", "routes"), scope, several(surroundings::route)),
        list_if_allowed(cluster, resource(GROUP, "v1", mutating), "", hook("mutatingwebhookconfiguration")),
        list_if_allowed(cluster, resource(GROUP, "v1", validating), "", hook("validatingwebhookconfiguration")),
        list_if_allowed(cluster, aggregated, "", several(surroundings::api_service)),
    )?;
    Ok([
        ("Ingresses", ingresses),
        ("Routes", routes),
        ("webhook configurations", mutating),
        ("webhook configurations", validating),
        ("APIServices", aggregated),
    ])
}

/// `AuthorizationPolicies` that require an identity, each with its namespace; and policies of the legacy API.
async fn other_policies(
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> Result<(Listing<(String, String)>, Listing<String>), ClusterError> {
    let scope = cluster.namespace.as_str();
    let authorization = resource("security.istio.io", api_versions.policy.kind().version, "authorizationpolicies");
    let legacy = resource("authentication.istio.io", "v1alpha1", "policies");
    futures::try_join!(
        list_if_allowed(cluster, authorization, scope, |object: Value| {
            let name = read::metadata(&object, "name").to_owned();
            surroundings::matches_identity(&object).then(|| with_namespace(&object, name))
        }),
        list_if_allowed(cluster, legacy, scope, |object: OnlyMeta| {
            let Meta { name, namespace, .. } = object.metadata;
            Some(format!("{}/{}", namespace?, name?))
        }),
    )
}

/// Labels of the cluster's namespace, or of all namespaces; empty if they may not be read.
async fn namespace_labels(cluster: &Cluster) -> Result<BTreeMap<String, BTreeMap<String, String>>, ClusterError> {
    let keep = |object: OnlyMeta| Some((object.metadata.name?, object.metadata.labels.unwrap_or_default()));
    if cluster.namespace.is_empty() {
        return Ok(list(cluster, Resource::core("namespaces"), "", keep).await?.into_iter().collect());
    }
    let labels = snapshot::namespace_labels(cluster).await?.unwrap_or_default();
    Ok([(cluster.namespace.clone(), labels)].into())
}
