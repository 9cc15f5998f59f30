//! Finds `DestinationRules` whose effect differs from what they seem to ask for.

use super::{Code, Finding, Severity, port_name};
use crate::domain::mesh::{DestinationRule, Service, TlsPlace};
use crate::domain::namespace_context::NamespaceContext;
use crate::domain::overview::{Caller, Overview};
use crate::domain::rule::RuleIndex;
use std::collections::{BTreeMap, BTreeSet};

fn object(context: &NamespaceContext, rule: &DestinationRule) -> String {
    if rule.namespace == context.snapshot.namespace {
        format!("destinationrule/{}", rule.name)
    } else {
        format!("destinationrule/{}/{}", rule.namespace, rule.name)
    }
}

pub(super) fn find(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    if !snapshot.mesh.auto_mtls {
        let message = "auto mTLS is off: clients send plaintext wherever no rule says otherwise";
        findings.push(Finding::new(Severity::Info, Code::AutoMtlsOff, message));
    }
    let by_host: BTreeMap<String, &Service> = snapshot
        .services
        .iter()
        .map(|service| (service.host(&snapshot.namespace, &snapshot.mesh.cluster_domain), service))
        .collect();
    for rule in &snapshot.rules {
        check_rule(context, rule, &by_host, findings);
    }
    not_in_force(context, &by_host, findings);
    shadowed(overview, findings);
}

/// Problems of one rule, whatever the other rules are.
fn check_rule(
    context: &NamespaceContext,
    rule: &DestinationRule,
    by_host: &BTreeMap<String, &Service>,
    findings: &mut Vec<Finding>,
) {
    let domain = &context.snapshot.mesh.cluster_domain;
    let name = object(context, rule);
    let mut add = |severity, code, message: String, more: Option<String>| {
        findings.push(Finding::new(severity, code, message).about([name.clone()].into_iter().chain(more)));
    };
    let host = rule.resolved_host(domain);
    if !rule.details.empty_tls.is_empty() {
        add(Severity::Warning, Code::EmptyTls, format!("{name} has a tls block without a mode: that is DISABLE"), None);
    }
    if let Some(problem) = matches_nothing(context, rule, &host, by_host) {
        add(Severity::Warning, Code::HostNeverMatches, format!("host {:?} of {name} {problem}", rule.host), None);
    }
    for (index, entry) in rule.ports.iter().enumerate() {
        if rule.tls.is_some() && entry.tls.is_none() && !rule.details.empty_tls.contains(&TlsPlace::Port(index)) {
            let port = entry.port.map_or_else(|| "?".to_owned(), |port| port.to_string());
            let message =
                format!("{name} has settings for port {port} without tls, so that its own tls does not hold there");
            add(Severity::Warning, Code::PortEntryDropsTls, message, None);
        }
        if let (Some(service), Some(port)) = (by_host.get(&host), entry.port)
            && service.ports.iter().all(|known| known.port != port)
        {
            let message = format!("{name} has settings for port {port}, which is no port of service/{}", service.name);
            add(Severity::Warning, Code::PortNumber, message, Some(format!("service/{}", service.name)));
        }
    }
    for subset in &rule.subsets {
        let routed = context.routed.contains(&(host.clone(), subset.name.clone()));
        if let Some(tls) = subset.tls.filter(|tls| routed && Some(*tls) != rule.tls) {
            let top = rule.tls.map_or("none", |tls| tls.as_str());
            let message =
                format!("calls are routed to subset {} of {name}, whose tls is {tls}, not {top}", subset.name);
            add(Severity::Info, Code::SubsetTls, message, None);
        }
    }
}

/// DR-1: a host with a dot is not completed, so a partial name matches no Service. A full name can be misspelt.
fn matches_nothing(
    context: &NamespaceContext,
    rule: &DestinationRule,
    host: &str,
    by_host: &BTreeMap<String, &Service>,
) -> Option<&'static str> {
    let snapshot = &context.snapshot;
    if rule.is_wildcard() || by_host.contains_key(host) {
        return None;
    }
    let home = format!(".{}.svc.{}", snapshot.namespace, snapshot.mesh.cluster_domain);
    if host.ends_with(&home) {
        return Some("is the name of no Service of the namespace");
    }
    // `web.shop` and `web.shop.svc` are partial names.
    let beginning = format!("{host}.");
    let next = by_host.range(beginning.clone()..).next();
    let is_partial = host.contains('.') && next.is_some_and(|(full, _)| full.starts_with(&beginning));
    is_partial.then_some("is not fully qualified, so it matches no Service")
}

/// DR-6, DR-7: rules of the namespace without effect, because another one for the same host is in force.
fn not_in_force(context: &NamespaceContext, by_host: &BTreeMap<String, &Service>, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let index = RuleIndex::new(&snapshot.rules, &snapshot.mesh.cluster_domain);
    let mut reported: BTreeSet<Vec<String>> = BTreeSet::new();
    let mut patterns = BTreeSet::new();
    // Services with the same pattern have the same rules.
    let is_first = |host: &&String| index.most_specific(host).is_some_and(|(pattern, _)| patterns.insert(pattern));
    for host in by_host.keys().filter(is_first) {
        let Some(serving) = index.serving(host) else { continue };
        let lost: Vec<String> =
            serving.idle.iter().filter(|rule| rule.has_traffic_policy).map(|rule| object(context, rule)).collect();
        let winners: Vec<String> = serving.in_force.iter().map(|rule| object(context, rule)).collect();
        if !lost.is_empty() && reported.insert(lost.clone()) {
            let message = format!("for host {} only {} counts, the older one", serving.host, winners.join(", "));
            findings.push(Finding::new(Severity::Warning, Code::RuleNotInForce, message).about(lost));
        }
    }
}

/// DR-3: clients of other namespaces that follow rules of their own namespace.
fn shadowed(overview: &Overview, findings: &mut Vec<Finding>) {
    let mut shadows: BTreeMap<(&str, &[String]), BTreeSet<String>> = BTreeMap::new();
    for port in &overview.ports {
        let local = port.callers.iter().find(|view| view.caller == Caller::Own && view.subset.is_none());
        let Some(local) = local.filter(|local| local.explicit) else { continue };
        for view in &port.callers {
            if let Caller::Namespace(namespace) = &view.caller
                && view.rules != local.rules
                && view.rules.iter().any(|rule| rule.starts_with(&format!("{namespace}/")))
            {
                let service = port_name(&port.service, port.port.port);
                shadows.entry((namespace, &view.rules)).or_default().insert(service);
            }
        }
    }
    for ((namespace, rules), objects) in shadows {
        let message = format!(
            "clients in namespace {namespace} use {}, in the place of this namespace's rules",
            rules.join(", ")
        );
        let rules = rules.iter().map(|rule| format!("destinationrule/{rule}"));
        findings
            .push(Finding::new(Severity::Warning, Code::RuleShadowed, message).about(objects.into_iter().chain(rules)));
    }
}
