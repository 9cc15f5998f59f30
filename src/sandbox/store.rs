//! The objects, their versions, and the history that watches read.

use super::resource::Resource;
use super::status::ApiStatus;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Number of changes that are kept for watches; an older watch must list again.
const HISTORY: usize = 20_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

impl ChangeKind {
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
    pub(super) change: ChangeKind,
    pub(super) resource: &'static Resource,
    pub(super) object: Arc<Value>,
    /// The object before the change, which decides whether a watch with a selector gets ADDED or DELETED.
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

/// The objects of the cluster, shared by all clients.
#[derive(Debug)]
pub(super) struct Store {
    inner: Mutex<Inner>,
    revision: watch::Sender<u64>,
}

/// The decision of a writer about an object.
pub(super) enum Write {
    /// Store the object, unless it equals the stored one.
    Put(Value),
    /// Return the object without storing it: a dry run.
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

    /// Notifies at every change.
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

    /// Reads, decides and writes under one lock: `decide` must not call the store.
    pub(super) fn write(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        decide: impl FnOnce(Option<&Value>) -> Result<Write, ApiStatus>,
    ) -> Result<Arc<Value>, ApiStatus> {
        let mut inner = self.lock();
        let key = key(resource, namespace, name);
        let former = inner.objects.get(&key).cloned();
        let mut object = match decide(former.as_deref())? {
            Write::Show(object) => return Ok(Arc::new(object)),
            Write::Put(object) => object,
        };
        if let Some(former) = &former {
            // The store sets the version; the client's value was a precondition, which is already checked.
            object["metadata"]["resourceVersion"] = former["metadata"]["resourceVersion"].clone();
            if object == **former {
                return Ok(Arc::clone(former));
            }
        }
        object["metadata"]["resourceVersion"] = (inner.revision + 1).to_string().into();
        let object = Arc::new(object);
        inner.objects.insert(key, Arc::clone(&object));
        let change = if former.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.record(&mut inner, change, resource, Arc::clone(&object), former);
        Ok(object)
    }

    /// Removes an object if `agrees` returns `Ok`. The deletion gets its own version, as on a real server.
    pub(super) fn remove(
        &self,
        resource: &'static Resource,
        namespace: &str,
        name: &str,
        agrees: impl FnOnce(&Value) -> Result<(), ApiStatus>,
    ) -> Result<Arc<Value>, ApiStatus> {
        let mut inner = self.lock();
        let key = key(resource, namespace, name);
        let former = inner.objects.get(&key).cloned().ok_or_else(|| ApiStatus::not_found(resource, name))?;
        agrees(&former)?;
        inner.objects.remove(&key);
        let mut last = (*former).clone();
        last["metadata"]["resourceVersion"] = (inner.revision + 1).to_string().into();
        let last = Arc::new(last);
        self.record(&mut inner, ChangeKind::Deleted, resource, Arc::clone(&last), Some(former));
        Ok(last)
    }

    fn record(
        &self,
        inner: &mut Inner,
        change: ChangeKind,
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

    /// The changes of a resource after `revision`, and the present revision; status 410 if the history is too short.
    pub(super) fn since(&self, resource: &'static Resource, revision: u64) -> Result<(Vec<Event>, u64), ApiStatus> {
        let inner = self.lock();
        let oldest = inner.history.front().map_or(inner.revision, |event| event.revision - 1);
        if revision < oldest {
            return Err(ApiStatus::expired(revision, oldest));
        }
        let start = inner.history.partition_point(|event| event.revision <= revision);
        let events = inner.history.range(start..).filter(|event| std::ptr::eq(event.resource, resource));
        Ok((events.cloned().collect(), inner.revision))
    }
}
