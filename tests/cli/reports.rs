//! Reports for CI systems, read by what really reads them: an XML parser with the rules of the `JUnit` format, Perl's
//! TAP harness, a validator of JSON Schema.

use crate::helpers::{CliRun, Stage, Stub, assert_keeps_to_schema, command, finish, run, shows, signal};
use secure_traffic::sandbox::{Lookalike, State};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs the tool with a report of each kind, and reads all of them.
struct Reported {
    run: CliRun,
    /// Names of the cases that are a failure, and of those that are an error.
    junit: (Vec<String>, Vec<String>),
    /// Names of the tests that are not ok.
    tap: Vec<String>,
    json: serde_json::Value,
}

fn reported(mut command: Command, arguments: &str) -> Reported {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    command.args(arguments.split_whitespace());
    for (format, name) in [("junit", "a.xml"), ("tap", "a.tap"), ("json", "a.json")] {
        command.arg("--report").arg(format!("{format}={}", file(name).display()));
    }
    let run = finish(command);
    let names = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 3, "nothing else is left: {run}");
    Reported { run, junit: junit(&file("a.xml")), tap: tap(&file("a.tap")), json: json(&file("a.json")) }
}

fn json(path: &Path) -> serde_json::Value {
    let report = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_keeps_to_schema(&report);
    report
}

/// An element of the format.
struct Rule {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    children: &'static [&'static str],
}

const fn rule(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    children: &'static [&'static str],
) -> Rule {
    Rule { name, required, optional, children }
}

/// The `JUnit` format as Jenkins' schema (junit-10.xsd) has it. `skipped` of `testsuites` is not in that schema, but
/// every reader knows it.
const JUNIT: &[Rule] = &[
    rule("testsuites", &[], &["name", "tests", "failures", "errors", "skipped", "disabled", "time"], &["testsuite"]),
    rule(
        "testsuite",
        &["name", "tests"],
        &["failures", "errors", "skipped", "disabled", "time", "timestamp", "hostname", "id", "package"],
        &["properties", "testcase", "system-out", "system-err"],
    ),
    rule("properties", &[], &[], &["property"]),
    rule("property", &["name", "value"], &[], &[]),
    rule(
        "testcase",
        &["name"],
        &["classname", "time", "assertions", "status"],
        &["skipped", "error", "failure", "system-out", "system-err"],
    ),
    rule("failure", &[], &["message", "type"], &[]),
    rule("error", &[], &["message", "type"], &[]),
    rule("skipped", &[], &["message"], &[]),
    rule("system-out", &[], &[], &[]),
];

/// Keeps to the format, and counts right. Returns the names of the cases with a failure and of those with an error.
fn junit(path: &Path) -> (Vec<String>, Vec<String>) {
    let text = std::fs::read_to_string(path).unwrap();
    let document = roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(document.root_element().tag_name().name(), "testsuites");
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let name = node.tag_name().name();
        let rule = JUNIT.iter().find(|rule| rule.name == name);
        let rule = rule.unwrap_or_else(|| panic!("<{name}> is not of the format"));
        for attribute in rule.required {
            assert!(node.has_attribute(*attribute), "<{name}> lacks {attribute}");
        }
        for attribute in node.attributes().map(|attribute| attribute.name().to_owned()) {
            let known = rule.required.iter().chain(rule.optional).any(|known| *known == attribute);
            assert!(known, "<{name}> must not have {attribute}");
            let is_count = matches!(attribute.as_str(), "tests" | "failures" | "errors" | "skipped");
            assert!(!is_count || node.attribute(attribute.as_str()).unwrap().parse::<u32>().is_ok());
        }
        for child in node.children().filter(roxmltree::Node::is_element) {
            assert!(
                rule.children.contains(&child.tag_name().name()),
                "<{name}> must not hold <{}>",
                child.tag_name().name()
            );
        }
    }
    let cases = || document.descendants().filter(|node| node.has_tag_name("testcase"));
    let with = |outcome: &str| {
        let has = |case: &roxmltree::Node<'_, '_>| case.children().any(|child| child.has_tag_name(outcome));
        cases().filter(has).map(|case| case.attribute("name").unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (failures, errors) = (with("failure"), with("error"));
    for suite in document.descendants().filter(|node| matches!(node.tag_name().name(), "testsuites" | "testsuite")) {
        let count = |name: &str| suite.attribute(name).unwrap().parse::<usize>().unwrap();
        let counts = (count("tests"), count("failures"), count("errors"));
        assert_eq!(counts, (cases().count(), failures.len(), errors.len()));
    }
    (failures, errors)
}

/// Perl's own parser: what is not ok, and that it found nothing wrong with the stream.
fn tap(path: &Path) -> Vec<String> {
    let script = r#"
        use TAP::Parser;
        my $parser = TAP::Parser->new({ source => $ARGV[0] });
        while (my $result = $parser->next) {
            die "unknown: " . $result->raw if $result->is_unknown;
            print $result->description, "\n" if $result->is_test && !$result->is_ok;
            die "no data" if $result->is_yaml && !$result->data->{severity};
        }
        die join("; ", $parser->parse_errors) if $parser->parse_errors;
    "#;
    let output = Command::new("perl").args(["-e", script]).arg(path).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}\n{}", std::fs::read_to_string(path).unwrap());
    let names = String::from_utf8(output.stdout).unwrap();
    names.lines().map(|line| line.trim_start_matches("- ").to_owned()).collect()
}

