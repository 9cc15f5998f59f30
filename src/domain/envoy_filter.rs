//! Whether an `EnvoyFilter` changes what a proxy of the namespace accepts, or adds a client that no rule applies to (EF-1,
//! EF-2).

use super::mesh::{Pod, Service};
use super::selector::has_labels;
use std::collections::{BTreeMap, BTreeSet};

/// An `EnvoyFilter`, as far as mutual TLS is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvoyFilter {
    pub namespace: String,
    pub name: String,
    /// The labels of the pods that it applies to; empty for all pods of the namespace, or of the mesh in the root namespace.
    pub selector: BTreeMap<String, String>,
    /// Whether it patches listeners or filter chains of inbound traffic (EF-1).
    pub changes_inbound: bool,
    /// Addresses of the clusters without TLS that it adds (EF-2).
    pub plaintext_hosts: BTreeSet<String>,
}

impl EnvoyFilter {
    /// Whether the proxy of this pod follows it. `root` is the mesh's root namespace.
    pub fn applies_to(&self, pod: &Pod, root: &str) -> bool {
        (self.namespace == pod.namespace || self.namespace == root) && has_labels(&pod.labels, &self.selector)
    }

    /// The names of the Services that its clusters lead to, by name or by address.
    pub fn services<'s>(&self, namespace: &str, domain: &str, services: &'s [Service]) -> BTreeSet<&'s str> {
        let is_named = |service: &Service, host: &str| {
            let short = format!("{}.{namespace}", service.name);
            host == short
                || host == format!("{short}.svc")
                || host.trim_end_matches('.') == service.host(namespace, domain)
                || service.cluster_ips.iter().any(|address| address == host)
                || service.endpoints.iter().any(|endpoint| endpoint.address == host)
        };
        let found = services.iter().filter(|one| self.plaintext_hosts.iter().any(|host| is_named(one, host)));
        found.map(|service| service.name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::shop;

    #[test]
    fn a_filter_applies_to_pods_of_its_namespace_or_of_the_mesh() {
        let snapshot = shop(&["web"]);
        let pod = &snapshot.pods["web-0"];
        for (namespace, labels, expected) in [
            ("shop", &[][..], true),
            ("shop", &[("app", "web")], true),
            ("shop", &[("app", "api")], false),
            ("istio-system", &[], true),
            ("other", &[], false),
        ] {
            let selector = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let filter = EnvoyFilter { namespace: namespace.into(), selector, ..EnvoyFilter::default() };
            assert_eq!(filter.applies_to(pod, "istio-system"), expected, "{namespace} {labels:?}");
        }
    }

    #[test]
    fn clusters_lead_to_services_by_name_or_address() {
        let snapshot = shop(&["web"]);
        for (host, is_found) in [
            ("web.shop.svc.cluster.local", true),
            ("web.shop.svc.cluster.local.", true),
            ("web.shop.svc", true),
            ("web.shop", true),
            ("10.0.0.1", true),
            ("web.other.svc.cluster.local", false),
            ("web", false),
            ("10.0.0.2", false),
        ] {
            let filter = EnvoyFilter { plaintext_hosts: BTreeSet::from([host.to_owned()]), ..EnvoyFilter::default() };
            let found = filter.services("shop", "cluster.local", &snapshot.services);
            assert_eq!(found.contains("web"), is_found, "{host}");
        }
    }
}
