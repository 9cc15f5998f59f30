//! Back to what was there: after runs that were killed at any moment, and beside another run.

use crate::environment::environment;
use crate::namespace::{Stage, policy, with_namespace};
use crate::refusals::token;
use crate::tool::Kill;
use crate::workload::{Workload, service};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use rand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Identity, labels, annotations and spec of every policy and rule, as canonical JSON, a line each.
pub(crate) async fn content(stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    for api in [stage.policies(), stage.rules()] {
        for object in api.list(&ListParams::default()).await.unwrap() {
            let meta = &object.metadata;
            let identity = json!([meta.name, meta.uid, meta.labels, meta.annotations]);
            lines.push(format!("{identity} {}", object.data["spec"]));
        }
    }
    lines
}

/// What a run keeps in the cluster: journals, and the Lease.
pub(crate) async fn journals(stage: &Stage) -> Vec<String> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=secure-traffic");
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), &stage.name);
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.name);
    let (maps, leases) = futures::try_join!(maps.list(&ours), leases.list(&ours)).unwrap();
    maps.iter().map(ResourceExt::name_any).chain(leases.iter().map(ResourceExt::name_any)).collect()
}

fn rule(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name}, "spec": spec})
}

/// A policy and rules of several owners: pools, circuit breakers, subsets, and ports with settings of their own. The
/// third Service has no rule.
pub(crate) async fn populate(stage: &Stage) {
    for name in ["web", "web-2", "web-3"] {
        service(stage, name, "app", ("http", 8080, 8080)).await;
    }
    let mut house = policy("house", None, "PERMISSIVE", json!({}));
    house["metadata"]["annotations"] = json!({"team": "shop"});
    stage.create(&house).await;
    let host = |service: &str| format!("{service}.{}.svc.cluster.local", stage.name);
    stage
        .create(&rule(
            "team-web",
            &json!({
                "host": host("web"),
                "trafficPolicy": {
                    "tls": {"mode": "DISABLE"},
                    "connectionPool": {"tcp": {"maxConnections": 77}},
                    "portLevelSettings": [
                        {"port": {"number": 8080}, "tls": {"mode": "DISABLE"}, "loadBalancer": {"simple": "ROUND_ROBIN"}},
                    ],
                },
                "subsets": [{"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {"tls": {"mode": "DISABLE"}}}],
            }),
        ))
        .await;
    let breakers = rule(
        "breakers",
        &json!({
            "host": host("web-2"),
            "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 7, "interval": "10s"}},
            "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
        }),
    );
    stage.apply_as("flux", &breakers).await;
    Workload::new("app", &["-http", ":8080"]).start(stage).await;
    stage.ready().await;
}

const SIGNALS: [&str; 3] = ["INT", "TERM", "KILL"];

fn kill(number: usize, within: u64) -> Kill {
    let after = Duration::from_millis(rand::rng().random_range(0..within));
    Kill { signal: SIGNALS[number % 3], after }
}

/// Interrupts a run, and sometimes the restore too; then restores. Returns what was met, in a word.
async fn interrupt_and_restore(stage: &Stage, number: usize, before: &[String]) -> String {
    let mut log = Vec::new();
    let mut enable = vec!["enable-mtls", "--yes", "--settle", "500ms"];
    if number % 5 == 4 {
        enable.push("--rollback-on-failure");
    }
    // Without the pods the writes come at once; with them, once the control in the mesh calls.
    let within = if number.is_multiple_of(2) {
        enable.push("--verify=false");
        900
    } else {
        8000
    };
    let first = kill(number, within);
    let run = stage.tool.run_and_kill(&enable, Some(first)).await;
    log.push(format!("{first:?} {run}"));
    let changed = content(stage).await != before;
    if changed && run.code > 0 && first.signal != "KILL" {
        // Told truthfully, with the way back.
        run.shows("ended early").shows("--restore` puts back");
    }
    let restore = ["disable-mtls", "--restore", "--yes", "--settle", "500ms"];
    if number % 4 == 3 {
        let second = kill(number / 4, 1500);
        let run = stage.tool.run_and_kill(&restore, Some(second)).await;
        log.push(format!("{second:?} {run}"));
    }
    let last = stage.tool.run(&restore).await;
    log.push(last.to_string());
    let log = log.join("\n");
    assert_eq!(last.code, 0, "{log}");
    assert_eq!(content(stage).await, before, "{log}");
    // What a run that was killed at once leaves stays until its time is over, or until it is asked away.
    stage.tool.run(&["cleanup"]).await.expect_code(0);
    assert_eq!(journals(stage).await, Vec::<String>::new(), "{log}");
    assert_eq!(stage.probe_pods().await, Vec::<String>::new(), "{log}");
    let word = match (run.killed, changed) {
        (false, _) => "done before the signal",
        (true, true) => "cut short with changes made",
        (true, false) => "cut short with nothing changed, or rolled back",
    };
    format!("{}: {word}", first.signal)
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_runs_are_restored_exactly() {
    with_namespace(async |stage| {
        populate(stage).await;
        let before = content(stage).await;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for number in 0..environment().kills {
            *counts.entry(interrupt_and_restore(stage, number, &before).await).or_default() += 1;
        }
        eprintln!("{} runs, each restored exactly: {counts:#?}", environment().kills);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_tls_and_mode_change_and_are_restored() {
    with_namespace(async |stage| {
        populate(stage).await;
        let before = content(stage).await;
        stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0);
        let on = content(stage).await;
        // With `tls` put back by hand, nothing else differs.
        let undone: Vec<String> = on
            .iter()
            .filter(|line| !line.contains("\"app.kubernetes.io/managed-by\":\"secure-traffic\""))
            .map(|line| line.replace("ISTIO_MUTUAL", "DISABLE").replace("STRICT", "PERMISSIVE"))
            .map(|line| {
                // Flux's rule had none at all.
                if line.contains("breakers") { line.replace(",\"tls\":{\"mode\":\"DISABLE\"}", "") } else { line }
            })
            .collect();
        assert_eq!(undone, before);
        stage.tool.run(&["disable-mtls", "--yes"]).await.expect_code(0);
        let run = stage.tool.run(&["disable-mtls", "--restore", "--yes"]).await.expect_code(0);
        assert_eq!(content(stage).await, before, "{run}");
        assert_eq!(journals(stage).await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runs_at_once_one_wins() {
    with_namespace(async |stage| {
        populate(stage).await;
        let before = content(stage).await;
        let (left, right) =
            futures::join!(stage.tool.run(&["enable-mtls", "--yes"]), stage.tool.run(&["enable-mtls", "--yes"]));
        let codes = [left.code, right.code];
        let loser = if left.code == 0 { &right } else { &left };
        // The second may also have come so late that everything was done.
        assert!(codes.contains(&0) && codes.iter().all(|code| [0, 4].contains(code)), "{left}\n{right}");
        if loser.code == 4 {
            loser.shows("another run works on namespace").shows("kubectl delete lease secure-traffic");
        }
        stage.tool.run(&["disable-mtls", "--restore", "--yes"]).await.expect_code(0);
        assert_eq!(content(stage).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_role_suffices_for_enable_and_restore() {
    with_namespace(async |stage| {
        populate(stage).await;
        let before = content(stage).await;
        let text = include_str!("../../manifests/rbac/switch.yaml");
        let objects = secure_traffic::istio::yaml::read_all(text).unwrap();
        let role = objects.into_iter().find(|object| object["kind"] == "Role").unwrap();
        let token = token(stage, "switch", role["rules"].clone()).await;
        // The namespace's own modes are known without the root namespace's; what else is unknown may not stop this.
        let on = stage.tool.run(&["--token", &token, "enable-mtls", "--yes", "--force"]).await.expect_code(0);
        on.shows(" rejected, 0 accepted, 0 inconclusive");
        stage.tool.run(&["--token", &token, "disable-mtls", "--restore", "--yes"]).await.expect_code(0);
        assert_eq!(content(stage).await, before);
        assert_eq!(journals(stage).await, Vec::<String>::new());
    })
    .await;
}
