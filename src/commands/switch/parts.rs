//! The parts of a run that write or have pods.

use super::goal::Planned;
use super::journal::RunJournal;
use super::mesh_calls::MeshCalls;
use super::observe::ExternalWriter;
use super::{SwitchRun, unanswered};
use crate::cluster::apply::{Applied, Writer};
use crate::cluster::lease::WriteGuard;
use crate::cluster::snapshot::ClusterState;
use crate::curl_pod::probe_pod::Removal;
use crate::domain::plan::{Phase, Plan};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::model::PhaseReport;
use tokio::time::Instant;

/// The started parts, which the phases and a roll-back work with.
pub(super) struct Parts<'a> {
    pub(super) writer: Writer<'a>,
    /// With `--observe`: who makes the changes in place of `writer`.
    pub(super) external_writer: Option<ExternalWriter>,
    pub(super) journal: RunJournal,
    pub(super) calls: MeshCalls,
    /// Removals of pods, in progress.
    pub(super) removals: Vec<Removal>,
}

impl<'a> Parts<'a> {
    /// Starts the parts: nothing is written, and the pod of the mesh-traffic monitor begins to start.
    pub(super) fn start(run: &SwitchRun<'a>, planned: &Planned, guard: &WriteGuard) -> Self {
        Self {
            writer: Writer::start(run.requests(), guard.clone()),
            external_writer: run.is_observing().then(|| ExternalWriter::start(planned)),
            journal: RunJournal::start(run, guard.clone()),
            calls: MeshCalls::start(run, planned),
            removals: Vec::new(),
        }
    }

    /// Makes the changes of a phase, or waits until another writer has made them.
    pub(super) async fn make(
        &self,
        run: &SwitchRun<'_>,
        state: &ClusterState,
        plan: &Plan,
        phase: &Phase,
    ) -> Vec<Applied> {
        let began = Instant::now();
        let applied = match &self.external_writer {
            Some(external_writer) => external_writer.wait(run, state, plan, phase).await,
            None => self.writer.write(state, &phase.changes, &*run.context.progress).await,
        };
        run.context.progress.end();
        let done: Vec<&Applied> = applied.iter().filter(|one| one.result.is_ok()).collect();
        for one in &done {
            run.plan_rows.mark_done(run.context.printer, &run.requests().name(&one.change));
        }
        let objects = done.len();
        if objects > 0 {
            let seconds = began.elapsed().as_secs_f64();
            let kind = phase.kind.into();
            let report = PhaseReport { kind, objects, seconds, in_force_seconds: None, endpoints: None };
            run.context.reports.add_phase(&run.cluster.namespace, report);
        }
        applied
    }

    /// Waits for the last answers, looks up unanswered writes, and writes into the journal what was created and whether
    /// every change is made. A run that has lost its Lease does not write into the journal: it only deletes one that was not
    /// complete.
    pub(super) async fn finish_writing(&mut self, run: &SwitchRun<'_>, planned: &Planned, is_done: bool) {
        unanswered::recheck(run, planned, &self.writer).await;
        if self.writer.check_lock().is_ok() {
            self.journal.finish(run, &self.writer, is_done).await;
        } else if let Err(error) = self.journal.delete_incomplete().await {
            run.context.printer.warn(&format!("the journal could not be removed: {error}"));
        }
    }

    /// The result of the phases; the loss of the Lease ends a run whatever that is, except a signal.
    pub(super) fn unless_lock_lost<T>(&self, written: error::Result<T>) -> error::Result<T> {
        if !matches!(written, Err(Error::Interrupted(_))) {
            self.writer.check_lock()?;
        }
        written
    }

    /// Waits until every pod of the run is deleted, and reports those that are left.
    pub(super) async fn finish(mut self, run: &SwitchRun<'_>) -> ExitStatus {
        self.removals.extend(self.calls.finish().await);
        let mut left_behind = Vec::new();
        for removal in self.removals {
            left_behind.extend(removal.confirmed().await);
        }
        run.context.report_left_behind(&left_behind)
    }
}
