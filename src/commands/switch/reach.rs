//! Checks before the first write that the probe reaches what the proof will request. Where it does not, as under a default
//! deny of NetworkPolicies, a switch could be neither watched nor proven.

use super::super::preflight;
use super::SwitchRun;
use super::goal::Planned;
use crate::cluster::network_policies::network_policies;
use crate::curl_pod::pod_state::{PROBE, REACH};
use crate::curl_pod::probe_pod::{Curl, Failure, ProbePod, Removal, random_word, with_pod};
use crate::curl_pod::reach;
use crate::domain::findings::{Code, probe_blocked};
use crate::domain::mesh::Snapshot;
use crate::domain::network_policy::{self, Isolation, NetworkPolicy, OUR_PODS};
use crate::domain::probe::Case;
use crate::domain::reachability::{self, Barrier, Destination, DestinationKind, Reachability};
use crate::istio::network_policy::{Admission, DNS_PORTS, manifest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time for a destination to be reached before a switch to STRICT.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same before STRICT is turned off, which may be urgent.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Time of the pod that has only this check.
const SECONDS: u64 = 90;

/// Whether the run may write.
pub(super) enum Reach {
    /// Everything is reached, or the run does not stop for what is not.
    Done,
    /// The run must stop, with this message.
    Blocked(String),
}

/// The check of a run: what it requests, and from which container.
pub(super) struct ReachCheck {
    cases: Vec<Case>,
    reach: Reachability,
    container: &'static str,
    marker: String,
}

impl ReachCheck {
    /// For what the proof would request now. `None` where nothing is to be checked: the user ignores the finding, nothing
    /// has an endpoint, or the run has written already.
    fn new(run: &SwitchRun<'_>, planned: &Planned, is_untouched: bool, container: &'static str) -> Option<Self> {
        let is_ignored = run.settings.findings.ignored.contains(&Code::ProbeBlocked);
        // Unknown Services are errors of the plan.
        let cases = planned.cases(&planned.state.snapshot).ok().filter(|_| is_untouched && !is_ignored)?;
        let reach = Reachability::new(&cases);
        let is_needed = !reach.destinations().is_empty();
        is_needed.then(|| Self { cases, reach, container, marker: random_word(16) })
    }

    /// For a container beside that of the probe that watches the change.
    pub(super) fn beside_watch(run: &SwitchRun<'_>, planned: &Planned, is_untouched: bool) -> Option<Self> {
        Self::new(run, planned, is_untouched, REACH)
    }

    /// The curl that sends the requests.
    pub(super) fn curl(&self) -> Curl {
        reach::curl(self.container, &self.reach, &self.marker)
    }

    /// Waits for the requests, and reports what they do not reach.
    pub(super) async fn run(
        mut self,
        run: &SwitchRun<'_>,
        planned: &Planned,
        probe: &ProbePod,
    ) -> Result<Reach, Failure> {
        let patience = if run.is_enabling() { PATIENCE } else { SHORT_PATIENCE };
        match reach::observe(probe, self.container, &self.marker, &mut self.reach, patience).await {
            Ok(()) => {}
            // What is known so far counts.
            Err(Failure::Pod(reason, message)) => {
                run.context.printer.warn(&format!("what the probe reaches is not checked: {reason}: {message}"));
            }
            Err(failure) => return Err(failure),
        }
        if !self.reach.has_blocked() {
            return Ok(Reach::Done);
        }
        self.report(run, planned).await
    }

    async fn report(&self, run: &SwitchRun<'_>, planned: &Planned) -> Result<Reach, Failure> {
        let blocked: Vec<(&Destination, Barrier)> = self.reach.blocked().collect();
        let policies = network_policies(run.cluster).await?;
        let isolation = policies.as_deref().map(|policies| isolation(run, &planned.state.snapshot, policies, &blocked));
        let findings = probe_blocked(&blocked, self.reach.destinations().len(), isolation.as_ref(), run.is_enabling());
        preflight::print(run.context, &findings);
        if let Some(rules) = self.rules(run, planned, policies, isolation) {
            run.context.printer.say("a NetworkPolicy that admits the probe and the client in the mesh:");
            rules.lines().for_each(|line| run.context.printer.say(line));
        }
        let codes = preflight::stopping(&findings);
        if codes.is_empty() || run.settings.force {
            return Ok(Reach::Done);
        }
        let message = format!("the change could not be proven ({}); nothing was written", codes.join(", "));
        Ok(Reach::Blocked(message))
    }

    /// The NetworkPolicies that are missing, as YAML. `None` where no NetworkPolicy is known to isolate anything: one that
    /// is added would be the first, and would deny everybody else.
    fn rules(
        &self,
        run: &SwitchRun<'_>,
        planned: &Planned,
        policies: Option<Vec<(NetworkPolicy, Value)>>,
        isolation: Option<Isolation>,
    ) -> Option<String> {
        let isolation = isolation?;
        let selectors: BTreeMap<String, Value> =
            policies?.into_iter().map(|(policy, pods)| (policy.name, pods)).collect();
        let mesh = &planned.state.snapshot.mesh;
        let admission = Admission {
            namespace: &run.cluster.namespace,
            probe_namespace: None,
            has_mesh_client: true,
            istio_namespace: &mesh.istio_namespace,
            targets: isolation.ingress.iter().filter_map(|name| selectors.get(name).cloned()).collect(),
            has_egress: isolation.egress.is_some(),
            ports: reachability::target_ports(&self.cases),
            addresses: reachability::addresses_without_pod(self.reach.destinations()),
            dns_ports: if run.api_versions.openshift { &DNS_PORTS[1..] } else { &DNS_PORTS[..1] },
        };
        let has_rules = !admission.targets.is_empty() || admission.has_egress;
        manifest(&admission).ok().filter(|_| has_rules)
    }
}

/// Checks with a pod of its own, where no endpoint shows the change and no probe watches it. The pod of the mesh client
/// starts at the same time.
pub(super) async fn check_alone(
    run: &SwitchRun<'_>,
    planned: &Planned,
    is_untouched: bool,
    removals: &mut Vec<Removal>,
) -> Result<Reach, Failure> {
    let check = ReachCheck::new(run, planned, is_untouched && run.is_enabling(), PROBE);
    let Some(check) = check else { return Ok(Reach::Done) };
    let request = run.probe_runner().pod_request(vec![check.curl()], SECONDS);
    let services = planned.state.snapshot.services.clone();
    run.context.progress.begin("checking what the probe reaches", None);
    let outcome = with_pod(run.cluster, &request, &services, &run.context.shutdown, async |probe| {
        check.run(run, planned, probe).await
    })
    .await;
    run.context.progress.end();
    removals.push(outcome.removal);
    match outcome.result {
        // The proof reports a pod that cannot start.
        Err(Failure::Pod(..)) => Ok(Reach::Done),
        result => result,
    }
}

/// The policies that isolate the pods that are not reached, or the probe.
fn isolation(
    run: &SwitchRun<'_>,
    snapshot: &Snapshot,
    policies: &[(NetworkPolicy, Value)],
    blocked: &[(&Destination, Barrier)],
) -> Isolation {
    let policies: Vec<NetworkPolicy> = policies.iter().map(|(policy, _)| policy.clone()).collect();
    let names: BTreeSet<&str> = blocked.iter().filter_map(|(destination, _)| pod_of(destination)).collect();
    let pods = names.into_iter().filter_map(|name| snapshot.pods.get(name)).map(|pod| &pod.labels);
    let (key, value) = OUR_PODS;
    let mut probe = run.settings.pod.placement.labels.clone();
    probe.extend([
        (key.to_owned(), value.to_owned()),
        ("app.kubernetes.io/name".to_owned(), "secure-traffic-probe".to_owned()),
        ("sidecar.istio.io/inject".to_owned(), "false".to_owned()),
        ("istio.io/dataplane-mode".to_owned(), "none".to_owned()),
    ]);
    network_policy::isolation(&policies, pods, &probe)
}

fn pod_of(destination: &Destination) -> Option<&str> {
    match &destination.kind {
        DestinationKind::Endpoint(pod) => pod.as_deref(),
        DestinationKind::Service(_) => None,
    }
}
