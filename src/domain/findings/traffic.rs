//! Finds calls inside the mesh that fail because the port does not accept what clients send.

use super::{Code, Finding, Severity, port_name};
use crate::domain::client_tls::{Server, WireProtocol};
use crate::domain::inbound::InboundPath;
use crate::domain::mesh::{MtlsMode, ServiceKind};
use crate::domain::namespace_context::NamespaceContext;
use crate::domain::overview::{Break, Caller, CallerView, Overview, PortView, WorkloadPort};
use std::collections::{BTreeMap, BTreeSet};

/// Why a port does not accept what clients send.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mismatch {
    AmbientToSidecar,
    HeadlessMixed,
    MtlsToDisable,
    MtlsToNoProxy,
    NoHbone,
    NotCaptured,
    PlaintextToStrict,
    StrictUnderDisable,
    TlsModeLabel,
    TlsToSidecar,
}

impl Mismatch {
    /// The finding's code and the second part of its message.
    const fn code_and_text(self) -> (Code, &'static str) {
        match self {
            Self::AmbientToSidecar => (Code::AmbientToSidecar, "mode STRICT refuses it"),
            Self::HeadlessMixed => (
                Code::HeadlessMixed,
                "the headless Service has pods with and without a sidecar, and the former are STRICT",
            ),
            Self::MtlsToDisable => (Code::MtlsToDisable, "mode DISABLE does not terminate it"),
            Self::MtlsToNoProxy => (Code::MtlsToNoProxy, "pods there have no proxy to take it"),
            Self::NoHbone => {
                (Code::NoHbone, "ambient pods there take HBONE, or plaintext where their mode is not STRICT")
            }
            Self::NotCaptured => {
                (Code::NotCaptured, "the sidecar there leaves the port alone, so that the application gets TLS")
            }
            Self::PlaintextToStrict => (Code::PlaintextToStrict, "mode STRICT refuses it"),
            Self::StrictUnderDisable => {
                (Code::StrictUnderDisable, "the workload is STRICT below a namespace or mesh in DISABLE")
            }
            Self::TlsModeLabel => (
                Code::TlsModeLabel,
                "the label security.istio.io/tlsMode of the pods there does not tell what they take",
            ),
            Self::TlsToSidecar => (Code::TlsToSidecar, "the sidecar there takes no TLS but the mesh's own"),
        }
    }
}

/// The cause that failing calls have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    mismatch: Mismatch,
    sends: WireProtocol,
    /// The rules that decide what clients send; empty if auto mTLS decides.
    rules: Vec<String>,
    subset: Option<String>,
}

pub(super) fn find(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    gateways(context, overview, findings);
    let mut causes: BTreeMap<Cause, (Vec<String>, Vec<&Caller>)> = BTreeMap::new();
    for port in &overview.ports {
        for view in &port.callers {
            for broken in &view.breaks {
                let Some(mismatch) = mismatch(context, port, view, broken) else { continue };
                let rules = if view.explicit { view.rules.clone() } else { Vec::new() };
                let cause = Cause { mismatch, sends: broken.sends, rules, subset: view.subset.clone() };
                let (objects, callers) = causes.entry(cause).or_default();
                objects.push(port_name(&port.service, port.port.port));
                objects.push(broken.workload.clone());
                if !callers.contains(&&view.caller) {
                    callers.push(&view.caller);
                }
            }
        }
    }
    for (cause, (objects, callers)) in causes {
        let rules = cause.rules.iter().map(|rule| format!("destinationrule/{}", local(context, rule)));
        let (code, text) = cause.mismatch.code_and_text();
        let message = message(&cause, text, &callers);
        // Gateways and sidecars of other namespaces are only possible callers, and many ambient namespaces have none.
        let is_only_possible = cause.mismatch == Mismatch::NoHbone
            && callers.iter().all(|caller| matches!(caller, Caller::Gateway | Caller::Elsewhere));
        let severity = if is_only_possible { Severity::Warning } else { Severity::Error };
        findings.push(Finding::new(severity, code, message).about(rules.chain(objects)));
    }
}

