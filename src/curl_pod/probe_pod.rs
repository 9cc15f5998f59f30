//! Creates a pod of curls, watches it while some work runs with it, and removes it on every exit path. Also removes the
//! pods that earlier runs left.

use super::placement;
use super::pod_state::{MeshMembership, PROBE, PodProgress, classify_refusal, is_captured, progress};
use super::resources::Resources;
use crate::cluster::connect::Cluster;
use crate::cluster::deletion::still_there;
use crate::cluster::error::{Access, ClusterError, code, explain, is_already_there};
use crate::cluster::list::{Resource, Selection, list_selected};
use crate::cluster::pod::Pod;
use crate::cluster::request::{attempt, send, send_optional};
use crate::domain::mesh::Service;
use crate::domain::placement::PodPlacement;
use crate::domain::reason::Reason;
use crate::signal::{Shutdown, Signal};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Event};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, Request, WatchEvent, WatchParams};
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Label selector of the pods that this tool creates.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by=secure-traffic";

/// Default image of the pods, pinned by tag.
pub const DEFAULT_IMAGE: &str = "docker.io/curlimages/curl:8.16.0";

/// Time for the removal of a pod. After it the pod is reported as left behind.
const REMOVAL: Duration = Duration::from_secs(20);

/// Time in which ztunnel should capture a pod that runs. One that it has not captured by then is created anew, once: a
/// node's agent that failed with a pod does not try again.
const CAPTURE: Duration = Duration::from_secs(15);

/// Time that a request in progress gets after a signal.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// What a pod is created with.
#[derive(Debug, Clone)]
pub struct PodRequest {
    /// The curls, each in a container of its own.
    pub curls: Vec<Curl>,
    /// Image that contains curl.
    pub image: String,
    /// `--image-pull-secret`.
    pub pull_secrets: Vec<String>,
    /// Where it may run, and what else it is given.
    pub placement: PodPlacement,
    /// Seconds after which the kubelet ends the pod, even if this process is gone.
    pub deadline_seconds: u64,
    /// Time for the pod to start.
    pub start_timeout: Duration,
    /// Whether the pod must be outside the mesh or in it.
    pub membership: MeshMembership,
    /// Whether the cluster is OpenShift. It assigns the user id from the namespace's range and rejects a fixed one.
    pub openshift: bool,
}

/// One curl of a pod: its container and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curl {
    /// Name of its container.
    pub container: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Number of records in its complete log: lines that begin with the marker.
    pub records: usize,
}

impl Curl {
    /// A curl in the container [`PROBE`] that sends requests until the pod is removed.
    pub fn endless(arguments: Vec<String>) -> Self {
        Self::endless_in(PROBE, arguments)
    }

    /// The same in another container.
    pub fn endless_in(container: &'static str, arguments: Vec<String>) -> Self {
        Self { container, arguments, records: usize::MAX }
    }
}

/// Why work with a pod has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The API server refused a request or did not answer.
    Cluster(ClusterError),
    /// The pod did not start, or ended before its work was done.
    Pod(Reason, String),
    /// A signal ended the run.
    Interrupted(Signal),
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// The result of the work with a pod, and the pod's removal.
#[derive(Debug)]
pub struct PodRun<T> {
    /// What the work returned.
    pub result: Result<T, Failure>,
    /// The removal of the pod, which runs in the background.
    pub removal: Removal,
}

/// The removal of a pod, in progress in the background.
#[derive(Debug)]
pub struct Removal {
    pod: String,
    task: JoinHandle<Result<(), String>>,
}

impl Removal {
    /// Waits for its end. Returns `pod/NAME -n NAMESPACE` of a pod whose removal could not be confirmed.
    pub async fn confirmed(self) -> Option<String> {
        self.task.await.unwrap_or(Err(self.pod)).err()
    }
}

/// A random text for names and markers, from letters that cannot spell a word.
pub fn random_word(length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..length).filter_map(|_| LETTERS.choose(&mut random).map(|letter| char::from(*letter))).collect()
}

