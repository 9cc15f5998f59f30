//! Shows what `probe --watch` sees: a line or a document for each change, or the live table of a terminal.

use crate::cli::values::OutputFormat;
use crate::commands::Context;
use crate::domain::watch::AnswerChange;
use crate::error::{self, Error};
use crate::report::watch::{self as report, WatchTable};
use crate::settings::{ProbeAction, ProbeSettings};
use crate::ui::live::LiveText;
use crate::ui::printer::Printer;
use jiff::Timestamp;
use std::io;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// Time between two updates of the durations in the table.
const TICK: Duration = Duration::from_secs(1);

/// Where changes are shown.
pub(super) enum Display {
    /// On stdout.
    Lines {
        printer: Printer,
        output: OutputFormat,
        /// Whether a change was printed before.
        printed: bool,
    },
    /// On stderr, because stdout is for the report of the proof alone.
    Messages(Printer),
    /// In a table that is drawn again in its place.
    Table {
        live: LiveText,
        table: WatchTable,
        ticks: Interval,
        /// Whether the table was removed from the screen.
        is_erased: bool,
    },
}

impl Display {
    /// A table on a terminal where nothing else is printed meanwhile, else lines.
    pub(super) fn new(context: &Context, settings: &ProbeSettings) -> io::Result<Self> {
        let printer = context.printer;
        let is_text = matches!(settings.output, OutputFormat::Table | OutputFormat::Wide);
        if settings.action == ProbeAction::WaitUntil && !is_text {
            return Ok(Self::Messages(printer));
        }
        if is_text
            && context.settings.may_draw()
            && let Some(live) = LiveText::open(printer)?
        {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            return Ok(Self::Table { live, table: WatchTable::default(), ticks, is_erased: false });
        }
        Ok(Self::Lines { printer, output: settings.output, printed: false })
    }

    /// Begins to watch these targets.
    pub(super) fn begin(&mut self, targets: impl Iterator<Item = String>) -> error::Result<()> {
        if let Self::Table { table, .. } = self {
            table.set_targets(targets);
        }
        self.draw()
    }

    /// Shows a change of the target with this name.
    pub(super) fn show(&mut self, target: &str, change: &AnswerChange) -> error::Result<()> {
        let now = Timestamp::now();
        let time = format!("{now:.3}");
        match self {
            Self::Lines { printer, output, printed } => {
                let separator = if *output == OutputFormat::Yaml && *printed { "---\n" } else { "" };
                let text = match output {
                    OutputFormat::Json => report::json(&time, target, change),
                    OutputFormat::Yaml => separator.to_owned() + &report::yaml(&time, target, change)?,
                    OutputFormat::Name => report::name(target, change),
                    OutputFormat::Table | OutputFormat::Wide => report::text(&time, target, change),
                };
                *printed = true;
                printer.result(&text).map_err(Error::stdout)
            }
            Self::Messages(printer) => {
                printer.say_report(&report::text(&time, target, change));
                Ok(())
            }
            Self::Table { table, .. } => {
                table.record(change.target, change.now, now);
                self.draw()
            }
        }
    }

    /// Waits until the table has to be drawn again, because time has passed or the terminal has another size; for ever
    /// where there is no table.
    pub(super) async fn is_outdated(&mut self) {
        match self {
            Self::Table { live, ticks, .. } => {
                tokio::select! {
                    () = live.resized() => {}
                    _ = ticks.tick() => {}
                }
            }
            Self::Lines { .. } | Self::Messages(_) => std::future::pending().await,
        }
    }

    /// Draws the table.
    pub(super) fn draw(&mut self) -> error::Result<()> {
        let Self::Table { live, table, is_erased, .. } = self else { return Ok(()) };
        let (columns, lines) = live.size();
        *is_erased = false;
        live.draw(&table.text(Timestamp::now(), columns, lines)).map_err(Error::stdout)
    }

    /// Removes the table from the screen while other messages are printed.
    pub(super) fn erase(&mut self) -> error::Result<()> {
        let Self::Table { live, is_erased, .. } = self else { return Ok(()) };
        *is_erased = true;
        live.erase().map_err(Error::stdout)
    }

    /// Leaves the last table on the screen.
    pub(super) fn leave(&mut self) -> error::Result<()> {
        if matches!(self, Self::Table { is_erased: true, .. }) {
            self.draw()?;
        }
        let Self::Table { live, .. } = self else { return Ok(()) };
        live.leave().map_err(Error::stdout)
    }
}
