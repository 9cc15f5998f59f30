//! `demo`: runs the walk-through with explanations, on the sandbox unless a cluster is named.

use super::Context;
use super::probe_run::{MeshClient, ProbeRun};
use super::switch::{self, SwitchEnd};
use crate::cli::DemoArgs;
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::error::ClusterError;
use crate::cluster::journal;
use crate::cluster::snapshot;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::MtlsMode;
use crate::domain::plan::{Direction, SwitchRequest};
use crate::domain::probe::{Case, cases};
use crate::error;
use crate::exit::ExitStatus;
use crate::report::human::{self, Style};
use crate::report::story::{self, DemoStep};
use crate::settings::{SwitchGoal, SwitchSettings, pod_options};
use crate::ui::confirm::{self, Confirmation};
use crate::ui::printer;

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
    let cluster = context.cluster(SandboxState::Permissive).await?;
    let api_versions = context.read(discover::discover(&cluster)).await?;
    let state = context.read(snapshot::read(&cluster, api_versions, &context.settings.mesh)).await?;
    // A target that does not exist must be an error before the first step.
    let (target_cases, _) = cases(&state.snapshot, std::slice::from_ref(&args.target))?;
    let target = target_cases.iter().map(Case::name).collect::<Vec<_>>().join(" ");
    let mut demo = Demo { context, args, cluster: &cluster, api_versions, last_run: None, left: None };
    let steps: Vec<(DemoStep, Action)> = if is_strict(&target_cases) {
        if !demo.may_start_strict().await? {
            return Ok(ExitStatus::Unexpected);
        }
        story::steps_from_strict(&target).into_iter().zip([REJECTED, DISABLE, ACCEPTED, Action::Restore]).collect()
    } else {
        let names: Vec<String> = state.snapshot.services.iter().map(|service| service.name.clone()).collect();
        let steps = story::steps(&cluster.namespace, &target, &names);
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
    /// The last switch, for [`Action::Restore`].
    last_run: Option<String>,
    /// The change that is in force because the step that undoes it did not run, with the command that undoes it.
    left: Option<String>,
}