/// The pod's object. It satisfies the restricted Pod Security Standard and OpenShift's restricted SCC, and opts out of the
/// mesh by label and by annotation (DP-7), unless its membership says otherwise.
pub fn pod(name: &str, request: &PodRequest, resources: Resources) -> Value {
    let mut security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if !request.openshift {
        // The image names its user, and runAsNonRoot needs a number.
        security["runAsUser"] = json!(65532);
    }
    let (app, labels, annotations) = membership_metadata(request.membership);
    let until_captured = match request.membership {
        MeshMembership::Ambient => until_captured(request.start_timeout),
        MeshMembership::Outside | MeshMembership::Sidecar => Vec::new(),
    };
    let container = |curl: &Curl| {
        json!({
            "name": curl.container,
            "image": request.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["curl"],
            "args": until_captured.iter().chain(&curl.arguments).collect::<Vec<_>>(),
            "securityContext": security,
            "resources": resources.to_json(),
        })
    };
    let secrets: Vec<_> = request.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                "app.kubernetes.io/name": app,
                "app.kubernetes.io/managed-by": "secure-traffic",
                "sidecar.istio.io/inject": labels.0,
                "istio.io/dataplane-mode": labels.1,
            },
            "annotations": annotations,
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": request.deadline_seconds,
            // curl as PID 1 ignores SIGTERM.
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "imagePullSecrets": secrets,
            // Full names resolve with the first query.
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": request.curls.iter().map(container).collect::<Vec<_>>(),
        },
    });
    placement::apply(&request.placement, &mut pod);
    pod
}

/// The pod's name prefix, the values of its labels for injection and data plane, and its annotations.
fn membership_metadata(membership: MeshMembership) -> (&'static str, (&'static str, &'static str), serde_json::Value) {
    match membership {
        MeshMembership::Outside => {
            ("secure-traffic-probe", ("false", "none"), json!({"sidecar.istio.io/inject": "false"}))
        }
        MeshMembership::Ambient => ("secure-traffic-control", ("false", "ambient"), json!({})),
        MeshMembership::Sidecar => {
            // curl must not start before its proxy forwards connections.
            let config = json!({"holdApplicationUntilProxyStarts": true}).to_string();
            ("secure-traffic-control", ("true", "none"), json!({"proxy.istio.io/config": config}))
        }
    }
}

/// The arguments by which curl waits, before its first request, until ztunnel listens in the pod's network: it does from the
/// moment when it captures the pod (DP-8). On some clusters that is after the pod's start, and calls made until then would
/// leave in plaintext. The answer does not matter; a connection that is refused is tried again each second.
fn until_captured(limit: Duration) -> Vec<String> {
    let retries = limit.as_secs().to_string();
    ["-q", "-s", "--noproxy", "*", "-o", "/dev/null", "--max-time", "2", "--retry-connrefused", "--retry", &retries]
        .into_iter()
        .chain(["--retry-delay", "1", "http://localhost:15008/", "--next"])
        .map(str::to_owned)
        .collect()
}

/// Creates the pod, runs `work` with it, and removes it on every exit path. The caller must wait for the removal.
/// `services` are those of the pod's namespace: none of them may select it.
///
/// A pod for the ambient mesh is created once more if ztunnel does not capture the first one.
pub async fn with_pod<T>(
    cluster: &Cluster,
    request: &PodRequest,
    services: &[Service],
    shutdown: &Shutdown,
    work: impl AsyncFnOnce(&ProbePod) -> Result<T, Failure>,
) -> PodRun<T> {
    let mut probe = ProbePod::new(cluster, request, services);
    let mut start = probe.start(request, shutdown, CAPTURE).await;
    let mut former = None;
    if matches!(start, Ok(Start::NotCaptured)) {
        former = Some(std::mem::replace(&mut probe, ProbePod::new(cluster, request, services)));
        start = probe.start(request, shutdown, request.start_timeout).await;
    }
    let result = match start {
        Ok(Start::Ready) => match shutdown.race(work(&probe)).await {
            Ok(result) => result,
            Err(signal) => Err(Failure::Interrupted(signal)),
        },
        Ok(Start::NotCaptured) => Err(Failure::Pod(Reason::ControlFailed, NOT_CAPTURED.to_owned())),
        Err(failure) => Err(failure),
    };
    let removal = Removal {
        pod: probe.reference(),
        task: tokio::spawn(async move {
            let former = async { if let Some(former) = former { former.remove().await } else { Ok(()) } };
            match tokio::join!(former, probe.remove()) {
                (Err(first), Err(second)) => Err(format!("{first}, {second}")),
                (first, second) => first.and(second),
            }
        }),
    };
    PodRun { result, removal }
}

