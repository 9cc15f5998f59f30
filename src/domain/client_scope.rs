//! Which Services a client's sidecar knows: a `Sidecar` object and the Service's `exportTo` can leave one out. A call to a
//! Service that it does not know takes the passthrough cluster, in plaintext, whatever rule and auto mTLS say (CS-1).

use super::control_plane::is_read_by_revision;
use super::rule::covers;
use super::sidecar::{self, Egress, ScopedWorkload, Sidecar};

impl Egress {
    /// Whether it imports a Service for the clients of `home` (CS-3).
    fn imports(&self, home: &str, service: CalledService<'_>) -> bool {
        if self.port.is_some_and(|port| port != service.port) {
            return false;
        }
        let mut imported = false;
        for host in &self.hosts {
            let Some((namespace, name)) = host.split_once('/') else { continue };
            let (namespace, is_exclusion) = match namespace.strip_prefix('~') {
                Some("") => ("*", true),
                Some(namespace) => (namespace, true),
                None => (namespace, false),
            };
            let namespace = if namespace == "." { home } else { namespace };
            let covers = (namespace == "*" || namespace == service.namespace) && covers(name, service.host);
            if covers && is_exclusion {
                return false;
            }
            imported |= covers;
        }
        imported
    }
}

/// A Service port that a client calls.
#[derive(Debug, Clone, Copy)]
pub struct CalledService<'a> {
    /// Namespace of the Service.
    pub namespace: &'a str,
    /// Its fully qualified name.
    pub host: &'a str,
    /// The Service port.
    pub port: u16,
    /// Annotation `networking.istio.io/exportTo`; empty is the mesh's default.
    pub export_to: &'a [String],
}

/// Whether a client's sidecar has a cluster for a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import<'a> {
    /// It has: rules and auto mTLS decide what is sent.
    Known,
    /// This `Sidecar` does not import it.
    HiddenBySidecar(&'a Sidecar),
    /// The Service is not exported to the client's namespace.
    NotExported,
}

/// The scopes of the mesh's clients.
#[derive(Debug, Clone, Copy)]
pub struct ClientScopes<'a> {
    /// `Sidecar` objects of all namespaces that could be read.
    pub sidecars: &'a [Sidecar],
    /// The root namespace, whose `Sidecar` without a selector is the default of all namespaces (CS-2).
    pub root: &'a str,
    /// `defaultServiceExportTo`; empty is everybody.
    pub default_export: &'a [String],
}

impl<'a> ClientScopes<'a> {
    /// The `Sidecar` that applies to a client: the oldest of its namespace that selects it, else the oldest without a
    /// selector, else that of the root namespace (CS-2). Gateways follow none.
    pub fn sidecar_of(&self, client: ScopedWorkload<'_>) -> Option<&'a Sidecar> {
        let of_mesh = |sidecar: &&Sidecar| {
            sidecar.namespace == self.root
                && sidecar.selector.is_none()
                && is_read_by_revision(sidecar.revision.as_deref(), client.revision)
        };
        sidecar::of_workload(self.sidecars, client)
            .or_else(|| self.sidecars.iter().filter(of_mesh).min_by_key(|sidecar| sidecar.rank()))
    }

    /// Whether the client's sidecar knows the Service port.
    pub fn imports(&self, client: ScopedWorkload<'_>, service: CalledService<'_>) -> Import<'a> {
        if !self.is_exported(service, client.namespace) {
            return Import::NotExported;
        }
        match self.sidecar_of(client) {
            Some(sidecar) if !sidecar.imports(client.namespace, service) => Import::HiddenBySidecar(sidecar),
            _ => Import::Known,
        }
    }

    /// Whether the Service is exported to any namespace besides its own.
    pub fn is_exported_elsewhere(&self, service: CalledService<'_>) -> bool {
        let words = if service.export_to.is_empty() { self.default_export } else { service.export_to };
        words.is_empty() || words.iter().any(|word| word != "." && word != "~" && word != service.namespace)
    }

    /// Whether the Service is exported to the namespace (CS-4).
    pub fn is_exported(&self, service: CalledService<'_>, namespace: &str) -> bool {
        let words = if service.export_to.is_empty() { self.default_export } else { service.export_to };
        let sees = |word: &String| word == "*" || word == namespace || word == "." && namespace == service.namespace;
        words.is_empty() || words.iter().any(sees)
    }
}

