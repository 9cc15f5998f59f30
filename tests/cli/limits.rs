//! Every wait ends with `--timeout` and with a signal, and everything that is read has a limit of size.

use crate::helpers::{Answer, CliRun, Stage, Stub, finish, run, signal, write};
use secure_traffic::sandbox::State;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn pipe(directory: &Path) -> PathBuf {
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    pipe
}

/// Runs a command, which must end within ten seconds.
#[track_caller]
fn soon(command: Command) -> CliRun {
    let begin = Instant::now();
    let run = finish(command);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}: {run}", begin.elapsed());
    run
}

#[test]
fn manifests_without_an_end_or_a_writer_do_not_outlast_the_command() {
    let stage = Stage::new(State::Permissive, &[]);
    let pipe = pipe(stage.directory.path());
    let command = |file: &Path, stdin: Stdio| {
        let mut command = stage.command();
        command.args(["enable-mtls", "--yes", "--timeout", "2s", "-f"]).arg(file).stdin(stdin);
        command
    };
    for (file, stdin, code, message) in [
        (pipe.as_path(), Stdio::null(), 4, "--timeout"),
        (Path::new("-"), File::options().read(true).write(true).open(&pipe).unwrap().into(), 4, "--timeout"),
        (Path::new("-"), File::open("/dev/zero").unwrap().into(), 2, "stdin: it is larger than 16 MiB"),
        (Path::new("/dev/zero"), Stdio::null(), 2, "/dev/zero: it is larger than 16 MiB"),
    ] {
        let run = soon(command(file, stdin));
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{file:?}: {run}");
        assert!(run.stderr.contains(message), "{file:?}: {run}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_manifest() {
    let stage = Stage::new(State::Permissive, &[]);
    let pipe = pipe(stage.directory.path());
    let mut command = stage.command();
    command.args(["enable-mtls", "--yes", "-f"]).arg(&pipe).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(child.try_wait().unwrap(), None, "it waits for a writer");
    signal(child.id(), "TERM");
    let begin = Instant::now();
    let status = child.wait().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    assert_eq!(status.code(), Some(143));
}

#[test]
fn a_report_into_a_pipe_that_nobody_reads_is_an_error_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = pipe(directory.path());
    let mut command = crate::helpers::command();
    command.args(["probe", "--sandbox", "boards", "--report"]).arg(format!("tap={}", pipe.display()));
    let run = soon(command);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run}");
    assert!(run.stderr.contains("no process reads this pipe"), "{run}");
}

#[test]
fn an_external_diff_that_hangs_is_ended_with_its_children() {
    let stage = Stage::new(State::Permissive, &[]);
    let directory = stage.directory.path();
    let child_id = directory.join("child");
    let script = write(
        directory,
        "diff.sh",
        &format!(
            "sleep 300 &\necho $! > {}.new; mv {}.new {}\nwait\n",
            child_id.display(),
            child_id.display(),
            child_id.display()
        ),
    );
    let mut command = stage.command();
    command.env("KUBECTL_EXTERNAL_DIFF", format!("sh {}", script.display()));
    command.args(["enable-mtls", "--diff", "boards", "--timeout", "3s"]);
    let run = soon(command);
    assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{run}");
    let child = std::fs::read_to_string(child_id).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the child is still there: {stat}");
}

#[test]
fn an_external_diff_decides_nothing() {
    let stage = Stage::new(State::Permissive, &[]);
    for (program, code) in [("true", 1), ("false", 1), ("diff", 1)] {
        let mut command = stage.command();
        command.env("KUBECTL_EXTERNAL_DIFF", program).args(["enable-mtls", "--diff", "-q"]);
        let run = soon(command);
        assert_eq!(run.code, Some(code), "{program}: {run}");
    }
}

#[test]
fn durations_beyond_a_week_are_usage_errors() {
    for option in ["--pod-timeout", "--wait-timeout", "--settle", "--timeout", "--request-timeout", "--connect-timeout"]
    {
        for value in ["18446744073709551615", "18446744073709551615s", "604801", "-1s"] {
            let run = run(&format!("enable-mtls --sandbox --yes {option}={value}"));
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{option}={value}: {run}");
        }
    }
}

