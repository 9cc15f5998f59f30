//! Finds Knative's workloads in a namespace, and whether Knative's own pods, which call them by address, are in the mesh.

use super::mesh::{Pod, Service, Snapshot};
use super::namespace_context::KnativeSystem;
use super::overview::workload;
use std::collections::{BTreeMap, BTreeSet};

/// The namespace of Knative's own pods, unless it is installed elsewhere.
pub const NAMESPACE: &str = "knative-serving";

/// The label of a revision's pods and workloads.
const REVISION: &str = "serving.knative.dev/revision";

/// The workloads that call pods by their addresses.
const CALLERS: [&str; 2] = ["activator", "autoscaler"];

fn is_knative(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key(REVISION)
}

/// Whether workloads of Knative run in the namespace, or would.
pub fn runs_in(snapshot: &Snapshot) -> bool {
    snapshot.pods.values().any(|pod| is_knative(&pod.labels))
        || snapshot.templates.iter().any(|template| is_knative(&template.labels))
}

/// Workloads with a sidecar that Knative calls.
pub fn workloads(snapshot: &Snapshot) -> BTreeSet<String> {
    let live = snapshot.pods.values().filter(|pod| !pod.facts.finished && pod.data_plane.is_meshed());
    live.filter(|pod| is_knative(&pod.labels)).map(workload).collect()
}

/// Whether the pods of a Service are those of a revision, which Knative scales to zero and up again by itself.
pub fn is_revision(snapshot: &Snapshot, service: &Service) -> bool {
    snapshot.templates.iter().any(|template| is_knative(&template.labels) && service.selects(&template.labels))
}

/// Workloads that Knative has scaled to zero.
pub fn scaled_to_zero(snapshot: &Snapshot) -> BTreeSet<String> {
    let live: BTreeSet<String> = snapshot.pods.values().filter(|pod| !pod.facts.finished).map(workload).collect();
    let templates = snapshot.templates.iter().filter(|template| is_knative(&template.labels));
    templates.map(|template| template.workload.clone()).filter(|workload| !live.contains(workload)).collect()
}

/// Whether the callers among these pods of Knative are in the mesh.
pub fn system(pods: &[Pod]) -> KnativeSystem {
    let is_caller = |pod: &&Pod| pod.labels.get("app").is_some_and(|app| CALLERS.contains(&app.as_str()));
    let callers: Vec<&Pod> = pods.iter().filter(|pod| !pod.facts.finished).filter(is_caller).collect();
    let outside = callers.iter().filter(|pod| !pod.data_plane.is_meshed());
    let outside: BTreeSet<String> = outside.map(|pod| format!("{}/{}", pod.namespace, workload(pod))).collect();
    match (callers.is_empty(), outside.is_empty()) {
        (true, _) => KnativeSystem::Unknown,
        (false, true) => KnativeSystem::Meshed,
        (false, false) => KnativeSystem::Outside(outside.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::injection::PodTemplate;
    use crate::domain::mesh::{DataPlane, PodFacts};
    use crate::domain::testing::shop;

    #[test]
    fn the_callers_of_knative_are_in_the_mesh_or_not() {
        let pod = |app: &str, data_plane| Pod {
            namespace: NAMESPACE.into(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            data_plane,
            facts: PodFacts { workload: format!("deployment/{app}"), ..PodFacts::default() },
            ..Pod::default()
        };
        for (pods, expected) in [
            (vec![], KnativeSystem::Unknown),
            (vec![pod("controller", DataPlane::None)], KnativeSystem::Unknown),
            (vec![pod("activator", DataPlane::Sidecar), pod("controller", DataPlane::None)], KnativeSystem::Meshed),
            (
                vec![pod("activator", DataPlane::Sidecar), pod("autoscaler", DataPlane::None)],
                KnativeSystem::Outside(vec!["knative-serving/deployment/autoscaler".into()]),
            ),
        ] {
            assert_eq!(system(&pods), expected);
        }
    }

    #[test]
    fn a_revision_without_pods_is_scaled_to_zero() {
        let mut snapshot = shop(&["web"]);
        assert!(!runs_in(&snapshot));
        let template = |name: &str| PodTemplate {
            workload: format!("deployment/{name}"),
            labels: [(REVISION.to_owned(), name.to_owned())].into(),
            ..PodTemplate::default()
        };
        snapshot.templates = vec![template("hello-1"), template("hello-2")];
        let live = snapshot.pods.get_mut("web-0").unwrap();
        live.facts.workload = "deployment/hello-2".into();
        live.labels.insert(REVISION.to_owned(), "hello-2".to_owned());
        assert!(runs_in(&snapshot));
        let revision = |name: &str| Service {
            selector: [(REVISION.to_owned(), name.to_owned())].into(),
            ..snapshot.services[0].clone()
        };
        assert!(is_revision(&snapshot, &revision("hello-1")) && !is_revision(&snapshot, &revision("other")));
        assert!(!is_revision(&snapshot, &snapshot.services[0]), "a Service of other pods");
        assert_eq!(scaled_to_zero(&snapshot), BTreeSet::from(["deployment/hello-1".to_owned()]));
        assert_eq!(workloads(&snapshot), BTreeSet::from(["deployment/hello-2".to_owned()]));
    }
}
