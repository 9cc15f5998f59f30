//! The tool at a terminal: prompts, signals, closed terminals and closed pipes. `script` (util-linux) makes the terminal.

use crate::helpers::{CliRun, Stage, command, signal};
use crate::signals::{end, start, until_a_probe_runs};
use assert_cmd::cargo::CommandCargoExt;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use secure_traffic::sandbox::{Lookalike, State};
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A program in a terminal of its own.
pub(crate) struct Terminal {
    script: Child,
    keyboard: ChildStdin,
    pub(crate) screen: String,
}

impl Terminal {
    /// Starts the tool. `None` where no `script` is installed, unless the environment forbids to skip.
    fn start(stage: &Stage, arguments: &str) -> Option<Self> {
        Self::start_after(stage, "true", arguments)
    }

    /// The same, after other commands of the shell.
    fn start_after(stage: &Stage, setup: &str, arguments: &str) -> Option<Self> {
        let tool = Command::cargo_bin("secure-traffic").unwrap();
        let line = format!("{setup}; exec {} {arguments}", tool.get_program().to_str().unwrap());
        Self::open(&line, |command| {
            command.env("KUBECONFIG", stage.kubeconfig()).env("HOME", "/nonexistent").env("SHELL", "/bin/sh");
        })
    }

    /// Starts a line of a shell, in an environment that `prepare` completes.
    pub(crate) fn open(line: &str, prepare: impl FnOnce(&mut Command)) -> Option<Self> {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", line, "/dev/null"]);
        command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env_remove("CI");
        prepare(&mut command);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut script) = spawned else {
            assert!(
                !is_required(),
                "script (util-linux) is not installed, and SECURE_TRAFFIC_E2E_REQUIRED=1 forbids to skip"
            );
            return None;
        };
        let keyboard = script.stdin.take().unwrap();
        Some(Self { script, keyboard, screen: String::new() })
    }

    /// Reads the screen until it shows `text`.
    pub(crate) fn until(&mut self, text: &str) {
        while !self.screen.contains(text) {
            assert!(self.read(), "{text:?} is not shown: {}", self.screen);
        }
    }

    /// Reads more of the screen; `false` at its end.
    pub(crate) fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = self.script.stdout.as_mut().unwrap().read(&mut buffer).unwrap();
        self.screen.push_str(&String::from_utf8_lossy(&buffer[..read]));
        read > 0
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Press(keys) => self.press(keys),
            Act::Kill(name) => signal(self.tool(), name),
        }
    }

    /// The process of the tool: the youngest descendant of `script`.
    pub(crate) fn tool(&self) -> u32 {
        let children = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let mut pid = self.script.id();
        while let Some(child) = children(pid).split_whitespace().next() {
            pid = child.parse().unwrap();
        }
        pid
    }

    /// Waits for the end: the exit code, and all that the screen showed.
    pub(crate) fn end(mut self) -> CliRun {
        let mut rest = Vec::new();
        self.script.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
        self.screen.push_str(&String::from_utf8_lossy(&rest));
        CliRun { code: self.script.wait().unwrap().code(), stdout: self.screen, stderr: String::new() }
    }
}

/// Whether the environment forbids to skip a test for want of a program.
#[expect(clippy::disallowed_methods, reason = "a test reads the environment itself")]
pub(crate) fn is_required() -> bool {
    std::env::var("SECURE_TRAFFIC_E2E_REQUIRED").is_ok_and(|value| value == "1")
}

