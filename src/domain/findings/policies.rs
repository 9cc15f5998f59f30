//! Finds policies whose effect differs from what they seem to ask for.

use super::{Code, Finding, Severity, port_name};
use crate::domain::ambient::Plaintext;
use crate::domain::client_tls::Server;
use crate::domain::effective::{AppliedPolicy, Level, PolicyIndex};
use crate::domain::mesh::{
    DEFAULT_REVISION, DataPlane, DestinationRule, MtlsMode, PeerAuthentication, Pod, ServiceKind,
};
use crate::domain::namespace_context::NamespaceContext;
use crate::domain::overview::Overview;
use std::collections::{BTreeMap, BTreeSet};

fn object(namespace: &str, policy: &PeerAuthentication) -> String {
    name(namespace, &policy.namespace, &policy.name)
}

/// `peerauthentication/default`, with the namespace if it is not `home`.
fn name(home: &str, namespace: &str, name: &str) -> String {
    if namespace == home || namespace.is_empty() {
        format!("peerauthentication/{name}")
    } else {
        format!("peerauthentication/{namespace}/{name}")
    }
}

pub(super) fn find(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let policies = &context.snapshot.policies;
    if !policies.root_readable && context.snapshot.namespace != policies.root_namespace {
        let message = format!("policies of the root namespace {} cannot be read", policies.root_namespace);
        findings.push(Finding::new(Severity::Warning, Code::RootUnreadable, message));
    }
    if !context.inert.is_empty() && !policies.legacy_only {
        let message = "policies of authentication.istio.io are left, which have no effect";
        let objects = context.inert.iter().map(|name| format!("policy.authentication.istio.io/{name}"));
        findings.push(Finding::new(Severity::Warning, Code::LegacyInert, message).about(objects));
    }
    ignored(context, findings);
    several(context, findings);
    ports(context, findings);
    exceptions(context, overview, findings);
    in_ambient(context, overview, findings);
    exempt(context, findings);
}

/// PA-3 and PA-9: policies that no proxy of the namespace follows.
fn ignored(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let (snapshot, home) = (&context.snapshot, context.snapshot.namespace.as_str());
    let root = &snapshot.policies.root_namespace;
    let selecting: Vec<_> =
        snapshot.policies.peer.iter().filter(|policy| policy.namespace == *root && !policy.is_wide()).collect();
    if !selecting.is_empty() {
        let message = format!("policies in the root namespace {root} with a selector are ignored everywhere");
        let objects = selecting.into_iter().map(|policy| object(home, policy));
        findings.push(Finding::new(Severity::Warning, Code::RootSelectorIgnored, message).about(objects));
    }
    let revisions: BTreeSet<&str> = snapshot
        .pods
        .values()
        .filter(|pod| pod.data_plane.is_meshed())
        .map(|pod| pod.revision.as_deref().unwrap_or(DEFAULT_REVISION))
        .collect();
    if revisions.is_empty() {
        return;
    }
    let unseen = |revision: &Option<String>| revision.as_deref().is_some_and(|revision| !revisions.contains(revision));
    let policies = snapshot.policies.peer.iter().filter(|policy| policy.namespace == home && unseen(&policy.revision));
    let rules = snapshot.rules.iter().filter(|rule| unseen(&rule.revision));
    let objects: Vec<String> = policies
        .map(|policy| object(home, policy))
        .chain(rules.map(|rule| format!("destinationrule/{}", rule.name)))
        .collect();
    if !objects.is_empty() {
        let known: Vec<&str> = revisions.into_iter().collect();
        let message = format!("objects for another revision than the proxies' ({}) have no effect", known.join(", "));
        findings.push(Finding::new(Severity::Warning, Code::WrongRevision, message).about(objects));
    }
}

