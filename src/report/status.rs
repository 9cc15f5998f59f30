//! Builds the report of `status` from overviews and findings. Its shape is versioned and published.

mod changes;
mod human;

use super::kinds::{ModeKind, SeverityKind};
use super::model::{API_VERSION, PolicyReport};
use crate::domain::client_tls::{Server, WireProtocol};
use crate::domain::findings::Finding;
use crate::domain::inbound::InboundPath;
use crate::domain::mesh::{ServiceKind, Snapshot};
use crate::domain::overview::{CallerView, Overview, PortView, WorkloadPort};
use crate::exit::ExitStatus;
use crate::sanitize::line;
pub use changes::{StatusChange, changes};
pub use human::{Style, live, paragraphs, text};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The report of a run of `status`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// Always [`API_VERSION`].
    pub api_version: &'static str,
    /// Always `StatusReport`.
    pub kind: &'static str,
    /// URL of the API server.
    pub cluster: String,
    /// When the cluster was read, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    /// The version of this tool.
    pub version: &'static str,
    /// Exit code of the run.
    pub exit_code: u8,
    /// One entry for each namespace.
    pub namespaces: Vec<NamespaceReport>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport {
    pub namespace: String,
    /// The namespace whose policies apply to the whole mesh.
    pub root_namespace: String,
    /// Whether the mesh's settings could be read; otherwise they are Istio's defaults.
    pub mesh_readable: bool,
    /// Whether auto mTLS is on.
    pub auto_mtls: bool,
    /// TCP ports of Services.
    #[serde(rename = "results")]
    pub ports: Vec<PortReport>,
    /// Workloads without a Service.
    pub workloads: Vec<WorkloadPortReport>,
    /// The most severe first.
    pub findings: Vec<FindingReport>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    pub service: String,
    pub port: u16,
    /// Name of the port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether the Service is headless.
    pub headless: bool,
    /// The workloads of the endpoints, by mode.
    pub workloads: Vec<WorkloadPortReport>,
    /// The kinds of callers.
    pub clients: Vec<ClientReport>,
}

/// Pods of a workload with the same mode at one port.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadPortReport {
    /// `deployment/web`.
    pub workload: String,
    /// The port of the pods; absent for all ports of a workload without a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// `sidecar`, `ambient`, `none` or `pending`.
    pub data_plane: String,
    /// The mode that is enforced; `null` if none is, or if it is not known.
    pub mode: Option<ModeKind>,
    /// Why no mode is enforced or known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unguarded: Option<String>,
    /// The mode that the policies ask for; `null` if it is not known.
    pub wanted: Option<ModeKind>,
    /// The policies that apply, the widest first; the last one with a mode decides.
    pub policies: Vec<PolicyReport>,
    /// Names of the pods, or addresses if no pod is known.
    pub pods: Vec<String>,
    /// Number of the pods that are ready.
    pub ready: usize,
}

/// What one kind of caller sends.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
pub struct ClientReport {
    /// The kind of caller.
    pub from: String,
    /// The subset that a route names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// What it sends, by workload: `plaintext`, `mTLS`, `TLS`, `own mTLS`, `HBONE` or `TLS in HBONE`.
    pub sends: BTreeMap<String, Vec<&'static str>>,
    /// The rules in force, as `namespace/name`.
    pub rules: Vec<String>,
    /// What decides: `rule` or `auto mTLS`.
    pub decided_by: &'static str,
    /// The worst result over all endpoints.
    pub outcome: &'static str,
    /// Workloads to which calls fail.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub breaks_at: Vec<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FindingReport {
    /// `error`, `warning` or `info`.
    pub severity: SeverityKind,
    pub code: &'static str,
    pub message: String,
    /// The objects that it concerns.
    pub objects: Vec<String>,
    pub remedy: &'static str,
}

impl StatusReport {
    /// The report of these namespaces.
    pub fn new(cluster: &str, started_at: String, namespaces: Vec<NamespaceReport>) -> Self {
        let mut report = Self {
            api_version: API_VERSION,
            kind: "StatusReport",
            cluster: cluster.to_owned(),
            started_at,
            version: env!("CARGO_PKG_VERSION"),
            exit_code: 0,
            namespaces,
        };
        report.exit_code = report.exit_status().code();
        report
    }

