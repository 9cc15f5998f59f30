//! Converts `WorkloadEntries` of the API into workloads of the domain, for snapshots.

use crate::cluster::list::Meta;
use crate::domain::mesh::{DataPlane, Pod, PodFacts, WorkloadEntry};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The fields of a `WorkloadEntry` that are read.
#[derive(Debug, Deserialize)]
pub(super) struct EntryShape {
    metadata: Meta,
    #[serde(default)]
    spec: EntrySpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntrySpec {
    #[serde(default)]
    address: String,
    labels: Option<BTreeMap<String, String>>,
    ports: Option<BTreeMap<String, u16>>,
    service_account: Option<String>,
}

/// The label that says whether a workload takes mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// Namespace, name and workload of an entry; `None` for one without an address, which has no endpoint.
pub(super) fn domain_entry(entry: EntryShape) -> Option<(String, String, WorkloadEntry)> {
    let EntryShape { metadata, spec } = entry;
    let (name, namespace) = (metadata.name?, metadata.namespace.unwrap_or_default());
    let mut labels = metadata.labels.unwrap_or_default();
    labels.extend(spec.labels.unwrap_or_default());
    // BY-33: an account stands for a proxy, unless the label says otherwise.
    let account = spec.service_account.filter(|account| !account.is_empty());
    if account.is_some() {
        labels.entry(TLS_MODE.to_owned()).or_insert_with(|| "istio".to_owned());
    }
    let has_proxy = labels.get(TLS_MODE).is_some_and(|mode| mode == "istio");
    let workload = Pod {
        name: name.clone(),
        namespace: namespace.clone(),
        labels,
        service_account: account.unwrap_or_else(|| "default".to_owned()),
        data_plane: if has_proxy { DataPlane::Sidecar } else { DataPlane::None },
        ready: true,
        addresses: vec![spec.address.clone()],
        facts: PodFacts { workload: format!("workloadentry/{name}"), ..PodFacts::default() },
        ..Pod::default()
    };
    let entry = WorkloadEntry { address: spec.address, ports: spec.ports.unwrap_or_default(), workload };
    (!entry.address.is_empty()).then_some((namespace, name, entry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_account_or_the_label_stands_for_a_proxy() {
        for (spec, expected) in [
            (json!({"address": "192.0.2.1"}), DataPlane::None),
            (json!({"address": "192.0.2.1", "serviceAccount": "vm"}), DataPlane::Sidecar),
            (json!({"address": "192.0.2.1", "labels": {"security.istio.io/tlsMode": "istio"}}), DataPlane::Sidecar),
            (
                json!({"address": "192.0.2.1", "serviceAccount": "vm", "labels": {"security.istio.io/tlsMode": "disabled"}}),
                DataPlane::None,
            ),
        ] {
            let object = json!({"metadata": {"name": "vm", "namespace": "shop"}, "spec": spec});
            let (_, _, entry) = domain_entry(serde_json::from_value(object).expect("an entry")).expect("an address");
            assert_eq!(entry.workload.data_plane, expected, "{spec}");
        }
    }
}
