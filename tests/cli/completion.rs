//! Completion: a real shell in a terminal, on a served sandbox, and TAB.

use crate::helpers::{Answer, Stage, Stub, command, finish, write};
use crate::terminal::{Terminal, is_required};
use secure_traffic::sandbox::State;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is typed before TAB, and what the line is then. The matrix of docs/completion.md.
const LINES: [(&str, &str); 28] = [
    ("prob", "probe "),
    ("probe --per-e", "probe --per-endpoint "),
    ("probe -o js", "probe -o json "),
    ("probe -n sh", "probe -n shop "),
    ("probe --namespace=outs", "probe --namespace=outside "),
    ("probe --from-namespace micro", "probe --from-namespace microservices-demo "),
    ("status --istio-namespace ist", "status --istio-namespace istio-system "),
    ("status --context secure", "status --context secure-traffic-sandbox "),
    ("status --cluster arn:aws:", "status --cluster arn:aws:eks:1:cluster/prod "),
    ("status --user secure", "status --user secure-traffic-sandbox "),
    ("status app", "status app-ui "),
    ("status -n shop pay", "status -n shop payments "),
    ("enable-mtls user", "enable-mtls userprofile "),
    ("rehearse -n shop leg", "rehearse -n shop legacy "),
    ("probe boards-", "probe boards-mongodb"),
    ("probe boards:", "probe boards:8080 "),
    ("probe -n shop payments:8", "probe -n shop payments:8080 "),
    ("probe --exclude=app-ui:", "probe --exclude=app-ui:8080 "),
    ("enable-mtls -n shop --except legacy:", "enable-mtls -n shop --except legacy:8080 "),
    ("demo --target boards:", "demo --target boards:8080 "),
    ("enable-mtls --destination-rules ne", "enable-mtls --destination-rules never "),
    ("enable-mtls -f pro", "enable-mtls -f probe.xml "),
    ("explain plaintext-to-s", "explain plaintext-to-strict "),
    ("explain reset-w", "explain reset-without-evidence "),
    ("status --ignore hbone-b", "status --ignore hbone-blocked "),
    ("probe --report jun", "probe --report junit="),
    ("probe --report=junit=pro", "probe --report=junit=probe.xml "),
    ("disable-mtls --restore=", "disable-mtls --restore=RUN "),
];

/// A shell at a terminal, whose Ctrl-G writes the line that is being edited into a file.
struct Shell {
    name: &'static str,
    terminal: Terminal,
    line: PathBuf,
}

/// The machine of a person who completes.
struct Desk {
    stage: Stage,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let (stage, folder) = (Stage::with_shop(State::Permissive), tempfile::tempdir().unwrap());
        let programs = folder.path().join("bin");
        std::fs::create_dir(&programs).unwrap();
        for name in ["secure-traffic", "kubectl-secure_traffic", "kubectl_complete-secure_traffic"] {
            std::os::unix::fs::symlink(command().get_program(), programs.join(name)).unwrap();
        }
        write(folder.path(), "probe.xml", "");
        let text = std::fs::read_to_string(stage.kubeconfig()).unwrap();
        let mut config = secure_traffic::istio::yaml::read_one(&text).unwrap();
        let mut other = config["clusters"][0].clone();
        other["name"] = "arn:aws:eks:1:cluster/prod".into();
        config["clusters"].as_array_mut().unwrap().push(other);
        write(folder.path(), "kubeconfig", &config.to_string());
        Self { stage, folder }
    }

    #[expect(clippy::disallowed_methods, reason = "a test reads the environment itself")]
    fn prepare(&self, command: &mut Command) {
        let folder = self.folder.path();
        command.env("PATH", format!("{}/bin:{}", folder.display(), std::env::var("PATH").unwrap()));
        command.env("KUBECONFIG", folder.join("kubeconfig")).env("HOME", folder).current_dir(folder);
        command.env("SECURE_TRAFFIC_COMPLETE_TIMEOUT", "20s");
        command.env("XDG_CONFIG_HOME", folder).env("XDG_DATA_HOME", folder).env("XDG_CACHE_HOME", folder);
    }

    /// Starts a shell with the committed script; `None` where it or `script` is missing.
    fn shell(&self, name: &'static str) -> Option<Shell> {
        if Command::new(name).arg("--version").output().is_err() {
            assert!(!is_required(), "{name} is not installed, and SECURE_TRAFFIC_E2E_REQUIRED=1 forbids to skip");
            return None;
        }
        let (folder, line) = (self.folder.path(), self.folder.path().join("line"));
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
        let (scripts, file) = (scripts.display(), line.display());
        let start = match name {
            "bash" => {
                let setup = format!(
                    "PS1='ready> '; source {scripts}/secure-traffic.bash\ndump() {{ printf %s \"$READLINE_LINE\" > {file}.new; mv {file}.new {file}; }}\nbind -x '\"\\C-g\": dump'\nbind 'set bell-style none'\n"
                );
                format!("bash --noprofile --rcfile {} -i", write(folder, "bashrc", &setup).display())
            }
            "zsh" => {
                let setup = format!(
                    "PS1='ready> '; fpath=({scripts} $fpath); autoload -Uz compinit; compinit -D -u\ndump() {{ print -rn -- \"$BUFFER\" > {file}.new; mv {file}.new {file} }}\nzle -N dump; bindkey -e; bindkey '^G' dump\nsetopt no_beep\n"
                );
                write(folder, ".zshrc", &setup);
                "zsh -i".to_owned()
            }
            _ => {
                let setup = format!(
                    "function fish_prompt; echo -n 'ready> '; end; function fish_greeting; end; function fish_right_prompt; end\nset -g fish_autosuggestion_enabled 0\nsource {scripts}/secure-traffic.fish\nfunction fish_user_key_bindings; bind \\cg 'commandline > {file}.new; mv {file}.new {file}'; end\n"
                );
                // Without this folder, fish first parses the manual pages of the system.
                std::fs::create_dir_all(folder.join("fish/generated_completions")).unwrap();
                write(&folder.join("fish"), "config.fish", &setup);
                "fish -i".to_owned()
            }
        };
        let mut terminal = Terminal::open(&start, |command| {
            self.prepare(command);
            command.env("ZDOTDIR", folder).env("SHELL", "/bin/sh").env("COLUMNS", "200");
        })?;
        terminal.until("ready> ");
        Some(Shell { name, terminal, line })
    }
}

