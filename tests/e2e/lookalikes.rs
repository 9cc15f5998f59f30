//! Servers that refuse like a STRICT sidecar and are none: their verdict is never `rejected`.

use crate::namespace::{Stage, denial, policy, with_namespace};
use crate::tool::Report;
use crate::workload::{Workload, service};
use serde_json::json;

/// Silent applications make every sample wait as long as it may.
const IMPATIENT: [&str; 4] = ["--max-time", "1s", "--attempts", "2"];

/// Servers of every kind in one process; the name of a Service is that of its server, with the workload's name.
const SERVERS: [&str; 16] = [
    "-reset", ":8081", "-close", ":8082", "-banner", ":8083", "-silent", ":8084", "-tls", ":8085", "-mtls", ":8086",
    "-echo", ":8087", "-http", ":8080",
];

/// What a probe reports of each server, except `reset`, if no mesh refuses plaintext.
const OPEN: [(&str, &str); 7] = [
    ("http", "accepted"),
    ("close", "closed-not-reset"),
    ("banner", "accepted"),
    ("silent", "read-timeout"),
    ("tls", "accepted"),
    ("mtls", "accepted"),
    ("echo", "accepted"),
];

/// A Service named after the workload and the server, for each server; TCP ports, so that the sidecar passes bytes on.
async fn services(stage: &Stage, workload: &str) {
    let names = ["http", "reset", "close", "banner", "silent", "tls", "mtls", "echo"];
    for (name, port) in names.into_iter().zip(8080..) {
        service(stage, &format!("{workload}-{name}"), workload, ("tcp-x", port, port)).await;
    }
}

/// A workload that imitates its own sidecar's certificate as well as it can be imitated.
fn imitator(stage: &Stage, name: &str) -> Workload {
    let spiffe = format!("spiffe://cluster.local/ns/{}/sa/{name}", stage.name);
    let own = ["-spiffe", &spiffe, "-issuer", "cluster.local"];
    Workload::new(name, &[&SERVERS[..], &own].concat())
}

/// Starts the Services of `app` and its workload, as `shape` changes it, and probes them.
async fn probe_imitator(stage: &Stage, shape: impl FnOnce(Workload) -> Workload) -> Report {
    services(stage, "app").await;
    shape(imitator(stage, "app")).start(stage).await;
    stage.ready().await;
    stage.tool.probe(&IMPATIENT).await
}

