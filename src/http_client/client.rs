//! Creates the HTTP client for one URL.

use crate::cluster::error::ClusterError;
use crate::cluster::http_proxy::{ProxyVariables, choose};
use reqwest::{Client, ClientBuilder, Proxy, Url};

/// A builder of a client for `url`. Its proxy is chosen by the rules for the API server: `HTTPS_PROXY`, `HTTP_PROXY` and
/// `NO_PROXY`, and never a proxy for loopback addresses.
pub(super) fn builder(url: &Url, proxies: &ProxyVariables) -> Result<ClientBuilder, ClusterError> {
    let builder = Client::builder().no_proxy();
    let Some(proxy) = choose(url, None, proxies)? else { return Ok(builder) };
    let proxy = Proxy::all(proxy).map_err(|_| {
        ClusterError::new("the proxy of the environment cannot be used", "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
    })?;
    Ok(builder.proxy(proxy))
}
