//! Reads from a pod object, for `probe_pod`, how far its curls are and whether it is outside or in the mesh, and from the
//! API server's error why the pod was not created. Pure functions.

use crate::cluster::pod::{Pod, PodStatus};
use crate::cluster::snapshot::data_plane;
use crate::domain::mesh::{DataPlane, Service};
use crate::domain::reason::Reason;
use crate::sanitize::excerpt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodCondition};
use std::collections::BTreeMap;

/// Name of the container whose curl sends plaintext requests.
pub const PROBE: &str = "probe";

/// Name of the container whose curl sends TLS hellos. It is separate because only hellos need a trace, and `-v` applies
/// to all requests of a curl.
pub const HELLO: &str = "hello";

/// Name of the container whose curl sends lines of text to ports that are not declared to speak HTTP.
pub const LINE: &str = "line";

/// Name of the container whose curl requests what the proof will request, beside the probe that watches a change.
pub const REACH: &str = "reach";

/// How far the containers of a probe pod are.
#[derive(Debug, Clone, PartialEq)]
pub enum PodProgress {
    /// At least one container has not started.
    Waiting,
    /// At least one curl runs; none waits.
    Running,
    /// Every curl has exited; the state is that of [`PROBE`].
    Ended(Box<ContainerStateTerminated>),
    /// The pod will not start, or was ended before its curls were done.
    Stuck(Reason, String),
}

/// Reads the states of the containers, because the pod's phase lags behind them by seconds. The least advanced container
/// decides.
pub fn progress(pod: &Pod) -> PodProgress {
    let containers = pod.spec.containers.iter().map(|container| container.name.as_str());
    let others = containers.filter(|name| matches!(*name, HELLO | LINE | REACH));
    let progress = others
        .fold(container_progress(PROBE, pod), |progress, name| least_advanced(progress, container_progress(name, pod)));
    match progress {
        PodProgress::Stuck(reason, message) => PodProgress::Stuck(reason, excerpt(&message).into_owned()),
        other => other,
    }
}

fn least_advanced(first: PodProgress, second: PodProgress) -> PodProgress {
    match (first, second) {
        (stuck @ PodProgress::Stuck(..), _) | (_, stuck @ PodProgress::Stuck(..)) => stuck,
        (PodProgress::Waiting, _) | (_, PodProgress::Waiting) => PodProgress::Waiting,
        (PodProgress::Running, _) | (_, PodProgress::Running) => PodProgress::Running,
        (ended @ PodProgress::Ended(_), PodProgress::Ended(_)) => ended,
    }
}

fn container_progress(name: &str, pod: &Pod) -> PodProgress {
    let status = &pod.status;
    let container = status.container_statuses.iter().flatten().find(|container| container.name == name);
    let state = container.and_then(|container| container.state.as_ref());
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        // curl exits by itself; a signal means that it was killed (deadline, eviction, memory).
        return match terminated.signal.or((terminated.exit_code >= 128).then_some(terminated.exit_code)) {
            Some(_) => killed(status, terminated),
            None => PodProgress::Ended(Box::new(terminated.clone())),
        };
    }
    if status.phase.as_deref() == Some("Failed") || status.reason.as_deref() == Some("NodeLost") {
        let texts = [status.reason.as_deref(), status.message.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        return PodProgress::Stuck(termination_reason(status, None), texts.join(": "));
    }
    if let Some(disruption) = condition(status, "DisruptionTarget", "True") {
        return PodProgress::Stuck(termination_reason(status, None), disruption.message.clone().unwrap_or_default());
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return PodProgress::Running;
    }
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    let text = || {
        let message = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or_default();
        format!("{reason}: {message}")
    };
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" => {
            return PodProgress::Stuck(Reason::ImagePull, text());
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            return PodProgress::Stuck(Reason::ProbeFailed, text());
        }
        _ => {}
    }
    let unschedulable = condition(status, "PodScheduled", "False")
        .filter(|condition| condition.reason.as_deref() == Some("Unschedulable"));
    match unschedulable {
        Some(condition) => PodProgress::Stuck(Reason::Unschedulable, condition.message.clone().unwrap_or_default()),
        None => PodProgress::Waiting,
    }
}

fn condition<'a>(status: &'a PodStatus, kind: &str, value: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == value)
}