impl Shell {
    /// The line after TAB.
    fn completed(&mut self, typed: &str) -> String {
        // It is away before the next line is typed.
        let _ = std::fs::remove_file(&self.line);
        self.terminal.press(&format!("\u{15}{typed}\t\u{7}"));
        let start = Instant::now();
        while !self.line.exists() {
            assert!(start.elapsed() < Duration::from_secs(30), "{}: no answer to {typed:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::read_to_string(&self.line).unwrap().trim_end_matches('\n').to_owned()
    }

    fn end(mut self) {
        self.terminal.press("\u{15}exit\n");
        self.terminal.end();
    }
}

fn assert_completes(name: &'static str) {
    let desk = Desk::new();
    let switch = desk.stage.run("enable-mtls --yes --verify=false boards");
    assert_eq!(switch.code, Some(0), "{switch}");
    let run = desk.stage.run("history -o name").stdout.trim().to_owned();
    let Some(mut shell) = desk.shell(name) else { return };
    let mut faults = Vec::new();
    for (typed, expected) in LINES {
        let expected = format!("secure-traffic {}", expected.replace("RUN", &run));
        let line = shell.completed(&format!("secure-traffic {typed}"));
        // Whether a blank follows a value that can go on is the shell's choice.
        if line.trim_end() != expected.trim_end() {
            faults.push(format!("{typed}: {line:?}"));
        }
    }
    assert!(faults.is_empty(), "{name}:\n{}", faults.join("\n"));
    // Several candidates are listed, and nothing comes after an error.
    shell.terminal.press("\u{15}secure-traffic probe -n shop \t\t");
    for service in ["boards", "legacy", "payments", "web"] {
        shell.terminal.until(service);
    }
    let unchanged = "secure-traffic --kubeconfig /nonexistent probe boar";
    assert_eq!(shell.completed(unchanged).trim_end(), unchanged);
    shell.end();
}

#[test]
fn bash_completes() {
    assert_completes("bash");
}

#[test]
fn zsh_completes() {
    assert_completes("zsh");
}

#[test]
fn fish_completes() {
    assert_completes("fish");
}

/// What the tool answers to the script of fish, which is the plainest, and what it writes to stderr. It has the time that a
/// busy machine takes.
fn answer(stage: &Stage, edited: Option<&Path>, words: &[&str]) -> (Vec<String>, String) {
    answer_within(Some("20s"), stage, edited, words)
}

fn answer_within(limit: Option<&str>, stage: &Stage, edited: Option<&Path>, words: &[&str]) -> (Vec<String>, String) {
    let mut command = stage.command();
    command.envs(limit.map(|limit| ("SECURE_TRAFFIC_COMPLETE_TIMEOUT", limit)));
    if let Some(kubeconfig) = edited {
        command.env("KUBECONFIG", kubeconfig);
    }
    command.env("SECURE_TRAFFIC_COMPLETE", "fish").args(["--", "secure-traffic"]).args(words);
    let run = finish(command);
    assert_eq!(run.code, Some(0), "{run}");
    let values = run.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned());
    (values.collect(), run.stderr)
}

#[test]
fn no_credential_plugin_is_started() {
    let stage = Stage::new(State::Permissive, &[]);
    let evidence = stage.directory.path().join("started");
    for mode in ["Never", "IfAvailable", "Always"] {
        let kubeconfig = stage.edited_kubeconfig(|_, user| {
            *user = serde_json::json!({"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [evidence],
                "interactiveMode": mode,
            }});
        });
        assert_eq!(answer(&stage, Some(&kubeconfig), &["probe", ""]).0, answer_without_cluster(), "{mode}");
        assert!(!evidence.exists(), "{mode}");
        // The kubeconfig is read all the same.
        let contexts = answer(&stage, Some(&kubeconfig), &["probe", "--context", ""]);
        assert_eq!(contexts, (vec!["secure-traffic-sandbox".to_owned()], String::new()));
    }
}

