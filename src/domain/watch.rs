//! Computes what each target answers to plaintext and when its answer changes, from a stream of samples, for
//! `probe --watch`.

use super::enforcement::RefusalStyle;
use super::reason::Reason;
use super::sample::{AcceptedBy, Sample, SampleOutcome, classify};
use std::fmt;
use std::time::Duration;

/// Consecutive samples of one endpoint that must agree before a refusal or a silence counts. An answer counts at once,
/// because one byte is enough.
const STREAK: usize = 3;

/// What a target answers to plaintext, by the samples alone. Only a probe with evidence shows who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchedAnswer {
    /// At least one endpoint answered.
    Answered(AcceptedBy),
    /// Every endpoint refused.
    Refused,
    /// No endpoint answered, and the samples of one show nothing about mutual TLS.
    Silent(Reason),
}

impl WatchedAnswer {
    /// `answered`, `refused` or `silent`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Refused => "refused",
            Self::Silent(_) => "silent",
        }
    }

    /// Whether both are the same kind of answer: another HTTP status is not a change.
    fn is_same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl fmt::Display for WatchedAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(accepted_by) => write!(f, "answered ({accepted_by})"),
            Self::Refused => f.write_str("refused"),
            Self::Silent(reason) => write!(f, "silent ({reason})"),
        }
    }
}

/// A change of a target's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerChange {
    /// Index of the target.
    pub target: usize,
    /// The previous answer, and how long it lasted; `None` at the first answer.
    pub before: Option<(WatchedAnswer, Duration)>,
    pub now: WatchedAnswer,
    /// When the first sample with the new answer arrived, since the start of the watch.
    pub at: Duration,
}

#[derive(Debug, Clone, Copy)]
struct EndpointStreak {
    style: RefusalStyle,
    last: Option<SampleOutcome>,
    streak: usize,
    /// When the present streak started.
    since: Duration,
}

/// The targets of a watch. An endpoint has one index over all targets; targets may share endpoints.
#[derive(Debug, Clone)]
pub struct TargetWatch {
    endpoints: Vec<EndpointStreak>,
    targets: Vec<Vec<usize>>,
    shown: Vec<Option<(WatchedAnswer, Duration)>>,
}

impl TargetWatch {
    /// A watch for these targets, each with the indices of its endpoints. An endpoint has the refusal style of its proxy.
    pub fn new(targets: Vec<Vec<usize>>, styles: &[RefusalStyle]) -> Self {
        let endpoint =
            |style: &RefusalStyle| EndpointStreak { style: *style, last: None, streak: 0, since: Duration::ZERO };
        Self { endpoints: styles.iter().map(endpoint).collect(), shown: vec![None; targets.len()], targets }
    }

    /// Records one sample of an endpoint and returns the changes that result. `at` is the time since the start.
    pub fn record(&mut self, endpoint: usize, sample: &Sample, at: Duration) -> Vec<AnswerChange> {
        let Some(seen) = self.endpoints.get_mut(endpoint) else { return Vec::new() };
        let now = merge_refusals(classify(sample), seen.style);
        if seen.last.is_some_and(|last| std::mem::discriminant(&last) == std::mem::discriminant(&now)) {
            seen.streak += 1;
        } else {
            (seen.streak, seen.since) = (1, at);
        }
        seen.last = Some(now);
        let concerned: Vec<usize> =
            (0..self.targets.len()).filter(|target| self.targets[*target].contains(&endpoint)).collect();
        concerned.into_iter().filter_map(|target| self.change(target)).collect()
    }

    fn change(&mut self, target: usize) -> Option<AnswerChange> {
        let (now, at) = self.answer(target)?;
        let before = self.shown[target];
        if before.is_some_and(|(before, _)| before.is_same_kind(now)) {
            return None;
        }
        self.shown[target] = Some((now, at));
        let before = before.map(|(before, since)| (before, at.saturating_sub(since)));
        Some(AnswerChange { target, before, now, at })
    }

    /// What a target answers, and since when; `None` while its endpoints do not have enough samples.
    fn answer(&self, target: usize) -> Option<(WatchedAnswer, Duration)> {
        let endpoints = || self.targets[target].iter().map(|index| &self.endpoints[*index]);
        let answered = endpoints().find_map(|endpoint| match endpoint.last {
            Some(SampleOutcome::Answered(accepted_by)) => Some((WatchedAnswer::Answered(accepted_by), endpoint.since)),
            _ => None,
        });
        if answered.is_some() {
            return answered;
        }
        if !endpoints().all(|endpoint| endpoint.streak >= STREAK) {
            return None;
        }
        let since = endpoints().map(|endpoint| endpoint.since).max()?;
        let silent = endpoints().find_map(|endpoint| match endpoint.last {
            Some(SampleOutcome::Unrelated(reason)) => Some(reason),
            _ => None,
        });
        Some((silent.map_or(WatchedAnswer::Refused, WatchedAnswer::Silent), since))
    }

