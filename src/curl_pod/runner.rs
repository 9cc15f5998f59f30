//! One probe run: cases in, observations out.

use super::curl::{self, CurlLimits};
use super::pod_state::MeshMembership;
use super::probe_pod::{self, Curl, Failure, PodRequest, ProbePod, random_word, with_pod};
use super::proxy;
use super::ztunnel::{self, ProbeSource};
use crate::cluster::connect::Cluster;
use crate::cluster::snapshot::ProbeNamespace;
use crate::domain::evidence::Sources;
use crate::domain::identity;
use crate::domain::mesh::{Service, Snapshot};
use crate::domain::probe::{Case, Observation, cut_off};
use crate::progress::Progress;
use crate::signal::Shutdown;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Bytes of arguments that one pod gets: an object of the API holds a little more than 1 MiB.
const ARGUMENTS: usize = 500 * 1024;

/// Bytes that one pod writes: the kubelet turns a log over at 10 MiB, and gives out only what came after.
const LOG: usize = 9 << 20;

/// How probe pods are made and how they ask.
#[derive(Debug, Clone)]
pub struct PodOptions {
    /// Image with curl in it.
    pub image: String,
    /// Secrets with the credentials for it.
    pub pull_secrets: Vec<String>,
    /// Samples and times.
    pub manner: CurlLimits,
    /// Time for a pod to start.
    pub start_timeout: Duration,
    /// Whose word counts as evidence.
    pub sources: Sources,
    /// The namespace of the probe pod, if it is not the namespace of the targets.
    pub probe_namespace: Option<ProbeNamespace>,
}

/// Who asks whom: everything that a probe run needs.
pub struct ProbeRunner<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Whether it is an OpenShift.
    pub openshift: bool,
    /// Pods.
    pub options: &'a PodOptions,
    /// Interruption.
    pub shutdown: &'a Shutdown,
    /// Who shows progress.
    pub progress: &'a dyn Progress,
}

/// What a run saw.
#[derive(Debug)]
pub struct ProbeOutcome {
    /// Observations in the order of the cases, or why there are none.
    pub result: Result<Vec<Observation>, Failure>,
    /// Pods whose removal could not be confirmed.
    pub left_behind: Vec<String>,
}

impl ProbeRunner<'_> {
    /// Asks every case from outside the mesh, in as few pods as hold them.
    pub async fn ask(&self, snapshot: &Snapshot, cases: &[Case]) -> ProbeOutcome {
        let mut asked = self.ask_from(MeshMembership::Outside, snapshot, cases).await;
        let now = jiff::Timestamp::now().as_second();
        if let (Ok(observations), Some(roots)) = (&mut asked.result, &snapshot.mesh_root_pem) {
            verify(observations, roots, now);
        }
        asked
    }

    /// Asks the Services of every case from pods that stand there. Cases that an answer to another one cut off are asked
    /// again by a pod of their own.
    pub async fn ask_from(&self, stand: MeshMembership, snapshot: &Snapshot, cases: &[Case]) -> ProbeOutcome {
        let mut left_behind = Vec::new();
        let mut all = vec![Observation::default(); cases.len()];
        let mut pods: VecDeque<Vec<usize>> = chunks(cases, self.options.manner).map(Iterator::collect).collect();
        while let Some(places) = pods.pop_front() {
            let asked: Vec<Case> = places.iter().map(|place| cases[*place].clone()).collect();
            let (left, result) = self.ask_pod(stand, snapshot, &asked).await;
            left_behind.extend(left);
            let seen = match result {
                Ok(seen) => seen,
                Err(failure) => return ProbeOutcome { result: Err(failure), left_behind },
            };
            let again = cut_off(&asked, &seen, self.options.manner.attempts);
            if !again.is_empty() {
                pods.push_front(again.into_iter().map(|index| places[index]).collect());
            }
            for (place, seen) in places.into_iter().zip(seen) {
                all[place] = seen;
            }
        }
        ProbeOutcome { result: Ok(all), left_behind }
    }

    /// Asks cases that fit a pod; says, too, which pod could not be removed.
    async fn ask_pod(
        &self,
        stand: MeshMembership,
        snapshot: &Snapshot,
        cases: &[Case],
    ) -> (Option<String>, Result<Vec<Observation>, Failure>) {
        let place = if stand == MeshMembership::Outside { "outside" } else { "inside" };
        let what = match cases {
            [case] => format!("asking {} from {place} the mesh", case.name()),
            _ => format!("asking {} targets from {place} the mesh", cases.len()),
        };
        self.progress.begin(&what, None);
        let marker = random_word(16);
        let request = PodRequest { stand, ..self.question(cases, &marker) };
        let (cluster, services) = self.home(stand, snapshot);
        let began = Instant::now();
        let outcome = with_pod(cluster, &request, services, self.shutdown, async |probe| {
            let seen = observe(probe, cases, &request.curls, &marker).await?;
            let from =
                probe.address().map(|address| ProbeSource { address: address.to_owned(), since: began.elapsed() });
            Ok(PodOutput { seen, from })
        })
        .await;
        // The proxies are asked while the pod is removed.
        let result = self.with_proxies(&snapshot.mesh.istio_namespace, cases, outcome.result);
        let told = tokio::join!(outcome.removal.confirmed(), result);
        self.progress.end();
        told
    }

    /// Where a pod is made, and the Services that could select it there. The control stands beside its targets.
    pub fn home<'s>(&'s self, stand: MeshMembership, snapshot: &'s Snapshot) -> (&'s Cluster, &'s [Service]) {
        match &self.options.probe_namespace {
            Some(elsewhere) if stand == MeshMembership::Outside => (&elsewhere.cluster, &elsewhere.services),
            _ => (self.cluster, &snapshot.services),
        }
    }

    async fn with_proxies(
        &self,
        istio_namespace: &str,
        cases: &[Case],
        told: Result<PodOutput, Failure>,
    ) -> Result<Vec<Observation>, Failure> {
        let PodOutput { mut seen, from } = told?;
        if self.options.sources == Sources::Network {
            return Ok(seen);
        }
        let asking = async {
            let sidecars = proxy::ask(self.cluster, cases, &mut seen).await;
            let ztunnels = match &from {
                Some(from) => ztunnel::ask(self.cluster, istio_namespace, from, cases, &mut seen).await,
                None => Ok(()),
            };
            sidecars.and(ztunnels)
        };
        match self.shutdown.race(asking).await.map_err(Failure::Interrupted)? {
            // Without the right to ask, the network's evidence stands alone.
            Err(error) if self.options.sources == Sources::Proxy => Err(error.into()),
            _ => Ok(seen),
        }
    }

    /// A pod outside the mesh with these curls that may work for so many seconds.
    pub fn request(&self, curls: Vec<Curl>, seconds: u64) -> PodRequest {
        PodRequest {
            stand: MeshMembership::Outside,
            curls,
            image: self.options.image.clone(),
            pull_secrets: self.options.pull_secrets.clone(),
            deadline_seconds: seconds + self.options.start_timeout.as_secs() + 30,
            start_timeout: self.options.start_timeout,
            openshift: self.openshift,
        }
    }

    /// The pod that [`Self::ask`] would make first.
    pub fn rendered(&self, cases: &[Case]) -> Result<k8s_openapi::api::core::v1::Pod, serde_json::Error> {
        let marker = random_word(16);
        let chunk = chunks(cases, self.options.manner).next().unwrap_or_default();
        probe_pod::pod(&format!("secure-traffic-probe-{}", random_word(5)), &self.question(&cases[chunk], &marker))
    }

    /// A pod outside the mesh that asks these cases.
    fn question(&self, cases: &[Case], marker: &str) -> PodRequest {
        let manner = self.options.manner;
        self.request(curl::curls(cases, manner, marker), curl::worst_case_seconds(cases, manner))
    }
}

