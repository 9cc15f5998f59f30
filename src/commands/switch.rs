//! `enable-mtls` and `disable-mtls`: look, plan, ask, apply in the order that loses no call, wait, prove.

mod phases;
mod results;

use super::probe::{Question, render, say_expectation, sweep_abandoned};
use super::{Context, State};
use crate::cli::switch::{DryRun, RulesChoice, ScopeChoice, SwitchArgs};
use crate::cluster::access;
use crate::cluster::apply::{Applied, Applier, Ledger, Mode, Refused};
use crate::cluster::ask::{PodOptions, Prober};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, Generation};
use crate::cluster::error::ClusterError;
use crate::cluster::probe_pod::Removal;
use crate::cluster::snapshot::{self, Look};
use crate::domain::mesh::Snapshot;
use crate::domain::plan::{self, Action, Change, Direction, Plan, RuleChoice, Scope, Target, Wish};
use crate::domain::probe::{self, Case};
use crate::exit::{ExitStatus, Interrupted, Stopped, UsageError};
use crate::istio::owners::{self, Class, Owner};
use crate::istio::render::Apis;
use crate::report::human::{Style, count};
use crate::report::plan as plan_report;
use crate::settings::pod_options;
use crate::ui::confirm::{self, Answer};
use std::sync::Arc;

/// Runs either command.
pub async fn run(context: &Context, args: &SwitchArgs, direction: Direction) -> anyhow::Result<ExitStatus> {
    if args.dry_run == Some(DryRun::Client) {
        return super::offline::run(context, args, direction);
    }
    let needs = if direction == Direction::Enable { State::Permissive } else { State::Strict };
    let cluster = context.cluster(needs).await?;
    let generation = context.read(discover::discover(&cluster)).await?;
    run_on(context, args, direction, &cluster, generation).await
}

/// The same on a cluster that is known already.
pub async fn run_on(
    context: &Context,
    args: &SwitchArgs,
    direction: Direction,
    cluster: &Cluster,
    generation: Generation,
) -> anyhow::Result<ExitStatus> {
    let look = context.read(snapshot::look(cluster, generation, &context.settings.mesh)).await?;
    let wish = wish(args, direction);
    let plan = plan::plan(&look.snapshot, &wish);
    let options = pod_options(&args.pod);
    let mut switch = Switch {
        context,
        args,
        cluster,
        generation,
        applier: Applier {
            cluster,
            apis: Apis { policy: generation.policy, rule: generation.rule },
            force_conflicts: args.force_conflicts,
            ledger: Arc::new(Ledger::default()),
        },
        look,
        wish,
        plan,
        options,
        removals: Vec::new(),
        not_in_force: None,
    };
    switch.story().await
}

/// What the arguments ask for.
pub fn wish(args: &SwitchArgs, direction: Direction) -> Wish {
    let named: Vec<String> = args.services.iter().chain(&args.more_services).cloned().collect();
    Wish {
        services: (!named.is_empty()).then_some(named),
        destination_rules: match args.destination_rules {
            RulesChoice::Always => RuleChoice::Always,
            RulesChoice::Auto => RuleChoice::Auto,
            RulesChoice::Never => RuleChoice::Never,
        },
        scope: match args.scope {
            ScopeChoice::Service => Scope::Service,
            ScopeChoice::Namespace => Scope::Namespace,
        },
        policy: args.policy.clone(),
        force: args.force,
        force_conflicts: args.force_conflicts,
        ..Wish::new(direction)
    }
}

struct Switch<'a> {
    context: &'a Context,
    args: &'a SwitchArgs,
    cluster: &'a Cluster,
    generation: Generation,
    applier: Applier<'a>,
    look: Look,
    wish: Wish,
    plan: Plan,
    options: PodOptions,
    /// Pods that are being removed while the work goes on.
    removals: Vec<Removal>,
    not_in_force: Option<String>,
}

