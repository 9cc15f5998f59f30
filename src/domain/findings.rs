//! Findings: what breaks, what is not protected, and what is easily misread, each with a stable code, the objects that
//! it is about, and a remedy.
//!
//! A finding is a function of a [`NamespaceContext`] and its [`Overview`]. The same rules serve `status`, which looks at what is,
//! and the check before a switch, which looks at what would be.

mod code;
mod policies;
mod rules;
mod surroundings;
#[cfg(test)]
mod tests;
mod traffic;
mod workloads;

use super::mesh::MtlsMode;
use super::namespace_context::NamespaceContext;
use super::overview::{Overview, WorkloadPort, overview};
pub use code::Code;
use std::collections::BTreeSet;
use std::fmt;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Calls fail, or what should be protected is not.
    Error,
    /// Something will surprise.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// A word for it.
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

/// One finding; of one cause there is one, however many objects it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// What was found, in one sentence.
    pub message: String,
    /// The objects that it is about: `service/web:80`, `pod/web-0`, `destinationrule/web`; ordered.
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

/// For what the findings are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To know what is.
    Status,
    /// To know what a switch would break; the survey is of the namespace as it would be.
    BeforeSwitch,
}

/// An overview with its findings, the gravest first.
pub fn examine(context: &NamespaceContext, purpose: Purpose) -> (Overview, Vec<Finding>) {
    let overview = overview(context);
    let mut findings = Vec::new();
    traffic::find(context, &overview, &mut findings);
    policies::find(context, &overview, &mut findings);
    rules::find(context, &overview, &mut findings);
    workloads::find(context, &overview, &mut findings);
    surroundings::find(context, &overview, purpose, &mut findings);
    findings.sort();
    findings.dedup();
    (overview, findings)
}

/// The findings that have to do with some Services: those that name one of them or what stands behind it, and those
/// that are about no object.
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

/// `service/web:80`.
fn port_name(service: &str, port: u16) -> String {
    format!("service/{service}:{port}")
}

/// Whether STRICT is asked for at a port.
fn wants_strict(workload_port: &WorkloadPort) -> bool {
    workload_port.wanted == Some(MtlsMode::Strict)
}

/// Whether STRICT is asked for anywhere.
fn any_strict(overview: &Overview) -> bool {
    overview.ports.iter().flat_map(|port| &port.workload_ports).chain(&overview.others).any(wants_strict)
}
