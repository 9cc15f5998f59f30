//! Lists the NetworkPolicies of a namespace, for the check whether they keep the probe from its targets.

use super::connect::Cluster;
use super::error::ClusterError;
use super::list::{Resource, list_optional};
use crate::domain::network_policy::NetworkPolicy;
use crate::istio::network_policy::read;
use serde_json::Value;

/// The NetworkPolicies of the cluster's namespace, each with its `podSelector`; `None` if they may not be listed.
pub async fn network_policies(cluster: &Cluster) -> Result<Option<Vec<(NetworkPolicy, Value)>>, ClusterError> {
    let resource = Resource { group: "networking.k8s.io", version: "v1", plural: "networkpolicies" };
    list_optional(cluster, resource, &cluster.namespace, &[403, 404], |object: Value| Some(read(&object))).await
}
