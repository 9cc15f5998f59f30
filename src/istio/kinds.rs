//! The kinds of the Istio API that the tool reads and writes, with their API versions.

use std::fmt;

/// A resource of the API: group, version, kind and plural.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    /// As in paths of the API.
    pub plural: &'static str,
}

impl Kind {
    /// `group/version`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The name by which kubectl prints an object: `peerauthentication.security.istio.io/default`.
    pub fn object_name(&self, name: &str) -> String {
        format!("{}.{}/{name}", self.kind.to_ascii_lowercase(), self.group)
    }
}

/// The API version of policies, which decide what servers accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PolicyApi {
    /// `security.istio.io/v1` PeerAuthentication.
    #[value(name = "v1")]
    V1,
    /// `security.istio.io/v1beta1` PeerAuthentication.
    #[value(name = "v1beta1")]
    V1beta1,
    /// `authentication.istio.io/v1alpha1` Policy (Istio 1.0 to 1.5, OpenShift Service Mesh 1.x).
    #[value(name = "v1alpha1")]
    Legacy,
}

impl PolicyApi {
    /// In the order in which discovery prefers them.
    pub const ALL: [Self; 3] = [Self::V1, Self::V1beta1, Self::Legacy];

    /// Group, version, kind and plural.
    pub const fn kind(self) -> Kind {
        match self {
            Self::V1 => PEER_AUTHENTICATION,
            Self::V1beta1 => Kind { version: "v1beta1", ..PEER_AUTHENTICATION },
            Self::Legacy => {
                Kind { group: "authentication.istio.io", version: "v1alpha1", kind: "Policy", plural: "policies" }
            }
        }
    }
}

/// `AuthorizationPolicy`, in the version that every release with this kind serves.
pub const AUTHORIZATION_POLICY: Kind = Kind {
    group: "security.istio.io",
    version: "v1beta1",
    kind: "AuthorizationPolicy",
    plural: "authorizationpolicies",
};

/// `Telemetry`, in the newest version; [`OptionalKind::Telemetries`] has those that are served.
pub const TELEMETRY: Kind =
    Kind { group: "telemetry.istio.io", version: "v1", kind: "Telemetry", plural: "telemetries" };

const PEER_AUTHENTICATION: Kind =
    Kind { group: "security.istio.io", version: "v1", kind: "PeerAuthentication", plural: "peerauthentications" };

/// The cluster-scoped policy of the legacy API.
pub const MESH_POLICY: Kind =
    Kind { group: "authentication.istio.io", version: "v1alpha1", kind: "MeshPolicy", plural: "meshpolicies" };

/// The API version of DestinationRules, which decide what clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RuleApi {
    /// `networking.istio.io/v1`.
    #[value(name = "v1")]
    V1,
    /// `networking.istio.io/v1beta1`.
    #[value(name = "v1beta1")]
    V1beta1,
    /// `networking.istio.io/v1alpha3`.
    #[value(name = "v1alpha3")]
    V1alpha3,
}

impl RuleApi {
    /// In the order in which discovery prefers them.
    pub const ALL: [Self; 3] = [Self::V1, Self::V1beta1, Self::V1alpha3];

    /// Group, version, kind and plural.
    pub const fn kind(self) -> Kind {
        let version = match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
            Self::V1alpha3 => "v1alpha3",
        };
        Kind { group: "networking.istio.io", version, kind: "DestinationRule", plural: "destinationrules" }
    }
}

/// A kind that is only read, and that not every cluster serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionalKind {
    VirtualServices,
    Sidecars,
    ServiceEntries,
    Gateways,
    AuthorizationPolicies,
    LegacyPolicies,
    Ingresses,
    Routes,
    ApiGateways,
    HttpRoutes,
    GrpcRoutes,
    TcpRoutes,
    TlsRoutes,
    MutatingWebhooks,
    ValidatingWebhooks,
    ApiServices,
    CustomResourceDefinitions,
    CronJobs,
    ServiceMonitors,
    PodMonitors,
    TrustBundles,
    WorkloadEntries,
    Deployments,
    StatefulSets,
    DaemonSets,
    Jobs,
    Rollouts,
    EnvoyFilters,
    Canaries,
    TargetGroupBindings,
    Telemetries,
}

