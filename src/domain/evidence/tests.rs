//! Tables: both kinds of evidence, and the result of combining them.

use super::*;
use crate::domain::inbound::ExcludedBy;
use crate::domain::proxy::Connections;
use crate::domain::sample::Sample;
use crate::domain::testing::{self, endpoint_case, hello, no_certificate, tls_1_2_hello};

const EXCLUDED: InboundPath = InboundPath::Direct(Bypass::Excluded(ExcludedBy::Installation));

fn shown(identity: Option<Result<&str, &str>>) -> Hello {
    let identity = identity.map(|identity| identity.map_err(str::to_owned).map(testing::identity));
    Hello { identity, ..hello() }
}

/// `network`, `proxy`, `both`, or the reason if there is no proof.
fn weighed(
    case: &EndpointCase,
    hello: Option<Hello>,
    proxy: Option<Result<ProxyReport, String>>,
    refusal: RefusalKind,
    sources: Sources,
) -> String {
    let seen = EndpointObservation { samples: vec![Sample::default(); 3], hello, proxy };
    let params = JudgeParams { attempts: 3, trust_domain: "cluster.local", sources, mesh_client_counts: false };
    match weigh(case, &seen, refusal, params) {
        Ok(Evidence { identity: Some(_), proxy: Some(_), .. }) => "both".to_owned(),
        Ok(Evidence { identity: Some(_), .. }) => "network".to_owned(),
        Ok(Evidence { proxy: Some(_), .. }) => "proxy".to_owned(),
        Ok(evidence) => panic!("a rejection without evidence: {evidence:?}"),
        Err((reason, _)) => reason.to_string(),
    }
}

#[test]
fn one_kind_of_evidence_suffices_and_two_must_agree() {
    use MtlsMode::{Permissive, Strict};
    let valid = || Some(shown(Some(Ok("boards"))));
    let forged = || Some(shown(Some(Err("does not verify"))));
    let unchecked = || Some(shown(None));
    let enforces = || Some(Ok(ProxyReport::Enforces { chains: 1 }));
    let open = || Some(Ok(ProxyReport::LetsPlaintextIn));
    let nothing = || Some(Ok(ProxyReport::NothingLoaded));
    let silent = || Some(Err("no answer within 5 s".to_owned()));
    let rows = [
        ("STRICT, both agree", Some(Strict), valid(), enforces(), "both"),
        ("STRICT, the proxy may not be asked", Some(Strict), valid(), None, "network"),
        ("STRICT, the proxy is silent", Some(Strict), valid(), silent(), "network"),
        ("STRICT, nothing loaded for the port", Some(Strict), valid(), nothing(), "network"),
        ("STRICT, the hello's record is lost", Some(Strict), None, enforces(), "proxy"),
        ("STRICT, the mesh root cannot be read", Some(Strict), unchecked(), enforces(), "proxy"),
        ("the mode cannot be read", None, valid(), enforces(), "proxy"),
        ("STRICT by the API, open at the proxy", Some(Strict), valid(), open(), "evidence-disagrees"),
        (
            "STRICT, no certificate, but the proxy enforces",
            Some(Strict),
            Some(no_certificate()),
            enforces(),
            "evidence-disagrees",
        ),
        (
            "STRICT, another's certificate, but the proxy enforces",
            Some(Strict),
            forged(),
            enforces(),
            "evidence-disagrees",
        ),
        ("STRICT under TLS 1.2, the proxy enforces", Some(Strict), Some(tls_1_2_hello()), enforces(), "proxy"),
        ("STRICT under TLS 1.2, no proxy", Some(Strict), Some(tls_1_2_hello()), None, "reset-without-evidence"),
        (
            "STRICT under TLS 1.2, open at the proxy",
            Some(Strict),
            Some(tls_1_2_hello()),
            open(),
            "reset-without-evidence",
        ),
        (
            "PERMISSIVE under TLS 1.2, the proxy enforces",
            Some(Permissive),
            Some(tls_1_2_hello()),
            enforces(),
            "evidence-disagrees",
        ),
        (
            "a certificate that is shown without asking for the client's",
            Some(Strict),
            Some(Hello { certificate_requested: false, ..tls_1_2_hello() }),
            enforces(),
            "evidence-disagrees",
        ),
        ("PERMISSIVE by the API, but the proxy enforces", Some(Permissive), valid(), enforces(), "evidence-disagrees"),
        (
            "PERMISSIVE, no hello asked, but the proxy enforces",
            Some(Permissive),
            None,
            enforces(),
            "evidence-disagrees",
        ),
        (
            "the mode cannot be read, a forged certificate, the proxy enforces",
            None,
            forged(),
            enforces(),
            "evidence-disagrees",
        ),
        ("PERMISSIVE, the mesh's own certificate, open", Some(Permissive), valid(), open(), "evidence-disagrees"),
        ("PERMISSIVE, a dead application", Some(Permissive), None, open(), "reset-without-evidence"),
        ("the mode cannot be read, nor the proxy asked", None, valid(), None, "mode-unknown"),
        ("the mode cannot be read, and the proxy is open", None, valid(), open(), "mode-unknown"),
        ("the mesh root cannot be read, nor the proxy asked", Some(Strict), unchecked(), None, "mesh-root-unknown"),
        ("no record of the hello, and a silent proxy", Some(Strict), None, silent(), "lost-output"),
    ];
    for (row, mode, hello, proxy, expected) in rows {
        assert_eq!(weighed(&endpoint_case(mode), hello, proxy, RefusalKind::Reset, Sources::Auto), expected, "{row}");
    }
}

