//! Checks before `enable-mtls` writes anything which clients, ports and probes STRICT would break.

use super::Context;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::namespace_context;
use crate::domain::findings::{self, Code, Finding, Purpose, Severity};
use crate::domain::mesh::Snapshot;
use crate::domain::plan::{self, Direction, Plan};
use crate::error::{self, Error};
use crate::report::status;
use crate::settings::FindingSettings;

/// Findings that the plan reports in a message of its own.
const REPORTED_BY_PLAN: [Code; 3] = [Code::SeveralPolicies, Code::ModeException, Code::RuleNotInForce];

/// Examines the namespace as the plan would leave it, and prints the findings. Those that are errors stop the run, unless
/// it is forced.
pub async fn check(
    context: &Context,
    settings: &FindingSettings,
    force: bool,
    cluster: &Cluster,
    api_versions: ApiVersions,
    view: (&Snapshot, &Plan),
) -> error::Result<()> {
    let findings = examine(context, settings, cluster, api_versions, view).await?;
    print(context, &findings);
    let codes = stopping(&findings);
    if codes.is_empty() || force {
        return Ok(());
    }
    let message = format!("STRICT would break something ({}); nothing was written", codes.join(", "));
    Err(Error::CheckFailed(message))
}

/// The findings of the namespace as the plan would leave it, without those that the user ignores. Turning mutual TLS off
/// must always be possible, so there is none for that.
pub async fn examine(
    context: &Context,
    settings: &FindingSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
    (snapshot, plan): (&Snapshot, &Plan),
) -> error::Result<Vec<Finding>> {
    if plan.direction != Direction::Enable {
        return Ok(Vec::new());
    }
    let after = plan::after(snapshot, plan);
    let surroundings = namespace_context::read_around(cluster, api_versions, &context.settings.mesh, after.clone());
    let mut namespace = context.read(surroundings).await?.with(after);
    let traffic = super::status::read_traffic(context, settings, &snapshot.namespace).await?;
    namespace.observed = traffic.map(|mut traffic| traffic.remove(&snapshot.namespace).unwrap_or_default());
    let (_, mut findings) = findings::examine(&namespace, Purpose::BeforeSwitch);
    super::status::remove_ignored(&mut findings, settings);
    findings.retain(|finding| !REPORTED_BY_PLAN.contains(&finding.code));
    Ok(findings)
}

/// The codes of the findings that stop a run.
pub fn stopping(findings: &[Finding]) -> Vec<&'static str> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.code.as_str()).collect()
}

/// Prints errors in full and warnings in one line each. Of the notes it prints those about what could not be checked.
fn print(context: &Context, findings: &[Finding]) {
    let of = |severity| findings.iter().filter(move |finding| finding.severity == severity);
    let errors: Vec<_> = of(Severity::Error).map(status::finding).collect();
    if !errors.is_empty() {
        context.printer.say_report(&status::paragraphs(&errors, false));
    }
    for finding in of(Severity::Warning) {
        context.printer.warn(&format!("{} ({}: {})", finding.message, finding.code, finding.objects.join(", ")));
    }
    let unknown = of(Severity::Info).filter(|finding| matches!(finding.code, Code::ClientsUnseen | Code::NotRead));
    for finding in unknown {
        context.printer.say(&finding.message);
    }
}
