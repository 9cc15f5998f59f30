//! The embedded sandbox, held to what a real API server and a real mesh were seen to do.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "sandbox/api.rs"]
mod api;
#[path = "sandbox/data_plane.rs"]
mod data_plane;
#[path = "sandbox/helpers.rs"]
mod helpers;
#[path = "sandbox/pods.rs"]
mod pods;
#[path = "sandbox/served.rs"]
mod served;
