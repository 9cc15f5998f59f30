use crate::helpers::{apply_policy, dynamic, policies, policy, rules, status};
use futures::StreamExt;
use kube::api::{
    DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, ValidationDirective,
    WatchEvent, WatchParams,
};
use secure_traffic::sandbox::{Sandbox, State};
use serde_json::{Value, json};

async fn sandbox(state: State) -> Sandbox {
    Sandbox::start(state).await.unwrap()
}

/// A JSON patch of the policy `default`, as it goes over the wire.
async fn json_patch(client: &kube::Client, operations: &Value) -> Result<DynamicObject, kube::Error> {
    let path = "/apis/security.istio.io/v1/namespaces/microservices-demo/peerauthentications/default?fieldManager=c";
    let request = http::Request::patch(path).header("content-type", "application/json-patch+json");
    client.request(request.body(operations.to_string().into_bytes()).unwrap()).await
}

#[tokio::test]
async fn one_object_is_served_in_every_version() {
    let sandbox = sandbox(State::Strict).await;
    let client = sandbox.client();
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let rules = dynamic(&client, "networking.istio.io", version, "DestinationRule");
        let rule = rules.get("boards").await.unwrap();
        assert_eq!(rule.types.unwrap().api_version, format!("networking.istio.io/{version}"));
        assert_eq!(rule.data["spec"]["trafficPolicy"]["tls"]["mode"], "ISTIO_MUTUAL");
        assert_eq!(rules.list(&ListParams::default()).await.unwrap().items.len(), 5);
    }
}

#[tokio::test]
async fn the_legacy_state_knows_only_the_legacy_api() {
    let sandbox = sandbox(State::Legacy).await;
    let groups = sandbox.client().list_api_groups().await.unwrap();
    let names: Vec<&str> = groups.groups.iter().map(|group| group.name.as_str()).collect();
    assert!(names.contains(&"authentication.istio.io") && !names.contains(&"security.istio.io"), "{names:?}");
    let rules = sandbox.client().list_api_group_resources("networking.istio.io/v1alpha3").await.unwrap();
    assert_eq!(rules.resources[0].kind, "DestinationRule");
    assert!(sandbox.client().list_api_group_resources("networking.istio.io/v1").await.is_err());
}

#[tokio::test]
async fn create_get_list_and_delete() {
    let sandbox = sandbox(State::Permissive).await;
    let policies = policies(&sandbox.client());
    let (code, reason, message) = status(&policies.get("default").await.unwrap_err());
    assert_eq!((code, reason.as_str()), (404, "NotFound"));
    assert_eq!(message, "peerauthentications.security.istio.io \"default\" not found");

    let object = serde_json::from_value(policy("STRICT")).unwrap();
    let params = PostParams { field_manager: Some("me".into()), ..PostParams::default() };
    let made = policies.create(&params, &object).await.unwrap();
    let fields = &made.metadata.managed_fields.as_ref().unwrap()[0];
    assert_eq!((fields.manager.as_deref(), fields.operation.as_deref()), (Some("me"), Some("Update")));
    assert_eq!(
        serde_json::to_value(&fields.fields_v1).unwrap(),
        json!({"f:spec": {".": {}, "f:mtls": {".": {}, "f:mode": {}}}})
    );
    assert_eq!(made.metadata.generation, Some(1));

    let (code, reason, _) = status(&policies.create(&params, &object).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (409, "AlreadyExists"));

    let wrong = DeleteParams {
        preconditions: Some(Preconditions { uid: Some("other".into()), ..Preconditions::default() }),
        ..DeleteParams::default()
    };
    assert_eq!(status(&policies.delete("default", &wrong).await.unwrap_err()).0, 409);
    policies.delete("default", &DeleteParams::default()).await.unwrap();
    assert!(policies.get_opt("default").await.unwrap().is_none());
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let sandbox = sandbox(State::Permissive).await;
    let policies = policies(&sandbox.client());
    let params = PatchParams { dry_run: true, ..PatchParams::apply("me") };
    let shown = policies.patch("default", &params, &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(shown.data["spec"]["mtls"]["mode"], "STRICT");
    assert!(policies.get_opt("default").await.unwrap().is_none());
}

#[tokio::test]
async fn apply_owns_leaves_and_conflicts_in_the_servers_words() {
    let sandbox = sandbox(State::Permissive).await;
    let policies = policies(&sandbox.client());
    let mine = PatchParams::apply("mine");
    let first = policies.patch("default", &mine, &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(
        serde_json::to_value(&first.metadata.managed_fields.as_ref().unwrap()[0].fields_v1).unwrap(),
        json!({"f:spec": {"f:mtls": {"f:mode": {}}}})
    );
    let again = policies.patch("default", &mine, &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(
        first.metadata.resource_version, again.metadata.resource_version,
        "an apply that changes nothing writes nothing"
    );

    let theirs = PatchParams::apply("theirs");
    let refused = policies.patch("default", &theirs, &Patch::Apply(policy("PERMISSIVE"))).await.unwrap_err();
    let kube::Error::Api(conflict) = &refused else { panic!("{refused}") };
    assert_eq!((conflict.code, conflict.reason.as_str()), (409, "Conflict"));
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"mine\": .spec.mtls.mode");
    let cause = &conflict.details.as_ref().unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".spec.mtls.mode"));

    let forced = policies.patch("default", &theirs.clone().force(), &Patch::Apply(policy("PERMISSIVE"))).await.unwrap();
    let owners: Vec<_> =
        forced.metadata.managed_fields.unwrap().into_iter().filter_map(|entry| entry.manager).collect();
    assert_eq!(owners, ["theirs"]);
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_unless_another_keeps_it() {
    let sandbox = sandbox(State::Permissive).await;
    let rules = rules(&sandbox.client());
    let rule = |policy: Value| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "r"},
            "spec": {"host": "boards", "trafficPolicy": policy},
        })
    };
    let apply = async |who: &str, policy: Value| {
        rules.patch("r", &PatchParams::apply(who), &Patch::Apply(rule(policy))).await.unwrap()
    };
    apply("a", json!({"tls": {"mode": "ISTIO_MUTUAL"}, "loadBalancer": {"simple": "RANDOM"}})).await;
    apply("b", json!({"loadBalancer": {"simple": "RANDOM"}})).await;
    let left = apply("a", json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]})).await;
    let policy = &left.data["spec"]["trafficPolicy"];
    assert!(policy.get("tls").is_none(), "{policy}");
    assert_eq!(policy["loadBalancer"]["simple"], "RANDOM");
    assert_eq!(policy["portLevelSettings"][0]["port"]["number"], 80);
}

