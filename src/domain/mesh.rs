//! The objects of a namespace and the settings of its mesh as values: `cluster` reads them, and every other module of
//! `domain` computes with them.

use super::address::Block;
pub use super::control_plane::{ControlPlane, DEFAULT_REVISION, is_read_by_revision};
use super::envoy_filter::EnvoyFilter;
use super::injection::{Enrollment, PodTemplate};
pub use super::rule::{ClientTls, DestinationRule, PortTls, RuleDetails, SubsetTls, TlsPlace};
use super::selector::{Selector, has_labels};
use super::sidecar::{IngressListener, Sidecar};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A mutual TLS mode as a policy sets it. `UNSET` is `None` wherever a mode is optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MtlsMode {
    /// Only the mesh's mutual TLS is accepted.
    Strict,
    /// Mutual TLS or plaintext is accepted.
    Permissive,
    /// Only plaintext is accepted: the proxy does not terminate the mesh's TLS.
    Disable,
}

impl MtlsMode {
    /// The mode of an API value; `None` for `UNSET`, the empty string and unknown values.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "STRICT" => Some(Self::Strict),
            "PERMISSIVE" => Some(Self::Permissive),
            "DISABLE" => Some(Self::Disable),
            _ => None,
        }
    }

    /// The value in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "STRICT",
            Self::Permissive => "PERMISSIVE",
            Self::Disable => "DISABLE",
        }
    }
}

impl fmt::Display for MtlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `spec` of a PeerAuthentication, with the metadata that decides whether it applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    pub namespace: String,
    /// Any name; it has no meaning (PA-10).
    pub name: String,
    /// Seconds since the epoch; the older of two policies of a level applies (PA-4).
    pub created: i64,
    /// Label `istio.io/rev`: only that control plane sees the object (PA-9).
    pub revision: Option<String>,
    /// `selector.matchLabels`; empty selects the whole namespace or mesh (PA-2).
    pub selector: BTreeMap<String, String>,
    /// Whether there is a selector without labels, which the ambient data plane treats differently from no selector
    /// (AM-5).
    pub empty_selector: bool,
    /// `mtls.mode`, `None` for UNSET.
    pub mode: Option<MtlsMode>,
    /// `portLevelMtls` by target port (PA-6).
    pub ports: BTreeMap<u16, Option<MtlsMode>>,
    /// Whether this tool has applied it, as its label and its field manager say.
    pub is_ours: bool,
}

impl PeerAuthentication {
    /// Whether it applies to its whole namespace, or to the mesh if it is in the root namespace.
    pub fn is_wide(&self) -> bool {
        self.selector.is_empty()
    }

    /// Whether its selector selects a pod of its namespace (PA-2).
    pub fn selects(&self, pod: &Pod) -> bool {
        !self.is_wide() && pod.namespace == self.namespace && has_labels(&pod.labels, &self.selector)
    }

    /// The key by which the control plane orders objects of one level: oldest first (PA-4).
    pub fn age_key(&self) -> (i64, &str, &str) {
        (self.created, &self.name, &self.namespace)
    }
}

/// One `targets[]` entry of a legacy Policy: a Service of the same namespace, with Service ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacyTarget {
    /// Short name of the Service.
    pub service: String,
    /// Service ports by number; all ports if `port_names` is empty too (LP-4).
    pub ports: Vec<u16>,
    /// Service ports by name.
    pub port_names: Vec<String>,
}

/// A Policy or MeshPolicy of `authentication.istio.io/v1alpha1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyPolicy {
    /// Empty for the cluster-scoped MeshPolicy.
    pub namespace: String,
    /// `default` for a policy without targets (LP-7).
    pub name: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// The Services that it applies to; empty for the whole namespace or mesh.
    pub targets: Vec<LegacyTarget>,
    /// The mode of its first `mtls` peer; DISABLE without such a peer (LP-2).
    pub mode: MtlsMode,
}

