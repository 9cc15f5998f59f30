//! The calls that a sidecar's access log reports, for a rehearsal. [`crate::istio::access_log`] reads them from its lines.

use std::net::{IpAddr, SocketAddr};

/// How a call reached the server's sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallSecurity {
    /// Under the mesh's mutual TLS.
    MutualTls,
    /// Without TLS.
    Plaintext,
    /// Under TLS of the application itself, which STRICT refuses as well.
    OwnTls,
}

/// One call that arrived at a sidecar: an HTTP request, or a TCP connection that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundCall {
    /// The port of the pod.
    pub port: u16,
    /// The address of the caller; `None` where the log's format does not have it.
    pub remote: Option<IpAddr>,
    pub security: CallSecurity,
    /// Whether an `AuthorizationPolicy` refused it.
    pub is_denied: bool,
}

impl InboundCall {
    /// A call from `remote` to the `local` address of a pod.
    pub const fn new(local: SocketAddr, remote: SocketAddr, security: CallSecurity) -> Self {
        Self { port: local.port(), remote: Some(remote.ip()), security, is_denied: false }
    }
}

/// What a line of a proxy's log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogLine {
    /// A call that arrived at the sidecar.
    Inbound(InboundCall),
    /// A call that the pod's own application made, or one that led nowhere.
    OtherCall,
    /// An entry of an access log without the fields that a rehearsal needs.
    UnknownFormat,
    /// No entry of an access log.
    NoCall,
}
