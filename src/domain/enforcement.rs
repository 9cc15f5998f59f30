//! Computes whether a change of a policy is in force, from plaintext samples at the endpoints, for the wait between two
//! phases of a switch: every endpoint's last samples must agree (CP-6).

use super::mesh::MtlsMode;
use super::probe::Case;
use super::sample::{Sample, SampleOutcome, classify};
use std::time::Duration;

/// Consecutive samples of one endpoint that must agree before they count.
const STREAK: usize = 3;

/// Once some endpoints have changed, the wait for the others ends after this time. A dead application on a TCP port
/// behind a PERMISSIVE sidecar resets connections as STRICT does, so such an endpoint never changes.
pub const LAG: Duration = Duration::from_secs(3);

/// The answer to plaintext that a change leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedAnswer {
    Refused,
    Answered,
}

impl ExpectedAnswer {
    /// The answer to plaintext under a policy of this mode.
    pub const fn from(mode: MtlsMode) -> Self {
        match mode {
            MtlsMode::Strict => Self::Refused,
            MtlsMode::Permissive | MtlsMode::Disable => Self::Answered,
        }
    }
}

/// The endpoints that show a change of the policy: meshed, captured, and with a mode that leads to `expected`. At most
/// `limit`, spread evenly over all.
pub fn endpoints(cases: &[Case], expected: ExpectedAnswer, limit: usize) -> Vec<(String, u16)> {
    let mut endpoints: Vec<(String, u16)> = cases
        .iter()
        .flat_map(|case| &case.endpoints)
        .filter(|endpoint| endpoint.data_plane.is_meshed() && endpoint.captured)
        .filter(|endpoint| endpoint.mode.mode.is_some_and(|mode| ExpectedAnswer::from(mode) == expected))
        .map(|endpoint| (endpoint.address.clone(), endpoint.port))
        .collect();
    endpoints.sort();
    endpoints.dedup();
    let step = endpoints.len().div_ceil(limit.max(1)).max(1);
    endpoints.into_iter().step_by(step).collect()
}

#[derive(Debug, Clone, Default)]
struct EndpointProgress {
    /// Number of the last samples that agree, and whether they show a refusal; `None` if they show nothing.
    streak: usize,
    refused: Option<bool>,
    /// Number of samples.
    seen: usize,
    /// When the present streak began.
    since: Duration,
    /// Whether earlier samples since the restart show another answer than the present streak.
    changed: bool,
}

/// Records the samples of every endpoint.
#[derive(Debug, Clone)]
pub struct Tracker {
    expected: ExpectedAnswer,
    endpoints: Vec<EndpointProgress>,
}

impl Tracker {
    /// A tracker for this number of endpoints, without samples.
    pub fn new(expected: ExpectedAnswer, endpoints: usize) -> Self {
        Self { expected, endpoints: vec![EndpointProgress::default(); endpoints] }
    }

    /// Records one sample of an endpoint. `at` is the time since the start of the wait.
    pub fn record(&mut self, index: usize, sample: &Sample, at: Duration) {
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        endpoint.seen += 1;
        let refused = match classify(sample) {
            SampleOutcome::Answered(_) => Some(false),
            SampleOutcome::Reset | SampleOutcome::Closed => Some(true),
            SampleOutcome::Unrelated(_) => None,
        };
        if refused.is_some() && refused == endpoint.refused {
            endpoint.streak += 1;
        } else {
            endpoint.changed |= endpoint.refused.is_some() && refused != endpoint.refused;
            *endpoint =
                EndpointProgress { streak: usize::from(refused.is_some()), refused, since: at, ..endpoint.clone() };
        }
    }

