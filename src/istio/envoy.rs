//! Reads the output of a sidecar's admin interface (`config_dump`, statistics) into values of `domain`, for proxy evidence
//! and the wait between phases.

use crate::domain::client_config::{self, Clusters};
use crate::domain::proxy::{BoundListener, FilterChain, InboundListeners, Transport};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// Name of the listener that takes every captured connection; older versions have a second one, which ends with a suffix.
const CAPTURED: &str = "virtualInbound";

/// Path of a sidecar's admin interface for its inbound listeners: the one for captured connections, and those that Envoy
/// binds to these ports, whose names end with the port.
pub fn listeners_of(ports: &BTreeSet<u16>) -> String {
    let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join("%7C");
    format!("/config_dump?resource=dynamic_listeners&name_regex={CAPTURED}.*%7C.*_({ports})")
}

/// The inbound listeners in a dump. The error is why there are none.
pub fn inbound_listeners(dump: &Value) -> Result<InboundListeners, String> {
    let configs = dump["configs"].as_array().ok_or("the sidecar's dump has no configs")?;
    let mut found = InboundListeners::default();
    for config in configs {
        let listener = &config["active_state"]["listener"];
        let is_captured = config["name"].as_str().is_some_and(|name| name.starts_with(CAPTURED));
        if listener.is_null() && (is_captured || is_inbound(&config["warming_state"]["listener"])) {
            return Err("the sidecar's inbound listener is not active yet".to_owned());
        }
        if is_captured {
            found.captured.extend(filter_chains(listener));
        } else if is_inbound(listener) && !is_virtual(listener) {
            found.bound.extend(bound(listener));
        }
    }
    let is_empty = found.captured.is_empty() && found.bound.iter().all(|listener| listener.chains.is_empty());
    if is_empty { Err("the sidecar has loaded no inbound chain".to_owned()) } else { Ok(found) }
}

fn is_inbound(listener: &Value) -> bool {
    listener["traffic_direction"] == "INBOUND"
}

/// Whether Envoy does not listen at the address itself.
fn is_virtual(listener: &Value) -> bool {
    listener["bind_to_port"] == false || listener["deprecated_v1"]["bind_to_port"] == false
}

fn bound(listener: &Value) -> Option<BoundListener> {
    let more = listener["additional_addresses"].as_array().into_iter().flatten().map(|more| &more["address"]);
    let sockets = std::iter::once(&listener["address"]).chain(more).map(|address| &address["socket_address"]);
    Some(BoundListener {
        addresses: sockets.filter_map(|socket| Some(socket["address"].as_str()?.to_owned())).collect(),
        port: u16::try_from(listener["address"]["socket_address"]["port_value"].as_u64()?).ok()?,
        chains: filter_chains(listener).collect(),
    })
}

fn filter_chains(listener: &Value) -> impl Iterator<Item = FilterChain> {
    let chains = listener["filter_chains"].as_array().into_iter().flatten().map(filter_chain);
    let default = Some(&listener["default_filter_chain"]).filter(|chain| !chain.is_null());
    chains.chain(default.map(|chain| FilterChain { port: None, transport: None, ..filter_chain(chain) }))
}

fn filter_chain(chain: &Value) -> FilterChain {
    let conditions = &chain["filter_chain_match"];
    let socket = &chain["transport_socket"];
    FilterChain {
        port: conditions["destination_port"].as_u64().and_then(|port| u16::try_from(port).ok()),
        transport: match conditions["transport_protocol"].as_str() {
            Some("tls") => Some(Transport::Tls),
            Some("raw_buffer") => Some(Transport::RawBuffer),
            _ => None,
        },
        requires_client_certificate: socket["name"] == "envoy.transport_sockets.tls"
            && socket["typed_config"]["require_client_certificate"] == true,
    }
}

/// Path of a sidecar's admin interface for the clusters that it has loaded for the Services of a namespace. Envoy's
/// pattern must match the whole name.
pub fn clusters_of(namespace: &str) -> String {
    format!("/config_dump?resource=dynamic_active_clusters&name_regex=outbound%5C%7C.*%5C.{namespace}%5C.svc%5C..*")
}

/// The clusters in a dump, with the transport of each.
pub fn clusters(dump: &Value) -> Clusters {
    let configs = dump["configs"].as_array().into_iter().flatten();
    let named = configs.filter_map(|config| {
        let cluster = &config["cluster"];
        Some((cluster["name"].as_str()?.to_owned(), transport(cluster)))
    });
    named.collect()
}

