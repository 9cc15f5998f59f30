//! Whether a client *in* the mesh gets through: a namespace in which nobody gets through is not secure, it is broken.

use super::sample::{Sample, SampleOutcome, classify};

/// What the control pod met at one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshClientAnswer {
    /// The application answered.
    Through(String),
    /// The mesh itself said that it could not reach the application.
    Broken(String),
    /// Nothing came back, as a TCP application may do with a request that it does not understand.
    Unclear(String),
}

/// Reads the samples of one target. One answer of the application is enough.
pub fn control(samples: &[Sample]) -> MeshClientAnswer {
    let answer = samples.iter().find_map(|sample| match (sample.http_status, classify(sample)) {
        (Some(status), _) if !sample.from_sidecar => Some(format!("HTTP {status}")),
        (None, SampleOutcome::Answered(how)) => Some(how.to_string()),
        _ => None,
    });
    if let Some(answer) = answer {
        return MeshClientAnswer::Through(answer);
    }
    // Only a sidecar says so; the server's, where authorization denies, has at least been reached.
    let status = samples.iter().filter_map(|sample| sample.http_status).max();
    match status {
        Some(403) => MeshClientAnswer::Unclear("an authorization policy denies it (HTTP 403)".to_owned()),
        Some(status @ ..500) => MeshClientAnswer::Unclear(format!("its sidecar answers HTTP {status} by itself")),
        Some(status) => {
            MeshClientAnswer::Broken(format!("its sidecar answers HTTP {status}: the application is not reached"))
        }
        None if samples.is_empty() => MeshClientAnswer::Unclear("its records did not arrive".to_owned()),
        None => {
            let words = samples[0].message.as_deref().unwrap_or("no answer");
            MeshClientAnswer::Unclear(format!("no byte came back: curl ({}) {words}", samples[0].exit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: u16, from_sidecar: bool) -> Sample {
        Sample { http_status: Some(status), bytes: 100, connected: true, from_sidecar, ..Sample::default() }
    }

    fn silent(exit: i32) -> Sample {
        Sample { exit, connected: true, ..Sample::default() }
    }

    #[test]
    fn only_the_mesh_itself_is_taken_for_broken() {
        let bytes = Sample { exit: 1, bytes: 5, connected: true, ..Sample::default() };
        let rows: [(&str, Vec<Sample>, &str); 10] = [
            ("the application answers", vec![http(200, false)], "through"),
            ("with an error of its own", vec![http(503, false)], "through"),
            ("bytes that are not HTTP", vec![bytes], "through"),
            ("its proxy was not ready at the first", vec![http(503, true), http(200, false)], "through"),
            ("the client's sidecar has no way", vec![http(503, true); 3], "broken"),
            ("denied by authorization", vec![http(403, true)], "unclear"),
            ("an answer that the mesh gives by itself", vec![http(404, true)], "unclear"),
            ("a TCP application hangs up", vec![silent(52)], "unclear"),
            ("a TCP application is silent", vec![silent(28)], "unclear"),
            ("no record", Vec::new(), "unclear"),
        ];
        for (name, samples, expected) in rows {
            let said = match control(&samples) {
                MeshClientAnswer::Through(_) => "through",
                MeshClientAnswer::Broken(_) => "broken",
                MeshClientAnswer::Unclear(_) => "unclear",
            };
            assert_eq!(said, expected, "{name}");
        }
    }
}