    /// The exit status of the run: unexpected if a finding is an error.
    pub fn exit_status(&self) -> ExitStatus {
        let mut findings = self.namespaces.iter().flat_map(|namespace| &namespace.findings);
        let broken = findings.any(|finding| finding.severity == SeverityKind::Error);
        if broken { ExitStatus::Unexpected } else { ExitStatus::Success }
    }
}

/// `-o name`: `web:8080 STRICT`, with every mode that is enforced there; `none` for endpoints that enforce none.
pub fn names(report: &StatusReport) -> String {
    let mut text = String::new();
    for port in report.namespaces.iter().flat_map(|namespace| &namespace.ports) {
        let modes = port.workloads.iter().map(|workload| workload.mode.map_or("none", ModeKind::as_str));
        let modes: Vec<&str> = modes.collect::<BTreeSet<_>>().into_iter().collect();
        let modes = if modes.is_empty() { "none".to_owned() } else { modes.join(",") };
        let _ = writeln!(text, "{}:{} {modes}", line(&port.service), port.port);
    }
    text
}

/// The report of one namespace.
pub fn namespace(snapshot: &Snapshot, overview: &Overview, findings: &[Finding]) -> NamespaceReport {
    NamespaceReport {
        namespace: snapshot.namespace.clone(),
        root_namespace: snapshot.mesh.root_namespace.clone(),
        mesh_readable: snapshot.mesh.readable,
        auto_mtls: snapshot.mesh.auto_mtls && !snapshot.policies.legacy_only,
        ports: overview.ports.iter().map(port).collect(),
        workloads: overview.others.iter().map(workload_port).collect(),
        findings: findings.iter().map(finding).collect(),
    }
}

fn port(view: &PortView) -> PortReport {
    PortReport {
        service: view.service.clone(),
        port: view.port.port,
        name: view.port.name.clone(),
        headless: view.kind == ServiceKind::Headless,
        workloads: view.workload_ports.iter().map(workload_port).collect(),
        clients: view.callers.iter().map(client).collect(),
    }
}

fn workload_port(workload_port: &WorkloadPort) -> WorkloadPortReport {
    let policies = workload_port.chain.iter().map(|step| PolicyReport {
        level: step.level.to_string(),
        namespace: step.namespace.clone(),
        name: step.name.clone(),
        mode: step.mode.map(ModeKind::from),
    });
    let (mode, unguarded) = match workload_port.server {
        Server::Mode(mode) => (Some(mode.into()), None),
        Server::NoProxy => (None, Some(workload_port.path.to_string())),
        Server::Gateway => (None, Some("gateway".to_owned())),
        Server::Unknown => {
            let is_pending = workload_port.path == InboundPath::Pending;
            (None, Some(if is_pending { workload_port.path.to_string() } else { "unknown".to_owned() }))
        }
    };
    WorkloadPortReport {
        workload: workload_port.workload.clone(),
        target_port: workload_port.target_port,
        data_plane: workload_port.data_plane.to_string(),
        mode,
        unguarded,
        wanted: workload_port.wanted.map(ModeKind::from),
        policies: policies.collect(),
        pods: workload_port.pods.clone(),
        ready: workload_port.ready,
    }
}

fn client(view: &CallerView) -> ClientReport {
    let names = |sends: &std::collections::BTreeSet<WireProtocol>| sends.iter().map(|sends| sends.as_str()).collect();
    let mut breaks_at: Vec<String> = view.breaks.iter().map(|broken| broken.workload.clone()).collect();
    breaks_at.sort_unstable();
    breaks_at.dedup();
    ClientReport {
        from: view.caller.to_string(),
        subset: view.subset.clone(),
        sends: view.sends.iter().map(|(workload, sends)| (workload.clone(), names(sends))).collect(),
        rules: view.rules.clone(),
        decided_by: if view.explicit { "rule" } else { "auto mTLS" },
        outcome: view.outcome.as_str(),
        breaks_at,
    }
}

/// The report of a finding.
pub fn finding(finding: &Finding) -> FindingReport {
    FindingReport {
        severity: finding.severity.into(),
        code: finding.code.as_str(),
        message: finding.message.clone(),
        objects: finding.objects.clone(),
        remedy: finding.code.remedy(),
    }
}
