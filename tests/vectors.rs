//! Compares modes and rules with Istio's own results: every row of the vectors names the test or source that it is from;
//! the rule codes (PA, AM, LP, DR) are those of `docs/istio-semantics.md`.
//!
//! `SECURE_TRAFFIC_VECTORS=FILE` runs the same tests on another file of this format instead. It does not need every kind
//! of row, but an unknown kind is a failure, so that no row is skipped.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use secure_traffic::domain::ambient::{self, Plaintext};
use secure_traffic::domain::client_tls::rules::Sorting;
use secure_traffic::domain::client_tls::{
    Call, CallOutcome, Client, ClientKind, Mesh, Server, VisibleRules, WireProtocol, call_outcome, sends,
};
use secure_traffic::domain::effective::{PolicyIndex, legacy_server_mode, server_mode};
use secure_traffic::domain::mesh::{DataPlane, DestinationRule, Pod, Policies};
use secure_traffic::istio::read;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The kinds of rows: name, rule codes, and check.
const KINDS: [(&str, &str, Check); 5] = [
    ("serverMode", "PA-1..PA-6", server),
    ("ambientPlaintext", "AM-1..AM-5", in_ambient),
    ("legacyServerMode", "LP-1..LP-5", legacy),
    ("clientAndOutcome", "DR-12..DR-26", client),
    ("destinationRuleResolution", "DR-1..DR-9", resolution),
];

/// The project's files, with the number of rows of each kind, in the order of [`KINDS`].
const FILES: [(&str, [usize; 5]); 3] = [
    ("istio-vectors.json", [26, 24, 12, 34, 18]),
    ("istio-vectors-2.json", [120, 40, 0, 130, 120]),
    ("istio-vectors-3.json", [0, 6, 0, 0, 26]),
];

/// Computes the result for a row, in the shape of its `expect`.
type Check = fn(&Row) -> Value;

struct Row {
    id: String,
    value: Value,
}

impl Row {
    fn text(&self, value: &Value) -> String {
        value.as_str().unwrap_or_else(|| panic!("{}: text is expected, not {value}", self.id)).to_owned()
    }

    fn port(&self, value: &Value) -> u16 {
        let port = value.as_u64().and_then(|port| u16::try_from(port).ok());
        port.unwrap_or_else(|| panic!("{}: a port is expected, not {value}", self.id))
    }

    fn labels(&self, value: &Value) -> BTreeMap<String, String> {
        let labels = value.as_object().into_iter().flatten();
        labels.map(|(key, value)| (key.clone(), self.text(value))).collect()
    }

    fn policies(&self) -> Policies {
        Policies {
            root_namespace: self.text(&self.value["rootNamespace"]),
            root_readable: true,
            peer: items(&self.value["peerAuthentications"])
                .map(|policy| read::peer_authentication(&peer_authentication(policy)))
                .collect(),
            ..Policies::default()
        }
    }

    fn rules(&self) -> Vec<DestinationRule> {
        items(&self.value["destinationRules"]).map(|rule| read::destination_rule(&destination_rule(rule))).collect()
    }

