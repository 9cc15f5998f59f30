//! The second instrument: a `Telemetry` object that makes the sidecars of the namespace log exactly the plaintext calls.
//!
//! It is written behind the Lease and with a journal, and removed at every end of the run. The Lease is released then, before
//! the last connections are waited for: `enable-mtls --rehearse` acquires it again for its own writes, and plans again for
//! what has changed meanwhile.

use super::calibration::calibrate;
use super::observer::Observer;
use crate::cluster::access;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::journal::{Journal, JournalKind};
use crate::cluster::lease::WriteGuard;
use crate::cluster::list::Resource;
use crate::cluster::telemetry::{self, Telemetry};
use crate::commands::{Context, leftovers};
use crate::curl_pod::probe_pod::random_word;
use crate::domain::journal::{Run, Stage};
use crate::domain::mesh::Snapshot;
use crate::domain::rehearsal::instrument::{InstrumentFacts, reason_not_to_write};
use crate::domain::rehearsal::{FoundTelemetry, Instrument, TelemetryEffect, WritePermission};
use crate::domain::rights::TELEMETRY_WRITES;
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::istio::kinds::{OptionalKind, TELEMETRY};
use crate::istio::render::REHEARSAL_TELEMETRY;
use crate::report::plural::count;
use crate::report::rehearsal as report;
use crate::ui::confirm::{self, Confirmation};
use std::time::Duration;

/// Time for a new object to reach the sidecars, before the first calls.
const SETTLE: Duration = Duration::from_secs(2);

/// How often the calls are sent until every log shows them.
const TRIES: usize = 3;

/// `telemetry.telemetry.istio.io/secure-traffic-rehearsal`.
fn object_name() -> String {
    TELEMETRY.object_name(REHEARSAL_TELEMETRY)
}

/// Observes the ports with an object of this run, if one may be written. The returned status is about what was left.
pub(super) async fn observe(observer: &mut Observer<'_>) -> error::Result<ExitStatus> {
    let resource = match writable(observer).await? {
        Ok(resource) => resource,
        Err(reason) => {
            observer.not_written = Some(reason);
            return Ok(ExitStatus::Success);
        }
    };
    let effect = TelemetryEffect::of(observer.snapshot());
    if observer.settings.permission == WritePermission::Ask && !is_confirmed(observer, effect).await? {
        observer.not_written = Some("no Telemetry object was written: the answer was no".to_owned());
        return Ok(ExitStatus::Success);
    }
    write_and_observe(observer, resource, effect).await
}

/// The served version of the object, or why none can be written.
async fn writable(observer: &Observer<'_>) -> error::Result<Result<Resource, String>> {
    let facts = Facts {
        permission: observer.settings.permission,
        telemetries: observer.telemetries.as_deref(),
        has_unknown_format: observer.rehearsal.has_unknown_format(),
        are_logs_cut: observer.rehearsal.are_all_logs_incomplete(),
    };
    facts.writable(observer.context, observer.cluster, observer.api_versions).await
}

/// What is known of a namespace before the rights are reviewed.
struct Facts<'a> {
    permission: WritePermission,
    telemetries: Option<&'a [FoundTelemetry]>,
    has_unknown_format: bool,
    are_logs_cut: bool,
}

impl Facts<'_> {
    async fn writable(
        &self,
        context: &Context,
        cluster: &Cluster,
        api_versions: ApiVersions,
    ) -> error::Result<Result<Resource, String>> {
        let resource = api_versions.optional.resource(OptionalKind::Telemetries);
        let mut facts = InstrumentFacts {
            permission: self.permission,
            is_served: resource.is_some(),
            telemetries: self.telemetries,
            has_unknown_format: self.has_unknown_format,
            are_logs_cut: self.are_logs_cut,
            missing_rights: &[],
        };
        let (Some(resource), None) = (resource, reason_not_to_write(&facts)) else {
            return Ok(Err(reason_not_to_write(&facts).unwrap_or_default()));
        };
        let missing = context.shutdown.race(access::missing(cluster, TELEMETRY_WRITES)).await?;
        facts.missing_rights = &missing;
        Ok(reason_not_to_write(&facts).map_or(Ok(resource), Err))
    }
}

/// Says, before a switch is confirmed, what its rehearsal may write.
pub(super) async fn announce(
    context: &Context,
    cluster: &Cluster,
    api_versions: ApiVersions,
    snapshot: &Snapshot,
    permission: WritePermission,
) -> error::Result<()> {
    let resource = api_versions.optional.resource(OptionalKind::Telemetries);
    let root = &snapshot.mesh.root_namespace;
    let telemetries = context.read(telemetry::telemetries(cluster, resource, root)).await?;
    let telemetries = telemetries.as_deref();
    let facts = Facts { permission, telemetries, has_unknown_format: false, are_logs_cut: false };
    let text = match facts.writable(context, cluster, api_versions).await? {
        Ok(_) => format!(
            "where the sidecars write no access log, {} is created for it and deleted after it; {}",
            object_name(),
            report::telemetry_effect(TelemetryEffect::of(snapshot))
        ),
        Err(reason) => format!("the rehearsal reads only the access log that exists: {reason}"),
    };
    context.printer.say(&text);
    Ok(())
}

