//! Runs probe pods for cases and returns one observation per case, for `commands`: divides the cases among pods, reads the
//! pods' logs, and adds the reports of sidecars and ztunnels.

use super::curl::{self, CurlLimits};
use super::pod_state::MeshMembership;
use super::probe_pod::{self, Curl, Failure, PodRequest, ProbePod, random_word, with_pod};
use super::proxy;
use super::resources::Resources;
use super::ztunnel::ZtunnelLogs;
use crate::cluster::connect::Cluster;
use crate::cluster::snapshot::ProbeNamespace;
use crate::domain::evidence::Sources;
use crate::domain::identity;
use crate::domain::mesh::{Service, Snapshot};
use crate::domain::placement::PodPlacement;
use crate::domain::probe::{Case, Observation, cut_off};
use crate::domain::reason::Reason;
use crate::progress::Progress;
use crate::sanitize::excerpt;
use crate::signal::Shutdown;
use serde_json::Value;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// Most bytes of arguments in one pod. An object of the API may hold a little more than 1 MiB.
const MAX_ARGUMENT_BYTES: usize = 500 * 1024;

/// Most bytes that one pod logs. The kubelet rotates a log at 10 MiB and then returns only the new part.
const MAX_LOG_BYTES: usize = 9 << 20;

/// Options of probe pods and of their requests.
#[derive(Debug, Clone)]
pub struct PodOptions {
    /// Image that contains curl.
    pub image: String,
    /// Names of Secrets with the credentials for the image.
    pub pull_secrets: Vec<String>,
    /// Where the pods may run, and what else they are given.
    pub placement: PodPlacement,
    /// Number and limits of the requests.
    pub limits: CurlLimits,
    /// Time for a pod to start.
    pub start_timeout: Duration,
    /// Which evidence is used.
    pub sources: Sources,
    /// The namespace of the pods outside the mesh, if it is not that of the targets.
    pub probe_namespace: Option<ProbeNamespace>,
}

/// Runs pods for cases: the cluster with the namespace of the targets, and how to create pods there.
pub struct ProbeRunner<'a> {
    /// The cluster, with the namespace of the targets.
    pub cluster: &'a Cluster,
    /// Whether the cluster is OpenShift.
    pub openshift: bool,
    /// Options of the pods.
    pub options: &'a PodOptions,
    /// Ends a run early.
    pub shutdown: &'a Shutdown,
    /// Shows progress.
    pub progress: &'a dyn Progress,
}

/// The observations of a run, and the pods that it left.
#[derive(Debug)]
pub struct ProbeOutcome {
    /// One observation per case, in the order of the cases.
    pub result: Result<Vec<Observation>, Failure>,
    /// Pods whose removal could not be confirmed, as `pod/NAME -n NAMESPACE`.
    pub left_behind: Vec<String>,
    /// IP addresses of the pods that sent requests.
    pub addresses: Vec<String>,
}

