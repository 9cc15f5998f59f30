//! Planned edits → a JSON patch that touches nothing but `tls` and `mode`, and tests everything that it relies on.
//!
//! The object's resource version and each former value are tested before anything is written, so that an object
//! that somebody changed in between is refused (HTTP 422) and planned again.

use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::plan::{Edit, TlsPlace};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::{Value, json};

/// The object does not say what the plan was made on; read it again and plan again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the object changed since it was read: {0}")]
pub struct Stale(String);

/// The patch that makes `edits` come true in `object`, which must be the object that was planned on.
pub fn json_patch(object: &Value, edits: &[Edit]) -> Result<Patch, Stale> {
    build(object, edits).map(Builder::into_patch)
}

/// The patch that gives `object` this spec, which is canonical JSON, and touches nothing but what differs. The object
/// must be the one that was read: its UID and resource version are tested.
pub fn put_back(object: &Value, spec: &str) -> Result<Patch, Stale> {
    let spec: Value = serde_json::from_str(spec).map_err(|error| Stale(error.to_string()))?;
    let whole = |spec: &Value| if spec.is_null() { json!({}) } else { json!({ "spec": spec }) };
    let mut patch = json_patch::diff(&whole(&object["spec"]), &whole(&spec));
    let tests = ["uid", "resourceVersion"].into_iter().filter_map(|field| {
        let value = object["metadata"].get(field)?.clone();
        Some(PatchOperation::Test(TestOperation { path: Path::of(&["metadata", field]).pointer(), value }))
    });
    patch.0.splice(0..0, tests);
    Ok(patch)
}

/// `object` as it is after the patch.
pub fn patched(object: &Value, edits: &[Edit]) -> Result<Value, Stale> {
    build(object, edits).map(|builder| builder.work)
}

fn build<'a>(object: &'a Value, edits: &[Edit]) -> Result<Builder<'a>, Stale> {
    let mut builder = Builder { object, work: object.clone(), tests: Vec::new(), operations: Vec::new() };
    if let Some(version) = object["metadata"].get("resourceVersion") {
        builder.test(&Path::of(&["metadata", "resourceVersion"]), version);
    }
    let mut edits = edits.to_vec();
    // The last place first: what is removed from a list must not move what comes after it.
    edits.sort_by_key(|edit| std::cmp::Reverse(place(edit)));
    for edit in &edits {
        match edit {
            Edit::SetMode { from, to } if is_legacy(object) => builder.set_legacy_mode(*from, *to)?,
            Edit::SetMode { from, to } => builder.set_mode(*from, *to)?,
            Edit::SetTls { place, from } => builder.set_tls(*place, *from)?,
            Edit::RemoveTls { place } => builder.remove_tls(*place)?,
        }
    }
    Ok(builder)
}

fn place(edit: &Edit) -> Option<TlsPlace> {
    match edit {
        Edit::SetMode { .. } => None,
        Edit::SetTls { place, .. } | Edit::RemoveTls { place } => Some(*place),
    }
}

/// Whether the object is a policy of the API before Istio 1.5.
pub(super) fn is_legacy(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.starts_with("authentication."))
}

/// Where the traffic policy of a place stands, without its `tls`.
pub(super) fn policy_path(place: TlsPlace) -> Vec<String> {
    let text = |tokens: &[&str]| tokens.iter().map(|token| (*token).to_owned()).collect::<Vec<_>>();
    let mut path = match place {
        TlsPlace::Top | TlsPlace::Port(_) => text(&["spec", "trafficPolicy"]),
        TlsPlace::Subset(subset) | TlsPlace::SubsetPort(subset, _) => {
            text(&["spec", "subsets", &subset.to_string(), "trafficPolicy"])
        }
    };
    if let TlsPlace::Port(port) | TlsPlace::SubsetPort(_, port) = place {
        path.extend(text(&["portLevelSettings", &port.to_string()]));
    }
    path
}

/// A path as tokens; a JSON pointer once it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path(Vec<String>);

impl Path {
    fn of(tokens: &[&str]) -> Self {
        Self(tokens.iter().map(|token| (*token).to_owned()).collect())
    }

    fn join(&self, token: &str) -> Self {
        Self(self.0.iter().cloned().chain([token.to_owned()]).collect())
    }

    fn pointer(&self) -> PointerBuf {
        PointerBuf::from_tokens(self.0.iter().map(String::as_str))
    }

    /// The value there; `null` counts as nothing, as it does for the API server.
    fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.pointer(self.pointer().as_str()).filter(|value| !value.is_null())
    }
}

struct Builder<'a> {
    object: &'a Value,
    /// The object with all operations so far; later paths are paths in it.
    work: Value,
    tests: Vec<PatchOperation>,
    operations: Vec<PatchOperation>,
}

