use super::*;
use crate::report::human::tests::{assert_harmless, hostile_report};
use crate::report::model::{ControlReport, VerdictReport};
use crate::report::story;

/// Lines of a terminal, of which the prompt takes two, and its cursor's line is the last.
const ROOM: usize = 24 - 2;

fn answered(service: &str, verdict: VerdictKind, message: &str) -> TargetReport {
    TargetReport {
        target: format!("{service}:8080"),
        service: service.to_owned(),
        port: 8080,
        answer: VerdictReport { verdict, reason: None, message: message.to_owned(), remedy: None },
        expected: None,
        as_expected: None,
        endpoints: Vec::new(),
        samples: Vec::new(),
        control: Some(ControlReport { got_through: Some(true), message: "HTTP 200".to_owned() }),
        not_ready: Vec::new(),
        body: None,
    }
}

/// The text without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)).collect::<String>()
}

#[track_caller]
fn assert_fits(screen: &str) {
    let screen = plain(screen);
    assert!(screen.lines().count() <= ROOM, "{} lines:\n{screen}", screen.lines().count());
    for row in screen.lines() {
        assert!(row.width() <= COLUMNS, "{} columns: {row}", row.width());
    }
}

#[test]
fn every_screen_fits_the_terminal() {
    let long = "a".repeat(63);
    let phase = |kind, endpoints| PhaseReport {
        kind,
        objects: 1234,
        seconds: 123.45,
        in_force_seconds: Some(123.45),
        endpoints,
    };
    let phases = [phase(PhaseKind::DestinationRules, None), phase(PhaseKind::Policy, Some(1234))];
    let calls = CallsReport { sent: 12345, succeeded: 12345, lost: Vec::new(), targets: 200 };
    for (namespace, service, number) in [("shop", "web", 1), ("microservices-demo", "boards", 5), (&*long, &*long, 200)]
    {
        let steps = story::steps(namespace, &format!("{service}:8080/a"));
        let from_strict = story::steps_from_strict(namespace, &format!("{service}:8080/a"));
        let body = Some(format!("{}\n", "x".repeat(500)).repeat(50));
        let accepted = TargetReport { body, ..answered(service, VerdictKind::Accepted, &long.repeat(3)) };
        let mut hostile = hostile_report(VerdictKind::Rejected);
        let rejected = hostile.namespaces[0].results.remove(0);
        let results = vec![accepted.clone(); number];
        let undo = Some("secure-traffic disable-mtls -n microservices-demo --restore=abcde");
        let switch = Switched { phases: &phases, calls: Some(&calls), results: &results, undo };
        for step in steps.iter().chain(&from_strict) {
            let head = head(step, Some(COLUMNS));
            let lower = if step.command.starts_with("oc run") {
                vec![
                    probed(None, &accepted, Some(COLUMNS)),
                    probed(Some(&accepted), &rejected, Some(COLUMNS)),
                    probed(Some(&rejected), &accepted, Some(COLUMNS)),
                ]
            } else {
                vec![switched(&switch, Some(COLUMNS))]
            };
            for lower in lower {
                assert_fits(&(head.clone() + &lower));
            }
        }
    }
}

#[test]
fn the_picture_shows_who_gets_through() {
    let accepted = answered("boards", VerdictKind::Accepted, "HTTP 200");
    let rejected = answered("boards", VerdictKind::Rejected, "reset by the mesh 3/3");
    let lost = CallsReport { sent: 9, succeeded: 3, lost: vec!["boards:8080".to_owned()], targets: 2 };
    let inconclusive = TargetReport { control: None, ..answered("web", VerdictKind::Inconclusive, "timed out") };
    assert_eq!(
        plain(&probed(Some(&accepted), &rejected, Some(COLUMNS))),
        "  before                               now
  client ── calls ─────▶ boards:8080   client ── mutual TLS ▶ boards:8080
  rogue  ── plaintext ─▶ boards:8080   rogue  ── plaintext ─✗ boards:8080
  accepted: HTTP 200                   rejected: reset by the mesh 3/3

  client  in the mesh: HTTP 200
"
    );
    assert_eq!(
        plain(&probed(None, &inconclusive, Some(COLUMNS))),
        "  now
  client ── calls ─────? web:8080
  rogue  ── plaintext ─? web:8080
  inconclusive: timed out

"
    );
    let results = [rejected, inconclusive];
    let switch = Switched { phases: &[], calls: Some(&lost), results: &results, undo: None };
    assert_eq!(
        plain(&switched(&switch, Some(COLUMNS))),
        "  client ── calls ─────✗ boards:8080 ✗─ plaintext ── rogue
  client ── calls ─────▶ web:8080    ?─ plaintext ── rogue

  rogue   2 targets: 1 rejected, 0 accepted, 1 inconclusive
  client  3 of 9 calls succeeded during the change
"
    );
}

#[test]
fn the_line_of_a_rejected_rogue_is_red_and_that_of_the_mesh_green() {
    let rejected = answered("boards", VerdictKind::Rejected, "reset by the mesh 3/3");
    assert_eq!(rogue_line(&rejected, false).1, Some(Color::Red));
    assert_eq!(meshed_line(&rejected, Some(true)).1, Some(Color::Green));
    assert_eq!(meshed_line(&rejected, Some(false)).1, Some(Color::Red));
    assert_eq!(meshed_line(&rejected, None).1, None, "not observed");
}

#[test]
fn nothing_is_cut_in_a_pipe_and_hostile_text_is_escaped() {
    let body = "x".repeat(500);
    let accepted = TargetReport { body: Some(body.clone()), ..answered("a", VerdictKind::Accepted, "HTTP 200") };
    assert!(probed(None, &accepted, None).contains(&body));
    for verdict in [VerdictKind::Accepted, VerdictKind::Rejected, VerdictKind::Inconclusive] {
        let report = hostile_report(verdict);
        let results: Vec<TargetReport> = report.results().cloned().collect();
        for limit in [None, Some(COLUMNS), Some(10), Some(0)] {
            assert_harmless(&probed(Some(&results[0]), &results[1], limit));
            let switch = Switched { phases: &[], calls: None, results: &results, undo: None };
            assert_harmless(&switched(&switch, limit));
        }
    }
}
