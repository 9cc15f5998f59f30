//! Follows the logs of sidecars and ztunnels, and the pods of the cluster, during other work, and passes what they show to
//! the rehearsal.

use crate::cluster::callers::{self, WatchScope, WatchedPod};
use crate::cluster::connect::Cluster;
use crate::cluster::discover::ApiVersions;
use crate::cluster::error::ClusterError;
use crate::cluster::proxy_log::{self, Beginning, LogEvent, LogEvents, LogSource};
use crate::cluster::snapshot;
use crate::cluster::telemetry;
use crate::commands::Context;
use crate::curl_pod::ztunnel_connections;
use crate::domain::access_log::LogLine;
use crate::domain::caller::{Caller, CallerDirectory};
use crate::domain::inbound::InboundPath;
use crate::domain::mesh::{DataPlane, Snapshot};
use crate::domain::probe::{EndpointCase, TargetError};
use crate::domain::rehearsal::{
    AmbientPods, FoundTelemetry, Instrument, PodPort, PortRow, Prospect, Rehearsal, RehearsedPort, StrictPreview,
};
use crate::domain::rule::DestinationRule;
use crate::error;
use crate::istio::kinds::OptionalKind;
use crate::istio::{access_log, ztunnel};
use crate::report::rehearsal as report;
use crate::settings::RehearsalSettings;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Lines and pods that wait to be read. A full queue delays their readers.
const QUEUE: usize = 4096;

/// Most logs that are followed at the same time: each needs a connection.
const MAX_LOGS: usize = 500;

/// Why a log is not followed.
const TOO_MANY_LOGS: &str = "more than 500 logs are not followed";

/// Time for all logs to be opened.
const OPENING: Duration = Duration::from_secs(30);

/// Time that a call takes to its line in the log: Envoy writes its access log every ten seconds.
const LOG_DELAY: Duration = Duration::from_secs(20);

/// Pause between two looks at whether a line has arrived.
const PAUSE: Duration = Duration::from_millis(200);

/// Pause between two drawings of the live table.
const REDRAW: Duration = Duration::from_secs(1);

/// Pause between two reads of the namespace.
const POLL: Duration = Duration::from_secs(10);

/// What is known of a followed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    Opening,
    Open,
    /// Its part of the rehearsal is over.
    Closed,
}

/// The rehearsal with its sources.
pub(super) struct Observer<'a> {
    pub(super) context: &'a Context,
    pub(super) settings: &'a RehearsalSettings,
    pub(super) cluster: &'a Cluster,
    pub(super) api_versions: ApiVersions,
    pub(super) rehearsal: Rehearsal,
    pub(super) directory: CallerDirectory,
    /// The pods whose names are known; `None` before the logs are followed.
    pub(super) scope: Option<WatchScope>,
    /// Whether the nodes could be listed.
    pub(super) knows_nodes: bool,
    /// Whether the rules of all namespaces could be listed.
    pub(super) knows_all_rules: bool,
    /// The Telemetry objects of the namespace and of the mesh; `None` where they may not be listed.
    pub(super) telemetries: Option<Vec<FoundTelemetry>>,
    /// What the calls are read from.
    pub(super) instrument: Instrument,
    /// Why no Telemetry object was written, where the access log that exists is not usable.
    pub(super) not_written: Option<String>,
    /// Why the connections that some ztunnels hold are not known.
    pub(super) unknown_connections: BTreeSet<String>,
    preview: StrictPreview,
    /// The rules of the namespaces that could be read.
    rules: Vec<DestinationRule>,
    /// The pods that were there at the start, whose earlier lines do not count.
    at_start: BTreeSet<String>,
    logs: BTreeMap<LogSource, Followed>,
    /// The pods of the namespace without a sidecar.
    ambient: AmbientPods,
    /// Whether the logs of the start are open.
    has_started: bool,
    failure: Option<ClusterError>,
    log_events: (LogEvents, Receiver<(LogSource, LogEvent)>),
    pod_events: (Sender<WatchedPod>, Receiver<WatchedPod>),
    tasks: JoinSet<()>,
}

impl<'a> Observer<'a> {
    pub(super) fn new(
        context: &'a Context,
        settings: &'a RehearsalSettings,
        cluster: &'a Cluster,
        api_versions: ApiVersions,
        preview: StrictPreview,
        all_rules: Option<Vec<DestinationRule>>,
    ) -> Self {
        let readable = || [preview.snapshot().rules.clone(), preview.snapshot().root_rules.clone()].concat();
        Self {
            context,
            settings,
            cluster,
            api_versions,
            rehearsal: Rehearsal::default(),
            directory: CallerDirectory::default(),
            scope: None,
            knows_nodes: false,
            telemetries: None,
            instrument: Instrument::AccessLog,
            not_written: None,
            unknown_connections: BTreeSet::new(),
            knows_all_rules: all_rules.is_some(),
            rules: all_rules.unwrap_or_else(readable),
            at_start: preview.snapshot().pods.keys().cloned().collect(),
            preview,
            logs: BTreeMap::new(),
            ambient: AmbientPods::default(),
            has_started: false,
            failure: None,
            log_events: mpsc::channel(QUEUE),
            pod_events: mpsc::channel(QUEUE),
            tasks: JoinSet::new(),
        }
    }

