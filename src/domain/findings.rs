//! Computes findings: what fails, what is not protected, and what is easily misread, each with a stable code, the
//! objects that it concerns, and a remedy.
//!
//! The input is a [`NamespaceContext`] with its [`Overview`]: for `status` the present state, for the check before a
//! switch the state that the plan leads to.

mod clients;
mod code;
mod controllers;
mod policies;
mod reach;
mod rules;
mod surroundings;
#[cfg(test)]
mod tests;
mod traffic;
mod workloads;

use super::label::is_dns_label;
use super::mesh::MtlsMode;
use super::namespace_context::NamespaceContext;
use super::overview::{Overview, WorkloadPort, overview};
pub use code::Code;
pub use reach::probe_blocked;
use std::collections::BTreeSet;
use std::fmt;

/// The severity of a finding, the highest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Calls fail, or something that should be protected is not.
    Error,
    /// The effect may differ from what the user expects.
    Warning,
    /// A fact without a problem.
    Info,
}

impl Severity {
    /// The value in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding. Each cause has one, however many objects it concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub severity: Severity,
    pub code: Code,
    /// One sentence.
    pub message: String,
    /// The objects that it concerns: `service/web:80`, `pod/web-0`, `destinationrule/web`; sorted, each once.
    pub objects: Vec<String>,
}

impl Finding {
    fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), objects: Vec::new() }
    }

    fn about(mut self, objects: impl IntoIterator<Item = String>) -> Self {
        self.objects.extend(objects);
        self.objects.sort_unstable();
        self.objects.dedup();
        self
    }
}

/// What the findings are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To report the present state.
    Status,
    /// To report what a switch would break; the namespace context describes the state after it.
    BeforeSwitch,
    /// What turning mutual TLS off, into this mode, would break.
    BeforeDisable(MtlsMode),
}

/// An overview with its findings, the most severe first.
pub fn examine(context: &NamespaceContext, purpose: Purpose) -> (Overview, Vec<Finding>) {
    let overview = overview(context);
    let mut findings = Vec::new();
    traffic::find(context, &overview, &mut findings);
    policies::find(context, &overview, &mut findings);
    rules::find(context, &overview, &mut findings);
    workloads::find(context, &overview, &mut findings);
    clients::find(context, &overview, &mut findings);
    controllers::find(context, &overview, purpose, &mut findings);
    reach::find(context, &mut findings);
    surroundings::find(context, &overview, purpose, &mut findings);
    if purpose == Purpose::BeforeSwitch {
        // A switch stops for what breaks calls. What stays unprotected is reported at its end.
        for finding in findings.iter_mut().filter(|finding| finding.code.is_about_protection()) {
            finding.severity = finding.severity.max(Severity::Warning);
        }
    }
    findings.sort();
    findings.dedup();
    (overview, findings)
}

/// The findings that concern the Services of this overview: those that name one of them or one of its workloads, and
/// those that name no object.
pub fn about_services(findings: Vec<Finding>, overview: &Overview) -> Vec<Finding> {
    let mut concerned: BTreeSet<String> = BTreeSet::new();
    for port in &overview.ports {
        concerned.extend([format!("service/{}", port.service), port_name(&port.service, port.port.port)]);
        concerned.extend(port.workload_ports.iter().map(|workload_port| workload_port.workload.clone()));
    }
    let concerns = |finding: &Finding| {
        finding.objects.is_empty() || finding.objects.iter().any(|object| concerned.contains(object))
    };
    findings.into_iter().filter(concerns).collect()
}

/// The options of `enable-mtls`, as `--except web:80`, that keep those ports open at which errors would break callers.
pub fn exceptions(findings: &[Finding]) -> Vec<String> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let objects = errors.filter(|finding| finding.code.is_served_by_exception()).flat_map(|finding| &finding.objects);
    // `service/web:80`, and `web:80` as traffic is reported.
    let ports: BTreeSet<&str> = objects
        .map(|object| object.strip_prefix("service/").unwrap_or(object))
        .filter(|port| port.split_once(':').is_some_and(|(service, _)| is_dns_label(service)))
        .collect();
    ports.into_iter().map(|port| format!("--except {port}")).collect()
}

/// `service/web:80`.
fn port_name(service: &str, port: u16) -> String {
    format!("service/{service}:{port}")
}

/// Whether the policies ask for STRICT at a port.
fn wants_strict(workload_port: &WorkloadPort) -> bool {
    workload_port.wanted == Some(MtlsMode::Strict)
}

/// Whether the policies ask for STRICT at any port.
fn any_strict(overview: &Overview) -> bool {
    overview.ports.iter().flat_map(|port| &port.workload_ports).chain(&overview.others).any(wants_strict)
}