fn transport(cluster: &Value) -> client_config::ClusterTransport {
    let socket = &cluster["transport_socket"];
    let protocols = &socket["typed_config"]["common_tls_context"]["alpn_protocols"];
    let is_of_the_mesh = |protocol: &Value| protocol.as_str().is_some_and(|protocol| protocol.starts_with("istio"));
    if cluster["transport_socket_matches"].as_array().is_some_and(|matches| !matches.is_empty()) {
        client_config::ClusterTransport::ByEndpoint
    } else if socket["name"] != "envoy.transport_sockets.tls" {
        client_config::ClusterTransport::Plain
    } else if protocols.as_array().into_iter().flatten().any(is_of_the_mesh) {
        client_config::ClusterTransport::Mutual
    } else {
        client_config::ClusterTransport::Tls
    }
}

/// Path of a sidecar's admin interface for the list of its endpoints with their connections.
pub const CLUSTERS: &str = "/clusters";

/// Open connections from the sidecar to its application's `port` (a target port), from the list of its endpoints.
pub fn open_connections(clusters: &str, port: u16) -> u64 {
    let of_port = format!("inbound|{port}|");
    let counts = clusters.lines().filter(|line| line.starts_with(&of_port));
    counts.filter_map(|line| line.rsplit_once("::cx_active::")?.1.trim().parse::<u64>().ok()).sum()
}

/// Path of a sidecar's admin interface for the number of former listeners that still serve open connections.
pub const DRAINING: &str = "/stats?filter=listener_manager.total_.*_draining";

/// Path of a sidecar's admin interface for its command-line options.
pub const SERVER_INFO: &str = "/server_info";

