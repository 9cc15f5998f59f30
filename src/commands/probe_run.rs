//! Probes cases and returns the report: cases → pods → observations → evidence → verdicts → report. For `probe`,
//! `probe --watch`, `demo` and the proof of `enable-mtls` and `disable-mtls`.

use super::{Context, output};
use crate::cli::values::OutputFormat;
use crate::cluster::connect::Cluster;
use crate::cluster::discover::{self, ApiVersions};
use crate::cluster::snapshot;
use crate::curl_pod::mesh_client::{self, MeshClientRun};
use crate::curl_pod::mesh_traffic::MeshTrafficMonitor;
use crate::curl_pod::probe_pod::{Failure, Sweep, sweep};
use crate::curl_pod::runner::{PodOptions, ProbeRunner};
use crate::curl_pod::ztunnel_counter;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::Snapshot;
use crate::domain::mesh_client::MeshClientAnswer;
use crate::domain::probe::{self, Case, NotProbed, Observation};
use crate::domain::reason::Reason;
use crate::domain::verdict;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::RenderError;
use crate::report::human::{self, Style};
use crate::report::model::{self, ProbeReport, ReportContext};

/// When a client in the mesh requests the same targets as the probe.
pub enum MeshClient<'a> {
    /// It runs already, and its last answers are used.
    Running(&'a MeshTrafficMonitor),
    /// It runs only where no other evidence shows who refused.
    OnDemand,
    /// It runs together with the probe.
    Always,
    /// It runs together with the probe, which does without it where it fails.
    WherePossible,
}

/// Everything that probing cases needs.
pub struct ProbeRun<'a> {
    /// The command's context.
    pub context: &'a Context,
    /// The cluster, with the namespace of the targets.
    pub cluster: &'a Cluster,
    /// API versions that the cluster serves.
    pub api_versions: ApiVersions,
    /// Options of the pods.
    pub options: &'a PodOptions,
    /// The expected answer, if any.
    pub expected: Option<Expectation>,
    /// The client in the mesh.
    pub mesh_client: MeshClient<'a>,
}

