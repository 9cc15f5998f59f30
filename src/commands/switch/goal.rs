//! Reads the goal of a switch from settings, manifests or journals, and plans it for the state of the namespace.

use super::super::manifests::{self, Manifest};
use super::SwitchRun;
use crate::cluster::error::ClusterError;
use crate::cluster::journal::{self as store, StoredJournal};
use crate::cluster::snapshot::ClusterState;
use crate::domain::journal::{self, Run, Undo, UndoStep};
use crate::domain::knative;
use crate::domain::mesh::{Policies, Snapshot};
use crate::domain::plan::{self, Direction, ObjectKind, Plan, PodScope, SwitchRequest};
use crate::domain::probe::{self, Case};
use crate::error::{self, Error, UsageError};
use crate::istio::kinds::PolicyApi;
use crate::istio::manifest::{self, Home};
use crate::istio::render::{self, Apis};
use crate::istio::{change, journal as text, owners, read};
use crate::settings::SwitchGoal;
use serde_json::Value;
use std::collections::BTreeSet;

/// The goal of a run, with what it reads besides the namespace.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// The rendered policy and rules.
    Switch(SwitchRequest),
    /// The user's manifests, checked.
    Manifests(UserManifests),
    /// Undoes these runs, the oldest first.
    Restore(Vec<StoredJournal>),
}

/// A goal with the state of the namespace and the changes that it needs there.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) goal: Goal,
    /// The namespace as read, with every object that this run has written since.
    pub(super) state: ClusterState,
    pub(super) plan: Plan,
    /// The policies as a restore leaves them; other goals follow from the plan.
    pub(super) restored_policies: Option<Policies>,
    /// Names of the ports that had a ready endpoint before the run.
    ready_before: BTreeSet<String>,
}

/// What a proof tests.
pub(super) struct ProofScope {
    pub(super) cases: Vec<Case>,
    /// What is left out, each with the reason.
    pub(super) left_out: Vec<String>,
}

/// The user's manifests, and what they are applied for.
#[derive(Debug, Clone)]
pub(super) struct UserManifests {
    direction: Direction,
    apis: Apis,
    namespace: String,
    services: Option<Vec<String>>,
    objects: Vec<(ObjectKind, Value)>,
}

impl UserManifests {
    /// Checks manifests: their kinds and names, and that they agree with the command.
    fn check(read: Vec<Manifest>, request: &SwitchRequest, apis: Apis, home: Home<'_>) -> error::Result<Self> {
        let namespace = home.namespace;
        let usage = |place: &str, message: String| UsageError { message: format!("{place}: {message}"), hint: None };
        let mut objects: Vec<(ObjectKind, Value)> = Vec::new();
        let mut names = BTreeSet::new();
        for Manifest { place, object } in read {
            let (kind, name) =
                manifest::identity(apis, namespace, &object).map_err(|message| usage(&place, message))?;
            if !names.insert((kind, name.clone())) {
                return Err(usage(&place, format!("{name:?} is there twice")).into());
            }
            if let Some(message) = manifest::unknown_mode(kind, &object) {
                return Err(usage(&place, format!("{name:?}: {message}")).into());
            }
            let contradiction = manifest::contradiction(kind, &object, request.direction, home);
            if let Some(contradiction) = contradiction.filter(|_| !request.force) {
                return Err(Error::CheckFailed(format!("{place}: {name:?}: {contradiction}")));
            }
            objects.push((kind, object));
        }
        let (direction, services) = (request.direction, request.services.clone());
        Ok(Self { direction, apis, namespace: namespace.to_owned(), services, objects })
    }

    fn plan(&self, state: &ClusterState) -> Plan {
        let changes = self.objects.iter().map(|(kind, object)| {
            let live = state.find(*kind, read::metadata(object, "name"));
            manifest::change(self.apis, &self.namespace, *kind, object, live, self.direction)
        });
        plan::plan_user_manifests(&state.snapshot, self.direction, changes.collect())
    }
}

