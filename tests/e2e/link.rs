//! A bad way to the API server: a run ends in time, as done or with a truthful account, and can be undone.

use crate::environment::environment;
use crate::interruption::said;
use crate::namespace::{Stage, with_namespace};
use crate::restore::{content, journals, populate};
use crate::tool::LabRun;
use crate::workload::service;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The limits of a run under test.
const LIMITS: [&str; 10] = [
    "--request-timeout",
    "2s",
    "--pod-timeout",
    "10s",
    "--wait-timeout",
    "10s",
    "--settle",
    "300ms",
    "--timeout",
    "20s",
];

/// `--timeout`, the 20 seconds that the removal of a pod may take, and ten requests of the clean-up that get no answer.
const BOUND: Duration = Duration::from_mins(1);

/// What befalls a connection, once it has carried so many more bytes of answers.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Reset(usize),
    Stall(usize),
    Cut(usize),
    None,
}

impl Fault {
    fn random(random: &mut StdRng) -> Self {
        // From the middle of the handshake to the middle of a list.
        let after = random.random_range(0..12_000);
        match random.random_range(0..8) {
            0 => Self::Reset(after),
            1 => Self::Stall(after),
            2 => Self::Cut(after),
            _ => Self::None,
        }
    }

    const fn after(self) -> Option<usize> {
        match self {
            Self::Reset(after) | Self::Stall(after) | Self::Cut(after) => Some(after),
            Self::None => None,
        }
    }
}

/// A way to the API server on which, from some moment on, connections go wrong.
struct Link {
    port: u16,
    host: String,
    struck: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    async fn new(seed: u64) -> Self {
        let kubeconfig = Kubeconfig::read_from(environment().kubeconfig.as_deref().unwrap()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let host = config.cluster_url.host().unwrap().trim_matches(['[', ']']).to_owned();
        let upstream = (host.clone(), config.cluster_url.port_u16().unwrap_or(443));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let struck: Arc<AtomicUsize> = Arc::default();
        let mut random = StdRng::seed_from_u64(seed);
        // Within the look, the writes, the wait or the proof.
        let from = Instant::now() + Duration::from_millis(random.random_range(0..2500));
        let counter = Arc::clone(&struck);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let fault = Fault::random(&mut random);
                connections.spawn(carry(client, upstream.clone(), fault, from, Arc::clone(&counter)));
            }
        });
        Self { port, host: config.tls_server_name.unwrap_or(host), struck, task }
    }

    /// Runs the tool with this way to the cluster.
    async fn run(&self, stage: &Stage, arguments: &[&str]) -> LabRun {
        let server = format!("https://127.0.0.1:{}", self.port);
        let way = ["--server", server.as_str(), "--tls-server-name", self.host.as_str()];
        stage.tool.run(&[&way, arguments, &LIMITS[..]].concat()).await
    }
}

/// Carries one connection until either side ends it or its fault strikes.
async fn carry(mut client: TcpStream, to: (String, u16), fault: Fault, from: Instant, struck: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    let (mut up, mut down, mut carried) = ([0; 4096], [0; 4096], 0);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => if server.write_all(&up[..count]).await.is_err() { return },
            },
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                let is_bad = Instant::now() >= from;
                let left = fault.after().filter(|_| is_bad).map_or(count, |after| count.min(after - carried));
                if client.write_all(&down[..left]).await.is_err() {
                    return;
                }
                if left < count {
                    break;
                }
                carried += if is_bad { count } else { 0 };
            }
        }
    }
    struck.fetch_add(1, Ordering::Relaxed);
    match fault {
        Fault::Reset(_) => client.set_zero_linger().unwrap(),
        Fault::Stall(_) => std::future::pending().await,
        Fault::Cut(_) | Fault::None => {}
    }
}

