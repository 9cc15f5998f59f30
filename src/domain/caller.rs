//! Names of callers, for a rehearsal: resolves the addresses in a sidecar's access log to workloads and nodes, from the
//! pods and nodes of the cluster.

use super::address::Block;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

/// Who a call came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// Pods of a workload.
    Workload(CallerWorkload),
    /// A node: its kubelet, or a pod in the node's own network.
    Node(String),
    /// An address of which nothing else is known, usually outside the cluster.
    Address(IpAddr),
}

/// The workload of a calling pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallerWorkload {
    pub namespace: String,
    /// `Deployment`, `Job`, …; `Pod` for a pod without a controller.
    pub kind: String,
    pub name: String,
    /// Whether its proxy is a gateway.
    pub gateway: bool,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(CallerWorkload { namespace, kind, name, gateway }) => {
                write!(f, "{name} ({namespace}/{kind}{})", if *gateway { ", gateway" } else { "" })
            }
            Self::Node(name) => write!(f, "node {name}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// A pod with a network of its own, as far as it matters for its calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallingPod {
    pub workload: CallerWorkload,
    pub addresses: Vec<IpAddr>,
    /// The node that it runs on.
    pub node: Option<String>,
}

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNode {
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The blocks from which its pods get their addresses.
    pub pod_blocks: Vec<Block>,
}

/// Who has which address. A pod that was deleted keeps its addresses until another pod gets them.
#[derive(Debug, Clone, Default)]
pub struct CallerDirectory {
    pods: BTreeMap<IpAddr, CallingPod>,
    nodes: Vec<KnownNode>,
    /// The nodes of the pods in a network of 256 addresses, by its first address: most bridges have such a network.
    networks: BTreeMap<IpAddr, BTreeSet<String>>,
}

impl CallerDirectory {
    /// Sets the nodes.
    pub fn set_nodes(&mut self, nodes: Vec<KnownNode>) {
        self.nodes = nodes;
    }

    /// Adds a pod, in place of an earlier pod with one of its addresses.
    pub fn add(&mut self, pod: &CallingPod) {
        for address in &pod.addresses {
            self.pods.insert(*address, pod.clone());
            if let (Some(first), Some(node)) = (first_of_network(*address), &pod.node) {
                self.networks.entry(first).or_default().insert(node.clone());
            }
        }
    }

    /// All addresses of the pod at an address; only this one where the pod is not known.
    pub fn addresses_of_pod_at(&self, address: IpAddr) -> Vec<IpAddr> {
        self.pods.get(&address).map_or_else(|| vec![address], |pod| pod.addresses.clone())
    }

    /// Who has an address. An address of a node's pods that no pod has is the node's own, such as that of its bridge.
    pub fn resolve(&self, address: IpAddr) -> Caller {
        if let Some(pod) = self.pods.get(&address) {
            return Caller::Workload(pod.workload.clone());
        }
        let has_address = |node: &&KnownNode| node.addresses.contains(&address);
        let is_in_block = |node: &&KnownNode| node.pod_blocks.iter().any(|block| block.contains(address));
        let node = self.nodes.iter().find(has_address).or_else(|| self.nodes.iter().find(is_in_block));
        match node.map(|node| node.name.as_str()).or_else(|| self.node_with_bridge(address)) {
            Some(name) => Caller::Node(name.to_owned()),
            None => Caller::Address(address),
        }
    }

    /// The node whose bridge probably has this address: the first of a network in which only pods of one node are.
    fn node_with_bridge(&self, address: IpAddr) -> Option<&str> {
        let mut nodes = self.networks.get(&address)?.iter();
        nodes.next().filter(|_| nodes.next().is_none()).map(String::as_str)
    }
}

/// The first address for hosts of the IPv4 network of 256 addresses around an address.
fn first_of_network(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V4(address) = address else { return None };
    let [a, b, c, _] = address.octets();
    Some(IpAddr::from([a, b, c, 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pod(name: &str, addresses: &[&str], node: &str) -> CallingPod {
        CallingPod {
            workload: CallerWorkload {
                namespace: "outside".into(),
                kind: "Deployment".into(),
                name: name.into(),
                gateway: false,
            },
            addresses: addresses.iter().map(|text| address(text)).collect(),
            node: Some(node.into()),
        }
    }

    #[test]
    fn an_address_is_a_pod_a_node_or_outside() {
        let mut directory = CallerDirectory::default();
        directory.add(&pod("old", &["10.244.0.8"], "a"));
        directory.add(&pod("client", &["10.244.0.8", "fd00::8"], "a"));
        directory.add(&pod("x", &["10.244.1.8"], "a"));
        directory.add(&pod("y", &["10.244.1.9"], "b"));
        directory.set_nodes(vec![KnownNode {
            name: "b".into(),
            addresses: vec![address("192.0.2.7")],
            pod_blocks: vec![Block::parse("10.245.0.0/24").unwrap()],
        }]);
        let rows = [
            ("the latest pod with the address", "10.244.0.8", "client (outside/Deployment)"),
            ("its other family", "fd00::8", "client (outside/Deployment)"),
            ("the node itself", "192.0.2.7", "node b"),
            ("an address of a node's pods without a pod", "10.245.0.77", "node b"),
            ("a bridge", "10.244.0.1", "node a"),
            ("the first address where two nodes have pods", "10.244.1.1", "10.244.1.1"),
            ("no pod, and not the bridge", "10.244.0.77", "10.244.0.77"),
            ("outside", "203.0.113.7", "203.0.113.7"),
        ];
        for (name, text, expected) in rows {
            assert_eq!(directory.resolve(address(text)).to_string(), expected, "{name}");
        }
        let gateway = CallerWorkload { gateway: true, ..pod("edge", &[], "a").workload };
        assert_eq!(Caller::Workload(gateway).to_string(), "edge (outside/Deployment, gateway)");
    }
}
