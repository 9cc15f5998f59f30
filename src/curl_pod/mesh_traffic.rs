//! The control that stays for a whole run: a pod in the mesh that keeps calling the Services while they change.

use super::curl::{NUMBERS, USER_AGENT, WHO_ANSWERED, escaped, is_from_sidecar, numbers};
use super::mesh_client::stand;
use super::probe_pod::{Curl, Failure, PodRequest, ProbePod, Removal, random_word, with_pod};
use super::runner::ProbeRunner;
use crate::domain::mesh::Snapshot;
use crate::domain::mesh_traffic::{Calls, Health, LASTING};
use crate::domain::probe::{Case, Sample};
use crate::domain::verdict::Reason;
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Targets of the control; of more, as many are taken evenly, because each must be called often enough to show a
/// change.
const TARGETS: usize = 100;

/// Calls a second: to each target, and in all.
const PACE: (usize, usize) = (5, 100);

/// Seconds for a call. A Service in the mesh answers in milliseconds; one that hangs must not hold the others up.
const PATIENCE: &str = "2";

/// Time in which each target should have been called before anything is written.
const WARM_UP: Duration = Duration::from_secs(10);

/// A control at work.
#[derive(Debug)]
pub struct MeshTrafficMonitor {
    state: Arc<watch::Sender<State>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Removal>,
    start_timeout: Duration,
}

/// How far the control is.
#[derive(Debug)]
struct State {
    calls: Calls,
    /// Why it does not call, or does so no more.
    ended: Option<Failure>,
}

impl MeshTrafficMonitor {
    /// Sends the control, for at most `duration`. It calls by the Services' names: a sidecar goes by the name that is
    /// called. `None` where there is nobody to call.
    pub fn send(prober: &ProbeRunner<'_>, snapshot: &Snapshot, cases: &[Case], duration: Duration) -> Option<Self> {
        let every = cases.len().div_ceil(TARGETS).max(1);
        let cases: Vec<&Case> = cases.iter().step_by(every).collect();
        let marker = random_word(16);
        let arguments = arguments(&cases, duration, &marker)?;
        let stand = stand(cases.iter().copied());
        let request = PodRequest { stand, ..prober.request(vec![Curl::endless(arguments)], duration.as_secs()) };
        let (cluster, services) = prober.home(stand, snapshot);
        let (cluster, services, shutdown) = (cluster.clone(), services.to_vec(), prober.shutdown.clone());
        let targets: HashMap<String, usize> =
            cases.iter().enumerate().map(|(index, case)| (authority(case), index)).collect();
        let calls = Calls::new(cases.iter().map(|case| case.name()));
        let state = Arc::new(watch::Sender::new(State { calls, ended: None }));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let work = async |probe: &ProbePod| {
                tokio::select! {
                    _ = stopped => Ok(()),
                    end = follow(probe, &marker, &targets, &shared) => end,
                }
            };
            let outcome = with_pod(&cluster, &request, &services, &shutdown, work).await;
            if let Err(failure) = outcome.result {
                shared.send_modify(|state| state.ended = Some(failure));
            }
            outcome.removal
        });
        Some(Self { state, stop, task, start_timeout: prober.options.start_timeout })
    }

    /// Waits until each target was called; from then on the calls count. `Err` says why there is no control.
    pub async fn begin(&self) -> Result<(), Failure> {
        let mut state = self.state.subscribe();
        // The pod's start has a limit of its own; this one is for a log that never says anything.
        let there = state.wait_for(|state| state.ended.is_some() || state.calls.has_begun_to_call());
        let _ = timeout(self.start_timeout + WARM_UP, there).await;
        let warm = state.wait_for(|state| state.ended.is_some() || state.calls.warmed_up());
        let _ = timeout(WARM_UP, warm).await;
        if let Some(failure) = &self.state.borrow().ended {
            return Err(failure.clone());
        }
        self.state.send_modify(|state| state.calls.begin());
        Ok(())
    }

    /// Waits until every target was called once more, and what wavers is through again, or lost.
    pub async fn settled(&self) -> Health {
        let mut state = self.state.subscribe();
        let before = self.state.borrow().calls.clone();
        let is_settled = |state: &State| {
            state.calls.is_newer_than(&before) && state.calls.standing() != Health::Failing || state.ended.is_some()
        };
        // Twice as long as it takes to be lost: a target of many is called once in a while.
        let _ = timeout(LASTING * 2, state.wait_for(is_settled)).await;
        self.state.borrow().calls.standing()
    }

    /// Waits until everything is through again, for as long as it takes to be lost.
    pub async fn recovered(&self) -> bool {
        let mut state = self.state.subscribe();
        let through = state.wait_for(|state| state.calls.standing() == Health::Ok);
        timeout(LASTING * 2, through).await.is_ok_and(|state| state.is_ok())
    }

    /// What was seen so far, and why the control has ended where it has.
    pub fn seen(&self) -> (Calls, Option<Failure>) {
        let state = self.state.borrow();
        (state.calls.clone(), state.ended.clone())
    }

    /// Ends it. The removal of its pod goes on by itself.
    pub async fn end(self) -> Option<Removal> {
        let _ = self.stop.send(());
        self.task.await.ok()
    }
}

