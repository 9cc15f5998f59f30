//! Computes modes, plans, findings and verdicts from values that other modules read: no async, no input or output, no
//! clock, no environment.
//!
//! The values of a run, in order: [`mesh::Snapshot`] → [`effective::Effective`] mode → [`plan::Plan`] →
//! [`probe::Case`]s → [`probe::Observation`]s → [`verdict::Verdict`].

pub mod access_log;
pub mod address;
pub mod ambient;
pub mod caller;
pub mod client_config;
pub mod client_scope;
pub mod client_tls;
pub mod control_plane;
pub mod effective;
pub mod endpoints;
pub mod enforcement;
pub mod envoy_filter;
pub mod evidence;
pub mod expectation;
pub mod findings;
pub mod front_door;
pub mod identity;
pub mod inbound;
pub mod injection;
pub mod journal;
pub mod knative;
pub mod label;
pub mod mesh;
pub mod mesh_client;
pub mod mesh_traffic;
pub mod namespace_context;
pub mod near_names;
pub mod network_policy;
pub mod object;
pub mod open_connections;
pub mod other_names;
pub mod overview;
pub mod placement;
pub mod plan;
pub mod port_protocol;
pub mod probe;
pub mod proxy;
pub mod reachability;
pub mod reason;
pub mod rehearsal;
pub mod rights;
pub mod rule;
pub mod sample;
pub mod selection;
pub mod selector;
pub mod sidecar;
#[cfg(test)]
pub(crate) mod testing;
pub mod verdict;
pub mod watch;
pub mod waypoint;
pub mod ztunnel_counter;
