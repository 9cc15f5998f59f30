use crate::helpers::{command, finish, run_with, signal, write};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A `sandbox` command that serves.
struct Served {
    child: Child,
    line: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut child =
            command().arg("sandbox").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
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
