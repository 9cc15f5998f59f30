//! The results of a switch on stdout, in kubectl's form.

use super::SwitchRun;
use super::checks::validate;
use super::goal::Planned;
use crate::cli::values::OutputFormat;
use crate::cluster::apply::Writer;
use crate::domain::plan::Change;
use crate::error;
use crate::exit::ExitStatus;
use crate::report::plan as plan_report;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Passes every write so far to the reports.
pub(super) fn record_writes(run: &SwitchRun<'_>, writer: &Writer<'_>) {
    let written = writer.ledger().written();
    let named: Vec<_> = written.into_iter().map(|one| (one.title, one.word)).collect();
    run.context.reports.add_changes(&named);
}

/// Prints what was written and what needed no write.
pub(super) fn report_written(run: &SwitchRun<'_>, planned: &Planned, writer: &Writer<'_>) -> error::Result<()> {
    record_writes(run, writer);
    // An object that is written twice was created if its first write created it.
    let mut words: BTreeMap<String, &'static str> = BTreeMap::new();
    for one in writer.ledger().written() {
        words.entry(one.title).and_modify(|word| *word = later(word, one.word)).or_insert(one.word);
    }
    let object = |change: Change| planned.state.find(change.kind(), change.name()).cloned();
    print(run, planned.plan.changes().filter_map(object), || {
        result_lines(run, planned, "", |name, planned_word| {
            // After a second plan, nothing may be left to do for an object that the first one wrote.
            words.get(name).copied().or((planned_word == "unchanged").then_some("unchanged"))
        })
    })
}

/// `--dry-run=server`: lets the API server validate every change, and prints the results.
pub(super) async fn dry_run(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<ExitStatus> {
    let applied = validate(run, planned, &planned.plan.writes()).await?;
    let objects = applied.into_iter().filter_map(|one| one.result.ok());
    print(run, objects, || result_lines(run, planned, " (server dry run)", |_, planned_word| Some(planned_word)))?;
    Ok(ExitStatus::Success)
}

/// Prints the objects for `-o json` and `-o yaml`, else the lines.
fn print(
    run: &SwitchRun<'_>,
    objects: impl Iterator<Item = Value>,
    lines: impl FnOnce() -> String,
) -> error::Result<()> {
    let text = match run.settings.output {
        Some(OutputFormat::Json) => plan_report::objects(&objects.collect::<Vec<_>>(), true)?,
        Some(OutputFormat::Yaml) => plan_report::objects(&objects.collect::<Vec<_>>(), false)?,
        Some(OutputFormat::Name | OutputFormat::Wide) | None => lines(),
    };
    Ok(run.context.printer.result(&text)?)
}

/// One line for each object of the plan for which `word` has one, given its name and the word of its planned action.
fn result_lines(
    run: &SwitchRun<'_>,
    planned: &Planned,
    suffix: &str,
    word: impl Fn(&str, &'static str) -> Option<&'static str>,
) -> String {
    let only_name = run.settings.output == Some(OutputFormat::Name);
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

/// The word for an object that was written twice.
fn later(first: &'static str, second: &'static str) -> &'static str {
    if first == "created" && second == "configured" { first } else { second }
}
