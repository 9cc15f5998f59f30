//! What plans and journals know of a Kubernetes object: its kind, and JSON that this module compares and carries but
//! does not look into.

/// The two kinds of objects that a switch writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// What servers accept: a PeerAuthentication, or a Policy of the legacy API.
    Policy,
    /// What clients send: a `DestinationRule`.
    Rule,
}

/// An object, its `spec` or another part of it, as JSON. `istio` makes and reads it; two values are equal where the
/// JSON is, whatever the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectJson(serde_json::Value);

impl ObjectJson {
    /// This JSON.
    pub const fn new(value: serde_json::Value) -> Self {
        Self(value)
    }

    /// The JSON, for the modules that know its shape.
    pub const fn value(&self) -> &serde_json::Value {
        &self.0
    }
}

impl From<serde_json::Value> for ObjectJson {
    fn from(value: serde_json::Value) -> Self {
        Self::new(value)
    }
}