/// PA-4: more than one policy on one level.
fn several(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let index = PolicyIndex::new(&snapshot.policies);
    // The policies of a level in the order of precedence, each list once for all pods.
    let mut levels_with_several: BTreeMap<Vec<(&str, &str)>, &'static str> = BTreeMap::new();
    for pod in snapshot.pods.values().filter(|pod| pod.data_plane.is_meshed() && !pod.facts.finished) {
        let levels = index.levels(pod);
        for (what, level) in
            [("the mesh", &levels.mesh), ("the namespace", &levels.namespace), ("one workload", &levels.workload)]
        {
            if level.len() > 1 {
                let names = level.iter().map(|policy| (policy.namespace.as_str(), policy.name.as_str()));
                levels_with_several.entry(names.collect()).or_insert(what);
            }
        }
    }
    for (policies, what) in levels_with_several {
        let named: Vec<String> =
            policies.iter().map(|(namespace, policy)| name(&snapshot.namespace, namespace, policy)).collect();
        let message = format!("several policies for {what}: {}, the oldest, counts; the others do not", named[0]);
        findings.push(Finding::new(Severity::Warning, Code::SeveralPolicies, message).about(named));
    }
}

/// PA-6, DR-16: a Service port instead of a target port.
fn ports(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    for policy in snapshot.policies.peer.iter().filter(|policy| policy.namespace == snapshot.namespace) {
        if policy.ports.is_empty() || policy.is_wide() {
            continue;
        }
        let selected = |pod: &Pod| policy.selects(pod);
        let (mut targets, mut services) = (BTreeSet::new(), BTreeMap::new());
        for service in &snapshot.services {
            let mut endpoints =
                service.endpoints.iter().filter(|endpoint| snapshot.pod_of(endpoint).is_some_and(selected));
            if let Some(first) = endpoints.next() {
                targets.extend(endpoints.chain([first]).flat_map(|endpoint| endpoint.ports.values().copied()));
                services.extend(service.ports.iter().map(|port| (port.port, service.name.as_str())));
            }
        }
        for port in policy.ports.keys().filter(|port| !targets.contains(port)) {
            if let Some(service) = services.get(port) {
                let policy = object(&snapshot.namespace, policy);
                let message =
                    format!("{policy} names port {port}, which is a port of service/{service} but none of its pods");
                let objects = [policy, port_name(service, *port)];
                findings.push(Finding::new(Severity::Warning, Code::PortNumber, message).about(objects));
            }
        }
    }
}

/// Exceptions from STRICT in a STRICT namespace.
fn exceptions(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let index = PolicyIndex::new(&snapshot.policies);
    let meshed = snapshot.pods.values().filter(|pod| pod.data_plane.is_meshed());
    let revisions: BTreeSet<Option<&str>> = meshed.map(|pod| pod.revision.as_deref()).collect();
    let is_strict = |revision| index.namespace_mode(&snapshot.namespace, revision) == MtlsMode::Strict;
    // Pods of different revisions can follow different policies of the namespace.
    let all_strict = if revisions.is_empty() { is_strict(None) } else { revisions.into_iter().all(is_strict) };
    if snapshot.policies.legacy_only || !all_strict {
        return;
    }
    let mut exceptions: BTreeMap<AppliedPolicy, BTreeSet<String>> = BTreeMap::new();
    let workload_ports = overview.ports.iter().flat_map(|port| {
        port.workload_ports.iter().map(|workload_port| (workload_port, port_name(&port.service, port.port.port)))
    });
    for (workload_port, object) in workload_ports
        .chain(overview.others.iter().map(|workload_port| (workload_port, workload_port.workload.clone())))
    {
        let decided = workload_port.chain.iter().rev().find(|step| step.mode.is_some());
        let open = matches!(workload_port.server, Server::Mode(MtlsMode::Permissive | MtlsMode::Disable));
        if let Some(step) = decided.filter(|step| open && step.level >= Level::Workload) {
            exceptions.entry(step.clone()).or_default().insert(object);
        }
    }
    for (step, objects) in exceptions {
        let policy = name(&snapshot.namespace, &step.namespace, &step.name);
        let mode = step.mode.map_or("UNSET", MtlsMode::as_str);
        let message =
            format!("the namespace is STRICT, and {policy} makes an exception ({} level): {mode}", step.level);
        findings.push(Finding::new(Severity::Warning, Code::ModeException, message).about(objects));
    }
}

