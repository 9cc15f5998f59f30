//! Counts the calls that STRICT would refuse, by port and caller, from the access logs of sidecars and ztunnels, for
//! `rehearse`.
//!
//! A port is observed only if the log of each of its endpoints shows the calls that the tool itself sent there at the start
//! and at the end (a [`Calibration`]), and if no part of the log between them is missing. Otherwise nothing is said about
//! its callers beyond those that were seen.

mod ambient;
pub mod instrument;
mod ports;
#[cfg(test)]
mod tests;

use super::access_log::{CallSecurity, InboundCall, LogLine};
use super::caller::{Caller, CallerDirectory};
pub use ambient::AmbientPods;
pub use instrument::{FoundTelemetry, Instrument, TelemetryEffect, WritePermission};
pub use ports::{PodPort, Prospect, RehearsedPort, StrictPreview};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most addresses that are kept apart at one port; further ones are counted together.
const MAX_ADDRESSES: usize = 1000;

/// Most ports of one pod that are kept apart.
const MAX_PORTS: usize = 500;

/// Most names of addresses that a row lists for one caller.
pub const MAX_LISTED_ADDRESSES: usize = 20;

/// Plaintext calls of one caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCount {
    /// All of them that STRICT would refuse: HTTP requests, and TCP connections.
    pub calls: u64,
    /// Further calls, which an `AuthorizationPolicy` refuses already.
    pub denied: u64,
    /// Those of them that were TLS of the application itself.
    pub own_tls: u64,
    /// When the last one was logged, in microseconds since the epoch.
    pub last_seen: i64,
}

impl CallCount {
    fn record(&mut self, call: &InboundCall, at: i64) {
        if call.is_denied {
            self.denied += 1;
            return;
        }
        self.calls += 1;
        self.own_tls += u64::from(call.security == CallSecurity::OwnTls);
        self.last_seen = self.last_seen.max(at);
    }

    /// The calls without this many, which are not those of callers.
    fn without(self, own: u64) -> Self {
        let calls = self.calls.saturating_sub(own);
        Self { calls, own_tls: self.own_tls.min(calls), ..self }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.denied += other.denied;
        self.own_tls += other.own_tls;
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

/// The calls that the tool sent to endpoints from addresses of its own, to see whether the logs show them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calibration {
    pub sources: BTreeSet<IpAddr>,
    /// Each endpoint, with the most calls that arrived there.
    pub endpoints: BTreeMap<PodPort, u64>,
}

/// What the log of one pod's proxy has shown.
#[derive(Debug, Clone, Default)]
struct PodLog {
    ports: BTreeMap<u16, PortLog>,
    /// Why a part of the log may be missing.
    missing: Option<String>,
    /// Whether it has entries of an access log.
    has_calls: bool,
    /// Whether it has entries without the fields that are needed.
    has_unknown_format: bool,
}

/// The calls to one port of one pod.
#[derive(Debug, Clone, Default)]
struct PortLog {
    /// By the caller's address, with who had the address then.
    callers: BTreeMap<IpAddr, (Caller, CallCount)>,
    /// Calls of further addresses, and of a log without addresses.
    others: CallCount,
    /// Whether some entries have no address.
    is_without_address: bool,
    /// The calibrations whose calls were logged.
    calibrated: BTreeSet<usize>,
}

/// A rehearsal in progress.
#[derive(Debug, Clone, Default)]
pub struct Rehearsal {
    ports: Vec<RehearsedPort>,
    /// Every endpoint that a port has had, by the port's name.
    members: BTreeMap<String, BTreeSet<PodPort>>,
    logs: BTreeMap<String, PodLog>,
    /// The pods whose calls a ztunnel logs.
    ambient: BTreeSet<String>,
    /// Plaintext connections that were open at ztunnels at the end.
    open: BTreeMap<PodPort, BTreeMap<Caller, usize>>,
    calibrations: Vec<Calibration>,
    /// Why the logs of sidecars cannot tell who calls, whatever they show.
    unusable: Option<String>,
}

/// A caller of a port, or the calls whose callers are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerRow {
    /// `None` for calls whose callers are not known by name.
    pub caller: Option<Caller>,
    /// Some of its addresses.
    pub addresses: Vec<IpAddr>,
    pub count: CallCount,
}

