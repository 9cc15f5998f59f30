//! The real binary, run as a user runs it.

use crate::environment::environment;
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Notify;

/// The tool, pointed at a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    namespace: String,
}

/// A signal to send, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    pub(crate) signal: &'static str,
    pub(crate) after: Duration,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct LabRun {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
    /// Whether the signal found it alive.
    pub(crate) killed: bool,
}

impl Tool {
    pub(crate) fn new(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned() }
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> LabRun {
        self.run_and_kill(arguments, None).await
    }

    /// Runs it, with a signal on the way.
    pub(crate) async fn run_and_kill(&self, arguments: &[&str], kill: Option<Kill>) -> LabRun {
        let started = Instant::now();
        let child = self.command(arguments).spawn().unwrap();
        let id = child.id().unwrap().to_string();
        let mut output = std::pin::pin!(child.wait_with_output());
        let mut killed = false;
        if let Some(kill) = kill {
            tokio::select! {
                biased;
                output = &mut output => return LabRun::new(output.unwrap(), started, false),
                () = tokio::time::sleep(kill.after) => {}
            }
            // Nobody has waited for the child yet, so the id is still its own.
            killed = Command::new("kill").args([&format!("-{}", kill.signal), &id]).status().await.unwrap().success();
        }
        let output = tokio::time::timeout(Duration::from_mins(3), output).await.expect("it ends in three minutes");
        LabRun::new(output.unwrap(), started, killed)
    }

    /// Runs it to its end, and tells when a line on stderr has these words.
    pub(crate) async fn run_and_tell(&self, arguments: &[&str], words: &str, told: &Notify) -> LabRun {
        let started = Instant::now();
        let mut child = self.command(arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let stderr = async {
            let mut text = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(words) {
                    told.notify_one();
                }
                text.push_str(&line);
                text.push('\n');
            }
            text
        };
        let both = async { tokio::join!(child.wait_with_output(), stderr) };
        let (output, text) =
            tokio::time::timeout(Duration::from_mins(3), both).await.expect("it ends in three minutes");
        LabRun { stderr: text, ..LabRun::new(output.unwrap(), started, false) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secure-traffic"));
        command.env_remove("KUBECONFIG").env_remove("SECURE_TRAFFIC_IMAGE").env("CI", "1");
        command.args(["--kubeconfig", environment().kubeconfig.as_deref().unwrap(), "-n", &self.namespace]);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Probes and reads the report.
    pub(crate) async fn probe(&self, arguments: &[&str]) -> Report {
        let run = self.run(&[&["probe", "-o", "json"], arguments].concat()).await;
        Report::of(run)
    }
}

impl LabRun {
    fn new(output: std::process::Output, started: Instant, killed: bool) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            took: started.elapsed(),
            killed,
        }
    }

    /// Fails unless the run ended with this code.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails unless stdout and stderr together hold these words.
    #[track_caller]
    pub(crate) fn shows(&self, words: &str) -> &Self {
        assert!(self.stdout.contains(words) || self.stderr.contains(words), "{words:?} is not in\n{self}");
        self
    }
}

impl std::fmt::Display for LabRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {} after {:?}\n{}{}", self.code, self.took, self.stdout, self.stderr)
    }
}

/// The JSON report of a probe.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) run: LabRun,
    pub(crate) json: Value,
}

impl Report {
    pub(crate) fn of(run: LabRun) -> Self {
        let json = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("no report: {error}\n{run}"));
        Self { run, json }
    }

    /// The result for a Service.
    #[track_caller]
    pub(crate) fn result(&self, service: &str) -> &Value {
        let results = self.json["namespaces"][0]["results"].as_array().unwrap();
        results.iter().find(|result| result["service"] == service).unwrap_or_else(|| panic!("{service}: {self}"))
    }

    /// `accepted`, `rejected` or the reason why it is inconclusive.
    #[track_caller]
    pub(crate) fn answer(&self, service: &str) -> &str {
        verdict_or_reason(self.result(service))
    }

    /// Fails unless the answers for these Services are these words.
    #[track_caller]
    pub(crate) fn expect(&self, expected: &[(&str, &str)]) -> &Self {
        let answers: Vec<(&str, &str)> = expected.iter().map(|(service, _)| (*service, self.answer(service))).collect();
        assert_eq!(answers, expected, "{self}");
        self
    }

    /// Fails unless a Service is rejected, by evidence: resets without a byte at each endpoint, and its own name.
    #[track_caller]
    pub(crate) fn expect_rejected(&self, namespace: &str, service: &str, account: &str) -> &Self {
        let result = self.result(service);
        assert_eq!(verdict_or_reason(result), "rejected", "{self}");
        assert_evidence(result);
        let name = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        for endpoint in result["endpoints"].as_array().unwrap() {
            assert_eq!(endpoint["hello"]["spiffe"], name.as_str(), "{self}");
        }
        self
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\n{}\n{:#}", self.run.code, self.run.stderr, self.json)
    }
}

/// The verdict of a result or an endpoint, or the reason of an inconclusive one.
pub(crate) fn verdict_or_reason(answer: &Value) -> &str {
    answer["reason"].as_str().or_else(|| answer["verdict"].as_str()).unwrap()
}

/// Fails where a verdict is not what its own samples say.
#[track_caller]
pub(crate) fn assert_evidence(result: &Value) {
    let endpoints = result["endpoints"].as_array().unwrap();
    let all = || endpoints.iter().chain([result]);
    let samples = || all().flat_map(|way| way["samples"].as_array().unwrap());
    match verdict_or_reason(result) {
        "rejected" => {
            assert!(!endpoints.is_empty() && all().all(|way| !way["samples"].as_array().unwrap().is_empty()));
            let silent = |sample: &Value| sample["bytes"] == 0 && sample["connected"] == true;
            assert!(
                samples().all(|sample| silent(sample) && (55..=56).contains(&sample["exitCode"].as_i64().unwrap()))
            );
            for endpoint in endpoints {
                assert_eq!(endpoint["mode"], "STRICT", "{result:#}");
                assert_eq!(endpoint["dataPlane"], "sidecar", "{result:#}");
                assert_eq!(endpoint["hello"]["certificateRequested"], true, "{result:#}");
                assert!(endpoint["hello"]["spiffe"].is_string() && endpoint["hello"]["expires"].is_string());
            }
        }
        "accepted" => {
            let answered = |sample: &Value| {
                sample["bytes"].as_u64() > Some(0) || sample["httpStatus"].is_u64() || sample["exitCode"] == 1
            };
            assert!(samples().any(answered), "{result:#}");
        }
        _ => {}
    }
}
