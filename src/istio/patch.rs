//! Planned edits → a JSON patch that changes nothing but `tls` and `mode`, and tests everything that it relies on.
//!
//! The patch tests the object's resource version and each former value before it writes. The API server refuses it
//! (HTTP 422) for an object that somebody changed in between; the run then reads and plans again.

use super::paths::{is_legacy, traffic_policy};
use super::read;
use crate::domain::mesh::{ClientTls, MtlsMode};
use crate::domain::plan::{TlsEdit, TlsPlace};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation, TestOperation};
use serde_json::{Value, json};

/// The object is not as the plan says; read it again and plan again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Stale {
    #[error("the object is gone")]
    Gone,
    /// What is different.
    #[error("the object changed since it was read: {0}")]
    Changed(String),
}

/// An edit of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Edited {
    pub patch: Patch,
    /// The object after the patch.
    pub object: Value,
}

/// Sets the mode of a policy of either API. `object` must be the one that the plan was made for, with the mode `from`.
pub fn set_mode(object: &Value, from: Option<MtlsMode>, to: MtlsMode) -> Result<Edited, Stale> {
    let mut builder = Builder::new(object);
    if is_legacy(object) {
        builder.set_legacy_mode(from, to)?;
    } else {
        builder.set_mode(from, to)?;
    }
    Ok(builder.finish())
}

/// Changes `tls` blocks of a `DestinationRule`. `object` must be the one that the plan was made for.
pub fn edit_tls(object: &Value, edits: &[TlsEdit]) -> Result<Edited, Stale> {
    let mut builder = Builder::new(object);
    let mut edits = edits.to_vec();
    // The last place first: a removal from a list must not move the entries that later edits name.
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.place()));
    for edit in &edits {
        match edit {
            TlsEdit::Set { place, from } => builder.set_tls(*place, *from)?,
            TlsEdit::Remove { place } => builder.remove_tls(*place)?,
        }
    }
    Ok(builder.finish())
}

/// The patch that gives `object` this spec and changes only what differs. It tests UID and resource version of `object`,
/// so that it applies only to the object that was read.
pub fn put_spec(object: &Value, spec: &Value) -> Patch {
    let whole = |spec: &Value| if spec.is_null() { json!({}) } else { json!({ "spec": spec }) };
    let mut patch = json_patch::diff(&whole(&object["spec"]), &whole(spec));
    let tests = ["uid", "resourceVersion"].into_iter().filter_map(|field| {
        let value = object["metadata"].get(field)?.clone();
        Some(PatchOperation::Test(TestOperation { path: Path::of(&["metadata", field]).pointer(), value }))
    });
    patch.0.splice(0..0, tests);
    patch
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
    /// The object as it was read.
    object: &'a Value,
    /// The object with all operations so far; paths of later operations are paths in it.
    edited: Value,
    tests: Vec<PatchOperation>,
    operations: Vec<PatchOperation>,
}

impl<'a> Builder<'a> {
    fn new(object: &'a Value) -> Self {
        let mut builder = Self { object, edited: object.clone(), tests: Vec::new(), operations: Vec::new() };
        if let Some(version) = object["metadata"].get("resourceVersion") {
            builder.test(&Path::of(&["metadata", "resourceVersion"]), version);
        }
        builder
    }

    fn finish(mut self) -> Edited {
        self.tests.append(&mut self.operations);
        Edited { patch: Patch(self.tests), object: self.edited }
    }

    fn set_mode(&mut self, from: Option<MtlsMode>, to: MtlsMode) -> Result<(), Stale> {
        let path = Path::of(&["spec", "mtls", "mode"]);
        let current = path.find(self.object).and_then(Value::as_str).and_then(MtlsMode::parse);
        expect(current == from, "its mode")?;
        self.write(&path, json!(to.as_str()))
    }

    /// LP-2: the first `mtls` peer decides. Other peers (`jwt`) and targets stay as they are.
    fn set_legacy_mode(&mut self, from: Option<MtlsMode>, to: MtlsMode) -> Result<(), Stale> {
        let current = read::legacy_policy(self.object).mode;
        expect(from.is_none_or(|from| from == current), "its mode")?;
        let list = Path::of(&["spec", "peers"]);
        let peers = list.find(self.object).and_then(Value::as_array).cloned().unwrap_or_default();
        let mutual = |peer: &Value| peer.as_object().is_some_and(|peer| peer.contains_key("mtls"));
        let positions: Vec<usize> =
            peers.iter().enumerate().filter(|(_, peer)| mutual(peer)).map(|(at, _)| at).collect();
        if to == MtlsMode::Disable {
            // All of them are removed: without the first, a second would take effect.
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
            // Under ISTIO_MUTUAL the other fields of the user's own TLS have no effect or are refused.
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

    /// The path of the `tls` block of a place; stale where the list entry that the place names is gone.
    fn tls_path(&self, place: TlsPlace) -> Result<Path, Stale> {
        let path = Path(traffic_policy(place));
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
                // The root has the managed fields, which are large and change with every write.
                if !path.0.is_empty() {
                    self.test(&path, parent);
                }
                return self.operate(add(&path.join(&token), value));
            }
            value = json!({ token: value });
        }
        Err(Stale::Changed("it is empty".into()))
    }

    /// Removes a path, or the highest parent that it would leave empty: the webhook refuses an empty traffic policy and a
    /// port entry without settings (VA-3).
    fn remove_with_empty_parents(&mut self, mut path: Path) -> Result<(), Stale> {
        while let Some((last, parent)) = path.0.split_last() {
            // `spec` and a subset stay: both have a meaning without it.
            let is_subset = parent.len() == 3 && parent[1] == "subsets";
            let is_entry = parent.len() > 1 && parent[parent.len() - 2] == "portLevelSettings";
            let parent = Path(parent.to_vec());
            let emptied = parent.0.len() > 1
                && !is_subset
                && match parent.find(&self.edited) {
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
        json_patch::patch(&mut self.edited, std::slice::from_ref(&operation))
            .map_err(|error| Stale::Changed(error.to_string()))?;
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
    if holds { Ok(()) } else { Err(Stale::Changed(format!("{what} is another one now"))) }
}

#[cfg(test)]
mod tests;
