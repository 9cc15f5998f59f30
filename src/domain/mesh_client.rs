//! Whether a client *in* the mesh reaches the application, from the samples of its requests, and how good an answer is.
//!
//! Verdicts use it, because a refusal proves nothing if clients in the mesh do not reach the application either; the
//! monitor of a switch compares answers from before and after.

use super::sample::{Sample, SampleOutcome, classify};

/// What the client in the mesh got from one target. Each variant holds a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshClientAnswer {
    /// The application answered.
    Reached(String),
    /// The client's sidecar answered that it cannot reach the application.
    Unreachable(String),
    /// Nothing came back, which a TCP application may do, or the answer does not show who gave it.
    Unclear(String),
}

impl MeshClientAnswer {
    /// The description.
    pub fn message(&self) -> &str {
        match self {
            Self::Reached(message) | Self::Unreachable(message) | Self::Unclear(message) => message,
        }
    }
}

/// How good an answer is. A call with a lower grade than before a change is a lost call, whoever answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// No byte came back.
    Nothing,
    /// HTTP 5xx.
    ServerError,
    /// HTTP 403 of an authorization policy: the client is not allowed, and others may be.
    Denied,
    /// HTTP 400: the server did not understand what arrived, for example because it expects TLS.
    NotUnderstood,
    /// Any other HTTP 4xx: the application understood the request.
    ClientError,
    /// HTTP 2xx or 3xx, or bytes of another protocol.
    Fine,
}

/// One call of a client in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshCall {
    /// What came back.
    pub answer: MeshClientAnswer,
    /// How good that is; `None` where it shows only that this client calls too often.
    pub grade: Option<Grade>,
    /// Whether the client's sidecar answered that it has ejected every endpoint.
    pub is_ejected: bool,
}

/// Length of the bodies `RBAC: access denied` and `no healthy upstream`, which Envoy answers with HTTP 403 and 503. Through
/// the client's sidecar the headers do not show which proxy, or the application, answered.
const ENVOY_BODY: u64 = 19;

impl MeshCall {
    /// Classifies one sample.
    pub fn of(sample: &Sample) -> Self {
        let answer = classify_samples(std::slice::from_ref(sample));
        let is_ejected = sample.http_status == Some(503) && sample.from_sidecar && sample.body_bytes == ENVOY_BODY;
        Self { answer, grade: grade(sample), is_ejected }
    }
}

/// The grade of a sample.
fn grade(sample: &Sample) -> Option<Grade> {
    Some(match (sample.http_status, classify(sample)) {
        (Some(429), _) => return None,
        (Some(500..), _) => Grade::ServerError,
        (Some(403), _) if is_denied(sample) => Grade::Denied,
        (Some(400), _) => Grade::NotUnderstood,
        (Some(401..), _) => Grade::ClientError,
        (Some(_), _) | (None, SampleOutcome::Answered(_)) => Grade::Fine,
        (None, _) => Grade::Nothing,
    })
}

fn is_denied(sample: &Sample) -> bool {
    sample.from_sidecar || sample.body_bytes == ENVOY_BODY
}

