//! What an endpoint's own proxy says of a port: not what the API asks for, but what is loaded.
//!
//! A sidecar is asked for the filter chains of its inbound listener. Envoy picks among the chains that name the port,
//! or else among those that name none; plaintext gets in where one of these takes it without TLS.

use std::fmt;

/// One filter chain of a sidecar's `virtualInbound` listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterChain {
    /// The target port that it is for; none is every port without chains of its own.
    pub port: Option<u16>,
    /// `filter_chain_match.transport_protocol`: what the TLS inspector must have found; none matches both.
    pub transport: Option<Transport>,
    /// Whether it ends TLS itself and demands a client certificate.
    pub requires_client_certificate: bool,
}

/// What the TLS inspector finds at the beginning of a connection.
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

/// What a proxy says of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyReport {
    /// Every chain for the port demands a client certificate: STRICT as enforced.
    Enforces {
        /// Chains that were looked at.
        chains: usize,
    },
    /// A chain for the port takes plaintext.
    LetsPlaintextIn,
    /// No chain takes plaintext, but one takes TLS without a client certificate, which is not the mesh's STRICT.
    TlsWithoutClientCertificate,
    /// No chain is for the port: nothing to go by.
    NothingLoaded,
    /// ztunnel's own account of our connections to the endpoint.
    Connections(Connections),
}

/// What ztunnel logged of the connections from one source to one endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Closed because a policy that demands mutual TLS denied them.
    pub denied: usize,
    /// Let in by policy; the application did not take them.
    pub application_down: usize,
    /// Let in and served.
    pub served: usize,
    /// Ended otherwise, also because authorization denied them.
    pub other: usize,
}

/// Reads the word of a sidecar for `port` from its loaded chains.
pub fn word(chains: &[FilterChain], port: u16) -> ProxyReport {
    let own = || chains.iter().filter(|chain| chain.port == Some(port));
    let rest = || chains.iter().filter(|chain| chain.port.is_none());
    let chosen: Vec<&FilterChain> = if own().next().is_some() { own().collect() } else { rest().collect() };
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

/// What the word is worth as evidence that the mesh refused plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// It did.
    Supports,
    /// It did not.
    Contradicts,
    /// It says neither.
    Silent,
}

impl ProxyReport {
    /// What it is worth, where `refused` of our plaintext connections got no byte. A ztunnel must have denied as many.
    pub fn worth(&self, refused: usize) -> Weight {
        match self {
            Self::Enforces { .. } => Weight::Supports,
            Self::LetsPlaintextIn | Self::TlsWithoutClientCertificate => Weight::Contradicts,
            Self::Connections(seen) if seen.application_down + seen.served > 0 => Weight::Contradicts,
            Self::Connections(seen) if refused > 0 && seen.denied >= refused => Weight::Supports,
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
            Self::Connections(seen) => write!(
                f,
                "of our connections policy denied {}, {} met a dead application, {} were served, {} ended otherwise",
                seen.denied, seen.application_down, seen.served, seen.other
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(port: Option<u16>, transport: Option<Transport>, requires_client_certificate: bool) -> FilterChain {
        FilterChain { port, transport, requires_client_certificate }
    }

    /// Section 2 of the measurements on a real mesh, row by row.
    #[test]
    fn the_word_for_a_port() {
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
            assert_eq!(word(chains, port), expected, "{name}");
        }
    }

    #[test]
    fn a_ztunnel_must_have_denied_every_connection() {
        let seen = |denied, application_down, served| {
            ProxyReport::Connections(Connections { denied, application_down, served, other: 0 })
        };
        let rows = [
            (seen(3, 0, 0), Weight::Supports),
            (seen(2, 0, 0), Weight::Silent),
            (seen(0, 0, 0), Weight::Silent),
            (seen(2, 1, 0), Weight::Contradicts),
            (seen(3, 0, 1), Weight::Contradicts),
        ];
        for (word, expected) in rows {
            assert_eq!(word.worth(3), expected, "{word}");
        }
    }
}
