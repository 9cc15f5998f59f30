//! The phases of a plan: rules and policy in the order that loses no call, watched by a probe that runs before the first
//! write.

use super::clients::{self, Settled};
use super::goal::Planned;
use super::parts::Parts;
use super::reach::{self, Reach, ReachCheck};
use super::{SwitchRun, checks};
use crate::cluster::apply::{Applied, WriteError};
use crate::cluster::error::ClusterError;
use crate::cluster::snapshot::{self, ClusterState};
use crate::curl_pod::probe_pod::{Curl, Failure, ProbePod, random_word, with_pod};
use crate::curl_pod::proxy::{self, SidecarPort};
use crate::curl_pod::stream::{self, Stream};
use crate::domain::client_config::ExpectedClusters;
use crate::domain::enforcement::{self, ExpectedAnswer, Tracker, WatchedEndpoint};
use crate::domain::evidence::Sources;
use crate::domain::mesh::{Snapshot, socket_address};
use crate::domain::plan::{self, Change, Direction, ObjectKind, Phase, PolicyChange};
use crate::domain::reason::Reason;
use crate::error::{self, Error};
use crate::report::plural::count;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;

/// Endpoints that are watched until they enforce the policy; the proof tests all of them.
const WATCHED: usize = 100;

/// Pause before the sidecars are asked, and between two times: samples usually show a change sooner.
const LOADED_POLL: Duration = Duration::from_secs(1);

/// Pause before the endpoints are read again where the samples of some show nothing any more.
const ENDPOINTS_POLL: Duration = Duration::from_secs(2);

/// Sidecars that are asked where all samples are as expected.
const FEW_SIDECARS: usize = 8;

/// How the phases of one plan ended.
enum PhaseEnd {
    /// Every change is made.
    Done,
    /// The changes are made, and the policy is not in force in time.
    NotInForce(String),
    /// Sidecars of clients have not loaded the rules in time, so the policy would break their calls.
    NotLoaded(String),
    /// Nothing is written, because the probe does not reach what it would have to prove.
    Blocked(String),
    /// An object changed since it was read: the rest has to be planned again.
    Replan {
        reason: String,
        /// Why the policy, where it is written already, is not in force.
        not_in_force: Option<String>,
    },
}

/// The result of all phases of a run.
pub(super) enum Written {
    /// Every change is made, and nothing shows that it is not in force.
    Done,
    /// The policy is not in force in time, for this reason.
    NotInForce(String),
}

/// Writes the journal and every phase, plans once more where an object changed meanwhile, and checks that no in-mesh
/// call is lost.
pub(super) async fn write_all(
    run: &SwitchRun<'_>,
    planned: &mut Planned,
    parts: &mut Parts<'_>,
) -> error::Result<Written> {
    let written = match write_plan(run, planned, parts).await? {
        PhaseEnd::Done => Written::Done,
        PhaseEnd::NotInForce(reason) => Written::NotInForce(reason),
        PhaseEnd::NotLoaded(message) => return Err(Error::Inconclusive(message)),
        PhaseEnd::Blocked(message) => return Err(Error::CheckFailed(message)),
        PhaseEnd::Replan { reason, not_in_force } => {
            // The proxies may not have received the earlier writes yet.
            if run.settings.verify && !parts.writer.ledger().written().is_empty() {
                let settle = tokio::time::sleep(run.settings.settle);
                run.context.shutdown.race(settle).await?;
            }
            let is_untouched = parts.writer.ledger().written().is_empty();
            checks::replan(run, planned, &reason, is_untouched).await?;
            match write_plan(run, planned, parts).await? {
                PhaseEnd::Done => not_in_force.map_or(Written::Done, Written::NotInForce),
                PhaseEnd::NotInForce(reason) => Written::NotInForce(reason),
                PhaseEnd::NotLoaded(message) => return Err(Error::Inconclusive(message)),
                PhaseEnd::Blocked(message) => return Err(Error::CheckFailed(message)),
                PhaseEnd::Replan { reason, .. } => {
                    let message = format!("somebody else keeps changing the same objects: {reason}");
                    return Err(ClusterError::new(message, "find out who, and run the command again").into());
                }
            }
        }
    };
    parts.calls.check(run).await?;
    Ok(written)
}

