//! The answer to the one question: can something without a certificate get in?
//!
//! Three values. `accepted` needs one byte of an answer; `rejected` needs evidence at every ready endpoint that it
//! was the mesh which refused; all else is `inconclusive`, with a reason and a remedy. The facts behind each row
//! were measured on a real mesh.

use super::evidence::{Evidence, Refusal, Sources, weigh};
use super::mesh_client::MeshClientAnswer;
use super::probe::{Case, EndpointCase, EndpointObservation, Observation, Sample};
use std::fmt;

/// How plaintext got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptedBy {
    /// The application answered over HTTP.
    Http(u16),
    /// Bytes came back that are not HTTP.
    NotHttp,
    /// The mesh let the plaintext in; an authorization policy answered 403.
    DeniedByAuthorization,
    /// The sidecar let the plaintext in; the application behind it is down.
    ApplicationDown(u16),
    /// The plaintext reached an application that speaks TLS itself.
    ApplicationSpeaksTls,
}

impl fmt::Display for AcceptedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => write!(f, "HTTP {status}"),
            Self::NotHttp => f.write_str("bytes came back, not HTTP"),
            Self::DeniedByAuthorization => f.write_str("HTTP 403: plaintext got in, denied by authorization"),
            Self::ApplicationDown(status) => {
                write!(f, "HTTP {status}: the sidecar let it in, the application is down")
            }
            Self::ApplicationSpeaksTls => f.write_str("HTTP 400, as an application answers that speaks TLS itself"),
        }
    }
}

/// Why no answer can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The Service's name did not resolve.
    Dns,
    /// Nothing listens.
    Refused,
    /// No TCP connection came about.
    ConnectTimeout,
    /// Connected, sent, and nothing came back in time.
    ReadTimeout,
    /// The Service has no ready endpoint.
    NoEndpoints,
    /// The probe pod itself was brought into the mesh.
    ProbeMeshed,
    /// The probe pod became an endpoint of a Service.
    ProbeSelected,
    /// The endpoint has no proxy that could have refused.
    TargetNotMeshed,
    /// Reset, and nothing proves that the mesh did it.
    ResetWithoutEvidence,
    /// Closed without a reset, which a STRICT sidecar never does.
    ClosedNotReset,
    /// The mode depends on objects that could not be read.
    ModeUnknown,
    /// The mesh's root certificate could not be read, so no certificate proves anything.
    MeshRootUnknown,
    /// The policy, the network and the proxy say different things.
    EvidenceDisagrees,
    /// Only the proxy's own word was to count, and it could not be had.
    ProxySilent,
    /// The application answers TLS itself, with a certificate that is not the mesh's for this pod.
    ApplicationTls,
    /// The probe's image could not be pulled.
    ImagePull,
    /// The API server refused the probe pod.
    AdmissionDenied,
    /// Pod Security refused the probe pod, which itself keeps to the level *restricted*.
    PodSecurity,
    /// A webhook refused the probe pod.
    WebhookDenied,
    /// A webhook that must be asked about pods does not answer.
    WebhookFailed,
    /// The namespace has no service account for pods.
    NoServiceAccount,
    /// A quota refused the probe pod.
    Quota,
    /// A quota is too new to be counted against.
    QuotaUnknown,
    /// A LimitRange refused the probe pod.
    LimitRange,
    /// No node took the probe pod.
    Unschedulable,
    /// The image has no curl that could be started.
    NoCurl,
    /// The probe pod ran into its own deadline.
    Deadline,
    /// The probe pod needed more memory than it may have.
    OutOfMemory,
    /// The probe pod was evicted or preempted.
    Evicted,
    /// The probe pod's node went away.
    NodeLost,
    /// The probe pod ended, or was ended, before its work was done.
    ProbeFailed,
    /// A client in the mesh does not get through either, or could not be sent.
    ControlFailed,
    /// Samples disagree.
    NotSteady,
    /// The probe ran, but records of it are missing.
    LostOutput,
    /// curl failed in a way that says nothing of mutual TLS.
    Unexpected,
}

