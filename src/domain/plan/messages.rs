//! What a plan reports to the user: Services without a rule, warnings, and why the run must not go on. The wording of
//! each is here.

use crate::domain::journal::NotRestored;
use crate::domain::mesh::MtlsMode;
use crate::domain::near_names::did_you_mean;
use crate::domain::object::ObjectKind;
use crate::domain::rule::ClientTls;
use std::collections::BTreeMap;
use std::fmt;

/// A Service that gets no rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Short name, without namespace and domain.
    pub service: String,
    pub reason: SkipReason,
}

/// Why a Service gets no rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// It is an alias of a name outside.
    ExternalName,
    /// Its endpoints are written by hand, so it is not known what they lead to.
    NoSelector,
    /// It is the API server's, which has no sidecar (DR-20).
    ApiServer,
    /// These endpoints have no proxy that could take mutual TLS (DR-19).
    OutsideMesh(Vec<String>),
    /// These endpoints are gateways, whose listeners take no mutual TLS of the mesh (DP-4).
    Gateway(Vec<String>),
    /// These workloads start pods without a proxy.
    FutureOutsideMesh(Vec<String>),
    /// Nothing shows what its endpoints will be.
    NoReadyEndpoint,
    /// None of its ports takes mutual TLS.
    OnlyPlaintext,
    /// At these ports some endpoints take mutual TLS, and some do not.
    PortsDiffer(Vec<u16>),
    /// All its endpoints are in ambient mode, and no client reads its rules (DR-26, DR-27).
    Unread,
}

impl SkipReason {
    /// Whether a rule would break calls to endpoints that are there now.
    pub const fn breaks_calls(&self) -> bool {
        !matches!(self, Self::FutureOutsideMesh(_) | Self::NoReadyEndpoint | Self::Unread)
    }
}

/// What the user should know before going on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// The namespace of this name has no Service.
    NoServices(String),
    /// More than one policy without a selector is in the namespace (PA-4).
    SeveralPolicies {
        /// Their names, the one that takes effect first.
        by_age: Vec<String>,
        /// Name of the one that is changed.
        chosen: String,
    },
    /// Pods of a revision follow another policy than the one that is changed (PA-9).
    OtherRevision {
        revision: String,
        /// Name of that policy; `None` where they follow none.
        follows: Option<String>,
    },
    /// A policy is labelled for a revision that no pod of the namespace runs (PA-9).
    UnseenPolicy {
        name: String,
        /// The value of the label.
        revision: String,
    },
    /// The pods of `--workload` are STRICT by the policy of the namespace.
    StrictAlready {
        /// Name of the policy.
        policy: String,
        selector: String,
    },
    /// A workload has its own mode (RE-3).
    WorkloadPolicy {
        /// Name of the policy with the selector.
        name: String,
        /// The mode that the plan gives the namespace.
        wanted: MtlsMode,
        /// The workload's own mode, where it differs.
        mode: Option<MtlsMode>,
        /// Target ports that differ.
        ports: BTreeMap<u16, MtlsMode>,
    },
    /// Several rules of the namespace are for one host (DR-6, DR-7).
    SeveralRules {
        host: String,
        /// Names of those that take effect.
        in_force: Vec<String>,
        /// Names of those that do not.
        idle: Vec<String>,
    },
    /// A change of a wildcard rule affects Services that the request does not name.
    WildcardReachesMore {
        rule: String,
        /// The Services.
        services: Vec<String>,
    },
    /// `ISTIO_MUTUAL` replaces TLS of another kind.
    ReplacesTls { rule: String, host: String, tls: ClientTls },
    /// A rule keeps the application's own TLS, because the ports stay open for it.
    KeepsTls { rule: String, host: String, tls: ClientTls },
    /// No rule is created beside this one, whose settings it would hide, because clients send mutual TLS already.
    RuleLeftAlone {
        rule: String,
        host: String,
        /// The Services without a new rule.
        services: Vec<String>,
    },
    /// A rule keeps `ISTIO_MUTUAL` because its servers accept nothing else.
    StillRequired {
        rule: String,
        host: String,
        /// What accepts nothing else.
        reason: String,
    },
    /// A rule that is not changed makes clients send what STRICT refuses.
    PlaintextRule { rule: String, host: String, tls: ClientTls },
    /// A rule keeps `ISTIO_MUTUAL` because another field manager owns it.
    ForeignTls { rule: String, manager: String },
    /// A wildcard rule keeps `ISTIO_MUTUAL` because it covers more than the request names.
    WildcardKept { rule: String, host: String },
    /// A rule keeps `ISTIO_MUTUAL` although the servers accept plaintext only from then on.
    StillMutual { rule: String, host: String },
    /// The request names Services, but the policy applies to others too.
    PolicyReachesMore {
        mode: MtlsMode,
        /// Names of the other Services.
        services: Vec<String>,
    },
    /// The legacy API expresses DISABLE by a policy without an `mtls` peer.
    LegacyDisable,
    /// A restore does not bring an object back as it was.
    NotRestored {
        kind: ObjectKind,
        name: String,
        reason: NotRestored,
        /// For [`NotRestored::OtherFields`]: fields as `.spec.selector`.
        other_fields: Vec<String>,
    },
}

