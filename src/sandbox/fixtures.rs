//! The objects of a new sandbox: the demo application of the walk-through, the objects of the mesh, and on request the
//! look-alike servers.

use super::access_log::AccessLog;
use super::app::{App, Stats};
use super::clock::now;
use super::injection::inject;
use super::log::Log;
use super::loopback;
use super::mesh::{Network, PodPort};
use super::node::ProxyLogs;
use super::policy::Place;
use super::resource::{
    CONFIG_MAP, CRD, DEPLOYMENT, ENDPOINT_SLICE, NAMESPACE as NAMESPACES, POD, Resource, SERVICE, SERVICE_ACCOUNT,
};
use super::scenario::{NAMESPACE, ROOT_NAMESPACE, SHOP};
use super::schema::Schemas;
use super::store::{Store, Write};
use super::tasks::Tasks;
use super::tls::Authority;
use super::write::new_uid;
use crate::domain::mesh::{Capture, DataPlane, Pod, PodFacts};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

/// A server whose answers resemble those of a STRICT or PERMISSIVE sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookalike {
    /// `dead-http:8080`: nothing listens behind the sidecar, which answers 503 itself.
    DeadHttp,
    /// `dead-tcp:9000`: nothing listens behind the sidecar, which resets the connection.
    DeadTcp,
    /// `resetting:9000`: the application resets every connection, as a STRICT sidecar does.
    Resetting,
    /// `closing:5432`: the application closes every connection without a byte, as a database does.
    Closing,
    /// `forged:9443`: the application requires mutual TLS and shows its pod's SPIFFE name, signed by another authority.
    Forged,
    /// `half-meshed:8080`: six endpoints, one of them without a sidecar.
    HalfMeshed,
    /// `excluded:8080`: the sidecar does not capture the port.
    Excluded,
    /// `empty:8080`: no endpoints.
    Empty,
    /// `silent:9000`: accepts, reads, and never answers.
    Silent,
    /// `unreachable:8080`: no connection is established, as where a NetworkPolicy drops the packets.
    Unreachable,
    /// `rude:9000`: answers with headers that are not UTF-8, and longer than old versions of curl accept.
    Rude,
}

/// The namespace of the client outside the mesh.
const OUTSIDE: &str = "outside";

/// The address of the client outside the mesh.
pub(super) const LEGACY_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 2, 1);

/// What runs in a pod.
#[derive(Debug, Clone, Copy)]
enum Program {
    Web,
    Stats,
    Echo,
    Silent,
    Rude,
    Resetting,
    Closing,
    Forged,
    Dead,
    Unreachable,
}

/// A Service with the pods behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spec {
    namespace: &'static str,
    name: &'static str,
    port: u16,
    port_name: &'static str,
    program: Program,
    /// Number of pods with a sidecar, and of pods without.
    pods: (usize, usize),
    /// Whether the sidecars do not capture the port.
    excluded: bool,
    /// The label `tier` of the pods.
    tier: Option<&'static str>,
}

const fn spec(name: &'static str, port: u16, port_name: &'static str, program: Program) -> Spec {
    Spec { namespace: NAMESPACE, name, port, port_name, program, pods: (1, 0), excluded: false, tier: None }
}

/// The demo application.
pub(super) const DEMO: [Spec; 5] = [
    spec("app-ui", 8080, "http", Program::Web),
    spec("boards", 8080, "http", Program::Web),
    spec("boards-mongodb", 27017, "mongo", Program::Echo),
    spec("context-scraper", 9100, "http", Program::Stats),
    spec("userprofile", 8080, "http", Program::Web),
];

/// The application in the namespace `shop`; `payments` has no sidecar.
pub(super) const SHOP_SERVICES: [Spec; 4] = [
    Spec { namespace: SHOP, tier: Some("backend"), ..spec("boards", 8080, "http", Program::Web) },
    Spec { namespace: SHOP, ..spec("legacy", 8080, "http", Program::Web) },
    Spec { namespace: SHOP, pods: (0, 1), ..spec("payments", 8080, "http", Program::Web) },
    Spec { namespace: SHOP, tier: Some("backend"), pods: (2, 0), ..spec("web", 8080, "http", Program::Web) },
];

