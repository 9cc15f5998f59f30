//! Renders the report of `status` as text: one line per port, equal lines grouped if there are many, then the findings.

use super::{ClientReport, FindingReport, NamespaceReport, PortReport, StatusReport, WorkloadPortReport};
use crate::report::kinds::SeverityKind;
use crate::report::plural::count;
use crate::report::table;
use crate::sanitize::line;
use crate::wrap::wrap;
use colored::{Color, Colorize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The most lines that are shown without grouping.
const MAX_UNGROUPED: usize = 40;
/// The most lines of a group that are shown separately.
const MAX_SEPARATE: usize = 3;
/// The most lines that are shown after grouping.
const MAX_LINES: usize = 60;
/// The most objects of a finding that are listed without `-o wide`.
const MAX_OBJECTS: usize = 6;
/// The most changes that are shown below a table that is drawn again and again.
const MAX_CHANGES: usize = 10;

/// How much of a report is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// `-o wide`.
    pub wide: bool,
    /// `--no-headers`.
    pub no_headers: bool,
    /// Columns of the terminal, into which a table is fitted; `None` elsewhere.
    pub width: Option<usize>,
}

/// Marks calls that fail.
const BREAKS: &str = "BREAKS: ";

/// The whole report.
pub fn text(report: &StatusReport, style: Style) -> String {
    let parts: Vec<String> = report.namespaces.iter().map(|namespace| namespace_text(namespace, style)).collect();
    if parts.is_empty() {
        return "no namespace has to do with the mesh\n".to_owned();
    }
    parts.join("\n")
}

fn namespace_text(namespace: &NamespaceReport, style: Style) -> String {
    let mut out = String::new();
    // A coloured text cannot be wrapped.
    let name = line(&namespace.namespace);
    let heading = wrap(&heading(namespace, &name), style.width, 0);
    let _ = writeln!(out, "{}", heading.replacen(&format!(" {name}"), &format!(" {}", name.bold()), 1));
    let rows = rows(namespace);
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table::without_head(lay_out(rows, style.wide, style.width), style.no_headers));
    }
    if !namespace.findings.is_empty() {
        out.push('\n');
        out.push_str(&findings(&namespace.findings, style.wide, style.width));
    }
    out
}

/// The line above the table, with a name that is escaped.
fn heading(namespace: &NamespaceReport, name: &str) -> String {
    let mut services: Vec<&str> = namespace.ports.iter().map(|port| port.service.as_str()).collect();
    services.dedup();
    let auto = if namespace.auto_mtls { "on" } else { "off" };
    let assumed = if namespace.mesh_readable { "" } else { " (assumed: the mesh's settings cannot be read)" };
    format!(
        "namespace {name}: {}, {}; root namespace {}, auto mTLS {auto}{assumed}",
        count(services.len(), "service"),
        count(namespace.ports.len(), "port"),
        line(&namespace.root_namespace),
    )
}

/// The report for a terminal of this size, on which it is drawn again and again: the tables, the codes of the findings, and
/// the last of the lines about changes, which must be escaped. A line has the number of the lines that do not fit.
pub fn live(report: &StatusReport, changes: &[String], columns: usize, lines: usize) -> String {
    // The cursor has the last line of the terminal.
    let room = lines.saturating_sub(1).max(1);
    let mut end: Vec<String> = Vec::new();
    let mut findings: Vec<&FindingReport> =
        report.namespaces.iter().flat_map(|namespace| &namespace.findings).collect();
    if !findings.is_empty() {
        let numbers = numbers(findings.iter().copied());
        findings.dedup_by_key(|finding| finding.code);
        let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
        end.extend([String::new(), format!("{numbers}: {}", codes.join(", "))]);
    }
    if !changes.is_empty() {
        end.push(String::new());
        let shown = MAX_CHANGES.min(room / 3).max(1);
        end.extend_from_slice(&changes[changes.len().saturating_sub(shown)..]);
    }
    let mut text: Vec<String> = Vec::new();
    for namespace in &report.namespaces {
        if !text.is_empty() {
            text.push(String::new());
        }
        let heading = heading(namespace, &line(&namespace.namespace));
        text.extend([table::cut(&heading, columns).into_owned(), String::new()]);
        text.extend(lay_out(rows(namespace), false, Some(columns)).lines().map(str::to_owned));
    }
    let for_tables = room.saturating_sub(end.len());
    if text.len() > for_tables {
        let more = text.len() - for_tables.saturating_sub(1);
        text.truncate(for_tables.saturating_sub(1));
        text.push(format!("… {}", count(more, "more line")));
    }
    text.extend(end.iter().map(|line| table::cut(line, columns).into_owned()));
    text.truncate(room);
    text.join("\n") + "\n"
}

