//! Generates the JSON Schema of the reports from their types.

use super::model::{API_VERSION, ProbeReport};
use serde_json::{Value, json};

/// JSON Schema 2020-12 of [`ProbeReport`] as it is serialized.
pub fn probe_report() -> Value {
    let mut schema = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<ProbeReport>()
        .to_value();
    schema["title"] = json!(format!("ProbeReport, {API_VERSION}"));
    schema["properties"]["apiVersion"]["const"] = json!(API_VERSION);
    schema["properties"]["kind"]["const"] = json!("ProbeReport");
    schema
}
