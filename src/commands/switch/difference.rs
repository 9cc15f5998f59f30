//! `--diff`: what would change, as `kubectl diff` shows it.

use super::SwitchRun;
use super::checks::validate;
use super::goal::Planned;
use crate::domain::plan::Change;
use crate::error::{self, Error, UsageError};
use crate::exit::ExitStatus;
use crate::report::diff;
use std::path::Path;

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
        Some(command) if !pairs.is_empty() => external(command, &pairs)?,
        _ => pairs.iter().map(|pair| diff::unified(&pair.name, &pair.before, &pair.after)).collect(),
    };
    run.context.printer.result(&text)?;
    Ok(if text.is_empty() { ExitStatus::Success } else { ExitStatus::Unexpected })
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
/// kubectl, any exit code other than 0 and 1 is a failure.
fn external(command: &str, pairs: &[Pair]) -> error::Result<String> {
    let directory = |prefix: &str| {
        let created = tempfile::Builder::new().prefix(prefix).tempdir();
        created.map_err(|error| Error::local_io("a directory for --diff", error))
    };
    let (live, merged) = (directory("LIVE-")?, directory("MERGED-")?);
    for pair in pairs {
        let file = pair.name.replace('/', ".");
        let write = |directory: &Path, text: &str| std::fs::write(directory.join(&file), text);
        write(live.path(), &pair.before)
            .and_then(|()| write(merged.path(), &pair.after))
            .map_err(|error| Error::local_io("files for --diff", error))?;
    }
    let mut arguments = command.split_whitespace();
    let program = arguments.next().unwrap_or("diff");
    let failed = |reason: String| UsageError {
        message: format!("KUBECTL_EXTERNAL_DIFF: {program} {reason}"),
        hint: Some("unset it to see the difference as diff -u shows it".to_owned()),
    };
    let output = std::process::Command::new(program)
        .args(arguments)
        .args([live.path(), merged.path()])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(format!("could not be run: {error}")))?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(failed(format!("failed: {}", String::from_utf8_lossy(&output.stderr).trim())).into());
    }
    Ok(crate::sanitize::text(&String::from_utf8_lossy(&output.stdout)).into_owned())
}
