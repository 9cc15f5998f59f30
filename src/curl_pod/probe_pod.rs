//! The throwaway pod: made, watched, read and removed, whatever happens in between.

use super::pod_state::{MeshMembership, PROBE, Progress, progress, refusal};
use crate::cluster::connect::Cluster;
use crate::cluster::error::{Access, ClusterError, explain};
use crate::cluster::request::{send, send_optional};
use crate::domain::mesh::Service;
use crate::domain::verdict::Reason;
use crate::signal::{Shutdown, Signal};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Event, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, WatchEvent, WatchParams};
use rand::seq::IndexedRandom;
use serde_json::json;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The label by which our pods are found again.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by=secure-traffic";

/// The image that the probe runs, pinned by tag.
pub const DEFAULT_IMAGE: &str = "docker.io/curlimages/curl:8.16.0";

/// How long the removal of a pod may take before we say that it is left behind.
const REMOVAL: Duration = Duration::from_secs(20);

/// How long an answer is waited for once a signal has come.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// What the pod is made of.
#[derive(Debug, Clone)]
pub struct PodRequest {
    /// Its curls, each in a container of its own.
    pub curls: Vec<Curl>,
    /// Image with curl in it.
    pub image: String,
    /// `--image-pull-secret`.
    pub pull_secrets: Vec<String>,
    /// Seconds after which the kubelet ends the pod, whatever becomes of us.
    pub deadline_seconds: u64,
    /// Seconds that the pod may take to start.
    pub start_timeout: Duration,
    /// Outside the mesh, or in it.
    pub stand: MeshMembership,
    /// On OpenShift the namespace's range gives the user id; a fixed one is refused there.
    pub openshift: bool,
}

/// One curl of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curl {
    /// Name of its container.
    pub container: &'static str,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Lines with the marker that its complete log holds.
    pub records: usize,
}

impl Curl {
    /// One that asks without end, in plaintext.
    pub fn endless(arguments: Vec<String>) -> Self {
        Self { container: PROBE, arguments, records: usize::MAX }
    }
}

/// Why a probe pod did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The API did not let us.
    Cluster(ClusterError),
    /// The pod did not come about, or not to its end.
    Pod(Reason, String),
    /// A signal came.
    Interrupted(Signal),
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// What came of the work in a pod, and whether the pod is gone.
#[derive(Debug)]
pub struct Outcome<T> {
    /// What the work returned.
    pub result: Result<T, Failure>,
    /// The removal of the pod, which goes on by itself.
    pub removal: Removal,
}

/// The removal of a pod, under way.
#[derive(Debug)]
pub struct Removal {
    pod: String,
    task: JoinHandle<Result<(), String>>,
}

impl Removal {
    /// Waits for its end; names a pod whose removal could not be confirmed.
    pub async fn confirmed(self) -> Option<String> {
        self.task.await.unwrap_or(Err(self.pod)).err()
    }
}

/// A random word for names and markers, from letters that cannot spell anything.
pub fn random_word(length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = rand::rng();
    (0..length).filter_map(|_| LETTERS.choose(&mut random).map(|letter| char::from(*letter))).collect()
}

/// The pod, restricted in every way that Pod Security and OpenShift know, and kept out of the mesh in every way that
/// Istio knows (DP-7).
pub fn pod(name: &str, request: &PodRequest) -> Result<Pod, serde_json::Error> {
    let mut security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if !request.openshift {
        // The image's own user has no number, which runAsNonRoot refuses.
        security["runAsUser"] = json!(65532);
    }
    let (app, labels, annotations) = marks(request.stand);
    let container = |curl: &Curl| {
        json!({
            "name": curl.container,
            "image": request.image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["curl"],
            "args": curl.arguments,
            "securityContext": security,
            "resources": {
                "requests": {"cpu": "10m", "memory": "16Mi"},
                "limits": {"cpu": "1", "memory": "64Mi"},
            },
        })
    };
    let secrets: Vec<_> = request.pull_secrets.iter().map(|name| json!({"name": name})).collect();
    serde_json::from_value(json!({
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
            // Full names resolve at the first try.
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": request.curls.iter().map(container).collect::<Vec<_>>(),
        },
    }))
}

