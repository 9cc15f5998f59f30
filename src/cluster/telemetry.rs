//! The `Telemetry` objects of a namespace, for a rehearsal: reads those that are there, writes the one of a rehearsal and
//! removes it.
//!
//! An object is removed by its UID and without the lock: a run that has lost its Lease must still not leave it.

use super::connect::Cluster;
use super::error::{Access, ClusterError, is_already_there, is_unanswered};
use super::lease::{GuardedError, WriteGuard};
use super::list::{Listing, Resource, Selection, list_if_allowed, list_selected_if_allowed};
use super::request;
use super::snapshot::dynamic_api;
use crate::domain::rehearsal::FoundTelemetry;
use crate::istio::kinds::{Kind, TELEMETRY};
use crate::istio::render;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams, Preconditions};
use serde_json::Value;
use std::time::Duration;

/// Tries to remove an object, and the pause between them.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(500);

/// Look-ups without an object after which a request without an answer has not created one.
const ABSENT: u32 = 4;

/// The label selector of the objects that rehearsals write.
const LABELS: &str = "app.kubernetes.io/managed-by=secure-traffic,app.kubernetes.io/component=rehearsal";

/// The objects of the cluster's namespace and of the mesh's root namespace; `None` where they may not be listed.
/// `resource` is the served version.
pub async fn telemetries(
    cluster: &Cluster,
    resource: Option<Resource>,
    root: &str,
) -> Result<Option<Vec<FoundTelemetry>>, ClusterError> {
    let Some(resource) = resource else { return Ok(Some(Vec::new())) };
    let mut namespaces = vec![cluster.namespace.as_str(), root];
    namespaces.dedup();
    let mut all = Vec::new();
    for namespace in namespaces {
        let convert = |object: Value| found(namespace, namespace == cluster.namespace, &object);
        match list_if_allowed(cluster, resource, namespace, convert).await? {
            Listing::Listed(objects) => all.extend(objects),
            Listing::Forbidden => return Ok(None),
            Listing::NotServed => {}
        }
    }
    Ok(Some(all))
}

fn found(namespace: &str, is_own_namespace: bool, object: &Value) -> Option<FoundTelemetry> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let is_set = |value: &Value| value.as_object().is_some_and(|fields| !fields.is_empty());
    let entries = spec["accessLogging"].as_array();
    let label = |key: &str| metadata["labels"][key].as_str();
    let is_ours = label(render::MANAGED_BY.0) == Some(render::MANAGED_BY.1)
        && label(render::COMPONENT.0) == Some(render::COMPONENT.1);
    Some(FoundTelemetry {
        name: format!("telemetry {namespace}/{}", metadata["name"].as_str()?),
        is_own_namespace,
        // An empty selector is none.
        has_selector: is_set(&spec["selector"]["matchLabels"])
            || is_set(&spec["targetRef"])
            || spec["targetRefs"].as_array().is_some_and(|targets| !targets.is_empty()),
        sets_log: entries.is_some_and(|entries| !entries.is_empty()),
        has_filter: entries.into_iter().flatten().any(|entry| entry["filter"].is_object()),
        run: is_ours.then(|| label(render::RUN).unwrap_or_default().to_owned()),
    })
}

/// An object that a rehearsal has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenTelemetry {
    pub namespace: String,
    pub name: String,
    /// The run that wrote it.
    pub run: String,
    uid: Option<String>,
}

impl WrittenTelemetry {
    /// As kubectl prints it: `telemetry.telemetry.istio.io/secure-traffic-rehearsal`.
    pub fn object_name(&self) -> String {
        TELEMETRY.object_name(&self.name)
    }
}

/// The objects that rehearsals wrote into a namespace (empty: into all), as far as they may be listed.
pub async fn of_rehearsals(
    cluster: &Cluster,
    resource: Option<Resource>,
    namespace: &str,
) -> Result<Vec<WrittenTelemetry>, ClusterError> {
    written(cluster, resource, Selection::labelled(namespace, LABELS)).await
}

async fn written(
    cluster: &Cluster,
    resource: Option<Resource>,
    selection: Selection<'_>,
) -> Result<Vec<WrittenTelemetry>, ClusterError> {
    let Some(resource) = resource else { return Ok(Vec::new()) };
    let convert = |object: Value| {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(WrittenTelemetry {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            run: text(&metadata["labels"][render::RUN]),
            uid: metadata["uid"].as_str().map(str::to_owned),
        })
    };
    match list_selected_if_allowed(cluster, resource, selection, convert).await? {
        Listing::Listed(objects) => Ok(objects),
        Listing::NotServed | Listing::Forbidden => Ok(Vec::new()),
    }
}

/// Removes an object that an interrupted rehearsal left, and looks up whether it is gone. Nobody may hold the namespace's
/// Lease but this run.
pub async fn remove_abandoned(
    cluster: &Cluster,
    resource: Resource,
    object: &WrittenTelemetry,
) -> Result<(), ClusterError> {
    Telemetry { run: object.run.clone(), is_confirmed: true, is_sent: true, ..Telemetry::new(cluster, resource, "") }
        .remove()
        .await
}

