//! Computes what a client sends to an endpoint, from the `DestinationRules`, the policies and the pod, and what the
//! server does with that, for `overview`.
//!
//! The rules are DR-1..DR-30. [`rules`] finds the `DestinationRule` that is in force, this module computes what that
//! rule and auto mTLS send, and [`mod@outcome`] what the server does with it.

pub mod outcome;
pub mod rules;

use super::effective::PolicyIndex;
use super::mesh::{ClientTls, DataPlane, MtlsMode, Pod, PortTls, TlsPlace};
pub use outcome::{CallOutcome, Server, ambient_outcome, call_outcome};
pub use rules::{InForce, VisibleRules};
use std::collections::BTreeMap;
use std::fmt;

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireProtocol {
    Raw,
    /// The mesh's mutual TLS.
    Mtls,
    Tls,
    /// TLS with the user's own client certificate.
    UserMtls,
    /// The mesh's mutual TLS as a tunnel; no rule turns it off (DR-27).
    Hbone,
    /// TLS of a rule inside that tunnel: the application gets it (DR-27).
    TlsInHbone,
}

impl WireProtocol {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "plaintext",
            Self::Mtls => "mTLS",
            Self::Tls => "TLS",
            Self::UserMtls => "own mTLS",
            Self::Hbone => "HBONE",
            Self::TlsInHbone => "TLS in HBONE",
        }
    }
}

impl fmt::Display for WireProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a client takes part in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    Sidecar,
    /// A gateway or waypoint, which decides for every endpoint of a headless Service separately (DR-24).
    Gateway,
    /// Through the node's ztunnel, which does not read rules (DR-26).
    Ambient,
    /// Without a proxy: it always sends plaintext.
    Outside,
}

/// The facts of a client that decide what it sends.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Rules of this namespace take precedence (DR-3).
    pub namespace: &'a str,
    /// Rules with a `workloadSelector` select clients by these (DR-5).
    pub labels: &'a BTreeMap<String, String>,
    pub kind: ClientKind,
    /// Whether its sidecar sends HBONE where the server takes it (DR-30).
    pub hbone: bool,
}

/// A Service port that is called.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// The Service port, which rules refer to (DR-16).
    pub port: u16,
    /// The subset that a route sends the call to (DR-14); `None` if no route names one.
    pub subset: Option<&'a str>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// Whether the service is outside the mesh, where auto mTLS does not apply (DR-21).
    pub external: bool,
    /// Whether there are endpoints, and all of them are labelled as accepting mutual TLS (DR-23).
    pub all_have_tls_label: bool,
}

/// The settings and policies that auto mTLS depends on.
#[derive(Debug, Clone, Copy)]
pub struct Mesh<'a> {
    /// Whether `enableAutoMtls` is true, in a mesh that has this setting.
    pub auto_mtls: bool,
    pub policies: &'a PolicyIndex<'a>,
}

/// What `client` sends to `port` (a target port) of `pod` when it makes `call` under `rule`.
pub fn sends(
    mesh: Mesh<'_>,
    client: Client<'_>,
    rule: Option<&InForce<'_>>,
    call: Call<'_>,
    (pod, port): (&Pod, u16),
) -> WireProtocol {
    match client.kind {
        ClientKind::Outside => return WireProtocol::Raw,
        // A ztunnel has no other mutual TLS than HBONE.
        ClientKind::Ambient => return if pod.accepts_hbone() { WireProtocol::Hbone } else { WireProtocol::Raw },
        ClientKind::Sidecar | ClientKind::Gateway => {}
    }
    let setting = rule.and_then(|rule| rule.cluster_tls(call, client.kind));
    let is_tunnelled = is_tunnelled(client, rule, call, pod);
    match setting {
        Some(ClientTls::Simple | ClientTls::Mutual) if is_tunnelled => WireProtocol::TlsInHbone,
        Some(ClientTls::Simple) => WireProtocol::Tls,
        Some(ClientTls::Mutual) => WireProtocol::UserMtls,
        // DR-27: whatever mode the rule has.
        _ if is_tunnelled => WireProtocol::Hbone,
        Some(ClientTls::Disable) => WireProtocol::Raw,
        Some(ClientTls::IstioMutual) => WireProtocol::Mtls,
        None => auto(mesh, client, rule, call, (pod, port)),
    }
}

/// Whether a sidecar or gateway sends HBONE to an ambient pod (DR-27). It does not to the endpoints of a cluster without a
/// list of them (DR-28), to a pod that says that it takes mutual TLS itself (DR-29), and where it must not (DR-30).
fn is_tunnelled(client: Client<'_>, rule: Option<&InForce<'_>>, call: Call<'_>, pod: &Pod) -> bool {
    pod.data_plane == DataPlane::Ambient && client.hbone && !pod.has_tls_label() && !is_by_address(client, rule, call)
}

