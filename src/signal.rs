//! Signals, and the other reasons to stop early: the first one starts the clean-up, a later one ends the process at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Signals within this time of the first one are the same one: `timeout` and a closed terminal send it both to the
/// process and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Why a run must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: the terminal was closed.
    Hangup,
    /// SIGINT (Ctrl-C).
    Interrupt,
    /// SIGTERM, as CI systems and `timeout` send it.
    Terminate,
    /// `--timeout` is over.
    Deadline,
    /// Nobody reads the output of a watch any more.
    OutputClosed,
}

/// What SIGHUP does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hangup {
    /// It ends the run, as SIGTERM does.
    Ends,
    /// The run was started with SIGHUP ignored, as `nohup` does.
    StaysIgnored,
}

impl Signal {
    /// The exit code: 128 plus the number of the signal; 4 for `--timeout`, because the cluster did not answer in time; 0
    /// for a watch whose reader has seen enough.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
            Self::Deadline => 4,
            Self::OutputClosed => 0,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hangup => "the terminal was closed",
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
            Self::Deadline => "the command did not end in time (--timeout)",
            Self::OutputClosed => "the output is not read any more",
        })
    }
}

/// Notifies the work of the first signal. Clones see the same signal.
#[derive(Debug, Clone)]
pub struct Shutdown {
    receiver: watch::Receiver<Option<Signal>>,
    /// The number of open prompts: `--timeout` counts only while there is none.
    prompts: Arc<watch::Sender<usize>>,
}

/// `--timeout` does not count while this value lives.
#[derive(Debug)]
pub struct PausedLimit(Arc<watch::Sender<usize>>);

impl Drop for PausedLimit {
    fn drop(&mut self) {
        self.0.send_modify(|prompts| *prompts = prompts.saturating_sub(1));
    }
}

impl Shutdown {
    /// A shutdown that is never requested, for tests.
    pub fn never() -> Self {
        Self::from_channel(watch::channel(None).1)
    }

    /// A shutdown that is requested through a channel.
    pub fn from_channel(receiver: watch::Receiver<Option<Signal>>) -> Self {
        Self { receiver, prompts: Arc::new(watch::Sender::new(0)) }
    }

    /// Stops the clock of `--timeout` until the returned value is dropped, for the time in which a person reads and
    /// answers.
    pub fn pause_limit(&self) -> PausedLimit {
        self.prompts.send_modify(|prompts| *prompts += 1);
        PausedLimit(Arc::clone(&self.prompts))
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

/// Listens for SIGHUP, SIGINT and SIGTERM, for the end of the command's time, and for `output_closed`. On a second signal,
/// `last_words` is called and the process ends.
pub fn listen(
    limit: Option<Duration>,
    hangup: Hangup,
    output_closed: impl Future<Output = ()> + Send + 'static,
    last_words: impl Fn(Signal) + Send + 'static,
) -> std::io::Result<Shutdown> {
    let (sender, receiver) = watch::channel(None);
    let shutdown = Shutdown::from_channel(receiver);
    let mut signals = Signals::new(hangup)?;
    let prompts = shutdown.prompts.subscribe();
    tokio::spawn(async move {
        let first = tokio::select! {
            signal = signals.next() => signal,
            () = time_is_over(limit, prompts) => Signal::Deadline,
            () = output_closed => Signal::OutputClosed,
        };
        let same_until = Instant::now() + SAME_SIGNAL;
        sender.send_replace(Some(first));
        let second = loop {
            let signal = signals.next().await;
            if Instant::now() >= same_until {
                break signal;
            }
        };
        last_words(second);
        leave(second);
    });
    Ok(shutdown)
}

/// A shutdown that only the end of the command's time requests, beside a [`Relay`].
pub fn limit(limit: Option<Duration>) -> Shutdown {
    let (sender, receiver) = watch::channel(None);
    let shutdown = Shutdown::from_channel(receiver);
    let prompts = shutdown.prompts.subscribe();
    tokio::spawn(async move {
        time_is_over(limit, prompts).await;
        sender.send_replace(Some(Signal::Deadline));
    });
    shutdown
}

/// The signals of a command that runs another program, to which it passes them on. They do not end this process.
#[expect(missing_debug_implementations, reason = "the system's streams of signals cannot be shown")]
pub struct Relay(Signals);

impl Relay {
    /// Catches signals from now on.
    pub fn new(hangup: Hangup) -> std::io::Result<Self> {
        Signals::new(hangup).map(Self)
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Signal {
        self.0.next().await
    }
}

/// Waits until `limit` is over, not counting the time in which a prompt is open. Without a limit it waits for ever.
async fn time_is_over(limit: Option<Duration>, mut prompts: watch::Receiver<usize>) {
    let Some(mut remaining) = limit else { return std::future::pending().await };
    loop {
        // The sender lives as long as the run.
        if prompts.wait_for(|prompts| *prompts == 0).await.is_err() {
            return std::future::pending().await;
        }
        let began = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(remaining) => return,
            is_over = async { prompts.wait_for(|prompts| *prompts > 0).await.is_err() } => {
                if is_over {
                    return std::future::pending().await;
                }
                remaining = remaining.saturating_sub(began.elapsed());
            }
        }
    }
}

#[expect(clippy::exit, reason = "the second signal leaves at once, whatever the work is doing")]
#[expect(clippy::disallowed_methods, reason = "the one place that may end the process")]
fn leave(signal: Signal) -> ! {
    std::process::exit(i32::from(signal.exit_code()))
}

#[cfg(unix)]
struct Signals {
    /// `None` where SIGHUP is ignored.
    hangup: Option<tokio::signal::unix::Signal>,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new(hangup: Hangup) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = match hangup {
            Hangup::Ends => Some(signal(SignalKind::hangup())?),
            Hangup::StaysIgnored => None,
        };
        Ok(Self { hangup, interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => Signal::Hangup,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new(_: Hangup) -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Interrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_does_not_count_while_a_prompt_is_open() {
        let shutdown = Shutdown::never();
        let began = Instant::now();
        let limit = tokio::spawn(time_is_over(Some(Duration::from_secs(3)), shutdown.prompts.subscribe()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        for _ in 0..2 {
            let paused = shutdown.pause_limit();
            tokio::time::sleep(Duration::from_mins(1)).await;
            drop(paused);
        }
        limit.await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 123);
    }
}
