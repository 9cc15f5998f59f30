//! The walk-through, command by command, on its own application.

use crate::environment::{lease, skip};
use crate::namespace::Stage;
use crate::tool::{Report, assert_evidence};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use serde_json::Value;
use std::panic::AssertUnwindSafe;

const DEMO: &str = "microservices-demo";
const SERVICES: [&str; 5] = ["app-ui", "boards", "boards-mongodb", "context-scraper", "userprofile"];

/// Calls that a client in the mesh has lost. Read in PERMISSIVE only: the API server's proxy speaks plaintext.
async fn lost(stage: &Stage) -> u64 {
    let path = format!("/api/v1/namespaces/{DEMO}/services/context-scraper:9100/proxy/stats");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let stats: Value = stage.client.request(request).await.unwrap();
    assert!(stats["ok"].as_u64() > Some(0), "{stats}");
    stats["failed"].as_u64().unwrap()
}

async fn probe(stage: &Stage) -> Report {
    let report = stage.tool.probe(&["boards:8080/shareditems"]).await;
    assert_evidence(report.result("boards"));
    report
}

async fn walk_through(stage: &Stage) {
    let report = probe(stage).await;
    report.expect(&[("boards", "accepted")]);
    let run = stage.tool.run(&["probe", "boards:8080/shareditems"]).await.expect_code(0);
    run.shows("accepted").shows("this is good");
    let lost_before = lost(stage).await;

    let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
    run.shows("rejected").shows("in force after");
    let objects: Vec<String> = SERVICES
        .iter()
        .map(|service| format!("destinationrule.networking.istio.io/{service}"))
        .chain(["peerauthentication.security.istio.io/default".to_owned()])
        .collect();
    assert_eq!(stage.mesh_objects().await, objects);
    for object in &objects {
        run.shows(&format!("{object} created"));
    }
    let spec = |object: kube::api::DynamicObject| object.data["spec"].clone();
    assert_eq!(spec(stage.policies().get("default").await.unwrap())["mtls"]["mode"], "STRICT");
    for service in SERVICES {
        let spec = spec(stage.rules().get(service).await.unwrap());
        assert_eq!(spec["host"], format!("{service}.{DEMO}.svc.cluster.local"));
        assert_eq!(spec["trafficPolicy"]["tls"]["mode"], "ISTIO_MUTUAL");
    }
    probe(stage).await.expect_rejected(DEMO, "boards", "boards");
    let run = stage.tool.run(&["probe", "boards:8080/shareditems"]).await.expect_code(0);
    run.shows("rejected").shows(&format!("spiffe://cluster.local/ns/{DEMO}/sa/boards"));
    let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
    for object in &objects {
        run.shows(&format!("{object} unchanged"));
    }

    let run = stage.tool.run(&["disable-mtls", "--yes"]).await.expect_code(0);
    run.shows("peerauthentication.security.istio.io/default configured").shows("accepted");
    assert_eq!(spec(stage.policies().get("default").await.unwrap())["mtls"]["mode"], "PERMISSIVE");
    assert_eq!(lost(stage).await, lost_before, "calls within the mesh were lost");
    probe(stage).await.expect(&[("boards", "accepted")]);
    let run = stage.tool.run(&["disable-mtls", "--yes"]).await.expect_code(0);
    for object in &objects {
        run.shows(&format!("{object} unchanged"));
    }
    // And to the state before it all, of which nothing is kept.
    let run = stage.tool.run(&["disable-mtls", "--restore", "--yes"]).await.expect_code(0);
    run.shows("everything is as it was before");
    assert_eq!(stage.mesh_objects().await, Vec::<String>::new());
    assert_eq!(stage.probe_pods().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_walk_through_enables_and_disables_mutual_tls_and_loses_no_call() {
    let Some(lease) = lease().await else { return };
    let namespaces: Api<Namespace> = Api::all(lease.client.clone());
    if namespaces.get_opt(DEMO).await.unwrap().is_none() {
        return skip("the cluster has no namespace microservices-demo");
    }
    let stage = Stage::new(lease.client.clone(), DEMO);
    assert_eq!(stage.mesh_objects().await, Vec::<String>::new(), "the demo must begin without policies and rules");
    let outcome = AssertUnwindSafe(walk_through(&stage)).catch_unwind().await;
    stage.delete_mesh_objects().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
