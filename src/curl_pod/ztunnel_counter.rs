//! Reads from the metrics of ztunnels whether policy denied our connections, where their logs do not tell: the second kind
//! of evidence in ambient mode.
//!
//! The counters have no addresses. They are read by the name of the probe's own pod, so that no other client shows up, and
//! the pod connects in two rounds with a pause before each.

use super::curl;
use super::pod_state::{MeshMembership, PROBE};
use super::port_forward;
use super::probe_pod::{Failure, ProbePod, random_word, with_pod};
use super::runner::ProbeRunner;
use super::ztunnel::ztunnels_of;
use crate::cluster::connect::Cluster;
use crate::cluster::ztunnel::Ztunnel;
use crate::domain::mesh::Snapshot;
use crate::domain::probe::{Case, EndpointCase, EndpointObservation, Observation};
use crate::domain::proxy::ProxyReport;
use crate::domain::ztunnel_counter::{Readings, judge};
use crate::istio::ztunnel;
use futures::StreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Port of a ztunnel's metrics.
const METRICS_PORT: u16 = 15020;

/// Connections to each endpoint, in the first and in the second round.
const ROUNDS: [usize; 2] = [2, 3];

/// Time in which a counter must stand still before our first connection.
const STILL: Duration = Duration::from_secs(1);

/// Time that ztunnel may take to count a connection. It is shorter than the pause between the rounds.
const LAG: Duration = Duration::from_secs(1);

/// Denied connections, by ztunnel and by the workload that they were for.
type Counts = BTreeMap<(Ztunnel, String), u64>;

/// Connects to the endpoints that are `undecided` (their positions in each case), and adds to their observations what the
/// counters of their ztunnels show, or why they show nothing. Returns the pod that it left, as `pod/NAME -n NAMESPACE`.
pub async fn add_reports(
    runner: &ProbeRunner<'_>,
    snapshot: &Snapshot,
    cases: &[Case],
    observations: &mut [Observation],
    undecided: &[Vec<usize>],
) -> Result<Option<String>, Failure> {
    let only_undecided = |(case, positions): (&Case, &Vec<usize>)| {
        let endpoints = positions.iter().filter_map(|position| case.endpoints.get(*position).cloned()).collect();
        Case { endpoints, ..case.clone() }
    };
    let requested: Vec<Case> = cases.iter().zip(undecided).map(only_undecided).collect();
    let endpoints = || requested.iter().flat_map(|case| &case.endpoints);
    let ztunnels = ztunnels_of(runner.cluster, &snapshot.mesh, endpoints()).await;
    let key_of = |endpoint: &EndpointCase| -> Option<(Ztunnel, String)> {
        let pod = endpoint.pod.as_ref()?;
        Some((ztunnels.get(pod)?.as_ref().ok()?.clone(), workload(snapshot, pod)))
    };
    let counters = Counters {
        cluster: runner.cluster,
        ztunnels: endpoints().filter_map(key_of).map(|(ztunnel, _)| ztunnel).collect(),
        namespace: runner.placement(MeshMembership::Outside, snapshot).0.namespace.clone(),
    };
    let (left_behind, counts) = counters.count(runner, snapshot, &requested).await?;
    let report = |endpoint: &EndpointCase| {
        let counts = counts.as_ref().map_err(|message| format!("its counters: {message}"))?;
        let key = key_of(endpoint).ok_or_else(|| "no ztunnel is known whose counters could be read".to_owned())?;
        let same = endpoints().filter(|other| key_of(other).as_ref() == Some(&key)).count();
        let of = |counts: &Counts| counts.get(&key).copied().unwrap_or_default();
        let [first, second, third, fourth] = counts.each_ref().map(of);
        let readings = Readings { before: [first, second], after: [third, fourth] };
        judge(ROUNDS.map(|round| (round * same) as u64), readings)
    };
    for ((case, positions), observation) in cases.iter().zip(undecided).zip(observations) {
        for position in positions {
            if let (Some(endpoint), Some(seen)) =
                (case.endpoints.get(*position), observation.endpoints.get_mut(*position))
            {
                let report = report(endpoint);
                add(seen, report);
            }
        }
    }
    Ok(left_behind)
}

