//! Creates, watches and removes probe pods at an API server that fails in every way.

use super::*;
use http::{Method, Request, Response, StatusCode};
use kube::client::Body;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// What the server sends: a status with a body, a text, or a broken connection.
enum Reply {
    Json(u16, Value),
    Text(String),
    Broken,
}

/// One request that the server received.
#[derive(Debug, Clone)]
struct Seen {
    /// `create`, `list`, `watch`, `log` or `delete`.
    what: &'static str,
    query: String,
    body: Value,
}

/// An API server that answers by a script. The script gets the request and its number among those of its kind, from 1.
struct ScriptedApi {
    cluster: Cluster,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedApi {
    fn new(mut script: impl FnMut(&Seen, usize) -> Reply + Send + 'static) -> Self {
        let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let record = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Some((request, respond)) = handle.next_request().await {
                let request = read(request).await;
                let count = {
                    let mut seen = record.lock().unwrap();
                    seen.push(request.clone());
                    seen.iter().filter(|other| other.what == request.what).count()
                };
                let (status, body) = match script(&request, count) {
                    // The script returns the pod that exists, and the server lists it.
                    Reply::Json(200, pod) if request.what == "list" => (200, list(&[pod])),
                    Reply::Json(404, _) if request.what == "list" => (200, list(&[])),
                    Reply::Json(status, body) => (status, body.to_string()),
                    Reply::Text(text) => (200, text),
                    Reply::Broken => {
                        respond.send_error(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
                        continue;
                    }
                };
                let status = StatusCode::from_u16(status).unwrap();
                respond.send_response(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap());
            }
        });
        let client = kube::Client::new(service, "demo");
        Self { cluster: Cluster::of_test(client), seen, task }
    }

    fn seen(&self) -> Vec<&'static str> {
        self.seen.lock().unwrap().iter().map(|request| request.what).collect()
    }

    fn last(&self, what: &str) -> Seen {
        self.seen.lock().unwrap().iter().rfind(|request| request.what == what).cloned().unwrap()
    }
}

async fn read(request: Request<Body>) -> Seen {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let what = match (request.method().clone(), request.uri().path()) {
        (Method::POST, _) => "create",
        (Method::DELETE, _) => "delete",
        (_, path) if path.ends_with("/log") => "log",
        _ if query.contains("watch=true") => "watch",
        _ => "list",
    };
    let body = request.into_body().collect_bytes().await.unwrap_or_default();
    Seen { what, query, body: serde_json::from_slice(&body).unwrap_or_default() }
}

fn list(pods: &[Value]) -> String {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}).to_string()
}

fn status(code: u16, reason: &str, message: &str) -> Reply {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    Reply::Json(code, body)
}

fn not_found() -> Reply {
    status(404, "NotFound", "pods \"secure-traffic-probe\" not found")
}

fn pod_object(state: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "secure-traffic-probe-xxxxx", "namespace": "demo", "uid": "u-1", "resourceVersion": "7"},
        "spec": {"containers": [{"name": "probe"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "probe", "state": state, "ready": true, "restartCount": 0, "image": "", "imageID": "",
        }]},
    })
}

fn running() -> Value {
    pod_object(&json!({"running": {}}))
}

fn ended() -> Value {
    pod_object(&json!({"terminated": {"exitCode": 56, "reason": "Error"}}))
}

fn event(kind: &str, object: &Value) -> String {
    json!({"type": kind, "object": object}).to_string() + "\n"
}

/// One curl that writes two records.
const CURLS: [Curl; 1] = [Curl { container: PROBE, arguments: Vec::new(), records: 2 }];

fn request() -> PodRequest {
    PodRequest {
        membership: MeshMembership::Outside,
        curls: CURLS.to_vec(),
        image: DEFAULT_IMAGE.to_owned(),
        pull_secrets: Vec::new(),
        placement: PodPlacement::default(),
        deadline_seconds: 20,
        start_timeout: Duration::from_secs(10),
        openshift: false,
    }
}

/// The result of the work, and the pod that is left after the removal.
struct Finished<T> {
    result: Result<T, Failure>,
    left_behind: Option<String>,
}

async fn whole<T>(outcome: PodRun<T>) -> Finished<T> {
    Finished { result: outcome.result, left_behind: outcome.removal.confirmed().await }
}

/// Runs curl to its end and reads a log of two records.
async fn run(server: &ScriptedApi) -> Finished<String> {
    let work = async |probe: &ProbePod| {
        probe.ended(|| {}).await?;
        probe.log("M", &CURLS).await
    };
    whole(with_pod(&server.cluster, &request(), &[], &Shutdown::never(), work).await).await
}

