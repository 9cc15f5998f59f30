//! The node: runs the containers of pods as processes of the host's curl, and writes the status of the pods.

use super::clock::now;
use super::curl::{self, Directory};
use super::injection::is_injected;
use super::log::Log;
use super::loopback;
use super::mesh::Network;
use super::resource::POD;
use super::status::ApiStatus;
use super::store::{Store, Write};
use super::tasks::Tasks;
use anyhow::Result;
use futures::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// The container of a sidecar.
const PROXY: &str = "istio-proxy";

/// The longest termination message that a node reports, in bytes.
const MESSAGE_LIMIT: usize = 4096;

/// The longest part of a line that is read at once, in bytes: limits the memory of an endless line.
const LONGEST_LINE: u64 = 1 << 20;

/// A pod that was started here; [`Node::runs`] holds it by uid.
#[derive(Debug)]
struct PodRun {
    /// The log of each container, by name.
    logs: BTreeMap<String, Arc<Log>>,
    terminated: watch::Sender<bool>,
    active: watch::Sender<bool>,
}

impl PodRun {
    /// Gives every container the same end.
    fn all(&self, end: &End) -> Ends {
        self.logs.keys().map(|name| (name.clone(), end.clone())).collect()
    }
}

/// Runs the containers of pods, if they are curl with the flags of a probe.
#[derive(Debug)]
pub(super) struct Node {
    store: Arc<Store>,
    network: Arc<Network>,
    tasks: Arc<Tasks>,
    /// Directory of the termination messages.
    directory: PathBuf,
    curl: Option<PathBuf>,
    runs: Mutex<HashMap<String, Arc<PodRun>>>,
    /// The logs of the proxies of the demo's pods, by the pod's name.
    proxies: ProxyLogs,
    addresses: AtomicU16,
}

/// How a container ended.
#[derive(Clone)]
struct End {
    code: i32,
    reason: &'static str,
    message: Option<String>,
    /// Whether the pod exceeded its `activeDeadlineSeconds`.
    deadline: bool,
}

/// Logs of proxies, by the pod's name.
pub(super) type ProxyLogs = HashMap<String, Arc<Log>>;

/// How each container of a pod ended, by name.
type Ends = BTreeMap<String, End>;

impl Node {
    pub(super) fn new(
        store: Arc<Store>,
        network: Arc<Network>,
        tasks: Arc<Tasks>,
        directory: PathBuf,
        proxies: ProxyLogs,
    ) -> Self {
        let curl = crate::env::program("curl");
        Self { store, network, tasks, directory, curl, runs: Mutex::default(), proxies, addresses: AtomicU16::new(0) }
    }

    fn run_of(&self, pod: &Value) -> Option<Arc<PodRun>> {
        let uid = pod["metadata"]["uid"].as_str()?;
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// The log of a container that was started here.
    pub(super) fn log(&self, pod: &Value, container: &str) -> Option<Arc<Log>> {
        match self.run_of(pod) {
            Some(run) => run.logs.get(container).cloned(),
            None if container == PROXY => self.proxies.get(pod["metadata"]["name"].as_str()?).cloned(),
            None => None,
        }
    }

    /// Starts a pod that was just created.
    pub(super) fn start(self: &Arc<Self>, pod: Arc<Value>) {
        let logs = own_containers(&pod).map(|container| (name(container).to_owned(), Arc::new(Log::new()))).collect();
        let run = Arc::new(PodRun { logs, terminated: watch::Sender::new(false), active: watch::Sender::new(true) });
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, Arc::clone(&run));
        let node = Arc::clone(self);
        self.tasks.spawn(async move {
            node.run(&pod, &run).await;
            run.logs.values().for_each(|log| log.end());
            run.active.send_replace(false);
            node.finalize(&pod);
        });
    }

    /// Ends a pod's containers; `false` if none runs, so that the pod can be removed at once.
    pub(super) fn terminate(&self, pod: &Value) -> bool {
        self.run_of(pod).is_some_and(|run| {
            run.terminated.send_replace(true);
            *run.active.borrow()
        })
    }

