//! `enable-mtls` and `disable-mtls`: look, plan, ask, apply in the order that loses no call, wait, prove.

mod clients;
mod control;
mod difference;
mod front_door;
mod keeping;
mod phases;
mod proof;
mod results;
mod rollback;
mod task;
mod unanswered;

use super::probe_run::sweep_abandoned;
use super::{Context, manifests, preflight};
use crate::cli::switch::{DryRun, SwitchArgs};
use crate::cli::values::SandboxState;
use crate::cluster::access;
use crate::cluster::apply::{Applied, Applier, Ledger, Mode, Refused};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::error::ClusterError;
use crate::cluster::journal::{self, Journal, StoredJournal};
use crate::cluster::lease::Lease;
use crate::cluster::snapshot::{self, Look};
use crate::curl_pod::probe_pod::{Removal, random_word};
use crate::curl_pod::runner::PodOptions;
use crate::domain::mesh::Policies;
use crate::domain::plan::{self, Change, Direction, Plan, RuleAction, SwitchRequest};
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::istio::owners::{self, Class, Owner};
use crate::istio::render::Apis;
use crate::report::human::count;
use crate::report::plan as plan_report;
use crate::settings::{finding_settings, pod_options};
use crate::ui::confirm::{self, Confirmation};
use std::sync::Arc;
use task::{Manifests, Task};

/// Runs either command.
pub async fn run(context: &Context, args: &SwitchArgs, direction: Direction) -> error::Result<ExitStatus> {
    if args.dry_run == Some(DryRun::Client) {
        return super::offline::run(context, args, direction);
    }
    let needs = if direction == Direction::Enable { SandboxState::Permissive } else { SandboxState::Strict };
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
    generation: ApiVersions,
) -> error::Result<ExitStatus> {
    let wish = wish(args, direction);
    let task = if args.filename.is_empty() {
        Task::Switch(wish)
    } else {
        let apis = Apis { policy: generation.policy, rule: generation.rule };
        let read = manifests::read(&args.filename, args.recursive)?;
        Task::Given(Manifests::checked(read, wish, apis, &cluster.namespace)?)
    };
    Switch::new(context, args, cluster, generation, task).await?.story().await
}

/// `disable-mtls --restore`: puts back what was there before `run`, or before the first run that has a journal.
pub async fn restore(context: &Context, args: &SwitchArgs, run: Option<&str>) -> error::Result<ExitStatus> {
    if args.dry_run == Some(DryRun::Client) {
        return Err(UsageError {
            message: "--restore needs the journals, which are in the cluster".to_owned(),
            hint: Some("see what it would do with --diff or --dry-run=server".to_owned()),
        }
        .into());
    }
    let cluster = context.cluster(SandboxState::Strict).await?;
    let generation = context.read(discover::discover(&cluster)).await?;
    let kept = context.read(journal::list(&cluster)).await?;
    let kept = task::chosen(&cluster.namespace, kept, run)?.chosen;
    if kept.is_empty() {
        context.printer.say(&format!("nothing to restore: no journal in namespace {}", cluster.namespace));
        return Ok(ExitStatus::Success);
    }
    Switch::new(context, args, &cluster, generation, Task::Restore(kept)).await?.story().await
}

/// What the arguments ask for.
pub fn wish(args: &SwitchArgs, direction: Direction) -> SwitchRequest {
    let named: Vec<String> = args.services.iter().chain(&args.more_services).cloned().collect();
    SwitchRequest {
        services: (!named.is_empty()).then_some(named),
        destination_rules: args.destination_rules,
        scope: args.scope,
        policy: args.policy.clone(),
        force: args.force,
        force_conflicts: args.force_conflicts,
        ..SwitchRequest::new(direction)
    }
}