/// Why the work of a pod for the ambient mesh did not begin.
const NOT_CAPTURED: &str = "ztunnel captured neither the client in the mesh nor a second one: see the logs of ztunnel and of \
                            the CNI agent (k8s-app=istio-cni-node) on its node";

/// How the start of a pod ended.
enum Start {
    /// The work can begin.
    Ready,
    /// The pod runs, and ztunnel has not captured it.
    NotCaptured,
}

/// Creates the pod. A request in progress can still create the pod after a signal, so it gets [`LAST_ANSWER`] before it
/// is given up.
async fn create_despite_signal(shutdown: &Shutdown, probe: &mut ProbePod, request: &PodRequest) -> Result<(), Failure> {
    let patience = async {
        let signal = shutdown.requested().await;
        tokio::time::sleep(LAST_ANSWER).await;
        signal
    };
    let answer = tokio::select! {
        biased;
        result = probe.create(request) => Ok(result),
        signal = patience => Err(signal),
    };
    answer.unwrap_or_else(|signal| {
        probe.created = Some(Creation::Unknown);
        Err(Failure::Interrupted(signal))
    })
}

/// A probe pod that exists.
pub struct ProbePod {
    client: kube::Client,
    pub(super) api: Api<Pod>,
    namespace: String,
    pub(super) name: String,
    membership: MeshMembership,
    services: Vec<Service>,
    start_timeout: Duration,
    run_timeout: Duration,
    created: Option<Creation>,
    address: OnceLock<String>,
    exit_code: OnceLock<i32>,
    has_ended: AtomicBool,
}

/// The result of the request that creates the pod.
enum Creation {
    Confirmed(Box<Pod>),
    /// No answer came; the pod may or may not exist.
    Unknown,
}

/// Resources with which a LimitRange may admit a pod that it has refused.
struct OtherResources {
    resources: Resources,
    refusal: Failure,
}

