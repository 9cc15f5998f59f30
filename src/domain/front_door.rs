//! Computes how often a `--check-url` URL answered during a switch, how long its longest outage was and whether it is
//! down at the end, from the samples of its requests, for the report.

use std::fmt;
use std::time::Duration;

/// Consecutive failures before a URL counts as down, and the fewest requests for any statement.
const STREAK: usize = 3;

/// One request. Times are relative to the first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoorSample {
    pub asked: Duration,
    /// When the answer arrived, or the request ended without one.
    pub ended: Duration,
    /// Why there was no answer; `None` if there was one.
    pub failure: Option<String>,
}

/// Why a response with this status is a failure; `None` if it is an answer. `before` is the status before the first write.
///
/// A proxy of the mesh replaces the application's response by a 5xx, so 5xx is always a failure. A client error is one
/// only where the URL was served before: some applications answer their health check with 404. 429 says that the URL is
/// requested too often, which the polling itself may cause.
pub fn failure(status: u16, before: Option<u16>) -> Option<String> {
    let is_worse = matches!(status, 400..=428 | 430..=499) && before.is_some_and(|before| before < 400);
    if status >= 500 {
        Some(format!("HTTP {status}"))
    } else if is_worse {
        Some(format!("HTTP {status}, and not as before the change"))
    } else {
        None
    }
}

/// The counters of one URL.
#[derive(Debug, Clone, Default)]
pub struct FrontDoorStats {
    asked: usize,
    answered: usize,
    /// Failures since the last answer.
    streak: usize,
    /// When the first request of these failures was sent.
    down_since: Option<Duration>,
    longest: Duration,
    last_failure: Option<String>,
    last_asked: Duration,
}

/// The result for one URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoorSummary {
    /// Requests that have ended.
    pub asked: usize,
    pub answered: usize,
    /// The longest time without an answer: from the first request that failed to the next one that was answered.
    pub longest_outage: Duration,
    /// The failure of the last request that failed.
    pub last_failure: Option<String>,
    /// Failures since the last answer.
    pub failing: usize,
}

impl FrontDoorStats {
    /// Records one sample; samples come in the order of their requests.
    pub fn record(&mut self, sample: FrontDoorSample) {
        self.asked += 1;
        self.last_asked = sample.asked;
        let until = if let Some(failure) = sample.failure {
            self.streak += 1;
            self.last_failure = Some(failure);
            self.down_since.get_or_insert(sample.asked);
            sample.ended
        } else {
            self.answered += 1;
            self.streak = 0;
            sample.asked
        };
        if let Some(since) = self.down_since {
            self.longest = self.longest.max(until.saturating_sub(since));
        }
        if self.streak == 0 {
            self.down_since = None;
        }
    }

    /// Whether the state of the URL after `moment` is certain: there are enough requests, one of them was sent since, and
    /// the last request did not end a streak of one or two failures.
    pub fn is_certain_after(&self, moment: Duration) -> bool {
        let is_steady = self.streak == 0 || self.streak >= STREAK;
        self.asked >= STREAK && self.last_asked >= moment && is_steady
    }

    /// The result so far.
    pub fn summary(&self) -> FrontDoorSummary {
        FrontDoorSummary {
            asked: self.asked,
            answered: self.answered,
            longest_outage: self.longest,
            last_failure: self.last_failure.clone(),
            failing: self.streak,
        }
    }
}

impl FrontDoorSummary {
    /// Whether the URL was down at the end; `None` if that is not certain.
    pub const fn still_down(&self) -> Option<bool> {
        match self.failing {
            STREAK.. => Some(true),
            0 if self.asked >= STREAK => Some(false),
            _ => None,
        }
    }
}

