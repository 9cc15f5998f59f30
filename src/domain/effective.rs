//! Computes the mutual TLS mode that applies to a port of a pod, with the policies that decide it, from all policies
//! of the namespace and the mesh, for `overview`, `probe` and `plan`.
//!
//! The rules are PA-1..PA-11 for PeerAuthentication and LP-2..LP-5 for the legacy Policy.

use super::mesh::{
    LegacyPolicy, MtlsMode, PeerAuthentication, Pod, Policies, Service, ServicePort, is_read_by_revision,
};
use std::collections::HashMap;
use std::fmt;

/// The level of a policy in the order of precedence, the widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// A policy of the root namespace without a selector.
    Mesh,
    Namespace,
    /// The workloads that a selector matches.
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

/// One policy of the chain that leads to a mode.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppliedPolicy {
    /// The level at which it applies.
    pub level: Level,
    /// Namespace of the object; empty for a MeshPolicy.
    pub namespace: String,
    pub name: String,
    /// The mode that it sets; `None` is UNSET, which inherits the mode of the wider level.
    pub mode: Option<MtlsMode>,
}

/// The mode that applies, with the chain of policies that leads to it. The default is an unknown mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// `None` if it depends on objects that cannot be read.
    pub mode: Option<MtlsMode>,
    /// Every policy that applies, the widest first; the last one with a mode decides.
    pub chain: Vec<AppliedPolicy>,
}

impl Effective {
    /// No mode, by no policy: none is meant to apply, or nothing is known of the workload.
    pub const NONE: Self = Self { mode: None, chain: Vec::new() };

    /// The policy that decides the mode; `None` for the mesh's default.
    pub fn decided_by(&self) -> Option<&AppliedPolicy> {
        self.chain.iter().rev().find(|step| step.mode.is_some())
    }
}

/// The mode of `port` (a target port, never a Service port: PA-6) at `pod`.
///
/// This is the mode that the API objects ask for; [`Pod::data_plane`] and [`Pod::capture`] tell whether a proxy enforces
/// it. For many pods, build a [`PolicyIndex`] once instead.
pub fn server_mode(policies: &Policies, pod: &Pod, port: u16) -> Effective {
    PolicyIndex::new(policies).mode(pod, port)
}

/// The policies that apply to one pod, by level; each level has the oldest first.
#[derive(Debug, Clone, Default)]
pub struct Levels<'a> {
    /// Policies of the root namespace without a selector.
    pub mesh: Vec<&'a PeerAuthentication>,
    /// Policies of the pod's namespace without a selector.
    pub namespace: Vec<&'a PeerAuthentication>,
    /// Policies of the pod's namespace whose selector matches the pod's labels.
    pub workload: Vec<&'a PeerAuthentication>,
}

/// Policies indexed by namespace and selector, so that the cost of a look-up does not grow with their number.
#[derive(Debug, Clone)]
pub struct PolicyIndex<'a> {
    policies: &'a Policies,
    /// Policies without a selector, by namespace, the oldest first.
    wide: HashMap<&'a str, Vec<&'a PeerAuthentication>>,
    /// Policies with a selector, by namespace and the first label of the selector.
    selecting: HashMap<(&'a str, &'a str, &'a str), Vec<&'a PeerAuthentication>>,
}

impl<'a> PolicyIndex<'a> {
    /// Indexes the policies.
    pub fn new(policies: &'a Policies) -> Self {
        let mut sorted: Vec<&PeerAuthentication> = policies.peer.iter().collect();
        sorted.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
        let (mut wide, mut selecting) = (HashMap::new(), HashMap::new());
        for policy in sorted {
            let namespace = policy.namespace.as_str();
            match policy.selector.first_key_value() {
                None => wide.entry(namespace).or_insert_with(Vec::new).push(policy),
                // PA-3: a policy with a selector in the root namespace has no effect, not even on workloads there.
                Some(_) if namespace == policies.root_namespace => {}
                Some((key, value)) => {
                    selecting.entry((namespace, key.as_str(), value.as_str())).or_insert_with(Vec::new).push(policy);
                }
            }
        }
        Self { policies, wide, selecting }
    }

