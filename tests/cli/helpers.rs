//! Running the tool, a cluster to run it on, and what is taken out of its output before it is compared.

use assert_cmd::cargo::CommandCargoExt;
use secure_traffic::sandbox::{Lookalike, Sandbox, Served, State};
use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What one run of the tool came to.
#[derive(Debug, Clone)]
pub(crate) struct CliRun {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl fmt::Display for CliRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        writeln!(f, "exit {code}")?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                writeln!(f, "--- {name}\n{}", text.trim_end_matches('\n'))?;
            }
        }
        Ok(())
    }
}

impl CliRun {
    /// Both streams.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// stdout as JSON; a report must keep to its schema.
    pub(crate) fn json(&self) -> serde_json::Value {
        let value: serde_json::Value =
            serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert_keeps_to_schema(&value);
        value
    }
}

/// The Services of the sandbox, in the order of a report.
const SERVICES: [&str; 5] = ["app-ui", "boards", "boards-mongodb", "context-scraper", "userprofile"];

/// Asserts that the table on stdout has a row for a port of each Service, with this verdict and mode.
#[track_caller]
pub(crate) fn assert_verdicts(run: &CliRun, verdict: &str, mode: &str) {
    for service in SERVICES {
        let row = run.stdout.lines().find(|line| line.starts_with(&format!("{service}:")));
        let cells: Vec<&str> = row.unwrap_or_default().split_whitespace().skip(1).take(2).collect();
        assert_eq!(cells, [verdict, mode], "{service}: {run}");
    }
}

/// Asserts that stdout reports a result, such as `created`, of the policy and of the rule of each Service, each once.
/// An empty result stands for the names alone.
#[track_caller]
pub(crate) fn assert_objects(run: &CliRun, result: &str) {
    let rules = SERVICES.map(|service| format!("destinationrule.networking.istio.io/{service}"));
    for object in rules.into_iter().chain(["peerauthentication.security.istio.io/default".to_owned()]) {
        let line = format!("{object} {result}");
        assert_eq!(run.stdout.lines().filter(|written| *written == line.trim_end()).count(), 1, "{line}: {run}");
    }
}

