//! Arguments for curl, and records as curl writes them.

use super::*;
use crate::domain::mesh::MtlsMode;
use crate::domain::testing::case_with_path;

const RESET: &str = "56 000 1 0 0 0.000500 0.000700 Recv failure: Connection reset by peer MARK <> <>";
const ANSWER: &str = "0 503 1 9 100 0.000500 0.000700  MARK";
const HELLO_RESULT: &str = r#"{"certs":"","errormsg":null,"exitcode":55,"http_code":0} MARK <> <>"#;

#[test]
fn records_go_where_their_ids_say() {
    let log = ["0.0", "0.service", "7.0", "0.9", "x", "0.0.0"]
        .map(|id| format!("MARK plain http://x/#{id}.1 MARK {RESET}\n"))
        .concat();
    let seen = parse(&[case_with_path()], &log, "MARK");
    assert_eq!((seen[0].endpoints[0].samples.len(), seen[0].service.len()), (1, 1));
}

#[test]
fn a_record_tells_all_that_curl_knows() {
    let log = format!(
        "MARK plain http://x/#0.service.1 MARK {RESET}\nMARK plain http://x/#0.service.1 MARK {ANSWER} <> <>\n"
    );
    let reset = Sample {
        exit: 56,
        message: Some("Recv failure: Connection reset by peer".to_owned()),
        connected: true,
        connect_seconds: 0.0005,
        seconds: 0.0007,
        ..Sample::default()
    };
    let answer = Sample { exit: 0, message: None, http_status: Some(503), bytes: 109, body_bytes: 9, ..reset.clone() };
    assert_eq!(parse(&[case_with_path()], &log, "MARK")[0].service, [reset, answer]);
}

#[test]
fn a_record_cut_short_is_none() {
    let log = format!("MARK plain http://x/#0.service.1 MARK {RESET}");
    for end in 0..log.rfind("MARK").unwrap() {
        assert!(parse(&[case_with_path()], &log[..end], "MARK")[0].service.is_empty(), "{}", &log[..end]);
    }
}

#[test]
fn a_body_that_imitates_records_changes_nothing() {
    let log = format!(
        "other plain http://x/#0.0.1 MARK {RESET}\n MARK plain http://x/#0.0.1 MARK {RESET}\n< MARK plain http://x/#0.0.1 MARK {RESET}\n"
    );
    assert!(parse(&[case_with_path()], &log, "MARK")[0].endpoints[0].samples.is_empty());
}

#[test]
fn a_trace_belongs_to_its_own_request_alone() {
    let requested = "* TLSv1.3 (IN), TLS handshake, Request CERT (13):\n";
    for (log, expected) in [
        (format!("{requested}MARK hello https://x/#0.0.1 MARK {HELLO_RESULT}\n"), true),
        (
            format!(
                "{requested}MARK plain http://x/#0.0.1 MARK {RESET}\nMARK hello https://x/#0.0.1 MARK {HELLO_RESULT}\n"
            ),
            false,
        ),
        (format!("MARK hello https://x/#0.0.1 MARK {HELLO_RESULT}\n{requested}"), false),
        (format!("> {requested}MARK hello https://x/#0.0.1 MARK {HELLO_RESULT}\n"), false),
    ] {
        let seen = parse(&[case_with_path()], &log, "MARK");
        let hello = seen[0].endpoints[0].hello.as_ref().unwrap();
        assert_eq!((hello.exit, hello.certificate_requested), (55, expected), "{log}");
    }
}

#[test]
fn a_certificate_is_seen_in_the_trace_of_either_version() {
    for (version, expected) in [("TLSv1.2 (IN)", true), ("TLSv1.3 (IN)", true), ("TLSv1.3 (OUT)", false)] {
        let trace = format!("* {version}, TLS handshake, Certificate (11):\n");
        let seen =
            parse(&[case_with_path()], &format!("{trace}MARK hello https://x/#0.0.1 MARK {HELLO_RESULT}\n"), "MARK");
        assert_eq!(seen[0].endpoints[0].hello.as_ref().unwrap().certificate_shown, expected, "{version}");
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
        let seen = parse(&[case_with_path()], &format!("MARK plain http://x/#0.0.1 MARK {ANSWER}{headers}\n"), "MARK");
        let sidecar: Vec<bool> = seen[0].endpoints[0].samples.iter().map(|sample| sample.from_sidecar).collect();
        assert_eq!(sidecar, [expected], "{headers:?}");
    }
}

#[test]
fn where_no_sidecar_is_there_none_has_answered() {
    let log = format!(
        "MARK plain http://x/#0.0.1 MARK {ANSWER} <> <envoy>\nMARK plain http://x/#0.service.1 MARK {ANSWER} <> <envoy>\n"
    );
    let from_sidecar = |case: Case| {
        let seen = parse(&[case], &log, "MARK").remove(0);
        let endpoints = seen.endpoints.into_iter().flat_map(|endpoint| endpoint.samples);
        endpoints.chain(seen.service).map(|sample| sample.from_sidecar).collect::<Vec<_>>()
    };
    let mut bare = case_with_path();
    bare.endpoints[0].data_plane = DataPlane::None;
    assert_eq!(from_sidecar(bare.clone()), [false, false]);
    assert_eq!(from_sidecar(case_with_path()), [true, true]);
    bare.endpoints.extend(case_with_path().endpoints);
    assert_eq!(from_sidecar(bare), [false, true], "the Service may have led to the other");
    assert_eq!(from_sidecar(Case { endpoints: Vec::new(), ..case_with_path() }), [true], "of a client in the mesh");
}

