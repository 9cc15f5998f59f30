//! Builds the arguments of the curls in a probe pod from cases, and parses their output into observations, for `runner`.
//!
//! One curl sends plaintext requests. A second one, in a container of its own, sends the TLS hellos where there are many
//! of them. Each curl makes its requests in a few sections with `--next` between them. A section requests one URL with a
//! set of curl's globs; each member of the set names its case in the fragment, which is never sent. Every request ends
//! with a record that carries a random marker, so that no body and no header can forge it.
//!
//! Only hellos need a trace, but `-v` applies to all requests of a curl, and each line passes the node's runtime, its
//! kubelet and the API server: hence the second curl. Traces go to stdout, where curl buffers them and keeps them in the
//! order of the requests; to stderr it writes byte by byte. All flags exist in curl 7.88. Requests are sequential,
//! because `-Z` of that version hangs with hundreds of requests.

use super::pod_state::{HELLO, MeshMembership, PROBE};
use super::probe_pod::Curl;
use crate::domain::identity::certificates;
use crate::domain::mesh::{DataPlane, socket_address};
use crate::domain::port_protocol::CallKind;
use crate::domain::probe::{Case, EndpointCase, EndpointObservation, Hello, Observation};
use crate::domain::sample::Sample;
use serde_json::Value;

/// How many requests curl sends to each address, and how long each may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurlLimits {
    /// Plaintext requests to each endpoint, and to the Service.
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

/// Seconds for a TLS hello. It hangs at ports that echo, and its result is ignored where plaintext was answered.
const HELLO_SECONDS: u32 = 2;

/// File that curl writes the response's body to. The kubelet copies its last 4 KiB into the pod's status, not into the
/// log.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// `User-Agent` of every request, which applications log.
pub const USER_AGENT: &str = concat!("secure-traffic-probe/", env!("CARGO_PKG_VERSION"));

/// The end of a record's format: two response headers that distinguish a sidecar's own response from its application's.
/// They come last, because they may hold any text.
pub const ANSWER_HEADERS: &str = "<%header{x-envoy-upstream-service-time}> <%header{server}>";

/// The part of a record's format that [`parse_sample`] reads.
pub const SAMPLE_FORMAT: &str =
    "%{exitcode} %{http_code} %{num_connects} %{size_download} %{size_header} %{time_connect} %{time_total}";

/// Record format of a hello. JSON, because curl writes a certificate chain on one line only there.
const HELLO_FORMAT: &str = "%{json}";

/// Up to this many hellos share the container of the plaintext requests; for more, a second container, which takes a
/// fifth of a second to start, is faster.
const MAX_INLINE_HELLOS: usize = 20;

/// Most members of one URL's glob set, and most bytes of them. An argument may hold 128 KiB, and for each request curl
/// searches all `--connect-to` entries of the section.
const GLOB_LIMITS: (usize, usize) = (100, 32 * 1024);

/// Whether a sidecar answered by itself, as the expanded [`ANSWER_HEADERS`] show.
pub fn is_from_sidecar(headers: &str) -> bool {
    let headers = headers.strip_prefix('<').and_then(|rest| rest.split_once("> <"));
    headers.is_some_and(|(upstream_time, server)| {
        upstream_time.is_empty() && matches!(server.to_ascii_lowercase().as_str(), "istio-envoy>" | "envoy>")
    })
}

/// Path of a Gopher URL, whose first character curl drops: curl sends the rest and a line break, and nothing else. Sidecars
/// do not take the line for HTTP, and it is long enough for them to see that it is not TLS.
pub const LINE_PATH: &str = "/_secure-traffic";

/// A file that cannot be opened: curl ends a request at its first byte, with exit code 23. Servers that answer a line keep
/// the connection open.
pub const NO_OUTPUT: &str = "/dev/null/none";

/// Seconds for a line.
const LINE_SECONDS: u32 = 2;

/// The curls that request every case in plaintext, and send a hello where its certificate can be evidence. A client in the
/// mesh sends a line instead of a request to a port that is not declared to speak HTTP.
pub fn curls(cases: &[Case], limits: CurlLimits, membership: MeshMembership, marker: &str) -> Vec<Curl> {
    let curl = |container, sections: Vec<Vec<String>>, records| {
        let arguments = sections.join(&"--next".to_owned());
        Curl { container, arguments, records }
    };
    let (plain, hellos) = (plain_sections(cases, limits, membership, marker), hello_sections(cases, marker));
    let (plain_records, hello_records) = records(cases, limits, membership);
    if hello_records > MAX_INLINE_HELLOS {
        return vec![curl(PROBE, plain, plain_records), curl(HELLO, hellos, hello_records)];
    }
    vec![curl(PROBE, [plain, hellos].concat(), plain_records + hello_records)]
}

