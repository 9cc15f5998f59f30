//! Computes the cases of a probe: the endpoints of each target, with what the API objects ask for there. Also holds the
//! observations of a case, which `verdict` judges.

use super::effective::{Effective, PolicyIndex, legacy_server_mode};
use super::identity::PeerIdentity;
use super::inbound::{Bypass, InboundPath};
use super::mesh::{
    DataPlane, Endpoint, EndpointTarget, MtlsMode, Pod, PortRef, Protocol, Service, ServiceKind, ServicePort, Snapshot,
};
use super::mesh_client::MeshClientAnswer;
use super::near_names::did_you_mean;
use super::overview::workload;
use super::port_protocol::PortProtocol;
use super::proxy::ProxyReport;
use super::sample::{Sample, SampleOutcome, classify, gives_up};
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

/// A target on the command line: `SERVICE`, `SERVICE:PORT` or `SERVICE:PORT/PATH`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub service: String,
    /// The rest of the DNS name after the Service, such as `shop.svc`; `None` if the target is not a DNS name. [`cases`]
    /// compares it with the namespace and the cluster's domain.
    pub domain: Option<String>,
    /// `None` is every TCP port.
    pub port: Option<PortRef>,
    /// With the leading slash; `None` if the target has no path.
    pub path: Option<String>,
}

/// A target that cannot be probed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("service {service:?} not found in namespace {namespace:?}")]
    UnknownService {
        service: String,
        namespace: String,
        /// The Services of the namespace.
        known: Vec<String>,
    },
    #[error("service {service:?} has no TCP port {port:?}")]
    UnknownPort {
        service: String,
        /// The port of the target, by number or name.
        port: String,
        /// The Service's TCP ports.
        known: Vec<String>,
    },
    #[error("{host:?} is in namespace {namespace:?}, but the namespace of this command is {current:?}")]
    OtherNamespace {
        host: String,
        /// The namespace in the host.
        namespace: String,
        /// The namespace of the command.
        current: String,
    },
    /// A DNS name that no Service of this cluster has.
    #[error("{host:?} is not the name of a Service in the cluster domain {cluster_domain:?}")]
    NotAService { host: String, cluster_domain: String },
    #[error("{address} is an IP address, not the name of a Service")]
    Address { address: IpAddr },
    #[error("service {service:?} is an ExternalName: an alias, with no endpoints of its own to protect")]
    ExternalName { service: String },
}

impl TargetError {
    /// The text of the `hint:` line, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownService { known, .. } if known.is_empty() => Some("the namespace has no Services".to_owned()),
            Self::UnknownService { service, known, .. }
                if matches!(service.as_str(), "svc" | "service" | "services") =>
            {
                Some(format!("write the name alone, without {service:?}; its Services are: {}", known.join(", ")))
            }
            Self::UnknownService { service, known, .. } => Some(match did_you_mean(service, known) {
                Some(question) => format!("{question} its Services are: {}", known.join(", ")),
                None => format!("its Services are: {}", known.join(", ")),
            }),
            Self::UnknownPort { known, .. } if known.is_empty() => Some("it has no TCP port at all".to_owned()),
            Self::UnknownPort { known, .. } => Some(format!("its TCP ports are: {}", known.join(", "))),
            Self::OtherNamespace { namespace, .. } => Some(format!("pass the namespace: -n {namespace}")),
            Self::Address { .. } => {
                Some("pass the name of the Service; without a target, every Service is asked".to_owned())
            }
            Self::NotAService { .. } => Some(
                "pass SERVICE, SERVICE:PORT or SERVICE:PORT/PATH; --cluster-domain sets the cluster's DNS domain"
                    .to_owned(),
            ),
            Self::ExternalName { .. } => None,
        }
    }
}

impl Target {
    /// The target for all TCP ports of a Service.
    pub fn service(name: &str) -> Self {
        Self { service: name.to_owned(), ..Self::default() }
    }

