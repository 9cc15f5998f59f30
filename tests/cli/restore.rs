//! Going back: `disable-mtls --restore`, roll-backs, and two runs at once.

use crate::helpers::{Stage, shows, signal};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const POLICY: (&str, &str, &str) = ("security.istio.io", "v1", "PeerAuthentication");
const LEGACY: (&str, &str, &str) = ("authentication.istio.io", "v1alpha1", "Policy");
const RULE: (&str, &str, &str) = ("networking.istio.io", "v1alpha3", "DestinationRule");
const LEASE: (&str, &str, &str) = ("coordination.k8s.io", "v1", "Lease");
const MAP: (&str, &str, &str) = ("", "v1", "ConfigMap");

/// What the tests do to a cluster besides running the tool.
impl Stage {
    fn objects(&self, (group, version, kind): (&str, &str, &str)) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(group, version, kind);
        let mut resource = ApiResource::from_gvk(&kind);
        if kind.kind == "Policy" {
            "policies".clone_into(&mut resource.plural);
        }
        let _inside = self.runtime.enter();
        Api::default_namespaced_with(self.sandbox.client(), &resource)
    }

    fn make(&self, kind: (&str, &str, &str), name: &str, annotations: &Value, spec: &Value) {
        let object = serde_json::from_value(json!({
            "apiVersion": format!("{}/{}", kind.0, kind.1), "kind": kind.2,
            "metadata": {"name": name, "annotations": annotations}, "spec": spec,
        }));
        let params = PostParams { field_manager: Some("kubectl-client-side-apply".into()), ..PostParams::default() };
        self.runtime.block_on(self.objects(kind).create(&params, &object.unwrap())).unwrap();
    }

    /// Creates an object and returns the UID that the server gives it.
    fn create_object(&self, object: &Value) -> String {
        let (group, version) =
            object["apiVersion"].as_str().map(|text| text.split_once('/').unwrap_or(("", text))).unwrap();
        let api = self.objects((group, version, object["kind"].as_str().unwrap()));
        let object = serde_json::from_value(object.clone()).unwrap();
        let created = self.runtime.block_on(api.create(&PostParams::default(), &object)).unwrap();
        created.metadata.uid.unwrap()
    }

    fn change(&self, kind: (&str, &str, &str), name: &str, patch: &Value) {
        let patch = Patch::Merge(patch);
        self.runtime.block_on(self.objects(kind).patch(name, &PatchParams::default(), &patch)).unwrap();
    }

    fn names(&self, kind: (&str, &str, &str)) -> Vec<String> {
        let list = self.runtime.block_on(self.objects(kind).list(&ListParams::default())).unwrap();
        list.items.into_iter().filter_map(|object| object.metadata.name).collect()
    }

    fn journals(&self) -> Vec<String> {
        self.names(MAP).into_iter().filter(|name| name.starts_with("secure-traffic-journal-")).collect()
    }

    /// Name, spec, labels and annotations of every object of these kinds, as canonical JSON.
    fn content(&self, kinds: &[(&str, &str, &str)]) -> String {
        let mut text = String::new();
        for kind in kinds {
            let list = self.runtime.block_on(self.objects(*kind).list(&ListParams::default())).unwrap();
            for object in list.items {
                let metadata = json!([object.metadata.name, object.metadata.labels, object.metadata.annotations]);
                text += &(metadata.to_string() + &object.data["spec"].to_string() + "\n");
            }
        }
        text
    }

    fn start(&self, arguments: &str) -> Child {
        let mut command = self.command();
        command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Rules and a policy as people write them.
    fn populate(&self) {
        self.make(POLICY, "of-the-house", &json!({"team": "shop"}), &json!({"mtls": {"mode": "PERMISSIVE"}}));
        let spec = json!({
            "host": "boards",
            "trafficPolicy": {
                "tls": {"mode": "DISABLE"},
                "connectionPool": {"tcp": {"maxConnections": 7}},
                "outlierDetection": {"consecutive5xxErrors": 3},
                "portLevelSettings": [{"port": {"number": 8080}, "tls": {"mode": "DISABLE"}}, {"port": {"number": 9}, "loadBalancer": {"simple": "RANDOM"}}],
            },
            "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"tls": {"mode": "DISABLE"}}}],
        });
        self.make(RULE, "ours", &json!({"kubectl.kubernetes.io/last-applied-configuration": "{}"}), &spec);
    }
}

/// What release 0.1.0 left in a cluster: the objects `before` its `enable-mtls`, those `after`, and its `journal`.
const RELEASE_0_1_0: &str = include_str!("../fixtures/journal-0.1.0.json");

