//! Reads a ztunnel's access log, metrics and connections into values of `domain`, for proxy evidence and rehearsals.
//!
//! The log is text or JSON (`LOG_FORMAT=json`), one line for each connection when it ends. Both are untrusted text: names
//! of workloads are in it.

use crate::domain::access_log::{CallSecurity, InboundCall};
use crate::domain::address::is_host_probe;
use crate::domain::caller::CallerWorkload;
use crate::domain::network_policy::HBONE;
use crate::domain::open_connections::HeldConnection;
use crate::domain::proxy::Connections;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

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
    /// An `AuthorizationPolicy` denied it.
    Unauthorized,
    /// It ended in another way, such as a reset.
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
        Some(_) => Ending::Unauthorized,
        None if error.starts_with("connection failed") => Ending::ApplicationDown,
        None => Ending::Other,
    }
}

/// The call that a line is about, and the address of the pod that it was for; `None` for a line about anything else, and for
/// probes of the kubelet (BY-6). A connection without an identity is plaintext, whatever bytes it carries.
pub fn inbound_call(line: &str) -> Option<(IpAddr, InboundCall)> {
    let connection = inbound_connection(line)?;
    let source: SocketAddr = connection.source.parse().ok()?;
    let destination: SocketAddr = connection.destination.parse().ok()?;
    if destination.port() == HBONE || is_host_probe(source.ip()) {
        return None;
    }
    let security = if connection.has_identity { CallSecurity::MutualTls } else { CallSecurity::Plaintext };
    let is_denied = matches!(connection.ending, Ending::Denied | Ending::DeniedByUnnamed | Ending::Unauthorized);
    Some((destination.ip(), InboundCall { is_denied, ..InboundCall::new(destination, source, security) }))
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
            Ending::Unauthorized | Ending::Other => &mut counts.other,
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

/// Path of a ztunnel's configuration and connections, at port 15000.
pub const CONFIG_DUMP: &str = "/config_dump";

/// The part of a ztunnel's configuration that is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigDump {
    /// By the UID of the pod: those of its node.
    workload_state: Option<BTreeMap<String, WorkloadState>>,
    #[serde(default)]
    workloads: Workloads,
}

#[derive(Deserialize)]
struct WorkloadState {
    connections: Option<DumpedConnections>,
}

#[derive(Deserialize)]
struct DumpedConnections {
    inbound: Vec<DumpedConnection>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DumpedConnection {
    src: SocketAddr,
    actual_dst: SocketAddr,
    protocol: String,
}

/// The workloads of the mesh; another shape leaves the clients without names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Workloads {
    List(Vec<DumpedWorkload>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DumpedWorkload {
    #[serde(default)]
    namespace: String,
    /// Left out for an endpoint that is no pod, such as that of the API server.
    workload_name: Option<String>,
    #[serde(default)]
    workload_type: String,
    #[serde(default)]
    workload_ips: Vec<IpAddr>,
}

impl Default for Workloads {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// The plaintext connections to pods of its node that a ztunnel holds, without those of the node's own processes. The error
/// says why they are not known.
pub fn held_connections(dump: &[u8]) -> Result<Vec<HeldConnection>, String> {
    let dump: ConfigDump = serde_json::from_slice(dump).map_err(|error| format!("its configuration: {error}"))?;
    let states = dump.workload_state.ok_or("its configuration lists no connections")?;
    let workloads = match dump.workloads {
        Workloads::List(workloads) => workloads,
        Workloads::Other(_) => Vec::new(),
    };
    let by_address: HashMap<IpAddr, &DumpedWorkload> =
        workloads.iter().flat_map(|one| one.workload_ips.iter().map(move |address| (*address, one))).collect();
    let mut held = Vec::new();
    for state in states.into_values() {
        let connections = state.connections.ok_or("its configuration lists no connections")?;
        let plaintext = connections.inbound.into_iter().filter(|one| one.protocol == "TCP");
        for DumpedConnection { src, actual_dst, .. } in plaintext.filter(|one| !is_host_probe(one.src.ip())) {
            let client = by_address.get(&src.ip()).and_then(|workload| caller(workload));
            held.push(HeldConnection { source: src, destination: actual_dst, client });
        }
    }
    held.sort();
    Ok(held)
}

fn caller(workload: &DumpedWorkload) -> Option<CallerWorkload> {
    let kind = match workload.workload_type.as_str() {
        "deployment" => "Deployment",
        "cronjob" => "CronJob",
        "job" => "Job",
        _ => "Pod",
    };
    Some(CallerWorkload {
        namespace: workload.namespace.clone(),
        kind: kind.to_owned(),
        name: workload.workload_name.clone()?,
        gateway: false,
    })
}

/// The value of a label; those of ztunnel have no quotes.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let found = labels.split("\",").find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\""))?;
    Some(found.strip_suffix('"').unwrap_or(found))
}

#[cfg(test)]
mod tests;