    /// Whether every endpoint has a sample, so that later samples show a change.
    pub fn warmed_up(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.seen > 0)
    }

    /// Drops the samples from before the write, except the last answer of each endpoint, which shows a change.
    pub fn restart(&mut self) {
        for endpoint in &mut self.endpoints {
            *endpoint = EndpointProgress { refused: endpoint.refused, ..EndpointProgress::default() };
        }
    }

    fn is_as_expected(&self, endpoint: &EndpointProgress) -> bool {
        endpoint.streak >= STREAK && endpoint.refused == Some(self.expected == ExpectedAnswer::Refused)
    }

    /// Whether the change is in force: at every endpoint, or at some while the others have not changed for [`LAG`] since.
    pub fn in_force(&self, now: Duration) -> bool {
        let (as_expected, others): (Vec<&EndpointProgress>, Vec<&EndpointProgress>) =
            self.endpoints.iter().partition(|endpoint| self.is_as_expected(endpoint));
        if others.is_empty() {
            return true;
        }
        let last_change = as_expected.iter().filter(|endpoint| endpoint.changed).map(|endpoint| endpoint.since).max();
        let steady = others.iter().all(|endpoint| !endpoint.changed && endpoint.seen >= STREAK);
        last_change.is_some_and(|changed_at| steady && now >= changed_at + LAG)
    }

    /// Whether the answer of any endpoint has changed.
    pub fn has_moved(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.changed)
    }

    /// When the last endpoint began to answer as expected.
    pub fn since(&self) -> Duration {
        let as_expected = self.endpoints.iter().filter(|endpoint| self.is_as_expected(endpoint));
        as_expected.map(|endpoint| endpoint.since).max().unwrap_or_default()
    }

    /// Indices of the endpoints that do not answer as expected.
    pub fn lagging(&self) -> Vec<usize> {
        (0..self.endpoints.len()).filter(|index| !self.is_as_expected(&self.endpoints[*index])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{http, reset};

    fn answer() -> Sample {
        http(200)
    }

    fn feed(tracker: &mut Tracker, rows: &[(usize, Sample, u64)]) {
        for (index, sample, millis) in rows {
            tracker.record(*index, sample, Duration::from_millis(*millis));
        }
    }

    #[test]
    fn three_equal_samples_are_needed_and_another_answer_resets_the_streak() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 1);
        feed(
            &mut tracker,
            &[(0, reset(), 0), (0, reset(), 50), (0, answer(), 100), (0, reset(), 150), (0, reset(), 200)],
        );
        assert!(!tracker.in_force(Duration::from_millis(200)));
        feed(&mut tracker, &[(0, reset(), 250)]);
        assert!(tracker.in_force(Duration::from_millis(250)));
        assert_eq!(tracker.since(), Duration::from_millis(150));
    }

    #[test]
    fn an_answer_from_before_the_write_is_not_a_change() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 1);
        feed(&mut tracker, &[(0, reset(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, reset(), 60), (0, reset(), 110)]);
        assert!(tracker.in_force(Duration::from_millis(110)) && !tracker.has_moved());
        feed(&mut tracker, &[(0, answer(), 160)]);
        assert!(tracker.has_moved());
    }

    #[test]
    fn every_endpoint_must_answer_as_expected() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 2);
        feed(&mut tracker, &[(0, reset(), 0), (0, reset(), 1), (0, reset(), 2), (1, answer(), 3)]);
        assert!(!tracker.in_force(Duration::from_secs(9)));
        assert_eq!(tracker.lagging(), [1]);
    }

    #[test]
    fn an_endpoint_that_never_answers_delays_disabling_only_by_the_lag() {
        let mut tracker = Tracker::new(ExpectedAnswer::Answered, 2);
        feed(&mut tracker, &[(0, reset(), 0), (1, reset(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, answer(), 100), (0, answer(), 150), (0, answer(), 200)]);
        feed(&mut tracker, &[(1, reset(), 110), (1, reset(), 160), (1, reset(), 210)]);
        assert!(!tracker.in_force(Duration::from_millis(300)), "the other may only be late");
        assert!(tracker.in_force(Duration::from_millis(3100)));
    }

    #[test]
    fn without_any_change_the_wait_does_not_end_early() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 2);
        for millis in [0, 50, 100, 150] {
            feed(&mut tracker, &[(0, reset(), millis), (1, answer(), millis)]);
        }
        assert!(!tracker.in_force(Duration::from_secs(30)), "one was refused all along and proves no change");
    }
}
