//! The verbs that write: create, update, the patches and apply; each validates the object and records field ownership.

use super::clock::now;
use super::fields::{self, Author};
use super::injection;
use super::resource::{NAMESPACE, Resource};
use super::schema::{Schemas, is_dns_label};
use super::status::{ApiStatus, Cause};
use super::store::{Store, Write};
use rand::Rng;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most operations of a JSON patch, as on a real server.
const MAX_OPERATIONS: usize = 10_000;

/// Most bytes that the `copy` operations of a JSON patch may copy in all.
const MAX_COPIED: usize = 3 << 20;

/// What happens to unknown fields (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validation {
    Ignore,
    Warn,
    Strict,
}

/// The object of a write, and the options of the request.
#[derive(Debug, Clone)]
pub(super) struct WriteRequest {
    pub(super) resource: &'static Resource,
    pub(super) version: String,
    pub(super) namespace: String,
    /// Empty for a create.
    pub(super) name: String,
    pub(super) manager: String,
    pub(super) dry_run: bool,
    pub(super) force: bool,
    pub(super) validation: Validation,
}

/// The written object, and the warnings for the client.
pub(super) struct Written {
    pub(super) object: Arc<Value>,
    pub(super) created: bool,
    pub(super) warnings: Vec<String>,
}

/// The kind of a patch, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatchKind {
    Json,
    Merge,
    Apply,
}

/// The write half of the API server.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) schemas: Schemas,
}

impl Writer {
    pub(super) fn create(&self, request: &WriteRequest, mut object: Value) -> Result<Written, ApiStatus> {
        let namespace = self.namespace(request)?;
        let name = new_name(request, &mut object)?;
        let mut warnings = Vec::new();
        let object = self.store.write(request.resource, &request.namespace, &name, |former| {
            if former.is_some() {
                return Err(ApiStatus::already_exists(request.resource, &name));
            }
            self.finish(request, None, &mut object, &mut warnings)?;
            admit(request, &namespace, &mut object);
            fields::record_update(None, &mut object, &request.author());
            Ok(request.outcome(object))
        })?;
        Ok(Written { object, created: true, warnings })
    }

    pub(super) fn update(&self, request: &WriteRequest, mut object: Value) -> Result<Written, ApiStatus> {
        let mut warnings = Vec::new();
        let object = self.store.write(request.resource, &request.namespace, &request.name, |former| {
            let former = former.ok_or_else(|| ApiStatus::not_found(request.resource, &request.name))?;
            self.finish(request, Some(former), &mut object, &mut warnings)?;
            fields::record_update(Some(former), &mut object, &request.author());
            Ok(request.outcome(object))
        })?;
        Ok(Written { object, created: false, warnings })
    }

    pub(super) fn patch(&self, request: &WriteRequest, kind: PatchKind, patch: &Value) -> Result<Written, ApiStatus> {
        if kind == PatchKind::Apply {
            return self.apply(request, patch);
        }
        let mut warnings = Vec::new();
        let object = self.store.write(request.resource, &request.namespace, &request.name, |former| {
            let former = former.ok_or_else(|| ApiStatus::not_found(request.resource, &request.name))?;
            let mut object = former.clone();
            object["apiVersion"] = request.api_version().into();
            patched(&mut object, kind, patch)?;
            self.finish(request, Some(former), &mut object, &mut warnings)?;
            fields::record_update(Some(former), &mut object, &request.author());
            Ok(request.outcome(object))
        })?;
        Ok(Written { object, created: false, warnings })
    }

    fn apply(&self, request: &WriteRequest, patch: &Value) -> Result<Written, ApiStatus> {
        if request.manager.is_empty() {
            return Err(ApiStatus::manager_required());
        }
        if !patch["metadata"]["managedFields"].is_null() {
            return Err(ApiStatus::bad_request("metadata.managedFields must be nil"));
        }
        check_shape(patch)?;
        let mut applied = patch.clone();
        let unknown = self.schemas.prune(request.resource, &mut applied);
        if !unknown.is_empty() {
            let lines: Vec<String> =
                unknown.iter().map(|field| format!("  .{field}: field not declared in schema")).collect();
            let kind = format!("{}, Kind={}", request.api_version(), request.resource.kind);
            let name = format!("{}/{}", request.namespace, request.name);
            let lines = lines.join("\n");
            return Err(ApiStatus::untyped(format!(
                "failed to create typed patch object ({name}; {kind}): errors:\n{lines}"
            )));
        }
        check_name(request, &applied)?;
        let namespace = self.namespace(request)?;
        let mut created = false;
        let object = self.store.write(request.resource, &request.namespace, &request.name, |former| {
            created = former.is_none();
            let mut object = fields::apply(former, &applied, &request.author(), request.force)?;
            if let Some(version) = patch["metadata"]["resourceVersion"].as_str() {
                object["metadata"]["resourceVersion"] = version.into();
            }
            object["metadata"]["name"] = request.name.clone().into();
            self.finish(request, former, &mut object, &mut Vec::new())?;
            if created {
                admit(request, &namespace, &mut object);
            }
            Ok(request.outcome(object))
        })?;
        Ok(Written { object, created, warnings: Vec::new() })
    }

