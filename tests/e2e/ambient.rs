//! Ambient mode on a real ztunnel: switches, evidence, pods that ztunnel has not captured, and what clients of each kind
//! send to servers of each kind. The table of pairings is that of `docs/verdicts.md`.

use crate::namespace::{Stage, policy, with_ambient_namespace};
use crate::tool::Report;
use crate::workload::{Workload, service, service_with};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, AttachParams, DeleteParams, ListParams, LogParams, PostParams};
use secure_traffic::curl_pod::probe_pod::DEFAULT_IMAGE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// What ztunnel's agent writes on a pod that it has captured.
const REDIRECTION: &str = "ambient.istio.io/redirection";

/// Waits until all pods are ready and ztunnel has captured those that it should. One that it does not capture is created
/// anew: on some clusters that happens to one pod in thirty.
async fn ready(stage: &Stage) {
    for _ in 0..3 {
        stage.ready().await;
        let deadline = Instant::now() + Duration::from_secs(20);
        let missing = loop {
            let pods = stage.pods().list(&ListParams::default()).await.unwrap();
            let missing: Vec<Pod> = pods.into_iter().filter(is_to_be_captured).collect();
            if missing.is_empty() {
                return;
            }
            if Instant::now() > deadline {
                break missing;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        for pod in missing {
            create_anew(stage, pod).await;
        }
    }
    panic!("ztunnel does not capture the pods of an ambient namespace: has the cluster ambient mode?");
}

/// Whether ztunnel has not captured a pod yet that it will: one without a sidecar that does not decline.
fn is_to_be_captured(pod: &Pod) -> bool {
    pod.labels().get("sidecar.istio.io/inject").is_some_and(|value| value == "false")
        && pod.labels().get("istio.io/dataplane-mode").is_none()
        && !pod.annotations().contains_key("sidecar.istio.io/status")
        && pod.annotations().get(REDIRECTION).is_none_or(|value| value != "enabled")
}

async fn create_anew(stage: &Stage, mut pod: Pod) {
    let name = pod.name_any();
    stage.pods().delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    while stage.pods().get_opt(&name).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let metadata = &mut pod.metadata;
    (metadata.uid, metadata.resource_version, metadata.managed_fields) = (None, None, None);
    metadata.annotations.iter_mut().for_each(|annotations| drop(annotations.remove(REDIRECTION)));
    pod.status = None;
    if let Some(spec) = &mut pod.spec {
        spec.node_name = None;
    }
    stage.pods().create(&PostParams::default(), &pod).await.unwrap();
}

/// Fails unless all endpoints of a Service are rejected by the evidence of ztunnel.
#[track_caller]
fn expect_denied_by_ztunnel(report: &Report, service: &str) {
    report.expect(&[(service, "rejected")]);
    for endpoint in report.result(service)["endpoints"].as_array().unwrap() {
        let (plane, mode) = (&endpoint["dataPlane"], &endpoint["mode"]);
        assert_eq!((plane, mode), (&json!("ambient"), &json!("STRICT")), "{report}");
        let evidence = endpoint.to_string();
        assert!(evidence.contains("ztunnel's log policy denied"), "{report}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ambient_namespace_is_switched_by_a_policy_alone() {
    with_ambient_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        service(stage, "echo", "app", ("tcp", 9000, 9000)).await;
        Workload::new("app", &["-http", ":8080", "-echo", ":9000"]).ambient().start(stage).await;
        ready(stage).await;
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        run.shows("in force after").shows("2 targets: 2 rejected, 0 accepted, 0 inconclusive");
        run.shows("service/web gets no rule: all its pods are in ambient mode");
        run.shows("in ztunnel's log policy denied");
        assert_eq!(stage.mesh_objects().await, ["peerauthentication.security.istio.io/default"]);
        let report = stage.tool.probe(&["--expect", "rejected"]).await;
        expect_denied_by_ztunnel(&report, "web");
        expect_denied_by_ztunnel(&report, "echo");
        assert_eq!(report.run.code, 0, "{report}");
        let run = stage.tool.run(&["disable-mtls", "--yes", "--restore"]).await.expect_code(0);
        run.shows("in force after").shows("everything is as it was before");
        stage.tool.probe(&[]).await.expect(&[("web", "accepted"), ("echo", "accepted")]);
        assert_eq!((stage.mesh_objects().await, stage.probe_pods().await), (Vec::new(), Vec::new()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_ztunnel_denies_is_rejected() {
    with_ambient_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        stage.create(&policy("open", Some("open"), "PERMISSIVE", json!({}))).await;
        stage.create(&policy("hole", Some("hole"), "STRICT", json!({"8080": {"mode": "PERMISSIVE"}}))).await;
        for app in ["closed", "open", "hole"] {
            Workload::new(app, &["-http", ":8080", "-http", ":8088", "-reset", ":8081"]).ambient().start(stage).await;
            service(stage, &format!("{app}-a"), app, ("http", 80, 8080)).await;
            service(stage, &format!("{app}-b"), app, ("http", 80, 8088)).await;
        }
        for (name, port) in [("dead", 8082), ("reset", 8081)] {
            service(stage, &format!("closed-{name}"), "closed", ("tcp", 80, port)).await;
            service(stage, &format!("open-{name}"), "open", ("tcp", 80, port)).await;
        }
        // Endpoints of both kinds, and one that is outside.
        service(stage, "mixed", "mixed", ("http", 80, 8080)).await;
        Workload::new("mixed-ambient", &["-http", ":8080"]).like("mixed").ambient().start(stage).await;
        Workload::new("mixed-sidecar", &["-http", ":8080"]).like("mixed").start(stage).await;
        ready(stage).await;
        let report = stage.tool.probe(&[]).await;
        for service in ["closed-a", "closed-b", "closed-dead", "closed-reset", "hole-b"] {
            expect_denied_by_ztunnel(&report, service);
        }
        report.expect(&[("open-a", "accepted"), ("open-b", "accepted"), ("hole-a", "accepted"), ("mixed", "rejected")]);
        for service in ["open-dead", "open-reset"] {
            assert!(["closed-not-reset", "reset-without-evidence"].contains(&report.answer(service)), "{report}");
        }
        let planes = |report: &Report| {
            let endpoints = report.result("mixed")["endpoints"].as_array().unwrap().clone();
            let mut planes: Vec<String> = endpoints
                .iter()
                .map(|one| format!("{} {}", one["dataPlane"], one["verdict"]).replace('"', ""))
                .collect();
            planes.sort();
            planes
        };
        assert_eq!(planes(&report), ["ambient rejected", "sidecar rejected"], "{report}");
        Workload::new("mixed-outside", &["-http", ":8080"]).like("mixed").outside().start(stage).await;
        ready(stage).await;
        let report = stage.tool.probe(&["mixed"]).await;
        report.expect(&[("mixed", "accepted")]);
        assert_eq!(planes(&report), ["ambient rejected", "none accepted", "sidecar rejected"], "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_ztunnel_has_not_captured_are_named_and_never_rejected() {
    with_ambient_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        // The agent takes the annotation for a sidecar's, and leaves the pod alone.
        let half = Workload::new("half", &["-http", ":8080"]).ambient();
        half.annotate("sidecar.istio.io/status", "{}").start(stage).await;
        service(stage, "half", "half", ("http", 8080, 8080)).await;
        service(stage, "half-dead", "half", ("http", 8081, 8081)).await;
        let port = format!(":{HOST_PORT}");
        Workload::new("host", &["-http", &port]).ambient().on_host_network().start(stage).await;
        service(stage, "host", "host", ("http", HOST_PORT, HOST_PORT)).await;
        stage.ready().await;
        let status = stage.tool.run(&["status", "-o", "json"]).await;
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let about = |code: &str| {
            let findings = status["namespaces"][0]["findings"].as_array().unwrap();
            let found = findings.iter().filter(|finding| finding["code"] == code);
            found.flat_map(|finding| finding["objects"].as_array().unwrap().clone()).collect::<Vec<_>>()
        };
        assert_eq!(about("not-enrolled"), ["pod/half"], "{status:#}");
        assert!(about("host-network").contains(&json!("pod/host")), "{status:#}");
        let report = stage.tool.probe(&[]).await;
        report.expect(&[("half", "accepted"), ("half-dead", "refused"), ("host", "accepted")]);
    })
    .await;
}

/// A port of the node that nothing else uses.
const HOST_PORT: u16 = 18_931;

/// How a call arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// The server's proxy knows the identity of the client.
    Mtls,
    /// The application is reached, and nobody knows who calls.
    Plaintext,
    /// The application is not reached.
    Lost,
}
use Arrival::{Lost, Mtls, Plaintext};

/// The servers: their Services, in the order of [`PAIRINGS`]. `headless` is a headless Service of an ambient pod.
const SERVERS: [&str; 4] = ["sidecar", "ambient", "headless", "plain"];

/// What arrives of each client at each server, while the namespace is PERMISSIVE and while it is STRICT.
const PAIRINGS: [(&str, [[Arrival; 2]; 4]); 6] = [
    ("sidecar", [[Mtls, Mtls], [Mtls, Mtls], [Plaintext, Lost], [Plaintext, Plaintext]]),
    ("sidecar-rule", [[Mtls, Mtls], [Mtls, Mtls], [Lost, Lost], [Lost, Lost]]),
    ("sidecar-no-hbone", [[Mtls, Mtls], [Plaintext, Lost], [Plaintext, Lost], [Plaintext, Plaintext]]),
    ("sidecar-no-hbone-rule", [[Mtls, Mtls], [Lost, Lost], [Lost, Lost], [Lost, Lost]]),
    ("ambient", [[Plaintext, Lost], [Mtls, Mtls], [Mtls, Mtls], [Plaintext, Plaintext]]),
    ("plain", [[Plaintext, Lost], [Plaintext, Lost], [Plaintext, Lost], [Plaintext, Plaintext]]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_pairing_of_client_and_server_is_as_documented() {
    with_ambient_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        for server in SERVERS {
            let workload = Workload::new(&format!("server-{server}"), &["-http", ":8080", "-echo", ":9000"]);
            let workload = match server {
                "sidecar" => workload,
                "plain" => workload.outside(),
                _ => workload.ambient(),
            };
            workload.start(stage).await;
            let mut more = json!({"ports": [{"name": "http", "port": 8080}, {"name": "tcp", "port": 9000}]});
            if server == "headless" {
                more["clusterIP"] = json!("None");
            }
            service_with(stage, server, &format!("server-{server}"), ("http", 8080, 8080), more).await;
            stage.create(&rule(stage, server)).await;
        }
        for (client, _) in PAIRINGS {
            stage.create(&client_pod(client)).await;
        }
        ready(stage).await;
        // STRICT first: a sidecar keeps plaintext connections to an ambient pod, and ztunnel goes on to serve them.
        expect_arrivals(stage, 1).await;
        stage.set_mode("PERMISSIVE").await;
        expect_arrivals(stage, 0).await;
        predictions_agree(stage).await;
    })
    .await;
}

/// What the tool says that clients send is what they send: the sidecars of the namespace, of which two send no HBONE, and
/// those that the rules select.
async fn predictions_agree(stage: &Stage) {
    let status = stage.tool.run(&["status", "-o", "json"]).await;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let sends = |service: &str, from: &str| {
        let ports = status["namespaces"][0]["results"].as_array().unwrap();
        let port = ports.iter().find(|port| port["service"] == service && port["port"] == 9000).unwrap();
        let clients = port["clients"].as_array().unwrap();
        let client = clients.iter().find(|client| client["from"] == from).unwrap_or_else(|| panic!("{from}: {port:#}"));
        client["sends"][format!("pod/server-{service}")].clone()
    };
    for (server, own, by_rule, ambient) in [
        ("sidecar", json!(["mTLS"]), json!(["mTLS"]), json!(["plaintext"])),
        ("ambient", json!(["plaintext", "HBONE"]), json!(["mTLS", "HBONE"]), json!(["HBONE"])),
        ("headless", json!(["plaintext"]), json!(["mTLS"]), json!(["HBONE"])),
        ("plain", json!(["plaintext"]), json!(["mTLS"]), json!(["plaintext"])),
    ] {
        let found = ["this namespace", "rule=mutual", "ambient"].map(|from| sends(server, from));
        assert_eq!(found, [own, by_rule, ambient], "{server}: {status:#}");
    }
}

/// A rule with `ISTIO_MUTUAL` for the clients that have its label.
fn rule(stage: &Stage, server: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": server},
        "spec": {
            "host": format!("{server}.{}.svc.cluster.local", stage.name),
            "workloadSelector": {"matchLabels": {"rule": "mutual"}},
            "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}},
        },
    })
}

/// A client with curl and a shell.
fn client_pod(name: &str) -> Value {
    let has_sidecar = name.starts_with("sidecar");
    let mut labels = json!({"sidecar.istio.io/inject": has_sidecar.to_string()});
    if name == "plain" {
        labels["istio.io/dataplane-mode"] = json!("none");
    }
    if name.ends_with("rule") {
        labels["rule"] = json!("mutual");
    }
    let mut annotations = json!({});
    if name.contains("no-hbone") {
        let config = json!({"proxyMetadata": {"ISTIO_META_DISABLE_HBONE_SEND": "true"}}).to_string();
        annotations["proxy.istio.io/config"] = json!(config);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("client-{name}"), "labels": labels, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "client", "image": DEFAULT_IMAGE, "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "while sleep 1000; do :; done"],
            }],
        },
    })
}

