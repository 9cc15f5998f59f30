//! Builds the report of a rehearsal from its rows: values for JSON and YAML, test cases for CI systems, and text. Its shape
//! is versioned and published; the doc comments of its fields are the descriptions in the JSON Schema.

use super::model::{API_VERSION, RunError};
use super::plural::count;
use super::table;
use crate::domain::caller::{Caller, CallerWorkload};
use crate::domain::namespace_context::{Observed, ObservedBy};
use crate::domain::rehearsal::{CallCount, CallerRow, PortRow, TelemetryEffect};
use crate::exit::ExitStatus;
use crate::sanitize::line;
use crate::wrap::wrap;
use colored::Colorize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The access log that the sidecars write anyway.
pub const ACCESS_LOG: &str = "access-log";

/// An access log that a `Telemetry` object of the run switched on.
pub const TELEMETRY: &str = "telemetry";

/// The caller of a port at which STRICT refuses nothing that is accepted now.
const NONE_TO_REFUSE: &str = "none to refuse";

/// The caller of a port that was not observed throughout.
const NOT_OBSERVED: &str = "not observed";

/// Most names in the closing line.
const MAX_NAMES: usize = 10;

/// Most ports in the live table, which must fit on a screen.
const MAX_LIVE_PORTS: usize = 16;

/// Who would be refused by STRICT: the result of `rehearse`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RehearsalReport {
    /// Version of this shape.
    pub api_version: &'static str,
    /// Always `RehearsalReport`.
    pub kind: &'static str,
    /// The command: `rehearse`.
    pub command: &'static str,
    /// Server of the cluster; empty where the run did not get so far.
    pub cluster: String,
    /// When the rehearsal began, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started_at: String,
    /// When it ended, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub ended_at: String,
    /// Version of this tool.
    pub version: &'static str,
    /// How long the ports were to be observed, in seconds.
    pub seconds: u64,
    /// Exit code of the run; absent in a report whose run never came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Why the run ended early, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// One entry for each namespace; none where the run did not get so far as to know it.
    pub namespaces: Vec<RehearsedNamespace>,
}

/// Who would be refused in one namespace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RehearsedNamespace {
    /// Namespace of the ports.
    pub namespace: String,
    /// What the calls were read from: `access-log`, or `telemetry` where a Telemetry object of the run switched it on.
    pub instrument: &'static str,
    /// The TCP ports of the Services, then other ports to which plaintext calls were seen.
    #[serde(rename = "results")]
    pub ports: Vec<RehearsedPortReport>,
    /// What limits the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What STRICT does at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RehearsalResult {
    /// It would refuse the callers.
    Callers,
    /// It would refuse nobody who called.
    Nobody,
    /// The port was not observed throughout, and no caller was seen.
    NotObserved,
    /// It refuses nothing there that is accepted now.
    NotRefused,
}

impl RehearsalResult {
    /// The word in JSON.
    const fn word(self) -> &'static str {
        match self {
            Self::Callers => "callers",
            Self::Nobody => "nobody",
            Self::NotObserved => "notObserved",
            Self::NotRefused => "notRefused",
        }
    }
}

/// One port.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct RehearsedPortReport {
    /// `SERVICE:PORT`, or `WORKLOAD:PORT` for a port without a Service.
    pub name: String,
    /// What STRICT does there.
    pub result: RehearsalResult,
    /// Why the port was not observed throughout, or why STRICT refuses nothing there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Plaintext calls: HTTP requests, and TCP connections that have ended.
    pub calls: u64,
    /// Further plaintext calls, which authorization policies refuse already.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused_already: u64,
    /// Who sent the calls, those with the most first.
    pub callers: Vec<CallerReport>,
}

/// One caller of a port.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct CallerReport {
    /// `legacy-client (outside/Deployment)`, `node NAME`, or an address.
    pub name: String,
    /// `workload`, `gateway`, `node`, `address`, or `unknown` where the calls have no name.
    pub kind: &'static str,
    /// Namespace of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Kind and name of the workload: `Deployment/legacy-client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Some of its addresses.
    pub addresses: Vec<String>,
    /// Its calls.
    pub calls: u64,
    /// Those of its calls that were TLS of the application itself.
    #[serde(skip_serializing_if = "is_zero")]
    pub own_tls_calls: u64,
    /// When its last call was logged, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_seen: String,
}

