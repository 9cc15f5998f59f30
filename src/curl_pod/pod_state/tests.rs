//! Tables of statuses that a kubelet wrote, and of errors that an API server returned.

use super::*;
use kube::core::Status;
use serde_json::{Value, json};

fn pod_with(status: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

/// `waiting`, `running`, `ended 56` or `image-pull: message`.
fn word(progress: &PodProgress) -> String {
    match progress {
        PodProgress::Waiting => "waiting".to_owned(),
        PodProgress::Running => "running".to_owned(),
        PodProgress::Ended(terminated) => format!("ended {}", terminated.exit_code),
        PodProgress::Stuck(reason, message) => format!("{reason}: {message}"),
    }
}

fn state(phase: &str, state: &Value) -> Value {
    json!({"phase": phase, "containerStatuses": [{
        "name": "probe", "state": state, "ready": false, "restartCount": 0, "image": "curl", "imageID": "",
    }]})
}

fn waiting(reason: &str, message: &str) -> Value {
    state("Pending", &json!({"waiting": {"reason": reason, "message": message}}))
}

fn terminated(phase: &str, exit_code: i32, reason: &str) -> Value {
    state(
        phase,
        &json!({"terminated": {
            "exitCode": exit_code, "reason": reason, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z",
        }}),
    )
}

fn with(mut status: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("an object") };
    status.as_object_mut().unwrap().extend(fields);
    status
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_the_kubelet_writes_means() {
    let unschedulable = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to \
                         deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let scheduled = |status: &str, reason: &str, message: &str| {
        json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": status, "reason": reason, "message": message,
        }]})
    };
    let not_found = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                     failed: unable to start container process: exec: \"curl\": executable file not found in $PATH: unknown";
    let mut no_curl = terminated("Failed", 128, "StartError");
    no_curl["containerStatuses"][0]["state"]["terminated"]["message"] = not_found.into();
    let mut killed_with_body = terminated("Failed", 137, "OOMKilled");
    killed_with_body["containerStatuses"][0]["state"]["terminated"]["message"] = "the application's body".into();
    let mut by_signal = terminated("Failed", 0, "Error");
    by_signal["containerStatuses"][0]["state"]["terminated"]["signal"] = 9.into();
    let ended = "the probe was ended before its work was done:";
    let rows: Vec<(&str, Value, String)> = vec![
        ("no status yet", json!({}), "waiting".into()),
        ("not scheduled yet", json!({"phase": "Pending"}), "waiting".into()),
        ("scheduled", scheduled("True", "", ""), "waiting".into()),
        (
            "no node takes it",
            scheduled("False", "Unschedulable", unschedulable),
            format!("unschedulable: {unschedulable}"),
        ),
        ("held by a scheduling gate", scheduled("False", "SchedulingGated", "gated"), "waiting".into()),
        ("being created", waiting("ContainerCreating", ""), "waiting".into()),
        ("init containers run", waiting("PodInitializing", ""), "waiting".into()),
        (
            "no such image",
            waiting("ErrImagePull", "failed to pull and unpack image \"docker.io/no/such:1\": network is unreachable"),
            "image-pull: ErrImagePull: failed to pull and unpack image \"docker.io/no/such:1\": network is unreachable"
                .into(),
        ),
        (
            "no such image, again",
            waiting("ImagePullBackOff", "Back-off pulling image \"docker.io/no/such:1\""),
            "image-pull: ImagePullBackOff: Back-off pulling image \"docker.io/no/such:1\"".into(),
        ),
        (
            "no image's name",
            waiting("InvalidImageName", "couldn't parse image name \"Bad//Image\""),
            "image-pull: InvalidImageName: couldn't parse image name \"Bad//Image\"".into(),
        ),
        (
            "never pulled",
            waiting("ErrImageNeverPull", "Container image \"x\" is not present with pull policy of Never"),
            "image-pull: ErrImageNeverPull: Container image \"x\" is not present with pull policy of Never".into(),
        ),
        (
            "a configuration that is not there",
            waiting("CreateContainerConfigError", "configmap \"nosuch\" not found"),
            "probe-failed: CreateContainerConfigError: configmap \"nosuch\" not found".into(),
        ),
        (
            "restarted over and over, which our pods never are",
            waiting("CrashLoopBackOff", "back-off 10s restarting failed container"),
            "waiting".into(),
        ),
        ("running", state("Running", &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})), "running".into()),
        ("curl has ended well", terminated("Succeeded", 0, "Completed"), "ended 0".into()),
        ("curl was reset", terminated("Failed", 56, "Error"), "ended 56".into()),
        ("curl has ended, the phase lags", terminated("Running", 56, "Error"), "ended 56".into()),
        ("no curl in the image", no_curl, format!("no-curl: the probe could not be started: StartError: {not_found}")),
        (
            "out of memory",
            terminated("Failed", 137, "OOMKilled"),
            format!("out-of-memory: {ended} OOMKilled (exit code 137)"),
        ),
        ("out of memory after a body", killed_with_body, format!("out-of-memory: {ended} OOMKilled (exit code 137)")),
        ("ended by a signal", by_signal, format!("probe-failed: {ended} Error (exit code 0)")),
        (
            "past its deadline",
            with(
                terminated("Failed", 137, "Error"),
                json!({"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}),
            ),
            format!("deadline: {ended} DeadlineExceeded (exit code 137)"),
        ),
        (
            "past its deadline before it ran",
            json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}),
            "deadline: DeadlineExceeded: Pod was active on the node longer than the specified deadline".into(),
        ),
        (
            "evicted",
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}),
            "evicted: Evicted: The node was low on resource: ephemeral-storage.".into(),
        ),
        (
            "preempted while it ran",
            with(
                state("Failed", &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})),
                json!({"reason": "Preempting", "message": "Preempted in order to admit critical pod"}),
            ),
            "evicted: Preempting: Preempted in order to admit critical pod".into(),
        ),
        (
            "its node has shut down",
            json!({"phase": "Failed", "reason": "NodeShutdown", "message": "Pod was terminated in response to imminent node shutdown."}),
            "node-lost: NodeShutdown: Pod was terminated in response to imminent node shutdown.".into(),
        ),
        (
            "its node does not answer any more",
            with(
                state("Running", &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})),
                json!({"conditions": [{
                    "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                    "message": "Taint manager: deleting due to NoExecute taint",
                }]}),
            ),
            "node-lost: Taint manager: deleting due to NoExecute taint".into(),
        ),
        (
            "about to be evicted",
            with(
                state("Running", &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}})),
                json!({"conditions": [{
                    "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting",
                }]}),
            ),
            "evicted: Eviction API: evicting".into(),
        ),
        (
            "another container has ended, ours runs",
            json!({"phase": "Running", "containerStatuses": [
                {"name": "other", "state": {"terminated": {"exitCode": 0}}, "ready": false, "restartCount": 0, "image": "", "imageID": ""},
                {"name": "probe", "state": {"running": {}}, "ready": true, "restartCount": 0, "image": "", "imageID": ""},
            ]}),
            "running".into(),
        ),
    ];
    for (row, status, expected) in rows {
        assert_eq!(word(&progress(&pod_with(&status))), expected, "{row}");
    }
    assert_eq!(word(&progress(&Pod::default())), "waiting", "no status at all");
}

