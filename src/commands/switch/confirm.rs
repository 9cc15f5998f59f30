//! Prints the changes and asks for confirmation before a switch writes.

use super::{SwitchRun, connections, goal::Planned, observe, rehearsal};
use crate::domain::open_connections::OpenConnections;
use crate::domain::plan::Change;
use crate::error::{self, Error, UsageError};
use crate::istio::owners::{self, Class, Owner};
use crate::report::plan as plan_report;
use crate::report::plural::count;
use crate::settings::RunMode;
use crate::ui::confirm::{self, Confirmation};

/// Prints every change and asks for confirmation. Returns `false` if the answer is no. Without a terminal, `--yes` is
/// required. A plan without writes needs no confirmation.
pub(super) async fn confirm(
    run: &SwitchRun<'_>,
    planned: &Planned,
    open_connections: &OpenConnections,
) -> error::Result<bool> {
    if !planned.plan.has_writes() {
        return Ok(true);
    }
    print_changes(run, planned);
    connections::announce(run, open_connections).await;
    rehearsal::announce(run, planned).await?;
    if run.is_observing() {
        observe::announce(run, planned);
        return Ok(true);
    }
    if run.settings.assume_yes {
        return Ok(true);
    }
    let (changes, namespace) = (count(planned.plan.writes().len(), "change"), &run.cluster.namespace);
    let question = format!("Apply {changes} to namespace {namespace} on {}?", run.cluster.description);
    match confirm::ask(&question, &run.context.shutdown).await? {
        Confirmation::Yes => Ok(true),
        Confirmation::No => {
            run.context.printer.say("nothing was changed");
            Ok(false)
        }
        Confirmation::Interrupted(signal) => {
            run.context.printer.say("nothing was changed");
            Err(Error::Interrupted(signal))
        }
        Confirmation::NoTerminal => Err(needs_yes(planned).into()),
    }
}

fn print_changes(run: &SwitchRun<'_>, planned: &Planned) {
    let printer = run.context.printer;
    let will = match run.settings.mode {
        RunMode::Observe => "to be applied by another writer",
        _ if run.settings.assume_yes => "changes",
        _ => "would change",
    };
    printer.say(&format!("{will} in namespace {}:", run.cluster.namespace));
    let phases = planned.plan.phases();
    let changes: Vec<&Change> =
        phases.iter().flat_map(|phase| &phase.changes).filter(|change| change.is_write()).collect();
    let lines = plan_report::lines(changes.iter().map(|change| (run.requests().name(change), *change)));
    for (change, line) in changes.into_iter().zip(lines) {
        if let Some(row) = printer.say_change(&line) {
            run.plan_rows.add(run.requests().name(change), row);
        }
        for owner in user_owned_fields(planned, change) {
            printer.say(&format!("    {} was set by {:?}", owner.field, owner.manager));
        }
    }
}

/// Fields of the change that a user set with kubectl or oc. The confirmation covers them.
fn user_owned_fields(planned: &Planned, change: &Change) -> Vec<Owner> {
    let Some(object) = planned.state.find(change.kind(), change.name()) else { return Vec::new() };
    owners::owners(object, &owners::fields(object, change))
        .into_iter()
        .filter(|owner| owner.class == Class::Cli)
        .collect()
}

fn needs_yes(planned: &Planned) -> UsageError {
    UsageError {
        message: format!(
            "{} would change, and there is no terminal to ask on",
            count(planned.plan.writes().len(), "object")
        ),
        hint: Some("pass --yes to apply the changes, or --dry-run=server to see what would happen".to_owned()),
    }
}
