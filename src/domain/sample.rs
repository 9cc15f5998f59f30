//! One plaintext request: what curl reports of it, and what that shows about the server, for verdicts, the wait for
//! enforcement and `probe --watch`.

use super::reason::Reason;
use std::fmt;

/// The result of one plaintext request, as curl reports it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// curl's exit code for this request.
    pub exit: i32,
    /// curl's error message.
    pub message: Option<String>,
    /// HTTP status; `None` if no status line came back.
    pub http_status: Option<u16>,
    /// Bytes of the answer, headers and body.
    pub bytes: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Whether the TCP connection was established.
    pub connected: bool,
    /// Whether the answer carries the marks of the sidecar itself rather than of the application behind it.
    pub from_sidecar: bool,
    /// Seconds until the TCP connection was established; 0 if it was not.
    pub connect_seconds: f64,
    /// Seconds from the start to the end of the request.
    pub seconds: f64,
}

/// curl's exit codes after which it skips all remaining requests: it could not start, or ran out of memory. An old curl
/// reports the latter also for a single long header.
const GIVES_UP: [i32; 5] = [2, 27, 41, 43, 48];

/// Whether curl skips all remaining requests after a request with this exit code.
pub fn gives_up(exit: i32) -> bool {
    GIVES_UP.contains(&exit)
}

/// How plaintext was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptedBy {
    /// The application answered over HTTP.
    Http(u16),
    /// Bytes came back that are not HTTP.
    NotHttp,
    /// The sidecar accepted the plaintext; an authorization policy answered 403.
    DeniedByAuthorization,
    /// The sidecar accepted the plaintext; the application behind it is down.
    ApplicationDown(u16),
    /// The sidecar accepted the plaintext and answered itself on a port that is not declared to speak HTTP.
    SidecarAnswered(u16),
    /// The plaintext reached an application that speaks TLS itself.
    ApplicationSpeaksTls,
}

impl fmt::Display for AcceptedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(status) => write!(f, "HTTP {status}"),
            Self::NotHttp => f.write_str("bytes came back, not HTTP"),
            Self::DeniedByAuthorization => f.write_str("HTTP 403: plaintext got in, denied by authorization"),
            Self::ApplicationDown(status) => {
                write!(f, "HTTP {status}: the sidecar let it in, the application is down")
            }
            Self::SidecarAnswered(status) => {
                write!(f, "HTTP {status}: the sidecar let it in, the application does not speak HTTP or does not run")
            }
            Self::ApplicationSpeaksTls => f.write_str("HTTP 400: the application speaks TLS itself"),
        }
    }
}

/// What one plaintext sample shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SampleOutcome {
    /// Bytes came back.
    Answered(AcceptedBy),
    /// The connection was established, then reset without a byte.
    Reset,
    /// The connection was established, then closed without a byte.
    Closed,
    /// The sample shows nothing about mutual TLS.
    Unrelated(Reason),
}

/// Classifies one sample by curl's exit code together with what came back, never by the code alone.
pub fn classify(sample: &Sample) -> SampleOutcome {
    if let Some(status) = sample.http_status {
        return SampleOutcome::Answered(match status {
            403 if sample.from_sidecar => AcceptedBy::DeniedByAuthorization,
            502..=504 if sample.from_sidecar => AcceptedBy::ApplicationDown(status),
            _ => AcceptedBy::Http(status),
        });
    }
    // curl 1: an answer in HTTP/0.9, which can be any bytes; 8: an invalid header.
    let unreadable = sample.connected && matches!(sample.exit, 1 | 8);
    if sample.bytes > 0 || unreadable {
        return SampleOutcome::Answered(AcceptedBy::NotHttp);
    }
    match (sample.exit, sample.connected) {
        (55 | 56, true) => SampleOutcome::Reset,
        (52, true) => SampleOutcome::Closed,
        (6, _) => SampleOutcome::Unrelated(Reason::Dns),
        (7, _) => SampleOutcome::Unrelated(Reason::Refused),
        (28, false) => SampleOutcome::Unrelated(Reason::ConnectTimeout),
        (28, true) => SampleOutcome::Unrelated(Reason::ReadTimeout),
        _ => SampleOutcome::Unrelated(Reason::Unexpected),
    }
}
