//! What the cluster holds, in the words of the mesh: the values on which every decision is made.

pub use super::rule::{ClientTls, DestinationRule, PortTls, RuleDetails, SubsetTls, TlsPlace};
use std::collections::BTreeMap;
use std::fmt;

/// A mutual TLS mode as somebody wrote it. `UNSET` is `None` wherever a mode is optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MtlsMode {
    /// Only Istio mutual TLS is accepted.
    Strict,
    /// Mutual TLS or plaintext is accepted.
    Permissive,
    /// Plaintext only; a TLS handshake of the mesh is not terminated.
    Disable,
}

impl MtlsMode {
    /// The mode of an API value; `UNSET`, the empty string and unknown words are no mode.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "STRICT" => Some(Self::Strict),
            "PERMISSIVE" => Some(Self::Permissive),
            "DISABLE" => Some(Self::Disable),
            _ => None,
        }
    }

    /// The word that the API uses.
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

/// `spec` of a PeerAuthentication, with what decides whether it applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object; names are free (PA-10).
    pub name: String,
    /// Seconds since the epoch; age decides between two of a level (PA-4).
    pub created: i64,
    /// Label `istio.io/rev`: only that control plane sees the object (PA-9).
    pub revision: Option<String>,
    /// `selector.matchLabels`; empty selects the whole namespace or mesh (PA-2).
    pub selector: BTreeMap<String, String>,
    /// Whether a selector is written that selects nothing in particular; the ambient data plane reads that otherwise
    /// than no selector (AM-5).
    pub empty_selector: bool,
    /// `mtls.mode`, `None` for UNSET.
    pub mode: Option<MtlsMode>,
    /// `portLevelMtls` by target port (PA-6).
    pub ports: BTreeMap<u16, Option<MtlsMode>>,
}

impl PeerAuthentication {
    /// Whether it applies to its whole namespace (or, in the root namespace, to the mesh).
    pub fn is_wide(&self) -> bool {
        self.selector.is_empty()
    }

    /// The key by which the control plane orders objects of one level: oldest first (PA-4).
    pub fn age_key(&self) -> (i64, &str, &str) {
        (self.created, &self.name, &self.namespace)
    }
}

/// One `targets[]` entry of a legacy Policy: a Service of the same namespace and its Service ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LegacyTarget {
    /// Short name of the Service.
    pub service: String,
    /// Service ports by number; with `port_names` empty too, all ports (LP-4).
    pub ports: Vec<u16>,
    /// Service ports by name.
    pub port_names: Vec<String>,
}

/// A Policy or MeshPolicy of `authentication.istio.io/v1alpha1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyPolicy {
    /// Namespace; empty for the cluster-scoped MeshPolicy.
    pub namespace: String,
    /// Name; a policy without targets must be called `default` (LP-7).
    pub name: String,
    /// Seconds since the epoch.
    pub created: i64,
    /// What it is limited to; empty is the whole namespace or mesh.
    pub targets: Vec<LegacyTarget>,
    /// The mode of its first `mtls` peer; no such peer means plaintext only (LP-2).
    pub mode: MtlsMode,
}

/// Every policy that can apply in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// The mesh's root namespace, whose policies hold for the whole mesh.
    pub root_namespace: String,
    /// Whether the policies of the root namespace could be read; without them an inherited mode is unknown.
    pub root_readable: bool,
    /// PeerAuthentications of the namespace and of the root namespace.
    pub peer: Vec<PeerAuthentication>,
    /// Policies of the legacy API; looked at only where the cluster has no PeerAuthentication.
    pub legacy: Vec<LegacyPolicy>,
    /// The legacy MeshPolicy `default`.
    pub legacy_mesh: Option<LegacyPolicy>,
    /// Whether the cluster speaks only the legacy API (Istio up to 1.4).
    pub legacy_only: bool,
}

/// `address:port`, with the brackets that an IPv6 address needs there.
pub fn socket_address(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// The revision of proxies without the label `istio.io/rev`, and of a control plane that was installed without one.
pub const DEFAULT_REVISION: &str = "default";

/// Whether the control plane of `proxy`, the revision of a pod, reads an object with this label `istio.io/rev` (PA-9,
/// DR-10). An object without the label is read by every control plane.
pub fn is_read_by_revision(label: Option<&str>, proxy: Option<&str>) -> bool {
    label.is_none_or(|label| label == proxy.unwrap_or(DEFAULT_REVISION))
}

/// How a pod takes part in the mesh (rules of section 5.3 of the semantics).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataPlane {
    /// No proxy takes its traffic.
    #[default]
    None,
    /// An `istio-proxy` container or native sidecar.
    Sidecar,
    /// Captured by the node's ztunnel.
    Ambient,
    /// Half enrolled: not yet one or the other.
    Pending,
}

impl DataPlane {
    /// Whether inbound traffic passes a proxy of the mesh.
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

/// A pod, as far as mutual TLS is concerned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Name of the pod.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels, on which policy selectors work.
    pub labels: BTreeMap<String, String>,
    /// `spec.serviceAccountName`, the last part of its SPIFFE identity.
    pub service_account: String,
    /// How it takes part in the mesh.
    pub data_plane: DataPlane,
    /// Revision of its proxy, from `istio.io/rev`.
    pub revision: Option<String>,
    /// Condition Ready.
    pub ready: bool,
    /// Target ports that its proxy does not capture (BY-1..BY-4).
    pub capture: Capture,
    /// What an overview asks of it besides.
    pub facts: PodFacts,
}

impl Pod {
    /// Whether clients with auto mTLS take it for a server of the mesh (DR-22): a label that injection puts on.
    pub fn says_tls(&self) -> bool {
        self.labels.get("security.istio.io/tlsMode").is_some_and(|mode| mode == "istio")
    }

