//! One run at a time: a Lease of the namespace, renewed while the run lasts.

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

/// How long a Lease holds without being renewed. Whoever waits for its end counts this on its own clock, from when
/// it saw the Lease first, so that clocks need not agree.
pub const DURATION: Duration = Duration::from_secs(10);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(2);

/// How often somebody else's Lease is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The Lease, held. Dropped, it is renewed no more and runs out.
#[derive(Debug)]
pub struct Lease {
    api: Api<coordination::Lease>,
    namespace: String,
    uid: String,
    lost: watch::Receiver<Option<String>>,
    renewal: JoinHandle<()>,
    /// Who held it before and ended without giving it back.
    pub abandoned_by: Option<String>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Why the Lease was not had.
#[derive(Debug)]
pub enum LeaseError {
    /// Another run holds it, or the API refused.
    Cluster(ClusterError),
    /// A signal came while we waited.
    Interrupted(Signal),
}

impl From<ClusterError> for LeaseError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

/// Takes the Lease of the namespace for `holder`. One that is renewed is another run's; one that is not is waited out
/// and taken over.
pub async fn take(
    cluster: &Cluster,
    holder: &str,
    shutdown: &Shutdown,
    progress: &dyn Progress,
) -> Result<Lease, LeaseError> {
    let taker = Taker { api: Api::namespaced(cluster.client.clone(), &cluster.namespace), cluster, holder };
    loop {
        if let Some(lease) = taker.create().await? {
            return Ok(taker.held(lease, None));
        }
        let Some(seen) = taker.look().await? else { continue };
        let by = holder_of(&seen);
        if by == holder {
            // An earlier try of ours arrived, though its answer did not.
            return Ok(taker.held(seen, None));
        }
        progress.begin(&format!("waiting for {by} to go on or to be given up"), None);
        let outcome = shutdown.race(taker.outlive(&seen)).await;
        progress.end();
        if !outcome.map_err(LeaseError::Interrupted)?? {
            continue;
        }
        if let Some(lease) = taker.take_over(&seen).await? {
            return Ok(taker.held(lease, Some(by)));
        }
    }
}

/// Whether there is a Lease, held or abandoned. Where it may not be read there is none of ours.
pub async fn is_there(cluster: &Cluster) -> Result<bool, ClusterError> {
    let api: Api<coordination::Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let access = access("get", &cluster.namespace);
    Ok(send_optional(access, &[403, 404], || api.get(NAME)).await?.is_some())
}

struct Taker<'a> {
    api: Api<coordination::Lease>,
    cluster: &'a Cluster,
    holder: &'a str,
}

impl Taker<'_> {
    fn access(&self, verb: &'static str) -> Access<'_> {
        access(verb, &self.cluster.namespace)
    }

    /// `None` where there is one already.
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
            // It may be there all the same, and would keep the next run waiting.
            Err(error) if is_unanswered(&error) => match self.look().await {
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

    async fn look(&self) -> Result<Option<coordination::Lease>, ClusterError> {
        send_optional(self.access("get"), &[404], || self.api.get(NAME)).await
    }

    /// Whether `seen` was not renewed for as long as it holds: true. False where it went away meanwhile. Where it is
    /// renewed, its holder works, and that is the error.
    async fn outlive(&self, seen: &coordination::Lease) -> Result<bool, ClusterError> {
        let begin = Instant::now();
        let duration = seen.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = duration.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        while begin.elapsed() < duration.min(4 * DURATION) {
            tokio::time::sleep(LOOK).await;
            match self.look().await? {
                None => return Ok(false),
                Some(now) if now.metadata.resource_version != seen.metadata.resource_version => {
                    return Err(self.held_by(&now));
                }
                Some(_) => {}
            }
        }
        Ok(true)
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

    /// `None` where somebody else was quicker.
    async fn take_over(&self, seen: &coordination::Lease) -> Result<Option<coordination::Lease>, ClusterError> {
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
    /// An error where the Lease is ours no more: nothing more may be written.
    pub fn check(&self) -> Result<(), ClusterError> {
        match &*self.lost.borrow() {
            None => Ok(()),
            Some(words) => Err(ClusterError::new(
                format!("the Lease {NAME} of namespace {} was lost: {words}", self.namespace),
                "see who else works on the namespace, and run the command again",
            )),
        }
    }

    /// Gives it back. The error says what is left.
    pub async fn release(self) -> Result<(), String> {
        self.renewal.abort();
        let preconditions = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let access = access("delete", &self.namespace).repeatable();
        match attempt(access, &mut || self.api.delete(NAME, &params)).await {
            Ok(_) => Ok(()),
            // Gone, or another's by now.
            Err(error) if is_another(&error) => Ok(()),
            Err(error) => Err(explain(access, &error).message),
        }
    }
}

fn access<'a>(verb: &'static str, namespace: &'a str) -> Access<'a> {
    Access::new(verb, "coordination.k8s.io", "leases", namespace).named(NAME)
}

/// Whether the answer means that the object is not the one that was meant: gone, another, or changed.
fn is_another(error: &kube::Error) -> bool {
    matches!(code(error), 404 | 409 | 422)
}

/// Renews until the Lease is another's, or could not be renewed for as long as it holds.
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
        let words = match tokio::time::timeout(DURATION, api.patch(NAME, &params, &patch)).await {
            Ok(Ok(_)) => {
                renewed = Instant::now();
                continue;
            }
            Ok(Err(error)) if is_another(&error) => "another run has it, or somebody deleted it",
            _ if renewed.elapsed() > DURATION => "it could not be renewed in time",
            _ => continue,
        };
        lost.send_replace(Some(words.to_owned()));
        return;
    }
}

fn holder_of(lease: &coordination::Lease) -> String {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
    holder.unwrap_or_else(|| "nobody who says who they are".to_owned())
}

/// As the API wants it: microseconds, always.
fn stamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn patch(operations: serde_json::Value) -> Result<Patch<()>, ClusterError> {
    let patch: JsonPatch = serde_json::from_value(operations)
        .map_err(|error| ClusterError { message: format!("the Lease could not be written: {error}"), hint: None })?;
    Ok(Patch::Json(patch))
}
