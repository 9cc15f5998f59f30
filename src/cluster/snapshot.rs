//! Reads one namespace for every command: lists its objects in parallel and converts them into values of `domain`.

mod pods;
mod services;
mod templates;
mod workload_entries;

use super::connect::Cluster;
use super::discover::ApiVersions;
use super::error::{Access, ClusterError};
use super::list::{Listing, Resource, list, list_if_allowed, list_if_served, list_optional};
use super::request::send_optional;
use crate::domain::control_plane::{self, ControlPlane, Hints};
use crate::domain::endpoints;
use crate::domain::envoy_filter::EnvoyFilter;
use crate::domain::mesh::{
    AccessLog, DEFAULT_REVISION, DataPlane, Gateway, MeshSettings, Pod, Policies, RootSource, Service, Snapshot,
    WorkloadEntry,
};
use crate::domain::object::ObjectKind;
use crate::domain::open_connections::parse_duration;
use crate::istio::kinds::{Kind, MESH_POLICY, OptionalKind, PolicyApi};
use crate::istio::{read, surroundings, yaml};
use k8s_openapi::api::core::v1::{self as core, ConfigMap, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
pub use pods::data_plane;
use pods::domain_pod;
use serde_json::Value;
pub(super) use services::services;
use std::collections::{BTreeMap, BTreeSet};
pub(super) use templates::templates;

/// The options that decide where the control plane is.
#[derive(Debug, Clone, Default)]
pub struct MeshOptions {
    /// `-i/--istio-namespace`; found by istiod's labels otherwise.
    pub istio_namespace: Option<String>,
    /// `--ztunnel-namespace`; found by ztunnel's label otherwise.
    pub ztunnel_namespace: Option<String>,
    /// `--revision`: the mesh's ConfigMap is `istio-<revision>`.
    pub revision: Option<String>,
    /// `--cluster-domain`.
    pub cluster_domain: Option<String>,
}

/// The state of one namespace: the snapshot, and the objects that a switch can change, as the server returned them.
#[derive(Debug, Clone)]
pub struct ClusterState {
    pub snapshot: Snapshot,
    /// Policies of the namespace by name.
    pub policies: BTreeMap<String, Value>,
    /// DestinationRules of the namespace by name.
    pub rules: BTreeMap<String, Value>,
}

impl ClusterState {
    fn objects(&mut self, kind: ObjectKind) -> &mut BTreeMap<String, Value> {
        match kind {
            ObjectKind::Policy => &mut self.policies,
            ObjectKind::Rule => &mut self.rules,
        }
    }

    /// Adds an object, or replaces the one of the same kind and name.
    pub fn put(&mut self, kind: ObjectKind, object: Value) {
        self.objects(kind).insert(read::metadata(&object, "name").to_owned(), object);
    }

    /// Removes an object.
    pub fn remove(&mut self, kind: ObjectKind, name: &str) {
        self.objects(kind).remove(name);
    }

    /// The object of this kind and name.
    pub fn find(&self, kind: ObjectKind, name: &str) -> Option<&Value> {
        match kind {
            ObjectKind::Policy => self.policies.get(name),
            ObjectKind::Rule => self.rules.get(name),
        }
    }
}

fn by_name(objects: Option<Vec<Value>>) -> BTreeMap<String, Value> {
    let named = |object: Value| (read::metadata(&object, "name").to_owned(), object);
    objects.unwrap_or_default().into_iter().map(named).collect()
}

/// Whether the policies and rules of the namespace are still the ones in `state`.
pub async fn is_unchanged(
    cluster: &Cluster,
    api_versions: ApiVersions,
    state: &ClusterState,
) -> Result<bool, ClusterError> {
    let namespace = cluster.namespace.as_str();
    let (policy, rule) = (api_versions.policy.kind(), api_versions.rule.kind());
    let (policies, rules) =
        futures::try_join!(objects(cluster, &policy, namespace), objects(cluster, &rule, namespace))?;
    Ok(by_name(policies) == state.policies && by_name(rules) == state.rules)
}

/// Reads the state of the cluster's namespace.
pub async fn read(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<ClusterState, ClusterError> {
    read_state(cluster, api_versions, options, RuleLists::NamespaceAndRoot).await
}

/// Which rules are listed with a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleLists {
    /// Those of the namespace and of the root namespace.
    NamespaceAndRoot,
    /// None: they are listed with those of all namespaces.
    None,
}

/// Reads the state of the cluster's namespace, with these rules.
async fn read_state(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
    lists: RuleLists,
) -> Result<ClusterState, ClusterError> {
    let namespace = cluster.namespace.as_str();
    let (policy, rule) = (api_versions.policy.kind(), api_versions.rule.kind());
    let served = |kind| api_versions.optional.resource(kind);
    let (labels, mut services, pods, entries, sidecars, filters, found, policies, rules) = futures::try_join!(
        namespace_labels(cluster),
        services(cluster, namespace),
        pods(cluster, namespace),
        workload_entries(cluster, api_versions, namespace),
        list_if_served(cluster, served(OptionalKind::Sidecars), namespace, |object: Value| {
            Some(surroundings::sidecar(&object))
        }),
        envoy_filters(cluster, api_versions, namespace, lists),
        control_planes(cluster, options),
        objects(cluster, &policy, namespace),
        async { if lists == RuleLists::None { Ok(None) } else { objects(cluster, &rule, namespace).await } },
    )?;
    let mut unread = Vec::new();
    let entries = entries.or_noted("WorkloadEntries", &mut unread);
    let sidecars = sidecars.or_noted("Sidecars (listeners of their own)", &mut unread);
    let filters = filters.or_noted("EnvoyFilters (changed listeners)", &mut unread);
    let (policies, rules) = (by_name(policies), by_name(rules));
    let label = labels.as_ref().and_then(|labels| labels.get("istio.io/rev")).map(String::as_str);
    let hints = MeshHints { options, found: &found, injected_by: label };
    let has_gateways = pods.iter().any(|pod| pod.facts.gateway && !pod.facts.finished);
    let ((mesh, root), mesh_root_pem, gateways) = futures::try_join!(
        mesh_of(cluster, api_versions, hints, &pods, lists),
        root_certificates(cluster, api_versions, namespace, &pods),
        gateways(cluster, api_versions, has_gateways),
    )?;
    if root.rules.is_none() {
        unread.push(format!("DestinationRules of the root namespace {}", mesh.root_namespace));
    }
    if root.envoy_filters.is_none() {
        unread.push(format!("EnvoyFilters of the root namespace {}", mesh.root_namespace));
    }
    let root_rules = root.rules.iter().flatten().map(read::destination_rule).collect();
    let gateways = gateways.or_noted("Gateways", &mut unread);
    let mut snapshot = Snapshot {
        namespace: namespace.to_owned(),
        sidecars,
        envoy_filters: filters.into_iter().chain(root.envoy_filters.iter().flatten().cloned()).collect(),
        workload_entries: entries.into_iter().map(|(_, name, entry)| (name, entry)).collect(),
        namespace_labels: labels,
        templates: Vec::new(),
        unread,
        policies: domain_policies(api_versions, &mesh, &policies.values().collect::<Vec<_>>(), &root),
        rules: rules.values().map(read::destination_rule).collect(),
        services: services.remove(namespace).unwrap_or_default(),
        pods: pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect(),
        mesh_root_pem: mesh_root_pem.filter(|_| mesh.undecided.is_empty()),
        root_rules,
        gateways,
        mesh,
    };
    endpoints::complete(&mut snapshot);
    Ok(ClusterState { snapshot, policies, rules })
}

/// As [`fn@read`], with the pod templates, for a plan.
pub async fn read_with_templates(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<ClusterState, ClusterError> {
    add_templates(cluster, api_versions, read(cluster, api_versions, options)).await
}

/// As [`read_with_templates`], without rules, for an overview: they are listed with those of all namespaces.
pub(super) async fn read_overview(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<ClusterState, ClusterError> {
    add_templates(cluster, api_versions, read_state(cluster, api_versions, options, RuleLists::None)).await
}

async fn add_templates(
    cluster: &Cluster,
    api_versions: ApiVersions,
    state: impl Future<Output = Result<ClusterState, ClusterError>>,
) -> Result<ClusterState, ClusterError> {
    let (mut state, (found, unread)) = futures::try_join!(state, templates(cluster, api_versions, &cluster.namespace))?;
    state.snapshot.templates = found.into_iter().map(|(_, template)| template).collect();
    state.snapshot.unread.extend(unread);
    if state.snapshot.namespace_labels.is_none() {
        state.snapshot.unread.push("labels of the namespace (what new pods will be)".to_owned());
    }
    Ok(state)
}

/// Namespace, name and value of each `WorkloadEntry` of a namespace (empty: of all).
pub(super) async fn workload_entries(
    cluster: &Cluster,
    api_versions: ApiVersions,
    namespace: &str,
) -> Result<Listing<(String, String, WorkloadEntry)>, ClusterError> {
    let kind = api_versions.optional.resource(OptionalKind::WorkloadEntries);
    list_if_served(cluster, kind, namespace, workload_entries::domain_entry).await
}

/// `EnvoyFilters` of a namespace, unless they are listed with those of all namespaces.
async fn envoy_filters(
    cluster: &Cluster,
    api_versions: ApiVersions,
    namespace: &str,
    lists: RuleLists,
) -> Result<Listing<EnvoyFilter>, ClusterError> {
    let kind = api_versions.optional.resource(OptionalKind::EnvoyFilters);
    let kind = kind.filter(|_| lists == RuleLists::NamespaceAndRoot);
    list_if_served(cluster, kind, namespace, |object: Value| Some(surroundings::envoy_filter(&object))).await
}

/// Gateways of all namespaces, where they are needed.
async fn gateways(
    cluster: &Cluster,
    api_versions: ApiVersions,
    are_needed: bool,
) -> Result<Listing<Gateway>, ClusterError> {
    let kind = api_versions.optional.resource(OptionalKind::Gateways).filter(|_| are_needed);
    list_if_served(cluster, kind, "", |object: Value| Some(surroundings::gateway(&object))).await
}

/// The mesh's root certificates as PEM, from what the namespace's proxies mount; without a proxy, from where injection puts
/// them by default (CP-3).
async fn root_certificates(
    cluster: &Cluster,
    api_versions: ApiVersions,
    namespace: &str,
    pods: &[Pod],
) -> Result<Option<String>, ClusterError> {
    const DEFAULT: &str = "istio-ca-root-cert";
    let sources: BTreeSet<&RootSource> = pods
        .iter()
        .filter(|pod| pod.data_plane.is_meshed() && !pod.facts.finished)
        .filter_map(|pod| pod.facts.root_certificates.as_ref())
        .collect();
    let default = RootSource::ConfigMap(DEFAULT.to_owned());
    // During a change of the setting pods have both; the first one is as good as the other.
    let source = sources.into_iter().next().unwrap_or(&default);
    match source {
        RootSource::ConfigMap(name) => {
            let map = config_map(cluster, namespace, name).await?;
            Ok(map.and_then(|map| map.data?.remove("root-cert.pem")))
        }
        RootSource::TrustBundle(name) => trust_bundle(cluster, api_versions, name).await,
    }
}

/// The certificates of a `ClusterTrustBundle` as PEM; `None` where it may not be read.
async fn trust_bundle(
    cluster: &Cluster,
    api_versions: ApiVersions,
    name: &str,
) -> Result<Option<String>, ClusterError> {
    let Some(resource) = api_versions.optional.resource(OptionalKind::TrustBundles) else { return Ok(None) };
    let gvk = GroupVersionKind::gvk(resource.group, resource.version, "ClusterTrustBundle");
    let api: Api<DynamicObject> =
        Api::all_with(cluster.client.clone(), &ApiResource::from_gvk_with_plural(&gvk, resource.plural));
    let access = Access::new("get", resource.group, resource.plural, "").named(name);
    let bundle = send_optional(access, &[403, 404], || api.get(name)).await?;
    Ok(bundle.and_then(|bundle| Some(bundle.data["spec"]["trustBundle"].as_str()?.to_owned())))
}

/// The namespace of `--from-namespace`, in which the probe pod runs.
#[derive(Clone)]
pub struct ProbeNamespace {
    /// The cluster with that namespace selected.
    pub cluster: Cluster,
    /// Services of that namespace, which must not select the pod.
    pub services: Vec<Service>,
}

impl std::fmt::Debug for ProbeNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProbeNamespace").field("namespace", &self.cluster.namespace).finish_non_exhaustive()
    }
}

/// Reads the namespace in which probe pods run, with the Services that must not select them.
pub async fn probe_namespace(cluster: &Cluster, namespace: &str) -> Result<ProbeNamespace, ClusterError> {
    let cluster = cluster.in_namespace(namespace);
    let ((), mut services) = futures::try_join!(namespace_exists(&cluster), services(&cluster, namespace))?;
    Ok(ProbeNamespace { services: services.remove(namespace).unwrap_or_default(), cluster })
}

/// Checks that the namespace exists, if it may be read.
pub async fn namespace_exists(cluster: &Cluster) -> Result<(), ClusterError> {
    namespace_labels(cluster).await.map(|_| ())
}

/// Labels of the namespace, `None` if they may not be read; an error if it does not exist.
pub(super) async fn namespace_labels(cluster: &Cluster) -> Result<Option<BTreeMap<String, String>>, ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let access = Access::new("get", "", "namespaces", "").named(&cluster.namespace);
    // A user without the right to read namespaces can still work in one.
    let namespace = send_optional(access, &[403], || api.get(&cluster.namespace)).await?;
    Ok(namespace.map(|namespace| namespace.metadata.labels.unwrap_or_default()))
}