/// Objects of the mesh that are not as they were, by their names.
fn changed(before: &[String], now: &[String]) -> Vec<String> {
    // A line begins with the identity, whose first word is the name.
    let name = |line: &String| line.trim_start_matches("[\"").split('"').next().unwrap_or_default().to_owned();
    let of = |these: &[String], those: &[String]| these.iter().filter(|it| !those.contains(it)).map(name).collect();
    let (mut names, gone): (Vec<String>, Vec<String>) = (of(now, before), of(before, now));
    names.extend(gone);
    names.sort();
    names.dedup();
    names
}

/// Asserts that a run reports each changed object as written or as without an answer, no other one as written, and how
/// to restore.
fn assert_reported(run: &LabRun, changed: &[String]) {
    let reported: Vec<String> = said(run);
    let unanswered: String = run.stderr.lines().filter(|line| line.contains("got no answer")).collect();
    for name in changed {
        let ends = |title: &str| title.rsplit('/').next().is_some_and(|last| last.trim_end_matches(',') == name);
        let is_reported = reported.iter().any(|title| ends(title)) || unanswered.split(' ').any(ends);
        assert!(is_reported, "{name} has changed and is not reported: {run}");
    }
    for title in &reported {
        assert!(changed.iter().any(|name| title.ends_with(&format!("/{name}"))), "{title} has not changed: {run}");
    }
    if !changed.is_empty() {
        run.shows(" --restore");
    }
    assert!([1, 3, 4, 5].contains(&run.code), "{run}");
}

/// One run over a failing connection, sometimes a restore over it too, and then a restore over a good one.
async fn switch_and_restore(stage: &Stage, number: u64, seed: u64, before: &[String]) -> &'static str {
    let link = Link::new(seed).await;
    let run = link.run(stage, &["enable-mtls", "--yes"]).await;
    let log = format!("seed {seed}, {} connections went wrong: {run}", link.struck.load(Ordering::Relaxed));
    assert!(run.took < BOUND, "{log}");
    let changed = changed(before, &content(stage).await);
    if run.code == 0 {
        let on: usize =
            content(stage).await.iter().filter(|line| line.contains("ISTIO_MUTUAL") || line.contains("STRICT")).count();
        assert_eq!(on, before.len() + MORE + 1, "{log}");
    } else {
        assert_reported(&run, &changed);
    }
    if number % 3 == 2 {
        let link = Link::new(seed + 1).await;
        let run = link.run(stage, &["disable-mtls", "--restore", "--yes"]).await;
        assert!(run.took < BOUND, "seed {}: {run}", seed + 1);
    }
    let last = stage.tool.run(&["disable-mtls", "--restore", "--yes", "--settle", "300ms"]).await;
    assert_eq!(last.code, 0, "{log}\n{last}");
    assert_eq!(content(stage).await, before, "{log}\n{last}");
    // What could not be removed on the bad way.
    stage.tool.run(&["cleanup"]).await.expect_code(0);
    assert_eq!(journals(stage).await, Vec::<String>::new(), "{log}\n{last}");
    assert_eq!(stage.probe_pods().await, Vec::<String>::new(), "{log}\n{last}");
    match (run.code, changed.is_empty()) {
        (0, _) => "done",
        (_, true) => "ended early, nothing changed",
        (_, false) => "ended early, the changes told",
    }
}

/// More Services of the same pod, so that there is more to write.
const MORE: usize = 20;

#[expect(clippy::print_stderr, reason = "the seed and the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_over_a_failing_connection_succeeds_or_reports_what_it_wrote() {
    with_namespace(async |stage| {
        populate(stage).await;
        for number in 0..MORE {
            service(stage, &format!("also-{number}"), "app", ("http", 8080, 8080)).await;
        }
        let before = content(stage).await;
        let seed = environment().seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
        eprintln!("first seed {seed}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for number in 0..environment().links {
            let outcome = switch_and_restore(stage, number, seed + 10 * number, &before).await;
            *counts.entry(outcome).or_default() += 1;
        }
        eprintln!("{} runs, each restored to the letter: {counts:#?}", environment().links);
    })
    .await;
}
