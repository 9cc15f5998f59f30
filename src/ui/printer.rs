//! Writes results to stdout and everything else to stderr.

use super::ascii::ascii;
use super::rows::{self, Row};
use super::terminal;
use crate::sanitize;
use crate::wrap::wrap;
use colored::Colorize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pause between two looks at whether stdout is still read.
const READER_POLL: Duration = Duration::from_millis(250);

/// Whether terminals get ASCII only. Like colour, it holds for the whole process.
static ASCII_ONLY: AtomicBool = AtomicBool::new(false);

/// What the terminal can do, as the environment says.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// It moves its cursor and clears its screen: `TERM` is not `dumb`.
    pub moves_cursor: bool,
    /// It shows Unicode.
    pub unicode: bool,
}

/// The streams of a run.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
    /// A report is written to stdout, so results go to stderr.
    results_to_stderr: bool,
    screens: Screens,
    moves_cursor: bool,
}

/// Whether screens show what the run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Screens {
    /// No: results and messages do.
    None,
    /// One below the other: results are dropped.
    Plain,
    /// Each on a cleared terminal: messages, which would scroll them away, are dropped too.
    Cleared,
}

impl Printer {
    /// `quiet` drops messages, but no results, warnings and errors; `color` holds for both streams.
    pub fn new(quiet: bool, color: bool, abilities: Abilities) -> Self {
        colored::control::set_override(color);
        ASCII_ONLY.store(!abilities.unicode, Ordering::Relaxed);
        Self { quiet, results_to_stderr: false, screens: Screens::None, moves_cursor: abilities.moves_cursor }
    }

    /// Reserves stdout for a report, if `leaving`: results go to stderr.
    #[must_use]
    pub fn leaving_stdout(mut self, leaving: bool) -> Self {
        self.results_to_stderr = leaving;
        self
    }

    /// Prints screens in place of results. On a terminal that can clear its screen they also replace messages, but not
    /// warnings and errors.
    #[must_use]
    pub fn with_screens(mut self) -> Self {
        self.screens = if is_terminal() && self.moves_cursor { Screens::Cleared } else { Screens::Plain };
        self
    }

    /// Prints results and messages, also where [`Self::screen`] is used for the rest.
    #[must_use]
    pub fn without_screens(mut self) -> Self {
        self.screens = Screens::None;
        self
    }

    /// Begins a new screen, which a pipe shows as an empty line. What the terminal shows is scrolled away, not erased.
    pub fn new_screen(&self) -> io::Result<()> {
        let rows = terminal::size(io::stdout()).map_or(0, |(_, rows)| rows);
        let text = if self.screens == Screens::Cleared { "\n".repeat(rows) + "\u{1b}[H" } else { "\n".to_owned() };
        self.without_screens().result(&text)
    }

    /// Prints a part of a screen. The caller must have escaped text from the cluster.
    pub fn screen(&self, text: &str) -> io::Result<()> {
        self.without_screens().result(text)
    }

    /// The columns of the terminal on which screens are shown; `None` elsewhere.
    pub fn screen_width(&self) -> Option<usize> {
        if self.screens == Screens::Cleared { width() } else { None }
    }

    /// Whether results are printed, and to a terminal.
    pub fn writes_results_to_terminal(&self) -> bool {
        self.screens == Screens::None && !self.results_to_stderr && io::stdout().is_terminal()
    }

    /// Prints a result. The caller must have escaped text from the cluster.
    pub fn result(&self, text: &str) -> io::Result<()> {
        if self.screens != Screens::None {
            return Ok(());
        }
        if self.results_to_stderr {
            self.say_report(text);
            return Ok(());
        }
        self.document(text)
    }

