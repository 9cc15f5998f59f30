//! What a CI system is told, from reports that no run would dare to make.

use super::*;
use crate::domain::front_door::FrontDoorSummary;
use crate::report::human::tests::{assert_harmless, hostile_report};
use crate::report::kinds::VerdictKind;
use crate::report::model::RunError;
use crate::report::{github, junit, tap};
use std::time::Duration;

fn of_run(exit_code: Option<u8>, error: bool) -> CaseResult {
    let error = error.then(|| RunError { message: "m".to_owned(), hint: None });
    let report = ProbeReport { exit_code, error, ..ProbeReport::empty("probe", String::new()) };
    cases(&report)[0].outcome
}

#[test]
fn a_run_passes_only_if_it_ended_well() {
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
    assert_eq!(cases(&report).last().unwrap().outcome, CaseResult::Passed);
    report.exit_code = Some(5);
    assert_eq!(cases(&report).last().unwrap().outcome, CaseResult::Unknown);
}

fn door(still_down: Option<bool>) -> FrontDoorReport {
    let summary =
        FrontDoorSummary { asked: 9, answered: 5, longest_outage: Duration::ZERO, last_failure: None, failing: 0 };
    FrontDoorReport { still_down, ..FrontDoorReport::new("http://shop.example/".to_owned(), true, &summary) }
}

#[test]
fn a_front_door_is_a_case_of_its_own_and_explains_the_exit_code() {
    use CaseResult::{Failed, Passed, Unknown};
    let rows = [
        (Some(false), Some(0), Passed, Passed),
        (Some(true), Some(1), Failed, Passed),
        // Something else is wrong besides.
        (Some(true), Some(5), Failed, Unknown),
        (None, Some(0), Unknown, Passed),
    ];
    for (still_down, exit_code, of_door, of_run) in rows {
        let report = ProbeReport {
            exit_code,
            front_doors: vec![door(still_down)],
            ..ProbeReport::empty("enable-mtls", String::new())
        };
        let outcomes: Vec<CaseResult> = cases(&report).iter().map(|case| case.outcome).collect();
        assert_eq!(outcomes, [of_door, of_run], "{still_down:?} {exit_code:?}");
    }
}

#[test]
fn nothing_hostile_reaches_a_report() {
    for (verdict, as_expected) in
        [(VerdictKind::Accepted, Some(false)), (VerdictKind::Rejected, None), (VerdictKind::Inconclusive, None)]
    {
        let mut report = hostile_report(verdict);
        report.results.iter_mut().for_each(|result| result.as_expected = as_expected);
        report.results[0].target = "a,b:c%\n::error::forged # skip \"x\\ |<b>`".to_owned();
        report.front_doors = vec![FrontDoorReport {
            url: "\u{202e}a|b::error::\u{1b}[31m".to_owned(),
            message: "x\n::error::forged\u{1b}[31m".to_owned(),
            ..door(as_expected)
        }];
        for text in [junit::junit(&report).unwrap(), tap::tap(&report), github::annotations(&report)] {
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        }
        assert_harmless(&github::summary(&report));
        assert_eq!(tap::tap(&report).lines().filter(|line| line.contains("ok 1 ")).count(), 1);
        for line in github::annotations(&report).lines() {
            assert!(["::error title=", "::warning title=", "::notice title="].iter().any(|it| line.starts_with(it)));
            assert_eq!(line.matches("::error").count(), usize::from(line.starts_with("::error")), "{line}");
        }
    }
}

#[test]
fn what_xml_forbids_is_shown_instead() {
    let mut report = hostile_report(VerdictKind::Accepted);
    report.results[0].target = "a\u{fffe}\u{ffff}\0]]>".to_owned();
    let xml = junit::junit(&report).unwrap();
    assert!(xml.contains("a\\u{fffe}\\u{ffff}\\u{0}]]&gt;"), "{xml}");
}

#[test]
fn more_annotations_than_a_step_shows_are_counted_in_the_last() {
    let mut report = hostile_report(VerdictKind::Inconclusive);
    let one = report.results[0].clone();
    report.results = (0..14).map(|index| TargetReport { target: format!("t{index}"), ..one.clone() }).collect();
    let text = github::annotations(&report);
    assert_eq!(text.lines().count(), 10);
    assert!(text.lines().last().unwrap().starts_with("::warning title=and 5 more::t9, t10, t11, t12, t13"), "{text}");
}
