//! What is expected of a target, and whether its verdict is that.

use super::mesh::MtlsMode;
use super::probe::{Case, EndpointCase};
use super::verdict::{Judgement, Verdict};
use std::fmt;

/// `--expect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// Plaintext must be rejected.
    Rejected,
    /// Plaintext must be accepted.
    Accepted,
    /// What the policies ask for, port by port: rejected under STRICT, accepted under PERMISSIVE and DISABLE.
    Policy,
}

impl Expectation {
    /// The word of the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Accepted => "accepted",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The verdict that is expected of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVerdict {
    /// Plaintext is rejected.
    Rejected,
    /// Plaintext is accepted.
    Accepted,
}

/// How a verdict compares with what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// It is what was expected.
    AsExpected,
    /// It is the contrary.
    Unexpected,
    /// The verdict is inconclusive, or what to expect is not known.
    Inconclusive,
}

impl Expectation {
    /// The verdict that is expected of a target; `None` where it depends on policies that could not be read, or where
    /// there is no endpoint.
    pub fn of(self, case: &Case) -> Option<ExpectedVerdict> {
        match self {
            Self::Rejected => Some(ExpectedVerdict::Rejected),
            Self::Accepted => Some(ExpectedVerdict::Accepted),
            Self::Policy => {
                let wanted: Option<Vec<ExpectedVerdict>> = case.endpoints.iter().map(of_endpoint).collect();
                let wanted = wanted.filter(|wanted| !wanted.is_empty())?;
                // As with verdicts: one endpoint that is meant to let plaintext in makes the target accepted.
                let all_rejected = wanted.iter().all(|expected| *expected == ExpectedVerdict::Rejected);
                Some(if all_rejected { ExpectedVerdict::Rejected } else { ExpectedVerdict::Accepted })
            }
        }
    }

    /// Compares. Under [`Expectation::Policy`] every endpoint must do what its own mode says, so that one which
    /// disobeys does not hide behind another that is meant to be open.
    pub fn compare(self, case: &Case, judgement: &Judgement) -> Comparison {
        match self {
            Self::Rejected | Self::Accepted => compare_verdict(self.of(case), &judgement.verdict),
            Self::Policy => {
                let endpoints = case.endpoints.iter().zip(&judgement.endpoints);
                let comparisons: Vec<Comparison> =
                    endpoints.map(|(endpoint, verdict)| compare_verdict(of_endpoint(endpoint), verdict)).collect();
                let target = compare_verdict(self.of(case), &judgement.verdict);
                let all = || comparisons.iter().chain([&target]);
                if all().any(|comparison| *comparison == Comparison::Unexpected) {
                    Comparison::Unexpected
                } else if all().any(|comparison| *comparison == Comparison::Inconclusive) {
                    Comparison::Inconclusive
                } else {
                    Comparison::AsExpected
                }
            }
        }
    }
}

fn of_endpoint(endpoint: &EndpointCase) -> Option<ExpectedVerdict> {
    endpoint.mode.mode.map(|mode| match mode {
        MtlsMode::Strict => ExpectedVerdict::Rejected,
        MtlsMode::Permissive | MtlsMode::Disable => ExpectedVerdict::Accepted,
    })
}

