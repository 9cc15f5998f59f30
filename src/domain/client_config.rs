//! Computes whether clients have loaded a change of `DestinationRules`, from the Envoy clusters that their sidecars
//! report, for the wait between two phases of a switch.

use super::client_tls::rules::Sorting;
use super::client_tls::{Call, Client, ClientKind, InForce, VisibleRules};
use super::mesh::{ClientTls, DataPlane, Pod, ServiceKind, Snapshot};
use super::plan::{Plan, after};
use std::collections::{BTreeMap, BTreeSet};

/// The transport that an Envoy cluster uses for its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterTransport {
    /// Plaintext to every endpoint.
    Plain,
    /// The mesh's mutual TLS to every endpoint.
    Mutual,
    /// TLS that is not the mesh's mutual TLS.
    Tls,
    /// Auto mTLS: the metadata of each endpoint decides (DR-21).
    ByEndpoint,
}

impl ClusterTransport {
    /// Whether a client whose rule has this setting (DR-12) has such a cluster.
    const fn is_for(self, setting: Option<ClientTls>) -> bool {
        match setting {
            Some(ClientTls::IstioMutual) => matches!(self, Self::Mutual),
            Some(ClientTls::Disable) => matches!(self, Self::Plain),
            Some(ClientTls::Simple | ClientTls::Mutual) => matches!(self, Self::Tls),
            None => matches!(self, Self::Plain | Self::ByEndpoint),
        }
    }
}

/// The clusters of one sidecar, by name (`outbound|8080|v1|boards.shop.svc.cluster.local`).
pub type Clusters = BTreeMap<String, ClusterTransport>;

/// What one client's sidecar must have loaded before a change of the rules takes effect there: the setting of each
/// cluster, by the cluster's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedClusters {
    settings: BTreeMap<String, Option<ClientTls>>,
}

impl ExpectedClusters {
    /// What `pod` must load so that the rules of `after` take effect there: each cluster whose setting they change.
    fn of(before: &Snapshot, after: &Snapshot, pod: &Pod) -> Self {
        let (mut settings, before) = (settings(after, pod), settings(before, pod));
        settings.retain(|cluster, setting| before.get(cluster).is_none_or(|before| before != setting));
        Self { settings }
    }

    /// Whether no cluster changes, so that there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty()
    }

    /// Whether every expected cluster is loaded. A sidecar does not call a cluster that it does not have (a Sidecar
    /// resource may exclude it), so a missing cluster counts as loaded.
    pub fn is_loaded(&self, clusters: &Clusters) -> bool {
        self.settings
            .iter()
            .all(|(name, setting)| clusters.get(name).is_none_or(|transport| transport.is_for(*setting)))
    }
}

/// The setting of each cluster of the namespace's Services, as a client in `pod` gets it.
fn settings(snapshot: &Snapshot, pod: &Pod) -> BTreeMap<String, Option<ClientTls>> {
    let mesh = &snapshot.mesh;
    let visible = VisibleRules::new(
        &snapshot.rules,
        Sorting {
            root: &mesh.root_namespace,
            cluster_domain: &mesh.cluster_domain,
            default_export: &mesh.rule_export,
            revision: pod.revision.as_deref(),
        },
    );
    let client = Client { namespace: &pod.namespace, labels: &pod.labels, kind: ClientKind::Sidecar, hbone: true };
    let mut settings = BTreeMap::new();
    for service in snapshot.services.iter().filter(|service| service.kind != ServiceKind::ExternalName) {
        let host = service.host(&snapshot.namespace, &mesh.cluster_domain);
        let rule = visible.in_force(client, &host, &snapshot.namespace);
        let subsets = rule.iter().flat_map(InForce::rules).flat_map(|rule| &rule.subsets);
        let subsets: BTreeSet<&str> = subsets.map(|subset| subset.name.as_str()).collect();
        for port in service.tcp_ports() {
            for subset in std::iter::once(None).chain(subsets.iter().copied().map(Some)) {
                let call = Call {
                    namespace: &snapshot.namespace,
                    port: port.port,
                    subset,
                    headless: service.kind == ServiceKind::Headless,
                    external: false,
                    all_have_tls_label: false,
                };
                let setting = rule.as_ref().and_then(|rule| rule.cluster_tls(call, ClientKind::Sidecar));
                settings.insert(format!("outbound|{}|{}|{host}", port.port, subset.unwrap_or_default()), setting);
            }
        }
    }
    settings
}

