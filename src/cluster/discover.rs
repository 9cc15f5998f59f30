//! Which API generation the cluster speaks.

use super::connect::Cluster;
use super::error::{Access, ClusterError, explain_server};
use super::request::{attempt, send_optional};
use crate::istio::kinds::{Kind, PolicyApi, RuleApi};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};

/// The kinds to write, as discovery prefers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// The server's half.
    pub policy: PolicyApi,
    /// The client's half.
    pub rule: RuleApi,
    /// Whether the cluster is an OpenShift: its admission chooses the user id of a pod.
    pub openshift: bool,
}

/// Asks the API server; two rounds, the second in parallel.
pub async fn discover(cluster: &Cluster) -> Result<Generation, ClusterError> {
    let access = Access::new("get", "", "apis", "");
    // The first request of every run: where it fails for want of a way, the message names the server.
    let groups: APIGroupList = match attempt(access, &mut || cluster.client.list_api_groups()).await {
        Ok(groups) => groups,
        Err(error) => return Err(explain_server(&cluster.name, &error)),
    };
    let served = |kind: &Kind| {
        groups.groups.iter().any(|group| {
            group.name == kind.group && group.versions.iter().any(|version| version.version == kind.version)
        })
    };
    let openshift = groups.groups.iter().any(|group| group.name == "security.openshift.io");
    let policies = PolicyApi::ALL.map(PolicyApi::kind);
    let rules = RuleApi::ALL.map(RuleApi::kind);
    let mut kinds: Vec<Kind> = policies.into_iter().chain(rules).filter(served).collect();
    // A group's version can be served for other kinds than ours, so each is looked into.
    let found = futures::future::try_join_all(kinds.iter().map(|kind| has(cluster, kind))).await?;
    let mut keep = found.into_iter();
    kinds.retain(|_| keep.next().unwrap_or(false));
    let policy = PolicyApi::ALL.into_iter().find(|api| kinds.contains(&api.kind()));
    let rule = RuleApi::ALL.into_iter().find(|api| kinds.contains(&api.kind()));
    match (policy, rule) {
        (Some(policy), Some(rule)) => Ok(Generation { policy, rule, openshift }),
        _ => Err(ClusterError::new(
            format!(
                "no Istio found on {}: it serves neither PeerAuthentication (security.istio.io) nor the legacy Policy (authentication.istio.io) with DestinationRule (networking.istio.io)",
                cluster.name
            ),
            "check the context (`kubectl config current-context`), or install Istio; --sandbox needs no cluster",
        )),
    }
}

/// The version of the API server, for reports; one that does not say is none the worse for it.
pub async fn kubernetes_version(cluster: &Cluster) -> Option<String> {
    Some(cluster.client.apiserver_version().await.ok()?.git_version)
}

async fn has(cluster: &Cluster, kind: &Kind) -> Result<bool, ClusterError> {
    let version = kind.api_version();
    let access = Access::new("get", kind.group, "apis", "");
    let list: Option<APIResourceList> =
        send_optional(access, &[403, 404], || cluster.client.list_api_group_resources(&version)).await?;
    Ok(list.is_some_and(|list| list.resources.iter().any(|resource| resource.name == kind.plural)))
}
