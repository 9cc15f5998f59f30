//! The lock of a namespace: one run at a time holds a Lease and renews it while it works.
//!
//! Everything that writes for a run holds a [`WriteGuard`] and sends its requests through it.

use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain, is_unanswered};
use super::request::{attempt, send_optional};
use crate::progress::Progress;
use crate::signal::{Shutdown, Signal};
use json_patch::Patch as JsonPatch;
use k8s_openapi::api::coordination::v1 as coordination;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Name of the Lease.
pub const NAME: &str = "secure-traffic";

/// How long a Lease is valid without being renewed. A run that waits for its end measures this on its own clock, from
/// the moment at which it first read the Lease, so that clocks need not agree.
pub const DURATION: Duration = Duration::from_secs(10);

/// How often the holder renews the Lease.
const RENEWAL: Duration = Duration::from_secs(2);

/// How often a Lease that another run holds is read.
const POLL: Duration = Duration::from_millis(500);

/// A Lease that this run holds. When it is dropped, its renewal stops and it expires.
#[derive(Debug)]
pub struct Lease {
    api: Api<coordination::Lease>,
    namespace: String,
    uid: String,
    /// Why the Lease is lost, once it is.
    lost: watch::Receiver<Option<String>>,
    renewal: JoinHandle<()>,
    /// The previous holder, where that run ended without releasing the Lease.
    pub abandoned_by: Option<String>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Why the Lease was not acquired.
#[derive(Debug)]
pub enum LeaseError {
    /// Another run holds it, or the API refused the request.
    Cluster(ClusterError),
    /// A signal arrived while this run waited.
    Interrupted(Signal),
}

impl From<ClusterError> for LeaseError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// Acquires the Lease of the namespace for `holder`. A Lease that is renewed belongs to another run, which is an
/// error. A Lease that is not renewed is taken over when it has expired.
pub async fn acquire(
    cluster: &Cluster,
    holder: &str,
    shutdown: &Shutdown,
    progress: &dyn Progress,
) -> Result<Lease, LeaseError> {
    let request = LeaseRequest { api: Api::namespaced(cluster.client.clone(), &cluster.namespace), cluster, holder };
    let mut pause = Duration::ZERO;
    loop {
        // A server may answer that the Lease exists and that it does not, without end.
        shutdown.race(tokio::time::sleep(pause)).await.map_err(LeaseError::Interrupted)?;
        pause = (2 * pause).clamp(POLL, 8 * POLL);
        if let Some(lease) = request.create().await? {
            return Ok(request.held(lease, None));
        }
        let Some(seen) = request.get().await? else { continue };
        let by = holder_of(&seen);
        if by == holder {
            // An earlier try of this run arrived, and its answer was lost.
            return Ok(request.held(seen, None));
        }
        progress.begin(&format!("waiting for {by} to go on or to be given up"), None);
        let waited = shutdown.race(request.wait_until_expired(&seen)).await;
        progress.end();
        if waited.map_err(LeaseError::Interrupted)?? == Expiry::Deleted {
            continue;
        }
        if let Some(lease) = request.replace(&seen).await? {
            return Ok(request.held(lease, Some(by)));
        }
    }
}

/// Whether the namespace has a Lease of this tool, held or abandoned. Where it may not be read, this tool cannot have
/// made one.
pub async fn exists(cluster: &Cluster) -> Result<bool, ClusterError> {
    let api: Api<coordination::Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let access = access("get", &cluster.namespace);
    Ok(send_optional(access, &[403, 404], || api.get(NAME)).await?.is_some())
}

/// The requests by which a run acquires the Lease.
struct LeaseRequest<'a> {
    api: Api<coordination::Lease>,
    cluster: &'a Cluster,
    holder: &'a str,
}

/// What became of a Lease that another run held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    /// It was not renewed for as long as it is valid.
    Expired,
    /// It was deleted meanwhile.
    Deleted,
}

