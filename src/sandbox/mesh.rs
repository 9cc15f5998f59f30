//! The data plane: sockets on loopback, each of which behaves like a pod's port behind its sidecar.

use super::access_log::{AccessLog, LoggedCalls, LoggedConnection};
use super::app::{self, App, BoxStream};
use super::loopback;
use super::policy::{Config, Place};
use super::tasks::{self, Tasks};
use crate::domain::mesh::MtlsMode;
use anyhow::{Context, Result};
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Length of the header of a TLS record. Envoy's TLS inspector also waits for this many bytes.
const RECORD_HEADER: usize = 5;
/// Larger than any `ClientHello` of curl and rustls.
const LONGEST_HELLO: usize = 16 * 1024;

/// Time for the first bytes, after which the connection is closed.
const INSPECTION: Duration = Duration::from_secs(10);

/// One port of one pod, with the application behind it.
#[derive(Debug)]
pub(super) struct PodPort {
    pub(super) place: Place,
    /// Whether the sidecar treats the port as HTTP.
    pub(super) http: bool,
    pub(super) app: App,
    pub(super) identity: Arc<ServerConfig>,
    /// The access log of its sidecar.
    pub(super) access_log: AccessLog,
    /// The socket that serves it, once it is bound.
    pub(super) socket: OnceLock<SocketAddr>,
}

/// The protocol of a connection, from its first bytes.
enum Opening {
    Plaintext,
    Tls {
        /// Whether the client offers one of Istio's ALPN protocols.
        mesh: bool,
        /// The name that the client requests.
        server_name: Option<String>,
    },
}

impl PodPort {
    /// Serves one connection in the mode that `config` sets.
    async fn serve(&self, stream: TcpStream, config: &Config) {
        let Place { pod, target_port, .. } = &self.place;
        if !pod.data_plane.is_meshed() || !pod.capture.covers(*target_port) {
            return self.app.serve_directly(Box::new(stream), self.http).await;
        }
        let Ok(peer) = stream.peer_addr() else { return };
        let calls = config.logged_calls(&pod.namespace);
        let logged = |server_name| self.access_log.connection(peer, server_name, calls != LoggedCalls::None);
        let mode = config.mode(&self.place);
        if mode == MtlsMode::Disable {
            return self.pass_on(stream, logged(None)).await;
        }
        match (inspect(&stream).await, mode) {
            (None, _) => {}
            (Some(Opening::Plaintext), MtlsMode::Strict) => app::reset(stream),
            (Some(Opening::Plaintext), _) => self.pass_on(stream, logged(None)).await,
            (Some(Opening::Tls { mesh: false, .. }), MtlsMode::Permissive) if self.http => app::reset(stream),
            (Some(Opening::Tls { mesh: false, server_name }), MtlsMode::Permissive | MtlsMode::Disable) => {
                self.pass_on(stream, logged(server_name)).await;
            }
            (Some(Opening::Tls { .. }), _) => {
                // A handshake without a certificate of the mesh fails here, after rustls has sent its alert.
                if let Ok(stream) = TlsAcceptor::from(Arc::clone(&self.identity)).accept(stream).await {
                    let name = Some(self.place.server_name());
                    let sidecar = self.access_log.connection(peer, name, calls == LoggedCalls::All);
                    self.app.serve_behind(Box::new(stream), sidecar, self.http).await;
                }
            }
        }
    }

    async fn pass_on(&self, stream: TcpStream, sidecar: LoggedConnection) {
        self.app.serve_behind(Box::new(stream), sidecar, self.http).await;
    }
}

/// Peeks at the first bytes; `None` if the client closes the connection first, or does not send them within [`INSPECTION`].
async fn inspect(stream: &TcpStream) -> Option<Opening> {
    tokio::time::timeout(INSPECTION, first_bytes(stream)).await.ok().flatten()
}

async fn first_bytes(stream: &TcpStream) -> Option<Opening> {
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
        if stream.ready(Interest::READABLE).await.ok()?.is_read_closed() {
            // The client has closed its side: the rest will not arrive.
            return None;
        }
        // `peek` returns at once while the rest is in transit.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The protocol that a `ClientHello` offers; `None` while it is incomplete.
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
            Some(Opening::Tls { mesh, server_name: hello.server_name().map(str::to_owned) })
        }
        Err(_) => Some(Opening::Plaintext),
    }
}

