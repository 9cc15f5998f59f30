//! Reads the kubeconfig by kubectl's rules, and selects the context, cluster and user of a run.

use super::connection::Connection;
use super::error::ClusterError;
use super::local_file;
use crate::istio::yaml;
use kube::config::{AuthInfo, Cluster, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io;
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

/// What a run uses of a kubeconfig.
pub(super) struct Selected {
    /// Name of the context; `None` without a kubeconfig.
    pub(super) context_name: Option<String>,
    /// Name of the cluster, for messages.
    pub(super) cluster_name: String,
    pub(super) cluster: Cluster,
    /// Name of the user, for messages.
    pub(super) user_name: String,
    pub(super) user: AuthInfo,
    /// Namespace of the context.
    pub(super) namespace: Option<String>,
}

/// Reads `--kubeconfig`, else the files of `KUBECONFIG` (the first value of each name applies), else `~/.kube/config`, and
/// selects. `None` if no file exists, or if no file names a context and another source may.
pub(super) async fn load(connection: &Connection) -> Result<Option<Selected>, ClusterError> {
    match read(connection).await? {
        Some(kubeconfig) => select(&kubeconfig, connection),
        None => Ok(None),
    }
}

/// Reads and merges the files, as [`load`] does, without a selection.
pub(super) async fn read(connection: &Connection) -> Result<Option<Kubeconfig>, ClusterError> {
    if let Some(path) = &connection.kubeconfig {
        let kubeconfig = read_file(path).await?;
        return kubeconfig.map(Some).ok_or_else(|| invalid(&format!("{} does not exist", path.display())));
    }
    let mut merged: Option<Kubeconfig> = None;
    for path in &connection.default_kubeconfigs {
        // kubectl passes over files that do not exist.
        let Some(next) = read_file(path).await? else { continue };
        merged = Some(match merged {
            Some(first) => first.merge(next).map_err(|error| invalid(&error.to_string()))?,
            None => next,
        });
    }
    Ok(merged)
}

/// One file, whose relative paths start at its directory; `None` if it does not exist.
async fn read_file(path: &Path) -> Result<Option<Kubeconfig>, ClusterError> {
    let of_file = |reason: &str| invalid(&format!("{}: {reason}", path.display()));
    let bytes = match local_file::read_any(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(of_file(&error.to_string())),
    };
    let text = text(&bytes).ok_or_else(|| of_file("it is not text"))?;
    let mut kubeconfig = parse(&text).map_err(|reason| of_file(&reason))?;
    kubeconfig.current_context = kubeconfig.current_context.filter(|name| !name.is_empty());
    if let Some(directory) = path.parent() {
        resolve_paths(&mut kubeconfig, directory);
    }
    Ok(Some(kubeconfig))
}

/// Parses a text of one or more documents, or says what is wrong with it. The way over [`Value`] keeps the release small: kube
/// has its own reader, which adds 0.4 MB of code.
fn parse(text: &str) -> Result<Kubeconfig, String> {
    let documents = yaml::read_all(text).map_err(|error| without_values(&error.to_string()))?;
    documents.into_iter().try_fold(Kubeconfig::default(), |merged, document| {
        let next = serde_json::from_value(document.clone())
            .map_err(|error| format!("{}{}", wrong_entry(&document), without_values(&error.to_string())))?;
        merged.merge(next).map_err(|error| error.to_string())
    })
}

/// `users[2]: `, the first entry of a list that cannot be read; empty if none is wrong.
fn wrong_entry(document: &Value) -> String {
    fn wrong<T: DeserializeOwned>(entries: &Value) -> Option<usize> {
        entries.as_array()?.iter().position(|entry| serde_json::from_value::<T>(entry.clone()).is_err())
    }
    let found = [
        ("clusters", wrong::<NamedCluster>(&document["clusters"])),
        ("users", wrong::<NamedAuthInfo>(&document["users"])),
        ("contexts", wrong::<NamedContext>(&document["contexts"])),
    ];
    let first = found.into_iter().find_map(|(list, index)| Some(format!("{list}[{}]: ", index?)));
    first.unwrap_or_default()
}

/// UTF-8, or UTF-16 with a byte order mark, as `PowerShell` writes it.
fn text(bytes: &[u8]) -> Option<String> {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| order([pair[0], pair[1]])).collect();
        String::from_utf16(&units).ok()
    };
    match bytes {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        _ => String::from_utf8(bytes.to_vec()).ok(),
    }
}

