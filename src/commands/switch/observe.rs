//! `--observe`: another writer (Argo CD, Flux, a review) makes the changes. This run prints them, waits until the cluster has
//! them, and watches and proves as usual.

use super::SwitchRun;
use super::goal::Planned;
use crate::cli::values::OutputFormat;
use crate::cluster::apply::Applied;
use crate::cluster::snapshot::{self, ClusterState};
use crate::domain::plan::{Change, Direction, Phase, Plan};
use crate::error;
use crate::istio::{change, render, yaml};
use crate::report::RenderError;
use crate::report::plan as plan_report;
use crate::report::{diff, plural::count};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Pause between two reads of the objects.
const POLL: Duration = Duration::from_secs(1);

/// Another writer, and what this run knows of its changes.
pub(super) struct ExternalWriter {
    /// The objects as they were before.
    former: ClusterState,
    /// Names of the objects of the plan that are not as planned yet.
    missing: Mutex<Vec<String>>,
}

impl ExternalWriter {
    /// Takes the objects as they are.
    pub(super) fn start(planned: &Planned) -> Self {
        Self { former: planned.state.clone(), missing: Mutex::default() }
    }

    /// Prints what another writer has to do for a phase, and waits until the cluster has it. The limit is that of the
    /// command (`--timeout`).
    pub(super) async fn wait(
        &self,
        run: &SwitchRun<'_>,
        state: &ClusterState,
        plan: &Plan,
        phase: &Phase,
    ) -> Vec<Applied> {
        let changes: Vec<&Change> = phase.changes.iter().filter(|change| change.is_write()).collect();
        if changes.is_empty() {
            return Vec::new();
        }
        ask(run, state, plan, phase);
        run.context.progress.begin("waiting until another writer has made the changes", None);
        let now = self.until_made(run, state, &plan.writes(), &changes).await;
        run.context.progress.end();
        let names: Vec<String> = changes.iter().map(|change| run.requests().name(change)).collect();
        run.context.printer.say(&format!("another writer has applied {}", names.join(", ")));
        let object = |change: &Change| now.find(change.kind(), change.name()).cloned().unwrap_or(Value::Null);
        changes.into_iter().map(|change| Applied { change: change.clone(), result: Ok(object(change)) }).collect()
    }

    /// Reads the objects until they are as `changes` leave them, and notes which of `all` are not. A read that fails is made
    /// again.
    async fn until_made(
        &self,
        run: &SwitchRun<'_>,
        before: &ClusterState,
        all: &[Change],
        changes: &[&Change],
    ) -> ClusterState {
        loop {
            let read = snapshot::read(run.cluster, run.api_versions, &run.context.settings.mesh).await;
            if let Ok(now) = read {
                let is_missing = |change: &Change| {
                    let before = before.find(change.kind(), change.name());
                    !change::is_made(run.apis(), change, before, now.find(change.kind(), change.name()))
                };
                let missing = all.iter().filter(|change| is_missing(change));
                *self.missing.lock().unwrap_or_else(PoisonError::into_inner) =
                    missing.map(|change| run.requests().name(change)).collect();
                if !changes.iter().any(|change| is_missing(change)) {
                    return now;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A run that ended early: names what is still to be applied.
    pub(super) fn report_missing(&self, run: &SwitchRun<'_>) {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if !missing.is_empty() {
            run.context.printer.warn(&format!("not applied, or not as planned: {}", missing.join(", ")));
        }
    }

    /// Calls in the mesh are lost: prints the difference that the other writer has to make to go back.
    pub(super) fn print_revert(&self, run: &SwitchRun<'_>, planned: &Planned) {
        match self.revert(run, planned) {
            Ok(text) if text.is_empty() => run.context.printer.say("nothing was applied yet"),
            Ok(text) => {
                run.context.printer.warn("calls in the mesh are lost; this difference goes back:");
                run.context.printer.say_report(&text);
            }
            Err(error) => run.context.printer.warn(&format!("the way back cannot be shown: {error}")),
        }
    }

    /// From the objects as they are to those before, as `diff -u` shows it.
    fn revert(&self, run: &SwitchRun<'_>, planned: &Planned) -> Result<String, RenderError> {
        let mut shown = BTreeSet::new();
        let mut text = String::new();
        for change in planned.plan.changes().filter(Change::is_write) {
            let (kind, name) = (change.kind(), change.name());
            if shown.insert((kind, name.to_owned())) {
                let plain = |object: Option<&Value>| diff::text(object.map(render::for_apply).as_ref());
                let (now, former) = (plain(planned.state.find(kind, name))?, plain(self.former.find(kind, name))?);
                text.push_str(&diff::unified(&run.requests().name(&change), &now, &former));
            }
        }
        Ok(text)
    }
}

/// Whether everything may be applied at once: clients send mutual TLS before servers ask for it, whatever comes first,
/// except where DISABLE is on the way. When turning it off, rules must wait for the policy (RE-7).
fn is_one_step(plan: &Plan) -> bool {
    plan.direction == Direction::Enable && !plan.passes_permissive && !plan.rules_need_settling
}

/// Says, before the run's pods start, that another writer has to make the changes, and when.
pub(super) fn announce(run: &SwitchRun<'_>, planned: &Planned) {
    let printer = run.context.printer;
    if is_one_step(&planned.plan) {
        printer.say("apply this when it is asked for, so that no lost call is missed");
    } else {
        let steps = planned.plan.phases().iter().filter(|phase| phase.has_writes()).count();
        printer.say(&format!(
            "apply this in {}, each when it is asked for: at once, it would lose calls",
            count(steps, "step")
        ));
    }
    if run.settings.output == OutputFormat::Table {
        printer.say("-o yaml prints the objects, for your own tool to apply");
    }
}

/// Asks for the changes of a phase, or with the first one for all, if they may be made at once.
fn ask(run: &SwitchRun<'_>, state: &ClusterState, plan: &Plan, phase: &Phase) {
    let phases = plan.phases();
    let asked: Vec<&Change> = if is_one_step(plan) {
        let is_first = phases.iter().find(|phase| phase.has_writes()) == Some(phase);
        if !is_first {
            return;
        }
        phases.iter().flat_map(|phase| &phase.changes).filter(|change| change.is_write()).collect()
    } else {
        phase.changes.iter().filter(|change| change.is_write()).collect()
    };
    run.context.printer.say("to be applied now:");
    for line in plan_report::lines(asked.iter().map(|change| (run.requests().name(change), *change))) {
        run.context.printer.say(&format!("  {line}"));
    }
    if let Err(error) = print_objects(run, state, &asked) {
        run.context.printer.warn(&error.to_string());
    }
}

/// Prints the objects on stdout with `-o json` and `-o yaml`, and on stderr what has to be deleted.
fn print_objects(run: &SwitchRun<'_>, state: &ClusterState, changes: &[&Change]) -> error::Result<()> {
    let mut objects = Vec::new();
    for change in changes {
        match change::result(run.apis(), change, state.find(change.kind(), change.name())) {
            Ok(Some(object)) => objects.push(render::for_apply(&object)),
            Ok(None) => run.context.printer.say(&format!("to be deleted: {}", run.requests().name(change))),
            // The plan is made from this state.
            Err(_) => {}
        }
    }
    let text = match run.settings.output {
        OutputFormat::Yaml => yaml::write_all(&objects).map_err(RenderError::Yaml)?,
        OutputFormat::Json => plan_report::objects(&objects, true)?,
        OutputFormat::Table | OutputFormat::Name | OutputFormat::Wide => return Ok(()),
    };
    run.context.printer.result(&text)?;
    Ok(())
}