/// One line: a port of one workload.
pub(super) struct Row {
    pub(super) service: String,
    pub(super) target: String,
    pub(super) workload: String,
    pub(super) ready: String,
    pub(super) data_plane: String,
    pub(super) mode: String,
    pub(super) decided: String,
    pub(super) clients: String,
    pub(super) rules: String,
}

/// The lines of a namespace: ports of Services, then workloads without one.
pub(super) fn rows(namespace: &NamespaceReport) -> Vec<Row> {
    let mut rows: Vec<Row> = namespace.ports.iter().flat_map(|port| port_rows(namespace, port)).collect();
    rows.extend(
        namespace
            .workloads
            .iter()
            .map(|workload_port| row(namespace, "-".to_owned(), workload_port, "-".to_owned(), String::new())),
    );
    rows
}

fn port_rows(namespace: &NamespaceReport, port: &PortReport) -> Vec<Row> {
    let name = format!("{}:{}", port.service, port.port);
    let mut rules: Vec<&str> = port.clients.iter().flat_map(|client| &client.rules).map(String::as_str).collect();
    rules.sort_unstable();
    rules.dedup();
    let rules = rules.join(", ");
    if port.workloads.is_empty() {
        return vec![Row {
            service: name,
            target: String::new(),
            workload: "-".to_owned(),
            ready: "0".to_owned(),
            data_plane: "-".to_owned(),
            mode: "no endpoints".to_owned(),
            decided: "-".to_owned(),
            clients: "-".to_owned(),
            rules,
        }];
    }
    let of = |workload_port: &WorkloadPortReport| {
        row(namespace, name.clone(), workload_port, clients(port, &workload_port.workload), rules.clone())
    };
    port.workloads.iter().map(of).collect()
}

fn row(
    namespace: &NamespaceReport,
    service: String,
    workload_port: &WorkloadPortReport,
    clients: String,
    rules: String,
) -> Row {
    let mode = match (workload_port.mode, &workload_port.unguarded) {
        (Some(mode), _) => mode.to_string(),
        (None, Some(reason)) if reason == "gateway" || reason == "unknown" => reason.clone(),
        (None, reason) => format!("none ({})", reason.as_deref().unwrap_or("unknown")),
    };
    Row {
        service,
        target: workload_port.target_port.map_or_else(|| "*".to_owned(), |port| port.to_string()),
        workload: workload_port.workload.clone(),
        ready: format!("{}/{}", workload_port.ready, workload_port.pods.len()),
        data_plane: workload_port.data_plane.clone(),
        mode,
        decided: decided(namespace, workload_port),
        clients,
        rules,
    }
}

/// The policy that decides the mode, with its level.
fn decided(namespace: &NamespaceReport, workload_port: &WorkloadPortReport) -> String {
    let Some(step) = workload_port.policies.iter().rev().find(|step| step.mode.is_some()) else {
        return "no policy".to_owned();
    };
    let home = step.namespace == namespace.namespace || step.namespace.is_empty();
    let name = if home { step.name.clone() } else { format!("{}/{}", step.namespace, step.name) };
    format!("{name} ({})", step.level)
}

