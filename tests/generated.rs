//! What is written by the tool itself and kept in the repository: `manifests/`, `completions/`, `docs/man/` and
//! `docs/schema/`.
//! `UPDATE_GENERATED=1 cargo test --test generated` writes them anew.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use clap::ValueEnum;
use clap_complete::Shell;
use secure_traffic::commands::generate::{completion_script, manual_pages};
use secure_traffic::domain::mesh::MtlsMode;
use secure_traffic::domain::rights::{RbacOptions, Task, rights};
use secure_traffic::istio::kinds::{PolicyApi, RuleApi};
use secure_traffic::istio::rbac::{self, RoleSubject};
use secure_traffic::istio::{render, yaml};
use secure_traffic::report::schema;
use serde_json::Value;
use std::path::{Path, PathBuf};

const NAMESPACE: &str = "microservices-demo";
const SERVICES: [&str; 5] = ["app-ui", "boards", "boards-mongodb", "context-scraper", "userprofile"];

struct ApiVersions {
    directory: &'static str,
    apis: render::Apis,
    needs: &'static str,
}

const GENERATIONS: [ApiVersions; 2] = [
    ApiVersions {
        directory: "v1",
        apis: render::Apis { policy: PolicyApi::V1, rule: RuleApi::V1 },
        needs: "Istio 1.22 or newer, OpenShift Service Mesh 3.",
    },
    ApiVersions {
        directory: "legacy",
        apis: render::Apis { policy: PolicyApi::Legacy, rule: RuleApi::V1alpha3 },
        needs: "Istio 1.0 to 1.4, OpenShift Service Mesh 1.x.",
    },
];

/// File name, what its header says, and its objects.
fn files(apis: render::Apis) -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let services: Vec<String> = SERVICES.iter().map(ToString::to_string).collect();
    let offline = |mode| render::Offline {
        namespace: NAMESPACE,
        services: &services,
        cluster_domain: "cluster.local",
        policy: None,
        pods: None,
        mode,
    };
    let (on, off) = (offline(MtlsMode::Strict), offline(MtlsMode::Permissive));
    vec![
        (
            "policy-default-enablemtls.yaml",
            "Every workload of the namespace takes mutual TLS only.\n# Apply after destinationrules-mtls.yaml, so that no client is caught sending plaintext.",
            vec![on.policy(apis.policy)],
        ),
        (
            "policy-default-disablemtls.yaml",
            "Every workload of the namespace takes mutual TLS and plaintext.\n# Apply before destinationrules.yaml.",
            vec![off.policy(apis.policy)],
        ),
        ("destinationrules-mtls.yaml", "Clients in the mesh send mutual TLS to these Services.", on.rules(apis.rule)),
        (
            "destinationrules.yaml",
            "Clients in the mesh are told nothing about TLS to these Services.\n# Apply a moment after policy-default-disablemtls.yaml.",
            off.rules(apis.rule),
        ),
    ]
}

fn path(generation: &ApiVersions, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(generation.directory).join(file)
}

#[test]
fn manifests_are_what_the_tool_renders() {
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    for generation in &GENERATIONS {
        for (file, says, objects) in files(generation.apis) {
            let path = path(generation, file);
            let body = yaml::write_all(&objects).expect("written");
            let text = format!("# {says}\n# For {}\n{body}", generation.needs);
            if update {
                std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
                std::fs::write(&path, &text).expect("written");
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, text, "{} differs; run with UPDATE_GENERATED=1", path.display());
            assert_eq!(yaml::read_all(&found).expect("YAML"), objects, "{}", path.display());
        }
    }
}

#[test]
fn manifests_hold_only_what_the_tool_renders() {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        return;
    }
    for generation in &GENERATIONS {
        let directory = path(generation, "");
        let mut found: Vec<String> = std::fs::read_dir(&directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        let mut rendered: Vec<_> = files(generation.apis).into_iter().map(|(file, _, _)| file).collect();
        rendered.sort_unstable();
        assert_eq!(found, rendered, "{}", directory.display());
    }
}

#[test]
fn every_object_names_its_namespace() {
    for generation in &GENERATIONS {
        for (file, _, objects) in files(generation.apis) {
            for object in objects {
                assert_eq!(object["metadata"]["namespace"], NAMESPACE, "{file}");
                assert!(object["spec"].get("selector").is_none(), "{file}");
            }
        }
    }
}

