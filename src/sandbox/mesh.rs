//! The data plane: real sockets on loopback that behave as a pod's port behind its sidecar does.

use super::app::{self, App, BoxStream};
use super::policy::{Config, Place};
use super::tasks::Tasks;
use crate::domain::mesh::MtlsMode;
use anyhow::{Context, Result};
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// First bytes of a TLS record with a handshake in it; Envoy's inspector waits for as many bytes as this header has.
const RECORD_HEADER: usize = 5;
/// More than any `ClientHello` that a client here sends.
const LONGEST_HELLO: usize = 16 * 1024;

/// One port of one pod.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) place: Place,
    /// Whether the mesh takes the port for HTTP.
    pub(super) http: bool,
    pub(super) app: App,
    pub(super) identity: Arc<ServerConfig>,
    /// Where it listens, once it does.
    pub(super) socket: OnceLock<SocketAddr>,
}

/// What the first bytes of a connection are.
enum Opening {
    Plaintext,
    /// TLS; `true` when the client names one of the mesh's protocols.
    Tls(bool),
}

impl Endpoint {
    /// Serves one connection as it is answered while `config` is in force.
    async fn serve(&self, stream: TcpStream, config: &Config) {
        let Place { pod, target_port, .. } = &self.place;
        if !pod.data_plane.is_meshed() || !pod.capture.covers(*target_port) {
            return self.app.serve(Box::new(stream), false, self.http).await;
        }
        let mode = config.mode(&self.place);
        if mode == MtlsMode::Disable {
            return self.app.serve(Box::new(stream), true, self.http).await;
        }
        match (inspect(&stream).await, mode) {
            (None, _) => {}
            (Some(Opening::Plaintext), MtlsMode::Strict) => app::reset(stream),
            (Some(Opening::Tls(false)), MtlsMode::Permissive) if self.http => app::reset(stream),
            (Some(Opening::Plaintext | Opening::Tls(false)), MtlsMode::Permissive | MtlsMode::Disable) => {
                self.app.serve(Box::new(stream), true, self.http).await;
            }
            (Some(Opening::Tls(_)), _) => {
                // A handshake without the mesh's certificate fails here, and rustls has sent its alert by then.
                if let Ok(stream) = TlsAcceptor::from(Arc::clone(&self.identity)).accept(stream).await {
                    self.app.serve(Box::new(stream), true, self.http).await;
                }
            }
        }
    }
}

