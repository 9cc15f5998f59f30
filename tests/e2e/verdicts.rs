//! Everything that is easily taken for something else, each behind the mode that makes it hard.

use crate::support::{Cluster, Namespace, Workload, cluster, policy, service};

/// Ports of one application that does everything: what serves there, and what the port is called.
const PORTS: [(&str, u16); 11] = [
    ("http", 8080),
    ("tcp-echo", 27017),
    ("tcp-reset", 9001),
    ("tcp-close", 9002),
    ("tcp-banner", 9003),
    ("tcp-silent", 9004),
    ("tcp-tls", 9005),
    ("tcp-mtls", 9006),
    ("http-dead", 9010),
    ("tcp-dead", 9011),
    ("odd", 9012),
];

/// The application, and a Service of all its ports. `annotations` are the pod's.
fn everything(cluster: &Cluster, namespace: &str, name: &str, labels: &str, annotations: &str) -> String {
    let spiffe = format!("spiffe://cluster.local/ns/{namespace}/sa/default");
    let labels = format!("app: {name}{labels}");
    let workload = Workload {
        name,
        labels: &labels,
        annotations,
        arguments: &[
            "serve",
            "-http",
            ":8080",
            "-http",
            ":9012",
            "-echo",
            ":27017",
            "-reset",
            ":9001",
            "-close",
            ":9002",
            "-banner",
            ":9003",
            "-silent",
            ":9004",
            "-tls",
            ":9005",
            "-mtls",
            ":9006",
            "-spiffe",
            &spiffe,
            "-issuer",
            "cluster.local",
        ],
    };
    workload.manifest(&cluster.app) + &service(name, &format!("app: {name}"), &PORTS, false)
}

#[test]
fn behind_a_permissive_sidecar_nothing_is_called_rejected() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "permissive");
    namespace.apply(&everything(&cluster, &namespace.name, "all", "", ""));
    namespace.ready();
    let run = namespace.probe(&["all"]);
    for (port, verdict) in [
        (8080, "accepted"),
        (27017, "accepted"),
        (9001, "inconclusive (reset-without-evidence)"),
        (9002, "inconclusive (closed-not-reset)"),
        (9003, "accepted"),
        (9004, "inconclusive (read-timeout)"),
        // Its TLS server answers plaintext with a 400 of its own.
        (9005, "accepted"),
        // An application that is down: the sidecar answers for it where it speaks HTTP, and resets where not.
        (9010, "accepted"),
        (9011, "inconclusive (reset-without-evidence)"),
        (9012, "accepted"),
    ] {
        assert_eq!(run.verdict(&format!("all:{port}")), verdict, "port {port}: {run:?}");
    }
    assert!(!run.verdict("all:9006").starts_with("rejected"), "SPIFFE-named mutual TLS of the application's own");
    assert_eq!(namespace.probe_pods(), "");
}

#[test]
fn under_strict_everything_is_rejected_however_dead_the_application() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "strict");
    namespace.apply(&everything(&cluster, &namespace.name, "all", "", ""));
    namespace.apply(&service("headless", "app: all", &[("http", 8080)], true));
    namespace.policy("STRICT");
    namespace.ready();
    namespace.settle();
    let run = namespace.probe(&["all", "headless"]);
    for (_, port) in PORTS {
        assert_eq!(run.verdict(&format!("all:{port}")), "rejected", "port {port}: {run:?}");
    }
    assert_eq!(run.verdict("headless:8080"), "rejected");
    let report = run.report();
    let spiffe = &report["results"][0]["endpoints"][0]["hello"]["spiffe"];
    assert_eq!(*spiffe, format!("spiffe://cluster.local/ns/{}/sa/default", namespace.name));
}

#[test]
fn under_strict_what_no_sidecar_guards_is_not_called_rejected() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "unguarded");
    let excluded = "traffic.sidecar.istio.io/excludeInboundPorts: \"8080,9001,9006\"";
    namespace.apply(&everything(&cluster, &namespace.name, "excluded", "", excluded));
    namespace.apply(&everything(&cluster, &namespace.name, "naked", ", sidecar.istio.io/inject: \"false\"", ""));
    namespace.policy("STRICT");
    namespace.ready();
    namespace.settle();
    let run = namespace.probe(&["excluded", "naked"]);
    assert_eq!(run.verdict("excluded:8080"), "accepted");
    assert_eq!(run.verdict("excluded:27017"), "rejected", "the port beside the excluded ones");
    assert_eq!(run.verdict("naked:8080"), "accepted");
    assert_eq!(run.verdict("naked:9010"), "inconclusive (refused)");
    for target in ["excluded:9001", "excluded:9006", "naked:9001", "naked:9006"] {
        let verdict = run.verdict(target);
        assert!(!verdict.starts_with("rejected"), "{target}: {verdict}");
    }
}

#[test]
fn strict_counts_however_it_came_about_and_an_exception_too() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "levels");
    for name in ["by-namespace", "by-workload", "by-port", "exception"] {
        namespace.apply(&everything(&cluster, &namespace.name, name, "", ""));
    }
    namespace.policy("PERMISSIVE");
    let select = |app: &str| format!("selector: {{matchLabels: {{app: {app}}}}}");
    namespace.apply(&policy("workload", &format!("{}, mtls: {{mode: STRICT}}", select("by-workload"))));
    namespace.apply(&policy("port", &format!("{}, portLevelMtls: {{8080: {{mode: STRICT}}}}", select("by-port"))));
    let spec =
        format!("{}, mtls: {{mode: STRICT}}, portLevelMtls: {{8080: {{mode: PERMISSIVE}}}}", select("exception"));
    namespace.apply(&policy("exception", &spec));
    namespace.ready();
    namespace.settle();
    let run = namespace.probe(&[
        "by-namespace:8080",
        "by-workload:8080",
        "by-port:8080",
        "by-port:27017",
        "exception:8080",
        "exception:27017",
    ]);
    for (target, verdict) in [
        ("by-namespace:8080", "accepted"),
        ("by-workload:8080", "rejected"),
        ("by-port:8080", "rejected"),
        ("by-port:27017", "accepted"),
        ("exception:8080", "accepted"),
        ("exception:27017", "rejected"),
    ] {
        assert_eq!(run.verdict(target), verdict, "{target}: {run:?}");
    }
}

#[test]
fn one_open_endpoint_among_six_is_found() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "six");
    let mut manifest = service("six", "app: six", &[("http", 8080)], false);
    for number in 0..6 {
        let labels = if number == 3 { "app: six, sidecar.istio.io/inject: \"false\"" } else { "app: six" };
        let name = format!("six-{number}");
        manifest += &Workload { name: &name, labels, annotations: "", arguments: &["serve", "-http", ":8080"] }
            .manifest(&cluster.app);
    }
    namespace.apply(&manifest);
    namespace.policy("STRICT");
    namespace.ready();
    namespace.settle();
    let run = namespace.probe(&["six:8080"]);
    assert_eq!(run.verdict("six:8080"), "accepted");
    let report = run.report();
    let endpoints = report["results"][0]["endpoints"].as_array().expect("endpoints");
    let open: Vec<&str> = endpoints
        .iter()
        .filter(|endpoint| endpoint["verdict"] == "accepted")
        .filter_map(|endpoint| endpoint["pod"].as_str())
        .collect();
    assert_eq!((endpoints.len(), open), (6, vec!["six-3"]));
    let text = namespace.tool(&["probe", "six:8080", "--per-endpoint"]).stdout;
    assert!(text.lines().any(|line| line.contains("six-3") && line.contains("accepted")), "{text}");
}
