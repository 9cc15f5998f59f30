//! Builds the report of a probe from cases and observations. Its shape is versioned and published, so it is separate from
//! the types of `domain`. The doc comments of its fields are the descriptions in the JSON Schema.

use super::front_door::FrontDoorReport;
use super::kinds::{ExpectationKind, ExpectedKind, ModeKind, PhaseKind, VerdictKind};
use crate::domain::effective::Effective;
use crate::domain::evidence::JudgeParams;
use crate::domain::evidence::Sources;
use crate::domain::expectation::{Comparison, Expectation};
use crate::domain::mesh::socket_address;
use crate::domain::mesh_client::MeshClientAnswer;
use crate::domain::mesh_traffic::CallSummary;
use crate::domain::probe::{Case, EndpointObservation, NotProbed, Observation};
use crate::domain::proxy::{ProxyReport, Weight};
use crate::domain::reason::Reason;
use crate::domain::sample::Sample;
use crate::domain::verdict::{self, Verdict};
use crate::exit::ExitStatus;
use schemars::JsonSchema;
use serde::Serialize;

/// Version of the shapes below.
pub const API_VERSION: &str = "secure-traffic/v1alpha2";

/// What a run of `probe`, `enable-mtls`, `disable-mtls` or `demo` did and found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ProbeReport {
    /// Version of this shape.
    pub api_version: &'static str,
    /// Always `ProbeReport`.
    pub kind: &'static str,
    /// The command that asked: `probe`, `enable-mtls`, `disable-mtls` or `demo`.
    pub command: &'static str,
    /// Server of the cluster; empty where the run did not get so far.
    pub cluster: String,
    /// When the probe began, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    /// When it ended, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub ended_at: String,
    /// Version of this tool.
    pub version: &'static str,
    /// Version of the API server, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Version of Istio's control plane, by the label of its Service, where that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub istio_version: Option<String>,
    /// What was expected, where it was said: `rejected`, `accepted` or `policy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectationKind>,
    /// Whether the run was a dry run: nothing was probed or changed, so its exit code says nothing about the mesh.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Exit code of the run; absent in a report whose run never came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why the run ended early, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// One entry for each namespace; none where the run did not get so far as to know it.
    pub namespaces: Vec<NamespaceReport>,
}

/// What the run did and found in one namespace.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct NamespaceReport {
    /// Namespace of the targets.
    pub namespace: String,
    /// Namespace of the probe, where it was another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe_namespace: Option<String>,
    /// Objects that were written before the probe, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReport>,
    /// The phases in which they were written, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseReport>,
    /// The calls of a client in the mesh while they were written; absent where none was watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallsReport>,
    /// Front doors that were asked while objects were written and the probe went on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub front_doors: Vec<FrontDoorReport>,
    /// One entry a target.
    pub results: Vec<TargetReport>,
    /// Ports that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_probed: Vec<NotProbedReport>,
}

/// What ended a run before its work was done.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RunError {
    /// What went wrong.
    pub message: String,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Objects of one kind that were written together.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct PhaseReport {
    /// The kind of the objects.
    pub kind: PhaseKind,
    /// Number of the objects.
    pub objects: usize,
    /// Seconds until all of them were written.
    pub seconds: f64,
    /// Seconds from then until every endpoint that shows it followed the change; absent where that is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force_seconds: Option<f64>,
    /// Number of these endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<usize>,
}

/// Calls of a client in the mesh.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct CallsReport {
    /// How many were sent.
    pub sent: usize,
    /// How many of them succeeded.
    pub succeeded: usize,
    /// The targets to which calls succeeded before the change and fail after it.
    pub lost: Vec<String>,
    /// Number of the targets.
    pub targets: usize,
}

/// An object that was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ChangeReport {
    /// As kubectl names it: `peerauthentication.security.istio.io/default`.
    pub object: String,
    /// `created` or `configured`.
    pub action: &'static str,
}

