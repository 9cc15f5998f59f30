use super::*;
use crate::domain::envoy_filter::EnvoyFilter;
use crate::domain::injection::PodTemplate;
use crate::domain::mesh::{
    Capture, ClientTls, ControlPlane, DataPlane, DestinationRule, EndpointTarget, Exposure, Gateway, GatewayServer,
    GatewayTls, MeshSettings, Pod, PortRef, PortTls, ServiceKind, SubsetTls, TlsPlace,
};
use crate::domain::namespace_context::{
    CanaryRollout, CronJob, ExternalCaller, ExternalCallerKind, KnativeSystem, Monitor, Observed, ObservedBy,
};
use crate::domain::network_policy::{IngressRule, NetworkPolicy};
use crate::domain::other_names::{EntryEndpoint, Resolution, ServiceEntry};
use crate::domain::selector::Selector;
use crate::domain::sidecar::{Egress, Sidecar};
use crate::domain::testing::{namespace_context, policy, rule, with_rules};
use crate::domain::waypoint::USE_WAYPOINT;
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

/// A `ServiceEntry` outside the mesh whose endpoint is the Service `web`.
fn vanity_name() -> ServiceEntry {
    ServiceEntry {
        namespace: "shop".into(),
        name: "vanity".into(),
        hosts: vec!["web.example.com".into()],
        external: true,
        resolution: Resolution::Dns,
        endpoints: vec![EntryEndpoint { address: WEB.into(), has_tls_label: false }],
        ..ServiceEntry::default()
    }
}

/// An `EnvoyFilter` of the namespace that changes nothing.
fn envoy_filter() -> EnvoyFilter {
    EnvoyFilter { namespace: "shop".into(), name: "tune".into(), ..EnvoyFilter::default() }
}

/// A `Sidecar` that imports these hosts.
fn sidecar(namespace: &str, name: &str, selector: Option<&str>, hosts: &[&str]) -> Sidecar {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Sidecar {
        namespace: namespace.into(),
        name: name.into(),
        selector: selector.map(|app| [("app".to_owned(), app.to_owned())].into()),
        egress: vec![Egress { port: None, hosts }],
        ..Sidecar::default()
    }
}

/// The findings with this code, each as its severity and objects.
fn found(context: &NamespaceContext, purpose: Purpose, code: Code) -> Vec<(Severity, String)> {
    let findings = examine(context, purpose).1.into_iter().filter(|finding| finding.code == code);
    findings.map(|finding| (finding.severity, finding.objects.join(" "))).collect()
}

