//! Lines and counters of ztunnels. [`LOG`] is what a ztunnel of the main branch of 2026 (1.29 and later) wrote; everything
//! else is written from the documented format.

use super::*;

/// Main branch, 2026: a denial by policy, a dead application, and served connections.
const LOG: &str = "\
2026-11-23T20:04:29.182143Z\terror\taccess\tconnection complete\tsrc.addr=10.244.1.79:55654 src.workload=\"rogue\" src.namespace=\"amb\" dst.addr=10.244.1.77:8080 dst.service=\"web.amb.svc.cluster.local\" direction=\"inbound\" bytes_sent=0 bytes_recv=0 duration=\"0ms\" error=\"connection closed due to policy rejection: explicitly denied by: istio-system/istio_converted_static_strict\"
2026-11-23T20:04:29.190015Z\terror\taccess\tconnection complete\tsrc.addr=10.244.1.79:58898 src.workload=\"rogue\" src.namespace=\"amb\" dst.addr=10.244.1.77:9999 dst.service=\"web.amb.svc.cluster.local\" direction=\"inbound\" bytes_sent=0 bytes_recv=0 duration=\"0ms\" error=\"connection failed: Connection refused (os error 111)\"
2026-11-23T20:04:30.477309Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.1.79:55674 src.workload=\"rogue\" src.namespace=\"amb\" dst.addr=10.244.1.77:8080 dst.service=\"web.amb.svc.cluster.local\" direction=\"inbound\" bytes_sent=193 bytes_recv=67 duration=\"1ms\"
2026-11-23T20:04:30.477309Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.1.70:1 src.workload=\"other\" src.namespace=\"amb\" dst.addr=10.244.1.77:8080 dst.service=\"web.amb.svc.cluster.local\" direction=\"inbound\" bytes_sent=193 bytes_recv=67 duration=\"1ms\"
";

fn counted(log: &str) -> ConnectionCounts {
    let mut counts = ConnectionCounts::default();
    for line in log.lines() {
        counts.add(line, |_| true);
    }
    counts
}

#[test]
fn a_log_is_counted_by_source_and_endpoint() {
    let counts = counted(LOG);
    let open = counts.between("10.244.1.79", "10.244.1.77:8080");
    assert_eq!(open, Connections { denied: 1, served: 1, ..Connections::default() });
    let dead = counts.between("10.244.1.79", "10.244.1.77:9999");
    assert_eq!(dead, Connections { application_down: 1, ..Connections::default() });
    assert_eq!(counts.between("10.244.1.7", "10.244.1.77:8080"), Connections::default());
    let mut wanted = ConnectionCounts::default();
    let added = LOG.lines().map(|line| wanted.add(line, |destination| destination.ends_with(":9999")));
    assert_eq!(added.collect::<Vec<_>>(), [false, true, false, false]);
}

/// The same facts in the formats of several versions.
#[test]
fn every_version_and_format_of_the_log_is_read() {
    const JSON: &str = r#"{"level":"error","time":"2026-11-23T20:04:29.182143Z","scope":"access","message":"connection complete","src.addr":"10.244.1.79:55654","src.workload":"rogue","src.namespace":"amb","dst.addr":"10.244.1.77:8080","direction":"inbound","bytes_sent":0,"bytes_recv":0,"duration":"0ms","error":"connection closed due to policy rejection: explicitly denied by: istio-system/istio_converted_static_strict"}"#;
    let of_1_22 = "2024-06-01T10:00:00.000000Z\terror\taccess\tconnection complete\tsrc.addr=10.244.1.79:55654 \
                   src.workload=\"rogue\" src.namespace=\"amb\" dst.addr=10.244.1.77:8080 direction=\"inbound\" \
                   bytes_sent=0 bytes_recv=0 duration=\"0ms\" error=\"connection closed due to policy rejection\"";
    let of_1_24 = of_1_22
        .replace("policy rejection", "policy rejection: explicitly denied by: amb/converted_peer_authentication_web");
    let authorization = of_1_22.replace("policy rejection", "policy rejection: explicitly denied by: amb/deny-all");
    let none_allowed = of_1_22.replace("policy rejection", "policy rejection: allow policies exist, but none allowed");
    let mutual = of_1_22.replace("src.namespace", "src.identity=\"spiffe://cluster.local/ns/amb/sa/x\" src.namespace");
    for (name, line, ending, has_identity) in [
        ("JSON", JSON, Ending::Denied, false),
        ("1.22", of_1_22, Ending::DeniedByUnnamed, false),
        ("1.24", &of_1_24, Ending::Denied, false),
        ("authorization", &authorization, Ending::Unauthorized, false),
        ("no ALLOW policy allows it", &none_allowed, Ending::Unauthorized, false),
        ("mutual TLS", &mutual, Ending::DeniedByUnnamed, true),
    ] {
        let expected = InboundConnection {
            source: "10.244.1.79:55654".into(),
            client: Some(("amb".into(), "rogue".into())),
            has_identity,
            destination: "10.244.1.77:8080".into(),
            ending,
        };
        assert_eq!(inbound_connection(line), Some(expected), "{name}");
    }
}

