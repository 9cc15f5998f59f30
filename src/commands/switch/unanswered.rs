//! Writes whose answer did not arrive: looked up in the cluster, and never reported as not made.

use super::SwitchRun;
use super::goal::Planned;
use crate::cluster::apply::{Writer, Written};
use crate::cluster::snapshot;
use crate::domain::plan::{Change, ObjectKind};
use crate::istio::{journal, read};
use serde_json::Value;
use std::time::Duration;

/// Limit for each look-up: the connection to the cluster has failed already.
const LIMIT: Duration = Duration::from_secs(15);

/// Waits for the last answers, looks up the writes that got none, and reports those that stay unknown. An object that is
/// as its change leaves it was written. One that is not may still be written later, so it is not reported as not made.
pub(super) async fn recheck(run: &SwitchRun<'_>, planned: &Planned, writer: &Writer<'_>) {
    writer.finish().await;
    let ledger = writer.ledger();
    for kind in [ObjectKind::Rule, ObjectKind::Policy] {
        let open: Vec<Written> = ledger.unanswered().into_iter().filter(|one| one.kind == kind).collect();
        if open.is_empty() {
            continue;
        }
        let api_kind = match kind {
            ObjectKind::Rule => run.api_versions.rule.kind(),
            ObjectKind::Policy => run.api_versions.policy.kind(),
        };
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
    let unknown = ledger.unanswered();
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|one| one.title.as_str()).collect();
        let names = names.join(", ");
        run.context.printer.warn(&format!("got no answer, and may or may not have been made: {names}"));
    }
}

/// Objects whose deletion the server confirmed, and that are still in the cluster: `kind/name`. A deletion may take a
/// moment, or wait for a finalizer.
pub(super) async fn still_there(run: &SwitchRun<'_>, writer: &Writer<'_>) -> Vec<String> {
    let mut left = deleted_and_there(run, writer).await;
    if !left.is_empty() {
        tokio::time::sleep(Duration::from_secs(2)).await;
        left = deleted_and_there(run, writer).await;
    }
    left
}

async fn deleted_and_there(run: &SwitchRun<'_>, writer: &Writer<'_>) -> Vec<String> {
    let mut left = Vec::new();
    for (kind, api_kind) in
        [(ObjectKind::Rule, run.api_versions.rule.kind()), (ObjectKind::Policy, run.api_versions.policy.kind())]
    {
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