#[test]
fn a_close_without_a_reset_needs_proxy_evidence() {
    let valid = || Some(shown(Some(Ok("boards"))));
    let strict = endpoint_case(Some(MtlsMode::Strict));
    let rows = [
        ("the certificate alone", valid(), None, "closed-not-reset"),
        ("the proxy enforces", valid(), Some(Ok(ProxyReport::Enforces { chains: 2 })), "both"),
        ("the proxy is open", valid(), Some(Ok(ProxyReport::LetsPlaintextIn)), "evidence-disagrees"),
        ("no certificate, no proxy", Some(no_certificate()), None, "closed-not-reset"),
    ];
    for (row, hello, proxy, expected) in rows {
        assert_eq!(weighed(&strict, hello, proxy, RefusalKind::Closed, Sources::Auto), expected, "{row}");
    }
}

#[test]
fn without_a_proxy_in_the_path_there_is_no_evidence() {
    let enforces = || Some(Ok(ProxyReport::Enforces { chains: 1 }));
    for (path, expected) in [
        (InboundPath::Direct(Bypass::NoProxy), "target-not-meshed"),
        (InboundPath::Direct(Bypass::NoWorkload), "target-not-meshed"),
        (EXCLUDED, "reset-without-evidence"),
        (InboundPath::Direct(Bypass::AddressFamily), "reset-without-evidence"),
        (InboundPath::Pending, "reset-without-evidence"),
        (InboundPath::Gateway, "reset-without-evidence"),
        (InboundPath::ProxyPort, "reset-without-evidence"),
    ] {
        let case = EndpointCase { path, ..endpoint_case(Some(MtlsMode::Strict)) };
        let hello = Some(shown(Some(Ok("boards"))));
        assert_eq!(weighed(&case, hello, enforces(), RefusalKind::Reset, Sources::Auto), expected, "{path:?}");
    }
}

#[test]
fn a_ztunnel_needs_its_connection_log_as_evidence() {
    let ambient = EndpointCase { data_plane: DataPlane::Ambient, ..endpoint_case(Some(MtlsMode::Strict)) };
    let connections = |denied, application_down| {
        Some(Ok(ProxyReport::Connections(Connections { denied, application_down, ..Connections::default() })))
    };
    let rows = [
        (connections(3, 0), "proxy"),
        (connections(2, 0), "reset-without-evidence"),
        (connections(0, 3), "reset-without-evidence"),
        (connections(3, 1), "reset-without-evidence"),
        (Some(Ok(ProxyReport::Counted { denied: [2, 3] })), "proxy"),
        (Some(Err("its log cannot be read".to_owned())), "reset-without-evidence"),
        (None, "reset-without-evidence"),
    ];
    for (proxy, expected) in rows {
        let result = weighed(&ambient, Some(no_certificate()), proxy.clone(), RefusalKind::Reset, Sources::Auto);
        assert_eq!(result, expected, "{proxy:?}");
    }
}

#[test]
fn only_proxy_evidence_counts_with_evidence_proxy() {
    let strict = endpoint_case(Some(MtlsMode::Strict));
    let valid = || Some(shown(Some(Ok("boards"))));
    let rows = [
        (Some(Ok(ProxyReport::Enforces { chains: 1 })), "proxy"),
        (Some(Err("no answer".to_owned())), "proxy-silent"),
        (None, "proxy-silent"),
    ];
    for (proxy, expected) in rows {
        assert_eq!(weighed(&strict, valid(), proxy, RefusalKind::Reset, Sources::Proxy), expected);
    }
}

