//! Runs the credential plugins of a kubeconfig (`users[].user.exec`), as client-go does. A plugin's arguments, environment
//! and output may contain secrets, so no error contains them.

use super::error::ClusterError;
use crate::program::{Program, Scope};
use jiff::Timestamp;
use kube::config::{ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

const GROUP: &str = "client.authentication.k8s.io";

/// The largest output of a plugin, in bytes.
const LARGEST_OUTPUT: u64 = 1024 * 1024;

/// A plugin and what it is run with.
pub(super) struct ExecPlugin {
    /// File name of the command, for messages.
    name: String,
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    api_version: String,
    interactive_mode: ExecInteractiveMode,
    /// The cluster for the plugin, if `provideClusterInfo` asks for it.
    cluster: Option<Value>,
    install_hint: Option<String>,
}

/// What a plugin returns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExecCredential {
    pub(super) token: Option<String>,
    /// Certificate chain and key of a client, in PEM.
    pub(super) certificate: Option<(String, String)>,
    pub(super) expires: Option<Timestamp>,
}

impl ExecPlugin {
    /// The plugin of a user. `cluster` is passed to it if `provideClusterInfo` is set.
    pub(super) fn new(exec: &ExecConfig, cluster: Value) -> Result<Self, ClusterError> {
        let command = exec.command.clone().filter(|command| !command.is_empty()).ok_or_else(|| {
            ClusterError::new("the credential plugin of the kubeconfig has no command", "set users[].user.exec.command")
        })?;
        let name =
            Path::new(&command).file_name().map_or_else(|| command.clone(), |name| name.to_string_lossy().into());
        let api_version = exec.api_version.clone().unwrap_or_default();
        if !["v1", "v1beta1"].iter().any(|version| api_version == format!("{GROUP}/{version}")) {
            return Err(ClusterError::new(
                format!("the credential plugin {name:?} has an apiVersion that is not supported"),
                format!("write {GROUP}/v1 or {GROUP}/v1beta1 in users[].user.exec.apiVersion"),
            ));
        }
        let variables = exec.env.iter().flatten();
        Ok(Self {
            name,
            command,
            args: exec.args.clone().unwrap_or_default(),
            env: variables.filter_map(|pair| Some((pair.get("name")?.clone(), pair.get("value")?.clone()))).collect(),
            api_version,
            interactive_mode: exec.interactive_mode.clone().unwrap_or(ExecInteractiveMode::IfAvailable),
            cluster: exec.provide_cluster_info.then_some(cluster),
            install_hint: exec.install_hint.clone().filter(|hint| !hint.is_empty()),
        })
    }

    /// Runs the plugin until it ends. If the future is dropped, the plugin and its children are ended.
    pub(super) async fn run(&self) -> Result<ExecCredential, ClusterError> {
        let is_interactive = self.is_interactive(std::io::stdin().is_terminal())?;
        let mut running = self.start(is_interactive)?;
        let mut output = Vec::new();
        if let Some(stdout) = running.stdout() {
            let read = stdout.take(LARGEST_OUTPUT + 1).read_to_end(&mut output).await;
            read.map_err(|error| self.failed(&format!("its output could not be read: {error}")))?;
        }
        if output.len() as u64 > LARGEST_OUTPUT {
            return Err(self.failed("its output is larger than 1 MiB"));
        }
        let status = running.wait().await.map_err(|error| self.failed(&error.to_string()))?;
        if !status.success() {
            return Err(self.failed(&ending(status)));
        }
        parse(&output, &self.api_version).map_err(|reason| self.failed(reason))
    }

    fn is_interactive(&self, is_terminal: bool) -> Result<bool, ClusterError> {
        match self.interactive_mode {
            ExecInteractiveMode::Never => Ok(false),
            ExecInteractiveMode::IfAvailable => Ok(is_terminal),
            ExecInteractiveMode::Always if is_terminal => Ok(true),
            ExecInteractiveMode::Always => {
                Err(self.failed("it needs a terminal (interactiveMode: Always), and standard input is none"))
            }
        }
    }

    fn start(&self, is_interactive: bool) -> Result<Program, ClusterError> {
        let mut info = json!({
            "apiVersion": self.api_version, "kind": "ExecCredential", "spec": {"interactive": is_interactive},
        });
        if let Some(cluster) = &self.cluster {
            info["spec"]["cluster"] = cluster.clone();
        }
        let mut command = Command::new(&self.command);
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("KUBERNETES_EXEC_INFO", info.to_string());
        command.stdin(if is_interactive { Stdio::inherit() } else { Stdio::null() });
        // The standard error is for the user at the terminal, as in kubectl.
        command.stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        match Program::start(command, if is_interactive { Scope::Descendants } else { Scope::Group }) {
            Ok(program) => Ok(program),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ClusterError::new(
                format!("the credential plugin {:?} is not installed", self.name),
                self.install_hint.clone().unwrap_or_else(|| "install it, or log in in another way".to_owned()),
            )),
            Err(error) => Err(self.failed(&format!("it did not start: {error}"))),
        }
    }

    fn failed(&self, reason: &str) -> ClusterError {
        ClusterError::new(
            format!("the credential plugin {:?} of the kubeconfig failed: {reason}", self.name),
            "run it by hand: `kubectl config view --minify` shows its command and arguments (users[].user.exec)",
        )
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit status {code}"),
        None => "a signal ended it".to_owned(),
    }
}

