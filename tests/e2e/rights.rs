//! The Roles that `rbac` prints are enough, and none of their rights is too much.

use crate::namespace::{Stage, policy, with_namespace};
use crate::tool::{LabRun, Tool};
use crate::workload::{Workload, service};
use futures::FutureExt;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// The objects of `rbac`, as they are in the cluster.
struct Granted {
    roles: Vec<(Api<DynamicObject>, String, Value)>,
    all: Vec<(Api<DynamicObject>, String)>,
    token: String,
}

impl Granted {
    async fn new(stage: &Stage, command: &str) -> Self {
        let list = stage.tool.run(&["rbac", command, "-o", "json"]).await.expect_code(0);
        let list: Value = serde_json::from_str(&list.stdout).unwrap();
        let mut granted = Self { roles: Vec::new(), all: Vec::new(), token: String::new() };
        for object in list["items"].as_array().unwrap() {
            let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap_or(("", "v1"));
            let kind = object["kind"].as_str().unwrap();
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let namespace = object["metadata"]["namespace"].as_str().unwrap();
            let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), namespace, &resource);
            let made: DynamicObject = serde_json::from_value(object.clone()).unwrap();
            let name = made.name_any();
            api.create(&PostParams::default(), &made).await.unwrap();
            if kind == "Role" {
                granted.roles.push((api.clone(), name.clone(), object["rules"].clone()));
            }
            if kind == "ServiceAccount" {
                let accounts: Api<ServiceAccount> = Api::namespaced(stage.client.clone(), namespace);
                let request = json!({"metadata": {}, "spec": {"audiences": [], "expirationSeconds": 1800}});
                let request: TokenRequest = serde_json::from_value(request).unwrap();
                let answer = accounts.create_token_request(&name, &PostParams::default(), &request).await.unwrap();
                granted.token = answer.status.unwrap().token;
            }
            granted.all.push((api, name));
        }
        granted
    }

    /// Every right by itself: which role, which rule, which verb, and a name for it.
    fn each(&self) -> Vec<(usize, usize, String, String)> {
        let mut each = Vec::new();
        for (role, (_, _, rules)) in self.roles.iter().enumerate() {
            for (index, rule) in rules.as_array().unwrap().iter().enumerate() {
                for verb in rule["verbs"].as_array().unwrap() {
                    let verb = verb.as_str().unwrap().to_owned();
                    each.push((
                        role,
                        index,
                        verb.clone(),
                        format!("{verb} {}", rule["resources"][0].as_str().unwrap()),
                    ));
                }
            }
        }
        each
    }

    async fn set(&self, role: usize, rules: &Value) {
        let (api, name, _) = &self.roles[role];
        api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"rules": rules}))).await.unwrap();
        // The authorizer watches roles; it is quick, but not at once.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    async fn without(&self, role: usize, index: usize, verb: &str) {
        let mut rules = self.roles[role].2.clone();
        let verbs: Vec<Value> =
            rules[index]["verbs"].as_array().unwrap().iter().filter(|own| *own != verb).cloned().collect();
        if verbs.is_empty() {
            rules.as_array_mut().unwrap().remove(index);
        } else {
            rules[index]["verbs"] = verbs.into();
        }
        self.set(role, &rules).await;
    }

    async fn restore(&self, role: usize) {
        self.set(role, &self.roles[role].2).await;
    }

    /// Not all of them are in the namespace of the test.
    async fn delete(&self) {
        for (api, name) in &self.all {
            let _ = api.delete(name, &DeleteParams::default()).await;
        }
    }
}

async fn run(tool: &Tool, token: &str, arguments: &[&str]) -> LabRun {
    tool.run(&[&["--token", token], arguments].concat()).await
}

/// A Service under a policy of its own, and one under the mesh's default.
async fn two_services(stage: &Stage) {
    for name in ["strict", "open"] {
        service(stage, name, name, ("http", 8080, 8080)).await;
        Workload::new(name, &["-http", ":8080"]).start(stage).await;
    }
    stage.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_needs_all_of_its_role_and_no_more() {
    with_namespace(async |stage| {
        two_services(stage).await;
        stage.apply_as("kubectl", &policy("strict", Some("strict"), "STRICT", json!({}))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let granted = Granted::new(stage, "probe").await;
        let body = async {
            let probe = ["probe", "--expect", "policy", "--attempts", "1"];
            run(&stage.tool, &granted.token, &probe).await.expect_code(0);
            for (role, index, verb, name) in granted.each() {
                granted.without(role, index, &verb).await;
                let run = run(&stage.tool, &granted.token, &probe).await;
                let is_told = run.stderr.contains("cannot be read");
                assert!(run.code != 0 || is_told, "without {name}: {run}");
                granted.restore(role).await;
                run_cleanup(stage).await;
            }
            run(&stage.tool, &granted.token, &probe).await.expect_code(0);
        };
        let outcome = AssertUnwindSafe(body).catch_unwind().await;
        granted.delete().await;
        outcome.unwrap();
    })
    .await;
}

async fn run_cleanup(stage: &Stage) {
    stage.tool.run(&["cleanup"]).await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_needs_all_of_its_role_and_no_more() {
    with_namespace(async |stage| {
        two_services(stage).await;
        let granted = Granted::new(stage, "enable-mtls").await;
        let body = async {
            let there_and_back = async || {
                let there = run(&stage.tool, &granted.token, &["enable-mtls", "--yes", "--attempts", "1"]).await;
                if there.code != 0 {
                    return there;
                }
                run(&stage.tool, &granted.token, &["disable-mtls", "--restore", "--yes", "--attempts", "1"]).await
            };
            there_and_back().await.expect_code(0);
            // What the probe needs is seen with the probe.
            let writes = ["peerauthentications", "destinationrules", "configmaps", "leases"];
            let of_switch = |name: &str| {
                let (verb, resource) = name.split_once(' ').unwrap();
                writes.contains(&resource) && (verb != "get" || resource == "leases") && verb != "list"
            };
            for (role, index, verb, name) in granted.each().into_iter().filter(|(.., name)| of_switch(name)) {
                granted.without(role, index, &verb).await;
                let run = there_and_back().await;
                assert_ne!(run.code, 0, "without {name}: {run}");
                assert!(run.stderr.contains(name.split_once(' ').unwrap().1), "without {name}: {run}");
                granted.restore(role).await;
                stage.tool.run(&["disable-mtls", "--restore", "--yes", "--verify=false"]).await;
                stage.delete_mesh_objects().await;
            }
        };
        let outcome = AssertUnwindSafe(body).catch_unwind().await;
        granted.delete().await;
        outcome.unwrap();
    })
    .await;
}
