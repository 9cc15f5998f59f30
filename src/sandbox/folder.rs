//! The temporary folder of a sandbox. Its name holds the process that made it, so that the next sandbox removes the folder
//! of a process that was killed.

use anyhow::{Context, Result};
use rustix::process::{Pid, getuid, test_kill_process};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = "secure-traffic-sandbox-";

/// Makes the folder, which only its owner may read, and removes those of processes that have ended.
pub(super) fn make() -> Result<TempDir> {
    let parent = tempfile::env::temp_dir();
    sweep(&parent);
    let prefix = format!("{PREFIX}{}-", std::process::id());
    let made = tempfile::Builder::new().prefix(&prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(parent);
    made.context("a directory for the sandbox's pods")
}

/// Removes the folders of processes of this user that have ended. Errors are ignored: the folders are only garbage.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok());
        let Some(process) = process.and_then(Pid::from_raw) else { continue };
        // Not through a link: anybody may make one in a folder that all users share.
        let is_own = fs::symlink_metadata(entry.path())
            .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == getuid().as_raw());
        let has_ended = test_kill_process(process).is_err_and(|error| error == rustix::io::Errno::SRCH);
        if is_own && has_ended {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
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
        let folder = |process: u32| parent.path().join(format!("{PREFIX}{process}-abc"));
        fs::create_dir(folder(ended)).unwrap();
        fs::write(folder(ended).join("message"), "x").unwrap();
        fs::create_dir(folder(std::process::id())).unwrap();
        fs::create_dir(parent.path().join("secure-traffic-sandbox-abc")).unwrap();
        let target = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(target.path(), parent.path().join(format!("{PREFIX}{ended}-link"))).unwrap();
        sweep(parent.path());
        assert!(!folder(ended).exists());
        assert!(folder(std::process::id()).exists() && parent.path().join("secure-traffic-sandbox-abc").exists());
        assert!(target.path().exists());
    }

    #[test]
    fn only_the_owner_may_read_a_folder() {
        let folder = make().unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
    }
}