/// The part of a recorded [`RehearsalReport`] that `--rehearsal` uses.
#[derive(Debug, Deserialize)]
struct RecordedRehearsal {
    namespaces: Vec<RecordedNamespace>,
}

#[derive(Debug, Deserialize)]
struct RecordedNamespace {
    namespace: String,
    results: Vec<RecordedPort>,
}

/// The fields that a document of every version has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedVersion {
    api_version: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct RecordedPort {
    name: String,
    result: RehearsalResult,
    reason: Option<String>,
    callers: Vec<RecordedCaller>,
}

#[derive(Debug, Deserialize)]
struct RecordedCaller {
    name: String,
    calls: u64,
}

/// What a rehearsal saw in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// The namespace of the ports.
    pub namespace: String,
    /// The callers that STRICT would refuse.
    pub callers: Vec<Observed>,
    /// The ports that were not observed throughout, each with the reason.
    pub not_observed: Vec<String>,
}

impl Rehearsed {
    /// Reads the JSON document of a rehearsal: its namespaces. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let version: RecordedVersion = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if version.kind != "RehearsalReport" || version.api_version != API_VERSION {
            return Err(format!("it is not a RehearsalReport of {API_VERSION}"));
        }
        let recorded: RecordedRehearsal = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(recorded.namespaces.into_iter().map(Self::from).collect())
    }
}

impl From<RecordedNamespace> for Rehearsed {
    fn from(RecordedNamespace { namespace, results: ports }: RecordedNamespace) -> Self {
        let caller = |port: &RecordedPort, caller: &RecordedCaller| observed(&port.name, &caller.name, caller.calls);
        let callers = ports.iter().flat_map(|port| port.callers.iter().map(move |one| caller(port, one)));
        let not_observed = ports
            .iter()
            .filter(|port| is_unobserved(port.result, port.reason.as_deref()))
            .map(|port| format!("{}: {}", port.name, port.reason.as_deref().unwrap_or_default()));
        Self { namespace, callers: callers.collect(), not_observed: not_observed.collect() }
    }
}

/// A caller as findings have it.
fn observed(port: &str, caller: &str, calls: u64) -> Observed {
    let (target, _) = port.rsplit_once(':').unwrap_or((port, ""));
    Observed {
        client: caller.to_owned(),
        workload: port.to_owned(),
        service: if target.contains('/') { String::new() } else { target.to_owned() },
        count: Some(calls),
        source: ObservedBy::Rehearsal,
    }
}

fn is_unobserved(result: RehearsalResult, reason: Option<&str>) -> bool {
    result == RehearsalResult::NotObserved || result == RehearsalResult::Callers && reason.is_some()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl RehearsalReport {
    /// The report of a run that has not got far.
    pub fn empty(command: &'static str, namespace: Option<&str>, started_at: String) -> Self {
        Self {
            api_version: API_VERSION,
            kind: "RehearsalReport",
            command,
            cluster: String::new(),
            ended_at: started_at.clone(),
            started_at,
            version: env!("CARGO_PKG_VERSION"),
            seconds: 0,
            exit_code: None,
            error: None,
            namespaces: namespace.map(RehearsedNamespace::empty).into_iter().collect(),
        }
    }

    /// The ports of all namespaces.
    pub fn ports(&self) -> impl Iterator<Item = &RehearsedPortReport> {
        self.namespaces.iter().flat_map(|namespace| &namespace.ports)
    }

    /// The status of the run: 1 if STRICT would refuse somebody, else 3 if a port was not observed or there is none.
    pub fn exit_status(&self) -> ExitStatus {
        // A misspelt namespace must not pass for one without callers.
        let has_ports = self.ports().next().is_some();
        let without_ports = if has_ports { ExitStatus::Success } else { ExitStatus::Inconclusive };
        self.ports().map(RehearsedPortReport::exit_status).fold(without_ports, ExitStatus::and)
    }

    /// The names of all callers, each once, those of the first ports first.
    fn names(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let callers = self.ports().flat_map(|port| &port.callers).map(|caller| caller.name.as_str());
        callers.filter(|name| seen.insert(*name)).collect()
    }

    /// `3 of 7 ports would refuse callers: legacy-client (outside/Deployment), node lab, 203.0.113.7`.
    pub fn summary(&self) -> String {
        let of = |result| self.ports().filter(|port| port.result == result).count();
        let (callers, unseen) =
            (of(RehearsalResult::Callers), self.ports().filter(|port| port.is_unobserved()).count());
        let number = self.ports().count();
        if number == 0 {
            return "no Service of the namespace has a TCP port".to_owned();
        }
        let total = count(number, "port");
        let unobserved = match unseen {
            0 => String::new(),
            1 => "; 1 port was not observed throughout".to_owned(),
            number => format!("; {number} ports were not observed throughout"),
        };
        if callers == 0 {
            let observed = of(RehearsalResult::Nobody);
            return match (observed, unseen) {
                (0, 0) => format!("STRICT would close none of {total}"),
                (0, _) => format!("no port was observed, so that callers of {total} are not known{unobserved}"),
                _ => format!("no plaintext call was seen at {observed} of {total}{unobserved}"),
            };
        }
        let names = self.names();
        let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| line(name).into_owned()).collect();
        let more = names.len().saturating_sub(MAX_NAMES);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{callers} of {total} would refuse callers: {}{more}{unobserved}", shown.join(", "))
    }
}

