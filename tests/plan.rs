//! Properties of plans over random namespaces: the order of lists does not matter, a second run has nothing to do, no
//! host ever gets a second rule, a restore gives back what was there, and objects that no policy is meant for change
//! nothing at other ports. Objects are JSON as the API serves it; changes are applied as the tool does.

use proptest::prelude::*;
use secure_traffic::domain::control_plane::ControlPlane;
use secure_traffic::domain::endpoints;
use secure_traffic::domain::journal::{self, Entry, Run, Stage};
use secure_traffic::domain::mesh::{
    DataPlane, Endpoint, EndpointTarget, MeshSettings, MtlsMode, Pod, Policies, Service, ServiceKind, ServicePort,
    Snapshot,
};
use secure_traffic::domain::namespace_context::NamespaceContext;
use secure_traffic::domain::overview::{PortView, overview};
use secure_traffic::domain::plan::{
    Change, Direction, ObjectKind, Phase, Plan, PodScope, RuleChange, RuleChoice, RuleScope, SwitchRequest, plan,
    restoration,
};
use secure_traffic::domain::probe::{self, Case, Target};
use secure_traffic::istio::change::{self, Request};
use secure_traffic::istio::journal as journal_text;
use secure_traffic::istio::kinds::{PolicyApi, RuleApi};
use secure_traffic::istio::{read, render};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const SERVICES: [&str; 3] = ["api", "db", "web"];
const HOSTS: [&str; 8] = [
    "api",
    "api.shop.svc.cluster.local",
    "web",
    "web.shop.svc.cluster.local",
    "*.shop.svc.cluster.local",
    "*.local",
    "web.shop",
    "far.example.com",
];

/// Every object of the namespace, as the API serves it.
#[derive(Debug, Clone)]
struct Cluster {
    legacy: bool,
    auto_mtls: bool,
    kinds: Vec<(ServiceKind, bool, bool)>,
    policies: Vec<Value>,
    rules: Vec<Value>,
}

impl Cluster {
    fn snapshot(&self) -> Snapshot {
        let mut services = Vec::new();
        let mut pods = BTreeMap::new();
        for (name, (kind, selects, meshed)) in SERVICES.iter().zip(&self.kinds) {
            let labels: BTreeMap<_, _> = [("app".to_owned(), (*name).to_owned())].into();
            services.push(Service {
                name: (*name).into(),
                kind: *kind,
                selector: if *selects { labels.clone() } else { BTreeMap::new() },
                ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
                endpoints: vec![Endpoint {
                    address: "10.0.0.1".into(),
                    ready: true,
                    terminating: false,
                    target: EndpointTarget::Pod((*name).into()),
                    ports: BTreeMap::new(),
                }],
                ..Service::default()
            });
            let mut pod_labels = labels;
            pod_labels.insert("tier".to_owned(), "front".to_owned());
            pods.insert(
                (*name).to_owned(),
                Pod {
                    name: (*name).into(),
                    namespace: "shop".into(),
                    labels: pod_labels,
                    service_account: "default".into(),
                    data_plane: if *meshed { DataPlane::Sidecar } else { DataPlane::None },
                    ready: true,
                    ..Pod::default()
                },
            );
        }
        let mut policies = Policies {
            root_namespace: "istio-system".into(),
            root_readable: true,
            legacy_only: self.legacy,
            ..Policies::default()
        };
        if self.legacy {
            policies.legacy = self.policies.iter().map(read::legacy_policy).collect();
        } else {
            policies.peer = self.policies.iter().map(read::peer_authentication).collect();
        }
        Snapshot {
            namespace: "shop".into(),
            mesh: MeshSettings { readable: true, auto_mtls: self.auto_mtls, ..MeshSettings::default() },
            services,
            pods,
            policies,
            rules: self.rules.iter().map(read::destination_rule).collect(),
            ..Snapshot::default()
        }
    }

    fn apis(&self) -> render::Apis {
        let policy = if self.legacy { PolicyApi::Legacy } else { PolicyApi::V1 };
        render::Apis { policy, rule: RuleApi::V1 }
    }

