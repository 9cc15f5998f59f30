//! Computes whether a change of a policy is in force, from plaintext samples at the endpoints, for the wait between two
//! phases of a switch: every endpoint's last samples must agree (CP-6).

use super::mesh::{DataPlane, MtlsMode};
use super::probe::{Case, EndpointCase};
use super::proxy::ProxyReport;
use super::sample::{Sample, SampleOutcome, classify};
use std::collections::BTreeSet;
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

/// How the proxy in front of an endpoint ends the plaintext connections that it refuses, as measured on a real mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalStyle {
    /// A sidecar resets. A connection that is closed in order was closed behind it: its bytes got in.
    Resets,
    /// A ztunnel resets or closes, so a close shows nothing.
    ResetsOrCloses,
}

impl RefusalStyle {
    /// The style of the proxy in front of an endpoint; without a proxy, that of a sidecar.
    pub fn of(endpoint: &EndpointCase) -> Self {
        match endpoint.data_plane {
            DataPlane::Ambient | DataPlane::Pending => Self::ResetsOrCloses,
            DataPlane::Sidecar | DataPlane::None => Self::Resets,
        }
    }
}

/// An endpoint that shows a change of the policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchedEndpoint {
    /// IP address.
    pub address: String,
    /// Target port.
    pub port: u16,
    /// How its proxy refuses.
    pub style: RefusalStyle,
    /// Name of the pod whose sidecar can report what it has loaded; `None` for a ztunnel, and for a machine.
    pub sidecar_pod: Option<String>,
}

/// The endpoints that show a change of the policy: meshed, captured, and with a mode that leads to `expected`. At most
/// `limit`, spread evenly over all.
pub fn endpoints(cases: &[Case], expected: ExpectedAnswer, limit: usize) -> Vec<WatchedEndpoint> {
    let mut endpoints: Vec<WatchedEndpoint> = cases
        .iter()
        .flat_map(|case| &case.endpoints)
        .filter(|endpoint| endpoint.path.enforces_policies())
        .filter(|endpoint| endpoint.mode.mode.is_some_and(|mode| ExpectedAnswer::from(mode) == expected))
        .map(|endpoint| WatchedEndpoint {
            address: endpoint.address.clone(),
            port: endpoint.port,
            style: RefusalStyle::of(endpoint),
            sidecar_pod: endpoint.pod.clone().filter(|_| endpoint.data_plane == DataPlane::Sidecar),
        })
        .collect();
    endpoints.sort();
    endpoints.dedup();
    let step = endpoints.len().div_ceil(limit.max(1)).max(1);
    endpoints.into_iter().step_by(step).collect()
}

/// Whether a sample is what the change leads to; `None` if it shows nothing about mutual TLS.
const fn is_expected(expected: ExpectedAnswer, style: RefusalStyle, outcome: SampleOutcome) -> Option<bool> {
    let is_refused = match (outcome, style) {
        (SampleOutcome::Answered(_), _) | (SampleOutcome::Closed, RefusalStyle::Resets) => false,
        (SampleOutcome::Reset, _) | (SampleOutcome::Closed, RefusalStyle::ResetsOrCloses) => true,
        (SampleOutcome::Unrelated(_), _) => return None,
    };
    Some(is_refused == matches!(expected, ExpectedAnswer::Refused))
}

/// Whether a proxy's loaded configuration is what the change leads to; `None` if its report decides nothing.
pub const fn is_loaded(expected: ExpectedAnswer, report: &ProxyReport) -> Option<bool> {
    match (report, expected) {
        (ProxyReport::Enforces { .. }, ExpectedAnswer::Refused)
        | (ProxyReport::LetsPlaintextIn, ExpectedAnswer::Answered) => Some(true),
        (ProxyReport::Enforces { .. }, ExpectedAnswer::Answered)
        | (ProxyReport::LetsPlaintextIn, ExpectedAnswer::Refused) => Some(false),
        (
            ProxyReport::TlsWithoutClientCertificate
            | ProxyReport::NothingLoaded
            | ProxyReport::Connections(_)
            | ProxyReport::Counted { .. },
            ExpectedAnswer::Refused | ExpectedAnswer::Answered,
        ) => None,
    }
}

