//! Which pod a line of a ztunnel's log is about, and which pods a missing part of it concerns, for a rehearsal: the log of a
//! node's ztunnel has the calls of all its pods, by address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The pods of the namespace that a ztunnel may serve.
#[derive(Debug, Clone, Default)]
pub struct AmbientPods {
    by_address: BTreeMap<IpAddr, String>,
    nodes: BTreeMap<String, String>,
    /// Why a part of the log of a node's ztunnel may be missing.
    missing: BTreeMap<String, String>,
}

impl AmbientPods {
    /// Adds a pod, or what has become known of it. Returns why a part of the log of its ztunnel may be missing.
    pub fn add(&mut self, pod: &str, node: &str, addresses: &[IpAddr]) -> Option<&str> {
        self.nodes.insert(pod.to_owned(), node.to_owned());
        self.by_address.extend(addresses.iter().map(|address| (*address, pod.to_owned())));
        self.missing.get(node).map(String::as_str)
    }

    /// Records that a part of the log of a node's ztunnel may be missing. Returns the pods that this concerns: those of now,
    /// while later ones are told when they are added. The first reason is kept.
    pub fn mark_missing(&mut self, node: &str, reason: &str) -> Vec<String> {
        self.missing.entry(node.to_owned()).or_insert_with(|| reason.to_owned());
        let on_node = self.nodes.iter().filter(|(_, of)| *of == node);
        on_node.map(|(pod, _)| pod.clone()).collect()
    }

    /// The pod that has an address, the latest one.
    pub fn at(&self, address: IpAddr) -> Option<&str> {
        self.by_address.get(&address).map(String::as_str)
    }

    /// The node of a pod.
    pub fn node_of(&self, pod: &str) -> Option<&str> {
        self.nodes.get(pod).map(String::as_str)
    }

    /// The nodes with such pods.
    pub fn nodes(&self) -> BTreeSet<&str> {
        self.nodes.values().map(String::as_str).collect()
    }

    /// The pods of a node that have an address, which may have been called already.
    pub fn reachable_on(&self, node: &str) -> BTreeSet<&str> {
        let pods = self.by_address.values().map(String::as_str);
        pods.filter(|pod| self.node_of(pod) == Some(node)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_missing_part_concerns_the_pods_of_its_node_also_later_ones() {
        let mut pods = AmbientPods::default();
        assert_eq!(pods.add("web-0", "a", &[]), None);
        assert!(pods.reachable_on("a").is_empty() && pods.at(address("10.0.0.1")).is_none());
        assert_eq!(pods.add("web-0", "a", &[address("10.0.0.1"), address("fd00::1")]), None);
        assert_eq!(pods.add("web-1", "b", &[address("10.0.1.1")]), None);
        assert_eq!((pods.at(address("fd00::1")), pods.at(address("10.0.1.1"))), (Some("web-0"), Some("web-1")));
        assert_eq!((pods.nodes().len(), pods.reachable_on("a").len()), (2, 1));
        assert_eq!(pods.mark_missing("a", "it was cut"), ["web-0"]);
        assert_eq!(pods.mark_missing("a", "again"), ["web-0"]);
        assert_eq!(pods.add("web-2", "b", &[]), None);
        assert_eq!(pods.add("web-3", "a", &[address("10.0.0.1")]), Some("it was cut"));
        assert_eq!(pods.at(address("10.0.0.1")), Some("web-3"), "the latest pod with the address");
    }
}
