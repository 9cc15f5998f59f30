//! Renders a report as text for the terminal. Every value from the cluster is escaped here, before colours are added.

use super::explain::{self, verdict_word};
use super::kinds::{ExpectationKind, ModeKind, VerdictKind};
use super::model::{EndpointReport, NamespaceReport, ProbeReport, SampleReport, TargetReport};
use super::plural::count;
use super::table;
use crate::sanitize::{self, line};
use crate::wrap::wrap;
use colored::{Color, Colorize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The most targets that get a paragraph each; more targets get a table.
const PARAGRAPHS: usize = 3;

/// The options that decide how much is shown.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Style {
    /// `-o wide`.
    pub wide: bool,
    /// `--per-endpoint`.
    pub per_endpoint: bool,
    /// `--explain`.
    pub explain: bool,
    /// `--no-headers`.
    pub no_headers: bool,
    /// Columns of the terminal, into which a table is fitted; `None` elsewhere.
    pub width: Option<usize>,
}

/// The whole report.
pub fn probe(report: &ProbeReport, style: Style) -> String {
    let mut out = String::new();
    if style.explain {
        for namespace in &report.namespaces {
            for result in &namespace.results {
                explained(&mut out, namespace, result, style.width);
            }
        }
    } else if report.results().count() <= PARAGRAPHS && !style.per_endpoint && !style.wide && !style.no_headers {
        for result in report.results() {
            paragraph(&mut out, result, style.width);
        }
    } else {
        out.push_str(&rows(report, style));
        remedies(&mut out, report);
    }
    let not_probed = report.namespaces.iter().flat_map(|namespace| &namespace.not_probed);
    let names: Vec<String> = not_probed.map(|left| format!("{} ({})", left.name, left.reason)).collect();
    if !names.is_empty() {
        let _ = writeln!(out, "not probed: {}", line(&names.join(", ")));
    }
    out
}

/// Names only: `-o name`.
pub fn names(report: &ProbeReport) -> String {
    report.results().fold(String::new(), |mut out, result| {
        let _ = writeln!(out, "{} {}", line(&result.target), verdict_word(&result.answer));
        out
    })
}

/// One sentence that compares the verdicts with the expected ones.
pub fn expectation(report: &ProbeReport, expected: ExpectationKind) -> String {
    let unexpected: Vec<String> = report
        .results()
        .filter(|result| result.as_expected != Some(true))
        .map(|result| {
            let (target, verdict) = (&result.target, result.answer.verdict.as_str());
            match (expected, result.expected) {
                (ExpectationKind::Policy, Some(wanted)) => {
                    format!("{target} is {verdict}, expected {wanted} by its policy")
                }
                (ExpectationKind::Policy, None) => format!("{target} is {verdict}, and its policy is not known"),
                (ExpectationKind::Rejected | ExpectationKind::Accepted, _) => {
                    format!("{target} is {verdict}, expected {expected}")
                }
            }
        })
        .collect();
    let verdict = match expected {
        ExpectationKind::Policy => "as the policies say",
        ExpectationKind::Rejected | ExpectationKind::Accepted => expected.as_str(),
    };
    if unexpected.is_empty() {
        format!("as expected: {} {verdict}", count(report.results().count(), "target"))
    } else {
        format!("not as expected: {}", line(&unexpected.join("; ")))
    }
}

/// The last line about a proof that took `seconds`: `5 targets: 4 rejected, 1 accepted, 0 inconclusive (0.6 s)`.
pub fn closing(report: &ProbeReport, seconds: f64) -> String {
    format!("{} ({seconds:.1} s)", tally(report.results()))
}

/// How many targets have which verdict: `5 targets: 4 rejected, 1 accepted, 0 inconclusive`.
pub(super) fn tally<'a>(results: impl Iterator<Item = &'a TargetReport>) -> String {
    let verdicts: Vec<VerdictKind> = results.map(|result| result.answer.verdict).collect();
    let number = |kind| verdicts.iter().filter(|verdict| **verdict == kind).count();
    format!(
        "{}: {} rejected, {} accepted, {} inconclusive",
        count(verdicts.len(), "target"),
        number(VerdictKind::Rejected),
        number(VerdictKind::Accepted),
        number(VerdictKind::Inconclusive)
    )
}

fn color(verdict: VerdictKind) -> Color {
    match verdict {
        VerdictKind::Rejected => Color::Green,
        VerdictKind::Accepted => Color::Yellow,
        VerdictKind::Inconclusive => Color::Magenta,
    }
}

