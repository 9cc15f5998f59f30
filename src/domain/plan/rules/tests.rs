//! Tables: the namespace, the request, and the planned changes of `DestinationRules`.

use super::*;
use crate::domain::injection::PodTemplate;
use crate::domain::mesh::{Capture, DataPlane, Gateway, GatewayTls, WorkloadEntry};
use crate::domain::plan::plan;
use crate::domain::plan::{Change, after};
use crate::domain::rule::{PortTls, SubsetTls};
use crate::domain::testing::{DISABLE, ENABLE, policy, rule, shop};
use crate::domain::waypoint::USE_WAYPOINT;
use ClientTls::{Disable, IstioMutual, Simple};

const WEB: &str = "web.shop.svc.cluster.local";
const ALL: &str = "*.shop.svc.cluster.local";

fn summary(plan: &Plan) -> Vec<String> {
    plan.rules.iter().map(|rule| format!("{} {}", rule.name, Change::Rule(rule.clone()).result_word())).collect()
}

fn edits(plan: &Plan, name: &str) -> Vec<TlsEdit> {
    match plan.rules.iter().find(|rule| rule.name == name).map(|rule| rule.action.clone()) {
        Some(RuleAction::Edit(edits)) => edits,
        _ => Vec::new(),
    }
}

fn host(change: &RuleChange) -> Option<&str> {
    match &change.action {
        RuleAction::Create { host, .. } => Some(host),
        _ => None,
    }
}

fn set(place: TlsPlace, from: Option<ClientTls>) -> TlsEdit {
    TlsEdit::Set { place, from }
}

#[test]
fn every_service_gets_a_rule_with_its_full_name() {
    let plan = plan(&shop(&["web", "api"]), &ENABLE);
    assert_eq!(summary(&plan), ["api created", "web created"]);
    assert_eq!(host(&plan.rules[1]), Some(WEB));
    assert!(!plan.rules_need_settling && plan.warnings.is_empty() && plan.blockers.is_empty());
}

#[test]
fn a_rule_that_serves_the_host_is_edited_and_never_doubled() {
    for (host, tls, expected, settles) in [
        (WEB, None, "mine configured", false),
        ("web", Some(Disable), "mine configured", true),
        ("web", Some(IstioMutual), "mine unchanged", false),
        (ALL, None, "mine configured", false),
        ("web.shop", None, "web created", false),
    ] {
        let mut snapshot = shop(&["web"]);
        snapshot.rules.push(rule("mine", host, tls));
        let plan = plan(&snapshot, &ENABLE);
        assert_eq!(summary(&plan), [expected], "{host} {tls:?}");
        assert_eq!(plan.rules_need_settling, settles, "{host} {tls:?}");
    }
}

#[test]
fn places_that_override_the_top_are_set_too() {
    let mut snapshot = shop(&["web"]);
    let mut mine = rule("mine", WEB, Some(IstioMutual));
    mine.ports = vec![
        PortTls { port: Some(80), tls: None },
        PortTls { port: Some(81), tls: Some(IstioMutual) },
        PortTls { port: Some(82), tls: Some(Disable) },
    ];
    let port = |tls| PortTls { port: Some(80), tls };
    mine.subsets = vec![
        SubsetTls { name: "inherits".into(), labels: BTreeMap::new(), tls: None, ports: vec![port(None)] },
        SubsetTls {
            name: "plain".into(),
            labels: BTreeMap::new(),
            tls: Some(Disable),
            ports: vec![port(Some(Disable))],
        },
    ];
    snapshot.rules.push(mine);
    let all = [
        set(TlsPlace::Port(0), None),
        set(TlsPlace::Port(2), Some(Disable)),
        set(TlsPlace::Subset(1), Some(Disable)),
        set(TlsPlace::SubsetPort(0, 0), None),
        set(TlsPlace::SubsetPort(1, 0), Some(Disable)),
    ];
    assert_eq!(edits(&plan(&snapshot, &ENABLE), "mine"), all);
    // Auto mTLS fills what is missing; only the contrary is changed.
    let auto = SwitchRequest { destination_rules: RuleChoice::Auto, ..ENABLE };
    assert_eq!(edits(&plan(&snapshot, &auto), "mine"), [all[1], all[2], all[4]]);
    snapshot.mesh.auto_mtls = false;
    assert_eq!(edits(&plan(&snapshot, &auto), "mine"), all);
}

