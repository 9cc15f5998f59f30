//! Computes before the first write of a switch whether the probe reaches what it will prove, from repeated plaintext
//! requests: a connection that is refused or reset has reached its destination, one that times out has not.

use super::mesh::{DataPlane, socket_address};
use super::network_policy::HBONE;
use super::probe::Case;
use super::sample::Sample;
use std::collections::BTreeSet;

/// Most destinations that are requested: every Service, and endpoints that are spread evenly over all.
const MOST: usize = 200;

/// Requests per second: to each destination, and in total.
const RATE: (u64, u64) = (4, 200);

/// What the proof requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestinationKind {
    /// A Service by its name: `web:80`.
    Service(String),
    /// An endpoint by its address, with the name of its pod; `None` where it is no pod.
    Endpoint(Option<String>),
}

/// One address that the proof requests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// A Service, or an endpoint.
    pub kind: DestinationKind,
    /// Name of the Service in the cluster's DNS, or IP address.
    pub host: String,
    /// Port of the Service, or target port.
    pub port: u16,
}

impl Destination {
    /// `HOST:PORT`.
    pub fn authority(&self) -> String {
        socket_address(&self.host, self.port)
    }

    /// The object, as findings name it: `service/web:80`, `pod/web-0`, or the address where it is no pod.
    pub fn object(&self) -> String {
        match &self.kind {
            DestinationKind::Service(name) => format!("service/{name}"),
            DestinationKind::Endpoint(Some(pod)) => format!("pod/{pod}"),
            DestinationKind::Endpoint(None) => self.authority(),
        }
    }
}

/// Every Service of the cases with a ready endpoint, and its endpoints.
fn destinations(cases: &[Case]) -> Vec<Destination> {
    let ready = || cases.iter().filter(|case| !case.endpoints.is_empty());
    let service = |case: &Case| {
        let kind = DestinationKind::Service(format!("{}:{}", case.service, case.port));
        Destination { kind, host: case.host.clone(), port: case.port }
    };
    let mut all: Vec<Destination> = ready().map(service).take(MOST).collect();
    let endpoints = ready().flat_map(|case| &case.endpoints).map(|endpoint| Destination {
        kind: DestinationKind::Endpoint(endpoint.pod.clone()),
        host: endpoint.address.clone(),
        port: endpoint.port,
    });
    let endpoints: BTreeSet<Destination> = endpoints.collect();
    let step = endpoints.len().div_ceil((MOST - all.len()).max(1)).max(1);
    all.extend(endpoints.into_iter().step_by(step));
    all.truncate(MOST);
    all
}

/// Why a request did not reach its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Barrier {
    /// No TCP connection was established in time.
    Connection,
    /// The name did not resolve.
    Name,
}

impl Barrier {
    /// What kept this request from its destination; `None` if the port was reached, also where nothing listens there.
    fn of(sample: &Sample, has_resolved: bool) -> Option<Self> {
        match (sample.exit, sample.connected) {
            (28, false) if has_resolved => Some(Self::Connection),
            (28, false) | (6, _) => Some(Self::Name),
            _ => None,
        }
    }
}

/// The last request to a destination.
#[derive(Debug, Clone, Copy)]
struct LastRequest {
    barrier: Option<Barrier>,
    round: u64,
}

/// Follows the requests to every destination.
#[derive(Debug, Clone)]
pub struct Reachability {
    destinations: Vec<Destination>,
    last: Vec<Option<LastRequest>>,
}

impl Reachability {
    /// For the Services and endpoints of these cases.
    pub fn new(cases: &[Case]) -> Self {
        let destinations = destinations(cases);
        Self { last: vec![None; destinations.len()], destinations }
    }

    /// What is requested.
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// Requests per second to all destinations together.
    pub fn rate(&self) -> u64 {
        (RATE.0 * self.destinations.len() as u64).clamp(1, RATE.1)
    }

    /// Rounds in this many seconds, if no request has to wait for an answer.
    pub fn rounds(&self, seconds: u64) -> u64 {
        (self.rate() * seconds).div_ceil((self.destinations.len() as u64).max(1))
    }

    /// Adds a request of the round (from 1) to a destination.
    pub fn record(&mut self, index: usize, round: u64, sample: &Sample, has_resolved: bool) {
        if let Some(last) = self.last.get_mut(index) {
            *last = Some(LastRequest { barrier: Barrier::of(sample, has_resolved), round });
        }
    }

    /// Whether the last request to each destination reached it, a second after the first round: some network plugins let
    /// a new pod through until they know its address.
    pub fn reaches_all(&self) -> bool {
        let settled = self.rounds(1) + 1;
        self.last.iter().all(|last| last.is_some_and(|last| last.barrier.is_none() && last.round >= settled))
    }

    /// Whether the last request to any destination did not reach it.
    pub fn has_blocked(&self) -> bool {
        self.blocked().next().is_some()
    }

