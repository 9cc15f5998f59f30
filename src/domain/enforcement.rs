//! Whether a change is in force, by behaviour: every endpoint's last samples agree (CP-6).

use super::mesh::MtlsMode;
use super::probe::Case;
use super::sample::{Sample, SampleOutcome, classify};
use std::time::Duration;

/// Samples of one endpoint that must agree before it counts.
const STREAK: usize = 3;

/// Once some endpoints have changed, how long the others may stay as they were before they count as not concerned:
/// behind a PERMISSIVE sidecar a dead application on a TCP port resets as STRICT does, and never answers.
pub const LAG: Duration = Duration::from_secs(3);

/// What a change is to bring about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedAnswer {
    /// Plaintext is refused.
    Refused,
    /// Plaintext is answered.
    Answered,
}

impl ExpectedAnswer {
    /// What a policy of this mode brings about.
    pub const fn from(mode: MtlsMode) -> Self {
        match mode {
            MtlsMode::Strict => Self::Refused,
            MtlsMode::Permissive | MtlsMode::Disable => Self::Answered,
        }
    }
}

/// The endpoints at which a change of the policy can be seen: meshed, captured, and under the mode that it brings.
/// At most `limit`, taken evenly.
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
    /// Agreeing samples at the end, and what they show.
    streak: usize,
    refused: Option<bool>,
    /// Whether it ever said something of mutual TLS.
    seen: usize,
    /// When its present streak began.
    since: Duration,
    /// Whether it showed something else before the present streak.
    changed: bool,
}

/// Follows the samples of every endpoint.
#[derive(Debug, Clone)]
pub struct Tracker {
    expected: ExpectedAnswer,
    endpoints: Vec<EndpointProgress>,
}

impl Tracker {
    /// For so many endpoints.
    pub fn new(expected: ExpectedAnswer, endpoints: usize) -> Self {
        Self { expected, endpoints: vec![EndpointProgress::default(); endpoints] }
    }

    /// Takes one sample of an endpoint, `at` after the clock was started.
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

    /// Whether every endpoint was asked at least once: from then on the stream shows a change.
    pub fn warmed_up(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.seen > 0)
    }

    /// Forgets what was seen before the write, but not whether an endpoint can be seen at all.
    pub fn restart(&mut self) {
        for endpoint in &mut self.endpoints {
            *endpoint = EndpointProgress { refused: endpoint.refused, ..EndpointProgress::default() };
        }
    }

    fn is_as_expected(&self, endpoint: &EndpointProgress) -> bool {
        endpoint.streak >= STREAK && endpoint.refused == Some(self.expected == ExpectedAnswer::Refused)
    }

    /// Whether the change is in force: at every endpoint, or at some, with the rest unmoved for [`LAG`] since.
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

    /// Whether any endpoint showed something else before.
    pub fn has_moved(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.changed)
    }

    /// When the last endpoint came to be as awaited.
    pub fn since(&self) -> Duration {
        let as_expected = self.endpoints.iter().filter(|endpoint| self.is_as_expected(endpoint));
        as_expected.map(|endpoint| endpoint.since).max().unwrap_or_default()
    }

    /// Endpoints that are not as awaited.
    pub fn lagging(&self) -> Vec<usize> {
        (0..self.endpoints.len()).filter(|index| !self.is_as_expected(&self.endpoints[*index])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reset() -> Sample {
        Sample { exit: 56, connected: true, ..Sample::default() }
    }

    fn answer() -> Sample {
        Sample { http_status: Some(200), bytes: 10, connected: true, ..Sample::default() }
    }

    fn feed(tracker: &mut Tracker, rows: &[(usize, Sample, u64)]) {
        for (index, sample, millis) in rows {
            tracker.record(*index, sample, Duration::from_millis(*millis));
        }
    }

    #[test]
    fn one_equal_sample_is_not_enough_and_a_flip_starts_anew() {
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
    fn what_was_so_before_the_write_has_not_moved() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 1);
        feed(&mut tracker, &[(0, reset(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, reset(), 60), (0, reset(), 110)]);
        assert!(tracker.in_force(Duration::from_millis(110)) && !tracker.has_moved());
        feed(&mut tracker, &[(0, answer(), 160)]);
        assert!(tracker.has_moved());
    }

    #[test]
    fn every_endpoint_counts() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 2);
        feed(&mut tracker, &[(0, reset(), 0), (0, reset(), 1), (0, reset(), 2), (1, answer(), 3)]);
        assert!(!tracker.in_force(Duration::from_secs(9)));
        assert_eq!(tracker.lagging(), [1]);
    }

    #[test]
    fn an_endpoint_that_cannot_answer_does_not_hold_the_emergency_exit_up() {
        let mut tracker = Tracker::new(ExpectedAnswer::Answered, 2);
        feed(&mut tracker, &[(0, reset(), 0), (1, reset(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, answer(), 100), (0, answer(), 150), (0, answer(), 200)]);
        feed(&mut tracker, &[(1, reset(), 110), (1, reset(), 160), (1, reset(), 210)]);
        assert!(!tracker.in_force(Duration::from_millis(300)), "the other may only be late");
        assert!(tracker.in_force(Duration::from_millis(3100)));
    }

    #[test]
    fn where_nothing_has_moved_there_is_no_early_end() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, 2);
        for millis in [0, 50, 100, 150] {
            feed(&mut tracker, &[(0, reset(), millis), (1, answer(), millis)]);
        }
        assert!(!tracker.in_force(Duration::from_secs(30)), "one was refused all along and proves no change");
    }
}
