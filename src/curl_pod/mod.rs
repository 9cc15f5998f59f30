//! Creates temporary pods that run curl, and returns what they observed as domain values, for `commands`: the probe outside
//! the mesh, the client in the mesh, and what sidecars and ztunnels report about the requests of the probe.
//!
//! Errors are a [`crate::cluster::error::ClusterError`] or a [`probe_pod::Failure`]. Nothing here prints or decides a
//! verdict.

pub mod curl;
pub mod mesh_client;
pub mod mesh_traffic;
mod placement;
pub mod pod_log;
pub mod pod_state;
mod port_forward;
pub mod probe_pod;
pub mod proxy;
pub mod reach;
mod resources;
pub mod runner;
pub mod stream;
pub mod ztunnel;
pub mod ztunnel_connections;
pub mod ztunnel_counter;