/// What ends a prompt.
#[derive(Debug, Clone, Copy)]
enum Act {
    Press(&'static str),
    Kill(&'static str),
}

#[test]
fn a_prompt_ends_on_every_signal() {
    let stage = Stage::new(State::Permissive, &[]);
    let rows = [
        (Act::Press("\u{3}"), 130, "interrupted"),
        (Act::Kill("TERM"), 143, "terminated"),
        (Act::Kill("HUP"), 129, "the terminal was closed"),
        (Act::Press("n\n"), 1, "nothing was changed"),
        (Act::Press("\u{4}"), 1, "nothing was changed"),
    ];
    for (act, code, message) in rows {
        let Some(mut terminal) = Terminal::start(&stage, "enable-mtls") else { return };
        terminal.until("Apply 6 changes to namespace microservices-demo on ");
        terminal.until("[y/N]");
        let begin = Instant::now();
        terminal.act(act);
        let run = terminal.end();
        assert_eq!(run.code, Some(code), "{act:?}: {run}");
        assert!(run.stdout.contains("nothing was changed") && run.stdout.contains(message), "{act:?}: {run}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{act:?}: {:?}", begin.elapsed());
    }
    let run = stage.run("enable-mtls --diff");
    assert_eq!(run.code, Some(1), "nothing was written: {run}");
}

#[test]
fn what_is_typed_before_a_question_is_no_answer() {
    let stage = Stage::new(State::Permissive, &[]);
    let kubeconfig = stage.kubeconfig();
    for (arguments, question) in [
        ("enable-mtls".to_owned(), "Apply 6 changes to namespace "),
        (format!("demo --kubeconfig {}", kubeconfig.display()), "Start? [y/N]"),
    ] {
        // The terminal has the answer before the tool starts.
        let Some(mut terminal) = Terminal::start_after(&stage, "sleep 1", &arguments) else { return };
        terminal.press("y\n");
        terminal.until(question);
        terminal.press("n\n");
        let run = terminal.end();
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stdout.contains("nothing was changed"), "{run}");
    }
}

#[test]
fn the_plan_is_marked_as_done_where_the_terminal_shows_it() {
    let stage = Stage::new(State::Permissive, &[]);
    let marked = |setup: &str| {
        let mut terminal = Terminal::start_after(&stage, setup, "enable-mtls --verify=false")?;
        terminal.until("[y/N]");
        terminal.press("y\n");
        let run = terminal.end();
        assert_eq!(run.code, Some(0), "{run}");
        let undone = stage.run("disable-mtls --yes --verify=false --restore");
        assert_eq!(undone.code, Some(0), "{undone}");
        Some(run.stdout)
    };
    let Some(shown) = marked("stty cols 80 rows 24") else { return };
    // Below the first change: five more, a row of text, and two of the question.
    let sequence = |up: usize, mark: &str| format!("\u{1b}7\u{1b}[{up}A\r{mark}\u{1b}8");
    for up in 4..=9 {
        assert!(shown.contains(&sequence(up, "\u{1b}[32m✓\u{1b}[0m")), "{up}: {shown:?}");
    }
    assert_eq!(shown.matches("\u{1b}7").count(), 6, "{shown:?}");
    let Some(shown) = marked("stty cols 80 rows 24; export LC_ALL=C") else { return };
    assert!(shown.contains(&sequence(9, "\u{1b}[32m*\u{1b}[0m")) && shown.is_ascii(), "{shown:?}");
    // Rows that have scrolled out of the screen stay as they are.
    let Some(shown) = marked("stty cols 80 rows 7") else { return };
    assert_eq!(shown.matches("\u{1b}7").count(), 3, "{shown:?}");
    assert!(shown.contains("applied 6 changes"), "not all are marked: {shown:?}");
    let Some(shown) = marked("stty cols 80 rows 24; export TERM=dumb") else { return };
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn an_interrupt_from_the_keyboard_does_not_end_the_programs_of_the_sandbox() {
    let stage = Stage::new(State::Permissive, &[]);
    let Some(mut terminal) = Terminal::start(&stage, "enable-mtls --yes --sandbox") else { return };
    terminal.until("in force after");
    terminal.press("\u{3}");
    let run = terminal.end();
    assert_eq!(run.code, Some(130), "{run}");
    assert!(
        run.stdout.contains("in-mesh calls during the change: ")
            && !run.stdout.contains("client in the mesh ended early"),
        "{run}"
    );
}

#[test]
fn an_interactive_credential_plugin_is_ended_with_its_children() {
    let stage = Stage::new(State::Permissive, &[]);
    let pids = stage.directory.path().join("pids");
    // The closed terminal would end them, too.
    let script = format!("trap '' HUP TERM; sleep 300 & echo $! $$ > {}; wait; sleep 300", pids.display());
    let kubeconfig = stage.edited_kubeconfig(|_, user| {
        *user = serde_json::json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script],
            "interactiveMode": "Always",
        }});
    });
    let arguments = format!("status --timeout 2s --kubeconfig {}", kubeconfig.display());
    let Some(terminal) = Terminal::start(&stage, &arguments) else { return };
    let run = terminal.end();
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stdout.contains("--timeout"), "{run}");
    let pids = std::fs::read_to_string(pids).unwrap();
    for pid in pids.split_whitespace() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "still there: {stat}");
    }
}