fn until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn history_lists_what_can_be_undone() {
    let stage = Stage::new(State::Permissive, &[]);
    let none = stage.run("history");
    assert_eq!((none.code, none.stderr.as_str()), (Some(0), ""), "{none}");
    assert_eq!(none.stdout, "no run can be undone in namespace microservices-demo: there is no journal\n");
    assert_eq!(stage.run("history -o name").stdout, "");
    assert_eq!(stage.run("enable-mtls --yes --verify=false").code, Some(0));
    let id = stage.run("history -o name").stdout.trim_end().to_owned();
    let undo = format!("secure-traffic disable-mtls -n microservices-demo --restore={id}");
    let text = stage.run("history").stdout;
    for line in [
        "1 run can be undone in namespace microservices-demo",
        "  created policy (STRICT): default",
        "  created 5 rules (ISTIO_MUTUAL): app-ui, boards, boards-mongodb,",
        &format!("  undo  {undo}"),
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
    }
    let json = stage.run("history -o json").json();
    assert_eq!((&json["kind"], &json["namespace"]), (&json!("HistoryReport"), &json!("microservices-demo")));
    let run = &json["runs"][0];
    assert_eq!((&run["run"], &run["state"], &run["undo"]), (&json!(id), &json!("done"), &json!(undo)));
    assert_eq!(run["objects"][0], json!({"kind": "policy", "name": "default", "change": "created", "to": "STRICT"}));
    assert_eq!(secure_traffic::istio::yaml::read_one(&stage.run("history -o yaml").stdout).unwrap(), json);
    let arguments = undo.strip_prefix("secure-traffic ").unwrap();
    assert_eq!(stage.run(&format!("{arguments} --yes --verify=false")).code, Some(0));
    assert!(stage.run("history").stdout.starts_with("no run can be undone"));
    let missing = stage.run("history -n no-such-namespace");
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(4), ""), "{missing}");
}

#[test]
fn a_journal_that_cannot_be_read_is_named_by_history() {
    let stage = Stage::new(State::Permissive, &[]);
    stage.create_object(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"run": "{}"},
        "metadata": {"name": "secure-traffic-journal-bcdfg-0", "labels": {
            "app.kubernetes.io/managed-by": "secure-traffic", "app.kubernetes.io/component": "journal",
            "app.kubernetes.io/instance": "bcdfg",
        }},
    }));
    let run = stage.run("history");
    assert_eq!(run.code, Some(4), "{run}");
    assert!(
        run.stderr.contains("the journal of run bcdfg cannot be read") && run.stderr.contains("kubectl delete"),
        "{run}"
    );
}