/// Why a run must not go on; `--force` lifts some.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanBlocker {
    /// Policies of this namespace apply to the whole mesh (RE-2).
    RootNamespace(String),
    /// The request names a Service that does not exist.
    UnknownService {
        name: String,
        /// Names of the Services of the namespace.
        existing: Vec<String>,
    },
    /// The request names a policy that cannot decide the namespace's mode.
    UnknownPolicy {
        name: String,
        /// Names of the policies that can.
        others: Vec<String>,
    },
    /// `--workload` or `--except` on the legacy API, whose policies have no selector (LP-4).
    LegacySelector,
    /// No pod of the namespace has the labels of `--workload`.
    NoPodMatches {
        /// As on the command line.
        selector: String,
    },
    /// Another policy applies to pods that the request is for: only the oldest of two with a selector counts (PA-4).
    OtherSelector {
        policy: String,
        /// Its selector, as `app=web`.
        selector: String,
        /// Names of the pods.
        pods: Vec<String>,
    },
    /// `--except` names a Service without a selector, so that no policy can select its pods.
    ExceptionWithoutSelector { service: String },
    /// `--except` names a port that the Service does not have.
    UnknownPort {
        service: String,
        /// As on the command line.
        port: String,
        /// Its TCP ports.
        existing: Vec<u16>,
    },
    /// The target port of an exception has a name, and no pod shows its number.
    UnknownTargetPort { service: String, port: u16 },
    /// An exception would open a port for another Service, too.
    SharedException { service: String, target_port: u16, other: String },
    /// The Service needs a rule of its own, which would hide the settings of a rule that covers more than the namespace or
    /// is in the root namespace. `--force` does not lift it.
    HidesSettings { rule: String, host: String, service: String },
    /// A rule makes clients send TLS that the application serves itself, and STRICT would refuse it.
    OwnTls { rule: String, host: String, tls: ClientTls },
    /// A rule keeps `ISTIO_MUTUAL` for servers that would accept plaintext only.
    StillMutual { rule: String, host: String },
    /// A wildcard rule would break a Service that gets no rule of its own.
    WildcardBreaks { rule: String, service: String, reason: SkipReason },
}

