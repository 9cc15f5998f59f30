//! A cluster in one process: an API server over one store, a node that runs curl, and a mesh of real sockets.
//!
//! The demo and the tests run on it. The rest of the tool uses it through `kube::Client`, like any other cluster.
//!
//! ```text
//!  kube::Client ──┐                      ┌─ table, discovery, selector
//!                 ├─▶ api ─▶ verbs, write┼─ fields (field owners), schema, injection
//!  serve (HTTPS) ─┘            │         └─ store ──▶ policy (the configuration in effect, after a delay)
//!                              ▼                         │
//!                            node ─▶ curl ─▶ sockets ◀─ mesh ─▶ app
//! ```
//!
//! It does not support access reviews, exec, attach, port-forward, strategic merge patch, protobuf, garbage collection,
//! finalizers and scheduling. In a pod in the mesh, curl goes through a client sidecar that follows `DestinationRule`s
//! and has the identity of the namespace's `default` service account.

mod access_log;
mod api;
mod app;
mod clock;
mod curl;
mod discovery;
mod fields;
mod fixtures;
mod injection;
mod log;
mod loopback;
mod mesh;
mod node;
mod policy;
mod resource;
mod scenario;
mod schema;
mod selector;
mod serve;
mod server;
mod status;
mod store;
mod table;
mod tasks;
mod tls;
mod verbs;
mod write;

pub use api::Api;
pub use fixtures::Lookalike;
pub use scenario::State;
pub use serve::Served;

use crate::temporary_folder::TemporaryFolder;
use anyhow::{Context as _, Result, anyhow};
use app::Stats;
use fixtures::{DEMO, Installer, SHOP_SERVICES, Spec};
use mesh::Network;
use node::{Node, ProxyLogs};
use policy::Config;
use resource::{Catalogue, DESTINATION_RULE, MESH_POLICY, PEER_AUTHENTICATION, Resource};
use scenario::NAMESPACE;
use schema::Schemas;
use serde_json::{Value, json};
use server::ApiServer;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tasks::Tasks;
use tls::Authority;
use tokio::sync::watch;
use tower::{Layer, Service};
use write::{PatchKind, Validation, WriteRequest, Writer};

/// Interval between two calls of the demo's load client.
const LOAD_INTERVAL: Duration = Duration::from_millis(50);

/// Interval between two calls of the client outside the mesh.
const PLAINTEXT_INTERVAL: Duration = Duration::from_secs(1);

/// The configuration of a sandbox before it starts.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    state: State,
    specs: Vec<Spec>,
    delay: Duration,
}

impl Builder {
    /// Adds a look-alike server.
    pub fn with(mut self, lookalike: Lookalike) -> Self {
        self.specs.push(lookalike.spec());
        self
    }

    /// Adds the namespace `shop`, with a workload that has no sidecar.
    pub fn with_shop(mut self) -> Self {
        self.specs.extend(SHOP_SERVICES);
        self
    }

    /// Sets the time from a write until it takes effect; the default is 100 ms.
    pub fn propagation(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Starts the sandbox.
    pub async fn start(self) -> Result<Sandbox> {
        let tasks = Arc::new(Tasks::new());
        let store = Arc::new(Store::new());
        let catalogue = Catalogue::of(self.state);
        let authority = Authority::new("cluster.local")?;
        let foreign = Authority::new("cluster.local")?;
        let stats = Arc::new(Stats::default());
        let schemas = Schemas::load()?;
        let applications = self.specs.iter().map(Spec::namespace).collect();
        fixtures::install_mesh(&store, &schemas, &catalogue.0, &authority.pem, &applications)?;
        let writer = Writer { store: Arc::clone(&store), schemas };

        let (sender, in_force) = watch::channel(Arc::new(Config::default()));
        let identity = authority.client(&format!("spiffe://cluster.local/ns/{NAMESPACE}/sa/default"))?;
        let mut network = Network::new(in_force, identity)?;
        let mut proxies = ProxyLogs::new();
        let mut installer = Installer {
            store: &store,
            network: &mut network,
            tasks: &tasks,
            authority: &authority,
            foreign: &foreign,
            stats: &stats,
            proxies: &mut proxies,
            pods: 0,
        };
        for (spec, index) in self.specs.iter().zip(0..) {
            installer.install(spec, index).await?;
        }
        fixtures::install_legacy_client(&store)?;
        for (resource, object) in policies(self.state) {
            applied(&writer, resource, &object)?;
        }
        sender.send_replace(Arc::new(Config::read(&store, self.state)));
        tasks.spawn(policy::propagate(Arc::clone(&store), self.state, self.delay, sender));

        let network = Arc::new(network);
        tasks.spawn(load(Arc::clone(&store), Arc::clone(&network), stats));
        tasks.spawn(call_in_plaintext(Arc::clone(&store), Arc::clone(&network)));
        let directory = TemporaryFolder::new("sandbox").context("a directory for the sandbox's pods")?;
        let path = directory.path().to_owned();
        let node = Arc::new(Node::new(Arc::clone(&store), network, Arc::clone(&tasks), path, proxies));
        let api = Api(Arc::new(ApiServer { store, writer, node, catalogue }));
        Ok(Sandbox { api, authority, tasks, directory })
    }
}

/// A cluster in one process. Dropping it ends every task, socket and child process.
#[derive(Debug)]
pub struct Sandbox {
    api: Api,
    authority: Authority,
    tasks: Arc<Tasks>,
    /// Directory of the termination messages. The node does not own it, because tasks may hold the node longer.
    directory: TemporaryFolder,
}

impl Sandbox {
    /// Starts a sandbox with the demo application in it.
    pub async fn start(state: State) -> Result<Self> {
        Self::builder(state).start().await
    }

