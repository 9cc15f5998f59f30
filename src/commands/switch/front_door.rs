//! Requests each `--check-url` once before the first write of a switch, and then repeatedly until the run ends.

use super::SwitchRun;
use crate::domain::address::redacted;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::http_client::front_door::{FrontDoorWatch as Polling, FrontDoors};
use crate::report::front_door::FrontDoorReport;
use crate::sanitize;

/// The URLs of a run.
pub(super) enum FrontDoorWatch {
    /// The run has no `--check-url`.
    NoUrls,
    /// The URLs are polled.
    Polling {
        watch: Polling,
        /// The status of each URL before the first write, if it answered, in the order of the URLs.
        before: Vec<Option<u16>>,
    },
}

/// The result of the polling.
pub(super) struct FrontDoorOutcome {
    pub(super) status: ExitStatus,
    /// Whether a URL that answered before the change is down.
    pub(super) is_broken: bool,
}

impl FrontDoorWatch {
    /// Requests every URL once, and polls them in the background. A URL that does not answer stops `enable-mtls`, since
    /// nothing could show afterwards what the change has broken; it does not stop other runs.
    pub(super) async fn start(run: &SwitchRun<'_>) -> error::Result<Self> {
        let urls = &run.settings.check_urls;
        if urls.is_empty() {
            return Ok(Self::NoUrls);
        }
        let doors = FrontDoors::new(urls, &run.context.settings.connection.proxies)?;
        run.context.progress.begin("asking the front door", None);
        let answers = run.context.shutdown.race(doors.request()).await;
        run.context.progress.end();
        let answers = answers?;
        let failure = |(url, answer): (_, &Result<u16, String>)| {
            let cause = answer.as_ref().err()?;
            Some(format!("{} does not answer before the change: {}", redacted(url), sanitize::line(cause)))
        };
        let failures: Vec<String> = urls.iter().zip(&answers).filter_map(failure).collect();
        if run.is_enabling() && !run.settings.force && !failures.is_empty() {
            return Err(Error::CheckFailed(format!("{}; nothing was written", failures.join("; "))));
        }
        for failure in failures {
            run.context.printer.warn(&failure);
        }
        let before: Vec<Option<u16>> = answers.into_iter().map(Result::ok).collect();
        Ok(Self::Polling { watch: doors.start(&before), before })
    }

    /// Waits until the present state of every URL is known, prints it, and ends the polling. A signal ends the wait.
    pub(super) async fn finish(self, run: &SwitchRun<'_>) -> FrontDoorOutcome {
        let mut outcome = FrontDoorOutcome { status: ExitStatus::Success, is_broken: false };
        let Self::Polling { watch, before } = self else { return outcome };
        run.context.progress.begin("asking the front door", None);
        // After a signal, what was seen until then is reported all the same.
        let _ = run.context.shutdown.race(watch.certain()).await;
        run.context.progress.end();
        let summaries = watch.finish();
        let doors = run.settings.check_urls.iter().zip(before).zip(&summaries);
        let reports: Vec<FrontDoorReport> = doors
            .map(|((url, before), summary)| FrontDoorReport::new(redacted(url), before.is_some(), summary))
            .collect();
        for door in &reports {
            let line = format!("{}: {}", door.url, sanitize::line(&door.message));
            if door.still_down == Some(false) && door.last_failure.is_none() {
                run.context.printer.say(&line);
            } else {
                run.context.printer.warn(&line);
            }
            if door.still_down == Some(true) {
                outcome.status = ExitStatus::Unexpected;
                outcome.is_broken |= door.answered_before;
            }
        }
        run.context.reports.add_front_doors(&run.cluster.namespace, &reports);
        outcome
    }
}
