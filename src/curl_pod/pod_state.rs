//! What a pod's status means for a probe: pure functions of one object.

use crate::domain::mesh::{DataPlane, Service};
use crate::domain::verdict::Reason;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodCondition, PodStatus};

/// Name of the container whose curl asks in plaintext.
pub const PROBE: &str = "probe";

/// Name of the container whose curl says hello in TLS. It is apart because only its requests are worth a trace, and
/// `-v` holds for all that one curl does.
pub const HELLO: &str = "hello";

/// How far the probe's containers are.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Not all have started yet.
    Waiting,
    /// curl runs.
    Running,
    /// curl has ended, in all of them; so did it in the first.
    Ended(Box<ContainerStateTerminated>),
    /// It will not come about, or not by itself.
    Stuck(Reason, String),
}

/// Reads the containers' own states; the pod's phase lags behind them by seconds. The container that is least far
/// tells.
pub fn progress(pod: &Pod) -> Progress {
    let has_hello =
        pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|container| container.name == HELLO));
    let first = progress_of(PROBE, pod);
    if !has_hello {
        return first;
    }
    match (first, progress_of(HELLO, pod)) {
        (stuck @ Progress::Stuck(..), _) | (_, stuck @ Progress::Stuck(..)) => stuck,
        (Progress::Waiting, _) | (_, Progress::Waiting) => Progress::Waiting,
        (Progress::Running, _) | (_, Progress::Running) => Progress::Running,
        (ended @ Progress::Ended(_), Progress::Ended(_)) => ended,
    }
}

fn progress_of(name: &str, pod: &Pod) -> Progress {
    let Some(status) = &pod.status else { return Progress::Waiting };
    let container = status.container_statuses.iter().flatten().find(|container| container.name == name);
    let state = container.and_then(|container| container.state.as_ref());
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        // curl ends by itself; a signal means that somebody ended it (deadline, eviction, memory).
        return match terminated.signal.or((terminated.exit_code >= 128).then_some(terminated.exit_code)) {
            Some(_) => ended_by_force(status, terminated),
            None => Progress::Ended(Box::new(terminated.clone())),
        };
    }
    if status.phase.as_deref() == Some("Failed") || status.reason.as_deref() == Some("NodeLost") {
        let words = [status.reason.as_deref(), status.message.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        return Progress::Stuck(force(status, None), words.join(": "));
    }
    if let Some(disruption) = condition(status, "DisruptionTarget", "True") {
        return Progress::Stuck(force(status, None), disruption.message.clone().unwrap_or_default());
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return Progress::Running;
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let words = || {
        let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
        format!("{reason}: {message}")
    };
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            return Progress::Stuck(Reason::ImagePull, words());
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return Progress::Stuck(Reason::ProbeFailed, words());
        }
        _ => {}
    }
    let unschedulable = condition(status, "PodScheduled", "False")
        .filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
    match unschedulable {
        Some(condition) => Progress::Stuck(Reason::Unschedulable, condition.message.clone().unwrap_or_default()),
        None => Progress::Waiting,
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str, value: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == value)
}

/// Who ended a pod: the pod's own reason, the disruption that was announced, or the container's reason.
fn force(status: &PodStatus, container: Option<&str>) -> Reason {
    let disruption = condition(status, "DisruptionTarget", "True").and_then(|it| it.reason.as_deref());
    match status.reason.as_deref().or(disruption).or(container) {
        Some("DeadlineExceeded") => Reason::Deadline,
        Some("NodeLost" | "NodeShutdown" | "Terminated" | "DeletionByTaintManager" | "DeletionByPodGC") => {
            Reason::NodeLost
        }
        Some(
            "Evicted"
            | "Preempting"
            | "Preempted"
            | "PreemptionByScheduler"
            | "EvictionByEvictionAPI"
            | "TerminationByKubelet",
        ) => Reason::Evicted,
        Some("OOMKilled") => Reason::OutOfMemory,
        _ => Reason::ProbeFailed,
    }
}

fn ended_by_force(status: &PodStatus, terminated: &ContainerStateTerminated) -> Progress {
    let reason = status.reason.as_deref().or(terminated.reason.as_deref()).unwrap_or("killed");
    if matches!(reason, "StartError" | "ContainerCannotRun") {
        // Only here the message is the runtime's; elsewhere it is the body that curl wrote.
        let message = terminated.message.as_deref().unwrap_or_default();
        return Progress::Stuck(Reason::NoCurl, format!("the probe could not be started: {reason}: {message}"));
    }
    let words = format!("the probe was ended before its work was done: {reason} (exit code {})", terminated.exit_code);
    Progress::Stuck(force(status, terminated.reason.as_deref()), words)
}

