//! `probe --watch` and `--until`: streams samples of the targets, shows each change of an answer, and probes the targets
//! once their answers are the awaited ones.

mod display;

use super::probe_run::{ProbeRun, pod_failure, print_expectation, render};
use crate::cli::values::OutputFormat;
use crate::cluster::snapshot;
use crate::curl_pod::pod_state::MeshMembership;
use crate::curl_pod::probe_pod::{Curl, Failure, ProbePod, random_word, with_pod};
use crate::curl_pod::stream;
use crate::domain::enforcement::RefusalStyle;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::Snapshot;
use crate::domain::probe::{self, Case, EndpointCase};
use crate::domain::watch::{AnswerChange, TargetWatch, WatchedAnswer};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::human::Style;
use crate::report::plural::count;
use crate::settings::{ProbeAction, ProbeSettings};
use crate::signal::Signal;
use crate::ui::printer;
use display::Display;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// Time that one pod runs before the next one replaces it.
const ROUND: Duration = Duration::from_mins(10);

/// Pause between two reads of the endpoints.
const ENDPOINT_POLL: Duration = Duration::from_secs(10);

/// Pause between a probe that does not prove the awaited answer and the next round.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a pod's round ended.
enum RoundEnd {
    /// Every target answers as `--until` awaits.
    AsAwaited,
    /// A new pod is needed; the reason.
    Restart(&'static str),
    /// A change could not be shown.
    NotShown(Error),
}

/// Watches the targets until the run is ended, or with `--until` until a probe proves that every target answers so.
pub async fn run(probe_run: &ProbeRun<'_>, settings: &ProbeSettings, snapshot: Snapshot) -> error::Result<ExitStatus> {
    let mut watcher = Watcher {
        probe_run,
        settings,
        snapshot,
        display: Display::new(probe_run.context, settings)?,
        began: Instant::now(),
        changes: 0,
        last: String::new(),
        left_behind: ExitStatus::Success,
    };
    let status = match watcher.rounds().await {
        Err(error) => watcher.interrupted_by(error)?,
        Ok(status) => status,
    };
    Ok(status.and(watcher.left_behind))
}

struct Watcher<'a> {
    probe_run: &'a ProbeRun<'a>,
    settings: &'a ProbeSettings,
    snapshot: Snapshot,
    display: Display,
    began: Instant,
    changes: usize,
    /// The last answers, as text for the message at the end.
    last: String,
    /// Whether a pod of an earlier round could not be removed.
    left_behind: ExitStatus,
}