/// Says what would be written, and asks. Without a terminal, `--yes` is required.
async fn is_confirmed(observer: &mut Observer<'_>, effect: TelemetryEffect) -> error::Result<bool> {
    let (context, cluster) = (observer.context, observer.cluster);
    let namespace = &cluster.namespace;
    context.printer.say(&format!(
        "no access log shows the calls of this tool; a Telemetry object would switch it on for plaintext calls until the \
         rehearsal ends:\n  {} created in namespace {namespace}\n{}",
        object_name(),
        report::telemetry_effect(effect)
    ));
    let question = format!("Write it to namespace {namespace} on {}?", cluster.name);
    let answer = observer.during(confirm::ask(&question, &context.shutdown)).await?;
    match answer {
        Confirmation::Yes => Ok(true),
        Confirmation::No => Ok(false),
        Confirmation::Interrupted(signal) => Err(Error::Interrupted(signal)),
        Confirmation::NoTerminal => Err(UsageError {
            message: "a Telemetry object would be written, and there is no terminal to ask on".to_owned(),
            hint: Some("pass --yes to write it, or --read-only to rehearse without it".to_owned()),
        }
        .into()),
    }
}

async fn write_and_observe(
    observer: &mut Observer<'_>,
    resource: Resource,
    effect: TelemetryEffect,
) -> error::Result<ExitStatus> {
    let (context, cluster, api_versions) = (observer.context, observer.cluster, observer.api_versions);
    let id = random_word(5);
    let holder = format!("{}, rehearse, run {id}", context.settings.holder);
    let lease = observer.during(context.acquire_lease(cluster, &holder)).await?;
    observer.during(leftovers::remove(context, cluster, api_versions)).await;
    let run = Run {
        id: id.clone(),
        command: "rehearse".to_owned(),
        started_by: context.settings.holder.clone(),
        started_at: jiff::Timestamp::now().to_string(),
        recorded_at: 0,
        stage: Stage::Started,
        entries: Vec::new(),
    };
    // Its names are this run's own, so it is deleted even where the Lease is lost.
    let mut journal = Journal::start_of(JournalKind::Rehearsal, cluster, run, WriteGuard::without_lock());
    let mut object = Telemetry::new(cluster, resource, &id);
    let outcome = observe_locked(observer, effect, &lease.guard(), &mut journal, &mut object).await;
    let is_written = object.is_sent();
    let left = observer.during(remove(context, cluster, &mut object, &mut journal)).await;
    let released = observer.during(context.release_lease(lease)).await.unwrap_or_else(|lost| {
        // Nothing is written any more: what a later run has changed shows in the logs.
        context.printer.warn(&lost.to_string());
        ExitStatus::Success
    });
    let status = outcome?.and(left).and(released);
    if is_written && observer.not_written.is_none() && left == ExitStatus::Success {
        let drain = report::duration(effect.drain.as_secs());
        context.printer.say(&format!("waiting for connections that are still open to end and to be logged ({drain})"));
        observer.follow_ending(effect.drain).await?;
    }
    Ok(status)
}

/// Writes the object and observes the ports. The caller removes what was written, whatever comes of this.
async fn observe_locked(
    observer: &mut Observer<'_>,
    effect: TelemetryEffect,
    guard: &WriteGuard,
    journal: &mut Journal,
    object: &mut Telemetry<'_>,
) -> error::Result<ExitStatus> {
    if let Some(reason) = changed_meanwhile(observer).await? {
        observer.not_written = Some(reason);
        return Ok(ExitStatus::Success);
    }
    observer.during(journal.add(Vec::new())).await?;
    observer.during(object.create(guard)).await?;
    observer.context.printer.say(&format!("{} created", object_name()));
    observe_with_object(observer, effect).await
}

/// Why no object can be written any more, now that no other run of this tool is at work.
async fn changed_meanwhile(observer: &mut Observer<'_>) -> error::Result<Option<String>> {
    observer.read_telemetries().await?;
    Ok(writable(observer).await?.err())
}

/// Waits until the object is in force, and observes the ports.
async fn observe_with_object(observer: &mut Observer<'_>, effect: TelemetryEffect) -> error::Result<ExitStatus> {
    observer.instrument = Instrument::Telemetry;
    observer.set_ports()?;
    let mut status = ExitStatus::Success;
    for _ in 0..TRIES {
        observer.rehearsal.restart();
        observer.wait(SETTLE).await?;
        status = status.and(calibrate(observer).await?);
        observer.until_calibrated().await?;
        if observer.rehearsal.is_calibrated() {
            break;
        }
    }
    if !observer.rehearsal.do_sidecars_log() {
        observer.not_written = Some("the Telemetry object of the rehearsal switched no access log on".to_owned());
        return Ok(status);
    }
    let duration = observer.settings.duration;
    let (ports, time) = (count(observer.closing(), "port"), report::duration(duration.as_secs()));
    let drain = report::duration(effect.drain.as_secs());
    // Calls on connections that were open before are logged only after these have ended.
    observer
        .context
        .printer
        .say(&format!("observing {ports} for {time}, and for {drain} before, in which older connections end"));
    observer.observe(effect.drain + duration).await?;
    status = status.and(calibrate(observer).await?);
    observer.until_calibrated().await?;
    Ok(status)
}

/// Removes the object and the journal of this run. The returned status is about what was left.
async fn remove(context: &Context, cluster: &Cluster, object: &mut Telemetry<'_>, journal: &mut Journal) -> ExitStatus {
    let is_written = object.is_sent();
    if let Err(error) = object.remove().await {
        context.printer.warn(&leftovers::left(cluster, &error.message));
        return ExitStatus::LeftBehind;
    }
    if is_written {
        context.printer.say(&format!("{} deleted", object_name()));
    }
    if !journal.is_written() {
        return ExitStatus::Success;
    }
    match journal.delete().await {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            context.printer.warn(&format!("the journal of the rehearsal is left: {error}"));
            ExitStatus::LeftBehind
        }
    }
}
