//! The tool behind HTTP and SOCKS proxies. The proxies are small servers of this file.

use crate::helpers::{Answer, CliRun, Stage, Stub, command, dead_port, finish};
use secure_traffic::sandbox::State;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A proxy that connects its clients to the servers that they name.
struct Proxy {
    port: u16,
    /// The servers, one for each connection.
    servers: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// `handshake` reads from a client which server it wants, and answers; `None` has refused.
    fn new(handshake: impl Fn(&mut TcpStream) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let servers: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, handshake) = (Arc::clone(&servers), Arc::new(handshake));
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let (seen, handshake) = (Arc::clone(&seen), Arc::clone(&handshake));
                std::thread::spawn(move || {
                    let Some(server) = handshake(&mut client) else { return };
                    seen.lock().unwrap().push(server.clone());
                    join(client, TcpStream::connect(server).unwrap());
                });
            }
        });
        Self { port, servers }
    }

    /// An HTTP proxy; with `authorization` it accepts only requests with that value of `Proxy-Authorization`.
    fn http(authorization: Option<&'static str>) -> Self {
        Self::new(move |client| {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(byte(client)?);
            }
            let head = String::from_utf8(head).unwrap();
            let named = head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
            if authorization.is_some() && named != authorization {
                let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
                return None;
            }
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
            Some(head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned())
        })
    }

    /// A SOCKS 5 proxy that asks for the user `me` with the password `p@ss` and connects to IPv4 addresses.
    fn socks() -> Self {
        Self::new(|client| {
            let [_version, methods] = bytes(client)?;
            for _ in 0..methods {
                byte(client)?;
            }
            client.write_all(&[5, 2]).ok()?;
            byte(client)?;
            let mut text = || {
                let length = byte(client)?;
                (0..length).map(|_| byte(client)).collect::<Option<Vec<u8>>>()
            };
            let login = (text()?, text()?);
            let is_right = login == (b"me".to_vec(), b"p@ss".to_vec());
            client.write_all(&[1, u8::from(!is_right)]).ok()?;
            let [_version, _connect, _reserved, _ipv4, a, b, c, d, high, low] = bytes(client)?;
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
            Some(format!("{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([high, low])))
        })
    }

    fn connections(&self) -> usize {
        self.servers.lock().unwrap().len()
    }
}

fn byte(stream: &mut TcpStream) -> Option<u8> {
    bytes::<1>(stream).map(|[byte]| byte)
}

fn bytes<const N: usize>(stream: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).ok().map(|()| bytes)
}

/// Copies both ways until both sides have ended.
fn join(client: TcpStream, server: TcpStream) {
    let one_way = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    let request = one_way(client.try_clone().unwrap(), server.try_clone().unwrap());
    let _ = one_way(server, client).join();
    let _ = request.join();
}

fn probe(kubeconfig: &Path, variables: &[(&str, &str)]) -> CliRun {
    let mut command = command();
    command.env("KUBECONFIG", kubeconfig).envs(variables.iter().copied());
    finish({
        command.args(["probe", "boards", "--attempts", "1", "-v"]);
        command
    })
}

#[test]
fn requests_logs_and_port_forwards_go_through_the_proxy_of_the_kubeconfig() {
    let stage = Stage::new(State::Strict, &[]);
    // Base64 of `me:p@ss`.
    for (proxy, scheme) in [(Proxy::http(Some("Basic bWU6cEBzcw==")), "http"), (Proxy::socks(), "socks5")] {
        let url = format!("{scheme}://me:p%40ss@127.0.0.1:{}", proxy.port);
        let kubeconfig = stage.edited_kubeconfig(|cluster, _| cluster["proxy-url"] = url.clone().into());
        // `proxy-url` applies whatever NO_PROXY says.
        let run = probe(&kubeconfig, &[("NO_PROXY", "*")]);
        assert_eq!(run.code, Some(0), "{run}");
        assert!(run.stdout.contains("boards:8080") && run.stdout.contains("rejected"), "{run}");
        assert!(run.stderr.contains(&format!("through the proxy {scheme}://127.0.0.1:{}", proxy.port)), "{run}");
        assert!(run.stderr.contains("/portforward") && run.stderr.contains("/log?"), "{run}");
        assert!(!run.all().contains("p@ss") && !run.all().contains("p%40ss"), "{run}");
        let servers = proxy.servers.lock().unwrap().clone();
        assert!(servers.len() > 1, "{servers:?}");
        assert!(servers.iter().all(|server| server.starts_with("127.0.0.1:")), "{servers:?}");
    }
}

