//! Whether a target accepts plaintext, from the observations of a probe, for the report.
//!
//! The verdict is `accepted` if one byte of an answer arrived. It is `rejected` if evidence at every ready endpoint
//! shows that the mesh refused. Otherwise it is `inconclusive`, with a reason and a remedy. The facts behind each row
//! of the tables were measured on a real mesh.

use super::evidence::{Evidence, JudgeParams, RefusalKind, Sources, weigh};
use super::mesh::DataPlane;
use super::mesh_client::MeshClientAnswer;
use super::port_protocol::PortProtocol;
use super::probe::{Case, EndpointCase, EndpointObservation, Hello, Observation};
use super::proxy::{ProxyReport, Weight};
use super::reason::Reason;
use super::sample::{AcceptedBy, Sample, SampleOutcome, classify};

/// The verdict for one endpoint or one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Plaintext was accepted.
    Accepted(AcceptedBy),
    /// The mesh refused plaintext; one entry per endpoint proves it.
    Rejected(Vec<Evidence>),
    /// Neither is proven: the reason, and what was observed.
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
    /// Makes a rejection inconclusive because endpoints or policies changed during the probe: a rejection must hold for
    /// every endpoint. An acceptance stays.
    pub fn mark_unstable(&mut self) {
        if matches!(self.verdict, Verdict::Rejected(_)) {
            let message = "its endpoints, or the policy that applies to them, changed while the probe ran";
            self.verdict = Verdict::Inconclusive(Reason::NotSteady, message.to_owned());
        }
    }
}

/// Judges one endpoint. Fewer samples than `attempts` never give a rejection.
pub fn judge_endpoint(case: &EndpointCase, seen: &EndpointObservation, params: JudgeParams<'_>) -> Verdict {
    let attempts = params.attempts;
    let outcomes: Vec<SampleOutcome> = seen.samples.iter().map(classify).collect();
    if let Some(accepted_by) = outcomes.iter().copied().find_map(accepted_by) {
        return Verdict::Accepted(accepted_by);
    }
    if outcomes.is_empty() || outcomes.len() < attempts {
        let message = format!("{} of {attempts} records arrived", outcomes.len());
        return Verdict::Inconclusive(Reason::LostOutput, message);
    }
    let message = describe(&seen.samples);
    let refusal = match outcomes[0] {
        SampleOutcome::Unrelated(reason) if outcomes.iter().all(|outcome| *outcome == outcomes[0]) => {
            return Verdict::Inconclusive(reason, message);
        }
        _ if outcomes.iter().any(|outcome| matches!(outcome, SampleOutcome::Unrelated(_))) => {
            return Verdict::Inconclusive(Reason::NotSteady, message);
        }
        _ if outcomes.iter().all(|outcome| *outcome == SampleOutcome::Reset) => RefusalKind::Reset,
        // A STRICT sidecar resets; a ztunnel resets or closes.
        _ => RefusalKind::Closed,
    };
    match weigh(case, seen, refusal, params) {
        Ok(evidence) => Verdict::Rejected(vec![evidence]),
        Err((reason, missing)) => Verdict::Inconclusive(reason, format!("{message}; {missing}")),
    }
}

fn accepted_by(outcome: SampleOutcome) -> Option<AcceptedBy> {
    match outcome {
        SampleOutcome::Answered(accepted_by) => Some(accepted_by),
        _ => None,
    }
}

/// curl's exit codes and messages, equal ones counted: `curl: (56) Recv failure (3×)`.
fn describe(samples: &[Sample]) -> String {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for sample in samples {
        let description = match &sample.message {
            Some(message) => format!("curl: ({}) {message}", sample.exit),
            None => format!("curl: ({})", sample.exit),
        };
        match groups.iter_mut().find(|(known, _)| *known == description) {
            Some((_, count)) => *count += 1,
            None => groups.push((description, 1)),
        }
    }
    let texts: Vec<String> =
        groups.into_iter().map(|(description, count)| format!("{description} ({count}×)")).collect();
    texts.join(", ")
}

/// The verdict for a target, and for each of its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict for the target as a whole.
    pub verdict: Verdict,
    /// The verdict for each endpoint, in the order of the case.
    pub endpoints: Vec<Verdict>,
}

/// Judges a target: accepted if one endpoint accepts; else inconclusive if one endpoint is inconclusive; else rejected.
///
/// The Service's address counts like an endpoint, but cannot prove a rejection by itself: each connection reaches only
/// one endpoint.
pub fn judge(case: &Case, seen: &Observation, params: JudgeParams<'_>) -> Judgement {
    let params = JudgeParams { mesh_client_counts: params.mesh_client_counts || seen.mesh_client_counts, ..params };
    let nothing = EndpointObservation::default();
    let endpoints: Vec<Verdict> = case
        .endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| judge_endpoint(endpoint, seen.endpoints.get(index).unwrap_or(&nothing), params))
        .collect();
    let verdict = match (combine(case, seen, &endpoints, params.attempts), &seen.mesh_client) {
        (Verdict::Rejected(_), Some(MeshClientAnswer::Unreachable(message))) => {
            let message = format!("plaintext is refused, but a client in the mesh does not get through: {message}");
            Verdict::Inconclusive(Reason::ControlFailed, message)
        }
        (verdict, _) => verdict,
    };
    let mut judgement = Judgement { verdict, endpoints };
    let speaks_tls = speaks_tls(seen);
    for verdict in judgement.endpoints.iter_mut().chain([&mut judgement.verdict]) {
        if let Verdict::Accepted(accepted_by) = verdict {
            *accepted_by = match *accepted_by {
                AcceptedBy::Http(400) if speaks_tls => AcceptedBy::ApplicationSpeaksTls,
                // A sidecar answers so for an application that speaks another protocol.
                AcceptedBy::ApplicationDown(status) if case.protocol != PortProtocol::Http => {
                    AcceptedBy::SidecarAnswered(status)
                }
                other => other,
            };
        }
    }
    judgement
}

