use super::*;
use crate::domain::mesh::{
    Capture, ClientTls, DataPlane, MeshSettings, Pod, PortTls, ServiceKind, SubsetTls, TlsPlace,
};
use crate::domain::namespace_context::{CronJob, ExternalCaller, ExternalCallerKind, Observed, PortName};
use crate::domain::overview::tests::{survey, with_rules};
use crate::domain::plan::samples::{policy, rule};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const WEB: &str = "web.shop.svc.cluster.local";

fn strict() -> NamespaceContext {
    let mut survey = survey(&["web"]);
    survey.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
    survey
}

fn pod(survey: &mut NamespaceContext) -> &mut Pod {
    survey.snapshot.pods.get_mut("web-0").expect("a pod")
}

fn mesh(survey: &mut NamespaceContext) -> &mut MeshSettings {
    &mut survey.snapshot.mesh
}

/// A policy for the workload `web`.
fn own(mode: Option<MtlsMode>, ports: &[(u16, Option<MtlsMode>)]) -> crate::domain::mesh::PeerAuthentication {
    let mut own = policy("web", 2, mode);
    own.selector.insert("app".into(), "web".into());
    own.ports = ports.iter().copied().collect();
    own
}

fn add_rule(
    survey: &mut NamespaceContext,
    tls: Option<ClientTls>,
    change: impl FnOnce(&mut crate::domain::mesh::DestinationRule),
) {
    let mut added = rule("web", WEB, tls);
    added.has_traffic_policy = true;
    change(&mut added);
    let mut rules: Vec<_> = survey.rules.to_vec();
    rules.push(added);
    *survey = with_rules(survey.clone(), rules);
}

fn ambient(survey: &mut NamespaceContext) {
    let pod = pod(survey);
    pod.data_plane = DataPlane::Ambient;
    pod.labels.remove("security.istio.io/tlsMode");
}

fn entrance(survey: &mut NamespaceContext, kind: ExternalCallerKind) {
    survey.entrances.push(ExternalCaller {
        kind,
        object: "ingress.networking.k8s.io/shop".into(),
        namespace: "shop".into(),
        service: "web".into(),
        port: Some(PortName::Number(80)),
    });
}

type Change = fn(&mut NamespaceContext);

