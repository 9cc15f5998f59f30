//! `status`: reads the namespace and its surroundings, and prints the mode of every port, what decides it, and findings.
//! It changes nothing.

use super::Context;
use crate::cli::status::StatusFormat;
use crate::cli::values::SandboxState;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::namespace_context;
use crate::domain::findings::{self, Finding, Purpose};
use crate::domain::namespace_context::{NamespaceContext, Observed};
use crate::domain::overview::Overview;
use crate::domain::probe::TargetError;
use crate::error;
use crate::exit::ExitStatus;
use crate::http_client::prometheus;
use crate::report::RenderError;
use crate::report::status::{self as report, StatusReport};
use crate::report::yaml;
use crate::sanitize;
use crate::settings::{FindingSettings, StatusSettings};
use std::collections::BTreeMap;
use std::time::Duration;

/// Pause between two reads of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs the command.
pub async fn run(context: &Context, settings: &StatusSettings) -> error::Result<ExitStatus> {
    let cluster = context.cluster(SandboxState::Permissive).await?;
    let api_versions = context.read(discover::discover(&cluster)).await?;
    let mut shown = String::new();
    loop {
        let report = read(context, settings, &cluster, api_versions).await?;
        let text = render(&report, settings.output)?;
        if text != shown {
            context.printer.result(&text)?;
            shown = text;
        }
        if !settings.watch {
            return Ok(report.exit_status());
        }
        context.shutdown.race(tokio::time::sleep(PAUSE)).await?;
    }
}

async fn read(
    context: &Context,
    settings: &StatusSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
) -> error::Result<StatusReport> {
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
        let name = &namespace.snapshot.namespace;
        namespace.observed = traffic.as_mut().map(|traffic| traffic.remove(name).unwrap_or_default());
        let (overview, findings) = examine(&namespace, settings)?;
        namespaces.push(report::namespace(&namespace.snapshot, &overview, &findings));
    }
    Ok(StatusReport::new(&cluster.name, namespaces))
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

/// Clients that sent plaintext, by namespace of the server; `None` without `--prometheus`.
pub async fn read_traffic(
    context: &Context,
    settings: &FindingSettings,
    namespace: &str,
) -> error::Result<Option<BTreeMap<String, Vec<Observed>>>> {
    let Some(source) = &settings.prometheus else { return Ok(None) };
    let proxies = &context.settings.connection.proxies;
    context.read(prometheus::plaintext(&source.url, namespace, source.since, proxies)).await.map(Some)
}

/// Removes findings that the user ignores.
pub fn remove_ignored(findings: &mut Vec<Finding>, settings: &FindingSettings) {
    findings.retain(|finding| !settings.ignored.contains(&finding.code));
}

fn render(report: &StatusReport, format: StatusFormat) -> Result<String, RenderError> {
    Ok(match format {
        StatusFormat::Table => report::text(report, false),
        StatusFormat::Wide => report::text(report, true),
        StatusFormat::Json => sanitize::json(&serde_json::to_string_pretty(report)?).into_owned() + "\n",
        StatusFormat::Yaml => yaml::document(&serde_json::to_value(report)?)?,
    })
}
