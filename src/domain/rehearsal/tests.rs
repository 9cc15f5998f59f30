//! The fold of log lines into callers, and which ports STRICT would close.

use super::*;
use crate::domain::caller::{CallerWorkload, CallingPod};
use crate::domain::inbound::{Bypass, InboundPath};
use crate::domain::mesh::{Capture, DataPlane, MtlsMode, PeerAuthentication, Snapshot};
use crate::domain::rule::{DestinationRule, RuleDetails};
use crate::domain::testing::{ENABLE, policy, rule, shop};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn call(remote: &str, security: CallSecurity) -> LogLine {
    LogLine::Inbound(InboundCall { port: 8080, remote: Some(address(remote)), security, is_denied: false })
}

fn plaintext(remote: &str) -> LogLine {
    call(remote, CallSecurity::Plaintext)
}

fn directory() -> CallerDirectory {
    let mut directory = CallerDirectory::default();
    directory.add(&CallingPod {
        workload: CallerWorkload {
            namespace: "outside".into(),
            kind: "Deployment".into(),
            name: "legacy-client".into(),
            gateway: false,
        },
        addresses: vec![address("10.0.2.1"), address("10.0.2.2")],
        node: None,
    });
    directory
}

fn calibration(source: &str, pods: &[&str]) -> Calibration {
    let endpoints = pods.iter().map(|pod| (PodPort { pod: (*pod).to_owned(), port: 8080 }, 7));
    Calibration { sources: [address(source)].into(), endpoints: endpoints.collect() }
}

/// A rehearsal of `web`, whose log shows the calls at the start and at the end, and these lines between them.
fn rehearsed(lines: &[LogLine]) -> (Rehearsal, StrictPreview) {
    let preview = StrictPreview::new(shop(&["web"]), &ENABLE).unwrap();
    let mut rehearsal = Rehearsal::default();
    rehearsal.set_ports(preview.ports(&[], &[]).unwrap());
    let own = [plaintext("10.9.0.1")];
    let last = [plaintext("10.9.0.2")];
    // The address of the tool's pod is known only when it has ended.
    for line in own.iter().chain(lines) {
        rehearsal.record("web-0", line, 1, &directory());
    }
    rehearsal.add_calibration(calibration("10.9.0.1", &["web-0"]));
    rehearsal.add_calibration(calibration("10.9.0.2", &["web-0"]));
    for line in &last {
        rehearsal.record("web-0", line, 2, &directory());
    }
    (rehearsal, preview)
}

fn only_row(rehearsal: &Rehearsal, preview: &StrictPreview) -> PortRow {
    let rows = rehearsal.rows(&directory(), preview);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.into_iter().next().unwrap()
}

#[test]
fn callers_are_those_that_do_not_use_the_mutual_tls_of_the_mesh() {
    let lines = [
        plaintext("10.0.2.1"),
        plaintext("10.0.2.2"),
        call("10.0.3.1", CallSecurity::MutualTls),
        call("203.0.113.7", CallSecurity::OwnTls),
        LogLine::OtherCall,
        LogLine::NoCall,
    ];
    let (rehearsal, preview) = rehearsed(&lines);
    let row = only_row(&rehearsal, &preview);
    assert_eq!((row.name.as_str(), row.not_observed.as_deref(), row.not_refused.as_deref()), ("web:80", None, None));
    let found: Vec<(String, u64, u64, usize)> = row
        .callers
        .iter()
        .map(|row| (row.caller.as_ref().unwrap().to_string(), row.count.calls, row.count.own_tls, row.addresses.len()))
        .collect();
    let expected = [("legacy-client (outside/Deployment)".to_owned(), 2, 0, 2), ("203.0.113.7".to_owned(), 1, 1, 1)];
    assert_eq!(found, expected);
    assert_eq!(row.total().calls, 3, "the tool's own calls do not count");
}