    /// The destinations that the last request did not reach.
    pub fn blocked(&self) -> impl Iterator<Item = (&Destination, Barrier)> {
        let pairs = self.destinations.iter().zip(&self.last);
        pairs.filter_map(|(destination, last)| Some((destination, (*last)?.barrier?)))
    }
}

/// The target ports that the proof of these cases requests, and the port of HBONE where a mesh client uses it.
pub fn target_ports(cases: &[Case]) -> BTreeSet<u16> {
    let endpoints = cases.iter().flat_map(|case| &case.endpoints);
    endpoints
        .flat_map(|endpoint| {
            let is_ambient = endpoint.data_plane == DataPlane::Ambient;
            [Some(endpoint.port), is_ambient.then_some(HBONE)]
        })
        .flatten()
        .collect()
}

/// Addresses of endpoints that no selector of pods matches.
pub fn addresses_without_pod(destinations: &[Destination]) -> BTreeSet<String> {
    let is_no_pod = |destination: &&Destination| destination.kind == DestinationKind::Endpoint(None);
    destinations.iter().filter(is_no_pod).map(|destination| destination.host.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::probe::EndpointCase;
    use crate::domain::testing::{case, endpoint_case, http, no_answer, reset};

    fn sample(exit: i32, connected: bool) -> Sample {
        Sample { exit, connected, ..Sample::default() }
    }

    #[test]
    fn a_time_out_is_blocked_and_a_refused_or_reset_connection_is_not() {
        for (sample, has_resolved, expected) in [
            (http(200), true, None),
            (reset(), true, None),
            (no_answer(52), true, None),
            (sample(7, false), true, None),
            // The application accepts the connection and does not answer.
            (sample(28, true), true, None),
            (sample(28, false), true, Some(Barrier::Connection)),
            (sample(28, false), false, Some(Barrier::Name)),
            (sample(6, false), false, Some(Barrier::Name)),
        ] {
            assert_eq!(Barrier::of(&sample, has_resolved), expected, "{sample:?}");
        }
    }

    #[test]
    fn services_and_endpoints_are_requested_each_once() {
        let endpoint = endpoint_case(None);
        let machine = crate::domain::probe::EndpointCase { address: "fd00::9".into(), pod: None, ..endpoint.clone() };
        let empty = Case { port: 81, ..case(Vec::new()) };
        let reach = Reachability::new(&[case(vec![endpoint.clone()]), case(vec![endpoint, machine]), empty]);
        let objects: Vec<String> = reach.destinations().iter().map(Destination::object).collect();
        assert_eq!(objects, ["service/boards:8080", "service/boards:8080", "[fd00::9]:8080", "pod/boards-1"]);
        let authority = reach.destinations()[0].authority();
        assert_eq!(authority, "boards.demo.svc.cluster.local:8080");
    }

    #[test]
    fn thousands_of_endpoints_are_a_sample_with_every_service() {
        let endpoints = (0..3000_u16).map(|number| crate::domain::probe::EndpointCase {
            address: format!("10.0.{}.{}", number / 250, number % 250),
            ..endpoint_case(None)
        });
        let reach = Reachability::new(&[case(endpoints.collect())]);
        let services = reach.destinations().iter().filter(|one| matches!(one.kind, DestinationKind::Service(_)));
        assert_eq!((services.count(), reach.rate()), (1, 200));
        assert!((150..=MOST).contains(&reach.destinations().len()), "{}", reach.destinations().len());
    }

    #[test]
    fn the_last_request_a_second_after_the_first_decides() {
        let mut reach = Reachability::new(&[case(vec![endpoint_case(None)])]);
        assert_eq!((reach.rate(), reach.rounds(1), reach.rounds(10)), (8, 4, 40));
        let (reached, blocked) = (http(200), sample(28, false));
        for (rows, reaches_all, is_blocked) in [
            // The plugin lets a new pod through, and denies it then.
            (&[(0, 1, &reached), (1, 1, &reached)][..], false, false),
            (&[(0, 5, &blocked), (1, 5, &reached)], false, true),
            // The plugin denies a new pod until it knows it.
            (&[(0, 6, &reached), (1, 6, &reached)], true, false),
        ] {
            for (index, round, sample) in rows {
                reach.record(*index, *round, sample, true);
            }
            assert_eq!((reach.reaches_all(), reach.has_blocked()), (reaches_all, is_blocked), "{rows:?}");
        }
    }

    #[test]
    fn target_ports_are_those_of_the_pods() {
        let ambient = EndpointCase { data_plane: DataPlane::Ambient, port: 9000, ..endpoint_case(None) };
        let ports = target_ports(&[case(vec![endpoint_case(None)]), case(vec![ambient])]);
        assert_eq!(ports.into_iter().collect::<Vec<_>>(), [8080, 9000, 15008]);
    }
}
