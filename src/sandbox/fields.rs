//! Field ownership: reads and writes `metadata.managedFields`, and merges a server-side apply.
//!
//! Lists are atomic, as in the mesh's CRDs. The keyed lists of built-in kinds are treated as atomic, too.

use super::status::ApiStatus;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Keys from the root of an object.
type Path = Vec<String>;
/// The fields that a manager owns: leaves, and maps that it created.
type Set = BTreeSet<Path>;

/// Metadata that the server writes or that identifies the object; no manager owns it.
const SERVERS_OWN: [&str; 10] = [
    "name",
    "namespace",
    "managedFields",
    "resourceVersion",
    "uid",
    "creationTimestamp",
    "generation",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

fn is_tracked(path: &[String]) -> bool {
    match path {
        [top] => !matches!(top.as_str(), "apiVersion" | "kind" | "status"),
        [top, field] if top == "metadata" => !SERVERS_OWN.contains(&field.as_str()),
        _ => true,
    }
}

/// Visits every tracked node; `visit` returns whether to visit its children.
fn walk(value: &Value, path: &mut Path, visit: &mut impl FnMut(&Path, &Value) -> bool) {
    for (key, child) in value.as_object().into_iter().flatten() {
        path.push(key.clone());
        if is_tracked(path) && visit(path, child) {
            walk(child, path, visit);
        }
        path.pop();
    }
}

fn is_branch(value: &Value) -> bool {
    value.as_object().is_some_and(|map| !map.is_empty())
}

/// The fields that an applied configuration claims: its leaves.
fn leaves(object: &Value) -> Set {
    let mut set = Set::new();
    walk(object, &mut Path::new(), &mut |path, value| {
        if !is_branch(value) && path.as_slice() != ["metadata"] {
            set.insert(path.clone());
        }
        is_branch(value)
    });
    set
}

/// The fields that an update changed: leaves that are new or different, and maps that are new.
fn differences(former: &Value, object: &Value) -> Set {
    let mut set = Set::new();
    walk(object, &mut Path::new(), &mut |path, value| {
        let before = at(former, path);
        let is_new = before.is_none() && path.as_slice() != ["metadata"];
        if is_new || !is_branch(value) && before != Some(value) {
            set.insert(path.clone());
        }
        is_branch(value)
    });
    set
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, key| value.get(key))
}

fn to_fields_v1(set: &Set) -> Value {
    let mut root = Map::new();
    for path in set {
        let mut node = &mut root;
        for (depth, key) in path.iter().enumerate() {
            // Paths are sorted, so a prefix that is a member itself is inserted before.
            if depth > 0 && set.contains(&path[..depth]) {
                node.insert(".".into(), json!({}));
            }
            let entry = node.entry(format!("f:{key}")).or_insert_with(|| json!({}));
            let Value::Object(child) = entry else { break };
            node = child;
        }
    }
    Value::Object(root)
}

fn from_fields_v1(fields: &Value, path: &mut Path, set: &mut Set) {
    let Some(map) = fields.as_object() else { return };
    if !path.is_empty() && (map.is_empty() || map.contains_key(".")) {
        set.insert(path.clone());
    }
    for (key, child) in map {
        if let Some(field) = key.strip_prefix("f:") {
            path.push(field.to_owned());
            from_fields_v1(child, path, set);
            path.pop();
        }
    }
}

/// One entry of `managedFields`.
struct Manager {
    name: String,
    operation: &'static str,
    api_version: String,
    time: String,
    fields: Set,
}

impl Manager {
    fn read(entry: &Value) -> Option<Self> {
        let mut fields = Set::new();
        from_fields_v1(&entry["fieldsV1"], &mut Path::new(), &mut fields);
        Some(Self {
            name: entry["manager"].as_str()?.to_owned(),
            operation: if entry["operation"] == "Apply" { "Apply" } else { "Update" },
            api_version: entry["apiVersion"].as_str()?.to_owned(),
            time: entry["time"].as_str().unwrap_or_default().to_owned(),
            fields,
        })
    }

    fn to_json(&self) -> Value {
        let mut entry = json!({
            "manager": self.name, "operation": self.operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(&self.fields),
        });
        // A client may send an entry without a time.
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        entry
    }

    /// The name in conflict messages.
    fn title(&self) -> String {
        match self.operation {
            "Apply" => format!("\"{}\"", self.name),
            _ => format!("\"{}\" using {}", self.name, self.api_version),
        }
    }
}

/// Who writes, through which version, and when.
#[derive(Debug, Clone)]
pub(super) struct Author {
    pub(super) manager: String,
    pub(super) api_version: String,
    pub(super) time: String,
}

