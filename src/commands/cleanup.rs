//! `cleanup`: removes the pods, the Lease and the objects of rehearsals that an earlier, killed run left. It keeps journals
//! of switches, which `--restore` needs.

use super::Context;
use super::leftovers::{self, Removed};
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::discover;
use crate::cluster::lease::{self, LeaseError, ReleaseError};
use crate::cluster::snapshot;
use crate::curl_pod::probe_pod::{Sweep, sweep};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::plan::result_line;

/// Runs the command. Everything is removed before the first result is printed, so that an output that cannot be written
/// leaves nothing in the cluster.
pub async fn run(context: &Context) -> error::Result<ExitStatus> {
    let cluster = context.cluster(SandboxState::Permissive).await?;
    context.read(snapshot::namespace_exists(&cluster)).await?;
    let pods = context.read(sweep(&cluster, Sweep::All)).await?;
    let locked = remove_locked(context, &cluster).await;
    for refused in &pods.refused {
        context.printer.warn(&refused.message);
    }
    let left: Vec<String> = pods.left.iter().map(|name| format!("pod/{name} -n {}", cluster.namespace)).collect();
    let status = context.report_left_behind(&left);
    for name in &pods.removed {
        context.printer.result(&result_line(&format!("pod/{name}"), "deleted", "", false))?;
    }
    let (rehearsal, lease) = locked?;
    for name in &rehearsal.names {
        context.printer.result(&result_line(name, "deleted", "", false))?;
    }
    if lease == AbandonedLease::Removed {
        let name = format!("lease.coordination.k8s.io/{}", lease::NAME);
        context.printer.result(&result_line(&name, "deleted", "", false))?;
    } else if pods.removed.is_empty() && left.is_empty() && rehearsal.names.is_empty() {
        context.printer.say(&format!("no probe pods in namespace {}", cluster.namespace));
    }
    let status = status.and(rehearsal.status.unwrap_or(ExitStatus::Success));
    Ok(if lease == AbandonedLease::Left { status.and(ExitStatus::LeftBehind) } else { status })
}

/// What came of the Lease of the namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AbandonedLease {
    /// There is none, or another run holds it.
    None,
    Removed,
    /// It is still there after its deletion, which is reported.
    Left,
}

/// Removes what an interrupted rehearsal left, and a Lease that is no longer renewed. A renewed Lease belongs to another run,
/// which keeps both.
async fn remove_locked(context: &Context, cluster: &Cluster) -> error::Result<(Removed, AbandonedLease)> {
    let nothing = || (Removed::default(), AbandonedLease::None);
    // Without Istio there was no rehearsal, and a pod can still be left.
    let api_versions = context.shutdown.race(discover::discover(cluster)).await?.ok();
    let has_leftovers = async {
        match api_versions {
            Some(api_versions) => leftovers::exist(cluster, api_versions).await,
            None => false,
        }
    };
    let has_leftovers = context.shutdown.race(has_leftovers).await?;
    if !context.read(lease::exists(cluster)).await? && !has_leftovers {
        return Ok(nothing());
    }
    match lease::acquire(cluster, &context.settings.holder, &context.shutdown, &*context.progress).await {
        Ok(lease) => {
            let removed = match api_versions.filter(|_| has_leftovers) {
                Some(api_versions) => leftovers::remove(context, cluster, api_versions).await,
                None => Removed::default(),
            };
            let was_abandoned = lease.abandoned_by.is_some();
            match lease.release().await {
                Ok(()) if was_abandoned => Ok((removed, AbandonedLease::Removed)),
                Ok(()) => Ok((removed, AbandonedLease::None)),
                Err(ReleaseError::Lost(error)) => Err(error.into()),
                Err(ReleaseError::Left(message)) => {
                    context.printer.warn(&format!("the Lease is left: {message}"));
                    Ok((removed, AbandonedLease::Left))
                }
            }
        }
        Err(LeaseError::Cluster(error)) => {
            context.printer.warn(&error.message);
            Ok(nothing())
        }
        Err(LeaseError::Interrupted(signal)) => Err(Error::Interrupted(signal)),
    }
}
