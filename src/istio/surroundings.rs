//! Reads the objects (JSON) that tell who calls the Services of a namespace: `VirtualServices`, Ingresses,
//! Routes, webhooks, aggregated APIs, `CronJobs` and `AuthorizationPolicies`.

use super::read::{created, metadata};
use crate::domain::envoy_filter::EnvoyFilter;
use crate::domain::mesh::{Gateway, GatewayServer, GatewayTls, PortRef};
use crate::domain::namespace_context::{CanaryRollout, CronJob, ExternalCaller, ExternalCallerKind, Monitor};
use crate::domain::other_names::{EntryEndpoint, HostRoute, Resolution, ServiceEntry};
use crate::domain::selector::Selector;
use crate::domain::sidecar::{CaptureMode, Egress, IngressListener, Sidecar};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

/// The subsets that a `VirtualService` sends calls to, each with its host (DR-14).
pub fn routed_subsets(object: &Value, cluster_domain: &str) -> Vec<(String, String)> {
    let spec = &object["spec"];
    let routes = ["http", "tcp", "tls"].into_iter().flat_map(|kind| items(spec, kind));
    let destinations = routes.flat_map(|route| {
        let mirrors = items(route, "mirrors").map(|mirror| &mirror["destination"]);
        let weighted = items(route, "route").map(|route| &route["destination"]);
        weighted.chain(mirrors).chain(std::iter::once(&route["mirror"]))
    });
    let named = destinations.filter_map(|destination| {
        let (host, subset) = (destination["host"].as_str()?, destination["subset"].as_str()?);
        // As for rules, a name with a dot is not completed (DR-1).
        let host = if host.contains('.') {
            host.to_owned()
        } else {
            format!("{host}.{}.svc.{cluster_domain}", metadata(object, "namespace"))
        };
        Some((host, subset.to_owned()))
    });
    named.collect()
}

/// A `VirtualService`, as far as it says where its hosts lead (ON-4).
pub fn host_route(object: &Value, cluster_domain: &str) -> HostRoute {
    let spec = &object["spec"];
    let namespace = metadata(object, "namespace");
    let full = |host: &str| full_host(host, namespace, cluster_domain);
    let routes = || ["http", "tcp", "tls"].into_iter().flat_map(|kind| items(spec, kind));
    let destinations = routes().flat_map(|route| items(route, "route")).map(|route| &route["destination"]["host"]);
    let answers = ["redirect", "directResponse", "delegate", "fault"];
    let gateways = texts(&spec["gateways"]);
    HostRoute {
        namespace: namespace.to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        hosts: texts(&spec["hosts"]).iter().map(|host| full(host)).collect(),
        export_to: texts(&spec["exportTo"]),
        in_mesh: gateways.is_empty() || gateways.iter().any(|gateway| gateway == "mesh"),
        destinations: destinations.filter_map(Value::as_str).map(full).collect(),
        answers_itself: routes().any(|route| answers.iter().any(|field| route[*field].is_object())),
    }
}

/// A host as Istio reads it: a name without a dot is short for a Service of the object's namespace (DR-1).
fn full_host(host: &str, namespace: &str, cluster_domain: &str) -> String {
    if host.contains('.') || host.starts_with('*') {
        host.to_owned()
    } else {
        format!("{host}.{namespace}.svc.{cluster_domain}")
    }
}

/// The texts of a list.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
}

