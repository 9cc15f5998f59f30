//! Finds workloads that nothing protects, and workloads whose calls STRICT refuses.

use super::{Code, Finding, Severity, any_strict, port_name, wants_strict};
use crate::domain::client_tls::Server;
use crate::domain::effective::PolicyIndex;
use crate::domain::injection::{Enrollment, asks_for_ambient};
use crate::domain::mesh::{DataPlane, MtlsMode, Pod};
use crate::domain::namespace_context::{Injection, NamespaceContext};
use crate::domain::overview::{Overview, PortView, WorkloadPort, workload};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub(super) fn find(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    unprotected(context, overview, findings);
    clients(context, overview, findings);
    bypassing_clients(context, overview, findings);
    future_pods(context, overview, findings);
    labels(context, findings);
    probes(context, findings);
    server_first(overview, findings);
    not_asked(context, overview, findings);
    let pods = || context.snapshot.pods.values().filter(|pod| !pod.facts.finished);
    let mut add = |severity, code, message: &str, pods: Vec<&Pod>| {
        if !pods.is_empty() {
            findings.push(Finding::new(severity, code, message).about(pods.into_iter().map(workload)));
        }
    };
    add(
        Severity::Warning,
        Code::NotEnrolled,
        "pods are half way into the ambient mesh (ambient.istio.io/redirection: pending)",
        pods().filter(|pod| pod.data_plane == DataPlane::Pending).collect(),
    );
    add(
        Severity::Warning,
        Code::NotEnrolled,
        "labels ask for ambient mode, and ztunnel has not captured these pods: they have no annotation \
         ambient.istio.io/redirection, send plaintext, and nothing protects them",
        pods().filter(|pod| is_not_captured(pod, &context.namespace_labels)).collect(),
    );
    add(
        Severity::Info,
        Code::Gateway,
        "a gateway's own listeners decide what it takes",
        pods().filter(|pod| pod.facts.gateway).collect(),
    );
    let endless = |pod: &&Pod| {
        let of_job = pod.facts.workload.starts_with("job/");
        of_job && pod.data_plane == DataPlane::Sidecar && !pod.facts.native_sidecar
    };
    add(
        Severity::Info,
        Code::EndlessJob,
        "pods of Jobs have a sidecar that does not end with them",
        pods().filter(endless).collect(),
    );
}

/// Whether labels ask for ambient mode and ztunnel has not captured the running pod (DP-5, DP-6). A pod of this tool's own
/// opts out by its label.
fn is_not_captured(pod: &Pod, namespace: &BTreeMap<String, String>) -> bool {
    pod.data_plane == DataPlane::None
        && !pod.facts.host_network
        && !pod.addresses.is_empty()
        && asks_for_ambient(&pod.labels, namespace)
}

/// Ports for which the policies ask for STRICT and no proxy enforces it.
fn unprotected(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let (mut without_proxy, mut excluded) = (BTreeSet::new(), BTreeSet::new());
    for PortView { service, port, workload_ports, .. } in &overview.ports {
        for workload_port in workload_ports
            .iter()
            .filter(|workload_port| wants_strict(workload_port) && workload_port.server == Server::NoProxy)
        {
            let found = if workload_port.path.is_excluded() { &mut excluded } else { &mut without_proxy };
            found.extend([port_name(service, port.port), workload_port.workload.clone()]);
        }
    }
    if !without_proxy.is_empty() {
        let message = match context.injection() {
            Injection::Off => "STRICT is asked for, and the pods behind these ports have no proxy",
            Injection::On | Injection::Ambient => {
                "STRICT is asked for, and the pods behind these ports have no proxy, though the namespace asks for one"
            }
        };
        findings.push(Finding::new(Severity::Error, Code::Unprotected, message).about(without_proxy));
    }
    if !excluded.is_empty() {
        let message = "STRICT is asked for, and the sidecar leaves these ports alone: they take plaintext";
        findings.push(Finding::new(Severity::Error, Code::NotCaptured, message).about(excluded));
    }
}

