//! Finds clients of the mesh that send plaintext past every rule: their sidecar does not know the Service, or they call it
//! by another name.

use super::surroundings::is_sidecar_workload;
use super::{Code, Finding, Severity, port_name};
use crate::domain::client_scope::CalledService;
use crate::domain::client_tls::Server;
use crate::domain::envoy_filter::EnvoyFilter;
use crate::domain::mesh::{MtlsMode, Service, ServiceKind, Snapshot};
use crate::domain::namespace_context::NamespaceContext;
use crate::domain::overview::{Overview, PortView, WorkloadPort, workload};
use crate::domain::sidecar::{ScopedWorkload, Sidecar};
use std::collections::{BTreeMap, BTreeSet};

/// A namespace that is none of those that objects name.
const ANOTHER: &str = "";

pub(super) fn find(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    not_exported(context, overview, findings);
    not_imported(context, overview, findings);
    headless(context, overview, findings);
    service_entries(context, overview, findings);
    envoy_clusters(context, overview, findings);
    inbound_filters(context, findings);
}

/// Whether a proxy accepts mutual TLS there, so that STRICT could refuse plaintext.
fn accepts_mutual(workload_port: &WorkloadPort) -> bool {
    matches!(workload_port.server, Server::Mode(MtlsMode::Strict | MtlsMode::Permissive))
}

/// The Service ports that mutual TLS covers, each with its Service and its full name.
fn covered<'a>(context: &'a NamespaceContext, overview: &'a Overview) -> Vec<(&'a PortView, &'a Service, String)> {
    let snapshot = &context.snapshot;
    let services = snapshot.services_by_name();
    let ports = overview.ports.iter().filter(|port| port.workload_ports.iter().any(accepts_mutual));
    let with_service = ports.filter_map(|port| {
        let service = *services.get(port.service.as_str())?;
        Some((port, service, service.host(&snapshot.namespace, &snapshot.mesh.cluster_domain)))
    });
    with_service.collect()
}

/// CS-4: Services that sidecars of other namespaces do not know.
fn not_exported(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let scopes = context.client_scopes();
    let (mut by_service, mut by_mesh) = (BTreeSet::new(), BTreeSet::new());
    if !context.snapshot.mesh.passes_unknown {
        return;
    }
    for (port, service, host) in covered(context, overview) {
        let called = called(context, port, service, &host);
        if !scopes.is_exported(called, ANOTHER) {
            let objects = if service.export_to.is_empty() { &mut by_mesh } else { &mut by_service };
            objects.insert(port_name(&port.service, port.port.port));
        }
    }
    for (setting, objects) in
        [("networking.istio.io/exportTo", by_service), ("defaultServiceExportTo of the mesh", by_mesh)]
    {
        if !objects.is_empty() {
            let message = format!(
                "{setting} hides these Services from sidecars of other namespaces: their calls are plaintext, which STRICT refuses"
            );
            findings.push(Finding::new(Severity::Warning, Code::ServiceNotVisible, message).about(objects));
        }
    }
}

fn called<'a>(
    context: &'a NamespaceContext,
    port: &PortView,
    service: &'a Service,
    host: &'a str,
) -> CalledService<'a> {
    CalledService { namespace: &context.snapshot.namespace, host, port: port.port.port, export_to: &service.export_to }
}

/// CS-2, CS-3: `Sidecar` objects whose workloads do not know Services of the namespace.
fn not_imported(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let scopes = context.client_scopes();
    let covered = covered(context, overview);
    let mut objects = BTreeSet::new();
    for sidecar in context.sidecars.iter() {
        if !sidecar.passes_unknown.unwrap_or(context.snapshot.mesh.passes_unknown) {
            continue;
        }
        let clients = local_clients(context, sidecar);
        for home in homes(context, sidecar, &clients) {
            let mut hidden = covered.iter().filter(|(port, service, host)| {
                let called = called(context, port, service, host);
                let is_exported = if home == ANOTHER {
                    scopes.is_exported_elsewhere(called)
                } else {
                    scopes.is_exported(called, home)
                };
                is_exported && !sidecar.imports(home, called)
            });
            let Some(first) = hidden.next() else { continue };
            let named = |(port, ..): &(&PortView, &Service, String)| port_name(&port.service, port.port.port);
            objects.extend(hidden.chain([first]).map(named));
            objects.insert(object(context, "sidecar", &sidecar.namespace, &sidecar.name));
            if home == context.snapshot.namespace {
                objects.extend(clients.iter().cloned());
            }
        }
    }
    if !objects.is_empty() {
        let message = "the egress of Sidecars leaves Services of the namespace out: calls of their workloads are plaintext, \
                       which STRICT refuses";
        findings.push(Finding::new(Severity::Warning, Code::ServiceNotVisible, message).about(objects));
    }
}

