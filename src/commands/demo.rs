//! `demo`: the walk-through as a story. On the sandbox, unless a cluster is named.

use super::Context;
use super::probe::{Client, ProbeRun};
use super::switch;
use crate::cli::DemoArgs;
use crate::cli::status::FindingArgs;
use crate::cli::switch::{RulesChoice, ScopeChoice, SwitchArgs};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::snapshot;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::MtlsMode;
use crate::domain::plan::Direction;
use crate::domain::probe::{Case, cases};
use crate::error;
use crate::exit::ExitStatus;
use crate::report::human::{self, Style};
use crate::report::story;
use crate::sandbox::State;
use crate::settings::pod_options;
use crate::ui::confirm;
use std::time::Duration;

/// Runs the command.
pub async fn run(context: &Context, args: &DemoArgs) -> error::Result<ExitStatus> {
    let cluster = context.cluster(State::Permissive).await?;
    let generation = context.read(discover::discover(&cluster)).await?;
    let look = context.read(snapshot::look(&cluster, generation, &context.settings.mesh)).await?;
    // A target that does not exist must not be found out in the middle of the story.
    let (asked, _) = cases(&look.snapshot, std::slice::from_ref(&args.target))?;
    let names: Vec<String> = look.snapshot.services.iter().map(|service| service.name.clone()).collect();
    let target: Vec<String> = asked.iter().map(Case::name).collect();
    let steps = story::steps(&cluster.namespace, &target.join(" "), &names);
    let demo = Demo { context, args, cluster: &cluster, generation };
    let mut rows = Vec::new();
    let mut status = ExitStatus::Success;
    for (index, step) in steps.iter().enumerate() {
        if args.pause {
            confirm::pause("\n  Enter goes on … ")?;
        }
        context.printer.result(&story::step(index + 1, steps.len(), step))?;
        let (seen, came_of_it) = match index {
            1 => demo.switch(Direction::Enable).await?,
            3 => demo.switch(Direction::Disable { mode: MtlsMode::Permissive }).await?,
            2 => demo.ask(Expectation::Rejected).await?,
            _ => demo.ask(Expectation::Accepted).await?,
        };
        rows.push((step.title, seen));
        status = status.and(came_of_it);
        if came_of_it != ExitStatus::Success {
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
    generation: ApiVersions,
}

impl Demo<'_> {
    async fn ask(&self, expected: Expectation) -> error::Result<(String, ExitStatus)> {
        let options = pod_options(&self.args.pod);
        let question = ProbeRun {
            context: self.context,
            cluster: self.cluster,
            generation: self.generation,
            options: &options,
            expected: Some(expected),
            control: Client::OnDemand,
        };
        let look =
            self.context.read(snapshot::look(self.cluster, self.generation, &self.context.settings.mesh)).await?;
        let (cases, _) = cases(&look.snapshot, std::slice::from_ref(&self.args.target))?;
        let (report, left_behind) = question.ask(&look.snapshot, &cases, Vec::new()).await?;
        self.context.printer.result(&human::probe(&report, Style::default()))?;
        let seen = report
            .results
            .iter()
            .map(|result| format!("{} {}", result.target, result.answer.verdict))
            .collect::<Vec<_>>();
        Ok((seen.join(", "), report.exit_status().and(left_behind)))
    }

    async fn switch(&self, direction: Direction) -> error::Result<(String, ExitStatus)> {
        let args = SwitchArgs {
            services: Vec::new(),
            more_services: Vec::new(),
            yes: self.args.yes || self.context.settings.sandbox.is_some(),
            dry_run: None,
            diff: false,
            output: None,
            verify: true,
            wait_timeout: Duration::from_mins(1),
            settle: Duration::from_secs(2),
            force: false,
            findings: FindingArgs::default(),
            check_urls: Vec::new(),
            force_conflicts: false,
            rollback_on_failure: None,
            wait_drain: false,
            no_journal: false,
            filename: Vec::new(),
            recursive: false,
            policy: None,
            destination_rules: RulesChoice::Always,
            scope: ScopeChoice::Service,
            policy_api: None,
            destination_rule_api: None,
            pod: self.args.pod.clone(),
            report: self.args.report.clone(),
        };
        let status = switch::run_on(self.context, &args, direction, self.cluster, self.generation).await?;
        let mode = direction.mode();
        let seen = if status == ExitStatus::Success {
            format!("{mode}, in force and proven")
        } else {
            format!("{mode}, not proven")
        };
        Ok((seen, status))
    }
}
