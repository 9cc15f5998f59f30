//! What a pod's status means for a probe: pure functions of one object.

use crate::domain::mesh::{DataPlane, Service};
use crate::domain::verdict::Reason;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};

/// Name of the probe's container.
pub const CONTAINER: &str = "probe";

/// How far the probe's container is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Not started yet.
    Waiting,
    /// curl runs.
    Running,
    /// curl has ended.
    Ended(Box<ContainerStateTerminated>),
    /// It will not come about, or not by itself.
    Stuck(Reason, String),
}

/// Reads the container's own state; the pod's phase lags behind it by seconds.
pub fn progress(pod: &Pod) -> Progress {
    let Some(status) = &pod.status else { return Progress::Waiting };
    let container = status.container_statuses.iter().flatten().find(|container| container.name == CONTAINER);
    let state = container.and_then(|container| container.state.as_ref());
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        // curl ends by itself; a signal means that somebody ended it (deadline, eviction, memory).
        return match terminated.signal.or((terminated.exit_code >= 128).then_some(terminated.exit_code)) {
            Some(_) => Progress::Stuck(Reason::ProbeFailed, ended_words(status.reason.as_deref(), terminated)),
            None => Progress::Ended(Box::new(terminated.clone())),
        };
    }
    if status.phase.as_deref() == Some("Failed") {
        let words = [status.reason.as_deref(), status.message.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        return Progress::Stuck(Reason::ProbeFailed, words.join(": "));
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
    let unschedulable = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    match unschedulable {
        Some(condition) => Progress::Stuck(Reason::Unschedulable, condition.message.clone().unwrap_or_default()),
        None => Progress::Waiting,
    }
}

fn ended_words(pod_reason: Option<&str>, terminated: &ContainerStateTerminated) -> String {
    let reason = pod_reason.or(terminated.reason.as_deref()).unwrap_or("killed");
    if matches!(reason, "StartError" | "ContainerCannotRun") {
        // Only here the message is the runtime's; elsewhere it is the body that curl wrote.
        let message = terminated.message.as_deref().unwrap_or_default();
        return format!("the probe could not be started: {reason}: {message}");
    }
    format!("the probe was ended before its work was done: {reason} (exit code {})", terminated.exit_code)
}

/// Whether the pod, as admitted and as it runs, is still outside of the mesh and selected by nobody.
pub fn outside(pod: &Pod, services: &[Service]) -> Result<(), (Reason, String)> {
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let spec = pod.spec.clone().unwrap_or_default();
    let plane = super::snapshot::data_plane(&spec, &annotations);
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

/// Sorts a refusal of the probe pod: admission and quota are findings about the cluster, a missing right is an error.
pub fn refusal(status: &kube::core::Status) -> Option<(Reason, String)> {
    let message = status.message.as_str();
    let is_quota = ["exceeded quota", "failed quota", "usage per Container", "usage per Pod"]
        .iter()
        .any(|words| message.contains(words));
    // RBAC says «User "x" cannot create resource "pods"»; every other 403 comes from an admission plugin.
    let is_right = message.contains(" cannot create resource ");
    match status.code {
        403 if is_right => None,
        _ if is_quota => Some((Reason::Quota, message.to_owned())),
        400 | 403 | 422 => Some((Reason::AdmissionDenied, message.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
#[path = "pod_state_tests.rs"]
mod tests;
