//! Requests repeatedly what a proof will request, from a container of the probe that watches a change, for the check before
//! the first write: builds curl's arguments and reads its records from the pod's log.

use super::curl::{SAMPLE_FORMAT, USER_AGENT, escaped, parse_sample};
use super::probe_pod::{Curl, Failure, ProbePod};
use crate::domain::reachability::Reachability;
use crate::domain::sample::Sample;
use futures::StreamExt;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Seconds for which requests are sent, if all of them are answered at once.
const SECONDS: u64 = 10;

/// Seconds for each request. The port counts as reached as soon as the connection is established.
const TIMEOUT: &str = "1";

/// Time without a record after which the state is looked at: the next request may be waiting for its time-out.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest time for all destinations, each of which may take [`TIMEOUT`].
const LIMIT: Duration = Duration::from_mins(1);

/// A curl in this container that requests every destination in turns. Its URL has the round in the place of a user name,
/// because curl varies the rightmost glob fastest, and the destination's number as the fragment, which is never sent.
pub fn curl(container: &'static str, reach: &Reachability, marker: &str) -> Curl {
    let record = format!("%{{stderr}}{marker} {SAMPLE_FORMAT} %{{time_namelookup}} %{{url}}\\n");
    let targets = reach.destinations().iter().enumerate();
    let targets: Vec<String> =
        targets.map(|(index, target)| format!("{}/#{index}", escaped(&target.authority()))).collect();
    let url = format!("http://[1-{}]@{{{}}}", reach.rounds(SECONDS), targets.join(","));
    let arguments = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close", "-H", "Authorization:"]
        .into_iter()
        .chain(["-o", "/dev/null", "--connect-timeout", TIMEOUT, "--max-time", TIMEOUT])
        .chain(["--rate", &format!("{}/s", reach.rate()), "-w", &record, &url])
        .map(str::to_owned)
        .collect();
    Curl::endless_in(container, arguments)
}

/// One record: the destination's number, the round, the sample, and whether the name was resolved.
fn record(line: &str, marker: &str) -> Option<(usize, u64, Sample, bool)> {
    let mut fields = line.strip_prefix(marker)?.split_ascii_whitespace();
    let sample = parse_sample(&mut fields)?;
    let has_resolved = fields.next()?.parse::<f64>().ok()? > 0.0;
    let url = fields.next()?;
    let round = url.strip_prefix("http://")?.split_once('@')?.0.parse().ok()?;
    let index = url.rsplit_once('#')?.1.parse().ok()?;
    Some((index, round, sample, has_resolved))
}

/// Reads the container's records until every destination is reached, or until `patience` has passed and one is not.
pub async fn observe(
    probe: &ProbePod,
    container: &str,
    marker: &str,
    reach: &mut Reachability,
    patience: Duration,
) -> Result<(), Failure> {
    probe.started().await?;
    let (start, mut lines) = (Instant::now(), probe.follow(container).await?);
    loop {
        let elapsed = start.elapsed();
        match timeout(PAUSE, lines.next()).await {
            Ok(None) => return Ok(()),
            Ok(Some(line)) => {
                if let Some((index, round, sample, has_resolved)) = record(&line, marker) {
                    reach.record(index, round, &sample, has_resolved);
                }
                // Records that were written earlier arrive at once.
                if reach.reaches_all() || elapsed > patience + PAUSE * 4 && reach.has_blocked() {
                    return Ok(());
                }
            }
            Err(_) if elapsed > patience && reach.has_blocked() => return Ok(()),
            Err(_) => {}
        }
        if elapsed > LIMIT {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::probe::EndpointCase;
    use crate::domain::testing::{case, endpoint_case};

    #[test]
    fn one_url_requests_every_destination_in_turns() {
        let ipv6 = EndpointCase { address: "fd00::1".into(), ..endpoint_case(None) };
        let curl = curl("reach", &Reachability::new(&[case(vec![endpoint_case(None), ipv6])]), "M");
        let url = r"http://[1-40]@{boards.demo.svc.cluster.local:8080/#0,10.0.0.1:8080/#1,\[fd00::1\]:8080/#2}";
        assert_eq!(curl.arguments.last().map(String::as_str), Some(url));
        assert!(curl.arguments.windows(2).any(|pair| pair == ["--rate", "12/s"]), "{:?}", curl.arguments);
    }

    #[test]
    fn records_name_their_destination_and_round() {
        for (line, expected) in [
            ("M 0 200 1 3 100 0.0005 0.0006 0.0001 http://7@10.0.0.1:8080/#1", Some((1, 7, true, true))),
            ("M 28 000 0 0 0 0.0 1.001 0.0001 http://1@web.shop.svc:80/#0", Some((0, 1, false, true))),
            ("M 28 000 0 0 0 0.0 1.001 0.000000 http://1@web.shop.svc:80/#0", Some((0, 1, false, false))),
            ("M 7 000 0 0 0 0.0 0.001 0.0001 http://12@[fd00::1]:80/#12", Some((12, 12, false, true))),
            ("M 0 200 1 3 100 0.0005 0.0006 0.0001 http://10.0.0.1:8080/#1", None),
            ("M 0 200 1 3 100 0.0005 0.0006 0.0001 http://7@10.0.0.1:8080/", None),
            ("x 0 200 1 3 100 0.0005 0.0006 0.0001 http://7@10.0.0.1:8080/#1", None),
            ("M", None),
        ] {
            let found = record(line, "M").map(|(index, round, sample, name)| (index, round, sample.connected, name));
            assert_eq!(found, expected, "{line}");
        }
    }
}
