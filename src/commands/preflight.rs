//! Checks before `enable-mtls` or `disable-mtls` writes anything which clients, ports and probes STRICT would break.

use super::Context;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::namespace_context;
use crate::domain::findings::{self, Code, Finding, Purpose, Severity};
use crate::domain::mesh::{MtlsMode, Snapshot};
use crate::domain::plan::{self, Direction, Plan};
use crate::error::{self, Error};
use crate::report::status;
use crate::settings::FindingSettings;
use crate::ui::printer;
use std::collections::BTreeSet;

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
    let exceptions = findings::exceptions(&findings);
    if view.1.direction == Direction::Enable && !view.1.is_step && !exceptions.is_empty() {
        let (namespace, exceptions) = (&view.0.namespace, exceptions.join(" "));
        context.printer.say(&format!("to leave these ports open: enable-mtls -n {namespace} {exceptions}"));
    }
    let effect = match view.1.direction {
        Direction::Enable => "STRICT would break something".to_owned(),
        Direction::Disable { mode } => format!("{mode} would break calls"),
    };
    let message = format!("{effect} ({}); nothing was written", codes.join(", "));
    Err(Error::CheckFailed(message))
}

/// The findings of the namespace as the plan would leave it, without those that the user ignores.
pub async fn examine(
    context: &Context,
    settings: &FindingSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
    (snapshot, plan): (&Snapshot, &Plan),
) -> error::Result<Vec<Finding>> {
    if let Direction::Disable { mode } = plan.direction {
        return examine_disabling(context, settings, cluster, api_versions, (snapshot, plan), mode).await;
    }
    let after = plan::after(snapshot, plan);
    let surroundings = namespace_context::read_around(cluster, api_versions, &context.settings.mesh, after.clone());
    let mut namespace = context.read(surroundings).await?.with(after);
    let mut traffic = super::status::read_traffic(context, settings, &snapshot.namespace).await?;
    namespace.observed = traffic.take(&snapshot.namespace);
    let (_, mut findings) = findings::examine(&namespace, Purpose::BeforeSwitch);
    super::status::remove_ignored(&mut findings, settings);
    findings.retain(|finding| !REPORTED_BY_PLAN.contains(&finding.code));
    Ok(findings)
}

/// The codes of the findings that stop a run, each once.
pub fn stopping(findings: &[Finding]) -> Vec<&'static str> {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    let mut codes: Vec<&'static str> = errors.map(|finding| finding.code.as_str()).collect();
    codes.dedup();
    codes
}

/// Examines what turning mutual TLS off would break: calls that fail then and not now, and callers that lose their
/// identity. Turning it off must be possible in an emergency, so that surroundings that cannot be read do not stop it.
async fn examine_disabling(
    context: &Context,
    settings: &FindingSettings,
    cluster: &Cluster,
    api_versions: ApiVersions,
    (snapshot, plan): (&Snapshot, &Plan),
    mode: MtlsMode,
) -> error::Result<Vec<Finding>> {
    let surroundings = namespace_context::read_around(cluster, api_versions, &context.settings.mesh, snapshot.clone());
    let before = match context.read(surroundings).await {
        Ok(before) => before,
        Err(Error::Interrupted(signal)) => return Err(Error::Interrupted(signal)),
        Err(error) => {
            context.printer.warn(&format!("what this would break is not checked: {error}"));
            return Ok(Vec::new());
        }
    };
    let known: BTreeSet<Finding> = findings::examine(&before, Purpose::Status).1.into_iter().collect();
    let after = before.with(plan::after(snapshot, plan));
    let (_, mut findings) = findings::examine(&after, Purpose::BeforeDisable(mode));
    super::status::remove_ignored(&mut findings, settings);
    findings.retain(|finding| match finding.code {
        Code::IdentityPolicy | Code::RolloutInProgress => true,
        Code::OtherClusters => finding.severity == Severity::Error,
        code => code.is_about_failing_calls() && finding.severity == Severity::Error && !known.contains(finding),
    });
    Ok(findings)
}

/// Prints errors in full and warnings in one line each. Of the notes it prints those about what could not be checked.
pub fn print(context: &Context, findings: &[Finding]) {
    let of = |severity| findings.iter().filter(move |finding| finding.severity == severity);
    let errors: Vec<_> = of(Severity::Error).map(status::finding).collect();
    if !errors.is_empty() {
        context.printer.say_report(&status::paragraphs(&errors, false, printer::stderr_width()));
    }
    for finding in of(Severity::Warning) {
        context.printer.warn(&format!("{} ({}: {})", finding.message, finding.code, finding.objects.join(", ")));
    }
    let unknown = of(Severity::Info).filter(|finding| matches!(finding.code, Code::ClientsUnseen | Code::NotRead));
    for finding in unknown {
        context.printer.say(&finding.message);
    }
    for finding in of(Severity::Info).filter(|finding| finding.code == Code::NotAsked) {
        context.printer.say(&format!("{}: {}", finding.message, finding.objects.join(", ")));
    }
}
