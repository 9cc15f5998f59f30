//! A client in the mesh, beside the probe outside of it.

use crate::helpers::{Stage, run, shows};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::json;

/// A rule that makes clients in the mesh send plaintext.
fn disable_for_clients(stage: &Stage, service: &str) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule"));
    let _inside = stage.runtime.enter();
    let rules: Api<DynamicObject> = Api::namespaced_with(stage.sandbox.client(), "microservices-demo", &resource);
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": service},
        "spec": {
            "host": format!("{service}.microservices-demo.svc.cluster.local"),
            "trafficPolicy": {"tls": {"mode": "DISABLE"}},
        },
    });
    let params = PatchParams::apply("somebody").force();
    stage.runtime.block_on(rules.patch(service, &params, &Patch::Apply(&rule))).unwrap();
    // Longer than the sandbox takes until the rule is in force.
    std::thread::sleep(std::time::Duration::from_millis(600));
}

#[test]
fn a_mesh_client_succeeds() {
    shows!(run("probe --sandbox=strict --control boards"), @r#"
    exit 0
    --- stdout
    boards:8080  rejected
      seen       reset by the mesh 3/3
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
      control    a client in the mesh gets through: HTTP 200
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn a_failing_mesh_client_makes_a_rejection_inconclusive() {
    let stage = Stage::new(State::Strict, &[]);
    disable_for_clients(&stage, "boards");
    shows!(stage.run("probe --control --expect rejected boards"), @r#"
    exit 3
    --- stdout
    boards:8080  inconclusive (control-failed)
      seen       plaintext is refused, but a client in the mesh does not get through: its sidecar answers HTTP 503: the application is not reached
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
      control    a client in the mesh does not get through: its sidecar answers HTTP 503: the application is not reached
      remedy     see that the application runs and which DestinationRule applies to its clients; plaintext is refused, but so is the mesh
    --- stderr
    namespace microservices-demo
    not as expected: boards:8080 is inconclusive, expected rejected
    "#);
    assert_eq!(stage.run("probe --expect rejected boards").code, Some(0), "without the control nobody looks");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn a_silent_application_leaves_the_mesh_client_without_an_answer() {
    let stage = Stage::new(State::Strict, &[Lookalike::Silent]);
    let run = stage.run("probe --control --max-time 1s --attempts 1 -o json silent");
    assert_eq!(run.code, Some(0), "{run}");
    let control = &run.json()["namespaces"][0]["results"][0]["control"];
    assert!(control["gotThrough"].is_null() && control["message"].is_string(), "{run}");
}

/// What `status` says of every port.
fn ports(stage: &Stage) -> serde_json::Value {
    let ports = stage.run("status -o json").json()["namespaces"][0]["results"].clone();
    assert_eq!(ports.as_array().map(Vec::len), Some(5));
    ports
}

#[test]
fn a_switch_that_breaks_calls_is_rolled_back() {
    let stage = Stage::new(State::Permissive, &[]);
    disable_for_clients(&stage, "boards");
    let before = ports(&stage);
    let run = stage.run("enable-mtls --yes --settle 0 --force --destination-rules=never");
    assert_eq!(run.code, Some(1), "{run}");
    let words = [
        "in-mesh calls succeeded before the change and now fail: boards:8080 (its sidecar answers HTTP 503: \
         the application is not reached)",
        "rolled back: everything is as it was before",
        "in-mesh calls succeed again",
    ];
    for words in words {
        assert!(run.stderr.contains(words), "{words}: {run}");
    }
    assert_eq!(ports(&stage), before);
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn a_switch_that_breaks_calls_stays_without_rollback() {
    let stage = Stage::new(State::Permissive, &[]);
    disable_for_clients(&stage, "boards");
    let before = ports(&stage);
    let run = stage.run("enable-mtls --yes --settle 0 --force --destination-rules=never --rollback-on-failure=false");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("and now fail: boards:8080") && !run.stderr.contains("rolling back"), "{run}");
    assert!(run.stderr.contains("--restore` puts back what was there"), "{run}");
    assert_ne!(ports(&stage), before);
}

#[test]
fn disable_reports_lost_calls_without_rollback() {
    let stage = Stage::new(State::Strict, &[]);
    let run = stage.run("disable-mtls --yes --settle 0 --mode=disable --destination-rules=never --force");
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("in-mesh calls succeeded before") && !run.stderr.contains("rolling back"), "{run}");
}

#[test]
fn a_repaired_rule_is_reported_by_the_mesh_client() {
    let stage = Stage::new(State::Strict, &[]);
    disable_for_clients(&stage, "boards");
    let run = stage.run("enable-mtls --yes --settle 500ms --force-conflicts");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("warning: in the mesh, boards:8080 is not reachable, before any change"), "{run}");
    assert!(run.stderr.contains("in the mesh, boards:8080 is reachable now, and was not before"), "{run}");
}

#[test]
fn a_refused_mesh_client_is_a_warning() {
    let stage = Stage::new(State::Permissive, &[]);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = {
        let _inside = stage.runtime.enter();
        Api::all(stage.sandbox.client())
    };
    let patch = json!({"metadata": {"labels": {"istio-injection": "disabled"}}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    stage.runtime.block_on(namespaces.patch("microservices-demo", &params, &patch)).unwrap();
    let run = stage.run("enable-mtls --yes --settle 0 --force");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("warning: no client in the mesh could be started"), "{run}");
    assert!(run.stderr.contains("in-mesh calls are not watched"), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}
