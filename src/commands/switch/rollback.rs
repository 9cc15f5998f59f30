//! Handles a run that fails after its first write: reports the next command, and rolls the run back if the settings
//! request it.

use super::goal::{Goal, Planned, restoration};
use super::parts::Parts;
use super::phases::update_state;
use super::{SwitchRun, clients, connections, results, unanswered};
use crate::cluster::apply::Writer;
use crate::cluster::error::ClusterError;
use crate::cluster::snapshot;
use crate::domain::journal::Run;
use crate::domain::open_connections::OpenConnections;
use crate::domain::plan::{ObjectKind, Plan};
use crate::error::Error;
use crate::exit::ExitStatus;
use crate::report::plural::count;
use crate::settings::Rollback;
use crate::signal::Signal;

/// What follows from the loss of the Lease.
const WITHOUT_LEASE: &str = "without its Lease this run writes nothing more and rolls nothing back, and another run may \
                             have changed these objects since";

/// Reports what was written before `error` ended the run, and rolls it back if the settings request it.
pub(super) async fn end_early(run: &SwitchRun<'_>, planned: &Planned, parts: &mut Parts<'_>, error: &Error) {
    if let Some(external_writer) = &parts.external_writer {
        external_writer.report_missing(run);
        if matches!(error, Error::CallsLost(_)) {
            external_writer.print_revert(run, planned);
        }
        return;
    }
    let is_lock_lost = parts.writer.check_lock().is_err();
    let is_undone = !is_lock_lost
        && needs_rollback(run, matches!(error, Error::CallsLost(_)))
        && parts.journal.written_run().is_some();
    report_unfinished(run, planned, parts, is_lock_lost, is_undone);
    if is_undone {
        roll_back(run, parts).await;
    }
    results::record_writes(run, &parts.writer);
}

/// Handles a run whose changes are all made, but whose proof was interrupted (`is_cut_short`) or is not as expected, or
/// which lost calls.
pub(super) async fn not_proven(
    run: &SwitchRun<'_>,
    planned: &Planned,
    parts: &mut Parts<'_>,
    is_cut_short: bool,
    calls: ExitStatus,
) {
    if let Some(external_writer) = &parts.external_writer {
        if calls != ExitStatus::Success {
            external_writer.print_revert(run, planned);
        }
        return;
    }
    let has_written = !parts.writer.ledger().written().is_empty();
    if has_written && parts.writer.check_lock().is_err() {
        return run.context.printer.warn(&format!("ended early: every change was made; {WITHOUT_LEASE}"));
    }
    if needs_rollback(run, calls != ExitStatus::Success) {
        return roll_back(run, parts).await;
    }
    if !is_cut_short || !has_written {
        return;
    }
    let in_force = "ended early: every change is made, but not proven";
    if run.is_on_sandbox() {
        return run.context.printer.warn(in_force);
    }
    let namespace = &run.cluster.namespace;
    let next = match &planned.goal {
        // The journals stay until the proof, so the same restore is possible again.
        Goal::Restore(_) => format!("`{}` goes on from here", run.restore_command()),
        Goal::Switch(_) | Goal::Manifests(_) if parts.journal.written_run().is_some() => {
            format!("`secure-traffic probe -n {namespace}` asks again{}", undo_hint(run, ", "))
        }
        Goal::Switch(_) | Goal::Manifests(_) => format!("`secure-traffic probe -n {namespace}` asks again"),
    };
    run.context.printer.warn(&format!("{in_force}; {next}"));
}

/// After the proof: names the connections that ztunnels keep, and waits with `--wait-drain`. If that is interrupted or old
/// connections remain, the run is rolled back as after any other failure, or it reports what is in force.
pub(super) async fn drain(
    run: &SwitchRun<'_>,
    planned: &Planned,
    parts: &mut Parts<'_>,
    open: &OpenConnections,
) -> Result<ExitStatus, Signal> {
    let has_changed = run.is_observing() || !parts.writer.ledger().written().is_empty();
    let drained = match connections::report_held(run, planned, open).await {
        Ok(()) => clients::drain(run, planned, has_changed).await,
        Err(signal) => Err(signal),
    };
    if matches!(drained, Ok(ExitStatus::Success)) {
        return drained;
    }
    if needs_rollback(run, false) {
        roll_back(run, parts).await;
    } else if drained.is_err() && !parts.writer.ledger().written().is_empty() {
        let undo = match &planned.goal {
            Goal::Switch(_) | Goal::Manifests(_) if parts.journal.written_run().is_some() => undo_hint(run, "; "),
            _ => String::new(),
        };
        let in_force = "every change is made and proven, but connections from before may still be open";
        run.context.printer.warn(&format!("ended early: {in_force}{undo}"));
    }
    drained
}

const fn needs_rollback(run: &SwitchRun<'_>, calls_are_lost: bool) -> bool {
    match run.settings.rollback {
        Rollback::OnFailure => true,
        Rollback::OnLostCalls => calls_are_lost,
        Rollback::Never => false,
    }
}