/// PA-8, DR-2: explicit settings of the namespace that a later setting of the mesh does not change.
fn exempt(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let root = &snapshot.policies.root_namespace;
    if snapshot.namespace == *root || snapshot.policies.legacy_only {
        return;
    }
    let is_exempt = |policy: &&PeerAuthentication| {
        policy.namespace == snapshot.namespace
            && policy.is_wide()
            && matches!(policy.mode, Some(MtlsMode::Permissive | MtlsMode::Disable))
    };
    let policies: Vec<String> =
        snapshot.policies.peer.iter().filter(is_exempt).map(|policy| object(&snapshot.namespace, policy)).collect();
    let is_mesh_strict = snapshot
        .policies
        .peer
        .iter()
        .any(|policy| policy.namespace == *root && policy.is_wide() && policy.mode == Some(MtlsMode::Strict));
    if !policies.is_empty() {
        let (severity, message) = if is_mesh_strict {
            (Severity::Warning, "the mesh is STRICT, and the namespace's own policy exempts it")
        } else {
            (Severity::Info, "the namespace's own policy exempts it from a later STRICT of the mesh")
        };
        findings.push(Finding::new(severity, Code::ExemptFromMesh, message).about(policies));
    }
    let empty = snapshot.rules.iter().filter(|rule| is_host_alone(rule));
    let rules: Vec<String> = empty.map(|rule| format!("destinationrule/{}", rule.name)).collect();
    if !rules.is_empty() {
        let message = "rules with a host alone hide the rules of the mesh's root namespace for that host";
        findings.push(Finding::new(Severity::Info, Code::ExemptFromMesh, message).about(rules));
    }
}

/// Whether a rule says nothing about its host.
fn is_host_alone(rule: &DestinationRule) -> bool {
    !rule.has_traffic_policy && rule.subsets.is_empty()
}

/// AM-2, AM-5: what a ztunnel does differently from what the policies seem to ask for.
fn in_ambient(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let mut groups: BTreeMap<(Code, Severity, &str), BTreeSet<String>> = BTreeMap::new();
    let fails_open = (
        Code::AmbientFailOpen,
        Severity::Error,
        "the policies ask for STRICT, and the ztunnel lets plaintext in all the same",
    );
    let undetermined = (
        Code::AmbientUndetermined,
        Severity::Warning,
        "two policies of one level were made in the same second: which one the ztunnel applies changes",
    );
    let disabled = (Code::AmbientDisable, Severity::Info, "DISABLE means PERMISSIVE to a ztunnel");
    let workload_ports = overview.ports.iter().flat_map(|port| &port.workload_ports).chain(&overview.others);
    for workload_port in workload_ports.filter(|workload_port| workload_port.data_plane == DataPlane::Ambient) {
        let found = match workload_port.ambient {
            Some(Plaintext::Undetermined) => undetermined,
            Some(Plaintext::FailsOpen) => fails_open,
            // AM-5.4: the control plane does not fetch a policy of the mesh with an empty selector.
            Some(Plaintext::Allowed) if workload_port.wanted == Some(MtlsMode::Strict) => fails_open,
            _ if workload_port.wanted == Some(MtlsMode::Disable) => disabled,
            _ => continue,
        };
        groups.entry(found).or_default().insert(workload_port.workload.clone());
    }
    for ((code, severity, message), objects) in groups {
        findings.push(Finding::new(severity, code, message).about(objects));
    }
    let has_tls = context.snapshot.rules.iter().filter(|rule| rule.places().iter().any(|(_, tls)| tls.is_some()));
    let ambient = context.snapshot.pods.values().any(|pod| pod.data_plane == DataPlane::Ambient);
    let rules: Vec<String> = has_tls.map(|rule| format!("destinationrule/{}", rule.name)).collect();
    if ambient && !rules.is_empty() {
        let message = "no DestinationRule applies to ambient clients without a waypoint";
        findings.push(Finding::new(Severity::Info, Code::AmbientIgnoresRules, message).about(rules));
    }
    waypoints(context, findings);
}

/// WP-2: Services behind a waypoint, one finding for each waypoint.
fn waypoints(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let mut served: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for service in snapshot.services.iter().filter(|service| service.kind != ServiceKind::ExternalName) {
        if let Some(waypoint) = snapshot.waypoint(service) {
            served.entry(waypoint.to_string()).or_default().insert(format!("service/{}", service.name));
        }
    }
    for (waypoint, services) in served {
        let message = format!(
            "{waypoint} serves these Services: ambient clients send mutual TLS to it, where it ends, and it sends mutual TLS of \
             its own to the pods; plaintext from outside the mesh goes past it to the pod's ztunnel, where the mode decides"
        );
        findings.push(Finding::new(Severity::Info, Code::Waypoint, message).about(services));
    }
}
