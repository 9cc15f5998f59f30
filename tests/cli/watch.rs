//! Watching while somebody else changes the mesh, and waiting for an answer.

use crate::helpers::{Stage, finish};
use secure_traffic::sandbox::State;
use serde_json::Value;

#[test]
fn until_rejected_waits_for_the_switch_and_proves_it() {
    let stage = Stage::new(State::Permissive, &[]);
    std::thread::scope(|scope| {
        let switch = scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(2500));
            stage.run("enable-mtls --yes --verify=false")
        });
        let run = stage.run("probe --until rejected --timeout 30s boards");
        assert_eq!(run.code, Some(0), "{run}");
        assert!(run.stdout.contains("boards:8080  answered (HTTP 200)"), "{run}");
        assert!(run.stdout.contains("boards:8080  refused  after "), "{run}");
        assert!(run.stdout.contains("boards:8080  rejected"), "{run}");
        assert_eq!(switch.join().unwrap().code, Some(0));
    });
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn until_ends_with_3_when_its_time_is_over() {
    let stage = Stage::new(State::Strict, &[]);
    let run = stage.run("probe --until accepted --timeout 3s boards");
    assert_eq!(run.code, Some(3), "{run}");
    assert!(run.stderr.contains("not accepted within"), "{run}");
    assert!(run.stderr.contains("boards:8080 refused"), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0]);
}

#[test]
fn a_watch_for_machines_is_one_object_a_line() {
    let stage = Stage::new(State::Strict, &[]);
    let mut command = stage.command();
    command.args(["probe", "--watch", "--timeout", "3s", "-o", "json", "boards", "boards-mongodb"]);
    let run = finish(command);
    assert_eq!(run.code, Some(0), "{run}");
    let lines: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut answers: Vec<(&str, &str)> =
        lines.iter().map(|line| (line["target"].as_str().unwrap(), line["answer"].as_str().unwrap())).collect();
    answers.sort_unstable();
    assert_eq!(answers, [("boards-mongodb:27017", "refused"), ("boards:8080", "refused")], "{run}");
}