impl Lookalike {
    pub(super) const fn spec(self) -> Spec {
        match self {
            Self::DeadHttp => spec("dead-http", 8080, "http", Program::Dead),
            Self::DeadTcp => spec("dead-tcp", 9000, "tcp", Program::Dead),
            Self::Resetting => spec("resetting", 9000, "tcp", Program::Resetting),
            Self::Closing => spec("closing", 5432, "tcp-postgres", Program::Closing),
            Self::Forged => spec("forged", 9443, "tcp", Program::Forged),
            Self::HalfMeshed => Spec { pods: (5, 1), ..spec("half-meshed", 8080, "http", Program::Web) },
            Self::Excluded => Spec { excluded: true, ..spec("excluded", 8080, "http", Program::Web) },
            Self::Empty => Spec { pods: (0, 0), ..spec("empty", 8080, "http", Program::Web) },
            Self::Silent => spec("silent", 9000, "tcp", Program::Silent),
            Self::Unreachable => spec("unreachable", 8080, "http", Program::Unreachable),
            Self::Rude => spec("rude", 9000, "tcp", Program::Rude),
        }
    }
}

impl Spec {
    /// The host that a `DestinationRule` names.
    pub(super) fn host(&self) -> String {
        format!("{}.{}.svc.cluster.local", self.name, self.namespace)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn namespace(&self) -> &'static str {
        self.namespace
    }

    /// The metadata of an object of the Service.
    fn metadata(&self, name: &str, labels: &Value) -> Value {
        json!({"name": name, "namespace": self.namespace, "labels": labels})
    }

    fn pod_labels(&self) -> BTreeMap<String, String> {
        let labels = [("app", Some(self.name)), ("version", Some("v1")), ("tier", self.tier)];
        labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    }
}

/// Stores an object of the fixtures with the metadata that a server adds.
fn put(store: &Store, resource: &'static Resource, mut object: Value) -> Result<Arc<Value>> {
    let namespace =
        if resource.namespaced { object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE) } else { "" }.to_owned();
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    object["apiVersion"] = resource.api_version(resource.versions[0]).into();
    object["kind"] = resource.kind.into();
    if resource.namespaced {
        object["metadata"]["namespace"] = namespace.clone().into();
    }
    object["metadata"]["uid"] = new_uid().into();
    object["metadata"]["creationTimestamp"] = now().into();
    store.write(resource, &namespace, &name, |_| Ok(Write::Put(object))).map_err(|status| anyhow!("{status:?}"))
}

