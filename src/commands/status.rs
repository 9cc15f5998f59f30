//! `status`: reads the namespace and its surroundings, and prints the mode of every port, what decides it, and findings.
//! It changes nothing.

mod display;

use super::output::check_headers;
use super::{Context, leftovers};
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::namespace_context;
use crate::domain::findings::{self, Finding, Purpose};
use crate::domain::namespace_context::{NamespaceContext, Observed};
use crate::domain::overview::Overview;
use crate::domain::probe::TargetError;
use crate::error::{self, UsageError};
use crate::exit::ExitStatus;
use crate::http_client::prometheus;
use crate::report::rehearsal::Rehearsed;
use crate::report::status::{self as report, StatusReport};
use crate::settings::{FindingSettings, StatusSettings};
use display::Display;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Pause between two reads of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs the command.
pub async fn run(context: &Context, settings: &StatusSettings) -> error::Result<ExitStatus> {
    check_headers(settings.no_headers, settings.output)?;
    let (cluster, api_versions) = context.discovered_cluster(SandboxState::Permissive).await?;
    let scope = if settings.all_namespaces { "" } else { cluster.namespace.as_str() };
    leftovers::warn(context, &cluster, api_versions, scope).await;
    let mut display = Display::new(context, settings)?;
    let result = show(context, settings, &cluster, api_versions, &mut display).await;
    display.leave();
    result
}

/// Shows the state of the cluster once, or with `--watch` until the run is ended.
async fn show(
    context: &Context,
    settings: &StatusSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
    display: &mut Display,
) -> error::Result<ExitStatus> {
    loop {
        let report = read(context, settings, cluster, api_versions).await?;
        let status = report.exit_status();
        display.show(report)?;
        if !settings.watch {
            return Ok(status);
        }
        context.shutdown.race(display.pause(PAUSE)).await??;
    }
}

async fn read(
    context: &Context,
    settings: &StatusSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> error::Result<StatusReport> {
    let started_at = jiff::Timestamp::now().to_string();
    let options = &context.settings.mesh;
    let contexts = if settings.all_namespaces {
        context.read(namespace_context::read_all(cluster, api_versions, options)).await?
    } else {
        vec![context.read(namespace_context::read(cluster, api_versions, options)).await?]
    };
    let mut namespaces = Vec::new();
    let scope = if settings.all_namespaces { "" } else { &cluster.namespace };
    let mut traffic = read_traffic(context, &settings.findings, scope).await?;
    for mut namespace in contexts {
        namespace.observed = traffic.take(&namespace.snapshot.namespace);
        let (overview, findings) = examine(&namespace, settings)?;
        namespaces.push(report::namespace(&namespace.snapshot, &overview, &findings));
    }
    Ok(StatusReport::new(&cluster.name, started_at, namespaces))
}

fn examine(namespace: &NamespaceContext, settings: &StatusSettings) -> error::Result<(Overview, Vec<Finding>)> {
    let (mut overview, mut findings) = findings::examine(namespace, Purpose::Status);
    if !settings.services.is_empty() {
        check_services(namespace, &settings.services)?;
        overview = overview.of_services(&settings.services);
        findings = findings::about_services(findings, &overview);
    }
    remove_ignored(&mut findings, &settings.findings);
    Ok((overview, findings))
}

fn check_services(namespace: &NamespaceContext, names: &[String]) -> Result<(), TargetError> {
    match names.iter().find(|name| namespace.snapshot.service(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(TargetError::UnknownService {
            service: name.clone(),
            namespace: namespace.snapshot.namespace.clone(),
            known: namespace.snapshot.services.iter().map(|service| service.name.clone()).collect(),
        }),
    }
}

/// Clients that sent plaintext.
#[derive(Debug)]
pub struct Traffic {
    /// By namespace of the server.
    seen: BTreeMap<String, Vec<Observed>>,
    /// Whether the source is about all namespaces.
    is_complete: bool,
}

impl Traffic {
    /// Those that sent it to a namespace; `None` where no source is about the namespace.
    pub fn take(&mut self, namespace: &str) -> Option<Vec<Observed>> {
        let seen = self.seen.remove(namespace);
        if self.is_complete { Some(seen.unwrap_or_default()) } else { seen }
    }
}

/// Clients that sent plaintext, from `--prometheus` and `--rehearsal`. An empty namespace is all of them.
pub async fn read_traffic(context: &Context, settings: &FindingSettings, namespace: &str) -> error::Result<Traffic> {
    let mut traffic = Traffic { seen: BTreeMap::new(), is_complete: settings.prometheus.is_some() };
    if let Some(source) = &settings.prometheus {
        let proxies = &context.settings.connection.proxies;
        traffic.seen = context.read(prometheus::plaintext(&source.url, namespace, source.since, proxies)).await?;
    }
    if let Some(file) = settings.rehearsal.clone() {
        let rehearsed = context.read_files(move || read_rehearsal(&file)).await?;
        if !namespace.is_empty() && !rehearsed.iter().any(|one| one.namespace == namespace) {
            let names: Vec<&str> = rehearsed.iter().map(|one| one.namespace.as_str()).collect();
            let names = names.join(", ");
            let message = format!("the rehearsal is about namespace {names:?}, and not {namespace:?}");
            return Err(UsageError { message, hint: Some(format!("pass -n {names}")) }.into());
        }
        for one in rehearsed.into_iter().filter(|one| namespace.is_empty() || one.namespace == namespace) {
            for port in &one.not_observed {
                context.printer.warn(&format!("the rehearsal did not observe {port}"));
            }
            traffic.seen.entry(one.namespace).or_default().extend(one.callers);
        }
    }
    Ok(traffic)
}

fn read_rehearsal(file: &Path) -> Result<Vec<Rehearsed>, UsageError> {
    let error = |reason: String| UsageError {
        message: format!("the rehearsal {} cannot be read: {reason}", file.display()),
        hint: Some("write it with: secure-traffic rehearse -o json".to_owned()),
    };
    let text = std::fs::read_to_string(file).map_err(|failure| error(failure.to_string()))?;
    Rehearsed::parse(&text).map_err(error)
}

/// Removes findings that the user ignores.
pub fn remove_ignored(findings: &mut Vec<Finding>, settings: &FindingSettings) {
    findings.retain(|finding| !settings.ignored.contains(&finding.code));
}