/// Connects to a socket from the loopback address of the pod at an address of the cluster.
pub(super) async fn connect_as(pod: Ipv4Addr, socket: SocketAddr) -> std::io::Result<TcpStream> {
    let client = TcpSocket::new_v4()?;
    client.bind((loopback::address(pod), 0).into())?;
    client.connect(socket).await
}

/// The two sockets of an address of the cluster.
#[derive(Debug, Clone, Copy)]
struct Sockets {
    /// For clients outside the mesh.
    direct: SocketAddr,
    /// For clients in the mesh: their own sidecar, which forwards to `direct`.
    meshed: SocketAddr,
}

/// The configuration in effect, and connections between two proxies of the mesh that are on their way.
///
/// All proxies of the sandbox take a change at the same moment. A connection that is opened before it and accepted after it
/// has the earlier configuration at both ends; otherwise a delay of this process would lose a call.
#[derive(Debug, Clone)]
struct InForce {
    config: watch::Receiver<Arc<Config>>,
    opened: Arc<Mutex<BTreeMap<SocketAddr, Arc<Config>>>>,
}

impl InForce {
    fn new(config: watch::Receiver<Arc<Config>>) -> Self {
        Self { config, opened: Arc::default() }
    }

    /// Opens a connection from a loopback address to another proxy. Returns the configuration that both ends have.
    async fn open(&self, source: IpAddr, socket: SocketAddr) -> Result<(TcpStream, Arc<Config>)> {
        let client = TcpSocket::new_v4()?;
        client.bind((source, 0).into())?;
        let (address, config) = (client.local_addr()?, Arc::clone(&self.config.borrow()));
        self.lock().insert(address, Arc::clone(&config));
        match client.connect(socket).await {
            Ok(stream) => Ok((stream, config)),
            Err(error) => {
                self.lock().remove(&address);
                Err(error.into())
            }
        }
    }

