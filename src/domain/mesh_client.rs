//! Whether a client *in* the mesh reaches the application, from the samples of its requests.
//!
//! Verdicts use it, because a refusal proves nothing if clients in the mesh do not reach the application either.

use super::sample::{Sample, SampleOutcome, classify};

/// What the client in the mesh got from one target. Each variant holds a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshClientAnswer {
    /// The application answered.
    Reached(String),
    /// The client's sidecar answered that it cannot reach the application.
    Unreachable(String),
    /// Nothing came back, which a TCP application may do with an HTTP request, or the answer shows neither.
    Unclear(String),
}

/// Classifies the samples of one target. One answer of the application is enough.
pub fn classify_samples(samples: &[Sample]) -> MeshClientAnswer {
    let answer = samples.iter().find_map(|sample| match (sample.http_status, classify(sample)) {
        (Some(status), _) if !sample.from_sidecar => Some(format!("HTTP {status}")),
        (None, SampleOutcome::Answered(accepted_by)) => Some(accepted_by.to_string()),
        _ => None,
    });
    if let Some(answer) = answer {
        return MeshClientAnswer::Reached(answer);
    }
    // Only sidecars answered. A 403 is the server's sidecar, which authorization makes deny the request.
    let status = samples.iter().filter_map(|sample| sample.http_status).max();
    match status {
        Some(403) => MeshClientAnswer::Unclear("an authorization policy denies it (HTTP 403)".to_owned()),
        Some(status @ ..500) => MeshClientAnswer::Unclear(format!("its sidecar answers HTTP {status} by itself")),
        Some(status) => {
            MeshClientAnswer::Unreachable(format!("its sidecar answers HTTP {status}: the application is not reached"))
        }
        None if samples.is_empty() => MeshClientAnswer::Unclear("its records did not arrive".to_owned()),
        None => {
            let message = samples[0].message.as_deref().unwrap_or("no answer");
            MeshClientAnswer::Unclear(format!("no byte came back: curl ({}) {message}", samples[0].exit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{from_sidecar, http, no_answer};

    #[test]
    fn only_a_sidecars_error_counts_as_unreachable() {
        let bytes = Sample { exit: 1, bytes: 5, connected: true, ..Sample::default() };
        let rows: [(&str, Vec<Sample>, &str); 10] = [
            ("the application answers", vec![http(200)], "reached"),
            ("with an error of its own", vec![http(503)], "reached"),
            ("bytes that are not HTTP", vec![bytes], "reached"),
            ("its proxy was not ready at the first", vec![from_sidecar(503), http(200)], "reached"),
            ("the client's sidecar has no way", vec![from_sidecar(503); 3], "unreachable"),
            ("denied by authorization", vec![from_sidecar(403)], "unclear"),
            ("an answer that the mesh gives by itself", vec![from_sidecar(404)], "unclear"),
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
}
