//! Looks up writes whose answer did not arrive, and never reports them as not made.

use super::SwitchRun;
use super::goal::Planned;
use crate::cluster::apply::{Writer, Written};
use crate::cluster::error::ClusterError;
use crate::cluster::journal as store;
use crate::cluster::{deletion, snapshot};
use crate::domain::plan::{Change, ObjectKind};
use crate::istio::kinds::Kind;
use crate::istio::{journal, read};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;

/// Limit for each look-up: the connection to the cluster has failed already.
const LIMIT: Duration = Duration::from_secs(15);

/// Waits for the last answers, looks up the writes that got none, and reports those whose result stays unknown. A write
/// was made if the object is as the change leaves it. Otherwise it may still be made later.
pub(super) async fn recheck(run: &SwitchRun<'_>, planned: &Planned, writer: &Writer<'_>) {
    writer.finish().await;
    let ledger = writer.ledger();
    let creations: Vec<Written> = ledger.unanswered().into_iter().filter(|one| one.made.is_some()).collect();
    look_up(run, planned, writer).await;
    if writer.check_lock().is_err() && !creations.is_empty() {
        if ledger.unanswered().iter().any(|one| one.made.is_some()) {
            tokio::time::sleep(store::LATE).await;
            look_up(run, planned, writer).await;
        }
        delete_late(run, writer, &creations).await;
    }
    let unknown = ledger.unanswered();
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|one| one.title.as_str()).collect();
        let names = names.join(", ");
        run.context.printer.warn(&format!("got no answer, and may or may not have been made: {names}"));
    }
}

/// Confirms the unanswered writes whose objects are as their changes leave them.
async fn look_up(run: &SwitchRun<'_>, planned: &Planned, writer: &Writer<'_>) {
    let ledger = writer.ledger();
    for kind in [ObjectKind::Rule, ObjectKind::Policy] {
        let open: Vec<Written> = ledger.unanswered().into_iter().filter(|one| one.kind == kind).collect();
        if open.is_empty() {
            continue;
        }
        let api_kind = api_kind(run, kind);
        let lookup = snapshot::objects(run.cluster, &api_kind, &run.cluster.namespace);
        let Ok(Ok(Some(objects))) = tokio::time::timeout(LIMIT, lookup).await else { continue };
        for one in open {
            let live = objects.iter().find(|object| read::metadata(object, "name") == one.name);
            let phases = planned.plan.phases();
            let mut changes = phases.iter().flat_map(|phase| &phase.changes);
            let is_of_object = |change: &Change| change.kind() == kind && change.name() == one.name;
            if changes.any(|change| is_of_object(change) && is_made(run, planned, change, live)) {
                let made = one.made.as_ref().and(live).map(|object| read::metadata(object, "uid").to_owned());
                ledger.confirm(Written { made, ..one });
            }
        }
    }
}

/// Deletes what was created after the loss of the Lease: `creations` were on their way then. Another run may have restored
/// the namespace and deleted the journals before they arrived, and then nothing could undo them. An object that a journal
/// names can be undone, and another run may build on it: it stays.
async fn delete_late(run: &SwitchRun<'_>, writer: &Writer<'_>, creations: &[Written]) {
    let Ok(Ok(journals)) = tokio::time::timeout(LIMIT, store::list(run.cluster)).await else { return };
    let is_named = |one: &Written| {
        journals.iter().filter(|journal| !journal.is_void).any(|journal| match &journal.run {
            Ok(run) => run.entries.iter().any(|entry| entry.kind == one.kind && entry.name == one.name),
            Err(_) => true,
        })
    };
    let printer = run.context.printer;
    for one in writer.ledger().written() {
        let is_late = creations.iter().any(|late| late.kind == one.kind && late.name == one.name);
        let Some(uid) = one.made.as_deref().filter(|uid| is_late && !uid.is_empty() && !is_named(&one)) else {
            continue;
        };
        let refused = run.requests().delete_created(&one, uid).await.err();
        let api_kind = api_kind(run, one.kind);
        let look_up = || async {
            let objects = snapshot::objects(run.cluster, &api_kind, &run.cluster.namespace).await?.unwrap_or_default();
            Ok::<_, ClusterError>(objects.into_iter().filter(|object| read::metadata(object, "uid") == uid).collect())
        };
        let left: Result<Vec<Value>, _> = deletion::still_there(look_up).await;
        if left.is_ok_and(|left| left.is_empty()) {
            writer.ledger().withdraw(one.kind, &one.name);
            printer.say(&format!("{} was created after the Lease was lost, and is deleted", one.title));
        } else {
            let reason = refused.map(|error| format!(": {error}")).unwrap_or_default();
            printer.warn(&format!("{} was created after the Lease was lost, and is left{reason}", one.title));
        }
    }
}

fn api_kind(run: &SwitchRun<'_>, kind: ObjectKind) -> Kind {
    match kind {
        ObjectKind::Rule => run.api_versions.rule.kind(),
        ObjectKind::Policy => run.api_versions.policy.kind(),
    }
}

/// Objects whose deletion the server confirmed, and that are still in the cluster: `kind/name`.
pub(super) async fn still_there(run: &SwitchRun<'_>, writer: &Writer<'_>) -> Vec<String> {
    let look_up = || async { Ok::<_, Infallible>(deleted_and_there(run, writer).await) };
    let Ok(left) = deletion::still_there(look_up).await;
    left
}

async fn deleted_and_there(run: &SwitchRun<'_>, writer: &Writer<'_>) -> Vec<String> {
    let mut left = Vec::new();
    for kind in [ObjectKind::Rule, ObjectKind::Policy] {
        let api_kind = api_kind(run, kind);
        let mut deleted = writer.ledger().written();
        deleted.retain(|one| one.kind == kind && one.deleted_uid.is_some());
        if deleted.is_empty() {
            continue;
        }
        let lookup = snapshot::objects(run.cluster, &api_kind, &run.cluster.namespace);
        let Ok(Ok(Some(objects))) = tokio::time::timeout(LIMIT, lookup).await else { continue };
        let is_there = |one: &Written| {
            objects.iter().any(|object| one.deleted_uid.as_deref() == Some(read::metadata(object, "uid")))
        };
        left.extend(deleted.into_iter().filter(is_there).map(|one| one.title));
    }
    left
}

/// Whether the object is as this change leaves it, and was not so before.
fn is_made(run: &SwitchRun<'_>, planned: &Planned, change: &Change, live: Option<&Value>) -> bool {
    let before = planned.state.find(change.kind(), change.name());
    let field = |object: &Value, field| read::metadata(object, field).to_owned();
    if change.is_deletion() {
        return live.map(|live| field(live, "uid")) != before.map(|before| field(before, "uid"));
    }
    let Some(live) = live.filter(|_| change.is_write()) else { return false };
    if change.is_creation() {
        return before.is_none() && journal::live_object(live).is_ours;
    }
    let has_changed = before.is_some_and(|before| field(before, "resourceVersion") != field(live, "resourceVersion"));
    let entry = journal::entry(run.apis(), before, &[change]);
    has_changed && entry.is_some_and(|entry| entry.written.contains(&journal::live_object(live).state.spec))
}
