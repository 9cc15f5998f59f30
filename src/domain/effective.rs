//! Which mutual TLS mode holds for a pod's port, and which objects decide it.
//!
//! The rules are PA-1..PA-11 for PeerAuthentication and LP-2..LP-5 for the legacy Policy.

use super::mesh::{LegacyPolicy, MtlsMode, PeerAuthentication, Pod, Policies};
use std::fmt;

/// Where a policy stands in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The mesh: a selector-less policy of the root namespace.
    Mesh,
    /// The namespace.
    Namespace,
    /// The workloads that a selector picks.
    Workload,
    /// One target port of those workloads.
    Port,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mesh => "mesh",
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Port => "port",
        })
    }
}

/// One policy that had a say, in order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The level at which it spoke.
    pub level: Level,
    /// Namespace of the object; empty for a MeshPolicy.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// What it said; `None` is UNSET and leaves the mode of the level above.
    pub mode: Option<MtlsMode>,
}

/// The mode that holds, with the chain of objects that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The mode; `None` where it depends on objects that could not be read.
    pub mode: Option<MtlsMode>,
    /// Every policy that had a say, the widest first; the last with a mode decides.
    pub chain: Vec<Step>,
}

impl Effective {
    /// The step that decided, or `None` for the mesh's default.
    pub fn decided_by(&self) -> Option<&Step> {
        self.chain.iter().rev().find(|step| step.mode.is_some())
    }
}

/// The mode of `port` (a target port, never a Service port: PA-6) at `pod`.
///
/// It says what the API's objects ask for; whether the pod has a proxy that obeys is
/// [`Pod::data_plane`] and [`Pod::capture`].
pub fn server_mode(policies: &Policies, pod: &Pod, port: u16) -> Effective {
    let root = &policies.root_namespace;
    // PA-9: an object that names a revision is seen only by the proxies of that revision.
    let seen = policies.peer.iter().filter(|policy| policy.revision.is_none() || policy.revision == pod.revision);
    let (mut mesh, mut namespace, mut workload) = (None, None, None);
    for policy in seen {
        // PA-1, PA-2, PA-3: two namespaces count, and a selector in the root namespace is ignored.
        let slot = if policy.namespace == *root {
            if !policy.is_wide() {
                continue;
            }
            &mut mesh
        } else if policy.namespace != pod.namespace {
            continue;
        } else if policy.is_wide() {
            &mut namespace
        } else if selects(policy, pod) {
            &mut workload
        } else {
            continue;
        };
        older(slot, policy);
    }

    let mut chain = Vec::new();
    // PA-5: the narrower level overrides the wider one, unless it is UNSET.
    let levels = [(Level::Mesh, mesh), (Level::Namespace, namespace), (Level::Workload, workload)];
    for (level, policy) in levels {
        if let Some(policy) = policy {
            chain.push(step(level, policy, policy.mode));
        }
    }
    // PA-6: only the workload level's own winner speaks for ports.
    if let Some((policy, mode)) = workload.and_then(|policy| Some((policy, *policy.ports.get(&port)?))) {
        chain.push(step(Level::Port, policy, mode));
    }
    let written = chain.iter().rev().find_map(|step| step.mode);
    // What was read decides by itself; only a mode that would be inherited needs the root namespace.
    let inherited = (policies.root_readable || pod.namespace == *root).then_some(MtlsMode::Permissive);
    Effective { mode: written.or(inherited), chain }
}

fn selects(policy: &PeerAuthentication, pod: &Pod) -> bool {
    policy.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

/// PA-4: of one level the oldest is taken, before any mode is read.
fn older<'a>(slot: &mut Option<&'a PeerAuthentication>, candidate: &'a PeerAuthentication) {
    if slot.is_none_or(|held| candidate.age_key() < held.age_key()) {
        *slot = Some(candidate);
    }
}

fn step(level: Level, policy: &PeerAuthentication, mode: Option<MtlsMode>) -> Step {
    Step { level, namespace: policy.namespace.clone(), name: policy.name.clone(), mode }
}

/// The mode of a Service port under the legacy API (Istio up to 1.4).
///
/// A narrower policy replaces a wider one wholly, and no policy at all means plaintext only (LP-3).
pub fn legacy_server_mode(
    policies: &Policies,
    namespace: &str,
    service: &str,
    port: u16,
    port_name: Option<&str>,
) -> Effective {
    let own = || policies.legacy.iter().filter(|policy| policy.namespace == namespace);
    let age = |policy: &&LegacyPolicy| (policy.created, policy.name.clone());
    // LP-5: of several that match, the oldest, however precise.
    let targeted = own()
        .filter(|policy| {
            policy.targets.iter().any(|target| {
                target.service == service
                    && (target.ports.is_empty() && target.port_names.is_empty()
                        || target.ports.contains(&port)
                        || port_name.is_some_and(|name| target.port_names.iter().any(|own| own == name)))
            })
        })
        .min_by_key(age);
    let wide = own().filter(|policy| policy.targets.is_empty()).min_by_key(age);
    let mesh = policies.legacy_mesh.as_ref();
    let chosen = [(Level::Workload, targeted), (Level::Namespace, wide), (Level::Mesh, mesh)]
        .into_iter()
        .find_map(|(level, policy)| policy.map(|policy| (level, policy)));
    match chosen {
        Some((level, policy)) => Effective {
            mode: Some(policy.mode),
            chain: vec![Step {
                level,
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
                mode: Some(policy.mode),
            }],
        },
        None => Effective { mode: policies.root_readable.then_some(MtlsMode::Disable), chain: Vec::new() },
    }
}