/// Every policy that can apply in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// The mesh's root namespace, whose policies apply to the whole mesh.
    pub root_namespace: String,
    /// Whether the policies of the root namespace could be read; otherwise an inherited mode is not known.
    pub root_readable: bool,
    /// PeerAuthentications of the namespace and of the root namespace.
    pub peer: Vec<PeerAuthentication>,
    /// Policies of the legacy API; used only if the cluster has no PeerAuthentication.
    pub legacy: Vec<LegacyPolicy>,
    /// The legacy MeshPolicy `default`.
    pub legacy_mesh: Option<LegacyPolicy>,
    /// Whether the cluster has only the legacy API (Istio up to 1.4).
    pub legacy_only: bool,
}

/// `address:port`, with brackets around an IPv6 address.
pub fn socket_address(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// How a pod takes part in the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataPlane {
    /// No proxy captures its traffic.
    #[default]
    None,
    /// It has an `istio-proxy` container or native sidecar.
    Sidecar,
    /// The node's ztunnel captures its traffic.
    Ambient,
    /// It is labelled for ambient, but not enrolled yet.
    Pending,
}

impl DataPlane {
    /// Whether inbound traffic passes through a proxy of the mesh.
    pub const fn is_meshed(self) -> bool {
        matches!(self, Self::Sidecar | Self::Ambient)
    }
}

impl fmt::Display for DataPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Sidecar => "sidecar",
            Self::Ambient => "ambient",
            Self::Pending => "pending",
        })
    }
}

/// The facts of a pod that concern mutual TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub namespace: String,
    /// Policy selectors match these.
    pub labels: BTreeMap<String, String>,
    /// `spec.serviceAccountName`, the last part of its SPIFFE identity.
    pub service_account: String,
    pub data_plane: DataPlane,
    /// Revision of its proxy, from the label `istio.io/rev`.
    pub revision: Option<String>,
    /// Condition `Ready`.
    pub ready: bool,
    /// `status.podIPs`, the first family first.
    pub addresses: Vec<String>,
    /// Whether its sidecar captures both address families (BY-24).
    pub dual_stack: bool,
    /// Target ports that its proxy captures, as they were when the pod started (BY-1..BY-4).
    pub capture: Capture,
    /// Whether its sidecar works without any redirection, so that Envoy itself listens where a `Sidecar` object says so (BY-4).
    pub without_redirection: bool,
    /// Target ports that its owner wants captured, by annotation.
    pub annotated_capture: Capture,
    /// Listeners that a `Sidecar` object gives its sidecar.
    pub ingress: Vec<IngressListener>,
    /// Calls of the pod that its sidecar does not capture.
    pub outbound: OutboundCapture,
    /// Facts for an overview.
    pub facts: PodFacts,
}

impl Pod {
    /// Whether it has the label that injection sets, by which clients with auto mTLS send mutual TLS (DR-22).
    pub fn has_tls_label(&self) -> bool {
        self.labels.get("security.istio.io/tlsMode").is_some_and(|mode| mode == "istio")
    }

    /// Whether it accepts HBONE, the mutual TLS of the ambient mesh.
    pub fn accepts_hbone(&self) -> bool {
        self.data_plane == DataPlane::Ambient
            || self.labels.get("networking.istio.io/tunnel").is_some_and(|tunnel| tunnel == "http")
    }
}

/// Which inbound ports a sidecar captures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Capture {
    /// All but the sidecar's own (BY-1, BY-3).
    #[default]
    All,
    /// All but these.
    AllBut(Vec<u16>),
    /// Only these (BY-2).
    Only(Vec<u16>),
    /// None (BY-4, BY-7).
    Nothing,
}

/// Ports of the sidecar itself, which answer plaintext whatever the mode (BY-3).
pub const SIDECAR_PORTS: [u16; 3] = [15020, 15021, 15090];

impl Capture {
    /// Whether traffic to `port` passes through the proxy.
    pub fn covers(&self, port: u16) -> bool {
        !SIDECAR_PORTS.contains(&port)
            && match self {
                Self::All => true,
                Self::AllBut(ports) => !ports.contains(&port),
                Self::Only(ports) => ports.contains(&port),
                Self::Nothing => false,
            }
    }
}

/// Which calls of a pod its sidecar captures; the others leave it in plaintext.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboundCapture {
    /// Destination ports that are excluded.
    pub excluded_ports: Vec<u16>,
    pub destinations: Destinations,
    /// CIDR blocks that are excluded.
    pub excluded_ranges: Vec<String>,
    /// Containers that run as the proxy's own user, whose calls are left alone.
    pub as_proxy: Vec<String>,
}

