//! How long work tells what it does, without knowing who listens.

/// Somebody who shows progress.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `count` is how many steps it has, where that is known.
    fn begin(&self, what: &str, count: Option<u64>);
    /// One step is done.
    fn step(&self);
    /// The work is over; nothing of it stays on the screen.
    fn end(&self);
}

/// Nobody.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _count: Option<u64>) {}
    fn step(&self) {}
    fn end(&self) {}
}
