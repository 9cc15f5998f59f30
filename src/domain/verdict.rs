//! The answer to the one question: can something without a certificate get in?
//!
//! Three values. `accepted` needs one byte of an answer; `rejected` needs evidence at every ready endpoint that it
//! was the mesh which refused; all else is `inconclusive`, with a reason and a remedy. The facts behind each row
//! were measured on a real mesh.

use super::evidence::{Evidence, JudgeParams, Refusal, Sources, weigh};
use super::mesh_client::MeshClientAnswer;
use super::probe::{Case, EndpointCase, EndpointObservation, Observation};
use super::reason::Reason;
use super::sample::{AcceptedBy, Sample, SampleOutcome, classify};

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

/// Judges one endpoint. `samples` must hold what was asked for: fewer records than `attempts` reject nothing.
pub fn judge_endpoint(case: &EndpointCase, seen: &EndpointObservation, terms: JudgeParams<'_>) -> Verdict {
    let attempts = terms.attempts;
    let looks: Vec<SampleOutcome> = seen.samples.iter().map(classify).collect();
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
        SampleOutcome::Unrelated(reason) if looks.iter().all(|look| *look == looks[0]) => {
            return inconclusive(reason, words);
        }
        _ if looks.iter().any(|look| matches!(look, SampleOutcome::Unrelated(_))) => {
            return inconclusive(Reason::NotSteady, words);
        }
        _ if looks.iter().all(|look| *look == SampleOutcome::Reset) => Refusal::Reset,
        // A STRICT sidecar resets; a ztunnel does both.
        _ => Refusal::Closed,
    };
    match weigh(case, seen, refusal, terms) {
        Ok(evidence) => Verdict::Rejected(vec![evidence]),
        Err((reason, why)) => inconclusive(reason, format!("{words}; {why}")),
    }
}

fn answered(look: SampleOutcome) -> Option<AcceptedBy> {
    match look {
        SampleOutcome::Answered(how) => Some(how),
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
    let looks: Vec<SampleOutcome> = seen.service.iter().map(classify).collect();
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
    let refused = |look: &SampleOutcome| *look == SampleOutcome::Reset || closes && *look == SampleOutcome::Closed;
    match looks.iter().find(|look| !refused(look)) {
        None if looks.is_empty() || looks.len() < attempts => {
            let words = format!("{} of {attempts} records of the Service's own address arrived", looks.len());
            return Verdict::Inconclusive(Reason::LostOutput, words);
        }
        None => {}
        Some(SampleOutcome::Unrelated(reason)) => return Verdict::Inconclusive(*reason, through_service()),
        Some(_) => return Verdict::Inconclusive(Reason::ClosedNotReset, through_service()),
    }
    Verdict::Rejected(evidence)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
