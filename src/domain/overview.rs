//! Computes, for every port of a namespace, the mode, the policies that decide it, and what each kind of client sends
//! there, for `status` and the findings.
//!
//! The cost is linear in the number of objects: policies and rules are indexed once, and every pod and port is computed
//! once for each kind of caller.

mod callers;

use super::ambient::{self, Plaintext};
use super::client_tls::{CallOutcome, Server, WireProtocol};
use super::effective::{AppliedPolicy, Effective, PolicyIndex, legacy_server_mode};
use super::inbound::InboundPath;
use super::mesh::{DataPlane, Endpoint, MtlsMode, Pod, Service, ServiceKind, ServicePort};
use super::namespace_context::NamespaceContext;
use super::selector::labels_text;
use callers::Callers;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// The ports of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// TCP ports of Services, in the order of the Services.
    pub ports: Vec<PortView>,
    /// Workloads that no TCP port of a Service leads to.
    pub others: Vec<WorkloadPort>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    pub service: String,
    pub kind: ServiceKind,
    pub port: ServicePort,
    /// One entry for each workload, target port and mode.
    pub workload_ports: Vec<WorkloadPort>,
    /// One entry for each kind of caller, and for each subset that a route names.
    pub callers: Vec<CallerView>,
}

/// Pods of one workload with the same mode at one target port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadPort {
    /// `deployment/web`; `pod/web-0` for a pod without a controller; an address if no pod is known.
    pub workload: String,
    /// The target port; `None` for every port of a workload without a Service.
    pub target_port: Option<u16>,
    pub data_plane: DataPlane,
    /// What accepts connections at the port.
    pub server: Server,
    /// What takes connections first.
    pub path: InboundPath,
    /// The mode that the policies ask for, enforced or not.
    pub wanted: Option<MtlsMode>,
    /// The policies that lead to that mode, the widest first.
    pub chain: Vec<AppliedPolicy>,
    /// Whether the ztunnel accepts plaintext; `None` for pods that are not ambient.
    pub ambient: Option<Plaintext>,
    /// Names of the pods, or addresses.
    pub pods: Vec<String>,
    /// Number of the pods that are ready.
    pub ready: usize,
}

/// Clients that the same rules apply to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// Workloads of the namespace with a sidecar.
    Own,
    /// Workloads of the namespace that a rule selects by these labels.
    Selected(BTreeMap<String, String>),
    /// Ambient workloads of the namespace.
    OwnAmbient,
    /// Gateways in the root namespace.
    Gateway,
    /// Workloads of a namespace that has its own rules for Services of this one.
    Namespace(String),
    /// Workloads of all other namespaces.
    Elsewhere,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("this namespace"),
            Self::Selected(labels) => f.write_str(&labels_text(labels)),
            Self::OwnAmbient => f.write_str("ambient"),
            Self::Gateway => f.write_str("gateways"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
            Self::Elsewhere => f.write_str("other namespaces"),
        }
    }
}

/// What one kind of caller sends to a port, and the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerView {
    pub caller: Caller,
    /// The subset that a route names; `None` for calls without one.
    pub subset: Option<String>,
    /// The rules in force, as `namespace/name`; empty if only auto mTLS applies.
    pub rules: Vec<String>,
    /// Whether a rule decides what is sent; otherwise auto mTLS does.
    pub explicit: bool,
    /// By workload.
    pub sends: BTreeMap<String, BTreeSet<WireProtocol>>,
    /// The worst result over all endpoints.
    pub outcome: CallOutcome,
    /// The combinations that fail.
    pub breaks: BTreeSet<Break>,
}

impl CallerView {
    /// What is sent to one workload, and whether that fails.
    pub fn to(&self, workload: &str) -> (BTreeSet<WireProtocol>, bool) {
        let sends = self.sends.get(workload).cloned().unwrap_or_default();
        (sends, self.breaks.iter().any(|broken| broken.workload == workload))
    }
}

/// What a caller sends and what the server accepts, where that fails.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    pub sends: WireProtocol,
    pub server: Server,
    pub workload: String,
    /// Whether the pod's label says that it accepts mutual TLS.
    pub has_tls_label: bool,
}

