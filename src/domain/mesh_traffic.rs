//! Whether calls *in* the mesh get through while it changes: what the control meets from before the first write to the
//! end of the proof.

use super::mesh_client::{MeshClientAnswer, classify_samples};
use super::sample::Sample;
use std::time::Duration;

/// Failures in a row before a target can count as lost.
const STREAK: usize = 3;

/// How long nothing must have come through before a target counts as lost: a mesh that is only late recovers sooner.
pub const LASTING: Duration = Duration::from_secs(5);

/// One target of the control.
#[derive(Debug, Clone)]
struct MonitoredTarget {
    name: String,
    /// How it was before the first write.
    before: Option<MeshClientAnswer>,
    /// How it is; once it is through, one that hangs up or is denied is no different from one that is broken.
    now: Option<MeshClientAnswer>,
    /// Failures in a row, and when the first of them came.
    down: usize,
    down_since: Duration,
    /// When it was asked last.
    last: Duration,
    /// Calls since the first write.
    calls: usize,
    failed: usize,
    /// The last failure since the first write, in words.
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

/// How the watched targets are at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Each was got through to at the last call.
    Ok,
    /// Some were not, but not for long enough to say that they are lost.
    Failing,
    /// Some are lost.
    Lost,
}

/// What came of all calls since the first write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallSummary {
    /// Targets that were got through to before the first write.
    pub watched: usize,
    /// Calls to them since.
    pub calls: usize,
    /// Calls that failed, by target: name, count, the last failure in words.
    pub failed: Vec<(String, usize, String)>,
    /// Targets that are lost.
    pub lost: Vec<String>,
    /// Targets that the mesh could not reach before, and reaches now.
    pub repaired: Vec<String>,
    /// Targets that the mesh could not reach before, and cannot now, with what it says.
    pub broken: Vec<(String, String)>,
}

impl CallSummary {
    /// Calls that failed, in all.
    pub fn failures(&self) -> usize {
        self.failed.iter().map(|(_, count, _)| count).sum()
    }
}

/// Follows the calls of the control to every target.
#[derive(Debug, Clone)]
pub struct CallMonitor {
    targets: Vec<MonitoredTarget>,
    started: bool,
}

impl CallMonitor {
    /// For targets of these names.
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

    /// Takes one call to a target, `at` after the clock was started.
    pub fn record(&mut self, index: usize, sample: &Sample, at: Duration) {
        let Some(target) = self.targets.get_mut(index) else { return };
        let answer = classify_samples(std::slice::from_ref(sample));
        target.last = at;
        if let MeshClientAnswer::Reached(_) = answer {
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

    /// What was seen so far is how it was before the first write; from now on calls count. A second time changes
    /// nothing.
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

    /// How the watched targets are.
    pub fn health(&self) -> Health {
        if self.targets.iter().any(MonitoredTarget::is_lost) {
            Health::Lost
        } else if self.targets.iter().any(|target| target.is_watched() && target.down > 0) {
            Health::Failing
        } else {
            Health::Ok
        }
    }

    /// What is to be said of a target of this name; one call that fails is not the word for all.
    pub fn answer(&self, name: &str) -> Option<&MeshClientAnswer> {
        let target = self.targets.iter().find(|target| target.name == name)?;
        if target.is_watched() && target.down < STREAK { target.before.as_ref() } else { target.now.as_ref() }
    }

    /// What came of all calls.
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

    fn through() -> Sample {
        Sample { http_status: Some(200), bytes: 100, connected: true, ..Sample::default() }
    }

    fn broken() -> Sample {
        Sample { from_sidecar: true, http_status: Some(503), ..through() }
    }

    fn silent() -> Sample {
        Sample { exit: 52, connected: true, ..Sample::default() }
    }

    /// One target: what it met before the first write, and then, each half a second after the other.
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
    fn only_what_was_got_through_to_can_be_lost() {
        use Health::{Failing, Lost};
        let rows = [
            ("all well", through(), repeated(&through(), 20), Health::Ok),
            ("the last call failed", through(), vec![through(), broken()], Failing),
            ("down for less than it takes to be lost", through(), repeated(&broken(), 9), Failing),
            ("down for good", through(), repeated(&broken(), 11), Lost),
            ("hangs up for good", through(), repeated(&silent(), 11), Lost),
            ("down and up again", through(), [repeated(&broken(), 9), vec![through()]].concat(), Health::Ok),
            ("broken all along", broken(), repeated(&broken(), 20), Health::Ok),
            ("a TCP application that never says anything", silent(), repeated(&silent(), 20), Health::Ok),
        ];
        for (name, before, then, expected) in rows {
            assert_eq!(run(&[before], &then).health(), expected, "{name}");
        }
    }

    #[test]
    fn failures_from_before_the_first_write_are_not_counted() {
        let summary = run(&[broken(), through()], &[through(), broken(), through()]).summary();
        assert_eq!((summary.watched, summary.calls, summary.failures()), (1, 3, 1));
        assert!(summary.failed[0].2.contains("503") && summary.lost.is_empty());
    }

    #[test]
    fn what_was_broken_is_told_whether_it_was_repaired() {
        assert_eq!(run(&[broken()], &[broken(), through()]).summary().repaired, ["web:80"]);
        let still = run(&[broken()], &[broken()]).summary();
        assert_eq!((still.broken.len(), still.watched), (1, 0));
    }

    #[test]
    fn a_target_that_was_never_asked_is_not_watched() {
        let mut calls = CallMonitor::new(["a:1".to_owned(), "b:1".to_owned()]);
        calls.record(0, &through(), Duration::ZERO);
        calls.record(7, &through(), Duration::ZERO);
        assert!(!calls.called_all());
        calls.start_counting();
        calls.record(1, &broken(), Duration::from_secs(1));
        assert_eq!((calls.summary().watched, calls.health()), (1, Health::Ok));
    }

    #[test]
    fn news_is_one_more_call_to_each_target() {
        let mut calls = CallMonitor::new(["a:1".to_owned(), "b:1".to_owned(), "never:1".to_owned()]);
        calls.record(0, &through(), Duration::ZERO);
        calls.record(1, &through(), Duration::ZERO);
        calls.start_counting();
        let before = calls.clone();
        calls.record(0, &through(), Duration::from_secs(1));
        assert!(!calls.is_newer_than(&before));
        calls.record(1, &broken(), Duration::from_secs(1));
        assert!(calls.is_newer_than(&before));
    }

    #[test]
    fn the_beginning_is_once() {
        let mut calls = run(&[through()], &repeated(&broken(), 12));
        calls.start_counting();
        assert_eq!(calls.health(), Health::Lost);
    }
}
