//! Renders rights as a ServiceAccount with Roles and bindings, for `rbac`.

use super::yaml;
use crate::domain::rights::{Group, Rights};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The ServiceAccount that gets the rights, and the namespaces that they apply to.
#[derive(Debug, Clone)]
pub struct RoleSubject<'a> {
    /// Name of the ServiceAccount and of its Roles.
    pub account: &'a str,
    /// The namespace of the command, which gets the ServiceAccount.
    pub namespace: &'a str,
    /// The namespace of the probe pod, if that is another one.
    pub probe_namespace: Option<&'a str>,
    /// The mesh's root namespace.
    pub root: &'a str,
    /// The namespace of ztunnel.
    pub ztunnel: &'a str,
    /// `--revision`: the mesh's ConfigMap is `istio-<revision>`.
    pub revision: Option<&'a str>,
}

const API: &str = "rbac.authorization.k8s.io/v1";

/// The objects that grant these rights.
pub fn objects(rights: &Rights, to: &RoleSubject<'_>) -> Vec<Value> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": to.account, "namespace": to.namespace},
    });
    // In other namespaces the name of the Role has the namespace of the account: accounts of several namespaces can have
    // a Role there.
    let qualified_name = format!("{}-{}", to.account, to.namespace);
    let mut objects = vec![account];
    objects.extend(role(to, to.account, Some(to.namespace), &rights.namespace));
    if let Some(probe_namespace) = to.probe_namespace {
        objects.extend(role(to, &qualified_name, Some(probe_namespace), &rights.probe_namespace));
    }
    let (root, ztunnel) = of_mesh(rights, to);
    objects.extend(role(to, &qualified_name, Some(to.root), &root));
    objects.extend(role(to, &qualified_name, Some(to.ztunnel), &ztunnel));
    objects.extend(role(to, &qualified_name, None, &rights.cluster));
    objects
}

/// The rights in the root namespace and in that of ztunnel, which are one Role where the namespaces are the same.
fn of_mesh(rights: &Rights, to: &RoleSubject<'_>) -> (Vec<Group>, Vec<Group>) {
    if to.ztunnel == to.root {
        ([rights.root.as_slice(), &rights.ztunnel].concat(), Vec::new())
    } else {
        (rights.root.clone(), rights.ztunnel.clone())
    }
}

/// A role and its binding; empty if there is nothing to grant.
fn role(to: &RoleSubject<'_>, name: &str, namespace: Option<&str>, groups: &[Group]) -> Vec<Value> {
    if groups.is_empty() {
        return Vec::new();
    }
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    let role = json!({"apiVersion": API, "kind": kind, "metadata": metadata, "rules": rules(groups, to.revision)});
    let binding = json!({
        "apiVersion": API, "kind": format!("{kind}Binding"), "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": to.account, "namespace": to.namespace}],
    });
    vec![role, binding]
}

/// One rule for each resource, with all of its verbs.
fn rules(groups: &[Group], revision: Option<&str>) -> Vec<Value> {
    let mut rules: Vec<(&str, &str, Vec<String>, Vec<&str>)> = Vec::new();
    for group in groups {
        let names: Vec<String> = group.names.iter().map(|name| named(name, revision)).collect();
        for (verb, api, resource) in group.rights {
            match rules.iter_mut().find(|rule| (rule.0, rule.1, &rule.2) == (*api, *resource, &names)) {
                Some(rule) if rule.3.contains(verb) => {}
                Some(rule) => rule.3.push(verb),
                None => rules.push((api, resource, names.clone(), vec![verb])),
            }
        }
    }
    let rule = |(api, resource, names, verbs): (&str, &str, Vec<String>, Vec<&str>)| {
        let mut rule = json!({"apiGroups": [api], "resources": [resource], "verbs": verbs});
        if !names.is_empty() {
            rule["resourceNames"] = names.into();
        }
        rule
    };
    rules.into_iter().map(rule).collect()
}

fn named(name: &str, revision: Option<&str>) -> String {
    match revision {
        Some(revision) if name == "istio" && revision != "default" => format!("istio-{revision}"),
        _ => name.to_owned(),
    }
}

/// The objects as YAML, after comments with the purpose of each right.
pub fn manifest(command: &str, rights: &Rights, to: &RoleSubject<'_>) -> Result<String, yaml::Error> {
    let mut text = format!("# The least rights for {command}.\n");
    let (root, ztunnel) = of_mesh(rights, to);
    let probe_namespace = to.probe_namespace.map(|namespace| format!("namespace {namespace}")).unwrap_or_default();
    for (place, groups) in [
        (format!("namespace {}", to.namespace), &rights.namespace),
        (probe_namespace, &rights.probe_namespace),
        (format!("namespace {}", to.root), &root),
        (format!("namespace {}", to.ztunnel), &ztunnel),
        ("the whole cluster".to_owned(), &rights.cluster),
    ] {
        if !groups.is_empty() {
            let _ = writeln!(text, "#\n# In {place}:");
        }
        for group in groups {
            let mut resources: Vec<&str> = group.rights.iter().map(|(_, _, resource)| *resource).collect();
            resources.dedup();
            let _ = writeln!(text, "# - {}: {}", resources.join(", "), group.purpose);
        }
    }
    Ok(text + &yaml::write_all(&objects(rights, to))?)
}
