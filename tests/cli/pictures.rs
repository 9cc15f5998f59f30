//! The pictures of the documentation: what the tool prints on the sandbox.
//! `UPDATE_GENERATED=1 cargo test --test cli pictures` writes them anew.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use crate::helpers::Stage;
use crate::status::{create, policy, rule};
use crate::terminal::Terminal;
use assert_cmd::cargo::CommandCargoExt;
use secure_traffic::sandbox::State;
use std::path::Path;
use std::process::Command;

/// Pixels of 80 columns, so that all pictures have the same width.
const MIN_WIDTH: usize = 692;

/// The colours of a terminal: as the picture has them, in a dark terminal and in a light one.
const COLORS: [[&str; 3]; 7] = [
    ["#AAAAAA", "#D1D7E0", "#1F2328"],
    ["#000000", "#0D1117", "#FFFFFF"],
    ["#AA0000", "#FF7B72", "#CF222E"],
    ["#00AA00", "#3FB950", "#1A7F37"],
    ["#AA5500", "#D29922", "#9A6700"],
    ["#AA00AA", "#BC8CFF", "#8250DF"],
    ["#00AAAA", "#39C5CF", "#1B7C83"],
];

/// A command of a picture.
#[derive(Debug, Clone, Copy)]
struct Shown {
    arguments: &'static str,
    /// The question that is answered with yes.
    question: Option<&'static str>,
    code: i32,
}

const fn shown(arguments: &'static str, code: i32) -> Shown {
    Shown { arguments, question: None, code }
}

/// What a terminal of 80 columns and 24 lines shows of these commands, with its colours; `None` where it cannot be made.
fn session(stage: &Stage, commands: &[Shown]) -> Option<String> {
    let tool = Command::cargo_bin("secure-traffic").unwrap();
    let tool = tool.get_program().to_str().unwrap().to_owned();
    let mut session = String::new();
    for Shown { arguments, question, code } in commands {
        let line = format!("stty rows 24 cols 80; {tool} --color always {arguments}");
        let mut terminal = Terminal::open(&line, |command| {
            prepare(command);
            command.env("KUBECONFIG", stage.kubeconfig());
        })?;
        if let Some(question) = question {
            terminal.until(question);
            terminal.press("y\n");
        }
        let run = terminal.end();
        assert_eq!(run.code, Some(*code), "{run}");
        session.extend(["\u{1b}[1;32m$\u{1b}[0m \u{1b}[1msecure-traffic ", arguments, "\u{1b}[0m\n"]);
        session += &with_marks(&run.stdout.replace("\r\n", "\n"));
    }
    assert!(without_colors(&session).lines().all(|line| line.chars().count() <= 80), "broken in mid-word:\n{session}");
    Some(session)
}

/// The screen with the marks of changes that are done: each is written over the first character of an earlier row, between
/// a saved and a restored cursor.
fn with_marks(screen: &str) -> String {
    let mut parts = screen.split("\u{1b}7\u{1b}[");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (up, part) = part.split_once("A\r").unwrap();
        let (mark, part) = part.split_once("\u{1b}8").unwrap();
        let start = text.rmatch_indices('\n').nth(up.parse().unwrap()).map_or(0, |(end, _)| end + 1);
        // The row may begin with a colour.
        let color = text[start..].strip_prefix("\u{1b}[").map_or(0, |row| 3 + row.find('m').unwrap());
        text.remove(start + color);
        text.insert_str(start, mark);
        text += part;
    }
    text
}

#[test]
fn a_mark_is_in_its_row() {
    assert_eq!(with_marks("a\n + b\nc\nd \u{1b}7\u{1b}[2A\r✓\u{1b}8e\n"), "a\n✓+ b\nc\nd e\n");
    assert_eq!(with_marks("\u{1b}[32m +\u{1b}[0m\n\u{1b}7\u{1b}[1A\r✓\u{1b}8"), "✓\u{1b}[32m+\u{1b}[0m\n");
}

/// In CI there is no progress bar, which would leave its traces.
fn prepare(command: &mut Command) {
    command.env("CI", "1").env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent").env("SHELL", "/bin/sh");
}

