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
    /// It is accepted although the policies ask for STRICT: the pod refers to a deny rule that is never created (AM-5).
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
    // AM-5.4: the control plane does not fetch a policy of the root namespace that has an empty selector.
    mesh.retain(|policy| !policy.empty_selector);
    if [&mesh, &namespace, &workload].into_iter().any(|level| is_tied(level)) {
        return Plaintext::Undetermined;
    }
    let inherited = [&namespace, &mesh].into_iter().find_map(|level| level.first()?.mode);
    let inherits_strict = inherited == Some(MtlsMode::Strict);
    let denied = |denies: bool| if denies { Plaintext::Denied } else { Plaintext::Allowed };
    let Some(policy) = workload.first() else { return denied(inherits_strict) };
    let strict = policy.mode.map_or(inherits_strict, |mode| mode == MtlsMode::Strict);
    if !is_converted(policy, strict) {
        // AM-3: the deny rule applies to all ports or does not exist.
        return denied(strict);
    }
    // AM-5.2, AM-5.3: the code that creates the deny rule reads the parent policies differently from the code that
    // assigns it.
    let parent = namespace.iter().find(|policy| !policy.empty_selector).or(mesh.first());
    let base = match policy.mode {
        Some(mode) => mode == MtlsMode::Strict,
        None => parent.is_some_and(|parent| parent.mode == Some(MtlsMode::Strict)),
    };
    let port_mode = policy.ports.get(&port).copied().flatten();
    if base {
        return denied(!matches!(port_mode, Some(MtlsMode::Permissive | MtlsMode::Disable)));
    }
    if strict && !policy.ports.values().any(|mode| *mode == Some(MtlsMode::Strict)) {
        return Plaintext::FailsOpen;
    }
    denied(port_mode == Some(MtlsMode::Strict))
}

/// Whether the pod gets a deny rule for single ports instead of the general one (AM-4).
fn is_converted(policy: &PeerAuthentication, strict: bool) -> bool {
    let some = |wanted: &[MtlsMode]| policy.ports.values().flatten().any(|mode| wanted.contains(mode));
    match (policy.mode, strict) {
        (Some(_), true) => some(&[MtlsMode::Permissive, MtlsMode::Disable]),
        // AM-5.1: DISABLE does not count where the mode is inherited.
        (None, true) => some(&[MtlsMode::Permissive]),
        (_, false) => some(&[MtlsMode::Strict]),
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
}
