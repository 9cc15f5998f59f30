//! Reads from Prometheus which clients sent plaintext, by Istio's metrics. Nothing else shows a client outside the mesh
//! before it fails.

use super::client;
use crate::cluster::error::ClusterError;
use crate::cluster::http_proxy::ProxyVariables;
use crate::domain::address::redacted;
use crate::domain::namespace_context::{Observed, ObservedBy};
use crate::sanitize::excerpt;
use reqwest::Client;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use url::{Url, form_urlencoded};

/// Time for one query.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest response that is read, in bytes.
const MAX_RESPONSE: usize = 32 << 20;

/// Istio's counters at the server's proxy: of HTTP requests, and of connections of other protocols.
const COUNTERS: [&str; 2] = ["istio_requests_total", "istio_tcp_connections_opened_total"];

/// Calls by client, workload and Service. A client without a proxy has no name; a count that is not a number is `None`.
type Counts = BTreeMap<(Option<String>, String, String), Option<u64>>;

/// Plaintext calls during the last `since`, by the namespace of the server. An empty `namespace` is all of them.
pub async fn plaintext(
    url: &Url,
    namespace: &str,
    since: Duration,
    proxies: &ProxyVariables,
) -> Result<BTreeMap<String, Vec<Observed>>, ClusterError> {
    let client = client::builder(url, proxies)?.timeout(TIMEOUT).build().map_err(|error| unreachable(url, &error))?;
    let [http, tcp] = COUNTERS.map(|counter| query(counter, namespace, since));
    let (http, tcp) = futures::try_join!(request(&client, url, &http), request(&client, url, &tcp))?;
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for series in http.into_iter().chain(tcp) {
        let Labels { client, client_namespace, workload, namespace, service } = series.metric;
        // Probes of this tool are not clients.
        if client.starts_with("secure-traffic-probe-") {
            continue;
        }
        let from = match client.as_str() {
            "" | "unknown" => None,
            name => Some(format!("{client_namespace}/{name}")),
        };
        let count = counts.entry(namespace).or_default().entry((from, workload, service)).or_insert(Some(0));
        *count = count.zip(whole(&series.value.1)).map(|(sum, more)| sum.saturating_add(more));
    }
    let observed = |calls: Counts| {
        let calls = calls.into_iter().map(|((client, workload, service), count)| Observed {
            source: ObservedBy::Metrics { is_named: client.is_some() },
            client: client.unwrap_or_else(|| "a client without a proxy".to_owned()),
            workload,
            service,
            count,
        });
        calls.collect()
    };
    Ok(counts.into_iter().map(|(namespace, calls)| (namespace, observed(calls))).collect())
}

/// The query for calls without mutual TLS, by client and server. A counter that started within the time counts in full,
/// because its client may have called once; an older one counts by its increase.
fn query(counter: &str, namespace: &str, since: Duration) -> String {
    let scope =
        if namespace.is_empty() { String::new() } else { format!(",destination_workload_namespace=\"{namespace}\"") };
    let series = format!("{counter}{{reporter=\"destination\",connection_security_policy!=\"mutual_tls\"{scope}}}");
    let window = format!("{}s", since.as_secs().max(1));
    format!(
        "sum by (source_workload,source_workload_namespace,destination_workload,destination_workload_namespace,\
         destination_service_name) ((max_over_time({series}[{window}]) unless {series} offset {window}) \
         or increase({series}[{window}])) > 0"
    )
}

#[derive(Deserialize)]
struct QueryResponse {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    /// Time, and value as text.
    value: (f64, String),
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default, rename = "source_workload")]
    client: String,
    #[serde(default, rename = "source_workload_namespace")]
    client_namespace: String,
    #[serde(default, rename = "destination_workload")]
    workload: String,
    #[serde(default, rename = "destination_workload_namespace")]
    namespace: String,
    #[serde(default, rename = "destination_service_name")]
    service: String,
}

/// An extrapolated count of Prometheus as whole calls, at least one; `None` if it is not a number that can be a count. The
/// client has been seen all the same.
fn whole(value: &str) -> Option<u64> {
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite())?;
    format!("{:.0}", number.max(1.0)).parse().ok()
}