impl OutboundCapture {
    /// Whether some calls to these ports at these addresses are not captured.
    pub fn bypasses(&self, ports: &BTreeSet<u16>, addresses: &[IpAddr]) -> bool {
        let blocks = |ranges: &[String]| ranges.iter().filter_map(|range| Block::parse(range)).collect::<Vec<_>>();
        let in_any = |blocks: &[Block], address: &IpAddr| blocks.iter().any(|block| block.contains(*address));
        let excluded = blocks(&self.excluded_ranges);
        let is_any_left_out = || match &self.destinations {
            // Nearly every pod: its addresses need not be looked at.
            Destinations::All if excluded.is_empty() => false,
            Destinations::All => addresses.iter().any(|address| in_any(&excluded, address)),
            Destinations::Only(ranges) => {
                let captured = blocks(ranges);
                addresses.iter().any(|address| !in_any(&captured, address) || in_any(&excluded, address))
            }
        };
        !self.as_proxy.is_empty() || self.excluded_ports.iter().any(|port| ports.contains(port)) || is_any_left_out()
    }
}

/// The destinations whose calls a sidecar captures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Destinations {
    #[default]
    All,
    /// These CIDR blocks; none captures no call.
    Only(Vec<String>),
}

/// What a Service's name leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// A cluster address.
    #[default]
    ClusterIp,
    /// `clusterIP: None`: the addresses of the pods.
    Headless,
    /// A name outside the cluster.
    ExternalName,
}

/// How a Service is reached from outside the cluster, and so from outside the mesh (BY-18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exposure {
    /// Type `NodePort`.
    NodePort,
    /// Type `LoadBalancer`.
    LoadBalancer,
    /// `externalIPs`.
    ExternalIps,
}

/// The transport protocol of a Service port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The only protocol that mutual TLS covers (BY-9).
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A reference to a Service port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    Number(u16),
    Name(String),
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty if the Service has a single unnamed port.
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
    /// `appProtocol`.
    pub app_protocol: Option<String>,
    /// `targetPort`; `None` is the Service port itself.
    pub target_port: Option<PortRef>,
}

/// One address of a Service's EndpointSlices, with the target port of every Service port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// IP address.
    pub address: String,
    /// Condition `ready` of the EndpointSlice.
    pub ready: bool,
    /// Condition `terminating` of the EndpointSlice.
    pub terminating: bool,
    pub target: EndpointTarget,
    /// Target port by Service port name.
    pub ports: BTreeMap<String, u16>,
}

/// What an endpoint is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum EndpointTarget {
    /// An address of which nothing else is known.
    #[default]
    Address,
    /// The pod of this name: the slice names it, or the address is its own.
    Pod(String),
    /// The `WorkloadEntry` of this name, which the Service selects beside pods (BY-30).
    WorkloadEntry(String),
}

/// A workload that is no pod, such as a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadEntry {
    pub address: String,
    /// Port at the address by Service port name.
    pub ports: BTreeMap<String, u16>,
    /// Labels, account and proxy, in the terms of a pod.
    pub workload: Pod,
}

/// A Service with its endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub kind: ServiceKind,
    pub labels: BTreeMap<String, String>,
    /// The labels of the pods that it selects; empty for a Service whose endpoints are written by hand.
    pub selector: BTreeMap<String, String>,
    /// `spec.clusterIPs`; empty for a headless Service.
    pub cluster_ips: Vec<String>,
    pub ports: Vec<ServicePort>,
    /// Sorted by address.
    pub endpoints: Vec<Endpoint>,
    /// Annotation `networking.istio.io/exportTo`; empty is the mesh's default (CS-4).
    pub export_to: Vec<String>,
    /// How it is reached from outside the cluster.
    pub exposure: Option<Exposure>,
    /// Its addresses for clients outside the cluster: of load balancers, and external ones.
    pub outer_addresses: Vec<String>,
    /// The name that an ExternalName stands for.
    pub external_name: Option<String>,
}

impl ServicePort {
    /// Whether `reference` is its number or name.
    pub fn is(&self, reference: &PortRef) -> bool {
        match reference {
            PortRef::Number(number) => self.port == *number,
            PortRef::Name(name) => self.name == *name,
        }
    }

