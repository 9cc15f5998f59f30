//! Tables of observations with their verdicts, and properties of all verdicts.

use super::*;
use crate::domain::evidence::Sources;
use crate::domain::identity::PeerIdentity;
use crate::domain::inbound::{Bypass, ExcludedBy, InboundPath};
use crate::domain::mesh::{DataPlane, MtlsMode};
use crate::domain::probe::Hello;
use crate::domain::proxy::{Connections, ProxyReport, Weight};
use crate::domain::testing::{self, case, effective, endpoint_case, from_sidecar, hello, http, no_certificate, reset};
use proptest::prelude::*;

const TRUST_DOMAIN: &str = "cluster.local";
const ATTEMPTS: usize = 3;
const EXCLUDED: InboundPath = InboundPath::Direct(Bypass::Excluded(ExcludedBy::Installation));
const PARAMS: JudgeParams<'static> =
    JudgeParams { attempts: ATTEMPTS, trust_domain: TRUST_DOMAIN, sources: Sources::Auto, mesh_client_counts: false };

fn identity() -> PeerIdentity {
    testing::identity("boards")
}

/// An endpoint as STRICT needs it: meshed, captured, with a known identity.
fn endpoint() -> EndpointCase {
    endpoint_case(Some(MtlsMode::Strict))
}

fn endpoint_in(wanted: MtlsMode) -> EndpointCase {
    EndpointCase { mode: effective(Some(wanted)), ..endpoint() }
}

/// A sample without any byte of an answer.
fn silent(exit: i32, connected: bool) -> Sample {
    Sample { exit, connected, ..Sample::default() }
}

/// A certificate with a SPIFFE name that the mesh did not issue, and a request for a client certificate.
fn forged_hello() -> Hello {
    Hello { identity: Some(Err("does not verify against the mesh root (UnknownIssuer)".to_owned())), ..hello() }
}

fn seen(sample: &Sample, hello: Hello) -> EndpointObservation {
    EndpointObservation { samples: vec![sample.clone(); ATTEMPTS], hello: Some(hello), proxy: None }
}

/// The same at the Service's address and at its one endpoint.
fn everywhere(sample: &Sample, hello: Hello) -> Observation {
    Observation {
        service: vec![sample.clone(); ATTEMPTS],
        endpoints: vec![seen(sample, hello)],
        ..Observation::default()
    }
}

/// `rejected`, `accepted: …` or `inconclusive: …`, for tables.
fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted(accepted_by) => format!("accepted: {accepted_by}"),
        Verdict::Rejected(_) => "rejected".to_owned(),
        Verdict::Inconclusive(reason, _) => format!("inconclusive: {reason}"),
    }
}

fn judged(case: &Case, seen: &Observation) -> Verdict {
    judge(case, seen, PARAMS).verdict
}

const SIDECAR_403: &str = "accepted: HTTP 403: plaintext got in, denied by authorization";
const SIDECAR_503: &str = "accepted: HTTP 503: the sidecar let it in, the application is down";
const OWN_TLS_400: &str = "accepted: HTTP 400: the application speaks TLS itself";
const NOT_HTTP: &str = "accepted: bytes came back, not HTTP";

