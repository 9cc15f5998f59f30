//! YAML
/// One document
pub fn document(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(serde_yaml::to_string(value)?)
}