/// Name, labels (injection, data plane) and annotations that keep a pod out of the mesh or bring it in.
fn marks(stand: MeshMembership) -> (&'static str, (&'static str, &'static str), serde_json::Value) {
    match stand {
        MeshMembership::Outside => {
            ("secure-traffic-probe", ("false", "none"), json!({"sidecar.istio.io/inject": "false"}))
        }
        MeshMembership::Ambient => ("secure-traffic-control", ("false", "ambient"), json!({})),
        MeshMembership::Sidecar => {
            // curl must not start before there is a way out.
            let config = json!({"holdApplicationUntilProxyStarts": true}).to_string();
            ("secure-traffic-control", ("true", "none"), json!({"proxy.istio.io/config": config}))
        }
    }
}

/// Makes the pod, runs `work` with it, and removes it on every way out. The removal must be waited for.
pub async fn with_pod<T>(
    cluster: &Cluster,
    request: &PodRequest,
    services: &[Service],
    shutdown: &Shutdown,
    work: impl AsyncFnOnce(&ProbePod) -> Result<T, Failure>,
) -> Outcome<T> {
    let name = format!("{}-{}", marks(request.stand).0, random_word(5));
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut probe = ProbePod {
        client: cluster.client.clone(),
        api,
        namespace: cluster.namespace.clone(),
        name,
        stand: request.stand,
        services: services.to_vec(),
        start_timeout: request.start_timeout,
        run_timeout: Duration::from_secs(request.deadline_seconds),
        created: None,
        address: OnceLock::new(),
        has_ended: AtomicBool::new(false),
    };
    let created = create_in_spite_of(shutdown, &mut probe, request).await;
    let result = match created {
        Ok(()) => match shutdown.race(work(&probe)).await {
            Ok(result) => result,
            Err(signal) => Err(Failure::Interrupted(signal)),
        },
        Err(failure) => Err(failure),
    };
    let removal = Removal { pod: probe.reference(), task: tokio::spawn(async move { probe.remove().await }) };
    Outcome { result, removal }
}

/// A request under way could still make the pod, so a signal does not cut it off at once; but a server that never
/// answers must not keep us either.
async fn create_in_spite_of(shutdown: &Shutdown, probe: &mut ProbePod, request: &PodRequest) -> Result<(), Failure> {
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
        probe.created = Some(Created::Unknown);
        Err(Failure::Interrupted(signal))
    })
}

/// A probe pod that exists.
pub struct ProbePod {
    client: kube::Client,
    pub(super) api: Api<Pod>,
    namespace: String,
    pub(super) name: String,
    stand: MeshMembership,
    services: Vec<Service>,
    start_timeout: Duration,
    run_timeout: Duration,
    created: Option<Created>,
    address: OnceLock<String>,
    has_ended: AtomicBool,
}

/// What became of the request that makes the pod.
enum Created {
    Yes(Box<Pod>),
    /// No answer came; the pod may or may not be there.
    Unknown,
}

