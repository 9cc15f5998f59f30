use super::*;
use crate::domain::injection::PodTemplate;
use crate::domain::mesh::PortRef;
use crate::domain::mesh::{
    Capture, ClientTls, DataPlane, EndpointTarget, MeshSettings, Pod, PortTls, ServiceKind, SubsetTls, TlsPlace,
};
use crate::domain::namespace_context::{CronJob, ExternalCaller, ExternalCallerKind, Observed};
use crate::domain::testing::{namespace_context, policy, rule, with_rules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const WEB: &str = "web.shop.svc.cluster.local";

fn strict() -> NamespaceContext {
    let mut context = namespace_context(&["web"]);
    context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
    context
}

fn pod(context: &mut NamespaceContext) -> &mut Pod {
    context.snapshot.pods.get_mut("web-0").expect("a pod")
}

fn mesh(context: &mut NamespaceContext) -> &mut MeshSettings {
    &mut context.snapshot.mesh
}

/// A policy for the workload `web`.
fn web_policy(mode: Option<MtlsMode>, ports: &[(u16, Option<MtlsMode>)]) -> crate::domain::mesh::PeerAuthentication {
    let mut policy = policy("web", 2, mode);
    policy.selector.insert("app".into(), "web".into());
    policy.ports = ports.iter().copied().collect();
    policy
}

fn add_rule(
    context: &mut NamespaceContext,
    tls: Option<ClientTls>,
    change: impl FnOnce(&mut crate::domain::mesh::DestinationRule),
) {
    let mut added = rule("web", WEB, tls);
    added.has_traffic_policy = true;
    change(&mut added);
    let mut rules: Vec<_> = context.rules.to_vec();
    rules.push(added);
    *context = with_rules(context.clone(), rules);
}

fn ambient(context: &mut NamespaceContext) {
    let pod = pod(context);
    pod.data_plane = DataPlane::Ambient;
    pod.labels.remove("security.istio.io/tlsMode");
}

fn external_caller(context: &mut NamespaceContext, kind: ExternalCallerKind) {
    context.external_callers.push(ExternalCaller {
        kind,
        object: "ingress.networking.k8s.io/shop".into(),
        namespace: "shop".into(),
        service: "web".into(),
        port: Some(PortRef::Number(80)),
    });
}

type Change = fn(&mut NamespaceContext);

/// For each code, a change of a STRICT namespace that causes it, with the severity.
const ROWS: &[(Code, Severity, Change)] = &[
    (Code::PlaintextToStrict, Severity::Error, |context| add_rule(context, Some(ClientTls::Disable), |_| {})),
    (Code::StrictUnderDisable, Severity::Error, |context| {
        context.snapshot.policies.peer =
            vec![policy("default", 1, Some(MtlsMode::Disable)), web_policy(Some(MtlsMode::Strict), &[])];
    }),
    (Code::MtlsToNoProxy, Severity::Error, |context| {
        pod(context).data_plane = DataPlane::None;
        add_rule(context, Some(ClientTls::IstioMutual), |_| {});
    }),
    (Code::MtlsToDisable, Severity::Error, |context| {
        context.snapshot.policies.peer.push(web_policy(None, &[(8080, Some(MtlsMode::Disable))]));
        add_rule(context, Some(ClientTls::IstioMutual), |_| {});
    }),
    (Code::TlsToSidecar, Severity::Error, |context| add_rule(context, Some(ClientTls::Simple), |_| {})),
    (Code::HeadlessMixed, Severity::Error, |context| {
        context.snapshot.services[0].kind = ServiceKind::Headless;
        let mut other = pod(context).clone();
        other.name = "web-1".into();
        other.data_plane = DataPlane::None;
        other.labels.remove("security.istio.io/tlsMode");
        let mut endpoint = context.snapshot.services[0].endpoints[0].clone();
        (endpoint.address, endpoint.target) = ("10.0.0.2".into(), EndpointTarget::Pod("web-1".into()));
        context.snapshot.services[0].endpoints.push(endpoint);
        context.snapshot.pods.insert("web-1".into(), other);
    }),
    (Code::TlsModeLabel, Severity::Error, |context| {
        pod(context).labels.insert("security.istio.io/tlsMode".into(), "disabled".into());
    }),
    (Code::AmbientToSidecar, Severity::Error, |context| {
        let mut client = pod(context).clone();
        (client.name, client.data_plane) = ("client".into(), DataPlane::Ambient);
        context.snapshot.pods.insert("client".into(), client);
    }),
    (Code::Unprotected, Severity::Warning, |context| pod(context).data_plane = DataPlane::None),
    (Code::NotCaptured, Severity::Warning, |context| pod(context).capture = Capture::AllBut(vec![8080])),
    (Code::AmbientFailOpen, Severity::Warning, |context| {
        ambient(context);
        context.snapshot.policies.peer[0].empty_selector = true;
        context.snapshot.policies.peer.push(web_policy(None, &[(9090, Some(MtlsMode::Permissive))]));
    }),
    (Code::ApiServerCall, Severity::Error, |context| external_caller(context, ExternalCallerKind::ApiServer)),
    (Code::RawProbe, Severity::Error, |context| pod(context).facts.raw_probes = vec![8080]),
    (Code::PlaintextSeen, Severity::Error, |context| {
        context.observed = Some(vec![Observed {
            client: "outside/legacy".into(),
            workload: "deployment/web".into(),
            service: "web".into(),
            count: Some(7),
            is_named: true,
        }]);
    }),
    (Code::ModeException, Severity::Warning, |context| {
        context.snapshot.policies.peer.push(web_policy(None, &[(8080, Some(MtlsMode::Permissive))]));
    }),
    (Code::SeveralPolicies, Severity::Warning, |context| context.snapshot.policies.peer.push(policy("young", 2, None))),
    (Code::AmbientUndetermined, Severity::Warning, |context| {
        ambient(context);
        context.snapshot.policies.peer.push(policy("twin", 1, None));
    }),
    (Code::RootSelectorIgnored, Severity::Warning, |context| {
        let mut lost = web_policy(Some(MtlsMode::Disable), &[]);
        lost.namespace = "istio-system".into();
        context.snapshot.policies.peer.push(lost);
    }),
    (Code::WrongRevision, Severity::Warning, |context| {
        pod(context).revision = Some("default".into());
        let mut canary = policy("canary", 2, None);
        canary.revision = Some("canary".into());
        context.snapshot.policies.peer.push(canary);
    }),
    (Code::PortNumber, Severity::Warning, |context| {
        context.snapshot.policies.peer.push(web_policy(None, &[(80, Some(MtlsMode::Permissive))]));
    }),
    (Code::LegacyInert, Severity::Warning, |context| context.inert.push("shop/default".into())),
    (Code::EmptyTls, Severity::Warning, |context| {
        add_rule(context, Some(ClientTls::Disable), |rule| rule.details.empty_tls.push(TlsPlace::Top));
    }),
    (Code::HostNeverMatches, Severity::Warning, |context| {
        add_rule(context, None, |rule| rule.host = "web.shop".into());
    }),
    (Code::RuleNotInForce, Severity::Warning, |context| {
        add_rule(context, None, |_| {});
        add_rule(context, Some(ClientTls::IstioMutual), |rule| (rule.name, rule.created) = ("young".into(), 2));
    }),
    (Code::RuleShadowed, Severity::Warning, |context| {
        add_rule(context, Some(ClientTls::IstioMutual), |_| {});
        add_rule(context, None, |rule| rule.namespace = "front".into());
    }),
    (Code::PortEntryDropsTls, Severity::Warning, |context| {
        add_rule(context, Some(ClientTls::IstioMutual), |rule| rule.ports.push(PortTls { port: Some(80), tls: None }));
    }),
    (Code::SubsetTls, Severity::Info, |context| {
        let subset =
            SubsetTls { name: "v1".into(), labels: BTreeMap::new(), tls: Some(ClientTls::Disable), ports: Vec::new() };
        add_rule(context, Some(ClientTls::IstioMutual), |rule| rule.subsets.push(subset));
        context.routed = Arc::new([(WEB.to_owned(), "v1".to_owned())].into());
    }),
    (Code::ClientWithoutProxy, Severity::Warning, |context| {
        context.cron_jobs.push(CronJob { name: "nightly".into(), declines_injection: true, asks_for_injection: false });
    }),
    (Code::HostNetwork, Severity::Warning, |context| {
        let pod = pod(context);
        (pod.data_plane, pod.facts.host_network) = (DataPlane::None, true);
    }),
    (Code::NotEnrolled, Severity::Warning, |context| pod(context).data_plane = DataPlane::Pending),
    (Code::OutsideCaller, Severity::Warning, |context| external_caller(context, ExternalCallerKind::Ingress)),
    (Code::IdentityPolicy, Severity::Warning, |context| {
        context.identity_policies.push("by-name".into());
        context.snapshot.policies.peer.clear();
    }),
    (Code::InjectionLabels, Severity::Warning, |context| {
        for (key, value) in [("istio-injection", "enabled"), ("istio.io/rev", "canary")] {
            context.namespace_labels.insert(key.into(), value.into());
        }
    }),
    (Code::RootUnreadable, Severity::Warning, |context| context.snapshot.policies.root_readable = false),
    (Code::Gateway, Severity::Info, |context| pod(context).facts.gateway = true),
    (Code::AmbientDisable, Severity::Info, |context| {
        ambient(context);
        context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Disable))];
    }),
    (Code::AmbientIgnoresRules, Severity::Info, |context| {
        ambient(context);
        add_rule(context, Some(ClientTls::IstioMutual), |_| {});
    }),
    (Code::AutoMtlsOff, Severity::Info, |context| mesh(context).auto_mtls = false),
    (Code::EndlessJob, Severity::Info, |context| pod(context).facts.workload = "job/once".into()),
    (Code::ServerFirst, Severity::Info, |context| {
        context.snapshot.policies.peer.clear();
        context.snapshot.services[0].ports[0].port = 3306;
    }),
    (Code::NoSelector, Severity::Info, |context| {
        context.snapshot.services[0].selector.clear();
        context.snapshot.services[0].endpoints[0].target = EndpointTarget::Address;
    }),
    (Code::BypassesSidecar, Severity::Warning, |context| pod(context).outbound.excluded_ports = vec![8080]),
    (Code::FuturePodWithoutProxy, Severity::Warning, |context| {
        context.snapshot.namespace_labels = Some(BTreeMap::new());
        context.snapshot.templates =
            vec![PodTemplate { workload: "deployment/nightly".into(), ..PodTemplate::default() }];
    }),
    (Code::ExternalName, Severity::Info, |context| context.snapshot.services[0].kind = ServiceKind::ExternalName),
    (Code::NotRead, Severity::Info, |context| context.unread.push("Ingresses".into())),
    (Code::ClientsUnseen, Severity::Info, |context| context.observed = None),
];

