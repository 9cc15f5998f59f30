//! The rows that this process has printed on the terminal, so that one of them can be marked later.

use super::terminal;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use unicode_width::UnicodeWidthStr;

/// Rows up to the one in which the cursor is.
static PRINTED: AtomicUsize = AtomicUsize::new(0);

/// A printed row, and the columns that the terminal had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    number: usize,
    columns: usize,
}

/// Counts a text that was printed, with its last line break.
pub(super) fn count(text: &str) {
    PRINTED.fetch_add(rows(text, terminal::columns(io::stderr()).unwrap_or(usize::MAX)), Ordering::Relaxed);
}

/// The row in which the cursor is; `None` where stderr is no terminal.
pub(super) fn current() -> Option<Row> {
    Some(Row { number: PRINTED.load(Ordering::Relaxed), columns: terminal::columns(io::stderr())? })
}

/// The sequence that writes `mark` at the start of the row; `None` where the row is not on the screen any more, or where a
/// terminal of another width may show it elsewhere.
pub(super) fn marked(row: Row, mark: &str) -> Option<String> {
    let (columns, lines) = terminal::size(io::stderr())?;
    let up = PRINTED.load(Ordering::Relaxed).checked_sub(row.number).filter(|up| *up > 0)?;
    let is_shown = columns == row.columns && up < lines;
    // Save the cursor (DECSC), move it up (CUU), write, and restore it (DECRC).
    is_shown.then(|| format!("\u{1b}7\u{1b}[{up}A\r{mark}\u{1b}8"))
}

/// The rows that a text with a final line break takes.
fn rows(text: &str, columns: usize) -> usize {
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
    lines.map(|line| rows_of(visible_width(line), columns)).sum()
}

/// The rows that a line of this width takes.
pub(super) fn rows_of(width: usize, columns: usize) -> usize {
    width.div_ceil(columns.max(1)).max(1)
}

/// The columns that a line takes. The sequences that select colours (SGR) take none.
pub(super) fn visible_width(line: &str) -> usize {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().width();
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, text)| text.width())).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_the_rows_that_a_terminal_breaks_it_into() {
        for (text, columns, expected) in [
            ("a\n", 80, 1),
            ("\n", 80, 1),
            ("a\n\nb\n", 80, 3),
            ("12345678\n", 8, 1),
            ("123456789\n", 8, 2),
            ("\u{1b}[1;31m12345678\u{1b}[0m\n", 8, 1),
            ("日本日本日\n", 8, 2),
            ("a \u{1b}[33manswered\u{1b}[0m 日本\n", 15, 1),
            ("a \u{1b}[33manswered\u{1b}[0m 日本\n", 14, 2),
            // A terminal that says that it has no columns.
            ("abc\n", 0, 3),
        ] {
            assert_eq!(rows(text, columns), expected, "{text:?}");
        }
    }
}
