//! Reads and writes YAML; the only file that uses the YAML crate.
//!
//! kubectl reads the output by the rules of YAML 1.1, where `on`, `1:30` and `2024-01-01` are not strings, so the writer
//! quotes them. The input is not trusted, so the reader has limits.

use serde_json::Value;
use serde_yaml::{DuplicateKeyPolicy, MergeKeyPolicy, Options, SerializerOptions};
use std::fmt::Write as _;

/// The longest text that is read, in bytes; an object of the API cannot be larger than 3 MiB.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Text that is not YAML or exceeds a limit, or a value that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than [`MAX_BYTES`].
    #[error("the text has {0} bytes, more than the {MAX_BYTES} that are read")]
    TooLong(usize),
    /// Wrong syntax, a duplicate key, too deep, or too many aliases.
    #[error("{0}")]
    Syntax(String),
    /// A value that YAML cannot express.
    #[error("cannot be written as YAML: {0}")]
    Write(String),
}

/// One document, which ends with a newline. Equal values give equal bytes.
pub fn write(value: &Value) -> Result<String, Error> {
    serde_yaml::to_string_with_options(value, writer()).map_err(|error| Error::Write(error.to_string()))
}

/// Several documents, separated by `---`.
pub fn write_all<'a>(values: impl IntoIterator<Item = &'a Value>) -> Result<String, Error> {
    let mut text = String::new();
    for value in values {
        let separator = if text.is_empty() { "" } else { "---\n" };
        let document = write(value)?;
        write!(text, "{separator}{document}").map_err(|error| Error::Write(error.to_string()))?;
    }
    Ok(text)
}

/// Every document of a text; empty ones are skipped.
pub fn read_all(text: &str) -> Result<Vec<Value>, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLong(text.len()));
    }
    // An error must not repeat the text, which can contain a Secret.
    serde_yaml::from_multiple_with_options(text, reader()).map_err(|error| {
        // The crate adds advice for programmers, which does not help the user.
        let message = error.without_snippet().to_string();
        Error::Syntax(message.replace(", set DuplicateKeyPolicy in Options if acceptable", ""))
    })
}

/// The only document of a text.
pub fn read_one(text: &str) -> Result<Value, Error> {
    let mut documents = read_all(text)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        _ => Err(Error::Syntax("one document is expected".to_owned())),
    }
}

fn writer() -> SerializerOptions {
    // Folded and literal blocks depend on the line width; a single form is easier to compare.
    serde_yaml::ser_options! { prefer_block_scalars: false, compact_list_indent: true }
}

fn reader() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: 64,
            max_documents: 10_000,
            max_nodes: 500_000,
            max_events: 2_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_total_scalar_bytes: MAX_BYTES,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000, max_replay_stack_depth: 16 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Merge,
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Strings that YAML 1.1 reads as other values without quotes.
    const AMBIGUOUS: [&str; 46] = [
        "on",
        "off",
        "On",
        "OFF",
        "yes",
        "no",
        "Yes",
        "NO",
        "y",
        "n",
        "Y",
        "N",
        "true",
        "False",
        "null",
        "Null",
        "~",
        "",
        "=",
        "<<",
        "1:30",
        "190:20:30",
        "1:30.5",
        "2024-01-01",
        "2024-1-1",
        "2024-01-01T00:00:00Z",
        "1_000",
        "0o7",
        "0x1f",
        "0b11",
        "017",
        "08",
        "1e3",
        "1.",
        ".5",
        "-1",
        "+1",
        ".inf",
        "-.INF",
        ".nan",
        "- a",
        "a: b",
        "# a",
        "a #b",
        "---",
        "*alias",
    ];

    fn plain_or_quoted(text: &str) -> bool {
        let value = text.trim_end().trim_start_matches("a: ");
        value.starts_with('"') || value.starts_with('\'')
    }

    #[test]
    fn ambiguous_strings_are_quoted_and_read_back() {
        for string in AMBIGUOUS {
            let text = write(&json!({ "a": string })).expect("written");
            assert!(plain_or_quoted(&text), "{string:?} is written {text:?}");
            assert_eq!(read_all(&text).expect("read"), [json!({ "a": string })], "{string:?}");
            let key = write(&json!({ string: "a" })).expect("written");
            assert!(key.starts_with(['"', '\'', '?']), "key {string:?} is written {key:?}");
            assert_eq!(read_all(&key).expect("read"), [json!({ string: "a" })], "key {string:?}");
        }
    }

    #[test]
    fn an_ambiguous_namespace_name_is_quoted() {
        use crate::domain::mesh::MtlsMode;
        use crate::istio::{kinds::PolicyApi, render};
        // These names are valid DNS labels, and YAML 1.1 reads each as another value.
        for name in ["on", "y", "no", "null", "true", "1e3", "0x1f", "017", "2024-01-01", "123"] {
            let object = render::policy(PolicyApi::V1, name, name, MtlsMode::Strict);
            let text = write(&object).expect("written");
            assert!(
                text.contains(&format!("namespace: \"{name}\"\n")) || text.contains(&format!("namespace: '{name}'\n")),
                "{text}"
            );
            assert_eq!(read_all(&text).expect("read"), [object]);
        }
    }

    #[test]
    fn a_yaml_1_1_reader_reads_the_same() {
        // PyYAML follows YAML 1.1; without it, the test ends here.
        let keys: serde_json::Map<_, _> = AMBIGUOUS.iter().map(|string| ((*string).to_owned(), json!(1))).collect();
        let object = json!({"words": AMBIGUOUS.to_vec(), "keys": keys});
        let script = "import sys, json\ntry:\n import yaml\nexcept ImportError:\n sys.exit(77)\nprint(json.dumps(yaml.safe_load(sys.stdin.buffer.read())))";
        let child = std::process::Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut child) = child else { return };
        let mut stdin = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut stdin, write(&object).expect("written").as_bytes()).expect("sent");
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        if output.status.code() == Some(77) {
            return;
        }
        let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(read, object);
    }

    #[test]
    fn documents_are_written_and_read_in_order() {
        let documents = [json!({"a": [1, {"b": "c"}], "d": {}}), json!({"e": []})];
        let text = write_all(&documents).expect("written");
        assert_eq!(text, "a:\n- 1\n- b: c\nd: {}\n---\ne: []\n");
        assert_eq!(read_all(&text).expect("read"), documents);
        assert_eq!(read_all("# nothing\n---\n---\na: 1\n").expect("read"), [json!({"a": 1})]);
        assert_eq!(read_all("").expect("read"), Vec::<Value>::new());
    }

    #[test]
    fn hostile_text_is_an_error_and_is_not_repeated() {
        let mut bomb = String::from("a0: &a0 [x, x]\n");
        for level in 1..30 {
            let previous = level - 1;
            writeln!(bomb, "a{level}: &a{level} [*a{previous}, *a{previous}, *a{previous}]").expect("text");
        }
        let flow = format!("a: {}{}", "[".repeat(5_000), "]".repeat(5_000));
        let block = (0..500).fold(String::new(), |text, level| text + &" ".repeat(level) + "a:\n");
        let twice = "secret: hunter2\na: 1\na: 2\n";
        for text in [&bomb, &flow, &block, twice, "a: [1", "a: b: c", "\u{0}", "a: *nowhere"] {
            let error = read_all(text).expect_err("refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(error.len() < 400, "{error}");
        }
        assert!(matches!(read_all(&"a".repeat(MAX_BYTES + 1)), Err(Error::TooLong(_))));
    }
}
