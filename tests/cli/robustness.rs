//! Attacks on the promises of the lock and of the journal: a run that is stopped beside a second one, and answers of the
//! API server that are refused, empty or false.

use crate::faulty_proxy::{Fate, serve, writes};
use crate::helpers::{CliRun, Stage, command, signal};
use crate::slow_link::{object_names, run};
use hyper::Method;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use secure_traffic::sandbox::State;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

const ENABLE: &str = "enable-mtls --yes --verify=false";
const RESTORE: &str = "disable-mtls --restore --yes --verify=false";

/// Kind, name, UID and spec of the policies and rules.
fn mesh_objects(stage: &Stage) -> String {
    let client = {
        let _inside = stage.runtime.enter();
        stage.sandbox.client()
    };
    let mut text = String::new();
    for (group, version, kind) in
        [("security.istio.io", "v1", "PeerAuthentication"), ("networking.istio.io", "v1", "DestinationRule")]
    {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
        for object in stage.runtime.block_on(api.list(&ListParams::default())).unwrap() {
            let metadata = object.metadata;
            writeln!(text, "{kind} {:?} {:?} {}", metadata.name, metadata.uid, object.data["spec"]).unwrap();
        }
    }
    text
}

fn has_journal(stage: &Stage) -> bool {
    object_names(stage).contains("secure-traffic-journal-")
}

