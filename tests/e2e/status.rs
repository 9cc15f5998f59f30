//! `status` on a real mesh: each line against raw curl from outside, a client in the mesh, and the filter chains that the
//! sidecar has loaded.

use crate::namespace::{Stage, policy, with_namespace};
use crate::sidecar;
use crate::workload::{Workload, service};
use serde_json::{Value, json};
use std::time::Duration;

/// What must hold of one Service.
struct Line {
    service: &'static str,
    /// The enforced mode; none where no proxy takes the port.
    mode: Option<&'static str>,
    /// Name and level of the policy that decides.
    decided: (&'static str, &'static str),
    /// Whether plaintext gets in.
    open: bool,
    /// Whether a client in the mesh gets through.
    through: bool,
}

const DEFAULT: (&str, &str) = ("default", "namespace");

const LINES: [Line; 5] = [
    Line { service: "closed", mode: Some("STRICT"), decided: DEFAULT, open: false, through: true },
    Line { service: "excluded", mode: None, decided: DEFAULT, open: true, through: false },
    Line { service: "hole", mode: Some("PERMISSIVE"), decided: ("hole", "port"), open: true, through: true },
    Line { service: "naked", mode: None, decided: DEFAULT, open: true, through: true },
    Line { service: "plain", mode: Some("STRICT"), decided: DEFAULT, open: false, through: false },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_agrees_with_curl_and_the_sidecar() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let run = stage.tool.run(&["status", "-o", "json"]).await.expect_code(1);
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        let namespace = &report["namespaces"][0];
        let probe = stage.tool.probe(&["--control"]).await;
        let chains = loaded_chains(stage, "app").await;
        for Line { service: name, mode, decided, open, through } in LINES {
            let ports = namespace["results"].as_array().unwrap();
            let port = ports.iter().find(|port| port["service"] == name).unwrap();
            let side = &port["workloads"][0];
            assert_eq!(side["mode"].as_str(), mode, "{name}: {side:#}");
            let policies = side["policies"].as_array().unwrap();
            let last = policies.iter().rev().find(|policy| !policy["mode"].is_null());
            let said = last.map(|policy| (policy["name"].as_str().unwrap(), policy["level"].as_str().unwrap()));
            assert_eq!(said, Some(decided), "{name}: {side:#}");

            // Raw curl from outside the mesh.
            let result = probe.result(name);
            let exit = json!(if open { 0 } else { 56 });
            let samples = result["samples"].as_array().unwrap();
            assert!(!samples.is_empty() && samples.iter().all(|sample| sample["exitCode"] == exit), "{name}\n{probe}");
            assert_eq!(mode == Some("STRICT"), !open, "{name}: a mode that curl does not confirm");

            // A client in the mesh.
            let own = port["clients"].as_array().unwrap().iter().find(|client| client["from"] == "this namespace");
            let outcome = &own.unwrap()["outcome"];
            assert_eq!(outcome == "works", through, "{name}: {port:#}");
            assert_eq!(result["control"]["gotThrough"], through, "{name}\n{probe}");

            // What the sidecar has loaded; of ports that are not captured it knows nothing.
            if let Some(mode) = mode {
                let target = side["targetPort"].as_u64().unwrap();
                assert_eq!(takes_plaintext(&chains, target), mode != "STRICT", "{name}: {chains:#}");
            }
        }
        findings_name_their_causes(namespace);
    })
    .await;
}

/// A STRICT namespace with a younger policy, a port exception, an excluded port, a workload without a sidecar, and a rule
/// that makes clients send plaintext.
async fn set_up(stage: &Stage) {
    stage.create(&policy("default", None, "STRICT", json!({}))).await;
    for (name, app, target) in [
        ("closed", "app", 8080),
        ("hole", "app", 8081),
        ("excluded", "app", 8082),
        ("plain", "app", 8083),
        ("naked", "naked", 8080),
    ] {
        service(stage, name, app, ("http", 80, target)).await;
    }
    let listen = ["-http", ":8080", "-http", ":8081", "-http", ":8082", "-http", ":8083"];
    let excluded = "traffic.sidecar.istio.io/excludeInboundPorts";
    Workload::new("app", &listen).annotate(excluded, "8082").start(stage).await;
    Workload::new("naked", &["-http", ":8080"]).outside().start(stage).await;
    // Ages are whole seconds; of one second the name would decide.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.create(&policy("a-younger-one", None, "PERMISSIVE", json!({}))).await;
    stage.create(&policy("hole", Some("app"), "UNSET", json!({"8081": {"mode": "PERMISSIVE"}}))).await;
    stage
        .create(&json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "plain"},
            "spec": {
                "host": format!("plain.{}.svc.cluster.local", stage.name),
                "trafficPolicy": {"tls": {"mode": "DISABLE"}},
            },
        }))
        .await;
    stage.ready().await;
}

fn findings_name_their_causes(namespace: &Value) {
    let findings = namespace["findings"].as_array().unwrap();
    for (code, severity, object) in [
        ("plaintext-to-strict", "error", "destinationrule/plain"),
        ("unprotected-workload", "error", "service/naked:80"),
        ("port-not-captured", "error", "service/excluded:80"),
        ("several-policies", "warning", "peerauthentication/a-younger-one"),
        ("mode-exception", "warning", "service/hole:80"),
        ("client-without-proxy", "warning", "pod/naked"),
        ("clients-unseen", "info", ""),
    ] {
        let names = |finding: &&Value| {
            let objects = finding["objects"].as_array().unwrap();
            finding["code"] == code && (object.is_empty() || objects.iter().any(|one| one == object))
        };
        let found = findings.iter().find(names);
        assert_eq!(found.map(|finding| &finding["severity"]), Some(&json!(severity)), "{code}: {findings:#?}");
    }
}

/// The filter chains of the pod's `virtualInbound` listener, as its own Envoy shows them.
async fn loaded_chains(stage: &Stage, pod: &str) -> Value {
    let path = "/config_dump?resource=dynamic_listeners&name_regex=virtualInbound";
    let dump = sidecar::ask(stage, pod, path).await.expect("a dump");
    dump["configs"][0]["active_state"]["listener"]["filter_chains"].clone()
}

/// Whether a chain for the port takes raw bytes; a port without chains of its own falls to those for any port.
fn takes_plaintext(chains: &Value, port: u64) -> bool {
    let chains = chains.as_array().unwrap();
    let of = |port: Option<u64>| -> Vec<&Value> {
        let matches = |chain: &&Value| chain["filter_chain_match"]["destination_port"].as_u64() == port;
        let inbound = |chain: &&Value| chain["name"].as_str().is_none_or(|name| !name.contains("blackhole"));
        chains.iter().filter(matches).filter(inbound).collect()
    };
    let own = of(Some(port));
    let own = if own.is_empty() { of(None) } else { own };
    assert!(!own.is_empty(), "no chain for {port}");
    own.iter().any(|chain| chain["filter_chain_match"]["transport_protocol"] == "raw_buffer")
}