/// What is known of one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRow {
    /// `boards:8080`; `deployment/boards:9090` for a port without a Service.
    pub name: String,
    /// Why STRICT refuses nothing there that is accepted now; `None` if it does.
    pub not_refused: Option<String>,
    /// Why the port was not observed throughout.
    pub not_observed: Option<String>,
    /// The callers that STRICT would refuse, those with the most calls first.
    pub callers: Vec<CallerRow>,
    /// Plaintext calls that an `AuthorizationPolicy` refused already.
    pub denied: u64,
}

impl PortRow {
    /// The calls of all callers.
    pub fn total(&self) -> CallCount {
        let mut total = CallCount::default();
        self.callers.iter().for_each(|row| total.add(row.count));
        total
    }
}

impl Rehearsal {
    /// Sets the ports as they are now. Endpoints that a port has lost still belong to it.
    pub fn set_ports(&mut self, ports: Vec<RehearsedPort>) {
        for port in ports {
            self.ambient.extend(port.ztunnel_pods().cloned());
            self.members.entry(port.name()).or_default().extend(port.endpoints());
            match self.ports.iter_mut().find(|known| known.name() == port.name()) {
                Some(known) => known.update(port),
                None => self.ports.push(port),
            }
        }
    }

    /// The ports.
    pub fn ports(&self) -> &[RehearsedPort] {
        &self.ports
    }

    /// Whether a ztunnel logs the calls of a pod that STRICT would close.
    pub fn is_ambient(&self, pod: &str) -> bool {
        self.ambient.contains(pod)
    }

