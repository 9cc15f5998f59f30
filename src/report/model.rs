//! The report of a probe: versioned, and apart from the domain's types, which may change freely.

use crate::domain::effective::Effective;
use crate::domain::mesh::MtlsMode;
use crate::domain::probe::{Case, EndpointObservation, NotProbed, Observation, Sample};
use crate::domain::verdict::{self, Reason, Verdict};
use crate::exit::ExitStatus;
use serde::Serialize;

/// Version of the shapes below.
pub const API_VERSION: &str = "secure-traffic/v1alpha1";

/// What a run of `probe` found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeReport {
    /// Always [`API_VERSION`].
    pub api_version: &'static str,
    /// Always `ProbeReport`.
    pub kind: &'static str,
    /// Server of the cluster.
    pub cluster: String,
    /// Namespace of the targets and of the probe.
    pub namespace: String,
    /// When the probe began, RFC 3339.
    pub started_at: String,
    /// Version of this tool.
    pub version: &'static str,
    /// What was expected, where it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<&'static str>,
    /// Exit code of the run.
    pub exit_code: u8,
    /// One entry a target.
    pub results: Vec<TargetReport>,
    /// Ports that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_probed: Vec<NotProbedReport>,
}

/// A port that was left out.
#[derive(Debug, Clone, Serialize)]
pub struct NotProbedReport {
    /// `service:port`.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// The answer for one target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetReport {
    /// `boards:8080/shareditems`.
    pub target: String,
    /// The Service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// The endpoints, each with its own answer.
    pub endpoints: Vec<EndpointReport>,
    /// Plaintext samples through the Service's address.
    pub samples: Vec<SampleReport>,
    /// Addresses that are not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<String>,
    /// Head of the answer's body, where a path was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// An answer with its reason.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// `accepted`, `rejected` or `inconclusive`.
    pub verdict: &'static str,
    /// The reason of an inconclusive answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What was seen, in words.
    pub message: String,
    /// What to do about an inconclusive answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// One endpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// `address:port`.
    pub address: String,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// How the pod takes part in the mesh.
    pub data_plane: String,
    /// The mode that the API's objects ask for; `null` where it cannot be known.
    pub mode: Option<&'static str>,
    /// The objects that had a say, the widest first.
    pub policies: Vec<PolicyReport>,
    /// Why nothing enforces the STRICT that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unguarded: Option<String>,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
    /// Plaintext samples.
    pub samples: Vec<SampleReport>,
    /// The TLS hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<HelloReport>,
}

/// One policy that had a say.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyReport {
    /// `mesh`, `namespace`, `workload` or `port`.
    pub level: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it says; `null` is UNSET.
    pub mode: Option<&'static str>,
}

/// One plaintext sample.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleReport {
    /// curl's exit code.
    pub exit_code: i32,
    /// curl's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Whether the TCP connection was made.
    pub connected: bool,
    /// Bytes that came back.
    pub bytes: u64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What the TLS hello met.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloReport {
    /// Whether a client certificate was asked for.
    pub certificate_requested: bool,
    /// Certificates that were shown.
    pub certificates: usize,
    /// The verified SPIFFE name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spiffe: Option<String>,
    /// Issuer of the verified certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// When the verified certificate expires, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Why the chain is not the mesh's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What a run knows besides its observations.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Server of the cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// RFC 3339.
    pub started_at: String,
    /// What is expected.
    pub expected: Option<&'static str>,
    /// First part of every SPIFFE identity.
    pub trust_domain: String,
    /// Samples that each way in was to give.
    pub attempts: usize,
}

/// Makes the report: judges every case, or says of every case why it could not be asked.
pub fn probe_report(
    frame: &Frame,
    cases: &[Case],
    seen: &Result<Vec<Observation>, (Reason, String)>,
    changed: &[bool],
    not_probed: Vec<NotProbed>,
) -> ProbeReport {
    let nothing = Observation::default();
    let results: Vec<TargetReport> = cases
        .iter()
        .enumerate()
        .map(|(index, case)| match seen {
            Ok(observations) => {
                let changed = changed.get(index).copied().unwrap_or_default();
                judged(frame, case, observations.get(index).unwrap_or(&nothing), changed)
            }
            Err((reason, words)) => unasked(case, *reason, words),
        })
        .collect();
    let exit = overall(&results, frame.expected);
    ProbeReport {
        api_version: API_VERSION,
        kind: "ProbeReport",
        cluster: frame.cluster.clone(),
        namespace: frame.namespace.clone(),
        started_at: frame.started_at.clone(),
        version: env!("CARGO_PKG_VERSION"),
        expected: frame.expected,
        exit_code: exit.code(),
        results,
        not_probed: not_probed
            .into_iter()
            .map(|left| NotProbedReport { name: left.name, reason: left.reason })
            .collect(),
    }
}

