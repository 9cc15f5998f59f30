//! Reads a ztunnel's access log and metrics into values of `domain`, for proxy evidence.
//!
//! The log is text or JSON (`LOG_FORMAT=json`), one line for each connection when it ends. Both are untrusted text: names
//! of workloads are in it.

use crate::domain::proxy::Connections;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// How a connection through a ztunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A policy that istiod creates from PeerAuthentications denied it: it was no mutual TLS.
    Denied,
    /// A policy denied it, and the line does not name it, as before Istio 1.24.
    DeniedByUnnamed,
    /// Allowed by policy, but the connection to the application failed.
    ApplicationDown,
    /// Allowed by policy and served.
    Served,
    /// It ended in another way; denials by authorization are among them.
    Other,
}

/// A line of the access log about a connection to a pod of the ztunnel's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundConnection {
    /// `address:port` of the client.
    pub source: String,
    /// Namespace and workload of the client, if ztunnel knows them.
    pub client: Option<(String, String)>,
    /// Whether the client has an identity, so that the connection is mutual TLS.
    pub has_identity: bool,
    /// `address:port` of the pod.
    pub destination: String,
    pub ending: Ending,
}

/// Parses a line; `None` for one about anything else than an inbound connection that ended.
pub fn inbound_connection(line: &str) -> Option<InboundConnection> {
    if !line.contains("connection complete") {
        return None;
    }
    let json = line.starts_with('{').then(|| serde_json::from_str::<Value>(line)).transpose().ok()?;
    let get = |name: &str| match &json {
        Some(object) => object[name].as_str().map(|text| Cow::Owned(text.to_owned())),
        None => field(line, name).map(Cow::Borrowed),
    };
    if get("direction")? != "inbound" {
        return None;
    }
    Some(InboundConnection {
        source: get("src.addr")?.into_owned(),
        client: get("src.namespace")
            .zip(get("src.workload"))
            .map(|(home, name)| (home.into_owned(), name.into_owned())),
        has_identity: get("src.identity").is_some(),
        destination: get("dst.addr")?.into_owned(),
        ending: ending(get("error").as_deref()),
    })
}

fn ending(error: Option<&str>) -> Ending {
    let Some(error) = error else { return Ending::Served };
    match error.strip_prefix("connection closed due to policy rejection") {
        Some("") => Ending::DeniedByUnnamed,
        Some(policy) if demands_mutual_tls(policy) => Ending::Denied,
        None if error.starts_with("connection failed") => Ending::ApplicationDown,
        _ => Ending::Other,
    }
}

/// Whether the policy that denied a connection is one that istiod creates from PeerAuthentications, by its name; any
/// other policy is authorization.
fn demands_mutual_tls(rest: &str) -> bool {
    let policy = rest.strip_prefix(": explicitly denied by: ");
    let name = policy.and_then(|policy| policy.rsplit_once('/')).map(|(_, name)| name);
    name.is_some_and(|name| {
        name.starts_with("istio_converted_static_strict") || name.starts_with("converted_peer_authentication_")
    })
}

/// Inbound connections of a log, by the client's address without its port, and by destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionCounts(BTreeMap<(String, String), Connections>);

impl ConnectionCounts {
    /// Most pairs of client and destination that are counted; what comes later is left out.
    const MAX_PAIRS: usize = 20_000;

    /// Counts a line, if it is about one of the destinations that `is_wanted`. Returns whether it did.
    pub fn add(&mut self, line: &str, is_wanted: impl Fn(&str) -> bool) -> bool {
        let Some(connection) = inbound_connection(line).filter(|connection| is_wanted(&connection.destination)) else {
            return false;
        };
        let Some((address, _)) = connection.source.rsplit_once(':') else { return false };
        let key = (unbracketed(address).to_owned(), connection.destination);
        if self.0.len() >= Self::MAX_PAIRS && !self.0.contains_key(&key) {
            return false;
        }
        let counts = self.0.entry(key).or_default();
        let count = match connection.ending {
            Ending::Denied => &mut counts.denied,
            Ending::DeniedByUnnamed => &mut counts.denied_by_unnamed,
            Ending::ApplicationDown => &mut counts.application_down,
            Ending::Served => &mut counts.served,
            Ending::Other => &mut counts.other,
        };
        *count += 1;
        true
    }

    /// The connections from `source` (an IP address) to `destination` (`address:port`).
    pub fn between(&self, source: &str, destination: &str) -> Connections {
        self.0.get(&(unbracketed(source).to_owned(), destination.to_owned())).copied().unwrap_or_default()
    }
}

fn unbracketed(address: &str) -> &str {
    address.trim_start_matches('[').trim_end_matches(']')
}

/// The value of `name=value` or `name="value"`; a name within another field's quotes is not found.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = line;
    loop {
        let start = rest.find(['\t', ' ', '"'])?;
        if rest.as_bytes()[start] == b'"' {
            // Skip a quoted value.
            rest = &rest[start + 1..];
            rest = &rest[rest.find('"')? + 1..];
            continue;
        }
        rest = rest[start + 1..].trim_start();
        if let Some(value) = rest.strip_prefix(name).and_then(|after| after.strip_prefix('=')) {
            return match value.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next(),
                None => value.split([' ', '\t']).next(),
            };
        }
    }
}

/// Path of a ztunnel's metrics, at port 15020.
pub const METRICS: &str = "/metrics";

/// Connections that a policy denied, by the workload that they were for, of the clients whose workload is `source` in
/// `namespace`: `istio_tcp_connections_failed_total`, and before Istio 1.29 `istio_tcp_connections_closed_total`. Neither
/// tells which policy it was.
pub fn denied(metrics: &str, namespace: &str, source: &str) -> BTreeMap<String, u64> {
    let of = |name: &str| -> BTreeMap<String, u64> {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once('}'));
        let ours = lines.filter(|(labels, _)| {
            label(labels, "reporter") == Some("destination")
                && label(labels, "response_flags") == Some("DENY")
                && label(labels, "source_workload") == Some(source)
                && label(labels, "source_workload_namespace") == Some(namespace)
        });
        let mut counts = BTreeMap::new();
        for (labels, value) in ours {
            let Some(workload) = label(labels, "destination_workload") else { continue };
            *counts.entry(workload.to_owned()).or_default() += value.trim().parse::<u64>().unwrap_or_default();
        }
        counts
    };
    let failed = of("istio_tcp_connections_failed_total");
    if failed.is_empty() { of("istio_tcp_connections_closed_total") } else { failed }
}

/// The value of a label; those of ztunnel have no quotes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let found = labels.split("\",").find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""))?;
    Some(found.strip_suffix('"').unwrap_or(found))
}

#[cfg(test)]
mod tests;