/// Calls every server over HTTP and TCP, and prints one line for each.
const CALLS: &str = r#"for server in sidecar ambient headless plain; do
    echo "$server http $(curl -s -m 8 http://$server:8080/ | tr -d '\n')"
    echo "$server tcp $( (echo hello; sleep 1) | curl -s -m 4 telnet://$server:9000 | head -c 5)"
done"#;

/// Fails unless this column of [`PAIRINGS`] is what arrives, once every proxy has what the control plane has been told.
async fn expect_arrivals(stage: &Stage, column: usize) {
    let expected: Vec<_> = PAIRINGS.iter().map(|(client, row)| (*client, row.map(|cell| cell[column]))).collect();
    let mut found = Vec::new();
    for _ in 0..5 {
        let arrivals = arrivals(stage).await;
        let of = |client| SERVERS.map(|server| arrivals[&(client, server)]);
        found = PAIRINGS.iter().map(|(client, _)| (*client, of(*client))).collect();
        if found == expected {
            return;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(found, expected, "at the servers {SERVERS:?}, column {column}");
}

/// What arrives of every client at every server.
async fn arrivals(stage: &Stage) -> BTreeMap<(&'static str, &'static str), Arrival> {
    let calls = PAIRINGS.map(|(client, _)| async move { (client, shell(stage, client, CALLS).await) });
    let answers = futures::future::join_all(calls).await;
    let pods = stage.pods().list(&ListParams::default()).await.unwrap();
    let address = |name: String| {
        let pod = pods.iter().find(|pod| pod.name_any() == name).unwrap();
        pod.status.clone().and_then(|status| status.pod_ip).unwrap()
    };
    let mut found = BTreeMap::new();
    for (client, text) in &answers {
        for server in SERVERS {
            let http = text.lines().find_map(|line| line.strip_prefix(&format!("{server} http "))).unwrap_or_default();
            let tcp = text.lines().any(|line| line == format!("{server} tcp hello"));
            let arrival = match server {
                _ if !tcp || !http.contains("client_certificate") => Lost,
                "sidecar" if http.contains(r#""client_certificate":"By=spiffe"#) => Mtls,
                "ambient" | "headless" => {
                    let ends = (address(format!("client-{client}")), address(format!("server-{server}")));
                    if has_identity(stage, &ends).await { Mtls } else { Plaintext }
                }
                _ => Plaintext,
            };
            found.insert((*client, server), arrival);
        }
    }
    found
}

async fn shell(stage: &Stage, client: &str, script: &str) -> String {
    let parameters = AttachParams::default().container("client").stderr(false);
    let mut process = stage.pods().exec(&format!("client-{client}"), ["sh", "-c", script], &parameters).await.unwrap();
    let mut text = String::new();
    process.stdout().unwrap().read_to_string(&mut text).await.unwrap();
    text
}

/// Whether the last TCP connection from `client` to port 9000 of `server` came with an identity, as ztunnel logs at its end.
async fn has_identity(stage: &Stage, (client, server): &(String, String)) -> bool {
    let ztunnels: Api<Pod> = Api::all(stage.client.clone());
    let target = format!("={server}:9000 ");
    let source = format!("src.addr={client}:");
    for _ in 0..40 {
        for ztunnel in ztunnels.list(&ListParams::default().labels("app=ztunnel")).await.unwrap() {
            let namespace = ztunnel.namespace().unwrap();
            let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &namespace);
            let recent = LogParams { since_seconds: Some(60), ..LogParams::default() };
            let log = pods.logs(&ztunnel.name_any(), &recent).await.unwrap();
            let is_ours = |line: &&str| {
                line.contains(r#"direction="inbound""#) && line.contains(&source) && line.contains(&target)
            };
            if let Some(line) = log.lines().rev().find(is_ours) {
                return line.contains("src.identity=");
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("ztunnel has no line about a connection from {client} to {server}");
}
