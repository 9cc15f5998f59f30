//! Computes, from the policies, whether a ztunnel accepts plaintext at a port of an ambient pod, for `overview`, and what a
//! change of them does to the connections that are open, for `open_connections`.
//!
//! The control plane translates policies into deny rules for the ztunnel (AM-1..AM-5). The result can differ from what
//! a sidecar does under the same policies.

use super::effective::{Levels, PolicyIndex};
use super::mesh::{MtlsMode, PeerAuthentication, Pod};

/// Whether a port of an ambient pod accepts plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    Allowed,
    Denied,
    /// It is accepted although the policies ask for STRICT: the pod refers to a deny rule that is never created, or that
    /// leaves the port out (AM-5).
    FailsOpen,
    /// Two policies of one level have the same age, so it is random which one applies (AM-2).
    Undetermined,
}

impl Plaintext {
    /// Whether plaintext is accepted; `None` if that is random.
    pub const fn is_accepted(self) -> Option<bool> {
        match self {
            Self::Allowed | Self::FailsOpen => Some(true),
            Self::Denied => Some(false),
            Self::Undetermined => None,
        }
    }
}

/// Whether `port` (a target port) of an ambient pod accepts plaintext.
pub fn plaintext(policies: &PolicyIndex<'_>, pod: &Pod, port: u16) -> Plaintext {
    let levels = levels(policies, pod);
    let strict = is_strict(&levels);
    let Levels { mesh, namespace, workload } = levels;
    // AM-5.3: the code that creates a deny rule does not read such policies of the namespace either.
    let without_selector = |policy: &&PeerAuthentication| !policy.empty_selector;
    let creating_namespace: Vec<_> = namespace.iter().copied().filter(without_selector).collect();
    if [&mesh, &namespace, &creating_namespace, &workload].into_iter().any(|level| is_tied(level)) {
        return Plaintext::Undetermined;
    }
    let denied = |denies: bool| if denies { Plaintext::Denied } else { Plaintext::Allowed };
    let Some(policy) = workload.first().filter(|policy| is_converted(policy, strict)) else {
        // AM-3: the deny rule applies to all ports or does not exist.
        return denied(strict);
    };
    let parents = Parents { namespace: creating_namespace.first().copied(), mesh: mesh.first().copied() };
    let port_mode = policy.ports.get(&port).copied().flatten();
    if parents.denies(policy, port_mode) {
        return Plaintext::Denied;
    }
    let asks_for_strict = port_mode.map_or(strict, |mode| mode == MtlsMode::Strict);
    if asks_for_strict { Plaintext::FailsOpen } else { Plaintext::Allowed }
}

/// Whether a change of the policies makes a ztunnel close the plaintext connections that a port of a pod has open. It judges
/// them again, by the policies that the pod had when they were opened (AM-6).
pub fn ends_open_connections(before: &PolicyIndex<'_>, after: &PolicyIndex<'_>, pod: &Pod, port: u16) -> bool {
    let converted = |policies| {
        let levels = levels(policies, pod);
        levels.workload.first().filter(|policy| is_converted(policy, is_strict(&levels))).map(|policy| &policy.name)
    };
    let keeps_its_rule = converted(before).is_some_and(|policy| converted(after) == Some(policy));
    keeps_its_rule
        && plaintext(before, pod, port) != Plaintext::Denied
        && plaintext(after, pod, port) == Plaintext::Denied
}

/// The policies that apply to an ambient pod.
fn levels<'a>(policies: &PolicyIndex<'a>, pod: &Pod) -> Levels<'a> {
    let mut levels = policies.levels(pod);
    // AM-5.4: only pods of the root namespace get its policies that have an empty selector.
    let root = &policies.policies().root_namespace;
    levels.mesh.retain(|policy| pod.namespace == *root || !policy.empty_selector);
    levels
}

/// Whether the pod's mode is STRICT, apart from its ports.
fn is_strict(levels: &Levels<'_>) -> bool {
    let Levels { mesh, namespace, workload } = levels;
    let inherited = [namespace, mesh].into_iter().find_map(|level| level.first()?.mode);
    workload.first().and_then(|policy| policy.mode).or(inherited) == Some(MtlsMode::Strict)
}

