//! What a switch changes: one policy of the namespace and the `DestinationRules` that serve its Services.
//!
//! A plan is semantic. It names objects, places and former values; how that becomes JSON is `istio`'s business.

mod after;
mod given;
mod policy;
mod restore;
mod rules;
#[cfg(test)]
pub(crate) mod samples;
mod words;

use super::effective::{legacy_server_mode, server_mode};
use super::mesh::{Capture, DataPlane, MtlsMode, Pod, PodFacts, Snapshot};
pub use super::rule::TlsPlace;
use super::rule::{ClientTls, DestinationRule};
pub use after::after;
pub use given::{Given, given};
pub use restore::restoration;
pub use words::{Refusal, SkipReason, Skipped, Warning};

/// Which way the switch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// STRICT, and clients that send mutual TLS.
    Enable,
    /// Back to `mode`, and clients that are told nothing.
    Disable {
        /// PERMISSIVE, unless plaintext only was asked for (RE-8).
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

/// Whether `DestinationRules` are part of the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleChoice {
    /// One for every Service, as the walk-through does.
    Always,
    /// Only where they are needed: no auto mTLS, a legacy mesh, or a rule that says the contrary (RE-4).
    Auto,
    /// None is touched.
    Never,
}

/// How wide a new rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One rule per Service.
    Service,
    /// One rule for `*.NAMESPACE.svc.DOMAIN`.
    Namespace,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRequest {
    /// On or off.
    pub direction: Direction,
    /// Only these Services; `None` is all of them.
    pub services: Option<Vec<String>>,
    /// Whether rules are part of it.
    pub destination_rules: RuleChoice,
    /// How wide a new rule is.
    pub scope: Scope,
    /// The policy to change, where the user chose one.
    pub policy: Option<String>,
    /// Go on where a refusal or an exclusion would stop.
    pub force: bool,
    /// Take fields from other field managers, on the way back too.
    pub force_conflicts: bool,
}

impl SwitchRequest {
    /// The plain wish: all Services, a rule each, nothing forced.
    pub const fn new(direction: Direction) -> Self {
        Self {
            direction,
            services: None,
            destination_rules: RuleChoice::Always,
            scope: Scope::Service,
            policy: None,
            force: false,
            force_conflicts: false,
        }
    }
}

/// Which half of mutual TLS an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The server's: `PeerAuthentication` or legacy Policy.
    Policy,
    /// The client's: `DestinationRule`.
    Rule,
}

/// One change inside an object that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Write the policy's mode.
    SetMode {
        /// What it was; `None` is UNSET, or a legacy policy without an `mtls` peer.
        from: Option<MtlsMode>,
        /// What it will be.
        to: MtlsMode,
    },
    /// Make a place say `ISTIO_MUTUAL`.
    SetTls {
        /// Where.
        place: TlsPlace,
        /// What it was; `None` is no `tls` block.
        from: Option<ClientTls>,
    },
    /// Take an `ISTIO_MUTUAL` `tls` block away, with every parent that would stay behind empty (VA-3).
    RemoveTls {
        /// Where.
        place: TlsPlace,
    },
}

/// What happens to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Create,
    /// It exists and changes at these places.
    Edit(Vec<Edit>),
    /// It is made as the user wrote it.
    Apply {
        /// The object, as JSON.
        object: String,
        /// What a rule then says.
        rule: Option<Box<DestinationRule>>,
    },
    /// It exists, and its spec becomes what the user wrote, together with what is there besides.
    Merge {
        /// The spec, as canonical JSON.
        spec: String,
        /// The mode of a policy as it is now.
        held: Option<MtlsMode>,
        /// What a rule then says.
        rule: Option<Box<DestinationRule>>,
    },
    /// It exists and gets its former spec back.
    PutBack {
        /// The spec, as canonical JSON.
        spec: String,
        /// The mode of a policy as it is now.
        held: Option<MtlsMode>,
    },
    /// It is deleted, because it was made by a run that is undone.
    Delete {
        /// The mode of a policy as it is now.
        held: Option<MtlsMode>,
    },
    /// It says already what was asked for.
    Unchanged,
}

impl Action {
    fn of(edits: Vec<Edit>) -> Self {
        if edits.is_empty() { Self::Unchanged } else { Self::Edit(edits) }
    }

    /// kubectl's word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Create | Self::Apply { .. } => "created",
            Self::Edit(_) | Self::Merge { .. } => "configured",
            Self::PutBack { .. } => "restored",
            Self::Delete { .. } => "deleted",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Policy or rule.
    pub target: Target,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
    /// The host of a rule: as the object has it, or the fully qualified one of a new rule.
    pub host: Option<String>,
    /// The mode that a policy will have.
    pub mode: Option<MtlsMode>,
    /// What happens.
    pub action: Action,
}