impl RehearsedNamespace {
    /// A namespace of which nothing is known yet.
    pub fn empty(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), instrument: ACCESS_LOG, ports: Vec::new(), notes: Vec::new() }
    }
}

impl RehearsedPortReport {
    /// The report of a row.
    pub fn new(row: &PortRow) -> Self {
        let result = match row {
            PortRow { callers, .. } if !callers.is_empty() => RehearsalResult::Callers,
            PortRow { not_observed: Some(_), .. } => RehearsalResult::NotObserved,
            PortRow { not_refused: Some(_), .. } => RehearsalResult::NotRefused,
            PortRow { .. } => RehearsalResult::Nobody,
        };
        Self {
            name: row.name.clone(),
            result,
            reason: row.not_observed.clone().or_else(|| row.not_refused.clone()),
            calls: row.total().calls,
            refused_already: row.denied,
            callers: row.callers.iter().map(caller).collect(),
        }
    }

    fn is_unobserved(&self) -> bool {
        is_unobserved(self.result, self.reason.as_deref())
    }

    fn exit_status(&self) -> ExitStatus {
        match self.result {
            RehearsalResult::Callers => ExitStatus::Unexpected,
            RehearsalResult::NotObserved => ExitStatus::Inconclusive,
            RehearsalResult::Nobody | RehearsalResult::NotRefused => ExitStatus::Success,
        }
    }

    /// What the port's row says in one sentence.
    pub fn message(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or_default();
        match self.result {
            RehearsalResult::Callers => {
                let callers: Vec<&str> = self.callers.iter().map(|caller| caller.name.as_str()).collect();
                format!("{} from {} would be refused", count_calls(self.calls), callers.join(", "))
            }
            RehearsalResult::Nobody => "no plaintext call was seen".to_owned(),
            RehearsalResult::NotObserved => format!("not observed: {reason}"),
            RehearsalResult::NotRefused => format!("STRICT changes nothing: {reason}"),
        }
    }
}

/// `2 plaintext calls`.
pub fn count_calls(calls: u64) -> String {
    format!("{calls} plaintext call{}", if calls == 1 { "" } else { "s" })
}

fn caller(row: &CallerRow) -> CallerReport {
    let CallCount { calls, own_tls, last_seen, .. } = row.count;
    let (kind, workload) = match &row.caller {
        Some(Caller::Workload(workload)) => (if workload.gateway { "gateway" } else { "workload" }, Some(workload)),
        Some(Caller::Node(_)) => ("node", None),
        Some(Caller::Address(_)) => ("address", None),
        None => ("unknown", None),
    };
    CallerReport {
        name: row.caller.as_ref().map_or_else(|| "callers without a name".to_owned(), ToString::to_string),
        kind,
        namespace: workload.map(|workload| workload.namespace.clone()),
        workload: workload.map(|CallerWorkload { kind, name, .. }| format!("{kind}/{name}")),
        addresses: row.addresses.iter().map(ToString::to_string).collect(),
        calls,
        own_tls_calls: own_tls,
        last_seen: time(last_seen, "%Y-%m-%dT%H:%M:%SZ"),
    }
}

