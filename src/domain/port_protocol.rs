//! The protocol that a Service port is declared to speak, as sidecars select it (PS-1), for the requests of a client in the
//! mesh and for verdicts. A sidecar makes HTTP of what begins like HTTP on a port whose protocol is not declared, so such a
//! port must not be called with an HTTP request to find out.

use super::mesh::ServicePort;

/// What a port is declared to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PortProtocol {
    /// HTTP in any version, gRPC included: sidecars parse the requests.
    Http,
    /// HTTP within the application's own TLS, which sidecars pass on as bytes.
    Https,
    /// Any other protocol: sidecars pass on bytes.
    Tcp,
    /// Nothing: sidecars look at the first bytes of each connection.
    #[default]
    Undeclared,
}

/// What a client in the mesh sends to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// An HTTP request.
    Request,
    /// A line of text that no sidecar takes for HTTP.
    Line,
}

/// Ports that speak TCP if nothing is declared, because their servers speak first: those of mail, names, `MySQL` and `MongoDB`.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

impl PortProtocol {
    /// The protocol of a port: by `appProtocol`, else by the beginning of its name, else by its number.
    pub fn of(port: &ServicePort) -> Self {
        let declared = port.app_protocol.as_deref().unwrap_or(&port.name).to_ascii_lowercase();
        let declared = match declared.as_str() {
            "kubernetes.io/h2c" => "http2",
            "kubernetes.io/ws" => "http",
            "kubernetes.io/wss" => "https",
            word => word.split('-').next().unwrap_or_default(),
        };
        match declared {
            "http" | "http2" | "grpc" => Self::Http,
            "https" => Self::Https,
            "tcp" | "tls" | "mongo" | "mysql" | "redis" => Self::Tcp,
            _ if SERVER_FIRST.contains(&port.port) => Self::Tcp,
            _ => Self::Undeclared,
        }
    }

    /// What a client in the mesh sends to such a port.
    pub const fn call(self) -> CallKind {
        match self {
            Self::Http | Self::Https => CallKind::Request,
            Self::Tcp | Self::Undeclared => CallKind::Line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_what_its_declaration_says() {
        use PortProtocol::{Http, Https, Tcp, Undeclared};
        let rows = [
            ("", 80, None, Undeclared),
            ("http", 80, None, Http),
            ("HTTP-web", 80, None, Http),
            ("http2", 80, None, Http),
            ("grpc-web", 80, None, Http),
            ("httpx", 80, None, Undeclared),
            ("https", 443, None, Https),
            ("tcp-db", 5432, None, Tcp),
            ("tls", 5432, None, Tcp),
            ("mongo", 27017, None, Tcp),
            ("", 27017, None, Tcp),
            ("", 3306, None, Tcp),
            ("", 6379, None, Undeclared),
            ("redis", 6379, None, Tcp),
            ("web", 80, Some("http"), Http),
            ("http", 80, Some("tcp"), Tcp),
            ("http", 80, Some("example.com/own"), Undeclared),
            ("web", 80, Some("kubernetes.io/h2c"), Http),
            ("web", 80, Some("kubernetes.io/ws"), Http),
            ("web", 80, Some("kubernetes.io/wss"), Https),
        ];
        for (name, number, app_protocol, expected) in rows {
            let port = ServicePort {
                name: name.to_owned(),
                port: number,
                app_protocol: app_protocol.map(str::to_owned),
                ..ServicePort::default()
            };
            assert_eq!(PortProtocol::of(&port), expected, "{name} {number} {app_protocol:?}");
        }
    }
}
