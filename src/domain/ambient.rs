//! Computes, from the policies, whether a ztunnel accepts plaintext at a port of an ambient pod, for `overview`.
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
    let Levels { mut mesh, namespace, workload } = policies.levels(pod);
    // AM-5.4: only pods of the root namespace get its policies that have an empty selector.
    let root = &policies.policies().root_namespace;
    mesh.retain(|policy| pod.namespace == *root || !policy.empty_selector);
    // AM-5.3: the code that creates a deny rule does not read such policies of the namespace either.
    let without_selector = |policy: &&PeerAuthentication| !policy.empty_selector;
    let creating_namespace: Vec<_> = namespace.iter().copied().filter(without_selector).collect();
    if [&mesh, &namespace, &creating_namespace, &workload].into_iter().any(|level| is_tied(level)) {
        return Plaintext::Undetermined;
    }
    let inherited = [&namespace, &mesh].into_iter().find_map(|level| level.first()?.mode);
    let strict = workload.first().and_then(|policy| policy.mode).or(inherited) == Some(MtlsMode::Strict);
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
