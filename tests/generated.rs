//! `manifests/` says what the tool renders. `UPDATE_GENERATED=1 cargo test --test generated` writes it anew.

#![allow(clippy::disallowed_methods, reason = "the environment switches these tests")]

use secure_traffic::domain::mesh::MtlsMode;
use secure_traffic::istio::kinds::{PolicyApi, RuleApi};
use secure_traffic::istio::{render, yaml};
use serde_json::Value;
use std::path::{Path, PathBuf};

const NAMESPACE: &str = "microservices-demo";
const SERVICES: [&str; 5] = ["app-ui", "boards", "boards-mongodb", "context-scraper", "userprofile"];

struct Generation {
    directory: &'static str,
    apis: render::Apis,
    needs: &'static str,
}

const GENERATIONS: [Generation; 2] = [
    Generation {
        directory: "v1",
        apis: render::Apis { policy: PolicyApi::V1, rule: RuleApi::V1 },
        needs: "Istio 1.22 or newer, OpenShift Service Mesh 3.",
    },
    Generation {
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
        policy: "default",
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

fn path(generation: &Generation, file: &str) -> PathBuf {
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
fn manifests_hold_no_other_yaml_than_what_is_rendered() {
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
