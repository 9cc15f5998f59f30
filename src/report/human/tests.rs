//! Text from a cluster is escaped before it reaches a terminal.

use super::*;
use crate::report::model::{
    ControlReport, HelloReport, NotProbedReport, PolicyReport, ProxyEvidence, SampleReport, VerdictReport,
};

/// Control characters of terminals, with a verdict in them that is forged.
const HOSTILE: &str = "a\u{1b}[2K\u{1b}[32mrejected\u{7}\r\u{8}\u{9b}31m\u{202e}\u{200b}\u{e0041}\u{7f}b";

/// A report in which every text from the cluster is hostile.
pub(crate) fn hostile_report(verdict: VerdictKind) -> ProbeReport {
    let hostile = || HOSTILE.to_owned();
    let answer = |reason| VerdictReport { verdict, reason, message: hostile(), remedy: None };
    let sample = || SampleReport {
        exit_code: 56,
        message: Some(hostile()),
        http_status: None,
        connected: true,
        bytes: 0,
        from_sidecar: false,
        connect_seconds: 0.1,
        seconds: 0.1,
    };
    let endpoint = || EndpointReport {
        address: hostile(),
        pod: Some(hostile()),
        data_plane: "sidecar".to_owned(),
        mode: Some(ModeKind::Strict),
        unguarded: None,
        policies: vec![PolicyReport {
            level: "namespace".to_owned(),
            namespace: hostile(),
            name: hostile(),
            mode: Some(ModeKind::Strict),
        }],
        answer: answer(None),
        samples: vec![sample()],
        hello: Some(HelloReport {
            exit_code: 0,
            certificate_requested: true,
            certificates: 2,
            spiffe: Some(hostile()),
            issuer: Some(hostile()),
            expires: Some(hostile()),
            refused: Some(hostile()),
        }),
        proxy: Some(ProxyEvidence { refuses_plaintext: Some(true), message: hostile() }),
    };
    let target = || TargetReport {
        target: hostile(),
        service: hostile(),
        port: 80,
        answer: answer(Some("reset-without-evidence")),
        expected: None,
        as_expected: None,
        endpoints: vec![endpoint()],
        samples: vec![sample()],
        control: Some(ControlReport { got_through: Some(true), message: hostile() }),
        not_ready: vec![hostile()],
        body: Some(format!("{HOSTILE}\nsecond line")),
    };
    ProbeReport {
        cluster: hostile(),
        kubernetes_version: Some(hostile()),
        exit_code: Some(3),
        namespaces: vec![NamespaceReport {
            namespace: hostile(),
            results: vec![target(), target()],
            not_probed: vec![NotProbedReport { name: hostile(), reason: "ExternalName" }],
            ..NamespaceReport::default()
        }],
        ..ProbeReport::empty("probe", String::new())
    }
}

/// Checks that the text has no control characters besides the tool's own colours.
pub(crate) fn assert_harmless(shown: &str) {
    let mut plain = shown.to_owned();
    for ours in [
        "\u{1b}[0m",
        "\u{1b}[1m",
        "\u{1b}[2m",
        "\u{1b}[1;36m",
        "\u{1b}[31m",
        "\u{1b}[1;32m",
        "\u{1b}[1;33m",
        "\u{1b}[1;35m",
        "\u{1b}[32m",
        "\u{1b}[33m",
        "\u{1b}[35m",
    ] {
        plain = plain.replace(ours, "");
    }
    assert_eq!(crate::sanitize::text(&plain), plain);
    assert!(!plain.contains('\t'));
}

#[test]
fn hostile_text_is_escaped_for_the_terminal() {
    for verdict in [VerdictKind::Accepted, VerdictKind::Rejected, VerdictKind::Inconclusive] {
        let report = hostile_report(verdict);
        for (wide, per_endpoint) in [(false, false), (true, false), (false, true), (true, true)] {
            let shown = probe(&report, Style { wide, per_endpoint, ..Style::default() });
            assert!(shown.contains("\\u{1b}[2K\\u{1b}[32mrejected"), "shown, not dropped: {shown}");
            assert_harmless(&shown);
        }
        assert_harmless(&probe(&report, Style { explain: true, ..Style::default() }));
        assert_harmless(&names(&report));
        assert_eq!(names(&report).lines().count(), 2);
    }
}

#[test]
fn a_body_of_many_lines_stays_indented_and_short() {
    let long = format!("{}\n", "x".repeat(50)).repeat(100);
    let shown = body_head(&long);
    assert!(shown.lines().all(|line| line.starts_with("    ")), "{shown}");
    assert!(shown.len() < 2600 && shown.ends_with("    …\n"), "{}", shown.len());
    assert!(body_head("ü".repeat(2000).as_str()).ends_with("…\n"), "cut between characters");
    assert_eq!(body_head("short"), "    short\n");
}

#[test]
fn object_names_and_demo_steps_are_escaped() {
    for only_name in [true, false] {
        assert_harmless(&crate::report::plan::result_line(HOSTILE, "created", "", only_name));
    }
    for step in crate::report::story::steps(HOSTILE, HOSTILE) {
        for limit in [None, Some(80)] {
            assert_harmless(&crate::report::screen::head(&step, limit));
        }
    }
    assert_harmless(&crate::report::story::summary(&[("A rogue asks", HOSTILE.to_owned())], true));
}
