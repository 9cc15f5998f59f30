//! Prints the results of a switch on stdout, in kubectl's form.

use super::SwitchRun;
use super::checks::{check_findings, validate};
use super::goal::Planned;
use crate::cli::values::OutputFormat;
use crate::cluster::apply::Writer;
use crate::domain::plan::{Change, Phase};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::istio::change;
use crate::istio::render::for_apply;
use crate::report::RenderError;
use crate::report::plan as plan_report;
use crate::report::plural::count;
use crate::ui::printer::Printer;
use crate::ui::rows::Row;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Passes every write so far to the reports.
pub(super) fn record_writes(run: &SwitchRun<'_>, writer: &Writer<'_>) {
    let written = writer.ledger().written();
    let named: Vec<_> = written.into_iter().map(|write| (write.title, write.word)).collect();
    run.context.reports.add_changes(&run.cluster.namespace, &named);
}

/// The results of a run that has written. One that cannot be printed must not end the run before its proof: it goes to
/// stderr, and the first error is kept for the end of the run.
#[derive(Debug, Default)]
pub(super) struct ResultOutput {
    failure: OnceLock<io::Error>,
}

impl ResultOutput {
    /// Prints a result on stdout.
    pub(super) fn print(&self, printer: Printer, text: &str) {
        if self.failure.get().is_none()
            && let Err(error) = printer.result(text)
        {
            let _ = self.failure.set(error);
        }
        if self.failure.get().is_some() {
            printer.result_on_stderr(text);
        }
    }

    /// The error of the run, where a result could not be printed.
    pub(super) fn error(&self) -> Option<Error> {
        let failure = self.failure.get()?;
        let failure = io::Error::new(failure.kind(), failure.to_string());
        Some(Error::local_io("the results could not be written to stdout", failure))
    }
}

/// The rows of the changes in the plan that a terminal shows, with the names of their objects.
#[derive(Debug, Default)]
pub(super) struct PlanRows(Mutex<ShownPlan>);

#[derive(Debug, Default)]
struct ShownPlan {
    /// The rows without a mark.
    unmarked: Vec<(String, Row)>,
    marked: usize,
}

impl PlanRows {
    /// Adds the row of a change.
    pub(super) fn add(&self, object: String, row: Row) {
        self.lock().unmarked.push((object, row));
    }

    /// Marks the first change of the object that is not marked yet.
    pub(super) fn mark_done(&self, printer: Printer, object: &str) {
        let mut plan = self.lock();
        if let Some(index) = plan.unmarked.iter().position(|(name, _)| name == object)
            && printer.mark_done(plan.unmarked[index].1)
        {
            plan.unmarked.remove(index);
            plan.marked += 1;
        }
    }

    /// Whether the terminal shows of every change that it is made.
    fn are_marked(&self) -> bool {
        let plan = self.lock();
        plan.marked > 0 && plan.unmarked.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, ShownPlan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints what was written and what needed no write.
pub(super) fn report_written(run: &SwitchRun<'_>, planned: &Planned, writer: &Writer<'_>) {
    record_writes(run, writer);
    // The document of the run has them, too.
    let has_document = matches!(run.settings.output, OutputFormat::Json | OutputFormat::Yaml);
    if run.is_observing() || has_document {
        return;
    }
    // An object that is written twice was created if its first write created it.
    let mut printed: BTreeMap<String, &'static str> = BTreeMap::new();
    for write in writer.ledger().written() {
        printed.entry(write.title).and_modify(|word| *word = later(word, write.word)).or_insert(write.word);
    }
    if run.settings.output == OutputFormat::Table && !run.context.printer.repeats_in_result() {
        if !printed.is_empty() && !run.plan_rows.are_marked() {
            run.context.printer.say(&format!("applied {}", count(printed.len(), "change")));
        }
        return;
    }
    let text = result_lines(run, planned, "", |name, planned_word| {
        // After a second plan, nothing may be left to do for an object that the first one wrote.
        printed.get(name).copied().or((planned_word == "unchanged").then_some("unchanged"))
    });
    run.output.print(run.context.printer, &text);
}

/// `--dry-run=client`: prints the objects as a run would leave them, in an order in which it is safe to apply them, and
/// writes nothing. An object that would be deleted is a line of the list only.
pub(super) fn client_dry_run(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<ExitStatus> {
    run.context.reports.mark_dry_run();
    let mut objects = Vec::new();
    for change in last_of_each_object(&planned.plan.phases()) {
        let live = planned.state.find(change.kind(), change.name());
        // The plan was made from these objects, so that it fits them.
        let result = change::result(run.apis(), change, live).map_err(|stale| Error::CheckFailed(stale.to_string()))?;
        objects.extend(result.as_ref().map(for_apply));
    }
    let lines = || result_lines(run, planned, " (dry run)", |_, planned_word| Some(planned_word));
    run.context.printer.result(&render(run, objects.into_iter(), lines)?)?;
    Ok(ExitStatus::Success)
}

/// Every object once, where it is written last: a policy that passes PERMISSIVE is STRICT only after the rules.
fn last_of_each_object(phases: &[Phase]) -> Vec<&Change> {
    let mut seen = BTreeSet::new();
    let changes = phases.iter().flat_map(|phase| &phase.changes).rev();
    let mut last: Vec<&Change> =
        changes.filter(|change| seen.insert((change.kind(), change.namespace(), change.name()))).collect();
    last.reverse();
    last
}

/// `--dry-run=server`: lets the API server validate every change, prints the results, and checks as a run that writes.
pub(super) async fn server_dry_run(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<ExitStatus> {
    run.context.reports.mark_dry_run();
    let applied = validate(run, planned, &planned.plan.writes()).await?;
    let objects = applied.into_iter().filter_map(|change| change.result.ok());
    let lines = || result_lines(run, planned, " (server dry run)", |_, planned_word| Some(planned_word));
    run.context.printer.result(&render(run, objects, lines)?)?;
    check_findings(run, planned).await?;
    Ok(ExitStatus::Success)
}

/// The objects for `-o json` and `-o yaml`, else the lines.
fn render(
    run: &SwitchRun<'_>,
    objects: impl Iterator<Item = Value>,
    lines: impl FnOnce() -> String,
) -> Result<String, RenderError> {
    Ok(match run.settings.output {
        OutputFormat::Json => plan_report::objects(&objects.collect::<Vec<_>>(), true)?,
        OutputFormat::Yaml => plan_report::objects(&objects.collect::<Vec<_>>(), false)?,
        OutputFormat::Table | OutputFormat::Name | OutputFormat::Wide => lines(),
    })
}

/// One line for each object of the plan for which `word` returns kubectl's word for the action; `word` gets the object's
/// name and the word for the planned action.
fn result_lines(
    run: &SwitchRun<'_>,
    planned: &Planned,
    suffix: &str,
    word: impl Fn(&str, &'static str) -> Option<&'static str>,
) -> String {
    let only_name = run.settings.output == OutputFormat::Name;
    let mut text = String::new();
    let mut shown = BTreeSet::new();
    for change in planned.plan.phases().iter().flat_map(|phase| &phase.changes) {
        let name = run.requests().name(change);
        if let Some(word) = word(&name, change.result_word())
            && shown.insert(name.clone())
        {
            text.push_str(&plan_report::result_line(&name, word, suffix, only_name));
        }
    }
    text
}

/// kubectl's word for an object that was written twice.
fn later(first: &'static str, second: &'static str) -> &'static str {
    if first == "created" && second == "configured" { first } else { second }
}
