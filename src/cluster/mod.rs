//! Sends requests to the API server: connection, discovery, snapshots, writes, journals and the Lease. `commands` and
//! `curl_pod` use it.
//!
//! It returns domain values or a [`error::ClusterError`]. Nothing here prints or decides.

pub mod access;
pub mod apply;
pub mod connect;
pub mod deadline;
pub mod discover;
pub mod error;
pub mod journal;
pub mod lease;
pub mod list;
pub mod namespace_context;
pub mod request;
pub mod snapshot;
pub mod trace;
