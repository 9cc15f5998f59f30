//! Converts Services and EndpointSlices of the API into Services of the domain with their endpoints, for snapshots.

use crate::cluster::connect::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::list::{Meta, Resource, list};
use crate::domain::mesh::{Endpoint, EndpointTarget, Exposure, PortRef, Protocol, Service, ServiceKind, ServicePort};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Debug, Deserialize)]
struct ServiceShape {
    metadata: Meta,
    #[serde(default)]
    spec: core::ServiceSpec,
    status: Option<core::ServiceStatus>,
}

#[derive(Debug, Deserialize)]
struct SliceShape {
    metadata: Meta,
    endpoints: Option<Vec<discovery::Endpoint>>,
    ports: Option<Vec<discovery::EndpointPort>>,
}

/// Services by namespace; each list is sorted by name.
pub(in crate::cluster) type ByNamespace = BTreeMap<String, Vec<Service>>;

/// The Services of a namespace with their endpoints; of all namespaces if it is empty.
pub(in crate::cluster) async fn services(cluster: &Cluster, namespace: &str) -> Result<ByNamespace, ClusterError> {
    let slices = Resource { group: "discovery.k8s.io", version: "v1", plural: "endpointslices" };
    let (services, slices) = futures::try_join!(
        list(cluster, Resource::core("services"), namespace, |service| Some(domain_service(service))),
        list(cluster, slices, namespace, domain_slice),
    )?;
    let mut endpoints: HashMap<Key, Vec<Endpoint>> = HashMap::new();
    for (key, found) in slices {
        endpoints.entry(key).or_default().extend(found);
    }
    let mut sorted = ByNamespace::new();
    for (namespace, mut service) in services {
        service.endpoints = endpoints.remove(&(namespace.clone(), service.name.clone())).unwrap_or_default();
        service.endpoints.sort_by(|a, b| a.address.cmp(&b.address));
        sorted.entry(namespace).or_default().push(service);
    }
    for services in sorted.values_mut() {
        services.sort_by(|a, b| a.name.cmp(&b.name));
    }
    Ok(sorted)
}

/// Namespace and name of a Service.
type Key = (String, String);

fn domain_slice(slice: SliceShape) -> Option<(Key, Vec<Endpoint>)> {
    let service = slice.metadata.labels?.remove("kubernetes.io/service-name")?;
    let ports: BTreeMap<String, u16> = slice
        .ports
        .into_iter()
        .flatten()
        .filter_map(|port| Some((port.name.unwrap_or_default(), u16::try_from(port.port?).ok()?)))
        .collect();
    let endpoints = slice.endpoints.into_iter().flatten();
    let endpoints = endpoints.filter_map(|endpoint| domain_endpoint(endpoint, &ports)).collect();
    Some(((slice.metadata.namespace.unwrap_or_default(), service), endpoints))
}

fn domain_endpoint(endpoint: discovery::Endpoint, ports: &BTreeMap<String, u16>) -> Option<Endpoint> {
    let conditions = endpoint.conditions.unwrap_or_default();
    let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod")).and_then(|target| target.name);
    Some(Endpoint {
        address: endpoint.addresses.into_iter().next()?,
        // The API defines an absent condition as true.
        ready: conditions.ready.unwrap_or(true),
        terminating: conditions.terminating == Some(true),
        target: pod.map_or(EndpointTarget::Address, EndpointTarget::Pod),
        ports: ports.clone(),
    })
}

/// The addresses of a Service in the cluster. A server before Kubernetes 1.20 has `clusterIP` alone.
fn cluster_ips(spec: &core::ServiceSpec) -> Vec<String> {
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let mut addresses: Vec<String> = all.filter(|address| *address != "None" && !address.is_empty()).cloned().collect();
    let mut seen = HashSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    addresses
}

/// The addresses of a Service for clients outside the cluster.
fn outer_addresses(spec: &core::ServiceSpec, status: Option<core::ServiceStatus>) -> Vec<String> {
    let ingress = status.and_then(|status| status.load_balancer?.ingress).into_iter().flatten();
    let written = spec.external_ips.iter().flatten().chain(&spec.load_balancer_ip).cloned();
    let all = written.chain(ingress.filter_map(|ingress| ingress.ip));
    all.filter(|address| !address.is_empty()).collect()
}

