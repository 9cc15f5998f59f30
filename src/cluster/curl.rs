//! What curl is asked to do in a probe pod, and what its output says.
//!
//! One curl does all requests of a run, each a section of its own after `--next`. Every request ends with a record that
//! carries a random marker, so that no body and no header can forge it. What curl traces (`-v` holds for all sections)
//! goes to stdout too: there it is buffered, and in the order of the requests. To a stderr curl writes byte by byte: of
//! the fourteen seconds that 200 targets once took, such writes were twelve. All flags exist in curl 7.88.

use crate::domain::identity::certificates;
use crate::domain::mesh::socket_address;
use crate::domain::probe::{Case, EndpointObservation, Hello, Observation, Sample};
use serde_json::Value;

/// How a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Plaintext samples for each way in.
    pub attempts: usize,
    /// Seconds for a TCP connection.
    pub connect_timeout: u32,
    /// Seconds for a whole request.
    pub max_time: u32,
}

impl Default for Manner {
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

/// Whether a sidecar answered by itself, by what [`WHO_ANSWERED`] came to.
pub fn is_from_sidecar(who: &str) -> bool {
    let headers = who.strip_prefix('<').and_then(|rest| rest.split_once("> <"));
    headers.is_some_and(|(upstream_time, server)| {
        upstream_time.is_empty() && matches!(server.to_ascii_lowercase().as_str(), "istio-envoy>" | "envoy>")
    })
}

/// Arguments that ask every case. The body of an explicit path is kept for the last such case only: a pod has one
/// termination message.
pub fn arguments(cases: &[Case], manner: Manner, marker: &str) -> Vec<String> {
    let body_of = cases.iter().rposition(|case| case.explicit_path);
    let mut sections: Vec<Vec<String>> = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        for (number, endpoint) in case.endpoints.iter().enumerate() {
            let way = format!("::{}", socket_address(&endpoint.address, endpoint.port));
            let mut plain = section(marker, &format!("{index}.{number}.plain"), manner);
            plain.extend(["-o", "/dev/null", "--connect-to", &way].map(str::to_owned));
            plain.push(url("http", case, manner.attempts));
            sections.push(plain);
            // Anywhere else a hello proves nothing, and would hang at ports that echo.
            if !endpoint.may_be_rejected() {
                continue;
            }
            let hello = Manner { connect_timeout: HELLO_SECONDS, max_time: HELLO_SECONDS, ..manner };
            let mut hello = section(marker, &format!("{index}.{number}.hello"), hello);
            hello.extend(["-k", "--http1.1", "--no-alpn", "-o", "/dev/null", "--connect-to", &way].map(str::to_owned));
            hello.push(url("https", case, 1));
            sections.push(hello);
        }
        let with_body = body_of == Some(index);
        let plain_attempts = manner.attempts - usize::from(with_body);
        if plain_attempts > 0 {
            let mut service = section(marker, &format!("{index}.service.plain"), manner);
            service.extend(["-o", "/dev/null"].map(str::to_owned));
            service.push(url("http", case, plain_attempts));
            sections.push(service);
        }
        if with_body {
            let mut body = section(marker, &format!("{index}.service.plain"), manner);
            // The rate keeps a large body from filling the node's disk before --max-time ends it.
            body.extend(["-o", TERMINATION_LOG, "--limit-rate", "16K"].map(str::to_owned));
            body.push(url("http", case, 1));
            sections.push(body);
        }
    }
    sections.join(&"--next".to_owned())
}

/// Lines with the marker that a complete log holds: a record for each request.
pub fn records(cases: &[Case], manner: Manner) -> usize {
    let endpoints = cases.iter().flat_map(|case| &case.endpoints);
    let of_endpoints: usize = endpoints.map(|endpoint| manner.attempts + usize::from(endpoint.may_be_rejected())).sum();
    of_endpoints + cases.len() * manner.attempts
}

/// The options that every section repeats, because `--next` forgets them.
fn section(marker: &str, id: &str, manner: Manner) -> Vec<String> {
    let (connect, total) = (manner.connect_timeout.to_string(), manner.max_time.to_string());
    let record = format!("\\n{marker} {id} %{{json}} {WHO_ANSWERED}\\n");
    ["-q", "-v", "-sS", "--stderr", "-", "--noproxy", "*", "-A", USER_AGENT, "-H", "Connection: close"]
        .into_iter()
        .chain(["--connect-timeout", &connect, "--max-time", &total, "-w", &record])
        .map(str::to_owned)
        .collect()
}