/// Situations that were measured on a real mesh, with their verdicts.
#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn measured_situations_have_their_verdict() {
    use MtlsMode::{Disable, Permissive, Strict};
    let strict = endpoint_in(Strict);
    let permissive = endpoint_in(Permissive);
    let disabled = endpoint_in(Disable);
    let unmeshed =
        EndpointCase { data_plane: DataPlane::None, path: InboundPath::Direct(Bypass::NoProxy), ..endpoint() };
    let excluded = EndpointCase { path: EXCLUDED, ..endpoint() };
    let ambient = EndpointCase { data_plane: DataPlane::Ambient, ..endpoint() };
    let rows: Vec<(&str, &EndpointCase, Sample, Hello, &str)> = vec![
        ("STRICT, however it came about", &strict, reset(), hello(), "rejected"),
        ("STRICT, large or HTTP/2 sends", &strict, silent(55, true), hello(), "rejected"),
        ("PERMISSIVE", &permissive, http(200), no_certificate(), "accepted: HTTP 200"),
        ("DISABLE", &disabled, http(200), no_certificate(), "accepted: HTTP 200"),
        ("no sidecar", &unmeshed, http(200), no_certificate(), "accepted: HTTP 200"),
        ("port excluded from capture under STRICT", &excluded, http(200), no_certificate(), "accepted: HTTP 200"),
        (
            "authorization DENY under PERMISSIVE, HTTP port",
            &permissive,
            from_sidecar(403),
            no_certificate(),
            SIDECAR_403,
        ),
        (
            "authorization DENY under PERMISSIVE, TCP port",
            &permissive,
            silent(52, true),
            no_certificate(),
            "inconclusive: closed-not-reset",
        ),
        ("dead application under PERMISSIVE, HTTP port", &permissive, from_sidecar(503), no_certificate(), SIDECAR_503),
        (
            "dead application under PERMISSIVE, TCP port",
            &permissive,
            reset(),
            no_certificate(),
            "inconclusive: reset-without-evidence",
        ),
        (
            "application resets, PERMISSIVE TCP port",
            &permissive,
            reset(),
            no_certificate(),
            "inconclusive: reset-without-evidence",
        ),
        ("application resets, no sidecar", &unmeshed, reset(), no_certificate(), "inconclusive: target-not-meshed"),
        (
            "application closes, no sidecar",
            &unmeshed,
            silent(52, true),
            no_certificate(),
            "inconclusive: closed-not-reset",
        ),
        ("nothing listens, no sidecar", &unmeshed, silent(7, false), no_certificate(), "inconclusive: refused"),
        ("TCP echo or banner under PERMISSIVE", &permissive, silent(1, true), no_certificate(), NOT_HTTP),
        ("application answers 400, and no TLS hello", &permissive, http(400), no_certificate(), "accepted: HTTP 400"),
        ("application answers 400, and the mesh a hello", &permissive, http(400), hello(), "accepted: HTTP 400"),
        ("application speaks TLS itself and answers 400", &permissive, http(400), forged_hello(), OWN_TLS_400),
        (
            "application speaks TLS itself and hangs up",
            &permissive,
            silent(52, true),
            no_certificate(),
            "inconclusive: closed-not-reset",
        ),
        (
            "application asks for client certificates, not SPIFFE",
            &permissive,
            silent(52, true),
            Hello { identity: Some(Err("carries no single SPIFFE name".to_owned())), ..hello() },
            "inconclusive: closed-not-reset",
        ),
        (
            "application serves its own SPIFFE-named mTLS behind a PERMISSIVE sidecar",
            &permissive,
            silent(52, true),
            forged_hello(),
            "inconclusive: closed-not-reset",
        ),
        ("the same, resetting", &permissive, reset(), forged_hello(), "inconclusive: reset-without-evidence"),
        ("the same without a sidecar", &unmeshed, reset(), forged_hello(), "inconclusive: target-not-meshed"),
        ("the same on an excluded port", &excluded, reset(), forged_hello(), "inconclusive: reset-without-evidence"),
        ("the same where the objects say STRICT", &strict, reset(), forged_hello(), "inconclusive: application-tls"),
        (
            "application serves with the very certificate of its pod, PERMISSIVE",
            &permissive,
            reset(),
            hello(),
            "inconclusive: evidence-disagrees",
        ),
        ("the same, closing as measured", &permissive, silent(52, true), hello(), "inconclusive: closed-not-reset"),
        (
            "the same on an excluded port, namespace STRICT",
            &excluded,
            reset(),
            hello(),
            "inconclusive: reset-without-evidence",
        ),
        (
            "captured by ztunnel, STRICT or dead alike",
            &ambient,
            reset(),
            hello(),
            "inconclusive: reset-without-evidence",
        ),
        ("no endpoints or refused", &strict, silent(7, false), no_certificate(), "inconclusive: refused"),
        ("address that leads nowhere", &strict, silent(28, false), no_certificate(), "inconclusive: connect-timeout"),
        ("unknown name", &strict, silent(6, false), no_certificate(), "inconclusive: dns"),
    ];
    for (situation, endpoint, sample, hello, expected) in rows {
        let verdict = judged(&case(vec![endpoint.clone()]), &everywhere(&sample, hello));
        assert_eq!(text(&verdict), expected, "{situation}");
    }
}