fn resolve_paths(kubeconfig: &mut Kubeconfig, directory: &Path) {
    let resolve = |path: &mut Option<String>| {
        if let Some(relative) = path.as_ref().filter(|path| !path.is_empty() && Path::new(path.as_str()).is_relative())
        {
            *path = Some(directory.join(relative).to_string_lossy().into_owned());
        }
    };
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        resolve(&mut cluster.certificate_authority);
    }
    for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        resolve(&mut user.client_certificate);
        resolve(&mut user.client_key);
        resolve(&mut user.token_file);
        // A command without a separator is looked up in PATH.
        if let Some(exec) = user
            .exec
            .as_mut()
            .filter(|exec| exec.command.as_deref().is_some_and(|command| command.contains(MAIN_SEPARATOR)))
        {
            resolve(&mut exec.command);
        }
    }
}

fn select(kubeconfig: &Kubeconfig, connection: &Connection) -> Result<Option<Selected>, ClusterError> {
    let Some(context_name) = connection.context.as_ref().or(kubeconfig.current_context.as_ref()) else {
        if connection.server.is_some() || connection.kubeconfig.is_none() && in_cluster() {
            return Ok(None);
        }
        return Err(ClusterError::new(
            "the kubeconfig has no current context",
            "choose one with --context or `kubectl config use-context`; --sandbox needs none",
        ));
    };
    let contexts = kubeconfig.contexts.iter().map(|named| (named.name.as_str(), named.context.as_ref()));
    let context = find("context", context_name, contexts)?;
    let cluster_name = connection.cluster.as_ref().unwrap_or(&context.cluster);
    let clusters = kubeconfig.clusters.iter().map(|named| (named.name.as_str(), named.cluster.as_ref()));
    let cluster = find("cluster", cluster_name, clusters)?;
    let users = kubeconfig.auth_infos.iter().map(|named| (named.name.as_str(), named.auth_info.as_ref()));
    let (user_name, user) = match (&connection.user, &context.user) {
        (Some(name), _) => (name.clone(), find("user", name, users)?),
        // As in kubectl, a context may name a user that does not exist.
        (None, Some(name)) => (name.clone(), find("user", name, users).unwrap_or_default()),
        (None, None) => Default::default(),
    };
    Ok(Some(Selected {
        context_name: Some(context_name.clone()),
        cluster_name: cluster_name.clone(),
        cluster,
        user_name,
        user,
        namespace: context.namespace.filter(|namespace| !namespace.is_empty()),
    }))
}

/// The entry with this name; without one, an error that lists the names.
fn find<'a, T: Clone + 'a>(
    kind: &str,
    name: &str,
    entries: impl Iterator<Item = (&'a str, Option<&'a T>)> + Clone,
) -> Result<T, ClusterError> {
    if let Some(found) = entries.clone().find(|(entry, _)| *entry == name).and_then(|(_, value)| value) {
        return Ok(found.clone());
    }
    let names: Vec<&str> = entries.map(|(entry, _)| entry).collect();
    let known =
        if names.is_empty() { format!("it has no {kind}s") } else { format!("its {kind}s: {}", names.join(", ")) };
    Err(ClusterError::new(format!("the kubeconfig has no {kind} {name:?}"), known))
}

/// Whether the process runs in a pod with an account.
pub(super) fn in_cluster() -> bool {
    Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
}

/// A parser's message about a kubeconfig, without the lines and values in it: they may contain a token.
fn without_values(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let unquoted = first.split('"').step_by(2).collect::<Vec<_>>().join("…");
    // A number or a variant is in backticks, and so is the name of a field.
    if unquoted.contains("field `") { unquoted } else { unquoted.split('`').step_by(2).collect::<Vec<_>>().join("…") }
}

