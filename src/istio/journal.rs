//! The journal as text: what is noted of an object, and how it is read again.

use super::render::{self, Apis, MANAGED_BY};
use super::{owners, patch, read};
use crate::domain::journal::{Entry, Now, Run, Stage, State};
use crate::domain::plan::{Action, Change, Target};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The version of the journal's own format.
const VERSION: u64 = 1;

/// A journal that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Unreadable(String);

/// Canonical JSON: keys in one order, no blanks. Equal texts are equal values.
pub fn canonical(value: &Value) -> String {
    value.to_string()
}

/// What is noted of an object.
pub fn state(object: &Value) -> State {
    let map = |field: &str| object["metadata"].get(field).filter(|map| !map.is_null()).cloned().unwrap_or(json!({}));
    State {
        uid: read::metadata(object, "uid").to_owned(),
        spec: canonical(&object["spec"]),
        metadata: canonical(&json!({"annotations": map("annotations"), "labels": map("labels")})),
    }
}

/// An object as it is now.
pub fn now(object: &Value) -> Now {
    Now {
        state: state(object),
        created: read::created(object),
        is_ours: object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1 || owners::is_applied_by_us(object),
    }
}

/// `object` with another spec, which is canonical JSON.
pub fn with_spec(object: &Value, spec: &str) -> Value {
    let mut object = object.clone();
    object["spec"] = serde_json::from_str(spec).unwrap_or_default();
    object
}

/// The entry for one object: `changes` are all that a run makes to it, one after the other, and `object` is what is
/// there before.
pub fn entry(apis: Apis, object: Option<&Value>, changes: &[&Change]) -> Option<Entry> {
    let first = changes.iter().find(|change| change.is_write())?;
    let mut work = object.cloned();
    let mut written = Vec::new();
    for change in changes {
        let next = match &change.action {
            Action::Create => render::created(apis, change),
            // What cannot be patched is refused before it is sent.
            Action::Edit(edits) => work.as_ref().and_then(|object| patch::patched(object, edits).ok()),
            Action::Apply { object, .. } => serde_json::from_str(object).ok(),
            Action::Merge { spec, .. } | Action::PutBack { spec, .. } => {
                work.as_ref().map(|object| with_spec(object, spec))
            }
            Action::Delete { .. } | Action::Unchanged => None,
        };
        if let Some(next) = next {
            written.push(canonical(&next["spec"]));
            work = Some(next);
        }
    }
    Some(Entry { target: first.target, name: first.name.clone(), former: object.map(state), written, made: None })
}

const fn word(target: Target) -> &'static str {
    match target {
        Target::Policy => "policy",
        Target::Rule => "rule",
    }
}

/// A line for each entry.
pub fn lines(entries: &[Entry]) -> String {
    let json = |text: &String| serde_json::from_str::<Value>(text).unwrap_or_default();
    let line = |entry: &Entry| {
        let former = entry
            .former
            .as_ref()
            .map(|former| json!({"uid": former.uid, "spec": json(&former.spec), "metadata": json(&former.metadata)}));
        let written: Vec<Value> = entry.written.iter().map(json).collect();
        let mut line = json!({"kind": word(entry.target), "name": entry.name, "former": former, "written": written});
        if let Some(uid) = &entry.made {
            line["made"] = json!(uid);
        }
        format!("{line}\n")
    };
    entries.iter().map(line).collect()
}

/// A line for each object that was made, with its UID.
pub fn notes(made: &[(Target, String, String)]) -> String {
    let note = |(target, name, uid): &(Target, String, String)| {
        json!({"kind": word(*target), "name": name, "made": uid}).to_string() + "\n"
    };
    made.iter().map(note).collect()
}

/// Reads what [`lines`] and [`notes`] wrote. Of several entries for an object the last counts; they come out by
/// kind and name.
pub fn entries(text: &str) -> Result<Vec<Entry>, Unreadable> {
    let mut entries: BTreeMap<(Target, String), Entry> = BTreeMap::new();
    for line in text.lines() {
        let value: Value =
            serde_json::from_str(line).map_err(|error| Unreadable(format!("a line is no JSON: {error}")))?;
        let target = match value["kind"].as_str() {
            Some("policy") => Target::Policy,
            Some("rule") => Target::Rule,
            other => return Err(Unreadable(format!("a line is of no known kind: {}", other.unwrap_or("none")))),
        };
        let name = value["name"].as_str().unwrap_or_default().to_owned();
        let made = value["made"].as_str().map(str::to_owned);
        let key = (target, name.clone());
        let Some(written) = value["written"].as_array() else {
            let known = entries.get_mut(&key);
            known.ok_or_else(|| Unreadable(format!("{name} is said to be made, but has no entry")))?.made = made;
            continue;
        };
        let former = &value["former"];
        let former = (!former.is_null()).then(|| State {
            uid: former["uid"].as_str().unwrap_or_default().to_owned(),
            spec: canonical(&former["spec"]),
            metadata: canonical(&former["metadata"]),
        });
        let written = written.iter().map(canonical).collect();
        entries.insert(key, Entry { target, name, former, written, made });
    }
    Ok(entries.into_values().collect())
}

/// What stands at the head of a journal: everything but the entries, and into how many parts those were divided.
pub fn head(run: &Run, parts: usize) -> String {
    let stage = match run.stage {
        Stage::Begun => "begun",
        Stage::Done => "done",
        Stage::Undone => "undone",
    };
    json!({
        "version": VERSION, "run": run.id, "command": run.command, "by": run.by, "begun": run.begun, "stage": stage,
        "parts": parts,
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
    let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let stage = match value["stage"].as_str() {
        Some("done") => Stage::Done,
        Some("undone") => Stage::Undone,
        _ => Stage::Begun,
    };
    let run = Run {
        id: field("run"),
        command: field("command"),
        by: field("by"),
        begun: field("begun"),
        created: 0,
        stage,
        entries: Vec::new(),
    };
    let parts = value["parts"].as_u64().and_then(|parts| usize::try_from(parts).ok()).unwrap_or(1);
    Ok((run, parts))
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
#[path = "journal_tests.rs"]
mod tests;
