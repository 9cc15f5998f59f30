//! `-f`: the user's own manifests.

use crate::helpers::{CliRun, Stage, assert_verdicts, finish, shows, write};
use secure_traffic::sandbox::State;
use std::io::Write as _;
use std::process::Stdio;

const POLICY: &str = "\
apiVersion: security.istio.io/v1beta1
kind: PeerAuthentication
metadata:
  name: ours
  labels: {team: shop}
spec:
  mtls:
    mode: STRICT
";

const RULE: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: boards
spec:
  host: boards.microservices-demo.svc.cluster.local
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 5}}
    tls: {mode: ISTIO_MUTUAL}
";

fn with_stdin(stage: &Stage, arguments: &str, text: &str) -> CliRun {
    let mut command = stage.command();
    command.args(arguments.split_whitespace());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CliRun { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn manifests_are_applied_in_phases_and_restored() {
    let stage = Stage::new(State::Permissive, &[]);
    let directory = stage.directory.path().join("manifests");
    std::fs::create_dir_all(directory.join("rules")).unwrap();
    write(&directory, "policy.yaml", POLICY);
    write(&directory.join("rules"), "boards.yml", RULE);
    write(&directory, "README.md", "not a manifest");
    let mut command = stage.command();
    command.args(["enable-mtls", "--yes", "--settle", "100ms", "-R", "-f"]).arg(&directory);
    let run = finish(command);
    assert_eq!(run.code, Some(0), "{run}");
    for (object, line) in [
        ("destinationrule.networking.istio.io/boards", "+ destinationrule/boards   as in the file\n"),
        ("peerauthentication.security.istio.io/ours", "+ peerauthentication/ours  as in the file\n"),
    ] {
        assert!(run.stdout.contains(&format!("{object} created\n")), "{run}");
        assert!(run.stderr.contains(line), "{run}");
    }
    assert_verdicts(&run, "rejected", "STRICT");
    // Without -R only what is in the directory itself; and it is there already.
    let mut command = stage.command();
    command.args(["enable-mtls", "--yes", "--verify=false", "-f"]).arg(&directory);
    shows!(finish(command), @r"
    exit 0
    --- stdout
    peerauthentication.security.istio.io/ours unchanged
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    ");
    let back = with_stdin(&stage, "disable-mtls --yes --verify=false -f -", &POLICY.replace("STRICT", "PERMISSIVE"));
    assert_eq!((back.code, back.stdout.as_str()), (Some(0), "peerauthentication.security.istio.io/ours configured\n"));
    assert_eq!(stage.run("disable-mtls --restore --yes --verify=false").code, Some(0));
    let left = stage.run("disable-mtls --diff -q");
    assert!(!left.stdout.contains("ours"), "{left}");
}

#[test]
fn fields_of_other_managers_stay() {
    let stage = Stage::new(State::Strict, &[]);
    let file = write(stage.directory.path(), "rule.yaml", RULE);
    let mut command = stage.command();
    command.args(["enable-mtls", "--dry-run=server", "-o", "yaml", "-f"]).arg(file);
    let run = finish(command);
    assert!(run.stdout.contains("maxConnections: 5") && run.stdout.contains("mode: ISTIO_MUTUAL"), "{run}");
}

#[test]
fn bad_manifests_are_refused_with_their_place() {
    let stage = Stage::new(State::Permissive, &[]);
    for (text, code, words) in [
        ("kind: [", 2, "stdin: "),
        ("a: 1\na: 2\n", 2, "stdin: duplicate mapping key: a at line 2, column 1"),
        ("apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", 2, "stdin: v1 Secret is none of the kinds"),
        (&format!("{POLICY}---\n{POLICY}"), 2, "stdin, document 2: \"ours\" is there twice"),
        (
            &POLICY.replace("STRICT", "DISABLE"),
            1,
            "stdin: \"ours\": the file sets DISABLE, but enable-mtls needs STRICT",
        ),
        (&POLICY.replace("  name: ours", "  name: ours\n  namespace: other"), 2, "pass -n other"),
        (&POLICY.replace("mode", "mood"), 1, "the file sets no mode"),
        ("", 2, "the files given with -f contain no objects"),
        ("{kind: List, items: [{apiVersion: v1, kind: Pod}]}", 2, "stdin, item 1: v1 Pod"),
    ] {
        let run = with_stdin(&stage, "enable-mtls --yes -f -", text);
        assert_eq!(run.code, Some(code), "{run}");
        assert!(run.stderr.contains(words), "{words:?}: {run}");
    }
    let broken = with_stdin(&stage, "enable-mtls --yes -f -", "kind: Policy\n  name: [\n");
    assert!(broken.stderr.contains("line 2") && broken.stderr.contains("column"), "{broken}");
    for arguments in [
        "enable-mtls -f /nowhere.yaml",
        "enable-mtls -R",
        "enable-mtls -f x.yaml --policy y",
        "enable-mtls --dry-run -f x.yaml",
    ] {
        assert_eq!(stage.run(arguments).code, Some(2), "{arguments}");
    }
}