/// Workloads of the namespace to which a `Sidecar` applies.
fn local_clients(context: &NamespaceContext, sidecar: &Sidecar) -> BTreeSet<String> {
    let (snapshot, scopes) = (&context.snapshot, context.client_scopes());
    let pods = snapshot.pods.values().filter(|pod| is_sidecar_workload(pod));
    let follows = |pod: &&crate::domain::mesh::Pod| {
        let client =
            ScopedWorkload { namespace: &snapshot.namespace, labels: &pod.labels, revision: pod.revision.as_deref() };
        scopes.sidecar_of(client).is_some_and(|applied| std::ptr::eq(applied, sidecar))
    };
    pods.filter(follows).map(workload).collect()
}

/// The namespaces whose workloads follow a `Sidecar`; [`ANOTHER`] stands for all without one of their own. Pods of other
/// namespaces are not read.
fn homes<'a>(context: &'a NamespaceContext, sidecar: &'a Sidecar, local_clients: &BTreeSet<String>) -> Vec<&'a str> {
    let own = context.snapshot.namespace.as_str();
    let is_default = sidecar.namespace == context.snapshot.mesh.root_namespace && sidecar.selector.is_none();
    let mut homes = Vec::new();
    if !local_clients.is_empty() {
        homes.push(own);
    }
    if is_default {
        homes.push(ANOTHER);
    } else if sidecar.namespace != own {
        homes.push(sidecar.namespace.as_str());
    }
    homes
}

/// `sidecar/kiosk`, with its namespace where that is another.
fn object(context: &NamespaceContext, kind: &str, namespace: &str, name: &str) -> String {
    if namespace == context.snapshot.namespace {
        format!("{kind}/{name}")
    } else {
        format!("{kind}/{namespace}/{name}")
    }
}

/// CS-5: headless Services at whose pods clients call a port that sidecars do not know.
fn headless(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    if !snapshot.mesh.passes_unknown {
        return;
    }
    let mut objects = BTreeSet::new();
    let headless = || covered(context, overview).into_iter().filter(|(port, ..)| port.kind == ServiceKind::Headless);
    let known: BTreeSet<(String, u16)> = headless()
        .flat_map(|(port, ..)| {
            port.workload_ports.iter().map(|workload_port| (workload_port.workload.clone(), port.port.port))
        })
        .collect();
    for (port, ..) in headless() {
        let is_unknown = |workload_port: &&WorkloadPort| {
            let target = workload_port.target_port.filter(|target| *target != port.port.port);
            target.is_some_and(|target| !known.contains(&(workload_port.workload.clone(), target)))
        };
        if port.workload_ports.iter().filter(|workload_port| accepts_mutual(workload_port)).any(|one| is_unknown(&one))
        {
            objects.insert(port_name(&port.service, port.port.port));
        }
    }
    let without_ports = |service: &&Service| service.kind == ServiceKind::Headless && service.ports.is_empty();
    for service in snapshot.services.iter().filter(without_ports) {
        let pods = service.endpoints.iter().filter_map(|endpoint| snapshot.pod_of(endpoint));
        if pods.into_iter().any(is_sidecar_workload) {
            objects.insert(format!("service/{}", service.name));
        }
    }
    if !objects.is_empty() {
        let message = "sidecars do not know the port at which the pods of these headless Services listen: calls to it are \
                       plaintext, which STRICT refuses";
        findings.push(Finding::new(Severity::Warning, Code::ServiceNotVisible, message).about(objects));
    }
}

/// EF-2: clusters without TLS that an `EnvoyFilter` adds to proxies, and that lead to Services of the namespace.
fn envoy_clusters(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let mut found: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    for filter in context.envoy_filters.iter().filter(|filter| !filter.plaintext_hosts.is_empty()) {
        let services = services_of(filter, snapshot);
        for port in overview.ports.iter().filter(|port| services.contains(port.service.as_str())) {
            if port.workload_ports.iter().any(accepts_mutual) {
                let is_strict = port.workload_ports.iter().any(|one| one.server == Server::Mode(MtlsMode::Strict));
                let objects = found.entry(is_strict).or_default();
                objects.insert(object(context, "envoyfilter", &filter.namespace, &filter.name));
                objects.insert(port_name(&port.service, port.port.port));
            }
        }
    }
    for (is_strict, objects) in found {
        let (severity, effect) =
            if is_strict { (Severity::Error, "STRICT refuses") } else { (Severity::Warning, "STRICT would refuse") };
        let message = format!(
            "EnvoyFilters add clusters without TLS that lead to Services of the namespace: calls to them are plaintext, which {effect}"
        );
        findings.push(Finding::new(severity, Code::UnmanagedClient, message).about(objects));
    }
}

