//! The client's half of a plan: `DestinationRules` that tell clients to send mutual TLS.

use super::{
    Action, Change, Direction, Edit, Plan, Refusal, RuleChoice, Scope, SkipReason, Skipped, SwitchRequest, Target,
    TlsPlace, Warning,
};
use crate::domain::mesh::{MtlsMode, Service, ServiceKind, Snapshot};
use crate::domain::rule::{ClientTls, DestinationRule, RuleIndex, Serving, covers};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

/// Name of the one rule of `Scope::Namespace`.
const NAMESPACE_RULE: &str = "secure-traffic";

type Places = BTreeSet<(TlsPlace, Option<ClientTls>)>;

pub(super) fn plan(snapshot: &Snapshot, wish: &SwitchRequest, plan: &mut Plan) {
    let services = chosen(snapshot, wish, plan);
    match wish.direction {
        Direction::Enable => Enable::new(snapshot, wish, plan).run(&services),
        Direction::Disable { mode } => disable(snapshot, wish, &services, mode, plan),
    }
    plan.rules.sort_by(|left, right| left.name.cmp(&right.name));
    plan.skipped.sort();
}

/// The Services that the wish is about, by name; a name that is none of theirs is a refusal.
fn chosen<'a>(snapshot: &'a Snapshot, wish: &SwitchRequest, plan: &mut Plan) -> Vec<&'a Service> {
    let mut services: Vec<&Service> = snapshot.services.iter().collect();
    services.sort_by(|left, right| left.name.cmp(&right.name));
    let Some(names) = &wish.services else { return services };
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let exist: Vec<String> = services.iter().map(|service| service.name.clone()).collect();
    for name in names.iter().filter(|name| exist.binary_search_by(|other| other.as_str().cmp(name)).is_err()) {
        plan.refusals.push(Refusal::UnknownService { name: (*name).to_owned(), exist: exist.clone() });
    }
    services.retain(|service| names.contains(service.name.as_str()));
    services
}

/// RE-5: why a Service must not get a rule; `force` lifts only the last reason.
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
    let outside = service
        .endpoints
        .iter()
        .filter(|endpoint| !snapshot.pod_of(endpoint).is_some_and(|pod| pod.data_plane.is_meshed()));
    let mut names: Vec<String> =
        outside.map(|endpoint| endpoint.pod.clone().unwrap_or_else(|| endpoint.address.clone())).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then_some(SkipReason::OutsideMesh(names))
}

/// `name`, or the first of `name-2`, `name-3`, … that is not taken.
pub(super) fn free_name<T: Borrow<str> + Ord>(name: &str, taken: &BTreeSet<T>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

/// Which clients a rule of the namespace reaches for a Service.
enum Served {
    /// All of them.
    All,
    /// Those that a rule selects; for the others no wider rule is asked (DR-5).
    Some,
    /// None.
    Nobody,
}

struct Enable<'a> {
    snapshot: &'a Snapshot,
    wish: &'a SwitchRequest,
    plan: &'a mut Plan,
    /// Whether a missing `tls` must be written: always, or because clients would send plaintext without it (RE-4).
    explicit: bool,
    /// Places to set by the name of the rule; an empty set is a rule that is right already.
    edits: BTreeMap<&'a str, Places>,
    rules: RuleIndex<'a>,
    /// Services that get a rule each.
    exact: Vec<&'a Service>,
    /// Services that one rule for the namespace will serve.
    wide: Vec<&'a Service>,
}

impl<'a> Enable<'a> {
    fn new(snapshot: &'a Snapshot, wish: &'a SwitchRequest, plan: &'a mut Plan) -> Self {
        let without = snapshot.policies.legacy_only || !snapshot.mesh.auto_mtls;
        let explicit = match wish.destination_rules {
            RuleChoice::Always => true,
            RuleChoice::Auto => without,
            RuleChoice::Never => false,
        };
        let rules = RuleIndex::new(&snapshot.rules, &snapshot.mesh.cluster_domain);
        Self { snapshot, wish, plan, explicit, edits: BTreeMap::new(), rules, exact: Vec::new(), wide: Vec::new() }
    }