#[test]
fn the_timeout_does_not_count_while_a_person_reads() {
    let stage = Stage::new(State::Permissive, &[]);
    let Some(mut terminal) = Terminal::start(&stage, "enable-mtls --verify=false --timeout 5s") else { return };
    terminal.until("[y/N]");
    std::thread::sleep(Duration::from_secs(6));
    terminal.press("y\n");
    let run = terminal.end();
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stdout.contains("applied 6 changes") && !run.stdout.contains("created"), "{run}");
}

#[test]
fn the_pause_of_the_demo_ends_on_every_signal() {
    let stage = Stage::new(State::Permissive, &[]);
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let Some(mut terminal) = Terminal::start(&stage, "demo --pause --sandbox=permissive") else { return };
        terminal.until("Press Space or Enter");
        signal(terminal.tool(), name);
        let run = terminal.end();
        assert_eq!(run.code, Some(code), "{run}");
    }
}

#[test]
fn a_demo_that_ends_early_says_what_it_leaves() {
    let stage = Stage::new(State::Permissive, &[]);
    let arguments = format!("demo --pause --yes --kubeconfig {}", stage.kubeconfig().display());
    let Some(mut terminal) = Terminal::start(&stage, &arguments) else { return };
    for key in ["\n", " ", "\u{3}"] {
        terminal.until("Press Space or Enter");
        terminal.screen.clear();
        terminal.press(key);
    }
    let run = terminal.end();
    assert_eq!(run.code, Some(130), "{run}");
    assert!(run.stdout.contains("STRICT stays on in namespace microservices-demo; undo it with"), "{run}");
}

#[test]
fn the_demo_is_a_screen_for_each_step_and_q_ends_it() {
    let stage = Stage::new(State::Permissive, &[]);
    let Some(mut terminal) = Terminal::start(&stage, "demo --pause --sandbox=permissive") else { return };
    for key in ["x ", "\n", " ", "q"] {
        terminal.until("Press Space or Enter");
        let before = std::mem::take(&mut terminal.screen);
        assert_eq!(before.matches("── Step ").count(), usize::from(key != "x "), "{before}");
        terminal.press(key);
    }
    let run = terminal.end();
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stdout.starts_with("\r\n") && run.stdout.contains("── What was seen "), "no key is echoed: {run}");
    assert!(run.stdout.contains("The same rogue asks again") && !run.stdout.contains("Turn strict mutual TLS off"));
    assert!(run.stdout.contains("\u{1b}[H"), "a new screen: {run}");
}

#[test]
fn the_demo_asks_before_its_first_step_on_a_cluster() {
    let stage = Stage::new(State::Permissive, &[]);
    let demo = format!("demo --kubeconfig {}", stage.kubeconfig().display());
    let run = stage.run(&demo);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("the demo changes namespace microservices-demo, and there is no terminal to ask on"));
    assert!(run.stdout.is_empty(), "{run}");
    let rows = [
        (Act::Press("n\n"), 1),
        (Act::Press("\u{4}"), 1),
        (Act::Press("\u{3}"), 130),
        (Act::Kill("TERM"), 143),
        (Act::Kill("HUP"), 129),
    ];
    for (act, code) in rows {
        let Some(mut terminal) = Terminal::start(&stage, &demo) else { return };
        terminal.until("Start? [y/N]");
        assert!(terminal.screen.contains("and step 4 turns STRICT off"), "{}", terminal.screen);
        terminal.act(act);
        let run = terminal.end();
        assert_eq!(run.code, Some(code), "{act:?}: {run}");
        assert!(run.stdout.contains("nothing was changed") && !run.stdout.contains("Step 1"), "{run}");
    }
}

