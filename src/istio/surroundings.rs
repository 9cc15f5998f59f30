//! Reads the objects (JSON) that tell who calls the Services of a namespace: `VirtualServices`, Ingresses,
//! Routes, webhooks, aggregated APIs, `CronJobs` and `AuthorizationPolicies`.

use super::read::metadata;
use crate::domain::mesh::PortRef;
use crate::domain::namespace_context::{CronJob, ExternalCaller, ExternalCallerKind};
use serde_json::Value;

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

/// Whether an `AuthorizationPolicy` matches the caller's identity, which is known only with mutual TLS.
pub fn matches_identity(object: &Value) -> bool {
    let sources = items(&object["spec"], "rules").flat_map(|rule| items(rule, "from")).map(|from| &from["source"]);
    let fields =
        ["principals", "notPrincipals", "namespaces", "notNamespaces", "serviceAccounts", "notServiceAccounts"];
    sources
        .into_iter()
        .any(|source| fields.iter().any(|field| source[*field].as_array().is_some_and(|values| !values.is_empty())))
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
}
