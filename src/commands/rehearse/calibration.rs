//! Sends plaintext calls of this tool to every endpoint that STRICT would close. Only a log that shows them is believed.

use super::observer::Observer;
use crate::commands::probe_run::pod_failure;
use crate::curl_pod::pod_state::MeshMembership;
use crate::curl_pod::runner::PodOptions;
use crate::domain::evidence::Sources;
use crate::domain::probe::Case;
use crate::domain::rehearsal::{Calibration, PodPort, Prospect, RehearsedPort};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Calls every endpoint, and adds the calibration to the rehearsal. The returned status is about pods that were left.
pub(super) async fn calibrate(observer: &mut Observer<'_>) -> error::Result<ExitStatus> {
    let closing = observer.rehearsal.ports().iter().filter(|port| port.prospect == Prospect::Closes);
    // To each address of an endpoint, and through its Service; a TLS hello where the mode is not certain.
    let most_calls = u64::try_from(2 * observer.settings.pods.limits.attempts + 1).unwrap_or(u64::MAX);
    let mut endpoints: BTreeMap<PodPort, u64> = BTreeMap::new();
    for endpoint in closing.clone().flat_map(RehearsedPort::endpoints) {
        let calls = endpoints.entry(endpoint).or_default();
        *calls = calls.saturating_add(most_calls);
    }
    let cases: Vec<Case> = closing.map(|port| port.case.clone()).collect();
    let (context, cluster, api_versions) = (observer.context, observer.cluster, observer.api_versions);
    // What the endpoints answer does not matter, and no proxy is asked.
    let options = PodOptions { sources: Sources::Network, ..observer.settings.pods.clone() };
    let runner = context.probe_runner(cluster, api_versions, &options);
    let snapshot = observer.snapshot().clone();
    let outcome = observer.during(runner.run_from(MeshMembership::Outside, &snapshot, &cases)).await;
    let left_behind = context.report_left_behind(&outcome.left_behind);
    if let Err(failure) = outcome.result {
        let (reason, message) = pod_failure(failure)?;
        let remedy = reason.remedy_of_probe();
        return Err(Error::Inconclusive(format!(
            "the probe that calls each port failed: {reason}: {message} ({remedy})"
        )));
    }
    let addresses = outcome.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
    let sources = addresses.flat_map(|address| observer.directory.addresses_of_pod_at(address)).collect();
    observer.rehearsal.add_calibration(Calibration { sources, endpoints });
    Ok(left_behind)
}