/// The texts of a map.
fn text_map(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// A `Sidecar`, as far as the clients' side is concerned (CS-2, CS-3).
pub fn sidecar(object: &Value) -> Sidecar {
    let spec = &object["spec"];
    let egress = items(spec, "egress").map(|entry| {
        let is_proxy = entry["port"]["protocol"].as_str().is_some_and(|protocol| protocol == "HTTP_PROXY");
        let number = entry["port"]["number"].as_u64().and_then(|port| u16::try_from(port).ok());
        Egress { port: number.filter(|port| *port != 0 && !is_proxy), hosts: texts(&entry["hosts"]) }
    });
    let listener = |entry: &Value| {
        Some(IngressListener {
            port: entry["port"]["number"].as_u64().and_then(|port| u16::try_from(port).ok())?,
            capture: match entry["captureMode"].as_str() {
                Some("NONE") => CaptureMode::None,
                Some("IPTABLES") => CaptureMode::IpTables,
                _ => CaptureMode::Default,
            },
            bind: entry["bind"].as_str().filter(|bind| !bind.is_empty()).map(str::to_owned),
            own_tls: entry["tls"].is_object(),
        })
    };
    let selector = &spec["workloadSelector"];
    Sidecar {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        created: created(object),
        revision: object["metadata"]["labels"]["istio.io/rev"].as_str().map(str::to_owned),
        selector: selector.is_object().then(|| text_map(&selector["labels"])),
        ingress: items(spec, "ingress").filter_map(listener).collect(),
        egress: egress.collect(),
        passes_unknown: spec["outboundTrafficPolicy"].as_object().map(|policy| passes_unknown(policy.get("mode"))),
    }
}

/// Whether an `outboundTrafficPolicy` lets calls to unknown hosts out. Without a mode, a `Sidecar`'s is `REGISTRY_ONLY`, the
/// first value of the enum.
fn passes_unknown(mode: Option<&Value>) -> bool {
    mode.and_then(Value::as_str).is_some_and(|mode| mode.starts_with("ALLOW_ANY"))
}

/// A `ServiceEntry` (ON-1, ON-2, ON-3).
pub fn service_entry(object: &Value) -> ServiceEntry {
    let spec = &object["spec"];
    let endpoints = items(spec, "endpoints").map(|endpoint| {
        let label = endpoint["labels"]["security.istio.io/tlsMode"].as_str();
        let has_account = endpoint["serviceAccount"].as_str().is_some_and(|account| !account.is_empty());
        EntryEndpoint {
            address: endpoint["address"].as_str().unwrap_or_default().to_owned(),
            has_tls_label: label.map_or(has_account, |mode| mode == "istio"),
        }
    });
    ServiceEntry {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        hosts: texts(&spec["hosts"]),
        addresses: texts(&spec["addresses"]),
        external: spec["location"].as_str() != Some("MESH_INTERNAL"),
        resolution: match spec["resolution"].as_str() {
            Some("STATIC") => Resolution::Static,
            Some(text) if text.starts_with("DNS") => Resolution::Dns,
            _ => Resolution::None,
        },
        endpoints: endpoints.collect(),
        selector: text_map(&spec["workloadSelector"]["labels"]),
    }
}

/// An `EnvoyFilter` (EF-1, EF-2).
pub fn envoy_filter(object: &Value) -> EnvoyFilter {
    const LISTENER: [&str; 4] = ["LISTENER", "FILTER_CHAIN", "LISTENER_FILTER", "NETWORK_FILTER"];
    let spec = &object["spec"];
    let patches = || items(spec, "configPatches");
    let is_inbound = |patch: &Value| {
        let context = patch["match"]["context"].as_str().unwrap_or("ANY");
        patch["applyTo"].as_str().is_some_and(|kind| LISTENER.contains(&kind))
            && matches!(context, "ANY" | "SIDECAR_INBOUND")
    };
    let added = patches().filter(|patch| patch["applyTo"] == "CLUSTER" && patch["patch"]["operation"] == "ADD");
    let clusters = added.map(|patch| &patch["patch"]["value"]).filter(|cluster| cluster["transport_socket"].is_null());
    EnvoyFilter {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        selector: text_map(&spec["workloadSelector"]["labels"]),
        changes_inbound: patches().any(is_inbound),
        plaintext_hosts: clusters.flat_map(cluster_hosts).collect(),
    }
}

/// The addresses of the endpoints of an Envoy cluster.
fn cluster_hosts(cluster: &Value) -> BTreeSet<String> {
    let localities = items(&cluster["load_assignment"], "endpoints");
    let endpoints = localities.flat_map(|locality| items(locality, "lb_endpoints"));
    let address =
        |endpoint: &Value| endpoint["endpoint"]["address"]["socket_address"]["address"].as_str().map(str::to_owned);
    endpoints.filter_map(address).collect()
}

/// A `Canary` of Flagger. It calls both versions, and writes the rules of its Services, from the first step to the last.
pub fn flagger_canary(object: &Value) -> CanaryRollout {
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    CanaryRollout {
        object: format!("canary.flagger.app/{}", metadata(object, "name")),
        phase: phase.to_owned(),
        is_in_progress: !matches!(phase, "" | "Initialized" | "Succeeded" | "Failed"),
    }
}

/// A `Rollout` of Argo that shifts calls by objects of Istio.
pub fn argo_rollout(object: &Value) -> Option<CanaryRollout> {
    let phase = object["status"]["phase"].as_str().unwrap_or_default();
    let shifts = object["spec"]["strategy"]["canary"]["trafficRouting"]["istio"].is_object();
    shifts.then(|| CanaryRollout {
        object: format!("rollout.argoproj.io/{}", metadata(object, "name")),
        phase: phase.to_owned(),
        is_in_progress: matches!(phase, "Progressing" | "Paused"),
    })
}

/// The Service whose pods a load balancer of AWS calls by their addresses.
pub fn target_group_binding(object: &Value) -> Vec<ExternalCaller> {
    let service = &object["spec"]["serviceRef"];
    let resource = "targetgroupbinding.elbv2.k8s.aws";
    let name = service["name"].as_str().unwrap_or_default();
    external_caller(ExternalCallerKind::Ingress, resource, object, name, port(&service["port"])).into_iter().collect()
}

/// A `Gateway` of `networking.istio.io` (GW-1, MC-1).
pub fn gateway(object: &Value) -> Gateway {
    let spec = &object["spec"];
    let servers = items(spec, "servers").filter_map(|server| {
        let tls = match server["tls"]["mode"].as_str() {
            Some("ISTIO_MUTUAL") => GatewayTls::IstioMutual,
            Some("AUTO_PASSTHROUGH") => GatewayTls::AutoPassthrough,
            _ => GatewayTls::Other,
        };
        Some(GatewayServer { port: u16::try_from(server["port"]["number"].as_u64()?).ok()?, tls })
    });
    Gateway {
        namespace: metadata(object, "namespace").to_owned(),
        name: metadata(object, "name").to_owned(),
        selector: text_map(&spec["selector"]),
        servers: servers.collect(),
    }
}

/// A route of the Gateway API: the Services that it leads to, and the Gateways that serve it, as (namespace, name).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiRoute {
    pub callers: Vec<ExternalCaller>,
    pub gateways: Vec<(String, String)>,
}

