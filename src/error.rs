//! The errors that end a run. One exhaustive match per question gives the exit status and the hint of each.

use crate::cluster::error::ClusterError;
use crate::domain::probe::TargetError;
use crate::exit::ExitStatus;
use crate::report::RenderError;
use crate::signal::Signal;
use std::io;

/// What a command returns instead of its [`ExitStatus`] when it cannot finish. `Display` is the message for the user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster, its API or its permissions, or a field that another manager owns.
    #[error("{0}")]
    Cluster(ClusterError),
    /// An argument or a file that the user passed is wrong, or a confirmation is missing.
    #[error("{0}")]
    Usage(UsageError),
    /// A target that the user named does not exist.
    #[error("{0}")]
    Target(TargetError),
    /// A signal, or the end of `--timeout`.
    #[error("{0}")]
    Interrupted(Signal),
    /// A check before the first write found what even `--force` must not break.
    #[error("{0}")]
    Refused(String),
    /// A check stopped the run before anything was written.
    #[error("{0}")]
    CheckFailed(String),
    /// Calls in the mesh that succeeded before the change fail after it.
    #[error("{0}")]
    CallsLost(String),
    /// No verdict is possible, or the expected answer did not arrive in time.
    #[error("{0}")]
    Inconclusive(String),
    /// A local file or stream could not be read or written.
    #[error("{}{source}", .attempted.as_ref().map(|attempted| format!("{attempted}: ")).unwrap_or_default())]
    LocalIo {
        /// What was attempted, such as `could not write FILE`; `None` if the error of the system says enough.
        attempted: Option<String>,
        /// The error of the system.
        source: io::Error,
    },
    /// A result could not be written as JSON, YAML or `JUnit`.
    #[error("{0}")]
    Render(RenderError),
    /// The sandbox did not start.
    #[error("{0:#}")]
    Sandbox(anyhow::Error),
}

/// What a command or one of its parts returns.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the user: names the argument or the file, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Error {
    /// A local file or stream that failed while `attempted` was done.
    pub fn local_io(attempted: impl Into<String>, source: io::Error) -> Self {
        Self::LocalIo { attempted: Some(attempted.into()), source }
    }

    /// stdout, which could not be written to.
    pub fn stdout(source: io::Error) -> Self {
        Self::local_io("could not write to stdout", source)
    }

    /// How a run ends that returns this error.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Usage(_) | Self::Target(_) => ExitStatus::Usage,
            Self::CheckFailed(_) | Self::Refused(_) | Self::CallsLost(_) => ExitStatus::Unexpected,
            Self::Inconclusive(_) => ExitStatus::Inconclusive,
            Self::Interrupted(signal) => ExitStatus::Interrupted(*signal),
            Self::Cluster(_) | Self::LocalIo { .. } | Self::Render(_) | Self::Sandbox(_) => ExitStatus::Cluster,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Cluster(error) => error.hint.clone(),
            Self::Usage(error) => error.hint.clone(),
            Self::Target(error) => error.hint(),
            Self::CheckFailed(_) => Some("use --force to continue anyway".to_owned()),
            Self::Interrupted(_)
            | Self::CallsLost(_)
            | Self::Refused(_)
            | Self::Inconclusive(_)
            | Self::LocalIo { .. }
            | Self::Render(_)
            | Self::Sandbox(_) => None,
        }
    }
}

impl From<ClusterError> for Error {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl From<UsageError> for Error {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<Signal> for Error {
    fn from(signal: Signal) -> Self {
        Self::Interrupted(signal)
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::LocalIo { attempted: None, source }
    }
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Self {
        Self::Render(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> UsageError {
        UsageError { message: "--port: no number".to_owned(), hint: Some("pass a number".to_owned()) }
    }

    #[test]
    fn each_error_has_its_message_hint_and_status() {
        let denied = || io::Error::new(io::ErrorKind::PermissionDenied, "denied");
        let table = [
            (Error::from(ClusterError::new("forbidden", "ask")), "forbidden", Some("ask"), 4),
            (usage().into(), "--port: no number", Some("pass a number"), 2),
            (
                TargetError::ExternalName { service: "db".to_owned() }.into(),
                "service \"db\" is an ExternalName: an alias, with no endpoints of its own to protect",
                None,
                2,
            ),
            (Signal::Interrupt.into(), "interrupted", None, 130),
            (Signal::Terminate.into(), "terminated", None, 143),
            (Signal::Deadline.into(), "the command did not end in time (--timeout)", None, 4),
            (
                Error::CheckFailed("a pod is refused".to_owned()),
                "a pod is refused",
                Some("use --force to continue anyway"),
                1,
            ),
            (Error::Refused("refused".to_owned()), "refused", None, 1),
            (Error::CallsLost("lost".to_owned()), "lost", None, 1),
            (Error::Inconclusive("unknown".to_owned()), "unknown", None, 3),
            (denied().into(), "denied", None, 4),
            (Error::local_io("could not write f", denied()), "could not write f: denied", None, 4),
            (Error::Sandbox(anyhow::anyhow!("in use").context("port 1")), "port 1: in use", None, 4),
        ];
        for (error, message, hint, code) in table {
            assert_eq!((error.to_string().as_str(), error.hint().as_deref()), (message, hint));
            assert_eq!(error.exit_status().code(), code, "{message}");
        }
    }
}
