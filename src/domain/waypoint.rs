//! Finds the waypoint that serves a Service, from labels, for plans and findings.

use super::mesh::{Service, Snapshot};
use std::collections::BTreeMap;
use std::fmt;

/// The label of a namespace, Service or pod that names the waypoint which serves it (WP-1).
pub const USE_WAYPOINT: &str = "istio.io/use-waypoint";

/// The label beside it that names the waypoint's namespace, if that is another one (WP-1).
const USE_WAYPOINT_NAMESPACE: &str = "istio.io/use-waypoint-namespace";

/// The label of the Services of gateways and waypoints that Istio manages, which no waypoint serves (WP-1).
const MANAGED: &str = "gateway.istio.io/managed";

/// A waypoint: the Gateway of the Gateway API that declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waypoint<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

impl fmt::Display for Waypoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gateway.gateway.networking.k8s.io/{}/{}", self.namespace, self.name)
    }
}

impl Snapshot {
    /// The waypoint that the labels of a Service name, or else those of its namespace; `none` opts out (WP-1). Whether it is
    /// there and admits the Service is not known.
    pub fn waypoint<'a>(&'a self, service: &'a Service) -> Option<Waypoint<'a>> {
        if service.labels.contains_key(MANAGED) {
            return None;
        }
        let has_label = |labels: &&BTreeMap<String, String>| labels.contains_key(USE_WAYPOINT);
        let labels = Some(&service.labels).filter(has_label).or(self.namespace_labels.as_ref())?;
        let name = labels.get(USE_WAYPOINT).filter(|name| !name.is_empty() && *name != "none")?;
        let namespace = labels.get(USE_WAYPOINT_NAMESPACE).unwrap_or(&self.namespace);
        Some(Waypoint { namespace, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::shop;

    #[test]
    fn the_labels_of_a_service_come_before_those_of_its_namespace() {
        const NAME: &str = USE_WAYPOINT;
        const PLACE: &str = USE_WAYPOINT_NAMESPACE;
        type Labels = &'static [(&'static str, &'static str)];
        let rows: [(Labels, Labels, Option<&str>); 9] = [
            (&[], &[], None),
            (&[(NAME, "own")], &[], Some("shop/own")),
            (&[], &[(NAME, "all")], Some("shop/all")),
            (&[(NAME, "own")], &[(NAME, "all"), (PLACE, "edge")], Some("shop/own")),
            (&[(NAME, "own"), (PLACE, "edge")], &[(NAME, "all")], Some("edge/own")),
            (&[(PLACE, "edge")], &[(NAME, "all")], Some("shop/all")),
            (&[(NAME, "none")], &[(NAME, "all")], None),
            (&[], &[(NAME, "none")], None),
            (&[(MANAGED, "istio.io-mesh-controller")], &[(NAME, "all")], None),
        ];
        for (of_service, of_namespace, expected) in rows {
            let labels = |labels: Labels| -> BTreeMap<String, String> {
                labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
            };
            let mut snapshot = shop(&["web"]);
            snapshot.namespace_labels = Some(labels(of_namespace));
            snapshot.services[0].labels = labels(of_service);
            let found = snapshot.waypoint(&snapshot.services[0]);
            let found = found.map(|waypoint| format!("{}/{}", waypoint.namespace, waypoint.name));
            assert_eq!(found.as_deref(), expected, "{of_service:?} {of_namespace:?}");
        }
    }
}
