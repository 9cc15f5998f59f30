//! Reports of a run as values, and how to render them: text for the terminal; JSON, YAML, `JUnit`, TAP and GitHub formats
//! for other tools. This module does no input or output.

pub mod cases;
pub mod diff;
pub mod explain;
pub mod front_door;
pub mod github;
pub mod history;
pub mod human;
pub mod json;
pub mod junit;
pub mod kinds;
pub mod model;
pub mod page;
pub mod plan;
pub mod plural;
pub mod rehearsal;
pub mod run;
pub mod schema;
pub mod screen;
pub mod status;
pub mod story;
pub mod table;
pub mod tap;
pub mod version;
pub mod watch;
pub mod yaml;

/// Why a report cannot be rendered in its format.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum RenderError {
    Json(#[from] serde_json::Error),
    Yaml(#[from] crate::istio::yaml::Error),
    Junit(#[from] quick_junit::SerializeError),
}
