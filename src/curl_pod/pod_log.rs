//! Reads the log of a probe pod as lines, while curl writes it or after curl has exited, for `runner`, `stream` and
//! `mesh_traffic`.

use super::probe_pod::{Curl, Failure, ProbePod};
use crate::cluster::request::send;
use futures::future::try_join_all;
use futures::stream::{BoxStream, StreamExt, unfold};
use futures::{AsyncBufRead, AsyncBufReadExt};
use kube::api::LogParams;
use std::time::Duration;
use tokio::sync::Notify;

/// Largest log that is read: a server's headers must not fill the memory.
const LIMIT_BYTES: i64 = 32 * 1024 * 1024;

/// Complete lines of a log, without line breaks.
pub type Lines = BoxStream<'static, String>;

impl ProbePod {
    /// The complete logs of these curls, concatenated. Their records are lines that begin with `marker`.
    ///
    /// The first log is followed while curl runs: its last record arrives up to a second before the kubelet reports that
    /// the container has exited. By then the other curls have usually exited too; their logs are read once, because
    /// following costs the node much for each line. If a record is missing, all logs are read after the end.
    pub async fn whole_log(&self, marker: &str, curls: &[Curl]) -> Result<String, Failure> {
        let running = Notify::new();
        let records = async {
            running.notified().await;
            let mut logs = Vec::new();
            for (index, curl) in curls.iter().enumerate() {
                logs.push(self.first_records(marker, curl, index == 0).await?);
            }
            Some(logs)
        };
        tokio::select! {
            ended = self.ended(|| running.notify_one()) => ended?,
            Some(logs) = records => {
                self.mark_ended();
                return Ok(logs.join("\n"));
            }
        };
        self.log(marker, curls).await
    }

    /// The logs of curls that have exited, concatenated.
    pub async fn log(&self, marker: &str, curls: &[Curl]) -> Result<String, Failure> {
        Ok(try_join_all(curls.iter().map(|curl| self.log_of(marker, curl))).await?.join("\n"))
    }

    /// A log up to its last record; `None` if it cannot be read or ends earlier.
    async fn first_records(&self, marker: &str, curl: &Curl, follow: bool) -> Option<String> {
        let mut lines = self.lines(curl.container, follow).await.ok()?;
        let (mut log, mut seen) = (Vec::new(), 0);
        while seen < curl.records {
            let line = lines.next().await?;
            seen += usize::from(line.starts_with(marker));
            log.push(line);
        }
        Some(log.join("\n"))
    }

    /// One log. It is read again while records are missing: the container's end can be reported before its last lines.
    async fn log_of(&self, marker: &str, curl: &Curl) -> Result<String, Failure> {
        let mut lines: Vec<String> = Vec::new();
        // Six seconds in all: curl writes its records when it exits, and a busy node delays them by a second.
        for pause in [0, 100, 200, 400, 800, 1600, 3200] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            lines = self.lines(curl.container, false).await?.collect().await;
            if lines.iter().filter(|line| line.starts_with(marker)).count() >= curl.records {
                break;
            }
        }
        Ok(lines.join("\n"))
    }

    /// The lines of the log of a container, as they are written.
    pub async fn follow(&self, container: &str) -> Result<Lines, Failure> {
        self.lines(container, true).await
    }

    async fn lines(&self, container: &str, follow: bool) -> Result<Lines, Failure> {
        let params = LogParams {
            container: Some(container.to_owned()),
            limit_bytes: Some(LIMIT_BYTES),
            follow,
            ..LogParams::default()
        };
        let log = send(self.access("get", "pods/log"), || self.api.log_stream(&self.name, &params)).await?;
        Ok(lines(Box::pin(log)))
    }
}

/// Splits a log into lines. Invalid UTF-8, which a server's header may contain, is replaced. A last line without a line
/// break is dropped.
fn lines(log: impl AsyncBufRead + Unpin + Send + 'static) -> Lines {
    let lines = unfold(log, async |mut log| {
        let mut line = Vec::new();
        log.read_until(b'\n', &mut line).await.ok()?;
        let line = line.strip_suffix(b"\n")?;
        Some((String::from_utf8_lossy(line).into_owned(), log))
    });
    // A change of the mesh polls the stream again after it was cut off.
    lines.fuse().boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_that_are_no_text_do_not_end_a_log() {
        let log = &b"< Server: caf\xe9\r\nMARK 1\n\nMARK"[..];
        let lines: Vec<String> = lines(log).collect().await;
        assert_eq!(lines, ["< Server: caf\u{fffd}\r", "MARK 1", ""]);
    }

    #[tokio::test]
    async fn a_log_that_was_cut_off_can_be_polled_again() {
        let mut lines = lines(&b"MARK 1\n"[..]);
        let mut polled = Vec::new();
        for _ in 0..4 {
            polled.push(lines.next().await);
        }
        assert_eq!(polled, [Some("MARK 1".to_owned()), None, None, None]);
    }
}