impl Change {
    /// Whether the object is made.
    pub fn is_made(&self) -> bool {
        matches!(self.action, Action::Create | Action::Apply { .. })
    }

    /// Whether anything is written.
    pub fn is_write(&self) -> bool {
        self.action != Action::Unchanged
    }
}

/// What a switch does, in values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The way it goes.
    pub direction: Direction,
    /// The policy; `None` where it could not be chosen (a refusal says why).
    pub policy: Option<Change>,
    /// Further policies: a restore puts back as many as were changed.
    pub more_policies: Vec<Change>,
    /// The rules, by name.
    pub rules: Vec<Change>,
    /// Services that get no rule.
    pub skipped: Vec<Skipped>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// Why the run must not go on.
    pub refusals: Vec<Refusal>,
    /// Whether what clients send changes with the rules, so that their sidecars need time.
    pub rules_need_settling: bool,
    /// Whether the policy must stand at PERMISSIVE while the rules change, because the mode before or after
    /// is DISABLE and a DISABLE port does not terminate mutual TLS (PA-7).
    pub by_way_of_permissive: bool,
}

/// Changes that can be made together, before the next phase begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Policy or rules; a phase is of one kind.
    pub target: Target,
    /// The changes, those that write nothing included.
    pub changes: Vec<Change>,
    /// A phase of rules: whether to wait until clients send what the rules say. A phase of the policy is always
    /// waited for, by its effect.
    pub needs_settle: bool,
}

impl Plan {
    const fn empty(direction: Direction) -> Self {
        Self {
            direction,
            policy: None,
            more_policies: Vec::new(),
            rules: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
            refusals: Vec::new(),
            rules_need_settling: false,
            by_way_of_permissive: false,
        }
    }

    /// The changes in the order in which no call is lost (RE-7): on, rules before policy; off, policy before rules.
    ///
    /// The policy comes twice where it must pass PERMISSIVE; it has another resource version then.
    pub fn phases(&self) -> Vec<Phase> {
        let policy = |change: Option<Change>| {
            let changes: Vec<Change> = change.into_iter().chain(self.more_policies.iter().cloned()).collect();
            (!changes.is_empty()).then_some(Phase { target: Target::Policy, changes, needs_settle: false })
        };
        let rules = (!self.rules.is_empty()).then(|| Phase {
            target: Target::Rule,
            changes: self.rules.clone(),
            needs_settle: self.rules_need_settling,
        });
        let phases = if self.by_way_of_permissive {
            let (first, last) = self.policy.as_ref().map(policy::bridge).unzip();
            let first = first.map(|first| Phase { target: Target::Policy, changes: vec![first], needs_settle: false });
            [first, rules, policy(last)]
        } else if self.direction == Direction::Enable {
            [rules, policy(self.policy.clone()), None]
        } else {
            [policy(self.policy.clone()), rules, None]
        };
        phases.into_iter().flatten().collect()
    }

    /// Every change, the policy first.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.policy.iter().chain(&self.more_policies).chain(&self.rules)
    }

    /// Whether anything would be written.
    pub fn has_writes(&self) -> bool {
        self.changes().any(Change::is_write)
    }
}

/// What to change in `snapshot` so that `wish` comes true. The order of the snapshot's lists does not matter.
pub fn plan(snapshot: &Snapshot, wish: &SwitchRequest) -> Plan {
    let mut plan = Plan::empty(wish.direction);
    let root = &snapshot.policies.root_namespace;
    if snapshot.namespace == *root && !wish.force {
        plan.refusals.push(Refusal::RootNamespace(root.clone()));
    }
    if snapshot.services.is_empty() {
        plan.warnings.push(Warning::NoServices(snapshot.namespace.clone()));
    }
    policy::plan(snapshot, wish, &mut plan);
    rules::plan(snapshot, wish, &mut plan);

    let writes_rules = plan.rules.iter().any(Change::is_write);
    let writes_policy = plan.policy.as_ref().is_some_and(Change::is_write);
    if let Some(named) = wish.services.as_ref().filter(|_| writes_policy) {
        let others = snapshot.services.iter().map(|service| &service.name).filter(|name| !named.contains(name));
        let mut services: Vec<String> = others.cloned().collect();
        services.sort();
        if !services.is_empty() && plan.refusals.is_empty() {
            plan.warnings.push(Warning::PolicyReachesMore { mode: wish.direction.mode(), services });
        }
    }
    plan.by_way_of_permissive = writes_rules && writes_policy && passes_permissive(snapshot, wish.direction);
    plan.warnings.sort();
    plan.warnings.dedup();
    plan.refusals.sort();
    plan.refusals.dedup();
    plan
}

