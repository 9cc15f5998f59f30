//! Arguments, environment and terminal → what a command works with, resolved once.

use crate::cli::global::GlobalArgs;
use crate::cli::probe::PodArgs;
use crate::cli::values::{ColorChoice, SandboxState};
use crate::cluster::connect::Connection;
use crate::cluster::snapshot::MeshOptions;
use crate::curl_pod::curl::CurlLimits;
use crate::curl_pod::runner::PodOptions;
use crate::env::Environment;
use crate::ui::printer;
use std::time::Duration;

/// What every command needs.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Settings {
    /// How to reach the cluster.
    pub connection: Connection,
    /// Where the control plane is.
    pub mesh: MeshOptions,
    /// The sandbox, where one was asked for.
    pub sandbox: Option<SandboxState>,
    /// Time for the whole command, where it was said; none at all is zero.
    pub timeout: Option<Duration>,
    /// Results only.
    pub quiet: bool,
    /// Tell every request to the API server.
    pub verbose: bool,
    /// Colour on both streams.
    pub color: bool,
    /// No progress bars.
    pub ci: bool,
    /// Who runs us, for others to read.
    pub holder: String,
    /// The program that shows differences, with its options.
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

/// Resolves the options of a probe pod. curl counts in whole seconds, of which none would be no limit at all.
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
        sources: args.evidence.into(),
        probe_namespace: None,
    }
}
