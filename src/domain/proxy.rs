//! What an endpoint's proxy reports about a port: the configuration that it has loaded, not what the API objects ask for.
//!
//! Input are a sidecar's filter chains or the connections that a ztunnel logged; `evidence` uses the result. Envoy picks
//! a filter chain among those that name the port, or else among those that name no port. Plaintext is accepted if one
//! of these accepts it without TLS.

use super::address;
use std::fmt;

/// The inbound listeners that a sidecar has loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboundListeners {
    /// Chains of `virtualInbound`, which takes every captured connection.
    pub captured: Vec<FilterChain>,
    /// Listeners that Envoy binds to a port itself (BY-34).
    pub bound: Vec<BoundListener>,
}

/// A listener that Envoy binds to one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundListener {
    /// IP addresses, also those that mean all of a family.
    pub addresses: Vec<String>,
    pub port: u16,
    pub chains: Vec<FilterChain>,
}

/// One filter chain of an inbound listener of a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterChain {
    /// The target port; `None` applies to every port that no chain names.
    pub port: Option<u16>,
    /// `filter_chain_match.transport_protocol`: what the TLS inspector must have found; `None` matches both.
    pub transport: Option<Transport>,
    /// Whether the chain terminates TLS and requires a client certificate.
    pub requires_client_certificate: bool,
}

/// What Envoy's TLS inspector finds at the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A TLS hello.
    Tls,
    /// Anything else.
    RawBuffer,
}

impl FilterChain {
    fn takes_plaintext(&self) -> bool {
        match self.transport {
            Some(Transport::RawBuffer) => true,
            Some(Transport::Tls) => false,
            None => !self.requires_client_certificate,
        }
    }
}

/// What a proxy reports about one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyReport {
    /// Every chain for the port requires a client certificate: STRICT is enforced.
    Enforces {
        /// Number of chains for the port.
        chains: usize,
    },
    /// A chain for the port accepts plaintext.
    LetsPlaintextIn,
    /// No chain accepts plaintext, but one accepts TLS without a client certificate, which is not Istio's STRICT.
    TlsWithoutClientCertificate,
    /// No chain applies to the port, so the proxy proves nothing.
    NothingLoaded,
    /// The connections from the probe to the endpoint, as ztunnel logged them.
    Connections(Connections),
    /// ztunnel's counter of denied connections grew by exactly those of two probes. It does not tell by which policy, so
    /// this counts only where no authorization policy could be what denies.
    Counted {
        /// Connections of the first and the second probe.
        denied: [u64; 2],
    },
}

/// Connections from one source to one endpoint in ztunnel's access log, counted by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Closed because a policy that requires mutual TLS denied them.
    pub denied: usize,
    /// Closed because a policy denied them that the log does not name, as before Istio 1.24.
    pub denied_by_unnamed: usize,
    /// Allowed by policy, but the connection to the application failed.
    pub application_down: usize,
    /// Allowed by policy and served.
    pub served: usize,
    /// Ended in another way; denials by authorization are among them.
    pub other: usize,
}

impl Connections {
    /// All of them.
    pub const fn total(&self) -> usize {
        self.denied + self.denied_by_unnamed + self.application_down + self.served + self.other
    }
}

/// What a sidecar's loaded listeners say about `port` (a target port) of `address`. A bound listener decides alone: Envoy
/// hands it what is captured for its port.
pub fn inspect_listeners(listeners: &InboundListeners, address: &str, port: u16) -> ProxyReport {
    let takes = |listener: &&BoundListener| {
        listener.port == port && listener.addresses.iter().any(|bind| address::is_listening(bind, address))
    };
    let bound = listeners.bound.iter().find(takes).map(|listener| &listener.chains);
    inspect_chains(bound.unwrap_or(&listeners.captured), port)
}

/// What the filter chains of one listener say about `port`.
fn inspect_chains(chains: &[FilterChain], port: u16) -> ProxyReport {
    let of_port = || chains.iter().filter(|chain| chain.port == Some(port));
    let of_any_port = || chains.iter().filter(|chain| chain.port.is_none());
    let chosen: Vec<&FilterChain> =
        if of_port().next().is_some() { of_port().collect() } else { of_any_port().collect() };
    if chosen.is_empty() {
        ProxyReport::NothingLoaded
    } else if chosen.iter().any(|chain| chain.takes_plaintext()) {
        ProxyReport::LetsPlaintextIn
    } else if chosen.iter().all(|chain| chain.requires_client_certificate) {
        ProxyReport::Enforces { chains: chosen.len() }
    } else {
        ProxyReport::TlsWithoutClientCertificate
    }
}

/// How a proxy's report counts as evidence that the mesh refused plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The mesh refused it.
    Supports,
    /// The mesh did not refuse it.
    Contradicts,
    /// The report shows neither.
    Silent,
}

impl ProxyReport {
    /// How the report counts if `refused` plaintext connections got no byte. A ztunnel must have denied as many.
    pub fn weight(&self, refused: usize) -> Weight {
        match self {
            Self::Enforces { .. } | Self::Counted { .. } => Weight::Supports,
            Self::LetsPlaintextIn | Self::TlsWithoutClientCertificate => Weight::Contradicts,
            Self::Connections(connections) if connections.application_down + connections.served > 0 => {
                Weight::Contradicts
            }
            Self::Connections(connections) if refused > 0 && connections.denied >= refused => Weight::Supports,
            Self::NothingLoaded | Self::Connections(_) => Weight::Silent,
        }
    }
}

