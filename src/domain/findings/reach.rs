//! Computes the findings about calls that do not arrive: NetworkPolicies that keep mutual TLS from ambient pods, and, before
//! the first write, what the probe does not reach and would have to prove.

use super::{Code, Finding, Severity};
use crate::domain::namespace_context::NamespaceContext;
use crate::domain::network_policy::{Isolation, hbone_blocked};
use crate::domain::overview::workload;
use crate::domain::reachability::{Barrier, Destination};
use std::collections::BTreeSet;

/// AM-9: pods in ambient mode whose callers are not admitted to the port of mutual TLS.
pub(super) fn find(context: &NamespaceContext, findings: &mut Vec<Finding>) {
    let blocked = hbone_blocked(&context.network_policies, context.snapshot.pods.values());
    for (for_all, severity, message) in [
        (
            true,
            Severity::Error,
            "NetworkPolicies admit callers to these pods, but no caller to TCP port 15008, which all mutual TLS uses in ambient \
             mode: calls from the mesh time out",
        ),
        (
            false,
            Severity::Warning,
            "NetworkPolicies admit callers to these pods that they do not admit to TCP port 15008, which all mutual TLS uses in \
             ambient mode: calls of such callers from the mesh time out",
        ),
    ] {
        let concerned = blocked.iter().filter(|one| one.for_all == for_all);
        let objects: BTreeSet<String> = concerned
            .flat_map(|one| {
                let policies = one.policies.iter().map(|name| format!("networkpolicy/{name}"));
                policies.chain([workload(one.pod)])
            })
            .collect();
        if !objects.is_empty() {
            findings.push(Finding::new(severity, Code::HboneBlocked, message).about(objects));
        }
    }
}

/// One finding for each barrier, about the destinations behind it. `total` is the number of all destinations. Without
/// `isolation` the NetworkPolicies are not known. Only a change to STRICT stops for it.
pub fn probe_blocked(
    blocked: &[(&Destination, Barrier)],
    total: usize,
    isolation: Option<&Isolation>,
    is_enabling: bool,
) -> Vec<Finding> {
    let severity = if is_enabling { Severity::Error } else { Severity::Warning };
    let barriers: BTreeSet<Barrier> = blocked.iter().map(|(_, barrier)| *barrier).collect();
    let finding = |barrier: Barrier| {
        let behind: Vec<&Destination> =
            blocked.iter().filter(|(_, other)| *other == barrier).map(|(destination, _)| *destination).collect();
        let effect = match barrier {
            Barrier::Connection => "the probe cannot connect to them in time",
            Barrier::Name => "their names do not resolve for the probe",
        };
        let (count, cause) = (behind.len(), cause(barrier, isolation));
        let message = format!(
            "{count} of {total} addresses that the proof needs are not reached: {effect}, before any change; {cause}"
        );
        Finding::new(severity, Code::ProbeBlocked, message).about(behind.into_iter().map(Destination::object))
    };
    barriers.into_iter().map(finding).collect()
}

/// What is known about the cause.
fn cause(barrier: Barrier, isolation: Option<&Isolation>) -> String {
    let Some(isolation) = isolation else { return "NetworkPolicies may not be listed".to_owned() };
    let named = |name: &String| format!("networkpolicy/{name}");
    let egress = isolation.egress.iter().map(|name| format!("{} isolates the probe", named(name)));
    let ingress: Vec<String> = isolation.ingress.iter().map(named).collect();
    let ingress = (barrier == Barrier::Connection && !ingress.is_empty())
        .then(|| format!("{} isolates their pods", ingress.join(", ")));
    let causes: Vec<String> = egress.chain(ingress).collect();
    match (causes.is_empty(), barrier) {
        (false, _) => causes.join(", "),
        (true, Barrier::Connection) => "no NetworkPolicy of the namespace isolates them".to_owned(),
        (true, Barrier::Name) => "no NetworkPolicy of the namespace isolates the probe".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reachability::DestinationKind;

    #[test]
    fn what_is_blocked_is_named_with_what_isolates_it() {
        let service =
            Destination { kind: DestinationKind::Service("web:80".into()), host: "web.shop.svc".into(), port: 80 };
        let endpoint =
            Destination { kind: DestinationKind::Endpoint(Some("web-0".into())), host: "10.0.0.1".into(), port: 8080 };
        let blocked = [(&service, Barrier::Name), (&endpoint, Barrier::Connection)];
        let isolation = |ingress: &[&str], egress: Option<&str>| Isolation {
            ingress: ingress.iter().map(|name| (*name).to_owned()).collect(),
            egress: egress.map(str::to_owned),
        };
        for (isolation, connection, name) in [
            (None, "NetworkPolicies may not be listed", "NetworkPolicies may not be listed"),
            (
                Some(isolation(&[], None)),
                "no NetworkPolicy of the namespace isolates them",
                "no NetworkPolicy of the namespace isolates the probe",
            ),
            (
                Some(isolation(&["deny"], Some("deny"))),
                "networkpolicy/deny isolates the probe, networkpolicy/deny isolates their pods",
                "networkpolicy/deny isolates the probe",
            ),
            (
                Some(isolation(&["deny"], None)),
                "networkpolicy/deny isolates their pods",
                "no NetworkPolicy of the namespace isolates the probe",
            ),
        ] {
            let found = probe_blocked(&blocked, 2, isolation.as_ref(), true);
            let [of_connection, of_name] = found.as_slice() else { panic!("{found:?}") };
            assert!(of_connection.message.ends_with(connection), "{}", of_connection.message);
            assert!(of_name.message.ends_with(name), "{}", of_name.message);
            assert!(of_name.message.starts_with("1 of 2 addresses"), "{}", of_name.message);
            assert_eq!((&*of_connection.objects[0], &*of_name.objects[0]), ("pod/web-0", "service/web:80"));
        }
    }

    #[test]
    fn turning_strict_off_is_not_stopped() {
        let endpoint = Destination { kind: DestinationKind::Endpoint(None), host: "10.0.0.1".into(), port: 80 };
        for (is_enabling, severity) in [(true, Severity::Error), (false, Severity::Warning)] {
            let found = probe_blocked(&[(&endpoint, Barrier::Connection)], 1, None, is_enabling);
            assert_eq!((found[0].severity, found[0].objects[0].as_str()), (severity, "10.0.0.1:80"));
        }
    }
}
