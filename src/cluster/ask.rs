//! One probe run: cases in, observations out.

use super::connect::Cluster;
use super::curl::{self, Manner};
use super::probe_pod::{self, Failure, PodRequest, ProbePod, random_word, with_pod};
use crate::domain::identity;
use crate::domain::mesh::Snapshot;
use crate::domain::probe::{Case, Observation};
use crate::progress::Progress;
use crate::signal::Shutdown;
use std::time::Duration;

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
    /// Asks every case, in as few pods as hold them.
    pub async fn ask(&self, snapshot: &Snapshot, cases: &[Case]) -> Asked {
        let mut asked = Asked { result: Ok(Vec::new()), left_behind: Vec::new() };
        let marker = random_word(16);
        for chunk in chunks(cases, self.options.manner, &marker) {
            let what = match chunk {
                [case] => format!("asking {} from outside the mesh", case.name()),
                _ => format!("asking {} targets from outside the mesh", chunk.len()),
            };
            self.progress.begin(&what, None);
            let request = self.request(curl::arguments(chunk, self.options.manner, &marker), {
                curl::worst_case_seconds(chunk, self.options.manner)
            });
            let outcome = with_pod(self.cluster, &request, &snapshot.services, self.shutdown, async |probe| {
                observe(probe, chunk, self.options.manner, &marker).await
            })
            .await;
            asked.left_behind.extend(outcome.removal.confirmed().await);
            self.progress.end();
            match (&mut asked.result, outcome.result) {
                (Ok(all), Ok(observations)) => all.extend(observations),
                (result, Err(failure)) => {
                    *result = Err(failure);
                    break;
                }
                (Err(_), Ok(_)) => break,
            }
        }
        let now = jiff::Timestamp::now().as_second();
        if let (Ok(observations), Some(roots)) = (&mut asked.result, &snapshot.mesh_root_pem) {
            verify(observations, roots, now);
        }
        asked
    }

    /// A pod with these arguments that may work for so many seconds.
    pub fn request(&self, arguments: Vec<String>, seconds: u64) -> PodRequest {
        PodRequest {
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
