//! Writes, many at a time, each accounted for whatever happens.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain, is_unanswered};
use super::request::attempt;
use super::snapshot::{Look, dynamic_api};
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

/// Requests under way at a time.
const PARALLEL: usize = 32;

/// How long answers to writes are waited for once no more are begun.
const LAST_ANSWERS: Duration = Duration::from_secs(40);

/// Whether a request writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It writes.
    Write,
    /// The API server validates and answers as if; nothing is written.
    DryRun,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The object changed since it was read: read it again and plan again.
    Stale(String),
    /// Anything else.
    Error(ClusterError),
}

impl From<Refused> for ClusterError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Stale(message) => Self::new(message, "somebody else is at work on the same objects"),
            Refused::Error(error) => error,
        }
    }
}

/// One change with its outcome.
#[derive(Debug, Clone)]
pub struct Applied {
    /// What was planned.
    pub change: Change,
    /// The object as the server has it now, or why not.
    pub result: Result<Value, Refused>,
}

/// One object that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Policy or rule.
    pub target: ObjectKind,
    /// Name of the object.
    pub name: String,
    /// `peerauthentication.security.istio.io/default`.
    pub title: String,
    /// kubectl's word for what became of it.
    pub word: &'static str,
    /// Its UID, where it was made.
    pub made: Option<String>,
}

/// What was begun and what came of it, kept apart from the work so that an interruption cannot lose it.
#[derive(Debug)]
pub struct Ledger {
    done: Mutex<Vec<Written>>,
    /// Writes that were begun and that no answer has come to, as they would be if they were made.
    open: Mutex<BTreeMap<(ObjectKind, String), Written>>,
    under_way: watch::Sender<usize>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { done: Mutex::default(), open: Mutex::default(), under_way: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// Waits until no request is under way, though not for ever.
    pub async fn settled(&self) {
        let mut under_way = self.under_way.subscribe();
        let _ = tokio::time::timeout(LAST_ANSWERS, under_way.wait_for(|count| *count == 0)).await;
    }

    /// Objects that were written, in the order of the answers.
    pub fn written(&self) -> Vec<Written> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes that got no answer: they may or may not have been made.
    pub fn unanswered(&self) -> Vec<Written> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Notes of a write without an answer that it was made after all.
    pub fn found(&self, written: Written) {
        self.close(&written);
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(written);
    }

    fn close(&self, written: &Written) {
        let key = (written.target, written.name.clone());
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn begin(&self, write: Option<&Written>) {
        if let Some(write) = write {
            let key = (write.target, write.name.clone());
            self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(key, write.clone());
        }
        self.under_way.send_modify(|count| *count += 1);
    }

    fn end(&self, write: Option<Written>, answer: &Result<Value, Failed>) {
        match (write, answer) {
            (None, _) | (_, Err(Failed { is_unanswered: true, .. })) => {}
            (Some(write), Ok(object)) => {
                let made = write.made.as_ref().map(|_| read::metadata(object, "uid").to_owned());
                self.found(Written { made, ..write });
            }
            (Some(write), Err(_)) => self.close(&write),
        }
        self.under_way.send_modify(|count| *count -= 1);
    }
}

/// A write that failed, and whether it may have been made all the same.
#[derive(Debug)]
struct Failed {
    refused: Refused,
    is_unanswered: bool,
}

/// What is sent for one change.
#[derive(Debug)]
enum Request {
    Patch(Patch<Value>),
    /// The object as it was read, and no other.
    Delete(Preconditions),
}

/// Makes changes of a plan.
pub struct Applier<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Versions of the kinds.
    pub apis: Apis,
    /// Whether fields of other managers are taken over.
    pub force_conflicts: bool,
    /// What was written.
    pub ledger: Arc<Ledger>,
}

impl Applier<'_> {
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

    /// Makes the changes that write something, up to 32 at a time. After the first failure none is begun any more;
    /// those under way are waited for.
    pub async fn apply(&self, look: &Look, changes: &[Change], mode: Mode, progress: &dyn Progress) -> Vec<Applied> {
        let writes: Vec<&Change> = changes.iter().filter(|change| change.is_write()).collect();
        let mut requests = Vec::with_capacity(writes.len());
        for change in writes {
            match self.request(look, change) {
                Ok(request) => requests.push((change.clone(), request)),
                Err(refused) => return vec![Applied { change: change.clone(), result: Err(refused) }],
            }
        }
        progress.begin(if mode == Mode::Write { "applying" } else { "validating" }, Some(requests.len() as u64));
        let mut applied = Vec::with_capacity(requests.len());
        let mut results = futures::stream::iter(requests)
            .map(|(change, request)| self.spawn(change, request, mode))
            .buffer_unordered(PARALLEL);
        let mut failed = false;
        while let Some(result) = results.next().await {
            progress.step();
            failed |= result.result.is_err();
            applied.push(result);
            if failed {
                break;
            }
        }
        drop(results);
        self.ledger.settled().await;
        progress.end();
        applied.sort_by(|a, b| a.change.name().cmp(b.change.name()));
        applied
    }

