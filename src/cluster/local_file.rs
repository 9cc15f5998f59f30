//! Reads the files that a kubeconfig or an option names, without waiting for a pipe and without filling the memory.

use super::error::ClusterError;
use std::io;
use std::path::Path;
use tokio::io::AsyncReadExt;

/// The largest file that is read, in bytes: a kubeconfig or a bundle of certificates is much smaller.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Reads a regular file. A FIFO, a device and a directory are errors: reading them could last for ever.
pub(super) async fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    read_any(path).await
}

/// Reads a file of any kind up to the limit. The caller must be able to end the wait for a pipe.
pub(super) async fn read_any(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(bytes)
}

/// The error for a file that could not be read. `setting` is the option or field that names the file.
pub(super) fn unreadable(path: &Path, setting: &str, error: &io::Error) -> ClusterError {
    ClusterError::new(format!("could not read {}: {error}", path.display()), format!("check {setting}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_regular_files_of_limited_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        tokio::fs::write(&path, "abc").await.unwrap();
        assert_eq!(read(&path).await.unwrap(), b"abc");
        let large = tokio::fs::File::create(&path).await.unwrap();
        large.set_len(LARGEST + 1).await.unwrap();
        assert_eq!(read(&path).await.unwrap_err().to_string(), "it is larger than 16 MiB");
        assert_eq!(read(directory.path()).await.unwrap_err().to_string(), "it is not a regular file");
        #[cfg(unix)]
        for device in ["/dev/zero", "/dev/null"] {
            assert_eq!(read(Path::new(device)).await.unwrap_err().to_string(), "it is not a regular file");
        }
        #[cfg(unix)]
        assert_eq!(read_any(Path::new("/dev/zero")).await.unwrap_err().to_string(), "it is larger than 16 MiB");
    }
}
