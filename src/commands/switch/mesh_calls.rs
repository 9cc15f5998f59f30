//! Runs the mesh-traffic monitor of a switch: in-mesh calls that succeeded before the first write must succeed after the
//! last one.

use super::SwitchRun;
use super::goal::Planned;
use crate::curl_pod::curl;
use crate::curl_pod::mesh_traffic::MeshTrafficMonitor;
use crate::curl_pod::probe_pod::{Failure, Removal};
use crate::domain::mesh_traffic::{CallSummary, Health};
use crate::domain::probe::Case;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::model::CallsReport;
use crate::report::plural::count;
use crate::signal::Signal;
use std::time::Duration;

/// The longest time for which the monitor's pod runs.
const LONGEST: Duration = Duration::from_hours(1);

/// The monitor of a run.
#[derive(Debug)]
pub(super) enum MeshCalls {
    /// No in-mesh call is made: the run proves nothing, writes nothing, or has no target in the mesh.
    NotMonitored,
    /// The pod starts; the run does not wait for it yet.
    Starting(MeshTrafficMonitor),
    /// Every target was called; from now on each failure counts.
    Counting(MeshTrafficMonitor),
    /// The pod did not start; it is being deleted.
    Failed(MeshTrafficMonitor),
}

impl MeshCalls {
    /// Creates the pod and does not wait for its start, which takes seconds because the sidecar starts first.
    pub(super) fn start(run: &SwitchRun<'_>, planned: &Planned) -> Self {
        let settings = run.settings;
        if !settings.verify || !planned.plan.has_writes() {
            return Self::NotMonitored;
        }
        // Unknown Services are errors of the plan.
        let Ok(cases) = planned.cases(&planned.state.snapshot) else { return Self::NotMonitored };
        let is_meshed = |case: &Case| case.endpoints.iter().any(|endpoint| endpoint.data_plane.is_meshed());
        let cases: Vec<Case> = cases.into_iter().filter(is_meshed).collect();
        let proof = Duration::from_secs(curl::worst_case_seconds(&cases, settings.pod.limits));
        let duration = settings.wait_timeout * 2 + settings.settle + proof + Duration::from_mins(2);
        let snapshot = &planned.state.snapshot;
        let (runner, interval) = (run.probe_runner(), settings.mesh_client_interval);
        let duration = (duration + interval * 10 + run.wait_for_writer()).min(LONGEST);
        let monitor = MeshTrafficMonitor::start(&runner, snapshot, &cases, duration, interval);
        monitor.map_or(Self::NotMonitored, Self::Starting)
    }

    /// The monitor whose calls count.
    pub(super) const fn counting(&self) -> Option<&MeshTrafficMonitor> {
        match self {
            Self::Counting(monitor) => Some(monitor),
            Self::NotMonitored | Self::Starting(_) | Self::Failed(_) => None,
        }
    }

    /// Waits, before the first write, until every target was called. A monitor that does not start is reported, and the
    /// run goes on without it.
    pub(super) async fn begin(&mut self, run: &SwitchRun<'_>) -> Result<(), Signal> {
        let Self::Starting(monitor) = self else { return Ok(()) };
        run.context.progress.begin("waiting for the client in the mesh", None);
        let begun = monitor.started().await;
        run.context.progress.end();
        let printer = run.context.printer;
        let reason = match begun {
            Ok(before) => {
                for (name, failure) in before.broken {
                    printer.warn(&format!("in the mesh, {name} is not reachable, before any change: {failure}"));
                }
                self.advance(Self::Counting);
                return Ok(());
            }
            Err(Failure::Interrupted(signal)) => return Err(signal),
            Err(Failure::Cluster(error)) => error.to_string(),
            Err(Failure::Pod(reason, message)) => format!("{reason}: {message}"),
        };
        printer.warn(&format!("no client in the mesh could be started ({reason}): in-mesh calls are not watched"));
        self.advance(Self::Failed);
        Ok(())
    }

    fn advance(&mut self, next: fn(MeshTrafficMonitor) -> Self) {
        *self = match std::mem::replace(self, Self::NotMonitored) {
            Self::Starting(monitor) => next(monitor),
            other => other,
        };
    }

