//! Sends a GET to a port of a proxy through a port-forward, for the evidence of sidecars and ztunnels.

use crate::cluster::connect::Cluster;
use crate::cluster::error::{Access, ClusterError, code, explain};
use crate::cluster::request::attempt;
use http_body_util::{BodyExt, Empty, Limited};
pub(super) use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::time::Duration;

/// Time for one proxy. It usually answers in milliseconds; one that hangs must not delay the verdict.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest response that is read. A listener of a thousand ports takes a few MiB.
const LARGEST_DUMP: usize = 64 * 1024 * 1024;

/// Why a proxy's configuration is not available.
pub(super) enum ProxyError {
    /// The right to port-forward is missing.
    Forbidden(ClusterError),
    Failed(String),
}

impl std::fmt::Display for ProxyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forbidden(error) => f.write_str(&error.message),
            Self::Failed(message) => f.write_str(message),
        }
    }
}

/// The response of a pod's `port` to a GET.
pub(super) async fn get(
    cluster: &Cluster,
    namespace: &str,
    (pod, port): (&str, u16),
    path: &str,
) -> Result<Bytes, ProxyError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    // API servers before 1.35 need the verb `get`, later ones `create`.
    let access = Access::new("create", "", "pods/portforward", namespace);
    let ports = [port];
    let answer = tokio::time::timeout(TIMEOUT, async {
        let forwarder = attempt(access, &mut || api.portforward(pod, &ports)).await;
        let mut forwarder = forwarder.map_err(|error| match code(&error) {
            401 | 403 => ProxyError::Forbidden(explain(access, &error)),
            _ => ProxyError::Failed(explain(access, &error).message),
        })?;
        let Some(stream) = forwarder.take_stream(port) else {
            return Err(ProxyError::Failed("the port-forward has no stream".to_owned()));
        };
        let answer = request(stream, path).await;
        forwarder.abort();
        answer.map_err(|error| ProxyError::Failed(format!("port {port}: {error}")))
    });
    answer.await.unwrap_or_else(|_| Err(ProxyError::Failed(format!("no answer within {} s", TIMEOUT.as_secs()))))
}

/// Sends one GET. The body ends by its length, because Envoy closes the connection a second later.
async fn request<S>(stream: S, path: &str) -> Result<Bytes, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let message = |error: hyper::Error| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(message)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path).header(http::header::HOST, "localhost").body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(message)?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status()));
    }
    let body = Limited::new(response.into_body(), LARGEST_DUMP).collect().await;
    connection.abort();
    Ok(body.map_err(|error| error.to_string())?.to_bytes())
}
