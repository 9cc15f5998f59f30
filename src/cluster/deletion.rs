//! Looks up what is left of deleted objects. The answer to a DELETE does not show that its object is gone: it may be
//! refused, lost, or without effect.

use std::time::Duration;

/// Time for the server to remove an object whose deletion it has accepted.
const PAUSE: Duration = Duration::from_secs(2);

/// The objects that are still in the cluster after their deletion, as `look_up` returns them. A deletion may take a
/// moment, so what is there is looked up a second time; what waits for a finalizer is left.
pub async fn still_there<T, E, F>(look_up: impl Fn() -> F) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<Vec<T>, E>>,
{
    let left = look_up().await?;
    if left.is_empty() {
        return Ok(left);
    }
    tokio::time::sleep(PAUSE).await;
    look_up().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn what_is_there_twice_is_left() {
        for (answers, expected, look_ups) in [
            (vec![vec![]], vec![], 1),
            (vec![vec!["a", "b"], vec!["b"]], vec!["b"], 2),
            (vec![vec!["a"], vec![]], vec![], 2),
        ] {
            let count = AtomicUsize::new(0);
            let look_up = || {
                let number = count.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Ok::<_, ()>(answers[number].clone()))
            };
            assert_eq!((still_there(look_up).await, count.load(Ordering::Relaxed)), (Ok(expected), look_ups));
        }
    }
}
