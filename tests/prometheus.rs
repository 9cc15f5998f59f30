//! `--prometheus`, on a real Prometheus that scrapes what sidecars and ztunnels write.
//!
//! Where the program `prometheus` is not installed the test says so and is skipped; with `SECURE_TRAFFIC_E2E_REQUIRED=1`
//! that is a failure.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use assert_cmd::cargo::CommandCargoExt;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// As the proxies of the demo's namespace would count: two clients outside the mesh (one that a ztunnel knows by name, one
/// that a sidecar does not), a member of the mesh, a probe of this tool, and another namespace.
const METRICS: &str = r#"# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",source_workload="unknown",source_workload_namespace="unknown",source_principal="unknown",destination_workload="boards",destination_workload_namespace="microservices-demo",destination_service_name="boards",response_code="200",connection_security_policy="none"} 41
istio_requests_total{reporter="destination",source_workload="context-scraper",source_workload_namespace="microservices-demo",destination_workload="boards",destination_workload_namespace="microservices-demo",destination_service_name="boards",response_code="200",connection_security_policy="mutual_tls"} 900
istio_requests_total{reporter="source",source_workload="app-ui",source_workload_namespace="microservices-demo",destination_workload="userprofile",destination_workload_namespace="microservices-demo",destination_service_name="userprofile",response_code="200",connection_security_policy="unknown"} 7
istio_requests_total{reporter="destination",source_workload="unknown",source_workload_namespace="unknown",destination_workload="web",destination_workload_namespace="elsewhere",destination_service_name="web",response_code="200",connection_security_policy="none"} 5
# TYPE istio_tcp_connections_opened_total counter
istio_tcp_connections_opened_total{reporter="destination",source_workload="legacy-client",source_workload_namespace="outside",source_principal="unknown",destination_workload="boards-mongodb",destination_workload_namespace="microservices-demo",destination_service_name="boards-mongodb",request_protocol="tcp",response_flags="-",connection_security_policy="unknown"} 4218
istio_tcp_connections_opened_total{reporter="destination",source_workload="secure-traffic-probe-abcde",source_workload_namespace="microservices-demo",destination_workload="boards",destination_workload_namespace="microservices-demo",destination_service_name="boards",request_protocol="tcp",response_flags="-",connection_security_policy="unknown"} 3
"#;

/// A Prometheus that ends with the test.
struct Prometheus {
    child: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves the metrics to whoever asks, as long as the process lives.
fn exporter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
            let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{METRICS}", METRICS.len());
        }
    });
    port
}

fn prometheus() -> Option<Prometheus> {
    if Command::new("prometheus").arg("--version").output().is_err() {
        let required = std::env::var("SECURE_TRAFFIC_E2E_REQUIRED").is_ok_and(|value| value == "1");
        assert!(!required, "prometheus is not installed, and SECURE_TRAFFIC_E2E_REQUIRED=1 forbids to skip");
        // Not by a macro: the test harness hides what passing tests print.
        let _ = writeln!(std::io::stderr(), "skipped: the program prometheus is not installed");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("prometheus.yml");
    let targets = json!([{"job_name": "mesh", "static_configs": [{"targets": [format!("127.0.0.1:{}", exporter())]}]}]);
    let text = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": targets});
    std::fs::write(&config, text.to_string()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Some(Prometheus { child, url: format!("http://127.0.0.1:{port}"), _directory: directory })
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("secure-traffic").unwrap();
    command.env_remove("KUBECONFIG").env("HOME", "/nonexistent").args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The findings of the demo's namespace that say who sent plaintext.
fn seen(url: &str) -> Vec<(String, Value)> {
    let (_, stdout, stderr) = run(&["status", "--sandbox", "-o", "json", "--prometheus", url]);
    let Ok(report) = serde_json::from_str::<Value>(&stdout) else { panic!("{stderr}") };
    let findings = report["namespaces"][0]["findings"].as_array().unwrap().iter();
    assert!(findings.clone().all(|finding| finding["code"] != "clients-unseen"), "{stdout}");
    findings
        .filter(|finding| finding["code"] == "plaintext-seen")
        .map(|finding| (finding["message"].as_str().unwrap().to_owned(), finding["objects"].clone()))
        .collect()
}

#[test]
fn who_sent_plaintext_is_named_and_stops_the_switch() {
    let Some(prometheus) = prometheus() else { return };
    let deadline = Instant::now() + Duration::from_mins(1);
    while std::net::TcpStream::connect(prometheus.url.trim_start_matches("http://")).is_err() {
        assert!(Instant::now() < deadline, "prometheus does not listen");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut found = seen(&prometheus.url);
    while found.is_empty() {
        assert!(Instant::now() < deadline, "nothing was scraped");
        std::thread::sleep(Duration::from_millis(500));
        found = seen(&prometheus.url);
    }
    let expected = [
        (
            "a client without a proxy sent plaintext to boards (41 requests or connections in the last hours); \
             probes by this tool count too: pass a --since that begins after its last run"
                .to_owned(),
            json!(["a client without a proxy", "boards", "service/boards"]),
        ),
        (
            "outside/legacy-client sent plaintext to boards-mongodb (4218 requests or connections in the last hours)"
                .to_owned(),
            json!(["boards-mongodb", "outside/legacy-client", "service/boards-mongodb"]),
        ),
    ];
    assert_eq!(found, expected);

    let arguments = ["enable-mtls", "--sandbox", "--yes", "--verify=false", "--prometheus", &prometheus.url];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("outside/legacy-client") && stderr.contains("nothing was written"), "{stderr}");
}

#[test]
fn a_prometheus_that_is_none_is_named() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://me:secret@127.0.0.1:{nobody}");
    let (code, stdout, stderr) = run(&["status", "--sandbox", "--prometheus", &url]);
    assert_eq!((code, stdout.as_str()), (Some(4), ""), "{stderr}");
    assert!(stderr.contains(&format!("Prometheus at http://127.0.0.1:{nobody} could not be asked")), "{stderr}");
    assert!(!stderr.contains("secret"), "{stderr}");
    let (code, _, stderr) = run(&["status", "--sandbox", "--prometheus", &format!("http://127.0.0.1:{}", exporter())]);
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("not as a Prometheus does"), "{stderr}");
    let (code, _, stderr) = run(&["status", "--sandbox", "--prometheus", "localhost:9090"]);
    assert_eq!(code, Some(2), "{stderr}");
}
