//! The phases of a switch: rules and policy in the order that loses no call, watched by a probe that runs before the
//! first write.

use super::super::probe::conclusive;
use super::Switch;
use crate::cluster::apply::{Applied, Mode, Refused};
use crate::cluster::error::ClusterError;
use crate::cluster::probe_pod::{Failure, ProbePod, random_word, with_pod};
use crate::cluster::{snapshot, stream};
use crate::domain::plan::{self, Change, Direction, Phase, Target};
use crate::domain::verdict::Reason;
use crate::domain::wait::{self, Awaited, Tracker};
use crate::exit::{CouldNotTell, Interrupted};
use crate::report::human::count;
use std::time::Duration;

/// Endpoints that are watched while the policy comes into force; the proof asks all of them.
const WATCHED: usize = 100;

/// Why the phases ended before their end.
enum Stop {
    /// Plan again and go on.
    Stale(String),
    /// The error of a write.
    Error(ClusterError),
    /// The policy did not come into force in time.
    NotInForce(String),
}

impl Switch<'_> {
    /// All phases; an object that somebody else changed meanwhile makes us look and plan once more.
    pub(super) async fn change(&mut self) -> anyhow::Result<()> {
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
        let duration = self.args.wait_timeout + self.args.settle + Duration::from_mins(1);
        let request = self.prober().request(stream::arguments(&watched, duration, &marker), duration.as_secs());
        let services = self.look.snapshot.services.clone();
        self.context.progress.begin("starting the probe that watches the change", None);
        let (cluster, shutdown) = (self.cluster, &self.context.shutdown);
        let outcome = with_pod(cluster, &request, &services, shutdown, async |probe| {
            self.watched_phases(probe, &marker, &watched).await
        })
        .await;
        self.context.progress.end();
        self.removals.push(outcome.removal);
        match conclusive(outcome.result)? {
            Ok(result) => Ok(result),
            Err((reason, words)) => self.without_watcher(reason, &words).await,
        }
    }

    /// The watching pod did not come about: on the way in that stops the run, the way out stays open.
    async fn without_watcher(&mut self, reason: Reason, words: &str) -> anyhow::Result<Result<(), Stop>> {
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
                // The way out stays open: an application that never answers, or that is dead, must not bar it.
                if self.plan.direction == Direction::Enable {
                    return Ok(Err(Stop::NotInForce(words)));
                }
                self.not_in_force = Some(words);
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
}
