//! The user's own manifests as a plan: the same phases as for what the tool renders.

use super::{Action, Change, Direction, Plan, Target, passes_permissive};
use crate::domain::mesh::{MtlsMode, Snapshot};

/// One object that the user has written, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Policy or rule.
    pub target: Target,
    /// Its name.
    pub name: String,
    /// The host of a rule.
    pub host: Option<String>,
    /// Whether a policy holds for the whole namespace.
    pub is_wide: bool,
    /// What happens: it is made, merged with what is there, or is there already.
    pub action: Action,
}

/// The plan that makes `given` come true, the way `direction` goes.
pub fn given(snapshot: &Snapshot, direction: Direction, given: Vec<Given>) -> Plan {
    let mut plan = Plan::empty(direction);
    for one in given {
        let mode: Option<MtlsMode> = (one.target == Target::Policy && one.is_wide).then(|| direction.mode());
        let change = Change {
            target: one.target,
            namespace: snapshot.namespace.clone(),
            name: one.name,
            host: one.host,
            mode,
            action: one.action,
        };
        match one.target {
            Target::Rule => plan.rules.push(change),
            // The wide one decides how the whole is waited for.
            Target::Policy if one.is_wide && plan.policy.is_none() => plan.policy = Some(change),
            Target::Policy => plan.more_policies.push(change),
        }
    }
    plan.rules.sort_by(|left, right| left.name.cmp(&right.name));
    let writes_rules = plan.rules.iter().any(Change::is_write);
    let writes_policy = plan.policy.as_ref().is_some_and(Change::is_write);
    plan.rules_need_settling = writes_rules;
    plan.by_way_of_permissive = writes_rules && writes_policy && passes_permissive(snapshot, direction);
    plan
}

#[cfg(test)]
mod tests {
    use super::super::samples::shop;
    use super::*;

    #[test]
    fn they_come_in_the_order_that_loses_no_call() {
        let one = |target, name: &str, is_wide| Given {
            target,
            name: name.into(),
            host: None,
            is_wide,
            action: Action::Apply { object: "{}".into(), rule: None },
        };
        let all = || {
            vec![
                one(Target::Policy, "one", false),
                one(Target::Policy, "all", true),
                one(Target::Rule, "b", false),
                one(Target::Rule, "a", false),
            ]
        };
        let order = |direction| {
            let plan = given(&shop(&["web"]), direction, all());
            let phases = plan.phases();
            let names = phases.iter().flat_map(|phase| &phase.changes).map(|change| change.name.clone());
            names.collect::<Vec<_>>()
        };
        assert_eq!(order(Direction::Enable), ["a", "b", "all", "one"]);
        assert_eq!(order(Direction::Disable { mode: MtlsMode::Permissive }), ["all", "one", "a", "b"]);
    }
}
