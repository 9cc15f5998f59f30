//! The journal in the cluster: the former objects of a run, its state, and the objects that it created, in `ConfigMap`s
//! of the namespace, so that any machine can undo what one has done.
//!
//! A journal is one text, divided among as many `ConfigMap`s as it needs. The first one has the head and is written last:
//! without a head, the run has changed nothing. Entries that are added later go into further `ConfigMap`s.

use super::connect::Cluster;
use super::deletion::still_there;
use super::error::{Access, ClusterError, is_already_there};
use super::lease::{GuardedError, WriteGuard};
use super::list::{Resource, Selection, list_selected};
use crate::domain::journal::{Entry, Run, Stage};
use crate::istio::journal;
use futures::{StreamExt, TryStreamExt};
use json_patch::Patch as JsonPatch;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bytes of text in one `ConfigMap`, which may hold 1 MiB.
const LIMIT: usize = 900_000;

/// `ConfigMap`s in one page of a list. Full ones fit into a response of 32 MiB even where JSON doubles their text.
const PAGE: u32 = 16;

/// Time for a request to arrive that was on its way when the Lease was lost.
pub const LATE: Duration = Duration::from_secs(2);

/// Requests in progress at a time.
const PARALLEL: usize = 8;

/// The label selector of the journals of switches.
pub const LABELS: &str = "app.kubernetes.io/managed-by=secure-traffic,app.kubernetes.io/component=journal";

/// What a journal is of. A restore, and everything else that follows journals, sees those of switches alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalKind {
    /// A run that changes policies and rules.
    Switch,
    /// A rehearsal that writes a `Telemetry` object. Its journal has no entries, and exists only while it runs.
    Rehearsal,
}

impl JournalKind {
    /// The value of the label `app.kubernetes.io/component`, which is also part of the names.
    const fn component(self) -> &'static str {
        match self {
            Self::Switch => "journal",
            Self::Rehearsal => "rehearsal",
        }
    }

    fn labels(self) -> String {
        format!("app.kubernetes.io/managed-by=secure-traffic,app.kubernetes.io/component={}", self.component())
    }
}

/// The label with the run's identifier.
const RUN: &str = "app.kubernetes.io/instance";

/// A journal as it was read from the cluster.
#[derive(Debug, Clone)]
pub struct StoredJournal {
    /// The run's identifier.
    pub id: String,
    /// The run, or why it cannot be read.
    pub run: Result<Run, String>,
    /// Whether its head is missing: its run was interrupted before it changed anything.
    pub is_void: bool,
    kind: JournalKind,
    /// Names of its `ConfigMap`s, the head first.
    maps: Vec<String>,
}

/// The run of a switch, from the name of a `ConfigMap` of its journal.
pub fn run_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("secure-traffic-")?.strip_prefix(JournalKind::Switch.component())?;
    Some(rest.strip_prefix('-')?.rsplit_once('-')?.0)
}

/// The journals of switches in the namespace, the oldest first.
pub async fn list(cluster: &Cluster) -> Result<Vec<StoredJournal>, ClusterError> {
    list_of(cluster, JournalKind::Switch).await
}

/// The journals of one kind in the namespace, the oldest first.
pub async fn list_of(cluster: &Cluster, kind: JournalKind) -> Result<Vec<StoredJournal>, ClusterError> {
    let maps = list_maps(cluster, &kind.labels()).await?;
    let mut runs: BTreeMap<String, BTreeMap<usize, ConfigMap>> = BTreeMap::new();
    for map in maps {
        let id = map.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).cloned().unwrap_or_default();
        let name = map.metadata.name.as_deref().unwrap_or_default();
        if let Some(number) = name.rsplit('-').next().and_then(|number| number.parse().ok()) {
            runs.entry(id).or_default().insert(number, map);
        }
    }
    let mut journals: Vec<StoredJournal> = runs.into_iter().map(|(id, maps)| read(kind, id, &maps)).collect();
    journals.sort_by_key(|journal| {
        journal.run.as_ref().map(|run| (run.recorded_at, run.started_at.clone())).unwrap_or_default()
    });
    Ok(journals)
}

/// The `ConfigMap`s that a label selector selects.
async fn list_maps(cluster: &Cluster, labels: &str) -> Result<Vec<ConfigMap>, ClusterError> {
    let selection = Selection::labelled(&cluster.namespace, labels).in_pages_of(PAGE);
    list_selected(cluster, Resource::core("configmaps"), selection, Some).await
}

fn read(kind: JournalKind, id: String, maps: &BTreeMap<usize, ConfigMap>) -> StoredJournal {
    let names = maps.values().filter_map(|map| map.metadata.name.clone()).collect();
    let run = assemble(maps).and_then(|run| {
        if run.id == id { Ok(run) } else { Err(format!("its label names run {id}, its head names run {}", run.id)) }
    });
    let run = run.map_err(|reason| format!("the journal of run {id} cannot be read: {reason}"));
    StoredJournal { id, run, is_void: !maps.contains_key(&0), kind, maps: names }
}

