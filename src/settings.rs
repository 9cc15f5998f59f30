//! Resolves arguments, environment and terminal into the settings of a command, once, before the command runs.

use crate::cli::global::GlobalArgs;
use crate::cli::probe::{PodArgs, ProbeArgs};
use crate::cli::rehearse::RehearseArgs;
use crate::cli::status::{FindingArgs, StatusArgs};
use crate::cli::switch::{DisableArgs, DryRun, EnableArgs, SwitchArgs};
use crate::cli::values::{ColorChoice, MatchLabels, OutputFormat, SandboxState};
use crate::cluster::connection::Connection;
use crate::cluster::http_proxy::ProxyVariables;
use crate::cluster::kubeconfig;
use crate::cluster::snapshot::MeshOptions;
use crate::curl_pod::curl::CurlLimits;
use crate::curl_pod::runner::PodOptions;
use crate::domain::expectation::Expectation;
use crate::domain::findings::Code;
use crate::domain::placement::PodPlacement;
use crate::domain::plan::{Direction, PodScope, RuleChoice, SwitchRequest};
use crate::domain::rehearsal::WritePermission;
use crate::domain::selection::Selection;
use crate::env::Environment;
use crate::istio::kinds::{PolicyApi, RuleApi};
use crate::ui::printer::{self, Abilities};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Settings of every command.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Settings {
    /// How to reach the cluster.
    pub connection: Connection,
    /// Where the control plane is.
    pub mesh: MeshOptions,
    /// State of the sandbox; `None` is a cluster of the kubeconfig.
    pub sandbox: Option<SandboxState>,
    /// `--timeout`. Zero is no limit; `None` is the command's default.
    pub timeout: Option<Duration>,
    /// Print results only.
    pub quiet: bool,
    /// Print every request to the API server.
    pub verbose: bool,
    /// Use colour on both streams.
    pub color: bool,
    /// What the terminal can do.
    pub terminal: Abilities,
    /// Show no progress bars.
    pub ci: bool,
    /// Name of the user and machine, for the Lease.
    pub holder: String,
    /// `KUBECTL_EXTERNAL_DIFF`: the program for `--diff`, with its options.
    pub external_diff: Option<String>,
}

/// Resolves the global options.
pub fn resolve(args: &GlobalArgs, environment: Environment) -> Settings {
    let limit = |duration: Duration| (!duration.is_zero()).then_some(duration);
    Settings {
        connection: Connection {
            kubeconfig: args.kubeconfig.clone(),
            default_kubeconfigs: kubeconfig::default_files(&environment.kubeconfig, environment.home.as_deref()),
            context: args.context.clone(),
            cluster: args.cluster.clone(),
            user: args.user.clone(),
            namespace: args.namespace.clone(),
            server: args.server.clone(),
            token: args.token.clone(),
            certificate_authority: args.certificate_authority.clone(),
            insecure: args.insecure_skip_tls_verify,
            tls_server_name: args.tls_server_name.clone(),
            impersonate: args.impersonate.clone(),
            impersonate_groups: args.impersonate_groups.clone(),
            impersonate_uid: args.impersonate_uid.clone(),
            request_timeout: limit(args.request_timeout),
            proxies: ProxyVariables {
                https: environment.https_proxy,
                http: environment.http_proxy,
                no_proxy: environment.no_proxy,
            },
            trace: None,
        },
        mesh: MeshOptions {
            istio_namespace: args.istio_namespace.clone(),
            ztunnel_namespace: args.ztunnel_namespace.clone(),
            revision: args.revision.clone(),
            cluster_domain: args.cluster_domain.clone(),
        },
        sandbox: args.sandbox,
        timeout: args.timeout,
        quiet: args.quiet,
        verbose: args.verbose > 0,
        color: match args.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !environment.no_color && !environment.dumb && printer::is_terminal(),
        },
        terminal: Abilities { moves_cursor: !environment.dumb, unicode: environment.unicode },
        ci: environment.ci,
        holder: environment.holder,
        external_diff: environment.external_diff,
    }
}

impl Settings {
    /// Whether a text may be drawn again in its place, on a terminal: not where another program reads the terminal, or
    /// where requests are printed meanwhile.
    pub const fn may_draw(&self) -> bool {
        self.terminal.moves_cursor && !self.ci && !self.verbose
    }
}

