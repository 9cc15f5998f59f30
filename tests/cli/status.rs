//! `status`: what holds, why, what clients send, and who breaks.

use crate::helpers::{Stage, run, shows};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::{Value, json};

/// Creates an object of the mesh in the stage's namespace.
pub(crate) fn create(stage: &Stage, object: &Value) {
    let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object["kind"].as_str().unwrap()));
    let _inside = stage.runtime.enter();
    let api: Api<DynamicObject> = Api::default_namespaced_with(stage.sandbox.client(), &resource);
    let object = serde_json::from_value(object.clone()).unwrap();
    // A person's object, which a switch may change.
    let params = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
    stage.runtime.block_on(api.create(&params, &object)).unwrap();
}

pub(crate) fn rule(name: &str, tls: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name},
        "spec": {"host": name, "trafficPolicy": {"tls": {"mode": tls}}},
    })
}

/// The namespace's own policy.
pub(crate) fn policy(mode: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "default"},
        "spec": {"mtls": {"mode": mode}},
    })
}

#[test]
fn every_port_has_its_mode_and_the_object_that_decides() {
    shows!(run("status --sandbox=strict"), @r"
    exit 0
    --- stdout
    namespace microservices-demo: 5 services, 5 ports; root namespace istio-system, auto mTLS on

    SERVICE                WORKLOAD                               MODE     DECIDED BY            CLIENTS SEND
    app-ui:8080            pod/app-ui-[pod]            STRICT   default (namespace)   mTLS
    boards:8080            pod/boards-[pod]            STRICT   default (namespace)   mTLS
    boards-mongodb:27017   pod/boards-mongodb-[pod]    STRICT   default (namespace)   mTLS
    context-scraper:9100   pod/context-scraper-[pod]   STRICT   default (namespace)   mTLS
    userprofile:8080       pod/userprofile-[pod]       STRICT   default (namespace)   mTLS

    info  clients-unseen
      found   not checked: clients outside the mesh, calls to pods by address (--prometheus)
      remedy  pass --prometheus URL to read who has sent plaintext in the last hours
    0 errors, 0 warnings, 1 note
    ");
}

#[test]
fn broken_calls_are_named_with_their_rule() {
    let stage = Stage::new(State::Permissive, &[]);
    create(&stage, &rule("boards", "DISABLE"));
    create(&stage, &policy("STRICT"));
    shows!(stage.run("status boards"), @r"
    exit 1
    --- stdout
    namespace microservices-demo: 1 service, 1 port; root namespace istio-system, auto mTLS on

    SERVICE       WORKLOAD                      MODE     DECIDED BY            CLIENTS SEND
    boards:8080   pod/boards-[pod]   STRICT   default (namespace)   BREAKS: plaintext

    error  plaintext-to-strict
      found   the rule microservices-demo/boards makes clients send plaintext, and mode STRICT refuses it; callers: this namespace, gateways, other namespaces
      about   destinationrule/boards, pod/boards-[pod], service/boards:8080
      remedy  set the rule's tls to ISTIO_MUTUAL, or remove it if auto mTLS is on; enable-mtls does it for rules of the namespace
    info  clients-unseen
      found   not checked: clients outside the mesh, calls to pods by address (--prometheus)
      remedy  pass --prometheus URL to read who has sent plaintext in the last hours
    1 error, 0 warnings, 1 note
    ");
    let left_out = stage.run("status boards --ignore plaintext-to-strict --ignore clients-unseen");
    assert_eq!(left_out.code, Some(0), "{left_out}");
    assert!(!left_out.stdout.contains("plaintext-to-strict"), "{left_out}");
    let elsewhere = stage.run("status userprofile");
    assert_eq!(elsewhere.code, Some(0), "{elsewhere}");
}

#[test]
fn an_unenforced_port_is_an_error_under_strict() {
    let stage = Stage::new(State::Strict, &[Lookalike::HalfMeshed, Lookalike::Excluded]);
    let report = stage.run("status -o json").json();
    assert_eq!(report["exitCode"], 1);
    let codes: Vec<&str> = report["namespaces"][0]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| finding["code"].as_str().unwrap())
        .collect();
    // Twice for the port: plaintext gets in, and what the mesh sends does not get through.
    assert_eq!(codes, ["unprotected-workload", "port-not-captured", "port-not-captured"]);
}

#[test]
fn the_json_report_has_the_same_content() {
    let report = run("status --sandbox=strict -o json boards").json();
    assert_eq!((&report["apiVersion"], &report["kind"]), (&json!("secure-traffic/v1alpha2"), &json!("StatusReport")));
    let port = &report["namespaces"][0]["results"][0];
    assert_eq!((&port["service"], &port["port"]), (&json!("boards"), &json!(8080)));
    let side = &port["workloads"][0];
    assert_eq!((&side["mode"], &side["dataPlane"]), (&json!("STRICT"), &json!("sidecar")));
    let policy = json!({"level": "namespace", "name": "default", "namespace": "microservices-demo", "mode": "STRICT"});
    assert_eq!(side["policies"], json!([policy]));
    assert_eq!(port["clients"][0]["decidedBy"], "rule");
    let yaml = run("status --sandbox=strict -o yaml boards");
    assert!(yaml.stdout.contains("kind: StatusReport"), "{yaml}");
}

#[test]
fn all_namespaces_are_reported_one_by_one() {
    let report = run("status --sandbox=strict -A -o json").json();
    let names: Vec<&str> =
        report["namespaces"].as_array().unwrap().iter().map(|it| it["namespace"].as_str().unwrap()).collect();
    assert_eq!(names, ["microservices-demo", "shop"]);
}

#[test]
fn status_changes_nothing() {
    let stage = Stage::new(State::Permissive, &[]);
    let run = stage.run("-v status");
    let writes: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| ["POST", "PUT", "PATCH", "DELETE"].iter().any(|verb| line.contains(verb)))
        .collect();
    assert!(run.stderr.contains("GET") && writes.is_empty(), "{run}");
}

