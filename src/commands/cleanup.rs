//! `cleanup`: removes what an earlier run, killed at once, has left.

use super::{Context, State};
use crate::cluster::probe_pod::{Sweep, sweep};
use crate::exit::ExitStatus;
use crate::report::plan::result_line;

/// Runs the command.
pub async fn run(context: &Context) -> anyhow::Result<ExitStatus> {
    let cluster = context.cluster(State::Permissive).await?;
    let removed = context.read(sweep(&cluster, Sweep::All)).await?;
    for name in &removed {
        context.printer.result(&result_line(&format!("pod/{name}"), "deleted", "", false))?;
    }
    if removed.is_empty() {
        context.printer.say(&format!("no probe pods in namespace {}", cluster.namespace));
    }
    Ok(ExitStatus::Success)
}
