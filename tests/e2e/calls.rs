//! What the tool's own control sees of the calls in the mesh, and what it does about it.

use crate::namespace::{Stage, with_namespace};
use crate::sidecar;
use crate::workload::{Workload, service};
use serde_json::json;
use std::time::Duration;

async fn set_up(stage: &Stage) {
    service(stage, "web", "app", ("http", 8080, 8080)).await;
    Workload::new("app", &["-http", ":8080"]).start(stage).await;
    stage.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_cuts_calls_in_the_mesh_off_is_undone_by_itself() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let host = format!("web.{}.svc.cluster.local", stage.name);
        stage
            .create(&json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "off"},
                "spec": {"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
            }))
            .await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = stage.mesh_objects().await;
        let run = stage.tool.run(&["enable-mtls", "--yes", "--force", "--destination-rules=never", "web"]).await;
        let run = run.expect_code(1);
        run.says("calls in the mesh got through before the change, and do not any more: web:8080");
        run.says("rolled back: everything is as it was before");
        run.says("calls in the mesh get through again");
        assert_eq!(stage.mesh_objects().await, before);
        assert_eq!(stage.probe_pods().await, [""; 0]);

        // Left to do it well, it asks the sidecars instead of taking its time.
        let run = stage.tool.run(&["enable-mtls", "--yes", "web"]).await.expect_code(0);
        run.says("settled: loaded after");
        run.says("got through while it changed, at 1 target");
    })
    .await;
}

/// How many listeners and filter chains the sidecar of `app` drains, by its own count.
async fn draining(stage: &Stage) -> u64 {
    let path = "/stats?format=json&filter=listener_manager.total_.*_draining";
    let stats = sidecar::ask(stage, "app", path).await.unwrap();
    stats["stats"].as_array().unwrap().iter().filter_map(|stat| stat["value"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_connections_are_waited_for_until_the_sidecar_has_none() {
    with_namespace(async |stage| {
        set_up(stage).await;
        stage.tool.run(&["enable-mtls", "--yes", "web"]).await.expect_code(0);
        assert!(draining(stage).await > 0, "nothing is drained: there is nothing to wait for");
        stage.tool.run(&["enable-mtls", "--yes", "--wait-drain", "web"]).await.expect_code(0).says("drained after");
        assert_eq!(draining(stage).await, 0);
    })
    .await;
}
