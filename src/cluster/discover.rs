//! Discovers which versions of Istio's kinds the API server serves, and whether it is OpenShift.

use super::connect::Cluster;
use super::error::{Access, ClusterError, explain_server};
use super::list::Resource;
use super::request::{attempt, send_optional};
use crate::istio::kinds::{Kind, OptionalKind, PolicyApi, RuleApi};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList};
use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList};

/// API versions of the kinds that are written: the newest ones that the API server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersions {
    /// Version of the policy kind, which servers follow.
    pub policy: PolicyApi,
    /// Version of `DestinationRule`, which clients follow.
    pub rule: RuleApi,
    /// Whether the cluster is OpenShift, whose admission assigns the user id of a pod.
    pub openshift: bool,
    /// The other kinds that are read.
    pub optional: ServedKinds,
}

/// Which optional kinds the API server serves: for each its version, counted from 1; 0 if it is not served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServedKinds([u8; OptionalKind::ALL.len()]);

impl ServedKinds {
    fn new(is_served: impl Fn(&str, &str, &str) -> bool) -> Self {
        Self(OptionalKind::ALL.map(|kind| {
            let (group, versions, plural) = kind.resource();
            let position = versions.iter().position(|version| is_served(group, version, plural));
            position.and_then(|position| u8::try_from(position + 1).ok()).unwrap_or(0)
        }))
    }

    /// The resource to read; `None` if it is not served.
    pub fn resource(self, kind: OptionalKind) -> Option<Resource> {
        let (group, versions, plural) = kind.resource();
        let number = usize::from(*self.0.get(kind as usize)?);
        let version = versions.get(number.checked_sub(1)?)?;
        Some(Resource { group, version, plural })
    }
}

/// Discovers the API versions: with one aggregated request, as kubectl does, and with two rounds of requests before
/// Kubernetes 1.26.
pub async fn discover(cluster: &Cluster) -> Result<ApiVersions, ClusterError> {
    let access = Access::new("get", "", "apis", "");
    // This is the first request of every run, so its error names the server.
    let unreachable = |error: kube::Error| explain_server(&cluster.name, &error);
    let all = attempt(access, &mut || cluster.client.list_api_groups_aggregated()).await.map_err(unreachable)?;
    let served = if all.items.is_empty() {
        let groups = attempt(access, &mut || cluster.client.list_api_groups()).await.map_err(unreachable)?;
        from_groups(cluster, &groups).await?
    } else {
        from_aggregated(&all)
    };
    let policy = PolicyApi::ALL.into_iter().find(|api| served.kinds.contains(&api.kind()));
    let rule = RuleApi::ALL.into_iter().find(|api| served.kinds.contains(&api.kind()));
    match (policy, rule) {
        (Some(policy), Some(rule)) => {
            Ok(ApiVersions { policy, rule, openshift: served.openshift, optional: served.optional })
        }
        _ => Err(ClusterError::new(
            format!(
                "no Istio found on {}: it serves neither PeerAuthentication (security.istio.io) nor the legacy Policy (authentication.istio.io) with DestinationRule (networking.istio.io)",
                cluster.name
            ),
            "check the context (`kubectl config current-context`), or install Istio; --sandbox needs no cluster",
        )),
    }
}

/// The known kinds that are served.
struct Discovered {
    kinds: Vec<Kind>,
    openshift: bool,
    optional: ServedKinds,
}

/// An API group that only OpenShift has.
const OPENSHIFT: &str = "security.openshift.io";

fn known_kinds() -> impl Iterator<Item = Kind> {
    PolicyApi::ALL.map(PolicyApi::kind).into_iter().chain(RuleApi::ALL.map(RuleApi::kind))
}

fn from_aggregated(all: &APIGroupDiscoveryList) -> Discovered {
    let group = |name: &str| {
        let has_name = |group: &&APIGroupDiscovery| {
            group.metadata.as_ref().and_then(|metadata| metadata.name.as_deref()) == Some(name)
        };
        all.items.iter().find(has_name)
    };
    let serves = |name: &str, version: &str, plural: &str| {
        let mut versions = group(name).into_iter().flat_map(|group| &group.versions);
        let version = versions.find(|candidate| candidate.version.as_deref() == Some(version));
        let mut resources = version.into_iter().flat_map(|version| &version.resources);
        resources.any(|resource| resource.resource.as_deref() == Some(plural))
    };
    Discovered {
        kinds: known_kinds().filter(|kind| serves(kind.group, kind.version, kind.plural)).collect(),
        openshift: group(OPENSHIFT).is_some(),
        optional: ServedKinds::new(serves),
    }
}

/// Discovery without aggregation: a group's version may serve other kinds than the known ones, so each is requested.
async fn from_groups(cluster: &Cluster, groups: &APIGroupList) -> Result<Discovered, ClusterError> {
    let served = |kind: &Kind| {
        groups.groups.iter().any(|group| {
            group.name == kind.group && group.versions.iter().any(|version| version.version == kind.version)
        })
    };
    let mut kinds: Vec<Kind> = known_kinds().filter(served).collect();
    let are_served = futures::future::try_join_all(kinds.iter().map(|kind| is_served(cluster, kind))).await?;
    let mut are_served = are_served.into_iter();
    kinds.retain(|_| are_served.next().unwrap_or(false));
    // Of the optional kinds only the group is looked up: a list of a kind that is not served is no error.
    let has_version = |name: &str, version: &str, _: &str| {
        groups
            .groups
            .iter()
            .any(|group| group.name == name && group.versions.iter().any(|candidate| candidate.version == version))
    };
    Ok(Discovered {
        kinds,
        openshift: groups.groups.iter().any(|group| group.name == OPENSHIFT),
        optional: ServedKinds::new(has_version),
    })
}

/// The version of the API server.
pub async fn kubernetes_version(cluster: &Cluster) -> Result<String, ClusterError> {
    let access = Access::new("get", "", "version", "");
    let version = attempt(access, &mut || cluster.client.apiserver_version()).await;
    version.map(|version| version.git_version).map_err(|error| explain_server(&cluster.name, &error))
}

async fn is_served(cluster: &Cluster, kind: &Kind) -> Result<bool, ClusterError> {
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
        let found = from_aggregated(&serde_json::from_value(json!({ "items": groups })).unwrap());
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
