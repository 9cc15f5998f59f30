use super::*;
use crate::domain::mesh::{ClientTls, Service};
use crate::domain::object::ObjectKind;
use crate::domain::plan::{Change, PodScope, RuleAction, SwitchRequest, after, plan};
use crate::domain::testing::{DISABLE, ENABLE, pod, policy, service, shop};

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn workload(selector: &str) -> SwitchRequest {
    SwitchRequest { pods: PodScope::Workload(labels(selector)), ..ENABLE }
}

/// A policy as `--workload` writes it.
fn step(name: &str, created: i64, selector: &str) -> PeerAuthentication {
    let strict = policy(name, created, Some(MtlsMode::Strict));
    PeerAuthentication { selector: labels(selector), is_ours: true, ..strict }
}

/// The namespace with `api` and `web`, whose pods have the label `tier=front`, too.
fn two_workloads(policies: Vec<PeerAuthentication>) -> Snapshot {
    let mut snapshot = shop(&["api", "web"]);
    for pod in snapshot.pods.values_mut() {
        pod.labels.insert("tier".into(), "front".into());
    }
    snapshot.policies.peer = policies;
    snapshot
}

/// The changes that write, in their order: the name of the object and kubectl's word.
fn order(plan: &Plan) -> Vec<(ObjectKind, String, &'static str)> {
    let phases = plan.phases();
    let writes = phases.iter().flat_map(|phase| &phase.changes).filter(|change| change.is_write());
    writes.map(|change| (change.kind(), change.name().to_owned(), change.result_word())).collect()
}

fn named(kind: ObjectKind, name: &str, word: &'static str) -> (ObjectKind, String, &'static str) {
    (kind, name.to_owned(), word)
}

#[test]
fn only_the_selected_pods_become_strict_and_only_their_services_get_rules() {
    use ObjectKind::{Policy, Rule};
    let plan = plan(&two_workloads(Vec::new()), &workload("app=web"));
    assert_eq!(order(&plan), [named(Rule, "web", "created"), named(Policy, "strict-web", "created")]);
    let change = plan.policy.clone().expect("a policy");
    assert_eq!(change.mode(), Some(MtlsMode::Strict));
    let expected = PolicyAction::CreateForPods {
        selector: labels("app=web"),
        mode: Some(MtlsMode::Strict),
        ports: BTreeMap::new(),
    };
    assert_eq!(change.action, expected);
    assert_eq!((plan.warnings, plan.blockers), (Vec::new(), Vec::new()));
}

#[test]
fn a_wider_step_deletes_the_narrower_one_after_it() {
    use ObjectKind::{Policy, Rule};
    let snapshot = two_workloads(vec![step("strict-web", 1, "app=web")]);
    let wider = plan(&snapshot, &workload("tier=front"));
    let expected = [
        named(Rule, "api", "created"),
        named(Rule, "web", "created"),
        named(Policy, "strict-front", "created"),
        named(Policy, "strict-web", "deleted"),
    ];
    assert_eq!(order(&wider), expected);
    let whole = plan(&snapshot, &ENABLE);
    assert_eq!(order(&whole)[2..], [named(Policy, "default", "created"), named(Policy, "strict-web", "deleted")]);
    let done = after(&snapshot, &whole);
    assert!(!plan(&done, &ENABLE).has_writes(), "a second run has nothing to do");
}

#[test]
fn pods_under_another_selector_stop_the_run() {
    let theirs =
        |mode| PeerAuthentication { is_ours: false, ..PeerAuthentication { mode, ..step("mine", 1, "app=web") } };
    let exception = PeerAuthentication {
        mode: None,
        ports: [(8080, Some(MtlsMode::Permissive))].into(),
        ..step("web-exception", 1, "app=web")
    };
    for (case, other, wanted) in [
        ("the user's, though STRICT", theirs(Some(MtlsMode::Strict)), "tier=front"),
        ("the user's", theirs(Some(MtlsMode::Permissive)), "tier=front"),
        ("an exception", exception, "tier=front"),
        ("a wider step of ours", step("strict-front", 1, "tier=front"), "app=web"),
    ] {
        let name = other.name.clone();
        let plan = plan(&two_workloads(vec![other]), &workload(wanted));
        let [PlanBlocker::OtherSelector { policy, pods, .. }] = &plan.blockers[..] else {
            panic!("{case}: {:?}", plan.blockers)
        };
        assert_eq!((policy, &pods[..]), (&name, &["web-0".to_owned()][..]), "{case}");
        assert!(plan.superfluous.is_empty(), "{case}");
    }
}

#[test]
fn a_policy_with_the_same_selector_is_changed_whoever_wrote_it() {
    let mut theirs = step("mine", 1, "app=web");
    theirs.is_ours = false;
    theirs.mode = Some(MtlsMode::Permissive);
    let planned = plan(&two_workloads(vec![theirs]), &workload("app=web"));
    let action = planned.policy.map(|change| (change.name, change.action));
    let expected = PolicyAction::SetMode { from: Some(MtlsMode::Permissive), to: MtlsMode::Strict };
    assert_eq!(action, Some(("mine".to_owned(), expected)));
    let again = plan(&two_workloads(vec![step("strict-web", 1, "app=web")]), &workload("app=web"));
    assert_eq!(again.policy.map(|change| change.is_write()), Some(false));
}