impl ProbePod {
    /// A pod that is not created yet, with a name of its own.
    fn new(cluster: &Cluster, request: &PodRequest, services: &[Service]) -> Self {
        Self {
            client: cluster.client.clone(),
            api: Api::namespaced(cluster.client.clone(), &cluster.namespace),
            namespace: cluster.namespace.clone(),
            name: format!("{}-{}", membership_metadata(request.membership).0, random_word(5)),
            membership: request.membership,
            services: services.to_vec(),
            start_timeout: request.start_timeout,
            run_timeout: Duration::from_secs(request.deadline_seconds),
            created: None,
            address: OnceLock::new(),
            exit_code: OnceLock::new(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Creates the pod. One for the ambient mesh must also run, and be captured within `capture` after that.
    async fn start(&mut self, request: &PodRequest, shutdown: &Shutdown, capture: Duration) -> Result<Start, Failure> {
        create_despite_signal(shutdown, self, request).await?;
        if self.membership != MeshMembership::Ambient {
            return Ok(Start::Ready);
        }
        let captured = async {
            self.started().await?;
            let until_captured = self.watch(|pod| match self.check(pod) {
                Ok(PodProgress::Stuck(reason, message)) => Some(Err(Failure::Pod(reason, message))),
                Ok(_) => is_captured(pod).then_some(Ok(())),
                Err(failure) => Some(Err(failure)),
            });
            match tokio::time::timeout(capture, until_captured).await {
                Ok(captured) => captured?.map(|()| Start::Ready),
                Err(_) => Ok(Start::NotCaptured),
            }
        };
        shutdown.race(captured).await.map_err(Failure::Interrupted)?
    }

    pub(super) fn access(&self, verb: &'static str, resource: &'static str) -> Access<'_> {
        Access::new(verb, "", resource, &self.namespace).named(&self.name)
    }

    /// The pod as an argument of kubectl: `pod/NAME -n NAMESPACE`.
    fn reference(&self) -> String {
        format!("pod/{} -n {}", self.name, self.namespace)
    }

    /// Stores the pod as it was admitted, for its removal, and fails where admission changed its membership.
    fn record_created(&mut self, pod: Pod) -> Result<(), Failure> {
        let checked = self.membership.check(&pod, &self.services);
        self.created = Some(Creation::Confirmed(Box::new(pod)));
        checked.map_err(|(reason, message)| Failure::Pod(reason, message))
    }

    /// Creates the pod. Where a LimitRange refuses its resources, it is sent once more with resources that fit.
    async fn create(&mut self, request: &PodRequest) -> Result<(), Failure> {
        let resources = Resources::default();
        let Some(adapted) = self.create_with(request, resources).await? else { return Ok(()) };
        match self.create_with(request, adapted.resources).await? {
            None => Ok(()),
            Some(again) => Err(again.refusal),
        }
    }

    /// Creates the pod with these resources. `Some` where a LimitRange refuses them, and others may fit.
    async fn create_with(
        &mut self,
        request: &PodRequest,
        resources: Resources,
    ) -> Result<Option<OtherResources>, Failure> {
        let sent = pod(&self.name, request, resources);
        let access = Access::new("create", "", "pods", &self.namespace);
        let answer = attempt(access, &mut || self.send_pod(&sent)).await;
        match answer {
            Ok(pod) if pod.metadata.uid.is_some() => self.record_created(pod).map(|()| None),
            // An answer without the object does not show that the pod exists.
            Ok(_) => self.read_back(sent).await.map(|()| None),
            // A pod that exists already may be that of an earlier try, whose answer was lost.
            Err(error) if is_already_there(&error) => self.read_back(sent).await.map(|()| None),
            Err(kube::Error::Api(status)) => {
                if let Some((reason, message)) = classify_refusal(&status) {
                    let adapted = resources.adapted(&status.message).filter(|_| reason == Reason::LimitRange);
                    let refusal = Failure::Pod(reason, message);
                    return match adapted {
                        Some(resources) => Ok(Some(OtherResources { resources, refusal })),
                        None => Err(refusal),
                    };
                }
                // A server that gave up on the request (504) may have created the pod nevertheless.
                if status.code >= 500 {
                    self.created = Some(Creation::Unknown);
                }
                Err(explain(access, &kube::Error::Api(status)).into())
            }
            Err(error) => {
                self.created = Some(Creation::Unknown);
                Err(explain(access, &error).into())
            }
        }
    }

    /// Sends the pod once; the answer is the pod as it was admitted.
    async fn send_pod(&self, pod: &Value) -> Result<Pod, kube::Error> {
        let params = PostParams { dry_run: false, field_manager: Some("secure-traffic".to_owned()) };
        let body = serde_json::to_vec(pod).map_err(kube::Error::SerdeError)?;
        let request = Request::new(self.api.resource_url()).create(&params, body).map_err(kube::Error::BuildRequest)?;
        self.client.request(request).await
    }

    /// Records the pod that the cluster has under this name, if it is as this run sent it.
    async fn read_back(&mut self, sent: Value) -> Result<(), Failure> {
        self.created = Some(Creation::Unknown);
        let pod = send(self.access("list", "pods"), || self.get()).await?.ok_or_else(deleted)?;
        if serde_json::from_value(sent).is_ok_and(|sent| has_curls_of(&pod, &sent)) {
            return self.record_created(pod);
        }
        // It is somebody else's, and stays.
        self.created = None;
        let message = format!("pod {} exists already, and is not the one of this run", self.name);
        Err(ClusterError { message, hint: None }.into())
    }

    /// The pod as it is now; `None` if it does not exist. A list request, because a probe needs that right anyway.
    async fn get(&self) -> Result<Option<Pod>, kube::Error> {
        let ours = ListParams::default().fields(&format!("metadata.name={}", self.name));
        Ok(self.api.list(&ours).await?.items.into_iter().next())
    }

    /// Watches the pod until `done` returns a value. One watch, no polling; a watch that ends is started again.
    async fn watch<R>(&self, mut done: impl FnMut(&Pod) -> Option<R>) -> Result<R, Failure> {
        let mut version = match &self.created {
            Some(Creation::Confirmed(pod)) => pod.metadata.resource_version.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(290);
        loop {
            let events = send(self.access("watch", "pods"), || self.api.watch(&params, &version)).await?;
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                        if let Some(result) = done(&pod) {
                            return Ok(result);
                        }
                    }
                    Ok(WatchEvent::Deleted(_)) => return Err(deleted()),
                    Ok(WatchEvent::Bookmark(_)) => {}
                    // The version is too old, or the stream broke: get the pod and watch from there.
                    Ok(WatchEvent::Error(_)) | Err(_) => break,
                }
            }
            // The pause is for a server that ends every watch at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let pod = send(self.access("list", "pods"), || self.get()).await?.ok_or_else(deleted)?;
            version = pod.metadata.resource_version.clone().unwrap_or_default();
            if let Some(result) = done(&pod) {
                return Ok(result);
            }
        }
    }