#[test]
fn the_choice_decides_whether_rules_are_created() {
    for (choice, auto_mtls, legacy, expected) in [
        (RuleChoice::Always, true, false, &["web created"][..]),
        (RuleChoice::Auto, true, false, &[]),
        (RuleChoice::Auto, false, false, &["web created"]),
        (RuleChoice::Auto, true, true, &["web created"]),
        (RuleChoice::Never, false, true, &[]),
    ] {
        let mut snapshot = shop(&["web"]);
        snapshot.mesh.auto_mtls = auto_mtls;
        snapshot.policies.legacy_only = legacy;
        let plan = plan(&snapshot, &SwitchRequest { destination_rules: choice, ..ENABLE });
        assert_eq!(summary(&plan), expected, "{choice:?} {auto_mtls} {legacy}");
    }
    let mut snapshot = shop(&["web"]);
    snapshot.rules.push(rule("web", WEB, Some(Disable)));
    let never = plan(&snapshot, &SwitchRequest { destination_rules: RuleChoice::Never, ..ENABLE });
    assert_eq!(never.warnings, [Warning::PlaintextRule { rule: "web".into(), host: WEB.into(), tls: Disable }]);
}

#[test]
fn among_several_rules_the_one_in_force_is_edited_with_a_warning() {
    let mut snapshot = shop(&["web"]);
    let mut young = rule("young", "web", Some(Disable));
    young.created = 2;
    snapshot.rules = vec![young, rule("old", WEB, Some(Disable))];
    let plan = plan(&snapshot, &ENABLE);
    assert_eq!(summary(&plan), ["old configured", "young unchanged"]);
    let warning = Warning::SeveralRules { host: WEB.into(), in_force: vec!["old".into()], idle: vec!["young".into()] };
    assert_eq!(plan.warnings, [warning]);
}

#[test]
fn a_rule_for_some_clients_does_not_serve_the_others() {
    let mut snapshot = shop(&["web"]);
    let mut some = rule("some", WEB, Some(Disable));
    some.client_selector = Some([("app".to_owned(), "batch".to_owned())].into());
    snapshot.rules.push(some);
    assert_eq!(summary(&plan(&snapshot, &ENABLE)), ["some configured", "web created"]);
}

#[test]
fn a_taken_name_gets_a_number() {
    let mut snapshot = shop(&["web", "web-2"]);
    snapshot.rules.push(rule("web", "elsewhere.example.com", None));
    let plan = plan(&snapshot, &ENABLE);
    let names: Vec<_> = plan.rules.iter().map(|rule| (rule.name.as_str(), host(rule))).collect();
    assert_eq!(names, [("web-2", Some(WEB)), ("web-2-2", Some("web-2.shop.svc.cluster.local"))]);
}

#[test]
fn services_that_would_break_get_no_rule_and_a_reason() {
    let mut snapshot = shop(&["alias", "manual", "naked", "web"]);
    snapshot.services[0].kind = ServiceKind::ExternalName;
    snapshot.services[1].selector.clear();
    snapshot.pods.get_mut("naked-0").expect("a pod").data_plane = DataPlane::None;
    let skip = |service: &str, reason| Skipped { service: service.into(), reason };
    let mut expected = vec![
        skip("alias", SkipReason::ExternalName),
        skip("manual", SkipReason::NoSelector),
        skip("naked", SkipReason::OutsideMesh(vec!["naked-0".into()])),
    ];
    let careful = plan(&snapshot, &ENABLE);
    assert_eq!((summary(&careful), careful.skipped), (vec!["web created".to_owned()], expected.clone()));
    let forced = plan(&snapshot, &SwitchRequest { force: true, ..ENABLE });
    expected.pop();
    assert_eq!(forced.skipped, expected);
    assert_eq!(summary(&forced), ["naked created", "web created"]);

    let mut default = shop(&["kubernetes"]);
    default.namespace = "default".into();
    assert_eq!(plan(&default, &ENABLE).skipped, [skip("kubernetes", SkipReason::ApiServer)]);
}