#[test]
fn pods_that_the_namespace_makes_strict_need_no_policy_of_their_own() {
    let strict = || policy("mine", 1, Some(MtlsMode::Strict));
    let unchanged = |name: &str| Some((name.to_owned(), PolicyAction::Unchanged { mode: Some(MtlsMode::Strict) }));
    let warned = [Warning::StrictAlready { policy: "mine".into(), selector: "app=web".into() }];
    let planned = plan(&two_workloads(vec![strict()]), &workload("app=web"));
    assert_eq!(planned.policy.map(|change| (change.name, change.action)), unchanged("mine"));
    assert_eq!((planned.warnings, planned.blockers), (warned.to_vec(), Vec::new()));
    // A narrower step is superfluous as well.
    let planned = plan(&two_workloads(vec![strict(), step("strict-web", 2, "app=web")]), &workload("tier=front"));
    assert_eq!(planned.policy.map(|change| (change.name, change.action)), unchanged("mine"));
    assert_eq!(planned.superfluous.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["strict-web"]);
    for (what, policies) in [
        ("another policy decides", vec![policy("old", 0, Some(MtlsMode::Permissive)), strict()]),
        ("it sets nothing", vec![policy("mine", 1, None)]),
        ("no pod follows it", vec![PeerAuthentication { revision: Some("canary".into()), ..strict() }]),
        ("only the mesh is STRICT", vec![PeerAuthentication { namespace: "istio-system".into(), ..strict() }]),
    ] {
        let planned = plan(&two_workloads(policies), &workload("app=web"));
        assert_eq!(planned.policy.map(|change| change.name), Some("strict-web".to_owned()), "{what}");
    }
}

#[test]
fn a_selector_without_pods_and_a_legacy_mesh_stop_the_run() {
    let plan_of = |snapshot: &Snapshot| plan(snapshot, &workload("app=wbe")).blockers;
    assert_eq!(plan_of(&shop(&["web"])), [PlanBlocker::NoPodMatches { selector: "app=wbe".into() }]);
    let mut ended = shop(&["web"]);
    let mut job = pod("wbe");
    job.facts.finished = true;
    ended.pods.insert("wbe-0".into(), job);
    assert_eq!(plan_of(&ended), [PlanBlocker::NoPodMatches { selector: "app=wbe".into() }], "a pod that has ended");
    let mut legacy = shop(&["web"]);
    legacy.policies.legacy_only = true;
    assert_eq!(plan_of(&legacy), [PlanBlocker::LegacySelector]);
}

#[test]
fn turning_off_deletes_what_earlier_steps_wrote_and_nothing_else() {
    let mut theirs = step("mine", 1, "app=api");
    theirs.is_ours = false;
    let snapshot = two_workloads(vec![theirs, step("strict-web", 2, "app=web")]);
    let off = plan(&snapshot, &DISABLE);
    let deleted: Vec<_> = off.superfluous.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(deleted, ["strict-web"]);
    let words: Vec<_> = order(&off).into_iter().map(|(_, name, word)| (name, word)).collect();
    assert_eq!(words, [("default".to_owned(), "created"), ("strict-web".to_owned(), "deleted")]);
}

#[test]
fn through_disable_a_step_passes_permissive_with_its_selector() {
    let mut snapshot = two_workloads(vec![policy("default", 1, Some(MtlsMode::Disable))]);
    snapshot.rules = vec![crate::domain::testing::rule("web", "web", Some(ClientTls::Disable))];
    let plan = plan(&snapshot, &workload("app=web"));
    let phases = plan.phases();
    let Change::Policy(first) = &phases[0].changes[0] else { panic!("a policy") };
    let permissive = PolicyAction::CreateForPods {
        selector: labels("app=web"),
        mode: Some(MtlsMode::Permissive),
        ports: BTreeMap::new(),
    };
    assert_eq!((first.name.as_str(), &first.action), ("strict-web", &permissive));
    assert_eq!(phases[2].changes[0].mode(), Some(MtlsMode::Strict));
    assert!(matches!(&phases[1].changes[0], Change::Rule(rule) if matches!(rule.action, RuleAction::Edit(_))));
}

#[test]
fn the_services_of_a_workload_are_those_that_lead_to_its_pods() {
    let mut snapshot = shop(&["api", "web"]);
    let alias: Service = service("front", &pod("web"));
    snapshot.services.push(alias);
    assert_eq!(services(&snapshot, &labels("app=web")).into_iter().collect::<Vec<_>>(), ["front", "web"]);
}

#[test]
fn names_of_policies_are_valid_whatever_the_labels() {
    for (selector, name) in [
        ("app=web", "strict-web"),
        ("app=web,tier=front", "strict-web-front"),
        ("app=Web_v1.2", "strict-web-v1-2"),
        ("app=", "strict"),
    ] {
        assert_eq!(policy_name(&labels(selector)), name, "{selector}");
    }
    let long = format!("app={}", "x".repeat(63));
    assert_eq!(policy_name(&labels(&long)).len(), 50);
}
