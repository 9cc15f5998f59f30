//! Throwaway curl pods and the evidence about them: the probe outside the mesh, the client inside the mesh, and what the
//! sidecars and ztunnels report about their requests.
//!
//! It returns domain values or a [`crate::cluster::error::ClusterError`]; it prints nothing and reaches no verdict.

pub mod curl;
pub mod mesh_client;
pub mod mesh_traffic;
pub mod pod_log;
pub mod pod_state;
pub mod probe_pod;
pub mod proxy;
pub mod runner;
pub mod stream;
pub mod ztunnel;