#[test]
fn a_closed_terminal_leaves_nothing_and_nohup_goes_on() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    let mut nohup = Command::new("sh");
    let tool = command();
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(tool.get_program());
    nohup.env("KUBECONFIG", stage.kubeconfig()).env("HOME", "/nonexistent").stdin(Stdio::null());
    let probe = start(nohup, "probe silent --max-time 60s");
    until_a_probe_runs(&stage);
    signal(probe.id(), "HUP");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(stage.probe_pods().len(), 1, "SIGHUP stays ignored");
    signal(probe.id(), "TERM");
    let run = end(probe);
    assert_eq!(run.code, Some(143), "{run}");
    assert!(stage.probe_pods().is_empty(), "{run}");
}

#[test]
fn a_signal_that_arrives_twice_at_once_is_one_signal() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    let probe = start(stage.command(), "probe silent --max-time 60s");
    until_a_probe_runs(&stage);
    for pause in [0, 100, 0] {
        signal(probe.id(), "TERM");
        std::thread::sleep(Duration::from_millis(pause));
    }
    let run = end(probe);
    assert_eq!(run.code, Some(143), "{run}");
    assert!(!run.stderr.contains("stopped immediately"), "{run}");
    assert!(stage.probe_pods().is_empty(), "{run}");
}

#[test]
fn a_watch_ends_when_its_reader_has_seen_enough() {
    let stage = Stage::new(State::Permissive, &[Lookalike::Silent]);
    // `silent` is watched for its first answer longer than this test lasts: the pipe is closed while nothing is printed.
    for (arguments, reads) in
        [("probe --watch boards", true), ("probe --watch silent --max-time 60s", false), ("status --watch", true)]
    {
        let mut watch = start(stage.command(), arguments);
        let mut stdout = watch.stdout.take().unwrap();
        if reads {
            assert!(stdout.read(&mut [0; 64]).unwrap() > 0, "{arguments}");
        } else {
            until_a_probe_runs(&stage);
        }
        let begin = Instant::now();
        drop(stdout);
        let run = end(watch);
        assert_eq!(run.code, Some(0), "{arguments}: {run}");
        assert!(!run.stderr.contains("error:"), "{arguments}: {run}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{arguments}: {:?}", begin.elapsed());
        assert_eq!(stage.probe_pods(), [""; 0], "{arguments}: {run}");
    }
}

#[test]
fn ctrl_c_ends_a_watch_without_an_error() {
    let stage = Stage::new(State::Permissive, &[]);
    for arguments in ["probe --watch boards", "status --watch"] {
        let mut watch = start(stage.command(), arguments);
        let mut stdout = watch.stdout.take().unwrap();
        assert!(stdout.read(&mut [0; 64]).unwrap() > 0, "{arguments}");
        signal(watch.id(), "INT");
        let run = end(watch);
        assert_eq!(run.code, Some(130), "{arguments}: {run}");
        assert!(!run.stderr.contains("error:"), "{arguments}: {run}");
        assert_eq!(stage.probe_pods(), [""; 0], "{arguments}: {run}");
    }
}

