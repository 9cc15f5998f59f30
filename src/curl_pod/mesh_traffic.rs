//! Monitors traffic in the mesh during a change: a pod in the mesh calls the Services continuously, and its calls are
//! counted, for `commands/switch`.

use super::curl::{
    ANSWER_HEADERS, LINE_PATH, NO_OUTPUT, SAMPLE_FORMAT, USER_AGENT, escaped, is_from_sidecar, parse_sample,
};
use super::mesh_client::mesh_membership;
use super::pod_state::{LINE, MeshMembership, PROBE};
use super::probe_pod::{Curl, Failure, PodRequest, ProbePod, Removal, random_word, with_pod};
use super::runner::ProbeRunner;
use crate::domain::mesh::Snapshot;
use crate::domain::mesh_client::MeshClientAnswer;
use crate::domain::mesh_traffic::{CallMonitor, CallSummary, Health, LASTING};
use crate::domain::port_protocol::CallKind;
use crate::domain::probe::Case;
use crate::domain::reason::Reason;
use crate::domain::sample::Sample;
use futures::StreamExt;
use futures::stream::SelectAll;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Most targets of each kind that are called. Of more, this many are selected evenly: each must be called often enough to
/// show a change. A server that does not answer a line takes the whole [`CALL_TIMEOUT`].
const fn max_targets(kind: CallKind) -> usize {
    match kind {
        CallKind::Request => 100,
        CallKind::Line => 20,
    }
}