    /// The namespace as it was read last.
    pub(super) fn snapshot(&self) -> &Snapshot {
        self.preview.snapshot()
    }

    /// Sets the ports of the Services of the run, or of all Services, in the namespace as it was read last.
    pub(super) fn set_ports(&mut self) -> Result<(), TargetError> {
        self.rehearsal.set_ports(self.ports(&self.preview)?);
        Ok(())
    }

    /// The ports of a preview. Where only plaintext calls are logged, their requested name does not matter.
    fn ports(&self, preview: &StrictPreview) -> Result<Vec<RehearsedPort>, TargetError> {
        let rules: &[DestinationRule] = match self.instrument {
            Instrument::AccessLog => &self.rules,
            Instrument::Telemetry => &[],
        };
        preview.ports(&self.settings.services, rules)
    }

    /// Reads the Telemetry objects. A log without some calls may have those of this tool and not those of others.
    pub(super) async fn read_telemetries(&mut self) -> error::Result<()> {
        let resource = self.api_versions.optional.resource(OptionalKind::Telemetries);
        let (context, cluster) = (self.context, self.cluster);
        let root = self.snapshot().mesh.root_namespace.clone();
        let telemetries = self.during(telemetry::telemetries(cluster, resource, &root));
        self.telemetries = context.read(telemetries).await?;
        if let Some(found) = self.telemetries.iter().flatten().find(|found| found.has_filter) {
            self.rehearsal.mark_unusable(format!("{} filters the access log", found.name));
        }
        Ok(())
    }

    /// The number of ports that STRICT would close.
    pub(super) fn closing(&self) -> usize {
        self.rehearsal.ports().iter().filter(|port| port.prospect == Prospect::Closes).count()
    }

    /// What is known of each port.
    pub(super) fn rows(&self) -> Vec<PortRow> {
        self.rehearsal.rows(&self.directory, &self.preview)
    }

    /// Starts to watch the pods and to follow the logs of their sidecars. Returns when every endpoint's log is open, or
    /// after [`OPENING`].
    pub(super) async fn follow_logs(&mut self) -> error::Result<()> {
        let scope = self.context.read(callers::watch_scope(self.cluster)).await?;
        self.scope = Some(scope);
        if let Some(nodes) = self.context.read(callers::nodes(self.cluster)).await? {
            self.knows_nodes = true;
            self.directory.set_nodes(nodes);
        }
        self.tasks.spawn(callers::watch(self.cluster.clone(), scope, self.pod_events.0.clone()));
        let start = Instant::now();
        while !self.closed_logs().is_empty() && start.elapsed() < OPENING {
            self.wait(PAUSE).await?;
        }
        for pod in self.closed_logs() {
            self.rehearsal.mark_incomplete(&pod, "it could not be opened within 30 s");
        }
        self.has_started = true;
        Ok(())
    }

    /// The pods behind ports that STRICT would close whose logs are not open yet.
    fn closed_logs(&self) -> BTreeSet<String> {
        let closing = self.rehearsal.ports().iter().filter(|port| port.prospect == Prospect::Closes);
        let pods = closing.flat_map(RehearsedPort::endpoints).map(|endpoint| endpoint.pod);
        let is_open = |pod: &String| {
            let source = if self.rehearsal.is_ambient(pod) {
                self.ambient.node_of(pod).map(|node| LogSource::Ztunnel(node.to_owned()))
            } else {
                Some(LogSource::Sidecar(pod.clone()))
            };
            source.and_then(|source| self.logs.get(&source)).is_some_and(|log| *log != Followed::Opening)
        };
        pods.filter(|pod| !is_open(pod)).collect()
    }

    /// Waits until the logs show all calls of the calibrations, at most for [`LOG_DELAY`].
    pub(super) async fn until_calibrated(&mut self) -> error::Result<()> {
        let start = Instant::now();
        while !self.rehearsal.is_calibrated() && start.elapsed() < LOG_DELAY {
            self.wait(PAUSE).await?;
        }
        Ok(())
    }