/// The verdict for each result of a plaintext request at a STRICT, meshed port.
#[test]
fn exit_codes_are_judged_together_with_the_answer() {
    let strict = case(vec![endpoint()]);
    let rows: Vec<(&str, Sample, Hello, &str)> = vec![
        ("56, connected, with evidence", reset(), hello(), "rejected"),
        ("56, connected, without", reset(), no_certificate(), "inconclusive: reset-without-evidence"),
        ("52, connected", silent(52, true), hello(), "inconclusive: closed-not-reset"),
        ("0, the application's 2xx", http(204), no_certificate(), "accepted: HTTP 204"),
        ("0, the application's 401", http(401), no_certificate(), "accepted: HTTP 401"),
        ("0, the application's 404", http(404), no_certificate(), "accepted: HTTP 404"),
        ("0, the application's own 403", http(403), no_certificate(), "accepted: HTTP 403"),
        ("0, 403 of the sidecar", from_sidecar(403), no_certificate(), SIDECAR_403),
        ("22, 403 of the sidecar", Sample { exit: 22, ..from_sidecar(403) }, no_certificate(), SIDECAR_403),
        ("0, 503 of the sidecar", from_sidecar(503), no_certificate(), SIDECAR_503),
        ("22, 503 of the sidecar", Sample { exit: 22, ..from_sidecar(503) }, no_certificate(), SIDECAR_503),
        ("0, the application's own 503", http(503), no_certificate(), "accepted: HTTP 503"),
        ("0, 400", http(400), no_certificate(), "accepted: HTTP 400"),
        ("1, bytes of no HTTP", Sample { bytes: 7, ..silent(1, true) }, no_certificate(), NOT_HTTP),
        ("1, HTTP/0.9, nothing counted", silent(1, true), no_certificate(), NOT_HTTP),
        ("8, weird reply", silent(8, true), no_certificate(), NOT_HTTP),
        ("56, reset after some bytes", Sample { bytes: 12, ..reset() }, hello(), NOT_HTTP),
        ("28, slow answer after some bytes", Sample { bytes: 1, ..silent(28, true) }, hello(), NOT_HTTP),
        ("56, reset after a status line", Sample { exit: 56, ..http(200) }, hello(), "accepted: HTTP 200"),
        ("56, never connected", silent(56, false), hello(), "inconclusive: unexpected"),
        ("52, never connected", silent(52, false), hello(), "inconclusive: unexpected"),
        ("7", silent(7, false), no_certificate(), "inconclusive: refused"),
        ("28, never connected", silent(28, false), no_certificate(), "inconclusive: connect-timeout"),
        ("28, connected", silent(28, true), hello(), "inconclusive: read-timeout"),
        ("6", silent(6, false), no_certificate(), "inconclusive: dns"),
        ("35, TLS by mistake", silent(35, true), hello(), "inconclusive: unexpected"),
        ("126, curl cannot be run", silent(126, false), hello(), "inconclusive: unexpected"),
        ("127, no curl", silent(127, false), hello(), "inconclusive: unexpected"),
        ("137, killed", silent(137, true), hello(), "inconclusive: unexpected"),
        ("139, crashed", silent(139, true), hello(), "inconclusive: unexpected"),
    ];
    for (row, sample, hello, expected) in rows {
        assert_eq!(text(&judged(&strict, &everywhere(&sample, hello))), expected, "{row}");
    }
    let nothing = Observation { endpoints: vec![EndpointObservation::default()], ..Observation::default() };
    assert_eq!(text(&judged(&strict, &nothing)), "inconclusive: lost-output", "no record at all");
}

