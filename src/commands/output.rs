//! Writes the report of a command in the format of `-o`.

use crate::cli::values::OutputFormat;
use crate::error::UsageError;
use crate::report::{RenderError, json, yaml};
use serde::Serialize;

/// Rejects `--no-headers` for an output that has no table.
pub(super) fn check_headers(no_headers: bool, output: OutputFormat) -> Result<(), UsageError> {
    if !no_headers || matches!(output, OutputFormat::Table | OutputFormat::Wide) {
        return Ok(());
    }
    Err(UsageError { message: "--no-headers works only with -o table and -o wide".to_owned(), hint: None })
}

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
