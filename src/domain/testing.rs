//! Namespaces, objects, cases and samples for the tests of this module and of `curl_pod`. A test sets only the fields
//! that it concerns; the rest has the `Default` of its type.

use super::effective::{AppliedPolicy, Effective, Level};
use super::identity::PeerIdentity;
use super::inbound::InboundPath;
use super::mesh::{
    ClientTls, DataPlane, DestinationRule, Endpoint, EndpointTarget, MeshSettings, MtlsMode, PeerAuthentication, Pod,
    Policies, Service, ServicePort, Snapshot,
};
use super::namespace_context::NamespaceContext;
use super::object::ObjectJson;
use super::plan::{Direction, SwitchRequest};
use super::port_protocol::PortProtocol;
use super::probe::{Case, EndpointCase, Hello};
use super::sample::Sample;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Turns STRICT on, with one rule for every Service.
pub(crate) const ENABLE: SwitchRequest = SwitchRequest::new(Direction::Enable);

/// Goes back to PERMISSIVE.
pub(crate) const DISABLE: SwitchRequest = SwitchRequest::new(Direction::Disable { mode: MtlsMode::Permissive });

/// A namespace `shop` of a mesh with auto mTLS and these Services, each with one meshed pod (`<service>-0`).
pub(crate) fn shop(services: &[&str]) -> Snapshot {
    let root_namespace = "istio-system".to_owned();
    let pods: Vec<Pod> = services.iter().map(|name| pod(name)).collect();
    Snapshot {
        namespace: "shop".into(),
        mesh: MeshSettings { readable: true, ..MeshSettings::default() },
        policies: Policies { root_namespace, root_readable: true, ..Policies::default() },
        services: services.iter().zip(&pods).map(|(name, pod)| service(name, pod)).collect(),
        pods: pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect(),
        ..Snapshot::default()
    }
}

/// A ready pod of `shop` with a sidecar, which the Service of this name selects.
pub(crate) fn pod(service: &str) -> Pod {
    Pod {
        name: format!("{service}-0"),
        namespace: "shop".into(),
        labels: [("app".to_owned(), service.to_owned())].into(),
        service_account: "default".into(),
        data_plane: DataPlane::Sidecar,
        ready: true,
        ..Pod::default()
    }
}

/// A Service of `shop`: port 80, whose target port at this pod is 8080.
pub(crate) fn service(name: &str, pod: &Pod) -> Service {
    Service {
        name: name.into(),
        selector: pod.labels.clone(),
        ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
        endpoints: vec![Endpoint {
            address: "10.0.0.1".into(),
            ready: true,
            terminating: false,
            target: EndpointTarget::Pod(pod.name.clone()),
            ports: BTreeMap::from([(String::new(), 8080)]),
        }],
        ..Service::default()
    }
}

/// JSON that is equal only to JSON of the same text.
pub(crate) fn json(text: &str) -> ObjectJson {
    ObjectJson::new(text.into())
}

/// A policy of `shop` without a selector.
pub(crate) fn policy(name: &str, created: i64, mode: Option<MtlsMode>) -> PeerAuthentication {
    PeerAuthentication { namespace: "shop".into(), name: name.into(), created, mode, ..PeerAuthentication::default() }
}

/// A rule of `shop` that sets `tls` and nothing else.
pub(crate) fn rule(name: &str, host: &str, tls: Option<ClientTls>) -> DestinationRule {
    DestinationRule {
        namespace: "shop".into(),
        name: name.into(),
        created: 1,
        host: host.into(),
        has_traffic_policy: tls.is_some(),
        tls,
        ..DestinationRule::default()
    }
}

/// The context of [`shop`] without objects of other namespaces; its pods have the label that injection sets.
pub(crate) fn namespace_context(services: &[&str]) -> NamespaceContext {
    let mut snapshot = shop(services);
    for pod in snapshot.pods.values_mut() {
        pod.labels.insert("security.istio.io/tlsMode".into(), "istio".into());
    }
    NamespaceContext { snapshot, observed: Some(Vec::new()), ..NamespaceContext::default() }
}

