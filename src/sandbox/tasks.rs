//! Tasks that end with the sandbox.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use tokio::task::JoinSet;

/// Every task of one sandbox; `None` once it is over.
#[derive(Debug)]
pub(super) struct Tasks(Mutex<Option<JoinSet<()>>>);

impl Tasks {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Some(JoinSet::new())))
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = guard.as_mut() {
            // Removes the tasks that have ended, such as closed connections.
            while set.try_join_next().is_some() {}
            set.spawn(task);
        }
    }

    /// Aborts all tasks, which closes their sockets and ends their child processes.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
