use super::*;
use crate::domain::mesh::Policies;
use crate::domain::testing::{pod, rule};
use CallOutcome::{ApplicationTls, Breaks, Works};
use WireProtocol::{Hbone, Mtls, Raw, Tls, TlsInHbone, UserMtls};
use rules::Sorting;

const HOST: &str = "web.shop.svc.cluster.local";

/// How a client calls an ambient pod.
#[derive(Debug, Clone, Copy)]
enum Situation {
    /// By a Service with a cluster address.
    Service,
    /// DR-28.
    Headless,
    /// DR-28.
    Passthrough,
    /// DR-29: the pod has the label of a sidecar.
    Labelled,
    /// DR-30: the client's sidecar sends no HBONE.
    WithoutHbone,
}

/// What a client sends to an ambient pod, under a rule with this setting.
fn sent(kind: ClientKind, situation: Situation, tls: Option<ClientTls>) -> WireProtocol {
    let mut server = Pod { data_plane: DataPlane::Ambient, ..pod("web") };
    if let Situation::Labelled = situation {
        server.labels.insert("security.istio.io/tlsMode".into(), "istio".into());
    }
    let mut found = rule("web", HOST, tls);
    if let Situation::Passthrough = situation {
        (found.has_traffic_policy, found.details.passthrough) = (true, true);
    }
    let rules = [found];
    let sorting =
        Sorting { root: "istio-system", cluster_domain: "cluster.local", default_export: &[], revision: None };
    let visible = VisibleRules::new(&rules, sorting);
    let labels = BTreeMap::new();
    let client =
        Client { namespace: "shop", labels: &labels, kind, hbone: !matches!(situation, Situation::WithoutHbone) };
    let call = Call {
        namespace: "shop",
        port: 80,
        subset: None,
        headless: matches!(situation, Situation::Headless),
        external: false,
        all_have_tls_label: server.has_tls_label(),
    };
    let policies = Policies { root_namespace: "istio-system".into(), root_readable: true, ..Policies::default() };
    let index = PolicyIndex::new(&policies);
    let mesh = Mesh { auto_mtls: true, policies: &index };
    sends(mesh, client, visible.in_force(client, HOST, "shop").as_ref(), call, (&server, 8080))
}

/// What sidecars really sent in each case was seen at a ztunnel, by its log.
#[test]
fn sidecars_send_hbone_to_ambient_pods_but_for_three_cases() {
    use ClientTls::{Disable, IstioMutual, Mutual, Simple};
    let settings = [None, Some(IstioMutual), Some(Disable), Some(Simple), Some(Mutual)];
    for (situation, expected) in [
        (Situation::Service, [Hbone, Hbone, Hbone, TlsInHbone, TlsInHbone]),
        (Situation::Headless, [Raw, Mtls, Raw, Tls, UserMtls]),
        (Situation::Passthrough, [Raw, Mtls, Raw, Tls, UserMtls]),
        (Situation::Labelled, [Mtls, Mtls, Raw, Tls, UserMtls]),
        (Situation::WithoutHbone, [Raw, Mtls, Raw, Tls, UserMtls]),
    ] {
        assert_eq!(settings.map(|tls| sent(ClientKind::Sidecar, situation, tls)), expected, "{situation:?}");
    }
    // A gateway chooses an endpoint of a headless Service itself, and a ztunnel reads neither rules nor the label.
    assert_eq!(sent(ClientKind::Gateway, Situation::Headless, Some(IstioMutual)), Hbone);
    for situation in [Situation::Service, Situation::Headless, Situation::Labelled] {
        assert_eq!(sent(ClientKind::Ambient, situation, Some(Disable)), Hbone, "{situation:?}");
    }
}

#[test]
fn an_ambient_pod_takes_hbone_and_unless_it_is_strict_what_the_application_takes() {
    use MtlsMode::{Permissive, Strict};
    for (sends, permissive, strict) in [
        (Hbone, Works, Works),
        (TlsInHbone, ApplicationTls, ApplicationTls),
        (Raw, Works, Breaks),
        (Mtls, Breaks, Breaks),
        (Tls, ApplicationTls, Breaks),
        (UserMtls, ApplicationTls, Breaks),
    ] {
        let found = [Permissive, Strict].map(|mode| ambient_outcome(sends, Server::Mode(mode)));
        assert_eq!(found, [permissive, strict], "{sends}");
    }
}