fn assemble(maps: &BTreeMap<usize, ConfigMap>) -> Result<Run, String> {
    let text = |map: &ConfigMap, key: &str| map.data.as_ref().and_then(|data| data.get(key)).cloned();
    let head = maps.get(&0).ok_or("its head is missing")?;
    let (mut run, parts) =
        journal::read_head(&text(head, "run").unwrap_or_default()).map_err(|error| error.to_string())?;
    if let Some(missing) = (0..parts).find(|number| !maps.contains_key(number)) {
        return Err(format!("part {missing} of {parts} is missing"));
    }
    let whole: String = maps.values().filter_map(|map| text(map, "entries")).collect();
    run.entries = journal::entries(&whole).map_err(|error| error.to_string())?;
    run.recorded_at = head.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Ok(run)
}

/// The journal of this run. Every request asks the lock before it is sent.
pub struct Journal {
    maps: ConfigMaps,
    run: Run,
    /// Parts of the first text; 0 until it is written.
    parts: usize,
    /// Names of all parts that were sent.
    names: Vec<String>,
}

impl Journal {
    /// A journal of which nothing is written.
    pub fn start(cluster: &Cluster, run: Run, guard: WriteGuard) -> Self {
        Self::start_of(JournalKind::Switch, cluster, run, guard)
    }

    /// A journal of this kind, of which nothing is written.
    pub fn start_of(kind: JournalKind, cluster: &Cluster, run: Run, guard: WriteGuard) -> Self {
        Self { maps: ConfigMaps::new(kind, cluster, guard), run, parts: 0, names: Vec::new() }
    }

    /// Whether any part was sent to the cluster.
    pub fn is_written(&self) -> bool {
        !self.names.is_empty()
    }

    /// The run, with its entries so far.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Writes entries, before the changes that they describe are made.
    pub async fn add(&mut self, entries: Vec<Entry>) -> Result<(), ClusterError> {
        let text = journal::lines(&entries);
        if self.parts == 0 {
            self.begin(&text).await?;
        } else {
            self.append(&text).await?;
        }
        for entry in entries {
            let known = self.run.entries.iter_mut().find(|known| known.kind == entry.kind && known.name == entry.name);
            match known {
                Some(known) => *known = entry,
                None => self.run.entries.push(entry),
            }
        }
        Ok(())
    }

    async fn begin(&mut self, text: &str) -> Result<(), ClusterError> {
        let pieces = journal::pieces(text, LIMIT);
        let parts = pieces.len();
        let (first, rest) = pieces.split_first().unwrap_or((&"", &[]));
        // Recorded before they are sent, so that parts without an answer are deleted too.
        self.names = (0..parts).map(|number| self.name(number)).collect();
        let this = &*self;
        futures::stream::iter(rest.iter().enumerate())
            .map(|(index, piece)| this.create(index + 1, json!({"entries": piece})))
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        self.create(0, json!({"run": journal::head(&self.run, parts), "entries": first})).await?;
        self.parts = parts;
        Ok(())
    }

    async fn append(&mut self, text: &str) -> Result<(), ClusterError> {
        for piece in journal::pieces(text, LIMIT) {
            let number = self.names.len();
            self.names.push(self.name(number));
            self.create(number, json!({"entries": piece})).await?;
        }
        Ok(())
    }

    /// Appends the UIDs of the objects that the run created (`notes`), and writes the stage that it has reached.
    pub async fn finish(&mut self, notes: &str, stage: Stage) -> Result<(), ClusterError> {
        if !notes.is_empty() {
            self.append(notes).await?;
        }
        self.run.stage = stage;
        self.maps.write_head(&self.run, self.parts, &self.name(0)).await
    }

    /// Deletes the journal of a run that has changed nothing, or has undone every change.
    pub async fn delete(&mut self) -> Result<(), ClusterError> {
        self.parts = 0;
        self.maps.delete(&self.run.id, &std::mem::take(&mut self.names)).await
    }

    /// After the loss of the Lease: deletes the parts of a journal that was not complete then. The run has changed nothing,
    /// and a part that arrives late would name a former state that another run may have replaced. The parts are deleted by
    /// their UIDs, without the lock.
    pub async fn delete_incomplete(&mut self) -> Result<(), ClusterError> {
        if self.parts > 0 || !self.is_written() {
            return Ok(());
        }
        let maps = ConfigMaps { guard: WriteGuard::without_lock(), ..self.maps.clone() };
        let names = std::mem::take(&mut self.names);
        // A request that was on its way at the loss may take a moment to arrive.
        for pause in [Duration::ZERO, LATE] {
            tokio::time::sleep(pause).await;
            for part in maps.of_run(&self.run.id).await? {
                let preconditions = Some(Preconditions { uid: part.metadata.uid, resource_version: None });
                let params = DeleteParams { preconditions, ..DeleteParams::default() };
                maps.delete_one(&part.metadata.name.unwrap_or_default(), &params).await?;
            }
        }
        maps.check_deleted(&self.run.id, &names, Ok(())).await
    }