/// Asks a validator of JSON Schema whether a report is what `docs/schema` says.
#[track_caller]
pub(crate) fn assert_keeps_to_schema(report: &serde_json::Value) {
    let schema = match report["kind"].as_str() {
        Some("ProbeReport") => include_str!("../../docs/schema/probe-report.v1alpha2.json"),
        Some("RehearsalReport") => include_str!("../../docs/schema/rehearsal-report.v1alpha2.json"),
        Some("StatusReport") => include_str!("../../docs/schema/status-report.v1alpha2.json"),
        _ => return,
    };
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let faults: Vec<String> =
        validator.iter_errors(report).map(|fault| format!("{}: {fault}", fault.instance_path)).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{report:#}");
}

/// The tool, in an environment that says nothing of clusters, colours or homes.
pub(crate) fn command() -> Command {
    let mut command = Command::cargo_bin("secure-traffic").unwrap();
    for name in [
        "GITHUB_STEP_SUMMARY",
        "KUBECONFIG",
        "NO_COLOR",
        "CI",
        "SECURE_TRAFFIC_IMAGE",
        "SECURE_TRAFFIC_TOLERATIONS",
        "SECURE_TRAFFIC_NODE_SELECTOR",
        "SECURE_TRAFFIC_POD_LABELS",
        "SECURE_TRAFFIC_POD_ANNOTATIONS",
        "SECURE_TRAFFIC_PRIORITY_CLASS",
        "CLICOLOR_FORCE",
        "KUBERNETES_SERVICE_HOST",
        "KUBECTL_EXTERNAL_DIFF",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "NO_PROXY",
        "no_proxy",
    ] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env("TERM", "xterm-256color").stdin(Stdio::null());
    command
}

pub(crate) fn finish(mut command: Command) -> CliRun {
    let output = command.output().unwrap();
    CliRun {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs the tool with arguments as a person would type them, divided by blanks.
pub(crate) fn run(arguments: &str) -> CliRun {
    let mut command = command();
    command.args(arguments.split_whitespace());
    finish(command)
}

/// The same, argument by argument.
pub(crate) fn run_with<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> CliRun {
    let mut command = command();
    command.args(arguments);
    finish(command)
}

/// What differs from run to run.
pub(crate) fn filters() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    for (pattern, shown) in [
        (r"valid until \d{4}-\d\d-\d\dT[\d:.]+Z", "valid until [time]"),
        (r"expires \d{4}-\d\d-\d\dT[\d:.]+Z", "expires [time]"),
        (r#""(startedAt|endedAt|expires)": "[^"]+""#, r#""$1": "[time]""#),
        (r"(startedAt|endedAt|expires): \S+", "$1: [time]"),
        (r#""(seconds|connectSeconds)": [\d.e-]+"#, r#""$1": "[seconds]""#),
        (r"(seconds|connectSeconds): [\d.e-]+", "$1: [seconds]"),
        (r"secure-traffic-sandbox\.\d+\.\d+\.\d+", "secure-traffic-sandbox.[version]"),
        (r"in force after \d+\.\d+ s", "in force after [seconds] s"),
        (r"(objects? in|endpoints? after) \d+\.\d+ s", "$1 [seconds] s"),
        (r"\d+ of \d+ calls succ", "[all] calls succ"),
        (r"inconclusive \(\d+\.\d s\)", "inconclusive ([seconds] s)"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
        // curl counts the milliseconds, so one failure can have several wordings.
        (r"(  curl       \(7\) [^\n]*\n)+", "  curl       (7) [refused]\n"),
        // The exit code of the hello is a race.
        (r#""exitCode": \d+,(\s+"certificateRequested")"#, r#""exitCode": "[race]",$1"#),
        // As many as the run had time for; of one that fails the line is a warning, and says so.
        (r"in-mesh calls during the change: \d+ of \d+ succ", "in-mesh calls during the change: [all] succ"),
        (r"curl 7: Failed to connect[^).]*", "curl 7: [refused]"),
        (r"-[0-9a-f]{10}-\d{5}", "-[pod]"),
        (r"(probe|journal)-[a-z2-9]{5}", "$1-[word]"),
        (r"secure-traffic(-probe/| )\d+\.\d+\.\d+", "secure-traffic$1[version]"),
        (r#"(version"?: "?)\d+\.\d+\.\d+"#, "$1[version]"),
    ] {
        settings.add_filter(pattern, shown);
    }
    settings
}

/// Compares a run with what it should show.
macro_rules! shows {
    ($run:expr, @$snapshot:literal) => {
        crate::helpers::filters().bind(|| insta::assert_snapshot!($run, @$snapshot))
    };
}
pub(crate) use shows;

/// A sandbox of this process, served to the tool.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    _served: Served,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) directory: TempDir,
}

impl Stage {
    pub(crate) fn new(state: State, lookalikes: &[Lookalike]) -> Self {
        Self::of(lookalikes.iter().fold(Sandbox::builder(state), |builder, lookalike| builder.with(*lookalike)))
    }

    /// With the second namespace, as `sandbox` serves it.
    pub(crate) fn with_shop(state: State) -> Self {
        Self::of(Sandbox::builder(state).with_shop())
    }

    fn of(builder: secure_traffic::sandbox::Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sandbox, served) = runtime.block_on(async {
            let sandbox = builder.start().await.unwrap();
            let served = sandbox.serve(0).await.unwrap();
            (sandbox, served)
        });
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("kubeconfig"), &served.kubeconfig).unwrap();
        Self { sandbox, _served: served, runtime, directory }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Writes a copy of its kubeconfig in which `edit` has changed the cluster and the user, and returns its path.
    pub(crate) fn edited_kubeconfig(&self, edit: impl Fn(&mut serde_json::Value, &mut serde_json::Value)) -> PathBuf {
        let text = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let mut config = secure_traffic::istio::yaml::read_one(&text).unwrap();
        let (mut cluster, mut user) = (config["clusters"][0]["cluster"].take(), config["users"][0]["user"].take());
        edit(&mut cluster, &mut user);
        config["clusters"][0]["cluster"] = cluster;
        config["users"][0]["user"] = user;
        write(self.directory.path(), "edited-kubeconfig", &config.to_string())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = command();
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Runs the tool on it.
    pub(crate) fn run(&self, arguments: &str) -> CliRun {
        let mut command = self.command();
        command.args(arguments.split_whitespace());
        finish(command)
    }

    /// Its pods; the client belongs to the runtime of the sandbox.
    pub(crate) fn pods(&self) -> kube::Api<k8s_openapi::api::core::v1::Pod> {
        let _inside = self.runtime.enter();
        kube::Api::default_namespaced(self.sandbox.client())
    }

    /// Names of the pods that are there and that the demo has not brought.
    pub(crate) fn probe_pods(&self) -> Vec<String> {
        let api = self.pods();
        let params = kube::api::ListParams::default().labels("app.kubernetes.io/managed-by=secure-traffic");
        let pods = self.runtime.block_on(api.list(&params)).unwrap();
        pods.items.into_iter().filter_map(|pod| pod.metadata.name).collect()
    }
}

/// One answer of a [`Stub`].
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, kind: "application/json", body: body.to_string() }
    }

    pub(crate) fn status(code: u16, reason: &str, message: &str) -> Self {
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "code": code, "reason": reason, "message": message,
        });
        Self::json(code, &body)
    }
}

/// An API server that answers by a script, over plain HTTP.
pub(crate) struct Stub {
    pub(crate) url: String,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// `script` gets the method with the path, and how many requests came before; no answer is silence.
    pub(crate) fn new(script: impl Fn(&str, usize) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let (record, script) = (Arc::clone(&seen), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (record, script) = (Arc::clone(&record), Arc::clone(&script));
                std::thread::spawn(move || serve(stream, &record, &*script));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>, script: &dyn Fn(&str, usize) -> Option<Answer>) {
    while let Some(line) = request(&mut stream) {
        let before = {
            let mut seen = seen.lock().unwrap();
            seen.push(line.clone());
            seen.len() - 1
        };
        let Some(answer) = script(&line, before) else {
            // Silence, until the other side has had enough.
            let _ = stream.read(&mut [0; 1]);
            return;
        };
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        );
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(answer.body.as_bytes())).is_err() {
            return;
        }
    }
}

/// The request line of the next request, whose body is read and dropped.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some(head.split(" HTTP/").next().unwrap_or_default().to_owned())
}

/// The port of a server that was there and is no more.
pub(crate) fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends a signal by its name, as a shell does.
pub(crate) fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap().success());
}

/// Asserts that no character in it acts upon a terminal.
pub(crate) fn assert_harmless(text: &str) {
    assert_eq!(secure_traffic::sanitize::text(text), text);
}

pub(crate) fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