/// Writes the journal for one plan, then its phases.
async fn write_plan(run: &SwitchRun<'_>, planned: &mut Planned, parts: &mut Parts<'_>) -> error::Result<PhaseEnd> {
    parts.journal.write_journal(run, planned).await?;
    let watched = watched_endpoints(planned);
    let is_verified = run.settings.verify && planned.plan.has_writes();
    if is_verified && !watched.is_empty() {
        return write_watched(run, planned, parts, &watched).await;
    }
    if is_verified {
        run.context.printer.say("no endpoint shows the policy's effect: it cannot be waited for");
        let is_untouched = parts.writer.ledger().written().is_empty();
        match reach::check_alone(run, planned, is_untouched, &mut parts.removals).await {
            Ok(Reach::Done) | Err(Failure::Pod(..)) => {}
            Ok(Reach::Blocked(message)) => return Ok(PhaseEnd::Blocked(message)),
            Err(Failure::Cluster(error)) => return Err(error.into()),
            Err(Failure::Interrupted(signal)) => return Err(Error::Interrupted(signal)),
        }
    }
    write_unwatched(run, planned, parts).await
}

/// Writes the phases while a probe pod tests the endpoints that show the policy's effect.
async fn write_watched(
    run: &SwitchRun<'_>,
    planned: &mut Planned,
    parts: &mut Parts<'_>,
    watched: &[WatchedEndpoint],
) -> error::Result<PhaseEnd> {
    let marker = random_word(16);
    let settings = run.settings;
    // The rules and the policy may each need the whole limit, and so may the monitor before them.
    let duration = settings.wait_timeout * 2
        + settings.settle
        + settings.pod.start_timeout
        + Duration::from_mins(1)
        + run.wait_for_writer();
    let addresses: Vec<(String, u16)> =
        watched.iter().map(|endpoint| (endpoint.address.clone(), endpoint.port)).collect();
    let arguments = stream::arguments(&addresses, stream::Pace::BRISK, duration, &marker);
    let check = ReachCheck::beside_watch(run, planned, parts.writer.ledger().written().is_empty());
    let curls = [Curl::endless(arguments)].into_iter().chain(check.iter().map(ReachCheck::curl)).collect();
    let request = run.probe_runner().pod_request(curls, duration.as_secs());
    let services = planned.state.snapshot.services.clone();
    run.context.progress.begin("starting the probe that watches the change", None);
    let outcome = with_pod(run.cluster, &request, &services, &run.context.shutdown, async |probe| {
        let (watch, reach) = EnforcementWatch::start_checked(run, probe, &marker, planned, watched, check).await?;
        match reach {
            Reach::Done => watch.write_phases(run, planned, parts).await,
            Reach::Blocked(message) => Ok(PhaseEnd::Blocked(message)),
        }
    })
    .await;
    run.context.progress.end();
    parts.removals.push(outcome.removal);
    match outcome.result {
        Ok(end) => Ok(end),
        Err(Failure::Pod(reason, message)) => write_after_lost_watch(run, planned, parts, reason, &message).await,
        Err(Failure::Cluster(error)) => Err(error.into()),
        Err(Failure::Interrupted(signal)) => Err(Error::Interrupted(signal)),
    }
}

/// The watching pod failed. That stops `enable-mtls` before its first write; it does not block `disable-mtls`.
async fn write_after_lost_watch(
    run: &SwitchRun<'_>,
    planned: &mut Planned,
    parts: &mut Parts<'_>,
    reason: Reason,
    message: &str,
) -> error::Result<PhaseEnd> {
    let failure = format!("the probe that watches the change failed: {reason}: {message} ({})", reason.remedy());
    if !parts.writer.ledger().written().is_empty() {
        return Ok(PhaseEnd::NotInForce(failure));
    }
    if planned.plan.direction == Direction::Enable {
        let message = format!("{failure}; nothing was written (--verify=false applies without proof)");
        return Err(Error::Inconclusive(message));
    }
    run.context.printer.warn(&failure);
    write_unwatched(run, planned, parts).await
}

/// Writes the phases without a watch: each gets time to take effect.
async fn write_unwatched(run: &SwitchRun<'_>, planned: &mut Planned, parts: &mut Parts<'_>) -> error::Result<PhaseEnd> {
    parts.calls.begin(run).await?;
    let clients = clients::expected(run, planned);
    for phase in planned.plan.phases() {
        parts.writer.check_lock()?;
        let work = parts.make(run, &planned.state, &planned.plan, &phase);
        let applied = run.context.shutdown.race(work).await?;
        match absorb_results(&mut planned.state, applied) {
            Ok(()) => {}
            Err(WriteError::Stale(reason)) => return Ok(PhaseEnd::Replan { reason, not_in_force: None }),
            Err(WriteError::Error(error)) => return Err(error.into()),
        }
        let has_writes = phase.has_writes();
        // Without a watch, a policy gets time as well.
        if run.settings.verify && has_writes && needs_time(&phase) {
            let settled = run.context.shutdown.race(clients::settle(run, planned, &phase, &clients)).await;
            if let Settled::NotLoaded(message) = settled? {
                return Ok(PhaseEnd::NotLoaded(message));
            }
        }
    }
    Ok(PhaseEnd::Done)
}