impl PlanBlocker {
    /// Whether `--force` goes on in spite of it.
    pub const fn is_lifted_by_force(&self) -> bool {
        match self {
            Self::RootNamespace(_)
            | Self::WildcardBreaks { .. }
            | Self::OwnTls { .. }
            | Self::StillMutual { .. }
            | Self::SharedException { .. } => true,
            Self::UnknownService { .. }
            | Self::UnknownPolicy { .. }
            | Self::LegacySelector
            | Self::NoPodMatches { .. }
            | Self::OtherSelector { .. }
            | Self::ExceptionWithoutSelector { .. }
            | Self::UnknownPort { .. }
            | Self::UnknownTargetPort { .. }
            | Self::HidesSettings { .. } => false,
        }
    }
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
            Self::NoSelector => f.write_str(
                "it has no selector: whoever keeps its endpoints can name addresses that are not in the mesh",
            ),
            Self::ApiServer => f.write_str("it is the API server, which is not in the mesh"),
            Self::OutsideMesh(endpoints) => {
                let verb = if endpoints.len() == 1 { "is" } else { "are" };
                write!(f, "{} {verb} outside the mesh, where ISTIO_MUTUAL would break traffic", list(endpoints))
            }
            Self::Gateway(endpoints) => {
                write!(f, "a gateway's own listeners take no mutual TLS of the mesh: {}", list(endpoints))
            }
            Self::FutureOutsideMesh(workloads) => write!(
                f,
                "{} starts pods without a proxy, where ISTIO_MUTUAL would break traffic; auto mTLS decides for each pod",
                list(workloads)
            ),
            Self::NoReadyEndpoint => {
                f.write_str("it has no ready endpoint, and auto mTLS decides for each pod once it is there")
            }
            Self::OnlyPlaintext => f.write_str(
                "no port of it takes mutual TLS: not captured, mode DISABLE, or ambient pods to which sidecars send no HBONE",
            ),
            Self::PortsDiffer(ports) => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                write!(f, "its pods differ at port {}, and auto mTLS decides for each pod", list(&ports))
            }
            Self::Unread => f.write_str(
                "all its pods are in ambient mode, where clients send HBONE and read no rule (--destination-rules=always writes \
                 one nevertheless)",
            ),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServices(namespace) => write!(f, "namespace {namespace} has no Service"),
            Self::StrictAlready { policy, selector } => write!(
                f,
                "the pods with {selector} are STRICT already, by policy {policy} of the namespace: they need no policy of their own"
            ),
            Self::SeveralPolicies { by_age, chosen } => write!(
                f,
                "{} policies without a selector, the oldest first: {}; only the oldest is in force, {chosen} is changed \
                 (--policy chooses another)",
                by_age.len(),
                list(by_age)
            ),
            Self::OtherRevision { revision, follows } => {
                let pods = format!("pods of revision {revision}");
                match follows {
                    Some(name) => {
                        write!(
                            f,
                            "policy {name} applies to {pods}, not the one that is changed (--policy {name} changes it)"
                        )
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
                f.write_str(" (mode-exception)")
            }
            Self::SeveralRules { .. }
            | Self::WildcardReachesMore { .. }
            | Self::ReplacesTls { .. }
            | Self::KeepsTls { .. }
            | Self::RuleLeftAlone { .. }
            | Self::StillRequired { .. }
            | Self::PlaintextRule { .. }
            | Self::ForeignTls { .. }
            | Self::WildcardKept { .. }
            | Self::StillMutual { .. } => self.fmt_rule(f),
            Self::LegacyDisable => {
                f.write_str("the legacy API has no DISABLE: the policy loses its mtls peer, which means plaintext only")
            }
            Self::PolicyReachesMore { mode, services } => {
                write!(f, "the policy holds for the whole namespace: {mode} for {} too", list(services))
            }
            Self::NotRestored { kind, name, reason, other_fields } => {
                let kind = if *kind == ObjectKind::Policy { "policy" } else { "DestinationRule" };
                let reason = match reason {
                    NotRestored::Deleted => "somebody deleted it; it is not made again",
                    NotRestored::Recreated => "somebody deleted it and made it anew; it is left as it is",
                    NotRestored::Changed => "somebody changed it since; it is left as it is",
                    NotRestored::ChangedBetweenRuns => {
                        "somebody changed it between two runs; it goes back to what they made of it"
                    }
                    NotRestored::Relabelled => {
                        "its labels or annotations were changed since; they are left as they are"
                    }
                    NotRestored::NotOurs => {
                        "a journal names it as created by a run, but the object does not show that; it is not deleted"
                    }
                    NotRestored::OtherFields => {
                        "its journal would change fields that this tool has not written; it is left as it is"
                    }
                };
                write!(f, "{kind} {name}: {reason}")?;
                if other_fields.is_empty() { Ok(()) } else { write!(f, ": {}", list(other_fields)) }
            }
        }
    }
}