fn start(stage: &Stage, url: &str, arguments: &str) -> Child {
    let mut command = command();
    command.args(arguments.split_whitespace()).args(["--server", url, "-n", stage.sandbox.namespace()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait(child: Child) -> CliRun {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CliRun { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Which request stops the process that sends it.
#[derive(Debug, Clone, Copy)]
enum StopAt {
    /// The first that writes an object of the mesh.
    FirstChange,
    /// This one, counted from 0 at the request that creates the Lease.
    Request(usize),
}

/// What came of a run that was stopped while a second one restored.
struct StoppedRun {
    stopped: CliRun,
    second: CliRun,
    /// Policies and rules as the second run left them, and after the first one ended.
    objects: (String, String),
}

/// Starts `command` through a proxy that stops it at a request, runs a restore meanwhile, and lets it go on.
fn stop_beside_a_restore(stage: &Stage, command: &str, at: StopAt) -> Option<StoppedRun> {
    let pid = Arc::new(AtomicU32::new(0));
    let (target, requests) = (Arc::clone(&pid), AtomicUsize::new(0));
    let has_stopped = Arc::new(AtomicU32::new(0));
    let stopped = Arc::clone(&has_stopped);
    let url = serve(stage, move |method, path, _| {
        let is_locked = creates(method, path, "/leases") || requests.load(Ordering::Relaxed) > 0;
        let number = is_locked.then(|| requests.fetch_add(1, Ordering::Relaxed));
        let is_moment = match at {
            StopAt::FirstChange => writes(method, path),
            StopAt::Request(moment) => number.is_some_and(|number| number >= moment),
        };
        if is_moment && stopped.fetch_add(1, Ordering::Relaxed) == 0 {
            // The test stores the process identifier right after the start.
            while target.load(Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            signal(target.load(Ordering::Relaxed), "STOP");
        }
        Fate::Answered
    });
    let first = start(stage, &url, command);
    pid.store(first.id(), Ordering::Relaxed);
    for _ in 0..200 {
        if has_stopped.load(Ordering::Relaxed) > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if has_stopped.load(Ordering::Relaxed) == 0 {
        wait(first);
        return None;
    }
    std::thread::sleep(Duration::from_millis(100));
    let second = stage.run(RESTORE);
    let left = mesh_objects(stage);
    signal(first.id(), "CONT");
    let stopped = wait(first);
    Some(StoppedRun { stopped, second, objects: (left, mesh_objects(stage)) })
}

/// The second run took the Lease over: the first one must not write any more.
#[track_caller]
fn assert_lost(result: &StoppedRun) {
    let StoppedRun { stopped, second, objects } = result;
    assert_eq!(second.code, Some(0), "{second}");
    assert_eq!(objects.1, objects.0, "the first run has written: {stopped}");
    assert_eq!(stopped.code, Some(4), "{stopped}");
    assert!(stopped.stderr.contains("the Lease secure-traffic of namespace"), "{stopped}");
}

#[test]
fn a_run_that_was_stopped_longer_than_its_lease_writes_nothing_more() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = mesh_objects(&stage);
    let result = stop_beside_a_restore(&stage, ENABLE, StopAt::FirstChange).unwrap();
    assert!(result.second.stderr.contains("a run did not come to its end"), "{}", result.second);
    assert_lost(&result);
    assert!(result.stopped.stderr.contains("rolls nothing back"), "{}", result.stopped);
    assert_eq!((mesh_objects(&stage), has_journal(&stage)), (before, false));
    assert!(!object_names(&stage).contains("Lease"), "{}", object_names(&stage));
}

#[test]
fn a_run_that_was_stopped_before_its_validation_names_the_loss_of_its_lease() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = mesh_objects(&stage);
    assert_eq!(stage.run(ENABLE).code, Some(0));
    // The first requests after the creation of the Lease read the policies, the rules and the journals.
    let result = stop_beside_a_restore(&stage, "disable-mtls --yes --verify=false", StopAt::Request(3)).unwrap();
    assert_lost(&result);
    assert!(result.stopped.stderr.contains("nothing was written"), "{}", result.stopped);
    assert_eq!(mesh_objects(&stage), before);
}

#[test]
fn a_rollback_is_not_made_without_the_lease() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = mesh_objects(&stage);
    let command = format!("{ENABLE} --rollback-on-failure");
    let result = stop_beside_a_restore(&stage, &command, StopAt::FirstChange).unwrap();
    assert_lost(&result);
    assert!(!result.stopped.stderr.contains("rolling back"), "{}", result.stopped);
    assert_eq!(mesh_objects(&stage), before);
}

#[test]
fn a_restore_that_was_stopped_longer_than_its_lease_writes_nothing_more() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = mesh_objects(&stage);
    assert_eq!(stage.run(ENABLE).code, Some(0));
    let result = stop_beside_a_restore(&stage, RESTORE, StopAt::FirstChange).unwrap();
    assert_lost(&result);
    assert_eq!(mesh_objects(&stage), before);
}

/// Stops each command at each of twenty requests from its Lease on, ten runs at a time.
#[test]
#[ignore = "takes minutes: cargo test --test cli stopped_at_any_request -- --ignored"]
fn a_run_that_is_stopped_at_any_request_leaves_nothing_that_cannot_be_undone() {
    let (mut lost, mut ended) = (0, 0);
    for command in [ENABLE, "disable-mtls --yes --verify=false", RESTORE] {
        for moments in [0..10, 10..20] {
            let counts: Vec<(usize, usize)> = std::thread::scope(|scope| {
                let threads: Vec<_> = moments.map(|moment| scope.spawn(move || stop_once(command, moment))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            lost += counts.iter().map(|(lost, _)| lost).sum::<usize>();
            ended += counts.iter().map(|(_, ended)| ended).sum::<usize>();
        }
    }
    writeln!(std::io::stderr(), "stopped runs: {lost} lost the Lease and wrote nothing more, {ended} kept it").unwrap();
    assert!(lost >= 10, "{lost} {ended}");
}

/// One stopped run: whether it lost its Lease, and whether it ended as usual.
fn stop_once(command: &str, moment: usize) -> (usize, usize) {
    let stage = Stage::new(State::Permissive, &[]);
    let before = mesh_objects(&stage);
    if command != ENABLE {
        assert_eq!(stage.run(ENABLE).code, Some(0));
    }
    let Some(result) = stop_beside_a_restore(&stage, command, StopAt::Request(moment)) else { return (0, 0) };
    let has_taken_over = result.second.stderr.contains("a run did not come to its end");
    if has_taken_over {
        assert_eq!(result.objects.1, result.objects.0, "{command} {moment}: {}", result.stopped);
        assert_eq!(result.stopped.code, Some(4), "{command} {moment}: {}", result.stopped);
    }
    // Whoever wrote last, the former state comes back.
    let restored = stage.run(RESTORE);
    assert_eq!(restored.code, Some(0), "{command} {moment}: {restored}");
    assert_eq!(mesh_objects(&stage), before, "{command} {moment}: {}\n{}", result.stopped, result.second);
    (usize::from(has_taken_over), usize::from(!has_taken_over))
}

fn creates(method: &Method, path: &str, resource: &str) -> bool {
    *method == Method::POST && path.contains(resource)
}

#[test]
fn without_a_journal_nothing_is_written() {
    for (fate, message) in [
        (Fate::Refused(409, "Conflict"), "could not create configmaps"),
        (Fate::Refused(409, "AlreadyExists"), "does not exist after its creation"),
        (Fate::Refused(403, "Forbidden"), "could not create configmaps"),
        (Fate::Faked("{}"), "does not exist after its creation"),
    ] {
        let stage = Stage::new(State::Permissive, &[]);
        let before = object_names(&stage);
        let url = serve(
            &stage,
            move |method, path, _| {
                if creates(method, path, "/configmaps") { fate } else { Fate::Answered }
            },
        );
        let run = run(&stage, &url, ENABLE);
        assert_eq!(run.code, Some(4), "{fate:?}: {run}");
        assert!(run.stderr.contains(message) && run.stderr.contains("nothing was written"), "{fate:?}: {run}");
        assert_eq!(object_names(&stage), before, "{fate:?}");
    }
}

#[test]
fn a_conflict_on_a_creation_is_tried_again() {
    for resource in ["/configmaps", "/leases"] {
        let stage = Stage::new(State::Permissive, &[]);
        let before = mesh_objects(&stage);
        let url = serve(&stage, move |method, path, earlier| {
            let is_refused = creates(method, path, resource) && earlier == 0;
            if is_refused { Fate::Refused(409, "Conflict") } else { Fate::Answered }
        });
        let enabled = run(&stage, &url, ENABLE);
        assert_eq!(enabled.code, Some(0), "{resource}: {enabled}");
        assert!(has_journal(&stage), "{resource}");
        assert_eq!(stage.run(RESTORE).code, Some(0), "{resource}");
        assert_eq!(mesh_objects(&stage), before, "{resource}");
    }
}

#[test]
fn a_journal_whose_answers_are_lost_or_empty_is_read_back() {
    for fate in [Fate::Lost, Fate::Emptied] {
        let stage = Stage::new(State::Permissive, &[]);
        let before = mesh_objects(&stage);
        let url =
            serve(
                &stage,
                move |method, path, earlier| {
                    if creates(method, path, "/configmaps") && earlier == 0 { fate } else { Fate::Answered }
                },
            );
        let enabled = run(&stage, &url, ENABLE);
        assert_eq!(enabled.code, Some(0), "{fate:?}: {enabled}");
        assert_eq!(stage.run(RESTORE).code, Some(0), "{fate:?}");
        assert_eq!(mesh_objects(&stage), before, "{fate:?}");
    }
}

#[test]
fn without_a_lease_nothing_is_written() {
    for fate in [Fate::Refused(409, "Conflict"), Fate::Refused(403, "Forbidden")] {
        let stage = Stage::new(State::Permissive, &[]);
        let before = object_names(&stage);
        let url =
            serve(&stage, move |method, path, _| if creates(method, path, "/leases") { fate } else { Fate::Answered });
        let run = run(&stage, &url, ENABLE);
        assert_eq!(run.code, Some(4), "{fate:?}: {run}");
        assert_eq!(object_names(&stage), before, "{fate:?}");
    }
}

#[test]
fn a_write_that_is_answered_without_an_object_is_looked_up() {
    for (fate, is_made) in [(Fate::Emptied, true), (Fate::Faked("{}"), false)] {
        let stage = Stage::new(State::Permissive, &[]);
        let before = mesh_objects(&stage);
        let url = serve(&stage, move |method, path, _| {
            if writes(method, path) && path.contains("destinationrules/boards?") { fate } else { Fate::Answered }
        });
        let run = run(&stage, &url, "enable-mtls boards --yes --verify=false");
        assert_eq!(run.code, Some(4), "{fate:?}: {run}");
        let name = "destinationrule.networking.istio.io/boards";
        assert_eq!(run.stderr.contains(&format!("{name} created\nwarning: ended early")), is_made, "{fate:?}: {run}");
        assert_eq!(run.stderr.contains("may or may not have been made"), !is_made, "{fate:?}: {run}");
        assert_eq!(stage.run(RESTORE).code, Some(0), "{fate:?}");
        assert_eq!(mesh_objects(&stage), before, "{fate:?}");
    }
}

#[test]
fn a_lease_that_is_not_deleted_is_named() {
    for fate in [Fate::Faked("{}"), Fate::Refused(409, "Conflict"), Fate::Refused(422, "Invalid")] {
        let stage = Stage::new(State::Permissive, &[]);
        let url =
            serve(
                &stage,
                move |method, path, _| {
                    if *method == Method::DELETE && path.contains("/leases") { fate } else { Fate::Answered }
                },
            );
        let run = run(&stage, &url, ENABLE);
        assert_eq!(run.code, Some(5), "{fate:?}: {run}");
        assert!(run.stderr.contains("the Lease is left"), "{fate:?}: {run}");
    }
}

#[test]
fn a_pod_that_is_not_deleted_is_named() {
    std::thread::scope(|scope| {
        for fate in [Fate::Faked("{}"), Fate::Refused(409, "Conflict"), Fate::Refused(422, "Invalid")] {
            scope.spawn(move || {
                let stage = Stage::new(State::Permissive, &[]);
                let url = serve(&stage, move |method, path, _| {
                    if *method == Method::DELETE && path.contains("/pods") { fate } else { Fate::Answered }
                });
                let run = run(&stage, &url, "probe boards");
                let pods = stage.probe_pods();
                assert_eq!((run.code, pods.is_empty()), (Some(5), false), "{fate:?}: {run}");
                assert!(pods.iter().all(|pod| run.stderr.contains(pod)), "{fate:?}: {pods:?} {run}");
            });
        }
    });
}

#[test]
fn a_pod_whose_creation_conflicts_is_created_by_another_try() {
    let stage = Stage::new(State::Permissive, &[]);
    let url = serve(&stage, |method, path, earlier| {
        let is_refused = creates(method, path, "/pods") && earlier == 0;
        if is_refused { Fate::Refused(409, "Conflict") } else { Fate::Answered }
    });
    let run = run(&stage, &url, "probe boards");
    assert_eq!((run.code, stage.probe_pods()), (Some(0), Vec::new()), "{run}");
}

#[test]
fn one_message_names_every_missing_right() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = object_names(&stage);
    let url = serve(&stage, |method, path, _| {
        let denied = r#"{"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {}, "spec": {}, "status": {"allowed": false}}"#;
        if creates(method, path, "/selfsubjectaccessreviews") { Fate::Faked(denied) } else { Fate::Answered }
    });
    let run = run(&stage, &url, ENABLE);
    assert_eq!(run.code, Some(4), "{run}");
    for right in [
        "create leases.coordination.k8s.io",
        "(for the lock)",
        "create configmaps",
        "(for the journal)",
        "patch peerauthentications.security.istio.io (for the policies)",
        "patch destinationrules.networking.istio.io (for the rules)",
    ] {
        assert!(run.stderr.contains(right), "{right}: {run}");
    }
    assert_eq!(object_names(&stage), before);
}

#[test]
fn an_object_that_is_not_deleted_is_named() {
    let stage = Stage::new(State::Permissive, &[]);
    let before = mesh_objects(&stage);
    assert_eq!(stage.run(ENABLE).code, Some(0));
    let url = serve(&stage, |method, path, _| {
        let is_deletion = *method == Method::DELETE && path.contains("/destinationrules/boards?");
        if is_deletion { Fate::Faked("{}") } else { Fate::Answered }
    });
    let restored = run(&stage, &url, RESTORE);
    assert_eq!(restored.code, Some(5), "{restored}");
    let left = "still there after the deletion: destinationrule.networking.istio.io/boards;";
    assert!(restored.stderr.contains(left), "{restored}");
    assert!(has_journal(&stage));
    assert_eq!(stage.run(RESTORE).code, Some(0));
    assert_eq!((mesh_objects(&stage), has_journal(&stage)), (before, false));
}

/// Deletes the Lease, and the journals where another run has restored the namespace.
fn take_over(stage: &Stage, has_restored: bool) {
    let _inside = stage.runtime.enter();
    let leases: Api<k8s_openapi::api::coordination::v1::Lease> = Api::default_namespaced(stage.sandbox.client());
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::default_namespaced(stage.sandbox.client());
    stage.runtime.block_on(async {
        leases.delete("secure-traffic", &DeleteParams::default()).await.unwrap();
        let journals = ListParams::default().labels("app.kubernetes.io/component=journal");
        for map in maps.list(&journals).await.unwrap() {
            if has_restored {
                maps.delete(&map.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
            }
        }
    });
}

#[test]
fn what_arrives_after_the_loss_of_the_lease_is_deleted_unless_a_journal_names_it() {
    let rule = "/destinationrules/boards?";
    let policy = "/peerauthentications/default?";
    std::thread::scope(|scope| {
        for (late, has_restored, kind, is_left) in [
            (rule, true, "DestinationRule", false),
            (policy, true, "PeerAuthentication", false),
            (policy, false, "PeerAuthentication", true),
            ("/configmaps", false, "DestinationRule", false),
        ] {
            scope.spawn(move || {
                let stage = Stage::new(State::Permissive, &[]);
                let before = mesh_objects(&stage);
                let has_come = Arc::new(AtomicUsize::new(0));
                let seen = Arc::clone(&has_come);
                let url = serve(&stage, move |method, path, _| {
                    let is_it = path.contains(late) && (writes(method, path) || *method == Method::POST);
                    if is_it && seen.fetch_add(1, Ordering::Relaxed) == 0 {
                        return Fate::Late(Duration::from_secs(5));
                    }
                    Fate::Answered
                });
                let child = start(&stage, &url, "enable-mtls boards --yes --verify=false");
                while has_come.load(Ordering::Relaxed) == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
                take_over(&stage, has_restored);
                let run = wait(child);
                assert_eq!(run.code, Some(4), "{late}: {run}");
                assert!(run.stderr.contains("the Lease secure-traffic of namespace"), "{late}: {run}");
                assert_eq!(mesh_objects(&stage).contains(kind), is_left, "{late}: {run}");
                let is_told = run.stderr.contains("was created after the Lease was lost, and is deleted");
                assert_eq!(is_told, has_restored, "{late}: {run}");
                assert_eq!(has_journal(&stage), is_left, "{late}: {run}");
                if is_left {
                    assert_eq!(stage.run(RESTORE).code, Some(0), "{late}");
                    assert_eq!(mesh_objects(&stage), before, "{late}");
                }
            });
        }
    });
}

#[test]
fn a_journal_that_is_not_deleted_is_named() {
    for fate in [Fate::Faked("{}"), Fate::Refused(409, "Conflict"), Fate::Refused(403, "Forbidden")] {
        let stage = Stage::new(State::Permissive, &[]);
        let before = mesh_objects(&stage);
        assert_eq!(stage.run(ENABLE).code, Some(0));
        let url = serve(&stage, move |method, path, _| {
            if *method == Method::DELETE && path.contains("/configmaps/") { fate } else { Fate::Answered }
        });
        let run = run(&stage, &url, RESTORE);
        assert_eq!(run.code, Some(5), "{fate:?}: {run}");
        let left = "still there after the deletion: configmaps secure-traffic-journal-";
        assert!(run.stderr.contains(left), "{fate:?}: {run}");
        assert_eq!((mesh_objects(&stage), has_journal(&stage)), (before, true), "{fate:?}");
    }
}

#[test]
fn a_pod_that_cleanup_cannot_delete_is_named() {
    for fate in [Fate::Faked("{}"), Fate::Refused(409, "Conflict"), Fate::Refused(403, "Forbidden"), Fate::Answered] {
        let stage = Stage::new(State::Permissive, &[]);
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "secure-traffic-probe-bcdfg", "labels": {"app.kubernetes.io/managed-by": "secure-traffic"}},
            "spec": {"containers": [{"name": "probe", "image": "curl", "command": ["sleep"]}]},
        }));
        stage.runtime.block_on(stage.pods().create(&PostParams::default(), &pod.unwrap())).unwrap();
        let url =
            serve(
                &stage,
                move |method, path, _| {
                    if *method == Method::DELETE && path.contains("/pods/") { fate } else { Fate::Answered }
                },
            );
        let run = run(&stage, &url, "cleanup");
        let is_deleted = matches!(fate, Fate::Answered);
        assert_eq!(run.code, Some(if is_deleted { 0 } else { 5 }), "{fate:?}: {run}");
        assert_eq!(run.stdout.contains("pod/secure-traffic-probe-bcdfg deleted"), is_deleted, "{fate:?}: {run}");
        let named = "could not be removed: pod/secure-traffic-probe-bcdfg -n microservices-demo";
        assert_eq!(run.stderr.contains(named), !is_deleted, "{fate:?}: {run}");
    }
}

#[test]
fn what_a_planted_journal_changes_is_shown_before_the_question() {
    let stage = Stage::new(State::Permissive, &[]);
    let (uid, spec) = user_policy(&stage);
    let former = serde_json::json!({"uid": uid, "spec": {"mtls": {"mode": "DISABLE"}}, "metadata": {}});
    let entry = serde_json::json!({"kind": "policy", "name": "default", "former": former, "written": [spec]});
    plant_journal(&stage, "bcdfg", "bcdfg", &entry);
    let before = mesh_objects(&stage);
    let run = stage.run("disable-mtls --restore");
    assert_eq!(run.code, Some(2), "{run}");
    let shown =
        "would change in namespace microservices-demo:\n  ~ peerauthentication/default  as before; DISABLE then holds";
    assert!(run.stderr.contains(shown), "{run}");
    assert!(run.stderr.contains("there is no terminal to ask on"), "{run}");
    assert_eq!(mesh_objects(&stage), before);
}

/// Creates a journal of one run as its author pleases.
fn plant_journal(stage: &Stage, label: &str, run: &str, entry: &serde_json::Value) {
    let head = serde_json::json!({
        "version": 1, "run": run, "command": "enable-mtls", "by": "somebody", "begun": "2026-01-01T00:00:00Z",
        "stage": "done", "parts": 1,
    });
    let map = serde_json::from_value(serde_json::json!({
        "metadata": {"name": format!("secure-traffic-journal-{label}-0"), "labels": {
            "app.kubernetes.io/managed-by": "secure-traffic", "app.kubernetes.io/component": "journal",
            "app.kubernetes.io/instance": label,
        }},
        "data": {"run": head.to_string(), "entries": entry.to_string()},
    }))
    .unwrap();
    let api: Api<k8s_openapi::api::core::v1::ConfigMap> = {
        let _inside = stage.runtime.enter();
        Api::default_namespaced(stage.sandbox.client())
    };
    stage.runtime.block_on(api.create(&PostParams::default(), &map)).unwrap();
}

/// A user's policy; returns its UID and spec.
fn user_policy(stage: &Stage) -> (String, serde_json::Value) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("security.istio.io", "v1", "PeerAuthentication"));
    let api: Api<DynamicObject> = {
        let _inside = stage.runtime.enter();
        Api::default_namespaced_with(stage.sandbox.client(), &resource)
    };
    let policy =
        DynamicObject::new("default", &resource).data(serde_json::json!({"spec": {"mtls": {"mode": "STRICT"}}}));
    let created = stage.runtime.block_on(api.create(&PostParams::default(), &policy)).unwrap();
    (created.metadata.uid.unwrap(), created.data["spec"].clone())
}

