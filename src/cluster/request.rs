//! One policy of retries for all requests: ours, not the client's, which would repeat writes too.

use super::error::{Access, ClusterError, code, explain, is_broken_off, retry_after};
use std::time::{Duration, Instant};

/// How often a request is repeated when the server says that it is busy.
const RETRIES: u32 = 4;

/// How often a request that comes to the same twice is repeated when the connection broke under it.
const BROKEN: u32 = 2;

/// How long a request waits in all for a server that says when to come again.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a request; repeats it when the server has refused to begin with it (429), and one that comes to the same twice
/// also when the server was not ready (503) or the connection broke. Anything else could have had its effect, so it
/// is not repeated.
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
    let begin = Instant::now();
    let mut pause = Duration::from_millis(100);
    for tries in 1..=RETRIES {
        let asked = match request().await {
            Err(kube::Error::Api(status)) if status.code == 429 => match retry_after(&status) {
                Some(asked) if begin.elapsed() + asked > PATIENCE => return Err(kube::Error::Api(status)),
                asked => asked,
            },
            Err(error) if access.is_repeatable && code(&error) == 503 => None,
            Err(error) if access.is_repeatable && tries <= BROKEN && is_broken_off(&error) => None,
            other => return other,
        };
        tokio::time::sleep(pause.max(asked.unwrap_or_default())).await;
        pause *= 2;
    }
    request().await
}
