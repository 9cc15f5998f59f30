//! Calls in the mesh while it is switched: none is lost.

use crate::environment::environment;
use crate::namespace::{Stage, with_namespace};
use crate::workload::{Workload, service};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Clients in the mesh: a new connection for every call, and one that is kept.
const CLIENTS: [&str; 2] = ["fresh", "kept"];

async fn set_up(stage: &Stage) {
    service(stage, "web", "app", ("http", 8080, 8080)).await;
    Workload::new("app", &["-http", ":8080"]).start(stage).await;
    stage.ready().await;
    for name in CLIENTS {
        Workload::load(name, "http://web:8080/", name == "fresh").start(stage).await;
    }
    stage.ready().await;
}

/// What a client says on its own port, by way of the API server.
pub(crate) async fn ask(stage: &Stage, client: &str, path: &str) -> String {
    let path = format!("/api/v1/namespaces/{}/pods/{client}:9100/proxy/{path}", stage.name);
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    stage.client.request_text(request).await.unwrap()
}

/// Calls that got through and calls that were lost while `work` went on, for each client, with what was lost.
pub(crate) async fn during(stage: &Stage, clients: &[&str], work: impl Future<Output = ()>) -> Vec<(u64, u64, Value)> {
    for client in clients {
        ask(stage, client, "reset").await;
    }
    work.await;
    let mut counts = Vec::new();
    for client in clients {
        let stats: Value = serde_json::from_str(&ask(stage, client, "stats").await).unwrap();
        counts.push((stats["ok"].as_u64().unwrap(), stats["failed"].as_u64().unwrap(), stats["failures"].clone()));
    }
    counts
}

pub(crate) fn lost(counts: &[(u64, u64, Value)]) -> u64 {
    counts.iter().map(|(_, lost, _)| lost).sum()
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switches_lose_no_call_that_is_not_lost_without_them() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let begin = Instant::now();
        let switches = environment().switches;
        let with = during(stage, &CLIENTS, async {
            for number in 0..switches {
                let arguments: &[&str] = match number % 4 {
                    0 | 2 => &["enable-mtls", "--yes", "web"],
                    1 => &["disable-mtls", "--yes", "web"],
                    _ => &["disable-mtls", "--restore", "--yes"],
                };
                // The clients' own pods have no Service, so nothing but `web` is proven.
                stage.tool.run(arguments).await.expect_code(0);
            }
        })
        .await;
        let took = begin.elapsed();
        let without = during(stage, &CLIENTS, tokio::time::sleep(took)).await;
        eprintln!("{switches} switches in {took:?}: {with:?}\nas long without: {without:?}");
        assert!(with.iter().all(|(through, ..)| *through > 100), "no load: {with:?}");
        assert!(lost(&with) <= lost(&without), "{with:?}\nwithout switches: {without:?}");
    })
    .await;
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_would_break_everything_is_repaired_before_the_policy() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let host = format!("web.{}.svc.cluster.local", stage.name);
        let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
        let rule = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "off"},
            "spec": spec,
        });
        stage.create(&rule).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let counts = during(stage, &CLIENTS, async {
            let run = stage.tool.run(&["enable-mtls", "--yes", "web"]).await.expect_code(0);
            run.shows("tls DISABLE → ISTIO_MUTUAL");
            tokio::time::sleep(Duration::from_secs(5)).await;
        })
        .await;
        eprintln!("repaired: {counts:?}");
        assert_eq!(lost(&counts), 0, "{counts:?}");
        let back = during(stage, &CLIENTS, async {
            stage.tool.run(&["disable-mtls", "--restore", "--yes"]).await.expect_code(0);
            tokio::time::sleep(Duration::from_secs(5)).await;
        })
        .await;
        eprintln!("and back: {back:?}");
        assert_eq!(lost(&back), 0, "{back:?}");
    })
    .await;
}
