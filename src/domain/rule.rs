//! `DestinationRules` as values, and which of several rules for one host is in force, for `plan`, `client_tls` and the
//! findings.

pub mod merge;

use merge::{Entry, merge};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// The TLS mode of a `DestinationRule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientTls {
    /// Plaintext; `tls: {}` means this too (DR-15).
    Disable,
    /// TLS to a server outside the mesh.
    Simple,
    /// TLS with the user's own client certificate.
    Mutual,
    /// The mesh's mutual TLS.
    IstioMutual,
}

impl ClientTls {
    /// The mode of a `tls` block; an absent or unknown mode is DISABLE, the enum's zero value (DR-15).
    pub fn parse(mode: Option<&str>) -> Self {
        match mode {
            Some("SIMPLE") => Self::Simple,
            Some("MUTUAL") => Self::Mutual,
            Some("ISTIO_MUTUAL") => Self::IstioMutual,
            _ => Self::Disable,
        }
    }

    /// The value in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "DISABLE",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::IstioMutual => "ISTIO_MUTUAL",
        }
    }
}

impl fmt::Display for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One `portLevelSettings` entry. It replaces the whole policy for that Service port (DR-12).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortTls {
    /// The Service port; `None` if the entry names none.
    pub port: Option<u16>,
    /// `None` means that the port has no TLS setting; it does not inherit one.
    pub tls: Option<ClientTls>,
}

/// The TLS settings of one subset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubsetTls {
    pub name: String,
    /// The labels that select the pods of the subset.
    pub labels: BTreeMap<String, String>,
    /// `trafficPolicy.tls` of the subset; `None` inherits the rule's (DR-12).
    pub tls: Option<ClientTls>,
    /// Its `portLevelSettings`, in the order of the object.
    pub ports: Vec<PortTls>,
}

/// Settings of a rule that change the meaning of its modes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleDetails {
    /// Places with a `tls` block without a mode, which means DISABLE (DR-15).
    pub empty_tls: Vec<TlsPlace>,
    /// Places whose `tls` has a `credentialName`; sidecars send plaintext then, unless the rule selects them (DR-18).
    pub credentials: Vec<TlsPlace>,
    /// `loadBalancer.simple: PASSTHROUGH`: auto mTLS does not decide for each endpoint (DR-23).
    pub passthrough: bool,
    /// Whether a `tls` for mutual TLS sets `sni`, the name that the server's access log has for its calls.
    pub server_name: bool,
}

/// `spec` of a `DestinationRule`, with the metadata that decides whether it is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationRule {
    pub namespace: String,
    pub name: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// Label `istio.io/rev` (DR-10).
    pub revision: Option<String>,
    /// `host` as written.
    pub host: String,
    /// `exportTo` as written; empty is the mesh's default (DR-4).
    pub export_to: Vec<String>,
    /// `workloadSelector.matchLabels`: the client pods to which it applies. No labels are all clients of its namespace (DR-5).
    pub client_selector: Option<BTreeMap<String, String>>,
    /// Whether it has a `trafficPolicy`: the first one among merged rules applies as a whole (DR-6).
    pub has_traffic_policy: bool,
    /// Whether that policy sets more than TLS: pools, outlier detection, load balancing.
    pub has_other_traffic_settings: bool,
    /// `trafficPolicy.tls`.
    pub tls: Option<ClientTls>,
    /// `trafficPolicy.portLevelSettings`, in the order of the object.
    pub ports: Vec<PortTls>,
    /// `subsets`, in the order of the object.
    pub subsets: Vec<SubsetTls>,
    pub details: RuleDetails,
    /// A field manager that owns a `tls` of this rule and is neither this tool nor an interactive client.
    pub foreign_manager: Option<String>,
}

/// A place for a `tls` block in a `DestinationRule`; numbers are indices of the object's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsPlace {
    /// `trafficPolicy.tls`.
    Top,
    /// `trafficPolicy.portLevelSettings[i].tls`.
    Port(usize),
    /// `subsets[i].trafficPolicy.tls`.
    Subset(usize),
    /// `subsets[i].trafficPolicy.portLevelSettings[j].tls`.
    SubsetPort(usize, usize),
}

impl TlsPlace {
    /// Whether a missing `tls` at this place inherits the rule's own (DR-12: only a subset's does).
    pub const fn inherits(self) -> bool {
        matches!(self, Self::Subset(_))
    }
}

impl DestinationRule {
    /// The key by which the control plane orders rules: oldest first (DR-6).
    pub fn age_key(&self) -> (i64, &str, &str) {
        (self.created, &self.name, &self.namespace)
    }

