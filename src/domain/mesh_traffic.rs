//! Computes whether calls inside the mesh succeed during a switch, from the samples of a client in the mesh that runs
//! from before the first write to the end of the proof, for the progress and the report.
//!
//! Each target is compared with its own answers from before the first write: a worse answer is a lost call, and a target
//! whose answers show nothing about its callers is not watched.

use super::mesh_client::{Grade, MeshCall, MeshClientAnswer};
use super::sample::Sample;
use std::collections::VecDeque;
use std::time::Duration;

/// Consecutive failures before a target can count as lost.
const STREAK: usize = 3;

/// Calls to each target before the first write, so that a share of failures can be compared.
const CALLS_BEFORE: usize = 3;

/// Last calls of which a share is compared with the share before the first write.
const WINDOW: usize = 12;

/// Failures among the last calls, beyond the share before, that one change may cause.
const TOLERATED: usize = 1;

/// The time without a successful call before a target counts as lost. Clients that have not loaded a change yet
/// recover sooner.
pub const LASTING: Duration = Duration::from_secs(5);

/// How a target answered before the first write.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Baseline {
    /// The client reached the application.
    Watched {
        /// The grade that at least half of the calls had.
        grade: Grade,
        /// Calls with a lower grade, of all.
        worse: usize,
        calls: usize,
    },
    /// The client's sidecar answered that it could not reach the application: the description.
    Unreachable(String),
    /// The answers show nothing about other callers: the description.
    NotWatched(String),
}

impl Baseline {
    /// From the calls before the first write.
    fn of(calls: &[MeshCall]) -> Self {
        let mut graded: Vec<(Grade, &MeshCall)> = calls.iter().filter_map(|call| Some((call.grade?, call))).collect();
        graded.sort_by(|(one, _), (other, _)| other.cmp(one));
        let Some((grade, median)) = graded.get(graded.len().saturating_sub(1) / 2).copied() else {
            let message = calls.last().map_or("it was not called", |call| call.answer.message());
            return Self::NotWatched(message.to_owned());
        };
        let is_unreachable = |call: &MeshCall| matches!(call.answer, MeshClientAnswer::Unreachable(_));
        match grade {
            Grade::Fine | Grade::ClientError | Grade::NotUnderstood => {
                let worse = graded.iter().filter(|(other, _)| *other < grade).count();
                Self::Watched { grade, worse, calls: graded.len() }
            }
            // An application that answers with errors may be ejected by the client's sidecar.
            Grade::ServerError => {
                let own = graded.iter().find(|(grade, call)| *grade == Grade::ServerError && !is_unreachable(call));
                match own {
                    Some((_, call)) => Self::NotWatched(call.answer.message().to_owned()),
                    None => Self::Unreachable(median.answer.message().to_owned()),
                }
            }
            Grade::Denied | Grade::Nothing => Self::NotWatched(median.answer.message().to_owned()),
        }
    }
}

/// One target of the client.
#[derive(Debug, Clone)]
struct MonitoredTarget {
    name: String,
    /// The calls before the first write.
    earlier: Vec<MeshCall>,
    /// What they show, once the first write is due.
    before: Option<Baseline>,
    /// The last answer, and the last one that is as good as before.
    now: Option<MeshClientAnswer>,
    last_good: Option<MeshClientAnswer>,
    /// Whether the application itself answered with an error, so that the client's sidecar may eject it.
    has_own_errors: bool,
    /// Consecutive failures, and when the first of them ended.
    down: usize,
    down_since: Duration,
    /// The last calls since the first write: whether each failed.
    window: VecDeque<bool>,
    /// When the last call ended.
    last: Duration,
    /// Calls since the first write.
    calls: usize,
    /// Those whose answers can be compared with the state before, and those of them that failed.
    compared: usize,
    failed: usize,
    /// Description of the last failure since the first write.
    failure: Option<String>,
}

impl MonitoredTarget {
    fn new(name: String) -> Self {
        Self {
            name,
            earlier: Vec::new(),
            before: None,
            now: None,
            last_good: None,
            has_own_errors: false,
            down: 0,
            down_since: Duration::ZERO,
            window: VecDeque::new(),
            last: Duration::ZERO,
            calls: 0,
            compared: 0,
            failed: 0,
            failure: None,
        }
    }

