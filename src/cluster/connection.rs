//! kubectl's options about the connection, resolved from arguments and environment.

use super::http_proxy::ProxyVariables;
use super::trace::Sink;
use std::path::PathBuf;
use std::time::Duration;

/// kubectl's global options about the connection.
#[derive(Clone, Default)]
pub struct Connection {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// The files of `KUBECONFIG`, else `~/.kube/config`; those that do not exist are passed over.
    pub default_kubeconfigs: Vec<PathBuf>,
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
    /// Proxies of the environment.
    pub proxies: ProxyVariables,
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
