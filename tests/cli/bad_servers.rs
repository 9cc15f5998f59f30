use crate::helpers::{Answer, Stub, dead_port, run, run_with, shows};
use serde_json::json;
use std::time::{Duration, Instant};

const SECRET: &str = "sekrit-0123456789";

fn probe(stub: &Stub) -> crate::helpers::CliRun {
    run(&format!("probe boards --server {}", stub.url))
}

#[test]
fn a_silent_server_ends_in_a_timeout() {
    let stub = Stub::new(|_, _| None);
    let begin = Instant::now();
    shows!(run(&format!("probe boards --request-timeout 1s --server {}", stub.url)), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: no answer within the request's deadline
    hint: the API server is slow or stalls: raise --request-timeout, or check the way to it
    "#);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn refusals_quote_the_server() {
    shows!(probe(&Stub::new(|_, _| Some(Answer::status(401, "Unauthorized", "Unauthorized")))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: Unauthorized: Unauthorized
    hint: the credentials were refused: log in again (oc login, or refresh your kubeconfig)
    "#);
    shows!(probe(&Stub::new(|_, _| Some(Answer::status(403, "Forbidden", "forbidden: User \"system:anonymous\" cannot get path \"/apis\"")))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: Forbidden: forbidden: User "system:anonymous" cannot get path "/apis"
    hint: this account may not even discover the API: an administrator can bind it to the clusterrole system:discovery
    "#);
    shows!(probe(&Stub::new(|_, _| Some(Answer::status(500, "InternalError", "Internal error occurred: etcdserver: leader changed")))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: InternalError: Internal error occurred: etcdserver: leader changed
    "#);
}

#[test]
fn a_url_without_an_api_server_is_an_error() {
    let html = "<!DOCTYPE html><html><body><h1>Sign in to the proxy</h1></body></html>";
    let page = |status| move |_: &str, _| Some(Answer { status, kind: "text/html", body: html.to_owned() });
    shows!(probe(&Stub::new(page(200))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: its answer is not JSON
    hint: check the address: a login page or a proxy may have answered in place of the API server
    "#);
    shows!(probe(&Stub::new(page(502))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: Failed to parse error data: <!DOCTYPE html><html><body><h1>Sign in to the proxy</h1></body></html>
    "#);
    shows!(probe(&Stub::new(|_, _| Some(Answer { status: 200, kind: "application/json", body: "\u{0}garbage".to_owned() }))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: its answer is not JSON
    hint: check the address: a login page or a proxy may have answered in place of the API server
    "#);
    shows!(probe(&Stub::new(|_, _| Some(Answer::json(200, &json!({"kind": "Wrong"}))))), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: invalid value: string "Wrong", expected APIGroupList at line 1 column 16
    hint: check that the API server of this context is up (`kubectl cluster-info`); --context chooses another, and --sandbox needs none
    "#);
}

#[test]
fn a_server_that_speaks_no_http() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    for scheme in ["http", "https"] {
        let run = run(&format!("probe boards --server {scheme}://{address}"));
        assert_eq!((run.code, run.stdout.as_str()), (Some(4), ""), "{run}");
        assert!(run.stderr.contains("hint: ") && !run.stderr.contains("panic"), "{run}");
        assert_eq!(run.stderr.contains("it does not speak TLS"), scheme == "https", "{run}");
    }
}

#[test]
fn a_cluster_without_a_mesh() {
    shows!(probe(&Stub::new(|_, _| Some(Answer::json(200, &json!({"kind": "APIGroupList", "groups": []}))))), @r#"
    exit 4
    --- stderr
    error: no Istio found on http://127.0.0.1:[port]: it serves neither PeerAuthentication (security.istio.io) nor the legacy Policy (authentication.istio.io) with DestinationRule (networking.istio.io)
    hint: check the context (`kubectl config current-context`), or install Istio; --sandbox needs no cluster
    "#);
}

#[test]
fn a_throttled_request_is_repeated() {
    let stub = Stub::new(|_, before| {
        Some(match before {
            0 | 1 => Answer::status(429, "TooManyRequests", "Too many requests, please try again later."),
            _ => Answer::json(200, &json!({"kind": "APIGroupList", "groups": []})),
        })
    });
    let run = probe(&stub);
    assert!(run.stderr.contains("no Istio found"), "{run}");
    // The third was answered as an older server does, which is asked once more in the older way.
    assert_eq!(stub.requests(), 4);
    let begin = Instant::now();
    let stub = Stub::new(|_, _| Some(Answer::status(429, "TooManyRequests", "Too many requests")));
    shows!(probe(&stub), @r#"
    exit 4
    --- stderr
    error: could not ask the API server at http://127.0.0.1:[port]: TooManyRequests: Too many requests
    hint: the API server is busy or not ready: try again in a moment
    "#);
    assert!(stub.requests() < 10 && begin.elapsed() < Duration::from_secs(10), "{}", stub.requests());
}

/// Every way to fail, with a token on the command line: it is shown by none.
#[test]
fn a_token_is_never_shown() {
    let servers = [
        Stub::new(|_, _| Some(Answer::status(401, "Unauthorized", "Unauthorized"))),
        Stub::new(|_, _| Some(Answer::status(403, "Forbidden", "forbidden"))),
        Stub::new(|_, _| Some(Answer { status: 200, kind: "text/html", body: "<html>".to_owned() })),
        Stub::new(|_, _| Some(Answer::json(200, &json!({"kind": "APIGroupList", "groups": []})))),
    ];
    let dead = format!("http://127.0.0.1:{}", dead_port());
    let urls = servers.iter().map(|stub| stub.url.as_str()).chain([dead.as_str(), "https://127.0.0.1:1"]);
    for url in urls {
        for verbose in ["-q", "-v", "-vvv"] {
            let run = run_with(["probe", "boards", "--server", url, "--token", SECRET, verbose]);
            assert_eq!(run.code, Some(4), "{run}");
            assert!(!run.all().contains(SECRET), "{run}");
        }
    }
    let no_url = run_with(["probe", "boards", "--server", "no url", "--token", SECRET, "-v"]);
    assert!(no_url.code == Some(2) && !no_url.all().contains(SECRET), "{no_url}");
    for broken in [format!("{SECRET}\n"), format!("{SECRET}\u{1b}[31m"), format!("{SECRET} ü")] {
        let run = run_with(["probe", "boards", "--server", &dead, "--token", &broken, "-v"]);
        assert_eq!(run.code, Some(4), "{run}");
        assert!(!run.all().contains(SECRET), "{run}");
    }
    let with = run(&format!("probe --sandbox boards --attempts 1 --token {SECRET} -v -o json"));
    assert!(with.code == Some(0) && !with.all().contains(SECRET), "{with}");
    // A mistake on the command line repeats the command line at most without the value.
    let usage = run(&format!("probe --token {SECRET} --no-such-flag"));
    assert!(usage.code == Some(2) && !usage.all().contains(SECRET), "{usage}");
}