    /// Drops the logs of a pod that is removed.
    pub(super) fn forget(&self, pod: &Value) {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    async fn run(&self, pod: &Value, run: &PodRun) {
        let host = self.addresses.fetch_add(1, Ordering::Relaxed) % 254 + 1;
        let address = Ipv4Addr::new(10, 244, 1, u8::try_from(host).unwrap_or(1));
        let report = Report { pod, address };
        let Some(program) = &self.curl else {
            let message = "the sandbox runs the host's curl, and there is none on PATH";
            self.update(pod, |status| report.waiting(status, "ErrImagePull", message));
            let end = stopped(pod, run).await;
            self.update(pod, |status| report.ended(status, &now(), &run.all(&end)));
            return;
        };
        self.update(pod, |status| report.waiting(status, "ContainerCreating", ""));
        let started = now();
        let ends: Ends = match self.spawn_all(program, pod, address) {
            Ok(containers) => {
                self.update(pod, |status| report.running(status, &started));
                let runs = containers.into_iter().map(|container| container.run(pod, run));
                join_all(runs).await.into_iter().collect()
            }
            Err(why) => {
                run.logs.values().for_each(|log| log.write(format!("{why}\n").as_bytes()));
                let end = End { code: 2, reason: "Error", message: Some(why), deadline: false };
                run.all(&end)
            }
        };
        self.update(pod, |status| report.ended(status, &started, &ends));
    }

    /// Starts all containers of a pod, or none and says why.
    fn spawn_all(&self, program: &Path, pod: &Value, address: Ipv4Addr) -> Result<Vec<Container>, String> {
        let others =
            pod["spec"]["initContainers"].as_array().into_iter().flatten().filter(|other| is_own(other)).count();
        if others > 0 {
            return Err(curl::NotRun("init containers".to_owned()).to_string());
        }
        let containers = own_containers(pod).enumerate();
        containers.map(|(index, container)| self.spawn(program, pod, address, index, container)).collect()
    }

    /// Checks the arguments of a container and starts curl without the host's environment. A curl whose parent is killed
    /// ends at its next output, or at its `--max-time`: the kernel's signal for the death of a parent could be set only by
    /// unsafe code between `fork` and `exec`.
    fn spawn(
        &self,
        program: &Path,
        pod: &Value,
        address: Ipv4Addr,
        index: usize,
        container: &Value,
    ) -> Result<Container, String> {
        let uid = pod["metadata"]["uid"].as_str().unwrap_or("pod");
        let message = self.directory.join(format!("{uid}-{index}"));
        let arguments = self.arguments(pod, address, container, &message).map_err(|why| why.to_string())?;
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // A terminal sends Ctrl-C to its whole group; the curls must serve until the pods are deleted.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("sandbox: curl cannot be started: {error}"))?;
        Ok(Container { name: name(container).to_owned(), child, message })
    }

    fn arguments(
        &self,
        pod: &Value,
        address: Ipv4Addr,
        container: &Value,
        message: &Path,
    ) -> Result<Vec<String>, curl::NotRun> {
        if !container["command"].is_null() && container["command"] != json!(["curl"]) {
            return Err(curl::NotRun(format!("command {}", container["command"])));
        }
        let texts = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let wanted: Vec<String> = texts.map(str::to_owned).collect();
        let directory = Directory {
            store: &self.store,
            network: &self.network,
            namespace: pod["metadata"]["namespace"].as_str().unwrap_or_default(),
            meshed: is_injected(pod),
            source: loopback::address(address),
        };
        curl::arguments(&wanted, &directory, message)
    }

    /// Writes a pod's status if the pod still exists.
    fn update(&self, pod: &Value, change: impl FnOnce(&mut Value)) {
        let metadata = &pod["metadata"];
        let (namespace, name) =
            (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default());
        // The pod may be deleted in the meantime.
        let _ = self.store.write(&POD, namespace, name, |current| {
            let same = current.filter(|current| current["metadata"]["uid"] == metadata["uid"]);
            let mut pod = same.ok_or_else(|| ApiStatus::not_found(&POD, name))?.clone();
            pod["spec"]["nodeName"] = "sandbox".into();
            change(&mut pod["status"]);
            Ok(Write::Put(pod))
        });
    }

    /// Removes a pod that was deleted while it ran.
    fn finalize(&self, pod: &Value) {
        let metadata = &pod["metadata"];
        let (namespace, name) =
            (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default());
        let gone = self.store.remove(&POD, namespace, name, |current| {
            let asked =
                !current["metadata"]["deletionTimestamp"].is_null() && current["metadata"]["uid"] == metadata["uid"];
            if asked { Ok(()) } else { Err(ApiStatus::method_not_allowed()) }
        });
        if gone.is_ok() {
            self.forget(pod);
        }
    }
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

fn is_own(container: &Value) -> bool {
    name(container) != PROXY
}

/// The containers of a pod without the sidecar.
fn own_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    pod["spec"]["containers"].as_array().into_iter().flatten().filter(|container| is_own(container))
}

/// Waits until the pod is terminated or exceeds its deadline.
async fn stopped(pod: &Value, run: &PodRun) -> End {
    let deadline = async {
        match pod["spec"]["activeDeadlineSeconds"].as_u64() {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let mut terminations = run.terminated.subscribe();
    let deadline = tokio::select! {
        // `run` holds the sender, so this ends only when the pod is terminated.
        _ = terminations.wait_for(|terminated| *terminated) => false,
        () = deadline => true,
    };
    End { code: 137, reason: "Error", message: None, deadline }
}

/// A running container.
struct Container {
    name: String,
    child: Child,
    /// Where curl writes its termination message.
    message: PathBuf,
}

impl Container {
    /// Copies the output into the log until the container ends or is stopped.
    async fn run(mut self, pod: &Value, run: &PodRun) -> (String, End) {
        let (stdout, stderr) = (self.child.stdout.take(), self.child.stderr.take());
        let output = async {
            if let Some(log) = run.logs.get(&self.name) {
                tokio::join!(copy(stdout, log), copy(stderr, log));
            }
        };
        let end = tokio::select! {
            // The pipes close when curl ends, so the log is complete before the status is known.
            ((), status) = async { (output.await, self.child.wait().await.ok()) } => {
                let code = status.and_then(|status| status.code()).unwrap_or(137);
                End { code, reason: if code == 0 { "Completed" } else { "Error" }, message: None, deadline: false }
            }
            end = stopped(pod, run) => end,
        };
        // Reaps the process. It fails if the process has already ended.
        let _ = self.child.kill().await;
        (self.name, End { message: written(&self.message), ..end })
    }
}

async fn copy(source: Option<impl AsyncRead + Unpin>, log: &Log) {
    let Some(source) = source else { return };
    // Whole lines, because two streams share the log.
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while let Ok(read) = (&mut source).take(LONGEST_LINE).read_until(b'\n', &mut line).await
        && read > 0
    {
        log.write(&line);
        line.clear();
    }
}

/// The last bytes of a termination message, if there is one.
fn written(message: &Path) -> Option<String> {
    let bytes = std::fs::read(message).ok().filter(|bytes| !bytes.is_empty());
    // The file may be missing.
    let _ = std::fs::remove_file(message);
    bytes.map(|bytes| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(MESSAGE_LIMIT)..]).into_owned())
}

/// Writes the status of one pod.
struct Report<'a> {
    pod: &'a Value,
    address: Ipv4Addr,
}

