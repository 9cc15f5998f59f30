//! The `Sidecar` object of `networking.istio.io`, and which one applies to a workload: for the calls that its proxy knows,
//! and for the listeners that it has.

use super::address;
use super::control_plane::is_read_by_revision;
use super::selector::has_labels;
use std::collections::BTreeMap;

/// A `Sidecar`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Seconds since the epoch; of several that apply the oldest counts (CS-2).
    pub created: i64,
    /// Label `istio.io/rev`.
    pub revision: Option<String>,
    /// `workloadSelector.labels`; `None` where there is no selector.
    pub selector: Option<BTreeMap<String, String>>,
    /// `ingress`; without a listener the proxy takes the ports of the Services.
    pub ingress: Vec<IngressListener>,
    /// `egress`; without an entry everything is imported.
    pub egress: Vec<Egress>,
    /// `outboundTrafficPolicy`: whether calls to unknown hosts go out; `None` is the mesh's setting.
    pub passes_unknown: Option<bool>,
}

/// One `ingress` listener (BY-34).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngressListener {
    pub port: u16,
    /// `captureMode`.
    pub capture: CaptureMode,
    /// `bind`, an IP address; without one Envoy takes the pod's.
    pub bind: Option<String>,
    /// `tls`: it takes the place of the policies' mode.
    pub own_tls: bool,
}

/// How connections reach an `ingress` listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CaptureMode {
    /// As the pod does for every other port (BY-4).
    #[default]
    Default,
    /// By the pod's redirection.
    IpTables,
    /// Envoy itself listens at the port.
    None,
}

impl IngressListener {
    /// Whether Envoy itself listens at the port of `address`, one of the pod's. `is_redirected`: whether the pod redirects
    /// connections at all.
    pub fn is_bound_to(&self, address: &str, is_redirected: bool) -> bool {
        let is_bound = match self.capture {
            CaptureMode::Default => !is_redirected,
            CaptureMode::IpTables => false,
            CaptureMode::None => true,
        };
        is_bound && self.bind.as_deref().is_none_or(|bind| address::is_listening(bind, address))
    }
}

/// One `egress` entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    /// The only Service port that it imports; `None` for every port, also where it is an HTTP proxy.
    pub port: Option<u16>,
    /// `hosts` as written: `NAMESPACE/HOST`.
    pub hosts: Vec<String>,
}

/// A workload with a sidecar.
#[derive(Debug, Clone, Copy)]
pub struct ScopedWorkload<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Labels of its pod.
    pub labels: &'a BTreeMap<String, String>,
    /// Revision of its proxy.
    pub revision: Option<&'a str>,
}

/// The `Sidecar` of its namespace that applies to a workload: the oldest that selects it, else the oldest without a selector
/// (CS-2).
pub fn of_workload<'a>(sidecars: &'a [Sidecar], workload: ScopedWorkload<'_>) -> Option<&'a Sidecar> {
    let applies = |sidecar: &&Sidecar| {
        sidecar.namespace == workload.namespace
            && is_read_by_revision(sidecar.revision.as_deref(), workload.revision)
            && sidecar.selector.as_ref().is_none_or(|selector| has_labels(workload.labels, selector))
    };
    sidecars.iter().filter(applies).min_by_key(|sidecar| sidecar.rank())
}

impl Sidecar {
    /// The order in which those that apply are chosen, the first wins.
    pub fn rank(&self) -> (bool, i64, &str) {
        (self.selector.is_none(), self.created, &self.name)
    }
}