struct Switch<'a> {
    context: &'a Context,
    args: &'a SwitchArgs,
    cluster: &'a Cluster,
    generation: ApiVersions,
    applier: Applier<'a>,
    task: Task,
    look: Look,
    plan: Plan,
    /// The policies as a restore will leave them.
    after: Option<Policies>,
    options: PodOptions,
    /// Random name of this run.
    id: String,
    /// Held while something is written.
    lease: Option<Lease>,
    /// Journals of stories that have come to their end.
    history: Vec<StoredJournal>,
    /// What was there before, once it is written down.
    journal: Option<Journal>,
    /// The client in the mesh that calls for the whole run.
    control: control::Control,
    /// Pods that are being removed while the work goes on.
    removals: Vec<Removal>,
    not_in_force: Option<String>,
}

impl<'a> Switch<'a> {
    async fn new(
        context: &'a Context,
        args: &'a SwitchArgs,
        cluster: &'a Cluster,
        generation: ApiVersions,
        task: Task,
    ) -> error::Result<Self> {
        let look = context.read(snapshot::look(cluster, generation, &context.settings.mesh)).await?;
        let (plan, after) = task.plan(&look);
        let apis = Apis { policy: generation.policy, rule: generation.rule };
        let ledger = Arc::new(Ledger::default());
        Ok(Self {
            context,
            args,
            cluster,
            generation,
            applier: Applier { cluster, apis, force_conflicts: args.force_conflicts, ledger },
            task,
            look,
            plan,
            after,
            options: pod_options(&args.pod),
            id: random_word(5),
            lease: None,
            history: Vec::new(),
            journal: None,
            control: control::Control::default(),
            removals: Vec::new(),
            not_in_force: None,
        })
    }
}

