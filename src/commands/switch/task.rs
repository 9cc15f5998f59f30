//! What a run is for: to switch, or to put back what was there.

use super::super::manifests::Manifest;
use crate::cluster::error::ClusterError;
use crate::cluster::journal::StoredJournal;
use crate::cluster::snapshot::Look;
use crate::domain::journal::{self, Run, Undo, UndoStep};
use crate::domain::mesh::Policies;
use crate::domain::plan::{self, Direction, ObjectKind, Plan, SwitchRequest};
use crate::error::{self, Error, UsageError};
use crate::istio::render::Apis;
use crate::istio::{change, journal as text, manifest, read};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a run is for.
#[derive(Debug, Clone)]
pub(super) enum Task {
    /// On or off.
    Switch(SwitchRequest),
    /// The user's own manifests, checked already.
    Given(Manifests),
    /// Undoing these runs, the oldest first.
    Restore(Vec<StoredJournal>),
}

/// The user's own manifests, and what they are for.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    direction: Direction,
    apis: Apis,
    namespace: String,
    services: Option<Vec<String>>,
    objects: Vec<(ObjectKind, Value)>,
}

impl Manifests {
    /// Checks what was read: kinds, names, and whether it says what the command says.
    pub(super) fn checked(
        read: Vec<Manifest>,
        wish: SwitchRequest,
        apis: Apis,
        namespace: &str,
    ) -> error::Result<Self> {
        let usage = |place: &str, words: String| UsageError { message: format!("{place}: {words}"), hint: None };
        let mut objects: Vec<(ObjectKind, Value)> = Vec::new();
        let mut names = BTreeSet::new();
        for Manifest { place, object } in read {
            let (target, name) = manifest::identity(apis, namespace, &object).map_err(|words| usage(&place, words))?;
            if !names.insert((target, name.clone())) {
                return Err(usage(&place, format!("{name:?} is there twice")).into());
            }
            let contradiction = manifest::contradiction(target, &object, wish.direction);
            if let Some(words) = contradiction.filter(|_| !wish.force) {
                return Err(Error::CheckFailed(format!("{place}: {name:?}: {words}")));
            }
            objects.push((target, object));
        }
        let (direction, services) = (wish.direction, wish.services);
        Ok(Self { direction, apis, namespace: namespace.to_owned(), services, objects })
    }

    fn plan(&self, look: &Look) -> Plan {
        let changes = self.objects.iter().map(|(target, object)| {
            let live = look.find(*target, read::metadata(object, "name"));
            manifest::change(self.apis, &self.namespace, *target, object, live, self.direction)
        });
        plan::plan_user_manifests(&look.snapshot, self.direction, changes.collect())
    }
}

impl Task {
    /// The plan for what is there, and the policies as a restore will leave them.
    pub(super) fn plan(&self, look: &Look) -> (Plan, Option<Policies>) {
        match self {
            Self::Switch(wish) => (plan::plan(&look.snapshot, wish), None),
            Self::Given(manifests) => (manifests.plan(look), None),
            Self::Restore(kept) => {
                let runs: Vec<Run> = kept.iter().filter_map(|kept| kept.run.clone().ok()).collect();
                let (plan, after) = restoration(look, &runs);
                (plan, Some(after))
            }
        }
    }

    /// The Services that were named.
    pub(super) fn services(&self) -> Option<&[String]> {
        match self {
            Self::Switch(wish) => wish.services.as_deref(),
            Self::Given(manifests) => manifests.services.as_deref(),
            Self::Restore(_) => None,
        }
    }
}

/// The plan that undoes `runs`, and the policies as it will leave them.
pub(super) fn restoration(look: &Look, runs: &[Run]) -> (Plan, Policies) {
    let steps = journal::undo(runs, |kind, name| look.find(kind, name).map(text::live_object));
    let after = policies_after(look, &steps);
    (plan::restoration(&look.snapshot, after.clone(), &steps), after)
}

fn policies_after(look: &Look, steps: &[Undo]) -> Policies {
    let mut policies = look.snapshot.policies.clone();
    let namespace = &look.snapshot.namespace;
    for step in steps.iter().filter(|step| step.kind == ObjectKind::Policy && step.step != UndoStep::Nothing) {
        policies.peer.retain(|policy| policy.namespace != *namespace || policy.name != step.name);
        policies.legacy.retain(|policy| policy.namespace != *namespace || policy.name != step.name);
        let (UndoStep::PutBack(spec), Some(object)) = (&step.step, look.find(ObjectKind::Policy, &step.name)) else {
            continue;
        };
        let object = change::with_spec(object, spec);
        if policies.legacy_only {
            policies.legacy.push(read::legacy_policy(&object));
        } else {
            policies.peer.push(read::peer_authentication(&object));
        }
    }
    policies
}

/// Journals that are there, divided.
pub(super) struct Journals {
    /// Those to undo, the oldest first.
    pub(super) chosen: Vec<StoredJournal>,
    /// Those of stories that have come to their end.
    pub(super) history: Vec<StoredJournal>,
}

/// The journals to undo so that everything is as it was before `run`, or before the present story. One that cannot be
/// read is an error, because nobody knows what it would have undone.
pub(super) fn chosen(namespace: &str, kept: Vec<StoredJournal>, run: Option<&str>) -> error::Result<Journals> {
    let mut kept: Vec<StoredJournal> = kept.into_iter().filter(|kept| !kept.is_void).collect();
    let mut runs = Vec::new();
    for one in &kept {
        runs.push(one.run.clone().map_err(|words| {
            let hint = format!(
                "to do without it: kubectl delete configmap -l app.kubernetes.io/instance={} -n {namespace}",
                one.id
            );
            ClusterError::new(words, hint)
        })?);
    }
    let Some(chosen) = journal::runs_to_undo(&runs, run) else {
        let known = |run: &Run| format!("{} ({} by {}, {})", run.id, run.command, run.started_by, run.started_at);
        let known: Vec<String> = runs.iter().map(known).collect();
        let hint =
            if known.is_empty() { "there is none".to_owned() } else { format!("there are: {}", known.join("; ")) };
        let message = format!("no journal of a run {:?} in namespace {namespace}", run.unwrap_or_default());
        return Err(UsageError { message, hint: Some(hint) }.into());
    };
    let chosen = kept.split_off(runs.len() - chosen.len());
    kept.truncate(journal::session_start(&runs));
    Ok(Journals { chosen, history: kept })
}