    /// Observes the ports for this time, which `--timeout` does not count, and shows the live table.
    pub(super) async fn observe(&mut self, duration: Duration) -> error::Result<()> {
        let _paused = self.context.shutdown.pause_limit();
        let end = Instant::now() + duration;
        let mut poll_at = Instant::now() + POLL;
        self.context.progress.begin("rehearsing", None);
        let observed = async {
            while Instant::now() < end {
                let remaining = end - Instant::now();
                self.context.progress.update(&report::live(&self.rows(), remaining.as_secs()));
                self.wait(REDRAW.min(remaining)).await?;
                if Instant::now() >= poll_at {
                    self.read_ports().await?;
                    poll_at = Instant::now() + POLL;
                }
            }
            // The endpoints that the last calls go to.
            self.read_ports().await
        }
        .await;
        self.context.progress.end();
        observed
    }

    /// Goes on reading the logs until the connections that are open end after the drain time, and are logged. `--timeout`
    /// does not count this.
    pub(super) async fn follow_ending(&mut self, drain: Duration) -> error::Result<()> {
        let _paused = self.context.shutdown.pause_limit();
        let end = Instant::now() + drain + LOG_DELAY;
        self.context.progress.begin("waiting for open connections to end", None);
        let mut followed = Ok(());
        while followed.is_ok() && Instant::now() < end {
            followed = self.wait(REDRAW).await;
        }
        self.context.progress.end();
        followed
    }

    /// Reads the namespace again. An API server that does not answer for a moment does not end a long rehearsal.
    async fn read_ports(&mut self) -> error::Result<()> {
        let (context, cluster, api_versions) = (self.context, self.cluster, self.api_versions);
        let state = self.during(snapshot::read(cluster, api_versions, &context.settings.mesh));
        let Ok(state) = context.shutdown.race(state).await? else { return Ok(()) };
        let Ok(preview) = StrictPreview::new(state.snapshot, &self.settings.request) else { return Ok(()) };
        // A Service that was deleted meanwhile keeps its last state.
        if let Ok(ports) = self.ports(&preview) {
            self.rehearsal.set_ports(ports);
            self.preview = preview;
            self.follow_ztunnels();
        }
        Ok(())
    }

    /// Reads which plaintext connections the ztunnels hold at the ports that STRICT would close.
    pub(super) async fn read_open_connections(&mut self) -> error::Result<()> {
        let closing = self.rehearsal.ports().iter().filter(|port| port.prospect == Prospect::Closes);
        let endpoints = closing.flat_map(|port| &port.case.endpoints);
        let endpoints: Vec<_> = endpoints.filter(|endpoint| endpoint.path == InboundPath::Ztunnel).cloned().collect();
        if endpoints.is_empty() {
            return Ok(());
        }
        let (context, cluster) = (self.context, self.cluster);
        let mesh = self.snapshot().mesh.clone();
        let endpoints: Vec<&EndpointCase> = endpoints.iter().collect();
        let held = self.during(ztunnel_connections::held(cluster, &mesh, &endpoints));
        let held = context.shutdown.race(held).await?;
        self.unknown_connections = held.unknown;
        let open = held.connections.iter().filter_map(|connection| {
            let pod = self.ambient.at(connection.destination.ip())?.to_owned();
            let named = self.directory.resolve(connection.source.ip());
            let caller = if matches!(named, Caller::Address(_)) { connection.caller() } else { named };
            Some((PodPort { pod, port: connection.destination.port() }, caller))
        });
        self.rehearsal.set_open(open.collect::<Vec<_>>());
        Ok(())
    }

