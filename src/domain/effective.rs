//! Which mutual TLS mode holds for a pod's port, and which objects decide it.
//!
//! The rules are PA-1..PA-11 for PeerAuthentication and LP-2..LP-5 for the legacy Policy.

use super::mesh::{LegacyPolicy, MtlsMode, PeerAuthentication, Pod, Policies, is_read_by_revision};
use std::collections::HashMap;
use std::fmt;

/// Where a policy stands in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppliedPolicy {
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
    pub chain: Vec<AppliedPolicy>,
}

impl Effective {
    /// The step that decided, or `None` for the mesh's default.
    pub fn decided_by(&self) -> Option<&AppliedPolicy> {
        self.chain.iter().rev().find(|step| step.mode.is_some())
    }
}

/// The mode of `port` (a target port, never a Service port: PA-6) at `pod`.
///
/// It says what the API's objects ask for; whether the pod has a proxy that obeys is
/// [`Pod::data_plane`] and [`Pod::capture`]. Whoever asks for many pods makes a [`PolicyIndex`] once.
pub fn server_mode(policies: &Policies, pod: &Pod, port: u16) -> Effective {
    PolicyIndex::new(policies).mode(pod, port)
}

/// The policies of the levels that apply to one pod, each level's in order of age.
#[derive(Debug, Clone, Default)]
pub struct Levels<'a> {
    /// Of the root namespace, for everybody.
    pub mesh: Vec<&'a PeerAuthentication>,
    /// Of the namespace, for everybody in it.
    pub namespace: Vec<&'a PeerAuthentication>,
    /// Of the namespace, for workloads that have the pod's labels.
    pub workload: Vec<&'a PeerAuthentication>,
}

/// Policies by where they apply, so that a look-up costs the same however many there are.
#[derive(Debug, Clone)]
pub struct PolicyIndex<'a> {
    policies: &'a Policies,
    /// Those without a selector, by namespace, the oldest first.
    wide: HashMap<&'a str, Vec<&'a PeerAuthentication>>,
    /// Those with one, by namespace and the first label that they ask for.
    selecting: HashMap<(&'a str, &'a str, &'a str), Vec<&'a PeerAuthentication>>,
}

impl<'a> PolicyIndex<'a> {
    /// Sorts the policies.
    pub fn new(policies: &'a Policies) -> Self {
        let mut sorted: Vec<&PeerAuthentication> = policies.peer.iter().collect();
        sorted.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
        let (mut wide, mut selecting) = (HashMap::new(), HashMap::new());
        for policy in sorted {
            let namespace = policy.namespace.as_str();
            match policy.selector.first_key_value() {
                None => wide.entry(namespace).or_insert_with(Vec::new).push(policy),
                // PA-3: a selector in the root namespace is ignored, for workloads of that namespace too.
                Some(_) if namespace == policies.root_namespace => {}
                Some((key, value)) => {
                    selecting.entry((namespace, key.as_str(), value.as_str())).or_insert_with(Vec::new).push(policy);
                }
            }
        }
        Self { policies, wide, selecting }
    }

    /// The policies that were sorted.
    pub fn policies(&self) -> &'a Policies {
        self.policies
    }

    /// What applies to a pod (PA-1..PA-3, PA-9).
    pub fn levels(&self, pod: &Pod) -> Levels<'a> {
        let proxy = pod.revision.as_deref();
        let seen = |policy: &&PeerAuthentication| is_read_by_revision(policy.revision.as_deref(), proxy);
        let wide = |namespace: &str| self.wide.get(namespace).into_iter().flatten().copied().filter(seen).collect();
        let root = self.policies.root_namespace.as_str();
        let mut workload: Vec<&PeerAuthentication> = pod
            .labels
            .iter()
            .filter_map(|(key, value)| self.selecting.get(&(pod.namespace.as_str(), key.as_str(), value.as_str())))
            .flatten()
            .copied()
            .filter(seen)
            .filter(|policy| selects(policy, pod))
            .collect();
        workload.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
        let namespace = if pod.namespace == root { Vec::new() } else { wide(&pod.namespace) };
        Levels { mesh: wide(root), namespace, workload }
    }

    /// The mode of a target port of a pod with a sidecar.
    pub fn mode(&self, pod: &Pod, port: u16) -> Effective {
        // PA-4: of one level the oldest is taken, before any mode is read.
        let Levels { mesh, namespace, workload } = self.levels(pod);
        let workload = workload.first().copied();
        let mut chain = Vec::new();
        // PA-5: the narrower level overrides the wider one, unless it is UNSET.
        let levels = [
            (Level::Mesh, mesh.first().copied()),
            (Level::Namespace, namespace.first().copied()),
            (Level::Workload, workload),
        ];
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
        let readable = self.policies.root_readable || pod.namespace == self.policies.root_namespace;
        Effective { mode: written.or(readable.then_some(MtlsMode::Permissive)), chain }
    }

    /// What clients take for the mode of a namespace: workloads are not looked at (PA-8).
    pub fn namespace_mode(&self, namespace: &str, revision: Option<&str>) -> MtlsMode {
        let seen = |policy: &&&PeerAuthentication| is_read_by_revision(policy.revision.as_deref(), revision);
        let first = |namespace: &str| self.wide.get(namespace).and_then(|policies| policies.iter().find(seen));
        let mode = |namespace: &str| first(namespace).and_then(|policy| policy.mode);
        mode(namespace).or_else(|| mode(&self.policies.root_namespace)).unwrap_or(MtlsMode::Permissive)
    }
}

fn selects(policy: &PeerAuthentication, pod: &Pod) -> bool {
    policy.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
}

fn step(level: Level, policy: &PeerAuthentication, mode: Option<MtlsMode>) -> AppliedPolicy {
    AppliedPolicy { level, namespace: policy.namespace.clone(), name: policy.name.clone(), mode }
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
            chain: vec![AppliedPolicy {
                level,
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
                mode: Some(policy.mode),
            }],
        },
        None => Effective { mode: policies.root_readable.then_some(MtlsMode::Disable), chain: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::policy;

    #[test]
    fn the_label_default_is_the_revision_of_pods_without_one() {
        for (label, proxy, is_read) in [
            (None, None, true),
            (None, Some("canary"), true),
            (Some("default"), None, true),
            (Some("default"), Some("default"), true),
            (Some("default"), Some("canary"), false),
            (Some("canary"), None, false),
            (Some("canary"), Some("canary"), true),
        ] {
            let mut strict = policy("default", 1, Some(MtlsMode::Strict));
            strict.revision = label.map(str::to_owned);
            let policies = Policies {
                root_namespace: "istio-system".to_owned(),
                root_readable: true,
                peer: vec![strict.clone()],
                ..Policies::default()
            };
            let expected = if is_read { MtlsMode::Strict } else { MtlsMode::Permissive };
            let pod = Pod { namespace: strict.namespace.clone(), revision: proxy.map(str::to_owned), ..Pod::default() };
            assert_eq!(server_mode(&policies, &pod, 80).mode, Some(expected), "{label:?} {proxy:?}");
            let index = PolicyIndex::new(&policies);
            assert_eq!(index.namespace_mode(&strict.namespace, proxy), expected, "{label:?} {proxy:?}");
        }
    }
}