/// What a healthy server answers: the pod has ended, its log is complete, and it can be deleted.
fn healthy(request: &Seen) -> Reply {
    match request.what {
        "create" => Reply::Json(201, running()),
        "watch" => Reply::Text(event("MODIFIED", &ended())),
        "log" => Reply::Text("M a\nM b\n".to_owned()),
        "delete" => Reply::Json(200, ended()),
        _ => not_found(),
    }
}

/// The same server where the pod's end is not known: the pod is also read before its deletion.
fn healthy_from_outside(request: &Seen, count: usize) -> Reply {
    match request.what {
        "list" if count == 1 => Reply::Json(200, running()),
        _ => healthy(request),
    }
}

#[tokio::test]
async fn a_pod_is_made_watched_read_and_removed() {
    let server = ScriptedApi::new(|request, _| healthy(request));
    let outcome = run(&server).await;
    assert_eq!(outcome.result.unwrap(), "M a\nM b");
    assert_eq!(outcome.left_behind, None);
    assert_eq!(server.seen(), ["create", "watch", "log", "delete", "list"]);
    let delete = server.last("delete").body;
    assert_eq!(delete["preconditions"]["uid"], "u-1", "nobody else's pod of that name");
    assert_eq!(delete["gracePeriodSeconds"], 0, "a container that has ended needs no grace");
    assert!(server.last("watch").query.contains("resourceVersion=7"), "{}", server.last("watch").query);
}

