//! Sets a deadline for the whole response of every request, body included, because a server can stall in the middle of it.
//!
//! Watches, followed logs and upgraded connections are silent while nothing happens, so the deadline applies only to their
//! head; their readers have limits of their own.

use crate::signal::Shutdown;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service};

/// Time for each request after a signal: only cleaning up is left, and a dead connection must not delay it.
const LIMIT_AFTER_SIGNAL: Duration = Duration::from_secs(5);

/// A layer that sets a deadline for every request.
#[derive(Debug, Clone)]
pub struct Deadline {
    /// `--request-timeout`; `None` is no limit.
    pub limit: Option<Duration>,
    /// Shortens the limit after a signal.
    pub shutdown: Shutdown,
}

impl<S> Layer<S> for Deadline {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, deadline: self.clone() }
    }
}

/// A service whose responses arrive within the deadline or are an error.
#[derive(Debug, Clone)]
pub struct Timed<S> {
    inner: S,
    deadline: Deadline,
}

impl<S, B, R> Service<Request<B>> for Timed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    R: BodyExt<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Either<Full<Bytes>, R>>;
    type Error = BoxError;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_stream = is_stream(request.uri().query().unwrap_or_default());
        let head = self.inner.call(request);
        let answer = async move {
            let answer = head.await.map_err(Into::into)?;
            if is_stream || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(answer.map(Either::Right));
            }
            let (parts, body) = answer.into_parts();
            let bytes = body.collect().await.map_err(Into::into)?.to_bytes();
            let bytes = throttled(&parts).unwrap_or(bytes);
            Ok(Response::from_parts(parts, Either::Left(Full::new(bytes))))
        };
        let Deadline { limit, shutdown } = self.deadline.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                answer = answer => answer,
                () = too_late(limit, &shutdown) => Err(Elapsed::new().into()),
            }
        })
    }
}

/// The body for a 429 as a `Status` with the time of its `Retry-After` header: kube drops headers, and the server's priority
/// and fairness filter responds with plain text.
fn throttled(answer: &Parts) -> Option<Bytes> {
    let named = answer.headers.get(RETRY_AFTER).filter(|_| answer.status == StatusCode::TOO_MANY_REQUESTS)?;
    let seconds: u32 = named.to_str().ok()?.trim().parse().ok()?;
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429,
        "reason": "TooManyRequests", "message": "the server has received too many requests and has asked us to try again later",
        "details": {"retryAfterSeconds": seconds},
    });
    Some(Bytes::from(status.to_string()))
}

async fn too_late(limit: Option<Duration>, shutdown: &Shutdown) {
    let ending = async {
        shutdown.requested().await;
        tokio::time::sleep(LIMIT_AFTER_SIGNAL).await;
    };
    match limit {
        Some(limit) => tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = ending => {}
        },
        None => ending.await,
    }
}

/// Whether the response to a request with this query is a stream without an end.
fn is_stream(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::Signal;
    use http_body_util::StreamBody;
    use tokio::sync::watch;

    /// Answers with a head and a body that never comes.
    async fn ask(deadline: &Deadline, uri: &str) -> Result<(), BoxError> {
        let stalling = tower::service_fn(async |_: Request<()>| {
            let never = futures::stream::pending::<Result<hyper::body::Frame<Bytes>, std::io::Error>>();
            Ok::<_, BoxError>(Response::new(StreamBody::new(never)))
        });
        let mut timed = deadline.layer(stalling);
        timed.call(Request::get(uri).body(()).unwrap()).await.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stalls_after_its_head_is_given_up() {
        let deadline = Deadline { limit: Some(Duration::from_secs(3)), shutdown: Shutdown::never() };
        let error = ask(&deadline, "/api/v1/pods?limit=500").await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
        // These are silent by their nature.
        ask(&deadline, "/api/v1/pods?watch=true&timeoutSeconds=290").await.unwrap();
        ask(&deadline, "/api/v1/namespaces/a/pods/b/log?&container=c&follow=true").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_is_to_end_waits_for_no_answer_for_long() {
        let (sender, receiver) = watch::channel(None);
        sender.send_replace(Some(Signal::Deadline));
        let deadline = Deadline { limit: None, shutdown: Shutdown::from_channel(receiver) };
        let start = tokio::time::Instant::now();
        ask(&deadline, "/api/v1/pods").await.unwrap_err();
        assert_eq!(start.elapsed(), LIMIT_AFTER_SIGNAL);
    }
}