    fn objects(&self, kind: ObjectKind) -> &[Value] {
        if kind == ObjectKind::Policy { &self.policies } else { &self.rules }
    }

    fn find(&self, kind: ObjectKind, name: &str) -> Option<&Value> {
        self.objects(kind).iter().find(|object| object["metadata"]["name"] == name)
    }

    /// Spec, labels and annotations of every object by its name, as text.
    fn contents(&self) -> BTreeMap<(ObjectKind, String), String> {
        let kinds = [ObjectKind::Policy, ObjectKind::Rule];
        let objects = kinds.into_iter().flat_map(|kind| self.objects(kind).iter().map(move |object| (kind, object)));
        let content = |object: &Value| {
            let metadata = &object["metadata"];
            json!([object["spec"], metadata["labels"], metadata["annotations"]]).to_string()
        };
        objects.map(|(kind, object)| ((kind, read::metadata(object, "name").to_owned()), content(object))).collect()
    }

    /// Carries a plan out, and records it as the tool does.
    fn carry_out(&mut self, id: usize, command: &str, plan: &Plan) -> Run {
        let changes: Vec<Change> = plan.phases().into_iter().flat_map(|phase| phase.changes).collect();
        let by_object = |object: &Change| {
            let all: Vec<&Change> = changes.iter().filter(|change| change.is_same_object(object)).collect();
            journal_text::entry(self.apis(), self.find(object.kind(), object.name()), &all)
        };
        let mut entries: Vec<Entry> = Vec::new();
        for entry in changes.iter().filter_map(by_object) {
            if !entries.iter().any(|known| (known.kind, &known.name) == (entry.kind, &entry.name)) {
                entries.push(entry);
            }
        }
        for phase in plan.phases() {
            self.apply(&phase);
        }
        for entry in entries.iter_mut().filter(|entry| entry.former.is_none()) {
            let created = self.find(entry.kind, &entry.name);
            entry.created_uid = created.map(|object| read::metadata(object, "uid").to_owned());
        }
        // As it is stored.
        let created: Vec<_> = entries
            .iter()
            .filter_map(|entry| Some((entry.kind, entry.name.clone(), entry.created_uid.clone()?)))
            .collect();
        let text = format!("{}{}", journal_text::lines(&entries), journal_text::created_lines(&created));
        Run {
            id: id.to_string(),
            command: command.to_owned(),
            started_by: String::new(),
            started_at: String::new(),
            recorded_at: 0,
            stage: Stage::Done,
            entries: journal_text::entries(&text).expect("a journal"),
        }
    }

    /// Undoes runs as `disable-mtls --restore` does. `before` has the policies as they were.
    fn restore(&mut self, runs: &[Run], before: &Self) {
        let undos = journal::undo(runs, |kind, name| self.find(kind, name).map(journal_text::live_object));
        let plan = restoration(&self.snapshot(), before.snapshot().policies, &undos);
        for phase in plan.phases() {
            self.apply(&phase);
        }
    }

    /// Writes a phase as the tool does: objects that it makes, and patches of objects that exist.
    fn apply(&mut self, phase: &Phase) {
        let apis = self.apis();
        let objects = if phase.kind == ObjectKind::Policy { &mut self.policies } else { &mut self.rules };
        for change in &phase.changes {
            let named = |object: &&mut Value| object["metadata"]["name"] == change.name();
            let live = objects.iter_mut().find(named);
            match change::request(apis, change, live.as_deref()).expect("the object that is changed is there") {
                None => {}
                Some(Request::Apply(mut object)) => {
                    assert!(live.is_none(), "a name twice");
                    object["metadata"]["creationTimestamp"] = json!("2030-01-01T00:00:00Z");
                    object["metadata"]["managedFields"] = json!([{"manager": "secure-traffic", "operation": "Apply"}]);
                    object["metadata"]["uid"] = json!(format!("created-{}-{}", objects.len(), change.name()));
                    objects.push(object);
                }
                Some(Request::Patch(patch)) => {
                    let object = live.expect("an object");
                    json_patch::patch(object, &patch).expect("it applies");
                    assert_valid(object);
                }
                Some(Request::Delete { uid, .. }) => objects.retain(|object| object["metadata"]["uid"] != uid.as_str()),
            }
        }
    }