    /// Checks that a DNS name (`SERVICE.NAMESPACE`, `SERVICE.NAMESPACE.svc` or `SERVICE.NAMESPACE.svc.CLUSTER-DOMAIN`) is
    /// one of a Service in this namespace.
    fn check_domain(&self, namespace: &str, cluster_domain: &str) -> Result<(), TargetError> {
        let Some(domain) = &self.domain else { return Ok(()) };
        let host = format!("{}.{domain}", self.service);
        if let Ok(address) = host.parse() {
            return Err(TargetError::Address { address });
        }
        let (named, rest) = match domain.split_once('.') {
            Some((named, rest)) => (named, Some(rest)),
            None => (domain.as_str(), None),
        };
        let is_service = match rest {
            None | Some("svc") => true,
            Some(rest) => rest.strip_prefix("svc.").is_some_and(|rest| rest == cluster_domain),
        };
        if !is_service {
            return Err(TargetError::NotAService { host, cluster_domain: cluster_domain.to_owned() });
        }
        if named != namespace {
            let (namespace, current) = (named.to_owned(), namespace.to_owned());
            return Err(TargetError::OtherNamespace { host, namespace, current });
        }
        Ok(())
    }
}

/// One ready endpoint of a target, with what the API objects say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointCase {
    /// IP address.
    pub address: String,
    /// Target port.
    pub port: u16,
    /// Name of the pod; `None` if the EndpointSlice names none.
    pub pod: Option<String>,
    pub data_plane: DataPlane,
    /// What takes the probe's connections first.
    pub path: InboundPath,
    /// The mode that the API objects ask for.
    pub mode: Effective,
    /// The `EnvoyFilter` that changes the inbound listeners, as `namespace/name`: what the proxy enforces may be another
    /// mode (EF-1).
    pub envoy_filter: Option<String>,
    /// `/ns/<namespace>/sa/<service account>`: the path of the identity that its certificate must have.
    pub identity: Option<String>,
}

/// One Service port to probe, with its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub service: String,
    pub namespace: String,
    pub port: u16,
    /// May be empty.
    pub port_name: String,
    /// What the port is declared to speak.
    pub protocol: PortProtocol,
    /// The path of the HTTP request.
    pub path: String,
    /// Whether the target has a path; then the start of the answer's body is reported.
    pub explicit_path: bool,
    /// Fully qualified name of the Service.
    pub host: String,
    /// The ready endpoints, whose verdicts make up the target's.
    pub endpoints: Vec<EndpointCase>,
    /// Addresses that are not ready; they are reported, but do not count.
    pub unready: Vec<String>,
}

impl Case {
    /// The target as on the command line: `boards:8080/shareditems`.
    pub fn name(&self) -> String {
        let path = if self.explicit_path { self.path.as_str() } else { "" };
        format!("{}:{}{path}", self.service, self.port)
    }
}

impl EndpointCase {
    /// Whether the API objects allow a rejection: under STRICT, if the mode is not known, or where an `EnvoyFilter` can
    /// make the proxy refuse whatever the mode is. Only there a TLS hello is sent.
    pub fn may_be_rejected(&self) -> bool {
        self.envoy_filter.is_some() || self.mode.mode.is_none_or(|mode| mode == MtlsMode::Strict)
    }
}

impl EndpointCase {
    /// Why no proxy enforces the STRICT that the API objects ask for: the most common cause of plaintext that is accepted
    /// under STRICT. `None` if a proxy does, or if the mode is not STRICT.
    pub fn unguarded(&self) -> Option<String> {
        if self.mode.mode != Some(MtlsMode::Strict) {
            return None;
        }
        let pod = self.pod.as_deref().unwrap_or(&self.address);
        match self.path {
            InboundPath::Direct(Bypass::Excluded(_)) => {
                Some(format!("port {} of {pod} is excluded from its sidecar's capture", self.port))
            }
            InboundPath::Direct(Bypass::AddressFamily) => {
                Some(format!("the sidecar of {pod} does not capture the address family of {}", self.address))
            }
            InboundPath::Direct(_) => Some(format!("no sidecar at {pod}, so no proxy applies the policy")),
            _ => None,
        }
    }
}

