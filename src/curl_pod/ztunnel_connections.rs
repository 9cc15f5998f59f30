//! Reads from ztunnels which plaintext connections they hold to pods of their nodes: their logs show a connection only when it
//! ends, and no policy that comes later ends it.

use super::port_forward;
use super::ztunnel::ztunnels_of;
use crate::cluster::connect::Cluster;
use crate::cluster::ztunnel::Ztunnel;
use crate::domain::mesh::MeshSettings;
use crate::domain::open_connections::HeldConnection;
use crate::domain::probe::EndpointCase;
use crate::istio::ztunnel;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Port of a ztunnel's admin interface.
const ADMIN_PORT: u16 = 15000;

/// Ztunnels that are requested at the same time: each has a copy of the configuration of the whole mesh.
const CONCURRENCY: usize = 4;

/// What ztunnels hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The plaintext connections, each once.
    pub connections: Vec<HeldConnection>,
    /// Why those of some ztunnels are not known.
    pub unknown: BTreeSet<String>,
}

/// The plaintext connections to these endpoints (those in ambient mode) that their ztunnels hold.
pub async fn held(cluster: &Cluster, mesh: &MeshSettings, endpoints: &[&EndpointCase]) -> Held {
    let by_pod = ztunnels_of(cluster, mesh, endpoints.iter().copied()).await;
    let mut held = Held::default();
    let mut ztunnels: BTreeSet<Ztunnel> = BTreeSet::new();
    for found in by_pod.into_values() {
        match found {
            Ok(ztunnel) => ztunnels.extend([ztunnel]),
            Err(reason) => held.unknown.extend([reason]),
        }
    }
    let answers = ztunnels.iter().map(async |ztunnel| {
        let pod = (ztunnel.pod.as_str(), ADMIN_PORT);
        let dump = port_forward::get(cluster, &ztunnel.namespace, pod, ztunnel::CONFIG_DUMP).await;
        let found = dump.map_err(|error| error.to_string()).and_then(|dump| ztunnel::held_connections(&dump));
        found.map_err(|reason| format!("{} in {}: {reason}", ztunnel.pod, ztunnel.namespace))
    });
    let answers: Vec<Result<Vec<HeldConnection>, String>> =
        futures::stream::iter(answers).buffer_unordered(CONCURRENCY).collect().await;
    for answer in answers {
        match answer {
            Ok(connections) => held.connections.extend(connections),
            Err(reason) => held.unknown.extend([reason]),
        }
    }
    let address = |endpoint: &&EndpointCase| Some(SocketAddr::new(endpoint.address.parse().ok()?, endpoint.port));
    let asked: BTreeSet<SocketAddr> = endpoints.iter().filter_map(address).collect();
    held.connections.retain(|connection| asked.contains(&connection.destination));
    held
}
