//! `rehearse`: names the callers that STRICT would refuse, from the access logs of the sidecars, before anything is refused.
//! It writes nothing but two probe pods, whose calls show that the logs can be read.

mod calibration;
mod notes;
mod observer;

use super::Context;
use super::probe_run::sweep_abandoned;
use crate::cli::values::{OutputFormat, SandboxState};
use crate::cluster::access::{self, Need};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::{namespace_context, snapshot, telemetry};
use crate::domain::rehearsal::StrictPreview;
use crate::domain::rights::PROBE;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::RenderError;
use crate::report::plural::count;
use crate::report::rehearsal::{self as report, RehearsalReport, RehearsedPortReport};
use crate::report::yaml;
use crate::sanitize;
use crate::settings::RehearsalSettings;
use observer::Observer;

/// Runs the command.
pub async fn run(context: &Context, settings: &RehearsalSettings) -> error::Result<ExitStatus> {
    let cluster = context.cluster(SandboxState::Permissive).await?;
    let api_versions = context.read(discover::discover(&cluster)).await?;
    let (report, status) = rehearse(context, settings, &cluster, api_versions).await?;
    context.reports.add_rehearsal(&report);
    context.printer.result(&render(&report, settings.output)?)?;
    Ok(report.exit_status().and(status))
}

/// Rehearses STRICT in the namespace of the cluster: reads, checks, follows the logs, calls each port, observes, and calls
/// each port again. The returned status is about pods that were left.
pub async fn rehearse(
    context: &Context,
    settings: &RehearsalSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> error::Result<(RehearsalReport, ExitStatus)> {
    let mut report =
        RehearsalReport::empty(context.reports.command(), &cluster.namespace, jiff::Timestamp::now().to_string());
    report.cluster.clone_from(&cluster.name);
    report.seconds = settings.duration.as_secs();
    // Read.
    let options = &context.settings.mesh;
    let state = context.read(snapshot::read(cluster, api_versions, options)).await?;
    let rules = context.read(namespace_context::rules(cluster, api_versions)).await?;
    context.printer.say(&format!("namespace {}; reading the access log of its sidecars", cluster.namespace));
    context.warn_of_unread(&state.snapshot.mesh);
    let preview = StrictPreview::new(state.snapshot, &settings.request).map_err(Error::Refused)?;
    let mut observer = Observer::new(context, settings, cluster, api_versions, preview, rules);
    let root = &observer.snapshot().mesh.root_namespace;
    observer.telemetries = context.read(telemetry::access_logs(cluster, root)).await?;
    observer.set_ports()?;
    let closing = observer.closing();
    let mut left_behind = ExitStatus::Success;
    if closing > 0 {
        // Check the rights.
        context.read(access::check(cluster, &[need()], "rehearse")).await?;
        sweep_abandoned(cluster).await;
        // Follow the logs, and show that they can be read.
        observer.follow_logs().await?;
        left_behind = left_behind.and(calibration::calibrate(&mut observer).await?);
        if observer.is_any_port_calibrated().await? {
            // Observe.
            let duration = report::duration(report.seconds);
            context.printer.say(&format!("observing {} for {duration}", count(closing, "port")));
            observer.observe(settings.duration).await?;
            // Show that they could be read until now.
            left_behind = left_behind.and(calibration::calibrate(&mut observer).await?);
            observer.until_calibrated().await?;
        }
    }
    report.ports = observer.rows().iter().map(RehearsedPortReport::new).collect();
    let open = context.shutdown.race(notes::open_connections(&observer)).await?;
    report.notes = notes::notes(&observer, &report, &open);
    report.ended_at = jiff::Timestamp::now().to_string();
    report.exit_code = Some(report.exit_status().and(left_behind).code());
    Ok((report, left_behind))
}

fn need() -> Need {
    Need { rights: PROBE.to_vec(), purpose: "the rehearsal", instead: None }
}

fn render(report: &RehearsalReport, output: Option<OutputFormat>) -> Result<String, RenderError> {
    Ok(match output {
        Some(OutputFormat::Json) => sanitize::json(&serde_json::to_string_pretty(report)?).into_owned() + "\n",
        Some(OutputFormat::Yaml) => yaml::document(&serde_json::to_value(report)?)?,
        Some(OutputFormat::Name | OutputFormat::Wide) | None => report::text(report),
    })
}