impl ProbeRunner<'_> {
    /// Requests every case from outside the mesh, in as few pods as can hold them.
    pub async fn run(&self, snapshot: &Snapshot, cases: &[Case]) -> ProbeOutcome {
        let mut outcome = self.run_from(MeshMembership::Outside, snapshot, cases).await;
        let now = jiff::Timestamp::now().as_second();
        if let (Ok(observations), Some(roots)) = (&mut outcome.result, &snapshot.mesh_root_pem) {
            verify_identities(observations, roots, now);
        }
        outcome
    }

    /// Requests every case from pods of this membership. An application's response can make curl give up; the cases that
    /// it skipped are requested again by another pod. So are, once, those of a pod whose log has no record at all.
    pub async fn run_from(&self, membership: MeshMembership, snapshot: &Snapshot, cases: &[Case]) -> ProbeOutcome {
        let (mut left_behind, mut addresses) = (Vec::new(), Vec::new());
        let mut all = vec![Observation::default(); cases.len()];
        // A Service without a ready endpoint answers nobody, and the kernel delays each refusal: it is not asked. A client in
        // the mesh asks Services only, and its sidecar answers for them at once.
        let is_asked = |case: &Case| membership != MeshMembership::Outside || !case.endpoints.is_empty();
        let (answering, with_endpoints): (Vec<usize>, Vec<Case>) =
            cases.iter().cloned().enumerate().filter(|(_, case)| is_asked(case)).unzip();
        let chunks = chunks(&with_endpoints, self.options.limits);
        let mut pods: VecDeque<Vec<usize>> = chunks.map(|chunk| answering[chunk].to_vec()).collect();
        let mut is_first_loss = true;
        while let Some(indices) = pods.pop_front() {
            let requested: Vec<Case> = indices.iter().map(|index| cases[*index].clone()).collect();
            let (left, result) = self.run_pod(membership, snapshot, &requested).await;
            left_behind.extend(left);
            let observations = match result {
                Ok(PodAnswers { observations, address }) => {
                    addresses.extend(address);
                    observations
                }
                // A node that is short of something may fail once.
                Err(Failure::Pod(Reason::LostOutput, _)) if is_first_loss => {
                    is_first_loss = false;
                    pods.push_front(indices);
                    continue;
                }
                Err(failure) => return ProbeOutcome { result: Err(failure), left_behind, addresses },
            };
            let skipped = cut_off(&requested, &observations, self.options.limits.attempts);
            if !skipped.is_empty() {
                pods.push_front(skipped.into_iter().map(|position| indices[position]).collect());
            }
            for (index, observation) in indices.into_iter().zip(observations) {
                all[index] = observation;
            }
        }
        ProbeOutcome { result: Ok(all), left_behind, addresses }
    }

    /// Requests cases that fit into one pod. Also returns the pod if it could not be removed.
    async fn run_pod(
        &self,
        membership: MeshMembership,
        snapshot: &Snapshot,
        cases: &[Case],
    ) -> (Option<String>, Result<PodAnswers, Failure>) {
        let place = if membership == MeshMembership::Outside { "outside" } else { "inside" };
        let title = match cases {
            [case] => format!("asking {} from {place} the mesh", case.name()),
            _ => format!("asking {} targets from {place} the mesh", cases.len()),
        };
        self.progress.begin(&title, None);
        let marker = random_word(16);
        let request = self.probe_request(membership, cases, &marker);
        let (cluster, services) = self.placement(membership, snapshot);
        let logs = if membership == MeshMembership::Outside && self.options.sources != Sources::Network {
            match self.shutdown.race(ZtunnelLogs::follow(self.cluster, &snapshot.mesh, cases)).await {
                Ok(logs) => logs,
                Err(signal) => return (None, Err(Failure::Interrupted(signal))),
            }
        } else {
            ZtunnelLogs::default()
        };
        let run = with_pod(cluster, &request, services, self.shutdown, async |probe| {
            let observations = read_observations(probe, cases, &request.curls, &marker).await?;
            Ok(PodAnswers { observations, address: probe.address().map(str::to_owned) })
        })
        .await;
        // The proxies are requested while the pod is removed.
        let reports = self.add_proxy_reports(logs, cases, run.result);
        let removed_and_result = tokio::join!(run.removal.confirmed(), reports);
        self.progress.end();
        removed_and_result
    }

    /// The cluster with the namespace in which a pod is created, and the Services of that namespace. A mesh client is
    /// always created in the namespace of its targets.
    pub fn placement<'s>(&'s self, membership: MeshMembership, snapshot: &'s Snapshot) -> (&'s Cluster, &'s [Service]) {
        match &self.options.probe_namespace {
            Some(namespace) if membership == MeshMembership::Outside => (&namespace.cluster, &namespace.services),
            _ => (self.cluster, &snapshot.services),
        }
    }

    /// Adds what the endpoints' proxies report, unless only network evidence is used.
    async fn add_proxy_reports(
        &self,
        logs: ZtunnelLogs,
        cases: &[Case],
        output: Result<PodAnswers, Failure>,
    ) -> Result<PodAnswers, Failure> {
        let PodAnswers { mut observations, address } = output?;
        if self.options.sources == Sources::Network {
            return Ok(PodAnswers { observations, address });
        }
        let requests = async {
            let sidecars = proxy::add_reports(self.cluster, cases, &mut observations).await;
            if let Some(source) = &address {
                logs.add_reports(source, cases, &mut observations).await;
            }
            sidecars
        };
        match self.shutdown.race(requests).await.map_err(Failure::Interrupted)? {
            // Without the right to request proxies, the evidence of the network remains.
            Err(error) if self.options.sources == Sources::Proxy => Err(error.into()),
            _ => Ok(PodAnswers { observations, address }),
        }
    }

    /// A request for a pod outside the mesh with these curls, which run for at most `seconds`.
    pub fn pod_request(&self, curls: Vec<Curl>, seconds: u64) -> PodRequest {
        PodRequest {
            membership: MeshMembership::Outside,
            curls,
            image: self.options.image.clone(),
            pull_secrets: self.options.pull_secrets.clone(),
            placement: self.options.placement.clone(),
            deadline_seconds: seconds + self.options.start_timeout.as_secs() + 30,
            start_timeout: self.options.start_timeout,
            openshift: self.openshift,
        }
    }

    /// The object of the first pod that [`Self::run`] would create.
    pub fn render_pod(&self, cases: &[Case]) -> Value {
        let marker = random_word(16);
        let chunk = chunks(cases, self.options.limits).next().unwrap_or_default();
        let name = format!("secure-traffic-probe-{}", random_word(5));
        probe_pod::pod(
            &name,
            &self.probe_request(MeshMembership::Outside, &cases[chunk], &marker),
            Resources::default(),
        )
    }

    /// A request for a pod of this membership that requests these cases.
    fn probe_request(&self, membership: MeshMembership, cases: &[Case], marker: &str) -> PodRequest {
        let limits = self.options.limits;
        let curls = curl::curls(cases, limits, membership, marker);
        PodRequest { membership, ..self.pod_request(curls, curl::worst_case_seconds(cases, limits)) }
    }
}

