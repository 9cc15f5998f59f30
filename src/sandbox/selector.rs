//! Label and field selectors of lists and watches.

use super::status::Refusal;
use serde_json::Value;

#[derive(Debug, Clone)]
enum Term {
    /// The key's value is one of these; `false`: it is absent or none of these.
    In(String, Vec<String>, bool),
    /// The key is there, or is not.
    Exists(String, bool),
    /// A field at this JSON pointer equals the value, or does not.
    Field(&'static str, String, bool),
}

/// What a list or watch is limited to.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector(Vec<Term>);

const FIELDS: [(&str, &str); 5] = [
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("status.phase", "/status/phase"),
    ("spec.nodeName", "/spec/nodeName"),
    ("status.podIP", "/status/podIP"),
];

impl Selector {
    pub(super) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        let labels = split(labels.unwrap_or_default()).into_iter().map(label);
        let fields = split(fields.unwrap_or_default()).into_iter().map(field);
        labels.chain(fields).collect::<Result<_, _>>().map(Self)
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|term| match term {
            Term::In(key, values, wanted) => {
                labels[key].as_str().is_some_and(|own| values.iter().any(|value| value == own)) == *wanted
            }
            Term::Exists(key, wanted) => labels[key].is_string() == *wanted,
            Term::Field(pointer, value, wanted) => {
                (object.pointer(pointer).and_then(Value::as_str).unwrap_or_default() == value) == *wanted
            }
        })
    }
}

/// At commas, but not at those within parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
    .collect()
}

fn label(text: &str) -> Result<Term, Refusal> {
    for (word, wanted) in [(" notin ", false), (" in ", true)] {
        if let Some((key, values)) = text.split_once(word) {
            let values = values.trim().trim_start_matches('(').trim_end_matches(')');
            let values = values.split(',').map(|value| value.trim().to_owned()).collect();
            return Ok(Term::In(key.trim().to_owned(), values, wanted));
        }
    }
    for (sign, wanted) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((key, value)) = text.split_once(sign) {
            if value.starts_with('=') {
                return Err(Refusal::bad_request("unable to parse requirement: found '=', expected: identifier"));
            }
            return Ok(Term::In(key.trim().to_owned(), vec![value.trim().to_owned()], wanted));
        }
    }
    Ok(text
        .strip_prefix('!')
        .map_or_else(|| Term::Exists(text.to_owned(), true), |key| Term::Exists(key.trim().to_owned(), false)))
}

fn field(text: &str) -> Result<Term, Refusal> {
    let (key, value, wanted) = if let Some((key, value)) = text.split_once("!=") {
        (key, value, false)
    } else if let Some((key, value)) = text.split_once('=') {
        (key, value.trim_start_matches('='), true)
    } else {
        return Err(Refusal::bad_request(format!("invalid selector: '{text}'; can't understand '{text}'")));
    };
    let known = FIELDS.iter().find(|(name, _)| *name == key);
    let (_, pointer) = known.ok_or_else(|| Refusal::bad_request(format!("field label not supported: {key}")))?;
    Ok(Term::Field(pointer, value.to_owned(), wanted))
}
