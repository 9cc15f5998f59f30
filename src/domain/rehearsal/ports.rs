//! Which ports of a namespace STRICT would close, from the namespace as it is and as `enable-mtls` would leave it.

use crate::domain::ambient::{self, Plaintext};
use crate::domain::effective::PolicyIndex;
use crate::domain::inbound::InboundPath;
use crate::domain::mesh::{EndpointTarget, MtlsMode, Pod, Snapshot};
use crate::domain::overview::workload;
use crate::domain::plan::{self, SwitchRequest};
use crate::domain::probe::{self, Case, EndpointCase, Target, TargetError};
use crate::domain::rule::{DestinationRule, covers};

/// A port of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodPort {
    /// Name of the pod.
    pub pod: String,
    /// Target port.
    pub port: u16,
}

/// What STRICT does to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prospect {
    /// It refuses plaintext that is accepted now.
    Closes,
    /// It refuses nothing that is accepted now; the reason.
    Unchanged(String),
    /// Its callers cannot be observed; the reason.
    Unobservable(String),
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RehearsedPort {
    /// The port, with the ready endpoints that STRICT would close.
    pub case: Case,
    pub prospect: Prospect,
}

impl RehearsedPort {
    /// `boards:8080`.
    pub fn name(&self) -> String {
        self.case.name()
    }

    /// The endpoints that STRICT would close.
    pub fn endpoints(&self) -> impl Iterator<Item = PodPort> {
        let endpoints = self.case.endpoints.iter();
        endpoints.filter_map(|endpoint| Some(PodPort { pod: endpoint.pod.clone()?, port: endpoint.port }))
    }

    /// The pods among these endpoints whose calls a ztunnel takes.
    pub(super) fn ztunnel_pods(&self) -> impl Iterator<Item = &String> {
        let of_ztunnel = self.case.endpoints.iter().filter(|endpoint| endpoint.path == InboundPath::Ztunnel);
        of_ztunnel.filter_map(|endpoint| endpoint.pod.as_ref())
    }

    /// Takes over a later state of the same port.
    pub(super) fn update(&mut self, later: Self) {
        use Prospect::{Closes, Unchanged};
        let has_changed = matches!((&self.prospect, &later.prospect), (Closes, Unchanged(_)) | (Unchanged(_), Closes));
        *self = later;
        if has_changed {
            self.prospect = Prospect::Unobservable("the policies changed during the rehearsal".to_owned());
        }
    }
}

/// A namespace as it is, and as `enable-mtls` would leave it.
#[derive(Debug, Clone)]
pub struct StrictPreview {
    before: Snapshot,
    after: Snapshot,
}

