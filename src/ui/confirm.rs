//! The confirmation before a change, which reads a line from the terminal, and the pause of the demo, which reads a key. A
//! signal ends the wait; `--timeout` does not count meanwhile.

use super::printer::{self, for_stream};
use super::rows;
use crate::sanitize;
use crate::signal::{Shutdown, Signal};
use crate::wrap::wrap;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcsetattr,
};
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
    Ok(match read_line(&format!("{question} [y/N]"), shutdown).await? {
        Line::Interrupted(signal) => Confirmation::Interrupted(signal),
        Line::Text(line) if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Confirmation::Yes,
        Line::Text(_) | Line::End => Confirmation::No,
    })
}

/// Prints `text` and waits for a key, if stdin is a terminal. Space and Enter count as "yes", `q`, Ctrl-D and the end of
/// the input as "no". Other keys, and those that were pressed before, are ignored; no key is echoed.
pub async fn pause(text: &str, shutdown: &Shutdown) -> io::Result<Confirmation> {
    if !io::stdin().is_terminal() {
        return Ok(Confirmation::NoTerminal);
    }
    let _paused = shutdown.pause_limit();
    let keys = SingleKeys::start()?;
    write_stderr(&sanitize::text(text))?;
    // A read cannot be cancelled: after a signal its thread is left behind, and ends with the process.
    let answer = match shutdown.race(tokio::task::spawn_blocking(read_key)).await {
        Ok(read) => read.map_err(io::Error::other)??,
        Err(signal) => Confirmation::Interrupted(signal),
    };
    drop(keys);
    let _ = write_stderr("\n");
    Ok(answer)
}

/// Reads keys up to one that is an answer.
fn read_key() -> io::Result<Confirmation> {
    const END_OF_INPUT: u8 = 4;
    loop {
        let mut key = [0];
        // Not through the buffer of `io::Stdin`, which would keep keys for the next pause.
        let length = rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut key))?;
        match key {
            _ if length == 0 => return Ok(Confirmation::No),
            [b' ' | b'\n' | b'\r'] => return Ok(Confirmation::Yes),
            [b'q' | b'Q' | END_OF_INPUT] => return Ok(Confirmation::No),
            _ => {}
        }
    }
}

/// While this value lives, the terminal passes on each key at once and echoes none. Ctrl-C stays a signal.
struct SingleKeys {
    former: Termios,
}

impl SingleKeys {
    fn start() -> io::Result<Self> {
        let former = tcgetattr(io::stdin())?;
        let mut keys = former.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        // `Flush` drops the keys that were pressed before.
        tcsetattr(io::stdin(), OptionalActions::Flush, &keys)?;
        Ok(Self { former })
    }
}

impl Drop for SingleKeys {
    fn drop(&mut self) {
        // The terminal may be closed.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.former);
    }
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
    // Nothing that was typed before the question answers it.
    tcflush(io::stdin(), QueueSelector::IFlush)?;
    let prompt = wrap(&sanitize::text(prompt), printer::stderr_width(), 0) + " ";
    // stderr is locked for the prompt only: warnings may be printed while the answer is awaited.
    write_stderr(&prompt)?;
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
    match &line {
        Line::Text(typed) => rows::count(&(prompt + typed)),
        // The cursor is still behind the prompt.
        Line::End | Line::Interrupted(_) => {
            let _ = write_stderr("\n");
            rows::count(&prompt);
        }
    }
    Ok(line)
}

fn write_stderr(text: &str) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    stderr.write_all(for_stream(text, true).as_bytes())?;
    stderr.flush()
}
