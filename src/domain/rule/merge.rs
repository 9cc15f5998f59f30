//! Merges the `DestinationRules` that one namespace has for one host as the control plane does, for [`super::Serving`] and
//! for the rule in force of a client.

use super::DestinationRule;
use crate::domain::selector::has_labels;
use std::collections::{BTreeMap, BTreeSet};

/// A rule with the later rules for the same host that are merged into it (DR-6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The first rule decides the selector and the visibility. Never empty.
    rules: Vec<&'a DestinationRule>,
    /// `exportTo` of the first rule; a merge does not add to it.
    export_to: BTreeSet<&'a str>,
}

/// How a later rule for the same host relates to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merge {
    /// The rule is not merged into the entry.
    Apart,
    /// The rule is merged into the entry and has no entry of its own.
    Absorbed,
    /// The rule is merged into the entry and has its own entry too.
    Shared,
}

impl<'a> Entry<'a> {
    fn new(rule: &'a DestinationRule) -> Self {
        Self { rules: vec![rule], export_to: export_to(rule) }
    }

    /// The merged rules, in the order of the merge.
    pub fn rules(&self) -> &[&'a DestinationRule] {
        &self.rules
    }

    /// Labels of the clients to which the entry applies. `None` is all clients; no labels are all clients of the namespace
    /// (DR-5).
    pub fn selector(&self) -> Option<&'a BTreeMap<String, String>> {
        self.rules[0].client_selector.as_ref()
    }

    /// Whether the entry applies only to the clients that its selector matches.
    pub fn selects_clients(&self) -> bool {
        self.selector().is_some()
    }

    /// Whether the entry has a selector that matches a client with these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.selector().is_some_and(|selector| has_labels(labels, selector))
    }

    /// The rule whose `trafficPolicy` applies as a whole: the first that has one (DR-6).
    pub fn policy(&self) -> Option<&'a DestinationRule> {
        self.rules.iter().copied().find(|rule| rule.has_traffic_policy)
    }

    /// Whether clients of another namespace see the entry (DR-4).
    pub fn is_exported_to(&self, namespace: &str) -> bool {
        self.export_to.is_empty() || self.export_to.contains("*") || self.export_to.contains(namespace)
    }

    /// How the later rule of `candidate` relates to this entry.
    fn merge_of(&self, candidate: &Self) -> Merge {
        let equal = self.export_to == candidate.export_to;
        // DR-7: no set counts as a superset of a missing `exportTo`.
        let wider = !self.export_to.is_empty() && self.export_to.is_subset(&candidate.export_to);
        let both_select = self.selects_clients() && candidate.selects_clients();
        let is_other_selector = both_select && self.selector() != candidate.selector();
        if is_other_selector || !equal && !wider {
            Merge::Apart
        } else if equal || self.selects_clients() == candidate.selects_clients() {
            // DR-8: this includes a private rule after an entry with a selector.
            Merge::Absorbed
        } else {
            Merge::Shared
        }
    }
}

/// `exportTo` as written: `.` and the name of the rule's namespace are different (DR-7). A rule with a selector is private
/// (DR-5).
fn export_to(rule: &DestinationRule) -> BTreeSet<&str> {
    if rule.selects_clients() { BTreeSet::from(["."]) } else { rule.export_to.iter().map(String::as_str).collect() }
}

/// Merges the rules of one namespace for one host: first those with a selector, then the others, each from the oldest to
/// the youngest (DR-6, DR-7).
pub fn merge<'a>(rules: &[&'a DestinationRule]) -> Vec<Entry<'a>> {
    let mut sorted = rules.to_vec();
    sorted.sort_by_key(|rule| (!rule.selects_clients(), rule.age_key()));
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for rule in sorted {
        let candidate = Entry::new(rule);
        let merges: Vec<Merge> = entries.iter().map(|entry| entry.merge_of(&candidate)).collect();
        for (entry, _) in entries.iter_mut().zip(&merges).filter(|(_, merge)| **merge != Merge::Apart) {
            entry.rules.push(rule);
        }
        // DR-7: only the last entry decides this, also for a rule that an earlier entry absorbs.
        if merges.last() != Some(&Merge::Absorbed) {
            entries.push(candidate);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::rule;

    const HOST: &str = "web.shop.svc.cluster.local";

    /// `exportTo` and the selector's `app` of each rule, the oldest first. The rules are named `a`, `b`, `c`.
    type Rules = [(&'static [&'static str], Option<&'static str>)];

    fn merged(rules: &Rules) -> Vec<String> {
        let made = rules.iter().zip(["a", "b", "c"]).enumerate().map(|(created, ((export_to, app), name))| {
            let mut made = rule(name, HOST, None);
            made.created = i64::try_from(created).expect("a small number");
            made.export_to = export_to.iter().map(|audience| (*audience).to_owned()).collect();
            made.client_selector = app.map(|app| [("app".to_owned(), app.to_owned())].into());
            made
        });
        let rules: Vec<DestinationRule> = made.collect();
        let names = |entry: &Entry<'_>| entry.rules().iter().map(|rule| rule.name.as_str()).collect();
        merge(&rules.iter().collect::<Vec<_>>()).iter().map(names).collect()
    }

    #[test]
    fn rules_are_merged_by_their_export_to_as_written() {
        let cases: [(&Rules, &[&str]); 11] = [
            (&[(&[], None), (&[], None)], &["ab"]),
            (&[(&["x", "y"], None), (&["y", "x"], None)], &["ab"]),
            (&[(&["."], None), (&["shop"], None)], &["a", "b"]),
            (&[(&[], None), (&["*"], None)], &["a", "b"]),
            (&[(&["x"], None), (&["y"], None)], &["a", "b"]),
            // A superset is merged, a subset is not.
            (&[(&["x"], None), (&["x", "y"], None)], &["ab"]),
            (&[(&["x", "y"], None), (&["x"], None)], &["a", "b"]),
            // The last entry alone decides whether a rule has an entry of its own.
            (&[(&["x"], None), (&["y"], None), (&["x"], None)], &["ac", "b", "c"]),
            // DR-8.
            (&[(&[], Some("batch")), (&["."], None)], &["ab"]),
            (&[(&[], Some("batch")), (&[".", "x"], None)], &["ab", "b"]),
            (&[(&[], Some("batch")), (&[], Some("batch")), (&[], Some("web"))], &["ab", "c"]),
        ];
        for (rules, expected) in cases {
            assert_eq!(merged(rules), expected, "{rules:?}");
        }
    }
}
