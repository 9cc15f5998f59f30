//! `--diff`: what would change, as `kubectl diff` shows it.

use super::SwitchRun;
use super::checks::{report_stopping, validate};
use super::goal::Planned;
use crate::domain::plan::Change;
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::program::{Program, Scope};
use crate::report::diff;
use crate::sanitize;
use crate::temporary_folder::TemporaryFolder;
use std::io;
use std::path::Path;
use std::process::{ExitStatus as ProgramStatus, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Most bytes of each stream that `KUBECTL_EXTERNAL_DIFF` may write.
const MAX_OUTPUT: usize = 32 << 20;

/// An object before and after.
struct Pair {
    name: String,
    before: String,
    after: String,
}

/// Prints the differences. The exit codes are those of `kubectl diff`: 0 for none, 1 for some.
pub(super) async fn show(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<ExitStatus> {
    let pairs: Vec<Pair> = pairs(run, planned).await?.into_iter().filter(|pair| pair.before != pair.after).collect();
    let text = match &run.context.settings.external_diff {
        Some(command) if !pairs.is_empty() => external(run, command, &pairs).await?,
        _ => pairs.iter().map(|pair| diff::unified(&pair.name, &pair.before, &pair.after)).collect(),
    };
    run.context.printer.result(&text)?;
    report_stopping(run, planned).await?;
    // The pairs decide: an external program may report a difference by its exit code alone, or not at all.
    Ok(if pairs.is_empty() { ExitStatus::Success } else { ExitStatus::Unexpected })
}

/// Every object that would be written, in the order of the phases. A policy that passes PERMISSIVE appears once.
async fn pairs(run: &SwitchRun<'_>, planned: &Planned) -> error::Result<Vec<Pair>> {
    let applied = validate(run, planned, &planned.plan.writes()).await?;
    let mut shown: Vec<&Change> = Vec::new();
    let mut pairs = Vec::new();
    let phases = planned.plan.phases();
    for change in phases.iter().flat_map(|phase| &phase.changes) {
        let is_same = |other: &Change| other.is_same_object(change);
        let Some(one) = applied.iter().find(|one| is_same(&one.change)) else { continue };
        if shown.iter().any(|shown| is_same(shown)) {
            continue;
        }
        shown.push(change);
        let after = one.result.as_ref().ok().filter(|object| !object.is_null());
        pairs.push(Pair {
            name: run.requests().name(change),
            before: diff::text(planned.state.find(change.kind(), change.name()))?,
            after: diff::text(after)?,
        });
    }
    Ok(pairs)
}

/// The output of `KUBECTL_EXTERNAL_DIFF` for two directories: the objects as they are, and as they would be. As in
/// kubectl, any exit code other than 0 and 1 is a failure. A signal ends the program and its children.
async fn external(run: &SwitchRun<'_>, command: &str, pairs: &[Pair]) -> error::Result<String> {
    let made = |error| Error::local_io("a directory for --diff", error);
    let folder = TemporaryFolder::new("diff").map_err(made)?;
    run.context.temporary_paths.add(folder.path());
    let (live, merged) = (folder.path().join("LIVE"), folder.path().join("MERGED"));
    for path in [&live, &merged] {
        std::fs::create_dir(path).map_err(made)?;
    }
    for pair in pairs {
        let file = pair.name.replace('/', ".");
        let write = |directory: &Path, text: &str| std::fs::write(directory.join(&file), text);
        write(&live, &pair.before)
            .and_then(|()| write(&merged, &pair.after))
            .map_err(|error| Error::local_io("files for --diff", error))?;
    }
    let mut arguments = command.split_whitespace();
    let program = arguments.next().unwrap_or("diff");
    let mut command = Command::new(program);
    command.args(arguments).args([&live, &merged]);
    let failed = |reason: String| UsageError {
        message: format!("KUBECTL_EXTERNAL_DIFF: {program} {reason}"),
        hint: Some("unset it to see the difference as diff -u shows it".to_owned()),
    };
    let output = run.context.shutdown.race(output_of(command)).await?;
    let output = output.map_err(|error| failed(format!("could not be run: {error}")))?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(failed(format!("failed: {}", sanitize::excerpt(message.trim()))).into());
    }
    Ok(sanitize::text(&String::from_utf8_lossy(&output.stdout)).into_owned())
}

/// What a program wrote, and how it ended.
struct ProgramOutput {
    status: ProgramStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a program to its end. It is ended with its children if the future is dropped.
async fn output_of(mut command: Command) -> io::Result<ProgramOutput> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program::start(command, Scope::Group)?;
    let (stdout, stderr) = (program.stdout(), program.stderr());
    let (stdout, stderr) = tokio::try_join!(read_limited(stdout), read_limited(stderr))?;
    Ok(ProgramOutput { status: program.wait().await?, stdout, stderr })
}

async fn read_limited(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if let Some(stream) = stream {
        stream.take(MAX_OUTPUT as u64 + 1).read_to_end(&mut content).await?;
    }
    if content.len() > MAX_OUTPUT {
        return Err(io::Error::other("it writes more than 32 MiB"));
    }
    Ok(content)
}
