//! The rooms of the house (`docs/architecture.md`), held by one table each: who may use what, and how long a file may be.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A room, by the beginning of its files' paths under `src/`, and the parts of the crate that it may use.
/// Of several rooms that a file lies in, the one with the longest path counts.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain/", &["domain"]),
    ("istio/", &["domain", "istio"]),
    ("cluster/", &["cluster", "domain", "istio", "progress", "signal"]),
    ("curl_pod/", &["cluster", "curl_pod", "domain", "istio", "progress", "signal"]),
    ("http_client/", &["cluster", "domain", "http_client", "istio"]),
    ("sandbox/", &["domain", "env::program", "istio", "sandbox"]),
    ("report/", &["domain", "exit", "istio::yaml", "report", "sanitize"]),
    ("ui/", &["progress", "sanitize", "ui"]),
    // Of the cluster only the default that the help shows.
    (
        "cli/",
        &[
            "cli",
            "curl_pod::probe_pod::DEFAULT_IMAGE",
            "domain::evidence::Sources",
            "domain::findings::Code",
            "domain::probe",
            "domain::selector",
            "istio::kinds",
        ],
    ),
    ("settings.rs", &["cli", "cluster", "curl_pod", "env", "ui::printer"]),
    ("error.rs", &["cluster::error", "domain::probe", "exit", "report", "signal"]),
    ("exit.rs", &["signal"]),
    ("signal.rs", &[]),
    ("sanitize.rs", &[]),
    ("progress.rs", &[]),
    ("env.rs", &[]),
    ("main.rs", &[]),
    (
        "commands/",
        &[
            "cli",
            "cluster",
            "commands",
            "curl_pod",
            "domain",
            "error",
            "exit",
            "http_client",
            "istio",
            "progress",
            "report",
            "sanitize",
            "settings",
            "signal",
            "ui",
        ],
    ),
    (
        "commands/mod.rs",
        &[
            "cli",
            "cluster",
            "curl_pod",
            "domain::mesh",
            "error",
            "exit",
            "progress",
            "sandbox",
            "settings",
            "signal",
            "ui",
        ],
    ),
    ("commands/sandbox.rs", &["cli", "error", "exit", "sandbox"]),
    (
        "commands/demo.rs",
        &["cli", "cluster", "curl_pod", "domain", "error", "exit", "report", "sandbox", "settings", "ui"],
    ),
];

/// Words that only some places may name.
const WORDS: &[(&str, &[&str])] = &[
    ("serde_yaml", &["istio/yaml.rs"]),
    ("indicatif", &["ui/"]),
    ("colored", &["ui/", "report/"]),
    ("kube::", &["cluster/", "curl_pod/", "sandbox/"]),
    ("k8s_openapi::", &["cluster/", "curl_pod/", "sandbox/"]),
    ("reqwest::", &["http_client/"]),
    ("rcgen::", &["sandbox/"]),
    ("hyper::", &["cluster/error.rs", "curl_pod/proxy.rs", "sandbox/"]),
    ("std::process::exit", &["signal.rs"]),
    ("std::env::", &["env.rs", "main.rs"]),
    ("std::fs::", &["commands/", "cluster/connect.rs", "env.rs", "sandbox/", "ui/report_file.rs"]),
    ("SystemTime", &[]),
    ("println!", &[]),
    ("print!", &[]),
    ("eprintln!", &[]),
    ("eprint!", &[]),
    ("dbg!", &[]),
    ("io::stdout", &["ui/"]),
    ("io::stderr", &["ui/"]),
];

/// The domain waits for nobody and reads nothing.
const NOT_IN_DOMAIN: &[&str] = &["async ", "tokio::", "serde::", "serde_json", "std::io", "std::net::Tcp"];

const LONGEST: usize = 600;

/// One line of code that is in the wrong room.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: usize,
    what: String,
}

/// The code of a text, line by line, without comments, and without tests that share the file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..end].lines().enumerate().map(|(number, line)| (number + 1, line));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(number, line)| {
        let end = line.find(" // ").unwrap_or(line.len());
        (number, &line[..end])
    })
}