impl Watcher<'_> {
    async fn rounds(&mut self) -> error::Result<ExitStatus> {
        let context = self.probe_run.context;
        loop {
            let (cases, empty): (Vec<Case>, Vec<Case>) =
                self.cases()?.into_iter().partition(|case| !case.endpoints.is_empty());
            for case in &empty {
                context.printer.warn(&format!("not watched, without a ready endpoint: {}", case.name()));
            }
            if cases.is_empty() {
                return Err(Error::Inconclusive("nothing to watch: no target has a ready endpoint".to_owned()));
            }
            let end = self.round(&cases).await?;
            // The policy that changed the answers may be newer than the snapshot.
            let state = snapshot::read(self.probe_run.cluster, self.probe_run.api_versions, &context.settings.mesh);
            self.snapshot = context.read(state).await?.snapshot;
            match end {
                RoundEnd::NotShown(error) => return Err(error),
                RoundEnd::Restart(reason) => context.printer.say(&format!("watching anew: {reason}")),
                RoundEnd::AsAwaited => {
                    if let Some(status) = self.prove().await? {
                        return Ok(status);
                    }
                    context.shutdown.race(tokio::time::sleep(PAUSE)).await?;
                }
            }
        }
    }

    fn cases(&self) -> Result<Vec<Case>, probe::TargetError> {
        Ok(self.settings.selection.cases(&self.snapshot)?.0)
    }

    /// Watches the targets with one pod.
    async fn round(&mut self, cases: &[Case]) -> error::Result<RoundEnd> {
        let probe_run = self.probe_run;
        let Endpoints { addresses: endpoints, styles, targets } = Endpoints::of(cases);
        let marker = random_word(16);
        let arguments = stream::arguments(&endpoints, stream::Pace::STEADY, ROUND, &marker);
        let runner = probe_run.probe_runner();
        let request = runner.pod_request(vec![Curl::endless(arguments)], ROUND.as_secs());
        probe_run.context.printer.say(&format!(
            "watching {} at {}; run probe without --watch to prove who refuses",
            count(cases.len(), "target"),
            count(endpoints.len(), "endpoint")
        ));
        self.display.begin(cases.iter().map(Case::name))?;
        let (cluster, services) = runner.placement(MeshMembership::Outside, &self.snapshot);
        let (cluster, services) = (cluster.clone(), services.to_vec());
        let shutdown = &probe_run.context.shutdown;
        let run = with_pod(&cluster, &request, &services, shutdown, async |probe| {
            self.follow(probe, &marker, cases, TargetWatch::new(targets, &styles)).await
        })
        .await;
        // The terminal may be closed; the pod is removed all the same.
        let _ = if run.result.is_ok() { self.display.erase() } else { self.display.leave() };
        let left: Vec<String> = run.removal.confirmed().await.into_iter().collect();
        self.left_behind = self.left_behind.and(probe_run.context.report_left_behind(&left));
        match run.result {
            Ok(end) => Ok(end),
            Err(failure) => {
                let (reason, message) = pod_failure(failure)?;
                let remedy = reason.remedy_of_probe();
                Err(Error::Inconclusive(format!("the probe that watches failed: {reason}: {message} ({remedy})")))
            }
        }
    }

    async fn follow(
        &mut self,
        probe: &ProbePod,
        marker: &str,
        cases: &[Case],
        mut watch: TargetWatch,
    ) -> Result<RoundEnd, Failure> {
        let mut stream = stream::open(probe, marker).await?;
        let began = Instant::now();
        let mut polls = tokio::time::interval_at(began + ENDPOINT_POLL, ENDPOINT_POLL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = std::pin::pin!(tokio::time::sleep(ROUND));
        loop {
            tokio::select! {
                sample = stream.next() => {
                    let (endpoint, sample) = sample?;
                    let changes = watch.record(endpoint, &sample, began.elapsed());
                    if !changes.is_empty() {
                        if let Err(error) = self.show(cases, &changes) {
                            return Ok(RoundEnd::NotShown(error));
                        }
                        self.last = answers(cases, &watch);
                        if self.is_awaited(&watch) {
                            return Ok(RoundEnd::AsAwaited);
                        }
                    }
                }
                () = self.display.is_outdated() => {
                    if let Err(error) = self.display.draw() {
                        return Ok(RoundEnd::NotShown(error));
                    }
                }
                _ = polls.tick() => {
                    let probe_run = self.probe_run;
                    let options = &probe_run.context.settings.mesh;
                    let state = snapshot::read(probe_run.cluster, probe_run.api_versions, options).await?;
                    if endpoints_changed(cases, &state.snapshot) {
                        return Ok(RoundEnd::Restart("the endpoints have changed"));
                    }
                }
                () = &mut round => return Ok(RoundEnd::Restart("the pod's time is over")),
            }
        }
    }

    fn show(&mut self, cases: &[Case], changes: &[AnswerChange]) -> error::Result<()> {
        for change in changes {
            self.changes += usize::from(change.before.is_some());
            self.display.show(&cases[change.target].name(), change)?;
        }
        Ok(())
    }

    fn is_awaited(&self, watch: &TargetWatch) -> bool {
        match self.probe_run.expected.filter(|_| self.settings.action == ProbeAction::WaitUntil) {
            Some(Expectation::Rejected) => watch.all(|answer| answer == WatchedAnswer::Refused),
            Some(_) => watch.all(|answer| matches!(answer, WatchedAnswer::Answered(_))),
            None => false,
        }
    }

    /// Probes the targets. `None` if the probe does not prove what the samples suggest.
    async fn prove(&mut self) -> error::Result<Option<ExitStatus>> {
        let probe_run = self.probe_run;
        let (report, status) = probe_run.run(&self.snapshot, &self.cases()?, Vec::new()).await?;
        if report.exit_status() != ExitStatus::Success {
            if let Some(expected) = probe_run.expected {
                print_expectation(probe_run.context, &report, expected);
            }
            return Ok(None);
        }
        let wide = self.settings.output == OutputFormat::Wide;
        let style = Style { wide, explain: self.settings.explain, width: printer::width(), ..Style::default() };
        self.display.leave()?;
        probe_run.context.printer.result(&render(&report, self.settings.output, style)?)?;
        let seconds = self.began.elapsed().as_secs_f64();
        probe_run.context.printer.say(&format!("proven after {seconds:.1} s"));
        Ok(Some(status))
    }

    /// How an interrupted watch ends. The end of `--timeout` is a success without `--until`, and inconclusive with it.
    fn interrupted_by(&mut self, error: Error) -> error::Result<ExitStatus> {
        // The terminal may be closed; why the run ends counts more.
        let _ = self.display.leave();
        let Error::Interrupted(signal) = error else { return Err(error) };
        self.probe_run.context.printer.say(&format!("{} seen; {}", count(self.changes, "flip"), self.last));
        match (signal, self.probe_run.expected.filter(|_| self.settings.action == ProbeAction::WaitUntil)) {
            (Signal::Deadline, Some(expected)) => {
                let seconds = self.began.elapsed().as_secs();
                Err(Error::Inconclusive(format!("not {expected} within {seconds} s (--timeout): {}", self.last)))
            }
            (Signal::Deadline | Signal::OutputClosed, None) => Ok(ExitStatus::Success),
            _ => Err(error),
        }
    }
}