impl Case {
    /// Whether no policy is meant for any endpoint: gateways, the proxy's own ports, addresses that are no workload.
    pub fn is_beyond_policies(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.iter().all(|endpoint| endpoint.path.is_beyond_policies())
    }

    /// Whether a rejection is possible at any endpoint.
    pub fn may_be_rejected(&self) -> bool {
        self.endpoints.iter().any(EndpointCase::may_be_rejected)
    }
}

/// A port that a probe leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotProbed {
    /// `service:port`.
    pub name: String,
    pub reason: &'static str,
}

/// The cases of these targets, each once, and the ports that are left out. Without targets: every TCP port of every
/// Service.
pub fn cases(snapshot: &Snapshot, targets: &[Target]) -> Result<(Vec<Case>, Vec<NotProbed>), TargetError> {
    cases_where(snapshot, targets, |_| true)
}

/// The cases of these targets, and the ports that are left out. Without targets: every TCP port of the Services for
/// which `takes` is true.
pub fn cases_where(
    snapshot: &Snapshot,
    targets: &[Target],
    takes: impl Fn(&Service) -> bool,
) -> Result<(Vec<Case>, Vec<NotProbed>), TargetError> {
    let index = PolicyIndex::new(&snapshot.policies);
    let mut cases = Vec::new();
    let mut left_out = Vec::new();
    if targets.is_empty() {
        for service in snapshot.services.iter().filter(|service| takes(service)) {
            if service.kind == ServiceKind::ExternalName {
                left_out.push(NotProbed { name: service.name.clone(), reason: "ExternalName" });
                continue;
            }
            for entry in snapshot.live_endpoints(service) {
                if let EndpointTarget::WorkloadEntry(entry) = &entry.target {
                    let name = format!("workloadentry/{entry} of {}", service.name);
                    left_out.push(NotProbed { name, reason: "only clients in the mesh are led there" });
                }
            }
            for port in &service.ports {
                let case = case(snapshot, &index, service, port, None);
                match reason_to_leave_out(service, port, &case) {
                    None => cases.push(case),
                    Some(reason) => {
                        left_out.push(NotProbed { name: format!("{}:{}", service.name, port.port), reason });
                    }
                }
            }
        }
    }
    for target in targets {
        target.check_domain(&snapshot.namespace, &snapshot.mesh.cluster_domain)?;
        let service = snapshot.service(&target.service).ok_or_else(|| TargetError::UnknownService {
            service: target.service.clone(),
            namespace: snapshot.namespace.clone(),
            known: snapshot.services.iter().map(|service| service.name.clone()).collect(),
        })?;
        if service.kind == ServiceKind::ExternalName {
            return Err(TargetError::ExternalName { service: service.name.clone() });
        }
        let is_wanted = |port: &&ServicePort| target.port.as_ref().is_none_or(|reference| port.is(reference));
        let wanted: Vec<_> = service.tcp_ports().filter(is_wanted).collect();
        if wanted.is_empty() {
            return Err(TargetError::UnknownPort {
                service: service.name.clone(),
                port: target.port.as_ref().map_or_else(|| "any".to_owned(), PortRef::to_string),
                known: service.tcp_ports().map(port_label).collect(),
            });
        }
        cases.extend(wanted.into_iter().map(|port| case(snapshot, &index, service, port, target.path.as_deref())));
    }
    let mut unique: Vec<Case> = Vec::with_capacity(cases.len());
    let mut seen = HashSet::new();
    for case in cases {
        if seen.insert((case.service.clone(), case.port, case.path.clone(), case.explicit_path)) {
            unique.push(case);
        }
    }
    Ok((unique, left_out))
}