    /// The host that Istio understands: a name without a dot is short for a Service of the rule's namespace (DR-1).
    pub fn resolved_host(&self, cluster_domain: &str) -> String {
        if self.host.contains('.') || self.host == "*" || self.host.parse::<std::net::IpAddr>().is_ok() {
            return self.host.clone();
        }
        format!("{}.{}.svc.{cluster_domain}", self.host, self.namespace)
    }

    /// Whether it has a `workloadSelector`, which makes it private (DR-5).
    pub fn selects_clients(&self) -> bool {
        self.client_selector.is_some()
    }

    /// Whether the host is a pattern.
    pub fn is_wildcard(&self) -> bool {
        self.host.starts_with('*')
    }

    /// Every place that has a `tls` block or could override the rule's own, with its mode.
    pub fn places(&self) -> Vec<(TlsPlace, Option<ClientTls>)> {
        let mut places = vec![(TlsPlace::Top, self.tls)];
        places.extend(self.ports.iter().enumerate().map(|(index, port)| (TlsPlace::Port(index), port.tls)));
        places.extend(self.subset_places());
        places
    }

    /// The places of the subsets only: merged rules contribute their subsets even if another rule's policy applies (DR-6).
    pub fn subset_places(&self) -> Vec<(TlsPlace, Option<ClientTls>)> {
        let mut places = Vec::new();
        for (index, subset) in self.subsets.iter().enumerate() {
            places.push((TlsPlace::Subset(index), subset.tls));
            let ports = subset.ports.iter().enumerate();
            places.extend(ports.map(|(port, entry)| (TlsPlace::SubsetPort(index, port), entry.tls)));
        }
        places
    }

    /// Whether only clients of its own namespace see it (DR-4, DR-5). Without `exportTo`, `default_export` decides.
    pub(super) fn is_private(&self, default_export: &[String]) -> bool {
        if self.selects_clients() {
            return true;
        }
        match &self.export_to[..] {
            [] => default_export.iter().any(|audience| audience == "."),
            [audience] => audience == "." || *audience == self.namespace,
            _ => false,
        }
    }

    /// Whether the clients of its own namespace see it (DR-4).
    pub(super) fn is_visible_in_own_namespace(&self) -> bool {
        let includes_own = |audience: &String| audience == "*" || audience == "." || *audience == self.namespace;
        self.selects_clients() || self.export_to.is_empty() || self.export_to.iter().any(includes_own)
    }
}

/// Whether `pattern` (a resolved host) covers `host`: it is equal, or `host` ends with what follows the star (DR-2).
pub fn covers(pattern: &str, host: &str) -> bool {
    pattern.strip_prefix('*').map_or(pattern == host, |suffix| host.ends_with(suffix))
}

/// The rules that apply to one host: those of the most specific host that covers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving<'a> {
    /// Their resolved host: the host itself or a wildcard.
    pub host: String,
    /// The rules whose policy can apply to some clients, the oldest first (DR-5, DR-6, DR-7).
    pub in_force: Vec<&'a DestinationRule>,
    /// The other rules, of which only subsets apply.
    pub idle: Vec<&'a DestinationRule>,
    /// Whether all of them apply only to clients that a selector matches (DR-5, DR-8).
    pub selects_clients: bool,
}

/// Rules indexed by host, so that the cost of a look-up does not grow with their number.
#[derive(Debug, Clone)]
pub struct RuleIndex<'a> {
    exact: HashMap<String, Vec<&'a DestinationRule>>,
    /// By the suffix after the star.
    wildcards: HashMap<String, Vec<&'a DestinationRule>>,
}

impl<'a> RuleIndex<'a> {
    /// Indexes `rules` by their resolved hosts.
    pub fn new(rules: impl IntoIterator<Item = &'a DestinationRule>, cluster_domain: &str) -> Self {
        let mut index = Self { exact: HashMap::new(), wildcards: HashMap::new() };
        for rule in rules {
            let host = rule.resolved_host(cluster_domain);
            match host.strip_prefix('*') {
                Some(suffix) => index.wildcards.entry(suffix.to_owned()).or_default(),
                None => index.exact.entry(host).or_default(),
            }
            .push(rule);
        }
        index
    }

    /// The rules of the most specific host that covers `host`, with that host; `None` if no rule does (DR-2).
    pub fn most_specific(&self, host: &str) -> Option<(String, &[&'a DestinationRule])> {
        if let Some(rules) = self.exact.get(host) {
            return Some((host.to_owned(), rules));
        }
        // Every suffix of the host is looked up, the longest first, so the cost does not grow with the number of patterns.
        let ends = host.char_indices().map(|(at, _)| &host[at..]).chain(std::iter::once(""));
        let (suffix, rules) = ends.into_iter().find_map(|end| self.wildcards.get_key_value(end))?;
        Some((format!("*{suffix}"), rules))
    }

    /// The rules that apply to `host`; `None` if no rule does.
    pub fn serving(&self, host: &str) -> Option<Serving<'a>> {
        let (pattern, rules) = self.most_specific(host)?;
        Some(Serving::of(&pattern, rules))
    }
}