    /// What to send for one change.
    fn request(&self, look: &Look, change: &Change) -> Result<Request, Refused> {
        match change::request(self.apis, change, look.find(change.kind(), change.name())) {
            Ok(Some(change::Request::Apply(object))) => Ok(Request::Patch(Patch::Apply(object))),
            Ok(Some(change::Request::Patch(patch))) => Ok(Request::Patch(Patch::Json(patch))),
            Ok(Some(change::Request::Delete { uid, resource_version })) => {
                Ok(Request::Delete(Preconditions { uid: Some(uid), resource_version: Some(resource_version) }))
            }
            Ok(None) => Err(Refused::Stale("nothing to write".to_owned())),
            Err(Stale::Gone) => Err(Refused::Stale(format!("{} is gone", self.name(change)))),
            Err(stale @ Stale::Changed(_)) => Err(Refused::Stale(stale.to_string())),
        }
    }

    /// One request as a task of its own: dropping the work does not cut a write in half.
    async fn spawn(&self, change: Change, request: Request, mode: Mode) -> Applied {
        let kind = self.kind(&change);
        let api = dynamic_api(self.cluster, &kind, change.namespace());
        let force = self.force_conflicts;
        let ledger = Arc::clone(&self.ledger);
        let planned = change.clone();
        let write = (mode == Mode::Write).then(|| Written {
            target: change.kind(),
            name: change.name().to_owned(),
            title: kind.object_name(change.name()),
            word: change.result_word(),
            // Its UID is the server's to give.
            made: change.is_creation().then(String::new),
        });
        ledger.begin(write.as_ref());
        let task = tokio::spawn(async move {
            let verb = if matches!(request, Request::Delete(_)) { "delete" } else { "patch" };
            let access = Access::new(verb, kind.group, kind.plural, planned.namespace()).named(planned.name());
            let answer = send(&api, access, &request, mode, force).await;
            ledger.end(write, &answer);
            answer.map_err(|failed| failed.refused)
        });
        let result = task.await.unwrap_or_else(|error| {
            let message = format!("the write was lost: {error}");
            Err(Refused::Error(ClusterError { message, hint: None }))
        });
        Applied { change, result }
    }
}

/// Sends one write. The answer to a deletion is nothing.
async fn send(
    api: &Api<DynamicObject>,
    access: Access<'_>,
    request: &Request,
    mode: Mode,
    force: bool,
) -> Result<Value, Failed> {
    let dry_run = mode == Mode::DryRun;
    let answer = match request {
        Request::Patch(patch) => {
            let params = PatchParams {
                dry_run,
                // A new object conflicts with nobody, unless somebody was quicker.
                force: force && matches!(patch, Patch::Apply(_)),
                field_manager: Some(FIELD_MANAGER.to_owned()),
                field_validation: Some(ValidationDirective::Strict),
            };
            attempt(access, &mut || api.patch(access.name, &params, patch)).await.map(Some)
        }
        Request::Delete(preconditions) => {
            let preconditions = Some(preconditions.clone());
            let params = DeleteParams { dry_run, preconditions, ..DeleteParams::default() };
            attempt(access, &mut || api.delete(access.name, &params)).await.map(|_| None)
        }
    };
    match answer {
        // What was answered was made, even where the answer makes no sense.
        Ok(Some(object)) => whole(&object).map_err(|refused| Failed { refused, is_unanswered: true }),
        Ok(None) => Ok(Value::Null),
        Err(error) => Err(Failed { is_unanswered: is_unanswered(&error), refused: refused(access, &error) }),
    }
}

fn whole(object: &DynamicObject) -> Result<Value, Refused> {
    serde_json::to_value(object).map_err(|error| {
        Refused::Error(ClusterError { message: format!("the server's answer cannot be read: {error}"), hint: None })
    })
}

/// 409: somebody was quicker; 422 with a failed test: the object is not what it was.
fn refused(access: Access<'_>, error: &kube::Error) -> Refused {
    let explained = explain(access, error);
    // A failed test of a JSON patch has no words of its own: the server only says that it rejected the request.
    let is_test = explained.message.contains("rejected our request");
    match code(error) {
        // Gone, or another object by now.
        404 | 409 => Refused::Stale(explained.message),
        422 if is_test => Refused::Stale(explained.message),
        _ => Refused::Error(explained),
    }
}
