//! What the tests are given, and how many of them may use the cluster at a time.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::io::Write as _;
use std::sync::OnceLock;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Tests that may use the cluster at a time; a small node takes no more.
const AT_A_TIME: u32 = 2;

static PERMITS: Semaphore = Semaphore::const_new(AT_A_TIME as usize);

/// What the environment says.
pub(crate) struct Environment {
    pub(crate) kubeconfig: Option<String>,
    pub(crate) app_image: String,
    required: bool,
    /// The cluster has ambient mode, and its tests are to run.
    pub(crate) ambient: bool,
    pub(crate) kills: usize,
    pub(crate) switches: usize,
    pub(crate) links: u64,
    pub(crate) seed: Option<u64>,
}

/// Reads it once.
#[expect(clippy::disallowed_methods, reason = "the one place of these tests that reads the environment")]
pub(crate) fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    ENVIRONMENT.get_or_init(|| Environment {
        kubeconfig: read("SECURE_TRAFFIC_E2E_KUBECONFIG"),
        app_image: read("SECURE_TRAFFIC_E2E_APP_IMAGE").unwrap_or_default(),
        required: read("SECURE_TRAFFIC_E2E_REQUIRED").is_some_and(|value| value == "1"),
        ambient: read("SECURE_TRAFFIC_E2E_AMBIENT").is_some_and(|value| value == "1"),
        kills: read("SECURE_TRAFFIC_E2E_KILLS").and_then(|value| value.parse().ok()).unwrap_or(12),
        switches: read("SECURE_TRAFFIC_E2E_FLIPS").and_then(|value| value.parse().ok()).unwrap_or(4),
        links: read("SECURE_TRAFFIC_E2E_LINKS").and_then(|value| value.parse().ok()).unwrap_or(6),
        seed: read("SECURE_TRAFFIC_E2E_SEED").and_then(|value| value.parse().ok()),
    })
}

/// A cluster to work on, and the right to do so until it is dropped.
pub(crate) struct Lease {
    pub(crate) client: Client,
    _permit: SemaphorePermit<'static>,
}

/// A test that cannot be run says why; where it must be run, it fails.
pub(crate) fn skip(why: &str) {
    assert!(!environment().required, "{why}, and SECURE_TRAFFIC_E2E_REQUIRED=1 forbids to skip");
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // Not by a macro: the test harness hides what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {why}");
}

/// A test that nobody asked for says that it did not run, also where tests are required. `.ci/run` counts these lines, and
/// takes them from the tests of ambient mode only.
pub(crate) fn not_run(why: &str) {
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "not run {name}: {why}");
}

/// The cluster, or none where the test has to be skipped.
pub(crate) async fn lease() -> Option<Lease> {
    lease_of(1).await
}

/// The same for a test that changes what other tests rely on: no other one runs meanwhile.
pub(crate) async fn lease_alone() -> Option<Lease> {
    lease_of(AT_A_TIME).await
}

async fn lease_of(permits: u32) -> Option<Lease> {
    let environment = environment();
    let Some(path) = &environment.kubeconfig else {
        skip("SECURE_TRAFFIC_E2E_KUBECONFIG names no cluster");
        return None;
    };
    if environment.app_image.is_empty() {
        skip("SECURE_TRAFFIC_E2E_APP_IMAGE names no application");
        return None;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let permit = PERMITS.acquire_many(permits).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Some(Lease { client: Client::try_from(config).unwrap(), _permit: permit })
}
