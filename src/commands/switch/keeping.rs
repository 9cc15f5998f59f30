//! What a run keeps in the cluster: the Lease while it works, and the journal from before its first write.

use super::{Switch, Task, task};
use crate::cluster::error::ClusterError;
use crate::cluster::journal::{self, Journal, StoredJournal};
use crate::cluster::lease::{self, LeaseError};
use crate::cluster::snapshot;
use crate::domain::journal::{Entry, Run, Stage, session_start};
use crate::domain::plan::{Change, Direction, ObjectKind};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::istio::journal as text;
use std::collections::BTreeMap;

impl Switch<'_> {
    /// Takes the Lease, and makes sure that the plan still speaks of what is there.
    pub(super) async fn acquire_lock(&mut self) -> error::Result<()> {
        let holder = format!("{}, run {}", self.context.settings.holder, self.id);
        let taken = lease::take(self.cluster, &holder, &self.context.shutdown, &*self.context.progress).await;
        let lease = taken.map_err(|error| match error {
            LeaseError::Cluster(error) => Error::Cluster(error),
            LeaseError::Interrupted(signal) => Error::Interrupted(signal),
        })?;
        if let Some(by) = &lease.abandoned_by {
            self.context.printer.warn(&format!("a run did not come to its end: {by}"));
        }
        self.lease = Some(lease);
        let present = async {
            futures::try_join!(
                snapshot::is_as_seen(self.cluster, self.generation, &self.look),
                journal::list(self.cluster)
            )
        };
        let (is_as_seen, kept) = self.context.read(present).await?;
        let journals_changed = self.meet(kept).await?;
        if !is_as_seen || journals_changed {
            self.look_again("somebody else was at work").await?;
        }
        Ok(())
    }

    /// What is done about the journals that are there; whether a restore has to be planned anew.
    async fn meet(&mut self, kept: Vec<StoredJournal>) -> error::Result<bool> {
        for void in kept.iter().filter(|kept| kept.is_void) {
            journal::remove(self.cluster, void).await?;
        }
        if let Task::Restore(known) = &self.task {
            let first = known.first().map(|kept| kept.id.clone());
            let journals = task::chosen(&self.cluster.namespace, kept, first.as_deref())?;
            let runs = |kept: &[StoredJournal]| kept.iter().map(|kept| kept.run.clone()).collect::<Vec<_>>();
            let differs = runs(&journals.chosen) != runs(known);
            (self.task, self.history) = (Task::Restore(journals.chosen), journals.history);
            return Ok(differs);
        }
        let newest = kept.iter().rfind(|kept| !kept.is_void).map(|kept| kept.run.clone());
        self.history = history(kept, self.command());
        match newest {
            Some(Ok(run)) if run.stage == Stage::Started => self.context.printer.say(&format!(
                "an earlier {} was cut short ({}, {}): this run goes on from what it left; disable-mtls --restore goes \
                 back to before it",
                run.command, run.started_by, run.started_at
            )),
            Some(Err(words)) => self.context.printer.warn(&words),
            _ => {}
        }
        Ok(false)
    }

    /// Looks and plans once more. What was confirmed at a terminal is asked about again by running the command again.
    pub(super) async fn look_again(&mut self, words: &str) -> error::Result<()> {
        let before = self.every_write();
        let look = snapshot::look(self.cluster, self.generation, &self.context.settings.mesh);
        self.look = self.context.read(look).await?;
        (self.plan, self.after) = self.task.plan(&self.look);
        if self.plan.has_writes() && self.every_write() != before {
            self.context.printer.say(&format!("looking again: {words}"));
            if !self.args.yes && self.applier.ledger.written().is_empty() {
                let message = format!("{words}, so that the plan is another one now; nothing was written");
                return Err(ClusterError::new(message, "run the command again").into());
            }
        }
        self.check()
    }

    /// Writes down what is there, for every object that the plan touches.
    pub(super) async fn note(&mut self) -> error::Result<()> {
        if self.args.no_journal || matches!(self.task, Task::Restore(_)) {
            return Ok(());
        }
        let known: &[Entry] = self.journal.as_ref().map_or(&[], |journal| &journal.run().entries);
        let known: BTreeMap<(ObjectKind, &str), &Entry> =
            known.iter().map(|entry| ((entry.kind, entry.name.as_str()), entry)).collect();
        let phases = self.plan.phases();
        let mut changes: BTreeMap<(ObjectKind, &str), Vec<&Change>> = BTreeMap::new();
        for change in phases.iter().flat_map(|phase| &phase.changes) {
            changes.entry((change.kind(), change.name())).or_default().push(change);
        }
        let entries: Vec<Entry> = changes
            .into_iter()
            .filter_map(|((kind, name), changes)| {
                let entry = text::entry(self.applier.apis, self.look.find(kind, name), &changes)?;
                Some(entry.merged_into(known.get(&(kind, name)).copied()))
            })
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let mut journal = self.journal.take().unwrap_or_else(|| Journal::new(self.cluster, self.run()));
        let added = journal.add(entries).await;
        self.journal = Some(journal);
        Ok(added.map_err(|error| ClusterError {
            hint: error.hint.or_else(|| Some("--no-journal works without one, and without a way back".to_owned())),
            ..error
        })?)
    }

    const fn command(&self) -> &'static str {
        match self.plan.direction {
            Direction::Enable => "enable-mtls",
            Direction::Disable { .. } => "disable-mtls",
        }
    }

    fn run(&self) -> Run {
        Run {
            id: self.id.clone(),
            command: self.command().to_owned(),
            started_by: self.context.settings.holder.clone(),
            started_at: jiff::Timestamp::now().to_string(),
            recorded_at: 0,
            stage: Stage::Started,
            entries: Vec::new(),
        }
    }

    /// An error where another run has taken the namespace over: nothing more may be written.
    pub(super) fn still_ours(&self) -> Result<(), ClusterError> {
        self.lease.as_ref().map_or(Ok(()), lease::Lease::check)
    }

    /// Makes the changes, noting before and after what they are.
    pub(super) async fn change_and_note(&mut self) -> error::Result<()> {
        let changed = match self.change().await {
            Ok(()) => self.calls_get_through().await,
            Err(error) => Err(error),
        };
        self.applier.ledger.settled().await;
        let unanswered = self.recheck_unanswered().await;
        let untouched = unanswered.is_empty() && self.applier.ledger.written().is_empty();
        let Some(mut journal) = self.journal.take() else { return changed };
        let closed = if untouched {
            journal.discard().await
        } else {
            let made: Vec<(ObjectKind, String, String)> = self
                .applier
                .ledger
                .written()
                .into_iter()
                .filter_map(|one| Some((one.target, one.name, one.made?)))
                .collect();
            let stage = if changed.is_ok() { Stage::Done } else { Stage::Started };
            let closed = journal.close(&text::created_lines(&made), stage).await;
            self.journal = Some(journal);
            closed
        };
        if let Err(error) = closed {
            self.context.printer.warn(&format!("the journal could not be brought to its end: {error}"));
        }
        changed
    }

    /// Gives the Lease back.
    pub(super) async fn release(&mut self) -> ExitStatus {
        let Some(lease) = self.lease.take() else { return ExitStatus::Success };
        let Err(words) = lease.release().await else { return ExitStatus::Success };
        let seconds = lease::DURATION.as_secs();
        self.context.printer.warn(&format!("the Lease is left, and runs out after {seconds} s: {words}"));
        ExitStatus::LeftBehind
    }

    /// What is left to do once everything is made: the journals of what is now history go.
    pub(super) async fn conclude(&mut self) -> ExitStatus {
        if let Err(error) = self.forget().await {
            self.context.printer.warn(&format!("a journal could not be removed: {error}"));
            return ExitStatus::LeftBehind;
        }
        match &self.task {
            Task::Restore(_) if self.plan.warnings.is_empty() => {
                self.context.printer.say("everything is as it was before");
            }
            Task::Restore(_) => {
                self.context.printer.warn(&format!(
                    "not everything could be put back (see above); the journals are kept until the next enable-mtls, or \
                     until: kubectl delete configmap -l {} -n {}",
                    journal::LABELS,
                    self.cluster.namespace
                ));
                return ExitStatus::LeftBehind;
            }
            Task::Switch(_) | Task::Given(_) if self.journal.is_some() && self.plan.direction == Direction::Enable => {
                self.context.printer.say(&format!(
                    "what was there before is noted in the cluster: disable-mtls -n {} --restore puts it back",
                    self.cluster.namespace
                ));
            }
            Task::Switch(_) | Task::Given(_) => {}
        }
        ExitStatus::Success
    }

    /// Removes the journals that nobody will go back by any more.
    async fn forget(&self) -> Result<(), ClusterError> {
        for one in &self.history {
            journal::remove(self.cluster, one).await?;
        }
        let Task::Restore(kept) = &self.task else { return Ok(()) };
        // The newest first: what is left of an interruption is a story that still makes sense.
        for one in kept.iter().rev() {
            if self.plan.warnings.is_empty() {
                journal::remove(self.cluster, one).await?;
            } else {
                journal::mark_undone(self.cluster, one).await?;
            }
        }
        Ok(())
    }
}

/// The journals that a run of `command` leaves behind: those of stories that have come to their end.
fn history(kept: Vec<StoredJournal>, command: &str) -> Vec<StoredJournal> {
    let (mut kept, runs): (Vec<StoredJournal>, Vec<Run>) =
        kept.into_iter().filter_map(|kept| kept.run.clone().ok().map(|run| (kept, run))).unzip();
    if runs.last().is_none_or(|newest| !newest.closes_session(command)) {
        kept.truncate(session_start(&runs));
    }
    kept
}
