//! Formats the page of a finding or a reason, for `explain`. The names and remedies come from `domain`, the meanings from
//! the tables of `docs/findings.md` and `docs/verdicts.md`, so that no text is there twice.

use crate::domain::findings::Code;
use crate::domain::reason::Reason;
use crate::wrap::fill;

const FINDINGS: &str = include_str!("../../docs/findings.md");
const VERDICTS: &str = include_str!("../../docs/verdicts.md");

/// Columns of a page: those of the smallest common terminal.
const WIDTH: usize = 80;

/// The pages of the findings and reasons of this name: two where a finding and a reason share it. `None` where there is
/// none.
pub fn pages(name: &str) -> Option<String> {
    let finding = Code::all().find(|code| code.as_str() == name).map(finding);
    let reason = Reason::all().find(|reason| reason.as_str() == name).map(reason);
    let pages: Vec<String> = finding.into_iter().chain(reason).collect();
    (!pages.is_empty()).then(|| pages.join("\n"))
}

/// The names of all findings and reasons.
pub fn names() -> String {
    let [codes, reasons] = [Code::all().map(Code::as_str).collect(), Reason::all().map(Reason::as_str).collect()]
        .map(|names: Vec<&str>| wrapped(&names.join(", "), "  "));
    format!(
        "Findings of status and enable-mtls:\n{codes}\nReasons of an inconclusive verdict:\n{reasons}\nPrint a page with: \
         secure-traffic explain NAME\n"
    )
}

fn finding(code: Code) -> String {
    let name = code.as_str();
    let [severity, meaning] = cells(FINDINGS, "## Codes", name);
    page(
        &format!("{name}: a finding ({severity})"),
        &meaning,
        code.remedy(),
        &format!("`--ignore {name}` leaves it out. All findings: docs/findings.md"),
    )
}

fn reason(reason: Reason) -> String {
    let name = reason.as_str();
    let [meaning, _] = cells(VERDICTS, "## Reasons", name);
    page(
        &format!("{name}: the reason of an inconclusive verdict"),
        &format!("{}.", sentence(&meaning)),
        reason.remedy_of_probe(),
        "`probe --explain` has what was seen. All reasons: docs/verdicts.md",
    )
}

fn page(title: &str, meaning: &str, remedy: &str, more: &str) -> String {
    let paragraphs = [meaning, &format!("What to do: {}.", sentence(remedy).trim_end_matches('.')), more];
    format!("{}\n{}", wrapped(title, ""), paragraphs.map(|text| wrapped(text, "  ")).join("\n"))
}

/// The second and the third cell of the row for `name` in the table below a heading; empty where there is none.
fn cells(page: &str, heading: &str, name: &str) -> [String; 2] {
    let table = page.split_once(heading).map_or("", |(_, rest)| rest);
    let beginning = format!("| `{name}` | ");
    let row = table.lines().find_map(|line| line.strip_prefix(&beginning)).unwrap_or_default();
    let mut cells = row.split(" | ").map(str::to_owned);
    [(); 2].map(|()| cells.next().unwrap_or_default())
}

/// A text that begins with a capital letter, unless it begins with a name in code or of a program.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if !text.starts_with("curl ") => first.to_uppercase().chain(characters).collect(),
        _ => text.to_owned(),
    }
}

/// Lines of at most [`WIDTH`] columns that begin with `indent`. Only blanks are places to break.
pub(super) fn wrapped(text: &str, indent: &str) -> String {
    let width = WIDTH - indent.len();
    let rows: Vec<String> =
        fill(text.split_whitespace(), width, width).iter().map(|row| format!("{indent}{row}")).collect();
    rows.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_and_reason_has_a_page_that_fits_a_terminal() {
        for name in Code::all().map(Code::as_str).chain(Reason::all().map(Reason::as_str)) {
            let text = pages(name).unwrap();
            assert!(text.starts_with(&format!("{name}: ")) && text.contains("What to do: "), "{text}");
            let paragraphs: Vec<&str> = text.split("\n\n").collect();
            assert!(paragraphs.len() >= 2 && paragraphs.iter().all(|text| !text.trim().is_empty()), "{text}");
            assert!(!text.contains(" | ") && !text.contains("()"), "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH || line.split_whitespace().count() == 1, "{line}");
            }
        }
        assert_eq!(pages("envoy-filter").unwrap().matches("What to do: ").count(), 2);
        assert_eq!(pages("no-such-finding"), None);
    }

    #[test]
    fn a_text_breaks_only_at_blanks() {
        let long = "x".repeat(90);
        assert_eq!(wrapped(&format!("a {long} b"), "  "), format!("  a\n  {long}\n  b\n"));
        assert_eq!(wrapped("", "  "), "\n");
    }
}
