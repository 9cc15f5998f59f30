use crate::helpers::{command, finish, run_with, signal, write};
use crate::terminal::Terminal;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A `sandbox` command that serves.
struct Served {
    child: Child,
    line: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut sandbox = command();
        // Not in the foreground of a terminal in which the tests run.
        sandbox.process_group(0).arg("sandbox").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = sandbox.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line }
    }

    fn kubeconfig(&self) -> PathBuf {
        let path = self.line.trim().strip_prefix("export KUBECONFIG=").unwrap_or_else(|| panic!("{}", self.line));
        PathBuf::from(path.trim_matches('\''))
    }

    /// Ends it by a signal; returns its exit code and what it said.
    fn end(mut self, name: &str) -> (Option<i32>, String) {
        signal(self.child.id(), name);
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // A test that failed must not leave a server.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn it_serves_until_it_is_stopped_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let wished = directory.path().join("it's a kubeconfig");
    for (signal, arguments) in [("TERM", vec![]), ("INT", vec!["--write-kubeconfig", wished.to_str().unwrap()])] {
        let served = Served::start(&arguments);
        let kubeconfig = if arguments.is_empty() { served.kubeconfig() } else { wished.clone() };
        assert_eq!(mode(&kubeconfig), 0o600, "it holds a token");
        if !arguments.is_empty() {
            assert!(
                served.line.starts_with("export KUBECONFIG='/") && served.line.contains("it'\\''s a"),
                "{}",
                served.line
            );
        }
        let mut probe = command();
        probe.env("KUBECONFIG", &kubeconfig).args(["probe", "boards", "--attempts", "1", "-o", "name"]);
        let probe = finish(probe);
        assert_eq!((probe.code, probe.stdout.as_str()), (Some(0), "boards:8080 accepted\n"), "{probe}");
        let (code, said) = served.end(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("the sandbox is served at https://127.0.0.1:"), "{said}");
        assert!(!kubeconfig.exists(), "removed with the cluster that it led to");
        let mut after = command();
        after.args(["probe", "boards", "--kubeconfig"]).arg(&kubeconfig);
        assert_eq!(finish(after).code, Some(4));
    }
}

#[test]
fn the_state_can_be_chosen() {
    let served = Served::start(&["--state", "strict"]);
    let mut probe = command();
    probe.env("KUBECONFIG", served.kubeconfig()).args(["probe", "boards", "--attempts", "1", "-o", "name"]);
    assert_eq!(finish(probe).stdout, "boards:8080 rejected\n");
    assert_eq!(served.end("TERM").0, Some(0));
}

#[test]
fn an_existing_kubeconfig_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let mine = write(directory.path(), "config", "precious");
    let run = run_with(["sandbox", "--write-kubeconfig", mine.to_str().unwrap()]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{run}");
    assert!(run.stderr.contains("could not write") && run.stderr.contains("exists"), "{run}");
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "precious");
}

#[test]
fn a_used_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = run_with(["sandbox", "--port", &port]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{run}");
    assert!(run.stderr.contains(&port) || run.stderr.contains("in use"), "{run}");
}

/// Runs `sandbox` with these arguments and an own folder for temporary files, which must be empty afterwards.
fn run_in_own_folder(arguments: &[&str], prepare: impl Fn(&mut std::process::Command)) -> crate::helpers::CliRun {
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = command();
    sandbox.env("TMPDIR", folder.path()).arg("sandbox").args(arguments);
    prepare(&mut sandbox);
    let run = finish(sandbox);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}: {run}");
    run
}

#[test]
fn a_command_runs_in_it_and_its_exit_code_is_passed_on() {
    let tool = command().get_program().to_str().unwrap().to_owned();
    let run = run_in_own_folder(&["--", &tool, "probe", "boards", "--attempts", "1", "-o", "name"], |_| {});
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), "boards:8080 accepted\n"), "{run}");
    let strict = ["--state=strict", "--", &tool, "probe", "boards", "--attempts=1", "-o=name", "--expect=accepted"];
    let run = run_in_own_folder(&strict, |_| {});
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), "boards:8080 rejected\n"), "{run}");
    for (script, code) in [("exit 7", 7), ("kill -KILL $$", 137), ("test -r \"$KUBECONFIG\"", 0), ("cat", 0)] {
        let run = run_in_own_folder(&["--", "sh", "-c", script], |_| {});
        assert_eq!((run.code, run.all().as_str()), (Some(code), ""), "{script}: {run}");
    }
    for (program, code) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
        let run = run_in_own_folder(&["--", program], |_| {});
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{run}");
        assert!(run.stderr.contains(&format!("could not run {program}: ")), "{run}");
    }
}

