//! What the documentation repeats of the tool must be what the tool says.

use clap::CommandFactory;
use secure_traffic::cli::Cli;
use secure_traffic::domain::findings::Code;
use secure_traffic::domain::reason::Reason;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every reason; one that is added does not compile before it stands here.
fn reasons() -> Vec<Reason> {
    use Reason::*;
    let next = |reason: Reason| match reason {
        Dns => Some(Refused),
        Refused => Some(ConnectTimeout),
        ConnectTimeout => Some(ReadTimeout),
        ReadTimeout => Some(NoEndpoints),
        NoEndpoints => Some(ProbeMeshed),
        ProbeMeshed => Some(ProbeSelected),
        ProbeSelected => Some(TargetNotMeshed),
        TargetNotMeshed => Some(ResetWithoutEvidence),
        ResetWithoutEvidence => Some(ClosedNotReset),
        ClosedNotReset => Some(ModeUnknown),
        ModeUnknown => Some(MeshRootUnknown),
        MeshRootUnknown => Some(EvidenceDisagrees),
        EvidenceDisagrees => Some(ProxySilent),
        ProxySilent => Some(ApplicationTls),
        ApplicationTls => Some(ImagePull),
        ImagePull => Some(AdmissionDenied),
        AdmissionDenied => Some(PodSecurity),
        PodSecurity => Some(WebhookDenied),
        WebhookDenied => Some(WebhookFailed),
        WebhookFailed => Some(NoServiceAccount),
        NoServiceAccount => Some(Quota),
        Quota => Some(QuotaUnknown),
        QuotaUnknown => Some(LimitRange),
        LimitRange => Some(Unschedulable),
        Unschedulable => Some(NoCurl),
        NoCurl => Some(Deadline),
        Deadline => Some(OutOfMemory),
        OutOfMemory => Some(Evicted),
        Evicted => Some(NodeLost),
        NodeLost => Some(ProbeFailed),
        ProbeFailed => Some(ControlFailed),
        ControlFailed => Some(NotSteady),
        NotSteady => Some(LostOutput),
        LostOutput => Some(Unexpected),
        Unexpected => None,
    };
    std::iter::successors(Some(Dns), |reason| next(*reason)).collect()
}

#[test]
fn verdicts_explain_every_reason_and_no_other() {
    let page = text("docs/verdicts.md");
    let table = page.split_once("## Reasons").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the table").0;
    let documented: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word)).collect();
    let known: Vec<&str> = reasons().into_iter().map(Reason::as_str).collect();
    assert_eq!(documented, known);
}

/// A trap whose test was renamed or taken out is no longer known to be staged.
#[test]
fn every_trap_of_the_table_is_staged_by_a_test_that_exists() {
    let page = text("docs/verdicts.md");
    let table = page.split_once("## Traps").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the table").0;
    let sources: String = ["src", "tests"].iter().flat_map(|room| rust_files(&root().join(room))).collect();
    let names: Vec<&str> =
        table.split('`').skip(1).step_by(2).filter(|word| word.contains('_') && word.contains('…')).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let is_there = match name.strip_prefix('…') {
            Some(end) => sources.contains(&format!("{end}(")),
            None => sources.contains(&format!("fn {}", name.trim_end_matches('…'))),
        };
        assert!(is_there, "no test is called {name}");
    }
}

/// The texts of all source files below.
fn rust_files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                return rust_files(&path);
            }
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            is_rust.then(|| std::fs::read_to_string(&path).expect("text")).into_iter().collect()
        })
        .collect()
}

#[test]
fn findings_explain_every_code_and_no_other() {
    let page = text("docs/findings.md");
    let table = page.split_once("## Codes").and_then(|(_, rest)| rest.split_once("\n## ")).expect("the table").0;
    let documented: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(word, _)| word)).collect();
    let known: Vec<&str> = Code::all().map(Code::as_str).collect();
    assert_eq!(documented, known);
}

#[test]
fn the_readme_has_the_exit_codes_of_the_help() {
    let help = Cli::command().get_after_help().expect("exit codes").to_string();
    assert!(text("README.md").contains(help.trim()), "README.md lacks:\n{help}");
}

#[test]
fn every_command_is_in_the_guide() {
    let pages = text("README.md") + &text("docs/guide.md");
    for command in Cli::command().get_subcommands() {
        assert!(pages.contains(&format!("secure-traffic {}", command.get_name())), "{}", command.get_name());
    }
}

/// Links between the pages, and from them to files of the project.
#[test]
fn links_lead_somewhere() {
    let pages = std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let pages: Vec<PathBuf> =
        pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    for path in pages.into_iter().chain(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name)))
    {
        let page = std::fs::read_to_string(&path).expect("text");
        for link in page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                let there = path.parent().is_some_and(|directory| directory.join(target).exists());
                assert!(there, "{}: {link}", path.display());
            }
        }
    }
}