#[tokio::test]
async fn a_json_patch_tests_before_it_changes() {
    let sandbox = sandbox(State::Permissive).await;
    let client = sandbox.client();
    apply_policy(&client, "STRICT").await;
    let policies = policies(&client);
    let version = policies.get("default").await.unwrap().metadata.resource_version.unwrap();
    let patch = async |mode: &str, version: &str| {
        json_patch(
            &client,
            &json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "test", "path": "/spec/mtls/mode", "value": mode},
                {"op": "replace", "path": "/spec/mtls/mode", "value": "PERMISSIVE"},
            ]),
        )
        .await
    };
    for (mode, version) in [("DISABLE", version.as_str()), ("STRICT", "1")] {
        let (code, reason, message) = status(&patch(mode, version).await.unwrap_err());
        assert_eq!((code, reason.as_str()), (422, "Invalid"));
        assert_eq!(message, "the server rejected our request due to an error in our request");
    }
    let patched = patch("STRICT", &version).await.unwrap();
    assert_eq!(patched.metadata.generation, Some(2));
    let owners: Vec<_> = patched
        .metadata
        .managed_fields
        .unwrap()
        .into_iter()
        .map(|entry| (entry.manager.unwrap(), entry.operation.unwrap()))
        .collect();
    assert_eq!(owners, [("c".to_owned(), "Update".to_owned())]);
}

