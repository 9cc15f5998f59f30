//! The part of a report about a `--check-url` URL.

use crate::domain::front_door::FrontDoorSummary;
use schemars::JsonSchema;
use serde::Serialize;

/// What a front door of the application answered through a switch.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct FrontDoorReport {
    /// Its address, without the query.
    pub url: String,
    /// Whether it answered before the first write.
    pub answered_before: bool,
    /// Requests that were sent since.
    pub asked: usize,
    /// Requests that were answered.
    pub answered: usize,
    /// The longest time without an answer; 0 where there was none.
    pub longest_outage_seconds: f64,
    /// Why the last request that failed did so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Whether it was down at the end: three requests in a row had failed. `null` where that cannot be told.
    pub still_down: Option<bool>,
    /// All of it in words.
    pub message: String,
}

impl FrontDoorReport {
    /// The report for one URL.
    pub fn new(url: String, answered_before: bool, summary: &FrontDoorSummary) -> Self {
        Self {
            url,
            answered_before,
            asked: summary.asked,
            answered: summary.answered,
            longest_outage_seconds: summary.longest_outage.as_secs_f64(),
            last_failure: summary.last_failure.clone(),
            still_down: summary.still_down(),
            message: summary.to_string(),
        }
    }
}