/// An `Api` for one of Istio's kinds.
pub fn dynamic_api(cluster: &Cluster, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    if namespace.is_empty() {
        Api::all_with(cluster.client.clone(), &resource)
    } else {
        Api::namespaced_with(cluster.client.clone(), namespace, &resource)
    }
}

/// The pods of a namespace; of all namespaces if it is empty.
pub(super) async fn pods(cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>, ClusterError> {
    list(cluster, Resource::core("pods"), namespace, |pod| Some(domain_pod(pod))).await
}

/// The pods of a namespace, if they may be listed.
pub(super) async fn pods_if_allowed(cluster: &Cluster, namespace: &str) -> Result<Listing<Pod>, ClusterError> {
    list_if_allowed(cluster, Resource::core("pods"), namespace, |pod| Some(domain_pod(pod))).await
}

/// All objects of a kind; `None` if they cannot be read.
pub async fn objects(cluster: &Cluster, kind: &Kind, namespace: &str) -> Result<Option<Vec<Value>>, ClusterError> {
    // In the command's namespace they must be readable; elsewhere the command works without them.
    let tolerated: &[u16] = if namespace == cluster.namespace { &[] } else { &[403, 404] };
    list_optional(cluster, kind.into(), namespace, tolerated, Some).await
}

async fn config_map(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let access = Access::new("get", "", "configmaps", namespace).named(name);
    send_optional(access, &[403, 404], || api.get(name)).await
}

/// What applies to the whole mesh; `None` where it cannot be read.
#[derive(Clone, Default)]
pub(super) struct Root {
    pub(super) policies: Option<Vec<Value>>,
    /// Empty in the root namespace itself.
    rules: Option<Vec<Value>>,
    /// Empty in the root namespace itself.
    envoy_filters: Option<Vec<EnvoyFilter>>,
    mesh_policy: Option<Value>,
}

impl Root {
    /// The policies and rules of a root namespace that are read already.
    pub(super) fn new((policies, rules): (Vec<Value>, Vec<Value>)) -> Self {
        Self { policies: Some(policies), rules: Some(rules), envoy_filters: Some(Vec::new()), mesh_policy: None }
    }
}

/// What decides whose settings apply.
#[derive(Clone, Copy)]
pub(super) struct MeshHints<'a> {
    pub(super) options: &'a MeshOptions,
    pub(super) found: &'a [FoundControlPlane],
    /// The revision that the namespace's label names.
    pub(super) injected_by: Option<&'a str>,
}

