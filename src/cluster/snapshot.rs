//! One look at the cluster: lists in parallel, turned into domain values.

use super::connect::Cluster;
use super::discover::Generation;
use super::error::{Access, ClusterError};
use super::request::{send, send_optional};
use crate::domain::mesh::{
    Capture, DataPlane, Endpoint, MeshSettings, Pod, Policies, Protocol, Service, ServiceKind, ServicePort, Snapshot,
};
use crate::domain::plan::Target;
use crate::istio::kinds::{Kind, MESH_POLICY, PolicyApi};
use crate::istio::{read, yaml};
use k8s_openapi::api::core::v1::{self as core, ConfigMap, Namespace};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;
use std::collections::BTreeMap;

/// Where to look for the control plane.
#[derive(Debug, Clone, Default)]
pub struct MeshOptions {
    /// `-i/--istio-namespace`; found by istiod's labels otherwise.
    pub istio_namespace: Option<String>,
    /// `--revision`: the mesh's ConfigMap is `istio-<revision>`.
    pub revision: Option<String>,
    /// `--cluster-domain`.
    pub cluster_domain: Option<String>,
}

/// A snapshot, with the objects that may be changed as the server gave them.
#[derive(Debug, Clone)]
pub struct Look {
    /// The domain's view.
    pub snapshot: Snapshot,
    /// Policies of the namespace, whole.
    pub policies: Vec<Value>,
    /// DestinationRules of the namespace, whole.
    pub rules: Vec<Value>,
}

impl Look {
    /// Puts an object in the place of the one of the same kind and name, or adds it.
    pub fn put(&mut self, target: Target, object: Value) {
        let objects = match target {
            Target::Policy => &mut self.policies,
            Target::Rule => &mut self.rules,
        };
        let name = read::metadata(&object, "name");
        match objects.iter_mut().find(|known| read::metadata(known, "name") == name) {
            Some(known) => *known = object,
            None => objects.push(object),
        }
    }
}

/// Reads everything that a command needs to know of one namespace.
pub async fn look(cluster: &Cluster, generation: Generation, options: &MeshOptions) -> Result<Look, ClusterError> {
    let namespace = cluster.namespace.as_str();
    let (policy, rule) = (generation.policy.kind(), generation.rule.kind());
    let ((), services, slices, pods, root_certificate, policies, rules, (mesh, root)) = futures::try_join!(
        namespace_exists(cluster),
        list::<core::Service>(cluster, "services"),
        list::<EndpointSlice>(cluster, "endpointslices"),
        list::<core::Pod>(cluster, "pods"),
        config_map(cluster, namespace, "istio-ca-root-cert"),
        objects(cluster, &policy, namespace),
        objects(cluster, &rule, namespace),
        mesh_settings(cluster, generation, options),
    )?;
    let policies = policies.unwrap_or_default();
    let rules = rules.unwrap_or_default();
    let snapshot = Snapshot {
        namespace: namespace.to_owned(),
        policies: domain_policies(generation, &mesh, &policies, &root),
        rules: rules.iter().map(read::destination_rule).collect(),

        services: domain_services(services, slices),
        pods: pods.into_iter().map(|pod| domain_pod(&pod)).map(|pod| (pod.name.clone(), pod)).collect(),
        mesh_root_pem: root_certificate.and_then(|map| map.data?.remove("root-cert.pem")),
        mesh,
    };
    Ok(Look { snapshot, policies, rules })
}

async fn namespace_exists(cluster: &Cluster) -> Result<(), ClusterError> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let access = Access::new("get", "", "namespaces", "").named(&cluster.namespace);
    // Whoever may not read namespaces still may work in one.
    send_optional(access, &[403], || api.get(&cluster.namespace)).await.map(|_| ())
}

