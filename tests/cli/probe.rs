use crate::helpers::{Stage, run, shows};
use secure_traffic::istio::yaml;
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::json;

#[test]
fn accepted_with_the_body_that_was_asked_for() {
    shows!(run("probe --sandbox boards:8080/shareditems"), @"");
}

#[test]
fn rejected_with_evidence() {
    shows!(run("probe --sandbox=strict boards:8080/shareditems"), @"");
}

#[test]
fn every_tcp_port_without_targets() {
    shows!(run("probe --sandbox=strict --attempts 1"), @"");
}

#[test]
fn wide_and_per_endpoint() {
    shows!(run("probe --sandbox=strict --per-endpoint -o wide boards"), @"");
}

#[test]
fn expectations_decide_between_0_and_1() {
    let stage = Stage::new(State::Strict, &[]);
    shows!(stage.run("probe --expect rejected boards userprofile"), @"");
    shows!(stage.run("probe --expect accepted boards userprofile"), @"");
    shows!(stage.run("probe --expect rejected -q -o name boards userprofile"), @"");
    for output in ["json", "yaml", "name", "wide"] {
        assert_eq!(stage.run(&format!("probe --expect rejected -o {output} boards")).code, Some(0), "{output}");
        let contrary = stage.run(&format!("probe --expect accepted -o {output} boards"));
        assert_eq!(contrary.code, Some(1), "{output}");
        if output == "json" {
            assert_eq!(contrary.json()["exitCode"], 1);
        }
    }
    assert!(stage.probe_pods().is_empty());
}

#[test]
fn reports_for_machines() {
    shows!(run("probe --sandbox=strict -o json --attempts 1 boards"), @"");
    shows!(run("probe --sandbox -o yaml --attempts 1 boards"), @"");
    shows!(run("probe --sandbox -o name --attempts 1 boards app-ui"), @"");
}

#[test]
fn what_cannot_be_told_is_exit_3_under_every_format() {
    let stage = Stage::new(State::Strict, &[Lookalike::Empty, Lookalike::Excluded, Lookalike::Forged]);
    shows!(stage.run("probe empty"), @"");
    shows!(stage.run("probe --expect rejected forged"), @"");
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
    let verdicts: Vec<&str> = report["results"][0]["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| endpoint["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(report["results"][0]["verdict"], "accepted", "{run}");
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == "accepted").count(), 1, "{verdicts:?}");
    assert_eq!(verdicts.len(), 6);
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    shows!(run("probe --sandbox nosuch"), @"");
    shows!(run("probe --sandbox boards:81"), @"");
    shows!(run("probe --sandbox boards:grpc"), @"");
    shows!(run("probe --sandbox -n nosuch boards"), @"");
    shows!(run("probe --sandbox -n outside"), @"");
}

#[test]
fn what_is_no_target_is_a_usage_error() {
    for target in ["https://boards", "boards:0", "boards:65536", "Boards", "boards:80/#x", ":80", "ftp://boards", "a_b"]
    {
        let run = run(&format!("probe --sandbox {target}"));
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run}");
        assert!(run.stderr.contains("error:") && run.stderr.contains("TARGET"), "{run}");
    }
    shows!(run("probe --sandbox https://boards"), @"");
    for flags in ["--attempts 0", "--attempts 101", "--max-time x", "--expect maybe", "-o xml", "--sandbox=lax"] {
        assert_eq!(run(&format!("probe {flags}")).code, Some(2), "{flags}");
    }
}

/// Each demand of Pod Security's level *restricted*, and the promises that keep the pod out of the mesh.
#[test]
fn a_dry_run_prints_a_pod_that_admission_takes() {
    let run = run("probe --sandbox --dry-run --image-pull-secret mine boards:8080/shareditems");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run}");
    let pod = yaml::read_one(&run.stdout).unwrap();
    let container = &pod["spec"]["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert!(security["runAsUser"].as_u64().is_some_and(|user| user > 0));
    for field in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
        assert!(pod["spec"].get(field).is_none(), "{field}");
    }
    assert!(container["ports"].is_null() && container["lifecycle"].is_null());
    assert_eq!(container["command"], json!(["curl"]));
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert!(pod["spec"]["activeDeadlineSeconds"].as_u64().is_some());
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "mine"}]));
    assert_eq!(pod["metadata"]["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(pod["metadata"]["labels"]["istio.io/dataplane-mode"], "none");
    assert_eq!(pod["metadata"]["annotations"]["sidecar.istio.io/inject"], "false");
    assert!(
        container["resources"]["limits"]["memory"].is_string() && container["resources"]["limits"]["cpu"].is_string()
    );
}

#[test]
fn the_legacy_api_is_understood() {
    shows!(run("probe --sandbox=legacy --attempts 1 boards"), @"");
}
