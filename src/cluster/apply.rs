//! The writer: sends the changes of a plan, many at a time, and keeps a ledger of every write, unanswered ones included.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain, is_unanswered};
use super::lease::{GuardedError, WriteGuard};
use super::request;
use super::snapshot::{ClusterState, dynamic_api};
use crate::domain::plan::{Change, ObjectKind};
use crate::istio::kinds::Kind;
use crate::istio::owners::FIELD_MANAGER;
use crate::istio::patch::Stale;
use crate::istio::render::Apis;
use crate::istio::{change, read};
use crate::progress::Progress;
use futures::StreamExt;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, ValidationDirective};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Requests in progress at a time.
const PARALLEL: usize = 32;

/// How long the writer waits for the answers to its last requests.
const LAST_ANSWERS: Duration = Duration::from_secs(40);

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteError {
    /// The object changed since it was read: read it again and plan again.
    Stale(String),
    /// Anything else.
    Error(ClusterError),
}

impl From<WriteError> for ClusterError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stale(message) => Self::new(message, "somebody else is at work on the same objects"),
            WriteError::Error(error) => error,
        }
    }
}

/// One change with the answer of the API server.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The change as planned.
    pub change: Change,
    /// The object as the server has it now (`null` after a deletion), or why the change was not made.
    pub result: Result<Value, WriteError>,
}

/// One object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Policy or rule.
    pub kind: ObjectKind,
    /// Name of the object.
    pub name: String,
    /// `peerauthentication.security.istio.io/default`.
    pub title: String,
    /// kubectl's word: `created`, `configured`, `deleted`, …
    pub word: &'static str,
    /// The UID of an object that this run created; empty until the server answers.
    pub made: Option<String>,
    /// The UID of an object that this run deleted.
    pub deleted_uid: Option<String>,
}

/// Every write and its answer. It is kept apart from the work, so that an interruption cannot lose it.
#[derive(Debug)]
pub struct Ledger {
    done: Mutex<Vec<Written>>,
    /// Writes that were sent and not answered, as they would be if they were made.
    open: Mutex<BTreeMap<(ObjectKind, String), Written>>,
    in_progress: watch::Sender<usize>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { done: Mutex::default(), open: Mutex::default(), in_progress: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// Objects that were written, in the order of the answers.
    pub fn written(&self) -> Vec<Written> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes that got no answer: they may or may not have been made.
    pub fn unanswered(&self) -> Vec<Written> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether no write was sent, or every write was refused.
    pub fn is_empty(&self) -> bool {
        self.written().is_empty() && self.unanswered().is_empty()
    }

    /// Records that a write was made.
    pub fn confirm(&self, written: Written) {
        self.close(&written);
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(written);
    }

    /// Removes the record of an object that was deleted again.
    pub fn withdraw(&self, kind: ObjectKind, name: &str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.retain(|one| one.kind != kind || one.name != name);
    }

    async fn wait_for_answers(&self) {
        let mut in_progress = self.in_progress.subscribe();
        let _ = tokio::time::timeout(LAST_ANSWERS, in_progress.wait_for(|count| *count == 0)).await;
    }

    fn close(&self, written: &Written) {
        let key = (written.kind, written.name.clone());
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn begin(&self, write: &Written) {
        let key = (write.kind, write.name.clone());
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(key, write.clone());
        self.in_progress.send_modify(|count| *count += 1);
    }

    fn end(&self, write: Written, answer: &Result<Value, Failed>) {
        match answer {
            Err(Failed { is_unanswered: true, .. }) => {}
            Ok(object) => {
                let made = write.made.as_ref().map(|_| read::metadata(object, "uid").to_owned());
                self.confirm(Written { made, ..write });
            }
            Err(_) => self.close(&write),
        }
        self.in_progress.send_modify(|count| *count -= 1);
    }
}

/// A request that failed, and whether it may have been carried out all the same.
#[derive(Debug)]
struct Failed {
    error: WriteError,
    is_unanswered: bool,
}

/// What is sent for one change.
#[derive(Debug)]
enum Request {
    Patch(Patch<Value>),
    /// The object as it was read, and no other.
    Delete(Preconditions),
}

/// Turns changes of a plan into requests, and lets the API server validate them.
#[derive(Clone, Copy)]
pub struct ChangeRequests<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Versions of the kinds.
    pub apis: Apis,
    /// Whether fields of other managers are taken over.
    pub force_conflicts: bool,
}

impl ChangeRequests<'_> {
    /// The kind of a change's object.
    pub fn kind(&self, change: &Change) -> Kind {
        match change.kind() {
            ObjectKind::Policy => self.apis.policy.kind(),
            ObjectKind::Rule => self.apis.rule.kind(),
        }
    }

    /// `peerauthentication.security.istio.io/default`.
    pub fn name(&self, change: &Change) -> String {
        self.kind(change).object_name(change.name())
    }

