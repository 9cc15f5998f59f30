//! The Istio objects that the tool reads and writes: their kinds, shapes and conversions to and from the domain.

pub mod kinds;
pub mod owners;
pub mod patch;
pub mod read;
pub mod render;
pub mod yaml;
