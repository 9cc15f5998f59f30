//! One policy of retries for all requests: ours, not the client's, which would repeat writes too.

use super::error::{Access, ClusterError, code, explain};
use std::time::Duration;

/// How often a request is repeated when the server says that it is busy.
const RETRIES: u32 = 4;

/// Runs a request; repeats it when the server has refused to begin with it (429), and for reads also when it was
/// not ready (503). Anything else could have had its effect, so it is not repeated.
pub async fn send<T, F>(access: Access<'_>, mut request: impl FnMut() -> F) -> Result<T, ClusterError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    attempt(access, &mut request).await.map_err(|error| explain(access, &error))
}

/// The same, where some answers of the server are an answer: `None` for the given status codes.
pub async fn send_optional<T, F>(
    access: Access<'_>,
    absent: &[u16],
    mut request: impl FnMut() -> F,
) -> Result<Option<T>, ClusterError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    match attempt(access, &mut request).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if absent.contains(&code(&error)) => Ok(None),
        Err(error) => Err(explain(access, &error)),
    }
}

/// Runs a request with the policy of [`send`], and leaves the error to the caller.
pub async fn attempt<T, F>(access: Access<'_>, request: &mut impl FnMut() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let reads = matches!(access.verb, "get" | "list" | "watch");
    let mut pause = Duration::from_millis(100);
    for _ in 0..RETRIES {
        match request().await {
            Err(error) if code(&error) == 429 || (reads && code(&error) == 503) => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => return other,
        }
    }
    request().await
}