/// What a text uses of its own crate, as paths without `crate::`, with the line on which each stands. Groups are taken
/// apart: `use crate::{a::b, c}` uses `a::b` and `c`.
fn uses(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<(usize, &str)> = code(text).collect();
    let joined: String = lines.iter().flat_map(|(_, line)| [*line, "\n"]).collect();
    let mut found = Vec::new();
    for (at, _) in joined.match_indices("crate::") {
        // `$crate` and `my_crate::` are none of ours.
        let before = joined[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
            tree(&joined, at + "crate::".len(), "", &mut found);
        }
    }
    let line_of = |at: usize| lines[joined[..at].matches('\n').count()].0;
    found.into_iter().map(|(at, path)| (line_of(at), path)).collect()
}

/// Reads one path or group of paths from `at` on, and returns where it ends.
fn tree(text: &str, mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    at += text[at..].len() - text[at..].trim_start().len();
    let length = text[at..].find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(0);
    let word = text[at..at + length].trim_end_matches(':');
    let path = match (prefix, word) {
        (prefix, "" | "self") => prefix.to_owned(),
        ("", word) => word.to_owned(),
        (prefix, word) => format!("{prefix}::{word}"),
    };
    if !text[at + length..].starts_with('{') {
        found.push((at, path));
        return at + length;
    }
    at += length;
    while !text[at..].starts_with('}') {
        // Past the brace or the comma, and past `as …`.
        at += 1;
        if text[at..].trim_start().starts_with('}') {
            at += text[at..].find('}').unwrap_or_default();
            break;
        }
        at = tree(text, at, &path, found);
        match text[at..].find([',', '}']) {
            Some(next) => at += next,
            None => return text.len(),
        }
    }
    at + 1
}