/// Namespaces, those of the applications among them, the mesh's configuration and the definitions of its kinds.
pub(super) fn install_mesh(
    store: &Store,
    schemas: &Schemas,
    catalogue: &[&'static Resource],
    root: &str,
    applications: &BTreeSet<&'static str>,
) -> Result<()> {
    let others = ["default", ROOT_NAMESPACE, OUTSIDE].map(|name| (name, false));
    for (name, injected) in others.into_iter().chain(applications.iter().map(|name| (*name, true))) {
        let mut labels = json!({"kubernetes.io/metadata.name": name});
        if injected {
            labels["istio-injection"] = "enabled".into();
        }
        let object = json!({"metadata": {"name": name, "labels": labels}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        put(store, &NAMESPACES, object)?;
        put(
            store,
            &CONFIG_MAP,
            json!({"metadata": {"name": "istio-ca-root-cert", "namespace": name}, "data": {"root-cert.pem": root}}),
        )?;
        put(store, &SERVICE_ACCOUNT, json!({"metadata": {"name": "default", "namespace": name}}))?;
    }
    let mesh = format!(
        "accessLogFile: /dev/stdout\ndefaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\nenablePrometheusMerge: true\nrootNamespace: {ROOT_NAMESPACE}\ntrustDomain: cluster.local"
    );
    let labels = json!({"istio.io/rev": "default", "release": "istio"});
    let data = json!({"mesh": mesh, "meshNetworks": "networks: {}"});
    put(
        store,
        &CONFIG_MAP,
        json!({"metadata": {"name": "istio", "namespace": ROOT_NAMESPACE, "labels": labels}, "data": data}),
    )?;
    for definition in catalogue.iter().filter_map(|resource| schemas.definition(resource)) {
        put(store, &CRD, definition)?;
    }
    Ok(())
}

/// Creates Services with their pods, their objects and their sockets.
pub(super) struct Installer<'a> {
    pub(super) store: &'a Store,
    pub(super) network: &'a mut Network,
    pub(super) tasks: &'a Arc<Tasks>,
    pub(super) authority: &'a Authority,
    /// Has the same name as the authority of the mesh, and another key.
    pub(super) foreign: &'a Authority,
    pub(super) stats: &'a Arc<Stats>,
    /// The logs of the sidecars.
    pub(super) proxies: &'a mut ProxyLogs,
    /// Number of pods created so far; gives each its address.
    pub(super) pods: u8,
}

impl Installer<'_> {
    pub(super) async fn install(&mut self, spec: &Spec, index: u8) -> Result<()> {
        let cluster_ip = Ipv4Addr::new(10, 96, 0, 10 + index);
        let labels = json!({"app": spec.name});
        let is_unreachable = matches!(spec.program, Program::Unreachable);
        let mut objects = Vec::new();
        let mut pod_ports = Vec::new();
        for number in 0..spec.pods.0 + spec.pods.1 {
            self.pods += 1;
            let address = Ipv4Addr::new(10, 244, 0, 1 + self.pods);
            let name = format!("{}-7d9c5b8f46-{:05}", spec.name, self.pods);
            let meshed = number < spec.pods.0;
            objects.push((address, put(self.store, &POD, pod_object(spec, &name, address, meshed))?));
            let pod_port = self.pod_port(spec, &name, address, meshed)?;
            if is_unreachable {
                self.network.add_unreachable((address, spec.port))?;
            } else if meshed || !matches!(spec.program, Program::Dead) {
                self.network.add_pod(address, &pod_port, self.tasks).await?;
            }
            pod_ports.push(pod_port);
        }
        if is_unreachable {
            self.network.add_unreachable((cluster_ip, spec.port))?;
        } else {
            self.network.add_service((cluster_ip, spec.port), pod_ports, self.tasks).await?;
        }
        put(self.store, &SERVICE_ACCOUNT, json!({"metadata": {"name": spec.name, "namespace": spec.namespace}}))?;
        put(self.store, &SERVICE, service_object(spec, cluster_ip))?;
        put(self.store, &ENDPOINT_SLICE, slice_object(spec, &objects))?;
        let replicas = objects.len();
        put(
            self.store,
            &DEPLOYMENT,
            json!({
                "metadata": spec.metadata(spec.name, &labels),
                "spec": {
                    "replicas": replicas, "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": spec.name}]}},
                },
                "status": {"replicas": replicas, "readyReplicas": replicas},
            }),
        )?;
        Ok(())
    }

    fn pod_port(&mut self, spec: &Spec, name: &str, address: Ipv4Addr, meshed: bool) -> Result<Arc<PodPort>> {
        let spiffe = format!("spiffe://cluster.local/ns/{}/sa/{}", spec.namespace, spec.name);
        let app = match spec.program {
            Program::Web => App::Web(name.to_owned()),
            Program::Stats => App::Stats(Arc::clone(self.stats)),
            Program::Echo => App::Echo,
            Program::Silent => App::Silent,
            Program::Rude => App::Rude,
            Program::Resetting => App::Resetting,
            Program::Closing => App::Closing,
            Program::Forged => App::OwnTls(self.foreign.server(&spiffe)?),
            Program::Dead | Program::Unreachable => App::Dead,
        };
        let pod = Pod {
            name: name.to_owned(),
            namespace: spec.namespace.to_owned(),
            labels: spec.pod_labels(),
            service_account: spec.name.to_owned(),
            data_plane: if meshed { DataPlane::Sidecar } else { DataPlane::None },
            revision: meshed.then(|| "default".to_owned()),
            ready: true,
            capture: if spec.excluded { Capture::AllBut(vec![spec.port]) } else { Capture::All },
            facts: PodFacts::default(),
            ..Pod::default()
        };
        let place = Place {
            pod,
            service: spec.name.to_owned(),
            port: spec.port,
            target_port: spec.port,
            port_name: spec.port_name.to_owned(),
        };
        let identity = self.authority.server(&spiffe)?;
        let log = Arc::new(Log::of_proxy());
        if meshed {
            self.proxies.insert(name.to_owned(), Arc::clone(&log));
        }
        let access_log = AccessLog::new(log, address.into(), spec.port);
        let (http, socket) = (spec.port_name == "http", OnceLock::new());
        Ok(Arc::new(PodPort { place, http, app, identity, access_log, socket }))
    }
}

