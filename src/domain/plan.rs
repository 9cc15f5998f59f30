//! Computes what a switch changes in a namespace: the policy that decides its mode, and the `DestinationRules` that
//! serve its Services. [`plan()`] does so for a [`SwitchRequest`], [`plan_user_manifests`] for the user's own
//! manifests, and [`restoration`] for journals.
//!
//! A plan names objects, fields and former values; `istio` turns it into JSON.

mod after;
mod exceptions;
mod leftovers;
mod messages;
mod names;
mod policy;
mod restore;
mod rules;
mod user_manifests;
mod workload;

use super::effective::{legacy_server_mode, server_mode};
use super::journal::ObjectState;
use super::mesh::{DataPlane, MtlsMode, PeerAuthentication, Pod, Snapshot};
pub use super::object::{ObjectJson, ObjectKind};
use super::probe::Target;
pub use super::rule::TlsPlace;
use super::rule::{ClientTls, DestinationRule};
pub use after::{after, policies_after};
pub use leftovers::{Leftover, leftovers};
pub use messages::{PlanBlocker, SkipReason, Skipped, Warning};
pub use policy::DEFAULT_POLICY_NAME;
pub use restore::restoration;
use std::collections::BTreeMap;
pub use user_manifests::plan_user_manifests;
pub use workload::{policy_name as workload_policy_name, services as workload_services};

/// What the namespace shall become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// STRICT, and clients that send mutual TLS.
    Enable,
    /// A mode that accepts plaintext, and clients without a setting of their own.
    Disable {
        /// PERMISSIVE, or DISABLE where the user asks for plaintext only (RE-8).
        mode: MtlsMode,
    },
}

impl Direction {
    /// The mode that the policy gets.
    pub const fn mode(self) -> MtlsMode {
        match self {
            Self::Enable => MtlsMode::Strict,
            Self::Disable { mode } => mode,
        }
    }
}

/// For which Services `DestinationRules` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleChoice {
    /// For every Service whose rules a client reads: not where all its endpoints are in ambient mode, and no client with a
    /// sidecar and no waypoint is there.
    WhereRead,
    /// For every Service, as in the walk-through.
    Always,
    /// Only where they are needed: no auto mTLS, a legacy mesh, or a rule that contradicts the request (RE-4).
    Auto,
    /// For none.
    Never,
}

/// How many Services a new rule covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleScope {
    /// One rule per Service.
    Service,
    /// One rule for `*.NAMESPACE.svc.DOMAIN`.
    Namespace,
}

/// The pods whose mode a request changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodScope {
    /// All of the namespace.
    Namespace {
        /// `--except`: Services and ports that stay open when the namespace turns STRICT.
        exceptions: Vec<Target>,
    },
    /// `--workload`: the pods with these labels; never empty.
    Workload(BTreeMap<String, String>),
}

/// What the user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRequest {
    pub direction: Direction,
    pub pods: PodScope,
    /// Only these Services; `None` is all of them.
    pub services: Option<Vec<String>>,
    pub destination_rules: RuleChoice,
    pub scope: RuleScope,
    /// Name of the policy to change; `None` lets the plan choose it.
    pub policy: Option<String>,
    /// Go on where a [`PlanBlocker`] or a [`SkipReason::OutsideMesh`] would stop.
    pub force: bool,
    /// Change fields that other field managers own, also when disabling.
    pub force_conflicts: bool,
}

impl RuleChoice {
    /// Whether a rule is written although clients would do the same without it.
    pub const fn is_explicit(self) -> bool {
        matches!(self, Self::WhereRead | Self::Always)
    }
}

impl SwitchRequest {
    /// All Services, a rule for each that clients read, nothing forced.
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            pods: PodScope::Namespace { exceptions: Vec::new() },
            services: None,
            destination_rules: RuleChoice::WhereRead,
            scope: RuleScope::Service,
            policy: None,
            force: false,
            force_conflicts: false,
        }
    }
}