    /// Sends the changes that write as dry runs, up to 32 at a time, until one fails. Nothing is written.
    pub async fn validate(&self, state: &ClusterState, changes: &[Change], progress: &dyn Progress) -> Vec<Applied> {
        let requests = match self.requests(state, changes) {
            Ok(requests) => requests,
            Err(failed) => return vec![*failed],
        };
        progress.begin("validating", Some(requests.len() as u64));
        let send = |(change, request): (Change, Request)| async move {
            let guard = WriteGuard::without_lock();
            let answer = self.send(&guard, &change, &request, Sending::DryRun).await;
            Applied { change, result: answer.map_err(|failed| failed.error) }
        };
        let applied = until_failure(requests, send, progress).await;
        progress.end();
        applied
    }

    /// The requests for the changes that write; the first change that cannot be sent is the error.
    fn requests(&self, state: &ClusterState, changes: &[Change]) -> Result<Vec<(Change, Request)>, Box<Applied>> {
        let writes = changes.iter().filter(|change| change.is_write());
        let request = |change: &Change| match self.request(state, change) {
            Ok(request) => Ok((change.clone(), request)),
            Err(error) => Err(Box::new(Applied { change: change.clone(), result: Err(error) })),
        };
        writes.map(request).collect()
    }

    /// What to send for one change.
    fn request(&self, state: &ClusterState, change: &Change) -> Result<Request, WriteError> {
        match change::request(self.apis, change, state.find(change.kind(), change.name())) {
            Ok(Some(change::Request::Apply(object))) => Ok(Request::Patch(Patch::Apply(object))),
            Ok(Some(change::Request::Patch(patch))) => Ok(Request::Patch(Patch::Json(patch))),
            Ok(Some(change::Request::Delete { uid, resource_version })) => {
                Ok(Request::Delete(Preconditions { uid: Some(uid), resource_version: Some(resource_version) }))
            }
            Ok(None) => Err(WriteError::Stale("nothing to write".to_owned())),
            Err(Stale::Gone) => Err(WriteError::Stale(format!("{} is gone", self.name(change)))),
            Err(changed @ Stale::Changed(_)) => Err(WriteError::Stale(changed.to_string())),
        }
    }

    /// Deletes an object that this run created, by its UID and without the lock.
    pub async fn delete_created(&self, created: &Written, uid: &str) -> Result<(), ClusterError> {
        let kind = match created.kind {
            ObjectKind::Policy => self.apis.policy.kind(),
            ObjectKind::Rule => self.apis.rule.kind(),
        };
        let namespace = &self.cluster.namespace;
        let api: Api<DynamicObject> = dynamic_api(self.cluster, &kind, namespace);
        let access = Access::new("delete", kind.group, kind.plural, namespace).named(&created.name).repeatable();
        let preconditions = Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        // Gone, or another object by now.
        request::send_optional(access, &[404, 409], || api.delete(&created.name, &params)).await.map(|_| ())
    }

    /// Sends one request. The answer to a deletion is `null`.
    async fn send(
        &self,
        guard: &WriteGuard,
        change: &Change,
        request: &Request,
        sending: Sending,
    ) -> Result<Value, Failed> {
        let (kind, dry_run) = (self.kind(change), sending == Sending::DryRun);
        let api: Api<DynamicObject> = dynamic_api(self.cluster, &kind, change.namespace());
        let verb = if matches!(request, Request::Delete(_)) { "delete" } else { "patch" };
        let access = Access::new(verb, kind.group, kind.plural, change.namespace()).named(change.name());
        let answer = match request {
            Request::Patch(patch) => {
                let params = PatchParams {
                    dry_run,
                    // A new object has no other field manager, unless another client was faster.
                    force: self.force_conflicts && matches!(patch, Patch::Apply(_)),
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    field_validation: Some(ValidationDirective::Strict),
                };
                guard.attempt(access, || api.patch(access.name, &params, patch)).await.map(Some)
            }
            Request::Delete(preconditions) => {
                let preconditions = Some(preconditions.clone());
                let params = DeleteParams { dry_run, preconditions, ..DeleteParams::default() };
                guard.attempt(access, || api.delete(access.name, &params)).await.map(|_| None)
            }
        };
        match answer {
            // An answer without the object does not show that the change was made: it is looked up.
            Ok(Some(object)) if !dry_run && object.metadata.uid.is_none() => {
                let message = format!("could not {access}: the server's answer has no object");
                let error = WriteError::Error(ClusterError { message, hint: None });
                Err(Failed { error, is_unanswered: true })
            }
            Ok(Some(object)) => whole(&object).map_err(|error| Failed { error, is_unanswered: true }),
            Ok(None) => Ok(Value::Null),
            Err(GuardedError::LockLost(error)) => Err(Failed { error: WriteError::Error(error), is_unanswered: false }),
            Err(GuardedError::LostWhileSending(error)) => {
                Err(Failed { error: WriteError::Error(error), is_unanswered: true })
            }
            Err(GuardedError::Api(error)) => {
                Err(Failed { is_unanswered: is_unanswered(&error), error: write_error(access, &error) })
            }
        }
    }
}

