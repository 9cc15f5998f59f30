//! The Istio objects that the tool reads and writes: their kinds, shapes and conversions to and from the domain.

pub mod access_log;
pub mod capture;
pub mod change;
pub mod envoy;
pub mod journal;
pub mod kinds;
pub mod manifest;
pub mod network_policy;
pub mod owners;
pub mod patch;
mod paths;
pub mod rbac;
pub mod read;
pub mod render;
pub mod surroundings;
pub mod yaml;
pub mod ztunnel;
