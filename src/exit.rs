//! How a run ends: one meaning a code, the same under every output format.

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
    /// Cluster, API, permission, field conflict, local I/O.
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
