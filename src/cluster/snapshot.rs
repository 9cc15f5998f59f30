//! Reads one namespace for every command: lists its objects in parallel and converts them into values of `domain`.

mod pods;
mod services;
mod templates;
mod workload_entries;

use super::connect::Cluster;
use super::discover::ApiVersions;
use super::error::{Access, ClusterError};
use super::list::{Listing, Resource, list, list_if_allowed, list_optional};
use super::request::send_optional;
use crate::domain::endpoints;
use crate::domain::mesh::{MeshSettings, Pod, Policies, Service, Snapshot, WorkloadEntry};
use crate::domain::object::ObjectKind;
use crate::istio::kinds::{Kind, MESH_POLICY, PolicyApi};
use crate::istio::{read, yaml};
use k8s_openapi::api::core::v1::{self as core, ConfigMap, Namespace};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
pub use pods::data_plane;
use pods::domain_pod;
use serde_json::Value;
pub(super) use services::services;
use std::collections::BTreeMap;
pub(super) use templates::templates;

/// The options that decide where the control plane is.
#[derive(Debug, Clone, Default)]
pub struct MeshOptions {
    /// `-i/--istio-namespace`; found by istiod's labels otherwise.
    pub istio_namespace: Option<String>,
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
    let namespace = cluster.namespace.as_str();
    let (policy, rule) = (api_versions.policy.kind(), api_versions.rule.kind());
    let (labels, mut services, pods, (entries, unread), root_certificate, policies, rules, (mesh, root)) = futures::try_join!(
        namespace_labels(cluster),
        services(cluster, namespace),
        pods(cluster, namespace),
        workload_entries(cluster, api_versions, namespace),
        config_map(cluster, namespace, "istio-ca-root-cert"),
        objects(cluster, &policy, namespace),
        objects(cluster, &rule, namespace),
        mesh_settings(cluster, api_versions, options),
    )?;
    let (policies, rules) = (by_name(policies), by_name(rules));
    let mut snapshot = Snapshot {
        namespace: namespace.to_owned(),
        workload_entries: entries.into_iter().map(|(_, name, entry)| (name, entry)).collect(),
        namespace_labels: labels,
        templates: Vec::new(),
        unread,
        policies: domain_policies(api_versions, &mesh, &policies.values().collect::<Vec<_>>(), &root),
        rules: rules.values().map(read::destination_rule).collect(),
        services: services.remove(namespace).unwrap_or_default(),
        pods: pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect(),
        mesh_root_pem: root_certificate.and_then(|map| map.data?.remove("root-cert.pem")),
        mesh,
    };
    endpoints::complete(&mut snapshot);
    Ok(ClusterState { snapshot, policies, rules })
}

/// As [`read`], with the pod templates, for a plan or an overview.
pub async fn read_with_templates(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<ClusterState, ClusterError> {
    let namespace = cluster.namespace.as_str();
    let (mut state, (found, unread)) =
        futures::try_join!(read(cluster, api_versions, options), templates(cluster, namespace))?;
    state.snapshot.templates = found.into_iter().map(|(_, template)| template).collect();
    state.snapshot.unread.extend(unread);
    if state.snapshot.namespace_labels.is_none() {
        state.snapshot.unread.push("labels of the namespace (what new pods will be)".to_owned());
    }
    Ok(state)
}

/// Namespace, name and value of each `WorkloadEntry`, and the kind in words if it may not be listed.
pub(super) async fn workload_entries(
    cluster: &Cluster,
    api_versions: ApiVersions,
    namespace: &str,
) -> Result<(Vec<(String, String, WorkloadEntry)>, Vec<String>), ClusterError> {
    let kind = Kind { plural: "workloadentries", kind: "WorkloadEntry", ..api_versions.rule.kind() };
    Ok(match list_if_allowed(cluster, (&kind).into(), namespace, workload_entries::domain_entry).await? {
        Listing::Listed(entries) => (entries, Vec::new()),
        Listing::NotServed => (Vec::new(), Vec::new()),
        Listing::Forbidden => (Vec::new(), vec!["WorkloadEntries".to_owned()]),
    })
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

/// Policies that apply to the whole mesh; `None` if they cannot be read.
pub(super) struct Root {
    pub(super) policies: Option<Vec<Value>>,
    mesh_policy: Option<Value>,
}

pub(super) async fn mesh_settings(
    cluster: &Cluster,
    api_versions: ApiVersions,
    options: &MeshOptions,
) -> Result<(MeshSettings, Root), ClusterError> {
    let (istio_namespace, version) = match &options.istio_namespace {
        Some(namespace) => (namespace.clone(), None),
        None => find_istiod(cluster).await?.unwrap_or_else(|| ("istio-system".to_owned(), None)),
    };
    let name = match &options.revision {
        Some(revision) if revision != "default" => format!("istio-{revision}"),
        _ => "istio".to_owned(),
    };
    let map = config_map(cluster, &istio_namespace, &name).await?;
    if map.is_none() {
        check_named(cluster, options, &istio_namespace, &name).await?;
    }
    let text = map.and_then(|map| map.data?.remove("mesh"));
    let config = text.as_deref().and_then(|text| yaml::read_all(text).ok()?.into_iter().next());
    let text_of = |field: &str| config.as_ref().and_then(|config| config[field].as_str()).map(str::to_owned);
    let settings = MeshSettings {
        readable: config.is_some(),
        root_namespace: text_of("rootNamespace").unwrap_or_else(|| istio_namespace.clone()),
        trust_domain: text_of("trustDomain").unwrap_or_else(|| "cluster.local".to_owned()),
        auto_mtls: config.as_ref().and_then(|config| config["enableAutoMtls"].as_bool()).unwrap_or(true),
        cluster_domain: options.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned()),
        rule_export: config.as_ref().map(|config| texts(&config["defaultDestinationRuleExportTo"])).unwrap_or_default(),
        istio_namespace,
        version,
    };
    let root = if api_versions.policy == PolicyApi::Legacy {
        let access = Access::new("list", MESH_POLICY.group, MESH_POLICY.plural, "");
        let params = ListParams::default();
        let api = dynamic_api(cluster, &MESH_POLICY, "");
        let list = send_optional(access, &[403, 404], || api.list(&params)).await?;
        let object = list
            .as_ref()
            .and_then(|list| list.items.iter().find(|item| item.metadata.name.as_deref() == Some("default")));
        Root {
            mesh_policy: object.and_then(|object| serde_json::to_value(object).ok()),
            policies: list.is_some().then(Vec::new),
        }
    } else if settings.root_namespace == cluster.namespace {
        Root { policies: Some(Vec::new()), mesh_policy: None }
    } else {
        let kind = api_versions.policy.kind();
        Root { policies: objects(cluster, &kind, &settings.root_namespace).await?, mesh_policy: None }
    };
    Ok((settings, root))
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

/// The namespace of istiod's Service, found by its label, and the version in its labels; `None` if Services of the whole
/// cluster cannot be listed.
async fn find_istiod(cluster: &Cluster) -> Result<Option<(String, Option<String>)>, ClusterError> {
    let api: Api<core::Service> = Api::all(cluster.client.clone());
    let access = Access::new("list", "", "services", "");
    let params = ListParams::default().labels("app=istiod").limit(1);
    let list = send_optional(access, &[403, 404], || api.list(&params)).await?;
    Ok(list.and_then(|list| {
        let mut metadata = list.items.into_iter().next()?.metadata;
        let version = metadata.labels.as_mut().and_then(|labels| labels.remove("app.kubernetes.io/version"));
        Some((metadata.namespace?, version))
    }))
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
