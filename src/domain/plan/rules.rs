//! Plans what clients send: changes of the `DestinationRules` that set `ISTIO_MUTUAL` for the namespace's Services.

use super::names::free_name;
use super::{
    Direction, Plan, PlanBlocker, PodScope, RuleAction, RuleChange, RuleChoice, RuleScope, SkipReason, Skipped,
    SwitchRequest, TlsEdit, TlsPlace, Warning, policies_after, workload_services,
};
use crate::domain::effective::{Effective, Level, PolicyIndex};
use crate::domain::mesh::{
    DataPlane, Endpoint, EndpointTarget, Gateway, MtlsMode, Pod, Service, ServiceKind, ServicePort, Snapshot,
};
use crate::domain::rule::{ClientTls, DestinationRule, RuleIndex, Serving, covers};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Name of the one rule of `RuleScope::Namespace`.
const NAMESPACE_RULE: &str = "secure-traffic";

/// Places of `tls` blocks, with the mode that each has now.
type Places = BTreeSet<(TlsPlace, Option<ClientTls>)>;

pub(super) fn plan(snapshot: &Snapshot, request: &SwitchRequest, plan: &mut Plan) {
    let services = requested_services(snapshot, request, plan);
    let policies = policies_after(&snapshot.policies, plan);
    let policies = PolicyIndex::new(&policies);
    match request.direction {
        Direction::Enable => Enable::new(snapshot, request, plan, &policies).run(&services),
        Direction::Disable { mode } => disable(snapshot, request, &services, mode, plan, &policies),
    }
    plan.rules.sort_by(|left, right| left.name.cmp(&right.name));
    plan.skipped.sort();
}

/// The Services that the request names, or that lead to its pods, by name; an unknown name is a blocker.
fn requested_services<'a>(snapshot: &'a Snapshot, request: &SwitchRequest, plan: &mut Plan) -> Vec<&'a Service> {
    let mut services: Vec<&Service> = snapshot.services.iter().collect();
    services.sort_by(|left, right| left.name.cmp(&right.name));
    let names = match (&request.services, &request.pods) {
        (Some(names), _) => names,
        (None, PodScope::Workload(labels)) => {
            let of_workload = workload_services(snapshot, labels);
            services.retain(|service| of_workload.contains(service.name.as_str()));
            return services;
        }
        (None, PodScope::Namespace { .. }) => return services,
    };
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let existing: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    for name in names.iter().filter(|name| existing.binary_search_by(|other| other.as_str().cmp(name)).is_err()) {
        plan.blockers.push(PlanBlocker::UnknownService { name: (*name).to_owned(), existing: existing.clone() });
    }
    services.retain(|service| names.contains(service.name.as_str()));
    services
}

/// RE-5: why a Service must not get a rule; `--force` lifts only `OutsideMesh`. `policies` are those after the change.
fn exclusion(snapshot: &Snapshot, policies: &PolicyIndex<'_>, service: &Service) -> Option<SkipReason> {
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
    let ports: Vec<PortTake> = service.tcp_ports().map(|port| port_take(snapshot, policies, service, port)).collect();
    if !ports.is_empty() && ports.iter().all(|take| *take == PortTake::Plaintext) {
        return Some(SkipReason::OnlyPlaintext);
    }
    let mixed = service.tcp_ports().zip(&ports).filter(|(_, take)| **take == PortTake::Differs);
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

/// What the endpoints of a Service port take once the namespace is STRICT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortTake {
    /// Mutual TLS, at every endpoint.
    MutualTls,
    /// No mutual TLS, at any endpoint: the port is not captured, is the proxy's own, or has mode DISABLE, or sidecars send no
    /// HBONE to the ambient pod.
    Plaintext,
    /// Some take it, and some do not.
    Differs,
}