#[test]
fn a_watch_of_the_status_prints_the_table_once_and_then_what_has_changed() {
    let stage = Stage::new(State::Strict, &[]);
    let mut watch = start(stage.command(), "status --watch");
    let mut stdout = watch.stdout.take().unwrap();
    let mut shown = String::new();
    let mut read_until = |text: &str| {
        let mut buffer = [0; 4096];
        while !shown.contains(text) {
            let length = stdout.read(&mut buffer).unwrap();
            assert!(length > 0, "{shown}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        shown.clone()
    };
    read_until("STRICT");
    // It is one of the policies that a document lists, and the table has only the one that decides.
    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "mesh"},
        "spec": {"mtls": {"mode": "PERMISSIVE"}},
    });
    let policies: Api<DynamicObject> = {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("security.istio.io", "v1", "PeerAuthentication"));
        let _inside = stage.runtime.enter();
        Api::namespaced_with(stage.sandbox.client(), "istio-system", &resource)
    };
    let policy = serde_json::from_value(policy).unwrap();
    stage.runtime.block_on(policies.create(&PostParams::default(), &policy)).unwrap();
    // Time for two more reads.
    std::thread::sleep(Duration::from_secs(5));
    let run = stage.run("disable-mtls --yes --verify=false --destination-rules=never");
    assert_eq!(run.code, Some(0), "{run}");
    let shown = read_until("Z  userprofile:8080  STRICT → PERMISSIVE\n");
    assert_eq!(shown.matches("SERVICE ").count(), 1, "{shown}");
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains(" → ")).collect();
    assert_eq!(lines.len(), 5, "each port once, and the other policy not at all: {shown}");
    assert!(lines.iter().all(|line| line.split("Z  ").next().is_some_and(|time| time.len() == 23)), "{shown}");
    signal(watch.id(), "INT");
    end(watch);
}

#[test]
fn a_watch_that_cannot_print_ends() {
    let stage = Stage::new(State::Permissive, &[]);
    let mut command = stage.command();
    command.args(["probe", "--watch", "boards"]);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = end(command.stdout(full).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(run.code, Some(4), "{run}");
    assert!(run.stderr.contains("could not write to stdout: No space left on device"), "{run}");
    assert_eq!(stage.probe_pods(), [""; 0], "{run}");
}

/// Starts a change that waits for old connections, and interrupts that wait.
fn interrupted_drain(stage: &Stage, arguments: &str) -> CliRun {
    let mut switch = start(stage.command(), arguments);
    let mut said = String::new();
    let mut stderr = switch.stderr.take().unwrap();
    let mut buffer = [0; 4096];
    // The last message before the wait.
    while !said.contains("in-mesh calls during the change: ") {
        let read = stderr.read(&mut buffer).unwrap();
        assert!(read > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    std::thread::sleep(Duration::from_millis(500));
    signal(switch.id(), "INT");
    stderr.read_to_string(&mut said).unwrap();
    CliRun { stderr: said, ..end(switch) }
}

#[test]
fn an_interrupted_wait_for_old_connections_is_rolled_back_or_told() {
    let stage = Stage::new(State::Permissive, &[]);
    let run = interrupted_drain(&stage, "enable-mtls --yes --wait-drain");
    assert_eq!(run.code, Some(130), "{run}");
    assert!(run.stderr.contains("every change is made and proven, but connections from before may still be"), "{run}");
    assert!(run.stderr.contains("disable-mtls -n microservices-demo --restore` puts back"), "{run}");

    let stage = Stage::new(State::Permissive, &[]);
    let run = interrupted_drain(&stage, "enable-mtls --yes --wait-drain --rollback-on-failure");
    assert_eq!(run.code, Some(130), "{run}");
    assert!(run.stderr.contains("rolled back: everything is as it was before"), "{run}");
    let probe = stage.run("probe boards --expect accepted");
    assert_eq!(probe.code, Some(0), "{probe}");
}

#[test]
fn a_run_that_changes_nothing_does_not_wait_for_sidecars_that_cannot_be_asked() {
    let stage = Stage::new(State::Strict, &[]);
    let run = stage.run("enable-mtls --yes --wait-drain");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("from before an earlier change, which may still be open"), "{run}");
    assert!(!run.stderr.contains("the longest drain time of these pods"), "{run}");
}

#[test]
fn results_that_cannot_be_printed_do_not_end_a_change_before_its_proof() {
    let stage = Stage::new(State::Permissive, &[]);
    let switch = |stdout: Stdio| {
        let mut command = stage.command();
        command.args(["enable-mtls", "--yes"]).stdout(stdout).stderr(Stdio::piped());
        command
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = end(switch(full.into()).spawn().unwrap());
    assert_eq!(run.code, Some(4), "{run}");
    for said in [
        "the results could not be written to stdout: No space left on device",
        "peerauthentication.security.istio.io/default created",
        "boards:8080            rejected   STRICT",
        "5 targets: 5 rejected, 0 accepted, 0 inconclusive",
        "undo with: secure-traffic disable-mtls -n microservices-demo --restore",
    ] {
        assert!(run.stderr.contains(said), "{said:?}: {run}");
    }
    assert_eq!(stage.run("disable-mtls --restore --yes").code, Some(0));
    let mut quiet = switch(std::fs::File::options().write(true).open("/dev/full").unwrap().into());
    let run = end(quiet.args(["--quiet", "--verify=false"]).spawn().unwrap());
    assert_eq!(run.code, Some(4), "{run}");
    let undo = "every change is made; `secure-traffic disable-mtls -n microservices-demo --restore` puts back";
    assert!(run.stderr.contains(undo) && run.stderr.contains("default created"), "{run}");
    assert_eq!(stage.run("disable-mtls --restore --yes").code, Some(0));
    let mut closed = switch(Stdio::piped()).spawn().unwrap();
    drop(closed.stdout.take());
    let run = end(closed);
    assert_eq!(run.code, Some(0), "a reader may stop reading: {run}");
    assert!(run.stderr.contains("5 targets: 5 rejected, 0 accepted, 0 inconclusive"), "{run}");
}

#[test]
fn a_cleanup_that_cannot_print_removes_everything() {
    let stage = Stage::new(State::Permissive, &[]);
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "secure-traffic-probe-bcdfg", "labels": {"app.kubernetes.io/managed-by": "secure-traffic"}},
        "spec": {"containers": [{"name": "probe", "image": "curl", "command": ["sleep"]}]},
    }));
    let lease = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "secure-traffic"}, "spec": {"holderIdentity": "a killed run", "leaseDurationSeconds": 1},
    }));
    let leases: kube::Api<k8s_openapi::api::coordination::v1::Lease> = {
        let _inside = stage.runtime.enter();
        kube::Api::default_namespaced(stage.sandbox.client())
    };
    let params = kube::api::PostParams::default();
    stage.runtime.block_on(stage.pods().create(&params, &pod.unwrap())).unwrap();
    stage.runtime.block_on(leases.create(&params, &lease.unwrap())).unwrap();
    let mut command = stage.command();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = end(command.arg("cleanup").stdout(full).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(run.code, Some(4), "{run}");
    assert!(stage.probe_pods().is_empty(), "{run}");
    assert!(stage.runtime.block_on(leases.get_opt("secure-traffic")).unwrap().is_none(), "{run}");
}

