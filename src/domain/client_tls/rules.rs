//! Finds the `DestinationRule` that is in force for a client, among the rules of the client's namespace, the Service's
//! namespace and the root namespace, for [`super::sends`].

use super::Client;
use crate::domain::mesh::is_read_by_revision;
use crate::domain::rule::{DestinationRule, RuleIndex, TlsPlace};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// A place for a `tls` block in a rule.
pub type Place<'a> = (&'a DestinationRule, TlsPlace);

/// Rules that the control plane merges into one (DR-6), the oldest first; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce<'a> {
    rules: Rc<[&'a DestinationRule]>,
}

impl<'a> InForce<'a> {
    /// Every rule that was merged, the oldest first.
    pub fn rules(&self) -> &[&'a DestinationRule] {
        &self.rules
    }

    /// The rules that take effect: the one whose `trafficPolicy` counts, and those with subsets, which add up (DR-6).
    pub fn effective_rules(&self) -> impl Iterator<Item = &'a DestinationRule> {
        let policy = self.policy().unwrap_or(self.rules[0]);
        self.rules.iter().copied().filter(move |rule| std::ptr::eq(*rule, policy) || !rule.subsets.is_empty())
    }

    /// The rule whose `trafficPolicy` applies as a whole: the first that has one (DR-6).
    pub fn policy(&self) -> Option<&'a DestinationRule> {
        self.rules.iter().copied().find(|rule| rule.has_traffic_policy)
    }

    /// The first rule that defines the subset of this name, with the subset's index in that rule.
    pub fn subset(&self, name: &str) -> Option<(&'a DestinationRule, usize)> {
        self.rules.iter().find_map(|rule| {
            let index = rule.subsets.iter().position(|subset| subset.name == name)?;
            Some((*rule, index))
        })
    }

    /// Whether auto mTLS does not decide for each endpoint (DR-23).
    pub fn passthrough(&self) -> bool {
        self.policy().is_some_and(|rule| rule.details.passthrough)
    }

    fn selector(&self) -> &'a BTreeMap<String, String> {
        // Rules with different selectors are not merged, and rules with a selector come first.
        &self.rules[0].client_selector
    }
}

/// The rules of the mesh, indexed by who sees them, for the proxies of one control plane.
#[derive(Debug, Clone)]
pub struct VisibleRules<'a> {
    root: &'a str,
    default_export: &'a [String],
    /// Rules that clients of the rule's own namespace see first, by namespace.
    local: HashMap<&'a str, RuleIndex<'a>>,
    /// Rules that clients of other namespaces may see, by the rule's namespace.
    exported: HashMap<&'a str, RuleIndex<'a>>,
    /// Rules that only clients of the root namespace see.
    private_root: RuleIndex<'a>,
    /// Rules that were merged before. Many Services share a wildcard rule, and are looked up for the same clients.
    merged: RefCell<HashMap<MergeKey, Rc<[InForce<'a>]>>>,
}

/// What decides how rules are merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct MergeKey {
    source: Source,
    /// The host or wildcard that the rules share.
    pattern: String,
    client_namespace: String,
}

/// Where the rules of a look-up come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    /// What the clients of the namespace see first.
    First,
    /// What a namespace exports.
    Exported(String),
}

/// The settings that decide who sees a rule.
#[derive(Debug, Clone, Copy)]
pub struct Sorting<'a> {
    pub root: &'a str,
    pub cluster_domain: &'a str,
    /// Who sees a rule without `exportTo`; only the values `*` and `.` have an effect (DR-4).
    pub default_export: &'a [String],
    /// Revision of the clients' proxies (DR-10).
    pub revision: Option<&'a str>,
}

impl<'a> VisibleRules<'a> {
    /// Indexes the rules that clients of the revision see. The order of `rules` does not matter.
    pub fn new(rules: impl IntoIterator<Item = &'a DestinationRule>, sorting: Sorting<'a>) -> Self {
        let Sorting { root, cluster_domain, default_export, revision } = sorting;
        let mut local: HashMap<&str, Vec<&DestinationRule>> = HashMap::new();
        let mut exported: HashMap<&str, Vec<&DestinationRule>> = HashMap::new();
        let mut private_root = Vec::new();
        for rule in rules {
            if !is_read_by_revision(rule.revision.as_deref(), revision) {
                continue;
            }
            let private = is_private(rule, default_export);
            if private || exports(rule, default_export, &rule.namespace) {
                local.entry(&rule.namespace).or_default().push(rule);
            }
            if !private {
                exported.entry(&rule.namespace).or_default().push(rule);
            } else if rule.namespace == root {
                private_root.push(rule);
            }
        }
        let index = |rules: HashMap<&'a str, Vec<&'a DestinationRule>>| -> HashMap<&'a str, RuleIndex<'a>> {
            let indexed = |(namespace, rules)| (namespace, RuleIndex::new(rules, cluster_domain));
            rules.into_iter().map(indexed).collect()
        };
        Self {
            root,
            default_export,
            local: index(local),
            exported: index(exported),
            private_root: RuleIndex::new(private_root, cluster_domain),
            merged: RefCell::default(),
        }
    }

