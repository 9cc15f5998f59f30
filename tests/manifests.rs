//! The manifests that people apply by hand: each is read, and each says what its header promises.

use secure_traffic::istio::yaml;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(directory);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files
}

fn read(path: &Path) -> (String, Vec<Value>) {
    let text = std::fs::read_to_string(path).expect("text");
    let objects = yaml::read_all(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(text.starts_with("# "), "{} does not say what it is for", path.display());
    (text, objects)
}

fn texts<'a>(value: &'a Value, place: &str) -> Vec<&'a str> {
    let list: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(!list.is_empty(), "{place} is empty");
    list
}

#[test]
fn roles_grant_something_and_never_everything() {
    for path in files("rbac") {
        let (_, objects) = read(&path);
        let name = path.display();
        for object in &objects {
            let kind = object["kind"].as_str().expect("a kind");
            let api = if kind == "ServiceAccount" { "v1" } else { "rbac.authorization.k8s.io/v1" };
            assert_eq!(object["apiVersion"], api, "{name}");
            if !matches!(kind, "Role" | "ClusterRole") {
                continue;
            }
            let rules = object["rules"].as_array().expect("rules");
            assert!(!rules.is_empty(), "{name}: a role without rules");
            for rule in rules {
                for field in ["apiGroups", "resources", "verbs"] {
                    let words = texts(&rule[field], &format!("{name}: {field}"));
                    assert!(!words.contains(&"*"), "{name}: {field} is everything");
                    assert!(!words.contains(&"secrets"), "{name}: secrets");
                }
            }
        }
    }
}

#[test]
fn every_binding_binds_a_role_of_its_file_to_an_account_of_ours() {
    let all: Vec<Value> = files("rbac").iter().flat_map(|path| read(path).1).collect();
    let accounts: Vec<&Value> = all.iter().filter(|object| object["kind"] == "ServiceAccount").collect();
    for path in files("rbac") {
        let (_, objects) = read(&path);
        for binding in
            objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")))
        {
            let role = &binding["roleRef"];
            let there = objects.iter().any(|object| {
                object["kind"] == role["kind"]
                    && object["metadata"]["name"] == role["name"]
                    && object["metadata"]["namespace"] == binding["metadata"]["namespace"]
            });
            assert!(there, "{}: no {role}", path.display());
            for subject in binding["subjects"].as_array().expect("subjects") {
                let known = accounts.iter().any(|account| {
                    account["metadata"]["name"] == subject["name"]
                        && account["metadata"]["namespace"] == subject["namespace"]
                });
                assert!(known, "{}: no {subject}", path.display());
            }
        }
    }
}

#[test]
fn a_probe_changes_nothing_but_its_own_pod() {
    let (_, objects) = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/rbac/probe.yaml"));
    let roles = objects.iter().filter(|object| object["kind"] == "Role");
    for rule in roles.flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        let writes = texts(&rule["verbs"], "verbs").iter().any(|verb| !matches!(*verb, "get" | "list" | "watch"));
        assert!(!writes || rule["resources"] == serde_json::json!(["pods"]), "{rule}");
    }
}

#[test]
fn ci_examples_are_yaml_and_ask_for_a_rejection() {
    for path in files("ci") {
        let (text, objects) = read(&path);
        let name = path.display();
        assert_eq!(objects.len(), 1, "{name}");
        assert!(text.contains("secure-traffic probe -n ") && text.contains(" --expect rejected"), "{name}");
        let object = &objects[0];
        match path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default() {
            "github-actions" => assert!(object["jobs"]["plaintext-is-rejected"]["steps"].is_array(), "{name}"),
            "gitlab-ci" => assert!(object["plaintext-is-rejected"]["script"].is_array(), "{name}"),
            "tekton-task" => {
                assert_eq!(
                    (&object["apiVersion"], &object["kind"]),
                    (&"tekton.dev/v1".into(), &"Task".into()),
                    "{name}"
                );
                assert!(object["spec"]["steps"].is_array(), "{name}");
            }
            other => panic!("{other} has no check here"),
        }
    }
}
