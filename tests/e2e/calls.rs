//! What the tool's own control sees of the calls in the mesh, and what it does about it.

use crate::namespace::{Stage, with_namespace};
use crate::workload::{Workload, service};
use kube::api::LogParams;
use secure_traffic::curl_pod::probe_pod::DEFAULT_IMAGE;
use serde_json::{Value, json};
use std::time::Duration;

async fn set_up(stage: &Stage) {
    service(stage, "web", "app", ("http", 8080, 8080)).await;
    Workload::new("app", &["-http", ":8080"]).start(stage).await;
    stage.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_breaks_mesh_calls_is_rolled_back() {
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
        run.shows("in-mesh calls succeeded before the change and now fail: web:8080");
        run.shows("rolled back: everything is as it was before");
        run.shows("in-mesh calls succeed again");
        assert_eq!(stage.mesh_objects().await, before);
        assert_eq!(stage.probe_pods().await, [""; 0]);

        // Left to do it well, it asks the sidecars instead of taking its time.
        let run = stage.tool.run(&["enable-mtls", "--yes", "web"]).await.expect_code(0);
        run.shows("rules loaded after");
        run.shows("succeeded, at 1 target");
    })
    .await;
}

/// A TCP client outside the mesh that keeps its connection, and writes down what comes back.
fn connection_holder() -> Value {
    let talk = "while sleep 0.2; do echo still here; done | curl -sN telnet://echo:8087";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "connection-holder", "labels": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "connection-holder", "image": DEFAULT_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", talk],
            }],
        },
    })
}

/// Lines that have come back to it.
async fn echoes(stage: &Stage) -> usize {
    stage.pods().logs("connection-holder", &LogParams::default()).await.unwrap().lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_connections_are_waited_for_until_the_sidecar_has_none() {
    with_namespace(async |stage| {
        set_up(stage).await;
        service(stage, "echo", "echo", ("tcp", 8087, 8087)).await;
        Workload::new("echo", &["-echo", ":8087"]).start(stage).await;
        stage.ready().await;
        stage.create(&connection_holder()).await;
        let flows = async || {
            let before = echoes(stage).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            echoes(stage).await > before
        };
        stage.ready().await;
        assert!(flows().await, "the client is not served in the first place");
        stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        assert!(flows().await, "the old connection is gone already: there is nothing to wait for");
        stage.tool.run(&["enable-mtls", "--yes", "--wait-drain"]).await.expect_code(0).shows("drained after");
        assert!(!flows().await, "the old connection is served still");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_silently_is_switched_both_ways_in_seconds() {
    with_namespace(async |stage| {
        service(stage, "db", "db", ("tcp-postgres", 5432, 5432)).await;
        Workload::new("db", &["-close", ":5432"]).start(stage).await;
        stage.ready().await;
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        run.shows("in force after").shows("not watched at db:5432");
        let run = stage.tool.run(&["disable-mtls", "--yes", "--restore"]).await.expect_code(0);
        run.shows("in force after");
        assert!(run.took < Duration::from_secs(40), "{:?}", run.took);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_denied_everywhere_watches_nothing() {
    with_namespace(async |stage| {
        set_up(stage).await;
        stage
            .create(&json!({
                "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
                "metadata": {"name": "allow-nothing"}, "spec": {},
            }))
            .await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let run = stage.tool.run(&["enable-mtls", "--yes", "web"]).await.expect_code(0);
        run.shows("not watched at web:8080 (an authorization policy denies it (HTTP 403))");
        assert!(!run.stderr.contains("in-mesh calls during the change"), "{run:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_an_undeclared_port_is_not_called_with_http() {
    with_namespace(async |stage| {
        service(stage, "cache", "cache", ("", 6379, 6379)).await;
        Workload::new("cache", &["-echo", ":6379"]).start(stage).await;
        stage.ready().await;
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        run.shows("succeeded, at 1 target");
    })
    .await;
}