/// The object of a rehearsal.
pub struct Telemetry<'a> {
    cluster: &'a Cluster,
    kind: Kind,
    resource: Resource,
    api: Api<DynamicObject>,
    run: String,
    /// Whether its creation was requested.
    is_sent: bool,
    /// Whether its creation was answered.
    is_confirmed: bool,
}

impl<'a> Telemetry<'a> {
    /// The object of this run, of which nothing is written.
    pub fn new(cluster: &'a Cluster, resource: Resource, run: &str) -> Self {
        let kind = Kind { version: resource.version, ..TELEMETRY };
        let api = dynamic_api(cluster, &kind, &cluster.namespace);
        Self { cluster, kind, resource, api, run: run.to_owned(), is_sent: false, is_confirmed: false }
    }

    fn access(&self, verb: &'static str) -> Access<'_> {
        Access::new(verb, self.resource.group, self.resource.plural, &self.cluster.namespace)
            .named(render::REHEARSAL_TELEMETRY)
    }

    /// Creates the object. An error where the server stores another one than was sent: fields that an old Istio does not
    /// know would be dropped, and all calls logged.
    pub async fn create(&mut self, guard: &WriteGuard) -> Result<(), ClusterError> {
        let sent = render::rehearsal_telemetry(&self.kind, &self.cluster.namespace, &self.run);
        let object: DynamicObject = serde_json::from_value(sent.clone()).map_err(|error| ClusterError {
            message: format!("the Telemetry object could not be written: {error}"),
            hint: None,
        })?;
        let params = PostParams { dry_run: false, field_manager: Some("secure-traffic".to_owned()) };
        self.is_sent = true;
        match guard.attempt(self.access("create"), || self.api.create(&params, &object)).await {
            Ok(created) => {
                self.is_confirmed = created.metadata.uid.is_some();
                if created.data["spec"] == sent["spec"] {
                    return Ok(());
                }
                let message = "the Telemetry object is not stored as it was written";
                Err(ClusterError::new(message, "it needs Istio 1.17 or later"))
            }
            Err(error) => {
                // It exists already, and is another's, or it was refused.
                let is_answered = match &error {
                    GuardedError::LockLost(_) => true,
                    GuardedError::LostWhileSending(_) => false,
                    GuardedError::Api(error) => !is_unanswered(error) && !is_already_there(error),
                };
                self.is_sent = !is_answered;
                Err(error.explain(self.access("create")))
            }
        }
    }

    /// Whether the object may be in the cluster.
    pub const fn is_sent(&self) -> bool {
        self.is_sent
    }

    /// Removes the object of this run, and looks up whether it is gone. The error says why it is left.
    pub async fn remove(&mut self) -> Result<(), ClusterError> {
        if !self.is_sent {
            return Ok(());
        }
        let labels = format!("{LABELS},{}={}", render::RUN, self.run);
        let mut absent = 0;
        let mut refused = None;
        for _ in 0..TRIES {
            let selection = Selection::labelled(&self.cluster.namespace, &labels);
            match written(self.cluster, Some(self.resource), selection).await {
                Ok(found) if found.is_empty() => {
                    absent += 1;
                    // A request without an answer may still create the object a moment later.
                    if self.is_confirmed || absent > ABSENT {
                        self.is_sent = false;
                        return Ok(());
                    }
                }
                Ok(found) => {
                    for object in found {
                        refused = self.delete(&object).await.err().or(refused);
                    }
                }
                Err(error) => refused = Some(error),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(refused.unwrap_or_else(|| ClusterError {
            message: format!(
                "{} is still there after its deletion",
                TELEMETRY.object_name(render::REHEARSAL_TELEMETRY)
            ),
            hint: None,
        }))
    }

    async fn delete(&self, object: &WrittenTelemetry) -> Result<(), ClusterError> {
        let preconditions = Some(Preconditions { uid: object.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        let access = self.access("delete").repeatable();
        // Gone, or another object by now.
        request::send_optional(access, &[404, 409], || self.api.delete(&object.name, &params)).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_read_as_far_as_they_matter_for_the_access_log() {
        let of = |spec: Value| found("shop", true, &json!({"metadata": {"name": "x"}, "spec": spec})).unwrap();
        // Whether it has a selector, sets the log, and filters it.
        let rows = [
            (json!({"tracing": []}), (false, false, false)),
            (json!({"selector": {}, "accessLogging": []}), (false, false, false)),
            (json!({"accessLogging": [{"disabled": true}]}), (false, true, false)),
            (json!({"selector": {"matchLabels": {"app": "x"}}, "metrics": []}), (true, false, false)),
            (json!({"targetRefs": [{"kind": "Service", "name": "x"}]}), (true, false, false)),
            (json!({"accessLogging": [{}, {"filter": {"expression": "response.code >= 400"}}]}), (false, true, true)),
        ];
        for (spec, expected) in rows {
            let found = of(spec.clone());
            assert_eq!((found.has_selector, found.sets_log, found.has_filter), expected, "{spec}");
            assert_eq!((found.name.as_str(), &found.run), ("telemetry shop/x", &None));
        }
        let own = render::rehearsal_telemetry(&TELEMETRY, "shop", "bcdfg");
        let own = found("shop", true, &own).unwrap();
        assert_eq!((own.run.as_deref(), own.sets_log, own.has_filter), (Some("bcdfg"), true, true));
    }
}
