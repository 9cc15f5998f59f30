//! The check before a switch: what STRICT would break, by name, while nothing is written yet.

use super::Context;
use crate::cli::switch::SwitchArgs;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::namespace_context;
use crate::domain::findings::{self, Code, Finding, Purpose, Severity};
use crate::domain::mesh::Snapshot;
use crate::domain::plan::{self, Direction, Plan};
use crate::error::{self, Error};
use crate::report::status;

/// What the plan has told already in its own words.
const TOLD: [Code; 3] = [Code::SeveralPolicies, Code::ModeException, Code::RuleNotInForce];

/// Looks at the namespace as the plan would leave it. Errors stop the run unless it is forced; the rest is said.
pub async fn check(
    context: &Context,
    args: &SwitchArgs,
    cluster: &Cluster,
    generation: ApiVersions,
    (snapshot, plan): (&Snapshot, &Plan),
) -> error::Result<()> {
    if plan.direction != Direction::Enable {
        // The way back is the emergency exit: nothing refuses it.
        return Ok(());
    }
    let after = plan::after(snapshot, plan);
    let around = namespace_context::survey_around(cluster, generation, &context.settings.mesh, after.clone());
    let mut survey = context.read(around).await?.with(after);
    let seen = super::status::observed(context, &args.findings, &snapshot.namespace).await?;
    survey.observed = seen.map(|mut seen| seen.remove(&snapshot.namespace).unwrap_or_default());
    let (_, mut findings) = findings::examine(&survey, Purpose::BeforeSwitch);
    super::status::ignore(&mut findings, &args.findings);
    findings.retain(|finding| !TOLD.contains(&finding.code));
    tell(context, &findings);
    let errors: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.code.as_str())
        .collect();
    if errors.is_empty() || args.force {
        return Ok(());
    }
    let message = format!("STRICT would break something ({}); nothing was written", errors.join(", "));
    Err(Error::CheckFailed(message))
}

/// Errors with all that is known of them, warnings in a line, and of the notes only what nobody could see.
fn tell(context: &Context, findings: &[Finding]) {
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