/// Sections of the plaintext requests. The body of an explicit path is kept for the last such case only, because a pod
/// has one termination message.
fn plain_sections(cases: &[Case], limits: CurlLimits, membership: MeshMembership, marker: &str) -> Vec<Vec<String>> {
    // curl's error message comes last, because it may hold any text; the marker ends it.
    let record_format = &format!("{SAMPLE_FORMAT} %{{errormsg}}");
    let plain = RequestKind {
        name: "plain",
        scheme: "http",
        channel: "",
        record_format,
        limits,
        options: &[],
        output: "/dev/null",
        fixed_path: None,
    };
    let mut sections: Vec<Vec<String>> =
        endpoint_routes(cases, |_| true).into_iter().flat_map(|routes| plain.sections(&routes, marker)).collect();
    let body_of = cases.iter().rposition(|case| case.explicit_path);
    let services = cases.iter().enumerate().map(|(index, case)| Route::service(index, case));
    let (lines, requests): (Vec<_>, Vec<_>) = services.partition(|route| sends_line(route.case, membership));
    let line = RequestKind {
        scheme: "gopher",
        limits: line_limits(limits),
        output: NO_OUTPUT,
        fixed_path: Some(LINE_PATH),
        ..plain
    };
    sections.extend(line.sections(&lines, marker));
    let (last, others): (Vec<_>, Vec<_>) = requests.into_iter().partition(|route| Some(route.index) == body_of);
    sections.extend(plain.sections(&others, marker));
    if !last.is_empty() {
        let fewer = RequestKind { limits: CurlLimits { attempts: limits.attempts - 1, ..limits }, ..plain };
        sections.extend(fewer.sections(&last, marker));
        // The rate keeps a large body from filling the node's disk before --max-time ends it.
        let body =
            RequestKind { limits: CurlLimits { attempts: 1, ..limits }, options: &["--limit-rate", "16K"], ..plain };
        sections.push(body.section(&last, TERMINATION_LOG, marker));
    }
    sections
}

/// A curl that requests the endpoints of the cases in two rounds, with a pause before each, and the seconds that it takes at
/// most. Each request ends with a record.
pub fn rounds(cases: &[Case], limits: CurlLimits, rounds: [usize; 2], marker: &str) -> (Curl, u64) {
    // Nothing listens at this port of the pod, and each refusal is tried again after a second.
    let retries = PAUSE_SECONDS.to_string();
    let pause = ["-q", "-s", "--noproxy", "*", "-o", "/dev/null", "--retry-connrefused", "--retry", &retries]
        .into_iter()
        .chain(["--retry-delay", "1", "http://localhost:1/"])
        .map(str::to_owned)
        .collect();
    let of_round = |attempts| {
        let limits = CurlLimits { attempts, ..limits };
        let plain = RequestKind {
            name: "plain",
            scheme: "http",
            channel: "%{stderr}",
            record_format: SAMPLE_FORMAT,
            limits,
            options: &[],
            output: "/dev/null",
            fixed_path: None,
        };
        let routes = endpoint_routes(cases, |_| true);
        let sections = routes.into_iter().flat_map(|routes| plain.sections(&routes, marker)).collect::<Vec<_>>();
        [&[Vec::clone(&pause)][..], &sections].concat()
    };
    let endpoints: usize = cases.iter().map(|case| case.endpoints.len()).sum();
    let requests = endpoints * rounds.iter().sum::<usize>();
    let arguments = rounds.map(of_round).concat().join(&"--next".to_owned());
    let seconds = requests as u64 * u64::from(limits.max_time) + 2 * u64::from(PAUSE_SECONDS);
    (Curl { container: PROBE, arguments, records: requests }, seconds)
}

/// Seconds before each of [`rounds`].
const PAUSE_SECONDS: u32 = 4;

/// Whether a client of this membership sends a line to the Service of this case.
fn sends_line(case: &Case, membership: MeshMembership) -> bool {
    membership != MeshMembership::Outside && case.protocol.call() == CallKind::Line
}

