//! Plans what servers accept: the change of the one policy without a selector that decides the namespace's mode.

use super::names::free_name;
use super::{Direction, Plan, PlanBlocker, PolicyAction, PolicyChange, SwitchRequest, Warning};
use crate::domain::mesh::{DEFAULT_REVISION, MtlsMode, PeerAuthentication, Snapshot, is_read_by_revision};
use std::collections::{BTreeMap, BTreeSet};

/// Name of a new policy; the legacy API accepts no other (LP-7).
pub const DEFAULT_POLICY_NAME: &str = "default";

/// A policy without a selector, of either API.
struct NamespacePolicy<'a> {
    name: &'a str,
    mode: Option<MtlsMode>,
}

pub(super) fn plan(snapshot: &Snapshot, request: &SwitchRequest, plan: &mut Plan) {
    let candidates = if snapshot.policies.legacy_only {
        warn_legacy(snapshot, request, plan);
        legacy_namespace_policies(snapshot)
    } else {
        warn_workloads(snapshot, request.direction.mode(), plan);
        namespace_policies(snapshot, plan)
    };
    let taken = taken_names(snapshot);
    let to = request.direction.mode();
    let chosen = match &request.policy {
        None => candidates.first(),
        Some(name) => {
            let chosen = candidates.iter().find(|policy| policy.name == name);
            let wrong_name = snapshot.policies.legacy_only && name != DEFAULT_POLICY_NAME;
            if chosen.is_none() && (wrong_name || taken.contains(name.as_str()) || !candidates.is_empty()) {
                plan.blockers.push(PlanBlocker::UnknownPolicy {
                    name: name.clone(),
                    others: candidates.iter().map(|policy| policy.name.to_owned()).collect(),
                });
                return;
            }
            chosen
        }
    };
    if candidates.len() > 1 {
        plan.warnings.push(Warning::SeveralPolicies {
            by_age: candidates.iter().map(|policy| policy.name.to_owned()).collect(),
            chosen: chosen.map_or_else(String::new, |policy| policy.name.to_owned()),
        });
    }
    let (name, action) = match chosen {
        Some(policy) if policy.mode == Some(to) => (policy.name.to_owned(), PolicyAction::Unchanged { mode: Some(to) }),
        Some(policy) => (policy.name.to_owned(), PolicyAction::SetMode { from: policy.mode, to }),
        None => {
            let name = request.policy.clone().unwrap_or_else(|| free_name(DEFAULT_POLICY_NAME, &taken));
            (name, PolicyAction::Create { mode: to })
        }
    };
    plan.policy = Some(PolicyChange { namespace: snapshot.namespace.clone(), name, action });
}

/// A change in two steps: to PERMISSIVE, and from there to what was planned.
pub(super) fn through_permissive(change: &PolicyChange) -> (PolicyChange, PolicyChange) {
    let permissive = MtlsMode::Permissive;
    let leave = |from: Option<MtlsMode>| match from {
        Some(MtlsMode::Permissive) => PolicyAction::Unchanged { mode: from },
        from => PolicyAction::SetMode { from, to: permissive },
    };
    let to_permissive = match &change.action {
        PolicyAction::Create { .. } | PolicyAction::Apply { .. } => PolicyAction::Create { mode: permissive },
        PolicyAction::CreateForPods { selector, ports, .. } => {
            PolicyAction::CreateForPods { selector: selector.clone(), mode: Some(permissive), ports: ports.clone() }
        }
        PolicyAction::SetMode { from, .. } => leave(*from),
        PolicyAction::Merge { current_mode, .. }
        | PolicyAction::PutBack { current_mode, .. }
        | PolicyAction::Delete { current_mode, .. } => leave(*current_mode),
        // These do not decide the mode of the namespace.
        PolicyAction::SetPorts { .. } | PolicyAction::DeleteSuperfluous | PolicyAction::Recreate { .. } => {
            PolicyAction::Unchanged { mode: None }
        }
        PolicyAction::Unchanged { .. } => change.action.clone(),
    };
    let from_permissive = match &change.action {
        PolicyAction::Create { mode: to } | PolicyAction::SetMode { to, .. } => {
            PolicyAction::SetMode { from: Some(permissive), to: *to }
        }
        PolicyAction::CreateForPods { mode: Some(to), .. } => PolicyAction::SetMode { from: Some(permissive), to: *to },
        action => action.clone(),
    };
    (
        PolicyChange { action: to_permissive, ..change.clone() },
        PolicyChange { action: from_permissive, ..change.clone() },
    )
}

/// Revisions of the namespace's meshed pods; without such pods, the default one.
pub(super) fn revisions(snapshot: &Snapshot) -> BTreeSet<String> {
    let meshed = snapshot.pods.values().filter(|pod| pod.data_plane.is_meshed());
    let revision = |name: Option<&String>| name.map_or(DEFAULT_REVISION, String::as_str).to_owned();
    let mut revisions: BTreeSet<_> = meshed.map(|pod| revision(pod.revision.as_ref())).collect();
    if revisions.is_empty() {
        revisions.insert(revision(None));
    }
    revisions
}

