//! `rehearse` on a real mesh: it names the callers that do not use mutual TLS, and no other.

use crate::environment::environment;
use crate::namespace::{Stage, with_namespace};
use crate::workload::{Workload, service};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

/// Runs the body with a second namespace, which is deleted whatever becomes of the body.
async fn with_elsewhere(stage: &Stage, body: impl AsyncFnOnce(&Stage)) {
    let elsewhere = Stage::new(stage.client.clone(), &format!("{}-out", stage.name));
    let namespaces: Api<Namespace> = Api::all(stage.client.clone());
    let labels = json!({"app.kubernetes.io/part-of": "secure-traffic-e2e"});
    let namespace = serde_json::from_value(json!({"metadata": {"name": elsewhere.name, "labels": labels}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let outcome = AssertUnwindSafe(body(&elsewhere)).catch_unwind().await;
    let all = ListParams::default();
    let _ = elsewhere.pods().delete_collection(&DeleteParams::default().grace_period(0), &all).await;
    namespaces.delete(&elsewhere.name, &DeleteParams::default()).await.unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A client in the network of its node.
fn on_the_node(url: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "on-the-node", "labels": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet", "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "application", "image": environment().app_image, "imagePullPolicy": "IfNotPresent",
                "args": ["load", "-fresh", url],
            }],
        },
    })
}

/// Kind, name and version of every object that the tool can write.
pub(crate) async fn written(stage: &Stage) -> Vec<String> {
    let mut found = Vec::new();
    for (group, version, kind) in [
        ("security.istio.io", "v1", "PeerAuthentication"),
        ("networking.istio.io", "v1", "DestinationRule"),
        ("telemetry.istio.io", "v1", "Telemetry"),
        ("", "v1", "ConfigMap"),
        ("coordination.k8s.io", "v1", "Lease"),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), &stage.name, &resource);
        for object in api.list(&ListParams::default()).await.unwrap() {
            found.push(format!("{kind} {:?} {:?}", object.metadata.name, object.metadata.resource_version));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_callers_without_mutual_tls_are_named() {
    with_namespace(async |stage| {
        service(stage, "web", "web", ("http", 8080, 8080)).await;
        service(stage, "unused", "unused", ("http", 8080, 8080)).await;
        Workload::new("web", &["-http", ":8080"]).start(stage).await;
        Workload::new("unused", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let status = stage.pods().get("web").await.unwrap().status.unwrap();
        let by_address = format!("http://{}:8080/", status.pod_ip.unwrap());
        let url = format!("http://web.{}:8080/", stage.name);
        with_elsewhere(stage, async |elsewhere| {
            Workload::load("meshed", &url, true).start(stage).await;
            Workload::load("plain", &url, true).outside().start(stage).await;
            Workload::load("direct", &by_address, true).start(stage).await;
            Workload::load("elsewhere", &url, true).outside().start(elsewhere).await;
            stage.create(&on_the_node(&url)).await;
            stage.ready().await;
            elsewhere.ready().await;
            let node = stage.pods().get("on-the-node").await.unwrap().spec.unwrap().node_name.unwrap();
            let before = written(stage).await;
            let run = stage.tool.run(&["rehearse", "--for", "15s", "-o", "json"]).await.expect_code(1);
            let report: Value = serde_json::from_str(&run.stdout).unwrap();
            let port = |name: &str| {
                let ports = report["namespaces"][0]["results"].as_array().unwrap().iter();
                ports.clone().find(|port| port["name"] == name).unwrap().clone()
            };
            let web = port("web:8080");
            let names = web["callers"].as_array().unwrap().iter().map(|caller| caller["name"].as_str().unwrap());
            let expected = [
                format!("plain ({}/Pod)", stage.name),
                format!("direct ({}/Pod)", stage.name),
                format!("elsewhere ({}/Pod)", elsewhere.name),
                format!("node {node}"),
            ];
            let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
            assert_eq!(names.collect::<BTreeSet<_>>(), expected, "{report:#}");
            assert_eq!(web["reason"], Value::Null, "{report:#}");
            let unused = port("unused:8080");
            assert_eq!((&unused["result"], &unused["calls"]), (&json!("nobody"), &json!(0)), "{report:#}");
            assert_eq!(written(stage).await, before, "nothing is written");
            assert_eq!(stage.probe_pods().await, [""; 0]);
        })
        .await;
    })
    .await;
}
