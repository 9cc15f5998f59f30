//! What an interrupted rehearsal left in a namespace: its `Telemetry` object and its journal. The next run that holds the
//! Lease removes them; commands that only read warn of them.

use super::Context;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::journal::{self, JournalKind};
use crate::cluster::lease::WriteGuard;
use crate::cluster::telemetry::{self, WrittenTelemetry};
use crate::exit::ExitStatus;
use crate::istio::kinds::OptionalKind;

/// The objects that rehearsals wrote into a namespace (empty: into all), as far as they may be listed. One of them may
/// belong to a rehearsal that runs.
async fn objects(cluster: &Cluster, api_versions: ApiVersions, namespace: &str) -> Vec<WrittenTelemetry> {
    let resource = api_versions.optional.resource(OptionalKind::Telemetries);
    // They matter less than what the command is for, whose own requests show what is wrong with the server.
    telemetry::of_rehearsals(cluster, resource, namespace).await.unwrap_or_default()
}

/// Warns of objects that rehearsals wrote into a namespace (empty: into all).
pub async fn warn(context: &Context, cluster: &Cluster, api_versions: ApiVersions, namespace: &str) {
    let Ok(objects) = context.shutdown.race(objects(cluster, api_versions, namespace)).await else { return };
    for object in objects {
        let (name, run, namespace) = (object.object_name(), &object.run, &object.namespace);
        context.printer.warn(&format!(
            "{name} of a rehearsal (run {run}) is in namespace {namespace}: if that run was interrupted, remove it with \
             `secure-traffic cleanup -n {namespace}`"
        ));
    }
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// As kubectl prints them.
    pub names: Vec<String>,
    /// Whether something is left, of which there is a warning.
    pub status: Option<ExitStatus>,
}

/// Whether a rehearsal left anything, or runs.
pub async fn exist(cluster: &Cluster, api_versions: ApiVersions) -> bool {
    let (objects, journals) = tokio::join!(
        objects(cluster, api_versions, &cluster.namespace),
        journal::list_of(cluster, JournalKind::Rehearsal)
    );
    !objects.is_empty() || journals.is_ok_and(|journals| !journals.is_empty())
}

/// Removes what interrupted rehearsals left. The run must hold the Lease, so that no rehearsal is at work.
pub async fn remove(context: &Context, cluster: &Cluster, api_versions: ApiVersions) -> Removed {
    let mut removed = Removed::default();
    let Some(resource) = api_versions.optional.resource(OptionalKind::Telemetries) else { return removed };
    for object in objects(cluster, api_versions, &cluster.namespace).await {
        match telemetry::remove_abandoned(cluster, resource, &object).await {
            Ok(()) => {
                let name = object.object_name();
                context.printer.say(&format!("{name} is deleted: a rehearsal that was interrupted left it"));
                removed.names.push(name);
            }
            Err(error) => {
                context.printer.warn(&left(cluster, &error.message));
                removed.status = Some(ExitStatus::LeftBehind);
            }
        }
    }
    // A journal names what may be left, so it stays as long as that.
    if removed.status.is_none() {
        for journal in journal::list_of(cluster, JournalKind::Rehearsal).await.unwrap_or_default() {
            match journal::delete(cluster, &WriteGuard::without_lock(), &journal).await {
                Ok(()) => removed.names.push(format!("configmap/secure-traffic-rehearsal-{}-0", journal.id)),
                Err(error) => {
                    context.printer.warn(&format!("the journal of a rehearsal is left: {error}"));
                    removed.status = Some(ExitStatus::LeftBehind);
                }
            }
        }
    }
    removed
}

/// That the object of a rehearsal is left, and how to remove it.
pub fn left(cluster: &Cluster, reason: &str) -> String {
    let namespace = &cluster.namespace;
    format!(
        "the Telemetry object of the rehearsal is left: {reason}; remove it with: kubectl delete telemetry \
         secure-traffic-rehearsal -n {namespace}"
    )
}
