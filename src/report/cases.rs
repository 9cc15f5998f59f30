//! A run as a CI system counts it: one case for each target, and one for the run itself.

use super::explain;
use super::front_door::FrontDoorReport;
use super::model::{ProbeReport, TargetReport};
use crate::exit::ExitStatus;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseResult {
    /// As expected; or answered, where nothing was expected.
    Passed,
    /// The contrary of what was expected.
    Failed,
    /// It could not be told.
    Unknown,
    /// A dry run: there was nothing to see.
    Skipped,
}

impl CaseResult {
    /// What an exit code of a run means for a case.
    const fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Passed,
            1 => Self::Failed,
            _ => Self::Unknown,
        }
    }
}

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// The target, or the command.
    pub name: String,
    /// How it ended.
    pub outcome: CaseResult,
    /// `accepted`, `rejected`, the reason of an inconclusive answer, or `run`.
    pub kind: String,
    /// What was seen, on one line.
    pub message: String,
    /// The evidence, sentence by sentence.
    pub details: Vec<String>,
    /// Seconds that its requests took.
    pub seconds: f64,
}

/// The cases of a report: its targets, front doors, then the run.
pub fn cases(report: &ProbeReport) -> Vec<TestCase> {
    let targets = report.results.iter().map(|result| of_target(report, result));
    targets.chain(report.front_doors.iter().map(of_door)).chain([of_run(report)]).collect()
}

fn of_target(report: &ProbeReport, result: &TargetReport) -> TestCase {
    let answer = &result.answer;
    let outcome = match result.exit_status(report.expected.is_some()) {
        ExitStatus::Success => CaseResult::Passed,
        ExitStatus::Unexpected => CaseResult::Failed,
        _ => CaseResult::Unknown,
    };
    let expected = match (outcome, result.expected) {
        (CaseResult::Passed, _) | (_, None) => String::new(),
        // Of several endpoints each is held against its own policy.
        (_, Some(expected)) if expected.verdict() == answer.verdict => {
            "an endpoint does not do as its policy says; ".to_owned()
        }
        (_, Some(expected)) => format!("expected {expected}, "),
    };
    let samples = result.endpoints.iter().flat_map(|endpoint| &endpoint.samples).chain(&result.samples);
    TestCase {
        name: result.target.clone(),
        outcome,
        kind: answer.reason.unwrap_or(answer.verdict.as_str()).to_owned(),
        message: format!("{expected}{}: {}", explain::verdict_word(answer), answer.message),
        details: explain::target(report, result),
        seconds: samples.map(|sample| sample.seconds).sum(),
    }
}

/// An outage that is over fails nothing, but is told.
fn of_door(door: &FrontDoorReport) -> TestCase {
    let outcome = match door.still_down {
        Some(false) => CaseResult::Passed,
        Some(true) => CaseResult::Failed,
        None => CaseResult::Unknown,
    };
    TestCase {
        name: door.url.clone(),
        outcome,
        kind: "front-door".to_owned(),
        message: door.message.clone(),
        details: Vec::new(),
        seconds: 0.0,
    }
}

/// The run fails by itself only where no target tells why: an exit code that nothing explains must not pass.
fn of_run(report: &ProbeReport) -> TestCase {
    let targets = if report.results.is_empty() { ExitStatus::Success } else { report.exit_status() };
    let is_down = report.front_doors.iter().any(|door| door.still_down == Some(true));
    let told = targets.and(if is_down { ExitStatus::Unexpected } else { ExitStatus::Success }).code();
    let (outcome, message) = match (&report.error, report.exit_code) {
        (Some(error), code) => (code.map_or(CaseResult::Unknown, CaseResult::of_code), error.message.clone()),
        (None, None) => (CaseResult::Unknown, "the run did not come to its end".to_owned()),
        (None, Some(0)) if report.dry_run => (CaseResult::Skipped, "dry run: nothing was probed or changed".to_owned()),
        (None, Some(code)) if code == 0 || code == told => (CaseResult::Passed, "done".to_owned()),
        (None, Some(code)) => (CaseResult::of_code(code), code_words(code).to_owned()),
    };
    // An error is never a pass, whatever its code.
    let outcome = if report.error.is_some() && outcome == CaseResult::Passed { CaseResult::Unknown } else { outcome };
    let hint = report.error.as_ref().and_then(|error| error.hint.as_ref()).map(|hint| format!("hint: {hint}"));
    let changes = report.changes.iter().map(|change| format!("{} {}", change.object, change.action));
    TestCase {
        name: format!("secure-traffic {}", report.command),
        outcome,
        kind: "run".to_owned(),
        message,
        details: hint.into_iter().chain(changes).collect(),
        seconds: 0.0,
    }
}

/// What the exit code of a run says that no target explains.
const fn code_words(code: u8) -> &'static str {
    match code {
        1 => "a check stopped the run, or the answer was no",
        3 => "something could not be told: nothing to probe, no control client, or a change not in force in time",
        5 => "done, but something could not be removed or restored",
        129 | 130 | 143 => "interrupted",
        _ => "the run failed",
    }
}

#[cfg(test)]
mod tests;