/// One change of a STRICT namespace for each code, with the gravity that it then has.
const ROWS: &[(Code, Severity, Change)] = &[
    (Code::PlaintextToStrict, Severity::Error, |survey| add_rule(survey, Some(ClientTls::Disable), |_| {})),
    (Code::StrictUnderDisable, Severity::Error, |survey| {
        survey.snapshot.policies.peer =
            vec![policy("default", 1, Some(MtlsMode::Disable)), own(Some(MtlsMode::Strict), &[])];
    }),
    (Code::MtlsToNoProxy, Severity::Error, |survey| {
        pod(survey).data_plane = DataPlane::None;
        add_rule(survey, Some(ClientTls::IstioMutual), |_| {});
    }),
    (Code::MtlsToDisable, Severity::Error, |survey| {
        survey.snapshot.policies.peer.push(own(None, &[(8080, Some(MtlsMode::Disable))]));
        add_rule(survey, Some(ClientTls::IstioMutual), |_| {});
    }),
    (Code::TlsToSidecar, Severity::Error, |survey| add_rule(survey, Some(ClientTls::Simple), |_| {})),
    (Code::HeadlessMixed, Severity::Error, |survey| {
        survey.snapshot.services[0].kind = ServiceKind::Headless;
        let mut other = pod(survey).clone();
        other.name = "web-1".into();
        other.data_plane = DataPlane::None;
        other.labels.remove("security.istio.io/tlsMode");
        let mut endpoint = survey.snapshot.services[0].endpoints[0].clone();
        (endpoint.address, endpoint.pod) = ("10.0.0.2".into(), Some("web-1".into()));
        survey.snapshot.services[0].endpoints.push(endpoint);
        survey.snapshot.pods.insert("web-1".into(), other);
    }),
    (Code::TlsModeLabel, Severity::Error, |survey| {
        pod(survey).labels.insert("security.istio.io/tlsMode".into(), "disabled".into());
    }),
    (Code::AmbientToSidecar, Severity::Error, |survey| {
        let mut client = pod(survey).clone();
        (client.name, client.data_plane) = ("client".into(), DataPlane::Ambient);
        survey.snapshot.pods.insert("client".into(), client);
    }),
    (Code::Unprotected, Severity::Error, |survey| pod(survey).data_plane = DataPlane::None),
    (Code::NotCaptured, Severity::Error, |survey| pod(survey).capture = Capture::AllBut(vec![8080])),
    (Code::AmbientFailOpen, Severity::Error, |survey| {
        ambient(survey);
        survey.snapshot.policies.peer[0].empty_selector = true;
        survey.snapshot.policies.peer.push(own(None, &[(9090, Some(MtlsMode::Permissive))]));
    }),
    (Code::ApiServerCall, Severity::Error, |survey| entrance(survey, ExternalCallerKind::ApiServer)),
    (Code::RawProbe, Severity::Error, |survey| pod(survey).facts.raw_probes = vec![8080]),
    (Code::PlaintextSeen, Severity::Error, |survey| {
        survey.observed = Some(vec![Observed {
            client: "outside/legacy".into(),
            workload: "deployment/web".into(),
            service: "web".into(),
            count: 7,
        }]);
    }),
    (Code::ModeException, Severity::Warning, |survey| {
        survey.snapshot.policies.peer.push(own(None, &[(8080, Some(MtlsMode::Permissive))]));
    }),
    (Code::SeveralPolicies, Severity::Warning, |survey| survey.snapshot.policies.peer.push(policy("young", 2, None))),
    (Code::AmbientUndetermined, Severity::Warning, |survey| {
        ambient(survey);
        survey.snapshot.policies.peer.push(policy("twin", 1, None));
    }),
    (Code::RootSelectorIgnored, Severity::Warning, |survey| {
        let mut lost = own(Some(MtlsMode::Disable), &[]);
        lost.namespace = "istio-system".into();
        survey.snapshot.policies.peer.push(lost);
    }),
    (Code::WrongRevision, Severity::Warning, |survey| {
        pod(survey).revision = Some("default".into());
        let mut canary = policy("canary", 2, None);
        canary.revision = Some("canary".into());
        survey.snapshot.policies.peer.push(canary);
    }),
    (Code::PortNumber, Severity::Warning, |survey| {
        survey.snapshot.policies.peer.push(own(None, &[(80, Some(MtlsMode::Permissive))]));
    }),
    (Code::LegacyInert, Severity::Warning, |survey| survey.inert.push("shop/default".into())),
    (Code::EmptyTls, Severity::Warning, |survey| {
        add_rule(survey, Some(ClientTls::Disable), |rule| rule.details.empty_tls.push(TlsPlace::Top));
    }),
    (Code::HostNeverMatches, Severity::Warning, |survey| add_rule(survey, None, |rule| rule.host = "web.shop".into())),
    (Code::RuleNotInForce, Severity::Warning, |survey| {
        add_rule(survey, None, |_| {});
        add_rule(survey, Some(ClientTls::IstioMutual), |rule| (rule.name, rule.created) = ("young".into(), 2));
    }),
    (Code::RuleShadowed, Severity::Warning, |survey| {
        add_rule(survey, Some(ClientTls::IstioMutual), |_| {});
        add_rule(survey, None, |rule| rule.namespace = "front".into());
    }),
    (Code::PortEntryDropsTls, Severity::Warning, |survey| {
        add_rule(survey, Some(ClientTls::IstioMutual), |rule| rule.ports.push(PortTls { port: Some(80), tls: None }));
    }),
    (Code::SubsetTls, Severity::Info, |survey| {
        let subset =
            SubsetTls { name: "v1".into(), labels: BTreeMap::new(), tls: Some(ClientTls::Disable), ports: Vec::new() };
        add_rule(survey, Some(ClientTls::IstioMutual), |rule| rule.subsets.push(subset));
        survey.routed = Arc::new([(WEB.to_owned(), "v1".to_owned())].into());
    }),
    (Code::NakedClient, Severity::Warning, |survey| {
        survey.cron_jobs.push(CronJob { name: "nightly".into(), declines_injection: true, asks_for_injection: false });
    }),
    (Code::HostNetwork, Severity::Warning, |survey| {
        let pod = pod(survey);
        (pod.data_plane, pod.facts.host_network) = (DataPlane::None, true);
    }),
    (Code::NotEnrolled, Severity::Warning, |survey| pod(survey).data_plane = DataPlane::Pending),
    (Code::OutsideCaller, Severity::Warning, |survey| entrance(survey, ExternalCallerKind::Door)),
    (Code::IdentityPolicy, Severity::Warning, |survey| {
        survey.identity_policies.push("by-name".into());
        survey.snapshot.policies.peer.clear();
    }),
    (Code::InjectionLabels, Severity::Warning, |survey| {
        for (key, value) in [("istio-injection", "enabled"), ("istio.io/rev", "canary")] {
            survey.namespace_labels.insert(key.into(), value.into());
        }
    }),
    (Code::RootUnreadable, Severity::Warning, |survey| survey.snapshot.policies.root_readable = false),
    (Code::Gateway, Severity::Info, |survey| pod(survey).facts.gateway = true),
    (Code::AmbientDisable, Severity::Info, |survey| {
        ambient(survey);
        survey.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Disable))];
    }),
    (Code::AmbientIgnoresRules, Severity::Info, |survey| {
        ambient(survey);
        add_rule(survey, Some(ClientTls::IstioMutual), |_| {});
    }),
    (Code::AutoMtlsOff, Severity::Info, |survey| mesh(survey).auto_mtls = false),
    (Code::EndlessJob, Severity::Info, |survey| pod(survey).facts.workload = "job/once".into()),
    (Code::ServerFirst, Severity::Info, |survey| {
        survey.snapshot.policies.peer.clear();
        survey.snapshot.services[0].ports[0].port = 3306;
    }),
    (Code::NoSelector, Severity::Info, |survey| survey.snapshot.services[0].selector.clear()),
    (Code::ExternalName, Severity::Info, |survey| survey.snapshot.services[0].kind = ServiceKind::ExternalName),
    (Code::NotRead, Severity::Info, |survey| survey.unread.push("Ingresses".into())),
    (Code::ClientsUnseen, Severity::Info, |survey| survey.observed = None),
];

