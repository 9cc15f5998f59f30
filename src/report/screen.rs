//! The screens of `demo`: for each step a title, the command by which a user does the same, a picture of who calls whom,
//! and a few lines of text. With the prompt of `--pause` below it, a screen fits a terminal of 80 columns and 24 lines.

use super::human::tally;
use super::kinds::{PhaseKind, VerdictKind};
use super::model::{CallsReport, PhaseReport, TargetReport};
use super::plural::count;
use super::table::cut;
use crate::sanitize;
use crate::wrap::fill;
use colored::{Color, Colorize};
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr;

/// Columns of a screen.
pub const COLUMNS: usize = 80;

/// The most targets of which a picture has a row each.
const ROWS: usize = 5;

/// The most lines of an answer.
const BODY: usize = 4;

/// Columns of a picture's line, `── plaintext ─▶`.
const ARROW: usize = 15;

/// One step of the demo.
#[derive(Debug, Clone)]
pub struct DemoStep {
    /// `Step 1 of 5`.
    pub number: &'static str,
    pub title: &'static str,
    /// What happens next, in one or two sentences.
    pub text: String,
    /// The command by which a user does the same; empty where there is none.
    pub command: String,
}

/// What a step that changes the mode came to.
#[derive(Debug, Clone, Copy)]
pub struct Switched<'a> {
    pub phases: &'a [PhaseReport],
    /// The calls of a client in the mesh; `None` where none were counted.
    pub calls: Option<&'a CallsReport>,
    pub results: &'a [TargetReport],
    /// The command that undoes the change, where the user needs it.
    pub undo: Option<&'a str>,
}

/// The upper part of a screen, which is printed before the step runs. On a terminal, `limit` is its number of columns;
/// in a pipe nothing is cut.
pub fn head(step: &DemoStep, limit: Option<usize>) -> String {
    let mut text = title_row(&format!("{} · {}", step.number, step.title));
    for row in fill(sanitize::line(&step.text).split_whitespace(), COLUMNS - 2, COLUMNS - 2) {
        let _ = writeln!(text, "{}", fitted(&row, limit));
    }
    text.push('\n');
    for (index, row) in command_rows(&sanitize::line(&step.command), COLUMNS - 8).iter().enumerate() {
        let prompt = if index == 0 { format!("  {}", "$".dimmed()) } else { "     ".to_owned() };
        let _ = writeln!(text, "{prompt} {}", fitted(row, limit.map(|limit| limit.saturating_sub(6))).bold());
    }
    if !step.command.is_empty() {
        text.push('\n');
    }
    text
}

/// A title in the rule at the top of a screen.
pub(super) fn title_row(title: &str) -> String {
    let title = format!("── {title} ");
    let rule = "─".repeat((COLUMNS - 2).saturating_sub(title.width()));
    format!("{}\n", format!("{title}{rule}").cyan().bold())
}

/// The lower part of a screen after a probe: the calls to the target, beside those of an earlier probe if there was one.
pub fn probed(earlier: Option<&TargetReport>, now: &TargetReport, limit: Option<usize>) -> String {
    let mut text = String::new();
    match earlier {
        Some(earlier) => {
            let half = limit.map(|limit| (limit / 2).saturating_sub(3));
            let (left, right) = (calls("before", earlier, half), calls("now", now, half));
            let widest = left.iter().map(|row| width(row)).max().unwrap_or_default();
            for (left, right) in left.iter().zip(&right) {
                let gap = " ".repeat(widest - width(left) + 3);
                let _ = writeln!(text, "  {}{gap}{}", painted(left), painted(right));
            }
        }
        None => {
            for row in calls("now", now, limit.map(|limit| limit.saturating_sub(2))) {
                let _ = writeln!(text, "  {}", painted(&row));
            }
        }
    }
    text.push('\n');
    for row in evidence(now) {
        let _ = writeln!(text, "  {}", fitted(&row, limit.map(|limit| limit.saturating_sub(2))));
    }
    text
}

/// The lower part of a screen after a change of the mode: who calls each target, and what the change took.
pub fn switched(switched: &Switched<'_>, limit: Option<usize>) -> String {
    // What the two callers and their lines leave.
    let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(2 * ARROW + 18));
    let shown = &switched.results[..switched.results.len().min(ROWS)];
    let names: Vec<String> =
        shown.iter().map(|result| cut(&sanitize::line(&result.target), room).into_owned()).collect();
    let widest = names.iter().map(|name| name.width()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, result) in names.iter().zip(shown) {
        let gap = " ".repeat(widest - name.width());
        let meshed = switched.calls.map(|calls| !calls.lost.contains(&result.target));
        let (meshed, rogue) = (meshed_line(result, meshed), rogue_line(result, true));
        let row = [piece("client "), meshed, piece(&format!(" {name}{gap} ")), rogue, piece(" rogue")];
        let _ = writeln!(text, "  {}", painted(&row));
    }
    if switched.results.len() > ROWS {
        let _ = writeln!(text, "  and {} more", switched.results.len() - ROWS);
    }
    text.push('\n');
    for row in summary_of_switch(switched) {
        let _ = writeln!(text, "  {}", fitted(&row, limit.map(|limit| limit.saturating_sub(2))));
    }
    text
}

/// A piece of a row, with its colour.
type Piece = (String, Option<Color>);

fn piece(text: &str) -> Piece {
    (text.to_owned(), None)
}

fn width(row: &[Piece]) -> usize {
    row.iter().map(|(text, _)| text.width()).sum()
}

fn painted(row: &[Piece]) -> String {
    let paint = |(text, color): &Piece| color.map_or_else(|| text.clone(), |color| text.color(color).to_string());
    row.iter().map(paint).collect::<String>().trim_end().to_owned()
}

