//! Compares two reports of `status`, for `--watch`: what the later one shows in another way.

use super::human::{Row, rows};
use super::{FindingReport, NamespaceReport, StatusReport};
use crate::report::plural::count;
use crate::sanitize::line;
use std::collections::{BTreeMap, BTreeSet};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// What has changed: `boards:8080`, `finding mode-exception`, `namespace shop`. Several namespaces: `shop/boards:8080`.
    pub subject: String,
    /// How: `PERMISSIVE → STRICT`.
    pub what: String,
}

impl StatusChange {
    /// One line of escaped text.
    pub fn text(&self, time: &str) -> String {
        format!("{time}  {}  {}", line(&self.subject), line(&self.what))
    }
}

/// What differs in the tables and the findings of two reports. `wide` compares the further columns of `-o wide`, too.
pub fn changes(before: &StatusReport, after: &StatusReport, wide: bool) -> Vec<StatusChange> {
    let find =
        |report: &StatusReport, name: &str| report.namespaces.iter().position(|namespace| namespace.namespace == name);
    let is_one = before.namespaces.len() == 1 && after.namespaces.len() == 1;
    let mut differences = Differences { prefix: String::new(), changes: Vec::new() };
    for now in &after.namespaces {
        differences.prefix = if is_one { String::new() } else { format!("{}/", now.namespace) };
        match find(before, &now.namespace) {
            Some(position) => differences.add_namespace(&before.namespaces[position], now, wide),
            None => differences.add_whole_namespace(now, &format!("added: {}", count(now.ports.len(), "port"))),
        }
    }
    for former in before.namespaces.iter().filter(|former| find(after, &former.namespace).is_none()) {
        differences.add_whole_namespace(former, "removed");
    }
    differences.changes
}

struct Differences {
    /// Before each subject.
    prefix: String,
    changes: Vec<StatusChange>,
}

/// The values of each column, by the words that name it. Pods of one workload may differ.
type Columns = BTreeMap<&'static str, BTreeSet<String>>;

/// The column that needs no name.
const MODE: &str = "";
const DECIDED: &str = "decided by";

impl Differences {
    fn add(&mut self, subject: &str, what: String) {
        self.changes.push(StatusChange { subject: format!("{}{subject}", self.prefix), what });
    }

    fn add_whole_namespace(&mut self, namespace: &NamespaceReport, what: &str) {
        let subject = format!("namespace {}", namespace.namespace);
        self.changes.push(StatusChange { subject, what: what.to_owned() });
    }

    fn add_namespace(&mut self, before: &NamespaceReport, now: &NamespaceReport, wide: bool) {
        let auto = |namespace: &NamespaceReport| if namespace.auto_mtls { "on" } else { "off" };
        let settings = |namespace: &NamespaceReport| if namespace.mesh_readable { "read" } else { "assumed" };
        for (name, former, present) in [
            ("auto mTLS", auto(before), auto(now)),
            ("root namespace", before.root_namespace.as_str(), now.root_namespace.as_str()),
            ("settings of the mesh", settings(before), settings(now)),
        ] {
            if former != present {
                self.add_whole_namespace(now, &format!("{name} {former} → {present}"));
            }
        }
        let (former, present) = (subjects(before, wide), subjects(now, wide));
        for (subject, workloads) in &present {
            match former.iter().find(|(name, _)| name == subject) {
                Some((_, before)) => self.add_subject(subject, before, workloads),
                None => self.add(subject, format!("added: {}", modes(workloads.values()))),
            }
        }
        for (subject, _) in former.iter().filter(|(name, _)| present.iter().all(|(other, _)| other != name)) {
            self.add(subject, "removed".to_owned());
        }
        self.add_findings(&before.findings, &now.findings);
    }

