//! Finds who owns the fields that a change writes, from `metadata.managedFields`, and which tool manages the object.

use super::paths::{is_legacy, traffic_policy};
use super::render;
use crate::domain::mesh::ClientTls;
use crate::domain::plan::{Change, ObjectJson, PolicyAction, RuleAction, TlsPlace};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// The field manager of this tool.
pub const FIELD_MANAGER: &str = "secure-traffic";

/// Command-line tools, whose fields a user set; the confirmation covers them.
const CLI_MANAGERS: [&str; 3] = ["kubectl", "oc", "before-first-apply"];

/// What kind of manager owns a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// This tool.
    Ours,
    /// kubectl or oc: the user is asked.
    Cli,
    /// A controller, which would write its own value again.
    Other,
}

/// The class of a manager, by its name.
pub fn classify(manager: &str) -> Class {
    if manager == FIELD_MANAGER {
        return Class::Ours;
    }
    // kubectl's names are `kubectl`, `kubectl-edit`, `kubectl-client-side-apply`, …; those of oc are alike.
    let is_cli = |name: &&str| manager.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    if CLI_MANAGERS.iter().any(is_cli) { Class::Cli } else { Class::Other }
}

/// A manager that owns a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    pub manager: String,
    pub class: Class,
    /// The API version that it used, for an update; kubectl reports none for an apply.
    pub updated_by: Option<String>,
    /// As kubectl writes it: `.spec.mtls.mode`.
    pub field: String,
}

/// Whether this tool has applied the object.
pub fn is_applied_by_us(object: &Value) -> bool {
    let mut entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

/// The fields that a change of an existing object writes, each as a path of tokens. A restore writes none that is
/// somebody else's: it puts back only what nobody has changed since.
pub fn fields(object: &Value, change: &Change) -> BTreeSet<Vec<String>> {
    let merged = |spec: &ObjectJson| {
        let mut fields = BTreeSet::new();
        collect_differences(&object["spec"], spec.value(), &mut vec!["spec".to_owned()], &mut fields);
        fields
    };
    match change {
        Change::Policy(policy) => match &policy.action {
            PolicyAction::SetMode { .. } => [mode_field(object)].into(),
            PolicyAction::SetPorts { ports } => merged(&render::with_ports(object, ports)),
            PolicyAction::Merge { spec, .. } => merged(spec),
            _ => BTreeSet::new(),
        },
        Change::Rule(rule) => match &rule.action {
            RuleAction::Edit(edits) => edits.iter().map(|edit| tls_field(edit.place())).collect(),
            RuleAction::Merge { spec, .. } => merged(spec),
            _ => BTreeSet::new(),
        },
    }
}

/// Adds the paths at which two values differ; a list differs as a whole.
fn collect_differences(left: &Value, right: &Value, path: &mut Vec<String>, fields: &mut BTreeSet<Vec<String>>) {
    match (left.as_object(), right.as_object()) {
        (Some(left), Some(right)) => {
            for key in left.keys().chain(right.keys()) {
                path.push(key.clone());
                let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                collect_differences(&value(left), &value(right), path, fields);
                path.pop();
            }
        }
        _ if left == right => {}
        _ => {
            fields.insert(path.clone());
        }
    }
}

/// The fields, as `.spec.selector`, that differ between `object` and a former `spec`, and that this tool has not written:
/// neither the mode nor a `tls` block, and not owned by its field manager. A restore must not change them. Lists are
/// owned as a whole.
pub fn fields_of_others(object: &Value, spec: &ObjectJson) -> Vec<String> {
    let (live, former) = (without_tls(&object["spec"]), without_tls(spec.value()));
    let mut fields = BTreeSet::new();
    collect_differences(&live, &former, &mut vec!["spec".to_owned()], &mut fields);
    let is_ours =
        |field: &Vec<String>| owners(object, &[field.clone()].into()).iter().any(|owner| owner.class == Class::Ours);
    fields.iter().filter(|field| !is_ours(field)).map(|field| format!(".{}", field.join("."))).collect()
}

/// A spec of a policy or a rule without the mode of the namespace, the `tls` blocks, and what only held them.
fn without_tls(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(mtls) = spec.get_mut("mtls").and_then(Value::as_object_mut) {
        mtls.remove("mode");
    }
    if let Some(peers) = spec.get_mut("peers").and_then(Value::as_array_mut) {
        peers.retain(|peer| peer.get("mtls").is_none());
    }
    remove_tls(spec.get_mut("trafficPolicy"));
    for subset in spec.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
        remove_tls(subset.get_mut("trafficPolicy"));
        drop_empty(subset, &["trafficPolicy"]);
    }
    drop_empty(&mut spec, &["mtls", "peers", "trafficPolicy"]);
    if spec.is_null() { Value::Object(serde_json::Map::new()) } else { spec }
}

