use crate::helpers::{CliRun, Stage, command, run, run_with, shows};
use secure_traffic::sandbox::State;
use std::process::{Command, Stdio};

const COMMANDS: [&str; 15] = [
    "enable-mtls",
    "disable-mtls",
    "probe",
    "status",
    "rehearse",
    "demo",
    "sandbox",
    "cleanup",
    "rbac",
    "completions",
    "explain",
    "options",
    "history",
    "version",
    "man",
];

#[test]
fn help_is_on_stdout_with_examples_and_exit_codes() {
    let main = run("--help");
    assert_eq!((main.code, main.stderr.as_str()), (Some(0), ""), "{main}");
    assert!(main.stdout.contains("Exit codes:") && main.stdout.contains("129, 130, 143  stopped by SIGHUP"), "{main}");
    for name in COMMANDS {
        assert!(main.stdout.contains(&format!("  {name} ")), "{name}");
        let help = run(&format!("{name} --help"));
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(help.stdout.contains(&format!("Usage: secure-traffic {name}")), "{name}: {help}");
        assert!(help.stdout.contains("Examples:"), "{name} has no examples");
        let widest = help.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(120), "{name}: {widest:?}");
        assert_eq!(run(&format!("help {name}")).code, Some(0));
        assert_eq!(run(&format!("{name} --no-such-flag")).code, Some(2), "{name}");
    }
}

#[test]
fn exit_codes_are_in_the_help_of_every_command() {
    for name in COMMANDS {
        assert!(run(&format!("{name} --help")).stdout.contains("Exit codes:"), "{name}");
    }
}

/// `-h` is one screen: own options, one example, and where the others are.
#[test]
fn short_help_fits_a_terminal() {
    let mut main = secure_traffic::cli::command(None).term_width(80);
    main.build();
    let mut commands: Vec<clap::Command> = main.get_subcommands().cloned().collect();
    assert!(COMMANDS.iter().all(|name| commands.iter().any(|command| command.get_name() == *name)));
    commands.push(main);
    for command in &mut commands {
        let help = command.render_help().to_string();
        let name = command.get_name();
        assert!(help.lines().count() <= 45, "{name}: {} lines\n{help}", help.lines().count());
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        if name != "help" {
            assert!(help.contains("`secure-traffic options`") && !help.contains("--kubeconfig"), "{help}");
            assert!(name == "secure-traffic" || help.contains("\nExample:\n  "), "{help}");
        }
    }
}

#[test]
fn commands_without_a_cluster_list_no_options_of_a_cluster_and_accept_them() {
    for name in ["completions", "explain", "options", "man"] {
        let help = run(&format!("{name} --help"));
        assert!(!help.stdout.contains("--kubeconfig") && help.stdout.contains("--color"), "{name}: {help}");
    }
    let rbac = run("rbac --help");
    assert!(rbac.stdout.contains("--namespace") && !rbac.stdout.contains("--token"), "{rbac}");
    let [before, after] = ["--context x -n shop options", "options --context x -n shop"].map(run);
    assert_eq!((before.code, after.code), (Some(0), Some(0)), "{before}{after}");
    for option in ["--namespace", "--kubeconfig", "--sandbox", "--color", "--as-uid"] {
        assert!(before.stdout.contains(option), "{option}: {before}");
    }
    assert_eq!(run("rbac cleanup -n shop").stdout, run("-n shop rbac cleanup").stdout);
}

