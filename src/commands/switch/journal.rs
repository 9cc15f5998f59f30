//! The journal part: the former objects, the state of the run, and the objects that it created.

use super::SwitchRun;
use super::goal::{Goal, Planned};
use super::unanswered;
use crate::cluster::apply::Writer;
use crate::cluster::error::ClusterError;
use crate::cluster::journal::{self as store, Journal, StoredJournal};
use crate::cluster::lease::WriteGuard;
use crate::domain::journal::{Entry, Run, Stage, session_start};
use crate::domain::plan::{Change, ObjectKind, leftovers};
use crate::error;
use crate::exit::ExitStatus;
use crate::istio::journal as text;
use std::collections::BTreeMap;

/// The journal of a run.
pub(super) enum RunJournal {
    /// The run writes its journal before its first change.
    Kept(Box<Journal>),
    /// The run keeps none: `--no-journal`, and `--restore`, which follows the journals of other runs.
    NotKept,
}

impl RunJournal {
    /// Starts a journal of which nothing is written.
    pub(super) fn start(run: &SwitchRun<'_>, guard: WriteGuard) -> Self {
        if !needs_journal(run) {
            return Self::NotKept;
        }
        let head = Run {
            id: run.id.clone(),
            command: run.command().to_owned(),
            started_by: run.context.settings.holder.clone(),
            started_at: jiff::Timestamp::now().to_string(),
            recorded_at: 0,
            stage: Stage::Started,
            entries: Vec::new(),
        };
        Self::Kept(Box::new(Journal::start(run.cluster, head, guard)))
    }

    /// The run as written to the cluster; `None` where nothing is written.
    pub(super) fn written_run(&self) -> Option<&Run> {
        match self {
            Self::Kept(journal) if journal.is_written() => Some(journal.run()),
            Self::Kept(_) | Self::NotKept => None,
        }
    }

    /// Writes the former state of every object that the plan touches.
    pub(super) async fn write_journal(&mut self, run: &SwitchRun<'_>, planned: &Planned) -> Result<(), ClusterError> {
        let Self::Kept(journal) = self else { return Ok(()) };
        let entries = entries(run, planned, &journal.run().entries);
        if entries.is_empty() {
            return Ok(());
        }
        journal.add(entries).await.map_err(|error| ClusterError {
            hint: error.hint.or_else(|| Some("--no-journal works without one, and without a way back".to_owned())),
            ..error
        })
    }

    /// Writes the UIDs of the created objects and whether every change was made. The journal of a run that has changed
    /// nothing is deleted.
    pub(super) async fn finish(&mut self, run: &SwitchRun<'_>, writer: &Writer<'_>, is_done: bool) {
        let Self::Kept(journal) = self else { return };
        if !journal.is_written() {
            return;
        }
        let finished = if writer.ledger().is_empty() {
            journal.delete().await
        } else {
            let written = writer.ledger().written();
            let created: Vec<(ObjectKind, String, String)> =
                written.into_iter().filter_map(|one| Some((one.kind, one.name, one.made?))).collect();
            journal.finish(&text::created_lines(&created), if is_done { Stage::Done } else { Stage::Started }).await
        };
        if let Err(error) = finished {
            run.context.printer.warn(&format!("the journal could not be brought to its end: {error}"));
        }
    }

    /// Deletes a journal that was not complete when the Lease was lost.
    pub(super) async fn delete_incomplete(&mut self) -> Result<(), ClusterError> {
        match self {
            Self::Kept(journal) => journal.delete_incomplete().await,
            Self::NotKept => Ok(()),
        }
    }

    /// Deletes the journal of a run that was rolled back.
    pub(super) async fn delete(&mut self) -> Result<(), ClusterError> {
        match self {
            Self::Kept(journal) => journal.delete().await,
            Self::NotKept => Ok(()),
        }
    }
}

fn needs_journal(run: &SwitchRun<'_>) -> bool {
    run.settings.keep_journal && !run.is_restore() && !run.is_observing()
}

