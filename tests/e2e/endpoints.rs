//! Services with several endpoints, with one that differs, and with none.

use crate::namespace::with_namespace;
use crate::tool::verdict_or_reason;
use crate::workload::{Workload, service, service_with};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_open_endpoint_among_six_makes_the_service_accepted() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "web", ("http", 8080, 8080)).await;
        for number in 1..=5 {
            Workload::new(&format!("closed-{number}"), &["-http", ":8080"]).like("web").start(stage).await;
        }
        Workload::new("open", &["-http", ":8080"]).like("web").outside().start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&["web:8080"]).await;
        report.expect(&[("web", "accepted")]);
        let endpoints = report.result("web")["endpoints"].as_array().unwrap();
        let open: Vec<&str> = endpoints
            .iter()
            .filter(|endpoint| verdict_or_reason(endpoint) == "accepted")
            .map(|endpoint| endpoint["pod"].as_str().unwrap())
            .collect();
        let closed = endpoints.iter().filter(|endpoint| verdict_or_reason(endpoint) == "rejected").count();
        assert_eq!((open, closed), (vec!["open"], 5), "{report}");

        let run = stage.tool.run(&["probe", "--per-endpoint", "web:8080"]).await.expect_code(0);
        let rows: Vec<&str> = run.stdout.lines().filter(|row| row.contains("accepted")).collect();
        assert!(rows.iter().any(|row| row.contains("open")), "{run}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_endpoints_is_inconclusive() {
    with_namespace(async |stage| {
        service(stage, "empty", "nobody", ("http", 8080, 8080)).await;
        let report = stage.tool.probe(&["empty"]).await;
        report.expect(&[("empty", "no-endpoints")]);
        assert_eq!(report.run.code, 3, "{report}");
        stage.tool.run(&["probe", "--expect", "rejected", "empty"]).await.expect_code(3);
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_endpoint_that_is_not_ready_counts_like_any_other() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        let published = json!({"publishNotReadyAddresses": true});
        service_with(stage, "web", "web", ("http", 8080, 8080), published).await;
        Workload::new("closed", &["-http", ":8080"]).like("web").start(stage).await;
        stage.ready().await;
        Workload::new("open", &["-http", ":8080"]).like("web").outside().never_ready().start(stage).await;
        stage.running("open").await;
        let report = stage.tool.probe(&["web:8080"]).await;
        report.expect(&[("web", "accepted")]);
    })
    .await;
}