/// Removes the `tls` blocks of a traffic policy, and port entries that have nothing else.
fn remove_tls(policy: Option<&mut Value>) {
    let Some(policy) = policy else { return };
    if let Some(fields) = policy.as_object_mut() {
        fields.remove("tls");
    }
    if let Some(ports) = policy.get_mut("portLevelSettings").and_then(Value::as_array_mut) {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("tls");
        }
        ports.retain(|port| port.as_object().is_none_or(|fields| fields.keys().any(|key| key != "port")));
    }
    drop_empty(policy, &["portLevelSettings"]);
}

/// Removes these fields where they are null, an empty object or an empty list.
fn drop_empty(value: &mut Value, fields: &[&str]) {
    let Some(object) = value.as_object_mut() else { return };
    for field in fields {
        let is_empty = match object.get(*field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(items)) => items.is_empty(),
            Some(value) => value.is_null(),
            None => false,
        };
        if is_empty {
            object.remove(*field);
        }
    }
}

/// Every owner of these fields, ordered by manager.
pub fn owners(object: &Value, fields: &BTreeSet<Vec<String>>) -> Vec<Owner> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut owners: Vec<Owner> =
        entries.flat_map(|entry| fields.iter().filter_map(move |field| owner(entry, field))).collect();
    owners.sort();
    owners.dedup();
    owners
}

/// The field of a policy's mode.
fn mode_field(object: &Value) -> Vec<String> {
    let tokens: &[&str] = if is_legacy(object) { &["spec", "peers"] } else { &["spec", "mtls", "mode"] };
    tokens.iter().map(|token| (*token).to_owned()).collect()
}

/// The field of a `tls` block. Lists of these kinds are owned as a whole: who changes one port entry owns all of them.
fn tls_field(place: TlsPlace) -> Vec<String> {
    let mut path = traffic_policy(place);
    path.push("tls".to_owned());
    let list = path.iter().position(|token| token == "portLevelSettings" || token == "subsets");
    path.truncate(list.map_or(path.len(), |position| position + 1));
    path
}

fn owner(entry: &Value, field: &[String]) -> Option<Owner> {
    let mut node = &entry["fieldsV1"];
    for (depth, token) in field.iter().enumerate() {
        match node.get(format!("f:{token}")) {
            Some(next) => node = next,
            // A parent that is owned as one value: `f:trafficPolicy: {}`.
            None if depth > 0 && node.as_object().is_some_and(serde_json::Map::is_empty) => break,
            None => return None,
        }
    }
    let manager = entry["manager"].as_str().unwrap_or("unknown");
    let is_update = entry["operation"].as_str() == Some("Update");
    Some(Owner {
        manager: manager.to_owned(),
        class: classify(manager),
        updated_by: is_update.then(|| entry["apiVersion"].as_str().unwrap_or_default().to_owned()),
        field: format!(".{}", field.join(".")),
    })
}