    /// The rule in force for a client that calls `host` in namespace `service` (DR-3).
    pub fn in_force(&self, client: Client<'_>, host: &str, service: &str) -> Option<InForce<'a>> {
        // DR-9: public rules of the root namespace do not take precedence for clients in the root namespace.
        let first =
            if client.namespace == self.root { Some(&self.private_root) } else { self.local.get(client.namespace) };
        if let Some((pattern, rules)) = first.and_then(|index| index.most_specific(host)) {
            // DR-3, DR-5: a rule that does not select this client still ends the search.
            return choose(&self.merged(Source::First, pattern, client, || rules.to_vec()), client);
        }
        [service, self.root].into_iter().find_map(|namespace| {
            let (pattern, rules) = self.exported.get(namespace)?.most_specific(host)?;
            let visible =
                || rules.iter().copied().filter(|rule| exports(rule, self.default_export, client.namespace)).collect();
            choose(&self.merged(Source::Exported(namespace.to_owned()), pattern, client, visible), client)
        })
    }

    /// The rules for a pattern, merged for the clients of a namespace.
    fn merged(
        &self,
        source: Source,
        pattern: String,
        client: Client<'_>,
        rules: impl FnOnce() -> Vec<&'a DestinationRule>,
    ) -> Rc<[InForce<'a>]> {
        let mut merged = self.merged.borrow_mut();
        let entry = merged.entry(MergeKey { source, pattern, client_namespace: client.namespace.to_owned() });
        Rc::clone(entry.or_insert_with(|| merge(&rules()).into()))
    }
}

/// DR-4, DR-5: whether only clients of the rule's own namespace see it.
fn is_private(rule: &DestinationRule, default_export: &[String]) -> bool {
    if rule.selects_clients() {
        return true;
    }
    if rule.export_to.is_empty() {
        return default_export.iter().any(|audience| audience == ".");
    }
    rule.audience() == ["."]
}

fn exports(rule: &DestinationRule, default_export: &[String], namespace: &str) -> bool {
    if rule.export_to.is_empty() {
        return !default_export.iter().any(|audience| audience == ".") || rule.namespace == namespace;
    }
    let sees =
        |audience: &String| audience == "*" || audience == namespace || audience == "." && rule.namespace == namespace;
    rule.export_to.iter().any(sees)
}

/// The rules for one host that apply to the client: those that select it, or else the youngest without a selector
/// (DR-5, DR-7).
fn choose<'a>(groups: &[InForce<'a>], client: Client<'_>) -> Option<InForce<'a>> {
    let selects = |group: &&InForce<'_>| {
        !group.selector().is_empty()
            && group.selector().iter().all(|(key, value)| client.labels.get(key) == Some(value))
    };
    let special = groups.iter().find(selects);
    special.or_else(|| groups.iter().rev().find(|group| group.selector().is_empty())).cloned()
}

/// Merges rules of one host and namespace as the control plane does: first the groups with a selector, then the others
/// by age (DR-6, DR-7).
pub fn merge<'a>(rules: &[&'a DestinationRule]) -> Vec<InForce<'a>> {
    let mut sorted = rules.to_vec();
    sorted.sort_by_key(|rule| (!rule.selects_clients(), rule.created, rule.name.as_str(), rule.namespace.as_str()));
    let mut groups: Vec<Vec<&'a DestinationRule>> = Vec::new();
    for rule in sorted {
        let special = rule.selects_clients();
        // DR-8: a private rule is merged into the rules with a selector, and no longer applies to other clients.
        let is_absorbed = !special && rule.export_to == ["."];
        let joins = |group: &[&DestinationRule]| {
            let first = group[0];
            let same = first.client_selector == rule.client_selector;
            let same_audience = special || audience(first) == audience(rule);
            same && same_audience || is_absorbed && first.selects_clients()
        };
        let mut joined = false;
        for group in groups.iter_mut().filter(|group| joins(group)) {
            group.push(rule);
            joined = true;
        }
        if !joined {
            groups.push(vec![rule]);
        }
    }
    groups.into_iter().map(|rules| InForce { rules: rules.into() }).collect()
}

fn audience(rule: &DestinationRule) -> BTreeSet<&str> {
    rule.audience().into_iter().collect()
}

#[cfg(test)]
mod tests;
