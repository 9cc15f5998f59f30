//! The discovery documents of the API server: version, groups, resources, and the `OpenAPI` documents that
//! `kubectl apply` reads for field validation.

use super::resource::Resource;
use super::server::ApiServer;
use serde_json::{Map, Value, json};

/// The discovery document at a path; `None` for every other path.
pub(super) fn document(server: &ApiServer, path: &[&str]) -> Option<Value> {
    let catalogue = &server.catalogue;
    match path {
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": concat!("v1.36.0+secure-traffic-sandbox.", env!("CARGO_PKG_VERSION")),
            "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "",
            "platform": "sandbox",
        })),
        ["healthz" | "livez" | "readyz"] => Some(json!("ok")),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => Some(catalogue.group_list()),
        ["apis", group] => catalogue.group(group),
        ["api", version] => catalogue.resource_list("", version),
        ["apis", group, version] => catalogue.resource_list(group, version),
        ["openapi", "v3"] => Some(index(server)),
        ["openapi", "v3", "api", version] => Some(open_api(server, "", version)),
        ["openapi", "v3", "apis", group, version] => Some(open_api(server, group, version)),
        _ => None,
    }
}

fn index(server: &ApiServer) -> Value {
    let mut paths = Map::new();
    let mut add = |path: String| {
        let url = format!("/openapi/v3/{path}");
        paths.insert(path, json!({ "serverRelativeURL": url }));
    };
    add("api/v1".to_owned());
    for (group, versions) in server.catalogue.groups() {
        for version in versions {
            add(format!("apis/{group}/{version}"));
        }
    }
    json!({ "paths": paths })
}

fn open_api(server: &ApiServer, group: &str, version: &str) -> Value {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    let wanted = |resource: &&&Resource| resource.group == group && resource.versions.contains(&version);
    for resource in server.catalogue.0.iter().filter(wanted) {
        let kind = json!({"group": group, "version": version, "kind": resource.kind});
        let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/{version}") };
        let namespace = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation", "force"]
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}))
            .collect();
        let patch = json!({"parameters": parameters, "responses": {}, "x-kubernetes-group-version-kind": kind});
        paths.insert(format!("{root}{namespace}/{}/{{name}}", resource.plural), json!({ "patch": patch }));
        let mut schema = server.writer.schemas.open_api(resource);
        schema["x-kubernetes-group-version-kind"] = json!([kind]);
        let owner = if group.is_empty() { "core" } else { group };
        schemas.insert(format!("{owner}.{version}.{}", resource.kind), schema);
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "secure-traffic sandbox", "version": version}, "paths": paths,
        "components": {"schemas": schemas},
    })
}