impl Switch<'_> {
    async fn story(&mut self) -> error::Result<ExitStatus> {
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
        futures::try_join!(self.check_findings(), self.check_rights())?;
        if self.plan.has_writes() {
            match self.confirm()? {
                Confirmation::Yes => {}
                Confirmation::No => {
                    self.context.printer.say("nothing was changed");
                    return Ok(ExitStatus::Unexpected);
                }
                Confirmation::NoTerminal => return Err(self.needs_yes().into()),
            }
        }
        let outcome = self.work().await;
        let left_behind = self.removed().await;
        let released = self.release().await;
        Ok(outcome?.and(left_behind).and(released))
    }

    /// Everything that writes, and the proof.
    async fn work(&mut self) -> error::Result<ExitStatus> {
        if self.args.verify {
            sweep_abandoned(self.cluster).await;
        }
        if self.keeps() {
            self.acquire_lock().await?;
        }
        self.send_control();
        self.validate(&self.one_of_each_shape()).await?;
        let doors = self.open_front_doors().await?;
        let changed = self.change_and_note().await;
        if let Err(error) = changed {
            let error = self.ended_early(error).await;
            self.close_front_doors(doors).await;
            return Err(error);
        }
        self.results_of_ledger()?;
        self.proven(doors).await
    }

    /// The proof, and what was seen from in the mesh and from the front doors all along.
    async fn proven(&mut self, doors: Option<front_door::Asking>) -> error::Result<ExitStatus> {
        let proof = self.prove().await;
        let calls = self.account_for_calls().await;
        let doors = self.close_front_doors(doors).await;
        let is_proven = matches!(proof, Ok(ExitStatus::Success | ExitStatus::LeftBehind));
        if !is_proven || doors.is_broken || calls != ExitStatus::Success {
            self.not_proven(proof.is_err(), calls != ExitStatus::Success).await;
            return Ok(proof?.and(calls).and(doors.status).and(self.conclude().await));
        }
        let drained = self.drain().await?;
        Ok(proof?.and(doors.status).and(drained).and(self.conclude().await))
    }

    /// Whether STRICT is being turned on. What goes the other way, or puts back what was there, is not to be barred.
    fn is_enabling(&self) -> bool {
        self.plan.direction == Direction::Enable && !matches!(self.task, Task::Restore(_))
    }

    /// Whether the run holds the Lease and has to do with journals: where it writes anything.
    fn keeps(&self) -> bool {
        let is_restore = matches!(self.task, Task::Restore(_));
        is_restore || self.plan.has_writes() && !self.args.no_journal
    }

    /// Whether STRICT would break something. What was there before is put back, whatever it was.
    async fn check_findings(&self) -> error::Result<()> {
        if !self.plan.has_writes() || matches!(self.task, Task::Restore(_)) {
            return Ok(());
        }
        let view = (&self.look.snapshot, &self.plan);
        let settings = finding_settings(&self.args.findings);
        preflight::check(self.context, &settings, self.args.force, self.cluster, self.generation, view).await
    }

    /// Asks for the rights of the whole run before its first write.
    async fn check_rights(&self) -> error::Result<()> {
        let proof = self.args.verify.then_some(access::PROOF);
        let keeping = self.keeps().then_some(access::KEEPING);
        let needs: Vec<access::Need> = proof.into_iter().chain(keeping).collect();
        self.context.read(access::check(self.cluster, &needs)).await
    }

    /// Waits until every pod of this run is gone, and says which is not.
    async fn removed(&mut self) -> ExitStatus {
        if let Some(control) = self.control.run.take() {
            self.removals.extend(control.finish().await.removal);
        }
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
        self.context.warn_of_unread(mesh);
        for skipped in &self.plan.skipped {
            printer.say(&skipped.to_string());
        }
        for warning in &self.plan.warnings {
            printer.warn(&warning.to_string());
        }
    }

    /// What must stop the run before anything is asked or written.
    fn check(&self) -> error::Result<()> {
        if let Some(blocker) = self.plan.blockers.first() {
            let message = self.plan.blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(match blocker {
                plan::PlanBlocker::UnknownService { .. } | plan::PlanBlocker::UnknownPolicy { .. } => {
                    UsageError { message, hint: None }.into()
                }
                _ => Error::CheckFailed(message),
            });
        }
        for change in self.plan.changes() {
            if !change.changes_fields() {
                continue;
            }
            let Some(object) = self.look.find(change.kind(), change.name()) else { continue };
            let name = self.applier.name(&change);
            for manager in owners::managed_by(object) {
                self.context.printer.warn(&format!("{name} {manager}"));
            }
            let touched = owners::fields(object, &change);
            if let Some(conflict) = owners::conflict(object, &touched).filter(|_| !self.args.force_conflicts) {
                return Err(ClusterError { message: format!("{name}: {conflict}"), hint: None }.into());
            }
        }
        Ok(())
    }

    fn confirm(&self) -> error::Result<Confirmation> {
        let printer = self.context.printer;
        let will = if self.args.yes { "changes" } else { "would change" };
        printer.say(&format!("{will} in namespace {}:", self.cluster.namespace));
        let phases = self.plan.phases();
        for change in phases.iter().flat_map(|phase| &phase.changes).filter(|change| change.is_write()) {
            printer.say(&format!("  {}", plan_report::line(&self.applier.name(change), change)));
            for owner in self.user_owned_fields(change) {
                printer.say(&format!("    {} was set by {:?}", owner.field, owner.manager));
            }
        }
        if self.args.yes {
            return Ok(Confirmation::Yes);
        }
        Ok(confirm::ask("Go on?")?)
    }

    /// Fields of the change that a person set by kubectl or oc: shown, and covered by the confirmation.
    fn user_owned_fields(&self, change: &Change) -> Vec<Owner> {
        let Some(object) = self.look.find(change.kind(), change.name()) else { return Vec::new() };
        owners::owners(object, &owners::fields(object, change))
            .into_iter()
            .filter(|owner| owner.class == Class::Cli)
            .collect()
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
        self.plan.writes()
    }

    /// Each existing object that changes, and one new object of each shape: new rules differ in nothing but names.
    fn one_of_each_shape(&self) -> Vec<Change> {
        let mut new_rule = false;
        self.every_write()
            .into_iter()
            .filter(|change| match change {
                Change::Rule(rule) if matches!(rule.action, RuleAction::Create { .. }) => {
                    !std::mem::replace(&mut new_rule, true)
                }
                // A deletion names the object as it was read, so there is nothing to validate.
                change => !change.is_deletion(),
            })
            .collect()
    }

    async fn validate(&self, changes: &[Change]) -> error::Result<Vec<Applied>> {
        let work = self.applier.apply(&self.look, changes, Mode::DryRun, &*self.context.progress);
        let applied = self.context.shutdown.race(work).await?;
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
}
