//! `-v`: passes a line about each request to the API server to a sink, in the form of `kubectl -v=6`, without headers and
//! bodies.

use http::{Request, Response};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tower::{BoxError, Layer, Service};

/// Receives the lines, because `cluster` does not print.
pub type Sink = Arc<dyn Fn(&str) + Send + Sync>;

/// A layer that reports every request; `None` reports nothing.
#[derive(Clone)]
pub struct Trace(pub Option<Sink>);

impl<S> Layer<S> for Trace {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, sink: self.0.clone() }
    }
}

/// A service that reports its requests.
#[derive(Clone)]
pub struct Traced<S> {
    inner: S,
    sink: Option<Sink>,
}

impl<S, B, R> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = futures::future::BoxFuture<'static, Result<Response<R>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request_line = self.sink.as_ref().map(|_| format!("{} {}", request.method(), request.uri()));
        let sink = self.sink.clone();
        let start = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await.map_err(Into::into);
            if let (Some(sink), Some(request_line)) = (sink, request_line) {
                let outcome = match &answer {
                    Ok(response) => response.status().to_string(),
                    Err(error) => error.to_string(),
                };
                sink(&format!("{request_line} {outcome} in {} ms", start.elapsed().as_millis()));
            }
            answer
        })
    }
}
