//! A text on the terminal that is drawn again in its place, such as the table of a watch.

use super::printer::Printer;
use std::io::{self, Write};
use tokio::signal::unix::{Signal, SignalKind, signal};
use unicode_width::UnicodeWidthStr;

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
        let rows = rows_on_screen(&self.drawn, self.size().0);
        if rows == 0 { "\r".to_owned() } else { format!("\r\u{1b}[{rows}A") }
    }
}

/// The columns and lines of the terminal that is stdout; `None` where it does not know them.
fn size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// The rows of the screen that lines of these widths need.
fn rows_on_screen(widths: &[usize], columns: usize) -> usize {
    widths.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum()
}

/// The columns that a line needs, without its colours.
fn visible_width(line: &str) -> usize {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().width();
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| text.width())).sum::<usize>()
}

fn write(output: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(output.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_are_broken_by_a_narrower_terminal_are_counted() {
        let rows: [(&[usize], usize, usize); 6] =
            [(&[], 80, 0), (&[0], 80, 1), (&[80, 79], 80, 2), (&[80, 79], 40, 4), (&[81, 1], 80, 3), (&[5], 0, 5)];
        for (widths, columns, expected) in rows {
            assert_eq!(rows_on_screen(widths, columns), expected, "{widths:?} in {columns}");
        }
        assert_eq!(visible_width("a \u{1b}[33manswered\u{1b}[0m 日本"), 15);
    }
}
