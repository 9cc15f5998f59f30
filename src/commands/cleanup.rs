//! `cleanup`: removes the pods and the Lease that an earlier, killed run left. It keeps journals, which `--restore` needs.

use super::Context;
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::lease::{self, LeaseError, ReleaseError};
use crate::cluster::snapshot;
use crate::curl_pod::probe_pod::{Sweep, sweep};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::plan::result_line;

/// Runs the command.
pub async fn run(context: &Context) -> error::Result<ExitStatus> {
    let cluster = context.cluster(SandboxState::Permissive).await?;
    context.read(snapshot::namespace_exists(&cluster)).await?;
    let removed = context.read(sweep(&cluster, Sweep::All)).await?;
    for name in &removed {
        context.printer.result(&result_line(&format!("pod/{name}"), "deleted", "", false))?;
    }
    let lease_removed = remove_abandoned_lease(context, &cluster).await?;
    if removed.is_empty() && !lease_removed {
        context.printer.say(&format!("no probe pods in namespace {}", cluster.namespace));
    }
    Ok(ExitStatus::Success)
}

/// Removes a Lease that is no longer renewed. Returns whether it did. A renewed Lease belongs to another run and is kept.
async fn remove_abandoned_lease(context: &Context, cluster: &Cluster) -> error::Result<bool> {
    if !context.read(lease::exists(cluster)).await? {
        return Ok(false);
    }
    match lease::acquire(cluster, &context.settings.holder, &context.shutdown, &*context.progress).await {
        Ok(lease) => {
            let was_abandoned = lease.abandoned_by.is_some();
            lease.release().await.map_err(|error| match error {
                ReleaseError::Lost(error) => error,
                ReleaseError::Left(message) => ClusterError { message, hint: None },
            })?;
            if was_abandoned {
                let name = format!("lease.coordination.k8s.io/{}", lease::NAME);
                context.printer.result(&result_line(&name, "deleted", "", false))?;
            }
            Ok(was_abandoned)
        }
        Err(LeaseError::Cluster(error)) => {
            context.printer.warn(&error.message);
            Ok(false)
        }
        Err(LeaseError::Interrupted(signal)) => Err(Error::Interrupted(signal)),
    }
}
