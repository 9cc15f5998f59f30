//! Which API generation the cluster speaks.

use super::connect::Cluster;
use super::error::{Access, ClusterError, explain_server};
use super::request::{attempt, send_optional};
use crate::istio::kinds::{Kind, PolicyApi, RuleApi};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList};

/// The kinds to write, as discovery prefers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersions {
    /// The server's half.
    pub policy: PolicyApi,
    /// The client's half.
    pub rule: RuleApi,
    /// Whether the cluster is an OpenShift: its admission chooses the user id of a pod.
    pub openshift: bool,
}

/// Asks the API server: everything in one answer, as kubectl does; in two rounds where it is older than Kubernetes 1.26.
pub async fn discover(cluster: &Cluster) -> Result<ApiVersions, ClusterError> {
    let access = Access::new("get", "", "apis", "");
    // The first request of every run: where it fails for want of a way, the message names the server.
    let unreachable = |error: kube::Error| explain_server(&cluster.name, &error);
    let all = attempt(access, &mut || cluster.client.list_api_groups_aggregated()).await.map_err(unreachable)?;
    let found = if all.items.is_empty() {
        let groups = attempt(access, &mut || cluster.client.list_api_groups()).await.map_err(unreachable)?;
        in_rounds(cluster, &groups).await?
    } else {
        in_one(&all)
    };
    let policy = PolicyApi::ALL.into_iter().find(|api| found.kinds.contains(&api.kind()));
    let rule = RuleApi::ALL.into_iter().find(|api| found.kinds.contains(&api.kind()));
    match (policy, rule) {
        (Some(policy), Some(rule)) => Ok(ApiVersions { policy, rule, openshift: found.openshift }),
        _ => Err(ClusterError::new(
            format!(
                "no Istio found on {}: it serves neither PeerAuthentication (security.istio.io) nor the legacy Policy (authentication.istio.io) with DestinationRule (networking.istio.io)",
                cluster.name
            ),
            "check the context (`kubectl config current-context`), or install Istio; --sandbox needs no cluster",
        )),
    }
}

/// Of the kinds that we know, those that are served.
struct Found {
    kinds: Vec<Kind>,
    openshift: bool,
}

/// An API group that only OpenShift has.
const OPENSHIFT: &str = "security.openshift.io";

fn known() -> impl Iterator<Item = Kind> {
    PolicyApi::ALL.map(PolicyApi::kind).into_iter().chain(RuleApi::ALL.map(RuleApi::kind))
}

fn in_one(all: &APIGroupDiscoveryList) -> Found {
    let group = |name: &str| {
        let is_it =
            |group: &&APIGroupDiscovery| group.metadata.as_ref().and_then(|it| it.name.as_deref()) == Some(name);
        all.items.iter().find(is_it)
    };
    let served = |kind: &Kind| {
        let mut versions = group(kind.group).into_iter().flat_map(|group| &group.versions);
        let version = versions.find(|version| version.version.as_deref() == Some(kind.version));
        let mut resources = version.into_iter().flat_map(|version| &version.resources);
        resources.any(|resource| resource.resource.as_deref() == Some(kind.plural))
    };
    Found { kinds: known().filter(served).collect(), openshift: group(OPENSHIFT).is_some() }
}

/// The second round: a group's version can be served for other kinds than ours, so each is looked into.
async fn in_rounds(cluster: &Cluster, groups: &APIGroupList) -> Result<Found, ClusterError> {
    let served = |kind: &Kind| {
        groups.groups.iter().any(|group| {
            group.name == kind.group && group.versions.iter().any(|version| version.version == kind.version)
        })
    };
    let mut kinds: Vec<Kind> = known().filter(served).collect();
    let found = futures::future::try_join_all(kinds.iter().map(|kind| has(cluster, kind))).await?;
    let mut keep = found.into_iter();
    kinds.retain(|_| keep.next().unwrap_or(false));
    Ok(Found { kinds, openshift: groups.groups.iter().any(|group| group.name == OPENSHIFT) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(groups: &serde_json::Value) -> (Vec<&'static str>, bool) {
        let found = in_one(&serde_json::from_value(json!({ "items": groups })).unwrap());
        (found.kinds.iter().map(|kind| kind.version).collect(), found.openshift)
    }

    #[test]
    fn only_a_version_that_serves_the_kind_counts() {
        let version =
            |version: &str, resource: &str| json!({"version": version, "resources": [{"resource": resource}]});
        let group =
            |name: &str, versions: &[serde_json::Value]| json!({"metadata": {"name": name}, "versions": versions});
        let policies = group(
            "security.istio.io",
            &[version("v1", "authorizationpolicies"), version("v1beta1", "peerauthentications")],
        );
        assert_eq!(found(&json!([policies])), (vec!["v1beta1"], false));
        let rules = group("networking.istio.io", &[version("v1alpha3", "destinationrules")]);
        assert_eq!(found(&json!([rules, group(OPENSHIFT, &[])])), (vec!["v1alpha3"], true));
        assert_eq!(found(&json!([group("apps", &[version("v1", "peerauthentications")])])), (vec![], false));
    }
}
