//! `demo`: runs the walk-through with explanations, on the sandbox unless a cluster is named.

use super::Context;
use super::probe_run::{MeshClient, ProbeRun};
use super::switch;
use crate::cli::DemoArgs;
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::snapshot;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::MtlsMode;
use crate::domain::plan::{Direction, SwitchRequest};
use crate::domain::probe::{Case, cases};
use crate::error;
use crate::exit::ExitStatus;
use crate::report::human::{self, Style};
use crate::report::story;
use crate::settings::{SwitchGoal, SwitchSettings, pod_options};
use crate::ui::confirm;

/// Runs the command.
pub async fn run(context: &Context, args: &DemoArgs) -> error::Result<ExitStatus> {
    let cluster = context.cluster(SandboxState::Permissive).await?;
    let api_versions = context.read(discover::discover(&cluster)).await?;
    let state = context.read(snapshot::read(&cluster, api_versions, &context.settings.mesh)).await?;
    // A target that does not exist must be an error before the first step.
    let (target_cases, _) = cases(&state.snapshot, std::slice::from_ref(&args.target))?;
    let names: Vec<String> = state.snapshot.services.iter().map(|service| service.name.clone()).collect();
    let target: Vec<String> = target_cases.iter().map(Case::name).collect();
    let steps = story::steps(&cluster.namespace, &target.join(" "), &names);
    let demo = Demo { context, args, cluster: &cluster, api_versions };
    let mut rows = Vec::new();
    let mut status = ExitStatus::Success;
    for (index, step) in steps.iter().enumerate() {
        if args.pause {
            confirm::pause("\n  Enter goes on … ")?;
        }
        context.printer.result(&story::step(index + 1, steps.len(), step))?;
        let (result, step_status) = match index {
            1 => demo.switch(Direction::Enable).await?,
            3 => demo.switch(Direction::Disable { mode: MtlsMode::Permissive }).await?,
            2 => demo.probe(Expectation::Rejected).await?,
            _ => demo.probe(Expectation::Accepted).await?,
        };
        rows.push((step.title, result));
        status = status.and(step_status);
        if step_status != ExitStatus::Success {
            break;
        }
    }
    context.printer.result(&story::summary(&rows, status == ExitStatus::Success))?;
    if context.settings.sandbox.is_none() && status == ExitStatus::Success {
        context.printer.say("left in the namespace: the policy (PERMISSIVE) and the rules, which say nothing any more");
    }
    Ok(status)
}

struct Demo<'a> {
    context: &'a Context,
    args: &'a DemoArgs,
    cluster: &'a Cluster,
    api_versions: ApiVersions,
}

impl Demo<'_> {
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
        self.context.printer.result(&human::probe(&report, Style::default()))?;
        let verdicts = report
            .results
            .iter()
            .map(|result| format!("{} {}", result.target, result.answer.verdict))
            .collect::<Vec<_>>();
        Ok((verdicts.join(", "), report.exit_status().and(status)))
    }

    /// Changes the mode and proves it. Also returns the result for the summary.
    async fn switch(&self, direction: Direction) -> error::Result<(String, ExitStatus)> {
        let goal = SwitchGoal::Render(SwitchRequest::new(direction));
        let settings = SwitchSettings {
            assume_yes: self.args.yes || self.context.settings.sandbox.is_some(),
            ..SwitchSettings::new(goal, pod_options(&self.args.pod))
        };
        let status = switch::switch(self.context, &settings, self.cluster, self.api_versions).await?;
        let mode = direction.mode();
        let result = if status == ExitStatus::Success {
            format!("{mode}, in force and proven")
        } else {
            format!("{mode}, not proven")
        };
        Ok((result, status))
    }
}
