//! Renders the plan and the results of a switch in the format of kubectl.

use super::{RenderError, json, yaml};
use crate::domain::mesh::MtlsMode;
use crate::domain::open_connections::{HeldAtPort, OpenConnections};
use crate::domain::plan::{Change, PolicyAction, RuleAction, TlsEdit, TlsPlace};
use crate::domain::selector::labels_text;
use crate::sanitize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// The lines of the plan, one for each change: `+` creates, `~` changes and `-` deletes an object, and what changes in it.
/// `named` has each change with the object's name as kubectl prints it.
pub fn lines<'a>(named: impl IntoIterator<Item = (String, &'a Change)>) -> Vec<String> {
    let rows: Vec<(&str, String, Option<String>)> = named
        .into_iter()
        .map(|(name, change)| {
            let detail = match change {
                Change::Policy(policy) => policy_detail(&policy.action),
                Change::Rule(rule) => rule_detail(change.name(), &rule.action),
            };
            let sign = match change.result_word() {
                "created" => "+",
                "deleted" => "-",
                _ => "~",
            };
            (sign, short_name(&name), detail)
        })
        .collect();
    let width = rows.iter().map(|(_, name, _)| name.width()).max().unwrap_or_default();
    let line = |(sign, name, detail): (&str, String, Option<String>)| match detail {
        Some(detail) => format!("{sign} {name}{}  {detail}", " ".repeat(width - name.width())),
        None => format!("{sign} {name}"),
    };
    rows.into_iter().map(line).collect()
}

/// `destinationrule/web` of `destinationrule.networking.istio.io/web`: kubectl finds both.
fn short_name(name: &str) -> String {
    let (kind, object) = name.split_once('/').unwrap_or((name, ""));
    // The legacy Policy has a name that other groups have as well.
    match kind.split_once('.') {
        Some((kind @ ("destinationrule" | "peerauthentication"), _)) => format!("{kind}/{object}"),
        _ => name.to_owned(),
    }
}

const AS_WRITTEN: &str = "as in the file";
const MERGED: &str = "merged with the file";
const AS_BEFORE: &str = "as before";
const NOT_BEFORE: &str = "it did not exist before";
const SUPERFLUOUS: &str = "an earlier run created it, and a wider policy says the same";
const DELETED_BEFORE: &str = "a run deleted it";

fn policy_detail(action: &PolicyAction) -> Option<String> {
    Some(match action {
        PolicyAction::Create { mode } => format!("mode {mode}"),
        PolicyAction::CreateForPods { selector, mode, ports } => pods_detail(selector, *mode, ports),
        PolicyAction::SetPorts { ports } => modes_of_ports(ports),
        PolicyAction::DeleteSuperfluous => SUPERFLUOUS.to_owned(),
        PolicyAction::Recreate { .. } => DELETED_BEFORE.to_owned(),
        PolicyAction::SetMode { from, to } => format!("mode {} → {to}", from.map_or("UNSET", |mode| mode.as_str())),
        PolicyAction::Apply { .. } => AS_WRITTEN.to_owned(),
        PolicyAction::Merge { .. } => MERGED.to_owned(),
        PolicyAction::PutBack { mode: Some(mode), .. } => format!("{AS_BEFORE}; {mode} then holds"),
        PolicyAction::PutBack { mode: None, .. } => AS_BEFORE.to_owned(),
        PolicyAction::Delete { .. } => NOT_BEFORE.to_owned(),
        PolicyAction::Unchanged { .. } => return None,
    })
}

/// `app=web: mode STRICT`, `app=web: port 8080 PERMISSIVE`.
fn pods_detail(selector: &BTreeMap<String, String>, mode: Option<MtlsMode>, ports: &BTreeMap<u16, MtlsMode>) -> String {
    let mode = mode.map(|mode| format!("mode {mode}"));
    let ports = (!ports.is_empty()).then(|| modes_of_ports(ports));
    let says: Vec<String> = mode.into_iter().chain(ports).collect();
    format!("{}: {}", labels_text(selector), says.join(", "))
}

