//! `probe`: look, ask from outside the mesh, judge.

use super::{Context, State, watch};
use crate::cli::probe::ProbeArgs;
use crate::cli::values::{Expect, OutputFormat, Until};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::snapshot;
use crate::curl_pod::mesh_client::{self, MeshClientRun};
use crate::curl_pod::mesh_traffic::MeshTrafficMonitor;
use crate::curl_pod::probe_pod::{Failure, Sweep, sweep};
use crate::curl_pod::runner::{PodOptions, ProbeRunner};
use crate::domain::expectation::Expectation;
use crate::domain::mesh::Snapshot;
use crate::domain::mesh_client::MeshClientAnswer;
use crate::domain::probe::{self, Case, NotProbed, Observation};
use crate::domain::reason::Reason;
use crate::domain::selection::Selection;
use crate::domain::verdict;
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::istio::yaml;
use crate::report::RenderError;
use crate::report::human::{self, Style};
use crate::report::model::{self, ProbeReport, ReportContext};
use crate::sanitize;
use crate::settings::pod_options;

/// Runs the command.
pub async fn run(context: &Context, args: &ProbeArgs) -> error::Result<ExitStatus> {
    check(args)?;
    let cluster = context.cluster(State::Permissive).await?;
    let generation = context.read(discover::discover(&cluster)).await?;
    let look = context.read(snapshot::look(&cluster, generation, &context.settings.mesh)).await?;
    let selection =
        Selection { targets: args.targets.clone(), selector: args.selector.clone(), exclude: args.exclude.clone() };
    let (cases, not_probed) = selection.cases(&look.snapshot)?;
    let mut options = pod_options(&args.pod);
    if let Some(namespace) = args.from_namespace.as_ref().filter(|namespace| **namespace != cluster.namespace) {
        options.probe_namespace = Some(context.read(snapshot::probe_namespace(&cluster, namespace)).await?);
    }
    let question = ProbeRun {
        context,
        cluster: &cluster,
        generation,
        options: &options,
        expected: args.until.map(wanted).or(args.expect.map(expectation)),
        control: if args.control { Client::Sent } else { Client::OnDemand },
    };
    if args.dry_run {
        context.printer.result(&render_pod(&question, &cases, args.output)?)?;
        return Ok(ExitStatus::Success);
    }
    let from = options.probe_namespace.as_ref().map(|probe| &probe.cluster);
    let asked_from = from.map(|from| format!(", asked from {}", from.namespace)).unwrap_or_default();
    context.printer.say(&format!("namespace {}{asked_from}", cluster.namespace));
    context.warn_of_unread(&look.snapshot.mesh);
    if cases.is_empty() {
        let which = args.selector.as_ref().map(|selector| format!(" that is labelled {selector}")).unwrap_or_default();
        context.printer.warn(&format!("nothing to probe: no Service of the namespace{which} has a TCP port"));
    }
    sweep_abandoned(from.unwrap_or(&cluster)).await;
    if args.watch || args.until.is_some() {
        return watch::run(&question, args, selection, look.snapshot).await;
    }
    let (report, left_behind) = question.ask(&look.snapshot, &cases, not_probed).await?;
    let style =
        Style { wide: args.output == Some(OutputFormat::Wide), per_endpoint: args.per_endpoint, explain: args.explain };
    context.printer.result(&render(&report, args.output, style)?)?;
    if let Some(expected) = question.expected {
        say_expectation(context, &report, expected);
    }
    Ok(report.exit_status().and(left_behind))
}

fn check(args: &ProbeArgs) -> Result<(), UsageError> {
    let for_machines = matches!(args.output, Some(OutputFormat::Json | OutputFormat::Yaml | OutputFormat::Name));
    if args.explain && for_machines {
        let message = "--explain speaks to people: leave -o out, or take -o wide".to_owned();
        return Err(UsageError { message, hint: Some("-o json has every fact that it is made of".to_owned()) });
    }
    Ok(())
}