/// What happens to a policy.
///
/// `policy` is what the object of the user's manifest says afterwards; `None` for the legacy API.
///
/// In the variants, `mode` is the mode of the pods that the run is for, after the change; `None` where this policy does
/// not decide it (it selects other pods, or somebody else changed it since), so that nothing waits for it.
/// `current_mode` is the mode that the policy sets before the change; `None` is UNSET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyAction {
    /// A policy without a selector is created.
    Create { mode: MtlsMode },
    /// A policy for the pods with these labels is created, with modes of target ports. Without a `mode`, the other ports
    /// have the mode of the namespace.
    CreateForPods { selector: BTreeMap<String, String>, mode: Option<MtlsMode>, ports: BTreeMap<u16, MtlsMode> },
    /// Target ports of an existing policy get a mode; the rest of the policy stays.
    SetPorts { ports: BTreeMap<u16, MtlsMode> },
    /// The mode of an existing policy changes. `from` is `None` for UNSET, or for a legacy policy without an `mtls` peer.
    SetMode { from: Option<MtlsMode>, to: MtlsMode },
    /// The user's manifest is applied; there is no such object yet.
    Apply { object: ObjectJson, mode: Option<MtlsMode>, policy: Option<Box<PeerAuthentication>> },
    /// The spec of an existing policy becomes this one: the user's manifest, merged into what is there.
    Merge {
        spec: ObjectJson,
        current_mode: Option<MtlsMode>,
        mode: Option<MtlsMode>,
        policy: Option<Box<PeerAuthentication>>,
    },
    /// An existing policy gets its former spec back.
    PutBack { spec: ObjectJson, current_mode: Option<MtlsMode>, mode: Option<MtlsMode> },
    /// The policy is deleted, because a run that is undone created it.
    Delete { current_mode: Option<MtlsMode>, mode: Option<MtlsMode> },
    /// The policy, which this tool created, is deleted: a wider one says the same for its pods.
    DeleteSuperfluous,
    /// The policy, which a run that is undone deleted, is created as it was.
    Recreate { former: Box<ObjectState>, mode: Option<MtlsMode> },
    /// The policy is as it should be.
    Unchanged { mode: Option<MtlsMode> },
}

/// The change of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    pub namespace: String,
    pub name: String,
    pub action: PolicyAction,
}

impl PolicyChange {
    /// The mode of the pods that the run is for, after the change, where this policy decides it.
    pub const fn mode(&self) -> Option<MtlsMode> {
        match &self.action {
            PolicyAction::Create { mode } | PolicyAction::SetMode { to: mode, .. } => Some(*mode),
            PolicyAction::CreateForPods { mode, .. }
            | PolicyAction::Apply { mode, .. }
            | PolicyAction::Merge { mode, .. }
            | PolicyAction::PutBack { mode, .. }
            | PolicyAction::Delete { mode, .. }
            | PolicyAction::Recreate { mode, .. }
            | PolicyAction::Unchanged { mode } => *mode,
            PolicyAction::SetPorts { .. } | PolicyAction::DeleteSuperfluous => None,
        }
    }

    /// Whether anything is written.
    pub const fn is_write(&self) -> bool {
        !matches!(self.action, PolicyAction::Unchanged { .. })
    }
}

/// One change of a `tls` block of an existing `DestinationRule`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsEdit {
    /// The mode becomes `ISTIO_MUTUAL`. `from` is the mode before; `None` is no `tls` block.
    Set { place: TlsPlace, from: Option<ClientTls> },
    /// An `ISTIO_MUTUAL` block is removed, with every parent that it leaves empty (VA-3).
    Remove { place: TlsPlace },
}

impl TlsEdit {
    /// Where the `tls` block is.
    pub const fn place(self) -> TlsPlace {
        match self {
            Self::Set { place, .. } | Self::Remove { place } => place,
        }
    }
}

/// What happens to a `DestinationRule`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleAction {
    /// A rule with `ISTIO_MUTUAL` is created for this fully qualified host. `plaintext_ports` are Service ports that take
    /// no mutual TLS: for them the rule says DISABLE.
    Create { host: String, plaintext_ports: Vec<u16> },
    /// `tls` blocks of an existing rule change; never empty.
    Edit(Vec<TlsEdit>),
    /// The user's manifest is applied; there is no such object yet. `rule` is what it says.
    Apply { object: ObjectJson, rule: Box<DestinationRule> },
    /// The spec of an existing rule becomes this one: the user's manifest, merged into what is there. `rule` is what
    /// the result says.
    Merge { spec: ObjectJson, rule: Box<DestinationRule> },
    /// An existing rule gets its former spec back.
    PutBack { spec: ObjectJson },
    /// The rule is deleted, because a run that is undone created it.
    Delete,
    /// The rule is as it should be.
    Unchanged,
}

