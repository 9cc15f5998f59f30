//! Temporary folders whose names hold the process that made them, so that the next start of any command removes the folders
//! of a process that was killed.

use rustix::fs::OFlags;
use rustix::process::{Pid, getuid, test_kill_process};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = "secure-traffic-";

/// A folder that only its owner may read, removed when this value is dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Locked as long as this process lives: another process may not see it, where it runs in another container.
    _lock: File,
}

impl TemporaryFolder {
    /// Makes a folder for `purpose`, one lower-case word.
    pub fn new(purpose: &str) -> io::Result<Self> {
        Self::new_in(purpose, &tempfile::env::temp_dir())
    }

    fn new_in(purpose: &str, parent: &Path) -> io::Result<Self> {
        let prefix = format!("{PREFIX}{purpose}-{}-", std::process::id());
        let owner_only = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix(&prefix).permissions(owner_only).tempdir_in(parent)?;
        let lock = File::open(folder.path())?;
        // Some network file systems cannot lock; there, the process alone shows that the folder is in use.
        let _ = lock.try_lock();
        Ok(Self { folder, _lock: lock })
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of this user's processes that have ended.
pub fn sweep() {
    sweep_in(&tempfile::env::temp_dir());
}

/// Errors are ignored: the folders are only garbage.
fn sweep_in(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_abandoned = entry.file_name().to_str().and_then(process).is_some_and(has_ended);
        if is_abandoned && lock_own(&entry.path()).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The process in the name of a folder: `secure-traffic-PURPOSE-PROCESS-RANDOM`.
fn process(name: &str) -> Option<Pid> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-').skip(1);
    let process = parts.next()?.parse().ok()?;
    parts.next()?;
    if parts.next().is_none() { Pid::from_raw(process) } else { None }
}

fn has_ended(process: Pid) -> bool {
    test_kill_process(process).is_err_and(|error| error == rustix::io::Errno::SRCH)
}

/// Locks a folder of this user that no process uses. Not through a link: anybody may make one in a folder that all users
/// share.
fn lock_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let folder = fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if folder.metadata()?.uid() != getuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    folder.try_lock()?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_have_ended_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = child.id();
        child.wait().unwrap();
        let make = |name: String| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("kubeconfig"), "x").unwrap();
            folder
        };
        let swept = ["sandbox", "diff"].map(|purpose| make(format!("{PREFIX}{purpose}-{ended}-abc")));
        // A process that this one cannot see, in another container, holds its lock.
        let in_use = make(format!("{PREFIX}diff-{ended}-used"));
        let lock = File::open(&in_use).unwrap();
        lock.try_lock().unwrap();
        let others = [
            format!("{PREFIX}diff-{}-abc", std::process::id()),
            format!("{PREFIX}sandbox-abc"),
            format!("{PREFIX}{ended}"),
            format!("{PREFIX}of-the-user-{ended}-abc"),
            format!("other-diff-{ended}-abc"),
        ]
        .map(make);
        let target = tempfile::tempdir().unwrap();
        fs::write(target.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink(target.path(), parent.path().join(format!("{PREFIX}diff-{ended}-link"))).unwrap();
        let own = TemporaryFolder::new_in("sandbox", parent.path()).unwrap();
        sweep_in(parent.path());
        assert_eq!(swept.map(|folder| folder.exists()), [false, false]);
        assert_eq!(others.map(|folder| folder.join("kubeconfig").exists()), [true; 5]);
        assert!(in_use.join("kubeconfig").exists() && own.path().exists() && target.path().join("file").exists());
    }

    #[test]
    fn only_the_owner_may_read_a_folder() {
        let parent = tempfile::tempdir().unwrap();
        let folder = TemporaryFolder::new_in("sandbox", parent.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        drop(folder);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
