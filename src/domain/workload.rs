//! What a pod is besides its part in the mesh: which workload it belongs to, and what of it STRICT would break.

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
