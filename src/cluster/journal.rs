//! The journal in the cluster: ConfigMaps of the namespace, so that any machine can undo what one has done.
//!
//! A journal is one text, divided among as many ConfigMaps as it needs. The first one has the head and is written last:
//! without it nothing was changed yet. What is noted later goes into ConfigMaps of its own.

use super::connect::Cluster;
use super::error::{Access, ClusterError};
use super::request::{send, send_optional};
use crate::domain::journal::{Entry, Run, Stage};
use crate::istio::journal;
use futures::{StreamExt, TryStreamExt};
use json_patch::Patch as JsonPatch;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of text in one ConfigMap, which may hold 1 MiB.
const LIMIT: usize = 900_000;

/// Requests under way at a time.
const PARALLEL: usize = 8;

/// The labels by which journals are found.
pub const LABELS: &str = "app.kubernetes.io/managed-by=secure-traffic,app.kubernetes.io/component=journal";

/// The label with the run's name.
const RUN: &str = "app.kubernetes.io/instance";

/// A journal as it was found.
#[derive(Debug, Clone)]
pub struct StoredJournal {
    /// The run's name.
    pub id: String,
    /// The run, or why it cannot be read.
    pub run: Result<Run, String>,
    /// Whether it was cut short before it was whole: its run has changed nothing.
    pub is_void: bool,
    /// Its ConfigMaps, the head first.
    maps: Vec<String>,
}

/// The journals of the namespace, the oldest first.
pub async fn list(cluster: &Cluster) -> Result<Vec<StoredJournal>, ClusterError> {
    let api = api(cluster);
    let access = Access::new("list", "", "configmaps", &cluster.namespace);
    let params = ListParams::default().labels(LABELS);
    let maps = send(access, || api.list(&params)).await?.items;
    let mut runs: BTreeMap<String, BTreeMap<usize, ConfigMap>> = BTreeMap::new();
    for map in maps {
        let id = map.metadata.labels.as_ref().and_then(|labels| labels.get(RUN)).cloned().unwrap_or_default();
        let name = map.metadata.name.as_deref().unwrap_or_default();
        if let Some(number) = name.rsplit('-').next().and_then(|number| number.parse().ok()) {
            runs.entry(id).or_default().insert(number, map);
        }
    }
    let mut kept: Vec<StoredJournal> = runs.into_iter().map(|(id, maps)| read(id, &maps)).collect();
    kept.sort_by_key(|kept| kept.run.as_ref().map(|run| (run.recorded_at, run.started_at.clone())).unwrap_or_default());
    Ok(kept)
}

fn read(id: String, maps: &BTreeMap<usize, ConfigMap>) -> StoredJournal {
    let names = maps.values().filter_map(|map| map.metadata.name.clone()).collect();
    let run = assemble(maps).map_err(|words| format!("the journal of run {id} cannot be read: {words}"));
    StoredJournal { id, run, is_void: !maps.contains_key(&0), maps: names }
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

/// The journal of this run.
#[derive(Debug)]
pub struct Journal {
    api: Api<ConfigMap>,
    namespace: String,
    run: Run,
    /// Parts of the first text.
    parts: usize,
    /// Names of all parts.
    maps: Vec<String>,
}

impl Journal {
    /// A journal of which nothing is written yet.
    pub fn new(cluster: &Cluster, run: Run) -> Self {
        Self { api: api(cluster), namespace: cluster.namespace.clone(), run, parts: 0, maps: Vec::new() }
    }

    /// The run, with what was noted of it.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Writes entries down, before what they tell of is done.
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
        // Noted before they are made, so that what a broken line leaves is removed.
        self.maps = (0..parts).map(|number| self.name(number)).collect();
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
            let number = self.maps.len();
            self.maps.push(self.name(number));
            self.create(number, json!({"entries": piece})).await?;
        }
        Ok(())
    }

    /// Notes what the server called the objects that were made, and how far the run has come.
    pub async fn close(&mut self, notes: &str, stage: Stage) -> Result<(), ClusterError> {
        if !notes.is_empty() {
            self.append(notes).await?;
        }
        self.run.stage = stage;
        mark(&self.api, &self.namespace, &self.run, self.parts, &self.name(0)).await
    }

    /// Takes the journal away again, where nothing was changed after all.
    pub async fn discard(self) -> Result<(), ClusterError> {
        remove_maps(&self.api, &self.namespace, &self.maps).await
    }

    fn name(&self, number: usize) -> String {
        format!("secure-traffic-journal-{}-{number}", self.run.id)
    }

    async fn create(&self, number: usize, data: serde_json::Value) -> Result<(), ClusterError> {
        let name = self.name(number);
        let map: ConfigMap = serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/managed-by": "secure-traffic",
                "app.kubernetes.io/component": "journal",
                RUN: self.run.id,
            }},
            "data": data,
        }))
        .map_err(|error| ClusterError { message: format!("the journal could not be written: {error}"), hint: None })?;
        let params = PostParams { dry_run: false, field_manager: Some("secure-traffic".to_owned()) };
        let access = Access::new("create", "", "configmaps", &self.namespace).repeatable();
        // The name is ours alone: a conflict means that an earlier try had arrived.
        send_optional(access, &[409], || self.api.create(&params, &map)).await.map(|_| ())
    }
}

/// Marks a journal as far as its run has come.
async fn mark(api: &Api<ConfigMap>, namespace: &str, run: &Run, parts: usize, name: &str) -> Result<(), ClusterError> {
    let operations = json!([{"op": "add", "path": "/data/run", "value": journal::head(run, parts)}]);
    let patch: JsonPatch = serde_json::from_value(operations)
        .map_err(|error| ClusterError { message: format!("the journal could not be written: {error}"), hint: None })?;
    let access = Access::new("patch", "", "configmaps", namespace).named(name).repeatable();
    let (patch, params) = (Patch::Json::<()>(patch), PatchParams::default());
    send(access, || api.patch(name, &params, &patch)).await.map(|_| ())
}

/// Marks a journal that was found as undone but for what is named.
pub async fn mark_undone(cluster: &Cluster, kept: &StoredJournal) -> Result<(), ClusterError> {
    let (Ok(run), Some(head)) = (&kept.run, kept.maps.first()) else { return Ok(()) };
    let run = Run { stage: Stage::Undone, ..run.clone() };
    // Parts that were appended belong to the whole from now on; nothing is appended any more.
    mark(&api(cluster), &cluster.namespace, &run, kept.maps.len(), head).await
}

/// Removes a journal.
pub async fn remove(cluster: &Cluster, kept: &StoredJournal) -> Result<(), ClusterError> {
    remove_maps(&api(cluster), &cluster.namespace, &kept.maps).await
}

/// The head goes first: what is left without one counts for nothing.
async fn remove_maps(api: &Api<ConfigMap>, namespace: &str, maps: &[String]) -> Result<(), ClusterError> {
    let Some((head, rest)) = maps.split_first() else { return Ok(()) };
    let params = DeleteParams::default();
    let delete = |name: String| {
        let params = params.clone();
        async move {
            let access = Access::new("delete", "", "configmaps", namespace).named(&name).repeatable();
            send_optional(access, &[404], || api.delete(&name, &params)).await.map(|_| ())
        }
    };
    delete(head.clone()).await?;
    futures::stream::iter(rest.iter().cloned()).map(delete).buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
    Ok(())
}

fn api(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}