impl fmt::Display for ProxyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforces { chains: 1 } => {
                f.write_str("its one loaded chain for the port demands a client certificate")
            }
            Self::Enforces { chains } => {
                write!(f, "all {chains} loaded chains for the port demand a client certificate")
            }
            Self::LetsPlaintextIn => f.write_str("a loaded chain for the port takes plaintext"),
            Self::TlsWithoutClientCertificate => {
                f.write_str("a loaded chain for the port takes TLS without a client certificate")
            }
            Self::NothingLoaded => f.write_str("no chain is loaded for the port"),
            Self::Connections(Connections { denied, denied_by_unnamed, application_down, served, other }) => {
                write!(f, "of our connections in ztunnel's log policy denied {denied}")?;
                if *denied_by_unnamed > 0 {
                    write!(f, ", a policy that is not named (before 1.24) {denied_by_unnamed}")?;
                }
                write!(f, ", {application_down} met a dead application, {served} were served, {other} ended otherwise")
            }
            Self::Counted { denied: [first, second] } => {
                write!(
                    f,
                    "ztunnel's counter of denied connections grew by exactly our {first}, and then by our {second}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(port: Option<u16>, transport: Option<Transport>, requires_client_certificate: bool) -> FilterChain {
        FilterChain { port, transport, requires_client_certificate }
    }

    /// Filter chains as measured on a real mesh.
    #[test]
    fn the_report_for_a_port_follows_from_its_filter_chains() {
        use Transport::{RawBuffer, Tls};
        let strict = [chain(Some(8080), Some(Tls), true)];
        let permissive = [chain(Some(8080), Some(Tls), true), chain(Some(8080), Some(RawBuffer), false)];
        let disabled = [chain(Some(8080), Some(RawBuffer), false)];
        let catch_all = [chain(None, Some(Tls), true), chain(Some(8080), Some(RawBuffer), false)];
        let own_tls = [chain(Some(8080), Some(Tls), false)];
        let any_plain = [chain(Some(8080), None, false)];
        let any_mutual = [chain(Some(8080), None, true)];
        let rows: [(&str, &[FilterChain], u16, ProxyReport); 9] = [
            ("STRICT", &strict, 8080, ProxyReport::Enforces { chains: 1 }),
            ("PERMISSIVE", &permissive, 8080, ProxyReport::LetsPlaintextIn),
            ("DISABLE", &disabled, 8080, ProxyReport::LetsPlaintextIn),
            ("a port without chains falls to the catch-all", &catch_all, 9090, ProxyReport::Enforces { chains: 1 }),
            ("a port exception beside a STRICT catch-all", &catch_all, 8080, ProxyReport::LetsPlaintextIn),
            ("TLS of a gateway's kind", &own_tls, 8080, ProxyReport::TlsWithoutClientCertificate),
            ("no condition on the transport, no TLS", &any_plain, 8080, ProxyReport::LetsPlaintextIn),
            ("no condition on the transport, mutual TLS", &any_mutual, 8080, ProxyReport::Enforces { chains: 1 }),
            ("nothing for the port", &strict, 9090, ProxyReport::NothingLoaded),
        ];
        for (name, chains, port, expected) in rows {
            assert_eq!(inspect_chains(chains, port), expected, "{name}");
        }
    }

    #[test]
    fn a_bound_listener_decides_at_its_address() {
        let chains = |strict| vec![chain(Some(9080), None, strict)];
        let bound = |addresses: &[&str]| BoundListener {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            port: 9080,
            chains: chains(true),
        };
        let strict = ProxyReport::Enforces { chains: 1 };
        for (captured, addresses, address, port, expected) in [
            (vec![], &["10.0.0.1"][..], "10.0.0.1", 9080, strict.clone()),
            (vec![], &["0.0.0.0"], "10.0.0.1", 9080, strict.clone()),
            (vec![], &["10.0.0.1", "fd00::1"], "fd00::1", 9080, strict.clone()),
            (vec![], &["0.0.0.0"], "fd00::1", 9080, ProxyReport::NothingLoaded),
            (vec![], &["::"], "10.0.0.1", 9080, ProxyReport::NothingLoaded),
            (vec![], &["127.0.0.1"], "10.0.0.1", 9080, ProxyReport::NothingLoaded),
            (vec![], &["10.0.0.1"], "10.0.0.1", 8080, ProxyReport::NothingLoaded),
            (chains(false), &["10.0.0.1"], "10.0.0.1", 9080, strict),
            (chains(false), &["127.0.0.1"], "10.0.0.1", 9080, ProxyReport::LetsPlaintextIn),
        ] {
            let listeners = InboundListeners { captured, bound: vec![bound(addresses)] };
            assert_eq!(inspect_listeners(&listeners, address, port), expected, "{addresses:?} {address}:{port}");
        }
    }

    #[test]
    fn a_ztunnel_must_have_denied_every_connection() {
        let connections = |denied, application_down, served| {
            ProxyReport::Connections(Connections { denied, application_down, served, ..Connections::default() })
        };
        let rows = [
            (connections(3, 0, 0), Weight::Supports),
            (connections(2, 0, 0), Weight::Silent),
            (connections(0, 0, 0), Weight::Silent),
            (connections(2, 1, 0), Weight::Contradicts),
            (connections(3, 0, 1), Weight::Contradicts),
        ];
        for (report, expected) in rows {
            assert_eq!(report.weight(3), expected, "{report}");
        }
    }
}