    /// The configuration of an accepted connection.
    fn accepted(&self, stream: &TcpStream) -> Arc<Config> {
        let opened = stream.peer_addr().ok().and_then(|address| self.lock().remove(&address));
        opened.unwrap_or_else(|| Arc::clone(&self.config.borrow()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Config>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sockets of all pods and Services, by address and port.
#[derive(Debug)]
pub(super) struct Network {
    in_force: InForce,
    outbound: Outbound,
    addresses: BTreeMap<(Ipv4Addr, u16), Sockets>,
    refused: SocketAddr,
    /// Sockets that accept no connection, each with the one that fills its queue.
    unreachable: Vec<(TcpListener, std::net::TcpStream)>,
    /// Bound and never listening, so that no other process can use the port of `refused`.
    _refusing: TcpSocket,
}

impl Network {
    pub(super) fn new(in_force: watch::Receiver<Arc<Config>>, identity: Arc<ClientConfig>) -> Result<Self> {
        let refusing = TcpSocket::new_v4()?;
        refusing.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let refused = refusing.local_addr()?;
        let in_force = InForce::new(in_force);
        let outbound = Outbound { in_force: in_force.clone(), identity };
        Ok(Self {
            in_force,
            outbound,
            addresses: BTreeMap::new(),
            refused,
            unreachable: Vec::new(),
            _refusing: refusing,
        })
    }

    /// Listens for a pod's port.
    pub(super) async fn add_pod(
        &mut self,
        address: Ipv4Addr,
        pod_port: &Arc<PodPort>,
        tasks: &Arc<Tasks>,
    ) -> Result<()> {
        let sockets = self.listen((address, pod_port.place.target_port), vec![Arc::clone(pod_port)], tasks).await?;
        // A pod's port is added once; if it were added again, the first socket would still serve it.
        let _ = pod_port.socket.set(sockets.direct);
        Ok(())
    }

    /// Listens for a Service's port; each new connection goes to a random port of its pods.
    pub(super) async fn add_service(
        &mut self,
        address: (Ipv4Addr, u16),
        pod_ports: Vec<Arc<PodPort>>,
        tasks: &Arc<Tasks>,
    ) -> Result<()> {
        if !pod_ports.is_empty() {
            self.listen(address, pod_ports, tasks).await?;
        }
        Ok(())
    }

    /// Adds an address at which no connection is established: the kernel drops the packets to a listener whose queue is
    /// full.
    pub(super) fn add_unreachable(&mut self, address: (Ipv4Addr, u16)) -> Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(0)?;
        let bound = listener.local_addr()?;
        self.unreachable.push((listener, std::net::TcpStream::connect(bound)?));
        self.addresses.insert(address, Sockets { direct: bound, meshed: bound });
        Ok(())
    }

    async fn listen(
        &mut self,
        address: (Ipv4Addr, u16),
        pod_ports: Vec<Arc<PodPort>>,
        running: &Arc<Tasks>,
    ) -> Result<Sockets> {
        let direct = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let meshed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let sockets = Sockets { direct: direct.local_addr()?, meshed: meshed.local_addr()? };
        self.addresses.insert(address, sockets);
        let choose = move || Arc::clone(&pod_ports[rand::random_range(0..pod_ports.len())]);

        let (in_force, connections, pick) = (self.in_force.clone(), Arc::clone(running), choose.clone());
        running.spawn(async move {
            loop {
                let stream = tasks::accept(&direct).await;
                let (pod_port, config) = (pick(), in_force.accepted(&stream));
                connections.spawn(async move { pod_port.serve(stream, &config).await });
            }
        });
        let (outbound, connections) = (self.outbound.clone(), Arc::clone(running));
        running.spawn(async move {
            loop {
                let stream = tasks::accept(&meshed).await;
                let (outbound, pod_port) = (outbound.clone(), choose());
                connections.spawn(async move { outbound.forward(stream, &pod_port).await });
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

    /// A socket address that refuses connections.
    pub(super) fn refused(&self) -> SocketAddr {
        self.refused
    }
}

/// The client sidecar: forwards the connections that its application opens.
#[derive(Debug, Clone)]
struct Outbound {
    in_force: InForce,
    identity: Arc<ClientConfig>,
}

impl Outbound {
    /// Forwards a plaintext connection to a pod's port, with mutual TLS if the `DestinationRule` or auto mTLS requires it.
    async fn forward(&self, mut stream: TcpStream, pod_port: &PodPort) {
        // The connection between the proxies has the address of the client's pod, too.
        let source = stream.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |peer| peer.ip());
        let Ok(mut upstream) = self.connect(source, pod_port).await else { return app::reset(stream) };
        match tokio::io::copy_bidirectional(&mut stream, &mut upstream).await {
            Ok(_) => {}
            Err(_) if pod_port.http => app::local_reply(stream).await,
            Err(_) => app::reset(stream),
        }
    }

    async fn connect(&self, source: IpAddr, pod_port: &PodPort) -> Result<BoxStream> {
        let socket = pod_port.socket.get().context("the pod_port does not listen")?;
        let (stream, config) = self.in_force.open(source, *socket).await?;
        if !config.client_uses_mtls(&pod_port.place) {
            return Ok(Box::new(stream));
        }
        let name = rustls::pki_types::ServerName::try_from("mesh.invalid")?;
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.identity)).connect(name, stream).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, tasks::accept(&listener).await)
    }

    #[tokio::test]
    async fn a_connection_that_is_accepted_after_a_change_has_the_earlier_configuration_at_both_ends() {
        let (sender, receiver) = watch::channel(Arc::new(Config::default()));
        let in_force = InForce::new(receiver);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stream, before) = in_force.open(Ipv4Addr::LOCALHOST.into(), address).await.unwrap();
        let after = Arc::new(Config::default());
        sender.send_replace(Arc::clone(&after));
        let accepted = in_force.accepted(&tasks::accept(&listener).await);
        assert!(Arc::ptr_eq(&accepted, &before));
        // A client outside the mesh has no configuration.
        let _outsider = TcpStream::connect(address).await.unwrap();
        assert!(Arc::ptr_eq(&in_force.accepted(&tasks::accept(&listener).await), &after));
        assert!(in_force.lock().is_empty());
    }

    #[tokio::test]
    async fn a_client_that_sends_a_byte_and_closes_its_side_is_let_go() {
        let (mut client, server) = pair().await;
        client.write_all(b"G").await.unwrap();
        client.shutdown().await.unwrap();
        let start = std::time::Instant::now();
        assert!(inspect(&server).await.is_none());
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_more_is_let_go() {
        for sent in [&b""[..], b"G", b"\x16\x03\x01\x02\x00"] {
            let (mut client, server) = pair().await;
            client.write_all(sent).await.unwrap();
            assert!(inspect(&server).await.is_none());
        }
    }
}