#[test]
fn a_demo_in_a_strict_namespace_restores_it() {
    let stage = Stage::new(State::Strict, &[]);
    let demo = format!("demo --kubeconfig {}", stage.kubeconfig().display());
    let run = stage.run(&demo);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stderr.contains("is STRICT already, and there is no terminal to ask on"), "{run}");
    let Some(mut terminal) = Terminal::start(&stage, &demo) else { return };
    terminal.until("restore STRICT at the end? [y/N]");
    assert!(terminal.screen.contains("Step 4 turns STRICT off in namespace microservices-demo on "));
    terminal.press("n\n");
    let run = terminal.end();
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stdout.contains("nothing was changed"), "{run}");

    let Some(mut terminal) = Terminal::start(&stage, &format!("{demo} --pause --yes")) else { return };
    for key in [" ", " ", "q"] {
        terminal.until("Press Space or Enter");
        terminal.screen.clear();
        terminal.press(key);
    }
    let run = terminal.end();
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stdout.contains("STRICT, restored and proven"), "also after q: {run}");

    let run = stage.run(&format!("{demo} --yes"));
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stdout.contains("STRICT, restored and proven"), "{run}");
    let probe = stage.run("probe boards --expect rejected");
    assert_eq!(probe.code, Some(0), "{probe}");
}