#[test]
fn a_planted_journal_does_not_decide_what_a_restore_writes() {
    let selector = serde_json::json!({"mtls": {"mode": "DISABLE"}, "selector": {"matchLabels": {"app": "boards"}}});
    for (former, message) in [
        (Some(selector), "fields that this tool has not written; it is left as it is: .spec.selector"),
        (None, "a journal names it as created by a run, but the object does not show that; it is not deleted"),
    ] {
        let stage = Stage::new(State::Permissive, &[]);
        let (uid, spec) = user_policy(&stage);
        let before = mesh_objects(&stage);
        let former = former.map(|spec| serde_json::json!({"uid": uid, "spec": spec, "metadata": {}}));
        let entry = serde_json::json!({
            "kind": "policy", "name": "default", "former": former, "written": [spec], "made": uid,
        });
        plant_journal(&stage, "bcdfg", "bcdfg", &entry);
        let run = stage.run(RESTORE);
        assert_eq!(run.code, Some(5), "{run}");
        assert!(run.stderr.contains(message), "{run}");
        assert_eq!(mesh_objects(&stage), before, "{run}");
    }
}

#[test]
fn a_journal_whose_label_and_run_differ_is_named() {
    let stage = Stage::new(State::Permissive, &[]);
    let (uid, spec) = user_policy(&stage);
    let entry =
        serde_json::json!({"kind": "policy", "name": "default", "former": null, "written": [spec], "made": uid});
    plant_journal(&stage, "bcdfg", "hjklm", &entry);
    let run = stage.run(RESTORE);
    assert_eq!(run.code, Some(4), "{run}");
    let message = "the journal of run bcdfg cannot be read: its label names run bcdfg, its head names run hjklm";
    assert!(run.stderr.contains(message), "{run}");
}

