use super::*;
use crate::domain::effective::server_mode;
use crate::domain::mesh::{Endpoint, PortRef};
use crate::domain::object::ObjectKind;
use crate::domain::plan::{PodScope, SwitchRequest, after, plan};
use crate::domain::testing::{ENABLE, pod, policy, service, shop};

fn except(targets: &[(&str, Option<PortRef>)]) -> SwitchRequest {
    let target = |(service, port): &(&str, Option<PortRef>)| Target { port: port.clone(), ..Target::service(service) };
    SwitchRequest { pods: PodScope::Namespace { exceptions: targets.iter().map(target).collect() }, ..ENABLE }
}

const fn number(port: u16) -> PortRef {
    PortRef::Number(port)
}

/// A policy with the selector of the Service `web`.
fn web_policy(mode: Option<MtlsMode>, ports: &[(u16, Option<MtlsMode>)]) -> PeerAuthentication {
    let selector = [("app".to_owned(), "web".to_owned())].into();
    PeerAuthentication { selector, ports: ports.iter().copied().collect(), ..policy("mine", 1, mode) }
}

#[test]
fn an_excepted_port_stays_open_at_its_target_port_before_the_namespace_turns_strict() {
    let snapshot = shop(&["api", "web"]);
    let planned = plan(&snapshot, &except(&[("web", Some(number(80)))]));
    let phases = planned.phases();
    let order: Vec<Vec<&str>> =
        phases.iter().map(|phase| phase.changes.iter().map(crate::domain::plan::Change::name).collect()).collect();
    assert_eq!(order, [vec!["api", "web"], vec!["web-exception"], vec!["default"]]);
    assert_eq!(phases[0].kind, ObjectKind::Rule);
    let done = after(&snapshot, &planned);
    let mode = |pod: &str, port| server_mode(&done.policies, &done.pods[pod], port).mode;
    assert_eq!(mode("web-0", 8080), Some(MtlsMode::Permissive), "the Service's port is 80, its target port 8080");
    assert_eq!(mode("web-0", 80), Some(MtlsMode::Strict));
    assert_eq!(mode("api-0", 8080), Some(MtlsMode::Strict));
    assert!(!plan(&done, &except(&[("web", None)])).has_writes(), "a second run has nothing to do");
}

#[test]
fn a_policy_with_the_same_selector_gets_the_port() {
    let strict = Some(MtlsMode::Strict);
    let open = Some(MtlsMode::Permissive);
    for (case, existing, writes) in [
        ("no mode", web_policy(None, &[(9090, open)]), true),
        ("STRICT", web_policy(strict, &[]), true),
        ("the port is STRICT", web_policy(open, &[(8080, strict)]), true),
        ("open already", web_policy(strict, &[(8080, open)]), false),
        ("all ports are open", web_policy(open, &[]), false),
    ] {
        let mut snapshot = shop(&["web"]);
        snapshot.policies.peer.push(existing);
        let planned = plan(&snapshot, &except(&[("web", None)]));
        let [change] = &planned.exceptions[..] else { panic!("{case}: {:?}", planned.exceptions) };
        assert_eq!((change.name.as_str(), change.is_write()), ("mine", writes), "{case}");
        let done = after(&snapshot, &planned);
        assert_eq!(server_mode(&done.policies, &done.pods["web-0"], 8080).mode, open, "{case}");
    }
}

#[test]
fn a_step_of_an_earlier_run_becomes_the_exception() {
    let mut snapshot = shop(&["web"]);
    snapshot.policies.peer.push(PeerAuthentication { is_ours: true, ..web_policy(Some(MtlsMode::Strict), &[]) });
    let planned = plan(&snapshot, &except(&[("web", None)]));
    assert!(planned.superfluous.is_empty(), "it is needed");
    assert!(matches!(planned.exceptions[0].action, PolicyAction::SetPorts { .. }));
}

#[test]
fn services_with_one_selector_share_a_policy() {
    let mut snapshot = shop(&["web"]);
    let mut admin = service("admin", &pod("web"));
    admin.endpoints[0].ports.insert(String::new(), 9090);
    snapshot.services.push(admin);
    let planned = plan(&snapshot, &except(&[("web", None), ("admin", None)]));
    let [change] = &planned.exceptions[..] else { panic!("{:?}", planned.exceptions) };
    let PolicyAction::CreateForPods { ports, mode: None, .. } = &change.action else { panic!("{change:?}") };
    assert_eq!(ports.keys().copied().collect::<Vec<_>>(), [8080, 9090]);
}

#[test]
fn what_cannot_be_excepted_stops_the_run() {
    let blockers = |snapshot: &Snapshot, target: (&str, Option<PortRef>)| plan(snapshot, &except(&[target])).blockers;
    let unknown = PlanBlocker::UnknownService { name: "wbe".into(), existing: vec!["web".into()] };
    assert_eq!(blockers(&shop(&["web"]), ("wbe", None)), [unknown]);
    let port = |port: &str| PlanBlocker::UnknownPort { service: "web".into(), port: port.into(), existing: vec![80] };
    assert_eq!(blockers(&shop(&["web"]), ("web", Some(number(8080)))), [port("8080")], "that is the target port");
    assert_eq!(blockers(&shop(&["web"]), ("web", Some(PortRef::Name("http".into())))), [port("http")]);

    let mut by_hand = shop(&["web"]);
    by_hand.services[0].selector.clear();
    assert_eq!(blockers(&by_hand, ("web", None)), [PlanBlocker::ExceptionWithoutSelector { service: "web".into() }]);

    let mut no_pod = shop(&["web"]);
    no_pod.services[0].endpoints = Vec::<Endpoint>::new();
    assert_eq!(blockers(&no_pod, ("web", None)), [], "the target port is the port");
    no_pod.services[0].ports[0].target_port = Some(PortRef::Name("http".into()));
    let no_number = PlanBlocker::UnknownTargetPort { service: "web".into(), port: 80 };
    assert_eq!(blockers(&no_pod, ("web", None)), [no_number]);

    let mut other = shop(&["web"]);
    other.pods.get_mut("web-0").expect("a pod").labels.insert("tier".into(), "front".into());
    let selector = [("tier".to_owned(), "front".to_owned())].into();
    other.policies.peer.push(PeerAuthentication { selector, ..policy("tier", 1, None) });
    assert!(
        matches!(&blockers(&other, ("web", None))[..], [PlanBlocker::OtherSelector { policy, .. }] if policy == "tier")
    );
}

#[test]
fn a_port_that_another_service_names_too_needs_both_names() {
    let mut snapshot = shop(&["web"]);
    snapshot.services.push(service("web-headless", &pod("web")));
    let shared =
        PlanBlocker::SharedException { service: "web".into(), target_port: 8080, other: "web-headless".into() };
    assert_eq!(plan(&snapshot, &except(&[("web", None)])).blockers, [shared]);
    let both = plan(&snapshot, &except(&[("web", None), ("web-headless", None)]));
    assert_eq!((both.blockers.len(), both.exceptions.len()), (0, 1));
    let mut elsewhere = shop(&["web", "api"]);
    elsewhere.services[1].endpoints[0].ports.insert(String::new(), 9090);
    assert_eq!(plan(&elsewhere, &except(&[("web", None)])).blockers, []);
}
