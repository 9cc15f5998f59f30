//! Watches the pods of the cluster and lists its nodes, for a rehearsal: who has the addresses in the sidecars' logs. Without
//! the right to watch the pods of all namespaces, those of one namespace are watched.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain};
use super::list::{Listing, Resource, list_if_allowed};
use super::pod::Pod;
use super::request::attempt;
use crate::domain::address::Block;
use crate::domain::caller::{CallerWorkload, CallingPod, KnownNode};
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Resource as _};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// The container of a sidecar or gateway.
const PROXY: &str = "istio-proxy";

/// Pause before a watch that ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// A pod as a rehearsal sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedPod {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// Whether it has the container of a sidecar or gateway.
    pub has_proxy: bool,
    /// Whether it has a sidecar that runs.
    pub has_running_sidecar: bool,
    /// The node that it runs on.
    pub node: Option<String>,
    /// Its name and addresses as a caller; `None` while it has no address, and in the network of its node.
    pub caller: Option<CallingPod>,
}

/// The pods that could be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchScope {
    /// Those of all namespaces.
    Cluster,
    /// Those of the namespace alone.
    Namespace,
}

/// Finds out which pods may be watched. The error is about those of the namespace.
pub async fn watch_scope(cluster: &Cluster) -> Result<WatchScope, ClusterError> {
    let probe = params(1);
    for (scope, namespace) in [(WatchScope::Cluster, ""), (WatchScope::Namespace, cluster.namespace.as_str())] {
        let api = pods(cluster, scope);
        let access = Access::new("watch", "", "pods", namespace);
        match attempt(access, &mut || api.watch(&probe, "0")).await {
            Ok(_) => return Ok(scope),
            Err(error) if scope == WatchScope::Cluster && code(&error) == 403 => {}
            Err(error) => return Err(explain(access, &error)),
        }
    }
    Ok(WatchScope::Namespace)
}

/// A watch without bookmarks, which an API server may refuse together with the present state.
fn params(seconds: u32) -> WatchParams {
    WatchParams::default().timeout(seconds).disable_bookmarks()
}

fn pods(cluster: &Cluster, scope: WatchScope) -> Api<Pod> {
    match scope {
        WatchScope::Cluster => Api::all(cluster.client.clone()),
        WatchScope::Namespace => Api::namespaced(cluster.client.clone(), &cluster.namespace),
    }
}

/// Watches the pods and sends each that is there, appears or changes, until nobody reads them. A watch that ends is started
/// again from the present state, so that no pod is missed that still exists.
pub async fn watch(cluster: Cluster, scope: WatchScope, events: Sender<WatchedPod>) {
    let api = pods(&cluster, scope);
    let params = params(290);
    loop {
        if let Ok(stream) = api.watch(&params, "0").await {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
                if events.send(watched(pod)).await.is_err() {
                    return;
                }
            }
        }
        if events.is_closed() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn watched(pod: Pod) -> WatchedPod {
    let metadata = pod.metadata;
    let (name, namespace) = (metadata.name.unwrap_or_default(), metadata.namespace.unwrap_or_default());
    let labels = metadata.labels.unwrap_or_default();
    let (spec, status) = (pod.spec, pod.status);
    let proxy = spec.all_containers().find(|container| container.name == PROXY);
    let role = proxy.and_then(|proxy| proxy.args.as_ref()?.get(1).cloned());
    let statuses = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let is_running = statuses
        .filter(|container| container.name == PROXY)
        .any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    let addresses: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|address| address.ip.parse().ok()).collect();
    let has_ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let has_own_network = !addresses.is_empty() && !has_ended && spec.host_network != Some(true);
    let gateway = role.as_deref().is_some_and(|role| role != "sidecar");
    let (kind, owner) = workload(metadata.owner_references.as_deref().unwrap_or_default(), &labels, &name);
    let workload = CallerWorkload { namespace: namespace.clone(), kind, name: owner, gateway };
    WatchedPod {
        has_proxy: proxy.is_some(),
        node: spec.node_name.clone(),
        caller: has_own_network.then_some(CallingPod { workload, addresses, node: spec.node_name }),
        has_running_sidecar: is_running && !gateway,
        name,
        namespace,
        labels,
    }
}

