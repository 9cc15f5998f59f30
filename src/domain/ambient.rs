//! What a ztunnel lets in. The control plane turns policies into rules of denial for it (AM-1..AM-5), and the result is
//! not always what a sidecar would do.

use super::effective::{Levels, PolicyIndex};
use super::mesh::{MtlsMode, PeerAuthentication, Pod};

/// Whether plaintext gets in at a port of an ambient pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plaintext {
    /// It is let in.
    Allowed,
    /// It is denied.
    Denied,
    /// It is let in although the policies ask for STRICT: the pod is given a policy that is never made (AM-5).
    FailsOpen,
    /// Two policies of one level have the same age, and which one counts changes from run to run (AM-2).
    Undetermined,
}

impl Plaintext {
    /// Whether it gets in, where that is determined.
    pub const fn gets_in(self) -> Option<bool> {
        match self {
            Self::Allowed | Self::FailsOpen => Some(true),
            Self::Denied => Some(false),
            Self::Undetermined => None,
        }
    }
}

/// What becomes of plaintext at `port` (a target port) of an ambient pod.
pub fn plaintext(policies: &PolicyIndex<'_>, pod: &Pod, port: u16) -> Plaintext {
    let Levels { mut mesh, namespace, workload } = policies.levels(pod);
    // AM-5.4: of the root namespace a policy with an empty selector is not even fetched.
    mesh.retain(|policy| !policy.empty_selector);
    if [&mesh, &namespace, &workload].into_iter().any(|level| is_tied(level)) {
        return Plaintext::Undetermined;
    }
    let parent = [&namespace, &mesh].into_iter().find_map(|level| level.first()?.mode);
    let inherits_strict = parent == Some(MtlsMode::Strict);
    let denied = |denies: bool| if denies { Plaintext::Denied } else { Plaintext::Allowed };
    let Some(own) = workload.first() else { return denied(inherits_strict) };
    let strict = own.mode.map_or(inherits_strict, |mode| mode == MtlsMode::Strict);
    if !is_converted(own, strict) {
        // AM-3: the whole pod, or nothing of it.
        return denied(strict);
    }
    // AM-5.2, AM-5.3: what makes the policy looks at the parents in another way than what assigns it.
    let seen = namespace.iter().find(|policy| !policy.empty_selector).or(mesh.first());
    let base = match own.mode {
        Some(mode) => mode == MtlsMode::Strict,
        None => seen.is_some_and(|policy| policy.mode == Some(MtlsMode::Strict)),
    };
    let said = own.ports.get(&port).copied().flatten();
    if base {
        return denied(!matches!(said, Some(MtlsMode::Permissive | MtlsMode::Disable)));
    }
    if strict && !own.ports.values().any(|mode| *mode == Some(MtlsMode::Strict)) {
        return Plaintext::FailsOpen;
    }
    denied(said == Some(MtlsMode::Strict))
}

/// Whether a policy for the workload's ports is assigned in the place of the general one (AM-4).
fn is_converted(policy: &PeerAuthentication, strict: bool) -> bool {
    let some = |wanted: &[MtlsMode]| policy.ports.values().flatten().any(|mode| wanted.contains(mode));
    match (policy.mode, strict) {
        (Some(_), true) => some(&[MtlsMode::Permissive, MtlsMode::Disable]),
        // AM-5.1: DISABLE does not count where the mode is inherited.
        (None, true) => some(&[MtlsMode::Permissive]),
        (_, false) => some(&[MtlsMode::Strict]),
    }
}

/// AM-2: there is no order among policies of the same second.
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
    fn two_policies_of_one_second_leave_it_open_unless_they_agree() {
        use MtlsMode::{Permissive, Strict};
        let pod = shop(&["web"]).pods.remove("web-0").expect("a pod");
        for (one, other, expected) in [
            ((1, Some(Strict)), (1, Some(Permissive)), Plaintext::Undetermined),
            ((1, Some(Strict)), (1, Some(Strict)), Plaintext::Denied),
            ((1, Some(Strict)), (2, Some(Permissive)), Plaintext::Denied),
        ] {
            let peer = vec![policy("a", one.0, one.1), policy("b", other.0, other.1)];
            let policies =
                Policies { root_namespace: "istio-system".into(), root_readable: true, peer, ..Policies::default() };
            assert_eq!(plaintext(&PolicyIndex::new(&policies), &pod, 80), expected, "{one:?} {other:?}");
        }
    }
}
