//! How a run ends: one meaning a code, the same under every output format.

use crate::cluster::error::ClusterError;
use crate::domain::probe::TargetError;
use crate::signal::Signal;

/// The meaning of an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done, or as expected.
    Success,
    /// The contrary of what was expected, a check that stopped the run, "no", or differences.
    Unexpected,
    /// Usage; no confirmation could be had.
    Usage,
    /// Inconclusive, or not in force in time.
    Inconclusive,
    /// Cluster, API, permission, field conflict.
    Cluster,
    /// Done, but something is left.
    LeftBehind,
    /// A signal.
    Interrupted(Signal),
}

impl ExitStatus {
    /// The code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Cluster => 4,
            Self::LeftBehind => 5,
            Self::Interrupted(signal) => signal.exit_code(),
        }
    }

    /// Of several at once the gravest: 130 and 143 before 4, 1, 3, 5.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        const fn rank(status: ExitStatus) -> u8 {
            match status {
                ExitStatus::Success => 0,
                ExitStatus::LeftBehind => 1,
                ExitStatus::Inconclusive => 2,
                ExitStatus::Unexpected => 3,
                ExitStatus::Cluster => 4,
                ExitStatus::Usage => 5,
                ExitStatus::Interrupted(_) => 6,
            }
        }
        if rank(other) > rank(self) { other } else { self }
    }
}

/// An error of whoever called us: names the thing, and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A run that a signal ended.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Interrupted(pub Signal);

/// A check that stopped the run before anything was written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CheckFailed(pub String);

/// Calls in the mesh that got through before the change do not any more.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CallsLost(pub String);

/// The question could not be answered, or the answer could not be waited for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Inconclusive(pub String);

/// The status and the remedy of an error that ends a run.
pub fn of_error(error: &anyhow::Error) -> (ExitStatus, Option<String>) {
    if let Some(error) = error.downcast_ref::<ClusterError>() {
        (ExitStatus::Cluster, error.hint.clone())
    } else if let Some(error) = error.downcast_ref::<UsageError>() {
        (ExitStatus::Usage, error.hint.clone())
    } else if let Some(error) = error.downcast_ref::<TargetError>() {
        (ExitStatus::Usage, error.hint())
    } else if let Some(Interrupted(signal)) = error.downcast_ref::<Interrupted>() {
        (ExitStatus::Interrupted(*signal), None)
    } else if error.is::<CheckFailed>() {
        (ExitStatus::Unexpected, Some("--force goes on all the same".to_owned()))
    } else if error.is::<CallsLost>() {
        (ExitStatus::Unexpected, None)
    } else if error.is::<Inconclusive>() {
        (ExitStatus::Inconclusive, None)
    } else {
        (ExitStatus::Cluster, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_the_gravest_counts() {
        use ExitStatus::{Cluster, Inconclusive, Interrupted, LeftBehind, Success, Unexpected};
        let order = [Success, LeftBehind, Inconclusive, Unexpected, Cluster, Interrupted(Signal::Terminate)];
        for (low, a) in order.iter().enumerate() {
            for b in &order[low..] {
                assert_eq!((a.and(*b), b.and(*a)), (*b, *b));
            }
        }
    }
}
