//! `--check-url`: a URL that is polled during a switch.

use crate::helpers::{Answer, CliRun, Stage, Stub, assert_harmless, assert_keeps_to_schema, dead_port, run, shows};
use secure_traffic::sandbox::State;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A server whose status depends on the number of earlier requests.
fn server(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Stub {
    Stub::new(move |_, before| Some(Answer { status: status(before), kind: "text/plain", body: "hello".to_owned() }))
}

/// A switch of one Service.
fn switch(stage: &Stage, command: &str, server: &str, options: &str) -> CliRun {
    stage.run(&format!("{command} --yes --settle 0 boards --check-url {server} {options}"))
}

/// Names of the objects that a switch writes, and of its journals.
fn written(stage: &Stage) -> String {
    let diff = stage.run("enable-mtls --diff -q boards");
    let restore = stage.run("disable-mtls --restore --diff");
    format!("{} {}", diff.code.unwrap(), restore.stderr.contains("nothing to restore"))
}

const UNTOUCHED: &str = "1 true";

/// Takes out of a line the number of requests and the length of a failure: both depend on the machine.
fn line(run: &CliRun, server: &str) -> String {
    let line = run.stderr.lines().find(|line| line.contains(&format!("{server}: "))).unwrap_or_else(|| panic!("{run}"));
    line.replace(server, "URL")
        .split(' ')
        .map(|word| if word.parse::<f64>().is_ok() { "N" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_check_url_that_answers_throughout() {
    let stage = Stage::new(State::Permissive, &[]);
    let (server, second) = (server(|_| 200), server(|_| 404));
    let run = switch(&stage, "enable-mtls", &format!("{}/page", server.url), &format!("--check-url {}", second.url));
    assert_eq!(run.code, Some(0), "{run}");
    assert_eq!(line(&run, &format!("{}/page", server.url)), "URL: answered N of N times", "{run}");
    assert_eq!(line(&run, &second.url), "URL: answered N of N times", "404 is an answer: {run}");
    assert!(server.requests() >= 4, "{run}");
    assert!(server.seen.lock().unwrap().iter().all(|line| line == "GET /page"), "{run}");
}

#[test]
fn a_page_that_is_refused_after_the_change_counts_as_down() {
    let stage = Stage::new(State::Permissive, &[]);
    let server = server(|before| if before < 2 { 200 } else { 403 });
    let run = switch(&stage, "enable-mtls", &server.url, "--rollback-on-failure");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("HTTP 403, and not as before the change"), "{run}");
    assert_eq!(written(&stage), UNTOUCHED, "{run}");
}

#[test]
fn a_short_outage_is_reported_without_failure() {
    let stage = Stage::new(State::Permissive, &[]);
    let server = server(|before| if (2..4).contains(&before) { 503 } else { 200 });
    let run = switch(&stage, "enable-mtls", &server.url, "--rollback-on-failure");
    assert_eq!(run.code, Some(0), "{run}");
    let words = "warning: URL: failed N of N times, for N s at the longest: HTTP N";
    assert_eq!(line(&run, &server.url), words, "{run}");
    assert!(run.stderr.contains("failed 2 of "), "{run}");
}

#[test]
fn a_failing_check_url_blocks_enable() {
    let stage = Stage::new(State::Permissive, &[]);
    let server = server(|_| 503);
    shows!(switch(&stage, "enable-mtls", &format!("{}/page?token=secret", server.url), ""), @r"
    exit 1
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: the policy holds for the whole namespace: STRICT for app-ui, boards-mongodb, context-scraper, userprofile too
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/boards      tls ISTIO_MUTUAL
      + peerauthentication/default  mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    error: http://127.0.0.1:[port]/page does not answer before the change: HTTP 503; nothing was written
    hint: use --force to continue anyway
    ");
    assert_eq!((written(&stage).as_str(), server.requests()), (UNTOUCHED, 1));
    let nobody = format!("http://127.0.0.1:{}", dead_port());
    let run = switch(&stage, "enable-mtls", &nobody, "");
    assert_eq!((run.code, written(&stage).as_str()), (Some(1), UNTOUCHED), "{run}");
    assert!(run.stderr.contains("does not answer before the change: Connection refused"), "{run}");
}

#[test]
fn force_ignores_a_failing_check_url_and_does_not_roll_back() {
    let stage = Stage::new(State::Permissive, &[]);
    let server = server(|_| 503);
    let run = switch(&stage, "enable-mtls", &server.url, "--force --rollback-on-failure");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains(" does not answer before the change: HTTP 503\n"), "{run}");
    assert!(run.stderr.contains("; still down at the end\n") && !run.stderr.contains("rolling back"), "{run}");
    assert_eq!(stage.run("probe --expect rejected boards -q").code, Some(0));
}

#[test]
fn a_failing_check_url_is_a_warning_for_disable() {
    let stage = Stage::new(State::Strict, &[]);
    // It comes back with the switch, as a server does that STRICT has failing.
    let server = server(|before| if before < 2 { 503 } else { 200 });
    let run = switch(&stage, "disable-mtls", &server.url, "");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("warning: ") && run.stderr.contains("before the change: HTTP 503\n"), "{run}");
    let run = stage.run(&format!("disable-mtls --restore --yes --check-url http://127.0.0.1:{}", dead_port()));
    assert!(run.stderr.contains(" does not answer before the change: Connection refused"), "{run}");
    assert!(run.stdout.contains("restored"), "{run}");
}

#[test]
fn a_lasting_outage_rolls_back_on_request() {
    let stage = Stage::new(State::Permissive, &[]);
    let failing = || server(|before| if before < 3 { 200 } else { 503 });
    let (server, directory) = (failing(), tempfile::tempdir().unwrap());
    let report = directory.path().join("report.json");
    let options = format!("--rollback-on-failure --report json={}", report.display());
    let run = switch(&stage, "enable-mtls", &format!("{}/?token=secret", server.url), &options);
    assert_eq!(run.code, Some(1), "{run}");
    let words = "warning: URL: failed N of N times, for N s at the longest: HTTP 503; still down at the end";
    assert_eq!(line(&run, &server.url), words, "{run}");
    assert!(run.stderr.contains("rolled back: everything is as it was before"), "{run}");
    assert_eq!(written(&stage), UNTOUCHED);

    let text = std::fs::read_to_string(report).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_keeps_to_schema(&report);
    let entry = &report["namespaces"][0]["frontDoors"][0];
    assert_eq!(entry["url"], server.url);
    assert_eq!((&entry["lastFailure"], &entry["stillDown"]), (&"HTTP 503".into(), &true.into()));
    let (asked, answered) = (entry["asked"].as_u64().unwrap(), entry["answered"].as_u64().unwrap());
    // The first of the three answers was before the watch.
    assert!(asked >= 5 && answered == 2 && entry["longestOutageSeconds"].as_f64().unwrap() > 0.4, "{entry}");
    assert!(!text.contains("secret") && !run.all().contains("secret"), "{run}");

    // Without it the changes stay, and the exit code says the same.
    let run = switch(&stage, "enable-mtls", &failing().url, "");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(!run.stderr.contains("roll") && run.stderr.contains("undo with: secure-traffic disable-mtls"), "{run}");
}

#[test]
fn a_run_without_proof_polls_often_enough() {
    let stage = Stage::new(State::Permissive, &[]);
    let server = server(|before| if before < 1 { 200 } else { 500 });
    let run = switch(&stage, "enable-mtls", &server.url, "--verify=false --rollback-on-failure");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("HTTP 500; still down at the end") && run.stderr.contains("rolled back"), "{run}");
    assert_eq!(written(&stage), UNTOUCHED);
}

#[test]
fn every_request_opens_a_connection_and_follows_no_redirect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Arc<Mutex<BTreeSet<u16>>> = Arc::default();
    let (requests, record) = (Arc::new(Mutex::new(0)), Arc::clone(&clients));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            record.lock().unwrap().insert(stream.peer_addr().unwrap().port());
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                while stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    *count.lock().unwrap() += 1;
                    let head = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\n", dead_port());
                    let _ = stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes());
                }
            });
        }
    });
    let stage = Stage::new(State::Permissive, &[]);
    let run = switch(&stage, "enable-mtls", &format!("http://{address}"), "--verify=false");
    assert_eq!(run.code, Some(0), "{run}");
    let (connections, requests) = (clients.lock().unwrap().len(), *requests.lock().unwrap());
    assert!(connections >= 4 && connections == requests, "{connections} {requests}");
}

