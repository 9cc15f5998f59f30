//! Finds the ztunnels of the nodes, for their evidence about pods in ambient mode.

use super::connect::Cluster;
use super::error::ClusterError;
use super::list::{Listing, Meta, Resource, Selection, list_selected, list_selected_if_allowed};
use crate::domain::mesh::MeshSettings;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The label that Istio's charts give the pods of ztunnel.
const LABEL: &str = "app=ztunnel";

/// The pod of a ztunnel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ztunnel {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
}

/// The ztunnels of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ztunnels {
    /// The ztunnel of each node, by the node's name.
    pub by_node: BTreeMap<String, Ztunnel>,
    /// Where they were looked for: `namespace NAME`, or `any namespace`.
    pub place: String,
}

/// A pod with its node.
#[derive(Deserialize)]
struct PlacedPod {
    metadata: Meta,
    spec: Placement,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placement {
    node_name: Option<String>,
}

/// The ztunnels of the namespace that the user names. Otherwise those of all namespaces, or, where pods of all namespaces
/// may not be listed, those of the control plane's namespace and of the root namespace. `Err` names the right that is
/// missing there.
pub async fn ztunnels(cluster: &Cluster, mesh: &MeshSettings) -> Result<Ztunnels, ClusterError> {
    let in_namespace = |namespace| list_selected(cluster, PODS, Selection::labelled(namespace, LABEL), placed);
    let (pods, place) = if let Some(namespace) = &mesh.ztunnel_namespace {
        (in_namespace(namespace).await?, format!("namespace {namespace}"))
    } else {
        let everywhere = Selection::labelled("", LABEL);
        match list_selected_if_allowed(cluster, PODS, everywhere, placed).await? {
            Listing::Listed(pods) => (pods, "any namespace".to_owned()),
            Listing::NotServed | Listing::Forbidden => {
                let namespaces = BTreeSet::from([mesh.istio_namespace.as_str(), mesh.root_namespace.as_str()]);
                let lists = namespaces.iter().map(|namespace| in_namespace(namespace));
                let pods = futures::future::try_join_all(lists).await?.concat();
                (pods, format!("namespace {}", Vec::from_iter(namespaces).join(" and ")))
            }
        }
    };
    Ok(Ztunnels { by_node: pods.into_iter().collect(), place })
}

const PODS: Resource = Resource::core("pods");

fn placed(pod: PlacedPod) -> Option<(String, Ztunnel)> {
    let ztunnel = Ztunnel { namespace: pod.metadata.namespace?, pod: pod.metadata.name? };
    Some((pod.spec.node_name?, ztunnel))
}

/// The node of each pod of the namespace, by the pod's name: one list, however many pods there are.
pub async fn nodes(cluster: &Cluster) -> Result<BTreeMap<String, String>, ClusterError> {
    let by_name = |pod: PlacedPod| Some((pod.metadata.name?, pod.spec.node_name?));
    let selection = Selection::labelled(&cluster.namespace, "");
    Ok(list_selected(cluster, PODS, selection, by_name).await?.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    /// A cluster with a ztunnel in `home`, whose pods may be listed in all namespaces or only there.
    fn cluster(home: &'static str, lists_all: bool) -> Cluster {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        tokio::spawn(async move {
            while let Some((request, respond)) = handle.next_request().await {
                let at_home = request.uri().path() == format!("/api/v1/namespaces/{home}/pods");
                let everywhere = request.uri().path() == "/api/v1/pods";
                assert!(request.uri().query().unwrap_or_default().contains("app%3Dztunnel"), "{}", request.uri());
                let pod = json!({"metadata": {"name": "ztunnel-x", "namespace": home}, "spec": {"nodeName": "one"}});
                let (status, body) = match () {
                    () if everywhere && !lists_all => {
                        (403, json!({"kind": "Status", "code": 403, "status": "Failure"}))
                    }
                    () if everywhere || at_home => (200, json!({"metadata": {}, "items": [pod]})),
                    () => (200, json!({"metadata": {}, "items": []})),
                };
                let body = Body::from(body.to_string().into_bytes());
                respond.send_response(Response::builder().status(status).body(body).unwrap());
            }
        });
        Cluster::of_test(kube::Client::new(service, "demo"))
    }

    #[tokio::test]
    async fn ztunnel_is_found_by_its_label_and_otherwise_where_the_user_or_the_mesh_says() {
        for (home, lists_all, named, is_found, place) in [
            ("ztunnel", true, None, true, "any namespace"),
            ("ztunnel", false, None, false, "namespace istio-config and istio-system"),
            ("istio-system", false, None, true, "namespace istio-config and istio-system"),
            ("ztunnel", false, Some("ztunnel"), true, "namespace ztunnel"),
            ("ztunnel", true, Some("istio-system"), false, "namespace istio-system"),
        ] {
            let mesh = MeshSettings {
                root_namespace: "istio-config".to_owned(),
                ztunnel_namespace: named.map(str::to_owned),
                ..MeshSettings::default()
            };
            let found = ztunnels(&cluster(home, lists_all), &mesh).await.unwrap();
            let expected = Ztunnel { namespace: home.to_owned(), pod: "ztunnel-x".to_owned() };
            assert_eq!(found.by_node.get("one"), is_found.then_some(&expected), "{home} {lists_all} {named:?}");
            assert_eq!(found.place, place);
        }
    }
}