/// Whether `path` is `allowed` or lies below it.
fn is_below(path: &str, allowed: &str) -> bool {
    path.strip_prefix(allowed).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Everything that is in the wrong room in one file, whose path is under `src/`.
fn faults(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let room = ROOMS.iter().filter(|(room, _)| path.starts_with(room)).max_by_key(|(room, _)| room.len());
    // lib.rs ties everything together; a file in no room is a fault of the table.
    if room.is_none() && path != "lib.rs" {
        faults.push(Fault { line: 1, what: "is in no room: add it to the table".to_owned() });
    }
    if let Some((room, allowed)) = room {
        for (line, path) in uses(text) {
            if !allowed.iter().any(|allowed| is_below(&path, allowed)) {
                faults.push(Fault { line, what: format!("{room} must not use crate::{path}") });
            }
        }
    }
    for (line, code) in code(text) {
        for (word, places) in WORDS {
            let found = code
                .match_indices(word)
                .any(|(at, _)| !code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_'));
            if found && !places.iter().any(|place| path.starts_with(place)) {
                faults.push(Fault { line, what: format!("only {places:?} may name {word}") });
            }
        }
        for word in NOT_IN_DOMAIN.iter().filter(|word| path.starts_with("domain/") && code.contains(**word)) {
            faults.push(Fault { line, what: format!("the domain must not name {word}") });
        }
    }
    faults
}

fn too_long(text: &str) -> Option<Fault> {
    let lines = text.lines().count();
    (lines > LONGEST).then(|| Fault { line: LONGEST + 1, what: format!("{lines} lines, more than {LONGEST}") })
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The files of the tests of a room are read as tests: they may use what they like.
fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_tests"))
}

#[test]
fn every_file_keeps_to_its_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut report = String::new();
    for file in rust_files(&root.join("src")).iter().chain(&rust_files(&root.join("tests"))) {
        let text = std::fs::read_to_string(file).expect("text");
        let mut found: Vec<Fault> = too_long(&text).into_iter().collect();
        if let Ok(path) = file.strip_prefix(root.join("src"))
            && !is_test(path)
        {
            found.extend(faults(&path.to_string_lossy(), &text));
        }
        for fault in found {
            let path = file.strip_prefix(root).unwrap_or(file).display();
            let _ = writeln!(report, "{path}:{}: {}", fault.line, fault.what);
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_room_has_files() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = rust_files(&source);
    for (room, _) in ROOMS {
        let found = files
            .iter()
            .any(|file| file.strip_prefix(&source).is_ok_and(|path| path.to_string_lossy().starts_with(room)));
        assert!(found, "{room} is in the table only");
    }
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = "\
//! crate::not_this
use crate::a::b;
use crate::{c::d, e::{self, f as g}, h};
use crate::{
    i::{
        j,
        k,
    },
    l,
};
fn x(y: crate::m::N) -> crate::o::P { my_crate::q() } // crate::r
pub(crate) fn s() {}
#[cfg(test)]
mod tests { use crate::t; }
";
    let found = uses(text);
    let found: Vec<(usize, &str)> = found.iter().map(|(line, path)| (*line, path.as_str())).collect();
    assert_eq!(
        found,
        [
            (2, "a::b"),
            (3, "c::d"),
            (3, "e"),
            (3, "e::f"),
            (3, "h"),
            (6, "i::j"),
            (7, "i::k"),
            (9, "l"),
            (11, "m::N"),
            (11, "o::P"),
        ]
    );
}

#[test]
fn what_is_in_the_wrong_room_is_found() {
    for (path, text, what) in [
        ("domain/plan.rs", "use crate::istio::read;\n", "domain/ must not use crate::istio::read"),
        ("domain/plan.rs", "async fn f() {}\n", "the domain must not name async "),
        ("domain/probe.rs", "use serde::Serialize;\n", "the domain must not name serde::"),
        ("domain/plan/words.rs", "fn f() -> crate::report::human::X {}\n", "must not use crate::report::human::X"),
        ("istio/read.rs", "use crate::cluster::error;\n", "istio/ must not use crate::cluster::error"),
        ("cluster/ask.rs", "use crate::{domain::mesh, ui::printer};\n", "must not use crate::ui::printer"),
        ("cluster/ask.rs", "use crate::sandbox::Sandbox;\n", "must not use crate::sandbox::Sandbox"),
        (
            "report/model.rs",
            "use crate::curl_pod::probe_pod::Failure;\n",
            "must not use crate::curl_pod::probe_pod::Failure",
        ),
        ("report/model.rs", "use crate::istio::render;\n", "must not use crate::istio::render"),
        ("ui/printer.rs", "use crate::domain::mesh;\n", "ui/ must not use crate::domain::mesh"),
        ("commands/probe.rs", "use crate::sandbox::State;\n", "commands/ must not use crate::sandbox::State"),
        (
            "commands/sandbox.rs",
            "use crate::curl_pod::runner;\n",
            "commands/sandbox.rs must not use crate::curl_pod::runner",
        ),
        (
            "cli/probe.rs",
            "use crate::curl_pod::probe_pod::with_pod;\n",
            "must not use crate::curl_pod::probe_pod::with_pod",
        ),
        ("sandbox/api.rs", "use crate::cluster::apply;\n", "sandbox/ must not use crate::cluster::apply"),
        ("sandbox/api.rs", "let x = serde_yaml::from_str(y);\n", "only [\"istio/yaml.rs\"] may name serde_yaml"),
        ("report/human.rs", "use indicatif::ProgressBar;\n", "may name indicatif"),
        ("cluster/ask.rs", "use colored::Colorize;\n", "may name colored"),
        ("commands/probe.rs", "    println!(\"x\");\n", "may name println!"),
        ("commands/probe.rs", "    eprintln!(\"x\");\n", "may name eprintln!"),
        ("commands/probe.rs", "std::process::exit(1);\n", "may name std::process::exit"),
        ("settings.rs", "std::env::var(\"X\");\n", "may name std::env::"),
        ("new.rs", "\n", "is in no room"),
    ] {
        let found = faults(path, text);
        assert!(found.iter().any(|fault| fault.line == 1 && fault.what.contains(what)), "{path}: {found:?}");
    }
    assert_eq!(too_long(&"\n".repeat(601)).map(|fault| fault.line), Some(601));
}

#[test]
fn what_is_in_its_room_is_left_alone() {
    for (path, text) in [
        ("domain/plan.rs", "use super::mesh::Snapshot;\nuse crate::domain::rule;\n"),
        ("cluster/ask.rs", "use crate::{domain::mesh, istio::read};\nuse kube::Api;\n"),
        ("ui/progress.rs", "use indicatif::ProgressBar;\nuse crate::sanitize;\n"),
        ("signal.rs", "std::process::exit(1);\n"),
        ("report/human.rs", "// println!(\"x\") would be wrong\nlet kube_names = 1;\n"),
        ("lib.rs", "use crate::sandbox;\n"),
        ("istio/patch.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::cluster; }\n"),
    ] {
        assert_eq!(faults(path, text), [], "{path}");
    }
    assert_eq!(too_long(&"\n".repeat(600)), None);
}