    /// How many rules for all clients there are by resolved host and audience. Rules with other `exportTo` sets are not
    /// merged with each other (DR-6).
    fn rules_by_host(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for rule in self.snapshot().rules.iter().filter(|rule| !rule.selects_clients()) {
            let audience = rule.export_to.join(",");
            *counts.entry(format!("{} {audience}", rule.resolved_host("cluster.local"))).or_default() += 1;
        }
        counts
    }
}

/// What the mesh's webhook refuses (VA-3), and `tls: {}`, which it takes and reads as DISABLE.
fn assert_valid(object: &Value) {
    let policies = |spec: &Value| {
        let subsets = spec["subsets"].as_array().cloned().unwrap_or_default();
        subsets.into_iter().chain([spec.clone()]).map(|holder| holder["trafficPolicy"].clone()).collect::<Vec<_>>()
    };
    for policy in policies(&object["spec"]).iter().filter(|policy| !policy.is_null()) {
        assert_ne!(policy, &json!({}), "{object}");
        for entry in policy["portLevelSettings"].as_array().into_iter().flatten() {
            assert!(entry.as_object().is_some_and(|entry| entry.len() > 1), "{object}");
        }
        assert_ne!(policy["portLevelSettings"], json!([]), "{object}");
    }
    assert!(!object.to_string().contains(r#""tls":{}"#), "{object}");
}

fn stamp(created: i64) -> String {
    jiff::Timestamp::from_second(created).expect("a time").to_string()
}

fn tls() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(json!({"mode": "DISABLE", "sni": "kept"}))),
        1 => Just(Some(json!({"mode": "SIMPLE"}))),
        1 => Just(Some(json!({"mode": "ISTIO_MUTUAL"}))),
    ]
}

/// A traffic policy that the webhook takes, or none.
fn traffic_policy() -> impl Strategy<Value = Option<Value>> {
    let entry = (tls(), any::<bool>()).prop_map(|(tls, pool)| {
        let mut entry = json!({"port": {"number": 80}});
        if pool || tls.is_none() {
            entry["connectionPool"] = json!({"tcp": {"maxConnections": 1}});
        }
        if let Some(tls) = tls {
            entry["tls"] = tls;
        }
        entry
    });
    (tls(), any::<bool>(), prop::collection::vec(entry, 0..3)).prop_map(|(tls, pool, ports)| {
        let mut policy = json!({});
        if let Some(tls) = tls {
            policy["tls"] = tls;
        }
        if pool {
            policy["loadBalancer"] = json!({"simple": "RANDOM"});
        }
        if !ports.is_empty() {
            policy["portLevelSettings"] = json!(ports);
        }
        (policy != json!({})).then_some(policy)
    })
}

fn rules() -> impl Strategy<Value = Vec<Value>> {
    let audience = prop_oneof![4 => Just(json!(null)), 1 => Just(json!(["."])), 1 => Just(json!(["*"])), 1 => Just(json!(["other"]))];
    let subset = traffic_policy();
    let rule = (
        prop::sample::select(&HOSTS[..]),
        traffic_policy(),
        prop::collection::vec(subset, 0..3),
        0..4_i64,
        audience,
        0..8_u8,
    );
    prop::collection::vec(rule, 0..6).prop_map(|rules| {
        let build = |(index, (host, policy, subsets, created, audience, selector)): (usize, _)| {
            let subsets: Vec<Option<Value>> = subsets;
            let mut spec = json!({"host": host});
            if let Some(policy) = policy {
                spec["trafficPolicy"] = policy;
            }
            if audience != Value::Null {
                spec["exportTo"] = audience;
            }
            if selector == 0_u8 {
                spec["workloadSelector"] = json!({"matchLabels": {"app": "some"}});
            }
            let subset = |(index, policy): (usize, Option<Value>)| match policy {
                Some(policy) => json!({"name": format!("v{index}"), "trafficPolicy": policy}),
                None => json!({"name": format!("v{index}")}),
            };
            if !subsets.is_empty() {
                spec["subsets"] = subsets.into_iter().enumerate().map(subset).collect();
            }
            // Some have the names that new rules would take.
            let name = SERVICES.get(index).map_or_else(|| format!("rule-{index}"), |name| (*name).to_owned());
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
                "metadata": {"name": name, "namespace": "shop", "creationTimestamp": stamp(created), "resourceVersion": "1", "uid": format!("rule-{index}")},
                "spec": spec,
            })
        };
        rules.into_iter().enumerate().map(build).collect()
    })
}

