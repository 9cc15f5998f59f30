use crate::helpers::{command, dead_port, finish, run, run_with, shows, write};
use std::time::{Duration, Instant};

#[test]
fn without_any_kubeconfig() {
    shows!(run("probe boards"), @r#"
    exit 4
    --- stderr
    error: no kubeconfig found, and this is no pod of a cluster
    hint: set KUBECONFIG or --kubeconfig, or try it without a cluster: --sandbox
    "#);
    let mut nowhere = command();
    nowhere.env("KUBECONFIG", "/nonexistent/config").args(["probe", "boards"]);
    shows!(finish(nowhere), @r#"
    exit 4
    --- stderr
    error: no kubeconfig found, and this is no pod of a cluster
    hint: set KUBECONFIG or --kubeconfig, or try it without a cluster: --sandbox
    "#);
    shows!(run("probe boards --kubeconfig /nonexistent/config"), @r#"
    exit 4
    --- stderr
    error: the kubeconfig cannot be used: failed to read kubeconfig from '"/nonexistent/config"': No such file or directory (os error 2)
    hint: see `kubectl config view`; --kubeconfig names another file
    "#);
}

#[test]
fn an_empty_or_invalid_kubeconfig() {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("empty", ""),
        ("prose", "this is no kubeconfig"),
        ("syntax", "apiVersion: v1\nclusters: [{\n"),
        ("binary", "\u{0}\u{1}\u{2}"),
        ("list", "- 1\n- 2\n"),
        ("no-context", "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n"),
        (
            "dangling-context",
            "apiVersion: v1\nkind: Config\ncurrent-context: gone\nclusters: []\nusers: []\ncontexts: []\n",
        ),
        (
            "dangling-cluster",
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: gone, user: gone}}]\n",
        ),
        (
            "no-url",
            "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: 'not a url'}}]\nusers: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n",
        ),
    ] {
        let path = write(directory.path(), name, text);
        let run = run_with(["probe", "boards", "--kubeconfig", path.to_str().unwrap()]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{name}: {run}");
        assert!(run.stderr.contains("error: ") && run.stderr.contains("hint: "), "{name}: {run}");
        assert!(!run.stderr.contains("panic"), "{name}: {run}");
    }
    let path =
        write(directory.path(), "config", "apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\n");
    shows!(run_with(["probe", "boards", "--kubeconfig", path.to_str().unwrap()]), @r#"
    exit 4
    --- stderr
    error: the kubeconfig has no current context
    hint: choose one with --context or `kubectl config use-context`; --sandbox needs none
    "#);
}

#[cfg(unix)]
#[test]
fn a_kubeconfig_that_is_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let run = run_with(["probe", "boards", "--kubeconfig", directory.path().to_str().unwrap()]);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("directory"), "{run}");
}

#[test]
fn an_unknown_context_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let config = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}]\nusers: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n";
    let path = write(directory.path(), "config", config);
    let run = run_with(["probe", "boards", "--context", "production", "--kubeconfig", path.to_str().unwrap()]);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("production") && run.stderr.contains("hint: "), "{run}");
}

#[test]
fn an_unreachable_server_is_reported_quickly() {
    let begin = Instant::now();
    shows!(run(&format!("enable-mtls --yes --server http://127.0.0.1:{}", dead_port())), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: Connection refused (os error 111)
    hint: check that the API server of this context is up (`kubectl cluster-info`); --context chooses another, and --sandbox needs none
    "#);
    assert_eq!(run(&format!("probe --server https://127.0.0.1:{}", dead_port())).code, Some(4));
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(run("probe --server not-a-url://").code, Some(4));
}

#[test]
fn an_untrusted_certificate_is_refused() {
    let stage = crate::helpers::Stage::new(secure_traffic::sandbox::State::Permissive, &[]);
    let config = std::fs::read_to_string(stage.kubeconfig()).unwrap();
    let kept: Vec<&str> = config.lines().filter(|line| !line.contains("certificate-authority-data")).collect();
    let without = kept.join(
        "
",
    );
    let path = write(stage.directory.path(), "no-ca", &without);
    let run = run_with(["probe", "boards", "--kubeconfig", path.to_str().unwrap()]);
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("--certificate-authority"), "{run}");
    let insecure = run_with([
        "probe",
        "boards",
        "--attempts",
        "1",
        "-q",
        "--insecure-skip-tls-verify",
        "--kubeconfig",
        path.to_str().unwrap(),
    ]);
    assert_eq!(insecure.code, Some(0), "{insecure}");
    let wrong = run_with(["probe", "boards", "--token", "wrong", "--kubeconfig", stage.kubeconfig().to_str().unwrap()]);
    assert_eq!(wrong.code, Some(4), "{wrong}");
    assert!(wrong.stderr.contains("Unauthorized") && wrong.stderr.contains("log in again"), "{wrong}");
}