/// Classifies the samples of one target. One answer of the application is enough.
pub fn classify_samples(samples: &[Sample]) -> MeshClientAnswer {
    let answer = samples.iter().find_map(|sample| match (sample.http_status, classify(sample)) {
        // Through the client's sidecar, answers of the server's sidecar look like those of the application.
        (Some(403), _) if is_denied(sample) => None,
        (Some(429 | 502..=504), _) => None,
        (Some(status), _) if !sample.from_sidecar => Some(format!("HTTP {status}")),
        (None, SampleOutcome::Answered(accepted_by)) => Some(accepted_by.to_string()),
        _ => None,
    });
    if let Some(answer) = answer {
        return MeshClientAnswer::Reached(answer);
    }
    let worst = samples.iter().filter(|sample| sample.http_status.is_some()).max_by_key(|sample| sample.http_status);
    match worst.map(|sample| (sample.http_status.unwrap_or_default(), sample.from_sidecar)) {
        Some((403, _)) => MeshClientAnswer::Unclear("an authorization policy denies it (HTTP 403)".to_owned()),
        Some((429, _)) => MeshClientAnswer::Unclear("a rate limit answers (HTTP 429)".to_owned()),
        Some((status @ 500.., false)) => {
            MeshClientAnswer::Unclear(format!("HTTP {status}, by the application or by the sidecar in front of it"))
        }
        Some((status @ 500.., true)) => {
            MeshClientAnswer::Unreachable(format!("its sidecar answers HTTP {status}: the application is not reached"))
        }
        Some((status, _)) => MeshClientAnswer::Unclear(format!("its sidecar answers HTTP {status} by itself")),
        None if samples.is_empty() => MeshClientAnswer::Unclear("its records did not arrive".to_owned()),
        None => {
            let message = samples[0].message.as_ref().map_or_else(String::new, |message| format!(": {message}"));
            MeshClientAnswer::Unclear(format!("no byte came back, curl exit code {}{message}", samples[0].exit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{from_sidecar, http, no_answer};

    /// A sample with one of Envoy's own bodies.
    fn with_envoy_body(sample: Sample) -> Sample {
        Sample { body_bytes: ENVOY_BODY, ..sample }
    }

    #[test]
    fn only_a_sidecars_error_counts_as_unreachable() {
        let bytes = Sample { exit: 1, bytes: 5, connected: true, ..Sample::default() };
        let rows: [(&str, Vec<Sample>, &str); 13] = [
            ("the application answers", vec![http(200)], "reached"),
            ("with an error of its own", vec![http(500)], "reached"),
            ("with its own 403", vec![http(403)], "reached"),
            ("bytes that are not HTTP", vec![bytes], "reached"),
            ("its proxy was not ready at the first", vec![from_sidecar(503), http(200)], "reached"),
            ("the client's sidecar has no way", vec![from_sidecar(503); 3], "unreachable"),
            ("the server's sidecar or the application", vec![http(503)], "unclear"),
            ("denied by the client's sidecar", vec![from_sidecar(403)], "unclear"),
            ("denied by the server's sidecar", vec![with_envoy_body(http(403))], "unclear"),
            ("limited by a sidecar", vec![http(429)], "unclear"),
            ("a TCP application hangs up", vec![no_answer(52)], "unclear"),
            ("a TCP application is silent", vec![no_answer(28)], "unclear"),
            ("no record", Vec::new(), "unclear"),
        ];
        for (name, samples, expected) in rows {
            let answer = match classify_samples(&samples) {
                MeshClientAnswer::Reached(_) => "reached",
                MeshClientAnswer::Unreachable(_) => "unreachable",
                MeshClientAnswer::Unclear(_) => "unclear",
            };
            assert_eq!(answer, expected, "{name}");
        }
    }

    #[test]
    fn answers_are_graded_by_what_a_caller_gets() {
        let bytes = Sample { exit: 28, bytes: 16, connected: true, ..Sample::default() };
        let rows = [
            (http(200), Some(Grade::Fine)),
            (http(302), Some(Grade::Fine)),
            (bytes, Some(Grade::Fine)),
            (http(404), Some(Grade::ClientError)),
            (http(401), Some(Grade::ClientError)),
            (http(403), Some(Grade::ClientError)),
            (http(400), Some(Grade::NotUnderstood)),
            (from_sidecar(403), Some(Grade::Denied)),
            (with_envoy_body(http(403)), Some(Grade::Denied)),
            (http(500), Some(Grade::ServerError)),
            (from_sidecar(503), Some(Grade::ServerError)),
            (no_answer(52), Some(Grade::Nothing)),
            (no_answer(56), Some(Grade::Nothing)),
            (no_answer(28), Some(Grade::Nothing)),
            (http(429), None),
        ];
        for (sample, expected) in rows {
            assert_eq!(MeshCall::of(&sample).grade, expected, "{sample:?}");
        }
        assert!(MeshCall::of(&with_envoy_body(from_sidecar(503))).is_ejected);
        assert!(!MeshCall::of(&from_sidecar(503)).is_ejected && !MeshCall::of(&with_envoy_body(http(503))).is_ejected);
    }
}
