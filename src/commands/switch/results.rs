//! What a switch says of itself: results on stdout in kubectl's words, and an account of a run that ended early.

use super::Switch;
use crate::cli::values::OutputFormat;
use crate::cluster::apply::Applied;
use crate::domain::plan::Direction;
use crate::report::human::count;
use crate::report::plan as plan_report;

impl Switch<'_> {
    /// What was done before the run ended early.
    pub(super) fn account(&self) {
        let written = self.applier.ledger.written();
        let planned = self.every_write().len();
        if written.is_empty() {
            self.context.printer.say("nothing was written");
            return;
        }
        for (name, word) in &written {
            self.context.printer.say(&format!("{name} {word}"));
        }
        let other = if self.plan.direction == Direction::Enable { "disable-mtls" } else { "enable-mtls" };
        self.context.printer.warn(&format!(
            "ended early: {} of {} made; the same command goes on from here, {other} goes back",
            written.len(),
            count(planned, "change"),
        ));
    }

    /// kubectl's lines for a real run: what was written, and what needed no write.
    pub(super) fn results_of_ledger(&self) -> anyhow::Result<()> {
        let format = self.args.output;
        if matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)) {
            let objects = self.plan.changes().filter_map(|change| crate::cluster::apply::find(&self.look, change));
            let objects: Vec<_> = objects.cloned().collect();
            return Ok(self
                .context
                .printer
                .result(&plan_report::objects(&objects, format == Some(OutputFormat::Json))?)?);
        }
        let written = self.applier.ledger.written();
        let mut text = String::new();
        for phase in self.plan.phases() {
            for change in &phase.changes {
                let name = self.applier.name(change);
                let word = written.iter().rev().find(|(known, _)| *known == name).map(|(_, word)| *word);
                // After a second look the plan may have nothing left to do for what the first one did.
                let word = word.or((!change.is_write()).then_some("unchanged"));
                if let Some(word) = word {
                    text.push_str(&plan_report::result_line(&name, word, "", format == Some(OutputFormat::Name)));
                }
            }
        }
        Ok(self.context.printer.result(&text)?)
    }

    /// The same for a dry run.
    pub(super) fn results(&self, applied: &[Applied], suffix: &str) -> anyhow::Result<()> {
        let format = self.args.output;
        if matches!(format, Some(OutputFormat::Json | OutputFormat::Yaml)) {
            let objects: Vec<_> = applied.iter().filter_map(|one| one.result.clone().ok()).collect();
            return Ok(self
                .context
                .printer
                .result(&plan_report::objects(&objects, format == Some(OutputFormat::Json))?)?);
        }
        let mut text = String::new();
        for phase in self.plan.phases() {
            for change in &phase.changes {
                let name = self.applier.name(change);
                let only_name = format == Some(OutputFormat::Name);
                text.push_str(&plan_report::result_line(&name, change.action.word(), suffix, only_name));
            }
        }
        Ok(self.context.printer.result(&text)?)
    }
}