/// Asserts the verdict, or the reason of an inconclusive one, of these servers of a workload.
fn expect(report: &Report, workload: &str, answers: &[(&str, &str)]) {
    let names: Vec<String> = answers.iter().map(|(server, _)| format!("{workload}-{server}")).collect();
    let expected: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(answers.iter().map(|(_, answer)| *answer)).collect();
    report.expect(&expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_that_refuse_by_themselves_behind_a_permissive_sidecar_are_not_called_rejected() {
    with_namespace(async |stage| {
        let report = probe_imitator(stage, |app| app).await;
        expect(&report, "app", &OPEN);
        // The sidecar passes a reset on as a reset or as a close.
        let reset = report.answer("app-reset");
        assert!(["reset-without-evidence", "closed-not-reset"].contains(&reset), "{report}");
        assert_eq!(report.run.code, 3, "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_application_and_a_denial_behind_a_permissive_sidecar_are_not_called_rejected() {
    with_namespace(async |stage| {
        stage.create(&denial(&["8080", "8087"])).await;
        service(stage, "dead-http", "app", ("http", 9001, 9001)).await;
        service(stage, "dead-tcp", "app", ("tcp", 9002, 9002)).await;
        service(stage, "dead-unnamed", "app", ("", 9003, 9003)).await;
        service(stage, "denied-http", "app", ("http", 8080, 8080)).await;
        service(stage, "denied-tcp", "app", ("tcp", 8087, 8087)).await;
        Workload::new("app", &["-http", ":8080", "-echo", ":8087"]).start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&[]).await;
        report.expect(&[
            ("dead-http", "accepted"),
            ("dead-tcp", "reset-without-evidence"),
            ("dead-unnamed", "accepted"),
            ("denied-http", "accepted"),
            ("denied-tcp", "closed-not-reset"),
        ]);
        let message = |service| report.result(service)["message"].as_str().unwrap();
        assert!(message("dead-http").contains("the application is down"), "{report}");
        assert!(message("denied-http").contains("denied by authorization"), "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_application_does_not_block_disable() {
    with_namespace(async |stage| {
        service(stage, "dead", "app", ("tcp", 8081, 8081)).await;
        Workload::new("app", &["-http", ":9999"]).start(stage).await;
        stage.ready().await;
        stage.tool.run(&["enable-mtls", "--yes"]).await.expect_code(0).shows("rejected");
        let run = stage.tool.run(&["disable-mtls", "--yes", "--wait-timeout", "5s"]).await.expect_code(3);
        run.shows("reset-without-evidence");
        let rule = stage.rules().get("dead").await.unwrap().data["spec"].clone();
        assert!(rule["trafficPolicy"]["tls"].is_null(), "{rule:#}\n{run}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_without_a_sidecar_in_a_strict_namespace_are_not_called_rejected() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        let report = probe_imitator(stage, Workload::outside).await;
        expect(&report, "app", &OPEN);
        let reset = report.answer("app-reset");
        assert!(["target-not-meshed", "closed-not-reset", "refused"].contains(&reset), "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_excluded_from_capture_in_a_strict_namespace_are_not_called_rejected() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        let excluded = "8080,8081,8082,8083,8084,8085,8086,8087";
        let annotation = "traffic.sidecar.istio.io/excludeInboundPorts";
        let report = probe_imitator(stage, |app| app.annotate(annotation, excluded)).await;
        expect(&report, "app", &OPEN);
        let reset = report.answer("app-reset");
        assert!(["reset-without-evidence", "closed-not-reset", "refused"].contains(&reset), "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_that_no_capture_includes_are_not_called_rejected() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        let annotation = "traffic.sidecar.istio.io/includeInboundPorts";
        let report = probe_imitator(stage, |app| app.annotate(annotation, "8080")).await;
        report.expect_rejected(&stage.name, "app-http", "app");
        expect(
            &report,
            "app",
            &[("close", "closed-not-reset"), ("banner", "accepted"), ("tls", "accepted"), ("mtls", "accepted")],
        );
        assert_ne!(report.answer("app-reset"), "rejected", "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_with_the_certificate_of_its_own_sidecar_is_not_called_rejected() {
    with_namespace(async |stage| {
        const DIRECTORY: &str = "/var/run/e2e-certificates";
        service(stage, "permissive", "app", ("tcp", 8086, 8086)).await;
        service(stage, "excluded", "app", ("tcp", 8087, 8087)).await;
        service(stage, "strict", "app", ("tcp", 8088, 8088)).await;
        let ports = json!({"8087": {"mode": "STRICT"}, "8088": {"mode": "STRICT"}});
        stage.create(&policy("app", Some("app"), "PERMISSIVE", ports)).await;
        let arguments = ["-certificate", DIRECTORY, "-mtls", ":8086", "-mtls", ":8087", "-mtls", ":8088"];
        Workload::new("app", &arguments)
            .with_certificate_of_sidecar(DIRECTORY)
            .annotate("traffic.sidecar.istio.io/excludeInboundPorts", "8087")
            .start(stage)
            .await;
        stage.ready().await;
        // The application serves once the sidecar has written the certificate.
        let mut report = stage.tool.probe(&[]).await;
        for _ in 0..10 {
            if report.answer("permissive") == "accepted" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            report = stage.tool.probe(&[]).await;
        }
        // With the sidecar's filter chains as evidence, and without.
        for report in [report, stage.tool.probe(&["--evidence", "network"]).await] {
            report.expect(&[("permissive", "accepted"), ("excluded", "accepted")]);
            report.expect_rejected(&stage.name, "strict", "app");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_mode_disable_is_not_called_rejected() {
    with_namespace(async |stage| {
        stage.set_mode("DISABLE").await;
        let report = probe_imitator(stage, |app| app).await;
        expect(&report, "app", &[("http", "accepted"), ("close", "closed-not-reset"), ("tls", "accepted")]);
        for server in ["reset", "mtls", "silent"] {
            assert_ne!(report.answer(&format!("app-{server}")), "rejected", "{report}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_of_the_application_is_not_taken_for_one_of_the_mesh() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        for status in [400, 403, 404, 503] {
            let report = stage.tool.probe(&[format!("web:8080/status/{status}").as_str()]).await;
            report.expect(&[("web", "accepted")]);
            let message = report.result("web")["message"].as_str().unwrap();
            assert_eq!(message, format!("HTTP {status}"), "{report}");
        }
    })
    .await;
}