impl ProbePod {
    pub(super) fn access(&self, verb: &'static str, resource: &'static str) -> Access<'_> {
        Access::new(verb, "", resource, &self.namespace).named(&self.name)
    }

    /// As kubectl takes it: `pod/NAME -n NAMESPACE`.
    fn reference(&self) -> String {
        format!("pod/{} -n {}", self.name, self.namespace)
    }

    /// Remembers the pod as it was admitted, for its removal, and refuses it where admission brought it in.
    fn take_over(&mut self, pod: Pod) -> Result<(), Failure> {
        let verdict = self.stand.check(&pod, &self.services);
        self.created = Some(Created::Yes(Box::new(pod)));
        verdict.map_err(|(reason, words)| Failure::Pod(reason, words))
    }

    async fn create(&mut self, request: &PodRequest) -> Result<(), Failure> {
        let spec = pod(&self.name, request).map_err(|error| ClusterError {
            message: format!("the probe pod could not be written: {error}"),
            hint: None,
        })?;
        let access = Access::new("create", "", "pods", &self.namespace);
        let params = PostParams { dry_run: false, field_manager: Some("secure-traffic".to_owned()) };
        let answer = crate::cluster::request::attempt(access, &mut || self.api.create(&params, &spec)).await;
        match answer {
            Ok(pod) => self.take_over(pod),
            // The name is ours alone: a conflict means that an earlier try had arrived.
            Err(error) if crate::cluster::error::code(&error) == 409 => {
                self.created = Some(Created::Unknown);
                let pod = send(self.access("list", "pods"), || self.look()).await?.ok_or_else(gone)?;
                self.take_over(pod)
            }
            Err(kube::Error::Api(status)) => {
                if let Some((reason, words)) = refusal(&status) {
                    return Err(Failure::Pod(reason, words));
                }
                // A server that gave up on the request (504) may have made the pod all the same.
                if status.code >= 500 {
                    self.created = Some(Created::Unknown);
                }
                Err(explain(access, &kube::Error::Api(status)).into())
            }
            Err(error) => {
                self.created = Some(Created::Unknown);
                Err(explain(access, &error).into())
            }
        }
    }

    /// The pod as it is; none where it is not there. A list, because that right a probe needs anyway.
    async fn look(&self) -> Result<Option<Pod>, kube::Error> {
        let ours = ListParams::default().fields(&format!("metadata.name={}", self.name));
        Ok(self.api.list(&ours).await?.items.into_iter().next())
    }

    /// Watches the pod until `done` says so. One watch, no polling; a watch that ends is begun anew.
    async fn watch<R>(&self, mut done: impl FnMut(&Pod) -> Option<R>) -> Result<R, Failure> {
        let mut version = match &self.created {
            Some(Created::Yes(pod)) => pod.metadata.resource_version.clone().unwrap_or_default(),
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
                    Ok(WatchEvent::Deleted(_)) => return Err(gone()),
                    Ok(WatchEvent::Bookmark(_)) => {}
                    // Too old a version, or a stream cut short: look afresh.
                    Ok(WatchEvent::Error(_)) | Err(_) => break,
                }
            }
            // A server that ends every watch at once must not be asked without a pause.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let pod = send(self.access("list", "pods"), || self.look()).await?.ok_or_else(gone)?;
            version = pod.metadata.resource_version.clone().unwrap_or_default();
            if let Some(result) = done(&pod) {
                return Ok(result);
            }
        }
    }

    /// Waits until curl runs, or has already ended.
    pub async fn started(&self) -> Result<(), Failure> {
        let until_started = self.watch(|pod| match self.checked(pod) {
            Ok(Progress::Waiting) => None,
            Ok(Progress::Stuck(reason, words)) => Some(Err(Failure::Pod(reason, words))),
            Ok(Progress::Running | Progress::Ended(_)) => Some(Ok(())),
            Err(failure) => Some(Err(failure)),
        });
        self.in_time(self.start_timeout, "start (--pod-timeout)", until_started).await?
    }

    /// Its address in the cluster, once it was seen to run.
    pub fn address(&self) -> Option<&str> {
        self.address.get().map(String::as_str)
    }

    /// Waits until curl has ended; the pod's phase is not asked, it lags. Tells once when curl is seen to run.
    pub async fn ended(&self, runs: impl FnOnce()) -> Result<ContainerStateTerminated, Failure> {
        let mut runs = Some(runs);
        let until_ended = self.watch(|pod| match self.checked(pod) {
            Ok(Progress::Waiting) => None,
            Ok(Progress::Running) => {
                if let Some(runs) = runs.take() {
                    runs();
                }
                None
            }
            Ok(Progress::Stuck(reason, words)) => Some(Err(Failure::Pod(reason, words))),
            Ok(Progress::Ended(terminated)) => Some(Ok(*terminated)),
            Err(failure) => Some(Err(failure)),
        });
        let ended = self.in_time(self.start_timeout + self.run_timeout, "end", until_ended).await??;
        self.note_end();
        Ok(ended)
    }

    /// curl is known to have done all its work: the pod's removal need not ask, nor give it time.
    pub(super) fn note_end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Where it should stand at every look: the mesh's CNI can capture a pod after its admission.
    fn checked(&self, pod: &Pod) -> Result<Progress, Failure> {
        if let Some(address) = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()) {
            // Set once: a pod keeps its address.
            let _ = self.address.set(address.clone());
        }
        self.stand.check(pod, &self.services).map_err(|(reason, words)| Failure::Pod(reason, words))?;
        Ok(progress(pod))
    }

    async fn in_time<T>(
        &self,
        limit: Duration,
        what: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if let Ok(result) = tokio::time::timeout(limit, work).await {
            return result;
        }
        let why = self.last_warning().await.map(|event| format!("; {event}")).unwrap_or_default();
        let words = format!("the probe pod did not {what} within {} s{why}", limit.as_secs());
        Err(Failure::Pod(Reason::ProbeFailed, words))
    }

    /// What the cluster last complained of about the pod, where events may be read: a network that cannot be set up
    /// shows nowhere else.
    async fn last_warning(&self) -> Option<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_pod = ListParams::default().fields(&format!("involvedObject.name={},type=Warning", self.name));
        let events = tokio::time::timeout(LAST_ANSWER, api.list(&of_pod)).await.ok()?.ok()?;
        let last = events.items.into_iter().max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
        Some(format!("{}: {}", last.reason.unwrap_or_default(), last.message.unwrap_or_default()))
    }

    /// Deletes the pod and waits until it is gone. The error says what is left.
    async fn remove(&self) -> Result<(), String> {
        let Some(created) = &self.created else { return Ok(()) };
        let attempt = async {
            let mut absent = 0;
            loop {
                match self.delete_once(created).await {
                    Ok(true) => {
                        absent += 1;
                        // A request without an answer may still make the pod a moment later.
                        let certain = matches!(created, Created::Yes(_));
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
        tokio::time::timeout(REMOVAL, attempt).await.map_err(|_| self.reference())
    }

    /// Asks for the deletion and says whether the pod is gone.
    async fn delete_once(&self, created: &Created) -> Result<bool, kube::Error> {
        let uid = match created {
            Created::Yes(pod) => pod.metadata.uid.clone(),
            Created::Unknown => None,
        };
        let ended = self.has_ended.load(Ordering::Relaxed)
            || match self.look().await? {
                None => return Ok(true),
                Some(pod) => matches!(progress(&pod), Progress::Ended(_)),
            };
        let params = DeleteParams {
            // A container that has ended needs no grace; one that runs gets the second that its pod asks for.
            grace_period_seconds: ended.then_some(0),
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        match self.api.delete(&self.name, &params).await {
            Ok(_) => Ok(self.look().await?.is_none()),
            Err(error) if matches!(crate::cluster::error::code(&error), 404 | 409) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

fn gone() -> Failure {
    Failure::Pod(Reason::ProbeFailed, "somebody deleted the probe pod while it worked".to_owned())
}

/// Which probe pods a sweep removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Every one in the namespace.
    All,
    /// Those whose deadline has long passed: no run can still be reading them.
    Abandoned,
}

/// Removes probe pods that an earlier run could not remove, and names them.
pub async fn sweep(cluster: &Cluster, which: Sweep) -> Result<Vec<String>, ClusterError> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let access = Access::new("list", "", "pods", &cluster.namespace);
    let ours = ListParams::default().labels(MANAGED_BY);
    let pods = send(access, || api.list(&ours)).await?;
    let now = jiff::Timestamp::now().as_second();
    let params = DeleteParams::default().grace_period(0);
    let mut removed = Vec::new();
    for pod in pods.items.iter().filter(|pod| which == Sweep::All || abandoned(pod, now)) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let access = Access::new("delete", "", "pods", &cluster.namespace).named(name);
        send_optional(access, &[404], || api.delete(name, &params)).await?;
        removed.push(name.to_owned());
    }
    Ok(removed)
}

fn abandoned(pod: &Pod, now: i64) -> bool {
    const MARGIN: i64 = 120;
    let created = pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0.as_second());
    let deadline = pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).unwrap_or_default();
    created + deadline + MARGIN < now
}

#[cfg(test)]
#[path = "probe_pod_tests.rs"]
mod tests;