/// The evidence, with one piece changed at a time.
#[test]
fn each_piece_of_evidence_is_needed() {
    let sound = endpoint();
    let other = PeerIdentity { spiffe: "spiffe://cluster.local/ns/demo/sa/other".to_owned(), ..identity() };
    let domain = PeerIdentity { spiffe: "spiffe://other.domain/ns/demo/sa/boards".to_owned(), ..identity() };
    let rows: Vec<(&str, EndpointCase, Option<Hello>, &str)> = vec![
        ("nothing missing", sound.clone(), Some(hello()), "rejected"),
        (
            "the mode is unknown",
            EndpointCase { mode: effective(None), ..endpoint() },
            Some(hello()),
            "inconclusive: mode-unknown",
        ),
        (
            "half enrolled in ambient",
            EndpointCase { data_plane: DataPlane::Pending, ..endpoint() },
            Some(hello()),
            "inconclusive: reset-without-evidence",
        ),
        ("no record of the hello", sound.clone(), None, "inconclusive: lost-output"),
        (
            "no certificate was shown",
            sound.clone(),
            Some(Hello { chain: Vec::new(), identity: None, certificate_shown: false, ..hello() }),
            "inconclusive: reset-without-evidence",
        ),
        (
            "the mesh root cannot be read",
            sound.clone(),
            Some(Hello { identity: None, ..hello() }),
            "inconclusive: mesh-root-unknown",
        ),
        (
            "another workload's identity",
            sound.clone(),
            Some(Hello { identity: Some(Ok(other)), ..hello() }),
            "inconclusive: application-tls",
        ),
        (
            "another trust domain",
            sound.clone(),
            Some(Hello { identity: Some(Ok(domain)), ..hello() }),
            "inconclusive: application-tls",
        ),
        (
            "the endpoint's own identity is not known",
            EndpointCase { identity: None, ..endpoint() },
            Some(hello()),
            "inconclusive: application-tls",
        ),
        (
            "no client certificate was asked for",
            sound,
            Some(Hello { certificate_requested: false, ..hello() }),
            "inconclusive: evidence-disagrees",
        ),
    ];
    for (row, endpoint, hello, expected) in rows {
        let endpoints = vec![EndpointObservation { samples: vec![reset(); ATTEMPTS], hello, proxy: None }];
        let seen = Observation { service: vec![reset(); ATTEMPTS], endpoints, ..Observation::default() };
        assert_eq!(text(&judged(&case(vec![endpoint]), &seen)), expected, "{row}");
    }
}

#[test]
fn every_endpoint_and_the_services_address_count() {
    let two = case(vec![endpoint(), EndpointCase { address: "10.0.0.2".to_owned(), ..endpoint() }]);
    let good = || seen(&reset(), hello());
    let observed = |service: Vec<Sample>, endpoints: Vec<EndpointObservation>| {
        text(&judged(&two, &Observation { service, endpoints, ..Observation::default() }))
    };
    let resets = || vec![reset(); ATTEMPTS];
    assert_eq!(observed(resets(), vec![good(), good()]), "rejected");
    assert_eq!(
        observed(resets(), vec![good(), seen(&http(200), no_certificate())]),
        "accepted: HTTP 200",
        "one of two open"
    );
    assert_eq!(
        observed(vec![reset(), http(200), reset()], vec![good(), good()]),
        "accepted: HTTP 200",
        "the Service leads to something that is none of the endpoints"
    );
    assert_eq!(observed(resets(), vec![good()]), "inconclusive: lost-output", "the second endpoint was never asked");
    assert_eq!(observed(Vec::new(), vec![good(), good()]), "inconclusive: lost-output", "no record of the Service");
    assert_eq!(
        observed(vec![reset()], vec![good(), good()]),
        "inconclusive: lost-output",
        "one record of three of the Service"
    );
    assert_eq!(
        observed(vec![silent(6, false); ATTEMPTS], vec![good(), good()]),
        "inconclusive: dns",
        "the endpoints refuse, the name does not resolve"
    );
    let mixed = EndpointObservation { samples: vec![reset(), silent(28, true), reset()], ..good() };
    assert_eq!(observed(resets(), vec![good(), mixed]), "inconclusive: not-steady");
    let closing = EndpointObservation { samples: vec![reset(), silent(52, true), reset()], ..good() };
    assert_eq!(observed(resets(), vec![good(), closing]), "inconclusive: closed-not-reset");
    assert_eq!(text(&judged(&case(Vec::new()), &Observation::default())), "inconclusive: no-endpoints");
}

