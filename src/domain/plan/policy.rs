//! The server's half of a plan: the one policy of the namespace without a selector.

use super::{Action, Change, Direction, Edit, Plan, Refusal, SwitchRequest, Target, Warning};
use crate::domain::mesh::{MtlsMode, PeerAuthentication, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// Name of a policy that is made; the legacy API takes no other (LP-7).
const NAME: &str = "default";

/// A policy that holds for the whole namespace, of either generation.
struct Wide<'a> {
    name: &'a str,
    mode: Option<MtlsMode>,
}

pub(super) fn plan(snapshot: &Snapshot, wish: &SwitchRequest, plan: &mut Plan) {
    let names = if snapshot.policies.legacy_only {
        warn_legacy(snapshot, wish, plan);
        legacy(snapshot)
    } else {
        warn_workloads(snapshot, wish, plan);
        wide(snapshot, plan)
    };
    let taken = taken_names(snapshot);
    let to = wish.direction.mode();
    let chosen = match &wish.policy {
        None => names.first(),
        Some(name) => {
            let chosen = names.iter().find(|policy| policy.name == name);
            let wrong_name = snapshot.policies.legacy_only && name != NAME;
            if chosen.is_none() && (wrong_name || taken.contains(name.as_str()) || !names.is_empty()) {
                plan.refusals.push(Refusal::PolicyNotThere {
                    name: name.clone(),
                    others: names.iter().map(|policy| policy.name.to_owned()).collect(),
                });
                return;
            }
            chosen
        }
    };
    if names.len() > 1 {
        plan.warnings.push(Warning::SeveralPolicies {
            by_age: names.iter().map(|policy| policy.name.to_owned()).collect(),
            chosen: chosen.map_or_else(String::new, |policy| policy.name.to_owned()),
        });
    }
    let (name, action) = match chosen {
        Some(policy) if policy.mode == Some(to) => (policy.name.to_owned(), Action::Unchanged),
        Some(policy) => (policy.name.to_owned(), Action::Edit(vec![Edit::SetMode { from: policy.mode, to }])),
        None => (wish.policy.clone().unwrap_or_else(|| super::rules::free_name(NAME, &taken)), Action::Create),
    };
    plan.policy = Some(Change {
        target: Target::Policy,
        namespace: snapshot.namespace.clone(),
        name,
        host: None,
        mode: Some(to),
        action,
    });
}

/// A change in two steps: to PERMISSIVE, and from there to what it was to be.
pub(super) fn bridge(change: &Change) -> (Change, Change) {
    let permissive = MtlsMode::Permissive;
    let former = match &change.action {
        Action::Edit(edits) => edits.iter().find_map(|edit| match edit {
            Edit::SetMode { from, .. } => Some(*from),
            _ => None,
        }),
        Action::Merge { held, .. } | Action::PutBack { held, .. } | Action::Delete { held } => Some(*held),
        Action::Create | Action::Apply { .. } | Action::Unchanged => None,
    };
    let first = match former {
        Some(from) if from == Some(permissive) => Action::Unchanged,
        Some(from) => Action::Edit(vec![Edit::SetMode { from, to: permissive }]),
        None => Action::Create,
    };
    let last = match &change.action {
        Action::Create | Action::Edit(_) | Action::Unchanged => {
            Action::of(change.mode.map(|to| Edit::SetMode { from: Some(permissive), to }).into_iter().collect())
        }
        whole => whole.clone(),
    };
    (Change { mode: Some(permissive), action: first, ..change.clone() }, Change { action: last, ..change.clone() })
}

/// The revision of an installation that names none, and of pods that name none.
const DEFAULT_REVISION: &str = "default";

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

/// The namespace's policies without a selector, the one in force first (PA-4).
fn wide<'a>(snapshot: &'a Snapshot, plan: &mut Plan) -> Vec<Wide<'a>> {
    let mut policies: Vec<&PeerAuthentication> = own(snapshot).filter(|policy| policy.is_wide()).collect();
    policies.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
    // PA-9: what no proxy of the namespace sees cannot be in force.
    let revisions = revisions(snapshot);
    let seen_by = |policy: &PeerAuthentication, revision: &String| {
        policy.revision.as_ref().is_none_or(|labelled| labelled == revision)
    };
    let (seen, unseen): (Vec<_>, Vec<_>) =
        policies.into_iter().partition(|policy| revisions.iter().any(|revision| seen_by(policy, revision)));
    let first = seen.first().map(|policy| policy.name.as_str());
    for revision in &revisions {
        let obeyed = seen.iter().find(|policy| seen_by(policy, revision)).map(|policy| policy.name.as_str());
        if obeyed != first {
            plan.warnings.push(Warning::OtherRevision { revision: revision.clone(), obeys: obeyed.map(str::to_owned) });
        }
    }
    for policy in unseen {
        plan.warnings.push(Warning::UnseenPolicy {
            name: policy.name.clone(),
            revision: policy.revision.clone().unwrap_or_default(),
        });
    }
    seen.into_iter().map(|policy| Wide { name: &policy.name, mode: policy.mode }).collect()
}

/// The legacy Policy without targets; its name leaves room for one only (LP-7).
fn legacy(snapshot: &Snapshot) -> Vec<Wide<'_>> {
    let mut policies: Vec<_> = snapshot
        .policies
        .legacy
        .iter()
        .filter(|policy| policy.namespace == snapshot.namespace && policy.targets.is_empty())
        .collect();
    policies.sort_by_key(|policy| (policy.created, policy.name.clone()));
    policies.into_iter().map(|policy| Wide { name: &policy.name, mode: Some(policy.mode) }).collect()
}

