//! What limits the result of a rehearsal, in sentences.

use super::observer::Observer;
use crate::cluster::callers::WatchScope;
use crate::curl_pod::proxy;
use crate::domain::mesh::AccessLog;
use crate::domain::port_protocol::PortProtocol;
use crate::domain::rehearsal::{Instrument, PodPort, Prospect, RehearsedPort};
use crate::report::rehearsal::{RehearsalResult, RehearsedNamespace};
use std::collections::{BTreeMap, BTreeSet};

/// Most sidecars that are asked for the number of their connections.
const ASKED: usize = 32;

/// The number of connections that are open at ports whose calls are no HTTP, by the name of the port; without those whose
/// sidecars cannot be asked.
pub(super) async fn open_connections(observer: &Observer<'_>) -> BTreeMap<String, u64> {
    let ports = observer
        .rehearsal
        .ports()
        .iter()
        .filter(|port| port.prospect == Prospect::Closes && port.case.protocol != PortProtocol::Http);
    let mut open = BTreeMap::new();
    let mut asked = BTreeSet::new();
    for port in ports {
        let endpoints: Vec<PodPort> = observer.rehearsal.sidecar_endpoints(port).collect();
        if endpoints.is_empty() {
            continue;
        }
        asked.extend(endpoints.iter().map(|endpoint| endpoint.pod.clone()));
        if asked.len() > ASKED {
            break;
        }
        let sidecars: Vec<(&str, u16)> =
            endpoints.iter().map(|endpoint| (endpoint.pod.as_str(), endpoint.port)).collect();
        if let Some(number) = proxy::open_connections(observer.cluster, &sidecars).await {
            open.insert(port.name(), number);
        }
    }
    open
}

/// The limits of the result. `open` are the connections that are open at its end.
pub(super) fn notes(observer: &Observer<'_>, report: &RehearsedNamespace, open: &BTreeMap<String, u64>) -> Vec<String> {
    let mut notes = Vec::new();
    if !observer.snapshot().unread.is_empty() {
        notes.push(format!("not considered, because it cannot be read: {}", observer.snapshot().unread.join(", ")));
    }
    if !observer.knows_all_rules {
        notes.push(
            "rules of other namespaces that set `sni` are not considered, because they may not be listed".to_owned(),
        );
    }
    if observer.telemetries.is_none() {
        let reason = "one that filters the access log is not considered";
        notes.push(format!("Telemetry objects may not be listed: {reason}"));
    }
    if observer.scope == Some(WatchScope::Namespace) {
        notes.push(
            "callers of other namespaces have no names, because the pods of the cluster may not be watched".to_owned(),
        );
    }
    if observer.scope.is_some() && !observer.knows_nodes {
        notes.push("nodes have no names, because they may not be listed".to_owned());
    }
    let denied = report.ports.iter().filter(|port| port.refused_already > 0);
    let denied: Vec<String> = denied.map(|port| format!("{} ({})", port.name, port.refused_already)).collect();
    if !denied.is_empty() {
        let ports = denied.join(", ");
        notes.push(format!("plaintext calls that an AuthorizationPolicy refuses already do not count: {ports}"));
    }
    let closing = observer.rehearsal.ports().iter().filter(|port| port.prospect == Prospect::Closes);
    let is_observed = |name: &String| {
        report.ports.iter().any(|port| port.name == *name && port.result != RehearsalResult::NotObserved)
    };
    let has_sidecar = |port: &&RehearsedPort| {
        port.case.protocol != PortProtocol::Http && observer.rehearsal.sidecar_endpoints(port).next().is_some()
    };
    let raw = closing.filter(has_sidecar).map(RehearsedPort::name);
    let described = |name: String| match open.get(&name) {
        Some(number) => format!("{name} ({number} open at the end, those in mutual TLS included)"),
        None => name,
    };
    let raw: Vec<String> = raw.filter(is_observed).map(described).collect();
    // With an object of the run, they are ended and logged at its end.
    if !raw.is_empty() && observer.instrument == Instrument::AccessLog {
        let ports = raw.join(", ");
        notes.push(format!(
            "TCP connections are logged when they end, so connections that stay open are not seen: {ports}"
        ));
    }
    notes.extend(held_connections(observer));
    // Where no log was followed, the rows say why, and those of ztunnels do.
    let has_sidecars = observer.rehearsal.has_closing_sidecars();
    if has_sidecars
        && observer.scope.is_some()
        && report.ports.iter().any(|port| port.result == RehearsalResult::NotObserved)
    {
        notes.extend(reasons_of_access_log(observer));
        notes.extend(observer.not_written.clone());
    }
    notes
}

/// What is not counted at ztunnels, which log every connection when it ends, HTTP too.
fn held_connections(observer: &Observer<'_>) -> Option<String> {
    let open = observer.rehearsal.ports().iter().filter_map(|port| {
        let open = observer.rehearsal.open(&port.name());
        let holders: Vec<String> = open.iter().map(|(caller, number)| format!("{number} from {caller}")).collect();
        (!holders.is_empty()).then(|| format!("{}: {}", port.name(), holders.join(", ")))
    });
    let open: Vec<String> = open.collect();
    let unknown: Vec<&str> = observer.unknown_connections.iter().map(String::as_str).collect();
    let rule = "ztunnel logs a connection when it ends";
    match (open.is_empty(), unknown.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!(
            "{rule}; plaintext connections that are still open are not counted, and STRICT does not end them: {}",
            open.join("; ")
        )),
        (_, false) => {
            let known = if open.is_empty() { String::new() } else { format!("; among them {}", open.join("; ")) };
            Some(format!(
                "{rule}, so those that stay open are not seen{known} (not all are known: {}; `secure-traffic rbac rehearse \
                 --ambient --port-forward`)",
                unknown.join("; ")
            ))
        }
    }
}

/// Why an access log may be off or in another format: the settings of the mesh, and objects that change them.
fn reasons_of_access_log(observer: &Observer<'_>) -> Vec<String> {
    let mesh = &observer.snapshot().mesh;
    let setting = match &mesh.access_log {
        _ if !mesh.readable => None,
        AccessLog::Off => Some("the mesh's settings switch no access log on: accessLogFile is not set".to_owned()),
        AccessLog::On { own_format: true } => Some(
            "the mesh's settings have an accessLogFormat; a rehearsal reads Istio's default format, and JSON with \
             upstream_cluster, downstream_local_address, downstream_remote_address and requested_server_name"
                .to_owned(),
        ),
        AccessLog::On { own_format: false } => None,
    };
    let telemetries = observer.telemetries.iter().flatten().filter(|found| found.sets_log && found.run.is_none());
    let telemetries: Vec<&str> = telemetries.map(|found| found.name.as_str()).collect();
    let objects =
        (!telemetries.is_empty()).then(|| format!("the access log is also set by {}", telemetries.join(", ")));
    let remedy = "a Telemetry object with `accessLogging: [{providers: [{name: envoy}]}]` switches the access log on for a \
                  namespace";
    setting.into_iter().chain(objects).chain([remedy.to_owned()]).collect()
}