/// The first manager by name that is neither this tool nor a command-line tool and owns an `ISTIO_MUTUAL` of a
/// `DestinationRule`.
pub fn foreign_tls_manager(object: &Value) -> Option<String> {
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    let spec = &object["spec"];
    let mutual = |policy: &Value| {
        policy["tls"]["mode"].as_str().map(|mode| ClientTls::parse(Some(mode))) == Some(ClientTls::IstioMutual)
    };
    let any = |list: &Value, test: &dyn Fn(&Value) -> bool| list.as_array().into_iter().flatten().any(test);
    let ports = |policy: &Value| any(&policy["portLevelSettings"], &mutual);
    let policy = &spec["trafficPolicy"];
    let subsets = any(&spec["subsets"], &|subset| mutual(&subset["trafficPolicy"]) || ports(&subset["trafficPolicy"]));
    let fields = [
        (mutual(policy), &["spec", "trafficPolicy", "tls"][..]),
        (ports(policy), &["spec", "trafficPolicy", "portLevelSettings"]),
        (subsets, &["spec", "subsets"]),
    ];
    let fields: Vec<Vec<String>> = fields
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, tokens)| tokens.iter().map(|token| (*token).to_owned()).collect())
        .collect();
    let owners: Vec<Owner> =
        entries.iter().flat_map(|entry| fields.iter().filter_map(move |field| owner(entry, field))).collect();
    if owners.is_empty() && !fields.is_empty() {
        // Nothing shows that this tool or a user wrote it.
        return Some("unknown".to_owned());
    }
    owners.into_iter().filter(|owner| owner.class == Class::Other).map(|owner| owner.manager).min()
}

/// A conflict with other managers in kubectl's format, with its three remedies; `None` if no other manager owns one of
/// the fields.
pub fn conflict(object: &Value, fields: &BTreeSet<Vec<String>>) -> Option<String> {
    let others: Vec<Owner> = owners(object, fields).into_iter().filter(|owner| owner.class == Class::Other).collect();
    let title = |owner: &Owner| match &owner.updated_by {
        Some(version) => format!("\"{}\" using {version}", owner.manager),
        None => format!("\"{}\"", owner.manager),
    };
    let text = match &others[..] {
        [] => return None,
        [owner] => format!("Apply failed with 1 conflict: conflict with {}: {}", title(owner), owner.field),
        many => {
            let groups = many.chunk_by(|left, right| title(left) == title(right)).map(|group| {
                let fields: Vec<String> = group.iter().map(|owner| format!("\n- {}", owner.field)).collect();
                format!("conflicts with {}:{}", title(&group[0]), fields.concat())
            });
            format!("Apply failed with {} conflicts: {}", many.len(), groups.collect::<Vec<_>>().join("\n"))
        }
    };
    Some(format!("{text}\n{REMEDIES}"))
}

/// kubectl's remedies, for a tool that has no manifest to edit.
const REMEDIES: &str = "\
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please leave them out:
  name other services, or use `--destination-rules=never` or `--policy NAME`.
* You may co-own fields by changing them where their manager takes them
  from to the value that this command would write; then nothing is left to change.
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts";

/// A tool that manages an object and may put its former fields back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManagedBy {
    /// Argo CD, with the application.
    ArgoCd(String),
    /// Flux, with its Kustomization or `HelmRelease`.
    Flux(String),
    /// A Helm release.
    Helm(String),
    /// `OpenShift` Service Mesh's operator, with the control plane.
    Maistra(String),
    /// Istio's own operator, or another one that labels what it creates.
    Operator(String),
    /// A `Canary` of Flagger, by its owner reference.
    Flagger(String),
    /// An owner reference, as `Kind/name`.
    Owner(String),
}

impl fmt::Display for ManagedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (manager, remedy) = match self {
            Self::ArgoCd(name) => (format!("Argo CD ({name})"), "change its source, or pause its sync"),
            Self::Flux(name) => (format!("Flux ({name})"), "change its source, or suspend it"),
            Self::Helm(name) => (format!("Helm release {name}"), "the next upgrade may put it back; change its values"),
            Self::Maistra(name) => {
                (format!("the Service Mesh operator ({name})"), "change the control plane's resource")
            }
            Self::Operator(name) => (format!("an operator ({name})"), "change the resource that it works from"),
            Self::Flagger(name) => (
                format!("Flagger (canary/{name})"),
                "it writes its rules anew: set spec.service.trafficPolicy.tls of the Canary",
            ),
            Self::Owner(name) => (name.clone(), "its controller may put it back; change the owner"),
        };
        write!(f, "is kept by {manager}: {remedy}")
    }
}