#[test]
fn a_named_service_must_exist() {
    let snapshot = shop(&["web", "api"]);
    let request = |names: &[&str]| SwitchRequest {
        services: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..ENABLE
    };
    assert_eq!(summary(&plan(&snapshot, &request(&["web", "web"]))), ["web created"]);
    let existing = vec!["api".to_owned(), "web".to_owned()];
    assert_eq!(
        plan(&snapshot, &request(&["wbe"])).blockers,
        [PlanBlocker::UnknownService { name: "wbe".into(), existing }]
    );
}

#[test]
fn a_wildcard_is_changed_only_where_it_breaks_no_service() {
    let mut snapshot = shop(&["naked", "web"]);
    snapshot.rules = vec![rule("all", ALL, None)];
    snapshot.pods.get_mut("naked-0").expect("a pod").data_plane = DataPlane::None;
    let reason = SkipReason::OutsideMesh(vec!["naked-0".into()]);
    let breaks = PlanBlocker::WildcardBreaks { rule: "all".into(), service: "naked".into(), reason };
    assert_eq!(plan(&snapshot, &ENABLE).blockers, [breaks]);
    snapshot.rules.push(rule("naked", "naked", Some(Disable)));
    assert!(plan(&snapshot, &ENABLE).blockers.is_empty(), "it has a rule of its own");

    let mut snapshot = shop(&["api", "web"]);
    snapshot.rules.push(rule("all", ALL, None));
    let partial = plan(&snapshot, &SwitchRequest { services: Some(vec!["web".into()]), ..ENABLE });
    let others = vec!["api".to_owned()];
    let wildcard = Warning::WildcardReachesMore { rule: "all".into(), services: others.clone() };
    let policy = Warning::PolicyReachesMore { mode: MtlsMode::Strict, services: others };
    assert_eq!(partial.warnings, [wildcard, policy]);
}

#[test]
fn the_namespace_scope_creates_one_rule() {
    let request = SwitchRequest { scope: RuleScope::Namespace, ..ENABLE };
    let mut snapshot = shop(&["api", "web"]);
    let planned = plan(&snapshot, &request);
    assert_eq!(summary(&planned), ["secure-traffic created"]);
    assert_eq!(host(&planned.rules[0]), Some(ALL));
    // An exact rule hides the wildcard from its host, so it is set as well (DR-2).
    snapshot.rules.push(rule("api", "api", None));
    assert_eq!(summary(&plan(&snapshot, &request)), ["api configured", "secure-traffic created"]);
    snapshot.services[1].selector.clear();
    assert!(plan(&snapshot, &request).blockers.is_empty(), "nobody is left to be served by a wildcard");
    snapshot.services.push(shop(&["more"]).services.remove(0));
    snapshot.pods.extend(shop(&["more"]).pods);
    let breaks = PlanBlocker::WildcardBreaks {
        rule: "secure-traffic".into(),
        service: "web".into(),
        reason: SkipReason::NoSelector,
    };
    assert_eq!(plan(&snapshot, &request).blockers, [breaks]);
}

#[test]
fn disabling_removes_only_istio_mutual_and_deletes_nothing() {
    let mut snapshot = shop(&["api", "web"]);
    let mut web = rule("web", "web", Some(IstioMutual));
    web.ports =
        vec![PortTls { port: Some(80), tls: Some(IstioMutual) }, PortTls { port: Some(81), tls: Some(Disable) }];
    let mut idle = rule("idle", WEB, Some(IstioMutual));
    idle.created = 5;
    snapshot.rules =
        vec![web, idle, rule("api", "api", Some(Simple)), rule("far", "far.example.com", Some(IstioMutual))];
    let disabled = plan(&snapshot, &DISABLE);
    assert_eq!(summary(&disabled), ["api unchanged", "idle configured", "web configured"]);
    let removals = [TlsEdit::Remove { place: TlsPlace::Top }, TlsEdit::Remove { place: TlsPlace::Port(0) }];
    assert_eq!(edits(&disabled, "web"), removals);
    assert!(disabled.rules_need_settling && disabled.warnings.is_empty() && disabled.skipped.is_empty());
}

