//! Builds and formats the report of `history` from journals: the runs that can still be undone.

use super::model::API_VERSION;
use super::page::wrapped;
use super::plural::count;
use crate::domain::journal::{Entry, Run, Stage, session_start};
use crate::domain::object::{ObjectJson, ObjectKind};
use crate::sanitize::line;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The runs whose journals are in a namespace.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryReport {
    /// Always [`API_VERSION`].
    pub api_version: &'static str,
    /// Always `HistoryReport`.
    pub kind: &'static str,
    /// URL of the API server.
    pub cluster: String,
    /// The version of this tool.
    pub version: &'static str,
    pub namespace: String,
    /// The oldest first.
    pub runs: Vec<RunReport>,
    /// The command that undoes the present session, which is one or more of the last runs; absent where there is no run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// Its identifier.
    pub run: String,
    /// `enable-mtls` or `disable-mtls`.
    pub command: String,
    /// RFC 3339, by the clock of the machine that it ran on.
    pub started_at: String,
    /// User, host and process.
    pub started_by: String,
    /// `done`, `unfinished` (interrupted, or still running) or `undone` (except for objects that others had changed).
    pub state: &'static str,
    pub objects: Vec<ObjectReport>,
    /// The command that undoes this run and those after it.
    pub undo: String,
}

/// What a run did to one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReport {
    /// `policy` or `rule`.
    pub kind: &'static str,
    pub name: String,
    /// `created`, `changed` or `deleted`.
    pub change: &'static str,
    /// The mode before; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The mode that the run wrote; absent where it wrote none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// Builds the report; `runs` are ordered by age, the oldest first.
pub fn history(cluster: &str, namespace: &str, runs: &[Run]) -> HistoryReport {
    let undo = format!("secure-traffic disable-mtls -n {namespace} --restore");
    let run = |run: &Run| RunReport {
        run: run.id.clone(),
        command: run.command.clone(),
        started_at: run.started_at.clone(),
        started_by: run.started_by.clone(),
        state: match run.stage {
            Stage::Started => "unfinished",
            Stage::Done => "done",
            Stage::Undone => "undone",
        },
        objects: run.entries.iter().map(object).collect(),
        undo: format!("{undo}={}", run.id),
    };
    HistoryReport {
        api_version: API_VERSION,
        kind: "HistoryReport",
        cluster: cluster.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        namespace: namespace.to_owned(),
        runs: runs.iter().map(run).collect(),
        undo: (session_start(runs) < runs.len()).then_some(undo),
    }
}

fn object(entry: &Entry) -> ObjectReport {
    let mode = |spec: &ObjectJson| {
        let spec = spec.value();
        let mode = match entry.kind {
            ObjectKind::Policy => &spec["mtls"]["mode"],
            ObjectKind::Rule => &spec["trafficPolicy"]["tls"]["mode"],
        };
        mode.as_str().map(str::to_owned)
    };
    ObjectReport {
        kind: match entry.kind {
            ObjectKind::Policy => "policy",
            ObjectKind::Rule => "rule",
        },
        name: entry.name.clone(),
        change: match (&entry.former, entry.deletes) {
            (_, true) => "deleted",
            (None, false) => "created",
            (Some(_), false) => "changed",
        },
        from: entry.former.as_ref().and_then(|former| mode(&former.spec)),
        to: entry.written.last().filter(|_| !entry.deletes).and_then(mode),
    }
}

impl HistoryReport {
    /// A paragraph for each run.
    pub fn text(&self) -> String {
        let namespace = line(&self.namespace);
        if self.runs.is_empty() {
            return format!("no run can be undone in namespace {namespace}: there is no journal\n");
        }
        let mut text = format!("{} can be undone in namespace {namespace}\n", count(self.runs.len(), "run"));
        for (index, run) in self.runs.iter().enumerate() {
            let (id, command, time) = (line(&run.run), line(&run.command), whole_seconds(&line(&run.started_at)));
            let _ = write!(text, "\n{time}  {command}  run {id}  {}\n  by    {}\n", run.state, line(&run.started_by));
            for change in changes(&run.objects) {
                text.push_str(&wrapped(&change, "  "));
            }
            let later = match self.runs.len() - index - 1 {
                0 => String::new(),
                later => format!("  # and {} after it", count(later, "run")),
            };
            let _ = writeln!(text, "  undo  {}{later}", line(&run.undo));
        }
        if let Some(undo) = self.undo.as_deref().filter(|_| self.runs.len() > 1) {
            let _ = write!(text, "\nundo the present session: {}\n", line(undo));
        }
        text
    }

    /// The identifiers of the runs, one per line.
    pub fn names(&self) -> String {
        self.runs.iter().flat_map(|run| [line(&run.run), "\n".into()]).collect()
    }
}