#[test]
fn a_rejection_has_the_evidence_of_every_endpoint() {
    let two = case(vec![endpoint(), EndpointCase { address: "10.0.0.2".to_owned(), ..endpoint() }]);
    let seen = Observation {
        service: vec![reset(); ATTEMPTS],
        endpoints: vec![seen(&reset(), hello()), seen(&reset(), hello())],
        ..Observation::default()
    };
    let Verdict::Rejected(evidence) = judged(&two, &seen) else { panic!("not rejected") };
    let endpoints: Vec<&str> = evidence.iter().map(|evidence| evidence.endpoint.as_str()).collect();
    assert_eq!(endpoints, ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert!(
        evidence
            .iter()
            .all(|evidence| evidence.policy.as_deref() == Some("demo/default") && evidence.refused == ATTEMPTS),
        "{evidence:?}"
    );
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let exit = prop_oneof![4 => Just(56), 1 => Just(55), 1 => Just(52), 2 => prop::sample::select(vec![
        0, 1, 6, 7, 8, 16, 18, 22, 23, 28, 35, 43, 56, 60, 92, 126, 127, 137, 139, -1,
    ])];
    let status = prop_oneof![6 => Just(None), 1 => (100u16..600).prop_map(Some)];
    let bytes = prop_oneof![6 => Just(0u64), 1 => 1u64..5000];
    (exit, status, bytes, any::<bool>(), any::<bool>()).prop_map(
        |(exit, http_status, bytes, connected, from_sidecar)| Sample {
            exit,
            message: None,
            http_status,
            bytes,
            body_bytes: bytes,
            connected,
            from_sidecar,
            connect_seconds: 0.0,
            seconds: 0.001,
        },
    )
}

/// Mostly resets, so that some verdicts are rejections.
fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    prop_oneof![
        3 => Just(vec![reset(); ATTEMPTS]),
        1 => prop::collection::vec(any_sample(), 0..6),
    ]
}

fn any_hello() -> impl Strategy<Value = Option<Hello>> {
    let name = prop_oneof![4 => Just("boards"), 1 => Just("other")];
    let verified = prop_oneof![
        4 => name.prop_map(|name| Some(Ok(PeerIdentity {
            spiffe: format!("spiffe://cluster.local/ns/demo/sa/{name}"), ..identity()
        }))),
        1 => Just(Some(Err("cannot be read".to_owned()))),
        1 => Just(None),
    ];
    let requested = prop::bool::weighted(0.8);
    let hello = (verified, requested, any::<bool>(), any::<bool>()).prop_map(
        |(identity, certificate_requested, empty, certificate_shown)| {
            let chain = if empty && identity.is_none() { Vec::new() } else { vec![vec![1]] };
            Hello { exit: 16, certificate_requested, certificate_shown, chain, identity }
        },
    );
    prop::option::weighted(0.9, hello)
}

fn any_endpoint() -> impl Strategy<Value = (EndpointCase, EndpointObservation)> {
    use MtlsMode::{Disable, Permissive, Strict};
    let plane = prop_oneof![
        6 => Just(DataPlane::Sidecar), 1 => Just(DataPlane::None), 1 => Just(DataPlane::Ambient), 1 => Just(DataPlane::Pending)
    ];
    let path = prop_oneof![
        9 => Just(InboundPath::Sidecar), 1 => Just(EXCLUDED), 1 => Just(InboundPath::ProxyPort), 1 => Just(InboundPath::Gateway)
    ];
    let wanted =
        prop_oneof![6 => Just(Some(Strict)), 1 => Just(Some(Permissive)), 1 => Just(Some(Disable)), 1 => Just(None)];
    let identity = prop::option::weighted(0.9, Just("/ns/demo/sa/boards".to_owned()));
    (plane, path, wanted, identity, any_samples(), any_hello(), any_proxy()).prop_map(
        |(data_plane, path, wanted, identity, samples, hello, proxy)| {
            let path = if data_plane == DataPlane::None { InboundPath::Direct(Bypass::NoProxy) } else { path };
            let case = EndpointCase { data_plane, path, mode: effective(wanted), identity, ..endpoint() };
            (case, EndpointObservation { samples, hello, proxy })
        },
    )
}

