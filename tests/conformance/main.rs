//! What the tool relies on of an API server: one suite, run on the sandbox always, and on the cluster of
//! `SECURE_TRAFFIC_E2E_KUBECONFIG` where one is named. The same assertions on both.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "the environment names the cluster")]

mod suite;

use futures::FutureExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secure_traffic::curl_pod::probe_pod::random_word;
use secure_traffic::sandbox::{Sandbox, State};
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

#[tokio::test]
async fn the_sandbox_passes() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let served = sandbox.serve(0).await.unwrap();
    let client = connect(Kubeconfig::from_yaml(&served.kubeconfig).unwrap()).await;
    suite::all(&client, sandbox.namespace()).await;
}

#[tokio::test]
async fn the_cluster_passes() {
    let Some(path) = std::env::var_os("SECURE_TRAFFIC_E2E_KUBECONFIG") else {
        let required = std::env::var("SECURE_TRAFFIC_E2E_REQUIRED").is_ok_and(|value| value == "1");
        assert!(!required, "SECURE_TRAFFIC_E2E_REQUIRED is set, and SECURE_TRAFFIC_E2E_KUBECONFIG names no cluster");
        return;
    };
    let client = connect(Kubeconfig::read_from(path).unwrap()).await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let name = format!("secure-traffic-conformance-{}", random_word(6));
    let namespace = json!({"metadata": {"name": name}});
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    let work = async {
        // Pods are refused until the controllers have made the namespace's service account.
        suite::until_pods_can_be_made(&client, &name).await;
        suite::all(&client, &name).await;
    };
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    namespaces.delete(&name, &DeleteParams::default()).await.unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn connect(kubeconfig: Kubeconfig) -> Client {
    // The process default is the binary's to install; a second test finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_mins(1));
    Client::try_from(config).unwrap()
}