    /// An error where calls that succeeded before the change are lost. Only `enable-mtls` ends for this; other runs
    /// report it at their end.
    pub(super) async fn check(&self, run: &SwitchRun<'_>) -> error::Result<()> {
        match self.counting() {
            Some(monitor) if run.is_enabling() => match lost_calls(run, monitor).await {
                Some(lost) => Err(Error::CallsLost(lost)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Prints the calls of the whole run; `Unexpected` where calls are lost.
    pub(super) async fn report(&self, run: &SwitchRun<'_>) -> ExitStatus {
        let Some(monitor) = self.counting() else {
            // Those of an earlier change, of the demo, are not of this one.
            run.context.reports.set_calls(&run.cluster.namespace, None);
            return ExitStatus::Success;
        };
        let lost = lost_calls(run, monitor).await;
        let printer = run.context.printer;
        if let Some(Failure::Pod(reason, message)) = monitor.failure() {
            printer.warn(&format!("the client in the mesh ended early: {reason}: {message}"));
        }
        let summary = monitor.summary();
        run.context.reports.set_calls(&run.cluster.namespace, Some(CallsReport::new(&summary)));
        for name in &summary.repaired {
            printer.say(&format!("in the mesh, {name} is reachable now, and was not before"));
        }
        for (name, failure) in &summary.broken {
            printer.warn(&format!("in the mesh, {name} is not reachable, as before: {failure}"));
        }
        if let Some(lost) = lost {
            printer.warn(&lost);
            return ExitStatus::Unexpected;
        }
        print_summary(run, &summary, monitor.has_retries());
        ExitStatus::Success
    }

    /// After a roll-back: waits for the in-mesh calls and prints whether they succeed again.
    pub(super) async fn report_recovery(&self, run: &SwitchRun<'_>) {
        let Some(monitor) = self.counting() else { return };
        if monitor.recovered().await {
            run.context.printer.say("in-mesh calls succeed again");
        } else {
            run.context.printer.warn("in-mesh calls still fail, although everything is as before");
        }
    }

    /// Ends the calls. The removal of the pod continues in the background.
    pub(super) async fn finish(self) -> Option<Removal> {
        match self {
            Self::NotMonitored => None,
            Self::Starting(monitor) | Self::Counting(monitor) | Self::Failed(monitor) => monitor.finish().await.removal,
        }
    }
}

/// Waits until the monitor knows for every target whether calls succeed. Returns a text that names the lost targets.
async fn lost_calls(run: &SwitchRun<'_>, monitor: &MeshTrafficMonitor) -> Option<String> {
    run.context.progress.begin("waiting for in-mesh calls", None);
    let health = monitor.settled().await;
    run.context.progress.end();
    (health == Health::Lost).then(|| lost(&monitor.summary()))
}

/// Prints the counts. A sidecar retries HTTP calls at other endpoints, and no header of the client turns that off (RT-1).
fn print_summary(run: &SwitchRun<'_>, summary: &CallSummary, has_retries: bool) {
    let printer = run.context.printer;
    let succeeded = summary.calls - summary.failures();
    let retries = if has_retries { " (the client's sidecar retries HTTP calls)" } else { "" };
    let line = format!(
        "in-mesh calls during the change: {succeeded} of {} succeeded, at {}{retries}",
        summary.calls,
        count(summary.watched, "target")
    );
    if !summary.not_watched.is_empty() {
        printer.say(&format!("in-mesh calls are not watched at {}", not_watched(summary)));
    }
    match summary.failed.as_slice() {
        _ if summary.watched == 0 => {
            printer.say("no in-mesh call shows whether the calls of other clients succeed");
        }
        [] => printer.say(&line),
        failed => {
            let failed: Vec<String> =
                failed.iter().map(|(name, count, failure)| format!("{count} failed at {name}: {failure}")).collect();
            printer.warn(&format!("{line}; {}", failed.join("; ")));
        }
    }
}

/// The targets whose answers show nothing about other callers, grouped by the answer.
fn not_watched(summary: &CallSummary) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, answer) in &summary.not_watched {
        match groups.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, names)) => names.push(name),
            None => groups.push((answer, vec![name])),
        }
    }
    let groups: Vec<String> =
        groups.into_iter().map(|(answer, names)| format!("{} ({answer})", names.join(", "))).collect();
    groups.join("; ")
}

/// The targets that are lost, each with its last failure.
fn lost(summary: &CallSummary) -> String {
    let lost = summary.failed.iter().filter(|(name, ..)| summary.lost.contains(name));
    let lost: Vec<String> = lost.map(|(name, _, failure)| format!("{name} ({failure})")).collect();
    format!("in-mesh calls succeeded before the change and now fail: {}", lost.join(", "))
}
