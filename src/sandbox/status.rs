//! The `Status` objects of failed requests, with the codes, reasons and messages of a real API server.

use super::resource::Resource;
use serde_json::{Value, json};

/// A failed request: the fields of its `Status` object.
#[derive(Debug, Clone)]
pub(super) struct ApiStatus {
    /// HTTP status.
    pub(super) code: u16,
    reason: &'static str,
    message: String,
    details: Option<Value>,
}

/// One cause of an invalid object: reason, message and field.
pub(super) struct Cause {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) field: String,
}

impl Cause {
    pub(super) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: "FieldValueInvalid", message: format!("Invalid value: {}", message.into()), field: field.into() }
    }
}

impl ApiStatus {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            details["group"] = resource.group.into();
        }
        self.details = Some(details);
        self
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified())).about(resource, name)
    }

    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self::new(409, "AlreadyExists", message).about(resource, name)
    }

    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        Self::precondition(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(super) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource, name)
    }

    /// Conflicts of a server-side apply: `(manager, field)`, in order.
    pub(super) fn field_conflicts(conflicts: &[(String, String)]) -> Self {
        let plural = if conflicts.len() == 1 { "" } else { "s" };
        let list = conflicts.iter().map(|(who, field)| (format!("conflict with {who}"), field));
        let message = match conflicts {
            [(who, field)] => format!("Apply failed with 1 conflict: conflict with {who}: {field}"),
            _ => list
                .clone()
                .fold(format!("Apply failed with {} conflict{plural}:", conflicts.len()), |text, (who, field)| {
                    format!("{text}\n- {who}: {field}")
                }),
        };
        let causes: Vec<Value> = list
            .map(|(message, field)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        Self { details: Some(json!({ "causes": causes })), ..Self::new(409, "Conflict", message) }
    }

    pub(super) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let text = if let [only] = texts.as_slice() { only.clone() } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {text}", resource.qualified_kind());
        let causes: Vec<Value> = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
            .collect();
        let details = json!({"name": name, "group": resource.group, "kind": resource.kind, "causes": causes});
        Self { details: Some(details), ..Self::new(422, "Invalid", message) }
    }

    /// A JSON patch whose test failed or whose path is missing; the real server does not say which.
    pub(super) fn patch_failed() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self { details: Some(json!({})), ..Self::new(422, "Invalid", message) }
    }

    pub(super) fn manager_required() -> Self {
        let message =
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        let cause = json!({"reason": "FieldValueRequired", "message": "Required value: is required for apply patch", "field": "fieldManager"});
        let details = json!({"group": "meta.k8s.io", "kind": "PatchOptions", "causes": [cause]});
        Self { details: Some(details), ..Self::new(422, "Invalid", message) }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// istiod's webhook denied the request.
    pub(super) fn webhook(message: &str) -> Self {
        Self::bad_request(format!(
            "admission webhook \"validation.istio.io\" denied the request: configuration is invalid: {message}"
        ))
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub(super) fn media_type(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(super) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    pub(super) fn too_large() -> Self {
        Self::new(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")
    }

    /// A typed patch that does not match the schema; the real server sends no reason either.
    pub(super) fn untyped(message: String) -> Self {
        Self::new(500, "", message)
    }

    /// A feature that the sandbox does not support.
    pub(super) fn not_here(what: &str) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the sandbox has no {what}: it is a stage for mutual TLS, not a cluster"),
        )
    }

    /// The `Status` object.
    pub(super) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status["code"] = self.code.into();
        status
    }
}
