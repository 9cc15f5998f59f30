//! The file of a report: checked before the work starts, and replaced as a whole at its end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A report file.
#[derive(Debug)]
pub struct ReportFile {
    /// The path without symbolic links.
    path: PathBuf,
    /// An open pipe or device, which cannot be replaced and is written at the end.
    stream: Option<File>,
}

impl ReportFile {
    /// Checks that the file can be written. A regular file gets `until_then` at once, so that a killed run leaves neither
    /// no report nor the report of an earlier run.
    pub fn open(path: &Path, until_then: &str) -> io::Result<Self> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if is_special {
            let stream = File::options().write(true).open(&path)?;
            return Ok(Self { path, stream: Some(stream) });
        }
        let file = Self { path, stream: None };
        file.write(until_then)?;
        Ok(file)
    }

    /// Replaces the content. A reader sees either the old text or the new one.
    pub fn write(&self, text: &str) -> io::Result<()> {
        if let Some(mut stream) = self.stream.as_ref() {
            stream.write_all(text.as_bytes())?;
            return stream.flush();
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        // The umask applies, as to any new file: other users of a CI machine read reports, too.
        let mut new = tempfile::Builder::new()
            .prefix(".secure-traffic-")
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(directory.unwrap_or(Path::new(".")))?;
        new.write_all(text.as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(&self.path)?;
        Ok(())
    }
}

/// Appends to a file that other processes also write to.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("report"), directory.path().join("link"));
        fs::write(&file, "an earlier success, and long").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let report = ReportFile::open(&link, "not ended").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "not ended");
        report.write("done").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "done");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_written_is_found_at_once() {
        let directory = tempfile::tempdir().unwrap();
        assert!(ReportFile::open(&directory.path().join("no/such/directory"), "").is_err());
        assert!(ReportFile::open(directory.path(), "").is_err());
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let report = ReportFile::open(Path::new("/dev/null"), "not ended").unwrap();
        report.write("done").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
