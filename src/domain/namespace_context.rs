//! A namespace's snapshot with what else an overview and the findings depend on: rules of other namespaces, callers
//! from outside the mesh, and what could not be read. `cluster` reads it.

use super::client_scope::ClientScopes;
use super::envoy_filter::EnvoyFilter;
use super::mesh::{DestinationRule, Gateway, PortRef, Snapshot};
use super::network_policy::NetworkPolicy;
use super::other_names::{HostRoute, ServiceEntry};
use super::selector::Selector;
use super::sidecar::Sidecar;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A namespace with everything that decides what clients send there.
#[derive(Debug, Clone, Default)]
pub struct NamespaceContext {
    pub snapshot: Snapshot,
    /// Labels of the namespace, which injection depends on.
    pub namespace_labels: BTreeMap<String, String>,
    /// Rules of every namespace that could be read, this one included; shared between the namespaces of a run.
    pub rules: Arc<Vec<DestinationRule>>,
    /// Rules of namespaces that istiod does not read, which are in force nowhere (CP-4).
    pub hidden_rules: Arc<Vec<DestinationRule>>,
    /// Subsets that a route sends calls to, as (host, subset) (DR-14).
    pub routed: Arc<BTreeSet<(String, String)>>,
    /// `Sidecar` objects of every namespace that could be read.
    pub sidecars: Arc<Vec<Sidecar>>,
    /// `ServiceEntries` of every namespace that could be read.
    pub service_entries: Arc<Vec<ServiceEntry>>,
    /// `VirtualServices` of every namespace that could be read, as far as they say where a host leads.
    pub routes: Arc<Vec<HostRoute>>,
    /// Gateways of every namespace that could be read.
    pub gateways: Arc<Vec<Gateway>>,
    /// What Prometheus' operator scrapes.
    pub monitors: Arc<Vec<Monitor>>,
    /// `EnvoyFilters` of every namespace that could be read.
    pub envoy_filters: Arc<Vec<EnvoyFilter>>,
    /// Canary controllers that shift calls between Services of the namespace.
    pub rollouts: Vec<CanaryRollout>,
    /// Whether Knative's activator and autoscaler have a proxy; `None` where nothing of Knative runs here.
    pub knative: Option<KnativeSystem>,
    pub external_callers: Vec<ExternalCaller>,
    pub cron_jobs: Vec<CronJob>,
    /// Names of `AuthorizationPolicies` that match the caller's identity; those of the root namespace as `namespace/name`.
    pub identity_policies: Vec<String>,
    /// Policies of the legacy API without effect (LP-11), as `namespace/name`.
    pub inert: Vec<String>,
    /// `NetworkPolicies` of the namespace; read only where it has pods in ambient mode.
    pub network_policies: Vec<NetworkPolicy>,
    /// Clients that sent plaintext in the last hours; `None` without `--prometheus`.
    pub observed: Option<Vec<Observed>>,
    /// Names of the kinds of objects that could not be read.
    pub unread: Vec<String>,
}

/// A caller of a Service from outside the mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExternalCaller {
    pub kind: ExternalCallerKind,
    /// The object by kubectl's name: `ingress.networking.k8s.io/shop`.
    pub object: String,
    /// Namespace of the Service.
    pub namespace: String,
    pub service: String,
    /// The Service port; `None` if the object names none.
    pub port: Option<PortRef>,
}

/// The kind of a caller from outside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExternalCallerKind {
    /// The controller of an Ingress or Route, which may be in the mesh (BY-18).
    Ingress,
    /// The API server, which calls a webhook, a conversion webhook or an aggregated API (BY-19).
    ApiServer,
}

/// A `ServiceMonitor` or `PodMonitor` without certificates of the mesh: a Prometheus that scrapes in plaintext (BY-19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// The object by kubectl's name.
    pub object: String,
    /// Namespaces in which it selects; `None` is all.
    pub namespaces: Option<Vec<String>>,
    /// The labels of the Services or pods.
    pub selector: Selector,
    /// Whether it selects pods.
    pub of_pods: bool,
    /// The Service ports; empty is any.
    pub ports: Vec<PortRef>,
}

/// A canary controller's resource: Flagger's `Canary`, or a `Rollout` of Argo that shifts traffic by Istio's objects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CanaryRollout {
    /// The object by kubectl's name.
    pub object: String,
    /// Its phase, as its status reports it.
    pub phase: String,
    /// Whether it is shifting calls now.
    pub is_in_progress: bool,
}

/// Knative's activator and autoscaler, which call pods by their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnativeSystem {
    /// All of their pods are in the mesh.
    Meshed,
    /// These pods are not, as `namespace/name`.
    Outside(Vec<String>),
    /// They may not be read, or run in another namespace than `knative-serving`.
    Unknown,
}

/// A `CronJob`, whose pods rarely exist when the cluster is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronJob {
    pub name: String,
    /// Whether its pods are labelled not to be injected.
    pub declines_injection: bool,
    /// Whether its pods are labelled to be injected.
    pub asks_for_injection: bool,
}

/// Plaintext between two workloads that Prometheus reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observed {
    /// The workload that sent it, as `namespace/name`; a client without a proxy has no name.
    pub client: String,
    /// The workload that received it.
    pub workload: String,
    /// The Service that it was sent to; empty if the proxy does not report it.
    pub service: String,
    /// Requests or connections; `None` if the metrics do not give a number.
    pub count: Option<u64>,
    pub source: ObservedBy,
}

/// What showed that a client sent plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObservedBy {
    /// The metrics of the server's proxy. A client without a proxy has no name there, as this tool's own probe pods.
    Metrics { is_named: bool },
    /// The access logs that a rehearsal read.
    Rehearsal,
}

/// What new pods of a namespace get, by its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// A sidecar.
    On,
    /// Capture by a ztunnel.
    Ambient,
    /// No proxy.
    Off,
}

impl NamespaceContext {
    /// The same context with another state of the namespace.
    #[must_use]
    pub fn with(mut self, snapshot: Snapshot) -> Self {
        let others = self.rules.iter().filter(|rule| rule.namespace != snapshot.namespace).cloned();
        self.rules = Arc::new(others.chain(snapshot.rules.iter().cloned()).collect());
        self.snapshot = snapshot;
        self
    }

    /// The scopes of the mesh's clients.
    pub fn client_scopes(&self) -> ClientScopes<'_> {
        ClientScopes {
            sidecars: &self.sidecars,
            root: &self.snapshot.mesh.root_namespace,
            default_export: &self.snapshot.mesh.service_export,
        }
    }

    /// What new pods of the namespace get (DP-1, DP-5).
    pub fn injection(&self) -> Injection {
        let label = |key: &str| self.namespace_labels.get(key).map(String::as_str);
        match (label("istio-injection"), label("istio.io/rev"), label("istio.io/dataplane-mode")) {
            (Some("enabled"), _, _) | (None, Some(_), _) => Injection::On,
            (_, _, Some("ambient")) => Injection::Ambient,
            _ => Injection::Off,
        }
    }
}
