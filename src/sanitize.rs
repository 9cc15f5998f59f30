//! Escapes text from a cluster for terminals, CI runners and JSON: a name or a log line could move the cursor, change
//! the colour of the verdict or hide the text after it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The most that is shown of an error text of a cluster or of another program, in bytes.
const MAX_ERROR_TEXT: usize = 4 << 10;

/// An error text of a cluster or of another program, cut at 4 KiB. A mark says how much is missing.
pub fn excerpt(raw: &str) -> Cow<'_, str> {
    if raw.len() <= MAX_ERROR_TEXT {
        return Cow::Borrowed(raw);
    }
    let end = raw.floor_char_boundary(MAX_ERROR_TEXT);
    Cow::Owned(format!("{} … ({} more bytes are not shown)", &raw[..end], raw.len() - end))
}

/// Escapes characters that control a terminal, commands to the runner of a CI job, and invisible characters; newlines
/// and tabs stay.
pub fn text(raw: &str) -> Cow<'_, str> {
    if !raw.chars().any(is_hostile) && !raw.lines().any(|row| (0..row.len()).any(|at| is_command(row, at))) {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    for row in raw.split_inclusive('\n') {
        for (at, c) in row.char_indices() {
            if is_command(row, at) {
                text.extend(c.escape_unicode());
            } else if is_hostile(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
    }
    Cow::Owned(text)
}

/// Whether a command to the runner of a CI job begins here: `::` at the beginning of a line, `##[`, `##vso[` or
/// `##teamcity[` anywhere.
fn is_command(row: &str, at: usize) -> bool {
    let rest = &row.as_bytes()[at..];
    is_marker(rest) || rest.starts_with(b"::") && row.as_bytes()[..at].iter().all(u8::is_ascii_whitespace)
}

/// Whether `##`, letters and `[` begin here: a command of GitHub, Azure Pipelines or `TeamCity`.
fn is_marker(rest: &[u8]) -> bool {
    let Some(rest) = rest.strip_prefix(b"##") else { return false };
    rest.iter().find(|byte| !byte.is_ascii_alphabetic()) == Some(&b'[')
}

/// Like [`text`], for a value on one line: newlines and tabs are escaped, too.
pub fn line(raw: &str) -> Cow<'_, str> {
    if raw.contains(['\n', '\t']) {
        Cow::Owned(text(&raw.replace('\n', "\\n").replace('\t', "\\t")).into_owned())
    } else {
        text(raw)
    }
}

/// Replaces hostile characters, and the beginning of commands to the runner of a CI job, in a JSON document by `\uXXXX`;
/// the document keeps its meaning.
pub fn json(written: &str) -> Cow<'_, str> {
    let bytes = written.as_bytes();
    if !written.chars().any(is_hostile) && !(0..bytes.len()).any(|at| is_marker(&bytes[at..])) {
        return Cow::Borrowed(written);
    }
    let mut text = String::with_capacity(written.len());
    for (at, c) in written.char_indices() {
        if is_hostile(c) || is_marker(&bytes[at..]) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    Cow::Owned(text)
}

/// Text with hostile characters, or with a command to the runner of a CI job, as a double-quoted scalar of YAML; `None` for
/// any other text.
pub fn yaml(raw: &str) -> Option<String> {
    if matches!(text(raw), Cow::Borrowed(_)) {
        return None;
    }
    let mut quoted = String::from("\"");
    for (at, c) in raw.char_indices() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_hostile(c) || is_marker(&raw.as_bytes()[at..]) => {
                let code = u32::from(c);
                let _ = if code > 0xffff { write!(quoted, "\\U{code:08x}") } else { write!(quoted, "\\u{code:04x}") };
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Some(quoted)
}

/// Whether a character is a control (C0, C1, DEL), reverses or hides text, is invisible, or is for private use.
fn is_hostile(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_shown_instead() {
        for (attack, raw, shown) in [
            ("colour", "\u{1b}[32mrejected\u{1b}[0m", "\\u{1b}[32mrejected\\u{1b}[0m"),
            ("carriage return over the verdict", "accepted\rrejected", "accepted\\rrejected"),
            ("C1 control sequence introducer", "\u{9b}31m", "\\u{9b}31m"),
            ("right-to-left override", "a\u{202e}b", "a\\u{202e}b"),
            ("zero width space", "a\u{200b}b", "a\\u{200b}b"),
            ("tag characters", "a\u{e0041}", "a\\u{e0041}"),
            ("bell and backspace", "\u{7}\u{8}", "\\u{7}\\u{8}"),
        ] {
            assert_eq!(text(raw), shown, "{attack}");
        }
        assert_eq!(text("Grüße, 世界\n\t{}"), "Grüße, 世界\n\t{}");
        assert_eq!(line("a\nb"), "a\\nb");
    }

    #[test]
    fn what_a_ci_runner_would_obey_is_shown_instead() {
        for (raw, shown) in [
            ("ok\n  ::stop-commands::x\n", "ok\n  \\u{3a}:stop-commands::x\n"),
            ("::error::forged", "\\u{3a}:error::forged"),
            ("a ##[error]forged ##[x]", "a \\u{23}#[error]forged \\u{23}#[x]"),
            ("##vso[task.setvariable variable=x]y", "\\u{23}#vso[task.setvariable variable=x]y"),
            ("##teamcity[buildStatus text='x']", "\\u{23}#teamcity[buildStatus text='x']"),
            ("## a heading [link]", "## a heading [link]"),
            ("fd00::1, std::fs", "fd00::1, std::fs"),
        ] {
            assert_eq!(text(raw), shown);
        }
    }

    #[test]
    fn a_long_error_text_is_cut_with_a_mark() {
        assert_eq!(excerpt(&"x".repeat(4096)), "x".repeat(4096));
        let cut = excerpt(&"ü".repeat(5_000_000)).into_owned();
        assert_eq!(cut, format!("{} … (9995904 more bytes are not shown)", "ü".repeat(2048)));
        assert_eq!(excerpt(&format!("x{}", "ü".repeat(3000))).chars().filter(|c| *c == 'ü').count(), 2047);
    }

    #[test]
    fn json_says_the_same_with_nothing_hostile_in_it() {
        let value = serde_json::json!({"a\u{202e}": "\u{1b}[31m\u{9b}31m\u{7f}\u{e0041}\n\t ü 世"});
        let written = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&written);
        assert!(!shown.chars().any(is_hostile), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        let command = serde_json::json!({"##[error]": ["##vso[x]", "::error::y"]});
        let written = serde_json::to_string(&command).unwrap();
        let shown = json(&written);
        assert!(!shown.contains("##"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), command);
        assert_eq!(json("{\n  \"a\": \"世\"\n}"), "{\n  \"a\": \"世\"\n}");
    }
}
