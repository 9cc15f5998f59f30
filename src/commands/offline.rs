//! `--dry-run=client`: rendering with no cluster at hand, for `… -o yaml | oc apply -f -`.

use super::Context;
use crate::cli::switch::SwitchArgs;
use crate::cli::values::OutputFormat;
use crate::domain::plan::{Direction, RuleChoice, RuleScope};
use crate::error::{self, UsageError};
use crate::exit::ExitStatus;
use crate::istio::kinds::{PolicyApi, RuleApi};
use crate::istio::render::{self, Apis, Offline};
use crate::istio::{read, yaml};
use crate::report::RenderError;
use crate::report::plan::{objects, result_line};

/// Renders the objects in the order in which they would be applied.
pub fn run(context: &Context, args: &SwitchArgs, direction: Direction) -> error::Result<ExitStatus> {
    if !args.filename.is_empty() {
        return Err(UsageError {
            message: "-f is checked against the cluster, which --dry-run=client does not contact".to_owned(),
            hint: Some("use --dry-run=server, or --diff".to_owned()),
        }
        .into());
    }
    let services: Vec<String> = args.services.iter().chain(&args.more_services).cloned().collect();
    let with_rules = args.destination_rules == RuleChoice::Always;
    if with_rules && services.is_empty() {
        return Err(UsageError {
            message: "--dry-run=client contacts no cluster, so it cannot know the Services".to_owned(),
            hint: Some("name them (`enable-mtls --dry-run=client boards app-ui`), or use --dry-run=server".to_owned()),
        }
        .into());
    }
    if with_rules && args.scope == RuleScope::Namespace {
        return Err(UsageError {
            message: "--scope=namespace depends on the Services that exist, which --dry-run=client cannot know"
                .to_owned(),
            hint: Some("use --dry-run=server".to_owned()),
        }
        .into());
    }
    for service in &services {
        crate::cli::values::namespace(service)
            .map_err(|error| UsageError { message: format!("service {service:?}: {error}"), hint: None })?;
    }
    let policy = args.policy_api.unwrap_or(PolicyApi::V1);
    let newest = if policy == PolicyApi::Legacy { RuleApi::V1alpha3 } else { RuleApi::V1 };
    let what = Offline {
        namespace: context.settings.connection.namespace.as_deref().unwrap_or("default"),
        services: if with_rules { &services } else { &[] },
        cluster_domain: context.settings.mesh.cluster_domain.as_deref().unwrap_or("cluster.local"),
        policy: args.policy.as_deref().unwrap_or("default"),
        mode: direction.mode(),
    };
    let apis = Apis { policy, rule: args.destination_rule_api.unwrap_or(newest) };
    let rendered = render::manifests(apis, &what);
    let text = match args.output {
        Some(OutputFormat::Yaml) => yaml::write_all(&rendered).map_err(RenderError::Yaml)?,
        Some(OutputFormat::Json) => objects(&rendered, true)?,
        format => rendered
            .iter()
            .map(|object| {
                let kind = if object["kind"] == policy.kind().kind { policy.kind() } else { apis.rule.kind() };
                let name = kind.object_name(read::metadata(object, "name"));
                result_line(&name, "created", " (dry run)", format == Some(OutputFormat::Name))
            })
            .collect(),
    };
    context.printer.result(&text)?;
    Ok(ExitStatus::Success)
}
