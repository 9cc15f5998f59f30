//! Finds the `DestinationRule` that is in force for a client, among the rules of the client's namespace, the Service's
//! namespace and the root namespace, for [`super::sends`].

use super::Client;
use crate::domain::mesh::is_read_by_revision;
use crate::domain::rule::merge::{Entry, merge};
use crate::domain::rule::{DestinationRule, RuleIndex, TlsPlace};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A place for a `tls` block in a rule.
pub type Place<'a> = (&'a DestinationRule, TlsPlace);

/// The rules that the control plane merges into one for a client (DR-6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce<'a> {
    entry: Rc<Entry<'a>>,
}

impl<'a> InForce<'a> {
    /// Every rule that was merged, in the order of the merge; never empty.
    pub fn rules(&self) -> &[&'a DestinationRule] {
        self.entry.rules()
    }

    /// Whether they apply only to the clients that the first rule selects (DR-5).
    pub fn selects_clients(&self) -> bool {
        self.entry.selects_clients()
    }

    /// The rules that take effect: the one whose `trafficPolicy` counts, and those with subsets, which add up (DR-6).
    pub fn effective_rules(&self) -> impl Iterator<Item = &'a DestinationRule> {
        let policy = self.policy().unwrap_or(self.rules()[0]);
        self.rules().iter().copied().filter(move |rule| std::ptr::eq(*rule, policy) || !rule.subsets.is_empty())
    }

    /// The rule whose `trafficPolicy` applies as a whole: the first that has one (DR-6).
    pub fn policy(&self) -> Option<&'a DestinationRule> {
        self.entry.policy()
    }

    /// The first rule that defines the subset of this name, with the subset's index in that rule.
    pub fn subset(&self, name: &str) -> Option<(&'a DestinationRule, usize)> {
        self.rules().iter().find_map(|rule| {
            let index = rule.subsets.iter().position(|subset| subset.name == name)?;
            Some((*rule, index))
        })
    }

    /// Whether auto mTLS does not decide for each endpoint (DR-23).
    pub fn passthrough(&self) -> bool {
        self.policy().is_some_and(|rule| rule.details.passthrough)
    }
}

/// The rules of the mesh, indexed by who sees them, for the proxies of one control plane.
#[derive(Debug, Clone)]
pub struct VisibleRules<'a> {
    root: &'a str,
    /// Rules that clients of the rule's own namespace see first, by namespace.
    local: HashMap<&'a str, RuleIndex<'a>>,
    /// Rules that clients of other namespaces may see, by the rule's namespace.
    exported: HashMap<&'a str, RuleIndex<'a>>,
    /// Rules that only clients of the root namespace see.
    private_root: RuleIndex<'a>,
    /// Rules that were merged before. Many Services share a wildcard rule, and are looked up for the same clients.
    merged: RefCell<HashMap<MergeKey<'a>, Entries<'a>>>,
}

/// The merged rules for a host or a wildcard.
type Entries<'a> = Rc<[Rc<Entry<'a>>]>;

/// The set that the rules are from, and their host or wildcard.
type MergeKey<'a> = (Source<'a>, String);

/// A set of rules that are merged with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source<'a> {
    /// What the clients of the namespace see first.
    Local(&'a str),
    /// What the namespace exports.
    Exported(&'a str),
    /// What only clients of the root namespace see.
    PrivateRoot,
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
            if rule.is_visible_in_own_namespace() {
                local.entry(&rule.namespace).or_default().push(rule);
            }
            if !rule.is_private(default_export) {
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
            local: index(local),
            exported: index(exported),
            private_root: RuleIndex::new(private_root, cluster_domain),
            merged: RefCell::default(),
        }
    }

    /// The rule in force for a client that calls `host` in namespace `service` (DR-3).
    pub fn in_force(&self, client: Client<'_>, host: &str, service: &str) -> Option<InForce<'a>> {
        // DR-9: for clients in the root namespace its public rules do not come first.
        let first = if client.namespace == self.root {
            Some((Source::PrivateRoot, &self.private_root))
        } else {
            self.local.get_key_value(client.namespace).map(|(namespace, rules)| (Source::Local(namespace), rules))
        };
        if let Some(entries) = first.and_then(|(source, rules)| self.entries(source, rules, host)) {
            // DR-3, DR-5: entries that do not apply to this client also end the search.
            return choose(entries.iter(), client);
        }
        [service, self.root].into_iter().find_map(|namespace| {
            let (namespace, rules) = self.exported.get_key_value(namespace)?;
            let entries = self.entries(Source::Exported(namespace), rules, host)?;
            choose(entries.iter().filter(|entry| entry.is_exported_to(client.namespace)), client)
        })
    }

    /// The merged rules of the most specific host that covers `host`.
    fn entries(&self, source: Source<'a>, rules: &RuleIndex<'a>, host: &str) -> Option<Entries<'a>> {
        let (pattern, rules) = rules.most_specific(host)?;
        let mut merged = self.merged.borrow_mut();
        let entries =
            merged.entry((source, pattern)).or_insert_with(|| merge(rules).into_iter().map(Rc::new).collect());
        Some(Rc::clone(entries))
    }
}

/// The entry for one host that applies to the client: the first with a selector that matches it, or else the last without
/// a selector (DR-5, DR-7).
fn choose<'e, 'a: 'e>(entries: impl Iterator<Item = &'e Rc<Entry<'a>>>, client: Client<'_>) -> Option<InForce<'a>> {
    let entries: Vec<_> = entries.collect();
    let selecting = entries.iter().find(|entry| entry.selects(client.labels));
    let entry = selecting.or_else(|| entries.iter().rev().find(|entry| !entry.selects_clients()))?;
    Some(InForce { entry: Rc::clone(entry) })
}

#[cfg(test)]
mod tests;
