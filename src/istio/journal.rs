//! The text of a journal: what a run records of each object before it writes, and how that is read again.
//!
//! A text has one line of JSON for each object ([`lines`]) and, later, one for each object that the run created
//! ([`created_lines`]). Its head ([`head`]) has the rest of the [`Run`]. The keys are stored in clusters: they stay as
//! they are.

use super::change;
use super::owners;
use super::read;
use super::render::{Apis, MANAGED_BY};
use crate::domain::journal::{Entry, LiveObject, ObjectState, Run, Stage};
use crate::domain::plan::{Change, ObjectJson, ObjectKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The version of the format.
const VERSION: u64 = 1;

/// A journal that cannot be read, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unreadable(String);

/// What is recorded of an object.
pub fn state(object: &Value) -> ObjectState {
    let map = |field: &str| object["metadata"].get(field).filter(|map| !map.is_null()).cloned().unwrap_or(json!({}));
    ObjectState {
        uid: read::metadata(object, "uid").to_owned(),
        spec: object["spec"].clone().into(),
        metadata: json!({"annotations": map("annotations"), "labels": map("labels")}).into(),
    }
}

/// An object as it is now.
pub fn live_object(object: &Value) -> LiveObject {
    LiveObject {
        state: state(object),
        created: read::created(object),
        is_ours: object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1 || owners::is_applied_by_us(object),
    }
}

/// The entry for one object: `changes` are all that a run makes to it, in this order, and `object` is the object before.
/// `None` where none of them writes.
pub fn entry(apis: Apis, object: Option<&Value>, changes: &[&Change]) -> Option<Entry> {
    let writes: Vec<&Change> = changes.iter().copied().filter(|change| change.is_write()).collect();
    let first = writes.first()?;
    let mut current = object.cloned();
    let mut written = Vec::new();
    for change in &writes {
        // A change that cannot be made is refused before it is sent, so that it writes no spec.
        if let Ok(Some(next)) = change::result(apis, change, current.as_ref()) {
            written.push(next["spec"].clone().into());
            current = Some(next);
        }
    }
    let (kind, name) = (first.kind(), first.name().to_owned());
    let deletes = writes.last().is_some_and(|change| change.is_deletion());
    Some(Entry { kind, name, former: object.map(state), written, created_uid: None, deletes })
}

/// The fields, as `.spec.jwtRules`, that show that a former object is not a policy that this tool creates for single pods:
/// no run deletes another object, so such a journal is not its own.
pub fn unknown_fields(kind: ObjectKind, former: &ObjectState) -> Vec<String> {
    if kind == ObjectKind::Rule {
        return vec![".kind".to_owned()];
    }
    let spec = former.spec.value();
    let has_selector = spec["selector"]["matchLabels"].as_object().is_some_and(|labels| !labels.is_empty());
    let has_label = former.metadata.value()["labels"][MANAGED_BY.0] == MANAGED_BY.1;
    let mut unknown: Vec<String> = spec
        .as_object()
        .into_iter()
        .flat_map(|spec| spec.keys())
        .filter(|key| !matches!(key.as_str(), "selector" | "mtls" | "portLevelMtls"))
        .map(|key| format!(".spec.{key}"))
        .collect();
    unknown.extend((!has_selector).then(|| ".spec.selector".to_owned()));
    unknown.extend((!has_label).then(|| format!(".metadata.labels.{}", MANAGED_BY.0)));
    unknown
}

const fn stored_kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Policy => "policy",
        ObjectKind::Rule => "rule",
    }
}

/// A line for each entry.
pub fn lines(entries: &[Entry]) -> String {
    let line = |entry: &Entry| {
        let former = entry
            .former
            .as_ref()
            .map(|former| json!({"uid": former.uid, "spec": former.spec.value(), "metadata": former.metadata.value()}));
        let written: Vec<&Value> = entry.written.iter().map(ObjectJson::value).collect();
        let kind = stored_kind(entry.kind);
        let mut line = json!({"kind": kind, "name": entry.name, "former": former, "written": written});
        if let Some(uid) = &entry.created_uid {
            line["made"] = json!(uid);
        }
        if entry.deletes {
            line["deletes"] = json!(true);
        }
        format!("{line}\n")
    };
    entries.iter().map(line).collect()
}

