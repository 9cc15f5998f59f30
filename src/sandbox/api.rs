//! The routing of the API server: finds the resource and the verb of a request, and decodes its body. One service serves
//! the client in this process and the HTTPS server.

use super::resource::Resource;
use super::server::{ApiResponse, ApiServer, Query, document, status_response};
use super::status::ApiStatus;
use super::verbs::Scope;
use super::write::{PatchKind, Validation, WriteRequest, Written};
use super::{discovery, table};
use crate::istio::yaml;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The limit of a real API server.
const LONGEST_BODY: usize = 3 << 20;

/// The API as a service.
#[derive(Debug, Clone)]
pub struct Api(pub(super) Arc<ApiServer>);

impl<B> tower::Service<Request<B>> for Api
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = ApiResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<ApiResponse, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let response = match Limited::new(body, LONGEST_BODY).collect().await {
                Ok(body) => server.respond(&parts, &body.to_bytes()),
                Err(_) => Err(ApiStatus::too_large()),
            };
            Ok(response.unwrap_or_else(|status| status_response(&status)))
        })
    }
}

/// A segment of a path without its percent-encoding.
fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

fn header<'a>(parts: &'a Parts, name: &header::HeaderName) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl ApiServer {
    fn respond(self: &Arc<Self>, parts: &Parts, body: &[u8]) -> Result<ApiResponse, ApiStatus> {
        let path: Vec<String> = parts.uri.path().split('/').filter(|part| !part.is_empty()).map(decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(found) = discovery::document(self, &path) {
            return Ok(document(200, &found));
        }
        let (group, version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(ApiStatus::no_such_path()),
        };
        if group == "authorization.k8s.io" {
            return Err(ApiStatus::not_here("access reviews"));
        }
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some((*name).to_owned()), None),
            [plural, name, subresource] => (*plural, Some((*name).to_owned()), Some(*subresource)),
            _ => return Err(ApiStatus::no_such_path()),
        };
        let resource = self.catalogue.find(group, version, plural).ok_or_else(ApiStatus::no_such_path)?;
        let accept = header(parts, &header::ACCEPT);
        let scope = Scope {
            resource,
            version: version.to_owned(),
            namespace,
            table: accept.contains("as=Table"),
            query: Query::of(parts),
        };
        match (name, subresource) {
            (Some(name), Some(subresource)) => self.subresource(&scope, parts, &name, subresource),
            (Some(name), None) => self.one(&scope, parts, &name, body),
            (None, _) => self.many(&scope, parts, body),
        }
    }

    fn subresource(
        self: &Arc<Self>,
        scope: &Scope,
        parts: &Parts,
        name: &str,
        subresource: &str,
    ) -> Result<ApiResponse, ApiStatus> {
        match (scope.resource.kind, subresource) {
            ("Pod", "log") if parts.method == Method::GET => self.log(scope, name),
            ("Pod", "exec" | "attach" | "portforward" | "eviction" | "ephemeralcontainers") => {
                Err(ApiStatus::not_here(&format!("pods/{subresource}")))
            }
            (_, "status") if parts.method == Method::GET => self.get(scope, name),
            _ => Err(ApiStatus::no_such_path()),
        }
    }

    fn many(self: &Arc<Self>, scope: &Scope, parts: &Parts, body: &[u8]) -> Result<ApiResponse, ApiStatus> {
        match parts.method {
            Method::GET if scope.query.is("watch") => self.watch(scope),
            Method::GET => self.list(scope),
            Method::POST => {
                let request = write_request(scope, parts, "")?;
                let written = self.writer.create(&request, decode_object(parts, body, scope.resource)?)?;
                if scope.resource.kind == "Pod" && !request.dry_run {
                    self.node.start(Arc::clone(&written.object));
                }
                Ok(written_response(scope, &written))
            }
            Method::DELETE => self.delete_all(scope, &decode_options(body)?),
            _ => Err(ApiStatus::method_not_allowed()),
        }
    }

    fn one(self: &Arc<Self>, scope: &Scope, parts: &Parts, name: &str, body: &[u8]) -> Result<ApiResponse, ApiStatus> {
        match parts.method {
            Method::GET if scope.query.is("watch") => self.watch(scope),
            Method::GET => self.get(scope, name),
            Method::PUT => {
                let request = write_request(scope, parts, name)?;
                let written = self.writer.update(&request, decode_object(parts, body, scope.resource)?)?;
                Ok(written_response(scope, &written))
            }
            Method::PATCH => {
                let request = write_request(scope, parts, name)?;
                let kind = patch_kind(header(parts, &header::CONTENT_TYPE), scope.resource)?;
                let written = self.writer.patch(&request, kind, &decode_patch(kind, body)?)?;
                if written.created && scope.resource.kind == "Pod" && !request.dry_run {
                    self.node.start(Arc::clone(&written.object));
                }
                Ok(written_response(scope, &written))
            }
            Method::DELETE => {
                let request = write_request(scope, parts, name)?;
                self.delete(scope, &request, &decode_options(body)?)
            }
            _ => Err(ApiStatus::method_not_allowed()),
        }
    }
}