fn any_proxy() -> impl Strategy<Value = Option<Result<ProxyReport, String>>> {
    let connections = (0usize..6, 0usize..2, 0usize..2).prop_map(|(denied, application_down, served)| Connections {
        denied,
        application_down,
        served,
        ..Connections::default()
    });
    let report = prop_oneof![
        4 => Just(ProxyReport::Enforces { chains: 1 }),
        1 => Just(ProxyReport::LetsPlaintextIn),
        1 => Just(ProxyReport::TlsWithoutClientCertificate),
        1 => Just(ProxyReport::NothingLoaded),
        1 => connections.prop_map(ProxyReport::Connections),
    ];
    prop_oneof![2 => Just(None), 1 => Just(Some(Err("timed out".to_owned()))), 3 => report.prop_map(|report| Some(Ok(report)))]
}

fn any_case() -> impl Strategy<Value = (Case, Observation)> {
    (prop::collection::vec(any_endpoint(), 0..4), any_samples()).prop_map(|(endpoints, service)| {
        let (cases, endpoints) = endpoints.into_iter().unzip();
        (case(cases), Observation { service, endpoints, ..Observation::default() })
    })
}

#[test]
fn counters_of_a_ztunnel_are_read_only_where_they_can_decide() {
    let ambient =
        |mode| EndpointCase { data_plane: DataPlane::Ambient, path: InboundPath::Ztunnel, ..endpoint_in(mode) };
    let denied = |denied| Some(Ok(ProxyReport::Connections(Connections { denied, ..Connections::default() })));
    let served = Some(Ok(ProxyReport::Connections(Connections { served: 1, ..Connections::default() })));
    let strict = || ambient(MtlsMode::Strict);
    let no_log = || Some(Err("its log cannot be read".to_owned()));
    for (name, endpoint, proxy, sources, expected) in [
        ("the log tells", strict(), denied(3), Sources::Auto, &[][..]),
        ("the log has fewer lines", strict(), denied(2), Sources::Auto, &[0]),
        ("no log", strict(), no_log(), Sources::Auto, &[0]),
        ("no log, and only proxies count", strict(), no_log(), Sources::Proxy, &[0]),
        ("no log, and no proxy counts", strict(), no_log(), Sources::Network, &[]),
        ("the log contradicts", strict(), served, Sources::Auto, &[]),
        ("PERMISSIVE", ambient(MtlsMode::Permissive), no_log(), Sources::Auto, &[]),
        ("a sidecar", endpoint(), no_log(), Sources::Auto, &[]),
    ] {
        let seen = EndpointObservation { samples: vec![reset(); ATTEMPTS], proxy, ..EndpointObservation::default() };
        let observation =
            Observation { service: vec![reset(); ATTEMPTS], endpoints: vec![seen], ..Observation::default() };
        let params = JudgeParams { sources, ..PARAMS };
        assert_eq!(undecided_at_ztunnel(&case(vec![endpoint]), &observation, params), expected, "{name}");
    }
}

/// Without the right to ask ztunnel, the client in the mesh was not asked where one connection was closed.
#[test]
fn a_ztunnel_that_closes_is_no_dead_application_if_a_client_in_the_mesh_gets_through() {
    let ambient = EndpointCase { data_plane: DataPlane::Ambient, path: InboundPath::Ztunnel, ..endpoint() };
    for (name, endpoint, service, expected) in [
        ("ztunnel resets", &ambient, reset(), true),
        ("ztunnel closes", &ambient, silent(52, true), true),
        ("a sidecar closes", &endpoint(), silent(52, true), false),
    ] {
        let seen = EndpointObservation { samples: vec![service.clone(); ATTEMPTS], ..EndpointObservation::default() };
        let observation =
            Observation { service: vec![service; ATTEMPTS], endpoints: vec![seen], ..Observation::default() };
        assert_eq!(needs_mesh_client(&case(vec![endpoint.clone()]), &observation, PARAMS), expected, "{name}");
    }
}

