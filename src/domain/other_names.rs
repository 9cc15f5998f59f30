//! Other names of a namespace's pods, and names that lead to other pods: `ServiceEntries`, `VirtualServices` and aliases.
//! Rules and auto mTLS belong to the name that is called, not to the pods behind it (ON-1).

use super::address::Block;
use super::mesh::{Pod, Service};
use super::rule::{ClientTls, DestinationRule, covers};
use super::selector::has_labels;
use std::collections::{BTreeMap, BTreeSet};

/// How a `ServiceEntry` finds its endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resolution {
    /// The address that the client calls.
    #[default]
    None,
    /// The listed addresses.
    Static,
    /// By DNS.
    Dns,
}

/// One endpoint of a `ServiceEntry`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryEndpoint {
    /// IP address or name.
    pub address: String,
    /// Whether its label or service account says that it takes mutual TLS (ON-3).
    pub has_tls_label: bool,
}

/// A `ServiceEntry` of `networking.istio.io`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// `hosts`: the names that clients call.
    pub hosts: Vec<String>,
    /// `addresses`: the IP addresses, or blocks of them, that clients call.
    pub addresses: Vec<String>,
    /// Location `MESH_EXTERNAL`, the default, which auto mTLS leaves alone (DR-21).
    pub external: bool,
    /// `resolution`.
    pub resolution: Resolution,
    /// `endpoints`.
    pub endpoints: Vec<EntryEndpoint>,
    /// `workloadSelector.labels`: pods of its namespace; empty selects none.
    pub selector: BTreeMap<String, String>,
}

impl ServiceEntry {
    /// The names and addresses to which it leads: its endpoints, else what the client calls.
    fn destinations(&self) -> Vec<&str> {
        if !self.endpoints.is_empty() {
            return self.endpoints.iter().map(|endpoint| endpoint.address.as_str()).collect();
        }
        if !self.selector.is_empty() {
            return Vec::new();
        }
        let called = if self.resolution == Resolution::None { &self.addresses[..] } else { &[] };
        self.hosts.iter().chain(called).map(String::as_str).collect()
    }

    /// The Services of `namespace` to which it leads, and the pods that it selects there, by their names.
    pub fn leads_to<'a>(
        &self,
        namespace: &str,
        cluster_domain: &str,
        services: &'a [Service],
        pods: impl Iterator<Item = &'a Pod>,
    ) -> (BTreeSet<&'a str>, Vec<&'a Pod>) {
        let destinations = self.destinations();
        let leads = |service: &&Service| {
            destinations.iter().any(|destination| {
                is_name_of(destination, service, namespace, cluster_domain) || is_address_of(destination, service)
            })
        };
        let found = services.iter().filter(leads).map(|service| service.name.as_str()).collect();
        let selects = |pod: &&Pod| {
            !self.selector.is_empty() && self.namespace == namespace && has_labels(&pod.labels, &self.selector)
        };
        (found, pods.filter(selects).collect())
    }

    /// Whether clients that call it send plaintext: auto mTLS leaves it alone, or no endpoint says that it takes mutual
    /// TLS, and no rule for its hosts says `ISTIO_MUTUAL` (ON-2, ON-3). `selected` are the pods that it selects.
    pub fn is_called_in_plaintext(&self, rules: &[DestinationRule], cluster_domain: &str, selected: &[&Pod]) -> bool {
        let sets_mutual = |rule: &DestinationRule| {
            let host = rule.resolved_host(cluster_domain);
            rule.tls == Some(ClientTls::IstioMutual) && self.hosts.iter().any(|called| covers(&host, called))
        };
        if rules.iter().any(sets_mutual) {
            return false;
        }
        let all_say_tls = self.resolution != Resolution::None
            && !(self.endpoints.is_empty() && selected.is_empty())
            && self.endpoints.iter().all(|endpoint| endpoint.has_tls_label)
            && selected.iter().all(|pod| pod.has_tls_label());
        self.external || !all_say_tls
    }
}

/// Whether a name is one of the Service's, or of one of its pods: `db-0.db.shop.svc.cluster.local`.
fn is_name_of(name: &str, service: &Service, namespace: &str, cluster_domain: &str) -> bool {
    let short = format!("{}.{namespace}", service.name);
    let forms = [service.host(namespace, cluster_domain), format!("{short}.svc"), short];
    forms.iter().any(|form| {
        name == form
            || name.strip_suffix(form.as_str()).is_some_and(|pod| pod.ends_with('.') && pod != "*." && !pod.is_empty())
            || name.strip_prefix("*.") == Some(form)
    })
}