#[derive(Debug, Clone)]
struct EndpointProgress {
    style: RefusalStyle,
    /// Number of the last samples that agree, and whether they are as expected; `None` if they show nothing.
    streak: usize,
    as_expected: Option<bool>,
    /// Number of samples.
    seen: usize,
    /// When the present streak began.
    since: Duration,
    /// Whether earlier samples since the restart show another answer than the present streak.
    changed: bool,
    /// Whether a byte came back since the restart.
    answered: bool,
    /// Whether the endpoint's proxy reports that it has loaded the change.
    confirmed: bool,
}

impl EndpointProgress {
    const fn new(style: RefusalStyle) -> Self {
        Self {
            style,
            streak: 0,
            as_expected: None,
            seen: 0,
            since: Duration::ZERO,
            changed: false,
            answered: false,
            confirmed: false,
        }
    }

    fn is_as_expected(&self) -> bool {
        self.confirmed || self.is_shown_by_samples()
    }

    fn is_shown_by_samples(&self) -> bool {
        self.streak >= STREAK && self.as_expected == Some(true)
    }
}

/// Follows the samples of every endpoint.
#[derive(Debug, Clone)]
pub struct Tracker {
    expected: ExpectedAnswer,
    endpoints: Vec<EndpointProgress>,
    /// Those whose pods were replaced.
    left_out: BTreeSet<usize>,
}

