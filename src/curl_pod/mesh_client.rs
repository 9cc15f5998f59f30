//! The control: one pod in the mesh that asks the same Services, for the whole run.

use super::pod_state::MeshMembership;
use super::probe_pod::Failure;
use super::runner::ProbeRunner;
use crate::cluster::error::{Access, ClusterError};
use crate::cluster::request::send_optional;
use crate::cluster::snapshot::dynamic_api;
use crate::domain::mesh::{DataPlane, Snapshot};
use crate::domain::mesh_client::{MeshClientAnswer, control};
use crate::domain::probe::Case;
use crate::istio::kinds::AUTHORIZATION_POLICY;
use kube::api::ListParams;

/// What a control run saw.
#[derive(Debug)]
pub struct MeshClientRun {
    /// What the client in the mesh met at each case, in order, or why there is none.
    pub result: Result<Vec<MeshClientAnswer>, Failure>,
    /// Pods whose removal could not be confirmed.
    pub left_behind: Vec<String>,
}

/// Sends a client in the mesh to the Services of all cases. It goes by the Services' addresses alone: a pod's own
/// address is none that a sidecar knows to speak mutual TLS to.
pub async fn ask(prober: &ProbeRunner<'_>, snapshot: &Snapshot, cases: &[Case]) -> MeshClientRun {
    let plain =
        |case: &Case| Case { endpoints: Vec::new(), path: case.path.clone(), explicit_path: false, ..case.clone() };
    let services: Vec<Case> = cases.iter().map(plain).collect();
    let asked = prober.ask_from(stand(cases), snapshot, &services).await;
    let result = asked.result.map(|seen| seen.iter().map(|seen| control(&seen.service)).collect());
    MeshClientRun { result, left_behind: asked.left_behind }
}

/// As most of the targets are in the mesh, so is their client.
pub fn stand<'c>(cases: impl IntoIterator<Item = &'c Case>) -> MeshMembership {
    let (mut ambient, mut all) = (0, 0);
    for endpoint in cases.into_iter().flat_map(|case| &case.endpoints) {
        ambient += usize::from(endpoint.data_plane == DataPlane::Ambient);
        all += 1;
    }
    if ambient * 2 > all { MeshMembership::Ambient } else { MeshMembership::Sidecar }
}

/// Whether an authorization policy of the namespace or of the root namespace could explain that a stranger is refused;
/// one that cannot be ruled out could.
pub async fn authorization_may_refuse(prober: &ProbeRunner<'_>, snapshot: &Snapshot) -> Result<bool, ClusterError> {
    let kind = AUTHORIZATION_POLICY;
    for namespace in [&snapshot.namespace, &snapshot.policies.root_namespace] {
        let api = dynamic_api(prober.cluster, &kind, namespace);
        let access = Access::new("list", kind.group, kind.plural, namespace);
        let params = ListParams::default().limit(1);
        let list = send_optional(access, &[403, 404], || api.list(&params)).await?;
        if list.is_none_or(|list| !list.items.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}