/// The observations of one pod, and its address as ztunnels log it.
struct PodAnswers {
    observations: Vec<Observation>,
    address: Option<String>,
}

/// Reads the observations from the logs of the pod.
async fn read_observations(
    probe: &ProbePod,
    cases: &[Case],
    curls: &[Curl],
    marker: &str,
) -> Result<Vec<Observation>, Failure> {
    let Some(body_of) = cases.iter().rposition(|case| case.explicit_path) else {
        let log = probe.whole_log(marker, curls).await?;
        check_records(probe, &log, marker)?;
        return Ok(curl::parse(cases, &log, marker));
    };
    // The body is available only after the container has exited.
    let ended = probe.ended(|| {}).await?;
    let log = probe.log(marker, curls).await?;
    check_records(probe, &log, marker)?;
    let mut observations = curl::parse(cases, &log, marker);
    if let Some(observation) = observations.get_mut(body_of) {
        observation.body = ended.message.filter(|message| !message.is_empty());
    }
    Ok(observations)
}

/// An error where curl has exited and its log has no record: it could not start, or the log is lost. The last line of the
/// log says why.
fn check_records(probe: &ProbePod, log: &str, marker: &str) -> Result<(), Failure> {
    if log.lines().any(|line| line.starts_with(marker)) {
        return Ok(());
    }
    let code = probe.exit_code().map_or_else(String::new, |code| format!(" with code {code}"));
    let last = log.lines().rfind(|line| !line.trim().is_empty());
    let last =
        last.map_or_else(|| "which is empty".to_owned(), |line| format!("whose last line is: {}", excerpt(line)));
    let message = format!("curl exited{code} without a record in its log, {last}");
    Err(Failure::Pod(Reason::LostOutput, message))
}

/// Divides the cases into ranges that each fit into a pod.
fn chunks(cases: &[Case], limits: CurlLimits) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let (mut argument_bytes, mut log_bytes) = (MAX_ARGUMENT_BYTES, MAX_LOG_BYTES);
        let fits = |case: &&Case| {
            let size = curl::size(case, limits);
            let fits = size.arguments <= argument_bytes && size.log <= log_bytes;
            argument_bytes = argument_bytes.saturating_sub(size.arguments);
            log_bytes = log_bytes.saturating_sub(size.log);
            fits
        };
        // A single case that is too large for a pod is tried nevertheless.
        let count = cases[start..].iter().take_while(fits).count().max(1);
        let chunk = start..(start + count).min(cases.len());
        start = chunk.end;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Verifies the certificate chain of every hello against the mesh's root certificates.
fn verify_identities(observations: &mut [Observation], roots: &str, now: i64) {
    let endpoints = observations.iter_mut().flat_map(|observation| &mut observation.endpoints);
    for hello in endpoints.filter_map(|endpoint| endpoint.hello.as_mut()).filter(|hello| !hello.chain.is_empty()) {
        hello.identity = Some(identity::verify(&hello.chain, roots, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::case_with_path;

    fn case(endpoints: usize, path: usize) -> Case {
        let template = case_with_path();
        let endpoints = vec![template.endpoints[0].clone(); endpoints];
        Case { path: "a".repeat(path), host: "web.shop.svc".into(), endpoints, ..template }
    }

    #[test]
    fn a_pod_requests_no_more_than_it_can_hold_and_every_case_once() {
        let limits = CurlLimits::default();
        let parts = |cases: &[Case]| chunks(cases, limits).map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(parts(&[]), [0; 0]);
        assert_eq!(parts(&vec![case(1, 1); 200]), [200], "200 targets are one pod");
        assert_eq!(parts(&vec![case(1, 1); 1500]), [719, 719, 62], "by what they write");
        assert_eq!(parts(&vec![case(1, 70_000); 5]), [2, 2, 1], "by their arguments");
        let often = CurlLimits { attempts: 100, ..limits };
        let cases = vec![case(1, 1); 200];
        let many: Vec<usize> = chunks(&cases, often).map(|part| part.len()).collect();
        assert_eq!((many.iter().sum::<usize>(), many.len() > 1), (200, true), "{many:?}: by their samples");
        assert_eq!(parts(&[case(1, 1), case(5000, 1), case(1, 1)]), [1, 1, 1], "one that is too large is alone");
    }
}
