use super::*;
use crate::istio::kinds::{PolicyApi, RuleApi};
use serde_json::json;

const APIS: Apis = Apis { policy: PolicyApi::V1, rule: RuleApi::V1 };
const ON: Direction = Direction::Enable;
const OFF: Direction = Direction::Disable { mode: MtlsMode::Permissive };
const PLAIN: Direction = Direction::Disable { mode: MtlsMode::Disable };

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication", "metadata": {"name": "p"}, "spec": spec})
}

fn rule(spec: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "DestinationRule", "metadata": {"name": "r"}, "spec": spec})
}

#[test]
fn only_the_kinds_of_the_cluster_are_accepted() {
    let identify = |manifest: &Value| identity(APIS, "shop", manifest);
    assert_eq!(identify(&policy(&json!({}))), Ok((ObjectKind::Policy, "p".into())));
    assert_eq!(identify(&rule(&json!({}))), Ok((ObjectKind::Rule, "r".into())));
    let mut elsewhere = policy(&json!({}));
    elsewhere["metadata"]["namespace"] = json!("bank");
    let legacy =
        json!({"apiVersion": "authentication.istio.io/v1alpha1", "kind": "Policy", "metadata": {"name": "default"}});
    for (manifest, part) in [
        (json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}), "v1 Secret is none of the kinds"),
        (legacy, "security.istio.io/v1 PeerAuthentication"),
        (json!({"kind": "PeerAuthentication"}), "apiVersion and kind"),
        (json!([1]), "apiVersion and kind"),
        (json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}), "no metadata.name"),
        (elsewhere, "pass -n bank"),
    ] {
        let refused = identify(&manifest).expect_err("refused");
        assert!(refused.contains(part), "{refused}");
    }
}

const HOME: Home<'_> = Home { namespace: "shop", cluster_domain: "cluster.local" };

#[test]
fn a_manifest_that_contradicts_the_command_is_reported() {
    let strict = policy(&json!({"mtls": {"mode": "STRICT"}}));
    let hole = policy(&json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}));
    let mut exception = hole.clone();
    exception["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    let nulls = policy(&json!({"selector": null, "mtls": {"mode": null}, "portLevelMtls": null}));
    let off = rule(&json!({"host": "a", "trafficPolicy": {"tls": {}}}));
    let subset = rule(&json!({"host": "a", "subsets": [{"name": "v", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}]}));
    let on = rule(&json!({"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    let none = rule(&json!({"host": "a"}));
    let simple = |host: &str| rule(&json!({"host": host, "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}));
    let no_mode = Some("the file sets no mode for the namespace, but enable-mtls needs STRICT");
    for (kind, manifest, direction, message) in [
        (ObjectKind::Policy, &strict, ON, None),
        (ObjectKind::Policy, &strict, OFF, Some("the file sets STRICT, but disable-mtls needs PERMISSIVE")),
        (ObjectKind::Policy, &hole, ON, Some("the file sets DISABLE, but enable-mtls needs STRICT")),
        (ObjectKind::Policy, &exception, ON, None),
        (ObjectKind::Policy, &exception, OFF, None),
        (ObjectKind::Policy, &policy(&json!({})), ON, no_mode),
        (ObjectKind::Policy, &nulls, ON, no_mode),
        (ObjectKind::Rule, &off, ON, Some("it says DISABLE, which STRICT refuses")),
        (ObjectKind::Rule, &off, OFF, None),
        (ObjectKind::Rule, &subset, ON, Some("it says SIMPLE, which STRICT refuses")),
        (ObjectKind::Rule, &simple("*.local"), ON, Some("it says SIMPLE, which STRICT refuses")),
        (ObjectKind::Rule, &simple("api.example.com"), ON, None),
        (ObjectKind::Rule, &simple("*.example.com"), ON, None),
        (ObjectKind::Rule, &simple("a.bank.svc.cluster.local"), ON, None),
        (ObjectKind::Rule, &on, ON, None),
        (ObjectKind::Rule, &on, OFF, None),
        (ObjectKind::Rule, &on, PLAIN, Some("it says ISTIO_MUTUAL, which DISABLE refuses")),
        (ObjectKind::Rule, &none, ON, None),
    ] {
        assert_eq!(contradiction(kind, manifest, direction, HOME).as_deref(), message, "{manifest} {direction:?}");
    }
}

#[test]
fn a_mode_that_istio_does_not_know_is_quoted() {
    let modes = "STRICT, PERMISSIVE, DISABLE, UNSET";
    for (mode, message) in [
        (json!("strict"), Some(format!("mode \"strict\" is none of {modes}"))),
        (json!("STRICT "), Some(format!("mode \"STRICT \" is none of {modes}"))),
        (json!(""), Some(format!("mode \"\" is none of {modes}"))),
        (json!(true), Some(format!("mode true is none of {modes}"))),
        (json!("STRICT"), None),
        (json!("UNSET"), None),
        (json!(null), None),
    ] {
        let of_namespace = policy(&json!({"mtls": {"mode": mode}}));
        let of_port = policy(&json!({"portLevelMtls": {"8443": {"mode": mode}}}));
        for manifest in [of_namespace, of_port] {
            assert_eq!(unknown_mode(ObjectKind::Policy, &manifest), message, "{manifest}");
        }
    }
    let port = json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "istio_mutual"}}]});
    let message = unknown_mode(ObjectKind::Rule, &rule(&json!({"host": "a", "subsets": [{"trafficPolicy": port}]})));
    assert_eq!(message.as_deref(), Some("mode \"istio_mutual\" is none of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL"));
    assert_eq!(unknown_mode(ObjectKind::Rule, &rule(&json!({"host": "a", "trafficPolicy": {"tls": {}}}))), None);
}

#[test]
fn null_fields_are_those_that_kubectl_removes() {
    let manifest = policy(&json!({"selector": null, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": null}}));
    let live = policy(
        &json!({"selector": {"matchLabels": {"app": "web"}}, "portLevelMtls": {"80": {"mode": "DISABLE"}, "81": {"mode": "STRICT"}}}),
    );
    let spec = |live: Option<&Value>| match change(APIS, "shop", ObjectKind::Policy, &manifest, live, ON) {
        Change::Policy(PolicyChange { action: PolicyAction::Apply { object, .. }, .. }) => {
            object.value()["spec"].clone()
        }
        Change::Policy(PolicyChange { action: PolicyAction::Merge { spec, .. }, .. }) => spec.value().clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(spec(None), json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {}}));
    assert_eq!(spec(Some(&live)), json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"81": {"mode": "STRICT"}}}));
}

