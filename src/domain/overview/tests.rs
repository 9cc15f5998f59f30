use super::*;
use crate::domain::inbound::{Bypass, ExcludedBy};
use crate::domain::mesh::{Capture, ClientTls, EndpointTarget, MtlsMode, Protocol, WorkloadEntry};
use crate::domain::testing::{namespace_context, policy, rule, with_rules};

fn of<'a>(overview: &'a Overview, caller: &Caller) -> &'a CallerView {
    overview.ports[0].callers.iter().find(|view| view.caller == *caller).expect("that caller")
}

#[test]
fn a_port_has_its_mode_and_the_policy_that_decides_it() {
    let mut context = namespace_context(&["web"]);
    let mut port = policy("web", 2, Some(MtlsMode::Strict));
    port.selector.insert("app".into(), "web".into());
    port.ports.insert(8080, Some(MtlsMode::Permissive));
    context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict)), port];
    let overview = overview(&context);
    let workload_port = &overview.ports[0].workload_ports[0];
    assert_eq!((workload_port.server, workload_port.target_port), (Server::Mode(MtlsMode::Permissive), Some(8080)));
    assert_eq!(workload_port.chain.last().map(|step| step.name.as_str()), Some("web"));
    assert_eq!(of(&overview, &Caller::Own).to("pod/web-0"), ([WireProtocol::Mtls].into(), false));
}

const STRICT: Option<MtlsMode> = Some(MtlsMode::Strict);

type Change = fn(&mut Pod);

#[test]
fn a_port_without_enforcement_has_the_reason() {
    let strict = vec![policy("default", 1, Some(MtlsMode::Strict))];
    let rows: [(Change, Server, InboundPath, Option<MtlsMode>); 6] = [
        (|_| {}, Server::Mode(MtlsMode::Strict), InboundPath::Sidecar, STRICT),
        (|pod| pod.data_plane = DataPlane::None, Server::NoProxy, InboundPath::Direct(Bypass::NoProxy), STRICT),
        (
            |pod| pod.capture = Capture::AllBut(vec![8080]),
            Server::NoProxy,
            InboundPath::Direct(Bypass::Excluded(ExcludedBy::Installation)),
            STRICT,
        ),
        (
            |pod| pod.addresses = vec!["fd00::1".into()],
            Server::NoProxy,
            InboundPath::Direct(Bypass::AddressFamily),
            STRICT,
        ),
        (|pod| pod.facts.gateway = true, Server::Gateway, InboundPath::Gateway, None),
        (|pod| pod.data_plane = DataPlane::Pending, Server::Unknown, InboundPath::Pending, STRICT),
    ];
    for (number, (change, server, path, wanted)) in rows.into_iter().enumerate() {
        let mut context = namespace_context(&["web"]);
        context.snapshot.policies.peer.clone_from(&strict);
        change(context.snapshot.pods.get_mut("web-0").expect("a pod"));
        let overview = overview(&context);
        let workload_port = &overview.ports[0].workload_ports[0];
        assert_eq!(
            (workload_port.server, workload_port.path, workload_port.wanted),
            (server, path, wanted),
            "row {number}"
        );
    }
}

/// An address of a hand-kept slice, and a machine without a proxy, are nothing that a policy is meant for.
#[test]
fn what_is_no_workload_of_the_namespace_has_no_mode() {
    let machine = WorkloadEntry { address: "192.0.2.9".into(), ..WorkloadEntry::default() };
    for (target, expected) in [
        (EndpointTarget::Address, "10.0.0.1"),
        (EndpointTarget::WorkloadEntry("vm".into()), "pod/"),
        (EndpointTarget::Pod("gone".into()), "10.0.0.1"),
    ] {
        let mut context = namespace_context(&["web"]);
        context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
        context.snapshot.workload_entries.insert("vm".into(), machine.clone());
        context.snapshot.services[0].endpoints[0].target = target;
        let overview = overview(&context);
        let found = &overview.ports[0].workload_ports[0];
        assert_eq!((found.path, found.wanted), (InboundPath::Direct(Bypass::NoWorkload), None));
        assert_eq!(found.workload, expected);
    }
}

#[test]
fn callers_with_different_rules_have_different_outcomes() {
    let mut foreign = rule("plain", "web.shop.svc.cluster.local", Some(ClientTls::Disable));
    foreign.namespace = "front".into();
    let mut context = with_rules(namespace_context(&["web"]), vec![foreign]);
    context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
    let overview = overview(&context);
    let front = of(&overview, &Caller::Namespace("front".into()));
    assert_eq!((front.outcome, &front.rules[..]), (CallOutcome::Breaks, &["front/plain".to_owned()][..]));
    assert_eq!(of(&overview, &Caller::Own).outcome, CallOutcome::Works);
    assert_eq!(of(&overview, &Caller::Elsewhere).to("pod/web-0"), ([WireProtocol::Mtls].into(), false));
}

/// Clients of one namespace can belong to control planes of different revisions, whichever pod comes first.
#[test]
fn every_revision_of_the_clients_counts() {
    for (first, second) in [("default", "canary"), ("canary", "default")] {
        let mut canary = rule("plain", "web.shop.svc.cluster.local", Some(ClientTls::Disable));
        canary.revision = Some("canary".into());
        let mut context = with_rules(namespace_context(&["api", "web"]), vec![canary]);
        context.snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
        for (pod, revision) in [("api-0", first), ("web-0", second)] {
            context.snapshot.pods.get_mut(pod).expect("a pod").revision = Some(revision.into());
        }
        let overview = overview(&context);
        let web = overview.ports.iter().find(|port| port.service == "web").expect("its port");
        let own = web.callers.iter().find(|view| view.caller == Caller::Own).expect("its own clients");
        assert_eq!(own.to("pod/web-0").0, [WireProtocol::Raw, WireProtocol::Mtls].into(), "{first}");
        assert_eq!((own.outcome, &own.rules[..]), (CallOutcome::Breaks, &["shop/plain".to_owned()][..]), "{first}");
    }
}

#[test]
fn a_workload_without_a_service_has_a_mode_for_each_exception() {
    let mut context = namespace_context(&["web"]);
    context.snapshot.services.clear();
    let mut web_policy = policy("web", 2, Some(MtlsMode::Strict));
    web_policy.selector.insert("app".into(), "web".into());
    web_policy.ports.insert(9090, Some(MtlsMode::Disable));
    context.snapshot.policies.peer = vec![web_policy];
    let found: Vec<_> = overview(&context)
        .others
        .into_iter()
        .map(|workload_port| (workload_port.target_port, workload_port.server))
        .collect();
    assert_eq!(found, [(None, Server::Mode(MtlsMode::Strict)), (Some(9090), Server::Mode(MtlsMode::Disable))]);
}

#[test]
fn app_protocol_or_port_name_declares_http() {
    for (name, app_protocol, expected) in [
        ("http", None, true),
        ("http-web", None, true),
        ("grpc", None, true),
        ("tcp", None, false),
        ("", None, false),
        ("web", Some("http"), true),
        ("http", Some("tcp"), false),
        ("x", Some("kubernetes.io/h2c"), true),
    ] {
        let app_protocol = app_protocol.map(str::to_owned);
        let port =
            ServicePort { name: name.into(), port: 80, protocol: Protocol::Tcp, app_protocol, target_port: None };
        assert_eq!(speaks_http(&port), expected, "{name}");
    }
}
