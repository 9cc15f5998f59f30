//! Reads the user's own manifests (`-f`): which are accepted, and what each changes in the object that is there.

use super::change::with_spec;
use super::kinds::Kind;
use super::paths::is_legacy;
use super::render::Apis;
use super::{patch, read};
use crate::domain::mesh::{ClientTls, DestinationRule, MtlsMode};
use crate::domain::plan::{
    Change, Direction, ObjectKind, PolicyAction, PolicyChange, RuleAction, RuleChange, TlsEdit, TlsPlace,
};
use serde_json::Value;

/// Kind and name of a manifest; the error says why it is not accepted. `apis` are the versions of the cluster,
/// `namespace` is the one of the command.
pub fn identity(apis: Apis, namespace: &str, manifest: &Value) -> Result<(ObjectKind, String), String> {
    let (version, kind) = (&manifest["apiVersion"], &manifest["kind"]);
    let (Some(version), Some(kind)) = (version.as_str(), kind.as_str()) else {
        return Err("it is no object of Kubernetes: apiVersion and kind are wanted".to_owned());
    };
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let is = |wanted: &Kind| wanted.group == group && wanted.kind == kind;
    let object_kind = if is(&apis.policy.kind()) {
        ObjectKind::Policy
    } else if is(&apis.rule.kind()) {
        ObjectKind::Rule
    } else {
        return Err(format!(
            "{version} {kind} is none of the kinds that are changed here: {}, {}",
            apis.policy, apis.rule
        ));
    };
    let name = read::metadata(manifest, "name");
    if name.is_empty() {
        return Err(format!("the {kind} has no metadata.name"));
    }
    match read::metadata(manifest, "namespace") {
        other if !other.is_empty() && other != namespace => Err(format!(
            "the namespace of {kind} {name:?}, {other:?}, is not the namespace of the command, {namespace:?}: pass -n {other}"
        )),
        _ => Ok((object_kind, name.to_owned())),
    }
}

/// How a manifest contradicts the command, as a message; `None` where it does not.
pub fn contradiction(kind: ObjectKind, manifest: &Value, direction: Direction) -> Option<String> {
    let wanted = direction.mode();
    match kind {
        ObjectKind::Policy if is_legacy(manifest) => {
            let mode = read::legacy_policy(manifest).mode;
            (mode != wanted).then(|| format!("it says {mode}, the command says {wanted}"))
        }
        ObjectKind::Policy => {
            let policy = read::peer_authentication(manifest);
            if policy.is_wide() && policy.mode.is_none() {
                return Some(format!("it says no mode for the namespace, the command says {wanted}"));
            }
            let mut modes = policy.mode.into_iter().chain(policy.ports.values().flatten().copied());
            modes.find(|mode| *mode != wanted).map(|mode| format!("it says {mode}, the command says {wanted}"))
        }
        ObjectKind::Rule => {
            let breaks = |tls: &ClientTls| match direction {
                Direction::Enable => *tls != ClientTls::IstioMutual,
                Direction::Disable { mode } => mode == MtlsMode::Disable && *tls == ClientTls::IstioMutual,
            };
            let rule = read::destination_rule(manifest);
            tls_modes(&rule).into_iter().find(breaks).map(|tls| format!("it says {tls}, which {wanted} refuses"))
        }
    }
}

/// The TLS modes of all places of a rule.
fn tls_modes(rule: &DestinationRule) -> Vec<ClientTls> {
    let subsets = rule.subsets.iter();
    let ports = rule.ports.iter().chain(subsets.clone().flat_map(|subset| &subset.ports)).filter_map(|port| port.tls);
    rule.tls.into_iter().chain(ports).chain(subsets.filter_map(|subset| subset.tls)).collect()
}

/// The change that a manifest makes: a new object, or the manifest merged into the spec of the `live` one, whose
/// metadata stays as it is.
pub fn change(
    apis: Apis,
    namespace: &str,
    kind: ObjectKind,
    manifest: &Value,
    live: Option<&Value>,
    direction: Direction,
) -> Change {
    let (namespace, name) = (namespace.to_owned(), read::metadata(manifest, "name").to_owned());
    match kind {
        ObjectKind::Policy => {
            let object = as_sent(manifest, &apis.policy.kind(), &namespace);
            let action = policy_action(object, manifest, live, direction);
            Change::Policy(PolicyChange { namespace, name, action })
        }
        ObjectKind::Rule => {
            let object = as_sent(manifest, &apis.rule.kind(), &namespace);
            let action = rule_action(object, manifest, live, direction);
            Change::Rule(RuleChange { namespace, name, action })
        }
    }
}

fn policy_action(object: Value, manifest: &Value, live: Option<&Value>, direction: Direction) -> PolicyAction {
    let is_namespace_wide = if is_legacy(manifest) {
        read::legacy_policy(manifest).targets.is_empty()
    } else {
        read::peer_authentication(manifest).is_wide()
    };
    let mode = is_namespace_wide.then(|| direction.mode());
    let Some(live) = live else { return PolicyAction::Apply { object: object.into(), mode } };
    let spec = merged(live, manifest);
    if spec == live["spec"] {
        return PolicyAction::Unchanged { mode };
    }
    let current_mode =
        if is_legacy(manifest) { Some(read::legacy_policy(live).mode) } else { read::peer_authentication(live).mode };
    PolicyAction::Merge { spec: spec.into(), current_mode, mode }
}

fn rule_action(object: Value, manifest: &Value, live: Option<&Value>, direction: Direction) -> RuleAction {
    let Some(live) = live else {
        let rule = Box::new(read::destination_rule(&object));
        return RuleAction::Apply { object: object.into(), rule };
    };
    let mut spec = merged(live, manifest);
    // When disabling, an ISTIO_MUTUAL that the manifest does not mention is removed.
    let is_disabling = matches!(direction, Direction::Disable { .. });
    let is_mentioned = !manifest["spec"]["trafficPolicy"]["tls"].is_null();
    let is_mutual = spec["trafficPolicy"]["tls"]["mode"] == ClientTls::IstioMutual.as_str();
    if is_disabling && is_mutual && !is_mentioned {
        let edit = TlsEdit::Remove { place: TlsPlace::Top };
        if let Ok(edited) = patch::edit_tls(&with_spec(live, &spec.clone().into()), &[edit]) {
            spec = edited.object["spec"].clone();
        }
    }
    if spec == live["spec"] {
        return RuleAction::Unchanged;
    }
    let spec = spec.into();
    let rule = Box::new(read::destination_rule(&with_spec(live, &spec)));
    RuleAction::Merge { spec, rule }
}

/// A new object as it is sent: in the API version that the cluster prefers and in the namespace of the command.
fn as_sent(manifest: &Value, kind: &Kind, namespace: &str) -> Value {
    let mut object = manifest.clone();
    object["apiVersion"] = kind.api_version().into();
    object["metadata"]["namespace"] = namespace.into();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    // `kubectl get -o yaml` writes these too, but the API server does not accept them.
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    object
}

/// The spec of the live object with that of the manifest merged into it.
fn merged(live: &Value, manifest: &Value) -> Value {
    let mut spec = live["spec"].clone();
    merge(&mut spec, &manifest["spec"]);
    spec
}

/// As server-side apply does it: maps are merged, everything else is replaced.
fn merge(value: &mut Value, other: &Value) {
    match (value, other) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(others)) => {
            for (key, other) in others {
                merge(fields.entry(key).or_insert(Value::Null), other);
            }
        }
        (value, other) => *value = other.clone(),
    }
}

#[cfg(test)]
mod tests;