impl Reason {
    /// The word that output and documentation use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect-timeout",
            Self::ReadTimeout => "read-timeout",
            Self::NoEndpoints => "no-endpoints",
            Self::ProbeMeshed => "probe-meshed",
            Self::ProbeSelected => "probe-selected",
            Self::TargetNotMeshed => "target-not-meshed",
            Self::ResetWithoutEvidence => "reset-without-evidence",
            Self::ClosedNotReset => "closed-not-reset",
            Self::ModeUnknown => "mode-unknown",
            Self::MeshRootUnknown => "mesh-root-unknown",
            Self::EvidenceDisagrees => "evidence-disagrees",
            Self::ProxySilent => "proxy-silent",
            Self::ApplicationTls => "application-tls",
            Self::ImagePull => "image-pull",
            Self::AdmissionDenied => "admission-denied",
            Self::PodSecurity => "pod-security",
            Self::WebhookDenied => "webhook-denied",
            Self::WebhookFailed => "webhook-failed",
            Self::NoServiceAccount => "no-service-account",
            Self::Quota => "quota",
            Self::QuotaUnknown => "quota-unknown",
            Self::LimitRange => "limit-range",
            Self::Unschedulable => "unschedulable",
            Self::NoCurl => "no-curl",
            Self::Deadline => "deadline",
            Self::OutOfMemory => "out-of-memory",
            Self::Evicted => "evicted",
            Self::NodeLost => "node-lost",
            Self::ProbeFailed => "probe-failed",
            Self::ControlFailed => "control-failed",
            Self::NotSteady => "not-steady",
            Self::LostOutput => "lost-output",
            Self::Unexpected => "unexpected",
        }
    }

    /// What a person can do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Dns => {
                "check the name and --cluster-domain, and that the cluster's DNS answers pods of this namespace"
            }
            Self::Refused => "check that the application listens on the target port",
            Self::ConnectTimeout => "check NetworkPolicies between the probe's namespace and the target",
            Self::ReadTimeout => "a silent or server-first application: raise --max-time, or probe another port",
            Self::NoEndpoints => "wait until a pod of the Service is ready",
            Self::ProbeMeshed => {
                "find the webhook that ignores sidecar.istio.io/inject=false, or exempt the probe from it"
            }
            Self::ProbeSelected => "find what adds labels to pods here; the Service selects the probe itself",
            Self::TargetNotMeshed => {
                "restart the pod so that it gets a sidecar; without one nothing enforces mutual TLS"
            }
            Self::ResetWithoutEvidence => {
                "check that the application itself works; something other than the mesh may have reset"
            }
            Self::ClosedNotReset => "check the application: a STRICT sidecar resets, it never just closes",
            Self::ModeUnknown => "grant read access to PeerAuthentications in the root namespace",
            Self::MeshRootUnknown => "grant read access to the ConfigMap istio-ca-root-cert in the namespace",
            Self::EvidenceDisagrees => {
                "try again in a moment; if it stays, look at `istioctl proxy-config listeners` of the pod"
            }
            Self::ProxySilent => "see why the sidecar's admin interface is silent, or leave --evidence at auto",
            Self::ApplicationTls => {
                "the application speaks TLS of its own: probe a plaintext port, or check it from its own logs"
            }
            Self::ImagePull => {
                "name an image that the nodes can pull with --image, and --image-pull-secret if it needs one"
            }
            Self::AdmissionDenied => "read the refusal, or ask from a namespace without it: --from-namespace",
            Self::PodSecurity => {
                "the probe keeps to Pod Security level restricted: find what is added to pods here, or use --from-namespace"
            }
            Self::WebhookDenied => {
                "exempt the probe from that webhook, or ask from a namespace without it: --from-namespace"
            }
            Self::WebhookFailed => {
                "bring the webhook's own service up (of the mesh it is istiod): no pod can be made here"
            }
            Self::NoServiceAccount => "wait until the namespace has its service account \"default\"",
            Self::Quota => {
                "free some of the quota (the probe asks for 10m CPU and 16Mi of memory, twice with more than 20 TLS hellos), or use --from-namespace"
            }
            Self::QuotaUnknown => "the quota was made a moment ago: try again",
            Self::LimitRange => {
                "allow its containers 10m CPU and 16Mi (at most 1 CPU and 64Mi) in the LimitRange, or use --from-namespace"
            }
            Self::Unschedulable => "see why no node takes a small pod of this namespace",
            Self::NoCurl => "name an image with curl on its PATH with --image",
            Self::Deadline => "ask fewer targets at once, or lower --max-time and --attempts",
            Self::OutOfMemory => "ask fewer targets at once: the probe may have 64Mi of memory",
            Self::Evicted => "try again once the node has room",
            Self::NodeLost => "see that the nodes are ready (`kubectl get nodes`), and try again",
            Self::ProbeFailed => "see the pod's events; raise --pod-timeout if the cluster is slow",
            Self::ControlFailed => {
                "see that the application runs and which DestinationRule its clients obey; plaintext is refused, but so is the mesh"
            }
            Self::NotSteady => "probe again once nothing changes, with more --attempts",
            Self::LostOutput => "probe again; if it stays, look at the node's logging",
            Self::Unexpected => "see curl's own words above",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer for one endpoint or one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Plaintext got in.
    Accepted(AcceptedBy),
    /// The mesh refused it, by this evidence (one entry an endpoint).
    Rejected(Vec<Evidence>),
    /// It cannot be told, for this reason, with what was seen.
    Inconclusive(Reason, String),
}

