//! Writes whose answer did not come: asked after, and never told as not made.

use super::Switch;
use crate::cluster::apply::Written;
use crate::cluster::snapshot;
use crate::domain::plan::{Change, ObjectKind};
use crate::istio::{journal, read};
use serde_json::Value;
use std::time::Duration;

/// How long the cluster is asked what became of them: the way to it is bad already.
const ASKING: Duration = Duration::from_secs(15);

impl Switch<'_> {
    /// Asks after the writes without an answer, and names those of which nothing is known. What is there as it was to
    /// be was made. What is not may still arrive, so that it is not told as not made.
    pub(super) async fn recheck_unanswered(&self) -> Vec<Written> {
        let ledger = &self.applier.ledger;
        for target in [ObjectKind::Rule, ObjectKind::Policy] {
            let open: Vec<Written> = ledger.unanswered().into_iter().filter(|one| one.target == target).collect();
            if open.is_empty() {
                continue;
            }
            let kind =
                if target == ObjectKind::Rule { self.generation.rule.kind() } else { self.generation.policy.kind() };
            let asked = snapshot::objects(self.cluster, &kind, &self.cluster.namespace);
            let Ok(Ok(Some(there))) = tokio::time::timeout(ASKING, asked).await else { continue };
            for one in open {
                let live = there.iter().find(|object| read::metadata(object, "name") == one.name);
                let of_it = |change: &&Change| change.kind() == target && change.name() == one.name;
                if self
                    .plan
                    .phases()
                    .iter()
                    .flat_map(|phase| &phase.changes)
                    .filter(of_it)
                    .any(|change| self.is_made(change, live))
                {
                    let made = one.made.as_ref().and(live).map(|object| read::metadata(object, "uid").to_owned());
                    ledger.found(Written { made, ..one });
                }
            }
        }
        let unknown = ledger.unanswered();
        if !unknown.is_empty() {
            let names: Vec<&str> = unknown.iter().map(|one| one.title.as_str()).collect();
            let words = "got no answer, and may or may not have been made";
            self.context.printer.warn(&format!("{words}: {}", names.join(", ")));
        }
        unknown
    }

    /// Whether the object is as this change was to leave it, which it was not before.
    fn is_made(&self, change: &Change, live: Option<&Value>) -> bool {
        let before = self.look.find(change.kind(), change.name());
        let field = |object: &Value, field| read::metadata(object, field).to_owned();
        if change.is_deletion() {
            return live.map(|live| field(live, "uid")) != before.map(|before| field(before, "uid"));
        }
        let Some(live) = live.filter(|_| change.is_write()) else { return false };
        if change.is_creation() {
            return before.is_none() && journal::live_object(live).is_ours;
        }
        let has_moved = before.is_some_and(|before| field(before, "resourceVersion") != field(live, "resourceVersion"));
        let entry = journal::entry(self.applier.apis, before, &[change]);
        has_moved && entry.is_some_and(|entry| entry.written.contains(&journal::live_object(live).state.spec))
    }
}
