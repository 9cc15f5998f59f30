//! Validation of the mesh's kinds: the schemas and rules of their definitions, and the rules of istiod's webhook.

use super::resource::Resource;
use super::status::{ApiStatus, Cause};
use crate::istio::yaml;
use anyhow::Context;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const CRDS: &str = include_str!("crds.yaml");

/// The definitions of the mesh's kinds with their schemas, by group and kind.
#[derive(Debug)]
pub(super) struct Schemas(BTreeMap<(String, String), Schema>);

#[derive(Debug)]
struct Schema {
    definition: Value,
    structure: Value,
    /// Compiled for the first object: most runs of the sandbox write none of this kind.
    validator: OnceLock<Validator>,
}

impl Schema {
    fn validator(&self) -> &Validator {
        self.validator.get_or_init(|| {
            let mut plain = self.structure.clone();
            to_json_schema(&mut plain);
            jsonschema::validator_for(&plain).expect("the sandbox's own schemas are valid: a test compiles each")
        })
    }
}

impl Schemas {
    pub(super) fn load() -> anyhow::Result<Self> {
        CRDS.split("\n---\n").map(read).collect::<anyhow::Result<_>>().map(Self)
    }

    fn of(&self, resource: &Resource) -> Option<&Schema> {
        self.0.get(&(resource.group.to_owned(), resource.kind.to_owned()))
    }

    /// The `CustomResourceDefinition` of a resource, limited to the versions that are served.
    pub(super) fn definition(&self, resource: &Resource) -> Option<Value> {
        let mut definition = self.of(resource)?.definition.clone();
        let template = definition["spec"]["versions"][0].clone();
        let versions = resource.versions.iter().enumerate().map(|(index, version)| {
            let mut entry = template.clone();
            entry["name"] = (*version).into();
            entry["storage"] = (index == 0).into();
            entry
        });
        definition["spec"]["versions"] = versions.collect::<Vec<_>>().into();
        Some(definition)
    }

    /// The schema for `OpenAPI`, with the fields of every object.
    pub(super) fn open_api(&self, resource: &Resource) -> Value {
        let mut schema = self.of(resource).map_or_else(
            || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            |schema| schema.structure.clone(),
        );
        for (field, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
            schema["properties"][field] = json!({ "type": kind });
        }
        schema
    }

    /// Removes the fields that the schema does not define, and returns their paths.
    pub(super) fn prune(&self, resource: &Resource, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|key, _| {
                let known = METADATA.contains(&key.as_str());
                if !known {
                    unknown.push(format!("metadata.{key}"));
                }
                known
            });
        }
        if let Some(schema) = self.of(resource) {
            for (key, value) in object.as_object_mut().into_iter().flatten() {
                if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    prune(&schema.structure["properties"][key.as_str()], value, key, &mut unknown);
                }
            }
        }
        unknown.sort();
        unknown
    }

    /// Checks an object against its schema, the rules of its definition and those of istiod.
    pub(super) fn validate(&self, resource: &Resource, object: &Value) -> Result<(), ApiStatus> {
        let Some(schema) = self.of(resource) else { return Ok(()) };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let mut causes: Vec<Cause> = schema.validator().iter_errors(object).map(|error| cause(&error)).collect();
        if !causes.is_empty() {
            let rest = "null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            causes.push(Cause::invalid("<nil>", rest));
            return Err(ApiStatus::invalid(resource, name, &causes));
        }
        match resource.kind {
            "PeerAuthentication" => peer_authentication(&object["spec"])
                .map_err(|(field, why)| ApiStatus::invalid(resource, name, &[Cause::invalid(field, why)])),
            "DestinationRule" => destination_rule(&object["spec"]).map_err(|why| ApiStatus::webhook(&why)),
            _ => Ok(()),
        }
    }
}

const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

fn read(document: &str) -> anyhow::Result<((String, String), Schema)> {
    let definition = yaml::read_one(document).context("the sandbox's own CustomResourceDefinitions")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &definition["spec"];
    let structure = spec["versions"][0]["schema"]["openAPIV3Schema"].clone();
    let key = (text(&spec["group"]), text(&spec["names"]["kind"]));
    Ok((key, Schema { definition, structure, validator: OnceLock::new() }))
}

/// Replaces `nullable` of a structural schema by the type `null` of a JSON schema.
fn to_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.remove("nullable") == Some(Value::Bool(true))
                && let Some(kind) = map.get_mut("type")
            {
                *kind = json!([kind, "null"]);
            }
            map.values_mut().for_each(to_json_schema);
        }
        Value::Array(list) => list.iter_mut().for_each(to_json_schema),
        _ => {}
    }
}