/// Kind and name of a pod's workload: a `Deployment` in place of its `ReplicaSet`, and the pod itself without a controller.
fn workload(owners: &[OwnerReference], labels: &BTreeMap<String, String>, pod: &str) -> (String, String) {
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        return (Pod::kind(&()).into_owned(), pod.to_owned());
    };
    let hash = labels.get("pod-template-hash").filter(|_| owner.kind == "ReplicaSet");
    match hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')) {
        Some(name) => ("Deployment".to_owned(), name.to_owned()),
        None => (owner.kind.clone(), owner.name.clone()),
    }
}

#[derive(Deserialize)]
struct NodeShape {
    metadata: NodeMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeMeta {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pod_block: Option<String>,
    #[serde(default, rename = "podCIDRs")]
    pod_blocks: Vec<String>,
}

#[derive(Default, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    addresses: Vec<NodeAddress>,
}

#[derive(Deserialize)]
struct NodeAddress {
    address: String,
}

/// The nodes; `None` where they may not be listed. Network plugins note further addresses of a node, such as those of its
/// tunnels, in annotations.
pub async fn nodes(cluster: &Cluster) -> Result<Option<Vec<KnownNode>>, ClusterError> {
    match list_if_allowed(cluster, Resource::core("nodes"), "", |node: NodeShape| Some(known_node(node))).await? {
        Listing::Listed(nodes) => Ok(Some(nodes)),
        Listing::NotServed => Ok(Some(Vec::new())),
        Listing::Forbidden => Ok(None),
    }
}

fn known_node(node: NodeShape) -> KnownNode {
    let written = node.status.addresses.iter().map(|found| found.address.as_str());
    let annotated = node.metadata.annotations.values().map(String::as_str);
    let address = |text: &str| text.split('/').next()?.parse().ok();
    let blocks = node.spec.pod_block.iter().chain(&node.spec.pod_blocks);
    KnownNode {
        addresses: written.chain(annotated).filter_map(address).collect(),
        pod_blocks: blocks.filter_map(|block| Block::parse(block)).collect(),
        name: node.metadata.name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> WatchedPod {
        watched(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_pod_is_read_with_its_workload_and_sidecar() {
        let found = pod(json!({
            "metadata": {
                "name": "web-6f7-x", "namespace": "shop", "labels": {"pod-template-hash": "6f7"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6f7", "uid": "1", "controller": true}],
            },
            "spec": {"nodeName": "a", "containers": [{"name": "web"}], "initContainers": [{"name": "istio-proxy", "args": ["proxy", "sidecar"]}]},
            "status": {
                "phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "initContainerStatuses": [{"name": "istio-proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {"running": {}}}],
            },
        }));
        let caller = found.caller.unwrap();
        assert_eq!((caller.workload.kind.as_str(), caller.workload.name.as_str()), ("Deployment", "web"));
        assert_eq!((caller.addresses.len(), found.has_running_sidecar), (2, true));
    }

    #[test]
    fn pods_without_a_network_of_their_own_are_no_callers() {
        let rows = [
            ("a host network", json!({"hostNetwork": true, "containers": []}), json!({"podIPs": [{"ip": "10.0.0.1"}]})),
            ("no address yet", json!({"containers": []}), json!({})),
            ("it has ended", json!({"containers": []}), json!({"phase": "Succeeded", "podIPs": [{"ip": "10.0.0.1"}]})),
        ];
        for (name, spec, status) in rows {
            let found = pod(json!({"metadata": {"name": "x", "namespace": "shop"}, "spec": spec, "status": status}));
            assert_eq!(found.caller, None, "{name}");
        }
    }

    #[test]
    fn every_address_of_a_node_is_its_own() {
        let node = serde_json::from_value(json!({
            "metadata": {"name": "a", "annotations": {"cni.example/tunnel": "10.245.0.1", "cni.example/ip": "192.0.2.9/24", "x": "y"}},
            "spec": {"podCIDR": "10.245.0.0/24", "podCIDRs": ["10.245.0.0/24", "fd00::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": "a"}]},
        }));
        let found = known_node(node.unwrap());
        let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.7", "192.0.2.9", "10.245.0.1"]);
        assert_eq!(found.pod_blocks.len(), 3);
    }
}
