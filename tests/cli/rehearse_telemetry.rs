//! `rehearse` where the sidecars write no access log: the Telemetry object of a run, and what becomes of it.

use crate::helpers::{Stage, signal};
use crate::signals::{end, start};
use crate::slow_link::object_names;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use secure_traffic::sandbox::State;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const CLIENT: &str = "legacy-client (outside/Deployment)";

fn api(stage: &Stage, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let _inside = stage.runtime.enter();
    Api::namespaced_with(stage.sandbox.client(), namespace, &resource)
}

fn telemetries(stage: &Stage) -> Api<DynamicObject> {
    api(stage, stage.sandbox.namespace(), "telemetry.istio.io", "Telemetry")
}

/// A sandbox whose sidecars write no access log, and end older connections after a second.
fn without_log() -> Stage {
    let stage = Stage::new(State::Permissive, &[]);
    let settings = "defaultConfig:\n  drainDuration: 1s\nrootNamespace: istio-system\ntrustDomain: cluster.local";
    let patch = Patch::Merge(json!({"data": {"mesh": settings}}));
    let maps = api(&stage, "istio-system", "", "ConfigMap");
    stage.runtime.block_on(maps.patch("istio", &PatchParams::default(), &patch)).unwrap();
    stage
}

fn create(stage: &Stage, name: &str, labels: &Value, spec: &Value) {
    let object = json!({
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": name, "labels": labels}, "spec": spec,
    });
    let object = serde_json::from_value(object).unwrap();
    stage.runtime.block_on(telemetries(stage).create(&PostParams::default(), &object)).unwrap();
}

fn names(stage: &Stage) -> Vec<String> {
    let list = stage.runtime.block_on(telemetries(stage).list(&ListParams::default())).unwrap();
    list.items.into_iter().filter_map(|object| object.metadata.name).collect()
}