/// Resolves the options of a probe pod. curl takes whole seconds, and 0 would be no limit.
pub fn pod_options(args: &PodArgs) -> PodOptions {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
    PodOptions {
        image: args.image.clone(),
        pull_secrets: args.image_pull_secret.clone(),
        placement: PodPlacement {
            tolerations: args.toleration.clone(),
            node_selector: args.node_selector.iter().cloned().collect(),
            labels: args.pod_label.iter().cloned().collect(),
            annotations: args.pod_annotation.iter().cloned().collect(),
            priority_class: args.priority_class.clone(),
        },
        limits: CurlLimits {
            attempts: args.attempts as usize,
            connect_timeout: seconds(args.connect_timeout),
            max_time: seconds(args.max_time),
        },
        start_timeout: args.pod_timeout,
        sources: args.evidence,
        probe_namespace: None,
    }
}

/// Settings of `probe`.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ProbeSettings {
    /// The targets.
    pub selection: Selection,
    /// What the command does.
    pub action: ProbeAction,
    /// The answer of `--until` or `--expect`.
    pub expected: Option<Expectation>,
    /// `--control`: a mesh client requests the same targets.
    pub always_mesh_client: bool,
    /// `--from-namespace`.
    pub probe_namespace: Option<String>,
    /// Options of the pods.
    pub pods: PodOptions,
    /// `-o`.
    pub output: OutputFormat,
    /// `--no-headers`.
    pub no_headers: bool,
    /// Print a row for every endpoint.
    pub per_endpoint: bool,
    /// Print why each answer is what it is.
    pub explain: bool,
}

/// What `probe` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeAction {
    /// Probe the targets once.
    Probe,
    /// `--dry-run`: print the pod.
    PrintPod,
    /// `--watch`: stream samples.
    Watch,
    /// `--until`: stream samples until every target is proven to answer as expected.
    WaitUntil,
}

/// Resolves the arguments of `probe`.
pub fn probe_settings(args: &ProbeArgs) -> ProbeSettings {
    ProbeSettings {
        selection: Selection {
            targets: args.targets.clone(),
            selector: args.selector.clone(),
            exclude: args.exclude.clone(),
            all_ports: args.all_ports,
        },
        // clap rejects --dry-run with --watch or --until.
        action: match (args.until, args.watch, args.dry_run) {
            (Some(_), ..) => ProbeAction::WaitUntil,
            (None, true, _) => ProbeAction::Watch,
            (None, false, true) => ProbeAction::PrintPod,
            (None, false, false) => ProbeAction::Probe,
        },
        expected: args.until.or(args.expect),
        always_mesh_client: args.control,
        probe_namespace: args.from_namespace.clone(),
        pods: pod_options(&args.pod),
        output: args.format.output,
        no_headers: args.no_headers,
        per_endpoint: args.per_endpoint,
        explain: args.explain,
    }
}

/// Settings of `status`.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    /// Names of the Services to report; empty is all.
    pub services: Vec<String>,
    /// `-A`: every namespace that is part of the mesh.
    pub all_namespaces: bool,
    /// `-o`.
    pub output: OutputFormat,
    /// `--no-headers`.
    pub no_headers: bool,
    /// Repeat, and print changes.
    pub watch: bool,
    /// Which findings are reported.
    pub findings: FindingSettings,
}

/// Which findings are reported, and where plaintext traffic is read from.
#[derive(Debug, Clone, Default)]
pub struct FindingSettings {
    /// Codes that are left out.
    pub ignored: Vec<Code>,
    /// The source of plaintext traffic.
    pub prometheus: Option<PrometheusSettings>,
    /// `--rehearsal`.
    pub rehearsal: Option<PathBuf>,
}

/// `--prometheus`.
#[derive(Debug, Clone)]
pub struct PrometheusSettings {
    /// Base URL of its API.
    pub url: Url,
    /// How far back traffic is read.
    pub since: Duration,
}

/// Resolves the arguments of `status`.
pub fn status_settings(args: &StatusArgs) -> StatusSettings {
    StatusSettings {
        services: args.services.clone(),
        all_namespaces: args.all_namespaces,
        output: args.format.output,
        no_headers: args.no_headers,
        watch: args.watch,
        findings: finding_settings(&args.findings),
    }
}

/// Settings of `rehearse`.
#[derive(Debug, Clone)]
pub struct RehearsalSettings {
    /// The Services; empty means all of the namespace.
    pub services: Vec<String>,
    /// What STRICT is asked for.
    pub request: SwitchRequest,
    /// `--for`.
    pub duration: Duration,
    /// Whether a `Telemetry` object may be written.
    pub permission: WritePermission,
    /// Options of the pods.
    pub pods: PodOptions,
    /// `-o`.
    pub output: OutputFormat,
    /// `--no-headers`.
    pub no_headers: bool,
}

