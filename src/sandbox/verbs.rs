//! The verbs get, list, watch, log and delete.

use super::clock::now;
use super::log::without_timestamps;
use super::resource::{POD, Resource};
use super::selector::Selector;
use super::server::{ApiResponse, ApiServer, Query, document};
use super::status::ApiStatus;
use super::store::{ChangeKind, Event, Write};
use super::table;
use super::write::WriteRequest;
use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest time of a watch, in seconds; a real server also ends a watch.
const LONGEST_WATCH: u64 = 1800;

/// The resource of a request, in one version, and its namespace; `None` for all namespaces.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) resource: &'static Resource,
    pub(super) version: String,
    pub(super) namespace: Option<String>,
    pub(super) table: bool,
    pub(super) query: Query,
}

impl Scope {
    /// The object in the version of the request.
    pub(super) fn present(&self, object: &Value) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = self.resource.api_version(&self.version).into();
        object
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    fn selector(&self) -> Result<Selector, ApiStatus> {
        Selector::parse(self.query.get("labelSelector"), self.query.get("fieldSelector"))
    }

    fn holds(&self, object: &Value) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| object["metadata"]["namespace"] == namespace.as_str())
    }
}

fn streamed(kind: &'static str, body: impl Stream<Item = Bytes> + Send + 'static) -> ApiResponse {
    let frames = body.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

impl ApiServer {
    pub(super) fn get(&self, scope: &Scope, name: &str) -> Result<ApiResponse, ApiStatus> {
        let object = self.object(scope, name)?;
        let shown = scope.present(&object);
        let shown = if scope.table { table::of(scope.resource, &[&shown], &json!({})) } else { shown };
        Ok(document(200, &shown))
    }

    fn object(&self, scope: &Scope, name: &str) -> Result<Arc<Value>, ApiStatus> {
        let found = self.store.get(scope.resource, scope.namespace(), name);
        found.ok_or_else(|| ApiStatus::not_found(scope.resource, name))
    }

    pub(super) fn list(&self, scope: &Scope) -> Result<ApiResponse, ApiStatus> {
        let selector = scope.selector()?;
        let (objects, revision) = self.store.list(scope.resource, scope.namespace.as_deref());
        let position = |object: &Value| {
            format!(
                "{}/{}",
                object["metadata"]["namespace"].as_str().unwrap_or_default(),
                object["metadata"]["name"].as_str().unwrap_or_default()
            )
        };
        let after = scope.query.get("continue");
        let mut rest = objects
            .iter()
            .skip_while(|object| after.is_some_and(|after| position(object).as_str() <= after))
            .filter(|object| selector.matches(object));
        let limit =
            scope.query.number("limit").and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        let page: Vec<&Arc<Value>> = rest.by_ref().take(limit.unwrap_or(usize::MAX)).collect();
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        let left = rest.count();
        if let Some(last) = page.last().filter(|_| left > 0) {
            metadata["continue"] = position(last).into();
            metadata["remainingItemCount"] = left.into();
        }
        let items: Vec<Value> = page.into_iter().map(|object| scope.present(object)).collect();
        if scope.table {
            let items: Vec<&Value> = items.iter().collect();
            return Ok(document(200, &table::of(scope.resource, &items, &metadata)));
        }
        Ok(document(
            200,
            &json!({
                "kind": format!("{}List", scope.resource.kind),
                "apiVersion": scope.resource.api_version(&scope.version),
                "metadata": metadata,
                "items": items,
            }),
        ))
    }

    pub(super) fn watch(self: &Arc<Self>, scope: &Scope) -> Result<ApiResponse, ApiStatus> {
        let selector = scope.selector()?;
        let mut queue = VecDeque::new();
        let wanted = scope.query.number("resourceVersion").filter(|version| *version > 0);
        let cursor = if let Some(version) = wanted.filter(|_| !scope.query.is("sendInitialEvents")) {
            version
        } else {
            let (objects, revision) = self.store.list(scope.resource, scope.namespace.as_deref());
            let matching = objects.iter().filter(|object| selector.matches(object));
            queue.extend(matching.map(|object| line(ChangeKind::Added.as_str(), &shown(scope, object))));
            if scope.query.is("sendInitialEvents") {
                queue.push_back(line("BOOKMARK", &bookmark(scope, revision)));
            }
            revision
        };
        let seconds = scope.query.number("timeoutSeconds").unwrap_or(LONGEST_WATCH).min(LONGEST_WATCH);
        let scope = Scope {
            resource: scope.resource,
            version: scope.version.clone(),
            namespace: scope.namespace.clone(),
            table: scope.table,
            query: Query::default(),
        };
        let watcher = Watcher {
            server: Arc::clone(self),
            scope,
            selector,
            queue,
            cursor: Some(cursor),
            until: Instant::now() + Duration::from_secs(seconds),
        };
        Ok(streamed("application/json", stream::unfold(watcher, Watcher::next)))
    }

    pub(super) fn log(&self, scope: &Scope, name: &str) -> Result<ApiResponse, ApiStatus> {
        let pod = self.object(scope, name)?;
        let names_in = |list: &str| -> Vec<&str> {
            let containers = pod["spec"][list].as_array().into_iter().flatten();
            containers.filter_map(|container| container["name"].as_str()).collect()
        };
        let (names, init) = (names_in("containers"), names_in("initContainers"));
        let container = match (scope.query.get("container"), names.as_slice()) {
            (Some(wanted), _) if !names.contains(&wanted) && !init.contains(&wanted) => {
                return Err(ApiStatus::bad_request(format!("container {wanted} is not valid for pod {name}")));
            }
            (Some(wanted), _) => wanted,
            (None, [only]) => only,
            (None, _) => {
                let why = "a container name must be specified for pod";
                return Err(ApiStatus::bad_request(format!("{why} {name}, choose one of: [{}]", names.join(" "))));
            }
        };
        let waiting = &pod["status"]["containerStatuses"][0];
        if let Some(reason) = waiting["state"]["waiting"]["reason"].as_str() {
            let container = waiting["name"].as_str().unwrap_or_default();
            return Err(ApiStatus::bad_request(format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"
            )));
        }
        let Some(log) = self.node.log(&pod, container) else { return Ok(streamed("text/plain", stream::empty())) };
        let lines = scope.query.number("tailLines").and_then(|lines| usize::try_from(lines).ok());
        let since = scope.query.get("sinceTime").and_then(|time| time.parse().ok()).filter(|_| log.has_timestamps());
        let start = lines.map_or(0, |lines| log.tail(lines)).max(since.map_or(0, |time| log.since(time)));
        // Only the lines of proxies have timestamps.
        let strips_timestamps = log.has_timestamps() && !scope.query.is("timestamps");
        let presented = move |bytes: Bytes| if strips_timestamps { without_timestamps(&bytes) } else { bytes };
        let limit =
            scope.query.number("limitBytes").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        if !scope.query.is("follow") {
            let bytes = presented(log.read(start));
            let mut response = Response::new(Full::from(bytes.slice(..bytes.len().min(limit))).boxed_unsync());
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            return Ok(response);
        }
        let follow = stream::unfold((log, start, limit), move |(log, offset, left)| async move {
            let (bytes, offset) = if left == 0 { None } else { log.follow(offset).await }?;
            let bytes = presented(bytes);
            let bytes = bytes.slice(..bytes.len().min(left));
            let left = left - bytes.len();
            Some((bytes, (log, offset, left)))
        });
        Ok(streamed("text/plain", follow))
    }

    pub(super) fn delete(
        &self,
        scope: &Scope,
        request: &WriteRequest,
        options: &Value,
    ) -> Result<ApiResponse, ApiStatus> {
        let resource = request.resource;
        let agrees = |object: &Value| check_preconditions(resource, object, &options["preconditions"]);
        if request.dry_run || options["dryRun"] == json!(["All"]) {
            let object = self.object(scope, &request.name)?;
            agrees(&object)?;
            return Ok(deleted(resource, scope, &object));
        }
        if resource.is_pod() {
            return self.delete_pod(scope, request, options);
        }
        let object = self.store.remove(resource, &request.namespace, &request.name, agrees)?;
        Ok(deleted(resource, scope, &object))
    }

    /// Terminates a running pod, which is removed when it has ended; removes every other object at once.
    fn delete_pod(&self, scope: &Scope, request: &WriteRequest, options: &Value) -> Result<ApiResponse, ApiStatus> {
        let WriteRequest { namespace, name, .. } = request;
        let asked = options["gracePeriodSeconds"].as_u64().or_else(|| scope.query.number("gracePeriodSeconds"));
        let object = self.store.write(&POD, namespace, name, |current| {
            let mut pod = current.ok_or_else(|| ApiStatus::not_found(&POD, name))?.clone();
            check_preconditions(&POD, &pod, &options["preconditions"])?;
            let grace = asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30);
            if pod["metadata"]["deletionTimestamp"].is_null() {
                pod["metadata"]["deletionTimestamp"] = now().into();
                pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
            }
            Ok(Write::Put(pod))
        })?;
        let runs = self.node.terminate(&object);
        if !runs || asked == Some(0) {
            // The pod may have ended and be removed in the meantime.
            let _ = self.store.remove(&POD, namespace, name, |_| Ok(()));
            self.node.forget(&object);
        }
        Ok(document(200, &scope.present(&object)))
    }

    pub(super) fn delete_all(&self, scope: &Scope, options: &Value) -> Result<ApiResponse, ApiStatus> {
        if scope.resource.read_only || scope.resource.namespaced != scope.namespace.is_some() {
            return Err(ApiStatus::method_not_allowed());
        }
        let selector = scope.selector()?;
        let (objects, revision) = self.store.list(scope.resource, scope.namespace.as_deref());
        let mut items = Vec::new();
        for object in objects.iter().filter(|object| selector.matches(object)) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let request = WriteRequest::to_delete(
                scope.resource,
                scope.namespace(),
                name,
                scope.query.get("dryRun") == Some("All"),
            );
            // Another client may have deleted some of the objects.
            if self.delete(scope, &request, options).is_ok() {
                items.push(scope.present(object));
            }
        }
        Ok(document(
            200,
            &json!({
                "kind": format!("{}List", scope.resource.kind),
                "apiVersion": scope.resource.api_version(&scope.version),
                "metadata": {"resourceVersion": revision.to_string()},
                "items": items,
            }),
        ))
    }
}

