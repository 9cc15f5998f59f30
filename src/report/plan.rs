//! Renders the plan and the results of a switch in the format of kubectl.

use super::{RenderError, yaml};
use crate::domain::plan::{Change, PolicyAction, RuleAction, TlsEdit, TlsPlace};
use crate::sanitize;
use serde_json::{Value, json};

/// One line of the plan: the object, the result in kubectl's terms, and what changes. `name` is as kubectl prints it.
pub fn line(name: &str, change: &Change) -> String {
    let detail = match change {
        Change::Policy(policy) => policy_detail(&policy.action),
        Change::Rule(rule) => rule_detail(&rule.action),
    };
    let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
    format!("{name} {}{detail}", change.result_word())
}

const AS_WRITTEN: &str = "as you wrote it";
const MERGED: &str = "with what you wrote";
const AS_BEFORE: &str = "as it was";
const NOT_BEFORE: &str = "it was not there";

fn policy_detail(action: &PolicyAction) -> Option<String> {
    Some(match action {
        PolicyAction::Create { mode } => format!("mode {mode}"),
        PolicyAction::SetMode { from, to } => format!("mode {} → {to}", from.map_or("UNSET", |mode| mode.as_str())),
        PolicyAction::Apply { .. } => AS_WRITTEN.to_owned(),
        PolicyAction::Merge { .. } => MERGED.to_owned(),
        PolicyAction::PutBack { mode: Some(mode), .. } => format!("{AS_BEFORE}; {mode} then holds"),
        PolicyAction::PutBack { mode: None, .. } => AS_BEFORE.to_owned(),
        PolicyAction::Delete { .. } => NOT_BEFORE.to_owned(),
        PolicyAction::Unchanged { .. } => return None,
    })
}

fn rule_detail(action: &RuleAction) -> Option<String> {
    Some(match action {
        RuleAction::Create { host, plaintext_ports } if plaintext_ports.is_empty() => format!("{host}: ISTIO_MUTUAL"),
        RuleAction::Create { host, plaintext_ports } => {
            let ports: Vec<String> = plaintext_ports.iter().map(u16::to_string).collect();
            format!("{host}: ISTIO_MUTUAL, port {} DISABLE", ports.join(", "))
        }
        RuleAction::Edit(edits) => edits.iter().map(edit_detail).collect::<Vec<_>>().join(", "),
        RuleAction::Apply { .. } => AS_WRITTEN.to_owned(),
        RuleAction::Merge { .. } => MERGED.to_owned(),
        RuleAction::PutBack { .. } => AS_BEFORE.to_owned(),
        RuleAction::Delete => NOT_BEFORE.to_owned(),
        RuleAction::Unchanged => return None,
    })
}

fn edit_detail(edit: &TlsEdit) -> String {
    match edit {
        TlsEdit::Set { place, from } => {
            format!("{} {} → ISTIO_MUTUAL", path(*place), from.map_or("none", |tls| tls.as_str()))
        }
        TlsEdit::Remove { place } => format!("{} ISTIO_MUTUAL → none", path(*place)),
    }
}

fn path(place: TlsPlace) -> String {
    match place {
        TlsPlace::Top => "tls".to_owned(),
        TlsPlace::Port(port) => format!("portLevelSettings[{port}].tls"),
        TlsPlace::Subset(subset) => format!("subsets[{subset}].tls"),
        TlsPlace::SubsetPort(subset, port) => format!("subsets[{subset}].portLevelSettings[{port}].tls"),
    }
}

/// One line of the result, as kubectl prints it.
pub fn result_line(name: &str, word: &str, suffix: &str, only_name: bool) -> String {
    let name = sanitize::line(name);
    if only_name { format!("{name}\n") } else { format!("{name} {word}{suffix}\n") }
}

/// Objects as kubectl prints them with `-o`: one object by itself, several in a List, without `managedFields`.
pub fn objects(objects: &[Value], as_json: bool) -> Result<String, RenderError> {
    let value = match objects {
        [only] => without_managed_fields(only),
        many => {
            let items: Vec<Value> = many.iter().map(without_managed_fields).collect();
            json!({"apiVersion": "v1", "kind": "List", "items": items})
        }
    };
    Ok(if as_json {
        sanitize::json(&serde_json::to_string_pretty(&value)?).into_owned() + "\n"
    } else {
        yaml::document(&value)?
    })
}

/// The object without `metadata.managedFields`.
pub fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// The last line of a run whose proof shows what was requested. `verdict` is `rejected` or `accepted`.
pub fn closing(verdict: &str, targets: usize) -> String {
    let targets = super::plural::count(targets, "target");
    if verdict == "rejected" {
        format!(
            "proven: plaintext is rejected at {targets}. This speaks of new connections: plaintext connections opened \
             before live on for up to 45 s at a sidecar, and without end at a ztunnel"
        )
    } else {
        format!("proven: plaintext is accepted at {targets}")
    }
}
