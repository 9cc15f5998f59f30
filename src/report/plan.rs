//! What a switch will do and did, in kubectl's words.

use super::RenderError;
use crate::domain::plan::{Action, Change, Edit, Target, TlsPlace};
use crate::istio::yaml;
use crate::sanitize;
use serde_json::{Value, json};

/// One line of the plan: the object, kubectl's word, and what changes in it.
pub fn line(name: &str, change: &Change) -> String {
    let what = match &change.action {
        Action::Create => match (change.mode, &change.host) {
            (Some(mode), _) => format!(" (mode {mode})"),
            (None, Some(host)) => format!(" ({host}: ISTIO_MUTUAL)"),
            (None, None) => String::new(),
        },
        Action::Edit(edits) => {
            let words: Vec<String> = edits.iter().map(edit).collect();
            format!(" ({})", words.join(", "))
        }
        Action::Apply { .. } => " (as you wrote it)".to_owned(),
        Action::Merge { .. } => " (with what you wrote)".to_owned(),
        Action::PutBack { .. } => match (change.mode, change.target) {
            (Some(mode), Target::Policy) => format!(" (as it was; {mode} then holds)"),
            _ => " (as it was)".to_owned(),
        },
        Action::Delete { .. } => " (it was not there)".to_owned(),
        Action::Unchanged => String::new(),
    };
    format!("{name} {}{what}", change.action.word())
}

fn edit(edit: &Edit) -> String {
    match edit {
        Edit::SetMode { from, to } => {
            format!("mode {} → {to}", from.map_or("UNSET", |mode| mode.as_str()))
        }
        Edit::SetTls { place, from } => {
            format!("{} {} → ISTIO_MUTUAL", path(*place), from.map_or("none", |tls| tls.as_str()))
        }
        Edit::RemoveTls { place } => format!("{} ISTIO_MUTUAL → none", path(*place)),
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

/// Objects as kubectl prints them with -o: one alone, several in a List; without `managedFields`, as kubectl does.
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
        yaml::write(&value)?
    })
}

/// The object without the accounts of its field managers.
pub fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// The last line of a run that ended as it should.
pub fn closing(verdict: &str, targets: usize) -> String {
    let targets = super::human::count(targets, "target");
    if verdict == "rejected" {
        format!(
            "proven: plaintext is rejected at {targets}. This speaks of new connections: plaintext connections opened \
             before live on for up to 45 s at a sidecar, and without end at a ztunnel"
        )
    } else {
        format!("proven: plaintext is accepted at {targets}")
    }
}