/// Computes the overview of a namespace.
pub fn overview(context: &NamespaceContext) -> Overview {
    let snapshot = &context.snapshot;
    let index = PolicyIndex::new(&snapshot.policies);
    let callers = Callers::new(context, &index);
    let unknown_pod = unknown_pod(&snapshot.namespace);
    let mut behind_service: BTreeSet<&str> = BTreeSet::new();
    let mut ports = Vec::new();
    for service in snapshot.services.iter().filter(|service| service.kind != ServiceKind::ExternalName) {
        for port in service.tcp_ports() {
            let reached = snapshot.live_endpoints(service).filter_map(|endpoint| {
                let target_port = service.target_port(port, endpoint)?;
                Some(snapshot.addresses_of(endpoint).into_iter().map(move |address| (endpoint, address, target_port)))
            });
            let endpoints: Vec<EndpointState<'_>> = reached
                .flatten()
                .map(|(endpoint, address, target_port)| {
                    let workload = snapshot.workload_of(endpoint);
                    let path = snapshot.inbound_path(endpoint, address, target_port);
                    let state = port_state(&index, (service, port), workload, path, target_port);
                    EndpointState {
                        endpoint,
                        pod: workload.unwrap_or(&unknown_pod),
                        known: workload.is_some(),
                        target_port,
                        state,
                    }
                })
                .collect();
            behind_service.extend(endpoints.iter().filter(|seen| seen.known).map(|seen| seen.pod.name.as_str()));
            ports.push(PortView {
                service: service.name.clone(),
                kind: service.kind,
                port: port.clone(),
                callers: callers.views(service, port, &endpoints),
                workload_ports: group(endpoints),
            });
        }
    }
    Overview { ports, others: others(context, &index, &behind_service) }
}

/// One endpoint of a port.
struct EndpointState<'a> {
    endpoint: &'a Endpoint,
    /// Its workload, or a placeholder without labels.
    pod: &'a Pod,
    known: bool,
    target_port: u16,
    state: PortState,
}

/// The mode of one pod at one port, as asked for and as enforced.
struct PortState {
    server: Server,
    path: InboundPath,
    wanted: Effective,
    ambient: Option<Plaintext>,
}

fn port_state(
    index: &PolicyIndex<'_>,
    (service, port): (&Service, &ServicePort),
    workload: Option<&Pod>,
    path: InboundPath,
    target_port: u16,
) -> PortState {
    let Some(pod) = workload else {
        return PortState { server: Server::NoProxy, path, wanted: Effective::NONE, ambient: None };
    };
    let wanted = index.service_mode(service, port, pod, target_port);
    port_state_at_pod(index, pod, path, Some(target_port), wanted)
}

/// The state of a pod at a port; `None` for the ports that no policy names.
fn port_state_at_pod(
    index: &PolicyIndex<'_>,
    pod: &Pod,
    path: InboundPath,
    port: Option<u16>,
    wanted: Effective,
) -> PortState {
    let (server, ambient) = match path {
        InboundPath::Direct(_) | InboundPath::ProxyPort => (Server::NoProxy, None),
        InboundPath::Pending => (Server::Unknown, None),
        InboundPath::Gateway => (Server::Gateway, None),
        InboundPath::OwnTls | InboundPath::Sidecar => (wanted.mode.map_or(Server::Unknown, Server::Mode), None),
        InboundPath::Ztunnel => {
            let found = ambient::plaintext(index, pod, port.unwrap_or(0));
            let server = match found.is_accepted() {
                Some(true) => Server::Mode(MtlsMode::Permissive),
                Some(false) => Server::Mode(MtlsMode::Strict),
                None => Server::Unknown,
            };
            (server, Some(found))
        }
    };
    let wanted = if path.is_beyond_policies() { Effective::NONE } else { wanted };
    PortState { server, path, wanted, ambient }
}

/// Groups pods of one workload with the same mode.
fn group(endpoints: Vec<EndpointState<'_>>) -> Vec<WorkloadPort> {
    let mut found = WorkloadPorts::default();
    for seen in endpoints {
        let name = if seen.known { &seen.pod.name } else { &seen.endpoint.address };
        let workload = if seen.known { workload(seen.pod) } else { seen.endpoint.address.clone() };
        let data_plane = if seen.known { seen.pod.data_plane } else { DataPlane::None };
        found.add(workload, Some(seen.target_port), data_plane, seen.state, name, seen.endpoint.ready);
    }
    found.groups
}