impl RuleAction {
    fn from_edits(edits: Vec<TlsEdit>) -> Self {
        if edits.is_empty() { Self::Unchanged } else { Self::Edit(edits) }
    }
}

/// The change of one `DestinationRule`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleChange {
    pub namespace: String,
    pub name: String,
    pub action: RuleAction,
}

impl RuleChange {
    /// Whether anything is written.
    pub fn is_write(&self) -> bool {
        self.action != RuleAction::Unchanged
    }
}

/// The change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Of what servers accept.
    Policy(PolicyChange),
    /// Of what clients send.
    Rule(RuleChange),
}

impl Change {
    /// The kind of the object.
    pub const fn kind(&self) -> ObjectKind {
        match self {
            Self::Policy(_) => ObjectKind::Policy,
            Self::Rule(_) => ObjectKind::Rule,
        }
    }

    /// Namespace of the object.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Policy(policy) => &policy.namespace,
            Self::Rule(rule) => &rule.namespace,
        }
    }

    /// Name of the object.
    pub fn name(&self) -> &str {
        match self {
            Self::Policy(policy) => &policy.name,
            Self::Rule(rule) => &rule.name,
        }
    }

    /// Whether the two are about the same object.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (self.kind(), self.namespace(), self.name()) == (other.kind(), other.namespace(), other.name())
    }

    /// The mode of the pods that the run is for, after the change of a policy that decides it.
    pub const fn mode(&self) -> Option<MtlsMode> {
        match self {
            Self::Policy(policy) => policy.mode(),
            Self::Rule(_) => None,
        }
    }

    /// Whether anything is written.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Policy(policy) => policy.is_write(),
            Self::Rule(rule) => rule.is_write(),
        }
    }

    /// Whether the object is created.
    pub const fn is_creation(&self) -> bool {
        match self {
            Self::Policy(policy) => matches!(
                policy.action,
                PolicyAction::Create { .. }
                    | PolicyAction::CreateForPods { .. }
                    | PolicyAction::Apply { .. }
                    | PolicyAction::Recreate { .. }
            ),
            Self::Rule(rule) => matches!(rule.action, RuleAction::Create { .. } | RuleAction::Apply { .. }),
        }
    }

    /// Whether the object is deleted.
    pub const fn is_deletion(&self) -> bool {
        match self {
            Self::Policy(policy) => {
                matches!(policy.action, PolicyAction::Delete { .. } | PolicyAction::DeleteSuperfluous)
            }
            Self::Rule(rule) => matches!(rule.action, RuleAction::Delete),
        }
    }

    /// Whether fields of an existing object change that others may own. What a restore puts back was this tool's own.
    pub const fn changes_fields(&self) -> bool {
        match self {
            Self::Policy(policy) => matches!(
                policy.action,
                PolicyAction::SetMode { .. } | PolicyAction::SetPorts { .. } | PolicyAction::Merge { .. }
            ),
            Self::Rule(rule) => matches!(rule.action, RuleAction::Edit(_) | RuleAction::Merge { .. }),
        }
    }

    /// The result in kubectl's terms: `created`, `configured`, `restored`, `deleted` or `unchanged`.
    pub const fn result_word(&self) -> &'static str {
        match self {
            Self::Policy(policy) => match policy.action {
                PolicyAction::Create { .. } | PolicyAction::CreateForPods { .. } | PolicyAction::Apply { .. } => {
                    "created"
                }
                PolicyAction::SetMode { .. } | PolicyAction::SetPorts { .. } | PolicyAction::Merge { .. } => {
                    "configured"
                }
                PolicyAction::PutBack { .. } | PolicyAction::Recreate { .. } => "restored",
                PolicyAction::Delete { .. } | PolicyAction::DeleteSuperfluous => "deleted",
                PolicyAction::Unchanged { .. } => "unchanged",
            },
            Self::Rule(rule) => match rule.action {
                RuleAction::Create { .. } | RuleAction::Apply { .. } => "created",
                RuleAction::Edit(_) | RuleAction::Merge { .. } => "configured",
                RuleAction::PutBack { .. } => "restored",
                RuleAction::Delete => "deleted",
                RuleAction::Unchanged => "unchanged",
            },
        }
    }
}

