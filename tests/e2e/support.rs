//! A namespace that goes away, workloads in it, and the tool as a user runs it.

use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Small clusters run these tests: one at a time.
static TURN: Mutex<()> = Mutex::new(());

#[expect(clippy::disallowed_methods, reason = "tests read their own variables")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The cluster that the tests may use.
pub(crate) struct Cluster {
    pub(crate) kubeconfig: String,
    pub(crate) app: String,
    _turn: MutexGuard<'static, ()>,
}

/// The cluster, or `None` with a word on stderr.
pub(crate) fn cluster() -> Option<Cluster> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = variable("SECURE_TRAFFIC_E2E_KUBECONFIG").zip(variable("SECURE_TRAFFIC_E2E_APP_IMAGE"));
    match found {
        Some((kubeconfig, app)) => Some(Cluster { kubeconfig, app, _turn: turn }),
        None if variable("SECURE_TRAFFIC_E2E_REQUIRED").is_some() => {
            panic!("SECURE_TRAFFIC_E2E_KUBECONFIG and SECURE_TRAFFIC_E2E_APP_IMAGE are required, and not set")
        }
        None => {
            let _ = writeln!(std::io::stderr(), "skipped: SECURE_TRAFFIC_E2E_KUBECONFIG is not set");
            None
        }
    }
}

/// How often the interruption test runs the tool.
pub(crate) fn kills() -> usize {
    variable("SECURE_TRAFFIC_E2E_KILLS").and_then(|text| text.parse().ok()).unwrap_or(12)
}

fn finished(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("the program reads");
    child.wait_with_output().expect("the program ends")
}

impl Cluster {
    /// kubectl, which must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        let output = finished(Command::new("kubectl").env("KUBECONFIG", &self.kubeconfig).args(arguments), input);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {stderr}");
        stdout.into_owned()
    }

    /// The tool, ready to run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_secure-traffic"));
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments);
        command
    }

    /// The tool, run to its end.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Run {
        Run::of(&finished(&mut self.command(arguments), ""))
    }
}

/// What a run of the tool printed.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The report of `probe -o json`.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no report: {self:?}"))
    }

    /// `verdict` or `verdict (reason)` of a target.
    pub(crate) fn verdict(&self, target: &str) -> String {
        let report = self.report();
        let results = report["results"].as_array().expect("results");
        let result = results.iter().find(|result| result["target"] == target);
        let result = result.unwrap_or_else(|| panic!("{target} is not in {report}"));
        match result["reason"].as_str() {
            Some(reason) => format!("{} ({reason})", result["verdict"].as_str().expect("a verdict")),
            None => result["verdict"].as_str().expect("a verdict").to_owned(),
        }
    }
}

/// A namespace of a test's own; it goes away with this value.
pub(crate) struct Namespace<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
}

impl<'a> Namespace<'a> {
    /// With injection of sidecars.
    pub(crate) fn new(cluster: &'a Cluster, what: &str) -> Self {
        let name = format!("st-e2e-{what}-{:05x}", rand::random::<u32>() & 0xf_ffff);
        cluster.kubectl(&["create", "namespace", &name], "");
        cluster.kubectl(&["label", "namespace", &name, "istio-injection=enabled"], "");
        Self { cluster, name }
    }

    pub(crate) fn apply(&self, manifest: &str) {
        self.cluster.kubectl(&["apply", "-n", &self.name, "-f", "-"], manifest);
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kubectl(&[&["-n", &self.name], arguments].concat(), "")
    }

    pub(crate) fn ready(&self) {
        self.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s"]);
    }

    /// The tool in this namespace.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Run {
        self.cluster.tool(&[arguments, &["-n", &self.name]].concat())
    }

    /// A probe with its report, quick about ports that never answer.
    pub(crate) fn probe(&self, targets: &[&str]) -> Run {
        self.tool(&[&["probe", "-o", "json", "--max-time", "1s", "--attempts", "2"], targets].concat())
    }

    pub(crate) fn policy(&self, mode: &str) {
        self.apply(&policy("default", &format!("mtls: {{mode: {mode}}}")));
    }

    /// Names of probe pods that are still there.
    pub(crate) fn probe_pods(&self) -> String {
        self.kubectl(&["get", "pods", "-l", "app.kubernetes.io/managed-by=secure-traffic", "-o", "name"])
    }

    /// Waits until the mesh enforces what was written: a plain test does not race the control plane.
    pub(crate) fn settle(&self) {
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let pods = Command::new("kubectl")
                .env("KUBECONFIG", &self.cluster.kubeconfig)
                .args(["-n", &self.name, "get", "pods,peerauthentications,destinationrules", "-o", "wide"])
                .output();
            let text = pods.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            let _ = writeln!(std::io::stderr(), "{text}");
        }
        let _ = Command::new("kubectl")
            .env("KUBECONFIG", &self.cluster.kubeconfig)
            .args(["delete", "namespace", &self.name, "--wait=false"])
            .output();
    }
}

/// A PeerAuthentication with this spec.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"
    )
}

/// One pod of the application.
pub(crate) struct Workload<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: &'a str,
    pub(crate) annotations: &'a str,
    pub(crate) arguments: &'a [&'a str],
}

impl Workload<'_> {
    pub(crate) fn manifest(&self, image: &str) -> String {
        let arguments = serde_json::to_string(self.arguments).expect("plain texts");
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, labels: {{{}}}, annotations: {{{}}}}}\nspec:\n  \
             terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: app, image: {image:?}, args: {arguments}}}\n---\n",
            self.name, self.labels, self.annotations
        )
    }
}

/// A Service: name, selector, and ports as `(name, port)`.
pub(crate) fn service(name: &str, selector: &str, ports: &[(&str, u16)], headless: bool) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{{selector}}}\n");
    if headless {
        text.push_str("  clusterIP: None\n");
    }
    text.push_str("  ports:\n");
    for (port_name, port) in ports {
        let _ = writeln!(text, "  - {{name: {port_name}, port: {port}}}");
    }
    text + "---\n"
}
