//! What curl is asked to do in a probe pod, and what its output says.
//!
//! One curl asks in plaintext; a second one, in a container of its own, says the TLS hellos where these are many. Each
//! does its requests in a few sections with `--next` between them: what a section asks is one URL with a set of curl's
//! globs, whose members name their case in the fragment, which is never sent. Every request ends with a record that
//! carries a random marker, so that no body and no header can forge it.
//!
//! Only hellos are worth a trace, but `-v` holds for all that one curl does, and each line goes through the node's
//! runtime, its kubelet and the API server: hence the second curl. Traces go to stdout, where they are buffered and in the
//! order of the requests; to a stderr curl writes byte by byte. All flags exist in curl 7.88, where `-Z` was seen to hang
//! with hundreds of requests: they follow each other.

use super::pod_state::{HELLO, PROBE};
use super::probe_pod::Curl;
use crate::domain::identity::certificates;
use crate::domain::mesh::{DataPlane, socket_address};
use crate::domain::probe::{Case, EndpointCase, EndpointObservation, Hello, Observation, Sample};
use serde_json::Value;

/// How a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurlLimits {
    /// Plaintext samples for each way in.
    pub attempts: usize,
    /// Seconds for a TCP connection.
    pub connect_timeout: u32,
    /// Seconds for a whole request.
    pub max_time: u32,
}

impl Default for CurlLimits {
    fn default() -> Self {
        Self { attempts: 3, connect_timeout: 5, max_time: 10 }
    }
}

/// Seconds for a TLS hello: it hangs at ports that echo, and is ignored where plaintext was answered.
const HELLO_SECONDS: u32 = 2;

/// curl writes the answer's body here; the kubelet shows the last 4 KiB in the pod's status, apart from the log.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// Whom the application sees in its own log.
pub const USER_AGENT: &str = concat!("secure-traffic-probe/", env!("CARGO_PKG_VERSION"));

/// The end of a record's format: two headers that tell a sidecar's own answer from its application's. They come last,
/// because they may hold anything.
pub const WHO_ANSWERED: &str = "<%header{x-envoy-upstream-service-time}> <%header{server}>";

/// What [`numbers`] reads, as a record tells it.
pub const NUMBERS: &str =
    "%{exitcode} %{http_code} %{num_connects} %{size_download} %{size_header} %{time_connect} %{time_total}";

/// What the record of a hello tells: curl writes a certificate chain on one line as JSON only.
const TLS: &str = "%{json}";

/// Hellos that go with the plaintext requests: more are worth the fifth of a second that a second container takes.
const MAX_INLINE_HELLOS: usize = 20;

/// Members of one URL's set, and their bytes: an argument may hold 128 KiB, and curl seeks the way of each request among
/// all that its section names.
const GLOB_LIMITS: (usize, usize) = (100, 32 * 1024);

/// Whether a sidecar answered by itself, by what [`WHO_ANSWERED`] came to.
pub fn is_from_sidecar(who: &str) -> bool {
    let headers = who.strip_prefix('<').and_then(|rest| rest.split_once("> <"));
    headers.is_some_and(|(upstream_time, server)| {
        upstream_time.is_empty() && matches!(server.to_ascii_lowercase().as_str(), "istio-envoy>" | "envoy>")
    })
}

/// The curls that ask every case in plaintext, and with a hello where one can be evidence.
pub fn curls(cases: &[Case], manner: CurlLimits, marker: &str) -> Vec<Curl> {
    let curl = |container, sections: Vec<Vec<String>>, records| {
        let arguments = sections.join(&"--next".to_owned());
        Curl { container, arguments, records }
    };
    let (plain, hellos) = (plain_sections(cases, manner, marker), hello_sections(cases, marker));
    let (plain_records, hello_records) = records(cases, manner);
    if hello_records > MAX_INLINE_HELLOS {
        return vec![curl(PROBE, plain, plain_records), curl(HELLO, hellos, hello_records)];
    }
    vec![curl(PROBE, [plain, hellos].concat(), plain_records + hello_records)]
}