async fn list<K>(cluster: &Cluster, plural: &'static str) -> Result<Vec<K>, ClusterError>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let group = K::group(&()).into_owned();
    let access = Access::new("list", &group, plural, &cluster.namespace);
    let params = ListParams::default();
    Ok(send(access, || api.list(&params)).await?.items)
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

/// All objects of a kind; `None` where they may not be read.
async fn objects(cluster: &Cluster, kind: &Kind, namespace: &str) -> Result<Option<Vec<Value>>, ClusterError> {
    let api = dynamic_api(cluster, kind, namespace);
    let access = Access::new("list", kind.group, kind.plural, namespace);
    let params = ListParams::default();
    // Of the namespace itself they must be readable; elsewhere their absence is only less knowledge.
    let tolerated: &[u16] = if namespace == cluster.namespace { &[] } else { &[403, 404] };
    let list = send_optional(access, tolerated, || api.list(&params)).await?;
    Ok(list.map(|list| list.items.iter().filter_map(|object| serde_json::to_value(object).ok()).collect()))
}

async fn config_map(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let access = Access::new("get", "", "configmaps", namespace).named(name);
    send_optional(access, &[403, 404], || api.get(name)).await
}

/// Policies that hold for the whole mesh; `None` where they cannot be read.
struct Root {
    policies: Option<Vec<Value>>,
    mesh_policy: Option<Value>,
}

async fn mesh_settings(
    cluster: &Cluster,
    generation: Generation,
    options: &MeshOptions,
) -> Result<(MeshSettings, Root), ClusterError> {
    let istio_namespace = match &options.istio_namespace {
        Some(namespace) => namespace.clone(),
        None => find_istiod(cluster).await?.unwrap_or_else(|| "istio-system".to_owned()),
    };
    let name = match &options.revision {
        Some(revision) if revision != "default" => format!("istio-{revision}"),
        _ => "istio".to_owned(),
    };
    let map = config_map(cluster, &istio_namespace, &name).await?;
    let text = map.and_then(|map| map.data?.remove("mesh"));
    let config = text.as_deref().and_then(|text| yaml::read_all(text).ok()?.into_iter().next());
    let text_of = |field: &str| config.as_ref().and_then(|config| config[field].as_str()).map(str::to_owned);
    let settings = MeshSettings {
        readable: config.is_some(),
        root_namespace: text_of("rootNamespace").unwrap_or_else(|| istio_namespace.clone()),
        trust_domain: text_of("trustDomain").unwrap_or_else(|| "cluster.local".to_owned()),
        auto_mtls: config.as_ref().and_then(|config| config["enableAutoMtls"].as_bool()).unwrap_or(true),
        cluster_domain: options.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned()),
        istio_namespace,
    };
    let root = if generation.policy == PolicyApi::Legacy {
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
        let kind = generation.policy.kind();
        Root { policies: objects(cluster, &kind, &settings.root_namespace).await?, mesh_policy: None }
    };
    Ok((settings, root))
}

/// istiod's namespace by its label, where Services of the whole cluster may be listed.
async fn find_istiod(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let api: Api<core::Service> = Api::all(cluster.client.clone());
    let access = Access::new("list", "", "services", "");
    let params = ListParams::default().labels("app=istiod").limit(1);
    let list = send_optional(access, &[403, 404], || api.list(&params)).await?;
    Ok(list.and_then(|list| list.items.into_iter().next()?.metadata.namespace))
}

fn domain_policies(generation: Generation, mesh: &MeshSettings, own: &[Value], root: &Root) -> Policies {
    let legacy_only = generation.policy == PolicyApi::Legacy;
    let root_objects = root.policies.as_deref().unwrap_or_default();
    let all = || own.iter().chain(root_objects);
    Policies {
        root_namespace: mesh.root_namespace.clone(),
        root_readable: root.policies.is_some(),
        peer: if legacy_only { Vec::new() } else { all().map(read::peer_authentication).collect() },
        legacy: if legacy_only { own.iter().map(read::legacy_policy).collect() } else { Vec::new() },
        legacy_mesh: root.mesh_policy.as_ref().map(read::legacy_policy),
        legacy_only,
    }
}

