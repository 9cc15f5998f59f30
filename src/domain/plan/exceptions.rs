//! Plans `--except`: the policies that keep ports open while their namespace turns STRICT.

use super::names::free_name;
use super::policy::{policies_of_namespace, taken_names};
use super::workload::pods_with;
use super::{Plan, PlanBlocker, PolicyAction, PolicyChange};
use crate::domain::mesh::{MtlsMode, PeerAuthentication, Service, ServiceKind, ServicePort, Snapshot};
use crate::domain::probe::Target;
use crate::domain::selector::labels_text;
use std::collections::{BTreeMap, BTreeSet};

/// The ports of one Service that stay open.
struct OpenPorts<'a> {
    service: &'a Service,
    /// Target ports.
    ports: BTreeSet<u16>,
}

/// Plans a policy for the pods of each Service of `exceptions`, with PERMISSIVE at the **target** ports (PA-6). A policy
/// that has the same selector already gets the ports.
pub(super) fn plan(snapshot: &Snapshot, exceptions: &[Target], plan: &mut Plan) {
    if exceptions.is_empty() {
        return;
    }
    if snapshot.policies.legacy_only {
        plan.blockers.push(PlanBlocker::LegacySelector);
        return;
    }
    let mut opened: Vec<OpenPorts<'_>> = Vec::new();
    for exception in exceptions {
        match open_ports(snapshot, exception) {
            Ok(ports) => opened.push(ports),
            Err(blocker) => plan.blockers.push(blocker),
        }
    }
    check_other_services(snapshot, &opened, plan);
    // Services with one selector share one policy: Istio applies only the oldest of two (PA-4).
    let mut by_selector: BTreeMap<&BTreeMap<String, String>, (&str, BTreeSet<u16>)> = BTreeMap::new();
    for OpenPorts { service, ports } in &opened {
        by_selector.entry(&service.selector).or_insert((&service.name, BTreeSet::new())).1.extend(ports);
    }
    let mut taken: BTreeSet<String> = taken_names(snapshot).into_iter().map(str::to_owned).collect();
    for (selector, (service, ports)) in by_selector {
        let change = policy_for(snapshot, selector, service, &ports, &taken, plan);
        if let Some(change) = change {
            taken.insert(change.name.clone());
            plan.superfluous.retain(|deletion| deletion.name != change.name);
            plan.exceptions.push(change);
        }
    }
}

/// The change that keeps these target ports of the selected pods open; `None` where another policy stops it.
fn policy_for(
    snapshot: &Snapshot,
    selector: &BTreeMap<String, String>,
    service: &str,
    ports: &BTreeSet<u16>,
    taken: &BTreeSet<String>,
    plan: &mut Plan,
) -> Option<PolicyChange> {
    let is_left = |policy: &&PeerAuthentication| !plan.superfluous.iter().any(|change| change.name == policy.name);
    let pods = || pods_with(snapshot, selector);
    let mut selecting: Vec<&PeerAuthentication> =
        policies_of_namespace(snapshot).filter(|policy| pods().any(|pod| policy.selects(pod))).collect();
    selecting.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
    let same = selecting.iter().copied().find(|policy| policy.selector == *selector);
    let other = selecting.iter().copied().filter(is_left).find(|policy| policy.selector != *selector);
    if let Some(other) = other {
        plan.blockers.push(PlanBlocker::OtherSelector {
            policy: other.name.clone(),
            selector: labels_text(&other.selector),
            pods: pods().filter(|pod| other.selects(pod)).map(|pod| pod.name.clone()).collect(),
        });
        return None;
    }
    let permissive = |ports: &BTreeSet<u16>| ports.iter().map(|port| (*port, MtlsMode::Permissive)).collect();
    let (name, action) = match same {
        None => {
            let action =
                PolicyAction::CreateForPods { selector: selector.clone(), mode: None, ports: permissive(ports) };
            (free_name(&format!("{service}-exception"), taken), action)
        }
        Some(policy) => {
            let is_open = |port: &u16| {
                let mode = policy.ports.get(port).copied().flatten().or(policy.mode);
                mode.is_some_and(|mode| mode != MtlsMode::Strict)
            };
            let closed: BTreeSet<u16> = ports.iter().copied().filter(|port| !is_open(port)).collect();
            let action = if closed.is_empty() {
                PolicyAction::Unchanged { mode: None }
            } else {
                PolicyAction::SetPorts { ports: permissive(&closed) }
            };
            (policy.name.clone(), action)
        }
    };
    Some(PolicyChange { namespace: snapshot.namespace.clone(), name, action })
}

