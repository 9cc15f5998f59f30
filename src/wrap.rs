//! Breaks text at blanks so that no word is broken at the edge of a terminal.

use unicode_width::UnicodeWidthStr;

/// Spaces before the further lines of a broken line, in addition to its own.
const INDENT: usize = 2;

/// Breaks the lines of `text` that are wider than `width`; nothing where there is no width. The first line begins at column
/// `start`, and further lines of a broken one are indented. A word that is wider than a line stays whole, as does text in
/// backquotes: it is a command to copy. The text must be escaped, and have no colours.
pub fn wrap(text: &str, width: Option<usize>, start: usize) -> String {
    let Some(width) = width else { return text.to_owned() };
    let mut start = start;
    let lines = text.split('\n').map(|line| broken(line, width, std::mem::take(&mut start)));
    lines.collect::<Vec<_>>().join("\n")
}

fn broken(line: &str, width: usize, start: usize) -> String {
    if start + line.width() <= width {
        return line.to_owned();
    }
    let (own_indent, text) = line.split_at(line.len() - line.trim_start_matches(' ').len());
    let indent = own_indent.len() + INDENT;
    let rows = fill(words(text), width.saturating_sub(start + own_indent.len()), width.saturating_sub(indent));
    let rows: Vec<&str> = rows.iter().map(|row| row.trim_end()).collect();
    own_indent.to_owned() + &rows.join(&format!("\n{}", " ".repeat(indent)))
}

/// The words of a line. A blank inside of backquotes separates none.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    line.split(move |c: char| {
        is_quoted ^= c == '`';
        c == ' ' && !is_quoted
    })
}

/// Joins words by blanks in rows: the first one of at most `first` columns, the others of at most `rest`. A word that is wider
/// has a row of its own.
pub fn fill<W: AsRef<str>>(words: impl IntoIterator<Item = W>, first: usize, rest: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in words {
        let word = word.as_ref();
        let limit = if rows.len() > 1 { rest } else { first };
        match rows.last_mut() {
            Some(row) if row.width() + 1 + word.width() <= limit => {
                row.push(' ');
                row.push_str(word);
            }
            _ => rows.push(word.to_owned()),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_commands_stay_whole() {
        let rows = [
            ("fits", "a word", 10, 0, "a word"),
            ("at a blank", "one two three", 8, 0, "one two\n  three"),
            ("after a prefix", "one two", 8, 4, "one\n  two"),
            ("its own indentation", "  one two three", 9, 0, "  one two\n    three"),
            ("a word that is wider", "a verylongword b", 6, 0, "a\n  verylongword\n  b"),
            ("a command", "undo with `disable-mtls -n shop` now", 12, 0, "undo with\n  `disable-mtls -n shop`\n  now"),
            ("each line by itself", "one two\nthree four", 8, 0, "one two\nthree\n  four"),
            ("wide characters", "日本 日本", 6, 0, "日本\n  日本"),
            ("a backquote without its other half", "a `b c d", 4, 0, "a\n  `b c d"),
        ];
        for (name, text, width, start, expected) in rows {
            assert_eq!(wrap(text, Some(width), start), expected, "{name}");
        }
        assert_eq!(wrap("one two three", None, 0), "one two three");
    }
}
