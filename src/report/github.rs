//! Renders a report for GitHub Actions: annotations as workflow commands, and a table for the summary of the job.

use super::cases::{CaseResult, TestCase, cases};
use super::plural::count;
use super::run::RunReport;
use crate::sanitize::line;
use std::fmt::Write as _;

/// The number of annotations of each level that GitHub shows for a step.
const SHOWN: usize = 10;

/// The workflow commands, one per line: an error for each failed case, a warning for each inconclusive one. A run without
/// both gets one notice.
pub fn annotations(run: &RunReport) -> String {
    let cases = cases(run);
    let mut out = String::new();
    for (level, outcome) in [("error", CaseResult::Failed), ("warning", CaseResult::Unknown)] {
        let of_level: Vec<&TestCase> = cases.iter().filter(|case| case.outcome == outcome).collect();
        let whole = if of_level.len() > SHOWN { SHOWN - 1 } else { of_level.len() };
        for case in &of_level[..whole] {
            let text: Vec<&str> = std::iter::once(&case.message).chain(&case.details).map(String::as_str).collect();
            command(&mut out, level, &case.name, &text.join("\n"));
        }
        let more: Vec<&str> = of_level[whole..].iter().map(|case| case.name.as_str()).collect();
        if !more.is_empty() {
            command(&mut out, level, &format!("and {} more", more.len()), &more.join(", "));
        }
    }
    if out.is_empty() {
        let title = format!("secure-traffic {}", run.probe.command);
        command(&mut out, "notice", &title, &headline(run, &cases));
    }
    out
}

/// Markdown for `GITHUB_STEP_SUMMARY`.
pub fn summary(run: &RunReport) -> String {
    let cases = cases(run);
    let mut out = format!("### secure-traffic {}: {}\n\n", run.probe.command, markdown(&headline(run, &cases)));
    out.push_str("| | target | answer |\n|---|---|---|\n");
    for case in &cases {
        let sign = match case.outcome {
            CaseResult::Passed => "✅",
            CaseResult::Failed => "❌",
            CaseResult::Unknown => "❔",
            CaseResult::Skipped => "⏭️",
        };
        let _ = writeln!(out, "| {sign} | {} | {} |", markdown(&case.name), markdown(&case.message));
    }
    for case in cases.iter().filter(|case| case.outcome != CaseResult::Passed && !case.details.is_empty()) {
        let _ = write!(out, "\n<details><summary>{}</summary>\n\n", markdown(&case.name));
        for sentence in &case.details {
            let _ = writeln!(out, "- {}", markdown(sentence));
        }
        out.push_str("\n</details>\n");
    }
    out + "\n"
}

fn headline(run: &RunReport, cases: &[TestCase]) -> String {
    let report = &run.probe;
    if let Some(rehearsal) = run.rehearsal.as_ref().filter(|rehearsal| rehearsal.ports().next().is_some()) {
        return rehearsal.summary();
    }
    let of = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    let place = if report.namespaces.is_empty() { String::new() } else { format!(" in {}", report.place()) };
    let targets = count(report.results().count(), "target");
    match (of(CaseResult::Failed), of(CaseResult::Unknown)) {
        (0, 0) if of(CaseResult::Skipped) > 0 => format!("dry run{place}: nothing was probed or changed"),
        (0, 0) => match report.expected {
            Some(expected) => format!("{targets}{place} as expected: {expected}"),
            None => format!("{targets}{place} answered"),
        },
        (failed, unknown) => format!("{targets}{place}: {failed} not as expected, {unknown} could not be told"),
    }
}

/// Writes a workflow command with the escapes of the runner: `%` and line ends, and the separators in a property.
fn command(out: &mut String, level: &str, title: &str, message: &str) {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(&line(title)).replace(':', "%3A").replace(',', "%2C");
    let message: Vec<String> = message.lines().map(|row| data(&line(row))).collect();
    let _ = writeln!(out, "::{level} title={title}::{}", message.join("%0A"));
}

/// Escapes text for a cell of a Markdown table.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
