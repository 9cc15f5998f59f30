//! What a switch says of itself: results on stdout in kubectl's words, and an account of a run that ended early.

use super::Switch;
use crate::cli::values::OutputFormat;
use crate::cluster::apply::Applied;
use crate::error;
use crate::report::plan as plan_report;
use std::collections::{BTreeMap, BTreeSet};

impl Switch<'_> {
    /// For the reports: every write so far.
    pub(super) fn record_writes(&self) {
        let written = self.applier.ledger.written();
        let named: Vec<_> = written.into_iter().map(|one| (one.title, one.word)).collect();
        self.context.reports.add_changes(&named);
    }

    /// kubectl's lines for a real run: what was written, and what needed no write.
    pub(super) fn results_of_ledger(&self) -> error::Result<()> {
        self.record_writes();
        let format = self.args.output;
        if matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)) {
            let objects =
                self.plan.changes().filter_map(|change| self.look.find(change.kind(), change.name()).cloned());
            let objects: Vec<_> = objects.collect();
            return Ok(self
                .context
                .printer
                .result(&plan_report::objects(&objects, format == Some(OutputFormat::Json))?)?);
        }
        // An object that is written twice was made if it was made the first time.
        let mut words: BTreeMap<String, &'static str> = BTreeMap::new();
        for one in self.applier.ledger.written() {
            words.entry(one.title).and_modify(|word| *word = later(word, one.word)).or_insert(one.word);
        }
        let mut text = String::new();
        let mut shown = BTreeSet::new();
        for change in self.plan.phases().iter().flat_map(|phase| &phase.changes) {
            let name = self.applier.name(change);
            // After a second look the plan may have nothing left to do for what the first one did.
            let word = words.get(&name).copied().or((!change.is_write()).then_some("unchanged"));
            if let Some(word) = word
                && shown.insert(name.clone())
            {
                text.push_str(&plan_report::result_line(&name, word, "", format == Some(OutputFormat::Name)));
            }
        }
        Ok(self.context.printer.result(&text)?)
    }

    /// The same for a dry run.
    pub(super) fn results(&self, applied: &[Applied], suffix: &str) -> error::Result<()> {
        let format = self.args.output;
        if matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)) {
            let objects: Vec<_> = applied.iter().filter_map(|one| one.result.clone().ok()).collect();
            return Ok(self
                .context
                .printer
                .result(&plan_report::objects(&objects, format == Some(OutputFormat::Json))?)?);
        }
        let mut text = String::new();
        let mut shown = BTreeSet::new();
        for change in self.plan.phases().iter().flat_map(|phase| &phase.changes) {
            let name = self.applier.name(change);
            let only_name = format == Some(OutputFormat::Name);
            if shown.insert(name.clone()) {
                text.push_str(&plan_report::result_line(&name, change.result_word(), suffix, only_name));
            }
        }
        Ok(self.context.printer.result(&text)?)
    }
}

/// The word for an object that was written twice.
fn later(first: &'static str, second: &'static str) -> &'static str {
    if first == "created" && second == "configured" { first } else { second }
}
