//! Lists NetworkPolicies, for the checks whether they keep the probe from its targets, and mutual TLS from ambient pods.

use super::connect::Cluster;
use super::error::ClusterError;
use super::list::{Listing, Resource, list_if_allowed, list_optional};
use crate::domain::network_policy::NetworkPolicy;
use crate::istio::network_policy::read;
use crate::istio::read::metadata;
use serde_json::Value;

const RESOURCE: Resource = Resource { group: "networking.k8s.io", version: "v1", plural: "networkpolicies" };

/// The NetworkPolicies of the cluster's namespace, or of all namespaces if it has none, each with its namespace.
pub async fn by_namespace(cluster: &Cluster) -> Result<Listing<(String, NetworkPolicy)>, ClusterError> {
    let convert = |object: Value| Some((metadata(&object, "namespace").to_owned(), read(&object).0));
    list_if_allowed(cluster, RESOURCE, &cluster.namespace, convert).await
}

/// The NetworkPolicies of the cluster's namespace, each with its `podSelector`; `None` if they may not be listed.
pub async fn network_policies(cluster: &Cluster) -> Result<Option<Vec<(NetworkPolicy, Value)>>, ClusterError> {
    list_optional(cluster, RESOURCE, &cluster.namespace, &[403, 404], |object: Value| Some(read(&object))).await
}
