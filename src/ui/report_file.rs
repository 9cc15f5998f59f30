//! The file of a report: checked before the work starts, and replaced as a whole at its end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a pipe whose reader reads nothing is waited for.
const READER_PAUSE: Duration = Duration::from_secs(10);

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
        if is_special(&path) {
            let stream = open_special(&path)?;
            return Ok(Self { path, stream: Some(stream) });
        }
        let file = Self { path, stream: None };
        file.write(until_then)?;
        Ok(file)
    }

    /// Its path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the content. A reader sees either the old text or the new one.
    pub fn write(&self, text: &str) -> io::Result<()> {
        if let Some(stream) = &self.stream {
            return write_special(stream, text.as_bytes());
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
    if is_special(path) {
        return write_special(&open_special(path)?, text.as_bytes());
    }
    File::options().append(true).create(true).open(path)?.write_all(text.as_bytes())
}

/// Whether the path is a pipe, a socket or a device.
fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// Opens a pipe or device without blocking: a named pipe without a reader is an error.
fn open_special(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().write(true).custom_flags(flags).open(path).map_err(|error| {
        let no_reader = error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
        if no_reader { io::Error::new(error.kind(), "no process reads this pipe") } else { error }
    })
}

/// Writes to a pipe or device that does not block. A reader that reads nothing for [`READER_PAUSE`] is an error.
fn write_special(mut stream: &File, mut text: &[u8]) -> io::Result<()> {
    let mut progress = Instant::now();
    while !text.is_empty() {
        match stream.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                text = &text[written..];
                progress = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if progress.elapsed() > READER_PAUSE {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "its reader does not read"));
                }
                sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    fn a_pipe_without_a_reader_is_an_error_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(ReportFile::open(&pipe, "").unwrap_err().to_string(), "no process reads this pipe");
        assert_eq!(append(&pipe, "x").unwrap_err().to_string(), "no process reads this pipe");
        let reader = File::options().read(true).write(true).open(&pipe).unwrap();
        // More than a pipe holds, so that the writer has to wait for the reader.
        let text = "x".repeat(200_000);
        let report = ReportFile::open(&pipe, "").unwrap();
        let read = std::thread::spawn(move || {
            let mut content = vec![0; 200_000];
            std::io::Read::read_exact(&mut &reader, &mut content).map(|()| content)
        });
        report.write(&text).unwrap();
        assert_eq!(read.join().unwrap().unwrap(), text.as_bytes());
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let report = ReportFile::open(Path::new("/dev/null"), "not ended").unwrap();
        report.write("done").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
