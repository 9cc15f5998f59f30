use super::super::{PortReport, WorkloadPortReport, live};
use super::*;
use crate::report::kinds::{ModeKind, SeverityKind};
use crate::report::model::PolicyReport;
use unicode_width::UnicodeWidthStr;

const OPEN: ModeKind = ModeKind::Permissive;
const STRICT: ModeKind = ModeKind::Strict;

fn workload(name: &str, mode: ModeKind, policy: Option<&str>) -> WorkloadPortReport {
    let policy = policy.map(|name| PolicyReport {
        level: "namespace".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        mode: Some(mode),
    });
    WorkloadPortReport {
        workload: format!("deployment/{name}"),
        target_port: Some(8080),
        data_plane: "sidecar".to_owned(),
        mode: Some(mode),
        unguarded: None,
        wanted: Some(mode),
        policies: policy.into_iter().collect(),
        pods: vec![format!("{name}-0")],
        ready: 1,
    }
}

fn port(service: &str, workloads: Vec<WorkloadPortReport>) -> PortReport {
    PortReport {
        service: service.to_owned(),
        port: 8080,
        name: "http".to_owned(),
        headless: false,
        workloads,
        clients: Vec::new(),
    }
}

fn finding(code: &'static str, message: &str) -> FindingReport {
    FindingReport {
        severity: SeverityKind::Warning,
        code,
        message: message.to_owned(),
        objects: Vec::new(),
        remedy: "none",
    }
}

fn namespace(name: &str, ports: Vec<PortReport>, findings: Vec<FindingReport>) -> NamespaceReport {
    NamespaceReport {
        namespace: name.to_owned(),
        root_namespace: "istio-system".to_owned(),
        mesh_readable: true,
        auto_mtls: true,
        ports,
        workloads: Vec::new(),
        findings,
    }
}

fn report(namespaces: Vec<NamespaceReport>) -> StatusReport {
    StatusReport::new("the sandbox", "2026-11-24T02:32:23Z".to_owned(), namespaces)
}

fn shop(ports: Vec<PortReport>) -> StatusReport {
    report(vec![namespace("shop", ports, Vec::new())])
}

fn with_findings(findings: Vec<FindingReport>) -> StatusReport {
    report(vec![namespace("shop", Vec::new(), findings)])
}

fn texts(before: &StatusReport, after: &StatusReport, wide: bool) -> Vec<String> {
    changes(before, after, wide).iter().map(|change| format!("{} | {}", change.subject, change.what)).collect()
}