impl Goal {
    /// Reads the manifests or the journals that the settings name. `None` where the namespace has no journal to restore,
    /// which is reported.
    pub(super) async fn read(run: &SwitchRun<'_>) -> error::Result<Option<Self>> {
        let namespace = &run.cluster.namespace;
        match &run.settings.goal {
            SwitchGoal::Render(request) => Ok(Some(Self::Switch(request.clone()))),
            SwitchGoal::Manifests { request, files, recursive } => {
                let (files, recursive) = (files.clone(), *recursive);
                let read = run.context.read_files(move || manifests::read(&files, recursive)).await?;
                let cluster_domain = run.context.settings.mesh.cluster_domain.as_deref().unwrap_or("cluster.local");
                let home = Home { namespace, cluster_domain };
                Ok(Some(Self::Manifests(UserManifests::check(read, request, run.apis(), home)?)))
            }
            SwitchGoal::Restore { run: wanted } => {
                let stored = run.context.read(store::list(run.cluster)).await?;
                let to_undo = choose_journals(namespace, stored, wanted.as_deref())?.to_undo;
                if to_undo.is_empty() {
                    run.context.printer.say(&format!("nothing to restore: no journal in namespace {namespace}"));
                    return Ok(None);
                }
                Ok(Some(Self::Restore(to_undo)))
            }
        }
    }

    /// The changes that the goal needs in `state`, and the policies as a restore leaves them.
    fn plan(&self, state: &ClusterState) -> (Plan, Option<Policies>) {
        match self {
            Self::Switch(request) => (plan::plan(&state.snapshot, request), None),
            Self::Manifests(manifests) => (manifests.plan(state), None),
            Self::Restore(journals) => {
                let runs: Vec<Run> = journals.iter().filter_map(|journal| journal.run.clone().ok()).collect();
                let (plan, policies) = restoration(state, &runs);
                (plan, Some(policies))
            }
        }
    }

    /// The Services that the run is for: those that the user named, or those of `--workload`; `None` is all.
    fn services(&self, snapshot: &Snapshot) -> Option<Vec<String>> {
        match self {
            Self::Switch(SwitchRequest { services: None, pods: PodScope::Workload(labels), .. }) => {
                Some(plan::workload_services(snapshot, labels).into_iter().map(str::to_owned).collect())
            }
            Self::Switch(request) => request.services.clone(),
            Self::Manifests(manifests) => manifests.services.clone(),
            Self::Restore(_) => None,
        }
    }
}

impl Planned {
    /// Plans the goal for `state`.
    pub(super) fn new(goal: Goal, state: ClusterState) -> Self {
        let (plan, restored_policies) = goal.plan(&state);
        let mut planned = Self { goal, state, plan, restored_policies, ready_before: BTreeSet::new() };
        // Unknown Services are errors of the plan.
        let cases = planned.cases(&planned.state.snapshot).unwrap_or_default();
        planned.ready_before = cases.iter().filter(|case| !case.endpoints.is_empty()).map(Case::name).collect();
        planned
    }

    /// Whether a port had a ready endpoint before the run.
    pub(super) fn was_ready(&self, case: &Case) -> bool {
        self.ready_before.contains(&case.name())
    }

    /// Whether a port without a ready endpoint makes the proof incomplete: the user has named its Service, or Knative scales
    /// its pods up when the next call arrives.
    pub(super) fn must_be_proven(&self, case: &Case) -> bool {
        let snapshot = &self.state.snapshot;
        let is_named = self.goal.services(snapshot).is_some_and(|services| services.contains(&case.service));
        is_named || snapshot.service(&case.service).is_some_and(|service| knative::is_revision(snapshot, service))
    }

    /// The name of a port without a ready endpoint, with its workloads that are scaled to zero.
    pub(super) fn describe_empty(&self, case: &Case) -> String {
        let snapshot = &self.state.snapshot;
        let asleep = snapshot.service(&case.service).map(|service| snapshot.scaled_to_zero(service));
        match asleep.filter(|asleep| !asleep.is_empty()) {
            Some(asleep) => format!("{} ({} scaled to zero)", case.name(), asleep.join(", ")),
            None => case.name(),
        }
    }

    /// Plans the same goal for another state.
    pub(super) fn update(&mut self, state: ClusterState) {
        (self.plan, self.restored_policies) = self.goal.plan(&state);
        self.state = state;
    }

    /// Whether the run holds the Lease, and keeps or reads journals.
    pub(super) fn needs_lock(&self, run: &SwitchRun<'_>) -> bool {
        run.is_restore() || self.plan.has_writes() && (run.settings.keep_journal || run.is_observing())
    }

    /// The ports that the proof tests in `snapshot`: of the named Services, or of all, without those that no policy is
    /// meant for.
    pub(super) fn cases(&self, snapshot: &Snapshot) -> Result<Vec<Case>, probe::TargetError> {
        self.proof_scope(snapshot).map(|scope| scope.cases)
    }