    /// The number of its target port; `None` if it is a name, which each pod resolves by itself.
    pub fn target_number(&self) -> Option<u16> {
        match &self.target_port {
            None => Some(self.port),
            Some(PortRef::Number(number)) => Some(*number),
            Some(PortRef::Name(_)) => None,
        }
    }
}

impl Service {
    /// Its ports that mutual TLS covers (BY-9).
    pub fn tcp_ports(&self) -> impl Iterator<Item = &ServicePort> {
        self.ports.iter().filter(|port| port.protocol == Protocol::Tcp)
    }

    /// Its fully qualified name, the only unambiguous host of a DestinationRule (DR-1).
    pub fn host(&self, namespace: &str, cluster_domain: &str) -> String {
        format!("{}.{namespace}.svc.{cluster_domain}", self.name)
    }

    /// Whether its selector matches a pod with these labels; a Service without a selector selects nothing.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selector.is_empty() && has_labels(labels, &self.selector)
    }

    /// The target port of `port` at an endpoint.
    pub fn target_port(&self, port: &ServicePort, endpoint: &Endpoint) -> Option<u16> {
        endpoint.ports.get(&port.name).copied()
    }
}

/// The settings of the mesh, from its ConfigMap if that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// Namespace of the control plane.
    pub istio_namespace: String,
    /// Namespace of ztunnel, as the user names it; `None` if it is to be found.
    pub ztunnel_namespace: Option<String>,
    /// Whether the ConfigMap could be read; otherwise the values are Istio's defaults.
    pub readable: bool,
    /// Namespace whose policies apply to the whole mesh.
    pub root_namespace: String,
    /// The first part of every SPIFFE identity.
    pub trust_domain: String,
    /// `enableAutoMtls`, true by default since 1.5.
    pub auto_mtls: bool,
    /// The last part of every Service's full name.
    pub cluster_domain: String,
    /// `defaultDestinationRuleExportTo`: who sees a rule without `exportTo` (DR-4).
    pub rule_export: Vec<String>,
    /// `defaultServiceExportTo`: which namespaces see a Service without its own setting (CS-4).
    pub service_export: Vec<String>,
    /// `outboundTrafficPolicy` `ALLOW_ANY`, the default: calls to hosts that a sidecar does not know go out, in plaintext.
    pub passes_unknown: bool,
    /// `discoverySelectors`: istiod reads only namespaces that match one of them; empty for all namespaces (CP-4).
    pub discovery: Vec<Selector>,
    /// Networks of `meshNetworks`, by which the mesh reaches other clusters.
    pub networks: Vec<String>,
    /// The control planes among which none could be chosen; empty where it is known whose settings these are (CP-1).
    pub undecided: Vec<ControlPlane>,
    /// `defaultConfig.drainDuration`, if it is set.
    pub drain: Option<Duration>,
    /// Version of the control plane; `None` if its Service does not have it as a label.
    pub version: Option<String>,
    /// The access log that the sidecars write.
    pub access_log: AccessLog,
}

/// The access log of the mesh's settings. `Telemetry` objects can change it for a namespace or workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// `accessLogFile` is not set.
    #[default]
    Off,
    /// It is set.
    On {
        /// Whether `accessLogFormat` replaces Istio's default format.
        own_format: bool,
    },
}

impl MeshSettings {
    /// Whether istiod reads a namespace with these labels (CP-4).
    pub fn discovers(&self, labels: &BTreeMap<String, String>) -> bool {
        let value_of = |key: &str| labels.get(key).map(String::as_str);
        self.discovery.is_empty() || self.discovery.iter().any(|selector| selector.matches(value_of))
    }
}

impl Default for MeshSettings {
    /// Istio's defaults.
    fn default() -> Self {
        Self {
            istio_namespace: "istio-system".to_owned(),
            ztunnel_namespace: None,
            readable: false,
            root_namespace: "istio-system".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            auto_mtls: true,
            cluster_domain: "cluster.local".to_owned(),
            rule_export: Vec::new(),
            service_export: Vec::new(),
            passes_unknown: true,
            discovery: Vec::new(),
            networks: Vec::new(),
            undecided: Vec::new(),
            drain: None,
            version: None,
            access_log: AccessLog::Off,
        }
    }
}