fn port_take(snapshot: &Snapshot, policies: &PolicyIndex<'_>, service: &Service, port: &ServicePort) -> PortTake {
    let takes_mtls = |(endpoint, target_port): (&Endpoint, u16)| {
        let path = snapshot.inbound_path(endpoint, &endpoint.address, target_port);
        let mode = snapshot.workload_of(endpoint).map(|workload| policies.mode(workload, target_port));
        // The namespace's own mode changes; that of a workload or port stays (RE-3).
        let is_disabled = mode
            .as_ref()
            .and_then(Effective::decided_by)
            .is_some_and(|policy| policy.level >= Level::Workload && policy.mode == Some(MtlsMode::Disable));
        path.enforces_policies() && !is_disabled && !gets_mtls_without_hbone(snapshot, service, endpoint)
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

/// Whether `ISTIO_MUTUAL` would make sidecars send an ambient pod mutual TLS that is not HBONE, which its ztunnel does not
/// terminate (DR-28, DR-29).
fn gets_mtls_without_hbone(snapshot: &Snapshot, service: &Service, endpoint: &Endpoint) -> bool {
    let workload = snapshot.workload_of(endpoint);
    workload.is_some_and(|workload| {
        workload.data_plane == DataPlane::Ambient && (service.kind == ServiceKind::Headless || workload.has_tls_label())
    })
}

/// The ports of a Service at which a rule must leave mutual TLS out.
fn plaintext_ports(snapshot: &Snapshot, policies: &PolicyIndex<'_>, service: &Service) -> Vec<u16> {
    let plaintext = |port: &&ServicePort| port_take(snapshot, policies, service, port) == PortTake::Plaintext;
    service.tcp_ports().filter(plaintext).map(|port| port.port).collect()
}

/// To which clients of a Service a rule of the namespace applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// To all, and it stays as it is: it covers other namespaces, too.
    ByWiderRule,
    /// To all but not as requested, and it must stay as it is, so that the Service needs a rule of its own.
    Wrongly,
    /// To all.
    All,
    /// To those that a rule selects; the others do not fall back to a wider rule (DR-5).
    Some,
    /// To none.
    None,
}

/// Rules by which sidecars originate TLS that is not the mesh's own: the application serves it, or the rule is wrong.
#[derive(Default)]
struct OwnTls<'a> {
    places: Vec<(&'a DestinationRule, TlsPlace, ClientTls)>,
    services: Vec<&'a Service>,
}

/// What a rule that covers other namespaces, too, means for a Service.
#[derive(Clone)]
enum Wider {
    /// It is left alone, and so is the Service.
    Left { rule: String, host: String },
    /// The Service needs a rule of its own, which would hide settings.
    Blocked { rule: String, host: String },
}

/// What a new rule for a Service would hide, of the rules that apply to it without one.
enum Hidden {
    /// Nothing that matters.
    Nothing,
    /// Settings of this rule, and no new rule is needed: clients send mutual TLS already.
    Needless { rule: String, host: String },
    /// Settings of this rule, though clients do not send mutual TLS by it.
    Settings { rule: String, host: String },
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
    /// Places with the application's own TLS, by the pattern of their rules, with the Services that these apply to.
    own_tls: BTreeMap<String, OwnTls<'a>>,
    /// Rules of the root namespace.
    root_rules: RuleIndex<'a>,
    /// Rules beside which none is created, by name and host, with the Services of which that is true.
    left_alone: BTreeMap<(String, String), Vec<String>>,
    /// What is to be done beside rules that are wider than the namespace, by their pattern.
    wider: HashMap<String, Wider>,
    /// The policies after the change.
    policies: &'a PolicyIndex<'a>,
    /// The policies before the change.
    present_policies: PolicyIndex<'a>,
    /// Services that get a rule each.
    exact: Vec<&'a Service>,
    /// Services that one rule for the namespace covers.
    wide: Vec<&'a Service>,
}

impl<'a> Enable<'a> {
    fn new(
        snapshot: &'a Snapshot,
        request: &'a SwitchRequest,
        plan: &'a mut Plan,
        policies: &'a PolicyIndex<'a>,
    ) -> Self {
        let lacks_auto_mtls = snapshot.policies.legacy_only || !snapshot.mesh.auto_mtls;
        let explicit = match request.destination_rules {
            RuleChoice::WhereRead | RuleChoice::Always => true,
            RuleChoice::Auto => lacks_auto_mtls,
            RuleChoice::Never => false,
        };
        let rules = RuleIndex::new(&snapshot.rules, &snapshot.mesh.cluster_domain);
        let is_visible = |rule: &&DestinationRule| {
            let exports = |name: &String| name == "*" || *name == snapshot.namespace;
            !rule.selects_clients() && (rule.export_to.is_empty() || rule.export_to.iter().any(exports))
        };
        let root_rules = snapshot.root_rules.iter().filter(is_visible);
        let root_rules = RuleIndex::new(root_rules, &snapshot.mesh.cluster_domain);
        Self {
            snapshot,
            request,
            plan,
            explicit,
            edits: BTreeMap::new(),
            rules,
            served: HashMap::new(),
            own_tls: BTreeMap::new(),
            root_rules,
            left_alone: BTreeMap::new(),
            wider: HashMap::new(),
            policies,
            present_policies: PolicyIndex::new(&snapshot.policies),
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
            let needs_rule = match served {
                Served::All | Served::ByWiderRule => false,
                Served::Wrongly => true,
                Served::Some | Served::None => self.explicit,
            };
            if needs_rule {
                self.add_creation(service, served);
            }
        }
        if self.request.destination_rules != RuleChoice::Never {
            self.decide_own_tls();
            self.check_wildcards(services);
            self.write_edits();
            self.write_creations();
            self.report_left_alone();
        }
    }

    /// Plans a new rule for a Service, unless it would hide settings of a rule of the root namespace (DR-3).
    fn add_creation(&mut self, service: &'a Service, served: Served) {
        if self.request.destination_rules == RuleChoice::Never {
            return;
        }
        if served == Served::None
            && let Some(serving) = self.root_rules.serving(&self.host(service))
        {
            match self.hidden_by_new_rule(&serving) {
                Hidden::Nothing => {}
                Hidden::Needless { rule, host } => return self.leave_alone(rule, host, service),
                Hidden::Settings { rule, host } => return self.block(rule, host, service),
            }
        }
        let is_covered_by_one = self.request.scope == RuleScope::Namespace && served != Served::Some;
        if is_covered_by_one && self.plaintext_ports(service).is_empty() {
            self.wide.push(service);
        } else {
            self.exact.push(service);
        }
    }

    fn leave_alone(&mut self, rule: String, host: String, service: &Service) {
        self.left_alone.entry((rule, host)).or_default().push(service.name.clone());
    }

    fn block(&mut self, rule: String, host: String, service: &Service) {
        let service = service.name.clone();
        self.plan.blockers.push(PlanBlocker::HidesSettings { rule, host, service });
    }

    fn report_left_alone(&mut self) {
        for ((rule, host), services) in std::mem::take(&mut self.left_alone) {
            self.plan.warnings.push(Warning::RuleLeftAlone { rule, host, services });
        }
    }

    /// What a new rule would hide of these rules: of several only the most specific applies, whole (DR-2, DR-3).
    fn hidden_by_new_rule(&self, serving: &Serving<'_>) -> Hidden {
        let merged = || serving.in_force.iter().chain(&serving.idle);
        let says_more = |rule: &&&DestinationRule| rule.has_other_traffic_settings || !rule.subsets.is_empty();
        let Some(rule) = merged().find(says_more) else { return Hidden::Nothing };
        let rule_name = if rule.namespace == self.snapshot.namespace {
            rule.name.clone()
        } else {
            format!("{}/{}", rule.namespace, rule.name)
        };
        let host = serving.host.clone();
        if is_as_requested(serving, !self.clients_send_plaintext()) {
            Hidden::Needless { rule: rule_name, host }
        } else {
            Hidden::Settings { rule: rule_name, host }
        }
    }

    /// Decides about rules by which sidecars originate the application's own TLS. Where calls by it work today and STRICT
    /// would refuse them, it is a blocker: `ISTIO_MUTUAL` in its place would take that TLS away (DR-12).
    fn decide_own_tls(&mut self) {
        for (_, OwnTls { places, services }) in std::mem::take(&mut self.own_tls) {
            let is_exempt = services.iter().all(|service| self.is_exempt(service));
            let works = services.iter().any(|service| self.accepts_other_tls(service));
            for (rule, place, tls) in places {
                let (name, host) = (rule.name.clone(), rule.host.clone());
                if is_exempt {
                    self.plan.warnings.push(Warning::KeepsTls { rule: name, host, tls });
                } else if works && !self.request.force {
                    self.plan.blockers.push(PlanBlocker::OwnTls { rule: name, host, tls });
                } else {
                    self.plan.warnings.push(Warning::ReplacesTls { rule: name, host, tls });
                    self.edits.entry(&rule.name).or_default().insert((place, Some(tls)));
                }
            }
        }
    }

    /// The modes at the ports of a Service's pods, by `index`, where a proxy captures them.
    fn modes(&self, service: &Service, index: &PolicyIndex<'_>) -> Vec<Option<MtlsMode>> {
        captured_ports(self.snapshot, service).map(|(pod, port)| index.mode(pod, port).mode).collect()
    }

    /// Whether every port of the Service stays open for other TLS after the change, by a policy of its workloads.
    fn is_exempt(&self, service: &Service) -> bool {
        let modes = self.modes(service, self.policies);
        !modes.is_empty() && modes.iter().all(|mode| mode.is_some_and(|mode| mode != MtlsMode::Strict))
    }

    /// Whether a port of the Service accepts today what STRICT refuses.
    fn accepts_other_tls(&self, service: &Service) -> bool {
        self.modes(service, &self.present_policies).iter().any(|mode| *mode != Some(MtlsMode::Strict))
    }

    fn skip_reason(&self, service: &Service) -> Option<SkipReason> {
        let Some(reason) = exclusion(self.snapshot, self.policies, service) else {
            let is_unread = self.request.destination_rules == RuleChoice::WhereRead && self.is_unread(service);
            return is_unread.then_some(SkipReason::Unread);
        };
        let is_lifted = self.request.force && matches!(reason, SkipReason::OutsideMesh(_));
        (!is_lifted).then_some(reason)
    }

    /// Whether no client reads a rule for the Service: all its endpoints are in ambient mode, no waypoint serves it, and no
    /// pod of the namespace has a sidecar. Sidecars of other namespaces send HBONE, whatever the rule says (DR-27); where they
    /// do not (DR-28, DR-29), the Service gets no rule in any case.
    fn is_unread(&self, service: &Service) -> bool {
        let is_ambient = |endpoint: &Endpoint| {
            let workload = self.snapshot.workload_of(endpoint);
            workload.is_some_and(|workload| workload.data_plane == DataPlane::Ambient)
        };
        self.snapshot.live_endpoints(service).all(is_ambient)
            && self.snapshot.waypoint(service).is_none()
            && !self.snapshot.pods.values().any(|pod| pod.data_plane == DataPlane::Sidecar && !pod.facts.finished)
    }

    fn plaintext_ports(&self, service: &Service) -> Vec<u16> {
        plaintext_ports(self.snapshot, self.policies, service)
    }

    fn host(&self, service: &Service) -> String {
        service.host(&self.snapshot.namespace, &self.snapshot.mesh.cluster_domain)
    }

    /// The host or pattern whose rules apply to a Service.
    fn pattern(&self, service: &Service) -> Option<String> {
        self.rules.most_specific(&self.host(service)).map(|(pattern, _)| pattern)
    }

    /// Collects the places that the rules which apply to a Service lack.
    fn collect_edits(&mut self, service: &'a Service) -> Served {
        let Some(pattern) = self.pattern(service) else { return Served::None };
        let served = if let Some(served) = self.served.get(&pattern) {
            *served
        } else {
            let Some(serving) = self.rules.serving(&self.host(service)) else { return Served::None };
            let served = self.collect_edits_of(&serving, &self.plaintext_ports(service));
            self.served.insert(pattern.clone(), served);
            served
        };
        if let Some(own_tls) = self.own_tls.get_mut(&pattern) {
            own_tls.services.push(service);
        }
        if matches!(served, Served::ByWiderRule | Served::Wrongly)
            && let Some(wider) = self.wider.get(&pattern)
        {
            match wider.clone() {
                Wider::Left { rule, host } => self.leave_alone(rule, host, service),
                Wider::Blocked { rule, host } => self.block(rule, host, service),
            }
        }
        served
    }

    /// Whether a pattern covers other namespaces, too: its rules are never changed for the sake of this one.
    fn is_wider_than_namespace(&self, pattern: &str) -> bool {
        let namespace_suffix = format!(".{}.svc.{}", self.snapshot.namespace, self.snapshot.mesh.cluster_domain);
        pattern.starts_with('*') && !pattern.ends_with(&namespace_suffix)
    }

    /// How a rule that is wider than the namespace serves it.
    fn serve_by_wider(&mut self, serving: &Serving<'a>) -> Served {
        let needs_nothing = is_as_requested(serving, !self.explicit);
        if needs_nothing || self.request.destination_rules == RuleChoice::Never {
            return Served::ByWiderRule;
        }
        match self.hidden_by_new_rule(serving) {
            Hidden::Nothing => Served::Wrongly,
            Hidden::Needless { rule, host } => {
                self.wider.insert(serving.host.clone(), Wider::Left { rule, host });
                Served::ByWiderRule
            }
            Hidden::Settings { rule, host } => {
                self.wider.insert(serving.host.clone(), Wider::Blocked { rule, host });
                Served::ByWiderRule
            }
        }
    }

    fn collect_edits_of(&mut self, serving: &Serving<'a>, plaintext_ports: &[u16]) -> Served {
        if self.is_wider_than_namespace(&serving.host) {
            self.warn_of_plaintext(serving);
            return self.serve_by_wider(serving);
        }
        let name = |rules: &[&DestinationRule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        if serving.in_force.len() + serving.idle.len() > 1 {
            self.plan.warnings.push(Warning::SeveralRules {
                host: serving.host.clone(),
                in_force: name(&serving.in_force),
                idle: name(&serving.idle),
            });
        }
        for rule in &serving.in_force {
            self.add_edits(rule, rule.places(), &serving.host, plaintext_ports);
        }
        for rule in &serving.idle {
            // DR-6: of a rule that is merged into another, only the subsets take effect.
            self.add_edits(rule, rule.subset_places(), &serving.host, plaintext_ports);
        }
        if serving.selects_clients { Served::Some } else { Served::All }
    }

    /// `--destination-rules=never`: names what STRICT refuses of rules that are not changed.
    fn warn_of_plaintext(&mut self, serving: &Serving<'_>) {
        if self.request.destination_rules != RuleChoice::Never {
            return;
        }
        for rule in &serving.in_force {
            for tls in rule.places().into_iter().filter_map(|(_, tls)| tls).filter(|tls| *tls != ClientTls::IstioMutual)
            {
                let (rule, host) = (rule.name.clone(), rule.host.clone());
                self.plan.warnings.push(Warning::PlaintextRule { rule, host, tls });
            }
        }
    }

    fn add_edits(
        &mut self,
        rule: &'a DestinationRule,
        places: Vec<(TlsPlace, Option<ClientTls>)>,
        pattern: &str,
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
        let mut lacking = Places::new();
        for (place, tls) in places.into_iter().filter(lacks) {
            match tls {
                Some(tls) if self.request.destination_rules == RuleChoice::Never => {
                    let (rule, host) = (rule.name.clone(), rule.host.clone());
                    self.plan.warnings.push(Warning::PlaintextRule { rule, host, tls });
                }
                Some(tls @ (ClientTls::Simple | ClientTls::Mutual)) => {
                    self.own_tls.entry(pattern.to_owned()).or_default().places.push((rule, place, tls));
                }
                tls => {
                    lacking.insert((place, tls));
                }
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
            if let Some(reason) = exclusion(self.snapshot, self.policies, service)
                .filter(|reason| !self.request.force && reason.breaks_calls())
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
            .map(|service| (service.name.as_str(), self.host(service), self.plaintext_ports(service)))
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

/// Whether clients send mutual TLS by these rules; where they set nothing, if `auto_suffices`.
fn is_as_requested(serving: &Serving<'_>, auto_suffices: bool) -> bool {
    let places = serving.in_force.iter().flat_map(|rule| rule.places());
    let places = places.chain(serving.idle.iter().flat_map(|rule| rule.subset_places()));
    places.into_iter().all(|(place, tls)| match tls {
        Some(tls) => tls == ClientTls::IstioMutual,
        None => auto_suffices || place.inherits(),
    })
}

/// The workloads and target ports of a Service at which a proxy enforces policies.
fn captured_ports<'a>(snapshot: &'a Snapshot, service: &'a Service) -> impl Iterator<Item = (&'a Pod, u16)> {
    snapshot.live_endpoints(service).flat_map(move |endpoint| {
        service.tcp_ports().filter_map(move |port| {
            let target = service.target_port(port, endpoint)?;
            let path = snapshot.inbound_path(endpoint, &endpoint.address, target);
            path.enforces_policies().then(|| snapshot.workload_of(endpoint)).flatten().map(|pod| (pod, target))
        })
    })
}

fn names<'a>(services: &[&'a Service]) -> BTreeSet<&'a str> {
    services.iter().map(|service| service.name.as_str()).collect()
}

fn change(rule: &DestinationRule, edits: Vec<TlsEdit>) -> RuleChange {
    let action = RuleAction::from_edits(edits);
    RuleChange { namespace: rule.namespace.clone(), name: rule.name.clone(), action }
}

/// Removes `ISTIO_MUTUAL` from every rule for the requested Services: also from those without effect, because one of
/// them takes effect when the first has no traffic policy left (DR-6). A rule whose servers accept only mutual TLS after
/// the change, too, keeps it.
fn disable(
    snapshot: &Snapshot,
    request: &SwitchRequest,
    services: &[&Service],
    mode: MtlsMode,
    plan: &mut Plan,
    policies: &PolicyIndex<'_>,
) {
    let domain = &snapshot.mesh.cluster_domain;
    let namespace_suffix = format!(".{}.svc.{domain}", snapshot.namespace);
    let hosts: BTreeMap<String, &Service> =
        services.iter().map(|service| (service.host(&snapshot.namespace, domain), *service)).collect();
    let servers = Servers::new(snapshot, policies);
    for rule in snapshot.rules.iter().filter(|rule| rule.namespace == snapshot.namespace) {
        let host = rule.resolved_host(domain);
        let is_concerned =
            if request.services.is_some() { hosts.contains_key(&host) } else { host.ends_with(&namespace_suffix) };
        let edits: Vec<TlsEdit> = rule
            .places()
            .into_iter()
            .filter(|(_, tls)| *tls == Some(ClientTls::IstioMutual))
            .map(|(place, _)| TlsEdit::Remove { place })
            .collect();
        if edits.is_empty() {
            if is_concerned && request.destination_rules != RuleChoice::Never {
                plan.rules.push(change(rule, edits));
            }
            continue;
        }
        let covered: Vec<&Service> = if rule.is_wildcard() {
            hosts.iter().filter(|(served, _)| covers(&host, served)).map(|(_, service)| *service).collect()
        } else {
            hosts.get(&host).copied().into_iter().collect()
        };
        let name = rule.name.clone();
        let foreign_manager = rule.foreign_manager.clone().filter(|_| !request.force_conflicts);
        if request.destination_rules == RuleChoice::Never {
            // Nothing is changed; what that means under DISABLE is reported below.
        } else if !is_concerned {
            if rule.is_wildcard() && !covered.is_empty() {
                plan.warnings.push(Warning::WildcardKept { rule: name.clone(), host: host.clone() });
            }
        } else if let Some(reason) = covered.iter().find_map(|service| servers.needs_mutual(service)) {
            plan.warnings.push(Warning::StillRequired { rule: name.clone(), host: host.clone(), reason });
        } else if let Some(manager) = foreign_manager {
            plan.warnings.push(Warning::ForeignTls { rule: name.clone(), manager });
        } else {
            plan.rules_need_settling = true;
            plan.rules.push(change(rule, edits));
            continue;
        }
        if mode == MtlsMode::Disable && covered.iter().any(|service| servers.is_disabled(service)) {
            let (rule, host) = (name, host.clone());
            if request.force {
                plan.warnings.push(Warning::StillMutual { rule, host });
            } else {
                plan.blockers.push(PlanBlocker::StillMutual { rule, host });
            }
        }
    }
}

/// What the servers accept after mutual TLS is turned off.
struct Servers<'a> {
    snapshot: &'a Snapshot,
    policies: &'a PolicyIndex<'a>,
}

impl<'a> Servers<'a> {
    const fn new(snapshot: &'a Snapshot, policies: &'a PolicyIndex<'a>) -> Self {
        Self { snapshot, policies }
    }

    /// Why the Service's clients need the rule's mutual TLS: a Gateway accepts nothing else (GW-1), or a port stays STRICT
    /// and no auto mTLS takes the place of the rule (DR-21, DR-25). `None` where they do not.
    fn needs_mutual(&self, service: &Service) -> Option<String> {
        self.mutual_gateway(service).map(|gateway| format!("gateway/{}/{}", gateway.namespace, gateway.name)).or_else(
            || {
                let (pod, port) = self.ports(service).find(|(pod, port)| {
                    self.mode(pod, *port) == Some(MtlsMode::Strict) && self.is_plaintext_by_default(pod)
                })?;
                Some(format!("port {port} of pod/{} stays STRICT", pod.name))
            },
        )
    }

    fn mutual_gateway(&self, service: &Service) -> Option<&'a Gateway> {
        let serves = |gateway: &&Gateway, endpoint: &Endpoint| {
            let Some(pod) = self.snapshot.pod_of(endpoint).filter(|pod| pod.facts.gateway) else { return false };
            service.ports.iter().any(|port| {
                let ports: Vec<u16> = service.target_port(port, endpoint).into_iter().chain([port.port]).collect();
                gateway.requires_mutual_tls(&pod.labels, &ports)
            })
        };
        let mut gateways = self.snapshot.gateways.iter();
        gateways.find(|gateway| service.endpoints.iter().any(|endpoint| serves(gateway, endpoint)))
    }

    /// Whether a port of the Service accepts plaintext only.
    fn is_disabled(&self, service: &Service) -> bool {
        self.ports(service).any(|(pod, port)| self.mode(pod, port) == Some(MtlsMode::Disable))
    }

    fn ports<'b>(&self, service: &'b Service) -> impl Iterator<Item = (&'b Pod, u16)>
    where
        'a: 'b,
    {
        captured_ports(self.snapshot, service)
    }

    fn mode(&self, pod: &Pod, port: u16) -> Option<MtlsMode> {
        if self.snapshot.policies.legacy_only {
            return Some(MtlsMode::Disable);
        }
        self.policies.mode(pod, port).mode
    }

    /// Whether clients send plaintext to the pod where no rule applies (DR-21, DR-23).
    fn is_plaintext_by_default(&self, pod: &Pod) -> bool {
        !self.snapshot.mesh.auto_mtls
            || self.policies.namespace_mode(&pod.namespace, pod.revision.as_deref()) == MtlsMode::Disable
    }
}

#[cfg(test)]
mod tests;