impl Builder<'_> {
    fn into_patch(mut self) -> Patch {
        self.tests.append(&mut self.operations);
        Patch(self.tests)
    }

    fn set_mode(&mut self, from: Option<MtlsMode>, to: MtlsMode) -> Result<(), Stale> {
        let path = Path::of(&["spec", "mtls", "mode"]);
        let held = path.find(self.object).and_then(Value::as_str).and_then(MtlsMode::parse);
        expect(held == from, "its mode")?;
        self.write(&path, json!(to.as_str()))
    }

    /// LP-2: the first `mtls` peer decides. Other peers (`jwt`) and targets are none of our business.
    fn set_legacy_mode(&mut self, from: Option<MtlsMode>, to: MtlsMode) -> Result<(), Stale> {
        let held = super::read::legacy_policy(self.object).mode;
        expect(from.is_none_or(|from| from == held), "its mode")?;
        let list = Path::of(&["spec", "peers"]);
        let peers = list.find(self.object).and_then(Value::as_array).cloned().unwrap_or_default();
        let mutual = |peer: &Value| peer.as_object().is_some_and(|peer| peer.contains_key("mtls"));
        let positions: Vec<usize> =
            peers.iter().enumerate().filter(|(_, peer)| mutual(peer)).map(|(at, _)| at).collect();
        if to == MtlsMode::Disable {
            // All of them go: behind the first a second would come into force.
            for position in positions.iter().rev() {
                let path = list.join(&position.to_string());
                self.test(&path, &peers[*position]);
                self.remove_with_empty_parents(path)?;
            }
            return Ok(());
        }
        let peer = json!({"mtls": {"mode": to.as_str()}});
        match positions.first() {
            Some(position) => {
                self.write(&list.join(&position.to_string()).join("mtls").join("mode"), json!(to.as_str()))
            }
            None if peers.is_empty() => self.write(&list, json!([peer])),
            None => {
                self.test(&list, &Value::Array(peers));
                self.operate(add(&list.join("-"), peer))
            }
        }
    }

    fn set_tls(&mut self, place: TlsPlace, from: Option<ClientTls>) -> Result<(), Stale> {
        let path = self.tls_path(place)?;
        expect(tls_at(self.object, &path) == from, "its tls")?;
        let mutual = ClientTls::IstioMutual.as_str();
        match from {
            Some(ClientTls::IstioMutual) => Ok(()),
            // The other fields of a TLS of the user's own mean nothing under ISTIO_MUTUAL, or are refused.
            Some(ClientTls::Simple | ClientTls::Mutual) => self.write(&path, json!({"mode": mutual})),
            Some(ClientTls::Disable) | None => self.write(&path.join("mode"), json!(mutual)),
        }
    }

    fn remove_tls(&mut self, place: TlsPlace) -> Result<(), Stale> {
        let path = self.tls_path(place)?;
        expect(tls_at(self.object, &path) == Some(ClientTls::IstioMutual), "its tls")?;
        let former = path.find(self.object).cloned().unwrap_or_default();
        self.test(&path, &former);
        self.remove_with_empty_parents(path)
    }

    /// The path of a place's `tls`, where the list entry that the place names is still there.
    fn tls_path(&self, place: TlsPlace) -> Result<Path, Stale> {
        let path = Path(policy_path(place));
        let needed = match place {
            TlsPlace::Top => return Ok(path.join("tls")),
            TlsPlace::Port(_) | TlsPlace::SubsetPort(..) => path.clone(),
            TlsPlace::Subset(_) => Path(path.0[..3].to_vec()),
        };
        expect(needed.find(self.object).is_some_and(Value::is_object), "its ports or subsets")?;
        Ok(path.join("tls"))
    }

    /// Writes a value and the parents that are missing, after a test of what was there.
    fn write(&mut self, path: &Path, value: Value) -> Result<(), Stale> {
        if let Some(former) = path.find(self.object) {
            self.test(path, former);
            let replace = ReplaceOperation { path: path.pointer(), value };
            return self.operate(PatchOperation::Replace(replace));
        }
        let (mut path, mut value) = (path.clone(), value);
        while let Some(token) = path.0.pop() {
            if let Some(parent) = path.find(self.object) {
                // The root holds the managed fields, which are large and change with every write.
                if !path.0.is_empty() {
                    self.test(&path, parent);
                }
                return self.operate(add(&path.join(&token), value));
            }
            value = json!({ token: value });
        }
        Err(Stale("it is empty".into()))
    }

    /// Removes a path, or the highest parent that would stay behind with nothing in it: the webhook refuses an empty
    /// traffic policy and a port entry that says nothing (VA-3).
    fn remove_with_empty_parents(&mut self, mut path: Path) -> Result<(), Stale> {
        while let Some((last, parent)) = path.0.split_last() {
            // `spec` and a subset stay: both say something without it.
            let is_subset = parent.len() == 3 && parent[1] == "subsets";
            let is_entry = parent.len() > 1 && parent[parent.len() - 2] == "portLevelSettings";
            let parent = Path(parent.to_vec());
            let emptied = parent.0.len() > 1
                && !is_subset
                && match parent.find(&self.work) {
                    Some(Value::Object(fields)) => fields.keys().all(|key| key == last || is_entry && key == "port"),
                    Some(Value::Array(items)) => items.len() == 1,
                    _ => false,
                };
            if !emptied {
                break;
            }
            path = parent;
        }
        self.operate(PatchOperation::Remove(RemoveOperation { path: path.pointer() }))
    }

    fn test(&mut self, path: &Path, value: &Value) {
        self.tests.push(PatchOperation::Test(TestOperation { path: path.pointer(), value: value.clone() }));
    }

    fn operate(&mut self, operation: PatchOperation) -> Result<(), Stale> {
        json_patch::patch(&mut self.work, std::slice::from_ref(&operation))
            .map_err(|error| Stale(error.to_string()))?;
        self.operations.push(operation);
        Ok(())
    }
}

fn add(path: &Path, value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: path.pointer(), value })
}

fn tls_at(object: &Value, path: &Path) -> Option<ClientTls> {
    let tls = path.find(object)?.as_object()?;
    Some(ClientTls::parse(tls.get("mode").and_then(Value::as_str)))
}

fn expect(holds: bool, what: &str) -> Result<(), Stale> {
    if holds { Ok(()) } else { Err(Stale(format!("{what} is another one now"))) }
}

#[cfg(test)]
#[path = "patch_tests.rs"]
mod tests;
