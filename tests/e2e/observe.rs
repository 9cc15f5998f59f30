//! Runs that leave the writes to another writer: `kubectl apply --server-side` in a loop, as Argo CD and Flux do.

use crate::namespace::{Stage, policy, with_namespace};
use crate::workload::{Workload, service};
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::Notify;

const WRITER: &str = "argocd-controller";

/// What the tool says when its pods watch.
const ASKED: &str = "to be applied now";

async fn set_up(stage: &Stage) {
    service(stage, "web", "app", ("http", 8080, 8080)).await;
    Workload::new("app", &["-http", ":8080"]).start(stage).await;
    stage.ready().await;
}

fn rule(stage: &Stage, tls: Option<&str>) -> Value {
    let mut spec = json!({"host": format!("web.{}.svc.cluster.local", stage.name)});
    if let Some(mode) = tls {
        spec["trafficPolicy"] = json!({"tls": {"mode": mode}});
    }
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "web"}, "spec": spec})
}

/// Applies the objects every two seconds, for ever.
async fn keep_applying(stage: &Stage, objects: &[Value]) {
    loop {
        for object in objects {
            stage.apply_as(WRITER, object).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

/// The mode of the policy `default`.
async fn mode(stage: &Stage) -> Value {
    stage.policies().get("default").await.unwrap().data["spec"]["mtls"]["mode"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_writer_applies_is_waited_for_and_proven_both_ways() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let asked = Notify::new();
        let strict = policy("default", None, "STRICT", json!({}));
        let writer = async {
            asked.notified().await;
            keep_applying(stage, &[rule(stage, Some("ISTIO_MUTUAL")), strict.clone()]).await;
        };
        let run = tokio::select! {
            run = stage.tool.run_and_tell(&["enable-mtls", "--observe", "-o", "yaml"], ASKED, &asked) => run.expect_code(0),
            () = writer => unreachable!(),
        };
        assert!(run.stdout.contains("mode: STRICT") && run.stdout.contains("mode: ISTIO_MUTUAL"), "{run}");
        run.shows("another writer has applied peerauthentication.security.istio.io/default").shows("in force a");
        run.shows("1 target: 1 rejected, 0 accepted, 0 inconclusive");
        let managers = stage.policies().get("default").await.unwrap().metadata.managed_fields.unwrap();
        assert!(managers.iter().all(|one| one.manager.as_deref() == Some(WRITER)), "it wrote: {managers:?}");
        assert_eq!(crate::restore::journals(stage).await, [""; 0]);

        // Back: the rule loses its tls only after the policy is in force.
        let permissive = policy("default", None, "PERMISSIVE", json!({}));
        let writer = async {
            asked.notified().await;
            stage.apply_as(WRITER, &permissive).await;
            asked.notified().await;
            keep_applying(stage, &[permissive.clone(), rule(stage, None)]).await;
        };
        let run = tokio::select! {
            run = stage.tool.run_and_tell(&["disable-mtls", "--observe"], ASKED, &asked) => run.expect_code(0),
            () = writer => unreachable!(),
        };
        run.shows("apply this in 2 steps").shows("1 target: 0 rejected, 1 accepted, 0 inconclusive");
        assert_eq!(stage.probe_pods().await, [""; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_break_are_named_with_the_difference_that_goes_back() {
    with_namespace(async |stage| {
        set_up(stage).await;
        stage.apply_as(WRITER, &rule(stage, Some("DISABLE"))).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let asked = Notify::new();
        let writer = async {
            asked.notified().await;
            keep_applying(stage, &[policy("default", None, "STRICT", json!({}))]).await;
        };
        let arguments = ["enable-mtls", "--observe", "--force", "--destination-rules=never", "web"];
        let run = tokio::select! {
            run = stage.tool.run_and_tell(&arguments, ASKED, &asked) => run.expect_code(1),
            () = writer => unreachable!(),
        };
        run.shows("calls in the mesh are lost; this difference goes back:").shows("-    mode: STRICT");
        assert_eq!(mode(stage).await, "STRICT", "the tool writes nothing");
        stage.policies().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        stage.tool.run(&["probe", "web", "--control", "--expect", "accepted"]).await.expect_code(0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_does_not_come_is_named_when_the_time_is_over() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let run = stage.tool.run(&["enable-mtls", "--observe", "--timeout", "20s"]).await.expect_code(4);
        run.shows("not applied, or not as planned: peerauthentication.security.istio.io/default, destinationrule");
        assert_eq!(stage.mesh_objects().await, [""; 0]);
        assert_eq!(stage.probe_pods().await, [""; 0]);
        assert_eq!(crate::restore::journals(stage).await, [""; 0]);
    })
    .await;
}
