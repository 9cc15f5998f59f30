use crate::helpers::{DEMO, curl, status};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secure_traffic::sandbox::{Sandbox, State};

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