impl PolicyAction {
    /// The PeerAuthentication that a manifest of the user makes; `None` for other actions, and for the legacy API.
    pub fn given_policy(&self) -> Option<&PeerAuthentication> {
        match self {
            Self::Apply { policy, .. } | Self::Merge { policy, .. } => policy.as_deref(),
            Self::Create { .. }
            | Self::CreateForPods { .. }
            | Self::SetMode { .. }
            | Self::SetPorts { .. }
            | Self::PutBack { .. }
            | Self::Delete { .. }
            | Self::DeleteSuperfluous
            | Self::Recreate { .. }
            | Self::Unchanged { .. } => None,
        }
    }
}

/// What a switch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub direction: Direction,
    /// Whether it is for single workloads (`--workload`), not for the namespace.
    pub is_step: bool,
    /// The policy that decides the namespace's mode; `None` where it cannot be chosen (a blocker says why).
    pub policy: Option<PolicyChange>,
    /// Policies that keep ports open; they are written before the namespace turns STRICT.
    pub exceptions: Vec<PolicyChange>,
    /// Further policies, of the user's manifests or of a restore.
    pub more_policies: Vec<PolicyChange>,
    /// Policies of earlier runs of this tool that the new one makes superfluous; they are deleted when it is in force.
    pub superfluous: Vec<PolicyChange>,
    /// The rules, by name.
    pub rules: Vec<RuleChange>,
    /// Services that get no rule.
    pub skipped: Vec<Skipped>,
    /// Sorted, each once.
    pub warnings: Vec<Warning>,
    /// Why the run must not go on; sorted, each once.
    pub blockers: Vec<PlanBlocker>,
    /// Whether the rules change what clients send, so that sidecars need time to load them.
    pub rules_need_settling: bool,
    /// Whether the policy must be PERMISSIVE while the rules change, because the mode before or after is DISABLE, and
    /// a port in DISABLE does not terminate mutual TLS (PA-7).
    pub passes_permissive: bool,
}

/// Changes of one kind that are made together, before the next phase begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The kind of all its changes.
    pub kind: ObjectKind,
    /// Also those that write nothing.
    pub changes: Vec<Change>,
    /// For a phase of rules: whether to wait until clients send what the rules say. A phase of policies is always
    /// waited for, by its effect.
    pub needs_settle: bool,
}

impl Phase {
    fn of_policies(policies: impl IntoIterator<Item = PolicyChange>) -> Self {
        let changes = policies.into_iter().map(Change::Policy).collect();
        Self { kind: ObjectKind::Policy, changes, needs_settle: false }
    }

    /// Whether anything is written.
    pub fn has_writes(&self) -> bool {
        self.changes.iter().any(Change::is_write)
    }
}

impl Plan {
    const fn empty(direction: Direction) -> Self {
        Self {
            direction,
            is_step: false,
            policy: None,
            exceptions: Vec::new(),
            more_policies: Vec::new(),
            superfluous: Vec::new(),
            rules: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
            blockers: Vec::new(),
            rules_need_settling: false,
            passes_permissive: false,
        }
    }

    /// The changes in the order that loses no call (RE-7): when enabling, rules before the policy; when disabling, the
    /// policy before rules. Exceptions come before the policy from which they except, and what it makes superfluous after
    /// it.
    ///
    /// A policy that passes PERMISSIVE comes twice; it has another resource version the second time.
    pub fn phases(&self) -> Vec<Phase> {
        let policies =
            |first: Option<PolicyChange>| Phase::of_policies(first.into_iter().chain(self.more_policies.clone()));
        let rules = Phase {
            kind: ObjectKind::Rule,
            changes: self.rules.iter().cloned().map(Change::Rule).collect(),
            needs_settle: self.rules_need_settling,
        };
        let exceptions = Phase::of_policies(self.exceptions.iter().cloned());
        let superfluous = Phase::of_policies(self.superfluous.iter().cloned());
        let (first, last) = if self.passes_permissive {
            self.policy.as_ref().map(policy::through_permissive).unzip()
        } else if self.direction == Direction::Enable {
            (None, self.policy.clone())
        } else {
            (self.policy.clone(), None)
        };
        let phases = match (self.direction, self.passes_permissive) {
            (Direction::Enable, _) => vec![Phase::of_policies(first), rules, exceptions, policies(last), superfluous],
            (Direction::Disable { .. }, true) => vec![Phase::of_policies(first), superfluous, rules, policies(last)],
            (Direction::Disable { .. }, false) => vec![policies(first), superfluous, rules],
        };
        phases.into_iter().filter(|phase| !phase.changes.is_empty()).collect()
    }

