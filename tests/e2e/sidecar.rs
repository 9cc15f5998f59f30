//! The sidecars' own admin interfaces, asked without the tool.

use crate::namespace::Stage;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the Envoy of a pod answers to a GET, as JSON; none where it gives no answer now.
pub(crate) async fn ask(stage: &Stage, pod: &str, path: &str) -> Option<Value> {
    let mut forwarder = stage.pods().portforward(pod, &[15000]).await.ok()?;
    let mut stream = forwarder.take_stream(15000)?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    serde_json::from_slice(&unchunked(&answer[end + 4..])).ok()
}

/// Waits until the sidecars of all running pods have what the control plane has been told by now. A pod can be ready
/// with what was true before: under load the control plane takes its time. A Service that is made now and seen by a
/// sidecar comes after everything that was made before.
pub(crate) async fn caught_up(stage: &Stage) {
    let services: Api<Service> = Api::namespaced(stage.client.clone(), &stage.name);
    let name = "made-after-all-the-rest";
    let marker = json!({"metadata": {"name": name}, "spec": {"ports": [{"name": "http", "port": 80}]}});
    services.create(&PostParams::default(), &serde_json::from_value(marker).unwrap()).await.unwrap();
    let pods = stage.pods().list(&ListParams::default()).await.unwrap();
    let path = format!("/config_dump?resource=dynamic_active_clusters&name_regex=.*{name}.*");
    let deadline = Instant::now() + Duration::from_mins(1);
    for pod in pods.iter().filter(|pod| has_sidecar(pod)) {
        let has_marker = async || {
            let dump = ask(stage, &pod.name_any(), &path).await;
            dump.is_some_and(|dump| dump["configs"].as_array().is_some_and(|configs| !configs.is_empty()))
        };
        while !has_marker().await {
            assert!(Instant::now() < deadline, "the sidecar of {} does not follow the control plane", pod.name_any());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    services.delete(name, &DeleteParams::default()).await.unwrap();
}

fn has_sidecar(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|one| one.name == "istio-proxy")
}

/// The body of a chunked answer: each piece after its length in hexadecimal digits.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|bytes| bytes == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest = &rest[line + 2 + length + 2..];
    }
    body
}
