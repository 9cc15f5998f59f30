//! Computes the verdict that is expected of a target, from `--expect` and the policies, and whether the actual verdict
//! matches it, for the report and the exit code.

use super::inbound::{Bypass, ExcludedBy, InboundPath};
use super::mesh::{DataPlane, MtlsMode};
use super::probe::{Case, EndpointCase};
use super::reason::Reason;
use super::verdict::{Judgement, Verdict};
use std::fmt;

/// The value of `--expect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    Rejected,
    Accepted,
    /// What the policies ask for at each port: rejected under STRICT, accepted under PERMISSIVE and DISABLE.
    Policy,
}

impl Expectation {
    /// The value on the command line.
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

/// The verdict that is expected of a target or endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVerdict {
    Rejected,
    Accepted,
    /// Both are right: no policy is meant for it.
    Either,
}

/// How a verdict compares with the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    AsExpected,
    /// The verdict is the opposite of the expected one.
    Unexpected,
    /// The verdict is inconclusive, or the expected verdict is not known.
    Inconclusive,
}

impl Expectation {
    /// The verdict that is expected of a target; `None` if it depends on policies that cannot be read, or if there is no
    /// endpoint.
    pub fn of(self, case: &Case) -> Option<ExpectedVerdict> {
        match self {
            Self::Rejected => Some(ExpectedVerdict::Rejected),
            Self::Accepted => Some(ExpectedVerdict::Accepted),
            Self::Policy => {
                let wanted: Option<Vec<ExpectedVerdict>> = case.endpoints.iter().map(of_endpoint).collect();
                let wanted = wanted.filter(|wanted| !wanted.is_empty())?;
                // As with verdicts: one endpoint that accepts plaintext makes the target accepted.
                Some(if wanted.contains(&ExpectedVerdict::Accepted) {
                    ExpectedVerdict::Accepted
                } else if wanted.contains(&ExpectedVerdict::Either) {
                    ExpectedVerdict::Either
                } else {
                    ExpectedVerdict::Rejected
                })
            }
        }
    }

