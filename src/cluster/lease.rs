//! The lock of a namespace: one run at a time holds a Lease and renews it while it works.
//!
//! Everything that writes for a run holds a [`WriteGuard`] and sends its requests through it.

use super::clock::Clock;
use super::connect::Cluster;
use super::error::{Access, ClusterError, code, explain, is_already_there, is_unanswered};
use super::request::{attempt, send_optional};
use crate::progress::Progress;
use crate::signal::{Shutdown, Signal};
use json_patch::Patch as JsonPatch;
use k8s_openapi::api::coordination::v1 as coordination;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Name of the Lease.
pub const NAME: &str = "secure-traffic";

/// How long a Lease is valid without being renewed. A run that waits for its end measures this on its own clock, from
/// the moment at which it first read the Lease, so that clocks need not agree.
pub const DURATION: Duration = Duration::from_secs(10);

/// How long the holder may write after it sent the last successful renewal. What is left of [`DURATION`] is for requests
/// that are on their way when the time is over.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(6);

/// How often the holder renews the Lease.
const RENEWAL: Duration = Duration::from_secs(2);

/// Limit for the answer to one renewal.
const RENEWAL_LIMIT: Duration = Duration::from_secs(3);

/// How often a Lease that another run holds is read.
const POLL: Duration = Duration::from_millis(500);