/// A client in the mesh, beside the rogue.
pub enum Client<'a> {
    /// Sent where nothing else can tell.
    OnDemand,
    /// Sent, whatever else is known.
    Sent,
    /// At work already.
    Running(&'a MeshTrafficMonitor),
}

/// Who asks, where, and what is expected.
pub struct ProbeRun<'a> {
    /// The run.
    pub context: &'a Context,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// What it speaks.
    pub generation: ApiVersions,
    /// How probe pods are made.
    pub options: &'a PodOptions,
    /// What is expected, where anything is.
    pub expected: Option<Expectation>,
    /// The client in the mesh.
    pub control: Client<'a>,
}

impl ProbeRun<'_> {
    /// What makes its pods.
    pub fn probe_runner(&self) -> ProbeRunner<'_> {
        self.context.probe_runner(self.cluster, self.generation, self.options)
    }

    /// Asks every case and judges. The status tells of pods that are left; the report tells the rest.
    pub async fn ask(
        &self,
        snapshot: &Snapshot,
        cases: &[Case],
        not_probed: Vec<NotProbed>,
    ) -> error::Result<(ProbeReport, ExitStatus)> {
        let mut frame = ReportContext {
            command: self.context.reports.command(),
            cluster: self.cluster.name.clone(),
            namespace: self.cluster.namespace.clone(),
            probe_namespace: self.options.probe_namespace.as_ref().map(|probe| probe.cluster.namespace.clone()),
            started_at: jiff::Timestamp::now().to_string(),
            kubernetes_version: None,
            istio_version: snapshot.mesh.version.clone(),
            expected: self.expected,
            trust_domain: snapshot.mesh.trust_domain.clone(),
            attempts: self.options.limits.attempts,
            sources: self.options.sources,
        };
        let runner = self.probe_runner();
        let (asked, controlled, version) = tokio::join!(
            runner.run(snapshot, cases),
            async {
                match self.control {
                    Client::Sent => Some(mesh_client::run(&runner, snapshot, cases).await),
                    Client::OnDemand | Client::Running(_) => None,
                }
            },
            discover::kubernetes_version(self.cluster),
        );
        frame.kubernetes_version = version;
        let mut left = self.context.report_left_behind(&asked.left_behind);
        let mut result = conclusive(asked.result)?;
        if let (Ok(seen), Some(controlled)) = (&mut result, controlled) {
            left = left.and(self.take(controlled, seen.iter_mut())?);
        }
        if let (Ok(seen), Client::Running(run)) = (&mut result, &self.control) {
            self.context.shutdown.race(run.settled()).await?;
            for (case, seen) in cases.iter().zip(seen) {
                seen.mesh_client = run.answer(&case.name());
            }
        }
        if let Ok(seen) = &mut result {
            left = left.and(self.last_resort(&frame, snapshot, cases, seen).await?);
        }
        let changed = if cases.iter().any(Case::may_be_rejected) { self.changed(cases).await? } else { Vec::new() };
        let mut report = model::probe_report(&frame, cases, &result, &changed, not_probed);
        report.ended_at = jiff::Timestamp::now().to_string();
        report.exit_code = Some(report.exit_status().and(left).code());
        self.context.reports.found(&report);
        Ok((report, left))
    }

    /// Puts what the control met beside what the rogue met. A control that was asked for and could not be sent leaves
    /// its question open.
    fn take<'s>(
        &self,
        controlled: MeshClientRun,
        seen: impl Iterator<Item = &'s mut Observation>,
    ) -> error::Result<ExitStatus> {
        let left = self.context.report_left_behind(&controlled.left_behind);
        match conclusive(controlled.result)? {
            Ok(met) => {
                for (seen, met) in seen.zip(met) {
                    seen.mesh_client = Some(met);
                }
                Ok(left)
            }
            Err((reason, words)) => {
                self.context.printer.warn(&format!("no client could be sent in the mesh ({reason}): {words}"));
                Ok(if matches!(self.control, Client::Sent) { left.and(ExitStatus::Inconclusive) } else { left })
            }
        }
    }

    /// Where nothing else can tell who refused, a client in the mesh is sent.
    async fn last_resort(
        &self,
        frame: &ReportContext,
        snapshot: &Snapshot,
        cases: &[Case],
        seen: &mut [Observation],
    ) -> error::Result<ExitStatus> {
        let wanting = |case: &Case, seen: &Observation| {
            let unasked = Observation { mesh_client: None, ..seen.clone() };
            verdict::needs_mesh_client(case, &unasked, frame.terms())
        };
        let (wanted, mut open): (Vec<Case>, Vec<&mut Observation>) =
            cases.iter().zip(seen).filter_map(|(case, seen)| wanting(case, seen).then(|| (case.clone(), seen))).unzip();
        let runner = self.probe_runner();
        if wanted.is_empty() || self.context.read(mesh_client::authorization_may_refuse(&runner, snapshot)).await? {
            return Ok(ExitStatus::Success);
        }
        let mut left = ExitStatus::Success;
        if open.iter().any(|seen| seen.mesh_client.is_none()) {
            let controlled = mesh_client::run(&runner, snapshot, &wanted).await;
            left = self.take(controlled, open.iter_mut().map(|seen| &mut **seen))?;
        }
        for seen in open {
            seen.mesh_client_counts = matches!(seen.mesh_client, Some(MeshClientAnswer::Reached(_)));
        }
        Ok(left)
    }
}

