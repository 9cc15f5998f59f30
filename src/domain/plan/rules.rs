//! Plans what clients send: changes of the `DestinationRules` that set `ISTIO_MUTUAL` for the namespace's Services.

use super::{
    Direction, Plan, PlanBlocker, RuleAction, RuleChange, RuleChoice, RuleScope, SkipReason, Skipped, SwitchRequest,
    TlsEdit, TlsPlace, Warning,
};
use crate::domain::effective::{Effective, Level, server_mode};
use crate::domain::mesh::{
    Endpoint, EndpointTarget, MtlsMode, Pod, Protocol, Service, ServiceKind, ServicePort, Snapshot,
};
use crate::domain::rule::{ClientTls, DestinationRule, RuleIndex, Serving, covers};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Name of the one rule of `RuleScope::Namespace`.
const NAMESPACE_RULE: &str = "secure-traffic";

/// Places of `tls` blocks, with the mode that each has now.
type Places = BTreeSet<(TlsPlace, Option<ClientTls>)>;

pub(super) fn plan(snapshot: &Snapshot, request: &SwitchRequest, plan: &mut Plan) {
    let services = requested_services(snapshot, request, plan);
    match request.direction {
        Direction::Enable => Enable::new(snapshot, request, plan).run(&services),
        Direction::Disable { mode } => disable(snapshot, request, &services, mode, plan),
    }
    plan.rules.sort_by(|left, right| left.name.cmp(&right.name));
    plan.skipped.sort();
}

/// The Services that the request names, by name; an unknown name is a blocker.
fn requested_services<'a>(snapshot: &'a Snapshot, request: &SwitchRequest, plan: &mut Plan) -> Vec<&'a Service> {
    let mut services: Vec<&Service> = snapshot.services.iter().collect();
    services.sort_by(|left, right| left.name.cmp(&right.name));
    let Some(names) = &request.services else { return services };
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let existing: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    for name in names.iter().filter(|name| existing.binary_search_by(|other| other.as_str().cmp(name)).is_err()) {
        plan.blockers.push(PlanBlocker::UnknownService { name: (*name).to_owned(), existing: existing.clone() });
    }
    services.retain(|service| names.contains(service.name.as_str()));
    services
}

/// RE-5: why a Service must not get a rule; `--force` lifts only `OutsideMesh`.
fn exclusion(snapshot: &Snapshot, service: &Service) -> Option<SkipReason> {
    if snapshot.namespace == "default" && service.name == "kubernetes" {
        return Some(SkipReason::ApiServer);
    }
    if service.kind == ServiceKind::ExternalName {
        return Some(SkipReason::ExternalName);
    }
    if service.selector.is_empty() {
        return Some(SkipReason::NoSelector);
    }
    let named = |is_concerned: &dyn Fn(&Pod) -> bool| -> Vec<String> {
        let concerned = snapshot.live_endpoints(service).filter(|endpoint| {
            // An address that is no workload is outside the mesh too.
            snapshot.workload_of(endpoint).map_or_else(|| is_concerned(&Pod::default()), is_concerned)
        });
        let mut names: Vec<String> = concerned.map(endpoint_name).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let outside = named(&|workload| !workload.data_plane.is_meshed());
    if !outside.is_empty() {
        return Some(SkipReason::OutsideMesh(outside));
    }
    let gateways = named(&|workload| workload.facts.gateway);
    if !gateways.is_empty() {
        return Some(SkipReason::Gateway(gateways));
    }
    // An explicit ISTIO_MUTUAL holds for every endpoint to come; auto mTLS looks at each once it is there (DR-19, DR-22).
    let future = snapshot.future_pods_outside(service);
    if !future.is_empty() {
        return Some(SkipReason::FutureOutsideMesh(future.into_iter().map(str::to_owned).collect()));
    }
    if snapshot.live_endpoints(service).all(|endpoint| !endpoint.ready) {
        return Some(SkipReason::NoReadyEndpoint);
    }
    let ports: Vec<PortTake> = tcp_ports(service).map(|port| port_take(snapshot, service, port)).collect();
    if !ports.is_empty() && ports.iter().all(|take| *take == PortTake::Plaintext) {
        return Some(SkipReason::OnlyPlaintext);
    }
    let mixed = tcp_ports(service).zip(&ports).filter(|(_, take)| **take == PortTake::Differs);
    let mixed: Vec<u16> = mixed.map(|(port, _)| port.port).collect();
    (!mixed.is_empty()).then_some(SkipReason::PortsDiffer(mixed))
}

fn endpoint_name(endpoint: &Endpoint) -> String {
    match &endpoint.target {
        EndpointTarget::Pod(name) => name.clone(),
        EndpointTarget::WorkloadEntry(name) => format!("workloadentry/{name}"),
        EndpointTarget::Address => endpoint.address.clone(),
    }
}

fn tcp_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.ports.iter().filter(|port| port.protocol == Protocol::Tcp)
}

