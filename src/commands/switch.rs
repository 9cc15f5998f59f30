//! `enable-mtls` and `disable-mtls`: look, plan, ask, apply in the order that loses no call, wait, prove.

use super::Context;
use super::probe::{Question, conclusive, render, sweep_abandoned};
use crate::cli::switch::{DryRun, RulesChoice, ScopeChoice, SwitchArgs};
use crate::cli::values::OutputFormat;
use crate::cluster::apply::{Applied, Applier, Ledger, Mode, Refused};
use crate::cluster::ask::{PodOptions, Prober};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, Generation};
use crate::cluster::error::ClusterError;
use crate::cluster::probe_pod::{Failure, ProbePod, random_word, with_pod};
use crate::cluster::snapshot::{self, Look};
use crate::cluster::{access, stream};
use crate::domain::mesh::Snapshot;
use crate::domain::plan::{self, Action, Change, Direction, Phase, Plan, RuleChoice, Scope, Target, Wish};
use crate::domain::probe::{self, Case};
use crate::domain::wait::{self, Awaited, Tracker};
use crate::exit::{CouldNotTell, ExitStatus, Interrupted, Stopped, UsageError};
use crate::istio::owners;
use crate::istio::render::Apis;
use crate::report::human::{Style, count};
use crate::report::plan as plan_report;
use crate::sandbox::State;
use crate::settings::pod_options;
use crate::ui::confirm::{self, Answer};
use std::sync::Arc;
use std::time::Duration;

/// Endpoints that are watched while the policy comes into force; the proof asks all of them.
const WATCHED: usize = 100;