#[test]
fn restore_brings_back_the_former_objects_exactly() {
    let stage = Stage::new(State::Permissive, &[]);
    stage.populate();
    let before = stage.content(&[POLICY, RULE]);
    assert_eq!(stage.run("enable-mtls --yes --settle 0").code, Some(0));
    assert_ne!(stage.content(&[POLICY, RULE]), before);
    assert_eq!(stage.run("disable-mtls --restore --diff -q").code, Some(1));
    shows!(stage.run("disable-mtls --restore --yes"), @r"
    exit 0
    --- stdout
    peerauthentication.security.istio.io/of-the-house restored
    destinationrule.networking.istio.io/app-ui deleted
    destinationrule.networking.istio.io/boards-mongodb deleted
    destinationrule.networking.istio.io/context-scraper deleted
    destinationrule.networking.istio.io/ours restored
    destinationrule.networking.istio.io/userprofile deleted
    TARGET                 VERDICT    MODE         SEEN
    app-ui:8080            accepted   PERMISSIVE   HTTP 200
    boards:8080            accepted   PERMISSIVE   HTTP 200
    boards-mongodb:27017   accepted   PERMISSIVE   bytes came back, not HTTP
    context-scraper:9100   accepted   PERMISSIVE   HTTP 200
    userprofile:8080       accepted   PERMISSIVE   HTTP 200
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    changes in namespace microservices-demo:
      ~ peerauthentication/of-the-house  as before; PERMISSIVE then holds
      - destinationrule/app-ui           it did not exist before
      - destinationrule/boards-mongodb   it did not exist before
      - destinationrule/context-scraper  it did not exist before
      ~ destinationrule/ours             as before
      - destinationrule/userprofile      it did not exist before
    open connections to these ports end within 45 s (drain time), mutual TLS too
    ✓ policy in force after [seconds] s at 5 endpoints
    5 targets: 0 rejected, 5 accepted, 0 inconclusive ([seconds] s)
    in-mesh calls during the change: [all] succeeded, at 5 targets (the client's sidecar retries HTTP calls)
    everything is as it was before
    ");
    assert_eq!(stage.content(&[POLICY, RULE]), before);
    assert_eq!((stage.journals(), stage.names(LEASE)), (vec![], vec![]));
    shows!(stage.run("disable-mtls --restore --yes"), @r"
    exit 0
    --- stderr
    nothing to restore: no journal in namespace microservices-demo
    ");
}

#[test]
fn a_journal_of_release_0_1_0_is_restored() {
    let stage = Stage::new(State::Permissive, &[]);
    let release: Value = serde_json::from_str(RELEASE_0_1_0).unwrap();
    let mut journal = release["journal"].to_string();
    for object in release["after"].as_array().unwrap() {
        let uid = stage.create_object(object);
        // The API server gives each object a new UID.
        journal = journal.replace(object["metadata"]["uid"].as_str().unwrap(), &uid);
    }
    for config_map in serde_json::from_str::<Value>(&journal).unwrap().as_array().unwrap() {
        stage.create_object(config_map);
    }
    let run = stage.run("disable-mtls --restore --yes --verify=false");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("everything is as it was before"), "{run}");
    for (kind, expected) in [(POLICY, &["of-the-house"][..]), (RULE, &["ours"])] {
        assert_eq!(stage.names(kind), expected);
    }
    for before in release["before"].as_array().unwrap() {
        let kind = if before["kind"] == POLICY.2 { POLICY } else { RULE };
        let name = before["metadata"]["name"].as_str().unwrap();
        let object = stage.runtime.block_on(stage.objects(kind).get(name)).unwrap();
        assert_eq!(object.data["spec"], before["spec"], "{name}");
        assert_eq!(json!(object.metadata.annotations), before["metadata"]["annotations"], "{name}");
    }
    assert_eq!((stage.journals(), stage.names(LEASE)), (vec![], vec![]));
}

#[test]
fn restore_after_enable_and_disable_brings_back_the_first_state() {
    for (state, kinds) in [(State::Permissive, [POLICY, RULE]), (State::Legacy, [LEGACY, RULE])] {
        let stage = Stage::new(state, &[]);
        if state == State::Permissive {
            stage.populate();
        }
        let before = stage.content(&kinds);
        for command in ["enable-mtls", "disable-mtls", "disable-mtls --restore"] {
            let run = stage.run(&format!("{command} --yes --verify=false --settle 0"));
            assert_eq!(run.code, Some(0), "{run}");
        }
        assert_eq!(stage.content(&kinds), before);
        assert_eq!(stage.journals(), Vec::<String>::new());
    }
}

#[test]
fn a_new_session_begins_after_a_disable() {
    let stage = Stage::new(State::Permissive, &[]);
    stage.populate();
    for command in ["enable-mtls", "disable-mtls"] {
        let run = stage.run(&format!("{command} --yes --verify=false"));
        assert_eq!(run.code, Some(0), "{run}");
    }
    let between = stage.content(&[POLICY, RULE]);
    assert_eq!(stage.run("enable-mtls --yes --verify=false").code, Some(0));
    // The journals of the first two are history.
    let runs: std::collections::BTreeSet<String> =
        stage.journals().iter().map(|name| name.split('-').nth(3).unwrap().to_owned()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert_eq!(stage.run("disable-mtls --restore --yes --verify=false").code, Some(0));
    assert_eq!(stage.content(&[POLICY, RULE]), between);
}

#[test]
fn objects_changed_since_are_left_and_named() {
    let stage = Stage::new(State::Permissive, &[]);
    stage.populate();
    assert_eq!(stage.run("enable-mtls --yes --verify=false").code, Some(0));
    stage.change(RULE, "ours", &json!({"spec": {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 9}}}}}));
    stage.change(POLICY, "of-the-house", &json!({"metadata": {"labels": {"seen": "yes"}}}));
    stage.runtime.block_on(stage.objects(RULE).delete("app-ui", &kube::api::DeleteParams::default())).unwrap();
    stage.make(RULE, "app-ui", &json!({}), &json!({"host": "app-ui.microservices-demo.svc.cluster.local", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}));
    shows!(stage.run("disable-mtls --restore --yes --verify=false"), @r"
    exit 5
    --- stdout
    peerauthentication.security.istio.io/of-the-house restored
    destinationrule.networking.istio.io/app-ui unchanged
    destinationrule.networking.istio.io/boards-mongodb deleted
    destinationrule.networking.istio.io/context-scraper deleted
    destinationrule.networking.istio.io/ours unchanged
    destinationrule.networking.istio.io/userprofile deleted
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: policy of-the-house: its labels or annotations were changed since; they are left as they are
    warning: DestinationRule app-ui: somebody deleted it and made it anew; it is left as it is
    warning: DestinationRule ours: somebody changed it since; it is left as it is
    changes in namespace microservices-demo:
      ~ peerauthentication/of-the-house  as before; PERMISSIVE then holds
      - destinationrule/boards-mongodb   it did not exist before
      - destinationrule/context-scraper  it did not exist before
      - destinationrule/userprofile      it did not exist before
    open connections to these ports end within 45 s (drain time), mutual TLS too
    warning: not everything could be put back (see above); the journals are kept until the next enable-mtls, or until: kubectl delete configmap -l app.kubernetes.io/managed-by=secure-traffic,app.kubernetes.io/component=journal -n microservices-demo
    ");
    assert_eq!(stage.names(RULE), ["app-ui", "ours"]);
    assert!(!stage.journals().is_empty(), "kept, for what could not be put back");
    // The next story starts from what is there now.
    assert_eq!(stage.run("enable-mtls --yes --verify=false").code, Some(0));
    let run = stage.run("disable-mtls --restore --yes --verify=false");
    assert_eq!(run.code, Some(0), "{run}");
}

#[test]
fn the_second_of_two_runs_names_the_holder_of_the_lease() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    let mut first = stage.start("enable-mtls --yes --settle 0 --wait-timeout 30s");
    until("the first holds the Lease", || !stage.names(LEASE).is_empty());
    let second = stage.run("disable-mtls --yes --verify=false");
    assert_eq!(second.code, Some(4), "{second}");
    let pid = first.id();
    assert!(second.stderr.contains("another run works on namespace microservices-demo"), "{second}");
    assert!(
        second.stderr.contains(&format!("pid {pid}, run ")) && second.stderr.contains("kubectl delete lease"),
        "{second}"
    );
    signal(pid, "INT");
    assert_eq!(first.wait().unwrap().code(), Some(130));
    assert_eq!(stage.names(LEASE), Vec::<String>::new());
}

