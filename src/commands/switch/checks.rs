//! The checks of a switch before its first write: the plan, the findings, the rights, and a dry run of its requests.

use super::super::preflight;
use super::SwitchRun;
use super::goal::{Goal, Planned};
use crate::cluster::access::{self, JournalUse};
use crate::cluster::apply::{Applied, WriteError};
use crate::cluster::error::ClusterError;
use crate::domain::plan::{self, Change, ObjectKind, RuleAction};
use crate::error::{self, Error, UsageError};
use crate::istio::owners;

/// Prints the namespace, the versions, and what the plan leaves out or warns of.
pub(super) fn report_surroundings(run: &SwitchRun<'_>, planned: &Planned) {
    let printer = run.context.printer;
    printer
        .say(&format!("namespace {}; {}, {}", run.cluster.namespace, run.api_versions.policy, run.api_versions.rule));
    run.context.warn_of_unread(&planned.state.snapshot.mesh);
    for skipped in &planned.plan.skipped {
        printer.say(&skipped.to_string());
    }
    for warning in &planned.plan.warnings {
        printer.warn(&warning.to_string());
    }
}

/// Returns the reasons for which the plan must not be carried out: what the plan itself refuses, and fields of other
/// field managers.
pub(super) fn check_plan(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    let plan = &planned.plan;
    if let Some(blocker) = plan.blockers.first() {
        let message = plan.blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        return Err(match blocker {
            plan::PlanBlocker::UnknownService { .. } | plan::PlanBlocker::UnknownPolicy { .. } => {
                UsageError { message, hint: None }.into()
            }
            _ if plan.blockers.iter().any(|blocker| !blocker.is_lifted_by_force()) => Error::Refused(message),
            _ => Error::CheckFailed(message),
        });
    }
    for change in plan.changes() {
        if !change.changes_fields() {
            continue;
        }
        let Some(object) = planned.state.find(change.kind(), change.name()) else { continue };
        let name = run.requests().name(&change);
        for manager in owners::managed_by(object) {
            run.context.printer.warn(&format!("{name} {manager}"));
        }
        let touched = owners::fields(object, &change);
        if let Some(conflict) = owners::conflict(object, &touched).filter(|_| !run.settings.force_conflicts) {
            return Err(ClusterError { message: format!("{name}: {conflict}"), hint: None }.into());
        }
    }
    Ok(())
}

/// Checks what STRICT would break, and the rights of the whole run, at the same time.
pub(super) async fn check_before_writing(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    futures::try_join!(check_findings(run, planned), check_rights(run, planned))?;
    Ok(())
}

/// Checks the namespace as the plan leaves it.
pub(super) async fn check_findings(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    if !is_examined(planned) {
        return Ok(());
    }
    let view = (&planned.state.snapshot, &planned.plan);
    let (context, settings) = (run.context, run.settings);
    preflight::check(context, &settings.findings, settings.force, run.cluster, run.api_versions, view).await
}

/// A restore returns to a state that existed, so nothing is examined for it.
fn is_examined(planned: &Planned) -> bool {
    planned.plan.has_writes() && !matches!(planned.goal, Goal::Restore(_))
}

/// For `--diff`: says which findings would stop the run.
pub(super) async fn report_stopping(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    if !is_examined(planned) || run.settings.force {
        return Ok(());
    }
    let view = (&planned.state.snapshot, &planned.plan);
    let findings = preflight::examine(run.context, &run.settings.findings, run.cluster, run.api_versions, view).await?;
    let codes = preflight::stopping(&findings);
    if !codes.is_empty() {
        run.context.printer.say(&format!("the run would stop: {}", codes.join(", ")));
    }
    Ok(())
}

async fn check_rights(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    let mut needs: Vec<access::Need> = Vec::new();
    needs.extend(run.settings.verify.then(access::probe_need));
    if run.is_observing() {
        needs.push(access::lock_need());
        let command = format!("{} --observe", run.command());
        return run.context.read(access::check(run.cluster, &needs, &command)).await;
    }
    if planned.needs_lock(run) {
        let journals = if run.is_restore() { JournalUse::Restores } else { JournalUse::Writes };
        needs.extend(access::journal_needs(journals));
    }
    let writes = planned.plan.writes();
    for (object, kind, purpose) in [
        (ObjectKind::Policy, run.api_versions.policy.kind(), "the policies"),
        (ObjectKind::Rule, run.api_versions.rule.kind(), "the rules"),
    ] {
        needs.push(access::write_need(kind, purpose, writes.iter().filter(|change| change.kind() == object)));
    }
    run.context.read(access::check(run.cluster, &needs, run.command())).await
}

/// Lets the API server validate each existing object that changes, and one new rule: new rules differ in their names
/// only.
pub(super) async fn validate_shapes(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    if run.is_observing() {
        // The account of this run need not have the right to write the objects, not even as a dry run.
        return Ok(());
    }
    let mut has_new_rule = false;
    let mut changes = planned.plan.writes();
    changes.retain(|change| match change {
        Change::Rule(rule) if matches!(rule.action, RuleAction::Create { .. }) => {
            !std::mem::replace(&mut has_new_rule, true)
        }
        // A deletion names the object as it was read, so there is nothing to validate.
        change => !change.is_deletion(),
    });
    validate(run, planned, &changes).await?;
    Ok(())
}

/// Sends `changes` as dry runs. The first that the API server refuses is the error.
pub(super) async fn validate(
    run: &SwitchRun<'_>,
    planned: &Planned,
    changes: &[Change],
) -> error::Result<Vec<Applied>> {
    let requests = run.requests();
    let work = requests.validate(&planned.state, changes, &*run.context.progress);
    let applied = run.context.shutdown.race(work).await?;
    for one in &applied {
        match &one.result {
            Err(WriteError::Error(error)) => {
                let message = format!("{}; nothing was written", error.message);
                return Err(ClusterError { message, hint: error.hint.clone() }.into());
            }
            Err(WriteError::Stale(reason)) => {
                let message = format!(
                    "{} changed while it was looked at ({reason}); nothing was written",
                    requests.name(&one.change)
                );
                return Err(ClusterError::new(message, "run the command again").into());
            }
            Ok(_) => {}
        }
    }
    Ok(applied)
}

/// Reads and plans again, because `reason`. A plan that was confirmed at a terminal must not become another one before
/// the first write: that is an error.
pub(super) async fn replan(
    run: &SwitchRun<'_>,
    planned: &mut Planned,
    reason: &str,
    is_untouched: bool,
) -> error::Result<()> {
    let before = planned.plan.writes();
    planned.update(run.read_state().await?);
    if planned.plan.has_writes() && planned.plan.writes() != before {
        run.context.printer.say(&format!("looking again: {reason}"));
        if !run.settings.assume_yes && is_untouched {
            let message = format!("{reason}, so that the plan is another one now; nothing was written");
            return Err(ClusterError::new(message, "run the command again").into());
        }
    }
    check_plan(run, planned)
}
