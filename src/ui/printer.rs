//! Who may write where: results on stdout, everything else on stderr.

use crate::sanitize;
use colored::Colorize;
use std::io::{self, IsTerminal, Write};

/// The streams of a run. Colour is decided once, before it is made.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
    /// stdout belongs to a report, so results are talk.
    results_are_talk: bool,
}

impl Printer {
    /// `quiet` leaves results and errors only; `color` is the decision for both streams.
    pub fn new(quiet: bool, color: bool) -> Self {
        colored::control::set_override(color);
        Self { quiet, results_are_talk: false }
    }

    /// Leaves stdout to a report: what else would stand there goes to stderr.
    #[must_use]
    pub fn leaving_stdout(mut self, leaving: bool) -> Self {
        self.results_are_talk = leaving;
        self
    }

    /// A result. Text from the cluster must have been escaped by whoever wrote it.
    pub fn result(&self, text: &str) -> io::Result<()> {
        if self.results_are_talk {
            self.say_report(text);
            return Ok(());
        }
        self.document(text)
    }

    /// The report that stdout was left to.
    pub fn document(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        match written {
            // A reader that has seen enough is no error of ours.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// Talk: what is being done.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            Self::stderr(&sanitize::text(text));
        }
    }

    /// A report that is talk here: rendered, escaped and coloured already.
    pub fn say_report(&self, text: &str) {
        if !self.quiet {
            Self::stderr(text.trim_end());
        }
    }

    /// Commands to the runner of a CI job, which reads both streams; stdout stays the result's.
    pub fn annotations(&self, commands: &str) {
        Self::stderr(commands.trim_end());
    }

    /// Something that a person should know, though the work goes on.
    pub fn warn(&self, text: &str) {
        Self::stderr(&format!("{} {}", "warning:".yellow().bold(), sanitize::text(text)));
    }

    /// The error that ends the run, with its remedy.
    pub fn error(&self, text: &str, hint: Option<&str>) {
        Self::stderr(&format!("{} {}", "error:".red().bold(), sanitize::text(text)));
        if let Some(hint) = hint {
            Self::stderr(&format!("{} {}", "hint:".cyan().bold(), sanitize::text(hint)));
        }
    }

    /// Nothing can be done about a stderr that does not take it.
    fn stderr(text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Whether both streams go to a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal() && io::stderr().is_terminal()
}
