//! Signals: the first one starts the clean-up, the second one ends the process at once.

use std::fmt;
use std::time::Duration;
use tokio::sync::watch;

/// Why a run must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT (Ctrl-C).
    Interrupt,
    /// SIGTERM, as CI systems and `timeout` send it.
    Terminate,
    /// `--timeout` is over.
    Deadline,
}

impl Signal {
    /// The exit code: 128 plus the number of the signal; 4 for `--timeout`, because the cluster did not answer in time.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Deadline => 4,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::Deadline => "the command did not end in time (--timeout)",
        })
    }
}

/// Notifies the work of the first signal. Clones see the same signal.
#[derive(Debug, Clone)]
pub struct Shutdown {
    receiver: watch::Receiver<Option<Signal>>,
}

impl Shutdown {
    /// A shutdown that is never requested, for tests.
    pub fn never() -> Self {
        Self { receiver: watch::channel(None).1 }
    }

    /// A shutdown that is requested through a channel.
    pub fn from_channel(receiver: watch::Receiver<Option<Signal>>) -> Self {
        Self { receiver }
    }

    /// Waits for the first signal; returns at once if it has already arrived.
    pub async fn requested(&self) -> Signal {
        let mut receiver = self.receiver.clone();
        let seen = receiver.wait_for(Option::is_some).await.map(|signal| *signal);
        match seen {
            Ok(Some(signal)) => signal,
            _ => std::future::pending().await,
        }
    }

    /// Runs `work` until it is done or a signal arrives.
    pub async fn race<T>(&self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::select! {
            // If both are ready, the work is done.
            biased;
            value = work => Ok(value),
            signal = self.requested() => Err(signal),
        }
    }
}

/// Listens for SIGINT and SIGTERM, and for the end of the command's time. On the second signal, `last_words` is
/// called and the process ends.
pub fn listen(limit: Option<Duration>, last_words: impl Fn(Signal) + Send + 'static) -> std::io::Result<Shutdown> {
    let (sender, receiver) = watch::channel(None);
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        let time_is_over = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let first = tokio::select! {
            signal = signals.next() => signal,
            () = time_is_over => Signal::Deadline,
        };
        sender.send_replace(Some(first));
        let second = signals.next().await;
        last_words(second);
        leave(second);
    });
    Ok(Shutdown { receiver })
}

#[expect(clippy::exit, reason = "the second signal leaves at once, whatever the work is doing")]
#[expect(clippy::disallowed_methods, reason = "the one place that may end the process")]
fn leave(signal: Signal) -> ! {
    std::process::exit(i32::from(signal.exit_code()))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Interrupt
    }
}
