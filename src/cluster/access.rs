//! Whether we may do what we are about to do, asked before the first write.

use super::connect::Cluster;
use super::error::{Access, ClusterError};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

/// What a probe pod needs.
pub const PROBE: [(&str, &str); 5] =
    [("create", "pods"), ("get", "pods"), ("watch", "pods"), ("delete", "pods"), ("get", "pods/log")];

/// Asks for each verb and resource of the core group; the first that is denied is an error that names it. A server
/// that cannot be asked is not an answer: the request itself will tell.
pub async fn check(cluster: &Cluster, wanted: &[(&'static str, &'static str)]) -> Result<(), ClusterError> {
    let answers =
        futures::future::join_all(wanted.iter().map(|(verb, resource)| allowed(cluster, verb, resource))).await;
    match wanted.iter().zip(answers).find(|(_, allowed)| !allowed) {
        None => Ok(()),
        Some((&(verb, resource), _)) => {
            let access = Access::new(verb, "", resource, &cluster.namespace);
            Err(ClusterError::new(
                format!("you may not {access}, which the probe needs; nothing was written"),
                format!("{}; or apply without proof: --verify=false", access.grant()),
            ))
        }
    }
}

async fn allowed(cluster: &Cluster, verb: &str, resource: &str) -> bool {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(cluster.namespace.clone()),
                verb: Some(verb.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    match api.create(&PostParams::default(), &review).await {
        Ok(answer) => answer.status.is_none_or(|status| status.allowed),
        Err(_) => true,
    }
}
