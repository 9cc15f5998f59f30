//! Renders the lines of `probe --watch` as text and as JSON.

use crate::domain::watch::{AnswerChange, WatchedAnswer};
use crate::sanitize::line;
use colored::Colorize;
use serde_json::json;

/// One line of text: time, target, answer, and how long the previous answer lasted.
pub fn text(time: &str, target: &str, change: &AnswerChange) -> String {
    let word = match change.now {
        WatchedAnswer::Answered(_) => change.now.to_string().yellow(),
        WatchedAnswer::Refused => change.now.to_string().green(),
        WatchedAnswer::Silent(_) => change.now.to_string().magenta(),
    };
    let after = change.before.map_or_else(String::new, |(before, lasted)| {
        format!("  after {:.2} s of {}", lasted.as_secs_f64(), before.as_str())
    });
    format!("{time}  {}  {word}{after}\n", line(target))
}

/// One line with a JSON object.
pub fn json(time: &str, target: &str, change: &AnswerChange) -> String {
    let mut value =
        json!({"time": time, "target": target, "answer": change.now.as_str(), "message": change.now.to_string()});
    if let Some((before, lasted)) = change.before {
        value["before"] = before.as_str().into();
        value["beforeSeconds"] = lasted.as_secs_f64().into();
    }
    format!("{}\n", crate::sanitize::json(&value.to_string()))
}
