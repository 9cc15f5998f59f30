//! The command line: clap types and help texts. [`crate::settings`] resolves the parsed arguments with the environment.

pub mod global;
pub mod output;
pub mod probe;
pub mod rbac;
pub mod rehearse;
pub mod report;
pub mod status;
pub mod switch;
pub mod values;
pub mod wrong_use;

use clap::builder::StyledStr;
use clap::{Arg, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; or the answer is as expected (probe without --expect: accepted or rejected)
  1  the answer is the contrary of what was expected; a check stopped the run; answered \"no\"; --diff found differences
  2  usage; or a confirmation was needed and there is no terminal (see --yes)
  3  inconclusive; or not in force within --wait-timeout
  4  cluster, API, permission, field conflict; or a local file or stream could not be read or written
  5  done, but something could not be removed or restored
  129, 130, 143  stopped by SIGHUP (a closed terminal), Ctrl-C or SIGTERM";

/// Turn Istio's strict mutual TLS on and off in a namespace, and prove from outside the mesh whether plaintext still
/// gets in.
#[derive(Debug, Parser)]
#[command(name = "secure-traffic", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Options that every command understands.
    #[command(flatten)]
    pub global: global::GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The line of `-h` about the options that it leaves out.
const GLOBAL_OPTIONS: &str = "Global options, such as -n NAMESPACE: `secure-traffic options`";

/// The same for commands that contact no cluster.
const GLOBAL_OPTIONS_OFFLINE: &str = "Global options: `secure-traffic options`";

/// The global options that a command without a cluster has a use for; `None` is a command that uses a cluster.
fn offline_options(command: &str) -> Option<&'static [&'static str]> {
    match command {
        "completions" | "man" | "explain" | "options" => Some(&["color", "quiet", "verbose"]),
        "rbac" => Some(&[
            "namespace",
            "kubeconfig",
            "context",
            "istio_namespace",
            "ztunnel_namespace",
            "revision",
            "color",
            "quiet",
            "verbose",
        ]),
        _ => None,
    }
}

/// The definition of the command line. For a plugin (`kubectl-secure_traffic`, which oc finds too), the usage texts have
/// the plugin's command.
pub fn command(called_as: Option<&OsString>) -> clap::Command {
    let command = Cli::command();
    let global: Vec<Arg> = command.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let command = command
        .mut_subcommands(|sub| with_help_texts(sub, &global))
        .after_help(GLOBAL_OPTIONS)
        .after_long_help(EXIT_CODES);
    let file = called_as.and_then(|path| Path::new(path).file_stem()?.to_str());
    match file.and_then(|name| name.split_once('-')) {
        Some((host @ ("kubectl" | "oc"), _)) => {
            let name = format!("{host} secure-traffic");
            with_name(command, &name).mut_subcommands(|sub| with_name(sub, &name)).bin_name(name)
        }
        _ => command,
    }
}

/// The command with another name of the program in its help texts.
fn with_name(command: clap::Command, name: &str) -> clap::Command {
    let renamed =
        |text: Option<&StyledStr>| text.map(|text| text.to_string().replace("secure-traffic ", &format!("{name} ")));
    let (short, long) = (renamed(command.get_after_help()), renamed(command.get_after_long_help()));
    command.after_help(short.unwrap_or_default()).after_long_help(long.unwrap_or_default()).mut_args(
        |arg| match renamed(arg.get_long_help()) {
            Some(help) => arg.long_help(help),
            None => arg,
        },
    )
}

/// `-h` of a command ends with its first example, and `--help` with all examples and the exit codes. An option that the
/// command does not use is accepted and not listed.
fn with_help_texts(command: clap::Command, global: &[Arg]) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let used = offline_options(command.get_name());
    let hint = if used.is_some() { GLOBAL_OPTIONS_OFFLINE } else { GLOBAL_OPTIONS };
    let short = match examples.lines().nth(1) {
        Some(first) => format!("Example:\n{first}\n\n{hint}"),
        None => hint.to_owned(),
    };
    let separator = if examples.is_empty() { "" } else { "\n\n" };
    let unused = global.iter().filter(|arg| used.is_some_and(|used| !used.contains(&arg.get_id().as_str())));
    command
        .args(unused.map(|arg| arg.clone().hide(true)))
        .after_help(short)
        .after_long_help(format!("{examples}{separator}{EXIT_CODES}"))
}