#[test]
fn what_is_not_there_is_named() {
    shows!(run("status --sandbox bords"), @r#"
exit 2
--- stderr
error: service "bords" not found in namespace "microservices-demo"
hint: did you mean boards? its Services are: app-ui, boards, boards-mongodb, context-scraper, userprofile
"#);
    let code = run("status --sandbox --ignore nonsense");
    assert_eq!(code.code, Some(2), "{code}");
    assert!(code.stderr.contains("is no code of a finding"), "{code}");
}

#[test]
fn a_rule_that_the_switch_repairs_does_not_stop_it_and_one_that_stays_does() {
    let stage = Stage::new(State::Permissive, &[]);
    create(&stage, &rule("boards", "DISABLE"));
    let stopped = stage.run("enable-mtls --yes --verify=false --destination-rules=never");
    assert_eq!(stopped.code, Some(1), "{stopped}");
    assert!(
        stopped.stderr.contains("plaintext-to-strict") && stopped.stderr.contains("nothing was written"),
        "{stopped}"
    );
    let status = stage.run("status -o json").json();
    assert_eq!(status["namespaces"][0]["results"][0]["workloads"][0]["mode"], "PERMISSIVE");
    let repaired = stage.run("enable-mtls --yes --verify=false");
    assert_eq!(repaired.code, Some(0), "{repaired}");
    assert_eq!(stage.run("status").code, Some(0));
}

#[test]
fn a_workload_without_a_sidecar_is_a_warning_before_the_switch() {
    let stage = Stage::new(State::Permissive, &[Lookalike::HalfMeshed]);
    let run = stage.run("enable-mtls --yes --verify=false");
    shows!(run, @r"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/app-ui created
    destinationrule.networking.istio.io/boards created
    destinationrule.networking.istio.io/boards-mongodb created
    destinationrule.networking.istio.io/context-scraper created
    destinationrule.networking.istio.io/userprofile created
    peerauthentication.security.istio.io/default created
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    service/half-meshed gets no rule: half-meshed-[pod] is outside the mesh, where ISTIO_MUTUAL would break traffic
    warning: STRICT is asked for, and the pods behind these ports have no proxy, though the namespace asks for one (unprotected-workload: pod/half-meshed-[pod], service/half-meshed:8080)
    warning: workloads without a proxy send plaintext, which STRICT ports refuse (client-without-proxy: pod/half-meshed-[pod])
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/app-ui           tls ISTIO_MUTUAL
      + destinationrule/boards           tls ISTIO_MUTUAL
      + destinationrule/boards-mongodb   tls ISTIO_MUTUAL
      + destinationrule/context-scraper  tls ISTIO_MUTUAL
      + destinationrule/userprofile      tls ISTIO_MUTUAL
      + peerauthentication/default       mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    undo with: secure-traffic disable-mtls -n microservices-demo --restore
    ");
    // A finding that is ignored is not printed; a second stage, because a namespace that is switched is not checked again.
    let stage = Stage::new(State::Permissive, &[Lookalike::HalfMeshed]);
    let ignored = stage.run("enable-mtls --yes --verify=false --ignore unprotected-workload");
    assert_eq!(ignored.code, Some(0), "{ignored}");
    assert!(ignored.stderr.contains("client-without-proxy"), "{ignored}");
    assert!(!ignored.stderr.contains("unprotected-workload"), "{ignored}");
}