/// The body of an explicit path is kept for the last such case only: a pod has one termination message.
fn plain_sections(cases: &[Case], manner: CurlLimits, marker: &str) -> Vec<Vec<String>> {
    // curl's own words come last, because they may hold anything; they end at the marker.
    let told = &format!("{NUMBERS} %{{errormsg}}");
    let plain = Kind { name: "plain", scheme: "http", told, manner, options: &[] };
    let mut sections: Vec<Vec<String>> =
        endpoint_ways(cases, |_| true).into_iter().flat_map(|ways| plain.sections(&ways, marker)).collect();
    let body_of = cases.iter().rposition(|case| case.explicit_path);
    let (last, others): (Vec<_>, Vec<_>) = cases
        .iter()
        .enumerate()
        .map(|(index, case)| Way::service(index, case))
        .partition(|way| Some(way.index) == body_of);
    sections.extend(plain.sections(&others, marker));
    if !last.is_empty() {
        let fewer = Kind { manner: CurlLimits { attempts: manner.attempts - 1, ..manner }, ..plain };
        sections.extend(fewer.sections(&last, marker));
        // The rate keeps a large body from filling the node's disk before --max-time ends it.
        let body = Kind { manner: CurlLimits { attempts: 1, ..manner }, options: &["--limit-rate", "16K"], ..plain };
        sections.push(body.section(&last, TERMINATION_LOG, marker));
    }
    sections
}

fn hello_sections(cases: &[Case], marker: &str) -> Vec<Vec<String>> {
    let hello = Kind {
        name: "hello",
        scheme: "https",
        told: TLS,
        manner: CurlLimits { attempts: 1, connect_timeout: HELLO_SECONDS, max_time: HELLO_SECONDS },
        options: &["-v", "--stderr", "-", "-k", "--http1.1", "--no-alpn"],
    };
    // Anywhere else a hello proves nothing, and would hang at ports that echo.
    let ways = endpoint_ways(cases, EndpointCase::may_be_rejected);
    ways.into_iter().flat_map(|ways| hello.sections(&ways, marker)).collect()
}

/// The ways to the endpoints that are taken: of each case one at a time, as a section has one way for each host and port.
fn endpoint_ways(cases: &[Case], takes: impl Fn(&EndpointCase) -> bool) -> Vec<Vec<Way<'_>>> {
    let most = cases.iter().map(|case| case.endpoints.len()).max().unwrap_or_default();
    let of_number = |number: usize| {
        let ways = cases.iter().enumerate().filter(|(_, case)| case.endpoints.get(number).is_some_and(&takes));
        ways.filter_map(|(index, case)| Way::endpoint(index, case, number)).collect()
    };
    (0..most).map(of_number).collect()
}

/// Plaintext requests, and hellos: each writes a record.
fn records(cases: &[Case], manner: CurlLimits) -> (usize, usize) {
    let ways = cases.iter().map(|case| case.endpoints.len() + 1);
    (ways.sum::<usize>() * manner.attempts, cases.iter().map(hellos).sum())
}

/// Endpoints of a case that get a hello.
fn hellos(case: &Case) -> usize {
    case.endpoints.iter().filter(|endpoint| endpoint.may_be_rejected()).count()
}

/// How one kind of request is made.
#[derive(Clone, Copy)]
struct Kind<'a> {
    name: &'a str,
    scheme: &'a str,
    told: &'a str,
    manner: CurlLimits,
    options: &'a [&'a str],
}

/// One way to a case.
#[derive(Clone)]
struct Way<'a> {
    /// Of the case.
    index: usize,
    case: &'a Case,
    /// The endpoint's number and its socket; none means the Service's own address.
    endpoint: Option<(usize, String)>,
}

impl<'a> Way<'a> {
    fn service(index: usize, case: &'a Case) -> Self {
        Self { index, case, endpoint: None }
    }

    fn endpoint(index: usize, case: &'a Case, number: usize) -> Option<Self> {
        let endpoint = case.endpoints.get(number)?;
        Some(Self { index, case, endpoint: Some((number, socket_address(&endpoint.address, endpoint.port))) })
    }

