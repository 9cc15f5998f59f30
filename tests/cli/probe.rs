use crate::helpers::{CliRun, Stage, command, finish, run, shows};
use secure_traffic::istio::yaml;
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::json;

#[test]
fn accepted_with_the_body_of_the_path() {
    shows!(run("probe --sandbox boards:8080/shareditems"), @r#"
    exit 0
    --- stdout
    boards:8080/shareditems  accepted
      seen       HTTP 200
      policy     PERMISSIVE, the mesh's default: no policy says otherwise
      body
        [
          {"_id": "5ccb871cfa5ab60016b33374", "owner": "userX", "type": "string", "raw": "hi", "name": "", "id": "ObiAGZaUd", "created_at": "2019-05-03T00:11:08+00:00"},
          {"_id": "5ccc51d34cfcfe00161ef710", "owner": "userX", "type": "string", "raw": "this is good", "name": "", "id": "-4kF8UeJU", "created_at": "2019-05-03T14:36:03+00:00"}
        ]
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn rejected_with_evidence() {
    shows!(run("probe --sandbox=strict boards:8080/shareditems"), @r#"
    exit 0
    --- stdout
    boards:8080/shareditems  rejected
      seen       reset by the mesh 3/3
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn every_tcp_port_without_targets() {
    shows!(run("probe --sandbox=strict --attempts 1"), @r#"
    exit 0
    --- stdout
    TARGET                 VERDICT    MODE     SEEN
    app-ui:8080            rejected   STRICT   reset by the mesh 1/1
    boards:8080            rejected   STRICT   reset by the mesh 1/1
    boards-mongodb:27017   rejected   STRICT   reset by the mesh 1/1
    context-scraper:9100   rejected   STRICT   reset by the mesh 1/1
    userprofile:8080       rejected   STRICT   reset by the mesh 1/1
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn wide_and_per_endpoint() {
    shows!(run("probe --sandbox=strict --per-endpoint -o wide boards"), @r"
    exit 0
    --- stdout
    TARGET        ENDPOINT          POD                       VERDICT    MODE     SEEN                    SAMPLES      POLICY                                              IDENTITY
    boards:8080   *                 *                         rejected   STRICT   reset by the mesh 3/3   6× curl 56   STRICT, by microservices-demo/default (namespace)   spiffe://cluster.local/ns/microservices-demo/sa/boards
    boards:8080   10.244.0.3:8080   boards-[pod]   rejected   STRICT   reset by the mesh 3/3   3× curl 56   STRICT, by microservices-demo/default (namespace)   spiffe://cluster.local/ns/microservices-demo/sa/boards
    --- stderr
    namespace microservices-demo
    ");
}

/// The lines of a report that give a target and its verdict.
fn verdicts(run: &CliRun) -> Vec<&str> {
    run.stdout.lines().filter(|line| !line.starts_with(' ')).collect()
}

#[test]
fn expectations_decide_between_0_and_1() {
    let stage = Stage::new(State::Strict, &[]);
    let expected = stage.run("probe --expect rejected boards userprofile");
    shows!(&expected, @r#"
    exit 0
    --- stdout
    boards:8080  rejected
      seen       reset by the mesh 3/3
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
    userprofile:8080  rejected
      seen       reset by the mesh 3/3
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/userprofile (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
    --- stderr
    namespace microservices-demo
    as expected: 2 targets rejected
    "#);
    let unexpected = stage.run("probe --expect accepted boards userprofile");
    assert_eq!((unexpected.code, verdicts(&unexpected)), (Some(1), verdicts(&expected)), "{unexpected}");
    assert!(unexpected.stderr.contains("not as expected: boards:8080 is rejected, expected accepted; userprofile:8080 is rejected, expected accepted"), "{unexpected}");
    shows!(stage.run("probe --expect rejected -q -o name boards userprofile"), @r#"
    exit 0
    --- stdout
    boards:8080 rejected
    userprofile:8080 rejected
    "#);
    for output in ["json", "yaml", "name", "wide"] {
        assert_eq!(stage.run(&format!("probe --expect rejected -o {output} boards")).code, Some(0), "{output}");
        let contradicts = stage.run(&format!("probe --expect accepted -o {output} boards"));
        assert_eq!(contradicts.code, Some(1), "{output}");
        if output == "json" {
            assert_eq!(contradicts.json()["exitCode"], 1);
        }
    }
    assert!(stage.probe_pods().is_empty());
}

#[test]
fn reports_for_machines() {
    shows!(run("probe --sandbox=strict -o json --attempts 1 boards"), @r#"
    exit 0
    --- stdout
    {
      "apiVersion": "secure-traffic/v1alpha2",
      "kind": "ProbeReport",
      "command": "probe",
      "cluster": "the sandbox",
      "startedAt": "[time]",
      "endedAt": "[time]",
      "version": "[version]",
      "kubernetesVersion": "v1.36.0+secure-traffic-sandbox.[version]",
      "exitCode": 0,
      "namespaces": [
        {
          "namespace": "microservices-demo",
          "results": [
            {
              "target": "boards:8080",
              "service": "boards",
              "port": 8080,
              "verdict": "rejected",
              "message": "reset by the mesh 1/1",
              "endpoints": [
                {
                  "address": "10.244.0.3:8080",
                  "pod": "boards-[pod]",
                  "dataPlane": "sidecar",
                  "mode": "STRICT",
                  "policies": [
                    {
                      "level": "namespace",
                      "namespace": "microservices-demo",
                      "name": "default",
                      "mode": "STRICT"
                    }
                  ],
                  "verdict": "rejected",
                  "message": "reset by the mesh 1/1",
                  "samples": [
                    {
                      "exitCode": 56,
                      "message": "Recv failure: Connection reset by peer",
                      "connected": true,
                      "bytes": 0,
                      "fromSidecar": false,
                      "connectSeconds": "[seconds]",
                      "seconds": "[seconds]"
                    }
                  ],
                  "hello": {
                    "exitCode": "[race]",
                    "certificateRequested": true,
                    "certificates": 2,
                    "spiffe": "spiffe://cluster.local/ns/microservices-demo/sa/boards",
                    "issuer": "O=cluster.local",
                    "expires": "[time]"
                  },
                  "proxy": {
                    "refusesPlaintext": null,
                    "message": "could not create pods/portforward in namespace \"microservices-demo\": NotImplemented: the sandbox has no pods/portforward: it is a stage for mutual TLS, not a cluster"
                  }
                }
              ],
              "samples": [
                {
                  "exitCode": 56,
                  "message": "Recv failure: Connection reset by peer",
                  "connected": true,
                  "bytes": 0,
                  "fromSidecar": false,
                  "connectSeconds": "[seconds]",
                  "seconds": "[seconds]"
                }
              ]
            }
          ]
        }
      ]
    }
    --- stderr
    namespace microservices-demo
    "#);
    shows!(run("probe --sandbox -o yaml --attempts 1 boards"), @r#"
    exit 0
    --- stdout
    apiVersion: secure-traffic/v1alpha2
    cluster: the sandbox
    command: probe
    endedAt: [time]
    exitCode: 0
    kind: ProbeReport
    kubernetesVersion: v1.36.0+secure-traffic-sandbox.[version]
    namespaces:
    - namespace: microservices-demo
      results:
      - endpoints:
        - address: 10.244.0.3:8080
          dataPlane: sidecar
          message: HTTP 200
          mode: PERMISSIVE
          pod: boards-[pod]
          policies: []
          samples:
          - bytes: 270
            connectSeconds: [seconds]
            connected: true
            exitCode: 0
            fromSidecar: false
            httpStatus: 200
            seconds: [seconds]
          verdict: accepted
        message: HTTP 200
        port: 8080
        samples:
        - bytes: 270
          connectSeconds: [seconds]
          connected: true
          exitCode: 0
          fromSidecar: false
          httpStatus: 200
          seconds: [seconds]
        service: boards
        target: boards:8080
        verdict: accepted
    startedAt: [time]
    version: "[version]"
    --- stderr
    namespace microservices-demo
    "#);
    shows!(run("probe --sandbox -o name --attempts 1 boards app-ui"), @r#"
    exit 0
    --- stdout
    boards:8080 accepted
    app-ui:8080 accepted
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn an_inconclusive_verdict_is_exit_3_in_every_format() {
    let stage = Stage::new(State::Strict, &[Lookalike::Empty, Lookalike::Excluded]);
    shows!(stage.run("probe empty"), @r#"
    exit 3
    --- stdout
    empty:8080  inconclusive (no-endpoints)
      seen       service "empty" has no ready endpoint for port 8080
      remedy     wait until a pod of the Service is ready
    --- stderr
    namespace microservices-demo
    "#);
    for output in ["json", "yaml", "name", "wide"] {
        assert_eq!(
            stage.run(&format!("probe --expect rejected --attempts 1 -o {output} empty")).code,
            Some(3),
            "{output}"
        );
    }
    let open = stage.run("probe --expect rejected excluded");
    assert_eq!(open.code, Some(1), "{open}");
    assert!(open.stdout.contains("excluded:8080  accepted"), "{open}");
}

#[test]
fn one_open_endpoint_among_many_is_found() {
    let stage = Stage::new(State::Strict, &[Lookalike::HalfMeshed]);
    let run = stage.run("probe half-meshed --per-endpoint -o json");
    let report = run.json();
    let verdicts: Vec<&str> = report["namespaces"][0]["results"][0]["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| endpoint["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(report["namespaces"][0]["results"][0]["verdict"], "accepted", "{run}");
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == "accepted").count(), 1, "{verdicts:?}");
    assert_eq!(verdicts.len(), 6);
}

#[test]
fn unknown_names_are_reported_with_the_known_ones() {
    let prefixed = run("probe --sandbox svc/boards");
    assert!(prefixed.stderr.contains("hint: write the name alone, without \"svc\"; its Services are: "), "{prefixed}");
    shows!(run("probe --sandbox nosuch"), @r#"
    exit 2
    --- stderr
    error: service "nosuch" not found in namespace "microservices-demo"
    hint: its Services are: app-ui, boards, boards-mongodb, context-scraper, userprofile
    "#);
    shows!(run("probe --sandbox boards:81"), @r#"
    exit 2
    --- stderr
    error: service "boards" has no TCP port "81"
    hint: its TCP ports are: 8080 (http)
    "#);
    shows!(run("probe --sandbox boards:grpc"), @r#"
    exit 2
    --- stderr
    error: service "boards" has no TCP port "grpc"
    hint: its TCP ports are: 8080 (http)
    "#);
    shows!(run("probe --sandbox -n nosuch boards"), @r#"
    exit 4
    --- stderr
    error: could not get namespaces "nosuch": NotFound: namespaces "nosuch" not found
    hint: see `kubectl get namespaces`, and name one with -n
    "#);
}

#[test]
fn invalid_targets_are_usage_errors() {
    for target in ["https://boards", "boards:0", "boards:65536", "Boards", "boards:80/#x", ":80", "ftp://boards", "a_b"]
    {
        let run = run(&format!("probe --sandbox {target}"));
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run}");
        assert!(run.stderr.contains("error:") && run.stderr.contains("TARGET"), "{run}");
    }
    shows!(run("probe --sandbox https://boards"), @r#"
    exit 2
    --- stderr
    error: invalid value 'https://boards' for '[TARGET]...': https:// is not plaintext HTTP: the question is whether http:// gets in

    For more information, try '--help'.
    "#);
    for flags in ["--attempts 0", "--attempts 101", "--max-time x", "--expect maybe", "-o xml", "--sandbox=lax"] {
        assert_eq!(run(&format!("probe {flags}")).code, Some(2), "{flags}");
    }
}

/// Each demand of Pod Security's level *restricted*, and the promises that keep the pod out of the mesh.
#[test]
fn a_dry_run_prints_a_pod_that_pod_security_admits() {
    let targets: Vec<String> = (0..21).map(|number| format!("boards:8080/{number}")).collect();
    let run = run(&format!("probe --sandbox=strict --dry-run --image-pull-secret mine {}", targets.join(" ")));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run}");
    let pod = yaml::read_one(&run.stdout).unwrap();
    let containers = pod["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 2, "one for plaintext, one for many TLS hellos");
    for container in containers {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0));
        assert!(container["ports"].is_null() && container["lifecycle"].is_null());
        assert_eq!(container["command"], json!(["curl"]));
        let limits = &container["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["cpu"].is_string());
    }
    for field in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
        assert!(pod["spec"].get(field).is_none(), "{field}");
    }
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert!(pod["spec"]["activeDeadlineSeconds"].as_u64().is_some());
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "mine"}]));
    assert_eq!(pod["metadata"]["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(pod["metadata"]["labels"]["istio.io/dataplane-mode"], "none");
    assert_eq!(pod["metadata"]["annotations"]["sidecar.istio.io/inject"], "false");
}

#[test]
fn the_legacy_api_is_understood() {
    shows!(run("probe --sandbox=legacy --attempts 1 boards"), @r#"
    exit 0
    --- stdout
    boards:8080  accepted
      seen       HTTP 200
      policy     PERMISSIVE, by default (mesh)
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn servers_that_imitate_the_mesh_are_not_believed() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Forged, Lookalike::Resetting, Lookalike::DeadTcp]);
    for target in ["forged", "resetting", "dead-tcp"] {
        let run = stage.run(&format!("probe --expect rejected {target}"));
        assert_eq!(run.code, Some(3), "{run}");
    }
    shows!(stage.run("probe resetting"), @r#"
    exit 3
    --- stdout
    resetting:9000  inconclusive (reset-without-evidence)
      seen       curl: (56) Recv failure: Connection reset by peer (3×); the mode that applies is PERMISSIVE, under which the mesh does not reset: a change may not be in force yet, or something else reset
      curl       (56) Recv failure: Connection reset by peer
      policy     PERMISSIVE, the mesh's default: no policy says otherwise
      remedy     check that the application itself works; something other than the mesh may have reset
    --- stderr
    namespace microservices-demo
    "#);
}

#[test]
fn an_unreadable_answer_does_not_hide_the_others() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Rude]);
    let run = stage.run("probe -o json rude boards app-ui");
    assert_eq!(run.code, Some(0), "{run}");
    let report = run.json();
    let results = report["namespaces"][0]["results"].as_array().unwrap();
    let verdicts: Vec<_> = results.iter().map(|result| (&result["service"], &result["verdict"])).collect();
    assert_eq!(json!(verdicts), json!([["rude", "accepted"], ["boards", "accepted"], ["app-ui", "accepted"]]), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn a_namespace_without_services_does_not_pass_for_one_that_rejects() {
    shows!(run("probe --sandbox -n outside --expect rejected"), @r#"
    exit 3
    --- stderr
    namespace outside
    warning: nothing to probe: no Service of the namespace has a TCP port
    "#);
    assert_eq!(run("probe --sandbox -n outside -o json").json()["exitCode"], 3);
}

#[test]
fn an_explanation_gives_the_reason() {
    let stage = Stage::new(State::Strict, &[Lookalike::Excluded]);
    shows!(stage.run("probe --explain -q boards excluded"), @r#"
    exit 0
    --- stdout
    boards:8080  rejected
      A throwaway pod without the mesh's certificates, in namespace microservices-demo, sent plaintext to boards:8080: 3 requests through the Service's address, 3 straight to 1 ready endpoint, each on a connection of its own.
      10.244.0.3:8080 (pod boards-[pod], sidecar): 3 of 3 connected and got not a byte of an answer (curl 56: Recv failure: Connection reset by peer).
      Its mode is STRICT, which microservices-demo/default decides for the namespace.
      An ordinary TLS hello got the certificate of spiffe://cluster.local/ns/microservices-demo/sa/boards, which verifies against the mesh root (issued by O=cluster.local, valid until [time]); it asked for a client certificate.
      Its proxy could not be queried: could not create pods/portforward in namespace "microservices-demo": NotImplemented: the sandbox has no pods/portforward: it is a stage for mutual TLS, not a cluster.
      No endpoint answered a byte, and the mesh refused: reset by the mesh 3/3.
      A policy of mode PERMISSIVE for the namespace, the workload or the port would let plaintext in again (`secure-traffic disable-mtls -n microservices-demo`).
    excluded:8080  accepted
      A throwaway pod without the mesh's certificates, in namespace microservices-demo, sent plaintext to excluded:8080: 3 requests through the Service's address, 3 straight to 1 ready endpoint, each on a connection of its own.
      10.244.0.7:8080 (pod excluded-[pod], sidecar): 3 of 3 answered with HTTP 200.
      Its mode is STRICT, which microservices-demo/default decides for the namespace.
      Nothing enforces that mode there: port 8080 of excluded-[pod] is excluded from its sidecar's capture.
      An ordinary TLS hello got no certificate.
      The target answered a client without a certificate: accepted (HTTP 200).
      No policy changes that: excluded-[pod] needs a sidecar that captures the port.
    "#);
    shows!(stage.run("probe --explain -o json boards"), @r"
    exit 2
    --- stderr
    error: --explain works only with the default or wide output
    hint: use -o json for the same facts
    ");
}

#[test]
fn services_are_selected_by_label_and_left_out_by_name() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("probe -o name -q -l app=boards"), @r"
    exit 0
    --- stdout
    boards:8080 accepted
    ");
    shows!(stage.run("probe -o name -q -l app!=boards,app --exclude userprofile --exclude app-ui:http"), @r"
    exit 0
    --- stdout
    boards-mongodb:27017 accepted
    context-scraper:9100 accepted
    ");
    shows!(stage.run("probe --attempts 1 --exclude app-ui --exclude context-scraper --exclude boards-mongodb:27017"), @r"
    exit 0
    --- stdout
    boards:8080  accepted
      seen       HTTP 200
      policy     PERMISSIVE, the mesh's default: no policy says otherwise
    userprofile:8080  accepted
      seen       HTTP 200
      policy     PERMISSIVE, the mesh's default: no policy says otherwise
    not probed: app-ui:8080 (excluded), boards-mongodb:27017 (excluded), context-scraper:9100 (excluded)
    --- stderr
    namespace microservices-demo
    ");
    shows!(stage.run("probe -l app=nosuch"), @r"
    exit 3
    --- stderr
    namespace microservices-demo
    warning: nothing to probe: no Service of the namespace that is labelled app=nosuch has a TCP port
    ");
    for wrong in ["-l app=boards boards", "-l =x", "--exclude a/b", "--exclude nosuch", "--exclude boards:81"] {
        assert_eq!(stage.run(&format!("probe {wrong}")).code, Some(2), "{wrong}");
    }
}

#[test]
fn the_probe_can_run_in_another_namespace() {
    let stage = Stage::new(State::Strict, &[]);
    shows!(stage.run("probe --from-namespace outside boards"), @r"
    exit 0
    --- stdout
    boards:8080  rejected
      seen       reset by the mesh 3/3
      curl       (56) Recv failure: Connection reset by peer
      identity   spiffe://cluster.local/ns/microservices-demo/sa/boards (verified against the mesh root; issued by O=cluster.local, expires [time])
      policy     STRICT, by microservices-demo/default (namespace)
    --- stderr
    namespace microservices-demo, asked from outside
    ");
    let report = stage.run("probe --from-namespace outside -o json boards").json();
    assert_eq!(
        (&report["namespaces"][0]["namespace"], &report["namespaces"][0]["probeNamespace"]),
        (&json!("microservices-demo"), &json!("outside"))
    );
    let own = stage.run("probe --from-namespace microservices-demo -o json boards").json();
    assert!(own["namespaces"][0].get("probeNamespace").is_none());
    shows!(stage.run("probe --from-namespace nosuch boards"), @r#"
    exit 4
    --- stderr
    error: could not get namespaces "nosuch": NotFound: namespaces "nosuch" not found
    hint: see `kubectl get namespaces`, and name one with -n
    "#);
}

#[test]
fn a_host_of_another_namespace_is_not_answered_with_a_service_of_this_one() {
    for (target, hint) in [
        ("http://boards.other.svc:8080", "-n other"),
        ("boards.default:8080", "-n default"),
        ("http://boards.evil.example.com:8080/", "--cluster-domain"),
    ] {
        for arguments in [format!("probe --sandbox {target}"), format!("demo --target {target}")] {
            let run = run(&arguments);
            assert_eq!(run.code, Some(2), "{arguments}: {run}");
            assert!(run.stdout.is_empty() && run.stderr.contains(hint), "{arguments}: {run}");
        }
    }
    let own = run("probe --sandbox --attempts 1 http://boards.microservices-demo.svc.cluster.local:8080/");
    assert_eq!(own.code, Some(0), "{own}");
}

#[test]
fn a_name_that_was_given_must_exist() {
    for (arguments, message) in [
        ("probe --sandbox -i nope boards", "namespace \"nope\" of --istio-namespace not found"),
        ("status --sandbox -i nope", "namespace \"nope\" of --istio-namespace not found"),
        ("status --sandbox --revision canary", "no ConfigMap \"istio-canary\""),
        ("enable-mtls --sandbox --yes --revision canary", "revision \"canary\" not found"),
        ("cleanup --sandbox -n typo", "typo"),
    ] {
        let run = run(arguments);
        assert_eq!(run.code, Some(4), "{arguments}: {run}");
        assert!(run.stdout.is_empty() && run.stderr.contains(message), "{arguments}: {run}");
    }
}

#[test]
fn the_pod_runs_where_the_options_and_the_environment_say() {
    let mut command = command();
    command
        .env("SECURE_TRAFFIC_TOLERATIONS", "dedicated=ci:NoSchedule,spot")
        .env("SECURE_TRAFFIC_POD_LABELS", "team=x");
    command.args(["probe", "--sandbox=strict", "--dry-run", "--node-selector", "pool=ci", "--pod-label", "team=shop"]);
    command.args(["--pod-annotation", "example.com/note=a b", "--priority-class", "high"]);
    let run = finish(command);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run}");
    let pod = yaml::read_one(&run.stdout).unwrap();
    let tolerations = json!([
        {"key": "dedicated", "operator": "Equal", "value": "ci", "effect": "NoSchedule"},
        {"key": "spot", "operator": "Exists"},
    ]);
    assert_eq!(pod["spec"]["tolerations"], tolerations);
    assert_eq!(pod["spec"]["nodeSelector"], json!({"pool": "ci"}));
    assert_eq!(pod["spec"]["priorityClassName"], "high");
    assert_eq!(pod["metadata"]["labels"]["team"], "shop", "an option comes before the environment");
    assert_eq!(pod["metadata"]["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(pod["metadata"]["annotations"]["example.com/note"], "a b");
}

#[test]
fn a_label_that_brings_the_probe_into_the_mesh_is_refused() {
    for option in ["--pod-label sidecar.istio.io/inject=true", "--pod-annotation ambient.istio.io/redirection=enabled"]
    {
        let run = run(&format!("probe --sandbox {option}"));
        assert_eq!(run.code, Some(2), "{run}");
        assert!(run.stderr.contains("decides what its calls prove"), "{run}");
    }
}
