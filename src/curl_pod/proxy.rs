//! Requests the configuration of sidecars through a port-forward to their admin interface, as `istioctl proxy-config`
//! does: evidence of who refused a request, and waits for rules to be loaded or old connections to be drained.

use super::port_forward::{self, Bytes, ProxyError};
use crate::cluster::connect::Cluster;
use crate::cluster::error::ClusterError;
use crate::domain::client_config::ExpectedClusters;
use crate::domain::mesh::DataPlane;
use crate::domain::probe::{Case, Observation, refused_endpoints};
use crate::domain::proxy::{self, InboundListeners, ProxyReport};
use crate::istio::envoy;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Port of a sidecar's admin interface.
const ADMIN_PORT: u16 = 15000;

/// Proxies that are requested at the same time.
const CONCURRENCY: usize = 16;

/// Pause between two requests to a sidecar that loads a change.
const LOAD_POLL: Duration = Duration::from_millis(100);
/// Pause between two requests to a sidecar that drains.
const DRAIN_POLL: Duration = Duration::from_secs(1);

/// Requests the listener of the sidecar of every endpoint where plaintext got no byte, and adds its report to the
/// observations. `Err` names the right that is missing.
pub async fn add_reports(
    cluster: &Cluster,
    cases: &[Case],
    observations: &mut [Observation],
) -> Result<(), ClusterError> {
    let refused = refused_endpoints(DataPlane::Sidecar, cases, observations);
    let answers = listeners(cluster, refused.filter_map(|(case, _)| Some((case.pod.as_deref()?, case.port)))).await;
    let mut forbidden = None;
    for (case, observation) in refused_endpoints(DataPlane::Sidecar, cases, observations) {
        let Some(answer) = case.pod.as_deref().and_then(|pod| answers.get(pod)) else { continue };
        observation.proxy = Some(match answer {
            Ok(listeners) => Ok(proxy::inspect_listeners(listeners, &case.address, case.port)),
            Err(ProxyError::Forbidden(error)) => {
                forbidden.get_or_insert_with(|| error.clone());
                Err("you may not port-forward to it".to_owned())
            }
            Err(ProxyError::Failed(message)) => Err(message.clone()),
        });
    }
    forbidden.map_or(Ok(()), Err)
}

/// One port of a pod with a sidecar.
#[derive(Debug, Clone, Copy)]
pub struct SidecarPort<'a> {
    /// Name of the pod.
    pub pod: &'a str,
    /// Its IP address that is called.
    pub address: &'a str,
    /// The target port.
    pub port: u16,
}

/// What the sidecars have loaded for these ports, in their order. `None` where a sidecar could not be requested.
pub async fn reports(cluster: &Cluster, ports: &[SidecarPort<'_>]) -> Vec<Option<ProxyReport>> {
    let answers = listeners(cluster, ports.iter().map(|port| (port.pod, port.port))).await;
    let report = |port: &SidecarPort<'_>| {
        let listeners = answers.get(port.pod)?.as_ref().ok()?;
        Some(proxy::inspect_listeners(listeners, port.address, port.port))
    };
    ports.iter().map(report).collect()
}

/// Number of open connections from the sidecars of these pods to these ports (target ports) of their applications; `None`
/// where a sidecar could not be requested.
pub async fn open_connections(cluster: &Cluster, ports: &[(&str, u16)]) -> Option<u64> {
    let requested: BTreeSet<&str> = ports.iter().map(|(pod, _)| *pod).collect();
    let answers = requested.into_iter().map(async |pod| (pod, admin(cluster, pod, envoy::CLUSTERS).await.ok()));
    let answers: BTreeMap<&str, Option<Bytes>> =
        futures::stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await;
    let count = |(pod, port): &(&str, u16)| {
        let clusters = answers.get(pod)?.as_ref()?;
        Some(envoy::open_connections(&String::from_utf8_lossy(clusters), *port))
    };
    ports.iter().map(count).sum()
}

/// How a wait for sidecars ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitOutcome {
    /// All are ready.
    Done,
    /// Those of these pods were not ready in time.
    Late(Vec<String>),
    /// One could not be requested; the reason.
    Unknown(String),
}

