//! Follows the logs of ztunnels while a probe runs, and adds what they say about its connections to the observations: in
//! ambient mode the node's ztunnel is the proxy. A connection that it refuses looks like that of a dead application from
//! outside; its access log distinguishes the two.
//!
//! The log of a busy node has a thousand lines per second and is rotated every few seconds, so that it cannot be read
//! afterwards. Only the lines about the endpoints are counted.

use crate::cluster::connect::Cluster;
use crate::cluster::error::{Access, explain};
use crate::cluster::proxy_log::next_line;
use crate::cluster::request::attempt;
use crate::cluster::ztunnel::{Ztunnel, nodes, ztunnels};
use crate::domain::mesh::{DataPlane, MeshSettings, socket_address};
use crate::domain::probe::{Case, EndpointCase, Observation, refused_endpoints};
use crate::domain::proxy::ProxyReport;
use crate::istio::ztunnel::ConnectionCounts;
use futures::AsyncBufRead;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Time that a line may take from ztunnel to its log and here. Usually it is there at once.
const LAG: Duration = Duration::from_secs(2);

/// Time for a log to be opened.
const OPENING: Duration = Duration::from_secs(5);

/// The ztunnels of the nodes with endpoints in ambient mode, and their logs.
#[derive(Default)]
pub struct ZtunnelLogs {
    /// The ztunnel of each endpoint's pod, by the pod's name; the error is why there is none.
    by_pod: BTreeMap<String, Result<Ztunnel, String>>,
    /// The error is why a log cannot be read.
    logs: BTreeMap<Ztunnel, Result<FollowedLog, String>>,
}

/// A log that is followed until it is dropped.
struct FollowedLog {
    state: Arc<watch::Sender<LogState>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct LogState {
    counts: ConnectionCounts,
    /// Whether the log ended, or was cut, so that lines may be missing.
    has_ended: bool,
}

impl Drop for FollowedLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ZtunnelLogs {
    /// Begins to follow the logs. The probe's pod must be created after that.
    pub async fn follow(cluster: &Cluster, mesh: &MeshSettings, cases: &[Case]) -> Self {
        let by_pod = ztunnels_of(cluster, mesh, cases.iter().flat_map(|case| &case.endpoints)).await;
        let destinations: Arc<BTreeSet<String>> =
            Arc::new(ambient(cases.iter().flat_map(|case| &case.endpoints)).map(destination).collect());
        let found: BTreeSet<&Ztunnel> = by_pod.values().flatten().collect();
        let logs = found.into_iter().map(async |ztunnel| {
            (ztunnel.clone(), FollowedLog::open(cluster, ztunnel, Arc::clone(&destinations)).await)
        });
        let logs = futures::future::join_all(logs).await.into_iter().collect();
        Self { by_pod, logs }
    }

    /// Adds to the observation of each endpoint in ambient mode where plaintext got no byte what its ztunnel logged about
    /// the connections from `source`, the address of the probe pod, or why that is not known.
    pub async fn add_reports(self, source: &str, cases: &[Case], observations: &mut [Observation]) {
        let deadline = tokio::time::Instant::now() + LAG;
        for (case, observation) in refused_endpoints(DataPlane::Ambient, cases, observations) {
            let report = match self.log_of(case) {
                Ok(log) => {
                    let limit = deadline.saturating_duration_since(tokio::time::Instant::now());
                    log.connections(source, &destination(case), observation.samples.len(), limit).await
                }
                Err(message) => Err(message.to_owned()),
            };
            observation.proxy = Some(report);
        }
    }