/// Whether an address, or a block of addresses, is one of the Service's or of its endpoints.
fn is_address_of(text: &str, service: &Service) -> bool {
    let Some(block) = Block::parse(text) else { return false };
    let of_service = service.cluster_ips.iter().chain(&service.outer_addresses);
    let own = of_service.chain(service.endpoints.iter().map(|endpoint| &endpoint.address));
    own.filter_map(|address| address.parse().ok()).any(|address| block.contains(address))
}

/// A `VirtualService` of `networking.istio.io`, as far as it decides where a call leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostRoute {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// Seconds since the epoch; of several for one host the oldest counts.
    pub created: i64,
    /// `hosts`, fully qualified.
    pub hosts: Vec<String>,
    /// `exportTo`; empty is everybody.
    pub export_to: Vec<String>,
    /// Whether it applies to sidecars: no `gateways`, or `mesh` among them.
    pub in_mesh: bool,
    /// The hosts to which its routes lead, fully qualified.
    pub destinations: BTreeSet<String>,
    /// Whether a route redirects, answers by itself or delegates, so that the host may not be reached at all.
    pub answers_itself: bool,
}

/// The route that leads calls from `client_namespace` to `host` elsewhere, wholly or in part; `None` where calls reach the
/// host's own pods. An answer to such a call is no answer of the host (ON-4).
pub fn leads_elsewhere<'a>(routes: &'a [HostRoute], client_namespace: &str, host: &str) -> Option<&'a HostRoute> {
    let is_visible = |route: &&HostRoute| {
        let sees = |word: &String| {
            word == "*" || word == client_namespace || word == "." && route.namespace == client_namespace
        };
        route.export_to.is_empty() || route.export_to.iter().any(sees)
    };
    let covering = routes.iter().filter(|route| route.in_mesh).filter(is_visible);
    let covering = covering.filter_map(|route| {
        let longest = route.hosts.iter().filter(|pattern| covers(pattern, host)).map(String::len).max()?;
        let is_exact = route.hosts.iter().any(|name| name == host);
        Some((route, is_exact, longest))
    });
    let (route, ..) = covering.min_by_key(|(route, is_exact, longest)| {
        (!is_exact, std::cmp::Reverse(*longest), route.created, route.name.as_str())
    })?;
    let leads_away = route.answers_itself || route.destinations.iter().any(|destination| destination != host);
    leads_away.then_some(route)
}

