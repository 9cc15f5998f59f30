//! The lock part: the Lease of the namespace, held from before the first write to the end of the run.

use super::super::leftovers;
use super::goal::{Goal, Planned, choose_journals};
use super::journal::closed_journals;
use super::{SwitchRun, checks};
use crate::cluster::error::ClusterError;
use crate::cluster::journal::{self as store, StoredJournal};
use crate::cluster::lease::{Lease, WriteGuard};
use crate::cluster::snapshot;
use crate::domain::journal::Stage;
use crate::error::{self, Error};
use crate::exit::ExitStatus;

/// The lock of a run.
pub(super) enum Lock {
    /// The run holds the Lease.
    Held(Box<Lease>),
    /// The run writes nothing, or keeps no journal (`--no-journal`).
    NotNeeded,
}

/// A run that may begin to write.
pub(super) struct Locked {
    pub(super) lock: Lock,
    /// The plan for the namespace as it is under the lock.
    pub(super) planned: Planned,
    /// Journals of closed sessions, which the run deletes at its end.
    pub(super) closed_journals: Vec<StoredJournal>,
}

/// Acquires the Lease, and plans again where the namespace or the journals have changed since they were read.
pub(super) async fn start(run: &SwitchRun<'_>, mut planned: Planned) -> error::Result<Locked> {
    if !planned.needs_lock(run) {
        return Ok(Locked { lock: Lock::NotNeeded, planned, closed_journals: Vec::new() });
    }
    let holder = format!("{}, run {}", run.context.settings.holder, run.id);
    let lock = Lock::Held(Box::new(run.context.acquire_lease(run.cluster, &holder).await?));
    // What is left of a rehearsal is reported, and does not stop the run.
    leftovers::remove(run.context, run.cluster, run.api_versions).await;
    match update_plan(run, &mut planned, &lock.guard()).await {
        Ok(closed_journals) => Ok(Locked { lock, planned, closed_journals }),
        Err(error) => {
            // The loss of the Lease explains the other error: another run has changed what this one read.
            lock.finish(run).await?;
            Err(error)
        }
    }
}

impl Lock {
    /// The guard for everything that writes in this run.
    pub(super) fn guard(&self) -> WriteGuard {
        match self {
            Self::Held(lease) => lease.guard(),
            Self::NotNeeded => WriteGuard::without_lock(),
        }
    }

    /// Releases the Lease. An error where it is lost, so that the run does not report success after all.
    pub(super) async fn finish(self, run: &SwitchRun<'_>) -> error::Result<ExitStatus> {
        let Self::Held(lease) = self else { return Ok(ExitStatus::Success) };
        run.context.release_lease(*lease).await
    }
}

/// Compares the namespace and its journals with the plan, now that no other run can change them. Returns the journals of
/// closed sessions.
async fn update_plan(
    run: &SwitchRun<'_>,
    planned: &mut Planned,
    guard: &WriteGuard,
) -> error::Result<Vec<StoredJournal>> {
    let current = async {
        futures::try_join!(snapshot::is_unchanged(run.cluster, run.api_versions, &planned.state), async {
            if run.is_observing() { Ok(Vec::new()) } else { store::list(run.cluster).await }
        })
    };
    let (mut is_unchanged, stored) = run.context.read(current).await?;
    // Parts of a run that has changed nothing. What is left of them does not stop this run, which tries again at its end.
    let mut left = Vec::new();
    for void in stored.iter().filter(|journal| journal.is_void) {
        if store::delete(run.cluster, guard, void).await.is_err() {
            guard.check()?;
            left.push(void.clone());
        }
    }
    let mut closed = match &mut planned.goal {
        Goal::Restore(known) => {
            let first = known.first().map(|journal| journal.id.clone());
            let chosen =
                choose_journals(&run.cluster.namespace, stored, first.as_deref()).map_err(|error| match error {
                    // Another run has restored since the journals were read: the user's arguments are right.
                    Error::Usage(_) => {
                        let message = "the journals changed since they were read; nothing was written";
                        ClusterError::new(message, "run the command again").into()
                    }
                    other => other,
                })?;
            let runs = |journals: &[StoredJournal]| journals.iter().map(|one| one.run.clone()).collect::<Vec<_>>();
            is_unchanged &= runs(&chosen.to_undo) == runs(known);
            *known = chosen.to_undo;
            chosen.closed
        }
        Goal::Switch(_) | Goal::Manifests(_) => {
            report_earlier_run(run, &stored);
            closed_journals(stored, run.command())
        }
    };
    closed.append(&mut left);
    if !is_unchanged {
        checks::replan(run, planned, "somebody else was at work", true).await?;
    }
    Ok(closed)
}

/// Reports that the newest earlier run was interrupted, or that its journal cannot be read.
fn report_earlier_run(run: &SwitchRun<'_>, stored: &[StoredJournal]) {
    let newest = stored.iter().rfind(|journal| !journal.is_void).map(|journal| &journal.run);
    match newest {
        Some(Ok(earlier)) if earlier.stage == Stage::Started => run.context.printer.say(&format!(
            "an earlier {} was cut short ({}, {}): this run goes on from what it left; disable-mtls --restore goes back \
             to before it",
            earlier.command, earlier.started_by, earlier.started_at
        )),
        Some(Err(message)) => run.context.printer.warn(message),
        _ => {}
    }
}