/// A case for each declared TCP port of workloads in the mesh that is at no endpoint of a Service. There is no name to
/// request: the address of the first pod takes the place of the Service's own. Ports whose pods have only addresses of IPv6
/// are left out.
pub fn pod_cases(snapshot: &Snapshot) -> (Vec<Case>, Vec<NotProbed>) {
    let index = PolicyIndex::new(&snapshot.policies);
    let of_services = snapshot.services.iter().flat_map(|service| snapshot.live_endpoints(service));
    let known: HashSet<(&str, u16)> = of_services
        .flat_map(|endpoint| {
            let addresses = snapshot.addresses_of(endpoint);
            endpoint.ports.values().flat_map(move |port| addresses.clone().into_iter().map(move |ip| (ip, *port)))
        })
        .collect();
    let mut by_port: BTreeMap<(String, u16), Vec<EndpointCase>> = BTreeMap::new();
    let pods = snapshot.pods.values().filter(|pod| pod.ready && pod.data_plane.is_meshed());
    for pod in pods.filter(|pod| !pod.facts.gateway && !pod.facts.finished) {
        for port in &pod.facts.declared_ports {
            let addresses = pod.addresses.iter().filter(|address| !known.contains(&(address.as_str(), *port)));
            let cases: Vec<EndpointCase> =
                addresses.map(|address| pod_endpoint(snapshot, &index, pod, address, *port)).collect();
            if !cases.is_empty() {
                by_port.entry((workload(pod), *port)).or_default().extend(cases);
            }
        }
    }
    let (mut cases, mut left_out) = (Vec::new(), Vec::new());
    for ((workload, port), endpoints) in by_port {
        let Some(host) = endpoints.iter().map(|endpoint| &endpoint.address).find(|address| !address.contains(':'))
        else {
            left_out.push(NotProbed { name: format!("{workload}:{port}"), reason: "no Service, and only IPv6" });
            continue;
        };
        cases.push(Case {
            host: host.clone(),
            service: workload,
            namespace: snapshot.namespace.clone(),
            port,
            port_name: String::new(),
            protocol: PortProtocol::Undeclared,
            path: "/".to_owned(),
            explicit_path: false,
            endpoints,
            unready: Vec::new(),
        });
    }
    (cases, left_out)
}

fn pod_endpoint(snapshot: &Snapshot, index: &PolicyIndex<'_>, pod: &Pod, address: &str, port: u16) -> EndpointCase {
    let path = pod.inbound_path(address, Some(port));
    EndpointCase {
        address: address.to_owned(),
        port,
        pod: Some(pod.name.clone()),
        data_plane: pod.data_plane,
        path,
        mode: if path.is_beyond_policies() {
            Effective::NONE
        } else if snapshot.policies.legacy_only {
            legacy_server_mode(&snapshot.policies, &pod.namespace, "", 0, None)
        } else {
            index.mode(pod, port)
        },
        envoy_filter: snapshot.inbound_filter(pod),
        identity: Some(format!("/ns/{}/sa/{}", pod.namespace, pod.service_account)),
    }
}

/// For each case, whether its endpoints or modes have changed since the probe started, so that the observation may be
/// incomplete.
pub fn changed(before: &[Case], after: &Snapshot) -> Vec<bool> {
    let index = PolicyIndex::new(&after.policies);
    let is_changed = |old: &Case| current(old, after, &index).is_none_or(|new| new.endpoints != old.endpoints);
    before.iter().map(is_changed).collect()
}

/// The same case in a later snapshot; `None` if its Service or port no longer exists.
pub fn current_case(old: &Case, after: &Snapshot) -> Option<Case> {
    current(old, after, &PolicyIndex::new(&after.policies))
}

fn current(old: &Case, after: &Snapshot, index: &PolicyIndex<'_>) -> Option<Case> {
    let Some(service) = after.service(&old.service) else {
        // No Service has the name of a workload, which has a slash.
        return pod_cases(after).0.into_iter().find(|case| case.service == old.service && case.port == old.port);
    };
    let port = service.tcp_ports().find(|port| port.port == old.port)?;
    Some(case(after, index, service, port, old.explicit_path.then_some(old.path.as_str())))
}

