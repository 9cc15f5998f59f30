//! Proves the result of a switch by a probe of every target from outside the mesh.

use super::super::probe_run::{MeshClient, ProbeRun, print_expectation};
use super::SwitchRun;
use super::goal::{Goal, Planned, ProofScope};
use super::mesh_calls::MeshCalls;
use super::phases::Written;
use crate::cli::values::OutputFormat;
use crate::cluster::snapshot;
use crate::domain::expectation::Expectation;
use crate::domain::plan::Direction;
use crate::domain::probe::Case;
use crate::error;
use crate::exit::ExitStatus;
use crate::report::human::{self, Style};
use crate::report::kinds::VerdictKind;
use crate::report::model::ProbeReport;
use crate::ui::printer;
use tokio::time::Instant;

/// The result of a proof.
pub(super) struct Proof {
    /// The status of what was asked, and of what should have had an endpoint.
    asked: ExitStatus,
    /// The status of the ports that could not be asked because nothing serves them, which is no reason to undo anything.
    not_asked: ExitStatus,
}

impl Proof {
    const fn of(asked: ExitStatus) -> Self {
        Self { asked, not_asked: ExitStatus::Success }
    }

    /// The status of the whole proof.
    pub(super) fn status(&self) -> ExitStatus {
        self.asked.and(self.not_asked)
    }
}

/// Probes every target that has a ready endpoint, and prints the verdicts. Without `--verify` only a policy that is not
/// in force is reported.
pub(super) async fn prove(
    run: &SwitchRun<'_>,
    planned: &Planned,
    written: &Written,
    calls: &MeshCalls,
) -> error::Result<Proof> {
    let context = run.context;
    let status = match written {
        Written::Done => ExitStatus::Success,
        Written::NotInForce(reason) => {
            context.printer.warn(reason);
            ExitStatus::Inconclusive
        }
    };
    if !run.settings.verify {
        return Ok(Proof::of(status));
    }
    // The proof depends on what is there, not on pods that are still to come.
    let state = context.read(snapshot::read(run.cluster, run.api_versions, &context.settings.mesh)).await?;
    let ProofScope { cases, left_out } = planned.proof_scope(&state.snapshot)?;
    let (ready, empty): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| !case.endpoints.is_empty());
    if !left_out.is_empty() {
        context.printer.say(&format!("not part of the proof: {}", left_out.join(", ")));
    }
    let expected = expectation(run, planned);
    let status = status.and(without_endpoints(run, planned, &empty, expected));
    if ready.is_empty() {
        context.printer.warn("nothing could be proven: no Service has a ready endpoint");
        return Ok(Proof::of(status.and(ExitStatus::Inconclusive)));
    }
    let probe = ProbeRun {
        context,
        cluster: run.cluster,
        api_versions: run.api_versions,
        options: &run.settings.pod,
        expected: Some(expected),
        mesh_client: calls.counting().map_or(MeshClient::OnDemand, MeshClient::Running),
    };
    // They are rows of the result, so that no report passes over them.
    let awaited = empty.into_iter().filter(|case| !planned.was_ready(case) && planned.must_be_proven(case));
    let cases: Vec<Case> = ready.into_iter().chain(awaited).collect();
    let began = Instant::now();
    let (report, left_behind) = probe.run(&state.snapshot, &cases, Vec::new()).await?;
    let text = human::probe(&report, Style { width: printer::width(), ..Style::default() });
    // With -o, stdout has what was requested, so the verdicts go to stderr.
    if run.settings.output == OutputFormat::Table {
        run.output.print(context.printer, &text);
    } else {
        context.printer.say_report(&text);
    }
    let verdict = report.exit_status_of_ready();
    if verdict == ExitStatus::Success {
        print_proven(run, planned, &report);
    } else {
        print_expectation(context, &report, expected);
    }
    context.printer.say(&human::closing(&report, began.elapsed().as_secs_f64()));
    Ok(Proof { asked: status.and(verdict).and(left_behind), not_asked: report.exit_status() })
}

/// Names the ports without a ready endpoint. One that had some before the run is a failure; another is not proven, which
/// `--expect rejected` does not accept, and which is a row of the result where it must be proven.
fn without_endpoints(run: &SwitchRun<'_>, planned: &Planned, empty: &[Case], expected: Expectation) -> ExitStatus {
    let (lost, not_ready): (Vec<&Case>, Vec<&Case>) = empty.iter().partition(|case| planned.was_ready(case));
    let names = |cases: &[&Case]| cases.iter().map(|case| planned.describe_empty(case)).collect::<Vec<_>>().join(", ");
    let mut status = ExitStatus::Success;
    if !not_ready.is_empty() {
        run.context.printer.warn(&format!("not proven, without a ready endpoint: {}", names(&not_ready)));
        if expected == Expectation::Rejected {
            status = status.and(ExitStatus::Inconclusive);
        }
    }
    if !lost.is_empty() {
        let message = format!("ready before the change, and without a ready endpoint now: {}", names(&lost));
        run.context.printer.warn(&message);
        status = status.and(ExitStatus::Unexpected);
    }
    status
}

/// Prints what is proven, and the ports that differ because their own policy says so.
fn print_proven(run: &SwitchRun<'_>, planned: &Planned, report: &ProbeReport) {
    let of = |verdict: VerdictKind| -> Vec<&str> {
        let results = report.results().filter(|result| result.answer.verdict == verdict && !result.is_empty());
        results.map(|result| result.target.as_str()).collect()
    };
    let (rejected, accepted) = (of(VerdictKind::Rejected), of(VerdictKind::Accepted));
    let is_strict = match planned.goal {
        Goal::Restore(_) => accepted.is_empty(),
        Goal::Switch(_) | Goal::Manifests(_) => planned.plan.direction == Direction::Enable,
    };
    let exceptions = if is_strict { &accepted } else { &rejected };
    if !exceptions.is_empty() {
        let other = if is_strict { "accepted" } else { "rejected" };
        run.context.printer.warn(&format!("{other}, as its policy says: {}", exceptions.join(", ")));
    }
    let closed = of(VerdictKind::Inconclusive);
    if !closed.is_empty() {
        run.context.printer.say(&format!(
            "the application does not answer, but it closes connections that a STRICT sidecar would reset: {}",
            closed.join(", ")
        ));
    }
}

/// What the targets must answer: their own policy, or what `--expect` says.
fn expectation(run: &SwitchRun<'_>, planned: &Planned) -> Expectation {
    match (&planned.goal, planned.plan.direction) {
        (Goal::Switch(_) | Goal::Manifests(_), Direction::Enable) => run.settings.expected,
        (Goal::Switch(_) | Goal::Manifests(_), Direction::Disable { .. }) | (Goal::Restore(_), _) => {
            Expectation::Policy
        }
    }
}

/// Whether every verdict of the ports that could be asked is as expected.
pub(super) const fn is_proven(proof: &error::Result<Proof>) -> bool {
    matches!(proof, Ok(Proof { asked: ExitStatus::Success | ExitStatus::LeftBehind, .. }))
}
