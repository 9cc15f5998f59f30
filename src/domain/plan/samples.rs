//! Namespaces for the tables of this module's tests.

use super::*;
use crate::domain::mesh::{
    DestinationRule, Endpoint, MeshSettings, PeerAuthentication, PodFacts, Policies, Protocol, RuleDetails, Service,
    ServiceKind, ServicePort,
};
use std::collections::BTreeMap;

/// A namespace `shop` of a mesh with auto mTLS and these Services, each with one meshed pod.
pub(crate) fn shop(services: &[&str]) -> Snapshot {
    let mut snapshot = Snapshot {
        namespace: "shop".into(),
        mesh: MeshSettings {
            version: None,
            istio_namespace: "istio-system".into(),
            readable: true,
            root_namespace: "istio-system".into(),
            trust_domain: "cluster.local".into(),
            auto_mtls: true,
            cluster_domain: "cluster.local".into(),
            rule_export: Vec::new(),
        },
        services: Vec::new(),
        pods: BTreeMap::new(),
        policies: Policies { root_namespace: "istio-system".into(), root_readable: true, ..Policies::default() },
        rules: Vec::new(),
        mesh_root_pem: None,
    };
    for name in services {
        let pod = Pod {
            name: format!("{name}-0"),
            namespace: "shop".into(),
            labels: [("app".to_owned(), (*name).to_owned())].into(),
            service_account: "default".into(),
            data_plane: DataPlane::Sidecar,
            revision: None,
            ready: true,
            capture: Capture::All,
            facts: PodFacts::default(),
        };
        snapshot.services.push(Service {
            name: (*name).into(),
            kind: ServiceKind::ClusterIp,
            labels: BTreeMap::new(),
            selector: pod.labels.clone(),
            ports: vec![ServicePort { name: String::new(), port: 80, protocol: Protocol::Tcp, app_protocol: None }],
            endpoints: vec![Endpoint {
                address: "10.0.0.1".into(),
                ready: true,
                pod: Some(pod.name.clone()),
                ports: [(String::new(), 8080)].into(),
            }],
        });
        snapshot.pods.insert(pod.name.clone(), pod);
    }
    snapshot
}

/// A policy of the namespace.
pub(crate) fn policy(name: &str, created: i64, mode: Option<MtlsMode>) -> PeerAuthentication {
    PeerAuthentication {
        namespace: "shop".into(),
        name: name.into(),
        created,
        revision: None,
        selector: BTreeMap::new(),
        empty_selector: false,
        mode,
        ports: BTreeMap::new(),
    }
}

/// A rule of the namespace that says `tls` and nothing else.
pub(crate) fn rule(name: &str, host: &str, tls: Option<ClientTls>) -> DestinationRule {
    DestinationRule {
        namespace: "shop".into(),
        name: name.into(),
        created: 1,
        revision: None,
        host: host.into(),
        export_to: Vec::new(),
        client_selector: BTreeMap::new(),
        has_traffic_policy: tls.is_some(),
        has_other_traffic_settings: false,
        tls,
        ports: Vec::new(),
        subsets: Vec::new(),
        details: RuleDetails::default(),
        foreign_manager: None,
    }
}

pub(crate) const ENABLE: SwitchRequest = SwitchRequest::new(Direction::Enable);
pub(crate) const DISABLE: SwitchRequest = SwitchRequest::new(Direction::Disable { mode: MtlsMode::Permissive });
