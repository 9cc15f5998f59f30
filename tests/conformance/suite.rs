//! The assertions. They know a client and a namespace, and nothing of who serves them.

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Client;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams, Preconditions,
    ValidationDirective, WatchEvent, WatchParams,
};
use kube::core::{GroupVersionKind, Status};
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use std::time::Duration;

const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn all(client: &Client, namespace: &str) {
    discovery(client).await;
    let policies = api(client, namespace, "security.istio.io", "PeerAuthentication");
    let rules = api(client, namespace, "networking.istio.io", "DestinationRule");
    absence(&policies).await;
    dry_run(&policies).await;
    strictness(&policies).await;
    apply(&policies).await;
    tested_patches(client, namespace, &policies).await;
    conflicts(&policies).await;
    preconditions(&policies).await;
    lists(&rules).await;
    webhook(&rules).await;
    a_pod_from_start_to_end(client, namespace).await;
}

fn api(client: &Client, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(client.clone(), namespace, &resource)
}

fn status(error: kube::Error) -> Status {
    match error {
        kube::Error::Api(status) => *status,
        other => panic!("not a Status: {other}"),
    }
}

fn policy(mode: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "conformance"}, "spec": {"mtls": {"mode": mode}},
    })
}

fn strict(manager: &str) -> PatchParams {
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply(manager) }
}

/// Managers with their operations, in the order of the object.
fn owners(object: &DynamicObject) -> Vec<(String, String)> {
    let entries = object.metadata.managed_fields.iter().flatten();
    entries.map(|entry| (entry.manager.clone().unwrap(), entry.operation.clone().unwrap())).collect()
}

async fn discovery(client: &Client) {
    let groups = client.list_api_groups().await.unwrap();
    for (group, kind, plural) in [
        ("security.istio.io", "PeerAuthentication", "peerauthentications"),
        ("networking.istio.io", "DestinationRule", "destinationrules"),
    ] {
        let found = groups.groups.iter().find(|found| found.name == group).unwrap();
        assert!(found.versions.iter().any(|version| version.version == "v1"), "{group}");
        let resources = client.list_api_group_resources(&format!("{group}/v1")).await.unwrap();
        let resource = resources.resources.iter().find(|resource| resource.name == plural).unwrap();
        assert_eq!((resource.kind.as_str(), resource.namespaced), (kind, true));
        for verb in ["get", "list", "create", "patch", "delete", "watch"] {
            assert!(resource.verbs.iter().any(|known| known == verb), "{plural}: {verb}");
        }
    }
    let none = client.list_api_group_resources("nosuch.example.org/v1").await.unwrap_err();
    // A path of no group may have no Status behind it.
    assert!(none.to_string().contains("404") || matches!(none, kube::Error::Api(status) if status.code == 404));
}

async fn absence(policies: &Api<DynamicObject>) {
    let gone = status(policies.get("conformance").await.unwrap_err());
    assert_eq!((gone.code, gone.reason.as_str()), (404, "NotFound"));
    assert_eq!(gone.message, "peerauthentications.security.istio.io \"conformance\" not found");
    let gone = status(policies.delete("conformance", &DeleteParams::default()).await.unwrap_err());
    assert_eq!(gone.code, 404);
}