/// The first and the third line are from a ztunnel of the main branch of 2026; the others are changed in one place.
#[test]
fn a_connection_without_identity_is_a_plaintext_call() {
    use CallSecurity::{MutualTls, Plaintext};
    let plain = "2026-11-30T09:27:13.184084Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.0.88:51516 src.workload=\"plainh\" \
                 src.namespace=\"out\" src.cluster=\"Kubernetes\" dst.addr=10.244.0.84:8080 dst.service=\"web.amb.svc.cluster.local\" \
                 dst.workload=\"web-6468b9cc86-gh4mz\" dst.namespace=\"amb\" dst.cluster=\"Kubernetes\" direction=\"inbound\" \
                 bytes_sent=212 bytes_recv=108 duration=\"1ms\"";
    let mutual = "2026-11-30T09:27:13.184084Z\tinfo\taccess\tconnection complete\tsrc.addr=10.244.0.85:44310 src.workload=\"caller\" \
                  src.namespace=\"amb\" src.identity=\"spiffe://cluster.local/ns/amb/sa/default\" src.cluster=\"Kubernetes\" \
                  dst.addr=10.244.0.84:15008 dst.hbone_addr=10.244.0.84:8080 direction=\"inbound\" bytes_sent=212 duration=\"1ms\"";
    let refused = |policy: &str| {
        let error = format!(
            "duration=\"0ms\" error=\"connection closed due to policy rejection: explicitly denied by: {policy}\""
        );
        plain.replace("duration=\"1ms\"", &error)
    };
    let call = |remote: &str, security, is_denied| {
        let remote = Some(remote.parse().unwrap());
        Some(("10.244.0.84".parse().unwrap(), InboundCall { port: 8080, remote, security, is_denied }))
    };
    let rows = [
        ("plaintext", plain.to_owned(), call("10.244.0.88", Plaintext, false)),
        ("a reset", plain.to_owned() + " error=\"io error: reset\"", call("10.244.0.88", Plaintext, false)),
        ("HBONE", mutual.to_owned(), None),
        ("mutual TLS", mutual.replace(":15008 ", ":8080 "), call("10.244.0.85", MutualTls, false)),
        ("refused by authorization", refused("amb/deny-all"), call("10.244.0.88", Plaintext, true)),
        (
            "refused by STRICT",
            refused("istio-system/istio_converted_static_strict"),
            call("10.244.0.88", Plaintext, true),
        ),
        ("the kubelet", plain.replace("10.244.0.88", "169.254.7.127"), None),
        ("the kubelet, IPv6", plain.replace("10.244.0.88:", "[fd16:9254:7127:1337:ffff:ffff:ffff:ffff]:"), None),
        ("no address", plain.replace("10.244.0.84:8080", "web"), None),
        ("outbound", plain.replace("inbound", "outbound"), None),
    ];
    for (name, line, expected) in rows {
        assert_eq!(inbound_call(&line), expected, "{name}");
    }
}

#[test]
fn other_lines_are_left_alone() {
    let outbound = LOG.lines().next().unwrap().replace("direction=\"inbound\"", "direction=\"outbound\"");
    for line in
        ["", "{", "{}", "{\"message\":\"connection complete\"}", "t\tinfo\tstate\tconnection complete", &outbound]
    {
        assert_eq!(inbound_connection(line), None, "{line:?}");
    }
}