#[test]
fn behind_an_envoy_filter_only_the_proxy_is_evidence() {
    use MtlsMode::{Permissive, Strict};
    let enforces = || Some(Ok(ProxyReport::Enforces { chains: 1 }));
    let open = || Some(Ok(ProxyReport::LetsPlaintextIn));
    let forbidden = || Some(Err("you may not port-forward to it".to_owned()));
    let nothing = || Some(Ok(ProxyReport::NothingLoaded));
    let valid = || Some(shown(Some(Ok("boards"))));
    let auto = Sources::Auto;
    let rows = [
        ("STRICT, both", Some(Strict), valid(), enforces(), auto, "proxy"),
        ("STRICT, another certificate", Some(Strict), Some(no_certificate()), enforces(), auto, "proxy"),
        ("PERMISSIVE, made to refuse", Some(Permissive), valid(), enforces(), auto, "proxy"),
        ("the mode cannot be read", None, None, enforces(), auto, "proxy"),
        ("STRICT, only the certificate", Some(Strict), valid(), None, auto, "envoy-filter"),
        ("STRICT, not allowed to ask", Some(Strict), valid(), forbidden(), auto, "envoy-filter"),
        ("STRICT, nothing loaded", Some(Strict), valid(), nothing(), auto, "envoy-filter"),
        ("STRICT, the proxy left out", Some(Strict), valid(), None, Sources::Network, "envoy-filter"),
        ("STRICT, only the proxy", Some(Strict), valid(), enforces(), Sources::Proxy, "proxy"),
        ("STRICT, the proxy is open", Some(Strict), valid(), open(), auto, "reset-without-evidence"),
    ];
    for (row, mode, hello, proxy, sources, expected) in rows {
        let case = EndpointCase { envoy_filter: Some("shop/tune".into()), ..endpoint_case(mode) };
        let seen = EndpointObservation { samples: vec![Sample::default(); 3], hello, proxy };
        for (refusal, mesh_client_counts) in [(RefusalKind::Reset, true), (RefusalKind::Closed, false)] {
            let params = JudgeParams { attempts: 3, trust_domain: "cluster.local", sources, mesh_client_counts };
            let text = match weigh(&case, &seen, refusal, params) {
                Ok(evidence) => {
                    assert!(evidence.proxy.is_some() && evidence.identity.is_none(), "{row}");
                    assert_eq!(evidence.policy.is_some(), mode == Some(Strict), "{row}: the policy that asks for it");
                    "proxy".to_owned()
                }
                Err((reason, message)) => {
                    assert!(message.contains("EnvoyFilter shop/tune"), "{row}: {message}");
                    reason.to_string()
                }
            };
            assert_eq!(text, expected, "{row} {refusal:?}");
        }
    }
}

#[test]
fn a_client_in_the_mesh_counts_only_if_no_evidence_is_available() {
    let weighed = |mode, hello, proxy, refusal, mesh_client_counts| {
        let seen = EndpointObservation { samples: vec![Sample::default(); 3], hello, proxy };
        let params =
            JudgeParams { attempts: 3, trust_domain: "cluster.local", sources: Sources::Auto, mesh_client_counts };
        weigh(&endpoint_case(mode), &seen, refusal, params).is_ok()
    };
    let valid = || Some(shown(Some(Ok("boards"))));
    assert!(weighed(None, valid(), None, RefusalKind::Reset, true), "the mode cannot be read");
    assert!(weighed(Some(MtlsMode::Strict), Some(shown(None)), None, RefusalKind::Reset, true), "nor the mesh root");
    assert!(!weighed(None, valid(), None, RefusalKind::Reset, false), "no client got through");
    assert!(!weighed(None, valid(), None, RefusalKind::Closed, true), "a sidecar never just closes");
    assert!(
        !weighed(None, Some(shown(Some(Err("does not verify")))), None, RefusalKind::Reset, true),
        "a forged certificate"
    );
    assert!(!weighed(Some(MtlsMode::Permissive), None, None, RefusalKind::Reset, true), "PERMISSIVE lets plaintext in");
    assert!(
        !weighed(None, valid(), Some(Ok(ProxyReport::LetsPlaintextIn)), RefusalKind::Reset, true),
        "the proxy is open"
    );
}

#[test]
fn a_reset_under_permissive_may_be_a_change_that_is_not_in_force_yet() {
    let case = endpoint_case(Some(MtlsMode::Permissive));
    for hello in [None, Some(no_certificate()), Some(shown(Some(Ok("boards"))))] {
        let seen = EndpointObservation { samples: vec![Sample::default(); 3], hello, proxy: None };
        let sources = Sources::Auto;
        let params = JudgeParams { attempts: 3, trust_domain: "cluster.local", sources, mesh_client_counts: false };
        let (_, message) = weigh(&case, &seen, RefusalKind::Reset, params).unwrap_err();
        assert!(message.contains("a change may not be in force yet"), "{message}");
    }
}
