//! One probe run: cases in, observations out.

use super::connect::Cluster;
use super::curl::{self, Manner};
use super::pod_state::Stand;
use super::probe_pod::{self, Failure, PodRequest, ProbePod, random_word, with_pod};
use super::proxy;
use super::ztunnel::{self, Asker};
use crate::domain::evidence::Sources;
use crate::domain::identity;
use crate::domain::mesh::{Service, Snapshot};
use crate::domain::probe::{Case, Observation};
use crate::progress::Progress;
use crate::signal::Shutdown;
use std::time::{Duration, Instant};

/// Bytes of arguments that one pod gets: an object of the API holds a little more than 1 MiB.
const ARGUMENT_BUDGET: usize = 700 * 1024;

/// How probe pods are made and how they ask.
#[derive(Debug, Clone)]
pub struct PodOptions {
    /// Image with curl in it.
    pub image: String,
    /// Secrets with the credentials for it.
    pub pull_secrets: Vec<String>,
    /// Samples and times.
    pub manner: Manner,
    /// Time for a pod to start.
    pub start_timeout: Duration,
    /// Whose word counts as evidence.
    pub sources: Sources,
    /// Where the rogue stands, if not among its targets.
    pub elsewhere: Option<Elsewhere>,
}

/// Another namespace for the rogue.
#[derive(Clone)]
pub struct Elsewhere {
    /// The cluster, looked at in that namespace.
    pub cluster: Cluster,
    /// Services of that namespace: none of them may select the pod.
    pub services: Vec<Service>,
}

impl std::fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Elsewhere").field("namespace", &self.cluster.namespace).finish_non_exhaustive()
    }
}

/// Who asks whom: everything that a probe run needs.
pub struct Prober<'a> {
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
pub struct Asked {
    /// Observations in the order of the cases, or why there are none.
    pub result: Result<Vec<Observation>, Failure>,
    /// Pods whose removal could not be confirmed.
    pub left_behind: Vec<String>,
}

impl Prober<'_> {
    /// Asks every case from outside the mesh, in as few pods as hold them.
    pub async fn ask(&self, snapshot: &Snapshot, cases: &[Case]) -> Asked {
        let mut asked = self.ask_from(Stand::Outside, snapshot, cases).await;
        let now = jiff::Timestamp::now().as_second();
        if let (Ok(observations), Some(roots)) = (&mut asked.result, &snapshot.mesh_root_pem) {
            verify(observations, roots, now);
        }
        asked
    }

    /// Asks the Services of every case from a pod that stands there.
    pub async fn ask_from(&self, stand: Stand, snapshot: &Snapshot, cases: &[Case]) -> Asked {
        let mut asked = Asked { result: Ok(Vec::new()), left_behind: Vec::new() };
        let marker = random_word(16);
        for chunk in chunks(cases, self.options.manner, &marker) {
            let place = if stand == Stand::Outside { "outside" } else { "inside" };
            let what = match chunk {
                [case] => format!("asking {} from {place} the mesh", case.name()),
                _ => format!("asking {} targets from {place} the mesh", chunk.len()),
            };
            self.progress.begin(&what, None);
            let seconds = curl::worst_case_seconds(chunk, self.options.manner);
            let arguments = curl::arguments(chunk, self.options.manner, &marker);
            let request = PodRequest { stand, ..self.request(arguments, seconds) };
            let (cluster, services) = self.home(stand, snapshot);
            let began = Instant::now();
            let outcome = with_pod(cluster, &request, services, self.shutdown, async |probe| {
                let seen = observe(probe, chunk, self.options.manner, &marker).await?;
                let from = probe.address().map(|address| Asker { address: address.to_owned(), since: began.elapsed() });
                Ok(Told { seen, from })
            })
            .await;
            // The proxies are asked while the pod is removed.
            let result = self.with_proxies(&snapshot.mesh.istio_namespace, chunk, outcome.result);
            let (left_behind, result) = tokio::join!(outcome.removal.confirmed(), result);
            asked.left_behind.extend(left_behind);
            self.progress.end();
            match (&mut asked.result, result) {
                (Ok(all), Ok(observations)) => all.extend(observations),
                (result, Err(failure)) => {
                    *result = Err(failure);
                    break;
                }
                (Err(_), Ok(_)) => break,
            }
        }
        asked
    }

    /// Where a pod is made, and the Services that could select it there. The control stands beside its targets.
    pub fn home<'s>(&'s self, stand: Stand, snapshot: &'s Snapshot) -> (&'s Cluster, &'s [Service]) {
        match &self.options.elsewhere {
            Some(elsewhere) if stand == Stand::Outside => (&elsewhere.cluster, &elsewhere.services),
            _ => (self.cluster, &snapshot.services),
        }
    }

    async fn with_proxies(
        &self,
        istio_namespace: &str,
        cases: &[Case],
        told: Result<Told, Failure>,
    ) -> Result<Vec<Observation>, Failure> {
        let Told { mut seen, from } = told?;
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

    /// A pod outside the mesh with these arguments that may work for so many seconds.
    pub fn request(&self, arguments: Vec<String>, seconds: u64) -> PodRequest {
        PodRequest {
            stand: Stand::Outside,
            arguments,
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
        let chunk = chunks(cases, self.options.manner, &marker).next().unwrap_or_default();
        let seconds = curl::worst_case_seconds(chunk, self.options.manner);
        let request = self.request(curl::arguments(chunk, self.options.manner, &marker), seconds);
        probe_pod::pod(&format!("secure-traffic-probe-{}", random_word(5)), &request)
    }
}

/// What a pod has seen, and who it was to the proxies.
struct Told {
    seen: Vec<Observation>,
    from: Option<Asker>,
}

async fn observe(probe: &ProbePod, cases: &[Case], manner: Manner, marker: &str) -> Result<Vec<Observation>, Failure> {
    let ended = probe.ended().await?;
    let log = probe.log(marker, curl::records(cases, manner)).await?;
    let mut observations = curl::parse(cases, &log, marker);
    let body_of = cases.iter().rposition(|case| case.explicit_path);
    if let Some(observation) = body_of.and_then(|index| observations.get_mut(index)) {
        observation.body = ended.message.filter(|message| !message.is_empty());
    }
    Ok(observations)
}

/// Splits the cases so that the arguments of each part fit a pod.
fn chunks<'a>(cases: &'a [Case], manner: Manner, marker: &str) -> impl Iterator<Item = &'a [Case]> {
    let size = |cases: &[Case]| {
        curl::arguments(cases, manner, marker).iter().map(|argument| argument.len() + 8).sum::<usize>()
    };
    let mut parts = Vec::new();
    let (mut start, mut used) = (0, 0);
    for index in 0..cases.len() {
        let own = size(&cases[index..=index]);
        if index > start && used + own > ARGUMENT_BUDGET {
            parts.push(&cases[start..index]);
            (start, used) = (index, 0);
        }
        used += own;
    }
    if start < cases.len() {
        parts.push(&cases[start..]);
    }
    parts.into_iter()
}

fn verify(observations: &mut [Observation], roots: &str, now: i64) {
    let endpoints = observations.iter_mut().flat_map(|observation| &mut observation.endpoints);
    for hello in endpoints.filter_map(|endpoint| endpoint.hello.as_mut()).filter(|hello| !hello.chain.is_empty()) {
        hello.identity = Some(identity::verify(&hello.chain, roots, now));
    }
}
