//! A namespace that becomes STRICT in small steps, and goes back.

use crate::load::{during, lost};
use crate::namespace::{Stage, with_namespace};
use crate::restore::content;
use crate::workload::{Workload, service};
use std::time::Duration;

/// Clients in the mesh of `web` and `api`, and one outside of `legacy`.
const CLIENTS: [&str; 3] = ["calls-web", "calls-api", "calls-legacy"];

async fn set_up(stage: &Stage) {
    for name in ["web", "api", "legacy"] {
        service(stage, name, name, ("http", 8080, 8080)).await;
        let tier = if name == "legacy" { "back" } else { "front" };
        Workload::new(name, &["-http", ":8080"]).label("tier", tier).start(stage).await;
    }
    stage.ready().await;
    Workload::load("calls-web", "http://web:8080/", true).start(stage).await;
    Workload::load("calls-api", "http://api:8080/", false).start(stage).await;
    Workload::load("calls-legacy", "http://legacy:8080/", true).outside().start(stage).await;
    stage.ready().await;
}

/// The names of the policies with a selector.
async fn selecting(stage: &Stage) -> Vec<String> {
    let policies = stage.policies().list(&kube::api::ListParams::default()).await.unwrap();
    let with_selector = policies.iter().filter(|policy| policy.data["spec"].get("selector").is_some());
    with_selector.filter_map(|policy| policy.metadata.name.clone()).collect()
}

#[expect(clippy::print_stderr, reason = "the numbers are a result")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_becomes_strict_in_steps_and_goes_back_without_a_lost_call() {
    with_namespace(async |stage| {
        set_up(stage).await;
        let before = content(stage).await;
        let counts = during(stage, &CLIENTS, async {
            let run = stage.tool.run(&["enable-mtls", "--yes", "--workload", "app=web"]).await.expect_code(0);
            run.shows("+ peerauthentication/strict-web")
                .shows("in force after")
                .shows("1 target: 1 rejected, 0 accepted, 0 inconclusive");
            stage.tool.run(&["probe", "api", "--expect", "accepted"]).await.expect_code(0);

            let run = stage.tool.run(&["enable-mtls", "--yes", "--workload", "tier=front"]).await.expect_code(0);
            run.shows("+ peerauthentication/strict-front")
                .shows("- peerauthentication/strict-web")
                .shows("2 targets: 2 rejected");
            assert_eq!(selecting(stage).await, ["strict-front"]);

            let run = stage.tool.run(&["enable-mtls", "--yes", "--except", "legacy:8080"]).await.expect_code(0);
            run.shows("legacy-exception created").shows("strict-front deleted");
            run.shows("accepted, as its policy says: legacy:8080");
            assert_eq!(selecting(stage).await, ["legacy-exception"]);

            stage.tool.run(&["disable-mtls", "--yes", "--restore"]).await.expect_code(0);
            tokio::time::sleep(Duration::from_secs(2)).await;
        })
        .await;
        eprintln!("three steps and back: {counts:?}");
        assert_eq!(content(stage).await, before);
        assert!(counts.iter().all(|(through, ..)| *through > 100), "no load: {counts:?}");
        assert_eq!(lost(&counts), 0, "{counts:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_step_can_be_undone_alone() {
    with_namespace(async |stage| {
        set_up(stage).await;
        stage.tool.run(&["enable-mtls", "--yes", "--workload", "app=web"]).await.expect_code(0);
        let first_step = specs(stage).await;
        let run = stage.tool.run(&["enable-mtls", "--yes", "--workload", "tier=front"]).await.expect_code(0);
        run.shows("strict-web deleted");
        let journals = stage.tool.run(&["disable-mtls", "--yes", "--restore=none"]).await.expect_code(2);
        let run = newest_run(&journals.stderr);
        let run = stage.tool.run(&["disable-mtls", "--yes", &format!("--restore={run}")]).await.expect_code(0);
        run.shows("strict-web restored").shows("strict-front deleted");
        assert_eq!(specs(stage).await, first_step);
        stage.tool.run(&["probe", "web", "--expect", "rejected"]).await.expect_code(0);
        stage.tool.run(&["probe", "api", "--expect", "accepted"]).await.expect_code(0);
    })
    .await;
}

/// Name and spec of every policy and rule. The UID of a policy that was deleted and restored is another one.
async fn specs(stage: &Stage) -> Vec<String> {
    let mut lines = Vec::new();
    for api in [stage.policies(), stage.rules()] {
        for object in api.list(&kube::api::ListParams::default()).await.unwrap() {
            lines.push(format!("{:?} {}", object.metadata.name, object.data["spec"]));
        }
    }
    lines
}

/// The identifier of the newest run, from the list that names them: `there are: abcde (enable-mtls by …); fghij (…)`.
fn newest_run(text: &str) -> String {
    let runs = text.split_once("there are: ").unwrap().1;
    let newest = runs.split("; ").last().unwrap();
    newest.split(' ').next().unwrap().to_owned()
}
