//! Connects to the cluster of the kubeconfig, of the command line or of the pod's own account, by kubectl's rules.

use super::connection::Connection;
use super::credentials::{Authorize, Credentials, Identity};
use super::deadline::Deadline;
use super::error::ClusterError;
use super::http_proxy::{self, Through};
use super::kubeconfig::{self, Selected, invalid};
use super::local_file;
use super::trace::Trace;
use crate::domain::address::{redacted, server_url};
use crate::domain::identity::certificates;
use crate::signal::Shutdown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection as Connected, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tower::timeout::Timeout;
use tower::util::BoxCloneService;
use tower::{BoxError, Service};
use url::Url;

/// Time for a connection to the API server, if `--request-timeout` sets none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for a cluster, and the namespace to work in.
#[derive(Clone)]
pub struct Cluster {
    /// The client. Every request has a deadline, and kube repeats none.
    pub client: Client,
    /// The namespace by kubectl's rules.
    pub namespace: String,
    /// Name for messages: the server's address, or `the sandbox`.
    pub name: String,
    /// Name and account for a confirmation: `prod (https://host:6443) as alice`, or the name where nothing else is known.
    pub description: String,
}

impl Cluster {
    /// The same cluster with another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// Namespace `demo` of a cluster that a test simulates.
    #[cfg(test)]
    pub fn of_test(client: Client) -> Self {
        Self { client, namespace: "demo".to_owned(), name: "a test".to_owned(), description: String::new() }
    }
}

/// Creates the client; sends no request. A credential plugin is run, and ended if the future is dropped. After a signal,
/// requests get little time.
pub async fn connect(connection: &Connection, shutdown: &Shutdown) -> Result<Cluster, ClusterError> {
    let resolved = resolve(connection).await?;
    let proxy = http_proxy::choose(&resolved.server, resolved.proxy_url.as_deref(), &connection.proxies)?;
    if let (Some(sink), Some(proxy)) = (&connection.trace, &proxy) {
        sink(&format!("connecting through the proxy {}", redacted(proxy)));
    }
    let name = redacted(&resolved.server);
    let description = resolved.names.describe(&name, connection.impersonate.as_deref());
    let mut config = resolved.config;
    config.connect_timeout = Some(connection.request_timeout.unwrap_or(CONNECT_TIMEOUT));
    override_with(&mut config, connection)?;
    let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let transport = transport(&config, proxy.as_ref())?;
    let headers = config.extra_headers_layer().map_err(|error| invalid(&chain(&error)))?;
    let client = ClientBuilder::new(transport, config.default_namespace.clone())
        .with_layer(&config.base_uri_layer())
        .with_layer(&headers)
        .with_layer(&Trace(connection.trace.clone()))
        .with_layer(&Deadline { limit: connection.request_timeout, shutdown: shutdown.clone() })
        .with_layer(&Authorize { credentials: resolved.credentials, shutdown: shutdown.clone() })
        .build();
    Ok(Cluster { client, namespace, name, description })
}

/// The namespace by kubectl's rules, without contact to the cluster: `-n`, the context's, the pod's own, else `default`.
pub async fn namespace(connection: &Connection) -> Result<String, ClusterError> {
    if let Some(namespace) = &connection.namespace {
        return Ok(namespace.clone());
    }
    // With a server, a kubeconfig needs no current context.
    let no_context_needed = Connection { server: Some(String::new()), ..connection.clone() };
    let selected = kubeconfig::load(&no_context_needed).await?;
    let of_pod = || Config::incluster().ok().map(|config| config.default_namespace);
    let namespace = selected.map_or_else(of_pod, |selected| selected.namespace);
    Ok(namespace.unwrap_or_else(|| "default".to_owned()))
}

/// The API server, and how to connect and authenticate to it.
struct ResolvedConnection {
    /// Its URL, without user, password, query and fragment.
    server: Url,
    /// kube's settings for TLS, impersonation and namespace. They contain no credentials but a client certificate, because
    /// kube would read files and run plugins itself, and wait for them.
    config: Config,
    credentials: Credentials,
    /// `proxy-url` of the cluster.
    proxy_url: Option<String>,
    /// Where the settings come from.
    names: LoginNames,
}

/// The names by which a user knows a connection.
#[derive(Debug, Default)]
struct LoginNames {
    /// The context of the kubeconfig.
    context: Option<String>,
    /// The user of the kubeconfig, unless another account is used.
    user: Option<String>,
}

impl LoginNames {
    /// `prod (https://host:6443) as alice`, with the account that is impersonated in place of the user.
    fn describe(&self, server: &str, impersonated: Option<&str>) -> String {
        let place = self.context.as_ref().map_or_else(|| server.to_owned(), |context| format!("{context} ({server})"));
        match impersonated.or(self.user.as_deref()) {
            Some(user) => format!("{place} as {user}"),
            None => place,
        }
    }
}

