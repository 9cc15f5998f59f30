//! Monitors traffic in the mesh during a change: a pod in the mesh calls the Services continuously, and its calls are
//! counted, for `commands/switch`.

use super::curl::{ANSWER_HEADERS, SAMPLE_FORMAT, USER_AGENT, escaped, is_from_sidecar, parse_sample};
use super::mesh_client::mesh_membership;
use super::probe_pod::{Curl, Failure, PodRequest, ProbePod, Removal, random_word, with_pod};
use super::runner::ProbeRunner;
use crate::domain::mesh::Snapshot;
use crate::domain::mesh_client::MeshClientAnswer;
use crate::domain::mesh_traffic::{CallMonitor, CallSummary, Health, LASTING};
use crate::domain::probe::Case;
use crate::domain::reason::Reason;
use crate::domain::sample::Sample;
use futures::StreamExt;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Most targets that are called. Of more, this many are selected evenly: each must be called often enough to show a
/// change.
const MAX_TARGETS: usize = 100;

/// Calls per second: to each target, and in total.
const PACE: (usize, usize) = (5, 100);

/// Seconds for a call. A Service in the mesh answers in milliseconds; one that hangs must not delay the others.
const CALL_TIMEOUT: &str = "2";

/// Time in which each target should be called before the first write.
const WARM_UP: Duration = Duration::from_secs(10);

/// A mesh client that calls targets in the background from [`Self::start`] to [`Self::finish`].
#[derive(Debug)]
pub struct MeshTrafficMonitor {
    state: Arc<watch::Sender<MonitorState>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Removal>,
    start_timeout: Duration,
}

/// The calls so far, shared with the task that reads the pod's log.
#[derive(Debug)]
struct MonitorState {
    calls: CallMonitor,
    /// Why the client did not start or no longer calls.
    failure: Option<Failure>,
}

/// What a finished monitor returns.
#[derive(Debug)]
pub struct MonitoredTraffic {
    /// The calls since the first write.
    pub summary: CallSummary,
    /// Why the client ended before [`MeshTrafficMonitor::finish`], if it did.
    pub failure: Option<Failure>,
    /// The removal of its pod, in progress; `None` if its task panicked.
    pub removal: Option<Removal>,
}

impl MeshTrafficMonitor {
    /// Starts a mesh client that calls the targets for at most `duration`. It calls Services by name, because a sidecar
    /// routes by name. `None` if there is no case.
    pub fn start(runner: &ProbeRunner<'_>, snapshot: &Snapshot, cases: &[Case], duration: Duration) -> Option<Self> {
        let every = cases.len().div_ceil(MAX_TARGETS).max(1);
        let cases: Vec<&Case> = cases.iter().step_by(every).collect();
        let marker = random_word(16);
        let arguments = arguments(&cases, duration, &marker)?;
        let membership = mesh_membership(cases.iter().copied());
        let request = runner.pod_request(vec![Curl::endless(arguments)], duration.as_secs());
        let request = PodRequest { membership, ..request };
        let (cluster, services) = runner.placement(membership, snapshot);
        let (cluster, services, shutdown) = (cluster.clone(), services.to_vec(), runner.shutdown.clone());
        let targets: HashMap<String, usize> =
            cases.iter().enumerate().map(|(index, case)| (authority(case), index)).collect();
        let calls = CallMonitor::new(cases.iter().map(|case| case.name()));
        let state = Arc::new(watch::Sender::new(MonitorState { calls, failure: None }));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let work = async |probe: &ProbePod| {
                tokio::select! {
                    _ = stopped => Ok(()),
                    end = follow(probe, &marker, &targets, &shared) => end,
                }
            };
            let run = with_pod(&cluster, &request, &services, &shutdown, work).await;
            if let Err(failure) = run.result {
                shared.send_modify(|state| state.failure = Some(failure));
            }
            run.removal
        });
        Some(Self { state, stop, task, start_timeout: runner.options.start_timeout })
    }

    /// Waits until each target was called, and counts calls from then on. Returns the state of the targets at that
    /// moment. `Err` is the reason why there is no mesh client.
    pub async fn started(&self) -> Result<CallSummary, Failure> {
        let mut state = self.state.subscribe();
        // The pod's start has a limit of its own; this one is for a log that stays empty.
        let first_call = state.wait_for(|state| state.failure.is_some() || state.calls.has_called());
        let _ = timeout(self.start_timeout + WARM_UP, first_call).await;
        let warm = state.wait_for(|state| state.failure.is_some() || state.calls.called_all());
        let _ = timeout(WARM_UP, warm).await;
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        self.state.send_modify(|state| state.calls.start_counting());
        Ok(self.summary())
    }

    /// Waits until every target was called once more and no target is [`Health::Failing`].
    pub async fn settled(&self) -> Health {
        let mut state = self.state.subscribe();
        let before = self.state.borrow().calls.clone();
        let is_settled = |state: &MonitorState| {
            let is_steady = state.calls.health() != Health::Failing;
            state.calls.is_newer_than(&before) && is_steady || state.failure.is_some()
        };
        // Twice the time after which a target is lost: with many targets each is called rarely.
        let _ = timeout(LASTING * 2, state.wait_for(is_settled)).await;
        self.state.borrow().calls.health()
    }

    /// Waits until calls to all watched targets succeed again, at most as long as a target takes to be lost.
    pub async fn recovered(&self) -> bool {
        let mut state = self.state.subscribe();
        let is_ok = state.wait_for(|state| state.calls.health() == Health::Ok);
        timeout(LASTING * 2, is_ok).await.is_ok_and(|state| state.is_ok())
    }

    /// The last answer of the target of this name; `None` if it is not called.
    pub fn answer(&self, target: &str) -> Option<MeshClientAnswer> {
        self.state.borrow().calls.answer(target).cloned()
    }

    /// The calls since the first write, so far.
    pub fn summary(&self) -> CallSummary {
        self.state.borrow().calls.summary()
    }

    /// Why the client did not start or no longer calls.
    pub fn failure(&self) -> Option<Failure> {
        self.state.borrow().failure.clone()
    }

    /// Stops the client. The removal of its pod continues in the background.
    pub async fn finish(self) -> MonitoredTraffic {
        let _ = self.stop.send(());
        let removal = self.task.await.ok();
        let state = self.state.borrow();
        MonitoredTraffic { summary: state.calls.summary(), failure: state.failure.clone(), removal }
    }
}

