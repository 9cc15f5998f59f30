//! The pictures of the documentation: what the tool prints on the sandbox.
//! `UPDATE_GENERATED=1 cargo test --test cli pictures` writes them anew.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use crate::helpers::Stage;
use secure_traffic::sandbox::State;
use std::path::Path;

/// Columns of the terminal that is shown.
const WIDTH: usize = 120;

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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images").join(name);
    let picture = anstyle_svg::Term::new().min_width_px(0).render_svg(session);
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if without_numbers(&kept) == without_numbers(&picture) {
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
