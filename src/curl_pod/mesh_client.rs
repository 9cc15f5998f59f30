//! Runs a client in the mesh that requests the Services of the cases, and returns one answer per case, for `commands`.

use super::pod_state::MeshMembership;
use super::probe_pod::Failure;
use super::runner::ProbeRunner;
use crate::cluster::error::{Access, ClusterError};
use crate::cluster::request::send_optional;
use crate::cluster::snapshot::dynamic_api;
use crate::domain::mesh::{DataPlane, Snapshot};
use crate::domain::mesh_client::{MeshClientAnswer, classify_samples};
use crate::domain::probe::Case;
use crate::istio::kinds::AUTHORIZATION_POLICY;
use kube::api::ListParams;

/// The answers of a run of the mesh client, and the pods that it left.
#[derive(Debug)]
pub struct MeshClientRun {
    /// One answer per case, in the order of the cases.
    pub result: Result<Vec<MeshClientAnswer>, Failure>,
    /// Pods whose removal could not be confirmed, as `pod/NAME -n NAMESPACE`.
    pub left_behind: Vec<String>,
}

/// Requests the Services of all cases from a client in the mesh. It uses the Services' addresses only, because a sidecar
/// does not use mutual TLS for a pod's own address.
pub async fn run(runner: &ProbeRunner<'_>, snapshot: &Snapshot, cases: &[Case]) -> MeshClientRun {
    let service_only =
        |case: &Case| Case { endpoints: Vec::new(), path: case.path.clone(), explicit_path: false, ..case.clone() };
    let services: Vec<Case> = cases.iter().map(service_only).collect();
    let outcome = runner.run_from(mesh_membership(cases), snapshot, &services).await;
    let answers =
        outcome.result.map(|observations| observations.iter().map(|seen| classify_samples(&seen.service)).collect());
    MeshClientRun { result: answers, left_behind: outcome.left_behind }
}

/// The membership of a client for these cases: that of most of their endpoints.
pub fn mesh_membership<'c>(cases: impl IntoIterator<Item = &'c Case>) -> MeshMembership {
    let (mut ambient, mut all) = (0, 0);
    for endpoint in cases.into_iter().flat_map(|case| &case.endpoints) {
        ambient += usize::from(endpoint.data_plane == DataPlane::Ambient);
        all += 1;
    }
    if ambient * 2 > all { MeshMembership::Ambient } else { MeshMembership::Sidecar }
}

/// Whether an `AuthorizationPolicy` of the namespace or of the root namespace could be what refuses a client outside the
/// mesh: any policy that exists, or that may not be read.
pub async fn authorization_may_refuse(runner: &ProbeRunner<'_>, snapshot: &Snapshot) -> Result<bool, ClusterError> {
    let kind = AUTHORIZATION_POLICY;
    for namespace in [&snapshot.namespace, &snapshot.policies.root_namespace] {
        let api = dynamic_api(runner.cluster, &kind, namespace);
        let access = Access::new("list", kind.group, kind.plural, namespace);
        let params = ListParams::default().limit(1);
        let list = send_optional(access, &[403, 404], || api.list(&params)).await?;
        if list.is_none_or(|list| !list.items.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}