/// The global options by heading, as `options` prints them.
pub fn global_options() -> StyledStr {
    let global = Cli::command().get_arguments().filter(|arg| arg.is_global_set()).cloned().collect::<Vec<_>>();
    clap::Command::new("options")
        .disable_help_flag(true)
        .args(global.into_iter().map(|arg| arg.hide_short_help(false)))
        .help_template("These options can be passed to every command.\n\n{all-args}")
        .max_term_width(110)
        .render_help()
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn strict mutual TLS on, wait until it is in force, and prove that plaintext is rejected
    EnableMtls(switch::EnableArgs),
    /// Turn it off again (PERMISSIVE), and prove that plaintext is accepted
    DisableMtls(switch::DisableArgs),
    /// Ask with a throwaway pod outside the mesh whether plaintext gets in
    Probe(probe::ProbeArgs),
    /// Report the mode of every port, the object that decides it, and who breaks; change nothing
    Status(status::StatusArgs),
    /// Name the callers that STRICT would refuse, from the sidecars' access logs
    Rehearse(rehearse::RehearseArgs),
    /// Tell the walk-through as a story: probe, enable, probe, disable, probe
    ///
    /// It runs on the sandbox, unless a cluster is named.
    Demo(DemoArgs),
    /// Serve the embedded sandbox cluster on loopback, with a kubeconfig
    ///
    /// Every other command and kubectl can use the kubeconfig. With a COMMAND or --shell, KUBECONFIG is set for that
    /// program, and the sandbox ends with it. The exit code is the program's: 128+N after signal N, 127 if the program does
    /// not exist, 126 if it cannot be started.
    Sandbox(SandboxArgs),
    /// Remove probe pods that an earlier run could not remove
    #[command(after_help = "Examples:\n  secure-traffic cleanup -n shop")]
    Cleanup,
    /// List the runs that can still be undone, and the commands that undo them
    History(HistoryArgs),
    /// Print the least Roles that a command needs, for the ServiceAccount of a CI job
    Rbac(rbac::RbacArgs),
    /// Print the completion script of a shell
    #[command(
        alias = "completion",
        after_help = "Examples:\n  source <(secure-traffic completions bash)\n  secure-traffic completions zsh > \"${fpath[1]}/_secure-traffic\""
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Explain a finding, or the reason of an inconclusive verdict, and what to do
    Explain(ExplainArgs),
    /// Print the versions of this tool, Kubernetes and Istio
    Version(VersionArgs),
    /// Print the options of every command
    #[command(after_help = "Examples:\n  secure-traffic options")]
    Options,
    /// Print the manual page, or write one page a command into a directory
    #[command(
        after_help = "Examples:\n  secure-traffic man | man -l -\n  secure-traffic man --directory ~/.local/share/man/man1"
    )]
    Man {
        /// Directory to write the pages into
        #[arg(long, value_name = "DIR")]
        directory: Option<std::path::PathBuf>,
    },
}

/// The options that decide where a run reports its result, also if it fails early.
#[derive(Debug, Clone, Copy)]
pub struct Reporting<'a> {
    /// Name of the command.
    pub command: &'static str,
    /// `-n`.
    pub namespace: Option<&'a str>,
    /// `--report`.
    pub reports: &'a [report::ReportTo],
    /// `-o`.
    pub output: values::OutputFormat,
    /// Whether `-o json` and `-o yaml` are for the document of the whole run, which is printed when it has ended: a run
    /// that changes a namespace. Other runs print it themselves, or print objects.
    pub prints_document: bool,
}

impl Command {
    /// Whether the run repeats its work until it is interrupted, or until what it waits for is there.
    pub const fn is_watch(&self) -> bool {
        match self {
            Self::Probe(args) => args.watch,
            Self::Status(args) => args.watch,
            _ => false,
        }
    }
}

