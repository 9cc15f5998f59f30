//! Finds callers from outside the mesh, and lists what could not be read or checked.

use super::{Code, Finding, Purpose, Severity, port_name};
use crate::domain::client_tls::Server;
use crate::domain::effective::PolicyIndex;
use crate::domain::mesh::{DataPlane, Gateway, GatewayTls, MtlsMode, Pod, ServiceKind};
use crate::domain::namespace_context::{ExternalCaller, ExternalCallerKind, Monitor, NamespaceContext, ObservedBy};
use crate::domain::other_names::alias_target;
use crate::domain::overview::{Overview, PortView, workload};
use crate::domain::rule::{DestinationRule, covers};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn find(context: &NamespaceContext, overview: &Overview, purpose: Purpose, findings: &mut Vec<Finding>) {
    external_callers(context, overview, findings);
    exposed(context, overview, findings);
    scrapers(context, findings);
    host_ports(context, findings);
    monitors(context, overview, findings);
    observed(context, purpose, findings);
    services(context, findings);
    other_clusters(context, purpose, findings);
    if !context.identity_policies.is_empty() && !refuses_all(overview) {
        let message = "AuthorizationPolicies match the caller's identity, which callers without mutual TLS do not have";
        let objects = context.identity_policies.iter().map(|name| format!("authorizationpolicy/{name}"));
        // Without mutual TLS no caller has an identity any more.
        let loses_all = purpose == Purpose::BeforeDisable(MtlsMode::Disable);
        let severity = if loses_all { Severity::Error } else { Severity::Warning };
        findings.push(Finding::new(severity, Code::IdentityPolicy, message).about(objects));
    }
    let mesh = &context.snapshot.mesh;
    if !mesh.undecided.is_empty() {
        let planes: Vec<String> = mesh.undecided.iter().map(ToString::to_string).collect();
        let message = format!(
            "the namespace's control plane is not known, so its settings are not either; there are: {}",
            planes.join(", ")
        );
        findings.push(Finding::new(Severity::Warning, Code::ControlPlaneUndecided, message));
    }
    let has_proxies = context.snapshot.pods.values().any(|pod| pod.data_plane.is_meshed());
    if has_proxies && context.snapshot.namespace_labels.as_ref().is_some_and(|labels| !mesh.discovers(labels)) {
        let message = "the discoverySelectors of the mesh leave the namespace out: istiod does not read its Services, pods, \
                       policies and rules, so that no mode that is written here is in force";
        let object = format!("namespace/{}", context.snapshot.namespace);
        findings.push(Finding::new(Severity::Error, Code::NotDiscovered, message).about([object]));
    }
    hidden_rules(context, findings);
    let unread: BTreeSet<&str> = context.unread.iter().chain(&context.snapshot.unread).map(String::as_str).collect();
    if !unread.is_empty() {
        let message = format!("could not be read: {}", unread.into_iter().collect::<Vec<_>>().join(", "));
        findings.push(Finding::new(Severity::Info, Code::NotRead, message));
    }
}