impl<'a> Serving<'a> {
    fn of(host: &str, rules: &[&'a DestinationRule]) -> Self {
        let local: Vec<_> = rules.iter().copied().filter(|rule| rule.is_visible_in_own_namespace()).collect();
        let exported: Vec<_> = rules.iter().copied().filter(|rule| !rule.is_private(&[])).collect();
        let entries: Vec<Entry<'_>> = [local, exported].iter().flat_map(|rules| merge(rules)).collect();
        let is_in_force = |rule: &&DestinationRule| {
            entries.iter().any(|entry| std::ptr::eq(entry.policy().unwrap_or(entry.rules()[0]), *rule))
        };
        let mut rules = rules.to_vec();
        rules.sort_by_key(|rule| rule.age_key());
        let (in_force, idle) = rules.into_iter().partition(is_in_force);
        Self { host: host.to_owned(), in_force, idle, selects_clients: entries.iter().all(Entry::selects_clients) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing;

    fn rule(name: &str, host: &str, created: i64) -> DestinationRule {
        let namespace = "foo".into();
        DestinationRule { namespace, created, has_traffic_policy: true, ..testing::rule(name, host, None) }
    }

    const WEB: &str = "web.foo.svc.cluster.local";

    #[test]
    fn hosts_resolve_as_istio_resolves_them() {
        for (host, expected) in [
            ("web", WEB),
            ("web.foo", "web.foo"),
            ("web.foo.svc", "web.foo.svc"),
            (WEB, WEB),
            ("*", "*"),
            ("*.local", "*.local"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(rule("r", host, 0).resolved_host("cluster.local"), expected, "{host}");
        }
    }

    #[test]
    fn rules_of_the_most_specific_host_apply() {
        for (hosts, expected) in [
            (&["*", "*.local", "web"][..], Some(WEB)),
            (&["*", "*.local", "*.foo.svc.cluster.local"], Some("*.foo.svc.cluster.local")),
            (&["*", "web.foo"], Some("*")),
            (&["web.foo", "api"], None),
            (&["*eb.foo.svc.cluster.local", "*.foo.svc.cluster.local"], Some("*eb.foo.svc.cluster.local")),
        ] {
            let rules: Vec<_> = hosts.iter().enumerate().map(|(i, host)| rule(&format!("r{i}"), host, 0)).collect();
            let found = RuleIndex::new(&rules, "cluster.local").serving(WEB).map(|serving| serving.host);
            assert_eq!(found.as_deref(), expected, "{hosts:?}");
        }
    }

    #[test]
    fn the_oldest_rule_with_a_traffic_policy_is_in_force() {
        let mut bare = rule("bare", "web", 1);
        bare.has_traffic_policy = false;
        let rules = [rule("young", WEB, 3), rule("old", "web", 2), bare];
        let serving = RuleIndex::new(&rules, "cluster.local").serving(WEB).expect("a rule serves");
        assert_eq!(serving.in_force.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["old"]);
        assert_eq!(serving.idle.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["bare", "young"]);
    }

    #[test]
    fn rules_that_are_not_merged_are_all_in_force() {
        let mut private = rule("private", "web", 2);
        private.export_to = vec!["foo".into()];
        let mut also_private = rule("also-private", "web", 3);
        also_private.export_to = vec![".".into()];
        let mut selected = rule("selected", "web", 4);
        selected.client_selector = Some([("app".to_owned(), "batch".to_owned())].into());
        let rules = [selected, also_private, private, rule("public", "web", 1), rule("late", "web", 5)];
        let serving = RuleIndex::new(&rules, "cluster.local").serving(WEB).expect("a rule serves");
        let names = |rules: &[&DestinationRule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
        // The late rule is merged into the public one and has its own entry too, after those of the private ones.
        assert_eq!(names(&serving.in_force), ["public", "private", "also-private", "selected", "late"]);
        assert!(serving.idle.is_empty() && !serving.selects_clients);
    }

    /// DR-8: the private rule applies only to clients that the selector of the other rule matches.
    #[test]
    fn a_private_rule_beside_a_selecting_one_applies_to_its_clients_only() {
        let mut selected = rule("selected", "web", 1);
        selected.client_selector = Some([("app".to_owned(), "batch".to_owned())].into());
        selected.has_traffic_policy = false;
        let mut private = rule("private", "web", 2);
        private.export_to = vec![".".into()];
        let rules = [selected, private];
        let serving = RuleIndex::new(&rules, "cluster.local").serving(WEB).expect("a rule serves");
        assert_eq!(serving.in_force.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["private"]);
        assert!(serving.selects_clients);
    }
}
