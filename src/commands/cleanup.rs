//! `cleanup`: removes the pods and the Lease that an earlier, killed run left. It keeps journals, which `--restore` needs.

use super::Context;
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
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
    let lease = remove_abandoned_lease(context, &cluster).await;
    for refused in &pods.refused {
        context.printer.warn(&refused.message);
    }
    let left: Vec<String> = pods.left.iter().map(|name| format!("pod/{name} -n {}", cluster.namespace)).collect();
    let status = context.report_left_behind(&left);
    for name in &pods.removed {
        context.printer.result(&result_line(&format!("pod/{name}"), "deleted", "", false))?;
    }
    let lease = lease?;
    if lease == AbandonedLease::Removed {
        let name = format!("lease.coordination.k8s.io/{}", lease::NAME);
        context.printer.result(&result_line(&name, "deleted", "", false))?;
    } else if pods.removed.is_empty() && left.is_empty() {
        context.printer.say(&format!("no probe pods in namespace {}", cluster.namespace));
    }
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

/// Removes a Lease that is no longer renewed. A renewed Lease belongs to another run and is kept.
async fn remove_abandoned_lease(context: &Context, cluster: &Cluster) -> error::Result<AbandonedLease> {
    if !context.read(lease::exists(cluster)).await? {
        return Ok(AbandonedLease::None);
    }
    match lease::acquire(cluster, &context.settings.holder, &context.shutdown, &*context.progress).await {
        Ok(lease) => {
            let was_abandoned = lease.abandoned_by.is_some();
            match lease.release().await {
                Ok(()) if was_abandoned => Ok(AbandonedLease::Removed),
                Ok(()) => Ok(AbandonedLease::None),
                Err(ReleaseError::Lost(error)) => Err(error.into()),
                Err(ReleaseError::Left(message)) => {
                    context.printer.warn(&format!("the Lease is left: {message}"));
                    Ok(AbandonedLease::Left)
                }
            }
        }
        Err(LeaseError::Cluster(error)) => {
            context.printer.warn(&error.message);
            Ok(AbandonedLease::None)
        }
        Err(LeaseError::Interrupted(signal)) => Err(Error::Interrupted(signal)),
    }
}
