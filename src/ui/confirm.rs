//! The confirmation before a change, and the pause of the demo: both read from the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

/// The answer to a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmation {
    /// Yes.
    Yes,
    /// Anything else.
    No,
    /// stdin or stderr is not a terminal, so the question was not asked.
    NoTerminal,
}

/// Asks on the terminal. The end of the input counts as "no".
pub fn ask(question: &str) -> io::Result<Confirmation> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Confirmation::NoTerminal);
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Confirmation::Yes
    } else {
        Confirmation::No
    })
}

/// Prints `text` and waits for Enter, if stdin is a terminal.
pub fn pause(text: &str) -> io::Result<()> {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{text}")?;
        stderr.flush()?;
        io::stdin().lock().read_line(&mut String::new())?;
    }
    Ok(())
}
