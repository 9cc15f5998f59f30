//! `demo`: runs the walk-through with explanations, on the sandbox unless a cluster is named.

use super::Context;
use super::probe_run::{MeshClient, ProbeRun};
use super::switch::{self, SwitchEnd};
use crate::cli::DemoArgs;
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::error::ClusterError;
use crate::cluster::journal;
use crate::cluster::snapshot;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::MtlsMode;
use crate::domain::plan::{Direction, SwitchRequest};
use crate::domain::probe::{Case, cases};
use crate::error;
use crate::exit::ExitStatus;
use crate::report::model::{NamespaceReport, TargetReport};
use crate::report::screen::{self, DemoStep, Switched};
use crate::report::story;
use crate::settings::{SwitchGoal, SwitchSettings, pod_options};
use crate::ui::confirm::{self, Confirmation};
use crate::ui::printer::Printer;

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Probe(Expectation),
    Switch(Direction),
    /// Undoes the last switch.
    Restore,
}

const ENABLE: Action = Action::Switch(Direction::Enable);
const DISABLE: Action = Action::Switch(Direction::Disable { mode: MtlsMode::Permissive });
const ACCEPTED: Action = Action::Probe(Expectation::Accepted);
const REJECTED: Action = Action::Probe(Expectation::Rejected);

/// Runs the command.
pub async fn run(context: &Context, args: &DemoArgs) -> error::Result<ExitStatus> {
    let (cluster, api_versions) = context.discovered_cluster(SandboxState::Permissive).await?;
    let state = context.read(snapshot::read(&cluster, api_versions, &context.settings.mesh)).await?;
    // A target that does not exist must be an error before the first step.
    let (target_cases, _) = cases(&state.snapshot, std::slice::from_ref(&args.target))?;
    let target = target_cases.iter().map(Case::name).collect::<Vec<_>>().join(" ");
    let is_strict = is_strict(&target_cases);
    let mut demo =
        Demo { context, args, cluster: &cluster, api_versions, last_probe: None, last_run: None, left: None };
    if !demo.may_start(is_strict).await? {
        return Ok(ExitStatus::Unexpected);
    }
    let namespace = &cluster.namespace;
    let steps: Vec<(DemoStep, Action)> = if is_strict {
        let steps = story::steps_from_strict(namespace, &target);
        steps.into_iter().zip([REJECTED, DISABLE, ACCEPTED, Action::Restore]).collect()
    } else {
        let steps = story::steps(namespace, &target);
        steps.into_iter().zip([ACCEPTED, ENABLE, REJECTED, DISABLE, ACCEPTED]).collect()
    };
    let result = demo.walk(&steps).await;
    if let Some(left) = demo.left.filter(|_| context.settings.sandbox.is_none()) {
        context.printer.warn(&left);
    }
    result
}

/// Whether every endpoint of the cases has to refuse plaintext.
fn is_strict(cases: &[Case]) -> bool {
    let mut endpoints = cases.iter().flat_map(|case| &case.endpoints).peekable();
    endpoints.peek().is_some() && endpoints.all(|endpoint| endpoint.mode.mode == Some(MtlsMode::Strict))
}

struct Demo<'a> {
    context: &'a Context,
    args: &'a DemoArgs,
    cluster: &'a Cluster,
    api_versions: ApiVersions,
    /// The result of the last probe, beside which the next one is shown.
    last_probe: Option<TargetReport>,
    /// The last switch, for [`Action::Restore`].
    last_run: Option<String>,
    /// The change that is in force because the step that undoes it did not run, with the command that undoes it.
    left: Option<String>,
}

