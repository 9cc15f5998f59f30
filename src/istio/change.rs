//! Computes the request for a planned change and the object that it results in, from the object as it was read, for the
//! writer and the journal.

use super::patch::{self, Stale};
use super::read;
use super::render::{self, Apis};
use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::plan::{Change, ObjectJson, PolicyAction, RuleAction, TlsEdit};
use json_patch::Patch;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is sent for one change.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Server-side apply of this whole object.
    Apply(Value),
    /// A JSON patch of the existing object; it tests that the object is the one that was read.
    Patch(Patch),
    /// The deletion of exactly this object, in exactly this version.
    Delete { uid: String, resource_version: String },
}

/// What a change does to an object, whatever its kind.
enum Effect<'a> {
    Create(Value),
    SetMode { from: Option<MtlsMode>, to: MtlsMode },
    SetPorts(&'a BTreeMap<u16, MtlsMode>),
    EditTls(&'a [TlsEdit]),
    PutSpec(&'a ObjectJson),
    Delete,
    Nothing,
}

fn effect(apis: Apis, change: &Change) -> Effect<'_> {
    let (namespace, name) = (change.namespace(), change.name());
    match change {
        Change::Policy(policy) => match &policy.action {
            PolicyAction::Create { mode } => Effect::Create(render::policy(apis.policy, namespace, name, *mode)),
            PolicyAction::CreateForPods { selector, mode, ports } => {
                let pods = render::PodPolicy { selector, mode: *mode, ports };
                Effect::Create(render::policy_for_pods(apis.policy, namespace, name, &pods))
            }
            PolicyAction::SetMode { from, to } => Effect::SetMode { from: *from, to: *to },
            PolicyAction::SetPorts { ports } => Effect::SetPorts(ports),
            PolicyAction::Recreate { former, .. } => {
                Effect::Create(render::former(&apis.policy.kind(), namespace, name, former))
            }
            PolicyAction::Apply { object, .. } => Effect::Create(object.value().clone()),
            PolicyAction::Merge { spec, .. } | PolicyAction::PutBack { spec, .. } => Effect::PutSpec(spec),
            PolicyAction::Delete { .. } | PolicyAction::DeleteSuperfluous => Effect::Delete,
            PolicyAction::Unchanged { .. } => Effect::Nothing,
        },
        Change::Rule(rule) => match &rule.action {
            RuleAction::Create { host, plaintext_ports } => {
                let tls = Some(ClientTls::IstioMutual);
                let rule = render::destination_rule(apis.rule, namespace, name, host, tls);
                Effect::Create(render::with_plaintext_ports(rule, plaintext_ports))
            }
            RuleAction::Edit(edits) => Effect::EditTls(edits),
            RuleAction::Apply { object, .. } => Effect::Create(object.value().clone()),
            RuleAction::Merge { spec, .. } | RuleAction::PutBack { spec } => Effect::PutSpec(spec),
            RuleAction::Delete => Effect::Delete,
            RuleAction::Unchanged => Effect::Nothing,
        },
    }
}

/// What to send for a change; `None` where it writes nothing. `live` is the object as it was read; a change of an object
/// that is not there, or is not as the plan says, is [`Stale`].
pub fn request(apis: Apis, change: &Change, live: Option<&Value>) -> Result<Option<Request>, Stale> {
    let live = || live.ok_or(Stale::Gone);
    Ok(Some(match effect(apis, change) {
        Effect::Create(object) => Request::Apply(object),
        Effect::SetMode { from, to } => Request::Patch(patch::set_mode(live()?, from, to)?.patch),
        Effect::SetPorts(ports) => {
            let live = live()?;
            Request::Patch(patch::put_spec(live, render::with_ports(live, ports).value()))
        }
        Effect::EditTls(edits) => Request::Patch(patch::edit_tls(live()?, edits)?.patch),
        Effect::PutSpec(spec) => Request::Patch(patch::put_spec(live()?, spec.value())),
        Effect::Delete => {
            let field = |name: &str| live().map(|live| read::metadata(live, name).to_owned());
            Request::Delete { uid: field("uid")?, resource_version: field("resourceVersion")? }
        }
        Effect::Nothing => return Ok(None),
    }))
}

/// The object as a change leaves it; `None` where it is not there. `live` and the error are as for [`request`].
pub fn result(apis: Apis, change: &Change, live: Option<&Value>) -> Result<Option<Value>, Stale> {
    let existing = || live.ok_or(Stale::Gone);
    Ok(match effect(apis, change) {
        Effect::Create(object) => Some(object),
        Effect::SetMode { from, to } => Some(patch::set_mode(existing()?, from, to)?.object),
        Effect::SetPorts(ports) => {
            let live = existing()?;
            Some(with_spec(live, &render::with_ports(live, ports)))
        }
        Effect::EditTls(edits) => Some(patch::edit_tls(existing()?, edits)?.object),
        Effect::PutSpec(spec) => Some(with_spec(existing()?, spec)),
        Effect::Delete => None,
        Effect::Nothing => live.cloned(),
    })
}

/// Whether an object is as a change leaves it, in the fields of the spec that the change sets: other writers may set more.
/// `before` is the object from which the change was planned.
pub fn is_made(apis: Apis, change: &Change, before: Option<&Value>, now: Option<&Value>) -> bool {
    match result(apis, change, before) {
        Ok(None) => now.is_none(),
        Ok(Some(wanted)) => {
            let none = Value::Null;
            now.is_some_and(|now| {
                has_changes(before.map_or(&none, |before| &before["spec"]), &wanted["spec"], &now["spec"])
            })
        }
        Err(_) => false,
    }
}

/// Whether `now` has each value of `wanted` that differs from `before`. A list is compared as a whole.
fn has_changes(before: &Value, wanted: &Value, now: &Value) -> bool {
    if wanted == before {
        return true;
    }
    let Some(fields) = wanted.as_object() else { return wanted == now };
    let none = Value::Null;
    let field = |value: &Value, key: &str| value.get(key).unwrap_or(&none).clone();
    let former = before.as_object().into_iter().flat_map(serde_json::Map::keys);
    fields.keys().chain(former).all(|key| has_changes(&field(before, key), &field(wanted, key), &field(now, key)))
}

/// `object` with another spec.
pub fn with_spec(object: &Value, spec: &ObjectJson) -> Value {
    let mut object = object.clone();
    object["spec"] = spec.value().clone();
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::{PolicyChange, RuleChange, TlsPlace};
    use crate::istio::kinds::{PolicyApi, RuleApi};
    use serde_json::json;

    const APIS: Apis = Apis { policy: PolicyApi::V1, rule: RuleApi::V1 };

    fn policy(action: PolicyAction) -> Change {
        Change::Policy(PolicyChange { namespace: "shop".into(), name: "web".into(), action })
    }

    fn rule(action: RuleAction) -> Change {
        Change::Rule(RuleChange { namespace: "shop".into(), name: "web".into(), action })
    }

    fn live() -> Value {
        json!({"metadata": {"name": "web", "uid": "u1", "resourceVersion": "7"}, "spec": {"host": "web"}})
    }

    #[test]
    fn a_request_leaves_the_object_that_is_predicted() {
        let spec = ObjectJson::from(json!({"host": "web", "exportTo": ["."]}));
        for change in [
            rule(RuleAction::Edit(vec![TlsEdit::Set { place: TlsPlace::Top, from: None }])),
            rule(RuleAction::PutBack { spec: spec.clone() }),
            policy(PolicyAction::Merge { spec, current_mode: None, mode: None, policy: None }),
        ] {
            let Ok(Some(Request::Patch(patch))) = request(APIS, &change, Some(&live())) else { panic!("{change:?}") };
            let mut patched = live();
            json_patch::patch(&mut patched, &patch).expect("a patch of the object that was read");
            assert_eq!(result(APIS, &change, Some(&live())), Ok(Some(patched)), "{change:?}");
            assert_eq!(request(APIS, &change, None), Err(Stale::Gone), "{change:?}");
        }
        let creation =
            rule(RuleAction::Create { host: "web.shop.svc.cluster.local".into(), plaintext_ports: vec![9090] });
        let Ok(Some(Request::Apply(object))) = request(APIS, &creation, None) else { panic!("an apply") };
        assert_eq!(result(APIS, &creation, None), Ok(Some(object)));
    }

    #[test]
    fn a_deletion_names_the_object_that_was_read() {
        let deletion = policy(PolicyAction::Delete { current_mode: None, mode: None });
        let expected = Request::Delete { uid: "u1".into(), resource_version: "7".into() };
        assert_eq!(request(APIS, &deletion, Some(&live())), Ok(Some(expected)));
        assert_eq!(request(APIS, &deletion, None), Err(Stale::Gone));
        assert_eq!(result(APIS, &deletion, Some(&live())), Ok(None));
        assert_eq!(request(APIS, &rule(RuleAction::Unchanged), Some(&live())), Ok(None));
    }

    #[test]
    fn what_another_writer_applies_counts_in_the_fields_that_the_plan_sets() {
        let step = |mode| PolicyAction::SetMode { from: Some(MtlsMode::Permissive), to: mode };
        let strict = policy(step(MtlsMode::Strict));
        let object = |spec: Value| json!({"metadata": {"name": "web", "resourceVersion": "1"}, "spec": spec});
        let before = object(json!({"mtls": {"mode": "PERMISSIVE"}}));
        for (case, now, made) in [
            ("not yet", Some(before.clone()), false),
            ("made", Some(object(json!({"mtls": {"mode": "STRICT"}}))), true),
            ("with more", Some(object(json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"1": {}}}))), true),
            ("deleted", None, false),
        ] {
            assert_eq!(is_made(APIS, &strict, Some(&before), now.as_ref()), made, "{case}");
        }

        let creation = rule(RuleAction::Create { host: "web".into(), plaintext_ports: Vec::new() });
        for (case, spec, made) in [
            ("as planned", json!({"host": "web", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}), true),
            ("with a pool", json!({"host": "web", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}, "x": 1}}), true),
            ("no tls", json!({"host": "web", "trafficPolicy": {"x": 1}}), false),
            ("another host", json!({"host": "api", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}), false),
        ] {
            assert_eq!(is_made(APIS, &creation, None, Some(&object(spec))), made, "{case}");
        }

        let tls = object(json!({"host": "web", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}, "x": 1}}));
        let removal = rule(RuleAction::Edit(vec![TlsEdit::Remove { place: TlsPlace::Top }]));
        let without = object(json!({"host": "web", "trafficPolicy": {"x": 2}}));
        assert!(is_made(APIS, &removal, Some(&tls), Some(&without)));
        assert!(!is_made(APIS, &removal, Some(&tls), Some(&tls)));

        let deletion = policy(PolicyAction::DeleteSuperfluous);
        assert!(is_made(APIS, &deletion, Some(&before), None));
        assert!(!is_made(APIS, &deletion, Some(&before), Some(&before)));
    }
}