/// Why a port that nobody has named is not probed.
fn reason_to_leave_out(service: &Service, port: &ServicePort, case: &Case) -> Option<&'static str> {
    if port.protocol != Protocol::Tcp {
        return Some("not TCP: mutual TLS never covers it");
    }
    // BY-25: who keeps the endpoints may name any address; those of pods of the namespace are known.
    let is_foreign = |endpoint: &EndpointCase| endpoint.path == InboundPath::Direct(Bypass::NoWorkload);
    let by_hand = service.selector.is_empty() && (case.endpoints.is_empty() || case.endpoints.iter().any(is_foreign));
    by_hand.then_some("no selector: its endpoints are no pods of the namespace")
}

fn port_label(port: &ServicePort) -> String {
    if port.name.is_empty() { port.port.to_string() } else { format!("{} ({})", port.port, port.name) }
}

fn case(
    snapshot: &Snapshot,
    index: &PolicyIndex<'_>,
    service: &Service,
    port: &ServicePort,
    path: Option<&str>,
) -> Case {
    let (ready, unready): (Vec<_>, Vec<_>) = snapshot
        .live_endpoints(service)
        // kube-proxy knows no WorkloadEntry: only clients in the mesh are led there.
        .filter(|endpoint| !matches!(endpoint.target, EndpointTarget::WorkloadEntry(_)))
        .filter_map(|endpoint| Some((endpoint, service.target_port(port, endpoint)?)))
        .partition(|(endpoint, _)| endpoint.ready);
    let mut endpoints: Vec<EndpointCase> = Vec::with_capacity(ready.len());
    let mut known = HashSet::new();
    for (endpoint, target_port) in ready {
        for address in snapshot.addresses_of(endpoint) {
            if known.insert((address, target_port)) {
                endpoints.push(endpoint_case(snapshot, index, (service, port), endpoint, address, target_port));
            }
        }
    }
    Case {
        service: service.name.clone(),
        namespace: snapshot.namespace.clone(),
        port: port.port,
        port_name: port.name.clone(),
        protocol: PortProtocol::of(port),
        path: path.unwrap_or("/").to_owned(),
        explicit_path: path.is_some(),
        host: service.host(&snapshot.namespace, &snapshot.mesh.cluster_domain),
        endpoints,
        unready: unready.into_iter().map(|(endpoint, _)| endpoint.address.clone()).collect(),
    }
}

fn endpoint_case(
    snapshot: &Snapshot,
    index: &PolicyIndex<'_>,
    (service, port): (&Service, &ServicePort),
    endpoint: &Endpoint,
    address: &str,
    target_port: u16,
) -> EndpointCase {
    let pod = snapshot.pod_of(endpoint);
    let path = snapshot.inbound_path(endpoint, address, target_port);
    EndpointCase {
        address: address.to_owned(),
        port: target_port,
        pod: pod.map(|pod| pod.name.clone()),
        data_plane: pod.map_or(DataPlane::None, |pod| pod.data_plane),
        path,
        mode: match pod {
            Some(pod) if !path.is_beyond_policies() => index.service_mode(service, port, pod, target_port),
            _ => Effective::NONE,
        },
        envoy_filter: pod.and_then(|pod| snapshot.inbound_filter(pod)),
        identity: pod.map(|pod| format!("/ns/{}/sa/{}", pod.namespace, pod.service_account)),
    }
}

/// The answer to an ordinary TLS hello (no ALPN, no client certificate).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// curl's exit code; it is reported, but not judged, because it depends on timing.
    pub exit: i32,
    /// Whether the server asked for a client certificate.
    pub certificate_requested: bool,
    /// Whether the server sent a certificate. curl reports the chain only after a complete handshake, which a TLS 1.2
    /// server that demands a client certificate never completes.
    pub certificate_shown: bool,
    /// The certificate chain as DER, leaf first; empty if curl reported none.
    pub chain: Vec<Vec<u8>>,
    /// The result of verifying the chain against the mesh root; `None` if the root cannot be read or there is no chain.
    /// The error completes the sentence "the certificate …".
    pub identity: Option<Result<PeerIdentity, String>>,
}

