//! A probe that requests endpoints continuously and streams its samples, for changes of the mesh and for `probe --watch`:
//! builds curl's arguments and reads its records from the pod's log.

use super::curl::{SAMPLE_FORMAT, USER_AGENT, parse_sample};
use super::pod_log::Lines;
use super::pod_state::PROBE;
use super::probe_pod::{Failure, ProbePod};
use crate::domain::enforcement::Tracker;
use crate::domain::mesh::socket_address;
use crate::domain::reason::Reason;
use crate::domain::sample::{Sample, gives_up};
use futures::StreamExt;
use std::time::Duration;
use tokio::time::Instant;

/// Samples per second: for each endpoint, and in total. With many endpoints each gets fewer.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    per_endpoint: u64,
    total: u64,
}

impl Pace {
    /// For seconds, while a change takes effect.
    pub const BRISK: Self = Self { per_endpoint: 5, total: 200 };
    /// For as long as `probe --watch` runs.
    pub const STEADY: Self = Self { per_endpoint: 5, total: 50 };
}

/// Seconds for a connection and for a request: an endpoint that hangs must not delay the others.
const TIMEOUTS: (&str, &str) = ("1", "2");

/// curl's arguments for requesting `endpoints` (address and target port) in turns for `duration`.
///
/// The host contains the counter and the port selects the endpoint, because curl varies the rightmost glob fastest.
/// `--connect-to` with an empty host maps every synthetic port to its endpoint, so no name is resolved.
pub fn arguments(endpoints: &[(String, u16)], pace: Pace, duration: Duration, marker: &str) -> Vec<String> {
    let rate = (pace.per_endpoint * endpoints.len() as u64).clamp(1, pace.total);
    let rounds = (duration.as_secs().max(1) * rate).div_ceil(endpoints.len().max(1) as u64);
    let record = format!("%{{stderr}}{marker} {SAMPLE_FORMAT} %{{url_effective}}\\n");
    let fixed = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close", "-o", "/dev/null"];
    let limits =
        ["--connect-timeout", TIMEOUTS.0, "--max-time", TIMEOUTS.1, "--rate", &format!("{rate}/s"), "-w", &record]
            .map(str::to_owned);
    let connect_to = endpoints.iter().enumerate().flat_map(|(index, (address, port))| {
        ["--connect-to".to_owned(), format!(":{}:{}", index + 1, socket_address(address, *port))]
    });
    let url = format!("http://[1-{rounds}].probe.invalid:[1-{}]/", endpoints.len());
    fixed.map(str::to_owned).into_iter().chain(limits).chain(connect_to).chain([url]).collect()
}

/// Parses one record: the endpoint's position, and the sample.
pub fn record(line: &str, marker: &str) -> Option<(usize, Sample)> {
    let mut fields = line.strip_prefix(marker)?.split_ascii_whitespace();
    let sample = parse_sample(&mut fields)?;
    let port = fields.next()?.strip_prefix("http://")?.split_once(':')?.1;
    let index = port.trim_end_matches('/').parse::<usize>().ok()?.checked_sub(1)?;
    Some((index, sample))
}

/// The samples of a running probe.
pub struct Stream {
    lines: Lines,
    marker: String,
    /// Exit code of a request after which curl sends no more requests.
    gave_up: Option<i32>,
}

impl Stream {
    /// The next sample, with its endpoint's position. An end of the stream is an error.
    pub async fn next(&mut self) -> Result<(usize, Sample), Failure> {
        while let Some(line) = self.lines.next().await {
            if let Some((index, sample)) = record(&line, &self.marker) {
                self.gave_up = self.gave_up.or(Some(sample.exit).filter(|exit| gives_up(*exit)));
                return Ok((index, sample));
            }
        }
        Err(self.end_reason())
    }