    /// The namespace of a new object, which must exist. It is read before the write because the store has one lock.
    fn namespace(&self, request: &WriteRequest) -> Result<Arc<Value>, ApiStatus> {
        if !request.resource.namespaced {
            return Ok(Arc::default());
        }
        let found = self.store.get(&NAMESPACE, "", &request.namespace);
        found.ok_or_else(|| ApiStatus::not_found(&NAMESPACE, &request.namespace))
    }

    /// The steps of every write: preconditions, the metadata of the server, pruning and validation.
    fn finish(
        &self,
        request: &WriteRequest,
        former: Option<&Value>,
        object: &mut Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), ApiStatus> {
        check_shape(object)?;
        check_pod(request, object)?;
        if let Some(former) = former {
            check_name(request, object)?;
            check_preconditions(request, former, object)?;
        }
        object["apiVersion"] = request.api_version().into();
        object["kind"] = request.resource.kind.into();
        let unknown = self.schemas.prune(request.resource, object);
        judge_unknown(request, &unknown, warnings)?;
        drop_nulls(object);
        own_metadata(request, former, object);
        self.schemas.validate(request.resource, object)
    }
}

/// Checks and completes the name of a new object.
fn new_name(request: &WriteRequest, object: &mut Value) -> Result<String, ApiStatus> {
    check_shape(object)?;
    let resource = request.resource;
    if let Some(prefix) = object["metadata"]["generateName"].as_str()
        && object["metadata"]["name"].as_str().is_none_or(str::is_empty)
    {
        object["metadata"]["name"] = format!("{prefix}{}", random_suffix()).into();
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if name.is_empty() {
        let message = "Required value: name or generateName is required".to_owned();
        let cause = Cause { reason: "FieldValueRequired", message, field: "metadata.name".to_owned() };
        return Err(ApiStatus::invalid(resource, "", &[cause]));
    }
    let is_subdomain = name.split('.').all(|label| is_dns_label(label) && label == label.to_ascii_lowercase());
    if !is_subdomain || name.len() > 253 {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        let cause = Cause::invalid("metadata.name", format!("\"{name}\": {rule}"));
        return Err(ApiStatus::invalid(resource, &name, &[cause]));
    }
    Ok(name)
}

/// Admission of a new pod.
fn admit(request: &WriteRequest, namespace: &Value, object: &mut Value) {
    if request.resource.is_pod() {
        injection::admit(namespace, object);
    }
}

impl WriteRequest {
    /// The request for one of the objects that a selector picked for deletion.
    pub(super) fn to_delete(resource: &'static Resource, namespace: &str, name: &str, dry_run: bool) -> Self {
        Self {
            resource,
            version: resource.versions[0].to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            manager: String::new(),
            dry_run,
            force: false,
            validation: Validation::Ignore,
        }
    }

    fn api_version(&self) -> String {
        self.resource.api_version(&self.version)
    }

    fn author(&self) -> Author {
        Author { manager: self.manager.clone(), api_version: self.api_version(), time: now() }
    }

    fn outcome(&self, object: Value) -> Write {
        if self.dry_run { Write::Show(object) } else { Write::Put(object) }
    }
}

/// Checks that the fields that are maps in every object are maps.
fn check_shape(object: &Value) -> Result<(), ApiStatus> {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let labels = ["labels", "annotations"].map(|field| metadata.get(field).unwrap_or(&Value::Null));
    let lists = ["containers", "initContainers"].map(|field| spec.get(field).unwrap_or(&Value::Null));
    let is_map = |value: &Value| value.is_null() || value.is_object();
    let is_list = |value: &Value| value.as_array().map_or(value.is_null(), |items| items.iter().all(Value::is_object));
    let sound = object.is_object() && is_map(metadata) && labels.into_iter().all(is_map);
    // The schemas cover the mesh's kinds; the lists are those of a pod.
    if sound && (!spec.is_object() || lists.into_iter().all(is_list)) {
        return Ok(());
    }
    Err(ApiStatus::bad_request("the object provided is not of the shape of a Kubernetes object"))
}

fn patched(object: &mut Value, kind: PatchKind, patch: &Value) -> Result<(), ApiStatus> {
    if kind == PatchKind::Merge {
        json_patch::merge(object, patch);
        return Ok(());
    }
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|error| ApiStatus::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > MAX_OPERATIONS {
        return Err(ApiStatus::too_large());
    }
    let mut copied = 0;
    for operation in patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = &operation {
            // A copy can double the object. A real server limits the sum of all copies, too.
            copied += object.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > MAX_COPIED {
                return Err(ApiStatus::too_large());
            }
        }
        json_patch::patch(object, std::slice::from_ref(&operation)).map_err(|_| ApiStatus::patch_failed())?;
    }
    Ok(())
}