/// The error for a kubeconfig that exists and is wrong.
pub(super) fn invalid(reason: &str) -> ClusterError {
    ClusterError::new(
        format!("the kubeconfig cannot be used: {reason}"),
        "see `kubectl config view`; --kubeconfig names another file",
    )
}

/// The files of `KUBECONFIG`, or the default one.
pub fn default_files(kubeconfig: &[PathBuf], home: Option<&Path>) -> Vec<PathBuf> {
    if kubeconfig.is_empty() {
        home.map(|home| home.join(".kube").join("config")).into_iter().collect()
    } else {
        kubeconfig.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_the_kubeconfig_does_not_print_the_secret_beside_it() {
        for (message, shown) in [
            (
                "line 5 column 9: invalid type: string \"sekrit\", expected a map\n --> <input>\n5 |   token: sekrit\n",
                "line 5 column 9: invalid type: string …, expected a map",
            ),
            ("invalid type: integer `12345`, expected a string", "invalid type: integer …, expected a string"),
            ("missing field `name`", "missing field `name`"),
        ] {
            assert_eq!(without_values(message), shown);
        }
    }

    #[test]
    fn a_mistake_in_the_kubeconfig_is_found_in_its_list() {
        let token = |value: &str| format!("users: [{{name: a}}, {{name: b, user: {{token: {value}}}}}]");
        for (text, message) in [
            (token("12345"), "users[1]: invalid type: integer …, expected a string"),
            ("clusters: [{name: c, cluster: 'https://h'}]".to_owned(), "clusters[0]: invalid type: string …, expected"),
            ("users: {name: a}".to_owned(), "invalid type: map, expected a sequence"),
            ("users: [{name: a}]\nusers: []".to_owned(), "duplicate mapping key: users at line 2"),
            (token("[sekrit"), "line 1"),
        ] {
            let error = parse(&text).map(|_| ()).unwrap_err();
            assert!(error.contains(message) && !error.contains("sekrit"), "{text}: {error}");
        }
        let yes = parse("clusters: [{name: c, cluster: {server: s, insecure-skip-tls-verify: true}}]").unwrap();
        assert_eq!(yes.clusters[0].cluster.as_ref().unwrap().insecure_skip_tls_verify, Some(true));
        assert!(parse("").unwrap().clusters.is_empty());
    }

    #[tokio::test]
    async fn missing_files_of_kubeconfig_are_passed_over_and_the_first_value_applies() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let context = |user: &str, namespace: &str| {
            format!(
                "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: {user}, namespace: {namespace}}}}}]\n"
            )
        };
        tokio::fs::write(path("first"), context("u", "shop")).await.unwrap();
        let second = context("other", "other")
            + "clusters: [{name: c, cluster: {server: 'https://h', certificate-authority: ca.pem}}]\n"
            + "users: [{name: u, user: {tokenFile: token, exec: {command: ./plugin}}}]\n";
        tokio::fs::write(path("second"), second).await.unwrap();
        let connection = Connection {
            default_kubeconfigs: ["missing", "first", "gone", "second"].map(path).to_vec(),
            ..Connection::default()
        };
        let selected = load(&connection).await.unwrap().unwrap();
        assert_eq!(selected.namespace.as_deref(), Some("shop"));
        let file = |name: &str| Some(path(name).to_string_lossy().into_owned());
        assert_eq!(selected.cluster.certificate_authority, file("ca.pem"));
        assert_eq!(selected.user.token_file, file("token"));
        assert_eq!(selected.user.exec.unwrap().command, file("./plugin"));
        let nowhere = Connection { default_kubeconfigs: vec![path("missing")], ..Connection::default() };
        assert!(load(&nowhere).await.unwrap().is_none());
    }

    #[test]
    fn the_text_of_a_kubeconfig_may_have_a_byte_order_mark() {
        for bytes in
            [&b"a: \xc3\xa9"[..], b"\xef\xbb\xbfa: \xc3\xa9", b"\xff\xfea\0:\0 \0\xe9\0", b"\xfe\xff\0a\0:\0 \0\xe9"]
        {
            assert_eq!(text(bytes).as_deref(), Some("a: é"));
        }
        assert_eq!(text(b"\xff\x00"), None);
    }
}