impl Demo<'_> {
    /// Asks on a cluster, once for all steps, whether the demo may change the namespace. Reports where it is STRICT
    /// already.
    async fn may_start(&self, is_strict: bool) -> error::Result<bool> {
        let printer = self.context.printer.without_screens();
        let (namespace, description) = (&self.cluster.namespace, &self.cluster.description);
        let (found, question, yes) = if is_strict {
            (
                format!("namespace {namespace} is STRICT already"),
                format!(
                    "Step 4 turns STRICT off in namespace {namespace} on {description}.\n\
                     Start at step 3, and restore STRICT at the end?"
                ),
                "pass --yes to let the demo turn STRICT off and restore it",
            )
        } else {
            (
                format!("the demo changes namespace {namespace}"),
                format!(
                    "Step 2 turns STRICT on in namespace {namespace} on {description}, and step 4 turns STRICT off.\n\
                     Start?"
                ),
                "pass --yes to let the demo turn STRICT on and off again",
            )
        };
        if is_strict {
            printer.say(&format!("{found}: the demo starts at step 3, turns STRICT off, and restores it"));
        }
        if self.args.yes || self.context.settings.sandbox.is_some() {
            return Ok(true);
        }
        match confirm::ask(&question, &self.context.shutdown).await? {
            Confirmation::Yes => Ok(true),
            Confirmation::No => {
                printer.say("nothing was changed");
                Ok(false)
            }
            Confirmation::NoTerminal => {
                printer.error(&format!("{found}, and there is no terminal to ask on"), Some(yes));
                Ok(false)
            }
            Confirmation::Interrupted(signal) => {
                printer.say("nothing was changed");
                Err(signal.into())
            }
        }
    }

    /// Runs the steps up to the first one that does not succeed, and prints the summary. A restore is never left out
    /// after a switch.
    async fn walk(&mut self, steps: &[(DemoStep, Action)]) -> error::Result<ExitStatus> {
        let printer = self.context.printer;
        let mut rows = Vec::new();
        let mut status = ExitStatus::Success;
        for (step, action) in steps {
            let is_next = match action {
                Action::Restore => self.last_run.is_some(),
                Action::Probe(_) | Action::Switch(_) => status == ExitStatus::Success,
            };
            if !is_next {
                continue;
            }
            if status == ExitStatus::Success && !self.pause().await? && *action != Action::Restore {
                status = status.and(ExitStatus::Unexpected);
                continue;
            }
            printer.new_screen()?;
            printer.screen(&screen::head(step, columns(printer)))?;
            let (result, step_status) = match action {
                Action::Probe(expected) => self.probe(*expected).await?,
                Action::Switch(direction) => self.switch(*direction, steps).await?,
                Action::Restore => self.restore().await?,
            };
            rows.push((step.title, result));
            status = status.and(step_status);
        }
        if status == ExitStatus::Success {
            self.pause().await?;
        }
        printer.new_screen()?;
        printer.screen(&story::summary(&rows, status == ExitStatus::Success))?;
        if self.context.settings.sandbox.is_none() && status == ExitStatus::Success && self.last_run.is_none() {
            printer
                .without_screens()
                .say("left in the namespace: the policy (PERMISSIVE) and the rules, which have no effect any more");
        }
        Ok(status)
    }

    /// With `--pause`: waits for a key. Returns `false` where it ends the demo.
    async fn pause(&self) -> error::Result<bool> {
        if !self.args.pause {
            return Ok(true);
        }
        match confirm::pause("\n  Press Space or Enter to continue, q to end … ", &self.context.shutdown).await? {
            Confirmation::Yes | Confirmation::NoTerminal => Ok(true),
            Confirmation::No => Ok(false),
            Confirmation::Interrupted(signal) => Err(signal.into()),
        }
    }

    /// Probes the target and prints who got through. Also returns the verdicts for the summary.
    async fn probe(&mut self, expected: Expectation) -> error::Result<(String, ExitStatus)> {
        let options = pod_options(&self.args.pod);
        let probe_run = ProbeRun {
            context: self.context,
            cluster: self.cluster,
            api_versions: self.api_versions,
            options: &options,
            expected: Some(expected),
            mesh_client: MeshClient::WherePossible,
        };
        let state =
            self.context.read(snapshot::read(self.cluster, self.api_versions, &self.context.settings.mesh)).await?;
        let (cases, _) = cases(&state.snapshot, std::slice::from_ref(&self.args.target))?;
        let (report, status) = probe_run.run(&state.snapshot, &cases, Vec::new()).await?;
        let printer = self.context.printer;
        let mut verdicts = Vec::new();
        for result in report.results() {
            let earlier = self.last_probe.as_ref().filter(|earlier| earlier.target == result.target);
            printer.screen(&screen::probed(earlier, result, columns(printer)))?;
            verdicts.push(format!("{} {}", result.target, result.answer.verdict));
        }
        self.last_probe = report.results().last().cloned();
        Ok((verdicts.join(", "), report.exit_status().and(status)))
    }

    /// Changes the mode and proves it. Also returns the result for the summary.
    async fn switch(
        &mut self,
        direction: Direction,
        steps: &[(DemoStep, Action)],
    ) -> error::Result<(String, ExitStatus)> {
        let goal = SwitchGoal::Render(SwitchRequest::new(direction));
        let is_restored = steps.iter().any(|(_, action)| *action == Action::Restore);
        let before = self.newest_run().await?;
        let already = self.reported();
        let ended = self.run_switch(goal).await;
        // An error of the switch counts more than one of this request.
        let newest = self.newest_run().await.ok().flatten().filter(|newest| before.as_ref() != Some(newest));
        let namespace = &self.cluster.namespace;
        let restore = |run: &str| format!("secure-traffic disable-mtls -n {namespace} --restore={run}");
        let undo = newest.as_deref().map(restore).filter(|_| !is_restored && self.context.settings.sandbox.is_none());
        self.left = match (&newest, direction) {
            (Some(run), Direction::Enable) => {
                Some(format!("STRICT stays on in namespace {namespace}; undo it with `{}`", restore(run)))
            }
            (Some(run), Direction::Disable { .. }) if is_restored => {
                Some(format!("STRICT is off in namespace {namespace}; restore it with `{}`", restore(run)))
            }
            (None, _) => self.left.take(),
            (Some(_), Direction::Disable { .. }) => None,
        };
        if is_restored {
            self.last_run = newest;
        }
        let status = ended?.status();
        self.show_switch(&already, undo.as_deref())?;
        let mode = direction.mode();
        let result = if status == ExitStatus::Success { "in force and proven" } else { "not proven" };
        Ok((format!("{mode}, {result}"), status))
    }

    /// Restores what was there before the last switch. Also returns the result for the summary.
    async fn restore(&mut self) -> error::Result<(String, ExitStatus)> {
        let goal = SwitchGoal::Restore { run: self.last_run.clone() };
        let already = self.reported();
        let status = self.run_switch(goal).await?.status();
        self.show_switch(&already, None)?;
        if status != ExitStatus::Success {
            return Ok(("STRICT, not restored or not proven".to_owned(), status));
        }
        self.left = None;
        Ok(("STRICT, restored and proven".to_owned(), status))
    }

    /// Runs a change, which the question before the first step covers.
    async fn run_switch(&self, goal: SwitchGoal) -> error::Result<SwitchEnd> {
        let settings = SwitchSettings { assume_yes: true, ..SwitchSettings::new(goal, pod_options(&self.args.pod)) };
        switch::switch(self.context, &settings, self.cluster, self.api_versions).await
    }

    /// What the reports have of the namespace so far.
    fn reported(&self) -> NamespaceReport {
        let mut report = self.context.reports.probe();
        std::mem::take(report.namespace_mut(&self.cluster.namespace))
    }

    /// Prints what a change has added to the reports that had this much `already`.
    fn show_switch(&self, already: &NamespaceReport, undo: Option<&str>) -> error::Result<()> {
        let report = self.reported();
        let switched = Switched {
            phases: report.phases.get(already.phases.len()..).unwrap_or_default(),
            calls: report.calls.as_ref(),
            results: report.results.get(already.results.len()..).unwrap_or_default(),
            undo,
        };
        let printer = self.context.printer;
        Ok(printer.screen(&screen::switched(&switched, columns(printer)))?)
    }

    /// The newest run whose journal the namespace has.
    async fn newest_run(&self) -> Result<Option<String>, ClusterError> {
        let stored = journal::list(self.cluster).await?;
        Ok(stored.into_iter().rfind(|journal| !journal.is_void).map(|journal| journal.id))
    }
}

/// The columns to which screens are cut; `None` in a pipe.
fn columns(printer: Printer) -> Option<usize> {
    printer.screen_width().map(|width| width.min(screen::COLUMNS))
}
