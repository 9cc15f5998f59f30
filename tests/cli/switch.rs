use crate::helpers::{Stage, assert_keeps_to_schema, assert_objects, assert_verdicts, run, shows};
use secure_traffic::istio::yaml;
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::{Value, json};

#[test]
fn without_a_terminal_and_without_yes_nothing_is_written() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("enable-mtls"), @r#"
    exit 2
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    would change in namespace microservices-demo:
      + destinationrule/app-ui           tls ISTIO_MUTUAL
      + destinationrule/boards           tls ISTIO_MUTUAL
      + destinationrule/boards-mongodb   tls ISTIO_MUTUAL
      + destinationrule/context-scraper  tls ISTIO_MUTUAL
      + destinationrule/userprofile      tls ISTIO_MUTUAL
      + peerauthentication/default       mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    error: 6 objects would change, and there is no terminal to ask on
    hint: pass --yes to apply the changes, or --dry-run=server to see what would happen
    "#);
    let policies = stage.run("enable-mtls --diff -q");
    assert_eq!(policies.code, Some(1), "everything is still to be done");
    assert_eq!(policies.stdout.matches("\n+kind: ").count(), 6, "{policies}");
}

#[test]
fn enable_twice_and_disable() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("enable-mtls --yes"), @r"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/app-ui created
    destinationrule.networking.istio.io/boards created
    destinationrule.networking.istio.io/boards-mongodb created
    destinationrule.networking.istio.io/context-scraper created
    destinationrule.networking.istio.io/userprofile created
    peerauthentication.security.istio.io/default created
    TARGET                 VERDICT    MODE     SEEN
    app-ui:8080            rejected   STRICT   reset by the mesh 3/3
    boards:8080            rejected   STRICT   reset by the mesh 3/3
    boards-mongodb:27017   rejected   STRICT   reset by the mesh 3/3
    context-scraper:9100   rejected   STRICT   reset by the mesh 3/3
    userprofile:8080       rejected   STRICT   reset by the mesh 3/3
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/app-ui           tls ISTIO_MUTUAL
      + destinationrule/boards           tls ISTIO_MUTUAL
      + destinationrule/boards-mongodb   tls ISTIO_MUTUAL
      + destinationrule/context-scraper  tls ISTIO_MUTUAL
      + destinationrule/userprofile      tls ISTIO_MUTUAL
      + peerauthentication/default       mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    ✓ policy in force after [seconds] s at 5 endpoints
    5 targets: 5 rejected, 0 accepted, 0 inconclusive ([seconds] s)
    in-mesh calls during the change: [all] succeeded, at 5 targets (the client's sidecar retries HTTP calls)
    undo with: secure-traffic disable-mtls -n microservices-demo --restore
    ");
    let again = stage.run("enable-mtls --yes --verify=false");
    assert_eq!(again.code, Some(0), "{again}");
    assert_objects(&again, "unchanged");
    let unchanged = stage.run("enable-mtls --diff");
    assert_eq!((unchanged.code, unchanged.stdout.as_str()), (Some(0), ""), "{unchanged}");
    // Nothing to ask about: no terminal is needed.
    assert_eq!(stage.run("enable-mtls --verify=false").code, Some(0));
    shows!(stage.run("disable-mtls --yes"), @r#"
    exit 0
    --- stdout
    peerauthentication.security.istio.io/default configured
    destinationrule.networking.istio.io/app-ui configured
    destinationrule.networking.istio.io/boards configured
    destinationrule.networking.istio.io/boards-mongodb configured
    destinationrule.networking.istio.io/context-scraper configured
    destinationrule.networking.istio.io/userprofile configured
    TARGET                 VERDICT    MODE         SEEN
    app-ui:8080            accepted   PERMISSIVE   HTTP 200
    boards:8080            accepted   PERMISSIVE   HTTP 200
    boards-mongodb:27017   accepted   PERMISSIVE   bytes came back, not HTTP
    context-scraper:9100   accepted   PERMISSIVE   HTTP 200
    userprofile:8080       accepted   PERMISSIVE   HTTP 200
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    changes in namespace microservices-demo:
      ~ peerauthentication/default       mode STRICT → PERMISSIVE
      ~ destinationrule/app-ui           tls ISTIO_MUTUAL → none
      ~ destinationrule/boards           tls ISTIO_MUTUAL → none
      ~ destinationrule/boards-mongodb   tls ISTIO_MUTUAL → none
      ~ destinationrule/context-scraper  tls ISTIO_MUTUAL → none
      ~ destinationrule/userprofile      tls ISTIO_MUTUAL → none
    open connections to these ports end within 45 s (drain time), mutual TLS too
    ✓ policy in force after [seconds] s at 5 endpoints
    5 targets: 0 rejected, 5 accepted, 0 inconclusive ([seconds] s)
    in-mesh calls during the change: [all] succeeded, at 5 targets (the client's sidecar retries HTTP calls)
    peerauthentication/default stays with PERMISSIVE, which exempts the namespace from a STRICT of the mesh; delete it with: kubectl delete peerauthentication default -n microservices-demo
    rules stay with a host alone, and hide rules of the mesh's root namespace for it; delete them with: kubectl delete destinationrule app-ui boards boards-mongodb context-scraper userprofile -n microservices-demo
    "#);
    let names = stage.run("disable-mtls --yes --verify=false -o name");
    assert_eq!(names.code, Some(0), "{names}");
    assert_objects(&names, "");
    assert_eq!(stage.run("probe --expect accepted -q").code, Some(0));
    assert!(stage.probe_pods().is_empty());
}

#[test]
fn one_service_of_many() {
    shows!(run("enable-mtls --sandbox --yes --settle 0 boards"), @r"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/boards created
    peerauthentication.security.istio.io/default created
    boards:8080  rejected
      seen       reset by the mesh 3/3
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
      control    a client in the mesh gets through: HTTP 200
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: the policy holds for the whole namespace: STRICT for app-ui, boards-mongodb, context-scraper, userprofile too
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/boards      tls ISTIO_MUTUAL
      + peerauthentication/default  mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    ✓ policy in force after [seconds] s at 1 endpoint
    1 target: 1 rejected, 0 accepted, 0 inconclusive ([seconds] s)
    in-mesh calls during the change: [all] succeeded, at 1 target (the client's sidecar retries HTTP calls)
    ");
}

#[test]
fn rendered_offline_byte_for_byte() {
    shows!(run("enable-mtls --dry-run=client -n shop -o yaml boards"), @r#"
    exit 0
    --- stdout
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata:
      labels:
        app.kubernetes.io/managed-by: secure-traffic
      name: boards
      namespace: shop
    spec:
      host: boards.shop.svc.cluster.local
      trafficPolicy:
        tls:
          mode: ISTIO_MUTUAL
    ---
    apiVersion: security.istio.io/v1
    kind: PeerAuthentication
    metadata:
      labels:
        app.kubernetes.io/managed-by: secure-traffic
      name: default
      namespace: shop
    spec:
      mtls:
        mode: STRICT
    "#);
    shows!(run("enable-mtls --dry-run -n shop -o json boards"), @r#"
    exit 0
    --- stdout
    {
      "apiVersion": "v1",
      "items": [
        {
          "apiVersion": "networking.istio.io/v1",
          "kind": "DestinationRule",
          "metadata": {
            "labels": {
              "app.kubernetes.io/managed-by": "secure-traffic"
            },
            "name": "boards",
            "namespace": "shop"
          },
          "spec": {
            "host": "boards.shop.svc.cluster.local",
            "trafficPolicy": {
              "tls": {
                "mode": "ISTIO_MUTUAL"
              }
            }
          }
        },
        {
          "apiVersion": "security.istio.io/v1",
          "kind": "PeerAuthentication",
          "metadata": {
            "labels": {
              "app.kubernetes.io/managed-by": "secure-traffic"
            },
            "name": "default",
            "namespace": "shop"
          },
          "spec": {
            "mtls": {
              "mode": "STRICT"
            }
          }
        }
      ],
      "kind": "List"
    }
    "#);
    shows!(run("enable-mtls --dry-run=client -n shop -o name boards app-ui"), @r#"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/app-ui
    destinationrule.networking.istio.io/boards
    peerauthentication.security.istio.io/default
    "#);
    shows!(run("disable-mtls --dry-run=client -n shop boards"), @r#"
    exit 0
    --- stdout
    peerauthentication.security.istio.io/default created (dry run)
    destinationrule.networking.istio.io/boards created (dry run)
    "#);
    shows!(run("enable-mtls --dry-run=client -n on -o yaml --policy-api v1alpha1 --service no"), @r#"
    exit 0
    --- stdout
    apiVersion: networking.istio.io/v1alpha3
    kind: DestinationRule
    metadata:
      labels:
        app.kubernetes.io/managed-by: secure-traffic
      name: "no"
      namespace: "on"
    spec:
      host: no.on.svc.cluster.local
      trafficPolicy:
        tls:
          mode: ISTIO_MUTUAL
    ---
    apiVersion: authentication.istio.io/v1alpha1
    kind: Policy
    metadata:
      labels:
        app.kubernetes.io/managed-by: secure-traffic
      name: default
      namespace: "on"
    spec:
      peers:
      - mtls:
          mode: STRICT
    "#);
    let twice = || run("enable-mtls --dry-run=client -n shop -o yaml boards app-ui").stdout;
    assert_eq!(twice(), twice());
    assert_eq!(yaml::read_all(&twice()).unwrap().len(), 3);
}

#[test]
fn tables_can_do_without_their_heads() {
    let stage = Stage::new(State::Permissive, &[]);
    let first = |arguments: &str| {
        let run = stage.run(arguments);
        assert!(run.code == Some(0) || run.code == Some(1), "{run}");
        run.stdout
            .lines()
            .find(|line| line.contains(":8080") || line.starts_with("boards "))
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(first("probe boards --no-headers"), "boards:8080   accepted   PERMISSIVE   HTTP 200");
    for arguments in
        ["probe --no-headers", "probe -o wide --no-headers", "status --no-headers", "status -o wide --no-headers"]
    {
        let run = stage.run(arguments);
        assert_eq!(run.code, Some(0), "{run}");
        assert!(run.stdout.contains("boards") && !run.stdout.contains("MODE"), "{run}");
    }
    for arguments in ["probe -o json --no-headers", "status -o name --no-headers", "rehearse -o yaml --no-headers"] {
        let run = stage.run(arguments);
        assert_eq!(run.code, Some(2), "{run}");
        assert!(run.stderr.contains("--no-headers works only with -o table and -o wide"), "{run}");
    }
}

#[test]
fn offline_needs_the_names() {
    shows!(run("enable-mtls --dry-run=client --policy-api v1"), @r#"
    exit 2
    --- stderr
    error: --policy-api and --destination-rule-api are for Services that are named
    hint: name them (`enable-mtls --dry-run=client boards app-ui`), or let the cluster's versions count
    "#);
    let unreachable = run("enable-mtls --dry-run=client --server https://127.0.0.1:1");
    assert_eq!(unreachable.code, Some(4), "{}", unreachable.stderr);
    assert!(unreachable.stderr.contains("name the Services to render without a cluster"), "{}", unreachable.stderr);
    assert_eq!(run("enable-mtls --dry-run=client --scope=namespace boards").code, Some(2));
    assert_eq!(run("enable-mtls --dry-run=client Boards").code, Some(2));
    assert_eq!(run("enable-mtls --dry-run=client --destination-rules=never -o name boards").code, Some(0));
    assert_eq!(run("enable-mtls --policy-api v1 boards").code, Some(2), "without --dry-run");
    let versioned = run("disable-mtls --dry-run=server --destination-rule-api v1 boards");
    assert_eq!(versioned.code, Some(2), "{versioned}");
    assert!(versioned.stderr.contains("go only with --dry-run=client"), "{versioned}");
    let diff = run("enable-mtls --sandbox --diff -o json");
    assert_eq!(diff.code, Some(2), "{diff}");
    assert!(diff.stderr.contains("--diff has one format: leave -o out"), "{diff}");
    let pod = run("probe --sandbox --dry-run -o name boards");
    assert_eq!(pod.code, Some(2), "{pod}");
    assert!(pod.stderr.contains("--dry-run prints the probe pod"), "{pod}");
    let written = run("enable-mtls --sandbox --yes --verify=false --dry-run=none -o name boards");
    assert!(written.stdout.contains("peerauthentication.security.istio.io/default"), "{written}");
}

#[test]
fn without_services_a_client_dry_run_renders_what_would_be_applied() {
    let stage = Stage::new(State::Permissive, &[]);
    let listed = stage.run("enable-mtls --dry-run=client");
    shows!(listed.stdout, @r#"
    destinationrule.networking.istio.io/app-ui created (dry run)
    destinationrule.networking.istio.io/boards created (dry run)
    destinationrule.networking.istio.io/boards-mongodb created (dry run)
    destinationrule.networking.istio.io/context-scraper created (dry run)
    destinationrule.networking.istio.io/userprofile created (dry run)
    peerauthentication.security.istio.io/default created (dry run)
    "#);
    let rendered = stage.run("enable-mtls --dry-run=client -o yaml");
    assert_eq!(rendered.code, Some(0), "{}", rendered.stderr);
    let file = stage.directory.path().join("strict.yaml");
    std::fs::write(&file, &rendered.stdout).unwrap();
    assert_eq!(stage.run("enable-mtls --diff").code, Some(1), "nothing was written");
    let applied = stage.run(&format!("enable-mtls --yes -f {}", file.display()));
    assert_eq!(applied.code, Some(0), "{}", applied.stderr);
    assert_eq!(stage.run("enable-mtls --diff").code, Some(0), "the file has all of it");
    let unchanged = stage.run("enable-mtls --dry-run=client").stdout;
    assert!(unchanged.lines().all(|line| line.ends_with(" unchanged (dry run)")), "{unchanged}");
}

#[test]
fn validated_by_the_server_and_not_written() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("enable-mtls --dry-run=server"), @r#"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/app-ui created (server dry run)
    destinationrule.networking.istio.io/boards created (server dry run)
    destinationrule.networking.istio.io/boards-mongodb created (server dry run)
    destinationrule.networking.istio.io/context-scraper created (server dry run)
    destinationrule.networking.istio.io/userprofile created (server dry run)
    peerauthentication.security.istio.io/default created (server dry run)
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    "#);
    let again = stage.run("enable-mtls --dry-run=server -o name -q");
    assert_eq!((again.code, again.stdout.lines().count()), (Some(0), 6), "{again}");
    let objects = stage.run("enable-mtls --dry-run=server -o json").json();
    assert_eq!((objects["kind"].as_str(), objects["items"].as_array().map(Vec::len)), (Some("List"), Some(6)));
    assert_eq!(stage.run("enable-mtls --diff").code, Some(1));
}

#[test]
fn a_diff_says_what_would_change() {
    shows!(run("enable-mtls --sandbox --diff --destination-rules=never"), @r#"
    exit 1
    --- stdout
    --- live/peerauthentication.security.istio.io/default
    +++ merged/peerauthentication.security.istio.io/default
    @@ -0,0 +1,12 @@
    +apiVersion: security.istio.io/v1
    +kind: PeerAuthentication
    +metadata:
    +  creationTimestamp: "..."
    +  labels:
    +    app.kubernetes.io/managed-by: secure-traffic
    +  name: default
    +  namespace: microservices-demo
    +  uid: "..."
    +spec:
    +  mtls:
    +    mode: STRICT
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    "#);
    shows!(run("disable-mtls --sandbox --diff -q boards"), @r#"
    exit 1
    --- stdout
    --- live/peerauthentication.security.istio.io/default
    +++ merged/peerauthentication.security.istio.io/default
    @@ -7,4 +7,4 @@
       uid: "..."
     spec:
       mtls:
    -    mode: STRICT
    +    mode: PERMISSIVE
    --- live/destinationrule.networking.istio.io/boards
    +++ merged/destinationrule.networking.istio.io/boards
    @@ -7,6 +7,3 @@
       uid: "..."
     spec:
       host: boards.microservices-demo.svc.cluster.local
    -  trafficPolicy:
    -    tls:
    -      mode: ISTIO_MUTUAL
    --- stderr
    warning: the policy holds for the whole namespace: PERMISSIVE for app-ui, boards-mongodb, context-scraper, userprofile too
    "#);
    let nothing = run("enable-mtls --sandbox=strict --diff -q");
    assert_eq!((nothing.code, nothing.all().as_str()), (Some(0), ""), "{nothing}");
}

#[test]
fn applied_without_proof() {
    shows!(run("enable-mtls --sandbox --yes --verify=false -q"), @r#"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/app-ui created
    destinationrule.networking.istio.io/boards created
    destinationrule.networking.istio.io/boards-mongodb created
    destinationrule.networking.istio.io/context-scraper created
    destinationrule.networking.istio.io/userprofile created
    peerauthentication.security.istio.io/default created
    "#);
    shows!(run("enable-mtls --sandbox --yes --verify=false -q -o name"), @r#"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/app-ui
    destinationrule.networking.istio.io/boards
    destinationrule.networking.istio.io/boards-mongodb
    destinationrule.networking.istio.io/context-scraper
    destinationrule.networking.istio.io/userprofile
    peerauthentication.security.istio.io/default
    "#);
    let run = run("enable-mtls --sandbox --yes --verify=false -q -o yaml --destination-rules=never");
    let report = yaml::read_one(&run.stdout).unwrap();
    assert_keeps_to_schema(&report);
    let changes = json!([{"object": "peerauthentication.security.istio.io/default", "action": "created"}]);
    assert_eq!(report["namespaces"][0]["changes"], changes, "{run}");
}

#[test]
fn a_change_is_one_document_on_stdout_and_its_proof_is_on_stderr() {
    let run = run("enable-mtls --sandbox --yes -o json --color always boards");
    assert_eq!(run.code, Some(0), "{run}");
    let report = run.json();
    assert_keeps_to_schema(&report);
    assert_eq!((&report["kind"], &report["exitCode"]), (&json!("ProbeReport"), &json!(0)));
    let [namespace] = &report["namespaces"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!(namespace["changes"].as_array().unwrap().len(), 2, "{report:#}");
    let phases: Vec<&Value> = namespace["phases"].as_array().unwrap().iter().map(|phase| &phase["kind"]).collect();
    assert_eq!(phases, ["destination-rules", "policy"], "{report:#}");
    assert!(namespace["phases"][1]["inForceSeconds"].is_f64(), "{report:#}");
    assert_eq!(namespace["calls"]["sent"], namespace["calls"]["succeeded"], "{report:#}");
    assert_eq!(namespace["results"][0]["verdict"], "rejected", "{report:#}");
    assert!(run.stderr.contains("\u{1b}[") && !run.stderr.contains("\\u{1b}"), "coloured, and not escaped: {run}");
    assert!(run.stderr.contains("1 target: 1 rejected, 0 accepted, 0 inconclusive"), "{run}");
}

#[test]
fn a_legacy_cluster_gets_a_legacy_policy() {
    shows!(run("enable-mtls --sandbox=legacy --yes --verify=false -q --destination-rules=never --force"), @r#"
    exit 0
    --- stdout
    policy.authentication.istio.io/default created
    "#);
    let run = run("enable-mtls --sandbox=legacy --yes --settle 0");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("authentication.istio.io/v1alpha1 Policy"), "{run}");
}

#[test]
fn unknown_names_stop_the_run_before_any_write() {
    shows!(run("enable-mtls --sandbox --yes nosuch"), @r#"
    exit 2
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    error: services "nosuch" not found; there are: app-ui, boards, boards-mongodb, context-scraper, userprofile
    "#);
    shows!(run("enable-mtls --sandbox --yes -n nosuch"), @r#"
    exit 4
    --- stderr
    error: could not get namespaces "nosuch": NotFound: namespaces "nosuch" not found
    hint: see `kubectl get namespaces`, and name one with -n
    "#);
    assert_eq!(run("enable-mtls --sandbox --diff --dry-run").code, Some(2), "one or the other");
    assert_eq!(run("enable-mtls --mode=disable").code, Some(2), "only off has two meanings");
}

#[test]
fn disable_can_require_plaintext() {
    let all = run("disable-mtls --sandbox --yes --mode=disable --settle 0");
    assert_eq!(all.code, Some(0), "{all}");
    assert!(all.stderr.contains("mode PERMISSIVE → DISABLE"), "{all}");
    // The policy holds for the whole namespace, and the rules of the other Services would still send mutual TLS.
    let one = run("disable-mtls --sandbox --yes --mode=disable --settle 0 boards");
    assert_eq!(one.code, Some(1), "{one}");
    assert!(one.stderr.contains("mtls-to-disable") && one.stderr.contains("nothing was written"), "{one}");
}

#[test]
fn mode_disable_goes_through_permissive_and_lists_each_object_once() {
    let stage = Stage::new(State::Strict, &[]);
    let disable = stage.run("disable-mtls --mode=disable --yes --settle 100ms");
    assert_eq!(disable.code, Some(0), "{disable}");
    assert_objects(&disable, "configured");
    assert_verdicts(&disable, "accepted", "DISABLE");
    let phases = ["mode STRICT → PERMISSIVE", "tls ISTIO_MUTUAL → none", "mode PERMISSIVE → DISABLE"];
    let places = phases.map(|phase| disable.stderr.find(phase));
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{disable}");
    let enable = stage.run("enable-mtls --yes --settle 100ms -q");
    assert_eq!((enable.code, enable.stderr.as_str()), (Some(0), ""), "{enable}");
    assert_objects(&enable, "configured");
    assert_verdicts(&enable, "rejected", "STRICT");
}

#[test]
fn another_program_shows_the_difference() {
    let stage = Stage::new(State::Permissive, &[]);
    let diff = |program: &str| {
        let mut command = stage.command();
        command.env("KUBECTL_EXTERNAL_DIFF", program).args(["enable-mtls", "--diff", "-q", "boards"]);
        crate::helpers::finish(command)
    };
    let run = diff("diff -r -N --brief");
    assert_eq!((run.code, run.stdout.lines().count()), (Some(1), 2), "{run}");
    assert!(
        run.stdout.contains("/LIVE/") && run.stdout.contains("peerauthentication.security.istio.io.default"),
        "{run}"
    );
    for program in ["no-such-program", "diff --no-such-option"] {
        let run = diff(program);
        assert_eq!(run.code, Some(2), "{run}");
        assert!(run.stderr.contains("KUBECTL_EXTERNAL_DIFF"), "{run}");
    }
}

#[test]
fn a_database_that_closes_silently_is_switched_both_ways_without_a_wait() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Closing]);
    let before = stage.run("probe closing");
    assert!(before.code == Some(3) && before.stdout.contains("closed-not-reset"), "{before}");
    assert!(!before.stdout.contains("the mesh does not reset"), "{before}");
    let enabled = stage.run("enable-mtls --yes closing");
    assert_eq!(enabled.code, Some(0), "{enabled}");
    assert!(enabled.stderr.contains("in force after"), "the change is from closed to reset: {enabled}");
    assert!(enabled.stderr.contains("in-mesh calls are not watched at closing:5432"), "{enabled}");
    let disabled = stage.run("disable-mtls --yes closing");
    assert_eq!(disabled.code, Some(0), "{disabled}");
    assert!(disabled.stderr.contains("in force after") && disabled.stdout.contains("closed-not-reset"), "{disabled}");
    assert!(disabled.stderr.contains("a STRICT sidecar would reset: closing:5432"), "{disabled}");
    assert_eq!(stage.run("enable-mtls --yes closing").code, Some(0));
    let restored = stage.run("disable-mtls --yes --restore");
    assert_eq!(restored.code, Some(0), "{restored}");
    assert!(restored.stderr.contains("in force after"), "seen, and not waited for in vain: {restored}");
}

#[test]
fn nothing_is_written_where_the_probe_does_not_reach_what_it_would_prove() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Unreachable]);
    let run = stage.run("enable-mtls --yes");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("2 of 12 addresses that the proof needs are not reached"), "{run}");
    for text in ["probe-blocked", "service/unreachable:8080", "pod/unreachable-", "nothing was written", "--force"] {
        assert!(run.stderr.contains(text), "{text}: {run}");
    }
    let status = stage.run("status -o json").json();
    let mode = |port: &serde_json::Value| port["workloads"][0]["mode"].clone();
    let modes: Vec<serde_json::Value> =
        status["namespaces"][0]["results"].as_array().into_iter().flatten().map(mode).collect();
    assert!(!modes.contains(&"STRICT".into()), "{status:#}");
    // Other Services can be changed.
    let run = stage.run("enable-mtls --yes boards");
    assert_eq!(run.code, Some(0), "{run}");
    let run = stage.run("disable-mtls --yes --attempts 1 --connect-timeout 1");
    assert!(run.stderr.contains("probe-blocked") && run.stdout.contains("connect-timeout"), "{run}");
    assert_eq!(run.code, Some(3), "it is turned off, and not proven at that port: {run}");
}

#[test]
fn a_service_that_nothing_serves_is_never_passed_where_somebody_counts_on_it() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Empty]);
    let run = stage.run("enable-mtls --yes");
    assert_eq!(run.code, Some(0), "{run}");
    let warning = "not proven, without a ready endpoint: empty:8080 (deployment/empty scaled to zero)";
    assert!(run.stderr.contains(warning) && !run.stdout.contains("empty:8080"), "{run}");
    for command in ["enable-mtls --yes --rollback-on-failure boards empty", "disable-mtls --yes boards empty"] {
        let run = stage.run(command);
        assert_eq!(run.code, Some(3), "{command}: {run}");
        assert!(run.stderr.contains(warning) && run.stderr.contains("accepted, 1 inconclusive"), "{command}: {run}");
        assert!(run.stdout.contains("empty:8080") && run.stdout.contains("no-endpoints"), "{command}: {run}");
        assert!(!run.stderr.contains("rolling back"), "{command}: {run}");
    }
    let run = stage.run("probe boards empty --expect policy");
    assert_eq!(run.code, Some(3), "{run}");
}

#[test]
fn a_workload_that_the_namespace_makes_strict_gets_no_policy() {
    let stage = Stage::new(State::Strict, &[]);
    let run = stage.run("enable-mtls --yes --workload app=boards --destination-rules=never");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("the pods with app=boards are STRICT already, by policy default"), "{run}");
    assert!(run.stdout.contains("peerauthentication.security.istio.io/default unchanged"), "{run}");
    assert!(!run.stdout.contains("created"), "{run}");
}