fn managers(object: &Value) -> Vec<Manager> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(Manager::read).collect()
}

fn store(object: &mut Value, managers: &[Manager]) {
    let entries: Vec<Value> =
        managers.iter().filter(|manager| !manager.fields.is_empty()).map(Manager::to_json).collect();
    object["metadata"]["managedFields"] = entries.into();
}

/// Sets the fields of `author` in `managers`. The time stays if the fields and the version do.
fn assign(managers: &mut Vec<Manager>, author: &Author, operation: &'static str, fields: Set) {
    let same = |manager: &&mut Manager| {
        manager.name == author.manager
            && manager.operation == operation
            && (operation == "Apply" || manager.api_version == author.api_version)
    };
    if let Some(own) = managers.iter_mut().find(same) {
        if own.fields != fields || own.api_version != author.api_version {
            own.fields = fields;
            own.time.clone_from(&author.time);
            own.api_version.clone_from(&author.api_version);
        }
    } else {
        managers.push(Manager {
            name: author.manager.clone(),
            operation,
            api_version: author.api_version.clone(),
            time: author.time.clone(),
            fields,
        });
    }
}

/// Records a create, update or patch: the author becomes the only owner of the changed fields.
pub(super) fn record_update(former: Option<&Value>, object: &mut Value, author: &Author) {
    if object["metadata"]["managedFields"].is_null()
        && let Some(former) = former
    {
        object["metadata"]["managedFields"] = former["metadata"]["managedFields"].clone();
    }
    let changed = differences(former.unwrap_or(&json!({"metadata": {}})), object);
    let mut managers = managers(object);
    let mut own = Set::new();
    for manager in &mut managers {
        manager.fields.retain(|path| at(object, path).is_some());
        if manager.name == author.manager && manager.operation == "Update" && manager.api_version == author.api_version
        {
            own.clone_from(&manager.fields);
        } else {
            manager.fields.retain(|path| !changed.contains(path));
        }
    }
    own.extend(changed);
    assign(&mut managers, author, "Update", own);
    store(object, &managers);
}

/// Server-side apply: merges `applied` into `live`, takes ownership, and drops what the author no longer claims.
pub(super) fn apply(live: Option<&Value>, applied: &Value, author: &Author, force: bool) -> Result<Value, ApiStatus> {
    let claimed = leaves(applied);
    let empty = json!({"metadata": {}});
    let live = live.unwrap_or(&empty);
    let mut merged = live.clone();
    merge(&mut merged, applied);

    let mut managers = managers(live);
    let is_author = |manager: &Manager| manager.name == author.manager && manager.operation == "Apply";
    let taken = |path: &Path| claimed.contains(path) && at(live, path) != at(&merged, path);
    let mut conflicts = Vec::new();
    for other in managers.iter().filter(|manager| !is_author(manager)) {
        let contested = other.fields.iter().filter(|path| taken(path));
        conflicts.extend(contested.map(|path| (other.title(), format!(".{}", path.join(".")))));
    }
    if !conflicts.is_empty() && !force {
        return Err(ApiStatus::field_conflicts(&conflicts));
    }
    for other in managers.iter_mut().filter(|manager| !is_author(manager)) {
        other.fields.retain(|path| !taken(path));
    }

    let former: Set = managers.iter().filter(|manager| is_author(manager)).flat_map(|own| own.fields.clone()).collect();
    let mut kept = claimed.clone();
    kept.extend(managers.iter().filter(|manager| !is_author(manager)).flat_map(|other| other.fields.clone()));
    // A map that the author created stays as long as it has a field.
    let is_empty_of_others = |path: &&Path| !kept.iter().any(|other| other.starts_with(path.as_slice()));
    for path in former.difference(&kept).filter(is_empty_of_others) {
        prune(&mut merged, path, &kept);
    }
    assign(&mut managers, author, "Apply", claimed);
    store(&mut merged, &managers);
    Ok(merged)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Removes a field, and each parent map that is empty then and has no owner.
fn prune(object: &mut Value, path: &[String], kept: &Set) {
    let Some((last, parents)) = path.split_last() else { return };
    let Some(parent) = parents.iter().try_fold(&mut *object, |value, key| value.get_mut(key)) else { return };
    let Some(map) = parent.as_object_mut() else { return };
    map.remove(last);
    let is_kept = kept.iter().any(|other| other.starts_with(parents));
    if map.is_empty() && !is_kept && parents.len() > usize::from(parents.first().is_some_and(|top| top == "metadata")) {
        prune(object, parents, kept);
    }
}
