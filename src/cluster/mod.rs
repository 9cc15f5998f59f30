//! The only code that talks to an API server: connection, discovery, snapshot, writes, the probe pod. It also asks
//! Prometheus and the front doors of applications.
//!
//! It decides nothing and prints nothing; what it returns is domain values or a [`error::ClusterError`].

pub mod access;
pub mod apply;
pub mod ask;
pub mod connect;
pub mod control;
pub mod control_run;
pub mod curl;
pub mod deadline;
pub mod discover;
pub mod error;
pub mod front_door;
pub mod journal;
pub mod lease;
pub mod list;
pub mod pod_log;
pub mod pod_state;
pub mod probe_pod;
pub mod prometheus;
pub mod proxy;
pub mod request;
pub mod snapshot;
pub mod stream;
pub mod survey;
pub mod trace;
pub mod ztunnel;