/// Whether the way leads from DISABLE to STRICT, or to DISABLE from anything else.
fn passes_permissive(snapshot: &Snapshot, direction: Direction) -> bool {
    let is_disabled = namespace_mode(snapshot) == Some(MtlsMode::Disable);
    match direction {
        Direction::Enable => is_disabled,
        Direction::Disable { mode } => mode == MtlsMode::Disable && !is_disabled,
    }
}

/// The mode of a workload of the namespace that no policy names, `None` where it cannot be known.
fn namespace_mode(snapshot: &Snapshot) -> Option<MtlsMode> {
    if snapshot.policies.legacy_only {
        return legacy_server_mode(&snapshot.policies, &snapshot.namespace, "", 0, None).mode;
    }
    let nobody = |revision| Pod {
        name: String::new(),
        namespace: snapshot.namespace.clone(),
        labels: std::collections::BTreeMap::new(),
        service_account: String::new(),
        data_plane: DataPlane::Sidecar,
        revision: Some(revision),
        ready: true,
        capture: Capture::All,
        facts: PodFacts::default(),
    };
    let mode = |revision| server_mode(&snapshot.policies, &nobody(revision), 0).mode;
    let modes: Vec<_> = policy::revisions(snapshot).into_iter().map(mode).collect();
    // Where revisions differ the mode that breaks most is the one to plan for.
    modes.iter().flatten().max().copied()
}

#[cfg(test)]
mod tests {
    use super::samples::{DISABLE, ENABLE, policy, rule, shop};
    use super::*;

    fn order(plan: &Plan) -> Vec<(Target, Option<MtlsMode>, bool)> {
        plan.phases().iter().map(|phase| (phase.target, phase.changes[0].mode, phase.needs_settle)).collect()
    }

    #[test]
    fn the_safe_order_is_rules_then_policy_and_back_the_other_way() {
        let snapshot = shop(&["web"]);
        assert_eq!(
            order(&plan(&snapshot, &ENABLE)),
            [(Target::Rule, None, false), (Target::Policy, Some(MtlsMode::Strict), false)]
        );
        let mut on = shop(&["web"]);
        on.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
        on.rules.push(rule("web", "web", Some(ClientTls::IstioMutual)));
        assert_eq!(
            order(&plan(&on, &DISABLE)),
            [(Target::Policy, Some(MtlsMode::Permissive), false), (Target::Rule, None, true)]
        );
    }

    #[test]
    fn a_mode_of_disable_is_left_and_reached_by_way_of_permissive() {
        let through = [(Target::Policy, Some(MtlsMode::Permissive), false), (Target::Rule, None, true)];
        let mut off = shop(&["web"]);
        off.policies.peer.push(policy("default", 1, Some(MtlsMode::Disable)));
        let up = plan(&off, &ENABLE);
        assert_eq!(order(&up)[..2], through);
        let last = &up.phases()[2].changes[0];
        assert_eq!(
            last.action,
            Action::Edit(vec![Edit::SetMode { from: Some(MtlsMode::Permissive), to: MtlsMode::Strict }])
        );

        let mut on = shop(&["web"]);
        on.policies.peer.push(policy("default", 1, Some(MtlsMode::Strict)));
        on.rules.push(rule("web", "web", Some(ClientTls::IstioMutual)));
        let down = plan(&on, &SwitchRequest::new(Direction::Disable { mode: MtlsMode::Disable }));
        assert_eq!(order(&down)[..2], through);
        assert_eq!(down.phases()[2].changes[0].mode, Some(MtlsMode::Disable));
    }

    #[test]
    fn a_legacy_mesh_without_a_policy_passes_permissive_too() {
        let mut snapshot = shop(&["web"]);
        snapshot.policies.legacy_only = true;
        let plan = plan(&snapshot, &ENABLE);
        let phases = plan.phases();
        assert_eq!(phases[0].changes[0].action, Action::Create);
        assert_eq!(phases[0].changes[0].mode, Some(MtlsMode::Permissive));
        assert!(phases[1].needs_settle, "no auto mTLS there");
        assert_eq!(phases[2].changes[0].mode, Some(MtlsMode::Strict));
    }

    #[test]
    fn the_root_namespace_and_an_empty_namespace_are_named() {
        let mut snapshot = shop(&[]);
        assert_eq!(plan(&snapshot, &ENABLE).warnings, [Warning::NoServices("shop".into())]);
        snapshot.namespace = "istio-system".into();
        for wish in [ENABLE, DISABLE] {
            assert_eq!(plan(&snapshot, &wish).refusals, [Refusal::RootNamespace("istio-system".into())]);
            assert!(plan(&snapshot, &SwitchRequest { force: true, ..wish }).refusals.is_empty());
        }
    }
}