/// Whether the pod gets a deny rule for single ports instead of the general one (AM-4).
fn is_converted(policy: &PeerAuthentication, strict: bool) -> bool {
    match (policy.mode, strict) {
        (Some(_), true) => has_open_port(policy),
        // AM-5.1: DISABLE does not count where the mode is inherited.
        (None, true) => policy.ports.values().any(|mode| *mode == Some(MtlsMode::Permissive)),
        (_, false) => policy.ports.values().any(|mode| *mode == Some(MtlsMode::Strict)),
    }
}

fn has_open_port(policy: &PeerAuthentication) -> bool {
    policy.ports.values().flatten().any(|mode| is_open(*mode))
}

/// AM-2: DISABLE acts as PERMISSIVE.
fn is_open(mode: MtlsMode) -> bool {
    matches!(mode, MtlsMode::Permissive | MtlsMode::Disable)
}

/// The policies of the namespace and the mesh that the control plane reads to create the deny rule of a policy with ports
/// (AM-4). It reads others to assign the deny rule to a pod, so the two can disagree (AM-5).
struct Parents<'a> {
    namespace: Option<&'a PeerAuthentication>,
    mesh: Option<&'a PeerAuthentication>,
}

impl Parents<'_> {
    /// Whether the deny rule of `policy` denies plaintext at a port that has `port_mode` in it.
    fn denies(&self, policy: &PeerAuthentication, port_mode: Option<MtlsMode>) -> bool {
        let is_strict =
            |parent: Option<&PeerAuthentication>| parent.and_then(|parent| parent.mode) == Some(MtlsMode::Strict);
        // AM-5.2: a policy of the namespace hides the mesh's policy, also if its mode is UNSET.
        let inherits_strict = if self.namespace.is_some() { is_strict(self.namespace) } else { is_strict(self.mesh) };
        if policy.mode.map_or(inherits_strict, |mode| mode == MtlsMode::Strict) {
            // The rule denies all ports but the open ones. Without an open port it is not created.
            return has_open_port(policy) && !port_mode.is_some_and(is_open);
        }
        // AM-5.5: the rule leaves out STRICT ports where the mesh is STRICT, whatever the mode of `policy`.
        let leaves_out = self.namespace.is_none_or(|parent| parent.mode.is_none()) && is_strict(self.mesh);
        port_mode == Some(MtlsMode::Strict) && !leaves_out
    }
}

