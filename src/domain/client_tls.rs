//! What a client of the mesh puts on the wire, and what comes of it at the server.
//!
//! The rules are DR-1..DR-27: which `DestinationRule` is in force is [`rules`], what it and auto mTLS make of a call is
//! here, and what the server does with that is [`mod@outcome`].

pub mod outcome;
pub mod rules;

use super::effective::PolicyIndex;
use super::mesh::{ClientTls, DataPlane, MtlsMode, Pod, PortTls, TlsPlace};
pub use outcome::{CallOutcome, Server, call_outcome};
pub use rules::{InForce, VisibleRules};
use std::collections::BTreeMap;
use std::fmt;

/// What a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireProtocol {
    /// Plaintext.
    Raw,
    /// The mesh's mutual TLS.
    Mtls,
    /// TLS without a client certificate of the mesh.
    Tls,
    /// TLS with the user's own client certificate.
    UserMtls,
    /// The mesh's mutual TLS as a tunnel, which no rule turns off (DR-27).
    Hbone,
}

impl WireProtocol {
    /// A word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "plaintext",
            Self::Mtls => "mTLS",
            Self::Tls => "TLS",
            Self::UserMtls => "own mTLS",
            Self::Hbone => "HBONE",
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
    /// Through a sidecar.
    Sidecar,
    /// A gateway or waypoint: it looks at every endpoint of a headless Service (DR-24).
    Gateway,
    /// Through the node's ztunnel, which knows no rules (DR-26).
    Ambient,
    /// Not at all: always plaintext.
    Outside,
}

/// A client, as far as it matters to what it sends.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// Its namespace, whose rules come first (DR-3).
    pub namespace: &'a str,
    /// Its labels, on which rules for some clients work (DR-5).
    pub labels: &'a BTreeMap<String, String>,
    /// How it takes part.
    pub kind: ClientKind,
}

/// A Service port that is called.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// The Service port, which is what rules speak of (DR-16).
    pub port: u16,
    /// The subset that a route sends the call to, where one does (DR-14).
    pub subset: Option<&'a str>,
    /// `clusterIP: None`.
    pub headless: bool,
    /// A service outside the mesh: auto mTLS leaves it alone (DR-21).
    pub external: bool,
    /// Whether there are endpoints, and all of them say that they take mutual TLS (DR-23).
    pub all_say_tls: bool,
}

/// The settings and policies on which auto mTLS works.
#[derive(Debug, Clone, Copy)]
pub struct Mesh<'a> {
    /// `enableAutoMtls`, and a mesh that has it.
    pub auto_mtls: bool,
    /// The policies.
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
        // H04, H05: a ztunnel has no other mutual TLS than its own.
        ClientKind::Ambient => return if pod.takes_hbone() { WireProtocol::Hbone } else { WireProtocol::Raw },
        ClientKind::Sidecar | ClientKind::Gateway => {}
    }
    let setting = rule.and_then(|rule| rule.cluster_tls(call, client.kind));
    match setting {
        Some(ClientTls::Simple) => WireProtocol::Tls,
        Some(ClientTls::Mutual) => WireProtocol::UserMtls,
        // DR-27, H06, H07: a mesh that has ambient pods reaches them by HBONE, whatever the rule.
        _ if pod.data_plane == DataPlane::Ambient => WireProtocol::Hbone,
        Some(ClientTls::Disable) => WireProtocol::Raw,
        Some(ClientTls::IstioMutual) => WireProtocol::Mtls,
        None => auto(mesh, client, rule, call, (pod, port)),
    }
}

/// Auto mTLS: what is sent where no rule says anything (DR-21..DR-25).
fn auto(
    mesh: Mesh<'_>,
    client: Client<'_>,
    rule: Option<&InForce<'_>>,
    call: Call<'_>,
    (pod, port): (&Pod, u16),
) -> WireProtocol {
    let passthrough = rule.is_some_and(InForce::passthrough);
    let by_address = call.headless && client.kind == ClientKind::Sidecar || passthrough;
    // DR-23: the namespace's and the mesh's mode only; a workload's is not looked at (DR-25).
    let namespace_mode = mesh.policies.namespace_mode(call.namespace, pod.revision.as_deref());
    let hinted = !((call.headless || passthrough) && !call.all_say_tls) && namespace_mode != MtlsMode::Disable;
    if call.external || !mesh.auto_mtls || !hinted {
        return WireProtocol::Raw;
    }
    if by_address {
        // DR-24: no endpoint is looked at.
        return WireProtocol::Mtls;
    }
    let wanted = match rule.and_then(|rule| rule.endpoint_tls(call)) {
        // DR-13: the rule's own setting, though the cluster has none, decides in the place of the policy.
        Some(tls) => tls == ClientTls::IstioMutual,
        None => mesh.policies.mode(pod, port).mode != Some(MtlsMode::Disable),
    };
    // DR-22: the label, not the proxy, says that an endpoint takes it.
    if wanted && pod.says_tls() { WireProtocol::Mtls } else { WireProtocol::Raw }
}

impl InForce<'_> {
    /// The setting of the client's cluster (DR-12); a port entry without `tls` is none, it inherits nothing.
    pub fn cluster_tls(&self, call: Call<'_>, kind: ClientKind) -> Option<ClientTls> {
        let found = self.subset_tls(call).unwrap_or_else(|| {
            self.policy().map_or((None, None), |rule| match port_entry(&rule.ports, call.port) {
                Some((index, entry)) => (entry.tls, Some((rule, TlsPlace::Port(index)))),
                None => (rule.tls, Some((rule, TlsPlace::Top))),
            })
        });
        let (tls, place) = found;
        // DR-18: a sidecar cannot read the secret, unless the rule selects it.
        let unreadable = place.is_some_and(|(rule, place)| {
            kind == ClientKind::Sidecar && !rule.selects_clients() && rule.details.credentials.contains(&place)
        });
        if unreadable { Some(ClientTls::Disable) } else { tls }
    }

    /// What the subset says in the place of the rule (DR-12); `None` where it inherits.
    fn subset_tls(&self, call: Call<'_>) -> Option<(Option<ClientTls>, Option<rules::Place<'_>>)> {
        let (rule, index) = self.subset(call.subset?)?;
        let subset = &rule.subsets[index];
        match port_entry(&subset.ports, call.port) {
            Some((port, entry)) => Some((entry.tls, Some((rule, TlsPlace::SubsetPort(index, port))))),
            None => subset.tls.map(|tls| (Some(tls), Some((rule, TlsPlace::Subset(index))))),
        }
    }

    /// The setting of the endpoints (DR-13): an entry overrides only where it has a `tls`.
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