fn time(microseconds: i64, format: &str) -> String {
    jiff::Timestamp::from_microsecond(microseconds).map_or_else(|_| String::new(), |at| at.strftime(format).to_string())
}

/// The table of all ports, without its head if `no_headers`, and the closing line, for a terminal of this width; in a pipe
/// nothing is shortened.
pub fn text(report: &RehearsalReport, width: Option<usize>, no_headers: bool) -> String {
    let mut text = String::new();
    if report.ports().next().is_some() {
        text = table::without_head(ports_text(report, width), no_headers);
        text.push('\n');
    }
    for note in report.namespaces.iter().flat_map(|namespace| &namespace.notes) {
        let _ = writeln!(text, "{}", wrap(&format!("note: {}", line(note)), width, 0));
    }
    text.push_str(&wrap(&report.summary(), width, 0));
    text.push('\n');
    text
}

/// The table of all ports. Where it does not fit, its reasons follow it, times have no date, and a head is shorter.
fn ports_text(report: &RehearsalReport, width: Option<usize>) -> String {
    let cells = |style| report.ports().flat_map(|port| rows(port, style)).collect::<Vec<Vec<String>>>();
    let (mut head, mut rows) = (["PORT", "PLAINTEXT CALLS", "CALLERS", "LAST SEEN"], cells(RowStyle::Full));
    let is_short = table::is_wider(&head, &rows, width);
    if is_short {
        head[1] = "CALLS";
        rows = cells(RowStyle::Short);
    }
    let paint = |row: usize, column: usize, cell: &str| match (column, rows[row][1].as_str()) {
        (0 | 2, _) if rows[row][1].parse::<u64>().is_ok_and(|calls| calls > 0) => cell.red().to_string(),
        (2, "-") => cell.yellow().to_string(),
        _ => cell.to_owned(),
    };
    let mut text = table::layout(&head, &rows, width, paint);
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for port in report.ports().filter(|_| is_short) {
        if let Some(reason) = &port.reason {
            let label = if port.result == RehearsalResult::NotRefused { NONE_TO_REFUSE } else { NOT_OBSERVED };
            reasons.entry(format!("{label}: {reason}")).or_default().push(&port.name);
        }
    }
    for (reason, ports) in reasons {
        let _ = writeln!(text, "{}", wrap(&line(&format!("{reason} ({})", ports.join(", "))), width, 0));
    }
    text
}

/// `-o name`: `web:8080 callers`.
pub fn names(report: &RehearsalReport) -> String {
    report.ports().fold(String::new(), |mut text, port| {
        let _ = writeln!(text, "{} {}", line(&port.name), port.result.word());
        text
    })
}

/// What the rows of a port have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowStyle {
    /// Reasons, and times with their date.
    Full,
    /// Neither.
    Short,
}

/// The rows of a port: one for each caller, of which the first has the port's name.
fn rows(port: &RehearsedPortReport, style: RowStyle) -> Vec<Vec<String>> {
    let name = line(&port.name).into_owned();
    let is_short = style == RowStyle::Short;
    let with_reason = |label: &str| match port.reason.as_deref().filter(|_| !is_short) {
        Some(reason) => format!("{label}: {}", line(reason)),
        None => label.to_owned(),
    };
    let single = |calls: &str, callers: String| vec![name.clone(), calls.to_owned(), callers, "-".to_owned()];
    match port.result {
        RehearsalResult::Nobody => vec![single("0", "nobody".to_owned())],
        RehearsalResult::NotRefused => vec![single("0", with_reason(NONE_TO_REFUSE))],
        RehearsalResult::NotObserved => vec![single("-", with_reason(NOT_OBSERVED))],
        RehearsalResult::Callers => {
            let callers = port.callers.iter().enumerate().map(|(index, caller)| {
                let name = if index == 0 { name.clone() } else { String::new() };
                let last_seen = caller.last_seen.split_once('T').filter(|_| is_short).map(|(_, time)| time);
                let last_seen = last_seen.unwrap_or(&caller.last_seen).to_owned();
                vec![name, caller.calls.to_string(), described(caller), last_seen]
            });
            let others = || with_reason(&format!("and others, {NOT_OBSERVED}"));
            let incomplete =
                port.reason.is_some().then(|| vec![String::new(), "-".to_owned(), others(), "-".to_owned()]);
            callers.chain(incomplete).collect()
        }
    }
}

