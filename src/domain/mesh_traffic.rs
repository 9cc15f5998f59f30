//! Computes whether calls inside the mesh succeed during a switch, from the samples of a client in the mesh that runs
//! from before the first write to the end of the proof, for the progress and the report.

use super::mesh_client::{MeshClientAnswer, classify_samples};
use super::sample::Sample;
use std::time::Duration;

/// Consecutive failures before a target can count as lost.
const STREAK: usize = 3;

/// The time without a successful call before a target counts as lost. Clients that have not loaded a change yet
/// recover sooner.
pub const LASTING: Duration = Duration::from_secs(5);

/// One target of the client.
#[derive(Debug, Clone)]
struct MonitoredTarget {
    name: String,
    /// The last answer before the first write.
    before: Option<MeshClientAnswer>,
    /// The last answer.
    now: Option<MeshClientAnswer>,
    /// Consecutive failures, and when the first of them ended.
    down: usize,
    down_since: Duration,
    /// When the last call ended.
    last: Duration,
    /// Calls since the first write.
    calls: usize,
    failed: usize,
    /// Description of the last failure since the first write.
    failure: Option<String>,
}

impl MonitoredTarget {
    fn is_watched(&self) -> bool {
        matches!(self.before, Some(MeshClientAnswer::Reached(_)))
    }

    fn is_lost(&self) -> bool {
        self.is_watched() && self.down >= STREAK && self.last >= self.down_since + LASTING
    }
}

/// The present state of the watched targets: those that the client reached before the first write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// The last call to each succeeded.
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
    /// Number of calls to them.
    pub calls: usize,
    /// Targets with failed calls: name, number of failures, description of the last one.
    pub failed: Vec<(String, usize, String)>,
    /// Targets to which calls keep failing.
    pub lost: Vec<String>,
    /// Targets that the client could not reach before, and reaches now.
    pub repaired: Vec<String>,
    /// Targets that the client could not reach before, and cannot reach now: name and description.
    pub broken: Vec<(String, String)>,
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
        let target = |name| MonitoredTarget {
            name,
            before: None,
            now: None,
            down: 0,
            down_since: Duration::ZERO,
            last: Duration::ZERO,
            calls: 0,
            failed: 0,
            failure: None,
        };
        Self { targets: names.into_iter().map(target).collect(), started: false }
    }

    /// Records one call to a target. `at` is the time since the start of the client.
    pub fn record(&mut self, index: usize, sample: &Sample, at: Duration) {
        let Some(target) = self.targets.get_mut(index) else { return };
        let answer = classify_samples(std::slice::from_ref(sample));
        target.last = at;
        if matches!(answer, MeshClientAnswer::Reached(_)) {
            target.down = 0;
        } else {
            target.down += 1;
            if target.down == 1 {
                target.down_since = at;
            }
        }
        if self.started {
            target.calls += 1;
            if let MeshClientAnswer::Unreachable(message) | MeshClientAnswer::Unclear(message) = &answer {
                target.failed += 1;
                target.failure = Some(message.clone());
            }
        }
        target.now = Some(answer);
    }

    /// Whether any target was called.
    pub fn has_called(&self) -> bool {
        self.targets.iter().any(|target| target.now.is_some())
    }

    /// Whether every target was called at least once.
    pub fn called_all(&self) -> bool {
        self.targets.iter().all(|target| target.now.is_some())
    }

    /// Takes the last answers as the state before the first write; later calls are counted. Another call of this function
    /// has no effect.
    pub fn start_counting(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        for target in &mut self.targets {
            target.before.clone_from(&target.now);
        }
    }

    /// Whether every target that was called at all was called again since `before`.
    pub fn is_newer_than(&self, before: &Self) -> bool {
        let pairs = self.targets.iter().zip(&before.targets);
        pairs.filter(|(now, _)| now.now.is_some()).all(|(now, before)| now.calls > before.calls)
    }

    /// The present state of the watched targets.
    pub fn health(&self) -> Health {
        if self.targets.iter().any(MonitoredTarget::is_lost) {
            Health::Lost
        } else if self.targets.iter().any(|target| target.is_watched() && target.down > 0) {
            Health::Failing
        } else {
            Health::Ok
        }
    }

    /// The answer of the target with this name. Fewer than [`STREAK`] failures do not replace an answer from before.
    pub fn answer(&self, name: &str) -> Option<&MeshClientAnswer> {
        let target = self.targets.iter().find(|target| target.name == name)?;
        if target.is_watched() && target.down < STREAK { target.before.as_ref() } else { target.now.as_ref() }
    }

    /// The result of all calls so far.
    pub fn summary(&self) -> CallSummary {
        let mut summary = CallSummary::default();
        for target in &self.targets {
            match (&target.before, &target.now) {
                (Some(MeshClientAnswer::Reached(_)), _) => {
                    summary.watched += 1;
                    summary.calls += target.calls;
                    if let Some(message) = &target.failure {
                        summary.failed.push((target.name.clone(), target.failed, message.clone()));
                    }
                    if target.is_lost() {
                        summary.lost.push(target.name.clone());
                    }
                }
                (Some(MeshClientAnswer::Unreachable(_)), Some(MeshClientAnswer::Reached(_))) => {
                    summary.repaired.push(target.name.clone());
                }
                (Some(MeshClientAnswer::Unreachable(_)), Some(MeshClientAnswer::Unreachable(message))) => {
                    summary.broken.push((target.name.clone(), message.clone()));
                }
                _ => {}
            }
        }
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{from_sidecar, http, no_answer};

    fn success() -> Sample {
        http(200)
    }

    fn broken() -> Sample {
        from_sidecar(503)
    }

    fn silent() -> Sample {
        no_answer(52)
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
            ("down and up again", success(), [repeated(&broken(), 9), vec![success()]].concat(), Health::Ok),
            ("broken all along", broken(), repeated(&broken(), 20), Health::Ok),
            ("a TCP application that never says anything", silent(), repeated(&silent(), 20), Health::Ok),
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
        assert!(!calls.called_all());
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
}
