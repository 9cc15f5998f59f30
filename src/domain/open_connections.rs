//! What a change of a policy does to connections that are open: computed from the endpoints before and after it, for the
//! plan and the last line of a switch.
//!
//! A change of the mode replaces the filter chains of the port, those of mutual TLS included. Envoy ends the connections
//! of the old chains after its drain time, which each pod can set (CN-1). A ztunnel keeps them, unless a policy with ports
//! that the pod has already comes to deny them (AM-6).

use super::ambient;
use super::caller::{Caller, CallerWorkload};
use super::effective::PolicyIndex;
use super::inbound::InboundPath;
use super::mesh::{MtlsMode, Pod, Snapshot};
use super::overview::workload;
use super::probe::{Case, EndpointCase};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The connections that a change of the policy concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenConnections {
    /// The Services whose pods' sidecars end them, by the drain time.
    pub drained: BTreeMap<Duration, BTreeSet<String>>,
    /// The sidecars, each with its ports: name of the pod and target port.
    pub sidecars: BTreeSet<(String, u16)>,
    /// Whether a ztunnel keeps some.
    pub kept_by_ztunnel: bool,
    /// The Services whose plaintext connections ztunnel closes at once (AM-6).
    pub ended_by_ztunnel: BTreeSet<String>,
    /// The endpoints at ztunnels that become STRICT: plaintext connections to them stay open all the same.
    pub made_strict_at_ztunnel: Vec<EndpointCase>,
}

impl OpenConnections {
    /// Whether the change concerns none.
    pub fn is_empty(&self) -> bool {
        self.drained.is_empty() && !self.kept_by_ztunnel && self.ended_by_ztunnel.is_empty()
    }
}

/// The connections at the endpoints whose mode differs after the change. Both states have the same cases.
pub fn concerned(before: (&Snapshot, &[Case]), after: (&Snapshot, &[Case])) -> OpenConnections {
    let snapshot = before.0;
    let (policies, changed_policies) = (PolicyIndex::new(&snapshot.policies), PolicyIndex::new(&after.0.policies));
    let mut connections = OpenConnections::default();
    for (before, after) in before.1.iter().zip(after.1) {
        for (endpoint, changed) in before.endpoints.iter().zip(&after.endpoints) {
            let pod = endpoint.pod.as_ref().and_then(|name| snapshot.pods.get(name));
            match (endpoint.path, pod) {
                _ if endpoint.mode.mode == changed.mode.mode => {}
                (InboundPath::Sidecar, Some(pod)) => {
                    connections.drained.entry(snapshot.drain_time(pod)).or_default().insert(before.service.clone());
                    connections.sidecars.insert((pod.name.clone(), endpoint.port));
                }
                (InboundPath::Ztunnel, Some(pod))
                    if ambient::ends_open_connections(&policies, &changed_policies, pod, endpoint.port) =>
                {
                    connections.ended_by_ztunnel.insert(before.service.clone());
                }
                (InboundPath::Ztunnel, _) => {
                    connections.kept_by_ztunnel = true;
                    if changed.mode.mode == Some(MtlsMode::Strict) {
                        connections.made_strict_at_ztunnel.push(endpoint.clone());
                    }
                }
                _ => {}
            }
        }
    }
    connections
}

/// A plaintext connection that a ztunnel holds to a pod of its node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldConnection {
    /// Address and port of the client.
    pub source: SocketAddr,
    /// Address and target port of the pod.
    pub destination: SocketAddr,
    /// The client's workload, if the ztunnel knows it.
    pub client: Option<CallerWorkload>,
}

impl HeldConnection {
    /// Who holds the connection.
    pub fn caller(&self) -> Caller {
        self.client.clone().map_or_else(|| Caller::Address(self.source.ip()), Caller::Workload)
    }
}

/// A port of a workload with the plaintext connections that stay open there, and the command that ends them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldAtPort {
    /// How many connections each caller has.
    pub callers: BTreeMap<Caller, usize>,
    /// `kubectl -n shop rollout restart deployment/web`. A pod that is no template's is deleted instead.
    pub commands: BTreeSet<String>,
}

/// The connections by `deployment/web:9000`, the workload and target port that they lead to.
pub fn held_by_port(snapshot: &Snapshot, connections: &[HeldConnection]) -> BTreeMap<String, HeldAtPort> {
    let addresses = |pod: &'_ Pod| pod.addresses.iter().filter_map(|text| text.parse().ok()).collect::<Vec<IpAddr>>();
    let pods = snapshot.pods.values().flat_map(|pod| addresses(pod).into_iter().map(move |address| (address, pod)));
    let pods: HashMap<IpAddr, &Pod> = pods.collect();
    let mut ports: BTreeMap<String, HeldAtPort> = BTreeMap::new();
    for connection in connections {
        let Some(pod) = pods.get(&connection.destination.ip()) else { continue };
        let name = workload(pod);
        let held = ports.entry(format!("{name}:{}", connection.destination.port())).or_default();
        *held.callers.entry(connection.caller()).or_default() += 1;
        let is_template = ["deployment/", "statefulset/", "daemonset/"].iter().any(|kind| name.starts_with(kind));
        held.commands.insert(if is_template {
            format!("kubectl -n {} rollout restart {name}", snapshot.namespace)
        } else {
            format!("kubectl -n {} delete pod {}", snapshot.namespace, pod.name)
        });
    }
    ports
}

