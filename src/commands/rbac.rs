//! `rbac`: prints the Roles with the least rights that a command needs. It contacts no cluster.

use super::Context;
use crate::cli::rbac::{Allowed, RbacArgs, RbacFormat};
use crate::domain::rights::{RbacOptions, Task, rights};
use crate::error::{self, UsageError};
use crate::exit::ExitStatus;
use crate::istio::network_policy::{self, Admission, DNS_PORTS};
use crate::istio::rbac::{self, RoleSubject};
use crate::report::RenderError;
use crate::report::plan::objects;
use clap::ValueEnum;
use std::collections::BTreeSet;

/// Runs the command.
pub async fn run(context: &Context, args: &RbacArgs) -> error::Result<ExitStatus> {
    let (task, account) = match args.command {
        Allowed::Probe => (Task::Probe, "secure-traffic-probe"),
        Allowed::EnableMtls | Allowed::DisableMtls | Allowed::Demo => (Task::Switch, "secure-traffic-switch"),
        Allowed::Status => (Task::Status, "secure-traffic-status"),
        Allowed::Rehearse => (Task::Rehearse, "secure-traffic-rehearse"),
        Allowed::Cleanup => (Task::Cleanup, "secure-traffic-cleanup"),
        Allowed::History => (Task::History, "secure-traffic-history"),
    };
    let namespace = context.namespace().await?;
    let namespace = namespace.as_str();
    let probe_namespace = args.from_namespace.as_deref().filter(|probe_namespace| *probe_namespace != namespace);
    if args.network_policy {
        return network_policies(context, args, namespace, probe_namespace);
    }
    let options = RbacOptions {
        port_forward: args.port_forward,
        control: args.control,
        legacy: args.legacy,
        ambient: args.ambient,
        all_callers: args.all_callers,
        telemetry: args.telemetry,
        probe_namespace: probe_namespace.is_some() && task == Task::Probe,
        observe: args.observe,
    };
    let mesh = &context.settings.mesh;
    let root = mesh.istio_namespace.as_deref().unwrap_or("istio-system");
    let subject = RoleSubject {
        account: args.service_account.as_deref().unwrap_or(account),
        namespace,
        probe_namespace,
        root,
        ztunnel: mesh.ztunnel_namespace.as_deref().unwrap_or(root),
        revision: mesh.revision.as_deref(),
    };
    let needed = rights(task, options);
    let command = args.command.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let text = match args.output {
        RbacFormat::Yaml => rbac::manifest(&format!("`secure-traffic {command} -n {namespace}`"), &needed, &subject)
            .map_err(RenderError::Yaml)?,
        RbacFormat::Json => objects(&rbac::objects(&needed, &subject), true)?,
    };
    context.printer.result(&text)?;
    Ok(ExitStatus::Success)
}

/// `--network-policy`: prints the NetworkPolicies that admit the pods of the command.
fn network_policies(
    context: &Context,
    args: &RbacArgs,
    namespace: &str,
    probe_namespace: Option<&str>,
) -> error::Result<ExitStatus> {
    let is_switch = match args.command {
        Allowed::EnableMtls | Allowed::DisableMtls | Allowed::Demo => true,
        Allowed::Probe | Allowed::Rehearse => false,
        Allowed::Status | Allowed::Cleanup | Allowed::History => {
            let message = "--network-policy: this command creates no pods".to_owned();
            return Err(UsageError { message, hint: None }.into());
        }
    };
    let admission = Admission {
        namespace,
        probe_namespace: probe_namespace.filter(|_| !is_switch),
        has_mesh_client: is_switch || args.control,
        istio_namespace: context.settings.mesh.istio_namespace.as_deref().unwrap_or("istio-system"),
        targets: vec![serde_json::json!({})],
        has_egress: true,
        ports: BTreeSet::new(),
        addresses: BTreeSet::new(),
        dns_ports: &DNS_PORTS,
    };
    let text = match args.output {
        RbacFormat::Yaml => {
            let rules = network_policy::manifest(&admission).map_err(RenderError::Yaml)?;
            format!(
                "# Admits the pods of this tool in namespace {namespace}.\n# Apply the policy for Ingress only where a \
                 NetworkPolicy isolates the selected pods already: it would\n# isolate the others. Narrow its podSelector \
                 where that is so for some pods only.\n{rules}"
            )
        }
        RbacFormat::Json => objects(&network_policy::objects(&admission), true)?,
    };
    context.printer.result(&text)?;
    Ok(ExitStatus::Success)
}
