//! What a rehearsal reads calls from: the access log that exists, or one that a `Telemetry` object of its own switches on.
//!
//! The object makes the sidecars of a namespace log exactly the plaintext calls that arrive. Adding it and removing it each
//! replace the inbound filter chains, so that every open connection ends after its pod's drain time (CN-1).

use crate::domain::inbound::InboundPath;
use crate::domain::mesh::{DEFAULT_DRAIN, Snapshot};
use crate::domain::port_protocol::PortProtocol;
use crate::domain::probe::{self, Target};
use std::time::Duration;

/// What the calls are read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Instrument {
    /// The access log that the sidecars write anyway.
    #[default]
    AccessLog,
    /// The access log that a `Telemetry` object of the rehearsal switches on.
    Telemetry,
}

/// A `Telemetry` object of the namespace or of the mesh's root namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct FoundTelemetry {
    /// `telemetry shop/default`.
    pub name: String,
    /// Whether it is in the namespace itself.
    pub is_own_namespace: bool,
    /// Whether it is for single workloads.
    pub has_selector: bool,
    /// Whether it sets the access log.
    pub sets_log: bool,
    /// Whether it leaves calls out of the log, by an expression.
    pub has_filter: bool,
    /// The run of a rehearsal that wrote it.
    pub run: Option<String>,
}

/// Whether a rehearsal may write a `Telemetry` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePermission {
    /// Never: `--read-only`.
    ReadOnly,
    /// Never: another writer makes the changes (`--observe`).
    OtherWriter,
    /// If the answer to the question is yes.
    Ask,
    /// Yes: `--yes`, or the confirmation of a switch.
    Given,
}

/// What decides whether a rehearsal can write a `Telemetry` object.
#[derive(Debug, Clone, Copy)]
pub struct InstrumentFacts<'a> {
    pub permission: WritePermission,
    /// Whether the API server serves the kind.
    pub is_served: bool,
    /// `None` where the objects may not be listed.
    pub telemetries: Option<&'a [FoundTelemetry]>,
    /// Whether the sidecars write an access log in a format that cannot be read.
    pub has_unknown_format: bool,
    /// Whether the logs of the sidecars cannot be followed, whatever is in them.
    pub are_logs_cut: bool,
    /// Rights that are missing, such as `create telemetries.telemetry.istio.io`.
    pub missing_rights: &'a [String],
}

/// Why a rehearsal cannot write a `Telemetry` object; `None` if it can.
pub fn reason_not_to_write(facts: &InstrumentFacts<'_>) -> Option<String> {
    match facts.permission {
        WritePermission::ReadOnly => return Some("--read-only forbids to write a Telemetry object".to_owned()),
        WritePermission::OtherWriter => return Some("--observe writes no Telemetry object".to_owned()),
        WritePermission::Ask | WritePermission::Given => {}
    }
    if !facts.is_served {
        let served =
            "the cluster does not serve telemetries.telemetry.istio.io, which a rehearsal without an access log needs";
        return Some(format!("{served} (Istio 1.17 or later)"));
    }
    let Some(telemetries) = facts.telemetries else {
        return Some("you may not list telemetries.telemetry.istio.io, so none is written".to_owned());
    };
    let of_namespace = || telemetries.iter().filter(|found| found.is_own_namespace && found.run.is_none());
    if let Some(found) = of_namespace().find(|found| !found.has_selector) {
        let reason = "applies to the whole namespace, and Istio uses only the oldest such object";
        return Some(format!("no Telemetry object is written: {} {reason}", found.name));
    }
    if let Some(found) = of_namespace().find(|found| found.sets_log) {
        return Some(format!("no Telemetry object is written: {} sets the access log of single workloads", found.name));
    }
    if facts.are_logs_cut {
        return Some("no Telemetry object is written: the logs of the sidecars cannot be followed".to_owned());
    }
    if facts.has_unknown_format {
        let reason = "the access log that it switches on would have the format of the mesh's settings, too";
        return Some(format!("no Telemetry object is written: {reason}"));
    }
    if !facts.missing_rights.is_empty() {
        let rights = facts.missing_rights.join(", ");
        return Some(format!(
            "no Telemetry object is written, because you may not {rights} (`secure-traffic rbac rehearse --telemetry`)"
        ));
    }
    None
}

/// What writing and removing a `Telemetry` object does to the sidecars of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelemetryEffect {
    /// Ports of Services that sidecars take and that are not declared to be HTTP: their open connections end.
    pub tcp_ports: usize,
    /// The longest drain time of a sidecar.
    pub drain: Duration,
}

