//! Programs that this tool runs for the user. If the wait for one is given up, it is ended with its children.

use rustix::process::{Pid, kill_process, kill_process_group};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

pub use rustix::process::Signal;

/// Time for a program to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_millis(250);

/// Which processes belong to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A process group of its own, which may not read from the terminal.
    Group,
    /// The program and its descendants, in this process's group: only the terminal's foreground group may read from it.
    /// Descendants are known only on systems with `/proc`.
    Descendants,
}

/// A running program. If it is dropped before its end, the program and its children are ended.
#[derive(Debug)]
pub struct Program {
    child: Child,
    scope: Scope,
    has_ended: bool,
}

impl Program {
    /// Starts a program.
    pub fn start(mut command: Command, scope: Scope) -> io::Result<Self> {
        if scope == Scope::Group {
            command.process_group(0);
        }
        Ok(Self { child: command.spawn()?, scope, has_ended: false })
    }

    /// Its standard output, if it is a pipe that was not taken.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Its standard error, if it is a pipe that was not taken.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Sends it a signal, but not to its children.
    pub fn signal(&self, signal: Signal) {
        // An error means that the process has ended already.
        let _ = self.pid().map(|pid| kill_process(pid, signal));
    }

    /// `None` after its end.
    fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // Its identifier may soon belong to another process.
        self.has_ended = true;
        Ok(status)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let Some(pid) = self.pid() else { return };
        let descendants = if self.scope == Scope::Descendants { descendants(pid) } else { Vec::new() };
        // An error means that the process has ended already.
        let send = |signal| {
            let _ = match self.scope {
                Scope::Group => kill_process_group(pid, signal),
                Scope::Descendants => kill_process(pid, signal),
            };
            for known in &descendants {
                if Process::read(known.pid).is_some_and(|now| now.started == known.started) {
                    let _ = kill_process(known.pid, signal);
                }
            }
        };
        send(Signal::TERM);
        let start = Instant::now();
        // A process that has ended keeps its identifier until it is waited for.
        while start.elapsed() < GRACE && !has_ended(pid) {
            std::thread::sleep(Duration::from_millis(5));
        }
        send(Signal::KILL);
        // An error means that it is ended and waited for by the runtime.
        let _ = self.child.try_wait();
    }
}

/// Whether this process is in the foreground of its terminal, which sends Ctrl-C to the programs of its group, too.
pub fn is_in_foreground() -> bool {
    let foreground = std::fs::File::open("/dev/tty").ok().and_then(|tty| rustix::termios::tcgetpgrp(tty).ok());
    foreground == Some(rustix::process::getpgrp())
}

/// The exit code as a shell reports it: 128 plus the number of the signal that ended the program.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Whether a child has ended, without waiting for it.
fn has_ended(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid), options).map_or(true, |status| status.is_some())
}

/// A process as `/proc` shows it.
struct Process {
    pid: Pid,
    parent: Option<Pid>,
    /// Its start in clock ticks since boot: with the identifier it is unique.
    started: u64,
}

impl Process {
    /// Reads `/proc/PID/stat` (man 5 `proc_pid_stat`); `None` for a process that does not exist.
    fn read(pid: Pid) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name in parentheses may contain blanks and parentheses. Field 3 follows it.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let parent = fields.get(1)?.parse().ok().and_then(Pid::from_raw);
        Some(Self { pid, parent, started: fields.get(19)?.parse().ok()? })
    }
}

/// The children of a process, their children and so on.
fn descendants(ancestor: Pid) -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    let mut others: Vec<Process> = pids.filter_map(Process::read).collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        let (children, rest) = others.into_iter().partition(|process| process.parent == Some(parent));
        others = rest;
        let children: Vec<Process> = children;
        parents.extend(children.iter().map(|child| child.pid));
        found.extend(children);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use tokio::io::{AsyncBufReadExt, BufReader};

    #[tokio::test]
    async fn a_program_is_ended_with_its_children() {
        for scope in [Scope::Group, Scope::Descendants] {
            for ignored in ["", "trap '' TERM; "] {
                let mut command = Command::new("sh");
                // A grandchild, and a name with a parenthesis.
                command.args(["-c", &format!("{ignored}sh -c 'sleep 300 & echo $! $$; wait' ') (' & wait")]);
                command.stdout(Stdio::piped());
                let mut program = Program::start(command, scope).unwrap();
                let mut lines = BufReader::new(program.stdout().unwrap()).lines();
                let line = lines.next_line().await.unwrap().unwrap();
                let pids: Vec<Pid> = line.split(' ').filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
                assert_eq!(pids.len(), 2, "{line}");
                drop(program);
                tokio::time::sleep(Duration::from_millis(100)).await;
                for pid in pids {
                    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
                    assert!(stat.as_ref().map_or(true, |stat| stat.contains(") Z ")), "{scope:?} {ignored:?} {stat:?}");
                }
            }
        }
    }
}