#[test]
fn a_proxy_that_refuses_or_is_down_is_named_without_its_password() {
    let stage = Stage::new(State::Permissive, &[]);
    let proxies = [Proxy::http(Some("Basic other")), Proxy::socks()];
    let urls = [
        format!("http://me:sekrit@127.0.0.1:{}", proxies[0].port),
        format!("socks5://me:sekrit@127.0.0.1:{}", proxies[1].port),
        format!("http://me:sekrit@127.0.0.1:{}", dead_port()),
        format!("socks5://me:sekrit@127.0.0.1:{}", dead_port()),
        "ftp://me:sekrit@127.0.0.1:1".to_owned(),
        "http://me:sekrit@127.0.0.1:99999".to_owned(),
    ];
    for url in urls {
        let kubeconfig = stage.edited_kubeconfig(|cluster, _| cluster["proxy-url"] = url.clone().into());
        let run = probe(&kubeconfig, &[]);
        assert_eq!(run.code, Some(4), "{url}: {run}");
        assert!(run.stderr.contains("proxy") && run.stderr.contains("hint: "), "{url}: {run}");
        assert!(!run.all().contains("sekrit"), "{url}: {run}");
    }
    assert_eq!(proxies[0].connections(), 0);
}

#[test]
fn the_proxies_of_the_environment_do_not_apply_to_loopback_and_no_proxy() {
    let stage = Stage::new(State::Permissive, &[]);
    let dead = format!("http://me:sekrit@127.0.0.1:{}", dead_port());
    let variables = [("HTTPS_PROXY", dead.as_str()), ("HTTP_PROXY", dead.as_str())];
    let local = probe(&stage.kubeconfig(), &variables);
    assert_eq!(local.code, Some(0), "{local}");

    let remote = stage.edited_kubeconfig(|cluster, _| cluster["server"] = "https://api.invalid:6443".into());
    let through = probe(&remote, &variables);
    assert_eq!(through.code, Some(4), "{through}");
    assert!(through.stderr.contains("through the proxy http://127.0.0.1:"), "{through}");
    let direct = probe(&remote, &[variables[0], ("NO_PROXY", ".invalid")]);
    assert_eq!(direct.code, Some(4), "{direct}");
    assert!(!direct.stderr.contains("through the proxy"), "{direct}");
    assert!(!through.all().contains("sekrit") && !direct.all().contains("sekrit"), "{through}{direct}");
}

#[test]
fn the_urls_of_the_user_are_requested_through_the_same_choice_of_a_proxy() {
    let stage = Stage::new(State::Permissive, &[]);
    let door = Stub::new(|_, _| Some(Answer::json(200, &serde_json::json!({}))));
    // It answers in place of the server, as an HTTP proxy does for http URLs.
    let proxy = Stub::new(|_, _| Some(Answer::json(200, &serde_json::json!({}))));
    let enable = |url: &str, proxy: &str, no_proxy: &str| {
        let mut command = stage.command();
        command.env("HTTP_PROXY", proxy).env("NO_PROXY", no_proxy);
        command.args(["enable-mtls", "--yes", "--verify=false", "--check-url", url]);
        finish(command)
    };
    let dead = format!("http://me:sekrit@127.0.0.1:{}", dead_port());
    for (url, proxy, no_proxy, code) in [
        (door.url.as_str(), dead.as_str(), "", 0),
        ("http://shop.invalid/page", proxy.url.as_str(), "", 0),
        ("http://shop.invalid/page", dead.as_str(), "", 1),
        ("http://shop.invalid/page", proxy.url.as_str(), ".invalid", 1),
    ] {
        let run = enable(url, proxy, no_proxy);
        assert_eq!(run.code, Some(code), "{url} {no_proxy}: {run}");
        assert!(!run.all().contains("sekrit"), "{run}");
        assert_eq!(stage.run("disable-mtls --restore --yes --verify=false").code, Some(0));
    }
    assert!(proxy.seen.lock().unwrap().iter().all(|line| line == "GET http://shop.invalid/page"));
    assert!(door.requests() > 0 && proxy.requests() > 0);

    let prometheus = |url: &str, variable: &str| {
        let mut command = stage.command();
        command.env("HTTP_PROXY", variable).args(["status", "--prometheus", url]);
        finish(command)
    };
    let asked = proxy.requests();
    for (url, variable) in [(door.url.as_str(), dead.as_str()), ("http://prometheus.invalid", proxy.url.as_str())] {
        // The stubs are no Prometheus, but they are reached.
        let run = prometheus(url, variable);
        assert_eq!(run.code, Some(4), "{run}");
        assert!(run.stderr.contains("and not as a Prometheus does"), "{run}");
    }
    assert!(proxy.requests() > asked);
}
