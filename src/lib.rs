//! Turns Istio's strict mutual TLS on and off in a namespace, and proves from outside the mesh whether
//! plaintext still gets in.
//!
//! ```text
//!  cli ─▶ settings ─▶ commands ──▶ cluster ──▶ istio ──▶ domain
//!                        │            ▲
//!                        ├─▶ report   └── sandbox (a cluster in one process, behind `kube::Client`)
//!                        └─▶ ui
//! ```
//! Arrows are `use`; nothing points upwards, and `tests/architecture.rs` holds that table.

pub mod cli;
pub mod cluster;
pub mod commands;
pub mod curl_pod;
pub mod domain;
pub mod env;
pub mod error;
pub mod exit;
pub mod http_client;
pub mod istio;
pub mod program;
pub mod progress;
pub mod report;
pub mod sandbox;
pub mod sanitize;
pub mod settings;
pub mod signal;
pub mod temporary_folder;
pub mod ui;
pub mod wrap;

use cli::report::ReportTo;
use cli::values::SandboxState;
use cli::{Cli, Command};
use commands::Context;
use commands::reports::Reports;
use commands::sandbox::Wanted;
use exit::ExitStatus;
use signal::Signal;
use std::ffi::OsString;
use std::time::Duration;
use tokio::sync::OnceCell;
use ui::printer::Abilities;

/// Runs the tool with these arguments and returns its exit code.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.collect();
    // The only provider of cryptography; an error means that it is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let Some(code) = complete(&arguments) {
        return code;
    }
    let cli = match cli::wrong_use::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with exit code 0, errors to stderr with exit code 2.
            let _ = error.print();
            return if error.use_stderr() { ExitStatus::Usage.code() } else { ExitStatus::Success.code() };
        }
    };
    let mut settings = settings::resolve(&cli.global, env::read());
    let printer = ui::printer::Printer::new(settings.quiet, settings.color, settings.terminal);
    let leaving = cli.reporting().reports.contains(&ReportTo::TapOnStdout);
    let printer = printer.leaving_stdout(leaving);
    // The demo runs on the sandbox, unless a cluster is named.
    if matches!(cli.command, Command::Demo(_)) && !settings.connection.names_a_cluster() && settings.sandbox.is_none() {
        settings.sandbox = Some(SandboxState::Auto);
    }
    if settings.verbose {
        settings.connection.trace = Some(std::sync::Arc::new(move |line| printer.say(line)));
    }
    let runtime = env::check_open_files()
        .and_then(|()| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build())
        .map_err(error::Error::from);
    let is_watch = cli.command.is_watch();
    let result = runtime.and_then(|runtime| {
        let result = runtime.block_on(dispatch(cli, settings, printer));
        // A request in progress must not delay the exit.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(status) => status.code(),
        // Ctrl-C is how a watch is meant to end.
        Err(error @ error::Error::Interrupted(Signal::Interrupt)) if is_watch => error.exit_status().code(),
        Err(error) => {
            let message = error.to_string();
            let hint = cli::wrong_use::separated_state(&arguments, &message).or_else(|| error.hint());
            printer.error(&message, hint.as_deref());
            error.exit_status().code()
        }
    }
}

/// Answers a shell or kubectl that asks for candidates; `None` if none asks.
fn complete(arguments: &[OsString]) -> Option<u8> {
    let resolve = |global: &cli::global::GlobalArgs| settings::resolve(global, env::read());
    let limit = env::completion_timeout().and_then(|text| cli::values::duration(&text).ok());
    let success = Some(ExitStatus::Success.code());
    if let Some(text) = commands::completion::answer_kubectl(arguments, resolve, limit) {
        // If nobody reads the answer, an error message has no reader either.
        let _ = ui::printer::Printer::new(true, false, Abilities { moves_cursor: false, unicode: true }).result(&text);
        return success;
    }
    if commands::completion::answer_shell(arguments, resolve, limit) { success } else { None }
}

