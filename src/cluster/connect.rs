//! Connects to the cluster of the kubeconfig, of the command line or of the pod's own account, by kubectl's rules.

use super::deadline::Deadline;
use super::error::ClusterError;
use super::trace::{Sink, Trace};
use crate::signal::Shutdown;
use http::HeaderValue;
use kube::client::ClientBuilder;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use std::path::PathBuf;
use std::time::Duration;

/// kubectl's global options about the connection.
#[derive(Clone, Default)]
pub struct Connection {
    /// `--kubeconfig`; else `KUBECONFIG` (several files merged), else `~/.kube/config`, else the in-cluster account.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `-n/--namespace`.
    pub namespace: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// `--token`; never printed.
    pub token: Option<String>,
    /// `--certificate-authority`.
    pub certificate_authority: Option<PathBuf>,
    /// `--insecure-skip-tls-verify`.
    pub insecure: bool,
    /// `--tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `--as`.
    pub impersonate: Option<String>,
    /// `--as-group`.
    pub impersonate_groups: Vec<String>,
    /// `--as-uid`.
    pub impersonate_uid: Option<String>,
    /// `--request-timeout`; none waits without end.
    pub request_timeout: Option<Duration>,
    /// Receives a line for every request (`-v`).
    pub trace: Option<Sink>,
}

impl Connection {
    /// Whether the command line names a cluster or a namespace.
    pub fn names_a_cluster(&self) -> bool {
        let named = [&self.context, &self.cluster, &self.namespace, &self.server];
        self.kubeconfig.is_some() || named.into_iter().any(Option::is_some)
    }
}

/// A client for a cluster, and the namespace to work in.
#[derive(Clone)]
pub struct Cluster {
    /// The client. Every request has a deadline, and kube repeats none.
    pub client: Client,
    /// The namespace by kubectl's rules.
    pub namespace: String,
    /// Name for messages: the server's address, or `the sandbox`.
    pub name: String,
}

impl Cluster {
    /// The same cluster with another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        Self { client: self.client.clone(), namespace: namespace.to_owned(), name: self.name.clone() }
    }
}

/// Creates the client; sends no request. After a signal, requests get little time.
pub async fn connect(connection: &Connection, shutdown: &Shutdown) -> Result<Cluster, ClusterError> {
    let mut config = configuration(connection).await?;
    override_with(&mut config, connection)?;
    check_token(&config.auth_info)?;
    // kube repeats 429, 503 and 504 up to 15 times, writes included; `request` has this tool's policy.
    config.default_retry = false;
    config.connect_timeout = Some(connection.request_timeout.unwrap_or(Duration::from_secs(30)));
    // Log and watch streams may be silent for long; all else has the deadline of the layer below.
    config.read_timeout = None;
    let namespace = connection.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let name = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let builder = ClientBuilder::try_from(config).map_err(|error| invalid(&error.to_string()))?;
    let traced = builder.with_layer(&Trace(connection.trace.clone()));
    let deadline = Deadline { limit: connection.request_timeout, shutdown: shutdown.clone() };
    let client = traced.with_layer(&deadline).build();
    Ok(Cluster { client, namespace, name })
}

async fn configuration(connection: &Connection) -> Result<Config, ClusterError> {
    let options = KubeConfigOptions {
        context: connection.context.clone(),
        cluster: connection.cluster.clone(),
        user: connection.user.clone(),
    };
    let read = match &connection.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = match read {
        Ok(kubeconfig) => kubeconfig,
        // Without a file: the pod's own account, as in kubectl, or an address on the command line.
        Err(error) if connection.kubeconfig.is_none() && is_absent(&error) => return without_file(connection),
        Err(error @ KubeconfigError::Parse(_)) => return Err(invalid(&without_values(&error.to_string()))),
        Err(error) => return Err(invalid(&chain(&error))),
    };
    if kubeconfig.current_context.as_deref().unwrap_or_default().is_empty() && options.context.is_none() {
        if connection.server.is_some() || connection.kubeconfig.is_none() && in_cluster() {
            return without_file(connection);
        }
        return Err(ClusterError::new(
            "the kubeconfig has no current context",
            "choose one with --context or `kubectl config use-context`; --sandbox needs none",
        ));
    }
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| invalid(&chain(&error)))
}

fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn in_cluster() -> bool {
    std::path::Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
}

fn without_file(connection: &Connection) -> Result<Config, ClusterError> {
    if let Some(server) = &connection.server {
        return Ok(Config::new(parse_server(server)?));
    }
    Config::incluster().map_err(|_| {
        ClusterError::new(
            "no kubeconfig found, and this is no pod of a cluster",
            "set KUBECONFIG or --kubeconfig, or try it without a cluster: --sandbox",
        )
    })
}

fn parse_server(server: &str) -> Result<http::Uri, ClusterError> {
    server.parse().map_err(|_| ClusterError::new(format!("--server {server:?} is no URL"), "write https://HOST:PORT"))
}

/// Applies options of the command line, which override the file.
fn override_with(config: &mut Config, connection: &Connection) -> Result<(), ClusterError> {
    if let Some(server) = &connection.server {
        config.cluster_url = parse_server(server)?;
    }
    if let Some(token) = &connection.token {
        // A token replaces every other credential, as in kubectl.
        let replaced = std::mem::take(&mut config.auth_info);
        config.auth_info = AuthInfo {
            token: Some(token.clone().into()),
            impersonate: replaced.impersonate,
            impersonate_groups: replaced.impersonate_groups,
            ..AuthInfo::default()
        };
    }
    if let Some(path) = &connection.certificate_authority {
        let pem = std::fs::read(path).map_err(|error| {
            ClusterError::new(format!("could not read {}: {error}", path.display()), "see --certificate-authority")
        })?;
        let text = String::from_utf8_lossy(&pem);
        config.root_cert = Some(crate::domain::identity::certificates(&text));
        config.root_cert_file = None;
    }
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
        let value = HeaderValue::from_str(uid)
            .map_err(|_| ClusterError::new(format!("--as-uid {uid:?} cannot be sent"), "use plain text"))?;
        config.headers.push((http::HeaderName::from_static("impersonate-uid"), value));
    }
    Ok(())
}

/// A parser's message about a kubeconfig, without the lines and values in it: they may contain a token.
fn without_values(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    first.split('"').step_by(2).collect::<Vec<_>>().join("…")
}

/// Rejects a token that no header can contain, such as one with a line break: kube panics on it.
fn check_token(credentials: &AuthInfo) -> Result<(), ClusterError> {
    let written = serde_json::to_value(credentials).unwrap_or_default();
    let token = written["token"].as_str().unwrap_or_default();
    HeaderValue::from_str(token).map(|_| ()).map_err(|_| {
        ClusterError::new(
            "the token cannot be sent: it holds a character that no HTTP header may hold",
            "look for a line break in --token, or in the token of the kubeconfig",
        )
    })
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

fn invalid(reason: &str) -> ClusterError {
    ClusterError::new(
        format!("the kubeconfig cannot be used: {reason}"),
        "see `kubectl config view`; --kubeconfig names another file",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_the_kubeconfig_does_not_print_the_secret_beside_it() {
        let shown =
            "line 5 column 9: invalid type: string \"sekrit\", expected a map\n --> <input>\n5 |   token: sekrit\n";
        assert_eq!(without_values(shown), "line 5 column 9: invalid type: string …, expected a map");
    }
}
