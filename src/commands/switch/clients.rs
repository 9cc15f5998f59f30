//! Waits for clients of the mesh during a switch: until their sidecars have loaded new rules, and until their old
//! connections have ended.

use super::SwitchRun;
use super::goal::Planned;
use crate::curl_pod::proxy::{self, WaitOutcome};
use crate::domain::client_config::{self, ExpectedClusters};
use crate::domain::evidence::Sources;
use crate::domain::mesh::DataPlane;
use crate::domain::plan::{ObjectKind, Phase};
use crate::exit::ExitStatus;
use crate::report::plural::count;
use crate::signal::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// Sidecars that are queried: a control plane pushes to all of them in one wave.
const QUERIED: usize = 8;

/// The least additional time for the sidecars that are not queried; they get as long as the slowest of the others took.
const MARGIN: Duration = Duration::from_millis(250);

/// Time after the drain time in which a sidecar ends the last connections and reports it.
const DRAIN_MARGIN: Duration = Duration::from_secs(10);

/// Whether the next phase may follow.
pub(super) enum Settled {
    /// The sidecars have loaded the rules, or the time for them has passed.
    Done,
    /// The sidecars have not loaded the rules in time, and the next phase would break their calls.
    NotLoaded(String),
}

/// The sidecars that can show whether the rules of the plan are loaded, with the clusters that they will have.
pub(super) fn expected(run: &SwitchRun<'_>, planned: &Planned) -> Vec<(String, ExpectedClusters)> {
    let settings = run.settings;
    let is_queried = !settings.settle.is_zero() && settings.pod.sources != Sources::Network;
    if !is_queried || !planned.plan.rules_need_settling {
        return Vec::new();
    }
    client_config::clients(&planned.state.snapshot, &planned.plan, QUERIED)
}

/// Waits after a phase whose effect cannot be seen from outside: until the sidecars of `clients` have loaded the rules, or
/// for `--settle` if they cannot be queried.
pub(super) async fn settle(
    run: &SwitchRun<'_>,
    planned: &Planned,
    phase: &Phase,
    clients: &[(String, ExpectedClusters)],
) -> Settled {
    run.context.progress.begin("waiting for sidecars to load the change", None);
    let waited = wait_until_loaded(run, phase, clients).await;
    run.context.progress.end();
    match waited {
        Loading::Late(message) if planned.plan.needs_loaded_rules() => Settled::NotLoaded(message),
        Loading::Done(message) | Loading::Late(message) => {
            run.context.printer.say(&message);
            Settled::Done
        }
    }
}

/// How a wait for sidecars ended, in a sentence.
enum Loading {
    Done(String),
    Late(String),
}

async fn wait_until_loaded(run: &SwitchRun<'_>, phase: &Phase, clients: &[(String, ExpectedClusters)]) -> Loading {
    let (settle, limit, begin) = (run.settings.settle, run.settings.wait_timeout, Instant::now());
    let waited = if phase.kind == ObjectKind::Rule && !clients.is_empty() {
        proxy::until_loaded(run.cluster, clients, limit).await
    } else {
        WaitOutcome::Unknown(String::new())
    };
    match waited {
        WaitOutcome::Done => {
            let took = begin.elapsed();
            tokio::time::sleep(took.clamp(MARGIN, settle.max(MARGIN))).await;
            let (took, sidecars) = (took.as_secs_f64(), count(clients.len(), "sidecar"));
            Loading::Done(format!("✓ rules loaded after {took:.2} s by {sidecars}"))
        }
        WaitOutcome::Late(pods) => {
            let (limit, pods) = (limit.as_secs(), pods.join(", "));
            Loading::Late(format!("the rules are not loaded after {limit} s by the sidecars of {pods}"))
        }
        WaitOutcome::Unknown(reason) => {
            tokio::time::sleep(settle).await;
            let reason = if reason.is_empty() { "" } else { ", because sidecars could not be asked" };
            Loading::Done(format!("✓ settled for {:.1} s{reason}", settle.as_secs_f64()))
        }
    }
}

/// `--wait-drain`: waits until no sidecar serves connections from before the change, or from before an earlier one if this run
/// changes nothing. Those that a ztunnel keeps end only with a restart, and are named whatever the option.
pub(super) async fn drain(run: &SwitchRun<'_>, planned: &Planned, has_changed: bool) -> Result<ExitStatus, Signal> {
    if !run.settings.wait_drain {
        return Ok(ExitStatus::Success);
    }
    let pods = planned.state.snapshot.pods.values();
    let pods = pods.filter(|pod| pod.data_plane == DataPlane::Sidecar && !pod.facts.finished);
    let sidecars: Vec<String> = pods.map(|pod| pod.name.clone()).collect();
    if sidecars.is_empty() {
        return Ok(ExitStatus::Success);
    }
    let snapshot = &planned.state.snapshot;
    let longest = sidecars.iter().filter_map(|name| Some(snapshot.drain_time(snapshot.pods.get(name)?))).max();
    let longest = longest.unwrap_or_default();
    run.context.progress.begin("waiting for old connections to close", None);
    let drained = run.context.shutdown.race(wait_until_drained(run, &sidecars, longest, has_changed)).await;
    run.context.progress.end();
    drained
}

async fn wait_until_drained(
    run: &SwitchRun<'_>,
    sidecars: &[String],
    longest: Duration,
    has_changed: bool,
) -> ExitStatus {
    let (begin, printer) = (Instant::now(), run.context.printer);
    // A pod may drain for longer than a policy takes to come into force.
    let limit = run.settings.wait_timeout.max(longest + DRAIN_MARGIN);
    match proxy::until_drained(run.cluster, sidecars, limit).await {
        WaitOutcome::Done => {
            let (took, sidecars) = (begin.elapsed().as_secs_f64(), count(sidecars.len(), "sidecar"));
            printer.say(&format!("drained after {took:.0} s: {sidecars} keep no connection from before"));
            ExitStatus::Success
        }
        WaitOutcome::Late(pods) => {
            let (limit, pods) = (limit.as_secs(), pods.join(", "));
            printer.warn(&format!("after {limit} s connections from before are still served at: {pods}"));
            ExitStatus::Inconclusive
        }
        WaitOutcome::Unknown(reason) if !has_changed => {
            printer.warn(&format!(
                "a sidecar could not be asked for connections from before an earlier change, which may still be open: {reason}"
            ));
            ExitStatus::Success
        }
        WaitOutcome::Unknown(reason) => {
            tokio::time::sleep(longest.saturating_sub(begin.elapsed())).await;
            let seconds = longest.as_secs();
            printer.warn(&format!(
                "waited {seconds} s, the longest drain time of these pods, because a sidecar could not be asked: {reason}"
            ));
            ExitStatus::Success
        }
    }
}
