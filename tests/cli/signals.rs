use crate::helpers::{CliRun, Stage, Stub, command, signal};
use futures::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use secure_traffic::sandbox::{Lookalike, State};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn start(mut command: Command, arguments: &str) -> Child {
    command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn end(child: Child) -> CliRun {
    let output = child.wait_with_output().unwrap();
    CliRun {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until a probe pod runs.
pub(crate) fn until_a_probe_runs(stage: &Stage) {
    let pods = stage.pods();
    let params = WatchParams::default().labels("app.kubernetes.io/managed-by=secure-traffic");
    let running = async {
        let mut events = pods.watch(&params, "0").await.unwrap().boxed();
        while let Some(event) = events.next().await {
            if let Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event
                && pod.status.and_then(|status| status.phase).as_deref() == Some("Running")
            {
                return;
            }
        }
        panic!("the watch ended");
    };
    stage.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), running).await.unwrap() });
}

#[test]
fn an_interrupted_probe_leaves_nothing() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    // Under `nohup` the tool, too, ignores SIGHUP.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .is_some_and(|mask| mask.ends_with(['1', '3', '5', '7', '9', 'b', 'd', 'f']));
    for (name, code, word) in [("INT", 130, "interrupted"), ("TERM", 143, "terminated"), ("HUP", 129, "closed")] {
        if name == "HUP" && ignored {
            continue;
        }
        let probe = start(stage.command(), "probe silent --max-time 60s");
        until_a_probe_runs(&stage);
        let begin = Instant::now();
        signal(probe.id(), name);
        let run = end(probe);
        assert_eq!((run.code, run.stdout.as_str()), (Some(code), ""), "{run}");
        assert!(run.stderr.contains(word), "{run}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        assert!(stage.probe_pods().is_empty(), "{run}");
    }
}

#[test]
fn the_timeout_of_the_command_ends_it() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    let run = stage.run("probe silent --max-time 60s --timeout 2s");
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("--timeout"), "{run}");
    assert!(stage.probe_pods().is_empty(), "{run}");
}

#[test]
fn a_silent_server_does_not_delay_the_end() {
    let stub = Stub::new(|_, _| None);
    let begin = Instant::now();
    let probe = start(command(), &format!("probe --server {}", stub.url));
    while stub.requests() == 0 {
        assert!(begin.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(probe.id(), "INT");
    let run = end(probe);
    assert_eq!(run.code, Some(130), "{run}");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
