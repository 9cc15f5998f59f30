//! The clock of the sandbox's API server.

/// The present time in the format of a `metav1.Time`: UTC, whole seconds.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
