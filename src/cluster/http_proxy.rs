//! Chooses the proxy for a connection by kubectl's rules, and connects to the API server through it.

use super::error::ClusterError;
use crate::domain::address::redacted;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use std::net::IpAddr;
use std::task::{Context, Poll};
use tower::{BoxError, Service};
use url::{Host, Url};

/// The variables of the environment that name proxies; the upper-case name of each is preferred, as in Go.
#[derive(Debug, Clone, Default)]
pub struct ProxyVariables {
    /// `HTTPS_PROXY`: the proxy for https servers.
    pub https: Option<String>,
    /// `HTTP_PROXY`: the proxy for http servers.
    pub http: Option<String>,
    /// `NO_PROXY`: the servers that are contacted without these proxies.
    pub no_proxy: Option<String>,
}

/// The proxy for a server, with the rules of client-go and of Go's `httpproxy`. `proxy_url` is the field of the cluster in
/// the kubeconfig: it applies to every server, whatever `NO_PROXY` says. The variables apply to neither loopback addresses
/// nor what `NO_PROXY` names.
pub fn choose(server: &Url, proxy_url: Option<&str>, variables: &ProxyVariables) -> Result<Option<Url>, ClusterError> {
    if let Some(text) = proxy_url.filter(|text| !text.is_empty()) {
        return parse(text, "proxy-url of the kubeconfig").map(Some);
    }
    let (text, name) = match server.scheme() {
        "https" => (&variables.https, "HTTPS_PROXY"),
        _ => (&variables.http, "HTTP_PROXY"),
    };
    let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    if is_excluded(server, variables.no_proxy.as_deref().unwrap_or_default()) {
        return Ok(None);
    }
    parse(text, name).map(Some)
}

/// The URL of a proxy; without a scheme it is an HTTP proxy. `source` names where the text is from, for the error, which does
/// not repeat the text.
fn parse(text: &str, source: &str) -> Result<Url, ClusterError> {
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    let text = text.trim();
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    let url = url.ok();
    url.filter(|url| has_host(url) && matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h")).ok_or_else(
        || {
            ClusterError::new(
                format!("{source} is not the URL of a proxy"),
                "write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT",
            )
        },
    )
}

/// Whether the environment's proxies do not apply to a server: it is a loopback address, or `NO_PROXY` names it.
fn is_excluded(server: &Url, no_proxy: &str) -> bool {
    let Some(host) = server.host() else { return true };
    let port = server.port_or_known_default().unwrap_or_default();
    let (name, address) = match host {
        Host::Domain(name) => (name.to_ascii_lowercase(), None),
        Host::Ipv4(address) => (String::new(), Some(IpAddr::V4(address))),
        Host::Ipv6(address) => (String::new(), Some(IpAddr::V6(address).to_canonical())),
    };
    if name == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| match address {
        Some(address) => names_address(&entry, address, port),
        None => names_domain(&entry, &name, port),
    })
}

/// Whether an entry of `NO_PROXY` is `*`, a CIDR that contains the address, or the address with or without the port.
fn names_address(entry: &str, address: IpAddr, port: u16) -> bool {
    if entry == "*" || in_network(entry, address) {
        return true;
    }
    let is_address = |text: &str| text.parse() == Ok(address);
    if is_address(entry) {
        return true;
    }
    let (host, entry_port) = split_port(entry);
    is_address(host.trim_start_matches('[').trim_end_matches(']')) && entry_port.is_none_or(|named| named == port)
}

/// Whether an entry of `NO_PROXY` is `*`, the name or a domain above it, with or without the port. `.example.com` and
/// `*.example.com` are only the names below.
fn names_domain(entry: &str, name: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let (domain, entry_port) = split_port(entry);
    let domain = domain.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(domain);
    let (only_below, domain) = domain.strip_prefix('.').map_or((false, domain), |rest| (true, rest));
    let is_below = name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    !domain.is_empty() && entry_port.is_none_or(|named| named == port) && (is_below || !only_below && name == domain)
}

/// The host and the port of `HOST:PORT`; a text without a number after its last colon is a host.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (entry, None),
    }
}

