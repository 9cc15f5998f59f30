//! Text from a cluster that would move the cursor, recolour the verdict or hide what follows it.

use crate::helpers::{Answer, CliRun, Stub, assert_harmless, run};
use serde_json::{Value, json};

const HOSTILE: &str = "x\u{1b}[2K\u{1b}[32mrejected\u{7}\r\u{9b}31m\u{202e}\u{200b}\u{e0041}\u{7f}y##[error]z";

fn assert_shown_without_control_characters(run: &CliRun) {
    assert_harmless(&run.stdout);
    assert_harmless(&run.stderr);
    assert!(run.all().contains("\\u{1b}[2K") || run.all().contains("\\u001b[2K"), "shown, not dropped: {run}");
}

#[test]
fn a_status_message() {
    for code in [400, 401, 403, 404, 409, 422, 500] {
        let stub = Stub::new(move |_, _| Some(Answer::status(code, HOSTILE, HOSTILE)));
        let run = run(&format!("probe boards --server {} -v", stub.url));
        assert_eq!(run.code, Some(4), "{run}");
        assert_shown_without_control_characters(&run);
    }
}

#[test]
fn a_page_instead_of_an_answer() {
    let stub = Stub::new(|_, _| Some(Answer { status: 500, kind: "text/html", body: HOSTILE.to_owned() }));
    assert_shown_without_control_characters(&run(&format!("probe boards --server {}", stub.url)));
}

/// A cluster with one Service, whose every name is hostile, and which makes no pods.
fn cluster(line: &str) -> Answer {
    let list = |kind: &str, items: Vec<Value>| {
        Answer::json(
            200,
            &json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}),
        )
    };
    let path = line.split([' ', '?']).nth(1).unwrap_or_default();
    let version =
        |group: &str| json!({"name": group, "versions": [{"groupVersion": format!("{group}/v1"), "version": "v1"}]});
    let resources = |group: &str, plural: &str, kind: &str| {
        let resource = json!({"name": plural, "singularName": "", "namespaced": true, "kind": kind, "verbs": ["list"]});
        Answer::json(
            200,
            &json!({"kind": "APIResourceList", "groupVersion": format!("{group}/v1"), "resources": [resource]}),
        )
    };
    match path {
        "/apis" => Answer::json(
            200,
            &json!({"kind": "APIGroupList", "groups": [version("security.istio.io"), version("networking.istio.io")]}),
        ),
        "/api/v1/namespaces/istio-system" => {
            Answer::json(200, &json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "istio-system"}}))
        }
        "/apis/security.istio.io/v1" => resources("security.istio.io", "peerauthentications", "PeerAuthentication"),
        "/apis/networking.istio.io/v1" => resources("networking.istio.io", "destinationrules", "DestinationRule"),
        path if path.ends_with("/services") => list(
            "ServiceList",
            vec![json!({
                "metadata": {"name": HOSTILE, "namespace": "shop"},
                "spec": {"selector": {"a": "b"}, "ports": [{"name": HOSTILE, "port": 80, "protocol": "TCP"}]},
            })],
        ),
        path if path.ends_with("/peerauthentications") => list(
            "PeerAuthenticationList",
            vec![json!({
                "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
                "metadata": {"name": HOSTILE, "namespace": "shop", "uid": "u", "resourceVersion": "1"},
                "spec": {"mtls": {"mode": "STRICT"}},
            })],
        ),
        _ if line.starts_with("POST") => Answer::status(403, "Forbidden", HOSTILE),
        path if path.ends_with("/namespaces/shop") => {
            Answer::json(200, &json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "shop"}}))
        }
        path if path.ends_with('s') || path.contains("endpointslices") => list("List", Vec::new()),
        _ => Answer::status(404, "NotFound", HOSTILE),
    }
}

#[test]
fn names_of_services_and_objects() {
    let stub = Stub::new(|line, _| Some(cluster(line)));
    for arguments in [
        "probe",
        "probe -o name",
        "probe -o json",
        "probe -o yaml",
        "status -o yaml",
        "status -o json",
        "probe -o wide",
        "probe --per-endpoint",
        "probe nosuch",
        "enable-mtls --yes --verify=false",
        "enable-mtls --dry-run=server --destination-rules=never -o name",
        "enable-mtls --dry-run=server --destination-rules=never",
        "enable-mtls",
        "disable-mtls --diff",
        "demo --yes",
    ] {
        let run = run(&format!("{arguments} --server {} -n shop -i istio-system", stub.url));
        assert!(run.code.is_some_and(|code| code < 5), "{arguments}: {run}");
        assert_shown_without_control_characters(&run);
    }
}