    fn pod(&self, value: &Value, data_plane: DataPlane) -> Pod {
        Pod {
            name: "workload".into(),
            namespace: self.text(&value["namespace"]),
            labels: self.labels(&value["labels"]),
            service_account: "default".into(),
            data_plane,
            ready: true,
            ..Pod::default()
        }
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The metadata of an object; its age rank in the vectors becomes the time of creation.
fn metadata(row: &Value) -> Value {
    let created = jiff::Timestamp::from_second(row["created"].as_i64().unwrap_or(0)).expect("a small number");
    json!({"name": row["name"], "namespace": row["namespace"], "creationTimestamp": created.to_string()})
}

/// A row's policy in the shape of the API, so that `istio::read` is tested too.
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
    json!({"metadata": metadata(row), "spec": spec})
}

/// A row's rule in the shape of the API. A traffic policy without TLS has pools, because the webhook refuses an empty one.
fn destination_rule(row: &Value) -> Value {
    let subset = |subset: &Value| match traffic_policy(&subset["tp"]) {
        Some(policy) => json!({"name": subset["name"], "trafficPolicy": policy}),
        None => json!({"name": subset["name"]}),
    };
    let mut spec = json!({
        "host": row["host"], "exportTo": row["exportTo"],
        "subsets": items(&row["subsets"]).map(subset).collect::<Vec<_>>(),
    });
    if let Some(policy) = traffic_policy(&row["trafficPolicy"]) {
        spec["trafficPolicy"] = policy;
    }
    if !row["workloadSelector"].is_null() {
        spec["workloadSelector"] = json!({"matchLabels": row["workloadSelector"]});
    }
    json!({"metadata": metadata(row), "spec": spec})
}

fn traffic_policy(row: &Value) -> Option<Value> {
    let tls = |value: &Value| value.as_str().map(|mode| json!({ "mode": mode }));
    row.as_object()?;
    let mut policy = json!({"connectionPool": {}});
    if let Some(tls) = tls(&row["tls"]) {
        policy["tls"] = tls;
    }
    let port = |entry: &Value| match tls(&entry["tls"]) {
        Some(tls) => json!({"port": {"number": entry["port"]}, "tls": tls}),
        None => json!({"port": {"number": entry["port"]}, "connectionPool": {}}),
    };
    let ports: Vec<Value> = items(&row["ports"]).map(port).collect();
    if !ports.is_empty() {
        policy["portLevelSettings"] = json!(ports);
    }
    Some(policy)
}

fn legacy_policy(row: &Value) -> Value {
    let target = |target: &Value| {
        let ports = items(&target["ports"])
            .map(|port| if port.is_string() { json!({"name": port}) } else { json!({"number": port}) });
        json!({"name": target["name"], "ports": ports.collect::<Vec<_>>()})
    };
    let targets: Vec<Value> = items(&row["targets"]).map(target).collect();
    json!({"metadata": metadata(row), "spec": {"peers": row["peers"], "targets": targets}})
}

fn server(row: &Row) -> Value {
    let workload = &row.value["workload"];
    let pod = row.pod(workload, DataPlane::Sidecar);
    let found = server_mode(&row.policies(), &pod, row.port(&workload["targetPort"]));
    json!({"serverMode": found.mode.map_or("unknown", |mode| mode.as_str())})
}

fn in_ambient(row: &Row) -> Value {
    let workload = &row.value["workload"];
    let pod = row.pod(workload, DataPlane::Ambient);
    let policies = row.policies();
    let found = ambient::plaintext(&PolicyIndex::new(&policies), &pod, row.port(&workload["targetPort"]));
    json!({"plaintext": match found {
        Plaintext::Allowed | Plaintext::FailsOpen => "ALLOW",
        Plaintext::Denied => "DENY",
        Plaintext::Undetermined => "undetermined",
    }})
}

fn legacy(row: &Row) -> Value {
    let (service, mesh) = (&row.value["service"], &row.value["meshPolicy"]);
    let policies = Policies {
        root_namespace: "istio-system".into(),
        root_readable: true,
        legacy: items(&row.value["policies"]).map(|policy| read::legacy_policy(&legacy_policy(policy))).collect(),
        legacy_mesh: (!mesh.is_null()).then(|| read::legacy_policy(&legacy_policy(mesh))),
        legacy_only: true,
        ..Policies::default()
    };
    let (namespace, name) = (row.text(&service["namespace"]), row.text(&service["name"]));
    let found =
        legacy_server_mode(&policies, &namespace, &name, row.port(&service["port"]), service["portName"].as_str());
    json!({"serverMode": found.mode.map_or("unknown", |mode| mode.as_str())})
}

fn sorting(root: &str) -> Sorting<'_> {
    Sorting { root, cluster_domain: "cluster.local", default_export: &[], revision: None }
}

fn client(row: &Row) -> Value {
    let (caller, service, endpoint) = (&row.value["client"], &row.value["service"], &row.value["endpoint"]);
    let (policies, rules) = (row.policies(), row.rules());
    let index = PolicyIndex::new(&policies);
    let labels = row.labels(&caller["labels"]);
    let namespace = row.text(&caller["namespace"]);
    let kind = if caller["gateway"] == true { ClientKind::Gateway } else { ClientKind::Sidecar };
    let client = Client { namespace: &namespace, labels: &labels, kind, hbone: true };
    let data_plane = if endpoint["sidecar"] == true { DataPlane::Sidecar } else { DataPlane::None };
    let mut pod = row.pod(endpoint, data_plane);
    if let Some(label) = endpoint["tlsModeLabel"].as_str() {
        pod.labels.insert("security.istio.io/tlsMode".into(), label.into());
    }
    let port = row.port(&endpoint["targetPort"]);
    let home = row.text(&service["namespace"]);
    let others: Vec<&Value> = items(&row.value["otherEndpointTlsModeLabels"]).collect();
    let call = Call {
        namespace: &home,
        port: row.port(&service["port"]),
        subset: row.value["subset"].as_str(),
        headless: service["headless"] == true,
        external: service["meshExternal"] == true,
        all_have_tls_label: if others.is_empty() {
            pod.has_tls_label()
        } else {
            others.iter().all(|label| **label == "istio")
        },
    };
    let visible = VisibleRules::new(&rules, sorting(&policies.root_namespace));
    let rule = visible.in_force(client, &row.text(&service["host"]), &home);
    let mesh = Mesh { auto_mtls: row.value["enableAutoMtls"] != false, policies: &index };
    let sent = sends(mesh, client, rule.as_ref(), call, (&pod, port));
    let server = match index.mode(&pod, port).mode {
        _ if data_plane == DataPlane::None => Server::NoProxy,
        Some(mode) => Server::Mode(mode),
        None => Server::Unknown,
    };
    json!({
        "clientSends": match sent {
            WireProtocol::Raw => "RAW",
            WireProtocol::Mtls => "MTLS",
            WireProtocol::Tls => "TLS",
            WireProtocol::UserMtls => "USER_MTLS",
            WireProtocol::Hbone => "HBONE",
            WireProtocol::TlsInHbone => "TLS in HBONE",
        },
        "serverMode": match server {
            Server::Mode(mode) => mode.as_str(),
            Server::NoProxy | Server::Gateway => "NONE",
            Server::Unknown => "unknown",
        },
        "outcome": match call_outcome(sent, server, service["protocol"] == "HTTP") {
            CallOutcome::Works => "OK",
            CallOutcome::Breaks => "BREAK",
            CallOutcome::ApplicationTls => "APP-TLS",
            CallOutcome::Unknown => "unknown",
        },
    })
}

