//! Sends requests to the API server: connection, discovery, snapshots, writes, journals and the Lease. `commands` and
//! `curl_pod` use it.
//!
//! It returns domain values or a [`error::ClusterError`]. Nothing here prints or decides.

pub mod access;
pub mod apply;
pub mod callers;
pub mod clock;
pub mod connect;
pub mod connection;
mod credentials;
pub mod deadline;
pub mod deletion;
pub mod discover;
pub mod error;
mod exec_plugin;
pub mod http_proxy;
pub mod journal;
pub mod kubeconfig;
pub mod lease;
pub mod list;
mod local_file;
pub mod names;
pub mod namespace_context;
pub mod network_policies;
pub mod pod;
pub mod proxy_log;
pub mod request;
pub mod snapshot;
pub mod telemetry;
pub mod trace;
pub mod ztunnel;
