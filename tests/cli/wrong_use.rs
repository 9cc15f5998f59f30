//! Wrong use: the message names what was meant.

use crate::helpers::{Stage, command, finish, run, run_with, write};
use assert_cmd::cargo::CommandCargoExt;
use secure_traffic::sandbox::State;
use std::os::unix::process::CommandExt;
use std::process::Command;

#[test]
fn options_that_are_confused_are_answered_with_the_right_one() {
    let undone = "tip: `disable-mtls --restore` puts back the former state";
    let run_after_equals = "tip: a run follows a `=`: --restore=RUN (`secure-traffic history` lists the runs)";
    let state = "hint: the state of the sandbox follows a `=`: --sandbox=strict";
    let rows = [
        ("enable-mtls --restore", undone),
        ("enable-mtls --restore=bcdfg -n shop", undone),
        ("disable-mtls --restore bcdfg", run_after_equals),
        ("disable-mtls bcdfg --restore", run_after_equals),
        ("probe --sandbox strict boards", state),
        ("status --sandbox strict boards", state),
        ("enable-mtls --sandbox strict boards", state),
        ("disable-mtls --sandbox --restore=bcdfg", "hint: no run can be undone there; `secure-traffic history` lists"),
        ("probe --sandbox bords", "hint: did you mean boards? its Services are: app-ui, boards, "),
        ("status --sandbox userprofil", "hint: did you mean userprofile? its Services are: "),
        (
            "enable-mtls --sandbox bords",
            "services \"bords\" not found; did you mean boards? there are: app-ui, boards, ",
        ),
        ("probe --sandbox 10.244.0.3:8080", "error: 10.244.0.3 is an IP address, not the name of a Service"),
        ("probe --sandbox http://10.244.0.3/x", "hint: pass the name of the Service; without a target, every Service"),
    ];
    for (arguments, expected) in rows {
        let run = run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments}: {run}");
        assert!(run.stderr.contains(expected), "{arguments}: {run}");
        assert!(!run.stderr.contains("--report"), "{arguments}: {run}");
    }
    let legacy = Stage::with_shop(State::Permissive).run("probe -n shop legacy");
    assert_eq!(legacy.code, Some(0), "a Service may be called as a state is: {legacy}");
    let help = run_with(["enable-mtls", "--help"]);
    assert!(!help.stdout.contains("  --restore"), "{help}");
}

#[test]
fn errors_of_the_command_line_follow_color() {
    let colored = |arguments: &[&str]| {
        let mut command = command();
        command.args(arguments);
        finish(command).stderr.contains('\u{1b}')
    };
    assert!(colored(&["--color", "always", "prb"]) && colored(&["prb", "--color=always"]));
    assert!(!colored(&["--color", "never", "prb"]) && !colored(&["prb"]), "stderr is no terminal");
    for line in ["--color never prb", "--color=never probe --nope", "prb"] {
        let tool = Command::cargo_bin("secure-traffic").unwrap();
        let line = format!("{} {line}", tool.get_program().to_str().unwrap());
        let is_plain = line.ends_with(" prb") && !line.contains("--color");
        let Some(terminal) = crate::terminal::Terminal::open(&line, |command| {
            command.env_remove("NO_COLOR");
            if is_plain {
                command.env("NO_COLOR", "1");
            }
        }) else {
            return;
        };
        let run = terminal.end();
        assert!(run.code == Some(2) && !run.stdout.contains('\u{1b}'), "{line}: {run}");
    }
}

#[test]
fn a_user_that_is_not_in_the_kubeconfig_is_answered_with_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = "\
        {clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], contexts: [{name: a, context: {cluster: a, user: \
        alice}}], current-context: a, users: [{name: alice, user: {}}, {name: bob, user: USER}]}";
    let good = write(folder.path(), "good", &kubeconfig.replace("USER", "{}"));
    let wrong_type = write(folder.path(), "wrong-type", &kubeconfig.replace("USER", "3"));
    let no_yaml = write(folder.path(), "no-yaml", &kubeconfig.replace("USER", "["));
    let rows = [
        (&good, "error: the kubeconfig has no user \"nope\"\nhint: its users: alice, bob\n"),
        (&wrong_type, "wrong-type: users[1]: invalid type"),
        (&no_yaml, "no-yaml: "),
    ];
    for (file, expected) in rows {
        let run = run_with(["probe", "--user", "nope", "--kubeconfig", file.to_str().unwrap()]);
        assert_eq!(run.code, Some(4), "{run}");
        assert!(run.stderr.contains(expected), "{run}");
    }
}

#[test]
fn a_sandbox_that_ends_with_the_command_is_not_to_be_restored() {
    for (arguments, code) in
        [("enable-mtls --sandbox --yes", 0), ("enable-mtls --sandbox --yes --quiet --report tap=-", 0), ("demo", 0)]
    {
        let run = run(arguments);
        assert_eq!(run.code, Some(code), "{run}");
        assert!(!run.all().contains("--restore") && !run.all().contains("undo with"), "{arguments}: {run}");
    }
}

#[test]
fn as_a_plugin_the_help_has_the_command_of_kubectl() {
    for (file, name) in
        [("kubectl-secure_traffic", "kubectl secure-traffic"), ("oc-secure_traffic", "oc secure-traffic")]
    {
        for arguments in [&["--help"][..], &["probe", "-h"], &["enable-mtls", "--help"], &["probe", "--nope"]] {
            let mut command = command();
            command.arg0(format!("/usr/local/bin/{file}")).args(arguments);
            let run = finish(command);
            let text = run.all();
            assert!(text.contains(&format!("Usage: {name}")), "{run}");
            assert!(!text.replace(name, "").contains("secure-traffic "), "{run}");
        }
    }
}