/// Everything that the probe observed of one case.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Observation {
    /// Samples through the Service's own address.
    pub service: Vec<Sample>,
    /// In the order of the case's endpoints.
    pub endpoints: Vec<EndpointObservation>,
    /// The start of the answer's body, if the target has a path.
    pub body: Option<String>,
    /// What a client in the mesh got from the same target, if one was started.
    pub mesh_client: Option<MeshClientAnswer>,
    /// Whether that client's success counts as evidence, because no authorization policy can explain the refusal.
    pub mesh_client_counts: bool,
}

/// Everything that the probe observed of one endpoint.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EndpointObservation {
    /// Plaintext samples, each on a new connection.
    pub samples: Vec<Sample>,
    /// The TLS hello, if its record arrived.
    pub hello: Option<Hello>,
    /// The report of the endpoint's own proxy; `None` if it was not asked. The error is why there is no report.
    pub proxy: Option<Result<ProxyReport, String>>,
}

/// Endpoints of a data plane where every plaintext sample was refused: only there the proxy's report counts.
pub fn refused_endpoints<'cases, 'seen>(
    plane: DataPlane,
    cases: &'cases [Case],
    seen: &'seen mut [Observation],
) -> impl Iterator<Item = (&'cases EndpointCase, &'seen mut EndpointObservation)> {
    let endpoints = cases.iter().zip(seen).flat_map(|(case, seen)| case.endpoints.iter().zip(&mut seen.endpoints));
    endpoints.filter(move |(case, seen)| {
        let silent = |sample| matches!(classify(sample), SampleOutcome::Reset | SampleOutcome::Closed);
        case.data_plane == plane
            && case.path.enforces_policies()
            && !seen.samples.is_empty()
            && seen.samples.iter().all(silent)
    })
}