/// A control plane whose Service was found.
#[derive(Debug, Clone)]
pub(super) struct FoundControlPlane {
    plane: ControlPlane,
    version: Option<String>,
}

/// The control planes to which the proxies of these pods are connected.
pub(super) fn connected<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> BTreeSet<ControlPlane> {
    let running = pods.into_iter().filter(|pod| pod.data_plane == DataPlane::Sidecar && !pod.facts.finished);
    running.filter_map(|pod| pod.facts.control_plane.clone()).collect()
}

/// The settings of the mesh to which these pods belong, and what applies to the whole of it.
async fn mesh_of(
    cluster: &Cluster,
    api_versions: ApiVersions,
    hints: MeshHints<'_>,
    pods: &[Pod],
    lists: RuleLists,
) -> Result<(MeshSettings, Root), ClusterError> {
    let settings = mesh_settings(cluster, hints, &connected(pods)).await?;
    let root = root(cluster, api_versions, &settings, lists).await?;
    Ok((settings, root))
}

/// The settings of the control plane that `connected` and the hints name. Where several are named and differ, none is
/// chosen: the settings are Istio's defaults, and `undecided` names them all.
pub(super) async fn mesh_settings(
    cluster: &Cluster,
    hints: MeshHints<'_>,
    connected: &BTreeSet<ControlPlane>,
) -> Result<MeshSettings, ClusterError> {
    let MeshHints { options, found, injected_by } = hints;
    let named =
        Hints { namespace: options.istio_namespace.as_deref(), revision: options.revision.as_deref(), injected_by };
    let found_planes = found.iter().map(|one| one.plane.clone()).collect();
    let planes = control_plane::candidates(named, connected, &found_planes);
    let read = planes.iter().map(|plane| settings_of(cluster, options, plane, found));
    let mut settings = futures::future::try_join_all(read).await?;
    let default = || MeshSettings { ztunnel_namespace: options.ztunnel_namespace.clone(), ..MeshSettings::default() };
    let mut first = if settings.is_empty() { default() } else { settings.remove(0) };
    let differs = |other: &MeshSettings| {
        let same = MeshSettings { version: first.version.clone(), ..other.clone() };
        same != first || !other.readable
    };
    if settings.iter().any(differs) {
        first = MeshSettings {
            istio_namespace: first.istio_namespace,
            ztunnel_namespace: options.ztunnel_namespace.clone(),
            root_namespace: first.root_namespace,
            cluster_domain: first.cluster_domain,
            undecided: planes.into_iter().collect(),
            ..MeshSettings::default()
        };
    }
    Ok(first)
}

