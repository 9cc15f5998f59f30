//! Access reviews: whether the user has the rights that a run needs, checked before its first write.

use super::connect::Cluster;
use super::error::{Access, ClusterError};
use crate::domain::rights::{JOURNAL, PROBE, Right};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

/// Rights that belong to one purpose, and the flag that makes them unnecessary.
pub struct Need {
    /// The rights.
    pub rights: &'static [Right],
    /// What they are for: `the probe`.
    pub purpose: &'static str,
    /// How to run without them: `apply without proof: --verify=false`.
    pub instead: &'static str,
}

/// The rights for the proof of a switch.
pub const PROBE_NEED: Need =
    Need { rights: PROBE, purpose: "the probe", instead: "apply without proof: --verify=false" };

/// The rights for the Lease and the journal of a switch.
pub const JOURNAL_NEED: Need =
    Need { rights: JOURNAL, purpose: "the journal", instead: "work without one, and without a way back: --no-journal" };

/// Reviews every right at once. One error names all that are denied. A review that fails denies nothing: the request
/// itself shows whether it is allowed.
pub async fn check(cluster: &Cluster, needs: &[Need]) -> Result<(), ClusterError> {
    let wanted: Vec<(&Need, &Right)> =
        needs.iter().flat_map(|need| need.rights.iter().map(move |right| (need, right))).collect();
    let answers = futures::future::join_all(wanted.iter().map(|(_, right)| allowed(cluster, right))).await;
    let denied: Vec<_> =
        wanted.into_iter().zip(answers).filter(|(_, allowed)| !allowed).map(|(want, _)| want).collect();
    let Some((_, first)) = denied.first() else { return Ok(()) };
    let access = |(verb, group, resource): &Right| Access::new(verb, group, resource, &cluster.namespace);
    let missing = |need: &Need| {
        let own = denied.iter().filter(|(other, _)| std::ptr::eq(*other, need));
        let names: Vec<String> = own.map(|(_, (verb, group, resource))| named(verb, group, resource)).collect();
        (!names.is_empty()).then(|| format!("{} (for {})", names.join(", "), need.purpose))
    };
    let missing: Vec<String> = needs.iter().filter_map(missing).collect();
    let instead = needs.iter().filter(|need| denied.iter().any(|(other, _)| std::ptr::eq(*other, *need)));
    let instead: Vec<&str> = instead.map(|need| need.instead).collect();
    let grant = match &denied[..] {
        [_] => access(first).grant(),
        _ => "an administrator can grant it: `secure-traffic rbac enable-mtls` prints all that is needed".to_owned(),
    };
    Err(ClusterError::new(
        format!("you may not {} in namespace {:?}; nothing was written", missing.join(", nor "), cluster.namespace),
        format!("{grant}; or {}", instead.join(", or ")),
    ))
}

/// `create leases.coordination.k8s.io`.
fn named(verb: &str, group: &str, resource: &str) -> String {
    if group.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}.{group}") }
}

async fn allowed(cluster: &Cluster, (verb, group, resource): &Right) -> bool {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (*resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(cluster.namespace.clone()),
                verb: Some((*verb).to_owned()),
                group: Some((*group).to_owned()),
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
