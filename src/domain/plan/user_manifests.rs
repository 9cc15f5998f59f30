//! Plans the user's own manifests (`-f`): the same phases as for the objects that the tool writes.

use super::{Change, Direction, Plan, needs_permissive_step};
use crate::domain::mesh::Snapshot;

/// The plan that makes these changes, one for each manifest.
pub fn plan_user_manifests(snapshot: &Snapshot, direction: Direction, changes: Vec<Change>) -> Plan {
    let mut plan = Plan::empty(direction);
    for change in changes {
        match change {
            Change::Rule(rule) => plan.rules.push(rule),
            // The effect of the policy that decides the namespace's mode is what the run waits for.
            Change::Policy(policy) if policy.mode().is_some() && plan.policy.is_none() => plan.policy = Some(policy),
            Change::Policy(policy) => plan.more_policies.push(policy),
        }
    }
    plan.rules.sort_by(|left, right| left.name.cmp(&right.name));
    plan.rules_need_settling = plan.writes_rules();
    plan.passes_permissive = needs_permissive_step(snapshot, &plan);
    if !snapshot.policies.legacy_only {
        // Exceptions for workloads and ports are wanted: they are named, those that the manifests do not touch included.
        let after = super::after(snapshot, &plan);
        super::policy::warn_workloads(&after, direction.mode(), &mut plan);
        plan.warnings.sort();
        plan.warnings.dedup();
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::MtlsMode;
    use crate::domain::plan::{PolicyAction, PolicyChange, RuleAction, RuleChange};
    use crate::domain::testing::{json, policy, rule, shop};

    fn policy_manifest(name: &str, mode: Option<MtlsMode>) -> Change {
        let action = PolicyAction::Apply { object: json(name), mode, policy: None };
        Change::Policy(PolicyChange { namespace: "shop".into(), name: name.into(), action })
    }

    fn rule_manifest(name: &str) -> Change {
        let action = RuleAction::Apply { object: json(name), rule: Box::new(rule(name, name, None)) };
        Change::Rule(RuleChange { namespace: "shop".into(), name: name.into(), action })
    }

    #[test]
    fn phases_come_in_the_order_that_loses_no_call() {
        let order = |direction: Direction| {
            let policies = [policy_manifest("one", None), policy_manifest("all", Some(direction.mode()))];
            let changes = policies.into_iter().chain([rule_manifest("b"), rule_manifest("a")]).collect();
            let phases = plan_user_manifests(&shop(&["web"]), direction, changes).phases();
            phases.iter().flat_map(|phase| &phase.changes).map(|change| change.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(Direction::Enable), ["a", "b", "all", "one"]);
        assert_eq!(order(Direction::Disable { mode: MtlsMode::Permissive }), ["all", "one", "a", "b"]);
    }

    #[test]
    fn exceptions_for_workloads_are_named_and_do_not_stop_the_run() {
        let mut exception = policy("web", 2, Some(MtlsMode::Strict));
        exception.selector.insert("app".into(), "web".into());
        exception.ports.insert(8443, Some(MtlsMode::Permissive));
        let action = PolicyAction::Apply { object: json("web"), mode: None, policy: Some(Box::new(exception.clone())) };
        let change = Change::Policy(PolicyChange { namespace: "shop".into(), name: "web".into(), action });
        let mut snapshot = shop(&["web"]);
        let mut live = exception;
        live.name = "live".into();
        snapshot.policies.peer.push(live);
        let plan = plan_user_manifests(
            &snapshot,
            Direction::Enable,
            vec![policy_manifest("all", Some(MtlsMode::Strict)), change],
        );
        let texts: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "policy live has a selector and overrides STRICT for its workloads: port 8443 PERMISSIVE (mode-exception)",
                "policy web has a selector and overrides STRICT for its workloads: port 8443 PERMISSIVE (mode-exception)",
            ]
        );
        assert!(plan.blockers.is_empty());
    }
}