/// A route of the Gateway API (`HTTPRoute`, `GRPCRoute`, `TCPRoute`, `TLSRoute`). One whose parents are Services is a route
/// inside the mesh, so that it has no Gateways.
pub fn api_route(resource: &str, object: &Value) -> ApiRoute {
    let spec = &object["spec"];
    let home = metadata(object, "namespace");
    let in_namespace = |value: &Value| value["namespace"].as_str().unwrap_or(home).to_owned();
    let is = |value: &Value, kind: &str| value["kind"].as_str().unwrap_or(kind) == kind;
    let parents = items(spec, "parentRefs").filter(|parent| is(parent, "Gateway"));
    let mirrors = items(spec, "rules")
        .flat_map(|rule| items(rule, "filters"))
        .map(|filter| &filter["requestMirror"]["backendRef"])
        .filter(|backend| backend.is_object());
    let backends = items(spec, "rules").flat_map(|rule| items(rule, "backendRefs")).chain(mirrors);
    let callers = backends.filter(|backend| is(backend, "Service")).filter_map(|backend| {
        let service = backend["name"].as_str()?;
        let caller = external_caller(ExternalCallerKind::Ingress, resource, object, service, port(&backend["port"]))?;
        let namespace = in_namespace(backend);
        let object =
            if namespace == home { caller.object } else { format!("{resource}/{home}/{}", metadata(object, "name")) };
        Some(ExternalCaller { object, namespace, ..caller })
    });
    ApiRoute {
        callers: callers.collect(),
        gateways: parents
            .filter_map(|parent| Some((in_namespace(parent), parent["name"].as_str()?.to_owned())))
            .collect(),
    }
}

/// A Gateway of the Gateway API, as (namespace, name), if the mesh itself serves it: its pods are in the mesh.
pub fn mesh_api_gateway(object: &Value) -> Option<(String, String)> {
    let class = object["spec"]["gatewayClassName"].as_str()?;
    let is_mesh = class.starts_with("istio") || class == "openshift-default";
    is_mesh.then(|| (metadata(object, "namespace").to_owned(), metadata(object, "name").to_owned()))
}

