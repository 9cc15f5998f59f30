//! Lays out tables in the format of kubectl: upper-case heads, three spaces between columns, and widths as a terminal
//! shows them.

use unicode_width::UnicodeWidthStr;

/// Lays out rows under a head. Cells must be escaped. `paint` adds colours to a cell; it gets the row, the column and the
/// padded text.
pub fn layout(head: &[&str], rows: &[Vec<String>], paint: impl Fn(usize, usize, &str) -> String) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let pad = |cell: &str, column: usize| {
        let last = column + 1 == widths.len();
        let spaces = if last { 0 } else { widths[column] - cell.width() + 3 };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_the_width_in_a_terminal() {
        let rows = vec![vec!["日本".to_owned(), "x".to_owned()], vec!["a".to_owned(), "y".to_owned()]];
        assert_eq!(layout(&["NAME", "V"], &rows, |_, _, cell| cell.to_owned()), "NAME   V\n日本   x\na      y\n");
    }
}