impl ProbeRun<'_> {
    /// A second look: a rejection must hold for what is there now.
    async fn changed(&self, cases: &[Case]) -> error::Result<Vec<bool>> {
        let look = snapshot::look(self.cluster, self.generation, &self.context.settings.mesh);
        let after = self.context.shutdown.race(look).await??;
        Ok(probe::changed(cases, &after.snapshot))
    }
}

/// A pod that did not come about is a finding; an API that refuses, or a signal, ends the run.
pub fn conclusive<T>(result: Result<T, Failure>) -> error::Result<Result<T, (Reason, String)>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Failure::Pod(reason, words)) => Ok(Err((reason, words))),
        Err(Failure::Cluster(error)) => Err(error.into()),
        Err(Failure::Interrupted(signal)) => Err(Error::Interrupted(signal)),
    }
}

/// Removes what an earlier run, killed at once, has left. Whoever may not list pods has other troubles.
pub async fn sweep_abandoned(cluster: &Cluster) {
    let _ = sweep(cluster, Sweep::Abandoned).await;
}

fn wanted(until: Until) -> Expectation {
    match until {
        Until::Rejected => Expectation::Rejected,
        Until::Accepted => Expectation::Accepted,
    }
}

fn expectation(expect: Expect) -> Expectation {
    match expect {
        Expect::Rejected => Expectation::Rejected,
        Expect::Accepted => Expectation::Accepted,
        Expect::Policy => Expectation::Policy,
    }
}

/// The probe pod that a run would create.
fn render_pod(run: &ProbeRun<'_>, cases: &[Case], output: Option<OutputFormat>) -> Result<String, RenderError> {
    let pod = serde_json::to_value(run.probe_runner().render_pod(cases)?)?;
    Ok(match output {
        Some(OutputFormat::Json) => serde_json::to_string_pretty(&pod)? + "\n",
        _ => yaml::write(&pod)?,
    })
}

/// The report in the format that was asked for.
pub fn render(report: &ProbeReport, output: Option<OutputFormat>, style: Style) -> Result<String, RenderError> {
    Ok(match output {
        Some(OutputFormat::Json) => sanitize::json(&serde_json::to_string_pretty(report)?).into_owned() + "\n",
        Some(OutputFormat::Yaml) => yaml::write(&serde_json::to_value(report)?)?,
        Some(OutputFormat::Name) => human::names(report),
        Some(OutputFormat::Wide) | None => human::probe(report, style),
    })
}

/// Says how the answers compare with what was expected.
pub fn say_expectation(context: &Context, report: &ProbeReport, expected: Expectation) {
    // Of nothing it was said already; there is nothing that could be as expected.
    if !report.results.is_empty() {
        context.printer.say(&human::expectation(report, expected.as_str()));
    }
}