/// What a pod has seen, and who it was to the proxies.
struct PodOutput {
    seen: Vec<Observation>,
    from: Option<ProbeSource>,
}

async fn observe(probe: &ProbePod, cases: &[Case], curls: &[Curl], marker: &str) -> Result<Vec<Observation>, Failure> {
    let Some(body_of) = cases.iter().rposition(|case| case.explicit_path) else {
        return Ok(curl::parse(cases, &probe.whole_log(marker, curls).await?, marker));
    };
    // Only the container's end tells the body.
    let ended = probe.ended(|| {}).await?;
    let mut observations = curl::parse(cases, &probe.log(marker, curls).await?, marker);
    if let Some(observation) = observations.get_mut(body_of) {
        observation.body = ended.message.filter(|message| !message.is_empty());
    }
    Ok(observations)
}

/// Splits the cases, by their places, so that each part fits a pod.
fn chunks(cases: &[Case], manner: CurlLimits) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let (mut arguments, mut log) = (ARGUMENTS, LOG);
        let fits = |case: &&Case| {
            let size = curl::size(case, manner);
            let fits = size.arguments <= arguments && size.log <= log;
            (arguments, log) = (arguments.saturating_sub(size.arguments), log.saturating_sub(size.log));
            fits
        };
        // One that alone is too large for a pod is tried all the same.
        let count = cases[start..].iter().take_while(fits).count().max(1);
        let part = start..(start + count).min(cases.len());
        start = part.end;
        (!part.is_empty()).then_some(part)
    })
}

fn verify(observations: &mut [Observation], roots: &str, now: i64) {
    let endpoints = observations.iter_mut().flat_map(|observation| &mut observation.endpoints);
    for hello in endpoints.filter_map(|endpoint| endpoint.hello.as_mut()).filter(|hello| !hello.chain.is_empty()) {
        hello.identity = Some(identity::verify(&hello.chain, roots, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::probe::tests;

    fn case(endpoints: usize, path: usize) -> Case {
        let one = tests::case();
        let endpoints = vec![one.endpoints[0].clone(); endpoints];
        Case { path: "a".repeat(path), host: "web.shop.svc".into(), endpoints, ..one }
    }

    #[test]
    fn a_pod_is_asked_no_more_than_it_holds_and_every_case_once() {
        let manner = CurlLimits::default();
        let parts = |cases: &[Case]| chunks(cases, manner).map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(parts(&[]), [0; 0]);
        assert_eq!(parts(&vec![case(1, 1); 200]), [200], "200 targets are one pod");
        assert_eq!(parts(&vec![case(1, 1); 1500]), [719, 719, 62], "by what they write");
        assert_eq!(parts(&vec![case(1, 70_000); 5]), [2, 2, 1], "by their arguments");
        let often = CurlLimits { attempts: 100, ..manner };
        let cases = vec![case(1, 1); 200];
        let many: Vec<usize> = chunks(&cases, often).map(|part| part.len()).collect();
        assert_eq!((many.iter().sum::<usize>(), many.len() > 1), (200, true), "{many:?}: by their samples");
        assert_eq!(parts(&[case(1, 1), case(5000, 1), case(1, 1)]), [1, 1, 1], "one that is too large is alone");
    }
}
