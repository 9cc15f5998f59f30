//! Properties of modes and rules over random meshes: the order of objects does not matter, unrelated objects change
//! nothing, and an added object changes only what it selects.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use secure_traffic::domain::ambient::{self, Plaintext};
use secure_traffic::domain::client_tls::rules::Sorting;
use secure_traffic::domain::client_tls::{Call, Client, ClientKind, Mesh, VisibleRules, WireProtocol, sends};
use secure_traffic::domain::control_plane::{ControlPlane, Hints, candidates};
use secure_traffic::domain::effective::{Effective, PolicyIndex};
use secure_traffic::domain::mesh::{DataPlane, DestinationRule, MtlsMode, PeerAuthentication, Pod, Policies};
use secure_traffic::domain::rule::covers;
use secure_traffic::istio::read;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const ROOT: &str = "istio-system";
const NAMESPACES: [&str; 3] = ["shop", "front", ROOT];
const HOSTS: [&str; 7] = [
    "web",
    "web.shop.svc.cluster.local",
    "api.shop.svc.cluster.local",
    "*.shop.svc.cluster.local",
    "*.local",
    "*",
    "web.shop",
];
const PORTS: [u16; 2] = [8080, 9090];

type Labels = BTreeMap<String, String>;

fn labels() -> impl Strategy<Value = Labels> {
    let pairs = vec![("app", "web"), ("app", "api"), ("tier", "front"), ("stage", "prod")];
    subsequence(pairs, 0..=3)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn mode() -> impl Strategy<Value = Option<MtlsMode>> {
    select(vec![None, Some(MtlsMode::Strict), Some(MtlsMode::Permissive), Some(MtlsMode::Disable)])
}

fn policy() -> impl Strategy<Value = PeerAuthentication> {
    let ports = prop::collection::btree_map(select(PORTS.to_vec()), mode(), 0..=2);
    let revision = select(vec![None, None, Some("canary".to_owned())]);
    (select(NAMESPACES.to_vec()), 0_u32..1000, 0_i64..4, revision, labels(), mode(), ports).prop_map(
        |(namespace, name, created, revision, selector, mode, ports)| PeerAuthentication {
            namespace: namespace.to_owned(),
            name: format!("p{name}"),
            created,
            revision,
            empty_selector: false,
            selector,
            mode,
            ports,
            is_ours: false,
        },
    )
}

fn rule() -> impl Strategy<Value = DestinationRule> {
    let tls = select(vec![
        json!(null),
        json!({}),
        json!({"tls": {"mode": "DISABLE"}}),
        json!({"tls": {"mode": "ISTIO_MUTUAL"}}),
    ]);
    let export = select(vec![json!([]), json!(["."]), json!(["*"]), json!(["front"]), json!(["shop", "front"])]);
    let selector = select(vec![json!(null), json!(null), json!({"matchLabels": {"app": "api"}})]);
    (select(NAMESPACES.to_vec()), 0_u32..1000, 0_i64..4, select(HOSTS.to_vec()), tls, export, selector).prop_map(
        |(namespace, name, created, host, policy, export, selector)| {
            let created = jiff::Timestamp::from_second(created).expect("a small number").to_string();
            read::destination_rule(&json!({
                "metadata": {"name": format!("r{name}"), "namespace": namespace, "creationTimestamp": created},
                "spec": {"host": host, "trafficPolicy": policy, "exportTo": export, "workloadSelector": selector},
            }))
        },
    )
}

/// Objects with distinct names, as in an API server.
fn distinct<T>(objects: impl Strategy<Value = T>, key: fn(&T) -> String) -> impl Strategy<Value = Vec<T>>
where
    T: std::fmt::Debug,
{
    prop::collection::vec(objects, 0..8).prop_map(move |objects| {
        let by_name: BTreeMap<String, T> = objects.into_iter().map(|object| (key(&object), object)).collect();
        by_name.into_values().collect()
    })
}

fn policies() -> impl Strategy<Value = Vec<PeerAuthentication>> {
    distinct(policy(), |policy| format!("{}/{}", policy.namespace, policy.name))
}

fn rules() -> impl Strategy<Value = Vec<DestinationRule>> {
    distinct(rule(), |rule| format!("{}/{}", rule.namespace, rule.name))
}

fn pod() -> impl Strategy<Value = Pod> {
    (select(NAMESPACES.to_vec()), labels(), any::<bool>()).prop_map(|(namespace, mut labels, meshed)| {
        if meshed {
            labels.insert("security.istio.io/tlsMode".into(), "istio".into());
        }
        Pod {
            name: "pod".into(),
            namespace: namespace.to_owned(),
            labels,
            service_account: "default".into(),
            data_plane: if meshed { DataPlane::Sidecar } else { DataPlane::None },
            ready: true,
            ..Pod::default()
        }
    })
}

fn all(peer: Vec<PeerAuthentication>) -> Policies {
    Policies { root_namespace: ROOT.into(), root_readable: true, peer, ..Policies::default() }
}

/// Everything that is computed for one pod and one client: modes, plaintext in ambient, what is sent, rules in force.
fn answer(
    policies: &Policies,
    rules: &[DestinationRule],
    pod: &Pod,
    client: &Labels,
) -> (Vec<Effective>, Vec<Plaintext>, Vec<WireProtocol>, Vec<String>) {
    let index = PolicyIndex::new(policies);
    let sorting = Sorting { root: ROOT, cluster_domain: "cluster.local", default_export: &[], revision: None };
    let visible = VisibleRules::new(rules, sorting);
    let (mut sent, mut chosen) = (Vec::new(), Vec::new());
    for namespace in NAMESPACES {
        for headless in [false, true] {
            let client = Client { namespace, labels: client, kind: ClientKind::Sidecar, hbone: true };
            let found = visible.in_force(client, "web.shop.svc.cluster.local", "shop");
            let call = Call {
                namespace: "shop",
                port: 80,
                subset: None,
                headless,
                external: false,
                all_have_tls_label: pod.has_tls_label(),
            };
            let mesh = Mesh { auto_mtls: true, policies: &index };
            sent.push(sends(mesh, client, found.as_ref(), call, (pod, 8080)));
            chosen.push(found.map_or_else(String::new, |found| format!("{:?}", found.rules())));
        }
    }
    let modes = PORTS.map(|port| index.mode(pod, port)).to_vec();
    (modes, PORTS.map(|port| ambient::plaintext(&index, pod, port)).to_vec(), sent, chosen)
}

fn planes() -> impl Strategy<Value = BTreeSet<ControlPlane>> {
    let plane = (select(vec![ROOT, "istio-east"]), select(vec!["default", "east", "canary"]));
    prop::collection::btree_set(plane.prop_map(|(namespace, revision)| ControlPlane::new(namespace, revision)), 0..4)
}

proptest! {
    #[test]
    fn the_order_of_objects_does_not_matter(
        (policies, shuffled) in policies().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        (rules, mixed) in rules().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
        pod in pod(),
        client in labels(),
    ) {
        prop_assert_eq!(answer(&all(policies), &rules, &pod, &client), answer(&all(shuffled), &mixed, &pod, &client));
    }

    #[test]
    fn unrelated_objects_change_nothing(
        policies in policies(),
        rules in rules(),
        pod in pod(),
        client in labels(),
        mut policy in policy(),
        mut rule in rule(),
    ) {
        let before = answer(&all(policies.clone()), &rules, &pod, &client);
        // A policy of a namespace that is neither the pod's nor the root, and a rule for a host that nobody calls.
        policy.namespace = "elsewhere".into();
        rule.host = "far.example.com".into();
        let (mut more_policies, mut more_rules) = (policies, rules);
        more_policies.push(policy);
        more_rules.push(rule);
        prop_assert_eq!(before, answer(&all(more_policies), &more_rules, &pod, &client));
    }

    #[test]
    fn a_policy_changes_only_the_pods_that_it_selects(policies in policies(), pod in pod(), mut policy in policy()) {
        let before = answer(&all(policies.clone()), &[], &pod, &Labels::new());
        policy.name = "added".into();
        let selects = policy.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        let applies = policy.revision.is_none()
            && (policy.namespace == ROOT && policy.selector.is_empty()
                || policy.namespace != ROOT && policy.namespace == pod.namespace && selects);
        // Auto mTLS of clients uses the mode of the called namespace, not the pod's own mode.
        let changes_auto_mtls = policy.is_wide() && policy.namespace == "shop";
        let mut more = policies;
        more.push(policy);
        let after = answer(&all(more), &[], &pod, &Labels::new());
        if !applies {
            prop_assert_eq!((&before.0, &before.1), (&after.0, &after.1));
            if !changes_auto_mtls {
                prop_assert_eq!(before.2, after.2);
            }
        }
    }

    #[test]
    fn a_rule_changes_only_calls_to_hosts_that_it_covers(rules in rules(), pod in pod(), client in labels(), mut rule in rule()) {
        let before = answer(&all(Vec::new()), &rules, &pod, &client);
        rule.name = "added".into();
        let covered = covers(&rule.resolved_host("cluster.local"), "web.shop.svc.cluster.local");
        let mut more = rules;
        more.push(rule);
        let after = answer(&all(Vec::new()), &more, &pod, &client);
        if !covered {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn an_unrelated_control_plane_decides_nothing_where_a_proxy_or_a_label_does(
        connected in planes(), found in planes(), hint in select(vec![None, Some("east"), Some("canary")]),
    ) {
        let hints = Hints { injected_by: hint, ..Hints::default() };
        // A label decides where a control plane of that revision is there.
        let is_decided = !connected.is_empty() || found.iter().any(|plane| Some(plane.revision.as_str()) == hint);
        let before = candidates(hints, &connected, &found);
        let mut more = found;
        more.insert(ControlPlane::new("another", "unrelated"));
        if is_decided {
            prop_assert_eq!(before, candidates(hints, &connected, &more));
        }
    }
}