    fn name(&self, number: usize) -> String {
        format!("secure-traffic-{}-{}-{number}", self.maps.kind.component(), self.run.id)
    }

    async fn create(&self, number: usize, data: serde_json::Value) -> Result<(), ClusterError> {
        let name = self.name(number);
        let map: ConfigMap = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/managed-by": "secure-traffic",
                "app.kubernetes.io/component": self.maps.kind.component(),
                RUN: self.run.id,
            }},
            "data": data,
        }))
        .map_err(|error| ClusterError { message: format!("the journal could not be written: {error}"), hint: None })?;
        let params = PostParams { dry_run: false, field_manager: Some("secure-traffic".to_owned()) };
        let ConfigMaps { api, cluster, guard, .. } = &self.maps;
        let access = Access::new("create", "", "configmaps", &cluster.namespace).repeatable();
        match guard.attempt(access, || api.create(&params, &map)).await {
            Ok(created) if created.metadata.uid.is_some() && created.data == map.data => Ok(()),
            // An answer without the object does not show that the part is written. One that exists already may be that
            // of an earlier try, whose answer was lost.
            Ok(_) => self.read_back(&map).await,
            Err(GuardedError::Api(error)) if is_already_there(&error) => self.read_back(&map).await,
            Err(error) => Err(error.explain(access)),
        }
    }

    /// Checks that the cluster has this part as this run writes it. A list request, because a run needs that right
    /// anyway.
    async fn read_back(&self, map: &ConfigMap) -> Result<(), ClusterError> {
        let of_run = self.maps.of_run(&self.run.id).await?;
        let stored = of_run.iter().find(|stored| stored.metadata.name == map.metadata.name);
        if stored.is_some_and(|stored| stored.data == map.data && stored.metadata.labels == map.metadata.labels) {
            return Ok(());
        }
        let name = map.metadata.name.as_deref().unwrap_or_default();
        let message = match stored {
            Some(_) => format!("the journal could not be written: configmap {name} is not as this run wrote it"),
            None => format!("the journal could not be written: configmap {name} does not exist after its creation"),
        };
        Err(ClusterError { message, hint: None })
    }
}

/// Marks a stored journal as undone, except for the objects that were reported.
pub async fn mark_undone(cluster: &Cluster, guard: &WriteGuard, journal: &StoredJournal) -> Result<(), ClusterError> {
    let (Ok(run), Some(head)) = (&journal.run, journal.maps.first()) else { return Ok(()) };
    let run = Run { stage: Stage::Undone, ..run.clone() };
    // Nothing is appended any more, so appended parts count as parts of the first text.
    ConfigMaps::new(journal.kind, cluster, guard.clone()).write_head(&run, journal.maps.len(), head).await
}

/// Deletes a stored journal.
pub async fn delete(cluster: &Cluster, guard: &WriteGuard, journal: &StoredJournal) -> Result<(), ClusterError> {
    ConfigMaps::new(journal.kind, cluster, guard.clone()).delete(&journal.id, &journal.maps).await
}

/// Guarded access to the `ConfigMap`s of the namespace.
#[derive(Clone)]
struct ConfigMaps {
    kind: JournalKind,
    cluster: Cluster,
    api: Api<ConfigMap>,
    guard: WriteGuard,
}

impl ConfigMaps {
    fn new(kind: JournalKind, cluster: &Cluster, guard: WriteGuard) -> Self {
        let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        Self { kind, cluster: cluster.clone(), api, guard }
    }

    /// The parts of the journal of a run.
    async fn of_run(&self, id: &str) -> Result<Vec<ConfigMap>, ClusterError> {
        list_maps(&self.cluster, &format!("{},{RUN}={id}", self.kind.labels())).await
    }

    /// Writes the head of a journal: the run, its stage, and the number of parts.
    async fn write_head(&self, run: &Run, parts: usize, name: &str) -> Result<(), ClusterError> {
        let operations = json!([{"op": "add", "path": "/data/run", "value": journal::head(run, parts)}]);
        let patch: JsonPatch = serde_json::from_value(operations).map_err(|error| ClusterError {
            message: format!("the journal could not be written: {error}"),
            hint: None,
        })?;
        let access = Access::new("patch", "", "configmaps", &self.cluster.namespace).named(name).repeatable();
        let (patch, params) = (Patch::Json::<()>(patch), PatchParams::default());
        self.guard.send(access, || self.api.patch(name, &params, &patch)).await.map(|_| ())
    }