/// A Lease that this run holds. When it is dropped, its renewal stops and it expires.
#[derive(Debug)]
pub struct Lease {
    api: Api<coordination::Lease>,
    namespace: String,
    uid: String,
    holder: String,
    status: Arc<LockStatus>,
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

/// Why a Lease was not released.
#[derive(Debug)]
pub enum ReleaseError {
    /// It was lost before: another run may have it.
    Lost(ClusterError),
    /// It is left in the cluster, for this reason.
    Left(String),
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
    let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let request = LeaseRequest { api, cluster, holder, clock: Clock::system() };
    let mut pause = Duration::ZERO;
    loop {
        // A server may answer that the Lease exists and that it does not, without end.
        shutdown.race(tokio::time::sleep(pause)).await.map_err(LeaseError::Interrupted)?;
        pause = (2 * pause).clamp(POLL, 8 * POLL);
        // The Lease is valid from the moment at which its request was sent, at the latest.
        let mut sent = request.clock.now();
        if let Some(lease) = request.create(&mut sent).await? {
            return Ok(request.held(lease, sent, None));
        }
        let Some(seen) = request.get().await? else { continue };
        let by = holder_of(&seen);
        if by == holder {
            // An earlier try of this run arrived, and its answer was lost.
            return Ok(request.held(seen, sent, None));
        }
        progress.begin(&format!("waiting for {by} to go on or to be given up"), None);
        let waited = shutdown.race(request.wait_until_expired(&seen)).await;
        progress.end();
        if waited.map_err(LeaseError::Interrupted)?? == Expiry::Deleted {
            continue;
        }
        if let Some(lease) = request.replace(&seen, &mut sent).await? {
            return Ok(request.held(lease, sent, Some(by)));
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
    clock: Clock,
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

    /// Creates the Lease; `None` where one exists already. `sent` becomes the time at which the request was sent.
    async fn create(&self, sent: &mut Duration) -> Result<Option<coordination::Lease>, ClusterError> {
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
        let mut request = || {
            *sent = self.clock.now();
            self.api.create(&params, &lease)
        };
        match attempt(access, &mut request).await {
            // An answer without the object does not show that the Lease is held.
            Ok(lease) if holder_of(&lease) != self.holder => self.get().await,
            Ok(lease) => Ok(Some(lease)),
            Err(error) if is_already_there(&error) => Ok(None),
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

    /// Takes over the expired Lease `seen`; `None` where another run was faster. `sent` becomes the time at which the
    /// request was sent.
    async fn replace(
        &self,
        seen: &coordination::Lease,
        sent: &mut Duration,
    ) -> Result<Option<coordination::Lease>, ClusterError> {
        let now = stamp(jiff::Timestamp::now());
        let patch = patch(json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": seen.metadata.resource_version},
            {"op": "add", "path": "/spec", "value": {
                "holderIdentity": self.holder, "leaseDurationSeconds": DURATION.as_secs(),
                "acquireTime": now, "renewTime": now,
            }},
        ]))?;
        let (access, params) = (self.access("patch"), PatchParams::default());
        let mut request = || {
            *sent = self.clock.now();
            self.api.patch(NAME, &params, &patch)
        };
        match attempt(access, &mut request).await {
            Ok(lease) => Ok(Some(lease).filter(|lease| holder_of(lease) == self.holder)),
            Err(error) if is_another(&error) => Ok(None),
            Err(error) => Err(explain(access, &error)),
        }
    }

    fn held(&self, lease: coordination::Lease, sent: Duration, abandoned_by: Option<String>) -> Lease {
        let uid = lease.metadata.uid.unwrap_or_default();
        let status = Arc::new(LockStatus::held(&self.cluster.namespace, self.clock.clone(), sent));
        let renewal = renew(self.api.clone(), uid.clone(), self.holder.to_owned(), Arc::clone(&status));
        Lease {
            api: self.api.clone(),
            namespace: self.cluster.namespace.clone(),
            uid,
            holder: self.holder.to_owned(),
            status,
            renewal: tokio::spawn(renewal),
            abandoned_by,
        }
    }
}

impl Lease {
    /// The guard for everything that writes while this Lease is held.
    pub fn guard(&self) -> WriteGuard {
        WriteGuard { lock: Some(Arc::clone(&self.status)) }
    }

    /// Deletes the Lease while it is this run's, and looks whether it is gone. A Lease that is lost is another run's, or
    /// expires: it is not written.
    pub async fn release(self) -> Result<(), ReleaseError> {
        self.renewal.abort();
        let mut reason = "it is still there after its deletion".to_owned();
        // A renewal that is on its way may change the Lease between the two requests.
        for _ in 0..3 {
            self.status.check().map_err(ReleaseError::Lost)?;
            let Some(lease) = self.get_own().await? else { return Ok(()) };
            let resource_version = lease.metadata.resource_version;
            let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            let access = access("delete", &self.namespace).repeatable();
            match self.guard().attempt(access, || self.api.delete(NAME, &params)).await {
                Ok(_) => {}
                Err(GuardedError::Api(error)) if is_another(&error) => reason = explain(access, &error).message,
                Err(GuardedError::Api(error)) => return Err(ReleaseError::Left(explain(access, &error).message)),
                Err(GuardedError::LockLost(lost) | GuardedError::LostWhileSending(lost)) => {
                    return Err(ReleaseError::Lost(lost));
                }
            }
        }
        self.get_own().await?.map_or(Ok(()), |_| Err(ReleaseError::Left(reason)))
    }

    /// The Lease as it is in the cluster, while it is this run's.
    async fn get_own(&self) -> Result<Option<coordination::Lease>, ReleaseError> {
        let lease = send_optional(access("get", &self.namespace), &[404], || self.api.get(NAME)).await;
        let lease = lease.map_err(|error| ReleaseError::Left(error.message))?;
        Ok(lease.filter(|lease| self.is_own(lease)))
    }

    fn is_own(&self, lease: &coordination::Lease) -> bool {
        lease.metadata.uid.as_ref() == Some(&self.uid) && holder_of(lease) == self.holder
    }
}

/// Answers before each request that writes whether the run may still write. Clones share the answer.
#[derive(Debug, Clone)]
pub struct WriteGuard {
    lock: Option<Arc<LockStatus>>,
}

/// Whether a Lease is still held.
#[derive(Debug)]
struct LockStatus {
    namespace: String,
    clock: Clock,
    /// When the last successful request for the Lease was sent, or why the Lease is lost: a lost Lease stays lost.
    renewed: Mutex<Result<Duration, String>>,
}

impl LockStatus {
    /// A Lease that is held since a request that was sent at this time.
    fn held(namespace: &str, clock: Clock, sent: Duration) -> Self {
        Self { namespace: namespace.to_owned(), clock, renewed: Mutex::new(Ok(sent)) }
    }

    /// An error where the Lease is lost, or was not renewed in time.
    fn check(&self) -> Result<(), ClusterError> {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(sent) = *renewed {
            let age = self.clock.now().saturating_sub(sent);
            if age < RENEW_DEADLINE {
                return Ok(());
            }
            *renewed = Err(format!("it was not renewed for {} s", age.as_secs()));
        }
        let reason = renewed.as_ref().err().map_or("", String::as_str);
        Err(ClusterError::new(
            format!("the Lease {NAME} of namespace {} was lost: {reason}", self.namespace),
            "see who else works on the namespace, and run the command again",
        ))
    }

    /// Records a successful renewal that was sent at this time. A lost Lease stays lost.
    fn record_renewal(&self, sent: Duration) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.is_ok() {
            *renewed = Ok(sent);
        }
    }

    fn record_loss(&self, reason: &str) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Err(reason.to_owned());
    }
}

/// Why a guarded request has no answer of the kind that was wanted.
#[derive(Debug)]
pub enum GuardedError {
    /// The Lease is lost: the request was not sent.
    LockLost(ClusterError),
    /// The Lease was lost before the answer arrived: the request may have been carried out.
    LostWhileSending(ClusterError),
    /// The API refused it, or did not answer.
    Api(kube::Error),
}

impl GuardedError {
    /// The error for the user, about the request that `access` describes.
    pub fn explain(self, access: Access<'_>) -> ClusterError {
        match self {
            Self::LockLost(error) | Self::LostWhileSending(error) => error,
            Self::Api(error) => explain(access, &error),
        }
    }
}

/// What one guarded try came to.
enum Try<T> {
    Answered(T),
    LockLost(ClusterError),
    LostWhileSending(ClusterError),
}

impl WriteGuard {
    /// The guard of a run that holds no Lease (`--no-journal`): it allows every request.
    pub const fn without_lock() -> Self {
        Self { lock: None }
    }

