//! `enable-mtls` and `disable-mtls`, with `-f` and `--restore`: one linear function over the parts of a run.

mod checks;
mod clients;
mod confirm;
mod connections;
mod difference;
mod front_door;
mod goal;
mod journal;
mod lock;
mod mesh_calls;
mod observe;
mod parts;
mod phases;
mod proof;
mod reach;
mod rehearsal;
mod results;
mod rollback;
mod unanswered;

use super::probe_run::sweep_abandoned;
use super::{Context, offline};
use crate::cli::values::SandboxState;
use crate::cluster::apply::ChangeRequests;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::snapshot::{self, ClusterState};
use crate::curl_pod::probe_pod::random_word;
use crate::curl_pod::runner::ProbeRunner;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::istio::render::Apis;
use crate::settings::{RunMode, SwitchCommand, SwitchGoal, SwitchSettings};
use front_door::FrontDoorWatch;
use goal::{Goal, Planned};
use lock::Locked;
use parts::Parts;
use results::{PlanRows, ResultOutput};
use std::time::Duration;

/// Runs `enable-mtls` or `disable-mtls`.
pub async fn run(context: &Context, command: &SwitchCommand) -> error::Result<ExitStatus> {
    let settings = match command {
        SwitchCommand::Offline(settings) => return offline::run(context, settings).await,
        SwitchCommand::OnCluster(settings) => settings,
    };
    let needs = if settings.goal.is_enabling() { SandboxState::Permissive } else { SandboxState::Strict };
    let (cluster, api_versions) = context.discovered_cluster(needs).await.map_err(|error| match settings.mode {
        RunMode::ClientDryRun => offline::with_hint(error),
        _ => error,
    })?;
    Ok(switch(context, settings, &cluster, api_versions).await?.status())
}

/// How a switch ended that was not stopped by an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchEnd {
    /// The answer to the confirmation was no.
    Declined,
    /// It ran to its end.
    Ended(ExitStatus),
}

impl SwitchEnd {
    /// The exit status of the run.
    pub fn status(self) -> ExitStatus {
        match self {
            Self::Declined => ExitStatus::Unexpected,
            Self::Ended(status) => status,
        }
    }
}

/// Changes a namespace: reads, plans, checks, confirms, starts the parts, writes the phases, proves, finishes the parts
/// and reports.
pub async fn switch(
    context: &Context,
    settings: &SwitchSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> error::Result<SwitchEnd> {
    let output = ResultOutput::default();
    let run = &SwitchRun {
        context,
        settings,
        cluster,
        api_versions,
        output,
        plan_rows: PlanRows::default(),
        id: random_word(5),
    };
    // Read and plan.
    let Some(goal) = Goal::read(run).await? else { return Ok(SwitchEnd::Ended(ExitStatus::Success)) };
    let mut planned = Planned::new(goal, run.read_state().await?);
    // Check.
    checks::report_surroundings(run, &planned);
    checks::check_plan(run, &planned)?;
    match settings.mode {
        RunMode::Diff => return difference::show(run, &planned).await.map(SwitchEnd::Ended),
        RunMode::ClientDryRun => return results::client_dry_run(run, &planned).map(SwitchEnd::Ended),
        RunMode::ServerDryRun => return results::server_dry_run(run, &planned).await.map(SwitchEnd::Ended),
        RunMode::Write | RunMode::Observe => checks::check_before_writing(run, &planned).await?,
    }
    let open_connections = connections::concerned(&planned);
    // Confirm.
    if !confirm::confirm(run, &planned, &open_connections).await? {
        return Ok(SwitchEnd::Declined);
    }
    // Rehearse.
    let rehearsed = rehearsal::rehearse(run, &mut planned).await?;
    // Start the parts.
    run.delete_abandoned_pods().await;
    let Locked { lock, mut planned, closed_journals } = lock::start(run, planned).await?;
    let mut parts = Parts::start(run, &planned, &lock.guard());
    let outcome = async {
        checks::validate_shapes(run, &planned).await?;
        let doors = FrontDoorWatch::start(run).await?;
        // Write the phases.
        let written = phases::write_all(run, &mut planned, &mut parts).await;
        parts.finish_writing(run, &planned, written.is_ok()).await;
        let written = match parts.unless_lock_lost(written) {
            Ok(written) => written,
            Err(error) => {
                rollback::end_early(run, &planned, &mut parts, &error).await;
                doors.finish(run).await;
                return Err(error);
            }
        };
        results::report_written(run, &planned, &parts.writer);
        // Prove.
        let proof = proof::prove(run, &planned, &written, &parts.calls).await;
        let calls = parts.calls.report(run).await;
        let doors = doors.finish(run).await;
        let mut status = calls.and(doors.status);
        if proof::is_proven(&proof) && !doors.is_broken && calls == ExitStatus::Success {
            status = status.and(rollback::drain(run, &planned, &mut parts, &open_connections).await?);
        } else {
            rollback::not_proven(run, &planned, &mut parts, proof.is_err(), calls).await;
        }
        let status = proof?.status().and(status);
        let (journal, writer) = (&parts.journal, &parts.writer);
        let finished = journal::finish(run, &planned, journal, writer, &closed_journals, &lock.guard()).await?;
        let Some(error) = run.output.error() else { return Ok(status.and(finished)) };
        rollback::report_unprinted(run, &parts);
        Err(error)
    }
    .await;
    // Finish the parts and report.
    let left_behind = parts.finish(run).await;
    match (outcome, lock.finish(run).await) {
        // The loss of the Lease explains the other error: another run has changed what this one read.
        (Err(error), Err(lost)) if !matches!(error, Error::Interrupted(_)) => {
            if error.to_string() != lost.to_string() {
                context.printer.warn(&error.to_string());
            }
            Err(lost)
        }
        (outcome, released) => Ok(SwitchEnd::Ended(outcome?.and(rehearsed).and(left_behind).and(released?))),
    }
}

/// What stays the same for a whole run.
struct SwitchRun<'a> {
    context: &'a Context,
    settings: &'a SwitchSettings,
    cluster: &'a Cluster,
    api_versions: ApiVersions,
    /// The results of a run that has written.
    output: ResultOutput,
    /// Where a terminal shows the plan.
    plan_rows: PlanRows,
    /// Random identifier of the run.
    id: String,
}