    fn log_of(&self, case: &EndpointCase) -> Result<&FollowedLog, &str> {
        let no_pod = "no pod is known at its address, so neither is its ztunnel";
        let ztunnel = case.pod.as_ref().and_then(|pod| self.by_pod.get(pod)).ok_or(no_pod)?;
        let log = ztunnel.as_ref().map(|ztunnel| self.logs.get(ztunnel)).map_err(String::as_str)?;
        log.ok_or(no_pod)?.as_ref().map_err(String::as_str)
    }
}

/// The ztunnels of the pods of these endpoints that are in ambient mode, by the pod's name. The error is why there is none.
pub(super) async fn ztunnels_of(
    cluster: &Cluster,
    mesh: &MeshSettings,
    endpoints: impl Iterator<Item = &EndpointCase>,
) -> BTreeMap<String, Result<Ztunnel, String>> {
    let pods: BTreeSet<&String> = ambient(endpoints).filter_map(|endpoint| endpoint.pod.as_ref()).collect();
    if pods.is_empty() {
        return BTreeMap::new();
    }
    let found = futures::try_join!(ztunnels(cluster, mesh), nodes(cluster));
    let ztunnel_of = |pod: &String| {
        let (ztunnels, nodes) = found.as_ref().map_err(|error| format!("ztunnel is not found: {error}"))?;
        let ztunnel = nodes.get(pod).and_then(|node| ztunnels.by_node.get(node)).cloned();
        ztunnel.ok_or_else(|| {
            format!("no ztunnel was found on its node in {} (--ztunnel-namespace names another)", ztunnels.place)
        })
    };
    pods.into_iter().map(|pod| (pod.clone(), ztunnel_of(pod))).collect()
}

fn ambient<'e>(endpoints: impl Iterator<Item = &'e EndpointCase>) -> impl Iterator<Item = &'e EndpointCase> {
    endpoints.filter(|endpoint| endpoint.data_plane == DataPlane::Ambient)
}

fn destination(endpoint: &EndpointCase) -> String {
    socket_address(&endpoint.address, endpoint.port)
}

impl FollowedLog {
    async fn open(cluster: &Cluster, ztunnel: &Ztunnel, destinations: Arc<BTreeSet<String>>) -> Result<Self, String> {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &ztunnel.namespace);
        let access = Access::new("get", "", "pods/log", &ztunnel.namespace).named(&ztunnel.pod);
        // The last line that is there already shows that the log is open.
        let params = LogParams { follow: true, tail_lines: Some(1), ..LogParams::default() };
        let opened = timeout(OPENING, attempt(access, &mut || api.log_stream(&ztunnel.pod, &params))).await;
        let log = match opened {
            Ok(Ok(log)) => log,
            Ok(Err(error)) => return Err(format!("ztunnel's log: {}", explain(access, &error))),
            Err(_) => return Err(format!("ztunnel's log could not be opened within {} s", OPENING.as_secs())),
        };
        let state = Arc::new(watch::Sender::new(LogState::default()));
        let task = tokio::spawn(count(log, destinations, Arc::clone(&state)));
        Ok(Self { state, task })
    }

    /// The connections between these addresses, once there are `expected` of them, or after the limit. The error is why
    /// they are not known.
    async fn connections(
        &self,
        source: &str,
        destination: &str,
        expected: usize,
        limit: Duration,
    ) -> Result<ProxyReport, String> {
        let mut state = self.state.subscribe();
        let is_complete =
            |state: &LogState| state.has_ended || state.counts.between(source, destination).total() >= expected;
        let _ = timeout(limit, state.wait_for(is_complete)).await;
        let state = self.state.borrow();
        let connections = state.counts.between(source, destination);
        if state.has_ended && connections.total() < expected {
            return Err("ztunnel's log ended while the probe ran".to_owned());
        }
        Ok(ProxyReport::Connections(connections))
    }
}

/// Counts the lines of a log about these destinations, until it ends.
async fn count(log: impl AsyncBufRead, destinations: Arc<BTreeSet<String>>, state: Arc<watch::Sender<LogState>>) {
    let mut log = std::pin::pin!(log);
    while let Some(line) = next_line(&mut log).await {
        // A line that is too long is none of a connection.
        let Some(line) = line else { continue };
        state.send_if_modified(|state| state.counts.add(&line, |destination| destinations.contains(destination)));
    }
    state.send_modify(|state| state.has_ended = true);
}

#[cfg(test)]
mod tests;
