//! Returns the time by which a run decides whether its Lease is still valid: it includes the time in which the machine was
//! suspended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Returns the time since an arbitrary moment. Clones return the same time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The system's clock: `CLOCK_BOOTTIME` on Linux. Elsewhere the monotonic clock, which on macOS advances
    /// while the machine is suspended.
    pub fn system() -> Self {
        Self(Arc::new(since_boot))
    }

    /// A clock that returns what `now` returns, for tests.
    pub fn from_fn(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(CLOCK);
    // These clocks are never negative, and their nanoseconds are below one second.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_advances() {
        let clock = Clock::system();
        let begin = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > begin && begin > Duration::ZERO);
    }
}