impl Verdict {
    /// `accepted`, `rejected` or `inconclusive`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Rejected(_) => "rejected",
            Self::Inconclusive(..) => "inconclusive",
        }
    }

    /// The evidence of a rejection.
    pub fn evidence(&self) -> Option<&[Evidence]> {
        match self {
            Self::Rejected(evidence) => Some(evidence),
            _ => None,
        }
    }
}

impl Judgement {
    /// A rejection holds for every endpoint that there is. Where these changed during the probe, it holds no more;
    /// an acceptance does.
    pub fn doubt(&mut self) {
        if matches!(self.verdict, Verdict::Rejected(_)) {
            let words = "its endpoints, or the policy that applies to them, changed while the probe ran";
            self.verdict = Verdict::Inconclusive(Reason::NotSteady, words.to_owned());
        }
    }
}

/// What one plaintext sample shows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Bytes came back.
    Answered(AcceptedBy),
    /// Connected, then reset without a byte.
    Reset,
    /// Connected, then closed without a byte.
    Closed,
    /// It says nothing of mutual TLS.
    Blind(Reason),
}

/// Reads one sample: curl's exit code together with what came back, never the code alone.
pub fn look(sample: &Sample) -> Look {
    if let Some(status) = sample.http_status {
        return Look::Answered(match status {
            403 if sample.from_sidecar => AcceptedBy::DeniedByAuthorization,
            502..=504 if sample.from_sidecar => AcceptedBy::ApplicationDown(status),
            400 => AcceptedBy::ApplicationSpeaksTls,
            _ => AcceptedBy::Http(status),
        });
    }
    // curl 1: an answer in HTTP/0.9, that is in anything; 8: a header that is none.
    let unreadable = sample.connected && matches!(sample.exit, 1 | 8);
    if sample.bytes > 0 || unreadable {
        return Look::Answered(AcceptedBy::NotHttp);
    }
    match (sample.exit, sample.connected) {
        (55 | 56, true) => Look::Reset,
        (52, true) => Look::Closed,
        (6, _) => Look::Blind(Reason::Dns),
        (7, _) => Look::Blind(Reason::Refused),
        (28, false) => Look::Blind(Reason::ConnectTimeout),
        (28, true) => Look::Blind(Reason::ReadTimeout),
        _ => Look::Blind(Reason::Unexpected),
    }
}

/// What a verdict is held against.
#[derive(Debug, Clone, Copy)]
pub struct JudgeParams<'a> {
    /// Samples that each way in was to give.
    pub attempts: usize,
    /// First part of every SPIFFE identity.
    pub trust_domain: &'a str,
    /// Whose word counts.
    pub sources: Sources,
    /// Whether it suffices, where no evidence can be had, that a client in the mesh gets through.
    pub last_resort: bool,
}

/// Judges one endpoint. `samples` must hold what was asked for: fewer records than `attempts` reject nothing.
pub fn judge_endpoint(case: &EndpointCase, seen: &EndpointObservation, terms: JudgeParams<'_>) -> Verdict {
    let attempts = terms.attempts;
    let looks: Vec<Look> = seen.samples.iter().map(look).collect();
    if let Some(how) = looks.iter().copied().find_map(answered) {
        return Verdict::Accepted(how);
    }
    let inconclusive = |reason, words: String| Verdict::Inconclusive(reason, words);
    if looks.is_empty() || looks.len() < attempts {
        let words = format!("{} of {attempts} records arrived", looks.len());
        return inconclusive(Reason::LostOutput, words);
    }
    let words = describe(&seen.samples);
    let refusal = match looks[0] {
        Look::Blind(reason) if looks.iter().all(|look| *look == looks[0]) => return inconclusive(reason, words),
        _ if looks.iter().any(|look| matches!(look, Look::Blind(_))) => return inconclusive(Reason::NotSteady, words),
        _ if looks.iter().all(|look| *look == Look::Reset) => Refusal::Reset,
        // A STRICT sidecar resets; a ztunnel does both.
        _ => Refusal::Closed,
    };
    match weigh(case, seen, refusal, terms) {
        Ok(evidence) => Verdict::Rejected(vec![evidence]),
        Err((reason, why)) => inconclusive(reason, format!("{words}; {why}")),
    }
}

