//! The interface through which long work reports its progress.

/// Shows the progress of work.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `count` is its number of steps, if known.
    fn begin(&self, what: &str, count: Option<u64>);
    /// One step is done.
    fn step(&self);
    /// The work is over; its progress disappears from the screen.
    fn end(&self);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _count: Option<u64>) {}
    fn step(&self) {}
    fn end(&self) {}
}