/// Whether the mesh needs time after a phase, before the next one.
fn needs_time(phase: &Phase) -> bool {
    phase.needs_settle || phase.kind == ObjectKind::Policy
}

/// Puts the server's objects into the state, for their resource versions. Of several errors, one of the API counts more
/// than an object that changed.
fn absorb_results(state: &mut ClusterState, applied: Vec<Applied>) -> Result<(), WriteError> {
    let mut result = Ok(());
    for one in applied {
        match update_state(state, one) {
            Err(WriteError::Stale(_)) if result.is_err() => {}
            Err(error) => result = Err(error),
            Ok(()) => {}
        }
    }
    result
}

/// Puts the object of one answer into the state, or takes a deleted object out.
pub(super) fn update_state(state: &mut ClusterState, applied: Applied) -> Result<(), WriteError> {
    match applied.result? {
        Value::Null => state.remove(applied.change.kind(), applied.change.name()),
        object => state.put(applied.change.kind(), object),
    }
    Ok(())
}

/// The namespace as the plan's changes of policies leave it; `None` where no policy is written.
pub(super) fn snapshot_after(planned: &Planned) -> Option<Snapshot> {
    if !planned.plan.policies().any(PolicyChange::is_write) {
        return None;
    }
    let mut after = planned.state.snapshot.clone();
    after.policies = match &planned.restored_policies {
        Some(policies) => policies.clone(),
        None => plan::policies_after(&after.policies, &planned.plan),
    };
    Some(after)
}

/// The endpoints at which the policy's change can be seen from outside the mesh.
fn watched_endpoints(planned: &Planned) -> Vec<WatchedEndpoint> {
    match snapshot_after(planned).map(|after| planned.cases(&after)) {
        Some(Ok(cases)) => enforcement::endpoints(&cases, ExpectedAnswer::from(planned.plan.direction.mode()), WATCHED),
        Some(Err(_)) | None => Vec::new(),
    }
}

/// The probe that shows when endpoints enforce the policy.
struct EnforcementWatch<'a> {
    stream: Stream,
    tracker: Tracker,
    /// The endpoints, in the order of the tracker.
    endpoints: &'a [WatchedEndpoint],
    /// What the endpoints answer once the policy is in force.
    expected: ExpectedAnswer,
}

impl<'a> EnforcementWatch<'a> {
    /// Waits until the pod's samples show every endpoint.
    async fn start(
        probe: &ProbePod,
        marker: &str,
        planned: &Planned,
        endpoints: &'a [WatchedEndpoint],
    ) -> Result<Self, Failure> {
        let expected = ExpectedAnswer::from(planned.plan.direction.mode());
        let mut stream = stream::open(probe, marker).await?;
        let mut tracker = Tracker::new(expected, endpoints);
        let limit = Duration::from_secs(10);
        stream.until(&mut tracker, Instant::now(), limit, |tracker, _| tracker.warmed_up()).await?;
        Ok(Self { stream, tracker, endpoints, expected })
    }

    /// The same, and at the same time the check what the probe reaches.
    async fn start_checked(
        run: &SwitchRun<'_>,
        probe: &ProbePod,
        marker: &str,
        planned: &Planned,
        endpoints: &'a [WatchedEndpoint],
        check: Option<ReachCheck>,
    ) -> Result<(Self, Reach), Failure> {
        let start = Self::start(probe, marker, planned, endpoints);
        let Some(check) = check else { return Ok((start.await?, Reach::Done)) };
        let (mut start, mut check) = (std::pin::pin!(start), std::pin::pin!(check.run(run, planned, probe)));
        let mut reach = None;
        let mut watch = loop {
            tokio::select! {
                watch = &mut start => break watch?,
                checked = &mut check, if reach.is_none() => reach = Some(checked?),
            }
        };
        let reach = match reach {
            Some(reach) => reach,
            None => watch.stream.during(&mut watch.tracker, Instant::now(), check).await?,
        };
        Ok((watch, reach))
    }