fn policies(legacy: bool) -> impl Strategy<Value = Vec<Value>> {
    let mode = prop::sample::select(vec![None, Some("STRICT"), Some("PERMISSIVE"), Some("DISABLE")]);
    let policy = (mode, 0..3_i64, any::<bool>());
    prop::collection::vec(policy, 0..3).prop_map(move |policies| {
        let build = |(index, (mode, created, selects)): (usize, (Option<&str>, i64, bool))| {
            let metadata = |name: &str| {
                let labels = if selects { json!({"team": "shop"}) } else { json!(null) };
                json!({"name": name, "namespace": "shop", "creationTimestamp": stamp(created), "resourceVersion": "1", "uid": format!("policy-{index}"), "labels": labels})
            };
            if legacy {
                let peers = match mode {
                    None | Some("DISABLE") => json!([{"jwt": {"issuer": "x"}}]),
                    Some(mode) => json!([{"jwt": {"issuer": "x"}}, {"mtls": {"mode": mode}}]),
                };
                return json!({"apiVersion": "authentication.istio.io/v1alpha1", "metadata": metadata("default"), "spec": {"peers": peers}});
            }
            let mut spec = mode.map_or(json!({}), |mode| json!({"mtls": {"mode": mode}}));
            if selects {
                spec["selector"] = json!({"matchLabels": {"app": "web"}});
            }
            let name = ["default", "z", "a"][index];
            json!({"apiVersion": "security.istio.io/v1", "metadata": metadata(name), "spec": spec})
        };
        // The legacy API has room for one policy without targets.
        policies.into_iter().take(if legacy { 1 } else { 3 }).enumerate().map(build).collect()
    })
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let kind = prop_oneof![6 => Just(ServiceKind::ClusterIp), 1 => Just(ServiceKind::Headless), 1 => Just(ServiceKind::ExternalName)];
    let service = (kind, prop::bool::weighted(0.9), prop::bool::weighted(0.8));
    prop::bool::weighted(0.2).prop_flat_map(move |legacy| {
        (any::<bool>(), prop::collection::vec(service.clone(), 0..4), policies(legacy), rules())
            .prop_map(move |(auto_mtls, kinds, policies, rules)| Cluster { legacy, auto_mtls, kinds, policies, rules })
    })
}

/// The namespace, with or without exceptions, or the pods of one label.
fn pod_scope() -> impl Strategy<Value = PodScope> {
    let exceptions = prop::collection::vec(prop::sample::select(&SERVICES[..]).prop_map(Target::service), 0..3);
    let label = prop::sample::select(vec![("app", "api"), ("app", "web"), ("tier", "front")]);
    prop_oneof![
        2 => Just(PodScope::Namespace { exceptions: Vec::new() }),
        1 => exceptions.prop_map(|exceptions| PodScope::Namespace { exceptions }),
        1 => label.prop_map(|(key, value)| PodScope::Workload([(key.to_owned(), value.to_owned())].into())),
    ]
}

