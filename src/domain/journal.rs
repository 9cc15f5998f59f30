//! Computes what it takes to undo earlier runs: from their journals, which hold every object as it was before and every
//! spec that a run writes, and from the objects as they are now. For `disable-mtls --restore` and roll-backs.

use super::object::{ObjectJson, ObjectKind};
use std::collections::BTreeMap;

/// An object as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// An object that is deleted and created again gets another one.
    pub uid: String,
    pub spec: ObjectJson,
    /// Labels and annotations.
    pub metadata: ObjectJson,
}

/// What one run does to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: ObjectKind,
    pub name: String,
    /// The object before the run; `None` where there is none.
    pub former: Option<ObjectState>,
    /// The specs that the run writes into it, in this order.
    pub written: Vec<ObjectJson>,
    /// UID of the object that the run creates, once the server has answered.
    pub created_uid: Option<String>,
    /// Whether the run deletes the object at its end.
    pub deletes: bool,
}

impl Entry {
    /// This entry, made when the run reads the cluster again, added to the one that it has already. What the run itself
    /// wrote in between is not the former state.
    #[must_use]
    pub fn merged_into(self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        let is_own_write = self.former.as_ref().is_some_and(|former| {
            let is_same_object = earlier.former.as_ref().is_none_or(|earlier| earlier.uid == former.uid);
            is_same_object && earlier.written.contains(&former.spec)
        });
        let mut written = earlier.written.clone();
        written.extend(self.written.iter().filter(|spec| !earlier.written.contains(spec)).cloned());
        if !is_own_write {
            return Self { written, ..self };
        }
        let own_uid = || self.former.as_ref().map(|former| former.uid.clone());
        let created_uid = earlier.former.is_none().then(own_uid).flatten();
        Self { former: earlier.former.clone(), written, created_uid, ..self }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has started. If no run holds the namespace's Lease, it ended early.
    Started,
    /// It has made every change.
    Done,
    /// It was undone, except for objects that somebody else had changed.
    Undone,
}

/// The journal of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Random name.
    pub id: String,
    /// `enable-mtls` or `disable-mtls`.
    pub command: String,
    /// User, host and process.
    pub started_by: String,
    /// RFC 3339, by the clock of the machine that it ran on.
    pub started_at: String,
    /// When its journal was created, in seconds since the epoch by the cluster's clock.
    pub recorded_at: i64,
    pub stage: Stage,
    /// Each object once.
    pub entries: Vec<Entry>,
}

impl Run {
    /// Whether a later run of `command` starts a new session, so that a restore goes back to its beginning only: after
    /// a `disable-mtls` that made every change, and after a restore.
    pub fn closes_session(&self, command: &str) -> bool {
        match self.stage {
            Stage::Started => false,
            Stage::Done => self.command != command && command == "enable-mtls",
            Stage::Undone => true,
        }
    }
}

/// Index of the first run of the present session. `runs` are ordered by age, the oldest first.
pub fn session_start(runs: &[Run]) -> usize {
    let starts_session = |pair: &[Run]| pair[0].closes_session(&pair[1].command);
    runs.windows(2).rposition(starts_session).map_or(0, |position| position + 1)
}

/// The runs to undo so that everything is as it was before the run `id`, or before the present session: a tail of
/// `runs`, which are ordered by age, the oldest first. `None` where there is no such run.
pub fn runs_to_undo<'a>(runs: &'a [Run], id: Option<&str>) -> Option<&'a [Run]> {
    let first = match id {
        None => session_start(runs),
        Some(id) => runs.iter().position(|run| run.id == id)?,
    };
    runs.get(first..)
}

/// An object as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveObject {
    pub state: ObjectState,
    /// Seconds since the epoch by the cluster's clock.
    pub created: i64,
    /// Whether it has the label or the field manager of this tool.
    pub is_ours: bool,
}

/// Why an object is not as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotRestored {
    /// Somebody deleted it.
    Deleted,
    /// Somebody deleted it and created it again.
    Recreated,
    /// Somebody changed its spec.
    Changed,
    /// Somebody changed or recreated it between two runs: it goes back to that state.
    ChangedBetweenRuns,
    /// Its spec is put back, but somebody changed labels or annotations.
    Relabelled,
    /// The journal says that a run created it, but it has neither the label nor the field manager of this tool.
    NotOurs,
    /// The journal would change fields that this tool has not written ([`Undo::other_fields`]).
    OtherFields,
}

/// What undoing does to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    pub kind: ObjectKind,
    pub name: String,
    pub step: UndoStep,
    /// What is different afterwards; `None` where the object is as it was.
    pub not_restored: Option<NotRestored>,
    /// Fields, as `.spec.selector`, that the journal would change and this tool has not written.
    pub other_fields: Vec<String>,
}