impl Sidecar {
    /// Whether it imports a Service for clients of `home`.
    pub fn imports(&self, home: &str, service: CalledService<'_>) -> bool {
        self.egress.is_empty() || self.egress.iter().any(|egress| egress.imports(home, service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const HOST: &str = "orders.shop.svc.cluster.local";

    fn service(export_to: &[String]) -> CalledService<'_> {
        CalledService { namespace: "shop", host: HOST, port: 8080, export_to }
    }

    fn sidecar(namespace: &str, name: &str, hosts: &[&str]) -> Sidecar {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let egress = vec![Egress { port: None, hosts }];
        Sidecar { namespace: namespace.into(), name: name.into(), egress, ..Sidecar::default() }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn egress_hosts_say_which_services_a_sidecar_knows() {
        for (home, hosts, expected) in [
            ("front", &["./*", "istio-system/*"][..], false),
            ("shop", &["./*", "istio-system/*"], true),
            ("front", &["*/*"], true),
            ("front", &["shop/*"], true),
            ("front", &[], false),
            ("front", &["shop/*.shop.svc.cluster.local"], true),
            ("front", &["shop/other.shop.svc.cluster.local"], false),
            ("front", &["*/orders.shop.svc.cluster.local"], true),
            ("front", &["*/orders"], false),
            ("front", &["~/*"], false),
            ("front", &["*/*", "~shop/*"], false),
            ("front", &["*/*", "~other/*"], true),
            ("front", &["shop"], false),
        ] {
            let sidecar = sidecar(home, "default", hosts);
            assert_eq!(sidecar.imports(home, service(&[])), expected, "{home} {hosts:?}");
        }
        assert!(Sidecar::default().imports("front", service(&[])), "without egress everything is imported");
        let mut other_port = sidecar("front", "default", &["*/*"]);
        other_port.egress[0].port = Some(9090);
        assert!(!other_port.imports("front", service(&[])));
    }

    #[test]
    fn the_sidecar_of_a_client_is_the_most_specific_and_then_the_oldest() {
        let mut selecting = sidecar("shop", "kiosk", &["istio-system/*"]);
        selecting.selector = Some([("app".to_owned(), "kiosk".to_owned())].into());
        selecting.created = 9;
        let mut young = sidecar("shop", "young", &["*/*"]);
        young.created = 5;
        let mut foreign_revision = sidecar("shop", "canary", &["*/*"]);
        foreign_revision.revision = Some("canary".into());
        let sidecars = [
            young,
            sidecar("shop", "old", &["*/*"]),
            selecting,
            sidecar("istio-system", "mesh", &["./*"]),
            foreign_revision,
        ];
        let scopes = ClientScopes { sidecars: &sidecars, root: "istio-system", default_export: &[] };
        let kiosk = BTreeMap::from([("app".to_owned(), "kiosk".to_owned())]);
        let none = BTreeMap::new();
        for (namespace, labels, expected) in
            [("shop", &kiosk, "kiosk"), ("shop", &none, "old"), ("front", &kiosk, "mesh"), ("front", &none, "mesh")]
        {
            let client = ScopedWorkload { namespace, labels, revision: None };
            assert_eq!(scopes.sidecar_of(client).map(|sidecar| sidecar.name.as_str()), Some(expected), "{namespace}");
        }
        let client = ScopedWorkload { namespace: "shop", labels: &kiosk, revision: None };
        assert_eq!(scopes.imports(client, service(&[])), Import::HiddenBySidecar(&sidecars[2]));
    }

    #[test]
    fn a_service_can_be_hidden_from_namespaces() {
        let none = BTreeMap::new();
        for (export_to, default_export, namespace, known) in [
            (&[][..], &[][..], "front", true),
            (&["."], &[], "front", false),
            (&["."], &[], "shop", true),
            (&["front", "back"], &[], "front", true),
            (&["back"], &[], "front", false),
            (&["~"], &[], "shop", false),
            (&["*"], &["."], "front", true),
            (&[], &["."], "front", false),
            (&[], &["."], "shop", true),
            (&[], &["*"], "front", true),
        ] {
            let (export_to, default_export) = (words(export_to), words(default_export));
            let scopes = ClientScopes { sidecars: &[], root: "istio-system", default_export: &default_export };
            let client = ScopedWorkload { namespace, labels: &none, revision: None };
            let expected = if known { Import::Known } else { Import::NotExported };
            assert_eq!(
                scopes.imports(client, service(&export_to)),
                expected,
                "{export_to:?} {default_export:?} {namespace}"
            );
        }
    }
}
