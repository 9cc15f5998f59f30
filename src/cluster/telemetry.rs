//! Reads the `Telemetry` objects that concern the access log of a namespace, for a rehearsal.

use super::connect::Cluster;
use super::error::ClusterError;
use super::list::{Listing, Resource, list_if_allowed};
use serde_json::Value;

/// A `Telemetry` object that sets the access log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogTelemetry {
    /// `telemetry shop/default`.
    pub name: String,
    /// Whether it leaves calls out of the log, by an expression.
    pub has_filter: bool,
}

/// The objects of the cluster's namespace and of the mesh's root namespace; `None` where they may not be listed.
pub async fn access_logs(cluster: &Cluster, root: &str) -> Result<Option<Vec<LogTelemetry>>, ClusterError> {
    let mut namespaces = vec![cluster.namespace.as_str(), root];
    namespaces.dedup();
    let mut found = Vec::new();
    for namespace in namespaces {
        match list(cluster, "v1", namespace).await? {
            Listing::Listed(objects) => found.extend(objects),
            Listing::Forbidden => return Ok(None),
            // Istio serves v1 since 1.22.
            Listing::NotServed => match list(cluster, "v1alpha1", namespace).await? {
                Listing::Listed(objects) => found.extend(objects),
                Listing::Forbidden => return Ok(None),
                Listing::NotServed => {}
            },
        }
    }
    Ok(Some(found))
}

async fn list(
    cluster: &Cluster,
    version: &'static str,
    namespace: &str,
) -> Result<Listing<LogTelemetry>, ClusterError> {
    let resource = Resource { group: "telemetry.istio.io", version, plural: "telemetries" };
    list_if_allowed(cluster, resource, namespace, |object: Value| log_telemetry(namespace, &object)).await
}

fn log_telemetry(namespace: &str, object: &Value) -> Option<LogTelemetry> {
    let entries = object["spec"]["accessLogging"].as_array()?;
    Some(LogTelemetry {
        name: format!("telemetry {namespace}/{}", object["metadata"]["name"].as_str()?),
        has_filter: entries.iter().any(|entry| entry["filter"].is_object()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_objects_about_the_access_log_are_read() {
        let rows = [
            (json!({"tracing": []}), None),
            (json!({"accessLogging": [{"disabled": true}]}), Some(false)),
            (json!({"accessLogging": [{}, {"filter": {"expression": "response.code >= 400"}}]}), Some(true)),
        ];
        for (spec, expected) in rows {
            let found = log_telemetry("shop", &json!({"metadata": {"name": "x"}, "spec": spec}));
            assert_eq!(
                found.map(|found| (found.name, found.has_filter)),
                expected.map(|filter| ("telemetry shop/x".to_owned(), filter))
            );
        }
    }
}