async fn settings_of(
    cluster: &Cluster,
    options: &MeshOptions,
    plane: &ControlPlane,
    found: &[FoundControlPlane],
) -> Result<MeshSettings, ClusterError> {
    let (istio_namespace, name) = (plane.namespace.clone(), plane.config_map());
    let mut map = config_map(cluster, &istio_namespace, &name).await?;
    if map.is_none() {
        check_named(cluster, options, &istio_namespace, &name).await?;
    }
    let networks = map.as_mut().and_then(|map| map.data.as_mut()?.remove("meshNetworks"));
    let text = map.and_then(|map| map.data?.remove("mesh"));
    let parsed = |text: Option<&str>| text.and_then(|text| yaml::read_all(text).ok()?.into_iter().next());
    let (config, networks) = (parsed(text.as_deref()), parsed(networks.as_deref()));
    let value = |field: &str| config.as_ref().map(|config| config[field].clone()).unwrap_or_default();
    let text_of = |field: &str| value(field).as_str().map(str::to_owned);
    let networks = networks.as_ref().and_then(|networks| networks["networks"].as_object());
    let is_same = |other: &&FoundControlPlane| other.plane == *plane;
    Ok(MeshSettings {
        readable: config.is_some(),
        root_namespace: text_of("rootNamespace").unwrap_or_else(|| istio_namespace.clone()),
        trust_domain: text_of("trustDomain").unwrap_or_else(|| "cluster.local".to_owned()),
        auto_mtls: value("enableAutoMtls").as_bool().unwrap_or(true),
        cluster_domain: options.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned()),
        rule_export: texts(&value("defaultDestinationRuleExportTo")),
        service_export: texts(&value("defaultServiceExportTo")),
        passes_unknown: value("outboundTrafficPolicy")["mode"] != "REGISTRY_ONLY",
        discovery: value("discoverySelectors")
            .as_array()
            .into_iter()
            .flatten()
            .map(surroundings::label_selector)
            .collect(),
        ztunnel_namespace: options.ztunnel_namespace.clone(),
        networks: networks.into_iter().flatten().map(|(name, _)| name.clone()).collect(),
        undecided: Vec::new(),
        version: found.iter().find(is_same).and_then(|one| one.version.clone()),
        drain: value("defaultConfig")["drainDuration"].as_str().and_then(parse_duration),
        access_log: match text_of("accessLogFile").filter(|file| !file.is_empty()) {
            Some(_) => {
                AccessLog::On { own_format: text_of("accessLogFormat").is_some_and(|format| !format.is_empty()) }
            }
            None => AccessLog::Off,
        },
        istio_namespace,
    })
}