#[test]
fn only_a_client_without_a_name_may_be_a_probe_of_this_tool() {
    for (is_named, may_be_ours) in [(true, false), (false, true)] {
        let mut context = strict();
        let (client, workload, service) = ("a client".into(), "web".into(), "web".into());
        let source = ObservedBy::Metrics { is_named };
        context.observed = Some(vec![Observed { client, workload, service, count: Some(3), source }]);
        let findings = examine(&context, Purpose::BeforeSwitch).1;
        let seen = findings.iter().find(|finding| finding.code == Code::PlaintextSeen).unwrap();
        assert_eq!(seen.message.contains("probes by this tool count too: pass a --since"), may_be_ours, "{is_named}");
    }
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
    (Code::MtlsToGateway, Severity::Error, |context| {
        pod(context).facts.gateway = true;
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
    (Code::HboneBlocked, Severity::Error, |context| {
        ambient(context);
        let rule = IngressRule { from: None, ports: Some(vec![(8080, 8080)]) };
        context.network_policies.push(NetworkPolicy {
            name: "web".into(),
            pods: Selector::default(),
            ingress: true,
            egress: false,
            admits: vec![rule],
        });
    }),
    // DR-28: the rule is read by clients with a sidecar in the namespace, and without it they send plaintext.
    (Code::NoHbone, Severity::Error, |context| {
        let client = Pod { name: "client".into(), ..pod(context).clone() };
        context.snapshot.pods.insert("client".into(), client);
        ambient(context);
        context.snapshot.services[0].kind = ServiceKind::Headless;
    }),
    (Code::NoHbone, Severity::Warning, |context| {
        ambient(context);
        context.snapshot.services[0].kind = ServiceKind::Headless;
    }),
    // DR-29.
    (Code::NoHbone, Severity::Warning, |context| {
        ambient(context);
        pod(context).labels.insert("security.istio.io/tlsMode".into(), "istio".into());
    }),
    // DR-30.
    (Code::NoHbone, Severity::Error, |context| {
        let mut client = Pod { name: "client".into(), ..pod(context).clone() };
        client.facts.no_hbone = true;
        context.snapshot.pods.insert("client".into(), client);
        ambient(context);
    }),
    (Code::Unprotected, Severity::Warning, |context| pod(context).data_plane = DataPlane::None),
    (Code::NotCaptured, Severity::Warning, |context| pod(context).capture = Capture::AllBut(vec![8080])),
    (Code::AmbientFailOpen, Severity::Warning, |context| {
        ambient(context);
        context.snapshot.policies.peer[0].empty_selector = true;
        context.snapshot.policies.peer.push(web_policy(None, &[(9090, Some(MtlsMode::Permissive))]));
    }),
    (Code::UnmanagedClient, Severity::Error, |context| context.service_entries = Arc::new(vec![vanity_name()])),
    (Code::OtherClusters, Severity::Warning, |context| mesh(context).networks.push("east".into())),
    (Code::ApiServerCall, Severity::Error, |context| external_caller(context, ExternalCallerKind::ApiServer)),
    (Code::RawProbe, Severity::Error, |context| pod(context).facts.raw_probes = vec![8080]),
    (Code::PlaintextSeen, Severity::Error, |context| {
        context.observed = Some(vec![Observed {
            client: "outside/legacy".into(),
            workload: "deployment/web".into(),
            service: "web".into(),
            count: Some(7),
            source: ObservedBy::Rehearsal,
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
    (Code::NotEnrolled, Severity::Warning, |context| {
        context.namespace_labels.insert("istio.io/dataplane-mode".into(), "ambient".into());
        let pod = pod(context);
        (pod.data_plane, pod.addresses) = (DataPlane::None, vec!["10.0.0.1".into()]);
    }),
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
    (Code::Waypoint, Severity::Info, |context| {
        context.snapshot.services[0].labels.insert(USE_WAYPOINT.into(), "waypoint".into());
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
    (Code::ServiceNotVisible, Severity::Warning, |context| {
        context.snapshot.services[0].export_to = vec![".".into()];
    }),
    (Code::ExemptFromMesh, Severity::Info, |context| {
        context.snapshot.policies.peer[0].mode = Some(MtlsMode::Permissive);
    }),
    (Code::ControlPlaneUndecided, Severity::Warning, |context| {
        mesh(context).undecided = vec![ControlPlane::new("istio-east", "east")];
    }),
    (Code::NotDiscovered, Severity::Warning, |context| {
        context.snapshot.namespace_labels = Some(BTreeMap::new());
        mesh(context).discovery = vec!["istio-discovery=enabled".parse().unwrap()];
    }),
    (Code::EnvoyFilter, Severity::Warning, |context| {
        let filter = EnvoyFilter { changes_inbound: true, ..envoy_filter() };
        context.envoy_filters = Arc::new(vec![filter]);
    }),
    (Code::UnmanagedClient, Severity::Error, |context| {
        let plaintext_hosts = BTreeSet::from([WEB.to_owned()]);
        context.envoy_filters = Arc::new(vec![EnvoyFilter { plaintext_hosts, ..envoy_filter() }]);
    }),
    (Code::OperatorCalls, Severity::Warning, |context| {
        pod(context).facts.custom_owner = Some("postgresql.acid.zalan.do/main".into());
    }),
    (Code::Knative, Severity::Error, |context| {
        pod(context).labels.insert("serving.knative.dev/revision".into(), "web-1".into());
        context.knative = Some(KnativeSystem::Outside(vec!["knative-serving/deployment/activator".into()]));
    }),
    (Code::RolloutInProgress, Severity::Error, |context| {
        let (object, phase) = ("canary.flagger.app/web".into(), "Progressing".into());
        context.rollouts = vec![CanaryRollout { object, phase, is_in_progress: true }];
    }),
    (Code::OutsideCaller, Severity::Warning, |context| {
        pod(context).facts.host_ports = BTreeSet::from([9000]);
    }),
    (Code::NotAsked, Severity::Info, |context| {
        pod(context).facts.declared_ports = BTreeSet::from([8080, 9000]);
    }),
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
    assert_eq!(about_protection.clone().count(), 4);
    for (code, _, change) in about_protection {
        let mut context = strict();
        change(&mut context);
        let (_, findings) = examine(&context, Purpose::Status);
        let severest = findings.iter().filter(|finding| finding.code == *code).map(|finding| finding.severity).min();
        assert_eq!(severest, Some(Severity::Error), "{code}");
    }
}

/// The egress recipe: a gateway whose server says `ISTIO_MUTUAL` takes what the rule sends.
#[test]
fn a_gateway_that_takes_mutual_tls_is_no_finding() {
    for (tls, is_found) in [(GatewayTls::IstioMutual, false), (GatewayTls::Other, true)] {
        let mut context = strict();
        pod(&mut context).facts.gateway = true;
        add_rule(&mut context, Some(ClientTls::IstioMutual), |_| {});
        let servers = vec![GatewayServer { port: 8080, tls }];
        let selector = pod(&mut context).labels.clone();
        context.gateways = Arc::new(vec![Gateway { selector, servers, ..Gateway::default() }]);
        let (_, findings) = examine(&context, Purpose::Status);
        assert_eq!(findings.iter().any(|finding| finding.code == Code::MtlsToGateway), is_found, "{tls:?}");
    }
}

#[test]
fn every_code_has_a_row() {
    let rows: BTreeSet<Code> = ROWS.iter().map(|(code, ..)| *code).collect();
    // A probe finds it, not the objects: see `reach`.
    let examined = Code::all().filter(|code| *code != Code::ProbeBlocked);
    assert_eq!(rows, examined.collect());
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

#[test]
fn clients_whose_sidecars_do_not_know_the_service_are_named_and_others_are_not() {
    let own = "sidecar/kiosk";
    for (case, sidecars, expected) in [
        ("nothing", vec![], ""),
        (
            "another namespace",
            vec![sidecar("front", "default", None, &["./*"])],
            "service/web:80 sidecar/front/default",
        ),
        ("another namespace that imports this one", vec![sidecar("front", "default", None, &["./*", "shop/*"])], ""),
        (
            "its workloads",
            vec![sidecar("shop", "kiosk", Some("web"), &["istio-system/*"])],
            "pod/web-0 service/web:80 sidecar/kiosk",
        ),
        ("no workload of the namespace", vec![sidecar("shop", "kiosk", Some("none"), &["istio-system/*"])], ""),
        (
            "the whole namespace",
            vec![sidecar("shop", "scope", None, &["istio-system/*"])],
            "pod/web-0 service/web:80 sidecar/scope",
        ),
        (
            "the mesh's default",
            vec![sidecar("istio-system", "mesh", None, &["./*"])],
            "service/web:80 sidecar/istio-system/mesh",
        ),
        (
            "calls that do not go out at all",
            vec![Sidecar { passes_unknown: Some(false), ..sidecar("front", "default", None, &["./*"]) }],
            "",
        ),
    ] {
        let mut context = strict();
        context.sidecars = Arc::new(sidecars);
        let named: Vec<String> =
            found(&context, Purpose::Status, Code::ServiceNotVisible).into_iter().map(|(_, objects)| objects).collect();
        assert_eq!(named.join(" "), expected, "{case} {own}");
    }
}

#[test]
fn services_that_sidecars_do_not_know_are_named() {
    let rows: [(&str, Change, &str); 6] = [
        ("exported", |context| context.snapshot.services[0].export_to = vec!["*".into()], ""),
        ("to a namespace", |context| context.snapshot.services[0].export_to = vec!["front".into()], "service/web:80"),
        ("the mesh's default", |context| mesh(context).service_export = vec![".".into()], "service/web:80"),
        (
            "a headless port that differs from its targetPort",
            |context| context.snapshot.services[0].kind = ServiceKind::Headless,
            "service/web:80",
        ),
        (
            "a headless Service whose targetPort is its port",
            |context| {
                context.snapshot.services[0].kind = ServiceKind::Headless;
                context.snapshot.services[0].ports[0].port = 8080;
            },
            "",
        ),
        (
            "a headless Service without ports",
            |context| {
                context.snapshot.services[0].kind = ServiceKind::Headless;
                context.snapshot.services[0].ports.clear();
            },
            "service/web",
        ),
    ];
    for (case, change, expected) in rows {
        let mut context = strict();
        change(&mut context);
        let named: Vec<String> =
            found(&context, Purpose::Status, Code::ServiceNotVisible).into_iter().map(|(_, objects)| objects).collect();
        assert_eq!(named.join(" "), expected, "{case}");
        mesh(&mut context).passes_unknown = false;
        assert_eq!(
            found(&context, Purpose::Status, Code::ServiceNotVisible),
            [],
            "{case}: unknown calls do not go out"
        );
    }
}

#[test]
fn another_name_of_a_service_is_an_error_under_strict_and_a_warning_before() {
    let mut context = strict();
    context.service_entries = Arc::new(vec![vanity_name()]);
    let objects = "service/web serviceentry/vanity".to_owned();
    assert_eq!(found(&context, Purpose::Status, Code::UnmanagedClient), [(Severity::Error, objects.clone())]);
    context.snapshot.policies.peer[0].mode = Some(MtlsMode::Permissive);
    assert_eq!(found(&context, Purpose::Status, Code::UnmanagedClient), [(Severity::Warning, objects)]);
    pod(&mut context).data_plane = DataPlane::None;
    assert_eq!(found(&context, Purpose::Status, Code::UnmanagedClient), [], "nothing there refuses plaintext");
}

#[test]
fn callers_from_outside_the_cluster_are_named_by_the_service_that_lets_them_in() {
    for (exposure, gateway, mode, expected) in [
        (None, false, MtlsMode::Strict, None),
        (Some(Exposure::NodePort), false, MtlsMode::Strict, Some(Severity::Warning)),
        (Some(Exposure::LoadBalancer), false, MtlsMode::Permissive, Some(Severity::Info)),
        (Some(Exposure::ExternalIps), false, MtlsMode::Permissive, Some(Severity::Info)),
        (Some(Exposure::LoadBalancer), true, MtlsMode::Strict, None),
    ] {
        let mut context = strict();
        context.snapshot.services[0].exposure = exposure;
        context.snapshot.policies.peer[0].mode = Some(mode);
        pod(&mut context).facts.gateway = gateway;
        let expected: Vec<_> = expected.into_iter().map(|severity| (severity, "service/web:80".to_owned())).collect();
        assert_eq!(found(&context, Purpose::Status, Code::OutsideCaller), expected, "{exposure:?} {mode} {gateway}");
    }
}

#[test]
fn scrapes_of_the_application_are_named_whether_a_service_has_the_port_or_not() {
    for (port, expected) in [(8080, true), (9102, true), (15020, false), (0, false)] {
        let mut context = strict();
        pod(&mut context).facts.scraped = Some(port);
        let is_named = !found(&context, Purpose::Status, Code::OutsideCaller).is_empty();
        assert_eq!(is_named, expected, "{port}");
    }
    let monitor = |namespaces: Option<&str>, selector: &str, of_pods| Monitor {
        object: "servicemonitor.monitoring.coreos.com/mon/web".into(),
        namespaces: namespaces.map(|namespace| vec![namespace.to_owned()]),
        selector: selector.parse().expect("a selector"),
        of_pods,
        ports: Vec::new(),
    };
    for (monitor, expected) in [
        (monitor(None, "app=web", true), true),
        (monitor(Some("shop"), "team=a", false), true),
        (monitor(Some("shop"), "team=b", false), false),
        (monitor(Some("front"), "team=a", false), false),
    ] {
        let mut context = strict();
        context.snapshot.services[0].labels.insert("team".into(), "a".into());
        context.monitors = Arc::new(vec![monitor.clone()]);
        let is_named = !found(&context, Purpose::Status, Code::OutsideCaller).is_empty();
        assert_eq!(is_named, expected, "{monitor:?}");
    }
}

#[test]
fn callers_lose_their_identity_where_mutual_tls_is_turned_off() {
    let disable = |mode| Purpose::BeforeDisable(mode);
    for (purpose, mode, expected) in [
        (disable(MtlsMode::Disable), MtlsMode::Disable, Severity::Error),
        (disable(MtlsMode::Permissive), MtlsMode::Permissive, Severity::Warning),
        (Purpose::Status, MtlsMode::Permissive, Severity::Warning),
    ] {
        let mut context = strict();
        context.snapshot.policies.peer[0].mode = Some(mode);
        context.identity_policies = vec!["istio-system/mesh".into(), "teller".into()];
        let objects = "authorizationpolicy/istio-system/mesh authorizationpolicy/teller".to_owned();
        assert_eq!(found(&context, purpose, Code::IdentityPolicy), [(expected, objects)], "{purpose:?}");
    }
}

#[test]
fn other_clusters_are_known_by_networks_labels_and_gateways() {
    let rows: [(&str, Change); 3] = [
        ("meshNetworks: east", |context| mesh(context).networks = vec!["east".into()]),
        ("topology.istio.io/network=west", |context| {
            pod(context).labels.insert("topology.istio.io/network".into(), "west".into());
        }),
        ("gateway/istio-system/cross", |context| {
            let server = GatewayServer { port: 15443, tls: GatewayTls::AutoPassthrough };
            let (namespace, name) = ("istio-system".into(), "cross".into());
            context.gateways = Arc::new(vec![Gateway { namespace, name, servers: vec![server], ..Gateway::default() }]);
        }),
    ];
    for (object, change) in rows {
        let mut context = strict();
        change(&mut context);
        for (purpose, severity) in [
            (Purpose::Status, Severity::Info),
            (Purpose::BeforeSwitch, Severity::Warning),
            (Purpose::BeforeDisable(MtlsMode::Permissive), Severity::Info),
            (Purpose::BeforeDisable(MtlsMode::Disable), Severity::Error),
        ] {
            assert_eq!(found(&context, purpose, Code::OtherClusters), [(severity, object.to_owned())], "{purpose:?}");
        }
    }
    let mut plain = strict();
    plain.gateways = Arc::new(vec![Gateway { servers: vec![GatewayServer::default()], ..Gateway::default() }]);
    assert_eq!(found(&plain, Purpose::BeforeDisable(MtlsMode::Disable), Code::OtherClusters), []);
}

#[test]
fn an_alias_inside_the_cluster_is_not_called_a_name_outside() {
    for (name, part) in
        [("orders.back.svc.cluster.local", "that Service's mode"), ("api.example.com", "a name outside")]
    {
        let mut context = strict();
        let service = &mut context.snapshot.services[0];
        (service.kind, service.external_name) = (ServiceKind::ExternalName, Some(name.to_owned()));
        let findings = examine(&context, Purpose::Status).1;
        let alias = findings.iter().find(|finding| finding.code == Code::ExternalName).expect("a finding");
        assert!(alias.message.contains(part), "{name}: {}", alias.message);
    }
}

#[test]
fn a_policy_that_exempts_the_namespace_is_graver_where_the_mesh_is_strict() {
    for (mesh_mode, severity) in [(None, Severity::Info), (Some(MtlsMode::Strict), Severity::Warning)] {
        let mut context = strict();
        context.snapshot.policies.peer[0].mode = Some(MtlsMode::Permissive);
        let mut mesh = policy("default", 1, mesh_mode);
        mesh.namespace = "istio-system".into();
        context.snapshot.policies.peer.push(mesh);
        let expected = [(severity, "peerauthentication/default".to_owned())];
        assert_eq!(found(&context, Purpose::Status, Code::ExemptFromMesh), expected);
    }
    let mut context = strict();
    add_rule(&mut context, None, |rule| rule.has_traffic_policy = false);
    assert_eq!(
        found(&context, Purpose::Status, Code::ExemptFromMesh),
        [(Severity::Info, "destinationrule/web".to_owned())]
    );
}

#[test]
fn a_hook_that_strict_refuses_is_a_warning_and_a_probe_an_error() {
    let mut context = strict();
    pod(&mut context).facts.raw_hooks = vec![8080];
    assert_eq!(found(&context, Purpose::Status, Code::RawProbe), [(Severity::Warning, "pod/web-0".to_owned())]);
    pod(&mut context).facts.raw_probes = vec![8080];
    assert_eq!(found(&context, Purpose::Status, Code::RawProbe).len(), 2);
}

mod random {
    use super::*;
    use crate::domain::client_scope::{CalledService, Import};
    use crate::domain::sidecar::ScopedWorkload;
    use proptest::prelude::*;

    fn sidecars() -> impl Strategy<Value = Vec<Sidecar>> {
        let hosts = prop::sample::subsequence(
            vec!["./*", "shop/*", "*/*", "istio-system/*", "shop/web.shop.svc.cluster.local"],
            0..3,
        );
        let one = (
            prop::sample::select(vec!["shop", "front", "istio-system"]),
            prop::option::of(prop::sample::select(vec!["web", "none"])),
            hosts,
            prop::option::of(any::<bool>()),
            0..3_i64,
        );
        prop::collection::vec(one, 0..4).prop_map(|rows| {
            let named = rows.into_iter().enumerate();
            let built = named.map(|(index, (namespace, selector, hosts, passes_unknown, created))| Sidecar {
                created,
                passes_unknown,
                ..sidecar(namespace, &format!("s{index}"), selector, &hosts)
            });
            built.collect()
        })
    }

    proptest! {
        /// Whatever Sidecars and `exportTo` there are: a client of the mesh whose call goes out in plaintext to a STRICT port
        /// is named by the object that hides the Service from it.
        #[test]
        fn a_client_that_sends_plaintext_past_the_rules_is_named(
            sidecars in sidecars(),
            export_to in prop::sample::subsequence(vec![".", "*", "front"], 0..2),
        ) {
            let mut context = strict();
            context.sidecars = Arc::new(sidecars);
            context.snapshot.services[0].export_to = export_to.iter().map(|name| (*name).to_owned()).collect();
            let named: Vec<String> = examine(&context, Purpose::BeforeSwitch)
                .1
                .into_iter()
                .filter(|finding| finding.code == Code::ServiceNotVisible)
                .flat_map(|finding| finding.objects)
                .collect();
            let labels = [BTreeMap::new(), BTreeMap::from([("app".to_owned(), "web".to_owned())])];
            let scopes = context.client_scopes();
            for (namespace, labels) in [("shop", &labels[1]), ("front", &labels[0]), ("front", &labels[1]), ("back", &labels[0])] {
                let client = ScopedWorkload { namespace, labels, revision: None };
                let service = &context.snapshot.services[0];
                let called = CalledService { namespace: "shop", host: WEB, port: 80, export_to: &service.export_to };
                let goes_out = |sidecar: Option<&Sidecar>| sidecar.and_then(|sidecar| sidecar.passes_unknown).unwrap_or(true);
                if !goes_out(scopes.sidecar_of(client)) {
                    continue;
                }
                let expected = match scopes.imports(client, called) {
                    Import::Known => continue,
                    Import::NotExported => "service/web:80".to_owned(),
                    Import::HiddenBySidecar(hiding) if hiding.namespace == "shop" => format!("sidecar/{}", hiding.name),
                    Import::HiddenBySidecar(hiding) => format!("sidecar/{}/{}", hiding.namespace, hiding.name),
                };
                prop_assert!(named.contains(&expected), "{namespace} {labels:?}: {expected} in {named:?}");
            }
        }
    }
}

#[test]
fn errors_about_callers_name_the_exceptions_that_keep_their_ports_open() {
    let finding = |severity, code, objects: &[&str]| {
        Finding::new(severity, code, "").about(objects.iter().map(|object| (*object).to_owned()))
    };
    let findings = [
        finding(
            Severity::Error,
            Code::PlaintextSeen,
            &["service/web", "web:80", "legacy (outside/Deployment)", "10.0.0.1:80"],
        ),
        finding(Severity::Error, Code::ApiServerCall, &["service/hook:443", "service/web:80", "service/hook"]),
        finding(Severity::Warning, Code::OutsideCaller, &["service/front:80"]),
        finding(Severity::Error, Code::NotCaptured, &["service/db:5432"]),
    ];
    assert_eq!(exceptions(&findings), ["--except hook:443", "--except web:80"]);
}

/// What a controller owns is found by its workload, too, and what is at rest is no finding.
#[test]
fn controllers_are_found_by_what_they_own() {
    let mut context = strict();
    pod(&mut context).facts.workload = "statefulset/db".into();
    let owner = Some("postgresql.acid.zalan.do/main".to_owned());
    context.snapshot.templates =
        vec![PodTemplate { workload: "statefulset/db".into(), custom_owner: owner, ..PodTemplate::default() }];
    let objects = "postgresql.acid.zalan.do/main statefulset/db".to_owned();
    assert_eq!(found(&context, Purpose::Status, Code::OperatorCalls), [(Severity::Warning, objects)]);

    for (system, expected) in [
        (Some(KnativeSystem::Meshed), vec![]),
        (Some(KnativeSystem::Unknown), vec![(Severity::Warning, "pod/web-0".to_owned())]),
        (None, vec![]),
    ] {
        let mut context = strict();
        pod(&mut context).labels.insert("serving.knative.dev/revision".into(), "web-1".into());
        context.knative = system;
        assert_eq!(found(&context, Purpose::BeforeSwitch, Code::Knative), expected);
    }

    for (phase, is_in_progress, purpose, expected) in [
        ("Succeeded", false, Purpose::BeforeSwitch, None),
        ("Progressing", true, Purpose::Status, Some(Severity::Info)),
        ("Promoting", true, Purpose::BeforeSwitch, Some(Severity::Error)),
    ] {
        let mut context = strict();
        let object = "canary.flagger.app/web".to_owned();
        context.rollouts = vec![CanaryRollout { object, phase: phase.into(), is_in_progress }];
        let severities = found(&context, purpose, Code::RolloutInProgress);
        assert_eq!(severities.first().map(|(severity, _)| *severity), expected, "{phase}");
    }
}

#[test]
fn a_port_that_a_service_names_or_that_is_not_captured_is_no_finding() {
    for (declared, capture, expected) in [
        (vec![8080], Capture::All, vec![]),
        (vec![8080, 9000], Capture::All, vec!["pod/web-0:9000"]),
        (vec![9000], Capture::AllBut(vec![9000]), vec![]),
    ] {
        let mut context = strict();
        pod(&mut context).facts.declared_ports = declared.into_iter().collect();
        pod(&mut context).capture = capture;
        let objects: Vec<String> =
            found(&context, Purpose::Status, Code::NotAsked).into_iter().map(|(_, objects)| objects).collect();
        assert_eq!(objects, expected);
    }
}

/// The template of the one workload, whether its pods have a proxy, and what is found.
#[test]
fn templates_that_leave_the_mesh_are_found_beside_pods_that_are_still_in_it() {
    let injected = || BTreeMap::from([("istio-injection".to_owned(), "enabled".to_owned())]);
    let template = |inject: Option<&str>, host_network: bool| PodTemplate {
        workload: "deployment/web".into(),
        inject: inject.map(str::to_owned),
        host_network,
        ..PodTemplate::default()
    };
    let (sidecar, ambient, none) = (Some(DataPlane::Sidecar), Some(DataPlane::Ambient), Some(DataPlane::None));
    let warned = Some((Severity::Warning, "though the present ones have one: they"));
    let rows = [
        ("as its pods", injected(), template(None, false), sidecar, None),
        ("declined, the roll-out is paused", injected(), template(Some("false"), false), sidecar, warned),
        ("declined, its pods are in ambient mode", injected(), template(Some("false"), false), ambient, warned),
        ("on the node's network", injected(), template(None, true), sidecar, warned),
        ("declined, as its pods", injected(), template(Some("false"), false), none, None),
        (
            "declined, without pods",
            injected(),
            template(Some("false"), false),
            None,
            Some((Severity::Warning, "without pods")),
        ),
        (
            "the namespace has lost its label",
            BTreeMap::new(),
            template(None, false),
            sidecar,
            Some((Severity::Info, "nothing asks")),
        ),
        ("the template asks", BTreeMap::new(), template(Some("true"), false), sidecar, None),
    ];
    for (row, labels, template, data_plane, expected) in rows {
        let mut context = strict();
        context.snapshot.namespace_labels = Some(labels);
        context.snapshot.templates = vec![template];
        match data_plane {
            Some(data_plane) => {
                pod(&mut context).data_plane = data_plane;
                pod(&mut context).facts.workload = "deployment/web".into();
            }
            None => pod(&mut context).facts.workload = "deployment/other".into(),
        }
        let findings: Vec<Finding> = examine(&context, Purpose::Status)
            .1
            .into_iter()
            .filter(|finding| finding.code == Code::FuturePodWithoutProxy)
            .collect();
        assert_eq!(findings.len(), usize::from(expected.is_some()), "{row}: {findings:?}");
        for (finding, (severity, text)) in findings.iter().zip(expected) {
            assert_eq!(finding.severity, severity, "{row}");
            assert!(finding.message.contains(text), "{row}: {}", finding.message);
            assert_eq!(finding.objects, ["deployment/web"], "{row}");
        }
    }
}

#[test]
fn rules_of_namespaces_that_istiod_does_not_read_are_named_where_they_concern_a_service() {
    for (host, expected) in [
        (WEB, vec!["destinationrule/clients/web"]),
        ("*.shop.svc.cluster.local", vec!["destinationrule/clients/web"]),
        ("web.other.svc.cluster.local", vec![]),
    ] {
        let mut context = strict();
        let hidden = DestinationRule { namespace: "clients".into(), ..rule("web", host, Some(ClientTls::Disable)) };
        context.hidden_rules = Arc::new(vec![hidden]);
        let objects: Vec<String> =
            found(&context, Purpose::Status, Code::NotDiscovered).into_iter().map(|(_, objects)| objects).collect();
        assert_eq!(objects, expected, "{host}");
        assert_eq!(found(&context, Purpose::Status, Code::PlaintextToStrict), [], "it is in force nowhere");
    }
}