/// What the endpoints of a Service port take once the namespace is STRICT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortTake {
    /// Mutual TLS, at every endpoint.
    MutualTls,
    /// No mutual TLS, at any endpoint: the port is not captured, is the proxy's own, or has mode DISABLE.
    Plaintext,
    /// Some take it, and some do not.
    Differs,
}

fn port_take(snapshot: &Snapshot, service: &Service, port: &ServicePort) -> PortTake {
    let takes_mtls = |(endpoint, target_port): (&Endpoint, u16)| {
        let path = snapshot.inbound_path(endpoint, &endpoint.address, target_port);
        let mode =
            snapshot.workload_of(endpoint).map(|workload| server_mode(&snapshot.policies, workload, target_port));
        // The namespace's own mode changes; that of a workload or port stays (RE-3).
        let is_disabled = mode
            .as_ref()
            .and_then(Effective::decided_by)
            .is_some_and(|policy| policy.level >= Level::Workload && policy.mode == Some(MtlsMode::Disable));
        path.enforces_policies() && !is_disabled
    };
    let endpoints = snapshot.live_endpoints(service);
    let takes: BTreeSet<bool> = endpoints
        .filter_map(|endpoint| Some((endpoint, service.target_port(port, endpoint)?)))
        .map(takes_mtls)
        .collect();
    match (takes.contains(&true), takes.contains(&false)) {
        (true, true) => PortTake::Differs,
        (false, true) => PortTake::Plaintext,
        (_, false) => PortTake::MutualTls,
    }
}

/// The ports of a Service at which a rule must leave mutual TLS out.
fn plaintext_ports(snapshot: &Snapshot, service: &Service) -> Vec<u16> {
    let plaintext = |port: &&ServicePort| port_take(snapshot, service, port) == PortTake::Plaintext;
    tcp_ports(service).filter(plaintext).map(|port| port.port).collect()
}

/// `name`, or the first of `name-2`, `name-3`, … that is not taken.
pub(super) fn free_name<T: Borrow<str> + Ord>(name: &str, taken: &BTreeSet<T>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

/// To which clients of a Service a rule of the namespace applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// To all.
    All,
    /// To those that a rule selects; the others do not fall back to a wider rule (DR-5).
    Some,
    /// To none.
    None,
}

struct Enable<'a> {
    snapshot: &'a Snapshot,
    request: &'a SwitchRequest,
    plan: &'a mut Plan,
    /// Whether a missing `tls` must be written: on request, or because clients send plaintext without it (RE-4).
    explicit: bool,
    /// Places to set, by the name of the rule; the set is empty for a rule that is as it should be.
    edits: BTreeMap<&'a str, Places>,
    rules: RuleIndex<'a>,
    /// To which clients the rules for a host or a pattern apply, for those whose edits are collected. Many Services share a
    /// pattern.
    served: HashMap<String, Served>,
    /// Services that get a rule each.
    exact: Vec<&'a Service>,
    /// Services that one rule for the namespace covers.
    wide: Vec<&'a Service>,
}