fn modes_of_ports(ports: &BTreeMap<u16, MtlsMode>) -> String {
    ports.iter().map(|(port, mode)| format!("port {port} {mode}")).collect::<Vec<_>>().join(", ")
}

fn rule_detail(name: &str, action: &RuleAction) -> Option<String> {
    Some(match action {
        RuleAction::Create { host, plaintext_ports } => {
            // A rule has the name of its Service, unless another rule has that name.
            let is_named = host.split('.').next() == Some(name);
            let host = if is_named { String::new() } else { format!("{host}: ") };
            let ports: Vec<String> = plaintext_ports.iter().map(u16::to_string).collect();
            let ports = if ports.is_empty() { String::new() } else { format!(", port {} DISABLE", ports.join(", ")) };
            format!("{host}tls ISTIO_MUTUAL{ports}")
        }
        RuleAction::Edit(edits) => edits.iter().map(edit_detail).collect::<Vec<_>>().join(", "),
        RuleAction::Apply { .. } => AS_WRITTEN.to_owned(),
        RuleAction::Merge { .. } => MERGED.to_owned(),
        RuleAction::PutBack { .. } => AS_BEFORE.to_owned(),
        RuleAction::Delete => NOT_BEFORE.to_owned(),
        RuleAction::Unchanged => return None,
    })
}

fn edit_detail(edit: &TlsEdit) -> String {
    match edit {
        TlsEdit::Set { place, from } => {
            format!("{} {} → ISTIO_MUTUAL", path(*place), from.map_or("none", |tls| tls.as_str()))
        }
        TlsEdit::Remove { place } => format!("{} ISTIO_MUTUAL → none", path(*place)),
    }
}

fn path(place: TlsPlace) -> String {
    match place {
        TlsPlace::Top => "tls".to_owned(),
        TlsPlace::Port(port) => format!("portLevelSettings[{port}].tls"),
        TlsPlace::Subset(subset) => format!("subsets[{subset}].tls"),
        TlsPlace::SubsetPort(subset, port) => format!("subsets[{subset}].portLevelSettings[{port}].tls"),
    }
}

/// One line of the result, as kubectl prints it.
pub fn result_line(name: &str, word: &str, suffix: &str, only_name: bool) -> String {
    let name = sanitize::line(name);
    if only_name { format!("{name}\n") } else { format!("{name} {word}{suffix}\n") }
}

/// Objects as kubectl prints them with `-o`: one object by itself, several in a List, without `managedFields`.
pub fn objects(objects: &[Value], as_json: bool) -> Result<String, RenderError> {
    let value = match objects {
        [only] => without_managed_fields(only),
        many => {
            let items: Vec<Value> = many.iter().map(without_managed_fields).collect();
            json!({"apiVersion": "v1", "kind": "List", "items": items})
        }
    };
    Ok(if as_json { json::document(&value)? } else { yaml::document(&value)? })
}

/// The object without `metadata.managedFields`.
pub fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    object
}