    fn record(&mut self, call: MeshCall, at: Duration) {
        self.last = at;
        self.now = Some(call.answer.clone());
        self.has_own_errors |=
            call.grade == Some(Grade::ServerError) && !matches!(call.answer, MeshClientAnswer::Unreachable(_));
        let Some(before) = &self.before else {
            self.earlier.push(call);
            return;
        };
        self.calls += 1;
        let Baseline::Watched { grade: good, .. } = before else { return };
        let (Some(grade), false) = (call.grade, call.is_ejected && self.has_own_errors) else { return };
        self.compared += 1;
        let is_failed = grade < *good;
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(is_failed);
        if is_failed {
            self.failed += 1;
            self.failure = Some(call.answer.message().to_owned());
            self.down += 1;
            if self.down == 1 {
                self.down_since = at;
            }
        } else {
            self.down = 0;
            self.last_good = Some(call.answer);
        }
    }

    /// Takes the calls so far as the state before the first write.
    fn start_counting(&mut self) {
        let before = Baseline::of(&self.earlier);
        if let Baseline::Watched { grade, .. } = before {
            let is_good = |call: &&MeshCall| call.grade.is_some_and(|other| other >= grade);
            self.last_good = self.earlier.iter().rev().find(is_good).map(|call| call.answer.clone());
        }
        self.before = (!self.earlier.is_empty()).then_some(before);
    }

    fn is_watched(&self) -> bool {
        matches!(self.before, Some(Baseline::Watched { .. }))
    }

    /// Whether there are calls since the first write, and none of them can be compared with the state before.
    fn shows_nothing(&self) -> bool {
        self.calls > 0 && self.compared == 0
    }

    /// Whether more of the last calls failed than before the first write.
    fn is_unsteady(&self) -> bool {
        let Some(Baseline::Watched { worse, calls, .. }) = &self.before else { return false };
        let usual = (self.window.len() * worse).div_ceil((*calls).max(1));
        self.window.iter().filter(|failed| **failed).count() > usual + TOLERATED
    }

    fn is_down_for_good(&self) -> bool {
        self.is_watched() && self.down >= STREAK && self.last >= self.down_since + LASTING
    }

    fn is_failing(&self) -> bool {
        self.is_watched() && (self.down > 0 || self.is_unsteady())
    }

    fn answer(&self) -> Option<MeshClientAnswer> {
        let now = self.now.clone()?;
        Some(match &self.before {
            // The answer from before the change is no evidence about the time after it.
            Some(Baseline::Watched { .. }) if self.shows_nothing() => {
                MeshClientAnswer::Unclear(now.message().to_owned())
            }
            Some(Baseline::Watched { .. }) if self.down < STREAK && !self.is_unsteady() => {
                self.last_good.clone().unwrap_or(now)
            }
            Some(Baseline::Watched { .. }) => {
                let failure = self.failure.clone().unwrap_or_else(|| now.message().to_owned());
                let before = self.last_good.as_ref().map_or("another answer", |answer| answer.message());
                MeshClientAnswer::Unreachable(format!("{failure}; before the change it got: {before}"))
            }
            // What was so before the change is no evidence about the change.
            Some(Baseline::Unreachable(_) | Baseline::NotWatched(_)) => match now {
                MeshClientAnswer::Unreachable(message) => {
                    MeshClientAnswer::Unclear(format!("as before the change: {message}"))
                }
                other => other,
            },
            None => now,
        })
    }
}

/// The present state of the watched targets: those that the client reached before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The last call to each succeeded, and no more of the last calls failed than before.
    Ok,
    /// Calls to some fail, but not for long enough to count as lost.
    Failing,
    /// Calls to some keep failing.
    Lost,
}

/// The result of all calls since the first write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallSummary {
    /// Number of targets that the client reached before the first write.
    pub watched: usize,
    /// Number of calls to them whose answers can be compared with those before the first write.
    pub calls: usize,
    /// Targets with failed calls: name, number of failures, description of the last one.
    pub failed: Vec<(String, usize, String)>,
    /// Targets to which calls, or a larger share of them than before, keep failing.
    pub lost: Vec<String>,
    /// Targets that the client could not reach before, and reaches now.
    pub repaired: Vec<String>,
    /// Targets that the client could not reach before, and cannot reach now: name and description.
    pub broken: Vec<(String, String)>,
    /// Targets whose answers before or since the first write show nothing about other callers: name and description.
    pub not_watched: Vec<(String, String)>,
}

impl CallSummary {
    /// Number of failed calls to all targets.
    pub fn failures(&self) -> usize {
        self.failed.iter().map(|(_, count, _)| count).sum()
    }
}

/// Records the calls of the client to every target.
#[derive(Debug, Clone)]
pub struct CallMonitor {
    targets: Vec<MonitoredTarget>,
    started: bool,
}