/// The options, which are offered where no Service is known.
fn answer_without_cluster() -> Vec<String> {
    let mut command = command();
    command.env("SECURE_TRAFFIC_COMPLETE", "fish").args(["--", "secure-traffic", "probe", ""]);
    let run = finish(command);
    assert!(run.stderr.is_empty() && run.stdout.lines().all(|line| line.starts_with('-')), "{run}");
    run.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn servers_that_fail_or_do_not_answer_give_no_names_and_no_noise() {
    let stage = Stage::new(State::Permissive, &[]);
    let silent = Stub::new(|_, _| None);
    let forbidden = Stub::new(|_, _| Some(Answer::status(403, "Forbidden", "no")));
    let page = Stub::new(|_, _| Some(Answer { status: 200, kind: "text/html", body: "<html>".to_owned() }));
    let nothing = (Vec::new(), String::new());
    for url in [forbidden.url.as_str(), &page.url, "http://127.0.0.1:1"] {
        for words in [["probe", "-n", ""], ["status", "--ztunnel-namespace", ""], ["disable-mtls", "-n", ""]] {
            let words = [&["--server", url][..], &words].concat();
            assert_eq!(answer(&stage, None, &words), nothing, "{words:?}");
        }
    }
    // A server that does not answer is left by itself, with and without a limit in the environment.
    let words = ["--server", &silent.url, "probe", "-n", ""];
    assert_eq!(answer_within(Some("3s"), &stage, None, &words), nothing);
    assert_eq!(silent.requests(), 1);
    assert_eq!(answer_within(None, &stage, None, &words), nothing);
}

#[test]
fn names_that_a_shell_could_run_are_left_out() {
    let rows: Vec<_> = ["good", "$(touch x)", "a;b", "tab\tbed", "-n", "`x`"]
        .map(|name| serde_json::json!({"cells": [name, "ClusterIP", "None", "<none>", "80/TCP", "1d"]}))
        .to_vec();
    let columns: Vec<_> = ["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"]
        .map(|name| serde_json::json!({"name": name, "type": "string", "format": "", "description": "", "priority": 0}))
        .to_vec();
    let table = serde_json::json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows});
    let server = Stub::new(move |_, _| Some(Answer::json(200, &table)));
    let stage = Stage::new(State::Permissive, &[]);
    let (found, stderr) = answer(&stage, None, &["--server", &server.url, "probe", "-n", "shop", ""]);
    assert_eq!((found, stderr.as_str()), (vec!["good".to_owned()], ""));
    assert_eq!(server.requests(), 1);
    let request = server.seen.lock().unwrap()[0].clone();
    assert!(
        request.starts_with("GET /api/v1/namespaces/shop/services?") && request.contains("includeObject=None"),
        "{request}"
    );
}

#[test]
fn kubectl_completes_the_plugin() {
    let desk = Desk::new();
    let ask = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        desk.prepare(&mut command);
        let run = finish({
            command.args(words);
            command
        });
        assert_eq!(run.code, Some(0), "{run}");
        let lines: Vec<String> = run.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect();
        (lines, run.stderr)
    };
    let completer = desk.folder.path().join("bin/kubectl_complete-secure_traffic");
    for (words, expected) in [
        (vec!["prob"], vec!["probe", ":4"]),
        (vec!["probe", "-n", "sh"], vec!["shop", ":4"]),
        (vec!["probe", "-n", "shop", "payments:"], vec!["payments:8080", ":4"]),
        (vec!["probe", "--report", "jun"], vec!["junit=", ":6"]),
        (vec!["probe", "--context", "nothing"], vec![":4"]),
    ] {
        let (lines, stderr) = ask(completer.to_str().unwrap(), &words);
        assert_eq!(
            (lines.iter().map(String::as_str).collect::<Vec<_>>(), stderr.as_str()),
            (expected.clone(), ""),
            "{words:?}"
        );
        if Command::new("kubectl").arg("help").output().is_ok() {
            let lines = ask("kubectl", &[&["__complete", "secure-traffic"], &words[..]].concat()).0;
            assert_eq!(lines, expected, "{words:?}");
        } else {
            assert!(!is_required(), "kubectl is not installed, and SECURE_TRAFFIC_E2E_REQUIRED=1 forbids to skip");
        }
    }
    let (all, _) = ask(completer.to_str().unwrap(), &[]);
    assert!(all.len() > 10 && all.contains(&"probe".to_owned()), "{all:?}");
}