/// Undoes what this run has changed. The first signal does not interrupt it; a second one ends the process.
async fn roll_back(run: &SwitchRun<'_>, parts: &mut Parts<'_>) {
    let Some(written_run) = parts.journal.written_run().cloned() else { return };
    let printer = run.context.printer;
    if let Err(lost) = parts.writer.check_lock() {
        return printer.warn(&format!("{lost}; nothing is rolled back"));
    }
    printer.say("rolling back");
    let undone = undo(run, &parts.writer, written_run).await;
    let left = unanswered::still_there(run, &parts.writer).await;
    if !left.is_empty() {
        printer.warn(&format!("still there after the deletion: {}", left.join(", ")));
    }
    match undone {
        Ok(plan) if plan.warnings.is_empty() && parts.writer.ledger().unanswered().is_empty() && left.is_empty() => {
            printer.say("rolled back: everything is as it was before");
            parts.calls.report_recovery(run).await;
            if let Err(error) = parts.journal.delete().await {
                printer.warn(&format!("the journal could not be removed: {error}"));
            }
        }
        Ok(plan) => {
            for warning in &plan.warnings {
                printer.warn(&warning.to_string());
            }
            printer.warn(&format!("rolled back, but for what is named above{}", undo_hint(run, "; ")));
        }
        Err(error) => printer.warn(&format!("the roll-back failed: {error}{}", undo_hint(run, "; "))),
    }
}

/// The results could not be printed. Without `--quiet`, the end of the run has said how to undo it.
pub(super) fn report_unprinted(run: &SwitchRun<'_>, parts: &Parts<'_>) {
    if run.context.settings.quiet && parts.journal.written_run().is_some() {
        run.context.printer.warn(&format!("every change is made{}", undo_hint(run, "; ")));
    }
}

/// The command that restores the former state, as the end of a sentence after `separator`; nothing on the sandbox.
fn undo_hint(run: &SwitchRun<'_>, separator: &str) -> String {
    if run.is_on_sandbox() {
        return String::new();
    }
    format!("{separator}`{}` puts back what was there", run.restore_command())
}

/// Writes the plan that undoes `written_run`, with the UIDs of the objects that it created. Returns that plan.
async fn undo(run: &SwitchRun<'_>, writer: &Writer<'_>, mut written_run: Run) -> Result<Plan, ClusterError> {
    for one in writer.ledger().written() {
        if let Some(uid) = one.made
            && let Some(entry) =
                written_run.entries.iter_mut().find(|entry| entry.kind == one.kind && entry.name == one.name)
        {
            entry.created_uid = Some(uid);
        }
    }
    let mut state = snapshot::read(run.cluster, run.api_versions, &run.context.settings.mesh).await?;
    let (plan, _) = restoration(&state, std::slice::from_ref(&written_run));
    let phases = plan.phases();
    let writing = phases.iter().filter(|phase| phase.has_writes()).count();
    for (index, phase) in phases.iter().enumerate() {
        writer.check_lock()?;
        let before = writer.ledger().written().len();
        let applied = writer.write(&state, &phase.changes, &*run.context.progress).await;
        for one in writer.ledger().written().iter().skip(before) {
            run.context.printer.say(&format!("{} {}", one.title, one.word));
        }
        for one in applied {
            update_state(&mut state, one)?;
        }
        // The mesh needs time between servers and clients, and no probe watches it any more.
        let is_last = index + 1 == phases.len();
        if !is_last && writing > 1 && (phase.kind == ObjectKind::Policy || phase.needs_settle) {
            tokio::time::sleep(run.settings.settle).await;
        }
    }
    Ok(plan)
}

/// Prints what was written before the run ended early, and how to go on or undo it, unless this run undoes it itself
/// (`is_undone`). After the loss of the Lease another run decides that.
fn report_unfinished(run: &SwitchRun<'_>, planned: &Planned, parts: &Parts<'_>, is_lock_lost: bool, is_undone: bool) {
    let ledger = parts.writer.ledger();
    let (written, unanswered) = (ledger.written(), ledger.unanswered().len());
    if ledger.is_empty() {
        run.context.printer.say("nothing was written");
        return;
    }
    for one in &written {
        run.context.printer.say(&format!("{} {}", one.title, one.word));
    }
    let unknown = if unanswered > 0 { format!(", {unanswered} without an answer") } else { String::new() };
    let made = format!("{} of {} made{unknown}", written.len(), count(planned.plan.writes().len(), "change"));
    if is_lock_lost {
        return run.context.printer.warn(&format!("ended early: {made}; {WITHOUT_LEASE}"));
    }
    if is_undone || run.is_on_sandbox() {
        return run.context.printer.warn(&format!("ended early: {made}"));
    }
    let undo = match &planned.goal {
        Goal::Restore(_) => format!(": `{}`", run.restore_command()),
        Goal::Switch(_) | Goal::Manifests(_) if parts.journal.written_run().is_some() => undo_hint(run, ", "),
        Goal::Switch(_) | Goal::Manifests(_) => ", and there is no journal to go back by".to_owned(),
    };
    run.context.printer.warn(&format!("ended early: {made}; the same command goes on from here{undo}"));
}