impl Demo<'_> {
    /// Prints that the namespace is STRICT already, and asks whether the demo may turn that off and restore it.
    async fn may_start_strict(&self) -> error::Result<bool> {
        let printer = self.context.printer;
        let namespace = &self.cluster.namespace;
        printer.say(&format!("namespace {namespace} is STRICT already: the demo would turn it off, and restore it"));
        if self.assumes_yes() {
            return Ok(true);
        }
        match confirm::ask("Go on, and restore STRICT at the end?", &self.context.shutdown).await? {
            Confirmation::Yes => Ok(true),
            Confirmation::No => {
                printer.say("nothing was changed");
                Ok(false)
            }
            Confirmation::NoTerminal => {
                let message = format!("namespace {namespace} is STRICT already, and there is no terminal to ask on");
                printer.error(&message, Some("pass --yes to let the demo turn STRICT off and restore it"));
                Ok(false)
            }
            Confirmation::Interrupted(signal) => {
                printer.say("nothing was changed");
                Err(signal.into())
            }
        }
    }

    fn assumes_yes(&self) -> bool {
        self.args.yes || self.context.settings.sandbox.is_some()
    }

    /// Runs the steps up to the first one that does not succeed, and prints the summary. A restore is never left out
    /// after a switch.
    async fn walk(&mut self, steps: &[(DemoStep, Action)]) -> error::Result<ExitStatus> {
        let mut rows = Vec::new();
        let mut status = ExitStatus::Success;
        for (index, (step, action)) in steps.iter().enumerate() {
            let is_next = match action {
                Action::Restore => self.last_run.is_some(),
                Action::Probe(_) | Action::Switch(_) => status == ExitStatus::Success,
            };
            if !is_next {
                continue;
            }
            if self.args.pause && *action != Action::Restore {
                match confirm::pause("\n  Press Enter to continue … ", &self.context.shutdown).await? {
                    Confirmation::Yes | Confirmation::NoTerminal => {}
                    Confirmation::No => {
                        status = status.and(ExitStatus::Unexpected);
                        continue;
                    }
                    Confirmation::Interrupted(signal) => return Err(signal.into()),
                }
            }
            self.context.printer.result(&story::step(index + 1, steps.len(), step))?;
            let (result, step_status) = match action {
                Action::Probe(expected) => self.probe(*expected).await?,
                Action::Switch(direction) => self.switch(*direction, steps).await?,
                Action::Restore => self.restore().await?,
            };
            rows.push((step.title, result));
            status = status.and(step_status);
        }
        self.context.printer.result(&story::summary(&rows, status == ExitStatus::Success))?;
        if self.context.settings.sandbox.is_none() && status == ExitStatus::Success && self.last_run.is_none() {
            self.context
                .printer
                .say("left in the namespace: the policy (PERMISSIVE) and the rules, which say nothing any more");
        }
        Ok(status)
    }

    /// Probes the target and prints the verdict. Also returns the verdicts for the summary.
    async fn probe(&self, expected: Expectation) -> error::Result<(String, ExitStatus)> {
        let options = pod_options(&self.args.pod);
        let probe_run = ProbeRun {
            context: self.context,
            cluster: self.cluster,
            api_versions: self.api_versions,
            options: &options,
            expected: Some(expected),
            mesh_client: MeshClient::OnDemand,
        };
        let state =
            self.context.read(snapshot::read(self.cluster, self.api_versions, &self.context.settings.mesh)).await?;
        let (cases, _) = cases(&state.snapshot, std::slice::from_ref(&self.args.target))?;
        let (report, status) = probe_run.run(&state.snapshot, &cases, Vec::new()).await?;
        self.context.printer.result(&human::probe(&report, Style { width: printer::width(), ..Style::default() }))?;
        let verdicts =
            report.results().map(|result| format!("{} {}", result.target, result.answer.verdict)).collect::<Vec<_>>();
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
        let ended = self.run_switch(goal, self.assumes_yes()).await;
        // An error of the switch counts more than one of this request.
        let newest = self.newest_run().await.ok().flatten().filter(|newest| before.as_ref() != Some(newest));
        let namespace = &self.cluster.namespace;
        let restore = |run: &str| format!("`secure-traffic disable-mtls -n {namespace} --restore={run}`");
        self.left = match (&newest, direction) {
            (Some(run), Direction::Enable) => {
                Some(format!("STRICT stays on in namespace {namespace}; undo it with {}", restore(run)))
            }
            (Some(run), Direction::Disable { .. }) if is_restored => {
                Some(format!("STRICT is off in namespace {namespace}; restore it with {}", restore(run)))
            }
            (None, _) => self.left.take(),
            (Some(_), Direction::Disable { .. }) => None,
        };
        if is_restored {
            self.last_run = newest;
        }
        let mode = direction.mode();
        Ok(match ended? {
            SwitchEnd::Declined => (format!("{mode} was not applied: the answer was no"), ExitStatus::Unexpected),
            SwitchEnd::Ended(ExitStatus::Success) => (format!("{mode}, in force and proven"), ExitStatus::Success),
            SwitchEnd::Ended(status) => (format!("{mode}, not proven"), status),
        })
    }

    /// Restores what was there before the last switch. Also returns the result for the summary.
    async fn restore(&mut self) -> error::Result<(String, ExitStatus)> {
        let goal = SwitchGoal::Restore { run: self.last_run.clone() };
        // The restore was part of the first question.
        let status = self.run_switch(goal, true).await?.status();
        if status != ExitStatus::Success {
            return Ok(("STRICT, not restored or not proven".to_owned(), status));
        }
        self.left = None;
        Ok(("STRICT, restored and proven".to_owned(), status))
    }

    async fn run_switch(&self, goal: SwitchGoal, assume_yes: bool) -> error::Result<SwitchEnd> {
        let settings = SwitchSettings { assume_yes, ..SwitchSettings::new(goal, pod_options(&self.args.pod)) };
        switch::switch(self.context, &settings, self.cluster, self.api_versions).await
    }

    /// The newest run whose journal the namespace has.
    async fn newest_run(&self) -> Result<Option<String>, ClusterError> {
        let stored = journal::list(self.cluster).await?;
        Ok(stored.into_iter().rfind(|journal| !journal.is_void).map(|journal| journal.id))
    }
}