#[derive(Default)]
struct WorkloadPorts {
    groups: Vec<WorkloadPort>,
    known: HashMap<GroupKey, usize>,
    /// Names that are counted, by the position of their group: a pod with two addresses counts once.
    counted: HashSet<(usize, String)>,
}

type GroupKey = (String, Option<u16>, Server, InboundPath, Vec<AppliedPolicy>);

impl WorkloadPorts {
    fn add(
        &mut self,
        workload: String,
        target_port: Option<u16>,
        data_plane: DataPlane,
        state: PortState,
        name: &str,
        ready: bool,
    ) {
        let key = (workload.clone(), target_port, state.server, state.path, state.wanted.chain.clone());
        let index = *self.known.entry(key).or_insert_with(|| {
            self.groups.push(WorkloadPort {
                workload,
                target_port,
                data_plane,
                server: state.server,
                path: state.path,
                wanted: state.wanted.mode,
                chain: state.wanted.chain,
                ambient: state.ambient,
                pods: Vec::new(),
                ready: 0,
            });
            self.groups.len() - 1
        });
        if self.counted.insert((index, name.to_owned())) {
            let workload_port = &mut self.groups[index];
            workload_port.pods.push(name.to_owned());
            workload_port.ready += usize::from(ready);
        }
    }
}

impl Overview {
    /// Keeps only the ports of these Services.
    #[must_use]
    pub fn of_services(mut self, names: &[String]) -> Self {
        self.ports.retain(|port| names.contains(&port.service));
        self.others.clear();
        self
    }
}

/// The pod's workload: `deployment/web`, or `pod/web-0` for a pod without a controller.
pub fn workload(pod: &Pod) -> String {
    if pod.facts.workload.is_empty() { format!("pod/{}", pod.name) } else { pod.facts.workload.clone() }
}

/// Whether this tool created the pod.
fn is_ours(pod: &Pod) -> bool {
    pod.labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "secure-traffic")
}

/// Workloads without a Service: their mode, and each port for which their policy sets another one.
fn others(context: &NamespaceContext, index: &PolicyIndex<'_>, behind_service: &BTreeSet<&str>) -> Vec<WorkloadPort> {
    let mut found = WorkloadPorts::default();
    let alone = |pod: &&Pod| !behind_service.contains(pod.name.as_str()) && !pod.facts.finished && !is_ours(pod);
    for pod in context.snapshot.pods.values().filter(alone) {
        let exceptions = index.levels(pod).workload.first().map(|policy| policy.ports.keys().copied());
        let ports = std::iter::once(None).chain(exceptions.into_iter().flatten().map(Some));
        for port in ports {
            let wanted = if context.snapshot.policies.legacy_only {
                legacy_server_mode(&context.snapshot.policies, &pod.namespace, "", 0, None)
            } else {
                index.mode(pod, port.unwrap_or(0))
            };
            let address = pod.addresses.first().map_or("", String::as_str);
            let state = port_state_at_pod(index, pod, pod.inbound_path(address, port), port, wanted);
            found.add(workload(pod), port, pod.data_plane, state, &pod.name, pod.ready);
        }
    }
    found.groups
}

/// The placeholder for an address that belongs to no known pod.
fn unknown_pod(namespace: &str) -> Pod {
    Pod { namespace: namespace.to_owned(), ..Pod::default() }
}

/// Whether a port is declared to speak HTTP: by `appProtocol`, or else by the first part of its name.
pub fn speaks_http(port: &ServicePort) -> bool {
    let word = port.app_protocol.as_deref().unwrap_or_else(|| port.name.split('-').next().unwrap_or_default());
    let word = word.strip_prefix("kubernetes.io/").unwrap_or(word);
    matches!(word.to_ascii_lowercase().as_str(), "http" | "http2" | "h2c" | "grpc" | "ws")
}

#[cfg(test)]
mod tests;