#[test]
fn disabling_keeps_and_reports_rules_of_others() {
    let mut snapshot = shop(&["web"]);
    let mut web = rule("web", "web", Some(IstioMutual));
    web.foreign_manager = Some("flux".into());
    snapshot.rules = vec![web, rule("wide", "*.local", Some(IstioMutual))];
    let left = Warning::WildcardKept { rule: "wide".into(), host: "*.local".into() };
    let foreign = Warning::ForeignTls { rule: "web".into(), manager: "flux".into() };
    let disabled = plan(&snapshot, &DISABLE);
    assert_eq!((summary(&disabled), disabled.warnings), (Vec::new(), vec![foreign.clone(), left.clone()]));
    let taken = plan(&snapshot, &SwitchRequest { force_conflicts: true, ..DISABLE });
    assert_eq!((summary(&taken), taken.warnings), (vec!["web configured".to_owned()], vec![left.clone()]));
    let request = SwitchRequest::new(Direction::Disable { mode: MtlsMode::Disable });
    let plaintext = plan(&snapshot, &request);
    let still = |rule: &str, host: &str| PlanBlocker::StillMutual { rule: rule.into(), host: host.into() };
    assert_eq!(plaintext.warnings, [foreign.clone(), left.clone()]);
    assert_eq!(plaintext.blockers, [still("web", WEB), still("wide", "*.local")]);
    let forced = plan(&snapshot, &SwitchRequest { force: true, ..request });
    let still = |rule: &str, host: &str| Warning::StillMutual { rule: rule.into(), host: host.into() };
    assert_eq!(forced.warnings, [foreign, left, still("web", WEB), still("wide", "*.local")]);
    assert!(forced.blockers.is_empty());
}

#[test]
fn disabling_one_service_keeps_the_wildcard() {
    let mut snapshot = shop(&["api", "web"]);
    snapshot.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
    snapshot.rules = vec![rule("all", ALL, Some(IstioMutual)), rule("web", "web", Some(IstioMutual))];
    let disabled = plan(&snapshot, &SwitchRequest { services: Some(vec!["web".into()]), ..DISABLE });
    assert_eq!(summary(&disabled), ["web configured"]);
    let policy = Warning::PolicyReachesMore { mode: MtlsMode::Permissive, services: vec!["api".into()] };
    assert_eq!(disabled.warnings, [Warning::WildcardKept { rule: "all".into(), host: ALL.into() }, policy]);
    assert_eq!(summary(&plan(&snapshot, &DISABLE)), ["all configured", "web configured"]);
}

/// A rule that also covers other namespaces, with what it says.
fn wider(tls: Option<ClientTls>, says_more: bool) -> DestinationRule {
    let mut wide = rule("wide", "*.local", tls);
    wide.has_traffic_policy = true;
    wide.has_other_traffic_settings = says_more;
    wide
}

#[test]
fn a_rule_that_covers_other_namespaces_is_never_changed() {
    let left = || Warning::RuleLeftAlone { rule: "wide".into(), host: "*.local".into(), services: vec!["web".into()] };
    let hides = || PlanBlocker::HidesSettings { rule: "wide".into(), host: "*.local".into(), service: "web".into() };
    for (tls, says_more, auto_mtls, choice, created, warnings, blockers) in [
        (None, true, true, RuleChoice::Always, &[][..], vec![left()], vec![]),
        (None, true, true, RuleChoice::Auto, &[], vec![], vec![]),
        (None, false, true, RuleChoice::Always, &["web created"], vec![], vec![]),
        (None, true, false, RuleChoice::Always, &[], vec![], vec![hides()]),
        (None, true, false, RuleChoice::Auto, &[], vec![], vec![hides()]),
        (Some(IstioMutual), true, false, RuleChoice::Always, &[], vec![], vec![]),
        (Some(Disable), true, true, RuleChoice::Always, &[], vec![], vec![hides()]),
        (Some(Disable), true, true, RuleChoice::Auto, &[], vec![], vec![hides()]),
        (Some(Disable), false, true, RuleChoice::Always, &["web created"], vec![], vec![]),
        (Some(Disable), false, true, RuleChoice::Auto, &["web created"], vec![], vec![]),
        (Some(Simple), false, true, RuleChoice::Auto, &["web created"], vec![], vec![]),
        (
            Some(Disable),
            true,
            true,
            RuleChoice::Never,
            &[],
            vec![Warning::PlaintextRule { rule: "wide".into(), host: "*.local".into(), tls: Disable }],
            vec![],
        ),
    ] {
        for force in [false, true] {
            let mut snapshot = shop(&["web"]);
            snapshot.mesh.auto_mtls = auto_mtls;
            snapshot.rules.push(wider(tls, says_more));
            let request = SwitchRequest { destination_rules: choice, force, ..ENABLE };
            let plan = plan(&snapshot, &request);
            let case = format!("{tls:?} {says_more} {auto_mtls} {choice:?} {force}");
            assert_eq!(
                (summary(&plan), &plan.warnings, &plan.blockers),
                (created.iter().map(|line| (*line).to_owned()).collect(), &warnings, &blockers),
                "{case}"
            );
        }
    }
}