#[tokio::test]
async fn a_pod_that_exists_already_counts_as_created_if_it_is_as_sent() {
    let mut sent = Value::Null;
    let server = ScriptedApi::new(move |request, count| match (request.what, count) {
        ("create", 1) => status(429, "TooManyRequests", "busy"),
        ("create", _) => {
            sent = request.body.clone();
            status(409, "AlreadyExists", "pods \"secure-traffic-probe\" already exists")
        }
        ("list", 1) => {
            let mut pod = running();
            pod["metadata"]["labels"] = sent["metadata"]["labels"].clone();
            pod["spec"] = sent["spec"].clone();
            Reply::Json(200, pod)
        }
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    assert_eq!(outcome.result.unwrap(), "M a\nM b");
    assert_eq!(outcome.left_behind, None);
    assert_eq!(server.seen(), ["create", "create", "list", "watch", "log", "delete", "list"]);
}

#[tokio::test]
async fn a_pod_that_exists_already_and_is_another_is_left_alone() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "create" => status(409, "AlreadyExists", "pods \"secure-traffic-probe\" already exists"),
        "list" => Reply::Json(200, running()),
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    let Err(Failure::Cluster(error)) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(error.message.contains("exists already, and is not the one of this run"), "{error}");
    assert_eq!((outcome.left_behind, server.seen()), (None, vec!["create", "list"]));
}

/// A request without an answer may have created the pod, so the pod is looked up and deleted.
async fn removed_after(answer: fn() -> Reply, words: &str) {
    let mut there = true;
    let server = ScriptedApi::new(move |request, _| match request.what {
        "create" => answer(),
        "delete" => {
            there = false;
            Reply::Json(200, running())
        }
        _ if there => Reply::Json(200, running()),
        _ => not_found(),
    });
    let outcome = run(&server).await;
    let Err(Failure::Cluster(error)) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(error.message.contains("create pods in namespace \"demo\"") && error.message.contains(words), "{error}");
    assert_eq!(outcome.left_behind, None);
    let seen = server.seen();
    assert_eq!(&seen[..4], ["create", "list", "delete", "list"], "the request itself is not repeated");
    assert!(seen[4..].iter().all(|what| *what == "list") && seen.len() > 4, "absent for a while: {seen:?}");
    assert!(server.last("delete").body["gracePeriodSeconds"].is_null(), "what runs gets the second that it asks for");
}

#[tokio::test]
async fn a_pod_made_by_a_request_without_an_answer_is_removed() {
    removed_after(|| Reply::Broken, "connection reset").await;
}

#[tokio::test]
async fn a_pod_made_by_a_request_that_the_server_gave_up_on_is_removed() {
    removed_after(|| status(504, "Timeout", "request did not complete within requested timeout"), "did not complete")
        .await;
}

#[tokio::test]
async fn a_refusal_leaves_nothing_to_look_for() {
    let server = ScriptedApi::new(|_, _| {
        status(
            403,
            "Forbidden",
            "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
        )
    });
    let outcome = run(&server).await;
    assert!(matches!(&outcome.result, Err(Failure::Pod(Reason::Quota, words)) if words.contains("exceeded quota")));
    assert_eq!(server.seen(), ["create"]);
    let server = ScriptedApi::new(|_, _| {
        let message =
            "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\" in the namespace \"demo\"";
        status(403, "Forbidden", message)
    });
    let Err(Failure::Cluster(error)) = run(&server).await.result else { panic!("a missing right is no finding") };
    assert!(error.hint.unwrap().contains("--verb=create --resource=pods"));
    assert_eq!(server.seen(), ["create"]);
}

#[tokio::test]
async fn a_deletion_is_tried_until_it_works() {
    let mut there = true;
    let server = ScriptedApi::new(move |request, count| match (request.what, count) {
        ("delete", 1) => status(500, "InternalError", "etcdserver: leader changed"),
        ("delete", 2) => Reply::Broken,
        ("delete", _) => {
            there = false;
            Reply::Json(200, ended())
        }
        ("list", _) if there => Reply::Json(200, ended()),
        ("list", _) => not_found(),
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    assert_eq!(outcome.result.unwrap(), "M a\nM b");
    assert_eq!(outcome.left_behind, None);
    assert_eq!(server.seen().iter().filter(|what| **what == "delete").count(), 3);
}

#[tokio::test]
async fn a_pod_that_somebody_put_in_our_place_is_left_alone() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "delete" => status(409, "Conflict", "Precondition failed: UID in precondition: u-1, UID in object meta: u-2"),
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    assert!(outcome.result.is_ok() && outcome.left_behind.is_none());
    assert_eq!(server.seen().iter().filter(|what| **what == "delete").count(), 1);
}

#[tokio::test]
async fn a_watch_that_ends_early_is_begun_anew() {
    let expired = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"});
    let server = ScriptedApi::new(move |request, count| match (request.what, count) {
        ("watch", 1) => Reply::Text(event("MODIFIED", &running())),
        ("watch", 2) => Reply::Text(event("ERROR", &expired)),
        ("watch", 3) => Reply::Text("{\"type\":\"MODIFIED\",\"object\":{\"kind\":".to_owned()),
        ("list", 1..=3) => Reply::Json(200, running()),
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    assert_eq!(outcome.result.unwrap(), "M a\nM b");
    assert_eq!(
        server.seen()[..8],
        ["create", "watch", "list", "watch", "list", "watch", "list", "watch"],
        "after each early end a look, and a watch from there"
    );
}

#[tokio::test]
async fn a_watch_that_is_expired_at_once_is_an_error_that_names_it() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "watch" => {
            status(403, "Forbidden", "pods is forbidden: User \"x\" cannot watch resource \"pods\" in API group \"\"")
        }
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    let Err(Failure::Cluster(error)) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(error.message.contains("could not watch pods"), "{error}");
    assert_eq!(outcome.left_behind, None, "removed all the same");
}

#[tokio::test]
async fn a_pod_that_somebody_deletes_is_a_finding() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "watch" => Reply::Text(event("DELETED", &running())),
        "list" => not_found(),
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    assert!(
        matches!(&outcome.result, Err(Failure::Pod(Reason::ProbeFailed, words)) if words.contains("somebody deleted"))
    );
    assert_eq!(outcome.left_behind, None);
}

#[tokio::test]
async fn a_pod_that_admission_changed_is_never_asked() {
    let server = ScriptedApi::new(|request, count| {
        let mut injected = running();
        injected["spec"]["containers"] = json!([{"name": "probe"}, {"name": "istio-proxy"}]);
        if request.what == "create" { Reply::Json(201, injected) } else { healthy_from_outside(request, count) }
    });
    let outcome = run(&server).await;
    assert!(matches!(&outcome.result, Err(Failure::Pod(Reason::ProbeMeshed, _))), "{:?}", outcome.result);
    assert_eq!(server.seen(), ["create", "list", "delete", "list"]);
}

#[tokio::test]
async fn a_pod_that_is_captured_later_is_found_out() {
    let server = ScriptedApi::new(|request, count| {
        let mut captured = ended();
        captured["metadata"]["annotations"] = json!({"ambient.istio.io/redirection": "enabled"});
        if request.what == "watch" {
            Reply::Text(event("MODIFIED", &captured))
        } else {
            healthy_from_outside(request, count)
        }
    });
    let outcome = run(&server).await;
    assert!(matches!(&outcome.result, Err(Failure::Pod(Reason::ProbeMeshed, _))), "{:?}", outcome.result);
    assert_eq!(outcome.left_behind, None);
}

/// Reads a log of two records as soon as it is available.
async fn run_early(server: &ScriptedApi) -> Finished<String> {
    let work = async |probe: &ProbePod| probe.whole_log("M", &CURLS).await;
    whole(with_pod(&server.cluster, &request(), &[], &Shutdown::never(), work).await).await
}

#[tokio::test]
async fn a_log_that_is_whole_is_enough_whatever_the_kubelet_knows() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "watch" => Reply::Text(event("MODIFIED", &running())),
        _ => healthy(request),
    });
    let outcome = run_early(&server).await;
    assert_eq!(outcome.result.unwrap(), "M a\nM b");
    assert_eq!(outcome.left_behind, None);
    assert_eq!(server.seen(), ["create", "watch", "log", "delete", "list"]);
    assert!(server.last("log").query.contains("follow=true"), "{}", server.last("log").query);
    assert_eq!(server.last("delete").body["gracePeriodSeconds"], 0, "curl has done all its work");
}

