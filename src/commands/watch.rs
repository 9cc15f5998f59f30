//! `probe --watch` and `--until`: samples as they come, the moments at which answers flip, and the proof at the end.

use super::probe::{ProbeRun, conclusive, render, say_expectation};
use crate::cli::probe::ProbeArgs;
use crate::cli::values::OutputFormat;
use crate::cluster::snapshot;
use crate::curl_pod::pod_state::MeshMembership;
use crate::curl_pod::probe_pod::{Curl, Failure, ProbePod, random_word, with_pod};
use crate::curl_pod::stream;
use crate::domain::expectation::Expectation;
use crate::domain::mesh::Snapshot;
use crate::domain::probe::{self, Case};
use crate::domain::selection::Selection;
use crate::domain::watch::{TargetWatch, WatchedAnswer};
use crate::error::{self, Error};
use crate::exit::ExitStatus;
use crate::report::human::{Style, count};
use crate::report::watch as lines;
use crate::signal::Signal;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How long one pod watches before another takes over.
const ROUND: Duration = Duration::from_mins(10);

/// How often the endpoints are looked up.
const LOOK: Duration = Duration::from_secs(10);

/// Between a proof that failed and the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a round of watching ended.
enum End {
    /// Every target answers as awaited.
    AsAwaited,
    /// The endpoints are not what they were, or the pod's time is over.
    Anew(&'static str),
}

/// Watches; with `--until`, until every target is proven to be so.
pub async fn run(
    question: &ProbeRun<'_>,
    args: &ProbeArgs,
    selection: Selection,
    snapshot: Snapshot,
) -> error::Result<ExitStatus> {
    let mut watcher =
        Watcher { question, args, selection, snapshot, began: Instant::now(), changes: 0, last: String::new() };
    match watcher.rounds().await {
        Err(error) => watcher.ended_by(error),
        done => done,
    }
}

struct Watcher<'a> {
    question: &'a ProbeRun<'a>,
    args: &'a ProbeArgs,
    selection: Selection,
    snapshot: Snapshot,
    began: Instant,
    changes: usize,
    /// What the targets answered last, for the account of an `--until` that did not come about.
    last: String,
}