#[test]
fn a_new_rule_does_not_hide_settings_of_the_root_namespace() {
    let root = |host: &str, tls, says_more, subset: bool| {
        let mut root = rule("shared", host, tls);
        root.namespace = "istio-system".into();
        root.has_other_traffic_settings = says_more;
        if subset {
            root.subsets.push(SubsetTls { name: "v1".into(), ..SubsetTls::default() });
        }
        root
    };
    let name = "istio-system/shared";
    let left = |host: &str| {
        vec![Warning::RuleLeftAlone { rule: name.into(), host: host.into(), services: vec!["web".into()] }]
    };
    let hides =
        |host: &str| vec![PlanBlocker::HidesSettings { rule: name.into(), host: host.into(), service: "web".into() }];
    for (root, auto_mtls, created, warnings, blockers) in [
        (root("*.local", None, true, false), true, false, left("*.local"), vec![]),
        (root(WEB, None, false, true), true, false, left(WEB), vec![]),
        (root(WEB, None, false, false), true, true, vec![], vec![]),
        (root("*.local", Some(IstioMutual), false, false), true, true, vec![], vec![]),
        (root("*.local", Some(IstioMutual), true, false), false, false, left("*.local"), vec![]),
        (root("*.local", Some(Disable), true, false), true, false, vec![], hides("*.local")),
        (root("*.local", None, true, false), false, false, vec![], hides("*.local")),
        (root("api.example.com", None, true, true), true, true, vec![], vec![]),
    ] {
        let mut snapshot = shop(&["web"]);
        snapshot.mesh.auto_mtls = auto_mtls;
        snapshot.root_rules.push(root.clone());
        for force in [false, true] {
            let plan = plan(&snapshot, &SwitchRequest { force, ..ENABLE });
            assert_eq!(
                (!plan.rules.is_empty(), &plan.warnings, &plan.blockers),
                (created, &warnings, &blockers),
                "{root:?}"
            );
        }
        let mut private = root;
        private.export_to = vec![".".into()];
        snapshot.root_rules = vec![private];
        assert_eq!(summary(&plan(&snapshot, &ENABLE)), ["web created"], "a private rule does not apply here");
    }
}

/// The rule's TLS, a change of the namespace, `--force`, and what the plan does, warns of and refuses.
type KeptTls<'a> = (ClientTls, Edit<'a>, bool, &'a str, Vec<Warning>, Vec<PlanBlocker>);

