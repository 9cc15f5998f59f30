//! The report of a whole run, from which `--report` writes.

use super::model::ProbeReport;
use super::rehearsal::RehearsalReport;

/// What a run has found: a probe, and in `rehearse` a rehearsal in its place.
#[derive(Debug, Clone)]
pub struct RunReport {
    /// The run, and what it probed.
    pub probe: ProbeReport,
    /// What it rehearsed.
    pub rehearsal: Option<RehearsalReport>,
}

impl From<ProbeReport> for RunReport {
    fn from(probe: ProbeReport) -> Self {
        Self { probe, rehearsal: None }
    }
}