    /// Waits, and takes in what the sources send. An error where the logs may not be read.
    pub(super) async fn wait(&mut self, pause: Duration) -> error::Result<()> {
        self.context.shutdown.race(self.during(tokio::time::sleep(pause))).await?;
        match self.failure.take() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// Runs `work`, and takes in what the sources send meanwhile.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                value = &mut work => return value,
                Some(pod) = self.pod_events.1.recv() => self.record_pod(&pod),
                Some((source, event)) = self.log_events.1.recv() => self.record_log(source, event),
            }
        }
    }

    fn record_pod(&mut self, pod: &WatchedPod) {
        if let Some(caller) = &pod.caller {
            self.directory.add(caller);
        }
        if pod.namespace != self.cluster.namespace || !self.is_wanted(pod) {
            return;
        }
        if !pod.has_proxy {
            return self.record_without_proxy(pod);
        }
        let source = LogSource::Sidecar(pod.name.clone());
        if !pod.has_running_sidecar || self.logs.contains_key(&source) {
            return;
        }
        if self.logs.len() >= MAX_LOGS {
            self.logs.insert(source, Followed::Closed);
            return self.rehearsal.mark_incomplete(&pod.name, TOO_MANY_LOGS);
        }
        let beginning = if self.at_start.contains(&pod.name) { Beginning::Now } else { Beginning::First };
        self.logs.insert(source, Followed::Opening);
        let (cluster, events) = (self.cluster.clone(), self.log_events.0.clone());
        self.tasks.spawn(proxy_log::follow_sidecar(cluster, pod.name.clone(), beginning, events));
    }

    fn record_without_proxy(&mut self, pod: &WatchedPod) {
        let Some(node) = &pod.node else { return };
        let addresses = pod.caller.as_ref().map(|caller| caller.addresses.as_slice()).unwrap_or_default();
        if let Some(reason) = self.ambient.add(&pod.name, node, addresses) {
            self.rehearsal.mark_incomplete(&pod.name, reason);
        }
        self.follow_ztunnels();
    }

    /// Follows the logs of the ztunnels of nodes with pods of the namespace, if it has pods in ambient mode. What a pod logged
    /// before is missing.
    fn follow_ztunnels(&mut self) {
        if !self.snapshot().pods.values().any(|pod| pod.data_plane == DataPlane::Ambient) {
            return;
        }
        let nodes = self.ambient.nodes().into_iter().map(str::to_owned);
        for node in nodes.collect::<Vec<_>>() {
            let source = LogSource::Ztunnel(node.clone());
            if self.logs.contains_key(&source) {
                continue;
            }
            if self.logs.len() >= MAX_LOGS {
                self.logs.insert(source, Followed::Closed);
                self.mark_node_incomplete(&node, TOO_MANY_LOGS);
                continue;
            }
            if self.has_started {
                for pod in self.ambient.reachable_on(&node) {
                    self.rehearsal.mark_incomplete(pod, "it was not followed yet when the pod started");
                }
            }
            self.logs.insert(source, Followed::Opening);
            let (cluster, events) = (self.cluster.clone(), self.log_events.0.clone());
            self.tasks.spawn(proxy_log::follow_ztunnel(cluster, self.snapshot().mesh.clone(), node, events));
        }
    }

    fn mark_node_incomplete(&mut self, node: &str, reason: &str) {
        for pod in self.ambient.mark_missing(node, reason) {
            // A pod without a proxy of its own has no other log.
            self.rehearsal.mark_incomplete(&pod, reason);
        }
    }

    /// Whether a pod belongs to the Services of the run.
    fn is_wanted(&self, pod: &WatchedPod) -> bool {
        let services = &self.settings.services;
        let is_selected = || {
            let named = services.iter().filter_map(|name| self.snapshot().service(name));
            named.into_iter().any(|service| service.selects(&pod.labels))
        };
        let is_endpoint = || {
            self.rehearsal.ports().iter().flat_map(RehearsedPort::endpoints).any(|endpoint| endpoint.pod == pod.name)
        };
        services.is_empty() || is_selected() || is_endpoint()
    }

    fn record_log(&mut self, source: LogSource, event: LogEvent) {
        match source {
            LogSource::Sidecar(pod) => self.record_sidecar(pod, event),
            LogSource::Ztunnel(node) => self.record_ztunnel(node, event),
        }
    }

    fn record_sidecar(&mut self, pod: String, event: LogEvent) {
        match event {
            LogEvent::Opened => {
                self.logs.insert(LogSource::Sidecar(pod), Followed::Open);
            }
            LogEvent::Line { at, line } => self.rehearsal.record(&pod, &access_log::line(&line), at, &self.directory),
            LogEvent::Incomplete { reason } => {
                self.rehearsal.mark_incomplete(&pod, &reason);
                self.logs.insert(LogSource::Sidecar(pod), Followed::Closed);
            }
            LogEvent::Failed { error } => {
                self.logs.insert(LogSource::Sidecar(pod), Followed::Closed);
                self.failure = Some(error);
            }
            // Another pod may get its name, and is followed from its first line.
            LogEvent::Ended => {
                self.at_start.remove(&pod);
                self.logs.remove(&LogSource::Sidecar(pod));
            }
        }
    }

    fn record_ztunnel(&mut self, node: String, event: LogEvent) {
        match event {
            LogEvent::Opened => {
                self.logs.insert(LogSource::Ztunnel(node), Followed::Open);
            }
            LogEvent::Line { at, line } => {
                let Some((address, call)) = ztunnel::inbound_call(&line) else { return };
                let Some(pod) = self.ambient.at(address) else { return };
                self.rehearsal.record(pod, &LogLine::Inbound(call), at, &self.directory);
            }
            LogEvent::Incomplete { reason } => self.close_ztunnel(node, &reason),
            // The ports of sidecars can be observed all the same.
            LogEvent::Failed { error } => {
                self.close_ztunnel(node, &format!("{error} (`secure-traffic rbac rehearse --ambient`)"));
            }
            LogEvent::Ended => self.close_ztunnel(node, "that ztunnel ended"),
        }
    }

    fn close_ztunnel(&mut self, node: String, reason: &str) {
        self.mark_node_incomplete(&node, reason);
        self.logs.insert(LogSource::Ztunnel(node), Followed::Closed);
    }
}
