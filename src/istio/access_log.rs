//! Reads the lines of a sidecar's access log: Istio's default text format, and JSON that has the field
//! `requested_server_name`.
//!
//! Of a text line only the end is read, after the last field in quotes: the fields before it hold text of the client. The
//! name that a client requests is the field before the last. A call under Istio's mutual TLS has a name that begins with
//! `outbound_.` there, plaintext has `-`, and an application's own TLS has its own name.

use crate::domain::access_log::{CallSecurity, InboundCall, LogLine};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// The fields of Istio's text format after the quoted address of the upstream host.
const LAST_FIELDS: usize = 6;

/// The quotes of a line of the text format: around the request, the failure of the upstream, four headers, and the upstream's
/// address.
const QUOTES: usize = 14;

/// How the details of a call begin that an `AuthorizationPolicy` refused.
const DENIED: &str = "rbac_access_denied";

/// What a line of the container `istio-proxy` is, without the timestamp of the kubelet.
pub fn line(line: &str) -> LogLine {
    let line = line.trim_end();
    if line.starts_with('{') {
        return json(line);
    }
    match text(line) {
        Some(entry) => entry,
        // Envoy's own messages begin with a date, and entries of the access log of Istio with one in brackets.
        None if line.starts_with('[') || names_inbound_cluster(line) => LogLine::UnknownFormat,
        None => LogLine::NoCall,
    }
}

/// An entry in Istio's default format; `None` for any other text.
fn text(line: &str) -> Option<LogLine> {
    if !line.starts_with('[') {
        return None;
    }
    let mut fields = line.rsplitn(LAST_FIELDS + 2, ' ');
    let (_route, server_name) = (fields.next()?, fields.next()?);
    let (remote, local) = (fields.next()?, fields.next()?);
    let (_upstream_local, cluster) = (fields.next()?, fields.next()?);
    let upstream_host = fields.next()?;
    if !upstream_host.ends_with('"') && upstream_host != "-" {
        return None;
    }
    if !is_inbound(cluster) {
        return Some(LogLine::OtherCall);
    }
    let (local, remote) = (local.parse::<SocketAddr>().ok()?, remote.parse::<SocketAddr>().ok()?);
    let call = InboundCall::new(local, remote, security(Some(server_name)));
    Some(LogLine::Inbound(InboundCall { is_denied: is_denied(line), ..call }))
}

/// Whether an `AuthorizationPolicy` refused the call: the details of the response or, for TCP, of the connection's end say so
/// between the request and the failure of the upstream. Text of a client with quotes could imitate that.
fn is_denied(line: &str) -> bool {
    let details = line.split('"').nth(2).unwrap_or_default();
    line.matches('"').count() == QUOTES && details.split(' ').any(|field| field.starts_with(DENIED))
}

