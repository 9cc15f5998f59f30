//! Renders the difference that a change makes to an object, as `diff -u` shows it.

use super::RenderError;
use super::plan::without_managed_fields;
use crate::istio::yaml;
use serde_json::{Value, json};
use similar::TextDiff;

/// An object as YAML for the comparison; an absent one is an empty text.
pub fn text(object: Option<&Value>) -> Result<String, RenderError> {
    Ok(object.map(|object| yaml::write(&comparable(object))).transpose()?.unwrap_or_default())
}

/// The unified diff of two texts; empty where nothing differs.
pub fn unified(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let (old, new) = (format!("live/{name}"), format!("merged/{name}"));
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(3).header(&old, &new).to_string();
    crate::sanitize::text(&text).into_owned()
}

/// The object without the fields that the server changes by itself.
fn comparable(object: &Value) -> Value {
    let mut object = without_managed_fields(object);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("generation");
        for field in ["uid", "creationTimestamp"] {
            // A dry run invents them for objects that do not exist yet.
            if metadata.contains_key(field) {
                metadata.insert(field.to_owned(), json!("..."));
            }
        }
    }
    object
}