/// Whether a rejection of this endpoint is proven, computed a second time without `evidence`.
fn is_proven(case: &EndpointCase, seen: &EndpointObservation) -> bool {
    let refused = |exits: &[i32]| {
        seen.samples.iter().all(|sample| {
            exits.contains(&sample.exit) && sample.connected && sample.bytes == 0 && sample.http_status.is_none()
        })
    };
    let expected = case.identity.as_ref().map(|path| format!("spiffe://{TRUST_DOMAIN}{path}"));
    let shown = seen.hello.as_ref().and_then(|hello| hello.identity.clone());
    let certificate = expected.is_some()
        && seen.hello.as_ref().is_some_and(|hello| hello.certificate_requested)
        && shown.clone().and_then(Result::ok).map(|identity| identity.spiffe) == expected;
    let ztunnel = matches!(case.data_plane, DataPlane::Ambient | DataPlane::Pending);
    let strict = case.mode.mode == Some(MtlsMode::Strict);
    // A hello whose record is lost, or whose certificate was sent and cannot be checked, is neutral; any other without
    // the mesh's certificate contradicts a rejection.
    let is_unreported = |hello: &Hello| hello.certificate_shown && hello.certificate_requested;
    let is_neutral = seen
        .hello
        .as_ref()
        .is_none_or(|hello| hello.identity.is_none() && (!hello.chain.is_empty() || is_unreported(hello)));
    let (network, contradicts) = match case.mode.mode {
        Some(MtlsMode::Strict) | None if ztunnel => (false, false),
        Some(MtlsMode::Strict) => (certificate, !certificate && !is_neutral),
        Some(_) => (false, true),
        None => (false, !certificate && !is_neutral),
    };
    let report = seen.proxy.as_ref().and_then(|report| report.as_ref().ok());
    let weight = report.map_or(Weight::Silent, |report| report.weight(seen.samples.len()));
    let by_network = network && strict && refused(&[55, 56]) && weight != Weight::Contradicts;
    let by_proxy = weight == Weight::Supports && !contradicts && refused(&[52, 55, 56]);
    seen.samples.len() >= ATTEMPTS && case.path == InboundPath::Sidecar && (by_network || by_proxy)
}

fn any_path_past_the_policies() -> impl Strategy<Value = InboundPath> {
    let direct = [
        Bypass::NoProxy,
        Bypass::HostNetwork,
        Bypass::NoWorkload,
        Bypass::Excluded(ExcludedBy::Annotation),
        Bypass::Excluded(ExcludedBy::Installation),
        Bypass::AddressFamily,
    ];
    let others = [InboundPath::Gateway, InboundPath::ProxyPort, InboundPath::OwnTls];
    prop::sample::select(direct.map(InboundPath::Direct).into_iter().chain(others).collect::<Vec<_>>())
}