#[test]
fn nobody_is_said_only_where_the_log_shows_both_calls_of_the_tool() {
    type Change = fn(&mut Rehearsal);
    let rows: [(&str, Change, Option<&str>); 7] = [
        ("both", |_| {}, None),
        (
            "the log does not show the second",
            |rehearsal| rehearsal.logs.get_mut("web-0").unwrap().ports.get_mut(&8080).unwrap().calibrated = [0].into(),
            Some("the access log of web-0 does not show both calls of this tool to port 8080"),
        ),
        (
            "no second was sent",
            |rehearsal| rehearsal.calibrations.truncate(1),
            Some("the call at the end was not sent"),
        ),
        (
            "there is no access log",
            |rehearsal| rehearsal.logs.clear(),
            Some("the sidecar of web-0 writes no access log"),
        ),
        (
            "its format is not known",
            |rehearsal| {
                rehearsal.logs.clear();
                rehearsal.record("web-0", &LogLine::UnknownFormat, 1, &CallerDirectory::default());
            },
            Some("the access log of web-0 has a format without the fields that are needed"),
        ),
        (
            "a part may be missing",
            |rehearsal| rehearsal.mark_incomplete("web-0", "it was cut"),
            Some("a part of the log of web-0 may be missing: it was cut"),
        ),
        (
            "a format without addresses",
            |rehearsal| {
                let line = LogLine::Inbound(InboundCall {
                    port: 8080,
                    remote: None,
                    security: CallSecurity::Plaintext,
                    is_denied: false,
                });
                rehearsal.record("web-0", &line, 1, &CallerDirectory::default());
            },
            Some(
                "the access log of web-0 has no remote address: callers are counted, without those of this tool, and not named",
            ),
        ),
    ];
    for (name, change, expected) in rows {
        let (mut rehearsal, preview) = rehearsed(&[]);
        assert!(rehearsal.is_calibrated());
        change(&mut rehearsal);
        assert_eq!(only_row(&rehearsal, &preview).not_observed.as_deref(), expected, "{name}");
    }
}

#[test]
fn a_log_without_addresses_gives_a_number_without_the_calls_of_the_tool() {
    for (lines, expected) in [(6, None), (14, None), (17, Some(3))] {
        let preview = StrictPreview::new(shop(&["web"]), &ENABLE).unwrap();
        let mut rehearsal = Rehearsal::default();
        rehearsal.set_ports(preview.ports(&[], &[]).unwrap());
        let call = InboundCall { port: 8080, remote: None, security: CallSecurity::Plaintext, is_denied: false };
        for _ in 0..lines {
            rehearsal.record("web-0", &LogLine::Inbound(call.clone()), 1, &directory());
        }
        assert!(rehearsal.is_any_endpoint_calibrated(), "it is worth while to observe");
        for source in ["10.9.0.1", "10.9.0.2"] {
            rehearsal.add_calibration(calibration(source, &["web-0"]));
        }
        let row = only_row(&rehearsal, &preview);
        assert_eq!(row.callers.first().map(|row| row.count.calls), expected, "{lines}");
        assert!(row.callers.iter().all(|row| row.caller.is_none()) && row.not_observed.is_some(), "{lines}");
    }
}

#[test]
fn calls_that_are_refused_already_are_counted_apart() {
    let denied = |remote: &str| {
        let call = InboundCall {
            port: 8080,
            remote: Some(address(remote)),
            security: CallSecurity::Plaintext,
            is_denied: true,
        };
        LogLine::Inbound(call)
    };
    let (rehearsal, preview) = rehearsed(&[denied("10.0.2.1"), denied("203.0.113.7")]);
    let row = only_row(&rehearsal, &preview);
    assert_eq!((row.denied, row.total().calls, row.callers.len()), (2, 0, 0));
    assert_eq!(row.not_observed, None);
    let (rehearsal, preview) = rehearsed(&[denied("10.0.2.1"), plaintext("10.0.2.1")]);
    let row = only_row(&rehearsal, &preview);
    assert_eq!((row.denied, row.total().calls, row.callers.len()), (1, 1, 1));
    // The tool's own calls are found, whatever became of them.
    let (rehearsal, preview) = rehearsed(&[denied("10.9.0.1")]);
    assert_eq!((only_row(&rehearsal, &preview).denied, rehearsal.is_calibrated()), (0, true));
}