/// Whether the application itself speaks TLS: it answers a TLS hello with a certificate that is not the mesh's, or says so
/// in the body of its answer. An HTTP 400 alone shows nothing about TLS.
fn speaks_tls(seen: &Observation) -> bool {
    // As the servers of Go, nginx and Apache answer.
    const TEXTS: [&str; 3] = [
        "HTTP request to an HTTPS server",
        "HTTP request was sent to HTTPS port",
        "speaking plain HTTP to an SSL-enabled",
    ];
    let answers_hello = |hello: &Hello| !hello.chain.is_empty() && !matches!(hello.identity, Some(Ok(_)));
    seen.endpoints.iter().filter_map(|endpoint| endpoint.hello.as_ref()).any(answers_hello)
        || seen.body.as_deref().is_some_and(|body| TEXTS.iter().any(|text| body.contains(text)))
}

/// Whether only a client in the mesh can decide: every plaintext connection was refused, and neither network nor proxy
/// evidence shows by whom.
pub fn needs_mesh_client(case: &Case, seen: &Observation, params: JudgeParams<'_>) -> bool {
    let is_rejected = |mesh_client_counts| {
        judge(case, seen, JudgeParams { mesh_client_counts, ..params }).verdict.evidence().is_some()
    };
    params.sources != Sources::Proxy && !is_rejected(false) && is_rejected(true)
}

/// Positions of the endpoints in ambient mode whose refusal the log of their ztunnel does not explain, if its counters could
/// make the target rejected; else none.
pub fn undecided_at_ztunnel(case: &Case, seen: &Observation, params: JudgeParams<'_>) -> Vec<usize> {
    let undecided: Vec<usize> = case
        .endpoints
        .iter()
        .zip(&seen.endpoints)
        .enumerate()
        .filter(|(_, (endpoint, seen))| {
            let is_silent = |report: &ProxyReport| report.weight(seen.samples.len()) == Weight::Silent;
            endpoint.data_plane == DataPlane::Ambient
                && seen.proxy.as_ref().is_none_or(|report| report.as_ref().map_or(true, is_silent))
        })
        .map(|(position, _)| position)
        .collect();
    let mut with_counters = Observation { mesh_client: None, ..seen.clone() };
    for position in &undecided {
        with_counters.endpoints[*position].proxy = Some(Ok(ProxyReport::Counted { denied: [1, 2] }));
    }
    let is_rejected = |seen: &Observation| judge(case, seen, params).verdict.evidence().is_some();
    let can_decide = params.sources != Sources::Network && !undecided.is_empty() && is_rejected(&with_counters);
    if can_decide { undecided } else { Vec::new() }
}

fn combine(case: &Case, seen: &Observation, endpoints: &[Verdict], attempts: usize) -> Verdict {
    let outcomes: Vec<SampleOutcome> = seen.service.iter().map(classify).collect();
    // The Service's answer comes first because the user asked about the Service.
    if let Some(accepted_by) = outcomes.iter().copied().find_map(accepted_by) {
        return Verdict::Accepted(accepted_by);
    }
    if let Some(Verdict::Accepted(accepted_by)) =
        endpoints.iter().find(|verdict| matches!(verdict, Verdict::Accepted(_)))
    {
        return Verdict::Accepted(*accepted_by);
    }
    if endpoints.is_empty() {
        let message = format!("service {:?} has no ready endpoint for port {}", case.service, case.port);
        return Verdict::Inconclusive(Reason::NoEndpoints, message);
    }
    if let Some(verdict @ Verdict::Inconclusive(..)) =
        endpoints.iter().find(|verdict| matches!(verdict, Verdict::Inconclusive(..)))
    {
        return verdict.clone();
    }
    let through_service = || format!("through the Service's address: {}", describe(&seen.service));
    let evidence: Vec<Evidence> = endpoints.iter().filter_map(Verdict::evidence).flatten().cloned().collect();
    // A close without a reset counts as a refusal where proxies say so, and where ztunnels refuse: they do both.
    let may_close = |(endpoint, verdict): (&EndpointCase, &Verdict)| {
        let mut evidence = verdict.evidence().into_iter().flatten();
        endpoint.data_plane == DataPlane::Ambient || evidence.all(|evidence| evidence.proxy.is_some())
    };
    let close_counts = case.endpoints.iter().zip(endpoints).all(may_close);
    let refused =
        |outcome: &SampleOutcome| *outcome == SampleOutcome::Reset || close_counts && *outcome == SampleOutcome::Closed;
    match outcomes.iter().find(|outcome| !refused(outcome)) {
        None if outcomes.is_empty() || outcomes.len() < attempts => {
            let message = format!("{} of {attempts} records of the Service's own address arrived", outcomes.len());
            return Verdict::Inconclusive(Reason::LostOutput, message);
        }
        None => {}
        Some(SampleOutcome::Unrelated(reason)) => return Verdict::Inconclusive(*reason, through_service()),
        Some(_) => return Verdict::Inconclusive(Reason::ClosedNotReset, through_service()),
    }
    Verdict::Rejected(evidence)
}

#[cfg(test)]
mod tests;
