//! Adds the reports of ztunnels to observations: in ambient mode the node's ztunnel is the proxy. A connection that it
//! refuses looks like that of a dead application from outside; its access log distinguishes the two.

use crate::cluster::connect::Cluster;
use crate::cluster::error::{Access, ClusterError, code, explain};
use crate::cluster::request::{attempt, send, send_optional};
use crate::domain::mesh::{DataPlane, socket_address};
use crate::domain::probe::{Case, EndpointCase, Observation, refused_endpoints};
use crate::domain::proxy::ProxyReport;
use crate::istio::envoy;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};
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
    let ztunnels = ztunnels(&control_plane).await?;
    tokio::time::sleep(LAG).await;
    let mut logs: BTreeMap<String, Result<String, ClusterError>> = BTreeMap::new();
    for (case, observation) in &mut endpoints {
        let Some(ztunnel) = ztunnel_of(cluster, case, &ztunnels).await? else {
            observation.proxy = Some(Err(format!("no ztunnel was found on its node in {istio_namespace}")));
            continue;
        };
        if !logs.contains_key(ztunnel) {
            logs.insert(ztunnel.to_owned(), log(&control_plane, ztunnel, source.since).await);
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

/// Names of ztunnel's pods, by node.
async fn ztunnels(control_plane: &Cluster) -> Result<BTreeMap<String, String>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(control_plane.client.clone(), &control_plane.namespace);
    let access = Access::new("list", "", "pods", &control_plane.namespace);
    let params = ListParams::default().labels("app=ztunnel");
    let list = send(access, || api.list(&params)).await?;
    let pods = list.items.into_iter().filter_map(|pod| Some((pod.spec?.node_name?, pod.metadata.name?)));
    Ok(pods.collect())
}

async fn ztunnel_of<'z>(
    cluster: &Cluster,
    case: &EndpointCase,
    ztunnels: &'z BTreeMap<String, String>,
) -> Result<Option<&'z str>, ClusterError> {
    let Some(name) = &case.pod else { return Ok(None) };
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let access = Access::new("get", "", "pods", &cluster.namespace).named(name);
    let pod = send_optional(access, &[404], || api.get(name)).await?;
    let node = pod.and_then(|pod| pod.spec?.node_name);
    Ok(node.and_then(|node| ztunnels.get(&node)).map(String::as_str))
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