    /// Whether the present answer of every target matches.
    pub fn all(&self, matches: impl Fn(WatchedAnswer) -> bool) -> bool {
        self.shown.iter().all(|shown| shown.is_some_and(|(answer, _)| matches(answer)))
    }

    /// The present answer of a target; `None` before its first answer.
    pub fn last(&self, target: usize) -> Option<WatchedAnswer> {
        self.shown.get(target).copied().flatten().map(|(answer, _)| answer)
    }
}

/// At a ztunnel a reset and a close count as the same answer. Behind a sidecar a close shows nothing about mutual TLS.
fn merge_refusals(outcome: SampleOutcome, style: RefusalStyle) -> SampleOutcome {
    match (outcome, style) {
        (SampleOutcome::Closed, RefusalStyle::Resets) => SampleOutcome::Unrelated(Reason::ClosedNotReset),
        (SampleOutcome::Closed, RefusalStyle::ResetsOrCloses) => SampleOutcome::Reset,
        (other, _) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{http, no_answer};
    use RefusalStyle::{Resets, ResetsOrCloses};

    fn answer() -> Sample {
        http(200)
    }

    fn feed(watch: &mut TargetWatch, rows: &[(usize, Sample, u64)]) -> Vec<String> {
        let mut lines = Vec::new();
        for (endpoint, sample, millis) in rows {
            for change in watch.record(*endpoint, sample, Duration::from_millis(*millis)) {
                lines.push(format!("{} {} {}", change.target, change.now.as_str(), change.at.as_millis()));
            }
        }
        lines
    }

    #[test]
    fn an_answer_counts_at_once_and_a_refusal_after_three() {
        let mut watch = TargetWatch::new(vec![vec![0]], &[ResetsOrCloses]);
        let lines = feed(
            &mut watch,
            &[
                (0, answer(), 0),
                (0, no_answer(56), 10),
                (0, no_answer(52), 20),
                (0, no_answer(56), 30),
                (0, answer(), 40),
            ],
        );
        assert_eq!(lines, ["0 answered 0", "0 refused 10", "0 answered 40"]);
    }

    #[test]
    fn one_open_endpoint_keeps_a_target_open() {
        let mut watch = TargetWatch::new(vec![vec![0, 1]], &[Resets; 2]);
        let mut rows = vec![(1, answer(), 0)];
        rows.extend((1..6).map(|at| (0, no_answer(56), at)));
        assert_eq!(feed(&mut watch, &rows), ["0 answered 0"]);
        let closing: Vec<_> = (10..13).map(|at| (1, no_answer(56), at)).collect();
        assert_eq!(feed(&mut watch, &closing), ["0 refused 10"]);
        assert!(watch.all(|answer| answer == WatchedAnswer::Refused));
    }

    #[test]
    fn an_endpoint_that_two_targets_share_changes_both() {
        let mut watch = TargetWatch::new(vec![vec![0], vec![0, 1]], &[Resets; 2]);
        assert_eq!(feed(&mut watch, &[(0, answer(), 5)]), ["0 answered 5", "1 answered 5"]);
    }

    #[test]
    fn a_dead_port_is_silent_and_neither_answered_nor_refused() {
        let mut watch = TargetWatch::new(vec![vec![0]], &[Resets]);
        let dead = Sample { exit: 7, ..Sample::default() };
        let lines = feed(&mut watch, &[(0, dead.clone(), 0), (0, dead.clone(), 1), (0, dead, 2)]);
        assert_eq!(lines, ["0 silent 0"]);
        assert!(!watch.all(|answer| answer == WatchedAnswer::Refused));
    }

    #[test]
    fn a_change_has_the_duration_of_the_previous_answer() {
        let mut watch = TargetWatch::new(vec![vec![0]], &[Resets]);
        let _ = feed(&mut watch, &[(0, no_answer(56), 0), (0, no_answer(56), 1), (0, no_answer(56), 2)]);
        let changes = watch.record(0, &answer(), Duration::from_millis(1500));
        assert_eq!(changes[0].before, Some((WatchedAnswer::Refused, Duration::from_millis(1500))));
    }

    #[test]
    fn a_close_is_a_refusal_only_at_a_ztunnel() {
        for (style, expected) in [(Resets, "0 silent 0"), (ResetsOrCloses, "0 refused 0")] {
            let mut watch = TargetWatch::new(vec![vec![0]], &[style]);
            let closed: Vec<_> = (0..3).map(|at| (0, no_answer(52), at)).collect();
            assert_eq!(feed(&mut watch, &closed), [expected]);
        }
    }
}
