//! `rehearse`: names the callers that STRICT would refuse, from the access logs of sidecars and ztunnels, before anything is
//! refused.
//! It writes two probe pods, whose calls show that the logs can be read, and, where there is no access log and the user
//! agrees, a `Telemetry` object.

mod calibration;
mod notes;
mod observer;
mod telemetry;

use super::output::{check_headers, render};
use super::probe_run::sweep_abandoned;
use super::{Context, leftovers};
use crate::cli::values::{OutputFormat, SandboxState};
use crate::cluster::access::{self, Need};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::{namespace_context, snapshot};
use crate::domain::mesh::Snapshot;
use crate::domain::rehearsal::{Instrument, StrictPreview, WritePermission};
use crate::domain::rights::PROBE;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::plural::count;
use crate::report::rehearsal::{self as report, RehearsalReport, RehearsedNamespace, RehearsedPortReport};
use crate::settings::RehearsalSettings;
use crate::ui::printer;
use observer::Observer;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time for the removal of a `Telemetry` object to reach the sidecars.
const AFTER_REMOVAL: Duration = Duration::from_secs(5);

/// Runs the command.
pub async fn run(context: &Context, settings: &RehearsalSettings) -> error::Result<ExitStatus> {
    check_headers(settings.no_headers, settings.output)?;
    let (cluster, api_versions) = context.discovered_cluster(SandboxState::Permissive).await?;
    let (report, status) = rehearse(context, settings, &cluster, api_versions).await?;
    context.reports.add_rehearsal(&report);
    let text = |report: &RehearsalReport| match settings.output {
        OutputFormat::Name => report::names(report),
        OutputFormat::Wide => report::text(report, None, settings.no_headers),
        _ => report::text(report, printer::width(), settings.no_headers),
    };
    context.printer.result(&render(&report, settings.output, text)?)?;
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
    let mut report = RehearsalReport::empty(context.reports.command(), None, jiff::Timestamp::now().to_string());
    report.cluster.clone_from(&cluster.name);
    report.seconds = settings.duration.as_secs();
    // Read.
    let options = &context.settings.mesh;
    let state = context.read(snapshot::read(cluster, api_versions, options)).await?;
    let rules = context.read(namespace_context::rules(cluster, api_versions)).await?;
    context.printer.say(&format!("namespace {}; reading the access log of its proxies", cluster.namespace));
    context.warn_of_unread(&state.snapshot.mesh);
    let preview = StrictPreview::new(state.snapshot, &settings.request).map_err(Error::Refused)?;
    let mut observer = Observer::new(context, settings, cluster, api_versions, preview, rules);
    let mut left_behind = remove_leftovers(context, settings, cluster, api_versions).await?;
    observer.read_telemetries().await?;
    observer.set_ports()?;
    if observer.closing() > 0 {
        // Check the rights.
        context.read(access::check(cluster, &[need()], "rehearse")).await?;
        sweep_abandoned(cluster).await;
        // Observe.
        observer.follow_logs().await?;
        left_behind = left_behind.and(observe(&mut observer).await?);
        observer.read_open_connections().await?;
    }
    let mut rehearsed = RehearsedNamespace::empty(&cluster.namespace);
    rehearsed.instrument = match observer.instrument {
        Instrument::AccessLog => report::ACCESS_LOG,
        Instrument::Telemetry => report::TELEMETRY,
    };
    rehearsed.ports = observer.rows().iter().map(RehearsedPortReport::new).collect();
    let open = match observer.instrument {
        Instrument::AccessLog => context.shutdown.race(notes::open_connections(&observer)).await?,
        // They are ended and logged.
        Instrument::Telemetry => BTreeMap::new(),
    };
    rehearsed.notes = notes::notes(&observer, &rehearsed, &open);
    report.namespaces = vec![rehearsed];
    report.ended_at = jiff::Timestamp::now().to_string();
    report.exit_code = Some(report.exit_status().and(left_behind).code());
    Ok((report, left_behind))
}

/// Observes the ports: with the access log that exists, or else with a `Telemetry` object.
async fn observe(observer: &mut Observer<'_>) -> error::Result<ExitStatus> {
    let mut left_behind = ExitStatus::Success;
    if observer.rehearsal.is_usable() {
        // Show that the logs can be read.
        left_behind = calibration::calibrate(observer).await?;
        observer.until_calibrated().await?;
    }
    if !observer.rehearsal.do_sidecars_log() {
        left_behind = left_behind.and(telemetry::observe(observer).await?);
        if observer.not_written.is_none() {
            return Ok(left_behind);
        }
    }
    if observer.rehearsal.is_usable() && observer.rehearsal.is_any_endpoint_calibrated() {
        let duration = observer.settings.duration;
        let (ports, time) = (count(observer.closing(), "port"), report::duration(duration.as_secs()));
        observer.context.printer.say(&format!("observing {ports} for {time}"));
        observer.observe(duration).await?;
        // Show that they could be read until now.
        left_behind = left_behind.and(calibration::calibrate(observer).await?);
        observer.until_calibrated().await?;
    }
    Ok(left_behind)
}

/// Says, before a switch is confirmed, what its rehearsal may write.
pub async fn announce(
    context: &Context,
    cluster: &Cluster,
    api_versions: ApiVersions,
    snapshot: &Snapshot,
    permission: WritePermission,
) -> error::Result<()> {
    telemetry::announce(context, cluster, api_versions, snapshot, permission).await
}

/// Removes what an interrupted rehearsal left, unless nothing may be written. A rehearsal that is at work holds the Lease,
/// which is an error that names it.
async fn remove_leftovers(
    context: &Context,
    settings: &RehearsalSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> error::Result<ExitStatus> {
    let may_write = matches!(settings.permission, WritePermission::Ask | WritePermission::Given);
    if !may_write || !context.shutdown.race(leftovers::exist(cluster, api_versions)).await? {
        return Ok(ExitStatus::Success);
    }
    let lease = context.acquire_lease(cluster, &format!("{}, rehearse", context.settings.holder)).await?;
    let removed = leftovers::remove(context, cluster, api_versions).await;
    let released = context.release_lease(lease).await?;
    // The sidecars log as they did before only when they have heard of it.
    let settled = if removed.names.is_empty() { Duration::ZERO } else { AFTER_REMOVAL };
    context.shutdown.race(tokio::time::sleep(settled)).await?;
    Ok(removed.status.unwrap_or(ExitStatus::Success).and(released))
}

fn need() -> Need {
    Need { rights: PROBE.to_vec(), purpose: "the rehearsal", instead: None }
}
