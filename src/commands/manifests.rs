//! `-f`: reads the user's own manifests, as kubectl does.

use crate::error::UsageError;
use crate::istio::yaml;
use serde_json::Value;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// One object of the user's manifests.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read: `policy.yaml, document 2`.
    pub place: String,
    /// The object.
    pub object: Value,
}

/// Reads every object of these files, of directories (files that end with `.yaml`, `.yml` or `.json`, in subdirectories
/// too where `recursive`) and, for `-`, of stdin. The items of a List are objects of their own. Blocks while a pipe has no
/// writer, or stdin has no end.
pub fn read(sources: &[PathBuf], recursive: bool) -> Result<Vec<Manifest>, UsageError> {
    let mut manifests = Vec::new();
    for source in sources {
        if source.as_os_str() == "-" {
            manifests.extend(parse("stdin", &text_of(std::io::stdin().lock(), Path::new("stdin"))?)?);
            continue;
        }
        let files = if source.is_dir() { files(source, recursive)? } else { vec![source.clone()] };
        if files.is_empty() {
            return Err(failed(source, "it holds no .yaml, .yml or .json file"));
        }
        for file in files {
            let opened = File::open(&file).map_err(|error| failed(&file, &error.to_string()))?;
            manifests.extend(parse(&file.display().to_string(), &text_of(opened, &file)?)?);
        }
    }
    if manifests.is_empty() {
        return Err(UsageError { message: "the files given with -f contain no objects".to_owned(), hint: None });
    }
    Ok(manifests)
}

fn failed(path: &Path, reason: &str) -> UsageError {
    UsageError { message: format!("{}: {reason}", path.display()), hint: None }
}

/// The text of a file, a pipe or a device, with the limit of [`yaml::MAX_BYTES`].
fn text_of(source: impl Read, path: &Path) -> Result<String, UsageError> {
    let mut text = Vec::new();
    // One byte more than is accepted, which shows a text that is too long.
    let limit = yaml::MAX_BYTES as u64 + 1;
    source.take(limit).read_to_end(&mut text).map_err(|error| failed(path, &error.to_string()))?;
    if text.len() > yaml::MAX_BYTES {
        return Err(failed(path, "it is larger than 16 MiB, which is the limit for a file of -f"));
    }
    String::from_utf8(text).map_err(|_| failed(path, "it is no UTF-8 text"))
}

/// The files of a directory, by name.
fn files(directory: &Path, recursive: bool) -> Result<Vec<PathBuf>, UsageError> {
    let entries = std::fs::read_dir(directory).map_err(|error| failed(directory, &error.to_string()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        // A link to a directory could form a cycle.
        if recursive && path.is_dir() && !path.is_symlink() {
            found.extend(files(&path, true)?);
        } else if path.is_file() && matches!(extension, Some("yaml" | "yml" | "json")) {
            found.push(path);
        }
    }
    Ok(found)
}

fn parse(place: &str, text: &str) -> Result<Vec<Manifest>, UsageError> {
    let documents =
        yaml::read_all(text).map_err(|error| UsageError { message: format!("{place}: {error}"), hint: None })?;
    let several = documents.len() > 1;
    let mut manifests = Vec::new();
    for (number, object) in documents.into_iter().enumerate() {
        let place = if several { format!("{place}, document {}", number + 1) } else { place.to_owned() };
        match object["items"].as_array().filter(|_| object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")))
        {
            Some(items) => manifests.extend(
                items
                    .iter()
                    .cloned()
                    .enumerate()
                    .map(|(number, object)| Manifest { place: format!("{place}, item {}", number + 1), object }),
            ),
            None if object.is_null() => {}
            None => manifests.push(Manifest { place, object }),
        }
    }
    Ok(manifests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_device_without_end_is_refused() {
        for endless in [Box::new(std::io::repeat(0)) as Box<dyn Read>, Box::new(std::io::repeat(0xff))] {
            let error = text_of(endless, Path::new("stdin")).unwrap_err();
            assert_eq!(error.message, "stdin: it is larger than 16 MiB, which is the limit for a file of -f");
        }
        let error = read(&[PathBuf::from("/dev/zero")], false).unwrap_err();
        assert_eq!(error.message, "/dev/zero: it is larger than 16 MiB, which is the limit for a file of -f");
        let largest = "#".repeat(yaml::MAX_BYTES);
        assert_eq!(text_of(largest.as_bytes(), Path::new("f")).unwrap().len(), yaml::MAX_BYTES);
    }
}