/// The namespace's policies without a selector, the one that takes effect first (PA-4).
fn namespace_policies<'a>(snapshot: &'a Snapshot, plan: &mut Plan) -> Vec<NamespacePolicy<'a>> {
    let mut policies: Vec<&PeerAuthentication> =
        policies_of_namespace(snapshot).filter(|policy| policy.is_wide()).collect();
    policies.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
    // PA-9: a policy that no proxy of the namespace sees has no effect.
    let revisions = revisions(snapshot);
    let seen_by = |policy: &PeerAuthentication, revision: &String| {
        is_read_by_revision(policy.revision.as_deref(), Some(revision.as_str()))
    };
    let (seen, unseen): (Vec<_>, Vec<_>) =
        policies.into_iter().partition(|policy| revisions.iter().any(|revision| seen_by(policy, revision)));
    let first = seen.first().map(|policy| policy.name.as_str());
    for revision in &revisions {
        let followed = seen.iter().find(|policy| seen_by(policy, revision)).map(|policy| policy.name.as_str());
        if followed != first {
            plan.warnings
                .push(Warning::OtherRevision { revision: revision.clone(), follows: followed.map(str::to_owned) });
        }
    }
    for policy in unseen {
        plan.warnings.push(Warning::UnseenPolicy {
            name: policy.name.clone(),
            revision: policy.revision.clone().unwrap_or_default(),
        });
    }
    seen.into_iter().map(|policy| NamespacePolicy { name: &policy.name, mode: policy.mode }).collect()
}

/// The legacy Policy without targets; there is at most one, because its name must be `default` (LP-7).
fn legacy_namespace_policies(snapshot: &Snapshot) -> Vec<NamespacePolicy<'_>> {
    let mut policies: Vec<_> = snapshot
        .policies
        .legacy
        .iter()
        .filter(|policy| policy.namespace == snapshot.namespace && policy.targets.is_empty())
        .collect();
    policies.sort_by_key(|policy| (policy.created, policy.name.clone()));
    policies.into_iter().map(|policy| NamespacePolicy { name: &policy.name, mode: Some(policy.mode) }).collect()
}

pub(super) fn policies_of_namespace(snapshot: &Snapshot) -> impl Iterator<Item = &PeerAuthentication> {
    snapshot.policies.peer.iter().filter(|policy| policy.namespace == snapshot.namespace)
}

/// Names that a new policy cannot have.
pub(super) fn taken_names(snapshot: &Snapshot) -> BTreeSet<&str> {
    if snapshot.policies.legacy_only {
        // The policy that has the name `default` is the one that is changed.
        return BTreeSet::new();
    }
    policies_of_namespace(snapshot).map(|policy| policy.name.as_str()).collect()
}

/// RE-3: a policy with a selector overrides the namespace's mode for its workloads.
pub(super) fn warn_workloads(snapshot: &Snapshot, wanted: MtlsMode, plan: &mut Plan) {
    if snapshot.namespace == snapshot.policies.root_namespace {
        // PA-3: in the root namespace, a policy with a selector has no effect.
        return;
    }
    for policy in policies_of_namespace(snapshot).filter(|policy| !policy.is_wide()) {
        warn_workload(policy, wanted, plan);
    }
}

/// Names what a policy with a selector sets to another mode than `wanted`.
pub(super) fn warn_workload(policy: &PeerAuthentication, wanted: MtlsMode, plan: &mut Plan) {
    let mode = policy.mode.filter(|mode| *mode != wanted);
    let differs =
        |(port, mode): (&u16, &Option<MtlsMode>)| mode.filter(|mode| *mode != wanted).map(|mode| (*port, mode));
    let ports: BTreeMap<u16, MtlsMode> = policy.ports.iter().filter_map(differs).collect();
    // A port without an entry has the workload's mode, so only an entry with another mode differs.
    if mode.is_some() || !ports.is_empty() {
        plan.warnings.push(Warning::WorkloadPolicy { name: policy.name.clone(), wanted, mode, ports });
    }
}

