//! What takes a connection to a port of a pod first: a proxy of the mesh, or the application itself. A policy's mode
//! holds only at ports that a proxy takes. For overviews, plans and verdicts.

use super::mesh::{Capture, DataPlane, Endpoint, EndpointTarget, Pod, SIDECAR_PORTS, Snapshot};
use super::sidecar::IngressListener;
use std::fmt;

/// What takes a connection to one port of one address first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InboundPath {
    /// The pod's sidecar, in the mode of the policies.
    Sidecar,
    /// The node's ztunnel, in the mode of the policies as the ambient mesh reads them.
    Ztunnel,
    /// A gateway or waypoint: its own listeners decide, not the policies (DP-4).
    Gateway,
    /// The proxy's own port, which answers plaintext in every mode (BY-3).
    ProxyPort,
    /// The sidecar, with TLS of the application's own in place of the policies' mode (BY-34).
    OwnTls,
    /// The pod is not fully enrolled in the ambient mesh.
    Pending,
    /// No proxy.
    Direct(Bypass),
}

/// Why no proxy takes the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bypass {
    /// The pod has no proxy.
    NoProxy,
    /// The pod uses the network of its node (BY-10).
    HostNetwork,
    /// The address belongs to no workload of the namespace, so no policy applies to it.
    NoWorkload,
    /// The proxy does not capture the port (BY-1, BY-2, BY-4, BY-7).
    Excluded(ExcludedBy),
    /// The sidecar captures the other address family only (BY-24).
    AddressFamily,
}

/// Who excluded a port from capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExcludedBy {
    /// The owner of the pod, by annotation.
    Annotation,
    /// The values of Istio's installation or its injection template.
    Installation,
}

impl InboundPath {
    /// Whether the policies' mode is enforced.
    pub const fn enforces_policies(self) -> bool {
        matches!(self, Self::Sidecar | Self::Ztunnel)
    }

    /// Whether a proxy is there, and the port is excluded from its capture.
    pub const fn is_excluded(self) -> bool {
        matches!(self, Self::Direct(Bypass::Excluded(_) | Bypass::AddressFamily))
    }

    /// Whether no policy is meant for it: a mode that is asked for the namespace says nothing about it.
    pub const fn is_beyond_policies(self) -> bool {
        matches!(self, Self::Gateway | Self::ProxyPort | Self::OwnTls | Self::Direct(Bypass::NoWorkload))
    }
}

impl fmt::Display for InboundPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar => "sidecar",
            Self::Ztunnel => "ztunnel",
            Self::Gateway => "gateway",
            Self::ProxyPort => "port of the proxy itself",
            Self::OwnTls => "TLS of a Sidecar's own",
            Self::Pending => "not yet enrolled",
            Self::Direct(Bypass::NoProxy) => "no proxy",
            Self::Direct(Bypass::HostNetwork) => "host network",
            Self::Direct(Bypass::NoWorkload) => "no pod of the namespace",
            Self::Direct(Bypass::Excluded(_)) => "port not captured",
            Self::Direct(Bypass::AddressFamily) => "address family not captured",
        })
    }
}

impl Pod {
    /// What takes a connection to `port` of one of the pod's addresses; `None` is any port that nothing excludes.
    pub fn inbound_path(&self, address: &str, port: Option<u16>) -> InboundPath {
        match self.data_plane {
            DataPlane::None if self.facts.host_network => InboundPath::Direct(Bypass::HostNetwork),
            DataPlane::None => InboundPath::Direct(Bypass::NoProxy),
            DataPlane::Pending => InboundPath::Pending,
            DataPlane::Sidecar if self.facts.gateway => InboundPath::Gateway,
            DataPlane::Sidecar if port.is_some_and(|port| SIDECAR_PORTS.contains(&port)) => InboundPath::ProxyPort,
            DataPlane::Sidecar if self.listener(port).is_some_and(|listener| listener.own_tls) => InboundPath::OwnTls,
            // What Envoy binds itself needs no capture.
            DataPlane::Sidecar if self.listener(port).is_some_and(|listener| self.is_bound(listener, address)) => {
                InboundPath::Sidecar
            }
            _ if port.is_some_and(|port| !self.capture.covers(port)) => {
                InboundPath::Direct(Bypass::Excluded(self.excluded_by(port)))
            }
            DataPlane::Sidecar if !self.captures_family(address) => InboundPath::Direct(Bypass::AddressFamily),
            DataPlane::Sidecar => InboundPath::Sidecar,
            DataPlane::Ambient => InboundPath::Ztunnel,
        }
    }

    fn listener(&self, port: Option<u16>) -> Option<&IngressListener> {
        self.ingress.iter().find(|listener| Some(listener.port) == port)
    }

    fn is_bound(&self, listener: &IngressListener, address: &str) -> bool {
        listener.is_bound_to(address, !self.without_redirection)
            && (listener.bind.is_some() || self.captures_family(address))
    }

    fn excluded_by(&self, port: Option<u16>) -> ExcludedBy {
        let asked = port.is_some_and(|port| !self.annotated_capture.covers(port));
        if asked || self.annotated_capture == Capture::Nothing {
            ExcludedBy::Annotation
        } else {
            ExcludedBy::Installation
        }
    }

    /// Without support of dual stack a sidecar captures the family of the pod's first address (BY-24).
    fn captures_family(&self, address: &str) -> bool {
        let is_v6 = |address: &str| address.contains(':');
        self.dual_stack || self.addresses.first().is_none_or(|first| is_v6(first) == is_v6(address))
    }
}