/// Compares a picture in a dark and in a light terminal with those in `docs/images`, `NAME-dark.svg` and `NAME-light.svg`;
/// times, counts and coordinates may differ.
fn assert_are_current(name: &str, session: &str) {
    let picture = anstyle_svg::Term::new().min_width_px(MIN_WIDTH).render_svg(session);
    for (index, terminal) in [(1, "dark"), (2, "light")] {
        let picture = COLORS.iter().fold(picture.clone(), |picture, color| picture.replace(color[0], color[index]));
        assert_is_kept(&format!("{name}-{terminal}.svg"), &picture, session);
    }
}

fn assert_is_kept(name: &str, picture: &str, session: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(name);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if without_numbers(&kept) == without_numbers(picture) {
        return;
    }
    assert!(std::env::var_os("UPDATE_GENERATED").is_some(), "{name} is out of date: now it would show\n{session}");
    std::fs::write(&path, picture).unwrap();
}

/// The text between numbers, without the blanks that fill a cell with a number.
fn without_numbers(picture: &str) -> Vec<&str> {
    let is_numeric = |character: char| character.is_ascii_digit() || character == '.';
    picture.split(is_numeric).map(str::trim).filter(|text| !text.is_empty()).collect()
}

/// Asserts that all of it is on a screen of 24 lines, the last of which has the shell's next prompt.
fn assert_fits(session: &str) {
    assert!(session.lines().count() < 24, "{}", without_colors(session));
}

#[test]
fn the_pictures_of_the_commands_are_what_a_terminal_of_80_columns_shows() {
    let stage = Stage::with_shop(State::Permissive);
    let rehearse = [shown("rehearse -n microservices-demo --for 5s", 1)];
    let Some(rehearse) = session(&stage, &rehearse) else { return };
    assert_fits(&rehearse);
    assert_are_current("rehearse", &rehearse);

    let enable = Shown { arguments: "enable-mtls -n microservices-demo", question: Some("[y/N]"), code: 0 };
    let enable = session(&stage, &[enable]).unwrap();
    // With the shell's next prompt, the command and a line scroll away: the plan stays.
    assert!(enable.lines().count() <= 25, "{}", without_colors(&enable));
    assert_are_current("enable-mtls", &enable);

    let run = stage.run("enable-mtls -n shop --yes");
    assert_eq!(run.code, Some(1), "payments has no sidecar: {run}");
    let probe = session(&stage, &[shown("probe -n shop", 0), shown("probe -n shop boards", 0)]).unwrap();
    assert_fits(&probe);
    assert_are_current("probe", &probe);

    let stage = Stage::new(State::Permissive, &[]);
    create(&stage, &rule("boards", "DISABLE"));
    create(&stage, &policy("STRICT"));
    let status = session(&stage, &[shown("status -n microservices-demo", 1)]).unwrap();
    assert_fits(&status);
    assert_are_current("status", &status);
}

#[test]
fn the_pictures_of_the_demo_are_what_a_terminal_of_80_columns_and_24_lines_shows() {
    let tool = Command::cargo_bin("secure-traffic").unwrap();
    let tool = tool.get_program().to_str().unwrap().to_owned();
    let line = format!("stty rows 24 cols 80; {tool} --color always demo --pause --sandbox=permissive");
    let Some(mut terminal) = Terminal::open(&line, prepare) else { return };
    let mut screens = Vec::new();
    for _ in 0..6 {
        terminal.until("q to end … ");
        screens.push(std::mem::take(&mut terminal.screen));
        terminal.press(" ");
    }
    let run = terminal.end();
    assert_eq!(run.code, Some(0), "{run}");
    // The first prompt is below the shell's own lines, and the summary has no prompt.
    for (index, screen) in screens.iter().enumerate().skip(1) {
        let (_, shown) = screen.split_once("\u{1b}[H").unwrap();
        let shown = shown.replace('\r', "");
        let plain = without_colors(&shown);
        assert!(plain.lines().count() <= 24, "{plain}");
        assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
        assert_are_current(&format!("demo-{index}"), &shown);
    }
}

fn without_colors(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(|part| part.split_once('m').unwrap().1).collect::<String>()
}
