//! The node: it runs pods, which is to say the host's curl, and reports what became of them.

use super::curl::{self, Directory};
use super::injection::is_injected;
use super::log::Log;
use super::mesh::DataPlane;
use super::now;
use super::resource::POD;
use super::status::Refusal;
use super::store::{Store, Write};
use super::tasks::Tasks;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The part of a termination message that a node reports.
const MESSAGE_LIMIT: usize = 4096;

/// A line that does not end must not fill the memory.
const LONGEST_LINE: u64 = 1 << 20;

/// A pod that was started here, by uid in [`Node::runs`].
#[derive(Debug)]
struct Run {
    log: Log,
    killed: watch::Sender<bool>,
    active: watch::Sender<bool>,
}

/// Runs what is posted, within narrow bounds.
#[derive(Debug)]
pub(super) struct Node {
    store: Arc<Store>,
    data_plane: Arc<DataPlane>,
    tasks: Arc<Tasks>,
    /// Holds the termination messages.
    directory: PathBuf,
    curl: Option<PathBuf>,
    runs: Mutex<HashMap<String, Arc<Run>>>,
    addresses: AtomicU16,
}

/// How a container ended.
struct End {
    code: i32,
    reason: &'static str,
    message: Option<String>,
    /// The pod ran into its `activeDeadlineSeconds`.
    deadline: bool,
}

impl Node {
    pub(super) fn new(store: Arc<Store>, data_plane: Arc<DataPlane>, tasks: Arc<Tasks>, directory: PathBuf) -> Self {
        let curl = crate::env::program("curl");
        Self { store, data_plane, tasks, directory, curl, runs: Mutex::default(), addresses: AtomicU16::new(0) }
    }

    fn run_of(&self, pod: &Value) -> Option<Arc<Run>> {
        let uid = pod["metadata"]["uid"].as_str()?;
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// The log of a pod that was started here, with its reader's position free to choose.
    pub(super) fn log(self: &Arc<Self>, pod: &Value) -> Option<PodLog> {
        self.run_of(pod).map(PodLog)
    }

    /// Starts a pod that was just created.
    pub(super) fn start(self: &Arc<Self>, pod: Arc<Value>) {
        let run =
            Arc::new(Run { log: Log::new(), killed: watch::Sender::new(false), active: watch::Sender::new(true) });
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, Arc::clone(&run));
        let node = Arc::clone(self);
        self.tasks.spawn(async move {
            node.live(&pod, &run).await;
            run.log.end();
            run.active.send_replace(false);
            node.bury(&pod);
        });
    }

    /// Kills a pod's container; `false` when nothing runs, and the pod can go at once.
    pub(super) fn kill(&self, pod: &Value) -> bool {
        self.run_of(pod).is_some_and(|run| {
            run.killed.send_replace(true);
            *run.active.borrow()
        })
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget(&self, pod: &Value) {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    async fn live(&self, pod: &Value, run: &Run) {
        let address = format!("10.244.1.{}", self.addresses.fetch_add(1, Ordering::Relaxed) % 254 + 1);
        let report = Report { pod, address };
        let seconds = pod["spec"]["activeDeadlineSeconds"].as_u64();
        let deadline = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(deadline);
        let Some(program) = &self.curl else {
            let message = "the sandbox runs the host's curl, and there is none on PATH";
            self.update(pod, |status| report.waiting(status, "ErrImagePull", message));
            let deadline = tokio::select! { () = killed(run) => false, () = deadline => true };
            let end = End { code: 137, reason: "Error", message: None, deadline };
            self.update(pod, |status| report.ended(status, &now(), &end));
            return;
        };
        self.update(pod, |status| report.waiting(status, "ContainerCreating", ""));
        let started = now();
        let message = self.directory.join(pod["metadata"]["uid"].as_str().unwrap_or("pod"));
        let mut child = match self.spawn(program, pod, &message) {
            Ok(child) => child,
            Err(why) => {
                run.log.write(format!("{why}\n").as_bytes());
                let end = End { code: 2, reason: "Error", message: Some(why), deadline: false };
                self.update(pod, |status| report.ended(status, &started, &end));
                return;
            }
        };
        self.update(pod, |status| report.running(status, &started));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let output = async { tokio::join!(copy(stdout, &run.log), copy(stderr, &run.log)) };
        let (status, deadline) = tokio::select! {
            // The pipes close when curl ends: its last words are in the log before its end is known.
            (_, status) = async { (output.await, child.wait().await.ok()) } => (status, false),
            () = killed(run) => (None, false),
            () = &mut deadline => (None, true),
        };
        // Reaps what was killed; what has ended by itself cannot be killed, and that is well.
        let _ = child.kill().await;
        let end = end(status, &message, deadline);
        self.update(pod, |status| report.ended(status, &started, &end));
    }

    /// Checks what the pod asks for and starts curl with nothing of the host's environment.
    fn spawn(&self, program: &Path, pod: &Value, message: &Path) -> Result<Child, String> {
        let arguments = self.arguments(pod, message).map_err(|why| why.to_string())?;
        Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("sandbox: curl cannot be started: {error}"))
    }

    fn arguments(&self, pod: &Value, message: &Path) -> Result<Vec<String>, curl::NotRun> {
        let own = |name: &&Value| name["name"] != "istio-proxy";
        let containers: Vec<&Value> = pod["spec"]["containers"].as_array().into_iter().flatten().filter(own).collect();
        let others = pod["spec"]["initContainers"].as_array().into_iter().flatten().filter(own).count();
        let [container] = containers.as_slice() else {
            return Err(curl::NotRun(format!("a pod with {} containers", containers.len())));
        };
        if others > 0 {
            return Err(curl::NotRun("init containers".to_owned()));
        }
        if !container["command"].is_null() && container["command"] != json!(["curl"]) {
            return Err(curl::NotRun(format!("command {}", container["command"])));
        }
        let texts = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let wanted: Vec<String> = texts.map(str::to_owned).collect();
        let directory = Directory {
            store: &self.store,
            data_plane: &self.data_plane,
            namespace: pod["metadata"]["namespace"].as_str().unwrap_or_default(),
            meshed: is_injected(pod),
        };
        curl::arguments(&wanted, &directory, message)
    }

    /// Writes a pod's status, unless the pod is gone by now.
    fn update(&self, pod: &Value, change: impl FnOnce(&mut Value)) {
        let metadata = &pod["metadata"];
        let (namespace, name) =
            (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default());
        // A pod that was deleted in the meantime has no status to write.
        let _ = self.store.write(&POD, namespace, name, |current| {
            let same = current.filter(|current| current["metadata"]["uid"] == metadata["uid"]);
            let mut pod = same.ok_or_else(|| Refusal::not_found(&POD, name))?.clone();
            pod["spec"]["nodeName"] = "sandbox".into();
            change(&mut pod["status"]);
            Ok(Write::Put(pod))
        });
    }

    /// Removes a pod whose deletion was asked for while it ran.
    fn bury(&self, pod: &Value) {
        let metadata = &pod["metadata"];
        let (namespace, name) =
            (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default());
        let gone = self.store.remove(&POD, namespace, name, |current| {
            let asked =
                !current["metadata"]["deletionTimestamp"].is_null() && current["metadata"]["uid"] == metadata["uid"];
            if asked { Ok(()) } else { Err(Refusal::method_not_allowed()) }
        });
        if gone.is_ok() {
            self.forget(pod);
        }
    }
}

async fn killed(run: &Run) {
    // The sender lives as long as the run: this ends by a kill only.
    let _ = run.killed.subscribe().wait_for(|killed| *killed).await;
}

async fn copy(source: Option<impl AsyncRead + Unpin>, log: &Log) {
    let Some(source) = source else { return };
    // Whole lines, as a container runtime writes them: two streams share the log.
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while let Ok(read) = (&mut source).take(LONGEST_LINE).read_until(b'\n', &mut line).await
        && read > 0
    {
        log.write(&line);
        line.clear();
    }
}

fn end(status: Option<ExitStatus>, message: &Path, deadline: bool) -> End {
    let code = status.and_then(|status| status.code()).unwrap_or(137);
    let written = std::fs::read(message).ok().filter(|bytes| !bytes.is_empty());
    // The message may not be there, and is not needed once it was read.
    let _ = std::fs::remove_file(message);
    let message =
        written.map(|bytes| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MESSAGE_LIMIT)..]).into_owned());
    End { code, reason: if code == 0 { "Completed" } else { "Error" }, message, deadline }
}