/// Whether `entry` is a CIDR that contains the address.
fn in_network(entry: &str, address: IpAddr) -> bool {
    let Some((network, length)) = entry.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let is_equal = |network: u128, address: u128, width: u32| {
        length <= width && (length == 0 || network >> (width - length) == address >> (width - length))
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            is_equal(u32::from(network).into(), u32::from(address).into(), u32::BITS)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => is_equal(network.into(), address.into(), u128::BITS),
        _ => false,
    }
}

/// The address of a proxy for a connector, without its credentials and with its port.
pub(super) fn connect_uri(proxy: &Url) -> Result<Uri, ClusterError> {
    let port = proxy.port().unwrap_or(match proxy.scheme() {
        "http" => 80,
        "https" => 443,
        _ => 1080,
    });
    let host = proxy.host_str().unwrap_or_default();
    let scheme = if proxy.scheme() == "https" { "https" } else { "http" };
    let uri = format!("{scheme}://{host}:{port}").parse();
    uri.map_err(|_| proxy_error(&redacted(proxy), "its address cannot be used"))
}

/// User and password of a proxy, decoded; `None` without both.
pub(super) fn credentials(proxy: &Url) -> Option<(String, String)> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let password = proxy.password().unwrap_or_default();
    (!proxy.username().is_empty() || !password.is_empty()).then(|| (decode(proxy.username()), decode(password)))
}

/// The value of `Authorization` or `Proxy-Authorization` for a user and a password.
pub(super) fn basic(user: &str, password: &str) -> HeaderValue {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn proxy_error(proxy: &str, reason: &str) -> ClusterError {
    ClusterError::new(
        format!("cannot connect through the proxy {proxy}: {reason}"),
        "check proxy-url in the kubeconfig, or HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
    )
}

/// A connector that connects through a proxy, whose errors name the proxy.
#[derive(Clone)]
pub(super) struct Through<C> {
    connector: C,
    proxy: String,
}

impl<C> Through<C> {
    /// Wraps a connector whose handshake is with `proxy`.
    pub(super) fn new(proxy: &Url, connector: C) -> Self {
        Self { connector, proxy: redacted(proxy) }
    }
}

impl<C> Service<Uri> for Through<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<C::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = self.connector.call(with_port(server));
        let proxy = self.proxy.clone();
        Box::pin(async move {
            connecting.await.map_err(|error| proxy_error(&proxy, &innermost(error.into().as_ref())).into())
        })
    }
}