    async fn write_phases(
        mut self,
        run: &SwitchRun<'_>,
        planned: &mut Planned,
        parts: &mut Parts<'_>,
    ) -> Result<PhaseEnd, Failure> {
        let begun = self.stream.during(&mut self.tracker, Instant::now(), parts.calls.begin(run)).await;
        begun.map_err(Failure::Interrupted)?;
        let (phases, clients) = (planned.plan.phases(), clients::expected(run, planned));
        let shown = phases.iter().position(|phase| self.is_shown(phase));
        let mut not_in_force = None;
        for (index, phase) in phases.iter().enumerate() {
            parts.writer.check_lock().map_err(Failure::Cluster)?;
            let work = parts.make(run, &planned.state, &planned.plan, phase);
            let applied = self.stream.during(&mut self.tracker, Instant::now(), work).await;
            let has_written = !applied.is_empty();
            match absorb_results(&mut planned.state, applied) {
                Ok(()) => {}
                Err(WriteError::Stale(reason)) => return Ok(PhaseEnd::Replan { reason, not_in_force }),
                Err(WriteError::Error(error)) => return Err(Failure::Cluster(error)),
            }
            if !has_written {
                continue;
            }
            if shown == Some(index) {
                not_in_force = self.wait(run).await?;
                // An application that never answers must not block disable-mtls.
                if not_in_force.is_some() && planned.plan.direction == Direction::Enable {
                    break;
                }
            } else if index + 1 < phases.len()
                && let ControlFlow::Break(end) = self.settle(run, planned, phase, &clients).await
            {
                return Ok(end);
            }
        }
        Ok(not_in_force.map_or(PhaseEnd::Done, PhaseEnd::NotInForce))
    }

    /// Whether the phase has an effect that can be seen from outside: plaintext is refused from then on, or accepted. If a
    /// policy changes in two steps, through PERMISSIVE, only one of them has such an effect.
    fn is_shown(&self, phase: &Phase) -> bool {
        let mode = phase.changes.iter().find_map(Change::mode);
        mode.is_some_and(|mode| ExpectedAnswer::from(mode) == self.expected)
    }

    /// Waits after a phase whose effect cannot be seen from outside, so that the mesh follows it before the next phase.
    async fn settle(
        &mut self,
        run: &SwitchRun<'_>,
        planned: &Planned,
        phase: &Phase,
        clients: &[(String, ExpectedClusters)],
    ) -> ControlFlow<PhaseEnd> {
        if !needs_time(phase) {
            return ControlFlow::Continue(());
        }
        let settled = clients::settle(run, planned, phase, clients);
        match self.stream.during(&mut self.tracker, Instant::now(), settled).await {
            Settled::Done => ControlFlow::Continue(()),
            Settled::NotLoaded(message) => ControlFlow::Break(PhaseEnd::NotLoaded(message)),
        }
    }

    /// Waits until every endpoint follows the policy. Returns a text that names the endpoints that do not in time. If the
    /// samples of an endpoint show nothing, what its sidecar has loaded decides.
    async fn wait(&mut self, run: &SwitchRun<'_>) -> Result<Option<String>, Failure> {
        run.context.progress.begin("waiting until the policy is in force", None);
        self.tracker.restart();
        let in_force = self.wait_for_all(run).await?;
        run.context.progress.end();
        let tracker = &self.tracker;
        let lagging = self.names(&tracker.lagging());
        if !in_force {
            let limit = run.settings.wait_timeout.as_secs();
            return Ok(Some(if tracker.has_moved() || self.expected == ExpectedAnswer::Refused {
                format!("the policy is not in force after {limit} s at {lagging}")
            } else {
                format!(
                    "nothing shows after {limit} s that the policy is in force at {lagging}: connections are reset as \
                     before, and no sidecar reports that it has loaded the change"
                )
            }));
        }
        let printer = run.context.printer;
        let seconds = tracker.has_moved().then(|| tracker.since().as_secs_f64());
        run.context.reports.set_in_force(&run.cluster.namespace, seconds, tracker.followed());
        let followed = count(tracker.followed(), "endpoint");
        if tracker.followed() == 0 && lagging.is_empty() {
            printer.say("every endpoint that was watched is replaced by another, which the proof covers");
        } else if tracker.has_moved() {
            printer.say(&format!("✓ policy in force after {:.2} s at {followed}", tracker.since().as_secs_f64()));
        } else if tracker.confirmed_only().is_empty() && !run.is_observing() {
            printer.say(&format!("✓ policy already in force at {followed}"));
        } else {
            printer.say(&format!("✓ policy in force at {followed}"));
        }
        let confirmed = tracker.confirmed_only();
        if !confirmed.is_empty() {
            printer.say(&format!(
                "in force, as the sidecar reports (the application does not answer): {}",
                self.names(&confirmed)
            ));
        }
        if !lagging.is_empty() {
            printer.warn(&format!(
                "the application does not answer, so it is not shown whether the policy is in force: {lagging}"
            ));
        }
        Ok(None)
    }

