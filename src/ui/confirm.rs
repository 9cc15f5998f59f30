//! The confirmation before a change, and the pause of the demo: both read a line from the terminal. A signal ends the
//! wait; `--timeout` does not count meanwhile.

use crate::sanitize;
use crate::signal::{Shutdown, Signal};
use std::io::{self, IsTerminal, Write};

/// The answer to a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Yes.
    Yes,
    /// Anything else, and the end of the input.
    No,
    /// stdin or stderr is not a terminal, so the question was not asked.
    NoTerminal,
    /// A signal arrived first.
    Interrupted(Signal),
}

/// Asks on the terminal. The end of the input counts as "no".
pub async fn ask(question: &str, shutdown: &Shutdown) -> io::Result<Confirmation> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Confirmation::NoTerminal);
    }
    Ok(match read_line(&format!("{question} [y/N] "), shutdown).await? {
        Line::Interrupted(signal) => Confirmation::Interrupted(signal),
        Line::Text(line) if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Confirmation::Yes,
        Line::Text(_) | Line::End => Confirmation::No,
    })
}

/// Prints `text` and waits for Enter, if stdin is a terminal. Enter counts as "yes", the end of the input as "no".
pub async fn pause(text: &str, shutdown: &Shutdown) -> io::Result<Confirmation> {
    if !io::stdin().is_terminal() {
        return Ok(Confirmation::NoTerminal);
    }
    Ok(match read_line(text, shutdown).await? {
        Line::Interrupted(signal) => Confirmation::Interrupted(signal),
        Line::Text(_) => Confirmation::Yes,
        Line::End => Confirmation::No,
    })
}

/// What was read after a prompt.
enum Line {
    Text(String),
    /// The end of the input (Ctrl-D).
    End,
    Interrupted(Signal),
}

async fn read_line(prompt: &str, shutdown: &Shutdown) -> io::Result<Line> {
    let _paused = shutdown.pause_limit();
    // stderr is locked for the prompt only: warnings may be printed while the answer is awaited.
    write_stderr(&sanitize::text(prompt))?;
    // A read cannot be cancelled: after a signal its thread is left behind, and ends with the process.
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|length| (length, line))
    });
    let line = match shutdown.race(reading).await {
        Ok(read) => {
            let (length, line) = read.map_err(io::Error::other)??;
            if length > 0 { Line::Text(line) } else { Line::End }
        }
        Err(signal) => Line::Interrupted(signal),
    };
    if !matches!(line, Line::Text(_)) {
        // The cursor is still behind the prompt.
        let _ = write_stderr("\n");
    }
    Ok(line)
}

fn write_stderr(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(text.as_bytes())?;
    stderr.flush()
}
