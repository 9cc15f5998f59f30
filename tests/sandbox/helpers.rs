use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

pub(crate) const DEMO: &str = "microservices-demo";
pub(crate) const STRICT_WORDS: [&str; 2] = ["-q", "-sS"];

pub(crate) fn dynamic(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::namespaced_with(client.clone(), DEMO, &resource)
}

pub(crate) fn policies(client: &Client) -> Api<DynamicObject> {
    dynamic(client, "security.istio.io", "v1", "PeerAuthentication")
}

pub(crate) fn rules(client: &Client) -> Api<DynamicObject> {
    dynamic(client, "networking.istio.io", "v1", "DestinationRule")
}

pub(crate) fn policy(mode: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default"}, "spec": {"mtls": {"mode": mode}},
    })
}

pub(crate) async fn apply_policy(client: &Client, mode: &str) {
    let params = PatchParams::apply("tests").force();
    policies(client).patch("default", &params, &Patch::Apply(policy(mode))).await.unwrap();
}

pub(crate) fn status(error: &kube::Error) -> (u16, String, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not a Status: {other}"),
    }
}

pub(crate) fn pod(name: &str, arguments: &[&str]) -> Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{
                "name": "probe", "image": "docker.io/curlimages/curl:8.16.0", "command": ["curl"], "args": arguments,
            }],
        },
    }))
    .unwrap()
}

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) log: String,
    pub(crate) message: String,
    pub(crate) phases: Vec<String>,
}

/// Runs a pod to its end, watching it, and removes it.
pub(crate) async fn run(client: &Client, pod: &Pod) -> Ended {
    run_named(client, pod, &pod.spec.as_ref().unwrap().containers[0].name).await
}

/// The same, with the log and the end of this container.
pub(crate) async fn run_named(client: &Client, pod: &Pod, container: &str) -> Ended {
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let name = pod.metadata.name.clone().unwrap();
    let created = pods.create(&PostParams::default(), pod).await.unwrap();
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(60);
    let mut events = pods.watch(&params, &created.metadata.resource_version.unwrap()).await.unwrap().boxed();
    let mut phases = Vec::new();
    while let Some(event) = events.next().await {
        let WatchEvent::Modified(pod) = event.unwrap() else { continue };
        let status = pod.status.unwrap();
        phases.push(status.phase.clone().unwrap());
        let mut statuses = status.container_statuses.unwrap_or_default().into_iter();
        let state = statuses.find(|status| status.name == container).unwrap().state.unwrap();
        if let Some(end) = state.terminated {
            let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
            let log = pods.logs(&name, &params).await.unwrap();
            pods.delete(&name, &kube::api::DeleteParams::default()).await.unwrap();
            return Ended { code: end.exit_code, log, message: end.message.unwrap_or_default(), phases };
        }
    }
    panic!("the watch ended before the pod did: {phases:?}");
}

/// Runs curl in a pod outside the mesh.
pub(crate) async fn curl(client: &Client, name: &str, arguments: &[&str]) -> Ended {
    run(client, &pod(name, &[&STRICT_WORDS[..], arguments].concat())).await
}
