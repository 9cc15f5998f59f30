//! Admission of a new pod: adds the API server's defaults and, if the namespace is labelled, the sidecar.

use serde_json::{Value, json};

/// Adds the defaults of a real server, and the sidecar if [`wants_sidecar`].
pub(super) fn admit(namespace: &Value, pod: &mut Value) {
    let defaults = [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("serviceAccountName", json!("default")),
        ("securityContext", json!({})),
        ("schedulerName", json!("default-scheduler")),
        ("enableServiceLinks", json!(true)),
    ];
    for (field, value) in defaults {
        if pod["spec"][field].is_null() {
            pod["spec"][field] = value;
        }
    }
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        for (field, value) in [("terminationMessagePath", "/dev/termination-log"), ("terminationMessagePolicy", "File")]
        {
            if container[field].is_null() {
                container[field] = value.into();
            }
        }
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
    if wants_sidecar(namespace, pod) {
        inject(pod);
    }
}

/// The label of the pod decides, then its annotation, then the namespace.
fn wants_sidecar(namespace: &Value, pod: &Value) -> bool {
    let enabled = namespace["metadata"]["labels"]["istio-injection"] == "enabled";
    let metadata = &pod["metadata"];
    let word = metadata["labels"]["sidecar.istio.io/inject"]
        .as_str()
        .or_else(|| metadata["annotations"]["sidecar.istio.io/inject"].as_str());
    enabled && word != Some("false") && pod["spec"]["hostNetwork"] != true
}

/// Adds the native sidecar, and the label and annotations of the webhook.
pub(super) fn inject(pod: &mut Value) {
    pod["metadata"]["annotations"]["istio.io/rev"] = "default".into();
    pod["metadata"]["annotations"]["sidecar.istio.io/status"] =
        r#"{"initContainers":["istio-proxy"],"containers":null,"revision":"default"}"#.into();
    pod["metadata"]["labels"]["security.istio.io/tlsMode"] = "istio".into();
    let proxy = json!({
        "name": "istio-proxy",
        "image": "sandbox/proxyv2",
        "args": ["proxy", "sidecar"],
        "ports": [{"name": "http-envoy-prom", "containerPort": 15090, "protocol": "TCP"}],
        "restartPolicy": "Always",
    });
    match pod["spec"]["initContainers"].as_array_mut() {
        Some(containers) => containers.push(proxy),
        None => pod["spec"]["initContainers"] = json!([proxy]),
    }
}

/// Whether a pod has the sidecar.
pub(super) fn is_injected(pod: &Value) -> bool {
    ["initContainers", "containers"]
        .iter()
        .flat_map(|list| pod["spec"][*list].as_array().into_iter().flatten())
        .any(|container| container["name"] == "istio-proxy")
}