/// A port that was left out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NotProbedReport {
    /// `service:port`.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// The answer for one target.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct TargetReport {
    /// `boards:8080/shareditems`.
    pub target: String,
    /// The Service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The answer.
    #[serde(flatten)]
    pub answer: VerdictReport,
    /// The verdict that was expected, where anything was; absent where that depends on a policy that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectedKind>,
    /// Whether it came so; absent where nothing was expected, or where it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_expected: Option<bool>,
    /// The endpoints, each with its own answer.
    pub endpoints: Vec<EndpointReport>,
    /// Plaintext samples through the Service's address.
    pub samples: Vec<SampleReport>,
    /// What a client in the mesh met, where one was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlReport>,
    /// Addresses that are not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ready: Vec<String>,
    /// Head of the answer's body, where a path was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// An answer with its reason.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictReport {
    /// `accepted`, `rejected` or `inconclusive`.
    pub verdict: VerdictKind,
    /// The reason of an inconclusive answer: a word of `docs/verdicts.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What was seen, in words.
    pub message: String,
    /// What to do about an inconclusive answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// One endpoint.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct EndpointReport {
    /// `address:port`.
    pub address: String,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// How the pod takes part in the mesh, in words.
    pub data_plane: String,
    /// The mode that the API's objects ask for; `null` where it cannot be known.
    pub mode: Option<ModeKind>,
    /// The objects that had a say, the widest first.
    pub policies: Vec<PolicyReport>,
    /// Why nothing enforces the STRICT that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unguarded: Option<String>,
    /// The answer.
    #[serde(flatten)]
    pub answer: VerdictReport,
    /// Plaintext samples.
    pub samples: Vec<SampleReport>,
    /// The TLS hello.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<HelloReport>,
    /// What the endpoint's own proxy says, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyEvidence>,
}

/// What a client in the mesh met.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ControlReport {
    /// Whether it got through; `null` where that cannot be told.
    pub got_through: Option<bool>,
    /// What it met.
    pub message: String,
}

/// What an endpoint's own proxy says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
#[schemars(rename = "ProxyReport")]
pub struct ProxyEvidence {
    /// Whether what it has loaded refuses plaintext; `null` where it gave no answer, or one that says neither.
    pub refuses_plaintext: Option<bool>,
    /// Its word, or why there is none.
    pub message: String,
}

/// One policy that had a say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PolicyReport {
    /// `mesh`, `namespace`, `workload` or `port`.
    #[schemars(extend("enum" = ["mesh", "namespace", "workload", "port"]))]
    pub level: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it says; `null` is UNSET.
    pub mode: Option<ModeKind>,
}

/// One plaintext sample.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
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
    /// Whether the answer has the marks of the sidecar itself rather than of the application behind it.
    pub from_sidecar: bool,
    /// Seconds until the TCP connection was made; 0 where it was not.
    pub connect_seconds: f64,
    /// Seconds from start to end.
    pub seconds: f64,
}

/// What the TLS hello met.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct HelloReport {
    /// curl's exit code: shown, never judged, because under TLS 1.3 it is a race.
    pub exit_code: i32,
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

/// The facts of a run that a report contains besides the observations.
#[derive(Debug, Clone)]
pub struct ReportContext {
    pub command: &'static str,
    /// URL of the API server.
    pub cluster: String,
    pub namespace: String,
    /// Namespace of the probe pod, if that is another one.
    pub probe_namespace: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// Version of the API server.
    pub kubernetes_version: Option<String>,
    /// Version of Istio's control plane.
    pub istio_version: Option<String>,
    /// `--expect`.
    pub expected: Option<Expectation>,
    /// The first part of every SPIFFE identity.
    pub trust_domain: String,
    /// Samples expected from each endpoint, and from the Service's address.
    pub attempts: usize,
    /// Which kinds of evidence count.
    pub sources: Sources,
}

impl ReportContext {
    /// The parameters of the verdicts.
    pub fn judge_params(&self) -> JudgeParams<'_> {
        JudgeParams {
            attempts: self.attempts,
            trust_domain: &self.trust_domain,
            sources: self.sources,
            mesh_client_counts: false,
        }
    }
}

/// Judges every case. `seen` has an observation for each case, or the reason why none was probed; `changed` tells for
/// each case whether its endpoints changed during the probe.
pub fn probe_report(
    context: &ReportContext,
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
                judged(context, case, observations.get(index).unwrap_or(&nothing), changed)
            }
            Err((reason, message)) => unasked(context, case, *reason, message),
        })
        .collect();
    let exit = overall(results.iter(), context.expected.is_some());
    ProbeReport {
        cluster: context.cluster.clone(),
        kubernetes_version: context.kubernetes_version.clone(),
        istio_version: context.istio_version.clone(),
        expected: context.expected.map(ExpectationKind::from),
        dry_run: false,
        exit_code: Some(exit.code()),
        namespaces: vec![NamespaceReport {
            namespace: context.namespace.clone(),
            probe_namespace: context.probe_namespace.clone(),
            results,
            not_probed: not_probed
                .into_iter()
                .map(|left| NotProbedReport { name: left.name, reason: left.reason })
                .collect(),
            ..NamespaceReport::default()
        }],
        ..ProbeReport::empty(context.command, context.started_at.clone())
    }
}

