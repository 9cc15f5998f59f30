//! `sandbox`: serves the sandbox on loopback and writes a kubeconfig for it, until it is interrupted.

use super::{Context, sandbox_state};
use crate::cli::SandboxArgs;
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::sandbox::Sandbox;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Runs the command.
pub async fn run(context: &Context, args: &SandboxArgs) -> error::Result<ExitStatus> {
    let sandbox = Sandbox::start(sandbox_state(args.state)).await.map_err(Error::Sandbox)?;
    context.temporary_paths.add(sandbox.folder());
    let served = sandbox.serve(args.port).await.map_err(Error::Sandbox)?;
    let file = write_kubeconfig(args.write_kubeconfig.as_deref(), &served.kubeconfig, sandbox.folder())?;
    context.temporary_paths.add(&file);
    context.printer.say(&format!("the sandbox is served at {}; stop it with Ctrl-C", served.url));
    context.printer.result(&format!("export KUBECONFIG={}\n", quoted(&file)))?;
    // An interruption is the normal end of this command.
    context.shutdown.requested().await;
    std::fs::remove_file(&file)
        .map_err(|error| Error::local_io(format!("could not remove {}", file.display()), error))?;
    Ok(ExitStatus::Success)
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