/// The policies and rules of the root namespace. Where the control plane is not known, no policy of the mesh is either.
pub(super) async fn root(
    cluster: &Cluster,
    api_versions: ApiVersions,
    settings: &MeshSettings,
    lists: RuleLists,
) -> Result<Root, ClusterError> {
    let empty = || Some(Vec::new());
    if !settings.undecided.is_empty() {
        return Ok(Root { policies: None, rules: empty(), envoy_filters: Some(Vec::new()), mesh_policy: None });
    }
    let namespace = settings.root_namespace.as_str();
    let is_root = namespace == cluster.namespace;
    let rule = api_versions.rule.kind();
    let is_listed = !is_root && lists == RuleLists::NamespaceAndRoot;
    let rules = async { if is_listed { objects(cluster, &rule, namespace).await } else { Ok(empty()) } };
    let filters = async {
        let listing =
            if is_root { Ok(Listing::NotServed) } else { envoy_filters(cluster, api_versions, namespace, lists).await };
        listing.map(|listing| match listing {
            Listing::Listed(filters) => Some(filters),
            Listing::NotServed => Some(Vec::new()),
            Listing::Forbidden => None,
        })
    };
    if api_versions.policy != PolicyApi::Legacy {
        let policy = api_versions.policy.kind();
        let policies = async { if is_root { Ok(empty()) } else { objects(cluster, &policy, namespace).await } };
        let (policies, rules, envoy_filters) = futures::try_join!(policies, rules, filters)?;
        return Ok(Root { policies, rules, envoy_filters, mesh_policy: None });
    }
    let access = Access::new("list", MESH_POLICY.group, MESH_POLICY.plural, "");
    let params = ListParams::default();
    let api = dynamic_api(cluster, &MESH_POLICY, "");
    let mesh_policies = send_optional(access, &[403, 404], || api.list(&params));
    let (list, rules, envoy_filters) = futures::try_join!(mesh_policies, rules, filters)?;
    let is_default = |item: &&DynamicObject| item.metadata.name.as_deref() == Some("default");
    let object = list.as_ref().and_then(|list| list.items.iter().find(is_default));
    Ok(Root {
        mesh_policy: object.and_then(|object| serde_json::to_value(object).ok()),
        policies: list.is_some().then(Vec::new),
        rules,
        envoy_filters,
    })
}