fn is_answer(sample: &Sample) -> bool {
    sample.http_status.is_some() || sample.bytes > 0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_rejected_without_evidence_at_every_endpoint((case, seen) in any_case()) {
        if let Verdict::Rejected(evidence) = judged(&case, &seen) {
            prop_assert!(!case.endpoints.is_empty());
            prop_assert_eq!(evidence.len(), case.endpoints.len());
            for (endpoint, seen) in case.endpoints.iter().zip(&seen.endpoints) {
                prop_assert!(is_proven(endpoint, seen), "{endpoint:?} {seen:?}");
            }
            prop_assert!(seen.service.len() >= ATTEMPTS);
        }
    }

    #[test]
    fn no_observation_of_a_port_that_is_not_captured_is_a_rejection(
        (case, seen) in any_case(), path in any_path_past_the_policies(), at in 0usize..8, mesh_client_counts in any::<bool>(),
        sources in prop_oneof![Just(Sources::Auto), Just(Sources::Network), Just(Sources::Proxy)],
    ) {
        // The best evidence that there can be, everywhere but for the path of one endpoint.
        let (mut case, mut seen) = (case, seen);
        seen.service = vec![reset(); ATTEMPTS];
        for (endpoint, seen) in case.endpoints.iter().zip(&mut seen.endpoints) {
            let identity = endpoint.identity.as_ref().map(|_| Ok(identity()));
            seen.samples = vec![reset(); ATTEMPTS];
            seen.hello = Some(Hello { exit: 16, certificate_requested: true, certificate_shown: true, chain: vec![vec![1]], identity });
            seen.proxy = seen.proxy.take().map(|_| Ok(ProxyReport::Enforces { chains: 1 }));
        }
        if case.endpoints.is_empty() {
            return Ok(());
        }
        let count = case.endpoints.len();
        case.endpoints[at % count].path = path;
        let params = JudgeParams { sources, mesh_client_counts, ..PARAMS };
        prop_assert_ne!(judge(&case, &seen, params).verdict.as_str(), "rejected");
    }

    #[test]
    fn evidence_at_every_endpoint_is_enough((case, mut seen) in any_case()) {
        seen.service = vec![reset(); ATTEMPTS];
        let proven = case.endpoints.iter().zip(&seen.endpoints).all(|(case, seen)| is_proven(case, seen));
        // Codes 55 and 56 together are two kinds of one reset.
        if proven && !case.endpoints.is_empty() {
            prop_assert_eq!(judged(&case, &seen).as_str(), "rejected");
        }
    }

    #[test]
    fn an_answer_anywhere_is_never_a_rejection((case, seen) in any_case()) {
        let all = seen.endpoints.iter().flat_map(|endpoint| &endpoint.samples).chain(&seen.service);
        if all.clone().any(is_answer) {
            prop_assert_eq!(judged(&case, &seen).as_str(), "accepted");
        }
    }

    #[test]
    fn one_accepted_endpoint_makes_the_target_accepted((case, seen) in any_case()) {
        let judgement = judge(&case, &seen, PARAMS);
        if judgement.endpoints.iter().any(|verdict| verdict.as_str() == "accepted") {
            prop_assert_eq!(judgement.verdict.as_str(), "accepted");
        }
        if judgement.verdict.as_str() == "rejected" {
            prop_assert!(judgement.endpoints.iter().all(|verdict| verdict.as_str() == "rejected"));
        }
    }

    #[test]
    fn the_order_of_samples_and_endpoints_changes_no_verdict((case, seen) in any_case(), turn in 0usize..4) {
        let mut other_case = case.clone();
        let mut other = seen.clone();
        if !other.endpoints.is_empty() {
            let by = turn % other.endpoints.len();
            other.endpoints.rotate_left(by);
            other_case.endpoints.rotate_left(by);
        }
        for samples in other.endpoints.iter_mut().map(|endpoint| &mut endpoint.samples).chain([&mut other.service]) {
            samples.reverse();
        }
        prop_assert_eq!(judged(&case, &seen).as_str(), judged(&other_case, &other).as_str());
    }

    #[test]
    fn fewer_records_than_asked_reject_nothing((case, mut seen) in any_case(), at in 0usize..8) {
        let places = seen.endpoints.len() + 1;
        match seen.endpoints.get_mut(at % places) {
            Some(endpoint) => endpoint.samples.truncate(ATTEMPTS - 1),
            None => seen.service.truncate(ATTEMPTS - 1),
        }
        prop_assert_ne!(judged(&case, &seen).as_str(), "rejected");
    }

    #[test]
    fn a_hello_alone_rejects_nothing((case, mut seen) in any_case()) {
        for endpoint in &mut seen.endpoints {
            endpoint.samples.clear();
        }
        prop_assert_ne!(judged(&case, &seen).as_str(), "rejected");
    }
}

#[test]
fn a_400_that_asks_for_tls_in_its_body_comes_from_an_application_that_speaks_tls() {
    for (body, expected) in [
        ("Client sent an HTTP request to an HTTPS server.\n", OWN_TLS_400),
        ("<center>The plain HTTP request was sent to HTTPS port</center>", OWN_TLS_400),
        ("{\"error\": \"missing parameter\"}", "accepted: HTTP 400"),
    ] {
        let seen = Observation { body: Some(body.to_owned()), ..everywhere(&http(400), no_certificate()) };
        assert_eq!(text(&judged(&case(vec![endpoint()]), &seen)), expected, "{body}");
    }
}

#[test]
fn an_ipv6_endpoint_is_named_with_brackets() {
    let endpoint = EndpointCase { address: "fd00::1".to_owned(), ..endpoint_in(MtlsMode::Strict) };
    let verdict = judged(&case(vec![endpoint]), &everywhere(&reset(), hello()));
    assert_eq!(verdict.evidence().map(|evidence| evidence[0].endpoint.as_str()), Some("[fd00::1]:8080"));
}
