//! `cleanup`: removes what an earlier run, killed at once, has left. Journals stay: they are the way back.

use super::{Context, State};
use crate::cluster::connect::Cluster;
use crate::cluster::error::ClusterError;
use crate::cluster::lease::{self, LeaseError};
use crate::curl_pod::probe_pod::{Sweep, sweep};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::plan::result_line;

/// Runs the command.
pub async fn run(context: &Context) -> error::Result<ExitStatus> {
    let cluster = context.cluster(State::Permissive).await?;
    let removed = context.read(sweep(&cluster, Sweep::All)).await?;
    for name in &removed {
        context.printer.result(&result_line(&format!("pod/{name}"), "deleted", "", false))?;
    }
    let abandoned = abandoned_lease(context, &cluster).await?;
    if removed.is_empty() && !abandoned {
        context.printer.say(&format!("no probe pods in namespace {}", cluster.namespace));
    }
    Ok(ExitStatus::Success)
}

/// Removes a Lease that nobody renews; one that is renewed is another run's, and stays.
async fn abandoned_lease(context: &Context, cluster: &Cluster) -> error::Result<bool> {
    if !context.read(lease::is_there(cluster)).await? {
        return Ok(false);
    }
    match lease::take(cluster, &context.settings.holder, &context.shutdown, &*context.progress).await {
        Ok(lease) => {
            let was_there = lease.abandoned_by.is_some();
            lease.release().await.map_err(|words| ClusterError { message: words, hint: None })?;
            if was_there {
                let name = format!("lease.coordination.k8s.io/{}", lease::NAME);
                context.printer.result(&result_line(&name, "deleted", "", false))?;
            }
            Ok(was_there)
        }
        Err(LeaseError::Cluster(error)) => {
            context.printer.warn(&error.message);
            Ok(false)
        }
        Err(LeaseError::Interrupted(signal)) => Err(Error::Interrupted(signal)),
    }
}