impl LeaseRequest<'_> {
    fn access(&self, verb: &'static str) -> Access<'_> {
        access(verb, &self.cluster.namespace)
    }

    /// Creates the Lease; `None` where one exists already.
    async fn create(&self) -> Result<Option<coordination::Lease>, ClusterError> {
        let now = jiff::Timestamp::now();
        let lease: coordination::Lease = serde_json::from_value(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "secure-traffic"}},
            "spec": {
                "holderIdentity": self.holder, "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": stamp(now), "renewTime": stamp(now),
            },
        }))
        .map_err(|error| ClusterError { message: format!("the Lease could not be written: {error}"), hint: None })?;
        let params = PostParams { dry_run: false, field_manager: Some("secure-traffic".to_owned()) };
        let access = Access::new("create", "coordination.k8s.io", "leases", &self.cluster.namespace);
        match attempt(access, &mut || self.api.create(&params, &lease)).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if code(&error) == 409 => Ok(None),
            // The Lease may exist all the same, and would keep the next run waiting.
            Err(error) if is_unanswered(&error) => match self.get().await {
                Ok(Some(seen)) if holder_of(&seen) == self.holder => Ok(Some(seen)),
                _ => {
                    let ClusterError { message, hint } = explain(access, &error);
                    let seconds = DURATION.as_secs();
                    let left = format!("nothing was written but perhaps the Lease, which runs out after {seconds} s");
                    Err(ClusterError { message: format!("{message}; {left}"), hint })
                }
            },
            Err(error) => Err(explain(access, &error)),
        }
    }

    async fn get(&self) -> Result<Option<coordination::Lease>, ClusterError> {
        send_optional(self.access("get"), &[404], || self.api.get(NAME)).await
    }

    /// Waits until `seen` has not been renewed for as long as it is valid. A Lease that is renewed has a holder that
    /// works, which is the error.
    async fn wait_until_expired(&self, seen: &coordination::Lease) -> Result<Expiry, ClusterError> {
        let begin = Instant::now();
        let duration = seen.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = duration.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        while begin.elapsed() < duration.min(4 * DURATION) {
            tokio::time::sleep(POLL).await;
            match self.get().await? {
                None => return Ok(Expiry::Deleted),
                Some(now) if now.metadata.resource_version != seen.metadata.resource_version => {
                    return Err(self.held_by(&now));
                }
                Some(_) => {}
            }
        }
        Ok(Expiry::Expired)
    }

    fn held_by(&self, lease: &coordination::Lease) -> ClusterError {
        let namespace = &self.cluster.namespace;
        let since = lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref());
        let since = since.map_or_else(String::new, |time| format!(", since {}", stamp(time.0)));
        ClusterError::new(
            format!("another run works on namespace {namespace}: {}{since}; nothing was written", holder_of(lease)),
            format!(
                "wait until it has ended; one that hangs is ended, or kept from its next write by: kubectl delete lease {NAME} -n {namespace}"
            ),
        )
    }

    /// Takes over the expired Lease `seen`; `None` where another run was faster.
    async fn replace(&self, seen: &coordination::Lease) -> Result<Option<coordination::Lease>, ClusterError> {
        let now = stamp(jiff::Timestamp::now());
        let patch = patch(json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": seen.metadata.resource_version},
            {"op": "add", "path": "/spec", "value": {
                "holderIdentity": self.holder, "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": now, "renewTime": now,
            }},
        ]))?;
        let (access, params) = (self.access("patch"), PatchParams::default());
        match attempt(access, &mut || self.api.patch(NAME, &params, &patch)).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if is_another(&error) => Ok(None),
            Err(error) => Err(explain(access, &error)),
        }
    }

    fn held(&self, lease: coordination::Lease, abandoned_by: Option<String>) -> Lease {
        let uid = lease.metadata.uid.unwrap_or_default();
        let (sender, lost) = watch::channel(None);
        let renewal = renew(self.api.clone(), uid.clone(), self.holder.to_owned(), sender);
        Lease {
            api: self.api.clone(),
            namespace: self.cluster.namespace.clone(),
            uid,
            lost,
            renewal: tokio::spawn(renewal),
            abandoned_by,
        }
    }
}