/// A line for each object that the run created: kind, name and UID.
pub fn created_lines(created: &[(ObjectKind, String, String)]) -> String {
    let line = |(kind, name, uid): &(ObjectKind, String, String)| {
        json!({"kind": stored_kind(*kind), "name": name, "made": uid}).to_string() + "\n"
    };
    created.iter().map(line).collect()
}

/// Reads what [`lines`] and [`created_lines`] wrote, ordered by kind and name. Of several entries for one object, the
/// last counts.
pub fn entries(text: &str) -> Result<Vec<Entry>, Unreadable> {
    let mut entries: BTreeMap<(ObjectKind, String), Entry> = BTreeMap::new();
    for line in text.lines() {
        let value: Value =
            serde_json::from_str(line).map_err(|error| Unreadable(format!("a line is no JSON: {error}")))?;
        let kind = match value["kind"].as_str() {
            Some("policy") => ObjectKind::Policy,
            Some("rule") => ObjectKind::Rule,
            other => return Err(Unreadable(format!("a line is of no known kind: {}", other.unwrap_or("none")))),
        };
        let name = text_of(&value, "name", "a line")?;
        let created_uid = value["made"].as_str().map(str::to_owned);
        let key = (kind, name.clone());
        let Some(written) = value["written"].as_array() else {
            let known = entries.get_mut(&key);
            known.ok_or_else(|| Unreadable(format!("{name} is said to be made, but has no entry")))?.created_uid =
                created_uid;
            continue;
        };
        let former = &value["former"];
        let former = (!former.is_null()).then(|| former_state(former)).transpose()?;
        let written = written.iter().cloned().map(ObjectJson::from).collect();
        let deletes = value["deletes"] == true;
        entries.insert(key, Entry { kind, name, former, written, created_uid, deletes });
    }
    Ok(entries.into_values().collect())
}

fn former_state(former: &Value) -> Result<ObjectState, Unreadable> {
    let part = |key: &str| {
        let part = former.get(key).cloned().map(ObjectJson::from);
        part.ok_or_else(|| Unreadable(format!("a former object has no {key}")))
    };
    Ok(ObjectState {
        uid: text_of(former, "uid", "a former object")?,
        spec: part("spec")?,
        metadata: part("metadata")?,
    })
}

/// A text that must be there. `owner` is what has it, for the error.
fn text_of(value: &Value, key: &str, owner: &str) -> Result<String, Unreadable> {
    value[key].as_str().map(str::to_owned).ok_or_else(|| Unreadable(format!("{owner} has no {key}")))
}

/// The head of a journal: everything but the entries, and the number of parts of the first text.
pub fn head(run: &Run, parts: usize) -> String {
    let stage = match run.stage {
        Stage::Started => "begun",
        Stage::Done => "done",
        Stage::Undone => "undone",
    };
    json!({
        "version": VERSION, "run": run.id, "command": run.command, "by": run.started_by, "begun": run.started_at,
        "stage": stage, "parts": parts,
    })
    .to_string()
}

/// Reads a head: the run without its entries, and the number of parts.
pub fn read_head(text: &str) -> Result<(Run, usize), Unreadable> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| Unreadable(format!("its head is no JSON: {error}")))?;
    if value["version"] != VERSION {
        return Err(Unreadable(format!("it is of version {}, this tool knows {VERSION}", value["version"])));
    }
    let field = |key: &str| text_of(&value, key, "its head");
    let stage = match field("stage")?.as_str() {
        "begun" => Stage::Started,
        "done" => Stage::Done,
        "undone" => Stage::Undone,
        other => return Err(Unreadable(format!("its stage is not known: {other}"))),
    };
    let run = Run {
        id: field("run")?,
        command: field("command")?,
        started_by: field("by")?,
        started_at: field("begun")?,
        recorded_at: 0,
        stage,
        entries: Vec::new(),
    };
    let parts = value["parts"].as_u64().and_then(|parts| usize::try_from(parts).ok());
    Ok((run, parts.ok_or_else(|| Unreadable("its head has no parts".to_owned()))?))
}

/// Divides a text into pieces of at most `limit` bytes, none of them inside a character. There is at least one.
pub fn pieces(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > limit {
        let (piece, next) = rest.split_at(rest.floor_char_boundary(limit));
        pieces.push(piece);
        rest = next;
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests;