    /// Waits until every curl runs or has exited.
    pub async fn started(&self) -> Result<(), Failure> {
        let until_started = self.watch(|pod| match self.check(pod) {
            Ok(PodProgress::Waiting) => None,
            Ok(PodProgress::Stuck(reason, message)) => Some(Err(Failure::Pod(reason, message))),
            Ok(PodProgress::Running | PodProgress::Ended(_)) => Some(Ok(())),
            Err(failure) => Some(Err(failure)),
        });
        self.within(self.start_timeout, "start (--pod-timeout)", until_started).await?
    }

    /// The pod's IP address, once its status had one.
    pub fn address(&self) -> Option<&str> {
        self.address.get().map(String::as_str)
    }

    /// The exit code of the curl in [`PROBE`], once it is known.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code.get().copied()
    }

    /// Waits until every curl has exited, by the containers' states, since the pod's phase lags. Calls `on_running` once
    /// when curl runs.
    pub async fn ended(&self, on_running: impl FnOnce()) -> Result<ContainerStateTerminated, Failure> {
        let mut on_running = Some(on_running);
        let until_ended = self.watch(|pod| match self.check(pod) {
            Ok(PodProgress::Waiting) => None,
            Ok(PodProgress::Running) => {
                if let Some(on_running) = on_running.take() {
                    on_running();
                }
                None
            }
            Ok(PodProgress::Stuck(reason, message)) => Some(Err(Failure::Pod(reason, message))),
            Ok(PodProgress::Ended(terminated)) => Some(Ok(*terminated)),
            Err(failure) => Some(Err(failure)),
        });
        let ended = self.within(self.start_timeout + self.run_timeout, "end", until_ended).await??;
        // Set once: a container that has exited keeps its code.
        let _ = self.exit_code.set(ended.exit_code);
        self.mark_ended();
        Ok(ended)
    }

    /// Records that curl has done all its work, so that the removal needs no request and no grace period.
    pub(super) fn mark_ended(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// How far the pod is. Checks its membership each time, because the mesh's CNI can capture a pod after admission.
    fn check(&self, pod: &Pod) -> Result<PodProgress, Failure> {
        if let Some(address) = &pod.status.pod_ip {
            // Set once: a pod keeps its address.
            let _ = self.address.set(address.clone());
        }
        self.membership.check(pod, &self.services).map_err(|(reason, message)| Failure::Pod(reason, message))?;
        Ok(progress(pod))
    }

    async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if let Ok(result) = tokio::time::timeout(limit, work).await {
            return result;
        }
        let warning = self.last_warning().await.map(|event| format!("; {event}")).unwrap_or_default();
        let message = format!("the probe pod did not {what} within {} s{warning}", limit.as_secs());
        Err(Failure::Pod(Reason::ProbeFailed, message))
    }

    /// The last warning event of the pod, where events may be read. A network that cannot be set up is reported only
    /// there.
    async fn last_warning(&self) -> Option<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_pod = ListParams::default().fields(&format!("involvedObject.name={},type=Warning", self.name));
        let events = tokio::time::timeout(LAST_ANSWER, api.list(&of_pod)).await.ok()?.ok()?;
        let last = events.items.into_iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
        let text = format!("{}: {}", last.reason.unwrap_or_default(), last.message.unwrap_or_default());
        Some(crate::sanitize::excerpt(&text).into_owned())
    }

    /// Deletes the pod and waits until it is gone. The error is [`Self::reference`] of a pod that is left.
    async fn remove(&self) -> Result<(), String> {
        let Some(created) = &self.created else { return Ok(()) };
        let deletion = async {
            let mut absent = 0;
            loop {
                match self.delete_once(created).await {
                    Ok(true) => {
                        absent += 1;
                        // A request without an answer may still create the pod a moment later.
                        let certain = matches!(created, Creation::Confirmed(_));
                        if certain || absent > 4 {
                            return;
                        }
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                    Ok(false) => tokio::time::sleep(Duration::from_millis(100)).await,
                    Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            }
        };
        within_running_time(REMOVAL, deletion).await.ok_or_else(|| self.reference())
    }

    /// Requests the deletion of the pod once. Returns whether it is gone.
    async fn delete_once(&self, created: &Creation) -> Result<bool, kube::Error> {
        let known_uid = match created {
            Creation::Confirmed(pod) => pod.metadata.uid.clone(),
            Creation::Unknown => None,
        };
        let (uid, ended) = if known_uid.is_some() && self.has_ended.load(Ordering::Relaxed) {
            (known_uid, true)
        } else {
            match self.get().await? {
                Some(pod) if known_uid.is_none() || pod.metadata.uid == known_uid => {
                    (pod.metadata.uid.clone(), matches!(progress(&pod), PodProgress::Ended(_)))
                }
                _ => return Ok(true),
            }
        };
        let params = DeleteParams {
            // A container that has exited needs no grace period; a running one gets the second that its pod specifies.
            grace_period_seconds: ended.then_some(0),
            preconditions: Some(Preconditions { uid: uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api.delete(&self.name, &params).await {
            Ok(_) => {}
            // The pod may be gone, or the server refused for another reason.
            Err(error) if matches!(code(&error), 404 | 409 | 422) => {}
            Err(error) => return Err(error),
        }
        Ok(self.get().await?.is_none_or(|pod| pod.metadata.uid != uid))
    }
}

/// Waits for `work` at most `limit`, in whole seconds. A time in which the process is stopped counts as one second, so that
/// a run that was stopped (Ctrl-Z, a suspended machine) still does it.
async fn within_running_time<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    for _ in 0..limit.as_secs() {
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), work.as_mut()).await {
            return Some(done);
        }
    }
    None
}

/// Whether `pod` runs the curls that were sent. Admission may add to a pod; the arguments of a curl have a random marker.
fn has_curls_of(pod: &Pod, sent: &Pod) -> bool {
    let labels = |pod: &Pod| pod.metadata.labels.clone().unwrap_or_default();
    let labels_there = labels(pod);
    labels(sent).iter().all(|(key, value)| labels_there.get(key) == Some(value))
        && sent.spec.containers.iter().all(|curl| pod.spec.containers.contains(curl))
}

fn deleted() -> Failure {
    Failure::Pod(Reason::ProbeFailed, "somebody deleted the probe pod while it worked".to_owned())
}

/// Which pods [`sweep`] removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Every pod of this tool in the namespace.
    All,
    /// Pods whose deadline has passed by two minutes: no run can still read them.
    Abandoned,
}