impl TelemetryEffect {
    /// The effect in a namespace as it is.
    pub fn of(snapshot: &Snapshot) -> Self {
        let cases = probe::cases(snapshot, &[] as &[Target]).map(|(cases, _)| cases).unwrap_or_default();
        let is_tcp = |case: &&probe::Case| {
            case.protocol != PortProtocol::Http
                && case.endpoints.iter().any(|endpoint| endpoint.path == InboundPath::Sidecar)
        };
        let meshed = snapshot.pods.values().filter(|pod| pod.data_plane.is_meshed());
        let drain = meshed.map(|pod| snapshot.drain_time(pod)).max().unwrap_or(DEFAULT_DRAIN);
        Self { tcp_ports: cases.iter().filter(is_tcp).count(), drain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::shop;
    use WritePermission::{Ask, Given, OtherWriter, ReadOnly};

    fn found(name: &str) -> FoundTelemetry {
        FoundTelemetry { name: format!("telemetry {name}"), is_own_namespace: true, ..FoundTelemetry::default() }
    }

    type Row<'a> = (&'a str, WritePermission, bool, Option<Vec<FoundTelemetry>>, bool, &'a str);

    #[test]
    fn a_telemetry_object_is_written_only_where_it_takes_effect_and_may_be_written() {
        let root = FoundTelemetry { is_own_namespace: false, sets_log: true, ..found("istio-system/mesh") };
        let whole = found("shop/tracing");
        let workload = FoundTelemetry { has_selector: true, ..found("shop/metrics") };
        let logging = FoundTelemetry { sets_log: true, ..workload.clone() };
        let own =
            FoundTelemetry { run: Some("bcdfg".into()), sets_log: true, ..found("shop/secure-traffic-rehearsal") };
        let rows: [Row<'_>; 12] = [
            ("nothing else is there", Ask, true, Some(vec![]), false, ""),
            ("it was confirmed", Given, true, Some(vec![]), false, ""),
            ("that of the mesh gives way", Given, true, Some(vec![root]), false, ""),
            ("one of a workload that leaves the log alone", Given, true, Some(vec![workload]), false, ""),
            ("one that an interrupted rehearsal left", Given, true, Some(vec![own]), false, ""),
            ("the option", ReadOnly, true, Some(vec![]), false, "--read-only forbids"),
            ("another writer", OtherWriter, true, Some(vec![]), false, "--observe writes no"),
            ("not served", Given, false, Some(vec![]), false, "does not serve telemetries.telemetry.istio.io"),
            ("not listed", Given, true, None, false, "you may not list telemetries.telemetry.istio.io"),
            ("one for the namespace", Given, true, Some(vec![whole]), false, "telemetry shop/tracing applies to"),
            ("one of a workload", Given, true, Some(vec![logging]), false, "telemetry shop/metrics sets the access"),
            ("another format", Given, true, Some(vec![]), true, "would have the format of the mesh's settings"),
        ];
        for (name, permission, is_served, telemetries, has_unknown_format, expected) in rows {
            let reason = reason_not_to_write(&InstrumentFacts {
                permission,
                is_served,
                telemetries: telemetries.as_deref(),
                has_unknown_format,
                are_logs_cut: false,
                missing_rights: &[],
            });
            assert_eq!(reason.is_none(), expected.is_empty(), "{name}: {reason:?}");
            assert!(reason.unwrap_or_default().contains(expected), "{name}");
        }
        let missing = ["create telemetries.telemetry.istio.io".to_owned(), "create leases".to_owned()];
        let facts = InstrumentFacts {
            permission: Given,
            is_served: true,
            telemetries: Some(&[]),
            has_unknown_format: false,
            are_logs_cut: false,
            missing_rights: &missing,
        };
        let cut = reason_not_to_write(&InstrumentFacts { are_logs_cut: true, ..facts }).unwrap();
        assert!(cut.contains("cannot be followed"), "{cut}");
        let reason = reason_not_to_write(&facts).unwrap();
        assert!(reason.contains("you may not create telemetries.telemetry.istio.io, create leases ("), "{reason}");
    }

    #[test]
    fn the_effect_counts_the_ports_that_are_not_http_and_takes_the_longest_drain_time() {
        let mut snapshot = shop(&["web", "db", "outside"]);
        for (name, protocol) in [("web", "http"), ("db", "tcp-db"), ("outside", "tcp")] {
            let service = snapshot.services.iter_mut().find(|service| service.name == name).unwrap();
            service.ports[0].name = protocol.into();
            for endpoint in &mut service.endpoints {
                let target = endpoint.ports.values().next().copied().unwrap();
                endpoint.ports = [(protocol.to_owned(), target)].into();
            }
        }
        snapshot.pods.get_mut("outside-0").unwrap().data_plane = crate::domain::mesh::DataPlane::None;
        assert_eq!(TelemetryEffect::of(&snapshot), TelemetryEffect { tcp_ports: 1, drain: DEFAULT_DRAIN });
        snapshot.pods.get_mut("db-0").unwrap().facts.drain = Some(Duration::from_secs(150));
        assert_eq!(TelemetryEffect::of(&snapshot).drain, Duration::from_secs(150));
    }
}
