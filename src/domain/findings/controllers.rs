//! Finds controllers that call pods by address or write the objects of a switch: operators, Knative, canary controllers.

use super::surroundings::is_sidecar_workload;
use super::{Code, Finding, Purpose, Severity, any_strict};
use crate::domain::knative;
use crate::domain::namespace_context::{KnativeSystem, NamespaceContext};
use crate::domain::overview::{Overview, workload};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn find(context: &NamespaceContext, overview: &Overview, purpose: Purpose, findings: &mut Vec<Finding>) {
    operators(context, overview, findings);
    knative(context, overview, findings);
    rollouts(context, purpose, findings);
}

/// OP-1: pods that a custom resource owns, directly or by their workload. Which pod is the operator is not known.
fn operators(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let snapshot = &context.snapshot;
    let of_workload: BTreeMap<&str, &String> = snapshot
        .templates
        .iter()
        .filter_map(|template| Some((template.workload.as_str(), template.custom_owner.as_ref()?)))
        .collect();
    let mut objects = BTreeSet::new();
    for pod in snapshot.pods.values().filter(|pod| is_sidecar_workload(pod)) {
        let owner = pod.facts.custom_owner.as_ref().or_else(|| of_workload.get(pod.facts.workload.as_str()).copied());
        if let Some(owner) = owner {
            objects.extend([owner.clone(), workload(pod)]);
        }
    }
    if objects.is_empty() {
        return;
    }
    let (severity, effect) =
        if any_strict(overview) { (Severity::Warning, "refuses") } else { (Severity::Info, "would refuse") };
    let message = format!(
        "operators manage these pods: many call them by address, which is plaintext even from a sidecar, and which STRICT {effect}"
    );
    findings.push(Finding::new(severity, Code::OperatorCalls, message).about(objects));
}

/// OP-2: what Knative calls, and what it has scaled to zero.
fn knative(context: &NamespaceContext, overview: &Overview, findings: &mut Vec<Finding>) {
    let Some(system) = &context.knative else { return };
    let workloads = knative::workloads(&context.snapshot);
    let found = match system {
        KnativeSystem::Meshed => None,
        KnativeSystem::Outside(pods) => {
            let severity = if any_strict(overview) { Severity::Error } else { Severity::Warning };
            let message = "Knative calls these pods by address from outside the mesh, which STRICT refuses";
            Some((severity, message, workloads.iter().chain(pods).cloned().collect::<Vec<_>>()))
        }
        KnativeSystem::Unknown => {
            let message = "Knative calls these pods by address, and whether its own pods are in the mesh is not known";
            Some((Severity::Warning, message, workloads.iter().cloned().collect()))
        }
    };
    if let Some((severity, message, objects)) = found.filter(|_| !workloads.is_empty()) {
        findings.push(Finding::new(severity, Code::Knative, message).about(objects));
    }
    let asleep = knative::scaled_to_zero(&context.snapshot);
    if !asleep.is_empty() {
        let message = "revisions that are scaled to zero: nothing is proven for them until they run";
        findings.push(Finding::new(Severity::Warning, Code::Knative, message).about(asleep));
    }
}

/// Canary controllers that are at work. One at rest only writes its rules anew, which the plan reports.
fn rollouts(context: &NamespaceContext, purpose: Purpose, findings: &mut Vec<Finding>) {
    let (severity, effect) = match purpose {
        Purpose::Status => (Severity::Info, "a switch now would change the rules under it"),
        Purpose::BeforeSwitch => {
            (Severity::Error, "a switch would change the rules under it, and it may write its own")
        }
        // Turning STRICT off may be urgent.
        Purpose::BeforeDisable(_) => (Severity::Warning, "it may write its own rules over those of the switch"),
    };
    let mut by_phase: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for rollout in context.rollouts.iter().filter(|rollout| rollout.is_in_progress) {
        by_phase.entry(&rollout.phase).or_default().insert(rollout.object.clone());
    }
    for (phase, objects) in by_phase {
        let message = format!("a roll-out is in progress ({phase}): {effect}");
        findings.push(Finding::new(severity, Code::RolloutInProgress, message).about(objects));
    }
}
