//! A cluster whose admission brings the probe pod into the mesh, or behind its own target: it notices.

use crate::namespace::{Stage, with_namespace};
use crate::workload::{Workload, service};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Policies of this kind hold for the whole cluster, so each is limited to the namespace, and deleted by us.
fn admission(stage: &Stage, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(stage.client.clone(), &ApiResource::from_gvk(&gvk))
}

/// Runs the body while admission changes the probe pods of the namespace by this JSON patch.
async fn with_admission(stage: &Stage, patch: &str, body: impl Future<Output = ()>) {
    let parts: [(&str, Value); 2] = [
        (
            "MutatingAdmissionPolicy",
            json!({
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.name}},
                    "objectSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "secure-traffic"}},
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]},
                    ],
                },
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
            }),
        ),
        ("MutatingAdmissionPolicyBinding", json!({"policyName": stage.name})),
    ];
    for (kind, spec) in &parts {
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": stage.name}, "spec": spec,
        });
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        match admission(stage, kind).create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return crate::environment::skip("the cluster has no MutatingAdmissionPolicy");
            }
            Err(error) => panic!("{error}"),
        }
    }
    let outcome = AssertUnwindSafe(body).catch_unwind().await;
    for (kind, _) in parts.iter().rev() {
        let _ = admission(stage, kind).delete(&stage.name, &DeleteParams::default()).await;
    }
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Waits until admission changes pods: the API server takes a policy up a moment after it was written.
async fn changed(stage: &Stage, shows: impl Fn(&Pod) -> bool) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "probe-of-admission",
            "labels": {"app.kubernetes.io/managed-by": "secure-traffic", "sidecar.istio.io/inject": "false"},
            "annotations": {"sidecar.istio.io/inject": "false"},
        },
        "spec": {"containers": [{"name": "none", "image": "registry.invalid/none:1"}]},
    }))
    .unwrap();
    for _ in 0..100 {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        if shows(&stage.pods().create(&dry, &pod).await.unwrap()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("admission does not change pods");
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_admission_brings_into_the_mesh_is_reported() {
    const INJECT: &str = r#"[
        JSONPatch{op: "replace", path: "/metadata/labels/sidecar.istio.io~1inject", value: "true"},
        JSONPatch{op: "remove", path: "/metadata/annotations/sidecar.istio.io~1inject"}
    ]"#;
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        with_admission(stage, INJECT, async {
            changed(stage, |pod| label(pod, "sidecar.istio.io/inject") == Some("true")).await;
            let report = stage.tool.probe(&["web:8080"]).await;
            report.expect(&[("web", "probe-meshed")]);
            assert_eq!(report.run.code, 3, "{report}");
            assert_eq!(stage.probe_pods().await, Vec::<String>::new());
        })
        .await;
        // The same question without that admission has an answer, once the API server has let go of it.
        changed(stage, |pod| label(pod, "sidecar.istio.io/inject") == Some("false")).await;
        stage.tool.probe(&["web:8080"]).await.expect_rejected(&stage.name, "web", "app");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_admission_puts_behind_its_target_is_reported() {
    const SELECT: &str = r#"[JSONPatch{op: "add", path: "/metadata/labels/app", value: "app"}]"#;
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        with_admission(stage, SELECT, async {
            changed(stage, |pod| label(pod, "app") == Some("app")).await;
            let report = stage.tool.probe(&["web:8080"]).await;
            report.expect(&[("web", "probe-selected")]);
            assert_eq!(report.run.code, 3, "{report}");
            let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(3);
            run.shows("probe-selected").shows("nothing was written");
            assert_eq!(stage.mesh_objects().await, Vec::<String>::new());
            assert_eq!(stage.probe_pods().await, Vec::<String>::new());
        })
        .await;
    })
    .await;
}
