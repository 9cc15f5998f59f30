//! Writes documents as YAML for a terminal or a CI job: hostile text in them is escaped, and the documents keep their
//! meaning.

use super::RenderError;
use crate::istio::yaml;
use crate::sanitize;
use serde::Serialize;
use serde_json::{Map, Value};

/// One document. Text with control, invisible or direction characters, or with a command to the runner of a CI job, is
/// double-quoted and escaped.
pub fn document(value: &impl Serialize) -> Result<String, RenderError> {
    let value = serde_json::to_value(value)?;
    let mut escaped = Escaped { placeholder: placeholder(&value), texts: Vec::new() };
    let with_placeholders = escaped.replace(&value);
    let mut text = yaml::write(&with_placeholders).map_err(RenderError::Yaml)?;
    for (index, quoted) in escaped.texts.iter().enumerate() {
        text = text.replace(&escaped.name(index), quoted);
    }
    Ok(text)
}

/// The texts that the YAML writer must not see, because it would write their characters as they are.
struct Escaped {
    placeholder: String,
    texts: Vec<String>,
}

impl Escaped {
    fn name(&self, index: usize) -> String {
        format!("{}{index}z", self.placeholder)
    }

    fn text(&mut self, text: &str) -> String {
        let Some(quoted) = sanitize::yaml(text) else { return text.to_owned() };
        self.texts.push(quoted);
        self.name(self.texts.len() - 1)
    }

    fn replace(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.replace(item)).collect(),
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| (self.text(key), self.replace(value)));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

/// A word that does not occur in the document.
fn placeholder(value: &Value) -> String {
    let text = value.to_string();
    let mut word = "escaped".to_owned();
    while text.contains(&word) {
        word.push('x');
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hostile_text_is_escaped_and_keeps_its_meaning() {
        let value = json!({
            "bidi": "a\u{202e}b", "zero width": ["a\u{200b}b", "plain"], "tag\u{e0041}": {"x": "\u{1b}[31m\u{9b}\n\t\"\\"},
            "ci": "##[error]x", "azure": "a ##vso[x]", "github": "::error::x", "escaped": "escaped0z",
        });
        let text = document(&value).unwrap();
        assert_eq!(sanitize::text(&text), text, "nothing hostile is left");
        assert_eq!(yaml::read_all(&text).unwrap(), [value]);
        let plain = json!({"a": ["on", "b: c", {"d": "ü 世"}]});
        assert_eq!(document(&plain).unwrap(), yaml::write(&plain).unwrap());
    }
}