impl ProbeReport {
    /// The report of a run without results.
    pub fn empty(command: &'static str, started_at: String) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "ProbeReport",
            command,
            cluster: String::new(),
            ended_at: started_at.clone(),
            started_at,
            version: env!("CARGO_PKG_VERSION"),
            kubernetes_version: None,
            istio_version: None,
            expected: None,
            dry_run: false,
            exit_code: None,
            error: None,
            namespaces: Vec::new(),
        }
    }

    /// The entry of a namespace, which is added if there is none.
    pub fn namespace_mut(&mut self, name: &str) -> &mut NamespaceReport {
        let index = self.namespaces.iter().position(|entry| entry.namespace == name).unwrap_or_else(|| {
            self.namespaces.push(NamespaceReport { namespace: name.to_owned(), ..NamespaceReport::default() });
            self.namespaces.len() - 1
        });
        &mut self.namespaces[index]
    }

    /// The targets of all namespaces.
    pub fn results(&self) -> impl Iterator<Item = &TargetReport> {
        self.namespaces.iter().flat_map(|namespace| &namespace.results)
    }

    /// The names of the namespaces: `shop`, or `shop, web`.
    pub fn place(&self) -> String {
        let names: Vec<&str> = self.namespaces.iter().map(|entry| entry.namespace.as_str()).collect();
        names.join(", ")
    }

    /// The exit status that follows from the verdicts; it does not depend on the format.
    pub fn exit_status(&self) -> ExitStatus {
        overall(self.results(), self.expected.is_some())
    }

    /// The exit status that follows from the verdicts of the targets with a ready endpoint.
    pub fn exit_status_of_ready(&self) -> ExitStatus {
        overall(self.results().filter(|result| !result.is_empty()), self.expected.is_some())
    }
}

/// The exit status of all targets. Without targets it is inconclusive, because a namespace without Services does not
/// prove that plaintext is rejected.
fn overall<'r>(results: impl Iterator<Item = &'r TargetReport>, expected: bool) -> ExitStatus {
    let statuses = results.map(|result| result.exit_status(expected));
    statuses.reduce(ExitStatus::and).unwrap_or(ExitStatus::Inconclusive)
}

impl TargetReport {
    /// Whether the target was not asked because it has no ready endpoint.
    pub fn is_empty(&self) -> bool {
        self.answer.reason == Some(Reason::NoEndpoints.as_str())
    }

    /// The exit status that follows from the verdict for this target. `expected` is whether the run has an expectation.
    pub fn exit_status(&self, expected: bool) -> ExitStatus {
        match self.as_expected {
            Some(false) => ExitStatus::Unexpected,
            None if expected || self.answer.verdict == VerdictKind::Inconclusive => ExitStatus::Inconclusive,
            Some(true) | None => ExitStatus::Success,
        }
    }
}

fn judged(context: &ReportContext, case: &Case, seen: &Observation, changed: bool) -> TargetReport {
    let mut judgement = verdict::judge(case, seen, context.judge_params());
    if changed {
        judgement.mark_unstable();
    }
    let nothing = EndpointObservation::default();
    let endpoints = case.endpoints.iter().zip(&judgement.endpoints).enumerate().map(|(index, (endpoint, verdict))| {
        let seen = seen.endpoints.get(index).unwrap_or(&nothing);
        EndpointReport {
            address: socket_address(&endpoint.address, endpoint.port),
            pod: endpoint.pod.clone(),
            data_plane: endpoint.data_plane.to_string(),
            mode: endpoint.mode.mode.map(ModeKind::from),
            policies: policies(&endpoint.mode),
            unguarded: endpoint.unguarded(),
            answer: answer(context, verdict),
            samples: seen.samples.iter().map(sample).collect(),
            hello: seen.hello.as_ref().map(hello),
            proxy: seen.proxy.as_ref().map(|report| proxy(report, seen.samples.len())),
        }
    });
    TargetReport {
        target: case.name(),
        service: case.service.clone(),
        port: case.port,
        answer: answer(context, &judgement.verdict),
        expected: context.expected.and_then(|expected| expected.of(case)).and_then(ExpectedKind::new),
        as_expected: context.expected.and_then(|expected| match expected.compare(case, &judgement) {
            Comparison::AsExpected => Some(true),
            Comparison::Unexpected => Some(false),
            Comparison::Inconclusive => None,
        }),
        endpoints: endpoints.collect(),
        samples: seen.service.iter().map(sample).collect(),
        control: seen.mesh_client.as_ref().map(control),
        not_ready: case.unready.clone(),
        body: seen.body.clone(),
    }
}

