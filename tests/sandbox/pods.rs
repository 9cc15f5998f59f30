use crate::helpers::{DEMO, apply_policy, curl, pod, run, run_named, status};
use futures::{AsyncReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams, PostParams};
use secure_traffic::sandbox::{Sandbox, State};
use serde_json::json;
use std::time::Duration;

const BOARDS: &str = "http://boards:8080/shareditems";

#[tokio::test]
async fn plaintext_is_answered_until_the_policy_is_strict_and_reset_from_then_on() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    let open = curl(&client, "open", &["-o", "/dev/termination-log", "-w", "%{http_code}", BOARDS]).await;
    assert_eq!((open.code, open.log.as_str()), (0, "200"));
    assert!(open.message.contains("5ccb871cfa5ab60016b33374") && open.message.ends_with("]\n"));
    assert_eq!(open.phases.last().unwrap(), "Succeeded");

    apply_policy(&client, "STRICT").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let closed = curl(&client, "closed", &[BOARDS]).await;
    assert_eq!(closed.code, 56, "{}", closed.log);
    assert_eq!(closed.log, "curl: (56) Recv failure: Connection reset by peer\n");
    assert_eq!(closed.phases, ["Pending", "Running", "Failed"]);
}

#[tokio::test]
async fn the_hello_shows_the_pods_own_certificate() {
    let sandbox = Sandbox::start(State::Strict).await.unwrap();
    let hello = curl(
        &sandbox.client(),
        "hello",
        &[
            "-v",
            "-k",
            "--http1.1",
            "--no-alpn",
            "-o",
            "/dev/null",
            "-w",
            "%{stderr}\nMARK %{json}\n%{certs}",
            "https://boards:8080/",
        ],
    )
    .await;
    assert!(hello.log.contains("Request CERT (13)"), "{}", hello.log);
    assert!(hello.log.contains("URI:spiffe://cluster.local/ns/microservices-demo/sa/boards"), "{}", hello.log);
    assert!(hello.log.contains("issuer: O=cluster.local"), "{}", hello.log);
    assert!(hello.code != 0);
}

#[tokio::test]
async fn endpoints_are_reached_by_their_own_address() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let boards = pods.list(&kube::api::ListParams::default().labels("app=boards")).await.unwrap().items.remove(0);
    let address = boards.status.unwrap().pod_ip.unwrap();
    let host = "http://boards.microservices-demo.svc.cluster.local:8080/shareditems#[1-3]";
    let direct = format!("::{address}:8080");
    let first = ["-o", "/dev/null", "-w", "%{stderr}%{http_code}\n", "--connect-to", &direct, host, "--next"];
    let by_port = format!(":1:{address}:8080");
    let second = [
        "-sS",
        "--rate",
        "100/s",
        "-o",
        "/dev/null",
        "-w",
        "%{stderr}%{http_code}\n",
        "--connect-to",
        &by_port,
        "http://[1-5].probe.invalid:[1-1]/",
    ];
    let ended = curl(&client, "direct", &[&first[..], &second[..]].concat()).await;
    assert_eq!(ended.log, "200\n".repeat(8), "{}", ended.log);
}

#[tokio::test]
async fn names_and_ports_fail_as_in_a_cluster() {
    let sandbox =
        Sandbox::builder(State::Permissive).with(secure_traffic::sandbox::Lookalike::Empty).start().await.unwrap();
    let client = sandbox.client();
    for (name, url, code) in [
        ("unknown", "http://nosuchname:8080/", 6),
        ("foreign", "http://example.org/", 6),
        ("tricky", "http://boards@127.1/", 6),
        ("port", "http://boards:81/", 7),
        ("empty", "http://empty:8080/", 7),
    ] {
        let ended = curl(&client, name, &[url]).await;
        assert_eq!(ended.code, code, "{url}: {}", ended.log);
    }
}

#[tokio::test]
async fn nothing_but_a_probe_is_run() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    for (index, arguments) in [
        &["-K", "/etc/passwd", BOARDS][..],
        &["-o", "/tmp/x", BOARDS],
        &["-o/tmp/x", BOARDS],
        &["-T", "/etc/passwd", BOARDS],
        &["-d", "@/etc/passwd", BOARDS],
        &["-H", "@/etc/passwd", BOARDS],
        &["-w", "@/etc/passwd", BOARDS],
        &["-w", "%output{/tmp/x}hello", BOARDS],
        &["-x", "http://127.0.0.1:1", BOARDS],
        &["--unix-socket", "/run/x", BOARDS],
        &["--output=/tmp/x", BOARDS],
        &["file:///etc/passwd"],
        &["http://127.0.0.1:22/"],
        &["--connect-to", "::127.0.0.1:22", BOARDS],
        &["--connect-to", "::example.org:80", BOARDS],
        &["-q"],
    ]
    .into_iter()
    .enumerate()
    {
        let ended = run(&client, &pod(&format!("refused-{index}"), arguments)).await;
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.log);
        assert!(ended.log.starts_with("sandbox: "), "{}", ended.log);
    }
    let mut shell = pod("shell", &["-c", "id"]);
    shell.spec.as_mut().unwrap().containers[0].command = Some(vec!["sh".into()]);
    assert_eq!(run(&client, &shell).await.code, 2);
}

