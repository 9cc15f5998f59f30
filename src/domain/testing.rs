//! Namespaces and objects for the tests of this module, and requests about them. A test sets only the fields that it is
//! about; the rest has the `Default` of its type.

use super::mesh::{
    ClientTls, DataPlane, DestinationRule, Endpoint, MeshSettings, MtlsMode, PeerAuthentication, Pod, Policies,
    Service, ServicePort, Snapshot,
};
use super::object::ObjectJson;
use super::plan::{Direction, SwitchRequest};
use std::collections::BTreeMap;

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
            pod: Some(pod.name.clone()),
            ports: BTreeMap::from([(String::new(), 8080)]),
        }],
        ..Service::default()
    }
}

/// JSON that is equal only to the one of the same text.
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