impl<'a> Enable<'a> {
    fn new(snapshot: &'a Snapshot, request: &'a SwitchRequest, plan: &'a mut Plan) -> Self {
        let lacks_auto_mtls = snapshot.policies.legacy_only || !snapshot.mesh.auto_mtls;
        let explicit = match request.destination_rules {
            RuleChoice::Always => true,
            RuleChoice::Auto => lacks_auto_mtls,
            RuleChoice::Never => false,
        };
        let rules = RuleIndex::new(&snapshot.rules, &snapshot.mesh.cluster_domain);
        Self {
            snapshot,
            request,
            plan,
            explicit,
            edits: BTreeMap::new(),
            rules,
            served: HashMap::new(),
            exact: Vec::new(),
            wide: Vec::new(),
        }
    }

    fn run(mut self, services: &[&'a Service]) {
        for service in services {
            if let Some(reason) = self.skip_reason(service) {
                if self.request.destination_rules != RuleChoice::Never {
                    self.plan.skipped.push(Skipped { service: service.name.clone(), reason });
                }
                continue;
            }
            let served = self.collect_edits(service);
            if self.explicit {
                match served {
                    Served::All => {}
                    Served::None
                        if self.request.scope == RuleScope::Namespace
                            && plaintext_ports(self.snapshot, service).is_empty() =>
                    {
                        self.wide.push(service);
                    }
                    Served::Some | Served::None => self.exact.push(service),
                }
            }
        }
        if self.request.destination_rules != RuleChoice::Never {
            self.check_wildcards(services);
            self.write_edits();
            self.write_creations();
        }
    }

    fn skip_reason(&self, service: &Service) -> Option<SkipReason> {
        let reason = exclusion(self.snapshot, service)?;
        let is_lifted = self.request.force && matches!(reason, SkipReason::OutsideMesh(_));
        (!is_lifted).then_some(reason)
    }

    fn host(&self, service: &Service) -> String {
        service.host(&self.snapshot.namespace, &self.snapshot.mesh.cluster_domain)
    }

    /// The host or pattern whose rules apply to a Service.
    fn pattern(&self, service: &Service) -> Option<String> {
        self.rules.most_specific(&self.host(service)).map(|(pattern, _)| pattern)
    }

    /// Collects the places that the rules which apply to a Service lack.
    fn collect_edits(&mut self, service: &Service) -> Served {
        let Some(pattern) = self.pattern(service) else { return Served::None };
        if let Some(served) = self.served.get(&pattern) {
            return *served;
        }
        let Some(serving) = self.rules.serving(&self.host(service)) else { return Served::None };
        let served = self.collect_edits_of(&serving, &plaintext_ports(self.snapshot, service));
        self.served.insert(pattern, served);
        served
    }

    fn collect_edits_of(&mut self, serving: &Serving<'a>, plaintext_ports: &[u16]) -> Served {
        let name = |rules: &[&DestinationRule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        if serving.in_force.len() + serving.idle.len() > 1 {
            self.plan.warnings.push(Warning::SeveralRules {
                host: serving.host.clone(),
                in_force: name(&serving.in_force),
                idle: name(&serving.idle),
            });
        }
        for rule in &serving.in_force {
            self.add_edits(rule, rule.places(), plaintext_ports);
        }
        for rule in &serving.idle {
            // DR-6: of a rule that is merged into another, only the subsets take effect.
            self.add_edits(rule, rule.subset_places(), plaintext_ports);
        }
        if serving.selects_clients { Served::Some } else { Served::All }
    }

    fn add_edits(
        &mut self,
        rule: &'a DestinationRule,
        places: Vec<(TlsPlace, Option<ClientTls>)>,
        plaintext_ports: &[u16],
    ) {
        let explicit = self.explicit;
        let is_exception = |place: TlsPlace| match place {
            TlsPlace::Port(index) => rule.ports[index].port.is_some_and(|port| plaintext_ports.contains(&port)),
            TlsPlace::Top | TlsPlace::Subset(_) | TlsPlace::SubsetPort(..) => false,
        };
        let lacks = |(place, tls): &(TlsPlace, Option<ClientTls>)| match tls {
            Some(ClientTls::IstioMutual) => false,
            Some(ClientTls::Disable) if is_exception(*place) => false,
            Some(_) => true,
            // DR-12: a port entry without `tls` does not inherit, so under `explicit` it needs its own.
            None => explicit && !place.inherits(),
        };
        let lacking: Vec<_> = places.into_iter().filter(lacks).collect();
        for tls in lacking.iter().filter_map(|(_, tls)| *tls) {
            let (name, host) = (rule.name.clone(), rule.host.clone());
            if self.request.destination_rules == RuleChoice::Never {
                self.plan.warnings.push(Warning::PlaintextRule { rule: name, host, tls });
            } else if tls != ClientTls::Disable {
                self.plan.warnings.push(Warning::ReplacesTls { rule: name, host, tls });
            }
        }
        self.edits.entry(&rule.name).or_default().extend(lacking);
    }

    /// A wildcard rule covers more than one Service: its change must not break another one.
    fn check_wildcards(&mut self, services: &[&Service]) {
        let is_changed =
            |rule: &&DestinationRule| self.edits.get(rule.name.as_str()).is_some_and(|edits| !edits.is_empty());
        let wildcards: Vec<_> =
            self.snapshot.rules.iter().filter(|rule| rule.is_wildcard()).filter(is_changed).collect();
        let (reached, requested) = (self.reached(), names(services));
        for rule in wildcards {
            let namespace_suffix = format!(".{}.svc.{}", self.snapshot.namespace, self.snapshot.mesh.cluster_domain);
            if !rule.host.ends_with(&namespace_suffix) && !self.request.force {
                self.plan
                    .blockers
                    .push(PlanBlocker::WildcardTooWide { rule: rule.name.clone(), host: rule.host.clone() });
            }
            self.check_reach(&rule.name, Some(&rule.host), &reached, &requested);
        }
    }

    /// The Services by the host or pattern whose rules apply to them.
    fn reached(&self) -> HashMap<Option<String>, Vec<&'a Service>> {
        let mut reached: HashMap<_, Vec<&Service>> = HashMap::new();
        for service in &self.snapshot.services {
            reached.entry(self.pattern(service)).or_default().push(service);
        }
        reached
    }

    /// What a wildcard rule does to Services without a rule of their own. `pattern` is its host; `None` is the rule that
    /// this plan creates.
    fn check_reach(
        &mut self,
        rule: &str,
        pattern: Option<&str>,
        reached: &HashMap<Option<String>, Vec<&Service>>,
        requested: &BTreeSet<&str>,
    ) {
        let reached: &[&Service] = reached.get(&pattern.map(str::to_owned)).map_or(&[], Vec::as_slice);
        for service in reached {
            if let Some(reason) =
                exclusion(self.snapshot, service).filter(|reason| !self.request.force && reason.breaks_calls())
            {
                self.plan.blockers.push(PlanBlocker::WildcardBreaks {
                    rule: rule.to_owned(),
                    service: service.name.clone(),
                    reason,
                });
            }
        }
        let others =
            reached.iter().map(|service| service.name.clone()).filter(|name| !requested.contains(name.as_str()));
        let mut others: Vec<String> = others.collect();
        others.sort_unstable();
        if !others.is_empty() {
            self.plan.warnings.push(Warning::WildcardReachesMore { rule: rule.to_owned(), services: others });
        }
    }

    fn write_edits(&mut self) {
        let is_auto = !self.clients_send_plaintext();
        for rule in &self.snapshot.rules {
            let Some(places) = self.edits.get(rule.name.as_str()) else { continue };
            if rule.namespace != self.snapshot.namespace {
                continue;
            }
            // As measured: no call is lost where auto mTLS had the same effect before.
            self.plan.rules_need_settling |= places.iter().any(|(_, from)| from.is_some() || !is_auto);
            let edits = places.iter().map(|(place, from)| TlsEdit::Set { place: *place, from: *from }).collect();
            self.plan.rules.push(change(rule, edits));
        }
    }

    fn write_creations(&mut self) {
        if self.exact.is_empty() && self.wide.is_empty() {
            return;
        }
        self.plan.rules_need_settling |= self.clients_send_plaintext();
        let mut taken: BTreeSet<String> = self.snapshot.rules.iter().map(|rule| rule.name.clone()).collect();
        let mut new_rules: Vec<(&str, String, Vec<u16>)> = self
            .exact
            .iter()
            .map(|service| (service.name.as_str(), self.host(service), plaintext_ports(self.snapshot, service)))
            .collect();
        let whole_namespace = format!("*.{}.svc.{}", self.snapshot.namespace, self.snapshot.mesh.cluster_domain);
        if !self.wide.is_empty() {
            new_rules.push((NAMESPACE_RULE, whole_namespace, Vec::new()));
        }
        let mut last = String::new();
        for (preferred_name, host, plaintext_ports) in new_rules {
            let name = free_name(preferred_name, &taken);
            taken.insert(name.clone());
            last.clone_from(&name);
            let namespace = self.snapshot.namespace.clone();
            self.plan.rules.push(RuleChange { namespace, name, action: RuleAction::Create { host, plaintext_ports } });
        }
        if !self.wide.is_empty() {
            let covered = std::mem::take(&mut self.wide);
            let (reached, requested) = (self.reached(), names(&covered));
            self.check_reach(&last, None, &reached, &requested);
        }
    }

    /// Whether clients send plaintext where no rule applies (DR-21): no auto mTLS, or a namespace in DISABLE.
    fn clients_send_plaintext(&self) -> bool {
        self.snapshot.policies.legacy_only
            || !self.snapshot.mesh.auto_mtls
            || super::namespace_mode(self.snapshot) == Some(MtlsMode::Disable)
    }
}

fn names<'a>(services: &[&'a Service]) -> BTreeSet<&'a str> {
    services.iter().map(|service| service.name.as_str()).collect()
}

