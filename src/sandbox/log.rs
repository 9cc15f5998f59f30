//! The log of a container, in memory; a reader can follow it.

use hyper::body::Bytes;
use jiff::Timestamp;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The largest size of a log in bytes; later output is dropped.
const LIMIT: usize = 16 << 20;

/// The size in bytes at which a proxy's log is rotated: its older half is dropped.
const ROTATION: usize = 1 << 20;

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A container that ends.
    Program,
    /// A proxy, which runs as long as the sandbox. Every line has a timestamp before it.
    Proxy,
}

/// The last part of what was written.
#[derive(Debug, Default)]
struct Text {
    /// The offset of the first byte that is kept.
    start: usize,
    bytes: Vec<u8>,
}

/// The output of one container.
#[derive(Debug)]
pub(super) struct Log {
    kind: Kind,
    text: Mutex<Text>,
    /// Whether the container has ended. Every write also notifies the readers through it.
    ended: watch::Sender<bool>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { kind: Kind::Program, text: Mutex::default(), ended: watch::Sender::new(false) }
    }

    pub(super) fn of_proxy() -> Self {
        Self { kind: Kind::Proxy, ..Self::new() }
    }

    /// Whether every line has a timestamp before it.
    pub(super) fn has_timestamps(&self) -> bool {
        self.kind == Kind::Proxy
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LIMIT.saturating_sub(text.bytes.len()).min(bytes.len());
        text.bytes.extend_from_slice(&bytes[..room]);
        drop(text);
        self.ended.send_modify(|_| {});
    }

    /// Writes a line of a proxy. A log that has become too large loses its older half.
    pub(super) fn write_line(&self, line: &str) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is read under the lock, so that the lines are in the order of their times.
        text.bytes.extend_from_slice(format!("{:.9} {line}\n", Timestamp::now()).as_bytes());
        if text.bytes.len() > ROTATION {
            let half = &text.bytes[ROTATION / 2..];
            let dropped = ROTATION / 2 + half.iter().position(|byte| *byte == b'\n').map_or(0, |index| index + 1);
            text.bytes.drain(..dropped);
            text.start += dropped;
        }
        drop(text);
        self.ended.send_modify(|_| {});
    }

    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// The bytes written so far, from `offset` or from the first that is kept.
    pub(super) fn read(&self, offset: usize) -> Bytes {
        self.read_next(offset).0
    }

    /// As [`Self::read`], with the offset after the bytes.
    fn read_next(&self, offset: usize) -> (Bytes, usize) {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = offset.saturating_sub(text.start);
        let bytes = Bytes::copy_from_slice(text.bytes.get(skipped..).unwrap_or_default());
        (bytes, text.start + text.bytes.len())
    }

    /// The offset at which the last `lines` lines begin.
    pub(super) fn tail(&self, lines: usize) -> usize {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let body = text.bytes.strip_suffix(b"\n").unwrap_or(&text.bytes);
        if lines == 0 {
            return text.start + text.bytes.len();
        }
        let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        text.start + ends.nth(lines - 1).map_or(0, |(index, _)| index + 1)
    }

    /// The offset of the first line that was written at `time` or later; only of a log with timestamps.
    pub(super) fn since(&self, time: Timestamp) -> usize {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let mut offset = text.start;
        for line in text.bytes.split_inclusive(|byte| *byte == b'\n') {
            let stamp = line.split(|byte| *byte == b' ').next().and_then(|stamp| std::str::from_utf8(stamp).ok());
            if stamp.and_then(|stamp| stamp.parse::<Timestamp>().ok()).is_some_and(|written| written >= time) {
                break;
            }
            offset += line.len();
        }
        offset
    }

    /// The next bytes after `offset`, and the offset after them; `None` once the container has ended and all was read.
    pub(super) async fn follow(&self, offset: usize) -> Option<(Bytes, usize)> {
        let mut changes = self.ended.subscribe();
        loop {
            // Read before the text, so that a write in between starts another round.
            let ended = *changes.borrow_and_update();
            let (bytes, next) = self.read_next(offset);
            if !bytes.is_empty() {
                return Some((bytes, next));
            }
            if ended || changes.changed().await.is_err() {
                return None;
            }
        }
    }
}

/// Removes the timestamp before each of these whole lines.
pub(super) fn without_timestamps(lines: &[u8]) -> Bytes {
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    let rest = lines.flat_map(|line| {
        let end = line.iter().position(|byte| *byte == b' ').map_or(0, |index| index + 1);
        &line[end..]
    });
    rest.copied().collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_of_a_proxy_is_rotated_and_its_reader_goes_on() {
        let log = Log::of_proxy();
        log.write_line("first");
        let (first, mut offset) = log.follow(0).await.unwrap();
        assert_eq!(without_timestamps(&first), "first\n");
        for number in 0..20_000 {
            log.write_line(&format!("{number:060}"));
        }
        let (rest, next) = log.follow(offset).await.unwrap();
        assert!(rest.len() <= ROTATION && rest.ends_with(b"019999\n"), "{}", rest.len());
        offset = next;
        log.write_line("last");
        assert_eq!(without_timestamps(&log.follow(offset).await.unwrap().0), "last\n");
        assert_eq!(without_timestamps(&log.read(log.tail(1))), "last\n");
        let future = Timestamp::now() + jiff::SignedDuration::from_secs(60);
        assert!(log.read(log.since(future)).is_empty());
        assert_eq!(log.since(Timestamp::UNIX_EPOCH), log.text.lock().unwrap().start);
    }
}
