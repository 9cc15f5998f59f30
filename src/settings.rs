//! Resolves arguments, environment and terminal into the settings of a command, once, before the command runs.

use crate::cli::global::GlobalArgs;
use crate::cli::probe::{PodArgs, ProbeArgs};
use crate::cli::status::{FindingArgs, StatusArgs, StatusFormat};
use crate::cli::values::{ColorChoice, OutputFormat, SandboxState};
use crate::cluster::connect::Connection;
use crate::cluster::snapshot::MeshOptions;
use crate::curl_pod::curl::CurlLimits;
use crate::curl_pod::runner::PodOptions;
use crate::domain::expectation::Expectation;
use crate::domain::findings::Code;
use crate::domain::selection::Selection;
use crate::env::Environment;
use crate::ui::printer;
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
            trace: None,
        },
        mesh: MeshOptions {
            istio_namespace: args.istio_namespace.clone(),
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
        ci: environment.ci,
        holder: environment.holder,
        external_diff: environment.external_diff,
    }
}

/// Resolves the options of a probe pod. curl takes whole seconds, and 0 would be no limit.
pub fn pod_options(args: &PodArgs) -> PodOptions {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1);
    PodOptions {
        image: args.image.clone(),
        pull_secrets: args.image_pull_secret.clone(),
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
    pub output: Option<OutputFormat>,
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
        output: args.output,
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
    pub output: StatusFormat,
    /// Repeat, and print changes.
    pub watch: bool,
    /// Which findings are reported.
    pub findings: FindingSettings,
}

/// Which findings are reported, and where plaintext traffic is read from.
#[derive(Debug, Clone)]
pub struct FindingSettings {
    /// Codes that are left out.
    pub ignored: Vec<Code>,
    /// The source of plaintext traffic.
    pub prometheus: Option<PrometheusSettings>,
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
        output: args.output,
        watch: args.watch,
        findings: finding_settings(&args.findings),
    }
}

/// Resolves the arguments about findings.
pub fn finding_settings(args: &FindingArgs) -> FindingSettings {
    let prometheus = args.prometheus.clone().map(|url| PrometheusSettings { url, since: args.since });
    FindingSettings { ignored: args.ignore.clone(), prometheus }
}