#[test]
fn a_name_in_quotes_is_not_a_field() {
    let line =
        "t\tinfo\taccess\tconnection complete\tsrc.workload=\"x direction=inbound error=y\" direction=\"outbound\"";
    assert_eq!(field(line, "direction"), Some("outbound"));
    assert_eq!(field(line, "error"), None);
}

/// Counts are by version: `failed` from 1.29, `closed` before. Other clients, flags and reporters are left out.
#[test]
fn counters_of_denied_connections_are_read_by_client() {
    let line = |name: &str, reporter: &str, source: &str, flags: &str, value: u64| {
        format!(
            "istio_tcp_connections_{name}_total{{reporter=\"{reporter}\",source_workload=\"{source}\",\
             source_workload_namespace=\"amb\",destination_service=\"web.amb.svc.cluster.local\",\
             destination_workload=\"web\",destination_workload_namespace=\"amb\",response_flags=\"{flags}\",\
             connection_security_policy=\"unknown\"}} {value}\n"
        )
    };
    let noise = [
        "# HELP istio_tcp_connections_closed The total number of TCP connections closed\n".to_owned(),
        line("closed", "destination", "rogue-2", "DENY", 9),
        line("closed", "destination", "rogue", "CONNECT", 9),
        line("closed", "source", "rogue", "DENY", 9),
        line("opened", "destination", "rogue", "DENY", 9),
    ]
    .concat();
    let of_1_22 = noise.clone() + &line("closed", "destination", "rogue", "DENY", 3);
    let of_1_29 = of_1_22.clone() + &line("failed", "destination", "rogue", "DENY", 4);
    for (metrics, expected) in [(&noise, None), (&of_1_22, Some(3)), (&of_1_29, Some(4))] {
        let expected: BTreeMap<String, u64> = expected.map(|count| ("web".to_owned(), count)).into_iter().collect();
        assert_eq!(denied(metrics, "amb", "rogue"), expected);
        assert!(denied(metrics, "other", "rogue").is_empty());
    }
}

/// From the configuration of a ztunnel of the main branch of 2026, without what is not read.
const DUMP: &str = r#"{
  "workloadState": {
    "749bd1f5": {"connections": {"inbound": [], "outbound": []}, "info": {"name": "caller"}, "state": "Up"},
    "eb5ead51": {
      "connections": {"inbound": [
        {"actualDst": "10.244.0.84:9000", "originalDst": null, "protocol": "TCP", "src": "10.244.0.87:60148"},
        {"actualDst": "10.244.0.84:8080", "originalDst": null, "protocol": "TCP", "src": "203.0.113.7:51516"},
        {"actualDst": "10.244.0.84:8080", "originalDst": null, "protocol": "TCP", "src": "169.254.7.127:51516"},
        {"actualDst": "10.244.0.84:9000", "originalDst": null, "protocol": "HBONE", "src": "10.244.0.90:46062"}
      ], "outbound": []},
      "info": {"name": "web-6468b9cc86-gh4mz"}, "state": "Up"
    }
  },
  "workloads": [
    {"name": "kubernetes", "namespace": "default", "workloadIps": ["203.0.113.7"], "workloadType": "deployment"},
    {"name": "plain-x", "namespace": "out", "workloadIps": ["10.244.0.87"], "workloadName": "plain", "workloadType": "deployment"}
  ]
}"#;

#[test]
fn plaintext_connections_are_held_by_workloads_and_addresses() {
    let held = held_connections(DUMP.as_bytes()).unwrap();
    let found: Vec<String> = held.iter().map(|one| format!("{} {}", one.caller(), one.destination)).collect();
    assert_eq!(found, ["plain (out/Deployment) 10.244.0.84:9000", "203.0.113.7 10.244.0.84:8080"]);
    let unnamed = held_connections(DUMP.replace("\"workloads\": [", "\"workloads\": {}, \"x\": [").as_bytes()).unwrap();
    assert_eq!(unnamed[0].caller().to_string(), "10.244.0.87");
    for (name, dump) in [
        ("no connections", "{}"),
        ("none of a pod", r#"{"workloadState": {"a": {}}}"#),
        ("another shape", r#"{"workloadState": {"a": {"connections": {"inbound": [{"src": "x"}]}}}}"#),
        ("cut off", "{"),
    ] {
        assert!(held_connections(dump.as_bytes()).unwrap_err().starts_with("its configuration"), "{name}");
    }
}
