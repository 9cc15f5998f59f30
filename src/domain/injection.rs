//! Whether the pods that a workload will start take part in the mesh, from its pod template and the labels of its
//! namespace (DP-1, DP-5, DP-7). A workload at zero, or one that is rolled out later, is known by nothing else.

use std::collections::BTreeMap;

/// The pods that a workload starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodTemplate {
    /// `deployment/web`.
    pub workload: String,
    pub labels: BTreeMap<String, String>,
    /// `sidecar.istio.io/inject`, as a label or annotation.
    pub inject: Option<String>,
    pub host_network: bool,
    /// Whether the template itself has the proxy's container.
    pub has_proxy: bool,
    /// Whether the workload is scaled to zero.
    pub at_zero: bool,
    /// The custom resource that owns the workload, as `kind.group/name`.
    pub custom_owner: Option<String>,
}

/// How new pods take part in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrollment {
    /// Injected with a sidecar, or captured by a ztunnel.
    Meshed,
    Outside,
    /// The labels of the namespace cannot be read.
    Unknown,
}

impl PodTemplate {
    /// How its pods take part in the mesh. `namespace` are the labels of the namespace; `None` if they cannot be read.
    pub fn enrollment(&self, namespace: Option<&BTreeMap<String, String>>) -> Enrollment {
        if self.has_proxy {
            return Enrollment::Meshed;
        }
        if self.host_network {
            return Enrollment::Outside;
        }
        let Some(namespace) = namespace else { return Enrollment::Unknown };
        if self.is_injected(namespace) || self.is_ambient(namespace) { Enrollment::Meshed } else { Enrollment::Outside }
    }

    /// Whether the template or the namespace declines a proxy, rather than that nothing asks for one.
    pub fn declines(&self, namespace: Option<&BTreeMap<String, String>>) -> bool {
        let mode = self.labels.get("istio.io/dataplane-mode");
        let is_disabled =
            |labels: &BTreeMap<String, String>| labels.get("istio-injection").is_some_and(|is| is == "disabled");
        self.host_network
            || self.inject.as_deref() == Some("false")
            || mode.is_some_and(|mode| mode != "ambient")
            || namespace.is_some_and(is_disabled)
    }

    fn is_injected(&self, namespace: &BTreeMap<String, String>) -> bool {
        let of_namespace = namespace.get("istio-injection").map(String::as_str);
        let has_revision = namespace.contains_key("istio.io/rev") || self.labels.contains_key("istio.io/rev");
        match (of_namespace, self.inject.as_deref()) {
            (Some("disabled"), _) | (_, Some("false")) => false,
            (_, Some("true")) | (Some("enabled"), _) => true,
            (_, _) => has_revision,
        }
    }

    fn is_ambient(&self, namespace: &BTreeMap<String, String>) -> bool {
        asks_for_ambient(&self.labels, namespace)
    }
}

/// Whether the labels of a pod, or those of its namespace, ask for ambient mode (DP-5).
pub fn asks_for_ambient(pod: &BTreeMap<String, String>, namespace: &BTreeMap<String, String>) -> bool {
    let label = |labels: &BTreeMap<String, String>| labels.get("istio.io/dataplane-mode").map(|mode| mode == "ambient");
    label(pod).or_else(|| label(namespace)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_namespace_and_the_template_decide() {
        use Enrollment::{Meshed, Outside, Unknown};
        type Labels = &'static [(&'static str, &'static str)];
        let rows: [(Option<Labels>, Labels, Option<&str>, Enrollment); 14] = [
            (Some(&[("istio-injection", "enabled")]), &[], None, Meshed),
            (Some(&[("istio-injection", "enabled")]), &[], Some("false"), Outside),
            (Some(&[("istio-injection", "disabled")]), &[], Some("true"), Outside),
            (Some(&[("istio-injection", "disabled"), ("istio.io/rev", "x")]), &[], None, Outside),
            (Some(&[("istio.io/rev", "canary")]), &[], None, Meshed),
            (Some(&[]), &[], None, Outside),
            (Some(&[]), &[], Some("true"), Meshed),
            (Some(&[]), &[("istio.io/rev", "canary")], None, Meshed),
            (Some(&[("istio.io/dataplane-mode", "ambient")]), &[], None, Meshed),
            (Some(&[("istio.io/dataplane-mode", "ambient")]), &[], Some("false"), Meshed),
            (Some(&[("istio.io/dataplane-mode", "ambient")]), &[("istio.io/dataplane-mode", "none")], None, Outside),
            (Some(&[]), &[("istio.io/dataplane-mode", "ambient")], None, Meshed),
            (None, &[], None, Unknown),
            (None, &[], Some("false"), Unknown),
        ];
        let map = |labels: Labels| labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        for (namespace, labels, inject, expected) in rows {
            let template =
                PodTemplate { labels: map(labels), inject: inject.map(str::to_owned), ..PodTemplate::default() };
            let namespace: Option<BTreeMap<String, String>> = namespace.map(map);
            assert_eq!(template.enrollment(namespace.as_ref()), expected, "{namespace:?} {labels:?} {inject:?}");
        }
    }

    #[test]
    fn the_proxy_of_the_template_and_the_network_of_the_node_come_first() {
        let injected = BTreeMap::from([("istio-injection".to_owned(), "enabled".to_owned())]);
        let by_hand = PodTemplate { has_proxy: true, ..PodTemplate::default() };
        assert_eq!(by_hand.enrollment(None), Enrollment::Meshed);
        let on_node = PodTemplate { host_network: true, ..PodTemplate::default() };
        assert_eq!(on_node.enrollment(Some(&injected)), Enrollment::Outside);
    }
}