fn compare_verdict(expected: Option<ExpectedVerdict>, verdict: &Verdict) -> Comparison {
    use ExpectedVerdict::{Accepted, Rejected};
    match (expected, verdict) {
        (_, Verdict::Inconclusive(..)) | (None, _) => Comparison::Inconclusive,
        (Some(Rejected), Verdict::Rejected(_)) | (Some(Accepted), Verdict::Accepted(_)) => Comparison::AsExpected,
        (Some(Rejected), Verdict::Accepted(_)) | (Some(Accepted), Verdict::Rejected(_)) => Comparison::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::effective::Effective;
    use crate::domain::mesh::DataPlane;
    use crate::domain::reason::Reason;
    use crate::domain::sample::AcceptedBy;

    fn endpoint(mode: Option<MtlsMode>) -> EndpointCase {
        EndpointCase {
            address: "10.0.0.1".to_owned(),
            port: 8080,
            pod: None,
            data_plane: DataPlane::Sidecar,
            captured: true,
            mode: Effective { mode, chain: Vec::new() },
            identity: None,
        }
    }

    fn case(modes: &[Option<MtlsMode>]) -> Case {
        Case {
            service: "boards".to_owned(),
            namespace: "demo".to_owned(),
            port: 8080,
            port_name: String::new(),
            path: "/".to_owned(),
            explicit_path: false,
            host: "boards.demo.svc.cluster.local".to_owned(),
            endpoints: modes.iter().copied().map(endpoint).collect(),
            unready: Vec::new(),
        }
    }

    fn verdict(word: &str) -> Verdict {
        match word {
            "accepted" => Verdict::Accepted(AcceptedBy::Http(200)),
            "rejected" => Verdict::Rejected(Vec::new()),
            _ => Verdict::Inconclusive(Reason::Dns, String::new()),
        }
    }

    /// Modes of the endpoints, their verdicts, the target's verdict, and what `--expect policy` makes of it.
    #[test]
    fn the_policy_is_held_endpoint_by_endpoint() {
        use Comparison::{AsExpected, Inconclusive, Unexpected};
        use ExpectedVerdict::{Accepted, Rejected};
        use MtlsMode::{Disable, Permissive, Strict};
        type Row<'a> = (&'a [Option<MtlsMode>], &'a [&'a str], &'a str, Option<ExpectedVerdict>, Comparison);
        let rows: [Row<'_>; 11] = [
            (&[Some(Strict)], &["rejected"], "rejected", Some(Rejected), AsExpected),
            (&[Some(Strict)], &["accepted"], "accepted", Some(Rejected), Unexpected),
            (&[Some(Permissive)], &["accepted"], "accepted", Some(Accepted), AsExpected),
            (&[Some(Disable)], &["accepted"], "accepted", Some(Accepted), AsExpected),
            (&[Some(Permissive)], &["inconclusive"], "inconclusive", Some(Accepted), Inconclusive),
            (&[Some(Strict), Some(Permissive)], &["rejected", "accepted"], "accepted", Some(Accepted), AsExpected),
            (&[Some(Strict), Some(Permissive)], &["accepted", "accepted"], "accepted", Some(Accepted), Unexpected),
            (
                &[Some(Strict), Some(Permissive)],
                &["inconclusive", "accepted"],
                "accepted",
                Some(Accepted),
                Inconclusive,
            ),
            (&[Some(Strict), Some(Strict)], &["rejected", "accepted"], "accepted", Some(Rejected), Unexpected),
            (&[None], &["accepted"], "accepted", None, Inconclusive),
            (&[], &[], "inconclusive", None, Inconclusive),
        ];
        for (modes, endpoints, target, expected, comparison) in rows {
            let case = case(modes);
            let judgement =
                Judgement { verdict: verdict(target), endpoints: endpoints.iter().map(|word| verdict(word)).collect() };
            assert_eq!(Expectation::Policy.of(&case), expected, "{modes:?}");
            assert_eq!(Expectation::Policy.compare(&case, &judgement), comparison, "{modes:?} {endpoints:?}");
        }
    }

    #[test]
    fn a_plain_expectation_looks_at_the_target_alone() {
        let judged = |word| Judgement { verdict: verdict(word), endpoints: Vec::new() };
        let rows = [
            (Expectation::Rejected, "rejected", Comparison::AsExpected),
            (Expectation::Rejected, "accepted", Comparison::Unexpected),
            (Expectation::Accepted, "rejected", Comparison::Unexpected),
            (Expectation::Accepted, "inconclusive", Comparison::Inconclusive),
        ];
        for (expectation, word, comparison) in rows {
            assert_eq!(expectation.compare(&case(&[]), &judged(word)), comparison, "{expectation} {word}");
        }
    }
}