/// Compares the files of a directory, all of them, with what is generated; or writes them.
fn assert_current(directory: &str, files: &[(String, Vec<u8>)]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(&directory).expect("made");
        for (name, text) in files {
            std::fs::write(directory.join(name), text).expect("written");
        }
    }
    for (name, text) in files {
        let found = std::fs::read(directory.join(name)).unwrap_or_default();
        let same = found == *text;
        assert!(same, "{} differs; run with UPDATE_GENERATED=1", directory.join(name).display());
    }
    let mut found: Vec<String> = std::fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(found, names, "{}", directory.display());
}

#[test]
fn completions_are_those_of_the_parser() {
    let files: Vec<(String, Vec<u8>)> = Shell::value_variants()
        .iter()
        .map(|shell| {
            let name = match shell {
                Shell::Bash => "secure-traffic.bash",
                Shell::Elvish => "secure-traffic.elv",
                Shell::Fish => "secure-traffic.fish",
                Shell::PowerShell => "_secure-traffic.ps1",
                Shell::Zsh => "_secure-traffic",
                other => panic!("a name for {other}"),
            };
            (name.to_owned(), completion_script(*shell))
        })
        .collect();
    assert_eq!(files.len(), 5);
    assert_current("completions", &files);
}

#[test]
fn manual_pages_are_those_of_the_parser() {
    let pages = manual_pages().expect("rendered");
    assert!(pages.iter().any(|(name, _)| name == "secure-traffic-enable-mtls.1"));
    assert_current("docs/man", &pages);
}

/// The text of a page without escapes and fonts.
fn plain(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page).into_owned();
    ["\\fB", "\\fR", "\\fI"].iter().fold(text, |text, font| text.replace(font, "")).replace("\\-", "-").replace('"', "")
}

#[test]
fn manual_pages_have_their_sections_and_refer_to_pages_that_exist() {
    let pages = manual_pages().expect("rendered");
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for (name, page) in &pages {
        let text = plain(page);
        let sections = ["NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT", "SEE ALSO"];
        for section in sections {
            assert_eq!(text.matches(&format!("\n.SH {section}\n")).count(), 1, "{name}: {section}");
        }
        assert!(text.contains("129, 130, 143\nstopped by SIGHUP"), "{name}");
        for entry in text.split("\n.TP\n").skip(1) {
            assert!(entry.lines().nth(1).is_some_and(|meaning| !meaning.is_empty()), "{name}: {entry}");
        }
        let references: Vec<&str> = text.split("(1)").collect();
        let (_, before) = references.split_last().expect("a text");
        assert!(!before.is_empty(), "{name}");
        for before in before {
            let is_part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let referred = before.rsplit(|c| !is_part_of_name(c)).next().unwrap_or_default();
            assert!(names.contains(&format!("{referred}.1").as_str()), "{name} refers to {referred}(1)");
        }
    }
}

#[test]
fn schemas_are_those_of_the_reports() {
    let schemas = [
        ("probe-report", schema::probe_report()),
        ("rehearsal-report", schema::rehearsal_report()),
        ("status-report", schema::status_report()),
    ];
    let files = schemas.map(|(name, schema)| {
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        (format!("{name}.v1alpha2.json"), text.into_bytes())
    });
    assert_current("docs/schema", &files);
}

/// What `rbac` prints for the walk-through's namespace.
#[test]
fn roles_are_those_of_the_tool() {
    let files = [("probe", Task::Probe, false), ("switch", Task::Switch, false), ("legacy", Task::Switch, true)];
    let files: Vec<(String, Vec<u8>)> = files
        .into_iter()
        .map(|(name, task, legacy)| {
            let needed = rights(task, RbacOptions { legacy, ..RbacOptions::default() });
            let account = if task == Task::Probe { "secure-traffic-probe" } else { "secure-traffic-switch" };
            let to = RoleSubject {
                account,
                namespace: NAMESPACE,
                probe_namespace: None,
                root: "istio-system",
                ztunnel: "istio-system",
                revision: None,
            };
            let what = match (task, legacy) {
                (Task::Probe, _) => "`secure-traffic probe`",
                (_, false) => "`secure-traffic enable-mtls` and `disable-mtls`",
                (_, true) => {
                    "`secure-traffic enable-mtls` and `disable-mtls` on Istio 1.0 to 1.4, OpenShift Service Mesh 1.x"
                }
            };
            let text = rbac::manifest(&format!("{what} (as `secure-traffic rbac` prints them)"), &needed, &to);
            (format!("{name}.yaml"), text.expect("written").into_bytes())
        })
        .collect();
    // Kept by hand: what `status` reads beside a probe's rights, in every namespace.
    let by_hand = "survey-reader.yaml";
    let text =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/rbac").join(by_hand)).expect(by_hand);
    let files: Vec<_> = files.into_iter().chain([(by_hand.to_owned(), text)]).collect();
    assert_current("manifests/rbac", &files);
}
