//! Computes which NetworkPolicies isolate pods that the probe does not reach, and which pods in ambient mode are cut off from
//! mutual TLS.

use super::mesh::{DataPlane, Pod};
use super::selector::Selector;
use std::collections::{BTreeMap, BTreeSet};

/// The label by which the pods of this tool are selected: key and value.
pub const OUR_PODS: (&str, &str) = ("app.kubernetes.io/managed-by", "secure-traffic");

/// The port at which a ztunnel takes mutual TLS (HBONE) in the network of each pod (AM-9).
pub const HBONE: u16 = 15008;

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
    /// The connections to them that it admits.
    pub admits: Vec<IngressRule>,
}

/// What one rule of a NetworkPolicy admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRule {
    /// From whom, each as it is written; `None` is anybody.
    pub from: Option<BTreeSet<String>>,
    /// The TCP ports, first and last; `None` is any port. A port by name has no number here.
    pub ports: Option<Vec<(u16, u16)>>,
}

impl IngressRule {
    fn admits(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.iter().any(|(first, last)| (*first..=*last).contains(&port)))
    }

    /// Whether it admits everybody that the other rule admits.
    fn admits_callers_of(&self, other: &Self) -> bool {
        match (&self.from, &other.from) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(from), Some(others)) => others.is_subset(from),
        }
    }
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

/// A pod in ambient mode whose callers are admitted to its own ports, and not to that of mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HboneBlocked<'a> {
    pub pod: &'a Pod,
    /// The policies that isolate it and whose callers are concerned.
    pub policies: BTreeSet<&'a str>,
    /// Whether no caller is admitted to the port of mutual TLS.
    pub for_all: bool,
}

/// The pods in ambient mode that NetworkPolicies keep from mutual TLS (AM-9). A pod to which nobody is admitted at all is
/// none of them.
pub fn hbone_blocked<'a>(policies: &'a [NetworkPolicy], pods: impl Iterator<Item = &'a Pod>) -> Vec<HboneBlocked<'a>> {
    let captured = pods.filter(|pod| pod.data_plane == DataPlane::Ambient && !pod.facts.finished);
    let blocked = |pod: &'a Pod| {
        let isolating: Vec<&NetworkPolicy> =
            policies.iter().filter(|policy| policy.ingress && policy.selects(&pod.labels)).collect();
        let rules = || {
            let of = |policy: &'a NetworkPolicy| policy.admits.iter().map(|rule| (policy.name.as_str(), rule));
            isolating.iter().copied().flat_map(of)
        };
        let to_hbone: Vec<&IngressRule> = rules().map(|(_, rule)| rule).filter(|rule| rule.admits(HBONE)).collect();
        let is_blocked = |rule: &IngressRule| !to_hbone.iter().any(|other| other.admits_callers_of(rule));
        let policies: BTreeSet<&str> = rules().filter(|(_, rule)| is_blocked(rule)).map(|(name, _)| name).collect();
        let for_all = to_hbone.is_empty();
        (!policies.is_empty()).then_some(HboneBlocked { pod, policies, for_all })
    };
    captured.filter_map(blocked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::shop;

    fn policy(name: &str, pods: &str, ingress: bool, egress: bool) -> NetworkPolicy {
        NetworkPolicy { name: name.into(), pods: pods.parse().unwrap(), ingress, egress, admits: Vec::new() }
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

    /// A name, policies, and the names that keep the pod from mutual TLS, with whether they do so for all callers.
    type Row = (&'static str, Vec<NetworkPolicy>, Option<(&'static [&'static str], bool)>);

    #[test]
    fn a_pod_is_cut_off_from_mutual_tls_where_its_callers_are_not_admitted_to_its_port() {
        let rule = |from: Option<&[&str]>, ports: Option<&[(u16, u16)]>| IngressRule {
            from: from.map(|from| from.iter().map(|one| (*one).to_owned()).collect()),
            ports: ports.map(<[_]>::to_vec),
        };
        let admitting = |name: &str, pods: &str, admits: Vec<IngressRule>| NetworkPolicy {
            admits,
            ..policy(name, pods, true, false)
        };
        let deny = || policy("deny", "", true, false);
        let web = |admits| admitting("web", "app=web", admits);
        let hbone = || rule(None, Some(&[(15008, 15008)]));
        let http = |from| rule(from, Some(&[(8080, 8080)]));
        let rows: [Row; 11] = [
            ("no policy", vec![], None),
            ("nobody is admitted at all", vec![deny()], None),
            ("the application's port alone", vec![web(vec![http(None)])], Some((&["web"], true))),
            ("the same under a default deny", vec![deny(), web(vec![http(None)])], Some((&["web"], true))),
            ("a policy beside it admits both", vec![web(vec![http(None)]), admitting("mesh", "", vec![hbone()])], None),
            ("any port", vec![web(vec![rule(Some(&["a"]), None)])], None),
            ("a range", vec![web(vec![rule(None, Some(&[(8080, 16000)]))])], None),
            ("other callers", vec![web(vec![http(Some(&["a"])), rule(Some(&["b"]), None)])], Some((&["web"], false))),
            ("more callers", vec![web(vec![http(Some(&["a"])), rule(Some(&["a", "b"]), None)])], None),
            ("another pod", vec![admitting("db", "app=db", vec![http(None)])], None),
            ("egress", vec![NetworkPolicy { ingress: false, egress: true, ..web(vec![http(None)]) }], None),
        ];
        let mut snapshot = shop(&["web"]);
        snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::Ambient;
        for (name, policies, expected) in rows {
            let found = hbone_blocked(&policies, snapshot.pods.values());
            let found: Vec<(Vec<&str>, bool)> =
                found.into_iter().map(|one| (one.policies.into_iter().collect(), one.for_all)).collect();
            let expected: Vec<(Vec<&str>, bool)> =
                expected.into_iter().map(|(names, for_all)| (names.to_vec(), for_all)).collect();
            assert_eq!(found, expected, "{name}");
        }
        snapshot.pods.get_mut("web-0").unwrap().data_plane = DataPlane::Sidecar;
        assert!(hbone_blocked(&[web(vec![http(None)])], snapshot.pods.values()).is_empty(), "a sidecar");
    }
}