/// The names of the Services that the clusters of an `EnvoyFilter` lead to, by name or by address.
fn services_of<'s>(filter: &EnvoyFilter, snapshot: &'s Snapshot) -> BTreeSet<&'s str> {
    let namespace = &snapshot.namespace;
    let is_named = |service: &Service, host: &str| {
        let short = format!("{}.{namespace}", service.name);
        host == short
            || host == format!("{short}.svc")
            || host.trim_end_matches('.') == service.host(namespace, &snapshot.mesh.cluster_domain)
            || service.cluster_ips.iter().any(|address| address == host)
            || service.endpoints.iter().any(|endpoint| endpoint.address == host)
    };
    let found =
        snapshot.services.iter().filter(|service| filter.plaintext_hosts.iter().any(|host| is_named(service, host)));
    found.map(|service| service.name.as_str()).collect()
}

/// EF-1: filters of inbound listeners, under which the mode of the policies may not be what the proxies enforce.
fn inbound_filters(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let mut objects = BTreeSet::new();
    for filter in context.envoy_filters.iter().filter(|filter| filter.changes_inbound) {
        let pods = snapshot.pods.values().filter(|pod| is_sidecar_workload(pod));
        let applies = pods.filter(|pod| filter.applies_to(&pod.namespace, &pod.labels, &snapshot.mesh.root_namespace));
        let workloads: BTreeSet<String> = applies.map(workload).collect();
        if !workloads.is_empty() {
            objects.insert(object(context, "envoyfilter", &filter.namespace, &filter.name));
            objects.extend(workloads);
        }
    }
    if !objects.is_empty() {
        let message = "EnvoyFilters change the inbound listeners of these workloads: their mode is that of the policies, and \
                       what the proxies enforce may differ";
        findings.push(Finding::new(Severity::Warning, Code::EnvoyFilter, message).about(objects));
    }
}

/// ON-1, ON-2, ON-3: other names of Services and pods, to which clients send plaintext.
fn service_entries(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let domain = &snapshot.mesh.cluster_domain;
    let (mut refused, mut later) = (BTreeSet::new(), BTreeSet::new());
    for entry in context.service_entries.iter() {
        let (services, pods) = entry.leads_to(&snapshot.namespace, domain, &snapshot.services, snapshot.pods.values());
        if !entry.is_called_in_plaintext(&context.rules, domain, &pods) {
            continue;
        }
        let workloads: BTreeSet<String> = pods.into_iter().map(workload).collect();
        let ports = overview.ports.iter().filter(|port| services.contains(port.service.as_str()));
        let selected = overview.ports.iter().flat_map(|port| &port.workload_ports).chain(&overview.others);
        let selected = selected.filter(|workload_port| workloads.contains(&workload_port.workload));
        let reached: Vec<&WorkloadPort> = ports.flat_map(|port| &port.workload_ports).chain(selected).collect();
        let is_strict = reached.iter().any(|workload_port| workload_port.server == Server::Mode(MtlsMode::Strict));
        if !reached.into_iter().any(accepts_mutual) {
            continue;
        }
        let objects = if is_strict { &mut refused } else { &mut later };
        objects.insert(object(context, "serviceentry", &entry.namespace, &entry.name));
        objects.extend(services.into_iter().map(|service| format!("service/{service}")));
        objects.extend(workloads);
    }
    for (severity, objects, effect) in
        [(Severity::Error, refused, "STRICT refuses"), (Severity::Warning, later, "STRICT would refuse")]
    {
        if !objects.is_empty() {
            let message = format!(
                "ServiceEntries give other names to Services or pods of the namespace: calls to these names are plaintext, \
                 which {effect}"
            );
            findings.push(Finding::new(severity, Code::UnmanagedClient, message).about(objects));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::shop;

    #[test]
    fn clusters_lead_to_services_by_name_or_address() {
        let snapshot = shop(&["web"]);
        for (host, is_found) in [
            ("web.shop.svc.cluster.local", true),
            ("web.shop.svc.cluster.local.", true),
            ("web.shop.svc", true),
            ("web.shop", true),
            ("10.0.0.1", true),
            ("web.other.svc.cluster.local", false),
            ("web", false),
            ("10.0.0.2", false),
        ] {
            let filter = EnvoyFilter { plaintext_hosts: BTreeSet::from([host.to_owned()]), ..EnvoyFilter::default() };
            assert_eq!(services_of(&filter, &snapshot).contains("web"), is_found, "{host}");
        }
    }
}