/// CP-4: rules for Services of the namespace in namespaces that istiod does not read. The clients there know the Services all
/// the same, and auto mTLS decides what they send.
fn hidden_rules(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let domain = &snapshot.mesh.cluster_domain;
    let hosts: Vec<String> =
        snapshot.services.iter().map(|service| service.host(&snapshot.namespace, domain)).collect();
    let concerns = |rule: &&DestinationRule| {
        let host = rule.resolved_host(domain);
        hosts.iter().any(|known| covers(&host, known))
    };
    let rules = context.hidden_rules.iter().filter(concerns);
    let objects: Vec<String> = rules.map(|rule| format!("destinationrule/{}/{}", rule.namespace, rule.name)).collect();
    if !objects.is_empty() {
        let message = "the discoverySelectors of the mesh leave the namespaces of these rules out: istiod does not read them, \
                       so that clients there send what auto mTLS decides";
        findings.push(Finding::new(Severity::Warning, Code::NotDiscovered, message).about(objects));
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
        && external_caller.port.as_ref().is_none_or(|reference| port.port.is(reference))
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

/// Services that callers outside the cluster reach without a gateway of the mesh (BY-18).
fn exposed(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let mut found: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    let services = context.snapshot.services_by_name();
    for port in overview.ports.iter().filter(|port| has_mode(port)) {
        let service = services.get(port.service.as_str());
        if service.is_some_and(|service| service.exposure.is_some()) {
            found.entry(is_strict(port)).or_default().insert(port_name(&port.service, port.port.port));
        }
    }
    add_outside(
        findings,
        found,
        "calls come in by a node port, a load balancer or an external address, from outside the mesh",
    );
}

/// Whether a proxy accepts calls to the port by the policies: no gateway, whose own listeners decide.
fn has_mode(port: &PortView) -> bool {
    port.workload_ports.iter().any(|workload_port| matches!(workload_port.server, Server::Mode(_)))
}

/// One finding for the objects that are STRICT, and one for the others.
fn add_outside(findings: &mut Vec<Finding>, found: BTreeMap<bool, BTreeSet<String>>, message: &str) {
    for (strict, objects) in found {
        let (severity, effect) = if strict {
            (Severity::Warning, "STRICT refuses them")
        } else {
            (Severity::Info, "STRICT would refuse them")
        };
        let message = format!("{message}: {effect}");
        findings.push(Finding::new(severity, Code::OutsideCaller, message).about(objects));
    }
}

/// Workloads that ask Prometheus to scrape a port that mutual TLS covers, whether a Service names it or not. Port 15020 is
/// the proxy's own.
fn scrapers(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let index = PolicyIndex::new(&context.snapshot.policies);
    let mut found: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    let pods = context.snapshot.pods.values().filter(|pod| is_sidecar_workload(pod));
    for pod in pods.filter(|_| !context.snapshot.policies.legacy_only) {
        let Some(port) = pod.facts.scraped.filter(|port| *port != 0 && pod.capture.covers(*port)) else { continue };
        match index.mode(pod, port).mode {
            Some(mode @ (MtlsMode::Strict | MtlsMode::Permissive)) => {
                found.entry(mode == MtlsMode::Strict).or_default().insert(workload(pod));
            }
            Some(MtlsMode::Disable) | None => {}
        }
    }
    add_outside(
        findings,
        found,
        "prometheus.io/port asks for scrapes of the application, unless the scraper is in the mesh",
    );
}

/// Workloads whose node forwards a port to them (`hostPort`), which mutual TLS covers (BY-18).
fn host_ports(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let index = PolicyIndex::new(&context.snapshot.policies);
    let mut found: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    let pods = context.snapshot.pods.values().filter(|pod| is_sidecar_workload(pod));
    for pod in pods.filter(|_| !context.snapshot.policies.legacy_only) {
        for port in pod.facts.host_ports.iter().filter(|port| pod.capture.covers(**port)) {
            if let Some(mode @ (MtlsMode::Strict | MtlsMode::Permissive)) = index.mode(pod, *port).mode {
                found.entry(mode == MtlsMode::Strict).or_default().insert(format!("{}:{port}", workload(pod)));
            }
        }
    }
    add_outside(findings, found, "calls come in by a port of the node (hostPort), from outside the mesh");
}

/// Whether a pod runs and has a sidecar, which is no gateway.
pub(super) fn is_sidecar_workload(pod: &Pod) -> bool {
    pod.data_plane == DataPlane::Sidecar && !pod.facts.gateway && !pod.facts.finished
}

/// Ports and pods that a Prometheus scrapes by a monitor without certificates of the mesh (BY-19).
fn monitors(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let here = |monitor: &&Monitor| {
        monitor.namespaces.as_ref().is_none_or(|namespaces| namespaces.contains(&snapshot.namespace))
    };
    let matches = |monitor: &Monitor, labels: &BTreeMap<String, String>| {
        monitor.selector.matches(|key| labels.get(key).map(String::as_str))
    };
    let mut found: BTreeMap<bool, BTreeSet<String>> = BTreeMap::new();
    let index = PolicyIndex::new(&snapshot.policies);
    let services = snapshot.services_by_name();
    for monitor in context.monitors.iter().filter(here) {
        if monitor.of_pods {
            let pods = snapshot.pods.values().filter(|pod| is_sidecar_workload(pod) && matches(monitor, &pod.labels));
            for pod in pods {
                let strict = index.mode(pod, 0).mode == Some(MtlsMode::Strict);
                found.entry(strict).or_default().extend([monitor.object.clone(), workload(pod)]);
            }
            continue;
        }
        for port in overview.ports.iter().filter(|port| has_mode(port)) {
            let selected = services.get(port.service.as_str()).is_some_and(|service| matches(monitor, &service.labels));
            if selected && (monitor.ports.is_empty() || monitor.ports.iter().any(|name| port.port.is(name))) {
                let objects = found.entry(is_strict(port)).or_default();
                objects.extend([monitor.object.clone(), port_name(&port.service, port.port.port)]);
            }
        }
    }
    add_outside(findings, found, "a Prometheus scrapes these, unless it is in the mesh");
}

/// Whether the mesh reaches other clusters or networks: their endpoints are neither switched nor proven, and reach this one
/// by mutual TLS only (MC-1).
fn other_clusters(context: &NamespaceContext, purpose: Purpose, findings: &mut Vec<Finding>) {
    const NETWORK: &str = "topology.istio.io/network";
    let snapshot = &context.snapshot;
    let mut objects = BTreeSet::new();
    if !snapshot.mesh.networks.is_empty() {
        objects.insert(format!("meshNetworks: {}", snapshot.mesh.networks.join(", ")));
    }
    let pods = snapshot.pods.values().filter(|pod| !pod.facts.finished).map(|pod| &pod.labels);
    let labels = pods.chain([&context.namespace_labels]).filter_map(|labels| labels.get(NETWORK));
    objects.extend(labels.map(|network| format!("{NETWORK}={network}")));
    let forwards = |gateway: &&Gateway| gateway.servers.iter().any(|server| server.tls == GatewayTls::AutoPassthrough);
    let gateways = context.gateways.iter().filter(forwards);
    objects.extend(gateways.map(|gateway| format!("gateway/{}/{}", gateway.namespace, gateway.name)));
    if objects.is_empty() {
        return;
    }
    let (severity, message) = match purpose {
        Purpose::BeforeDisable(MtlsMode::Disable) => (
            Severity::Error,
            "the mesh reaches other clusters or networks, from which endpoints without mutual TLS disappear",
        ),
        Purpose::BeforeSwitch => (
            Severity::Warning,
            "the mesh reaches other clusters or networks: endpoints there are neither changed nor proven",
        ),
        Purpose::Status | Purpose::BeforeDisable(_) => {
            (Severity::Info, "the mesh reaches other clusters or networks, whose endpoints are not shown")
        }
    };
    findings.push(Finding::new(severity, Code::OtherClusters, message).about(objects));
}

/// Clients that sent plaintext, by the metrics of Prometheus or by a rehearsal.
fn observed(context: &NamespaceContext, purpose: Purpose, findings: &mut Vec<Finding>) {
    let Some(observed) = &context.observed else {
        let message = "not checked: clients outside the mesh, calls to pods by address (--prometheus)";
        findings.push(Finding::new(Severity::Info, Code::ClientsUnseen, message));
        return;
    };
    let severity = if purpose == Purpose::BeforeSwitch { Severity::Error } else { Severity::Warning };
    for seen in observed {
        let count = seen.count.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        let (when, caution) = match seen.source {
            ObservedBy::Rehearsal => ("during the rehearsal", ""),
            ObservedBy::Metrics { is_named: true } => ("in the last hours", ""),
            ObservedBy::Metrics { is_named: false } => {
                ("in the last hours", "; probes by this tool count too: pass a --since that begins after its last run")
            }
        };
        let message = format!(
            "{} sent plaintext to {} ({count} requests or connections {when}){caution}",
            seen.client, seen.workload
        );
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
    let domain = &context.snapshot.mesh.cluster_domain;
    let is_inside = |service: &crate::domain::mesh::Service| {
        service.external_name.as_deref().is_some_and(|name| alias_target(name, domain).is_some())
    };
    let inside = named(&|service| service.kind == ServiceKind::ExternalName && is_inside(service));
    let outside = named(&|service| service.kind == ServiceKind::ExternalName && !is_inside(service));
    // The addresses of pods of the namespace are known, whoever keeps them.
    let is_known = |service: &crate::domain::mesh::Service| {
        let mut endpoints = service.endpoints.iter().peekable();
        endpoints.peek().is_some() && endpoints.all(|endpoint| context.snapshot.pod_of(endpoint).is_some())
    };
    let by_hand = named(&|service| {
        service.kind != ServiceKind::ExternalName && service.selector.is_empty() && !is_known(service)
    });
    let followed = "an alias of a Service of the cluster: that Service's mode and rules apply";
    for (code, message, objects) in [
        (Code::ExternalName, followed, inside),
        (Code::ExternalName, "no mode and no rule holds for an alias of a name outside", outside),
        (Code::NoSelector, "endpoints are kept by hand: nothing tells whether they are in the mesh", by_hand),
    ] {
        if !objects.is_empty() {
            findings.push(Finding::new(Severity::Info, code, message).about(objects));
        }
    }
}
