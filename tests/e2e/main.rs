//! The tool on a real mesh: every verdict against what the mesh was made to do.
//!
//! `SECURE_TRAFFIC_E2E_KUBECONFIG` names a cluster with Istio's sidecars in which namespaces may be made, and
//! `SECURE_TRAFFIC_E2E_APP_IMAGE` an image of the test application. Without the former every test says so and is
//! skipped; with `SECURE_TRAFFIC_E2E_REQUIRED=1` it fails instead. The tests of `ambient` also need
//! `SECURE_TRAFFIC_E2E_AMBIENT=1`, and say without it that they did not run.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod ambient;
mod calls;
mod endpoints;
mod environment;
mod evidence;
mod interruption;
mod link;
mod load;
mod lookalikes;
mod namespace;
mod network_policy;
mod observe;
mod outsider;
mod refusals;
mod rehearsal;
mod rehearsal_telemetry;
mod restore;
mod rights;
mod rules;
mod sidecar;
mod status;
mod steps;
mod strict;
mod tool;
mod walkthrough;
mod workload;
