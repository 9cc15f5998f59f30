//! The commands of the README and of the guide, word for word: each is typed in a terminal, in the order of its page, on
//! one served sandbox for each page.

#![expect(clippy::print_stderr, reason = "what is not run is named")]

use crate::helpers::{CliRun, Stage, command};
use crate::terminal::{Terminal, is_required};
use secure_traffic::sandbox::State;
use std::path::Path;
use std::process::Command;

/// How a command is run, and how it ends.
#[derive(Debug, Clone, Copy)]
enum Run {
    /// As it is written; its exit code.
    Ends(i32),
    /// With one text in place of another, which would take too long; its exit code.
    With(&'static str, &'static str, i32),
    /// With an argument more, since nobody does what it waits for.
    Plus(&'static str, i32),
    /// Until Ctrl-C, pressed when the screen shows a text.
    UntilInterrupted(&'static str),
    /// Not run, for a reason.
    Skipped(&'static str),
}
use Run::{Ends, Plus, Skipped, UntilInterrupted, With};

const INSTALLS: Run = Skipped("installs this tool");
const RBAC: Run = Skipped("the sandbox has no access control");

/// The commands that do not end with 0 as they are written, by their beginning, in the order of the page.
const README: &[(&str, Run)] = &[
    ("cargo run -- demo --sandbox", Skipped("builds this tool; .ci/run runs it")),
    ("cargo test", Skipped("runs this test")),
    ("cargo install", INSTALLS),
    ("secure-traffic rehearse -n shop", With("1h", "5s", 0)),
    ("secure-traffic enable-mtls -n shop --diff", Ends(1)),
    ("secure-traffic enable-mtls -n shop ", Ends(1)),
    ("secure-traffic status -n shop", Ends(1)),
    ("secure-traffic probe -n shop --expect rejected", Ends(1)),
    ("secure-traffic probe -n shop --until rejected", With("2m", "3s", 3)),
];

const GUIDE: &[(&str, Run)] = &[
    ("cargo install", INSTALLS),
    ("secure-traffic completions zsh", Skipped("${fpath[1]} is a folder of zsh")),
    ("secure-traffic probe -n microservices-demo boards userprofile --watch", UntilInterrupted("answered (HTTP 200)")),
    ("secure-traffic rehearse -n shop", With("1h", "5s", 0)),
    ("secure-traffic rehearse --sandbox", Ends(1)),
    ("secure-traffic enable-mtls -n shop --rehearse", With("1h", "5s", 1)),
    ("secure-traffic rehearse -n shop", With("1h", "5s", 0)),
    ("secure-traffic status -n shop --rehearsal", Ends(1)),
    ("secure-traffic enable-mtls -n shop --yes", Ends(1)),
    ("secure-traffic enable-mtls -n shop --except", Ends(1)),
    ("secure-traffic enable-mtls -n shop --observe", Plus("--timeout 5s", 4)),
    ("secure-traffic disable-mtls -n shop --observe", Plus("--timeout 5s", 4)),
    ("secure-traffic enable-mtls -n microservices-demo --yes --check-url", Skipped("needs an ingress")),
    ("secure-traffic probe -n shop --expect rejected", Ends(1)),
    ("secure-traffic rbac probe -n shop | kubectl", RBAC),
    ("kubectl -n shop create token", RBAC),
    ("secure-traffic rbac probe -n shop --ambient --ztunnel-namespace ztunnel | kubectl", RBAC),
    ("secure-traffic rbac enable-mtls -n shop --network-policy | kubectl", RBAC),
];

/// A command of a page, with the lines that are typed into the shell that it starts.
#[derive(Debug)]
struct Line<'a> {
    text: &'a str,
    input: Vec<&'a str>,
}

/// The lines of its `sh` blocks, and the lines after `$ ` of its `console` blocks.
fn lines(page: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for block in page.split("\n```").skip(1).step_by(2) {
        let (kind, text) = block.split_once('\n').unwrap();
        let commands: Vec<&str> = match kind {
            "sh" => text.lines().collect(),
            "console" => text.lines().filter_map(|line| line.strip_prefix("$ ")).collect(),
            _ => continue,
        };
        let shell = commands.iter().position(|line| line.ends_with("sandbox --shell")).unwrap_or(commands.len());
        lines.extend(commands[..shell].iter().map(|text| Line { text, input: Vec::new() }));
        if let Some(text) = commands.get(shell) {
            lines.push(Line { text, input: commands[shell + 1..].to_vec() });
        }
    }
    lines
}

/// The machine of a reader: its home and its current folder.
struct Desk {
    stage: Stage,
    home: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let (stage, home) = (Stage::with_shop(State::Permissive), tempfile::tempdir().unwrap());
        let programs = home.path().join(".local/bin");
        std::fs::create_dir_all(&programs).unwrap();
        std::os::unix::fs::symlink(command().get_program(), programs.join("secure-traffic")).unwrap();
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        std::os::unix::fs::symlink(manifests, home.path().join("manifests")).unwrap();
        Self { stage, home }
    }

    /// A shell that runs a line, or that reads its lines from the keyboard.
    #[expect(clippy::disallowed_methods, reason = "a test reads the environment itself")]
    fn terminal(&self, line: &str) -> Option<Terminal> {
        let path = std::env::var("PATH").unwrap();
        let quoted = format!("bash -c '{}'", line.replace('\'', "'\\''"));
        Terminal::open(&quoted, |command: &mut Command| {
            command.env("PATH", format!("{}/.local/bin:{path}", self.home.path().display()));
            command.env("KUBECONFIG", self.stage.kubeconfig()).env("HOME", self.home.path()).env("SHELL", "/bin/sh");
            command.current_dir(self.home.path());
        })
    }

    /// Runs a line, answers its questions with yes and its pauses with Enter.
    fn run(&self, line: &Line, text: &str, interrupt_at: Option<&str>) -> Option<CliRun> {
        let mut terminal = self.terminal(text)?;
        if !line.input.is_empty() {
            terminal.until("until this shell ends");
            for input in &line.input {
                terminal.press(&format!("{input}\n"));
            }
            return Some(terminal.end());
        }
        if let Some(text) = interrupt_at {
            terminal.until(text);
            terminal.press("\u{3}");
        }
        let mut answered = 0;
        while terminal.read() {
            let asked = ["[y/N]", "Press Space or Enter"].map(|text| terminal.screen.matches(text).count());
            for _ in answered..asked.iter().sum() {
                terminal.press("y\n");
            }
            answered = asked.iter().sum();
        }
        Some(terminal.end())
    }
}

fn assert_commands_do_what_the_page_says(page: &str, expected: &[(&str, Run)]) {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let (desk, lines) = (Desk::new(), lines(&page));
    assert!(lines.len() > 15, "the page has no commands");
    let (mut expected, mut faults) = (expected.iter().peekable(), Vec::new());
    for line in &lines {
        let next = expected.next_if(|(beginning, _)| line.text.starts_with(beginning));
        let run = next.map_or(Ends(0), |(_, run)| *run);
        let (text, interrupt_at, code) = match run {
            Skipped(reason) => {
                eprintln!("not run ({reason}): {}", line.text);
                continue;
            }
            Ends(code) => (line.text.to_owned(), None, code),
            With(from, to, code) => (line.text.replacen(from, to, 1), None, code),
            Plus(argument, code) => {
                let (command, rest) = line.text.split_once(['>', '#']).unwrap_or((line.text, ""));
                let redirection = if line.text.contains('>') { rest } else { "/dev/null" };
                (format!("{command} {argument} > {redirection}"), None, code)
            }
            UntilInterrupted(text) => (line.text.to_owned(), Some(text), 130),
        };
        if text.contains("kubectl") && !is_required() && Command::new("kubectl").arg("help").output().is_err() {
            eprintln!("not run (kubectl is not installed): {}", line.text);
            continue;
        }
        // Without `script` there is no terminal.
        let Some(run) = desk.run(line, &text, interrupt_at) else { return };
        if run.code != Some(code) {
            faults.push(format!("{text}: {code} was expected\n{run}"));
        }
    }
    assert!(faults.is_empty(), "{} commands did not end as expected:\n{}", faults.len(), faults.join("\n"));
    let rest: Vec<_> = expected.collect();
    assert!(rest.is_empty(), "not on the page, or in another order: {rest:?}");
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    assert_commands_do_what_the_page_says("README.md", README);
}

#[test]
fn the_commands_of_the_guide_do_what_it_says() {
    assert_commands_do_what_the_page_says("docs/guide.md", GUIDE);
}
