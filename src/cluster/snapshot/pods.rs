//! Converts pods of the API into pods of the domain, for snapshots. It deserializes only the fields that are used, because
//! a cluster can have ten thousand pods.

use crate::cluster::list::Meta;
use crate::cluster::pod::PodSpec;
use crate::domain::control_plane::{self, ControlPlane};
use crate::domain::mesh::{
    Capture, DEFAULT_DRAIN, DEFAULT_REVISION, DataPlane, OutboundCapture, Pod, PodFacts, RootSource, SIDECAR_PORTS,
};
use crate::domain::open_connections::parse_duration;
use crate::istio::capture::{self, Redirection};
use crate::istio::yaml;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The fields of a pod that are read.
#[derive(Debug, Deserialize)]
pub(super) struct PodShape {
    metadata: Meta,
    #[serde(default)]
    spec: SpecShape,
    #[serde(default)]
    status: StatusShape,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecShape {
    host_network: Option<bool>,
    service_account_name: Option<String>,
    security_context: Option<SecurityShape>,
    #[serde(default)]
    containers: Vec<ContainerShape>,
    init_containers: Option<Vec<ContainerShape>>,
    volumes: Option<Vec<VolumeShape>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerShape {
    name: String,
    args: Option<Vec<String>>,
    env: Option<Vec<VariableShape>>,
    security_context: Option<SecurityShape>,
    ports: Option<Vec<core::ContainerPort>>,
    liveness_probe: Option<ProbeShape>,
    readiness_probe: Option<ProbeShape>,
    startup_probe: Option<ProbeShape>,
    lifecycle: Option<LifecycleShape>,
    restart_policy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProbeShape {
    http_get: Option<HttpGetShape>,
    grpc: Option<GrpcShape>,
}

#[derive(Debug, Deserialize)]
struct HttpGetShape {
    port: IntOrString,
}

#[derive(Debug, Deserialize)]
struct GrpcShape {
    port: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LifecycleShape {
    post_start: Option<HandlerShape>,
    pre_stop: Option<HandlerShape>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HandlerShape {
    http_get: Option<HttpGetShape>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeShape {
    name: String,
    config_map: Option<ConfigMapShape>,
    projected: Option<ProjectedShape>,
}

#[derive(Debug, Deserialize)]
struct ConfigMapShape {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct ProjectedShape {
    sources: Option<Vec<SourceShape>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourceShape {
    config_map: Option<ConfigMapShape>,
    cluster_trust_bundle: Option<TrustBundleShape>,
}

#[derive(Debug, Deserialize)]
struct TrustBundleShape {
    name: Option<String>,
}

/// The fields of `PROXY_CONFIG` that are read. Injection merges the annotation and the mesh's settings into it, and leaves
/// Istio's defaults out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyConfig {
    drain_duration: Option<String>,
    discovery_address: Option<String>,
}

/// The field of `sidecar.istio.io/status` that is read.
#[derive(Debug, Deserialize)]
struct InjectionStatus {
    revision: Option<String>,
}

/// A variable with a literal value.
#[derive(Debug, Deserialize)]
struct VariableShape {
    name: String,
    value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecurityShape {
    run_as_user: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusShape {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<core::PodIP>>,
    conditions: Option<Vec<ConditionShape>>,
}

#[derive(Debug, Deserialize)]
struct ConditionShape {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// Name of the container of a sidecar or gateway.
pub(super) const PROXY: &str = "istio-proxy";

/// Names of the init containers whose arguments say what is redirected.
const REDIRECTION: [&str; 2] = ["istio-init", "istio-validation"];

/// The user of the proxy, whose calls are not redirected.
const PROXY_USER: i64 = 1337;

impl SpecShape {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|container| container.name.as_str())
    }

    fn all(&self) -> impl Iterator<Item = &ContainerShape> {
        self.containers.iter().chain(self.init_containers.iter().flatten())
    }

    fn proxy(&self) -> Option<&ContainerShape> {
        self.all().find(|container| container.name == PROXY)
    }
}

/// Converts a pod.
pub(super) fn domain_pod(pod: PodShape) -> Pod {
    let PodShape { metadata, spec, status } = pod;
    let none = BTreeMap::new();
    let annotations = metadata.annotations.as_ref().unwrap_or(&none);
    let labels = metadata.labels.as_ref().unwrap_or(&none);
    let mut conditions = status.conditions.iter().flatten();
    let asked = capture::from_annotations(annotations);
    let annotated_capture = asked.inbound.clone();
    let Redirection { inbound, outbound, dual_stack, is_off } = redirection(&spec).unwrap_or(asked);
    Pod {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        data_plane: data_plane_of(spec.host_network, spec.names(), annotations),
        revision: annotations.get("istio.io/rev").or_else(|| labels.get("istio.io/rev")).cloned(),
        ready: conditions.any(|condition| condition.kind == "Ready" && condition.status == "True"),
        addresses: addresses(&status),
        dual_stack,
        capture: inbound,
        without_redirection: is_off,
        annotated_capture,
        // `endpoints::complete` adds those of Sidecar objects.
        ingress: Vec::new(),
        outbound: OutboundCapture { as_proxy: as_proxy(&spec), ..outbound },
        facts: facts(&metadata, &spec, &status),
        labels: metadata.labels.unwrap_or_default(),
    }
}

/// All addresses, that of `podIP` first.
fn addresses(status: &StatusShape) -> Vec<String> {
    let all = status.pod_ips.iter().flatten().map(|address| address.ip.clone());
    let mut addresses: Vec<String> = status.pod_ip.iter().cloned().chain(all).collect();
    let mut seen = BTreeSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    addresses
}

fn is_set(container: &ContainerShape, name: &str, value: &str) -> bool {
    let mut variables = container.env.iter().flatten();
    variables.any(|variable| variable.name == name && variable.value.as_deref() == Some(value))
}

/// What was redirected when the pod started; `None` if no container shows it, so that only the annotations can tell.
fn redirection(spec: &SpecShape) -> Option<Redirection> {
    let proxy = spec.proxy()?;
    // The agent of a proxyless gRPC application has no Envoy.
    if is_set(proxy, "ISTIO_META_GENERATOR", "grpc") {
        return Some(Redirection { inbound: Capture::Nothing, ..Redirection::default() });
    }
    // By the mesh's settings there is neither an annotation nor an init container.
    if is_set(proxy, "ISTIO_META_INTERCEPTION_MODE", "NONE") {
        return Some(Redirection::off());
    }
    let mut init = spec.init_containers.iter().flatten();
    let init = init.find(|container| REDIRECTION.contains(&container.name.as_str()))?;
    let mut found = capture::from_arguments(init.args.as_deref()?);
    found.dual_stack |= [proxy, init].iter().any(|container| is_set(container, "ISTIO_DUAL_STACK", "true"));
    Some(found)
}

/// Containers that run as the proxy's user.
fn as_proxy(spec: &SpecShape) -> Vec<String> {
    if spec.proxy().is_none() {
        return Vec::new();
    }
    let user = |security: &Option<SecurityShape>| security.as_ref().and_then(|security| security.run_as_user);
    let of_pod = user(&spec.security_context);
    let others =
        spec.all().filter(|container| container.name != PROXY && !REDIRECTION.contains(&container.name.as_str()));
    others
        .filter(|container| user(&container.security_context).or(of_pod) == Some(PROXY_USER))
        .map(|container| container.name.clone())
        .collect()
}

/// The data plane of a pod, from its containers and annotations. Labels only request one.
pub fn data_plane(spec: &PodSpec, annotations: &BTreeMap<String, String>) -> DataPlane {
    data_plane_of(spec.host_network, spec.all_containers().map(|container| container.name.as_str()), annotations)
}

fn data_plane_of<'a>(
    host_network: Option<bool>,
    mut containers: impl Iterator<Item = &'a str>,
    annotations: &BTreeMap<String, String>,
) -> DataPlane {
    if host_network == Some(true) {
        DataPlane::None
    } else if containers.any(|name| name == PROXY) {
        DataPlane::Sidecar
    } else {
        match annotations.get("ambient.istio.io/redirection").map(String::as_str) {
            Some("enabled") => DataPlane::Ambient,
            Some("pending") => DataPlane::Pending,
            _ => DataPlane::None,
        }
    }
}

/// `sidecar.istio.io/inject`, as a label or else as an annotation.
pub(super) fn inject_request(metadata: &Meta) -> Option<String> {
    let found = |map: &Option<BTreeMap<String, String>>| map.as_ref()?.get("sidecar.istio.io/inject").cloned();
    found(&metadata.labels).or_else(|| found(&metadata.annotations))
}

/// Facts about a pod that overviews need.
fn facts(metadata: &Meta, spec: &SpecShape, status: &StatusShape) -> PodFacts {
    let text = |map: &Option<BTreeMap<String, String>>, key: &str| map.as_ref().and_then(|map| map.get(key)).cloned();
    let annotation = |key: &str| text(&metadata.annotations, key);
    let is_proxy = |container: &&ContainerShape| container.name == PROXY;
    let native = spec.init_containers.iter().flatten().find(is_proxy);
    let proxy = spec.containers.iter().find(is_proxy).or(native);
    let inject = inject_request(metadata);
    let scraped = annotation("prometheus.io/scrape").is_some_and(|value| value == "true");
    let (declared_ports, host_ports) = declared_ports(spec);
    let config = proxy.and_then(proxy_config);
    PodFacts {
        declared_ports,
        host_ports: if spec.host_network == Some(true) { BTreeSet::new() } else { host_ports },
        custom_owner: custom_owner(metadata),
        workload: workload(metadata),
        host_network: spec.host_network == Some(true),
        // `proxy sidecar …` or `proxy router …`.
        gateway: proxy.and_then(|proxy| proxy.args.as_ref()?.get(1)).is_some_and(|role| role != "sidecar"),
        native_sidecar: native.is_some(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        declines_injection: inject.is_some_and(|value| value == "false"),
        raw_probes: if proxy.is_some() { raw_probes(spec) } else { Vec::new() },
        raw_hooks: if proxy.is_some() { raw_hooks(spec) } else { Vec::new() },
        control_plane: config.as_ref().and_then(|config| control_plane(config, metadata)),
        root_certificates: proxy.and_then(|_| root_certificates(spec)),
        scraped: scraped.then(|| annotation("prometheus.io/port").and_then(|port| port.parse().ok()).unwrap_or(0)),
        no_hbone: proxy.is_some_and(|proxy| is_set(proxy, "ISTIO_META_DISABLE_HBONE_SEND", "true")),
        drain: proxy.and_then(|proxy| drain(proxy, config.as_ref(), annotation("proxy.istio.io/config").as_deref())),
    }
}

/// The `PROXY_CONFIG` of a proxy.
fn proxy_config(proxy: &ContainerShape) -> Option<ProxyConfig> {
    let variable = proxy.env.iter().flatten().find(|variable| variable.name == "PROXY_CONFIG")?;
    serde_json::from_str(variable.value.as_deref()?).ok()
}

/// The proxy's `drainDuration`. Older versions of Istio have no `PROXY_CONFIG` and pass it as an argument.
fn drain(proxy: &ContainerShape, config: Option<&ProxyConfig>, annotation: Option<&str>) -> Option<Duration> {
    if let Some(config) = config {
        return Some(config.drain_duration.as_deref().and_then(parse_duration).unwrap_or(DEFAULT_DRAIN));
    }
    let arguments = proxy.args.as_deref().unwrap_or_default();
    let argument = arguments.windows(2).find(|pair| pair[0] == "--drainDuration").map(|pair| pair[1].as_str());
    argument.and_then(parse_duration).or_else(|| {
        let config = yaml::read_all(annotation?).ok()?.into_iter().next()?;
        config["drainDuration"].as_str().and_then(parse_duration)
    })
}

/// API groups whose controllers start pods and do not call them, beside Kubernetes' own.
const WORKLOAD_GROUPS: [&str; 11] = [
    "apps",
    "batch",
    "argoproj.io",
    "apps.kruise.io",
    "flagger.app",
    "gateway.networking.k8s.io",
    "jobset.x-k8s.io",
    "leaderworkerset.x-k8s.io",
    "operators.coreos.com",
    "serving.knative.dev",
    "workload.codeflare.dev",
];

/// The custom resource that owns an object, as `kind.group/name`; `None` for an object of Kubernetes itself, or one of a
/// controller that only starts pods.
pub(super) fn custom_owner(metadata: &Meta) -> Option<String> {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    let (group, _) = owner.api_version.split_once('/')?;
    let is_internal = group.ends_with(".internal.knative.dev");
    (!WORKLOAD_GROUPS.contains(&group) && !is_internal)
        .then(|| format!("{}.{group}/{}", owner.kind.to_lowercase(), owner.name))
}

/// The TCP ports that the application's containers declare, and those of them that have a `hostPort`.
fn declared_ports(spec: &SpecShape) -> (BTreeSet<u16>, BTreeSet<u16>) {
    let containers = running_containers(spec).flat_map(|container| container.ports.iter().flatten());
    let tcp: Vec<&core::ContainerPort> =
        containers.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP").collect();
    let number = |port: &&core::ContainerPort| u16::try_from(port.container_port).ok();
    let has_host_port = |port: &&&core::ContainerPort| port.host_port.is_some_and(|port| port != 0);
    (tcp.iter().filter_map(number).collect(), tcp.iter().filter(has_host_port).filter_map(number).collect())
}

/// The workload of a pod as `kind/name`, a `Deployment` or Argo's `Rollout` instead of its `ReplicaSet`; empty without a
/// controller.
fn workload(metadata: &Meta) -> String {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else { return String::new() };
    let owner_of_set = |(label, kind): (&str, &str)| {
        let hash = metadata.labels.as_ref()?.get(label)?;
        let name = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        Some(format!("{kind}/{name}"))
    };
    let kinds = [("pod-template-hash", "deployment"), ("rollouts-pod-template-hash", "rollout")];
    let found = kinds.into_iter().find_map(owner_of_set).filter(|_| owner.kind == "ReplicaSet");
    found.unwrap_or_else(|| format!("{}/{}", owner.kind.to_lowercase(), owner.name))
}

/// Containers of the application to which the kubelet can send requests: those that run while the pod does, native
/// sidecars included.
fn running_containers(spec: &SpecShape) -> impl Iterator<Item = &ContainerShape> {
    let is_native = |container: &&ContainerShape| container.restart_policy.as_deref() == Some("Always");
    let native = spec.init_containers.iter().flatten().filter(is_native);
    spec.containers.iter().chain(native).filter(|container| container.name != PROXY)
}

/// Ports of HTTP and gRPC kubelet probes that go to the application. Injection redirects them to the proxy's own port unless
/// it is disabled (BY-11). A TCP probe only connects, which STRICT allows.
fn raw_probes(spec: &SpecShape) -> Vec<u16> {
    let ports = running_containers(spec).flat_map(|container| {
        let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
        probes.into_iter().flatten().filter_map(|probe| {
            let http = probe.http_get.as_ref().map(|request| http_port(container, request));
            http.or_else(|| probe.grpc.as_ref().map(|grpc| grpc.port))
        })
    });
    application_ports(ports)
}

/// Ports of `postStart` and `preStop` requests that go to the application (BY-11). Newer versions of Istio rewrite them, too.
fn raw_hooks(spec: &SpecShape) -> Vec<u16> {
    let ports = running_containers(spec).flat_map(|container| {
        let hooks = container.lifecycle.iter().flat_map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
        hooks.flatten().filter_map(|hook| Some(http_port(container, hook.http_get.as_ref()?)))
    });
    application_ports(ports)
}

/// The port of a request, 0 for a name that the container does not have.
fn http_port(container: &ContainerShape, request: &HttpGetShape) -> i32 {
    let named = |name: &str| container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
    match &request.port {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => named(name).map_or(0, |port| port.container_port),
    }
}

/// The ports that are not the sidecar's own, each once.
fn application_ports(ports: impl Iterator<Item = i32>) -> Vec<u16> {
    let mut ports: Vec<u16> =
        ports.filter_map(|port| u16::try_from(port).ok()).filter(|port| !SIDECAR_PORTS.contains(port)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// The control plane that a proxy is connected to: `discoveryAddress` of its `PROXY_CONFIG`, which injection leaves out
/// where it is the default (CP-1).
fn control_plane(config: &ProxyConfig, metadata: &Meta) -> Option<ControlPlane> {
    let namespace = control_plane::namespace_of_address(config.discovery_address.as_deref().unwrap_or_default())?;
    let annotation = |key: &str| metadata.annotations.as_ref()?.get(key);
    let status = annotation("sidecar.istio.io/status");
    let status: Option<InjectionStatus> = status.and_then(|text| serde_json::from_str(text).ok());
    let label = || metadata.labels.as_ref()?.get("istio.io/rev").cloned();
    let revision =
        status.and_then(|status| status.revision).or_else(|| annotation("istio.io/rev").cloned()).or_else(label);
    Some(ControlPlane::new(namespace, revision.as_deref().unwrap_or(DEFAULT_REVISION)))
}

/// The volume from which a proxy takes the mesh's root certificates (CP-3).
fn root_certificates(spec: &SpecShape) -> Option<RootSource> {
    let volume = spec.volumes.iter().flatten().find(|volume| volume.name == "istiod-ca-cert")?;
    if let Some(map) = &volume.config_map {
        return Some(RootSource::ConfigMap(map.name.clone()));
    }
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources.into_iter().find_map(|source| {
        let bundle = source.cluster_trust_bundle.as_ref().and_then(|bundle| bundle.name.clone());
        let map = || Some(RootSource::ConfigMap(source.config_map.as_ref()?.name.clone()));
        bundle.map(RootSource::TrustBundle).or_else(map)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        domain_pod(serde_json::from_value(value).expect("a pod"))
    }

    #[test]
    fn the_workload_of_a_pod_is_its_deployment_rollout_or_controller() {
        let owner = |kind: &str, name: &str| json!([{"kind": kind, "name": name, "controller": true}]);
        let (of_deployment, of_rollout) = ("pod-template-hash", "rollouts-pod-template-hash");
        for (owners, label, expected) in [
            (owner("ReplicaSet", "web-7d9c5b8f46"), of_deployment, "deployment/web"),
            (owner("ReplicaSet", "web-7d9c5b8f46"), of_rollout, "rollout/web"),
            (owner("ReplicaSet", "web-7d9c5b8f46"), "hash", "replicaset/web-7d9c5b8f46"),
            (owner("ReplicaSet", "bare"), of_deployment, "replicaset/bare"),
            (owner("StatefulSet", "db"), of_deployment, "statefulset/db"),
            (json!(null), of_deployment, ""),
        ] {
            let labels = json!({label: "7d9c5b8f46"});
            let found = pod(json!({"metadata": {"labels": labels, "ownerReferences": owners}}));
            assert_eq!(found.facts.workload, expected);
        }
    }

    #[test]
    fn only_resources_of_operators_own_pods() {
        for (version, kind, expected) in [
            ("acid.zalan.do/v1", "postgresql", Some("postgresql.acid.zalan.do/main")),
            ("redis.example.com/v1beta1", "RedisCluster", Some("rediscluster.redis.example.com/main")),
            ("apps/v1", "StatefulSet", None),
            ("v1", "ReplicationController", None),
            ("argoproj.io/v1alpha1", "Rollout", None),
            ("autoscaling.internal.knative.dev/v1alpha1", "PodAutoscaler", None),
            ("", "StatefulSet", None),
        ] {
            let owner = json!([{"apiVersion": version, "kind": kind, "name": "main", "controller": true}]);
            let found = pod(json!({"metadata": {"ownerReferences": owner}, "spec": {"containers": []}}));
            assert_eq!(found.facts.custom_owner.as_deref(), expected, "{version} {kind}");
        }
    }

    #[test]
    fn declared_ports_are_those_of_the_application() {
        let ports = json!([
            {"containerPort": 8080}, {"containerPort": 9090, "hostPort": 9090, "protocol": "TCP"},
            {"containerPort": 53, "protocol": "UDP", "hostPort": 53},
        ]);
        let proxy = json!({"name": "istio-proxy", "ports": [{"containerPort": 15090}]});
        let spec =
            |host_network| json!({"hostNetwork": host_network, "containers": [{"name": "app", "ports": ports}, proxy]});
        for (host_network, host_ports) in [(false, vec![9090]), (true, vec![])] {
            let facts = pod(json!({"metadata": {}, "spec": spec(host_network)})).facts;
            assert_eq!(facts.declared_ports.into_iter().collect::<Vec<_>>(), [8080, 9090]);
            assert_eq!(facts.host_ports.into_iter().collect::<Vec<_>>(), host_ports, "{host_network}");
        }
    }

    #[test]
    fn http_and_grpc_probes_that_injection_did_not_rewrite_are_found() {
        let http = |port: Value| json!({"httpGet": {"path": "/", "port": port}});
        for (probe, expected) in [
            (http(json!(8080)), vec![8080]),
            (http(json!("web")), vec![9090]),
            (http(json!(15020)), vec![]),
            (json!({"grpc": {"port": 50051}}), vec![50051]),
            (json!({"tcpSocket": {"port": 8080}}), vec![]),
        ] {
            let ports = json!([{"name": "web", "containerPort": 9090}]);
            let app = json!({"name": "app", "ports": ports, "livenessProbe": probe});
            let proxy = json!({"name": "istio-proxy", "args": ["proxy", "sidecar"], "readinessProbe": http(json!(1))});
            let found = pod(json!({"metadata": {}, "spec": {"containers": [app.clone(), proxy]}}));
            assert_eq!((found.facts.raw_probes, found.facts.gateway), (expected, false), "{probe}");
            let outside = pod(json!({"metadata": {}, "spec": {"containers": [app]}}));
            assert!(outside.facts.raw_probes.is_empty(), "no sidecar stands in its way");
        }
    }

    #[test]
    fn a_gateway_is_found_by_the_role_of_its_proxy() {
        let proxy = json!([{"name": "istio-proxy", "args": ["proxy", "router", "--domain", "x"]}]);
        assert!(pod(json!({"metadata": {}, "spec": {"containers": proxy}})).facts.gateway);
        let native = json!([{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]);
        let found = pod(json!({"metadata": {}, "spec": {"containers": [], "initContainers": native}}));
        assert!(found.facts.native_sidecar && !found.facts.gateway && found.data_plane == DataPlane::Sidecar);
    }

    #[test]
    fn requests_to_native_sidecars_and_by_hooks_are_found() {
        let http = |port: u16| json!({"httpGet": {"port": port}});
        let proxy = json!({"name": "istio-proxy", "restartPolicy": "Always", "startupProbe": http(1)});
        let native = json!({"name": "watcher", "restartPolicy": "Always", "readinessProbe": http(8282)});
        let setup = json!({"name": "setup", "readinessProbe": http(8383)});
        let app = json!({"name": "app", "lifecycle": {"preStop": http(8080), "postStart": http(8081)}});
        let rewritten = json!({"name": "app", "lifecycle": {"preStop": http(15020)}});
        for (init, app, probes, hooks) in [
            (json!([proxy, native]), app.clone(), vec![8282], vec![8080, 8081]),
            (json!([proxy, setup]), rewritten, vec![], vec![]),
            (json!([native]), app, vec![], vec![]),
        ] {
            let facts = pod(json!({"metadata": {}, "spec": {"containers": [app], "initContainers": init}})).facts;
            assert_eq!((facts.raw_probes, facts.raw_hooks), (probes, hooks), "{init}");
        }
    }

    /// The arguments of istio-init count, not annotations (BY-31).
    #[test]
    fn an_annotation_that_came_after_the_injection_excludes_nothing() {
        let excluded = "traffic.sidecar.istio.io/excludeInboundPorts";
        let proxy = json!({"name": "istio-proxy", "args": ["proxy", "sidecar"]});
        let init = |args: &str| json!({"name": "istio-init", "args": args.split(' ').collect::<Vec<_>>()});
        let grpc = json!({"name": "istio-proxy", "env": [{"name": "ISTIO_META_GENERATOR", "value": "grpc"}]});
        let unredirected =
            json!({"name": "istio-proxy", "env": [{"name": "ISTIO_META_INTERCEPTION_MODE", "value": "NONE"}]});
        for (name, containers, init, annotation, covered) in [
            ("by the annotation alone", &proxy, None, "8080", false),
            ("the annotation is newer", &proxy, Some(init("istio-iptables -b * -d 15090")), "8080", true),
            ("by the installation", &proxy, Some(init("istio-iptables -b * -d 15090,8080")), "", false),
            ("proxyless gRPC", &grpc, None, "", false),
            ("no redirection by the mesh's settings", &unredirected, None, "", false),
        ] {
            let spec = json!({"containers": [containers], "initContainers": init.into_iter().collect::<Vec<_>>()});
            let found = pod(json!({"metadata": {"annotations": {excluded: annotation}}, "spec": spec}));
            assert_eq!(found.capture.covers(8080), covered, "{name}");
            assert_eq!(found.without_redirection, name.starts_with("no redirection"), "{name}");
            assert_eq!(found.annotated_capture.covers(8080), annotation.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_proxy_names_its_control_plane_and_its_root_certificates() {
        let with = |config: &str, metadata: Value, volume: Value| {
            let env = json!([{"name": "PROXY_CONFIG", "value": config}]);
            let proxy = json!([{"name": "istio-proxy", "env": env}]);
            let spec = json!({"containers": proxy, "volumes": [volume]});
            let facts = pod(json!({"metadata": metadata, "spec": spec})).facts;
            (facts.control_plane.map(|plane| plane.to_string()), facts.root_certificates)
        };
        let volume = |source: Value| {
            let mut volume = json!({"name": "istiod-ca-cert"});
            volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            volume
        };
        let map = || volume(json!({"configMap": {"name": "istio-ca-root-cert"}}));
        let bundle = json!({"sources": [{"clusterTrustBundle": {"name": "istio.io:istiod-ca:root-cert", "path": "root-cert.pem"}}]});
        let status = json!({"annotations": {"sidecar.istio.io/status": "{\"revision\":\"east\"}"}});
        let root = |name: &str| Some(RootSource::ConfigMap(name.to_owned()));
        for (config, metadata, volume, plane, certificates) in [
            ("{}\n", json!({}), map(), Some("istio-system (revision default)"), root("istio-ca-root-cert")),
            (
                r#"{"discoveryAddress":"istiod-east.istio-east.svc:15012"}"#,
                status,
                volume(json!({"configMap": {"name": "east-root"}})),
                Some("istio-east (revision east)"),
                root("east-root"),
            ),
            (
                r#"{"discoveryAddress":"istiod.example.com:15012"}"#,
                json!({}),
                volume(json!({"projected": bundle})),
                None,
                Some(RootSource::TrustBundle("istio.io:istiod-ca:root-cert".to_owned())),
            ),
            (
                "{}",
                json!({"labels": {"istio.io/rev": "canary"}}),
                json!({"name": "other"}),
                Some("istio-system (revision canary)"),
                None,
            ),
            ("no JSON", json!({}), json!({"name": "other"}), None, None),
        ] {
            let found = with(config, metadata, volume);
            assert_eq!((found.0.as_deref(), found.1), (plane, certificates), "{config}");
        }
    }

    #[test]
    fn containers_that_run_as_the_proxy_are_not_redirected() {
        let proxy = json!({"name": "istio-proxy", "securityContext": {"runAsUser": 1337}});
        let found = pod(json!({"metadata": {}, "spec": {
            "containers": [{"name": "app"}, proxy],
            "initContainers": [{"name": "istio-init"}, {"name": "schema", "securityContext": {"runAsUser": 1337}}],
        }}));
        assert_eq!(found.outbound.as_proxy, ["schema"]);
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let found = pod(
            json!({"metadata": {}, "status": {"podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}, {"ip": "fd00::9"}]}}),
        );
        assert_eq!(found.addresses, ["10.0.0.9", "fd00::9"]);
    }

    #[test]
    fn a_pod_has_the_drain_time_that_was_injected() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let config = |text: &str| json!([{"name": "PROXY_CONFIG", "value": text}]);
        let annotation = json!({"proxy.istio.io/config": "{drainDuration: 150s}"});
        for (env, args, annotations, expected) in [
            (config("{}\n"), json!([]), json!({}), seconds(45)),
            (config("{\"drainDuration\": \"150s\"}"), json!([]), json!({}), seconds(150)),
            (config("{}"), json!([]), annotation.clone(), seconds(45)),
            (json!([]), json!(["proxy", "sidecar", "--drainDuration", "10s"]), json!({}), seconds(10)),
            (json!([]), json!(["proxy", "sidecar"]), annotation, seconds(150)),
            (json!([]), json!(["proxy", "sidecar"]), json!({}), None),
        ] {
            let proxy = json!({"name": "istio-proxy", "args": args, "env": env});
            let found = pod(json!({"metadata": {"annotations": annotations}, "spec": {"containers": [proxy]}}));
            assert_eq!(found.facts.drain, expected);
        }
    }
}
