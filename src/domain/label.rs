//! The syntax of names in Kubernetes: labels, their keys and values, and DNS names.

/// The part of a key behind its prefix, and a value that is not empty: at most 63 letters, digits, `-`, `_` and `.`, with a
/// letter or digit at both ends.
pub fn is_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    text.len() <= 63 && text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().last())
}

/// The value of a label.
pub fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

/// The name of a namespace, of a Service, and one part of a [subdomain](is_dns_subdomain).
pub fn is_dns_label(text: &str) -> bool {
    is_name(text) && !text.bytes().any(|byte| matches!(byte, b'_' | b'.' | b'A'..=b'Z'))
}

/// The prefix of a key, and the name of most objects.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}
