//! What a run found, as values, and how they are written: text for people, JSON and YAML for machines.
//! Nothing here does any input or output.

pub mod cases;
pub mod diff;
pub mod explain;
pub mod front_door;
pub mod github;
pub mod human;
pub mod junit;
pub mod kinds;
pub mod model;
pub mod plan;
pub mod plural;
pub mod schema;
pub mod status;
pub mod story;
pub mod table;
pub mod tap;
pub mod watch;
pub mod yaml;

/// Why a result could not be written in its format.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum RenderError {
    /// As JSON.
    Json(#[from] serde_json::Error),
    /// As YAML.
    Yaml(#[from] crate::istio::yaml::Error),
    /// As `JUnit` XML.
    Junit(#[from] quick_junit::SerializeError),
}
