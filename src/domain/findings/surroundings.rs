//! Finds callers from outside the mesh, and lists what could not be read or checked.

use super::{Code, Finding, Purpose, Severity, port_name};
use crate::domain::client_tls::Server;
use crate::domain::mesh::PortRef;
use crate::domain::mesh::{DataPlane, MtlsMode, ServiceKind};
use crate::domain::namespace_context::{ExternalCaller, ExternalCallerKind, NamespaceContext};
use crate::domain::overview::{Overview, PortView, workload};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn find(context: &NamespaceContext, overview: &Overview, purpose: Purpose, findings: &mut Vec<Finding>) {
    external_callers(context, overview, findings);
    scrapers(context, overview, findings);
    observed(context, purpose, findings);
    services(context, findings);
    if !context.identity_policies.is_empty() && !refuses_all(overview) {
        let message = "AuthorizationPolicies ask who the caller is, and callers that send plaintext have no name";
        let objects = context.identity_policies.iter().map(|name| format!("authorizationpolicy/{name}"));
        findings.push(Finding::new(Severity::Warning, Code::IdentityPolicy, message).about(objects));
    }
    if !context.unread.is_empty() {
        let message = format!("could not be read: {}", context.unread.join(", "));
        findings.push(Finding::new(Severity::Info, Code::NotRead, message));
    }
}

fn is_strict(port: &PortView) -> bool {
    port.workload_ports.iter().any(|workload_port| workload_port.server == Server::Mode(MtlsMode::Strict))
}

fn refuses_all(overview: &Overview) -> bool {
    let workload_ports = overview.ports.iter().flat_map(|port| &port.workload_ports).chain(&overview.others);
    workload_ports.into_iter().all(|workload_port| workload_port.server == Server::Mode(MtlsMode::Strict))
}

fn leads_to(external_caller: &ExternalCaller, port: &PortView) -> bool {
    external_caller.service == port.service
        && match &external_caller.port {
            None => true,
            Some(PortRef::Number(number)) => port.port.port == *number,
            Some(PortRef::Name(name)) => port.port.name == *name,
        }
}

/// Callers from outside the mesh: Ingresses and Routes (BY-18), and the API server (BY-19).
fn external_callers(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let mut by_service: BTreeMap<&str, Vec<&PortView>> = BTreeMap::new();
    for port in &overview.ports {
        by_service.entry(&port.service).or_default().push(port);
    }
    let mut found: BTreeMap<(ExternalCallerKind, bool), BTreeSet<String>> = BTreeMap::new();
    for external_caller in &context.external_callers {
        let ports = by_service.get(external_caller.service.as_str()).into_iter().flatten();
        for port in ports.filter(|port| leads_to(external_caller, port)) {
            let objects = found.entry((external_caller.kind, is_strict(port))).or_default();
            objects.extend([external_caller.object.clone(), port_name(&port.service, port.port.port)]);
        }
    }
    for ((kind, strict), objects) in found {
        let (severity, code, message) = match (kind, strict) {
            (ExternalCallerKind::ApiServer, true) => (
                Severity::Error,
                Code::ApiServerCall,
                "the API server calls these ports from outside the mesh, and STRICT refuses it",
            ),
            (ExternalCallerKind::ApiServer, false) => (
                Severity::Info,
                Code::ApiServerCall,
                "the API server calls these ports from outside the mesh: STRICT would refuse it",
            ),
            (ExternalCallerKind::Ingress, true) => (
                Severity::Warning,
                Code::OutsideCaller,
                "calls come in from outside: STRICT refuses them unless the controller's pods are in the mesh",
            ),
            (ExternalCallerKind::Ingress, false) => (
                Severity::Info,
                Code::OutsideCaller,
                "calls come in from outside: STRICT would refuse them unless the controller's pods are in the mesh",
            ),
        };
        findings.push(Finding::new(severity, code, message).about(objects));
    }
}

/// Workloads that ask Prometheus to scrape a port that refuses plaintext. Port 15020 is the proxy's own.
fn scrapers(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let strict: BTreeSet<(&str, u16)> = overview
        .ports
        .iter()
        .flat_map(|port| &port.workload_ports)
        .filter(|workload_port| workload_port.server == Server::Mode(MtlsMode::Strict))
        .filter_map(|workload_port| Some((workload_port.workload.as_str(), workload_port.target_port?)))
        .collect();
    let mut objects = BTreeSet::new();
    for pod in context.snapshot.pods.values().filter(|pod| pod.data_plane == DataPlane::Sidecar) {
        let name = workload(pod);
        if pod.facts.scraped.is_some_and(|port| strict.contains(&(name.as_str(), port))) {
            objects.insert(name);
        }
    }
    if !objects.is_empty() {
        let message = "prometheus.io/scrape invites a scraper to a port that refuses it unless it is in the mesh";
        findings.push(Finding::new(Severity::Warning, Code::OutsideCaller, message).about(objects));
    }
}

/// Clients that sent plaintext, by the metrics of Prometheus.
fn observed(context: &NamespaceContext, purpose: Purpose, findings: &mut Vec<Finding>) {
    let Some(observed) = &context.observed else {
        let message = "clients outside the mesh cannot be seen without --prometheus";
        findings.push(Finding::new(Severity::Info, Code::ClientsUnseen, message));
        return;
    };
    let severity = if purpose == Purpose::BeforeSwitch { Severity::Error } else { Severity::Warning };
    for seen in observed {
        let count = seen.count.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        let mut message = format!(
            "{} sent plaintext to {} ({count} requests or connections in the last hours)",
            seen.client, seen.workload
        );
        if !seen.is_named {
            message += "; probes by this tool count too: pass a --since that begins after its last run";
        }
        let service = (!seen.service.is_empty()).then(|| format!("service/{}", seen.service));
        let objects = [seen.client.clone(), seen.workload.clone()].into_iter().chain(service);
        findings.push(Finding::new(severity, Code::PlaintextSeen, message).about(objects));
    }
}

/// Services about which less is known.
fn services(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let named = |kind: &dyn Fn(&&crate::domain::mesh::Service) -> bool| -> Vec<String> {
        context.snapshot.services.iter().filter(kind).map(|service| format!("service/{}", service.name)).collect()
    };
    let aliases = named(&|service| service.kind == ServiceKind::ExternalName);
    // The addresses of pods of the namespace are known, whoever keeps them.
    let is_known = |service: &crate::domain::mesh::Service| {
        let mut endpoints = service.endpoints.iter().peekable();
        endpoints.peek().is_some() && endpoints.all(|endpoint| context.snapshot.pod_of(endpoint).is_some())
    };
    let by_hand = named(&|service| {
        service.kind != ServiceKind::ExternalName && service.selector.is_empty() && !is_known(service)
    });
    for (code, message, objects) in [
        (Code::ExternalName, "no mode and no rule holds for an alias of a name outside", aliases),
        (Code::NoSelector, "endpoints are kept by hand: nothing tells whether they are in the mesh", by_hand),
    ] {
        if !objects.is_empty() {
            findings.push(Finding::new(Severity::Info, code, message).about(objects));
        }
    }
}