/// Most calls per minute to all targets.
const MAX_CALLS: u64 = 6000;

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
    /// Time between two calls to a target.
    interval: Duration,
    /// Whether a sidecar of the client retries calls at other endpoints (RT-1).
    has_retries: bool,
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
    /// Starts a mesh client that calls the targets for at most `duration`, each once per `interval`. It calls Services by
    /// name, because a sidecar routes by name. `None` if there is no case.
    pub fn start(
        runner: &ProbeRunner<'_>,
        snapshot: &Snapshot,
        cases: &[Case],
        duration: Duration,
        interval: Duration,
    ) -> Option<Self> {
        let marker = random_word(16);
        let kinds = [CallKind::Request, CallKind::Line].map(|kind| (kind, selected(cases, kind)));
        let containers = [PROBE, LINE].into_iter();
        let curls: Vec<Curl> = kinds
            .iter()
            .filter_map(|(kind, cases)| arguments(*kind, cases, duration, interval, &marker))
            .zip(containers)
            .map(|(arguments, container)| Curl::endless_in(container, arguments))
            .collect();
        if curls.is_empty() {
            return None;
        }
        let cases: Vec<&Case> = kinds.into_iter().flat_map(|(_, cases)| cases).collect();
        let membership = mesh_membership(cases.iter().copied());
        let request = PodRequest { membership, ..runner.pod_request(curls, duration.as_secs()) };
        let (cluster, services) = runner.placement(membership, snapshot);
        let (cluster, services, shutdown) = (cluster.clone(), services.to_vec(), runner.shutdown.clone());
        let targets: HashMap<String, usize> =
            cases.iter().enumerate().map(|(index, case)| (authority(case), index)).collect();
        let calls = CallMonitor::new(cases.iter().map(|case| case.name()));
        let state = Arc::new(watch::Sender::new(MonitorState { calls, failure: None }));
        let has_retries =
            membership == MeshMembership::Sidecar && cases.iter().any(|case| case.protocol.call() == CallKind::Request);
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let containers: Vec<&'static str> = request.curls.iter().map(|curl| curl.container).collect();
        let task = tokio::spawn(async move {
            let work = async |probe: &ProbePod| {
                tokio::select! {
                    _ = stopped => Ok(()),
                    end = follow(probe, &containers, &marker, &targets, &shared) => end,
                }
            };
            let run = with_pod(&cluster, &request, &services, &shutdown, work).await;
            if let Err(failure) = run.result {
                shared.send_modify(|state| state.failure = Some(failure));
            }
            run.removal
        });
        Some(Self { state, stop, task, start_timeout: runner.options.start_timeout, interval, has_retries })
    }

    /// Waits until each target was called a few times, and counts calls from then on. Returns the state of the targets at
    /// that moment. `Err` is the reason why there is no mesh client.
    pub async fn started(&self) -> Result<CallSummary, Failure> {
        let mut state = self.state.subscribe();
        // The pod's start has a limit of its own; this one is for a log that stays empty.
        let first_call = state.wait_for(|state| state.failure.is_some() || state.calls.has_called());
        let _ = timeout(self.start_timeout + WARM_UP, first_call).await;
        let warm = state.wait_for(|state| state.failure.is_some() || state.calls.has_baseline());
        let _ = timeout(WARM_UP.max(self.interval * 4), warm).await;
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
        let is_settled = timeout(self.patience(), state.wait_for(is_settled)).await.is_ok();
        let calls = &self.state.borrow().calls;
        if is_settled { calls.health() } else { calls.final_health() }
    }

    /// Twice the time after which a target is lost, because with many targets each is called rarely.
    fn patience(&self) -> Duration {
        (LASTING * 2).max(self.interval * 5)
    }

    /// Waits until calls to all watched targets succeed again, at most as long as a target takes to be lost.
    pub async fn recovered(&self) -> bool {
        let mut state = self.state.subscribe();
        let is_ok = state.wait_for(|state| state.calls.succeeds());
        timeout(self.patience(), is_ok).await.is_ok_and(|state| state.is_ok())
    }

    /// Whether calls count only after the retries of the client's sidecar, which hide one endpoint of several that fails
    /// (RT-1).
    pub const fn has_retries(&self) -> bool {
        self.has_retries
    }

    /// The last answer of the target of this name; `None` if it is not called.
    pub fn answer(&self, target: &str) -> Option<MeshClientAnswer> {
        self.state.borrow().calls.answer(target)
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

/// Reads the pod's logs while curl writes them, and adds each call to the state.
async fn follow(
    probe: &ProbePod,
    containers: &[&str],
    marker: &str,
    targets: &HashMap<String, usize>,
    state: &watch::Sender<MonitorState>,
) -> Result<(), Failure> {
    probe.started().await?;
    let mut logs = SelectAll::new();
    for container in containers {
        // The end of one log ends the monitor: its targets are no longer called.
        logs.push(probe.follow(container).await?.map(Some).chain(futures::stream::iter([None])));
    }
    let start = Instant::now();
    while let Some(Some(line)) = logs.next().await {
        let Some((target, sample)) = record(&line, marker, targets) else { continue };
        state.send_modify(|state| state.calls.record(target, &sample, start.elapsed()));
    }
    Err(Failure::Pod(Reason::LostOutput, "its stream of samples ended".to_owned()))
}

/// The cases that get calls of this kind, at most [`max_targets`].
fn selected(cases: &[Case], kind: CallKind) -> Vec<&Case> {
    let of_kind: Vec<&Case> = cases.iter().filter(|case| case.protocol.call() == kind).collect();
    let every = of_kind.len().div_ceil(max_targets(kind)).max(1);
    of_kind.into_iter().step_by(every).collect()
}

/// curl's arguments for calling every case in turns for `duration`; `None` without cases.
///
/// One URL calls all targets: the counter takes the place of a user name, because curl varies the rightmost glob fastest.
/// An empty `Authorization` header keeps curl from sending it.
fn arguments(
    kind: CallKind,
    cases: &[&Case],
    duration: Duration,
    interval: Duration,
    marker: &str,
) -> Option<Vec<String>> {
    let count = u64::try_from(cases.len()).ok()?.max(1);
    let interval = u64::try_from(interval.as_millis()).ok()?.max(1);
    let per_minute = (60_000 * count / interval).clamp(1, MAX_CALLS);
    let rounds = (duration.as_secs().max(1) * per_minute).div_ceil(60 * count);
    let record = format!("%{{stderr}}{marker} {SAMPLE_FORMAT} %{{url_effective}} {ANSWER_HEADERS}\\n");
    let target = |case: &&Case| match kind {
        CallKind::Request => format!("{}{}", authority(case), escaped(&case.path)),
        CallKind::Line => format!("{}{LINE_PATH}", authority(case)),
    };
    let (scheme, output) = match kind {
        CallKind::Request => ("http", "/dev/null"),
        CallKind::Line => ("gopher", NO_OUTPUT),
    };
    let url = format!("{scheme}://[1-{rounds}]@{{{}}}", cases.iter().map(target).collect::<Vec<_>>().join(","));
    let arguments = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close", "-H", "Authorization:"]
        .into_iter()
        .chain(["-o", output, "--connect-timeout", CALL_TIMEOUT, "--max-time", CALL_TIMEOUT])
        .chain(["--rate", &format!("{per_minute}/m"), "-w", &record, &url])
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
    use crate::domain::port_protocol::PortProtocol;

    fn case(host: &str, port: u16, path: &str) -> Case {
        Case {
            service: host.split('.').next().unwrap_or_default().to_owned(),
            namespace: "shop".into(),
            port,
            port_name: String::new(),
            protocol: PortProtocol::Http,
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
        let half = Duration::from_millis(500);
        let arguments = arguments(CallKind::Request, &[&web, &api], Duration::from_mins(1), half, "M").unwrap();
        let url = arguments.last().map(String::as_str);
        assert_eq!(url, Some(r"http://[1-120]@{web.shop.svc:80/a\,\{b\},api.shop.svc:8080/}"));
        assert!(arguments.windows(2).any(|pair| pair == ["--rate", "240/m"]));
        assert!(arguments.windows(2).any(|pair| pair == ["-H", "Authorization:"]), "the counter is no user's name");
        assert_eq!(super::arguments(CallKind::Request, &[], Duration::from_mins(1), half, "M"), None);
    }

    #[test]
    fn a_port_that_is_not_declared_http_gets_a_line() {
        let cache = Case { protocol: PortProtocol::Undeclared, ..case("cache.shop.svc", 6379, "/") };
        let cases = [case("web.shop.svc", 80, "/"), cache];
        assert_eq!(selected(&cases, CallKind::Request), [&cases[0]]);
        let lines = selected(&cases, CallKind::Line);
        let arguments = arguments(CallKind::Line, &lines, Duration::from_mins(1), Duration::from_secs(3), "M").unwrap();
        assert_eq!(arguments.last().unwrap(), "gopher://[1-20]@{cache.shop.svc:6379/_secure-traffic}");
        assert!(arguments.windows(2).any(|pair| pair == ["--rate", "20/m"]), "{arguments:?}");
        let many = vec![cases[1].clone(); 45];
        assert_eq!((selected(&many, CallKind::Line).len(), selected(&many, CallKind::Request).len()), (15, 0));
        let targets = HashMap::from([("cache.shop.svc:6379".to_owned(), 0)]);
        let line = "M 28 000 1 16 0 0.0005 0.5 gopher://7@cache.shop.svc:6379/_secure-traffic <> <>";
        let (_, sample) = record(line, "M", &targets).unwrap();
        assert_eq!((sample.bytes, sample.http_status, sample.connected), (16, None, true));
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