/// Resolves the arguments of `rehearse`.
pub fn rehearsal_settings(args: &RehearseArgs) -> RehearsalSettings {
    RehearsalSettings {
        services: args.services.clone(),
        request: SwitchRequest::new(Direction::Enable),
        duration: args.duration,
        permission: match (args.read_only, args.yes) {
            (true, _) => WritePermission::ReadOnly,
            (false, true) => WritePermission::Given,
            (false, false) => WritePermission::Ask,
        },
        pods: pod_options(&args.pod),
        output: args.format.output,
        no_headers: args.no_headers,
    }
}

/// Resolves the arguments about findings.
pub fn finding_settings(args: &FindingArgs) -> FindingSettings {
    let prometheus = args.prometheus.clone().map(|url| PrometheusSettings { url, since: args.since });
    FindingSettings { ignored: args.ignore.clone(), prometheus, rehearsal: args.rehearsal.clone() }
}

/// What `enable-mtls` or `disable-mtls` does, resolved once from its arguments.
#[derive(Debug, Clone)]
pub enum SwitchCommand {
    /// Changes or previews the namespace.
    OnCluster(Box<SwitchSettings>),
    /// `--dry-run=client` with Services named: renders without a cluster.
    Offline(OfflineSettings),
}

/// The settings of a switch that reads the cluster.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct SwitchSettings {
    /// What the run is for.
    pub goal: SwitchGoal,
    /// Whether it writes.
    pub mode: RunMode,
    /// Format of the result.
    pub output: OutputFormat,
    /// `--yes`: no question is asked.
    pub assume_yes: bool,
    /// `--force`: findings do not stop the run.
    pub force: bool,
    /// `--rehearse`: how long the ports are observed before the first write.
    pub rehearsal: Option<Duration>,
    /// Whether fields of other field managers are taken over.
    pub force_conflicts: bool,
    /// Whether the run waits for the effect and proves it.
    pub verify: bool,
    /// What the proof must show.
    pub expected: Expectation,
    /// Limit for each wait for the mesh.
    pub wait_timeout: Duration,
    /// Time for changed rules where no sidecar can be queried.
    pub settle: Duration,
    /// Time between two calls of the mesh client to a target.
    pub mesh_client_interval: Duration,
    /// Whether the run also waits for older connections to end.
    pub wait_drain: bool,
    /// Which findings count, and the Prometheus to query.
    pub findings: FindingSettings,
    /// URLs that are polled during the change.
    pub check_urls: Vec<Url>,
    /// Whether the run holds the Lease and writes a journal.
    pub keep_journal: bool,
    /// When the run undoes what it has written.
    pub rollback: Rollback,
    /// Options of its pods.
    pub pod: PodOptions,
}

/// What a switch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchGoal {
    /// The rendered policy and rules.
    Render(SwitchRequest),
    /// `-f`: the user's manifests in place of the rendered ones.
    Manifests {
        /// Direction, Services and `force`.
        request: SwitchRequest,
        /// Files, directories, and `-` for stdin.
        files: Vec<PathBuf>,
        /// Whether directories are read with all below them.
        recursive: bool,
    },
    /// `--restore`: the state before `run`, or before the present session.
    Restore {
        /// Identifier of the run.
        run: Option<String>,
    },
}

impl SwitchGoal {
    /// Whether the goal is to turn STRICT on. Neither `disable-mtls` nor `--restore` may be blocked by checks.
    pub fn is_enabling(&self) -> bool {
        match self {
            Self::Render(request) | Self::Manifests { request, .. } => request.direction == Direction::Enable,
            Self::Restore { .. } => false,
        }
    }
}

/// Whether a switch writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    /// It confirms, writes and proves.
    Write,
    /// `--diff`: it shows the differences.
    Diff,
    /// `--dry-run=client` without Services: it reads the cluster and prints what a run would apply.
    ClientDryRun,
    /// `--dry-run=server`: the API server validates every object.
    ServerDryRun,
    /// `--observe`: another writer makes the changes, and the run watches and proves.
    Observe,
}

/// When a run undoes what it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollback {
    /// Never.
    Never,
    /// When in-mesh calls that succeeded before are lost.
    OnLostCalls,
    /// After any failure or signal.
    OnFailure,
}

/// The settings of `--dry-run=client` with Services named.
#[derive(Debug, Clone)]
pub struct OfflineSettings {
    /// What is rendered.
    pub goal: SwitchGoal,
    /// Version of the policy; the newest without one.
    pub policy_api: Option<PolicyApi>,
    /// Version of the rules; the newest that fits the policy without one.
    pub rule_api: Option<RuleApi>,
    /// Format of the result.
    pub output: OutputFormat,
}

