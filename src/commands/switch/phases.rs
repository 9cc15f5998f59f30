//! The phases of a switch: rules and policy in the order that loses no call, watched by a probe that runs before the
//! first write.

use super::super::probe_run::pod_failure;
use super::Switch;
use crate::cluster::apply::{Applied, Mode, Refused};
use crate::cluster::error::ClusterError;
use crate::curl_pod::probe_pod::{Curl, Failure, ProbePod, random_word, with_pod};
use crate::curl_pod::stream;
use crate::domain::enforcement::{self, ExpectedAnswer, Tracker};
use crate::domain::plan::{self, Direction, ObjectKind, Phase};
use crate::domain::reason::Reason;
use crate::error::{self, Error};
use crate::report::human::count;
use serde_json::Value;
use std::time::Duration;

/// Endpoints that are watched while the policy comes into force; the proof asks all of them.
const WATCHED: usize = 100;

/// Why the phases ended before their end.
pub(super) enum Stop {
    /// Plan again and go on.
    Stale(String),
    /// The error of a write.
    Error(ClusterError),
    /// The policy did not come into force in time.
    NotInForce(String),
    /// Clients have not loaded the rules in time, so that the policy would cut them off.
    NotLoaded(String),
}

impl Switch<'_> {
    /// All phases; an object that somebody else changed meanwhile makes us look and plan once more.
    pub(super) async fn change(&mut self) -> error::Result<()> {
        for last_try in [false, true] {
            self.note().await?;
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
                    // What was written already is nothing to wait for in the next plan, but may be on its way still.
                    if self.args.verify && !self.applier.ledger.written().is_empty() {
                        self.context.shutdown.race(tokio::time::sleep(self.args.settle)).await?;
                    }
                    self.look_again(&words).await?;
                }
                Stop::NotLoaded(words) => return Err(Error::Inconclusive(words)),
                Stop::Error(error) => return Err(error.into()),
                Stop::NotInForce(words) => {
                    self.not_in_force = Some(words);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn phases(&mut self) -> error::Result<Result<(), Stop>> {
        let watched = self.watched();
        if !self.args.verify || !self.plan.has_writes() || watched.is_empty() {
            if self.args.verify && self.plan.has_writes() {
                self.context.printer.say("no endpoint shows the policy's effect: it cannot be waited for");
            }
            return self.unwatched().await;
        }
        let marker = random_word(16);
        // The rules and the policy may each take their time, and so may the control before them.
        let duration =
            self.args.wait_timeout * 2 + self.args.settle + self.options.start_timeout + Duration::from_mins(1);
        let arguments = stream::arguments(&watched, stream::Pace::BRISK, duration, &marker);
        let request = self.probe_runner().pod_request(vec![Curl::endless(arguments)], duration.as_secs());
        let services = self.look.snapshot.services.clone();
        self.context.progress.begin("starting the probe that watches the change", None);
        let (cluster, shutdown) = (self.cluster, &self.context.shutdown);
        let outcome = with_pod(cluster, &request, &services, shutdown, async |probe| {
            self.watched_phases(probe, &marker, &watched).await
        })
        .await;
        self.context.progress.end();
        self.removals.push(outcome.removal);
        match outcome.result {
            Ok(result) => Ok(result),
            Err(failure) => {
                let (reason, words) = pod_failure(failure)?;
                self.without_watcher(reason, &words).await
            }
        }
    }

    /// The watching pod did not come about: on the way in that stops the run, the way out stays open.
    async fn without_watcher(&mut self, reason: Reason, words: &str) -> error::Result<Result<(), Stop>> {
        let what = format!("the probe that watches the change failed: {reason}: {words} ({})", reason.remedy());
        let nothing_written = self.applier.ledger.written().is_empty();
        if self.plan.direction == Direction::Enable && nothing_written {
            return Err(Error::Inconclusive(format!(
                "{what}; nothing was written (--verify=false applies without proof)"
            )));
        }
        if !nothing_written {
            return Ok(Err(Stop::NotInForce(what)));
        }
        self.context.printer.warn(&what);
        self.unwatched().await
    }

    async fn unwatched(&mut self) -> error::Result<Result<(), Stop>> {
        self.control_begins().await?;
        let clients = self.clients();
        for phase in self.plan.phases() {
            if let Err(stop) = self.write(&phase).await? {
                return Ok(Err(stop));
            }
            let writes = phase.has_writes();
            // Without a watcher a policy, too, only gets its time.
            if self.args.verify && writes && (phase.needs_settle || phase.kind == ObjectKind::Policy) {
                let settled = self.context.shutdown.race(self.settle(&phase, &clients)).await;
                if let Err(stop) = settled? {
                    return Ok(Err(stop));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Writes one phase and takes the server's objects over, for their resource versions.
    async fn write(&mut self, phase: &Phase) -> error::Result<Result<(), Stop>> {
        self.still_ours()?;
        let work = self.applier.apply(&self.look, &phase.changes, Mode::Write, &*self.context.progress);
        let applied = self.context.shutdown.race(work).await?;
        Ok(self.take_over(applied))
    }

    fn take_over(&mut self, applied: Vec<Applied>) -> Result<(), Stop> {
        let mut stop = Ok(());
        for one in applied {
            match self.accept(one) {
                Ok(()) => {}
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

    /// Takes the server's object over, for its resource version.
    pub(super) fn accept(&mut self, applied: Applied) -> Result<(), Refused> {
        match applied.result? {
            Value::Null => self.look.remove(applied.change.kind(), applied.change.name()),
            object => self.look.put(applied.change.kind(), object),
        }
        Ok(())
    }

    /// The endpoints at which the policy's change can be seen.
    fn watched(&self) -> Vec<(String, u16)> {
        let Some(change) = self.plan.policy.as_ref().filter(|change| change.is_write()) else { return Vec::new() };
        let mode = self.plan.direction.mode();
        let mut after = self.look.snapshot.clone();
        after.policies = match &self.after {
            Some(policies) => policies.clone(),
            None => plan::policies_after(&after.policies, change, mode),
        };
        match self.cases(&after) {
            Ok(cases) => enforcement::endpoints(&cases, ExpectedAnswer::from(mode), WATCHED),
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
        let mut tracker = Tracker::new(ExpectedAnswer::from(self.plan.direction.mode()), watched.len());
        // Before anything is written the stream must show every endpoint.
        stream.until(&mut tracker, Duration::from_secs(10), |tracker, _| tracker.warmed_up()).await?;
        stream.during(&mut tracker, self.control_begins()).await.map_err(Failure::Interrupted)?;
        let awaited = ExpectedAnswer::from(self.plan.direction.mode());
        let mut is_there = false;
        let (phases, clients) = (self.plan.phases(), self.clients());
        for (index, phase) in phases.iter().enumerate() {
            if let Err(error) = self.still_ours() {
                return Ok(Err(Stop::Error(error)));
            }
            let applied = {
                let work = self.applier.apply(&self.look, &phase.changes, Mode::Write, &*self.context.progress);
                stream.during(&mut tracker, work).await
            };
            let wrote = !applied.is_empty();
            if let Err(stop) = self.take_over(applied) {
                return Ok(Err(stop));
            }
            let mode = phase.changes.iter().find_map(plan::Change::mode);
            // Of a policy that passes PERMISSIVE one step shows outside: the one that makes plaintext come or go.
            let shows = !is_there && mode.is_some_and(|mode| ExpectedAnswer::from(mode) == awaited);
            is_there |= shows;
            if wrote && shows {
                if let Err(words) = self.wait(&mut stream, &mut tracker, watched).await? {
                    // The way out stays open: an application that never answers, or that is dead, must not bar it.
                    if self.plan.direction == Direction::Enable {
                        return Ok(Err(Stop::NotInForce(words)));
                    }
                    self.not_in_force = Some(words);
                }
                continue;
            }
            // What does not show gets its time, so that the next phase finds a mesh that follows it.
            let is_last = index + 1 == phases.len();
            if wrote
                && !is_last
                && (phase.needs_settle || phase.kind == ObjectKind::Policy)
                && let Err(stop) = stream.during(&mut tracker, self.settle(phase, &clients)).await
            {
                return Ok(Err(stop));
            }
        }
        Ok(Ok(()))
    }

    async fn wait(
        &self,
        stream: &mut stream::Stream,
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
        let there = count(watched.len() - lagging.len(), "endpoint");
        let words = if tracker.has_moved() {
            format!("in force after {:.2} s at {there}", tracker.since().as_secs_f64())
        } else {
            format!("in force at {there}, where nothing had to change")
        };
        self.context.printer.say(&words);
        if !lagging.is_empty() {
            self.context.printer.warn(&format!("unmoved, as a dead application is: {}", lagging.join(", ")));
        }
        Ok(Ok(()))
    }
}
