//! `status`: look once, and say what holds, why, and who breaks. Nothing is changed.

use super::{Context, State};
use crate::cli::status::{FindingArgs, StatusArgs, StatusFormat};
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
use crate::istio::yaml;
use crate::report::RenderError;
use crate::report::status::{self as report, StatusReport};
use crate::sanitize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The pause between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs the command.
pub async fn run(context: &Context, args: &StatusArgs) -> error::Result<ExitStatus> {
    let cluster = context.cluster(State::Permissive).await?;
    let generation = context.read(discover::discover(&cluster)).await?;
    let mut shown = String::new();
    loop {
        let report = look(context, args, &cluster, generation).await?;
        let text = render(&report, args.output)?;
        if text != shown {
            context.printer.result(&text)?;
            shown = text;
        }
        if !args.watch {
            return Ok(report.exit_status());
        }
        context.shutdown.race(tokio::time::sleep(PAUSE)).await?;
    }
}

async fn look(
    context: &Context,
    args: &StatusArgs,
    cluster: &Cluster,
    generation: ApiVersions,
) -> error::Result<StatusReport> {
    let options = &context.settings.mesh;
    let surveys = if args.all_namespaces {
        context.read(namespace_context::survey_all(cluster, generation, options)).await?
    } else {
        vec![context.read(namespace_context::survey(cluster, generation, options)).await?]
    };
    let mut namespaces = Vec::new();
    let mut seen = observed(context, &args.findings, if args.all_namespaces { "" } else { &cluster.namespace }).await?;
    for mut survey in surveys {
        survey.observed = seen.as_mut().map(|seen| seen.remove(&survey.snapshot.namespace).unwrap_or_default());
        let (overview, findings) = examine(&survey, args)?;
        namespaces.push(report::namespace(&survey.snapshot, &overview, &findings));
    }
    Ok(StatusReport::new(&cluster.name, namespaces))
}

fn examine(survey: &NamespaceContext, args: &StatusArgs) -> error::Result<(Overview, Vec<Finding>)> {
    let (mut overview, mut findings) = findings::examine(survey, Purpose::Status);
    if !args.services.is_empty() {
        known(survey, &args.services)?;
        overview = overview.of_services(&args.services);
        findings = findings::about_services(findings, &overview);
    }
    ignore(&mut findings, &args.findings);
    Ok((overview, findings))
}

fn known(survey: &NamespaceContext, names: &[String]) -> Result<(), TargetError> {
    match names.iter().find(|name| survey.snapshot.service(name).is_none()) {
        None => Ok(()),
        Some(name) => Err(TargetError::UnknownService {
            service: name.clone(),
            namespace: survey.snapshot.namespace.clone(),
            known: survey.snapshot.services.iter().map(|service| service.name.clone()).collect(),
        }),
    }
}

/// Who has sent plaintext, by namespace, where a Prometheus is to be asked.
pub async fn observed(
    context: &Context,
    args: &FindingArgs,
    namespace: &str,
) -> error::Result<Option<BTreeMap<String, Vec<Observed>>>> {
    let Some(url) = &args.prometheus else { return Ok(None) };
    context.read(prometheus::plaintext(url, namespace, args.since)).await.map(Some)
}

/// Leaves out what the user does not want to hear of.
pub fn ignore(findings: &mut Vec<Finding>, args: &FindingArgs) {
    findings.retain(|finding| !args.ignore.contains(&finding.code));
}

fn render(report: &StatusReport, format: StatusFormat) -> Result<String, RenderError> {
    Ok(match format {
        StatusFormat::Table => report::text(report, false),
        StatusFormat::Wide => report::text(report, true),
        StatusFormat::Json => sanitize::json(&serde_json::to_string_pretty(report)?).into_owned() + "\n",
        StatusFormat::Yaml => yaml::write(&serde_json::to_value(report)?)?,
    })
}
