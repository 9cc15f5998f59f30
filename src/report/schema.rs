//! Generates the JSON Schemas of the reports from their types.

use super::model::{API_VERSION, ProbeReport};
use super::rehearsal::RehearsalReport;
use super::status::StatusReport;
use schemars::JsonSchema;
use serde_json::{Value, json};

/// JSON Schema 2020-12 of [`ProbeReport`] as it is serialized.
pub fn probe_report() -> Value {
    schema::<ProbeReport>("ProbeReport")
}

/// JSON Schema 2020-12 of [`StatusReport`] as it is serialized.
pub fn status_report() -> Value {
    schema::<StatusReport>("StatusReport")
}

/// JSON Schema 2020-12 of [`RehearsalReport`] as it is serialized.
pub fn rehearsal_report() -> Value {
    schema::<RehearsalReport>("RehearsalReport")
}

fn schema<T: JsonSchema>(kind: &str) -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value();
    schema["title"] = json!(format!("{kind}, {API_VERSION}"));
    schema["properties"]["apiVersion"]["const"] = json!(API_VERSION);
    schema["properties"]["kind"]["const"] = json!(kind);
    schema
}
