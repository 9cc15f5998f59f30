//! Connections that are open while a policy changes: which the change concerns, and what is reported of them.

use super::SwitchRun;
use super::goal::Planned;
use super::phases;
use crate::curl_pod::{proxy, ztunnel_connections};
use crate::domain::evidence::Sources;
use crate::domain::open_connections::{self, OpenConnections, held_by_port};
use crate::report::plan as plan_report;
use crate::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};

/// Most sidecars that are asked for the number of their connections.
const ASKED: usize = 32;

/// The connections that the plan's change of the policy concerns; none where the policy is not written.
pub(super) fn concerned(planned: &Planned) -> OpenConnections {
    let before = &planned.state.snapshot;
    let Some(after) = phases::snapshot_after(planned) else { return OpenConnections::default() };
    match (planned.cases(before), planned.cases(&after)) {
        (Ok(cases), Ok(changed)) => open_connections::concerned((before, &cases), (&after, &changed)),
        // Unknown Services are errors of the plan.
        _ => OpenConnections::default(),
    }
}

/// Prints, before the first write, when the open connections end, with their number where the sidecars can be asked.
pub(super) async fn announce(run: &SwitchRun<'_>, connections: &OpenConnections) {
    let Some(text) = plan_report::open_connections(connections) else { return };
    let may_ask = run.settings.verify && run.settings.pod.sources != Sources::Network;
    let number = if may_ask && (1..=ASKED).contains(&connections.sidecars.len()) {
        let ports: Vec<(&str, u16)> = connections.sidecars.iter().map(|(pod, port)| (pod.as_str(), *port)).collect();
        proxy::open_connections(run.cluster, &ports).await
    } else {
        None
    };
    let number = number.map_or_else(String::new, |number| format!("; their sidecars have {number} open now"));
    run.context.printer.say(&format!("{text}{number}"));
}

/// Names, after a change to STRICT, the plaintext connections that ztunnels keep serving, and the commands that end them.
/// Nothing is restarted.
pub(super) async fn report_held(
    run: &SwitchRun<'_>,
    planned: &Planned,
    connections: &OpenConnections,
) -> Result<(), Signal> {
    let endpoints: Vec<_> = connections.made_strict_at_ztunnel.iter().collect();
    if endpoints.is_empty() {
        return Ok(());
    }
    let snapshot = &planned.state.snapshot;
    let text = if run.settings.pod.sources == Sources::Network {
        let reason = "--evidence network asks no proxy".to_owned();
        plan_report::held_connections(&BTreeMap::new(), &BTreeSet::from([reason]))
    } else {
        let held = ztunnel_connections::held(run.cluster, &snapshot.mesh, &endpoints);
        let held = run.context.shutdown.race(held).await?;
        plan_report::held_connections(&held_by_port(snapshot, &held.connections), &held.unknown)
    };
    match text {
        Some(text) => run.context.printer.warn(&text),
        None => run.context.printer.say("no plaintext connection is open through ztunnel at these ports"),
    }
    Ok(())
}
