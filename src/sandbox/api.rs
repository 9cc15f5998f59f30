//! The API server: paths and verbs, behind one service for the in-process client and the HTTPS server alike.

use super::resource::{Catalogue, Resource};
use super::status::Refusal;
use super::table;
use super::verbs::Scope;
use super::write::{PatchKind, Target, Validation, Writer, Written};
use super::{discovery, node::Node, store::Store};
use crate::istio::yaml;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a real server takes as one request, too.
const LONGEST_BODY: usize = 3 << 20;

/// A body of any shape: a document, or a stream of events or log lines.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Everything that answers requests.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) store: Arc<Store>,
    pub(super) writer: Writer,
    pub(super) node: Arc<Node>,
    pub(super) catalogue: Catalogue,
}

/// The API as a service.
#[derive(Debug, Clone)]
pub(super) struct Api(pub(super) Arc<Server>);

impl<B> tower::Service<Request<B>> for Api
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let answer = match Limited::new(body, LONGEST_BODY).collect().await {
                Ok(body) => server.answer(&parts, &body.to_bytes()),
                Err(_) => Err(Refusal::too_large()),
            };
            Ok(answer.unwrap_or_else(|refusal| refused(&refusal)))
        })
    }
}

/// A JSON document as an answer.
pub(super) fn document(code: u16, value: &Value) -> Answer {
    let mut answer = Response::new(Full::from(value.to_string()).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// A refusal as an answer.
pub(super) fn refused(refusal: &Refusal) -> Answer {
    document(refusal.code, &refusal.to_json())
}

/// The decoded query of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(key, value)| (decode(key), decode(value))).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    pub(super) fn is(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value == "true" || value == "1")
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.parse().ok()
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn header<'a>(parts: &'a Parts, name: &header::HeaderName) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Server {
    fn answer(self: &Arc<Self>, parts: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
        let path: Vec<String> = parts.uri.path().split('/').filter(|part| !part.is_empty()).map(decode).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(found) = discovery::answer(self, &path) {
            return Ok(document(200, &found));
        }
        let (group, version, rest) = match path.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::no_such_path()),
        };
        if group == "authorization.k8s.io" {
            return Err(Refusal::not_here("access reviews"));
        }
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some((*name).to_owned()), None),
            [plural, name, subresource] => (*plural, Some((*name).to_owned()), Some(*subresource)),
            _ => return Err(Refusal::no_such_path()),
        };
        let resource = self.catalogue.find(group, version, plural).ok_or_else(Refusal::no_such_path)?;
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
    ) -> Result<Answer, Refusal> {
        match (scope.resource.kind, subresource) {
            ("Pod", "log") if parts.method == Method::GET => self.log(scope, name),
            ("Pod", "exec" | "attach" | "portforward" | "eviction" | "ephemeralcontainers") => {
                Err(Refusal::not_here(&format!("pods/{subresource}")))
            }
            (_, "status") if parts.method == Method::GET => self.get(scope, name),
            _ => Err(Refusal::no_such_path()),
        }
    }

    fn many(self: &Arc<Self>, scope: &Scope, parts: &Parts, body: &[u8]) -> Result<Answer, Refusal> {
        match parts.method {
            Method::GET if scope.query.is("watch") => self.watch(scope),
            Method::GET => self.list(scope),
            Method::POST => {
                let target = target(scope, parts, "")?;
                let written = self.writer.create(&target, decode_object(parts, body, scope.resource)?)?;
                if scope.resource.kind == "Pod" && !target.dry_run {
                    self.node.start(Arc::clone(&written.object));
                }
                Ok(answer_written(scope, &written))
            }
            Method::DELETE => self.delete_all(scope, &decode_options(body)?),
            _ => Err(Refusal::method_not_allowed()),
        }
    }

    fn one(self: &Arc<Self>, scope: &Scope, parts: &Parts, name: &str, body: &[u8]) -> Result<Answer, Refusal> {
        match parts.method {
            Method::GET if scope.query.is("watch") => self.watch(scope),
            Method::GET => self.get(scope, name),
            Method::PUT => {
                let target = target(scope, parts, name)?;
                let written = self.writer.update(&target, decode_object(parts, body, scope.resource)?)?;
                Ok(answer_written(scope, &written))
            }
            Method::PATCH => {
                let target = target(scope, parts, name)?;
                let kind = patch_kind(header(parts, &header::CONTENT_TYPE), scope.resource)?;
                let written = self.writer.patch(&target, kind, &decode_patch(kind, body)?)?;
                if written.created && scope.resource.kind == "Pod" && !target.dry_run {
                    self.node.start(Arc::clone(&written.object));
                }
                Ok(answer_written(scope, &written))
            }
            Method::DELETE => {
                let target = target(scope, parts, name)?;
                self.delete(scope, &target, &decode_options(body)?)
            }
            _ => Err(Refusal::method_not_allowed()),
        }
    }
}