/// Few, because an application may write each into its log.
fn line_limits(limits: CurlLimits) -> CurlLimits {
    CurlLimits { attempts: limits.attempts.min(2), max_time: LINE_SECONDS, ..limits }
}

fn hello_sections(cases: &[Case], marker: &str) -> Vec<Vec<String>> {
    let hello = RequestKind {
        name: "hello",
        scheme: "https",
        channel: "",
        record_format: HELLO_FORMAT,
        limits: CurlLimits { attempts: 1, connect_timeout: HELLO_SECONDS, max_time: HELLO_SECONDS },
        options: &["-v", "--stderr", "-", "-k", "--http1.1", "--no-alpn"],
        output: "/dev/null",
        fixed_path: None,
    };
    // At any other endpoint a hello proves nothing, and hangs at ports that echo.
    let routes = endpoint_routes(cases, EndpointCase::may_be_rejected);
    routes.into_iter().flat_map(|routes| hello.sections(&routes, marker)).collect()
}

/// Routes to the endpoints that `includes` accepts, in groups with one endpoint per case: a section can have only one
/// `--connect-to` entry per host and port.
fn endpoint_routes(cases: &[Case], includes: impl Fn(&EndpointCase) -> bool) -> Vec<Vec<Route<'_>>> {
    let most = cases.iter().map(|case| case.endpoints.len()).max().unwrap_or_default();
    let of_number = |number: usize| {
        let routes = cases.iter().enumerate().filter(|(_, case)| case.endpoints.get(number).is_some_and(&includes));
        routes.filter_map(|(index, case)| Route::endpoint(index, case, number)).collect()
    };
    (0..most).map(of_number).collect()
}

/// Numbers of records: of plaintext requests, and of hellos.
fn records(cases: &[Case], limits: CurlLimits, membership: MeshMembership) -> (usize, usize) {
    let plain = |case: &Case| {
        let service = if sends_line(case, membership) { line_limits(limits).attempts } else { limits.attempts };
        case.endpoints.len() * limits.attempts + service
    };
    (cases.iter().map(plain).sum(), cases.iter().map(hellos).sum())
}

/// Endpoints of a case that get a hello.
fn hellos(case: &Case) -> usize {
    case.endpoints.iter().filter(|endpoint| endpoint.may_be_rejected()).count()
}

/// A kind of request: its name in records, its scheme, what curl records of it, and its limits.
#[derive(Clone, Copy)]
struct RequestKind<'a> {
    name: &'a str,
    scheme: &'a str,
    /// `%{stderr}` where each record must arrive at once, else empty: to stdout curl writes several together.
    channel: &'static str,
    record_format: &'a str,
    limits: CurlLimits,
    options: &'a [&'a str],
    /// File for the bodies.
    output: &'a str,
    /// The path of every request, in place of those of the cases.
    fixed_path: Option<&'a str>,
}

/// An address that a case is requested at.
#[derive(Clone)]
struct Route<'a> {
    /// The case's position in the list of cases.
    index: usize,
    case: &'a Case,
    /// The endpoint's position in the case and its `IP:port`; `None` is the Service's own address.
    endpoint: Option<(usize, String)>,
}

impl<'a> Route<'a> {
    fn service(index: usize, case: &'a Case) -> Self {
        Self { index, case, endpoint: None }
    }

    fn endpoint(index: usize, case: &'a Case, number: usize) -> Option<Self> {
        let endpoint = case.endpoints.get(number)?;
        Some(Self { index, case, endpoint: Some((number, socket_address(&endpoint.address, endpoint.port))) })
    }

    /// A URL without its scheme, as a member of a glob set; the fragment is `CASE.ROUTE.`, to which the counter of the
    /// request is added.
    fn glob_member(&self, kind: RequestKind<'_>) -> String {
        let path = kind.fixed_path.map_or_else(|| escaped(&self.case.path), str::to_owned);
        let route = self.endpoint.as_ref().map_or_else(|| "service".to_owned(), |(number, _)| number.to_string());
        format!("{}:{}{path}#{}.{route}.", self.case.host, self.case.port, self.index)
    }
}