impl Report<'_> {
    fn waiting(&self, status: &mut Value, reason: &str, message: &str) {
        let mut waiting = json!({ "reason": reason });
        if !message.is_empty() {
            waiting["message"] = message.into();
        }
        self.write(status, "Pending", false, |_| json!({ "waiting": waiting }));
    }

    fn running(&self, status: &mut Value, started: &str) {
        self.write(status, "Running", true, |_| json!({"running": {"startedAt": started}}));
    }

    /// The sidecar gets the end of the first container.
    fn ended(&self, status: &mut Value, started: &str, ends: &Ends) {
        let Some(first) = ends.values().next() else { return };
        let deadline = ends.values().any(|end| end.deadline);
        let succeeded = !deadline && ends.values().all(|end| end.code == 0);
        self.write(status, if succeeded { "Succeeded" } else { "Failed" }, false, |name| {
            let End { code, reason, message, .. } = ends.get(name).unwrap_or(first);
            let mut state = json!({"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()});
            if let Some(message) = message {
                state["message"] = message.as_str().into();
            }
            json!({ "terminated": state })
        });
        if deadline {
            status["reason"] = "DeadlineExceeded".into();
            status["message"] = "Pod was active on the node longer than the specified deadline".into();
        }
    }

    fn write(&self, status: &mut Value, phase: &str, ready: bool, state: impl Fn(&str) -> Value) {
        let truth = |is: bool| if is { "True" } else { "False" };
        let condition = |kind: &str, is: bool| json!({"type": kind, "status": truth(is), "lastProbeTime": null, "lastTransitionTime": now()});
        let container = |spec: &Value| {
            let state = state(name(spec));
            json!({
                "name": spec["name"], "image": spec["image"], "imageID": "", "state": state, "lastState": {},
                "ready": ready, "started": ready, "restartCount": 0,
            })
        };
        let list = |field: &str| -> Vec<Value> {
            self.pod["spec"][field].as_array().into_iter().flatten().map(container).collect()
        };
        status["phase"] = phase.into();
        status["hostIP"] = loopback::NODE.to_string().into();
        status["podIP"] = self.address.to_string().into();
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
