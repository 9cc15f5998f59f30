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

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Serves one connection to its end. Returns the time that it took.
    async fn served(stream: DuplexStream) -> Duration {
        let start = Instant::now();
        let answer =
            service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) });
        // The client does not keep to HTTP.
        let _ = http(LIMIT).serve_connection(TokioIo::new(stream), answer).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_head_is_kept_no_longer_than_the_limit() {
        for sent in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: boards\r\n", "GET / HTTP/1.1\r\nHost: boards\r\n\r\nGET"]
        {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(sent.as_bytes()).await.unwrap();
            let took = served(server).await;
            assert!((LIMIT..LIMIT * 2).contains(&took), "{sent:?}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_arrives_byte_by_byte_does_not_prolong_the_limit() {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        let trickle = async {
            while client.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let (took, ()) = tokio::join!(served(server), trickle);
        assert!((LIMIT..LIMIT * 2).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_within_a_head_is_let_go_at_once() {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        drop(client);
        assert_eq!(served(server).await, Duration::ZERO);
    }
}
