//! What stays of mutual TLS when it is turned off: objects that say less than before, and that a later setting of the mesh
//! does not change.

use super::{Plan, PolicyAction, RuleAction, after};
use crate::domain::mesh::{MtlsMode, Snapshot};
use std::fmt;

/// An object that stays and exempts the namespace from a setting of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leftover {
    /// An explicit mode overrides the one of the mesh (PA-8).
    Policy { namespace: String, name: String, mode: MtlsMode },
    /// A rule with a host alone ends the look-up before the rules of the root namespace (DR-3).
    Rules { namespace: String, names: Vec<String> },
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { namespace, name, mode } => write!(
                f,
                "peerauthentication/{name} stays with {mode}, which exempts the namespace from a STRICT of the mesh; delete it \
                 with: kubectl delete peerauthentication {name} -n {namespace}"
            ),
            Self::Rules { namespace, names } => write!(
                f,
                "rules stay with a host alone, and hide rules of the mesh's root namespace for it; delete them with: kubectl \
                 delete destinationrule {} -n {namespace}",
                names.join(" ")
            ),
        }
    }
}

/// What stays after a plan that turns mutual TLS off; nothing after one that turns it on.
pub fn leftovers(snapshot: &Snapshot, plan: &Plan) -> Vec<Leftover> {
    let namespace = &snapshot.namespace;
    let mut leftovers = Vec::new();
    let policy = plan.policy.as_ref().filter(|policy| !matches!(policy.action, PolicyAction::Delete { .. }));
    if let Some((policy, mode)) = policy.and_then(|policy| Some((policy, policy.mode()?)))
        && mode != MtlsMode::Strict
        && !snapshot.policies.legacy_only
        && *namespace != snapshot.policies.root_namespace
    {
        leftovers.push(Leftover::Policy { namespace: namespace.clone(), name: policy.name.clone(), mode });
    }
    let edited =
        |name: &str| plan.rules.iter().any(|rule| rule.name == name && matches!(rule.action, RuleAction::Edit(_)));
    let after = after(snapshot, plan);
    let empty = after.rules.iter().filter(|rule| {
        rule.namespace == *namespace && !rule.has_traffic_policy && rule.subsets.is_empty() && edited(&rule.name)
    });
    let names: Vec<String> = empty.map(|rule| rule.name.clone()).collect();
    if !names.is_empty() {
        leftovers.push(Leftover::Rules { namespace: namespace.clone(), names });
    }
    leftovers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::ClientTls;
    use crate::domain::plan::plan;
    use crate::domain::testing::{DISABLE, ENABLE, policy, rule, shop};

    #[test]
    fn what_stays_after_mutual_tls_is_named_with_the_way_to_remove_it() {
        let mut snapshot = shop(&["api", "web"]);
        snapshot.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
        let mut pools = rule("api", "api", Some(ClientTls::IstioMutual));
        pools.has_other_traffic_settings = true;
        snapshot.rules = vec![pools, rule("web", "web", Some(ClientTls::IstioMutual))];
        let texts: Vec<String> =
            leftovers(&snapshot, &plan(&snapshot, &DISABLE)).iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(
            texts[0].contains("PERMISSIVE") && texts[0].ends_with("kubectl delete peerauthentication default -n shop")
        );
        assert!(texts[1].ends_with("kubectl delete destinationrule web -n shop"), "{}", texts[1]);
        assert_eq!(leftovers(&snapshot, &plan(&snapshot, &ENABLE)), []);
    }
}
