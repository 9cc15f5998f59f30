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

#[test]
fn a_manifest_that_contradicts_the_command_is_reported() {
    let strict = policy(&json!({"mtls": {"mode": "STRICT"}}));
    let hole = policy(&json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}));
    let off = rule(&json!({"host": "a", "trafficPolicy": {"tls": {}}}));
    let subset = rule(&json!({"host": "a", "subsets": [{"name": "v", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}]}));
    let on = rule(&json!({"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    let none = rule(&json!({"host": "a"}));
    for (kind, manifest, direction, message) in [
        (ObjectKind::Policy, &strict, ON, None),
        (ObjectKind::Policy, &strict, OFF, Some("it says STRICT, the command says PERMISSIVE")),
        (ObjectKind::Policy, &hole, ON, Some("it says DISABLE, the command says STRICT")),
        (
            ObjectKind::Policy,
            &policy(&json!({})),
            ON,
            Some("it says no mode for the namespace, the command says STRICT"),
        ),
        (ObjectKind::Rule, &off, ON, Some("it says DISABLE, which STRICT refuses")),
        (ObjectKind::Rule, &off, OFF, None),
        (ObjectKind::Rule, &subset, ON, Some("it says SIMPLE, which STRICT refuses")),
        (ObjectKind::Rule, &on, ON, None),
        (ObjectKind::Rule, &on, OFF, None),
        (ObjectKind::Rule, &on, PLAIN, Some("it says ISTIO_MUTUAL, which DISABLE refuses")),
        (ObjectKind::Rule, &none, ON, None),
    ] {
        assert_eq!(contradiction(kind, manifest, direction).as_deref(), message, "{manifest} {direction:?}");
    }
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