impl Lease {
    /// The guard for everything that writes while this Lease is held.
    pub fn guard(&self) -> WriteGuard {
        WriteGuard { lock: Some(LockStatus { namespace: self.namespace.clone(), lost: self.lost.clone() }) }
    }

    /// Deletes the Lease. The error says why it is left.
    pub async fn release(self) -> Result<(), String> {
        self.renewal.abort();
        let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let access = access("delete", &self.namespace).repeatable();
        match attempt(access, &mut || self.api.delete(NAME, &params)).await {
            Ok(_) => Ok(()),
            // It is gone, or another run's.
            Err(error) if is_another(&error) => Ok(()),
            Err(error) => Err(explain(access, &error).message),
        }
    }
}

/// Answers before each request that writes whether the run may still write. Clones share the answer.
#[derive(Debug, Clone)]
pub struct WriteGuard {
    lock: Option<LockStatus>,
}

/// Whether a Lease is still held.
#[derive(Debug, Clone)]
struct LockStatus {
    namespace: String,
    lost: watch::Receiver<Option<String>>,
}

/// Why a guarded request has no answer of the kind that was wanted.
#[derive(Debug)]
pub enum GuardedError {
    /// The Lease is lost: the request was not sent.
    LockLost(ClusterError),
    /// The API refused it, or did not answer.
    Api(kube::Error),
}

impl GuardedError {
    /// The error for the user, about the request that `access` describes.
    pub fn explain(self, access: Access<'_>) -> ClusterError {
        match self {
            Self::LockLost(error) => error,
            Self::Api(error) => explain(access, &error),
        }
    }
}

/// What one guarded try came to.
enum Try<T> {
    Answered(T),
    LockLost(ClusterError),
}

impl WriteGuard {
    /// The guard of a run that holds no Lease (`--no-journal`): it allows every request.
    pub const fn without_lock() -> Self {
        Self { lock: None }
    }

    /// An error where the Lease is lost: the run must not write any more.
    pub fn check(&self) -> Result<(), ClusterError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        match &*lock.lost.borrow() {
            None => Ok(()),
            Some(reason) => Err(ClusterError::new(
                format!("the Lease {NAME} of namespace {} was lost: {reason}", lock.namespace),
                "see who else works on the namespace, and run the command again",
            )),
        }
    }

    /// Sends a request that writes, with the retries of [`attempt`], and checks the lock before each try.
    pub async fn attempt<T, F>(&self, access: Access<'_>, mut request: impl FnMut() -> F) -> Result<T, GuardedError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut guarded = || {
            let checked = self.check().map(|()| request());
            async move {
                match checked {
                    Ok(sending) => sending.await.map(Try::Answered),
                    Err(lost) => Ok(Try::LockLost(lost)),
                }
            }
        };
        match attempt(access, &mut guarded).await {
            Ok(Try::Answered(answer)) => Ok(answer),
            Ok(Try::LockLost(error)) => Err(GuardedError::LockLost(error)),
            Err(error) => Err(GuardedError::Api(error)),
        }
    }

    /// [`Self::attempt`], with the error for the user.
    pub async fn send<T, F>(&self, access: Access<'_>, request: impl FnMut() -> F) -> Result<T, ClusterError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        self.attempt(access, request).await.map_err(|error| error.explain(access))
    }

    /// [`Self::send`], with `None` for an answer with the status code `absent`.
    pub async fn send_optional<T, F>(
        &self,
        access: Access<'_>,
        absent: u16,
        request: impl FnMut() -> F,
    ) -> Result<Option<T>, ClusterError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        match self.attempt(access, request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(GuardedError::Api(error)) if code(&error) == absent => Ok(None),
            Err(error) => Err(error.explain(access)),
        }
    }
}

fn access<'a>(verb: &'static str, namespace: &'a str) -> Access<'a> {
    Access::new(verb, "coordination.k8s.io", "leases", namespace).named(NAME)
}

/// Whether the answer means that the object is gone, another object, or changed.
fn is_another(error: &kube::Error) -> bool {
    matches!(code(error), 404 | 409 | 422)
}