/// The Service, as namespace and name, that an alias (`ExternalName`) of the cluster stands for; `None` for a name outside.
pub fn alias_target(external_name: &str, cluster_domain: &str) -> Option<(String, String)> {
    let name = external_name.trim_end_matches('.');
    let name = name.strip_suffix(&format!(".svc.{cluster_domain}")).or_else(|| name.strip_suffix(".svc"))?;
    let (rest, namespace) = name.rsplit_once('.')?;
    let service = rest.rsplit_once('.').map_or(rest, |(_, service)| service);
    Some((namespace.to_owned(), service.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{rule, shop};

    const DOMAIN: &str = "cluster.local";

    fn entry(hosts: &[&str], endpoints: &[&str]) -> ServiceEntry {
        let endpoint = |address: &&str| EntryEndpoint { address: (*address).to_owned(), has_tls_label: false };
        ServiceEntry {
            namespace: "shop".into(),
            name: "other".into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            external: true,
            resolution: Resolution::Dns,
            endpoints: endpoints.iter().map(endpoint).collect(),
            ..ServiceEntry::default()
        }
    }

    #[test]
    fn a_service_entry_leads_to_the_services_whose_names_or_addresses_it_has() {
        let mut snapshot = shop(&["db", "web"]);
        snapshot.services[0].endpoints[0].address = "10.0.0.9".into();
        snapshot.services[1].cluster_ips = vec!["10.96.0.7".into(), "fd00::7".into()];
        let selecting =
            ServiceEntry { selector: [("app".to_owned(), "web".to_owned())].into(), ..entry(&["a.b"], &[]) };
        let by_address = ServiceEntry {
            addresses: vec!["10.96.0.0/16".into()],
            resolution: Resolution::None,
            ..entry(&["a.b"], &[])
        };
        for (entry, expected, selected) in [
            (entry(&["shop.internal"], &["web.shop.svc.cluster.local"]), &["web"][..], 0),
            (entry(&["shop.internal"], &["web.shop"]), &["web"], 0),
            (entry(&["shop.internal"], &["web.other.svc.cluster.local"]), &[], 0),
            (entry(&["shop.internal"], &["notweb.shop.svc.cluster.local"]), &[], 0),
            (entry(&["shop.internal"], &["10.96.0.7"]), &["web"], 0),
            (entry(&["shop.internal"], &["fd00::7"]), &["web"], 0),
            (entry(&["shop.internal"], &["10.0.0.9"]), &["db"], 0),
            (entry(&["db-0.db.shop.svc.cluster.local"], &[]), &["db"], 0),
            (entry(&["*.db.shop.svc.cluster.local"], &[]), &["db"], 0),
            (entry(&["api.example.com"], &[]), &[], 0),
            (by_address, &["web"], 0),
            (selecting, &[], 1),
        ] {
            let (services, pods) = entry.leads_to("shop", DOMAIN, &snapshot.services, snapshot.pods.values());
            assert_eq!(services.into_iter().collect::<Vec<_>>(), expected, "{entry:?}");
            assert_eq!(pods.len(), selected, "{entry:?}");
        }
    }

    #[test]
    fn calls_to_a_service_entry_are_plaintext_unless_it_is_in_the_mesh_and_its_endpoints_say_so() {
        let internal = |resolution, has_tls_label: &[bool]| ServiceEntry {
            external: false,
            resolution,
            endpoints: has_tls_label
                .iter()
                .map(|has_tls_label| EntryEndpoint { address: "web.shop".into(), has_tls_label: *has_tls_label })
                .collect(),
            ..entry(&["shop.internal"], &[])
        };
        for (entry, expected) in [
            (entry(&["shop.internal"], &["web.shop"]), true),
            (internal(Resolution::None, &[]), true),
            (internal(Resolution::Dns, &[]), true),
            (internal(Resolution::Dns, &[false]), true),
            (internal(Resolution::Static, &[true, false]), true),
            (internal(Resolution::Static, &[true]), false),
            (internal(Resolution::None, &[true]), true),
        ] {
            assert_eq!(entry.is_called_in_plaintext(&[], DOMAIN, &[]), expected, "{entry:?}");
        }
        let mutual = [rule("internal", "shop.internal", Some(ClientTls::IstioMutual))];
        assert!(!entry(&["shop.internal"], &["web.shop"]).is_called_in_plaintext(&mutual, DOMAIN, &[]));
    }

    #[test]
    fn a_route_to_another_host_makes_an_answer_say_nothing_about_the_service() {
        let route = |hosts: &[&str], destinations: &[&str]| HostRoute {
            namespace: "shop".into(),
            name: hosts.join("+"),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            destinations: destinations.iter().map(|host| (*host).to_owned()).collect(),
            in_mesh: true,
            ..HostRoute::default()
        };
        let (web, green) = ("web.shop.svc.cluster.local", "green.shop.svc.cluster.local");
        let private = HostRoute { export_to: vec![".".into()], ..route(&[web], &[green]) };
        let at_gateway = HostRoute { in_mesh: false, ..route(&[web], &[green]) };
        let redirect = HostRoute { answers_itself: true, ..route(&[web], &[]) };
        for (routes, client, expected) in [
            (vec![], "shop", false),
            (vec![route(&[web], &[web])], "shop", false),
            (vec![route(&[web], &[green])], "shop", true),
            (vec![route(&[web], &[web, green])], "shop", true),
            (vec![route(&["*.shop.svc.cluster.local"], &[green])], "shop", true),
            (vec![route(&["*.shop.svc.cluster.local"], &[green]), route(&[web], &[web])], "shop", false),
            (vec![private.clone()], "shop", true),
            (vec![private], "front", false),
            (vec![at_gateway], "shop", false),
            (vec![redirect], "shop", true),
        ] {
            assert_eq!(leads_elsewhere(&routes, client, web).is_some(), expected, "{routes:?} {client}");
        }
    }

    #[test]
    fn an_alias_inside_the_cluster_is_told_from_a_name_outside() {
        for (name, expected) in [
            ("orders.shop.svc.cluster.local", Some(("shop", "orders"))),
            ("orders.shop.svc.cluster.local.", Some(("shop", "orders"))),
            ("orders.shop.svc", Some(("shop", "orders"))),
            ("db-0.db.shop.svc.cluster.local", Some(("shop", "db"))),
            ("api.example.com", None),
            ("orders", None),
        ] {
            let expected = expected.map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
            assert_eq!(alias_target(name, DOMAIN), expected, "{name}");
        }
    }
}
