//! Loopback addresses by which a sidecar knows the pods that call it: on Linux each pod calls from an address of its own in
//! 127.0.0.0/8. Elsewhere all call from 127.0.0.1, which stands for the node.

use std::net::{IpAddr, Ipv4Addr};

/// The address of the only node.
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// The loopback address from which the pod at an address calls: 127.244.1.7 for 10.244.1.7.
pub(super) fn address(pod: Ipv4Addr) -> Ipv4Addr {
    let [_, b, c, d] = pod.octets();
    if cfg!(target_os = "linux") { Ipv4Addr::new(127, b, c, d) } else { Ipv4Addr::LOCALHOST }
}

/// The address of the pod that calls from a loopback address.
pub(super) fn pod_address(loopback: IpAddr) -> IpAddr {
    match loopback {
        IpAddr::V4(loopback) if loopback != Ipv4Addr::LOCALHOST => {
            let [_, b, c, d] = loopback.octets();
            Ipv4Addr::new(10, b, c, d).into()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => NODE.into(),
    }
}
