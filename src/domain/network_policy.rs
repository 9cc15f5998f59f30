//! Computes which NetworkPolicies isolate pods that the probe does not reach, and what a NetworkPolicy has to admit.

use super::probe::Case;
use super::reachability::{Destination, DestinationKind};
use super::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// The label by which the pods of this tool are selected: key and value.
pub const OUR_PODS: (&str, &str) = ("app.kubernetes.io/managed-by", "secure-traffic");

/// A NetworkPolicy of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    pub name: String,
    /// The pods that it isolates.
    pub pods: Selector,
    /// Whether it isolates them for connections to them.
    pub ingress: bool,
    /// Whether it isolates them for connections that they open.
    pub egress: bool,
}

impl NetworkPolicy {
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.pods.matches(|key| labels.get(key).map(String::as_str))
    }
}

/// The policies that may keep the probe from its destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Names of policies that isolate every pod that is isolated and not reached, as few as possible.
    pub ingress: BTreeSet<String>,
    /// Name of a policy that isolates the probe's own pod.
    pub egress: Option<String>,
}

/// Which of the policies isolate the pods with these labels, or the probe with its labels.
pub fn isolation<'p>(
    policies: &[NetworkPolicy],
    pods: impl IntoIterator<Item = &'p BTreeMap<String, String>>,
    probe: &BTreeMap<String, String>,
) -> Isolation {
    // A policy that selects all pods comes first: one rule beside it admits the probe everywhere.
    let mut by_width: Vec<&NetworkPolicy> = policies.iter().collect();
    by_width.sort_by_key(|policy| (policy.pods != Selector::default(), policy.name.clone()));
    let ingress = pods.into_iter().filter_map(|labels| by_width.iter().find(|one| one.ingress && one.selects(labels)));
    let egress = by_width.iter().find(|policy| policy.egress && policy.selects(probe));
    Isolation {
        ingress: ingress.map(|policy| policy.name.clone()).collect(),
        egress: egress.map(|policy| policy.name.clone()),
    }
}

/// The target ports that the proof of these cases requests, and the port of HBONE where a mesh client uses it.
pub fn target_ports(cases: &[Case]) -> BTreeSet<u16> {
    const HBONE: u16 = 15008;
    let endpoints = cases.iter().flat_map(|case| &case.endpoints);
    endpoints
        .flat_map(|endpoint| {
            let is_ambient = endpoint.data_plane == super::mesh::DataPlane::Ambient;
            [Some(endpoint.port), is_ambient.then_some(HBONE)]
        })
        .flatten()
        .collect()
}

/// Addresses of endpoints that no selector of pods matches.
pub fn addresses_without_pod(destinations: &[Destination]) -> BTreeSet<String> {
    let is_no_pod = |destination: &&Destination| destination.kind == DestinationKind::Endpoint(None);
    destinations.iter().filter(is_no_pod).map(|destination| destination.host.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::DataPlane;
    use crate::domain::probe::EndpointCase;
    use crate::domain::testing::{case, endpoint_case};

    fn policy(name: &str, pods: &str, ingress: bool, egress: bool) -> NetworkPolicy {
        NetworkPolicy { name: name.into(), pods: pods.parse().unwrap(), ingress, egress }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_policies_that_isolate_what_is_not_reached_are_named() {
        let (web, db) = (labels(&[("app", "web")]), labels(&[("app", "db")]));
        let probe = labels(&[OUR_PODS]);
        let deny = || policy("deny", "", true, true);
        let of_db = || policy("a-db", "app=db", true, false);
        for (policies, ingress, egress) in [
            (vec![], &[][..], None),
            (vec![deny()], &["deny"], Some("deny")),
            (vec![of_db()], &["a-db"], None),
            // The one that selects all pods is enough.
            (vec![of_db(), deny()], &["deny"], Some("deny")),
            (vec![of_db(), policy("web", "app=web", true, false)], &["a-db", "web"], None),
            (vec![policy("out", "app.kubernetes.io/managed-by=secure-traffic", false, true)], &[], Some("out")),
            (vec![policy("other", "app=other", true, true)], &[], None),
        ] {
            let found = isolation(&policies, [&web, &db], &probe);
            let names: Vec<&str> = found.ingress.iter().map(String::as_str).collect();
            assert_eq!((names.as_slice(), found.egress.as_deref()), (ingress, egress), "{policies:?}");
        }
    }

    #[test]
    fn target_ports_are_those_of_the_pods() {
        let ambient = EndpointCase { data_plane: DataPlane::Ambient, port: 9000, ..endpoint_case(None) };
        let ports = target_ports(&[case(vec![endpoint_case(None)]), case(vec![ambient])]);
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), [8080, 9000, 15008]);
    }
}