/// The calls to one target, and what was seen.
fn calls(heading: &str, result: &TargetReport, limit: Option<usize>) -> [Vec<Piece>; 4] {
    let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(ARROW + 8));
    let port = format!("{}:{}", result.service, result.port);
    let target = cut(&sanitize::line(&port), room).into_owned();
    let meshed = meshed_line(result, result.control.as_ref().and_then(|control| control.got_through));
    let seen = format!("{}: {}", super::explain::verdict_word(&result.answer), result.answer.message);
    [
        vec![piece(heading)],
        vec![piece("client "), meshed, piece(&format!(" {target}"))],
        vec![piece("rogue  "), rogue_line(result, false), piece(&format!(" {target}"))],
        vec![(fitted(&sanitize::line(&seen), limit), Some(verdict_color(result.answer.verdict)))],
    ]
}

fn verdict_color(verdict: VerdictKind) -> Color {
    match verdict {
        VerdictKind::Rejected => Color::Red,
        VerdictKind::Accepted => Color::Yellow,
        VerdictKind::Inconclusive => Color::Magenta,
    }
}

/// The line from a client in the mesh. A target that rejects plaintext and serves the client uses mutual TLS; otherwise
/// either may be in use.
fn meshed_line(result: &TargetReport, got_through: Option<bool>) -> Piece {
    let (end, color) = match got_through {
        Some(true) => ('▶', Some(Color::Green)),
        Some(false) => ('✗', Some(Color::Red)),
        None => ('?', None),
    };
    let is_mutual = got_through == Some(true) && result.answer.verdict == VerdictKind::Rejected;
    (arrow(if is_mutual { "mutual TLS" } else { "calls" }, end), color)
}

/// The line from the probe, which comes from the right where it is `mirrored`.
fn rogue_line(result: &TargetReport, mirrored: bool) -> Piece {
    let verdict = result.answer.verdict;
    let end = match (verdict, mirrored) {
        (VerdictKind::Rejected, _) => '✗',
        (VerdictKind::Accepted, true) => '◀',
        (VerdictKind::Accepted, false) => '▶',
        (VerdictKind::Inconclusive, _) => '?',
    };
    let line = if mirrored { format!("{end}─ plaintext ──") } else { arrow("plaintext", end) };
    (line, Some(verdict_color(verdict)))
}

fn arrow(label: &str, end: char) -> String {
    let rule = "─".repeat(ARROW.saturating_sub(label.width() + 5));
    format!("── {label} {rule}{end}")
}

/// The facts behind a verdict: the head of an answer, or who refused.
fn evidence(result: &TargetReport) -> Vec<String> {
    let mut rows = Vec::new();
    match result.answer.verdict {
        VerdictKind::Accepted => {
            let body = sanitize::text(result.body.as_deref().unwrap_or_default()).into_owned();
            rows.extend(body.lines().take(BODY).map(str::to_owned));
            if body.lines().count() > BODY {
                rows.push("…".to_owned());
            }
        }
        VerdictKind::Rejected => {
            let samples = result.endpoints.iter().flat_map(|endpoint| &endpoint.samples);
            let message = samples.chain(&result.samples).find_map(|sample| sample.message.as_deref());
            rows.extend(message.map(|message| format!("rogue   curl: {message}")));
            let spiffe = result.endpoints.iter().find_map(|endpoint| endpoint.hello.as_ref()?.spiffe.as_deref());
            if let Some(spiffe) = spiffe {
                rows.push(format!("server  {spiffe}"));
                rows.push("        its certificate is verified against the mesh root".to_owned());
            }
        }
        VerdictKind::Inconclusive => rows.extend(result.answer.remedy.map(|remedy| format!("remedy  {remedy}"))),
    }
    if let Some(control) = &result.control {
        rows.push(format!("client  in the mesh: {}", control.message));
    }
    rows.iter().map(|row| sanitize::line(row).into_owned()).collect()
}

fn summary_of_switch(switched: &Switched<'_>) -> Vec<String> {
    let mut rows = Vec::new();
    for phase in switched.phases {
        let kind = match phase.kind {
            PhaseKind::Policy => "policy",
            PhaseKind::DestinationRules => "rules ",
        };
        let mut row = format!("{kind}  {} in {:.2} s", count(phase.objects, "object"), phase.seconds);
        if let (Some(seconds), Some(endpoints)) = (phase.in_force_seconds, phase.endpoints.filter(|number| *number > 0))
        {
            let _ = write!(row, ", in force at {} after {seconds:.2} s", count(endpoints, "endpoint"));
        }
        rows.push(row);
    }
    rows.push(format!("rogue   {}", tally(switched.results.iter())));
    if let Some(calls) = switched.calls {
        rows.push(format!("client  {} of {} calls succeeded during the change", calls.succeeded, calls.sent));
    }
    rows.extend(switched.undo.map(|command| format!("undo    {command}")));
    rows.iter().map(|row| sanitize::line(row).into_owned()).collect()
}

fn fitted(row: &str, limit: Option<usize>) -> String {
    limit.map_or_else(|| row.to_owned(), |limit| cut(row, limit).into_owned())
}

/// A command in rows of at most `columns`, of which all but the last end with a backslash. An option of one letter stays
/// with its value.
fn command_rows(command: &str, columns: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in command.split_whitespace() {
        match words.last_mut() {
            Some(option) if option.len() == 2 && option.starts_with('-') && option != "--" => {
                option.push(' ');
                option.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    let mut rows = fill(words, columns, columns);
    if let Some((_, all_but_last)) = rows.split_last_mut() {
        for row in all_but_last {
            row.push_str(" \\");
        }
    }
    rows
}

#[cfg(test)]
mod tests;
