//! Adds the reports of ztunnels to observations: in ambient mode the node's ztunnel is the proxy. A connection that it
//! refuses looks like that of a dead application from outside; its access log distinguishes the two.

use crate::cluster::connect::Cluster;
use crate::cluster::error::{Access, ClusterError, code, explain};
use crate::cluster::list::{Meta, Resource, Selection, list, list_selected};
use crate::cluster::request::attempt;
use crate::domain::mesh::{DataPlane, socket_address};
use crate::domain::probe::{Case, Observation, refused_endpoints};
use crate::domain::proxy::ProxyReport;
use crate::istio::envoy;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time that a line takes from ztunnel to its log.
const LAG: Duration = Duration::from_millis(500);

/// Largest log that is read: a minute of a busy node.
const LARGEST_LOG: i64 = 32 * 1024 * 1024;

/// The probe pod as ztunnels log it: its address, and since when it sent requests.
#[derive(Debug, Clone)]
pub struct ProbeSource {
    /// IP address of the probe pod.
    pub address: String,
    /// Time since a moment before its first connection.
    pub since: Duration,
}

/// Reads the log of the ztunnel of every node with an ambient endpoint where plaintext got no byte, and adds what it
/// logged about the probe's connections to the observations. `Err` names the right that is missing.
pub async fn add_reports(
    cluster: &Cluster,
    istio_namespace: &str,
    source: &ProbeSource,
    cases: &[Case],
    observations: &mut [Observation],
) -> Result<(), ClusterError> {
    let mut endpoints: Vec<_> = refused_endpoints(DataPlane::Ambient, cases, observations).collect();
    if endpoints.is_empty() {
        return Ok(());
    }
    let control_plane = cluster.in_namespace(istio_namespace);
    let (ztunnels, nodes) = futures::try_join!(ztunnels(&control_plane), nodes(cluster))?;
    tokio::time::sleep(LAG).await;
    let mut logs: BTreeMap<String, Result<String, ClusterError>> = BTreeMap::new();
    for (case, observation) in &mut endpoints {
        let node = case.pod.as_ref().and_then(|pod| nodes.get(pod));
        let Some(ztunnel) = node.and_then(|node| ztunnels.get(node)) else {
            observation.proxy = Some(Err(format!("no ztunnel was found on its node in {istio_namespace}")));
            continue;
        };
        if !logs.contains_key(ztunnel) {
            logs.insert(ztunnel.clone(), log(&control_plane, ztunnel, source.since).await);
        }
        let log = match &logs[ztunnel] {
            Ok(log) => log,
            Err(error) => return Err(error.clone()),
        };
        let destination = socket_address(&case.address, case.port);
        observation.proxy = Some(Ok(ProxyReport::Connections(envoy::connections(log, &source.address, &destination))));
    }
    Ok(())
}

/// The name of a pod, and its node.
#[derive(Deserialize)]
struct PlacedPod {
    metadata: Meta,
    spec: Placement,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placement {
    node_name: Option<String>,
}

/// The ztunnel of each node, by the node's name.
async fn ztunnels(control_plane: &Cluster) -> Result<BTreeMap<String, String>, ClusterError> {
    let by_node = |pod: PlacedPod| Some((pod.spec.node_name?, pod.metadata.name?));
    let ztunnels = Selection::labelled(&control_plane.namespace, "app=ztunnel");
    let listed = list_selected(control_plane, Resource::core("pods"), ztunnels, by_node);
    Ok(listed.await?.into_iter().collect())
}

/// The node of each pod of the namespace, by the pod's name: one list, however many endpoints there are.
async fn nodes(cluster: &Cluster) -> Result<BTreeMap<String, String>, ClusterError> {
    let by_name = |pod: PlacedPod| Some((pod.metadata.name?, pod.spec.node_name?));
    Ok(list(cluster, Resource::core("pods"), &cluster.namespace, by_name).await?.into_iter().collect())
}

async fn log(control_plane: &Cluster, ztunnel: &str, since: Duration) -> Result<String, ClusterError> {
    let api: Api<Pod> = Api::namespaced(control_plane.client.clone(), &control_plane.namespace);
    let access = Access::new("get", "", "pods/log", &control_plane.namespace).named(ztunnel);
    let params = LogParams {
        // The clocks of the node and of this machine may differ by seconds.
        since_seconds: Some(i64::try_from(since.as_secs()).unwrap_or(i64::MAX).saturating_add(10)),
        limit_bytes: Some(LARGEST_LOG),
        ..LogParams::default()
    };
    attempt(access, &mut || api.logs(ztunnel, &params)).await.map_err(|error| {
        let explained = explain(access, &error);
        if code(&error) == 403 { explained } else { ClusterError { hint: None, ..explained } }
    })
}

#[cfg(test)]
mod tests;