#[test]
fn memory_is_bounded_however_many_addresses_and_ports_call() {
    let (mut rehearsal, preview) = rehearsed(&[]);
    for number in 0..3000_u32 {
        let remote = IpAddr::from(std::net::Ipv4Addr::from(0x0b00_0000 + number));
        let port = u16::try_from(number).unwrap() + 9000;
        for port in [8080, port] {
            let call = InboundCall { port, remote: Some(remote), security: CallSecurity::Plaintext, is_denied: false };
            rehearsal.record("web-0", &LogLine::Inbound(call), 1, &directory());
        }
    }
    let log = &rehearsal.logs["web-0"];
    assert_eq!((log.ports.len(), log.ports[&8080].callers.len()), (MAX_PORTS, MAX_ADDRESSES));
    let rows = rehearsal.rows(&directory(), &preview);
    assert_eq!(rows[0].total().calls, 3000);
    assert!(rows[0].callers.iter().any(|row| row.caller.is_none()), "the others have no name");
    assert_eq!(
        rows[0].not_observed.as_deref(),
        Some("a part of the log of web-0 may be missing: calls arrived at more than 500 ports")
    );
}

#[test]
fn ports_without_a_service_are_listed_where_they_are_called() {
    let (mut rehearsal, preview) = rehearsed(&[]);
    let call = InboundCall {
        port: 9090,
        remote: Some(address("10.0.2.1")),
        security: CallSecurity::Plaintext,
        is_denied: false,
    };
    rehearsal.record("web-0", &LogLine::Inbound(call), 1, &directory());
    let rows = rehearsal.rows(&directory(), &preview);
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["web:80", "pod/web-0:9090"]);
    assert_eq!(rows[1].total().calls, 1);
}

#[test]
fn an_endpoint_that_is_gone_still_counts_and_a_new_one_needs_only_the_call_at_the_end() {
    let preview = StrictPreview::new(shop(&["web"]), &ENABLE).unwrap();
    let mut rehearsal = Rehearsal::default();
    rehearsal.set_ports(preview.ports(&[], &[]).unwrap());
    let mut later = shop(&["web"]);
    let mut pod = later.pods.remove("web-0").unwrap();
    "web-1".clone_into(&mut pod.name);
    later.services[0].endpoints[0].target = crate::domain::mesh::EndpointTarget::Pod("web-1".into());
    later.pods.insert("web-1".into(), pod);
    for (pod, remote) in [("web-0", "10.9.0.1"), ("web-0", "10.0.2.1"), ("web-1", "10.9.0.2")] {
        rehearsal.record(pod, &plaintext(remote), 1, &directory());
    }
    rehearsal.add_calibration(calibration("10.9.0.1", &["web-0"]));
    let preview = StrictPreview::new(later, &ENABLE).unwrap();
    rehearsal.set_ports(preview.ports(&[], &[]).unwrap());
    rehearsal.add_calibration(calibration("10.9.0.2", &["web-1"]));
    let row = only_row(&rehearsal, &preview);
    assert_eq!((row.not_observed.as_deref(), row.total().calls), (None, 1));
}

type Change = fn(&mut Snapshot);

fn own_policy(snapshot: &mut Snapshot, port: u16, mode: MtlsMode) {
    let selector = snapshot.pods["web-0"].labels.clone();
    let exception = PeerAuthentication { selector, ports: [(port, Some(mode))].into(), ..policy("web", 1, None) };
    snapshot.policies.peer.push(exception);
}