async fn dry_run(policies: &Api<DynamicObject>) {
    let params = PatchParams { dry_run: true, ..strict("conformance") };
    let shown = policies.patch("conformance", &params, &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(shown.data["spec"]["mtls"]["mode"], "STRICT");
    assert!(shown.metadata.uid.is_some(), "as it would be");
    assert!(policies.get_opt("conformance").await.unwrap().is_none(), "nothing was written");
}

async fn strictness(policies: &Api<DynamicObject>) {
    let mut unknown = policy("STRICT");
    unknown["spec"]["mtlz"] = json!({});
    let refused = status(policies.patch("conformance", &strict("a"), &Patch::Apply(&unknown)).await.unwrap_err());
    // A typed patch is refused by the schema before strictness is looked at.
    assert!(matches!(refused.code, 400 | 500), "{refused:?}");
    assert!(refused.message.contains("mtlz"), "{refused:?}");
    let refused = policies.patch("conformance", &strict("a"), &Patch::Apply(policy("LAX"))).await.unwrap_err();
    let refused = status(refused);
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(refused.message.contains("spec.mtls.mode: Unsupported value: \"LAX\""), "{refused:?}");
    assert!(policies.get_opt("conformance").await.unwrap().is_none());
}

async fn apply(policies: &Api<DynamicObject>) {
    let made = policies.patch("conformance", &strict("mine"), &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(owners(&made), [("mine".to_owned(), "Apply".to_owned())]);
    let fields = serde_json::to_value(&made.metadata.managed_fields.as_ref().unwrap()[0].fields_v1).unwrap();
    assert_eq!(fields, json!({"f:spec": {"f:mtls": {"f:mode": {}}}}), "an owner per leaf");
    let again = policies.patch("conformance", &strict("mine"), &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(made.metadata.resource_version, again.metadata.resource_version, "what changes nothing writes nothing");
}

/// Sends a JSON patch as the tool does.
async fn patch(client: &Client, namespace: &str, operations: &Value) -> Result<DynamicObject, kube::Error> {
    let path = format!(
        "/apis/security.istio.io/v1/namespaces/{namespace}/peerauthentications/conformance?fieldManager=patcher&fieldValidation=Strict"
    );
    let request = http::Request::patch(path).header("content-type", "application/json-patch+json");
    client.request(request.body(operations.to_string().into_bytes()).unwrap()).await
}

async fn tested_patches(client: &Client, namespace: &str, policies: &Api<DynamicObject>) {
    let version = policies.get("conformance").await.unwrap().metadata.resource_version.unwrap();
    let operations = |version: &str, former: &str| {
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "test", "path": "/spec/mtls/mode", "value": former},
            {"op": "replace", "path": "/spec/mtls/mode", "value": "PERMISSIVE"},
        ])
    };
    for (version, former) in [("1", "STRICT"), (version.as_str(), "DISABLE")] {
        let stale = status(patch(client, namespace, &operations(version, former)).await.unwrap_err());
        assert_eq!((stale.code, stale.reason.as_str()), (422, "Invalid"));
        assert!(stale.message.contains("rejected our request"), "{stale:?}");
    }
    let missing = json!([{"op": "remove", "path": "/spec/portLevelMtls"}]);
    assert_eq!(status(patch(client, namespace, &missing).await.unwrap_err()).code, 422);
    let changed = patch(client, namespace, &operations(&version, "STRICT")).await.unwrap();
    assert_eq!(changed.data["spec"]["mtls"]["mode"], "PERMISSIVE");
    assert_ne!(changed.metadata.resource_version.as_ref(), Some(&version));
    assert_eq!(changed.metadata.generation, Some(2));
    assert!(owners(&changed).contains(&("patcher".to_owned(), "Update".to_owned())), "{:?}", owners(&changed));
    let stale = status(patch(client, namespace, &operations(&version, "STRICT")).await.unwrap_err());
    assert_eq!(stale.code, 422, "the same again");
}

async fn conflicts(policies: &Api<DynamicObject>) {
    let refused = policies.patch("conformance", &strict("other"), &Patch::Apply(policy("DISABLE"))).await.unwrap_err();
    let refused = status(refused);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert!(refused.message.contains("Apply failed with 1 conflict"), "{refused:?}");
    let cause = &refused.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.mtls.mode"));
    let object = serde_json::from_value(policy("STRICT")).unwrap();
    let exists = status(policies.create(&PostParams::default(), &object).await.unwrap_err());
    assert_eq!((exists.code, exists.reason.as_str()), (409, "AlreadyExists"));
    let forced =
        policies.patch("conformance", &strict("other").force(), &Patch::Apply(policy("DISABLE"))).await.unwrap();
    assert!(owners(&forced).contains(&("other".to_owned(), "Apply".to_owned())), "{:?}", owners(&forced));
    assert_eq!(forced.data["spec"]["mtls"]["mode"], "DISABLE");
}

async fn preconditions(policies: &Api<DynamicObject>) {
    let of_another = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some("00000000-0000-0000-0000-000000000000".to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let refused = status(policies.delete("conformance", &of_another).await.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    policies.delete("conformance", &DeleteParams::default()).await.unwrap();
    assert!(policies.get_opt("conformance").await.unwrap().is_none());
}

fn rule(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": name, "labels": {"suite": "conformance"}},
        "spec": {"host": host, "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}},
    })
}

async fn lists(rules: &Api<DynamicObject>) {
    for name in ["c-1", "c-2", "c-3"] {
        rules.patch(name, &strict("mine"), &Patch::Apply(rule(name, name))).await.unwrap();
    }
    let ours = ListParams::default().labels("suite=conformance");
    let mut names = Vec::new();
    let mut params = ours.clone().limit(2);
    loop {
        let page = rules.list(&params).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().filter_map(|rule| rule.metadata.name));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else { break };
        params = params.continue_token(&token);
    }
    assert_eq!(names, ["c-1", "c-2", "c-3"], "in pages, by name, none twice");
    assert!(rules.list(&ListParams::default().labels("suite=other")).await.unwrap().items.is_empty());
    for name in ["c-1", "c-2", "c-3"] {
        rules.delete(name, &DeleteParams::default()).await.unwrap();
    }
}

