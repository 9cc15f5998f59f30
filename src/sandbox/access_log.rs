//! The access log of a sidecar, in Istio's default text format: one line for each HTTP request, and for each other
//! connection when it ends.

use super::log::Log;
use super::loopback;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Which calls a sidecar logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LoggedCalls {
    #[default]
    None,
    /// Those without mutual TLS of the mesh.
    Plaintext,
    All,
}

/// The access log of the sidecar of one pod.
#[derive(Debug, Clone)]
pub(super) struct AccessLog {
    log: Arc<Log>,
    /// Address and port of the pod.
    local: SocketAddr,
}

/// The part of an HTTP request and its response that a line has.
pub(super) struct LoggedRequest<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) version: String,
    pub(super) host: &'a str,
    pub(super) user_agent: &'a str,
    pub(super) status: u16,
    pub(super) size: usize,
}

impl AccessLog {
    pub(super) fn new(log: Arc<Log>, address: IpAddr, port: u16) -> Self {
        Self { log, local: SocketAddr::new(address, port) }
    }

    /// The log of one connection from a socket of this host. `server_name` is the name that its TLS requests; `is_logged`
    /// is whether its lines are written.
    pub(super) fn connection(
        &self,
        peer: SocketAddr,
        server_name: Option<String>,
        is_logged: bool,
    ) -> LoggedConnection {
        let remote = SocketAddr::new(loopback::pod_address(peer.ip()), peer.port());
        let server_name = server_name.unwrap_or_else(|| "-".to_owned());
        LoggedConnection { log: self.clone(), remote, server_name, is_logged }
    }
}

/// One connection to the sidecar.
#[derive(Debug, Clone)]
pub(super) struct LoggedConnection {
    log: AccessLog,
    remote: SocketAddr,
    server_name: String,
    is_logged: bool,
}

impl LoggedConnection {
    /// Writes the line of a request.
    pub(super) fn request(&self, request: &LoggedRequest<'_>) {
        let LoggedRequest { method, path, version, host, user_agent, status, size } = request;
        let head = format!("\"{method} {path} {version}\" {status} - via_upstream - \"-\" 0 {size} 1 1");
        self.write(&head, &format!("\"-\" \"{user_agent}\" \"-\" \"{host}\""), "default");
    }

    /// Writes the line of a connection that has ended and is not HTTP.
    pub(super) fn ended(&self) {
        self.write("\"- - -\" 0 - - - \"-\" 0 0 1 -", "\"-\" \"-\" \"-\" \"-\"", "-");
    }

    fn write(&self, head: &str, texts: &str, route: &str) {
        let Self { log: AccessLog { log, local }, remote, server_name, is_logged } = self;
        if !is_logged {
            return;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ");
        let port = local.port();
        log.write_line(&format!(
            "[{now}] {head} {texts} \"{local}\" inbound|{port}|| 127.0.0.6:{} {local} {remote} {server_name} {route}",
            remote.port(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access_log::{CallSecurity, LogLine};
    use crate::istio::access_log;

    #[test]
    fn the_lines_are_in_the_format_of_istio() {
        let log = Arc::new(Log::of_proxy());
        let access = AccessLog::new(Arc::clone(&log), "10.244.0.5".parse().unwrap(), 8080);
        let peer = SocketAddr::new(loopback::address("10.244.2.1".parse().unwrap()).into(), 5);
        access.connection(peer, None, true).ended();
        access.connection(peer, None, false).ended();
        let request = LoggedRequest {
            method: "GET",
            path: "/",
            version: "HTTP/1.1".to_owned(),
            host: "boards:8080",
            user_agent: "curl",
            status: 200,
            size: 3,
        };
        access.connection(peer, Some("outbound_.8080_._.boards.shop".to_owned()), true).request(&request);
        let text = String::from_utf8(log.read(0).to_vec()).unwrap();
        let found: Vec<LogLine> = text.lines().map(|line| access_log::line(line.split_once(' ').unwrap().1)).collect();
        let security = |line: &LogLine| match line {
            LogLine::Inbound(call) => Some((call.port, call.security)),
            _ => None,
        };
        let expected = [Some((8080, CallSecurity::Plaintext)), Some((8080, CallSecurity::MutualTls))];
        assert_eq!(found.iter().map(security).collect::<Vec<_>>(), expected, "{text}");
    }
}
