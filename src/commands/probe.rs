//! `probe`: reads the cluster, probes the targets from outside the mesh, and prints the verdicts.

use super::output::check_headers;
use super::probe_run::{MeshClient, ProbeRun, print_expectation, render, sweep_abandoned};
use super::{Context, leftovers, watch};
use crate::cli::values::{OutputFormat, SandboxState};
use crate::cluster::snapshot;
use crate::domain::probe::Case;
use crate::error::{self, UsageError};
use crate::exit::ExitStatus;
use crate::report::RenderError;
use crate::report::human::Style;
use crate::report::{json, yaml};
use crate::settings::{ProbeAction, ProbeSettings};
use crate::ui::printer;

/// Runs the command.
pub async fn run(context: &Context, settings: &ProbeSettings) -> error::Result<ExitStatus> {
    check(settings)?;
    let (cluster, api_versions) = context.discovered_cluster(SandboxState::Permissive).await?;
    let state = context.read(snapshot::read(&cluster, api_versions, &context.settings.mesh)).await?;
    let (cases, not_probed) = settings.selection.cases(&state.snapshot)?;
    let mut options = settings.pods.clone();
    if let Some(namespace) = settings.probe_namespace.as_ref().filter(|namespace| **namespace != cluster.namespace) {
        options.probe_namespace = Some(context.read(snapshot::probe_namespace(&cluster, namespace)).await?);
    }
    let probe_run = ProbeRun {
        context,
        cluster: &cluster,
        api_versions,
        options: &options,
        expected: settings.expected,
        mesh_client: if settings.always_mesh_client { MeshClient::Always } else { MeshClient::OnDemand },
    };
    if settings.action == ProbeAction::PrintPod {
        context.reports.mark_dry_run();
        context.printer.result(&render_pod(&probe_run, &cases, settings.output)?)?;
        return Ok(ExitStatus::Success);
    }
    let probe_cluster = options.probe_namespace.as_ref().map(|probe| &probe.cluster);
    let asked_from = probe_cluster.map(|cluster| format!(", asked from {}", cluster.namespace)).unwrap_or_default();
    context.printer.say(&format!("namespace {}{asked_from}", cluster.namespace));
    context.warn_of_unread(&state.snapshot.mesh);
    if !state.snapshot.unread.is_empty() {
        context
            .printer
            .warn(&format!("not considered, because it cannot be read: {}", state.snapshot.unread.join(", ")));
    }
    leftovers::warn(context, &cluster, api_versions, &cluster.namespace).await;
    if cases.is_empty() {
        let selector = settings.selection.selector.as_ref();
        let labelled = selector.map(|selector| format!(" that is labelled {selector}")).unwrap_or_default();
        context.printer.warn(&format!("nothing to probe: no Service of the namespace{labelled} has a TCP port"));
    }
    sweep_abandoned(probe_cluster.unwrap_or(&cluster)).await;
    if settings.action != ProbeAction::Probe {
        return watch::run(&probe_run, settings, state.snapshot).await;
    }
    let (report, status) = probe_run.run(&state.snapshot, &cases, not_probed).await?;
    let style = Style {
        wide: settings.output == OutputFormat::Wide,
        per_endpoint: settings.per_endpoint,
        explain: settings.explain,
        no_headers: settings.no_headers,
        width: printer::width(),
    };
    context.printer.result(&render(&report, settings.output, style)?)?;
    if let Some(expected) = probe_run.expected {
        print_expectation(context, &report, expected);
    }
    Ok(report.exit_status().and(status))
}

fn check(settings: &ProbeSettings) -> Result<(), UsageError> {
    check_headers(settings.no_headers, settings.output)?;
    let for_machines = matches!(settings.output, OutputFormat::Json | OutputFormat::Yaml | OutputFormat::Name);
    if settings.explain && for_machines {
        let message = "--explain works only with the default or wide output".to_owned();
        return Err(UsageError { message, hint: Some("use -o json for the same facts".to_owned()) });
    }
    if settings.action == ProbeAction::PrintPod && matches!(settings.output, OutputFormat::Wide | OutputFormat::Name) {
        let message = "--dry-run prints the probe pod: take -o yaml or -o json".to_owned();
        return Err(UsageError { message, hint: None });
    }
    if settings.action == ProbeAction::Watch && settings.output == OutputFormat::Wide {
        let message = "--watch has no further columns: leave -o wide out".to_owned();
        return Err(UsageError { message, hint: None });
    }
    Ok(())
}

/// The object of the first pod that the run would create.
fn render_pod(run: &ProbeRun<'_>, cases: &[Case], output: OutputFormat) -> Result<String, RenderError> {
    let pod = run.probe_runner().render_pod(cases);
    Ok(match output {
        OutputFormat::Json => json::document(&pod)?,
        _ => yaml::document(&pod)?,
    })
}
