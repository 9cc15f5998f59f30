//! Reads the user's own manifests (`-f`): which are accepted, and what each changes in the object that is there.

use super::change::with_spec;
use super::kinds::Kind;
use super::paths::is_legacy;
use super::render::Apis;
use super::{patch, read};
use crate::domain::mesh::{ClientTls, DestinationRule, MtlsMode, PeerAuthentication};
use crate::domain::plan::{
    Change, Direction, ObjectKind, PolicyAction, PolicyChange, RuleAction, RuleChange, TlsEdit, TlsPlace,
};
use crate::domain::rule::covers;
use serde_json::Value;

/// Kind and name of a manifest; the error says why it is not accepted. `apis` are the versions of the cluster,
/// `namespace` is the one of the command.
pub fn identity(apis: Apis, namespace: &str, manifest: &Value) -> Result<(ObjectKind, String), String> {
    let (version, kind) = (&manifest["apiVersion"], &manifest["kind"]);
    let (Some(version), Some(kind)) = (version.as_str(), kind.as_str()) else {
        return Err("not a Kubernetes object: apiVersion and kind are required".to_owned());
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

/// A mode of a manifest that Istio does not know, as a message; `None` where there is none. `null` is no mode.
pub fn unknown_mode(kind: ObjectKind, manifest: &Value) -> Option<String> {
    let spec = &manifest["spec"];
    let (modes, known): (Vec<&Value>, &[&str]) = match kind {
        ObjectKind::Policy if is_legacy(manifest) => return None,
        ObjectKind::Policy => {
            let ports = spec["portLevelMtls"].as_object().into_iter().flatten().map(|(_, entry)| &entry["mode"]);
            (
                std::iter::once(&spec["mtls"]["mode"]).chain(ports).collect(),
                &["STRICT", "PERMISSIVE", "DISABLE", "UNSET"],
            )
        }
        ObjectKind::Rule => {
            let subsets = spec["subsets"].as_array().into_iter().flatten().map(|subset| &subset["trafficPolicy"]);
            let policies = std::iter::once(&spec["trafficPolicy"]).chain(subsets);
            let tls = policies.flat_map(|policy| {
                let ports = policy["portLevelSettings"].as_array().into_iter().flatten();
                std::iter::once(policy).chain(ports).map(|place| &place["tls"]["mode"])
            });
            (tls.collect(), &["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])
        }
    };
    let is_unknown = |mode: &&Value| !mode.is_null() && !mode.as_str().is_some_and(|mode| known.contains(&mode));
    let unknown = modes.into_iter().find(is_unknown)?;
    Some(format!("mode {unknown} is none of {}", known.join(", ")))
}

/// Where a command changes mutual TLS.
#[derive(Debug, Clone, Copy)]
pub struct Home<'a> {
    pub namespace: &'a str,
    pub cluster_domain: &'a str,
}

impl Home<'_> {
    /// Whether a resolved host is one of the namespace's Services, or a pattern that covers them.
    fn is_covered(&self, host: &str) -> bool {
        let suffix = format!(".{}.svc.{}", self.namespace, self.cluster_domain);
        host.ends_with(&suffix) || host.starts_with('*') && covers(host, &format!("any{suffix}"))
    }
}

/// How a manifest contradicts the command, as a message; `None` where it does not. A policy for some workloads is an
/// exception and no contradiction, and rules for hosts outside of the namespace are none of the command's business.
pub fn contradiction(kind: ObjectKind, manifest: &Value, direction: Direction, home: Home<'_>) -> Option<String> {
    let wanted = direction.mode();
    let command = match direction {
        Direction::Enable => "enable-mtls",
        Direction::Disable { .. } => "disable-mtls",
    };
    let sets = |mode: MtlsMode| format!("the file sets {mode}, but {command} needs {wanted}");
    match kind {
        ObjectKind::Policy if is_legacy(manifest) => {
            let policy = read::legacy_policy(manifest);
            let differs = policy.targets.is_empty() && policy.mode != wanted;
            differs.then(|| sets(policy.mode))
        }
        ObjectKind::Policy => {
            let policy = read::peer_authentication(manifest);
            if !policy.is_wide() {
                return None;
            }
            if policy.mode.is_none() {
                return Some(format!("the file sets no mode for the namespace, but {command} needs {wanted}"));
            }
            let mut modes = policy.mode.into_iter().chain(policy.ports.values().flatten().copied());
            modes.find(|mode| *mode != wanted).map(sets)
        }
        ObjectKind::Rule => {
            let breaks = |tls: &ClientTls| match direction {
                Direction::Enable => *tls != ClientTls::IstioMutual,
                Direction::Disable { mode } => mode == MtlsMode::Disable && *tls == ClientTls::IstioMutual,
            };
            let mut rule = read::destination_rule(manifest);
            home.namespace.clone_into(&mut rule.namespace);
            if !home.is_covered(&rule.resolved_host(home.cluster_domain)) {
                return None;
            }
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
    let policy = |object: &Value| (!is_legacy(manifest)).then(|| Box::new(read::peer_authentication(object)));
    let Some(live) = live else {
        // A new policy is younger than every other.
        let policy = policy(&object).map(|policy| Box::new(PeerAuthentication { created: i64::MAX, ..*policy }));
        return PolicyAction::Apply { object: object.into(), mode, policy };
    };
    let spec = merged(live, manifest);
    if spec == live["spec"] {
        return PolicyAction::Unchanged { mode };
    }
    let current_mode =
        if is_legacy(manifest) { Some(read::legacy_policy(live).mode) } else { read::peer_authentication(live).mode };
    let spec = spec.into();
    let policy = policy(&with_spec(live, &spec));
    PolicyAction::Merge { spec, current_mode, mode, policy }
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
    remove_nulls(&mut object);
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
    if !manifest["spec"].is_null() {
        merge(&mut spec, &manifest["spec"]);
    }
    spec
}

/// As kubectl applies it: maps are merged, everything else is replaced, and a field that is null is removed.
fn merge(value: &mut Value, other: &Value) {
    match (value, other) {
        (Value::Object(fields), Value::Object(others)) => {
            for (key, other) in others {
                if other.is_null() {
                    fields.remove(key);
                } else {
                    merge(fields.entry(key).or_insert(Value::Null), other);
                }
            }
        }
        (value, other) => {
            *value = other.clone();
            remove_nulls(value);
        }
    }
}

/// Removes the fields that are null, which the API server does not store.
fn remove_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(remove_nulls);
    }
}

#[cfg(test)]
mod tests;