impl ProbeRun<'_> {
    /// Creates the pods of this run.
    pub fn probe_runner(&self) -> ProbeRunner<'_> {
        self.context.probe_runner(self.cluster, self.api_versions, self.options)
    }

    /// Probes every case and passes the report on to the run's reports. The returned status covers pods that were left
    /// and a mesh client that failed; the report has the status of the verdicts.
    pub async fn run(
        &self,
        snapshot: &Snapshot,
        cases: &[Case],
        not_probed: Vec<NotProbed>,
    ) -> error::Result<(ProbeReport, ExitStatus)> {
        let started_at = jiff::Timestamp::now();
        let runner = self.probe_runner();
        let (probe, mut mesh_client, kubernetes_version) = tokio::join!(
            runner.run(snapshot, cases),
            self.run_mesh_client_always(&runner, snapshot, cases),
            discover::kubernetes_version(self.cluster),
        );
        let report_context = self.report_context(snapshot, started_at, kubernetes_version.ok());
        // Whatever became of the probe, the pods of both are counted.
        let mut left_behind = probe.left_behind;
        left_behind.extend(mesh_client.iter_mut().flat_map(|run| std::mem::take(&mut run.left_behind)));
        let mut status = self.context.report_left_behind(&left_behind);
        let mut observations = match probe.result {
            Ok(observations) => Ok(observations),
            Err(failure) => Err(pod_failure(failure)?),
        };
        if let Ok(observations) = &mut observations {
            if let Some(mesh_client) = mesh_client {
                status = status.and(self.add_mesh_client_answers(mesh_client, observations.iter_mut())?);
            }
            self.add_monitored_answers(cases, observations).await?;
            status = status.and(self.read_counters_on_demand(&report_context, snapshot, cases, observations).await?);
            status = status.and(self.run_mesh_client_on_demand(&report_context, snapshot, cases, observations).await?);
        }
        let changed = self.changed_cases(cases).await?;
        let mut report = model::probe_report(&report_context, cases, &observations, &changed, not_probed);
        report.ended_at = jiff::Timestamp::now().to_string();
        report.exit_code = Some(report.exit_status().and(status).code());
        self.context.reports.add_probe(&report);
        Ok((report, status))
    }

    fn report_context(
        &self,
        snapshot: &Snapshot,
        started_at: jiff::Timestamp,
        kubernetes_version: Option<String>,
    ) -> ReportContext {
        ReportContext {
            command: self.context.reports.command(),
            cluster: self.cluster.name.clone(),
            namespace: self.cluster.namespace.clone(),
            probe_namespace: self.options.probe_namespace.as_ref().map(|probe| probe.cluster.namespace.clone()),
            started_at: started_at.to_string(),
            kubernetes_version,
            istio_version: snapshot.mesh.version.clone(),
            expected: self.expected,
            trust_domain: snapshot.mesh.trust_domain.clone(),
            attempts: self.options.limits.attempts,
            sources: self.options.sources,
        }
    }

    /// Runs the mesh client for all cases with [`MeshClient::Always`].
    async fn run_mesh_client_always(
        &self,
        runner: &ProbeRunner<'_>,
        snapshot: &Snapshot,
        cases: &[Case],
    ) -> Option<MeshClientRun> {
        match self.mesh_client {
            MeshClient::Always | MeshClient::WherePossible => Some(mesh_client::run(runner, snapshot, cases).await),
            MeshClient::OnDemand | MeshClient::Running(_) => None,
        }
    }

    /// Adds the answers of a mesh client to the observations of its cases. A mesh client that was requested and failed
    /// makes the run inconclusive.
    fn add_mesh_client_answers<'s>(
        &self,
        mesh_client: MeshClientRun,
        observations: impl Iterator<Item = &'s mut Observation>,
    ) -> error::Result<ExitStatus> {
        let status = self.context.report_left_behind(&mesh_client.left_behind);
        match mesh_client.result {
            Ok(answers) => {
                for (observation, answer) in observations.zip(answers) {
                    observation.mesh_client = Some(answer);
                }
                Ok(status)
            }
            Err(failure) => {
                let (reason, message) = pod_failure(failure)?;
                self.context.printer.warn(&format!("no client could be sent in the mesh ({reason}): {message}"));
                let is_requested = matches!(self.mesh_client, MeshClient::Always);
                Ok(if is_requested { status.and(ExitStatus::Inconclusive) } else { status })
            }
        }
    }

    /// Adds the last answers of the monitor with [`MeshClient::Running`].
    async fn add_monitored_answers(&self, cases: &[Case], observations: &mut [Observation]) -> error::Result<()> {
        let MeshClient::Running(monitor) = self.mesh_client else { return Ok(()) };
        self.context.shutdown.race(monitor.settled()).await?;
        for (case, observation) in cases.iter().zip(observations) {
            observation.mesh_client = monitor.answer(&case.name());
        }
        Ok(())
    }

    /// For endpoints in ambient mode where the log of their ztunnel does not show who refused: reads its counters. They do
    /// not name the policy, so not where an authorization policy could be what refuses.
    async fn read_counters_on_demand(
        &self,
        report_context: &ReportContext,
        snapshot: &Snapshot,
        cases: &[Case],
        observations: &mut [Observation],
    ) -> error::Result<ExitStatus> {
        let params = report_context.judge_params();
        let undecided: Vec<Vec<usize>> = cases
            .iter()
            .zip(observations.iter())
            .map(|(case, observation)| verdict::undecided_at_ztunnel(case, observation, params))
            .collect();
        let runner = self.probe_runner();
        if undecided.iter().all(Vec::is_empty)
            || self.context.read(mesh_client::authorization_may_refuse(&runner, snapshot)).await?
        {
            return Ok(ExitStatus::Success);
        }
        match ztunnel_counter::add_reports(&runner, snapshot, cases, observations, &undecided).await {
            Ok(left_behind) => Ok(self.context.report_left_behind(left_behind.as_slice())),
            Err(failure) => pod_failure(failure).map(|_| ExitStatus::Success),
        }
    }

    /// For the cases where no other evidence shows who refused: runs a mesh client, unless it has answered already, and
    /// uses its success as evidence. Not where an authorization policy could be what refuses.
    async fn run_mesh_client_on_demand(
        &self,
        report_context: &ReportContext,
        snapshot: &Snapshot,
        cases: &[Case],
        observations: &mut [Observation],
    ) -> error::Result<ExitStatus> {
        let needs_mesh_client = |case: &Case, observation: &Observation| {
            let without_answer = Observation { mesh_client: None, ..observation.clone() };
            verdict::needs_mesh_client(case, &without_answer, report_context.judge_params())
        };
        let (open_cases, mut open): (Vec<Case>, Vec<&mut Observation>) = cases
            .iter()
            .zip(observations)
            .filter_map(|(case, observation)| needs_mesh_client(case, observation).then(|| (case.clone(), observation)))
            .unzip();
        let runner = self.probe_runner();
        if open_cases.is_empty() || self.context.read(mesh_client::authorization_may_refuse(&runner, snapshot)).await? {
            return Ok(ExitStatus::Success);
        }
        let mut status = ExitStatus::Success;
        if open.iter().any(|observation| observation.mesh_client.is_none()) {
            let mesh_client = mesh_client::run(&runner, snapshot, &open_cases).await;
            status =
                self.add_mesh_client_answers(mesh_client, open.iter_mut().map(|observation| &mut **observation))?;
        }
        for observation in open {
            observation.mesh_client_counts = matches!(observation.mesh_client, Some(MeshClientAnswer::Reached(_)));
        }
        Ok(status)
    }

    /// Reads the cluster again: which cases changed during the run, since a rejection must be true of the cluster as it
    /// is now. Empty if no case can be rejected.
    async fn changed_cases(&self, cases: &[Case]) -> error::Result<Vec<bool>> {
        if !cases.iter().any(Case::may_be_rejected) {
            return Ok(Vec::new());
        }
        let state = snapshot::read(self.cluster, self.api_versions, &self.context.settings.mesh);
        let after = self.context.shutdown.race(state).await??;
        Ok(probe::changed(cases, &after.snapshot))
    }
}

/// A pod that failed is a finding: its reason and a message. Any other failure ends the run.
pub fn pod_failure(failure: Failure) -> error::Result<(Reason, String)> {
    match failure {
        Failure::Pod(reason, message) => Ok((reason, message)),
        Failure::Cluster(error) => Err(error.into()),
        Failure::Interrupted(signal) => Err(Error::Interrupted(signal)),
    }
}

/// Removes pods that an earlier, killed run left. Errors are ignored: the run's own requests report them.
pub async fn sweep_abandoned(cluster: &Cluster) {
    let _ = sweep(cluster, Sweep::Abandoned).await;
}

/// Writes the report in the requested format.
pub fn render(report: &ProbeReport, output: OutputFormat, style: Style) -> Result<String, RenderError> {
    output::render(report, output, |report| match output {
        OutputFormat::Name => human::names(report),
        _ => human::probe(report, style),
    })
}

/// Prints how the answers compare with the expected one. A run without targets has printed that already.
pub fn print_expectation(context: &Context, report: &ProbeReport, expected: Expectation) {
    if report.results().next().is_some() {
        context.printer.say(&human::expectation(report, expected.into()));
    }
}
