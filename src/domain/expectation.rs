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
    pub fn of(self, case: &Case) -> Option<&'static str> {
        match self {
            Self::Rejected | Self::Accepted => Some(self.as_str()),
            Self::Policy => {
                let wanted: Option<Vec<&str>> = case.endpoints.iter().map(of_endpoint).collect();
                let wanted = wanted.filter(|wanted| !wanted.is_empty())?;
                // As with verdicts: one endpoint that is meant to let plaintext in makes the target accepted.
                Some(if wanted.iter().all(|word| *word == "rejected") { "rejected" } else { "accepted" })
            }
        }
    }

    /// Compares. Under [`Expectation::Policy`] every endpoint must do what its own mode says, so that one which
    /// disobeys does not hide behind another that is meant to be open.
    pub fn compare(self, case: &Case, judgement: &Judgement) -> Comparison {
        match self {
            Self::Rejected | Self::Accepted => compare_verdict(Some(self.as_str()), &judgement.verdict),
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

fn of_endpoint(endpoint: &EndpointCase) -> Option<&'static str> {
    endpoint.mode.mode.map(|mode| if mode == MtlsMode::Strict { "rejected" } else { "accepted" })
}

fn compare_verdict(expected: Option<&str>, verdict: &Verdict) -> Comparison {
    match (expected, verdict) {
        (_, Verdict::Inconclusive(..)) | (None, _) => Comparison::Inconclusive,
        (Some(expected), verdict) if expected == verdict.as_str() => Comparison::AsExpected,
        _ => Comparison::Unexpected,
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
        use MtlsMode::{Disable, Permissive, Strict};
        type Row<'a> = (&'a [Option<MtlsMode>], &'a [&'a str], &'a str, Option<&'a str>, Comparison);
        let rows: [Row<'_>; 11] = [
            (&[Some(Strict)], &["rejected"], "rejected", Some("rejected"), AsExpected),
            (&[Some(Strict)], &["accepted"], "accepted", Some("rejected"), Unexpected),
            (&[Some(Permissive)], &["accepted"], "accepted", Some("accepted"), AsExpected),
            (&[Some(Disable)], &["accepted"], "accepted", Some("accepted"), AsExpected),
            (&[Some(Permissive)], &["inconclusive"], "inconclusive", Some("accepted"), Inconclusive),
            (&[Some(Strict), Some(Permissive)], &["rejected", "accepted"], "accepted", Some("accepted"), AsExpected),
            (&[Some(Strict), Some(Permissive)], &["accepted", "accepted"], "accepted", Some("accepted"), Unexpected),
            (
                &[Some(Strict), Some(Permissive)],
                &["inconclusive", "accepted"],
                "accepted",
                Some("accepted"),
                Inconclusive,
            ),
            (&[Some(Strict), Some(Strict)], &["rejected", "accepted"], "accepted", Some("rejected"), Unexpected),
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