/// Looks at the first bytes without taking them; `None` when the client hung up before.
async fn inspect(stream: &TcpStream) -> Option<Opening> {
    let mut bytes = vec![0; LONGEST_HELLO];
    loop {
        let seen = stream.peek(&mut bytes).await.ok().filter(|seen| *seen > 0)?;
        if seen >= RECORD_HEADER {
            if bytes[0] != 0x16 || bytes[1] != 3 {
                return Some(Opening::Plaintext);
            }
            if let Some(opening) = hello(&bytes[..seen]) {
                return Some(opening);
            }
        }
        // A short peek returns at once while the rest is on its way.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a whole `ClientHello` says; `None` while it is incomplete.
fn hello(mut bytes: &[u8]) -> Option<Opening> {
    let mut acceptor = Acceptor::default();
    if acceptor.read_tls(&mut bytes).is_err() {
        return Some(Opening::Plaintext);
    }
    match acceptor.accept() {
        Ok(None) => None,
        Ok(Some(accepted)) => {
            let hello = accepted.client_hello();
            let mesh = hello.alpn().is_some_and(|mut names| names.any(|name| name.starts_with(b"istio")));
            Some(Opening::Tls(mesh))
        }
        Err(_) => Some(Opening::Plaintext),
    }
}

/// The two faces of an address of the cluster.
#[derive(Debug, Clone, Copy)]
struct Sockets {
    /// As clients outside the mesh reach it.
    direct: SocketAddr,
    /// As clients in the mesh reach it: through their own sidecar.
    meshed: SocketAddr,
}

/// Where the node finds a pod's or Service's socket.
#[derive(Debug)]
pub(super) struct DataPlane {
    in_force: watch::Receiver<Arc<Config>>,
    outbound: Outbound,
    addresses: BTreeMap<(Ipv4Addr, u16), Sockets>,
    refused: SocketAddr,
    /// Bound and never listening: nobody else can take the port that `refused` names.
    _refusing: TcpSocket,
}

impl DataPlane {
    pub(super) fn new(in_force: watch::Receiver<Arc<Config>>, identity: Arc<ClientConfig>) -> Result<Self> {
        let refusing = TcpSocket::new_v4()?;
        refusing.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let refused = refusing.local_addr()?;
        let outbound = Outbound { in_force: in_force.clone(), identity };
        Ok(Self { in_force, outbound, addresses: BTreeMap::new(), refused, _refusing: refusing })
    }

    /// Listens for a pod's port.
    pub(super) async fn add_pod(
        &mut self,
        address: Ipv4Addr,
        endpoint: &Arc<Endpoint>,
        tasks: &Arc<Tasks>,
    ) -> Result<()> {
        let sockets = self.listen((address, endpoint.place.target_port), vec![Arc::clone(endpoint)], tasks).await?;
        // An endpoint is added once; a second socket would serve it just as well.
        let _ = endpoint.socket.set(sockets.direct);
        Ok(())
    }

    /// Listens for a Service's port; each new connection goes to one of its endpoints.
    pub(super) async fn add_service(
        &mut self,
        address: (Ipv4Addr, u16),
        endpoints: Vec<Arc<Endpoint>>,
        tasks: &Arc<Tasks>,
    ) -> Result<()> {
        if !endpoints.is_empty() {
            self.listen(address, endpoints, tasks).await?;
        }
        Ok(())
    }

    async fn listen(
        &mut self,
        address: (Ipv4Addr, u16),
        endpoints: Vec<Arc<Endpoint>>,
        tasks: &Arc<Tasks>,
    ) -> Result<Sockets> {
        let direct = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let meshed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sockets = Sockets { direct: direct.local_addr()?, meshed: meshed.local_addr()? };
        self.addresses.insert(address, sockets);
        let choose = move || Arc::clone(&endpoints[rand::random_range(0..endpoints.len())]);

        let (in_force, connections, pick) = (self.in_force.clone(), Arc::clone(tasks), choose.clone());
        tasks.spawn(async move {
            while let Ok((stream, _)) = direct.accept().await {
                let (endpoint, config) = (pick(), Arc::clone(&in_force.borrow()));
                connections.spawn(async move { endpoint.serve(stream, &config).await });
            }
        });
        let (outbound, connections) = (self.outbound.clone(), Arc::clone(tasks));
        tasks.spawn(async move {
            while let Ok((stream, _)) = meshed.accept().await {
                let (outbound, endpoint) = (outbound.clone(), choose());
                connections.spawn(async move { outbound.carry(stream, &endpoint).await });
            }
        });
        Ok(sockets)
    }

    /// The socket behind an address of the cluster, as a pod sees it that is in the mesh or is not; `None` when nothing
    /// of the sandbox has that address.
    pub(super) fn socket(&self, address: Ipv4Addr, port: u16, meshed: bool) -> Option<SocketAddr> {
        let is_known = self.addresses.keys().any(|(known, _)| *known == address);
        let sockets = self.addresses.get(&(address, port));
        is_known.then(|| sockets.map_or(self.refused, |sockets| if meshed { sockets.meshed } else { sockets.direct }))
    }

    /// A socket that refuses.
    pub(super) fn refused(&self) -> SocketAddr {
        self.refused
    }
}

/// The client half of the mesh: what a sidecar does with a connection that its application opens.
#[derive(Debug, Clone)]
struct Outbound {
    in_force: watch::Receiver<Arc<Config>>,
    identity: Arc<ClientConfig>,
}

impl Outbound {
    /// Carries a plaintext connection to an endpoint, in mutual TLS where rule or mode ask for it.
    async fn carry(&self, mut stream: TcpStream, endpoint: &Endpoint) {
        let Ok(mut upstream) = self.connect(endpoint).await else { return app::reset(stream) };
        match tokio::io::copy_bidirectional(&mut stream, &mut upstream).await {
            Ok(_) => {}
            Err(_) if endpoint.http => app::local_reply(stream).await,
            Err(_) => app::reset(stream),
        }
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<BoxStream> {
        let socket = endpoint.socket.get().context("the endpoint does not listen")?;
        let stream = TcpStream::connect(socket).await?;
        let mtls = self.in_force.borrow().client_uses_mtls(&endpoint.place);
        if !mtls {
            return Ok(Box::new(stream));
        }
        let name = rustls::pki_types::ServerName::try_from("mesh.invalid")?;
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.identity)).connect(name, stream).await?))
    }
}