fn domain_services(services: Vec<core::Service>, slices: Vec<EndpointSlice>) -> Vec<Service> {
    let mut endpoints: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.unwrap_or_default();
        if let Some(service) = labels.get("kubernetes.io/service-name") {
            let ports: BTreeMap<String, u16> = slice
                .ports
                .iter()
                .flatten()
                .filter_map(|port| Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?)))
                .collect();
            let list = endpoints.entry(service.clone()).or_default();
            list.extend(slice.endpoints.into_iter().filter_map(|endpoint| domain_endpoint(endpoint, &ports)));
        }
    }
    let mut services: Vec<Service> = services
        .into_iter()
        .map(|service| {
            let name = service.metadata.name.unwrap_or_default();
            let mut endpoints = endpoints.remove(&name).unwrap_or_default();
            endpoints.sort_by(|a, b| a.address.cmp(&b.address));
            domain_service(
                name,
                service.metadata.labels.unwrap_or_default(),
                service.spec.unwrap_or_default(),
                endpoints,
            )
        })
        .collect();
    services.sort_by(|a, b| a.name.cmp(&b.name));
    services
}

fn domain_endpoint(
    endpoint: k8s_openapi::api::discovery::v1::Endpoint,
    ports: &BTreeMap<String, u16>,
) -> Option<Endpoint> {
    Some(Endpoint {
        address: endpoint.addresses.into_iter().next()?,
        // The API says to read an absent condition as true.
        ready: endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
        pod: endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod")).and_then(|target| target.name),
        ports: ports.clone(),
    })
}

fn domain_service(
    name: String,
    labels: BTreeMap<String, String>,
    spec: core::ServiceSpec,
    endpoints: Vec<Endpoint>,
) -> Service {
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        ServiceKind::ExternalName
    } else if spec.cluster_ip.as_deref() == Some("None") {
        ServiceKind::Headless
    } else {
        ServiceKind::ClusterIp
    };
    let ports = spec.ports.into_iter().flatten().filter_map(|port| {
        Some(ServicePort {
            name: port.name.unwrap_or_default(),
            port: u16::try_from(port.port).ok()?,
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            },
            app_protocol: port.app_protocol,
        })
    });
    Service { name, kind, labels, selector: spec.selector.unwrap_or_default(), ports: ports.collect(), endpoints }
}

fn domain_pod(pod: &core::Pod) -> Pod {
    let metadata = &pod.metadata;
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let labels = metadata.labels.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    Pod {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        data_plane: data_plane(&spec, &annotations),
        revision: annotations.get("istio.io/rev").or_else(|| labels.get("istio.io/rev")).cloned(),
        ready: conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        capture: capture(&annotations),
        labels,
    }
}

/// Section 5.3 of the semantics: facts, not the labels that ask for them.
pub fn data_plane(spec: &core::PodSpec, annotations: &BTreeMap<String, String>) -> DataPlane {
    let is_proxy = |container: &core::Container| container.name == "istio-proxy";
    if spec.host_network == Some(true) {
        DataPlane::None
    } else if spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(is_proxy) {
        DataPlane::Sidecar
    } else {
        match annotations.get("ambient.istio.io/redirection").map(String::as_str) {
            Some("enabled") => DataPlane::Ambient,
            Some("pending") => DataPlane::Pending,
            _ => DataPlane::None,
        }
    }
}

/// BY-1, BY-2, BY-4, BY-7.
fn capture(annotations: &BTreeMap<String, String>) -> Capture {
    let value = |key: &str| annotations.get(key).map(|text| text.trim());
    let ports = |text: &str| text.split(',').filter_map(|port| port.trim().parse().ok()).collect::<Vec<u16>>();
    if value("sidecar.istio.io/interceptionMode") == Some("NONE")
        || value("ambient.istio.io/bypass-inbound-capture") == Some("true")
    {
        return Capture::Nothing;
    }
    match value("traffic.sidecar.istio.io/includeInboundPorts") {
        Some("") => Capture::Nothing,
        Some(only) if only != "*" => Capture::Only(ports(only)),
        _ => match value("traffic.sidecar.istio.io/excludeInboundPorts") {
            Some(excluded) if !excluded.is_empty() => Capture::AllBut(ports(excluded)),
            _ => Capture::All,
        },
    }
}