    fn run(mut self, services: &[&'a Service]) {
        for service in services {
            if let Some(reason) = self.stopped_by(service) {
                if self.wish.destination_rules != RuleChoice::Never {
                    self.plan.skipped.push(Skipped { service: service.name.clone(), reason });
                }
                continue;
            }
            let served = self.serve(service);
            if self.explicit {
                match served {
                    Served::All => {}
                    Served::Nobody if self.wish.scope == Scope::Namespace => self.wide.push(service),
                    Served::Some | Served::Nobody => self.exact.push(service),
                }
            }
        }
        if self.wish.destination_rules != RuleChoice::Never {
            self.judge_wildcards(services);
            self.write_edits();
            self.write_creations();
        }
    }

    fn stopped_by(&self, service: &Service) -> Option<SkipReason> {
        let reason = exclusion(self.snapshot, service)?;
        let lifted = self.wish.force && matches!(reason, SkipReason::OutsideMesh(_));
        (!lifted).then_some(reason)
    }

    fn host(&self, service: &Service) -> String {
        service.host(&self.snapshot.namespace, &self.snapshot.mesh.cluster_domain)
    }

    fn serving(&self, service: &Service) -> Option<Serving<'a>> {
        self.rules.serving(&self.host(service))
    }

    /// Notes what the rules that serve a Service lack.
    fn serve(&mut self, service: &Service) -> Served {
        let Some(serving) = self.serving(service) else { return Served::Nobody };
        let name = |rules: &[&DestinationRule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        if serving.in_force.len() + serving.idle.len() > 1 {
            self.plan.warnings.push(Warning::SeveralRules {
                host: serving.host.clone(),
                in_force: name(&serving.in_force),
                idle: name(&serving.idle),
            });
        }
        for rule in &serving.in_force {
            self.note(rule, rule.places());
        }
        for rule in &serving.idle {
            // DR-6: of a rule that is merged into another only the subsets count.
            self.note(rule, rule.subset_places());
        }
        if serving.in_force.iter().all(|rule| rule.selects_clients()) { Served::Some } else { Served::All }
    }

    fn note(&mut self, rule: &'a DestinationRule, places: Vec<(TlsPlace, Option<ClientTls>)>) {
        let explicit = self.explicit;
        let lacks = |(place, tls): &(TlsPlace, Option<ClientTls>)| match tls {
            Some(ClientTls::IstioMutual) => false,
            Some(_) => true,
            // DR-12: a port entry without `tls` does not inherit, so under `explicit` it needs its own.
            None => explicit && !place.inherits(),
        };
        let lacking: Vec<_> = places.into_iter().filter(lacks).collect();
        for tls in lacking.iter().filter_map(|(_, tls)| *tls) {
            let (name, host) = (rule.name.clone(), rule.host.clone());
            if self.wish.destination_rules == RuleChoice::Never {
                self.plan.warnings.push(Warning::Unexpected { rule: name, host, tls });
            } else if tls != ClientTls::Disable {
                self.plan.warnings.push(Warning::ReplacesTls { rule: name, host, tls });
            }
        }
        self.edits.entry(&rule.name).or_default().extend(lacking);
    }

    /// A wildcard serves more than one Service: it must not be changed to the harm of another.
    fn judge_wildcards(&mut self, services: &[&Service]) {
        let changed =
            |rule: &&DestinationRule| self.edits.get(rule.name.as_str()).is_some_and(|edits| !edits.is_empty());
        let wildcards: Vec<_> = self.snapshot.rules.iter().filter(|rule| rule.is_wildcard()).filter(changed).collect();
        for rule in wildcards {
            let home = format!(".{}.svc.{}", self.snapshot.namespace, self.snapshot.mesh.cluster_domain);
            if !rule.host.ends_with(&home) && !self.wish.force {
                self.plan.refusals.push(Refusal::WildcardTooWide { rule: rule.name.clone(), host: rule.host.clone() });
            }
            self.judge_reach(&rule.name, Some(&rule.host), services);
        }
    }

    /// What a wildcard rule (`None`: the one that will be made) does to Services that have no rule of their own.
    fn judge_reach(&mut self, rule: &str, pattern: Option<&str>, asked: &[&Service]) {
        let reached = |service: &&Service| self.serving(service).map(|serving| serving.host).as_deref() == pattern;
        let reached: Vec<&Service> = self.snapshot.services.iter().filter(reached).collect();
        for service in &reached {
            if let Some(reason) = exclusion(self.snapshot, service).filter(|_| !self.wish.force) {
                self.plan.refusals.push(Refusal::WildcardBreaks {
                    rule: rule.to_owned(),
                    service: service.name.clone(),
                    reason,
                });
            }
        }
        let asked: BTreeSet<&str> = asked.iter().map(|service| service.name.as_str()).collect();
        let others = reached.iter().map(|service| service.name.clone()).filter(|name| !asked.contains(name.as_str()));
        let mut others: Vec<String> = others.collect();
        others.sort_unstable();
        if !others.is_empty() {
            self.plan.warnings.push(Warning::WildcardReachesMore { rule: rule.to_owned(), services: others });
        }
    }

    fn write_edits(&mut self) {
        let auto = !self.changes_wire();
        for rule in &self.snapshot.rules {
            let Some(places) = self.edits.get(rule.name.as_str()) else { continue };
            if rule.namespace != self.snapshot.namespace {
                continue;
            }
            // Section 4 of the mesh's own measurements: no call is lost where auto mTLS said the same before.
            self.plan.rules_need_settling |= places.iter().any(|(_, from)| from.is_some() || !auto);
            let edits = places.iter().map(|(place, from)| Edit::SetTls { place: *place, from: *from }).collect();
            self.plan.rules.push(change(rule, Action::of(edits)));
        }
    }

    fn write_creations(&mut self) {
        if self.exact.is_empty() && self.wide.is_empty() {
            return;
        }
        self.plan.rules_need_settling |= self.changes_wire();
        let mut taken: BTreeSet<String> = self.snapshot.rules.iter().map(|rule| rule.name.clone()).collect();
        let mut wanted: Vec<(&str, String)> =
            self.exact.iter().map(|service| (service.name.as_str(), self.host(service))).collect();
        let everything = format!("*.{}.svc.{}", self.snapshot.namespace, self.snapshot.mesh.cluster_domain);
        if !self.wide.is_empty() {
            wanted.push((NAMESPACE_RULE, everything));
        }
        let mut last = String::new();
        for (wanted, host) in wanted {
            let name = free_name(wanted, &taken);
            taken.insert(name.clone());
            last.clone_from(&name);
            self.plan.rules.push(Change {
                target: Target::Rule,
                namespace: self.snapshot.namespace.clone(),
                name,
                host: Some(host),
                mode: None,
                action: Action::Create,
            });
        }
        if !self.wide.is_empty() {
            let asked = std::mem::take(&mut self.wide);
            self.judge_reach(&last, None, &asked);
        }
    }

    /// Whether clients send plaintext where no rule speaks (DR-21): no auto mTLS, or a namespace in DISABLE.
    fn changes_wire(&self) -> bool {
        self.snapshot.policies.legacy_only
            || !self.snapshot.mesh.auto_mtls
            || super::namespace_mode(self.snapshot) == Some(MtlsMode::Disable)
    }
}

fn change(rule: &DestinationRule, action: Action) -> Change {
    Change {
        target: Target::Rule,
        namespace: rule.namespace.clone(),
        name: rule.name.clone(),
        host: Some(rule.host.clone()),
        mode: None,
        action,
    }
}

/// Takes `ISTIO_MUTUAL` out of every rule that is about the chosen Services: of those not in force too, because one
/// of them comes into force when the first has no policy left (DR-6).
fn disable(snapshot: &Snapshot, wish: &SwitchRequest, services: &[&Service], mode: MtlsMode, plan: &mut Plan) {
    let domain = &snapshot.mesh.cluster_domain;
    let home = format!(".{}.svc.{domain}", snapshot.namespace);
    let hosts: BTreeSet<String> = services.iter().map(|service| service.host(&snapshot.namespace, domain)).collect();
    for rule in snapshot.rules.iter().filter(|rule| rule.namespace == snapshot.namespace) {
        let host = rule.resolved_host(domain);
        let concerned = if wish.services.is_some() { hosts.contains(&host) } else { host.ends_with(&home) };
        let edits: Vec<Edit> = rule
            .places()
            .into_iter()
            .filter(|(_, tls)| *tls == Some(ClientTls::IstioMutual))
            .map(|(place, _)| Edit::RemoveTls { place })
            .collect();
        let (name, foreign) = (rule.name.clone(), rule.foreign_manager.clone().filter(|_| !wish.force_conflicts));
        let mut stays = !edits.is_empty();
        if wish.destination_rules == RuleChoice::Never {
            // Nothing is touched; what it means under DISABLE is said below.
        } else if !concerned {
            if stays && rule.is_wildcard() && hosts.iter().any(|served| covers(&host, served)) {
                plan.warnings.push(Warning::WildcardLeft { rule: name.clone(), host: host.clone() });
            }
        } else if let Some(manager) = foreign.filter(|_| stays) {
            plan.warnings.push(Warning::ForeignTls { rule: name.clone(), manager });
        } else {
            plan.rules_need_settling |= stays;
            plan.rules.push(change(rule, Action::of(edits)));
            stays = false;
        }
        let reaches = || concerned || hosts.iter().any(|served| covers(&host, served));
        if stays && mode == MtlsMode::Disable && reaches() {
            plan.warnings.push(Warning::StillMutual { rule: name, host: host.clone() });
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