/// The URL of a case; a glob in the fragment, which is never sent, repeats the request.
fn url(scheme: &str, case: &Case, times: usize) -> String {
    let path: String = case
        .path
        .chars()
        .flat_map(|c| matches!(c, '[' | ']' | '{' | '}' | '\\').then_some('\\').into_iter().chain([c]))
        .collect();
    let repeat = if times > 1 { format!("#[1-{times}]") } else { String::new() };
    format!("{scheme}://{}:{}{path}{repeat}", case.host, case.port)
}

/// Seconds that the requests can take at worst.
pub fn worst_case_seconds(cases: &[Case], manner: Manner) -> u64 {
    let ways: usize = cases.iter().map(|case| case.endpoints.len() + 1).sum();
    let each = manner.attempts as u64 * u64::from(manner.max_time) + u64::from(HELLO_SECONDS);
    ways as u64 * each
}

/// Reads the log of a probe pod: each request's trace, and then its record. Lines that are neither are left alone.
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
                let Some((id, record)) = rest.split_once(' ') else { continue };
                if let Some(record) = Record::read(record) {
                    place(&mut observations, id, &record, &trace);
                }
            }
        }
    }
    observations
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

/// One record: what curl knows of a request, and whether a sidecar answered by itself.
struct Record {
    known: Value,
    from_sidecar: bool,
}

impl Record {
    /// Reads what stands behind the id.
    fn read(text: &str) -> Option<Self> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let known = values.next()?.ok()?;
        let who = text.get(values.byte_offset()..)?.trim_start();
        Some(Self { known, from_sidecar: is_from_sidecar(who) })
    }
}

