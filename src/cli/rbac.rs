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
    /// `history`.
    History,
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
    /// The command to allow
    #[arg(value_enum, value_name = "COMMAND")]
    pub command: Allowed,
    /// Name of the ServiceAccount and of its Roles; default: secure-traffic-probe, -switch, -status, -rehearse, -cleanup
    /// or -history
    #[arg(long, hide_short_help = true, value_name = "NAME", value_parser = super::values::namespace)]
    pub service_account: Option<String>,
    /// Namespace that probes are made in (probe --from-namespace)
    #[arg(long, hide_short_help = true, value_name = "NAMESPACE", value_parser = super::values::namespace)]
    pub from_namespace: Option<String>,
    /// Allow to ask the proxies (--evidence)
    ///
    /// The endpoints' own, with --ambient also the ztunnels. It opens their whole admin interface.
    #[arg(long)]
    pub port_forward: bool,
    /// Allow a client in the mesh (--control)
    ///
    /// It is used where nothing else shows who refused.
    #[arg(long)]
    pub control: bool,
    /// Allow to read the logs of ztunnels
    ///
    /// They are evidence for pods in ambient mode, in --ztunnel-namespace.
    #[arg(long)]
    pub ambient: bool,
    /// Print NetworkPolicies instead of Roles
    ///
    /// They admit the pods of the command where pods are isolated (default deny).
    #[arg(long)]
    pub network_policy: bool,
    /// Allow to name all callers (rehearse)
    ///
    /// With the right to watch the pods and to list the nodes and rules of the whole cluster.
    #[arg(long)]
    pub all_callers: bool,
    /// Allow the Telemetry object of a rehearsal
    ///
    /// To write and to remove it, for rehearse, enable-mtls --rehearse and cleanup.
    #[arg(long)]
    pub telemetry: bool,
    /// For --observe: nothing is written
    ///
    /// For enable-mtls and disable-mtls: no right to write policies, rules and journals.
    #[arg(long)]
    pub observe: bool,
    /// For a cluster with the legacy Policy API
    #[arg(long)]
    pub legacy: bool,
    /// yaml or json
    ///
    /// The format of the result: yaml has the reason for each right, json is a List.
    #[arg(
        short, long, value_enum, value_name = "FORMAT", default_value_t = RbacFormat::Yaml, hide_possible_values = true,
    )]
    pub output: RbacFormat,
}
