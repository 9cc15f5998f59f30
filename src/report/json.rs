//! Writes documents as JSON for a terminal or a CI job: hostile text in them is escaped, and the documents keep their
//! meaning.

use super::RenderError;
use crate::sanitize;
use serde::Serialize;

/// One document, which ends with a newline.
pub fn document(value: &impl Serialize) -> Result<String, RenderError> {
    Ok(sanitize::json(&serde_json::to_string_pretty(value)?).into_owned() + "\n")
}