#[test]
fn all_formats_agree_on_what_failed() {
    let stage = Stage::new(State::Strict, &[Lookalike::Empty, Lookalike::Excluded]);
    // Arguments, exit code, failures, errors.
    let rows: [(&str, i32, &[&str], &[&str]); 7] = [
        ("probe boards", 0, &[], &[]),
        ("probe --expect rejected boards userprofile", 0, &[], &[]),
        ("probe --expect accepted boards excluded", 1, &["boards:8080"], &[]),
        ("probe --expect rejected boards excluded empty", 1, &["excluded:8080"], &["empty:8080"]),
        ("probe empty", 3, &[], &["empty:8080"]),
        ("probe -n outside --expect rejected", 3, &[], &["secure-traffic probe"]),
        ("probe nosuch", 2, &[], &["secure-traffic probe"]),
    ];
    for (arguments, code, failures, errors) in rows {
        let report = reported(stage.command(), arguments);
        assert_eq!(report.run.code, Some(code), "{}", report.run);
        assert_eq!(report.junit.0, failures, "{arguments}");
        assert_eq!(report.junit.1, errors, "{arguments}");
        assert_eq!(report.tap.len(), failures.len() + errors.len(), "{arguments}: {:?}", report.tap);
        assert_eq!(report.json["exitCode"], code, "{arguments}");
        assert_eq!(report.json["error"].is_object(), arguments == "probe nosuch", "{arguments}");
    }
}

#[test]
fn an_unreachable_cluster_is_an_error_in_every_report() {
    let stub = Stub::new(|_, _| Some(crate::helpers::Answer::status(503, "ServiceUnavailable", "gone <&> \u{1b}[31m")));
    let report = reported(command(), &format!("probe --server {} --request-timeout 2s boards", stub.url));
    assert_eq!(report.run.code, Some(4), "{}", report.run);
    assert_eq!(report.junit, (vec![], vec!["secure-traffic probe".to_owned()]));
    assert_eq!(report.tap, ["secure-traffic probe"]);
    assert_eq!((&report.json["exitCode"], &report.json["namespaces"]), (&4.into(), &serde_json::json!([])));
    assert!(report.json["error"]["message"].as_str().unwrap().contains("503") || report.run.stderr.contains("gone"));
}

