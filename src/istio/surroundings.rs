//! Objects around a namespace, as JSON → who calls its Services, and to which subsets.

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
        let weighted = items(route, "route").map(|one| &one["destination"]);
        weighted.chain(mirrors).chain(std::iter::once(&route["mirror"]))
    });
    let named = destinations.filter_map(|destination| {
        let (host, subset) = (destination["host"].as_str()?, destination["subset"].as_str()?);
        // As for rules, a name with a dot is taken as it is (DR-1).
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

/// The Services behind an Ingress; none where the mesh's own gateway serves it, which is in the mesh.
pub fn ingress(object: &Value) -> Vec<ExternalCaller> {
    let spec = &object["spec"];
    let annotated = &object["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    let class = spec["ingressClassName"].as_str().or(annotated.as_str()).unwrap_or_default();
    if class == "istio" {
        return Vec::new();
    }
    let paths = items(spec, "rules").flat_map(|rule| items(&rule["http"], "paths"));
    let backends = paths.map(|path| &path["backend"]).chain(std::iter::once(&spec["defaultBackend"]));
    let doors = backends.filter_map(|backend| {
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
    doors.collect()
}

/// The Services behind an OpenShift Route.
pub fn route(object: &Value) -> Vec<ExternalCaller> {
    let spec = &object["spec"];
    let backends = std::iter::once(&spec["to"]).chain(items(spec, "alternateBackends"));
    let named = backends.filter_map(|backend| {
        // A Route names the target port, which need not be a Service port; so none is taken from it.
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

/// The Services that the API server calls by a webhook configuration.
pub fn webhooks(resource: &str, object: &Value) -> Vec<ExternalCaller> {
    items(object, "webhooks").filter_map(|hook| called(resource, object, &hook["clientConfig"]["service"])).collect()
}

/// The Service that the API server calls by an aggregated API.
pub fn api_service(object: &Value) -> Vec<ExternalCaller> {
    called("apiservice.apiregistration.k8s.io", object, &object["spec"]["service"]).into_iter().collect()
}

fn called(resource: &str, object: &Value, service: &Value) -> Option<ExternalCaller> {
    Some(ExternalCaller {
        kind: ExternalCallerKind::ApiServer,
        object: format!("{resource}/{}", metadata(object, "name")),
        namespace: service["namespace"].as_str()?.to_owned(),
        service: service["name"].as_str()?.to_owned(),
        port: Some(port(&service["port"]).unwrap_or(PortRef::Number(443))),
    })
}

/// A `CronJob`.
pub fn cron_job(object: &Value) -> CronJob {
    let template = &object["spec"]["jobTemplate"]["spec"]["template"];
    let key = "sidecar.istio.io/inject";
    let said = &template["metadata"]["labels"][key];
    let said = if said.is_null() { &template["metadata"]["annotations"][key] } else { said };
    CronJob {
        name: metadata(object, "name").to_owned(),
        declines_injection: said == "false" || template["spec"]["hostNetwork"] == true,
        asks_for_injection: said == "true",
    }
}

/// Whether an `AuthorizationPolicy` asks who the caller is, which only mutual TLS can tell.
pub fn asks_for_identity(object: &Value) -> bool {
    let sources = items(&object["spec"], "rules").flat_map(|rule| items(rule, "from")).map(|from| &from["source"]);
    let words = ["principals", "notPrincipals", "namespaces", "notNamespaces", "serviceAccounts", "notServiceAccounts"];
    sources.into_iter().any(|source| words.iter().any(|word| source[*word].as_array().is_some_and(|it| !it.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subsets_count_only_where_a_route_names_them() {
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
    fn an_ingress_names_its_backends_unless_the_mesh_serves_it() {
        let mut object = json!({
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
                "rules": [{"http": {"paths": [{"backend": {"service": {"name": "api", "port": {"name": "http"}}}}]}}],
            },
        });
        let found: Vec<_> = ingress(&object).into_iter().map(|door| (door.service, door.port)).collect();
        let (api, web) = (PortRef::Name("http".into()), PortRef::Number(80));
        assert_eq!(found, [("api".to_owned(), Some(api)), ("web".to_owned(), Some(web))]);
        object["spec"]["ingressClassName"] = json!("istio");
        assert!(ingress(&object).is_empty());
    }

    #[test]
    fn the_api_server_calls_what_webhooks_name() {
        let hooks = json!({"metadata": {"name": "check"}, "webhooks": [
            {"clientConfig": {"service": {"namespace": "shop", "name": "hook"}}},
            {"clientConfig": {"url": "https://elsewhere"}},
        ]});
        let found = webhooks("validatingwebhookconfiguration.admissionregistration.k8s.io", &hooks);
        assert_eq!((found.len(), found[0].port.clone()), (1, Some(PortRef::Number(443))));
    }
}