impl StrictPreview {
    /// Plans STRICT for a namespace as requested. The error says why that is not possible.
    pub fn new(snapshot: Snapshot, request: &SwitchRequest) -> Result<Self, String> {
        let plan = plan::plan(&snapshot, &SwitchRequest { force: true, ..request.clone() });
        if plan.policy.is_none() {
            return Err(plan.blockers.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        }
        Ok(Self { after: plan::after(&snapshot, &plan), before: snapshot })
    }

    /// The namespace as it is.
    pub fn snapshot(&self) -> &Snapshot {
        &self.before
    }

    /// The TCP ports of these Services, or of all. `rules` are those of all namespaces that could be read.
    pub fn ports(&self, services: &[String], rules: &[DestinationRule]) -> Result<Vec<RehearsedPort>, TargetError> {
        let targets: Vec<Target> = services.iter().map(|service| Target::service(service)).collect();
        let (now, _) = probe::cases(&self.before, &targets)?;
        let (strict, _) = probe::cases(&self.after, &targets)?;
        let policies = [&self.before, &self.after].map(|snapshot| PolicyIndex::new(&snapshot.policies));
        let cases = now.into_iter().zip(strict);
        Ok(cases.map(|(now, strict)| self.port(now, &strict, rules, &policies)).collect())
    }

    fn port(
        &self,
        now: Case,
        strict: &Case,
        rules: &[DestinationRule],
        policies: &[PolicyIndex<'_>; 2],
    ) -> RehearsedPort {
        let prospects: Vec<Prospect> = now
            .endpoints
            .iter()
            .zip(&strict.endpoints)
            .map(|(now, strict)| self.endpoint_prospect(now, strict, policies))
            .collect();
        let unobservable = prospects.iter().find(|prospect| matches!(prospect, Prospect::Unobservable(_)));
        let prospect = match unobservable.or_else(|| prospects.iter().find(|one| **one == Prospect::Closes)) {
            Some(Prospect::Closes) => {
                self.reason_unobservable(&now, rules).map_or(Prospect::Closes, Prospect::Unobservable)
            }
            Some(prospect) => prospect.clone(),
            None => match prospects.first() {
                Some(prospect) => prospect.clone(),
                None => Prospect::Unobservable("no endpoint is ready".to_owned()),
            },
        };
        let endpoints = now.endpoints.iter().zip(&prospects).filter(|(_, prospect)| **prospect == Prospect::Closes);
        let endpoints = endpoints.map(|(endpoint, _)| endpoint.clone()).collect();
        RehearsedPort { case: Case { endpoints, ..now }, prospect }
    }

    /// Why the logs do not tell the callers of a port.
    fn reason_unobservable(&self, case: &Case, rules: &[DestinationRule]) -> Option<String> {
        let domain = &self.before.mesh.cluster_domain;
        // A ztunnel logs the identity itself.
        let has_sidecar = case.endpoints.iter().any(|endpoint| endpoint.path == InboundPath::Sidecar);
        let rules = if has_sidecar { rules } else { &[] };
        // The name in the log is the rule's then, as it is for TLS of an application.
        let rule = rules
            .iter()
            .find(|rule| rule.details.server_name && covers(&rule.resolved_host(domain), &case.host))
            .map(|rule| format!("destinationrule {}/{} sets `sni`", rule.namespace, rule.name));
        let service = self.before.service(&case.service);
        let is_machine = |target: &EndpointTarget| matches!(target, EndpointTarget::WorkloadEntry(_));
        let has_machine =
            service.is_some_and(|service| self.before.live_endpoints(service).any(|found| is_machine(&found.target)));
        rule.or_else(|| has_machine.then(|| "the log of its WorkloadEntry is not in the cluster".to_owned()))
    }

    /// The name of a port of a pod that no Service leads to, `deployment/boards:9090`, if STRICT would close it.
    pub fn port_without_service(&self, endpoint: &PodPort) -> Option<String> {
        let Some(pod) = self.before.pods.get(&endpoint.pod) else {
            return Some(format!("pod/{}:{}", endpoint.pod, endpoint.port));
        };
        let address = pod.addresses.first().map_or("", String::as_str);
        let policies = [&self.before, &self.after].map(|snapshot| PolicyIndex::new(&snapshot.policies));
        let closes = match pod.inbound_path(address, Some(endpoint.port)) {
            InboundPath::Sidecar => {
                let [now, strict] = policies.map(|policies| policies.mode(pod, endpoint.port).mode);
                now != Some(MtlsMode::Strict) && strict == Some(MtlsMode::Strict)
            }
            InboundPath::Ztunnel => ambient_prospect(policies.each_ref(), pod, endpoint.port) == Prospect::Closes,
            _ => false,
        };
        closes.then(|| format!("{}:{}", workload(pod), endpoint.port))
    }

    fn endpoint_prospect(
        &self,
        now: &EndpointCase,
        strict: &EndpointCase,
        policies: &[PolicyIndex<'_>; 2],
    ) -> Prospect {
        let pod = now.pod.as_ref().and_then(|name| self.before.pods.get(name));
        match (now.path, now.mode.mode, strict.mode.mode) {
            (InboundPath::Pending, ..) => Prospect::Unobservable("a pod is not yet enrolled in the mesh".to_owned()),
            (InboundPath::Sidecar, Some(MtlsMode::Strict), _) => Prospect::Unchanged("STRICT already".to_owned()),
            (InboundPath::Ztunnel, ..) => match pod {
                Some(pod) => ambient_prospect(policies.each_ref(), pod, now.port),
                None => Prospect::Unobservable("an endpoint has no pod".to_owned()),
            },
            (InboundPath::Sidecar, _, Some(MtlsMode::Strict)) => Prospect::Closes,
            (InboundPath::Sidecar, _, None) => Prospect::Unobservable("its mode is not known".to_owned()),
            (InboundPath::Sidecar, _, Some(mode)) => Prospect::Unchanged(format!("its mode stays {mode}")),
            (path, ..) => Prospect::Unchanged(format!("no policy applies: {path}")),
        }
    }
}

/// What the policies before and after do to a port that a ztunnel takes, which reads them in its own way (AM-1..AM-5).
fn ambient_prospect([now, strict]: [&PolicyIndex<'_>; 2], pod: &Pod, port: u16) -> Prospect {
    match (ambient::plaintext(now, pod, port), ambient::plaintext(strict, pod, port)) {
        (Plaintext::Undetermined, _) | (_, Plaintext::Undetermined) => {
            Prospect::Unobservable("two policies of one age leave its mode to chance".to_owned())
        }
        (Plaintext::Denied, _) => Prospect::Unchanged("STRICT already".to_owned()),
        (_, Plaintext::Denied) => Prospect::Closes,
        (_, Plaintext::FailsOpen) => {
            Prospect::Unchanged("ztunnel would let plaintext in all the same (`ambient-fail-open`)".to_owned())
        }
        (_, Plaintext::Allowed) => Prospect::Unchanged(format!("its mode stays {}", MtlsMode::Permissive)),
    }
}