async fn request(client: &Client, url: &Url, query: &str) -> Result<Vec<Series>, ClusterError> {
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
    let request = client.post(query_url(url)).header("content-type", "application/x-www-form-urlencoded").body(form);
    let mut response = request.send().await.map_err(|error| unreachable(url, &error))?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, &error))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE {
            return Err(query_error(url, "its answer is larger than 32 MiB"));
        }
    }
    let status = response.status();
    let response: QueryResponse = serde_json::from_slice(&body)
        .map_err(|_| query_error(url, &format!("it answers {status}, and not as a Prometheus does")))?;
    match response.data.filter(|_| response.status == "success") {
        Some(data) => Ok(data.result),
        None => Err(query_error(url, &response.error.unwrap_or_else(|| format!("it answers {status}")))),
    }
}

/// `/api/v1/query` below the URL of the server.
fn query_url(server: &Url) -> Url {
    let mut url = server.clone();
    // An http URL always has path segments.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["api", "v1", "query"]);
    }
    url
}

fn unreachable(url: &Url, error: &reqwest::Error) -> ClusterError {
    let reason = if error.is_timeout() { "it does not answer".to_owned() } else { cause(error) };
    query_error(url, &reason)
}

/// The innermost source of an error, because the outer ones repeat the address.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut message = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = source {
        message = cause.to_string();
        source = cause.source();
    }
    message
}

fn query_error(url: &Url, reason: &str) -> ClusterError {
    ClusterError::new(
        format!("Prometheus at {} could not be asked: {}", redacted(url), excerpt(reason)),
        "see --prometheus; kubectl port-forward makes one of the cluster reachable",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_about_one_namespace_or_all() {
        let one = query("c", "shop", Duration::from_hours(1));
        assert!(one.contains("destination_workload_namespace=\"shop\"}[3600s]"), "{one}");
        assert!(!query("c", "", Duration::from_hours(1)).contains("=\"\""));
    }

    #[test]
    fn counts_are_whole_and_at_least_one() {
        for (text, expected) in [("41.7", 42), ("0.2", 1), ("4218", 4218), ("-3", 1)] {
            assert_eq!(whole(text), Some(expected), "{text}");
        }
        for text in ["NaN", "+Inf", "-Inf", "1e300", "", "x"] {
            assert_eq!(whole(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_client_with_an_absurd_count_does_not_vanish() {
        for value in ["+Inf", "1e300", "", "NaN"] {
            let series = |value: &str| {
                serde_json::json!({"value": [0, value], "metric": {
                    "source_workload": "legacy", "source_workload_namespace": "outside",
                    "destination_workload": "web", "destination_workload_namespace": "shop",
                }})
            };
            let result = serde_json::json!({"status": "success", "data": {"result": [series("3"), series(value)]}});
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
            let server = tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let body = result.to_string();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                    let mut seen = Vec::new();
                    // The form is the last line of the request.
                    while !seen.windows(6).any(|window| window == b"query=") {
                        tokio::io::AsyncReadExt::read_buf(&mut stream, &mut seen).await.unwrap();
                    }
                    tokio::io::AsyncWriteExt::write_all(&mut stream, answer.as_bytes()).await.unwrap();
                    // A close with unread bytes would be a reset. The client closes after the answer.
                    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
                    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut seen).await;
                }
            });
            let _ = rustls::crypto::ring::default_provider().install_default();
            let seen = plaintext(&url, "shop", Duration::from_hours(1), &ProxyVariables::default()).await.unwrap();
            let seen: Vec<_> = seen["shop"].iter().map(|seen| (seen.client.as_str(), seen.count)).collect();
            assert_eq!(seen, [("outside/legacy", None)], "{value:?}");
            server.abort();
        }
    }

    #[test]
    fn a_query_is_posted_below_the_path_of_the_server() {
        for (url, query) in [
            ("http://host:9090", "http://host:9090/api/v1/query"),
            ("http://host:9090/", "http://host:9090/api/v1/query"),
            ("https://host/prometheus/", "https://host/prometheus/api/v1/query"),
            ("https://host/prometheus?tenant=a", "https://host/prometheus/api/v1/query?tenant=a"),
        ] {
            assert_eq!(query_url(&url.parse().unwrap()).as_str(), query);
        }
    }
}