    /// The policies that are indexed.
    pub fn policies(&self) -> &'a Policies {
        self.policies
    }

    /// The policies that apply to a pod (PA-1..PA-3, PA-9).
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
            .filter(|policy| policy.selects(pod))
            .collect();
        workload.sort_by(|left, right| left.age_key().cmp(&right.age_key()));
        let namespace = if pod.namespace == root { Vec::new() } else { wide(&pod.namespace) };
        Levels { mesh: wide(root), namespace, workload }
    }

    /// The mode of a target port of a pod with a sidecar.
    pub fn mode(&self, pod: &Pod, port: u16) -> Effective {
        // PA-4: only the oldest policy of a level counts, even if its mode is UNSET.
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
        // PA-6: only the policy that wins the workload level sets modes of ports.
        if let Some((policy, mode)) = workload.and_then(|policy| Some((policy, *policy.ports.get(&port)?))) {
            chain.push(step(Level::Port, policy, mode));
        }
        let written = chain.iter().rev().find_map(|step| step.mode);
        // A mode of the namespace decides by itself; only an inherited mode needs the root namespace.
        let readable = self.policies.root_readable || pod.namespace == self.policies.root_namespace;
        Effective { mode: written.or(readable.then_some(MtlsMode::Permissive)), chain }
    }

    /// The mode of a pod behind a Service port, also under the legacy API, whose policies name Services.
    pub fn service_mode(&self, service: &Service, port: &ServicePort, pod: &Pod, target_port: u16) -> Effective {
        if !self.policies.legacy_only {
            return self.mode(pod, target_port);
        }
        let name = (!port.name.is_empty()).then_some(port.name.as_str());
        legacy_server_mode(self.policies, &pod.namespace, &service.name, port.port, name)
    }

    /// The mode of a namespace as auto mTLS of its clients sees it: policies of workloads do not count (PA-8).
    pub fn namespace_mode(&self, namespace: &str, revision: Option<&str>) -> MtlsMode {
        let seen = |policy: &&&PeerAuthentication| is_read_by_revision(policy.revision.as_deref(), revision);
        let first = |namespace: &str| self.wide.get(namespace).and_then(|policies| policies.iter().find(seen));
        let mode = |namespace: &str| first(namespace).and_then(|policy| policy.mode);
        mode(namespace).or_else(|| mode(&self.policies.root_namespace)).unwrap_or(MtlsMode::Permissive)
    }
}

fn step(level: Level, policy: &PeerAuthentication, mode: Option<MtlsMode>) -> AppliedPolicy {
    AppliedPolicy { level, namespace: policy.namespace.clone(), name: policy.name.clone(), mode }
}

/// The mode of a Service port under the legacy API (Istio up to 1.4).
///
/// A narrower policy replaces a wider one completely; without any policy, only plaintext is accepted (LP-3).
pub fn legacy_server_mode(
    policies: &Policies,
    namespace: &str,
    service: &str,
    port: u16,
    port_name: Option<&str>,
) -> Effective {
    let in_namespace = || policies.legacy.iter().filter(|policy| policy.namespace == namespace);
    let age = |policy: &&LegacyPolicy| (policy.created, policy.name.clone());
    // LP-5: the oldest policy that matches, however specific the others are.
    let targeted = in_namespace()
        .filter(|policy| {
            policy.targets.iter().any(|target| {
                target.service == service
                    && (target.ports.is_empty() && target.port_names.is_empty()
                        || target.ports.contains(&port)
                        || port_name.is_some_and(|name| target.port_names.iter().any(|target| target == name)))
            })
        })
        .min_by_key(age);
    let wide = in_namespace().filter(|policy| policy.targets.is_empty()).min_by_key(age);
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
