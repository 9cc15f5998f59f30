//! The log of a container, in memory; a reader can follow it.

use hyper::body::Bytes;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// The largest size of a log in bytes; later output is dropped.
const LIMIT: usize = 16 << 20;

/// The output of one container.
#[derive(Debug)]
pub(super) struct Log {
    text: Mutex<Vec<u8>>,
    /// Whether the container has ended. Every write also notifies the readers through it.
    ended: watch::Sender<bool>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { text: Mutex::default(), ended: watch::Sender::new(false) }
    }

    pub(super) fn write(&self, bytes: &[u8]) {
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let room = LIMIT.saturating_sub(text.len()).min(bytes.len());
        text.extend_from_slice(&bytes[..room]);
        drop(text);
        self.ended.send_modify(|_| {});
    }

    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// The bytes written so far, from `offset`.
    pub(super) fn read(&self, offset: usize) -> Bytes {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        Bytes::copy_from_slice(text.get(offset..).unwrap_or_default())
    }

    /// The offset at which the last `lines` lines begin.
    pub(super) fn tail(&self, lines: usize) -> usize {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let body = text.strip_suffix(b"\n").unwrap_or(&text);
        if lines == 0 {
            return text.len();
        }
        let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        ends.nth(lines - 1).map_or(0, |(index, _)| index + 1)
    }

    /// The next bytes after `offset`; `None` once the container has ended and all was read.
    pub(super) async fn follow(&self, offset: usize) -> Option<Bytes> {
        let mut changes = self.ended.subscribe();
        loop {
            // Read before the text, so that a write in between starts another round.
            let ended = *changes.borrow_and_update();
            let bytes = self.read(offset);
            if !bytes.is_empty() {
                return Some(bytes);
            }
            if ended || changes.changed().await.is_err() {
                return None;
            }
        }
    }
}
