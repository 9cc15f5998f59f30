//! A namespace in which NetworkPolicies deny by default: nothing is written before the probe is admitted.

use crate::namespace::{Stage, with_namespace};
use crate::workload::{Workload, service};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

/// Applies NetworkPolicies, and waits until they are enforced.
async fn apply(stage: &Stage, policies: &[Value]) {
    for policy in policies {
        stage.apply_as("kubectl", policy).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
}

/// The NetworkPolicies among the lines that the tool printed.
fn printed(text: &str) -> Vec<Value> {
    let begin = text.find("apiVersion: networking.k8s.io/v1").unwrap_or(text.len());
    let is_yaml = |line: &&str| {
        line.starts_with([' ', '-'])
            || ["apiVersion:", "kind:", "metadata:", "spec:"].iter().any(|key| line.starts_with(key))
    };
    let lines: Vec<&str> = text[begin..].lines().take_while(is_yaml).collect();
    secure_traffic::istio::yaml::read_all(&lines.join("\n")).unwrap()
}

async fn journals(stage: &Stage) -> usize {
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.name);
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=secure-traffic");
    maps.list(&ours).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_default_deny_nothing_is_written_until_the_printed_rule_admits_the_probe() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 80, 8080)).await;
        service(stage, "echo", "echo", ("tcp", 9000, 9000)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        Workload::new("echo", &["-echo", ":9000"]).start(stage).await;
        stage.ready().await;
        let deny = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "default-deny"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        });
        apply(stage, &[deny]).await;
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await;
        if run.code == 0 {
            return crate::environment::skip("NetworkPolicies are not enforced here");
        }
        let run = run.expect_code(1);
        run.shows("probe-blocked").shows("networkpolicy/default-deny isolates").shows("nothing was written");
        for object in ["service/web:80", "service/echo:9000", "pod/app", "pod/echo"] {
            run.shows(object);
        }
        assert_eq!(stage.mesh_objects().await, Vec::<String>::new());
        assert_eq!((journals(stage).await, stage.probe_pods().await), (0, Vec::new()), "{run}");

        let rules = printed(&run.stderr);
        assert_eq!(rules.len(), 2, "{run}");
        apply(stage, &rules).await;
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        run.shows("rejected").shows("in-mesh calls");
        assert!(!run.stderr.contains("no client in the mesh could be started"), "the mesh client is admitted: {run}");

        // Without the rules again, STRICT is turned off all the same.
        let policies: Api<NetworkPolicy> = Api::namespaced(stage.client.clone(), &stage.name);
        for rule in &rules {
            policies.delete(rule["metadata"]["name"].as_str().unwrap(), &DeleteParams::default()).await.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        let run = stage.tool.run(&["disable-mtls", "--yes", "--verify=false", "--restore"]).await.expect_code(0);
        assert_eq!(stage.mesh_objects().await, Vec::<String>::new(), "{run}");

        // What `rbac` prints without a cluster admits the probe as well.
        let run = stage.tool.run(&["rbac", "enable-mtls", "--network-policy"]).await.expect_code(0);
        apply(stage, &printed(&run.stdout)).await;
        stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0).shows("rejected");
    })
    .await;
}