#[tokio::test]
async fn a_log_can_be_followed_while_curl_runs_and_deletion_ends_it() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let endless = pod(
        "endless",
        &[
            "-sS",
            "--rate",
            "20/s",
            "-o",
            "/dev/null",
            "-w",
            "%{stderr}MARK %{http_code}\n",
            "http://boards:8080/x#[1-10000]",
        ],
    );
    pods.create(&PostParams::default(), &endless).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let params = LogParams { follow: true, ..LogParams::default() };
    let mut log = pods.log_stream("endless", &params).await.unwrap();
    let mut seen = vec![0; 64];
    log.read_exact(&mut seen).await.unwrap();
    assert!(seen.starts_with(b"MARK 200\nMARK 200\n"));

    let gone = pods.delete("endless", &DeleteParams::default()).await.unwrap();
    assert!(gone.left().unwrap().metadata.deletion_timestamp.is_some());
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), log.read_to_end(&mut rest)).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(5), async {
        while pods.get_opt("endless").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_deadline_ends_a_pod() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let mut slow = pod("slow", &["-sS", "--rate", "1/s", "-o", "/dev/null", "http://boards:8080/x#[1-100]"]);
    slow.spec.as_mut().unwrap().active_deadline_seconds = Some(1);
    let created = pods.create(&PostParams::default(), &slow).await.unwrap();
    let params = kube::api::WatchParams::default().fields("metadata.name=slow");
    let mut events = Box::pin(pods.watch(&params, &created.metadata.resource_version.unwrap()).await.unwrap());
    let ended = async {
        while let Some(kube::api::WatchEvent::Modified(pod)) = events.try_next().await.unwrap() {
            let status = pod.status.unwrap();
            if status.phase.as_deref() == Some("Failed") {
                return status.reason;
            }
        }
        None
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap().as_deref(), Some("DeadlineExceeded"));
}

#[tokio::test]
async fn a_pod_is_injected_unless_its_labels_exclude_it() {
    let sandbox = Sandbox::start(State::Strict).await.unwrap();
    let client = sandbox.client();
    let mut control = pod("control", &["-sS", "-o", "/dev/null", "-w", "%{http_code}", BOARDS]);
    control.metadata.labels = None;
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let admitted = pods.create(&dry, &control).await.unwrap();
    assert_eq!(admitted.spec.unwrap().init_containers.unwrap()[0].name, "istio-proxy");
    let ended = run(&client, &control).await;
    assert_eq!((ended.code, ended.log.as_str()), (0, "200"));
}

#[tokio::test]
async fn containers_of_one_pod_have_logs_and_ends_of_their_own() {
    let sandbox = Sandbox::start(State::Strict).await.unwrap();
    let client = sandbox.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    let format = "%{exitcode}";
    let mut two = pod("two", &["-s", "-o", "/dev/null", "-w", format, "http://boards:8080/"]);
    let containers = &mut two.spec.as_mut().unwrap().containers;
    let mut other = containers[0].clone();
    other.name = "other".into();
    other.args = Some(["-s", "-w", format, "http://nowhere:8080/"].map(str::to_owned).to_vec());
    containers.push(other);
    let ended = run_named(&client, &two, "probe").await;
    assert_eq!((ended.code, ended.log.as_str()), (56, "56"));
    let ended = run_named(&client, &two, "other").await;
    assert_eq!((ended.code, ended.log.as_str()), (6, "6"));
    assert_eq!(ended.phases.last().map(String::as_str), Some("Failed"));

    pods.create(&PostParams::default(), &two).await.unwrap();
    let error = pods.logs("two", &LogParams::default()).await.unwrap_err();
    assert_eq!(status(&error).2, "a container name must be specified for pod two, choose one of: [probe other]");
}