/// Whether a load balancer of Google Cloud calls the pods of the Service by their addresses: it has endpoint groups, or asks
/// for groups of its own. `ingress` alone, which GKE adds to every Service, only says how an Ingress would call it.
fn has_network_endpoint_group(metadata: &Meta) -> bool {
    let annotation = |key: &str| -> serde_json::Value {
        let text = metadata.annotations.as_ref().and_then(|annotations| annotations.get(key));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let has_any = |value: &serde_json::Value| value.as_object().is_some_and(|entries| !entries.is_empty());
    has_any(&annotation("cloud.google.com/neg")["exposed_ports"])
        || has_any(&annotation("cloud.google.com/neg-status")["network_endpoint_groups"])
}

fn domain_service(service: ServiceShape) -> (String, Service) {
    let ServiceShape { metadata, mut spec, status } = service;
    let kind = if spec.type_.as_deref() == Some("ExternalName") {
        ServiceKind::ExternalName
    } else if spec.cluster_ip.as_deref() == Some("None") {
        ServiceKind::Headless
    } else {
        ServiceKind::ClusterIp
    };
    let exposure = match spec.type_.as_deref() {
        Some("LoadBalancer") => Some(Exposure::LoadBalancer),
        Some("NodePort") => Some(Exposure::NodePort),
        _ if has_network_endpoint_group(&metadata) => Some(Exposure::LoadBalancer),
        _ => spec.external_ips.as_ref().filter(|addresses| !addresses.is_empty()).map(|_| Exposure::ExternalIps),
    };
    let (cluster_ips, outer_addresses) = (cluster_ips(&spec), outer_addresses(&spec, status));
    let export_to =
        metadata.annotations.as_ref().and_then(|annotations| annotations.get("networking.istio.io/exportTo"));
    let export_to = export_to.into_iter().flat_map(|text| text.split(','));
    let export_to: Vec<String> = export_to.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    let external_name = spec.external_name.take().filter(|_| kind == ServiceKind::ExternalName);
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
            target_port: port.target_port.and_then(|target| match target {
                IntOrString::Int(number) => u16::try_from(number).ok().map(PortRef::Number),
                IntOrString::String(name) => Some(PortRef::Name(name)),
            }),
        })
    });
    let service = Service {
        name: metadata.name.unwrap_or_default(),
        kind,
        labels: metadata.labels.unwrap_or_default(),
        selector: spec.selector.unwrap_or_default(),
        cluster_ips,
        ports: ports.collect(),
        endpoints: Vec::new(),
        export_to,
        exposure,
        outer_addresses,
        external_name,
    };
    (metadata.namespace.unwrap_or_default(), service)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_is_exposed_by_its_type_its_addresses_or_an_endpoint_group() {
        const NEG: &str = "cloud.google.com/neg";
        const STATUS: &str = "cloud.google.com/neg-status";
        let groups = r#"{"network_endpoint_groups":{"80":"k8s1-5a"},"zones":["europe-west1-b"]}"#;
        let rows = [
            ("of the cluster", json!({}), json!({}), None),
            ("NodePort", json!({"type": "NodePort"}), json!({}), Some(Exposure::NodePort)),
            ("LoadBalancer", json!({"type": "LoadBalancer"}), json!({}), Some(Exposure::LoadBalancer)),
            ("external addresses", json!({"externalIPs": ["192.0.2.1"]}), json!({}), Some(Exposure::ExternalIps)),
            ("an own group", json!({}), json!({NEG: r#"{"exposed_ports":{"80":{}}}"#}), Some(Exposure::LoadBalancer)),
            (
                "an own group, headless",
                json!({"clusterIP": "None"}),
                json!({NEG: r#"{"exposed_ports":{"80":{"name":"web"}}}"#}),
                Some(Exposure::LoadBalancer),
            ),
            ("no own group", json!({}), json!({NEG: r#"{"exposed_ports":{}}"#}), None),
            ("what GKE adds", json!({}), json!({NEG: r#"{"ingress":true}"#}), None),
            (
                "an Ingress's group",
                json!({}),
                json!({NEG: r#"{"ingress":true}"#, STATUS: groups}),
                Some(Exposure::LoadBalancer),
            ),
            ("groups that are gone", json!({}), json!({STATUS: r#"{"network_endpoint_groups":{},"zones":[]}"#}), None),
            ("no JSON", json!({}), json!({NEG: "ingress", STATUS: ""}), None),
        ];
        for (row, spec, annotations, expected) in rows {
            let object =
                json!({"metadata": {"name": "web", "namespace": "shop", "annotations": annotations}, "spec": spec});
            let (namespace, service) = domain_service(serde_json::from_value(object).expect("a Service"));
            assert_eq!((namespace.as_str(), service.exposure), ("shop", expected), "{row}");
        }
    }
}