fn answered(look: Look) -> Option<AcceptedBy> {
    match look {
        Look::Answered(how) => Some(how),
        _ => None,
    }
}

/// What curl said, with counts, for a person.
fn describe(samples: &[Sample]) -> String {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for sample in samples {
        let words = match &sample.message {
            Some(message) => format!("curl: ({}) {message}", sample.exit),
            None => format!("curl: ({})", sample.exit),
        };
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, count)) => *count += 1,
            None => groups.push((words, 1)),
        }
    }
    let texts: Vec<String> = groups.into_iter().map(|(words, count)| format!("{words} ({count}×)")).collect();
    texts.join(", ")
}

/// The answer for a target, with the answer for each of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// For the target as a whole.
    pub verdict: Verdict,
    /// For each endpoint, in the case's order.
    pub endpoints: Vec<Verdict>,
}

/// Judges a target: one endpoint accepted → accepted; else one inconclusive → inconclusive; else rejected.
///
/// The Service's own address counts as one more way in, but can never by itself prove a rejection: it leads to one
/// endpoint at a time.
pub fn judge(case: &Case, seen: &Observation, terms: JudgeParams<'_>) -> Judgement {
    let terms = JudgeParams { last_resort: terms.last_resort || seen.last_resort, ..terms };
    let nothing = EndpointObservation::default();
    let endpoints: Vec<Verdict> = case
        .endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| judge_endpoint(endpoint, seen.endpoints.get(index).unwrap_or(&nothing), terms))
        .collect();
    let verdict = match (combine(case, seen, &endpoints, terms.attempts), &seen.control) {
        (Verdict::Rejected(_), Some(MeshClientAnswer::Broken(words))) => {
            let words = format!("plaintext is refused, but a client in the mesh does not get through: {words}");
            Verdict::Inconclusive(Reason::ControlFailed, words)
        }
        (verdict, _) => verdict,
    };
    Judgement { verdict, endpoints }
}

/// Whether only a client in the mesh can still tell: every plaintext connection was refused, and neither the network
/// nor a proxy could say by whom.
pub fn needs_control(case: &Case, seen: &Observation, terms: JudgeParams<'_>) -> bool {
    let is_rejected =
        |last_resort| judge(case, seen, JudgeParams { last_resort, ..terms }).verdict.evidence().is_some();
    terms.sources != Sources::Proxy && !is_rejected(false) && is_rejected(true)
}

fn combine(case: &Case, seen: &Observation, endpoints: &[Verdict], attempts: usize) -> Verdict {
    let looks: Vec<Look> = seen.service.iter().map(look).collect();
    // The Service's own answer first: it is the question that a person asked.
    if let Some(how) = looks.iter().copied().find_map(answered) {
        return Verdict::Accepted(how);
    }
    if let Some(Verdict::Accepted(how)) = endpoints.iter().find(|verdict| matches!(verdict, Verdict::Accepted(_))) {
        return Verdict::Accepted(*how);
    }
    if endpoints.is_empty() {
        let words = format!("service {:?} has no ready endpoint for port {}", case.service, case.port);
        return Verdict::Inconclusive(Reason::NoEndpoints, words);
    }
    if let Some(verdict @ Verdict::Inconclusive(..)) =
        endpoints.iter().find(|verdict| matches!(verdict, Verdict::Inconclusive(..)))
    {
        return verdict.clone();
    }
    let through_service = || format!("through the Service's address: {}", describe(&seen.service));
    let evidence: Vec<Evidence> = endpoints.iter().filter_map(Verdict::evidence).flatten().cloned().collect();
    // Where each proxy has given its word, a plain close is as good as a reset.
    let closes = evidence.iter().all(|evidence| evidence.proxy.is_some());
    let refused = |look: &Look| *look == Look::Reset || closes && *look == Look::Closed;
    match looks.iter().find(|look| !refused(look)) {
        None if looks.is_empty() || looks.len() < attempts => {
            let words = format!("{} of {attempts} records of the Service's own address arrived", looks.len());
            return Verdict::Inconclusive(Reason::LostOutput, words);
        }
        None => {}
        Some(Look::Blind(reason)) => return Verdict::Inconclusive(*reason, through_service()),
        Some(_) => return Verdict::Inconclusive(Reason::ClosedNotReset, through_service()),
    }
    Verdict::Rejected(evidence)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
