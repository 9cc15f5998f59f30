//! What a probe pod writes: read as it is written, or when it has ended.

use super::pod_state::PROBE;
use super::probe_pod::{Curl, Failure, ProbePod};
use crate::cluster::request::send;
use futures::future::try_join_all;
use futures::stream::{BoxStream, StreamExt, unfold};
use futures::{AsyncBufRead, AsyncBufReadExt};
use kube::api::LogParams;
use std::time::Duration;
use tokio::sync::Notify;

/// More than any run writes: what a server puts in its headers must not fill our memory.
const LIMIT_BYTES: i64 = 64 * 1024 * 1024;

/// Whole lines of a log, without their ends.
pub type Lines = BoxStream<'static, String>;

impl ProbePod {
    /// The whole logs of these curls, one after the other; their records are lines that begin with `marker`.
    ///
    /// The first is read while curl runs: its last record is there up to a second before the kubelet tells that the
    /// container has ended. Then the others mostly have ended too; they are only looked at, because following a log
    /// costs the node much for each line. Where this comes to nothing, all are read after the end.
    pub async fn whole_log(&self, marker: &str, curls: &[Curl]) -> Result<String, Failure> {
        let running = Notify::new();
        let told = async {
            running.notified().await;
            let mut logs = Vec::new();
            for (index, curl) in curls.iter().enumerate() {
                logs.push(self.first_records(marker, curl, index == 0).await?);
            }
            Some(logs)
        };
        tokio::select! {
            ended = self.ended(|| running.notify_one()) => ended?,
            Some(logs) = told => {
                self.note_end();
                return Ok(logs.join("\n"));
            }
        };
        self.log(marker, curls).await
    }

    /// The logs of containers that have ended.
    pub async fn log(&self, marker: &str, curls: &[Curl]) -> Result<String, Failure> {
        Ok(try_join_all(curls.iter().map(|curl| self.log_of(marker, curl))).await?.join("\n"))
    }

    /// A log up to its last record; none where it cannot be read, or ends before.
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

    /// Short of its records a log is read again: the container's end can be known before its last lines are.
    async fn log_of(&self, marker: &str, curl: &Curl) -> Result<String, Failure> {
        let mut lines: Vec<String> = Vec::new();
        // Six seconds in all: curl writes its records when it ends, and a busy node was seen to pass them on a second late.
        for pause in [0, 100, 200, 400, 800, 1600, 3200] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            lines = self.lines(curl.container, false).await?.collect().await;
            if lines.iter().filter(|line| line.starts_with(marker)).count() >= curl.records {
                break;
            }
        }
        Ok(lines.join("\n"))
    }

    /// The lines of the first log as they are written.
    pub async fn follow(&self) -> Result<Lines, Failure> {
        self.lines(PROBE, true).await
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

/// Splits a log. Bytes that are no text are replaced: a header of any server may hold some. A line that was cut short
/// is none.
fn lines(log: impl AsyncBufRead + Unpin + Send + 'static) -> Lines {
    let lines = unfold(log, async |mut log| {
        let mut line = Vec::new();
        log.read_until(b'\n', &mut line).await.ok()?;
        let line = line.strip_suffix(b"\n")?;
        Some((String::from_utf8_lossy(line).into_owned(), log))
    });
    // A switch asks on after a stream that was cut off.
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
    async fn a_log_that_was_cut_off_can_be_asked_again() {
        let mut lines = lines(&b"MARK 1\n"[..]);
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(lines.next().await);
        }
        assert_eq!(asked, [Some("MARK 1".to_owned()), None, None, None]);
    }
}