    /// Deletes the parts of the journal of a run, the head first: parts without a head are void. The error names the parts
    /// that are left.
    async fn delete(&self, id: &str, names: &[String]) -> Result<(), ClusterError> {
        let Some((head, rest)) = names.split_first() else { return Ok(()) };
        let params = DeleteParams::default();
        let answer = match self.delete_one(head, &params).await {
            Ok(()) => {
                let deletions = rest.iter().map(|name| self.delete_one(name, &params));
                futures::stream::iter(deletions).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await.map(|_| ())
            }
            refused => refused,
        };
        self.check_deleted(id, names, answer).await
    }

    /// Looks up whether parts are gone, whatever the answer to their deletion was.
    async fn check_deleted(
        &self,
        id: &str,
        names: &[String],
        answer: Result<(), ClusterError>,
    ) -> Result<(), ClusterError> {
        let look_up = || async {
            let stored = self.of_run(id).await?;
            let stored = stored.into_iter().filter_map(|map| map.metadata.name);
            Ok::<_, ClusterError>(stored.filter(|name| names.contains(name)).collect())
        };
        let left: Vec<String> = still_there(look_up).await?;
        if left.is_empty() {
            return Ok(());
        }
        let left = format!("still there after the deletion: configmaps {}", left.join(", "));
        Err(match answer {
            Ok(()) => ClusterError { message: left, hint: None },
            Err(refused) => ClusterError { message: format!("{}; {left}", refused.message), ..refused },
        })
    }

    async fn delete_one(&self, name: &str, params: &DeleteParams) -> Result<(), ClusterError> {
        let access = Access::new("delete", "", "configmaps", &self.cluster.namespace).named(name).repeatable();
        self.guard.send_optional(access, 404, || self.api.delete(name, params)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Request, Response};
    use kube::client::Body;
    use std::sync::{Mutex, PoisonError};

    /// A cluster that answers each request with `answer` of its method and query, and the list of these.
    fn cluster(
        answer: impl Fn(&Method, &str) -> serde_json::Value + Send + Sync + 'static,
    ) -> (Cluster, std::sync::Arc<Mutex<Vec<String>>>) {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (std::sync::Arc::clone(&seen), std::sync::Arc::new(answer));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (method, uri) = (request.method().clone(), request.uri().to_string());
            let body = answer(&method, &uri).to_string();
            log.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{method} {uri}"));
            async move { Ok::<_, std::convert::Infallible>(Response::new(Body::from(body.into_bytes()))) }
        });
        let client = kube::Client::new(service, "shop");
        (Cluster::of_test(client), seen)
    }

    fn map(id: &str, number: usize) -> serde_json::Value {
        json!({"metadata": {"name": format!("secure-traffic-journal-{id}-{number}"), "labels": {RUN: id}}})
    }

    #[tokio::test]
    async fn many_full_journals_are_listed_in_pages_below_the_limit_of_a_response() {
        let (cluster, seen) = cluster(|_, uri| {
            let page = uri.split("continue=").nth(1).map_or(0, |token| token.parse::<usize>().unwrap());
            let items: Vec<_> = (0..16).map(|number| map(&format!("run{page}"), number)).collect();
            let more = if page < 2 { (page + 1).to_string() } else { String::new() };
            json!({"metadata": {"continue": more}, "items": items})
        });
        assert_eq!(list(&cluster).await.unwrap().len(), 3);
        let seen = seen.lock().unwrap();
        assert!(seen.len() == 3 && seen.iter().all(|request| request.contains("limit=16")), "{seen:?}");
        assert!(PAGE as usize * LIMIT * 2 < super::super::deadline::MAX_RESPONSE);
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_are_left_after_their_deletion_are_named() {
        for (left, expected) in [(false, Ok(())), (true, Err("configmaps secure-traffic-journal-bcdfg-0"))] {
            let (cluster, _) = cluster(move |method, _| match method {
                &Method::DELETE => json!({}),
                _ => json!({"metadata": {}, "items": if left { vec![map("bcdfg", 0)] } else { Vec::new() }}),
            });
            let maps = ConfigMaps::new(JournalKind::Switch, &cluster, WriteGuard::without_lock());
            let names = [0, 1].map(|number| format!("secure-traffic-journal-bcdfg-{number}"));
            let deleted = maps.delete("bcdfg", &names).await.map_err(|error| error.message);
            match expected {
                Ok(()) => assert_eq!(deleted, Ok(())),
                Err(ending) => assert!(deleted.clone().is_err_and(|message| message.ends_with(ending)), "{deleted:?}"),
            }
        }
    }
}