    /// The endpoints of a port whose calls a sidecar logs.
    pub fn sidecar_endpoints<'a>(&'a self, port: &'a RehearsedPort) -> impl Iterator<Item = PodPort> {
        port.endpoints().filter(|endpoint| !self.is_ambient(&endpoint.pod))
    }

    /// The ports that STRICT would close.
    fn closing(&self) -> impl Iterator<Item = &RehearsedPort> {
        self.ports.iter().filter(|port| port.prospect == Prospect::Closes)
    }

    /// The endpoints that STRICT would close whose calls a sidecar logs.
    fn closing_sidecars(&self) -> impl Iterator<Item = PodPort> {
        self.closing().flat_map(|port| self.sidecar_endpoints(port))
    }

    /// Whether a sidecar logs the calls of any endpoint that STRICT would close.
    pub fn has_closing_sidecars(&self) -> bool {
        self.closing_sidecars().next().is_some()
    }

    /// Adds a line of the log of a pod's proxy, which was written `at` (microseconds since the epoch).
    pub fn record(&mut self, pod: &str, line: &LogLine, at: i64, directory: &CallerDirectory) {
        if *line == LogLine::NoCall {
            return;
        }
        let log = self.logs.entry(pod.to_owned()).or_default();
        match line {
            LogLine::Inbound(call) => log.record(call, at, directory, &self.calibrations),
            LogLine::UnknownFormat => log.has_unknown_format = true,
            LogLine::OtherCall | LogLine::NoCall => log.has_calls = true,
        }
    }

    /// Records that a part of the log of a pod may be missing. The first reason is kept.
    pub fn mark_incomplete(&mut self, pod: &str, reason: &str) {
        self.logs.entry(pod.to_owned()).or_default().missing.get_or_insert_with(|| reason.to_owned());
    }

    /// Records that the logs of sidecars cannot tell who calls, whatever they show.
    pub fn mark_unusable(&mut self, reason: String) {
        self.unusable = Some(reason);
    }

    /// Sets the plaintext connections that are open at ztunnels at the end, each with who holds it. They are logged only
    /// when they end.
    pub fn set_open(&mut self, open: impl IntoIterator<Item = (PodPort, Caller)>) {
        self.open.clear();
        for (endpoint, caller) in open {
            *self.open.entry(endpoint).or_default().entry(caller).or_default() += 1;
        }
    }

    /// The plaintext connections that are open at the end at a port, by who holds them.
    pub fn open(&self, port: &str) -> BTreeMap<Caller, usize> {
        let mut open = BTreeMap::new();
        let members = self.members.get(port).into_iter().flatten();
        for (caller, number) in members.filter_map(|endpoint| self.open.get(endpoint)).flatten() {
            *open.entry(caller.clone()).or_default() += number;
        }
        open
    }

    /// Whether the logs may tell who calls at any port.
    pub fn is_usable(&self) -> bool {
        self.unusable.is_none()
            || self.closing().flat_map(RehearsedPort::endpoints).any(|endpoint| self.is_ambient(&endpoint.pod))
    }

    /// Whether a log has entries in a format that cannot be read.
    pub fn has_unknown_format(&self) -> bool {
        self.logs.values().any(|log| log.has_unknown_format)
    }

    /// Whether a part of the log may be missing at every endpoint with a sidecar that STRICT would close.
    pub fn are_all_logs_incomplete(&self) -> bool {
        let is_incomplete = |pod: &str| self.logs.get(pod).is_some_and(|log| log.missing.is_some());
        self.closing_sidecars().all(|endpoint| is_incomplete(&endpoint.pod))
    }

    /// Begins anew with what the logs show from now on. The calls of the tool itself are still left out.
    pub fn restart(&mut self) {
        self.unusable = None;
        self.calibrations.iter_mut().for_each(|calibration| calibration.endpoints.clear());
        for log in self.logs.values_mut() {
            (log.has_calls, log.has_unknown_format) = (false, false);
        }
    }

    /// Adds a calibration. Calls from its addresses are its own, those included that were logged before.
    pub fn add_calibration(&mut self, calibration: Calibration) {
        let index = self.calibrations.len();
        for port in self.logs.values_mut().flat_map(|log| log.ports.values_mut()) {
            for source in &calibration.sources {
                if port.callers.remove(source).is_some() {
                    port.calibrated.insert(index);
                }
            }
        }
        self.calibrations.push(calibration);
    }

    /// Whether the logs show every call of every calibration.
    pub fn is_calibrated(&self) -> bool {
        let mut expected = self.calibrations.iter().enumerate();
        expected.all(|(index, calibration)| calibration.endpoints.keys().all(|endpoint| self.shows(index, endpoint)))
    }

    /// Whether the logs show a call of a calibration at any endpoint, or calls without addresses, among which it is.
    pub fn is_any_endpoint_calibrated(&self) -> bool {
        self.is_any_calibrated(|_| true)
    }

    /// Whether the sidecars write an access log, if any has an endpoint that STRICT would close: otherwise an access log has
    /// to be switched on for them.
    pub fn do_sidecars_log(&self) -> bool {
        let usable = self.unusable.is_none() && self.is_any_calibrated(|pod| !self.is_ambient(pod));
        usable || !self.has_closing_sidecars()
    }

    fn is_any_calibrated(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        let counts = |index: &usize| !self.calibrations[*index].endpoints.is_empty();
        let mut logs = self.logs.iter().filter(|(pod, _)| is_wanted(pod)).flat_map(|(_, log)| log.ports.values());
        logs.any(|log| log.calibrated.iter().any(counts) || log.is_without_address)
    }

    fn shows(&self, calibration: usize, endpoint: &PodPort) -> bool {
        let log = self.logs.get(&endpoint.pod).and_then(|log| log.ports.get(&endpoint.port));
        log.is_some_and(|log| log.calibrated.contains(&calibration))
    }

    /// What is known of each port: those of Services, then other ports that `preview` says would be closed, where calls
    /// were seen.
    pub fn rows(&self, directory: &CallerDirectory, preview: &StrictPreview) -> Vec<PortRow> {
        let mut rows: Vec<PortRow> = self.ports.iter().map(|port| self.row(port, directory)).collect();
        let members: BTreeSet<&PodPort> = self.members.values().flatten().collect();
        let mut others: BTreeMap<String, BTreeSet<PodPort>> = BTreeMap::new();
        for (pod, log) in &self.logs {
            for port in log.ports.iter().filter(|(_, log)| log.has_callers()).map(|(port, _)| *port) {
                let endpoint = PodPort { pod: pod.clone(), port };
                if let Some(name) = preview.port_without_service(&endpoint).filter(|_| !members.contains(&endpoint)) {
                    others.entry(name).or_default().insert(endpoint);
                }
            }
        }
        rows.extend(others.into_iter().map(|(name, endpoints)| PortRow {
            name,
            not_refused: None,
            not_observed: None,
            callers: self.callers(&endpoints, directory),
            denied: self.denied(&endpoints),
        }));
        rows
    }

    fn row(&self, port: &RehearsedPort, directory: &CallerDirectory) -> PortRow {
        let name = port.name();
        let members = &self.members[&name];
        let mut row = PortRow { not_refused: None, not_observed: None, callers: Vec::new(), denied: 0, name };
        match &port.prospect {
            Prospect::Unchanged(reason) => row.not_refused = Some(reason.clone()),
            Prospect::Unobservable(reason) => {
                row.not_observed = Some(reason.clone());
                row.callers = self.callers(members, directory);
                row.denied = self.denied(members);
            }
            Prospect::Closes => {
                let has_sidecar = members.iter().any(|endpoint| !self.is_ambient(&endpoint.pod));
                let unusable = self.unusable.clone().filter(|_| has_sidecar);
                row.not_observed = unusable.or_else(|| self.reason_not_observed(members));
                row.callers = self.callers(members, directory);
                row.denied = self.denied(members);
                // They are callers, though their number is not known.
                if row.callers.is_empty() && row.not_observed.is_none() {
                    row.not_observed = self.reason_still_open(&row.name);
                }
            }
        }
        row
    }

    /// Why the calls to these endpoints are not all known.
    fn reason_not_observed(&self, endpoints: &BTreeSet<PodPort>) -> Option<String> {
        let missing = |endpoint: &PodPort| {
            let reason = self.logs.get(&endpoint.pod)?.missing.as_ref()?;
            let log = if self.is_ambient(&endpoint.pod) { "log of the ztunnel of" } else { "log of" };
            Some(format!("a part of the {log} {} may be missing: {reason}", endpoint.pod))
        };
        let without_address = |endpoint: &PodPort| {
            let log = self.logs.get(&endpoint.pod)?.ports.get(&endpoint.port)?;
            let reason = "has no remote address: callers are counted, without those of this tool, and not named";
            log.is_without_address.then(|| format!("the access log of {} {reason}", endpoint.pod))
        };
        let expected = self.calibrations.iter().enumerate().flat_map(|(index, calibration)| {
            calibration.endpoints.keys().filter(|one| endpoints.contains(one)).map(move |endpoint| (index, endpoint))
        });
        let sent = self.calibrations.iter().filter(|calibration| !calibration.endpoints.is_empty()).count();
        let not_shown = || expected.clone().find(|(index, endpoint)| !self.shows(*index, endpoint));
        endpoints
            .iter()
            .find_map(missing)
            .or_else(|| endpoints.iter().find_map(without_address))
            .or_else(|| not_shown().map(|(_, endpoint)| self.reason_not_shown(endpoint)))
            .or_else(|| (sent < 2).then(|| "the call at the end was not sent".to_owned()))
    }

    /// Why a port without callers in the log is not without callers.
    fn reason_still_open(&self, port: &str) -> Option<String> {
        let open = self.open(port);
        let number: usize = open.values().sum();
        let holders: Vec<String> = open.keys().map(ToString::to_string).collect();
        (number > 0).then(|| {
            let connections = if number == 1 { "connection is" } else { "connections are" };
            format!("{number} plaintext {connections} still open, and logged only at the end: {}", holders.join(", "))
        })
    }

    fn reason_not_shown(&self, PodPort { pod, port }: &PodPort) -> String {
        match self.logs.get(pod) {
            _ if self.is_ambient(pod) => {
                format!("the log of the ztunnel of {pod} does not show both calls of this tool to port {port}")
            }
            Some(log) if log.has_unknown_format => {
                format!("the access log of {pod} has a format without the fields that are needed")
            }
            Some(log) if log.has_calls => {
                format!("the access log of {pod} does not show both calls of this tool to port {port}")
            }
            _ => format!("the sidecar of {pod} writes no access log"),
        }
    }

    /// The logs of these endpoints.
    fn logs_of<'a>(
        &'a self,
        endpoints: &'a BTreeSet<PodPort>,
    ) -> impl Iterator<Item = (&'a PodPort, &'a PortLog)> + use<'a> {
        endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint, self.logs.get(&endpoint.pod)?.ports.get(&endpoint.port)?)))
    }

    /// The most calls of this tool that an endpoint has had.
    fn own_calls(&self, endpoint: &PodPort) -> u64 {
        self.calibrations.iter().filter_map(|calibration| calibration.endpoints.get(endpoint)).sum()
    }

    /// The calls to these endpoints that an `AuthorizationPolicy` refused.
    fn denied(&self, endpoints: &BTreeSet<PodPort>) -> u64 {
        let of = |log: &PortLog| log.others.denied + log.callers.values().map(|(_, count)| count.denied).sum::<u64>();
        self.logs_of(endpoints).map(|(_, log)| of(log)).sum()
    }

    /// The callers of these endpoints. Addresses that had no name when they were logged are resolved again.
    fn callers(&self, endpoints: &BTreeSet<PodPort>, directory: &CallerDirectory) -> Vec<CallerRow> {
        let mut by_caller: BTreeMap<Option<Caller>, (BTreeSet<IpAddr>, CallCount)> = BTreeMap::new();
        for (endpoint, log) in self.logs_of(endpoints) {
            for (address, (caller, count)) in log.callers.iter().filter(|(_, (_, count))| count.calls > 0) {
                let caller = match caller {
                    Caller::Workload(_) => caller.clone(),
                    Caller::Node(_) | Caller::Address(_) => directory.resolve(*address),
                };
                let entry = by_caller.entry(Some(caller)).or_default();
                entry.0.insert(*address);
                entry.1.add(*count);
            }
            let others = log.others.without(if log.is_without_address { self.own_calls(endpoint) } else { 0 });
            if others.calls > 0 {
                by_caller.entry(None).or_default().1.add(others);
            }
        }
        let row = |(caller, (addresses, count)): (_, (BTreeSet<IpAddr>, _))| CallerRow {
            caller,
            addresses: addresses.into_iter().take(MAX_LISTED_ADDRESSES).collect(),
            count,
        };
        let mut rows: Vec<CallerRow> = by_caller.into_iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count.calls));
        rows
    }
}

impl PodLog {
    fn record(&mut self, call: &InboundCall, at: i64, directory: &CallerDirectory, calibrations: &[Calibration]) {
        self.has_calls = true;
        if call.security == CallSecurity::MutualTls {
            return;
        }
        if !self.ports.contains_key(&call.port) && self.ports.len() >= MAX_PORTS {
            self.missing.get_or_insert_with(|| format!("calls arrived at more than {MAX_PORTS} ports"));
            return;
        }
        let log = self.ports.entry(call.port).or_default();
        let Some(address) = call.remote else {
            log.is_without_address = true;
            return log.others.record(call, at);
        };
        if let Some(index) = calibrations.iter().rposition(|calibration| calibration.sources.contains(&address)) {
            log.calibrated.insert(index);
            return;
        }
        let is_known = log.callers.contains_key(&address);
        if !is_known && log.callers.len() >= MAX_ADDRESSES {
            return log.others.record(call, at);
        }
        let entry = log.callers.entry(address).or_insert_with(|| (directory.resolve(address), CallCount::default()));
        entry.1.record(call, at);
    }
}

impl PortLog {
    fn has_callers(&self) -> bool {
        self.others.calls > 0 || self.callers.values().any(|(_, count)| count.calls > 0)
    }
}
