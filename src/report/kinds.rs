//! The published values of reports as enums: verdict, expectation, mode and severity, as they are written in JSON.
//!
//! Types of `domain` can change at any time; these values are a published interface.

use crate::domain::expectation::{Expectation, ExpectedVerdict};
use crate::domain::findings::Severity;
use crate::domain::mesh::MtlsMode;
use crate::domain::object::ObjectKind;
use crate::domain::verdict::Verdict;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// The kind of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VerdictKind {
    Accepted,
    Rejected,
    Inconclusive,
}

impl VerdictKind {
    /// The published value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl From<&Verdict> for VerdictKind {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accepted(_) => Self::Accepted,
            Verdict::Rejected(_) => Self::Rejected,
            Verdict::Inconclusive(..) => Self::Inconclusive,
        }
    }
}

/// The kind of the objects that a phase of a change writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PhaseKind {
    Policy,
    DestinationRules,
}

impl From<ObjectKind> for PhaseKind {
    fn from(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::Policy => Self::Policy,
            ObjectKind::Rule => Self::DestinationRules,
        }
    }
}

/// The verdict that a run expects of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ExpectedKind {
    Accepted,
    Rejected,
}

impl ExpectedKind {
    /// The published value.
    pub const fn as_str(self) -> &'static str {
        VerdictKind::as_str(self.verdict())
    }

    /// The verdict that is as expected.
    pub const fn verdict(self) -> VerdictKind {
        match self {
            Self::Accepted => VerdictKind::Accepted,
            Self::Rejected => VerdictKind::Rejected,
        }
    }
}

impl ExpectedKind {
    /// The value for an expected verdict; `None` where either is right.
    pub const fn new(expected: ExpectedVerdict) -> Option<Self> {
        match expected {
            ExpectedVerdict::Accepted => Some(Self::Accepted),
            ExpectedVerdict::Rejected => Some(Self::Rejected),
            ExpectedVerdict::Either => None,
        }
    }
}

/// What a run expects of all targets: `--expect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ExpectationKind {
    Rejected,
    Accepted,
    Policy,
}

impl ExpectationKind {
    /// The published value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Accepted => "accepted",
            Self::Policy => "policy",
        }
    }
}

impl From<Expectation> for ExpectationKind {
    fn from(expectation: Expectation) -> Self {
        match expectation {
            Expectation::Rejected => Self::Rejected,
            Expectation::Accepted => Self::Accepted,
            Expectation::Policy => Self::Policy,
        }
    }
}

/// A mode of mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub enum ModeKind {
    Strict,
    Permissive,
    Disable,
}

impl ModeKind {
    /// The published value, which is the one of Istio's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => MtlsMode::Strict.as_str(),
            Self::Permissive => MtlsMode::Permissive.as_str(),
            Self::Disable => MtlsMode::Disable.as_str(),
        }
    }
}

impl From<MtlsMode> for ModeKind {
    fn from(mode: MtlsMode) -> Self {
        match mode {
            MtlsMode::Strict => Self::Strict,
            MtlsMode::Permissive => Self::Permissive,
            MtlsMode::Disable => Self::Disable,
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SeverityKind {
    Error,
    Warning,
    Info,
}

impl SeverityKind {
    /// The published value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => Severity::Error.as_str(),
            Self::Warning => Severity::Warning.as_str(),
            Self::Info => Severity::Info.as_str(),
        }
    }
}

impl From<Severity> for SeverityKind {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
            Severity::Info => Self::Info,
        }
    }
}

/// Implements `Display` with the published value, so that text and JSON agree.
macro_rules! display {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
display!(VerdictKind, ExpectedKind, ExpectationKind, ModeKind, SeverityKind);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_text_have_the_same_values() {
        fn assert_same<T: Serialize + fmt::Display>(kinds: &[T]) {
            for kind in kinds {
                assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
            }
        }
        assert_same(&[VerdictKind::Accepted, VerdictKind::Rejected, VerdictKind::Inconclusive]);
        assert_same(&[ExpectedKind::Accepted, ExpectedKind::Rejected]);
        assert_same(&[ExpectationKind::Rejected, ExpectationKind::Accepted, ExpectationKind::Policy]);
        assert_same(&[ModeKind::Strict, ModeKind::Permissive, ModeKind::Disable]);
        assert_same(&[SeverityKind::Error, SeverityKind::Warning, SeverityKind::Info]);
    }
}