/// Indices of the cases without a complete observation because curl gave up at another case. They are probed again.
pub fn cut_off(cases: &[Case], seen: &[Observation], attempts: usize) -> Vec<usize> {
    let codes = |seen: &Observation| {
        let endpoints = seen.endpoints.iter();
        let samples = endpoints.clone().flat_map(|endpoint| &endpoint.samples).chain(&seen.service);
        let hellos = endpoints.filter_map(|endpoint| endpoint.hello.as_ref());
        samples.map(|sample| sample.exit).chain(hellos.map(|hello| hello.exit)).collect::<Vec<_>>()
    };
    let ended: Vec<bool> = seen.iter().map(|seen| codes(seen).into_iter().any(gives_up)).collect();
    if !ended.contains(&true) {
        return Vec::new();
    }
    let is_whole = |(case, seen): (&EndpointCase, &EndpointObservation)| {
        seen.samples.len() >= attempts && (seen.hello.is_some() || !case.may_be_rejected())
    };
    let rows = cases.iter().zip(seen).zip(ended).enumerate();
    rows.filter(|(_, ((case, seen), ended))| {
        let whole = seen.service.len() >= attempts && case.endpoints.iter().zip(&seen.endpoints).all(is_whole);
        !ended && !whole
    })
    .map(|(index, _)| index)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::envoy_filter::EnvoyFilter;
    use crate::domain::testing::{case_with_path, policy, shop};

    #[test]
    fn a_host_must_be_a_service_of_the_namespace() {
        let snapshot = shop(&["boards"]);
        let ask = |domain: &str| {
            let target = Target { domain: Some(domain.to_owned()), ..Target::service("boards") };
            cases(&snapshot, &[target]).map(|(cases, _)| cases.len()).map_err(|error| (error.to_string(), error.hint()))
        };
        for domain in ["shop", "shop.svc", "shop.svc.cluster.local"] {
            assert_eq!(ask(domain), Ok(1), "{domain}");
        }
        for other in ["other", "default.svc", "other.svc.cluster.local"] {
            let (message, hint) = ask(other).unwrap_err();
            let namespace = other.split('.').next().unwrap();
            assert!(message.contains(&format!("is in namespace {namespace:?}")), "{other}: {message}");
            assert_eq!(hint, Some(format!("pass the namespace: -n {namespace}")));
        }
        for foreign in ["evil.example.com", "shop.example", "shop.svc.example.com", "shop.svc.cluster", "shop.svc.x"] {
            let (message, _) = ask(foreign).unwrap_err();
            assert!(message.contains("is not the name of a Service"), "{foreign}: {message}");
        }
    }

    #[test]
    fn an_endpoint_knows_the_envoy_filter_of_its_listeners() {
        let of = |namespace: &str, changes_inbound: bool, data_plane: DataPlane| {
            let mut snapshot = shop(&["boards"]);
            snapshot.policies.peer = vec![policy("default", 1, Some(MtlsMode::Permissive))];
            snapshot.pods.get_mut("boards-0").unwrap().data_plane = data_plane;
            let filter = EnvoyFilter {
                namespace: namespace.into(),
                name: "tune".into(),
                changes_inbound,
                ..EnvoyFilter::default()
            };
            snapshot.envoy_filters = vec![filter];
            let case = cases(&snapshot, &[]).unwrap().0.remove(0);
            (case.endpoints[0].envoy_filter.clone(), case.may_be_rejected())
        };
        let named = |name: &str| (Some(name.to_owned()), true);
        assert_eq!(of("shop", true, DataPlane::Sidecar), named("shop/tune"));
        assert_eq!(of("istio-system", true, DataPlane::Sidecar), named("istio-system/tune"));
        for (namespace, changes_inbound, data_plane) in [
            ("other", true, DataPlane::Sidecar),
            ("shop", false, DataPlane::Sidecar),
            ("shop", true, DataPlane::None),
            ("shop", true, DataPlane::Ambient),
        ] {
            assert_eq!(of(namespace, changes_inbound, data_plane), (None, false), "{namespace} {data_plane:?}");
        }
    }

    #[test]
    fn a_target_that_is_passed_twice_is_probed_once() {
        let snapshot = shop(&["api", "web"]);
        let target =
            |service: &str, path: Option<&str>| Target { path: path.map(str::to_owned), ..Target::service(service) };
        let targets = [target("api", None), target("web", None), target("api", None), target("api", Some("/x"))];
        let (cases, _) = cases(&snapshot, &targets).unwrap();
        let named: Vec<_> = cases.iter().map(|case| (case.service.as_str(), case.path.as_str())).collect();
        assert_eq!(named, [("api", "/"), ("web", "/"), ("api", "/x")]);
    }

    #[test]
    fn cases_that_curl_did_not_reach_after_giving_up_are_found() {
        let mut case = case_with_path();
        case.endpoints[0].mode.mode = Some(MtlsMode::Strict);
        let sample = |exit| Sample { exit, ..Sample::default() };
        let seen = |endpoint: &[i32], hello: Option<i32>, service: &[i32]| Observation {
            service: service.iter().copied().map(sample).collect(),
            endpoints: vec![EndpointObservation {
                samples: endpoint.iter().copied().map(sample).collect(),
                hello: hello.map(|exit| Hello { exit, ..Hello::default() }),
                proxy: None,
            }],
            ..Observation::default()
        };
        let whole = seen(&[56, 56], Some(55), &[56, 56]);
        let rows = [
            ("nothing was lost", vec![whole.clone(), whole.clone()], vec![]),
            ("lost, but not by curl", vec![whole.clone(), seen(&[56], None, &[])], vec![]),
            ("at a sample", vec![whole.clone(), seen(&[27], None, &[]), seen(&[], None, &[])], vec![2]),
            (
                "at a sample of a Service",
                vec![seen(&[56, 56], Some(55), &[27]), seen(&[56, 56], Some(55), &[])],
                vec![1],
            ),
            (
                "at a hello",
                vec![seen(&[56, 56], Some(27), &[56, 56]), seen(&[56, 56], None, &[56, 56]), whole],
                vec![1],
            ),
        ];
        for (what, seen, expected) in rows {
            let cases = vec![case.clone(); seen.len()];
            assert_eq!(cut_off(&cases, &seen, 2), expected, "{what}");
        }
    }
}