/// Rules that make clients send mutual TLS to a gateway. Its listeners decide; only `tls.mode: ISTIO_MUTUAL` takes it.
fn gateways(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    // Without the Gateways nothing is known about listeners.
    if context.unread.iter().any(|what| what.contains("Gateways")) {
        return;
    }
    let takes_mtls = |view: &PortView, workload_port: &WorkloadPort| {
        let ports: Vec<u16> = workload_port.target_port.into_iter().chain([view.port.port]).collect();
        let mut pods = workload_port.pods.iter().filter_map(|pod| context.snapshot.pods.get(pod));
        pods.any(|pod| context.gateways.iter().any(|gateway| gateway.requires_mutual_tls(&pod.labels, &ports)))
    };
    let (mut rules, mut objects) = (BTreeSet::new(), BTreeSet::new());
    for view in &overview.ports {
        let gateways = view.workload_ports.iter().filter(|workload_port| workload_port.server == Server::Gateway);
        for workload_port in gateways.filter(|workload_port| !takes_mtls(view, workload_port)) {
            let sends_mtls = |caller: &&CallerView| {
                caller.explicit
                    && caller
                        .sends
                        .get(&workload_port.workload)
                        .is_some_and(|sends| sends.contains(&WireProtocol::Mtls))
            };
            for caller in view.callers.iter().filter(sends_mtls) {
                rules.extend(caller.rules.iter().map(|rule| format!("destinationrule/{}", local(context, rule))));
                objects.extend([port_name(&view.service, view.port.port), workload_port.workload.clone()]);
            }
        }
    }
    if !rules.is_empty() {
        let message = "a rule makes clients send mutual TLS to a gateway, whose listener takes none of the mesh's";
        findings
            .push(Finding::new(Severity::Error, Code::MtlsToGateway, message).about(rules.into_iter().chain(objects)));
    }
}

/// A rule of the namespace without the namespace.
fn local<'a>(context: &NamespaceContext, rule: &'a str) -> &'a str {
    match rule.split_once('/') {
        Some((namespace, name)) if namespace == context.snapshot.namespace => name,
        _ => rule,
    }
}

fn mismatch(context: &NamespaceContext, port: &PortView, view: &CallerView, broken: &Break) -> Option<Mismatch> {
    let workload_port = port
        .workload_ports
        .iter()
        .find(|workload_port| workload_port.workload == broken.workload && workload_port.server == broken.server);
    if workload_port.is_some_and(|workload_port| workload_port.path == InboundPath::Ztunnel) {
        return Some(Mismatch::NoHbone);
    }
    Some(match (broken.sends, broken.server) {
        (WireProtocol::Raw, Server::Mode(MtlsMode::Strict)) => {
            let disabled = |level: &&crate::domain::effective::AppliedPolicy| level.mode == Some(MtlsMode::Disable);
            let above = workload_port
                .is_some_and(|workload_port| workload_port.chain.iter().take(2).any(|step| disabled(&step)));
            let mixed = port.workload_ports.iter().any(|workload_port| workload_port.server == Server::NoProxy);
            if view.caller == Caller::OwnAmbient {
                Mismatch::AmbientToSidecar
            } else if view.explicit || !context.snapshot.mesh.auto_mtls {
                Mismatch::PlaintextToStrict
            } else if !broken.has_tls_label {
                Mismatch::TlsModeLabel
            } else if above {
                Mismatch::StrictUnderDisable
            } else if port.kind == ServiceKind::Headless && mixed {
                Mismatch::HeadlessMixed
            } else {
                Mismatch::PlaintextToStrict
            }
        }
        // Clients decide by the pod's label, which does not tell that the sidecar leaves this port out.
        (WireProtocol::Mtls, Server::NoProxy)
            if workload_port.is_some_and(|workload_port| workload_port.path.is_excluded()) =>
        {
            Mismatch::NotCaptured
        }
        (WireProtocol::Mtls, Server::NoProxy) if view.explicit => Mismatch::MtlsToNoProxy,
        // Auto mTLS fails at the proxy's own ports in every mode: nothing that a switch changes (BY-3).
        (WireProtocol::Mtls, Server::NoProxy)
            if workload_port.is_some_and(|workload_port| workload_port.path == InboundPath::ProxyPort) =>
        {
            return None;
        }
        (WireProtocol::Mtls, Server::NoProxy) => Mismatch::TlsModeLabel,
        (WireProtocol::Mtls, Server::Mode(_)) => Mismatch::MtlsToDisable,
        (WireProtocol::Tls | WireProtocol::UserMtls, _) => Mismatch::TlsToSidecar,
        _ => return None,
    })
}

fn message(cause: &Cause, text: &str, callers: &[&Caller]) -> String {
    let who: Vec<String> = callers.iter().map(ToString::to_string).collect();
    let by = match (&cause.rules[..], &cause.subset) {
        ([], _) => "auto mTLS".to_owned(),
        (rules, None) => format!("the rule {}", rules.join(" with ")),
        (rules, Some(subset)) => format!("subset {subset} of the rule {}", rules.join(" with ")),
    };
    format!("{} makes clients send {}, and {text}; callers: {}", by, cause.sends, who.join(", "))
}