/// The Service that the API server calls to convert objects of a custom resource: on every read of one (BY-19).
pub fn conversion_webhook(object: &Value) -> Vec<ExternalCaller> {
    let service = &object["spec"]["conversion"]["webhook"]["clientConfig"]["service"];
    api_server_call("customresourcedefinition.apiextensions.k8s.io", object, service).into_iter().collect()
}

/// A `ServiceMonitor` or `PodMonitor`; `None` for one whose every endpoint presents certificates of the mesh.
pub fn monitor(resource: &str, object: &Value) -> Option<Monitor> {
    let spec = &object["spec"];
    let of_pods = resource.starts_with("podmonitor");
    let in_plaintext = |endpoint: &&Value| {
        let certificate = endpoint["tlsConfig"]["certFile"].as_str().unwrap_or_default();
        !["istio", "prom-certs"].iter().any(|mark| certificate.contains(mark))
    };
    let endpoints = items(spec, if of_pods { "podMetricsEndpoints" } else { "endpoints" }).filter(in_plaintext);
    let endpoints: Vec<&Value> = endpoints.collect();
    if endpoints.is_empty() {
        return None;
    }
    let named: Option<Vec<PortRef>> = endpoints.iter().map(|endpoint| port(&endpoint["port"])).collect();
    let scope = &spec["namespaceSelector"];
    let namespaces = texts(&scope["matchNames"]);
    let own = || vec![metadata(object, "namespace").to_owned()];
    Some(Monitor {
        object: format!("{resource}/{}/{}", metadata(object, "namespace"), metadata(object, "name")),
        namespaces: (scope["any"] != true).then(|| if namespaces.is_empty() { own() } else { namespaces }),
        selector: label_selector(&spec["selector"]),
        of_pods,
        ports: named.filter(|_| !of_pods).unwrap_or_default(),
    })
}

/// A label selector of the API. One that cannot be read selects everything, so that nothing is left out.
pub fn label_selector(value: &Value) -> Selector {
    let labels = text_map(&value["matchLabels"]).into_iter().map(|(key, value)| format!("{key}={value}"));
    let expressions = items(value, "matchExpressions").map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values = texts(&expression["values"]).join(",");
        match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    labels.chain(expressions).collect::<Vec<_>>().join(",").parse().unwrap_or_default()
}

fn port(value: &Value) -> Option<PortRef> {
    match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok().map(PortRef::Number),
        Value::String(name) => Some(name.parse().map_or_else(|_| PortRef::Name(name.clone()), PortRef::Number)),
        _ => None,
    }
}

