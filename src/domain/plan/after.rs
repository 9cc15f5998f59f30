//! Computes the namespace as a plan leaves it, so that a check before the first write does not report what the plan
//! itself repairs.

use super::{Plan, PolicyAction, PolicyChange, RuleAction, RuleChange, TlsEdit, TlsPlace};
use crate::domain::mesh::{DestinationRule, LegacyPolicy, MtlsMode, PeerAuthentication, Policies, Snapshot};
use crate::domain::rule::{ClientTls, PortTls};
use std::collections::{BTreeMap, HashMap};

/// The snapshot with every change of the plan made.
pub fn after(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    let mut after = snapshot.clone();
    after.policies = policies_after(&snapshot.policies, plan);
    after.rules = rules_after(after.rules, &plan.rules);
    after
}

/// The policies with every change of the plan made.
pub fn policies_after(policies: &Policies, plan: &Plan) -> Policies {
    let mut after = policies.clone();
    for change in plan.policies().filter(|change| change.is_write()) {
        change_policy(&mut after, change);
    }
    after
}

/// The rules with every change made.
fn rules_after(rules: Vec<DestinationRule>, changes: &[RuleChange]) -> Vec<DestinationRule> {
    let mut changes: HashMap<(String, String), &RuleChange> =
        changes.iter().map(|change| ((change.namespace.clone(), change.name.clone()), change)).collect();
    let mut after = Vec::with_capacity(rules.len() + changes.len());
    for rule in rules {
        match changes.remove(&(rule.namespace.clone(), rule.name.clone())) {
            Some(change) => after.extend(change_rule(Some(rule), change)),
            None => after.push(rule),
        }
    }
    let mut created: Vec<&RuleChange> = changes.into_values().collect();
    created.sort_by_key(|change| (&change.namespace, &change.name));
    after.extend(created.into_iter().filter_map(|change| change_rule(None, change)));
    after
}

fn change_policy(policies: &mut Policies, change: &PolicyChange) {
    let is_changed = |policy: &PeerAuthentication| policy.namespace == change.namespace && policy.name == change.name;
    let opened = |ports: &BTreeMap<u16, MtlsMode>| ports.iter().map(|(port, mode)| (*port, Some(*mode))).collect();
    match &change.action {
        PolicyAction::CreateForPods { selector, mode, ports } => policies.peer.push(PeerAuthentication {
            selector: selector.clone(),
            mode: *mode,
            ports: opened(ports),
            is_ours: true,
            ..new_policy(change)
        }),
        PolicyAction::SetPorts { ports } => {
            for policy in policies.peer.iter_mut().filter(|policy| is_changed(policy)) {
                policy.ports.extend(opened(ports));
            }
        }
        PolicyAction::DeleteSuperfluous => policies.peer.retain(|policy| !is_changed(policy)),
        action => {
            if let Some(given) = action.given_policy() {
                policies.peer.retain(|policy| !is_changed(policy));
                policies.peer.push(given.clone());
            } else if let Some(mode) = change.mode() {
                set_mode(policies, change, mode);
            }
        }
    }
}

/// A policy that this tool creates: it is younger than every other.
fn new_policy(change: &PolicyChange) -> PeerAuthentication {
    let (namespace, name) = (change.namespace.clone(), change.name.clone());
    PeerAuthentication { namespace, name, created: i64::MAX, ..PeerAuthentication::default() }
}

/// Gives a policy this mode, or creates it without a selector.
fn set_mode(policies: &mut Policies, change: &PolicyChange, mode: MtlsMode) {
    let is_changed = |namespace: &str, name: &str| namespace == change.namespace && name == change.name;
    if policies.legacy_only {
        if let Some(policy) = policies.legacy.iter_mut().find(|policy| is_changed(&policy.namespace, &policy.name)) {
            policy.mode = mode;
        } else {
            let PeerAuthentication { namespace, name, created, .. } = new_policy(change);
            policies.legacy.push(LegacyPolicy { namespace, name, created, targets: Vec::new(), mode });
        }
        return;
    }
    if let Some(policy) = policies.peer.iter_mut().find(|policy| is_changed(&policy.namespace, &policy.name)) {
        policy.mode = Some(mode);
    } else {
        policies.peer.push(PeerAuthentication { mode: Some(mode), ..new_policy(change) });
    }
}

