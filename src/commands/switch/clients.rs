//! Clients of the mesh: whether they have loaded new rules, and whether their old connections are gone.

use super::Switch;
use super::phases::Stop;
use crate::curl_pod::proxy::{self, WaitOutcome};
use crate::domain::client_config::{self, ExpectedClusters};
use crate::domain::evidence::Sources;
use crate::domain::mesh::DataPlane;
use crate::domain::plan::{Direction, ObjectKind, Phase};
use crate::exit::ExitStatus;
use crate::report::human::count;
use crate::signal::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// Sidecars that are asked: a control plane pushes to all of them in one wave.
const ASKED: usize = 8;

/// What the others get on top, which are not asked: as long again as the slowest took, and no less than this.
const MARGIN: Duration = Duration::from_millis(250);

/// Istio's `drainDuration`, where it was not set otherwise.
const DRAIN: Duration = Duration::from_secs(45);

impl Switch<'_> {
    /// The sidecars that can tell whether the rules of the plan are loaded.
    pub(super) fn clients(&self) -> Vec<(String, ExpectedClusters)> {
        if self.args.settle.is_zero() || self.options.sources == Sources::Network || !self.plan.rules_need_settling {
            return Vec::new();
        }
        client_config::clients(&self.look.snapshot, &self.plan, ASKED)
    }

    /// Gives the mesh its time after a phase whose effect is not seen from outside: until the clients' sidecars have
    /// loaded it where they can be asked, else `--settle`.
    pub(super) async fn settle(&self, phase: &Phase, clients: &[(String, ExpectedClusters)]) -> Result<(), Stop> {
        self.context.progress.begin("letting the mesh take the change over", None);
        let settled = self.settled(phase, clients).await;
        self.context.progress.end();
        self.context.printer.say(&settled?);
        Ok(())
    }

    async fn settled(&self, phase: &Phase, clients: &[(String, ExpectedClusters)]) -> Result<String, Stop> {
        let (settle, limit, begin) = (self.args.settle, self.args.wait_timeout, Instant::now());
        let waited = if phase.kind == ObjectKind::Rule && !clients.is_empty() {
            proxy::until_loaded(self.cluster, clients, limit).await
        } else {
            WaitOutcome::Unknown(String::new())
        };
        match waited {
            WaitOutcome::Done => {
                let took = begin.elapsed();
                tokio::time::sleep(took.clamp(MARGIN, settle.max(MARGIN))).await;
                Ok(format!("settled: loaded after {:.2} s by {}", took.as_secs_f64(), count(clients.len(), "sidecar")))
            }
            WaitOutcome::Late(pods) => {
                let (limit, pods) = (limit.as_secs(), pods.join(", "));
                let words = format!("the rules are not loaded after {limit} s by the sidecars of {pods}");
                // The servers come next on the way in: they would refuse these clients.
                if self.plan.direction == Direction::Enable { Err(Stop::NotLoaded(words)) } else { Ok(words) }
            }
            WaitOutcome::Unknown(why) => {
                tokio::time::sleep(settle).await;
                let why = if why.is_empty() { "" } else { ", because sidecars could not be asked" };
                Ok(format!("settled for {:.1} s{why}", settle.as_secs_f64()))
            }
        }
    }

    /// `--wait-drain`: until no sidecar serves connections from before the change any more. What a ztunnel keeps is
    /// named with what ends it.
    pub(super) async fn drain(&self) -> Result<ExitStatus, Signal> {
        if !self.args.wait_drain {
            return Ok(ExitStatus::Success);
        }
        let pods = |wanted: DataPlane| -> Vec<String> {
            let pods = self.look.snapshot.pods.values().filter(|pod| pod.data_plane == wanted && !pod.facts.finished);
            pods.map(|pod| pod.name.clone()).collect()
        };
        let (sidecars, ambient, printer) = (pods(DataPlane::Sidecar), pods(DataPlane::Ambient), self.context.printer);
        if !ambient.is_empty() {
            printer.warn(&format!(
                "a ztunnel keeps connections that were opened before without end; a restart of their pods ends them: \
                 kubectl delete pod -n {} {}",
                self.cluster.namespace,
                ambient.join(" ")
            ));
        }
        if sidecars.is_empty() {
            return Ok(ExitStatus::Success);
        }
        self.context.progress.begin("waiting until old connections are gone", None);
        let drained = self.context.shutdown.race(self.drained(&sidecars)).await;
        self.context.progress.end();
        drained
    }

    async fn drained(&self, sidecars: &[String]) -> ExitStatus {
        let (begin, limit, printer) = (Instant::now(), self.args.wait_timeout, self.context.printer);
        match proxy::until_drained(self.cluster, sidecars, limit).await {
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
            WaitOutcome::Unknown(why) => {
                tokio::time::sleep(DRAIN.saturating_sub(begin.elapsed())).await;
                let seconds = DRAIN.as_secs();
                printer
                    .warn(&format!("waited {seconds} s, Istio's default, because a sidecar could not be asked: {why}"));
                ExitStatus::Success
            }
        }
    }
}