#[test]
fn of_two_containers_the_one_that_is_least_far_tells() {
    let states = [
        ("waiting", json!({"waiting": {"reason": "ContainerCreating"}})),
        ("running", json!({"running": {}})),
        ("ended", json!({"terminated": {"exitCode": 56, "reason": "Error", "message": "of PROBE"}})),
        ("stuck", json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}})),
    ];
    let row = |name: &str, state: &Value| json!({"name": name, "state": state, "ready": true, "restartCount": 0, "image": "", "imageID": ""});
    for (first_rank, (first, first_state)) in states.iter().enumerate() {
        for (second_rank, (second, second_state)) in states.iter().enumerate() {
            let mut pod = pod_with(
                &json!({"phase": "Running", "containerStatuses": [row(HELLO, second_state), row(PROBE, first_state)]}),
            );
            pod.spec = serde_json::from_value(json!({"containers": [{"name": PROBE}, {"name": HELLO}]})).unwrap();
            let expected = match (*first, *second) {
                ("stuck", _) | (_, "stuck") => "image-pull",
                _ => states[first_rank.min(second_rank)].0,
            };
            assert!(word(&progress(&pod)).starts_with(expected), "{first}, {second}: {:?}", progress(&pod));
        }
    }
    let mut pod = pod_with(&json!({"containerStatuses": [row(PROBE, &states[2].1)]}));
    pod.spec = serde_json::from_value(json!({"containers": [{"name": PROBE}, {"name": HELLO}]})).unwrap();
    assert_eq!(progress(&pod), PodProgress::Waiting, "of the other nothing is known yet");
}

fn service(name: &str, selector: &[(&str, &str)]) -> Service {
    Service {
        name: name.to_owned(),
        selector: selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Service::default()
    }
}