    /// Follows the samples, and asks the sidecars of endpoints whose samples show nothing. `false` after the time limit.
    async fn wait_for_all(&mut self, run: &SwitchRun<'_>) -> Result<bool, Failure> {
        let (start, limit) = (Instant::now(), run.settings.wait_timeout);
        let mut next_read = start + ENDPOINTS_POLL;
        loop {
            let left = limit.saturating_sub(start.elapsed()).min(LOADED_POLL);
            let satisfied = self.stream.until(&mut self.tracker, start, left, Tracker::in_force).await?;
            if satisfied && self.tracker.has_moved() {
                return Ok(true);
            }
            let asked = self.ask_sidecars(run, start, satisfied).await;
            // Where the sidecars report nothing, the samples decide.
            if !asked.is_contradicted && (satisfied || self.tracker.in_force(start.elapsed())) {
                return Ok(true);
            }
            if start.elapsed() >= limit {
                return Ok(false);
            }
            if Instant::now() >= next_read {
                self.leave_out_replaced(run, start).await;
                next_read = Instant::now() + ENDPOINTS_POLL;
            }
        }
    }

    /// Leaves out endpoints that show nothing any more because their pods were replaced, as in a roll-out. The proof covers
    /// the new ones.
    async fn leave_out_replaced(&mut self, run: &SwitchRun<'_>, start: Instant) {
        let silent = self.tracker.silent();
        if silent.is_empty() {
            return;
        }
        let state = snapshot::read(run.cluster, run.api_versions, &run.context.settings.mesh);
        // Where it cannot be read, the time limit ends the wait.
        let Ok(state) = self.stream.during(&mut self.tracker, start, state).await else { return };
        let endpoints = state.snapshot.services.iter().flat_map(|service| &service.endpoints);
        let present: BTreeSet<&str> =
            endpoints.filter(|endpoint| !endpoint.terminating).map(|endpoint| endpoint.address.as_str()).collect();
        for index in silent {
            if self.endpoints.get(index).is_some_and(|endpoint| !present.contains(endpoint.address.as_str())) {
                self.tracker.leave_out(index);
            }
        }
    }

    /// Asks the sidecars of the endpoints whose samples show nothing, and adds their reports to the tracker.
    async fn ask_sidecars(&mut self, run: &SwitchRun<'_>, start: Instant, satisfied: bool) -> SidecarReports {
        if run.settings.pod.sources == Sources::Network {
            return SidecarReports { is_contradicted: false };
        }
        // Where all samples are as expected, a few sidecars show whether that is the change or was so before.
        let most = if satisfied { FEW_SIDECARS } else { WATCHED };
        let (indices, ports): (Vec<usize>, Vec<SidecarPort<'_>>) = self
            .tracker
            .not_shown()
            .into_iter()
            .filter_map(|index| {
                let endpoint = self.endpoints.get(index)?;
                let WatchedEndpoint { address, port, sidecar_pod, .. } = endpoint;
                Some((index, SidecarPort { pod: sidecar_pod.as_deref()?, address, port: *port }))
            })
            .take(most)
            .unzip();
        let reports = self.stream.during(&mut self.tracker, start, proxy::reports(run.cluster, &ports)).await;
        let mut is_contradicted = false;
        for (index, report) in indices.into_iter().zip(reports) {
            match report.and_then(|report| enforcement::is_loaded(self.expected, &report)) {
                Some(true) => self.tracker.confirm(index, start.elapsed()),
                Some(false) => is_contradicted = true,
                None => {}
            }
        }
        SidecarReports { is_contradicted }
    }

    /// The addresses of these endpoints, separated by commas.
    fn names(&self, indices: &[usize]) -> String {
        let endpoints = indices.iter().filter_map(|index| self.endpoints.get(*index));
        let names: Vec<String> = endpoints.map(|endpoint| socket_address(&endpoint.address, endpoint.port)).collect();
        names.join(", ")
    }
}

/// What the sidecars of endpoints report whose samples show nothing.
struct SidecarReports {
    /// Whether one has not loaded the change.
    is_contradicted: bool,
}