#[test]
fn an_abandoned_run_can_be_restored() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    stage.populate();
    let before = stage.content(&[POLICY, RULE]);
    let mut killed = stage.start("enable-mtls --yes --settle 0 --wait-timeout 30s");
    until("it has written", || stage.names(RULE).len() > 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!stage.journals().is_empty() && !stage.names(LEASE).is_empty());
    let run = stage.run("disable-mtls --restore --yes --verify=false");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("a run did not come to its end"), "{run}");
    assert_eq!(stage.content(&[POLICY, RULE]), before);
    assert_eq!((stage.journals(), stage.names(LEASE)), (vec![], vec![]));
}

#[test]
fn an_interrupted_run_is_rolled_back_on_request() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    stage.populate();
    let before = stage.content(&[POLICY, RULE]);
    let run = stage.start("enable-mtls --yes --settle 0 --wait-timeout 30s --rollback-on-failure");
    until("it has written", || stage.names(RULE).len() > 1);
    signal(run.id(), "TERM");
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(said.contains("rolled back: everything is as it was before"), "{said}");
    assert_eq!(stage.content(&[POLICY, RULE]), before);
    assert_eq!((stage.journals(), stage.names(LEASE)), (vec![], vec![]));
}

#[test]
fn more_former_rules_than_one_config_map_holds() {
    let stage = Stage::new(State::Permissive, &[]);
    for service in ["app-ui", "boards", "boards-mongodb", "userprofile"] {
        // 700 KB each, of letters that take several bytes.
        let subsets: Vec<Value> = (0..7)
            .map(|number| json!({"name": format!("v{number}"), "labels": {"note": "é€".repeat(20_000)}}))
            .collect();
        stage.make(RULE, service, &json!({}), &json!({"host": service, "subsets": subsets}));
    }
    let before = stage.content(&[POLICY, RULE]);
    assert_eq!(stage.run("enable-mtls --yes --verify=false").code, Some(0));
    assert!(stage.journals().len() > 4, "{:?}", stage.journals());
    for name in stage.journals() {
        let map = stage.runtime.block_on(stage.objects(MAP).get(&name)).unwrap();
        assert!(map.data["data"].to_string().len() < 1 << 20, "{name}");
    }
    assert_eq!(stage.run("disable-mtls --restore --yes --verify=false").code, Some(0));
    assert_eq!(stage.content(&[POLICY, RULE]), before);
}

#[test]
fn without_a_journal_nothing_is_kept_and_nothing_can_be_restored() {
    let stage = Stage::new(State::Permissive, &[]);
    assert_eq!(stage.run("enable-mtls --yes --verify=false --no-journal").code, Some(0));
    assert_eq!((stage.journals(), stage.names(LEASE)), (vec![], vec![]));
    let run = stage.run("disable-mtls --restore --yes");
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.contains("nothing to restore"), "{run}");
    assert_eq!(stage.run("enable-mtls --no-journal --rollback-on-failure").code, Some(2));
}