impl Cli {
    /// The reports that the command writes; most commands write none.
    pub fn reporting(&self) -> Reporting<'_> {
        let none = values::OutputFormat::default();
        let (command, reports, output): (_, &[_], _) = match &self.command {
            Command::EnableMtls(args) => ("enable-mtls", &args.switch.report.reports, args.switch.format.output),
            Command::DisableMtls(args) => ("disable-mtls", &args.switch.report.reports, args.switch.format.output),
            Command::Probe(args) => ("probe", &args.report.reports, args.format.output),
            Command::Rehearse(args) => ("rehearse", &args.report.reports, args.format.output),
            Command::Demo(args) => ("demo", &args.report.reports, none),
            Command::Sandbox(_) => ("sandbox", &[], none),
            Command::Status(_) => ("status", &[], none),
            Command::Cleanup => ("cleanup", &[], none),
            Command::History(_) => ("history", &[], none),
            Command::Version(_) => ("version", &[], none),
            Command::Rbac(_) => ("rbac", &[], none),
            Command::Completions { .. } => ("completions", &[], none),
            Command::Explain(_) => ("explain", &[], none),
            Command::Options => ("options", &[], none),
            Command::Man { .. } => ("man", &[], none),
        };
        let prints_document = match &self.command {
            Command::EnableMtls(args) => args.switch.writes(),
            Command::DisableMtls(args) => args.switch.writes(),
            _ => false,
        };
        Reporting { command, namespace: self.global.namespace.as_deref(), reports, output, prints_document }
    }
}

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  secure-traffic history -n shop
  secure-traffic history -n shop -o json | jq '.runs[].undo'")]
#[command(mut_arg(
    "output",
    output::with_long_help(
        "The format of the result: name prints the identifiers of the runs, for `disable-mtls --restore=RUN`."
    )
))]
pub struct HistoryArgs {
    #[command(flatten)]
    pub format: output::OutputArgs,
}

/// Arguments of `version`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  secure-traffic version
  secure-traffic version -o json | jq -r .kubernetesVersion")]
pub struct VersionArgs {
    #[command(flatten)]
    pub format: output::OutputArgs,
}

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  secure-traffic explain plaintext-to-strict   # a finding of status or enable-mtls
  secure-traffic explain reset-without-evidence # the reason of an inconclusive verdict
  secure-traffic explain                       # the names of all")]
pub struct ExplainArgs {
    /// A finding or a reason; none: list all
    #[arg(value_name = "CODE|REASON")]
    pub name: Option<String>,
}

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  secure-traffic demo                       # no cluster needed: on the embedded sandbox
  secure-traffic demo --pause               # wait for a key before each step
  secure-traffic demo -n microservices-demo # the same steps on the cluster of your kubeconfig")]
pub struct DemoArgs {
    /// What to ask for; must be a path of a Service of the namespace
    #[arg(long, value_name = "TARGET", default_value = "boards:8080/shareditems")]
    pub target: crate::domain::probe::Target,
    /// Wait for a key before each step: Space or Enter continues, q ends
    #[arg(long)]
    pub pause: bool,
    #[command(flatten)]
    pub pod: probe::PodArgs,
    #[command(flatten)]
    pub report: report::ReportArgs,
    /// Answer yes to the question before the first step; needed on a cluster where there is no terminal
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of `sandbox`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  secure-traffic sandbox -- secure-traffic probe -n shop   # one command, then the sandbox ends
  secure-traffic sandbox --shell                           # your shell, with kubectl and every command
  secure-traffic sandbox --write-kubeconfig sandbox.kubeconfig   # until Ctrl-C, for other terminals")]
pub struct SandboxArgs {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Where to write the kubeconfig (mode 0600); otherwise it goes into a new temporary file
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<std::path::PathBuf>,
    /// The state to start in
    #[arg(long, value_enum, default_value_t = values::SandboxState::Permissive)]
    pub state: values::SandboxState,
    /// Start $SHELL with KUBECONFIG set; the sandbox ends with it
    #[arg(long)]
    pub shell: bool,
    /// Command to run with KUBECONFIG set; the sandbox ends with it
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "shell")]
    pub program: Vec<OsString>,
}