/// The distinct endpoints of all cases.
struct Endpoints {
    addresses: Vec<(String, u16)>,
    styles: Vec<RefusalStyle>,
    /// The indices of each target's endpoints.
    targets: Vec<Vec<usize>>,
}

impl Endpoints {
    fn of(cases: &[Case]) -> Self {
        let mut endpoints = Self { addresses: Vec::new(), styles: Vec::new(), targets: Vec::new() };
        for case in cases {
            let indices = case.endpoints.iter().map(|endpoint| endpoints.index(endpoint)).collect();
            endpoints.targets.push(indices);
        }
        endpoints
    }

    fn index(&mut self, endpoint: &EndpointCase) -> usize {
        let address = (endpoint.address.clone(), endpoint.port);
        self.addresses.iter().position(|known| *known == address).unwrap_or_else(|| {
            self.addresses.push(address);
            self.styles.push(RefusalStyle::of(endpoint));
            self.addresses.len() - 1
        })
    }
}

/// Whether the endpoints' addresses differ from those that are watched. Other changes, such as a policy's, are ignored.
fn endpoints_changed(cases: &[Case], now: &Snapshot) -> bool {
    let addresses = |case: &Case| -> Vec<(String, u16)> {
        case.endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.port)).collect()
    };
    cases.iter().any(|case| probe::current_case(case, now).is_none_or(|new| addresses(&new) != addresses(case)))
}

/// The current answer of each target, as text.
fn answers(cases: &[Case], watch: &TargetWatch) -> String {
    let answers = cases.iter().enumerate().map(|(index, case)| {
        let answer = watch.last(index).map_or_else(|| "not settled".to_owned(), |answer| answer.to_string());
        format!("{} {answer}", case.name())
    });
    answers.collect::<Vec<_>>().join(", ")
}