impl<'a> SwitchRun<'a> {
    fn requests(&self) -> ChangeRequests<'a> {
        let force_conflicts = self.settings.force_conflicts;
        ChangeRequests { cluster: self.cluster, apis: self.apis(), force_conflicts }
    }

    fn apis(&self) -> Apis {
        Apis { policy: self.api_versions.policy, rule: self.api_versions.rule }
    }

    fn probe_runner(&self) -> ProbeRunner<'_> {
        self.context.probe_runner(self.cluster, self.api_versions, &self.settings.pod)
    }

    /// Deletes the pods that a killed run has left, where this run has pods as well.
    async fn delete_abandoned_pods(&self) {
        if self.settings.verify {
            sweep_abandoned(self.cluster).await;
        }
    }

    /// Reads the namespace. A signal ends the wait.
    async fn read_state(&self) -> error::Result<ClusterState> {
        self.context
            .read(snapshot::read_with_templates(self.cluster, self.api_versions, &self.context.settings.mesh))
            .await
    }

    fn is_enabling(&self) -> bool {
        self.settings.goal.is_enabling()
    }

    /// Whether another writer makes the changes (`--observe`).
    fn is_observing(&self) -> bool {
        self.settings.mode == RunMode::Observe
    }

    /// The time for which the run's pods may have to wait for another writer: the limit of the command.
    fn wait_for_writer(&self) -> Duration {
        const LONGEST: Duration = Duration::from_hours(1);
        let limit = self.context.settings.timeout.filter(|limit| !limit.is_zero());
        if self.is_observing() { limit.unwrap_or(LONGEST).min(LONGEST) } else { Duration::ZERO }
    }

    fn is_restore(&self) -> bool {
        matches!(self.settings.goal, SwitchGoal::Restore { .. })
    }

    /// The name of the command, as journals have it.
    fn command(&self) -> &'static str {
        if self.is_enabling() { "enable-mtls" } else { "disable-mtls" }
    }

    /// Whether the cluster ends with the command: then there is nothing to undo, to prove again or to go on with.
    fn is_on_sandbox(&self) -> bool {
        self.context.settings.sandbox.is_some()
    }

    /// The command that undoes the run: `secure-traffic disable-mtls -n NS --restore`.
    fn restore_command(&self) -> String {
        format!("secure-traffic disable-mtls -n {} --restore", self.cluster.namespace)
    }
}
