//! Reads ztunnel's log from an API server with fixed answers.

use super::*;
use crate::domain::effective::Effective;
use crate::domain::inbound::InboundPath;
use crate::domain::probe::EndpointCase;
use crate::domain::probe::EndpointObservation;
use crate::domain::proxy::Connections;
use crate::domain::sample::Sample;
use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

const DENIED: &str = "t\terror\taccess\tconnection complete\tsrc.addr=10.0.0.9:1 dst.addr=10.0.0.1:8080 \
    direction=\"inbound\" error=\"connection closed due to policy rejection: explicitly denied by: \
    istio-system/istio_converted_static_strict\"\n";

fn pod(name: &str, node: &str) -> Value {
    let metadata = json!({"name": name, "namespace": "istio-system"});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": []}})
}

/// A cluster with one ambient pod, whose node's ztunnel has this log; without one, the log may not be read.
fn cluster(log: Option<String>) -> Cluster {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, respond)) = handle.next_request().await {
            let (status, body) = match request.uri().path() {
                "/api/v1/namespaces/demo/pods" => {
                    (200, json!({"metadata": {}, "items": [pod("other", "other"), pod("web-1", "one")]}).to_string())
                }
                "/api/v1/pods" => {
                    let items = [pod("ztunnel-a", "other"), pod("ztunnel-b", "one")];
                    (200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}).to_string())
                }
                "/api/v1/namespaces/istio-system/pods/ztunnel-b/log" => match &log {
                    Some(log) => (200, log.clone()),
                    None => (403, forbidden()),
                },
                other => panic!("unexpected request: {other}"),
            };
            let response = Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap();
            respond.send_response(response);
        }
    });
    Cluster::of_test(kube::Client::new(service, "demo"))
}

fn forbidden() -> String {
    let message = "pods \"ztunnel-b\" is forbidden: User \"x\" cannot get resource \"pods/log\" in API group \"\"";
    json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": message}).to_string()
}

fn case() -> Case {
    Case {
        service: "web".to_owned(),
        namespace: "demo".to_owned(),
        port: 8080,
        port_name: String::new(),
        protocol: crate::domain::port_protocol::PortProtocol::Http,
        path: "/".to_owned(),
        explicit_path: false,
        host: "web.demo.svc.cluster.local".to_owned(),
        endpoints: vec![EndpointCase {
            address: "10.0.0.1".to_owned(),
            port: 8080,
            pod: Some("web-1".to_owned()),
            data_plane: DataPlane::Ambient,
            path: InboundPath::Ztunnel,
            mode: Effective { mode: None, chain: Vec::new() },
            envoy_filter: None,
            identity: None,
        }],
        unready: Vec::new(),
    }
}

/// What is reported of an endpoint whose samples were all refused.
async fn report(cluster: &Cluster) -> Option<Result<ProxyReport, String>> {
    let reset = Sample { exit: 56, connected: true, ..Sample::default() };
    let endpoint = EndpointObservation { samples: vec![reset; 2], ..EndpointObservation::default() };
    let mut observations = [Observation { endpoints: vec![endpoint], ..Observation::default() }];
    let logs = ZtunnelLogs::follow(cluster, &MeshSettings::default(), &[case()]).await;
    logs.add_reports("10.0.0.9", &[case()], &mut observations).await;
    observations[0].endpoints[0].proxy.clone()
}

#[tokio::test(start_paused = true)]
async fn the_report_comes_from_the_log_of_the_ztunnel_of_the_endpoints_node() {
    let denied = |denied| Some(Ok(ProxyReport::Connections(Connections { denied, ..Connections::default() })));
    // Of a busy log only the lines about our connections count.
    let noise =
        "t\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.7:1 dst.addr=10.0.0.1:8080 direction=\"inbound\"\n";
    let busy = [&noise.repeat(20_000), DENIED, &noise.repeat(20_000), DENIED].concat();
    assert_eq!(report(&cluster(Some(busy))).await, denied(2));
    assert_eq!(report(&cluster(Some(DENIED.repeat(3)))).await, denied(3));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_before_all_lines_came_is_no_evidence() {
    let report = report(&cluster(Some(DENIED.to_owned()))).await;
    assert_eq!(report, Some(Err("ztunnel's log ended while the probe ran".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_may_not_be_read_names_the_right() {
    let message = report(&cluster(None)).await.unwrap().unwrap_err();
    assert!(message.contains("get pods/log \"ztunnel-b\" in namespace \"istio-system\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn without_an_endpoint_in_ambient_mode_nothing_is_requested() {
    let (service, _handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let cluster = Cluster::of_test(kube::Client::new(service, "demo"));
    let mut sidecar = case();
    sidecar.endpoints[0].data_plane = DataPlane::Sidecar;
    let logs = ZtunnelLogs::follow(&cluster, &MeshSettings::default(), &[sidecar]).await;
    assert!(logs.by_pod.is_empty() && logs.logs.is_empty());
}