/// What came of the removal of pods that an earlier run left.
#[derive(Debug, Default)]
pub struct Swept {
    /// Names of the pods that are gone.
    pub removed: Vec<String>,
    /// Names of the pods that are still there after their deletion.
    pub left: Vec<String>,
    /// Why the server refused deletions.
    pub refused: Vec<ClusterError>,
}

/// Removes pods that an earlier run left in the namespace, and looks up whether they are gone.
pub async fn sweep(cluster: &Cluster, which: Sweep) -> Result<Swept, ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let now = jiff::Timestamp::now().as_second();
    let mut found = list_own(cluster).await?;
    found.retain(|pod| which == Sweep::All || abandoned(pod, now));
    let mut swept = Swept::default();
    if found.is_empty() {
        return Ok(swept);
    }
    for pod in &found {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let access = Access::new("delete", "", "pods", &cluster.namespace).named(name);
        let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default().grace_period(0) };
        let deleted = send_optional(access, &[404], || api.delete(name, &params)).await;
        swept.refused.extend(deleted.err());
    }
    let look_up = || async {
        let uids = list_own(cluster).await?.into_iter().filter_map(|pod| pod.metadata.uid);
        Ok::<_, ClusterError>(uids.collect())
    };
    let there: Vec<String> = still_there(look_up).await?;
    for pod in found {
        let is_left = pod.metadata.uid.is_some_and(|uid| there.contains(&uid));
        let names = if is_left { &mut swept.left } else { &mut swept.removed };
        names.extend(pod.metadata.name);
    }
    Ok(swept)
}

/// The pods of this tool in the namespace.
async fn list_own(cluster: &Cluster) -> Result<Vec<Pod>, ClusterError> {
    let own = Selection::labelled(&cluster.namespace, MANAGED_BY);
    list_selected(cluster, Resource::core("pods"), own, Some).await
}

fn abandoned(pod: &Pod, now: i64) -> bool {
    const MARGIN: i64 = 120;
    let created = pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0.as_second());
    let deadline = pod.spec.active_deadline_seconds.unwrap_or_default();
    // A pod of another tool may carry the label, and any deadline.
    created.saturating_add(deadline).saturating_add(MARGIN) < now
}

#[cfg(test)]
mod tests;