#[test]
fn what_strict_does_to_a_port() {
    let rows: [(&str, Change, Result<(), &str>); 10] = [
        ("a sidecar in PERMISSIVE", |_| {}, Ok(())),
        (
            "STRICT",
            |snapshot| snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))],
            Err("STRICT already"),
        ),
        ("an exception", |snapshot| own_policy(snapshot, 8080, MtlsMode::Permissive), Err("its mode stays PERMISSIVE")),
        ("an exception for another port", |snapshot| own_policy(snapshot, 9090, MtlsMode::Permissive), Ok(())),
        (
            "no sidecar",
            |snapshot| snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::None,
            Err("no policy applies: no proxy"),
        ),
        (
            "a port that is not captured",
            |snapshot| snapshot.pods.get_mut("web-0").unwrap().capture = Capture::AllBut(vec![8080]),
            Err("no policy applies: port not captured"),
        ),
        ("ambient", |snapshot| snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::Ambient, Ok(())),
        (
            "ambient under STRICT",
            |snapshot| {
                snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::Ambient;
                snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
            },
            Err("STRICT already"),
        ),
        (
            "an exception of an ambient pod",
            |snapshot| {
                snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::Ambient;
                own_policy(snapshot, 8080, MtlsMode::Permissive);
            },
            Err("its mode stays PERMISSIVE"),
        ),
        ("no endpoint", |snapshot| snapshot.services[0].endpoints.clear(), Err("no endpoint is ready")),
    ];
    for (name, change, expected) in rows {
        let mut snapshot = shop(&["web"]);
        change(&mut snapshot);
        let ports = StrictPreview::new(snapshot, &ENABLE).unwrap().ports(&[], &[]).unwrap();
        let found = match &ports[0].prospect {
            Prospect::Closes => Ok(()),
            Prospect::Unchanged(reason) | Prospect::Unobservable(reason) => Err(reason.as_str()),
        };
        assert_eq!((found, ports[0].endpoints().count()), (expected, usize::from(expected.is_ok())), "{name}");
    }
    assert_eq!(InboundPath::Direct(Bypass::NoProxy).to_string(), "no proxy");
}

#[test]
fn a_rule_that_sets_the_requested_name_hides_who_uses_mutual_tls() {
    let preview = StrictPreview::new(shop(&["web"]), &ENABLE).unwrap();
    let named = RuleDetails { server_name: true, ..RuleDetails::default() };
    for (host, details, expected) in [
        ("web", named.clone(), true),
        ("*.shop.svc.cluster.local", named.clone(), true),
        ("other", named, false),
        ("web", RuleDetails::default(), false),
    ] {
        let rules = [DestinationRule { details, ..rule("web", host, None) }];
        let ports = preview.ports(&[], &rules).unwrap();
        assert_eq!(ports[0].prospect != Prospect::Closes, expected, "{host}");
    }
}

#[test]
fn policies_that_change_meanwhile_leave_nothing_observed() {
    let (mut rehearsal, _) = rehearsed(&[]);
    let mut strict = shop(&["web"]);
    strict.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
    let preview = StrictPreview::new(strict, &ENABLE).unwrap();
    rehearsal.set_ports(preview.ports(&[], &[]).unwrap());
    let row = only_row(&rehearsal, &preview);
    assert_eq!(row.not_observed.as_deref(), Some("the policies changed during the rehearsal"));
}

#[test]
fn a_new_beginning_needs_both_calls_again_and_keeps_those_of_the_tool_out() {
    let (mut rehearsal, preview) = rehearsed(&[]);
    rehearsal.mark_unusable("telemetry istio-system/mesh filters the access log".into());
    let row = only_row(&rehearsal, &preview);
    assert_eq!(row.not_observed.as_deref(), Some("telemetry istio-system/mesh filters the access log"));
    rehearsal.restart();
    assert!(rehearsal.is_usable() && !rehearsal.is_any_endpoint_calibrated());
    let reason = only_row(&rehearsal, &preview).not_observed;
    assert_eq!(reason.as_deref(), Some("the call at the end was not sent"));
    // A late line of a call of before.
    rehearsal.record("web-0", &plaintext("10.9.0.2"), 3, &directory());
    assert!(!rehearsal.is_any_endpoint_calibrated());
    for (index, source) in ["10.9.0.3", "10.9.0.4"].into_iter().enumerate() {
        rehearsal.add_calibration(calibration(source, &["web-0"]));
        let row = only_row(&rehearsal, &preview);
        assert!(row.not_observed.is_some() && row.callers.is_empty(), "{index}: {row:?}");
        rehearsal.record("web-0", &plaintext(source), 4, &directory());
    }
    let row = only_row(&rehearsal, &preview);
    assert_eq!((row.not_observed.as_deref(), row.total().calls), (None, 0));
}