/// Reads the output of a plugin: an `ExecCredential` of the version that it was asked for, as JSON or YAML.
fn parse(output: &[u8], api_version: &str) -> Result<ExecCredential, &'static str> {
    #[derive(Deserialize)]
    struct Written {
        kind: String,
        #[serde(rename = "apiVersion")]
        api_version: String,
        status: Option<Status>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Status {
        #[serde(default)]
        expiration_timestamp: Option<String>,
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        client_certificate_data: Option<String>,
        #[serde(default)]
        client_key_data: Option<String>,
    }
    const NO_CREDENTIAL: &str = "its output is no ExecCredential";
    let text = std::str::from_utf8(output).map_err(|_| NO_CREDENTIAL)?;
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => crate::istio::yaml::read_one(text).map_err(|_| NO_CREDENTIAL)?,
    };
    let written: Written = serde_json::from_value(value).map_err(|_| NO_CREDENTIAL)?;
    if written.kind != "ExecCredential" {
        return Err(NO_CREDENTIAL);
    }
    if written.api_version != api_version {
        return Err("its output has another apiVersion than users[].user.exec.apiVersion");
    }
    let status = written.status.ok_or("its output has no status")?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let token = filled(status.token);
    let certificate = match (filled(status.client_certificate_data), filled(status.client_key_data)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) if token.is_some() => None,
        (None, None) => return Err("its output has neither a token nor a certificate"),
        _ => return Err("its output has a certificate without a key, or a key without a certificate"),
    };
    if token.as_deref().is_some_and(|token| http::HeaderValue::from_str(token).is_err()) {
        return Err("its token has a character that an HTTP header cannot contain, such as a line break");
    }
    let expires = filled(status.expiration_timestamp).map(|time| time.parse()).transpose();
    Ok(ExecCredential { token, certificate, expires: expires.map_err(|_| "its expirationTimestamp is not a time")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "client.authentication.k8s.io/v1";

    fn written(status: &Value) -> Vec<u8> {
        json!({"kind": "ExecCredential", "apiVersion": V1, "status": status}).to_string().into_bytes()
    }

    #[test]
    fn credentials_are_read_as_json_and_yaml() {
        let token = ExecCredential { token: Some("t".to_owned()), certificate: None, expires: None };
        assert_eq!(parse(&written(&json!({"token": "t", "clientKeyData": ""})), V1), Ok(token));
        let yaml = format!(
            "kind: ExecCredential\napiVersion: {V1}\nstatus:\n  token: t\n  expirationTimestamp: \"2030-01-01T00:00:00Z\"\n"
        );
        let expires = Some("2030-01-01T00:00:00Z".parse().unwrap());
        let expected = ExecCredential { token: Some("t".to_owned()), certificate: None, expires };
        assert_eq!(parse(yaml.as_bytes(), V1), Ok(expected));
        let pair = written(&json!({"clientCertificateData": "c", "clientKeyData": "k"}));
        assert_eq!(parse(&pair, V1).unwrap().certificate, Some(("c".to_owned(), "k".to_owned())));
    }

    #[test]
    fn junk_from_a_plugin_is_an_error_without_its_text() {
        for output in [
            b"sekrit".to_vec(),
            b"\xff\xfe".to_vec(),
            b"".to_vec(),
            b"{\"token\": \"sekrit\"}".to_vec(),
            b"[sekrit".to_vec(),
            written(&json!(null)),
            written(&json!({})),
            written(&json!({"token": ""})),
            written(&json!({"token": ["sekrit"]})),
            written(&json!({"token": "sekrit\n"})),
            written(&json!({"token": "sek\r\nrit"})),
            written(&json!({"token": "t", "expirationTimestamp": "sekrit"})),
            written(&json!({"clientCertificateData": "sekrit"})),
            written(&json!({"clientKeyData": "sekrit", "token": "t"})),
        ] {
            let reason = parse(&output, V1).unwrap_err();
            assert!(!reason.contains("sek"), "{reason}");
        }
        assert!(parse(&written(&json!({"token": "t"})), "client.authentication.k8s.io/v1beta1").is_err());
    }

    #[test]
    fn standard_input_follows_the_interactive_mode() {
        use ExecInteractiveMode::{Always, IfAvailable, Never};
        for (mode, is_terminal, expected) in [
            (None, true, Some(true)),
            (None, false, Some(false)),
            (Some(Never), true, Some(false)),
            (Some(IfAvailable), false, Some(false)),
            (Some(Always), true, Some(true)),
            (Some(Always), false, None),
        ] {
            let exec = ExecConfig {
                command: Some("/usr/bin/plugin".to_owned()),
                api_version: Some(V1.to_owned()),
                interactive_mode: mode,
                ..ExecConfig::default()
            };
            let plugin = ExecPlugin::new(&exec, Value::Null).unwrap();
            assert_eq!(plugin.is_interactive(is_terminal).ok(), expected);
        }
    }
}