#[test]
fn a_shell_runs_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let input = write(folder.path(), "input", "test -r \"$KUBECONFIG\" && echo served\nexit 3\n");
    let run = run_in_own_folder(&["--shell"], |sandbox| {
        sandbox.env("SHELL", "/bin/sh").stdin(std::fs::File::open(&input).unwrap());
    });
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), "served\n"), "{run}");
    assert!(run.stderr.contains("until this shell ends"), "{run}");
    let both = run_with(["sandbox", "--shell", "--", "true"]);
    assert_eq!(both.code, Some(2), "{both}");
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let handled = "trap 'exit 5' INT; trap 'exit 6' TERM; echo \"$KUBECONFIG\"; while :; do sleep 0.1; done";
    let ignored = "trap '' TERM HUP; echo \"$KUBECONFIG\"; while :; do sleep 0.1; done";
    let plain = "echo \"$KUBECONFIG\"; exec sleep 300";
    for (script, name, code) in [
        (handled, "INT", 5),
        (handled, "TERM", 6),
        (plain, "INT", 130),
        (plain, "TERM", 143),
        (plain, "HUP", 129),
        // Ended with its children when its time is over.
        (ignored, "TERM", 143),
    ] {
        let mut served = Served::start(&["--", "sh", "-c", script]);
        let kubeconfig = PathBuf::from(served.line.trim());
        assert!(kubeconfig.exists(), "{}", served.line);
        signal(served.child.id(), name);
        let mut said = String::new();
        served.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(served.child.wait().unwrap().code(), Some(code), "{script}: {name}: {said}");
        assert!(!kubeconfig.parent().unwrap().exists(), "{}", kubeconfig.display());
    }
}

#[test]
fn ctrl_c_is_for_the_program_in_the_terminal() {
    let tool = command().get_program().to_str().unwrap().to_owned();
    let open = |arguments: &str| {
        Terminal::open(&format!("exec {tool} sandbox {arguments}"), |command| {
            command.env("SHELL", "/bin/sh").env("PS1", "ready> ").env("HOME", "/nonexistent").env_remove("ENV");
        })
    };
    let Some(mut shell) = open("--shell") else { return };
    shell.until("ready> ");
    shell.screen.clear();
    shell.press("\u{3}");
    shell.until("ready> ");
    shell.press("echo st$((1+1))ill; exit 3\n");
    let run = shell.end();
    assert!(run.code == Some(3) && run.stdout.contains("st2ill"), "{run}");
    let handles = r#"sh -c 'trap "echo handled; exit 9" INT; echo begun; while :; do sleep 0.1; done'"#;
    for (program, code) in [(handles, 9), ("sh -c 'echo begun; exec sleep 300'", 130)] {
        let Some(mut terminal) = open(&format!("-- {program}")) else { return };
        terminal.until("begun");
        terminal.press("\u{3}");
        let run = terminal.end();
        assert_eq!(run.code, Some(code), "{run}");
        assert_eq!(run.stdout.matches("handled").count(), usize::from(code == 9), "{run}");
    }
}

#[test]
fn its_second_namespace_has_a_workload_without_a_sidecar() {
    let served = Served::start(&[]);
    let run = |arguments: &str| {
        let mut command = command();
        command.env("KUBECONFIG", served.kubeconfig()).args(arguments.split_whitespace());
        finish(command)
    };
    let run_of_probe = run("probe -n shop --attempts 1 -o name");
    let accepted = "boards:8080 accepted\nlegacy:8080 accepted\npayments:8080 accepted\nweb:8080 accepted\n";
    assert_eq!((run_of_probe.code, run_of_probe.stdout.as_str()), (Some(0), accepted), "{run_of_probe}");
    let switch = run("enable-mtls -n shop --yes --force");
    assert_eq!(switch.code, Some(1), "{switch}");
    let strict = run("probe -n shop --attempts 1 -o name");
    let only_payments = "boards:8080 rejected\nlegacy:8080 rejected\npayments:8080 accepted\nweb:8080 rejected\n";
    assert_eq!(strict.stdout, only_payments, "{switch}{strict}");
    // The other namespace is as it was.
    assert_eq!(run("probe boards --attempts 1 -o name").stdout, "boards:8080 accepted\n");
    let from_outside = run("probe -n shop boards --from-namespace outside --attempts 1 -o name");
    assert_eq!(from_outside.stdout, "boards:8080 rejected\n", "{from_outside}");
}
