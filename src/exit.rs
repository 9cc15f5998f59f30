//! The exit status of a run. Each code has one meaning, which does not depend on the output format.

use crate::signal::Signal;

/// The meaning of the exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Done, or as expected.
    Success,
    /// Not the expected answer, a check that stopped the run, the answer "no", or differences.
    Unexpected,
    /// Wrong usage, or a confirmation was needed and there was no terminal.
    Usage,
    /// Inconclusive, or the policy did not take effect in time.
    Inconclusive,
    /// Cluster, API, permission, field conflict, local I/O.
    Cluster,
    /// Done, but something could not be removed or restored.
    LeftBehind,
    /// A signal.
    Interrupted(Signal),
    /// The exit code of the program that `sandbox` ran.
    Program(u8),
}

impl ExitStatus {
    /// The exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Cluster => 4,
            Self::LeftBehind => 5,
            Self::Interrupted(signal) => signal.exit_code(),
            Self::Program(code) => code,
        }
    }

    /// The more severe of two: 129, 130 and 143, and a failed program, before 2, 4, 1, 3, 5, 0.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        const fn rank(status: ExitStatus) -> u8 {
            match status {
                ExitStatus::Success | ExitStatus::Program(0) => 0,
                ExitStatus::LeftBehind => 1,
                ExitStatus::Inconclusive => 2,
                ExitStatus::Unexpected => 3,
                ExitStatus::Cluster => 4,
                ExitStatus::Usage => 5,
                ExitStatus::Interrupted(_) | ExitStatus::Program(_) => 6,
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