/// Clients that send plaintext because they have no proxy.
fn clients(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let severity = if any_strict(overview) { Severity::Warning } else { Severity::Info };
    let ours = |pod: &&Pod| pod.labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "secure-traffic");
    let (host, without_proxy): (Vec<&Pod>, Vec<&Pod>) = context
        .snapshot
        .pods
        .values()
        .filter(|pod| pod.data_plane == DataPlane::None && !pod.facts.finished && !ours(pod))
        .partition(|pod| pod.facts.host_network);
    let injected = context.injection() == Injection::On;
    let outside = |job: &&crate::domain::namespace_context::CronJob| {
        job.declines_injection || context.injection() == Injection::Off && !job.asks_for_injection
    };
    let jobs = context.cron_jobs.iter().filter(outside).map(|job| format!("cronjob/{}", job.name));
    let without_proxy: BTreeSet<String> = without_proxy.into_iter().map(workload).chain(jobs).collect();
    if !without_proxy.is_empty() {
        let message = "workloads without a proxy send plaintext, which STRICT ports refuse";
        findings.push(Finding::new(severity, Code::ClientWithoutProxy, message).about(without_proxy));
    }
    if !host.is_empty() {
        let message = "pods on their node's network send plaintext, and nothing protects them";
        findings.push(Finding::new(severity, Code::HostNetwork, message).about(host.into_iter().map(workload)));
    }
    let both = context.namespace_labels.contains_key("istio-injection")
        && context.namespace_labels.contains_key("istio.io/rev");
    if both {
        let wins = if injected { "istio-injection wins" } else { "nothing is injected" };
        let message = format!("the namespace has both istio-injection and istio.io/rev: {wins}");
        let namespace = format!("namespace/{}", context.snapshot.namespace);
        findings.push(Finding::new(Severity::Warning, Code::InjectionLabels, message).about([namespace]));
    }
}

/// Clients whose own sidecar does not capture calls to Services of the namespace (BY-32).
fn bypassing_clients(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let ports: BTreeSet<u16> = snapshot
        .services
        .iter()
        .flat_map(|service| {
            let targets = service.endpoints.iter().flat_map(|endpoint| endpoint.ports.values().copied());
            service.ports.iter().map(|port| port.port).chain(targets)
        })
        .collect();
    let addresses: Vec<IpAddr> = snapshot
        .services
        .iter()
        .flat_map(|service| {
            let endpoints = service.endpoints.iter().map(|endpoint| &endpoint.address);
            service.cluster_ips.iter().chain(endpoints)
        })
        .filter_map(|address| address.parse().ok())
        .collect();
    let bypasses = |pod: &&Pod| pod.outbound.bypasses(&ports, &addresses);
    let sidecars = snapshot.pods.values().filter(|pod| pod.data_plane == DataPlane::Sidecar && !pod.facts.finished);
    let objects: BTreeSet<String> = sidecars.filter(bypasses).map(workload).collect();
    if !objects.is_empty() {
        let severity = if any_strict(overview) { Severity::Warning } else { Severity::Info };
        let message = "workloads send plaintext past their sidecar, which STRICT ports refuse";
        findings.push(Finding::new(severity, Code::BypassesSidecar, message).about(objects));
    }
}

/// Workloads whose template starts pods without a proxy where none of their pods shows it yet: they have no pods, or pods
/// that have one. As servers nothing protects such pods, and as clients STRICT ports refuse them.
fn future_pods(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let labels = snapshot.namespace_labels.as_ref();
    let mut has_proxies: BTreeMap<&str, bool> = BTreeMap::new();
    for pod in snapshot.pods.values().filter(|pod| !pod.facts.finished) {
        *has_proxies.entry(pod.facts.workload.as_str()).or_default() |= pod.data_plane.is_meshed();
    }
    let (mut without_pods, mut declined, mut unasked) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for template in snapshot.templates.iter().filter(|template| template.enrollment(labels) == Enrollment::Outside) {
        let found = match has_proxies.get(template.workload.as_str()) {
            None => &mut without_pods,
            Some(true) if template.declines(labels) => &mut declined,
            Some(true) => &mut unasked,
            // Its present pods are found as clients and servers without a proxy.
            Some(false) => continue,
        };
        found.insert(template.workload.clone());
    }
    let severity = if any_strict(overview) { Severity::Warning } else { Severity::Info };
    for (severity, objects, message) in [
        (
            severity,
            without_pods,
            "workloads without pods will start them without a proxy: they serve and send plaintext",
        ),
        (
            severity,
            declined,
            "the next pods of these workloads will start without a proxy, though the present ones have one: they serve and \
             send plaintext",
        ),
        (
            Severity::Info,
            unasked,
            "nothing asks for a proxy for the next pods of these workloads, though the present ones have one: unless the \
             installation injects every pod, they serve and send plaintext",
        ),
    ] {
        if !objects.is_empty() {
            findings.push(Finding::new(severity, Code::FuturePodWithoutProxy, message).about(objects));
        }
    }
}