/// The response to a deletion: the pod, or a `Status` with the name of any other object.
fn deleted(resource: &Resource, scope: &Scope, object: &Value) -> ApiResponse {
    if resource.kind == "Pod" {
        return document(200, &scope.present(object));
    }
    let mut details =
        json!({"name": object["metadata"]["name"], "kind": resource.plural, "uid": object["metadata"]["uid"]});
    if !resource.group.is_empty() {
        details["group"] = resource.group.into();
    }
    document(
        200,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
    )
}

fn check_preconditions(resource: &Resource, object: &Value, wanted: &Value) -> Result<(), ApiStatus> {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    for (field, title) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if !wanted[field].is_null() && wanted[field] != metadata[field] {
            let why = format!(
                "the {title} in the precondition ({}) does not match the {title} in record ({}). The object might have been deleted and then recreated",
                text(&wanted[field]),
                text(&metadata[field])
            );
            return Err(ApiStatus::precondition(resource, name, &why));
        }
    }
    Ok(())
}

fn shown(scope: &Scope, object: &Value) -> Value {
    let object = scope.present(object);
    if scope.table { table::of(scope.resource, &[&object], &json!({})) } else { object }
}

/// The end of the initial events, for which a client waits that lists by watching, such as new versions of kubectl.
fn bookmark(scope: &Scope, revision: u64) -> Value {
    json!({
        "kind": scope.resource.kind, "apiVersion": scope.resource.api_version(&scope.version),
        "metadata": {"resourceVersion": revision.to_string(), "annotations": {"k8s.io/initial-events-end": "true"}},
    })
}