/// Checks that the maps of a pod which the server and the node write to are maps.
fn check_pod(request: &WriteRequest, object: &Value) -> Result<(), ApiStatus> {
    if !request.resource.is_pod() {
        return Ok(());
    }
    let is_status = object.get("status").is_none_or(|status| status.is_null() || status.is_object());
    let field = match (object["spec"].is_object(), is_status) {
        (true, true) => return Ok(()),
        (false, _) => "spec",
        (true, false) => "status",
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(ApiStatus::invalid(request.resource, name, &[Cause::invalid(field, "it must be an object".to_owned())]))
}

fn check_name(request: &WriteRequest, object: &Value) -> Result<(), ApiStatus> {
    match object["metadata"]["name"].as_str() {
        Some(name) if name != request.name => Err(ApiStatus::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        ))),
        _ => Ok(()),
    }
}

/// Checks that a `resourceVersion` or `uid` that the client sends is that of the object.
fn check_preconditions(request: &WriteRequest, former: &Value, object: &Value) -> Result<(), ApiStatus> {
    let version = &object["metadata"]["resourceVersion"];
    if version.as_str().is_some_and(|text| !text.is_empty()) && *version != former["metadata"]["resourceVersion"] {
        return Err(ApiStatus::modified(request.resource, &request.name));
    }
    let uid = &object["metadata"]["uid"];
    if uid.as_str().is_some_and(|text| !text.is_empty()) && *uid != former["metadata"]["uid"] {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            uid.as_str().unwrap_or_default(),
            former["metadata"]["uid"].as_str().unwrap_or_default()
        );
        return Err(ApiStatus::precondition(request.resource, &request.name, &why));
    }
    Ok(())
}

fn judge_unknown(request: &WriteRequest, unknown: &[String], warnings: &mut Vec<String>) -> Result<(), ApiStatus> {
    let list: Vec<String> = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
    match request.validation {
        Validation::Strict if !list.is_empty() => Err(ApiStatus::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {kind}: strict decoding error: {}",
            request.version,
            list.join(", "),
            kind = request.resource.kind,
        ))),
        Validation::Warn => {
            warnings.extend(list);
            Ok(())
        }
        Validation::Strict | Validation::Ignore => Ok(()),
    }
}

/// Removes nulls, as the real server does for fields that are not nullable; only `mtls: null` of the legacy API has a
/// meaning here.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, child| !child.is_null() || key == "mtls");
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Metadata that only the server writes.
fn own_metadata(request: &WriteRequest, former: Option<&Value>, object: &mut Value) {
    let kept = ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];
    let generation = match former {
        None => 1,
        Some(former) => {
            former["metadata"]["generation"].as_i64().unwrap_or(1) + i64::from(content(former) != content(object))
        }
    };
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    for field in kept {
        match former.map(|former| &former["metadata"][field]) {
            Some(value) if !value.is_null() => metadata.insert(field.to_owned(), value.clone()),
            _ => metadata.remove(field),
        };
    }
    if former.is_none() {
        metadata.insert("uid".into(), new_uid().into());
        metadata.insert("creationTimestamp".into(), now().into());
        metadata.remove("resourceVersion");
    }
    if request.resource.namespaced {
        metadata.insert("namespace".into(), request.namespace.clone().into());
    }
    if request.resource.is_custom() || request.resource.is_pod() {
        metadata.insert("generation".into(), generation.into());
    }
}

/// The fields whose change increases the generation: all except metadata, status, apiVersion and kind.
fn content(object: &Value) -> Map<String, Value> {
    let mut map = object.as_object().cloned().unwrap_or_default();
    for field in ["metadata", "status", "apiVersion", "kind"] {
        map.remove(field);
    }
    map
}

fn random_suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..5).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

/// A random UUID.
pub(super) fn new_uid() -> String {
    let bits: u128 = rand::rng().random::<u128>() & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