/// The tools whose labels, annotations or owner references the object has.
pub fn managed_by(object: &Value) -> Vec<ManagedBy> {
    let metadata = &object["metadata"];
    let value = |group: &str, key: &str| metadata[group][key].as_str().map(str::to_owned);
    let label = |key| value("labels", key);
    let annotation = |key| value("annotations", key);
    let mut managers: Vec<ManagedBy> = [
        label("argocd.argoproj.io/instance")
            .or_else(|| annotation("argocd.argoproj.io/tracking-id"))
            .map(ManagedBy::ArgoCd),
        label("kustomize.toolkit.fluxcd.io/name").map(ManagedBy::Flux),
        label("helm.toolkit.fluxcd.io/name").map(ManagedBy::Flux),
        annotation("meta.helm.sh/release-name").map(ManagedBy::Helm),
        label("maistra.io/owner").map(ManagedBy::Maistra),
        label("install.operator.istio.io/owning-resource").map(ManagedBy::Operator),
        label("olm.owner").map(ManagedBy::Operator),
    ]
    .into_iter()
    .flatten()
    .collect();
    for owner in metadata["ownerReferences"].as_array().into_iter().flatten() {
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        managers.push(if text("kind") == "Canary" && text("apiVersion").starts_with("flagger.app/") {
            ManagedBy::Flagger(text("name").to_owned())
        } else {
            ManagedBy::Owner(format!("{}/{}", text("kind"), text("name")))
        });
    }
    managers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mesh::MtlsMode;
    use crate::domain::plan::{PolicyChange, RuleChange, TlsEdit};
    use serde_json::json;

    #[test]
    fn managers_are_classified() {
        for (manager, class) in [
            ("secure-traffic", Class::Ours),
            ("kubectl", Class::Cli),
            ("kubectl-client-side-apply", Class::Cli),
            ("kubectl-edit", Class::Cli),
            ("oc", Class::Cli),
            ("before-first-apply", Class::Cli),
            ("argocd-controller", Class::Other),
            ("octopus", Class::Other),
            ("kubectlx", Class::Other),
            ("secure-traffic-fork", Class::Other),
            ("", Class::Other),
        ] {
            assert_eq!(classify(manager), class, "{manager}");
        }
    }

    fn rule_change(action: RuleAction) -> Change {
        Change::Rule(RuleChange { namespace: "shop".into(), name: "web".into(), action })
    }

    fn set_tls(places: &[TlsPlace]) -> Change {
        let set = |place: &TlsPlace| TlsEdit::Set { place: *place, from: None };
        rule_change(RuleAction::Edit(places.iter().map(set).collect()))
    }

    fn set_tls_conflict(object: &Value, places: &[TlsPlace]) -> Option<String> {
        conflict(object, &fields(object, &set_tls(places)))
    }

    fn managed(entries: &[(&str, &str, Value)]) -> Value {
        let entries: Vec<Value> = entries
            .iter()
            .map(|(manager, operation, fields)| {
                json!({"manager": manager, "operation": operation, "apiVersion": "networking.istio.io/v1", "fieldsV1": fields})
            })
            .collect();
        json!({"apiVersion": "networking.istio.io/v1", "metadata": {"managedFields": entries}})
    }

    #[test]
    fn a_list_is_owned_as_a_whole_and_a_leaf_by_itself() {
        let object = managed(&[
            (
                "flux",
                "Apply",
                json!({"f:spec": {"f:host": {}, "f:subsets": {}, "f:trafficPolicy": {"f:portLevelSettings": {}}}}),
            ),
            ("editor", "Update", json!({"f:spec": {"f:trafficPolicy": {"f:tls": {".": {}, "f:mode": {}}}}})),
            ("atomic", "Apply", json!({"f:spec": {"f:trafficPolicy": {}}})),
        ]);
        let owned = |place| {
            let owners = owners(&object, &fields(&object, &set_tls(&[place])));
            owners.into_iter().map(|owner| format!("{} {}", owner.manager, owner.field)).collect::<Vec<_>>()
        };
        assert_eq!(owned(TlsPlace::Top), ["atomic .spec.trafficPolicy.tls", "editor .spec.trafficPolicy.tls"]);
        let lists = [".spec.trafficPolicy.portLevelSettings", ".spec.subsets"];
        assert_eq!(owned(TlsPlace::Port(3)), [format!("atomic {}", lists[0]), format!("flux {}", lists[0])]);
        assert_eq!(owned(TlsPlace::Subset(0)), [format!("flux {}", lists[1])]);
        assert_eq!(owned(TlsPlace::SubsetPort(0, 1)), [format!("flux {}", lists[1])]);
    }

    #[test]
    fn conflicts_have_kubectls_format() {
        let places = [TlsPlace::Top, TlsPlace::Subset(0)];
        let cli = ("kubectl-client-side-apply", "Update", json!({"f:spec": {"f:trafficPolicy": {"f:tls": {}}}}));
        assert_eq!(set_tls_conflict(&managed(std::slice::from_ref(&cli)), &places), None);
        let flux = ("flux", "Apply", json!({"f:spec": {"f:subsets": {}}}));
        let single = set_tls_conflict(&managed(&[cli, flux.clone()]), &places).expect("a conflict");
        assert!(
            single.starts_with("Apply failed with 1 conflict: conflict with \"flux\": .spec.subsets\nPlease review"),
            "{single}"
        );
        let editor = ("editor", "Update", json!({"f:spec": {"f:trafficPolicy": {"f:tls": {"f:mode": {}}}}}));
        let two = set_tls_conflict(&managed(&[flux, editor]), &places).expect("conflicts");
        let expected = "Apply failed with 2 conflicts: conflicts with \"editor\" using networking.istio.io/v1:\n\
             - .spec.trafficPolicy.tls\nconflicts with \"flux\":\n- .spec.subsets\nPlease review";
        assert!(two.starts_with(expected), "{two}");
        assert_eq!(two.matches("\n* ").count(), 3, "three remedies");
    }

    #[test]
    fn a_policy_is_owned_by_its_mode_or_its_peers() {
        let action = PolicyAction::SetMode { from: None, to: MtlsMode::Strict };
        let change = Change::Policy(PolicyChange { namespace: "shop".into(), name: "default".into(), action });
        let mut object = managed(&[("flux", "Apply", json!({"f:spec": {"f:mtls": {"f:mode": {}}, "f:peers": {}}}))]);
        assert_eq!(owners(&object, &fields(&object, &change))[0].field, ".spec.mtls.mode");
        object["apiVersion"] = json!("authentication.istio.io/v1alpha1");
        assert_eq!(owners(&object, &fields(&object, &change))[0].field, ".spec.peers");
        assert_eq!(owners(&json!({"metadata": {}}), &fields(&object, &change)), []);
    }

    #[test]
    fn a_foreign_manager_counts_only_where_it_owns_istio_mutual() {
        let owned = json!({"f:spec": {"f:host": {}, "f:trafficPolicy": {"f:tls": {"f:mode": {}}}}});
        for (manager, mode, expected) in [
            ("flux", "ISTIO_MUTUAL", Some("flux")),
            ("flux", "DISABLE", None),
            ("kubectl", "ISTIO_MUTUAL", None),
            (FIELD_MANAGER, "ISTIO_MUTUAL", None),
        ] {
            let mut object = managed(&[(manager, "Apply", owned.clone())]);
            object["spec"] = json!({"trafficPolicy": {"tls": {"mode": mode}}});
            assert_eq!(foreign_tls_manager(&object).as_deref(), expected, "{manager} {mode}");
        }
        let unowned = json!({"metadata": {}, "spec": {"trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}});
        assert_eq!(foreign_tls_manager(&unowned).as_deref(), Some("unknown"));
    }

    #[test]
    fn a_merged_spec_writes_only_what_differs() {
        let object =
            json!({"spec": {"host": "a", "trafficPolicy": {"tls": {"mode": "DISABLE"}, "x": 1}, "subsets": [1]}});
        let spec = json!({"host": "a", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}, "x": 1}, "subsets": [1, 2]});
        let change = rule_change(RuleAction::Merge { spec: spec.into(), rule: Box::default() });
        let written = fields(&object, &change);
        let paths: Vec<String> = written.iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, ["spec.subsets", "spec.trafficPolicy.tls.mode"]);
    }

    #[test]
    fn managing_tools_are_known_by_their_labels_and_annotations() {
        let object = json!({"metadata": {
            "labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "maistra.io/owner": "istio-system"},
            "annotations": {"argocd.argoproj.io/tracking-id": "shop:a/b", "meta.helm.sh/release-name": "shop"},
            "ownerReferences": [{"kind": "ServiceMesh", "name": "basic"}],
        }});
        let messages: Vec<String> = managed_by(&object).iter().map(ToString::to_string).collect();
        assert_eq!(messages.len(), 5);
        assert_eq!(messages[0], "is kept by Argo CD (shop:a/b): change its source, or pause its sync");
        assert_eq!(managed_by(&json!({"metadata": {"labels": {"app": "x"}}})), []);
    }

    #[test]
    fn a_former_spec_may_differ_in_what_this_tool_writes_only() {
        let ours = |fields: Value| json!([{"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": fields}]);
        let nothing = || ours(json!({}));
        let pool = || json!({"tcp": {"maxConnections": 5}});
        for (owned, live, former, expected) in [
            (nothing(), json!({"mtls": {"mode": "STRICT"}}), json!({"mtls": {"mode": "PERMISSIVE"}}), vec![]),
            (nothing(), json!({"mtls": {"mode": "STRICT"}}), json!({}), vec![]),
            (nothing(), json!({"peers": [{"mtls": {}}]}), json!({}), vec![]),
            (
                nothing(),
                json!({"mtls": {"mode": "STRICT"}}),
                json!({"mtls": {"mode": "DISABLE"}, "selector": {"matchLabels": {"app": "web"}}}),
                vec![".spec.selector"],
            ),
            (
                nothing(),
                json!({"mtls": {"mode": "STRICT"}}),
                json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}),
                vec![".spec.portLevelMtls"],
            ),
            (
                nothing(),
                json!({"host": "web", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}),
                json!({"host": "web", "trafficPolicy": {"tls": {"mode": "SIMPLE", "sni": "web.example"}}}),
                vec![],
            ),
            (
                nothing(),
                json!({"host": "web", "trafficPolicy": {
                    "portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "ISTIO_MUTUAL"}}],
                }}),
                json!({"host": "web"}),
                vec![],
            ),
            (nothing(), json!({"host": "web"}), json!({"host": "bank"}), vec![".spec.host"]),
            (nothing(), json!({"trafficPolicy": {"connectionPool": pool()}}), json!({}), vec![".spec.trafficPolicy"]),
            // A `-f` run wrote this field.
            (
                ours(json!({"f:spec": {"f:trafficPolicy": {"f:connectionPool": {"f:tcp": {"f:maxConnections": {}}}}}})),
                json!({"host": "web", "trafficPolicy": {"connectionPool": pool()}}),
                json!({"host": "web"}),
                vec![],
            ),
        ] {
            let object = json!({"metadata": {"managedFields": owned}, "spec": live});
            assert_eq!(fields_of_others(&object, &former.clone().into()), expected, "{live} {former}");
        }
    }
}
