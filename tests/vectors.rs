//! Istio's own answers, as vectors: which mode holds at a port. Each row names the test or source that it is from.
//!
//! `SECURE_TRAFFIC_VECTORS=FILE` runs the same test on another file of this format; rows of other kinds are not
//! about the server's mode and are counted, not run.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use secure_traffic::domain::effective::{Effective, legacy_server_mode, server_mode};
use secure_traffic::domain::mesh::{Capture, DataPlane, Pod, Policies};
use secure_traffic::istio::read;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const KINDS: [&str; 2] = ["serverMode", "legacyServerMode"];

fn text<'a>(value: &'a Value, row: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("{row}: text is expected, not {value}"))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An age rank of the vectors as a time of creation.
fn created(rank: &Value) -> String {
    let rank = rank.as_i64().unwrap_or(0);
    jiff::Timestamp::from_second(rank).expect("a small number").to_string()
}

/// A row's policy in the shape of the API, so that reading is tested with it.
fn peer_authentication(row: &Value) -> Value {
    let mut spec = json!({});
    if let Some(mode) = row["mode"].as_str() {
        spec["mtls"] = json!({"mode": mode});
    }
    if !row["matchLabels"].is_null() {
        spec["selector"] = json!({"matchLabels": row["matchLabels"]});
    }
    if let Some(ports) = row["portLevelMtls"].as_object() {
        let entry = |mode: &Value| if mode.is_null() { json!({}) } else { json!({ "mode": mode }) };
        spec["portLevelMtls"] = ports.iter().map(|(port, mode)| (port.clone(), entry(mode))).collect();
    }
    json!({
        "metadata": {"name": row["name"], "namespace": row["namespace"], "creationTimestamp": created(&row["created"])},
        "spec": spec,
    })
}

fn legacy_policy(row: &Value) -> Value {
    let target = |target: &Value| {
        let ports = items(&target["ports"])
            .map(|port| if port.is_string() { json!({"name": port}) } else { json!({"number": port}) });
        json!({"name": target["name"], "ports": ports.collect::<Vec<_>>()})
    };
    let targets: Vec<Value> = items(&row["targets"]).map(target).collect();
    json!({
        "metadata": {"name": row["name"], "namespace": row["namespace"], "creationTimestamp": created(&row["created"])},
        "spec": {"peers": row["peers"], "targets": targets},
    })
}

fn server(row: &Value, id: &str) -> Effective {
    let workload = &row["workload"];
    let policies = Policies {
        root_namespace: text(&row["rootNamespace"], id).to_owned(),
        root_readable: true,
        peer: items(&row["peerAuthentications"])
            .map(|policy| read::peer_authentication(&peer_authentication(policy)))
            .collect(),
        ..Policies::default()
    };
    let labels = workload["labels"].as_object().into_iter().flatten();
    let pod = Pod {
        name: "workload".into(),
        namespace: text(&workload["namespace"], id).to_owned(),
        labels: labels.map(|(key, value)| (key.clone(), text(value, id).to_owned())).collect::<BTreeMap<_, _>>(),
        service_account: "default".into(),
        data_plane: DataPlane::Sidecar,
        revision: None,
        ready: true,
        capture: Capture::All,
    };
    let port = workload["targetPort"].as_u64().and_then(|port| u16::try_from(port).ok());
    server_mode(&policies, &pod, port.unwrap_or_else(|| panic!("{id}: no target port")))
}

fn legacy(row: &Value, id: &str) -> Effective {
    let service = &row["service"];
    let mesh = (!row["meshPolicy"].is_null()).then(|| read::legacy_policy(&legacy_policy(&row["meshPolicy"])));
    let policies = Policies {
        root_namespace: "istio-system".into(),
        root_readable: true,
        legacy: items(&row["policies"]).map(|policy| read::legacy_policy(&legacy_policy(policy))).collect(),
        legacy_mesh: mesh,
        legacy_only: true,
        ..Policies::default()
    };
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
    let port = port.unwrap_or_else(|| panic!("{id}: no port"));
    legacy_server_mode(
        &policies,
        text(&service["namespace"], id),
        text(&service["name"], id),
        port,
        service["portName"].as_str(),
    )
}

#[test]
fn the_effective_mode_is_what_istio_says() {
    let file = std::env::var("SECURE_TRAFFIC_VECTORS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/istio-server-mode.json").into());
    let rows = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for row in &rows {
        let id = text(&row["id"], "a row");
        let kind = text(&row["kind"], id);
        *seen.entry(kind).or_default() += 1;
        let found = match kind {
            "serverMode" => server(row, id),
            "legacyServerMode" => legacy(row, id),
            _ => continue,
        };
        let expected = text(&row["expect"]["serverMode"], id);
        let said = found.mode.map_or("unknown", |mode| mode.as_str());
        if said != expected {
            wrong.push(format!(
                "{id} ({}): {said}, expected {expected}; {:?}",
                row["source"].as_str().unwrap_or("?"),
                found.chain
            ));
        }
    }
    for kind in KINDS {
        assert!(seen.get(kind).is_some_and(|count| *count > 0), "{file} has no row of kind {kind}: {seen:?}");
    }
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