/// What is the case, before and after, and the changes.
type Case<T> = (&'static str, Vec<T>, Vec<T>, &'static [&'static str]);

#[test]
fn what_the_table_shows_in_another_way_is_a_change() {
    let web = |mode, policy| port("web", vec![workload("web", mode, policy)]);
    let unready = WorkloadPortReport { ready: 0, ..workload("web", OPEN, None) };
    let two = |mode| port("web", vec![workload("web-v1", OPEN, None), workload("web-v2", mode, None)]);
    let both = port("web", vec![workload("web", OPEN, None), workload("web", STRICT, None)]);
    let rows: Vec<Case<PortReport>> = vec![
        ("nothing", vec![web(OPEN, None)], vec![web(OPEN, None)], &[]),
        (
            "the mode alone",
            vec![web(OPEN, Some("p"))],
            vec![web(STRICT, Some("p"))],
            &["web:8080 | PERMISSIVE → STRICT"],
        ),
        (
            "the mode with its policy",
            vec![web(OPEN, None)],
            vec![web(STRICT, Some("default"))],
            &["web:8080 | PERMISSIVE → STRICT, decided by default (namespace)"],
        ),
        (
            "the policy alone",
            vec![web(OPEN, None)],
            vec![web(OPEN, Some("default"))],
            &["web:8080 | decided by no policy → default (namespace)"],
        ),
        ("readiness, which only -o wide has", vec![web(OPEN, None)], vec![port("web", vec![unready])], &[]),
        (
            "one of two workloads",
            vec![two(OPEN)],
            vec![two(STRICT)],
            &["web:8080 deployment/web-v2 | PERMISSIVE → STRICT"],
        ),
        (
            "a workload more",
            vec![web(OPEN, None)],
            vec![two(OPEN)],
            &[
                "web:8080 deployment/web-v1 | added: PERMISSIVE",
                "web:8080 deployment/web-v2 | added: PERMISSIVE",
                "web:8080 deployment/web | removed",
            ],
        ),
        ("a part of the pods", vec![web(OPEN, None)], vec![both], &["web:8080 | PERMISSIVE → PERMISSIVE, STRICT"]),
        (
            "the first endpoint",
            vec![port("web", Vec::new())],
            vec![web(OPEN, None)],
            &["web:8080 | no endpoints → PERMISSIVE, decided by no policy"],
        ),
        ("a new port", Vec::new(), vec![web(STRICT, None)], &["web:8080 | added: STRICT"]),
        ("a port less", vec![web(STRICT, None)], Vec::new(), &["web:8080 | removed"]),
    ];
    for (name, before, after, expected) in rows {
        assert_eq!(texts(&shop(before), &shop(after), false), expected, "{name}");
    }
}

#[test]
fn wide_output_has_more_to_compare() {
    let unready = WorkloadPortReport { ready: 0, ..workload("web", OPEN, None) };
    let (before, after) =
        (shop(vec![port("web", vec![workload("web", OPEN, None)])]), shop(vec![port("web", vec![unready])]));
    assert_eq!(texts(&before, &after, true), ["web:8080 | ready 1/1 → 0/1"]);
}

#[test]
fn findings_are_added_changed_and_removed() {
    let rows: Vec<Case<FindingReport>> = vec![
        ("the same", vec![finding("a", "1 port")], vec![finding("a", "1 port")], &[]),
        (
            "another message",
            vec![finding("a", "1 port")],
            vec![finding("a", "2 ports")],
            &["finding a | changed: 2 ports"],
        ),
        (
            "another code",
            vec![finding("a", "x")],
            vec![finding("b", "y")],
            &["finding a | removed: x", "finding b | added: y"],
        ),
        (
            "one more of a code",
            vec![finding("a", "x")],
            vec![finding("a", "x"), finding("a", "y")],
            &["finding a | added: y"],
        ),
    ];
    for (name, before, after, expected) in rows {
        assert_eq!(texts(&with_findings(before), &with_findings(after), false), expected, "{name}");
    }
}

#[test]
fn several_namespaces_are_named() {
    let web = |mode| vec![port("web", vec![workload("web", mode, None)])];
    let before = report(vec![namespace("a", web(OPEN), Vec::new()), namespace("b", web(OPEN), Vec::new())]);
    let after = report(vec![namespace("a", web(STRICT), Vec::new()), namespace("c", web(OPEN), Vec::new())]);
    let expected = ["a/web:8080 | PERMISSIVE → STRICT", "namespace c | added: 1 port", "namespace b | removed"];
    assert_eq!(texts(&before, &after, false), expected);
    let off = NamespaceReport { auto_mtls: false, ..namespace("a", Vec::new(), Vec::new()) };
    let (on, off) = (report(vec![namespace("a", Vec::new(), Vec::new())]), report(vec![off]));
    assert_eq!(texts(&on, &off, false), ["namespace a | auto mTLS on → off"]);
}

#[test]
fn names_from_the_cluster_are_escaped() {
    let change = StatusChange { subject: "web\u{1b}[2J".to_owned(), what: "a\nb".to_owned() };
    assert_eq!(change.text("12:00:00Z"), "12:00:00Z  web\\u{1b}[2J  a\\nb");
}

#[test]
fn a_live_report_fits_the_terminal() {
    let ports = |number: usize| {
        (0..number).map(|index| port(&format!("web{index:02}"), vec![workload("web", OPEN, None)])).collect()
    };
    let findings = || vec![finding("mode-exception", "2 ports"), finding("auto-mtls-off", "1 port")];
    let report = |number: usize| report(vec![namespace("shop", ports(number), findings())]);
    let changes: Vec<String> =
        (0..9).map(|second| format!("12:00:0{second}Z  web00:8080  PERMISSIVE → STRICT")).collect();
    insta::assert_snapshot!(live(&report(2), &changes[..1], 80, 24), @r"
    namespace shop: 2 services, 2 ports; root namespace istio-system, auto mTLS on

    SERVICE      WORKLOAD         MODE         DECIDED BY   CLIENTS SEND
    web00:8080   deployment/web   PERMISSIVE   no policy    -
    web01:8080   deployment/web   PERMISSIVE   no policy    -

    0 errors, 2 warnings, 0 notes: mode-exception, auto-mtls-off

    12:00:00Z  web00:8080  PERMISSIVE → STRICT
    ");
    insta::assert_snapshot!(live(&report(9), &changes, 60, 14), @r"
    namespace shop: 9 services, 9 ports; root namespace istio-s…

    SERVICE      WORKLOAD     MODE         DECIDED…    CLIENTS…
    web00:8080   deploymen…   PERMISSIVE   no policy   -
    web01:8080   deploymen…   PERMISSIVE   no policy   -
    … 7 more lines

    0 errors, 2 warnings, 0 notes: mode-exception, auto-mtls-off

    12:00:05Z  web00:8080  PERMISSIVE → STRICT
    12:00:06Z  web00:8080  PERMISSIVE → STRICT
    12:00:07Z  web00:8080  PERMISSIVE → STRICT
    12:00:08Z  web00:8080  PERMISSIVE → STRICT
    ");
    for (number, columns, lines) in [(5, 80, 24), (30, 80, 24), (100, 120, 40), (30, 60, 10), (3, 80, 5), (3, 80, 1)] {
        let text = live(&report(number), &changes, columns, lines);
        assert!(text.lines().count() < lines.max(2), "{number} in {columns}×{lines}: {text}");
        assert!(text.lines().all(|line| line.width() <= columns), "{number} in {columns}×{lines}: {text}");
    }
}