fn resolution(row: &Row) -> Value {
    let (caller, service) = (&row.value["client"], &row.value["service"]);
    let (rules, root) = (row.rules(), row.text(&row.value["rootNamespace"]));
    let (labels, namespace) = (row.labels(&caller["labels"]), row.text(&caller["namespace"]));
    let client = Client { namespace: &namespace, labels: &labels, kind: ClientKind::Sidecar, hbone: true };
    let visible = VisibleRules::new(&rules, sorting(&root));
    let found = visible.in_force(client, &row.text(&service["host"]), &row.text(&service["namespace"]));
    let Some(found) = found else { return json!({"rule": "none", "topLevelTls": "-"}) };
    let names: Vec<String> = found.rules().iter().map(|rule| format!("{}/{}", rule.namespace, rule.name)).collect();
    let tls = found.policy().and_then(|rule| rule.tls).map_or("-", |tls| tls.as_str());
    json!({"rule": names.join("+"), "topLevelTls": tls})
}

/// The rows of the file in the environment, or of the project's files.
fn rows() -> Vec<Row> {
    let given = std::env::var("SECURE_TRAFFIC_VECTORS").ok().filter(|file| !file.is_empty());
    if let Some(file) = given {
        return read_rows(&file);
    }
    let counted = |(name, counts): (&str, [usize; 5])| {
        let rows = read_rows(&format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR")));
        let count = |kind| rows.iter().filter(|row| row.value["kind"] == kind).count();
        assert_eq!(KINDS.map(|(kind, ..)| count(kind)), counts, "rows of each kind in {name}");
        rows
    };
    FILES.into_iter().flat_map(counted).collect()
}

fn read_rows(file: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let row = |value: Value| Row { id: value["id"].as_str().expect("every row has an id").to_owned(), value };
    rows.into_iter().map(row).collect()
}

fn check_rows(kind: &str) {
    let (_, rules, check) = KINDS.into_iter().find(|known| known.0 == kind).expect("a known kind");
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.value["kind"] == kind).collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let (result, expected) = (check(row), &row.value["expect"]);
        if result != *expected {
            let source = row.value["source"].as_str().unwrap_or("?");
            wrong.push(format!("{} ({rules}; {source}): {result}, expected {expected}", row.id));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows are wrong:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn every_row_has_a_known_kind_and_a_unique_id() {
    let rows = rows();
    assert!(!rows.is_empty());
    let known = |row: &&Row| KINDS.iter().any(|known| row.value["kind"] == known.0);
    let unknown: Vec<&str> = rows.iter().filter(|row| !known(row)).map(|row| row.id.as_str()).collect();
    assert!(unknown.is_empty(), "rows of a kind that is not known: {unknown:?}");
    let mut ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    ids.sort_unstable();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id stands twice");
}

#[test]
fn pa_the_mode_at_a_sidecar() {
    check_rows("serverMode");
}

#[test]
fn am_plaintext_in_ambient() {
    check_rows("ambientPlaintext");
}

#[test]
fn lp_the_mode_of_the_legacy_api() {
    check_rows("legacyServerMode");
}

#[test]
fn dr_what_a_client_sends_and_the_outcome() {
    check_rows("clientAndOutcome");
}

#[test]
fn dr_the_rule_in_force() {
    check_rows("destinationRuleResolution");
}