impl Switch<'_> {
    async fn story(&mut self) -> anyhow::Result<ExitStatus> {
        self.tell_surroundings();
        self.check()?;
        if self.args.diff {
            return self.diff().await;
        }
        if self.args.dry_run == Some(DryRun::Server) {
            let applied = self.validate(&self.every_write()).await?;
            self.results(&applied, " (server dry run)")?;
            return Ok(ExitStatus::Success);
        }
        if self.plan.has_writes() {
            match self.confirm()? {
                Answer::Yes => {}
                Answer::No => {
                    self.context.printer.say("nothing was changed");
                    return Ok(ExitStatus::Contrary);
                }
                Answer::NoTerminal => return Err(self.needs_yes().into()),
            }
        }
        if self.args.verify {
            access::check(self.cluster, &access::PROBE).await?;
            sweep_abandoned(self.cluster).await;
        }
        self.validate(&self.one_of_each_shape()).await?;
        let changed = self.change().await;
        let unanswered = self.applier.ledger.settled().await;
        if unanswered > 0 {
            self.context
                .printer
                .warn(&format!("{} got no answer: it may or may not have been made", count(unanswered, "write")));
        }
        if let Err(error) = changed {
            self.account();
            self.removed().await;
            return Err(error);
        }
        self.results_of_ledger()?;
        let proof = self.prove().await;
        let left_behind = self.removed().await;
        Ok(proof?.and(left_behind))
    }

    /// Waits until every pod of this run is gone, and says which is not.
    async fn removed(&mut self) -> ExitStatus {
        let mut left_behind = Vec::new();
        for removal in self.removals.drain(..) {
            left_behind.extend(removal.confirmed().await);
        }
        self.context.report_left_behind(&left_behind)
    }

    fn tell_surroundings(&self) {
        let mesh = &self.look.snapshot.mesh;
        let printer = self.context.printer;
        printer.say(&format!(
            "namespace {}; {}, {}",
            self.cluster.namespace, self.generation.policy, self.generation.rule
        ));
        if !mesh.readable {
            printer.warn(&format!(
                "the mesh's settings (ConfigMap in {}) cannot be read: Istio's defaults are assumed",
                mesh.istio_namespace
            ));
        }
        for skipped in &self.plan.skipped {
            printer.say(&skipped.to_string());
        }
        for warning in &self.plan.warnings {
            printer.warn(&warning.to_string());
        }
    }

    /// What must stop the run before anything is asked or written.
    fn check(&self) -> anyhow::Result<()> {
        if let Some(refusal) = self.plan.refusals.first() {
            let message = self.plan.refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(match refusal {
                plan::Refusal::UnknownService { .. } | plan::Refusal::PolicyNotThere { .. } => {
                    UsageError { message, hint: None }.into()
                }
                _ => Stopped(message).into(),
            });
        }
        for change in self.plan.changes() {
            let Action::Edit(edits) = &change.action else { continue };
            let Some(object) = crate::cluster::apply::find(&self.look, change) else { continue };
            let name = self.applier.name(change);
            for keeper in owners::keepers(object) {
                self.context.printer.warn(&format!("{name} {keeper}"));
            }
            if let Some(conflict) = owners::conflict(object, edits).filter(|_| !self.args.force_conflicts) {
                return Err(ClusterError { message: format!("{name}: {conflict}"), hint: None }.into());
            }
        }
        Ok(())
    }

    fn confirm(&self) -> anyhow::Result<Answer> {
        let printer = self.context.printer;
        let will = if self.args.yes { "changes" } else { "would change" };
        printer.say(&format!("{will} in namespace {}:", self.cluster.namespace));
        let phases = self.plan.phases();
        for change in phases.iter().flat_map(|phase| &phase.changes).filter(|change| change.is_write()) {
            printer.say(&format!("  {}", plan_report::line(&self.applier.name(change), change)));
            for owner in self.persons(change) {
                printer.say(&format!("    {} was set by {:?}", owner.field, owner.manager));
            }
        }
        if self.args.yes {
            return Ok(Answer::Yes);
        }
        Ok(confirm::ask("Go on?")?)
    }

    /// Fields of the change that a person set by kubectl or oc: shown, and covered by the confirmation.
    fn persons(&self, change: &Change) -> Vec<Owner> {
        let Action::Edit(edits) = &change.action else { return Vec::new() };
        let Some(object) = crate::cluster::apply::find(&self.look, change) else { return Vec::new() };
        owners::owners(object, edits).into_iter().filter(|owner| owner.class == Class::Person).collect()
    }

    fn needs_yes(&self) -> UsageError {
        UsageError {
            message: format!(
                "{} would change, and there is no terminal to ask on",
                count(self.every_write().len(), "object")
            ),
            hint: Some("say --yes to change them, or --dry-run=server to see what would happen".to_owned()),
        }
    }

    fn every_write(&self) -> Vec<Change> {
        self.plan.changes().filter(|change| change.is_write()).cloned().collect()
    }

    /// Each existing object that changes, and one new object of each shape: new rules differ in nothing but names.
    fn one_of_each_shape(&self) -> Vec<Change> {
        let mut new_rule = false;
        self.every_write()
            .into_iter()
            .filter(|change| match (change.target, &change.action) {
                (Target::Rule, Action::Create) => !std::mem::replace(&mut new_rule, true),
                _ => true,
            })
            .collect()
    }

    async fn validate(&self, changes: &[Change]) -> anyhow::Result<Vec<Applied>> {
        let work = self.applier.apply(&self.look, changes, Mode::DryRun, &*self.context.progress);
        let applied = self.context.shutdown.race(work).await.map_err(Interrupted)?;
        for one in &applied {
            match &one.result {
                Err(Refused::Error(error)) => {
                    let message = format!("{}; nothing was written", error.message);
                    return Err(ClusterError { message, hint: error.hint.clone() }.into());
                }
                Err(Refused::Stale(words)) => {
                    let message = format!(
                        "{} changed while it was looked at ({words}); nothing was written",
                        self.applier.name(&one.change)
                    );
                    return Err(ClusterError::new(message, "run the command again").into());
                }
                Ok(_) => {}
            }
        }
        Ok(applied)
    }

    async fn diff(&self) -> anyhow::Result<ExitStatus> {
        let applied = self.validate(&self.every_write()).await?;
        let mut text = String::new();
        for one in &applied {
            if let Ok(after) = &one.result {
                let before = crate::cluster::apply::find(&self.look, &one.change);
                text.push_str(&crate::report::diff::unified(&self.applier.name(&one.change), before, after)?);
            }
        }
        self.context.printer.result(&text)?;
        Ok(if text.is_empty() { ExitStatus::Success } else { ExitStatus::Contrary })
    }

    fn prober(&self) -> Prober<'_> {
        Prober {
            cluster: self.cluster,
            openshift: self.generation.openshift,
            options: &self.options,
            shutdown: &self.context.shutdown,
            progress: &*self.context.progress,
        }
    }

    /// The ports that are proven: of the named Services, or of all.
    fn cases(&self, snapshot: &Snapshot) -> Result<Vec<Case>, probe::TargetError> {
        let targets: Vec<probe::Target> = self
            .wish
            .services
            .iter()
            .flatten()
            .map(|service| probe::Target { service: service.clone(), port: None, path: None })
            .collect();
        probe::cases(snapshot, &targets).map(|(cases, _)| cases)
    }

    /// The rogue probe on every target that has a ready endpoint.
    async fn prove(&mut self) -> anyhow::Result<ExitStatus> {
        let mut status = ExitStatus::Success;
        if let Some(words) = &self.not_in_force {
            self.context.printer.warn(words);
            status = ExitStatus::Inconclusive;
        }
        if !self.args.verify {
            return Ok(status);
        }
        let look =
            self.context.read(snapshot::look(self.cluster, self.generation, &self.context.settings.mesh)).await?;
        let (cases, empty): (Vec<Case>, Vec<Case>) =
            self.cases(&look.snapshot)?.into_iter().partition(|case| !case.endpoints.is_empty());
        if !empty.is_empty() {
            let names: Vec<String> = empty.iter().map(Case::name).collect();
            self.context.printer.warn(&format!("not proven, without a ready endpoint: {}", names.join(", ")));
        }
        if cases.is_empty() {
            self.context.printer.warn("nothing could be proven: no Service has a ready endpoint");
            return Ok(status.and(ExitStatus::Inconclusive));
        }
        let expected = if self.plan.direction == Direction::Enable { "rejected" } else { "accepted" };
        let question = Question {
            context: self.context,
            cluster: self.cluster,
            generation: self.generation,
            options: &self.options,
            expected: Some(expected),
        };
        let (report, left) = question.ask(&look.snapshot, &cases, Vec::new()).await?;
        let text = render(&report, None, Style::default())?;
        // Where objects were asked for on stdout, the proof is talk.
        if self.args.output.is_some() {
            self.context.printer.say_report(&text);
        } else {
            self.context.printer.result(&text)?;
        }
        let verdict = report.exit_status();
        if verdict == ExitStatus::Success {
            self.context.printer.say(&plan_report::closing(expected, cases.len()));
        } else {
            say_expectation(self.context, &report, expected, &cases);
        }
        Ok(status.and(verdict).and(left))
    }
}