fn action(manifest: &Value, live: Option<&Value>, direction: Direction) -> RuleAction {
    match change(APIS, "shop", ObjectKind::Rule, manifest, live, direction) {
        Change::Rule(rule) => rule.action,
        Change::Policy(_) => panic!("a rule"),
    }
}

fn merged_spec(manifest: &Value, live: &Value, direction: Direction) -> Value {
    let RuleAction::Merge { spec, .. } = action(manifest, Some(live), direction) else { panic!("merged") };
    spec.value().clone()
}

#[test]
fn a_new_object_is_sent_as_it_is_written() {
    let mut written = rule(&json!({"host": "a"}));
    written["metadata"]["uid"] = json!("from `get -o yaml`");
    written["metadata"]["labels"] = json!({"team": "x"});
    let sent = r#"{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"labels":{"team":"x"},"name":"r","namespace":"shop"},"spec":{"host":"a"}}"#;
    let RuleAction::Apply { object, rule } = action(&written, None, ON) else { panic!("made") };
    assert_eq!(object.value().to_string(), sent);
    assert_eq!(rule.host, "a");
}

#[test]
fn fields_that_the_manifest_does_not_mention_stay() {
    let live = rule(&json!({"host": "a", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}}));
    let on = rule(&json!({"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    let both = json!({"host": "a", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}, "tls": {"mode": "ISTIO_MUTUAL"}}});
    assert_eq!(merged_spec(&on, &live, ON), both);
    assert_eq!(action(&on, Some(&rule(&both)), ON), RuleAction::Unchanged);
    // The walk-through disables by a manifest that does not mention `tls`.
    let off = rule(&json!({"host": "a"}));
    assert_eq!(merged_spec(&off, &rule(&both), OFF), live["spec"]);
    assert_eq!(action(&off, Some(&rule(&both)), ON), RuleAction::Unchanged);
}
