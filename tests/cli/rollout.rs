//! The commands of `docs/rollout.md`, in their order, on one sandbox.

use crate::helpers::{CliRun, Stage, finish};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject};
use kube::core::GroupVersionKind;
use secure_traffic::sandbox::State;

/// One line of a `sh` block.
struct Line<'a> {
    command: &'a str,
    /// Where its stdout goes.
    file: Option<&'a str>,
    /// The exit code that its comment names.
    code: i32,
}

fn lines(page: &str) -> Vec<Line<'_>> {
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(str::lines)
        .map(|line| {
            let (command, comment) = line.split_once('#').unwrap_or((line, ""));
            let code = comment.trim().strip_prefix("exit ").map_or(0, |rest| rest[..1].parse().unwrap());
            let (command, file) =
                command.split_once('>').map_or((command, None), |(command, file)| (command, Some(file.trim())));
            Line { command: command.trim(), file, code }
        })
        .collect()
}

/// Runs one command of the tool, with shorter times.
fn run(stage: &Stage, arguments: &str) -> CliRun {
    let short = arguments.replace("--for 1h", "--for 5s").replace("--rehearse 10m", "--rehearse 5s");
    let mut command = stage.command();
    command.current_dir(stage.directory.path()).args(short.split_whitespace());
    finish(command)
}

fn delete_policy(stage: &Stage, name: &str) {
    let kind = GroupVersionKind::gvk("security.istio.io", "v1", "PeerAuthentication");
    let policies: Api<DynamicObject> = {
        let _inside = stage.runtime.enter();
        Api::default_namespaced_with(stage.sandbox.client(), &ApiResource::from_gvk(&kind))
    };
    stage.runtime.block_on(policies.delete(name, &DeleteParams::default())).unwrap();
}

#[test]
fn the_commands_of_the_page_about_a_rollout_do_what_it_says() {
    let stage = Stage::new(State::Permissive, &[]);
    let page = include_str!("../../docs/rollout.md");
    let lines = lines(page);
    assert!(lines.len() > 10, "the page has no commands");
    for Line { command, file, code } in lines {
        if let Some(name) = command.strip_prefix("kubectl -n microservices-demo delete peerauthentication ") {
            delete_policy(&stage, name);
            continue;
        }
        let arguments = command.strip_prefix("secure-traffic ").unwrap_or_else(|| panic!("not the tool: {command}"));
        if arguments.contains("--observe") {
            // No other writer comes: it asks, and says what is missing. The suite on a real mesh has one.
            let run = run(&stage, &format!("{arguments} --timeout 8s"));
            assert!(run.stderr.contains("not applied, or not as planned: "), "{command}\n{run}");
            continue;
        }
        let run = run(&stage, arguments);
        assert_eq!(run.code, Some(code), "{command}\n{run}");
        if let Some(file) = file {
            std::fs::write(stage.directory.path().join(file), &run.stdout).unwrap();
        }
    }
}