impl ProbeReport {
    /// The exit status that the report asks for, whatever its format.
    pub fn exit_status(&self) -> ExitStatus {
        overall(&self.results, self.expected)
    }
}

/// Of nothing, nothing can be told: a namespace without Services must not pass for one that rejects.
fn overall(results: &[TargetReport], expected: Option<&str>) -> ExitStatus {
    let start = if results.is_empty() { ExitStatus::Inconclusive } else { ExitStatus::Success };
    results.iter().fold(start, |status, result| status.and(exit_of(result, expected)))
}

fn exit_of(result: &TargetReport, expected: Option<&str>) -> ExitStatus {
    match (result.answer.verdict, expected) {
        ("inconclusive", _) => ExitStatus::Inconclusive,
        (verdict, Some(expected)) if verdict != expected => ExitStatus::Contrary,
        _ => ExitStatus::Success,
    }
}

fn judged(frame: &Frame, case: &Case, seen: &Observation, changed: bool) -> TargetReport {
    let mut judgement = verdict::judge(case, seen, frame.attempts, &frame.trust_domain);
    if changed {
        judgement.doubt();
    }
    let nothing = EndpointObservation::default();
    let endpoints = case.endpoints.iter().zip(&judgement.endpoints).enumerate().map(|(index, (endpoint, verdict))| {
        let seen = seen.endpoints.get(index).unwrap_or(&nothing);
        EndpointReport {
            address: format!("{}:{}", endpoint.address, endpoint.port),
            pod: endpoint.pod.clone(),
            data_plane: endpoint.data_plane.to_string(),
            mode: endpoint.mode.mode.map(MtlsMode::as_str),
            policies: policies(&endpoint.mode),
            unguarded: endpoint.unguarded(),
            answer: answer(verdict),
            samples: seen.samples.iter().map(sample).collect(),
            hello: seen.hello.as_ref().map(hello),
        }
    });
    TargetReport {
        target: case.name(),
        service: case.service.clone(),
        port: case.port,
        answer: answer(&judgement.verdict),
        endpoints: endpoints.collect(),
        samples: seen.service.iter().map(sample).collect(),
        not_ready: case.unready.clone(),
        body: seen.body.clone(),
    }
}

fn unasked(case: &Case, reason: Reason, words: &str) -> TargetReport {
    TargetReport {
        target: case.name(),
        service: case.service.clone(),
        port: case.port,
        answer: answer(&Verdict::Inconclusive(reason, words.to_owned())),
        endpoints: Vec::new(),
        samples: Vec::new(),
        not_ready: case.unready.clone(),
        body: None,
    }
}

fn policies(mode: &Effective) -> Vec<PolicyReport> {
    mode.chain
        .iter()
        .map(|step| PolicyReport {
            level: step.level.to_string(),
            namespace: step.namespace.clone(),
            name: step.name.clone(),
            mode: step.mode.map(MtlsMode::as_str),
        })
        .collect()
}

fn answer(verdict: &Verdict) -> Answer {
    match verdict {
        Verdict::Accepted(how) => {
            Answer { verdict: verdict.as_str(), reason: None, message: how.to_string(), remedy: None }
        }
        Verdict::Rejected(evidence) => {
            let resets: usize = evidence.iter().map(|one| one.resets).sum();
            let message = format!(
                "every plaintext connection was reset ({resets} of {resets}) by the mesh at {}",
                crate::report::human::count(evidence.len(), "endpoint")
            );
            Answer { verdict: verdict.as_str(), reason: None, message, remedy: None }
        }
        Verdict::Inconclusive(reason, words) => Answer {
            verdict: verdict.as_str(),
            reason: Some(reason.as_str()),
            message: words.clone(),
            remedy: Some(reason.remedy()),
        },
    }
}

fn sample(sample: &Sample) -> SampleReport {
    SampleReport {
        exit_code: sample.exit,
        message: sample.message.clone(),
        http_status: sample.http_status,
        connected: sample.connected,
        bytes: sample.bytes,
        seconds: sample.seconds,
    }
}

fn hello(hello: &crate::domain::probe::Hello) -> HelloReport {
    let identity = hello.identity.as_ref();
    let verified = identity.and_then(|identity| identity.as_ref().ok());
    HelloReport {
        certificate_requested: hello.certificate_requested,
        certificates: hello.chain.len(),
        spiffe: verified.map(|identity| identity.spiffe.clone()),
        issuer: verified.map(|identity| identity.issuer.clone()),
        expires: verified
            .and_then(|identity| jiff::Timestamp::from_second(identity.expires).ok())
            .map(|time| time.to_string()),
        refused: identity.and_then(|identity| identity.as_ref().err()).cloned(),
    }
}
