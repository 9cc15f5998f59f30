//! Parses and matches label selectors with the syntax of kubectl's `-l`:
//! `app=boards,tier!=test,release in (a,b),!legacy`.

use super::label::{is_name, is_value};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Whether an object has all labels of a `matchLabels`; an empty one matches every object.
pub fn has_labels(labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The text of a `matchLabels`: `app=web,tier=front`.
pub fn labels_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// A label selector: every requirement must be met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

/// The requirement of one label.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// The values that match; `None` matches any value.
    values: Option<Vec<String>>,
    /// Whether the label must match or must not. A label that is absent does not match.
    wanted: bool,
}

impl Selector {
    /// Whether an object matches. `value_of` returns the value of its label with this key.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| {
            let label = value_of(&requirement.key);
            let is_match = match (&requirement.values, label) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(values), Some(label)) => values.iter().any(|value| value == label),
            };
            is_match == requirement.wanted
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, values, wanted }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (values.as_deref(), wanted) {
                (None, true) => write!(f, "{comma}{key}")?,
                (None, false) => write!(f, "{comma}!{key}")?,
                (Some([value]), true) => write!(f, "{comma}{key}={value}")?,
                (Some([value]), false) => write!(f, "{comma}{key}!={value}")?,
                (Some(values), true) => write!(f, "{comma}{key} in ({})", values.join(","))?,
                (Some(values), false) => write!(f, "{comma}{key} notin ({})", values.join(","))?,
            }
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = String;

    /// The empty text matches every object.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        split(text).into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ',' && depth == 0
    })
    .map(str::trim)
    .collect()
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let of =
        |name: &str, values: Option<Vec<String>>, wanted| Ok(Requirement { key: key(name.trim())?, values, wanted });
    let is_set = text.split_once(char::is_whitespace).map(|(name, rest)| (name, rest.trim_start()));
    for (word, wanted) in [("notin", false), ("in", true)] {
        let values = is_set.and_then(|(name, rest)| Some((name, rest.strip_prefix(word)?.trim_start())));
        if let Some((name, set)) = values.filter(|(_, set)| set.starts_with('(')) {
            let inner = set.strip_prefix('(').and_then(|set| set.strip_suffix(')'));
            let inner = inner.ok_or_else(|| format!("{text:?}: the values of {word} stand in parentheses"))?;
            return of(name, Some(inner.split(',').map(|text| value(text.trim())).collect::<Result<_, _>>()?), wanted);
        }
    }
    for (sign, wanted) in [("!=", false), ("==", true), ("=", true)] {
        if let Some((name, text)) = text.split_once(sign) {
            return of(name, Some(vec![value(text.trim())?]), wanted);
        }
    }
    match text.strip_prefix('!') {
        Some(name) => of(name, None, false),
        None => of(text, None, true),
    }
}

/// `name` or `prefix/name`: the prefix a DNS name, the name at most 63 characters.
fn key(text: &str) -> Result<String, String> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
        !prefix.is_empty() && prefix.len() <= 253 && prefix.bytes().all(inner)
    };
    if is_name(name) && prefix.is_none_or(is_prefix) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid label selector {text:?}; examples: KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY"
        ))
    }
}

fn value(text: &str) -> Result<String, String> {
    if is_value(text) { Ok(text.to_owned()) } else { Err(format!("{text:?} is no value of a label")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_kubectl() {
        let labels = |key: &str| match key {
            "app" => Some("boards"),
            "app.kubernetes.io/part-of" => Some("demo"),
            "empty" => Some(""),
            _ => None,
        };
        for (text, matches) in [
            ("", true),
            ("app=boards", true),
            ("app==boards", true),
            ("app = boards , app.kubernetes.io/part-of=demo", true),
            ("app=board", false),
            ("app!=boards", false),
            ("app!=x", true),
            ("tier!=x", true),
            ("app in (ui, boards)", true),
            ("app in (ui)", false),
            ("app notin (ui)", true),
            ("app notin (boards,ui),empty", false),
            ("tier notin (x)", true),
            ("app", true),
            ("!app", false),
            ("!tier", true),
            ("tier", false),
            ("empty=", true),
            ("app=boards,tier=x", false),
        ] {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches(labels), matches, "{text}");
            assert_eq!(selector.to_string().parse(), Ok(selector), "{text}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for text in
            ["=x", "app=,", ",", "app=a=b", "app===b", "app in boards", "app in (a", "a b", "!", "-a", "a=ü", "a/b/c=d"]
        {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
    }
}
