//! A server that throttles, and a connection that loses answers: each write is reported, also if its answer is lost.

use crate::faulty_proxy::{Fate, serve, writes};
use crate::helpers::{CliRun, Stage, command, finish, shows};
use hyper::Method;
use secure_traffic::sandbox::State;
use std::time::{Duration, Instant};

pub(crate) fn run(stage: &Stage, url: &str, arguments: &str) -> CliRun {
    let mut command = command();
    command.args(arguments.split_whitespace()).args(["--server", url, "-n", stage.sandbox.namespace()]);
    finish(command)
}

#[test]
fn the_pods_of_both_clients_are_named_where_the_probe_fails() {
    let stage = Stage::new(State::Strict, &[]);
    // Neither the logs of the pods nor their removal is answered.
    let url = serve(&stage, |method, path, _| {
        let is_barred = path.contains("/log") || *method == Method::DELETE;
        if path.contains("/pods/") && is_barred { Fate::Throttled(0) } else { Fate::Answered }
    });
    let run = run(&stage, &url, "probe boards --control --attempts 1");
    assert!(!matches!(run.code, Some(0 | 1)), "{run}");
    assert_eq!(run.stderr.matches("a probe pod could not be removed: pod/").count(), 2, "{run}");
}

const ENABLE_TWO: &str = "enable-mtls boards userprofile --yes --verify=false";

const ENABLE_ONE: &str = "enable-mtls boards --yes --verify=false";

const RESTORE: &str = "disable-mtls --restore --yes --verify=false";

/// A restore over a good connection brings the former objects back.
#[track_caller]
fn assert_restorable(stage: &Stage, before: &str) {
    let restored = stage.run(RESTORE);
    assert_eq!(restored.code, Some(0), "{restored}");
    assert_eq!(object_names(stage), before);
}

/// Kinds and names of the mesh's objects, the journals and the Lease.
pub(crate) fn object_names(stage: &Stage) -> String {
    use kube::ResourceExt;
    use kube::api::{Api, ApiResource, DynamicObject, ListParams};
    use kube::core::GroupVersionKind;
    let client = {
        let _inside = stage.runtime.enter();
        stage.sandbox.client()
    };
    let mut names = Vec::new();
    for (group, version, kind) in [
        ("security.istio.io", "v1", "PeerAuthentication"),
        ("networking.istio.io", "v1", "DestinationRule"),
        ("", "v1", "ConfigMap"),
        ("coordination.k8s.io", "v1", "Lease"),
    ] {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
        let list = stage.runtime.block_on(api.list(&ListParams::default())).unwrap();
        names.extend(list.iter().map(|object| format!("{kind} {}", object.name_any())));
    }
    names.join("\n")
}