#[test]
fn tls_that_the_application_serves_itself_is_not_replaced() {
    let own = |tls| vec![PlanBlocker::OwnTls { rule: "web".into(), host: WEB.into(), tls }];
    let replaced = |tls| vec![Warning::ReplacesTls { rule: "web".into(), host: WEB.into(), tls }];
    let exempt = |snapshot: &mut Snapshot| {
        let mut exception = policy("web", 1, Some(MtlsMode::Strict));
        exception.selector.insert("app".into(), "web".into());
        exception.ports.insert(8080, Some(MtlsMode::Permissive));
        snapshot.policies.peer.push(exception);
    };
    let strict = |snapshot: &mut Snapshot| snapshot.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
    let kept = |tls| {
        let ports = BTreeMap::from([(8080, MtlsMode::Permissive)]);
        let exception = Warning::WorkloadPolicy { name: "web".into(), wanted: MtlsMode::Strict, mode: None, ports };
        vec![exception, Warning::KeepsTls { rule: "web".into(), host: WEB.into(), tls }]
    };
    let nothing = |_: &mut Snapshot| {};
    let rows: [KeptTls<'_>; 6] = [
        (Simple, &nothing, false, "web unchanged", vec![], own(Simple)),
        (ClientTls::Mutual, &nothing, false, "web unchanged", vec![], own(ClientTls::Mutual)),
        (Simple, &nothing, true, "web configured", replaced(Simple), vec![]),
        // STRICT refuses it already.
        (Simple, &strict, false, "web configured", replaced(Simple), vec![]),
        (Simple, &exempt, false, "web unchanged", kept(Simple), vec![]),
        (Disable, &nothing, false, "web configured", vec![], vec![]),
    ];
    for (tls, stage, force, expected, warnings, blockers) in rows {
        let mut snapshot = shop(&["web"]);
        snapshot.rules.push(rule("web", WEB, Some(tls)));
        stage(&mut snapshot);
        let plan = plan(&snapshot, &SwitchRequest { force, ..ENABLE });
        assert_eq!(summary(&plan), [expected], "{tls:?} {force}");
        assert_eq!((plan.warnings, plan.blockers), (warnings, blockers), "{tls:?} {force}");
    }
}