fn described(caller: &CallerReport) -> String {
    let own_tls = match caller.own_tls_calls {
        0 => "",
        calls if calls == caller.calls => " with TLS of its own",
        _ => ", in part with TLS of its own",
    };
    format!("{}{own_tls}", line(&caller.name))
}

/// The table while the rehearsal runs, without colours: the ports that STRICT would close.
pub fn live(rows: &[PortRow], remaining: u64) -> String {
    let ports: Vec<&PortRow> = rows.iter().filter(|row| row.not_refused.is_none()).collect();
    let cells = ports.iter().take(MAX_LIVE_PORTS).map(|row| {
        let total = row.total();
        let names: Vec<String> = row.callers.iter().map(|row| caller(row).name).collect();
        let callers = if names.len() > 3 {
            format!("{} and {} more", names[..3].join(", "), names.len() - 3)
        } else {
            names.join(", ")
        };
        let last = if total.calls == 0 { "-".to_owned() } else { time(total.last_seen, "%H:%M:%S") };
        vec![line(&row.name).into_owned(), total.calls.to_string(), line(&callers).into_owned(), last]
    });
    let cells: Vec<Vec<String>> = cells.collect();
    let mut text = format!("rehearsing for {} more\n", duration(remaining));
    text.push_str(&table::layout(&["PORT", "PLAINTEXT CALLS", "CALLERS", "LAST SEEN"], &cells, None, |_, _, cell| {
        cell.to_owned()
    }));
    if ports.len() > MAX_LIVE_PORTS {
        let _ = write!(text, "and {}", count(ports.len() - MAX_LIVE_PORTS, "more port"));
    }
    text.trim_end().to_owned()
}

/// What writing and removing a Telemetry object does to open connections.
pub fn telemetry_effect(effect: TelemetryEffect) -> String {
    let drain = duration(effect.drain.as_secs());
    let concerned = match effect.tcp_ports {
        0 => "every connection that is kept open (HTTP clients open a new one without a lost call)".to_owned(),
        ports => format!("every open connection to {}, mutual TLS included,", count(ports, "TCP port")),
    };
    format!("its creation and its deletion each end {concerned} within the drain time of its pod ({drain})")
}

