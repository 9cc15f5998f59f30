//! What a server does with what a client sends: the truth table of section 4.1 of the semantics.

use super::WireProtocol;
use crate::domain::mesh::MtlsMode;
use std::fmt;

/// The server's side of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// A proxy takes the port in this mode.
    Mode(MtlsMode),
    /// No proxy takes it: the application gets what is sent.
    NoProxy,
    /// A gateway's own listener decides.
    Gateway,
    /// It cannot be known.
    Unknown,
}

/// What comes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallOutcome {
    /// It gets through.
    Works,
    /// TLS that nobody terminates reaches the application, which may speak it or not.
    ApplicationTls,
    /// It cannot be known.
    Unknown,
    /// It fails.
    Breaks,
}

impl CallOutcome {
    /// A word for it.
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

/// What comes of `sends` at `server`; `http` says whether the port is declared to speak HTTP.
pub const fn call_outcome(sends: WireProtocol, server: Server, http: bool) -> CallOutcome {
    use MtlsMode::{Disable, Permissive, Strict};
    match (server, sends) {
        (Server::Gateway, _)
        | (_, WireProtocol::Hbone)
        | (Server::Mode(Strict | Permissive), WireProtocol::Mtls)
        | (Server::Mode(Permissive | Disable) | Server::NoProxy, WireProtocol::Raw) => CallOutcome::Works,
        (Server::Unknown, _) => CallOutcome::Unknown,
        // A foreign certificate is none of the mesh's, and a port that speaks HTTP takes no other TLS.
        (Server::Mode(Permissive | Disable), WireProtocol::Tls | WireProtocol::UserMtls) if !http => {
            CallOutcome::ApplicationTls
        }
        (Server::NoProxy, WireProtocol::Tls | WireProtocol::UserMtls) => CallOutcome::ApplicationTls,
        (Server::Mode(_) | Server::NoProxy, _) => CallOutcome::Breaks,
    }
}
