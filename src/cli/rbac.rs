//! Arguments of `rbac`.

use clap::{Args, ValueEnum};

/// The command that is to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Allowed {
    /// `probe`.
    Probe,
    /// `enable-mtls`.
    EnableMtls,
    /// `disable-mtls`.
    DisableMtls,
    /// `demo`.
    Demo,
    /// `status`.
    Status,
    /// `rehearse`.
    Rehearse,
    /// `cleanup`.
    Cleanup,
}

/// `-o` of `rbac`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RbacFormat {
    /// With the reason for each right.
    Yaml,
    /// A List.
    Json,
}

/// Arguments of `rbac`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic rbac probe -n shop | kubectl apply -f -
  secure-traffic rbac enable-mtls -n shop --port-forward
  secure-traffic rbac probe -n shop --ambient --ztunnel-namespace ztunnel
  secure-traffic rbac probe -n shop --from-namespace ci --service-account smoke-test
  secure-traffic rbac enable-mtls -n shop --network-policy | kubectl apply -f -")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct RbacArgs {
    /// The command that is to be allowed
    #[arg(value_enum, value_name = "COMMAND")]
    pub command: Allowed,
    /// Name of the ServiceAccount and of its Roles; default: secure-traffic-probe, -switch, -status, -rehearse or -cleanup
    #[arg(long, value_name = "NAME", value_parser = super::values::namespace)]
    pub service_account: Option<String>,
    /// Namespace that probes are made in (probe --from-namespace)
    #[arg(long, value_name = "NAMESPACE", value_parser = super::values::namespace)]
    pub from_namespace: Option<String>,
    /// Allow to ask the endpoints' own proxies (--evidence), with --ambient also the ztunnels: it opens their whole admin
    /// interface
    #[arg(long)]
    pub port_forward: bool,
    /// Allow a client in the mesh where nothing else tells who refused (--control)
    #[arg(long)]
    pub control: bool,
    /// Allow to read the logs of ztunnels (in --ztunnel-namespace): evidence for pods in ambient mode
    #[arg(long)]
    pub ambient: bool,
    /// Print the NetworkPolicies that admit the pods of the command where pods are isolated (default deny), instead of
    /// Roles
    #[arg(long)]
    pub network_policy: bool,
    /// Allow to watch the pods and list the nodes and rules of the whole cluster: names for all callers (rehearse)
    #[arg(long)]
    pub all_callers: bool,
    /// Allow to write and to remove the Telemetry object of a rehearsal (rehearse, enable-mtls --rehearse, cleanup)
    #[arg(long)]
    pub telemetry: bool,
    /// For enable-mtls and disable-mtls with --observe: no right to write policies, rules and journals
    #[arg(long)]
    pub observe: bool,
    /// For a cluster with only the legacy Policy API
    #[arg(long)]
    pub legacy: bool,
    /// Format of the result
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = RbacFormat::Yaml)]
    pub output: RbacFormat,
}