impl Warning {
    /// The text of a warning about rules; the others have none here.
    fn fmt_rule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Self::KeepsTls { rule, host, tls } => {
                write!(f, "DestinationRule {rule} keeps {tls} for {host}, whose ports have an exception from STRICT")
            }
            Self::RuleLeftAlone { rule, host, services } => write!(
                f,
                "no DestinationRule is created for {}: it would hide the other settings of {rule} ({host}), which covers other \
                 namespaces too and is left as it is; clients send mutual TLS without one (--destination-rules=auto creates \
                 rules only where they are needed)",
                list(services)
            ),
            Self::StillRequired { rule, host, reason } => {
                write!(f, "DestinationRule {rule} keeps ISTIO_MUTUAL for {host}, which accepts nothing else: {reason}")
            }
            Self::PlaintextRule { rule, host, tls } => write!(
                f,
                "DestinationRule {rule} says {tls} for {host}: its clients are refused under STRICT \
                 (--destination-rules=auto or always changes it)"
            ),
            Self::ForeignTls { rule, manager } => write!(
                f,
                "DestinationRule {rule} keeps ISTIO_MUTUAL: field manager \"{manager}\" owns it (--force-conflicts takes it)"
            ),
            Self::WildcardKept { rule, host } => {
                write!(f, "DestinationRule {rule} keeps ISTIO_MUTUAL: its host {host} covers more than was asked for")
            }
            Self::StillMutual { rule, host } => write!(
                f,
                "DestinationRule {rule} keeps ISTIO_MUTUAL for {host}: its clients fail once the servers speak plaintext only"
            ),
            _ => Ok(()),
        }
    }
}

/// Whether the text names a workload's own mode before its ports.
fn mode_written(warning: &Warning) -> bool {
    matches!(warning, Warning::WorkloadPolicy { mode: Some(_), .. })
}

impl fmt::Display for PlanBlocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RootNamespace(namespace) => write!(
                f,
                "{namespace} is the mesh's root namespace: a policy there changes the whole mesh; choose the application's \
                 namespace with -n, or go on with --force"
            ),
            Self::UnknownService { name, existing } => {
                let known = if existing.is_empty() {
                    "the namespace has none".into()
                } else {
                    format!("there are: {}", list(existing))
                };
                let question = did_you_mean(name, existing).map_or_else(String::new, |question| format!("{question} "));
                write!(f, "services \"{name}\" not found; {question}{known}")
            }
            Self::UnknownPolicy { name, others } => {
                let others = if others.is_empty() {
                    "leave --policy out".into()
                } else {
                    format!("policies without a selector are: {}", list(others))
                };
                write!(f, "policy \"{name}\" cannot be the namespace's; {others}")
            }
            Self::LegacySelector
            | Self::NoPodMatches { .. }
            | Self::OtherSelector { .. }
            | Self::ExceptionWithoutSelector { .. }
            | Self::UnknownPort { .. }
            | Self::UnknownTargetPort { .. }
            | Self::SharedException { .. } => self.fmt_selector(f),
            Self::HidesSettings { rule, host, service } => write!(
                f,
                "service/{service} needs a DestinationRule of its own, which would hide the other settings of {rule} ({host}), a \
                 rule that covers other namespaces too and is not changed; create a rule for the Service that repeats these \
                 settings with tls ISTIO_MUTUAL, or pass --destination-rules=never"
            ),
            Self::OwnTls { rule, host, tls } => write!(
                f,
                "destinationrule/{rule} makes clients send {tls} TLS to {host}: the application serves that TLS itself, \
                 ISTIO_MUTUAL would take it away, and STRICT refuses it; give the port an exception (a PeerAuthentication with \
                 portLevelMtls PERMISSIVE), or let the application serve plaintext and set the rule's tls to ISTIO_MUTUAL"
            ),
            Self::StillMutual { rule, host } => write!(
                f,
                "destinationrule/{rule} keeps ISTIO_MUTUAL for {host}, whose servers would accept plaintext only, so that calls \
                 fail; change the rule first, or use --mode=permissive"
            ),
            Self::WildcardBreaks { rule, service, reason } => write!(
                f,
                "DestinationRule {rule} would cover service/{service}: {reason}; give it a rule of its own, or go on with --force"
            ),
        }
    }
}

