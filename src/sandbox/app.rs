//! The applications behind the sidecars: the demo's services, and servers that resemble a STRICT sidecar.

use super::access_log::{LoggedConnection, LoggedRequest};
use super::clock::now;
use super::tasks;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The two shared items of the walk-through, byte for byte as the demo's service sends them.
pub(super) const SHARED_ITEMS: &str = r#"[
  {"_id": "5ccb871cfa5ab60016b33374", "owner": "userX", "type": "string", "raw": "hi", "name": "", "id": "ObiAGZaUd", "created_at": "2019-05-03T00:11:08+00:00"},
  {"_id": "5ccc51d34cfcfe00161ef710", "owner": "userX", "type": "string", "raw": "this is good", "name": "", "id": "-4kF8UeJU", "created_at": "2019-05-03T14:36:03+00:00"}
]
"#;
/// Time for the head of a request.
const HEAD: Duration = Duration::from_mins(1);
/// Envoy's response body if the application does not answer.
const UPSTREAM_DOWN: &str = "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused";

/// A plaintext connection, or the decrypted side of a mutual TLS connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Ends it with a TCP reset.
    fn reset(self: Box<Self>);
}

/// A connection of either kind.
pub(super) type BoxStream = Box<dyn Stream>;

impl Stream for TcpStream {
    fn reset(self: Box<Self>) {
        reset(*self);
    }
}

impl Stream for TlsStream<TcpStream> {
    fn reset(self: Box<Self>) {
        reset(self.into_inner().0);
    }
}

impl Stream for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset(self: Box<Self>) {
        reset(self.into_inner().0);
    }
}

/// Closes a connection with a TCP reset, without sending a byte.
pub(super) fn reset(stream: TcpStream) {
    // Without the option the kernel still sends a reset if there are unread bytes, and a normal close otherwise.
    let _ = stream.set_zero_linger();
    drop(stream);
}

