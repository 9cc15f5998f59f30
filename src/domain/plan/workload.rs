//! Plans STRICT for the pods of a selector (`--workload`), and finds the policies of earlier, smaller steps that a wider
//! policy makes superfluous.

use super::names::free_name;
use super::policy::{policies_of_namespace, taken_names, warn_workload};
use super::{Direction, Plan, PlanBlocker, PolicyAction, PolicyChange, Warning};
use crate::domain::effective::PolicyIndex;
use crate::domain::mesh::{MtlsMode, PeerAuthentication, Pod, Service, Snapshot};
use crate::domain::selector::{has_labels, labels_text};
use std::collections::{BTreeMap, BTreeSet};

/// Plans the policy that makes the pods with `labels` STRICT. Istio applies only the oldest policy of a workload (PA-4), so
/// pods that another policy selects stop the run, unless the new one makes that policy superfluous.
pub(super) fn plan(snapshot: &Snapshot, labels: &BTreeMap<String, String>, plan: &mut Plan) {
    if snapshot.policies.legacy_only {
        plan.blockers.push(PlanBlocker::LegacySelector);
        return;
    }
    let pods: Vec<&Pod> = pods_with(snapshot, labels).collect();
    if pods.is_empty() {
        plan.blockers.push(PlanBlocker::NoPodMatches { selector: labels_text(labels) });
        return;
    }
    let (same, others): (Vec<_>, Vec<_>) = policies_of_namespace(snapshot)
        .filter(|policy| pods.iter().any(|pod| policy.selects(pod)))
        .partition(|policy| policy.selector == *labels);
    for policy in others {
        if is_step(policy) && pods_with(snapshot, &policy.selector).all(|pod| has_labels(&pod.labels, labels)) {
            plan.superfluous.push(delete(policy));
        } else {
            plan.blockers.push(PlanBlocker::OtherSelector {
                policy: policy.name.clone(),
                selector: labels_text(&policy.selector),
                pods: pods.iter().filter(|pod| policy.selects(pod)).map(|pod| pod.name.clone()).collect(),
            });
        }
    }
    let strict = MtlsMode::Strict;
    let oldest = same.into_iter().min_by(|left, right| left.age_key().cmp(&right.age_key()));
    let (name, action) = if let Some(policy) = oldest {
        warn_workload(&PeerAuthentication { mode: None, ..policy.clone() }, strict, plan);
        let action = if policy.mode == Some(strict) {
            PolicyAction::Unchanged { mode: policy.mode }
        } else {
            PolicyAction::SetMode { from: policy.mode, to: strict }
        };
        (policy.name.clone(), action)
    } else if let Some(policy) = strict_policy(snapshot, &pods) {
        plan.warnings.push(Warning::StrictAlready { policy: policy.name.clone(), selector: labels_text(labels) });
        (policy.name.clone(), PolicyAction::Unchanged { mode: policy.mode })
    } else {
        let (selector, ports) = (labels.clone(), BTreeMap::new());
        let action = PolicyAction::CreateForPods { selector, mode: Some(strict), ports };
        (free_name(&policy_name(labels), &taken_names(snapshot)), action)
    };
    plan.policy = Some(PolicyChange { namespace: snapshot.namespace.clone(), name, action });
}

/// The policy of the namespace that makes all of these pods STRICT already.
fn strict_policy<'a>(snapshot: &'a Snapshot, pods: &[&Pod]) -> Option<&'a PeerAuthentication> {
    let index = PolicyIndex::new(&snapshot.policies);
    let decides = |pod: &&Pod| index.levels(pod).namespace.first().copied();
    let is_strict = |pod| decides(pod).is_some_and(|policy| policy.mode == Some(MtlsMode::Strict));
    pods.iter().all(is_strict).then(|| pods.first().and_then(decides))?
}

/// Adds the deletion of the policies that this tool created for single workloads: the mode of the namespace decides for
/// their pods from then on. When disabling, exceptions go, too.
pub(super) fn plan_superfluous(snapshot: &Snapshot, plan: &mut Plan) {
    if snapshot.policies.legacy_only {
        return;
    }
    let is_superfluous = |policy: &&PeerAuthentication| match plan.direction {
        Direction::Enable => is_step(policy),
        Direction::Disable { .. } => policy.is_ours && !policy.is_wide(),
    };
    let deletions = policies_of_namespace(snapshot).filter(is_superfluous).map(delete).collect();
    plan.superfluous = deletions;
}

/// The names of the Services with an endpoint that has these labels.
pub fn services<'a>(snapshot: &'a Snapshot, labels: &BTreeMap<String, String>) -> BTreeSet<&'a str> {
    let is_concerned = |service: &&Service| {
        let mut workloads = snapshot.live_endpoints(service).filter_map(|endpoint| snapshot.workload_of(endpoint));
        workloads.any(|workload| has_labels(&workload.labels, labels))
    };
    snapshot.services.iter().filter(is_concerned).map(|service| service.name.as_str()).collect()
}

/// Whether a policy is one that `--workload` writes.
fn is_step(policy: &PeerAuthentication) -> bool {
    policy.is_ours && !policy.is_wide() && policy.mode == Some(MtlsMode::Strict) && policy.ports.is_empty()
}

fn delete(policy: &PeerAuthentication) -> PolicyChange {
    let (namespace, name) = (policy.namespace.clone(), policy.name.clone());
    PolicyChange { namespace, name, action: PolicyAction::DeleteSuperfluous }
}

/// The workloads of the namespace with these labels, pods and `WorkloadEntry`s, without those that have ended.
pub(super) fn pods_with<'a>(
    snapshot: &'a Snapshot,
    labels: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a Pod> {
    let entries = snapshot.workload_entries.values().map(|entry| &entry.workload);
    let workloads = snapshot.pods.values().filter(|pod| !pod.facts.finished).chain(entries);
    workloads.filter(|pod| pod.namespace == snapshot.namespace && has_labels(&pod.labels, labels))
}

/// The name of a new policy for the pods with these labels: `strict-web-front` for `app=web,tier=front`.
pub fn policy_name(labels: &BTreeMap<String, String>) -> String {
    /// So that a number still fits into the 63 characters that Istio's own tools expect.
    const LONGEST: usize = 50;
    let values: Vec<&str> = labels.values().map(String::as_str).filter(|value| !value.is_empty()).collect();
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let name = format!("strict-{}", values.join("-")).to_ascii_lowercase();
    let name = name.replace(|letter: char| !is_plain(letter), "-");
    name.chars().take(LONGEST).collect::<String>().trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests;