impl Undo {
    /// Leaves the object as it is, because undoing would change these fields, which this tool has not written: whoever
    /// can write `ConfigMap`s can write a journal, but not the fields' owners in the object.
    pub fn refuse(&mut self, other_fields: Vec<String>) {
        self.step = UndoStep::Nothing;
        self.not_restored = Some(NotRestored::OtherFields);
        self.other_fields = other_fields;
    }
}

/// The write that undoes the changes of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoStep {
    /// No write.
    Nothing,
    /// The spec becomes this one again.
    PutBack(ObjectJson),
    /// The object, which a run created, is deleted.
    Delete,
    /// The object, which a run deleted, is created again.
    Create(Box<ObjectState>),
}

/// What it takes to go back to the state before `runs`, which are ordered by age, the oldest first: one [`Undo`] for
/// each object of a journal, policies first, then by name. `live` gets the object as it is now.
pub fn undo(runs: &[Run], mut live: impl FnMut(ObjectKind, &str) -> Option<LiveObject>) -> Vec<Undo> {
    let mut histories: BTreeMap<(ObjectKind, &str), Vec<(&Entry, i64)>> = BTreeMap::new();
    for run in runs.iter().rev() {
        for entry in &run.entries {
            histories.entry((entry.kind, &entry.name)).or_default().push((entry, run.recorded_at));
        }
    }
    let undo_object = |((kind, name), history): ((ObjectKind, &str), Vec<_>)| {
        let (step, not_restored) = undo_history(&history, live(kind, name).as_ref());
        Undo { kind, name: name.to_owned(), step, not_restored, other_fields: Vec::new() }
    };
    histories.into_iter().map(undo_object).collect()
}

/// Goes from the present state back to the state before the oldest entry. `history` has the newest entry first, each
/// with the time at which its journal was created.
fn undo_history(history: &[(&Entry, i64)], live: Option<&LiveObject>) -> (UndoStep, Option<NotRestored>) {
    let mut state = live.map(|live| live.state.clone());
    // A run that does not know the present state may have been undone already, until an older one knows it.
    let mut is_known = false;
    let mut not_restored = None;
    for (entry, recorded_at) in history {
        match undo_entry(entry, *recorded_at, state.as_ref(), live) {
            Ok(former) => {
                state = former;
                is_known = true;
            }
            Err(reason) => {
                // Somebody else changed the object between two runs: undoing goes back to that state.
                if is_known {
                    not_restored = Some(NotRestored::ChangedBetweenRuns);
                    break;
                }
                not_restored = Some(reason);
            }
        }
    }
    if !is_known {
        return (UndoStep::Nothing, not_restored);
    }
    let not_restored = not_restored.filter(|_| !history.last().is_some_and(|(oldest, _)| state == oldest.former));
    match (live, state) {
        (Some(_), None) => (UndoStep::Delete, not_restored),
        (Some(live), Some(former)) => {
            let relabelled = (live.state.metadata != former.metadata).then_some(NotRestored::Relabelled);
            let is_there = live.state.spec == former.spec;
            let step = if is_there { UndoStep::Nothing } else { UndoStep::PutBack(former.spec) };
            (step, not_restored.or(relabelled))
        }
        (None, Some(former)) => (UndoStep::Create(Box::new(former)), not_restored),
        (None, None) => (UndoStep::Nothing, not_restored),
    }
}

/// The state before one run; an error where the run does not know `state`.
fn undo_entry(
    entry: &Entry,
    recorded_at: i64,
    state: Option<&ObjectState>,
    live: Option<&LiveObject>,
) -> Result<Option<ObjectState>, NotRestored> {
    let (state, former) = match (state, &entry.former) {
        (None, None) => return Ok(None),
        (None, Some(former)) if entry.deletes => return Ok(Some(former.clone())),
        (None, Some(_)) => return Err(NotRestored::Deleted),
        (Some(state), former) => (state, former),
    };
    let is_same_object = match (former, &entry.created_uid) {
        (Some(former), _) => former.uid == state.uid,
        (None, Some(created_uid)) => *created_uid == state.uid,
        // The run ended before it recorded the UID: the object is its own if this tool created it, and not before it.
        (None, None) => live.is_some_and(|live| live.is_ours && live.created >= recorded_at),
    };
    if !is_same_object {
        return Err(NotRestored::Recreated);
    }
    // A journal is a text that others may have written; who created an object, the object itself shows.
    if former.is_none() && live.is_some_and(|live| !live.is_ours) {
        return Err(NotRestored::NotOurs);
    }
    let is_former = former.as_ref().is_some_and(|former| former.spec == state.spec);
    if is_former || entry.written.contains(&state.spec) { Ok(former.clone()) } else { Err(NotRestored::Changed) }
}

#[cfg(test)]
mod tests;