/// A duration in the notation of Go and of protobuf's JSON, such as `150s`, `2m30s` or `1.5h`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::MeshSettings;
    use crate::domain::probe::{Target, cases};
    use crate::domain::testing::{policy, shop};

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn durations_are_read_as_istio_writes_them() {
        for (text, expected) in [
            ("45s", Some(seconds(45))),
            ("2m30s", Some(seconds(150))),
            ("1.5h", Some(seconds(5400))),
            ("500ms", Some(Duration::from_millis(500))),
            ("0s", Some(Duration::ZERO)),
            ("45", None),
            ("", None),
            ("soon", None),
            ("1y", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    /// The Services of `shop` before and after STRICT, with these settings of the pods' and of the mesh's drain time.
    fn drained(pods: &[Option<u64>], mesh: Option<u64>) -> OpenConnections {
        let names = ["a", "b", "c"];
        let mut before = shop(&names[..pods.len()]);
        for (name, drain) in names.iter().zip(pods) {
            before.pods.get_mut(&format!("{name}-0")).unwrap().facts.drain = drain.map(seconds);
        }
        before.mesh = MeshSettings { drain: mesh.map(seconds), ..before.mesh };
        let mut after = before.clone();
        after.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
        let cases_of = |snapshot| cases(snapshot, &[] as &[Target]).unwrap().0;
        concerned((&before, &cases_of(&before)), (&after, &cases_of(&after)))
    }

    #[test]
    fn each_pod_has_its_own_drain_time() {
        type Row<'a> = (&'a [Option<u64>], Option<u64>, &'a [(u64, &'a [&'a str])]);
        let rows: [Row<'_>; 3] = [
            (&[None, None], None, &[(45, &["a", "b"])]),
            (&[None, Some(150)], None, &[(45, &["a"]), (150, &["b"])]),
            (&[None, Some(150), Some(5)], Some(10), &[(5, &["c"]), (10, &["a"]), (150, &["b"])]),
        ];
        for (pods, mesh, expected) in rows {
            let found = drained(pods, mesh).drained;
            let found: Vec<(u64, Vec<&str>)> = found
                .iter()
                .map(|(time, services)| (time.as_secs(), services.iter().map(String::as_str).collect()))
                .collect();
            let expected: Vec<(u64, Vec<&str>)> =
                expected.iter().map(|(time, services)| (*time, services.to_vec())).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn only_endpoints_whose_mode_changes_are_concerned() {
        let snapshot = shop(&["a"]);
        let open = cases(&snapshot, &[]).unwrap().0;
        let mut strict = snapshot.clone();
        strict.policies.peer = vec![policy("default", 1, Some(MtlsMode::Strict))];
        let strict_cases = cases(&strict, &[]).unwrap().0;
        let change = |from: &[Case], to: &[Case]| concerned((&snapshot, from), (&strict, to));
        let with = |cases: &[Case], change: fn(&mut EndpointCase)| {
            let mut cases = cases.to_vec();
            cases.iter_mut().flat_map(|case| &mut case.endpoints).for_each(change);
            cases
        };
        assert!(change(&open, &open).is_empty() && !change(&open, &strict_cases).is_empty());
        let ambient: fn(&mut EndpointCase) = |endpoint| endpoint.path = InboundPath::Ztunnel;
        let found = change(&with(&open, ambient), &with(&strict_cases, ambient));
        assert!(found.kept_by_ztunnel && found.drained.is_empty());
        assert_eq!(found.made_strict_at_ztunnel.len(), 1);
        let opened = change(&with(&strict_cases, ambient), &with(&open, ambient));
        assert!(opened.kept_by_ztunnel && opened.made_strict_at_ztunnel.is_empty());
        let changes: [fn(&mut EndpointCase); 2] =
            [|endpoint| endpoint.path = InboundPath::Gateway, |endpoint| endpoint.path = InboundPath::ProxyPort];
        for leave in changes {
            assert!(change(&with(&open, leave), &with(&strict_cases, leave)).is_empty());
        }
    }

    #[test]
    fn connections_at_a_ztunnel_are_ended_by_a_restart_of_their_workload() {
        let mut snapshot = shop(&["web", "db", "job"]);
        for (index, (pod, workload)) in
            [("web-0", "deployment/web"), ("db-0", ""), ("job-0", "job/backup")].into_iter().enumerate()
        {
            let pod = snapshot.pods.get_mut(pod).unwrap();
            pod.addresses = vec![format!("10.0.9.{index}")];
            pod.facts.workload = workload.to_owned();
        }
        let client = CallerWorkload {
            namespace: "out".into(),
            kind: "Deployment".into(),
            name: "legacy".into(),
            gateway: false,
        };
        let connection = |source: &str, destination: &str, client: Option<&CallerWorkload>| HeldConnection {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            client: client.cloned(),
        };
        let found = held_by_port(
            &snapshot,
            &[
                connection("10.0.1.1:5", "10.0.9.0:8080", Some(&client)),
                connection("10.0.1.2:5", "10.0.9.0:8080", Some(&client)),
                connection("203.0.113.7:5", "10.0.9.1:27017", None),
                connection("203.0.113.7:6", "10.0.9.2:1", None),
                connection("203.0.113.7:7", "10.0.9.9:1", None),
            ],
        );
        let found: Vec<(&str, String)> = found
            .iter()
            .map(|(port, held)| (port.as_str(), format!("{:?} {:?}", held.callers.values(), held.commands)))
            .collect();
        let expected = [
            ("deployment/web:8080", "[2] {\"kubectl -n shop rollout restart deployment/web\"}"),
            ("job/backup:1", "[1] {\"kubectl -n shop delete pod job-0\"}"),
            ("pod/db-0:27017", "[1] {\"kubectl -n shop delete pod db-0\"}"),
        ];
        assert_eq!(found, expected.map(|(port, text)| (port, text.to_owned())));
    }
}