impl Tracker {
    /// For these endpoints.
    pub fn new<'e>(expected: ExpectedAnswer, endpoints: impl IntoIterator<Item = &'e WatchedEndpoint>) -> Self {
        let progress = |endpoint: &WatchedEndpoint| EndpointProgress::new(endpoint.style);
        Self { expected, endpoints: endpoints.into_iter().map(progress).collect(), left_out: BTreeSet::new() }
    }

    /// Adds one sample of an endpoint, taken `at` after the clock was started.
    pub fn record(&mut self, index: usize, sample: &Sample, at: Duration) {
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        endpoint.seen += 1;
        let outcome = classify(sample);
        endpoint.answered |= matches!(outcome, SampleOutcome::Answered(_));
        let as_expected = is_expected(self.expected, endpoint.style, outcome);
        if as_expected.is_some() && as_expected == endpoint.as_expected {
            endpoint.streak += 1;
        } else {
            endpoint.changed |= endpoint.as_expected.is_some() && as_expected != endpoint.as_expected;
            endpoint.streak = usize::from(as_expected.is_some());
            endpoint.as_expected = as_expected;
            endpoint.since = at;
        }
    }

    /// Whether there is a sample of every endpoint: from then on the stream shows a change.
    pub fn warmed_up(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.seen > 0)
    }

    /// Discards the samples from before the write, except whether each endpoint was as expected.
    pub fn restart(&mut self) {
        for endpoint in &mut self.endpoints {
            let as_expected = endpoint.as_expected;
            *endpoint = EndpointProgress { as_expected, ..EndpointProgress::new(endpoint.style) };
        }
    }

    /// Adds that the proxy of an endpoint has loaded the change, `at` after the clock was started.
    pub fn confirm(&mut self, index: usize, at: Duration) {
        if let Some(endpoint) = self.endpoints.get_mut(index).filter(|endpoint| !endpoint.confirmed) {
            endpoint.confirmed = true;
            if !endpoint.is_shown_by_samples() {
                endpoint.since = at;
            }
        }
    }

    /// Whether the change is in force: at every endpoint, or at some while the others have not changed for [`LAG`].
    pub fn in_force(&self, now: Duration) -> bool {
        let (as_expected, others): (Vec<&EndpointProgress>, Vec<&EndpointProgress>) =
            self.present().partition(|endpoint| endpoint.is_as_expected());
        if others.is_empty() {
            return true;
        }
        let last_change = as_expected.iter().filter(|endpoint| endpoint.changed).map(|endpoint| endpoint.since).max();
        let steady = others.iter().all(|endpoint| !endpoint.changed && endpoint.seen >= STREAK);
        last_change.is_some_and(|changed_at| steady && now >= changed_at + LAG)
    }

    /// Whether any endpoint changed since the restart.
    pub fn has_moved(&self) -> bool {
        self.present().any(|endpoint| endpoint.changed)
    }

    /// When the last endpoint became as expected.
    pub fn since(&self) -> Duration {
        let as_expected = self.present().filter(|endpoint| endpoint.is_as_expected());
        as_expected.map(|endpoint| endpoint.since).max().unwrap_or_default()
    }

    /// Leaves an endpoint out from now on: its pod was replaced.
    pub fn leave_out(&mut self, index: usize) {
        self.left_out.insert(index);
    }

    /// Number of endpoints that are left and as expected.
    pub fn followed(&self) -> usize {
        self.present().filter(|endpoint| endpoint.is_as_expected()).count()
    }

    /// Endpoints whose last sample shows nothing, as where nothing listens any more.
    pub fn silent(&self) -> Vec<usize> {
        self.indices(|endpoint| !endpoint.confirmed && endpoint.seen > 0 && endpoint.as_expected.is_none())
    }

    /// Endpoints that are not as expected.
    pub fn lagging(&self) -> Vec<usize> {
        self.indices(|endpoint| !endpoint.is_as_expected())
    }

    /// Endpoints whose samples have not shown the change, and where no answer contradicts that it is in force: only the
    /// report of the proxy can.
    pub fn not_shown(&self) -> Vec<usize> {
        let contradicts = |endpoint: &EndpointProgress| self.expected == ExpectedAnswer::Refused && endpoint.answered;
        self.indices(|endpoint| {
            let is_shown = endpoint.is_shown_by_samples() && (endpoint.changed || endpoint.answered);
            !endpoint.confirmed && !is_shown && !contradicts(endpoint)
        })
    }

    /// Endpoints that are as expected by the report of their proxy alone.
    pub fn confirmed_only(&self) -> Vec<usize> {
        self.indices(|endpoint| endpoint.confirmed && !endpoint.is_shown_by_samples())
    }

    fn present(&self) -> impl Iterator<Item = &EndpointProgress> {
        self.numbered().map(|(_, endpoint)| endpoint)
    }

    /// Indices of those that are left and match.
    fn indices(&self, matches: impl Fn(&EndpointProgress) -> bool) -> Vec<usize> {
        self.numbered().filter(|(_, endpoint)| matches(endpoint)).map(|(index, _)| index).collect()
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &EndpointProgress)> {
        self.endpoints.iter().enumerate().filter(|(index, _)| !self.left_out.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{case, endpoint_case, http, no_answer, reset};

    fn answer() -> Sample {
        http(200)
    }

    fn closed() -> Sample {
        no_answer(52)
    }

    /// This many endpoints behind sidecars.
    fn sidecars(count: u16) -> Vec<WatchedEndpoint> {
        let endpoint = |port| WatchedEndpoint {
            address: "10.0.0.1".into(),
            port,
            style: RefusalStyle::Resets,
            sidecar_pod: Some("web-0".into()),
        };
        (1..=count).map(endpoint).collect()
    }

    fn behind_ztunnel() -> Vec<WatchedEndpoint> {
        vec![WatchedEndpoint {
            address: "10.0.0.1".into(),
            port: 1,
            style: RefusalStyle::ResetsOrCloses,
            sidecar_pod: None,
        }]
    }

    fn feed(tracker: &mut Tracker, rows: &[(usize, Sample, u64)]) {
        for (index, sample, millis) in rows {
            tracker.record(*index, sample, Duration::from_millis(*millis));
        }
    }

    #[test]
    fn three_equal_samples_are_needed_and_another_answer_resets_the_streak() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, &sidecars(1));
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
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, &sidecars(1));
        feed(&mut tracker, &[(0, reset(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, reset(), 60), (0, reset(), 110)]);
        assert!(tracker.in_force(Duration::from_millis(110)) && !tracker.has_moved());
        feed(&mut tracker, &[(0, answer(), 160)]);
        assert!(tracker.has_moved());
    }

    #[test]
    fn every_endpoint_must_answer_as_expected() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, &sidecars(2));
        feed(&mut tracker, &[(0, reset(), 0), (0, reset(), 1), (0, reset(), 2), (1, answer(), 3)]);
        assert!(!tracker.in_force(Duration::from_secs(9)));
        assert_eq!(tracker.lagging(), [1]);
    }

    #[test]
    fn an_endpoint_whose_pod_was_replaced_is_not_waited_for() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, &sidecars(2));
        feed(&mut tracker, &[(0, answer(), 0), (1, answer(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, reset(), 60), (0, reset(), 110)]);
        feed(&mut tracker, &[(1, answer(), 10), (1, no_answer(7), 60), (1, no_answer(7), 110)]);
        assert!(!tracker.in_force(Duration::from_mins(1)));
        assert_eq!((tracker.silent(), tracker.followed()), (vec![1], 1));
        tracker.leave_out(1);
        assert!(tracker.in_force(Duration::from_millis(110)) && tracker.has_moved());
        assert!(tracker.silent().is_empty() && tracker.lagging().is_empty() && tracker.not_shown().is_empty());
        tracker.leave_out(0);
        assert!(tracker.in_force(Duration::from_millis(110)) && !tracker.has_moved());
        assert_eq!(tracker.followed(), 0);
        tracker.restart();
        assert!(tracker.in_force(Duration::ZERO));
    }

    #[test]
    fn an_endpoint_that_never_answers_delays_disabling_only_by_the_lag() {
        let mut tracker = Tracker::new(ExpectedAnswer::Answered, &sidecars(2));
        feed(&mut tracker, &[(0, reset(), 0), (1, reset(), 0)]);
        tracker.restart();
        feed(&mut tracker, &[(0, reset(), 10), (0, answer(), 100), (0, answer(), 150), (0, answer(), 200)]);
        feed(&mut tracker, &[(1, reset(), 110), (1, reset(), 160), (1, reset(), 210)]);
        assert!(!tracker.in_force(Duration::from_millis(300)), "the other may only be late");
        assert!(tracker.in_force(Duration::from_millis(3100)));
    }

    #[test]
    fn without_any_change_the_wait_does_not_end_early() {
        let mut tracker = Tracker::new(ExpectedAnswer::Refused, &sidecars(2));
        for millis in [0, 50, 100, 150] {
            feed(&mut tracker, &[(0, reset(), millis), (1, answer(), millis)]);
        }
        assert!(!tracker.in_force(Duration::from_secs(30)), "one was refused all along and proves no change");
    }

    /// What three samples of a kind show, after three of another kind from before the write.
    #[test]
    fn a_close_is_a_refusal_only_at_a_ztunnel() {
        use ExpectedAnswer::{Answered, Refused};
        let rows = [
            ("enabled, and the application closes as before", Refused, sidecars(1), closed(), closed(), (false, false)),
            ("enabled, from closed to reset", Refused, sidecars(1), closed(), reset(), (true, true)),
            ("enabled, from answered to reset", Refused, sidecars(1), answer(), reset(), (true, true)),
            ("enabled, from answered to closed", Refused, sidecars(1), answer(), closed(), (false, false)),
            ("enabled, reset all along", Refused, sidecars(1), reset(), reset(), (true, false)),
            ("disabled, from reset to closed", Answered, sidecars(1), reset(), closed(), (true, true)),
            ("disabled, from reset to answered", Answered, sidecars(1), reset(), answer(), (true, true)),
            ("disabled, closed all along", Answered, sidecars(1), closed(), closed(), (true, false)),
            ("disabled, reset all along", Answered, sidecars(1), reset(), reset(), (false, false)),
            ("ztunnel enabled, from answered to closed", Refused, behind_ztunnel(), answer(), closed(), (true, true)),
            ("ztunnel enabled, from closed to reset", Refused, behind_ztunnel(), closed(), reset(), (true, false)),
            ("ztunnel disabled, from reset to closed", Answered, behind_ztunnel(), reset(), closed(), (false, false)),
            ("ztunnel disabled, from closed to answered", Answered, behind_ztunnel(), closed(), answer(), (true, true)),
        ];
        for (name, expected, endpoints, before, after, shown) in rows {
            let mut tracker = Tracker::new(expected, &endpoints);
            feed(&mut tracker, &[(0, before.clone(), 0), (0, before.clone(), 1), (0, before, 2)]);
            tracker.restart();
            feed(&mut tracker, &[(0, after.clone(), 0), (0, after.clone(), 1), (0, after, 2)]);
            assert_eq!((tracker.in_force(Duration::from_secs(30)), tracker.has_moved()), shown, "{name}");
        }
    }

    #[test]
    fn the_proxys_report_decides_where_samples_show_nothing() {
        use ExpectedAnswer::{Answered, Refused};
        for (expected, sample, not_shown) in [
            (Answered, reset(), vec![0]),
            (Answered, closed(), vec![0]),
            (Answered, answer(), vec![]),
            (Refused, reset(), vec![0]),
            (Refused, closed(), vec![0]),
            (Refused, answer(), vec![]),
        ] {
            let mut tracker = Tracker::new(expected, &sidecars(1));
            feed(&mut tracker, &[(0, sample.clone(), 0)]);
            tracker.restart();
            feed(&mut tracker, &[(0, sample.clone(), 0), (0, sample.clone(), 1), (0, sample.clone(), 2)]);
            assert_eq!(tracker.not_shown(), not_shown, "{expected:?} {sample:?}");
            for index in not_shown {
                tracker.confirm(index, Duration::from_millis(5));
                assert!(tracker.in_force(Duration::from_millis(5)) && tracker.not_shown().is_empty());
            }
        }
    }

    #[test]
    fn loaded_chains_say_whether_a_change_is_loaded() {
        use ExpectedAnswer::{Answered, Refused};
        let enforces = ProxyReport::Enforces { chains: 1 };
        for (expected, report, loaded) in [
            (Refused, &enforces, Some(true)),
            (Refused, &ProxyReport::LetsPlaintextIn, Some(false)),
            (Answered, &enforces, Some(false)),
            (Answered, &ProxyReport::LetsPlaintextIn, Some(true)),
            (Answered, &ProxyReport::NothingLoaded, None),
            (Refused, &ProxyReport::TlsWithoutClientCertificate, None),
        ] {
            assert_eq!(is_loaded(expected, report), loaded, "{expected:?} {report}");
        }
    }

    #[test]
    fn only_a_sidecar_is_asked_what_it_has_loaded() {
        let strict = endpoint_case(Some(MtlsMode::Strict));
        let ambient =
            crate::domain::probe::EndpointCase { data_plane: DataPlane::Ambient, port: 8081, ..strict.clone() };
        let watched = endpoints(&[case(vec![strict, ambient])], ExpectedAnswer::Refused, 10);
        let pods: Vec<Option<&str>> = watched.iter().map(|endpoint| endpoint.sidecar_pod.as_deref()).collect();
        assert_eq!(pods, [Some("boards-1"), None]);
    }
}
