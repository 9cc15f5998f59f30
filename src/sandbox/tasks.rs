//! Tasks that end with the sandbox, and what the tasks of its servers share.

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Pause after a connection that could not be accepted, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The next connection. A failure is no end: later connections are accepted.
pub(super) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// An HTTP server that closes a connection when the head of the next request does not arrive within `limit`.
pub(super) fn http(limit: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limit);
    builder
}

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