#[tokio::test]
async fn merge_patches_are_taken_and_strategic_ones_are_not() {
    let sandbox = sandbox(State::Permissive).await;
    let client = sandbox.client();
    apply_policy(&client, "STRICT").await;
    let patch = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"mtls": null}});
    let policies = policies(&client);
    let merged = policies.patch("default", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    assert_eq!(merged.data["spec"], json!({}));
    assert_eq!(merged.metadata.labels.unwrap()["a"], "b");
    let refused = policies.patch("default", &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap_err();
    assert_eq!(status(&refused).0, 415);
}

#[tokio::test]
async fn a_put_with_an_old_version_is_a_conflict() {
    let sandbox = sandbox(State::Strict).await;
    let policies = policies(&sandbox.client());
    let mut policy = policies.get("default").await.unwrap();
    policy.data["spec"]["mtls"]["mode"] = "DISABLE".into();
    policies.replace("default", &PostParams::default(), &policy).await.unwrap();
    let (code, reason, _) = status(&policies.replace("default", &PostParams::default(), &policy).await.unwrap_err());
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
}

#[tokio::test]
async fn invalid_objects_are_refused_as_the_real_server_refuses_them() {
    let sandbox = sandbox(State::Permissive).await;
    let client = sandbox.client();
    let create = async |kind: &str, spec: Value| {
        let api = if kind == "PeerAuthentication" { policies(&client) } else { rules(&client) };
        let object = json!({"metadata": {"name": "x"}, "spec": spec});
        let (code, _, message) =
            status(&api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap_err());
        (code, message)
    };
    let cases = [
        (
            "PeerAuthentication",
            json!({"mtls": {"mode": "X"}}),
            422,
            "spec.mtls.mode: Unsupported value: \"X\": supported values: \"UNSET\", \"DISABLE\", \"PERMISSIVE\", \"STRICT\"",
        ),
        (
            "PeerAuthentication",
            json!({"mtls": "X"}),
            422,
            "spec.mtls: Invalid value: \"string\": spec.mtls in body must be of type object: \"string\"",
        ),
        (
            "PeerAuthentication",
            json!({"portLevelMtls": {"80": {}}}),
            422,
            "spec: Invalid value: portLevelMtls requires selector",
        ),
        ("DestinationRule", json!({"trafficPolicy": {"tls": {"mode": "DISABLE"}}}), 422, "spec.host: Required value"),
        (
            "DestinationRule",
            json!({"host": "a", "trafficPolicy": {}}),
            400,
            "traffic policy must have at least one field",
        ),
        ("DestinationRule", json!({"host": "a_b!"}), 400, "domain name \"a_b!\" invalid"),
    ];
    for (kind, spec, code, text) in cases {
        let (got, message) = create(kind, spec).await;
        assert!(got == code && message.contains(text), "{got}: {message}");
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_when_validation_is_strict_and_dropped_otherwise() {
    let sandbox = sandbox(State::Permissive).await;
    let policies = policies(&sandbox.client());
    let object = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default"},
        "spec": {"mtlz": {"mode": "STRICT"}},
    });
    let params = PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::default() };
    policies.create(&PostParams::default(), &serde_json::from_value(object.clone()).unwrap()).await.unwrap();
    assert_eq!(policies.get("default").await.unwrap().data["spec"], json!({}));
    let (code, _, message) = status(&policies.patch("default", &params, &Patch::Merge(&object)).await.unwrap_err());
    assert_eq!(code, 400);
    assert_eq!(
        message,
        "PeerAuthentication in version \"v1\" cannot be handled as a PeerAuthentication: strict decoding error: unknown field \"spec.mtlz\""
    );
}

#[tokio::test]
async fn a_watch_with_a_selector_sees_objects_come_and_go() {
    let sandbox = sandbox(State::Permissive).await;
    let policies = policies(&sandbox.client());
    let version = policies.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = policies.watch(&WatchParams::default().labels("a=b"), &version).await.unwrap().boxed();
    let labelled = |value: &str| {
        let mut object = policy("STRICT");
        object["metadata"]["labels"] = json!({"a": value});
        Patch::Apply(object)
    };
    for value in ["c", "b", "c"] {
        policies.patch("default", &PatchParams::apply("me"), &labelled(value)).await.unwrap();
    }
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Added(_)))));
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Deleted(_)))));
}

#[tokio::test]
async fn lists_come_in_pages_and_by_selector() {
    let sandbox = sandbox(State::Strict).await;
    let rules = rules(&sandbox.client());
    let mut names = Vec::new();
    let mut params = ListParams::default().limit(2);
    loop {
        let page = rules.list(&params).await.unwrap();
        names.extend(page.items.into_iter().filter_map(|rule| rule.metadata.name));
        let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) else { break };
        params = params.continue_token(&token);
    }
    assert_eq!(names, ["app-ui", "boards", "boards-mongodb", "context-scraper", "userprofile"]);
    let one = rules.list(&ListParams::default().fields("metadata.name=boards")).await.unwrap();
    assert_eq!(one.items.len(), 1);
    assert!(rules.list(&ListParams::default().fields("spec.host=x")).await.is_err());
}

#[tokio::test]
async fn an_apply_after_a_client_side_apply_keeps_what_it_claims() {
    let sandbox = sandbox(State::Permissive).await;
    let client = sandbox.client();
    let policies = policies(&client);
    let params = PostParams { field_manager: Some("kubectl-client-side-apply".into()), ..PostParams::default() };
    policies.create(&params, &serde_json::from_value(policy("STRICT")).unwrap()).await.unwrap();
    // kubectl hands the maps that it had made to its own apply manager.
    let entry = json!([{
        "manager": "kubectl", "operation": "Apply", "apiVersion": "security.istio.io/v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {".": {}, "f:mtls": {".": {}, "f:mode": {}}}},
    }]);
    json_patch(&client, &json!([{"op": "replace", "path": "/metadata/managedFields", "value": entry}])).await.unwrap();
    let applied =
        policies.patch("default", &PatchParams::apply("kubectl"), &Patch::Apply(policy("STRICT"))).await.unwrap();
    assert_eq!(applied.data["spec"]["mtls"]["mode"], "STRICT");
}
