//! `DestinationRule`s and policies that are somebody else's: only `tls` and `mode` change, or nothing does.

use crate::namespace::{Stage, policy, with_namespace};
use crate::workload::{Workload, service};
use serde_json::{Value, json};

/// A rule as a team keeps it: pools, a subset, and a port with settings of its own.
fn team_rule(stage: &Stage) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "team-web"},
        "spec": {
            "host": format!("web.{}.svc.cluster.local", stage.name),
            "trafficPolicy": {
                "connectionPool": {"tcp": {"maxConnections": 77}},
                "outlierDetection": {"consecutive5xxErrors": 7},
                "portLevelSettings": [{"port": {"number": 8080}, "loadBalancer": {"simple": "ROUND_ROBIN"}}],
            },
            "subsets": [
                {"name": "v1", "labels": {"version": "v1"}},
                {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
            ],
        },
    })
}

/// A value without any `tls`, and without what is empty then.
fn without_tls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "tls")
            .map(|(key, value)| (key.clone(), without_tls(value)))
            .filter(|(_, value)| value.as_object().is_none_or(|fields| !fields.is_empty()))
            .collect(),
        Value::Array(values) => values.iter().map(without_tls).collect(),
        other => other.clone(),
    }
}

async fn one_service(stage: &Stage) {
    service(stage, "web", "app", ("http", 8080, 8080)).await;
    Workload::new("app", &["-http", ":8080"]).start(stage).await;
    stage.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_tls_changes_in_a_rule_of_a_user() {
    with_namespace(async |stage| {
        one_service(stage).await;
        let before = team_rule(stage);
        stage.create(&before).await;
        // The walk-through's policy, as `oc apply -f` leaves it.
        let mut applied = policy("default", None, "PERMISSIVE", json!({}));
        let last = serde_json::to_string(&applied).unwrap() + "\n";
        applied["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
        stage.create(&applied).await;

        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        run.shows("destinationrule.networking.istio.io/team-web configured")
            .shows("peerauthentication.security.istio.io/default configured");
        assert_eq!(
            stage.mesh_objects().await,
            ["destinationrule.networking.istio.io/team-web", "peerauthentication.security.istio.io/default"]
        );
        let spec = stage.rules().get("team-web").await.unwrap().data["spec"].clone();
        assert_eq!(without_tls(&spec), without_tls(&before["spec"]), "{spec:#}");
        let mutual = json!({"mode": "ISTIO_MUTUAL"});
        assert_eq!(spec["trafficPolicy"]["tls"], mutual, "{spec:#}");
        assert_eq!(spec["trafficPolicy"]["portLevelSettings"][0]["tls"], mutual, "{spec:#}");
        assert_eq!(spec["subsets"][1]["trafficPolicy"]["tls"], mutual, "{spec:#}");
        let changed = stage.policies().get("default").await.unwrap();
        assert_eq!(changed.data["spec"], json!({"mtls": {"mode": "STRICT"}}));
        stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0).shows("team-web unchanged");

        stage.tool.run(&["disable-mtls", "--yes"]).await.expect_code(0);
        let spec = stage.rules().get("team-web").await.unwrap().data["spec"].clone();
        assert_eq!(without_tls(&spec), without_tls(&before["spec"]), "{spec:#}");
        assert!(!spec.to_string().contains("ISTIO_MUTUAL") && !spec.to_string().contains("\"tls\":{}"), "{spec:#}");
        assert_eq!(stage.policies().get("default").await.unwrap().data["spec"]["mtls"]["mode"], "PERMISSIVE");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_of_a_controller_is_refused_and_nothing_is_written() {
    with_namespace(async |stage| {
        service(stage, "other", "app", ("http", 8080, 8080)).await;
        one_service(stage).await;
        let mut rule = team_rule(stage);
        rule["spec"]["trafficPolicy"]["tls"] = json!({"mode": "DISABLE"});
        stage.apply_as("flux", &rule).await;
        let before = stage.rules().get("team-web").await.unwrap();
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(4);
        run.shows("Apply failed with ").shows("conflict").shows("\"flux\"").shows(".spec.trafficPolicy.tls");
        assert_eq!(stage.mesh_objects().await, ["destinationrule.networking.istio.io/team-web"]);
        let after = stage.rules().get("team-web").await.unwrap();
        assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
        // Taken over only when it is said.
        stage.tool.run(&["enable-mtls", "--yes", "--force-conflicts"]).await.expect_code(0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_of_a_controller_is_refused_and_nothing_is_written() {
    with_namespace(async |stage| {
        one_service(stage).await;
        stage.apply_as("argocd-controller", &policy("default", None, "PERMISSIVE", json!({}))).await;
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(4);
        run.shows("conflict with \"argocd-controller\": .spec.mtls.mode");
        assert_eq!(stage.mesh_objects().await, ["peerauthentication.security.istio.io/default"]);
        assert_eq!(stage.policies().get("default").await.unwrap().data["spec"]["mtls"]["mode"], "PERMISSIVE");
    })
    .await;
}