#[test]
fn an_error_text_of_ten_megabytes_is_cut() {
    let stub = Stub::new(|_, _| Some(Answer::status(500, "InternalError", &"m".repeat(10_000_000))));
    for report in ["", "--report github"] {
        let run = run(&format!("probe boards --server {} {report}", stub.url));
        assert_eq!(run.code, Some(4));
        assert!(run.stderr.len() < 10_000, "{} bytes", run.stderr.len());
        assert!(run.stderr.contains("more bytes are not shown"), "{run}");
    }
}

#[test]
fn a_response_of_more_than_its_limit_is_refused() {
    let stub =
        Stub::new(|_, _| Some(Answer { status: 200, kind: "application/json", body: " ".repeat((32 << 20) + 1) }));
    let run = run(&format!("probe boards --server {}", stub.url));
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("the response is larger than 32 MiB"), "{run}");
}

/// The tool in a folder for temporary files of its own.
fn command_in(temporary: &Path) -> Command {
    let mut command = crate::helpers::command();
    command.env("TMPDIR", temporary);
    command
}

fn entries(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Starts `sandbox` and waits until it is served.
fn served_sandbox(temporary: &Path) -> std::process::Child {
    let mut child = command_in(temporary).arg("sandbox").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.starts_with("export KUBECONFIG="), "{line}");
    child
}

#[test]
fn a_killed_sandbox_is_swept_by_the_next_one() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = served_sandbox(temporary.path());
    let folders = entries(temporary.path());
    assert_eq!(folders.len(), 1, "{folders:?}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(temporary.path().join(&folders[0])).unwrap());
    assert_eq!(mode & 0o777, 0o700);
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_eq!(entries(temporary.path()), folders);
    let mut next = command_in(temporary.path());
    next.args(["status", "--sandbox"]);
    let run = finish(next);
    assert!(entries(temporary.path()).is_empty(), "{run}");
}

#[test]
fn the_folder_of_a_killed_command_is_swept_by_any_next_one() {
    let stage = Stage::new(State::Permissive, &[]);
    let temporary = tempfile::tempdir().unwrap();
    let ready = stage.directory.path().join("ready");
    let script = write(stage.directory.path(), "diff.sh", &format!("touch {}; exec sleep 20", ready.display()));
    let mut diff = command_in(temporary.path());
    diff.env("KUBECONFIG", stage.kubeconfig()).env("KUBECTL_EXTERNAL_DIFF", format!("sh {}", script.display()));
    diff.args(["enable-mtls", "--diff", "boards"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = diff.spawn().unwrap();
    while !ready.exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let next = || {
        let mut command = command_in(temporary.path());
        command.args(["completions", "bash"]);
        assert_eq!(finish(command).code, Some(0));
        entries(temporary.path()).len()
    };
    assert_eq!(next(), 1, "the command is still running");
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_eq!(next(), 0);
}

#[test]
fn a_second_signal_removes_the_folder_of_the_sandbox() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = served_sandbox(temporary.path());
    // Both signals are there before the process runs again.
    for name in ["STOP", "TERM", "INT", "CONT"] {
        signal(child.id(), name);
    }
    child.wait().unwrap();
    assert!(entries(temporary.path()).is_empty());
}

#[test]
fn requests_to_the_sandbox_are_traced() {
    let run = run("status --sandbox -v");
    let traced = |path: &str| run.stderr.lines().any(|line| line.starts_with(path) && line.contains(" 200 OK in "));
    assert!(traced("GET /apis") && traced("GET /api/v1/namespaces/microservices-demo/services?"), "{run}");
}

#[test]
fn too_few_open_files_are_an_error_and_no_panic() {
    let program = crate::helpers::command().get_program().to_owned();
    for limit in [4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 36, 40, 48, 64] {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]).arg(&program);
        command.args(["status", "--sandbox"]).env("HOME", "/nonexistent").stdin(Stdio::null());
        let run = soon(command);
        assert!(matches!(run.code, Some(0 | 1 | 4 | 127)) && !run.stderr.contains("panicked"), "{limit}: {run}");
    }
}
