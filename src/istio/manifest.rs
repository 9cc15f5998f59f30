//! The user's own manifests: what is taken, and what it comes to beside what is there.

use super::journal::{canonical, with_spec};
use super::kinds::Kind;
use super::render::Apis;
use super::{patch, read};
use crate::domain::mesh::{ClientTls, DestinationRule, MtlsMode};
use crate::domain::plan::{Action, Direction, Edit, Given, Target, TlsPlace};
use serde_json::Value;

/// Which kind of ours a manifest is of, and its name; the error says why it is not taken. `apis` are the versions of
/// the cluster.
pub fn identity(apis: Apis, namespace: &str, manifest: &Value) -> Result<(Target, String), String> {
    let (version, kind) = (&manifest["apiVersion"], &manifest["kind"]);
    let (Some(version), Some(kind)) = (version.as_str(), kind.as_str()) else {
        return Err("it is no object of Kubernetes: apiVersion and kind are wanted".to_owned());
    };
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let is = |wanted: &Kind| wanted.group == group && wanted.kind == kind;
    let target = if is(&apis.policy.kind()) {
        Target::Policy
    } else if is(&apis.rule.kind()) {
        Target::Rule
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
        "" => Ok((target, name.to_owned())),
        own if own == namespace => Ok((target, name.to_owned())),
        other => Err(format!(
            "the namespace of {kind} {name:?}, {other:?}, is not the namespace of the command, {namespace:?}: pass -n {other}"
        )),
    }
}

/// Where a manifest says the contrary of what the command is for, in words.
pub fn contradicts(target: Target, manifest: &Value, is_legacy: bool, direction: Direction) -> Option<String> {
    let wanted = direction.mode();
    match target {
        Target::Policy if is_legacy => {
            let said = read::legacy_policy(manifest).mode;
            (said != wanted).then(|| format!("it says {said}, the command says {wanted}"))
        }
        Target::Policy => {
            let policy = read::peer_authentication(manifest);
            if policy.is_wide() && policy.mode.is_none() {
                return Some(format!("it says no mode for the namespace, the command says {wanted}"));
            }
            let said = policy.mode.into_iter().chain(policy.ports.values().flatten().copied());
            said.into_iter()
                .find(|mode| *mode != wanted)
                .map(|mode| format!("it says {mode}, the command says {wanted}"))
        }
        Target::Rule => {
            let breaks = |tls: &ClientTls| match direction {
                Direction::Enable => *tls != ClientTls::IstioMutual,
                Direction::Disable { mode } => mode == MtlsMode::Disable && *tls == ClientTls::IstioMutual,
            };
            let rule = read::destination_rule(manifest);
            said(&rule).into_iter().find(breaks).map(|tls| format!("it says {tls}, which {wanted} refuses"))
        }
    }
}

/// Every TLS mode that a rule says anywhere.
fn said(rule: &DestinationRule) -> Vec<ClientTls> {
    let subsets = rule.subsets.iter();
    let ports = rule.ports.iter().chain(subsets.clone().flat_map(|subset| &subset.ports)).filter_map(|port| port.tls);
    rule.tls.into_iter().chain(ports).chain(subsets.filter_map(|subset| subset.tls)).collect()
}

/// What a manifest comes to, beside the object that is there. Of that, metadata stays as it is.
pub fn given(
    apis: Apis,
    namespace: &str,
    target: Target,
    manifest: &Value,
    live: Option<&Value>,
    direction: Direction,
) -> Given {
    let is_legacy = patch::is_legacy(manifest);
    let is_wide = match target {
        Target::Policy if is_legacy => read::legacy_policy(manifest).targets.is_empty(),
        Target::Policy => read::peer_authentication(manifest).is_wide(),
        Target::Rule => false,
    };
    let action = match live {
        None => {
            let object = as_sent(apis, namespace, target, manifest);
            Action::Apply { object: canonical(&object), rule: rule(target, &object) }
        }
        Some(live) => {
            let held = (target == Target::Policy).then(|| held(live, is_legacy)).flatten();
            let spec = merged(live, manifest, target, direction);
            if spec == live["spec"] {
                Action::Unchanged
            } else {
                let spec = canonical(&spec);
                let rule = rule(target, &with_spec(live, &spec));
                Action::Merge { spec, held, rule }
            }
        }
    };
    Given {
        target,
        name: read::metadata(manifest, "name").to_owned(),
        host: manifest["spec"]["host"].as_str().map(str::to_owned),
        is_wide,
        action,
    }
}

fn rule(target: Target, object: &Value) -> Option<Box<DestinationRule>> {
    (target == Target::Rule).then(|| Box::new(read::destination_rule(object)))
}

fn held(live: &Value, is_legacy: bool) -> Option<MtlsMode> {
    if is_legacy { Some(read::legacy_policy(live).mode) } else { read::peer_authentication(live).mode }
}

/// A new object as it is sent: in the version that the cluster prefers, in the namespace of the command.
fn as_sent(apis: Apis, namespace: &str, target: Target, manifest: &Value) -> Value {
    let mut object = manifest.clone();
    let kind = if target == Target::Policy { apis.policy.kind() } else { apis.rule.kind() };
    object["apiVersion"] = kind.api_version().into();
    object["metadata"]["namespace"] = namespace.into();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    // What `kubectl get -o yaml` writes too, and no one may send.
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"] {
            metadata.remove(field);
        }
    }
    object
}

/// The spec that is there, with what the manifest says put over it. On the way back a `tls` of the mesh's own that the
/// manifest does not name goes.
fn merged(live: &Value, manifest: &Value, target: Target, direction: Direction) -> Value {
    let mut spec = live["spec"].clone();
    put_over(&mut spec, &manifest["spec"]);
    let is_back = matches!(direction, Direction::Disable { .. });
    let is_named = !manifest["spec"]["trafficPolicy"]["tls"].is_null();
    let has_tls = spec["trafficPolicy"]["tls"]["mode"] == ClientTls::IstioMutual.as_str();
    if target == Target::Rule && is_back && has_tls && !is_named {
        let object = with_spec(live, &canonical(&spec));
        let edit = Edit::RemoveTls { place: TlsPlace::Top };
        if let Ok(object) = patch::patched(&object, &[edit]) {
            return object["spec"].clone();
        }
    }
    spec
}

/// As server-side apply does it: maps are merged, everything else takes the other's place.
fn put_over(value: &mut Value, other: &Value) {
    match (value, other) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(others)) => {
            for (key, other) in others {
                put_over(fields.entry(key).or_insert(Value::Null), other);
            }
        }
        (value, other) => *value = other.clone(),
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