/// Replaces a report that shows nothing; a counter that shows nothing either is named beside it.
fn add(seen: &mut EndpointObservation, report: Result<ProxyReport, String>) {
    let former = match &seen.proxy {
        Some(Ok(report)) => Some(report.to_string()),
        Some(Err(message)) => Some(message.clone()),
        None => None,
    };
    seen.proxy =
        Some(report.map_err(|message| [former, Some(message)].into_iter().flatten().collect::<Vec<_>>().join("; ")));
}

/// The name by which ztunnel counts connections to a pod: that of its controller, or its own.
fn workload(snapshot: &Snapshot, pod: &str) -> String {
    let controller = snapshot.pods.get(pod).and_then(|pod| pod.facts.workload.split_once('/'));
    controller.map_or(pod, |(_, name)| name).to_owned()
}

/// The counters of these ztunnels, of clients in a namespace.
struct Counters<'a> {
    cluster: &'a Cluster,
    ztunnels: BTreeSet<Ztunnel>,
    namespace: String,
}

impl Counters<'_> {
    /// Denied connections of the client with this name. The error is why they are not known.
    async fn read(&self, client: &str) -> Result<Counts, String> {
        let answers = self.ztunnels.iter().map(async |ztunnel| {
            let pod = (ztunnel.pod.as_str(), METRICS_PORT);
            let metrics = port_forward::get(self.cluster, &ztunnel.namespace, pod, ztunnel::METRICS).await;
            let metrics = metrics.map_err(|error| error.to_string())?;
            let denied = ztunnel::denied(&String::from_utf8_lossy(&metrics), &self.namespace, client);
            Ok(denied.into_iter().map(|(workload, count)| ((ztunnel.clone(), workload), count)).collect::<Counts>())
        });
        let answers: Vec<Counts> = futures::future::try_join_all(answers).await.map_err(|error: String| error)?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Connects to the endpoints of the cases in two rounds, and reads the counters twice before and after each. Also
    /// returns the pod if it could not be removed.
    async fn count(
        &self,
        runner: &ProbeRunner<'_>,
        snapshot: &Snapshot,
        cases: &[Case],
    ) -> Result<(Option<String>, Result<[Counts; 4], String>), Failure> {
        // Without the right no pod is needed.
        if let Err(message) = self.read("").await {
            return Ok((None, Err(message)));
        }
        let marker = random_word(16);
        let (curl, seconds) = curl::rounds(cases, runner.options.limits, ROUNDS, &marker);
        let request = runner.pod_request(vec![curl], seconds);
        let (cluster, services) = runner.placement(MeshMembership::Outside, snapshot);
        runner.progress.begin("asking ztunnel's counters", None);
        let run = with_pod(cluster, &request, services, runner.shutdown, async |probe| {
            Ok(self.read_around(probe, cases, &marker).await)
        })
        .await;
        let left_behind = run.removal.confirmed().await;
        runner.progress.end();
        match run.result {
            Ok(counts) => Ok((left_behind, counts)),
            Err(Failure::Pod(reason, message)) => Ok((left_behind, Err(format!("{reason}: {message}")))),
            Err(failure) => Err(failure),
        }
    }

    async fn read_around(&self, probe: &ProbePod, cases: &[Case], marker: &str) -> Result<[Counts; 4], String> {
        let failed = |failure: Failure| match failure {
            Failure::Pod(_, message) => message,
            Failure::Cluster(error) => error.message,
            Failure::Interrupted(_) => "it was interrupted".to_owned(),
        };
        probe.started().await.map_err(failed)?;
        let first = self.read(&probe.name).await?;
        tokio::time::sleep(STILL).await;
        let second = self.read(&probe.name).await?;
        let endpoints: usize = cases.iter().map(|case| case.endpoints.len()).sum();
        let records =
            probe.follow(PROBE).await.map_err(failed)?.filter(|line| std::future::ready(line.starts_with(marker)));
        let mut records = std::pin::pin!(records);
        let mut after = Vec::new();
        for round in ROUNDS {
            for _ in 0..round * endpoints {
                records.next().await.ok_or("the log of the probe ended early")?;
            }
            tokio::time::sleep(LAG).await;
            after.push(self.read(&probe.name).await?);
        }
        let [third, fourth] = <[Counts; 2]>::try_from(after).map_err(|_| "a round is missing".to_owned())?;
        Ok([first, second, third, fourth])
    }
}