/// AM-2: policies that were created in the same second have no order.
fn is_tied(level: &[&PeerAuthentication]) -> bool {
    let [first, rest @ ..] = level else { return false };
    rest.iter().any(|other| {
        other.created == first.created
            && (other.mode, &other.ports, other.empty_selector) != (first.mode, &first.ports, first.empty_selector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::Policies;
    use crate::domain::testing::{policy, shop};

    #[test]
    fn two_policies_of_one_second_are_undetermined_unless_they_agree() {
        use MtlsMode::{Permissive, Strict};
        let pod = shop(&["web"]).pods.remove("web-0").expect("a pod");
        for (first, second, expected) in [
            ((1, Some(Strict)), (1, Some(Permissive)), Plaintext::Undetermined),
            ((1, Some(Strict)), (1, Some(Strict)), Plaintext::Denied),
            ((1, Some(Strict)), (2, Some(Permissive)), Plaintext::Denied),
        ] {
            let peer = vec![policy("a", first.0, first.1), policy("b", second.0, second.1)];
            let policies =
                Policies { root_namespace: "istio-system".into(), root_readable: true, peer, ..Policies::default() };
            assert_eq!(plaintext(&PolicyIndex::new(&policies), &pod, 80), expected, "{first:?} {second:?}");
        }
    }

    /// The mode of the namespace, and the ports of the workload's policy.
    type State<'a> = (Option<MtlsMode>, Option<&'a [(u16, MtlsMode)]>);

    /// What a real ztunnel did with a connection that was open (AM-6).
    #[test]
    fn a_connection_is_closed_when_the_rule_that_its_pod_has_comes_to_deny_it() {
        use MtlsMode::{Permissive, Strict};
        let pod = shop(&["web"]).pods.remove("web-0").expect("a pod");
        let policies = |namespace: Option<MtlsMode>, ports: Option<&[(u16, MtlsMode)]>| {
            let own = ports.map(|ports| {
                let mut own = policy("web", 3, None);
                own.selector = pod.labels.clone();
                own.ports.extend(ports.iter().map(|(port, mode)| (*port, Some(*mode))));
                own
            });
            let peer = namespace.map(|mode| policy("default", 2, Some(mode))).into_iter().chain(own).collect();
            Policies { root_namespace: "istio-system".into(), root_readable: true, peer, ..Policies::default() }
        };
        let open: &[(u16, MtlsMode)] = &[(80, Permissive)];
        let rows: [(&str, State<'_>, State<'_>, bool); 6] = [
            ("a first policy", (None, None), (Some(Strict), None), false),
            ("PERMISSIVE becomes STRICT", (Some(Permissive), None), (Some(Strict), None), false),
            ("an exception is deleted", (Some(Strict), Some(open)), (Some(Strict), None), false),
            ("a rule is new", (None, Some(&[(90, Permissive)])), (Some(Strict), Some(&[(90, Permissive)])), false),
            (
                "another port is STRICT already",
                (None, Some(&[(90, Strict)])),
                (None, Some(&[(90, Strict), (80, Strict)])),
                true,
            ),
            ("it stays denied", (None, Some(&[(80, Strict)])), (None, Some(&[(80, Strict), (90, Strict)])), false),
        ];
        for (name, before, after, expected) in rows {
            let (before, after) = (policies(before.0, before.1), policies(after.0, after.1));
            let closes = ends_open_connections(&PolicyIndex::new(&before), &PolicyIndex::new(&after), &pod, 80);
            assert_eq!(closes, expected, "{name}");
        }
    }

    /// The modes of the mesh, of the namespace (`None`: no policy), of the workload and of the workload's port 80, and whether
    /// the workload has a PERMISSIVE port 90.
    type Case = (Option<MtlsMode>, Option<Option<MtlsMode>>, Option<MtlsMode>, Option<MtlsMode>, bool);

    /// AM-5; the results are those of Istio's code.
    #[test]
    fn a_converted_policy_can_leave_ports_out() {
        use MtlsMode::{Permissive, Strict};
        let cases: [(Case, Plaintext); 9] = [
            ((None, None, Some(Permissive), Some(Strict), false), Plaintext::Denied),
            // AM-5.5.
            ((Some(Strict), None, Some(Permissive), Some(Strict), false), Plaintext::FailsOpen),
            ((Some(Strict), Some(None), Some(Permissive), Some(Strict), false), Plaintext::FailsOpen),
            ((Some(Strict), Some(Some(Permissive)), Some(Permissive), Some(Strict), false), Plaintext::Denied),
            // AM-5.2.
            ((Some(Strict), Some(None), None, Some(Strict), true), Plaintext::FailsOpen),
            ((Some(Strict), Some(None), None, None, true), Plaintext::FailsOpen),
            ((Some(Strict), None, None, None, true), Plaintext::Denied),
            ((Some(Strict), Some(None), None, Some(Permissive), true), Plaintext::Allowed),
            ((Some(Permissive), Some(Some(Strict)), None, Some(Strict), true), Plaintext::Denied),
        ];
        let pod = shop(&["web"]).pods.remove("web-0").expect("a pod");
        for (case, expected) in cases {
            let (mesh, namespace, mode, port, has_permissive_port) = case;
            let mut root = policy("mesh", 1, mesh);
            root.namespace = "istio-system".into();
            let mut own = policy("web", 3, mode);
            own.selector = pod.labels.clone();
            own.ports.extend(port.map(|mode| (80, Some(mode))));
            own.ports.extend(has_permissive_port.then_some((90, Some(Permissive))));
            let peer = [root, own].into_iter().chain(namespace.map(|mode| policy("default", 2, mode))).collect();
            let policies =
                Policies { root_namespace: "istio-system".into(), root_readable: true, peer, ..Policies::default() };
            assert_eq!(plaintext(&PolicyIndex::new(&policies), &pod, 80), expected, "{case:?}");
        }
    }
}
