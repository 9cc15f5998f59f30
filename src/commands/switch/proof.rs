//! The proof of a switch: a probe from outside the mesh on every target.

use super::super::probe_run::{MeshClient, ProbeRun, print_expectation, render};
use super::SwitchRun;
use super::goal::{Goal, Planned};
use super::mesh_calls::MeshCalls;
use super::phases::Written;
use crate::domain::expectation::Expectation;
use crate::domain::plan::Direction;
use crate::domain::probe::Case;
use crate::error;
use crate::exit::ExitStatus;
use crate::report::human::Style;
use crate::report::plan as plan_report;

/// Probes every target that has a ready endpoint, and prints the verdicts. Without `--verify` only a policy that is not
/// in force is reported.
pub(super) async fn prove(
    run: &SwitchRun<'_>,
    planned: &Planned,
    written: &Written,
    calls: &MeshCalls,
) -> error::Result<ExitStatus> {
    let context = run.context;
    let status = match written {
        Written::Done => ExitStatus::Success,
        Written::NotInForce(reason) => {
            context.printer.warn(reason);
            ExitStatus::Inconclusive
        }
    };
    if !run.settings.verify {
        return Ok(status);
    }
    let state = run.read_state().await?;
    let (cases, empty): (Vec<Case>, Vec<Case>) =
        planned.cases(&state.snapshot)?.into_iter().partition(|case| !case.endpoints.is_empty());
    if !empty.is_empty() {
        let names: Vec<String> = empty.iter().map(Case::name).collect();
        context.printer.warn(&format!("not proven, without a ready endpoint: {}", names.join(", ")));
    }
    if cases.is_empty() {
        context.printer.warn("nothing could be proven: no Service has a ready endpoint");
        return Ok(status.and(ExitStatus::Inconclusive));
    }
    let expected = expectation(planned);
    let probe = ProbeRun {
        context,
        cluster: run.cluster,
        api_versions: run.api_versions,
        options: &run.settings.pod,
        expected: Some(expected),
        mesh_client: calls.counting().map_or(MeshClient::OnDemand, MeshClient::Running),
    };
    let (report, left_behind) = probe.run(&state.snapshot, &cases, Vec::new()).await?;
    let text = render(&report, None, Style::default())?;
    // With -o, stdout has the objects, so the verdicts go to stderr.
    if run.settings.output.is_some() {
        context.printer.say_report(&text);
    } else {
        run.output.print(context.printer, &text);
    }
    let verdict = report.exit_status();
    if verdict == ExitStatus::Success {
        context.printer.say(&plan_report::closing(expected.as_str(), cases.len()));
    } else {
        print_expectation(context, &report, expected);
    }
    Ok(status.and(verdict).and(left_behind))
}

/// What the targets must answer. A restore may return to different modes, so each target is compared with its own
/// policy.
fn expectation(planned: &Planned) -> Expectation {
    match (&planned.goal, planned.plan.direction) {
        (Goal::Restore(_), _) => Expectation::Policy,
        (Goal::Switch(_) | Goal::Manifests(_), Direction::Enable) => Expectation::Rejected,
        (Goal::Switch(_) | Goal::Manifests(_), Direction::Disable { .. }) => Expectation::Accepted,
    }
}

/// Whether every verdict is as expected.
pub(super) const fn is_proven(proof: &error::Result<ExitStatus>) -> bool {
    matches!(proof, Ok(ExitStatus::Success | ExitStatus::LeftBehind))
}