impl PlanBlocker {
    /// The text of a blocker of `--workload` or `--except`; the others have none here.
    fn fmt_selector(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LegacySelector => f.write_str(
                "the policies of this mesh (authentication.istio.io) have no selector, which --workload and --except need",
            ),
            Self::NoPodMatches { selector } => {
                write!(f, "no pod of the namespace has the labels {selector}; kubectl get pods --show-labels lists them")
            }
            Self::OtherSelector { policy, selector, pods } => write!(
                f,
                "peerauthentication/{policy} ({selector}) selects {} already, and only the oldest policy of a pod is in force;                  select all of its pods, or delete it first",
                list(pods)
            ),
            Self::ExceptionWithoutSelector { service } => {
                write!(f, "service/{service} has no selector, so no policy can make an exception for its pods")
            }
            Self::UnknownPort { service, port, existing } => {
                let existing: Vec<String> = existing.iter().map(u16::to_string).collect();
                write!(f, "service/{service} has no TCP port {port}; it has: {}", list(&existing))
            }
            Self::UnknownTargetPort { service, port } => write!(
                f,
                "the number of the target port of {service}:{port} is not known: it is a name, and no pod of the Service is                  there; start one first"
            ),
            Self::SharedException { service, target_port, other } => write!(
                f,
                "the exception for service/{service} opens port {target_port} of its pods for service/{other}, too; name both                  (--except {service} --except {other}), or go on with --force"
            ),
            _ => Ok(()),
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
    fn a_message_names_the_object_and_the_remedy() {
        let workload = |mode, ports: &[(u16, MtlsMode)]| Warning::WorkloadPolicy {
            name: "web".into(),
            wanted: MtlsMode::Strict,
            mode,
            ports: ports.iter().copied().collect(),
        };
        let cases: [(&dyn fmt::Display, &str); 9] = [
            (
                &Skipped { service: "web".into(), reason: SkipReason::OutsideMesh(vec!["web-0".into()]) },
                "service/web gets no rule: web-0 is outside the mesh, where ISTIO_MUTUAL would break traffic",
            ),
            (
                &workload(Some(MtlsMode::Permissive), &[(80, MtlsMode::Disable)]),
                "policy web has a selector and overrides STRICT for its workloads: PERMISSIVE, port 80 DISABLE (mode-exception)",
            ),
            (
                &workload(None, &[(80, MtlsMode::Disable), (81, MtlsMode::Permissive)]),
                "policy web has a selector and overrides STRICT for its workloads: port 80 DISABLE, port 81 PERMISSIVE (mode-exception)",
            ),
            (
                &PlanBlocker::UnknownService { name: "wbe".into(), existing: vec!["api".into(), "web".into()] },
                "services \"wbe\" not found; there are: api, web",
            ),
            (
                &PlanBlocker::UnknownService { name: "webs".into(), existing: vec!["api".into(), "web".into()] },
                "services \"webs\" not found; did you mean web? there are: api, web",
            ),
            (
                &Warning::SeveralPolicies { by_age: vec!["old".into(), "new".into()], chosen: "old".into() },
                "2 policies without a selector, the oldest first: old, new; only the oldest is in force, old is changed \
                 (--policy chooses another)",
            ),
            (
                &Warning::StrictAlready { policy: "default".into(), selector: "app=web".into() },
                "the pods with app=web are STRICT already, by policy default of the namespace: they need no policy of their own",
            ),
            (
                &PlanBlocker::UnknownPolicy { name: "x".into(), others: Vec::new() },
                "policy \"x\" cannot be the namespace's; leave --policy out",
            ),
            (
                &Warning::ForeignTls { rule: "web".into(), manager: "argocd-controller".into() },
                "DestinationRule web keeps ISTIO_MUTUAL: field manager \"argocd-controller\" owns it (--force-conflicts takes it)",
            ),
        ];
        for (message, expected) in cases {
            assert_eq!(message.to_string(), expected);
        }
        let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        assert!(list(&many).ends_with("11 and 8 more"));
    }
}