#[test]
fn a_reset_on_a_reused_connection_is_discarded() {
    let reused = RESET.replacen(" 1 ", " 0 ", 1);
    assert!(
        parse(&[case_with_path()], &format!("MARK plain http://x/#0.0.1 MARK {reused}\n"), "MARK")[0].endpoints[0]
            .samples
            .is_empty()
    );
}

fn urls(cases: &[Case], limits: CurlLimits) -> Vec<String> {
    all(cases, limits).into_iter().filter(|argument| argument.contains("://")).collect()
}

fn all(cases: &[Case], limits: CurlLimits) -> Vec<String> {
    curls(cases, limits, MeshMembership::Outside, "M").into_iter().flat_map(|curl| curl.arguments).collect()
}

#[test]
fn arguments_ask_each_way_and_keep_the_body_for_the_last() {
    assert_eq!(
        urls(&[case_with_path()], CurlLimits::default()),
        [
            "http://boards.demo.svc.cluster.local:8080/shareditems#0.0.[1-3]",
            "http://boards.demo.svc.cluster.local:8080/shareditems#0.service.[1-2]",
            "http://boards.demo.svc.cluster.local:8080/shareditems#0.service.[1-1]",
            "https://boards.demo.svc.cluster.local:8080/shareditems#0.0.[1-1]",
        ]
    );
    let body = |arguments: &[String]| arguments.iter().filter(|argument| *argument == TERMINATION_LOG).count();
    assert_eq!(body(&all(&[case_with_path()], CurlLimits::default())), 1);
    let once = CurlLimits { attempts: 1, ..CurlLimits::default() };
    assert_eq!(urls(&[case_with_path()], once).len(), 3, "the body is the only sample");
}

#[test]
fn many_cases_share_a_section() {
    let mut two = case_with_path();
    two.endpoints.push(EndpointCase { address: "fd00::2".into(), ..two.endpoints[0].clone() });
    let other = Case { host: "web.demo.svc".into(), explicit_path: false, path: "/".into(), ..case_with_path() };
    let cases = [two, other];
    assert_eq!(
        urls(&cases, CurlLimits::default()),
        [
            "http://{boards.demo.svc.cluster.local:8080/shareditems#0.0.,web.demo.svc:8080/#1.0.}[1-3]",
            "http://boards.demo.svc.cluster.local:8080/shareditems#0.1.[1-3]",
            "http://web.demo.svc:8080/#1.service.[1-3]",
            "http://boards.demo.svc.cluster.local:8080/shareditems#0.service.[1-2]",
            "http://boards.demo.svc.cluster.local:8080/shareditems#0.service.[1-1]",
            "https://{boards.demo.svc.cluster.local:8080/shareditems#0.0.,web.demo.svc:8080/#1.0.}[1-1]",
            "https://boards.demo.svc.cluster.local:8080/shareditems#0.1.[1-1]",
        ]
    );
    let arguments = all(&cases, CurlLimits::default());
    let routes: Vec<&str> =
        arguments.windows(2).filter(|pair| pair[0] == "--connect-to").map(|pair| pair[1].as_str()).collect();
    let (first, other) = ("boards.demo.svc.cluster.local:8080:10.0.0.1:8080", "web.demo.svc:8080:10.0.0.1:8080");
    let second = "boards.demo.svc.cluster.local:8080:[fd00::2]:8080";
    assert_eq!(routes, [first, other, second, first, other, second]);
}

#[test]
fn many_hellos_have_a_curl_of_their_own_and_only_that_is_traced() {
    let shape = |count: usize, mode: Option<MtlsMode>| -> Vec<(&str, bool, usize)> {
        let mut case = case_with_path();
        case.endpoints[0].mode.mode = mode;
        let curls = curls(&vec![case; count], CurlLimits::default(), MeshMembership::Outside, "M");
        let is_traced = |curl: &Curl| curl.arguments.iter().any(|argument| argument == "-v");
        curls.iter().map(|curl| (curl.container, is_traced(curl), curl.records)).collect()
    };
    assert_eq!(shape(1, None), [("probe", true, 7)]);
    assert_eq!(shape(20, Some(MtlsMode::Strict)), [("probe", true, 140)]);
    assert_eq!(shape(21, Some(MtlsMode::Strict)), [("probe", false, 126), ("hello", true, 21)]);
    assert_eq!(shape(21, Some(MtlsMode::Permissive)), [("probe", false, 126)], "no hello is evidence there");
}

#[test]
fn a_set_holds_no_more_than_an_argument_can() {
    let long = Case { path: format!("/{}", "a".repeat(2000)), ..case_with_path() };
    let cases = vec![long; 50];
    let urls = urls(&cases, CurlLimits::default());
    assert!(urls.iter().all(|url| url.len() < 64 * 1024));
    assert_eq!(urls.iter().map(|url| url.matches("8080/").count()).sum::<usize>(), 50 * 3 + 1);
    let many = urls_of(250);
    assert_eq!(
        many.iter().map(|url| url.matches("8080/").count()).collect::<Vec<_>>(),
        [100, 100, 50, 100, 100, 50, 100, 100, 50]
    );
}

fn urls_of(count: usize) -> Vec<String> {
    urls(&vec![Case { explicit_path: false, ..case_with_path() }; count], CurlLimits::default())
}

#[test]
fn a_path_with_glob_characters_is_sent_as_it_is() {
    let case = Case { path: "/a[1],{b}#c".into(), explicit_path: false, ..case_with_path() };
    let urls = urls(&[case], CurlLimits::default());
    assert!(urls[0].ends_with("/a\\[1\\]\\,\\{b\\}#c#0.0.[1-3]"), "{}", urls[0]);
}
