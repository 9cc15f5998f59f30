//! What cannot be asked, and what the cluster does not allow: named, and nothing left or written.

use crate::namespace::{Stage, with_namespace};
use crate::workload::{Workload, service};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota, ServiceAccount};
use kube::ResourceExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_names_are_reported_with_the_known_ones() {
    with_namespace(async |stage| {
        service(stage, "boards", "nobody", ("http", 8080, 8080)).await;
        service(stage, "shop", "nobody", ("tcp", 27017, 27017)).await;
        let run = stage.tool.run(&["probe", "board"]).await.expect_code(2);
        run.shows("service \"board\" not found").shows("boards, shop");
        let run = stage.tool.run(&["probe", "boards:8081"]).await.expect_code(2);
        run.shows("no TCP port \"8081\"").shows("8080 (http)");
        let run = stage.tool.run(&["enable-mtls", "--yes", "board"]).await.expect_code(2);
        run.shows("board").shows("boards");
        assert_eq!(stage.mesh_objects().await, Vec::<String>::new());
        let nowhere = crate::tool::Tool::new("st-e2e-is-not-there");
        nowhere.run(&["probe"]).await.expect_code(4).shows("st-e2e-is-not-there");
        nowhere.run(&["enable-mtls", "--yes"]).await.expect_code(4).shows("st-e2e-is-not-there");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_pulled_is_inconclusive_at_once() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).outside().start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&["--image", "registry.invalid/nowhere:1", "web:8080"]).await;
        report.expect(&[("web", "image-pull")]);
        assert_eq!(report.run.code, 3, "{report}");
        assert!(report.run.took < Duration::from_secs(30), "{report}");
        let run = stage.tool.run(&["enable-mtls", "--yes", "--image", "registry.invalid/nowhere:1"]).await;
        assert_ne!(run.code, 0, "{run}");
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_security_of_level_restricted_admits_the_probe() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let restricted = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
        }}});
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        namespaces.patch(&stage.name, &PatchParams::default(), &Patch::Merge(restricted)).await.unwrap();
        stage.tool.probe(&["web:8080"]).await.expect_rejected(&stage.name, "web", "app");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_named_and_nothing_is_written() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        stage
            .create(&json!({
                "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
                "spec": {"hard": {"pods": "0"}},
            }))
            .await;
        let quotas: Api<ResourceQuota> = Api::namespaced(stage.client.clone(), &stage.name);
        for _ in 0..100 {
            let known = quotas.get("none").await.unwrap().status.and_then(|status| status.used).is_some();
            if known {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let report = stage.tool.probe(&["web:8080"]).await;
        report.expect(&[("web", "quota")]);
        assert_eq!(report.run.code, 3, "{report}");
        let run = stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(3);
        run.shows("quota").shows("nothing was written");
        assert_eq!(stage.mesh_objects().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_range_above_the_requests_is_named() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).outside().start(stage).await;
        stage.ready().await;
        stage
            .create(&json!({
                "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "large"},
                "spec": {"limits": [{"type": "Container", "min": {"memory": "128Mi"}}]},
            }))
            .await;
        let report = stage.tool.probe(&["web:8080"]).await;
        report.expect(&[("web", "limit-range")]);
        assert!(report.result("web")["message"].as_str().unwrap().contains("128Mi"), "{report}");
        assert_eq!(report.run.code, 3, "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_without_curl_is_named() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).outside().start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&["--image", &crate::environment::environment().app_image, "web:8080"]).await;
        report.expect(&[("web", "no-curl")]);
        assert!(report.run.took < Duration::from_secs(30), "{report}");
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_does_not_answer_is_named() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).outside().start(stage).await;
        stage.ready().await;
        let gvk = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration");
        let api: Api<DynamicObject> = Api::all_with(stage.client.clone(), &ApiResource::from_gvk(&gvk));
        let hook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": stage.name},
            "webhooks": [{
                "name": "gone.example.org", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 2, "failurePolicy": "Fail",
                "clientConfig": {"service": {"name": "gone", "namespace": stage.name}},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.name}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
            }],
        });
        api.create(&PostParams::default(), &serde_json::from_value(hook).unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let report = stage.tool.probe(&["web:8080"]).await;
        api.delete(&stage.name, &DeleteParams::default()).await.unwrap();
        report.expect(&[("web", "webhook-failed")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evicted_probe_is_named_at_once() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("tcp", 9000, 9000)).await;
        Workload::new("app", &["-silent", ":9000"]).outside().start(stage).await;
        stage.ready().await;
        let evict = async {
            let pod = loop {
                let running = stage
                    .pods()
                    .list(&ListParams::default().labels("app.kubernetes.io/name=secure-traffic-probe"))
                    .await
                    .unwrap();
                let is_running =
                    |pod: &&Pod| pod.status.as_ref().is_some_and(|it| it.phase.as_deref() == Some("Running"));
                if let Some(pod) = running.iter().find(is_running) {
                    break pod.name_any();
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            stage.pods().evict(&pod, &EvictParams::default()).await.unwrap();
        };
        let (report, ()) = futures::join!(stage.tool.probe(&["web:9000"]), evict);
        report.expect(&[("web", "evicted")]);
        assert!(report.run.took < Duration::from_secs(20), "{report}");
    })
    .await;
}

pub(crate) const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// A token of a `ServiceAccount` with these rules.
pub(crate) async fn token(stage: &Stage, name: &str, rules: Value) -> String {
    let metadata = json!({"name": name});
    stage.create(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await;
    stage.create(&json!({"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": rules})).await;
    let binding = json!({
        "apiVersion": RBAC, "kind": "RoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": stage.name}],
    });
    stage.create(&binding).await;
    let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), &stage.name);
    let request: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": [], "expirationSeconds": 600}})).unwrap();
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_are_named_and_nothing_is_written() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let may = |group: &str, resources: Value, verbs: Value| {
            json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
        };
        let reads = [
            may("", json!(["services", "pods", "configmaps"]), json!(["get", "list"])),
            may("discovery.k8s.io", json!(["endpointslices"]), json!(["list"])),
            may("security.istio.io", json!(["peerauthentications"]), json!(["list"])),
            may("networking.istio.io", json!(["destinationrules"]), json!(["list"])),
        ];
        let run_pods = may("", json!(["pods", "pods/log"]), json!(["get", "watch", "create", "delete"]));
        let write_rules = may("networking.istio.io", json!(["destinationrules"]), json!(["patch", "create"]));
        let with = |more: &[&Value]| json!(reads.iter().chain(more.iter().copied()).collect::<Vec<_>>());

        let nobody = token(stage, "nobody", json!([])).await;
        for command in [&["probe", "web"][..], &["enable-mtls", "--yes"]] {
            let run = stage.tool.run(&[&["--token", &nobody], command].concat()).await.expect_code(4);
            run.shows("could not list ").shows("cannot list resource").shows(&stage.name);
            assert!(!run.stderr.contains(&nobody), "the token is printed");
        }
        let reader = token(stage, "reader", with(&[])).await;
        let run = stage.tool.run(&["--token", &reader, "probe", "web"]).await.expect_code(4);
        run.shows("create pods");
        let run = stage.tool.run(&["--token", &reader, "enable-mtls", "--yes"]).await.expect_code(4);
        run.shows("create pods").shows("nothing was written");
        let prober = token(stage, "prober", with(&[&run_pods])).await;
        // Policies of the root namespace cannot be read by it: a namespace without a policy has an unknown mode.
        let report = stage.tool.probe(&["--token", &prober, "web"]).await;
        report.expect(&[("web", "accepted")]);
        let run = stage.tool.run(&["--token", &prober, "enable-mtls", "--yes"]).await.expect_code(4);
        // One message names what is missing for every purpose.
        run.shows("create leases.coordination.k8s.io").shows("patch peerauthentications.security.istio.io");
        run.shows("patch destinationrules.networking.istio.io").shows("nothing was written");
        let run = stage.tool.run(&["--token", &prober, "enable-mtls", "--yes", "--no-journal"]).await.expect_code(4);
        run.shows("patch destinationrules.networking.istio.io").shows("nothing was written");
        // Half of the rights must not make half of the changes.
        let half = token(stage, "half", with(&[&run_pods, &write_rules])).await;
        let run = stage.tool.run(&["--token", &half, "enable-mtls", "--yes", "--no-journal"]).await.expect_code(4);
        run.shows("patch peerauthentications.security.istio.io").shows("nothing was written");
        assert_eq!(stage.mesh_objects().await, Vec::<String>::new());
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());

        // A mode that the namespace's own policy gives needs no look at the root namespace.
        stage.set_mode("STRICT").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let report = stage.tool.probe(&["--token", &prober, "web"]).await;
        report.expect_rejected(&stage.name, "web", "app");
    })
    .await;
}