/// A pod's log, for the API.
#[derive(Debug, Clone)]
pub(super) struct PodLog(Arc<Run>);

impl std::ops::Deref for PodLog {
    type Target = Log;

    fn deref(&self) -> &Log {
        &self.0.log
    }
}

/// Writes the status of one pod.
struct Report<'a> {
    pod: &'a Value,
    address: String,
}

impl Report<'_> {
    fn waiting(&self, status: &mut Value, reason: &str, message: &str) {
        let mut waiting = json!({ "reason": reason });
        if !message.is_empty() {
            waiting["message"] = message.into();
        }
        self.write(status, "Pending", &json!({ "waiting": waiting }), false);
    }

    fn running(&self, status: &mut Value, started: &str) {
        self.write(status, "Running", &json!({"running": {"startedAt": started}}), true);
    }

    fn ended(&self, status: &mut Value, started: &str, end: &End) {
        let mut state = json!({"exitCode": end.code, "reason": end.reason, "startedAt": started, "finishedAt": now()});
        if let Some(message) = &end.message {
            state["message"] = message.as_str().into();
        }
        let phase = if end.code == 0 && !end.deadline { "Succeeded" } else { "Failed" };
        self.write(status, phase, &json!({ "terminated": state }), false);
        if end.deadline {
            status["reason"] = "DeadlineExceeded".into();
            status["message"] = "Pod was active on the node longer than the specified deadline".into();
        }
    }

    fn write(&self, status: &mut Value, phase: &str, state: &Value, ready: bool) {
        let truth = |is: bool| if is { "True" } else { "False" };
        let condition = |kind: &str, is: bool| json!({"type": kind, "status": truth(is), "lastProbeTime": null, "lastTransitionTime": now()});
        let container = |spec: &Value| {
            let state = if spec["name"] == "istio-proxy" && ready {
                json!({"running": {"startedAt": now()}})
            } else {
                state.clone()
            };
            json!({
                "name": spec["name"], "image": spec["image"], "imageID": "", "state": state, "lastState": {},
                "ready": ready, "started": ready, "restartCount": 0,
            })
        };
        let list = |field: &str| -> Vec<Value> {
            self.pod["spec"][field].as_array().into_iter().flatten().map(container).collect()
        };
        status["phase"] = phase.into();
        status["hostIP"] = "10.0.0.1".into();
        status["podIP"] = self.address.clone().into();
        status["podIPs"] = json!([{"ip": self.address}]);
        status["startTime"] = self.pod["metadata"]["creationTimestamp"].clone();
        status["conditions"] = json!([
            condition("PodScheduled", true),
            condition("Initialized", true),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ]);
        status["containerStatuses"] = list("containers").into();
        if self.pod["spec"]["initContainers"].is_array() {
            status["initContainerStatuses"] = list("initContainers").into();
        }
    }
}