fn prune(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object();
            let others = &schema["additionalProperties"];
            let open = schema["x-kubernetes-preserve-unknown-fields"] == true || !others.is_null();
            map.retain(|key, child| {
                let path = format!("{path}.{key}");
                match properties.and_then(|known| known.get(key)) {
                    Some(schema) => prune(schema, child, &path, unknown),
                    None if open => prune_open(others, child, &path, unknown),
                    None => {
                        unknown.push(path);
                        return false;
                    }
                }
                true
            });
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                prune(&schema["items"], item, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

/// Keeps everything below an unknown field of an open map, unless `additionalProperties` has a schema for it.
fn prune_open(others: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    if others.is_object() {
        prune(others, value, path, unknown);
    }
}

/// `spec.subsets[0].name` of `/spec/subsets/0/name`.
fn field(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').skip(1) {
        if part.parse::<usize>().is_ok() {
            field = format!("{field}[{part}]");
        } else if field.is_empty() {
            part.clone_into(&mut field);
        } else {
            field = format!("{field}.{part}");
        }
    }
    field
}

/// A schema error with the reason and message of the API server.
fn cause(error: &ValidationError<'_>) -> Cause {
    let field = field(error.instance_path.as_str());
    match &error.kind {
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
            let message = format!("Unsupported value: {}: supported values: {}", error.instance, options.join(", "));
            Cause { reason: "FieldValueNotSupported", message, field }
        }
        ValidationErrorKind::Required { property } => Cause {
            reason: "FieldValueRequired",
            message: "Required value".to_owned(),
            field: format!("{field}.{}", property.as_str().unwrap_or_default()),
        },
        ValidationErrorKind::Type { kind } => {
            let is = type_name(&error.instance);
            let must_be = match kind {
                TypeKind::Single(kind) => kind.to_string(),
                TypeKind::Multiple(kinds) => kinds.iter().next().map(|kind| kind.to_string()).unwrap_or_default(),
            };
            let message = format!("Invalid value: \"{is}\": {field} in body must be of type {must_be}: \"{is}\"");
            Cause { reason: "FieldValueTypeInvalid", message, field }
        }
        _ => Cause::invalid(field, error.to_string()),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The CEL rules of `PeerAuthentication` (VA-2).
fn peer_authentication(spec: &Value) -> Result<(), (&'static str, &'static str)> {
    let labels = spec["selector"]["matchLabels"].as_object();
    if labels.into_iter().flatten().any(|(key, _)| key.contains('*')) {
        return Err(("spec.selector.matchLabels", "wildcard not allowed in label key match"));
    }
    if labels.into_iter().flatten().any(|(key, _)| key.is_empty()) {
        return Err(("spec.selector.matchLabels", "key must not be empty"));
    }
    if labels.into_iter().flatten().any(|(_, value)| value.as_str().is_some_and(|text| text.contains('*'))) {
        return Err(("spec.selector.matchLabels", "wildcard not allowed in label value match"));
    }
    let Some(ports) = spec["portLevelMtls"].as_object() else { return Ok(()) };
    if ports.keys().any(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return Err(("spec.portLevelMtls", "port must be between 1-65535"));
    }
    if labels.is_none_or(serde_json::Map::is_empty) {
        return Err(("spec", "portLevelMtls requires selector"));
    }
    Ok(())
}

/// The webhook's rules for the fields of a `DestinationRule` that this tool writes (VA-3).
fn destination_rule(spec: &Value) -> Result<(), String> {
    let host = spec["host"].as_str().unwrap_or_default();
    let labels = host.strip_prefix("*.").unwrap_or(host);
    if host != "*" && !labels.split('.').all(is_dns_label) {
        return Err(format!("domain name \"{host}\" invalid"));
    }
    let subsets = spec["subsets"].as_array().into_iter().flatten();
    let mut names: Vec<&Value> = subsets.clone().map(|subset| &subset["name"]).collect();
    names.sort_by_key(|name| name.as_str());
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("duplicate subset names".to_owned());
    }
    for policy in subsets.map(|subset| &subset["trafficPolicy"]).chain([&spec["trafficPolicy"]]) {
        traffic_policy(policy)?;
    }
    Ok(())
}

fn traffic_policy(policy: &Value) -> Result<(), String> {
    if policy.as_object().is_some_and(serde_json::Map::is_empty) {
        return Err("traffic policy must have at least one field".to_owned());
    }
    for port in policy["portLevelSettings"].as_array().into_iter().flatten() {
        if port["port"]["number"].is_null() {
            return Err("portLevelSettings must have a port".to_owned());
        }
        if port.as_object().is_some_and(|entry| entry.len() == 1) {
            return Err("port traffic policy must have at least one field".to_owned());
        }
    }
    Ok(())
}

/// Letters, digits and inner dashes, 63 at most.
pub(super) fn is_dns_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_has_a_schema_that_compiles() {
        let schemas = Schemas::load().unwrap();
        assert!(schemas.0.len() >= 4, "{:?}", schemas.0.keys());
        for schema in schemas.0.values() {
            assert!(!schema.validator().is_valid(&json!({"spec": 1})), "{}", schema.definition["metadata"]["name"]);
        }
    }
}
