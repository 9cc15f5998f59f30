//! Where in an object the fields are that the tool changes.

use crate::domain::plan::TlsPlace;
use serde_json::Value;

/// Whether the object is a policy of the API before Istio 1.5.
pub(super) fn is_legacy(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.starts_with("authentication."))
}

/// The path of the traffic policy or port entry that has the `tls` block of a place, as tokens from the root.
pub(super) fn traffic_policy(place: TlsPlace) -> Vec<String> {
    let tokens = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>();
    let mut path = match place {
        TlsPlace::Top | TlsPlace::Port(_) => tokens(&["spec", "trafficPolicy"]),
        TlsPlace::Subset(subset) | TlsPlace::SubsetPort(subset, _) => {
            tokens(&["spec", "subsets", &subset.to_string(), "trafficPolicy"])
        }
    };
    if let TlsPlace::Port(port) | TlsPlace::SubsetPort(_, port) = place {
        path.extend(tokens(&["portLevelSettings", &port.to_string()]));
    }
    path
}