/// One namespace, with everything that decides its mutual TLS, as the cluster has it at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub namespace: String,
    pub mesh: MeshSettings,
    /// Sorted by name.
    pub services: Vec<Service>,
    /// By name.
    pub pods: BTreeMap<String, Pod>,
    /// `Sidecar` objects of the namespace.
    pub sidecars: Vec<Sidecar>,
    /// `EnvoyFilters` of the namespace and of the root namespace; not read for an overview, which has those of all
    /// namespaces.
    pub envoy_filters: Vec<EnvoyFilter>,
    /// By name.
    pub workload_entries: BTreeMap<String, WorkloadEntry>,
    pub policies: Policies,
    /// DestinationRules of the namespace.
    pub rules: Vec<DestinationRule>,
    /// DestinationRules of the root namespace, which apply where no rule of the namespace does (DR-3); empty in the root
    /// namespace itself.
    pub root_rules: Vec<DestinationRule>,
    /// Gateways of all namespaces; read only where the namespace has gateway pods.
    pub gateways: Vec<Gateway>,
    /// The mesh's root certificates as PEM, from what the pods mount.
    pub mesh_root_pem: Option<String>,
    /// Labels of the namespace; `None` if they may not be read.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Pod templates of the workloads, for a plan or an overview.
    pub templates: Vec<PodTemplate>,
    /// What may not be read, in words.
    pub unread: Vec<String>,
}

/// The drain time of a sidecar without a setting (CN-1).
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(45);

impl Snapshot {
    /// The Service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The Services by their names, for those who look up many of them.
    pub fn services_by_name(&self) -> HashMap<&str, &Service> {
        self.services.iter().map(|service| (service.name.as_str(), service)).collect()
    }

    /// The time after which the sidecar of a pod ends the connections of replaced filter chains (CN-1).
    pub fn drain_time(&self, pod: &Pod) -> Duration {
        pod.facts.drain.or(self.mesh.drain).unwrap_or(DEFAULT_DRAIN)
    }

    /// The pod of an endpoint.
    pub fn pod_of(&self, endpoint: &Endpoint) -> Option<&Pod> {
        match &endpoint.target {
            EndpointTarget::Pod(name) => self.pods.get(name),
            EndpointTarget::Address | EndpointTarget::WorkloadEntry(_) => None,
        }
    }

    /// The workload of an endpoint: its pod, or its `WorkloadEntry` in the terms of a pod.
    pub fn workload_of(&self, endpoint: &Endpoint) -> Option<&Pod> {
        match &endpoint.target {
            EndpointTarget::WorkloadEntry(name) => self.workload_entries.get(name).map(|entry| &entry.workload),
            EndpointTarget::Address | EndpointTarget::Pod(_) => self.pod_of(endpoint),
        }
    }

    /// The endpoints of a Service without those that calls no longer reach: a pod that has ended, or is ending and not
    /// ready any more. EndpointSlices list them for a moment after a roll-out.
    pub fn live_endpoints<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Endpoint> {
        service.endpoints.iter().filter(|endpoint| {
            endpoint.ready || !endpoint.terminating && !self.pod_of(endpoint).is_some_and(|pod| pod.facts.finished)
        })
    }

    /// Workloads whose future pods a Service selects and that start without a proxy.
    pub fn future_pods_outside(&self, service: &Service) -> Vec<&str> {
        let outside = self.templates.iter().filter(|template| {
            service.selects(&template.labels)
                && template.enrollment(self.namespace_labels.as_ref()) == Enrollment::Outside
        });
        outside.map(|template| template.workload.as_str()).collect()
    }

    /// Workloads of a Service that are scaled to zero.
    pub fn scaled_to_zero(&self, service: &Service) -> Vec<&str> {
        let at_zero = self.templates.iter().filter(|template| template.at_zero && service.selects(&template.labels));
        at_zero.map(|template| template.workload.as_str()).collect()
    }

    /// The first `EnvoyFilter` that changes the inbound listeners of a pod's sidecar, as `namespace/name` (EF-1).
    pub fn inbound_filter(&self, pod: &Pod) -> Option<String> {
        let applies = |filter: &&EnvoyFilter| {
            pod.data_plane == DataPlane::Sidecar
                && filter.changes_inbound
                && filter.applies_to(&pod.namespace, &pod.labels, &self.mesh.root_namespace)
        };
        self.envoy_filters.iter().find(applies).map(|filter| format!("{}/{}", filter.namespace, filter.name))
    }

