use crate::helpers::{DEMO, curl, status};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secure_traffic::sandbox::{Sandbox, State};
use serde_json::json;

async fn client(kubeconfig: &str) -> Client {
    // The process default is the binary's to install; a second test finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn the_kubeconfig_leads_to_the_same_cluster() {
    let sandbox = Sandbox::start(State::Strict).await.unwrap();
    let served = sandbox.serve(0).await.unwrap();
    assert!(served.url.starts_with("https://127.0.0.1:"));
    let client = client(&served.kubeconfig).await;
    assert_eq!(client.default_namespace(), DEMO);
    let services: Api<Service> = Api::default_namespaced(client.clone());
    assert_eq!(services.list(&ListParams::default()).await.unwrap().items.len(), 5);
    assert_eq!(curl(&client, "probe", &["http://boards:8080/shareditems"]).await.code, 56);
    let seen: Api<Pod> = Api::namespaced(sandbox.client(), DEMO);
    assert!(seen.get_opt("probe").await.unwrap().is_none());

    drop(served);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(services.list(&ListParams::default()).await.is_err());
}

#[tokio::test]
async fn a_wrong_token_is_unauthorized() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let served = sandbox.serve(0).await.unwrap();
    let broken: String = served
        .kubeconfig
        .lines()
        .map(|line| if line.trim_start().starts_with("token:") { "    token: wrong" } else { line })
        .collect::<Vec<_>>()
        .join("\n");
    let client = client(&broken).await;
    let services: Api<Service> = Api::default_namespaced(client);
    let (code, reason, _) = status(&services.list(&ListParams::default()).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (401, "Unauthorized"));
}

#[tokio::test]
async fn a_pod_whose_spec_is_no_object_is_invalid() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let kind = kube::api::ApiResource::erase::<Pod>(&());
    let pods: Api<kube::api::DynamicObject> = Api::namespaced_with(sandbox.client(), DEMO, &kind);
    for (field, value) in [("spec", json!("x")), ("spec", json!([1])), ("spec", json!(7)), ("status", json!("x"))] {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "odd"},
            "spec": {"containers": [{"name": "probe", "image": "x", "command": ["curl"], "args": []}]},
        });
        pod[field] = value.clone();
        let error = pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap_err();
        assert_eq!(status(&error).0, 422, "{field}: {value}");
    }
}

#[tokio::test]
async fn copies_of_a_json_patch_are_limited() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(sandbox.client(), DEMO);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"a": "x"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let doubling = (0..60).map(|copy| json!({"op": "copy", "from": "/data", "path": format!("/data/copy-{copy}")}));
    for operations in [doubling.collect(), vec![json!({"op": "test", "path": "/data/a", "value": "x"}); 10_001]] {
        let patch: json_patch::Patch = serde_json::from_value(operations.into()).unwrap();
        let error = maps.patch("a", &PatchParams::default(), &Patch::Json::<()>(patch)).await.unwrap_err();
        assert_eq!(status(&error).0, 413);
    }
}

#[tokio::test]
async fn idle_connections_do_not_end_the_server() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let served = sandbox.serve(0).await.unwrap();
    let client = client(&served.kubeconfig).await;
    let address = served.url.trim_start_matches("https://").to_owned();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    let services: Api<Service> = Api::default_namespaced(client);
    let listed = tokio::time::timeout(std::time::Duration::from_secs(25), services.list(&ListParams::default())).await;
    assert_eq!(listed.unwrap().unwrap().items.len(), 5);
}
