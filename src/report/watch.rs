//! Renders the changes that `probe --watch` sees: as lines of text, as JSON, YAML or names, and as the live table of a
//! terminal.

mod table;

use super::{RenderError, yaml};
use crate::domain::watch::{AnswerChange, WatchedAnswer};
use crate::sanitize::line;
use colored::{Color, Colorize};
use serde_json::{Value, json};
pub use table::WatchTable;

/// One line of text: time, target, answer, and how long the previous answer lasted.
pub fn text(time: &str, target: &str, change: &AnswerChange) -> String {
    let after = change.before.map_or_else(String::new, |(before, lasted)| {
        format!("  after {:.2} s of {}", lasted.as_secs_f64(), before.as_str())
    });
    let answer = change.now.to_string().color(color(change.now));
    format!("{time}  {}  {answer}{after}\n", line(target))
}

/// One line with a JSON object.
pub fn json(time: &str, target: &str, change: &AnswerChange) -> String {
    format!("{}\n", crate::sanitize::json(&object(time, target, change).to_string()))
}

/// One YAML document, with the fields of the JSON object.
pub fn yaml(time: &str, target: &str, change: &AnswerChange) -> Result<String, RenderError> {
    yaml::document(&object(time, target, change))
}

/// One line for `-o name`: target and answer.
pub fn name(target: &str, change: &AnswerChange) -> String {
    format!("{} {}\n", line(target), change.now.as_str())
}

fn object(time: &str, target: &str, change: &AnswerChange) -> Value {
    let mut value =
        json!({"time": time, "target": target, "answer": change.now.as_str(), "message": change.now.to_string()});
    if let Some((before, lasted)) = change.before {
        value["before"] = before.as_str().into();
        value["beforeSeconds"] = lasted.as_secs_f64().into();
    }
    value
}

/// The colour of a verdict that the answer suggests.
fn color(answer: WatchedAnswer) -> Color {
    match answer {
        WatchedAnswer::Answered(_) => Color::Yellow,
        WatchedAnswer::Refused => Color::Green,
        WatchedAnswer::Silent(_) => Color::Magenta,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sample::AcceptedBy;
    use std::time::Duration;

    #[test]
    fn a_change_in_every_format() {
        let before = Some((WatchedAnswer::Refused, Duration::from_millis(4040)));
        let now = WatchedAnswer::Answered(AcceptedBy::Http(200));
        let change = AnswerChange { target: 0, before, now, at: Duration::from_secs(9) };
        let time = "2026-11-24T02:32:23.119Z";
        let formats = [
            text(time, "boards:8080", &change),
            json(time, "boards:8080", &change),
            yaml(time, "boards:8080", &change).unwrap(),
            name("boards:8080", &change),
        ];
        insta::assert_snapshot!(formats.join("\n"), @r#"
        2026-11-24T02:32:23.119Z  boards:8080  answered (HTTP 200)  after 4.04 s of refused

        {"answer":"answered","before":"refused","beforeSeconds":4.04,"message":"answered (HTTP 200)","target":"boards:8080","time":"2026-11-24T02:32:23.119Z"}

        answer: answered
        before: refused
        beforeSeconds: 4.04
        message: answered (HTTP 200)
        target: boards:8080
        time: "2026-11-24T02:32:23.119Z"

        boards:8080 answered
        "#);
    }
}
