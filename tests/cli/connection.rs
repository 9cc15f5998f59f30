use crate::helpers::{command, dead_port, finish, run, run_with, shows, write};
use std::time::{Duration, Instant};

#[test]
fn without_any_kubeconfig() {
    shows!(run("probe boards"), @r#"
    exit 4
    --- stderr
    error: no kubeconfig found, and not running inside a cluster
    hint: set KUBECONFIG or --kubeconfig, or try it without a cluster: --sandbox
    "#);
    let mut nowhere = command();
    nowhere.env("KUBECONFIG", "/nonexistent/config").args(["probe", "boards"]);
    shows!(finish(nowhere), @r#"
    exit 4
    --- stderr
    error: no kubeconfig found, and not running inside a cluster
    hint: set KUBECONFIG or --kubeconfig, or try it without a cluster: --sandbox
    "#);
    shows!(run("probe boards --kubeconfig /nonexistent/config"), @r#"
    exit 4
    --- stderr
    error: the kubeconfig cannot be used: /nonexistent/config does not exist
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

#[test]
fn a_server_without_a_scheme_has_the_scheme_that_kubectl_assumes() {
    let port = dead_port();
    for (arguments, scheme) in [("", "http"), ("--insecure-skip-tls-verify", "https")] {
        let run = run(&format!("probe boards -s 127.0.0.1:{port} {arguments}"));
        assert_eq!(run.code, Some(4), "{run}");
        assert!(run.stderr.contains(&format!("at {scheme}://127.0.0.1:{port}: ")), "{run}");
    }
    let nonsense = run("probe boards -s nonsense.invalid");
    assert_eq!(nonsense.code, Some(4), "{nonsense}");
    assert!(nonsense.stderr.contains("at http://nonsense.invalid: "), "{nonsense}");
}

#[test]
fn no_message_repeats_the_password_of_an_address() {
    for arguments in [
        "probe boards -s not-a-url://",
        "probe boards -s ftp://me:sekrit@host",
        "probe boards -s https://me:sekrit@host:99999",
        "probe boards -s me:sekrit@host/path",
        "status --prometheus me:sekrit@host",
        "status --prometheus ftp://me:sekrit@host",
        "status --prometheus host?token=sekrit",
        "enable-mtls --check-url ftp://me:sekrit@host",
    ] {
        let run = run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments}: {run}");
        assert!(run.stderr.contains("error: invalid value for '--"), "{arguments}: {run}");
        assert!(!run.stderr.contains("sekrit"), "{arguments}: {run}");
    }
    let directory = tempfile::tempdir().unwrap();
    for server in [
        format!("https://me:sekrit@127.0.0.1:{}/?token=sekrit#sekrit", dead_port()),
        format!("http://me:sekrit@127.0.0.1:{}/api", dead_port()),
        "https://me:sekrit@host:99999".to_owned(),
        "ftp://me:sekrit@host".to_owned(),
        "me:sekrit@host/path".to_owned(),
    ] {
        let config = format!(
            "current-context: a\nclusters: [{{name: a, cluster: {{server: '{server}'}}}}]\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n"
        );
        let path = write(directory.path(), "config", &config);
        let run = run_with(["probe", "boards", "-v", "--kubeconfig", path.to_str().unwrap()]);
        assert_eq!(run.code, Some(4), "{server}: {run}");
        assert!(!run.all().contains("sekrit"), "{server}: {run}");
    }
}

#[test]
fn commands_without_contact_use_the_namespace_of_the_context() {
    let directory = tempfile::tempdir().unwrap();
    let config = "current-context: a\ncontexts: [{name: a, context: {cluster: gone, user: gone, namespace: shop}}, {name: b, context: {cluster: a}}]\nclusters: [{name: gone, cluster: {}}, {name: a, cluster: {}}]\n";
    let path = write(directory.path(), "config", config);
    for arguments in ["enable-mtls --dry-run=client -o yaml boards", "rbac probe"] {
        for (options, namespace) in
            [("", "shop"), ("--context b", "default"), ("-n other", "other"), ("--sandbox", "default")]
        {
            let mut command = command();
            command.env("KUBECONFIG", &path).args(arguments.split_whitespace()).args(options.split_whitespace());
            let run = finish(command);
            assert_eq!(run.code, Some(0), "{run}");
            assert!(run.stdout.contains(&format!("namespace: {namespace}\n")), "{arguments} {options}: {run}");
        }
    }
    let mut nowhere = command();
    nowhere.args(["rbac", "probe"]);
    assert!(finish(nowhere).stdout.contains("namespace: default\n"));
}

#[test]
fn missing_files_of_kubeconfig_are_passed_over() {
    let stage = crate::helpers::Stage::new(secure_traffic::sandbox::State::Permissive, &[]);
    let mut command = command();
    let paths = std::env::join_paths(["/nonexistent/config".into(), stage.kubeconfig()]).unwrap();
    command.env("KUBECONFIG", paths).args(["status", "boards"]);
    let run = finish(command);
    assert!(run.stdout.contains("boards"), "{run}");
}