fn target(scope: &Scope, parts: &Parts, name: &str) -> Result<Target, Refusal> {
    let resource = scope.resource;
    if resource.read_only {
        return Err(Refusal::method_not_allowed());
    }
    let namespace = match (&scope.namespace, resource.namespaced) {
        (Some(namespace), true) => namespace.clone(),
        (None, false) => String::new(),
        _ => return Err(Refusal::method_not_allowed()),
    };
    let query = &scope.query;
    let manager = query.get("fieldManager").map_or_else(
        || {
            let is_apply = header(parts, &header::CONTENT_TYPE).starts_with("application/apply-patch");
            let agent = header(parts, &header::USER_AGENT).split('/').next().unwrap_or_default();
            // An apply must say who it is; for the others the client's name will do.
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
    Ok(Target {
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

fn patch_kind(media_type: &str, resource: &Resource) -> Result<PatchKind, Refusal> {
    match media_type.split(';').next().unwrap_or_default() {
        "application/json-patch+json" => Ok(PatchKind::Json),
        "application/merge-patch+json" => Ok(PatchKind::Merge),
        "application/apply-patch+yaml" => Ok(PatchKind::Apply),
        _ if resource.is_custom() => Err(Refusal::media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        )),
        _ => Err(Refusal::media_type(
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml (the sandbox takes no strategic merge patch)",
        )),
    }
}

fn decode_object(parts: &Parts, body: &[u8], resource: &Resource) -> Result<Value, Refusal> {
    let media_type = header(parts, &header::CONTENT_TYPE);
    if media_type.contains("protobuf") {
        return Err(Refusal::media_type("application/json, application/yaml"));
    }
    let object = if media_type.contains("yaml") { decode_yaml(body)? } else { decode_json(body)? };
    match object["kind"].as_str() {
        Some(kind) if kind != resource.kind => {
            Err(Refusal::bad_request(format!("{kind} in the data is not the {} of the URL", resource.kind)))
        }
        _ => Ok(object),
    }
}

fn decode_patch(kind: PatchKind, body: &[u8]) -> Result<Value, Refusal> {
    if kind == PatchKind::Apply { decode_yaml(body) } else { decode_json(body) }
}

fn decode_json(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("error decoding the body: {error}")))
}

fn decode_yaml(body: &[u8]) -> Result<Value, Refusal> {
    // JSON is YAML, and by far the commonest.
    serde_json::from_slice(body)
        .or_else(|_| yaml::read_one(&String::from_utf8_lossy(body)))
        .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))
}

fn decode_options(body: &[u8]) -> Result<Value, Refusal> {
    if body.is_empty() { Ok(json!({})) } else { decode_json(body) }
}

fn answer_written(scope: &Scope, written: &Written) -> Answer {
    let mut object = scope.present(&written.object);
    if scope.table {
        object = table::of(scope.resource, &[&object], &json!({}));
    }
    let mut answer = document(if written.created { 201 } else { 200 }, &object);
    for warning in &written.warnings {
        let text = format!("299 - \"{}\"", warning.replace('"', "\\\""));
        if let Ok(value) = header::HeaderValue::from_str(&text) {
            answer.headers_mut().append(header::WARNING, value);
        }
    }
    answer
}