impl OptionalKind {
    /// In the order of their numbers.
    pub const ALL: [Self; 31] = [
        Self::VirtualServices,
        Self::Sidecars,
        Self::ServiceEntries,
        Self::Gateways,
        Self::AuthorizationPolicies,
        Self::LegacyPolicies,
        Self::Ingresses,
        Self::Routes,
        Self::ApiGateways,
        Self::HttpRoutes,
        Self::GrpcRoutes,
        Self::TcpRoutes,
        Self::TlsRoutes,
        Self::MutatingWebhooks,
        Self::ValidatingWebhooks,
        Self::ApiServices,
        Self::CustomResourceDefinitions,
        Self::CronJobs,
        Self::ServiceMonitors,
        Self::PodMonitors,
        Self::TrustBundles,
        Self::WorkloadEntries,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::Jobs,
        Self::Rollouts,
        Self::EnvoyFilters,
        Self::Canaries,
        Self::TargetGroupBindings,
        Self::Telemetries,
    ];

    /// Its API group, its versions, the preferred one first, and its plural name.
    pub const fn resource(self) -> (&'static str, &'static [&'static str], &'static str) {
        const NETWORKING: &str = "networking.istio.io";
        const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];
        const GATEWAY_API: &str = "gateway.networking.k8s.io";
        const ADMISSION: &str = "admissionregistration.k8s.io";
        const MONITORING: &str = "monitoring.coreos.com";
        match self {
            Self::VirtualServices => (NETWORKING, ISTIO, "virtualservices"),
            Self::Sidecars => (NETWORKING, ISTIO, "sidecars"),
            Self::ServiceEntries => (NETWORKING, ISTIO, "serviceentries"),
            Self::Gateways => (NETWORKING, ISTIO, "gateways"),
            Self::AuthorizationPolicies => ("security.istio.io", &["v1", "v1beta1"], "authorizationpolicies"),
            Self::LegacyPolicies => ("authentication.istio.io", &["v1alpha1"], "policies"),
            Self::Ingresses => ("networking.k8s.io", &["v1"], "ingresses"),
            Self::Routes => ("route.openshift.io", &["v1"], "routes"),
            Self::ApiGateways => (GATEWAY_API, &["v1", "v1beta1"], "gateways"),
            Self::HttpRoutes => (GATEWAY_API, &["v1", "v1beta1"], "httproutes"),
            Self::GrpcRoutes => (GATEWAY_API, &["v1", "v1alpha2"], "grpcroutes"),
            Self::TcpRoutes => (GATEWAY_API, &["v1", "v1alpha2"], "tcproutes"),
            Self::TlsRoutes => (GATEWAY_API, &["v1", "v1alpha3", "v1alpha2"], "tlsroutes"),
            Self::MutatingWebhooks => (ADMISSION, &["v1"], "mutatingwebhookconfigurations"),
            Self::ValidatingWebhooks => (ADMISSION, &["v1"], "validatingwebhookconfigurations"),
            Self::ApiServices => ("apiregistration.k8s.io", &["v1"], "apiservices"),
            Self::CustomResourceDefinitions => ("apiextensions.k8s.io", &["v1"], "customresourcedefinitions"),
            Self::CronJobs => ("batch", &["v1"], "cronjobs"),
            Self::ServiceMonitors => (MONITORING, &["v1"], "servicemonitors"),
            Self::PodMonitors => (MONITORING, &["v1"], "podmonitors"),
            Self::TrustBundles => ("certificates.k8s.io", &["v1", "v1beta1", "v1alpha1"], "clustertrustbundles"),
            Self::WorkloadEntries => (NETWORKING, ISTIO, "workloadentries"),
            Self::Deployments => ("apps", &["v1"], "deployments"),
            Self::StatefulSets => ("apps", &["v1"], "statefulsets"),
            Self::DaemonSets => ("apps", &["v1"], "daemonsets"),
            Self::Jobs => ("batch", &["v1"], "jobs"),
            Self::Rollouts => ("argoproj.io", &["v1alpha1"], "rollouts"),
            Self::EnvoyFilters => (NETWORKING, &["v1alpha3"], "envoyfilters"),
            Self::Canaries => ("flagger.app", &["v1beta1", "v1alpha3"], "canaries"),
            Self::TargetGroupBindings => ("elbv2.k8s.aws", &["v1beta1"], "targetgroupbindings"),
            // Istio serves v1 since 1.22.
            Self::Telemetries => ("telemetry.istio.io", &["v1", "v1alpha1"], "telemetries"),
        }
    }
}

impl fmt::Display for PolicyApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().api_version(), self.kind().kind)
    }
}

impl fmt::Display for RuleApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().api_version(), self.kind().kind)
    }
}
