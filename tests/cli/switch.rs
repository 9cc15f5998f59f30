use crate::helpers::{Stage, run, shows};
use secure_traffic::istio::yaml;
use secure_traffic::sandbox::State;

#[test]
fn without_a_terminal_and_without_yes_nothing_is_written() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("enable-mtls"), @"");
    let policies = stage.run("enable-mtls --diff -q");
    assert_eq!(policies.code, Some(1), "everything is still to be done");
    assert_eq!(policies.stdout.matches("\n+kind: ").count(), 6, "{policies}");
}

#[test]
fn on_again_and_off() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("enable-mtls --yes"), @"");
    shows!(stage.run("enable-mtls --yes --verify=false"), @"");
    let unchanged = stage.run("enable-mtls --diff");
    assert_eq!((unchanged.code, unchanged.stdout.as_str()), (Some(0), ""), "{unchanged}");
    // Nothing to ask about: no terminal is needed.
    assert_eq!(stage.run("enable-mtls --verify=false").code, Some(0));
    shows!(stage.run("disable-mtls --yes"), @"");
    shows!(stage.run("disable-mtls --yes --verify=false -o name"), @"");
    assert_eq!(stage.run("probe --expect accepted -q").code, Some(0));
    assert!(stage.probe_pods().is_empty());
}

#[test]
fn one_service_of_many() {
    shows!(run("enable-mtls --sandbox --yes --settle 0 boards"), @"");
}

#[test]
fn rendered_offline_byte_for_byte() {
    shows!(run("enable-mtls --dry-run=client -n shop -o yaml boards"), @"");
    shows!(run("enable-mtls --dry-run -n shop -o json boards"), @"");
    shows!(run("enable-mtls --dry-run=client -n shop -o name boards app-ui"), @"");
    shows!(run("disable-mtls --dry-run=client -n shop boards"), @"");
    shows!(run("enable-mtls --dry-run=client -n on -o yaml --policy-api legacy --service no"), @"");
    let twice = || run("enable-mtls --dry-run=client -n shop -o yaml boards app-ui").stdout;
    assert_eq!(twice(), twice());
    assert_eq!(yaml::read_all(&twice()).unwrap().len(), 3);
}

#[test]
fn offline_needs_the_names() {
    shows!(run("enable-mtls --dry-run=client"), @"");
    assert_eq!(run("enable-mtls --dry-run=client --scope=namespace boards").code, Some(2));
    assert_eq!(run("enable-mtls --dry-run=client Boards").code, Some(2));
    assert_eq!(run("enable-mtls --dry-run=client --destination-rules=never -o name").code, Some(0));
}

#[test]
fn validated_by_the_server_and_not_written() {
    let stage = Stage::new(State::Permissive, &[]);
    shows!(stage.run("enable-mtls --dry-run=server"), @"");
    let again = stage.run("enable-mtls --dry-run=server -o name -q");
    assert_eq!((again.code, again.stdout.lines().count()), (Some(0), 6), "{again}");
    let objects = stage.run("enable-mtls --dry-run=server -o json").json();
    assert_eq!((objects["kind"].as_str(), objects["items"].as_array().map(Vec::len)), (Some("List"), Some(6)));
    assert_eq!(stage.run("enable-mtls --diff").code, Some(1));
}

#[test]
fn a_diff_says_what_would_change() {
    shows!(run("enable-mtls --sandbox --diff --destination-rules=never"), @"");
    shows!(run("disable-mtls --sandbox --diff -q boards"), @"");
    let nothing = run("enable-mtls --sandbox=strict --diff -q");
    assert_eq!((nothing.code, nothing.all().as_str()), (Some(0), ""), "{nothing}");
}

#[test]
fn applied_without_proof() {
    shows!(run("enable-mtls --sandbox --yes --verify=false -q"), @"");
    shows!(run("enable-mtls --sandbox --yes --verify=false -q -o name"), @"");
    let run = run("enable-mtls --sandbox --yes --verify=false -q -o yaml --destination-rules=never");
    let object = yaml::read_one(&run.stdout).unwrap();
    assert_eq!(object["spec"]["mtls"]["mode"], "STRICT", "{run}");
    assert!(object["metadata"].get("managedFields").is_none(), "{run}");
}

#[test]
fn objects_on_stdout_and_the_proof_beside_them() {
    let run = run("enable-mtls --sandbox --yes -o json --color always boards");
    assert_eq!(run.code, Some(0), "{run}");
    assert_eq!(run.json()["kind"], "List");
    assert!(run.stderr.contains("\u{1b}[") && !run.stderr.contains("\\u{1b}"), "coloured, and not escaped: {run}");
    assert!(run.stderr.contains("proven: plaintext is rejected at 1 target."), "{run}");
}

#[test]
fn the_legacy_policy_is_written_where_there_is_no_other() {
    shows!(run("enable-mtls --sandbox=legacy --yes --verify=false -q --destination-rules=never"), @"");
    let run = run("enable-mtls --sandbox=legacy --yes --settle 0");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("authentication.istio.io/v1alpha1 Policy"), "{run}");
}

#[test]
fn what_is_not_there_stops_the_run_before_it_begins() {
    shows!(run("enable-mtls --sandbox --yes nosuch"), @"");
    shows!(run("enable-mtls --sandbox --yes --policy nosuch"), @"");
    shows!(run("enable-mtls --sandbox --yes -n nosuch"), @"");
    assert_eq!(run("enable-mtls --sandbox --diff --dry-run").code, Some(2), "one or the other");
    assert_eq!(run("enable-mtls --mode=disable").code, Some(2), "only off has two meanings");
}

#[test]
fn off_can_mean_plaintext_only() {
    let run = run("disable-mtls --sandbox --yes --mode=disable --settle 0 boards");
    assert_eq!(run.code, Some(0), "{run}");
    assert!(run.stderr.contains("(mode STRICT → DISABLE)"), "{run}");
}