impl fmt::Display for FrontDoorSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.asked == 0 {
            return f.write_str("never asked: the run ended before");
        }
        let times = if self.asked == 1 { "time" } else { "times" };
        if let Some(failure) = &self.last_failure {
            let (failed, seconds) = (self.asked - self.answered, self.longest_outage.as_secs_f64());
            write!(f, "failed {failed} of {} {times}, for {seconds:.1} s at the longest: {failure}", self.asked)?;
        } else {
            write!(f, "answered {} of {} {times}", self.answered, self.asked)?;
        }
        match self.still_down() {
            Some(false) => Ok(()),
            Some(true) => f.write_str("; still down at the end"),
            None if self.asked < STREAK => f.write_str("; too few to tell"),
            None => f.write_str("; not answering when the run ended, which may pass"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_error_is_a_failure_only_where_the_url_was_served_before() {
        for (status, before, is_failure) in [
            (200, Some(200), false),
            (302, Some(200), false),
            (403, Some(200), true),
            (404, Some(302), true),
            (404, Some(404), false),
            (401, Some(403), false),
            (403, None, false),
            (429, Some(200), false),
            (503, Some(200), true),
            (503, None, true),
        ] {
            assert_eq!(failure(status, before).is_some(), is_failure, "{status} after {before:?}");
        }
    }

    /// Requests 250 ms apart of 10 ms each: `.` is answered, any other mark is a failure.
    fn stats(marks: &str) -> FrontDoorStats {
        let mut stats = FrontDoorStats::default();
        for (index, mark) in (0_u64..).zip(marks.chars()) {
            let asked = Duration::from_millis(250 * index);
            let failure = (mark != '.').then(|| format!("HTTP 50{mark}"));
            stats.record(FrontDoorSample { asked, ended: asked + Duration::from_millis(10), failure });
        }
        stats
    }

    #[test]
    fn samples_give_counts_the_longest_outage_and_the_state_at_the_end() {
        let rows = [
            ("", 0, 0, 0, None, "never asked: the run ended before"),
            (".", 1, 1, 0, None, "answered 1 of 1 time; too few to tell"),
            ("..", 2, 2, 0, None, "answered 2 of 2 times; too few to tell"),
            ("....", 4, 4, 0, Some(false), "answered 4 of 4 times"),
            ("33", 2, 0, 260, None, "failed 2 of 2 times, for 0.3 s at the longest: HTTP 503; too few to tell"),
            // One failure lasts until the next answer.
            ("..3.", 4, 3, 250, Some(false), "failed 1 of 4 times, for 0.2 s at the longest: HTTP 503"),
            (".33.3333.", 9, 3, 1000, Some(false), "failed 6 of 9 times, for 1.0 s at the longest: HTTP 503"),
            (".3333.33.", 9, 3, 1000, Some(false), "failed 6 of 9 times, for 1.0 s at the longest: HTTP 503"),
            // The last failure is reported, also if another outage was longer.
            (".333.4.", 7, 3, 750, Some(false), "failed 4 of 7 times, for 0.8 s at the longest: HTTP 504"),
            (
                "...33",
                5,
                3,
                260,
                None,
                "failed 2 of 5 times, for 0.3 s at the longest: HTTP 503; not answering when the run ended, which may pass",
            ),
            (
                "...333",
                6,
                3,
                510,
                Some(true),
                "failed 3 of 6 times, for 0.5 s at the longest: HTTP 503; still down at the end",
            ),
            (
                "333",
                3,
                0,
                510,
                Some(true),
                "failed 3 of 3 times, for 0.5 s at the longest: HTTP 503; still down at the end",
            ),
        ];
        for (marks, asked, answered, outage, still_down, text) in rows {
            let summary = stats(marks).summary();
            let expected = (asked, answered, Duration::from_millis(outage), still_down);
            let seen = (summary.asked, summary.answered, summary.longest_outage, summary.still_down());
            assert_eq!(seen, expected, "{marks}");
            assert_eq!(summary.to_string(), text, "{marks}");
        }
    }

    #[test]
    fn a_request_that_hangs_counts_with_its_whole_time() {
        let mut stats = stats("..");
        let seconds = Duration::from_secs;
        stats.record(FrontDoorSample { asked: seconds(1), ended: seconds(6), failure: Some("no answer".to_owned()) });
        assert_eq!(stats.summary().longest_outage, seconds(5));
        // The next request took long, but it was sent at 7 s and answered.
        stats.record(FrontDoorSample { asked: seconds(7), ended: seconds(9), failure: None });
        assert_eq!(stats.summary().longest_outage, seconds(6));
    }

    #[test]
    fn the_state_is_certain_after_a_request_since_then_and_a_steady_streak() {
        for (marks, after, certain) in [
            ("", 0, false),
            ("..", 0, false),
            ("...", 500, true),
            // A request from before that moment does not show the state after it.
            ("...", 501, false),
            ("...3", 0, false),
            ("...33", 0, false),
            ("...333", 1000, true),
            ("...33.", 1000, true),
            ("3.", 0, false),
        ] {
            assert_eq!(stats(marks).is_certain_after(Duration::from_millis(after)), certain, "{marks} {after}");
        }
    }
}