/// Reads the pod's log while curl writes it, and adds each call to the state.
async fn follow(
    probe: &ProbePod,
    marker: &str,
    targets: &HashMap<String, usize>,
    state: &watch::Sender<MonitorState>,
) -> Result<(), Failure> {
    probe.started().await?;
    let mut lines = probe.follow().await?;
    let start = Instant::now();
    while let Some(line) = lines.next().await {
        let Some((target, sample)) = record(&line, marker, targets) else { continue };
        state.send_modify(|state| state.calls.record(target, &sample, start.elapsed()));
    }
    Err(Failure::Pod(Reason::LostOutput, "its stream of samples ended".to_owned()))
}

/// curl's arguments for calling every case in turns for `duration`; `None` without cases.
///
/// One URL calls all targets: the counter takes the place of a user name, because curl varies the rightmost glob fastest.
/// An empty `Authorization` header keeps curl from sending it.
fn arguments(cases: &[&Case], duration: Duration, marker: &str) -> Option<Vec<String>> {
    let count = cases.len().max(1);
    let rate = (PACE.0 * count).min(PACE.1);
    let rounds = (usize::try_from(duration.as_secs()).ok()?.max(1) * rate).div_ceil(count);
    let record = format!("%{{stderr}}{marker} {SAMPLE_FORMAT} %{{url_effective}} {ANSWER_HEADERS}\\n");
    let urls: Vec<String> = cases.iter().map(|case| format!("{}{}", authority(case), escaped(&case.path))).collect();
    let url = format!("http://[1-{rounds}]@{{{}}}", urls.join(","));
    let arguments = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close", "-H", "Authorization:"]
        .into_iter()
        .chain(["-o", "/dev/null", "--connect-timeout", CALL_TIMEOUT, "--max-time", CALL_TIMEOUT])
        .chain(["--rate", &format!("{rate}/s"), "-w", &record, &url])
        .map(str::to_owned)
        .collect();
    (!cases.is_empty()).then_some(arguments)
}

fn authority(case: &Case) -> String {
    format!("{}:{}", case.host, case.port)
}

/// Parses one record: the target's position, and the sample.
fn record(line: &str, marker: &str, targets: &HashMap<String, usize>) -> Option<(usize, Sample)> {
    let rest = line.strip_prefix(marker)?.strip_prefix(' ')?;
    let (result, headers) = rest.split_at_checked(rest.find(" <")? + 1)?;
    let mut fields = result.split_ascii_whitespace();
    let sample = parse_sample(&mut fields)?;
    let (_, address) = fields.next()?.split_once('@')?;
    let target = *targets.get(address.split('/').next()?)?;
    Some((target, Sample { from_sidecar: is_from_sidecar(headers), ..sample }))
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