/// The entries for the objects that the plan touches, on top of those that are `known` from an earlier plan of this run.
fn entries(run: &SwitchRun<'_>, planned: &Planned, known: &[Entry]) -> Vec<Entry> {
    let known: BTreeMap<(ObjectKind, &str), &Entry> =
        known.iter().map(|entry| ((entry.kind, entry.name.as_str()), entry)).collect();
    let phases = planned.plan.phases();
    let mut changes: BTreeMap<(ObjectKind, &str), Vec<&Change>> = BTreeMap::new();
    for change in phases.iter().flat_map(|phase| &phase.changes) {
        changes.entry((change.kind(), change.name())).or_default().push(change);
    }
    changes
        .into_iter()
        .filter_map(|((kind, name), changes)| {
            let entry = text::entry(run.apis(), planned.state.find(kind, name), &changes)?;
            Some(entry.merged_into(known.get(&(kind, name)).copied()))
        })
        .collect()
}

/// The last step of a run: deletes the journals that no restore needs any more, and prints how to undo the run. An error
/// where the Lease is lost: what the run wrote and proved may not hold any more.
pub(super) async fn finish(
    run: &SwitchRun<'_>,
    planned: &Planned,
    journal: &RunJournal,
    writer: &Writer<'_>,
    closed: &[StoredJournal],
    guard: &WriteGuard,
) -> error::Result<ExitStatus> {
    let printer = run.context.printer;
    let left = unanswered::still_there(run, writer).await;
    if !left.is_empty() {
        guard.check()?;
        printer.warn(&format!("still there after the deletion: {}; the journals are kept", left.join(", ")));
        return Ok(ExitStatus::LeftBehind);
    }
    let deleted = delete_journals(run, planned, closed, guard).await;
    guard.check()?;
    if let Err(error) = deleted {
        printer.warn(&format!("a journal is left: {error}"));
        return Ok(ExitStatus::LeftBehind);
    }
    match &planned.goal {
        Goal::Restore(_) if planned.plan.warnings.is_empty() => {
            printer.say("everything is as it was before");
        }
        Goal::Restore(_) => {
            printer.warn(&format!(
                "not everything could be put back (see above); the journals are kept until the next enable-mtls, or \
                 until: kubectl delete configmap -l {} -n {}",
                store::LABELS,
                run.cluster.namespace
            ));
            return Ok(ExitStatus::LeftBehind);
        }
        Goal::Switch(_) | Goal::Manifests(_) if run.is_on_sandbox() && run.is_enabling() => {}
        Goal::Switch(_) | Goal::Manifests(_) if journal.written_run().is_some() && run.is_enabling() => {
            printer.say(&format!("undo with: {}", run.restore_command()));
        }
        Goal::Switch(_) if !run.is_enabling() => {
            for leftover in leftovers(&planned.state.snapshot, &planned.plan) {
                printer.say(&leftover.to_string());
            }
        }
        Goal::Switch(_) | Goal::Manifests(_) => {}
    }
    Ok(ExitStatus::Success)
}

/// Deletes the journals of closed sessions and, after a complete restore, those that were undone.
async fn delete_journals(
    run: &SwitchRun<'_>,
    planned: &Planned,
    closed: &[StoredJournal],
    guard: &WriteGuard,
) -> Result<(), ClusterError> {
    for journal in closed {
        store::delete(run.cluster, guard, journal).await?;
    }
    let Goal::Restore(undone) = &planned.goal else { return Ok(()) };
    // The newest first: an interruption leaves a session that can still be restored.
    for journal in undone.iter().rev() {
        if planned.plan.warnings.is_empty() {
            store::delete(run.cluster, guard, journal).await?;
        } else {
            store::mark_undone(run.cluster, guard, journal).await?;
        }
    }
    Ok(())
}

/// The journals that a run of `command` no longer needs: those of closed sessions.
pub(super) fn closed_journals(stored: Vec<StoredJournal>, command: &str) -> Vec<StoredJournal> {
    let (mut journals, runs): (Vec<StoredJournal>, Vec<Run>) =
        stored.into_iter().filter_map(|journal| journal.run.clone().ok().map(|run| (journal, run))).unzip();
    if runs.last().is_none_or(|newest| !newest.closes_session(command)) {
        journals.truncate(session_start(&runs));
    }
    journals
}
