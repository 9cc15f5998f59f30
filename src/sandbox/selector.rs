//! Label and field selectors of lists and watches.

use super::status::ApiStatus;
use crate::domain::selector;
use serde_json::Value;

/// A JSON pointer, a value, and whether the field must equal the value.
#[derive(Debug, Clone)]
struct Field(&'static str, String, bool);

/// The label and field selectors of a list or watch.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: selector::Selector,
    fields: Vec<Field>,
}

const FIELDS: [(&str, &str); 5] = [
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("status.phase", "/status/phase"),
    ("spec.nodeName", "/spec/nodeName"),
    ("status.podIP", "/status/podIP"),
];

impl Selector {
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, ApiStatus> {
        let labels = labels.unwrap_or_default().parse().map_err(|error: String| ApiStatus::bad_request(error))?;
        let fields = fields.unwrap_or_default().split(',').map(str::trim).filter(|term| !term.is_empty()).map(field);
        Ok(Self { labels, fields: fields.collect::<Result<_, _>>()? })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let is = |Field(pointer, value, wanted): &Field| {
            (object.pointer(pointer).and_then(Value::as_str).unwrap_or_default() == value) == *wanted
        };
        self.labels.matches(|key| labels[key].as_str()) && self.fields.iter().all(is)
    }
}

fn field(text: &str) -> Result<Field, ApiStatus> {
    let (key, value, wanted) = if let Some((key, value)) = text.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = text.split_once('=') {
        (key, value.trim_start_matches('='), true)
    } else {
        return Err(ApiStatus::bad_request(format!("invalid selector: '{text}'; can't understand '{text}'")));
    };
    let known = FIELDS.iter().find(|(name, _)| *name == key);
    let (_, pointer) = known.ok_or_else(|| ApiStatus::bad_request(format!("field label not supported: {key}")))?;
    Ok(Field(pointer, value.to_owned(), wanted))
}
