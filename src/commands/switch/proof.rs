//! The proof of a switch: the rogue probe on every target.

use super::super::probe_run::{MeshClient, ProbeRun, print_expectation, render};
use super::{Switch, Task};
use crate::cluster::snapshot;
use crate::curl_pod::runner::ProbeRunner;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::Snapshot;
use crate::domain::plan::Direction;
use crate::domain::probe::{self, Case};
use crate::error;
use crate::exit::ExitStatus;
use crate::report::human::Style;
use crate::report::plan as plan_report;

impl Switch<'_> {
    pub(super) fn probe_runner(&self) -> ProbeRunner<'_> {
        self.context.probe_runner(self.cluster, self.generation, &self.options)
    }

    /// The ports that are proven: of the named Services, or of all.
    pub(super) fn cases(&self, snapshot: &Snapshot) -> Result<Vec<Case>, probe::TargetError> {
        let named = self.task.services().unwrap_or_default();
        let targets: Vec<probe::Target> =
            named.iter().map(|service| probe::Target { service: service.clone(), port: None, path: None }).collect();
        probe::cases(snapshot, &targets).map(|(cases, _)| cases)
    }

    /// The rogue probe on every target that has a ready endpoint.
    pub(super) async fn prove(&mut self) -> error::Result<ExitStatus> {
        let mut status = ExitStatus::Success;
        if let Some(words) = &self.not_in_force {
            self.context.printer.warn(words);
            status = ExitStatus::Inconclusive;
        }
        if !self.args.verify {
            return Ok(status);
        }
        let look =
            self.context.read(snapshot::look(self.cluster, self.generation, &self.context.settings.mesh)).await?;
        let (cases, empty): (Vec<Case>, Vec<Case>) =
            self.cases(&look.snapshot)?.into_iter().partition(|case| !case.endpoints.is_empty());
        if !empty.is_empty() {
            let names: Vec<String> = empty.iter().map(Case::name).collect();
            self.context.printer.warn(&format!("not proven, without a ready endpoint: {}", names.join(", ")));
        }
        if cases.is_empty() {
            self.context.printer.warn("nothing could be proven: no Service has a ready endpoint");
            return Ok(status.and(ExitStatus::Inconclusive));
        }
        let expected = match (&self.task, self.plan.direction) {
            // What was there before need not be one mode for all.
            (Task::Restore(_), _) => Expectation::Policy,
            (_, Direction::Enable) => Expectation::Rejected,
            (_, Direction::Disable { .. }) => Expectation::Accepted,
        };
        let probe_run = ProbeRun {
            context: self.context,
            cluster: self.cluster,
            api_versions: self.generation,
            options: &self.options,
            expected: Some(expected),
            mesh_client: self.control.run.as_ref().map_or(MeshClient::OnDemand, MeshClient::Running),
        };
        let (report, left) = probe_run.run(&look.snapshot, &cases, Vec::new()).await?;
        let text = render(&report, None, Style::default())?;
        // Where objects were asked for on stdout, the proof is talk.
        if self.args.output.is_some() {
            self.context.printer.say_report(&text);
        } else {
            self.context.printer.result(&text)?;
        }
        let verdict = report.exit_status();
        if verdict == ExitStatus::Success {
            self.context.printer.say(&plan_report::closing(expected.as_str(), cases.len()));
        } else {
            print_expectation(self.context, &report, expected);
        }
        Ok(status.and(verdict).and(left))
    }
}