#[test]
fn only_a_pod_that_nobody_touched_is_outside() {
    type Row = (&'static str, Value, Value, Option<(Reason, &'static str)>);
    let plain = json!({"containers": [{"name": "probe"}]});
    let rows: Vec<Row> = vec![
        ("as we made it", json!({"labels": {"sidecar.istio.io/inject": "false"}}), plain.clone(), None),
        (
            "a sidecar as a container",
            json!({}),
            json!({"containers": [{"name": "probe"}, {"name": "istio-proxy"}]}),
            Some((Reason::ProbeMeshed, "(sidecar)")),
        ),
        (
            "a sidecar as an init container that stays",
            json!({"annotations": {"istio.io/rev": "canary"}}),
            json!({"initContainers": [{"name": "istio-proxy", "restartPolicy": "Always"}], "containers": [{"name": "probe"}]}),
            Some((Reason::ProbeMeshed, "by revision \"canary\"")),
        ),
        (
            "an init container that only redirects",
            json!({}),
            json!({"initContainers": [{"name": "istio-init"}], "containers": [{"name": "probe"}]}),
            Some((Reason::ProbeMeshed, "\"istio-init\"")),
        ),
        (
            "an annotation of the injector alone",
            json!({"annotations": {"sidecar.istio.io/status": "{}"}}),
            plain.clone(),
            Some((Reason::ProbeMeshed, "brought into the mesh")),
        ),
        (
            "captured by ztunnel",
            json!({"annotations": {"ambient.istio.io/redirection": "enabled"}}),
            plain.clone(),
            Some((Reason::ProbeMeshed, "(ambient)")),
        ),
        (
            "about to be captured by ztunnel",
            json!({"annotations": {"ambient.istio.io/redirection": "pending"}}),
            plain.clone(),
            Some((Reason::ProbeMeshed, "brought into the mesh")),
        ),
        (
            "a label that makes it an endpoint",
            json!({"labels": {"app": "boards", "version": "v1"}}),
            plain.clone(),
            Some((Reason::ProbeSelected, "\"boards\"")),
        ),
        ("half of a selector", json!({"labels": {"tier": "web"}}), plain.clone(), None),
        (
            "another sidecar than the mesh's",
            json!({}),
            json!({"containers": [{"name": "probe"}, {"name": "log-shipper"}]}),
            None,
        ),
    ];
    let services = [
        service("by-hand", &[]),
        service("boards", &[("app", "boards")]),
        service("web", &[("tier", "web"), ("app", "web")]),
    ];
    for (row, metadata, spec, expected) in rows {
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        match (check_outside(&pod, &services), expected) {
            (Ok(()), None) => {}
            (Err((reason, words)), Some((expected, part))) => {
                assert!(reason == expected && words.contains(part), "{row}: {reason}: {words}");
            }
            (seen, _) => panic!("{row}: {seen:?}"),
        }
    }
}

fn refused(code: u16, reason: &str, message: &str) -> Option<Reason> {
    let status = Status { code, reason: reason.to_owned(), message: message.to_owned(), ..Status::default() };
    classify_refusal(&status).map(|(reason, words)| {
        assert_eq!(words, message, "the server's words are kept");
        reason
    })
}

#[test]
fn refusals_are_sorted_by_who_refused() {
    let rows = [
        (
            "Pod Security",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
             (container \"probe\" must set securityContext.allowPrivilegeEscalation=false)",
            Some(Reason::PodSecurity),
        ),
        (
            "an exhausted quota",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0",
            Some(Reason::Quota),
        ),
        (
            "a quota that demands limits",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: failed quota: q: must specify limits.memory for: probe",
            Some(Reason::Quota),
        ),
        (
            "a range of limits",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: [minimum memory usage per Container is 128Mi, but request is 16Mi, maximum cpu usage \
             per Pod is 100m, but limit is 500m]",
            Some(Reason::LimitRange),
        ),
        (
            "a missing right",
            403,
            "Forbidden",
            "pods is forbidden: User \"nobody\" cannot create resource \"pods\" in API group \"\" in the namespace \"demo\"",
            None,
        ),
        (
            "an admission policy",
            422,
            "Invalid",
            "pods \"p\" is forbidden: ValidatingAdmissionPolicy 'signed' with binding 'signed' denied request: only signed images",
            Some(Reason::AdmissionDenied),
        ),
        (
            "a webhook",
            400,
            "BadRequest",
            "admission webhook \"policy.example.org\" denied the request: no probes here",
            Some(Reason::WebhookDenied),
        ),
        (
            "a namespace that goes away",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: unable to create new content in namespace demo because it is being terminated",
            Some(Reason::AdmissionDenied),
        ),
        (
            "no service account",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: error looking up service account demo/default: serviceaccount \"default\" not found",
            Some(Reason::NoServiceAccount),
        ),
        (
            "an invalid pod",
            422,
            "Invalid",
            "Pod \"p\" is invalid: spec.containers[0].image: Required value",
            Some(Reason::AdmissionDenied),
        ),
        (
            "a quota that nobody has counted yet",
            403,
            "Forbidden",
            "pods \"p\" is forbidden: status unknown for quota: q, resources: pods",
            Some(Reason::QuotaUnknown),
        ),
        (
            "a webhook that does not answer",
            500,
            "InternalError",
            "Internal error occurred: failed calling webhook \"namespace.sidecar-injector.istio.io\": failed to call webhook: \
             Post \"https://istiod.istio-system.svc:443/inject?timeout=10s\": dial tcp 10.96.177.35:443: connect: connection refused",
            Some(Reason::WebhookFailed),
        ),
        ("no such namespace", 404, "NotFound", "namespaces \"nosuch\" not found", None),
        ("credentials", 401, "Unauthorized", "Unauthorized", None),
        ("a server in trouble", 500, "InternalError", "Internal error occurred: etcdserver: leader changed", None),
        ("a server without time", 504, "Timeout", "Timeout: request did not complete within requested timeout", None),
    ];
    for (row, code, reason, message, expected) in rows {
        assert_eq!(refused(code, reason, message), expected, "{row}");
    }
}
