//! Watching while somebody else changes the mesh, and waiting for an answer.

use crate::helpers::{Stage, assert_keeps_to_schema, command, finish, signal};
use crate::signals::{end, start};
use crate::terminal::Terminal;
use secure_traffic::istio::yaml;
use secure_traffic::sandbox::State;
use serde_json::Value;
use std::io::Read;
use std::process::{Child, ChildStdout};

#[test]
fn until_rejected_waits_for_the_switch_and_proves_it() {
    let stage = Stage::new(State::Permissive, &[]);
    std::thread::scope(|scope| {
        let switch = scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(2500));
            stage.run("enable-mtls --yes --verify=false")
        });
        let run = stage.run("probe --until rejected --timeout 30s boards");
        assert_eq!(run.code, Some(0), "{run}");
        assert!(run.stdout.contains("boards:8080  answered (HTTP 200)"), "{run}");
        assert!(run.stdout.contains("boards:8080  refused  after "), "{run}");
        assert!(run.stdout.contains("boards:8080  rejected"), "{run}");
        assert_eq!(switch.join().unwrap().code, Some(0));
    });
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn until_ends_with_3_when_its_time_is_over() {
    let stage = Stage::new(State::Strict, &[]);
    let run = stage.run("probe --until accepted --timeout 3s boards");
    assert_eq!(run.code, Some(3), "{run}");
    assert!(run.stderr.contains("not accepted within"), "{run}");
    assert!(run.stderr.contains("boards:8080 refused"), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn a_watch_for_machines_is_one_object_a_line() {
    let stage = Stage::new(State::Strict, &[]);
    let mut command = stage.command();
    command.args(["probe", "--watch", "--timeout", "3s", "-o", "json", "boards", "boards-mongodb"]);
    let run = finish(command);
    assert_eq!(run.code, Some(0), "{run}");
    let lines: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut answers: Vec<(&str, &str)> =
        lines.iter().map(|line| (line["target"].as_str().unwrap(), line["answer"].as_str().unwrap())).collect();
    answers.sort_unstable();
    assert_eq!(answers, [("boards-mongodb:27017", "refused"), ("boards:8080", "refused")], "{run}");
}

#[test]
fn until_writes_one_document_for_machines() {
    let stage = Stage::new(State::Strict, &[]);
    for (format, options) in [("json", ""), ("yaml", "--watch ")] {
        let run = stage.run(&format!("probe {options}--until rejected --timeout 60s -o {format} boards userprofile"));
        assert_eq!(run.code, Some(0), "{run}");
        let documents = yaml::read_all(&run.stdout).unwrap();
        let [report] = &documents[..] else { panic!("not one document: {run}") };
        assert_keeps_to_schema(report);
        assert_eq!(report["namespaces"][0]["results"].as_array().unwrap().len(), 2, "{run}");
        assert!(run.stderr.contains("boards:8080  refused"), "the way there: {run}");
    }
    let run = stage.run("probe --until rejected --timeout 60s -o name boards");
    assert_eq!(run.stdout, "boards:8080 rejected\n", "{run}");
}

/// A watch that writes to a pipe.
struct Piped {
    tool: Child,
    stdout: ChildStdout,
    written: String,
}

impl Piped {
    fn start(stage: &Stage, arguments: &str) -> Self {
        let mut tool = start(stage.command(), arguments);
        let stdout = tool.stdout.take().unwrap();
        Self { tool, stdout, written: String::new() }
    }

    /// Reads until the text was written this often.
    fn until(&mut self, text: &str, times: usize) {
        let mut buffer = [0; 4096];
        while self.written.matches(text).count() < times {
            let length = self.stdout.read(&mut buffer).unwrap();
            assert!(length > 0, "{}", self.written);
            self.written.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    /// Interrupts the watch: all that it has written.
    fn end(mut self) -> String {
        signal(self.tool.id(), "INT");
        self.stdout.read_to_string(&mut self.written).unwrap();
        let run = end(self.tool);
        assert_eq!(run.code, Some(130), "{run}");
        self.written
    }
}

#[test]
fn a_watch_in_yaml_is_a_stream_of_documents() {
    let stage = Stage::new(State::Strict, &[]);
    let mut watch = Piped::start(&stage, "probe --watch -o yaml boards boards-mongodb");
    watch.until("time: ", 2);
    let written = watch.end();
    let documents = yaml::read_all(&written).unwrap();
    assert_eq!(documents.len(), 2, "{written}");
    assert!(documents.iter().all(|document| document["answer"] == "refused"), "{written}");
    let mut watch = Piped::start(&stage, "probe --watch -o name boards");
    watch.until("\n", 1);
    assert_eq!(watch.end(), "boards:8080 refused\n");
}

#[test]
fn a_watch_of_the_status_for_machines_is_whole_documents_and_changed_names() {
    let stage = Stage::new(State::Permissive, &[]);
    let mut watches =
        ["yaml", "name", "wide"].map(|format| Piped::start(&stage, &format!("status --watch -o {format}")));
    for watch in &mut watches {
        watch.until("PERMISSIVE", 5);
    }
    assert_eq!(stage.run("enable-mtls --yes --verify=false").code, Some(0));
    for watch in &mut watches {
        watch.until("STRICT", 5);
    }
    let [yaml, names, wide] = watches.map(Piped::end);
    let documents = yaml::read_all(&yaml).unwrap();
    documents.iter().for_each(assert_keeps_to_schema);
    assert!(documents.len() > 1, "{yaml}");
    assert_eq!(names.lines().count(), 10, "{names}");
    assert_eq!((wide.matches("SERVICE ").count(), wide.matches("PERMISSIVE → STRICT").count()), (1, 5), "{wide}");
}

/// Starts the tool in a terminal of 80 columns and 24 lines.
fn start_in_terminal(stage: &Stage, term: &str, arguments: &str) -> Option<Terminal> {
    let tool = command().get_program().to_str().unwrap().to_owned();
    Terminal::open(&format!("stty cols 80 rows 24; exec {tool} {arguments}"), |command| {
        command
            .env("KUBECONFIG", stage.kubeconfig())
            .env("HOME", "/nonexistent")
            .env("SHELL", "/bin/sh")
            .env("TERM", term);
    })
}

/// The lines that a terminal shows after this output, of which none is wider than the terminal.
fn lines_on_screen(output: &str) -> Vec<String> {
    let (mut lines, mut row, mut column): (Vec<Vec<char>>, usize, usize) = (vec![Vec::new()], 0, 0);
    let mut rest = output.chars();
    while let Some(character) = rest.next() {
        match character {
            '\r' => column = 0,
            '\n' => {
                row += 1;
                lines.resize(lines.len().max(row + 1), Vec::new());
            }
            '\u{1b}' => {
                assert_eq!(rest.next(), Some('['), "{output}");
                let mut number = String::new();
                let letter = rest.by_ref().find(|character| {
                    number.push(*character);
                    character.is_ascii_alphabetic()
                });
                match letter {
                    Some('A') => row = row.saturating_sub(number.trim_end_matches('A').parse().unwrap()),
                    Some('K') => lines[row].clear(),
                    Some('J') => {
                        lines[row].truncate(column);
                        lines.truncate(row + 1);
                    }
                    Some('m') | None => {}
                    Some(other) => panic!("{other:?} is not known: {output}"),
                }
            }
            character => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect()
}

/// The only line that begins so.
fn only_line<'a>(lines: &'a [String], beginning: &str) -> &'a str {
    let mut found = lines.iter().filter(|line| line.starts_with(beginning));
    let (Some(line), None) = (found.next(), found.next()) else { panic!("not one line {beginning:?}: {lines:#?}") };
    line
}

#[test]
fn a_watch_on_a_terminal_is_one_table_whose_rows_change_in_their_place() {
    let stage = Stage::new(State::Permissive, &[]);
    let Some(mut terminal) = start_in_terminal(&stage, "xterm", "probe --watch boards userprofile") else { return };
    while terminal.screen.matches("answered (HTTP 200)").count() < 2 {
        assert!(terminal.read(), "{}", terminal.screen);
    }
    let switch = stage.run("enable-mtls --yes --verify=false");
    assert_eq!(switch.code, Some(0), "{switch}");
    let is_refused = |screen: &str| lines_on_screen(screen).iter().filter(|line| line.contains("refused")).count() == 2;
    while !is_refused(&terminal.screen) {
        assert!(terminal.read(), "{}", terminal.screen);
    }
    terminal.press("\u{3}");
    let run = terminal.end();
    assert_eq!(run.code, Some(130), "{run}");
    let lines = lines_on_screen(&run.stdout);
    assert!(only_line(&lines, "TARGET").ends_with("BEFORE"), "the last table stays: {lines:#?}");
    for target in ["boards:8080 ", "userprofile:8080 "] {
        let row = only_line(&lines, target);
        assert!(row.contains(" refused ") && row.contains(" answered "), "{row}");
    }
    assert!(only_line(&lines, "2 flips seen").contains("boards:8080 refused"), "{lines:#?}");
    assert!(!run.stdout.contains("error:") && !run.stdout.contains("\u{1b}[?25l"), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn the_table_of_a_watch_follows_the_size_of_the_terminal() {
    let stage = Stage::new(State::Permissive, &[]);
    let Some(mut terminal) = start_in_terminal(&stage, "xterm", "probe --watch boards userprofile") else { return };
    terminal.until("answered (HTTP 200)");
    let device = std::fs::read_link(format!("/proc/{}/fd/1", terminal.tool())).unwrap();
    let stty = std::process::Command::new("stty").arg("-F").arg(device).args(["cols", "40", "rows", "3"]).status();
    assert!(stty.unwrap().success());
    terminal.screen.clear();
    // Three columns, and one row of two.
    terminal.until("FOR\r");
    terminal.until("… 1 more: ");
    terminal.press("\u{3}");
    let run = terminal.end();
    assert_eq!(run.code, Some(130), "{run}");
}

#[test]
fn until_on_a_terminal_leaves_the_table_above_the_proof() {
    let stage = Stage::new(State::Strict, &[]);
    let Some(terminal) = start_in_terminal(&stage, "xterm", "probe --until rejected boards") else { return };
    let run = terminal.end();
    assert_eq!(run.code, Some(0), "{run}");
    let lines = lines_on_screen(&run.stdout.replace("\u{1b}[1m", ""));
    let position = |text: &str| lines.iter().position(|line| line.starts_with(text)).unwrap();
    assert!(position("TARGET") < position("boards:8080  rejected"), "{lines:#?}");
    only_line(&lines, "TARGET");
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_lines() {
    let stage = Stage::new(State::Strict, &[]);
    for (arguments, text) in [("probe --watch boards", "boards:8080  refused"), ("status --watch", "boards:8080 ")] {
        let Some(mut terminal) = start_in_terminal(&stage, "dumb", arguments) else { return };
        terminal.until(text);
        terminal.press("\u{3}");
        let run = terminal.end();
        assert!(!run.stdout.contains('\u{1b}') && !run.stdout.contains("TARGET"), "{arguments}: {run}");
    }
}

#[test]
fn the_status_on_a_terminal_is_one_table_with_the_changes_below_it() {
    let stage = Stage::new(State::Permissive, &[]);
    let Some(mut terminal) = start_in_terminal(&stage, "xterm", "status --watch") else { return };
    terminal.until("PERMISSIVE");
    let switch = stage.run("enable-mtls --yes --verify=false");
    assert_eq!(switch.code, Some(0), "{switch}");
    let modes = |screen: &str| lines_on_screen(screen).iter().filter(|line| line.contains(" STRICT  ")).count();
    while modes(&terminal.screen) != 5 {
        assert!(terminal.read(), "{}", terminal.screen);
    }
    terminal.press("\u{3}");
    let run = terminal.end();
    assert_eq!(run.code, Some(130), "{run}");
    let lines = lines_on_screen(&run.stdout);
    only_line(&lines, "SERVICE");
    only_line(&lines, "boards:8080 ");
    assert!(lines.iter().any(|line| line.contains("Z  userprofile:8080  PERMISSIVE → STRICT")), "{lines:#?}");
    assert!(lines.len() <= 25, "{lines:#?}");
}
