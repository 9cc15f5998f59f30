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
pub enum Outcome {
    /// It is what was expected.
    AsExpected,
    /// It is the contrary.
    Unexpected,
    /// The verdict is inconclusive, or what to expect is not known.
    CannotTell,
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
    pub fn compare(self, case: &Case, judgement: &Judgement) -> Outcome {
        match self {
            Self::Rejected | Self::Accepted => held(Some(self.as_str()), &judgement.verdict),
            Self::Policy => {
                let endpoints = case.endpoints.iter().zip(&judgement.endpoints);
                let outcomes: Vec<Outcome> =
                    endpoints.map(|(endpoint, verdict)| held(of_endpoint(endpoint), verdict)).collect();
                let target = held(self.of(case), &judgement.verdict);
                let all = || outcomes.iter().chain([&target]);
                if all().any(|outcome| *outcome == Outcome::Unexpected) {
                    Outcome::Unexpected
                } else if all().any(|outcome| *outcome == Outcome::CannotTell) {
                    Outcome::CannotTell
                } else {
                    Outcome::AsExpected
                }
            }
        }
    }
}

fn of_endpoint(endpoint: &EndpointCase) -> Option<&'static str> {
    endpoint.mode.mode.map(|mode| if mode == MtlsMode::Strict { "rejected" } else { "accepted" })
}

fn held(expected: Option<&str>, verdict: &Verdict) -> Outcome {
    match (expected, verdict) {
        (_, Verdict::Inconclusive(..)) | (None, _) => Outcome::CannotTell,
        (Some(expected), verdict) if expected == verdict.as_str() => Outcome::AsExpected,
        _ => Outcome::Unexpected,
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
        use MtlsMode::{Disable, Permissive, Strict};
        use Outcome::{AsExpected, CannotTell, Unexpected};
        type Row<'a> = (&'a [Option<MtlsMode>], &'a [&'a str], &'a str, Option<&'a str>, Outcome);
        let rows: [Row<'_>; 11] = [
            (&[Some(Strict)], &["rejected"], "rejected", Some("rejected"), AsExpected),
            (&[Some(Strict)], &["accepted"], "accepted", Some("rejected"), Unexpected),
            (&[Some(Permissive)], &["accepted"], "accepted", Some("accepted"), AsExpected),
            (&[Some(Disable)], &["accepted"], "accepted", Some("accepted"), AsExpected),
            (&[Some(Permissive)], &["inconclusive"], "inconclusive", Some("accepted"), CannotTell),
            (&[Some(Strict), Some(Permissive)], &["rejected", "accepted"], "accepted", Some("accepted"), AsExpected),
            (&[Some(Strict), Some(Permissive)], &["accepted", "accepted"], "accepted", Some("accepted"), Unexpected),
            (
                &[Some(Strict), Some(Permissive)],
                &["inconclusive", "accepted"],
                "accepted",
                Some("accepted"),
                CannotTell,
            ),
            (&[Some(Strict), Some(Strict)], &["rejected", "accepted"], "accepted", Some("rejected"), Unexpected),
            (&[None], &["accepted"], "accepted", None, CannotTell),
            (&[], &[], "inconclusive", None, CannotTell),
        ];
        for (modes, endpoints, target, expected, outcome) in rows {
            let case = case(modes);
            let judgement =
                Judgement { verdict: verdict(target), endpoints: endpoints.iter().map(|word| verdict(word)).collect() };
            assert_eq!(Expectation::Policy.of(&case), expected, "{modes:?}");
            assert_eq!(Expectation::Policy.compare(&case, &judgement), outcome, "{modes:?} {endpoints:?}");
        }
    }

    #[test]
    fn a_plain_expectation_looks_at_the_target_alone() {
        let judged = |word| Judgement { verdict: verdict(word), endpoints: Vec::new() };
        let rows = [
            (Expectation::Rejected, "rejected", Outcome::AsExpected),
            (Expectation::Rejected, "accepted", Outcome::Unexpected),
            (Expectation::Accepted, "rejected", Outcome::Unexpected),
            (Expectation::Accepted, "inconclusive", Outcome::CannotTell),
        ];
        for (expectation, word, outcome) in rows {
            assert_eq!(expectation.compare(&case(&[]), &judged(word)), outcome, "{expectation} {word}");
        }
    }
}