/// The same address with an explicit port: the connectors assume 443 without one.
fn with_port(server: Uri) -> Uri {
    let (Some(host), None, Some("http")) = (server.host(), server.port(), server.scheme_str()) else { return server };
    format!("http://{host}:80").parse().unwrap_or(server)
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, proxy_url: &str, https: &str, http: &str, no_proxy: &str) -> Option<String> {
        let variables = ProxyVariables {
            https: Some(https.to_owned()),
            http: Some(http.to_owned()),
            no_proxy: Some(no_proxy.to_owned()),
        };
        let proxy = choose(&server.parse().unwrap(), Some(proxy_url), &variables).unwrap();
        proxy.map(|proxy| proxy.as_str().trim_end_matches('/').to_owned())
    }

    #[test]
    fn the_proxy_of_a_server_is_the_one_that_kubectl_uses() {
        for (server, proxy_url, https, http, no_proxy, expected) in [
            ("https://api.example", "", "", "", "", None),
            ("https://api.example", "", "http://p:1", "http://q:2", "", Some("http://p:1")),
            ("http://api.example", "", "http://p:1", "http://q:2", "", Some("http://q:2")),
            ("http://api.example", "", "http://p:1", "", "", None),
            ("https://api.example", "", "p:3128", "", "", Some("http://p:3128")),
            ("https://api.example", "", "p", "", "", Some("http://p")),
            ("https://api.example", "", "socks5h://p:1080", "", "", Some("socks5h://p:1080")),
            // proxy-url ignores NO_PROXY and applies to loopback addresses.
            ("https://api.example", "http://u:3", "http://p:1", "", "*", Some("http://u:3")),
            ("https://127.0.0.1:6443", "socks5://u:3", "", "", "127.0.0.1", Some("socks5://u:3")),
            // The variables never apply to loopback addresses.
            ("https://127.0.0.1:6443", "", "http://p:1", "", "", None),
            ("https://127.8.0.1", "", "http://p:1", "", "", None),
            ("https://localhost:6443", "", "http://p:1", "", "", None),
            ("https://[::1]:6443", "", "http://p:1", "", "", None),
            // NO_PROXY names the server, not the proxy.
            ("https://api.example", "", "http://p:1", "", "p", Some("http://p:1")),
            ("https://api.example", "", "http://p:1", "", "api.example", None),
        ] {
            let proxy = chosen(server, proxy_url, https, http, no_proxy);
            assert_eq!(proxy.as_deref(), expected, "{server} {proxy_url} {https} {http} {no_proxy}");
        }
    }

    #[test]
    fn no_proxy_names_servers_as_in_go() {
        for (server, no_proxy, excluded) in [
            ("https://api.example", "*", true),
            ("https://api.example", "other, *", true),
            ("https://api.example", "", false),
            ("https://api.example", ",,", false),
            ("https://api.example", "example", true),
            ("https://api.example", ".example", true),
            ("https://api.example", "*.example", true),
            ("https://example", "example", true),
            ("https://example", ".example", false),
            ("https://example", "*.example", false),
            ("https://myexample", "example", false),
            ("https://API.Example", " Api.EXAMPLE ", true),
            ("https://api.example", "api.example:443", true),
            ("https://api.example:6443", "api.example:443", false),
            ("https://api.example:6443", "api.example:6443", true),
            ("https://10.1.2.3", "10.1.2.3", true),
            ("https://10.1.2.3", "10.1.2.3:443", true),
            ("https://10.1.2.3", "10.1.2.3:6443", false),
            ("https://10.1.2.3", "10.0.0.0/8", true),
            ("https://11.1.2.3", "10.0.0.0/8", false),
            ("https://11.1.2.3", "0.0.0.0/0", true),
            ("https://10.1.2.3", "10.1.2.3/33", false),
            ("https://10.1.2.3", ".2.3", false),
            ("https://10.1.2.3", "fd00::/8", false),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://[fd00::1]:6443", "fd00::1", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
            ("https://[fd00::1]:6443", "[fd00::1]:443", false),
            ("https://[fd00::1]", "fd00::2", false),
        ] {
            assert_eq!(is_excluded(&server.parse().unwrap(), no_proxy), excluded, "{server} {no_proxy:?}");
        }
    }

    #[test]
    fn a_proxy_that_is_no_url_is_an_error_without_its_text() {
        for text in ["ftp://me:secret@p", "http://me:secret@", "me:secret@p:99999", "http://me:secret@p p", "://secret"]
        {
            let server = "https://api.example".parse().unwrap();
            let variables = ProxyVariables { https: Some(text.to_owned()), ..ProxyVariables::default() };
            for error in [
                choose(&server, Some(text), &ProxyVariables::default()).unwrap_err(),
                choose(&server, None, &variables).unwrap_err(),
            ] {
                assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            }
        }
    }

    #[test]
    fn credentials_of_a_proxy_are_decoded_and_not_part_of_its_address() {
        for (proxy, uri, pair) in [
            ("http://p", "http://p/", None),
            ("https://p:8443", "https://p:8443/", None),
            ("socks5://p", "http://p:1080/", None),
            ("http://me:p%40ss%3A@p:3128", "http://p:3128/", Some(("me", "p@ss:"))),
            ("socks5://me@[::1]", "http://[::1]:1080/", Some(("me", ""))),
        ] {
            let proxy: Url = proxy.parse().unwrap();
            let expected: Uri = uri.parse().unwrap();
            let connect = connect_uri(&proxy).unwrap();
            assert_eq!((connect.host(), connect.scheme()), (expected.host(), expected.scheme()), "{proxy}");
            let shown = credentials(&proxy);
            assert_eq!(shown.as_ref().map(|(user, password)| (user.as_str(), password.as_str())), pair, "{proxy}");
        }
        assert_eq!(basic("me", "p@ss"), "Basic bWU6cEBzcw==");
    }

    #[test]
    fn a_server_without_a_port_has_the_port_of_its_scheme() {
        for (server, named) in [
            ("http://api.example/x", "http://api.example:80/"),
            ("http://api.example:8080/x", "http://api.example:8080/x"),
            ("https://api.example/x", "https://api.example/x"),
        ] {
            assert_eq!(with_port(server.parse().unwrap()), named.parse::<Uri>().unwrap(), "{server}");
        }
    }
}