/// Sends the response of the client's own sidecar when the server closes the connection after the request.
pub(super) async fn local_reply(mut stream: TcpStream) {
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\ncontent-type: text/plain\r\nserver: envoy\r\n\
         connection: close\r\n\r\n{UPSTREAM_DOWN}",
        UPSTREAM_DOWN.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// What an application does with a connection.
#[derive(Debug, Clone)]
pub(super) enum App {
    /// HTTP: the shared items under `/shareditems`, small JSON elsewhere.
    Web(String),
    /// HTTP: counts of the demo's load client under `/stats`.
    Stats(Arc<Stats>),
    /// Sends back every line.
    Echo,
    /// Reads and never answers.
    Silent,
    /// Answers with headers that are not UTF-8 and too long for curl.
    Rude,
    /// Reads a byte, then resets.
    Resetting,
    /// Reads what comes first, then closes, as a database does to a request that it does not understand.
    Closing,
    /// Requires mutual TLS itself, with a certificate of another certificate authority.
    OwnTls(Arc<ServerConfig>),
    /// Nothing listens behind the sidecar.
    Dead,
}

impl App {
    /// Serves one connection behind a sidecar, which adds its headers and writes its access log. `http` is whether it treats
    /// the port as HTTP.
    pub(super) async fn serve_behind(&self, stream: BoxStream, sidecar: LoggedConnection, http: bool) {
        if http {
            return self.serve(stream, Some(&sidecar), http).await;
        }
        self.serve(stream, Some(&sidecar), http).await;
        sidecar.ended();
    }

    /// Serves one connection without a sidecar.
    pub(super) async fn serve_directly(&self, stream: BoxStream, http: bool) {
        self.serve(stream, None, http).await;
    }

    async fn serve(&self, mut stream: BoxStream, sidecar: Option<&LoggedConnection>, http: bool) {
        match self {
            Self::Web(_) | Self::Stats(_) => self.serve_http(stream, sidecar).await,
            Self::Dead if http => self.serve_http(stream, sidecar).await,
            Self::Dead => stream.reset(),
            Self::Echo => echo(stream).await,
            Self::Silent => {
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
            Self::Rude => {
                let _ = stream.read(&mut [0; 1024]).await;
                let long = vec![b'a'; 150_000];
                let answer = [b"HTTP/1.1 200 OK\r\nServer: caf\xe9\r\nX-Long: ", &long[..], b"\r\n\r\n"].concat();
                // The client may close the connection before the end of the response.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
            Self::Resetting => {
                let _ = stream.read(&mut [0; 1024]).await;
                stream.reset();
            }
            Self::Closing => {
                let _ = stream.read(&mut [0; 1024]).await;
                // The client may have closed the connection.
                let _ = stream.shutdown().await;
            }
            Self::OwnTls(config) => own_tls(stream, config).await,
        }
    }

    async fn serve_http(&self, stream: BoxStream, sidecar: Option<&LoggedConnection>) {
        let answer = service_fn(move |request: Request<Incoming>| {
            let mut response = self.answer(&request);
            if let Some(sidecar) = sidecar {
                log_request(sidecar, &request, &response);
                response.headers_mut().insert("server", http::HeaderValue::from_static("istio-envoy"));
                if !matches!(self, Self::Dead) {
                    let time = http::HeaderValue::from_static("1");
                    response.headers_mut().insert("x-envoy-upstream-service-time", time);
                }
            }
            async move { Ok::<_, Infallible>(response) }
        });
        // A client may close the connection, or send something other than HTTP.
        let _ = tasks::http(HEAD).serve_connection(TokioIo::new(stream), answer).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let (status, kind, body) = match self {
            Self::Stats(stats) => {
                if path == "/reset" {
                    stats.clear();
                }
                (200, "application/json", if path == "/stats" { stats.to_json() } else { String::new() })
            }
            Self::Web(_) if path == "/shareditems" => (200, "application/json", SHARED_ITEMS.to_owned()),
            Self::Web(pod) => {
                let version = format!("{:?}", request.version());
                let body = json!({"pod": pod, "path": path, "proto": version, "client_certificate": ""});
                (200, "application/json", format!("{body}\n"))
            }
            _ => (503, "text/plain", UPSTREAM_DOWN.to_owned()),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
        response
    }
}

/// Writes the line of the sidecar's access log.
fn log_request(sidecar: &LoggedConnection, request: &Request<Incoming>, response: &Response<Full<Bytes>>) {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
    sidecar.request(&LoggedRequest {
        method: request.method().as_str(),
        path: request.uri().path(),
        version: format!("{:?}", request.version()),
        host: header("host"),
        user_agent: header("user-agent"),
        status: response.status().as_u16(),
        size: usize::try_from(response.body().size_hint().lower()).unwrap_or_default(),
    });
}

async fn echo(stream: BoxStream) {
    let (reader, mut writer) = tokio::io::split(stream);
    // Limits the memory that an endless line can use.
    let mut lines = BufReader::new(reader).take(1 << 20);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        if writer.write_all(&line).await.is_err() {
            return;
        }
        line.clear();
    }
    let _ = writer.shutdown().await;
}

/// Closes a plaintext connection without sending a byte, as Go's TLS server does; rustls would send an alert.
async fn own_tls(mut stream: BoxStream, config: &Arc<ServerConfig>) {
    let mut first = [0; 1024];
    let Ok(read) = stream.read(&mut first).await else { return };
    if first[0] != 0x16 {
        let _ = stream.shutdown().await;
        return;
    }
    let (reader, writer) = tokio::io::split(stream);
    let whole = tokio::io::join(first[..read].chain(reader), writer);
    if let Ok(mut tls) = TlsAcceptor::from(Arc::clone(config)).accept(whole).await {
        let _ =
            tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nhello over TLS\n").await;
        let _ = tls.shutdown().await;
    }
}

/// What the demo's load client counts.
#[derive(Debug, Default)]
pub(super) struct Stats(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    ok: u64,
    failed: u64,
    reasons: BTreeMap<String, u64>,
    failures: Vec<String>,
}

impl Stats {
    pub(super) fn count(&self, outcome: Result<(), String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => counts.ok += 1,
            Err(reason) => {
                counts.failed += 1;
                if counts.failures.len() < 100 {
                    counts.failures.push(format!("{} {reason}", now()));
                }
                *counts.reasons.entry(reason).or_default() += 1;
            }
        }
    }

    fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Counts::default();
    }

    fn to_json(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { ok, failed, reasons, failures } = &*counts;
        format!("{}\n", json!({"ok": ok, "failed": failed, "reasons": reasons, "failures": failures}))
    }
}

/// Sends one GET request on a new connection; any status other than 200 is an error.
pub(super) async fn call(mut stream: TcpStream, host: &str, path: &str) -> Result<(), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(|error| error.to_string())?;
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if status.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(String::from_utf8_lossy(status).into_owned()) }
}