    /// Whether the phase after the rules refuses clients that have not loaded them: STRICT refuses plaintext, and a port
    /// in DISABLE does not terminate mutual TLS.
    pub fn needs_loaded_rules(&self) -> bool {
        self.direction == Direction::Enable || self.passes_permissive
    }

    /// The policies, the deciding one first.
    pub fn policies(&self) -> impl Iterator<Item = &PolicyChange> {
        self.policy.iter().chain(&self.exceptions).chain(&self.more_policies).chain(&self.superfluous)
    }

    /// Every change, policies first; each object once.
    pub fn changes(&self) -> impl Iterator<Item = Change> {
        self.policies().cloned().map(Change::Policy).chain(self.rules.iter().cloned().map(Change::Rule))
    }

    /// The changes that write something, policies first; each object once.
    pub fn writes(&self) -> Vec<Change> {
        self.changes().filter(Change::is_write).collect()
    }

    /// Whether anything is written.
    pub fn has_writes(&self) -> bool {
        self.policies().any(PolicyChange::is_write) || self.writes_rules()
    }

    fn writes_rules(&self) -> bool {
        self.rules.iter().any(RuleChange::is_write)
    }

    fn writes_policy(&self) -> bool {
        self.policy.as_ref().is_some_and(PolicyChange::is_write)
    }
}

/// What to change in `snapshot` so that it is as requested. The order of the snapshot's lists does not matter.
pub fn plan(snapshot: &Snapshot, request: &SwitchRequest) -> Plan {
    let mut plan = Plan::empty(request.direction);
    plan.is_step = matches!(request.pods, PodScope::Workload(_));
    let root = &snapshot.policies.root_namespace;
    if snapshot.namespace == *root && !request.force {
        plan.blockers.push(PlanBlocker::RootNamespace(root.clone()));
    }
    if snapshot.services.is_empty() {
        plan.warnings.push(Warning::NoServices(snapshot.namespace.clone()));
    }
    match &request.pods {
        PodScope::Namespace { exceptions } => {
            policy::plan(snapshot, request, &mut plan);
            workload::plan_superfluous(snapshot, &mut plan);
            exceptions::plan(snapshot, exceptions, &mut plan);
        }
        PodScope::Workload(labels) => workload::plan(snapshot, labels, &mut plan),
    }
    rules::plan(snapshot, request, &mut plan);

    if let Some(named) = request.services.as_ref().filter(|_| !plan.is_step && plan.writes_policy()) {
        let others = snapshot.services.iter().map(|service| &service.name).filter(|name| !named.contains(name));
        let mut services: Vec<String> = others.cloned().collect();
        services.sort();
        if !services.is_empty() && plan.blockers.is_empty() {
            plan.warnings.push(Warning::PolicyReachesMore { mode: request.direction.mode(), services });
        }
    }
    plan.passes_permissive = needs_permissive_step(snapshot, &plan);
    plan.warnings.sort();
    plan.warnings.dedup();
    plan.blockers.sort();
    plan.blockers.dedup();
    plan
}

/// Whether the plan changes rules and policy, and leads from DISABLE to STRICT, or to DISABLE from anything else.
fn needs_permissive_step(snapshot: &Snapshot, plan: &Plan) -> bool {
    let is_disabled = namespace_mode(snapshot) == Some(MtlsMode::Disable);
    let enters_or_leaves_disable = match plan.direction {
        Direction::Enable => is_disabled,
        Direction::Disable { mode } => mode == MtlsMode::Disable && !is_disabled,
    };
    plan.writes_rules() && plan.writes_policy() && enters_or_leaves_disable
}

