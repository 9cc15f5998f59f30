//! Sets a deadline and a limit of size for the whole response of every request, body included, because a server can stall
//! in the middle of it or send without end.
//!
//! Watches, followed logs and upgraded connections are silent while nothing happens, so the deadline applies only to their
//! head, and the limit of size to each line.

use super::error::LimitExceeded;
use crate::signal::Shutdown;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service};

/// Time for each request after a signal: only cleaning up is left, and a dead connection must not delay it.
const LIMIT_AFTER_SIGNAL: Duration = Duration::from_secs(5);

/// Largest response that is read, in bytes: one page of a list, one object, one log.
pub const MAX_RESPONSE: usize = 32 << 20;

/// Longest line of a watch or of a followed log, in bytes. An API server stores objects of up to 1.5 MiB.
const MAX_LINE: usize = 4 << 20;

/// A layer that sets a deadline and a limit of size for every response.
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
    type Response = Response<Either<Full<Bytes>, LimitedLines<R>>>;
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
                return Ok(answer.map(|body| Either::Right(LimitedLines::new(body))));
            }
            let (parts, body) = answer.into_parts();
            let bytes = Limited::new(body, MAX_RESPONSE).collect().await.map_err(too_large)?.to_bytes();
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

/// The error of [`Limited`], with the limit's name.
fn too_large(error: BoxError) -> BoxError {
    if error.is::<LengthLimitError>() {
        return LimitExceeded::new("the response is larger than 32 MiB").into();
    }
    error
}

/// A body without an end, of which no line may be longer than `MAX_LINE`.
#[derive(Debug)]
pub struct LimitedLines<R> {
    body: Pin<Box<R>>,
    /// Bytes since the last line break.
    line: usize,
}

impl<R> LimitedLines<R> {
    fn new(body: R) -> Self {
        Self { body: Box::pin(body), line: 0 }
    }
}

impl<R> Body for LimitedLines<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(frame) = ready!(self.body.as_mut().poll_frame(context)) else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        let mut lines = frame.data_ref().into_iter().flat_map(|data| data.split(|byte| *byte == b'\n'));
        // The first piece continues the line that is open, and the last piece is open.
        let mut longest = self.line;
        if let Some(first) = lines.next() {
            longest += first.len();
            self.line = longest;
        }
        for line in lines {
            longest = longest.max(line.len());
            self.line = line.len();
        }
        if longest > MAX_LINE {
            return Poll::Ready(Some(Err(LimitExceeded::new("a line of the stream is longer than 4 MiB").into())));
        }
        Poll::Ready(Some(Ok(frame)))
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
    match limit {
        Some(limit) => tokio::select! {
            () = tokio::time::sleep(limit) => {}
            () = after_signal(shutdown) => {}
        },
        None => after_signal(shutdown).await,
    }
}

/// Waits for a signal, and then for the time that remains for a request.
pub(super) async fn after_signal(shutdown: &Shutdown) {
    shutdown.requested().await;
    tokio::time::sleep(LIMIT_AFTER_SIGNAL).await;
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

    /// Answers with a head and a body that never arrives.
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
        // Responses to these may be silent for any time.
        ask(&deadline, "/api/v1/pods?watch=true&timeoutSeconds=290").await.unwrap();
        ask(&deadline, "/api/v1/namespaces/a/pods/b/log?&container=c&follow=true").await.unwrap();
    }

    /// Answers with `count` chunks of 1 MiB, none of which ends a line; returns how many bytes of the body arrive.
    async fn read_endless(uri: &str, count: usize) -> Result<usize, BoxError> {
        let endless = tower::service_fn(move |_: Request<()>| async move {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            let chunks = std::iter::repeat_n(chunk, count).map(|chunk| Ok::<_, std::io::Error>(Frame::data(chunk)));
            Ok::<_, BoxError>(Response::new(StreamBody::new(futures::stream::iter(chunks))))
        });
        let mut timed = Deadline { limit: None, shutdown: Shutdown::never() }.layer(endless);
        let answer = timed.call(Request::get(uri).body(()).unwrap()).await?;
        Ok(answer.into_body().collect().await?.to_bytes().len())
    }

    #[tokio::test]
    async fn a_response_without_end_is_given_up_at_its_limit() {
        for (uri, allowed, limit) in [
            ("/api/v1/pods?limit=500", 32, "the response is larger than 32 MiB"),
            ("/api/v1/pods?watch=true", 4, "a line of the stream is longer than 4 MiB"),
            ("/api/v1/namespaces/a/pods/b/log?follow=true", 4, "a line of the stream is longer than 4 MiB"),
        ] {
            assert_eq!(read_endless(uri, allowed).await.unwrap(), allowed << 20, "{uri}");
            let error = read_endless(uri, allowed + 1).await.unwrap_err();
            assert!(error.is::<LimitExceeded>() && error.to_string() == limit, "{uri}: {error}");
        }
    }

    #[tokio::test]
    async fn lines_of_a_stream_are_counted_across_chunks() {
        let chunk = [vec![b'x'; 3 << 20], b"\n".to_vec(), vec![b'y'; 1 << 20]].concat();
        let chunks = [chunk.clone(), chunk.clone(), vec![b'z'; 4 << 20]];
        let frames = chunks.map(|chunk| Ok::<_, std::io::Error>(Frame::data(Bytes::from(chunk))));
        let mut body = LimitedLines::new(StreamBody::new(futures::stream::iter(frames)));
        let mut accepted = Vec::new();
        while let Some(frame) = body.frame().await {
            accepted.push(frame.is_ok());
        }
        assert_eq!(accepted, [true, true, false], "4 MiB, 4 MiB, 5 MiB");
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