#[test]
fn findings_and_reasons_are_explained() {
    shows!(run("explain dns"), @r#"
    exit 0
    --- stdout
    dns: the reason of an inconclusive verdict

      The Service's name did not resolve in the probe pod.

      What to do: Check the name and --cluster-domain, and that the cluster's DNS
      answers pods of this namespace.

      `probe --explain` has what was seen. All reasons: docs/verdicts.md
    "#);
    shows!(run("explain plaintext-strict"), @r#"
    exit 2
    --- stderr
    error: no finding and no reason is called "plaintext-strict"
    hint: similar: plaintext-to-strict, plaintext-seen
    "#);
    let all = run("explain");
    assert!(all.code == Some(0) && all.stdout.contains("plaintext-to-strict") && all.stdout.contains("dns"), "{all}");
    assert_eq!(run("explain envoy-filter").code, Some(0));
}

#[test]
fn versions_are_those_that_can_be_read() {
    let client = run("version");
    assert_eq!(client.code, Some(0), "{client}");
    assert_eq!(client.stdout, format!("secure-traffic  {}\n", env!("CARGO_PKG_VERSION")));
    assert!(client.stderr.contains("no cluster: "), "{client}");
    let json = run("version -o json").json();
    assert!(json["version"] == env!("CARGO_PKG_VERSION") && json.get("kubernetesVersion").is_none(), "{json}");
    let sandbox = run("version --sandbox -o json").json();
    assert!(sandbox["kubernetesVersion"].as_str().is_some_and(|version| version.starts_with("v1.")), "{sandbox}");
    assert_eq!(sandbox["controlPlanes"], serde_json::json!([]));
    let named = run("version --kubeconfig /nonexistent/kubeconfig");
    assert_eq!((named.code, named.stdout.as_str()), (Some(4), ""), "{named}");
    let silent = run("version --server http://127.0.0.1:1 --request-timeout 2s");
    assert!(silent.code == Some(0) && silent.stderr.contains("could not ask the API server"), "{silent}");
    assert!(silent.stdout.contains("Kubernetes      unknown (http://127.0.0.1:1"), "{silent}");
}

#[test]
fn usage_errors_are_2_and_on_stderr() {
    for arguments in [
        "",
        "--no-such-flag",
        "nosuch",
        "probe --namespace",
        "probe -n Not_A_Name",
        "probe --request-timeout soon",
        "completions tcsh",
        "sandbox --port 70000",
        "cleanup now",
        "--color sometimes probe",
    ] {
        let run = run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments}: {run}");
        assert!(!run.stderr.is_empty(), "{arguments}");
    }
    shows!(run("probe --no-such-flag"), @r#"
    exit 2
    --- stderr
    error: unexpected argument '--no-such-flag' found

      tip: to pass '--no-such-flag' as a value, use '-- --no-such-flag'

    Usage: secure-traffic probe [OPTIONS] [TARGET]...

    For more information, try '--help'.
    "#);
    shows!(run("enable-mtl"), @r#"
    exit 2
    --- stderr
    error: unrecognized subcommand 'enable-mtl'

      tip: some similar subcommands exist: 'disable-mtls', 'enable-mtls'

    Usage: secure-traffic [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
}

#[test]
fn the_version() {
    shows!(run("--version"), @r#"
    exit 0
    --- stdout
    secure-traffic [version]
    "#);
}

#[test]
fn completions_and_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = run(&format!("completions {shell}"));
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{shell}");
        // A script contains the commands, or asks for them at each TAB.
        let is_complete = run.stdout.contains("enable-mtls") && run.stdout.contains("per-endpoint");
        assert!(is_complete || run.stdout.contains(&format!("SECURE_TRAFFIC_COMPLETE={shell} ")), "{shell}");
    }
    let page = run("man");
    assert!(page.code == Some(0) && page.stdout.contains(".TH secure-traffic 1"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    let written = run_with(["man", "--directory", directory.path().to_str().unwrap()]);
    assert_eq!((written.code, written.all().as_str()), (Some(0), ""), "{written}");
    assert!(directory.path().join("secure-traffic-probe.1").exists());
    let nowhere = run("man --directory /nonexistent/x");
    assert_eq!(nowhere.code, Some(4));
    assert!(nowhere.stderr.contains("could not write /nonexistent/x/secure-traffic.1"), "{nowhere}");
}

#[test]
fn cleanup_removes_what_is_left() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("cleanup"), @r#"
    exit 0
    --- stderr
    no probe pods in namespace microservices-demo
    "#);
    let left = stage.run("probe --dry-run boards");
    let pod = secure_traffic::istio::yaml::read_one(&left.stdout).unwrap();
    let api = stage.pods();
    let pod = serde_json::from_value(pod).unwrap();
    stage.runtime.block_on(api.create(&kube::api::PostParams::default(), &pod)).unwrap();
    assert_eq!(stage.probe_pods().len(), 1);
    shows!(stage.run("cleanup"), @r#"
    exit 0
    --- stdout
    pod/secure-traffic-probe-[word] deleted
    "#);
    assert!(stage.probe_pods().is_empty());
}

/// What is piped into a reader that leaves after one line.
fn into_head(arguments: &str) -> CliRun {
    let program = command().get_program().to_owned();
    let script = format!("\"$0\" {arguments} | head -n 1; exit \"${{PIPESTATUS[0]}}\"");
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(script).arg(program).env("HOME", "/nonexistent").env_remove("KUBECONFIG").stdin(Stdio::null());
    crate::helpers::finish(bash)
}

#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in ["completions bash", "man", "--help", "probe --sandbox -o json"] {
        let run = into_head(arguments);
        assert_eq!(run.code, Some(0), "{arguments}: {run}");
        assert!(!run.stderr.contains("panic") && !run.stderr.contains("error"), "{arguments}: {run}");
        assert_eq!(run.stdout.lines().count(), 1, "{arguments}");
    }
}

#[test]
fn quiet_leaves_results_and_errors() {
    let run = run("probe --sandbox -q --attempts 1 boards");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run}");
    assert!(run.stdout.starts_with("boards:8080  accepted\n"), "{run}");
}

#[test]
fn rights_are_printed_with_their_reasons_and_without_a_cluster() {
    shows!(run("rbac cleanup -n shop"), @r#"
    exit 0
    --- stdout
    # The least rights for `secure-traffic cleanup -n shop`.
    #
    # In namespace shop:
    # - pods: Probe pods that are left.
    apiVersion: v1
    kind: ServiceAccount
    metadata:
      name: secure-traffic-cleanup
      namespace: shop
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: Role
    metadata:
      name: secure-traffic-cleanup
      namespace: shop
    rules:
    - apiGroups:
      - ""
      resources:
      - pods
      verbs:
      - list
      - delete
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: RoleBinding
    metadata:
      name: secure-traffic-cleanup
      namespace: shop
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: Role
      name: secure-traffic-cleanup
    subjects:
    - kind: ServiceAccount
      name: secure-traffic-cleanup
      namespace: shop
    "#);
    shows!(run("rbac probe -n shop --from-namespace ci --service-account smoke -i mesh --revision canary --port-forward"), @r#"
    exit 0
    --- stdout
    # The least rights for `secure-traffic probe -n shop`.
    #
    # In namespace shop:
    # - services, endpointslices: Which Services there are, and which endpoints stand behind them.
    # - pods: Which pods are in the mesh, and which probe pods an earlier run has left.
    # - peerauthentications, destinationrules: What holds in the namespace.
    # - workloadentries, sidecars: Endpoints that are no pods, and listeners of a Sidecar: without it a rule could be written for what takes none.
    # - envoyfilters: EnvoyFilters that change what the proxies accept: without it their effect on a verdict is not known.
    # - configmaps: The mesh root, against which certificates are verified: without it nothing is proven to be rejected.
    # - pods/portforward: The endpoints' own proxies. It opens all of their admin interface: leave it out where that is too much.
    #
    # In namespace ci:
    # - services, endpointslices: Which Services there are, and which endpoints stand behind them.
    # - pods: Which pods are in the mesh, and which probe pods an earlier run has left.
    # - pods, pods/log: The throwaway pod: made, watched, read back, read out, removed.
    #
    # In namespace mesh:
    # - configmaps: The settings of the mesh.
    # - envoyfilters: EnvoyFilters that change what the proxies accept: without it their effect on a verdict is not known.
    # - peerauthentications: The policies of the whole mesh: without them a namespace that has no mode of its own is `mode-unknown`.
    # - destinationrules: The rules of the whole mesh, which a new rule of the namespace would hide.
    apiVersion: v1
    kind: ServiceAccount
    metadata:
      name: smoke
      namespace: shop
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: Role
    metadata:
      name: smoke
      namespace: shop
    rules:
    - apiGroups:
      - ""
      resources:
      - services
      verbs:
      - list
    - apiGroups:
      - discovery.k8s.io
      resources:
      - endpointslices
      verbs:
      - list
    - apiGroups:
      - ""
      resources:
      - pods
      verbs:
      - list
    - apiGroups:
      - security.istio.io
      resources:
      - peerauthentications
      verbs:
      - list
    - apiGroups:
      - networking.istio.io
      resources:
      - destinationrules
      verbs:
      - list
    - apiGroups:
      - networking.istio.io
      resources:
      - workloadentries
      verbs:
      - list
    - apiGroups:
      - networking.istio.io
      resources:
      - sidecars
      verbs:
      - list
    - apiGroups:
      - networking.istio.io
      resources:
      - envoyfilters
      verbs:
      - list
    - apiGroups:
      - ""
      resourceNames:
      - istio-ca-root-cert
      resources:
      - configmaps
      verbs:
      - get
    - apiGroups:
      - ""
      resources:
      - pods/portforward
      verbs:
      - get
      - create
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: RoleBinding
    metadata:
      name: smoke
      namespace: shop
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: Role
      name: smoke
    subjects:
    - kind: ServiceAccount
      name: smoke
      namespace: shop
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: Role
    metadata:
      name: smoke-shop
      namespace: ci
    rules:
    - apiGroups:
      - ""
      resources:
      - services
      verbs:
      - list
    - apiGroups:
      - discovery.k8s.io
      resources:
      - endpointslices
      verbs:
      - list
    - apiGroups:
      - ""
      resources:
      - pods
      verbs:
      - list
      - create
      - watch
      - delete
    - apiGroups:
      - ""
      resources:
      - pods/log
      verbs:
      - get
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: RoleBinding
    metadata:
      name: smoke-shop
      namespace: ci
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: Role
      name: smoke-shop
    subjects:
    - kind: ServiceAccount
      name: smoke
      namespace: shop
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: Role
    metadata:
      name: smoke-shop
      namespace: mesh
    rules:
    - apiGroups:
      - ""
      resourceNames:
      - istio-canary
      resources:
      - configmaps
      verbs:
      - get
    - apiGroups:
      - networking.istio.io
      resources:
      - envoyfilters
      verbs:
      - list
    - apiGroups:
      - security.istio.io
      resources:
      - peerauthentications
      verbs:
      - list
    - apiGroups:
      - networking.istio.io
      resources:
      - destinationrules
      verbs:
      - list
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: RoleBinding
    metadata:
      name: smoke-shop
      namespace: mesh
    roleRef:
      apiGroup: rbac.authorization.k8s.io
      kind: Role
      name: smoke-shop
    subjects:
    - kind: ServiceAccount
      name: smoke
      namespace: shop
    "#);
    let list: serde_json::Value = run("rbac enable-mtls --legacy -o json").json();
    let kinds: Vec<&str> = list["items"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        ["ServiceAccount", "Role", "RoleBinding", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]
    );
    assert_eq!(run("rbac").code, Some(2));
    assert_eq!(run("rbac sandbox").code, Some(2));
}