#[test]
fn each_code_is_found_with_its_cause_and_not_without() {
    assert_eq!(examine(&strict(), Purpose::BeforeSwitch).1, [], "nothing is wrong with the namespace itself");
    for (code, severity, change) in ROWS {
        let mut context = strict();
        change(&mut context);
        let (_, findings) = examine(&context, Purpose::BeforeSwitch);
        let severest = findings.iter().filter(|finding| finding.code == *code).map(|finding| finding.severity).min();
        assert_eq!(severest, Some(*severity), "{code}: {findings:#?}");
    }
}

/// A switch stops for what breaks calls. What it leaves unprotected is an error of the state, not of the switch.
#[test]
fn what_is_not_protected_is_an_error_in_status_only() {
    let about_protection = ROWS.iter().filter(|(code, ..)| code.is_about_protection());
    assert_eq!(about_protection.clone().count(), 3);
    for (code, _, change) in about_protection {
        let mut context = strict();
        change(&mut context);
        let (_, findings) = examine(&context, Purpose::Status);
        let severest = findings.iter().filter(|finding| finding.code == *code).map(|finding| finding.severity).min();
        assert_eq!(severest, Some(Severity::Error), "{code}");
    }
}

#[test]
fn every_code_has_a_row() {
    let rows: BTreeSet<Code> = ROWS.iter().map(|(code, ..)| *code).collect();
    assert_eq!(rows, Code::all().collect());
}

#[test]
fn a_wildcard_over_many_services_is_one_finding() {
    let mut context = namespace_context(&["api", "db", "web"]);
    context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
    let context = with_rules(context, vec![rule("all", "*.shop.svc.cluster.local", Some(ClientTls::Disable))]);
    let (_, findings) = examine(&context, Purpose::Status);
    let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{findings:#?}");
    assert!(errors[0].objects.iter().any(|object| object == "destinationrule/all"));
    assert_eq!(errors[0].objects.iter().filter(|object| object.starts_with("service/")).count(), 3);
}

#[test]
fn a_namespace_in_order_has_no_finding() {
    let mut context = strict();
    add_rule(&mut context, Some(ClientTls::IstioMutual), |_| {});
    assert_eq!(examine(&context, Purpose::Status).1, []);
}
