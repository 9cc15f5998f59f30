use crate::helpers::{DEMO, apply_policy, curl, policy, rules};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use secure_traffic::sandbox::{Lookalike, Sandbox, State};
use serde_json::{Value, json};
use std::time::Duration;

const ALL: [Lookalike; 7] = [
    Lookalike::DeadHttp,
    Lookalike::DeadTcp,
    Lookalike::Resetting,
    Lookalike::Closing,
    Lookalike::Forged,
    Lookalike::Excluded,
    Lookalike::HalfMeshed,
];

async fn with_all(state: State) -> Sandbox {
    ALL.into_iter().fold(Sandbox::builder(state), secure_traffic::sandbox::Builder::with).start().await.unwrap()
}

#[tokio::test]
async fn lookalikes_under_permissive() {
    let sandbox = with_all(State::Permissive).await;
    let client = sandbox.client();
    for (name, url, code, status) in [
        ("dead-http", "http://dead-http:8080/", 0, "503"),
        ("dead-tcp", "http://dead-tcp:9000/", 56, "000"),
        ("resetting", "http://resetting:9000/", 56, "000"),
        ("closing", "http://closing:5432/", 52, "000"),
        ("forged", "http://forged:9443/", 52, "000"),
        ("excluded", "http://excluded:8080/", 0, "200"),
    ] {
        let ended = curl(&client, name, &["-o", "/dev/null", "-w", "%{stderr}%{http_code}", url]).await;
        assert_eq!(ended.code, code, "{url}: {}", ended.log);
        assert!(ended.log.starts_with(status) || ended.log.ends_with(status), "{url}: {}", ended.log);
    }
    let forged = curl(
        &client,
        "hello",
        &["-v", "-k", "--max-time", "2", "-o", "/dev/null", "-w", "%{certs}", "https://forged:9443/"],
    )
    .await;
    assert!(forged.log.contains("Request CERT (13)") && forged.log.contains("sa/forged"), "{}", forged.log);
    let http = curl(&client, "http-hello", &["-k", "-o", "/dev/null", "https://boards:8080/"]).await;
    assert_eq!(http.code, 35, "{}", http.log);
}

#[tokio::test]
async fn lookalikes_under_strict() {
    let sandbox = with_all(State::Strict).await;
    let client = sandbox.client();
    for (name, url, code) in [
        ("dead-http", "http://dead-http:8080/", 56),
        ("forged", "http://forged:9443/", 56),
        ("excluded", "http://excluded:8080/", 0),
        ("mongo", "http://boards-mongodb:27017/", 56),
    ] {
        let ended = curl(&client, name, &["-o", "/dev/null", url]).await;
        assert_eq!(ended.code, code, "{url}: {}", ended.log);
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let six = pods.list(&ListParams::default().labels("app=half-meshed")).await.unwrap().items;
    let mut codes = Vec::new();
    for (index, pod) in six.iter().enumerate() {
        let to = format!("::{}:8080", pod.status.as_ref().unwrap().pod_ip.as_ref().unwrap());
        let ended = curl(
            &client,
            &format!("half-{index}"),
            &["-o", "/dev/null", "--connect-to", &to, "http://half-meshed:8080/"],
        )
        .await;
        codes.push(ended.code);
    }
    codes.sort_unstable();
    assert_eq!(codes, [0, 56, 56, 56, 56, 56]);
}

/// The counts of the demo's load client, read through its own sidecar's port exception.
async fn stats(client: &Client, name: &str) -> Value {
    let mut control = crate::helpers::pod(name, &["-sS", "http://context-scraper:9100/stats"]);
    control.metadata.labels = None;
    serde_json::from_str(&crate::helpers::run(client, &control).await.log).unwrap()
}

#[tokio::test]
async fn the_switch_loses_no_meshed_call_and_a_disabling_rule_loses_them_all() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    for mode in ["STRICT", "PERMISSIVE", "STRICT"] {
        apply_policy(&client, mode).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let counts = stats(&client, "before").await;
    assert!(counts["ok"].as_u64().unwrap() > 5, "{counts}");
    assert_eq!(counts["failed"], 0, "{counts}");

    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "boards"},
        "spec": {"host": "boards", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    });
    rules(&client).patch("boards", &PatchParams::apply("tests"), &Patch::Apply(&rule)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let counts = stats(&client, "after").await;
    assert!(counts["failed"].as_u64().unwrap() > 3, "{counts}");
}

#[tokio::test]
async fn a_workload_policy_holds_for_its_port_alone() {
    let sandbox = Sandbox::start(State::Strict).await.unwrap();
    let client = sandbox.client();
    let mut exception = policy("STRICT");
    exception["metadata"]["name"] = "exception".into();
    exception["spec"]["selector"] = json!({"matchLabels": {"app": "userprofile"}});
    exception["spec"]["portLevelMtls"] = json!({"8080": {"mode": "PERMISSIVE"}});
    crate::helpers::policies(&client)
        .patch("exception", &PatchParams::apply("tests"), &Patch::Apply(&exception))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(curl(&client, "open", &["-o", "/dev/null", "http://userprofile:8080/"]).await.code, 0);
    assert_eq!(curl(&client, "closed", &["-o", "/dev/null", "http://boards:8080/"]).await.code, 56);
}

#[tokio::test]
async fn the_legacy_policy_applies() {
    let sandbox = Sandbox::start(State::Legacy).await.unwrap();
    let client = sandbox.client();
    assert_eq!(curl(&client, "open", &["-o", "/dev/null", "http://boards:8080/"]).await.code, 0);
    let policy = json!({
        "apiVersion": "authentication.istio.io/v1alpha1", "kind": "Policy", "metadata": {"name": "default"},
        "spec": {"peers": [{"mtls": {"mode": "STRICT"}}]},
    });
    let policies = crate::helpers::dynamic(&client, "authentication.istio.io", "v1alpha1", "Policy");
    policies.patch("default", &PatchParams::apply("tests"), &Patch::Apply(&policy)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(curl(&client, "closed", &["-o", "/dev/null", "http://boards:8080/"]).await.code, 56);
}
