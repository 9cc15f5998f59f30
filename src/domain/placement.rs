//! Where the pods may run and what else they are given: tolerations, node selector, labels, annotations and priority class,
//! as the options and the environment name them.

use super::label::{is_dns_subdomain, is_name, is_value};
use std::collections::BTreeMap;

/// Additions to the pods of this tool. They cannot change what a verdict rests on: see [`pod_label`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodPlacement {
    /// `--toleration`.
    pub tolerations: Vec<Toleration>,
    /// `--node-selector`.
    pub node_selector: BTreeMap<String, String>,
    /// `--pod-label`.
    pub labels: BTreeMap<String, String>,
    /// `--pod-annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--priority-class`.
    pub priority_class: Option<String>,
}

/// The taints of nodes on which a pod may run all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// The key of the taint.
    pub key: String,
    /// Its value; `None` matches every value.
    pub value: Option<String>,
    /// Its effect, one of [`EFFECTS`]; `None` matches every effect.
    pub effect: Option<String>,
}

/// The effects of a taint.
pub const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Parses `KEY[=VALUE][:EFFECT]`, as kubectl writes a taint. Without a value the toleration matches every value of the
/// key, and without an effect every effect.
pub fn toleration(text: &str) -> Result<Toleration, String> {
    let (taint, effect) = text.split_once(':').map_or((text, None), |(taint, effect)| (taint, Some(effect)));
    if let Some(effect) = effect.filter(|effect| !EFFECTS.contains(effect)) {
        return Err(format!("the effect {effect:?} is none of {}", EFFECTS.join(", ")));
    }
    let (key, value) = taint.split_once('=').map_or((taint, None), |(key, value)| (key, Some(value)));
    qualified_name(key)?;
    value.map_or(Ok(()), label_value)?;
    Ok(Toleration { key: key.to_owned(), value: value.map(str::to_owned), effect: effect.map(str::to_owned) })
}

/// Parses `KEY=VALUE` of a label on which the scheduler selects nodes.
pub fn node_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = key_and_value(text)?;
    label_value(value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses `KEY=VALUE` of a label of the pods. A label that would change what the result means is an error.
pub fn pod_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = metadata_entry(text)?;
    label_value(value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses `KEY=VALUE` of an annotation of the pods. One that would change what the result means is an error.
pub fn pod_annotation(text: &str) -> Result<(String, String), String> {
    metadata_entry(text).map(|(key, value)| (key.to_owned(), value.to_owned()))
}

/// Checks the name of a `PriorityClass`.
pub fn priority_class(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) { Ok(text.to_owned()) } else { Err("not a valid name of a PriorityClass".to_owned()) }
}

/// Parses a label or an annotation, and refuses one that would change what the result means.
fn metadata_entry(text: &str) -> Result<(&str, &str), String> {
    let (key, value) = key_and_value(text)?;
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    if prefix == "istio.io" || prefix.ends_with(".istio.io") {
        return Err(format!(
            "{key} is not allowed: whether the pod is in the mesh decides what its calls prove, so the tool sets it"
        ));
    }
    if matches!(key, "app.kubernetes.io/name" | "app.kubernetes.io/managed-by") {
        return Err(format!("{key} is not allowed: the tool finds its own pods by it"));
    }
    Ok((key, value))
}

fn key_and_value(text: &str) -> Result<(&str, &str), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    qualified_name(key)?;
    Ok((key, value))
}

/// Checks the key of a label, an annotation or a taint: a name, with a DNS subdomain before a `/` where it has one.
fn qualified_name(key: &str) -> Result<(), String> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if is_name(name) && prefix.is_none_or(is_dns_subdomain) {
        Ok(())
    } else {
        Err(format!("{key:?} is not a valid key: write NAME or DOMAIN/NAME, such as example.com/team"))
    }
}

fn label_value(value: &str) -> Result<(), String> {
    if is_value(value) {
        Ok(())
    } else {
        Err(format!("{value:?} is not a valid value: at most 63 letters, digits, '-', '_' and '.'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_written_like_taints() {
        for (text, expected) in [
            ("dedicated", Some(("dedicated", None, None))),
            ("dedicated=mesh", Some(("dedicated", Some("mesh"), None))),
            ("dedicated=:NoExecute", Some(("dedicated", Some(""), Some("NoExecute")))),
            ("example.com/gpu:NoSchedule", Some(("example.com/gpu", None, Some("NoSchedule")))),
            ("dedicated:Never", None),
            ("=mesh", None),
            ("", None),
            ("a b", None),
            ("a=b=c", None),
        ] {
            let parsed = toleration(text).ok();
            let parts = parsed.as_ref().map(|it| (it.key.as_str(), it.value.as_deref(), it.effect.as_deref()));
            assert_eq!(parts, expected, "{text}");
        }
    }

    #[test]
    fn labels_and_annotations_keep_to_the_rules_of_kubernetes_and_of_the_proof() {
        for (text, is_label, is_annotation) in [
            ("team=shop", true, true),
            ("example.com/team=", true, true),
            ("note=a b, c", false, true),
            ("team", false, false),
            ("a/b/c=d", false, false),
            ("/x=y", false, false),
            ("UPPER.example/x=y", false, false),
            ("sidecar.istio.io/inject=true", false, false),
            ("istio.io/dataplane-mode=ambient", false, false),
            ("istio.io/rev=canary", false, false),
            ("ambient.istio.io/redirection=enabled", false, false),
            ("notistio.io/x=y", true, true),
            ("app.kubernetes.io/managed-by=me", false, false),
            ("app.kubernetes.io/part-of=me", true, true),
        ] {
            assert_eq!((pod_label(text).is_ok(), pod_annotation(text).is_ok()), (is_label, is_annotation), "{text}");
        }
        assert!(node_label("topology.kubernetes.io/zone=eu-1").is_ok());
        assert!(node_label("istio.io/rev=x").is_ok(), "a node's label is not the pod's");
    }
}
