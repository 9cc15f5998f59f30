//! Adds to a pod what the options say about where it runs and what it is given.

use crate::domain::placement::{PodPlacement, Toleration};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Adds these settings to a pod object. The pod's own labels and annotations stay.
pub(super) fn apply(placement: &PodPlacement, pod: &mut Value) {
    add_missing(&mut pod["metadata"]["labels"], &placement.labels);
    add_missing(&mut pod["metadata"]["annotations"], &placement.annotations);
    let spec = &mut pod["spec"];
    if !placement.tolerations.is_empty() {
        spec["tolerations"] = placement.tolerations.iter().map(toleration).collect();
    }
    if !placement.node_selector.is_empty() {
        spec["nodeSelector"] = json!(placement.node_selector);
    }
    if let Some(class) = &placement.priority_class {
        spec["priorityClassName"] = json!(class);
    }
}

/// Adds entries to a map of texts. Those of the same key stay.
fn add_missing(map: &mut Value, added: &BTreeMap<String, String>) {
    for (key, value) in added {
        let entry = &mut map[key];
        if entry.is_null() {
            *entry = json!(value);
        }
    }
}

fn toleration(toleration: &Toleration) -> Value {
    let operator = if toleration.value.is_some() { "Equal" } else { "Exists" };
    let mut object = json!({"key": toleration.key, "operator": operator});
    for (field, text) in [("value", &toleration.value), ("effect", &toleration.effect)] {
        if let Some(text) = text {
            object[field] = json!(text);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_the_tool_stay() {
        let mut pod = json!({"metadata": {"labels": {"app": "probe"}}});
        let labels = BTreeMap::from([("app".to_owned(), "x".to_owned()), ("team".to_owned(), "shop".to_owned())]);
        apply(&PodPlacement { labels, ..PodPlacement::default() }, &mut pod);
        assert_eq!(pod["metadata"]["labels"], json!({"app": "probe", "team": "shop"}));
    }

    #[test]
    fn a_toleration_has_only_the_fields_that_are_given() {
        let of = |value: Option<&str>, effect: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            toleration(&Toleration { key: "gpu".to_owned(), value: owned(value), effect: owned(effect) })
        };
        assert_eq!(of(None, None), json!({"key": "gpu", "operator": "Exists"}));
        let whole = json!({"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoSchedule"});
        assert_eq!(of(Some("a100"), Some("NoSchedule")), whole);
    }
}
