//! The interface through which long work reports its progress.

/// Shows the progress of work.
pub trait Progress: Send + Sync {
    /// A piece of work begins; `count` is its number of steps, if known.
    fn begin(&self, what: &str, count: Option<u64>);
    /// One step is done.
    fn step(&self);
    /// Replaces the text about the work; it may have several lines.
    fn update(&self, what: &str);
    /// The work is over; its progress disappears from the screen.
    fn end(&self);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _count: Option<u64>) {}
    fn step(&self) {}
    fn update(&self, _what: &str) {}
    fn end(&self) {}
}