async fn resolve(connection: &Connection) -> Result<ResolvedConnection, ClusterError> {
    match kubeconfig::load(connection).await? {
        Some(selected) => of_kubeconfig(selected, connection).await,
        // Without a file: an address on the command line, or the pod's own account, as in kubectl.
        None => match &connection.server {
            Some(server) => of_server(server, connection).await,
            None => of_pod(connection).await,
        },
    }
}

async fn of_kubeconfig(selected: Selected, connection: &Connection) -> Result<ResolvedConnection, ClusterError> {
    let Selected { context_name, cluster_name, cluster, user_name, user, namespace } = selected;
    // A token of the command line may belong to anybody.
    let is_named = connection.token.is_none() && !user_name.is_empty();
    let names = LoginNames { context: context_name, user: is_named.then(|| user_name.clone()) };
    let authority = authority(&cluster_name, &cluster, connection).await?;
    let is_insecure = cluster.insecure_skip_tls_verify.unwrap_or_default() || connection.insecure;
    let fields = serde_json::to_value(&user).unwrap_or_default();
    let has_certificate = ["client-certificate", "client-certificate-data"].iter().any(|field| is_set(&fields[field]));
    let scheme = if authority.is_some() || has_certificate || is_insecure { "https" } else { "http" };
    let text = connection.server.clone().or(cluster.server.clone()).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| invalid(&format!("cluster {cluster_name:?} has no server")))?;
    let url = server_url(&text, scheme)
        .map_err(|expected| invalid(&format!("the server of cluster {cluster_name:?} is no URL: {expected}")))?;
    let (server, login) = split_login(&url);
    let mut config = Config::new(uri(&server)?);
    config.default_namespace = namespace.unwrap_or_else(|| "default".to_owned());
    config.accept_invalid_certs = is_insecure;
    config.tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
    let info = json!({
        "server": server.as_str().trim_end_matches('/'),
        "insecure-skip-tls-verify": is_insecure,
        "certificate-authority-data": authority.as_ref().map(|pem| BASE64.encode(pem)),
        "tls-server-name": config.tls_server_name,
        "proxy-url": cluster.proxy_url,
        "config": cluster.extensions.iter().flatten()
            .find(|extension| extension.name == "client.authentication.k8s.io/exec")
            .map(|extension| &extension.extension),
    });
    let info = info.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let info: Value = info.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into();
    let identity = Identity::new(&user, &user_name, connection.token.as_deref(), login, info).await?;
    config.root_cert = authority.map(|pem| certificates(&String::from_utf8_lossy(&pem)));
    config.auth_info.impersonate = user.impersonate;
    config.auth_info.impersonate_uid = user.impersonate_uid;
    config.auth_info.impersonate_groups = user.impersonate_groups;
    config.auth_info.impersonate_user_extra = user.impersonate_user_extra;
    if let Some((certificate, key)) = identity.certificate {
        config.auth_info.client_certificate_data = Some(BASE64.encode(certificate));
        config.auth_info.client_key_data = Some(BASE64.encode(key).into());
    }
    Ok(ResolvedConnection { server, config, credentials: identity.credentials, proxy_url: cluster.proxy_url, names })
}

/// The server of the command line, without a kubeconfig.
async fn of_server(server: &str, connection: &Connection) -> Result<ResolvedConnection, ClusterError> {
    let selected = Selected {
        context_name: None,
        cluster_name: "of --server".to_owned(),
        cluster: kube::config::Cluster { server: Some(server.to_owned()), ..Default::default() },
        user_name: String::new(),
        user: kube::config::AuthInfo::default(),
        namespace: None,
    };
    of_kubeconfig(selected, connection).await
}

/// The account of the pod in which this process runs.
async fn of_pod(connection: &Connection) -> Result<ResolvedConnection, ClusterError> {
    let mut config = Config::incluster().map_err(|_| {
        ClusterError::new(
            "no kubeconfig found, and not running inside a cluster",
            "set KUBECONFIG or --kubeconfig, or try it without a cluster: --sandbox",
        )
    })?;
    let server = server_url(&config.cluster_url.to_string(), "https").map_err(invalid)?;
    let account = std::mem::take(&mut config.auth_info);
    let identity = Identity::new(&account, "", connection.token.as_deref(), None, Value::Null).await?;
    if let Some(path) = &connection.certificate_authority {
        config.root_cert = Some(certificates(&String::from_utf8_lossy(&authority_file(path).await?)));
        config.root_cert_file = None;
    }
    let names = LoginNames::default();
    Ok(ResolvedConnection { server, config, credentials: identity.credentials, proxy_url: None, names })
}