/// The Services that an Ingress routes to; empty if Istio's own gateway serves it, because that is in the mesh.
pub fn ingress(object: &Value) -> Vec<ExternalCaller> {
    let spec = &object["spec"];
    let annotated = &object["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    let class = spec["ingressClassName"].as_str().or(annotated.as_str()).unwrap_or_default();
    if class == "istio" {
        return Vec::new();
    }
    let paths = items(spec, "rules").flat_map(|rule| items(&rule["http"], "paths"));
    let backends = paths.map(|path| &path["backend"]).chain(std::iter::once(&spec["defaultBackend"]));
    let callers = backends.filter_map(|backend| {
        let service = &backend["service"];
        let number = port(&service["port"]["number"]).or_else(|| port(&service["port"]["name"]));
        external_caller(
            ExternalCallerKind::Ingress,
            "ingress.networking.k8s.io",
            object,
            service["name"].as_str()?,
            number,
        )
    });
    callers.collect()
}

/// The Services that an OpenShift Route routes to.
pub fn route(object: &Value) -> Vec<ExternalCaller> {
    let spec = &object["spec"];
    let backends = std::iter::once(&spec["to"]).chain(items(spec, "alternateBackends"));
    let named = backends.filter_map(|backend| {
        // A Route names a target port, which is not always a Service port, so the caller has no port.
        external_caller(
            ExternalCallerKind::Ingress,
            "route.route.openshift.io",
            object,
            backend["name"].as_str()?,
            None,
        )
    });
    named.collect()
}

fn external_caller(
    kind: ExternalCallerKind,
    resource: &str,
    object: &Value,
    service: &str,
    port: Option<PortRef>,
) -> Option<ExternalCaller> {
    (!service.is_empty()).then(|| ExternalCaller {
        kind,
        object: format!("{resource}/{}", metadata(object, "name")),
        namespace: metadata(object, "namespace").to_owned(),
        service: service.to_owned(),
        port,
    })
}

/// The Services that the API server calls because of a webhook configuration.
pub fn webhooks(resource: &str, object: &Value) -> Vec<ExternalCaller> {
    items(object, "webhooks")
        .filter_map(|hook| api_server_call(resource, object, &hook["clientConfig"]["service"]))
        .collect()
}

/// The Service that the API server calls because of an aggregated API.
pub fn api_service(object: &Value) -> Vec<ExternalCaller> {
    api_server_call("apiservice.apiregistration.k8s.io", object, &object["spec"]["service"]).into_iter().collect()
}

fn api_server_call(resource: &str, object: &Value, service: &Value) -> Option<ExternalCaller> {
    Some(ExternalCaller {
        kind: ExternalCallerKind::ApiServer,
        object: format!("{resource}/{}", metadata(object, "name")),
        namespace: service["namespace"].as_str()?.to_owned(),
        service: service["name"].as_str()?.to_owned(),
        port: Some(port(&service["port"]).unwrap_or(PortRef::Number(443))),
    })
}

/// Reads a `CronJob`.
pub fn cron_job(object: &Value) -> CronJob {
    let template = &object["spec"]["jobTemplate"]["spec"]["template"];
    let key = "sidecar.istio.io/inject";
    let label = &template["metadata"]["labels"][key];
    let inject = if label.is_null() { &template["metadata"]["annotations"][key] } else { label };
    CronJob {
        name: metadata(object, "name").to_owned(),
        declines_injection: inject == "false" || template["spec"]["hostNetwork"] == true,
        asks_for_injection: inject == "true",
    }
}

/// Whether an `AuthorizationPolicy` matches the caller's identity, which only mutual TLS provides.
pub fn matches_identity(object: &Value) -> bool {
    let fields =
        ["principals", "notPrincipals", "namespaces", "notNamespaces", "serviceAccounts", "notServiceAccounts"];
    let keys = ["source.principal", "source.namespace", "source.serviceAccount"];
    let is_set =
        |source: &Value| fields.iter().any(|field| source[*field].as_array().is_some_and(|list| !list.is_empty()));
    items(&object["spec"], "rules").any(|rule| {
        let by_source = items(rule, "from").any(|from| is_set(&from["source"]));
        by_source || items(rule, "when").any(|condition| keys.iter().any(|key| condition["key"] == *key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subsets_that_routes_name_are_read() {
        let metadata = json!({"namespace": "shop"});
        for (spec, expected) in [
            (
                json!({"http": [{"route": [{"destination": {"host": "web", "subset": "v1"}}]}]}),
                vec!["web.shop.svc.cluster.local v1"],
            ),
            (json!({"tcp": [{"route": [{"destination": {"host": "web.far", "subset": "v2"}}]}]}), vec!["web.far v2"]),
            (json!({"http": [{"route": [{"destination": {"host": "web"}}]}]}), vec![]),
            (json!({"http": [{"mirror": {"host": "web", "subset": "m"}}]}), vec!["web.shop.svc.cluster.local m"]),
            (json!({"http": 3, "tls": {}}), vec![]),
        ] {
            let found = routed_subsets(&json!({"metadata": metadata, "spec": spec}), "cluster.local");
            let found: Vec<String> = found.iter().map(|(host, subset)| format!("{host} {subset}")).collect();
            assert_eq!(found, expected, "{spec}");
        }
    }

    #[test]
    fn the_backends_of_an_ingress_are_read_unless_its_class_is_istio() {
        let mut object = json!({
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
                "rules": [{"http": {"paths": [{"backend": {"service": {"name": "api", "port": {"name": "http"}}}}]}}],
            },
        });
        let found: Vec<_> = ingress(&object).into_iter().map(|caller| (caller.service, caller.port)).collect();
        let (api, web) = (PortRef::Name("http".into()), PortRef::Number(80));
        assert_eq!(found, [("api".to_owned(), Some(api)), ("web".to_owned(), Some(web))]);
        object["spec"]["ingressClassName"] = json!("istio");
        assert!(ingress(&object).is_empty());
    }

    #[test]
    fn the_services_of_webhooks_are_read() {
        let hooks = json!({"metadata": {"name": "check"}, "webhooks": [
            {"clientConfig": {"service": {"namespace": "shop", "name": "hook"}}},
            {"clientConfig": {"url": "https://elsewhere"}},
        ]});
        let found = webhooks("validatingwebhookconfiguration.admissionregistration.k8s.io", &hooks);
        assert_eq!((found.len(), found[0].port.clone()), (1, Some(PortRef::Number(443))));
    }

    #[test]
    fn a_sidecar_and_a_service_entry_are_read_as_istio_reads_them() {
        let metadata = json!({"name": "default", "namespace": "front"});
        for (spec, selects, ports, passes_unknown) in [
            (json!({"egress": [{"hosts": ["./*"]}]}), false, vec![None], None),
            (json!({"workloadSelector": {}, "egress": []}), true, vec![], None),
            (
                json!({"egress": [{"port": {"number": 80, "protocol": "HTTP"}, "hosts": ["*/*"]}, {"port": {"number": 3128, "protocol": "HTTP_PROXY"}, "hosts": ["*/*"]}]}),
                false,
                vec![Some(80), None],
                None,
            ),
            (json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}), false, vec![], Some(false)),
            (json!({"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}), false, vec![], Some(true)),
        ] {
            let found = sidecar(&json!({"metadata": metadata, "spec": spec}));
            assert_eq!(found.selector.is_some(), selects, "{spec}");
            assert_eq!(found.egress.iter().map(|egress| egress.port).collect::<Vec<_>>(), ports, "{spec}");
            assert_eq!(found.passes_unknown, passes_unknown, "{spec}");
        }
        for (spec, external, resolution, labels) in [
            (json!({"hosts": ["a.b"]}), true, Resolution::None, vec![]),
            (
                json!({"location": "MESH_INTERNAL", "resolution": "DNS_ROUND_ROBIN", "endpoints": [
                    {"address": "a"}, {"address": "b", "serviceAccount": "web"},
                    {"address": "c", "serviceAccount": "web", "labels": {"security.istio.io/tlsMode": "disabled"}},
                    {"address": "d", "labels": {"security.istio.io/tlsMode": "istio"}},
                ]}),
                false,
                Resolution::Dns,
                vec![false, true, false, true],
            ),
        ] {
            let found = service_entry(&json!({"metadata": metadata, "spec": spec}));
            assert_eq!((found.external, found.resolution), (external, resolution), "{spec}");
            assert_eq!(found.endpoints.iter().map(|endpoint| endpoint.has_tls_label).collect::<Vec<_>>(), labels);
        }
    }

    #[test]
    fn a_route_of_the_gateway_api_names_its_services_and_gateways() {
        let metadata = json!({"name": "web", "namespace": "front"});
        let object = |spec: Value| json!({"metadata": metadata, "spec": spec});
        let backends = json!([{"backendRefs": [{"name": "web", "port": 80}, {"name": "api", "namespace": "shop"}, {"kind": "Other", "name": "x"}],
            "filters": [{"requestMirror": {"backendRef": {"name": "mirror", "port": 81}}}]}]);
        let route = api_route(
            "httproute.gateway.networking.k8s.io",
            &object(json!({"parentRefs": [{"name": "edge", "namespace": "ingress"}], "rules": backends})),
        );
        let named: Vec<String> = route
            .callers
            .iter()
            .map(|caller| format!("{}/{} by {}", caller.namespace, caller.service, caller.object))
            .collect();
        assert_eq!(
            named,
            [
                "front/web by httproute.gateway.networking.k8s.io/web",
                "shop/api by httproute.gateway.networking.k8s.io/front/web",
                "front/mirror by httproute.gateway.networking.k8s.io/web",
            ]
        );
        assert_eq!(route.gateways, [("ingress".to_owned(), "edge".to_owned())]);
        let in_mesh = object(json!({"parentRefs": [{"kind": "Service", "name": "web"}], "rules": backends}));
        assert!(api_route("httproute", &in_mesh).gateways.is_empty());
        let gateway = |class: &str| mesh_api_gateway(&object(json!({"gatewayClassName": class}))).is_some();
        assert_eq!([gateway("istio"), gateway("openshift-default"), gateway("nginx")], [true, true, false]);
    }

    #[test]
    fn a_virtual_service_says_where_its_hosts_lead() {
        for (spec, in_mesh, destinations, answers_itself) in [
            (
                json!({"hosts": ["web"], "http": [{"route": [{"destination": {"host": "green"}}]}]}),
                true,
                &["green.shop.svc.cluster.local"][..],
                false,
            ),
            (
                json!({"hosts": ["web"], "gateways": ["edge"], "tcp": [{"route": [{"destination": {"host": "a.b"}}]}]}),
                false,
                &["a.b"],
                false,
            ),
            (
                json!({"hosts": ["web"], "gateways": ["mesh", "edge"], "http": [{"redirect": {"uri": "/"}}]}),
                true,
                &[],
                true,
            ),
            (json!({"hosts": ["web"], "http": [{"delegate": {"name": "x"}}]}), true, &[], true),
        ] {
            let route =
                host_route(&json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}), "cluster.local");
            assert_eq!(route.hosts, ["web.shop.svc.cluster.local"]);
            assert_eq!(route.destinations.iter().map(String::as_str).collect::<Vec<_>>(), destinations, "{spec}");
            assert_eq!((route.in_mesh, route.answers_itself), (in_mesh, answers_itself), "{spec}");
        }
    }

    #[test]
    fn conversion_webhooks_monitors_and_identities_are_found() {
        let service = json!({"namespace": "shop", "name": "converter", "path": "/convert"});
        let definition = json!({"metadata": {"name": "kettles.example"}, "spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"service": service}}}}});
        let found = conversion_webhook(&definition);
        assert_eq!(found[0].object, "customresourcedefinition.apiextensions.k8s.io/kettles.example");
        assert_eq!((found[0].service.as_str(), &found[0].port), ("converter", &Some(PortRef::Number(443))));
        assert!(conversion_webhook(&json!({"spec": {"conversion": {"strategy": "None"}}})).is_empty());

        let scrape = |spec: Value| {
            monitor(
                "servicemonitor.monitoring.coreos.com",
                &json!({"metadata": {"name": "m", "namespace": "mon"}, "spec": spec}),
            )
        };
        let expression = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]});
        let found = scrape(json!({"selector": expression, "endpoints": [{"port": "metrics"}], "namespaceSelector": {"matchNames": ["shop"]}})).expect("a monitor");
        assert_eq!(
            (found.namespaces, found.ports),
            (Some(vec!["shop".to_owned()]), vec![PortRef::Name("metrics".into())])
        );
        assert_eq!(found.selector.to_string(), "app=web,tier in (a,b)");
        assert_eq!(scrape(json!({"endpoints": [{}]})).expect("a monitor").namespaces, Some(vec!["mon".to_owned()]));
        assert_eq!(
            scrape(json!({"endpoints": [{}], "namespaceSelector": {"any": true}})).expect("a monitor").namespaces,
            None
        );
        assert!(
            scrape(json!({"endpoints": [{"tlsConfig": {"certFile": "/etc/prom-certs/cert-chain.pem"}}]})).is_none()
        );

        for (rule, expected) in [
            (json!({"from": [{"source": {"principals": ["a"]}}]}), true),
            (json!({"from": [{"source": {"notNamespaces": ["a"]}}]}), true),
            (json!({"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}), false),
            (json!({"when": [{"key": "source.principal", "values": ["a"]}]}), true),
            (json!({"when": [{"key": "request.headers[x]", "values": ["a"]}]}), false),
            (json!({}), false),
        ] {
            assert_eq!(matches_identity(&json!({"spec": {"rules": [rule]}})), expected, "{rule}");
        }
    }

    #[test]
    fn servers_of_a_gateway_are_told_apart_by_their_tls() {
        let server = |mode: &str| json!({"port": {"number": 443}, "tls": {"mode": mode}});
        let spec = json!({"selector": {"istio": "egress"}, "servers": [server("ISTIO_MUTUAL"), server("AUTO_PASSTHROUGH"), server("SIMPLE"), {"port": {"number": 80}}]});
        let found = gateway(&json!({"metadata": {"name": "g", "namespace": "shop"}, "spec": spec}));
        let tls: Vec<GatewayTls> = found.servers.iter().map(|server| server.tls).collect();
        assert_eq!(tls, [GatewayTls::IstioMutual, GatewayTls::AutoPassthrough, GatewayTls::Other, GatewayTls::Other]);
    }

    #[test]
    fn envoy_filters_of_inbound_listeners_and_added_clusters_are_read() {
        let read = |patches: Value| {
            let spec = json!({"workloadSelector": {"labels": {"app": "web"}}, "configPatches": patches});
            envoy_filter(&json!({"metadata": {"name": "tune", "namespace": "shop"}, "spec": spec}))
        };
        for (kind, context, changes_inbound) in [
            ("LISTENER", json!("SIDECAR_INBOUND"), true),
            ("FILTER_CHAIN", json!("ANY"), true),
            ("NETWORK_FILTER", json!(null), true),
            ("HTTP_FILTER", json!("SIDECAR_INBOUND"), false),
            ("LISTENER", json!("SIDECAR_OUTBOUND"), false),
            ("LISTENER", json!("GATEWAY"), false),
            ("CLUSTER", json!("SIDECAR_INBOUND"), false),
        ] {
            let found =
                read(json!([{"applyTo": kind, "match": {"context": context}, "patch": {"operation": "MERGE"}}]));
            assert_eq!(found.changes_inbound, changes_inbound, "{kind} {context}");
            assert_eq!(found.selector, [("app".to_owned(), "web".to_owned())].into());
        }
        let cluster = |operation: &str, socket: Value| {
            let address = json!({"socket_address": {"address": "web.shop.svc.cluster.local", "port_value": 80}});
            let value = json!({
                "name": "raw", "transport_socket": socket,
                "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]},
            });
            read(json!([{"applyTo": "CLUSTER", "patch": {"operation": operation, "value": value}}]))
                .plaintext_hosts
                .len()
        };
        assert_eq!(cluster("ADD", json!(null)), 1);
        assert_eq!((cluster("ADD", json!({"name": "tls"})), cluster("MERGE", json!(null))), (0, 0));
    }

    #[test]
    fn canary_controllers_are_at_work_or_at_rest() {
        let object =
            |phase: &str, spec: Value| json!({"metadata": {"name": "web"}, "spec": spec, "status": {"phase": phase}});
        for (phase, is_in_progress) in [
            ("", false),
            ("Initialized", false),
            ("Progressing", true),
            ("WaitingPromotion", true),
            ("Succeeded", false),
            ("Failed", false),
        ] {
            let found = flagger_canary(&object(phase, json!({})));
            assert_eq!(
                (found.is_in_progress, found.object.as_str()),
                (is_in_progress, "canary.flagger.app/web"),
                "{phase}"
            );
        }
        let shifting = json!({"strategy": {"canary": {"trafficRouting": {"istio": {}}}}});
        for (phase, is_in_progress) in [("Paused", true), ("Progressing", true), ("Healthy", false)] {
            let found = argo_rollout(&object(phase, shifting.clone())).unwrap();
            assert_eq!(found.is_in_progress, is_in_progress, "{phase}");
        }
        assert_eq!(argo_rollout(&object("Progressing", json!({"strategy": {"canary": {}}}))), None);
    }

    #[test]
    fn a_target_group_leads_to_the_pods_of_its_service() {
        let rows = [
            (json!({"name": "web", "port": 80}), Some(("web", Some(PortRef::Number(80))))),
            (json!({"name": "web", "port": "http"}), Some(("web", Some(PortRef::Name("http".into()))))),
            (json!({"name": "web"}), Some(("web", None))),
            (json!({}), None),
        ];
        for (reference, expected) in rows {
            let spec = json!({"serviceRef": reference, "targetGroupARN": "arn:aws:x", "targetType": "ip"});
            let found = target_group_binding(&json!({"metadata": {"name": "lb", "namespace": "shop"}, "spec": spec}));
            let named = found.first().map(|caller| (caller.service.as_str(), caller.port.clone()));
            assert_eq!(named, expected, "{reference}");
            for caller in &found {
                assert_eq!(caller.object, "targetgroupbinding.elbv2.k8s.aws/lb");
                assert_eq!((caller.namespace.as_str(), caller.kind), ("shop", ExternalCallerKind::Ingress));
            }
        }
    }
}
