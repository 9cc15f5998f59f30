//! `probe`: look, ask from outside the mesh, judge.

use super::{Context, State};
use crate::cli::probe::ProbeArgs;
use crate::cli::values::{Expect, OutputFormat};
use crate::cluster::ask::{PodOptions, Prober};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, Generation};
use crate::cluster::probe_pod::{Failure, Sweep, sweep};
use crate::cluster::snapshot;
use crate::domain::mesh::Snapshot;
use crate::domain::probe::{self, Case, NotProbed, cases};
use crate::domain::verdict::Reason;
use crate::exit::{ExitStatus, Interrupted};
use crate::istio::yaml;
use crate::report::human::{self, Style};
use crate::report::model::{self, Frame, ProbeReport};
use crate::sanitize;
use crate::settings::pod_options;

/// Runs the command.
pub async fn run(context: &Context, args: &ProbeArgs) -> anyhow::Result<ExitStatus> {
    let cluster = context.cluster(State::Permissive).await?;
    let generation = context.read(discover::discover(&cluster)).await?;
    let look = context.read(snapshot::look(&cluster, generation, &context.settings.mesh)).await?;
    let (cases, not_probed) = cases(&look.snapshot, &args.targets)?;
    let options = pod_options(&args.pod);
    let question = Question {
        context,
        cluster: &cluster,
        generation,
        options: &options,
        expected: args.expect.map(expected_word),
    };
    if args.dry_run {
        let pod = serde_json::to_value(question.prober().rendered(&cases)?)?;
        let text = match args.output {
            Some(OutputFormat::Json) => serde_json::to_string_pretty(&pod)? + "\n",
            _ => yaml::write(&pod)?,
        };
        context.printer.result(&text)?;
        return Ok(ExitStatus::Success);
    }
    context.printer.say(&format!("namespace {}", cluster.namespace));
    if cases.is_empty() {
        context.printer.warn("nothing to probe: no Service of the namespace has a TCP port");
    }
    sweep_abandoned(&cluster).await;
    let (report, left_behind) = question.ask(&look.snapshot, &cases, not_probed).await?;
    let style = Style { wide: args.output == Some(OutputFormat::Wide), per_endpoint: args.per_endpoint };
    context.printer.result(&render(&report, args.output, style)?)?;
    if let Some(expected) = question.expected {
        say_expectation(context, &report, expected, &cases);
    }
    Ok(report.exit_status().and(left_behind))
}

/// Who asks, where, and what is expected.
pub struct Question<'a> {
    /// The run.
    pub context: &'a Context,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What it speaks.
    pub generation: Generation,
    /// How probe pods are made.
    pub options: &'a PodOptions,
    /// The expected verdict, where there is one.
    pub expected: Option<&'static str>,
}

impl Question<'_> {
    fn prober(&self) -> Prober<'_> {
        Prober {
            cluster: self.cluster,
            openshift: self.generation.openshift,
            options: self.options,
            shutdown: &self.context.shutdown,
            progress: &*self.context.progress,
        }
    }

    /// Asks every case and judges. The status tells of pods that are left; the report tells the rest.
    pub async fn ask(
        &self,
        snapshot: &Snapshot,
        cases: &[Case],
        not_probed: Vec<NotProbed>,
    ) -> anyhow::Result<(ProbeReport, ExitStatus)> {
        let frame = Frame {
            cluster: self.cluster.name.clone(),
            namespace: self.cluster.namespace.clone(),
            started_at: jiff::Timestamp::now().to_string(),
            expected: self.expected,
            trust_domain: snapshot.mesh.trust_domain.clone(),
            attempts: self.options.manner.attempts,
        };
        let asked = self.prober().ask(snapshot, cases).await;
        let left_behind = self.context.report_left_behind(&asked.left_behind);
        let result = conclusive(asked.result)?;
        let changed = if cases.iter().any(Case::may_be_rejected) { self.changed(cases).await? } else { Vec::new() };
        Ok((model::probe_report(&frame, cases, &result, &changed, not_probed), left_behind))
    }
}

impl Question<'_> {
    /// A second look: a rejection must hold for what is there now.
    async fn changed(&self, cases: &[Case]) -> anyhow::Result<Vec<bool>> {
        let look = snapshot::look(self.cluster, self.generation, &self.context.settings.mesh);
        let after = self.context.shutdown.race(look).await.map_err(Interrupted)??;
        Ok(probe::changed(cases, &after.snapshot))
    }
}

/// A pod that did not come about is a finding; an API that refuses, or a signal, ends the run.
pub fn conclusive<T>(result: Result<T, Failure>) -> anyhow::Result<Result<T, (Reason, String)>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Pod(reason, words)) => Ok(Err((reason, words))),
        Err(Failure::Cluster(error)) => Err(error.into()),
        Err(Failure::Interrupted(signal)) => Err(Interrupted(signal).into()),
    }
}

/// Removes what an earlier run, killed at once, has left. Whoever may not list pods has other troubles.
pub async fn sweep_abandoned(cluster: &Cluster) {
    let _ = sweep(cluster, Sweep::Abandoned).await;
}

fn expected_word(expect: Expect) -> &'static str {
    match expect {
        Expect::Rejected => "rejected",
        Expect::Accepted => "accepted",
    }
}

/// The report in the format that was asked for.
pub fn render(report: &ProbeReport, output: Option<OutputFormat>, style: Style) -> anyhow::Result<String> {
    Ok(match output {
        Some(OutputFormat::Json) => sanitize::json(&serde_json::to_string_pretty(report)?).into_owned() + "\n",
        Some(OutputFormat::Yaml) => yaml::write(&serde_json::to_value(report)?)?,
        Some(OutputFormat::Name) => human::names(report),
        Some(OutputFormat::Wide) | None => human::probe(report, style),
    })
}

/// Says how the answers compare with what was expected.
pub fn say_expectation(context: &Context, report: &ProbeReport, expected: &str, cases: &[Case]) {
    let contrary: Vec<&str> = report
        .results
        .iter()
        .filter(|result| result.answer.verdict != expected)
        .map(|result| result.target.as_str())
        .collect();
    if cases.is_empty() {
        // Said already; there is nothing that could be as expected.
    } else if contrary.is_empty() {
        context.printer.say(&format!("as expected: {} {expected}", human::count(cases.len(), "target")));
    } else {
        context.printer.say(&format!("expected {expected}, but not so: {}", contrary.join(", ")));
    }
}
