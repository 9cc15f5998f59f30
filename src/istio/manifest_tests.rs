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
fn only_the_kinds_of_the_cluster_are_taken() {
    let taken = |manifest: &Value| identity(APIS, "shop", manifest);
    assert_eq!(taken(&policy(&json!({}))), Ok((Target::Policy, "p".into())));
    assert_eq!(taken(&rule(&json!({}))), Ok((Target::Rule, "r".into())));
    let mut elsewhere = policy(&json!({}));
    elsewhere["metadata"]["namespace"] = json!("bank");
    let legacy =
        json!({"apiVersion": "authentication.istio.io/v1alpha1", "kind": "Policy", "metadata": {"name": "default"}});
    for (manifest, words) in [
        (json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}), "v1 Secret is none of the kinds"),
        (legacy, "security.istio.io/v1 PeerAuthentication"),
        (json!({"kind": "PeerAuthentication"}), "apiVersion and kind"),
        (json!([1]), "apiVersion and kind"),
        (json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication"}), "no metadata.name"),
        (elsewhere, "pass -n bank"),
    ] {
        let refused = taken(&manifest).expect_err("refused");
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn what_says_the_contrary_of_the_command_is_named() {
    let strict = policy(&json!({"mtls": {"mode": "STRICT"}}));
    let hole = policy(&json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}));
    let off = rule(&json!({"host": "a", "trafficPolicy": {"tls": {}}}));
    let subset = rule(&json!({"host": "a", "subsets": [{"name": "v", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}}]}));
    let on = rule(&json!({"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    let none = rule(&json!({"host": "a"}));
    for (target, manifest, direction, words) in [
        (Target::Policy, &strict, ON, None),
        (Target::Policy, &strict, OFF, Some("it says STRICT, the command says PERMISSIVE")),
        (Target::Policy, &hole, ON, Some("it says DISABLE, the command says STRICT")),
        (Target::Policy, &policy(&json!({})), ON, Some("it says no mode for the namespace, the command says STRICT")),
        (Target::Rule, &off, ON, Some("it says DISABLE, which STRICT refuses")),
        (Target::Rule, &off, OFF, None),
        (Target::Rule, &subset, ON, Some("it says SIMPLE, which STRICT refuses")),
        (Target::Rule, &on, ON, None),
        (Target::Rule, &on, OFF, None),
        (Target::Rule, &on, PLAIN, Some("it says ISTIO_MUTUAL, which DISABLE refuses")),
        (Target::Rule, &none, ON, None),
    ] {
        assert_eq!(contradicts(target, manifest, false, direction).as_deref(), words, "{manifest} {direction:?}");
    }
}

fn action(manifest: &Value, live: Option<&Value>, direction: Direction) -> Action {
    given(APIS, "shop", Target::Rule, manifest, live, direction).action
}

fn merged_spec(manifest: &Value, live: &Value, direction: Direction) -> String {
    let Action::Merge { spec, .. } = action(manifest, Some(live), direction) else { panic!("merged") };
    spec
}

#[test]
fn a_new_object_is_made_as_it_is_written() {
    let mut written = rule(&json!({"host": "a"}));
    written["metadata"]["uid"] = json!("from `get -o yaml`");
    written["metadata"]["labels"] = json!({"team": "x"});
    let sent = r#"{"apiVersion":"networking.istio.io/v1","kind":"DestinationRule","metadata":{"labels":{"team":"x"},"name":"r","namespace":"shop"},"spec":{"host":"a"}}"#;
    let Action::Apply { object, rule } = action(&written, None, ON) else { panic!("made") };
    assert_eq!(object, sent);
    assert_eq!(rule.map(|rule| rule.host), Some("a".to_owned()));
}

#[test]
fn what_others_have_written_beside_it_stays() {
    let live = rule(&json!({"host": "a", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}}));
    let on = rule(&json!({"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    let both = json!({"host": "a", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}, "tls": {"mode": "ISTIO_MUTUAL"}}});
    assert_eq!(merged_spec(&on, &live, ON), canonical(&both));
    assert_eq!(action(&on, Some(&rule(&both)), ON), Action::Unchanged);
    // The walk-through's way back is a manifest that says nothing of `tls`.
    let off = rule(&json!({"host": "a"}));
    assert_eq!(merged_spec(&off, &rule(&both), OFF), canonical(&live["spec"]));
    assert_eq!(action(&off, Some(&rule(&both)), ON), Action::Unchanged);
}
