//! What proves a rejection: the network, the sidecar's own word, and a client in the mesh; and how they disagree.

use crate::namespace::{Stage, policy, with_namespace};
use crate::refusals::{RBAC, token};
use crate::tool::Report;
use crate::workload::{Workload, service};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::time::Duration;

fn may(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// What a probe needs, but for ConfigMaps and port-forward.
fn rights_of_a_probe() -> Vec<Value> {
    vec![
        may("", &["services", "pods"], &["get", "list"]),
        may("discovery.k8s.io", &["endpointslices"], &["list"]),
        may("security.istio.io", &["peerauthentications", "authorizationpolicies"], &["list"]),
        may("networking.istio.io", &["destinationrules"], &["list"]),
        may("", &["pods", "pods/log"], &["get", "watch", "create", "delete"]),
    ]
}

fn rights_with(more: &[Value]) -> Value {
    json!(rights_of_a_probe().iter().chain(more).collect::<Vec<_>>())
}

/// `refusesPlaintext` of the only endpoint's proxy.
fn proxy_refuses(report: &Report, service: &str) -> Value {
    report.result(service)["endpoints"][0]["proxy"]["refusesPlaintext"].clone()
}

/// A rule that makes clients in the mesh send plaintext.
fn disabling_rule(stage: &Stage, service: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": service},
        "spec": {
            "host": format!("{service}.{}.svc.cluster.local", stage.name),
            "trafficPolicy": {"tls": {"mode": "DISABLE"}},
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sidecars_filter_chains_are_evidence_alone_and_with_the_network() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        service(stage, "dead", "app", ("tcp-dead", 9001, 9001)).await;
        stage.create(&policy("app", Some("app"), "STRICT", json!({"9001": {"mode": "PERMISSIVE"}}))).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&[]).await;
        report.expect_rejected(&stage.name, "web", "app").expect(&[("dead", "reset-without-evidence")]);
        assert_eq!(proxy_refuses(&report, "web"), true, "{report}");
        assert_eq!(proxy_refuses(&report, "dead"), false, "{report}");

        let alone = stage.tool.probe(&["--evidence", "proxy"]).await;
        alone.expect(&[("web", "rejected"), ("dead", "proxy-silent")]);
        let network = stage.tool.probe(&["--evidence", "network", "web"]).await;
        network.expect_rejected(&stage.name, "web", "app");
        assert!(network.result("web")["endpoints"][0]["proxy"].is_null(), "{network}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_port_forward_only_the_network_is_evidence() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let prober = token(stage, "prober", rights_with(&[may("", &["configmaps"], &["get"])])).await;
        let report = stage.tool.probe(&["--token", &prober, "web"]).await;
        report.expect_rejected(&stage.name, "web", "app");
        assert!(proxy_refuses(&report, "web").is_null(), "{report}");
        let run = stage.tool.run(&["--token", &prober, "probe", "--evidence", "proxy", "web"]).await.expect_code(4);
        run.shows("pods/portforward");
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());

        // The other way round: no certificate can be checked without the mesh's root, but the sidecar may be asked.
        let forward = may("", &["pods/portforward"], &["get", "create"]);
        let forwarder = token(stage, "forwarder", rights_with(&[forward])).await;
        let report = stage.tool.probe(&["--token", &forwarder, "web"]).await;
        report.expect(&[("web", "rejected")]);
        assert_eq!(proxy_refuses(&report, "web"), true, "{report}");
        assert!(report.result("web")["endpoints"][0]["hello"]["spiffe"].is_null(), "{report}");
    })
    .await;
}

