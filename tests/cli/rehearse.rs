//! `rehearse`: who would be refused by STRICT, from the access logs of the sandbox's sidecars.

use crate::faulty_proxy::{Fate, serve};
use crate::helpers::{CliRun, Stage, run};
use crate::slow_link::{object_names, run as run_at};
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CLIENT: &str = "legacy-client (outside/Deployment)";

/// The entry of a port.
fn port<'a>(report: &'a Value, name: &str) -> &'a Value {
    let ports = report["namespaces"][0]["results"].as_array().unwrap();
    ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"))
}

/// Asserts that a port was called about once a second for at least this time, and not more often since `start`.
fn assert_one_call_a_second(port: &Value, seconds: u64, start: Instant) {
    let calls = port["calls"].as_u64().unwrap();
    let most = start.elapsed().as_secs() + 2;
    assert!((seconds - 2..=most).contains(&calls), "not {seconds} to {most}: {port:#}");
}

#[test]
fn the_client_without_a_sidecar_is_named_and_nothing_is_written() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = object_names(&stage);
    let start = Instant::now();
    let run = stage.run("rehearse --for 10s -o json");
    assert_eq!(run.code, Some(1), "{run}");
    let report = run.json();
    let boards = port(&report, "boards:8080");
    assert_eq!((&boards["result"], &boards["callers"][0]["name"]), (&json!("callers"), &json!(CLIENT)), "{boards:#}");
    assert_eq!(boards["callers"].as_array().unwrap().len(), 1, "{boards:#}");
    assert_one_call_a_second(boards, 10, start);
    for name in ["app-ui:8080", "boards-mongodb:27017", "context-scraper:9100", "userprofile:8080"] {
        let port = port(&report, name);
        assert_eq!((&port["result"], &port["calls"]), (&json!("nobody"), &json!(0)), "{port:#}");
    }
    assert_eq!(object_names(&stage), before);
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn the_table_ends_with_one_line_that_says_who() {
    let run = run("rehearse --sandbox --for 5s boards userprofile");
    assert_eq!(run.code, Some(1), "{run}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("PORT") && lines[0].ends_with("LAST SEEN"), "{run}");
    assert!(lines[1].starts_with("boards:8080") && lines[1].contains(CLIENT), "{run}");
    assert!(lines[2].contains("nobody"), "{run}");
    assert_eq!(lines.last(), Some(&format!("1 of 2 ports would refuse callers: {CLIENT}").as_str()), "{run}");
    assert_eq!(crate::helpers::run("rehearse --sandbox --for 5s userprofile").code, Some(0));
}

#[test]
fn what_strict_does_not_close_is_listed_and_called_by_nobody() {
    let strict = run("rehearse --sandbox=strict --for 24h");
    assert_eq!(strict.code, Some(0), "{strict}");
    assert!(strict.stdout.ends_with("STRICT would close none of 5 ports\n"), "{strict}");
    let stage = Stage::new(State::Permissive, &[Lookalike::Excluded, Lookalike::Empty]);
    let run = stage.run("rehearse --for 5s excluded empty -o json");
    assert_eq!(run.code, Some(3), "{run}");
    let report = run.json();
    assert_eq!(port(&report, "excluded:8080")["reason"], "no policy applies: port not captured");
    assert_eq!(port(&report, "empty:8080")["reason"], "no endpoint is ready");
}

#[test]
fn bad_input_is_refused_before_anything_is_asked() {
    for (arguments, message) in [
        ("rehearse --sandbox --for 4s", "\"4s\" is not between 5s and 24h"),
        ("rehearse --sandbox --for 25h", "\"25h\" is not between 5s and 24h"),
        ("rehearse --sandbox --for soon", "invalid duration"),
        ("rehearse --sandbox --for 5s nosuch", "service \"nosuch\" not found"),
        ("rehearse --sandbox --for 5s -o csv", "invalid value 'csv'"),
    ] {
        let run = run(arguments);
        assert_eq!(run.code, Some(2), "{arguments}: {run}");
        assert!(run.stderr.contains(message), "{arguments}: {run}");
    }
    let empty = run("rehearse --sandbox -n outside --for 5s");
    assert_eq!(
        (empty.code, empty.stdout.as_str()),
        (Some(3), "no Service of the namespace has a TCP port\n"),
        "{empty}"
    );
}

#[test]
fn the_time_of_the_rehearsal_does_not_count_towards_the_timeout() {
    let run = run("rehearse --sandbox --for 6s --timeout 5s userprofile");
    assert_eq!(run.code, Some(0), "{run}");
}

/// A rehearsal of `boards` at a server where the logs of sidecars have this fate.
fn rehearsed(fate: Fate) -> CliRun {
    let stage = Stage::new(State::Permissive, &[]);
    let is_log = |path: &str| path.contains("/log?") && path.contains("container=istio-proxy");
    let url = serve(&stage, move |_, path, _| if is_log(path) { fate } else { Fate::Answered });
    run_at(&stage, &url, "rehearse boards --for 8s -o json")
}

#[test]
fn a_log_that_is_cut_is_read_on_where_it_ended() {
    let start = Instant::now();
    let run = rehearsed(Fate::Cut(Duration::from_secs(2)));
    assert_eq!(run.code, Some(1), "{run}");
    let report = run.json();
    let boards = port(&report, "boards:8080");
    assert_eq!(boards["reason"], Value::Null, "{boards:#}");
    // No call is lost, and none counts twice.
    assert_one_call_a_second(boards, 8, start);
}

#[test]
fn a_log_without_times_leaves_the_port_unobserved() {
    let run = rehearsed(Fate::Faked("{}\n"));
    assert_eq!(run.code, Some(3), "{run}");
    let report = run.json();
    let reason = port(&report, "boards:8080")["reason"].as_str().unwrap();
    assert!(reason.starts_with("a part of the log of boards-"), "{reason}");
    let notes = report["namespaces"][0]["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().starts_with("a Telemetry object with")), "{notes:?}");
}

#[test]
fn the_right_to_read_logs_is_named_where_it_is_missing() {
    let run = rehearsed(Fate::Refused(403, "Forbidden"));
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("error: could not get pods/log \"boards-"), "{run}");
}

#[test]
fn without_the_pods_of_the_cluster_callers_are_addresses() {
    let stage = Stage::new(State::Permissive, &[]);
    let url = serve(&stage, |_, path, _| {
        let is_cluster_wide = path.starts_with("/api/v1/pods") || path.starts_with("/api/v1/nodes");
        if is_cluster_wide { Fate::Refused(403, "Forbidden") } else { Fate::Answered }
    });
    let run = run_at(&stage, &url, "rehearse boards --for 5s");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stdout.contains("1 of 1 port would refuse callers: 10.244.2.1\n"), "{run}");
    assert!(run.stdout.contains("note: callers of other namespaces have no names"), "{run}");
}

