//! Which control plane a namespace belongs to: the one that its proxies are connected to (CP-1). A cluster can have several,
//! each with its own root namespace, trust domain and settings.

use std::collections::BTreeSet;
use std::fmt;

/// The revision of proxies without the label `istio.io/rev`, and of a control plane that was installed without one.
pub const DEFAULT_REVISION: &str = "default";

/// Whether the control plane of `proxy`, the revision of a pod, reads an object with this label `istio.io/rev` (PA-9,
/// DR-10). An object without the label is read by every control plane.
pub fn is_read_by_revision(label: Option<&str>, proxy: Option<&str>) -> bool {
    label.is_none_or(|label| label == proxy.unwrap_or(DEFAULT_REVISION))
}

/// A control plane.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlPlane {
    /// Its namespace.
    pub namespace: String,
    /// Its revision; `default` without one.
    pub revision: String,
}

impl ControlPlane {
    /// A control plane of a namespace and a revision.
    pub fn new(namespace: &str, revision: &str) -> Self {
        Self { namespace: namespace.to_owned(), revision: revision.to_owned() }
    }

    /// Name of the ConfigMap with its settings (CP-2).
    pub fn config_map(&self) -> String {
        if self.revision == DEFAULT_REVISION { "istio".to_owned() } else { format!("istio-{}", self.revision) }
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (revision {})", self.namespace, self.revision)
    }
}

/// The namespace of a control plane by the address that its proxies are connected to, `istiod.istio-system.svc:15012`;
/// `None` for an address outside the cluster. An empty address is the default one (CP-1).
pub fn namespace_of_address(discovery_address: &str) -> Option<&str> {
    if discovery_address.is_empty() {
        return Some("istio-system");
    }
    let host = discovery_address.rsplit_once(':').map_or(discovery_address, |(host, _)| host);
    let mut parts = host.trim_end_matches('.').split('.');
    let (_, namespace) = (parts.next()?, parts.next()?);
    matches!(parts.next(), None | Some("svc")).then_some(namespace)
}

/// What decides between control planes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints<'a> {
    /// `--istio-namespace`.
    pub namespace: Option<&'a str>,
    /// `--revision`.
    pub revision: Option<&'a str>,
    /// The revision that the namespace's labels ask for.
    pub injected_by: Option<&'a str>,
}

/// The control planes that can be meant, the wanted ones only; one where it is decided. `connected` are those of the
/// namespace's proxies, `found` those whose Services were found. What the user passes decides, then the proxies, then the
/// namespace's label, then what there is (CP-1).
pub fn candidates(
    hints: Hints<'_>,
    connected: &BTreeSet<ControlPlane>,
    found: &BTreeSet<ControlPlane>,
) -> BTreeSet<ControlPlane> {
    let matching = |planes: &BTreeSet<ControlPlane>, revision: Option<&str>| -> BTreeSet<ControlPlane> {
        let is_meant = |plane: &&ControlPlane| {
            hints.namespace.is_none_or(|namespace| plane.namespace == namespace)
                && revision.is_none_or(|revision| plane.revision == revision)
        };
        planes.iter().filter(is_meant).cloned().collect()
    };
    let label = hints.revision.or(hints.injected_by);
    let choices = [matching(connected, hints.revision), matching(found, label), matching(found, hints.revision)];
    if let Some(planes) = choices.into_iter().find(|planes| !planes.is_empty()) {
        return planes;
    }
    let namespace = hints.namespace.unwrap_or("istio-system");
    [ControlPlane::new(namespace, hints.revision.unwrap_or(DEFAULT_REVISION))].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_control_planes_namespace() {
        for (address, expected) in [
            ("", Some("istio-system")),
            ("istiod.istio-system.svc:15012", Some("istio-system")),
            ("istiod-east.istio-east.svc:15012", Some("istio-east")),
            ("istiod.mesh:15010", Some("mesh")),
            ("istiod.mesh.svc.cluster.local:15012", Some("mesh")),
            ("istiod.example.com:15012", None),
            ("10.0.0.1:15012", None),
        ] {
            assert_eq!(namespace_of_address(address), expected, "{address}");
        }
    }

    #[test]
    fn the_proxies_decide_before_what_else_is_there() {
        let system = ControlPlane::new("istio-system", "default");
        let canary = ControlPlane::new("istio-system", "canary");
        let east = ControlPlane::new("istio-east", "east");
        let planes = |planes: &[&ControlPlane]| planes.iter().map(|plane| (*plane).clone()).collect::<BTreeSet<_>>();
        let all = planes(&[&system, &canary, &east]);
        let none = Hints::default();
        let named = Hints { namespace: Some("istio-east"), ..none };
        let revision = Hints { revision: Some("canary"), ..none };
        let labelled = Hints { injected_by: Some("east"), ..none };
        for (case, hints, connected, found, expected) in [
            ("one of several", none, planes(&[&system]), &all, planes(&[&system])),
            ("an unrelated one is first in the alphabet", none, planes(&[&system]), &all, planes(&[&system])),
            ("in the middle of an upgrade", none, planes(&[&system, &canary]), &all, planes(&[&system, &canary])),
            ("no proxy, one control plane", none, planes(&[]), &planes(&[&east]), planes(&[&east])),
            ("no proxy, undecided", none, planes(&[]), &all, all.clone()),
            ("no proxy, but a label", labelled, planes(&[]), &all, planes(&[&east])),
            (
                "a label of a tag, which is no revision",
                Hints { injected_by: Some("stable"), ..none },
                planes(&[]),
                &planes(&[&east]),
                planes(&[&east]),
            ),
            ("the user names it", named, planes(&[&system]), &all, planes(&[&east])),
            ("the user names its revision", revision, planes(&[&system]), &all, planes(&[&canary])),
            ("nothing is known", none, planes(&[]), &planes(&[]), planes(&[&system])),
            (
                "a namespace that nothing shows",
                Hints { namespace: Some("mesh"), ..none },
                planes(&[]),
                &all,
                planes(&[&ControlPlane::new("mesh", "default")]),
            ),
        ] {
            assert_eq!(candidates(hints, &connected, found), expected, "{case}");
        }
        assert_eq!(system.config_map(), "istio");
        assert_eq!(east.config_map(), "istio-east");
    }
}