/// Whether a request is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Write,
    /// The API server validates and answers as if; nothing is written.
    DryRun,
}

/// Sends the requests, up to 32 at a time. After the first failure no further one is sent.
async fn until_failure<F: Future<Output = Applied>>(
    requests: Vec<(Change, Request)>,
    send: impl FnMut((Change, Request)) -> F,
    progress: &dyn Progress,
) -> Vec<Applied> {
    let mut applied = Vec::with_capacity(requests.len());
    let mut results = std::pin::pin!(futures::stream::iter(requests).map(send).buffer_unordered(PARALLEL));
    while let Some(result) = results.next().await {
        progress.step();
        let has_failed = result.result.is_err();
        applied.push(result);
        if has_failed {
            break;
        }
    }
    applied.sort_by(|a, b| a.change.name().cmp(b.change.name()));
    applied
}

/// The writer of a run: the requests in progress and the ledger of writes. Every request asks the lock before it is
/// sent.
pub struct Writer<'a> {
    /// How changes become requests.
    pub requests: ChangeRequests<'a>,
    guard: WriteGuard,
    ledger: Arc<Ledger>,
}

impl<'a> Writer<'a> {
    /// A writer that has written nothing.
    pub fn start(requests: ChangeRequests<'a>, guard: WriteGuard) -> Self {
        Self { requests, guard, ledger: Arc::default() }
    }

    /// Every write so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// An error where the lock is lost, so that the next phase must not begin.
    pub fn check_lock(&self) -> Result<(), ClusterError> {
        self.guard.check()
    }

    /// Makes the changes that write, up to 32 at a time. After the first failure no further one is sent; the answers to
    /// those in progress are waited for.
    pub async fn write(&self, state: &ClusterState, changes: &[Change], progress: &dyn Progress) -> Vec<Applied> {
        let requests = match self.requests.requests(state, changes) {
            Ok(requests) => requests,
            Err(failed) => return vec![*failed],
        };
        progress.begin("applying", Some(requests.len() as u64));
        let applied = until_failure(requests, |(change, request)| self.spawn(change, request), progress).await;
        self.finish().await;
        progress.end();
        applied
    }

    /// Waits until no request is in progress, for at most 40 s. What is still unanswered then stays in the ledger.
    pub async fn finish(&self) {
        self.ledger.wait_for_answers().await;
    }

    /// Sends one request in a task of its own: dropping the work does not cut a write in half.
    async fn spawn(&self, change: Change, request: Request) -> Applied {
        let write = Written {
            kind: change.kind(),
            name: change.name().to_owned(),
            title: self.requests.name(&change),
            word: change.result_word(),
            made: change.is_creation().then(String::new),
            deleted_uid: match &request {
                Request::Delete(preconditions) => preconditions.uid.clone(),
                Request::Patch(_) => None,
            },
        };
        self.ledger.begin(&write);
        let (cluster, apis) = (self.requests.cluster.clone(), self.requests.apis);
        let force_conflicts = self.requests.force_conflicts;
        let (guard, ledger, planned) = (self.guard.clone(), Arc::clone(&self.ledger), change.clone());
        let task = tokio::spawn(async move {
            let requests = ChangeRequests { cluster: &cluster, apis, force_conflicts };
            let answer = requests.send(&guard, &planned, &request, Sending::Write).await;
            ledger.end(write, &answer);
            answer.map_err(|failed| failed.error)
        });
        let result = task.await.unwrap_or_else(|error| {
            let message = format!("the write was lost: {error}");
            Err(WriteError::Error(ClusterError { message, hint: None }))
        });
        Applied { change, result }
    }
}

fn whole(object: &DynamicObject) -> Result<Value, WriteError> {
    serde_json::to_value(object).map_err(|error| {
        WriteError::Error(ClusterError { message: format!("the server's answer cannot be read: {error}"), hint: None })
    })
}

/// 409: another client was faster. 422 with a failed test: the object is not as it was read.
fn write_error(access: Access<'_>, error: &kube::Error) -> WriteError {
    let explained = explain(access, error);
    // A failed test of a JSON patch has no reason of its own: the server only says that it rejected the request.
    let is_test = explained.message.contains("rejected our request");
    match code(error) {
        // Gone, or another object by now.
        404 | 409 => WriteError::Stale(explained.message),
        422 if is_test => WriteError::Stale(explained.message),
        _ => WriteError::Error(explained),
    }
}