/// What only istiod refuses. Where its webhook is not asked, as installations differ, the schema takes it.
async fn webhook(rules: &Api<DynamicObject>) {
    let params = PatchParams { dry_run: true, ..strict("mine") };
    let refused = rules.patch("c-bad", &params, &Patch::Apply(rule("c-bad", "not a host!"))).await;
    let Err(refused) = refused else { return };
    let refused = status(refused);
    assert_eq!((refused.code, refused.reason.as_str()), (400, "BadRequest"));
    assert!(refused.message.contains("admission webhook") && refused.message.contains("denied"), "{refused:?}");
}

/// A pod as the tool makes it, whose curl asks for a name that does not exist.
fn probe() -> Pod {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "conformance-probe",
            "labels": {"sidecar.istio.io/inject": "false", "app.kubernetes.io/managed-by": "conformance"},
        },
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "activeDeadlineSeconds": 60,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "probe", "image": secure_traffic::curl_pod::probe_pod::DEFAULT_IMAGE,
                "imagePullPolicy": "IfNotPresent", "command": ["curl"],
                "args": [
                    "-q", "-sS", "--max-time", "5", "-o", "/dev/null", "-w", "%{stderr}MARK %{exitcode}\n",
                    "http://nosuch.invalid:8080/",
                ],
            }],
        },
    }))
    .unwrap()
}

async fn a_pod_from_start_to_end(client: &Client, namespace: &str) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let created = pods.create(&PostParams::default(), &probe()).await.unwrap();
    let (uid, version) = (created.metadata.uid.clone().unwrap(), created.metadata.resource_version.clone().unwrap());
    let exists = status(pods.create(&PostParams::default(), &probe()).await.unwrap_err());
    assert_eq!((exists.code, exists.reason.as_str()), (409, "AlreadyExists"));

    let code = tokio::time::timeout(LIMIT, until_ended(&pods, &version)).await.expect("the pod ends");
    assert_eq!(code, 6, "curl's own code: the name does not resolve");

    let params = LogParams { container: Some("probe".to_owned()), limit_bytes: Some(1 << 20), ..LogParams::default() };
    let log = pods.logs("conformance-probe", &params).await.unwrap();
    assert!(log.lines().any(|line| line == "MARK 6") && log.contains("curl: (6)"), "{log}");
    let wrong = LogParams { container: Some("nosuch".to_owned()), ..LogParams::default() };
    assert_eq!(status(pods.logs("conformance-probe", &wrong).await.unwrap_err()).code, 400);

    let stays = pods.list(&ListParams::default().labels("app.kubernetes.io/managed-by=conformance")).await.unwrap();
    assert_eq!(stays.items.len(), 1, "a pod that has ended stays until it is deleted");
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
        ..DeleteParams::default()
    };
    pods.delete("conformance-probe", &params).await.unwrap();
    assert!(pods.get_opt("conformance-probe").await.unwrap().is_none(), "without grace it is gone at once");
}

/// Watches the pod from the version of its creation on, and returns the exit code of its container.
async fn until_ended(pods: &Api<Pod>, version: &str) -> i32 {
    let params = WatchParams::default().fields("metadata.name=conformance-probe").timeout(60);
    let mut events = pods.watch(&params, version).await.unwrap().boxed();
    while let Some(event) = events.next().await {
        let (WatchEvent::Modified(pod) | WatchEvent::Added(pod)) = event.unwrap() else { continue };
        let containers = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
        let state = containers.into_iter().next().and_then(|container| container.state);
        if let Some(terminated) = state.and_then(|state| state.terminated) {
            return terminated.exit_code;
        }
    }
    panic!("the watch ended before the pod did");
}

/// Waits for the namespace's service account.
pub(crate) async fn until_pods_can_be_made(client: &Client, namespace: &str) {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let there = async {
        let params = WatchParams::default().fields("metadata.name=default").timeout(60).disable_bookmarks();
        let mut events = accounts.watch(&params, "0").await.unwrap().boxed();
        while let Some(event) = events.next().await {
            if let WatchEvent::Added(_) = event.unwrap() {
                return;
            }
        }
        panic!("no service account");
    };
    tokio::time::timeout(LIMIT, there).await.expect("a service account");
}