fn line(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}

/// One watch: its position in the history, and the lines that are not sent yet.
struct Watcher {
    server: Arc<ApiServer>,
    scope: Scope,
    selector: Selector,
    queue: VecDeque<Bytes>,
    /// The last revision that was read; `None` after an error, which ends the watch.
    cursor: Option<u64>,
    until: Instant,
}

impl Watcher {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let mut changes = self.server.store.subscribe();
        loop {
            if let Some(line) = self.queue.pop_front() {
                return Some((line, self));
            }
            changes.mark_unchanged();
            match self.server.store.since(self.scope.resource, self.cursor?) {
                Ok((events, revision)) => {
                    self.cursor = Some(revision);
                    let lines: Vec<Bytes> = events.iter().filter_map(|event| self.line_for(event)).collect();
                    self.queue.extend(lines);
                }
                Err(status) => {
                    self.cursor = None;
                    self.queue.push_back(line("ERROR", &status.to_json()));
                }
            }
            if self.queue.is_empty() {
                tokio::time::timeout_at(self.until, changes.changed()).await.ok()?.ok()?;
            }
        }
    }

    /// The line for a change. An object that starts to match the selector is ADDED, one that stops to match is DELETED.
    fn line_for(&self, event: &Event) -> Option<Bytes> {
        let matches = |object: &Value| self.scope.holds(object) && self.selector.matches(object);
        let before = event.former.as_ref().is_some_and(|object| matches(object));
        let after = event.change != ChangeKind::Deleted && matches(&event.object);
        let change = match (before, after) {
            (false, true) => ChangeKind::Added,
            (true, true) => ChangeKind::Modified,
            (true, false) => ChangeKind::Deleted,
            (false, false) => return None,
        };
        Some(line(change.as_str(), &shown(&self.scope, &event.object)))
    }
}