/// What callers send to a workload: one value if all send the same, or else one for each kind of caller.
fn clients(port: &PortReport, workload: &str) -> String {
    let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for client in &port.clients {
        let Some(protocols) = client.sends.get(workload) else { continue };
        let fails = if client.breaks_at.iter().any(|at| at == workload) { BREAKS } else { "" };
        let text = format!("{fails}{}", protocols.join(" or "));
        if !order.contains(&text) {
            order.push(text.clone());
        }
        sent.entry(text).or_default().push(caller(client));
    }
    // The end of a long cell may be cut.
    order.sort_by_key(|text| !text.starts_with(BREAKS));
    match &order[..] {
        [] => "-".to_owned(),
        [only] => only.clone(),
        many => {
            let each = many.iter().map(|text| format!("{} ({})", text, sent[text].join(", ")));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}

fn caller(client: &ClientReport) -> String {
    match &client.subset {
        Some(subset) => format!("{} to subset {subset}", client.from),
        None => client.from.clone(),
    }
}

fn lay_out(rows: Vec<Row>, wide: bool, width: Option<usize>) -> String {
    if wide {
        let head = ["SERVICE", "TARGET", "WORKLOAD", "READY", "PROXY", "MODE", "DECIDED BY", "CLIENTS SEND", "RULES"];
        let cells = rows.into_iter().map(|row| {
            let rules = if row.rules.is_empty() { "-".to_owned() } else { row.rules };
            let cells = [
                row.service,
                row.target,
                row.workload,
                row.ready,
                row.data_plane,
                row.mode,
                row.decided,
                row.clients,
                rules,
            ];
            cells.map(|cell| line(&cell).into_owned()).to_vec()
        });
        return table::layout(&head, &cells.collect::<Vec<_>>(), None, |_, column, cell| {
            paint(column == 5, column == 7, cell)
        });
    }
    let total = rows.len();
    let mut cells: Vec<[String; 5]> = Vec::new();
    if total <= MAX_UNGROUPED {
        cells.extend(rows.into_iter().map(|row| [row.service, row.workload, row.mode, row.decided, row.clients]));
    } else {
        cells.extend(group(rows));
    }
    let more = cells.len().saturating_sub(MAX_LINES);
    let cut = total > MAX_UNGROUPED && more > 0;
    if cut {
        cells.truncate(MAX_LINES);
    }
    let mut cells: Vec<Vec<String>> =
        cells.into_iter().map(|row| row.map(|cell| line(&cell).into_owned()).to_vec()).collect();
    let head = ["SERVICE", "WORKLOAD", "MODE", "DECIDED BY", "CLIENTS SEND"];
    if table::is_wider(&head, &cells, width) {
        // The policy without its level.
        for cell in cells.iter_mut().map(|row| &mut row[3]) {
            cell.truncate(cell.find(" (").unwrap_or(cell.len()));
        }
    }
    let mut text = table::layout(&head, &cells, width, |_, column, cell| paint(column == 2, column == 4, cell));
    if cut {
        let _ = writeln!(text, "… and {} (-o wide shows all)", count(more, "more line"));
    }
    text
}

/// Groups equal lines. Small groups come first, line by line; large ones are one line with the number of ports.
fn group(rows: Vec<Row>) -> Vec<[String; 5]> {
    let mut groups: BTreeMap<(String, String, String), Vec<Row>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.mode.clone(), row.decided.clone(), row.clients.clone())).or_default().push(row);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, rows)| rows.len());
    let mut lines = Vec::new();
    for ((mode, decided, clients), rows) in groups {
        if rows.len() <= MAX_SEPARATE {
            lines.extend(rows.into_iter().map(|row| [row.service, row.workload, row.mode, row.decided, row.clients]));
            continue;
        }
        let number = |mut names: Vec<&str>, noun: &str| {
            names.sort_unstable();
            names.dedup();
            count(names.len(), noun)
        };
        let ports = rows.iter().map(|row| row.service.as_str()).filter(|service| *service != "-").collect();
        let workloads = rows.iter().map(|row| row.workload.as_str()).collect();
        lines.push([number(ports, "port"), number(workloads, "workload"), mode, decided, clients]);
    }
    lines
}

fn paint(is_mode: bool, is_clients: bool, cell: &str) -> String {
    let word = cell.trim_end();
    let color = if is_mode {
        match word {
            "STRICT" => Some(Color::Green),
            "PERMISSIVE" | "DISABLE" => Some(Color::Yellow),
            word if word.starts_with("none") || word == "unknown" => Some(Color::Magenta),
            _ => None,
        }
    } else {
        (is_clients && word.contains(BREAKS)).then_some(Color::Red)
    };
    color.map_or_else(|| cell.to_owned(), |color| cell.color(color).to_string())
}

/// The findings and their number by severity.
fn findings(findings: &[FindingReport], all: bool, width: Option<usize>) -> String {
    let mut out = paragraphs(findings, all, width);
    let _ = writeln!(out, "{}", numbers(findings));
    out
}

/// `1 error, 2 warnings, 0 notes`.
fn numbers<'a>(findings: impl IntoIterator<Item = &'a FindingReport>) -> String {
    let (mut errors, mut warnings, mut notes) = (0, 0, 0);
    for finding in findings {
        *match finding.severity {
            SeverityKind::Error => &mut errors,
            SeverityKind::Warning => &mut warnings,
            SeverityKind::Info => &mut notes,
        } += 1;
    }
    format!("{}, {}, {}", count(errors, "error"), count(warnings, "warning"), count(notes, "note"))
}

/// One paragraph for each finding, for a terminal of this width. `all` lists every object.
pub fn paragraphs(findings: &[FindingReport], all: bool, width: Option<usize>) -> String {
    let mut out = String::new();
    let fact = |name: &str, value: &str| wrap(&format!("  {name:<7} {}", line(value)), width, 0);
    for finding in findings {
        let color = match finding.severity {
            SeverityKind::Error => Color::Red,
            SeverityKind::Warning => Color::Yellow,
            SeverityKind::Info => Color::Cyan,
        };
        let _ = writeln!(out, "{}  {}", finding.severity.as_str().color(color).bold(), finding.code.bold());
        let _ = writeln!(out, "{}", fact("found", &finding.message));
        if !finding.objects.is_empty() {
            let shown = if all { finding.objects.len() } else { MAX_OBJECTS.min(finding.objects.len()) };
            let mut objects = finding.objects[..shown].join(", ");
            if shown < finding.objects.len() {
                let _ = write!(objects, " and {} more", finding.objects.len() - shown);
            }
            let _ = writeln!(out, "{}", fact("about", &objects));
        }
        let _ = writeln!(out, "{}", fact("remedy", finding.remedy));
    }
    out
}
