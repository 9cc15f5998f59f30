//! Numbers with their nouns, for all formats of a report.

/// A number with its noun: `1 endpoint`, `2 endpoints`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
