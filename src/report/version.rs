//! Builds and formats the report of `version`.

use super::model::API_VERSION;
use crate::domain::control_plane::ControlPlane;
use crate::sanitize::line;
use serde::Serialize;
use std::fmt::Write as _;

/// The versions of this tool and of a cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionReport {
    /// Always [`API_VERSION`].
    pub api_version: &'static str,
    /// Always `VersionReport`.
    pub kind: &'static str,
    /// The version of this tool.
    pub version: &'static str,
    /// The cluster; absent without one.
    #[serde(flatten)]
    pub cluster: Option<ClusterVersions>,
}

/// The versions of a cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterVersions {
    /// URL of the API server.
    pub cluster: String,
    /// The version of the API server; absent where it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Istio's control planes; absent where they cannot be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_planes: Option<Vec<ControlPlaneVersion>>,
}

/// One control plane.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneVersion {
    pub namespace: String,
    pub revision: String,
    /// As the label `app.kubernetes.io/version` of its Service; absent without the label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl From<(ControlPlane, Option<String>)> for ControlPlaneVersion {
    fn from((plane, version): (ControlPlane, Option<String>)) -> Self {
        Self { namespace: plane.namespace, revision: plane.revision, version }
    }
}

impl VersionReport {
    /// The report, with the versions of a cluster if there is one.
    pub fn new(cluster: Option<ClusterVersions>) -> Self {
        Self { api_version: API_VERSION, kind: "VersionReport", version: env!("CARGO_PKG_VERSION"), cluster }
    }

    /// A line for each program.
    pub fn text(&self) -> String {
        let mut text = format!("secure-traffic  {}\n", self.version);
        let Some(cluster) = &self.cluster else { return text };
        let kubernetes = cluster.kubernetes_version.as_deref().unwrap_or("unknown");
        let _ = writeln!(text, "Kubernetes      {} ({})", line(kubernetes), line(&cluster.cluster));
        match cluster.control_planes.as_deref() {
            None => text.push_str("Istio           unknown\n"),
            Some([]) => text.push_str("Istio           no control plane found\n"),
            Some(planes) => {
                for plane in planes {
                    let version = plane.version.as_deref().unwrap_or("unknown");
                    let (namespace, revision) = (line(&plane.namespace), line(&plane.revision));
                    let _ = writeln!(text, "Istio           {} ({namespace}, revision {revision})", line(version));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_unknown() {
        let client = format!("secure-traffic  {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(VersionReport::new(None).text(), client);
        let plane = |version: Option<&str>| {
            ControlPlaneVersion::from((ControlPlane::new("istio-system", "canary"), version.map(str::to_owned)))
        };
        for (kubernetes_version, control_planes, expected) in [
            (Some("v1.33.1"), Some(vec![plane(Some("1.29.0"))]), "v1.33.1 (c)|1.29.0 (istio-system, revision canary)"),
            (Some("v1.33.1"), Some(vec![plane(None)]), "v1.33.1 (c)|unknown (istio-system, revision canary)"),
            (Some("v1.33.1"), Some(vec![]), "v1.33.1 (c)|no control plane found"),
            (None, None, "unknown (c)|unknown"),
        ] {
            let kubernetes_version = kubernetes_version.map(str::to_owned);
            let cluster = ClusterVersions { cluster: "c".to_owned(), kubernetes_version, control_planes };
            let text = VersionReport::new(Some(cluster)).text();
            let (kubernetes, istio) = expected.split_once('|').unwrap();
            assert_eq!(text, format!("{client}Kubernetes      {kubernetes}\nIstio           {istio}\n"));
        }
    }
}