    /// Prints the report for which stdout is reserved.
    pub fn document(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let is_terminal = stdout.is_terminal();
        let shown = for_stream(text, is_terminal);
        let written = stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush());
        if is_terminal {
            rows::count(&shown);
        }
        match written {
            // The reader, such as `head`, may close the pipe early.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Whether a result that repeats messages has to be printed: a person at a terminal has read the messages.
    pub fn repeats_in_result(&self) -> bool {
        self.quiet || !is_terminal()
    }

    /// Prints a message about the progress of the work.
    pub fn say(&self, text: &str) {
        if !self.quiet && self.screens != Screens::Cleared {
            Self::stderr(&wrap(&sanitize::text(text), stderr_width(), 0));
        }
    }

    /// Prints a line of the plan, whose first character is the sign of the change: `+`, `~` or `-`. Returns its row on the
    /// terminal, for [`Self::mark_done`].
    pub fn say_change(&self, line: &str) -> Option<Row> {
        let row = rows::current();
        let text = wrap(&sanitize::text(&format!("  {line}")), stderr_width(), 0);
        let color = match text.trim_start().chars().next() {
            Some('+') => colored::Color::Green,
            Some('-') => colored::Color::Red,
            _ => colored::Color::Yellow,
        };
        let (sign, rest) = text.split_at_checked(3).unwrap_or((&text, ""));
        self.say_report(&format!("{}{rest}", sign.color(color)));
        row.filter(|_| self.may_mark())
    }

    /// Marks a change in the plan as done; `false` if the terminal does not show it any more. No progress may be shown
    /// meanwhile.
    pub fn mark_done(&self, change: Row) -> bool {
        let mark = "✓".green().to_string();
        let sequence = if self.may_mark() { rows::marked(change, &for_stream(&mark, true)) } else { None };
        sequence.is_some_and(|sequence| write!(io::stderr().lock(), "{sequence}").is_ok())
    }

    fn may_mark(self) -> bool {
        !self.quiet && self.screens == Screens::None && self.moves_cursor && is_terminal()
    }

    /// Prints a rendered, escaped and coloured report to stderr.
    pub fn say_report(&self, text: &str) {
        if !self.quiet && self.screens != Screens::Cleared {
            Self::stderr(text.trim_end());
        }
    }

    /// Prints a result that cannot be written to stdout, also with `--quiet`.
    pub fn result_on_stderr(&self, text: &str) {
        Self::stderr(text.trim_end());
    }

    /// Prints commands for the runner of a CI job, which reads both streams; stdout stays free for the result.
    pub fn annotations(&self, commands: &str) {
        Self::stderr(commands.trim_end());
    }

    /// Prints a warning; the work goes on.
    pub fn warn(&self, text: &str) {
        Self::labelled("warning:", colored::Color::Yellow, text);
    }

    /// Prints the error that ends the run, and its hint.
    pub fn error(&self, text: &str, hint: Option<&str>) {
        Self::labelled("error:", colored::Color::Red, text);
        if let Some(hint) = hint {
            Self::labelled("hint:", colored::Color::Cyan, hint);
        }
    }

    fn labelled(label: &str, color: colored::Color, text: &str) {
        let text = wrap(&sanitize::text(text), stderr_width(), label.len() + 1);
        Self::stderr(&format!("{} {text}", label.color(color).bold()));
    }

    /// A failed write to stderr is ignored: there is no other stream to report it on.
    fn stderr(text: &str) {
        let mut stderr = io::stderr().lock();
        let is_terminal = stderr.is_terminal();
        let text = format!("{}\n", for_stream(text, is_terminal));
        let _ = stderr.write_all(text.as_bytes());
        if is_terminal {
            rows::count(&text);
        }
    }
}

/// The text as the stream gets it: a terminal without Unicode shows ASCII signs; a pipe always gets the same.
pub(super) fn for_stream(text: &str, is_terminal: bool) -> Cow<'_, str> {
    if is_terminal && ASCII_ONLY.load(Ordering::Relaxed) { ascii(text) } else { Cow::Borrowed(text) }
}

/// Waits until the reader of stdout has closed it, also while nothing is printed; for ever where stdout has no reader.
pub async fn stdout_closed() {
    loop {
        let stdout = io::stdout();
        // Errors and hang-ups are reported without being asked for; a file or a device has neither.
        let mut descriptors = [PollFd::new(&stdout, PollFlags::empty())];
        let is_closed = poll(&mut descriptors, Some(&Timespec::default())).is_ok()
            && descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP);
        if is_closed {
            return;
        }
        tokio::time::sleep(READER_POLL).await;
    }
}

/// The columns of the terminal to which results are written; `None` where stdout is no terminal.
pub fn width() -> Option<usize> {
    terminal::columns(io::stdout())
}

/// The columns of the terminal to which messages are written; `None` where stderr is no terminal.
pub fn stderr_width() -> Option<usize> {
    terminal::columns(io::stderr())
}

/// Whether stdout and stderr are terminals.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}