    /// Why the stream ended.
    fn end_reason(&self) -> Failure {
        match self.gave_up {
            Some(exit) => {
                let message = format!(
                    "an application's answer made curl give up (exit code {exit}); a newer one (--image) may bear it"
                );
                Failure::Pod(Reason::Unexpected, message)
            }
            None => Failure::Pod(Reason::LostOutput, "the stream of samples ended".to_owned()),
        }
    }

    /// Runs `work` and passes samples to the tracker meanwhile, so that samples from before its end are not taken for
    /// later ones. A stream that ends does not interrupt the work; the next [`Self::until`] returns the error.
    pub async fn during<T>(&mut self, tracker: &mut Tracker, start: Instant, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                value = &mut work => return value,
                sample = self.next() => match sample {
                    Ok((index, sample)) => tracker.record(index, &sample, start.elapsed()),
                    Err(_) => return work.await,
                },
            }
        }
    }

    /// Passes samples to the tracker until `satisfied`, with their time since `start`. Returns whether it was satisfied
    /// within `limit`.
    pub async fn until(
        &mut self,
        tracker: &mut Tracker,
        start: Instant,
        limit: Duration,
        satisfied: impl Fn(&Tracker, Duration) -> bool,
    ) -> Result<bool, Failure> {
        let reading = async {
            loop {
                let (index, sample) = self.next().await?;
                let elapsed = start.elapsed();
                tracker.record(index, &sample, elapsed);
                if satisfied(tracker, elapsed) {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(limit, reading).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Ok(false),
        }
    }
}

/// Waits until the pod's curl runs, and returns its samples.
pub async fn open(probe: &ProbePod, marker: &str) -> Result<Stream, Failure> {
    probe.started().await?;
    Ok(Stream { lines: probe.follow(PROBE).await?, marker: marker.to_owned(), gave_up: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_synthetic_port_leads_to_its_endpoint() {
        let endpoints = [("10.0.0.1".to_owned(), 8080), ("fd00::1".to_owned(), 80)];
        let arguments = arguments(&endpoints, Pace::BRISK, Duration::from_mins(1), "M");
        assert!(arguments.windows(2).any(|pair| pair == ["--connect-to", ":1:10.0.0.1:8080"]));
        assert!(arguments.windows(2).any(|pair| pair == ["--connect-to", ":2:[fd00::1]:80"]));
        assert!(arguments.windows(2).any(|pair| pair == ["--rate", "10/s"]));
        assert_eq!(arguments.last().map(String::as_str), Some("http://[1-300].probe.invalid:[1-2]/"));
    }

    #[test]
    fn records_name_their_endpoint() {
        let (index, sample) = record("M 56 000 1 0 0 0.000512 0.0006 http://7.probe.invalid:2/", "M").unwrap();
        assert_eq!((index, sample.exit, sample.connected, sample.http_status), (1, 56, true, None));
        let (_, sample) = record("M 0 200 1 337 264 0.000396 0.0006 http://7.probe.invalid:1/", "M").unwrap();
        assert_eq!((sample.http_status, sample.bytes), (Some(200), 601));
    }

    #[tokio::test]
    async fn a_stream_that_ends_says_why() {
        for (exit, expected) in [("56", Reason::LostOutput), ("27", Reason::Unexpected)] {
            let line = format!("M {exit} 000 1 0 0 0.000512 0.0006 http://7.probe.invalid:2/");
            let lines = futures::stream::iter([line]).boxed();
            let mut stream = Stream { lines, marker: "M".to_owned(), gave_up: None };
            assert!(stream.next().await.is_ok());
            let Err(Failure::Pod(reason, _)) = stream.next().await else { panic!("it has ended") };
            assert_eq!(reason, expected, "{exit}");
        }
    }

    #[test]
    fn what_is_no_record_is_left_alone() {
        for line in [
            "",
            "M",
            "M 56",
            "x 56 000 1 0 0 0.1 0.1 http://1.probe.invalid:1/",
            "M 56 000 0 0 0 0.1 0.1 http://1.p:1/",
            "M a b c d e f g h",
        ] {
            assert_eq!(record(line, "M"), None, "{line:?}");
        }
    }
}