/// Checks that what `-i` and `--revision` name exists: with Istio's defaults in its place every answer could be wrong. An
/// object that may not be read is not an error.
async fn check_named(
    cluster: &Cluster,
    options: &MeshOptions,
    istio_namespace: &str,
    config_map: &str,
) -> Result<(), ClusterError> {
    if let Some(named) = &options.istio_namespace {
        let api: Api<Namespace> = Api::all(cluster.client.clone());
        let access = Access::new("get", "", "namespaces", "").named(named);
        if matches!(send_optional(access, &[404], || api.get(named)).await, Ok(None)) {
            return Err(ClusterError::new(
                format!("namespace {named:?} of --istio-namespace not found"),
                "pass the namespace of istiod, or leave the option out: istiod is found by its label",
            ));
        }
    }
    if let Some(revision) = &options.revision {
        let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), istio_namespace);
        let access = Access::new("get", "", "configmaps", istio_namespace).named(config_map);
        if matches!(send_optional(access, &[404], || api.get(config_map)).await, Ok(None)) {
            return Err(ClusterError::new(
                format!("revision {revision:?} not found: namespace {istio_namespace} has no ConfigMap {config_map:?}"),
                format!("list the revisions with: kubectl get configmaps -n {istio_namespace}"),
            ));
        }
    }
    Ok(())
}

