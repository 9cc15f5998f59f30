//! Reads one namespace or all of them together with their surroundings, for `status` and the checks before `enable-mtls`:
//! rules and labels of other namespaces, callers from outside the mesh, jobs, and policies that need identities.

use super::connect::Cluster;
use super::discover::ApiVersions;
use super::error::ClusterError;
use super::list::{Listing, Meta, Resource, list, list_if_allowed, list_if_served};
use super::network_policies;
use super::snapshot::{self, MeshHints, MeshOptions, Root, RuleLists, domain_policies, objects};
use crate::domain::control_plane::ControlPlane;
use crate::domain::endpoints;
use crate::domain::envoy_filter::EnvoyFilter;
use crate::domain::injection::PodTemplate;
use crate::domain::knative;
use crate::domain::mesh::{DataPlane, DestinationRule, Gateway, MeshSettings, Pod, Snapshot, WorkloadEntry};
use crate::domain::namespace_context::{
    CanaryRollout, CronJob, ExternalCaller, KnativeSystem, Monitor, NamespaceContext,
};
use crate::domain::network_policy::NetworkPolicy;
use crate::domain::other_names::{HostRoute, ServiceEntry};
use crate::domain::sidecar::Sidecar;
use crate::istio::kinds::{OptionalKind, PolicyApi};
use crate::istio::surroundings::ApiRoute;
use crate::istio::{read, surroundings};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Reads the cluster's namespace with its surroundings.
pub async fn read(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<NamespaceContext, ClusterError> {
    let (state, surroundings) = futures::try_join!(
        Box::pin(snapshot::read_overview(cluster, api_versions, options)),
        Box::pin(SurroundingObjects::read(cluster, api_versions, options))
    )?;
    let mut snapshot = state.snapshot;
    snapshot.rules = if let Some(rules) = &surroundings.rules {
        rules.iter().filter(|rule| rule.namespace == snapshot.namespace).cloned().collect()
    } else {
        let rules = objects(cluster, &api_versions.rule.kind(), &cluster.namespace).await?;
        rules.iter().flatten().map(read::destination_rule).collect()
    };
    Ok(surroundings.complete(cluster, api_versions, vec![snapshot]).await?.remove(0))
}

/// The rules of all namespaces; `None` where they may not be listed.
pub async fn rules(cluster: &Cluster, api_versions: ApiVersions) -> Result<Option<Vec<DestinationRule>>, ClusterError> {
    let resource = Resource::from(&api_versions.rule.kind());
    match list_if_allowed(cluster, resource, "", |rule: Value| Some(read::destination_rule(&rule))).await? {
        Listing::Listed(rules) => Ok(Some(rules)),
        Listing::NotServed => Ok(Some(Vec::new())),
        Listing::Forbidden => Ok(None),
    }
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
    let (mut services, pods, entries, (templates, mut unread), policies, rules, found, surroundings) = futures::try_join!(
        snapshot::services(&all, ""),
        snapshot::pods(&all, ""),
        snapshot::workload_entries(&all, api_versions, ""),
        snapshot::templates(&all, api_versions, ""),
        objects(&all, &policy, ""),
        objects(&all, &rule, ""),
        snapshot::control_planes(&all, options),
        Box::pin(SurroundingObjects::read(&all, api_versions, options)),
    )?;
    let entries = entries.or_noted("WorkloadEntries", &mut unread);
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
    let mut meshes: HashMap<MeshKey, (MeshSettings, Root)> = HashMap::new();
    let mut snapshots = Vec::new();
    for (namespace, objects) in &by_namespace {
        let NamespaceObjects { pods, entries, templates, policies, rules } = objects;
        if pods.iter().all(|pod| !pod.data_plane.is_meshed()) && policies.is_empty() && rules.is_empty() {
            continue;
        }
        let label = surroundings.namespaces.get(namespace).and_then(|labels| labels.get("istio.io/rev"));
        let key = (snapshot::connected(pods), label.cloned());
        if !meshes.contains_key(&key) {
            let hints = MeshHints { options, found: &found, injected_by: key.1.as_deref() };
            let settings = snapshot::mesh_settings(&all, hints, &key.0).await?;
            let root = if api_versions.policy == PolicyApi::Legacy || !settings.undecided.is_empty() {
                snapshot::root(&all, api_versions, &settings, RuleLists::None).await?
            } else {
                let of_root = by_namespace.get(&settings.root_namespace);
                Root::new(of_root.map(|root| (root.policies.clone(), root.rules.clone())).unwrap_or_default())
            };
            meshes.insert(key.clone(), (settings, root));
        }
        let Some((mesh, root)) = meshes.get(&key) else { continue };
        // The root namespace's policies are the mesh's, which `root` contains.
        let is_root = *namespace == mesh.root_namespace;
        let policies: Vec<&Value> = policies.iter().filter(|_| !is_root).collect();
        let mut snapshot = Snapshot {
            policies: domain_policies(api_versions, mesh, &policies, root),
            rules: rules.iter().map(read::destination_rule).collect(),
            services: services.remove(namespace).unwrap_or_default(),
            pods: pods.iter().map(|pod| (pod.name.clone(), pod.clone())).collect(),
            mesh: mesh.clone(),
            namespace_labels: surroundings.namespaces.get(namespace).cloned(),
            sidecars: surroundings.sidecars.iter().filter(|sidecar| sidecar.namespace == *namespace).cloned().collect(),
            workload_entries: entries.clone(),
            templates: templates.clone(),
            unread: unread.clone(),
            namespace: namespace.clone(),
            ..Snapshot::default()
        };
        endpoints::complete(&mut snapshot);
        snapshots.push(snapshot);
    }
    surroundings.complete(&all, api_versions, snapshots).await
}

/// What decides whose settings apply in a namespace: the control planes of its proxies, and the revision of its label.
type MeshKey = (BTreeSet<ControlPlane>, Option<String>);

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
    sidecars: Vec<Sidecar>,
    service_entries: Vec<ServiceEntry>,
    routes: Vec<HostRoute>,
    gateways: Vec<Gateway>,
    monitors: Vec<Monitor>,
    envoy_filters: Vec<EnvoyFilter>,
    rollouts: Vec<(String, CanaryRollout)>,
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
        let served = |kind| api_versions.optional.resource(kind);
        let (rules, clients, cron_jobs, identity, inert, external_callers, namespaces, rollouts) = futures::try_join!(
            list_if_allowed(cluster, (&kind).into(), "", |object: Value| Some(read::destination_rule(&object))),
            Box::pin(ClientObjects::read(cluster, api_versions, domain)),
            list_if_served(cluster, served(OptionalKind::CronJobs), scope, |object: Value| {
                Some(with_namespace(&object, surroundings::cron_job(&object)))
            }),
            list_widest(cluster, served(OptionalKind::AuthorizationPolicies), |object: Value| {
                let name = read::metadata(&object, "name").to_owned();
                surroundings::matches_identity(&object).then(|| with_namespace(&object, name))
            }),
            list_if_served(cluster, served(OptionalKind::LegacyPolicies), scope, |object: OnlyMeta| {
                let Meta { name, namespace, .. } = object.metadata;
                Some(format!("{}/{}", namespace?, name?))
            }),
            Box::pin(external_callers(cluster, api_versions)),
            namespace_labels(cluster),
            Box::pin(rollouts(cluster, api_versions)),
        )?;
        let mut surroundings = Self { namespaces, ..Self::default() };
        surroundings.rules = match rules {
            Listing::Listed(rules) => Some(rules),
            Listing::NotServed | Listing::Forbidden => None,
        };
        surroundings.add_clients(clients);
        surroundings.add_external_callers(external_callers);
        for (kind, listing) in rollouts {
            let found = surroundings.listed_or_noted(kind, listing);
            surroundings.rollouts.extend(found);
        }
        surroundings.cron_jobs = surroundings.listed_or_noted("CronJobs", cron_jobs);
        surroundings.identity_policies = surroundings.widest_or_noted("AuthorizationPolicies", identity);
        if api_versions.policy != PolicyApi::Legacy {
            surroundings.inert = surroundings.listed_or_noted("legacy Policies", inert);
        }
        Ok(surroundings)
    }

    fn add_clients(&mut self, clients: ClientObjects) {
        let virtual_services = self.widest_or_noted("VirtualServices", clients.virtual_services);
        for (route, subsets) in virtual_services {
            self.routes.push(route);
            self.routed.extend(subsets);
        }
        self.sidecars = self.widest_or_noted("Sidecars", clients.sidecars);
        self.service_entries = self.widest_or_noted("ServiceEntries", clients.service_entries);
        self.envoy_filters = self.widest_or_noted("EnvoyFilters", clients.envoy_filters);
        self.gateways = self.widest_or_noted("Gateways", clients.gateways);
        self.monitors = self.listed_or_noted("ServiceMonitors", clients.service_monitors);
        let of_pods = self.listed_or_noted("PodMonitors", clients.pod_monitors);
        self.monitors.extend(of_pods);
    }

    /// Adds callers by the objects that declare them. Routes of the Gateway API count unless a Gateway of the mesh serves
    /// them: its pods are in the mesh.
    fn add_external_callers(&mut self, callers: ExternalCallers) {
        for (kind, listing) in callers.direct {
            let found = self.listed_or_noted(kind, listing);
            self.external_callers.extend(found.into_iter().flatten());
        }
        let of_mesh: BTreeSet<(String, String)> =
            self.listed_or_noted("Gateways of the Gateway API", callers.mesh_gateways).into_iter().collect();
        for (kind, listing) in callers.routes {
            let routes = self.listed_or_noted(kind, listing);
            let is_outside = |route: &ApiRoute| route.gateways.iter().any(|gateway| !of_mesh.contains(gateway));
            self.external_callers.extend(routes.into_iter().filter(is_outside).flat_map(|route| route.callers));
        }
    }

    fn widest_or_noted<U>(&mut self, kind: &str, (listing, is_partial): (Listing<U>, bool)) -> Vec<U> {
        if is_partial && matches!(listing, Listing::Listed(_)) {
            self.unread.push(format!("{kind} of other namespaces"));
        }
        self.listed_or_noted(kind, listing)
    }

    fn listed_or_noted<U>(&mut self, kind: &str, listing: Listing<U>) -> Vec<U> {
        listing.or_noted(kind, &mut self.unread)
    }

    /// Combines each snapshot with its surroundings.
    async fn complete(
        mut self,
        cluster: &Cluster,
        api_versions: ApiVersions,
        snapshots: Vec<Snapshot>,
    ) -> Result<Vec<NamespaceContext>, ClusterError> {
        let mut rules = match self.rules.take() {
            Some(rules) => rules,
            None => self.readable_rules(cluster, api_versions, &snapshots).await?,
        };
        let hidden = self.hidden_namespaces(cluster, &snapshots).await?;
        let hidden_rules: Arc<Vec<DestinationRule>> =
            Arc::new(rules.extract_if(.., |rule| hidden.contains(&rule.namespace)).collect());
        self.leave_out(&hidden);
        let (rules, routed) = (Arc::new(rules), Arc::new(std::mem::take(&mut self.routed)));
        let sidecars = Arc::new(std::mem::take(&mut self.sidecars));
        let host_routes = Arc::new(std::mem::take(&mut self.routes));
        let service_entries = Arc::new(std::mem::take(&mut self.service_entries));
        let (gateways, monitors) =
            (Arc::new(std::mem::take(&mut self.gateways)), Arc::new(std::mem::take(&mut self.monitors)));
        let envoy_filters = Arc::new(std::mem::take(&mut self.envoy_filters));
        let knative = knative_system(cluster, &snapshots).await?;
        let network_policies = self.network_policies(cluster, &snapshots).await?;
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
                hidden_rules: Arc::clone(&hidden_rules),
                routed: Arc::clone(&routed),
                sidecars: Arc::clone(&sidecars),
                service_entries: Arc::clone(&service_entries),
                routes: Arc::clone(&host_routes),
                gateways: Arc::clone(&gateways),
                monitors: Arc::clone(&monitors),
                envoy_filters: Arc::clone(&envoy_filters),
                rollouts: self.rollouts.iter().filter(|(of, _)| is_here(of)).map(|(_, one)| one.clone()).collect(),
                knative: knative.clone().filter(|_| knative::runs_in(&snapshot)),
                external_callers: self
                    .external_callers
                    .iter()
                    .filter(|caller| is_here(&caller.namespace))
                    .cloned()
                    .collect(),
                cron_jobs: self.cron_jobs.iter().filter(|(of, _)| is_here(of)).map(|(_, job)| job.clone()).collect(),
                identity_policies: self.identity_policies(&snapshot),
                inert: self.inert.iter().filter(inert).cloned().collect(),
                network_policies: network_policies
                    .iter()
                    .filter(|(of, _)| is_here(of))
                    .map(|(_, policy)| policy.clone())
                    .collect(),
                observed: None,
                unread: self.unread.iter().chain(&snapshot.unread).cloned().collect(),
                snapshot,
            }
        });
        Ok(contexts.collect())
    }

    /// The namespaces that the `discoverySelectors` of the mesh leave out (CP-4); none where the namespaces that are read
    /// belong to control planes with different selectors.
    async fn hidden_namespaces(
        &mut self,
        cluster: &Cluster,
        snapshots: &[Snapshot],
    ) -> Result<BTreeSet<String>, ClusterError> {
        let mut meshes = snapshots.iter().map(|snapshot| &snapshot.mesh);
        let Some(mesh) = meshes.next().filter(|mesh| !mesh.discovery.is_empty()) else { return Ok(BTreeSet::new()) };
        if meshes.any(|other| other.discovery != mesh.discovery) {
            return Ok(BTreeSet::new());
        }
        let keep = |object: OnlyMeta| Some((object.metadata.name?, object.metadata.labels.unwrap_or_default()));
        let listing = list_if_allowed(cluster, Resource::core("namespaces"), "", keep).await?;
        let all = self.listed_or_noted("namespaces (which of them istiod reads)", listing);
        Ok(all.into_iter().filter(|(_, labels)| !mesh.discovers(labels)).map(|(name, _)| name).collect())
    }

    /// The NetworkPolicies of the namespaces, where any has pods in ambient mode.
    async fn network_policies(
        &mut self,
        cluster: &Cluster,
        snapshots: &[Snapshot],
    ) -> Result<Vec<(String, NetworkPolicy)>, ClusterError> {
        let is_ambient = |pod: &Pod| pod.data_plane == DataPlane::Ambient;
        if !snapshots.iter().flat_map(|snapshot| snapshot.pods.values()).any(is_ambient) {
            return Ok(Vec::new());
        }
        let listing = network_policies::by_namespace(cluster).await?;
        Ok(self.listed_or_noted("NetworkPolicies", listing))
    }

    /// Leaves out the objects of namespaces that istiod does not read.
    fn leave_out(&mut self, hidden: &BTreeSet<String>) {
        self.sidecars.retain(|sidecar| !hidden.contains(&sidecar.namespace));
        self.service_entries.retain(|entry| !hidden.contains(&entry.namespace));
        self.routes.retain(|route| !hidden.contains(&route.namespace));
        self.gateways.retain(|gateway| !hidden.contains(&gateway.namespace));
        self.envoy_filters.retain(|filter| !hidden.contains(&filter.namespace));
    }

    /// The `AuthorizationPolicies` that apply in a namespace: its own, and those of the root namespace.
    fn identity_policies(&self, snapshot: &Snapshot) -> Vec<String> {
        let root = &snapshot.mesh.root_namespace;
        let named = self.identity_policies.iter().filter_map(|(namespace, name)| {
            if *namespace == snapshot.namespace {
                Some(name.clone())
            } else {
                (namespace == root).then(|| format!("{namespace}/{name}"))
            }
        });
        named.collect()
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

/// Lists all namespaces, or only the cluster's where that is not allowed; the flag says that it is only the latter.
async fn list_widest<U>(
    cluster: &Cluster,
    resource: Option<Resource>,
    convert: impl Fn(Value) -> Option<U>,
) -> Result<(Listing<U>, bool), ClusterError> {
    let listing = list_if_served(cluster, resource, "", &convert).await?;
    if !matches!(listing, Listing::Forbidden) || cluster.namespace.is_empty() {
        return Ok((listing, false));
    }
    Ok((list_if_served(cluster, resource, &cluster.namespace, &convert).await?, true))
}

/// A `VirtualService`: where its hosts lead, and the subsets that it sends calls to, as (host, subset).
type VirtualService = (HostRoute, Vec<(String, String)>);

/// What decides where calls of the mesh's clients lead.
struct ClientObjects {
    virtual_services: (Listing<VirtualService>, bool),
    sidecars: (Listing<Sidecar>, bool),
    service_entries: (Listing<ServiceEntry>, bool),
    gateways: (Listing<Gateway>, bool),
    envoy_filters: (Listing<EnvoyFilter>, bool),
    service_monitors: Listing<Monitor>,
    pod_monitors: Listing<Monitor>,
}

impl ClientObjects {
    async fn read(cluster: &Cluster, api_versions: ApiVersions, domain: &str) -> Result<Self, ClusterError> {
        let served = |kind| api_versions.optional.resource(kind);
        let monitor = |resource: &'static str| move |object: Value| surroundings::monitor(resource, &object);
        let (virtual_services, sidecars, service_entries, gateways, envoy_filters, service_monitors, pod_monitors) = futures::try_join!(
            list_widest(cluster, served(OptionalKind::VirtualServices), |object: Value| {
                Some((surroundings::host_route(&object, domain), surroundings::routed_subsets(&object, domain)))
            }),
            list_widest(cluster, served(OptionalKind::Sidecars), |object: Value| Some(surroundings::sidecar(&object))),
            list_widest(cluster, served(OptionalKind::ServiceEntries), |object: Value| {
                Some(surroundings::service_entry(&object))
            }),
            list_widest(cluster, served(OptionalKind::Gateways), |object: Value| Some(surroundings::gateway(&object))),
            list_widest(cluster, served(OptionalKind::EnvoyFilters), |object: Value| {
                Some(surroundings::envoy_filter(&object))
            }),
            list_if_served(
                cluster,
                served(OptionalKind::ServiceMonitors),
                "",
                monitor("servicemonitor.monitoring.coreos.com")
            ),
            list_if_served(cluster, served(OptionalKind::PodMonitors), "", monitor("podmonitor.monitoring.coreos.com")),
        )?;
        Ok(Self {
            virtual_services,
            sidecars,
            service_entries,
            gateways,
            envoy_filters,
            service_monitors,
            pod_monitors,
        })
    }
}

/// Callers from outside the mesh, by the kind of object that declares them.
struct ExternalCallers {
    direct: [(&'static str, Listing<Vec<ExternalCaller>>); 7],
    routes: [(&'static str, Listing<ApiRoute>); 4],
    /// Gateways of the Gateway API that the mesh serves, as (namespace, name).
    mesh_gateways: Listing<(String, String)>,
}

async fn external_callers(cluster: &Cluster, api_versions: ApiVersions) -> Result<ExternalCallers, ClusterError> {
    let (direct, (routes, mesh_gateways)) = futures::try_join!(
        Box::pin(direct_callers(cluster, api_versions)),
        Box::pin(api_routes(cluster, api_versions))
    )?;
    Ok(ExternalCallers { direct, routes, mesh_gateways })
}

async fn direct_callers(
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> Result<[(&'static str, Listing<Vec<ExternalCaller>>); 7], ClusterError> {
    const GROUP: &str = "admissionregistration.k8s.io";
    let scope = cluster.namespace.as_str();
    let hook = |kind: &'static str| several(move |object| surroundings::webhooks(&format!("{kind}.{GROUP}"), object));
    let served = |kind| api_versions.optional.resource(kind);
    let (ingresses, routes, bindings, mutating, validating, aggregated, conversions) = futures::try_join!(
        list_if_served(cluster, served(OptionalKind::Ingresses), scope, several(surroundings::ingress)),
        list_if_served(cluster, served(OptionalKind::Routes), scope, several(surroundings::route)),
        list_if_served(
            cluster,
            served(OptionalKind::TargetGroupBindings),
            scope,
            several(surroundings::target_group_binding)
        ),
        list_if_served(cluster, served(OptionalKind::MutatingWebhooks), "", hook("mutatingwebhookconfiguration")),
        list_if_served(cluster, served(OptionalKind::ValidatingWebhooks), "", hook("validatingwebhookconfiguration")),
        list_if_served(cluster, served(OptionalKind::ApiServices), "", several(surroundings::api_service)),
        list_if_served(cluster, served(OptionalKind::CustomResourceDefinitions), "", |definition: Definition| {
            Some(surroundings::conversion_webhook(&definition.into_value()))
        }),
    )?;
    Ok([
        ("Ingresses", ingresses),
        ("Routes", routes),
        ("TargetGroupBindings", bindings),
        ("webhook configurations", mutating),
        ("webhook configurations", validating),
        ("APIServices", aggregated),
        ("CustomResourceDefinitions", conversions),
    ])
}

/// The resources of canary controllers, each with its namespace.
async fn rollouts(
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> Result<[(&'static str, Listing<(String, CanaryRollout)>); 2], ClusterError> {
    let scope = cluster.namespace.as_str();
    let served = |kind| api_versions.optional.resource(kind);
    let (canaries, rollouts) = futures::try_join!(
        list_if_served(cluster, served(OptionalKind::Canaries), scope, |object: Value| {
            Some(with_namespace(&object, surroundings::flagger_canary(&object)))
        }),
        list_if_served(cluster, served(OptionalKind::Rollouts), scope, |object: Value| {
            Some(with_namespace(&object, surroundings::argo_rollout(&object)?))
        }),
    )?;
    Ok([("Canaries", canaries), ("Rollouts (in progress)", rollouts)])
}

/// Knative's own pods, where any of the namespaces has workloads of Knative.
async fn knative_system(cluster: &Cluster, snapshots: &[Snapshot]) -> Result<Option<KnativeSystem>, ClusterError> {
    if !snapshots.iter().any(knative::runs_in) {
        return Ok(None);
    }
    Ok(Some(match snapshot::pods_if_allowed(cluster, knative::NAMESPACE).await? {
        Listing::Listed(pods) => knative::system(&pods),
        Listing::NotServed | Listing::Forbidden => KnativeSystem::Unknown,
    }))
}

/// A `CustomResourceDefinition` without its schemas.
#[derive(Deserialize)]
struct Definition {
    metadata: Meta,
    #[serde(default)]
    spec: DefinitionSpec,
}

#[derive(Default, Deserialize)]
struct DefinitionSpec {
    #[serde(default)]
    conversion: Value,
}

impl Definition {
    fn into_value(self) -> Value {
        json!({"metadata": {"name": self.metadata.name}, "spec": {"conversion": self.spec.conversion}})
    }
}

/// Routes of the Gateway API in all namespaces, because one can lead to Services of another namespace; and the Gateways that
/// the mesh serves.
async fn api_routes(
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> Result<([(&'static str, Listing<ApiRoute>); 4], Listing<(String, String)>), ClusterError> {
    let served = |kind| api_versions.optional.resource(kind);
    let route = |kind: &'static str| {
        move |object: Value| Some(surroundings::api_route(&format!("{kind}.gateway.networking.k8s.io"), &object))
    };
    let (http, grpc, tcp, tls, gateways) = futures::try_join!(
        list_if_served(cluster, served(OptionalKind::HttpRoutes), "", route("httproute")),
        list_if_served(cluster, served(OptionalKind::GrpcRoutes), "", route("grpcroute")),
        list_if_served(cluster, served(OptionalKind::TcpRoutes), "", route("tcproute")),
        list_if_served(cluster, served(OptionalKind::TlsRoutes), "", route("tlsroute")),
        list_if_served(cluster, served(OptionalKind::ApiGateways), "", |object: Value| {
            surroundings::mesh_api_gateway(&object)
        }),
    )?;
    Ok(([("HTTPRoutes", http), ("GRPCRoutes", grpc), ("TCPRoutes", tcp), ("TLSRoutes", tls)], gateways))
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