#[test]
fn an_answer_is_shown_without_control_characters() {
    let stage = Stage::new(State::Permissive, &[]);
    // No HTTP at all, and an answer that hides a command in its status.
    for answer in ["\u{1b}[2K\r\n::error::x\r\n\r\n", "HTTP/1.1 599 \u{1b}[2K::error::x\r\ncontent-length: 0\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/%1b[31m", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let run = switch(&stage, "enable-mtls", &url, "");
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stderr.contains("does not answer before the change: "), "{run}");
        assert_harmless(&run.all());
    }
}

#[test]
fn an_interrupted_run_reports_its_requests() {
    let stage = Stage::new(State::Legacy, &[]);
    let server = server(|_| 200);
    let run = stage.run(&format!("enable-mtls --yes --settle 30s --timeout 10s --check-url {}", server.url));
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("ended early: "), "{run}");
    assert!(line(&run, &server.url).starts_with("URL: answered N of N time"), "{run}");
}

#[test]
fn invalid_urls_are_refused_without_repeating_them() {
    for url in ["shop.example", "ftp://shop.example", "https://", "https://me:secret@shop.example", "htp://x/?secret"] {
        let run = run(&format!("enable-mtls --sandbox --yes --check-url {url}"));
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run}");
        assert!(run.stderr.contains("--check-url <URL>") && !run.stderr.contains("secret"), "{run}");
    }
    shows!(run("disable-mtls --check-url https://me:secret@shop.example"), @r"
    exit 2
    --- stderr
    error: invalid value for '--check-url <URL>': it must hold no user name or password: ask a page that needs none

    For more information, try '--help'.
    ");
}
