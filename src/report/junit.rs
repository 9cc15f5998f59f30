//! Renders a report as `JUnit` XML for CI systems such as Jenkins and GitLab: a failed case is a `<failure>`, an
//! inconclusive one an `<error>`.

use super::RenderError;
use super::cases::{CaseResult, TestCase, cases};
use super::model::ProbeReport;
use super::run::RunReport;
use crate::sanitize;
use quick_junit::{NonSuccessKind, Report, TestCase as Junit, TestCaseStatus, TestSuite};
use std::time::Duration;

/// The document.
pub fn junit(run: &RunReport) -> Result<String, RenderError> {
    let report = &run.probe;
    let mut suite = TestSuite::new(clean(&format!("secure-traffic {} {}", report.command, report.place())));
    suite.timestamp = report.started_at.parse().ok();
    suite.set_time(took(report));
    for (name, value) in properties(report) {
        suite.add_property((name, clean(&value).as_str()));
    }
    suite.add_test_cases(cases(run).iter().map(|case| junit_case(report, case)));
    let mut document = Report::new("secure-traffic");
    document.add_test_suite(suite);
    Ok(document.to_string()?)
}

fn junit_case(report: &ProbeReport, case: &TestCase) -> Junit {
    let details = clean(&case.details.join("\n"));
    let mut status = match case.outcome {
        CaseResult::Passed => TestCaseStatus::success(),
        CaseResult::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CaseResult::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
        CaseResult::Skipped => TestCaseStatus::skipped(),
    };
    if case.outcome == CaseResult::Skipped {
        status.set_message(clean(&case.message));
    } else if case.outcome != CaseResult::Passed {
        status.set_message(clean(&case.message)).set_type(case.kind.as_str()).set_description(details.as_str());
    }
    let mut junit = Junit::new(clean(&case.name), status);
    junit.set_classname(clean(&format!("secure-traffic.{}", report.place())));
    junit.set_time(Duration::try_from_secs_f64(case.seconds).unwrap_or_default());
    if case.outcome == CaseResult::Passed {
        junit.set_system_out(format!("{}\n{details}", clean(&case.message)).trim_end());
    }
    junit
}

fn properties(report: &ProbeReport) -> impl Iterator<Item = (&'static str, String)> {
    [
        ("cluster", Some(report.cluster.clone())),
        ("namespace", Some(report.place())),
        ("version", Some(report.version.to_owned())),
        ("kubernetesVersion", report.kubernetes_version.clone()),
        ("istioVersion", report.istio_version.clone()),
        ("expected", report.expected.map(|expected| expected.as_str().to_owned())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?)))
}

fn took(report: &ProbeReport) -> Duration {
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (start, end) = (time(&report.started_at), time(&report.ended_at));
    start.zip(end).and_then(|(start, end)| Duration::try_from(end - start).ok()).unwrap_or_default()
}

/// Escapes text as for a terminal, and two more characters that XML forbids.
fn clean(text: &str) -> String {
    sanitize::text(text).replace('\u{fffe}', "\\u{fffe}").replace('\u{ffff}', "\\u{ffff}")
}
