//! Computes what each endpoint of a Service is: EndpointSlices name pods, but not always, and know nothing of
//! `WorkloadEntries`. For snapshots.

use super::mesh::{Endpoint, EndpointTarget, Pod, Service, ServicePort, Snapshot, WorkloadEntry};
use super::sidecar::{self, ScopedWorkload};
use std::collections::{BTreeMap, HashMap};

/// Completes the endpoints and the listeners of pods.
pub fn complete(snapshot: &mut Snapshot) {
    add_listeners(snapshot);
    complete_endpoints(snapshot);
}

/// Gives each pod the `ingress` listeners of the `Sidecar` that applies to it.
fn add_listeners(snapshot: &mut Snapshot) {
    for pod in snapshot.pods.values_mut() {
        let Pod { namespace, labels, revision, .. } = &*pod;
        let workload = ScopedWorkload { namespace, labels, revision: revision.as_deref() };
        if let Some(sidecar) = sidecar::of_workload(&snapshot.sidecars, workload) {
            pod.ingress.clone_from(&sidecar.ingress);
        }
    }
}

/// Completes the endpoints of every Service: an address that is a live pod's is that pod, whoever wrote the slice, and a
/// selector matches `WorkloadEntries` too (BY-30).
fn complete_endpoints(snapshot: &mut Snapshot) {
    let Snapshot { services, pods, workload_entries, .. } = snapshot;
    let by_address: HashMap<&str, &str> = pods
        .values()
        .filter(|pod| !pod.facts.finished && !pod.facts.host_network)
        .flat_map(|pod| pod.addresses.iter().map(|address| (address.as_str(), pod.name.as_str())))
        .collect();
    for service in services {
        for endpoint in service.endpoints.iter_mut().filter(|endpoint| endpoint.target == EndpointTarget::Address) {
            if let Some(pod) = by_address.get(endpoint.address.as_str()) {
                endpoint.target = EndpointTarget::Pod((*pod).to_owned());
            }
        }
        let selected = workload_entries.iter().filter(|(_, entry)| service.selects(&entry.workload.labels));
        let found: Vec<Endpoint> = selected.map(|(name, entry)| endpoint_of(service, name, entry)).collect();
        service.endpoints.extend(found);
    }
}

fn endpoint_of(service: &Service, name: &str, entry: &WorkloadEntry) -> Endpoint {
    let target = |port: &ServicePort| entry.ports.get(&port.name).copied().or_else(|| port.target_number());
    let ports: BTreeMap<String, u16> =
        service.ports.iter().filter_map(|port| Some((port.name.clone(), target(port)?))).collect();
    Endpoint {
        address: entry.address.clone(),
        ready: true,
        terminating: false,
        target: EndpointTarget::WorkloadEntry(name.to_owned()),
        ports,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::PortRef;
    use crate::domain::sidecar::{IngressListener, Sidecar};
    use crate::domain::testing::shop;

    fn target(change: impl FnOnce(&mut Snapshot)) -> Vec<EndpointTarget> {
        let mut snapshot = shop(&["web"]);
        let pod = snapshot.pods.get_mut("web-0").expect("a pod");
        pod.addresses = vec!["10.0.0.1".into(), "fd00::1".into()];
        snapshot.services[0].endpoints[0].target = EndpointTarget::Address;
        change(&mut snapshot);
        complete(&mut snapshot);
        snapshot.services[0].endpoints.iter().map(|endpoint| endpoint.target.clone()).collect()
    }

    #[test]
    fn the_address_of_a_live_pod_is_that_pod() {
        let pod = || vec![EndpointTarget::Pod("web-0".into())];
        assert_eq!(target(|_| {}), pod());
        assert_eq!(target(|snapshot| snapshot.services[0].endpoints[0].address = "fd00::1".into()), pod());
        assert_eq!(target(|snapshot| snapshot.services[0].selector.clear()), pod(), "a slice that an operator keeps");
        let other = |snapshot: &mut Snapshot| snapshot.services[0].endpoints[0].address = "192.0.2.1".into();
        assert_eq!(target(other), [EndpointTarget::Address]);
        let ended = |snapshot: &mut Snapshot| snapshot.pods.get_mut("web-0").unwrap().facts.finished = true;
        assert_eq!(target(ended), [EndpointTarget::Address]);
    }

    #[test]
    fn the_oldest_sidecar_that_selects_a_pod_gives_it_listeners() {
        let sidecar = |created, label: Option<&str>, port| Sidecar {
            namespace: "shop".into(),
            created,
            selector: label.map(|label| [("app".to_owned(), label.to_owned())].into()),
            ingress: vec![IngressListener { port, ..IngressListener::default() }],
            ..Sidecar::default()
        };
        let mut snapshot = shop(&["web", "api"]);
        snapshot.sidecars =
            vec![sidecar(1, None, 1), sidecar(3, Some("web"), 3), sidecar(2, Some("web"), 2), sidecar(0, Some("x"), 9)];
        complete(&mut snapshot);
        assert_eq!((snapshot.pods["web-0"].ingress[0].port, snapshot.pods["api-0"].ingress[0].port), (2, 1));
    }

    #[test]
    fn a_selector_matches_workload_entries_too() {
        let entry = |label: &str| WorkloadEntry {
            address: "192.0.2.9".into(),
            workload: Pod { labels: [("app".to_owned(), label.to_owned())].into(), ..Pod::default() },
            ..WorkloadEntry::default()
        };
        let found = |label: &str| {
            let mut snapshot = shop(&["web"]);
            snapshot.services[0].ports[0].target_port = Some(PortRef::Number(8443));
            snapshot.workload_entries.insert("vm".into(), entry(label));
            complete(&mut snapshot);
            let last = snapshot.services[0].endpoints.last().expect("an endpoint");
            (last.target.clone(), last.ports[""])
        };
        assert_eq!(found("web"), (EndpointTarget::WorkloadEntry("vm".into()), 8443));
        assert_eq!(found("other"), (EndpointTarget::Pod("web-0".into()), 8080));
    }
}
