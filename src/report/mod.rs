//! What a run found, as values, and how they are written: text for people, JSON and YAML for machines.
//! Nothing here does any input or output.

pub mod diff;
pub mod human;
pub mod model;
pub mod plan;
pub mod story;
pub mod table;