#[tokio::test]
async fn a_log_that_ends_before_its_last_record_is_read_again_after_the_end() {
    for cut in ["", "M a\n", "M a\nM b"] {
        let server = ScriptedApi::new(move |request, count| match (request.what, count) {
            ("watch", 1) => Reply::Text(event("MODIFIED", &running())),
            ("log", 1) => Reply::Text(cut.to_owned()),
            ("list", 1) => Reply::Json(200, running()),
            _ => healthy(request),
        });
        assert_eq!(run_early(&server).await.result.unwrap(), "M a\nM b", "{cut:?}");
        assert!(!server.last("log").query.contains("follow"), "{}", server.last("log").query);
    }
}

#[tokio::test]
async fn a_log_that_may_not_be_followed_waits_for_the_end_and_is_named() {
    let server = ScriptedApi::new(|request, count| match (request.what, count) {
        ("watch", 1) => Reply::Text(event("MODIFIED", &running())),
        ("log", _) => status(403, "Forbidden", "pods \"p\" is forbidden: User \"x\" cannot get resource \"pods/log\""),
        ("list", 1) => Reply::Json(200, running()),
        _ => healthy(request),
    });
    let Err(Failure::Cluster(error)) = run_early(&server).await.result else { panic!("no log, no answer") };
    assert!(error.message.contains("could not get pods/log"), "{error}");
}

#[tokio::test]
async fn a_log_that_is_short_at_first_is_read_again() {
    let server = ScriptedApi::new(|request, count| match (request.what, count) {
        ("log", 1) => Reply::Text(String::new()),
        ("log", 2) => Reply::Text("M a\nother\n".to_owned()),
        _ => healthy(request),
    });
    assert_eq!(run(&server).await.result.unwrap(), "M a\nM b");
    assert_eq!(server.seen().iter().filter(|what| **what == "log").count(), 3);
    assert!(server.last("log").query.contains("limitBytes="), "read with a limit");
}

#[tokio::test]
async fn a_log_that_stays_short_is_handed_over_as_it_is() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "log" => Reply::Text("M a\n".to_owned()),
        _ => healthy(request),
    });
    assert_eq!(run(&server).await.result.unwrap(), "M a");
}

#[tokio::test]
async fn a_log_that_may_not_be_read_is_named() {
    let server = ScriptedApi::new(|request, _| match request.what {
        "log" => {
            let message = "pods \"p\" is forbidden: User \"x\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"demo\"";
            status(403, "Forbidden", message)
        }
        _ => healthy(request),
    });
    let outcome = run(&server).await;
    let Err(Failure::Cluster(error)) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(error.message.contains("could not get pods/log"), "{error}");
    assert!(error.hint.unwrap().contains("--verb=get --resource=pods/log -n demo"));
    assert_eq!(outcome.left_behind, None);
}

#[tokio::test]
async fn a_signal_ends_the_work_and_removes_the_pod() {
    let (sender, receiver) = tokio::sync::watch::channel(None);
    let server = ScriptedApi::new(healthy_from_outside);
    let work = async |_: &ProbePod| {
        sender.send_replace(Some(Signal::Interrupt));
        std::future::pending::<Result<(), Failure>>().await
    };
    let outcome = with_pod(&server.cluster, &request(), &[], &Shutdown::from_channel(receiver), work).await;
    let outcome = whole(outcome).await;
    assert_eq!(outcome.result.unwrap_err(), Failure::Interrupted(Signal::Interrupt));
    assert_eq!(outcome.left_behind, None);
    assert_eq!(server.seen(), ["create", "list", "delete", "list"]);
}

#[test]
fn names_and_markers_are_words_of_their_own() {
    let words: std::collections::BTreeSet<String> = (0..1000).map(|_| random_word(16)).collect();
    assert_eq!(words.len(), 1000);
    assert!(words.iter().all(|word| word.len() == 16 && word.chars().all(|c| c.is_ascii_alphanumeric())));
}

