//! The objects, their versions, and the history that watches read.

use super::resource::Resource;
use super::status::Refusal;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many changes a watch may lie behind before it is told to list again.
const HISTORY: usize = 20_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One change, in the order of resource versions.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) change: Change,
    pub(super) resource: &'static Resource,
    pub(super) object: Arc<Value>,
    /// What was there before: a watch with a selector sees an object come and go by it.
    pub(super) former: Option<Arc<Value>>,
}

/// Group, plural, namespace (empty at cluster scope), name.
type Key = (&'static str, &'static str, String, String);

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Event>,
}

/// One store behind every client.
#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    revision: watch::Sender<u64>,
}

/// What a writer decided about an object.
pub(super) enum Write {
    /// Store it, unless it equals what is there.
    Put(Value),
    /// Answer with it, and store nothing: a dry run.
    Show(Value),
}

fn key(resource: &'static Resource, namespace: &str, name: &str) -> Key {
    (resource.group, resource.plural, namespace.to_owned(), name.to_owned())
}

impl Store {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default(), revision: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes up at every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    pub(super) fn get(&self, resource: &'static Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.lock().objects.get(&key(resource, namespace, name)).cloned()
    }

    /// Every object of a resource, of one namespace or of all, by namespace and name, and the version of the list.
    pub(super) fn list(&self, resource: &'static Resource, namespace: Option<&str>) -> (Vec<Arc<Value>>, u64) {
        let inner = self.lock();
        let objects = inner
            .objects
            .range(key(resource, namespace.unwrap_or_default(), "")..)
            .take_while(|((group, plural, own, _), _)| {
                *group == resource.group && *plural == resource.plural && namespace.is_none_or(|wanted| wanted == own)
            })
            .map(|(_, object)| Arc::clone(object))
            .collect();
        (objects, inner.revision)
    }

    /// Reads, decides and writes without another writer in between: `decide` runs under the lock, and must not come back here.
    pub(super) fn write(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        decide: impl FnOnce(Option<&Value>) -> Result<Write, Refusal>,
    ) -> Result<Arc<Value>, Refusal> {
        let mut inner = self.lock();
        let key = key(resource, namespace, name);
        let former = inner.objects.get(&key).cloned();
        let mut object = match decide(former.as_deref())? {
            Write::Show(object) => return Ok(Arc::new(object)),
            Write::Put(object) => object,
        };
        if let Some(former) = &former {
            // The version is ours to give: what the client sent there was a precondition, already looked at.
            object["metadata"]["resourceVersion"] = former["metadata"]["resourceVersion"].clone();
            if object == **former {
                return Ok(Arc::clone(former));
            }
        }
        object["metadata"]["resourceVersion"] = (inner.revision + 1).to_string().into();
        let object = Arc::new(object);
        inner.objects.insert(key, Arc::clone(&object));
        let change = if former.is_some() { Change::Modified } else { Change::Added };
        self.record(&mut inner, change, resource, Arc::clone(&object), former);
        Ok(object)
    }

    /// Removes an object when `agrees`; the deletion is a version of its own, as on a real server.
    pub(super) fn remove(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        agrees: impl FnOnce(&Value) -> Result<(), Refusal>,
    ) -> Result<Arc<Value>, Refusal> {
        let mut inner = self.lock();
        let key = key(resource, namespace, name);
        let former = inner.objects.get(&key).cloned().ok_or_else(|| Refusal::not_found(resource, name))?;
        agrees(&former)?;
        inner.objects.remove(&key);
        let mut last = (*former).clone();
        last["metadata"]["resourceVersion"] = (inner.revision + 1).to_string().into();
        let last = Arc::new(last);
        self.record(&mut inner, Change::Deleted, resource, Arc::clone(&last), Some(former));
        Ok(last)
    }

    fn record(
        &self,
        inner: &mut Inner,
        change: Change,
        resource: &'static Resource,
        object: Arc<Value>,
        former: Option<Arc<Value>>,
    ) {
        inner.revision += 1;
        let revision = inner.revision;
        if inner.history.len() == HISTORY {
            inner.history.pop_front();
        }
        inner.history.push_back(Event { revision, change, resource, object, former });
        self.revision.send_replace(revision);
    }

    /// What happened to a resource after `revision`.
    pub(super) fn since(&self, resource: &'static Resource, revision: u64) -> Result<(Vec<Event>, u64), Refusal> {
        let inner = self.lock();
        let oldest = inner.history.front().map_or(inner.revision, |event| event.revision - 1);
        if revision < oldest {
            return Err(Refusal::expired(revision, oldest));
        }
        let start = inner.history.partition_point(|event| event.revision <= revision);
        let events = inner.history.range(start..).filter(|event| std::ptr::eq(event.resource, resource));
        Ok((events.cloned().collect(), inner.revision))
    }
}