    /// Compares the workloads behind one port: one with one, whatever their names, else those with the same name.
    fn add_subject(&mut self, subject: &str, before: &BTreeMap<String, Columns>, now: &BTreeMap<String, Columns>) {
        if let ([(_, former)], [(_, present)]) =
            (&before.iter().collect::<Vec<_>>()[..], &now.iter().collect::<Vec<_>>()[..])
        {
            self.add_columns(subject, former, present);
            return;
        }
        for (workload, present) in now {
            let subject = format!("{subject} {workload}");
            match before.get(workload) {
                Some(former) => self.add_columns(&subject, former, present),
                None => self.add(&subject, format!("added: {}", modes([present]))),
            }
        }
        for workload in before.keys().filter(|workload| !now.contains_key(*workload)) {
            self.add(&format!("{subject} {workload}"), "removed".to_owned());
        }
    }

    fn add_columns(&mut self, subject: &str, before: &Columns, now: &Columns) {
        let is_other = |name: &str| before.get(name) != now.get(name);
        for (name, present) in now {
            let Some(former) = before.get(name).filter(|former| *former != present) else { continue };
            let (former, present) = (joined(former), joined(present));
            match *name {
                MODE if is_other(DECIDED) => {
                    let decided = now.get(DECIDED).map(joined).unwrap_or_default();
                    self.add(subject, format!("{former} → {present}, {DECIDED} {decided}"));
                }
                MODE => self.add(subject, format!("{former} → {present}")),
                // The line about the mode says it.
                DECIDED if is_other(MODE) => {}
                name => self.add(subject, format!("{name} {former} → {present}")),
            }
        }
    }

    fn add_findings(&mut self, before: &[FindingReport], now: &[FindingReport]) {
        let codes: BTreeSet<&str> = before.iter().chain(now).map(|finding| finding.code).collect();
        for code in codes {
            let messages = |findings: &[FindingReport]| -> BTreeSet<String> {
                findings.iter().filter(|finding| finding.code == code).map(|finding| finding.message.clone()).collect()
            };
            let (former, present) = (messages(before), messages(now));
            let (gone, new): (Vec<_>, Vec<_>) =
                (former.difference(&present).collect(), present.difference(&former).collect());
            let subject = format!("finding {code}");
            if let ([_], [new]) = (&gone[..], &new[..]) {
                self.add(&subject, format!("changed: {new}"));
                continue;
            }
            for new in new {
                self.add(&subject, format!("added: {new}"));
            }
            for gone in gone {
                self.add(&subject, format!("removed: {gone}"));
            }
        }
    }
}

/// The ports in the order of the table, each with its workloads; a workload without a Service is a subject of its own.
fn subjects(namespace: &NamespaceReport, wide: bool) -> Vec<(String, BTreeMap<String, Columns>)> {
    let mut subjects: Vec<(String, BTreeMap<String, Columns>)> = Vec::new();
    for row in rows(namespace) {
        let name = match (row.service.as_str(), row.target.as_str()) {
            ("-", "*") => row.workload.clone(),
            ("-", target) => format!("{}:{target}", row.workload),
            (service, _) => service.to_owned(),
        };
        if subjects.last().is_none_or(|(last, _)| *last != name) {
            subjects.push((name, BTreeMap::new()));
        }
        let Some((_, workloads)) = subjects.last_mut() else { continue };
        let columns = workloads.entry(row.workload.clone()).or_default();
        for (name, value) in columns_of(row, wide) {
            columns.entry(name).or_default().insert(value);
        }
    }
    subjects
}

fn columns_of(row: Row, wide: bool) -> Vec<(&'static str, String)> {
    let mut columns = vec![(MODE, row.mode), (DECIDED, row.decided), ("clients send", row.clients)];
    if wide {
        let rules = if row.rules.is_empty() { "-".to_owned() } else { row.rules };
        columns.extend([("ready", row.ready), ("proxy", row.data_plane), ("rules", rules)]);
    }
    columns
}

fn modes<'a>(columns: impl IntoIterator<Item = &'a Columns>) -> String {
    joined(&columns.into_iter().filter_map(|columns| columns.get(MODE)).flatten().cloned().collect())
}

fn joined(values: &BTreeSet<String>) -> String {
    values.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