/// A workload outside the mesh that calls `boards` in plaintext: its Deployment and its pod.
pub(super) fn install_legacy_client(store: &Store) -> Result<()> {
    let (name, labels) = ("legacy-client", json!({"app": "legacy-client"}));
    let pod_labels = json!({"app": name, "pod-template-hash": "6d5f7c9b4"});
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "legacy-client-6d5f7c9b4", "uid": new_uid(), "controller": true,
    }]);
    let metadata = |name: &str, labels: &Value| json!({"name": name, "namespace": OUTSIDE, "labels": labels});
    put(
        store,
        &DEPLOYMENT,
        json!({
            "metadata": metadata(name, &labels),
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}},
            "status": {"replicas": 1, "readyReplicas": 1},
        }),
    )?;
    let mut pod = json!({
        "metadata": metadata("legacy-client-6d5f7c9b4-00001", &pod_labels),
        "spec": {
            "serviceAccountName": "default", "nodeName": "sandbox", "restartPolicy": "Always",
            "containers": [{"name": name, "image": "sandbox/app"}],
        },
        "status": running_status(name, LEGACY_CLIENT),
    });
    pod["metadata"]["ownerReferences"] = owner;
    put(store, &POD, pod).map(drop)
}

fn pod_object(spec: &Spec, name: &str, address: Ipv4Addr, meshed: bool) -> Value {
    let mut pod = json!({
        "metadata": spec.metadata(name, &json!(spec.pod_labels())),
        "spec": {
            "serviceAccountName": spec.name, "nodeName": "sandbox", "restartPolicy": "Always",
            "containers": [{"name": spec.name, "image": "sandbox/app", "ports": [{"containerPort": spec.port}]}],
        },
    });
    if meshed {
        inject(&mut pod);
    } else {
        pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "false".into();
    }
    if spec.excluded {
        pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = spec.port.to_string().into();
    }
    pod["status"] = running_status(spec.name, address);
    if meshed {
        pod["status"]["initContainerStatuses"] = json!([container_status("istio-proxy")]);
    }
    pod
}

/// The status of a pod whose only container runs.
fn running_status(container: &str, address: Ipv4Addr) -> Value {
    let condition =
        |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    json!({
        "phase": "Running", "hostIP": loopback::NODE, "podIP": address, "podIPs": [{"ip": address}], "startTime": now(),
        "conditions": conditions,
        "containerStatuses": [container_status(container)],
    })
}

fn container_status(name: &str) -> Value {
    json!({
        "name": name, "image": "", "imageID": "", "ready": true, "started": true, "restartCount": 0,
        "state": {"running": {"startedAt": now()}}, "lastState": {},
    })
}

fn service_object(spec: &Spec, cluster_ip: Ipv4Addr) -> Value {
    json!({
        "metadata": spec.metadata(spec.name, &json!({"app": spec.name})),
        "spec": {
            "type": "ClusterIP", "clusterIP": cluster_ip, "clusterIPs": [cluster_ip], "selector": {"app": spec.name},
            "ports": [{"name": spec.port_name, "port": spec.port, "protocol": "TCP", "targetPort": spec.port}],
        },
        "status": {"loadBalancer": {}},
    })
}

fn slice_object(spec: &Spec, pods: &[(Ipv4Addr, Arc<Value>)]) -> Value {
    let endpoints: Vec<Value> = pods
        .iter()
        .map(|(address, pod)| {
            let target = json!({"kind": "Pod", "name": pod["metadata"]["name"], "namespace": spec.namespace, "uid": pod["metadata"]["uid"]});
            json!({
                "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "sandbox", "targetRef": target,
            })
        })
        .collect();
    let labels = json!({
        "app": spec.name, "kubernetes.io/service-name": spec.name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    json!({
        "metadata": spec.metadata(&format!("{}-sbx01", spec.name), &labels),
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": spec.port_name, "port": spec.port, "protocol": "TCP"}],
    })
}
