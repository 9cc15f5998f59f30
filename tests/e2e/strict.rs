//! STRICT, however it came about, is called rejected, and an exception from it is not.

use crate::namespace::{denial, policy, with_namespace};
use crate::workload::{Workload, service, service_with};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_namespace_is_called_rejected_whatever_the_port_and_the_application() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        service(stage, "other-number", "app", ("http", 80, 8080)).await;
        service(stage, "raw", "app", ("tcp", 8087, 8087)).await;
        service(stage, "unnamed", "app", ("", 8088, 8088)).await;
        service_with(stage, "headless", "app", ("http", 8080, 8080), json!({"clusterIP": "None"})).await;
        service(stage, "dead-http", "app", ("http", 9001, 9001)).await;
        service(stage, "dead-tcp", "app", ("tcp", 9002, 9002)).await;
        service(stage, "silent", "app", ("tcp", 8084, 8084)).await;
        service(stage, "reset", "app", ("tcp", 8081, 8081)).await;
        service(stage, "banner", "app", ("tcp", 8083, 8083)).await;
        service(stage, "tls", "app", ("tcp", 8085, 8085)).await;
        stage.create(&denial(&["8089", "8090"])).await;
        service(stage, "denied-http", "app", ("http", 8089, 8089)).await;
        service(stage, "denied-tcp", "app", ("tcp", 8090, 8090)).await;
        let servers = [
            "-http", ":8080", "-reset", ":8081", "-banner", ":8083", "-silent", ":8084", "-tls", ":8085", "-echo",
            ":8087", "-http", ":8089", "-echo", ":8090", "-http", ":8088",
        ];
        Workload::new("app", &servers).start(stage).await;
        stage.ready().await;
        let report = stage.tool.probe(&["--expect", "rejected"]).await;
        let services = [
            "web",
            "other-number",
            "raw",
            "unnamed",
            "headless",
            "dead-http",
            "dead-tcp",
            "silent",
            "reset",
            "banner",
            "tls",
            "denied-http",
            "denied-tcp",
        ];
        for service in services {
            report.expect_rejected(&stage.name, service, "app");
        }
        assert_eq!(report.run.code, 0, "{report}");
        let decided = &report.result("web")["endpoints"][0]["policies"];
        assert_eq!(
            *decided,
            json!([{"level": "namespace", "namespace": stage.name, "name": "default", "mode": "STRICT"}])
        );
        stage.tool.run(&["probe", "web:8080", "--expect", "accepted"]).await.expect_code(1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn narrower_policies_are_reported_as_the_mesh_applies_them() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        // A workload that opens all, one that opens one port, one that says nothing, one that only closes a port.
        stage.create(&policy("open", Some("open"), "PERMISSIVE", json!({}))).await;
        stage.create(&policy("hole", Some("hole"), "STRICT", json!({"8080": {"mode": "PERMISSIVE"}}))).await;
        stage.create(&policy("unset", Some("unset"), "UNSET", json!({}))).await;
        stage.create(&policy("close", Some("close"), "PERMISSIVE", json!({"8088": {"mode": "STRICT"}}))).await;
        // A port that says nothing takes its workload's mode, and a selector that selects all is none.
        stage.create(&policy("port-unset", Some("port-unset"), "STRICT", json!({"8080": {"mode": "UNSET"}}))).await;
        // Of another revision: this mesh's proxies do not see it.
        let mut other = policy("other", Some("other"), "PERMISSIVE", json!({}));
        other["metadata"]["labels"] = json!({"istio.io/rev": "not-this-one"});
        stage.create(&other).await;
        for app in ["open", "hole", "unset", "close", "port-unset", "other"] {
            service(stage, &format!("{app}-a"), app, ("http", 80, 8080)).await;
            service(stage, &format!("{app}-b"), app, ("http", 80, 8088)).await;
            Workload::new(app, &["-http", ":8080", "-http", ":8088"]).start(stage).await;
        }
        stage.ready().await;
        let report = stage.tool.probe(&[]).await;
        report.expect(&[
            ("open-a", "accepted"),
            ("open-b", "accepted"),
            ("hole-a", "accepted"),
            ("hole-b", "rejected"),
            ("unset-a", "rejected"),
            ("unset-b", "rejected"),
            ("close-a", "accepted"),
            ("close-b", "rejected"),
            ("port-unset-a", "rejected"),
            ("port-unset-b", "rejected"),
            ("other-a", "rejected"),
            ("other-b", "rejected"),
        ]);
        report.expect_rejected(&stage.name, "hole-b", "hole");
        report.expect_rejected(&stage.name, "unset-a", "unset");
        report.expect_rejected(&stage.name, "close-b", "close");
        assert_eq!(report.run.code, 0, "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_policies_the_one_that_the_mesh_applies_is_reported() {
    with_namespace(async |stage| {
        stage.create(&policy("z-older", None, "STRICT", json!({}))).await;
        stage.create(&policy("z-older-open", Some("open"), "PERMISSIVE", json!({}))).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        stage.create(&policy("a-younger", None, "PERMISSIVE", json!({}))).await;
        stage.create(&policy("a-younger-open", Some("open"), "STRICT", json!({}))).await;
        // Until both of a pair were made within one second of the server's clock.
        for attempt in 0.. {
            assert!(attempt < 20, "no two policies of one second");
            stage.create(&policy("tie-b", Some("tie"), "STRICT", json!({}))).await;
            stage.create(&policy("tie-a", Some("tie"), "PERMISSIVE", json!({}))).await;
            let policies = stage.policies();
            let (a, b) = futures::try_join!(policies.get("tie-a"), policies.get("tie-b")).unwrap();
            if a.creation_timestamp() == b.creation_timestamp() {
                break;
            }
            for name in ["tie-a", "tie-b"] {
                policies.delete(name, &DeleteParams::default()).await.unwrap();
            }
        }
        for app in ["closed", "open", "tie"] {
            service(stage, app, app, ("http", 80, 8080)).await;
            Workload::new(app, &["-http", ":8080"]).start(stage).await;
        }
        stage.ready().await;
        let report = stage.tool.probe(&[]).await;
        report.expect(&[("closed", "rejected"), ("open", "accepted"), ("tie", "accepted")]);
        report.expect_rejected(&stage.name, "closed", "closed");
        assert_eq!(report.result("tie")["endpoints"][0]["mode"], "PERMISSIVE", "{report}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_its_policy_exempts_is_accepted_unless_every_port_must_reject() {
    with_namespace(async |stage| {
        stage.create(&policy("hole", Some("app"), "STRICT", json!({"8088": {"mode": "PERMISSIVE"}}))).await;
        service(stage, "closed", "app", ("http", 80, 8080)).await;
        service(stage, "hole", "app", ("http", 80, 8088)).await;
        Workload::new("app", &["-http", ":8080", "-http", ":8088"]).start(stage).await;
        stage.ready().await;
        let run = stage.tool.run(&["enable-mtls", "--yes", "--wait-timeout", "10s"]).await.expect_code(0);
        run.shows("accepted, as its policy says: hole:80").shows("2 targets: 1 rejected, 1 accepted, 0 inconclusive");
        let gate = ["enable-mtls", "--yes", "--wait-timeout", "10s", "--expect", "rejected"];
        let run = stage.tool.run(&gate).await.expect_code(1);
        run.shows("not as expected: hole:80 is accepted, expected rejected");
    })
    .await;
}

/// The policy is written while the probe is at work: whatever it says must be what its samples say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_during_a_switch_reports_only_its_samples() {
    with_namespace(async |stage| {
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.set_mode("PERMISSIVE").await;
        stage.ready().await;
        for (round, delay) in [0, 300, 600, 900, 1200, 1500].into_iter().enumerate() {
            let (mode, settled) = if round % 2 == 0 { ("STRICT", "rejected") } else { ("PERMISSIVE", "accepted") };
            let write = async {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                stage.set_mode(mode).await;
            };
            let (beside, ()) = tokio::join!(stage.tool.probe(&["--attempts", "20", "web:8080"]), write);
            crate::tool::assert_evidence(beside.result("web"));
            // Its pod alone takes longer to start than the mesh takes to follow.
            let after = stage.tool.probe(&["web:8080"]).await;
            after.expect(&[("web", settled)]);
            crate::tool::assert_evidence(after.result("web"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_can_run_in_another_namespace() {
    with_namespace(async |stage| {
        stage.set_mode("STRICT").await;
        service(stage, "web", "app", ("http", 8080, 8080)).await;
        Workload::new("app", &["-http", ":8080"]).start(stage).await;
        stage.ready().await;
        // A quota that admits no pod at all would refuse a probe among its targets.
        let none = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"},
            "spec": {"hard": {"pods": "1"}},
        });
        stage.create(&none).await;
        let report = stage.tool.probe(&["--from-namespace", "default", "web:8080"]).await;
        report.expect_rejected(&stage.name, "web", "app");
        assert_eq!(report.json["namespaces"][0]["probeNamespace"], "default");
        assert_eq!(stage.probe_pods().await, Vec::<String>::new());
    })
    .await;
}