/// The target ports that an exception names.
fn open_ports<'a>(snapshot: &'a Snapshot, exception: &Target) -> Result<OpenPorts<'a>, PlanBlocker> {
    let name = &exception.service;
    let Some(service) = snapshot.service(name) else {
        let mut existing: Vec<String> = snapshot.services.iter().map(|service| service.name.clone()).collect();
        existing.sort();
        return Err(PlanBlocker::UnknownService { name: name.clone(), existing });
    };
    if service.kind == ServiceKind::ExternalName || service.selector.is_empty() {
        return Err(PlanBlocker::ExceptionWithoutSelector { service: name.clone() });
    }
    let is_named = |port: &&ServicePort| exception.port.as_ref().is_none_or(|reference| port.is(reference));
    let named: Vec<&ServicePort> = service.tcp_ports().filter(is_named).collect();
    if named.is_empty() {
        return Err(PlanBlocker::UnknownPort {
            service: name.clone(),
            port: exception.port.as_ref().map_or_else(String::new, ToString::to_string),
            existing: service.tcp_ports().map(|port| port.port).collect(),
        });
    }
    let mut ports = BTreeSet::new();
    for port in named {
        let targets = target_ports(snapshot, service, port);
        if targets.is_empty() {
            return Err(PlanBlocker::UnknownTargetPort { service: name.clone(), port: port.port });
        }
        ports.extend(targets);
    }
    Ok(OpenPorts { service, ports })
}

/// The target ports of a Service port: at its endpoints, or by number where it has none.
fn target_ports(snapshot: &Snapshot, service: &Service, port: &ServicePort) -> BTreeSet<u16> {
    let endpoints = snapshot.live_endpoints(service);
    let mut targets: BTreeSet<u16> = endpoints.filter_map(|endpoint| service.target_port(port, endpoint)).collect();
    if targets.is_empty() {
        targets.extend(port.target_number());
    }
    targets
}

/// An exception holds for a target port of pods, whatever Service leads there: another Service that does, and that no
/// exception names, stops the run.
fn check_other_services(snapshot: &Snapshot, opened: &[OpenPorts<'_>], plan: &mut Plan) {
    for OpenPorts { service, ports } in opened {
        let names_it = |other: &Service, port: u16| {
            opened.iter().any(|open| open.service.name == other.name && open.ports.contains(&port))
        };
        let others = snapshot.services.iter().filter(|other| other.name != service.name);
        for (other, port) in others.flat_map(|other| ports.iter().map(move |port| (other, *port))) {
            if !names_it(other, port) && leads_to(snapshot, other, service, port) {
                plan.blockers.push(PlanBlocker::SharedException {
                    service: service.name.clone(),
                    target_port: port,
                    other: other.name.clone(),
                });
            }
        }
    }
}

/// Whether `other` leads to `port` of a pod that `service` selects.
fn leads_to(snapshot: &Snapshot, other: &Service, service: &Service, port: u16) -> bool {
    snapshot.live_endpoints(other).any(|endpoint| {
        endpoint.ports.values().any(|target| *target == port)
            && snapshot.workload_of(endpoint).is_some_and(|workload| service.selects(&workload.labels))
    })
}

#[cfg(test)]
mod tests;