/// Runs either command.
pub async fn run(context: &Context, args: &SwitchArgs, direction: Direction) -> anyhow::Result<ExitStatus> {
    if args.dry_run == Some(DryRun::Client) {
        return super::offline::run(context, args, direction);
    }
    let needs = if direction == Direction::Enable { State::Permissive } else { State::Strict };
    let cluster = context.cluster(needs).await?;
    let generation = discover::discover(&cluster).await?;
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
    let look = snapshot::look(cluster, generation, &context.settings.mesh).await?;
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
        left_behind: Vec::new(),
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

/// Why the phases ended before their end.
enum Stop {
    /// Plan again and go on.
    Stale(String),
    /// The error of a write.
    Error(ClusterError),
    /// The policy did not come into force in time.
    NotInForce(String),
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
    left_behind: Vec<String>,
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
        self.applier.ledger.settled().await;
        if let Err(error) = changed {
            self.account();
            self.context.report_left_behind(&self.left_behind);
            return Err(error);
        }
        self.results_of_ledger()?;
        self.prove().await
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
        }
        if self.args.yes {
            return Ok(Answer::Yes);
        }
        Ok(confirm::ask("Go on?")?)
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

    /// All phases; an object that somebody else changed meanwhile makes us look and plan once more.
    async fn change(&mut self) -> anyhow::Result<()> {
        for last_try in [false, true] {
            let stop = match self.phases().await? {
                Ok(()) => return Ok(()),
                Err(stop) => stop,
            };
            match stop {
                Stop::Stale(words) if last_try => {
                    let message = format!("somebody else keeps changing the same objects: {words}");
                    return Err(ClusterError::new(message, "find out who, and run the command again").into());
                }
                Stop::Stale(words) => {
                    self.context.printer.say(&format!("looking again: {words}"));
                    self.look = snapshot::look(self.cluster, self.generation, &self.context.settings.mesh).await?;
                    self.plan = plan::plan(&self.look.snapshot, &self.wish);
                    self.check()?;
                }
                Stop::Error(error) => return Err(error.into()),
                Stop::NotInForce(words) => {
                    self.not_in_force = Some(words);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn phases(&mut self) -> anyhow::Result<Result<(), Stop>> {
        let watched = self.watched();
        if !self.args.verify || !self.plan.has_writes() || watched.is_empty() {
            if self.args.verify && self.plan.has_writes() {
                self.context.printer.say("no endpoint shows the policy's effect: it cannot be waited for");
            }
            return self.unwatched().await;
        }
        let marker = random_word(16);
        let duration = self.args.wait_timeout + self.args.settle + Duration::from_secs(60);
        let request = self.prober().request(stream::arguments(&watched, duration, &marker), duration.as_secs());
        let services = self.look.snapshot.services.clone();
        self.context.progress.begin("starting the probe that watches the change", None);
        let (cluster, shutdown) = (self.cluster, &self.context.shutdown);
        let outcome = with_pod(cluster, &request, &services, shutdown, async |probe| {
            self.watched_phases(probe, &marker, &watched).await
        })
        .await;
        self.context.progress.end();
        self.left_behind.extend(outcome.left_behind);
        match conclusive(outcome.result)? {
            Ok(result) => Ok(result),
            Err(failure) => self.without_watcher(&failure).await,
        }
    }

    /// The watching pod did not come about: on the way in that stops the run, the way out stays open.
    async fn without_watcher(&mut self, failure: &Failure) -> anyhow::Result<Result<(), Stop>> {
        let Failure::Pod(reason, words) = failure else { return Ok(Ok(())) };
        let what = format!("the probe that watches the change failed: {reason}: {words} ({})", reason.remedy());
        let nothing_written = self.applier.ledger.written().is_empty();
        if self.plan.direction == Direction::Enable && nothing_written {
            return Err(
                CouldNotTell(format!("{what}; nothing was written (--verify=false applies without proof)")).into()
            );
        }
        self.context.printer.warn(&what);
        if nothing_written { self.unwatched().await } else { Ok(Err(Stop::NotInForce(what))) }
    }

    async fn unwatched(&mut self) -> anyhow::Result<Result<(), Stop>> {
        for phase in self.plan.phases() {
            if let Err(stop) = self.write(&phase).await? {
                return Ok(Err(stop));
            }
            let writes = phase.changes.iter().any(Change::is_write);
            // Without a watcher a policy, too, only gets its time.
            if self.args.verify && writes && (phase.needs_settle || phase.target == Target::Policy) {
                self.context.shutdown.race(tokio::time::sleep(self.args.settle)).await.map_err(Interrupted)?;
            }
        }
        Ok(Ok(()))
    }

    /// Writes one phase and takes the server's objects over, for their resource versions.
    async fn write(&mut self, phase: &Phase) -> anyhow::Result<Result<(), Stop>> {
        let work = self.applier.apply(&self.look, &phase.changes, Mode::Write, &*self.context.progress);
        let applied = self.context.shutdown.race(work).await.map_err(Interrupted)?;
        Ok(self.take_over(applied))
    }

    fn take_over(&mut self, applied: Vec<Applied>) -> Result<(), Stop> {
        let mut stop = Ok(());
        for one in applied {
            match one.result {
                Ok(object) => self.look.put(one.change.target, object),
                Err(Refused::Error(error)) => stop = Err(Stop::Error(error)),
                Err(Refused::Stale(words)) => {
                    if stop.is_ok() {
                        stop = Err(Stop::Stale(words));
                    }
                }
            }
        }
        stop
    }

    /// The endpoints at which the policy's change can be seen.
    fn watched(&self) -> Vec<(String, u16)> {
        let Some(change) = self.plan.policy.as_ref().filter(|change| change.is_write()) else { return Vec::new() };
        let mode = self.plan.direction.mode();
        let mut after = self.look.snapshot.clone();
        after.policies = wait::policies_after(&after.policies, change, mode);
        match self.cases(&after) {
            Ok(cases) => wait::endpoints(&cases, Awaited::from(mode), WATCHED),
            Err(_) => Vec::new(),
        }
    }

    async fn watched_phases(
        &mut self,
        probe: &ProbePod,
        marker: &str,
        watched: &[(String, u16)],
    ) -> Result<Result<(), Stop>, Failure> {
        let mut stream = stream::open(probe, marker).await?;
        let mut tracker = Tracker::new(Awaited::from(self.plan.direction.mode()), watched.len());
        // Before anything is written the stream must show every endpoint.
        stream.until(&mut tracker, Duration::from_secs(10), |tracker, _| tracker.warmed_up()).await?;
        let phases = self.plan.phases();
        for (index, phase) in phases.iter().enumerate() {
            // Rules get their time so that the next phase finds clients that follow them; the last one has no next.
            let is_last = index + 1 == phases.len();
            let applied = {
                let work = self.applier.apply(&self.look, &phase.changes, Mode::Write, &*self.context.progress);
                stream.during(&mut tracker, work).await
            };
            let wrote = !applied.is_empty();
            if let Err(stop) = self.take_over(applied) {
                return Ok(Err(stop));
            }
            if phase.target == Target::Rule {
                if wrote && phase.needs_settle && !is_last {
                    self.context.progress.begin("letting the clients take the rules over", None);
                    stream.during(&mut tracker, tokio::time::sleep(self.args.settle)).await;
                    self.context.printer.say(&format!("settled for {:.1} s", self.args.settle.as_secs_f64()));
                }
                continue;
            }
            let goal =
                phase.changes.iter().filter_map(|change| change.mode).all(|mode| mode == self.plan.direction.mode());
            if wrote
                && goal
                && let Err(words) = self.wait(&mut stream, &mut tracker, watched).await?
            {
                return Ok(Err(Stop::NotInForce(words)));
            }
        }
        Ok(Ok(()))
    }

    async fn wait<R: futures::AsyncBufRead + Unpin>(
        &self,
        stream: &mut stream::Stream<R>,
        tracker: &mut Tracker,
        watched: &[(String, u16)],
    ) -> Result<Result<(), String>, Failure> {
        self.context.progress.begin("waiting until the policy is in force", None);
        tracker.restart();
        let waited = stream.until(tracker, self.args.wait_timeout, Tracker::in_force).await?;
        self.context.progress.end();
        let lagging: Vec<String> = tracker
            .lagging()
            .into_iter()
            .filter_map(|index| watched.get(index))
            .map(|(ip, port)| format!("{ip}:{port}"))
            .collect();
        if waited.is_none() {
            let limit = self.args.wait_timeout.as_secs();
            return Ok(Err(format!("the policy is not in force after {limit} s at {}", lagging.join(", "))));
        }
        let there = watched.len() - lagging.len();
        let seconds = tracker.since().as_secs_f64();
        self.context.printer.say(&format!("in force after {seconds:.2} s at {}", count(there, "endpoint")));
        if !lagging.is_empty() {
            self.context.printer.warn(&format!("unmoved, as a dead application is: {}", lagging.join(", ")));
        }
        Ok(Ok(()))
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
        let look = snapshot::look(self.cluster, self.generation, &self.context.settings.mesh).await?;
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
        let left = left.and(self.context.report_left_behind(&self.left_behind));
        let text = render(&report, None, Style::default())?;
        // Where objects were asked for on stdout, the proof is talk.
        if self.args.output.is_some() {
            self.context.printer.say(text.trim_end());
        } else {
            self.context.printer.result(&text)?;
        }
        let verdict = report.exit_status();
        if verdict == ExitStatus::Success {
            self.context.printer.say(&plan_report::closing(expected, cases.len()));
        }
        Ok(status.and(verdict).and(left))
    }

    /// What was done before the run ended early.
    fn account(&self) {
        let written = self.applier.ledger.written();
        let planned = self.every_write().len();
        if written.is_empty() {
            self.context.printer.say("nothing was written");
            return;
        }
        for (name, word) in &written {
            self.context.printer.say(&format!("{name} {word}"));
        }
        let other = if self.plan.direction == Direction::Enable { "disable-mtls" } else { "enable-mtls" };
        self.context.printer.warn(&format!(
            "ended early: {} of {} made; the same command goes on from here, {other} goes back",
            written.len(),
            count(planned, "change"),
        ));
    }

    /// kubectl's lines for a real run: what was written, and what needed no write.
    fn results_of_ledger(&self) -> anyhow::Result<()> {
        let format = self.args.output;
        if matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)) {
            let objects = self.plan.changes().filter_map(|change| crate::cluster::apply::find(&self.look, change));
            let objects: Vec<_> = objects.cloned().collect();
            return Ok(self
                .context
                .printer
                .result(&plan_report::objects(&objects, format == Some(OutputFormat::Json))?)?);
        }
        let written = self.applier.ledger.written();
        let mut text = String::new();
        for phase in self.plan.phases() {
            for change in &phase.changes {
                let name = self.applier.name(change);
                let word = written.iter().rev().find(|(known, _)| *known == name).map(|(_, word)| *word);
                // After a second look the plan may have nothing left to do for what the first one did.
                let word = word.or((!change.is_write()).then_some("unchanged"));
                if let Some(word) = word {
                    text.push_str(&plan_report::result_line(&name, word, "", format == Some(OutputFormat::Name)));
                }
            }
        }
        Ok(self.context.printer.result(&text)?)
    }

    /// The same for a dry run.
    fn results(&self, applied: &[Applied], suffix: &str) -> anyhow::Result<()> {
        let format = self.args.output;
        if matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)) {
            let objects: Vec<_> = applied.iter().filter_map(|one| one.result.clone().ok()).collect();
            return Ok(self
                .context
                .printer
                .result(&plan_report::objects(&objects, format == Some(OutputFormat::Json))?)?);
        }
        let mut text = String::new();
        for phase in self.plan.phases() {
            for change in &phase.changes {
                let name = self.applier.name(change);
                let only_name = format == Some(OutputFormat::Name);
                text.push_str(&plan_report::result_line(&name, change.action.word(), suffix, only_name));
            }
        }
        Ok(self.context.printer.result(&text)?)
    }
}
