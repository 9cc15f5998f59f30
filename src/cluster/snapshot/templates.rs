//! Reads the pod templates of workloads, for plans and findings: pods that do not exist yet are known by nothing else.

use super::pods::{PROXY, custom_owner, inject_request};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::error::ClusterError;
use crate::cluster::list::{Meta, list_if_served};
use crate::domain::injection::PodTemplate;
use crate::istio::kinds::OptionalKind;
use serde::Deserialize;

/// A Deployment, `StatefulSet`, `DaemonSet`, Job or `Rollout` of Argo, as far as its template is concerned. A `Rollout` can
/// refer to the template of a Deployment instead of having one.
#[derive(Debug, Deserialize)]
struct WorkloadShape {
    metadata: Meta,
    spec: Option<WorkloadSpec>,
    #[serde(default)]
    status: WorkloadStatus,
}

#[derive(Debug, Default, Deserialize)]
struct WorkloadStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl WorkloadStatus {
    /// Whether it is a Job that has ended, which starts no pod any more.
    fn has_ended(&self) -> bool {
        let ends = |condition: &Condition| matches!(condition.kind.as_str(), "Complete" | "Failed");
        self.conditions.iter().any(|condition| ends(condition) && condition.status == "True")
    }
}

#[derive(Debug, Deserialize)]
struct WorkloadSpec {
    replicas: Option<i32>,
    template: Option<TemplateShape>,
}

#[derive(Debug, Deserialize)]
struct TemplateShape {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    spec: TemplateSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TemplateSpec {
    host_network: Option<bool>,
    #[serde(default)]
    containers: Vec<ContainerName>,
    init_containers: Option<Vec<ContainerName>>,
}

#[derive(Debug, Deserialize)]
struct ContainerName {
    name: String,
}

/// The kinds with a pod template that are read: singular and plural names.
const KINDS: [(OptionalKind, &str, &str); 5] = [
    (OptionalKind::Deployments, "deployment", "deployments"),
    (OptionalKind::StatefulSets, "statefulset", "statefulsets"),
    (OptionalKind::DaemonSets, "daemonset", "daemonsets"),
    (OptionalKind::Jobs, "job", "jobs"),
    (OptionalKind::Rollouts, "rollout", "rollouts"),
];

/// The pod templates of a namespace (empty: of all), each with its namespace, and the kinds that may not be listed.
pub(in crate::cluster) async fn templates(
    cluster: &Cluster,
    api_versions: ApiVersions,
    namespace: &str,
) -> Result<(Vec<(String, PodTemplate)>, Vec<String>), ClusterError> {
    let lists = KINDS.map(|(kind, singular, _)| {
        let resource = api_versions.optional.resource(kind);
        list_if_served(cluster, resource, namespace, move |object| pod_template(object, singular))
    });
    let lists = futures::future::try_join_all(lists).await?;
    let (mut templates, mut unread) = (Vec::new(), Vec::new());
    for (listing, (.., plural)) in lists.into_iter().zip(KINDS) {
        templates.extend(listing.or_noted(&format!("{plural} (what their pods will be)"), &mut unread));
    }
    templates.sort_by(|(_, left): &(String, PodTemplate), (_, right)| left.workload.cmp(&right.workload));
    Ok((templates, unread))
}

fn pod_template(object: WorkloadShape, singular: &str) -> Option<(String, PodTemplate)> {
    if singular == "job" && object.status.has_ended() {
        return None;
    }
    let custom_owner = custom_owner(&object.metadata);
    let WorkloadSpec { replicas, template } = object.spec?;
    let TemplateShape { metadata, spec } = template?;
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let template = PodTemplate {
        workload: format!("{singular}/{}", object.metadata.name?),
        inject: inject_request(&metadata),
        host_network: spec.host_network == Some(true),
        at_zero: replicas == Some(0),
        has_proxy: containers.any(|container| container.name == PROXY),
        custom_owner,
        labels: metadata.labels.unwrap_or_default(),
    };
    Some((object.metadata.namespace.unwrap_or_default(), template))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_is_read_whatever_its_kind() {
        let object = json!({"metadata": {"name": "nightly"}, "spec": {"replicas": 0, "template": {
            "metadata": {"labels": {"app": "nightly", "sidecar.istio.io/inject": "false"}},
            "spec": {"containers": [{"name": "app"}], "initContainers": [{"name": "istio-proxy"}]},
        }}});
        let (_, found) =
            pod_template(serde_json::from_value(object).expect("a workload"), "deployment").expect("a template");
        assert_eq!((found.workload.as_str(), found.inject.as_deref()), ("deployment/nightly", Some("false")));
        assert!(found.has_proxy && found.at_zero && !found.host_network);
        for (kind, condition, status, is_read) in [
            ("job", "Complete", "True", false),
            ("job", "Failed", "True", false),
            ("job", "Suspended", "True", true),
            ("job", "Failed", "False", true),
            ("deployment", "Complete", "True", true),
        ] {
            let object = json!({
                "metadata": {"name": "x"}, "spec": {"template": {}},
                "status": {"conditions": [{"type": condition, "status": status}]},
            });
            let found = pod_template(serde_json::from_value(object).expect("a workload"), kind);
            assert_eq!(found.is_some(), is_read, "{kind} {condition} {status}");
        }
        let refers =
            json!({"metadata": {"name": "web"}, "spec": {"workloadRef": {"kind": "Deployment", "name": "web"}}});
        assert_eq!(pod_template(serde_json::from_value(refers).expect("a workload"), "rollout"), None);
    }
}