#[test]
fn a_pod_is_abandoned_only_long_after_its_deadline() {
    let at = |created: &str, deadline: i64| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": created}, "spec": {"containers": [], "activeDeadlineSeconds": deadline},
        }))
        .unwrap()
    };
    let now = jiff::Timestamp::from_second(1_780_272_000).unwrap();
    let old = (now - jiff::SignedDuration::from_secs(300)).to_string();
    assert!(abandoned(&at(&old, 60), now.as_second()));
    assert!(!abandoned(&at(&old, 290), now.as_second()));
    assert!(!abandoned(&Pod::default(), now.as_second()), "of unknown age");
}

#[tokio::test(start_paused = true)]
async fn a_time_in_which_the_process_is_stopped_does_not_end_the_removal() {
    let stopped_work = async {
        // The clock continues while the process is stopped.
        tokio::time::advance(Duration::from_mins(1)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    assert_eq!(within_running_time(REMOVAL, stopped_work).await, Some(()));
    let start = tokio::time::Instant::now();
    assert_eq!(within_running_time(REMOVAL, std::future::pending::<()>()).await, None);
    assert_eq!(start.elapsed().as_secs(), REMOVAL.as_secs());
}

/// The pod of a client in the ambient mesh that runs, captured or not.
fn ambient_pod(is_captured: bool) -> Value {
    let mut pod = running();
    if is_captured {
        pod["metadata"]["annotations"] = json!({"ambient.istio.io/redirection": "enabled"});
    }
    pod
}

/// Runs work that needs no request in a pod for the ambient mesh, where ztunnel captures the pods of this number (from 1).
async fn run_in_ambient(captured: &'static [usize]) -> (Finished<()>, Vec<&'static str>) {
    let mut pods = 0;
    let server = ScriptedApi::new(move |request, _| {
        pods += usize::from(request.what == "create");
        match request.what {
            "create" => Reply::Json(201, ambient_pod(false)),
            "watch" => {
                let late = if captured.contains(&pods) { event("MODIFIED", &ambient_pod(true)) } else { String::new() };
                Reply::Text(event("MODIFIED", &ambient_pod(false)) + &late)
            }
            // Until it is deleted, the pod is as it was.
            "list" => Reply::Json(200, ambient_pod(false)),
            "delete" => Reply::Json(200, ended()),
            _ => not_found(),
        }
    });
    let request = PodRequest { membership: MeshMembership::Ambient, ..request() };
    let run = with_pod(&server.cluster, &request, &[], &Shutdown::never(), async |_: &ProbePod| Ok(())).await;
    let result = run.result;
    run.removal.task.abort();
    let mut seen = server.seen();
    seen.retain(|what| *what == "create");
    (Finished { result, left_behind: None }, seen)
}

#[tokio::test(start_paused = true)]
async fn a_client_in_the_ambient_mesh_works_once_it_is_captured_and_is_created_anew_once() {
    for (captured, pods, works) in [(&[1][..], 1, true), (&[2], 2, true), (&[], 2, false)] {
        let (outcome, seen) = run_in_ambient(captured).await;
        assert_eq!((outcome.result.is_ok(), seen.len()), (works, pods), "{captured:?} {:?}", outcome.result);
        if !works {
            assert_eq!(outcome.result, Err(Failure::Pod(Reason::ControlFailed, NOT_CAPTURED.to_owned())));
        }
    }
}

#[test]
fn a_client_in_the_ambient_mesh_waits_for_ztunnel_before_its_first_request() {
    let curl =
        Curl { container: PROBE, arguments: vec!["-q".to_owned(), "http://web.shop.svc/".to_owned()], records: 1 };
    let rendered = |membership| {
        let request = PodRequest { membership, curls: vec![curl.clone()], ..request() };
        let pod: Pod = serde_json::from_value(pod("name", &request, Resources::default())).unwrap();
        pod.spec.containers[0].args.clone().unwrap_or_default()
    };
    let arguments = rendered(MeshMembership::Ambient);
    let next = arguments.iter().position(|argument| argument == "--next").unwrap();
    assert_eq!((arguments[0].as_str(), &arguments[next + 1..]), ("-q", &curl.arguments[..]));
    assert_eq!(arguments[next - 1], "http://localhost:15008/");
    assert!(arguments.windows(2).any(|pair| pair == ["--retry", "10"]), "{arguments:?}");
    for membership in [MeshMembership::Outside, MeshMembership::Sidecar] {
        assert_eq!(rendered(membership), curl.arguments);
    }
}