/// Why a pod was ended: by the pod's reason, else by its disruption condition, else by the container's reason.
fn termination_reason(status: &PodStatus, container: Option<&str>) -> Reason {
    let disruption = condition(status, "DisruptionTarget", "True").and_then(|condition| condition.reason.as_deref());
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

fn killed(status: &PodStatus, terminated: &ContainerStateTerminated) -> PodProgress {
    let reason = status.reason.as_deref().or(terminated.reason.as_deref()).unwrap_or("killed");
    if matches!(reason, "StartError" | "ContainerCannotRun") {
        // Here the message is the runtime's; elsewhere it is the response body that curl wrote.
        let message = terminated.message.as_deref().unwrap_or_default();
        return PodProgress::Stuck(Reason::NoCurl, format!("the probe could not be started: {reason}: {message}"));
    }
    let message =
        format!("the probe was ended before its work was done: {reason} (exit code {})", terminated.exit_code);
    PodProgress::Stuck(termination_reason(status, terminated.reason.as_deref()), message)
}

/// Whether a pod of this tool is part of the mesh, and by which data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeshMembership {
    /// Outside the mesh: the probe.
    Outside,
    /// In the mesh with a sidecar: a mesh client.
    Sidecar,
    /// In the mesh through its node's ztunnel: a mesh client.
    Ambient,
}

impl MeshMembership {
    /// Checks that a pod, as admitted or as it runs, has this membership and that no Service selects it.
    pub fn check(self, pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
        match self {
            Self::Outside => check_outside(pod, services),
            Self::Sidecar | Self::Ambient => {
                check_in_mesh(pod, self)?;
                check_not_selected(pod, services)
            }
        }
    }
}

fn check_in_mesh(pod: &Pod, membership: MeshMembership) -> Result<(), (Reason, String)> {
    let message = match (membership, plane(pod)) {
        (MeshMembership::Ambient, DataPlane::Sidecar) => "the control pod was given a sidecar, in spite of its label",
        // The node's agent captures an ambient pod later, on some clusters after its start: see `is_captured`.
        (MeshMembership::Sidecar, DataPlane::Sidecar) | (MeshMembership::Ambient, _) => return Ok(()),
        _ => "the control pod was given no sidecar: is injection on in its namespace?",
    };
    Err((Reason::ControlFailed, message.to_owned()))
}

/// Whether ztunnel has captured the pod (DP-6).
pub fn is_captured(pod: &Pod) -> bool {
    plane(pod) == DataPlane::Ambient
}

fn plane(pod: &Pod) -> DataPlane {
    data_plane(&pod.spec, pod.metadata.annotations.as_ref().unwrap_or(&BTreeMap::new()))
}

/// Checks that the pod is outside the mesh and that no Service selects it.
pub fn check_outside(pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let plane = data_plane(&pod.spec, &annotations);
    if plane != DataPlane::None || annotations.contains_key("sidecar.istio.io/status") {
        let revision = annotations.get("istio.io/rev").map_or_else(String::new, |rev| format!(" by revision {rev:?}"));
        return Err((
            Reason::ProbeMeshed,
            format!(
                "the probe pod was brought into the mesh{revision} ({plane}), in spite of its label and annotation"
            ),
        ));
    }
    if let Some(added) = pod.spec.all_containers().find(|container| container.name.starts_with("istio-")) {
        let message = format!("admission added the container {:?} to the probe pod", added.name);
        return Err((Reason::ProbeMeshed, message));
    }
    check_not_selected(pod, services)
}

/// Checks that no Service selects the pod: it would send requests to itself.
fn check_not_selected(pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let selecting = services.iter().find(|service| service.selects(&labels));
    match selecting {
        Some(service) => {
            Err((Reason::ProbeSelected, format!("service {:?} selects the labels of the probe pod", service.name)))
        }
        None => Ok(()),
    }
}

/// The reason why admission rejected the pod. `None` for any other error of the API server, such as a missing right.
pub fn classify_refusal(status: &kube::core::Status) -> Option<(Reason, String)> {
    let message = status.message.as_str();
    let contains = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    // RBAC answers «User "x" cannot create resource "pods"»; every other 403 comes from an admission plugin.
    let reason = match status.code {
        403 if contains(&[" cannot create resource "]) => return None,
        // A server error that the server did not cause itself: a webhook did not answer.
        500 | 503 | 504 if contains(&["failed calling webhook", "failed to call webhook"]) => Reason::WebhookFailed,
        400 | 403 | 422 | 429 => match () {
            () if contains(&["status unknown for quota"]) => Reason::QuotaUnknown,
            () if contains(&["exceeded quota", "failed quota", "insufficient quota"]) => Reason::Quota,
            () if contains(&["per Container is", "per Pod is"]) => Reason::LimitRange,
            () if contains(&["violates PodSecurity"]) => Reason::PodSecurity,
            () if contains(&["error looking up service account", "no API token found for service account"]) => {
                Reason::NoServiceAccount
            }
            () if contains(&["admission webhook"]) => Reason::WebhookDenied,
            () if status.code == 429 => return None,
            () => Reason::AdmissionDenied,
        },
        _ => return None,
    };
    Some((reason, excerpt(message).into_owned()))
}

#[cfg(test)]
mod tests;
