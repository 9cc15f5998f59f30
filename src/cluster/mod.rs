//! The only code that talks to an API server: connection, discovery, snapshot, writes, the probe pod. It also asks
//! Prometheus and the front doors of applications.
//!
//! It decides nothing and prints nothing; what it returns is domain values or a [`error::ClusterError`].

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