    /// An error where the Lease is lost: the run must not write any more.
    pub fn check(&self) -> Result<(), ClusterError> {
        self.lock.as_ref().map_or(Ok(()), |lock| lock.check())
    }

    /// Sends a request that writes, with the retries of [`attempt`], and checks the lock before each try. It also checks
    /// before every step of the request: a process that is stopped while it connects sends nothing when it goes on.
    pub async fn attempt<T, F>(&self, access: Access<'_>, mut request: impl FnMut() -> F) -> Result<T, GuardedError>
    where
        F: Future<Output = Result<T, kube::Error>>,
    {
        let mut guarded = || {
            let checked = self.check().map(|()| request());
            async move {
                match checked {
                    Ok(sending) => self.unless_lost(sending).await,
                    Err(lost) => Ok(Try::LockLost(lost)),
                }
            }
        };
        match attempt(access, &mut guarded).await {
            Ok(Try::Answered(answer)) => Ok(answer),
            Ok(Try::LockLost(error)) => Err(GuardedError::LockLost(error)),
            Ok(Try::LostWhileSending(error)) => Err(GuardedError::LostWhileSending(error)),
            Err(error) => Err(GuardedError::Api(error)),
        }
    }

    /// Waits for the answer to a request. Once the lock is lost, the request is dropped at its next step.
    async fn unless_lost<T>(
        &self,
        sending: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Try<T>, kube::Error> {
        let mut sending = std::pin::pin!(sending);
        std::future::poll_fn(|context| match self.check() {
            Ok(()) => sending.as_mut().poll(context).map_ok(Try::Answered),
            Err(lost) => Poll::Ready(Ok(Try::LostWhileSending(lost))),
        })
        .await
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

/// Renews the Lease until it is lost: another run has it, or it was not renewed in time. A Lease that is lost is not
/// renewed again, even where no other run has it.
async fn renew(api: Api<coordination::Lease>, uid: String, holder: String, status: Arc<LockStatus>) {
    let mut pause = RENEWAL;
    loop {
        tokio::time::sleep(pause).await;
        let Ok(patch) = patch(json!([
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/spec/holderIdentity", "value": holder},
            {"op": "add", "path": "/spec/renewTime", "value": stamp(jiff::Timestamp::now())},
        ])) else {
            return;
        };
        let sent = status.clock.now();
        if status.check().is_err() {
            return;
        }
        let params = PatchParams::default();
        pause = match tokio::time::timeout(RENEWAL_LIMIT, api.patch(NAME, &params, &patch)).await {
            Ok(Ok(lease)) if holder_of(&lease) == holder => {
                status.record_renewal(sent);
                RENEWAL.saturating_sub(status.clock.now().saturating_sub(sent))
            }
            Ok(Err(error)) if is_another(&error) => {
                return status.record_loss("another run has it, or somebody deleted it");
            }
            // Without an answer, or with one that is no Lease, the renewal is sent again.
            Ok(Ok(_) | Err(_)) | Err(_) => POLL,
        };
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
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use tokio::sync::watch;

    /// A guard of a Lease that was renewed at 0 s, its status, and its clock in milliseconds.
    fn guarded() -> (WriteGuard, Arc<LockStatus>, Arc<AtomicU64>) {
        let millis = Arc::new(AtomicU64::new(0));
        let now = Arc::clone(&millis);
        let clock = Clock::from_fn(move || Duration::from_millis(now.load(Ordering::Relaxed)));
        let status = Arc::new(LockStatus::held("shop", clock, Duration::ZERO));
        (WriteGuard { lock: Some(Arc::clone(&status)) }, status, millis)
    }

    #[tokio::test]
    async fn a_lost_lock_sends_nothing() {
        let (guard, status, _) = guarded();
        let sent = AtomicUsize::new(0);
        let request = || async {
            sent.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        guard.send(access("patch", "shop"), request).await.unwrap();
        status.record_loss("another run has it");
        let error = guard.send(access("patch", "shop"), request).await.unwrap_err();
        assert_eq!(sent.load(Ordering::Relaxed), 1);
        assert!(error.message.contains("was lost: another run has it"), "{}", error.message);
    }

    #[test]
    fn a_lock_that_is_not_renewed_within_its_deadline_stays_lost() {
        for (at, renewed, is_held) in [
            (5_999, None, true),
            (6_000, None, false),
            (30_000, None, false),
            // The time of the request counts, not that of the answer.
            (9_000, Some(4_000), true),
            (10_000, Some(4_000), false),
        ] {
            let (guard, status, millis) = guarded();
            if let Some(sent) = renewed {
                status.record_renewal(Duration::from_millis(sent));
            }
            millis.store(at, Ordering::Relaxed);
            assert_eq!(guard.check().is_ok(), is_held, "{at} {renewed:?}");
            // A renewal that is answered after the loss does not bring the lock back.
            status.record_renewal(Duration::from_millis(at));
            assert_eq!(guard.check().is_ok(), is_held, "{at} {renewed:?}");
        }
    }

    #[tokio::test]
    async fn a_request_of_a_process_that_was_stopped_is_dropped_at_its_next_step() {
        let (guard, _, millis) = guarded();
        let is_sent = AtomicUsize::new(0);
        let connect_then_send = || async {
            tokio::task::yield_now().await;
            is_sent.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let stop = async { millis.store(11_000, Ordering::Relaxed) };
        let (answer, ()) = tokio::join!(guard.attempt(access("patch", "shop"), connect_then_send), stop);
        assert!(matches!(answer, Err(GuardedError::LostWhileSending(_))), "{answer:?}");
        assert_eq!(is_sent.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_lost_between_tries_ends_the_retries() {
        let (guard, status, _) = guarded();
        let sent = AtomicUsize::new(0);
        let busy = || async {
            sent.fetch_add(1, Ordering::Relaxed);
            status.record_loss("another run has it");
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

    /// A response of the API server: code and body.
    type Answer = (u16, serde_json::Value);

    fn failure(code: u16, reason: &str) -> Answer {
        (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": ""}))
    }

    /// Acquires the Lease of a server that answers by `script`, until the time limit of the command after a minute.
    /// Returns the methods of the requests.
    async fn methods_until_the_time_limit(script: fn(&http::Method) -> Answer) -> Vec<http::Method> {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            seen.lock().unwrap().push(request.method().clone());
            let (code, answer) = script(request.method());
            let body = kube::client::Body::from(answer.to_string().into_bytes());
            async move { Ok::<_, std::convert::Infallible>(http::Response::builder().status(code).body(body).unwrap()) }
        });
        let client = kube::Client::new(service, "shop");
        let cluster = Cluster::of_test(client);
        let (sender, receiver) = watch::channel(None);
        let shutdown = Shutdown::from_channel(receiver);
        let signal = async {
            tokio::time::sleep(Duration::from_mins(1)).await;
            sender.send_replace(Some(Signal::Deadline));
        };
        let acquiring = acquire(&cluster, "test", &shutdown, &crate::progress::Silent);
        let (acquired, ()) = tokio::join!(acquiring, signal);
        assert!(matches!(acquired, Err(LeaseError::Interrupted(Signal::Deadline))));
        requests.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_exists_and_does_not_exist_is_asked_for_with_pauses_until_a_signal() {
        let methods = methods_until_the_time_limit(|method| match *method {
            http::Method::POST => failure(409, "AlreadyExists"),
            _ => failure(404, "NotFound"),
        })
        .await;
        assert!((20..50).contains(&methods.len()), "{methods:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_lease_that_cannot_be_taken_over_is_asked_for_with_pauses_until_a_signal() {
        let methods = methods_until_the_time_limit(|method| match *method {
            http::Method::POST => failure(409, "AlreadyExists"),
            http::Method::PATCH => failure(422, "Invalid"),
            _ => {
                let metadata = json!({"name": NAME, "uid": "1", "resourceVersion": "7"});
                let spec = json!({"holderIdentity": "another", "leaseDurationSeconds": 10});
                (200, json!({"metadata": metadata, "spec": spec}))
            }
        })
        .await;
        // Each take-over is preceded by the time for which the Lease is valid.
        let take_overs = methods.iter().filter(|method| **method == http::Method::PATCH).count();
        assert!((3..=5).contains(&take_overs) && methods.len() < 150, "{take_overs}: {methods:?}");
    }
}
