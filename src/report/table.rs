//! Lays out tables in the format of kubectl: upper-case heads, three spaces between columns, and widths as a terminal
//! shows them.

use std::borrow::Cow;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Spaces between two columns.
const GAP: usize = 3;

/// The least width to which a column is cut.
const LEAST: usize = 8;

/// Lays out rows under a head. Cells must be escaped. Where the table is wider than `limit`, the widest columns are cut.
/// `paint` adds colours to a cell; it gets the row, the column and the padded text.
pub fn layout(
    head: &[&str],
    rows: &[Vec<String>],
    limit: Option<usize>,
    paint: impl Fn(usize, usize, &str) -> String,
) -> String {
    let mut widths = widths(head, rows);
    if let Some(limit) = limit {
        shrink(&mut widths, limit);
    }
    let pad = |cell: &str, column: usize| {
        let last = column + 1 == widths.len();
        let cell = cut(cell, widths[column]);
        let spaces = if last { 0 } else { widths[column] - cell.width() + GAP };
        format!("{cell}{}", " ".repeat(spaces))
    };
    let mut text: String = head.iter().enumerate().map(|(column, cell)| pad(cell, column)).collect();
    text.push('\n');
    for (number, row) in rows.iter().enumerate() {
        let line: String =
            row.iter().enumerate().map(|(column, cell)| paint(number, column, &pad(cell, column))).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A table without its head (`--no-headers`).
pub fn without_head(table: String, is_headless: bool) -> String {
    if is_headless { table.split_once('\n').map_or_else(String::new, |(_, rows)| rows.to_owned()) } else { table }
}

/// Whether the table is wider than `limit`, so that [`layout`] would cut it.
pub fn is_wider(head: &[&str], rows: &[Vec<String>], limit: Option<usize>) -> bool {
    limit.is_some_and(|limit| total(&widths(head, rows)) > limit)
}

/// The width of each column.
fn widths(head: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    widths
}

/// The width of a table whose columns have these widths.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// Takes width from the widest columns until the table fits. The first column names the row: up to a third of the table it
/// is cut only when no other column can be.
fn shrink(widths: &mut [usize], limit: usize) {
    while total(widths) > limit {
        let Some((first, rest)) = widths.split_first_mut() else { return };
        let widest = rest.iter_mut().max().filter(|widest| **widest > LEAST);
        match widest {
            Some(widest) if *first <= limit / 3 || *widest >= *first => *widest -= 1,
            _ if *first > LEAST => *first -= 1,
            _ => return,
        }
    }
}

/// The cell in at most this width; one that is cut ends with `…`.
pub(super) fn cut(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.width() <= width {
        return Cow::Borrowed(cell);
    }
    let mut kept = String::new();
    for character in cell.chars() {
        if kept.width() + character.width().unwrap_or_default() >= width {
            break;
        }
        kept.push(character);
    }
    Cow::Owned(kept.trim_end().to_owned() + "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_columns_are_cut_where_the_table_is_too_wide() {
        let rows = vec![vec!["a".to_owned(), "a sentence of many words".to_owned(), "日本日本日本日本日本".to_owned()]];
        let table = |limit| layout(&["N", "TEXT", "V"], &rows, limit, |_, _, cell| cell.to_owned());
        assert!(table(Some(51)).ends_with("a   a sentence of many words   日本日本日本日本日本\n"));
        assert_eq!(table(Some(35)).lines().last(), Some("a   a sentence of…   日本日本日本…"));
        assert!(table(Some(35)).lines().all(|line| line.width() <= 35));
        let rows = vec![vec!["boards:8080".to_owned(), "deployment/boards".to_owned()]];
        let table_of_a_service = layout(&["SERVICE", "WORKLOAD"], &rows, Some(24), |_, _, cell| cell.to_owned());
        assert!(table_of_a_service.ends_with("boards:8080   deploymen…\n"), "{table_of_a_service}");
        assert_eq!(table(Some(1)), table(Some(23)), "no column is cut to less than it needs to be understood");
        assert_eq!(table(None), table(Some(1000)));
    }

    #[test]
    fn columns_are_aligned_by_the_width_in_a_terminal() {
        let rows = vec![vec!["日本".to_owned(), "x".to_owned()], vec!["a".to_owned(), "y".to_owned()]];
        assert_eq!(layout(&["NAME", "V"], &rows, None, |_, _, cell| cell.to_owned()), "NAME   V\n日本   x\na      y\n");
    }
}
