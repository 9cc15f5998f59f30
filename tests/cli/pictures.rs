//! The pictures of the documentation: what the tool prints on the sandbox.
//! `UPDATE_GENERATED=1 cargo test --test cli pictures` writes them anew.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use crate::helpers::Stage;
use crate::terminal::Terminal;
use assert_cmd::cargo::CommandCargoExt;
use secure_traffic::sandbox::State;
use std::path::Path;
use std::process::Command;

/// Columns of the terminal that is shown.
const WIDTH: usize = 120;

/// Pixels of 80 columns: the screens of the demo have the same width.
const MIN_WIDTH: usize = 692;

/// What a terminal shows of these commands, with its colours.
fn session(stage: &Stage, commands: &[&str]) -> String {
    let mut shown = String::new();
    for arguments in commands {
        // One file for both streams, so that the lines are in the order in which they were written.
        let path = stage.directory.path().join("output");
        let file = std::fs::File::create(&path).unwrap();
        let mut command = stage.command();
        command.args(["--color", "always"]).args(arguments.split_whitespace());
        let status = command.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        let output = std::fs::read_to_string(path).unwrap();
        assert!(status.success(), "{arguments}: {status}\n{output}");
        shown.extend(["\x1b[1;32m$\x1b[0m \x1b[1msecure-traffic ", arguments, "\x1b[0m\n", &output, "\n"]);
    }
    shown.trim_end().lines().map(|line| wrapped(line) + "\n").collect()
}

/// A line as a terminal breaks it; escape sequences take no room.
fn wrapped(line: &str) -> String {
    let (mut text, mut column, mut is_escape) = (String::new(), 0, false);
    for character in line.chars() {
        if character == '\x1b' {
            is_escape = true;
        } else if is_escape {
            is_escape = character != 'm';
        } else {
            if column == WIDTH {
                text.push('\n');
                column = 0;
            }
            column += 1;
        }
        text.push(character);
    }
    text
}

/// Compares a picture with the one in `docs/images`; times, counts and coordinates may differ.
fn assert_is_current(name: &str, session: &str) {
    let picture = anstyle_svg::Term::new().min_width_px(0).render_svg(session);
    assert_is_kept(name, &picture, session);
}

/// The same, in a dark and in a light terminal: `NAME-dark.svg` and `NAME-light.svg`.
fn assert_are_current(name: &str, session: &str) {
    let dark = anstyle_svg::Term::new().min_width_px(MIN_WIDTH).render_svg(session);
    // The dark terminal's colours for text, background, cyan and green, with darker ones for the light terminal.
    let colors = [("#AAAAAA", "#1F2328"), ("#000000", "#FFFFFF"), ("#00AAAA", "#007A7A"), ("#00AA00", "#1A7F37")];
    let light = colors.iter().fold(dark.clone(), |picture, (from, to)| {
        assert!(picture.contains(from), "{name} has no colour {from}");
        picture.replace(from, to)
    });
    assert_is_kept(&format!("{name}-dark.svg"), &dark, session);
    assert_is_kept(&format!("{name}-light.svg"), &light, session);
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

fn without_numbers(picture: &str) -> Vec<&str> {
    let is_numeric = |character: char| character.is_ascii_digit() || character == '.';
    picture.split(is_numeric).filter(|text| !text.is_empty()).collect()
}

#[test]
fn the_picture_of_the_readme_is_what_the_tool_prints() {
    let stage = Stage::new(State::Permissive, &[]);
    assert_is_current("switch.svg", &session(&stage, &["probe boards", "enable-mtls --yes", "probe boards"]));
}

#[test]
fn the_pictures_of_the_demo_are_what_a_terminal_of_80_columns_and_24_lines_shows() {
    let tool = Command::cargo_bin("secure-traffic").unwrap();
    let tool = tool.get_program().to_str().unwrap().to_owned();
    let line = format!("stty rows 24 cols 80; {tool} --color always demo --pause --sandbox=permissive");
    // In CI there is no progress bar, which would leave its traces.
    let prepare = |command: &mut Command| {
        command.env("CI", "1").env("HOME", "/nonexistent").env("SHELL", "/bin/sh");
    };
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