    /// The addresses at which the workload of an endpoint accepts connections: the endpoint's, and the others of its
    /// pod, because a sidecar may capture one address family only (BY-24).
    pub fn addresses_of<'a>(&'a self, endpoint: &'a Endpoint) -> Vec<&'a str> {
        let others = self.pod_of(endpoint).into_iter().flat_map(|pod| &pod.addresses);
        let others = others.map(String::as_str).filter(|address| *address != endpoint.address);
        std::iter::once(endpoint.address.as_str()).chain(others).collect()
    }
}

/// A `Gateway` of `networking.istio.io`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gateway {
    pub namespace: String,
    pub name: String,
    /// The labels of the gateway pods that serve it.
    pub selector: BTreeMap<String, String>,
    pub servers: Vec<GatewayServer>,
}

impl Gateway {
    /// Whether a server at one of these ports accepts only the mesh's mutual TLS (GW-1), at pods with these labels. A
    /// Gateway's port is the one of the Service, or the target port.
    pub fn requires_mutual_tls(&self, labels: &BTreeMap<String, String>, ports: &[u16]) -> bool {
        let is_mutual = |server: &GatewayServer| server.tls == GatewayTls::IstioMutual && ports.contains(&server.port);
        has_labels(labels, &self.selector) && self.servers.iter().any(is_mutual)
    }
}

/// One server of a [`Gateway`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayServer {
    pub port: u16,
    pub tls: GatewayTls,
}

/// `tls.mode` of a Gateway's server, as far as the mesh's own mutual TLS is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GatewayTls {
    /// Plaintext, or TLS with certificates of the user.
    #[default]
    Other,
    /// `ISTIO_MUTUAL`: it accepts only the mesh's mutual TLS (GW-1).
    IstioMutual,
    /// `AUTO_PASSTHROUGH`: it forwards the mesh's mutual TLS between networks (MC-1).
    AutoPassthrough,
}

/// Where a pod's proxy gets the mesh's root certificates from (CP-3).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RootSource {
    /// A ConfigMap of the pod's namespace.
    ConfigMap(String),
    /// A `ClusterTrustBundle`.
    TrustBundle(String),
}

