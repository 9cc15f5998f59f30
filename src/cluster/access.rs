//! Whether we may do what we are about to do, asked before the first write.

use super::connect::Cluster;
use super::error::{Access, ClusterError};
use crate::domain::rights::{JOURNAL, PROBE, Right};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

/// Rights that belong together, and how to do without them.
pub struct Need {
    /// What is wanted.
    pub rights: &'static [Right],
    /// For what: `the probe`.
    pub purpose: &'static str,
    /// The other way: `apply without proof: --verify=false`.
    pub instead: &'static str,
}

/// The probe of a switch.
pub const PROOF: Need = Need { rights: PROBE, purpose: "the probe", instead: "apply without proof: --verify=false" };

/// The journal of a switch.
pub const KEEPING: Need =
    Need { rights: JOURNAL, purpose: "the journal", instead: "work without one, and without a way back: --no-journal" };

/// Asks for every right at once; those that are denied are one error that names them all. A server that cannot be
/// asked is not an answer: the request itself will tell.
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