/// The longest time for which the sidecar serves open connections after a change; `None` if it does not report it.
pub fn drain_time(server_info: &Value) -> Option<Duration> {
    let seconds = server_info["command_line_options"]["drain_time"].as_str()?.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Number of listeners and filter chains that the sidecar drains; `None` if it has no such counters.
pub fn draining(stats: &str) -> Option<u64> {
    let counts = stats.lines().filter_map(|line| {
        let (name, count) = line.split_once(": ")?;
        matches!(name, "listener_manager.total_listeners_draining" | "listener_manager.total_filter_chains_draining")
            .then(|| count.trim().parse::<u64>().ok())?
    });
    counts.fold(None, |sum, count| Some(sum.unwrap_or(0) + count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::proxy::{ProxyReport, inspect_listeners};
    use serde_json::json;

    fn dump(chains: &Value) -> Value {
        json!({"configs": [{"name": "virtualInbound", "active_state": {"listener": {"filter_chains": chains}}}]})
    }

    fn mutual(port: u16) -> Value {
        json!({
            "filter_chain_match": {"destination_port": port, "transport_protocol": "tls"},
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {"require_client_certificate": true},
            },
        })
    }

    #[test]
    fn a_sidecars_dump_gives_its_chains() {
        let plain = json!({"filter_chain_match": {"destination_port": 8080, "transport_protocol": "raw_buffer"}});
        let strict = inbound_listeners(&dump(&json!([mutual(8080)]))).unwrap();
        assert_eq!(inspect_listeners(&strict, "10.0.0.1", 8080), ProxyReport::Enforces { chains: 1 });
        let permissive = inbound_listeners(&dump(&json!([mutual(8080), plain]))).unwrap();
        assert_eq!(inspect_listeners(&permissive, "10.0.0.1", 8080), ProxyReport::LetsPlaintextIn);
    }

    #[test]
    fn open_connections_are_counted_by_port() {
        let clusters = "inbound|8080||::10.0.0.1:8080::cx_active::4\ninbound|8080||::10.0.0.1:8080::cx_total::9\n\
                        inbound|8080||::127.0.0.1:8080::cx_active::1\ninbound|80||::10.0.0.1:80::cx_active::7\n\
                        outbound|8080||web.shop.svc.cluster.local::10.0.0.2:8080::cx_active::3\n";
        assert_eq!((open_connections(clusters, 8080), open_connections(clusters, 80)), (5, 7));
        assert_eq!(open_connections("", 8080), 0);
    }

    #[test]
    fn a_default_chain_is_for_every_port_without_its_own() {
        let mut dump = dump(&json!([mutual(8080)]));
        dump["configs"][0]["active_state"]["listener"]["default_filter_chain"] = json!({"filters": []});
        let chains = inbound_listeners(&dump).unwrap();
        assert_eq!(inspect_listeners(&chains, "10.0.0.1", 8080), ProxyReport::Enforces { chains: 1 });
        assert_eq!(inspect_listeners(&chains, "10.0.0.1", 9090), ProxyReport::LetsPlaintextIn);
    }

    /// As a sidecar dumps them: one that is bound to the pod's address, one for calls of the
    /// application at the same port, and one that could not be bound.
    #[test]
    fn a_listener_that_envoy_binds_is_found_beside_virtual_inbound() {
        let address = |address: &str| json!({"socket_address": {"address": address, "port_value": 9080}});
        let listener = |name: &str, direction: &str, chains: Value| {
            json!({"name": name, "active_state": {"listener": {
                "traffic_direction": direction, "address": address(name.split('_').next().unwrap_or_default()),
                "filter_chains": chains,
            }}})
        };
        let plain = || json!([{"filter_chain_match": {"transport_protocol": "raw_buffer"}}]);
        let failed = json!({"name": "127.0.0.1_9080", "error_state": {"details": "cannot bind"}});
        let outbound = listener("0.0.0.0_9080", "OUTBOUND", plain());
        let with = |inbound: Value| json!({"configs": [outbound, failed, inbound]});
        let report = |dump: &Value, address| inspect_listeners(&inbound_listeners(dump).unwrap(), address, 9080);
        let bound = with(listener("10.0.0.1_9080", "INBOUND", json!([mutual(9080)])));
        assert_eq!(report(&bound, "10.0.0.1"), ProxyReport::Enforces { chains: 1 });
        assert_eq!(report(&bound, "10.0.0.2"), ProxyReport::NothingLoaded);
        let anywhere = with(listener("0.0.0.0_9080", "INBOUND", json!([mutual(9080)])));
        assert_eq!(report(&anywhere, "10.0.0.2"), ProxyReport::Enforces { chains: 1 });
        let mut second = bound.clone();
        second["configs"][2]["active_state"]["listener"]["additional_addresses"] =
            json!([{"address": address("fd00::1")}]);
        assert_eq!(report(&second, "fd00::1"), ProxyReport::Enforces { chains: 1 });
        let mut handed_over = bound;
        handed_over["configs"][2]["active_state"]["listener"]["bind_to_port"] = false.into();
        assert!(inbound_listeners(&handed_over).is_err());
        let warming = json!({"name": "10.0.0.1_9080", "warming_state": {"listener": {"traffic_direction": "INBOUND"}}});
        assert!(inbound_listeners(&with(warming)).is_err());
        assert_eq!(
            listeners_of(&[80, 9080].into()),
            "/config_dump?resource=dynamic_listeners&name_regex=virtualInbound.*%7C.*_(80%7C9080)"
        );
    }

    #[test]
    fn a_cluster_has_the_transport_of_its_socket() {
        let tls = |protocol: &str| {
            json!({
                "name": "envoy.transport_sockets.tls",
                "typed_config": {"common_tls_context": {"alpn_protocols": [protocol]}},
            })
        };
        let dump = json!({"configs": [
            {"cluster": {"name": "auto", "transport_socket_matches": [{"name": "tlsMode-istio", "transport_socket": tls("istio")}]}},
            {"cluster": {"name": "mutual", "transport_socket": tls("istio-peer-exchange")}},
            {"cluster": {"name": "simple", "transport_socket": tls("h2")}},
            {"cluster": {"name": "plain"}},
            {"cluster": {}},
        ]});
        let expected = [
            ("auto", client_config::ClusterTransport::ByEndpoint),
            ("mutual", client_config::ClusterTransport::Mutual),
            ("plain", client_config::ClusterTransport::Plain),
            ("simple", client_config::ClusterTransport::Tls),
        ];
        assert_eq!(clusters(&dump), expected.map(|(name, transport)| (name.to_owned(), transport)).into());
        assert!(clusters(&json!({})).is_empty());
    }

    #[test]
    fn drained_listeners_and_the_drain_time_are_read() {
        let stats = "listener_manager.total_filter_chains_draining: 3\nlistener_manager.total_listeners_draining: 0\n";
        assert_eq!(draining(stats), Some(3));
        assert_eq!(draining("listener_manager.total_listeners_active: 13\n"), None);
        let info = |time: &str| json!({"command_line_options": {"drain_time": time}});
        assert_eq!(drain_time(&info("45s")), Some(Duration::from_secs(45)));
        assert_eq!((drain_time(&info("soon")), drain_time(&json!({}))), (None, None));
    }

    #[test]
    fn a_dump_without_an_active_listener_is_an_error() {
        for text in ["{}", r#"{"configs": []}"#, r#"{"configs": [{"name": "virtualInbound", "warming_state": {}}]}"#] {
            assert!(inbound_listeners(&serde_json::from_str(text).unwrap()).is_err(), "{text}");
        }
    }
}
