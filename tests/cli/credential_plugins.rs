//! Credential plugins of the kubeconfig: what they get, what fails, and what ends them.

use crate::helpers::{CliRun, Stage, command, finish, write};
use secure_traffic::sandbox::State;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The entry of a plugin that runs a shell script.
fn plugin(script: &str) -> Value {
    json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script, "sekrit-argument"],
        "env": [{"name": "PLUGIN_SECRET", "value": "sekrit-environment"}], "interactiveMode": "IfAvailable",
    }})
}

/// Runs `probe` with a kubeconfig of this user; no server listens at its address.
fn run_as(directory: &Path, user: &Value, arguments: &str) -> CliRun {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "users": [{"name": "a", "user": user}],
    });
    let mut command = command();
    command.env("KUBECONFIG", write(directory, "config", &config.to_string()));
    command.args(["probe", "boards"]).args(arguments.split_whitespace());
    finish(command)
}

#[test]
fn a_plugin_gets_the_cluster_and_its_token_is_used() {
    let stage = Stage::new(State::Permissive, &[]);
    let info = stage.directory.path().join("info");
    let kubeconfig = stage.edited_kubeconfig(|_, user| {
        let token = user["token"].as_str().unwrap().to_owned();
        // The token has expired, so each request needs a new one.
        let printed = json!({
            "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
            "status": {"token": token, "expirationTimestamp": "2020-01-01T00:00:00Z"},
        });
        let script = format!("printf '%s\\n' \"$KUBERNETES_EXEC_INFO\" >> {}; echo '{printed}'", info.display());
        *user = plugin(&script);
        user["exec"]["provideClusterInfo"] = true.into();
    });
    let mut command = command();
    command.env("KUBECONFIG", kubeconfig).args(["status", "boards"]);
    let run = finish(command);
    assert!(matches!(run.code, Some(0 | 1)) && run.stdout.contains("boards"), "{run}");
    let infos = std::fs::read_to_string(info).unwrap();
    assert!(infos.lines().count() > 1, "{infos}");
    let info: Value = serde_json::from_str(infos.lines().next().unwrap()).unwrap();
    assert_eq!((&info["kind"], &info["spec"]["interactive"]), (&json!("ExecCredential"), &json!(false)));
    assert_eq!(info["apiVersion"], "client.authentication.k8s.io/v1");
    let cluster = &info["spec"]["cluster"];
    assert!(cluster["server"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{cluster}");
    assert!(!cluster["certificate-authority-data"].as_str().unwrap().is_empty(), "{cluster}");
}

#[test]
fn a_failing_plugin_is_named_without_its_arguments_environment_and_output() {
    let directory = tempfile::tempdir().unwrap();
    let credential = |status: &str| {
        format!(
            "echo '{{\"kind\":\"ExecCredential\",\"apiVersion\":\"client.authentication.k8s.io/v1\",\"status\":{status}}}'"
        )
    };
    let mut missing = plugin("");
    missing["exec"]["command"] = "no-such-plugin".into();
    missing["exec"]["installHint"] = "brew install no-such-plugin".into();
    let mut old = plugin("");
    old["exec"]["apiVersion"] = "client.authentication.k8s.io/v1alpha1".into();
    let mut always = plugin("");
    always["exec"]["interactiveMode"] = "Always".into();
    for (user, reason) in [
        (plugin("echo sekrit-output; exit 7"), "\"sh\" of the kubeconfig failed: exit status 7"),
        (plugin("echo sekrit-output; kill -9 $$"), "a signal ended it"),
        (plugin("echo sekrit-output"), "its output is no ExecCredential"),
        (plugin("exit 0"), "its output is no ExecCredential"),
        (plugin("head -c 2000000 /dev/zero"), "larger than 1 MiB"),
        (plugin(&credential(r#"{"token": "sekrit\\nsekrit"}"#)), "a line break"),
        (plugin(&credential(r#"{"clientKeyData": "sekrit"}"#)), "a key without a certificate"),
        (plugin(&credential("{}")), "neither a token nor a certificate"),
        (missing, "\"no-such-plugin\" is not installed\nhint: brew install no-such-plugin"),
        (old, "an apiVersion that is not supported"),
        (always, "it needs a terminal"),
        (
            json!({"auth-provider": {"name": "gcp", "config": {"cmd-args": "sekrit"}}}),
            "\"gcp\" of the kubeconfig is not supported",
        ),
    ] {
        let run = run_as(directory.path(), &user, "");
        assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{reason}: {run}");
        assert!(run.stderr.contains(reason) && run.stderr.contains("hint: "), "{reason}: {run}");
        assert!(!run.all().contains("sekrit") && !run.all().contains("panic"), "{reason}: {run}");
    }
}

#[test]
fn the_standard_error_of_a_plugin_reaches_the_terminal_and_no_report() {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let arguments = format!("--report json={}", report.display());
    let run = run_as(directory.path(), &plugin("echo open-the-browser >&2; exit 1"), &arguments);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.starts_with("open-the-browser\n"), "{run}");
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("exit status 1") && !report.contains("open-the-browser"), "{report}");
}

#[cfg(unix)]
#[test]
fn a_hanging_plugin_is_ended_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    for (number, ignore) in ["", "trap '' TERM;"].into_iter().enumerate() {
        let script = format!("{ignore} sleep 300 & echo $! $$ > {}; wait; sleep 300", pids.display());
        let begin = Instant::now();
        let run = run_as(directory.path(), &plugin(&script), "--timeout 1s");
        assert_eq!(run.code, Some(4), "{run}");
        assert!(run.stderr.contains("--timeout"), "{run}");
        assert!(begin.elapsed() < Duration::from_secs(8), "{number}: {:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(200));
        for pid in std::fs::read_to_string(&pids).unwrap().split_whitespace() {
            assert!(!is_running(pid), "{number}: {pid}");
        }
    }
}

/// Whether a process exists that has not ended; one that nobody waits for has ended.
#[cfg(unix)]
fn is_running(pid: &str) -> bool {
    let output = std::process::Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = pipe.to_str().unwrap();
    for (user, arguments) in [
        (json!({"tokenFile": path}), String::new()),
        (json!({"tokenFile": "/dev/zero"}), String::new()),
        (json!({"client-certificate": path, "client-key": path}), String::new()),
        (json!({}), format!("--certificate-authority {path}")),
    ] {
        let begin = Instant::now();
        let run = run_as(directory.path(), &user, &arguments);
        assert_eq!(run.code, Some(4), "{run}");
        assert!(run.stderr.contains("is not a regular file"), "{run}");
        assert!(run.stderr.contains(path) || run.stderr.contains("/dev/zero"), "{run}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{run}");
    }
    let mut endless = command();
    endless.args(["probe", "boards", "--timeout", "1s", "--kubeconfig", path]);
    let run = finish(endless);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("--timeout"), "{run}");
}
