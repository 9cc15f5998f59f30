//! Writes results to stdout and everything else to stderr.

use crate::sanitize;
use crate::wrap::wrap;
use colored::Colorize;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Pause between two looks at whether stdout is still read.
const READER_POLL: Duration = Duration::from_millis(250);

/// The streams of a run.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
    /// A report is written to stdout, so results go to stderr.
    results_to_stderr: bool,
    screens: Screens,
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
    pub fn new(quiet: bool, color: bool) -> Self {
        colored::control::set_override(color);
        Self { quiet, results_to_stderr: false, screens: Screens::None }
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
    pub fn with_screens(mut self, dumb: bool) -> Self {
        self.screens = if is_terminal() && !dumb { Screens::Cleared } else { Screens::Plain };
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
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
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
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
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
    columns(io::stdout())
}

fn columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

fn stderr_width() -> Option<usize> {
    columns(io::stderr())
}

/// Whether stdout and stderr are terminals.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}
