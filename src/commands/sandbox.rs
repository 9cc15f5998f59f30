//! `sandbox`: serves the embedded cluster until it is interrupted.

use super::Context;
use crate::cli::SandboxArgs;
use crate::cli::values::SandboxState;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::sandbox::{Sandbox, State};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Runs the command.
pub async fn run(context: &Context, args: &SandboxArgs) -> error::Result<ExitStatus> {
    let state = match args.state {
        SandboxState::Strict => State::Strict,
        SandboxState::Legacy => State::Legacy,
        SandboxState::Permissive | SandboxState::Auto => State::Permissive,
    };
    let sandbox = Sandbox::start(state).await.map_err(Error::Sandbox)?;
    let served = sandbox.serve(args.port).await.map_err(Error::Sandbox)?;
    let file = write_kubeconfig(args.write_kubeconfig.as_deref(), &served.kubeconfig)?;
    context.printer.say(&format!("the sandbox is served at {}; stop it with Ctrl-C", served.url));
    context.printer.result(&format!("export KUBECONFIG={}\n", quoted(&file)))?;
    // Being stopped is how this command ends well.
    context.shutdown.requested().await;
    std::fs::remove_file(&file)
        .map_err(|error| Error::local_io(format!("could not remove {}", file.display()), error))?;
    Ok(ExitStatus::Success)
}

/// Writes the kubeconfig for its owner only; an existing file is not overwritten, it may be somebody's way to a real
/// cluster.
fn write_kubeconfig(path: Option<&Path>, text: &str) -> error::Result<PathBuf> {
    let Some(path) = path else {
        let file = tempfile::Builder::new().prefix("secure-traffic-").suffix(".kubeconfig").tempfile()?;
        file.as_file().write_all(text.as_bytes())?;
        return file
            .into_temp_path()
            .keep()
            .map_err(|error| Error::local_io("failed to persist temporary file path", error.error));
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

/// For a shell that reads the line with `eval`.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