fn headline(out: &mut String, result: &TargetReport) {
    let word = verdict_word(&result.answer);
    let _ = writeln!(out, "{}  {}", line(&result.target).bold(), word.color(color(result.answer.verdict)).bold());
}

fn explained(out: &mut String, namespace: &NamespaceReport, result: &TargetReport, width: Option<usize>) {
    headline(out, result);
    for sentence in explain::target(namespace, result) {
        let _ = writeln!(out, "{}", wrap(&format!("  {}", line(&sentence)), width, 0));
    }
}

fn paragraph(out: &mut String, result: &TargetReport, width: Option<usize>) {
    headline(out, result);
    let mut fact = |name: &str, value: &str| {
        let fact = format!("  {name:<10} {}", line(value));
        let _ = writeln!(out, "{}", wrap(fact.trim_end(), width, 0));
    };
    fact("seen", &result.answer.message);
    for answer in curl_messages(result) {
        fact("curl", &answer);
    }
    let mut identities: Vec<String> = result.endpoints.iter().filter_map(identity).collect();
    identities.dedup();
    for identity in identities {
        fact("identity", &identity);
    }
    let modes: Vec<String> = result.endpoints.iter().map(mode).collect();
    let proxies: Vec<String> = result.endpoints.iter().filter_map(proxy_report).collect();
    for (name, mut values) in [("policy", modes), ("proxy", proxies)] {
        values.sort();
        values.dedup();
        for value in values {
            fact(name, &value);
        }
    }
    if let Some(control) = &result.control {
        let word = match control.got_through {
            Some(true) => "a client in the mesh gets through",
            Some(false) => "a client in the mesh does not get through",
            None => "whether a client in the mesh gets through cannot be told",
        };
        fact("control", &format!("{word}: {}", control.message));
    }
    for endpoint in &result.endpoints {
        if let Some(reason) = &endpoint.unguarded {
            fact("unguarded", reason);
        }
    }
    if !result.not_ready.is_empty() {
        fact("not ready", &format!("{} (not counted)", result.not_ready.join(", ")));
    }
    if let Some(remedy) = result.answer.remedy {
        fact("remedy", remedy);
    }
    if let Some(body) = result.body.as_deref().filter(|_| result.answer.verdict == VerdictKind::Accepted) {
        fact("body", "");
        out.push_str(&body_head(body));
    }
}

/// The first 2 KiB of an answer, indented.
fn body_head(body: &str) -> String {
    const LIMIT: usize = 2048;
    let end = (0..=LIMIT.min(body.len())).rev().find(|end| body.is_char_boundary(*end)).unwrap_or_default();
    let mut out = String::new();
    for row in sanitize::text(&body[..end]).lines() {
        let _ = writeln!(out, "    {row}");
    }
    if end < body.len() {
        out.push_str("    …\n");
    }
    out
}

/// curl's messages, one for each exit code, because some contain durations that differ.
fn curl_messages(result: &TargetReport) -> Vec<String> {
    let samples = result.endpoints.iter().flat_map(|endpoint| &endpoint.samples).chain(&result.samples);
    let mut messages: Vec<(i32, &str)> =
        samples.filter_map(|sample| Some((sample.exit_code, sample.message.as_deref()?))).collect();
    messages.sort_unstable();
    messages.dedup_by_key(|(code, _)| *code);
    messages.into_iter().map(|(code, message)| format!("({code}) {message}")).collect()
}

fn identity(endpoint: &EndpointReport) -> Option<String> {
    let hello = endpoint.hello.as_ref()?;
    let spiffe = hello.spiffe.as_ref()?;
    let issuer = hello.issuer.as_deref().unwrap_or_default();
    let expires = hello.expires.as_deref().unwrap_or_default();
    Some(format!("{spiffe} (verified against the mesh root; issued by {issuer}, expires {expires})"))
}

/// The proxy's report; `None` if it shows nothing or if the proxy was not asked.
fn proxy_report(endpoint: &EndpointReport) -> Option<String> {
    let proxy = endpoint.proxy.as_ref()?;
    proxy.refuses_plaintext.map(|_| proxy.message.clone())
}

fn mode(endpoint: &EndpointReport) -> String {
    let mode = endpoint.mode.map_or("unknown", ModeKind::as_str);
    let decided = endpoint.policies.iter().rev().find(|policy| policy.mode.is_some());
    match decided {
        Some(policy) if policy.namespace.is_empty() => format!("{mode}, by {} ({})", policy.name, policy.level),
        Some(policy) => format!("{mode}, by {}/{} ({})", policy.namespace, policy.name, policy.level),
        None if endpoint.mode.is_some() => format!("{mode}, the mesh's default: no policy says otherwise"),
        None => mode.to_owned(),
    }
}

