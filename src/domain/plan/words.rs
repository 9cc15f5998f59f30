//! What a plan says about itself. The wording stands here and nowhere else.

use super::Target;
use crate::domain::journal::Left;
use crate::domain::mesh::MtlsMode;
use crate::domain::rule::ClientTls;
use std::collections::BTreeMap;
use std::fmt;

/// A Service that gets no rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Short name of the Service.
    pub service: String,
    /// Why.
    pub reason: SkipReason,
}

/// Why a Service gets no rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// It is an alias of a name outside.
    ExternalName,
    /// Its endpoints are kept by hand, so nobody knows what stands behind them.
    NoSelector,
    /// It is the API server's, which has no sidecar (DR-20).
    ApiServer,
    /// These endpoints have no proxy that could take mutual TLS (DR-19).
    OutsideMesh(Vec<String>),
}

/// What the user should know before going on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// There is nothing to protect yet.
    NoServices(String),
    /// More than one policy claims the namespace (PA-4).
    SeveralPolicies {
        /// Their names, the one in force first.
        by_age: Vec<String>,
        /// The one that is changed.
        chosen: String,
    },
    /// Pods of a revision obey another policy than the one that is changed (PA-9).
    OtherRevision {
        /// The revision.
        revision: String,
        /// The policy that they obey.
        obeys: Option<String>,
    },
    /// A policy is labelled for a revision that no pod of the namespace runs (PA-9).
    UnseenPolicy {
        /// Its name.
        name: String,
        /// The revision that would see it.
        revision: String,
    },
    /// A workload has its own mode (RE-3).
    WorkloadPolicy {
        /// Name of its policy.
        name: String,
        /// The mode that the switch is about.
        wanted: MtlsMode,
        /// The workload's own mode, where it differs.
        mode: Option<MtlsMode>,
        /// Target ports that differ.
        ports: BTreeMap<u16, MtlsMode>,
    },
    /// Several rules of the namespace are for one host (DR-6, DR-7).
    SeveralRules {
        /// The host.
        host: String,
        /// Those that count.
        in_force: Vec<String>,
        /// Those that do not.
        idle: Vec<String>,
    },
    /// A change of a wildcard rule reaches Services that were not asked for.
    WildcardReachesMore {
        /// Name of the rule.
        rule: String,
        /// The Services.
        services: Vec<String>,
    },
    /// TLS of another kind is given up for the mesh's own.
    ReplacesTls {
        /// Name of the rule.
        rule: String,
        /// Its host.
        host: String,
        /// What it says now.
        tls: ClientTls,
    },
    /// A rule that is not touched tells clients what STRICT refuses.
    Unexpected {
        /// Name of the rule.
        rule: String,
        /// Its host.
        host: String,
        /// What it says.
        tls: ClientTls,
    },
    /// A rule keeps `ISTIO_MUTUAL` because somebody else's field manager owns it.
    ForeignTls {
        /// Name of the rule.
        rule: String,
        /// The field manager.
        manager: String,
    },
    /// A wildcard rule keeps `ISTIO_MUTUAL` because it serves more than was asked for.
    WildcardLeft {
        /// Name of the rule.
        rule: String,
        /// Its host.
        host: String,
    },
    /// A rule keeps `ISTIO_MUTUAL` although the servers will speak plaintext only.
    StillMutual {
        /// Name of the rule.
        rule: String,
        /// Its host.
        host: String,
    },
    /// Services were named, but the policy holds for others too.
    PolicyReachesMore {
        /// The mode that they will have.
        mode: MtlsMode,
        /// The other Services.
        services: Vec<String>,
    },
    /// The legacy API says DISABLE by leaving the peer out.
    LegacyDisable,
    /// A restore leaves an object as it is.
    NotRestored {
        /// Policy or rule.
        target: Target,
        /// Name of the object.
        name: String,
        /// Why.
        left: Left,
    },
}

