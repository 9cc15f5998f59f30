//! Arguments of `enable-mtls` and `disable-mtls`.

use super::output::{OutputArgs, with_long_help};
use super::probe::PodArgs;
use super::report::ReportArgs;
use super::status::FindingArgs;
use super::values::{MatchLabels, check_url, duration, exception, off_mode, proof_expectation, rehearsal_duration};
use crate::domain::expectation::Expectation;
use crate::domain::mesh::MtlsMode;
use crate::domain::plan::{RuleChoice, RuleScope};
use crate::domain::probe::Target;
use crate::istio::kinds::{PolicyApi, RuleApi};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// `--dry-run`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// No dry run.
    #[default]
    None,
    /// Render only; no cluster is contacted.
    Client,
    /// Let the API server validate every object; nothing is written.
    Server,
}

/// What both directions share.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(mut_arg(
    "output",
    with_long_help(
        "The format of the result. json and yaml are the document of the whole run (docs/schema); with --dry-run and --observe they are the Kubernetes objects."
    )
))]
pub struct SwitchArgs {
    /// Services; none: all of the namespace
    ///
    /// Their rules are changed, and their ports are proven. The policy always applies to the whole namespace.
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Services by name, for --dry-run=client; the same as naming them as arguments
    #[arg(long = "service", hide_short_help = true, value_name = "SERVICE")]
    pub more_services: Vec<String>,
    /// Change without asking
    ///
    /// Needed where there is no terminal.
    #[arg(short, long)]
    pub yes: bool,
    /// client: render; server: validate
    ///
    /// "client" prints what a run would apply: it reads the cluster, or contacts none where Services are named. "server" lets
    /// the API server validate the objects.
    #[arg(
        long, value_enum, value_name = "WHO", default_value_t, hide_default_value = true, hide_possible_values = true,
        num_args = 0..=1, require_equals = true, default_missing_value = "client",
    )]
    pub dry_run: DryRun,
    /// Show the changes as a diff; write nothing
    ///
    /// Exit code 0 for no changes, 1 for some.
    #[arg(long, conflicts_with = "dry_run")]
    pub diff: bool,
    /// Prove what another writer applies
    ///
    /// Writes no policy and no rule: prints them, waits until another writer has applied them (--timeout), and proves.
    #[arg(
        long,
        conflicts_with_all = ["dry_run", "diff", "verify", "rollback_on_failure", "no_journal", "force_conflicts"],
    )]
    pub observe: bool,
    #[command(flatten)]
    pub format: OutputArgs,
    /// Wait until the change is in force and prove it with a probe; =false only applies
    #[arg(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub verify: bool,
    /// Time for the policy to come into force everywhere
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, hide_short_help = true)]
    pub wait_timeout: Duration,
    /// Time for changed rules to reach the clients
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, hide_short_help = true)]
    pub settle: Duration,
    /// Time between two calls of the client in the mesh to a Service, during the change
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration, hide_short_help = true)]
    pub mesh_client_interval: Duration,
    /// Also wait until connections opened before the change are closed (the pods' drain times; Istio's default: 45 s)
    #[arg(long, hide_short_help = true)]
    pub wait_drain: bool,
    /// Continue despite failed checks
    ///
    /// Continue despite checks that would stop the run.
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub findings: FindingArgs,
    /// URL to request during the change
    ///
    /// As users of the application do; can be repeated.
    #[arg(long = "check-url", value_name = "URL", value_parser = check_url())]
    pub check_urls: Vec<Url>,
    /// Take over fields of other field managers
    #[arg(long, hide_short_help = true)]
    pub force_conflicts: bool,
    /// Undo what this run has changed where it does not end as it should, or is interrupted; by default only where
    /// calls in the mesh got through before and no longer do, and then only on the way in
    #[arg(long, hide_short_help = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", conflicts_with = "no_journal")]
    pub rollback_on_failure: Option<bool>,
    /// Do not save the previous state and do not lock the namespace: --restore cannot undo this run
    #[arg(long, hide_short_help = true)]
    pub no_journal: bool,
    /// Apply these manifests instead
    ///
    /// In place of the rendered ones: a file, a directory, or - for stdin; can be repeated.
    #[arg(
        short, long = "filename", value_name = "FILE", help_heading = "Rendering",
        conflicts_with_all = ["policy", "destination_rules", "scope", "policy_api", "destination_rule_api"],
    )]
    pub filename: Vec<PathBuf>,
    /// Read directories given with -f recursively
    #[arg(short = 'R', long, hide_short_help = true, requires = "filename", help_heading = "Rendering")]
    pub recursive: bool,
    /// The namespace-wide policy to change, where there are several
    #[arg(long, hide_short_help = true, value_name = "NAME", help_heading = "Rendering")]
    pub policy: Option<String>,
    /// When to write DestinationRules; default: for every Service, but not where all its pods are in ambient mode and no
    /// sidecar or waypoint would read them
    #[arg(long, hide_short_help = true, value_enum, value_name = "WHEN", help_heading = "Rendering")]
    pub destination_rules: Option<RuleChoice>,
    /// One rule for each Service, or one for the namespace
    #[arg(long, hide_short_help = true, value_enum, value_name = "SCOPE", default_value_t = RuleScope::Service, help_heading = "Rendering")]
    pub scope: RuleScope,
    /// Version of the policy kind, for --dry-run=client with Services named
    #[arg(
        long,
        requires = "dry_run",
        hide_short_help = true,
        value_enum,
        value_name = "VERSION",
        help_heading = "Rendering"
    )]
    pub policy_api: Option<PolicyApi>,
    /// Version of DestinationRule, for --dry-run=client with Services named
    #[arg(
        long,
        requires = "dry_run",
        hide_short_help = true,
        value_enum,
        value_name = "VERSION",
        help_heading = "Rendering"
    )]
    pub destination_rule_api: Option<RuleApi>,
    #[command(flatten)]
    pub pod: PodArgs,
    #[command(flatten)]
    pub report: ReportArgs,
}