#[test]
fn reports_have_a_case_for_each_port() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let arguments = format!(
        "rehearse --sandbox --for 5s boards userprofile --report junit={} --report tap={} --report json={}",
        file("a.xml"),
        file("a.tap"),
        file("a.json")
    );
    let run = run(&arguments);
    assert_eq!(run.code, Some(1), "{run}");
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let xml = read("a.xml");
    assert!(xml.contains("tests=\"3\"") && xml.contains("failures=\"1\"") && xml.contains(CLIENT), "{xml}");
    assert!(read("a.tap").contains("not ok 1 - boards:8080\n") && read("a.tap").contains("ok 2 - userprofile:8080\n"));
    let report: Value = serde_json::from_str(&read("a.json")).unwrap();
    crate::helpers::assert_keeps_to_schema(&report);
    assert_eq!((&report["kind"], &report["exitCode"]), (&json!("RehearsalReport"), &json!(1)));
}

#[test]
fn a_switch_stops_where_its_rehearsal_finds_a_caller_unless_it_is_forced() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = object_names(&stage);
    let run = stage.run("enable-mtls --yes --rehearse 5s");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("callers of its ports are observed for 5s (--rehearse)"), "{run}");
    let message = format!(
        "error: 1 of 5 ports would refuse callers: {CLIENT}; nothing was written\nhint: use --force to continue"
    );
    assert!(run.stderr.contains(&message), "{run}");
    assert_eq!(object_names(&stage), before);
    // Another port becomes STRICT: the policy is about the pods of `userprofile` alone.
    let smaller = stage.run("enable-mtls --yes --rehearse 5s --verify=false --workload app=userprofile");
    assert_eq!(smaller.code, Some(0), "{smaller}");
    let forced = stage.run("enable-mtls --yes --rehearse 5s --verify=false --force");
    assert_eq!(forced.code, Some(0), "{forced}");
    assert!(object_names(&stage).contains("PeerAuthentication"), "{forced}");
}

#[test]
fn a_switch_stops_where_its_rehearsal_observes_nothing() {
    let stage = Stage::new(State::Permissive, &[]);
    let url = serve(
        &stage,
        |_, path, _| {
            if path.contains("container=istio-proxy") { Fate::Faked("{}\n") } else { Fate::Answered }
        },
    );
    let run = run_at(&stage, &url, "enable-mtls --yes --rehearse 5s --verify=false");
    assert_eq!(run.code, Some(3), "{run}");
    assert!(run.stderr.contains("error: no port was observed") && run.stderr.contains("nothing was written"), "{run}");
}

#[test]
fn the_callers_of_a_recorded_rehearsal_are_findings() {
    let stage = Stage::new(State::Permissive, &[]);
    let recorded = stage.run("rehearse boards --for 5s -o json");
    let file = crate::helpers::write(stage.directory.path(), "rehearsal.json", &recorded.stdout);
    let file = file.display();
    let status = stage.run(&format!("status -o json --rehearsal {file}"));
    let report = status.json();
    let findings = report["namespaces"][0]["findings"].as_array().unwrap();
    let seen = findings.iter().find(|finding| finding["code"] == "plaintext-seen").unwrap();
    assert!(
        seen["message"].as_str().unwrap().starts_with(&format!("{CLIENT} sent plaintext to boards:8080 (")),
        "{seen:#}"
    );
    assert!(findings.iter().all(|finding| finding["code"] != "clients-unseen"), "{findings:#?}");
    let enable = stage.run(&format!("enable-mtls --yes --rehearsal {file}"));
    assert_eq!(enable.code, Some(1), "{enable}");
    assert!(enable.stderr.contains("STRICT would break something (plaintext-seen)"), "{enable}");

    let other = stage.run(&format!("status -n outside --rehearsal {file}"));
    assert_eq!(other.code, Some(2), "{other}");
    assert!(other.stderr.contains("the rehearsal is about namespace \"microservices-demo\""), "{other}");
    let wrong = stage.run("status --rehearsal /nonexistent");
    assert_eq!(wrong.code, Some(2), "{wrong}");
    let wrong = stage.run(&format!("status --rehearsal {}", stage.kubeconfig().display()));
    assert!(wrong.code == Some(2) && wrong.stderr.contains("cannot be read"), "{wrong}");
}