    /// A sandbox to which look-alike servers can be added.
    pub fn builder(state: State) -> Builder {
        Builder { state, specs: DEMO.to_vec(), delay: Duration::from_millis(100) }
    }

    /// A client in this process. Must be called within the runtime.
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.api.clone(), NAMESPACE)
    }

    /// A client in this process, whose requests pass through layers.
    pub fn client_through<L, B>(&self, layer: &L) -> kube::Client
    where
        L: Layer<Api>,
        L::Service: Service<http::Request<kube::client::Body>, Response = http::Response<B>> + Clone + Send + 'static,
        <L::Service as Service<http::Request<kube::client::Body>>>::Future: Send + 'static,
        <L::Service as Service<http::Request<kube::client::Body>>>::Error: Into<tower::BoxError>,
        B: hyper::body::Body<Data = hyper::body::Bytes> + Send + 'static,
        B::Error: Into<tower::BoxError>,
    {
        kube::Client::new(layer.layer(self.api.clone()), NAMESPACE)
    }

    /// The folder that must be removed where the process ends without dropping the sandbox.
    pub fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// Serves the API over HTTPS on `127.0.0.1:port`; 0 takes any free port.
    pub async fn serve(&self, port: u16) -> Result<Served> {
        serve::serve(self.api.clone(), &self.authority, &self.tasks, port).await
    }

    /// The namespace of the demo application.
    pub fn namespace(&self) -> &'static str {
        NAMESPACE
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

/// The policies and rules of a state.
fn policies(state: State) -> Vec<(&'static Resource, Value)> {
    match state {
        State::Permissive => Vec::new(),
        State::Legacy => {
            let spec = json!({"peers": [{"mtls": {"mode": "PERMISSIVE"}}]});
            vec![(&MESH_POLICY, json!({"metadata": {"name": "default"}, "spec": spec}))]
        }
        State::Strict => {
            let rule = |spec: &Spec| {
                let spec_of_rule = json!({"host": spec.host(), "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}});
                (&DESTINATION_RULE, json!({"metadata": {"name": spec.name()}, "spec": spec_of_rule}))
            };
            let policy = json!({"metadata": {"name": "default"}, "spec": {"mtls": {"mode": "STRICT"}}});
            DEMO.iter().map(rule).chain([(&PEER_AUTHENTICATION, policy)]).collect()
        }
    }
}

/// Applies an object with the field manager of this tool.
fn applied(writer: &Writer, resource: &'static Resource, object: &Value) -> Result<()> {
    let request = WriteRequest {
        resource,
        version: resource.versions[0].to_owned(),
        namespace: if resource.namespaced { NAMESPACE.to_owned() } else { String::new() },
        name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        manager: "secure-traffic".to_owned(),
        dry_run: false,
        force: false,
        validation: Validation::Strict,
    };
    let written = writer.patch(&request, PatchKind::Apply, object);
    written.map(drop).map_err(|status| anyhow!("{status:?}"))
}

/// The load client of `context-scraper`: calls `boards` through its sidecar, each time on a new connection.
async fn load(store: Arc<Store>, network: Arc<Network>, stats: Arc<Stats>) {
    let Some(socket) = socket_of_boards(&store, &network, true) else { return };
    let pod = store.list(&resource::POD, Some(NAMESPACE)).0.into_iter().find(|pod| is_context_scraper(pod));
    let address = pod.and_then(|pod| pod["status"]["podIP"].as_str()?.parse().ok()).unwrap_or(loopback::NODE);
    let mut ticks = tokio::time::interval(LOAD_INTERVAL);
    loop {
        ticks.tick().await;
        let outcome = match mesh::connect_as(address, socket).await {
            Ok(stream) => app::call(stream, "boards:8080", "/shareditems").await,
            Err(error) => Err(error.to_string()),
        };
        stats.count(outcome);
    }
}

fn is_context_scraper(pod: &Value) -> bool {
    pod["metadata"]["labels"]["app"] == "context-scraper"
}

/// The socket of `boards` for a client in the mesh or outside.
fn socket_of_boards(store: &Store, network: &Network, meshed: bool) -> Option<SocketAddr> {
    let service = store.get(&resource::SERVICE, NAMESPACE, "boards")?;
    let address = service["spec"]["clusterIP"].as_str()?.parse::<Ipv4Addr>().ok()?;
    network.socket(address, 8080, meshed)
}

/// The client outside the mesh: calls `boards` in plaintext, each time on a new connection, whatever becomes of the calls.
async fn call_in_plaintext(store: Arc<Store>, network: Arc<Network>) {
    let Some(socket) = socket_of_boards(&store, &network, false) else { return };
    let mut ticks = tokio::time::interval(PLAINTEXT_INTERVAL);
    loop {
        ticks.tick().await;
        if let Ok(stream) = mesh::connect_as(fixtures::LEGACY_CLIENT, socket).await {
            // STRICT refuses it.
            let _ = app::call(stream, "boards.microservices-demo:8080", "/shareditems").await;
        }
    }
}
