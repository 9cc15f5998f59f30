//! What runs changed, and what it takes to undo them, given what is there now.
//!
//! Specs and metadata are texts of canonical JSON: equal texts are equal objects.

use super::plan::Target;
use std::collections::BTreeMap;

/// An object as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its UID: an object that was deleted and made anew has another one.
    pub uid: String,
    /// Its spec.
    pub spec: String,
    /// Its labels and annotations.
    pub metadata: String,
}

/// What one run has to do with one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Policy or rule.
    pub target: Target,
    /// Name of the object.
    pub name: String,
    /// The object before the run; `None` where it was not there.
    pub former: Option<State>,
    /// The specs that the run writes into it, one after the other.
    pub written: Vec<String>,
    /// UID of the object that the run made, once it is known.
    pub made: Option<String>,
}

impl Entry {
    /// This entry, written when the run looked again, on top of the one that it had before. What the run itself had
    /// written by then is not what was there before it.
    #[must_use]
    pub fn after(self, known: Option<&Self>) -> Self {
        let Some(known) = known else { return self };
        let is_ours = self.former.as_ref().is_some_and(|former| {
            let is_the_same = known.former.as_ref().is_none_or(|known| known.uid == former.uid);
            is_the_same && known.written.contains(&former.spec)
        });
        let mut written = known.written.clone();
        written.extend(self.written.iter().filter(|spec| !known.written.contains(spec)).cloned());
        if !is_ours {
            return Self { written, ..self };
        }
        let made = known.former.is_none().then(|| self.former.as_ref().map(|former| former.uid.clone())).flatten();
        Self { former: known.former.clone(), written, made, ..self }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has begun. Where nobody holds the namespace any more, it was cut short.
    Begun,
    /// It has made every change.
    Done,
    /// It was undone, but for objects that somebody else had changed.
    Undone,
}

/// One run's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its random name.
    pub id: String,
    /// `enable-mtls` or `disable-mtls`.
    pub command: String,
    /// Who ran it: user, host and process.
    pub by: String,
    /// When it began, as RFC 3339, by the clock of whoever ran it.
    pub begun: String,
    /// When its journal was made, in seconds since the epoch by the cluster's clock.
    pub created: i64,
    /// How far it has come.
    pub stage: Stage,
    /// Objects, each once.
    pub entries: Vec<Entry>,
}

impl Run {
    /// Whether a later run of `command` starts a story of its own, so that going back ends at its beginning: after
    /// a way back that came to its end, and after a restore.
    pub fn closes_session(&self, command: &str) -> bool {
        match self.stage {
            Stage::Begun => false,
            Stage::Done => self.command != command && command == "enable-mtls",
            Stage::Undone => true,
        }
    }
}

/// Where the present story begins in `runs`, the oldest first.
pub fn session_start(runs: &[Run]) -> usize {
    let begins = |pair: &[Run]| pair[0].closes_session(&pair[1].command);
    runs.windows(2).rposition(begins).map_or(0, |position| position + 1)
}

/// The runs to undo so that everything is as it was before `wanted`, or before the present story: the oldest first, as
/// `runs`. `None` where there is no such run.
pub fn back_to<'a>(runs: &'a [Run], wanted: Option<&str>) -> Option<&'a [Run]> {
    let first = match wanted {
        None => session_start(runs),
        Some(id) => runs.iter().position(|run| run.id == id)?,
    };
    runs.get(first..)
}

/// An object as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Its content.
    pub state: State,
    /// When it was made, in seconds since the epoch by the cluster's clock.
    pub created: i64,
    /// Whether it bears a mark of this tool's making: its label, or its name as a field manager.
    pub is_ours: bool,
}

/// Why an object is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Somebody deleted it.
    Gone,
    /// Somebody deleted it and made it anew.
    MadeAnew,
    /// Somebody changed its spec.
    Changed,
    /// Somebody changed it or made it anew between two runs: it goes back to what they made.
    Between,
    /// Its spec is put back, but labels or annotations are not what they were.
    Relabelled,
}

/// What undoing does to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// Policy or rule.
    pub target: Target,
    /// Name of the object.
    pub name: String,
    /// What is written.
    pub step: Step,
    /// What cannot be put right.
    pub left: Option<Left>,
}

/// A write that undoes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// None.
    Nothing,
    /// The spec becomes this one again.
    PutBack(String),
    /// The object, which a run made, is deleted.
    Delete,
}

/// What it takes to go back to the beginning of `runs`, the oldest first: for each object that one of them touched, by
/// name, policies first.
pub fn undo(runs: &[Run], mut now: impl FnMut(Target, &str) -> Option<Now>) -> Vec<Undo> {
    let mut histories: BTreeMap<(Target, &str), Vec<(&Entry, i64)>> = BTreeMap::new();
    for run in runs.iter().rev() {
        for entry in &run.entries {
            histories.entry((entry.target, &entry.name)).or_default().push((entry, run.created));
        }
    }
    let undo_one = |((target, name), history): ((Target, &str), Vec<_>)| {
        let (step, left) = steps_back(&history, now(target, name).as_ref());
        Undo { target, name: name.to_owned(), step, left }
    };
    histories.into_iter().map(undo_one).collect()
}

/// Walks from what is there now to what was there before the oldest entry. `history` has the newest first, each with
/// the time of its journal.
fn steps_back(history: &[(&Entry, i64)], now: Option<&Now>) -> (Step, Option<Left>) {
    let mut at = now.map(|now| now.state.clone());
    // Until the present state is found in the history, a run that does not know it may have been undone already.
    let mut found = false;
    let mut left = None;
    for (entry, since) in history {
        match step_back(entry, *since, at.as_ref(), now) {
            Ok(former) => {
                at = former;
                found = true;
            }
            Err(reason) => {
                // Somebody else's change lies between two runs: what it made is as far back as we can go.
                if found {
                    left = Some(Left::Between);
                    break;
                }
                left = Some(reason);
            }
        }
    }
    if !found {
        return (Step::Nothing, left);
    }
    let left = left.filter(|_| !history.last().is_some_and(|(oldest, _)| at == oldest.former));
    match (now, at) {
        (Some(_), None) => (Step::Delete, left),
        (Some(now), Some(former)) => {
            let relabelled = (now.state.metadata != former.metadata).then_some(Left::Relabelled);
            let step = if now.state.spec == former.spec { Step::Nothing } else { Step::PutBack(former.spec) };
            (step, left.or(relabelled))
        }
        (None, _) => (Step::Nothing, left),
    }
}

/// The state before one run, where `at` is a state that the run knows.
fn step_back(entry: &Entry, since: i64, at: Option<&State>, now: Option<&Now>) -> Result<Option<State>, Left> {
    let (at, former) = match (at, &entry.former) {
        (None, None) => return Ok(None),
        (None, Some(_)) => return Err(Left::Gone),
        (Some(at), former) => (at, former),
    };
    let is_the_same = match (former, &entry.made) {
        (Some(former), _) => former.uid == at.uid,
        (None, Some(made)) => *made == at.uid,
        // Cut short between the write and the note of it: made by a run of ours, and not before this one.
        (None, None) => now.is_some_and(|now| now.is_ours && now.created >= since),
    };
    if !is_the_same {
        return Err(Left::MadeAnew);
    }
    let is_former = former.as_ref().is_some_and(|former| former.spec == at.spec);
    if is_former || entry.written.contains(&at.spec) { Ok(former.clone()) } else { Err(Left::Changed) }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