/// The time without a fraction of a second.
fn whole_seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// A sentence for the objects that a run did the same to: `created 2 rules (ISTIO_MUTUAL): app-ui, boards`.
fn changes(objects: &[ObjectReport]) -> Vec<String> {
    let mut groups: BTreeMap<(&str, &str, String), Vec<&str>> = BTreeMap::new();
    for object in objects {
        let mode = match (&object.from, &object.to) {
            (Some(from), Some(to)) if from != to => format!(" ({} to {})", line(from), line(to)),
            (_, Some(mode)) | (Some(mode), None) => format!(" ({})", line(mode)),
            (None, None) => String::new(),
        };
        groups.entry((object.change, object.kind, mode)).or_default().push(&object.name);
    }
    let sentence = |((change, kind, mode), names): ((&str, &str, String), Vec<&str>)| {
        let noun = match (kind, names.len()) {
            ("policy", 2..) => format!("{} policies", names.len()),
            (_, 1) => kind.to_owned(),
            (_, number) => count(number, kind),
        };
        let names: Vec<_> = names.into_iter().map(line).collect();
        format!("{change} {noun}{mode}: {}", names.join(", "))
    };
    groups.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::journal::ObjectState;
    use crate::report::{json, yaml};
    use serde_json::json;

    fn entry(kind: ObjectKind, name: &str, former: Option<serde_json::Value>, written: serde_json::Value) -> Entry {
        let former =
            former.map(|spec| ObjectState { uid: "u".to_owned(), spec: spec.into(), metadata: json!({}).into() });
        let deletes = written.is_null();
        let written = if deletes { Vec::new() } else { vec![written.into()] };
        Entry { kind, name: name.to_owned(), former, written, created_uid: None, deletes }
    }

    fn run(id: &str, command: &str, stage: Stage, entries: Vec<Entry>) -> Run {
        let (id, command) = (id.to_owned(), command.to_owned());
        let (started_by, started_at) = ("ann@laptop, pid 7".to_owned(), "2026-11-30T09:00:00.123456789Z".to_owned());
        Run { id, command, started_by, started_at, recorded_at: 0, stage, entries }
    }

    #[test]
    fn a_run_says_when_who_what_and_how_to_undo_it() {
        let mode = |mode: &str| json!({"mtls": {"mode": mode}});
        let tls = json!({"trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}});
        let rules = ["app-ui", "boards"].map(|name| entry(ObjectKind::Rule, name, None, tls.clone()));
        let policy = entry(ObjectKind::Policy, "default", Some(mode("PERMISSIVE")), mode("STRICT"));
        let narrow = entry(ObjectKind::Policy, "narrow", Some(mode("STRICT")), json!(null));
        let first = run("bcdfg", "enable-mtls", Stage::Done, [policy].into_iter().chain(rules).collect());
        let second = run("hjklm", "enable-mtls", Stage::Started, vec![narrow]);
        let report = history("c", "shop", &[first.clone(), second]);
        let expected = "\
2 runs can be undone in namespace shop

2026-11-30T09:00:00Z  enable-mtls  run bcdfg  done
  by    ann@laptop, pid 7
  changed policy (PERMISSIVE to STRICT): default
  created 2 rules (ISTIO_MUTUAL): app-ui, boards
  undo  secure-traffic disable-mtls -n shop --restore=bcdfg  # and 1 run after it

2026-11-30T09:00:00Z  enable-mtls  run hjklm  unfinished
  by    ann@laptop, pid 7
  deleted policy (STRICT): narrow
  undo  secure-traffic disable-mtls -n shop --restore=hjklm

undo the present session: secure-traffic disable-mtls -n shop --restore
";
        assert_eq!(report.text(), expected);
        assert_eq!(report.names(), "bcdfg\nhjklm\n");
        let one = history("c", "shop", &[first]);
        assert!(one.text().starts_with("1 run can") && !one.text().contains("session"), "{}", one.text());
        let none = history("c", "shop", &[]);
        assert_eq!(none.text(), "no run can be undone in namespace shop: there is no journal\n");
        assert_eq!((none.undo, none.runs.len()), (None, 0));
    }

    #[test]
    fn text_of_a_journal_is_escaped() {
        let hostile = run("bcdfg", "enable-mtls\u{1b}[31m", Stage::Done, Vec::new());
        let report = history("c", "shop", &[Run { started_by: "a\n::error::b".to_owned(), ..hostile }]);
        for text in [report.text(), json::document(&report).unwrap(), yaml::document(&report).unwrap()] {
            assert!(!text.contains('\u{1b}') && !text.contains("\n::error"), "{text}");
        }
    }
}