/// Waits until the sidecar of each pod has loaded the clusters that are expected of it.
pub async fn until_loaded(cluster: &Cluster, clients: &[(String, ExpectedClusters)], limit: Duration) -> WaitOutcome {
    let path = envoy::clusters_of(&cluster.namespace);
    let pods: Vec<&str> = clients.iter().map(|(pod, _)| pod.as_str()).collect();
    let awaited: BTreeMap<&str, &ExpectedClusters> =
        clients.iter().map(|(pod, awaited)| (pod.as_str(), awaited)).collect();
    until(pods, limit, LOAD_POLL, async |pod| {
        let clusters = envoy::clusters(&json(&admin(cluster, pod, &path).await?)?);
        Ok(awaited.get(pod).is_none_or(|awaited| awaited.is_loaded(&clusters)))
    })
    .await
}

/// Waits until no sidecar of these pods serves connections that are older than this call: it drains no listener, or its
/// drain time has passed. In a busy mesh some listener is always being drained.
pub async fn until_drained(cluster: &Cluster, pods: &[String], limit: Duration) -> WaitOutcome {
    let begin = Instant::now();
    until(pods.iter().map(String::as_str).collect(), limit, DRAIN_POLL, async |pod| {
        let stats = admin(cluster, pod, envoy::DRAINING).await?;
        match envoy::draining(&String::from_utf8_lossy(&stats)) {
            Some(0) => return Ok(true),
            Some(_) => {}
            None => return Err(ProxyError::Failed("it keeps no count".to_owned())),
        }
        let time = envoy::drain_time(&json(&admin(cluster, pod, envoy::SERVER_INFO).await?)?);
        // One more second for requests that are in progress when the time is over.
        Ok(time.is_some_and(|time| begin.elapsed() > time + Duration::from_secs(1)))
    })
    .await
}

/// Polls the sidecars of these pods until all of them are ready.
async fn until(
    mut pods: Vec<&str>,
    limit: Duration,
    pause: Duration,
    is_ready: impl AsyncFn(&str) -> Result<bool, ProxyError>,
) -> WaitOutcome {
    let begin = Instant::now();
    loop {
        let answers = pods.iter().map(async |pod| (*pod, is_ready(pod).await));
        let answers: Vec<(&str, Result<bool, ProxyError>)> =
            futures::stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await;
        pods.clear();
        for (pod, answer) in answers {
            match answer {
                Ok(true) => {}
                Ok(false) => pods.push(pod),
                Err(error) => return WaitOutcome::Unknown(format!("{pod}: {error}")),
            }
        }
        if pods.is_empty() {
            return WaitOutcome::Done;
        }
        if begin.elapsed() >= limit {
            return WaitOutcome::Late(pods.into_iter().map(str::to_owned).collect());
        }
        tokio::time::sleep(pause).await;
    }
}

/// The inbound listeners of each pod, for these target ports.
async fn listeners<'a>(
    cluster: &Cluster,
    ports: impl Iterator<Item = (&'a str, u16)>,
) -> BTreeMap<&'a str, Result<InboundListeners, ProxyError>> {
    let mut by_pod: BTreeMap<&str, BTreeSet<u16>> = BTreeMap::new();
    for (pod, port) in ports {
        by_pod.entry(pod).or_default().insert(port);
    }
    let answers = by_pod.into_iter().map(async |(pod, ports)| {
        let dump = admin(cluster, pod, &envoy::listeners_of(&ports)).await;
        (pod, dump.and_then(|dump| envoy::inbound_listeners(&json(&dump)?).map_err(ProxyError::Failed)))
    });
    futures::stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await
}

fn json(dump: &Bytes) -> Result<serde_json::Value, ProxyError> {
    serde_json::from_slice(dump).map_err(|error| ProxyError::Failed(format!("its dump: {error}")))
}

/// The response of a pod's sidecar to a GET on its admin interface.
async fn admin(cluster: &Cluster, pod: &str, path: &str) -> Result<Bytes, ProxyError> {
    port_forward::get(cluster, &cluster.namespace, (pod, ADMIN_PORT), path).await
}