impl CallsReport {
    /// The report of a summary.
    pub fn new(summary: &CallSummary) -> Self {
        Self {
            sent: summary.calls,
            succeeded: summary.calls - summary.failures(),
            lost: summary.lost.clone(),
            targets: summary.watched,
        }
    }
}

fn unasked(context: &ReportContext, case: &Case, reason: Reason, message: &str) -> TargetReport {
    TargetReport {
        target: case.name(),
        service: case.service.clone(),
        port: case.port,
        answer: answer(context, &Verdict::Inconclusive(reason, message.to_owned())),
        expected: context.expected.and_then(|expected| expected.of(case)).and_then(ExpectedKind::new),
        as_expected: None,
        endpoints: Vec::new(),
        samples: Vec::new(),
        control: None,
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
            mode: step.mode.map(ModeKind::from),
        })
        .collect()
}

fn answer(context: &ReportContext, verdict: &Verdict) -> VerdictReport {
    match verdict {
        Verdict::Accepted(accepted_by) => {
            VerdictReport { verdict: verdict.into(), reason: None, message: accepted_by.to_string(), remedy: None }
        }
        Verdict::Rejected(evidence) => {
            let refused: usize = evidence.iter().map(|evidence| evidence.refused).sum();
            let endpoints = match evidence.len() {
                1 => String::new(),
                more => format!(" at {more} endpoints"),
            };
            let last_resort = evidence.iter().any(|evidence| evidence.identity.is_none() && evidence.proxy.is_none());
            let message = if last_resort {
                let mut reasons: Vec<&str> =
                    evidence.iter().filter_map(|evidence| evidence.no_identity.as_deref()).collect();
                reasons.dedup();
                format!(
                    "refused {refused}/{refused}{endpoints}, and a client in the mesh succeeds; no other evidence is \
                     available: {}",
                    reasons.join("; ")
                )
            } else {
                format!("reset by the mesh {refused}/{refused}{endpoints}")
            };
            VerdictReport { verdict: verdict.into(), reason: None, message, remedy: None }
        }
        Verdict::Inconclusive(reason, message) => VerdictReport {
            verdict: verdict.into(),
            reason: Some(reason.as_str()),
            message: message.clone(),
            remedy: Some(if context.command == "probe" { reason.remedy_of_probe() } else { reason.remedy() }),
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
        from_sidecar: sample.from_sidecar,
        connect_seconds: sample.connect_seconds,
        seconds: sample.seconds,
    }
}

fn control(control: &MeshClientAnswer) -> ControlReport {
    let (got_through, message) = match control {
        MeshClientAnswer::Reached(message) => (Some(true), message),
        MeshClientAnswer::Unreachable(message) => (Some(false), message),
        MeshClientAnswer::Unclear(message) => (None, message),
    };
    ControlReport { got_through, message: message.clone() }
}

fn proxy(report: &Result<ProxyReport, String>, refused: usize) -> ProxyEvidence {
    match report {
        Ok(report) => ProxyEvidence {
            refuses_plaintext: match report.weight(refused) {
                Weight::Supports => Some(true),
                Weight::Contradicts => Some(false),
                Weight::Silent => None,
            },
            message: report.to_string(),
        },
        Err(message) => ProxyEvidence { refuses_plaintext: None, message: message.clone() },
    }
}

fn hello(hello: &crate::domain::probe::Hello) -> HelloReport {
    let identity = hello.identity.as_ref();
    let verified = identity.and_then(|identity| identity.as_ref().ok());
    HelloReport {
        exit_code: hello.exit,
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
