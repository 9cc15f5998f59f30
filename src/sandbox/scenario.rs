//! What a sandbox contains when it starts: its namespaces and the state of mutual TLS.

/// Namespace of the demo application.
pub(super) const NAMESPACE: &str = "microservices-demo";
/// Namespace in which not every workload has a sidecar; the guide's examples are about it.
pub(super) const SHOP: &str = "shop";
/// Root namespace of the mesh.
pub(super) const ROOT_NAMESPACE: &str = "istio-system";

/// The state of mutual TLS in which a sandbox starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No policy: the mesh accepts mutual TLS and plaintext.
    Permissive,
    /// The objects that `enable-mtls` writes: a STRICT policy, and a `DestinationRule` for each Service.
    Strict,
    /// The API of Istio up to 1.4, with a PERMISSIVE `MeshPolicy`.
    Legacy,
}
