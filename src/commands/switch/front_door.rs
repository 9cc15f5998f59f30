//! `--check-url`: front doors that are asked once before the first write, and then until the run is over.

use super::Switch;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::http_client::front_door::{self, FrontDoorWatch, FrontDoors};
use crate::report::front_door::FrontDoorReport;
use crate::sanitize;

/// Doors that are being asked, and whether each answered before the first write.
pub(super) struct Asking {
    watch: FrontDoorWatch,
    answered_before: Vec<bool>,
}

/// What the doors say of the run.
pub(super) struct Seen {
    pub(super) status: ExitStatus,
    /// A door that answered before is down.
    pub(super) is_broken: bool,
}

impl Switch<'_> {
    /// Asks every door once, and goes on asking in the background. On the way in a door that does not answer stops the
    /// run, since nobody could tell afterwards what the switch has broken; the way out stays open.
    pub(super) async fn open_front_doors(&self) -> error::Result<Option<Asking>> {
        let urls = &self.args.check_urls;
        if urls.is_empty() {
            return Ok(None);
        }
        let doors = FrontDoors::new(urls)?;
        self.context.progress.begin("asking the front door", None);
        let answers = self.context.shutdown.race(doors.request()).await;
        self.context.progress.end();
        let answers = answers?;
        let dead: Vec<String> = urls
            .iter()
            .zip(&answers)
            .filter_map(|(url, answer)| {
                let why = answer.as_ref().err()?;
                Some(format!("{} does not answer before the change: {}", front_door::shown(url), sanitize::line(why)))
            })
            .collect();
        if self.is_enabling() && !self.args.force && !dead.is_empty() {
            return Err(Error::CheckFailed(format!("{}; nothing was written", dead.join("; "))));
        }
        for words in dead {
            self.context.printer.warn(&words);
        }
        Ok(Some(Asking { watch: doors.start(), answered_before: answers.iter().map(Result::is_ok).collect() }))
    }

    /// Waits until it can be told how the doors are now, says it, and asks no more. A signal cuts it short.
    pub(super) async fn close_front_doors(&self, asking: Option<Asking>) -> Seen {
        let mut seen = Seen { status: ExitStatus::Success, is_broken: false };
        let Some(Asking { watch, answered_before }) = asking else { return seen };
        self.context.progress.begin("asking the front door", None);
        // What could be seen until a signal came is told all the same.
        let _ = self.context.shutdown.race(watch.certain()).await;
        self.context.progress.end();
        let summaries = watch.finish();
        let doors = self.args.check_urls.iter().zip(answered_before).zip(&summaries);
        let reports: Vec<FrontDoorReport> = doors
            .map(|((url, before), summary)| FrontDoorReport::new(front_door::shown(url), before, summary))
            .collect();
        for door in &reports {
            let words = format!("{}: {}", door.url, sanitize::line(&door.message));
            if door.still_down == Some(false) && door.last_failure.is_none() {
                self.context.printer.say(&words);
            } else {
                self.context.printer.warn(&words);
            }
            if door.still_down == Some(true) {
                seen.status = ExitStatus::Unexpected;
                seen.is_broken |= door.answered_before;
            }
        }
        self.context.reports.add_front_doors(&reports);
        seen
    }
}
