//! `history`: lists the runs whose journals are in the namespace, with the command that undoes each. It changes nothing.

use super::Context;
use super::output::render;
use crate::cli::values::{OutputFormat, SandboxState};
use crate::cluster::{journal, snapshot};
use crate::domain::journal::Run;
use crate::error;
use crate::exit::ExitStatus;
use crate::report::history::{HistoryReport, history};

/// Runs the command. A journal that cannot be read makes the exit code that of a cluster error, because `--restore` stops
/// at it.
pub async fn run(context: &Context, output: OutputFormat) -> error::Result<ExitStatus> {
    let cluster = context.cluster(SandboxState::Permissive).await?;
    context.read(snapshot::namespace_exists(&cluster)).await?;
    let stored = context.read(journal::list(&cluster)).await?;
    let mut runs: Vec<Run> = Vec::new();
    let mut status = ExitStatus::Success;
    // Without a head, a run has changed nothing.
    for journal in stored.into_iter().filter(|journal| !journal.is_void) {
        match journal.run {
            Ok(run) => runs.push(run),
            Err(reason) => {
                status = ExitStatus::Cluster;
                context.printer.warn(&format!(
                    "{reason}; nothing can be restored while it is there; to do without it: kubectl delete configmap -l \
                     app.kubernetes.io/instance={} -n {}",
                    journal.id, cluster.namespace
                ));
            }
        }
    }
    let report = history(&cluster.name, &cluster.namespace, &runs);
    let text = |report: &HistoryReport| if output == OutputFormat::Name { report.names() } else { report.text() };
    context.printer.result(&render(&report, output, text)?)?;
    Ok(status)
}