/// `web` in ambient mode and `api` with a sidecar, both called by the tool at the start and at the end.
fn mixed(logged: &[&str]) -> (Rehearsal, StrictPreview) {
    let mut snapshot = shop(&["web", "api"]);
    snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::Ambient;
    let preview = StrictPreview::new(snapshot, &ENABLE).unwrap();
    let mut rehearsal = Rehearsal::default();
    rehearsal.set_ports(preview.ports(&[], &[]).unwrap());
    for source in ["10.9.0.1", "10.9.0.2"] {
        rehearsal.add_calibration(calibration(source, &["web-0", "api-0"]));
        for pod in logged {
            rehearsal.record(pod, &plaintext(source), 1, &directory());
        }
    }
    (rehearsal, preview)
}

fn reasons(rehearsal: &Rehearsal, preview: &StrictPreview) -> Vec<(String, Option<String>)> {
    let mut rows: Vec<_> =
        rehearsal.rows(&directory(), preview).into_iter().map(|row| (row.name, row.not_observed)).collect();
    rows.sort();
    rows
}

#[test]
fn ports_of_sidecars_and_ztunnels_are_observed_by_their_own_logs() {
    let (api, web) = ("api:80".to_owned(), "web:80".to_owned());
    let (rehearsal, preview) = mixed(&["web-0", "api-0"]);
    assert!(rehearsal.do_sidecars_log() && rehearsal.is_ambient("web-0") && !rehearsal.is_ambient("api-0"));
    assert_eq!(reasons(&rehearsal, &preview), [(api.clone(), None), (web.clone(), None)]);
    // Without an access log of sidecars.
    let (rehearsal, preview) = mixed(&["web-0"]);
    assert!(!rehearsal.do_sidecars_log() && rehearsal.is_any_endpoint_calibrated());
    let reason = Some("the sidecar of api-0 writes no access log".to_owned());
    assert_eq!(reasons(&rehearsal, &preview), [(api.clone(), reason), (web.clone(), None)]);
    // A Telemetry object that filters the log of the sidecars.
    let (mut rehearsal, preview) = mixed(&["web-0", "api-0"]);
    rehearsal.mark_unusable("filtered".into());
    assert!(rehearsal.is_usable() && !rehearsal.do_sidecars_log());
    assert_eq!(reasons(&rehearsal, &preview), [(api.clone(), Some("filtered".to_owned())), (web.clone(), None)]);
    // A log of a ztunnel that was cut, or shows nothing.
    let (mut rehearsal, preview) = mixed(&["api-0"]);
    let reason = "the log of the ztunnel of web-0 does not show both calls of this tool to port 8080";
    assert_eq!(reasons(&rehearsal, &preview)[1].1.as_deref(), Some(reason));
    rehearsal.mark_incomplete("web-0", "it was cut");
    let reason = "a part of the log of the ztunnel of web-0 may be missing: it was cut";
    assert_eq!(reasons(&rehearsal, &preview), [(api, None), (web, Some(reason.to_owned()))]);
}

#[test]
fn a_plaintext_connection_that_is_still_open_at_a_ztunnel_is_not_nobody() {
    let (mut rehearsal, preview) = mixed(&["web-0", "api-0"]);
    let endpoint = PodPort { pod: "web-0".into(), port: 8080 };
    let caller = directory().resolve(address("10.0.2.1"));
    rehearsal.set_open([(endpoint.clone(), caller.clone()), (endpoint, caller.clone())]);
    let reason =
        "2 plaintext connections are still open, and logged only at the end: legacy-client (outside/Deployment)";
    assert_eq!(reasons(&rehearsal, &preview)[1].1.as_deref(), Some(reason));
    assert_eq!(rehearsal.open("web:80"), [(caller, 2)].into());
    // Where callers are known, the port has its result.
    rehearsal.record("web-0", &plaintext("10.0.2.1"), 2, &directory());
    assert_eq!(reasons(&rehearsal, &preview)[1].1, None);
    rehearsal.set_open([]);
    assert!(rehearsal.open("web:80").is_empty());
}