impl Snapshot {
    /// What takes a connection to `port` of an address of the endpoint first. A machine without a proxy is nothing that a
    /// policy is meant for.
    pub fn inbound_path(&self, endpoint: &Endpoint, address: &str, port: u16) -> InboundPath {
        let is_machine = matches!(endpoint.target, EndpointTarget::WorkloadEntry(_));
        match self.workload_of(endpoint) {
            Some(workload) if !is_machine || workload.data_plane.is_meshed() => {
                workload.inbound_path(address, Some(port))
            }
            _ => InboundPath::Direct(Bypass::NoWorkload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sidecar::CaptureMode;
    use crate::domain::testing::pod;

    type Change = fn(&mut Pod);

    #[test]
    fn the_first_that_takes_a_connection() {
        use InboundPath::{Direct, Gateway, Pending, ProxyPort, Sidecar, Ztunnel};
        let rows: [(&str, Change, &str, u16, InboundPath); 14] = [
            ("a sidecar", |_| {}, "10.0.0.1", 8080, Sidecar),
            ("its metrics", |_| {}, "10.0.0.1", 15090, ProxyPort),
            ("no proxy", |pod| pod.data_plane = DataPlane::None, "10.0.0.1", 15090, Direct(Bypass::NoProxy)),
            ("a ztunnel", |pod| pod.data_plane = DataPlane::Ambient, "10.0.0.1", 8080, Ztunnel),
            ("half enrolled", |pod| pod.data_plane = DataPlane::Pending, "10.0.0.1", 8080, Pending),
            ("a gateway", |pod| pod.facts.gateway = true, "10.0.0.1", 15021, Gateway),
            (
                "the node's network",
                |pod| (pod.data_plane, pod.facts.host_network) = (DataPlane::None, true),
                "10.0.0.1",
                8080,
                Direct(Bypass::HostNetwork),
            ),
            (
                "excluded by its owner",
                |pod| {
                    pod.capture = Capture::AllBut(vec![8080]);
                    pod.annotated_capture = Capture::AllBut(vec![8080]);
                },
                "10.0.0.1",
                8080,
                Direct(Bypass::Excluded(ExcludedBy::Annotation)),
            ),
            (
                "excluded by the installation",
                |pod| pod.capture = Capture::AllBut(vec![8080]),
                "10.0.0.1",
                8080,
                Direct(Bypass::Excluded(ExcludedBy::Installation)),
            ),
            (
                "annotated after the injection",
                |pod| pod.annotated_capture = Capture::AllBut(vec![8080]),
                "10.0.0.1",
                8080,
                Sidecar,
            ),
            ("another port is excluded", |pod| pod.capture = Capture::AllBut(vec![9090]), "10.0.0.1", 8080, Sidecar),
            ("the second family", |_| {}, "fd00::1", 8080, Direct(Bypass::AddressFamily)),
            ("the second family of a dual stack", |pod| pod.dual_stack = true, "fd00::1", 8080, Sidecar),
            ("the second family at a ztunnel", |pod| pod.data_plane = DataPlane::Ambient, "fd00::1", 8080, Ztunnel),
        ];
        for (name, change, address, port, expected) in rows {
            let mut pod = Pod { addresses: vec!["10.0.0.1".into(), "fd00::1".into()], ..pod("web") };
            change(&mut pod);
            assert_eq!(pod.inbound_path(address, Some(port)), expected, "{name}");
        }
    }

    #[test]
    fn a_listener_that_envoy_binds_needs_no_capture() {
        use InboundPath::{Direct, OwnTls, Sidecar};
        let excluded = Direct(Bypass::Excluded(ExcludedBy::Annotation));
        for (capture, without_redirection, bind, own_tls, address, expected) in [
            (CaptureMode::None, false, None, false, "10.0.0.1", Sidecar),
            (CaptureMode::None, true, None, false, "10.0.0.1", Sidecar),
            (CaptureMode::None, true, None, false, "fd00::1", excluded),
            (CaptureMode::None, true, Some("0.0.0.0"), false, "10.0.0.1", Sidecar),
            (CaptureMode::None, true, Some("0.0.0.0"), false, "fd00::1", excluded),
            (CaptureMode::None, true, Some("::"), false, "10.0.0.1", excluded),
            (CaptureMode::None, true, Some("::"), false, "fd00::1", Sidecar),
            (CaptureMode::None, true, Some("10.0.0.1"), false, "10.0.0.1", Sidecar),
            (CaptureMode::None, true, Some("127.0.0.1"), false, "10.0.0.1", excluded),
            (CaptureMode::Default, true, None, false, "10.0.0.1", Sidecar),
            (CaptureMode::Default, false, None, false, "10.0.0.1", excluded),
            (CaptureMode::IpTables, true, None, false, "10.0.0.1", excluded),
            (CaptureMode::None, true, None, true, "10.0.0.1", OwnTls),
            (CaptureMode::IpTables, false, None, true, "10.0.0.1", OwnTls),
        ] {
            let listener = IngressListener { port: 9080, capture, bind: bind.map(str::to_owned), own_tls };
            let pod = Pod {
                addresses: vec!["10.0.0.1".into(), "fd00::1".into()],
                capture: Capture::Nothing,
                annotated_capture: Capture::Nothing,
                without_redirection,
                ingress: vec![listener],
                ..pod("web")
            };
            let found = pod.inbound_path(address, Some(9080));
            assert_eq!(found, expected, "{capture:?} {without_redirection} {bind:?} {own_tls} {address}");
        }
    }
}