fn own(snapshot: &Snapshot) -> impl Iterator<Item = &PeerAuthentication> {
    snapshot.policies.peer.iter().filter(|policy| policy.namespace == snapshot.namespace)
}

fn taken_names(snapshot: &Snapshot) -> BTreeSet<&str> {
    if snapshot.policies.legacy_only {
        // A `default` that is taken is the one that is changed.
        return BTreeSet::new();
    }
    own(snapshot).map(|policy| policy.name.as_str()).collect()
}

/// RE-3: the namespace's mode is not the last word where a workload has its own.
fn warn_workloads(snapshot: &Snapshot, wish: &SwitchRequest, plan: &mut Plan) {
    if snapshot.namespace == snapshot.policies.root_namespace {
        // PA-3: there a selector makes a policy void.
        return;
    }
    let wanted = wish.direction.mode();
    for policy in own(snapshot).filter(|policy| !policy.is_wide()) {
        let mode = policy.mode.filter(|mode| *mode != wanted);
        let differs =
            |(port, mode): (&u16, &Option<MtlsMode>)| mode.filter(|mode| *mode != wanted).map(|mode| (*port, mode));
        let ports: BTreeMap<u16, MtlsMode> = policy.ports.iter().filter_map(differs).collect();
        // Without a port's own entry a port has the workload's mode, so an equal entry under another mode is no hole.
        if mode.is_some() || !ports.is_empty() {
            plan.warnings.push(Warning::WorkloadPolicy { name: policy.name.clone(), wanted, mode, ports });
        }
    }
}

fn warn_legacy(snapshot: &Snapshot, wish: &SwitchRequest, plan: &mut Plan) {
    let wanted = wish.direction.mode();
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
    if wish.direction == (Direction::Disable { mode: MtlsMode::Disable }) {
        plan.warnings.push(Warning::LegacyDisable);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{DISABLE, ENABLE, policy, shop};
    use super::super::{Refusal, plan};
    use super::*;

    fn outcome(snapshot: &Snapshot, wish: &SwitchRequest) -> (String, Action) {
        let change = plan(snapshot, wish).policy.expect("a policy is planned");
        (change.name, change.action)
    }

    fn set(from: Option<MtlsMode>, to: MtlsMode) -> Action {
        Action::Edit(vec![Edit::SetMode { from, to }])
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
        for (what, policies, wish, expected) in [
            ("of the default revision", vec![labelled], ENABLE, ("labelled", set(None, Strict))),
            ("none", vec![], ENABLE, ("default", Action::Create)),
            ("none, off", vec![], DISABLE, ("default", Action::Create)),
            ("mesh only", vec![elsewhere], DISABLE, ("default", Action::Create)),
            (
                "another name",
                vec![policy("mine", 1, Some(Permissive))],
                ENABLE,
                ("mine", set(Some(Permissive), Strict)),
            ),
            ("unset", vec![policy("mine", 1, None)], DISABLE, ("mine", set(None, Permissive))),
            ("there already", vec![policy("mine", 1, Some(Strict))], ENABLE, ("mine", Action::Unchanged)),
            ("two", vec![policy("b", 2, None), policy("z", 1, None)], ENABLE, ("z", set(None, Strict))),
            ("of one second", vec![policy("b", 1, None), policy("a", 1, None)], ENABLE, ("a", set(None, Strict))),
            ("name taken", vec![selected], ENABLE, ("default-2", Action::Create)),
        ] {
            let mut snapshot = shop(&["web"]);
            snapshot.policies.peer = policies;
            let (name, action) = outcome(&snapshot, &wish);
            assert_eq!((name.as_str(), action), expected, "{what}");
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
        let wish = SwitchRequest { policy: Some("young".into()), ..ENABLE };
        let chosen = plan(&snapshot, &wish);
        assert_eq!(chosen.warnings, [warning("young")]);
        assert_eq!(chosen.policy.map(|change| change.name).as_deref(), Some("young"));
        let missing = plan(&snapshot, &SwitchRequest { policy: Some("nope".into()), ..ENABLE });
        assert!(matches!(&missing.refusals[..], [Refusal::PolicyNotThere { name, .. }] if name == "nope"));
        assert_eq!(missing.policy, None);
    }

    #[test]
    fn a_chosen_name_is_made_where_the_namespace_has_no_policy() {
        let wish = SwitchRequest { policy: Some("mtls".into()), ..ENABLE };
        assert_eq!(outcome(&shop(&["web"]), &wish), ("mtls".into(), Action::Create));
        let mut legacy = shop(&["web"]);
        legacy.policies.legacy_only = true;
        assert!(matches!(&plan(&legacy, &wish).refusals[..], [Refusal::PolicyNotThere { .. }]), "LP-7");
    }

    #[test]
    fn a_workload_that_says_otherwise_is_named() {
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
    fn a_policy_that_no_proxy_sees_is_left_alone() {
        let mut snapshot = shop(&["web"]);
        let mut canary = policy("canary", 1, None);
        canary.revision = Some("canary".into());
        snapshot.policies.peer = vec![canary, policy("young", 2, None)];
        let plan = plan(&snapshot, &ENABLE);
        assert_eq!(plan.policy.map(|change| change.name).as_deref(), Some("young"));
        assert_eq!(plan.warnings, [Warning::UnseenPolicy { name: "canary".into(), revision: "canary".into() }]);
    }
}