async fn dispatch(cli: Cli, settings: settings::Settings, printer: ui::printer::Printer) -> error::Result<ExitStatus> {
    let reports = Reports::open(&cli.reporting(), env::github_step_summary().as_deref())?;
    temporary_folder::sweep();
    let command = cli.command;
    let printer = if matches!(command, Command::Demo(_)) { printer.with_screens() } else { printer };
    let is_endless_watch = command.is_watch() && !matches!(&command, Command::Probe(args) if args.until.is_some());
    // `sandbox`, `demo` and a watch without `--until` have no time limit.
    let is_endless = is_endless_watch || matches!(command, Command::Sandbox(_) | Command::Demo(_));
    let default = (!is_endless).then_some(Duration::from_mins(10));
    let limit = settings.timeout.or(default).filter(|limit| !limit.is_zero());
    // Every other command goes on to its end: its exit code says more than its output.
    let output_closed =
        async move { if is_endless_watch { ui::printer::stdout_closed().await } else { std::future::pending().await } };
    let left_by_force = match &command {
        // It ends with the process, and so does all that is on it.
        _ if settings.sandbox.is_some() => LeftByForce::Nothing,
        Command::EnableMtls(_) | Command::DisableMtls(_) | Command::Demo(_) => LeftByForce::Changes,
        Command::Rehearse(args) if !args.read_only => LeftByForce::Telemetry,
        _ => LeftByForce::Pods,
    };
    let temporary_paths = commands::TemporaryPaths::default();
    let left = temporary_paths.clone();
    let program = wanted_program(&command)?;
    let shutdown = if program.is_some() {
        signal::limit(limit)
    } else {
        signal::listen(limit, env::hangup(), output_closed, move |_| {
            left.remove();
            printer.warn(last_words(left_by_force));
        })?
    };
    let progress = Box::new(ui::progress::Bar::new(settings.quiet, settings.ci, settings.terminal.unicode));
    let context = Context { settings, printer, progress, shutdown, reports, sandbox: OnceCell::new(), temporary_paths };
    let work = async {
        match command {
            Command::EnableMtls(args) => commands::switch::run(&context, &settings::enable_settings(&args)).await,
            Command::DisableMtls(args) => commands::switch::run(&context, &settings::disable_settings(&args)).await,
            Command::Probe(args) => commands::probe::run(&context, &settings::probe_settings(&args)).await,
            Command::Status(args) => commands::status::run(&context, &settings::status_settings(&args)).await,
            Command::Rehearse(args) => commands::rehearse::run(&context, &settings::rehearsal_settings(&args)).await,
            Command::Cleanup => commands::cleanup::run(&context).await,
            Command::Rbac(args) => commands::rbac::run(&context, &args).await,
            Command::Completions { shell } => commands::generate::completions(&context, shell),
            Command::History(args) => commands::history::run(&context, args.format.output).await,
            Command::Version(args) => commands::version::run(&context, args.format.output).await,
            Command::Explain(args) => commands::explain::explain(&context, args.name.as_deref()),
            Command::Options => commands::explain::options(&context),
            Command::Man { directory } => commands::generate::man(&context, directory.as_deref()),
            Command::Demo(args) => commands::demo::run(&context, &args).await,
            Command::Sandbox(args) => commands::sandbox::run(&context, &args, program).await,
        }
    };
    let result = work.await;
    // An interrupted wait has not ended its spinner.
    context.progress.end();
    let result = match result {
        Err(error::Error::Interrupted(Signal::OutputClosed)) => Ok(ExitStatus::Success),
        result => result,
    };
    context.reports.close(printer, result)
}

/// The program that `sandbox` runs, which gets the signals of this process from here on.
fn wanted_program(command: &Command) -> error::Result<Option<Wanted>> {
    let program = match command {
        Command::Sandbox(args) if args.shell => vec![env::shell()],
        Command::Sandbox(args) if !args.program.is_empty() => args.program.clone(),
        _ => return Ok(None),
    };
    Ok(Some(Wanted { program, signals: signal::Relay::new(env::hangup())? }))
}

/// What a run may leave that a second signal ends.
#[derive(Debug, Clone, Copy)]
enum LeftByForce {
    Nothing,
    Pods,
    Telemetry,
    Changes,
}

const fn last_words(left: LeftByForce) -> &'static str {
    match left {
        LeftByForce::Changes => {
            "stopped immediately: a probe pod may remain (remove it with `secure-traffic cleanup`), and the changes are \
             unknown (undo them with `secure-traffic disable-mtls --restore`)"
        }
        LeftByForce::Telemetry => {
            "stopped immediately: a probe pod and a Telemetry object may remain (remove them with `secure-traffic cleanup`)"
        }
        LeftByForce::Nothing => "stopped immediately",
        LeftByForce::Pods => "stopped immediately: a probe pod may remain (remove it with `secure-traffic cleanup`)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_changes_a_cluster_is_said_to_be_undone() {
        for left in [LeftByForce::Nothing, LeftByForce::Pods, LeftByForce::Telemetry] {
            assert!(!last_words(left).contains("--restore"), "{left:?}");
        }
        assert!(last_words(LeftByForce::Changes).contains("`secure-traffic disable-mtls --restore`"));
    }
}