/// The pods whose sidecars to ask, and what each must load: at most `limit` pods, spread evenly over all.
pub fn clients(snapshot: &Snapshot, plan: &Plan, limit: usize) -> Vec<(String, ExpectedClusters)> {
    let is_client = |pod: &&Pod| pod.data_plane == DataPlane::Sidecar && pod.ready && !pod.facts.finished;
    let pods: Vec<&Pod> = snapshot.pods.values().filter(is_client).collect();
    let step = pods.len().div_ceil(limit.max(1)).max(1);
    let after = after(snapshot, plan);
    let asked =
        pods.into_iter().step_by(step).map(|pod| (pod.name.clone(), ExpectedClusters::of(snapshot, &after, pod)));
    asked.filter(|(_, expected)| !expected.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::{RuleChoice, SwitchRequest, plan};
    use crate::domain::testing::{DISABLE, ENABLE, rule, shop};

    const WEB: &str = "outbound|80||web.shop.svc.cluster.local";

    fn clusters(transport: ClusterTransport) -> Clusters {
        [(WEB.to_owned(), transport)].into()
    }

    fn with_rule(tls: ClientTls) -> Snapshot {
        let mut snapshot = shop(&["api", "web"]);
        snapshot.rules.push(rule("web", "web", Some(tls)));
        snapshot
    }

    #[test]
    fn a_rule_is_loaded_once_the_cluster_has_its_transport() {
        let only_repairs = SwitchRequest { destination_rules: RuleChoice::Auto, force: true, ..ENABLE };
        for (tls, request, loaded, not_yet) in [
            (ClientTls::Disable, &only_repairs, ClusterTransport::Mutual, ClusterTransport::Plain),
            (ClientTls::Simple, &only_repairs, ClusterTransport::Mutual, ClusterTransport::Tls),
            (ClientTls::IstioMutual, &DISABLE, ClusterTransport::ByEndpoint, ClusterTransport::Mutual),
        ] {
            let snapshot = with_rule(tls);
            let asked = clients(&snapshot, &plan(&snapshot, request), 8);
            let names: Vec<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["api-0", "web-0"], "{tls:?}");
            assert!(asked[0].1.is_loaded(&clusters(loaded)), "{tls:?}");
            assert!(!asked[0].1.is_loaded(&clusters(not_yet)), "{tls:?}");
        }
    }

    #[test]
    fn without_changed_clusters_no_sidecar_is_asked() {
        let snapshot = with_rule(ClientTls::IstioMutual);
        assert_eq!(
            clients(&snapshot, &plan(&snapshot, &SwitchRequest { services: Some(vec!["web".into()]), ..ENABLE }), 8),
            []
        );
    }

    #[test]
    fn a_missing_cluster_counts_as_loaded() {
        let snapshot = with_rule(ClientTls::Disable);
        let asked = clients(&snapshot, &plan(&snapshot, &ENABLE), 8);
        assert!(asked[0].1.is_loaded(&Clusters::new()));
    }

    #[test]
    fn a_subset_has_its_own_cluster() {
        let mut snapshot = shop(&["web"]);
        let mut with_subset = rule("web", "web", Some(ClientTls::IstioMutual));
        with_subset.subsets = vec![crate::domain::mesh::SubsetTls {
            name: "v1".into(),
            labels: BTreeMap::new(),
            tls: Some(ClientTls::Disable),
            ports: Vec::new(),
        }];
        snapshot.rules.push(with_subset);
        let asked = clients(&snapshot, &plan(&snapshot, &ENABLE), 8);
        let subset = |transport| [("outbound|80|v1|web.shop.svc.cluster.local".to_owned(), transport)].into();
        assert!(
            asked[0].1.is_loaded(&subset(ClusterTransport::Mutual))
                && !asked[0].1.is_loaded(&subset(ClusterTransport::Plain))
        );
    }

    #[test]
    fn ready_sidecars_are_asked_up_to_the_limit() {
        let mut snapshot = shop(&["a", "b", "c", "d", "e"]);
        snapshot.rules.push(rule("a", "a", Some(ClientTls::Disable)));
        snapshot.pods.get_mut("a-0").unwrap().data_plane = DataPlane::None;
        snapshot.pods.get_mut("b-0").unwrap().ready = false;
        let plan = plan(&snapshot, &ENABLE);
        assert_eq!(clients(&snapshot, &plan, 8).len(), 3);
        assert_eq!(clients(&snapshot, &plan, 2).len(), 2);
    }
}
