//! Plans the undoing of earlier runs (`--restore` and roll-backs): the same phases, in the order that loses no call.

use super::{
    Direction, ObjectKind, Plan, PolicyAction, PolicyChange, RuleAction, RuleChange, Warning, namespace_mode,
    needs_permissive_step,
};
use crate::domain::journal::{NotRestored, Undo, UndoStep};
use crate::domain::mesh::{MtlsMode, Policies, Snapshot};

/// The plan that carries out `undos`. `restored` are the policies as they are afterwards.
pub fn restoration(snapshot: &Snapshot, restored: Policies, undos: &[Undo]) -> Plan {
    let restored = Snapshot { policies: restored, ..snapshot.clone() };
    // Where the mode is not known, servers change before clients: that order is right for all modes but STRICT.
    let mode = namespace_mode(&restored).unwrap_or(MtlsMode::Permissive);
    let direction = if mode == MtlsMode::Strict { Direction::Enable } else { Direction::Disable { mode } };
    let mut plan = Plan::empty(direction);
    // The policy of the namespace decides the mode; a policy with a selector never passes PERMISSIVE for it.
    let is_wide = |name: &str| {
        let mut policies = snapshot.policies.peer.iter().chain(&restored.policies.peer);
        !policies.any(|policy| policy.namespace == snapshot.namespace && policy.name == name && !policy.is_wide())
    };
    for undo in undos {
        if let Some(reason) = undo.not_restored {
            let (name, other_fields) = (undo.name.clone(), undo.other_fields.clone());
            plan.warnings.push(Warning::NotRestored { kind: undo.kind, name, reason, other_fields });
        }
        match undo.kind {
            ObjectKind::Rule => plan.rules.push(rule_change(snapshot, undo)),
            ObjectKind::Policy if plan.policy.is_none() && is_wide(&undo.name) => {
                plan.policy = Some(policy_change(snapshot, undo, mode));
            }
            ObjectKind::Policy => plan.more_policies.push(policy_change(snapshot, undo, mode)),
        }
    }
    plan.rules_need_settling = plan.writes_rules();
    plan.passes_permissive = needs_permissive_step(snapshot, &plan);
    plan
}

fn rule_change(snapshot: &Snapshot, undo: &Undo) -> RuleChange {
    let action = match &undo.step {
        // No run deletes rules: a journal that says so is refused before.
        UndoStep::Nothing | UndoStep::Create(_) => RuleAction::Unchanged,
        UndoStep::PutBack(spec) => RuleAction::PutBack { spec: spec.clone() },
        UndoStep::Delete => RuleAction::Delete,
    };
    RuleChange { namespace: snapshot.namespace.clone(), name: undo.name.clone(), action }
}

fn policy_change(snapshot: &Snapshot, undo: &Undo, mode: MtlsMode) -> PolicyChange {
    let current_mode = current_mode(snapshot, &undo.name);
    // Nothing waits for an object that somebody else has changed, recreated or deleted.
    let is_foreign = match undo.not_restored {
        Some(
            NotRestored::Deleted
            | NotRestored::Recreated
            | NotRestored::Changed
            | NotRestored::NotOurs
            | NotRestored::OtherFields,
        ) => true,
        Some(NotRestored::ChangedBetweenRuns | NotRestored::Relabelled) | None => false,
    };
    let mode = (!is_foreign).then_some(mode);
    let action = match &undo.step {
        UndoStep::Nothing => PolicyAction::Unchanged { mode },
        UndoStep::PutBack(spec) => PolicyAction::PutBack { spec: spec.clone(), current_mode, mode },
        UndoStep::Delete => PolicyAction::Delete { current_mode, mode },
        UndoStep::Create(former) => PolicyAction::Recreate { former: former.clone(), mode },
    };
    PolicyChange { namespace: snapshot.namespace.clone(), name: undo.name.clone(), action }
}

/// The mode that the policy of this name sets now.
fn current_mode(snapshot: &Snapshot, name: &str) -> Option<MtlsMode> {
    let policies = &snapshot.policies;
    let is_named = |namespace: &str, policy: &str| namespace == snapshot.namespace && policy == name;
    if policies.legacy_only {
        let policy = policies.legacy.iter().find(|policy| is_named(&policy.namespace, &policy.name));
        return policy.map(|policy| policy.mode);
    }
    policies.peer.iter().find(|policy| is_named(&policy.namespace, &policy.name)).and_then(|policy| policy.mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::ClientTls;
    use crate::domain::testing::{json, policy, rule, shop};

    fn undo(kind: ObjectKind, name: &str, step: UndoStep) -> Undo {
        Undo { kind, name: name.into(), step, not_restored: None, other_fields: Vec::new() }
    }

    fn put_back() -> UndoStep {
        UndoStep::PutBack(json("former"))
    }

    fn order(plan: &Plan) -> Vec<(ObjectKind, Option<MtlsMode>, &'static str)> {
        plan.phases()
            .iter()
            .map(|phase| (phase.kind, phase.changes[0].mode(), phase.changes[0].result_word()))
            .collect()
    }

    fn enabled(mode: MtlsMode) -> Snapshot {
        let mut snapshot = shop(&["web"]);
        snapshot.policies.peer.push(policy("default", 1, Some(mode)));
        snapshot.rules.push(rule("web", "web", Some(ClientTls::IstioMutual)));
        snapshot
    }

    #[test]
    fn servers_change_first_unless_the_former_mode_is_strict() {
        let undos =
            [undo(ObjectKind::Policy, "default", UndoStep::Delete), undo(ObjectKind::Rule, "web", UndoStep::Delete)];
        let to_permissive = restoration(&enabled(MtlsMode::Strict), shop(&["web"]).policies, &undos);
        assert_eq!(
            order(&to_permissive),
            [(ObjectKind::Policy, Some(MtlsMode::Permissive), "deleted"), (ObjectKind::Rule, None, "deleted")]
        );
        let undos = [undo(ObjectKind::Policy, "default", put_back()), undo(ObjectKind::Rule, "web", put_back())];
        let to_strict = restoration(&enabled(MtlsMode::Permissive), enabled(MtlsMode::Strict).policies, &undos);
        assert_eq!(
            order(&to_strict),
            [(ObjectKind::Rule, None, "restored"), (ObjectKind::Policy, Some(MtlsMode::Strict), "restored")]
        );
    }

    #[test]
    fn a_return_to_disable_passes_permissive() {
        let undos = [undo(ObjectKind::Policy, "default", put_back()), undo(ObjectKind::Rule, "web", put_back())];
        let plan = restoration(&enabled(MtlsMode::Strict), enabled(MtlsMode::Disable).policies, &undos);
        assert_eq!(
            order(&plan),
            [
                (ObjectKind::Policy, Some(MtlsMode::Permissive), "configured"),
                (ObjectKind::Rule, None, "restored"),
                (ObjectKind::Policy, Some(MtlsMode::Disable), "restored")
            ]
        );
    }

    #[test]
    fn an_object_that_is_not_restored_is_reported() {
        let mut changed = undo(ObjectKind::Rule, "web", UndoStep::Nothing);
        changed.not_restored = Some(NotRestored::Changed);
        let plan = restoration(&enabled(MtlsMode::Strict), shop(&["web"]).policies, &[changed]);
        assert!(!plan.has_writes());
        assert!(plan.warnings[0].to_string().contains("changed"), "{}", plan.warnings[0]);
    }
}