impl CallMonitor {
    /// A monitor for targets of these names, without calls.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { targets: names.into_iter().map(MonitoredTarget::new).collect(), started: false }
    }

    /// Records one call to a target. `at` is the time since the start of the client.
    pub fn record(&mut self, index: usize, sample: &Sample, at: Duration) {
        if let Some(target) = self.targets.get_mut(index) {
            target.record(MeshCall::of(sample), at);
        }
    }

    /// Whether any target was called.
    pub fn has_called(&self) -> bool {
        self.targets.iter().any(|target| target.now.is_some())
    }

    /// Whether every target was called often enough to compare later calls with.
    pub fn has_baseline(&self) -> bool {
        self.targets.iter().all(|target| target.earlier.len() >= CALLS_BEFORE)
    }

    /// Takes the calls so far as the state before the first write; later calls are counted. Another call of this function
    /// has no effect.
    pub fn start_counting(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.targets.iter_mut().for_each(MonitoredTarget::start_counting);
        }
    }

    /// Whether every target that was called at all was called again since `before`.
    pub fn is_newer_than(&self, before: &Self) -> bool {
        let pairs = self.targets.iter().zip(&before.targets);
        pairs.filter(|(now, _)| now.now.is_some()).all(|(now, before)| now.calls > before.calls)
    }

    /// The present state of the watched targets.
    pub fn health(&self) -> Health {
        if self.targets.iter().any(MonitoredTarget::is_down_for_good) {
            Health::Lost
        } else if self.targets.iter().any(MonitoredTarget::is_failing) {
            Health::Failing
        } else {
            Health::Ok
        }
    }

    /// Whether the last call to each watched target succeeded.
    pub fn succeeds(&self) -> bool {
        self.targets.iter().all(|target| !target.is_watched() || target.down == 0)
    }

    /// The state of the watched targets where the client has called for as long as anybody waits: a larger share of
    /// failures than before is a loss.
    pub fn final_health(&self) -> Health {
        if self.targets.iter().any(MonitoredTarget::is_unsteady) { Health::Lost } else { self.health() }
    }

    /// The answer of the target with this name. A few failures do not replace an answer that is as good as before.
    pub fn answer(&self, name: &str) -> Option<MeshClientAnswer> {
        self.targets.iter().find(|target| target.name == name)?.answer()
    }

    /// The result of all calls so far.
    pub fn summary(&self) -> CallSummary {
        let mut summary = CallSummary::default();
        for target in &self.targets {
            match (&target.before, &target.now) {
                (Some(Baseline::Watched { .. }), Some(now)) if target.shows_nothing() => {
                    summary.not_watched.push((target.name.clone(), now.message().to_owned()));
                }
                (Some(Baseline::Watched { .. }), _) => {
                    summary.watched += 1;
                    summary.calls += target.compared;
                    if let Some(message) = &target.failure {
                        summary.failed.push((target.name.clone(), target.failed, message.clone()));
                    }
                    if target.is_down_for_good() || target.is_unsteady() {
                        summary.lost.push(target.name.clone());
                    }
                }
                (Some(Baseline::Unreachable(_)), Some(MeshClientAnswer::Reached(_))) => {
                    summary.repaired.push(target.name.clone());
                }
                (Some(Baseline::Unreachable(_)), Some(now)) => {
                    summary.broken.push((target.name.clone(), now.message().to_owned()));
                }
                (Some(Baseline::NotWatched(message)), _) => {
                    summary.not_watched.push((target.name.clone(), message.clone()));
                }
                (Some(Baseline::Unreachable(_)) | None, _) => {}
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{from_sidecar, http, no_answer};
    use proptest::prelude::*;
    use proptest::sample::select;

    fn success() -> Sample {
        http(200)
    }

    fn broken() -> Sample {
        from_sidecar(503)
    }

    fn silent() -> Sample {
        no_answer(52)
    }

    /// The answer of the client's sidecar that has ejected every endpoint.
    fn ejected() -> Sample {
        Sample { body_bytes: 19, ..broken() }
    }

    /// One target: the calls before the first write and those after it, half a second apart.
    fn run(before: &[Sample], then: &[Sample]) -> CallMonitor {
        let mut calls = CallMonitor::new(["web:80".to_owned()]);
        let times = (0..).map(|index| Duration::from_millis(500 * index));
        for (sample, at) in before.iter().zip(times.clone()) {
            calls.record(0, sample, at);
        }
        calls.start_counting();
        for (sample, at) in then.iter().zip(times.skip(before.len())) {
            calls.record(0, sample, at);
        }
        calls
    }

    fn repeated(sample: &Sample, times: usize) -> Vec<Sample> {
        vec![sample.clone(); times]
    }

    #[test]
    fn only_a_target_that_was_reached_before_can_be_lost() {
        use Health::{Failing, Lost};
        let rows = [
            ("all well", success(), repeated(&success(), 20), Health::Ok),
            ("the last call failed", success(), vec![success(), broken()], Failing),
            ("down for less than it takes to be lost", success(), repeated(&broken(), 9), Failing),
            ("down for good", success(), repeated(&broken(), 11), Lost),
            ("hangs up for good", success(), repeated(&silent(), 11), Lost),
            ("down and just up again", success(), [repeated(&broken(), 9), vec![success()]].concat(), Failing),
            ("down and up again", success(), [repeated(&broken(), 9), repeated(&success(), 12)].concat(), Health::Ok),
            ("broken all along", broken(), repeated(&broken(), 20), Health::Ok),
            ("a TCP application that never says anything", silent(), repeated(&silent(), 20), Health::Ok),
            ("400 in the place of 200", success(), repeated(&http(400), 11), Lost),
            ("400 in the place of 404", http(404), repeated(&http(400), 11), Lost),
            ("401 in the place of 404", http(404), repeated(&http(401), 20), Health::Ok),
            ("the application's own 503 in the place of 200", success(), repeated(&http(503), 11), Lost),
            ("403 in the place of 200", success(), repeated(&from_sidecar(403), 11), Lost),
            ("200 in the place of 404", http(404), repeated(&success(), 20), Health::Ok),
            ("denied all along", from_sidecar(403), repeated(&from_sidecar(403), 20), Health::Ok),
            ("denied, then broken", from_sidecar(403), repeated(&broken(), 20), Health::Ok),
            ("a rate limit", success(), repeated(&http(429), 20), Health::Ok),
            ("errors of the application, then ejected", http(500), repeated(&ejected(), 20), Health::Ok),
            ("ejected without an error of the application", success(), repeated(&ejected(), 11), Lost),
        ];
        for (name, before, then, expected) in rows {
            assert_eq!(run(&[before], &then).health(), expected, "{name}");
        }
    }

    #[test]
    fn failures_from_before_the_first_write_are_not_counted() {
        let summary = run(&[broken(), success()], &[success(), broken(), success()]).summary();
        assert_eq!((summary.watched, summary.calls, summary.failures()), (1, 3, 1));
        assert!(summary.failed[0].2.contains("503") && summary.lost.is_empty());
    }

    #[test]
    fn a_target_that_was_unreachable_before_is_reported_as_repaired_or_broken() {
        assert_eq!(run(&[broken()], &[broken(), success()]).summary().repaired, ["web:80"]);
        let still = run(&[broken()], &[broken()]).summary();
        assert_eq!((still.broken.len(), still.watched), (1, 0));
    }

    #[test]
    fn a_target_that_was_never_asked_is_not_watched() {
        let mut calls = CallMonitor::new(["a:1".to_owned(), "b:1".to_owned()]);
        calls.record(0, &success(), Duration::ZERO);
        calls.record(7, &success(), Duration::ZERO);
        assert!(!calls.has_baseline());
        calls.start_counting();
        calls.record(1, &broken(), Duration::from_secs(1));
        assert_eq!((calls.summary().watched, calls.health()), (1, Health::Ok));
    }

    #[test]
    fn a_monitor_is_newer_after_one_more_call_to_each_target() {
        let mut calls = CallMonitor::new(["a:1".to_owned(), "b:1".to_owned(), "never:1".to_owned()]);
        calls.record(0, &success(), Duration::ZERO);
        calls.record(1, &success(), Duration::ZERO);
        calls.start_counting();
        let before = calls.clone();
        calls.record(0, &success(), Duration::from_secs(1));
        assert!(!calls.is_newer_than(&before));
        calls.record(1, &broken(), Duration::from_secs(1));
        assert!(calls.is_newer_than(&before));
    }

    #[test]
    fn counting_starts_only_once() {
        let mut calls = run(&[success()], &repeated(&broken(), 12));
        calls.start_counting();
        assert_eq!(calls.health(), Health::Lost);
    }

    /// Every third call fails, or all succeed.
    fn every_third(count: usize) -> Vec<Sample> {
        (0..count).map(|index| if index % 3 == 2 { broken() } else { success() }).collect()
    }

    #[test]
    fn a_larger_share_of_failures_than_before_is_a_loss() {
        let steady = repeated(&success(), 4);
        let rows = [
            ("11 of 27, and none before", steady.clone(), every_third(27), true),
            ("as before", every_third(9), every_third(28), false),
            ("once, while it changed", steady.clone(), [vec![broken()], repeated(&success(), 20)].concat(), false),
            (
                "a while, and then none",
                steady.clone(),
                [repeated(&broken(), 4), repeated(&success(), 12)].concat(),
                false,
            ),
            ("a while, and not long ago", steady, [repeated(&broken(), 4), repeated(&success(), 2)].concat(), true),
        ];
        for (name, before, then, is_lost) in rows {
            let calls = run(&before, &then);
            assert_eq!(calls.final_health() == Health::Lost, is_lost, "{name}");
            assert_eq!(calls.health() == Health::Ok, !is_lost, "{name}");
            assert_eq!(calls.summary().lost.is_empty(), !is_lost, "{name}");
        }
    }

    #[test]
    fn an_answer_is_the_last_one_and_never_that_of_a_denied_client() {
        let named = |calls: &CallMonitor| match calls.answer("web:80").unwrap() {
            MeshClientAnswer::Reached(message) => format!("reached: {message}"),
            MeshClientAnswer::Unreachable(message) => format!("unreachable: {message}"),
            MeshClientAnswer::Unclear(message) => format!("unclear: {message}"),
        };
        let rows = [
            (success(), vec![http(201)], "reached: HTTP 201"),
            (success(), vec![http(201), broken()], "reached: HTTP 201"),
            (success(), repeated(&http(400), 4), "unreachable: HTTP 400; before the change it got: HTTP 200"),
            (from_sidecar(403), vec![from_sidecar(403)], "unclear: an authorization policy denies it (HTTP 403)"),
            (http(500), vec![http(500)], "reached: HTTP 500"),
            (
                http(500),
                vec![broken()],
                "unclear: as before the change: its sidecar answers HTTP 503: the application is not reached",
            ),
        ];
        for (before, then, expected) in rows {
            assert_eq!(named(&run(&[before], &then)), expected);
        }
    }

    #[test]
    fn targets_that_are_not_watched_are_named_with_the_reason() {
        let rows = [
            (from_sidecar(403), "authorization policy"),
            (silent(), "no byte came back"),
            (http(500), "HTTP 500"),
            (http(429), "rate limit"),
        ];
        for (sample, reason) in rows {
            let summary = run(&repeated(&sample, 3), &repeated(&sample, 3)).summary();
            assert_eq!((summary.watched, summary.calls, summary.failures()), (0, 0, 0));
            assert!(summary.not_watched[0].1.contains(reason), "{:?}", summary.not_watched);
        }
        let ejected = run(&[http(500), ejected(), ejected()], &repeated(&ejected(), 9)).summary();
        assert_eq!((ejected.not_watched.len(), ejected.broken.len()), (1, 0));
    }

    fn any_call() -> impl Strategy<Value = Sample> {
        let denied = || Sample { body_bytes: 19, ..http(403) };
        let calls =
            vec![success(), http(301), http(404), http(400), http(429), denied(), http(500), broken(), ejected()];
        prop_oneof![9 => select(calls), 1 => Just(silent())]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn answers_that_became_worse_never_count_as_successful(
            before in prop::collection::vec(any_call(), 1..20),
            then in prop::collection::vec(any_call(), 1..40),
        ) {
            let started = run(&before, &[]);
            let Some(Baseline::Watched { grade: good, .. }) = started.targets[0].before else { return Ok(()) };
            let worse = |sample: &Sample| MeshCall::of(sample).grade.is_none_or(|grade| grade < good);
            let worse: Vec<Sample> = then.into_iter().filter(worse).collect();
            if worse.is_empty() {
                return Ok(());
            }
            let after = run(&before, &worse);
            let summary = after.summary();
            prop_assert_eq!(summary.calls, summary.failures(), "{:?}", summary);
            let shows_loss = summary.failures() > 0;
            prop_assert_ne!(shows_loss, after.succeeds(), "{:?}", summary);
            prop_assert!(shows_loss || !summary.not_watched.is_empty(), "{:?}", summary);
            if summary.failures() == 0 || summary.failures() >= STREAK {
                let answer = after.answer("web:80");
                prop_assert!(!matches!(answer, Some(MeshClientAnswer::Reached(_))), "{:?}", answer);
            }
        }
    }
}