/// Puts one record where its id says. A record of an unknown id is not ours and is dropped.
fn place(observations: &mut [Observation], id: &str, record: &Record, trace: &Trace) {
    let mut parts = id.split('.');
    let (Some(case), Some(way), Some(kind), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let Some(observation) = case.parse::<usize>().ok().and_then(|index| observations.get_mut(index)) else { return };
    if way == "service" {
        observation.service.extend(sample(record));
        return;
    }
    let Some(endpoint) = way.parse::<usize>().ok().and_then(|index| observation.endpoints.get_mut(index)) else {
        return;
    };
    match kind {
        "plain" => endpoint.samples.extend(sample(record)),
        "hello" => endpoint.hello = Some(hello(&record.known, trace)),
        _ => {}
    }
}

fn integer(record: &Value, field: &str) -> i64 {
    record[field].as_i64().unwrap_or_default()
}

/// A plaintext record; `None` for a reset on a connection that was not fresh, which proves nothing.
fn sample(Record { known: record, from_sidecar }: &Record) -> Option<Sample> {
    let exit = i32::try_from(integer(record, "exitcode")).unwrap_or(-1);
    let bytes = integer(record, "size_download") + integer(record, "size_header");
    let connect_seconds = record["time_connect"].as_f64().unwrap_or_default();
    let connected = connect_seconds > 0.0;
    if bytes == 0 && connected && integer(record, "num_connects") != 1 {
        return None;
    }
    Some(Sample {
        exit,
        message: record["errormsg"].as_str().map(str::to_owned),
        http_status: u16::try_from(integer(record, "http_code")).ok().filter(|status| *status > 0),
        bytes: bytes.try_into().unwrap_or_default(),
        connected,
        from_sidecar: *from_sidecar,
        connect_seconds,
        seconds: record["time_total"].as_f64().unwrap_or_default(),
    })
}

fn hello(record: &Value, trace: &Trace) -> Hello {
    Hello {
        exit: i32::try_from(integer(record, "exitcode")).unwrap_or(-1),
        certificate_requested: trace.certificate_requested,
        chain: certificates(record["certs"].as_str().unwrap_or_default()),
        identity: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESET: &str = r#"{"certs":"","errormsg":"Recv failure: Connection reset by peer","exitcode":56,"http_code":0,"num_connects":1,"size_download":0,"size_header":0,"time_connect":0.0005,"time_total":0.0007}"#;
    const ANSWER: &str = r#"{"certs":"","errormsg":null,"exitcode":0,"http_code":503,"num_connects":1,"size_download":9,"size_header":100,"time_connect":0.0005,"time_total":0.0007}"#;

    fn case() -> Case {
        Case {
            service: "boards".into(),
            namespace: "demo".into(),
            port: 8080,
            port_name: "http".into(),
            path: "/shareditems".into(),
            explicit_path: true,
            host: "boards.demo.svc.cluster.local".into(),
            endpoints: vec![crate::domain::probe::EndpointCase {
                address: "10.0.0.1".into(),
                port: 8080,
                pod: Some("boards-1".into()),
                data_plane: crate::domain::mesh::DataPlane::Sidecar,
                captured: true,
                mode: crate::domain::effective::Effective { mode: None, chain: Vec::new() },
                identity: None,
            }],
            unready: Vec::new(),
        }
    }

    #[test]
    fn records_go_where_their_ids_say() {
        let log = format!(
            "M 0.0.plain {RESET}\nM 0.service.plain {RESET}\nM 7.0.plain {RESET}\nM 0.9.plain {RESET}\nM x {RESET}\n"
        );
        let seen = parse(&[case()], &log, "M");
        assert_eq!((seen[0].endpoints[0].samples.len(), seen[0].service.len()), (1, 1));
        assert_eq!(seen[0].service[0].exit, 56);
    }

    #[test]
    fn a_body_that_imitates_records_changes_nothing() {
        let log = format!("other 0.0.plain {RESET}\n MARK 0.0.plain {RESET}\n< MARK 0.0.plain {RESET}\n");
        assert!(parse(&[case()], &log, "MARK")[0].endpoints[0].samples.is_empty());
    }

    #[test]
    fn a_trace_belongs_to_its_own_request_alone() {
        let requested = "* TLSv1.3 (IN), TLS handshake, Request CERT (13):\n";
        for (log, expected) in [
            (format!("{requested}M 0.0.hello {RESET} <> <>\n"), true),
            (format!("{requested}M 0.0.plain {RESET} <> <>\nM 0.0.hello {RESET} <> <>\n"), false),
            (format!("M 0.0.hello {RESET} <> <>\n{requested}"), false),
            (format!("> {requested}M 0.0.hello {RESET} <> <>\n"), false),
        ] {
            let seen = parse(&[case()], &log, "M");
            let hello = seen[0].endpoints[0].hello.as_ref().unwrap();
            assert_eq!(hello.certificate_requested, expected, "{log}");
        }
    }

    #[test]
    fn a_sidecars_own_answer_has_its_name_and_no_time_of_an_application() {
        for (headers, expected) in [
            (" <> <istio-envoy>", true),
            (" <> <envoy>", true),
            (" <3> <istio-envoy>", false),
            (" <> <nginx>", false),
            (" <> <>", false),
            (" <> <istio-envoy> <x>", false),
            ("", false),
        ] {
            let seen = parse(&[case()], &format!("M 0.0.plain {ANSWER}{headers}\n"), "M");
            let sidecar: Vec<bool> = seen[0].endpoints[0].samples.iter().map(|sample| sample.from_sidecar).collect();
            assert_eq!(sidecar, [expected], "{headers:?}");
        }
    }

    #[test]
    fn a_reset_on_a_reused_connection_is_discarded() {
        let reused = RESET.replace("\"num_connects\":1", "\"num_connects\":0");
        assert!(parse(&[case()], &format!("M 0.0.plain {reused}\n"), "M")[0].endpoints[0].samples.is_empty());
    }

    #[test]
    fn arguments_ask_each_way_and_keep_the_body_for_the_last() {
        let arguments = arguments(&[case()], Manner::default(), "M");
        let urls: Vec<&String> = arguments.iter().filter(|argument| argument.contains("://")).collect();
        assert_eq!(
            urls,
            [
                "http://boards.demo.svc.cluster.local:8080/shareditems#[1-3]",
                "https://boards.demo.svc.cluster.local:8080/shareditems",
                "http://boards.demo.svc.cluster.local:8080/shareditems#[1-2]",
                "http://boards.demo.svc.cluster.local:8080/shareditems",
            ]
        );
        assert_eq!(arguments.iter().filter(|argument| *argument == TERMINATION_LOG).count(), 1);
    }

    #[test]
    fn a_path_with_glob_characters_is_sent_as_it_is() {
        let case = Case { path: "/a[1]{b}".into(), ..case() };
        assert!(url("http", &case, 1).ends_with("/a\\[1\\]\\{b\\}"));
    }
}