/// Reads the pod's log as it is written.
async fn follow(
    probe: &ProbePod,
    marker: &str,
    targets: &HashMap<String, usize>,
    state: &watch::Sender<State>,
) -> Result<(), Failure> {
    probe.started().await?;
    let mut lines = probe.follow().await?;
    let start = Instant::now();
    while let Some(line) = lines.next().await {
        let Some((target, sample)) = record(&line, marker, targets) else { continue };
        state.send_modify(|state| state.calls.see(target, &sample, start.elapsed()));
    }
    Err(Failure::Pod(Reason::LostOutput, "its stream of samples ended".to_owned()))
}

/// curl's arguments for calling every case in turns for `duration`.
///
/// One URL does all: the counter stands where a user's name would, since curl's globs vary the rightmost fastest, and
/// an empty `Authorization` header keeps it from being sent.
fn arguments(cases: &[&Case], duration: Duration, marker: &str) -> Option<Vec<String>> {
    let count = cases.len().max(1);
    let rate = (PACE.0 * count).min(PACE.1);
    let rounds = (usize::try_from(duration.as_secs()).ok()?.max(1) * rate).div_ceil(count);
    let record = format!("%{{stderr}}{marker} {NUMBERS} %{{url_effective}} {WHO_ANSWERED}\\n");
    let urls: Vec<String> = cases.iter().map(|case| format!("{}{}", authority(case), escaped(&case.path))).collect();
    let url = format!("http://[1-{rounds}]@{{{}}}", urls.join(","));
    let arguments = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close", "-H", "Authorization:"]
        .into_iter()
        .chain(["-o", "/dev/null", "--connect-timeout", PATIENCE, "--max-time", PATIENCE])
        .chain(["--rate", &format!("{rate}/s"), "-w", &record, &url])
        .map(str::to_owned)
        .collect();
    (!cases.is_empty()).then_some(arguments)
}

fn authority(case: &Case) -> String {
    format!("{}:{}", case.host, case.port)
}

/// One record: which target, and what it met.
fn record(line: &str, marker: &str, targets: &HashMap<String, usize>) -> Option<(usize, Sample)> {
    let rest = line.strip_prefix(marker)?.strip_prefix(' ')?;
    let (told, who) = rest.split_at_checked(rest.find(" <")? + 1)?;
    let mut fields = told.split_ascii_whitespace();
    let sample = numbers(&mut fields)?;
    let (_, at) = fields.next()?.split_once('@')?;
    let target = *targets.get(at.split('/').next()?)?;
    Some((target, Sample { from_sidecar: is_from_sidecar(who), ..sample }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(host: &str, port: u16, path: &str) -> Case {
        Case {
            service: host.split('.').next().unwrap_or_default().to_owned(),
            namespace: "shop".into(),
            port,
            port_name: String::new(),
            path: path.into(),
            explicit_path: false,
            host: host.into(),
            endpoints: Vec::new(),
            unready: Vec::new(),
        }
    }

    #[test]
    fn one_url_calls_all_targets_in_turns() {
        let (web, api) = (case("web.shop.svc", 80, "/a,{b}"), case("api.shop.svc", 8080, "/"));
        let arguments = arguments(&[&web, &api], Duration::from_mins(1), "M").unwrap();
        let url = arguments.last().map(String::as_str);
        assert_eq!(url, Some(r"http://[1-300]@{web.shop.svc:80/a\,\{b\},api.shop.svc:8080/}"));
        assert!(arguments.windows(2).any(|pair| pair == ["--rate", "10/s"]));
        assert!(arguments.windows(2).any(|pair| pair == ["-H", "Authorization:"]), "the counter is no user's name");
        assert_eq!(super::arguments(&[], Duration::from_mins(1), "M"), None);
    }

    #[test]
    fn records_name_their_target_and_who_answered() {
        let targets = HashMap::from([("api.shop.svc:8080".to_owned(), 1)]);
        let read = |line: &str| record(line, "M", &targets);
        let url = "http://7@api.shop.svc:8080/";
        let (index, sample) = read(&format!("M 0 200 1 3 100 0.0005 0.0006 {url} <4> <envoy>")).unwrap();
        assert_eq!((index, sample.http_status, sample.bytes, sample.from_sidecar), (1, Some(200), 103, false));
        let (_, sample) = read(&format!("M 0 503 1 91 153 0.0005 0.0006 {url} <> <envoy>")).unwrap();
        assert!(sample.from_sidecar);
        let (_, sample) = read(&format!("M 52 000 1 0 0 0.0005 0.0006 {url} <> <>")).unwrap();
        assert_eq!((sample.exit, sample.http_status, sample.connected), (52, None, true));
    }

    #[test]
    fn what_is_no_record_is_left_alone() {
        let targets = HashMap::from([("api.shop.svc:8080".to_owned(), 1)]);
        for line in [
            "",
            "M",
            "x 0 200 1 3 100 0.0005 0.0006 http://7@api.shop.svc:8080/ <> <>",
            "M 0 200 1 3 100 0.0005 0.0006 http://7@other.svc:8080/ <> <>",
            "M 0 200 1 3 100 0.0005 0.0006 http://api.shop.svc:8080/ <> <>",
            "M 0 200 1 3 100 0.0005 0.0006 http://7@api.shop.svc:8080/",
            "M a b c d e f g h <> <>",
        ] {
            assert_eq!(record(line, "M", &targets), None, "{line:?}");
        }
    }
}
