//! Undoing as a plan: the same phases, in the order in which no call is lost.

use super::{Action, Change, Direction, Plan, Target, Warning, namespace_mode, passes_permissive};
use crate::domain::journal::{Left, Step, Undo};
use crate::domain::mesh::{MtlsMode, Policies, Snapshot};

/// The plan that makes `steps` come true. `after` are the policies as they will be then.
pub fn restoration(snapshot: &Snapshot, after: Policies, steps: &[Undo]) -> Plan {
    let after = Snapshot { policies: after, ..snapshot.clone() };
    // Where the mode cannot be known, the servers go before the clients: that order is right for all but STRICT.
    let mode = namespace_mode(&after).unwrap_or(MtlsMode::Permissive);
    let direction = if mode == MtlsMode::Strict { Direction::Enable } else { Direction::Disable { mode } };
    let mut plan = Plan::empty(direction);
    for step in steps {
        if let Some(left) = step.left {
            plan.warnings.push(Warning::NotRestored { target: step.target, name: step.name.clone(), left });
        }
        let change = change(snapshot, step, mode);
        match step.target {
            Target::Rule => plan.rules.push(change),
            Target::Policy if plan.policy.is_none() => plan.policy = Some(change),
            Target::Policy => plan.more_policies.push(change),
        }
    }
    let writes_rules = plan.rules.iter().any(Change::is_write);
    let writes_policy = plan.policy.as_ref().is_some_and(Change::is_write);
    plan.rules_need_settling = writes_rules;
    plan.by_way_of_permissive = writes_rules && writes_policy && passes_permissive(snapshot, direction);
    plan
}

fn change(snapshot: &Snapshot, step: &Undo, mode: MtlsMode) -> Change {
    let held = (step.target == Target::Policy).then(|| held(snapshot, &step.name)).flatten();
    let action = match &step.step {
        Step::Nothing => Action::Unchanged,
        Step::PutBack(spec) => Action::PutBack { spec: spec.clone(), held },
        Step::Delete => Action::Delete { held },
    };
    // An object that somebody else has made their own is not waited for.
    let is_ours = !matches!(step.left, Some(Left::Gone | Left::MadeAnew | Left::Changed));
    Change {
        target: step.target,
        namespace: snapshot.namespace.clone(),
        name: step.name.clone(),
        host: None,
        mode: (step.target == Target::Policy && is_ours).then_some(mode),
        action,
    }
}

/// The mode that the policy of this name says now.
fn held(snapshot: &Snapshot, name: &str) -> Option<MtlsMode> {
    let policies = &snapshot.policies;
    if policies.legacy_only {
        let own = policies.legacy.iter().find(|policy| policy.namespace == snapshot.namespace && policy.name == name);
        return own.map(|policy| policy.mode);
    }
    let own = policies.peer.iter().find(|policy| policy.namespace == snapshot.namespace && policy.name == name);
    own.and_then(|policy| policy.mode)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{policy, rule, shop};
    use super::*;
    use crate::domain::mesh::ClientTls;

    fn step(target: Target, name: &str, step: Step) -> Undo {
        Undo { target, name: name.into(), step, left: None }
    }

    fn order(plan: &Plan) -> Vec<(Target, Option<MtlsMode>, &'static str)> {
        plan.phases()
            .iter()
            .map(|phase| (phase.target, phase.changes[0].mode, phase.changes[0].action.word()))
            .collect()
    }

    fn on(mode: MtlsMode) -> Snapshot {
        let mut snapshot = shop(&["web"]);
        snapshot.policies.peer.push(policy("default", 1, Some(mode)));
        snapshot.rules.push(rule("web", "web", Some(ClientTls::IstioMutual)));
        snapshot
    }

    #[test]
    fn servers_go_before_clients_on_the_way_out_and_after_them_on_the_way_in() {
        let steps = [step(Target::Policy, "default", Step::Delete), step(Target::Rule, "web", Step::Delete)];
        let out = restoration(&on(MtlsMode::Strict), shop(&["web"]).policies, &steps);
        assert_eq!(
            order(&out),
            [(Target::Policy, Some(MtlsMode::Permissive), "deleted"), (Target::Rule, None, "deleted")]
        );
        let back = [
            step(Target::Policy, "default", Step::PutBack("{}".into())),
            step(Target::Rule, "web", Step::PutBack("{}".into())),
        ];
        let again = restoration(&on(MtlsMode::Permissive), on(MtlsMode::Strict).policies, &back);
        assert_eq!(
            order(&again),
            [(Target::Rule, None, "restored"), (Target::Policy, Some(MtlsMode::Strict), "restored")]
        );
    }

    #[test]
    fn disable_is_reached_by_way_of_permissive() {
        let back = [
            step(Target::Policy, "default", Step::PutBack("{}".into())),
            step(Target::Rule, "web", Step::PutBack("{}".into())),
        ];
        let plan = restoration(&on(MtlsMode::Strict), on(MtlsMode::Disable).policies, &back);
        assert_eq!(
            order(&plan),
            [
                (Target::Policy, Some(MtlsMode::Permissive), "configured"),
                (Target::Rule, None, "restored"),
                (Target::Policy, Some(MtlsMode::Disable), "restored")
            ]
        );
    }

    #[test]
    fn what_is_left_is_named() {
        let mut left = step(Target::Rule, "web", Step::Nothing);
        left.left = Some(Left::Changed);
        let plan = restoration(&on(MtlsMode::Strict), shop(&["web"]).policies, &[left]);
        assert!(!plan.has_writes());
        assert!(plan.warnings[0].to_string().contains("changed"), "{}", plan.warnings[0]);
    }
}
