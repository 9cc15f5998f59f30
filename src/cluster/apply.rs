//! Writes, many at a time, each accounted for whatever happens.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain};
use super::request::attempt;
use super::snapshot::{Look, dynamic_api};
use crate::domain::plan::{Action, Change, Target};
use crate::istio::kinds::Kind;
use crate::istio::owners::FIELD_MANAGER;
use crate::istio::render::{self, Apis};
use crate::istio::{patch, read};
use crate::progress::Progress;
use futures::StreamExt;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use serde_json::Value;
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

/// One change with its outcome.
#[derive(Debug, Clone)]
pub struct Applied {
    /// What was planned.
    pub change: Change,
    /// The object as the server has it now, or why not.
    pub result: Result<Value, Refused>,
}

/// What was begun and what came of it, kept apart from the work so that an interruption cannot lose it.
#[derive(Debug)]
pub struct Ledger {
    done: Mutex<Vec<(String, &'static str)>>,
    under_way: watch::Sender<usize>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { done: Mutex::default(), under_way: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// Waits until no write is under way, though not for ever: says how many never got an answer.
    pub async fn settled(&self) -> usize {
        let mut under_way = self.under_way.subscribe();
        let _ = tokio::time::timeout(LAST_ANSWERS, under_way.wait_for(|count| *count == 0)).await;
        *self.under_way.borrow()
    }

    /// Objects that were written, with kubectl's word for what became of them.
    pub fn written(&self) -> Vec<(String, &'static str)> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begin(&self) {
        self.under_way.send_modify(|count| *count += 1);
    }

    fn end(&self, written: Option<(String, &'static str)>) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).extend(written);
        self.under_way.send_modify(|count| *count -= 1);
    }
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
        match change.target {
            Target::Policy => self.apis.policy.kind(),
            Target::Rule => self.apis.rule.kind(),
        }
    }

    /// `peerauthentication.security.istio.io/default`.
    pub fn name(&self, change: &Change) -> String {
        self.kind(change).object_name(&change.name)
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
        applied.sort_by(|a, b| a.change.name.cmp(&b.change.name));
        applied
    }

    /// What to send for one change.
    fn request(&self, look: &Look, change: &Change) -> Result<Patch<Value>, Refused> {
        match &change.action {
            Action::Create => {
                let object = render::created(self.apis, change).unwrap_or_default();
                Ok(Patch::Apply(object))
            }
            Action::Edit(edits) => {
                let object =
                    find(look, change).ok_or_else(|| Refused::Stale(format!("{} is gone", self.name(change))))?;
                let patch = patch::json_patch(object, edits).map_err(|stale| Refused::Stale(stale.to_string()))?;
                Ok(Patch::Json(patch))
            }
            Action::Unchanged => Err(Refused::Stale("nothing to write".to_owned())),
        }
    }

    /// One request as a task of its own: dropping the work does not cut a write in half.
    async fn spawn(&self, change: Change, request: Patch<Value>, mode: Mode) -> Applied {
        let kind = self.kind(&change);
        let api = dynamic_api(self.cluster, &kind, &change.namespace);
        let params = PatchParams {
            dry_run: mode == Mode::DryRun,
            // A new object conflicts with nobody, unless somebody was quicker.
            force: self.force_conflicts && matches!(request, Patch::Apply(_)),
            field_manager: Some(FIELD_MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let ledger = Arc::clone(&self.ledger);
        let name = kind.object_name(&change.name);
        let planned = change.clone();
        ledger.begin();
        let task = tokio::spawn(async move {
            let access = Access::new("patch", kind.group, kind.plural, &planned.namespace).named(&planned.name);
            let answer = attempt(access, &mut || api.patch(&planned.name, &params, &request)).await;
            let written = (answer.is_ok() && mode == Mode::Write).then(|| (name, planned.action.word()));
            ledger.end(written);
            answer.map_err(|error| refused(access, &error)).and_then(|object| whole(&object))
        });
        let result = task.await.unwrap_or_else(|error| {
            let message = format!("the write was lost: {error}");
            Err(Refused::Error(ClusterError { message, hint: None }))
        });
        Applied { change, result }
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
        409 => Refused::Stale(explained.message),
        422 if is_test => Refused::Stale(explained.message),
        _ => Refused::Error(explained),
    }
}

/// The object of a change, as it was read.
pub fn find<'a>(look: &'a Look, change: &Change) -> Option<&'a Value> {
    let objects = match change.target {
        Target::Policy => &look.policies,
        Target::Rule => &look.rules,
    };
    objects.iter().find(|object| read::metadata(object, "name") == change.name)
}
