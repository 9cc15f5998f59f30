//! Pure rules: no async, no input or output, no clock, no environment.
//!
//! A run makes its values here in one order: [`mesh::Snapshot`] → [`effective::Effective`] mode →
//! [`plan::Plan`] → [`probe::Case`]s → [`probe::Observation`]s → [`verdict::Verdict`].

pub mod ambient;
pub mod calls;
pub mod client_tls;
pub mod control;
pub mod effective;
pub mod evidence;
pub mod expectation;
pub mod findings;
pub mod front_door;
pub mod identity;
pub mod journal;
pub mod loaded;
pub mod mesh;
pub mod overview;
pub mod plan;
pub mod probe;
pub mod proxy;
pub mod rights;
pub mod rule;
pub mod selection;
pub mod selector;
pub mod survey;
pub mod verdict;
pub mod wait;
pub mod watch;
pub mod workload;