fn until_written(stage: &Stage) {
    let start = Instant::now();
    while names(stage).is_empty() {
        assert!(start.elapsed() < Duration::from_mins(2), "no Telemetry object was written");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_telemetry_object_switches_the_log_on_and_is_removed() {
    let stage = without_log();
    let before = object_names(&stage);
    let run = stage.run("rehearse boards userprofile --yes --for 5s -o json");
    assert_eq!(run.code, Some(1), "{run}");
    let report = run.json();
    crate::helpers::assert_keeps_to_schema(&report);
    assert_eq!(report["namespaces"][0]["instrument"], "telemetry", "{report:#}");
    let (boards, userprofile) = (&report["namespaces"][0]["results"][0], &report["namespaces"][0]["results"][1]);
    assert_eq!((&boards["name"], &boards["reason"]), (&json!("boards:8080"), &Value::Null), "{report:#}");
    let callers: Vec<&Value> = boards["callers"].as_array().unwrap().iter().map(|caller| &caller["name"]).collect();
    assert_eq!(callers, [CLIENT], "{report:#}");
    assert_eq!((&userprofile["result"], &userprofile["calls"]), (&json!("nobody"), &json!(0)), "{report:#}");
    for words in ["secure-traffic-rehearsal created\n", "secure-traffic-rehearsal deleted\n"] {
        assert!(run.stderr.contains(words), "{run}");
    }
    assert_eq!((object_names(&stage), names(&stage)), (before, Vec::new()), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn without_consent_nothing_is_written() {
    let stage = without_log();
    let before = object_names(&stage);
    let asked = stage.run("rehearse userprofile --for 5s");
    assert_eq!(asked.code, Some(2), "{asked}");
    assert!(
        asked.stderr.contains("each end every open connection to 1 TCP port, mutual TLS included, within"),
        "{asked}"
    );
    assert!(asked.stderr.contains("hint: pass --yes to write it, or --read-only to rehearse without it"), "{asked}");
    let never = stage.run("rehearse userprofile --for 5s --read-only");
    assert_eq!(never.code, Some(3), "{never}");
    assert!(never.stdout.contains("note: --read-only forbids to write a Telemetry object\n"), "{never}");
    assert_eq!((object_names(&stage), names(&stage)), (before, Vec::new()));
}

#[test]
fn an_object_of_somebody_else_is_named_and_none_is_written_beside_it() {
    let stage = without_log();
    create(&stage, "tracing", &json!({}), &json!({"tracing": [{"randomSamplingPercentage": 1}]}));
    let run = stage.run("rehearse userprofile --for 5s --yes");
    assert_eq!(run.code, Some(3), "{run}");
    let reason =
        "note: no Telemetry object is written: telemetry microservices-demo/tracing applies to the whole namespace";
    assert!(run.stdout.contains(reason), "{run}");
    assert_eq!(names(&stage), ["tracing"]);
}

#[test]
fn a_signal_removes_the_object_and_a_switch_meanwhile_names_the_rehearsal() {
    let stage = without_log();
    let before = object_names(&stage);
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let rehearsal = start(stage.command(), "rehearse userprofile --for 1h --yes");
        until_written(&stage);
        if name == "TERM" {
            let switch = stage.run("enable-mtls --yes");
            assert_eq!(switch.code, Some(4), "{switch}");
            assert!(switch.stderr.contains(", rehearse, run "), "{switch}");
            let second = stage.run("rehearse userprofile --for 5s --yes");
            assert_eq!(second.code, Some(4), "{second}");
            assert!(second.stderr.contains(", rehearse, run "), "{second}");
        }
        signal(rehearsal.id(), name);
        let run = end(rehearsal);
        assert_eq!(run.code, Some(code), "{run}");
        assert!(run.stderr.contains("secure-traffic-rehearsal deleted\n"), "{run}");
        assert_eq!((object_names(&stage), names(&stage)), (before.clone(), Vec::new()), "{run}");
        assert_eq!(stage.probe_pods(), [""; 0]);
    }
}

#[test]
fn what_a_killed_rehearsal_leaves_is_removed_by_cleanup() {
    let stage = without_log();
    let before = object_names(&stage);
    let rehearsal = start(stage.command(), "rehearse userprofile --for 1h --yes");
    until_written(&stage);
    signal(rehearsal.id(), "KILL");
    end(rehearsal);
    assert_eq!(names(&stage), ["secure-traffic-rehearsal"]);
    let status = stage.run("status");
    assert!(status.stderr.contains("remove it with `secure-traffic cleanup -n microservices-demo`"), "{status}");
    let cleanup = stage.run("cleanup");
    assert_eq!(cleanup.code, Some(0), "{cleanup}");
    assert!(cleanup.stdout.contains("telemetry.telemetry.istio.io/secure-traffic-rehearsal deleted\n"), "{cleanup}");
    assert_eq!((object_names(&stage), names(&stage)), (before, Vec::new()));
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn the_next_switch_removes_what_a_killed_rehearsal_left() {
    let stage = Stage::new(State::Permissive, &[]);
    let labels = json!({
        "app.kubernetes.io/managed-by": "secure-traffic", "app.kubernetes.io/component": "rehearsal",
        "app.kubernetes.io/instance": "bcdfg",
    });
    let spec = json!({"accessLogging": [{"filter": {"expression": "!connection.mtls"}}]});
    create(&stage, "secure-traffic-rehearsal", &labels, &spec);
    create(&stage, "other", &json!({}), &spec);
    let probe = stage.run("probe boards");
    assert!(probe.stderr.contains("secure-traffic-rehearsal of a rehearsal (run bcdfg) is in namespace"), "{probe}");
    let switch = stage.run("enable-mtls --yes --verify=false");
    assert_eq!(switch.code, Some(0), "{switch}");
    assert!(switch.stderr.contains("is deleted: a rehearsal that was interrupted left it"), "{switch}");
    assert_eq!(names(&stage), ["other"]);
}