/// The mode of a workload of the namespace that no policy selects, `None` where it is not known.
fn namespace_mode(snapshot: &Snapshot) -> Option<MtlsMode> {
    if snapshot.policies.legacy_only {
        return legacy_server_mode(&snapshot.policies, &snapshot.namespace, "", 0, None).mode;
    }
    let unselected_pod = |revision| Pod {
        namespace: snapshot.namespace.clone(),
        data_plane: DataPlane::Sidecar,
        revision: Some(revision),
        ready: true,
        ..Pod::default()
    };
    let mode = |revision| server_mode(&snapshot.policies, &unselected_pod(revision), 0).mode;
    let modes: Vec<_> = policy::revisions(snapshot).into_iter().map(mode).collect();
    // Where revisions differ, the plan is made for the mode that breaks most.
    modes.iter().flatten().max().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{DISABLE, ENABLE, policy, rule, shop};

    fn order(plan: &Plan) -> Vec<(ObjectKind, Option<MtlsMode>, bool)> {
        plan.phases().iter().map(|phase| (phase.kind, phase.changes[0].mode(), phase.needs_settle)).collect()
    }

    #[test]
    fn rules_change_before_the_policy_when_enabling_and_after_it_when_disabling() {
        let snapshot = shop(&["web"]);
        assert_eq!(
            order(&plan(&snapshot, &ENABLE)),
            [(ObjectKind::Rule, None, false), (ObjectKind::Policy, Some(MtlsMode::Strict), false)]
        );
        let mut strict = shop(&["web"]);
        strict.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
        strict.rules.push(rule("web", "web", Some(ClientTls::IstioMutual)));
        assert!(!plan(&strict, &DISABLE).needs_loaded_rules(), "PERMISSIVE takes both");
        assert_eq!(
            order(&plan(&strict, &DISABLE)),
            [(ObjectKind::Policy, Some(MtlsMode::Permissive), false), (ObjectKind::Rule, None, true)]
        );
    }

    #[test]
    fn a_change_from_or_to_disable_passes_permissive() {
        let through = [(ObjectKind::Policy, Some(MtlsMode::Permissive), false), (ObjectKind::Rule, None, true)];
        let mut disabled = shop(&["web"]);
        disabled.policies.peer.push(policy("default", 1, Some(MtlsMode::Disable)));
        let enabling = plan(&disabled, &ENABLE);
        assert_eq!(order(&enabling)[..2], through);
        assert!(enabling.needs_loaded_rules());
        let Change::Policy(last) = &enabling.phases()[2].changes[0] else { panic!("a policy") };
        assert_eq!(last.action, PolicyAction::SetMode { from: Some(MtlsMode::Permissive), to: MtlsMode::Strict });

        let mut strict = shop(&["web"]);
        strict.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
        strict.rules.push(rule("web", "web", Some(ClientTls::IstioMutual)));
        let disabling = plan(&strict, &SwitchRequest::new(Direction::Disable { mode: MtlsMode::Disable }));
        assert_eq!(order(&disabling)[..2], through);
        assert!(disabling.needs_loaded_rules(), "a port in DISABLE does not understand mutual TLS");
        assert_eq!(disabling.phases()[2].changes[0].mode(), Some(MtlsMode::Disable));
    }

    #[test]
    fn a_legacy_mesh_without_a_policy_passes_permissive_too() {
        let mut snapshot = shop(&["web"]);
        snapshot.policies.legacy_only = true;
        let plan = plan(&snapshot, &ENABLE);
        let phases = plan.phases();
        let Change::Policy(first) = &phases[0].changes[0] else { panic!("a policy") };
        assert_eq!(first.action, PolicyAction::Create { mode: MtlsMode::Permissive });
        assert!(phases[1].needs_settle, "no auto mTLS there");
        assert_eq!(phases[2].changes[0].mode(), Some(MtlsMode::Strict));
    }

    #[test]
    fn the_root_namespace_and_an_empty_namespace_are_reported() {
        let mut snapshot = shop(&[]);
        assert_eq!(plan(&snapshot, &ENABLE).warnings, [Warning::NoServices("shop".into())]);
        snapshot.namespace = "istio-system".into();
        for request in [ENABLE, DISABLE] {
            assert_eq!(plan(&snapshot, &request).blockers, [PlanBlocker::RootNamespace("istio-system".into())]);
            assert!(plan(&snapshot, &SwitchRequest { force: true, ..request }).blockers.is_empty());
        }
    }
}