fn request() -> impl Strategy<Value = SwitchRequest> {
    let off = |mode| Direction::Disable { mode };
    let directions = vec![Direction::Enable, Direction::Enable, off(MtlsMode::Permissive), off(MtlsMode::Disable)];
    (
        prop::sample::select(directions),
        prop::option::weighted(0.3, prop::collection::vec(prop::sample::select(&SERVICES[..]), 1..3)),
        prop::sample::select(vec![RuleChoice::Always, RuleChoice::Auto, RuleChoice::Never]),
        prop::sample::select(vec![RuleScope::Service, RuleScope::Namespace]),
        any::<bool>(),
        pod_scope(),
    )
        .prop_map(|(direction, services, destination_rules, scope, force, pods)| SwitchRequest {
            // Both options belong to `enable-mtls`.
            pods: if direction == Direction::Enable { pods } else { SwitchRequest::new(direction).pods },
            services: services.map(|names| names.into_iter().map(str::to_owned).collect()),
            destination_rules,
            scope,
            force,
            ..SwitchRequest::new(direction)
        })
}

/// An object that no policy of the namespace is meant for.
#[derive(Debug, Clone, Copy)]
enum Bystander {
    /// A Service without a selector, for an address outside the cluster.
    ExternalService,
    /// A gateway with its Service.
    Gateway,
    /// A pod that has ended, which a Service may select.
    EndedPod { of: &'static str, is_listed: bool },
    /// A pod whose proxy belongs to another control plane.
    OtherControlPlane,
}

const NEW: &str = "new";

impl Bystander {
    fn add_to(self, snapshot: &mut Snapshot) {
        let endpoint = |address: &str, target| Endpoint {
            address: address.to_owned(),
            ready: true,
            terminating: false,
            target,
            ports: [(String::new(), 8080)].into(),
        };
        let service = |selector: BTreeMap<String, String>, endpoints| Service {
            name: NEW.into(),
            selector,
            ports: vec![ServicePort { port: 80, ..ServicePort::default() }],
            endpoints,
            ..Service::default()
        };
        let pod = |labels: &BTreeMap<String, String>| Pod {
            name: NEW.into(),
            namespace: "shop".into(),
            labels: labels.clone(),
            service_account: "default".into(),
            data_plane: DataPlane::Sidecar,
            ready: true,
            addresses: vec!["10.0.9.1".into()],
            ..Pod::default()
        };
        let labels: BTreeMap<_, _> = [("app".to_owned(), NEW.to_owned())].into();
        let of_pod = || vec![endpoint("10.0.9.1", EndpointTarget::Pod(NEW.into()))];
        match self {
            Self::ExternalService => {
                let external = endpoint("192.0.2.10", EndpointTarget::Address);
                snapshot.services.push(service(BTreeMap::new(), vec![external]));
            }
            Self::Gateway => {
                let mut pod = pod(&labels);
                pod.facts.gateway = true;
                snapshot.services.push(service(labels, of_pod()));
                snapshot.pods.insert(NEW.into(), pod);
            }
            Self::EndedPod { of, is_listed } => {
                let mut pod = pod(&[("app".to_owned(), of.to_owned())].into());
                (pod.facts.finished, pod.ready) = (true, false);
                snapshot.pods.insert(NEW.into(), pod);
                let selecting = snapshot.services.iter_mut().find(|service| service.name == of && is_listed);
                if let Some(service) = selecting {
                    let ended = Endpoint { ready: false, ..of_pod().remove(0) };
                    service.endpoints.push(ended);
                }
            }
            Self::OtherControlPlane => {
                let mut pod = pod(&labels);
                pod.revision = Some("east".to_owned());
                pod.facts.control_plane = Some(ControlPlane::new("istio-east", "east"));
                snapshot.pods.insert(NEW.into(), pod);
            }
        }
    }
}

fn bystander() -> impl Strategy<Value = Bystander> {
    prop_oneof![
        Just(Bystander::ExternalService),
        Just(Bystander::Gateway),
        (prop::sample::select(&SERVICES[..]), any::<bool>())
            .prop_map(|(of, is_listed)| Bystander::EndedPod { of, is_listed }),
        Just(Bystander::OtherControlPlane),
    ]
}

/// What is computed for the ports of the three Services: modes and callers, what a probe checks, and the planned rules.
fn at_other_ports(snapshot: &Snapshot, request: &SwitchRequest) -> (Vec<PortView>, Vec<Case>, Vec<RuleChange>) {
    let context = NamespaceContext::default().with(snapshot.clone());
    let mut ports = overview(&context).ports;
    ports.retain(|port| port.service != NEW);
    let (mut cases, _) = probe::cases(snapshot, &[]).expect("no target is named");
    cases.retain(|case| case.service != NEW);
    for case in &mut cases {
        // Which address is not ready is no mode, verdict or rule.
        case.unready.clear();
    }
    let mut rules = plan(snapshot, request).rules;
    rules.retain(|rule| rule.name != NEW);
    (ports, cases, rules)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_objects_does_not_matter(cluster in cluster(), request in request(), turn in 0..6_usize) {
        let snapshot = cluster.snapshot();
        let mut other = snapshot.clone();
        let policies = &mut other.policies;
        for list in [policies.peer.len(), policies.legacy.len(), other.rules.len(), other.services.len()] {
            prop_assume!(list < 8);
        }
        policies.peer.reverse();
        other.rules.reverse();
        other.services.reverse();
        let rules = other.rules.len().max(1);
        other.rules.rotate_left(turn % rules);
        prop_assert_eq!(plan(&snapshot, &request), plan(&other, &request));
    }

    #[test]
    fn a_second_run_has_nothing_to_do_and_no_host_gets_a_second_rule(cluster in cluster(), request in request()) {
        let mut cluster = cluster;
        let before = cluster.rules_by_host();
        let first = plan(&cluster.snapshot(), &request);
        for phase in first.phases() {
            cluster.apply(&phase);
        }
        for (host, count) in cluster.rules_by_host() {
            prop_assert!(count <= before.get(&host).copied().unwrap_or(0).max(1), "{host}: {count}");
        }
        let second = plan(&cluster.snapshot(), &request);
        prop_assert!(!second.has_writes(), "{second:#?}\nafter {first:#?}");
    }

    #[test]
    fn a_plan_never_touches_what_it_does_not_name(cluster in cluster(), request in request()) {
        let mut after = cluster.clone();
        let first = plan(&cluster.snapshot(), &request);
        for phase in first.phases() {
            after.apply(&phase);
        }
        let written: Vec<String> = first.writes().iter().map(|change| change.name().to_owned()).collect();
        for (old, new) in cluster.rules.iter().zip(&after.rules) {
            let name = old["metadata"]["name"].as_str().unwrap_or_default();
            prop_assert!(written.iter().any(|written| written == name) || old == new, "{name}");
            prop_assert_eq!(&old["metadata"], &new["metadata"]);
            prop_assert_eq!(&old["spec"]["host"], &new["spec"]["host"]);
        }
    }

    #[test]
    fn a_restore_gives_back_specs_labels_and_annotations(cluster in cluster(), requests in prop::collection::vec(request(), 1..3)) {
        let mut changed = cluster.clone();
        let mut runs = Vec::new();
        for (id, request) in requests.iter().enumerate() {
            let plan = plan(&changed.snapshot(), request);
            runs.push(changed.carry_out(id, "enable-mtls", &plan));
        }
        changed.restore(&runs, &cluster);
        prop_assert_eq!(changed.contents(), cluster.contents());
    }

    #[test]
    fn a_bystander_changes_no_other_port(cluster in cluster(), request in request(), bystander in bystander()) {
        let request = SwitchRequest { scope: RuleScope::Service, ..request };
        let mut snapshot = cluster.snapshot();
        endpoints::complete(&mut snapshot);
        let before = at_other_ports(&snapshot, &request);
        bystander.add_to(&mut snapshot);
        endpoints::complete(&mut snapshot);
        let after = at_other_ports(&snapshot, &request);
        prop_assert_eq!(before.0, after.0);
        prop_assert_eq!(before.1, after.1);
        prop_assert_eq!(before.2, after.2);
    }
}
