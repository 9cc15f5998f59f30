//! In ambient mode the node's ztunnel is the proxy. From outside its refusal looks like a dead application's; its access
//! log tells the two apart, connection by connection.

use crate::cluster::connect::Cluster;
use crate::cluster::error::{Access, ClusterError, code, explain};
use crate::cluster::request::{attempt, send, send_optional};
use crate::domain::mesh::{DataPlane, socket_address};
use crate::domain::probe::{Case, EndpointCase, Observation};
use crate::domain::proxy::{ProxyReport, refused};
use crate::istio::envoy;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a line may take to get from ztunnel to its log.
const LAG: Duration = Duration::from_millis(500);

/// A busy node's log of a minute.
const LARGEST_LOG: i64 = 64 * 1024 * 1024;

/// Who asked, and for how long.
#[derive(Debug, Clone)]
pub struct ProbeSource {
    /// Address of the probe pod.
    pub address: String,
    /// Time since before its first connection.
    pub since: Duration,
}

/// Asks the ztunnel of every node with an ambient endpoint where plaintext got no byte, and puts its account of our
/// connections into the observations. `Err` names the right that is missing.
pub async fn ask(
    cluster: &Cluster,
    istio_namespace: &str,
    asker: &ProbeSource,
    cases: &[Case],
    seen: &mut [Observation],
) -> Result<(), ClusterError> {
    let mut endpoints: Vec<_> = refused(DataPlane::Ambient, cases, seen).collect();
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
            logs.insert(ztunnel.to_owned(), log(&control_plane, ztunnel, asker.since).await);
        }
        let log = match &logs[ztunnel] {
            Ok(log) => log,
            Err(error) => return Err(error.clone()),
        };
        let destination = socket_address(&case.address, case.port);
        observation.proxy = Some(Ok(ProxyReport::Connections(envoy::connections(log, &asker.address, &destination))));
    }
    Ok(())
}

/// ztunnel's pods by node.
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
        // A server's clock and ours need not agree to the second.
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
#[path = "ztunnel_tests.rs"]
mod tests;
