//! What an overview knows besides a namespace's snapshot: rules of other namespaces, who calls from outside, and what
//! could not be read.

use super::mesh::{DestinationRule, PortRef, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A namespace with its surroundings.
#[derive(Debug, Clone)]
pub struct NamespaceContext {
    /// The namespace itself.
    pub snapshot: Snapshot,
    /// Labels of the namespace, on which injection depends.
    pub namespace_labels: BTreeMap<String, String>,
    /// Rules of every namespace that could be read, the own ones included; shared between the namespaces of a run.
    pub rules: Arc<Vec<DestinationRule>>,
    /// Subsets that a route sends calls to, with their host (DR-14).
    pub routed: Arc<BTreeSet<(String, String)>>,
    /// What brings calls from outside the mesh.
    pub external_callers: Vec<ExternalCaller>,
    /// Jobs that run at their time.
    pub cron_jobs: Vec<CronJob>,
    /// Names of `AuthorizationPolicies` that ask who the caller is.
    pub identity_policies: Vec<String>,
    /// Policies of the legacy API that nothing obeys any more (LP-11), as `namespace/name`.
    pub inert: Vec<String>,
    /// Who sent plaintext in the last hours; `None` where nobody was asked.
    pub observed: Option<Vec<Observed>>,
    /// What could not be read, in words.
    pub unread: Vec<String>,
}

/// Something outside the mesh that calls a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExternalCaller {
    /// What it is.
    pub kind: ExternalCallerKind,
    /// As kubectl names the object: `ingress.networking.k8s.io/shop`.
    pub object: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// The Service that it calls.
    pub service: String,
    /// The Service port, where one is named.
    pub port: Option<PortRef>,
}

/// What stands between the world and a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExternalCallerKind {
    /// An Ingress or Route: its controller may or may not be in the mesh (BY-18).
    Ingress,
    /// The API server itself: a webhook or an aggregated API (BY-19).
    ApiServer,
}

/// A `CronJob`'s pods, which are seldom there to be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronJob {
    /// Its name.
    pub name: String,
    /// Whether its pods ask not to be injected.
    pub declines_injection: bool,
    /// Whether its pods ask to be injected.
    pub asks_for_injection: bool,
}

/// Plaintext that was really sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observed {
    /// The workload that sent it, `namespace/name`; a client without a proxy has no name of its own.
    pub client: String,
    /// The workload that got it.
    pub workload: String,
    /// The Service that it was sent to, where the proxy knew.
    pub service: String,
    /// Requests or connections; `None` if the metrics do not give a number.
    pub count: Option<u64>,
    /// Whether the metrics name the client. One without a proxy has no name, as this tool's own probe pods.
    pub is_named: bool,
}

/// What injection is told by a namespace's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// New pods get a sidecar.
    On,
    /// New pods are captured by a ztunnel.
    Ambient,
    /// Neither.
    Off,
}

impl NamespaceContext {
    /// The same surroundings around the namespace as it would be.
    #[must_use]
    pub fn with(mut self, snapshot: Snapshot) -> Self {
        let others = self.rules.iter().filter(|rule| rule.namespace != snapshot.namespace).cloned();
        self.rules = Arc::new(others.chain(snapshot.rules.iter().cloned()).collect());
        self.snapshot = snapshot;
        self
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