/// Why a run must not go on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The namespace's policies hold for the whole mesh (RE-2).
    RootNamespace(String),
    /// A Service was named that does not exist.
    UnknownService {
        /// The name as given.
        name: String,
        /// Those that exist.
        exist: Vec<String>,
    },
    /// A policy was chosen that cannot be.
    PolicyNotThere {
        /// The name as given.
        name: String,
        /// Those that can be chosen.
        others: Vec<String>,
    },
    /// The rule that serves a Service of the namespace serves other namespaces too.
    WildcardTooWide {
        /// Name of the rule.
        rule: String,
        /// Its host.
        host: String,
    },
    /// A wildcard rule would break a Service that gets no rule of its own.
    WildcardBreaks {
        /// Name of the rule.
        rule: String,
        /// The Service.
        service: String,
        /// Why it would break.
        reason: SkipReason,
    },
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service/{} gets no rule: {}", self.service, self.reason)
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExternalName => f.write_str("it is an ExternalName, an alias of a name outside"),
            Self::NoSelector => {
                f.write_str("it has no selector, so what stands behind it is not known to be in the mesh")
            }
            Self::ApiServer => f.write_str("it is the API server, which is not in the mesh"),
            Self::OutsideMesh(endpoints) => {
                let verb = if endpoints.len() == 1 { "is" } else { "are" };
                write!(f, "{} {verb} outside the mesh, where ISTIO_MUTUAL would break traffic", list(endpoints))
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServices(namespace) => write!(f, "namespace {namespace} has no Service"),
            Self::SeveralPolicies { by_age, chosen } => write!(
                f,
                "{} policies without a selector, the oldest first: {}; only the oldest is in force, {chosen} is changed \
                 (--policy chooses another)",
                by_age.len(),
                list(by_age)
            ),
            Self::OtherRevision { revision, obeys } => {
                let pods = format!("pods of revision {revision}");
                match obeys {
                    Some(name) => {
                        write!(f, "{pods} obey policy {name}, not the one that is changed (--policy {name} changes it)")
                    }
                    None => write!(
                        f,
                        "{pods} do not see the policy that is changed: it is labelled istio.io/rev for another revision"
                    ),
                }
            }
            Self::UnseenPolicy { name, revision } => {
                write!(
                    f,
                    "policy {name} is labelled istio.io/rev={revision}, which no meshed pod of the namespace runs; it is left alone"
                )
            }
            Self::WorkloadPolicy { name, wanted, mode, ports } => {
                write!(f, "policy {name} has a selector and overrides {wanted} for its workloads:")?;
                if let Some(mode) = mode {
                    write!(f, " {mode}")?;
                }
                for (index, (port, mode)) in ports.iter().enumerate() {
                    let comma = if index > 0 || mode_written(self) { "," } else { "" };
                    write!(f, "{comma} port {port} {mode}")?;
                }
                Ok(())
            }
            Self::SeveralRules { host, in_force, idle } => {
                write!(f, "several DestinationRules are for {host}: {} in force", list(in_force))?;
                if idle.is_empty() { Ok(()) } else { write!(f, ", {} not", list(idle)) }
            }
            Self::WildcardReachesMore { rule, services } => {
                write!(f, "DestinationRule {rule} is a wildcard: it changes {} too", list(services))
            }
            Self::ReplacesTls { rule, host, tls } => {
                write!(
                    f,
                    "DestinationRule {rule} says {tls} for {host}; ISTIO_MUTUAL takes its place, its other TLS settings go"
                )
            }
            Self::Unexpected { rule, host, tls } => write!(
                f,
                "DestinationRule {rule} says {tls} for {host}: its clients are refused under STRICT \
                 (--destination-rules=auto or always changes it)"
            ),
            Self::ForeignTls { rule, manager } => write!(
                f,
                "DestinationRule {rule} keeps ISTIO_MUTUAL: field manager \"{manager}\" owns it (--force-conflicts takes it)"
            ),
            Self::WildcardLeft { rule, host } => {
                write!(f, "DestinationRule {rule} keeps ISTIO_MUTUAL: its host {host} covers more than was asked for")
            }
            Self::StillMutual { rule, host } => write!(
                f,
                "DestinationRule {rule} keeps ISTIO_MUTUAL for {host}: its clients fail once the servers speak plaintext only"
            ),
            Self::LegacyDisable => {
                f.write_str("the legacy API has no DISABLE: the policy loses its mtls peer, which means plaintext only")
            }
            Self::PolicyReachesMore { mode, services } => {
                write!(f, "the policy holds for the whole namespace: {mode} for {} too", list(services))
            }
            Self::NotRestored { target, name, left } => {
                let kind = if *target == Target::Policy { "policy" } else { "DestinationRule" };
                let why = match left {
                    Left::Gone => "somebody deleted it; it is not made again",
                    Left::MadeAnew => "somebody deleted it and made it anew; it is left as it is",
                    Left::Changed => "somebody changed it since; it is left as it is",
                    Left::Between => "somebody changed it between two runs; it goes back to what they made of it",
                    Left::Relabelled => "its labels or annotations were changed since; they are left as they are",
                };
                write!(f, "{kind} {name}: {why}")
            }
        }
    }
}