fn write_request(scope: &Scope, parts: &Parts, name: &str) -> Result<WriteRequest, ApiStatus> {
    let resource = scope.resource;
    if resource.read_only {
        return Err(ApiStatus::method_not_allowed());
    }
    let namespace = match (&scope.namespace, resource.namespaced) {
        (Some(namespace), true) => namespace.clone(),
        (None, false) => String::new(),
        _ => return Err(ApiStatus::method_not_allowed()),
    };
    let query = &scope.query;
    let manager = query.get("fieldManager").map_or_else(
        || {
            let is_apply = header(parts, &header::CONTENT_TYPE).starts_with("application/apply-patch");
            let agent = header(parts, &header::USER_AGENT).split('/').next().unwrap_or_default();
            // Server-side apply requires a manager; the default of the other verbs is the client's name.
            if is_apply {
                String::new()
            } else if agent.is_empty() {
                "unknown".to_owned()
            } else {
                agent.to_owned()
            }
        },
        str::to_owned,
    );
    let validation = match query.get("fieldValidation") {
        Some("Strict") => Validation::Strict,
        Some("Ignore") => Validation::Ignore,
        _ => Validation::Warn,
    };
    Ok(WriteRequest {
        resource,
        version: scope.version.clone(),
        namespace,
        name: name.to_owned(),
        manager,
        dry_run: query.get("dryRun") == Some("All"),
        force: query.is("force"),
        validation,
    })
}

fn patch_kind(media_type: &str, resource: &Resource) -> Result<PatchKind, ApiStatus> {
    match media_type.split(';').next().unwrap_or_default() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ if resource.is_custom() => Err(ApiStatus::media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        _ => Err(ApiStatus::media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml (the sandbox takes no strategic merge patch)",
        )),
    }
}

fn decode_object(parts: &Parts, body: &[u8], resource: &Resource) -> Result<Value, ApiStatus> {
    let media_type = header(parts, &header::CONTENT_TYPE);
    if media_type.contains("protobuf") {
        return Err(ApiStatus::media_type("application/json, application/yaml"));
    }
    let object = if media_type.contains("yaml") { decode_yaml(body)? } else { decode_json(body)? };
    match object["kind"].as_str() {
        Some(kind) if kind != resource.kind => {
            Err(ApiStatus::bad_request(format!("{kind} in the data is not the {} of the URL", resource.kind)))
        }
        _ => Ok(object),
    }
}

fn decode_patch(kind: PatchKind, body: &[u8]) -> Result<Value, ApiStatus> {
    if kind == PatchKind::Apply { decode_yaml(body) } else { decode_json(body) }
}

fn decode_json(body: &[u8]) -> Result<Value, ApiStatus> {
    serde_json::from_slice(body).map_err(|error| ApiStatus::bad_request(format!("error decoding the body: {error}")))
}

fn decode_yaml(body: &[u8]) -> Result<Value, ApiStatus> {
    // JSON is valid YAML, and its parser is faster.
    serde_json::from_slice(body)
        .or_else(|_| yaml::read_one(&String::from_utf8_lossy(body)))
        .map_err(|error| ApiStatus::bad_request(format!("error decoding YAML: {error}")))
}

fn decode_options(body: &[u8]) -> Result<Value, ApiStatus> {
    if body.is_empty() { Ok(json!({})) } else { decode_json(body) }
}

fn written_response(scope: &Scope, written: &Written) -> ApiResponse {
    let mut object = scope.present(&written.object);
    if scope.table {
        object = table::of(scope.resource, &[&object], &json!({}));
    }
    let mut response = document(if written.created { 201 } else { 200 }, &object);
    for warning in &written.warnings {
        let text = format!("299 - \"{}\"", warning.replace('"', "\\\""));
        if let Ok(value) = header::HeaderValue::from_str(&text) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
