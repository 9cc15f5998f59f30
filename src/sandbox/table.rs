//! The `Table` form of objects, which `kubectl get` prints.

use super::resource::Resource;
use serde_json::{Value, json};

/// A table with a row per object.
pub(super) fn of(resource: &Resource, objects: &[&Value], metadata: &Value) -> Value {
    let is_pod = resource.kind == "Pod";
    let mut columns = vec![column("Name", "name", false)];
    if is_pod {
        columns.push(column("Ready", "", false));
    }
    columns.extend(resource.columns.iter().map(|(title, _, wide)| column(title, "", *wide)));
    columns.push(column("Age", "", false));
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut cells = vec![object["metadata"]["name"].clone()];
            if is_pod {
                cells.push(readiness(object).into());
            }
            cells.extend(resource.columns.iter().map(|(title, pointer, _)| cell(object, title, pointer)));
            cells.push(age(object).into());
            let metadata = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]});
            json!({"cells": cells, "object": metadata})
        })
        .collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

fn column(name: &str, format: &str, wide: bool) -> Value {
    json!({"name": name, "type": "string", "format": format, "description": "", "priority": i32::from(wide)})
}

fn cell(object: &Value, title: &str, pointer: &str) -> Value {
    if title == "Status" && !object["metadata"]["deletionTimestamp"].is_null() {
        return "Terminating".into();
    }
    if title == "Port(s)" {
        return service_ports(object).into();
    }
    let state = &object["status"]["containerStatuses"][0]["state"];
    let reason =
        [&state["terminated"]["reason"], &state["waiting"]["reason"]].into_iter().find(|reason| reason.is_string());
    match reason {
        Some(reason) if title == "Status" => reason.clone(),
        _ => object.pointer(pointer).cloned().unwrap_or(Value::Null),
    }
}

/// The ports of a Service: `80/TCP,53/UDP`.
fn service_ports(service: &Value) -> String {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let ports = ports.map(|port| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP")));
    ports.collect::<Vec<_>>().join(",")
}

/// Ready containers and all containers, native sidecars included: `2/2`.
fn readiness(pod: &Value) -> String {
    let list = |part: &str, field: &str| pod[part][field].as_array().cloned().unwrap_or_default();
    let sidecars =
        list("spec", "initContainers").into_iter().filter(|container| container["restartPolicy"] == "Always");
    let all = list("spec", "containers").len() + sidecars.count();
    let statuses = ["containerStatuses", "initContainerStatuses"].map(|field| list("status", field)).concat();
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    format!("{ready}/{all}")
}

fn age(object: &Value) -> String {
    let created = crate::istio::read::created(object);
    let seconds = (jiff::Timestamp::now().as_second() - created).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
