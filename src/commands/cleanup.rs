//! `cleanup`: removes what an earlier run, killed at once, has left.

use super::{Context, State};
use crate::cluster::probe_pod::{Sweep, sweep};
use crate::exit::ExitStatus;

/// Runs the command.
pub async fn run(context: &Context) -> anyhow::Result<ExitStatus> {
    let cluster = context.cluster(State::Permissive).await?;
    let removed = sweep(&cluster, Sweep::All).await?;
    for name in &removed {
        context.printer.result(&format!("pod/{name} deleted\n"))?;
    }
    if removed.is_empty() {
        context.printer.say(&format!("no probe pods in namespace {}", cluster.namespace));
    }
    Ok(ExitStatus::Success)
}
