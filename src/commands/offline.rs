//! `--dry-run=client` with Services named: renders the objects without a cluster, for `… -o yaml | oc apply -f -`.

use super::Context;
use crate::cli::values::OutputFormat;
use crate::domain::plan::{PodScope, RuleScope, SwitchRequest};
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::istio::kinds::{PolicyApi, RuleApi};
use crate::istio::render::{self, Apis, Offline};
use crate::istio::{read, yaml};
use crate::report::RenderError;
use crate::report::plan::{objects, result_line};
use crate::settings::{OfflineSettings, SwitchGoal};

/// Prints the objects in the order in which they would be applied. Without a cluster, the Services have to be named.
pub async fn run(context: &Context, settings: &OfflineSettings) -> error::Result<ExitStatus> {
    let request = match &settings.goal {
        SwitchGoal::Render(request) => request,
        SwitchGoal::Manifests { .. } => {
            return Err(UsageError {
                message: "-f with --dry-run=client would print the files again".to_owned(),
                hint: Some("use --dry-run=server, or --diff".to_owned()),
            }
            .into());
        }
        SwitchGoal::Restore { .. } => {
            return Err(UsageError {
                message: "--restore needs the journals, which are in the cluster".to_owned(),
                hint: Some("see what it would do with --diff or --dry-run=server".to_owned()),
            }
            .into());
        }
    };
    context.reports.mark_dry_run();
    let policy = settings.policy_api.unwrap_or(PolicyApi::V1);
    check(request, policy)?;
    let services = request.services.as_deref().unwrap_or_default();
    let with_rules = request.destination_rules.is_explicit();
    let newest = if policy == PolicyApi::Legacy { RuleApi::V1alpha3 } else { RuleApi::V1 };
    let namespace = context.namespace().await?;
    let what = Offline {
        namespace: &namespace,
        services: if with_rules { services } else { &[] },
        cluster_domain: context.settings.mesh.cluster_domain.as_deref().unwrap_or("cluster.local"),
        policy: request.policy.as_deref(),
        pods: match &request.pods {
            PodScope::Namespace { .. } => None,
            PodScope::Workload(labels) => Some(labels),
        },
        mode: request.direction.mode(),
    };
    let apis = Apis { policy, rule: settings.rule_api.unwrap_or(newest) };
    let rendered = render::manifests(apis, &what);
    let text = match settings.output {
        OutputFormat::Yaml => yaml::write_all(&rendered).map_err(RenderError::Yaml)?,
        OutputFormat::Json => objects(&rendered, true)?,
        format => rendered
            .iter()
            .map(|object| {
                let kind = if object["kind"] == policy.kind().kind { policy.kind() } else { apis.rule.kind() };
                let name = kind.object_name(read::metadata(object, "name"));
                result_line(&name, "created", " (dry run)", format == OutputFormat::Name)
            })
            .collect(),
    };
    context.printer.result(&text)?;
    Ok(ExitStatus::Success)
}

/// An error of `--dry-run=client` without Services, with the hint that it needs no cluster where they are named.
pub fn with_hint(error: Error) -> Error {
    let Error::Cluster(mut error) = error else { return error };
    let hint = "name the Services to render without a cluster: `enable-mtls --dry-run=client boards app-ui`";
    error.hint = Some(error.hint.map_or_else(|| hint.to_owned(), |first| format!("{first}; or {hint}")));
    error.into()
}

/// What cannot be rendered without a cluster is a usage error.
fn check(request: &SwitchRequest, policy_api: PolicyApi) -> Result<(), UsageError> {
    let services = request.services.as_deref().unwrap_or_default();
    let with_rules = request.destination_rules.is_explicit();
    if with_rules && services.is_empty() {
        return Err(UsageError {
            message: "--policy-api and --destination-rule-api are for Services that are named".to_owned(),
            hint: Some(
                "name them (`enable-mtls --dry-run=client boards app-ui`), or let the cluster's versions count"
                    .to_owned(),
            ),
        });
    }
    if with_rules && request.scope == RuleScope::Namespace {
        return Err(UsageError {
            message:
                "--scope=namespace depends on the Services that exist: with Services named, --dry-run=client reads none"
                    .to_owned(),
            hint: Some("leave the names out, or use --dry-run=server".to_owned()),
        });
    }
    if matches!(&request.pods, PodScope::Namespace { exceptions } if !exceptions.is_empty()) {
        return Err(UsageError {
            message:
                "--except needs the selector and the target port of the Service: with Services named, --dry-run=client reads none"
                    .to_owned(),
            hint: Some("leave the names out, or use --dry-run=server".to_owned()),
        });
    }
    if policy_api == PolicyApi::Legacy && matches!(request.pods, PodScope::Workload(_)) {
        return Err(UsageError {
            message: "--workload needs a policy with a selector, which the legacy API does not have".to_owned(),
            hint: None,
        });
    }
    for service in services {
        crate::cli::values::namespace(service)
            .map_err(|error| UsageError { message: format!("service {service:?}: {error}"), hint: None })?;
    }
    Ok(())
}