fn is_set(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// A user and a password.
type Login = (String, String);

/// The URL without user, password, query and fragment, and the user with the password.
fn split_login(url: &Url) -> (Url, Option<Login>) {
    let login = http_proxy::credentials(url);
    let mut server = url.clone();
    // Only a URL without a host refuses these, and an http URL has a host.
    let _ = server.set_username("");
    let _ = server.set_password(None);
    server.set_query(None);
    server.set_fragment(None);
    (server, login)
}

fn uri(server: &Url) -> Result<Uri, ClusterError> {
    server.as_str().parse().map_err(|_| invalid("the address of the server cannot be used"))
}

/// The certificate authority in PEM: of `--certificate-authority`, else of the cluster.
async fn authority(
    name: &str,
    cluster: &kube::config::Cluster,
    connection: &Connection,
) -> Result<Option<Vec<u8>>, ClusterError> {
    if let Some(path) = &connection.certificate_authority {
        return authority_file(path).await.map(Some);
    }
    if let Some(data) = cluster.certificate_authority_data.as_deref().filter(|data| !data.is_empty()) {
        let decoded = BASE64.decode(data.trim());
        return decoded
            .map(Some)
            .map_err(|_| invalid(&format!("certificate-authority-data of cluster {name:?} is not base64")));
    }
    match cluster.certificate_authority.as_deref().filter(|path| !path.is_empty()) {
        Some(path) => authority_file(Path::new(path)).await.map(Some),
        None => Ok(None),
    }
}

async fn authority_file(path: &Path) -> Result<Vec<u8>, ClusterError> {
    let pem = local_file::read(path)
        .await
        .map_err(|error| local_file::unreadable(path, "--certificate-authority and certificate-authority", &error))?;
    if certificates(&String::from_utf8_lossy(&pem)).is_empty() {
        return Err(ClusterError::new(
            format!("{} contains no certificate", path.display()),
            "see --certificate-authority and certificate-authority of the kubeconfig",
        ));
    }
    Ok(pem)
}

/// Applies options of the command line, which override the file.
fn override_with(config: &mut Config, connection: &Connection) -> Result<(), ClusterError> {
    config.accept_invalid_certs |= connection.insecure;
    if connection.tls_server_name.is_some() {
        config.tls_server_name.clone_from(&connection.tls_server_name);
    }
    if connection.impersonate.is_some() {
        config.auth_info.impersonate.clone_from(&connection.impersonate);
    }
    if !connection.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(connection.impersonate_groups.clone());
    }
    if let Some(uid) = &connection.impersonate_uid {
        HeaderValue::from_str(uid)
            .map_err(|_| ClusterError::new(format!("--as-uid {uid:?} cannot be sent"), "use plain text"))?;
        config.auth_info.impersonate_uid = Some(uid.clone());
    }
    Ok(())
}

/// Sends requests over HTTP/1.1, with TLS to https servers.
type Transport = BoxCloneService<Request<Body>, Response<Incoming>, legacy::Error>;

/// The transport to the server, directly or through the proxy. Log streams and port-forwards use it, too.
fn transport(config: &Config, proxy: Option<&Url>) -> Result<Transport, ClusterError> {
    let mut direct = HttpConnector::new();
    // TLS is a layer above.
    direct.enforce_http(false);
    let Some(proxy) = proxy else { return over(direct, config) };
    let address = http_proxy::connect_uri(proxy)?;
    let login = http_proxy::credentials(proxy);
    match proxy.scheme() {
        "http" => over(Through::new(proxy, tunnel(address, direct, login)), config),
        "https" => {
            // `tls-server-name` is the name of the API server.
            let mut settings = config.clone();
            settings.tls_server_name = None;
            let secure =
                settings.rustls_https_connector_with_connector(direct).map_err(|error| invalid(&chain(&error)))?;
            over(Through::new(proxy, tunnel(address, secure, login)), config)
        }
        _ => {
            let socks = SocksV5::new(address, direct);
            let socks = match login {
                Some((user, password)) => socks.with_auth(user, password),
                None => socks,
            };
            over(Through::new(proxy, socks), config)
        }
    }
}

fn tunnel<C>(proxy: Uri, connector: C, login: Option<Login>) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy, connector);
    match login {
        Some((user, password)) => tunnel.with_auth(http_proxy::basic(&user, &password)),
        None => tunnel,
    }
}

fn over<C>(connector: C, config: &Config) -> Result<Transport, ClusterError>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Read + Write + Connected + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError> + Send + Sync + 'static,
{
    let limited = Timeout::new(connector, config.connect_timeout.unwrap_or(CONNECT_TIMEOUT));
    let secure = config.rustls_https_connector_with_connector(limited).map_err(|error| invalid(&chain(&error)))?;
    Ok(BoxCloneService::new(legacy::Client::builder(TokioExecutor::new()).build(secure)))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let message = inner.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = inner.source();
    }
    text
}
