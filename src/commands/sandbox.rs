//! `sandbox`: serves the sandbox on loopback and writes a kubeconfig for it, until it is interrupted or until the program
//! that it runs has ended.

use super::{Context, start_sandbox};
use crate::cli::SandboxArgs;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::program::{self, Program, Scope};
use crate::signal::{Relay, Signal};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time for the program to end after SIGTERM or SIGHUP.
const GRACE: Duration = Duration::from_secs(2);

/// The program that is wanted with a sandbox, and the signals that it gets.
pub struct Wanted {
    /// Its name or path, and its arguments; not empty.
    pub program: Vec<OsString>,
    /// What is sent to this process.
    pub signals: Relay,
}

/// Runs the command.
pub async fn run(context: &Context, args: &SandboxArgs, wanted: Option<Wanted>) -> error::Result<ExitStatus> {
    let sandbox = start_sandbox(args.state).await.map_err(Error::Sandbox)?;
    context.temporary_paths.add(sandbox.folder());
    let served = sandbox.serve(args.port).await.map_err(Error::Sandbox)?;
    let file = write_kubeconfig(args.write_kubeconfig.as_deref(), &served.kubeconfig, sandbox.folder())?;
    context.temporary_paths.add(&file);
    let result = match wanted {
        Some(wanted) => {
            if args.shell {
                context.printer.say(&format!("the sandbox is served at {} until this shell ends", served.url));
            }
            run_program(context, wanted, &file).await
        }
        None => until_interrupted(context, &served.url, &file).await,
    };
    std::fs::remove_file(&file)
        .map_err(|error| Error::local_io(format!("could not remove {}", file.display()), error))?;
    result
}

/// An interruption is the normal end.
async fn until_interrupted(context: &Context, url: &str, kubeconfig: &Path) -> error::Result<ExitStatus> {
    context.printer.say(&format!("the sandbox is served at {url}; stop it with Ctrl-C"));
    context.printer.result(&format!("export KUBECONFIG={}\n", quoted(kubeconfig)))?;
    context.shutdown.requested().await;
    Ok(ExitStatus::Success)
}

/// Runs the program with `KUBECONFIG` set, passes signals on to it, and returns its exit code.
async fn run_program(context: &Context, wanted: Wanted, kubeconfig: &Path) -> error::Result<ExitStatus> {
    let Wanted { program, mut signals } = wanted;
    let Some((name, arguments)) = program.split_first() else { return Ok(ExitStatus::Success) };
    let mut command = tokio::process::Command::new(name);
    command.args(arguments).env("KUBECONFIG", kubeconfig);
    let mut program = match Program::start(command, Scope::Descendants) {
        Ok(program) => program,
        Err(error) => {
            context.printer.error(&format!("could not run {}: {error}", name.to_string_lossy()), None);
            let is_missing = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitStatus::Program(if is_missing { 127 } else { 126 }));
        }
    };
    let signal = loop {
        tokio::select! {
            biased;
            status = program.wait() => return Ok(ExitStatus::Program(program::exit_code(status?))),
            signal = signals.next() => match signal {
                // A terminal sends Ctrl-C to the program, too, which decides whether it ends.
                Signal::Interrupt if program::is_in_foreground() => {}
                Signal::Interrupt => program.signal(program::Signal::INT),
                signal => break signal,
            },
            signal = context.shutdown.requested() => break signal,
        }
    };
    program.signal(if signal == Signal::Hangup { program::Signal::HUP } else { program::Signal::TERM });
    match tokio::time::timeout(GRACE, program.wait()).await {
        Ok(status) if signal != Signal::Deadline => Ok(ExitStatus::Program(program::exit_code(status?))),
        // An interactive shell ignores SIGTERM: it is ended with its children.
        _ => Err(signal.into()),
    }
}

/// Writes the kubeconfig with mode 0600. It does not overwrite a file, which may be the kubeconfig of a real cluster.
/// Without a path it goes into the sandbox's folder, which the next sandbox removes after a SIGKILL.
fn write_kubeconfig(path: Option<&Path>, text: &str, folder: &Path) -> error::Result<PathBuf> {
    let Some(path) = path else {
        let file = tempfile::Builder::new().prefix("secure-traffic-").suffix(".kubeconfig").tempfile_in(folder)?;
        file.as_file().write_all(text.as_bytes())?;
        let kept = file.into_temp_path().keep();
        return kept.map_err(|error| Error::local_io("failed to persist temporary file path", error.error));
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file =
        options.open(path).map_err(|error| Error::local_io(format!("could not write {}", path.display()), error))?;
    file.write_all(text.as_bytes())?;
    Ok(path.canonicalize()?)
}

/// Quotes a path for a shell that reads the line with `eval`.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