#[test]
fn a_switch_reports_what_it_wrote_and_what_it_proved() {
    let report = reported(command(), "enable-mtls --sandbox --yes boards");
    assert_eq!((report.run.code, &report.junit), (Some(0), &(vec![], vec![])), "{}", report.run);
    assert_eq!(report.json["command"], "enable-mtls");
    let objects: Vec<&str> = report.json["namespaces"][0]["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["object"].as_str().unwrap())
        .collect();
    assert_eq!(objects, ["destinationrule.networking.istio.io/boards", "peerauthentication.security.istio.io/default"]);
    let result = &report.json["namespaces"][0]["results"][0];
    assert_eq!((&result["verdict"], &result["expected"]), (&"rejected".into(), &"rejected".into()));
    // Without --yes and a terminal nothing is done, and no report says otherwise.
    let refused = reported(command(), "enable-mtls --sandbox boards");
    assert_eq!((refused.run.code, refused.tap.len()), (Some(2), 1), "{}", refused.run);
}

#[test]
fn a_demo_reports_each_of_its_probes() {
    let report = reported(command(), "demo");
    assert_eq!((report.run.code, &report.junit), (Some(0), &(vec![], vec![])), "{}", report.run);
    let verdicts: Vec<&str> = report.json["namespaces"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts.first(), Some(&"accepted"));
    assert_eq!(verdicts.last(), Some(&"accepted"));
    assert!(verdicts.contains(&"rejected"));
}

#[test]
fn an_unwritable_report_stops_the_run_before_any_request() {
    let stub = Stub::new(|_, _| None);
    for place in ["/no/such/directory/a.xml", "/"] {
        let run = run(&format!("probe --server {} --report junit={place} boards", stub.url));
        assert_eq!(run.code, Some(2), "{run}");
        assert!(run.stderr.contains(&format!("the report {place} cannot be written")), "{run}");
    }
    assert_eq!(stub.requests(), 0);
    shows!(run("probe --sandbox --report tap=- -o json boards"), @r"
    exit 2
    --- stderr
    error: --report tap=- and -o both want stdout: write one of them to a file
    ");
    shows!(run("probe --sandbox --report json=/dev/null --report junit=/dev/null boards"), @r"
    exit 2
    --- stderr
    error: two reports cannot go to the same file: /dev/null
    ");
    for wrong in ["html=a", "junit", "junit=-", "github=a"] {
        assert_eq!(run(&format!("probe --sandbox --report {wrong}")).code, Some(2), "{wrong}");
    }
}

#[test]
fn a_killed_run_leaves_no_passing_report() {
    let stub = Stub::new(|_, _| None);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::fs::write(file("a.xml"), "<testsuites><testsuite name='old' tests='0'/></testsuites>").unwrap();
    let mut command = command();
    command.args(["probe", "--server", &stub.url, "boards"]).stdout(Stdio::null()).stderr(Stdio::null());
    for (format, name) in [("junit", "a.xml"), ("tap", "a.tap"), ("json", "a.json")] {
        command.arg("--report").arg(format!("{format}={}", file(name).display()));
    }
    let mut child = command.spawn().unwrap();
    while stub.requests() == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_eq!(junit(&file("a.xml")).1, ["secure-traffic probe"]);
    assert_eq!(tap(&file("a.tap")), ["secure-traffic probe"]);
    let report = json(&file("a.json"));
    assert!(report.get("exitCode").is_none() && report["namespaces"] == serde_json::json!([]), "{report:#}");
}

#[test]
fn a_report_that_cannot_be_written_at_the_end_is_named() {
    let run = run("probe --sandbox --report junit=/dev/full boards");
    assert_eq!(run.code, Some(5), "{run}");
    assert!(run.stderr.contains("warning: the report /dev/full could not be written: No space left"), "{run}");
}

#[test]
fn tap_is_the_only_output_on_stdout() {
    shows!(run("probe --sandbox=strict --attempts 1 --expect accepted --report tap=- -q boards"), @r#"
    exit 1
    --- stdout
    TAP version 13
    1..2
    not ok 1 - boards:8080
      ---
      message: "expected accepted, rejected: reset by the mesh 1/1"
      severity: fail
      kind: "rejected"
      details: |
        A throwaway pod without the mesh's certificates, in namespace microservices-demo, sent plaintext to boards:8080: 1 request through the Service's address, 1 straight to 1 ready endpoint, each on a connection of its own.
        10.244.0.3:8080 (pod boards-[pod], sidecar): 1 of 1 connected and got not a byte of an answer (curl 56: Recv failure: Connection reset by peer).
        Its mode is STRICT, which microservices-demo/default decides for the namespace.
        An ordinary TLS hello got the certificate of spiffe://cluster.local/ns/microservices-demo/sa/boards, which verifies against the mesh root (issued by O=cluster.local, valid until [time]); it asked for a client certificate.
        Its proxy could not be queried: could not create pods/portforward in namespace "microservices-demo": NotImplemented: the sandbox has no pods/portforward: it is a stage for mutual TLS, not a cluster.
        No endpoint answered a byte, and the mesh refused: reset by the mesh 1/1.
        A policy of mode PERMISSIVE for the namespace, the workload or the port would let plaintext in again (`secure-traffic disable-mtls -n microservices-demo`).
      ...
    ok 2 - secure-traffic probe
      ---
      message: "done"
      severity: comment
      kind: "run"
      ...
    "#);
}

#[test]
fn a_dry_run_reports_no_success() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    for arguments in [
        "probe --sandbox --dry-run boards",
        "enable-mtls --sandbox --dry-run=server",
        "enable-mtls --dry-run=client boards -n shop",
    ] {
        let reports = format!(
            "--report junit={} --report tap={} --report json={}",
            file("a.xml").display(),
            file("a.tap").display(),
            file("a.json").display()
        );
        let run = run(&format!("{arguments} {reports}"));
        assert_eq!(run.code, Some(0), "{run}");
        assert_eq!(junit(&file("a.xml")), (vec![], vec![]), "{arguments}");
        let xml = std::fs::read_to_string(file("a.xml")).unwrap();
        assert!(xml.contains("<skipped message=\"dry run: nothing was probed or changed\"/>"), "{arguments}: {xml}");
        assert_eq!(tap(&file("a.tap")), [""; 0], "{arguments}");
        let stream = std::fs::read_to_string(file("a.tap")).unwrap();
        assert!(stream.contains("# SKIP dry run"), "{arguments}: {stream}");
        assert_eq!(json(&file("a.json"))["dryRun"], true, "{arguments}");
    }
}

#[test]
fn github_gets_annotations_and_a_summary() {
    let stage = Stage::new(State::Strict, &[Lookalike::Empty]);
    let directory = tempfile::tempdir().unwrap();
    let summary = directory.path().join("summary.md");
    std::fs::write(&summary, "earlier\n").unwrap();
    let mut command = stage.command();
    command.env("GITHUB_STEP_SUMMARY", &summary);
    command.args(["probe", "--expect", "accepted", "--attempts", "1", "--report", "github", "-q", "boards", "empty"]);
    shows!(finish(command), @r#"
    exit 1
    --- stdout
    boards:8080  rejected
      seen       reset by the mesh 1/1
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
    empty:8080  inconclusive (no-endpoints)
      seen       service "empty" has no ready endpoint for port 8080
      remedy     wait until a pod of the Service is ready
    --- stderr
    ::error title=boards%3A8080::expected accepted, rejected: reset by the mesh 1/1%0AA throwaway pod without the mesh's certificates, in namespace microservices-demo, sent plaintext to boards:8080: 1 request through the Service's address, 1 straight to 1 ready endpoint, each on a connection of its own.%0A10.244.0.3:8080 (pod boards-[pod], sidecar): 1 of 1 connected and got not a byte of an answer (curl 56: Recv failure: Connection reset by peer).%0AIts mode is STRICT, which microservices-demo/default decides for the namespace.%0AAn ordinary TLS hello got the certificate of spiffe://cluster.local/ns/microservices-demo/sa/boards, which verifies against the mesh root (issued by O=cluster.local, valid until [time]); it asked for a client certificate.%0AIts proxy could not be queried: could not create pods/portforward in namespace "microservices-demo": NotImplemented: the sandbox has no pods/portforward: it is a stage for mutual TLS, not a cluster.%0ANo endpoint answered a byte, and the mesh refused: reset by the mesh 1/1.%0AA policy of mode PERMISSIVE for the namespace, the workload or the port would let plaintext in again (`secure-traffic disable-mtls -n microservices-demo`).
    ::warning title=empty%3A8080::expected accepted, inconclusive (no-endpoints): service "empty" has no ready endpoint for port 8080%0Aempty:8080 was not asked: it has no ready endpoint.%0ANo conclusion: inconclusive (no-endpoints): service "empty" has no ready endpoint for port 8080.%0ATo find out: wait until a pod of the Service is ready.
    "#);
    crate::helpers::filters().bind(|| insta::assert_snapshot!(std::fs::read_to_string(&summary).unwrap(), @r#"
    earlier
    ### secure-traffic probe: 2 targets in microservices-demo: 1 not as expected, 1 could not be told

    | | target | answer |
    |---|---|---|
    | ❌ | boards:8080 | expected accepted, rejected: reset by the mesh 1/1 |
    | ❔ | empty:8080 | expected accepted, inconclusive (no-endpoints): service "empty" has no ready endpoint for port 8080 |
    | ✅ | secure-traffic probe | done |

    <details><summary>boards:8080</summary>

    - A throwaway pod without the mesh's certificates, in namespace microservices-demo, sent plaintext to boards:8080: 1 request through the Service's address, 1 straight to 1 ready endpoint, each on a connection of its own.
    - 10.244.0.3:8080 (pod boards-[pod], sidecar): 1 of 1 connected and got not a byte of an answer (curl 56: Recv failure: Connection reset by peer).
    - Its mode is STRICT, which microservices-demo/default decides for the namespace.
    - An ordinary TLS hello got the certificate of spiffe://cluster.local/ns/microservices-demo/sa/boards, which verifies against the mesh root (issued by O=cluster.local, valid until [time]); it asked for a client certificate.
    - Its proxy could not be queried: could not create pods/portforward in namespace "microservices-demo": NotImplemented: the sandbox has no pods/portforward: it is a stage for mutual TLS, not a cluster.
    - No endpoint answered a byte, and the mesh refused: reset by the mesh 1/1.
    - A policy of mode PERMISSIVE for the namespace, the workload or the port would let plaintext in again (\`secure-traffic disable-mtls -n microservices-demo\`).

    </details>

    <details><summary>empty:8080</summary>

    - empty:8080 was not asked: it has no ready endpoint.
    - No conclusion: inconclusive (no-endpoints): service "empty" has no ready endpoint for port 8080.
    - To find out: wait until a pod of the Service is ready.

    </details>
    "#));
}
