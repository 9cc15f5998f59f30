//! Serves a generated namespace as an API server would, page by page over plain HTTP, for `benches/status.sh`: so many
//! Services with two pods each. Pods are as large as a real injected one, field managers and all.
//!
//! ```sh
//! cargo run --release --example large_namespace -- 5000
//! ```
//! It prints its address and serves until it is ended.

#![expect(clippy::print_stdout, reason = "its address is its result")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

const POD: &str = include_str!("../benches/large/pod.json");
const SLICE: &str = include_str!("../benches/large/slice.json");
const SERVICE: &str = include_str!("../benches/large/service.json");
const NAMESPACE: &str = "large";

/// What is served, by path: the objects of a list, or one document.
#[derive(Default)]
struct Served {
    lists: HashMap<String, Vec<String>>,
    documents: HashMap<String, String>,
}

impl Served {
    fn new(services: usize) -> Self {
        let mut served = Self::default();
        served.discovery();
        let (mut service_list, mut slices, mut pods, mut rules) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for number in 0..services {
            let service = format!("service-{number:05}");
            let fill = |text: &str, pod: &str, address: &str| {
                let text = text.replace("SERVICE", &service).replace("NAMESPACE", NAMESPACE);
                text.replace("POD", pod).replace("ADDRESS", address)
            };
            let mut endpoints = Vec::new();
            for replica in 0..2 {
                let index = number * 2 + replica;
                let name = format!("{service}-abc123-{replica}");
                let address = format!("10.{}.{}.{}", 128 + index / 65536, index / 256 % 256, index % 256);
                pods.push(fill(POD, &name, &address));
                endpoints.push((name, address));
            }
            service_list.push(fill(SERVICE, "", ""));
            let mut slice: serde_json::Value = serde_json::from_str(&fill(SLICE, "", "")).expect("JSON");
            let template = slice["endpoints"][0].clone();
            let endpoint = |(name, address): (String, String)| {
                let mut endpoint = template.clone();
                endpoint["addresses"] = serde_json::json!([address]);
                endpoint["targetRef"]["name"] = name.into();
                endpoint
            };
            slice["endpoints"] = endpoints.into_iter().map(endpoint).collect();
            slices.push(slice.to_string());
            // Every tenth Service has a rule of its own, and one of them sends plaintext.
            if number % 10 == 0 {
                let mode = if number == 10 { "DISABLE" } else { "ISTIO_MUTUAL" };
                rules.push(format!(
                    r#"{{"metadata":{{"name":"{service}","namespace":"{NAMESPACE}"}},"spec":{{"host":"{service}","trafficPolicy":{{"tls":{{"mode":"{mode}"}}}}}}}}"#
                ));
            }
        }
        let policy = format!(
            r#"{{"metadata":{{"name":"default","namespace":"{NAMESPACE}"}},"spec":{{"mtls":{{"mode":"STRICT"}}}}}}"#
        );
        let own = |group: &str, plural: &str| format!("{group}/namespaces/{NAMESPACE}/{plural}");
        let networking = "/apis/networking.istio.io/v1";
        served.lists.insert(own("/api/v1", "services"), service_list);
        served.lists.insert(own("/apis/discovery.k8s.io/v1", "endpointslices"), slices);
        served.lists.insert(own("/api/v1", "pods"), pods);
        served.lists.insert(own("/apis/security.istio.io/v1", "peerauthentications"), vec![policy]);
        served
            .lists
            .insert("/apis/security.istio.io/v1/namespaces/istio-system/peerauthentications".to_owned(), Vec::new());
        served.lists.insert(format!("{networking}/destinationrules"), rules.clone());
        served.lists.insert(own(networking, "destinationrules"), rules);
        served
    }

    fn discovery(&mut self) {
        let mut groups = Vec::new();
        for (group, plural, kind) in [
            ("security.istio.io", "peerauthentications", "PeerAuthentication"),
            ("networking.istio.io", "destinationrules", "DestinationRule"),
        ] {
            let version = format!(r#"{{"groupVersion":"{group}/v1","version":"v1"}}"#);
            groups.push(format!(r#"{{"name":"{group}","versions":[{version}],"preferredVersion":{version}}}"#));
            let resource = format!(
                r#"{{"name":"{plural}","singularName":"","namespaced":true,"kind":"{kind}","verbs":["get","list"]}}"#
            );
            let list = format!(
                r#"{{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"{group}/v1","resources":[{resource}]}}"#
            );
            self.documents.insert(format!("/apis/{group}/v1"), list);
        }
        let list = format!(r#"{{"kind":"APIGroupList","apiVersion":"v1","groups":[{}]}}"#, groups.join(","));
        self.documents.insert("/apis".to_owned(), list);
        let namespace = format!(r#"{{"metadata":{{"name":"{NAMESPACE}","labels":{{"istio-injection":"enabled"}}}}}}"#);
        self.documents.insert(format!("/api/v1/namespaces/{NAMESPACE}"), namespace);
    }

    /// Status and body of an answer.
    fn answer(&self, target: &str) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if let Some(document) = self.documents.get(path) {
            return (200, document.clone());
        }
        let Some(objects) = self.lists.get(path) else {
            return (404, r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#.to_owned());
        };
        let number = |key: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse::<usize>().ok())
        };
        let start = number("continue").unwrap_or(0).min(objects.len());
        let end = (start + number("limit").unwrap_or(objects.len())).min(objects.len());
        let more = if end < objects.len() { format!(r#""continue":"{end}""#) } else { String::new() };
        (200, format!(r#"{{"kind":"List","metadata":{{{more}}},"items":[{}]}}"#, objects[start..end].join(",")))
    }
}

fn serve(stream: TcpStream, served: &Served) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut target = String::new();
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 && line.trim_end() != "" {
            if target.is_empty() {
                line.split(' ').nth(1).unwrap_or_default().clone_into(&mut target);
            }
            line.clear();
        }
        if target.is_empty() {
            return Ok(());
        }
        let (status, body) = served.answer(&target);
        write!(
            writer,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        writer.write_all(body.as_bytes())?;
    }
}

fn main() -> std::io::Result<()> {
    let services = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(5000);
    let served = Arc::new(Served::new(services));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        let served = Arc::clone(&served);
        std::thread::spawn(move || serve(stream, &served));
    }
    Ok(())
}