#[test]
fn disabling_keeps_mutual_tls_where_servers_accept_nothing_else() {
    let strict_workload = |snapshot: &mut Snapshot| {
        let mut own = policy("web", 1, Some(MtlsMode::Strict));
        own.selector.insert("app".into(), "web".into());
        snapshot.policies.peer.push(own);
    };
    let gateway = |tls| {
        move |snapshot: &mut Snapshot| {
            snapshot.pods.get_mut("web-0").expect("a pod").facts.gateway = true;
            snapshot.gateways.push(Gateway {
                namespace: "shop".into(),
                name: "egress".into(),
                selector: [("app".to_owned(), "web".to_owned())].into(),
                servers: vec![crate::domain::mesh::GatewayServer { port: 80, tls }],
            });
        }
    };
    let (mutual, other) = (gateway(GatewayTls::IstioMutual), gateway(GatewayTls::Other));
    let nothing = |_: &mut Snapshot| {};
    let strict_reason = "port 8080 of pod/web-0 stays STRICT";
    let rows: [(&str, Edit<'_>, bool, MtlsMode, Option<&str>); 8] = [
        ("nothing needs it", &nothing, true, MtlsMode::Permissive, None),
        ("auto mTLS takes its place", &strict_workload, true, MtlsMode::Permissive, None),
        ("nothing takes its place", &strict_workload, false, MtlsMode::Permissive, Some(strict_reason)),
        ("auto mTLS looks at the namespace", &strict_workload, true, MtlsMode::Disable, Some(strict_reason)),
        ("a Gateway that accepts nothing else", &mutual, true, MtlsMode::Permissive, Some("gateway/shop/egress")),
        ("and under DISABLE", &mutual, true, MtlsMode::Disable, Some("gateway/shop/egress")),
        ("a Gateway with other TLS", &other, true, MtlsMode::Permissive, None),
        ("plaintext", &nothing, true, MtlsMode::Disable, None),
    ];
    for (case, stage, auto_mtls, mode, reason) in rows {
        let mut snapshot = shop(&["web"]);
        snapshot.mesh.auto_mtls = auto_mtls;
        snapshot.rules.push(rule("web", "web", Some(IstioMutual)));
        stage(&mut snapshot);
        let plan = plan(&snapshot, &SwitchRequest::new(Direction::Disable { mode }));
        let kept: Vec<&str> = plan
            .warnings
            .iter()
            .filter_map(|warning| match warning {
                Warning::StillRequired { reason, .. } => Some(reason.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(kept, reason.into_iter().collect::<Vec<_>>(), "{case}");
        assert_eq!(summary(&plan).is_empty(), reason.is_some(), "{case}");
        assert_eq!(plan.blockers, [], "{case}");
    }
}

/// Work that grows with the product of rules and Services takes minutes here.
#[test]
fn thousands_of_wildcard_rules_over_thousands_of_services_are_planned_and_examined_at_once() {
    use crate::domain::findings::{Purpose, examine};
    use crate::domain::testing::{namespace_context, with_rules};
    let names: Vec<String> = (0..1000).map(|number| format!("web-{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let shared = (0..3000).map(|number| rule(&format!("shared-{number}"), "*.local", Some(ClientTls::Disable)));
    let suffixes = (0..1000).map(|number| {
        rule(&format!("suffix-{number}"), &format!("*{number:03}.shop.svc.cluster.local"), Some(ClientTls::Disable))
    });
    let partial = (0..2000).map(|number| rule(&format!("partial-{number}"), &format!("a{number}.b"), None));
    let rules: Vec<_> = shared.chain(suffixes).chain(partial).collect();
    let start = std::time::Instant::now();
    let context = with_rules(namespace_context(&names), rules);
    let plan = plan(&context.snapshot, &ENABLE);
    let after = crate::domain::plan::after::after(&context.snapshot, &plan);
    assert!(plan.rules.len() >= 1000, "{}", plan.rules.len());
    examine(&context.with(after), Purpose::BeforeSwitch);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

fn skipped(change: impl FnOnce(&mut Snapshot)) -> Option<SkipReason> {
    let mut snapshot = shop(&["web"]);
    change(&mut snapshot);
    let plan = plan(&snapshot, &ENABLE);
    assert_eq!(plan.rules.is_empty(), !plan.skipped.is_empty(), "a rule, or a reason");
    plan.skipped.first().map(|skipped| skipped.reason.clone())
}

fn web(snapshot: &mut Snapshot) -> &mut Pod {
    snapshot.pods.get_mut("web-0").expect("a pod")
}

/// A rule holds for every endpoint, now and later; a Service gets none if one of them takes no mutual TLS.
#[test]
fn services_whose_endpoints_take_no_mutual_tls_get_no_rule() {
    let injected: BTreeMap<String, String> = [("istio-injection".to_owned(), "enabled".to_owned())].into();
    let template = |inject: &str| PodTemplate {
        workload: "deployment/web".into(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        inject: Some(inject.to_owned()),
        ..PodTemplate::default()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let with_template = |inject: &str| {
        skipped(|snapshot| {
            snapshot.namespace_labels = Some(injected.clone());
            snapshot.templates = vec![template(inject)];
        })
    };
    assert_eq!(with_template("true"), None);
    assert_eq!(with_template("false"), Some(SkipReason::FutureOutsideMesh(names(&["deployment/web"]))));
    let gateway = |snapshot: &mut Snapshot| web(snapshot).facts.gateway = true;
    assert_eq!(skipped(gateway), Some(SkipReason::Gateway(names(&["web-0"]))));
    let scaled_to_zero = |snapshot: &mut Snapshot| snapshot.services[0].endpoints.clear();
    assert_eq!(skipped(scaled_to_zero), Some(SkipReason::NoReadyEndpoint));
    let machine = |snapshot: &mut Snapshot| {
        snapshot.workload_entries.insert("vm".into(), WorkloadEntry::default());
        let target = EndpointTarget::WorkloadEntry("vm".into());
        snapshot.services[0].endpoints.push(Endpoint { target, ready: true, ..Endpoint::default() });
    };
    assert_eq!(skipped(machine), Some(SkipReason::OutsideMesh(names(&["workloadentry/vm"]))));
    let rollout = |snapshot: &mut Snapshot| {
        let target = EndpointTarget::Pod("web-old".into());
        snapshot.services[0].endpoints.push(Endpoint { target, terminating: true, ..Endpoint::default() });
    };
    assert_eq!(skipped(rollout), None, "an endpoint that is ending");
    let excluded = |snapshot: &mut Snapshot| web(snapshot).capture = Capture::AllBut(vec![8080]);
    assert_eq!(skipped(excluded), Some(SkipReason::OnlyPlaintext));
    // DR-28, DR-29: an ambient pod to which ISTIO_MUTUAL is not HBONE.
    let headless = |snapshot: &mut Snapshot| {
        web(snapshot).data_plane = DataPlane::Ambient;
        snapshot.services[0].kind = ServiceKind::Headless;
    };
    assert_eq!(skipped(headless), Some(SkipReason::OnlyPlaintext));
    let labelled = |snapshot: &mut Snapshot| {
        let pod = web(snapshot);
        pod.data_plane = DataPlane::Ambient;
        pod.labels.insert("security.istio.io/tlsMode".into(), "istio".into());
    };
    assert_eq!(skipped(labelled), Some(SkipReason::OnlyPlaintext));
}

#[test]
fn a_rule_that_no_client_would_read_is_written_only_on_request() {
    use DataPlane::{Ambient, Sidecar};
    use RuleChoice::{Always, WhereRead};
    let unread = Some(SkipReason::Unread);
    for (name, web, api, waypoint, choice, expected) in [
        ("all in ambient mode", Ambient, Ambient, (None, None), WhereRead, unread.clone()),
        ("on request", Ambient, Ambient, (None, None), Always, None),
        ("a client with a sidecar", Ambient, Sidecar, (None, None), WhereRead, None),
        ("a waypoint of the namespace", Ambient, Ambient, (Some("waypoint"), None), WhereRead, None),
        ("a waypoint of the Service", Ambient, Ambient, (None, Some("waypoint")), WhereRead, None),
        ("without that of the namespace", Ambient, Ambient, (Some("waypoint"), Some("none")), WhereRead, unread),
        ("sidecars", Sidecar, Sidecar, (None, None), WhereRead, None),
    ] {
        let mut snapshot = shop(&["web", "api"]);
        let labels =
            |name: Option<&str>| name.map(|name| (USE_WAYPOINT.to_owned(), name.to_owned())).into_iter().collect();
        for (pod, data_plane) in [("web-0", web), ("api-0", api)] {
            snapshot.pods.get_mut(pod).expect("a pod").data_plane = data_plane;
        }
        snapshot.namespace_labels = Some(labels(waypoint.0));
        for service in snapshot.services.iter_mut().filter(|service| service.name == "web") {
            service.labels = labels(waypoint.1);
        }
        let plan = plan(&snapshot, &SwitchRequest { destination_rules: choice, ..ENABLE });
        let skipped =
            plan.skipped.iter().find(|skipped| skipped.service == "web").map(|skipped| skipped.reason.clone());
        assert_eq!(skipped, expected, "{name}");
        assert_eq!(plan.rules.iter().any(|rule| rule.name == "web"), expected.is_none(), "{name}");
    }
}

type Edit<'a> = &'a dyn Fn(&mut Snapshot);

/// A port that takes no mutual TLS gets DISABLE in the rule, and a second run leaves it so.
#[test]
fn a_port_without_mutual_tls_is_an_exception_in_the_rule() {
    let disabled = |snapshot: &mut Snapshot| {
        let mut own = policy("web", 2, None);
        own.selector = web(snapshot).labels.clone();
        own.ports.insert(9090, Some(MtlsMode::Disable));
        snapshot.policies.peer.push(own);
    };
    let changes: [(&str, Edit<'_>); 3] = [
        ("excluded", &|snapshot| web(snapshot).capture = Capture::AllBut(vec![9090])),
        ("disabled", &disabled),
        ("the proxy's own", &|snapshot| {
            snapshot.services[0].endpoints[0].ports.insert("metrics".into(), 15090);
        }),
    ];
    for (name, change) in changes {
        let mut snapshot = shop(&["web"]);
        snapshot.services[0].ports.push(ServicePort { name: "metrics".into(), port: 81, ..ServicePort::default() });
        snapshot.services[0].endpoints[0].ports.insert("metrics".into(), 9090);
        change(&mut snapshot);
        let first = plan(&snapshot, &ENABLE);
        let RuleAction::Create { plaintext_ports, .. } = &first.rules[0].action else { panic!("{name}: a rule") };
        assert_eq!(plaintext_ports, &[81], "{name}");
        let second = plan(&after(&snapshot, &first), &ENABLE);
        assert!(!second.has_writes(), "{name}: {:?}", second.rules);
    }
}