fn warn_legacy(snapshot: &Snapshot, request: &SwitchRequest, plan: &mut Plan) {
    let wanted = request.direction.mode();
    for policy in &snapshot.policies.legacy {
        if policy.namespace == snapshot.namespace && !policy.targets.is_empty() && policy.mode != wanted {
            plan.warnings.push(Warning::WorkloadPolicy {
                name: policy.name.clone(),
                wanted,
                mode: Some(policy.mode),
                ports: BTreeMap::new(),
            });
        }
    }
    if request.direction == (Direction::Disable { mode: MtlsMode::Disable }) {
        plan.warnings.push(Warning::LegacyDisable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::plan;
    use crate::domain::testing::{DISABLE, ENABLE, policy, shop};

    fn outcome(snapshot: &Snapshot, request: &SwitchRequest) -> (String, PolicyAction) {
        let change = plan(snapshot, request).policy.expect("a policy is planned");
        (change.name, change.action)
    }

    fn set(from: Option<MtlsMode>, to: MtlsMode) -> PolicyAction {
        PolicyAction::SetMode { from, to }
    }

    fn create(mode: MtlsMode) -> PolicyAction {
        PolicyAction::Create { mode }
    }

    #[test]
    fn the_oldest_policy_without_a_selector_is_changed_whatever_its_name() {
        use MtlsMode::{Permissive, Strict};
        let mut selected = policy("default", 0, Some(Strict));
        selected.selector.insert("app".into(), "web".into());
        let mut elsewhere = policy("elsewhere", 0, Some(Strict));
        elsewhere.namespace = "istio-system".into();
        let mut labelled = policy("labelled", 1, None);
        labelled.revision = Some("default".into());
        for (case, policies, request, expected) in [
            ("of the default revision", vec![labelled], ENABLE, ("labelled", set(None, Strict))),
            ("none", vec![], ENABLE, ("default", create(Strict))),
            ("none, off", vec![], DISABLE, ("default", create(Permissive))),
            ("mesh only", vec![elsewhere], DISABLE, ("default", create(Permissive))),
            (
                "another name",
                vec![policy("mine", 1, Some(Permissive))],
                ENABLE,
                ("mine", set(Some(Permissive), Strict)),
            ),
            ("unset", vec![policy("mine", 1, None)], DISABLE, ("mine", set(None, Permissive))),
            (
                "there already",
                vec![policy("mine", 1, Some(Strict))],
                ENABLE,
                ("mine", PolicyAction::Unchanged { mode: Some(Strict) }),
            ),
            ("two", vec![policy("b", 2, None), policy("z", 1, None)], ENABLE, ("z", set(None, Strict))),
            ("of one second", vec![policy("b", 1, None), policy("a", 1, None)], ENABLE, ("a", set(None, Strict))),
            ("name taken", vec![selected], ENABLE, ("default-2", create(Strict))),
        ] {
            let mut snapshot = shop(&["web"]);
            snapshot.policies.peer = policies;
            let (name, action) = outcome(&snapshot, &request);
            assert_eq!((name.as_str(), action), expected, "{case}");
        }
    }

    #[test]
    fn several_policies_are_listed_by_age_and_one_can_be_chosen() {
        let mut snapshot = shop(&["web"]);
        snapshot.policies.peer = vec![policy("young", 2, None), policy("old", 1, None)];
        let warning = |chosen: &str| Warning::SeveralPolicies {
            by_age: vec!["old".into(), "young".into()],
            chosen: chosen.into(),
        };
        assert_eq!(plan(&snapshot, &ENABLE).warnings, [warning("old")]);
        let request = SwitchRequest { policy: Some("young".into()), ..ENABLE };
        let chosen = plan(&snapshot, &request);
        assert_eq!(chosen.warnings, [warning("young")]);
        assert_eq!(chosen.policy.map(|change| change.name).as_deref(), Some("young"));
        let missing = plan(&snapshot, &SwitchRequest { policy: Some("nope".into()), ..ENABLE });
        assert!(matches!(&missing.blockers[..], [PlanBlocker::UnknownPolicy { name, .. }] if name == "nope"));
        assert_eq!(missing.policy, None);
    }

    #[test]
    fn a_chosen_name_is_created_where_the_namespace_has_no_policy() {
        let request = SwitchRequest { policy: Some("mtls".into()), ..ENABLE };
        assert_eq!(outcome(&shop(&["web"]), &request), ("mtls".into(), create(MtlsMode::Strict)));
        let mut legacy = shop(&["web"]);
        legacy.policies.legacy_only = true;
        assert!(matches!(&plan(&legacy, &request).blockers[..], [PlanBlocker::UnknownPolicy { .. }]), "LP-7");
    }

    #[test]
    fn a_workload_policy_with_another_mode_is_reported() {
        use MtlsMode::{Disable, Permissive, Strict};
        for (mode, ports, warns) in [
            (None, vec![], false),
            (Some(Strict), vec![(8080, Some(Strict)), (1, None)], false),
            (Some(Permissive), vec![], true),
            (Some(Strict), vec![(8080, Some(Disable))], true),
        ] {
            let mut snapshot = shop(&["web"]);
            let mut workload = policy("web", 1, mode);
            workload.selector.insert("app".into(), "web".into());
            workload.ports = ports.clone().into_iter().collect();
            snapshot.policies.peer.push(workload);
            assert_eq!(!plan(&snapshot, &ENABLE).warnings.is_empty(), warns, "{mode:?} {ports:?}");
        }
    }

    #[test]
    fn a_policy_that_no_proxy_sees_is_not_changed() {
        let mut snapshot = shop(&["web"]);
        let mut canary = policy("canary", 1, None);
        canary.revision = Some("canary".into());
        snapshot.policies.peer = vec![canary, policy("young", 2, None)];
        let plan = plan(&snapshot, &ENABLE);
        assert_eq!(plan.policy.map(|change| change.name).as_deref(), Some("young"));
        assert_eq!(plan.warnings, [Warning::UnseenPolicy { name: "canary".into(), revision: "canary".into() }]);
    }
}
