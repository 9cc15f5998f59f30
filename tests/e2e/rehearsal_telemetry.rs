//! `rehearse` on a real mesh whose sidecars write no access log: with a Telemetry object, which no end of a run leaves.

use crate::environment::environment;
use crate::load::{during, lost};
use crate::namespace::{Stage, with_namespace_alone};
use crate::rehearsal::written;
use crate::sidecar;
use crate::tool::Kill;
use crate::workload::{Workload, service};
use futures::FutureExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use rand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// The sidecars end the connections of replaced filter chains after this time.
const DRAIN: &str = r#"{"drainDuration": "5s"}"#;

async fn set_mesh(stage: &Stage, settings: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "istio-system");
    let patch = Patch::Merge(json!({"data": {"mesh": settings}}));
    maps.patch("istio", &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until the sidecar of `web` writes an access log, or none, for calls that arrive.
async fn until_log(stage: &Stage, is_written: bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let path = "/config_dump?resource=dynamic_listeners&name_regex=virtualInbound";
    loop {
        let dump = sidecar::ask(stage, "web", path).await;
        if dump.is_some_and(|dump| dump.to_string().contains("/dev/stdout") == is_written) {
            return;
        }
        assert!(Instant::now() < deadline, "the access log is not as the mesh's settings say");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Runs the body with a server `web` in a mesh without an access log; the settings are as before whatever becomes of it.
async fn without_access_log(body: impl AsyncFnOnce(&Stage)) {
    with_namespace_alone(async |stage| {
        service(stage, "web", "web", ("http", 8080, 8080)).await;
        service(stage, "echo", "web", ("tcp-echo", 7000, 7000)).await;
        let web = Workload::new("web", &["-http", ":8080", "-echo", ":7000"]);
        web.annotate("proxy.istio.io/config", DRAIN).start(stage).await;
        stage.ready().await;
        let maps: Api<ConfigMap> = Api::namespaced(stage.client.clone(), "istio-system");
        let before = maps.get("istio").await.unwrap().data.unwrap().remove("mesh").unwrap();
        let lines: Vec<&str> = before.lines().filter(|line| !line.starts_with("accessLogFile:")).collect();
        let silent = lines.join("\n");
        set_mesh(stage, &silent).await;
        let outcome = AssertUnwindSafe(async {
            until_log(stage, false).await;
            body(stage).await;
        })
        .catch_unwind()
        .await;
        set_mesh(stage, &before).await;
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
        until_log(stage, before != silent).await;
    })
    .await;
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_access_log_a_telemetry_object_shows_who_would_be_refused() {
    without_access_log(async |stage| {
        let clients = ["meshed", "plain"];
        let with_drain = |client: Workload| client.annotate("proxy.istio.io/config", DRAIN);
        with_drain(Workload::load("meshed", "http://web:8080/", true)).start(stage).await;
        Workload::load("plain", "http://web:8080/", true).outside().start(stage).await;
        with_drain(Workload::tcp_load("meshed-tcp", "echo:7000")).start(stage).await;
        Workload::tcp_load("plain-tcp", "echo:7000").outside().start(stage).await;
        stage.ready().await;
        let before = written(stage).await;
        let mut report = Value::Null;
        let counts = during(stage, &clients, async {
            let run = stage.tool.run(&["rehearse", "--yes", "--for", "10s", "-o", "json"]).await.expect_code(1);
            eprintln!("{}", run.stderr);
            report = serde_json::from_str(&run.stdout).unwrap();
        })
        .await;
        let callers = |name: &str| {
            let ports = report["namespaces"][0]["results"].as_array().unwrap();
            let port = ports.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("{name}: {report:#}"));
            assert_eq!(port["reason"], Value::Null, "{report:#}");
            let names = port["callers"].as_array().unwrap().iter().map(|caller| caller["name"].as_str().unwrap());
            names.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        assert_eq!(report["namespaces"][0]["instrument"], "telemetry", "{report:#}");
        assert_eq!(callers("web:8080"), [format!("plain ({}/Pod)", stage.name)].into(), "{report:#}");
        // It stays connected all the time.
        assert_eq!(callers("echo:7000"), [format!("plain-tcp ({}/Pod)", stage.name)].into(), "{report:#}");
        eprintln!("calls through and lost: {counts:?}");
        assert!(counts.iter().all(|(through, ..)| *through > 100) && lost(&counts) == 0, "{counts:?}");
        assert_eq!(written(stage).await, before);
        assert_eq!(stage.probe_pods().await, [""; 0]);
    })
    .await;
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_rehearsal_leaves_nothing_after_the_next_command() {
    without_access_log(async |stage| {
        let before = written(stage).await;
        let mut found = 0;
        for number in 0..environment().kills.div_ceil(6) {
            let after = Duration::from_millis(rand::rng().random_range(0..50_000));
            let kill = Some(Kill { signal: "KILL", after });
            let run = stage.tool.run_and_kill(&["rehearse", "--yes", "--for", "5m"], kill).await;
            assert!(run.killed, "{run}");
            let left = written(stage).await;
            found += usize::from(left.iter().any(|object| object.starts_with("Telemetry")));
            let next = stage.tool.run(&["cleanup"]).await.expect_code(0);
            assert_eq!(written(stage).await, before, "killed after {after:?}: {left:?}\n{next}");
            assert_eq!(stage.probe_pods().await, [""; 0], "run {number}, killed after {after:?}");
        }
        eprintln!("{found} killed runs left a Telemetry object until the next command");
    })
    .await;
}
