//! Signals at any moment: nothing is left, and nothing untrue is said.

use crate::environment::environment;
use crate::namespace::{Stage, with_namespace};
use crate::tool::{Kill, LabRun, assert_evidence, verdict_or_reason};
use crate::workload::{Workload, service};
use futures::StreamExt;
use rand::Rng;
use std::collections::BTreeMap;
use std::time::Duration;

/// Every third run gets a signal, SIGINT and SIGTERM by turns, at a moment of its own.
fn kill(number: usize) -> Option<Kill> {
    let after = Duration::from_millis(rand::rng().random_range(0..1500));
    let signal = if number.is_multiple_of(2) { "INT" } else { "TERM" };
    number.is_multiple_of(3).then_some(Kill { signal, after })
}

/// A probe's run as one word; one that is no right answer is told by the caller.
fn outcome(run: &LabRun, right: &str) -> Result<String, String> {
    // A signal that came while the process was being set up, or when the work was done, may meet no handler.
    if run.killed && run.stdout.is_empty() && (run.code == 130 || run.code == 143 || run.code == -1) {
        return Ok(if run.code == -1 { "ended before it listened".to_owned() } else { format!("exit {}", run.code) });
    }
    let report: serde_json::Value = serde_json::from_str(&run.stdout).map_err(|_| run.to_string())?;
    let result = &report["namespaces"][0]["results"][0];
    assert_evidence(result);
    if verdict_or_reason(result) == right && run.code == 0 { Ok(right.to_owned()) } else { Err(run.to_string()) }
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_probes_leave_no_pod_and_no_wrong_verdict() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        let runs = futures::stream::iter(0..environment().kills).map(async |number| {
            let kill = kill(number);
            let run = stage.tool.run_and_kill(&["probe", "-o", "json", "web:8080"], kill).await;
            (kill, run)
        });
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut killed = 0;
        let mut runs = runs.buffer_unordered(2);
        while let Some((kill, run)) = runs.next().await {
            killed += usize::from(run.killed);
            match outcome(&run, "rejected") {
                Ok(word) => *counts.entry(word).or_default() += 1,
                Err(words) => wrong.push(format!("{kill:?}: {words}")),
            }
        }
        let left = stage.probe_pods().await;
        eprintln!("{} runs, {killed} signalled: {counts:?}; wrong {}, left {left:?}", environment().kills, wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(left, Vec::<String>::new());
    })
    .await;
}

/// The objects that a run says it has written.
pub(crate) fn said(run: &LabRun) -> Vec<String> {
    let lines = run.stdout.lines().chain(run.stderr.lines());
    let mut names: Vec<String> = lines
        .filter_map(|line| line.strip_suffix(" created").or_else(|| line.strip_suffix(" configured")))
        .filter(|name| !name.starts_with(' '))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

async fn enable_and_interrupt(stage: &Stage, after: u64, signal: &'static str) {
    let kill = Kill { signal, after: Duration::from_millis(after) };
    let run = stage.tool.run_and_kill(&["enable-mtls", "--yes"], Some(kill)).await;
    let there = stage.mesh_objects().await;
    assert_eq!(said(&run), there, "after {after} ms: {run}");
    // Ended by the signal itself where it came before anybody listened.
    let codes = [0, 130, 143].contains(&run.code) || (run.code == -1 && there.is_empty());
    assert!(codes, "after {after} ms: {run}");
    if run.code != 0 && there.len() < 4 && !there.is_empty() {
        run.shows("ended early");
    }
    assert_eq!(stage.probe_pods().await, Vec::<String>::new(), "after {after} ms: {run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_switch_reports_what_it_wrote() {
    with_namespace(async |stage| {
        for name in ["web", "web-2", "web-3"] {
            service(stage, name, "app", ("http", 8080, 8080)).await;
        }
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        for number in 0..environment().kills.div_ceil(2) {
            let signal = if number.is_multiple_of(2) { "INT" } else { "TERM" };
            let after = rand::rng().random_range(0..3000);
            enable_and_interrupt(stage, after, signal).await;
            stage.delete_mesh_objects().await;
        }
    })
    .await;
}
