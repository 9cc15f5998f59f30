//! A run that does not end as it should: undone, or told truthfully, with the command that goes on or goes back.

use super::{Switch, Task, task};
use crate::cluster::apply::Mode;
use crate::cluster::error::ClusterError;
use crate::cluster::snapshot;
use crate::domain::journal::Run;
use crate::domain::plan::{ObjectKind, Plan};
use crate::error::Error;
use crate::report::human::count;

impl Switch<'_> {
    /// Says what was done before the run ended early, and undoes it where that was asked for.
    pub(super) async fn ended_early(&mut self, error: Error) -> Error {
        self.account();
        if self.rolls_back(matches!(error, Error::CallsLost(_))) {
            self.roll_back().await;
        }
        self.record_writes();
        error
    }

    /// Everything is written, but the proof was cut short, or is not what it should be.
    pub(super) async fn not_proven(&mut self, is_cut_short: bool, calls_are_lost: bool) {
        if self.rolls_back(calls_are_lost) {
            return self.roll_back().await;
        }
        if !is_cut_short || self.applier.ledger.written().is_empty() {
            return;
        }
        let namespace = &self.cluster.namespace;
        let next = match &self.task {
            // The journals are kept until the proof, so that it can be said again.
            Task::Restore(_) => format!("`{}` goes on from here", self.restoring()),
            Task::Switch(_) | Task::Given(_) if self.journal.is_some() => {
                format!("`secure-traffic probe -n {namespace}` asks again, {}", self.way_back())
            }
            Task::Switch(_) | Task::Given(_) => format!("`secure-traffic probe -n {namespace}` asks again"),
        };
        self.context.printer.warn(&format!("ended early: every change is made, but not proven; {next}"));
    }

    /// Where nothing was said, lost calls in the mesh are undone, and nothing else; the way out stays open.
    fn rolls_back(&self, calls_are_lost: bool) -> bool {
        self.args.rollback_on_failure.unwrap_or(calls_are_lost && self.is_enabling())
    }

    /// Undoes what this run has changed. A signal that has come already does not cut it short; the next one does.
    pub(super) async fn roll_back(&mut self) {
        let Some(run) = self.journal.as_ref().map(|journal| journal.run().clone()) else { return };
        let printer = self.context.printer;
        printer.say("rolling back");
        match self.undo_own(run).await {
            Ok(plan) if plan.warnings.is_empty() && self.applier.ledger.unanswered().is_empty() => {
                printer.say("rolled back: everything is as it was before");
                self.calls_recover().await;
                let Some(journal) = self.journal.take() else { return };
                if let Err(error) = journal.discard().await {
                    printer.warn(&format!("the journal could not be removed: {error}"));
                }
            }
            Ok(plan) => {
                for warning in &plan.warnings {
                    printer.warn(&warning.to_string());
                }
                printer.warn(&format!("rolled back, but for what is named above; {}", self.way_back()));
            }
            Err(error) => printer.warn(&format!("the roll-back failed: {error}; {}", self.way_back())),
        }
    }

    /// The command that puts back what was there.
    pub(super) fn way_back(&self) -> String {
        format!("`{}` puts back what was there", self.restoring())
    }

    fn restoring(&self) -> String {
        format!("secure-traffic disable-mtls -n {} --restore", self.cluster.namespace)
    }

    async fn undo_own(&mut self, mut run: Run) -> Result<Plan, ClusterError> {
        for one in self.applier.ledger.written() {
            if let Some(uid) = one.made
                && let Some(entry) =
                    run.entries.iter_mut().find(|entry| entry.kind == one.target && entry.name == one.name)
            {
                entry.created_uid = Some(uid);
            }
        }
        let look = snapshot::look(self.cluster, self.generation, &self.context.settings.mesh).await?;
        let (plan, _) = task::restoration(&look, std::slice::from_ref(&run));
        self.look = look;
        let phases = plan.phases();
        let writing = phases.iter().filter(|phase| phase.has_writes()).count();
        for (index, phase) in phases.iter().enumerate() {
            self.still_ours()?;
            let before = self.applier.ledger.written().len();
            let applied = self.applier.apply(&self.look, &phase.changes, Mode::Write, &*self.context.progress).await;
            for one in self.applier.ledger.written().iter().skip(before) {
                self.context.printer.say(&format!("{} {}", one.title, one.word));
            }
            for one in applied {
                self.accept(one).map_err(ClusterError::from)?;
            }
            // Time for the mesh between servers and clients; the watching pod is gone by now.
            let is_last = index + 1 == phases.len();
            if !is_last && writing > 1 && (phase.kind == ObjectKind::Policy || phase.needs_settle) {
                tokio::time::sleep(self.args.settle).await;
            }
        }
        Ok(plan)
    }

    /// What was done before the run ended early.
    fn account(&self) {
        let written = self.applier.ledger.written();
        let unanswered = self.applier.ledger.unanswered().len();
        let planned = self.every_write().len();
        if written.is_empty() && unanswered == 0 {
            self.context.printer.say("nothing was written");
            return;
        }
        for one in &written {
            self.context.printer.say(&format!("{} {}", one.title, one.word));
        }
        let unknown = if unanswered > 0 { format!(", {unanswered} without an answer") } else { String::new() };
        let back = match &self.task {
            Task::Restore(_) => format!(": `{}`", self.restoring()),
            Task::Switch(_) | Task::Given(_) if self.journal.is_some() => format!(", {}", self.way_back()),
            Task::Switch(_) | Task::Given(_) => ", and there is no journal to go back by".to_owned(),
        };
        self.context.printer.warn(&format!(
            "ended early: {} of {} made{unknown}; the same command goes on from here{back}",
            written.len(),
            count(planned, "change"),
        ));
    }
}
