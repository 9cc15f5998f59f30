//! The cases of reports for CI systems, also with hostile text.

use super::*;
use crate::domain::front_door::FrontDoorSummary;
use crate::report::human::tests::{assert_harmless, hostile_report};
use crate::report::kinds::VerdictKind;
use crate::report::model::{ProbeReport, RunError};
use crate::report::{github, junit, tap};
use std::time::Duration;

fn of_run(exit_code: Option<u8>, error: bool) -> CaseResult {
    let error = error.then(|| RunError { message: "m".to_owned(), hint: None });
    let report = ProbeReport { exit_code, error, ..ProbeReport::empty("probe", String::new()) };
    cases(&report.clone().into())[0].outcome
}

#[test]
fn a_run_passes_only_with_exit_code_0_and_without_an_error() {
    use CaseResult::{Failed, Passed, Unknown};
    let rows = [
        (Some(0), false, Passed),
        (Some(1), false, Failed),
        (Some(3), false, Unknown),
        (Some(4), false, Unknown),
        (Some(5), false, Unknown),
        (Some(130), false, Unknown),
        (Some(1), true, Failed),
        (Some(2), true, Unknown),
        (Some(4), true, Unknown),
        (Some(0), true, Unknown),
        (None, false, Unknown),
    ];
    for (code, error, outcome) in rows {
        assert_eq!(of_run(code, error), outcome, "{code:?} {error}");
    }
}

#[test]
fn an_exit_code_that_the_targets_explain_is_not_counted_twice() {
    let mut report = hostile_report(VerdictKind::Inconclusive);
    report.exit_code = Some(3);
    assert_eq!(cases(&report.clone().into()).last().unwrap().outcome, CaseResult::Passed);
    report.exit_code = Some(5);
    assert_eq!(cases(&report.clone().into()).last().unwrap().outcome, CaseResult::Unknown);
}

fn door(still_down: Option<bool>) -> FrontDoorReport {
    let summary =
        FrontDoorSummary { asked: 9, answered: 5, longest_outage: Duration::ZERO, last_failure: None, failing: 0 };
    FrontDoorReport { still_down, ..FrontDoorReport::new("http://shop.example/".to_owned(), true, &summary) }
}

#[test]
fn a_url_has_its_own_case_which_explains_the_exit_code() {
    use CaseResult::{Failed, Passed, Unknown};
    let rows = [
        (Some(false), Some(0), Passed, Passed),
        (Some(true), Some(1), Failed, Passed),
        // There is another failure.
        (Some(true), Some(5), Failed, Unknown),
        (None, Some(0), Unknown, Passed),
    ];
    for (still_down, exit_code, of_url, of_run) in rows {
        let mut report = ProbeReport { exit_code, ..ProbeReport::empty("enable-mtls", String::new()) };
        report.namespace_mut("shop").front_doors = vec![door(still_down)];
        let outcomes: Vec<CaseResult> = cases(&report.clone().into()).iter().map(|case| case.outcome).collect();
        assert_eq!(outcomes, [of_url, of_run], "{still_down:?} {exit_code:?}");
    }
}

#[test]
fn hostile_text_is_escaped_in_every_format() {
    for (verdict, as_expected) in
        [(VerdictKind::Accepted, Some(false)), (VerdictKind::Rejected, None), (VerdictKind::Inconclusive, None)]
    {
        let mut report = hostile_report(verdict);
        report.namespaces[0].results.iter_mut().for_each(|result| result.as_expected = as_expected);
        report.namespaces[0].results[0].target = "a,b:c%\n::error::forged # skip \"x\\ |<b>`".to_owned();
        report.namespaces[0].front_doors = vec![FrontDoorReport {
            url: "\u{202e}a|b::error::\u{1b}[31m".to_owned(),
            message: "x\n::error::forged\u{1b}[31m".to_owned(),
            ..door(as_expected)
        }];
        for text in [
            junit::junit(&report.clone().into()).unwrap(),
            tap::tap(&report.clone().into()),
            github::annotations(&report.clone().into()),
        ] {
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        }
        assert_harmless(&github::summary(&report.clone().into()));
        assert_eq!(tap::tap(&report.clone().into()).lines().filter(|line| line.contains("ok 1 ")).count(), 1);
        for line in github::annotations(&report.clone().into()).lines() {
            assert!(
                ["::error title=", "::warning title=", "::notice title="].iter().any(|prefix| line.starts_with(prefix))
            );
            assert_eq!(line.matches("::error").count(), usize::from(line.starts_with("::error")), "{line}");
        }
    }
}

#[test]
fn characters_that_xml_forbids_are_escaped() {
    let mut report = hostile_report(VerdictKind::Accepted);
    report.namespaces[0].results[0].target = "a\u{fffe}\u{ffff}\0]]>".to_owned();
    let xml = junit::junit(&report.clone().into()).unwrap();
    assert!(xml.contains("a\\u{fffe}\\u{ffff}\\u{0}]]&gt;"), "{xml}");
}

#[test]
fn annotations_beyond_the_limit_are_listed_in_the_last_one() {
    let mut report = hostile_report(VerdictKind::Inconclusive);
    let result = report.namespaces[0].results[0].clone();
    report.namespaces[0].results =
        (0..14).map(|index| TargetReport { target: format!("t{index}"), ..result.clone() }).collect();
    let text = github::annotations(&report.clone().into());
    assert_eq!(text.lines().count(), 10);
    assert!(text.lines().last().unwrap().starts_with("::warning title=and 5 more::t9, t10, t11, t12, t13"), "{text}");
}
