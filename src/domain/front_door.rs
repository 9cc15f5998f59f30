//! What a front door of the application answered while a switch went on: samples → how often, how long not, and whether
//! it is down now.

use std::fmt;
use std::time::Duration;

/// Asks in a row that must fail before a door counts as down, and asks that it takes to tell anything.
const STREAK: usize = 3;

/// One ask. Times count from the beginning of the watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoorSample {
    /// When the request was sent.
    pub asked: Duration,
    /// When its answer, or its end without one, was there.
    pub ended: Duration,
    /// Why it was no answer, where it was none.
    pub failure: Option<String>,
}

/// The samples of one door, added up as they come.
#[derive(Debug, Clone, Default)]
pub struct FrontDoorStats {
    asked: usize,
    answered: usize,
    /// Failures since the last answer.
    streak: usize,
    /// When the first of these was asked.
    down_since: Option<Duration>,
    longest: Duration,
    last_failure: Option<String>,
    last_asked: Duration,
}

/// What the samples came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontDoorSummary {
    /// Requests that came to an end.
    pub asked: usize,
    /// Requests that were answered.
    pub answered: usize,
    /// The longest time without an answer: from the first failed ask to the next one that was answered.
    pub longest_outage: Duration,
    /// Why the last request that failed did so.
    pub last_failure: Option<String>,
    /// Failures since the last answer.
    pub failing: usize,
}

impl FrontDoorStats {
    /// Takes one sample; they come in order.
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

    /// Whether it can be told how the door is after `moment`: it was asked since then, often enough, and is neither
    /// failing for the first time nor for the second.
    pub fn is_certain_after(&self, moment: Duration) -> bool {
        let is_steady = self.streak == 0 || self.streak >= STREAK;
        self.asked >= STREAK && self.last_asked >= moment && is_steady
    }

    /// What it came to so far.
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
    /// Whether it was down at the end; none where that cannot be told.
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

    /// Asks 250 ms apart that took 10 ms each: `.` was answered, anything else failed.
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
    fn samples_and_what_they_come_to() {
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
            // The reason is the last one, whichever outage was the longest.
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
        for (marks, asked, answered, outage, still_down, words) in rows {
            let summary = stats(marks).summary();
            let expected = (asked, answered, Duration::from_millis(outage), still_down);
            let seen = (summary.asked, summary.answered, summary.longest_outage, summary.still_down());
            assert_eq!(seen, expected, "{marks}");
            assert_eq!(summary.to_string(), words, "{marks}");
        }
    }

    #[test]
    fn a_request_that_hangs_counts_with_its_whole_time() {
        let mut stats = stats("..");
        let seconds = Duration::from_secs;
        stats.record(FrontDoorSample { asked: seconds(1), ended: seconds(6), failure: Some("no answer".to_owned()) });
        assert_eq!(stats.summary().longest_outage, seconds(5));
        // The next answer took its time, but it was asked for at 7 s and came.
        stats.record(FrontDoorSample { asked: seconds(7), ended: seconds(9), failure: None });
        assert_eq!(stats.summary().longest_outage, seconds(6));
    }

    #[test]
    fn the_end_is_certain_once_it_was_asked_then_and_is_steady() {
        for (marks, after, certain) in [
            ("", 0, false),
            ("..", 0, false),
            ("...", 500, true),
            // What was asked before the end says nothing of the end.
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
