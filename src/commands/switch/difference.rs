//! `--diff`: what would change, as `kubectl diff` shows it.

use super::Switch;
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

impl Switch<'_> {
    /// Shows the differences; the exit codes are those of `kubectl diff`.
    pub(super) async fn diff(&self) -> error::Result<ExitStatus> {
        let pairs: Vec<Pair> = self.pairs().await?.into_iter().filter(|pair| pair.before != pair.after).collect();
        let text = match &self.context.settings.external_diff {
            Some(command) if !pairs.is_empty() => external(command, &pairs)?,
            _ => pairs.iter().map(|pair| diff::unified(&pair.name, &pair.before, &pair.after)).collect(),
        };
        self.context.printer.result(&text)?;
        Ok(if text.is_empty() { ExitStatus::Success } else { ExitStatus::Unexpected })
    }

    /// Every object that would be written, in the order in which it would; one that passes PERMISSIVE comes once.
    async fn pairs(&self) -> error::Result<Vec<Pair>> {
        let applied = self.validate(&self.every_write()).await?;
        let mut shown: Vec<&Change> = Vec::new();
        let mut pairs = Vec::new();
        let phases = self.plan.phases();
        for change in phases.iter().flat_map(|phase| &phase.changes) {
            let is_it = |other: &Change| other.is_same_object(change);
            let Some(one) = applied.iter().find(|one| is_it(&one.change)) else { continue };
            if shown.iter().any(|shown| is_it(shown)) {
                continue;
            }
            shown.push(change);
            let after = one.result.as_ref().ok().filter(|object| !object.is_null());
            pairs.push(Pair {
                name: self.applier.name(change),
                before: diff::text(self.look.find(change.kind(), change.name()))?,
                after: diff::text(after)?,
            });
        }
        Ok(pairs)
    }
}

/// What `KUBECTL_EXTERNAL_DIFF` says of two directories, one with the objects as they are, one as they would be. As in
/// kubectl it ends with 0 or 1; anything else is a failure.
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
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or("diff");
    let failed = |why: String| UsageError {
        message: format!("KUBECTL_EXTERNAL_DIFF: {program} {why}"),
        hint: Some("unset it to see the difference as diff -u shows it".to_owned()),
    };
    let output = std::process::Command::new(program)
        .args(words)
        .args([live.path(), merged.path()])
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(format!("could not be run: {error}")))?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        return Err(failed(format!("failed: {}", String::from_utf8_lossy(&output.stderr).trim())).into());
    }
    Ok(crate::sanitize::text(&String::from_utf8_lossy(&output.stdout)).into_owned())
}
