//! Renders a report in the Test Anything Protocol, version 13. It has no errors besides failures, so an inconclusive case
//! is `not ok` too, with another `severity`.

use super::cases::{CaseResult, TestCase, cases};
use super::run::RunReport;
use crate::sanitize::line;
use std::fmt::Write as _;

/// The whole stream.
pub fn tap(run: &RunReport) -> String {
    let cases = cases(run);
    let mut out = format!("TAP version 13\n1..{}\n", cases.len());
    for (index, case) in cases.iter().enumerate() {
        let word = match case.outcome {
            CaseResult::Passed | CaseResult::Skipped => "ok",
            CaseResult::Failed | CaseResult::Unknown => "not ok",
        };
        let directive = if case.outcome == CaseResult::Skipped { " # SKIP dry run" } else { "" };
        let _ = writeln!(out, "{word} {} - {}{directive}", index + 1, description(case));
        diagnosis(&mut out, case);
    }
    out
}

/// The name of a case. `#` starts a directive and a backslash an escape, so both are escaped.
fn description(case: &TestCase) -> String {
    line(&case.name).replace('\\', "\\\\").replace('#', "\\#")
}

fn diagnosis(out: &mut String, case: &TestCase) {
    let severity = match case.outcome {
        CaseResult::Passed | CaseResult::Skipped => "comment",
        CaseResult::Failed => "fail",
        CaseResult::Unknown => "error",
    };
    out.push_str("  ---\n");
    let _ = writeln!(out, "  message: {}", quoted(&case.message));
    let _ = writeln!(out, "  severity: {severity}\n  kind: {}", quoted(&case.kind));
    if !case.details.is_empty() {
        // A block scalar needs no escapes, and a colon in it does not start a mapping.
        out.push_str("  details: |\n");
        for sentence in &case.details {
            let _ = writeln!(out, "    {}", line(sentence));
        }
    }
    out.push_str("  ...\n");
}

/// A double-quoted string with only the two escapes that every YAML subset of TAP readers has.
fn quoted(text: &str) -> String {
    format!("\"{}\"", line(text).replace('\\', "\\\\").replace('"', "\\\""))
}
