//! `--rehearse`: observes who would be refused, before the first write of `enable-mtls`.

use super::super::rehearse;
use super::SwitchRun;
use super::checks;
use super::goal::{Goal, Planned};
use crate::cli::values::OutputFormat;
use crate::domain::rehearsal::WritePermission;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::rehearsal::{self as report, RehearsalReport};
use crate::settings::RehearsalSettings;
use crate::ui::printer;

/// Rehearses, stops the run where STRICT would refuse somebody or a port was not observed, and plans again. The returned
/// status is about pods that were left.
pub(super) async fn rehearse(run: &SwitchRun<'_>, planned: &mut Planned) -> error::Result<ExitStatus> {
    let (Some(duration), Goal::Switch(request)) = (run.settings.rehearsal, &planned.goal) else {
        return Ok(ExitStatus::Success);
    };
    if !planned.plan.has_writes() {
        return Ok(ExitStatus::Success);
    }
    // The policy holds for the whole namespace, whatever Services are named.
    let (services, request, pods) = (Vec::new(), request.clone(), run.settings.pod.clone());
    let permission = permission(run);
    let settings = RehearsalSettings {
        services,
        request,
        duration,
        permission,
        pods,
        output: OutputFormat::default(),
        no_headers: false,
    };
    let (report, left_behind) = rehearse::rehearse(run.context, &settings, run.cluster, run.api_versions).await?;
    run.context.printer.say_report(&report::text(&report, printer::stderr_width(), false));
    if !run.settings.force {
        check(&report)?;
    }
    checks::replan(run, planned, "the namespace changed during the rehearsal", true).await?;
    Ok(left_behind)
}

/// Whether the rehearsal may write: the confirmation of the run covers it. Its Lease is that of the rehearsal alone, and the
/// run acquires its own afterwards.
fn permission(run: &SwitchRun<'_>) -> WritePermission {
    if run.is_observing() { WritePermission::OtherWriter } else { WritePermission::Given }
}

/// Says, before the confirmation, how long the ports are observed, and what is written for it.
pub(super) async fn announce(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<()> {
    let Some(duration) = run.settings.rehearsal else { return Ok(()) };
    let duration = report::duration(duration.as_secs());
    run.context
        .printer
        .say(&format!("before the first change, callers of its ports are observed for {duration} (--rehearse)"));
    let snapshot = &planned.state.snapshot;
    rehearse::announce(run.context, run.cluster, run.api_versions, snapshot, permission(run)).await
}

/// An error where STRICT would refuse somebody, or where that is not known.
fn check(report: &RehearsalReport) -> error::Result<()> {
    let message = format!("{}; nothing was written", report.summary());
    match report.exit_status() {
        ExitStatus::Success => Ok(()),
        ExitStatus::Unexpected => Err(Error::CheckFailed(message)),
        _ => Err(Error::Inconclusive(message)),
    }
}