/// The context with these rules, those of `shop` included.
pub(crate) fn with_rules(mut context: NamespaceContext, rules: Vec<DestinationRule>) -> NamespaceContext {
    context.snapshot.rules = rules.iter().filter(|rule| rule.namespace == "shop").cloned().collect();
    context.rules = Arc::new(rules);
    context
}

/// A mode; the policy `demo/default` decides STRICT.
pub(crate) fn effective(mode: Option<MtlsMode>) -> Effective {
    let policy = AppliedPolicy { level: Level::Namespace, namespace: "demo".into(), name: "default".into(), mode };
    Effective { mode, chain: if mode == Some(MtlsMode::Strict) { vec![policy] } else { Vec::new() } }
}

/// An endpoint of the Service `boards` in namespace `demo`, whose sidecar captures the port, in this mode.
pub(crate) fn endpoint_case(mode: Option<MtlsMode>) -> EndpointCase {
    EndpointCase {
        address: "10.0.0.1".into(),
        port: 8080,
        pod: Some("boards-1".into()),
        data_plane: DataPlane::Sidecar,
        path: InboundPath::Sidecar,
        mode: effective(mode),
        envoy_filter: None,
        identity: Some("/ns/demo/sa/boards".into()),
    }
}

/// The target `boards:8080` in namespace `demo` with these endpoints.
pub(crate) fn case(endpoints: Vec<EndpointCase>) -> Case {
    Case {
        service: "boards".into(),
        namespace: "demo".into(),
        port: 8080,
        port_name: "http".into(),
        protocol: PortProtocol::Http,
        path: "/".into(),
        explicit_path: false,
        host: "boards.demo.svc.cluster.local".into(),
        endpoints,
        unready: Vec::new(),
    }
}

/// The target `boards:8080/shareditems` with one endpoint, whose mode is not known.
pub(crate) fn case_with_path() -> Case {
    Case { path: "/shareditems".into(), explicit_path: true, ..case(vec![endpoint_case(None)]) }
}

/// A sample whose connection was established and ended without a byte, with this exit code of curl.
pub(crate) fn no_answer(exit: i32) -> Sample {
    Sample { exit, connected: true, ..Sample::default() }
}

/// A sample whose connection was reset.
pub(crate) fn reset() -> Sample {
    Sample { message: Some("Recv failure: Connection reset by peer".into()), ..no_answer(56) }
}

/// A sample that the application answered.
pub(crate) fn http(status: u16) -> Sample {
    Sample { http_status: Some(status), bytes: 200, connected: true, ..Sample::default() }
}

/// A sample that a sidecar answered.
pub(crate) fn from_sidecar(status: u16) -> Sample {
    Sample { from_sidecar: true, ..http(status) }
}

/// The identity of a service account of namespace `demo`.
pub(crate) fn identity(account: &str) -> PeerIdentity {
    PeerIdentity {
        spiffe: format!("spiffe://cluster.local/ns/demo/sa/{account}"),
        issuer: "O=cluster.local".into(),
        expires: 4_102_444_800,
    }
}

/// The answer of a STRICT sidecar of `boards` to a TLS hello.
pub(crate) fn hello() -> Hello {
    Hello {
        exit: 16,
        certificate_requested: true,
        certificate_shown: true,
        chain: vec![vec![1]],
        identity: Some(Ok(identity("boards"))),
    }
}

/// The answer of a STRICT sidecar that is limited to TLS 1.2: curl sees the certificate's message, and reports no chain.
pub(crate) fn tls_1_2_hello() -> Hello {
    Hello { exit: 35, chain: Vec::new(), identity: None, ..hello() }
}

/// The answer to a TLS hello without a certificate.
pub(crate) fn no_certificate() -> Hello {
    Hello { exit: 35, ..Hello::default() }
}