/// Whether a workload's own mode stands before its ports.
fn mode_written(warning: &Warning) -> bool {
    matches!(warning, Warning::WorkloadPolicy { mode: Some(_), .. })
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootNamespace(namespace) => write!(
                f,
                "{namespace} is the mesh's root namespace: a policy there changes the whole mesh; choose the application's \
                 namespace with -n, or go on with --force"
            ),
            Self::UnknownService { name, exist } => {
                let exist = if exist.is_empty() {
                    "the namespace has none".into()
                } else {
                    format!("there are: {}", list(exist))
                };
                write!(f, "services \"{name}\" not found; {exist}")
            }
            Self::PolicyNotThere { name, others } => {
                let others = if others.is_empty() {
                    "leave --policy out".into()
                } else {
                    format!("policies without a selector are: {}", list(others))
                };
                write!(f, "policy \"{name}\" cannot be the namespace's; {others}")
            }
            Self::WildcardTooWide { rule, host } => write!(
                f,
                "DestinationRule {rule} serves the namespace by {host}, which covers other namespaces too; give the namespace a \
                 rule of its own, leave rules alone with --destination-rules=never, or go on with --force"
            ),
            Self::WildcardBreaks { rule, service, reason } => write!(
                f,
                "DestinationRule {rule} would cover service/{service}: {reason}; give it a rule of its own, or go on with --force"
            ),
        }
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        return format!("{text} and {} more", names.len() - SHOWN);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wording_names_the_thing_and_the_remedy() {
        let workload = |mode, ports: &[(u16, MtlsMode)]| Warning::WorkloadPolicy {
            name: "web".into(),
            wanted: MtlsMode::Strict,
            mode,
            ports: ports.iter().copied().collect(),
        };
        let cases: [(&dyn fmt::Display, &str); 7] = [
            (
                &Skipped { service: "web".into(), reason: SkipReason::OutsideMesh(vec!["web-0".into()]) },
                "service/web gets no rule: web-0 is outside the mesh, where ISTIO_MUTUAL would break traffic",
            ),
            (
                &workload(Some(MtlsMode::Permissive), &[(80, MtlsMode::Disable)]),
                "policy web has a selector and overrides STRICT for its workloads: PERMISSIVE, port 80 DISABLE",
            ),
            (
                &workload(None, &[(80, MtlsMode::Disable), (81, MtlsMode::Permissive)]),
                "policy web has a selector and overrides STRICT for its workloads: port 80 DISABLE, port 81 PERMISSIVE",
            ),
            (
                &Refusal::UnknownService { name: "wbe".into(), exist: vec!["api".into(), "web".into()] },
                "services \"wbe\" not found; there are: api, web",
            ),
            (
                &Warning::SeveralPolicies { by_age: vec!["old".into(), "new".into()], chosen: "old".into() },
                "2 policies without a selector, the oldest first: old, new; only the oldest is in force, old is changed \
                 (--policy chooses another)",
            ),
            (
                &Refusal::PolicyNotThere { name: "x".into(), others: Vec::new() },
                "policy \"x\" cannot be the namespace's; leave --policy out",
            ),
            (
                &Warning::ForeignTls { rule: "web".into(), manager: "argocd-controller".into() },
                "DestinationRule web keeps ISTIO_MUTUAL: field manager \"argocd-controller\" owns it (--force-conflicts takes it)",
            ),
        ];
        for (said, expected) in cases {
            assert_eq!(said.to_string(), expected);
        }
        let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert!(list(&many).ends_with("11 and 8 more"));
    }
}
