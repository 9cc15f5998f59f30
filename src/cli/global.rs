//! The options of every command; those of kubectl have the same names and meanings.

use super::values::{ColorChoice, SandboxState, duration};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The global options.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Namespace to work in; default: the context's, else "default"
    #[arg(short, long, global = true, hide_short_help = true, value_name = "NAMESPACE", help_heading = "Cluster", value_parser = super::values::namespace)]
    pub namespace: Option<String>,
    /// Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod's own account
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
    /// Cluster of the kubeconfig
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", help_heading = "Cluster")]
    pub cluster: Option<String>,
    /// User of the kubeconfig
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", help_heading = "Cluster")]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(short, long, global = true, hide_short_help = true, value_name = "URL", value_parser = super::values::server(), help_heading = "Cluster")]
    pub server: Option<String>,
    /// Bearer token
    #[arg(long, global = true, hide_short_help = true, value_name = "TOKEN", help_heading = "Cluster")]
    pub token: Option<String>,
    /// File with the certificate authority of the API server
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", help_heading = "Cluster")]
    pub certificate_authority: Option<PathBuf>,
    /// Do not check the API server's certificate
    #[arg(long, global = true, hide_short_help = true, help_heading = "Cluster")]
    pub insecure_skip_tls_verify: bool,
    /// Name to check the API server's certificate against
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME", help_heading = "Cluster")]
    pub tls_server_name: Option<String>,
    /// User to act as
    #[arg(long = "as", global = true, hide_short_help = true, value_name = "USER", help_heading = "Cluster")]
    pub impersonate: Option<String>,
    /// Group to act as; can be repeated
    #[arg(long = "as-group", global = true, hide_short_help = true, value_name = "GROUP", help_heading = "Cluster")]
    pub impersonate_groups: Vec<String>,
    /// UID to act as
    #[arg(long = "as-uid", global = true, hide_short_help = true, value_name = "UID", help_heading = "Cluster")]
    pub impersonate_uid: Option<String>,
    /// Time that one request to the API server may take; 0 waits without end
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION", default_value = "30s", value_parser = duration, help_heading = "Cluster")]
    pub request_timeout: Duration,
    /// Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]
    #[arg(long, global = true, hide_short_help = true, value_name = "DURATION", value_parser = duration, help_heading = "Cluster")]
    pub timeout: Option<Duration>,

    /// Namespace of the control plane; default: found by istiod's label, else istio-system
    #[arg(short, long, global = true, hide_short_help = true, value_name = "NAMESPACE", help_heading = "Mesh", value_parser = super::values::namespace)]
    pub istio_namespace: Option<String>,
    /// Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane
    #[arg(long, global = true, hide_short_help = true, value_name = "NAMESPACE", help_heading = "Mesh", value_parser = super::values::namespace)]
    pub ztunnel_namespace: Option<String>,
    /// Revision of the control plane
    #[arg(long, global = true, hide_short_help = true, value_name = "REVISION", help_heading = "Mesh")]
    pub revision: Option<String>,
    /// Domain of the cluster's Services
    #[arg(long, global = true, hide_short_help = true, value_name = "DOMAIN", help_heading = "Mesh")]
    pub cluster_domain: Option<String>,
    /// Run against a fresh embedded sandbox instead of a cluster
    #[arg(long, global = true, hide_short_help = true, value_name = "STATE", num_args = 0..=1, require_equals = true, default_missing_value = "auto", help_heading = "Mesh")]
    pub sandbox: Option<SandboxState>,

    /// When to use colour; NO_COLOR is honoured
    #[arg(long, global = true, hide_short_help = true, value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto, help_heading = "Output")]
    pub color: ColorChoice,
    /// Print results only
    #[arg(short, long, global = true, conflicts_with = "verbose", hide_short_help = true, help_heading = "Output")]
    pub quiet: bool,
    /// Say more: the requests to the API server
    #[arg(short, long, global = true, hide_short_help = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}
