//! Computes the test cases of a report for CI systems: one for each target and `--check-url` URL, and one for the run
//! itself. `JUnit`, TAP and GitHub use them.

use super::explain;
use super::front_door::FrontDoorReport;
use super::model::{NamespaceReport, TargetReport};
use super::rehearsal::{CallerReport, RehearsalReport, RehearsalResult, RehearsedPortReport, count_calls};
use super::run::RunReport;
use crate::exit::ExitStatus;

/// The result of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseResult {
    /// As expected; without `--expect`, the verdict is not inconclusive.
    Passed,
    /// The opposite of what is expected.
    Failed,
    /// Inconclusive.
    Unknown,
    /// A dry run: nothing was probed or changed.
    Skipped,
}

impl CaseResult {
    /// The result of a case for an exit code of a run.
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
    /// The target, the URL or the command.
    pub name: String,
    pub outcome: CaseResult,
    /// `accepted`, `rejected`, the reason of an inconclusive verdict, `front-door` or `run`.
    pub kind: String,
    /// What was observed, on one line.
    pub message: String,
    /// The evidence, one sentence each.
    pub details: Vec<String>,
    /// Total duration of its requests.
    pub seconds: f64,
}

/// The cases of a report: its targets, its URLs, its rehearsed ports, then the run.
pub fn cases(run: &RunReport) -> Vec<TestCase> {
    let report = &run.probe;
    let expects = report.expected.is_some();
    let targets = report
        .namespaces
        .iter()
        .flat_map(|namespace| namespace.results.iter().map(move |result| of_target(namespace, result, expects)));
    let doors = report.namespaces.iter().flat_map(|namespace| &namespace.front_doors);
    let rehearsed = run.rehearsal.iter().flat_map(RehearsalReport::ports).map(of_rehearsed_port);
    targets.chain(doors.map(of_url)).chain(rehearsed).chain([of_run(run)]).collect()
}

fn of_rehearsed_port(port: &RehearsedPortReport) -> TestCase {
    let (outcome, kind) = match port.result {
        RehearsalResult::Callers => (CaseResult::Failed, "callers"),
        RehearsalResult::NotObserved => (CaseResult::Unknown, "not-observed"),
        RehearsalResult::Nobody => (CaseResult::Passed, "nobody"),
        RehearsalResult::NotRefused => (CaseResult::Passed, "not-refused"),
    };
    let detail = |caller: &CallerReport| {
        let addresses = caller.addresses.join(", ");
        format!("{}: {}, last at {} ({addresses})", caller.name, count_calls(caller.calls), caller.last_seen)
    };
    TestCase {
        name: port.name.clone(),
        outcome,
        kind: kind.to_owned(),
        message: port.message(),
        details: port.callers.iter().map(detail).collect(),
        seconds: 0.0,
    }
}

fn of_target(namespace: &NamespaceReport, result: &TargetReport, expects: bool) -> TestCase {
    let answer = &result.answer;
    let outcome = match result.exit_status(expects) {
        ExitStatus::Success => CaseResult::Passed,
        ExitStatus::Unexpected => CaseResult::Failed,
        _ => CaseResult::Unknown,
    };
    let expected = match (outcome, result.expected) {
        (CaseResult::Passed, _) | (_, None) => String::new(),
        // Each endpoint is compared with its own policy.
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
        details: explain::target(namespace, result),
        seconds: samples.map(|sample| sample.seconds).sum(),
    }
}

/// An outage that has ended is reported, but the case passes.
fn of_url(door: &FrontDoorReport) -> TestCase {
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

/// The case of the run. It fails only if no other case explains the exit code, so that no failure passes unnoticed.
fn of_run(run: &RunReport) -> TestCase {
    let report = &run.probe;
    let targets = if report.results().next().is_none() { ExitStatus::Success } else { report.exit_status() };
    let mut doors = report.namespaces.iter().flat_map(|namespace| &namespace.front_doors);
    let is_down = doors.any(|door| door.still_down == Some(true));
    let rehearsed = run.rehearsal.as_ref().map_or(ExitStatus::Success, RehearsalReport::exit_status);
    let explained =
        targets.and(rehearsed).and(if is_down { ExitStatus::Unexpected } else { ExitStatus::Success }).code();
    let (outcome, message) = match (&report.error, report.exit_code) {
        (Some(error), code) => (code.map_or(CaseResult::Unknown, CaseResult::of_code), error.message.clone()),
        (None, None) => (CaseResult::Unknown, "the run did not come to its end".to_owned()),
        (None, Some(0)) if report.dry_run => (CaseResult::Skipped, "dry run: nothing was probed or changed".to_owned()),
        (None, Some(code)) if code == 0 || code == explained => (CaseResult::Passed, "done".to_owned()),
        (None, Some(code)) => (CaseResult::of_code(code), code_description(code).to_owned()),
    };
    // An error is not a pass, even with exit code 0.
    let outcome = if report.error.is_some() && outcome == CaseResult::Passed { CaseResult::Unknown } else { outcome };
    let hint = report.error.as_ref().and_then(|error| error.hint.as_ref()).map(|hint| format!("hint: {hint}"));
    let changes = report.namespaces.iter().flat_map(|namespace| &namespace.changes);
    let changes = changes.map(|change| format!("{} {}", change.object, change.action));
    TestCase {
        name: format!("secure-traffic {}", report.command),
        outcome,
        kind: "run".to_owned(),
        message,
        details: hint.into_iter().chain(changes).collect(),
        seconds: 0.0,
    }
}

/// The description of an exit code that no other case explains.
const fn code_description(code: u8) -> &'static str {
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
