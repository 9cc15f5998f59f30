//! The namespace as it would be once a plan is carried out, so that what the plan itself repairs is no objection to it.

use super::{Action, Change, Edit, Plan, Target, TlsPlace};
use crate::domain::enforcement::policies_after;
use crate::domain::mesh::{DestinationRule, RuleDetails, Snapshot};
use crate::domain::rule::ClientTls;
use std::collections::BTreeMap;

/// The snapshot with every change of the plan made.
pub fn after(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    let mut after = snapshot.clone();
    for change in plan.changes().filter(|change| change.is_write()) {
        match change.target {
            Target::Policy => {
                if let Some(mode) = change.mode {
                    after.policies = policies_after(&after.policies, change, mode);
                }
            }
            Target::Rule => changed_rule(&mut after.rules, change),
        }
    }
    after
}

fn changed_rule(rules: &mut Vec<DestinationRule>, change: &Change) {
    match &change.action {
        Action::Create => rules.push(created(change)),
        Action::Apply { rule, .. } | Action::Merge { rule, .. } => {
            rules.retain(|rule| rule.namespace != change.namespace || rule.name != change.name);
            rules.extend(rule.as_deref().cloned());
        }
        Action::Edit(edits) => {
            let rule = rules.iter_mut().find(|rule| rule.namespace == change.namespace && rule.name == change.name);
            let Some(rule) = rule else { return };
            for edit in edits {
                match edit {
                    Edit::SetTls { place, .. } => set(rule, *place, Some(ClientTls::IstioMutual)),
                    Edit::RemoveTls { place } => set(rule, *place, None),
                    Edit::SetMode { .. } => {}
                }
            }
        }
        Action::Delete { .. } => {
            rules.retain(|rule| rule.namespace != change.namespace || rule.name != change.name);
        }
        // What a restore puts back is text here; nobody examines a namespace before a restore.
        Action::PutBack { .. } | Action::Unchanged => {}
    }
}

fn created(change: &Change) -> DestinationRule {
    DestinationRule {
        namespace: change.namespace.clone(),
        name: change.name.clone(),
        created: i64::MAX,
        revision: None,
        host: change.host.clone().unwrap_or_default(),
        export_to: Vec::new(),
        client_selector: BTreeMap::new(),
        has_traffic_policy: true,
        has_other_traffic_settings: false,
        tls: Some(ClientTls::IstioMutual),
        ports: Vec::new(),
        subsets: Vec::new(),
        details: RuleDetails::default(),
        foreign_manager: None,
    }
}

fn set(rule: &mut DestinationRule, place: TlsPlace, tls: Option<ClientTls>) {
    let slot = match place {
        TlsPlace::Top => {
            rule.has_traffic_policy |= tls.is_some();
            Some(&mut rule.tls)
        }
        TlsPlace::Port(port) => rule.ports.get_mut(port).map(|entry| &mut entry.tls),
        TlsPlace::Subset(subset) => rule.subsets.get_mut(subset).map(|subset| &mut subset.tls),
        TlsPlace::SubsetPort(subset, port) => {
            rule.subsets.get_mut(subset).and_then(|subset| subset.ports.get_mut(port)).map(|entry| &mut entry.tls)
        }
    };
    if let Some(slot) = slot {
        *slot = tls;
        rule.details.empty_tls.retain(|empty| *empty != place);
        rule.details.credentials.retain(|secret| *secret != place);
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{ENABLE, policy, rule, shop};
    use super::super::{RuleChoice, SwitchRequest, plan};
    use super::*;
    use crate::domain::findings::{Code, Purpose, Severity, examine};
    use crate::domain::mesh::{DataPlane, MtlsMode};
    use crate::domain::namespace_context::NamespaceContext;
    use crate::domain::overview::tests::{namespace_context, with_rules};

    /// The errors that would stand after turning STRICT on.
    fn errors(context: &NamespaceContext, wish: &SwitchRequest) -> Vec<Code> {
        let snapshot = after(&context.snapshot, &plan(&context.snapshot, wish));
        let context = context.clone().with(snapshot);
        let errors = examine(&context, Purpose::BeforeSwitch).1.into_iter();
        errors.filter(|finding| finding.severity == Severity::Error).map(|finding| finding.code).collect()
    }

    #[test]
    fn a_rule_that_the_plan_repairs_is_no_objection() {
        let plain = || with_rules(namespace_context(&["web"]), vec![rule("web", "web", Some(ClientTls::Disable))]);
        assert_eq!(errors(&plain(), &ENABLE), []);
        let untouched = SwitchRequest { destination_rules: RuleChoice::Never, ..ENABLE };
        assert_eq!(errors(&plain(), &untouched), [Code::PlaintextToStrict]);
    }

    #[test]
    fn a_rule_of_another_namespace_is_one() {
        let mut foreign = rule("plain", "*.local", Some(ClientTls::Disable));
        foreign.namespace = "front".into();
        assert_eq!(errors(&with_rules(namespace_context(&["web"]), vec![foreign]), &ENABLE), [Code::PlaintextToStrict]);
    }

    #[test]
    fn a_plan_that_is_carried_out_has_nothing_left_to_do() {
        let mut snapshot = shop(&["api", "web"]);
        snapshot.rules.push(rule("web", "web", Some(ClientTls::Simple)));
        snapshot.policies.peer.push(policy("default", 1, Some(MtlsMode::Permissive)));
        let done = after(&snapshot, &plan(&snapshot, &ENABLE));
        assert!(!plan(&done, &ENABLE).has_writes());
    }

    #[test]
    fn a_workload_without_a_sidecar_would_be_open() {
        let mut context = namespace_context(&["web"]);
        let pod = context.snapshot.pods.get_mut("web-0").expect("a pod");
        pod.data_plane = DataPlane::None;
        pod.labels.remove("security.istio.io/tlsMode");
        assert_eq!(errors(&context, &ENABLE), [Code::Unprotected]);
    }
}
