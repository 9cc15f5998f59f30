//! API objects as JSON → domain values. Unknown fields are left alone; a wrong shape reads as absent.

use crate::domain::mesh::{LegacyPolicy, LegacyTarget, MtlsMode, PeerAuthentication};
use serde_json::Value;
use std::collections::BTreeMap;

/// Seconds since the epoch of `metadata.creationTimestamp`; 0 where there is none.
pub fn created(object: &Value) -> i64 {
    object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        .map_or(0, jiff::Timestamp::as_second)
}

/// `metadata.<field>` as text.
pub fn metadata<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

fn string_map(value: &Value) -> BTreeMap<String, String> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// A PeerAuthentication of `security.istio.io`, any version: they have one shape.
pub fn peer_authentication(object: &Value) -> PeerAuthentication {
    let spec = &object["spec"];
    let mode = |value: &Value| value["mode"].as_str().and_then(MtlsMode::parse);
    PeerAuthentication {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        revision: object["metadata"]["labels"]["istio.io/rev"].as_str().map(str::to_owned),
        selector: string_map(&spec["selector"]["matchLabels"]),
        mode: mode(&spec["mtls"]),
        ports: spec["portLevelMtls"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(port, entry)| Some((port.parse().ok()?, mode(entry))))
            .collect(),
    }
}

/// A Policy or MeshPolicy of `authentication.istio.io/v1alpha1`.
pub fn legacy_policy(object: &Value) -> LegacyPolicy {
    let spec = &object["spec"];
    let targets = spec["targets"].as_array().into_iter().flatten().map(|target| {
        let ports = || target["ports"].as_array().into_iter().flatten();
        LegacyTarget {
            service: target["name"].as_str().unwrap_or_default().to_owned(),
            ports: ports().filter_map(|port| u16::try_from(port["number"].as_u64()?).ok()).collect(),
            port_names: ports().filter_map(|port| Some(port["name"].as_str()?.to_owned())).collect(),
        }
    });
    LegacyPolicy {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        targets: targets.collect(),
        mode: legacy_mode(&spec["peers"]),
    }
}

/// LP-2: the first `mtls` peer decides; `mtls: {}`, `mtls: null` and no mode are STRICT; no such peer is plaintext only.
fn legacy_mode(peers: &Value) -> MtlsMode {
    let first = peers.as_array().into_iter().flatten().find_map(|peer| peer.as_object()?.get("mtls"));
    match first {
        None => MtlsMode::Disable,
        Some(mtls) if mtls["mode"].as_str() == Some("PERMISSIVE") => MtlsMode::Permissive,
        Some(_) => MtlsMode::Strict,
    }
}
