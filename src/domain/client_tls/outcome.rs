//! Computes what a server does with what a client sends: a table of all combinations, for `overview`.

use super::WireProtocol;
use crate::domain::mesh::MtlsMode;
use std::fmt;

/// What accepts connections at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// A proxy in this mode.
    Mode(MtlsMode),
    /// No proxy: the application gets what the client sends.
    NoProxy,
    /// A gateway, whose own listener decides.
    Gateway,
    /// Not known, because policies cannot be read or the pod is not fully enrolled in the ambient mesh.
    Unknown,
}

/// The result of a call, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallOutcome {
    /// It succeeds.
    Works,
    /// TLS that no proxy terminates reaches the application, which may or may not speak TLS.
    ApplicationTls,
    Unknown,
    Breaks,
}

impl CallOutcome {
    /// The value in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::ApplicationTls => "TLS reaches the application",
            Self::Unknown => "unknown",
            Self::Breaks => "breaks",
        }
    }
}

impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The result of a call that sends `sends` to `server`. `http` is whether the port is declared to speak HTTP.
pub const fn call_outcome(sends: WireProtocol, server: Server, http: bool) -> CallOutcome {
    use MtlsMode::{Disable, Permissive, Strict};
    match (server, sends) {
        (Server::Gateway, _)
        | (_, WireProtocol::Hbone | WireProtocol::TlsInHbone)
        | (Server::Mode(Strict | Permissive), WireProtocol::Mtls)
        | (Server::Mode(Permissive | Disable) | Server::NoProxy, WireProtocol::Raw) => CallOutcome::Works,
        (Server::Unknown, _) => CallOutcome::Unknown,
        // A certificate from elsewhere does not count as the mesh's, and a port that is declared HTTP accepts no other TLS.
        (Server::Mode(Permissive | Disable), WireProtocol::Tls | WireProtocol::UserMtls) if !http => {
            CallOutcome::ApplicationTls
        }
        (Server::NoProxy, WireProtocol::Tls | WireProtocol::UserMtls) => CallOutcome::ApplicationTls,
        (Server::Mode(_) | Server::NoProxy, _) => CallOutcome::Breaks,
    }
}

/// The result of a call to an ambient pod. Its ztunnel takes HBONE and, unless `server` is STRICT, everything else as it
/// is: mutual TLS that is not HBONE reaches the application (DR-28..DR-30).
pub const fn ambient_outcome(sends: WireProtocol, server: Server) -> CallOutcome {
    match (server, sends) {
        (_, WireProtocol::Hbone) => CallOutcome::Works,
        (_, WireProtocol::TlsInHbone) => CallOutcome::ApplicationTls,
        (_, WireProtocol::Mtls) | (Server::Mode(MtlsMode::Strict), _) => CallOutcome::Breaks,
        (Server::Unknown, _) => CallOutcome::Unknown,
        (_, WireProtocol::Raw) => CallOutcome::Works,
        (_, WireProtocol::Tls | WireProtocol::UserMtls) => CallOutcome::ApplicationTls,
    }
}
