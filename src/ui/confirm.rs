//! The question before a change.

use std::io::{self, BufRead, IsTerminal, Write};

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// Anything else.
    No,
    /// There is nobody to ask.
    NoTerminal,
}

/// Asks on the terminal. Without one, or at the end of the input, nothing is assumed.
pub fn ask(question: &str) -> io::Result<Answer> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(Answer::NoTerminal);
    }
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") { Answer::Yes } else { Answer::No })
}

/// Waits for Enter, where there is a terminal.
pub fn pause(text: &str) -> io::Result<()> {
    if io::stdin().is_terminal() {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{text}")?;
        stderr.flush()?;
        io::stdin().lock().read_line(&mut String::new())?;
    }
    Ok(())
}