/// Labels that do not match what the pod accepts. `traffic` finds the calls that fail because of them.
fn labels(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let live = context.snapshot.pods.values().filter(|pod| !pod.facts.finished && !pod.facts.gateway);
    let wrong = live.filter(|pod| match pod.data_plane {
        DataPlane::Sidecar => !pod.has_tls_label(),
        DataPlane::None => pod.has_tls_label(),
        DataPlane::Ambient | DataPlane::Pending => false,
    });
    let objects: BTreeSet<String> = wrong.map(workload).collect();
    if !objects.is_empty() {
        let message = "the label security.istio.io/tlsMode of pods does not tell what they take";
        findings.push(Finding::new(Severity::Warning, Code::TlsModeLabel, message).about(objects));
    }
}

/// BY-11: requests of the kubelet that go to the application itself. A probe that fails takes the pod out of its Services;
/// a hook that fails ends its container, or is lost.
fn probes(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let index = PolicyIndex::new(&context.snapshot.policies);
    let mut found: BTreeMap<(Severity, &str, &str), BTreeSet<String>> = BTreeMap::new();
    let live = context.snapshot.pods.values().filter(|pod| !pod.facts.finished);
    for pod in live.filter(|pod| pod.data_plane == DataPlane::Sidecar) {
        let probes = pod.facts.raw_probes.iter().map(|port| (port, "probes", Severity::Error));
        let hooks = pod.facts.raw_hooks.iter().map(|port| (port, "lifecycle hooks", Severity::Warning));
        for (port, requests, severity) in probes.chain(hooks).filter(|(port, ..)| pod.capture.covers(**port)) {
            let is_strict = index.mode(pod, *port).mode == Some(MtlsMode::Strict);
            let kind =
                if is_strict { (severity, requests, "refuses") } else { (Severity::Warning, requests, "would refuse") };
            found.entry(kind).or_default().insert(workload(pod));
        }
    }
    for ((severity, requests, effect), objects) in found {
        let message = format!("the kubelet's {requests} go to the application itself, which STRICT {effect}");
        findings.push(Finding::new(severity, Code::RawProbe, message).about(objects));
    }
}

/// Declared ports of workloads in the mesh that no Service names: STRICT covers them, and no proof requests them.
fn not_asked(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let asked: BTreeSet<(&str, u16)> = overview
        .ports
        .iter()
        .flat_map(|port| &port.workload_ports)
        .filter_map(|one| Some((one.workload.as_str(), one.target_port?)))
        .collect();
    let pods = context.snapshot.pods.values();
    let pods = pods.filter(|pod| pod.data_plane.is_meshed() && !pod.facts.gateway && !pod.facts.finished);
    let ports = pods.flat_map(|pod| {
        let name = workload(pod);
        let is_left_out = |port: &&u16| pod.capture.covers(**port) && !asked.contains(&(name.as_str(), **port));
        let ports: Vec<String> =
            pod.facts.declared_ports.iter().filter(is_left_out).map(|port| format!("{name}:{port}")).collect();
        ports
    });
    let objects: BTreeSet<String> = ports.collect();
    if !objects.is_empty() {
        let message =
            "no Service names these ports, so no proof requests them; the mode of their workload holds for them";
        findings.push(Finding::new(Severity::Info, Code::NotAsked, message).about(objects));
    }
}

/// Well-known ports of protocols in which the server sends first.
const SERVER_FIRST: [(u16, &str); 5] = [(25, "SMTP"), (587, "SMTP"), (3306, "MySQL"), (21, "FTP"), (110, "POP3")];

/// BY-12: under PERMISSIVE, the sidecar of an undeclared port waits for the client's first bytes.
fn server_first(overview: &Overview, findings: &mut Vec<Finding>) {
    for PortView { service, port, workload_ports, .. } in &overview.ports {
        let known = SERVER_FIRST.iter().find(|(number, _)| *number == port.port);
        let declared = port.app_protocol.is_some() || !port.name.is_empty() && port.name.contains("tcp");
        let permissive = |workload_port: &WorkloadPort| workload_port.server == Server::Mode(MtlsMode::Permissive);
        if let Some((_, protocol)) = known.filter(|_| !declared && workload_ports.iter().any(permissive)) {
            let message =
                format!("{protocol} servers speak first, and the port is not declared TCP: a silent client waits");
            findings
                .push(Finding::new(Severity::Info, Code::ServerFirst, message).about([port_name(service, port.port)]));
        }
    }
}