impl Watcher<'_> {
    async fn rounds(&mut self) -> error::Result<ExitStatus> {
        let context = self.question.context;
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
            // The policy that flipped the answers is younger than the last look.
            let look = snapshot::look(self.question.cluster, self.question.generation, &context.settings.mesh);
            self.snapshot = context.read(look).await?.snapshot;
            match end {
                End::Anew(why) => context.printer.say(&format!("watching anew: {why}")),
                End::AsAwaited => {
                    if let Some(status) = self.proven().await? {
                        return Ok(status);
                    }
                    context.shutdown.race(tokio::time::sleep(PAUSE)).await?;
                }
            }
        }
    }

    fn cases(&self) -> Result<Vec<Case>, probe::TargetError> {
        Ok(self.selection.cases(&self.snapshot)?.0)
    }

    /// One pod's time.
    async fn round(&mut self, cases: &[Case]) -> error::Result<End> {
        let question = self.question;
        let (endpoints, targets) = numbered(cases);
        let marker = random_word(16);
        let arguments = stream::arguments(&endpoints, stream::Pace::STEADY, ROUND, &marker);
        let runner = question.probe_runner();
        let request = runner.pod_request(vec![Curl::endless(arguments)], ROUND.as_secs());
        question.context.printer.say(&format!(
            "watching {} at {}; who refuses, only a probe without --watch proves",
            count(cases.len(), "target"),
            count(endpoints.len(), "endpoint")
        ));
        let (cluster, services) = runner.placement(MeshMembership::Outside, &self.snapshot);
        let (cluster, services) = (cluster.clone(), services.to_vec());
        let shutdown = &question.context.shutdown;
        let outcome = with_pod(&cluster, &request, &services, shutdown, async |probe| {
            self.follow(probe, &marker, cases, targets).await
        })
        .await;
        let left: Vec<String> = outcome.removal.confirmed().await.into_iter().collect();
        question.context.report_left_behind(&left);
        conclusive(outcome.result)?.map_err(|(reason, words)| {
            Error::Inconclusive(format!("the probe that watches failed: {reason}: {words} ({})", reason.remedy()))
        })
    }

    async fn follow(
        &mut self,
        probe: &ProbePod,
        marker: &str,
        cases: &[Case],
        targets: Vec<Vec<usize>>,
    ) -> Result<End, Failure> {
        let mut stream = stream::open(probe, marker).await?;
        let mut watch = TargetWatch::new(targets);
        let began = Instant::now();
        let mut looks = tokio::time::interval_at(began + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = std::pin::pin!(tokio::time::sleep(ROUND));
        loop {
            tokio::select! {
                sample = stream.next() => {
                    let (endpoint, sample) = sample?;
                    let changes = watch.record(endpoint, &sample, began.elapsed());
                    for change in &changes {
                        self.changes += usize::from(change.before.is_some());
                        self.show(&cases[change.target].name(), change);
                    }
                    if !changes.is_empty() {
                        self.last = account(cases, &watch);
                        if self.is_awaited(&watch) {
                            return Ok(End::AsAwaited);
                        }
                    }
                }
                _ = looks.tick() => {
                    let question = self.question;
                    let options = &question.context.settings.mesh;
                    let look = snapshot::look(question.cluster, question.generation, options).await?;
                    if moved(cases, &look.snapshot) {
                        return Ok(End::Anew("the endpoints have changed"));
                    }
                }
                () = &mut round => return Ok(End::Anew("the pod's time is over")),
            }
        }
    }

    fn show(&self, target: &str, change: &crate::domain::watch::AnswerChange) {
        let time = format!("{:.3}", jiff::Timestamp::now());
        let text = match self.args.output {
            Some(OutputFormat::Json | OutputFormat::Yaml) => lines::json(&time, target, change),
            _ => lines::text(&time, target, change),
        };
        // Whoever no longer reads will end us by a signal.
        let _ = self.question.context.printer.result(&text);
    }

    fn is_awaited(&self, watch: &TargetWatch) -> bool {
        match self.question.expected.filter(|_| self.args.until.is_some()) {
            Some(Expectation::Rejected) => watch.all(|answer| answer == WatchedAnswer::Refused),
            Some(_) => watch.all(|answer| matches!(answer, WatchedAnswer::Answered(_))),
            None => false,
        }
    }

    /// The proof; none where the answer is not yet what it looks like.
    async fn proven(&self) -> error::Result<Option<ExitStatus>> {
        let question = self.question;
        let (report, left) = question.ask(&self.snapshot, &self.cases()?, Vec::new()).await?;
        if report.exit_status() != ExitStatus::Success {
            if let Some(expected) = question.expected {
                say_expectation(question.context, &report, expected);
            }
            return Ok(None);
        }
        let wide = self.args.output == Some(OutputFormat::Wide);
        let style = Style { wide, per_endpoint: false, explain: self.args.explain };
        question.context.printer.result(&render(&report, self.args.output, style)?)?;
        let seconds = self.began.elapsed().as_secs_f64();
        question.context.printer.say(&format!("proven after {seconds:.1} s"));
        Ok(Some(left))
    }

    /// A watch without a goal ends well when its time is over; one with a goal has not reached it.
    fn ended_by(&self, error: Error) -> error::Result<ExitStatus> {
        let Error::Interrupted(signal) = error else { return Err(error) };
        self.question.context.printer.say(&format!("{} seen; {}", count(self.changes, "flip"), self.last));
        match (signal, self.question.expected.filter(|_| self.args.until.is_some())) {
            (Signal::Deadline, Some(expected)) => {
                let seconds = self.began.elapsed().as_secs();
                Err(Error::Inconclusive(format!("not {expected} within {seconds} s (--timeout): {}", self.last)))
            }
            (Signal::Deadline, None) => Ok(ExitStatus::Success),
            _ => Err(error),
        }
    }
}

/// Endpoints numbered through, each once, and the numbers of each case.
fn numbered(cases: &[Case]) -> (Vec<(String, u16)>, Vec<Vec<usize>>) {
    let mut endpoints: Vec<(String, u16)> = Vec::new();
    let mut targets = Vec::new();
    for case in cases {
        let mut own = Vec::new();
        for endpoint in &case.endpoints {
            let way = (endpoint.address.clone(), endpoint.port);
            let index = endpoints.iter().position(|known| *known == way).unwrap_or_else(|| {
                endpoints.push(way);
                endpoints.len() - 1
            });
            own.push(index);
        }
        targets.push(own);
    }
    (endpoints, targets)
}

/// Whether the addresses are others than those that are watched; a new policy is what is waited for, not a change.
fn moved(cases: &[Case], now: &Snapshot) -> bool {
    let addresses = |case: &Case| -> Vec<(String, u16)> {
        case.endpoints.iter().map(|endpoint| (endpoint.address.clone(), endpoint.port)).collect()
    };
    cases.iter().any(|case| probe::again(case, now).is_none_or(|new| addresses(&new) != addresses(case)))
}

fn account(cases: &[Case], watch: &TargetWatch) -> String {
    let words = cases.iter().enumerate().map(|(index, case)| {
        let answer = watch.last(index).map_or_else(|| "not settled".to_owned(), |answer| answer.to_string());
        format!("{} {answer}", case.name())
    });
    words.collect::<Vec<_>>().join(", ")
}