/// When the connections end that are open while the policy changes; `None` where the change concerns none.
pub fn open_connections(connections: &OpenConnections) -> Option<String> {
    let times: Vec<String> = match connections.drained.iter().collect::<Vec<_>>().as_slice() {
        [(time, _)] => vec![seconds(**time)],
        many => many.iter().map(|(time, services)| format!("{} at {}", seconds(**time), names(services))).collect(),
    };
    let mut parts = Vec::new();
    if !times.is_empty() {
        parts.push(format!(
            "open connections to these ports end within {} (drain time), mutual TLS too",
            times.join(", ")
        ));
    }
    if connections.kept_by_ztunnel {
        let those = if times.is_empty() { "open connections" } else { "those" };
        parts.push(format!("{those} through a ztunnel stay open"));
    }
    if !connections.ended_by_ztunnel.is_empty() {
        parts.push(format!(
            "ztunnel closes the plaintext connections to {} at once",
            names(&connections.ended_by_ztunnel)
        ));
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The first names, and how many more there are.
fn names(services: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = services.iter().take(SHOWN).map(String::as_str).collect();
    match services.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        Some(0) | None => shown.join(", "),
    }
}

/// The plaintext connections that ztunnels hold although their ports are STRICT now, with the commands that end them; `None`
/// where there is none. `unknown` says why those of some ztunnels are not known.
pub fn held_connections(ports: &BTreeMap<String, HeldAtPort>, unknown: &BTreeSet<String>) -> Option<String> {
    let mut lines = Vec::new();
    if !ports.is_empty() {
        let number: usize = ports.values().flat_map(|held| held.callers.values()).sum();
        let noun = if number == 1 { "plaintext connection was" } else { "plaintext connections were" };
        lines.push(format!(
            "{number} {noun} opened before, and ztunnel keeps serving them; a restart of one side ends them:"
        ));
        for (port, held) in ports {
            let callers: Vec<String> =
                held.callers.iter().map(|(caller, number)| format!("{number} from {caller}")).collect();
            lines.push(format!("  {port}: {}", callers.join(", ")));
        }
        let commands: BTreeSet<&String> = ports.values().flat_map(|held| &held.commands).collect();
        lines.extend(commands.into_iter().map(|command| format!("  {command}")));
    }
    if !unknown.is_empty() {
        let reasons: Vec<&str> = unknown.iter().map(String::as_str).collect();
        lines.push(format!(
            "which plaintext connections stay open through ztunnel is not known: {} (`secure-traffic rbac enable-mtls --ambient \
             --port-forward`)",
            reasons.join("; ")
        ));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_a_ztunnel_holds_are_named_with_the_commands_that_end_them() {
        use crate::domain::caller::Caller;
        let caller = Caller::Address("203.0.113.7".parse().unwrap());
        let command = "kubectl -n shop rollout restart deployment/web".to_owned();
        let held = HeldAtPort { callers: [(caller, 2)].into(), commands: [command].into() };
        let ports = BTreeMap::from([
            ("deployment/web:8080".to_owned(), held.clone()),
            ("deployment/web:9000".to_owned(), held),
        ]);
        let text = held_connections(&ports, &BTreeSet::new()).unwrap();
        let expected = "4 plaintext connections were opened before, and ztunnel keeps serving them; a restart of one side \
                        ends them:\n  deployment/web:8080: 2 from 203.0.113.7\n  deployment/web:9000: 2 from 203.0.113.7\n  \
                        kubectl -n shop rollout restart deployment/web";
        assert_eq!(text, expected);
        let unknown = BTreeSet::from(["you may not port-forward".to_owned()]);
        let text = held_connections(&BTreeMap::new(), &unknown).unwrap();
        assert!(
            text.starts_with("which plaintext connections") && text.contains(": you may not port-forward ("),
            "{text}"
        );
        assert_eq!(held_connections(&BTreeMap::new(), &BTreeSet::new()), None);
    }

    #[test]
    fn open_connections_have_the_times_of_their_pods() {
        let services = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let connections = |drained: &[(u64, &[&str])], kept_by_ztunnel| OpenConnections {
            drained: drained.iter().map(|(time, names)| (Duration::from_secs(*time), services(names))).collect(),
            kept_by_ztunnel,
            ..OpenConnections::default()
        };
        let rows = [
            (connections(&[], false), None),
            (connections(&[], true), Some("open connections through a ztunnel stay open")),
            (
                OpenConnections { ended_by_ztunnel: services(&["web"]), ..connections(&[], true) },
                Some("through a ztunnel stay open; ztunnel closes the plaintext connections to web at once"),
            ),
            (connections(&[(45, &["web"])], false), Some("end within 45 s (drain time), mutual TLS too")),
            (
                connections(&[(45, &["a", "b", "c", "d", "e"]), (150, &["archive"])], true),
                Some(
                    "45 s at a, b, c and 2 more, 150 s at archive (drain time), mutual TLS too; those through a ztunnel stay open",
                ),
            ),
        ];
        for (connections, expected) in rows {
            let text = open_connections(&connections);
            match expected {
                Some(end) => assert!(text.as_ref().is_some_and(|text| text.ends_with(end)), "{text:?}"),
                None => assert_eq!(text, None),
            }
        }
    }
}