/// Whether the client's proxy connects to the address that the application called, instead of choosing an endpoint: at a
/// headless Service, and for the load balancer PASSTHROUGH.
fn is_by_address(client: Client<'_>, rule: Option<&InForce<'_>>, call: Call<'_>) -> bool {
    call.headless && client.kind == ClientKind::Sidecar || rule.is_some_and(InForce::passthrough)
}

/// Auto mTLS: what a client sends where no rule has a setting (DR-21..DR-25).
fn auto(
    mesh: Mesh<'_>,
    client: Client<'_>,
    rule: Option<&InForce<'_>>,
    call: Call<'_>,
    (pod, port): (&Pod, u16),
) -> WireProtocol {
    let passthrough = rule.is_some_and(InForce::passthrough);
    // DR-23: only the mode of the namespace and of the mesh counts; a workload's mode does not (DR-25).
    let namespace_mode = mesh.policies.namespace_mode(call.namespace, pod.revision.as_deref());
    let hinted = !((call.headless || passthrough) && !call.all_have_tls_label) && namespace_mode != MtlsMode::Disable;
    if call.external || !mesh.auto_mtls || !hinted {
        return WireProtocol::Raw;
    }
    if is_by_address(client, rule, call) {
        // DR-24: the label of an endpoint does not count.
        return WireProtocol::Mtls;
    }
    let wanted = match rule.and_then(|rule| rule.endpoint_tls(call)) {
        // DR-13: although the cluster has no setting, the rule's own setting decides instead of the policy.
        Some(tls) => tls == ClientTls::IstioMutual,
        None => mesh.policies.mode(pod, port).mode != Some(MtlsMode::Disable),
    };
    // DR-22: the label decides whether an endpoint accepts mutual TLS, even if there is no proxy.
    if wanted && pod.has_tls_label() { WireProtocol::Mtls } else { WireProtocol::Raw }
}

impl InForce<'_> {
    /// The setting of the client's cluster (DR-12). A port entry without `tls` inherits nothing: there is no setting.
    pub fn cluster_tls(&self, call: Call<'_>, kind: ClientKind) -> Option<ClientTls> {
        let found = self.subset_tls(call).unwrap_or_else(|| {
            self.policy().map_or((None, None), |rule| match port_entry(&rule.ports, call.port) {
                Some((index, entry)) => (entry.tls, Some((rule, TlsPlace::Port(index)))),
                None => (rule.tls, Some((rule, TlsPlace::Top))),
            })
        });
        let (tls, place) = found;
        // DR-18: a sidecar cannot read the secret, unless the first of the merged rules selects it.
        let unreadable = place.is_some_and(|(rule, place)| {
            kind == ClientKind::Sidecar && !self.selects_clients() && rule.details.credentials.contains(&place)
        });
        if unreadable { Some(ClientTls::Disable) } else { tls }
    }

    /// The setting of the subset, which replaces the rule's (DR-12); `None` if the subset inherits it.
    fn subset_tls(&self, call: Call<'_>) -> Option<(Option<ClientTls>, Option<rules::Place<'_>>)> {
        let (rule, index) = self.subset(call.subset?)?;
        let subset = &rule.subsets[index];
        match port_entry(&subset.ports, call.port) {
            Some((port, entry)) => Some((entry.tls, Some((rule, TlsPlace::SubsetPort(index, port))))),
            None => subset.tls.map(|tls| (Some(tls), Some((rule, TlsPlace::Subset(index))))),
        }
    }

    /// The setting of the endpoints (DR-13): an entry overrides the rule only if it has a `tls`.
    fn endpoint_tls(&self, call: Call<'_>) -> Option<ClientTls> {
        let port_or = |ports: &[PortTls], tls| port_entry(ports, call.port).and_then(|(_, entry)| entry.tls).or(tls);
        let subset = call.subset.and_then(|name| self.subset(name)).map(|(rule, index)| &rule.subsets[index]);
        subset
            .and_then(|subset| port_or(&subset.ports, subset.tls))
            .or_else(|| self.policy().and_then(|rule| port_or(&rule.ports, rule.tls)))
    }
}

fn port_entry(ports: &[PortTls], port: u16) -> Option<(usize, &PortTls)> {
    ports.iter().enumerate().find(|(_, entry)| entry.port == Some(port))
}

#[cfg(test)]
mod tests;