/// An entry in JSON. A field without a value is `null`, and a format without the requested name does not have the field.
fn json(line: &str) -> LogLine {
    let Ok(entry) = serde_json::from_str::<Value>(line) else { return LogLine::NoCall };
    let Some(cluster) = entry["upstream_cluster"].as_str() else {
        // Envoy's own messages can be JSON, too.
        return if entry.get("response_code").is_some() { LogLine::OtherCall } else { LogLine::NoCall };
    };
    if !is_inbound(cluster) {
        return LogLine::OtherCall;
    }
    let Some(server_name) = entry.get("requested_server_name") else { return LogLine::UnknownFormat };
    let address = |field: &str| entry[field].as_str().and_then(|text| text.parse::<SocketAddr>().ok());
    let remote = address("downstream_remote_address").map(|address| address.ip());
    let bare = || entry["downstream_remote_address"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
    let local = address("downstream_local_address").map(|address| address.port());
    let Some(port) = local.or_else(|| port_of(cluster)) else { return LogLine::UnknownFormat };
    let says_denied = |field: &str| entry[field].as_str().is_some_and(|details| details.starts_with(DENIED));
    LogLine::Inbound(InboundCall {
        port,
        remote: remote.or_else(bare),
        security: security(server_name.as_str()),
        is_denied: says_denied("response_code_details") || says_denied("connection_termination_details"),
    })
}

/// Whether calls to this cluster of Envoy came from outside the pod.
fn is_inbound(cluster: &str) -> bool {
    cluster.starts_with("inbound|") || cluster.starts_with("InboundPassthroughCluster")
}

fn names_inbound_cluster(line: &str) -> bool {
    line.contains("inbound|") || line.contains("InboundPassthroughCluster")
}

/// The port in `inbound|8080||`.
fn port_of(cluster: &str) -> Option<u16> {
    cluster.strip_prefix("inbound|")?.split('|').next()?.parse().ok()
}

fn security(server_name: Option<&str>) -> CallSecurity {
    match server_name {
        None | Some("-" | "") => CallSecurity::Plaintext,
        Some(name) if name.starts_with("outbound_.") => CallSecurity::MutualTls,
        Some(_) => CallSecurity::OwnTls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line as the sidecar of `boards` writes it, with these last fields.
    fn http(rest: &str) -> String {
        format!(
            "[2026-11-26T12:09:43.344Z] \"GET /shareditems HTTP/1.1\" 200 - via_upstream - \"-\" 0 337 0 0 \"-\" \
             \"Go-http-client/1.1\" \"e697f640-36e6\" \"boards:8080\" \"10.244.0.5:8080\" {rest}"
        )
    }

    fn inbound(port: u16, remote: &str, security: CallSecurity) -> LogLine {
        LogLine::Inbound(InboundCall { port, remote: Some(remote.parse().unwrap()), security, is_denied: false })
    }

    #[test]
    fn lines_of_the_text_format_are_read_from_their_end() {
        use CallSecurity::{MutualTls, OwnTls, Plaintext};
        let mesh = "outbound_.8080_._.boards.microservices-demo.svc.cluster.local";
        let tcp =
            "[2026-11-26T12:09:43.177Z] \"- - -\" 0 - - - \"-\" 15 15 1 - \"-\" \"-\" \"-\" \"-\" \"10.244.0.7:27017\"";
        let forged = http("inbound|8080|| 127.0.0.6:5 10.244.0.5:8080 10.244.0.8:5 - default")
            .replace("Go-http-client/1.1", "x\" inbound|1|| 1.1.1.1:1 1.1.1.1:1 1.1.1.1:1 outbound_.x y \"");
        let ipv6 = http("inbound|8080|| [::6]:1 [fd00::5]:8080 [fd00::8]:1 - default");
        let rows = [
            (
                http(&format!("inbound|8080|| 127.0.0.6:5 10.244.0.5:8080 10.244.0.9:3 {mesh} default")),
                inbound(8080, "10.244.0.9", MutualTls),
            ),
            (
                http("inbound|8080|| 127.0.0.6:5 10.244.0.5:8080 10.244.0.8:5 - default"),
                inbound(8080, "10.244.0.8", Plaintext),
            ),
            (
                http(
                    "inbound|80|http|boards.demo.svc.cluster.local 127.0.0.6:5 10.244.0.5:8080 10.244.0.8:5 - default",
                ),
                inbound(8080, "10.244.0.8", Plaintext),
            ),
            (forged, inbound(8080, "10.244.0.8", Plaintext)),
            (ipv6, inbound(8080, "fd00::8", Plaintext)),
            (
                format!("{tcp} inbound|27017|| 127.0.0.6:4 10.244.0.7:27017 10.244.0.8:4 - -"),
                inbound(27017, "10.244.0.8", Plaintext),
            ),
            (
                format!("{tcp} InboundPassthroughCluster 127.0.0.6:4 10.244.0.7:9 10.244.0.8:4 db.example -"),
                inbound(9, "10.244.0.8", OwnTls),
            ),
            (
                http(
                    "outbound|8080||boards.demo.svc.cluster.local 10.244.0.9:3 10.96.191.224:8080 10.244.0.9:5 - default",
                ),
                LogLine::OtherCall,
            ),
            (tcp.replace("\"10.244.0.7:27017\"", "\"-\" - - 10.244.0.7:27017 10.244.0.8:4 - -"), LogLine::OtherCall),
            ("2026-11-26T12:09:43.177Z\tinfo\tEnvoy proxy is ready".to_owned(), LogLine::NoCall),
            (String::new(), LogLine::NoCall),
            ("[2026-11-26T12:09:43.177Z] GET /shareditems 200".to_owned(), LogLine::UnknownFormat),
            ("GET /shareditems 200 inbound|8080||".to_owned(), LogLine::UnknownFormat),
        ];
        for (text, expected) in rows {
            assert_eq!(line(&text), expected, "{text}");
        }
    }

    #[test]
    fn json_needs_the_requested_name() {
        use CallSecurity::{MutualTls, OwnTls, Plaintext};
        let entry = |fields: &str| {
            format!(
                "{{\"response_code\":200,\"upstream_cluster\":\"inbound|8080||\",\"downstream_local_address\":\"10.0.0.5:8080\",\
                 \"downstream_remote_address\":\"10.0.0.8:5\"{fields}}}"
            )
        };
        let without_remote = "{\"upstream_cluster\":\"inbound|8080||\",\"requested_server_name\":null}";
        let counted = InboundCall { port: 8080, remote: None, security: Plaintext, is_denied: false };
        let rows = [
            (entry(",\"requested_server_name\":null"), inbound(8080, "10.0.0.8", Plaintext)),
            (entry(",\"requested_server_name\":\"-\""), inbound(8080, "10.0.0.8", Plaintext)),
            (entry(",\"requested_server_name\":\"outbound_.80_._.web.shop\""), inbound(8080, "10.0.0.8", MutualTls)),
            (entry(",\"requested_server_name\":\"db.example\""), inbound(8080, "10.0.0.8", OwnTls)),
            (entry(""), LogLine::UnknownFormat),
            (without_remote.to_owned(), LogLine::Inbound(counted)),
            (entry("").replace("inbound|8080||", "outbound|80||web"), LogLine::OtherCall),
            ("{\"level\":\"info\",\"msg\":\"ready\"}".to_owned(), LogLine::NoCall),
            ("{\"response_code\":404,\"upstream_cluster\":null}".to_owned(), LogLine::OtherCall),
            ("{".to_owned(), LogLine::NoCall),
        ];
        for (text, expected) in rows {
            assert_eq!(line(&text), expected, "{text}");
        }
    }

    /// Lines of a real sidecar: calls that an `AuthorizationPolicy` refused, and the same calls without it.
    #[test]
    fn calls_that_an_authorization_policy_refused_are_told_from_others() {
        const POLICY: &str = "rbac_access_denied_matched_policy[ns[shop]-policy[only-mesh]-rule[0]]";
        let http = |result: &str, agent: &str, upstream: &str| {
            format!(
                "[2026-11-30T03:52:24.569Z] \"GET / HTTP/1.1\" {result} - \"-\" 0 19 0 - \"-\" \"{agent}\" \
                 \"dcebcb81-f43a-49ca\" \"web:8080\" \"{upstream}\" inbound|8080|| - 10.244.0.50:8080 10.244.0.54:39674 - default"
            )
        };
        let tcp = |end: &str| {
            format!(
                "[2026-11-30T03:53:52.381Z] \"- - -\" 0 - - {end} \"-\" 72 0 1 - \"-\" \"-\" \"-\" \"-\" \
                 \"10.244.0.50:9000\" inbound|9000|| 127.0.0.6:36276 10.244.0.50:9000 10.244.0.54:41820 - -"
            )
        };
        let json = |code: &str, details: &str, end: &str| {
            format!(
                "{{\"authority\":\"web:8080\",\"connection_termination_details\":{end},\"downstream_local_address\":\
                 \"10.244.0.50:8080\",\"downstream_remote_address\":\"10.244.0.54:41158\",\"method\":\"GET\",\
                 \"requested_server_name\":null,\"response_code\":{code},\"response_code_details\":{details},\
                 \"response_flags\":\"-\",\"upstream_cluster\":\"inbound|8080||\",\"user_agent\":\"{POLICY}\"}}"
            )
        };
        let denied = format!("403 - {POLICY}");
        let quoted = format!("\"{POLICY}\"");
        let forged = "x\" 403 - rbac_access_denied_matched_policy[none] - \"";
        let rows = [
            (http(&denied, "curl/7.88.1", "-"), true),
            (http("200 - via_upstream", "curl/7.88.1", "10.244.0.50:8080"), false),
            (http("403 - via_upstream", POLICY, "10.244.0.50:8080"), false),
            // Whoever writes quotes is counted.
            (http("200 - via_upstream", forged, "10.244.0.50:8080"), false),
            (http(&denied, forged, "-"), false),
            (tcp(POLICY), true),
            (tcp("-"), false),
            (json("403", &quoted, "null"), true),
            (json("0", "null", &quoted), true),
            (json("200", "\"via_upstream\"", "null"), false),
        ];
        for (text, is_denied) in rows {
            let LogLine::Inbound(call) = line(&text) else { panic!("no call: {text}") };
            assert_eq!((call.security, call.is_denied), (CallSecurity::Plaintext, is_denied), "{text}");
            assert_eq!(call.remote, Some("10.244.0.54".parse().unwrap()), "{text}");
        }
    }
}