/// A rule as a change leaves it; `None` where it does not exist then.
fn change_rule(rule: Option<DestinationRule>, change: &RuleChange) -> Option<DestinationRule> {
    match &change.action {
        RuleAction::Create { host, plaintext_ports } => Some(DestinationRule {
            namespace: change.namespace.clone(),
            name: change.name.clone(),
            created: i64::MAX,
            host: host.clone(),
            has_traffic_policy: true,
            has_other_traffic_settings: !plaintext_ports.is_empty(),
            tls: Some(ClientTls::IstioMutual),
            ports: plaintext_ports
                .iter()
                .map(|port| PortTls { port: Some(*port), tls: Some(ClientTls::Disable) })
                .collect(),
            ..DestinationRule::default()
        }),
        RuleAction::Apply { rule, .. } | RuleAction::Merge { rule, .. } => Some((**rule).clone()),
        RuleAction::Edit(edits) => {
            let mut rule = rule?;
            for edit in edits {
                match edit {
                    TlsEdit::Set { place, .. } => set_tls(&mut rule, *place, Some(ClientTls::IstioMutual)),
                    TlsEdit::Remove { place } => set_tls(&mut rule, *place, None),
                }
            }
            Some(rule)
        }
        RuleAction::Delete => None,
        // A spec that is put back is JSON, which this module does not read; no check needs it, because nothing is
        // checked before a restore.
        RuleAction::PutBack { .. } | RuleAction::Unchanged => rule,
    }
}

fn set_tls(rule: &mut DestinationRule, place: TlsPlace, tls: Option<ClientTls>) {
    let slot = match place {
        TlsPlace::Top => {
            // A `tls` block that is removed takes the parents with it that it leaves empty (VA-3).
            rule.has_traffic_policy = tls.is_some() || rule.has_other_traffic_settings;
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
    use super::super::{RuleChoice, SwitchRequest, plan};
    use super::*;
    use crate::domain::findings::{Code, Purpose, Severity, examine};
    use crate::domain::mesh::{DataPlane, MtlsMode};
    use crate::domain::namespace_context::NamespaceContext;
    use crate::domain::testing::{ENABLE, namespace_context, policy, rule, shop, with_rules};

    /// The findings about protection that are left once STRICT is on.
    fn unprotected(context: &NamespaceContext) -> Vec<Code> {
        let snapshot = after(&context.snapshot, &plan(&context.snapshot, &ENABLE));
        let found = examine(&context.clone().with(snapshot), Purpose::BeforeSwitch).1.into_iter();
        found.map(|finding| finding.code).filter(|code| code.is_about_protection()).collect()
    }

    /// The errors that are left once STRICT is on.
    fn errors(context: &NamespaceContext, request: &SwitchRequest) -> Vec<Code> {
        let snapshot = after(&context.snapshot, &plan(&context.snapshot, request));
        let context = context.clone().with(snapshot);
        let errors = examine(&context, Purpose::BeforeSwitch).1.into_iter();
        errors.filter(|finding| finding.severity == Severity::Error).map(|finding| finding.code).collect()
    }

    #[test]
    fn a_rule_that_the_plan_repairs_is_no_error() {
        let plaintext = || with_rules(namespace_context(&["web"]), vec![rule("web", "web", Some(ClientTls::Disable))]);
        assert_eq!(errors(&plaintext(), &ENABLE), []);
        let without_rules = SwitchRequest { destination_rules: RuleChoice::Never, ..ENABLE };
        assert_eq!(errors(&plaintext(), &without_rules), [Code::PlaintextToStrict]);
    }

    #[test]
    fn a_rule_of_another_namespace_is_an_error() {
        let mut foreign = rule("plain", "*.local", Some(ClientTls::Disable));
        foreign.namespace = "front".into();
        assert_eq!(errors(&with_rules(namespace_context(&["web"]), vec![foreign]), &ENABLE), [Code::PlaintextToStrict]);
    }

    #[test]
    fn a_plan_for_the_state_after_a_plan_has_no_writes() {
        let mut snapshot = shop(&["api", "web"]);
        snapshot.rules.push(rule("web", "web", Some(ClientTls::Disable)));
        snapshot.policies.peer.push(policy("default", 1, Some(MtlsMode::Permissive)));
        let done = after(&snapshot, &plan(&snapshot, &ENABLE));
        assert!(!plan(&done, &ENABLE).has_writes());
    }

    #[test]
    fn a_workload_without_a_sidecar_is_unprotected() {
        let mut context = namespace_context(&["web"]);
        let pod = context.snapshot.pods.get_mut("web-0").expect("a pod");
        pod.data_plane = DataPlane::None;
        pod.labels.remove("security.istio.io/tlsMode");
        assert_eq!((unprotected(&context), errors(&context, &ENABLE)), (vec![Code::Unprotected], Vec::new()));
    }
}
