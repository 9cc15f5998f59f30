//! The lines of a watch, for people and for machines.

use crate::domain::watch::{Answer, Flip};
use crate::sanitize::line;
use colored::Colorize;
use serde_json::json;

/// One line for a person: when, what, how it answers, and how long it was otherwise.
pub fn text(time: &str, target: &str, flip: &Flip) -> String {
    let word = match flip.now {
        Answer::Answered(_) => flip.now.to_string().yellow(),
        Answer::Refused => flip.now.to_string().green(),
        Answer::Silent(_) => flip.now.to_string().magenta(),
    };
    let after = flip.before.map_or_else(String::new, |(before, lasted)| {
        format!("  after {:.2} s of {}", lasted.as_secs_f64(), before.as_str())
    });
    format!("{time}  {}  {word}{after}\n", line(target))
}

/// One JSON object on a line of its own.
pub fn json(time: &str, target: &str, flip: &Flip) -> String {
    let mut value =
        json!({"time": time, "target": target, "answer": flip.now.as_str(), "message": flip.now.to_string()});
    if let Some((before, lasted)) = flip.before {
        value["before"] = before.as_str().into();
        value["beforeSeconds"] = lasted.as_secs_f64().into();
    }
    format!("{}\n", crate::sanitize::json(&value.to_string()))
}
