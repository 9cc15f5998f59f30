//! Addresses: how the text of a user becomes a URL, how messages show a URL without its secrets, and blocks of IP
//! addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use url::Url;

/// The scheme, host, port and path of a URL. User, password, query and fragment may be secrets, so no message contains them.
pub fn redacted(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    // After an unescaped slash, the rest of a password is part of the path.
    let path = Some(url.path().trim_end_matches('/')).filter(|path| !path.contains('@')).unwrap_or_default();
    format!("{}://{host}{port}{path}", url.scheme())
}

/// The URL of an API server by the rules of client-go (`rest.DefaultServerURL`): a URL, or `HOST[:PORT]` with the default
/// scheme. The error says what to write and does not repeat the text, which may contain a password.
pub fn server_url(text: &str, default_scheme: &str) -> Result<Url, &'static str> {
    const EXPECTED: &str = "write https://HOST:PORT, or HOST:PORT";
    let has_scheme = text.contains("://");
    let with_scheme = if has_scheme { text.to_owned() } else { format!("{default_scheme}://{text}") };
    let rest = with_scheme.split_once("://").map_or("", |(_, rest)| rest);
    // The parser accepts blanks and superfluous slashes, which no user means.
    if rest.starts_with(['/', '\\']) || !with_scheme.chars().all(|c| c.is_ascii_graphic()) {
        return Err(EXPECTED);
    }
    let url = Url::parse(&with_scheme).map_err(|_| EXPECTED)?;
    let is_http = matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.is_empty());
    if is_http && (has_scheme || url.path() == "/") { Ok(url) } else { Err(EXPECTED) }
}

/// Whether the node's agent gives connections of the node's own processes, such as probes of the kubelet, this source
/// address at ambient pods of the same node. A ztunnel does not capture them (BY-6).
pub fn is_host_probe(address: IpAddr) -> bool {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 7, 127));
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd16, 0x9254, 0x7127, 0x1337, 0xffff, 0xffff, 0xffff, 0xffff));
    address == V4 || address == V6
}

/// A block of IP addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    first: IpAddr,
    bits: u32,
}

impl Block {
    /// `10.0.0.1` or `10.0.0.0/8`; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text.trim(), None),
        };
        let first: IpAddr = address.parse().ok()?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        Some(Self { first, bits: bits.unwrap_or(all).min(all) })
    }

    /// Whether an address is part of it; never one of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |left: u128, right: u128, all: u32| self.bits == 0 || (left ^ right) >> (all - self.bits) == 0;
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => same(u32::from(first).into(), u32::from(address).into(), 32),
            (IpAddr::V6(first), IpAddr::V6(address)) => same(first.into(), address.into(), 128),
            _ => false,
        }
    }
}

/// Whether what listens at the IP address `bind` takes connections to `address`: the same, or all of its family.
pub fn is_listening(bind: &str, address: &str) -> bool {
    match (bind.parse::<IpAddr>(), address.parse::<IpAddr>()) {
        (Ok(bind), Ok(address)) => bind == address || bind.is_unspecified() && bind.is_ipv4() == address.is_ipv4(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://me:secret@host:9090/x", "https://host:9090/x"),
            ("https://me@host/", "https://host"),
            ("https://host/api?token=secret#secret", "https://host/api"),
            ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
            ("https://[fd00::1]:6443", "https://[fd00::1]:6443"),
            ("socks5://me:secret@proxy:1080", "socks5://proxy:1080"),
            ("https://me:12/secret@host", "https://me:12"),
        ] {
            assert_eq!(redacted(&url.parse().unwrap()), shown, "{url}");
        }
    }

    #[test]
    fn a_server_has_the_default_scheme_of_kubectl() {
        for (text, scheme, url) in [
            ("127.0.0.1:1", "http", Some("http://127.0.0.1:1/")),
            ("nonsense", "http", Some("http://nonsense/")),
            ("localhost:8080", "http", Some("http://localhost:8080/")),
            ("api.example:6443", "https", Some("https://api.example:6443/")),
            ("api.example:6443/", "https", Some("https://api.example:6443/")),
            ("[::1]:6443", "https", Some("https://[::1]:6443/")),
            ("http://api.example", "https", Some("http://api.example/")),
            ("HTTPS://api.example/rancher", "http", Some("https://api.example/rancher")),
            ("api.example/path", "https", None),
            ("", "http", None),
            ("not-a-url://", "http", None),
            ("ftp://me:secret@host", "http", None),
            ("https://", "http", None),
            ("https:///host", "http", None),
            ("//host", "http", None),
            ("host name", "http", None),
            ("host:99999", "http", None),
            ("\u{1b}[31m", "http", None),
        ] {
            assert_eq!(server_url(text, scheme).ok().as_ref().map(Url::as_str), url, "{text:?}");
        }
    }
}