/// Escapes a path for use as a member of curl's glob set.
pub fn escaped(path: &str) -> String {
    let special = |c| matches!(c, '[' | ']' | '{' | '}' | ',' | '\\');
    path.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

impl RequestKind<'_> {
    /// Sections that request every route `limits.attempts` times.
    fn sections(self, routes: &[Route<'_>], marker: &str) -> Vec<Vec<String>> {
        if self.limits.attempts == 0 {
            return Vec::new();
        }
        let size = |route: &Route<'_>| route.case.host.len() + route.case.path.len();
        let mut sections = Vec::new();
        let mut rest = routes;
        while let Some((first, others)) = rest.split_first() {
            let mut left = GLOB_LIMITS.1.saturating_sub(size(first));
            let fits = |route: &&Route<'_>| {
                let fits = size(route) <= left;
                left = left.saturating_sub(size(route));
                fits
            };
            let count = 1 + others.iter().take(GLOB_LIMITS.0 - 1).take_while(fits).count();
            sections.push(self.section(&rest[..count], self.output, marker));
            rest = &rest[count..];
        }
        sections
    }

    /// One section: all options, because `--next` resets them, `--connect-to` entries for endpoints, and the URL.
    fn section(self, routes: &[Route<'_>], output: &str, marker: &str) -> Vec<String> {
        let CurlLimits { attempts, connect_timeout, max_time } = self.limits;
        // A trace may end without a line break.
        let record = format!(
            "{}\\n{marker} {} %{{url}} {marker} {} {marker} {ANSWER_HEADERS}\\n",
            self.channel, self.name, self.record_format
        );
        let fixed = ["-q", "-s", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close"];
        let times = ["--connect-timeout", &connect_timeout.to_string(), "--max-time", &max_time.to_string()];
        let mut section: Vec<String> = [&fixed[..], &times[..], self.options, &["-w", &record, "-o", output]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        for route in routes {
            if let Some((_, socket)) = &route.endpoint {
                let entry = format!("{}:{}:{socket}", route.case.host, route.case.port);
                section.extend(["--connect-to".to_owned(), entry]);
            }
        }
        let members: Vec<String> = routes.iter().map(|route| route.glob_member(self)).collect();
        section.push(match members.as_slice() {
            [member] => format!("{}://{member}[1-{attempts}]", self.scheme),
            _ => format!("{}://{{{}}}[1-{attempts}]", self.scheme, members.join(",")),
        });
        section
    }
}

/// Bytes that a case needs in a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes of the pod's arguments.
    pub arguments: usize,
    /// Bytes of the pod's log.
    pub log: usize,
}

/// An upper estimate, from measurements: a record takes 300 bytes beside its URL, and a hello with its trace and its
/// certificates 11,000.
pub fn size(case: &Case, limits: CurlLimits) -> Size {
    let url = case.host.len() + case.path.len() + 32;
    let routes = case.endpoints.len() + 1;
    let hellos = hellos(case);
    Size {
        // Each route is named in a URL, an endpoint's in a `--connect-to` entry too, and both again for its hello.
        arguments: (routes + hellos) * (url + case.host.len() + 64),
        log: routes * limits.attempts * (url + 300) + hellos * (url + 11_000),
    }
}

/// Seconds that the requests take if every one of them runs into its limit.
pub fn worst_case_seconds(cases: &[Case], limits: CurlLimits) -> u64 {
    let routes: usize = cases.iter().map(|case| case.endpoints.len() + 1).sum();
    let each = limits.attempts as u64 * u64::from(limits.max_time) + u64::from(HELLO_SECONDS);
    routes as u64 * each
}

/// Parses the logs of a probe pod into one observation per case. Each request writes its trace, if it has one, and then
/// its record; other lines are ignored.
pub fn parse(cases: &[Case], log: &str, marker: &str) -> Vec<Observation> {
    let mut observations: Vec<Observation> = cases
        .iter()
        .map(|case| Observation {
            endpoints: vec![EndpointObservation::default(); case.endpoints.len()],
            ..Observation::default()
        })
        .collect();
    let mut trace = HelloTrace::default();
    for line in log.lines() {
        match line.strip_prefix(marker).and_then(|rest| rest.strip_prefix(' ')) {
            None => trace.read(line),
            Some(rest) => {
                let trace = std::mem::take(&mut trace);
                store_record(&mut observations, rest, marker, &trace);
            }
        }
    }
    for (case, observation) in cases.iter().zip(&mut observations) {
        drop_forged_sidecar_marks(case, observation);
    }
    observations
}

/// Clears `from_sidecar` where no sidecar can have answered: an application may send the same headers.
fn drop_forged_sidecar_marks(case: &Case, observation: &mut Observation) {
    let has_proxy = |endpoint: &EndpointCase| endpoint.data_plane != DataPlane::None;
    for (endpoint, observed) in case.endpoints.iter().zip(&mut observation.endpoints) {
        observed.samples.iter_mut().for_each(|sample| sample.from_sidecar &= has_proxy(endpoint));
    }
    // Where no endpoint is known, the sidecar of the pod that sends the request may have answered.
    let any_has_proxy = case.endpoints.is_empty() || case.endpoints.iter().any(has_proxy);
    observation.service.iter_mut().for_each(|sample| sample.from_sidecar &= any_has_proxy);
}

/// What curl's verbose output (`-v`) shows about one hello.
#[derive(Default)]
struct HelloTrace {
    certificate_requested: bool,
    certificate_shown: bool,
}

impl HelloTrace {
    fn read(&mut self, line: &str) {
        let Some(line) = line.strip_prefix("* ") else { return };
        self.certificate_requested |= line.contains("(IN), TLS handshake, Request CERT (13)");
        self.certificate_shown |= line.contains("(IN), TLS handshake, Certificate (11)");
    }
}

/// Stores one record (`KIND URL MARKER RESULT MARKER HEADERS`) in the observation that its URL's fragment names. A record
/// of an unknown case was not written by our curl; it is dropped.
fn store_record(observations: &mut [Observation], record: &str, marker: &str, trace: &HelloTrace) -> Option<()> {
    let (request, rest) = record.split_once(marker)?;
    let (result, headers) = rest.split_once(marker)?;
    let (kind, url) = request.split_once(' ')?;
    let [case, route, _] = url.rsplit_once('#')?.1.split('.').collect::<Vec<_>>()[..] else { return None };
    let observation = observations.get_mut(case.parse::<usize>().ok()?)?;
    if route == "service" {
        observation.service.push(sample(result, headers)?);
        return Some(());
    }
    let endpoint = observation.endpoints.get_mut(route.parse::<usize>().ok()?)?;
    match kind {
        "plain" => endpoint.samples.push(sample(result, headers)?),
        "hello" => endpoint.hello = Some(hello(result, trace)?),
        _ => {}
    }
    Some(())
}

/// Parses the result of a plaintext record, which ends with curl's error message.
fn sample(result: &str, headers: &str) -> Option<Sample> {
    let mut fields = result.trim_start().splitn(8, ' ');
    let sample = parse_sample(&mut fields)?;
    let message = fields.next().map(str::trim_end).filter(|message| !message.is_empty()).map(str::to_owned);
    Some(Sample { message, from_sidecar: is_from_sidecar(headers.trim_start()), ..sample })
}

/// Parses [`SAMPLE_FORMAT`]. `None` also for an empty response on a reused connection, which proves nothing.
pub fn parse_sample<'a>(fields: &mut impl Iterator<Item = &'a str>) -> Option<Sample> {
    let exit = fields.next()?.parse().ok()?;
    let http_status = fields.next()?.parse().ok().filter(|status| *status > 0);
    let connects: u32 = fields.next()?.parse().ok()?;
    let body_bytes = fields.next()?.parse::<u64>().ok()?;
    let bytes = body_bytes + fields.next()?.parse::<u64>().ok()?;
    let connect_seconds: f64 = fields.next()?.parse().ok()?;
    let seconds = fields.next()?.parse().ok()?;
    let connected = connect_seconds > 0.0;
    if bytes == 0 && connected && connects != 1 {
        return None;
    }
    Some(Sample { exit, http_status, bytes, body_bytes, connected, connect_seconds, seconds, ..Sample::default() })
}

/// Parses [`HELLO_FORMAT`].
fn hello(result: &str, trace: &HelloTrace) -> Option<Hello> {
    let variables: Value = serde_json::from_str(result).ok()?;
    Some(Hello {
        exit: variables["exitcode"].as_i64().and_then(|exit| i32::try_from(exit).ok()).unwrap_or(-1),
        certificate_requested: trace.certificate_requested,
        certificate_shown: trace.certificate_shown,
        chain: certificates(variables["certs"].as_str().unwrap_or_default()),
        identity: None,
    })
}

#[cfg(test)]
mod tests;