    /// A URL without its scheme, as a member of a set; `CASE.WAY.` in the fragment.
    fn member(&self) -> String {
        let path = escaped(&self.case.path);
        let way = self.endpoint.as_ref().map_or_else(|| "service".to_owned(), |(number, _)| number.to_string());
        format!("{}:{}{path}#{}.{way}.", self.case.host, self.case.port, self.index)
    }
}

/// A path as a member of a set of curl's globs.
pub fn escaped(path: &str) -> String {
    let special = |c| matches!(c, '[' | ']' | '{' | '}' | ',' | '\\');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

impl Kind<'_> {
    /// Sections that ask every way so many times.
    fn sections(self, ways: &[Way<'_>], marker: &str) -> Vec<Vec<String>> {
        if self.manner.attempts == 0 {
            return Vec::new();
        }
        let size = |way: &Way<'_>| way.case.host.len() + way.case.path.len();
        let mut sections = Vec::new();
        let mut rest = ways;
        while let Some((first, others)) = rest.split_first() {
            let mut left = GLOB_LIMITS.1.saturating_sub(size(first));
            let fits = |way: &&Way<'_>| {
                let fits = size(way) <= left;
                left = left.saturating_sub(size(way));
                fits
            };
            let count = 1 + others.iter().take(GLOB_LIMITS.0 - 1).take_while(fits).count();
            sections.push(self.section(&rest[..count], "/dev/null", marker));
            rest = &rest[count..];
        }
        sections
    }

    /// One section: options, which `--next` forgets, the ways to endpoints, and the URL.
    fn section(self, ways: &[Way<'_>], output: &str, marker: &str) -> Vec<String> {
        let CurlLimits { attempts, connect_timeout, max_time } = self.manner;
        // A trace may end without an end of line.
        let record = format!("\\n{marker} {} %{{url}} {marker} {} {marker} {WHO_ANSWERED}\\n", self.name, self.told);
        let fixed = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close"];
        let times = ["--connect-timeout", &connect_timeout.to_string(), "--max-time", &max_time.to_string()];
        let mut section: Vec<String> = [&fixed[..], &times[..], self.options, &["-w", &record, "-o", output]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        for way in ways {
            if let Some((_, socket)) = &way.endpoint {
                let entry = format!("{}:{}:{socket}", way.case.host, way.case.port);
                section.extend(["--connect-to".to_owned(), entry]);
            }
        }
        let members: Vec<String> = ways.iter().map(Way::member).collect();
        section.push(match members.as_slice() {
            [one] => format!("{}://{one}[1-{attempts}]", self.scheme),
            _ => format!("{}://{{{}}}[1-{attempts}]", self.scheme, members.join(",")),
        });
        section
    }
}

/// Bytes that a case takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// In the pod's arguments.
    pub arguments: usize,
    /// In its log.
    pub log: usize,
}

/// An estimate from above: a record was seen to take 300 bytes beside its URL, and a hello with its trace and its
/// certificates 11,000.
pub fn size(case: &Case, manner: CurlLimits) -> Size {
    let url = case.host.len() + case.path.len() + 32;
    let ways = case.endpoints.len() + 1;
    let hellos = hellos(case);
    Size {
        // Each way is named in a URL, an endpoint's in an entry of its own too, and that once more for its hello.
        arguments: (ways + hellos) * (url + case.host.len() + 64),
        log: ways * manner.attempts * (url + 300) + hellos * (url + 11_000),
    }
}

/// Seconds that the requests can take at worst.
pub fn worst_case_seconds(cases: &[Case], manner: CurlLimits) -> u64 {
    let ways: usize = cases.iter().map(|case| case.endpoints.len() + 1).sum();
    let each = manner.attempts as u64 * u64::from(manner.max_time) + u64::from(HELLO_SECONDS);
    ways as u64 * each
}

/// Reads the logs of a probe pod: each request's trace, if it has one, and then its record. Lines that are neither are
/// left alone.
pub fn parse(cases: &[Case], log: &str, marker: &str) -> Vec<Observation> {
    let mut observations: Vec<Observation> = cases
        .iter()
        .map(|case| Observation {
            endpoints: vec![EndpointObservation::default(); case.endpoints.len()],
            ..Observation::default()
        })
        .collect();
    let mut trace = Trace::default();
    for line in log.lines() {
        match line.strip_prefix(marker).and_then(|rest| rest.strip_prefix(' ')) {
            None => trace.read(line),
            Some(rest) => {
                let trace = std::mem::take(&mut trace);
                place(&mut observations, rest, marker, &trace);
            }
        }
    }
    for (case, seen) in cases.iter().zip(&mut observations) {
        believe(case, seen);
    }
    observations
}

/// An application with no sidecar before it has only put on a sidecar's name.
fn believe(case: &Case, seen: &mut Observation) {
    let has_proxy = |endpoint: &EndpointCase| endpoint.data_plane != DataPlane::None;
    for (endpoint, seen) in case.endpoints.iter().zip(&mut seen.endpoints) {
        seen.samples.iter_mut().for_each(|sample| sample.from_sidecar &= has_proxy(endpoint));
    }
    // Where no endpoint is known, the asker's own sidecar may have answered.
    let any = case.endpoints.is_empty() || case.endpoints.iter().any(has_proxy);
    seen.service.iter_mut().for_each(|sample| sample.from_sidecar &= any);
}

/// What curl's verbose trace says of one hello.
#[derive(Default)]
struct Trace {
    certificate_requested: bool,
}

impl Trace {
    fn read(&mut self, line: &str) {
        let requested = "(IN), TLS handshake, Request CERT (13)";
        self.certificate_requested |= line.starts_with("* ") && line.contains(requested);
    }
}

/// Puts one record (`KIND URL MARKER TOLD MARKER WHO`) where its URL's fragment says. A record of an unknown case is
/// not ours and is dropped.
fn place(observations: &mut [Observation], record: &str, marker: &str, trace: &Trace) -> Option<()> {
    let (asked, rest) = record.split_once(marker)?;
    let (told, who) = rest.split_once(marker)?;
    let (kind, url) = asked.split_once(' ')?;
    let [case, way, _] = url.rsplit_once('#')?.1.split('.').collect::<Vec<_>>()[..] else { return None };
    let observation = observations.get_mut(case.parse::<usize>().ok()?)?;
    if way == "service" {
        observation.service.push(sample(told, who)?);
        return Some(());
    }
    let endpoint = observation.endpoints.get_mut(way.parse::<usize>().ok()?)?;
    match kind {
        "plain" => endpoint.samples.push(sample(told, who)?),
        "hello" => endpoint.hello = Some(hello(told, trace)?),
        _ => {}
    }
    Some(())
}

/// Reads what a plaintext record tells.
fn sample(told: &str, who: &str) -> Option<Sample> {
    let mut fields = told.trim_start().splitn(8, ' ');
    let numbers = numbers(&mut fields)?;
    let message = fields.next().map(str::trim_end).filter(|message| !message.is_empty()).map(str::to_owned);
    Some(Sample { message, from_sidecar: is_from_sidecar(who.trim_start()), ..numbers })
}

/// Reads [`NUMBERS`]; `None` also for a reset on a connection that was not fresh, which proves nothing.
pub fn numbers<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Sample> {
    let exit = fields.next()?.parse().ok()?;
    let http_status = fields.next()?.parse().ok().filter(|status| *status > 0);
    let connects: u32 = fields.next()?.parse().ok()?;
    let bytes = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let connect_seconds: f64 = fields.next()?.parse().ok()?;
    let seconds = fields.next()?.parse().ok()?;
    let connected = connect_seconds > 0.0;
    if bytes == 0 && connected && connects != 1 {
        return None;
    }
    Some(Sample { exit, http_status, bytes, connected, connect_seconds, seconds, ..Sample::default() })
}

/// Reads [`TLS`].
fn hello(told: &str, trace: &Trace) -> Option<Hello> {
    let known: Value = serde_json::from_str(told).ok()?;
    Some(Hello {
        exit: known["exitcode"].as_i64().and_then(|exit| i32::try_from(exit).ok()).unwrap_or(-1),
        certificate_requested: trace.certificate_requested,
        chain: certificates(known["certs"].as_str().unwrap_or_default()),
        identity: None,
    })
}

#[cfg(test)]
#[path = "curl_tests.rs"]
mod tests;