impl SwitchArgs {
    /// Whether the run itself writes, and prints the document of the run with `-o json|yaml`.
    pub const fn writes(&self) -> bool {
        !self.diff && !self.observe && matches!(self.dry_run, DryRun::None)
    }
}

/// Arguments of `enable-mtls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic enable-mtls -n shop              # plan, ask, apply, prove
  secure-traffic enable-mtls -n shop --yes        # for scripts
  secure-traffic enable-mtls -n shop --rehearse 1h # first see who would be refused, and stop if somebody would
  secure-traffic enable-mtls -n shop --diff       # what would change
  secure-traffic enable-mtls -n shop --dry-run=client -o yaml > strict.yaml
  secure-traffic enable-mtls -n shop -f manifests/ # your own policy and rules
  secure-traffic enable-mtls -n shop --workload app=boards   # one workload first
  secure-traffic enable-mtls -n shop --except legacy:8080     # all but one port
  secure-traffic enable-mtls -n shop --observe -o yaml        # what another writer has to apply, waited for and proven
  secure-traffic enable-mtls -n shop --check-url https://shop.example/ # does the application still answer?
  secure-traffic enable-mtls --sandbox --yes      # with no cluster at all")]
pub struct EnableArgs {
    #[command(flatten)]
    pub switch: SwitchArgs,
    /// What the proof must show
    #[arg(long, hide_short_help = true, value_name = "WHAT", value_parser = proof_expectation(), default_value = "policy")]
    pub expect: Expectation,
    /// Only pods with these labels
    ///
    /// They become STRICT, and the rules of their Services change: KEY=VALUE,…
    #[arg(
        long, value_name = "SELECTOR", help_heading = "Smaller steps",
        conflicts_with_all = ["except", "filename", "policy", "scope"],
    )]
    pub workload: Option<MatchLabels>,
    /// Leave this Service or port open
    ///
    /// It stays open while the namespace becomes STRICT. Can be repeated.
    #[arg(
        long, value_name = "SERVICE[:PORT]", value_parser = exception, help_heading = "Smaller steps",
        conflicts_with = "filename",
    )]
    pub except: Vec<Target>,
    /// Observe for so long first
    ///
    /// From 5s to 24h. The run stops where STRICT would refuse somebody or a port was not observed. --timeout does not count
    /// this time.
    #[arg(
        long, value_name = "DURATION", value_parser = rehearsal_duration, help_heading = "Smaller steps",
        conflicts_with_all = ["dry_run", "diff", "filename"],
    )]
    pub rehearse: Option<Duration>,
}

/// Arguments of `disable-mtls`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  secure-traffic disable-mtls -n shop             # PERMISSIVE first, then the rules lose their tls
  secure-traffic disable-mtls -n shop --yes
  secure-traffic disable-mtls -n shop --restore   # exactly what was there before enable-mtls
  secure-traffic disable-mtls --sandbox --yes     # with no cluster at all")]
pub struct DisableArgs {
    #[command(flatten)]
    pub switch: SwitchArgs,
    /// Restore what was there before
    ///
    /// Puts back exactly what was there before the runs whose journals are in the cluster, or before RUN and those after it.
    /// `secure-traffic history` lists them.
    #[arg(
        long, value_name = "RUN", num_args = 0..=1, require_equals = true,
        conflicts_with_all = [
            "services", "more_services", "mode", "policy", "destination_rules", "scope", "no_journal",
            "rollback_on_failure", "filename", "observe",
        ],
    )]
    pub restore: Option<Option<String>>,
    /// What "off" means: permissive or disable
    #[arg(long, hide_short_help = true, value_parser = off_mode(), value_name = "MODE", default_value = "permissive", help_heading = "Rendering")]
    pub mode: MtlsMode,
}
