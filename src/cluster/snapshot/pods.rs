//! Converts pods of the API into pods of the domain, for snapshots. It deserializes only the fields that are used, because
//! a cluster can have ten thousand pods.

use crate::cluster::list::Meta;
use crate::domain::mesh::{Capture, DataPlane, OutboundCapture, Pod, PodFacts, SIDECAR_PORTS};
use crate::istio::capture::{self, Redirection};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

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
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerShape {
    name: String,
    args: Option<Vec<String>>,
    env: Option<Vec<VariableShape>>,
    security_context: Option<SecurityShape>,
    ports: Option<Vec<core::ContainerPort>>,
    liveness_probe: Option<core::Probe>,
    readiness_probe: Option<core::Probe>,
    startup_probe: Option<core::Probe>,
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
    let annotations = metadata.annotations.clone().unwrap_or_default();
    let labels = metadata.labels.clone().unwrap_or_default();
    let mut conditions = status.conditions.iter().flatten();
    let asked = capture::from_annotations(&annotations);
    let annotated_capture = asked.inbound.clone();
    let Redirection { inbound, outbound, dual_stack } = redirection(&spec).unwrap_or(asked);
    Pod {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        data_plane: data_plane_of(spec.host_network, spec.names(), &annotations),
        revision: annotations.get("istio.io/rev").or_else(|| labels.get("istio.io/rev")).cloned(),
        ready: conditions.any(|condition| condition.kind == "Ready" && condition.status == "True"),
        addresses: addresses(&status),
        dual_stack,
        capture: inbound,
        annotated_capture,
        outbound: OutboundCapture { as_proxy: as_proxy(&spec), ..outbound },
        facts: facts(&metadata, &spec, &status),
        labels,
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

/// What was redirected when the pod started; `None` if no container shows it, so that only the annotations can tell.
fn redirection(spec: &SpecShape) -> Option<Redirection> {
    let proxy = spec.proxy()?;
    let is_set = |container: &ContainerShape, name: &str, value: &str| {
        let mut variables = container.env.iter().flatten();
        variables.any(|variable| variable.name == name && variable.value.as_deref() == Some(value))
    };
    // The agent of a proxyless gRPC application has no Envoy.
    if is_set(proxy, "ISTIO_META_GENERATOR", "grpc") {
        return Some(Redirection { inbound: Capture::Nothing, ..Redirection::default() });
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
pub fn data_plane(spec: &core::PodSpec, annotations: &BTreeMap<String, String>) -> DataPlane {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    data_plane_of(spec.host_network, containers.map(|container| container.name.as_str()), annotations)
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
    PodFacts {
        workload: workload(metadata),
        host_network: spec.host_network == Some(true),
        // `proxy sidecar …` or `proxy router …`.
        gateway: proxy.and_then(|proxy| proxy.args.as_ref()?.get(1)).is_some_and(|role| role != "sidecar"),
        native_sidecar: native.is_some(),
        finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        declines_injection: inject.is_some_and(|value| value == "false"),
        raw_probes: if proxy.is_some() { raw_probes(spec) } else { Vec::new() },
        scraped: scraped.then(|| annotation("prometheus.io/port").and_then(|port| port.parse().ok()).unwrap_or(0)),
    }
}

/// The workload of a pod as `kind/name`, a `Deployment` instead of its `ReplicaSet`; empty without a controller.
fn workload(metadata: &Meta) -> String {
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else { return String::new() };
    let hash = metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match deployment.filter(|_| owner.kind == "ReplicaSet") {
        Some(name) => format!("deployment/{name}"),
        None => format!("{}/{}", owner.kind.to_lowercase(), owner.name),
    }
}

/// Ports of HTTP and gRPC kubelet probes that go to the application. Injection redirects them to the proxy's own port unless
/// it is disabled (BY-11). A TCP probe only connects, which STRICT allows.
fn raw_probes(spec: &SpecShape) -> Vec<u16> {
    let mut ports: Vec<u16> = Vec::new();
    for container in spec.containers.iter().filter(|container| container.name != PROXY) {
        let probes = [&container.liveness_probe, &container.readiness_probe, &container.startup_probe];
        for probe in probes.into_iter().flatten() {
            let named = |name: &str| container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            let http = probe.http_get.as_ref().map(|get| match &get.port {
                IntOrString::Int(port) => *port,
                IntOrString::String(name) => named(name).map_or(0, |port| port.container_port),
            });
            let port = http.or_else(|| probe.grpc.as_ref().map(|grpc| grpc.port));
            ports.extend(port.and_then(|port| u16::try_from(port).ok()).filter(|port| !SIDECAR_PORTS.contains(port)));
        }
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(value: Value) -> Pod {
        domain_pod(serde_json::from_value(value).expect("a pod"))
    }

    #[test]
    fn the_workload_of_a_pod_is_its_deployment_or_controller() {
        let owner = |kind: &str, name: &str| json!([{"kind": kind, "name": name, "controller": true}]);
        for (owners, expected) in [
            (owner("ReplicaSet", "web-7d9c5b8f46"), "deployment/web"),
            (owner("ReplicaSet", "bare"), "replicaset/bare"),
            (owner("StatefulSet", "db"), "statefulset/db"),
            (json!(null), ""),
        ] {
            let labels = json!({"pod-template-hash": "7d9c5b8f46"});
            let found = pod(json!({"metadata": {"labels": labels, "ownerReferences": owners}}));
            assert_eq!(found.facts.workload, expected);
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

    /// The arguments of istio-init count, not annotations (BY-31).
    #[test]
    fn an_annotation_that_came_after_the_injection_excludes_nothing() {
        let excluded = "traffic.sidecar.istio.io/excludeInboundPorts";
        let proxy = json!({"name": "istio-proxy", "args": ["proxy", "sidecar"]});
        let init = |args: &str| json!({"name": "istio-init", "args": args.split(' ').collect::<Vec<_>>()});
        let grpc = json!({"name": "istio-proxy", "env": [{"name": "ISTIO_META_GENERATOR", "value": "grpc"}]});
        for (name, containers, init, annotation, covered) in [
            ("by the annotation alone", &proxy, None, "8080", false),
            ("the annotation is newer", &proxy, Some(init("istio-iptables -b * -d 15090")), "8080", true),
            ("by the installation", &proxy, Some(init("istio-iptables -b * -d 15090,8080")), "", false),
            ("proxyless gRPC", &grpc, None, "", false),
        ] {
            let spec = json!({"containers": [containers], "initContainers": init.into_iter().collect::<Vec<_>>()});
            let found = pod(json!({"metadata": {"annotations": {excluded: annotation}}, "spec": spec}));
            assert_eq!(found.capture.covers(8080), covered, "{name}");
            assert_eq!(found.annotated_capture.covers(8080), annotation.is_empty(), "{name}");
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
}