    /// Whether a sidecar of it takes HBONE, the ambient way of mutual TLS.
    pub fn takes_hbone(&self) -> bool {
        self.data_plane == DataPlane::Ambient
            || self.labels.get("networking.istio.io/tunnel").is_some_and(|tunnel| tunnel == "http")
    }
}

/// Which inbound ports a sidecar captures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Capture {
    /// All but the listed ones and the sidecar's own (BY-1, BY-3).
    #[default]
    All,
    /// All but these.
    AllBut(Vec<u16>),
    /// Only these (BY-2).
    Only(Vec<u16>),
    /// None at all (BY-4, BY-7).
    Nothing,
}

/// Ports of the sidecar itself, which answer plaintext whatever the mode (BY-3).
pub const SIDECAR_PORTS: [u16; 3] = [15020, 15021, 15090];

impl Capture {
    /// Whether traffic to `port` passes the proxy.
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

/// What stands behind a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// A Service with a cluster address.
    #[default]
    ClusterIp,
    /// `clusterIP: None`: its name resolves to the pods.
    Headless,
    /// An alias of a name outside.
    ExternalName,
}

/// Transport protocol of a Service port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The only one that mutual TLS covers (BY-9).
    #[default]
    Tcp,
    /// Never covered.
    Udp,
    /// Never covered.
    Sctp,
}

/// A Service port by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortRef {
    /// By number.
    Number(u16),
    /// By name.
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
    /// Its name; empty where the Service has a single unnamed port.
    pub name: String,
    /// The Service port.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// `appProtocol`, where given.
    pub app_protocol: Option<String>,
}

/// One address behind a Service, with the target port of every Service port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// IP address.
    pub address: String,
    /// Condition `ready` of the EndpointSlice.
    pub ready: bool,
    /// Name of the pod, where the slice names one.
    pub pod: Option<String>,
    /// Target port by Service port name.
    pub ports: BTreeMap<String, u16>,
}

/// A Service with its endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Name of the Service.
    pub name: String,
    /// What stands behind it.
    pub kind: ServiceKind,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The pods that it selects; empty for a Service whose endpoints are kept by hand.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The addresses behind it, ordered by address.
    pub endpoints: Vec<Endpoint>,
}

impl Service {
    /// Its fully qualified name, the only form that a DestinationRule host should take (DR-1).
    pub fn host(&self, namespace: &str, cluster_domain: &str) -> String {
        format!("{}.{namespace}.svc.{cluster_domain}", self.name)
    }

    /// Target ports of `port` over all endpoints.
    pub fn target_port(&self, port: &ServicePort, endpoint: &Endpoint) -> Option<u16> {
        endpoint.ports.get(&port.name).copied()
    }
}

/// The mesh's own settings, from its ConfigMap where it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshSettings {
    /// Namespace of the control plane.
    pub istio_namespace: String,
    /// Whether the ConfigMap was read; otherwise the values are Istio's defaults.
    pub readable: bool,
    /// Namespace whose policies hold for the whole mesh.
    pub root_namespace: String,
    /// First part of every SPIFFE identity.
    pub trust_domain: String,
    /// `enableAutoMtls`, true by default since 1.5.
    pub auto_mtls: bool,
    /// Domain of the cluster's Services.
    pub cluster_domain: String,
    /// `defaultDestinationRuleExportTo`: who sees a rule that says nothing of it (DR-4).
    pub rule_export: Vec<String>,
    /// Version of the control plane, where its Service says so.
    pub version: Option<String>,
}

impl Default for MeshSettings {
    /// Istio's own defaults, which are not read from anywhere.
    fn default() -> Self {
        Self {
            istio_namespace: "istio-system".to_owned(),
            readable: false,
            root_namespace: "istio-system".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            auto_mtls: true,
            cluster_domain: "cluster.local".to_owned(),
            rule_export: Vec::new(),
            version: None,
        }
    }
}

/// Everything that a command reads before it decides: one namespace and what holds for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The namespace.
    pub namespace: String,
    /// Settings of the mesh.
    pub mesh: MeshSettings,
    /// Services by name.
    pub services: Vec<Service>,
    /// Pods of the namespace by name.
    pub pods: BTreeMap<String, Pod>,
    /// Policies of the namespace and the root namespace.
    pub policies: Policies,
    /// DestinationRules of the namespace.
    pub rules: Vec<DestinationRule>,
    /// The mesh's root certificates as PEM, from `istio-ca-root-cert`.
    pub mesh_root_pem: Option<String>,
}

impl Snapshot {
    /// The Service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.name == name)
    }

    /// The pod behind an endpoint.
    pub fn pod_of(&self, endpoint: &Endpoint) -> Option<&Pod> {
        endpoint.pod.as_ref().and_then(|name| self.pods.get(name))
    }
}

/// Facts of a pod that only an overview of the namespace asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct PodFacts {
    /// The controller behind it as a person calls it: `deployment/boards`; empty for a pod that stands alone.
    pub workload: String,
    /// `spec.hostNetwork`: no proxy can take its traffic (BY-10).
    pub host_network: bool,
    /// Its proxy is a gateway or waypoint: its own listeners decide, no policy's mode (DP-4).
    pub gateway: bool,
    /// Its sidecar is an init container that ends with the pod (DP-3).
    pub native_sidecar: bool,
    /// It has run to its end and takes part in nothing.
    pub finished: bool,
    /// It asks not to be injected.
    pub declines_injection: bool,
    /// Ports at which the kubelet asks the application itself, in a way that mutual TLS refuses (BY-11).
    pub raw_probes: Vec<u16>,
    /// The port at which a scraper is invited by `prometheus.io/scrape`; 0 where none is named.
    pub scraped: Option<u16>,
}