/// Renews the Lease until another run has it, or until it could not be renewed for as long as it is valid.
async fn renew(api: Api<coordination::Lease>, uid: String, holder: String, lost: watch::Sender<Option<String>>) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(RENEWAL).await;
        let Ok(patch) = patch(json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/spec/holderIdentity", "value": holder},
            {"op": "add", "path": "/spec/renewTime", "value": stamp(jiff::Timestamp::now())},
        ])) else {
            return;
        };
        let params = PatchParams::default();
        let reason = match tokio::time::timeout(DURATION, api.patch(NAME, &params, &patch)).await {
            Ok(Ok(_)) => {
                renewed = Instant::now();
                continue;
            }
            Ok(Err(error)) if is_another(&error) => "another run has it, or somebody deleted it",
            _ if renewed.elapsed() > DURATION => "it could not be renewed in time",
            _ => continue,
        };
        lost.send_replace(Some(reason.to_owned()));
        return;
    }
}

fn holder_of(lease: &coordination::Lease) -> String {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
    holder.unwrap_or_else(|| "nobody who says who they are".to_owned())
}

/// RFC 3339 with microseconds, as `MicroTime` requires.
fn stamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn patch(operations: serde_json::Value) -> Result<Patch<()>, ClusterError> {
    let patch: JsonPatch = serde_json::from_value(operations)
        .map_err(|error| ClusterError { message: format!("the Lease could not be written: {error}"), hint: None })?;
    Ok(Patch::Json(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn guarded() -> (watch::Sender<Option<String>>, WriteGuard) {
        let (sender, lost) = watch::channel(None);
        (sender, WriteGuard { lock: Some(LockStatus { namespace: "shop".into(), lost }) })
    }

    #[tokio::test]
    async fn a_lost_lock_sends_nothing() {
        let (sender, guard) = guarded();
        let sent = AtomicUsize::new(0);
        let request = || async {
            sent.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        guard.send(access("patch", "shop"), request).await.unwrap();
        sender.send_replace(Some("another run has it".into()));
        let error = guard.send(access("patch", "shop"), request).await.unwrap_err();
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        assert!(error.message.contains("was lost: another run has it"), "{}", error.message);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_lost_between_tries_ends_the_retries() {
        let (sender, guard) = guarded();
        let sent = AtomicUsize::new(0);
        let busy = || async {
            sent.fetch_add(1, Ordering::Relaxed);
            sender.send_replace(Some("another run has it".into()));
            let status = kube::core::Status::failure("busy", "TooManyRequests").with_code(429);
            Err::<(), _>(kube::Error::Api(Box::new(status)))
        };
        guard.send(access("patch", "shop"), busy).await.unwrap_err();
        assert_eq!(sent.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn without_a_lock_every_request_is_sent() {
        let answer = WriteGuard::without_lock().send(access("patch", "shop"), || async { Ok(7) }).await;
        assert_eq!(answer, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_exists_and_does_not_exist_is_asked_for_with_pauses_until_a_signal() {
        let requests = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&requests);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            counter.fetch_add(1, Ordering::Relaxed);
            let (code, reason) =
                if request.method() == http::Method::POST { (409, "AlreadyExists") } else { (404, "NotFound") };
            let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""});
            let body = kube::client::Body::from(status.to_string().into_bytes());
            async move { Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap()) }
        });
        let client = kube::Client::new(service, "shop");
        let cluster = Cluster { client, namespace: "shop".to_owned(), name: "test".to_owned() };
        let (sender, receiver) = watch::channel(None);
        let shutdown = Shutdown::from_channel(receiver);
        let signal = async {
            tokio::time::sleep(Duration::from_mins(1)).await;
            sender.send_replace(Some(Signal::Deadline));
        };
        let acquiring = acquire(&cluster, "test", &shutdown, &crate::progress::Silent);
        let (acquired, ()) = tokio::join!(acquiring, signal);
        assert!(matches!(acquired, Err(LeaseError::Interrupted(Signal::Deadline))));
        let requests = requests.load(Ordering::Relaxed);
        assert!((20..50).contains(&requests), "{requests}");
    }
}
