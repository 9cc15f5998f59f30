//! Pure rules: no async, no input or output, no clock, no environment.
//!
//! A run makes its values here in one order: [`mesh::Snapshot`] → [`effective::Effective`] mode →
//! [`plan::Plan`] → [`probe::Case`]s → [`probe::Observation`]s → [`verdict::Verdict`].

pub mod effective;
pub mod identity;
pub mod mesh;
pub mod plan;
pub mod probe;
pub mod rule;
pub mod verdict;
pub mod wait;