/// The control planes by istiod's label, where Services of the whole cluster may be listed, each with the version that its
/// Service is labelled with. They are not listed where the user names the namespace.
pub(super) async fn control_planes(
    cluster: &Cluster,
    options: &MeshOptions,
) -> Result<Vec<FoundControlPlane>, ClusterError> {
    if options.istio_namespace.is_some() {
        return Ok(Vec::new());
    }
    let api: Api<core::Service> = Api::all(cluster.client.clone());
    let access = Access::new("list", "", "services", "");
    let params = istiod();
    let list = send_optional(access, &[403, 404], || api.list(&params)).await?;
    Ok(list.into_iter().flat_map(|list| list.items).filter_map(found_control_plane).collect())
}

/// The control planes by istiod's label, in the namespace that the user names or in all, each with the version that its
/// Service is labelled with.
pub async fn istio_versions(
    cluster: &Cluster,
    options: &MeshOptions,
) -> Result<Vec<(ControlPlane, Option<String>)>, ClusterError> {
    let namespace = options.istio_namespace.as_deref();
    let client = cluster.client.clone();
    let api: Api<core::Service> =
        namespace.map_or_else(|| Api::all(client.clone()), |namespace| Api::namespaced(client.clone(), namespace));
    let access = Access::new("list", "", "services", namespace.unwrap_or_default());
    let params = istiod();
    let list = send_optional(access, &[404], || api.list(&params)).await?;
    let found = list.into_iter().flat_map(|list| list.items).filter_map(found_control_plane);
    let is_meant = |plane: &ControlPlane| options.revision.as_ref().is_none_or(|revision| plane.revision == *revision);
    Ok(found.map(|found| (found.plane, found.version)).filter(|(plane, _)| is_meant(plane)).collect())
}

fn istiod() -> ListParams {
    ListParams::default().labels("app=istiod")
}

fn found_control_plane(service: core::Service) -> Option<FoundControlPlane> {
    let labels = service.metadata.labels.unwrap_or_default();
    let revision = labels.get("istio.io/rev").map_or(DEFAULT_REVISION, String::as_str);
    let plane = ControlPlane::new(&service.metadata.namespace?, revision);
    Some(FoundControlPlane { plane, version: labels.get("app.kubernetes.io/version").cloned() })
}

pub(super) fn domain_policies(
    api_versions: ApiVersions,
    mesh: &MeshSettings,
    in_namespace: &[&Value],
    root: &Root,
) -> Policies {
    let legacy_only = api_versions.policy == PolicyApi::Legacy;
    let root_objects = root.policies.as_deref().unwrap_or_default();
    let all = || in_namespace.iter().copied().chain(root_objects);
    Policies {
        root_namespace: mesh.root_namespace.clone(),
        root_readable: root.policies.is_some(),
        peer: if legacy_only { Vec::new() } else { all().map(read::peer_authentication).collect() },
        legacy: if legacy_only { in_namespace.iter().copied().map(read::legacy_policy).collect() } else { Vec::new() },
        legacy_mesh: root.mesh_policy.as_ref().map(read::legacy_policy),
        legacy_only,
    }
}

/// The strings of a list.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}
