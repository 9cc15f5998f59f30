//! What a run found, as values, and how they are written: text for people, JSON and YAML for machines.
//! Nothing here does any input or output.

pub mod human;
pub mod model;
pub mod table;