    /// The ports that the proof tests in `snapshot`, and what it leaves out.
    pub(super) fn proof_scope(&self, snapshot: &Snapshot) -> Result<ProofScope, probe::TargetError> {
        let services = self.goal.services(snapshot);
        if services.as_ref().is_some_and(Vec::is_empty) {
            // The pods of a workload that no Service leads to.
            return Ok(ProofScope { cases: Vec::new(), left_out: Vec::new() });
        }
        let targets = services.unwrap_or_default();
        let targets: Vec<probe::Target> = targets.iter().map(|service| probe::Target::service(service)).collect();
        let (cases, not_probed) = probe::cases(snapshot, &targets)?;
        let (beyond, cases): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(Case::is_beyond_policies);
        let beyond = beyond.iter().map(|case| format!("{} ({})", case.name(), case.endpoints[0].path));
        let not_probed = not_probed.iter().map(|port| format!("{} ({})", port.name, port.reason));
        Ok(ProofScope { cases, left_out: not_probed.chain(beyond).collect() })
    }
}

/// The plan that undoes `runs`, and the policies as it leaves them.
pub(super) fn restoration(state: &ClusterState, runs: &[Run]) -> (Plan, Policies) {
    let mut steps = journal::undo(runs, |kind, name| state.find(kind, name).map(text::live_object));
    for undo in &mut steps {
        let other_fields = match (&undo.step, state.find(undo.kind, &undo.name)) {
            (UndoStep::PutBack(spec), Some(object)) => owners::fields_of_others(object, spec),
            (UndoStep::Create(former), _) => text::unknown_fields(undo.kind, former),
            _ => Vec::new(),
        };
        if !other_fields.is_empty() {
            undo.refuse(other_fields);
        }
    }
    let after = policies_after(state, &steps);
    (plan::restoration(&state.snapshot, after.clone(), &steps), after)
}

fn policies_after(state: &ClusterState, steps: &[Undo]) -> Policies {
    let mut policies = state.snapshot.policies.clone();
    let namespace = &state.snapshot.namespace;
    for step in steps.iter().filter(|step| step.kind == ObjectKind::Policy && step.step != UndoStep::Nothing) {
        policies.peer.retain(|policy| policy.namespace != *namespace || policy.name != step.name);
        policies.legacy.retain(|policy| policy.namespace != *namespace || policy.name != step.name);
        let object = match (&step.step, state.find(ObjectKind::Policy, &step.name)) {
            (UndoStep::PutBack(spec), Some(object)) => change::with_spec(object, spec),
            // Only policies of this API are deleted by a run: the legacy API has none for single pods.
            (UndoStep::Create(former), None) => render::former(&PolicyApi::V1.kind(), namespace, &step.name, former),
            _ => continue,
        };
        if policies.legacy_only {
            policies.legacy.push(read::legacy_policy(&object));
        } else {
            policies.peer.push(read::peer_authentication(&object));
        }
    }
    policies
}

/// The journals of a namespace, divided for a restore.
pub(super) struct ChosenJournals {
    /// The journals to undo, the oldest first.
    pub(super) to_undo: Vec<StoredJournal>,
    /// The journals of closed sessions.
    pub(super) closed: Vec<StoredJournal>,
}

/// Chooses the journals to undo for the state before `run`, or before the present session. A journal that cannot be read
/// is an error, because what it would undo is unknown.
pub(super) fn choose_journals(
    namespace: &str,
    stored: Vec<StoredJournal>,
    run: Option<&str>,
) -> error::Result<ChosenJournals> {
    let mut stored: Vec<StoredJournal> = stored.into_iter().filter(|journal| !journal.is_void).collect();
    let mut runs = Vec::new();
    for journal in &stored {
        runs.push(journal.run.clone().map_err(|message| {
            let hint = format!(
                "to do without it: kubectl delete configmap -l app.kubernetes.io/instance={} -n {namespace}",
                journal.id
            );
            ClusterError::new(message, hint)
        })?);
    }
    let Some(chosen) = journal::runs_to_undo(&runs, run) else {
        let known = |run: &Run| format!("{} ({} by {}, {})", run.id, run.command, run.started_by, run.started_at);
        let known: Vec<String> = runs.iter().map(known).collect();
        let hint = if known.is_empty() {
            "no run can be undone there; `secure-traffic history` lists those of a namespace".to_owned()
        } else {
            format!("there are: {}", known.join("; "))
        };
        let message = format!("no journal of a run {:?} in namespace {namespace}", run.unwrap_or_default());
        return Err(UsageError { message, hint: Some(hint) }.into());
    };
    let to_undo = stored.split_off(runs.len() - chosen.len());
    stored.truncate(journal::session_start(&runs));
    Ok(ChosenJournals { to_undo, closed: stored })
}