    /// Compares a judgement with what is expected. Under [`Expectation::Policy`] every endpoint must match its own mode:
    /// an open endpoint does not hide another one that should be STRICT.
    pub fn compare(self, case: &Case, judgement: &Judgement) -> Comparison {
        match self {
            Self::Rejected | Self::Accepted => compare_verdict(self.of(case), &judgement.verdict),
            Self::Policy => {
                let endpoints = case.endpoints.iter().zip(&judgement.endpoints);
                let comparisons: Vec<Comparison> =
                    endpoints.map(|(endpoint, verdict)| compare_endpoint(endpoint, verdict)).collect();
                let target = compare_verdict(self.of(case), &judgement.verdict);
                let is_closed = matches!(judgement.verdict, Verdict::Inconclusive(Reason::ClosedNotReset, _))
                    && self.of(case) == Some(ExpectedVerdict::Accepted);
                // The endpoints decide where connections were closed: that is accepted by a policy other than STRICT.
                let all = || comparisons.iter().chain((!is_closed).then_some(&target));
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

/// The verdict that an endpoint's own policy asks for. A port that its owner has excluded from capture is meant to accept
/// plaintext; one that only the installation excludes is not.
fn of_endpoint(endpoint: &EndpointCase) -> Option<ExpectedVerdict> {
    match endpoint.path {
        path if path.is_beyond_policies() => return Some(ExpectedVerdict::Either),
        InboundPath::Direct(Bypass::Excluded(ExcludedBy::Annotation)) => return Some(ExpectedVerdict::Accepted),
        _ => {}
    }
    endpoint.mode.mode.map(|mode| match mode {
        MtlsMode::Strict => ExpectedVerdict::Rejected,
        MtlsMode::Permissive | MtlsMode::Disable => ExpectedVerdict::Accepted,
    })
}

fn compare_endpoint(endpoint: &EndpointCase, verdict: &Verdict) -> Comparison {
    match of_endpoint(endpoint) {
        Some(ExpectedVerdict::Accepted) if is_closed_by_application(endpoint, verdict) => Comparison::AsExpected,
        expected => compare_verdict(expected, verdict),
    }
}

/// Whether the endpoint closed its connections without a reset. A STRICT sidecar resets, so the bytes got past it: that is
/// no acceptance by the application, but it follows a policy that accepts plaintext. A ztunnel closes as well, and so may
/// what an `EnvoyFilter` adds to a sidecar.
fn is_closed_by_application(endpoint: &EndpointCase, verdict: &Verdict) -> bool {
    let is_closed = matches!(verdict, Verdict::Inconclusive(Reason::ClosedNotReset, _));
    let has_filter = endpoint.envoy_filter.is_some();
    is_closed && !has_filter && matches!(endpoint.data_plane, DataPlane::Sidecar | DataPlane::None)
}

fn compare_verdict(expected: Option<ExpectedVerdict>, verdict: &Verdict) -> Comparison {
    use ExpectedVerdict::{Accepted, Either, Rejected};
    match (expected, verdict) {
        (_, Verdict::Inconclusive(..)) | (None, _) => Comparison::Inconclusive,
        (Some(Either), _) | (Some(Rejected), Verdict::Rejected(_)) | (Some(Accepted), Verdict::Accepted(_)) => {
            Comparison::AsExpected
        }
        (Some(Rejected), Verdict::Accepted(_)) | (Some(Accepted), Verdict::Rejected(_)) => Comparison::Unexpected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sample::AcceptedBy;
    use crate::domain::testing::{case, endpoint_case};

    fn case_of(modes: &[Option<MtlsMode>]) -> Case {
        case(modes.iter().copied().map(endpoint_case).collect())
    }

    fn verdict(name: &str) -> Verdict {
        match name {
            "accepted" => Verdict::Accepted(AcceptedBy::Http(200)),
            "rejected" => Verdict::Rejected(Vec::new()),
            "closed" => Verdict::Inconclusive(Reason::ClosedNotReset, String::new()),
            _ => Verdict::Inconclusive(Reason::Dns, String::new()),
        }
    }

    /// Modes of the endpoints, their verdicts, the target's verdict, and the result of `--expect policy`.
    #[test]
    fn every_endpoint_is_compared_with_its_own_mode() {
        use Comparison::{AsExpected, Inconclusive, Unexpected};
        use ExpectedVerdict::{Accepted, Rejected};
        use MtlsMode::{Disable, Permissive, Strict};
        type Row<'a> = (&'a [Option<MtlsMode>], &'a [&'a str], &'a str, Option<ExpectedVerdict>, Comparison);
        let rows: [Row<'_>; 15] = [
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
            (&[Some(Permissive)], &["closed"], "closed", Some(Accepted), AsExpected),
            (&[Some(Strict)], &["closed"], "closed", Some(Rejected), Inconclusive),
            (&[Some(Strict), Some(Permissive)], &["rejected", "closed"], "closed", Some(Accepted), AsExpected),
            (&[Some(Strict)], &["rejected"], "closed", Some(Rejected), Inconclusive),
            (&[None], &["accepted"], "accepted", None, Inconclusive),
            (&[], &[], "inconclusive", None, Inconclusive),
        ];
        for (modes, endpoints, target, expected, comparison) in rows {
            let case = case_of(modes);
            let judgement =
                Judgement { verdict: verdict(target), endpoints: endpoints.iter().map(|name| verdict(name)).collect() };
            assert_eq!(Expectation::Policy.of(&case), expected, "{modes:?}");
            assert_eq!(Expectation::Policy.compare(&case, &judgement), comparison, "{modes:?} {endpoints:?}");
        }
    }

    #[test]
    fn a_ztunnel_or_an_envoy_filter_that_closes_does_not_follow_an_open_policy() {
        let endpoint = EndpointCase { data_plane: DataPlane::Ambient, ..endpoint_case(Some(MtlsMode::Permissive)) };
        let judgement = Judgement { verdict: verdict("closed"), endpoints: vec![verdict("closed")] };
        assert_eq!(Expectation::Policy.compare(&case(vec![endpoint]), &judgement), Comparison::Inconclusive);
        let endpoint =
            EndpointCase { envoy_filter: Some("shop/tune".into()), ..endpoint_case(Some(MtlsMode::Permissive)) };
        assert_eq!(Expectation::Policy.compare(&case(vec![endpoint]), &judgement), Comparison::Inconclusive);
    }

    #[test]
    fn rejected_and_accepted_compare_only_the_target() {
        let judged = |name| Judgement { verdict: verdict(name), endpoints: Vec::new() };
        let rows = [
            (Expectation::Rejected, "rejected", Comparison::AsExpected),
            (Expectation::Rejected, "accepted", Comparison::Unexpected),
            (Expectation::Accepted, "rejected", Comparison::Unexpected),
            (Expectation::Accepted, "inconclusive", Comparison::Inconclusive),
        ];
        for (expectation, name, comparison) in rows {
            assert_eq!(expectation.compare(&case_of(&[]), &judged(name)), comparison, "{expectation} {name}");
        }
    }

    /// Endpoints without a proxy in the path: how they are reached, their mode, the verdict, and what `policy` makes of it.
    #[test]
    fn a_port_that_its_owner_exempts_is_meant_to_accept_plaintext() {
        use Comparison::{AsExpected, Inconclusive, Unexpected};
        let excluded = |by| InboundPath::Direct(Bypass::Excluded(by));
        let strict = Some(MtlsMode::Strict);
        let rows = [
            (excluded(ExcludedBy::Annotation), strict, "accepted", AsExpected),
            (excluded(ExcludedBy::Annotation), strict, "rejected", Unexpected),
            (excluded(ExcludedBy::Installation), strict, "accepted", Unexpected),
            (InboundPath::Direct(Bypass::NoProxy), strict, "accepted", Unexpected),
            (InboundPath::Direct(Bypass::AddressFamily), strict, "accepted", Unexpected),
            (InboundPath::Direct(Bypass::NoProxy), Some(MtlsMode::Permissive), "accepted", AsExpected),
            (InboundPath::Gateway, None, "accepted", AsExpected),
            (InboundPath::Gateway, None, "inconclusive", Inconclusive),
            (InboundPath::ProxyPort, None, "accepted", AsExpected),
            (InboundPath::Direct(Bypass::NoWorkload), None, "accepted", AsExpected),
        ];
        for (path, mode, word, expected) in rows {
            let case = case(vec![EndpointCase { path, ..endpoint_case(mode) }]);
            let judgement = Judgement { verdict: verdict(word), endpoints: vec![verdict(word)] };
            assert_eq!(Expectation::Policy.compare(&case, &judgement), expected, "{path:?} {mode:?} {word}");
        }
    }
}