fn rows(report: &ProbeReport, style: Style) -> String {
    let mut head = vec!["TARGET"];
    if style.per_endpoint {
        head.extend(["ENDPOINT", "POD"]);
    }
    head.extend(["VERDICT", "MODE", "SEEN"]);
    if style.wide {
        head.extend(["SAMPLES", "POLICY", "IDENTITY"]);
    }
    let mut cells: Vec<Vec<String>> = Vec::new();
    let mut colors = Vec::new();
    for result in report.results() {
        let mut modes: Vec<&str> =
            result.endpoints.iter().map(|endpoint| endpoint.mode.map_or("unknown", ModeKind::as_str)).collect();
        modes.sort_unstable();
        modes.dedup();
        let mut row = vec![result.target.clone()];
        if style.per_endpoint {
            row.extend(["*".to_owned(), "*".to_owned()]);
        }
        let unguarded = result.endpoints.iter().find_map(|endpoint| endpoint.unguarded.as_deref());
        let seen =
            [Some(result.answer.message.as_str()), unguarded].into_iter().flatten().collect::<Vec<_>>().join("; ");
        row.extend([verdict_word(&result.answer), modes.join(","), seen]);
        if style.wide {
            let mut policies: Vec<String> = result.endpoints.iter().map(mode).collect();
            policies.dedup();
            let mut identities: Vec<&str> = result.endpoints.iter().filter_map(spiffe).collect();
            identities.dedup();
            let endpoints = result.endpoints.iter().flat_map(|endpoint| &endpoint.samples);
            row.extend([samples(endpoints.chain(&result.samples)), policies.join("; "), identities.join(", ")]);
        }
        colors.push(color(result.answer.verdict));
        cells.push(row);
        for endpoint in result.endpoints.iter().filter(|_| style.per_endpoint) {
            let pod = endpoint.pod.clone().unwrap_or_default();
            let mut row = vec![result.target.clone(), endpoint.address.clone(), pod, verdict_word(&endpoint.answer)];
            let seen = [Some(endpoint.answer.message.as_str()), endpoint.unguarded.as_deref()];
            let seen = seen.into_iter().flatten().collect::<Vec<_>>().join("; ");
            row.extend([endpoint.mode.map_or("unknown", ModeKind::as_str).to_owned(), seen]);
            if style.wide {
                let identity = spiffe(endpoint).unwrap_or_default().to_owned();
                row.extend([samples(&endpoint.samples), mode(endpoint), identity]);
            }
            colors.push(color(endpoint.answer.verdict));
            cells.push(row);
        }
    }
    let cells: Vec<Vec<String>> =
        cells.into_iter().map(|row| row.iter().map(|cell| line(cell).into_owned()).collect()).collect();
    let verdict_column = if style.per_endpoint { 3 } else { 1 };
    let table = table::layout(&head, &cells, style.width.filter(|_| !style.wide), |row, column, cell| {
        if column == verdict_column { cell.color(colors[row]).to_string() } else { cell.to_owned() }
    });
    table::without_head(table, style.no_headers)
}

/// The results of samples, equal ones counted: `3× HTTP 200`, `3× curl 56`.
fn samples<'a>(samples: impl IntoIterator<Item = &'a SampleReport>) -> String {
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for sample in samples {
        let result =
            sample.http_status.map_or_else(|| format!("curl {}", sample.exit_code), |status| format!("HTTP {status}"));
        *groups.entry(result).or_default() += 1;
    }
    let groups: Vec<String> = groups.into_iter().map(|(result, number)| format!("{number}× {result}")).collect();
    groups.join(", ")
}

fn spiffe(endpoint: &EndpointReport) -> Option<&str> {
    endpoint.hello.as_ref()?.spiffe.as_deref()
}

/// Each remedy once, for the end of a table.
fn remedies(out: &mut String, report: &ProbeReport) {
    let mut known: Vec<(&str, &str)> =
        report.results().filter_map(|result| Some((result.answer.reason?, result.answer.remedy?))).collect();
    known.sort_unstable();
    known.dedup();
    for (reason, remedy) in known {
        let _ = writeln!(out, "{reason}: {remedy}");
    }
}

#[cfg(test)]
pub(crate) mod tests;
