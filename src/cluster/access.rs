//! Access reviews: whether the user has the rights that a run needs, checked before its first write.

use super::connect::Cluster;
use super::error::{Access, ClusterError};
use crate::domain::plan::Change;
use crate::domain::rights::{JOURNAL, LEASE, PROBE, Right};
use crate::istio::kinds::Kind;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;

/// Rights that belong to one purpose, and the flag that makes them unnecessary.
pub struct Need {
    /// The rights.
    pub rights: Vec<Right>,
    /// What they are for: `the probe`.
    pub purpose: &'static str,
    /// How to run without them, if that is possible: `apply without proof: --verify=false`.
    pub instead: Option<&'static str>,
}

/// The rights for the proof of a switch.
pub fn probe_need() -> Need {
    Need { rights: PROBE.to_vec(), purpose: "the probe", instead: Some("apply without proof: --verify=false") }
}

/// What a run does with journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalUse {
    /// It writes its own.
    Writes,
    /// It follows those of other runs, and deletes them or marks them as undone.
    Restores,
}

/// The rights for the Lease and for the journals of a switch.
pub fn journal_needs(journals: JournalUse) -> [Need; 2] {
    let is_needed =
        |(verb, group, _): &&Right| !(group.is_empty() && *verb == "create" && journals == JournalUse::Restores);
    let (journal, lock) = JOURNAL.iter().filter(is_needed).partition(|(_, group, _)| group.is_empty());
    let instead = Some("work without Lease and journal, so that nothing can be restored: --no-journal");
    [Need { rights: lock, purpose: "the lock", instead }, Need { rights: journal, purpose: "the journal", instead }]
}

/// The rights for the Lease alone.
pub fn lock_need() -> Need {
    Need { rights: LEASE.to_vec(), purpose: "the lock", instead: None }
}

/// The rights for these changes of objects of one kind. Server-side apply of a new object needs `create` and `patch`.
pub fn write_need<'a>(kind: Kind, purpose: &'static str, changes: impl Iterator<Item = &'a Change>) -> Need {
    let mut rights: Vec<Right> = Vec::new();
    for change in changes {
        let verbs: &[&'static str] = match change {
            change if change.is_creation() => &["create", "patch"],
            change if change.is_deletion() => &["delete"],
            _ => &["patch"],
        };
        rights.extend(verbs.iter().map(|verb| (*verb, kind.group, kind.plural)));
    }
    rights.sort_unstable();
    rights.dedup();
    Need { rights, purpose, instead: None }
}

/// Reviews every right at once. One error names all that are denied. A review that fails denies nothing: the request
/// itself shows whether it is allowed.
///
/// `command` is the one that needs them, as `rbac` has it.
pub async fn check(cluster: &Cluster, needs: &[Need], command: &str) -> Result<(), ClusterError> {
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
    // A flag helps only where no other right is missing.
    let mut instead: Vec<Option<&str>> = denied.iter().map(|(need, _)| need.instead).collect();
    instead.dedup();
    let instead: Option<Vec<&str>> = instead.into_iter().collect();
    let instead = instead.map_or_else(String::new, |flags| format!("; or {}", flags.join(", and ")));
    let grant = match &denied[..] {
        [_] => access(first).grant(),
        _ => format!("an administrator can grant it: `secure-traffic rbac {command}` prints all that is needed"),
    };
    Err(ClusterError::new(
        format!("you may not {} in namespace {:?}; nothing was written", missing.join(", nor "), cluster.namespace),
        format!("{grant}{instead}"),
    ))
}

/// `create leases.coordination.k8s.io`.
fn named(verb: &str, group: &str, resource: &str) -> String {
    if group.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource}.{group}") }
}

/// The rights among these that the user does not have: `create telemetries.telemetry.istio.io`.
pub async fn missing(cluster: &Cluster, rights: &[Right]) -> Vec<String> {
    let answers = futures::future::join_all(rights.iter().map(|right| allowed(cluster, right))).await;
    let denied = rights.iter().zip(answers).filter(|(_, is_allowed)| !is_allowed);
    denied.map(|((verb, group, resource), _)| named(verb, group, resource)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_writes_a_journal_needs_the_right_to_create_one() {
        for (journals, creates) in [(JournalUse::Writes, true), (JournalUse::Restores, false)] {
            let [lock, journal] = journal_needs(journals);
            assert_eq!(journal.rights.contains(&("create", "", "configmaps")), creates, "{journals:?}");
            assert_eq!(journal.rights.len(), 3 + usize::from(creates), "{:?}", journal.rights);
            assert!(lock.rights.contains(&("create", "coordination.k8s.io", "leases")));
        }
    }
}
