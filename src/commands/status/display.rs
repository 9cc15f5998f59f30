//! Shows what `status` reads: once, or with `--watch` each time that something has changed.

use crate::cli::values::OutputFormat;
use crate::commands::{Context, output};
use crate::error::{self, Error};
use crate::report::status::{self as report, StatusReport};
use crate::settings::StatusSettings;
use crate::ui::live::LiveText;
use crate::ui::printer::{self, Printer};
use jiff::Timestamp;
use std::time::Duration;

/// The lines about changes that are kept for the terminal.
const KEPT: usize = 20;

/// Where reports are shown.
pub(super) struct Display {
    printer: Printer,
    output: OutputFormat,
    /// `--no-headers`.
    no_headers: bool,
    /// The report that was shown last.
    last: Option<StatusReport>,
    /// The terminal on which the table is drawn again in its place.
    live: Option<LiveText>,
    /// Lines about the changes so far, for that terminal.
    changes: Vec<String>,
}

impl Display {
    /// With `--watch` and on a terminal where nothing else is printed meanwhile, a table that is drawn again in its place.
    pub(super) fn new(context: &Context, settings: &StatusSettings) -> error::Result<Self> {
        let is_live = settings.watch && settings.output == OutputFormat::Table && context.settings.may_draw();
        let live = if is_live { LiveText::open(context.printer)? } else { None };
        let (output, no_headers) = (settings.output, settings.no_headers);
        Ok(Self { printer: context.printer, output, no_headers, last: None, live, changes: Vec::new() })
    }

    /// Shows a report: the first one whole, of a later one what has changed.
    pub(super) fn show(&mut self, report: StatusReport) -> error::Result<()> {
        let changes = self.changes_to(&report);
        if let Some(live) = &mut self.live {
            let time = Timestamp::now().strftime("%H:%M:%SZ").to_string();
            self.changes.extend(changes.iter().map(|change| change.text(&time)));
            self.changes.drain(..self.changes.len().saturating_sub(KEPT));
            draw(live, &report, &self.changes)?;
        } else if let Some(text) = self.printed(&report, &changes)? {
            self.printer.result(&text)?;
        }
        self.last = Some(report);
        Ok(())
    }

    fn changes_to(&self, report: &StatusReport) -> Vec<report::StatusChange> {
        let is_wide = self.output == OutputFormat::Wide;
        self.last.as_ref().map(|last| report::changes(last, report, is_wide)).unwrap_or_default()
    }

    /// What is printed of a report, if anything.
    fn printed(&self, report: &StatusReport, changes: &[report::StatusChange]) -> error::Result<Option<String>> {
        let Some(last) = &self.last else { return Ok(Some(self.render(report)?)) };
        Ok(match self.output {
            OutputFormat::Table | OutputFormat::Wide => {
                let time = format!("{:.3}", Timestamp::now());
                Some(changes.iter().map(|change| change.text(&time) + "\n").collect())
            }
            OutputFormat::Name => {
                let former = report::names(last);
                let is_new = |line: &&str| !former.lines().any(|known| known == *line);
                Some(report::names(report).lines().filter(is_new).map(|line| line.to_owned() + "\n").collect())
            }
            // A document has the time at which the cluster was read, which is no change.
            _ if last.namespaces == report.namespaces => None,
            OutputFormat::Yaml => Some("---\n".to_owned() + &self.render(report)?),
            OutputFormat::Json => Some(self.render(report)?),
        }
        .filter(|text: &String| !text.is_empty()))
    }

    fn render(&self, report: &StatusReport) -> error::Result<String> {
        let wide = self.output == OutputFormat::Wide;
        let width = if wide { None } else { printer::width() };
        Ok(output::render(report, self.output, |report| match self.output {
            OutputFormat::Name => report::names(report),
            _ => report::text(report, report::Style { wide, no_headers: self.no_headers, width }),
        })?)
    }

    /// Waits this long, and meanwhile draws the table again where the terminal gets another size.
    pub(super) async fn pause(&mut self, pause: Duration) -> error::Result<()> {
        let (Some(live), Some(last)) = (&mut self.live, &self.last) else {
            tokio::time::sleep(pause).await;
            return Ok(());
        };
        let mut pause = std::pin::pin!(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = &mut pause => return Ok(()),
                () = live.resized() => draw(live, last, &self.changes)?,
            }
        }
    }

    /// Leaves the last table on the screen.
    pub(super) fn leave(&mut self) {
        // The terminal may be closed; why the run ends counts more.
        let _ = self.live.as_mut().map(LiveText::leave);
    }
}

fn draw(live: &mut LiveText, report: &StatusReport, changes: &[String]) -> error::Result<()> {
    let (columns, lines) = live.size();
    live.draw(&report::live(report, changes, columns, lines)).map_err(Error::stdout)
}
