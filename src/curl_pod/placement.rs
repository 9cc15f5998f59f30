//! Adds to a pod what the options say about where it runs and what it is given.

use crate::domain::placement::{PodPlacement, Toleration};
use k8s_openapi::api::core::v1::{self, Pod};

/// Adds these settings to a pod. The pod's own labels and annotations stay.
pub(super) fn apply(placement: &PodPlacement, pod: &mut Pod) {
    let metadata = &mut pod.metadata;
    for (own, added) in [(&mut metadata.labels, &placement.labels), (&mut metadata.annotations, &placement.annotations)]
    {
        let own = own.get_or_insert_default();
        for (key, value) in added {
            own.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    let spec = pod.spec.get_or_insert_default();
    if !placement.tolerations.is_empty() {
        spec.tolerations = Some(placement.tolerations.iter().map(toleration).collect());
    }
    if !placement.node_selector.is_empty() {
        spec.node_selector = Some(placement.node_selector.clone());
    }
    spec.priority_class_name.clone_from(&placement.priority_class);
}

fn toleration(toleration: &Toleration) -> v1::Toleration {
    let Toleration { key, value, effect } = toleration.clone();
    v1::Toleration {
        key: Some(key),
        operator: Some(if value.is_some() { "Equal" } else { "Exists" }.to_owned()),
        value,
        effect,
        toleration_seconds: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_labels_of_the_tool_stay() {
        let mut pod = Pod::default();
        pod.metadata.labels = Some([("app".to_owned(), "probe".to_owned())].into());
        let labels = BTreeMap::from([("app".to_owned(), "x".to_owned()), ("team".to_owned(), "shop".to_owned())]);
        apply(&PodPlacement { labels, ..PodPlacement::default() }, &mut pod);
        let labels = pod.metadata.labels.unwrap();
        assert_eq!((labels["app"].as_str(), labels["team"].as_str()), ("probe", "shop"));
    }
}