#[test]
fn a_probe_whose_log_is_lost_is_made_once_more() {
    let stage = Stage::new(State::Strict, &[]);
    let first = std::sync::Mutex::new(None);
    let url = serve(&stage, move |_, path, _| {
        let Some((pod, _)) = path.split_once("/log") else { return Fate::Answered };
        let is_first = first.lock().unwrap().get_or_insert_with(|| pod.to_owned()) == pod;
        if is_first { Fate::Faked("") } else { Fate::Answered }
    });
    let probed = run(&stage, &url, "probe boards --expect rejected");
    assert_eq!(probed.code, Some(0), "{probed}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn a_curl_that_writes_no_record_is_reported_with_its_own_words() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let curl = directory.path().join("curl");
    std::fs::write(&curl, "#!/bin/sh\necho 'curl: (2) no memory' >&2\nexit 2\n").unwrap();
    std::fs::set_permissions(&curl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = command();
    command.args(["probe", "--sandbox", "boards"]).env("PATH", directory.path());
    let run = crate::helpers::finish(command);
    assert_eq!(run.code, Some(3), "{run}");
    let message = "curl exited with code 2 without a record in its log, whose last line is: curl: (2) no memory";
    assert!(run.stdout.contains("lost-output") && run.stdout.contains(message), "{run}");
}