#[tokio::test]
async fn logs_are_limited_and_of_known_containers() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let client = sandbox.client();
    let pods: Api<Pod> = Api::namespaced(client.clone(), DEMO);
    pods.create(&PostParams::default(), &pod("p", &["-sS", "http://boards:8080/shareditems"])).await.unwrap();
    while pods.get("p").await.unwrap().status.and_then(|status| status.phase).as_deref() != Some("Succeeded") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = pods.logs("p", &LogParams { limit_bytes: Some(1), ..LogParams::default() }).await.unwrap();
    assert_eq!(log, "[");
    let log = pods.logs("p", &LogParams { tail_lines: Some(1), ..LogParams::default() }).await.unwrap();
    assert_eq!(log, "]\n");
    let wrong = LogParams { container: Some("x".into()), ..LogParams::default() };
    assert_eq!(status(&pods.logs("p", &wrong).await.unwrap_err()).2, "container x is not valid for pod p");
    let gone = pods.delete("p", &DeleteParams::default()).await.unwrap();
    assert!(serde_json::to_value(gone.left().unwrap()).unwrap()["status"]["phase"] == json!("Succeeded"));
    assert!(pods.get_opt("p").await.unwrap().is_none());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_dropped_sandbox_leaves_no_curl_behind() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let marker = "left-behind-by-the-sandbox";
    let url = format!("http://boards:8080/{marker}#[1-10000]");
    let endless = pod("endless", &["-sS", "--rate", "5/s", "-o", "/dev/null", &url]);
    let pods: Api<Pod> = Api::namespaced(sandbox.client(), DEMO);
    pods.create(&PostParams::default(), &endless).await.unwrap();
    let running = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| std::fs::read_to_string(process.path().join("cmdline")).ok());
        lines.filter(|line| line.contains(marker)).count()
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(running(), 1);
    drop(sandbox);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running(), 0);
}

#[tokio::test]
async fn a_whole_probe_runs_in_one_pod() {
    let sandbox = Sandbox::start(State::Strict).await.unwrap();
    let format = "%{stderr}\nMARKER %{json}\n";
    let host = "boards.microservices-demo.svc.cluster.local:8080";
    let common = [
        "-q",
        "-v",
        "-sS",
        "--noproxy",
        "*",
        "-A",
        "secure-traffic-probe/0.1.0",
        "-H",
        "Connection: close",
        "-w",
        format,
    ];
    let plain = format!("http://{host}/shareditems#[1-3]");
    let hello = format!("https://{host}/");
    let body = format!("http://{host}/shareditems");
    let to = ["--connect-to", "::10.244.0.3:8080"];
    let times = ["--connect-timeout", "2", "--max-time", "2"];
    let arguments = [
        &common[..],
        &times,
        &["-o", "/dev/null"],
        &to,
        &[&plain, "--next"],
        &common,
        &times,
        &["-k", "--http1.1", "--no-alpn", "-o", "/dev/null"],
        &to,
        &[&hello, "--next"],
        &common,
        &times,
        &["-o", "/dev/termination-log", "--limit-rate", "4096"],
        &to,
        &[&body],
    ]
    .concat();
    let ended = run(&sandbox.client(), &pod("probe", &arguments)).await;
    let records: Vec<serde_json::Value> = ended
        .log
        .lines()
        .filter_map(|line| line.strip_prefix("MARKER "))
        .map(|record| serde_json::from_str(record).unwrap())
        .collect();
    let codes: Vec<_> = records.iter().map(|record| record["exitcode"].as_u64().unwrap()).collect();
    assert_eq!((codes.len(), &codes[..3], codes[4]), (5, &[56, 56, 56][..], 56), "{}", ended.log);
    assert!(codes[3] != 0 && records[3]["certs"].to_string().contains("sa/boards"), "{}", records[3]);
}

#[tokio::test]
async fn a_sidecar_logs_the_calls_that_arrive_with_their_callers() {
    let sandbox = Sandbox::start(State::Permissive).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(sandbox.client(), DEMO);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let boards = pods.list(&ListParams::default().labels("app=boards")).await.unwrap().items.remove(0);
    let name = boards.metadata.name.unwrap();
    let proxy = LogParams { container: Some("istio-proxy".to_owned()), ..LogParams::default() };
    let log = pods.logs(&name, &proxy).await.unwrap();
    let ends = |end: &str| log.lines().any(|line| line.ends_with(end));
    // The client without a sidecar, and the load client under mutual TLS.
    let meshed = " outbound_.8080_._.boards.microservices-demo.svc.cluster.local default";
    assert!(ends(" - default") && ends(meshed), "{log}");
    assert!(log.lines().all(|line| line.starts_with('[')), "{log}");
    #[cfg(target_os = "linux")]
    assert!(log.lines().any(|line| line.contains(" 10.244.2.1:") && line.ends_with(" - default")), "{log}");

    let stamped = pods.logs(&name, &LogParams { timestamps: true, ..proxy.clone() }).await.unwrap();
    let first = stamped.lines().next().unwrap().split(' ').next().unwrap();
    let first: jiff::Timestamp = first.parse().unwrap();
    let later = LogParams { since_time: Some(first + jiff::SignedDuration::from_hours(1)), ..proxy };
    assert_eq!(pods.logs(&name, &later).await.unwrap(), "");
}