/// Where a pod of ours is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeshMembership {
    /// Outside the mesh: the rogue.
    Outside,
    /// In the mesh with a sidecar: the control.
    Sidecar,
    /// In the mesh by a ztunnel: the control.
    Ambient,
}

impl MeshMembership {
    /// Whether the pod, as admitted and as it runs, stands there, selected by nobody.
    pub fn check(self, pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
        match self {
            Self::Outside => outside(pod, services),
            Self::Sidecar | Self::Ambient => {
                in_mesh(pod, self)?;
                unselected(pod, services)
            }
        }
    }
}

fn in_mesh(pod: &Pod, stand: MeshMembership) -> Result<(), (Reason, String)> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let plane = crate::cluster::snapshot::data_plane(&pod.spec.clone().unwrap_or_default(), &annotations);
    // The node's CNI captures a pod when its sandbox is made, so only one that runs can be told.
    let started = !matches!(progress(pod), Progress::Waiting | Progress::Stuck(..));
    let why = match (stand, plane) {
        (MeshMembership::Sidecar, DataPlane::Sidecar) | (MeshMembership::Ambient, DataPlane::Ambient) => return Ok(()),
        (MeshMembership::Ambient, _) if !started => return Ok(()),
        (MeshMembership::Ambient, _) => "the control pod was not captured by ztunnel",
        _ => "the control pod was given no sidecar: is injection on in its namespace?",
    };
    Err((Reason::ControlFailed, why.to_owned()))
}

/// Whether the pod, as admitted and as it runs, is still outside of the mesh and selected by nobody.
pub fn outside(pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let plane = crate::cluster::snapshot::data_plane(&spec, &annotations);
    let names = || spec.containers.iter().chain(spec.init_containers.iter().flatten()).map(|container| &container.name);
    if plane != DataPlane::None || annotations.contains_key("sidecar.istio.io/status") {
        let revision = annotations.get("istio.io/rev").map_or_else(String::new, |rev| format!(" by revision {rev:?}"));
        return Err((
            Reason::ProbeMeshed,
            format!(
                "the probe pod was brought into the mesh{revision} ({plane}), in spite of its label and annotation"
            ),
        ));
    }
    if let Some(name) = names().find(|name| name.starts_with("istio-")) {
        return Err((Reason::ProbeMeshed, format!("admission added the container {name:?} to the probe pod")));
    }
    unselected(pod, services)
}

/// A pod that a Service selects would be asked by itself.
fn unselected(pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let selecting = services.iter().find(|service| {
        !service.selector.is_empty() && service.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    });
    match selecting {
        Some(service) => {
            Err((Reason::ProbeSelected, format!("service {:?} selects the labels of the probe pod", service.name)))
        }
        None => Ok(()),
    }
}

/// Sorts a refusal of the probe pod: what admission says is a finding about the cluster, a missing right is an error.
pub fn refusal(status: &kube::core::Status) -> Option<(Reason, String)> {
    let message = status.message.as_str();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    // RBAC says «User "x" cannot create resource "pods"»; every other 403 comes from an admission plugin.
    let reason = match status.code {
        403 if says(&[" cannot create resource "]) => return None,
        // The only trouble of a server that is another's: a webhook of its configuration.
        500 | 503 | 504 if says(&["failed calling webhook", "failed to call webhook"]) => Reason::WebhookFailed,
        400 | 403 | 422 | 429 => match () {
            () if says(&["status unknown for quota"]) => Reason::QuotaUnknown,
            () if says(&["exceeded quota", "failed quota", "insufficient quota"]) => Reason::Quota,
            () if says(&["per Container is", "per Pod is"]) => Reason::LimitRange,
            () if says(&["violates PodSecurity"]) => Reason::PodSecurity,
            () if says(&["error looking up service account", "no API token found for service account"]) => {
                Reason::NoServiceAccount
            }
            () if says(&["admission webhook"]) => Reason::WebhookDenied,
            () if status.code == 429 => return None,
            () => Reason::AdmissionDenied,
        },
        _ => return None,
    };
    Some((reason, message.to_owned()))
}

#[cfg(test)]
#[path = "pod_state_tests.rs"]
mod tests;
