//! Sends requests with this tool's only retry policy, for all of `cluster` and `curl_pod`. kube's own would repeat writes.

use super::error::{
    Access, ClusterError, MAX_RETRY_AFTER, code, explain, is_broken_off, is_creation_conflict, retry_after,
};
use std::time::{Duration, Instant};

/// Retries of a request that the server rejected because it is busy.
const RETRIES: u32 = 4;

/// Retries of a repeatable request whose connection broke.
const RETRIES_AFTER_BREAK: u32 = 2;

/// Sends a request. Repeats it after 429, which says that the server did not process it, and a creation after a 409 with a
/// reason other than `AlreadyExists`, which says that the object was not created. Repeats a repeatable request also
/// after 503 and after a broken connection. Nothing else is repeated, because it may have taken effect.
pub async fn send<T, F>(access: Access<'_>, mut request: impl FnMut() -> F) -> Result<T, ClusterError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    attempt(access, &mut request).await.map_err(|error| explain(access, &error))
}

/// As [`send`], with `None` for the given status codes.
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

/// As [`send`], with kube's error.
pub async fn attempt<T, F>(access: Access<'_>, request: &mut impl FnMut() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let start = Instant::now();
    let mut pause = Duration::from_millis(100);
    for tries in 1..=RETRIES {
        let retry_after = match request().await {
            Err(kube::Error::Api(status)) if status.code == 429 => match retry_after(&status) {
                Some(wait) if start.elapsed() + wait > MAX_RETRY_AFTER => return Err(kube::Error::Api(status)),
                wait => wait,
            },
            Err(error) if is_creation_conflict(access, &error) => None,
            Err(error) if access.is_repeatable && code(&error) == 503 => None,
            Err(error) if access.is_repeatable && tries <= RETRIES_AFTER_BREAK && is_broken_off(&error) => None,
            other => return other,
        };
        tokio::time::sleep(pause.max(retry_after.unwrap_or_default())).await;
        pause *= 2;
    }
    request().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tries(verb: &'static str, reason: &str) -> u32 {
        let mut tries = 0;
        let mut request = || {
            tries += 1;
            let status = kube::core::Status::failure("", reason).with_code(409);
            async { Err::<(), _>(kube::Error::Api(Box::new(status))) }
        };
        attempt(Access::new(verb, "", "configmaps", "shop"), &mut request).await.unwrap_err();
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_creation_with_a_conflict_is_sent_again() {
        for (verb, reason, expected) in [
            ("create", "Conflict", 5),
            ("create", "AlreadyExists", 1),
            ("patch", "Conflict", 1),
            ("delete", "Conflict", 1),
        ] {
            assert_eq!(tries(verb, reason).await, expected, "{verb} {reason}");
        }
    }
}