#[test]
fn each_code_is_found_where_its_cause_is_and_nowhere_else() {
    assert_eq!(examine(&strict(), Purpose::BeforeSwitch).1, [], "nothing is wrong with the namespace itself");
    for (code, severity, change) in ROWS {
        let mut survey = strict();
        change(&mut survey);
        let (_, findings) = examine(&survey, Purpose::BeforeSwitch);
        let gravest = findings.iter().filter(|finding| finding.code == *code).map(|finding| finding.severity).min();
        assert_eq!(gravest, Some(*severity), "{code}: {findings:#?}");
    }
}

#[test]
fn every_code_has_a_row() {
    let rows: BTreeSet<Code> = ROWS.iter().map(|(code, ..)| *code).collect();
    assert_eq!(rows, Code::all().collect());
}

#[test]
fn a_wildcard_over_many_services_is_one_finding() {
    let mut survey = survey(&["api", "db", "web"]);
    survey.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
    let survey = with_rules(survey, vec![rule("all", "*.shop.svc.cluster.local", Some(ClientTls::Disable))]);
    let (_, findings) = examine(&survey, Purpose::Status);
    let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 1, "{findings:#?}");
    assert!(errors[0].objects.iter().any(|object| object == "destinationrule/all"));
    assert_eq!(errors[0].objects.iter().filter(|object| object.starts_with("service/")).count(), 3);
}

#[test]
fn what_is_in_order_is_not_talked_about() {
    let mut survey = strict();
    add_rule(&mut survey, Some(ClientTls::IstioMutual), |_| {});
    assert_eq!(examine(&survey, Purpose::Status).1, []);
}
