//! The control in the mesh: calls that got through before the first write must get through after the last.

use super::Switch;
use crate::curl_pod::curl;
use crate::curl_pod::mesh_traffic::MeshTrafficMonitor;
use crate::curl_pod::probe_pod::Failure;
use crate::domain::mesh_traffic::{CallSummary, Health};
use crate::domain::probe::Case;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::human::count;
use crate::signal::Signal;
use std::time::Duration;

/// The longest that a control stays: what is not proven by then has other troubles.
const LONGEST: Duration = Duration::from_hours(1);

/// The control of a run.
#[derive(Debug, Default)]
pub(super) struct Control {
    /// Its pod, where it could be sent.
    pub(super) run: Option<MeshTrafficMonitor>,
    /// Whether its calls count already.
    begun: bool,
}

impl Switch<'_> {
    /// Sends the control, which takes its time to start: the mesh's proxy comes first.
    pub(super) fn send_control(&mut self) {
        if !self.args.verify || !self.plan.has_writes() {
            return;
        }
        // Unknown Services were refused before.
        let Ok(cases) = self.cases(&self.look.snapshot) else { return };
        let is_meshed = |case: &Case| case.endpoints.iter().any(|endpoint| endpoint.data_plane.is_meshed());
        let cases: Vec<Case> = cases.into_iter().filter(is_meshed).collect();
        let proof = Duration::from_secs(curl::worst_case_seconds(&cases, self.options.limits));
        let duration = self.args.wait_timeout * 2 + self.args.settle + proof + Duration::from_mins(2);
        self.control.run =
            MeshTrafficMonitor::start(&self.probe_runner(), &self.look.snapshot, &cases, duration.min(LONGEST));
    }

    /// Waits, before the first write, until the control calls. Without one the run goes on, and says so.
    pub(super) async fn control_begins(&mut self) -> Result<(), Signal> {
        let Some(run) = self.control.run.as_ref().filter(|_| !self.control.begun) else { return Ok(()) };
        self.context.progress.begin("waiting for the control in the mesh", None);
        let begun = run.started().await;
        self.context.progress.end();
        self.control.begun = true;
        let why = match begun {
            Ok(before) => {
                for (name, words) in before.broken {
                    self.context
                        .printer
                        .warn(&format!("in the mesh {name} is not reached, before any change: {words}"));
                }
                return Ok(());
            }
            Err(Failure::Interrupted(signal)) => return Err(signal),
            Err(Failure::Cluster(error)) => error.to_string(),
            Err(Failure::Pod(reason, words)) => format!("{reason}: {words}"),
        };
        self.context.printer.warn(&format!(
            "no control could be sent in the mesh ({why}): whether calls in the mesh still get through is not watched"
        ));
        if let Some(run) = self.control.run.take() {
            self.removals.extend(run.finish().await.removal);
        }
        Ok(())
    }

    /// An error where calls that got through before the change do not any more. The way out stays open: there it is
    /// only told, at the end.
    pub(super) async fn calls_get_through(&self) -> error::Result<()> {
        if self.is_enabling()
            && let Some(words) = self.lost_calls().await
        {
            return Err(Error::CallsLost(words));
        }
        Ok(())
    }

    /// Which calls in the mesh are lost, in words.
    async fn lost_calls(&self) -> Option<String> {
        let run = self.control.run.as_ref()?;
        self.context.progress.begin("waiting for the calls in the mesh", None);
        let standing = run.settled().await;
        self.context.progress.end();
        (standing == Health::Lost).then(|| lost(&run.summary()))
    }

    /// The control's account, once everything is proven; the status is that of lost calls.
    pub(super) async fn account_for_calls(&self) -> ExitStatus {
        let Some(run) = &self.control.run else { return ExitStatus::Success };
        let lost = self.lost_calls().await;
        let printer = self.context.printer;
        if let Some(Failure::Pod(reason, words)) = run.failure() {
            printer.warn(&format!("the control in the mesh did not stay to the end: {reason}: {words}"));
        }
        let summary = run.summary();
        for name in &summary.repaired {
            printer.say(&format!("in the mesh {name} is reached now, and was not before"));
        }
        for (name, words) in &summary.broken {
            printer.warn(&format!("in the mesh {name} is not reached, as before: {words}"));
        }
        let Some(words) = lost else {
            self.say_summary(&summary);
            return ExitStatus::Success;
        };
        printer.warn(&words);
        ExitStatus::Unexpected
    }

    fn say_summary(&self, summary: &CallSummary) {
        let printer = self.context.printer;
        let through = summary.calls - summary.failures();
        let words = format!(
            "calls in the mesh: {through} of {} got through while it changed, at {}",
            summary.calls,
            count(summary.watched, "target")
        );
        match summary.failed.as_slice() {
            _ if summary.watched == 0 => {
                printer.say("no call in the mesh shows whether it gets through: none was answered");
            }
            [] => printer.say(&words),
            failed => {
                let failed: Vec<String> =
                    failed.iter().map(|(name, count, words)| format!("{count} failed at {name}: {words}")).collect();
                printer.warn(&format!("{words}; {}", failed.join("; ")));
            }
        }
    }

    /// After a roll-back: whether the calls in the mesh get through again.
    pub(super) async fn calls_recover(&self) {
        let Some(run) = &self.control.run else { return };
        if run.recovered().await {
            self.context.printer.say("calls in the mesh get through again");
        } else {
            self.context.printer.warn("calls in the mesh do not get through again, though everything is as it was");
        }
    }
}

/// What is lost, and what was last seen of it.
fn lost(summary: &CallSummary) -> String {
    let words = summary.failed.iter().filter(|(name, ..)| summary.lost.contains(name));
    let words: Vec<String> = words.map(|(name, _, words)| format!("{name} ({words})")).collect();
    format!("calls in the mesh got through before the change, and do not any more: {}", words.join(", "))
}