/// Rights in the root namespace, deleted whatever becomes of the body.
async fn with_rights_in_the_root(stage: &Stage, account: &str, rules: Value, body: impl Future<Output = ()>) {
    let api = |kind: &str| -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
        Api::namespaced_with(stage.client.clone(), "istio-system", &resource)
    };
    let metadata = json!({"name": stage.name});
    let role = json!({"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": rules});
    let binding = json!({
        "apiVersion": RBAC, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": stage.name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": stage.name}],
    });
    for (kind, object) in [("Role", role), ("RoleBinding", binding)] {
        api(kind).create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    let outcome = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(body)).await;
    for kind in ["RoleBinding", "Role"] {
        let _ = api(kind).delete(&stage.name, &DeleteParams::default()).await;
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_other_evidence_a_mesh_client_runs() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        // Neither the mesh's root certificate nor the sidecar can be had.
        let blind = token(stage, "blind", json!(rights_of_a_probe())).await;
        let report = stage.tool.probe(&["--token", &blind, "web"]).await;
        report.expect(&[("web", "mesh-root-unknown")]);
        assert!(report.result("web")["control"].is_null(), "the root namespace's authorization is not known: {report}");

        let read = json!([may("security.istio.io", &["authorizationpolicies", "peerauthentications"], &["list"])]);
        with_rights_in_the_root(stage, "blind", read, async {
            let report = stage.tool.probe(&["--token", &blind, "web"]).await;
            report.expect(&[("web", "rejected")]);
            assert_eq!(report.result("web")["control"]["gotThrough"], true, "{report}");
            assert!(report.result("web")["message"].as_str().unwrap().contains("no other evidence"), "{report}");
            // What could explain the refusal as well, takes the last resort away.
            stage.create(&crate::namespace::denial(&["9999"])).await;
            let report = stage.tool.probe(&["--token", &blind, "web"]).await;
            report.expect(&[("web", "mesh-root-unknown")]);
        })
        .await;
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_mesh_clients_make_a_rejection_inconclusive() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        service(stage, "silent", "app", ("tcp", 9000, 9000)).await;
        Workload::new("app", &["-http", ":8080", "-silent", ":9000"]).start(stage).await;
        stage.ready().await;
        let control = ["--control", "--max-time", "5s"];
        let report = stage.tool.probe(&control).await;
        report.expect_rejected(&stage.name, "web", "app").expect_rejected(&stage.name, "silent", "app");
        assert_eq!(report.result("web")["control"]["gotThrough"], true, "{report}");
        assert!(report.result("silent")["control"]["gotThrough"].is_null(), "{report}");

        stage.create(&disabling_rule(stage, "web")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let report = stage.tool.probe(&[&control[..], &["web"]].concat()).await;
        report.expect(&[("web", "control-failed")]);
        assert_eq!(report.result("web")["control"]["gotThrough"], false, "{report}");
        assert_eq!(report.run.code, 3, "{report}");
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_mesh_client_is_named_and_has_no_answer() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let restricted = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        namespaces.patch(&stage.name, &PatchParams::default(), &Patch::Merge(restricted)).await.unwrap();
        let report = stage.tool.probe(&["--control", "web"]).await;
        report.expect_rejected(&stage.name, "web", "app");
        assert_eq!(report.run.code, 3, "{report}");
        report.run.shows("no client could be sent in the mesh").shows("pod-security");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_apply_port_by_port() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "closed", "app", ("http", 8080, 8080)).await;
        service(stage, "open", "app", ("tcp", 9000, 9000)).await;
        stage.create(&policy("app", Some("app"), "STRICT", json!({"9000": {"mode": "PERMISSIVE"}}))).await;
        Workload::new("app", &["-http", ":8080", "-echo", ":9000"]).start(stage).await;
        stage.ready().await;
        stage.tool.run(&["probe", "--expect", "policy"]).await.expect_code(0).shows("as the policies say");
        stage.tool.run(&["probe", "--expect", "rejected"]).await.expect_code(1).shows("open:9000");
        // One replica without a sidecar disobeys the policy that is meant for it.
        Workload::new("naked", &["-http", ":8080", "-echo", ":9000"]).like("app").outside().start(stage).await;
        stage.ready().await;
        let run = stage.tool.run(&["probe", "--expect", "policy", "--per-endpoint"]).await.expect_code(1);
        run.shows("closed:8080 is accepted, expected rejected by its policy").shows("no sidecar at naked");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_targets_are_one_pod() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        for number in 0..200 {
            service(stage, &format!("web-{number}"), "app", ("http", 8080, 8080)).await;
        }
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&["--expect", "rejected", "-v"]).await;
        assert_eq!(report.run.code, 0, "{report}");
        assert_eq!(report.json["namespaces"][0]["results"].as_array().unwrap().len(), 200);
        let requests: Vec<&str> = report.run.stderr.lines().filter(|line| line.contains("/pods")).collect();
        let made = requests.iter().filter(|line| line.contains("POST")).count();
        assert_eq!(made, 1, "{requests:#?}");
        // Create, watch, log, delete, and whether it is gone: nothing is polled.
        assert!(requests.len() < 20, "{requests:#?}");
    })
    .await;
}