/// `1h2m`, `10m`, `45s`.
pub fn duration(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let mut text = String::new();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
        let _ = write!(text, "{number}{unit}");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::CallerWorkload;

    fn row(name: &str, callers: &[(Option<Caller>, u64)]) -> PortRow {
        let callers = callers.iter().map(|(caller, calls)| CallerRow {
            caller: caller.clone(),
            addresses: Vec::new(),
            count: CallCount { calls: *calls, last_seen: 1_000_000, ..CallCount::default() },
        });
        PortRow { name: name.into(), not_refused: None, not_observed: None, callers: callers.collect(), denied: 0 }
    }

    fn report(rows: &[PortRow]) -> RehearsalReport {
        let ports = rows.iter().map(RehearsedPortReport::new).collect();
        let namespaces = vec![RehearsedNamespace { ports, ..RehearsedNamespace::empty("shop") }];
        RehearsalReport { namespaces, ..RehearsalReport::empty("rehearse", None, String::new()) }
    }

    #[test]
    fn the_closing_line_names_every_caller_once() {
        let workload = Caller::Workload(CallerWorkload {
            namespace: "outside".into(),
            kind: "Deployment".into(),
            name: "legacy-client".into(),
            gateway: false,
        });
        let node = Caller::Node("lab".into());
        let unobserved = PortRow { not_observed: Some("x".into()), ..row("c:1", &[]) };
        let exempt = PortRow { not_refused: Some("x".into()), ..row("d:1", &[]) };
        let some = [row("a:1", &[(Some(workload.clone()), 2)]), row("b:1", &[(Some(node), 1), (Some(workload), 1)])];
        let rows: [(Vec<PortRow>, &str, ExitStatus); 6] = [
            (
                some.to_vec(),
                "2 of 2 ports would refuse callers: legacy-client (outside/Deployment), node lab",
                ExitStatus::Unexpected,
            ),
            (
                vec![some[0].clone(), unobserved.clone()],
                "1 of 2 ports would refuse callers: legacy-client (outside/Deployment); 1 port was not observed throughout",
                ExitStatus::Unexpected,
            ),
            (vec![row("a:1", &[]), exempt.clone()], "no plaintext call was seen at 1 of 2 ports", ExitStatus::Success),
            (
                vec![row("a:1", &[]), unobserved.clone()],
                "no plaintext call was seen at 1 of 2 ports; 1 port was not observed throughout",
                ExitStatus::Inconclusive,
            ),
            (vec![exempt], "STRICT would close none of 1 port", ExitStatus::Success),
            (
                vec![unobserved],
                "no port was observed, so that callers of 1 port are not known; 1 port was not observed throughout",
                ExitStatus::Inconclusive,
            ),
        ];
        for (rows, expected, status) in rows {
            let report = report(&rows);
            assert_eq!((report.summary().as_str(), report.exit_status()), (expected, status));
        }
    }

    #[test]
    fn a_recorded_rehearsal_is_read_back() {
        let node = Caller::Node("lab".into());
        let unobserved = PortRow { not_observed: Some("no log".into()), ..row("c:1", &[]) };
        let others = row("deployment/a:9", &[(None, 1)]);
        let report = report(&[row("a:1", &[(Some(node), 2)]), unobserved, others]);
        let read = Rehearsed::parse(&serde_json::to_string(&report).unwrap()).unwrap().remove(0);
        assert_eq!((read.namespace.as_str(), read.not_observed.as_slice()), ("shop", &["c:1: no log".to_owned()][..]));
        assert_eq!(read.callers[0], observed("a:1", "node lab", 2));
        assert_eq!((read.callers[0].service.as_str(), read.callers[1].service.as_str()), ("a", ""));
        for (text, expected) in [
            ("", "EOF"),
            ("{}", "missing field"),
            (
                "{\"apiVersion\": \"secure-traffic/v1alpha1\", \"kind\": \"RehearsalReport\", \"namespace\": \"\", \"ports\": []}",
                "not a RehearsalReport",
            ),
        ] {
            let error = Rehearsed::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn durations_are_short() {
        for (seconds, expected) in [(0, "0s"), (45, "45s"), (600, "10m"), (3725, "1h2m5s"), (86_400, "24h")] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn a_table_that_does_not_fit_has_its_reasons_below() {
        let long = |name: &str| PortRow { not_observed: Some("the log of a pod has gaps".into()), ..row(name, &[]) };
        let callers = row("web:1", &[(Some(Caller::Node("lab".into())), 12)]);
        let report = report(&[callers, long("a:1"), long("b:1")]);
        let shown = text(&report, Some(60), false);
        assert_eq!(
            shown,
            "PORT    CALLS   CALLERS        LAST SEEN\n\
             web:1   12      node lab       00:00:01Z\n\
             a:1     -       not observed   -\n\
             b:1     -       not observed   -\n\
             not observed: the log of a pod has gaps (a:1, b:1)\n\
             \n\
             1 of 3 ports would refuse callers: node lab; 2 ports were\n  not observed throughout\n"
        );
        assert!(text(&report, None, false).contains("not observed: the log of a pod has gaps   -\n"));
    }

    #[test]
    fn a_name_from_the_cluster_cannot_control_the_terminal() {
        let hostile = Caller::Node("\u{1b}[31mx\n".into());
        let text = text(&report(&[row("a\u{7}:1", &[(Some(hostile), 1)])]), None, false);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }
}