/// Facts of a pod that only an overview of the namespace uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct PodFacts {
    /// The workload that owns it, such as `deployment/boards`; empty for a pod without a controller.
    pub workload: String,
    /// `spec.hostNetwork`: no proxy can capture its traffic (BY-10).
    pub host_network: bool,
    /// Its proxy is a gateway or waypoint, whose own listeners decide instead of the policies (DP-4).
    pub gateway: bool,
    /// Its sidecar is an init container that ends with the pod (DP-3).
    pub native_sidecar: bool,
    /// It has succeeded or failed, so it serves no traffic.
    pub finished: bool,
    /// It is labelled or annotated not to be injected.
    pub declines_injection: bool,
    /// Ports of probes that the kubelet sends to the application itself, where STRICT refuses them (BY-11).
    pub raw_probes: Vec<u16>,
    /// Ports of `postStart` and `preStop` requests that the kubelet sends to the application itself (BY-11).
    pub raw_hooks: Vec<u16>,
    /// The control plane that its proxy is connected to; `None` without a proxy, or for one outside the cluster (CP-1).
    pub control_plane: Option<ControlPlane>,
    /// Where its proxy gets the mesh's root certificates from; `None` without a proxy.
    pub root_certificates: Option<RootSource>,
    /// The port of a pod with the annotation `prometheus.io/scrape`; 0 if it names no port.
    pub scraped: Option<u16>,
    /// Its sidecar sends no HBONE, by `ISTIO_META_DISABLE_HBONE_SEND` (DR-30).
    pub no_hbone: bool,
    /// `drainDuration` of its proxy; `None` if the pod sets none.
    pub drain: Option<Duration>,
    /// TCP ports that the containers of the application declare.
    pub declared_ports: BTreeSet<u16>,
    /// Those of them that the node forwards to the pod (`hostPort`).
    pub host_ports: BTreeSet<u16>,
    /// The custom resource that owns it, as `kind.group/name`.
    pub custom_owner: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{pod, shop};

    #[test]
    fn a_namespace_is_discovered_by_any_selector() {
        let labels = |text: &str| -> BTreeMap<String, String> {
            let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        for (selectors, of_namespace, expected) in [
            (&[][..], "", true),
            (&["mesh=on"], "mesh=on,team=a", true),
            (&["mesh=on"], "mesh=off", false),
            (&["mesh=on"], "", false),
            (&["mesh=on,team=a"], "mesh=on", false),
            (&["mesh=on", "team in (a,b)"], "team=b", true),
            (&["!ignored"], "", true),
            (&["!ignored"], "ignored=yes", false),
            // An empty selector matches every namespace.
            (&["mesh=on", ""], "", true),
        ] {
            let discovery = selectors.iter().map(|selector| selector.parse().unwrap()).collect();
            let mesh = MeshSettings { discovery, ..MeshSettings::default() };
            assert_eq!(mesh.discovers(&labels(of_namespace)), expected, "{selectors:?} {of_namespace}");
        }
    }

    #[test]
    fn calls_that_a_sidecar_does_not_capture() {
        let only = |ranges: &[&str]| Destinations::Only(ranges.iter().map(|range| (*range).to_owned()).collect());
        let of = |destinations| OutboundCapture { destinations, ..OutboundCapture::default() };
        let excluded = |ranges: &[&str]| OutboundCapture {
            excluded_ranges: ranges.iter().map(|range| (*range).to_owned()).collect(),
            ..OutboundCapture::default()
        };
        let ports = |ports: &[u16]| OutboundCapture { excluded_ports: ports.to_vec(), ..OutboundCapture::default() };
        let as_proxy = OutboundCapture { as_proxy: vec!["schema".into()], ..OutboundCapture::default() };
        let rows = [
            ("all captured", OutboundCapture::default(), false),
            ("a port of the namespace", ports(&[8080]), true),
            ("a port of another database", ports(&[3306]), false),
            ("no destination", of(only(&[])), true),
            ("the cluster's ranges", of(only(&["10.0.0.0/8", "fd00::/8"])), false),
            ("one family", of(only(&["10.0.0.0/8"])), true),
            ("other ranges", of(only(&["192.168.0.0/16"])), true),
            ("a range of the cluster", excluded(&["10.96.0.0/12"]), true),
            ("a range outside", excluded(&["192.0.2.0/24"]), false),
            ("one address", excluded(&["10.96.0.7"]), true),
            ("everything", excluded(&["0.0.0.0/0"]), true),
            ("no range at all", excluded(&["everything/8"]), false),
            ("a container of the proxy's user", as_proxy, true),
        ];
        let addresses: Vec<IpAddr> =
            ["10.96.0.7", "10.244.1.1", "fd00::7"].iter().map(|address| address.parse().unwrap()).collect();
        for (name, outbound, expected) in rows {
            assert_eq!(outbound.bypasses(&[8080].into(), &addresses), expected, "{name}");
        }
    }

    #[test]
    fn endpoints_of_a_rollout_that_has_ended_are_left_out() {
        let rows: [(&str, bool, bool, bool, usize); 5] = [
            ("ready", true, false, false, 1),
            ("it starts", false, false, false, 1),
            ("it ends, and still serves", true, true, false, 1),
            ("it ends", false, true, false, 0),
            ("it has ended", false, false, true, 0),
        ];
        for (name, ready, terminating, finished, expected) in rows {
            let mut snapshot = shop(&["web"]);
            (snapshot.services[0].endpoints[0].ready, snapshot.services[0].endpoints[0].terminating) =
                (ready, terminating);
            snapshot.pods.get_mut("web-0").unwrap().facts.finished = finished;
            assert_eq!(snapshot.live_endpoints(&snapshot.services[0]).count(), expected, "{name}");
        }
    }

    #[test]
    fn every_address_of_a_pod_is_an_endpoint() {
        let mut snapshot = shop(&["web"]);
        let addresses = vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()];
        snapshot.pods.insert("web-0".into(), Pod { addresses, ..pod("web") });
        assert_eq!(snapshot.addresses_of(&snapshot.services[0].endpoints[0]), ["10.0.0.1", "fd00::1"]);
    }
}
