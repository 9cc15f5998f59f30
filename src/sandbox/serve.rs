//! Serves the API over HTTPS on loopback, for other processes such as kubectl.

use super::api::Api;
use super::scenario::NAMESPACE;
use super::server::status_response;
use super::status::ApiStatus;
use super::tasks::{self, Tasks};
use super::tls::Authority;
use crate::istio::yaml;
use anyhow::{Context, Result};
use http::{Request, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::Service;

/// Time for a TLS handshake; then the connection is closed.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Time for the head of a request, and for an idle connection; then the connection is closed.
const HEAD: Duration = Duration::from_secs(30);

/// Most connections at a time. A process may usually open 1,024 files, and each pod needs several.
const MAX_CONNECTIONS: usize = 256;

/// A sandbox that is served; dropping it stops the server.
#[derive(Debug)]
pub struct Served {
    /// URL of the API server.
    pub url: String,
    /// A kubeconfig in YAML. It holds a token: only the owner may read a file with it.
    pub kubeconfig: String,
    _stop: watch::Sender<()>,
}

pub(super) async fn serve(api: Api, authority: &Authority, running: &Arc<Tasks>, port: u16) -> Result<Served> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| format!("the sandbox cannot listen on 127.0.0.1:{port}"))?;
    let url = format!("https://{}", listener.local_addr()?);
    let token: Arc<str> = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()).into();
    let kubeconfig = kubeconfig(&url, &token, &authority.pem)?;
    let acceptor = TlsAcceptor::from(authority.api_server()?);
    let (stop, stopped) = watch::channel(());
    let connections = Arc::clone(running);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accept = async move {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = tasks::accept(&listener).await;
            let connection = connection(api.clone(), acceptor.clone(), Arc::clone(&token), stream);
            connections.spawn(until(stopped.clone(), async move {
                connection.await;
                drop(place);
            }));
        }
    };
    running.spawn(until(stop.subscribe(), accept));
    Ok(Served { url, kubeconfig, _stop: stop })
}

/// Runs until the sender of `stopped` is gone.
async fn until(mut stopped: watch::Receiver<()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.changed() => {}
    }
}

async fn connection(api: Api, acceptor: TlsAcceptor, token: Arc<str>, stream: TcpStream) {
    // Small responses are sent without delay.
    let _ = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let answer = service_fn(move |request: Request<Incoming>| {
        let known = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let known = known.and_then(|value| value.strip_prefix("Bearer ")) == Some(&*token);
        let mut api = api.clone();
        async move { if known { api.call(request).await } else { Ok(status_response(&ApiStatus::unauthorized())) } }
    });
    // A client may close the connection.
    let _ = tasks::http(HEAD).serve_connection(TokioIo::new(stream), answer).await;
}

fn kubeconfig(url: &str, token: &str, root: &str) -> Result<String> {
    let name = "secure-traffic-sandbox";
    let root = ByteString(root.as_bytes().to_vec());
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": root}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": NAMESPACE}}],
        "current-context": name,
    });
    yaml::write(&config).context("the sandbox's kubeconfig")
}
