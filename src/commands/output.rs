//! Writes the report of a command in the format of `-o`.

use crate::cli::values::OutputFormat;
use crate::report::{RenderError, json, yaml};
use serde::Serialize;

/// The report as a document, or the text that `text` makes of it.
pub(super) fn render<T: Serialize>(
    report: &T,
    output: OutputFormat,
    text: impl FnOnce(&T) -> String,
) -> Result<String, RenderError> {
    match output {
        OutputFormat::Json => json::document(report),
        OutputFormat::Yaml => yaml::document(report),
        OutputFormat::Table | OutputFormat::Wide | OutputFormat::Name => Ok(text(report)),
    }
}