fn change(rule: &DestinationRule, edits: Vec<TlsEdit>) -> RuleChange {
    let action = RuleAction::from_edits(edits);
    RuleChange { namespace: rule.namespace.clone(), name: rule.name.clone(), action }
}

/// Removes `ISTIO_MUTUAL` from every rule for the requested Services: also from those without effect, because one of
/// them takes effect when the first has no traffic policy left (DR-6).
fn disable(snapshot: &Snapshot, request: &SwitchRequest, services: &[&Service], mode: MtlsMode, plan: &mut Plan) {
    let domain = &snapshot.mesh.cluster_domain;
    let namespace_suffix = format!(".{}.svc.{domain}", snapshot.namespace);
    let hosts: BTreeSet<String> = services.iter().map(|service| service.host(&snapshot.namespace, domain)).collect();
    for rule in snapshot.rules.iter().filter(|rule| rule.namespace == snapshot.namespace) {
        let host = rule.resolved_host(domain);
        let is_concerned =
            if request.services.is_some() { hosts.contains(&host) } else { host.ends_with(&namespace_suffix) };
        let edits: Vec<TlsEdit> = rule
            .places()
            .into_iter()
            .filter(|(_, tls)| *tls == Some(ClientTls::IstioMutual))
            .map(|(place, _)| TlsEdit::Remove { place })
            .collect();
        let (name, foreign_manager) =
            (rule.name.clone(), rule.foreign_manager.clone().filter(|_| !request.force_conflicts));
        let mut keeps_mutual = !edits.is_empty();
        if request.destination_rules == RuleChoice::Never {
            // Nothing is changed; what that means under DISABLE is reported below.
        } else if !is_concerned {
            if keeps_mutual && rule.is_wildcard() && hosts.iter().any(|served| covers(&host, served)) {
                plan.warnings.push(Warning::WildcardKept { rule: name.clone(), host: host.clone() });
            }
        } else if let Some(manager) = foreign_manager.filter(|_| keeps_mutual) {
            plan.warnings.push(Warning::ForeignTls { rule: name.clone(), manager });
        } else {
            plan.rules_need_settling |= keeps_mutual;
            plan.rules.push(change(rule, edits));
            keeps_mutual = false;
        }
        let serves_requested = || is_concerned || hosts.iter().any(|served| covers(&host, served));
        if keeps_mutual && mode == MtlsMode::Disable && serves_requested() {
            plan.warnings.push(Warning::StillMutual { rule: name, host: host.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
