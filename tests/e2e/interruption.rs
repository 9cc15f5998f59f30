//! Ctrl-C and SIGTERM at any moment: nothing is left, and no verdict is wrong.

use crate::support::{Namespace, Run, Workload, cluster, kills, service};
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn killed_at_random_moments_a_probe_leaves_no_pod_and_no_wrong_verdict() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "kill");
    let app = Workload { name: "web", labels: "app: web", annotations: "", arguments: &["serve", "-http", ":8080"] };
    namespace.apply(&(app.manifest(&cluster.app) + &service("web", "app: web", &[("http", 8080)], false)));
    namespace.policy("STRICT");
    namespace.ready();
    namespace.settle();
    let (mut interrupted, mut finished) = (0, 0);
    for number in 0..kills() {
        let mut command = cluster.command(&["probe", "-o", "json", "web:8080", "-n", &namespace.name]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let signal = if number % 2 == 0 { "INT" } else { "TERM" };
        if number % 3 == 0 {
            std::thread::sleep(Duration::from_millis(u64::from(rand::random::<u16>() % 1500)));
            let pid = child.id().to_string();
            // It may have ended by itself already.
            let _ = Command::new("kill").args([&format!("-{signal}"), &pid]).stderr(Stdio::null()).status();
        }
        let run = Run::of(&child.wait_with_output().expect("it ends"));
        match run.code {
            Some(0) => {
                assert_eq!(run.verdict("web:8080"), "rejected", "run {number}: {run:?}");
                finished += 1;
            }
            Some(130 | 143) => interrupted += 1,
            // A signal before the handler is there ends the process as signals do.
            None => interrupted += 1,
            _ => panic!("run {number}: {run:?}"),
        }
        assert!(number % 3 == 0 || run.code == Some(0), "run {number} was not killed: {run:?}");
    }
    assert_eq!(namespace.probe_pods(), "", "{interrupted} interrupted, {finished} finished");
}

#[test]
fn an_interrupted_switch_says_truthfully_what_it_wrote() {
    let Some(cluster) = cluster() else { return };
    let namespace = Namespace::new(&cluster, "cut");
    let app = Workload { name: "web", labels: "app: web", annotations: "", arguments: &["serve", "-http", ":8080"] };
    namespace.apply(&(app.manifest(&cluster.app) + &service("web", "app: web", &[("http", 8080)], false)));
    namespace.ready();
    for delay in [100, 400, 800, 1200, 1800] {
        let mut command = cluster.command(&["enable-mtls", "--yes", "-n", &namespace.name]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(delay));
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
        let run = Run::of(&child.wait_with_output().expect("it ends"));
        assert!(matches!(run.code, Some(0 | 130)), "after {delay} ms: {run:?}");
        let objects = namespace.kubectl(&["get", "destinationrules,peerauthentications", "-o", "name"]);
        let said = format!("{}{}", run.stdout, run.stderr);
        for object in objects.lines() {
            assert!(said.contains(&format!("{object} created")), "after {delay} ms {object} is there, unsaid: {run:?}");
        }
        if objects.is_empty() {
            assert!(!said.lines().any(|line| line.ends_with(" created") && !line.starts_with(' ')), "{run:?}");
        }
        assert_eq!(namespace.probe_pods(), "");
        namespace.kubectl(&["delete", "destinationrules,peerauthentications", "--all"]);
    }
}
