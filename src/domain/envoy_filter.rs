//! Whether an `EnvoyFilter` changes what a proxy of the namespace accepts, or adds a client that no rule applies to (EF-1,
//! EF-2).

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
    /// Whether the proxy of a pod with these labels, in this namespace, follows it. `root` is the mesh's root namespace.
    pub fn applies_to(&self, namespace: &str, labels: &BTreeMap<String, String>, root: &str) -> bool {
        (self.namespace == namespace || self.namespace == root) && has_labels(labels, &self.selector)
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
            assert_eq!(
                filter.applies_to(&pod.namespace, &pod.labels, "istio-system"),
                expected,
                "{namespace} {labels:?}"
            );
        }
    }
}
