//! A text on the terminal that is drawn again in its place, such as the table of a watch.

use super::printer::{Printer, for_stream};
use super::rows::{rows_of, visible_width};
use super::terminal;
use std::io::{self, Write};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A text on stdout that can be replaced. The cursor stays visible, and is on the line below the text.
#[derive(Debug)]
pub struct LiveText {
    resizes: Signal,
    /// The columns that each line on the screen needs. Empty where none is on the screen.
    drawn: Vec<usize>,
}

impl LiveText {
    /// `None` where results go elsewhere than to a terminal with a size.
    pub fn open(printer: Printer) -> io::Result<Option<Self>> {
        if !printer.writes_results_to_terminal() || size().is_none() {
            return Ok(None);
        }
        Ok(Some(Self { resizes: signal(SignalKind::window_change())?, drawn: Vec::new() }))
    }

    /// Waits until the size of the terminal changes.
    pub async fn resized(&mut self) {
        self.resizes.recv().await;
    }

    /// The columns and lines of the terminal. 80 and 24 where it does not know them any more.
    pub fn size(&self) -> (usize, usize) {
        size().unwrap_or((80, 24))
    }

    /// Draws the text in place of the former one, whose lines may be broken since the terminal became narrower. The caller
    /// must have escaped text from the cluster.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let mut output = self.to_first_line();
        for line in text.lines() {
            // Erased before it is written: behind a line that fills the terminal, the last character would be erased.
            output.push_str("\u{1b}[2K");
            output.push_str(line);
            output.push_str("\r\n");
        }
        output.push_str("\u{1b}[J");
        self.drawn = text.lines().map(visible_width).collect();
        write(&output)
    }

    /// Removes the text from the screen, so that messages take its place.
    pub fn erase(&mut self) -> io::Result<()> {
        let output = self.to_first_line() + "\u{1b}[J";
        self.drawn.clear();
        write(&output)
    }

    /// Leaves the text on the screen, if one is: what is written from now on is below it.
    pub fn leave(&mut self) -> io::Result<()> {
        if self.drawn.is_empty() {
            return Ok(());
        }
        self.drawn.clear();
        // The terminal may have echoed a key, such as Ctrl-C.
        write("\r\u{1b}[J")
    }

    fn to_first_line(&self) -> String {
        let columns = self.size().0;
        let rows: usize = self.drawn.iter().map(|width| rows_of(*width, columns)).sum();
        if rows == 0 { "\r".to_owned() } else { format!("\r\u{1b}[{rows}A") }
    }
}

/// The columns and lines of the terminal that is stdout; `None` where it does not know them.
fn size() -> Option<(usize, usize)> {
    terminal::size(io::stdout()).filter(|(columns, lines)| *columns > 0 && *lines > 0)
}

fn write(output: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(for_stream(output, true).as_bytes())?;
    stdout.flush()
}