#[test]
fn a_throttled_request_waits_for_retry_after() {
    let stage = Stage::new(State::Permissive, &[]);
    let url = serve(&stage, |method, path, before| {
        let is_asked = writes(method, path) || *method == Method::GET && path.contains("/services?");
        if is_asked && before == 0 { Fate::Throttled(1) } else { Fate::Answered }
    });
    let begin = Instant::now();
    shows!(run(&stage, &url, ENABLE_TWO), @r#"
    exit 0
    --- stdout
    destinationrule.networking.istio.io/boards created
    destinationrule.networking.istio.io/userprofile created
    peerauthentication.security.istio.io/default created
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: the policy holds for the whole namespace: STRICT for app-ui, boards-mongodb, context-scraper too
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/boards       tls ISTIO_MUTUAL
      + destinationrule/userprofile  tls ISTIO_MUTUAL
      + peerauthentication/default   mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    undo with: secure-traffic disable-mtls -n microservices-demo --restore
    "#);
    // The list, the rules at once, the policy.
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_long_retry_after_is_reported() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = object_names(&stage);
    let url = serve(&stage, |method, path, _| if writes(method, path) { Fate::Throttled(60) } else { Fate::Answered });
    let begin = Instant::now();
    shows!(run(&stage, &url, ENABLE_ONE), @r#"
    exit 4
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: the policy holds for the whole namespace: STRICT for app-ui, boards-mongodb, context-scraper, userprofile too
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/boards      tls ISTIO_MUTUAL
      + peerauthentication/default  mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    nothing was written
    error: could not patch destinationrules.networking.istio.io "boards" in namespace "microservices-demo": TooManyRequests: the server has received too many requests and has asked us to try again later
    hint: the API server throttles: try again in 60 s
    "#);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(object_names(&stage), before);
}

#[test]
fn a_write_with_a_lost_answer_is_checked() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = object_names(&stage);
    let url =
        serve(
            &stage,
            |method, path, _| {
                if writes(method, path) && path.contains("/userprofile?") { Fate::Lost } else { Fate::Answered }
            },
        );
    shows!(run(&stage, &url, ENABLE_TWO), @r#"
    exit 4
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: the policy holds for the whole namespace: STRICT for app-ui, boards-mongodb, context-scraper too
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/boards       tls ISTIO_MUTUAL
      + destinationrule/userprofile  tls ISTIO_MUTUAL
      + peerauthentication/default   mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    destinationrule.networking.istio.io/boards created
    destinationrule.networking.istio.io/userprofile created
    warning: ended early: 2 of 3 changes made; the same command goes on from here, `secure-traffic disable-mtls -n microservices-demo --restore` puts back what was there
    error: could not patch destinationrules.networking.istio.io "userprofile" in namespace "microservices-demo": connection closed before message completed
    hint: the way to the API server is bad: a proxy or load balancer in between may cut connections; try again
    "#);
    assert_restorable(&stage, &before);
}

#[test]
fn a_write_with_an_unknown_result_is_reported_as_unknown() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = object_names(&stage);
    // From the write on every answer of the mesh's kinds stalls.
    let url = serve(&stage, {
        let is_bad = std::sync::atomic::AtomicBool::new(false);
        move |method, path, _| {
            let is_bad = is_bad.fetch_or(writes(method, path), std::sync::atomic::Ordering::Relaxed);
            if is_bad || writes(method, path) { Fate::Stalled } else { Fate::Answered }
        }
    });
    let begin = Instant::now();
    shows!(run(&stage, &url, &format!("{ENABLE_ONE} --request-timeout 1s")), @r#"
    exit 4
    --- stderr
    namespace microservices-demo; security.istio.io/v1 PeerAuthentication, networking.istio.io/v1 DestinationRule
    warning: the policy holds for the whole namespace: STRICT for app-ui, boards-mongodb, context-scraper, userprofile too
    not checked: clients outside the mesh, calls to pods by address (--prometheus)
    changes in namespace microservices-demo:
      + destinationrule/boards      tls ISTIO_MUTUAL
      + peerauthentication/default  mode STRICT
    open connections to these ports end within 45 s (drain time), mutual TLS too
    warning: got no answer, and may or may not have been made: destinationrule.networking.istio.io/boards
    warning: the journal could not be brought to its end: could not patch configmaps "secure-traffic-journal-[word]-0" in namespace "microservices-demo": no answer within the request's deadline
    warning: ended early: 0 of 2 changes made, 1 without an answer; the same command goes on from here, `secure-traffic disable-mtls -n microservices-demo --restore` puts back what was there
    warning: the Lease is left, and runs out after 10 s: could not get leases.coordination.k8s.io "secure-traffic" in namespace "microservices-demo": no answer within the request's deadline
    error: could not patch destinationrules.networking.istio.io "boards" in namespace "microservices-demo": no answer within the request's deadline
    hint: the API server is slow or stalls: raise --request-timeout, or check the way to it
    "#);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_restorable(&stage, &before);
}

#[test]
fn a_lease_with_a_lost_answer_is_held() {
    let stage = Stage::new(State::Permissive, &[]);
    let url = serve(&stage, |method, path, before| {
        let is_lost = *method != Method::GET && (path.contains("/leases") || path.contains("/configmaps"));
        if is_lost && before == 0 { Fate::Lost } else { Fate::Answered }
    });
    let run = run(&stage, &url, ENABLE_TWO);
    assert_eq!(run.code, Some(0), "{run}");
    assert!(!object_names(&stage).contains("Lease"), "{}", object_names(&stage));
}