impl SwitchSettings {
    /// The settings of the command without any flag, for the demo.
    pub fn new(goal: SwitchGoal, pod: PodOptions) -> Self {
        let rollback = if goal.is_enabling() { Rollback::OnLostCalls } else { Rollback::Never };
        Self {
            goal,
            mode: RunMode::Write,
            output: OutputFormat::default(),
            assume_yes: false,
            force: false,
            rehearsal: None,
            force_conflicts: false,
            verify: true,
            expected: Expectation::Policy,
            wait_timeout: Duration::from_mins(1),
            settle: Duration::from_secs(2),
            mesh_client_interval: Duration::from_millis(500),
            wait_drain: false,
            findings: FindingSettings::default(),
            check_urls: Vec::new(),
            keep_journal: true,
            rollback,
            pod,
        }
    }
}

/// Resolves the arguments of `enable-mtls`.
pub fn enable_settings(args: &EnableArgs) -> SwitchCommand {
    let pods = match &args.workload {
        Some(MatchLabels(labels)) => PodScope::Workload(labels.clone()),
        None => PodScope::Namespace { exceptions: args.except.clone() },
    };
    match switch_command(&args.switch, goal(&args.switch, Direction::Enable, pods)) {
        SwitchCommand::OnCluster(mut settings) => {
            settings.expected = args.expect;
            settings.rehearsal = args.rehearse;
            SwitchCommand::OnCluster(settings)
        }
        offline @ SwitchCommand::Offline(_) => offline,
    }
}

/// Resolves the arguments of `disable-mtls`.
pub fn disable_settings(args: &DisableArgs) -> SwitchCommand {
    let goal = if let Some(run) = &args.restore {
        SwitchGoal::Restore { run: run.clone() }
    } else {
        let pods = PodScope::Namespace { exceptions: Vec::new() };
        goal(&args.switch, Direction::Disable { mode: args.mode }, pods)
    };
    switch_command(&args.switch, goal)
}

fn goal(args: &SwitchArgs, direction: Direction, pods: PodScope) -> SwitchGoal {
    let named: Vec<String> = args.services.iter().chain(&args.more_services).cloned().collect();
    let request = SwitchRequest {
        direction,
        pods,
        services: (!named.is_empty()).then_some(named),
        destination_rules: args.destination_rules.unwrap_or(RuleChoice::WhereRead),
        scope: args.scope,
        policy: args.policy.clone(),
        force: args.force,
        // The other writer owns the fields.
        force_conflicts: args.force_conflicts || args.observe,
    };
    if args.filename.is_empty() {
        SwitchGoal::Render(request)
    } else {
        SwitchGoal::Manifests { request, files: args.filename.clone(), recursive: args.recursive }
    }
}

/// Whether `--dry-run=client` reads the cluster: the Services are not named, and nothing is given that only a run without a
/// cluster can use, or that is an error there.
fn reads_cluster(args: &SwitchArgs, goal: &SwitchGoal) -> bool {
    let is_versioned = args.policy_api.is_some() || args.destination_rule_api.is_some();
    !is_versioned && matches!(goal, SwitchGoal::Render(request) if request.services.is_none())
}

fn switch_command(args: &SwitchArgs, goal: SwitchGoal) -> SwitchCommand {
    let mode = match args.dry_run {
        DryRun::Client if !reads_cluster(args, &goal) => {
            return SwitchCommand::Offline(OfflineSettings {
                goal,
                policy_api: args.policy_api,
                rule_api: args.destination_rule_api,
                output: args.format.output,
            });
        }
        DryRun::Client => RunMode::ClientDryRun,
        DryRun::Server => RunMode::ServerDryRun,
        DryRun::None if args.diff => RunMode::Diff,
        DryRun::None if args.observe => RunMode::Observe,
        DryRun::None => RunMode::Write,
    };
    let defaults = SwitchSettings::new(goal, pod_options(&args.pod));
    SwitchCommand::OnCluster(Box::new(SwitchSettings {
        mode,
        output: args.format.output,
        assume_yes: args.yes,
        force: args.force,
        force_conflicts: args.force_conflicts || args.observe,
        verify: args.verify,
        wait_timeout: args.wait_timeout,
        settle: args.settle,
        mesh_client_interval: args.mesh_client_interval,
        wait_drain: args.wait_drain,
        findings: finding_settings(&args.findings),
        check_urls: args.check_urls.clone(),
        keep_journal: !args.no_journal,
        rollback: match args.rollback_on_failure {
            Some(true) => Rollback::OnFailure,
            Some(false) => Rollback::Never,
            None if args.observe => Rollback::Never,
            None => defaults.rollback,
        },
        ..defaults
    }))
}
